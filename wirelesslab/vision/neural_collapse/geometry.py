r"""How far features have collapsed to a simplex: NC1 to NC3 and the deviation of class means from its angles.

$M_k$ are class means less their own mean (our choice, of equal weight for classes of unequal numbers; for equal numbers
it is the usual one). NC1 $=\mathrm{tr}(S_w S_b^+)/K$ with $S_w$ the covariance within classes, averaged over classes,
and $S_b$ that of the class means. NC2: the scatter of $\|M_k\|$ and of cosines, and how far these are from $-1/(K-1)$.
NC3 $=\|W/\|W\|_F - M/\|M\|_F\|_F$ with $W$ the classifier's rows, centred alike.

References:
    Papyan, Han and Donoho, PNAS 2020; Zhu et al., "A geometric analysis of neural collapse with unconstrained
    features", NeurIPS 2021 (NC1 with the pseudo-inverse).
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.vision.segmentation_metrics import IGNORED

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Geometry:
    """What class means and scatter look like.

    Attributes:
        classes: Those that were there.
        means: M, centred, shape (classes there, d).
        nc1: Scatter within classes against that of means; 0 when collapsed.
        norm_spread: Standard deviation of the norms of M over their mean; 0 when collapsed.
        cosine_spread: Standard deviation of the cosines of pairs; 0 when collapsed.
        etf_deviation: Mean of abs(cosine + 1 / (K - 1)) over pairs, K those that were there; 0 when collapsed.
        nc3: Distance of classifier and means; 0 when they agree, NaN without a classifier.
    """

    classes: tuple[int, ...]
    means: Floats
    nc1: float
    norm_spread: float
    cosine_spread: float
    etf_deviation: float
    nc3: float

    def scores(self) -> dict[str, float]:
        """Return the figures by name."""
        return {
            "NC1": self.nc1, "NC2 norms": self.norm_spread, "NC2 cosines": self.cosine_spread,
            "ETF deviation": self.etf_deviation, "NC3": self.nc3,
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class ClassMoments:
    """Count, sum and sum of products of the features of each class; those of more pixels add.

    Attributes:
        counts: Shape (K,).
        sums: Shape (K, d).
        products: Shape (K, d, d).
    """

    counts: NDArray[np.int64]
    sums: Floats
    products: Floats

    @classmethod
    def of(cls, features: ArrayLike, labels: ArrayLike, num_classes: int) -> "ClassMoments":
        """Return the moments of pixels.

        Args:
            features: Shape (..., d).
            labels: Shape (...), 0 to K - 1 or `IGNORED`.
            num_classes: K.

        Raises:
            ValueError: A label outside the classes, or other shapes.
        """
        check.positive_integer(num_classes=num_classes)
        values = np.asarray(features)
        known = np.asarray(labels)
        if values.ndim < 2 or values.shape[:-1] != known.shape:
            msg = f"labels: got shape {known.shape}, expected {values.shape[:-1]}, one for each feature"
            raise ValueError(msg)
        odd = (known != IGNORED) & ((known < 0) | (known >= num_classes))
        if odd.any():
            msg = f"labels: got {known[odd][0]}, expected 0 to {num_classes - 1} or {IGNORED}"
            raise ValueError(msg)
        d = values.shape[-1]
        counts = np.zeros(num_classes, np.int64)
        sums, products = np.zeros((num_classes, d)), np.zeros((num_classes, d, d))
        for k in range(num_classes):
            own = values[known == k].astype(np.float64)
            counts[k], sums[k], products[k] = len(own), own.sum(axis=0), own.T @ own
        return cls(counts, sums, products)

    def __add__(self, other: "ClassMoments") -> "ClassMoments":
        return ClassMoments(
            self.counts + other.counts, self.sums + other.sums, self.products + other.products
        )  # fmt: skip

    def geometry(self, classifier: ArrayLike | None = None) -> Geometry:
        """Return the figures of the classes that were there.

        Args:
            classifier: Weights of the last layer, shape (d, K), for NC3.

        Raises:
            ValueError: Fewer than two classes were there, or a classifier of another shape.
        """
        there = np.flatnonzero(self.counts)
        if len(there) < 2:
            msg = f"labels: got pixels of {len(there)} classes, expected at least two: angles are between means"
            raise ValueError(msg)
        means = self.sums[there] / self.counts[there, None]
        within = self.products[there] / self.counts[there, None, None] - means[:, :, None] * means[:, None, :]
        centred = means - means.mean(axis=0)
        between = centred.T @ centred / len(there)
        nc1 = float(np.trace(within.mean(axis=0) @ np.linalg.pinv(between, rcond=1e-10, hermitian=True)) / len(there))
        norms = np.linalg.norm(centred, axis=1)
        directions = centred / np.maximum(norms, 1e-300)[:, None]
        cosines = (directions @ directions.T)[np.triu_indices(len(there), 1)]
        nc3 = float("nan")
        if classifier is not None:
            d, num = self.sums.shape[1], len(self.counts)
            rows = check.array(classifier, (d, num), "d, classes", name="classifier").T[there].astype(np.float64)
            rows = rows - rows.mean(axis=0)
            nc3 = float(np.linalg.norm(rows / np.linalg.norm(rows) - centred / np.linalg.norm(centred)))
        return Geometry(
            tuple(int(k) for k in there), centred, nc1, float(norms.std() / norms.mean()), float(cosines.std()),
            float(np.abs(cosines + 1 / (len(there) - 1)).mean()), nc3,
        )  # fmt: skip


def feature_geometry(
    features: ArrayLike, labels: ArrayLike, num_classes: int, classifier: ArrayLike | None = None
) -> Geometry:
    """Return how far features have collapsed.

    Args:
        features: Shape (..., d).
        labels: Shape (...), 0 to K - 1 or `IGNORED`.
        num_classes: K.
        classifier: As in `ClassMoments.geometry`.
    """
    return ClassMoments.of(features, labels, num_classes).geometry(classifier)


def moments_of(parts: Iterable[tuple[ArrayLike, ArrayLike]], num_classes: int) -> ClassMoments:
    """Return the moments of features and labels that come in parts, so that they need not be there at once.

    Raises:
        ValueError: There is no part.
    """
    whole: ClassMoments | None = None
    for features, labels in parts:
        one = ClassMoments.of(features, labels, num_classes)
        whole = one if whole is None else whole + one
    if whole is None:
        msg = "parts: got none, expected features with labels"
        raise ValueError(msg)
    return whole
