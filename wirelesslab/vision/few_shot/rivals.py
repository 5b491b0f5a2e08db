"""What few shots can do without calibration by prototypes: nearest neighbours, centred and with a power taken.

Logistic regression and calibrated distributions have modules of their own (`logistic`, `distributions`).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.few_shot.rules import (
    Anchors,
    Floats,
    Prior,
    Transform,
    labelled,
    matched,
    non_negative,
    power,
    unit,
)


@dataclass(frozen=True, kw_only=True)
class NearestNeighbour:
    """Decides for the class whose mean shot, each of length 1, has the largest cosine with the query."""

    def prior(self, features: Floats, labels: NDArray[np.int64]) -> Prior:
        """Return nothing: base classes are not asked."""
        labelled(features, labels)
        return {}

    def calibrate(self, prior: Prior, support: Floats) -> Anchors:  # noqa: ARG002
        """Return the mean of each class's shots, shape (..., ways, shots, d) to one anchor each."""
        return Anchors(_mean(matched(support, name="support", axes="ways, shots, d")))


@dataclass(frozen=True, kw_only=True)
class CentredNearestNeighbour:
    """Nearest neighbour after the base classes' mean is taken away and lengths are made 1 (CL2N).

    Attributes:
        share: Of the mean that is taken away; 1 is the published rule. (It compares distances to the mean of a class's
            shots and we cosines, as of nearest neighbour: at one shot that is the same, at several nearly so.)
        unit_first: Whether features have length 1 before they are centred too (our option: False is as published).

    References:
        Wang, Chao, Weinberger, van der Maaten, "SimpleShot", 2019.
    """

    share: float = 1.0
    unit_first: bool = False

    def __post_init__(self) -> None:
        check.probability(share=self.share)

    def prior(self, features: Floats, labels: NDArray[np.int64]) -> Prior:
        """Return the mean over all base images, "mean", shape (d,)."""
        array, _ = labelled(features, labels)
        return {"mean": (unit(array) if self.unit_first else array).mean(axis=0)}

    def calibrate(self, prior: Prior, support: Floats) -> Anchors:
        """Return the mean of each class's centred shots."""
        shots = matched(support, name="support", axes="ways, shots, d", dimension=len(prior["mean"]))
        change = Transform(shift=self.share * prior["mean"], unit_first=self.unit_first)
        return Anchors(_mean(change(shots, "support")), transform=change)


@dataclass(frozen=True, kw_only=True)
class PowerTransform:
    """Nearest neighbour with Tukey's power taken of features: what P3DC-Shot is without prototypes.

    Attributes:
        beta: Exponent.
        queries_too: Whether it is taken of queries as well as of shots.
        negative: What becomes of negative features: "refuse", or "relu" sets them to 0.
    """

    beta: float = 0.5
    queries_too: bool = False
    negative: str = "refuse"

    def __post_init__(self) -> None:
        check.positive(beta=self.beta)
        check.one_of(("refuse", "relu"), negative=self.negative)

    def prior(self, features: Floats, labels: NDArray[np.int64]) -> Prior:
        """Return nothing: base classes are not asked."""
        labelled(features, labels)
        return {}

    def calibrate(self, prior: Prior, support: Floats) -> Anchors:  # noqa: ARG002
        """Return the mean of each class's shots after the power, each of length 1."""
        shots = matched(support, name="support", axes="ways, shots, d")
        raised = power(non_negative(shots, self.negative, name="support"), self.beta)
        change = Transform(beta=self.beta if self.queries_too else 1.0, negative=self.negative)
        return Anchors(_mean(raised), transform=change)


def _mean(shots: Floats) -> Floats:
    """Return the anchor of each class, of length 1, shape (..., ways, 1, d)."""
    return unit(unit(shots).mean(axis=-2, keepdims=True))
