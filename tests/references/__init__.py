"""Slow, obvious float64 versions of what the package computes fast: the oracles of the tests."""
