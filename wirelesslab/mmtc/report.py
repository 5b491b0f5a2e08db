"""Results of symbol-error studies as tables, pictures and named figures."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc.detection import Detector
from wirelesslab.mmtc.limits import LIMITS
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import Cell, simulate
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.rng import stream
from wirelesslab.session import Table
from wirelesslab.threads import one_thread
from wirelesslab.units import readable_value

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _points(result: xr.Dataset) -> Iterator[tuple[dict[str, int], str]]:
    """Yield each grid point as indices, and as text."""
    dims = [str(d) for d in result["ser"].dims if d != "detector"]
    for at in np.ndindex(*(result.sizes[d] for d in dims)):
        values = ", ".join(f"{d}={readable_value(result[d].values[i])}" for d, i in zip(dims, at, strict=True))
        yield dict(zip(dims, at, strict=True)), values


def error_table(result: xr.Dataset, title: str, *, across: str) -> Table:
    """Return the symbol error rates: a column per value of the dim `across`, a row per detector and other point.

    A cell is the rate and half its 95 % interval in per cent of the rate; "<" stands before the
    upper end of the interval where no error was seen, "?" behind a rate that is not known as well as asked.
    """
    names = [str(name) for name in result["detector"].values]
    lines = [name for name in LIMITS if name.replace(" ", "_") in result]
    headings = [
        f"{across}={readable_value(value)}" if i == 0 else readable_value(value)
        for i, value in enumerate(result[across].values)
    ]
    others = [str(d) for d in result["ser"].dims if d not in ("detector", across)]
    rows = []
    for at in np.ndindex(*(result.sizes[d] for d in others)):
        point = result.isel(dict(zip(others, at, strict=True)))
        where = " ".join(f"{d}={readable_value(result[d].values[i])}" for d, i in zip(others, at, strict=True))
        for name in names:
            curve = point.sel(detector=name)
            cells = [_cell(curve.isel({across: i})) for i in range(result.sizes[across])]
            rows.append([where, name, *cells, f"{float(curve['seconds_per_frame'].mean()) * 1e3:.2f}"])
        for name in lines:
            values = point[name.replace(" ", "_")].values
            rows.append([where, name, *(f"{value:.1e}" if np.isfinite(value) else "-" for value in values), ""])
    note = (
        "rate ± half the 95 % interval, clustered by frame and pilot draw; <x: no error seen, x is the interval's\n"
        "upper end if a lost frame loses a tenth of its labels; ?: unfinished; ms: per frame, one thread"
    )
    note = "\n".join(filter(None, [note, result.attrs.get("note", "")]))
    return Table(title, ["point", "detector", *headings, "ms"], rows, note)


def _cell(point: xr.Dataset) -> str:
    rate, low, high = (float(point[v]) for v in ("ser", "ser_low", "ser_high"))
    if not np.isfinite(rate):
        return "failed"
    if rate == 0:
        return f"<{high:.0e}"
    return f"{rate:.2e} ±{(high - low) / 2 / rate:.0%}{'' if bool(point['complete']) else '?'}"


def label_axes(result: xr.Dataset) -> xr.Dataset:
    """Return `result` with names and units of the cell's numbers, for figures."""
    labels = {
        "snr_db": ("received SNR per pilot symbol and antenna", "dB"),
        "num_devices": ("devices N", ""),
        "num_antennas": ("antennas M", ""),
        "pilot_length": ("pilot length L", "symbols"),
        "activity_prob": ("active share ε", ""),
        "bits_per_device": ("bits J", ""),
    }
    for name in result.coords:
        if name in labels:
            long_name, units = labels[str(name)]
            result[name].attrs = {"long_name": long_name, "units": units}
    return result


def error_figures(result: xr.Dataset) -> Mapping[str, Any]:
    """Return every rate with interval and counts, under ``detector | point``."""
    figures = {}
    for at, text in _points(result):
        for name in map(str, result["detector"].values):
            curve = result.isel(at).sel(detector=name)
            if not np.isfinite(curve["attempts"]):
                continue  # did not take part here
            figures[f"ser | {name} | {text}"] = {
                "value": float(curve["ser"]),
                "low": float(curve["ser_low"]),
                "high": float(curve["ser_high"]),
                "errors": int(curve["errors"]),
                "attempts": int(curve["attempts"]),
                "seconds_per_frame": float(curve["seconds_per_frame"]),
            }
    return figures


def significantly_below(result: xr.Dataset, limit: str) -> list[str]:
    """Return the points and detectors whose interval lies wholly below that of `limit`.

    Two disjoint 95 % intervals are a cautious test: about 0.6 % false alarms per point.
    """
    found = []
    for at, text in _points(result):
        point = result.isel(at)
        floor = float(point["ser_low"].sel(detector=limit))
        found += [
            f"{name} | {text}"
            for name in map(str, result["detector"].values)
            if name != limit and float(point["ser_high"].sel(detector=name)) < floor
        ]
    return found


@dataclass(frozen=True)
class Ratio:
    """A ratio of two detectors' figures over several cells.

    Attributes:
        value: The geometric mean or median over cells.
        low: Lower end.
        high: Upper end.
        cells: How many cells.
        ends: What the ends are: "95 %" interval, or the "range" over the cells.
        without_errors: Rates that enter as half an error, because none was seen.
    """

    value: float
    low: float
    high: float
    cells: int
    ends: str = "95 %"
    without_errors: int = 0

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "-"
        cells = "cells " if self.ends == "range" else ""
        none = f", {self.without_errors} rates without errors" if self.without_errors else ""
        return f"{self.value:.3g} ({cells}{self.low:.3g} to {self.high:.3g}{none})"

    def describe(self) -> dict[str, Any]:
        """Return the fields."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def ser_ratio(
    result: xr.Dataset, over: Sequence[str], under: Sequence[str], *, median: bool = False, draws: int = 4000
) -> Ratio:
    """Return the ratio of the best of `over` to the best of `under`, averaged over the dim ``cell``.

    The best is the detector with the lowest rate in a cell. The 95 % interval is that of these cells: the
    log of every rate is drawn again from its clustered interval, rates and cells independently, and the
    averages' quantiles are taken. Which detector is best is not drawn again: a best of several looks a little
    better than it is, which is cautious where it is the rival. A rate without errors counts as half an error.

    Args:
        result: Rates over the dims ``detector`` and ``cell``.
        over: Detectors of the numerator.
        under: Detectors of the denominator.
        median: The median over cells instead of the geometric mean.
        draws: How many times the rates are drawn.
    """
    rng = stream(0, "ratio of rates")

    def logs(names: Sequence[str]) -> tuple[Any, Any, int]:
        part = result.sel(detector=[n for n in names if n in result["detector"].values])
        errors, attempts, low, high = (
            part[name].transpose("cell", "detector").values for name in ("errors", "attempts", "ser_low", "ser_high")
        )
        value = np.log(np.maximum(errors, 0.5) / attempts)
        width = np.log(high / np.maximum(low, 1e-12)) / (2 * 1.96)
        spread = np.where(errors > 0, np.minimum(width, 2.0), 1.0)
        best = value.argmin(axis=1)[:, None]
        chosen, wide, seen = (np.take_along_axis(x, best, 1)[:, 0] for x in (value, spread, errors))
        return chosen, chosen + wide * rng.normal(size=(draws, chosen.size)), int(np.sum(seen == 0))

    (top, top_again, none), (bottom, bottom_again, more) = logs(over), logs(under)
    average = np.median if median else np.mean
    low, high = np.quantile(average(top_again - bottom_again, axis=1), (0.025, 0.975))
    value = average(top - bottom)
    return Ratio(float(np.exp(value)), float(np.exp(low)), float(np.exp(high)), top.size, without_errors=none + more)


def time_ratio(result: xr.Dataset, over: str, under: str) -> Ratio:
    """Return the geometric mean over cells of the ratio of two times in ``seconds_in_turns``, and its range."""
    seconds = result["seconds_in_turns"]
    each = np.log((seconds.sel(timed=over) / seconds.sel(timed=under)).values)
    middle, low, high = (float(np.exp(x)) for x in (each.mean(), each.min(), each.max()))
    return Ratio(middle, low, high, each.size, ends="range")


def seconds_in_turns(
    detectors: Sequence[Detector], cells: Sequence[Scenario | Cell], *, num_frames: int = 128, turns: int = 5
) -> NDArray[np.float64]:
    """Return seconds per frame of each detector in each cell, one thread, shape (detectors, cells).

    All detectors take turns on the same frames, after one turn that is not counted; the median counts.

    Args:
        detectors: Who is timed.
        cells: Where.
        num_frames: Frames of a turn.
        turns: Turns that count.
    """
    seconds = np.empty((turns, len(detectors), len(cells)))
    with one_thread():
        for c, cell in enumerate(cells):
            observation, _ = simulate(cell, stream(0, "seconds in turns", c), num_frames=num_frames)
            for turn in range(-1, turns):
                for d, detector in enumerate(detectors):
                    start = time.perf_counter()
                    detector.detect(observation)
                    seconds[max(turn, 0), d, c] = time.perf_counter() - start
    return np.asarray(np.median(seconds, axis=0) / num_frames)


def cell_by_cell(result: xr.Dataset, groups: Sequence[str], detectors: Sequence[str]) -> "Figure":
    """Draw the symbol error rates of every cell, sorted by the genie's; one panel per group of cells."""
    from matplotlib.figure import Figure

    sizes = [int((result["group"] == g).sum()) for g in groups]
    figure = Figure(figsize=(min(14.0, 3 + 0.32 * sum(sizes) + len(groups)), 4.8), layout="constrained")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False, width_ratios=[max(n, 4) for n in sizes])[0]
    for axis, group in zip(panels, groups, strict=True):
        part = result.where(result["group"] == group, drop=True)
        order = np.argsort(part["ser"].sel(detector="genie").values)
        for i, name in enumerate(detectors):
            if name not in part["detector"].values or not part["ser"].sel(detector=name).notnull().any():
                continue
            curve = part.sel(detector=name).isel(cell=order)
            rate, low, high = (curve[v].values for v in ("ser", "ser_low", "ser_high"))
            color = "black" if name == "genie" else COLORS[i]
            style = {"fmt": "_" if name == "genie" else MARKERS[i], "markersize": 10 if name == "genie" else 5}
            where = np.arange(len(order)) + 0.75 + 0.5 * i / len(detectors)
            bars = [np.maximum(rate - low, 0), np.maximum(high - rate, 0)]
            axis.errorbar(where, rate, bars, color=color, lw=0.8, label=name, **style)
        axis.set_yscale("log")
        axis.set_title(f"{group} ({len(order)} cells)", fontsize=10)
        axis.set_xlabel("cell, sorted by the genie's rate")
        axis.grid(True, axis="y", which="both", alpha=0.25)
        axis.xaxis.get_major_locator().set_params(integer=True)
    panels[0].set_ylabel("symbol error rate")
    entries: dict[str, Any] = {}
    for axis in panels:
        handles, labels = axis.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure


def times_over_shape(
    result: xr.Dataset, yardstick: str, detectors: Sequence[str] = ("MAMPNet", "covariance")
) -> "Figure":
    """Draw the time per frame over that of `yardstick`, cell by cell, over symbols per antenna L/M."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.8), layout="constrained")
    axis = figure.subplots()
    shape, seconds = (result["pilot_length"] / result["num_antennas"]).values, result["seconds_in_turns"]
    for i, name in enumerate(detectors):
        ratio = (seconds.sel(timed=name) / seconds.sel(timed=yardstick)).values
        axis.loglog(shape, ratio, MARKERS[i], color=COLORS[i], label=name)
    axis.axhline(1, color="0.4", lw=0.8)
    axis.set(xlabel="pilot symbols per antenna L/M", ylabel=f"time per frame over\n{yardstick}")
    axis.grid(True, which="both", alpha=0.25)
    axis.legend(frameon=False)
    return figure


def frame_picture(energy: Any, symbols: Any, detected: Any, *, title: str = "") -> "Figure":
    """Draw one frame: the energy of every pilot's correlation, what was sent and what was heard.

    Args:
        energy: Energy per device and pilot, linear, shape (N, Q).
        symbols: Labels sent, shape (N,), 0 silent.
        detected: Labels detected, shape (N,).
        title: Title of the figure.
    """
    from matplotlib.figure import Figure

    energy = check.array(energy, (None, None), "N, Q", name="energy")
    sent, heard = np.asarray(symbols), np.asarray(detected)
    check.array(sent, (energy.shape[0],), "N", name="symbols")
    check.array(heard, (energy.shape[0],), "N", name="detected")
    figure = Figure(figsize=(10, 1.6 + 0.3 * energy.shape[1]), layout="constrained")
    axis = figure.subplots()
    mesh = axis.pcolormesh(
        np.arange(energy.shape[0] + 1) - 0.5, np.arange(energy.shape[1] + 1) + 0.5, energy.T, cmap="Greys"
    )
    right, missed = (sent > 0) & (heard == sent), (sent > 0) & (heard != sent)
    wrong = (heard > 0) & (heard != sent)
    ring: dict[str, Any] = {"marker": "o", "facecolors": "none"}
    styles: Sequence[tuple[Any, Any, dict[str, Any], str]] = (
        (right, sent, ring | {"edgecolors": "#009E73"}, "sent and heard"),
        (missed, sent, ring | {"edgecolors": "#D55E00", "linestyle": "--"}, "sent, not heard"),
        (wrong, heard, {"marker": "x", "color": "#CC79A7"}, "heard, not sent"),
    )
    for chosen, labels, style, text in styles:
        where = np.flatnonzero(chosen)
        axis.scatter(where, labels[where], s=70, linewidths=1.6, label=f"{text} ({where.size})", **style)
    axis.set_xlabel("device")
    axis.set_ylabel("pilot sent")
    axis.set_yticks(np.arange(energy.shape[1]) + 1)
    figure.colorbar(mesh, ax=axis, label="energy", pad=0.01)
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    if title:
        axis.set_title(title, fontsize=11)
    return figure
