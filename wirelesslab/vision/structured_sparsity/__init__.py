"""Structured sparsity learning: whole filters, channels, filter shapes and layers are learned away."""

from wirelesslab.vision.structured_sparsity.export import Exported, export
from wirelesslab.vision.structured_sparsity.groups import GroupLasso
from wirelesslab.vision.structured_sparsity.learning import StructuredSparsity
from wirelesslab.vision.structured_sparsity.thresholds import Threshold

__all__ = ["Exported", "GroupLasso", "StructuredSparsity", "Threshold", "export"]
