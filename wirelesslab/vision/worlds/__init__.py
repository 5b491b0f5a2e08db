"""Procedural worlds: images whose truth is known."""
