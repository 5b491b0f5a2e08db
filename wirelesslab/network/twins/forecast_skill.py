"""How good a forecast is: its error beside that of persistence, from rolling origins, with intervals."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.twins.forecasts import Forecaster, Persistence, loads_of
from wirelesslab.replicas import Mean, mean

Floats = NDArray[np.float64]


def mase(forecast: ArrayLike, actual: ArrayLike, history: ArrayLike) -> float:
    """Mean absolute error over the mean change from window to window in the history: the scaled error of a forecast.

    Below 1 it errs less than persistence errs one window ahead.

    Args:
        forecast: Shape (steps, series).
        actual: What came, shape (steps, series).
        history: What was known, shape (windows, series), at least two windows.

    References:
        Hyndman and Koehler, Int. J. Forecasting 22(4), 2006.

    Examples:
        >>> mase([[3.0], [3.0]], [[4.0], [3.0]], [[1.0], [2.0], [3.0]])
        0.5
    """
    scale = scale_of(history)
    came = check.array(actual, (None, scale.size), "steps, series", name="actual", because="series are set by history")
    said = check.array(forecast, came.shape, "steps, series", name="forecast", because="steps are set by actual")
    return float((np.abs(said - came) / scale).mean())


def scale_of(history: ArrayLike) -> Floats:
    """Return the mean absolute change from window to window of each series, shape (series,).

    Raises:
        ValueError: A series never changes: persistence is without error, and nothing can be scaled by it.
    """
    loads = loads_of(history)
    scale: Floats = np.abs(np.diff(loads, axis=0)).mean(axis=0) if len(loads) > 1 else np.zeros(loads.shape[1])
    if not np.all(scale > 0):
        msg = (
            f"history: got a series that never changes (series {np.flatnonzero(scale <= 0).tolist()}) in {len(loads)} "
            "windows, expected changes to compare errors with; leave it out, or give more windows"
        )
        raise ValueError(msg)
    return scale


def rolled(forecaster: Forecaster, series: ArrayLike, *, first: int, steps: int, every: int = 1) -> Floats:
    """Return forecasts from rolling origins: each sees what came before it, and nothing else.

    Args:
        forecaster: Who forecasts.
        series: The whole series, shape (windows, series).
        first: Windows known at the first origin.
        steps: Windows ahead.
        every: Windows between origins.

    Returns:
        Shape (origins, steps, series).
    """
    loads = loads_of(series)
    return np.array([forecaster.ahead(loads[:o], steps) for o in origins_of(len(loads), first, steps, every)])


def origins_of(windows: int, first: int, steps: int, every: int = 1) -> NDArray[np.int64]:
    """Return how many windows are known at each origin whose whole forecast lies within `windows`."""
    check.positive_integer(first=first, steps=steps, every=every)
    origins = np.arange(first, windows - steps + 1, every)
    if origins.size == 0:
        msg = f"first: got {first} of {windows} windows, expected at most {windows - steps} for {steps} steps ahead"
        raise ValueError(msg)
    return origins


class Skill(NamedTuple):
    """How a forecaster did over blocks of origins.

    Attributes:
        mase: Scaled error; the scale is persistence's, one window ahead, before the first origin.
        persistence: Scaled error of persistence on the same windows.
        gain: Persistence's minus the forecaster's, of pairs: above 0 is skill.
    """

    mase: Mean
    persistence: Mean
    gain: Mean


def skill(forecaster: Forecaster, series: ArrayLike, *, first: int, steps: int, block: int, every: int = 1) -> Skill:
    """Compare a forecaster with persistence from rolling origins.

    Errors of neighbouring origins are alike; they are averaged over blocks of origins, and intervals are
    Student's over blocks. A season is a good block.

    Args:
        forecaster: Who forecasts; nothing after `first` may have been used to fit it.
        series: The whole series, shape (windows, series).
        first: Windows known at the first origin.
        steps: Windows ahead.
        block: Origins in a block; a rest at the end is left out.
        every: Windows between origins.
    """
    loads = loads_of(series)
    check.positive_integer(block=block)
    origins = origins_of(len(loads), first, steps, every)
    blocks = origins.size // block
    if blocks < 2:
        msg = f"block: got {block} of {origins.size} origins, expected at most {origins.size // 2}: two blocks or more"
        raise ValueError(msg)
    scale = scale_of(loads[:first])
    came = loads[origins[:, None] + np.arange(steps)]
    errors = [
        (np.abs(rolled(one, loads, first=first, steps=steps, every=every) - came) / scale).mean(axis=(1, 2))
        for one in (forecaster, Persistence())
    ]
    its, theirs = (e[: blocks * block].reshape(blocks, block).mean(axis=1) for e in errors)
    return Skill(mean(its), mean(theirs), mean(theirs - its))
