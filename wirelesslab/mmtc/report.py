"""Results of symbol-error studies as tables, pictures and named figures."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wirelesslab import check
from wirelesslab.mmtc.limits import LIMITS
from wirelesslab.session import Table
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
