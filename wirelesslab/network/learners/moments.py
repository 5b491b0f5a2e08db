"""Running mean and spread of what was observed, feature by feature."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Moments:
    """Mean and spread of all observations so far; the rows of one observation count as observations of their own.

    Chan, Golub and LeVeque's update of a mean and a sum of squares, The American Statistician 37(3), 1983.
    """

    def __init__(self, features: int) -> None:
        self.count = 0
        self.mean = np.zeros(features)
        self.squares = np.zeros(features)  # sum of squared deviations

    def see(self, observations: NDArray[np.floating]) -> None:
        """Add observations, shape (..., features)."""
        seen = np.asarray(observations, np.float64).reshape(-1, self.mean.size)
        if len(seen) == 0:
            return
        mean = seen.mean(axis=0)
        total = self.count + len(seen)
        apart = mean - self.mean
        self.squares = self.squares + ((seen - mean) ** 2).sum(axis=0) + apart**2 * (self.count * len(seen) / total)
        self.mean = self.mean + apart * (len(seen) / total)
        self.count = total

    @property
    def middle(self) -> NDArray[np.float32]:
        """What is subtracted."""
        return self.mean.astype(np.float32)

    @property
    def spread(self) -> NDArray[np.float32]:
        """What is divided by: the standard deviation, and 1 for what never varied and so tells nothing."""
        deviation = np.sqrt(self.squares / max(self.count, 1))
        return np.where(deviation > 1e-6 * (1 + np.abs(self.mean)), deviation, 1.0).astype(np.float32)

    def standard(self, observations: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return standardised observations; the subtraction in double precision, as a policy does it."""
        return ((observations.astype(np.float64) - self.middle) / self.spread).astype(np.float32)

    def arrays(self) -> dict[str, NDArray[np.float64]]:
        """Return all of it."""
        return {
            "moments count": np.array([float(self.count)]),
            "moments mean": self.mean,
            "moments squares": self.squares,
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        self.count = int(arrays["moments count"][0])
        self.mean, self.squares = arrays["moments mean"].copy(), arrays["moments squares"].copy()
