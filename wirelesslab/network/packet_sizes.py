"""Laws of packet sizes: whole bytes, at least one, given by their quantile function.

To add one, write a class with `quantile`, `mean_bytes` and `second_moment`, and name it in `SIZE_LAWS`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check


class SizeLaw(Protocol):
    """The law of a packet's size. Moments are those of the whole bytes, exactly."""

    def quantile(self, uniform: NDArray[np.float64], /) -> NDArray[np.int64]:
        """Return sizes in bytes for numbers in (0, 1), of the same shape."""
        ...

    @property
    def mean_bytes(self) -> float:
        """Mean size."""
        ...

    @property
    def second_moment(self) -> float:
        """Mean squared size in bytes squared, which the formula of Pollaczek and Khinchine asks for."""
        ...


@dataclass(frozen=True)
class FixedSize:
    """Every packet has the same size."""

    num_bytes: int

    def __post_init__(self) -> None:
        check.positive_integer(num_bytes=self.num_bytes)

    def quantile(self, uniform: NDArray[np.float64], /) -> NDArray[np.int64]:
        """Return the size, once per number."""
        return np.full(uniform.shape, self.num_bytes, np.int64)

    @property
    def mean_bytes(self) -> float:
        """Mean size."""
        return float(self.num_bytes)

    @property
    def second_moment(self) -> float:
        """Mean squared size in bytes squared."""
        return float(self.num_bytes) ** 2


@dataclass(frozen=True)
class ExponentialSize:
    """Exponential, rounded up to whole bytes: the geometric law on 1, 2, … with exactly this mean.

    Attributes:
        mean: In bytes, above 1. From about 100 bytes on, nothing tells the law from an exponential one.
    """

    mean: float

    def __post_init__(self) -> None:
        _check_mean(self.mean)

    def quantile(self, uniform: NDArray[np.float64], /) -> NDArray[np.int64]:
        """Return geometric sizes."""
        return _geometric(uniform, self.mean)

    @property
    def mean_bytes(self) -> float:
        """Mean size."""
        return float(self.mean)

    @property
    def second_moment(self) -> float:
        """Mean squared size in bytes squared."""
        return self.mean * (2 * self.mean - 1)


@dataclass(frozen=True)
class HyperexponentialSize:
    """One of two exponential laws with balanced means, rounded up: sizes more varied than exponential.

    Attributes:
        mean: In bytes; exact.
        scv: Variance over squared mean of the law before rounding, at least 1; 4 is the usual test
            of an M/G/1 queue. In whole bytes it is smaller by 1/`mean`.

    References:
        Balanced means (p1 m1 = p2 m2): Tijms, A First Course in Stochastic Models, 2003.
    """

    mean: float
    scv: float = 4.0

    def __post_init__(self) -> None:
        _check_mean(self.mean)
        check.finite(scv=self.scv)
        if self.scv < 1:
            msg = f"scv: got {self.scv}, expected at least 1; for less varied sizes use FixedSize or ParetoSize"
            raise ValueError(msg)
        if min(self._branches[1:]) <= 1:
            msg = (
                f"mean: got {self.mean} bytes with scv={self.scv}, the smaller kind of packet would average "
                f"{min(self._branches[1:]):.3g} bytes, expected above 1; raise the mean or lower the scv"
            )
            raise ValueError(msg)

    @property
    def _branches(self) -> tuple[float, float, float]:
        first = (1 + math.sqrt((self.scv - 1) / (self.scv + 1))) / 2
        return first, self.mean / (2 * first), self.mean / (2 * (1 - first))

    def quantile(self, uniform: NDArray[np.float64], /) -> NDArray[np.int64]:
        """Return sizes; the number picks the branch and, stretched, the size in it."""
        prob, small, large = self._branches
        # stretching may round to 0 or 1, where the geometric quantile would be 0 or infinite
        within = np.where(uniform < prob, uniform / prob, (uniform - prob) / (1 - prob))
        within = np.clip(within, 2.0**-53, 1 - 2.0**-53)
        return np.where(uniform < prob, _geometric(within, small), _geometric(within, large))

    @property
    def mean_bytes(self) -> float:
        """Mean size."""
        return float(self.mean)

    @property
    def second_moment(self) -> float:
        """Mean squared size in bytes squared."""
        prob, small, large = self._branches
        return prob * small * (2 * small - 1) + (1 - prob) * large * (2 * large - 1)


@dataclass(frozen=True)
class ParetoSize:
    """Pareto between two bounds (the law given that it does not exceed `high`), rounded to whole bytes.

    Attributes:
        alpha: Tail index; P(X > x) falls as x^-alpha.
        low: Smallest size in bytes.
        high: Largest size in bytes.
    """

    alpha: float
    low: int
    high: int

    def __post_init__(self) -> None:
        check.positive(alpha=self.alpha)
        check.positive_integer(low=self.low, high=self.high)
        if self.low >= self.high:
            msg = f"high: got {self.high} bytes, expected more than low={self.low}; for one size use FixedSize"
            raise ValueError(msg)

    def quantile(self, uniform: NDArray[np.float64], /) -> NDArray[np.int64]:
        """Return bounded Pareto sizes."""
        kept = 1 - (self.low / self.high) ** self.alpha
        sizes = self.low * (1 - uniform * kept) ** (-1 / self.alpha)
        return np.asarray(np.clip(np.rint(sizes), self.low, self.high), np.int64)

    @property
    def mean_bytes(self) -> float:
        """Mean size."""
        return _pareto_moments(self.alpha, self.low, self.high)[0]

    @property
    def second_moment(self) -> float:
        """Mean squared size in bytes squared."""
        return _pareto_moments(self.alpha, self.low, self.high)[1]


@lru_cache
def _pareto_moments(alpha: float, low: int, high: int) -> tuple[float, float]:
    # E X = low + sum of P(X > k), E X^2 likewise; byte by byte, in pieces so that a huge `high` takes no memory
    mean, second = float(low), float(low) ** 2
    for start in range(low, high, 1_000_000):
        size = np.arange(start, min(start + 1_000_000, high), dtype=np.float64)
        tail = ((low / (size + 0.5)) ** alpha - (low / high) ** alpha) / (1 - (low / high) ** alpha)
        mean += float(tail.sum())
        second += float((tail * (2 * size + 1)).sum())
    return mean, second


def _check_mean(mean: float) -> None:
    check.finite(mean=mean)
    if mean <= 1:
        msg = f"mean: got {mean} bytes, expected above 1; for packets of one byte use FixedSize(1)"
        raise ValueError(msg)


def _geometric(uniform: NDArray[np.float64], mean: float) -> NDArray[np.int64]:
    sizes = np.ceil(np.log1p(-uniform) / math.log1p(-1 / mean))
    return np.asarray(np.maximum(sizes, 1), np.int64)


SIZE_LAWS: tuple[type[SizeLaw], ...] = (FixedSize, ExponentialSize, HyperexponentialSize, ParetoSize)


def size_law(num_bytes: int | SizeLaw) -> SizeLaw:
    """Return `num_bytes` as a law: a number of bytes is a fixed size.

    Raises:
        TypeError: Neither a whole number nor a law of sizes.
        ValueError: A number below 1.
    """
    if isinstance(num_bytes, int | float | np.number):
        return FixedSize(num_bytes)
    if not hasattr(num_bytes, "quantile"):
        msg = f"num_bytes: got {num_bytes!r}, expected a number of bytes or a law such as ExponentialSize(500.0)"
        raise TypeError(msg)
    return num_bytes
