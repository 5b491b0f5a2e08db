"""Counts that merge, and intervals that tell the truth about clustered errors.

Detection errors come in heaps: when AMP diverges, a whole frame is lost, and some pilot draws are
worse than others. The plain binomial interval supposes independent errors and is then too narrow.
A `Count` therefore carries, beside errors and attempts, the sums from which a cluster-robust
variance follows, for two nested levels: the frame and the draw (one batch of a study).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike

HEAP_SHARE = 0.1  # of a frame's attempts that go wrong together, as long as no error has shown otherwise


class Interval(NamedTuple):
    """A confidence interval of a rate."""

    low: float
    high: float


@dataclass(frozen=True)
class Clusters:
    """Mergeable sums over independent clusters of attempts.

    Attributes:
        num: Clusters with at least one attempt.
        errors_squared: Sum over clusters of (errors in the cluster) squared.
        attempts_squared: Sum over clusters of (attempts in the cluster) squared.
        errors_attempts: Sum over clusters of errors times attempts.
    """

    num: int = 0
    errors_squared: int = 0
    attempts_squared: int = 0
    errors_attempts: int = 0

    def __add__(self, other: Self) -> "Clusters":
        return Clusters(
            self.num + other.num,
            self.errors_squared + other.errors_squared,
            self.attempts_squared + other.attempts_squared,
            self.errors_attempts + other.errors_attempts,
        )

    def variance(self, errors: int, attempts: int) -> float:
        r"""Return the cluster-robust variance of the rate errors/attempts.

        $\frac{c}{c-1} \sum_i (e_i - p a_i)^2 / (\sum_i a_i)^2$ over $c$ clusters, the linearised
        variance of a ratio estimator (Cochran, Sampling Techniques, 1977, ch. 6).
        """
        rate = errors / attempts
        scatter = self.errors_squared - 2 * rate * self.errors_attempts + rate**2 * self.attempts_squared
        return max(scatter, 0.0) * self.num / (self.num - 1) / attempts**2


@dataclass(frozen=True)
class Count:
    """Errors among attempts, with what a clustered interval needs. Counts add.

    Attributes:
        errors: How often it went wrong.
        attempts: How often it was tried.
        frames: Sums over frames, the inner clusters.
        draws: Sums over draws (a cell, a batch), the outer clusters.

    Examples:
        >>> count = Count.per_frame([0, 8, 0, 1], [100, 100, 100, 100])
        >>> count.errors, count.attempts, count.rate
        (9, 400, 0.0225)
        >>> (count + count).attempts
        800
    """

    errors: int = 0
    attempts: int = 0
    frames: Clusters = field(default_factory=Clusters, repr=False)
    draws: Clusters = field(default_factory=Clusters, repr=False)

    @classmethod
    def per_frame(cls, errors: ArrayLike, attempts: ArrayLike) -> Self:
        """Return the count of one draw from the errors and attempts of its frames, shape (frames,)."""
        if any(np.asarray(v).size and np.asarray(v).dtype.kind not in "biu" for v in (errors, attempts)):
            msg = "errors: got numbers that are not whole, expected counts"
            raise TypeError(msg)
        e, a = np.broadcast_arrays(np.asarray(errors, dtype=np.int64), np.asarray(attempts, dtype=np.int64))
        if np.any(e < 0) or np.any(e > a):
            msg = "errors: got a frame with fewer than 0 or more errors than attempts"
            raise ValueError(msg)
        total_e, total_a = int(e.sum()), int(a.sum())
        frames = Clusters(int(np.count_nonzero(a)), int((e * e).sum()), int((a * a).sum()), int((e * a).sum()))
        draws = Clusters(int(total_a > 0), total_e**2, total_a**2, total_e * total_a)
        return cls(total_e, total_a, frames, draws)

    def __add__(self, other: Self) -> "Count":
        return Count(
            self.errors + other.errors,
            self.attempts + other.attempts,
            self.frames + other.frames,
            self.draws + other.draws,
        )

    @property
    def rate(self) -> float:
        """Errors per attempt; NaN before the first attempt."""
        return self.errors / self.attempts if self.attempts else math.nan

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return a Wilson interval whose sample size is deflated by the clustering that was seen.

        The standard error is the largest of the binomial one, the one clustered by frame and the
        one clustered by draw, the latter two widened by Student's factor for their few clusters.
        Few errors tell little about their clustering: with e of them the sample size is also
        divided by h/(1 + e), where h is a tenth of a frame's attempts, what a lost frame would
        cost in a cell in which one device in ten speaks. With one draw the interval is that draw's.
        """
        if not self.attempts:
            return Interval(math.nan, math.nan)
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        rate, binomial = self.rate, self.rate * (1 - self.rate) / self.attempts
        heap = HEAP_SHARE * self.attempts / self.frames.num if self.frames.num else 1.0
        inflation = [1.0, heap / (1 + min(self.errors, self.attempts - self.errors))]
        if binomial > 0:
            for level in (self.frames, self.draws):
                if level.num >= 2:
                    student = student_quantile((1 + confidence) / 2, level.num - 1)
                    inflation.append(level.variance(self.errors, self.attempts) / binomial * (student / z) ** 2)
        effective = self.attempts / max(inflation)
        centre = (rate + z**2 / (2 * effective)) / (1 + z**2 / effective)
        half = z / (1 + z**2 / effective) * math.sqrt(rate * (1 - rate) / effective + (z / (2 * effective)) ** 2)
        return Interval(
            0.0 if self.errors == 0 else max(0.0, centre - half),
            1.0 if self.errors == self.attempts else min(1.0, centre + half),
        )

    def relative_width(self, confidence: float = 0.95) -> float:
        """Return the interval's half width over the rate; infinite while there is no error."""
        if not self.errors:
            return math.inf
        low, high = self.interval(confidence)
        return (high - low) / 2 / self.rate

    def to_json(self) -> list[Any]:
        """Return the count as nested lists of integers, which `from_json` reads."""
        return [
            self.errors,
            self.attempts,
            *([c.num, c.errors_squared, c.attempts_squared, c.errors_attempts] for c in (self.frames, self.draws)),
        ]

    @classmethod
    def from_json(cls, value: list[Any]) -> Self:
        """Return the count that `to_json` wrote."""
        errors, attempts, frames, draws = value
        return cls(int(errors), int(attempts), Clusters(*map(int, frames)), Clusters(*map(int, draws)))


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds spent on frames. Timings add; they are never part of a comparison of counts."""

    seconds: float = 0.0
    frames: int = 0

    def __add__(self, other: Self) -> "Timing":
        return Timing(self.seconds + other.seconds, self.frames + other.frames)

    @property
    def seconds_per_frame(self) -> float:
        """Seconds per frame; NaN before the first frame."""
        return self.seconds / self.frames if self.frames else math.nan


def total(counts: Iterable[Count]) -> Count:
    """Return the sum of `counts`."""
    result = Count()
    for count in counts:
        result += count
    return result


def student_quantile(probability: float, degrees: int) -> float:
    """Student's quantile; from 400 degrees on, the normal one (they differ by less than 0.3 %)."""
    if degrees >= 400:
        return NormalDist().inv_cdf(probability)
    from scipy.special import stdtrit

    return float(stdtrit(degrees, probability))


def binomial_p_value(errors: int, attempts: int, expected: float) -> float:
    """Return the exact two-sided p-value of seeing `errors` in `attempts` under rate `expected`."""
    from scipy.stats import binomtest

    return float(binomtest(errors, attempts, expected).pvalue)


def same_rate_p_value(first: Count, second: Count) -> float:
    """Return the exact two-sided p-value of two counts under one common rate.

    Given the total number of errors, the first count's share is binomial with
    attempts_1 / (attempts_1 + attempts_2): the conditional exact test (Przyborowski and
    Wilenski, 1940).
    """
    errors = first.errors + second.errors
    if errors == 0:
        return 1.0
    return binomial_p_value(first.errors, errors, first.attempts / (first.attempts + second.attempts))


def assert_rate(count: Count, expected: float, false_alarm: float = 1e-6) -> None:
    """Fail when independent attempts at rate `expected` would hardly ever give `count`."""
    p_value = binomial_p_value(count.errors, count.attempts, expected)
    if p_value <= false_alarm:
        msg = (
            f"rate: got {count.errors}/{count.attempts} = {count.rate:.4g}, expected {expected:.4g} "
            f"(p = {p_value:.1e} <= {false_alarm:.0e})"
        )
        raise AssertionError(msg)


def batch_means(samples: ArrayLike, num_batches: int = 20) -> tuple[float, float]:
    """Return mean and standard error of a correlated series by the method of batch means.

    Args:
        samples: The series, shape (n,), n >= 2 * num_batches.
        num_batches: Batches of equal length; the remainder at the start is dropped as warm-up.
    """
    series = np.asarray(samples, dtype=float)
    length = series.size // num_batches
    if num_batches < 2 or length < 2:
        msg = f"samples: got {series.size}, expected at least {2 * max(num_batches, 2)} for {num_batches} batches"
        raise ValueError(msg)
    means = series[series.size - length * num_batches :].reshape(num_batches, length).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(num_batches))
