"""Streaming statistics: what a run has seen, in memory that does not grow with simulated time.

All of them merge (parts of a run, replicas, workers) and give their state as numbers and arrays.
Looking at one never changes it: a run that was watched equals one that was not, to the last bit.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.series import BatchMeans, WindowedSeries

__all__ = ["BatchMeans", "Tally", "TimeAverage", "WindowedSeries"]

BUFFERED = 256
SMALLEST = float(np.finfo(np.float64).tiny)


class _Buckets:
    """Counts of whole-numbered buckets, in an array that covers the numbers seen so far."""

    def __init__(self) -> None:
        self.first = 0
        self.counts = np.zeros(0, np.int64)

    def add(self, first: int, counts: NDArray[np.int64]) -> None:
        if not counts.size:
            return
        if not self.counts.size:
            self.first = first
        low = min(self.first, first)
        high = max(self.first + self.counts.size, first + counts.size)
        if high - low > self.counts.size:
            wider = np.zeros(high - low, np.int64)
            wider[self.first - low : self.first - low + self.counts.size] = self.counts
            self.first, self.counts = low, wider
        self.counts[first - low : first - low + counts.size] += counts


class Tally:
    """Count, mean, variance, extremes and quantiles of a stream of numbers.

    Quantiles come from a sketch of log-spaced buckets, positive and negative numbers apart: a
    bucket spans the factor (1 + accuracy)/(1 - accuracy), so that every quantile is within
    `accuracy` of an order statistic, relatively. At 1 %, numbers from 1e-9 to 1e3 take 11 KiB, and
    no stream of doubles can take more than 1.2 MiB.

    References:
        Masson, Rim and Lee, DDSketch, VLDB 2019: buckets and their accuracy. Chan, Golub and
        LeVeque, 1979: merging of means and variances.

    Examples:
        >>> delays = Tally()
        >>> delays.add(0.010)
        >>> delays.add_many([0.020, 0.030, 0.040])
        >>> delays.count, round(delays.mean, 6), delays.max
        (4, 0.025, 0.04)
        >>> abs(delays.quantile(1 / 3) / 0.020 - 1) < 0.01, delays.share_above(0.035)
        (True, 0.25)
    """

    def __init__(self, accuracy: float = 0.01) -> None:
        check.within(1e-4, 0.5, accuracy=accuracy)
        self.accuracy = float(accuracy)
        self._log_gamma = math.log1p(2 * accuracy / (1 - accuracy))
        self._buffer: list[float] = []
        self._count, self._mean, self._m2 = 0, 0.0, 0.0
        self._min, self._max = math.inf, -math.inf
        self._zeros = 0
        self._positive, self._negative = _Buckets(), _Buckets()

    def add(self, value: float) -> None:
        """Take one finite number."""
        if value - value != 0.0:
            msg = f"value: got {value}, expected a finite number"
            raise ValueError(msg)
        buffer = self._buffer
        buffer.append(value)
        if len(buffer) >= BUFFERED:
            self._fold()

    def add_many(self, values: ArrayLike) -> None:
        """Take an array of finite numbers of any shape."""
        array = np.asarray(values, dtype=np.float64).ravel()
        if not np.isfinite(array).all():
            msg = f"values: got {array[~np.isfinite(array)][0]}, expected finite numbers"
            raise ValueError(msg)
        self._fold()
        self._take(array)

    def _fold(self) -> None:
        buffer, self._buffer = self._buffer, []
        self._take(np.array(buffer, dtype=np.float64))

    def _take(self, values: NDArray[np.float64]) -> None:
        if not values.size:
            return
        # Beyond 1e154 squares leave the range of doubles: the variance is then inf, the rest still holds.
        with np.errstate(over="ignore", invalid="ignore"):
            mean = float(values.mean())
            self._join(values.size, mean, float(np.square(values - mean).sum()))
        least, most = float(values.min()), float(values.max())
        self._min, self._max = min(self._min, least), max(self._max, most)
        if least >= SMALLEST:  # delays and sizes: nothing to sort out
            self._sketch(self._positive, values)
            return
        positive, negative = values >= SMALLEST, values <= -SMALLEST
        self._sketch(self._positive, values[positive])
        self._sketch(self._negative, -values[negative])
        self._zeros += int(np.count_nonzero(~(positive | negative)))

    def _sketch(self, buckets: _Buckets, sizes: NDArray[np.float64]) -> None:
        if sizes.size:
            keys = np.ceil(np.log(sizes) / self._log_gamma).astype(np.int64)
            first = int(keys.min())
            buckets.add(first, np.bincount(keys - first))

    def _join(self, count: int, mean: float, m2: float) -> None:
        total = self._count + count
        shift = mean - self._mean
        self._mean += shift * count / total
        self._m2 += m2 + shift * shift * self._count * count / total
        self._count = total

    def _settled(self) -> "Tally":
        if not self._buffer:
            return self
        copy = Tally(self.accuracy)
        copy.restore(self.snapshot())
        copy._fold()
        return copy

    @property
    def count(self) -> int:
        """How many numbers came."""
        return self._count + len(self._buffer)

    @property
    def mean(self) -> float:
        """Their mean; NaN before the first."""
        settled = self._settled()
        return settled._mean if settled._count else math.nan

    @property
    def variance(self) -> float:
        """Their variance with n - 1 in the denominator; NaN before the second."""
        settled = self._settled()
        return settled._m2 / (settled._count - 1) if settled._count > 1 else math.nan

    @property
    def std(self) -> float:
        """Their standard deviation; NaN before the second."""
        return math.sqrt(self.variance)

    @property
    def min(self) -> float:
        """The smallest, exactly; inf before the first."""
        return min(self._min, *self._buffer, math.inf)

    @property
    def max(self) -> float:
        """The largest, exactly; -inf before the first."""
        return max(self._max, *self._buffer, -math.inf)

    def _ordered(self) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return counts and lower and upper edges of the buckets in ascending order."""
        up, down = self._positive, self._negative
        # Edges of the outermost buckets may leave the range of doubles; the extremes clip them later.
        with np.errstate(over="ignore", under="ignore"):
            edges = np.exp(self._log_gamma * (up.first - 1 + np.arange(up.counts.size + 1)))
            mirrored = -np.exp(self._log_gamma * (down.first - 1 + np.arange(down.counts.size + 1)))[::-1]
        return (
            np.concatenate([down.counts[::-1], [self._zeros], up.counts]),
            np.concatenate([mirrored[:-1], [0.0], edges[:-1]]),
            np.concatenate([mirrored[1:], [0.0], edges[1:]]),
        )

    def quantile(self, q: float) -> float:
        """Return a number within `accuracy` of the order statistic of rank floor(q (n - 1)), relatively.

        Raises:
            ValueError: `q` is outside [0, 1], or nothing came yet.
        """
        check.probability(q=q)
        settled = self._settled()
        if not settled._count:
            msg = "quantile: got no number yet, expected at least one; add first"
            raise ValueError(msg)
        counts, low, high = settled._ordered()
        index = int(np.searchsorted(np.cumsum(counts), math.floor(q * (settled._count - 1)), side="right"))
        # 2 low high/(low + high), the harmonic middle, errs by the same share at both edges.
        a, b = abs(float(low[index])), abs(float(high[index]))
        near, far = min(a, b), max(a, b)
        middle = math.copysign(2 * near / (1 + near / far), low[index] or high[index]) if far else 0.0
        return min(max(middle, settled._min), settled._max)

    def share_above(self, value: float) -> float:
        """Return the share of numbers above `value`; NaN before the first.

        Exact but for numbers in the bucket of `value`, so within 2 accuracy of it; they are taken
        to lie evenly over the logarithm.
        """
        check.finite(value=value)
        settled = self._settled()
        if not settled._count or value >= settled._max:
            return 0.0 if settled._count else math.nan
        if value < settled._min:
            return 1.0
        counts, low, high = settled._ordered()
        above = float(counts[low >= value].sum()) if value else float(counts[high > 0].sum())
        for index in np.flatnonzero((low < value) & (value < high)):
            inside = abs(math.log(high[index] / value) / self._log_gamma)
            above += inside * float(counts[index])
        return above / settled._count

    def merge(self, other: "Tally") -> None:
        """Take in all that `other` has seen; `other` stays as it is.

        Raises:
            ValueError: The two have different accuracies.
        """
        if other.accuracy != self.accuracy:
            msg = f"accuracy: got a tally of {other.accuracy}, expected {self.accuracy}; make both alike"
            raise ValueError(msg)
        settled = other._settled()
        self._fold()
        if not settled._count:
            return
        self._join(settled._count, settled._mean, settled._m2)
        self._min, self._max = min(self._min, settled._min), max(self._max, settled._max)
        self._zeros += settled._zeros
        for mine, theirs in ((self._positive, settled._positive), (self._negative, settled._negative)):
            mine.add(theirs.first, theirs.counts)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state: numbers and arrays."""
        return {
            "accuracy": self.accuracy,
            "buffer": np.array(self._buffer, dtype=np.float64),
            **{name: getattr(self, f"_{name}") for name in ("count", "mean", "m2", "min", "max", "zeros")},
            "positive_first": self._positive.first,
            "positive_counts": self._positive.counts.copy(),
            "negative_first": self._negative.first,
            "negative_counts": self._negative.counts.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.accuracy = float(state["accuracy"])
        self._log_gamma = math.log1p(2 * self.accuracy / (1 - self.accuracy))
        self._buffer = np.asarray(state["buffer"]).tolist()
        self._count, self._zeros = int(state["count"]), int(state["zeros"])
        self._mean, self._m2 = float(state["mean"]), float(state["m2"])
        self._min, self._max = float(state["min"]), float(state["max"])
        for name, buckets in (("positive", self._positive), ("negative", self._negative)):
            buckets.first = int(state[f"{name}_first"])
            buckets.counts = np.array(state[f"{name}_counts"], dtype=np.int64)


class TimeAverage:
    """The mean over time of a quantity that is constant between its changes: a queue's length, a share.

    Examples:
        >>> waiting = TimeAverage()
        >>> waiting.set(2, 0.0)
        >>> waiting.set(5, 3.0)
        >>> waiting.mean(4.0), waiting.max
        (2.75, 5.0)
    """

    def __init__(self) -> None:
        self.value, self.max = math.nan, -math.inf
        self._integral, self._span_s, self._since_s = 0.0, 0.0, math.nan

    def set(self, value: float, now_s: float) -> None:
        """Say that from `now_s` on the quantity is `value`.

        Raises:
            ValueError: `now_s` lies before the last change, or the value is not finite.
        """
        if value - value != 0.0:
            msg = f"value: got {value}, expected a finite number"
            raise ValueError(msg)
        elapsed = self._elapsed(now_s)
        if elapsed:
            self._integral += self.value * elapsed
            self._span_s += elapsed
        self.value, self._since_s = float(value), float(now_s)
        self.max = max(self.max, self.value)

    def _elapsed(self, now_s: float) -> float:
        if self._since_s != self._since_s:
            return 0.0
        if not now_s >= self._since_s:
            msg = f"now_s: got {now_s}, expected a time at or after the last change, {self._since_s}"
            raise ValueError(msg)
        return now_s - self._since_s

    def integral(self, now_s: float) -> float:
        """Return the integral over the time watched, in units of the quantity times seconds."""
        elapsed = self._elapsed(now_s)
        return self._integral + (self.value * elapsed if elapsed else 0.0)

    def mean(self, now_s: float) -> float:
        """Return the mean over the time watched; NaN if that is none."""
        span_s = self._span_s + self._elapsed(now_s)
        return self.integral(now_s) / span_s if span_s else math.nan

    def merge(self, other: "TimeAverage", now_s: float) -> None:
        """Take in the time that `other` watched until `now_s` (a replica, another cell) beside one's own."""
        self._span_s += other._span_s + other._elapsed(now_s)
        self._integral += other.integral(now_s)
        self.max = max(self.max, other.max)

    def snapshot(self) -> dict[str, float]:
        """Return a copy of the state."""
        return {name.strip("_"): value for name, value in vars(self).items()}

    def restore(self, state: Mapping[str, float]) -> None:
        """Go back to a snapshot."""
        for name in vars(self):
            setattr(self, name, float(state[name.strip("_")]))
