"""What a run gave: labelled tables, the time series, the manifest, and where they are written."""

import json
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wirelesslab import results
from wirelesslab.array_files import replace
from wirelesslab.network.books import SERIES
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.kpis import KPI
from wirelesslab.network.report_page import write_report
from wirelesslab.network.saved_runs import TABLES, read_folder, surroundings
from wirelesslab.network.view import ActionRecord

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

QUANTILES = (0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True, eq=False)
class Run:
    """A network's life so far, in tables.

    Attributes:
        slices: One row per slice (dimension `slice`): flows and bytes offered, delivered, lost and inside, the
            share that was late, mean delay and its quantiles. Variables carry their unit, and the name of the
            3GPP counter where there is one, as attributes `units` and `kpi`.
        stations: One row per link and server and slice (dimensions `station`, `slice`): counts, utilisation,
            mean wait, share delayed.
        cells: One row per cell and slice (dimensions `cell`, `slice`) of every radio: bytes and packets offered,
            delivered, waiting and dropped, and the mean share of the cell that was used; no rows without a radio.
        series: The totals of every slice over `time_s`; differences give any window's.
        gauges: What actors with a method `gauges` read off themselves at the points of `series`, over `time_s`, by
            "actor: gauge"; nan before an actor was there.
        actions: What was wished of the network, and what was refused.
        records: The latest flows, as many as the network keeps.
        manifest: Seed, settings and versions; the graph, where users are, and what was lost for which reason.
    """

    slices: xr.Dataset
    stations: xr.Dataset
    cells: xr.Dataset
    series: xr.Dataset
    gauges: xr.Dataset
    actions: tuple[ActionRecord, ...] = field(repr=False)
    records: tuple[FlowRecord, ...] = field(repr=False)
    manifest: dict[str, Any] = field(repr=False)

    @property
    def time_s(self) -> float:
        """How long the network has lived."""
        return float(self.manifest["time_s"])

    def windows(self) -> xr.Dataset:
        """Return what happened between the points of the series: rates in bits per second, mean delay, late share."""
        gone = self.series.diff("time_s")
        width = xr.DataArray(np.diff(self.series["time_s"]), dims="time_s")
        ended = gone["delivered_flows"] + gone["lost_flows"]
        return xr.Dataset(
            {
                "offered_bps": 8 * gone["offered_bytes"] / width,
                "delivered_bps": 8 * gone["delivered_bytes"] / width,
                "lost_bps": 8 * gone["lost_bytes"] / width,
                "mean_delay_s": gone["delay_seconds"] / gone["delivered_flows"].where(gone["delivered_flows"] > 0),
                "late_share": (gone["late_flows"] + gone["lost_flows"]) / ended.where(ended > 0),
                "inside_bytes": self.series["inside_bytes"].isel(time_s=slice(1, None)),
            }
        )

    def save(self, folder: str | Path) -> Path:
        """Write the tables as Parquet, actions and records as JSON lines, and the manifest; returns the folder.

        Raises:
            OSError: The folder cannot be written, or the disk is full; each file is whole, old or new.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        folder = results.prepare_folder(folder)
        for name in TABLES:
            frame = getattr(self, name).to_dataframe().reset_index()
            content = BytesIO()
            pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), content)
            replace(folder / f"{name}.parquet", content.getvalue())
        actions = [
            {
                "time_s": a.time_s,
                "by": a.by,
                "action": str(a.action),
                "refused": a.refused,
                "wish": _described(a.action),
            }
            for a in self.actions
        ]
        records = [
            {"number": r.number, "slice": r.flow.slice, "source": r.flow.source, "sink": r.flow.sink,
             "user": r.flow.user, "label": r.flow.label, "num_bytes": r.flow.num_bytes,
             "sent_s": r.sent_s, "ended_s": r.ended_s, "outcome": r.outcome, "spans": r.spans}
            for r in self.records
        ]  # fmt: skip
        for name, rows in (("actions", actions), ("flows", records)):
            replace(folder / f"{name}.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
        replace(folder / "manifest.json", (json.dumps(self.manifest, indent=2) + "\n").encode())
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> "Run":
        """Read the run that `save` wrote, or what is left of it; `manifest["troubles"]` says what is not.

        Actions are the same as those that were saved; of a kind that is not known here, they keep their words.

        Raises:
            FileNotFoundError: There is no such folder, or nothing in it is a run's.
        """
        return cls(**read_folder(folder))

    def report(self, path: str | Path) -> Path:
        """Write all of the run as one page for a browser, which needs no server and nothing else; returns the file.

        Examples:
            >>> from tempfile import TemporaryDirectory
            >>> from wirelesslab.network import EMBB, Network, line
            >>> run = Network(line(num_links=1, rate_bps=1e6), (EMBB,)).run(1.0)
            >>> with TemporaryDirectory() as folder:
            ...     run.report(f"{folder}/report.html").name
            'report.html'
        """
        return write_report(self, path)


def run_of(network: "Network") -> Run:
    """Return what a network's life gave so far."""
    settings = network.settings
    return Run(
        slices=_slices(network),
        stations=_stations(network),
        cells=_cells(network),
        series=_series(network),
        gauges=_gauges(network),
        actions=tuple(network.actions),
        records=tuple(network.flow_records),
        manifest={
            "time_s": network.now_s,
            "seed": network.seed,
            "slices": [results.describe(s) for s in network.slices],
            "scheduler": results.describe(settings["scheduler"]),
            "segment_bytes": settings["segment_bytes"],
            "nodes": network.graph.number_of_nodes(),
            "links": network.graph.number_of_edges(),
            "actors": {name: _described(actor) for name, actor in network.actors.items()},
            "versions": results.versions(),
            "command": results.provenance()["command"],
            **surroundings(network),
        },
    )


def _described(actor: Any) -> Any:
    """Return an actor's config; of one that is not a config, its class."""
    try:
        return results.describe(actor)
    except TypeError:
        return {"class": type(actor).__name__}


def _slices(network: "Network") -> xr.Dataset:
    book, count = network.book, len(network.slices)
    views = [book.view(i, True, overdue) for i, overdue in enumerate(network.overdue())]
    delivered = np.array([v.delivered_flows for v in views], float)
    ended = delivered + [v.lost_flows + v.overdue_flows for v in views]
    bad = np.array([v.late_flows + v.lost_flows + v.overdue_flows for v in views], float)
    nothing = np.full(count, np.nan)
    columns: dict[str, Any] = {
        name: [getattr(v, name) for v in views] for name in SERIES if name != "delay_seconds"
    } | {
        "late_share": np.divide(bad, ended, out=nothing.copy(), where=ended > 0),
        "mean_delay_s": np.divide([v.delay_seconds for v in views], delivered, out=nothing.copy(), where=delivered > 0),
        "delivered_bps": [8 * v.delivered_bytes / network.now_s if network.now_s else np.nan for v in views],
        "offered_bps": [8 * v.offered_bytes / network.now_s if network.now_s else np.nan for v in views],
        "promised_delay_s": [np.nan if promise == np.inf else promise for promise in network.promises],
        "promised_quantile": [s.level.delay_quantile for s in network.slices],
    }  # fmt: skip
    data = xr.Dataset({name: ("slice", values) for name, values in columns.items()}, _names(network))
    quantiles = [[t.quantile(q) if t.count else np.nan for q in QUANTILES] for t in book.delays]
    data["delay_s"] = (("slice", "quantile"), np.array(quantiles))
    data = data.assign_coords(quantile=list(QUANTILES), snssai=("slice", [str(s.snssai) for s in network.slices]))
    for name, (units, kpi) in KPI.items():
        if name in data:
            data[name].attrs.update({"units": units} | ({"kpi": kpi} if kpi else {}))
    return data


def _names(network: "Network") -> dict[str, Any]:
    return {"slice": [s.name for s in network.slices]}


def _stations(network: "Network") -> xr.Dataset:
    stations = [*network.links.values(), *network.servers.values()]
    accounts = [station.account() for station in stations]
    names = (
        "offered_packets", "served_packets", "inside_packets", "dropped_packets", "offered_bytes", "served_bytes",
        "inside_bytes", "dropped_bytes", "refused_packets", "begun_packets", "delayed_packets", "wait_seconds",
        "sojourn_seconds", "work_done",
    )  # fmt: skip
    dims = ("station", "slice")
    coords = {"station": [s.name for s in stations], **_names(network)}
    shape = (len(stations), len(network.slices))
    data = xr.Dataset({n: (dims, np.array([getattr(a, n) for a in accounts]).reshape(shape)) for n in names}, coords)
    accepted = data["offered_packets"] - data["refused_packets"]
    data["mean_wait_s"] = data["wait_seconds"] / data["begun_packets"].where(data["begun_packets"] > 0)
    data["share_delayed"] = data["delayed_packets"] / accepted.where(accepted > 0)
    work_possible = xr.DataArray([s.rate for s in stations], dims="station") * (network.now_s or np.nan)
    data["utilisation"] = data["work_done"] / work_possible
    data["kind"] = ("station", ["link"] * len(network.links) + ["server"] * len(network.servers))
    return data


def _cells(network: "Network") -> xr.Dataset:
    radios = [actor for actor in network.actors.values() if hasattr(actor, "cell_nodes")]
    accounts = [radio.access.account() for radio in radios]
    names = [
        f"{state}_{what}" for state in ("offered", "delivered", "waiting", "dropped") for what in ("bytes", "packets")
    ]
    nothing = np.zeros((0, len(network.slices)))
    dims = ("cell", "slice")
    columns: dict[str, Any] = {
        name: (dims, np.concatenate([nothing.astype(np.int64), *(getattr(a, name) for a in accounts)]))
        for name in names
    }
    used = np.concatenate(
        [nothing, *(a.used_share_seconds / a.now_s if a.now_s else a.used_share_seconds for a in accounts)]
    )
    data = xr.Dataset({**columns, "used_ratio": (dims, used)}, _names(network))
    data = data.assign_coords(cell=np.array([node for radio in radios for node in radio.cell_nodes], dtype=str))
    units, kpi = KPI["used_ratio"]
    data["used_ratio"].attrs.update({"units": units, "kpi": kpi})
    return data


def _gauges(network: "Network") -> xr.Dataset:
    book = network.book
    names = dict.fromkeys(name for gauges in book.gauges for name in gauges)
    columns = {name: ("time_s", np.array([gauges.get(name, np.nan) for gauges in book.gauges])) for name in names}
    return xr.Dataset(columns, {"time_s": np.array(book.times_s)})


def _series(network: "Network") -> xr.Dataset:
    book = network.book
    points = np.array(book.points).reshape(len(book.points), len(SERIES), len(network.slices))
    points = np.concatenate([np.zeros((1, *points.shape[1:])), points])  # everything begins with nothing
    return xr.Dataset(
        {name: (("time_s", "slice"), points[:, i]) for i, name in enumerate(SERIES)},
        {"time_s": np.array([0.0, *book.times_s]), **_names(network)},
    )
