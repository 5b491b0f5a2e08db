"""The labelled result: rates with counts and intervals, and where they came from.

A result is an `xarray.Dataset` with the dims ``detector`` and the grid, saved as netCDF. A rate is
never without its counts: the primary metric stands in ``errors``, ``attempts``, ``ser``,
``ser_low`` and ``ser_high`` (for a metric called "ser"), every other metric ``m`` in ``m``,
``m_low``, ``m_high``, ``m_errors`` and ``m_attempts``.
"""

import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from wirelesslab import check
from wirelesslab.array_files import replace
from wirelesslab.stats import Count, Timing

CONFIDENCE = 0.95
# Metadata of a field that a configuration was given later: at its default it is not described, so that older
# results, journals and weight files still describe the same configuration.
ADDED_LATER = {"described": "unless default"}
RESULT, SUMMARY = "result.nc", "summary.json"
PACKAGES = (
    "wirelesslab",
    "numpy",
    "scipy",
    "numba",
    "xarray",
    "tensorflow",
    "sionna-no-rt",
    "networkx",
    "simpy",
)


def describe(value: Any) -> Any:
    """Return a configuration as plain JSON values; a dataclass becomes a mapping with its class.

    Raises:
        TypeError: The configuration holds something that is neither a number, text nor a dataclass.
    """
    if hasattr(value, "describe") and not isinstance(value, type):  # it knows a shorter way to say what it is
        return {"class": type(value).__name__} | describe(value.describe())
    if is_dataclass(value) and not isinstance(value, type):
        said = [f for f in fields(value) if f.metadata != ADDED_LATER or getattr(value, f.name) != f.default]
        return {"class": type(value).__name__} | {f.name: describe(getattr(value, f.name)) for f in said}
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [describe(v) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, type):
        return value.__name__
    msg = (
        f"config: got {type(value).__name__}, expected numbers, text and frozen dataclasses; "
        "a configuration must print, compare and save"
    )
    raise TypeError(msg)


def label(value: Any) -> float | str:
    """Return the coordinate that stands for a swept value: the number itself, or a short text."""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int | float):
        return value
    return str(value)


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def provenance() -> dict[str, Any]:
    """Return what a result must carry to be made again: versions, command, when."""
    program = Path(sys.argv[0]).name if sys.argv and sys.argv[0] else "python"
    if program == "__main__.py":
        program = "wirelesslab"
    return {
        "versions": json.dumps(versions()),
        "command": shlex.join([program, *sys.argv[1:]]),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def tabulate(
    rows: Sequence[Mapping[str, tuple[int, bool, Mapping[str, Count | Timing]]]],
    over: Mapping[str, Sequence[Any]],
    parts: Sequence[str],
    attrs: Mapping[str, Any],
) -> xr.Dataset:
    """Return counts as a labelled Dataset.

    Args:
        rows: Per grid point (row-major) and part: batches used, whether `Stop` was satisfied, and
            the merged metrics.
        over: The grid.
        parts: Names along the first dim, ``detector``.
        attrs: What the result carries.
    """
    shape = (len(parts), *(len(values) for values in over.values()))
    dims = ("detector", *over)
    data: dict[str, np.ndarray[Any, Any]] = {
        "batches": np.zeros(shape, dtype=np.int64),
        "complete": np.zeros(shape, dtype=np.int8),
    }
    grid = list(np.ndindex(shape[1:]))
    primary = next((m for row in rows for _, _, metrics in row.values() for m in metrics), None)

    def put(name: str, at: tuple[int, ...], value: float, kind: type = float) -> None:
        if name not in data:
            data[name] = np.zeros(shape, dtype=np.int64) if kind is int else np.full(shape, math.nan)
        data[name][at] = value

    for cell, row in zip(grid, rows, strict=True):
        for name, (batches, complete, metrics) in row.items():
            at = (parts.index(name), *cell)
            data["batches"][at], data["complete"][at] = batches, complete
            for metric, value in metrics.items():
                if isinstance(value, Timing):
                    put(metric, at, value.seconds_per_frame)
                    continue
                prefix = "" if metric == primary else f"{metric}_"
                low, high = value.interval(CONFIDENCE)
                put(f"{prefix}errors", at, value.errors, int)
                put(f"{prefix}attempts", at, value.attempts, int)
                put(metric, at, value.rate)
                put(f"{metric}_low", at, low)
                put(f"{metric}_high", at, high)
    coords: dict[str, Any] = {"detector": list(parts)}
    coords |= {name: [label(v) for v in values] for name, values in over.items()}
    return xr.Dataset(
        {name: (dims, values) for name, values in data.items()},
        coords=coords,
        attrs={"confidence": CONFIDENCE, **attrs},
    )


def prepare_folder(folder: str | Path) -> Path:
    """Return `folder`, made and tried for writing.

    Raises:
        OSError: It cannot be made or written to.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".write-test-{os.getpid()}"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        msg = f"out: cannot write to {str(path)!r} ({error.strerror}); choose another folder with --out"
        raise OSError(error.errno, msg) from error
    return path


def save(result: xr.Dataset, path: str | Path) -> None:
    """Write `result` as netCDF; an older file is replaced only when the new one is whole."""
    # HDF5 writes into memory: on a full disk it would leave a half-open file that crashes the interpreter's end.
    replace(Path(path), bytes(result.to_netcdf(engine="h5netcdf")))


def load(folder: str | Path) -> xr.Dataset:
    """Return the result that a run saved in `folder` (or the netCDF file itself).

    Raises:
        FileNotFoundError: There is no result.
        PermissionError: It may not be read.
        ValueError: The file is damaged.
    """
    path = Path(folder)
    path = path / RESULT if path.is_dir() else path
    if not path.exists():
        near = sorted(str(p.parent) for p in Path().glob(f"results/*/{RESULT}"))
        hint = check.nearest(str(folder), near) if near else "; run a sim first, such as `make study`"
        msg = f"result: no {RESULT} in {str(folder)!r}{hint}"
        raise FileNotFoundError(msg)
    try:
        with xr.open_dataset(path, engine="h5netcdf") as result:
            return result.load()
    except PermissionError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, AttributeError, TypeError) as error:  # as HDF5 finds it
        msg = f"result: {path} is damaged ({error}); run the sim again, what its journal holds is not computed again"
        raise ValueError(msg) from error


def merge(first: xr.Dataset, *others: xr.Dataset) -> xr.Dataset:
    """Return the union of results of one base configuration and seed: more points, more detectors.

    Raises:
        ValueError: The results come from different configurations or seeds, or disagree.
    """
    for other in others:
        ours, theirs = (json.loads(r.attrs["config"]) for r in (first, other))
        for key in ("base", "over", "seed", "trial"):
            if ours[key] != theirs[key]:
                msg = f"merge: {key} differs, {ours[key]!r} and {theirs[key]!r}; merge results of one configuration"
                raise ValueError(msg)
    merged = first
    for other in others:
        for name in (n for n in merged if str(n).endswith(("errors", "attempts")) and n in other):
            ours, theirs = xr.align(merged[name], other[name], join="inner")
            both = np.isfinite(ours) & np.isfinite(theirs)
            if bool((both & (ours != theirs)).any()):
                msg = f"merge: the results disagree where they overlap, in {name}; were both run to the same Stop?"
                raise ValueError(msg)
        merged = merged.combine_first(other)  # where both have a value they agree, but for the time it took
    return merged


def write_summary(folder: Path, summary: Mapping[str, Any]) -> None:
    """Write ``summary.json``: named figures with their intervals, and the provenance."""
    replace(folder / SUMMARY, (json.dumps(_plain(summary), indent=2, allow_nan=False) + "\n").encode())


def _plain(value: Any) -> Any:
    """Return `value` with JSON's types; NaN and infinity, which JSON lacks, become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(v) for v in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
