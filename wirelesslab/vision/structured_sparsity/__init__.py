"""Structured sparsity learning: whole filters, channels, filter shapes and layers are learned away."""

from wirelesslab.vision.structured_sparsity.export import Exported, export
from wirelesslab.vision.structured_sparsity.groups import GroupLasso
from wirelesslab.vision.structured_sparsity.learning import StructuredSparsity
from wirelesslab.vision.structured_sparsity.products import (
    ProductShape,
    ProductTimes,
    csr_pays_at,
    random_products,
    time_products,
)
from wirelesslab.vision.structured_sparsity.reports import LayerLeft, Left, Report, layer_products, report
from wirelesslab.vision.structured_sparsity.thresholds import Cut, Cuts, Threshold
from wirelesslab.vision.structured_sparsity.timing import SeeingTimes, measure

__all__ = [
    "Cut",
    "Cuts",
    "Exported",
    "GroupLasso",
    "LayerLeft",
    "Left",
    "ProductShape",
    "ProductTimes",
    "Report",
    "SeeingTimes",
    "StructuredSparsity",
    "Threshold",
    "csr_pays_at",
    "export",
    "layer_products",
    "measure",
    "random_products",
    "report",
    "time_products",
]
