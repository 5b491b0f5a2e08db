"""Results of symbol-error studies as tables and named figures."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from wirelesslab.mmtc.limits import LIMITS
from wirelesslab.session import Table


def _points(result: xr.Dataset) -> Iterator[tuple[dict[str, int], str]]:
    """Yield each grid point as indices, and as text."""
    dims = [str(d) for d in result["ser"].dims if d != "detector"]
    for at in np.ndindex(*(result.sizes[d] for d in dims)):
        values = ", ".join(f"{d}={_say(result[d].values[i])}" for d, i in zip(dims, at, strict=True))
        yield dict(zip(dims, at, strict=True)), values


def error_table(result: xr.Dataset, title: str) -> Table:
    """Return one row per grid point and one column per detector and limit: rate and interval."""
    names = [str(name) for name in result["detector"].values]
    lines = [name for name in LIMITS if name.replace(" ", "_") in result]
    rows = []
    for at, text in _points(result):
        point = result.isel(at)
        cells = []
        for name in names:
            curve = point.sel(detector=name)
            rate, low, high = (float(curve[v]) for v in ("ser", "ser_low", "ser_high"))
            if not np.isfinite(rate):
                cells.append("failed")
            elif rate == 0:
                cells.append(f"< {high:.1e}")
            else:
                cells.append(f"{rate:.2e} ({low:.1e}..{high:.1e}){'' if bool(curve['complete']) else '?'}")
        cells += [f"{float(point[name.replace(' ', '_')]):.1e}" for name in lines]
        rows.append([text, *cells])
    note = '"< x": no error was seen; x is the upper end of the interval for errors that come one per frame.'
    return Table(title, ["point", *names, *lines], rows, note)


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


def _say(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float | np.integer | np.floating) else str(value)


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
