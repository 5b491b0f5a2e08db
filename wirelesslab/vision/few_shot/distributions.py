"""Distribution calibration ("free lunch"): shots borrow mean and covariance of base classes, and are multiplied.

Around each shot lies a Gaussian whose mean is that of the shot and of the k base means nearest to it, and whose
covariance is the mean of these classes' covariances with `spread` added to every entry. Samples of it join the shots,
and logistic regression learns from all. As in the published code, a power is taken of shots and queries but not of base
features.

Here no covariance is multiplied by at decision time: samples about 0 are drawn once from each base class, and a shot's
are sums of its k classes' over the root of k, which has exactly the right covariance. So they are a function of shots
and prior alone; shots that share a base class share that part of the noise. And each sample comes with its mirror image
about the mean. Sharing and mirroring are ours; `published` mirrors nothing and takes 750. Few samples do not stand for
many: of 128 features, 20 mirrored ones lost one to two points of accuracy at one shot beside 750.

References:
    Yang, Liu, Xu, "Free lunch for few-shot learning: distribution calibration", ICLR 2021, and its public code.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.few_shot.logistic import fit
from wirelesslab.vision.few_shot.rules import (
    Floats,
    Planes,
    Prior,
    Transform,
    labelled,
    matched,
    prototypes,
)

PUBLISHED_SAMPLES = 750


@dataclass(frozen=True, kw_only=True)
class DistributionCalibration:
    """Logistic regression on shots and on samples of Gaussians that base classes lend.

    Attributes:
        num_neighbours: k, base classes that lend their moments (2 as published); with fewer of them, all do.
        spread: Added to every entry of the covariance (0.21 as published).
        num_samples: Of each class, shared by its shots (750 as published; 20 mirrored ones take a twentieth of the
            time and are worth less: our choice).
        mirrored: Whether every second sample is the one before it, mirrored about the mean.
        beta: Exponent of the power taken of shots and queries.
        inverse_strength: C of logistic regression (1 is scikit-learn's default).
        negative: What becomes of negative features: "refuse", or "relu" sets them to 0.
        tolerance: As `LogisticRegression`.
        seed: Of the samples.
    """

    num_neighbours: int = 2
    spread: float = 0.21
    num_samples: int = 20
    mirrored: bool = True
    beta: float = 0.5
    inverse_strength: float = 1.0
    negative: str = "refuse"
    tolerance: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(num_neighbours=self.num_neighbours, num_samples=self.num_samples)
        check.within(0, 1e6, spread=self.spread)
        check.positive(beta=self.beta, inverse_strength=self.inverse_strength, tolerance=self.tolerance)
        check.one_of(("refuse", "relu"), negative=self.negative)
        check.non_negative_integer(seed=self.seed)

    @classmethod
    def published(cls) -> "DistributionCalibration":
        """Return the published numbers: 750 samples of each class, none mirrored."""
        return cls(num_samples=PUBLISHED_SAMPLES, mirrored=False, tolerance=1e-4)

    def prior(self, features: Floats, labels: NDArray[np.int64]) -> Prior:
        """Return "means" of base classes, shape (classes, d), and samples about 0.

        "deviations", shape (classes, num_samples, d), have each class's sample covariance; "common", shape
        (num_samples,), are those of what `spread` adds, which is alike for all features.

        Raises:
            ValueError: A base class has a single image and so no covariance.
        """
        array, numbers = labelled(features, labels)
        change = Transform(negative=self.negative)
        array = change(array, "features")
        deviations = []
        for label in np.unique(numbers):
            own = array[numbers == label]
            if len(own) < 2:
                msg = f"labels: base class {label} has one image, expected at least 2, for a covariance is taken"
                raise ValueError(msg)
            draws = self._draws("deviations", int(label), len(own))
            centred = (own - own.mean(axis=0)) / np.sqrt(len(own) - 1)
            deviations.append(draws.astype(array.dtype) @ centred.astype(array.dtype))
        common = self._draws("common", 0, 1)[:, 0].astype(array.dtype)
        return {"means": prototypes(array, numbers), "deviations": np.array(deviations), "common": common}

    def calibrate(self, prior: Prior, support: Floats) -> Planes:
        """Return the planes that shots and samples are fitted with.

        Args:
            prior: What `prior` gave.
            support: Features of the shots, shape (..., ways, shots, d).
        """
        shots = matched(support, name="support", axes="ways, shots, d", dimension=prior["means"].shape[-1])
        *batch, ways, num, d = shots.shape
        change = Transform(self.beta, self.negative)
        found = change(shots, "support").reshape(-1, ways, num, d)
        samples = np.concatenate([found, self.samples(prior, found)], axis=-2)
        each = samples.shape[-2]
        flat = samples.reshape(-1, ways * each, d)
        labels = np.repeat(np.arange(ways), each)
        weights, bias = fit(flat, labels, ways, self.inverse_strength, tolerance=self.tolerance)
        return Planes(weights.reshape(*batch, ways, d), bias.reshape(*batch, ways), change)

    def samples(self, prior: Prior, shots: Floats) -> Floats:
        """Return samples around shots after the power, shape (..., ways, shots, d) to (..., ways, samples, d).

        There are num_samples // shots around each shot, at least one.
        """
        means, deviations = prior["means"], prior["deviations"]
        *batch, ways, num, d = shots.shape
        each = max(self.num_samples // num, 1)
        near = self.neighbours(prior, shots)
        lent = min(self.num_neighbours, len(means))
        centre = (means[near].sum(axis=-2) + shots) / (lent + 1)  # (..., ways, shots, d)
        rows = (np.arange(num)[:, None] * each + np.arange(each)) % self.num_samples  # (shots, each)
        found = np.zeros((*batch, ways, num, each, d), shots.dtype)
        for neighbour in range(lent):
            found += deviations[near[..., neighbour, None], rows]
        found /= np.sqrt(lent).astype(shots.dtype)
        found += (np.sqrt(self.spread) * prior["common"][rows]).astype(shots.dtype)[..., None]
        found += centre[..., None, :]
        return found.reshape(*batch, ways, num * each, d)

    def _draws(self, purpose: str, label: int, width: int) -> NDArray[np.float64]:
        """Return standard normals, shape (num_samples, width); mirrored, signs take turns."""
        num = (self.num_samples + 1) // 2 if self.mirrored else self.num_samples
        drawn = stream(self.seed, purpose, label).standard_normal((num, width))
        return np.stack([drawn, -drawn], axis=1).reshape(-1, width)[: self.num_samples] if self.mirrored else drawn

    def neighbours(self, prior: Prior, shots: Floats) -> NDArray[np.int64]:
        """Return the base classes nearest to each shot, in order, shape (..., ways, shots, k); of equals, the first."""
        means = prior["means"]
        squares = np.einsum("bd,bd->b", means, means) - 2 * np.matmul(shots, means.T)  # and |shot|^2, the same for all
        return np.argsort(squares, axis=-1, kind="stable")[..., : self.num_neighbours]
