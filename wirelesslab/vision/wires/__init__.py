"""Wires: gradients as bytes."""
