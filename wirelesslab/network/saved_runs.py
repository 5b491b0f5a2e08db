"""A run's folder: what is written of the network beside its tables, and how all of it is read back.

Reading is forgiving: a run that was killed leaves some files, half files or none, and what is left is still worth
looking at. What could not be read is said, in the manifest's list `troubles`.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wirelesslab import results
from wirelesslab.network.books import SERIES
from wirelesslab.network.flows import Flow, FlowRecord
from wirelesslab.network.kpis import KPI
from wirelesslab.network.slices import ResourceRatio, ServiceLevel, Slice, SNssai
from wirelesslab.network.view import Action, ActionRecord, SetActive, SetRatios, SetSync, SetUp

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

TABLES: dict[str, tuple[str, ...]] = {
    "slices": ("slice", "quantile"),
    "stations": ("station", "slice"),
    "cells": ("cell", "slice"),
    "series": ("time_s", "slice"),
    "gauges": ("time_s",),
}
"""The tables of a run and the dimensions of their rows."""
# Columns that vary along fewer dimensions than their table's rows.
NARROW = {"slices": ("slice",), "stations": ("station",)}
WIDE = {"slices": {"delay_s"}}
FILES = (*(f"{name}.parquet" for name in TABLES), "actions.jsonl", "flows.jsonl", "manifest.json")
MOST_USERS = 1000  # whose places are written down
MOST_STEPS = 1000  # of slices' lives that are written down


@dataclass(frozen=True)
class WrittenAction:
    """An action of a kind that is not known here, as it was written down.

    Attributes:
        text: The wish in words.
        kind: Its class.
    """

    text: str
    kind: str

    def __str__(self) -> str:
        return self.text


def surroundings(network: "Network") -> dict[str, Any]:
    """Return for the manifest what no table holds: the graph, what is down, where users are, what was lost and why."""
    book, radios = network.book, [a for a in network.actors.values() if hasattr(a, "cell_nodes")]
    lives = {name: actor.life for name, actor in network.actors.items() if hasattr(actor, "life")}
    steps = [
        {"time_s": e.time_s, "by": name, "slice": e.name, "step": e.step, "state": e.target, "reason": e.reason}
        for name, life in lives.items()
        for e in getattr(life, "events", ())[-MOST_STEPS:]
    ]
    return {
        "graph": _node_link(network),
        "down": sorted(network.down),
        "cells": [node for radio in radios for node in radio.cell_nodes],
        "users": _users(network, radios),
        "outcomes": {
            s.name: {outcome: counts[i] for outcome, counts in book.ended_flows.items()}
            for i, s in enumerate(network.slices)
        },
        "wishes": book.wishes,
        "life": steps,
    }


def _node_link(network: "Network") -> dict[str, Any]:
    """Return the graph as `topology_files.from_node_link` takes it; it was checked when the network was built."""
    nodes = [{"id": name, **results.describe(attributes)} for name, attributes in network.graph.nodes(data=True)]
    edges = [
        {"source": a, "target": b, **results.describe(attributes)}
        for a, b, attributes in network.graph.edges(data=True)
    ]
    return {"directed": True, "multigraph": False, "graph": {}, "nodes": nodes, "edges": edges}


def _users(network: "Network", radios: list[Any]) -> dict[str, Any]:
    """Return where users are, some of them when there are many, and how many there are."""
    count, places = 0, []
    for radio in radios:
        of_slice = radio.access.user_slices
        count += len(of_slice)
        if radio.movement is not None:
            shown = np.unique(np.linspace(0, len(of_slice) - 1, min(len(of_slice), MOST_USERS)).astype(int))
            at = radio.movement.users_m
            names = [s.name for s in network.slices]
            places += [[names[of_slice[u]], round(float(at[u, 0]), 1), round(float(at[u, 1]), 1)] for u in shown]
    return {"count": count, "shown": places[:MOST_USERS]}


def read_folder(folder: str | Path) -> dict[str, Any]:
    """Return the fields of the `Run` that was saved in a folder, as far as they can be read.

    Raises:
        FileNotFoundError: There is no such folder, or nothing in it is a run's.
    """
    folder = Path(folder)
    there = [name for name in (*FILES, "trace.json") if (folder / name).is_file()]
    if not there:
        msg = f"folder: {str(folder)!r} holds no run, expected files such as {FILES[-1]} or {FILES[0]}"
        raise FileNotFoundError(f"{msg}; make one with `wirelesslab simulate FILE --out FOLDER`")
    troubles: list[str] = []
    manifest = _manifest(folder, troubles)
    names = [str(part.get("name")) for part in manifest.get("slices", []) if isinstance(part, dict)]
    tables = {name: _table(folder, name, names, troubles) for name in TABLES}
    actions = tuple(_lines(folder / "actions.jsonl", _action, troubles))
    records = tuple(_lines(folder / "flows.jsonl", _flow_record, troubles))
    if "time_s" not in manifest:
        times = [float(t[-1]) for t in (tables["series"].get("time_s"), tables["gauges"].get("time_s"))
                 if t is not None and t.size]  # fmt: skip
        manifest["time_s"] = max([0.0, *times, *(a.time_s for a in actions)])
    manifest["troubles"] = troubles
    return {**tables, "actions": actions, "records": records, "manifest": manifest}


def slices_of(manifest: dict[str, Any], table: xr.Dataset) -> tuple[Slice, ...]:
    """Return a run's slices from its manifest, or as far as the table of slices tells."""
    found = []
    for part in manifest.get("slices", []):
        try:
            level = {k: v for k, v in part["level"].items() if k != "class"}
            found.append(
                Slice(
                    name=part["name"], snssai=SNssai(part["snssai"]["sst"], part["snssai"]["sd"]),
                    level=ServiceLevel(**level), radio=_ratio(part["radio"]), transport=_ratio(part["transport"]),
                    compute=_ratio(part["compute"]), weight=part["weight"], priority=part["priority"],
                )
            )  # fmt: skip
        except (KeyError, TypeError, ValueError):
            continue
    if found or "slice" not in table.coords:
        return tuple(found)
    for i, name in enumerate(table["slice"].values):
        row = table.isel(slice=i)
        sst, _, sd = str(row["snssai"].item()).partition("-") if "snssai" in row.coords else ("255", "", "")
        promise = float(row["promised_delay_s"]) if "promised_delay_s" in row else np.nan
        known = ServiceLevel()
        if not np.isnan(promise):
            known = ServiceLevel(delay_s=promise, delay_quantile=float(row["promised_quantile"]))
        found.append(Slice(name=str(name), snssai=SNssai(int(sst), int(sd, 16) if sd else None), level=known))
    return tuple(found)


def _manifest(folder: Path, troubles: list[str]) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        troubles.append("manifest.json is missing: seed, promises, versions and the map are not known")
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        troubles.append(f"manifest.json cannot be read ({error}): seed, promises, versions and the map are not known")
        return {}
    if not isinstance(data, dict):
        troubles.append("manifest.json holds no object")
        return {}
    return data


def _table(folder: Path, name: str, slices: list[str], troubles: list[str]) -> xr.Dataset:
    """Return a table as it was before it was written; an empty dataset when it cannot be read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path, dims = folder / f"{name}.parquet", TABLES[name]
    if not path.is_file():
        troubles.append(f"{path.name} is missing")
        return xr.Dataset()
    try:
        frame = pq.read_table(path).to_pandas()
        lengths = [list(dict.fromkeys(frame[dim])) for dim in dims]
        if "slice" in dims and not lengths[dims.index("slice")]:
            lengths[dims.index("slice")] = slices  # no rows, but slices there are
        shape = tuple(map(len, lengths))
        if len(frame) != np.prod(shape):
            troubles.append(f"{path.name} has {len(frame)} rows, expected {np.prod(shape)}")
            return xr.Dataset()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        troubles.append(f"{path.name} cannot be read ({first[:160]})")
        return xr.Dataset()
    columns: dict[str, Any] = {}
    for column in frame.columns:
        values = frame[column].to_numpy().reshape(shape) if column not in dims else None
        if values is None:
            continue
        narrow = NARROW.get(name, dims)
        if column not in WIDE.get(name, () if name == "slices" else {column} - {"kind"}):
            values = values[:, 0] if shape[1:] and shape[1] else values.reshape(-1)[:0]
            columns[column] = (narrow, values)
        else:
            columns[column] = (dims, values)
    data = xr.Dataset(columns, dict(zip(dims, lengths, strict=True)))
    if "snssai" in data:
        data = data.set_coords("snssai")
    for column, (units, kpi) in KPI.items():
        if name in {"slices", "cells"} and column in data and (name == "slices") == (column != "used_ratio"):
            data[column].attrs.update({"units": units} | ({"kpi": kpi} if kpi else {}))
    if name == "series" and (missing := [what for what in SERIES if what not in data]):
        troubles.append(f"{path.name} lacks {', '.join(missing)}: it was written by another version")
    return data


def _lines(path: Path, make: Callable[[dict[str, Any]], Any], troubles: list[str]) -> list[Any]:
    if not path.is_file():
        troubles.append(f"{path.name} is missing")
        return []
    rows, bad = [], 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            rows.append(make(json.loads(line)))
        except (ValueError, KeyError, TypeError, AttributeError):
            bad += 1
    if bad:
        troubles.append(f"{path.name}: {bad} of {bad + len(rows)} lines cannot be read")
    return rows


def _ratio(part: dict[str, Any]) -> ResourceRatio:
    return ResourceRatio(dedicated=part["dedicated"], min=part["min"], max=part["max"])


def _action(row: dict[str, Any]) -> ActionRecord:
    text = str(row["action"])
    wish: dict[str, Any] = row["wish"] if isinstance(row.get("wish"), dict) else {}
    kind = str(wish.get("class", ""))
    action: Action = WrittenAction(text, kind or "action")
    with suppress(KeyError, TypeError, ValueError):  # a wish that was refused may make no sense; its words remain
        if kind == "SetRatios":
            ratios = {name: _ratio(ratio) for name, ratio in wish["ratios"].items()}
            action = SetRatios(domain=wish["domain"], ratios=ratios, element=wish["element"])
        elif kind == "SetUp":
            action = SetUp(element=wish["element"], up=wish["up"])
        elif kind == "SetActive":
            action = SetActive(slice=wish["slice"], active=wish["active"])
        elif kind == "SetSync":
            action = SetSync(twin=wish["twin"], rates_per_s=tuple(wish["rates_per_s"]))
    return ActionRecord(time_s=float(row["time_s"]), by=str(row["by"]), action=action, refused=str(row["refused"]))


def _flow_record(row: dict[str, Any]) -> FlowRecord:
    flow = Flow(
        slice=row["slice"], num_bytes=row["num_bytes"], source=row["source"], sink=row["sink"], user=row["user"],
        label=row["label"],
    )  # fmt: skip
    spans = tuple((str(what), str(where), float(a), float(b)) for what, where, a, b in row["spans"])
    return FlowRecord(
        flow=flow, number=row["number"], sent_s=row["sent_s"], ended_s=row["ended_s"], outcome=row["outcome"],
        spans=spans,
    )  # fmt: skip
