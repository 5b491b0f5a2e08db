"""Figures that can be read: labelled axes with units, intervals, limits, one colour per curve.

Functions return a `matplotlib.figure.Figure` and touch no global state of matplotlib.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from wirelesslab import check
from wirelesslab.units import readable_value

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which the colour-blind tell apart, then darker companions. Each has a
# marker of its own, so that a print in grey can be read too.
COLORS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F3C8D", "#A0522D", "#666600", "#1B4965",
    "#8C510A", "#5E4FA2",
)  # fmt: skip
MARKERS = "osD^vP*Xph<>"
UNITS = {"db": "dB", "s": "s", "bps": "bit/s", "hz": "Hz", "bytes": "byte", "m": "m"}
WORDS = {"snr": "SNR", "ser": "symbol error rate", "num": "number of", "prob": "probability"}


def axis_label(name: str, coordinate: xr.DataArray | None = None) -> str:
    """Return an axis label with its unit, from a name such as ``snr_db``.

    Examples:
        >>> axis_label("snr_db"), axis_label("num_devices")
        ('SNR (dB)', 'number of devices')
    """
    if coordinate is not None and "long_name" in coordinate.attrs:
        unit = coordinate.attrs.get("units", "")
        return f"{coordinate.attrs['long_name']}{f' ({unit})' if unit else ''}"
    words = name.split("_")
    unit = UNITS.get(words[-1], "") if len(words) > 1 else ""
    text = " ".join(WORDS.get(word, word) for word in (words[:-1] if unit else words))
    return f"{text} ({unit})" if unit else text


def waterfall(
    result: xr.Dataset,
    *,
    x: str | None = None,
    metric: str = "ser",
    title: str = "",
    per_row: int = 3,
    bounds: Sequence[str] = ("genie",),
) -> "Figure":
    """Draw an error rate over one dim of the grid, one panel per point of the others.

    A point without any error is an open triangle at the upper end of its interval: the rate
    lies below it. Limits that the result carries are grey lines, bounds that were simulated are black.

    Args:
        result: A study's result.
        x: The dim along the abscissa; ``snr_db`` if there is one, else the first numeric one.
        metric: Which rate; needs ``<metric>_low`` and ``<metric>_high`` in the result.
        title: Title of the figure.
        per_row: Panels side by side.
        bounds: Curves that nobody should beat.

    Raises:
        ValueError: No such dim or metric.
    """
    from matplotlib.figure import Figure

    _known_metric(result, metric)
    dims = [d for d in result[metric].dims if d != "detector"]
    x = x or next((str(d) for d in dims if d == "snr_db"), None) or _first_numeric(result, [str(d) for d in dims])
    check.one_of([str(d) for d in dims], x=x)
    others = [str(d) for d in dims if d != x]
    panels = list(np.ndindex(*(result.sizes[d] for d in others)))
    columns = min(per_row, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure = Figure(figsize=(1.2 + 4.2 * columns, 1.6 + 3.4 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False)
    names = [str(name) for name in result["detector"].values]
    lowest = _lowest_decade(result, metric)
    for index, axis in enumerate(axes.flat):
        if index >= len(panels):
            axis.set_visible(False)
            continue
        point = dict(zip(others, panels[index], strict=True))
        panel = result.isel(point)
        _draw_limits(axis, panel, x, metric)
        for number, name in enumerate(names):
            color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
            style = ("#000000", ".") if name in bounds else (color, marker)
            _draw_curve(axis, panel.sel(detector=name), x, metric, *style)
        axis.set_yscale("log")
        axis.set_ylim(lowest, 1.0)
        axis.set_xlabel(axis_label(x, result[x]))
        axis.grid(visible=True, which="major", color="0.9")
        axis.set_axisbelow(True)
        if point:
            axis.set_title(
                ", ".join(
                    f"{axis_label(d, result[d])} {readable_value(result[d].values[i])}" for d, i in point.items()
                ),
                fontsize=10,
            )
        if index % columns == 0:
            interval = f"{float(result.attrs.get('confidence', 0.95)):.0%} interval, clustered"
            axis.set_ylabel(f"{axis_label(metric)}\n({interval})")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(2 * columns, len(labels)),
        frameon=False,
        fontsize=9,
    )
    heading = "\n".join(filter(None, [title, result.attrs.get("note", "")]))
    if heading:
        figure.suptitle(heading, fontsize=11)
    return figure


def heat_maps(
    result: xr.Dataset,
    *,
    x: str,
    y: str,
    detectors: Sequence[str] | None = None,
    metric: str = "ser",
    title: str = "",
) -> "Figure":
    """Draw an error rate as coloured maps over two dims: a row per point of the other dims, a column per detector.

    Colours are decades, the same in all maps; every cell prints its rate. A cell where no error was
    seen is grey, and prints "<" and the upper end of its interval.

    Args:
        result: A study's result.
        x: The dim along the abscissa.
        y: The dim along the ordinate.
        detectors: Which; all when None.
        metric: Which rate.
        title: Title of the figure.
    """
    from matplotlib.colors import LogNorm
    from matplotlib.figure import Figure

    _known_metric(result, metric)
    check.one_of([str(d) for d in result[metric].dims if d != "detector"], x=x, y=y)
    known = [str(n) for n in result["detector"].values]
    names = known if detectors is None else list(detectors)
    for name in names:
        check.one_of(known, detectors=name)
    others = [str(d) for d in result[metric].dims if d not in ("detector", x, y)]
    panels = list(np.ndindex(*(result.sizes[d] for d in others)))
    width, height = max(2.6, 0.62 * result.sizes[x]), max(2.0, 0.4 * result.sizes[y])
    figure = Figure(figsize=(1.6 + width * len(names), 1.0 + (height + 0.8) * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), len(names), sharex=True, sharey=True, squeeze=False)
    norm = LogNorm(max(_lowest_decade(result, metric), 1e-6), 0.3)
    mesh = None
    for row, index in enumerate(panels):
        point = dict(zip(others, index, strict=True))
        for column, name in enumerate(names):
            axis = axes[row, column]
            cells = result.isel(point).sel(detector=name).transpose(y, x, ...)
            rate, high = cells[metric].values, cells[f"{metric}_high"].values
            # A cell without any error has no colour: its rate is only known to lie below what it prints.
            seen = np.ma.masked_where(~(rate > 0), rate)
            axis.set_facecolor("0.93")
            mesh = axis.pcolormesh(seen, norm=norm, cmap="cividis", edgecolors="white", linewidth=0.4)
            for (i, j), value in np.ndenumerate(np.where(rate > 0, rate, high)):
                if np.isfinite(value):
                    dark = rate[i, j] > 0 and norm(value) < 0.55
                    text = _short(value) if rate[i, j] > 0 else f"<{_short(value)}"
                    color = "white" if dark else "black"
                    axis.text(j + 0.5, i + 0.5, text, ha="center", va="center", fontsize=6.5, color=color)
            axis.set_xticks(np.arange(result.sizes[x]) + 0.5, [readable_value(v) for v in result[x].values], fontsize=8)
            axis.set_yticks(np.arange(result.sizes[y]) + 0.5, [readable_value(v) for v in result[y].values], fontsize=8)
            if row == 0:
                axis.set_title(name, fontsize=10)
            if row == len(panels) - 1:
                axis.set_xlabel(axis_label(x, result[x]), fontsize=9)
            if column == 0:
                where = "\n".join(
                    f"{axis_label(d, result[d])} {readable_value(result[d].values[i])}" for d, i in point.items()
                )
                axis.set_ylabel(
                    f"{where}\n\n{axis_label(y, result[y])}" if where else axis_label(y, result[y]),
                    fontsize=9,
                )
    if mesh is not None:
        figure.colorbar(mesh, ax=axes, label=axis_label(metric), shrink=0.8, pad=0.01)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _draw_curve(axis: "Axes", curve: xr.Dataset, x: str, metric: str, color: str, marker: str) -> None:
    at, rate = curve[x].values, curve[metric].values
    low, high = curve[f"{metric}_low"].values, curve[f"{metric}_high"].values
    seen, unseen = rate > 0, rate == 0
    positions = at if at.dtype.kind in "iuf" else np.arange(at.size)
    axis.plot(
        positions[seen],
        rate[seen],
        color=color,
        marker=marker,
        markersize=4.5,
        linewidth=1.4,
        label=str(curve["detector"].item()),
    )
    axis.vlines(positions[seen], np.maximum(low[seen], 1e-12), high[seen], color=color, linewidth=1.0, alpha=0.8)
    axis.scatter(positions[unseen], high[unseen], marker="v", s=26, facecolors="none", edgecolors=color, linewidths=0.9)
    if at.dtype.kind not in "iuf":
        axis.set_xticks(positions, [str(v) for v in at])


def _draw_limits(axis: "Axes", panel: xr.Dataset, x: str, metric: str) -> None:
    """Draw every variable that says it is a limit of `metric`."""
    for line in panel.data_vars.values():
        if line.attrs.get("limit_of") == metric and panel[x].dtype.kind in "iuf" and bool(np.isfinite(line).any()):
            style = {"linestyle": line.attrs["linestyle"], "label": line.attrs["long_name"]}
            axis.plot(panel[x].values, line.values, linewidth=1.2, color="0.4", **style)


def _known_metric(result: xr.Dataset, metric: str) -> None:
    """Refuse what is not a rate with an interval."""
    check.one_of([str(name).removesuffix("_low") for name in result if str(name).endswith("_low")], metric=metric)


def _first_numeric(result: xr.Dataset, dims: Sequence[str]) -> str:
    if not dims:
        msg = "x: got a result of a single point, expected at least one dim to draw over"
        raise ValueError(msg)
    return next((d for d in dims if result[d].dtype.kind in "iuf"), dims[-1])


def _lowest_decade(result: xr.Dataset, metric: str) -> float:
    rates = np.concatenate([result[metric].values.ravel(), result[f"{metric}_high"].values.ravel()])
    rates = rates[np.isfinite(rates) & (rates > 0)]
    return float(10.0 ** np.floor(np.log10(rates.min()))) if rates.size else 1e-3


def _short(rate: float) -> str:
    """A rate in four characters: .12, 3e-2, 4e-5."""
    if rate >= 0.0995:
        return f"{rate:.2f}".lstrip("0")
    mantissa, exponent = f"{rate:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
