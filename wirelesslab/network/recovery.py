"""How long a disturbed network takes to be itself again."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from wirelesslab import check
from wirelesslab.stats import student_quantile


def usual_ceiling(values: ArrayLike, confidence: float = 0.999, tolerance: float = 0.0) -> float:
    """Return what a further window of an undisturbed network exceeds with probability 1 - `confidence` only.

    The upper end of Student's prediction interval of one more value, for independent normal values;
    windows of a queue are neither quite, hence the wide default.

    Args:
        values: Of the windows before the disturbance; NaN entries are left out.
        confidence: See above.
        tolerance: Added on top: a difference that nobody minds.

    Raises:
        ValueError: Fewer than three windows.

    Examples:
        >>> round(usual_ceiling([1.0, 1.2, 0.8, 1.0], confidence=0.95), 3)
        1.43
    """
    check.probability(confidence=confidence)
    check.within(0, math.inf, tolerance=tolerance)
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    if known.size < 3:
        msg = f"values: got {known.size} windows before the disturbance, expected at least 3; begin earlier"
        raise ValueError(msg)
    half = student_quantile(confidence, known.size - 1) * known.std(ddof=1) * math.sqrt(1 + 1 / known.size)
    return float(known.mean() + half + tolerance)


def recovery_time(
    ends_s: ArrayLike,
    values: ArrayLike,
    event_s: float,
    *,
    window_s: float,
    hold: int = 3,
    ceiling: float | None = None,
) -> float:
    """Return how long after an event a windowed figure is back where it was before, for `hold` windows at least.

    Of a figure that is better when it is smaller: a delay, a late share. A window without a value
    (nothing was delivered) has not recovered.

    Args:
        ends_s: Ends of the windows, ascending, shape (windows,).
        values: The figure in each window, shape (windows,); NaN means that there is none.
        event_s: When the disturbance began.
        window_s: Length of a window.
        hold: Windows in a row that must be usual again; a single one may be luck.
        ceiling: Up to where a window is usual; `usual_ceiling` of the windows before the event when None.

    Returns:
        Seconds from the event to the start of the first of `hold` usual windows; 0 if they follow the event at once,
        inf if there are none. What turns bad later than that did so for another reason, or `hold` is too short.

    Raises:
        ValueError: Shapes differ, or too few windows before or after the event.

    Examples:
        >>> late = [0.1, 0.0, 0.1, 0.0, 0.9, 0.5, 0.1, 0.0, 0.1]
        >>> recovery_time(np.arange(1.0, 10.0), late, 4.0, window_s=1.0, ceiling=0.2)
        2.0
    """
    check.positive(window_s=window_s)
    check.positive_integer(hold=hold)
    ends, figures = np.asarray(ends_s, float), np.asarray(values, float)
    if ends.shape != figures.shape or ends.ndim != 1:
        msg = f"ends_s, values: got shapes {ends.shape} and {figures.shape}, expected the same number of windows"
        raise ValueError(msg)
    slack = 1e-6 * window_s  # times are sums of windows
    before, after = ends <= event_s + slack, ends > event_s + slack
    if np.count_nonzero(after) < hold:
        msg = f"event_s: got {event_s}, after which {np.count_nonzero(after)} windows end, expected at least {hold}"
        raise ValueError(msg)
    limit = usual_ceiling(figures[before]) if ceiling is None else ceiling
    usual = figures[after] <= limit  # of NaN: not usual
    starts = np.maximum(ends[after] - window_s, event_s)
    runs = np.flatnonzero(np.convolve(usual, np.ones(hold, int), mode="valid") == hold)  # begin at these windows
    if runs.size == 0:
        return math.inf
    return float(starts[runs[0]] - event_s)


def median_with_interval(samples: Sequence[float] | ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Return the median of independent samples and its interval, whatever their law; inf is a sample as any other.

    References:
        The interval between two order statistics, from the binomial law: David and Nagaraja, Order Statistics, 7.1.

    Examples:
        >>> median_with_interval([3.0, 1.0, 2.0, float("inf"), 2.0, 4.0])
        (2.5, 1.0, inf)
    """
    values = np.sort(np.asarray(samples, float).ravel())
    if values.size == 0 or np.isnan(values).any():
        msg = f"samples: got {values.size} of which {np.count_nonzero(np.isnan(values))} are NaN, expected numbers"
        raise ValueError(msg)
    rank = int(binom.ppf((1 - confidence) / 2, values.size, 0.5)) - 1  # covers at least `confidence` if not negative
    while rank >= 0 and 2 * binom.cdf(rank, values.size, 0.5) > 1 - confidence:
        rank -= 1
    middle = (values[(values.size - 1) // 2], values[values.size // 2])
    median = middle[0] if middle[0] == middle[1] else (middle[0] + middle[1]) / 2
    if rank < 0:
        return float(median), -math.inf, math.inf
    return float(median), float(values[rank]), float(values[-1 - rank])
