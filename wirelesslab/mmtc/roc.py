"""Receiver operating characteristics: what is missed over what is falsely heard, as counts that merge.

The log-odds of speaking are cut at fixed `LEVELS`; at each, speakers below and silent devices above are counted, as
`Count`s clustered by frame, so that batches, processes and sittings add up. Curves of detectors whose log-odds mean
different things are comparable all the same: the levels are only places on the curve.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from wirelesslab.mmtc.calibration import rates_over_groups
from wirelesslab.mmtc.decisions import log_odds
from wirelesslab.mmtc.detection import Detection, Real
from wirelesslab.mmtc.uplink import Truth
from wirelesslab.results import CONFIDENCE
from wirelesslab.stats import Count

# In nats of log-odds: finest around even odds, where decisions are taken, and out to certainty.
_SIDE = np.concatenate(
    [np.arange(0.5, 4, 0.5), np.arange(4, 10), np.arange(10, 20, 2), [20, 25, 30, 40, 60, 100, 200, 400]]
)
LEVELS: Real = np.concatenate([-_SIDE[::-1], [0.0], _SIDE])
PARTIAL = 0.05  # false-alarm rates up to which the partial area is taken


def roc_counts(detection: Detection, truth: Truth) -> dict[str, Count]:
    """Count, at each level, speakers whose log-odds lie at or below it and silent devices that exceed it.

    Returns:
        ``roc_missed_007`` and ``roc_false_alarm_007`` for each of `LEVELS`, clustered by frame.

    Raises:
        ValueError: Detection and truth are not of the same frames and devices.
    """
    odds, spoke = log_odds(detection), truth.symbols > 0
    if odds.shape != spoke.shape:
        msg = f"detection: got posteriors of shape {detection.posteriors.shape}, expected (frames, N) {spoke.shape}"
        raise ValueError(msg)
    bins = np.searchsorted(LEVELS, odds, side="left")  # bin b: LEVELS[b - 1] < odds <= LEVELS[b]
    width = LEVELS.size + 1
    flat = np.arange(len(bins))[:, None] * width + bins

    def per_bin(which: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.bincount(flat[which], minlength=len(bins) * width).reshape(-1, width)

    speakers, silent = per_bin(spoke), per_bin(~spoke)
    below, above = np.cumsum(speakers, axis=1)[:, :-1], np.cumsum(silent[:, ::-1], axis=1)[:, ::-1][:, 1:]
    counts = {}
    for level in range(LEVELS.size):
        counts[f"roc_missed_{level:03d}"] = Count.per_frame(below[:, level], speakers.sum(1))
        counts[f"roc_false_alarm_{level:03d}"] = Count.per_frame(above[:, level], silent.sum(1))
    return counts


def area(false_alarm: Real, missed: Real) -> Real:
    """Return the area under the curve, by trapezoids: P(a speaker's log-odds exceed a silent one's), ties half.

    Args:
        false_alarm: Rates at rising levels, shape (..., levels).
        missed: Rates at the same levels.
    """
    x, y = _whole_curve(false_alarm, missed)
    return np.asarray(np.sum(np.diff(x, axis=-1) * (y[..., 1:] + y[..., :-1]) / 2, axis=-1))


def partial_area(false_alarm: Real, missed: Real, up_to: float = PARTIAL) -> Real:
    """Return the mean share of speakers heard, over false-alarm rates from 0 to `up_to`; by chance ``up_to`` / 2."""
    x, y = _whole_curve(false_alarm, missed)
    found = np.empty(x.shape[:-1])
    for at in np.ndindex(found.shape):
        inside = x[at] < up_to
        ends = np.append(x[at][inside], up_to), np.append(y[at][inside], np.interp(up_to, x[at], y[at]))
        found[at] = np.trapezoid(ends[1], ends[0]) / up_to
    return found


def missed_at(false_alarm: Real, missed: Real, rate: float) -> Real:
    """Return the missed rate at a false-alarm rate, between levels by the straight line that a coin would reach."""
    x, y = _whole_curve(false_alarm, missed)
    found = np.empty(x.shape[:-1])
    for at in np.ndindex(found.shape):
        found[at] = 1 - np.interp(rate, x[at], y[at])
    return found


def _whole_curve(false_alarm: Real, missed: Real) -> tuple[Real, Real]:
    """False alarms in rising order and speakers heard, from (0, 0) to (1, 1)."""
    zero, one = np.zeros((*false_alarm.shape[:-1], 1)), np.ones((*false_alarm.shape[:-1], 1))
    x = np.concatenate([zero, false_alarm[..., ::-1], one], axis=-1)
    return x, np.concatenate([zero, 1 - missed[..., ::-1], one], axis=-1)


def roc(counts: xr.Dataset, replicate: str = "replicate", *, at: tuple[float, ...] = (1e-3, 1e-2)) -> xr.Dataset:
    """Return ROC curves and areas from a study whose trial gives `roc_counts`.

    The replicates, independent groups of cells, are the clusters of every interval: rates have the interval of
    `Count` over them, areas and the missed rates at given false-alarm rates that of a jackknife over them with
    Student's quantile.

    Args:
        counts: The study's result.
        replicate: Its dim of independent repetitions, of which there are two at least.
        at: False-alarm rates at which the missed rate is read off.

    Returns:
        Dims: those of `counts` without `replicate`, ``level`` (nats) and ``rate``. ``roc_missed`` and
        ``roc_false_alarm`` per level; ``area``; ``partial_area`` up to `PARTIAL`; ``missed_at`` per rate; each
        with ``_low`` and ``_high``.
    """
    if counts.sizes.get(replicate, 0) < 2:
        msg = f"counts: got dims {dict(counts.sizes)}, expected at least two of {replicate!r} for the intervals"
        raise ValueError(msg)
    dims = [str(d) for d in counts["errors"].dims if d != replicate]

    def stack(name: str) -> NDArray[np.float64]:
        """Counts at every level, shape (..., levels, R)."""
        keys = [f"roc_{name.rpartition('_')[0]}_{level:03d}_{name.rpartition('_')[2]}" for level in range(LEVELS.size)]
        each = [counts[key].transpose(*dims, replicate).values for key in keys]
        return np.nan_to_num(np.stack(each, axis=-2).astype(np.float64))

    sides = {side: (stack(f"{side}_errors"), stack(f"{side}_attempts")) for side in ("missed", "false_alarm")}
    found: dict[str, tuple[list[str], Real]] = {}

    def put(name: str, over: list[str], values: tuple[Real, Real, Real]) -> None:
        found.update({f"{name}{end}": (over, v) for end, v in zip(("", "_low", "_high"), values, strict=True)})

    for side, (errors, attempts) in sides.items():
        rate, low, high = np.moveaxis(rates_over_groups(errors, attempts), -1, 0)
        put(f"roc_{side}", [*dims, "level"], (rate, low, high))

    def figure(function: Callable[[Real, Real], Real]) -> tuple[Real, Real, Real]:
        """A figure of the pooled curve, with the jackknife over the replicates."""
        (missed, speakers), (false, silent) = sides["missed"], sides["false_alarm"]
        with np.errstate(invalid="ignore", divide="ignore"):
            rates = [np.nan_to_num(e.sum(-1) / a.sum(-1)) for e, a in ((false, silent), (missed, speakers))]
            left = [
                np.moveaxis(np.nan_to_num((e.sum(-1, keepdims=True) - e) / (a.sum(-1, keepdims=True) - a)), -1, 0)
                for e, a in ((false, silent), (missed, speakers))
            ]
        return jackknife(function(*rates), function(*left))

    put("area", dims, figure(area))
    put("partial_area", dims, figure(partial_area))
    each = [figure(partial(missed_at, rate=rate)) for rate in at]
    value, low, high = (np.stack(ends, axis=-1) for ends in zip(*each, strict=True))
    put("missed_at", [*dims, "rate"], (value, low, high))
    result = xr.Dataset(found, coords={d: counts[d] for d in dims} | {"level": LEVELS, "rate": list(at)})
    for name in ("area", "partial_area", "missed_at"):
        for end in ("_low", "_high"):
            result[name + end] = result[name + end].clip(0, 1)
    result["level"].attrs = {"long_name": "log-odds of speaking", "units": "nat"}
    return result.assign_attrs(counts.attrs)


def jackknife(whole: Real, without: Real) -> tuple[Real, Real, Real]:
    """Return a figure with the ends of its interval, from the figure without each of R independent groups.

    Args:
        whole: The figure of all groups, shape (...).
        without: The same without one group, shape (R, ...).
    """
    num = len(without)
    scatter = ((without - without.mean(0)) ** 2).sum(0) * (num - 1) / num
    half = stdtrit(num - 1, (1 + CONFIDENCE) / 2) * np.sqrt(scatter)
    return whole, whole - half, whole + half
