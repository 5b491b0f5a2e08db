"""Agents: policies with a place in the network, which see through views and change through actions."""
