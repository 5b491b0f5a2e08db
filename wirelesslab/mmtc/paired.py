"""Ratios of errors of two receivers, or of two worlds, on common air."""

import numpy as np
from numpy.typing import ArrayLike

from wirelesslab import check
from wirelesslab.mmtc.report import Ratio
from wirelesslab.stats import student_quantile


def paired_ratio(over: ArrayLike, under: ArrayLike, *, confidence: float = 0.95) -> Ratio:
    """Return the ratio of two error rates whose groups of frames are pairs on the same air.

    The interval is that of a jackknife of the ratio's logarithm over the groups, with Student's quantile: what
    the two sides have in common, a cell or a crowded frame, is no uncertainty of their ratio. A side without any
    error counts as half an error, and its logarithm with a variance of 2 on top: such a ratio says little.

    Args:
        over: Errors of the numerator in each group, shape (R,), R at least 2.
        under: Errors of the denominator in the same groups, among as many attempts.
        confidence: Of the interval.

    Examples:
        >>> ratio = paired_ratio([20, 40, 30, 10], [10, 20, 15, 5])
        >>> round(ratio.value, 6), round(ratio.high - ratio.low, 6)
        (2.0, 0.0)
    """
    top = check.array(np.asarray(over, dtype=np.float64), (None,), "groups", name="over")
    bottom = check.array(np.asarray(under, dtype=np.float64), top.shape, "groups", name="under")
    check.within(2, 1e9, groups=top.size)
    empty = sum(float(side.sum()) == 0 for side in (top, bottom))

    def log_ratio(first: float, second: float) -> float:
        return float(np.log(max(first, 0.5)) - np.log(max(second, 0.5)))

    whole = log_ratio(top.sum(), bottom.sum())
    without = np.array([log_ratio(top.sum() - t, bottom.sum() - b) for t, b in zip(top, bottom, strict=True)])
    num = top.size
    variance = np.sum((without - without.mean()) ** 2) * (num - 1) / num + 2.0 * empty
    half = student_quantile((1 + confidence) / 2, num - 1) * np.sqrt(variance)
    low, high = float(np.exp(whole - half)), float(np.exp(whole + half))
    return Ratio(float(np.exp(whole)), low, high, num, ends=f"{confidence * 100:g} %", without_errors=empty)
