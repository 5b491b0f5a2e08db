"""Center collapse for imbalanced segmentation: class centers on a simplex, and how near they are to it."""

from wirelesslab.vision.neural_collapse.centers import class_centers
from wirelesslab.vision.neural_collapse.collapse import CenterCollapse
from wirelesslab.vision.neural_collapse.geometry import ClassMoments, Geometry, feature_geometry
from wirelesslab.vision.neural_collapse.simplex import simplex_etf

__all__ = ["CenterCollapse", "ClassMoments", "Geometry", "class_centers", "feature_geometry", "simplex_etf"]
