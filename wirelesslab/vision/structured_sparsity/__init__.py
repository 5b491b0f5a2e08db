"""Structured sparsity learning: whole filters, channels, filter shapes and layers are learned away."""
