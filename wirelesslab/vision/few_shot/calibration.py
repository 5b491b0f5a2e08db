r"""P3DC-Shot: shots are moved towards prototypes of base classes that they resemble; then nearest neighbours decide.

Nothing is learned from the shots. Two operators move a shot x (features after a ReLU, so none is negative), by a
softmax over its products w with prototypes of base classes:

- sample-level: over the R prototypes nearest to this shot, r = |sum w p + x^beta|,
- task-level: over T, the union of the R nearest of all shots of the episode, t = |sum w p + x^beta|,

and the calibrated shot is (1 - a - b) |x| + a r + b t, where |.| stands for a vector divided by its length. "paper" is
the published code as it is. It depends on the scale of features: with all of them multiplied by q, x^beta grows by
q^beta and prototypes by q, which changes how peaked the softmax is and how far a shot is pulled. "scale_free" is a
modification of this project, not of the paper: everything is divided by its length first, products are cosines over a
temperature `tau`, and the pull is `gamma`; if asked, the power is taken of all features, so that shots, queries and
prototypes are compared in one space.

References:
    P3DC-Shot: prior-driven discrete data calibration for nearest-neighbor few-shot classification, and its public code.
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
    prototypes,
    softmax,
    unit,
)

MODES = ("paper", "scale_free")
SHOT_WEIGHTINGS = ("query", "mean")


@dataclass(frozen=True, kw_only=True)
class P3DC:
    """Calibrates shots by prototypes of base classes.

    Attributes:
        sample_weight: a, the share of the sample-level calibration (0 in the published settings).
        task_weight: b, the share of the task-level calibration (0.9 at one shot, 0.4 at five).
        num_prototypes: R, how many prototypes are near; with fewer base classes than that, all are.
        beta: Exponent of the power taken of shots, not of queries.
        mode: "paper", or "scale_free", which is ours.
        tau: Temperature of cosines; scale_free only.
        gamma: Length of the pull beside a shot of length 1; scale_free only.
        queries_too: Whether the power is taken of queries and base features as well as of shots; scale_free only.
        shot_weighting: With several shots, "query" weighs them anew for each query by the softmax of its products
            with them, as the published code does at five shots; "mean" takes their plain mean.
        negative: What becomes of negative features: "refuse", or "relu" sets them to 0.

    Examples:
        >>> rule = P3DC(mode="scale_free", num_prototypes=1)
        >>> prior = rule.prior(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.array([0, 1]))
        >>> calibrated = rule.calibrate(prior, np.array([[[0.9, 0.1, 0.2]], [[0.1, 0.9, 0.2]]]))
        >>> calibrated.predict(np.array([[0.5, 0.2, 0.1], [0.2, 0.5, 0.1]])).tolist()
        [0, 1]
    """

    sample_weight: float = 0.0
    task_weight: float = 0.9
    num_prototypes: int = 5
    beta: float = 0.5
    mode: str = "paper"
    tau: float = 0.05
    gamma: float = 0.35
    queries_too: bool = False
    shot_weighting: str = "query"
    negative: str = "refuse"

    def __post_init__(self) -> None:
        check.probability(sample_weight=self.sample_weight, task_weight=self.task_weight)
        if self.sample_weight + self.task_weight > 1 + 1e-12:
            msg = f"sample_weight and task_weight: got {self.sample_weight:g} and {self.task_weight:g}, expected a sum "
            msg += "of at most 1; the rest is the shot's own"
            raise ValueError(msg)
        check.positive_integer(num_prototypes=self.num_prototypes)
        check.positive(beta=self.beta, tau=self.tau)
        check.within(0, 1e6, gamma=self.gamma)
        check.one_of(MODES, mode=self.mode)
        check.one_of(SHOT_WEIGHTINGS, shot_weighting=self.shot_weighting)
        check.one_of(("refuse", "relu"), negative=self.negative)
        if self.queries_too and self.mode == "paper":
            msg = (
                "queries_too: got True with mode='paper', expected False; the published code takes no power of queries"
            )
            raise ValueError(msg)

    @classmethod
    def published(cls, shots: int) -> "P3DC":
        """Return the published setting: a = 0 and b = 0.9 at one shot; b = 0.4 at five, and here at more than one."""
        check.positive_integer(shots=shots)
        return cls(task_weight=0.9 if shots == 1 else 0.4)

    @classmethod
    def scale_free(cls, shots: int = 1) -> "P3DC":
        """Return the modification of this project, at the same b as `published` and its defaults otherwise."""
        return cls(mode="scale_free", task_weight=cls.published(shots).task_weight)

    def prior(self, features: Floats, labels: NDArray[np.int64]) -> Prior:
        """Return the base classes' plain means as "prototypes", shape (classes, d): what travels, once.

        Args:
            features: Of base images, shape (n, d).
            labels: Their classes, shape (n,).
        """
        array, numbers = labelled(features, labels)
        return {"prototypes": prototypes(self._seen(array, "features"), numbers)}

    def calibrate(self, prior: Prior, support: Floats) -> Anchors:
        """Return calibrated shots, which decide queries.

        Args:
            prior: "prototypes", shape (classes, d).
            support: Features of the shots, shape (..., ways, shots, d); leading axes are episodes.

        Raises:
            ValueError: Features of another dimension than the prototypes', or negative ones that are refused.
        """
        shots = self._shots(prior, support)
        own = (1 - self.sample_weight - self.task_weight) * unit(shots)
        if self.sample_weight:
            own = own + self.sample_weight * self._moved(prior, shots, self._alone(self._products(prior, shots)))
        if self.task_weight:
            own = own + self.task_weight * self._moved(prior, shots, self._together(self._products(prior, shots)))
        scale_free = self.mode == "scale_free"
        if self.shot_weighting == "mean":
            own = own.mean(axis=-2, keepdims=True)
        change = Transform(beta=self.beta if self.queries_too else 1.0, negative=self.negative)
        return Anchors(unit(own) if own.shape[-2] == 1 else own, unit_queries=scale_free, transform=change)

    def sample_weights(self, prior: Prior, support: Floats) -> Floats:
        """Return how much each prototype pulls each shot at sample level, shape (..., ways, shots, classes)."""
        return self._alone(self._products(prior, self._shots(prior, support)))

    def task_weights(self, prior: Prior, support: Floats) -> Floats:
        """Return how much each prototype pulls each shot at task level, shape (..., ways, shots, classes).

        Other shots of the episode matter only by which prototypes are in T.
        """
        return self._together(self._products(prior, self._shots(prior, support)))

    def _alone(self, products: Floats) -> Floats:
        return softmax(np.where(self._nearest(products), products, -np.inf))

    def _together(self, products: Floats) -> Floats:
        union = self._nearest(products).any(axis=(-3, -2), keepdims=True)
        return softmax(np.where(union, products, -np.inf))

    def _shots(self, prior: Prior, support: Floats) -> Floats:
        dimension = prior["prototypes"].shape[-1]
        shots = matched(support, name="support", axes="ways, shots, d", dimension=dimension)
        return self._seen(shots, "support")

    def _seen(self, features: Floats, name: str) -> Floats:
        """Return features as everything else sees them: after the power, if it is taken of all."""
        features = non_negative(features, self.negative, name=name)
        return power(features, self.beta) if self.queries_too else features

    def _raised(self, shots: Floats) -> Floats:
        return shots if self.queries_too else power(shots, self.beta)

    def _products(self, prior: Prior, shots: Floats) -> Floats:
        found, near = self._raised(shots), prior["prototypes"]
        if self.mode == "scale_free":
            found, near = unit(found) / self.tau, unit(near)
        products: Floats = np.matmul(found, near.T)
        return products

    def _nearest(self, products: Floats) -> NDArray[np.bool_]:
        """Return which prototypes are among the R nearest of a shot; of equals, those that stand first."""
        order = np.argsort(-products, axis=-1, kind="stable")[..., : self.num_prototypes]
        mask = np.zeros(products.shape, bool)
        np.put_along_axis(mask, order, True, axis=-1)
        return mask

    def _moved(self, prior: Prior, shots: Floats, weights: Floats) -> Floats:
        found, near = self._raised(shots), prior["prototypes"]
        if self.mode == "paper":
            return unit(np.matmul(weights, near) + found)
        return unit(unit(found) + self.gamma * unit(np.matmul(weights, unit(near))))
