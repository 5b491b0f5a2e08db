"""The panels of a run's report: for each slice what it asked for, got and was promised, over one time axis.

Curves are drawn from at most `MOST_WINDOWS` windows, each of them exact: differences of totals. Whether a promise was
broken is asked in every window of the series, and what was is shaded.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from wirelesslab.network.slices import DOMAINS, ResourceRatio, Slice
from wirelesslab.network.view import SetRatios
from wirelesslab.plot import COLORS, axis_label
from wirelesslab.svg import FAINT, INK, Chart, Level, Line, Shade, draw

if TYPE_CHECKING:
    from wirelesslab.network.run import Run

MOST_WINDOWS = 240  # of a curve
MOST_STRETCHES = 200  # that are shaded in a panel
MOST_GAUGES = 24  # panels of gauges
PER_PANEL = 3  # gauges of one actor and unit
DASHES = {"radio": "", "transport": "6 3", "compute": "1.5 2.5"}
UNITS = {"s": "s", "bps": "bit/s", "bytes": "byte", "share": "%", "ratio": "%", "m": "m", "j": "J"}
TIMES = ((2 * 86400.0, 86400.0, "days"), (4 * 3600.0, 3600.0, "h"), (600.0, 60.0, "min"), (0.0, 1.0, "s"))

Array = NDArray[np.float64]


def time_unit(time_s: float) -> tuple[float, str]:
    """Return the unit in which a time axis of that length is read: seconds in it, and its name."""
    return next((unit, name) for least, unit, name in TIMES if time_s >= least)


def totals(run: "Run") -> xr.Dataset:
    """Return the totals over time, with those of the run's very end as the last point."""
    series = run.series
    if "time_s" not in series.coords or "slice" not in series.coords:
        return xr.Dataset()
    series = series.sortby("time_s")
    last_s = float(series["time_s"][-1]) if series.sizes["time_s"] else 0.0
    if "slice" not in run.slices.coords or not run.time_s > last_s * (1 + 1e-12):
        return series
    end = run.slices.reindex(slice=series["slice"].values)
    columns = {str(n): end[n].values for n in series.data_vars if n in end}
    if {"mean_delay_s", "delivered_flows"} <= {str(name) for name in end}:
        columns["delay_seconds"] = np.nan_to_num((end["mean_delay_s"] * end["delivered_flows"]).values)
    nothing = np.full(series.sizes["slice"], np.nan)
    point = {str(n): (("time_s", "slice"), columns.get(str(n), nothing)[None]) for n in series.data_vars}
    return xr.concat(
        [series, xr.Dataset(point, {"time_s": [run.time_s], "slice": series["slice"].values})], "time_s"
    )  # fmt: skip


class Windows:
    """What happened to a slice between points of its totals.

    Args:
        total: Totals of one slice over `time_s`.
        most: Windows at most; neighbours are joined when there are more.
    """

    def __init__(self, total: xr.Dataset, most: int | None = None) -> None:
        at = np.asarray(total["time_s"].values, float)
        keep = np.arange(at.size)
        if most is not None and at.size > most + 1:
            keep = np.unique(np.round(np.linspace(0, at.size - 1, most + 1)).astype(int))
        self._total = {str(name): np.asarray(total[name].values, float)[keep] for name in total.data_vars}
        self._nothing = np.full(keep.size, np.nan)
        self.at_s = at[keep]
        self.start_s, self.end_s = self.at_s[:-1], self.at_s[1:]
        self.middle_s = (self.start_s + self.end_s) / 2

    def point(self, name: str) -> Array:
        """Return a total at the ends of the windows."""
        return self._total.get(name, self._nothing)[1:]

    def gone(self, name: str) -> Array:
        """Return by how much a total grew in each window."""
        return np.diff(self._total.get(name, self._nothing))

    def rate(self, name: str) -> Array:
        """Return bits per second of a total of bytes."""
        return _divided(8 * self.gone(name), self.end_s - self.start_s)

    @property
    def late_share(self) -> Array:
        """Share that was late or lost of what ended, and of what is overdue at the window's end."""
        overdue = np.nan_to_num(self.point("overdue_flows"))
        bad = self.gone("late_flows") + self.gone("lost_flows") + overdue
        return _divided(bad, self.gone("delivered_flows") + self.gone("lost_flows") + overdue)

    @property
    def lost_share(self) -> Array:
        """Share of the bytes that ended and were lost."""
        return _divided(self.gone("lost_bytes"), self.gone("delivered_bytes") + self.gone("lost_bytes"))

    @property
    def refused_share(self) -> Array:
        """Flows that found no room, or an inactive slice, beside those that were offered; at most 1."""
        share: Array = np.minimum(1.0, _divided(self.gone("refused_flows"), self.gone("offered_flows")))
        return share


def _divided(above: Array, below: Array) -> Array:
    share: Array = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return share


def breaches(windows: Windows, s: Slice) -> dict[str, list[Shade]]:
    """Return the stretches of time in which a slice's promises were broken, by "delay", "rate" and "loss".

    A promised delay is broken in a window when more than 1 - `delay_quantile` of what ended in it, and of what is
    overdue at its end, was late or lost. A promised rate is, when less was delivered than was promised and than was
    offered, but for what a promised delay allows to be on the way (rate times delay). A promised loss is, when more of
    the bytes that ended were lost.
    """
    level, found = s.level, {}
    if level.delay_s is not None:
        broken = windows.late_share > 1 - level.delay_quantile + 1e-12
        found["delay"] = _stretches(windows, broken, f"more than {1 - level.delay_quantile:.3g} late or lost")
    if level.rate_bps is not None:
        width = windows.end_s - windows.start_s
        allowed = np.inf if level.delay_s is None else level.rate_bps * level.delay_s / 8
        growth = np.clip(windows.gone("inside_bytes"), 0, allowed)
        due = _divided(8 * (windows.gone("offered_bytes") - growth), width)
        broken = windows.rate("delivered_bytes") < np.minimum(level.rate_bps, due) * (1 - 1e-9)
        found["rate"] = _stretches(windows, broken, f"less than {level.rate_bps / 1e6:g} Mbit/s and than was offered")
    if level.loss is not None:
        found["loss"] = _stretches(windows, windows.lost_share > level.loss, f"more than {level.loss:g} lost")
    return found


def _stretches(windows: Windows, broken: NDArray[np.bool_], why: str) -> list[Shade]:
    """Return windows that touch as one stretch; when there are too many, those with the shortest gaps are joined."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], broken, [False]]).astype(int)))
    ends = [(float(windows.start_s[a]), float(windows.end_s[b - 1])) for a, b in edges.reshape(-1, 2)]
    if len(ends) > MOST_STRETCHES:
        gaps = np.array([later[0] - earlier[1] for earlier, later in pairwise(ends)])
        cuts = np.sort(np.argsort(-gaps, kind="stable")[: MOST_STRETCHES - 1])
        starts, stops = [0, *(cuts + 1).tolist()], [*cuts.tolist(), len(ends) - 1]
        ends = [(ends[a][0], ends[b][1]) for a, b in zip(starts, stops, strict=True)]
    return [Shade(a, b, f"{a:.6g} to {b:.6g} s: {why}") for a, b in ends]


def slice_panels(run: "Run", total: xr.Dataset, s: Slice, color: str) -> list[str]:
    """Return the charts of one slice, as markup."""
    mine = total.sel(slice=s.name)
    windows, level = Windows(mine, MOST_WINDOWS), s.level
    broken = breaches(Windows(mine), s)
    at, span, unit = windows.middle_s, (0.0, run.time_s), time_unit(run.time_s)
    common: dict[str, Any] = {"span": span, "time_unit": unit}
    quiet = "nothing ended" if windows.at_s.size > 1 else "no window has passed"
    rate = Chart(
        f"{s.name}: rate", [
            Line("offered", at, windows.rate("offered_bytes"), FAINT, dash="5 3", width=1.3),
            Line("delivered", at, windows.rate("delivered_bytes"), color),
        ], unit="bit/s", shades=broken.get("rate", []), nothing=quiet,
        levels=[Level("promised", level.rate_bps)] if level.rate_bps is not None else [], **common,
    )  # fmt: skip
    mean = _divided(windows.gone("delay_seconds"), windows.gone("delivered_flows"))
    lines = [Line("mean", at, mean, color)]
    quantiles = run.slices.get("delay_s")
    for q, dash in ((0.5, "1.5 2.5"), (0.99, "6 3")):
        if quantiles is not None and "quantile" in quantiles.coords and q in quantiles["quantile"].values:
            value = float(quantiles.sel(slice=s.name, quantile=q))
            if np.isfinite(value):
                lines.append(Line(f"{q:.0%} in all the run", span, [value, value], INK, dash=dash, width=1.1))
    delay = Chart(
        f"{s.name}: delay", lines, unit="s", scale="log", shades=broken.get("delay", []), nothing="nothing arrived",
        levels=[Level(f"promised to {level.delay_quantile:.6g} of all", level.delay_s)]
        if level.delay_s is not None else [], **common,
    )  # fmt: skip
    allowed = [Level("allowed", 1 - level.delay_quantile)] if level.delay_s is not None else []
    late = Chart(
        f"{s.name}: late or lost", [Line("of what ended or is overdue", at, windows.late_share, color)], unit="%",
        shades=broken.get("delay", []), levels=allowed, nothing=quiet, **common,
    )  # fmt: skip
    loss = Chart(
        f"{s.name}: lost and refused", [
            Line("lost, of bytes", at, windows.lost_share, color),
            Line("refused, of flows", at, windows.refused_share, INK, dash="2 2", width=1.2),
        ], unit="%", shades=broken.get("loss", []), nothing=quiet,
        levels=[Level("allowed loss", level.loss)] if level.loss is not None else [], **common,
    )  # fmt: skip
    inside = Chart(
        f"{s.name}: on the way or waiting", [
            Line("bytes", windows.at_s, np.concatenate([[0.0], windows.point("inside_bytes")]), color, fill=True)
        ], unit="byte", **common,
    )  # fmt: skip
    return [draw(chart) for chart in (rate, delay, late, loss, inside, share_chart(run, s, color))]


def share_chart(run: "Run", s: Slice, color: str) -> Chart:
    """Return what a slice was guaranteed of each domain over time, and the part that was its own."""
    lines: list[Line] = []
    areas: list[Line] = []
    for domain in DOMAINS:
        at, ratios = ratios_over_time(run, s, domain)
        at, least, own = _thinned(at, [r.min for r in ratios], [r.dedicated for r in ratios])
        at, least, own = ([*x, y] for x, y in ((at, run.time_s), (least, least[-1]), (own, own[-1])))
        lines.append(Line(domain, at, least, color, dash=DASHES[domain], steps=True))
        if any(own):
            areas.append(
                Line("" if areas else "its own, used or not", at, own, color, steps=True, fill=True, stroke=False)
            )
    return Chart(
        f"{s.name}: guaranteed shares", [*lines, *areas], (0.0, run.time_s), "%", time_unit(run.time_s)
    )  # fmt: skip


def ratios_over_time(run: "Run", s: Slice, domain: str) -> tuple[list[float], list[ResourceRatio]]:
    """Return when a slice's share of a whole domain was set, and to what; it begins with what the slice brought.

    Shares of single elements are left out, and what was refused. When the run no longer has its first actions, what
    was in force before the first that it has is what the slice brought, or not known to be otherwise.
    """
    at, ratios = [0.0], [s.ratio(domain)]  # type: ignore[arg-type]
    for record in run.actions:
        wish = record.action
        if isinstance(wish, SetRatios) and wish.domain == domain and not wish.element and not record.refused:
            ratio = wish.ratios.get(s.name)
            if ratio is not None and ratio != ratios[-1]:
                at.append(record.time_s)
                ratios.append(ratio)
    return at, ratios


def _thinned(at: Sequence[float], *values: Sequence[float]) -> tuple[list[float], ...]:
    """Return every k-th step, the last included, when there are more than the panel can show."""
    keep = list(range(len(at)))
    if len(at) > MOST_WINDOWS:
        keep = np.unique(np.round(np.linspace(0, len(at) - 1, MOST_WINDOWS)).astype(int)).tolist()
    return tuple([float(column[i]) for i in keep] for column in (at, *values))


def gauge_panels(run: "Run") -> tuple[list[str], int]:
    """Return a chart for each actor and unit of what actors read off themselves, and how many are left out."""
    if "time_s" not in run.gauges.coords:
        return [], 0
    groups: dict[tuple[str, str], dict[str, Array]] = {}
    for name in sorted(map(str, run.gauges.data_vars)):
        actor, _, gauge = name.partition(": ")
        label, unit = _said_unit(gauge)
        groups.setdefault((actor, unit), {})[label] = np.asarray(run.gauges[name].values, float)
    panels = []
    for (actor, unit), gauges in groups.items():
        names = list(gauges)
        for first in range(0, len(names), PER_PANEL):
            panels.append((actor, unit, {name: gauges[name] for name in names[first : first + PER_PANEL]}))
    shown = panels[:MOST_GAUGES]
    return [draw(_gauges(run, *panel)) for panel in shown], len(panels) - len(shown)


def _said_unit(gauge: str) -> tuple[str, str]:
    """Return a gauge's name in words and its unit, from "age of queues (s)" or "age_of_queues_s"."""
    words, bracket, unit = gauge.removesuffix(")").rpartition(" (")
    if bracket and gauge.endswith(")"):
        return words, unit
    unit = UNITS.get(gauge.rpartition("_")[2], "") if "_" in gauge else ""
    return axis_label(gauge).partition(" (")[0], unit


def _gauges(run: "Run", actor: str, unit: str, gauges: Mapping[str, Array]) -> Chart:
    at = np.asarray(run.gauges["time_s"].values, float)
    lines = [
        Line(label[:18], *_peaks(at, values), COLORS[number], dash=("", "6 3", "1.5 2.5")[number])
        for number, (label, values) in enumerate(gauges.items())
    ]
    return Chart(actor[:56], lines, (0.0, run.time_s), unit, time_unit(run.time_s))


def _peaks(at: Array, values: Array) -> tuple[Array, Array]:
    """Return the largest value of each stretch when there are more points than a curve can show."""
    if at.size <= MOST_WINDOWS:
        return at, values
    edges = np.unique(np.round(np.linspace(0, at.size, MOST_WINDOWS + 1)).astype(int))[:-1]
    filled = np.where(np.isfinite(values), values, -np.inf)
    most = np.maximum.reduceat(filled, edges)
    return at[np.append(edges[1:], at.size) - 1], np.where(np.isfinite(most), most, np.nan)
