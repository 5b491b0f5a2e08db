"""Few shots: classes that are learned from one image or five, with what other classes taught before."""

from wirelesslab.vision.few_shot.calibration import P3DC
from wirelesslab.vision.few_shot.distributions import DistributionCalibration
from wirelesslab.vision.few_shot.episodes import Drawn, Episodes, check_disjoint
from wirelesslab.vision.few_shot.judgement import Paired, Pool, accuracies, paired, pooled, stratified, tune
from wirelesslab.vision.few_shot.learning import FewShot
from wirelesslab.vision.few_shot.line_up import GRIDS, line_up
from wirelesslab.vision.few_shot.logistic import LogisticRegression
from wirelesslab.vision.few_shot.rivals import CentredNearestNeighbour, NearestNeighbour, PowerTransform
from wirelesslab.vision.few_shot.rules import Anchors, Decider, Planes, Prior, Rule, prototypes

__all__ = [
    "GRIDS",
    "P3DC",
    "Anchors",
    "CentredNearestNeighbour",
    "Decider",
    "DistributionCalibration",
    "Drawn",
    "Episodes",
    "FewShot",
    "LogisticRegression",
    "NearestNeighbour",
    "Paired",
    "Planes",
    "Pool",
    "PowerTransform",
    "Prior",
    "Rule",
    "accuracies",
    "check_disjoint",
    "line_up",
    "paired",
    "pooled",
    "prototypes",
    "stratified",
    "tune",
]
