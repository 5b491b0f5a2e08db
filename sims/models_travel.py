"""What does a smaller model gain on its way: is it there sooner, and is more answered right in time?

wirelesslab run models_travel                   (about 3 minutes on two cores; --quick: 20 seconds)

Expect: a LeNet whose file group lasso has made 17 times smaller is there 25 times sooner (221 s against 9 s at
0.5 Mb/s). Where the cell's link cannot carry the images (below 0.4 Mb/s), only what a device computes is in time, and
only the sparsest model comes soon enough to matter. From 1 Mb/s on the edge answers best, and the dense model is the
most accurate by one to three points; the sparsest on the device comes within three points of it at 100 Mb/s, for half
the bytes. A dense model on the device is nothing worth in half a minute below 10 Mb/s. At 0.5 Mb/s neither place
suffices, and who may choose, and hears when the edge falls silent, is right in time four points more often than either.
At 0.1 Mb/s he loses: requests that nobody hears slow his model down. Mean delays are those of the M/G/1 formula.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims._models_in_a_cell import CHECK_LOAD, EITHER, Cell, against_theory, first_answers, session
from wirelesslab_sims._models_to_travel import DENSE, train_models

from wirelesslab import check
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import difference, mean
from wirelesslab.services.inference_records import SPANS
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class Config:
    """The cell, its clients, and how models are trained.

    Attributes:
        replicas: Seeds, each with its own split of the digits, its own training and its own arrivals.
        epochs: Passes over the training images of the dense net.
        sparse_epochs: Passes with group lasso; half as many follow to tune.
        strengths: Of group lasso on filters and hidden units, one sparse net each.
        bandwidths_bps: Of the cell's link, each way, shared by all clients.
        clients: In the cell.
        rate_per_s: Requests per second of each client.
        deadline_s: How long an answer is of use.
        session_s: How long clients ask; nobody has a model when it begins.
        device_operations_per_s: Of each client's device (our choice: a small microcontroller).
        edge_operations_per_s: Of the edge node, what this cell gets of it (our choice).
        check_requests: Requests with which the mean delay is held against theory.
    """

    replicas: int = 5
    epochs: int = 10
    sparse_epochs: int = 12
    strengths: tuple[float, ...] = (0.14, 0.2)
    bandwidths_bps: tuple[float, ...] = (1e5, 2e5, 5e5, 1e6, 3e6, 1e7, 1e8)
    clients: int = 8
    rate_per_s: float = 10.0
    deadline_s: float = 0.1
    session_s: float = 30.0
    device_operations_per_s: float = 1e8
    edge_operations_per_s: float = 5e8
    check_requests: int = 6000

    def __post_init__(self) -> None:
        check.positive_integer(
            replicas=self.replicas, epochs=self.epochs, sparse_epochs=self.sparse_epochs, clients=self.clients,
            check_requests=self.check_requests,
        )  # fmt: skip
        check.positive(
            rate_per_s=self.rate_per_s, deadline_s=self.deadline_s, session_s=self.session_s,
            device_operations_per_s=self.device_operations_per_s, edge_operations_per_s=self.edge_operations_per_s,
        )  # fmt: skip
        for name in ("strengths", "bandwidths_bps"):
            for value in getattr(self, name):
                check.positive(**{name: value})

    @property
    def cell(self) -> Cell:
        """The cell."""
        return Cell(
            clients=self.clients, rate_per_s=self.rate_per_s, deadline_s=self.deadline_s, session_s=self.session_s,
            device_operations_per_s=self.device_operations_per_s, edge_operations_per_s=self.edge_operations_per_s,
        )  # fmt: skip

    @property
    def models(self) -> list[str]:
        """Names of the models."""
        return [DENSE, *(f"sparse {strength:g}" for strength in self.strengths)]

    @property
    def ways(self) -> list[str]:
        """Names of the ways to get answers."""
        return [*(f"{where}, {model}" for where in ("edge", "device") for model in self.models), EITHER]


QUICK: Mapping[str, Any] = {
    "replicas": 2, "epochs": 2, "sparse_epochs": 2, "strengths": (0.6,), "bandwidths_bps": (5e5, 1e7),
    "session_s": 2.0, "check_requests": 600,
}  # fmt: skip


def one_seed(config: Config, seed: int) -> Mapping[str, Any]:
    """Train the models once, and let them travel and answer at all bandwidths."""
    images, models = train_models(
        seed, epochs=config.epochs, sparse_epochs=config.sparse_epochs, strengths=config.strengths
    )
    rates, cell = config.bandwidths_bps, config.cell
    firsts = np.array([[first_answers(cell, images, model, rate, seed) for model in models] for rate in rates])
    runs = [[session(cell, images, models, way, rate, seed) for way in config.ways] for rate in rates]
    slowest = max(model.served.operations for model in models)
    theory = np.array([against_theory(cell, images, model, slowest, config.check_requests, seed) for model in models])
    figures: dict[str, Any] = {
        name: np.array([[run[name] for run in row] for row in runs])
        for name in ("right_in_time", "delay_s", "spans_s", "megabytes", "on_device")
    }
    return figures | {
        "file_bytes": [float(model.num_bytes) for model in models],
        "operations": [model.served.operations for model in models],
        "accuracy": [float(model.served.right.mean()) for model in models],
        "download_s": firsts[:, :, 0], "first_device_s": firsts[:, :, 1], "first_edge_s": firsts[:, :, 2],
        "bytes_beyond": float(firsts[:, :, 3].sum()), "gap_s": max(run["gap_s"] for row in runs for run in row),
        "mean_s": theory[:, 0], "mean_error_s": theory[:, 1], "theory_s": theory[:, 2],
    }  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Train and travel under every seed.

    Returns:
        Over `replica`, `model`: `file_bytes`, `operations`, test `accuracy`, and under load `mean_s` with
        `mean_error_s` beside `theory_s`; with `bandwidth_bps`: seconds of `download_s`, of the first answer
        `first_device_s` and `first_edge_s`; over `bandwidth_bps` and `way`: the share `right_in_time`, `delay_s` of the
        answered and its `spans_s`, `megabytes` over the cell's link, the share `on_device`. `bytes_beyond` and `gap_s`
        are what bytes and spans leave unexplained.
    """
    session = session or Session()
    result = session.replicate(one_seed, {"lenet": config}, config.replicas).squeeze("experiment", drop=True)
    axes = {"file_bytes": ("model",), "operations": ("model",), "accuracy": ("model",), "mean_s": ("model",),
            "mean_error_s": ("model",), "theory_s": ("model",), "download_s": ("bandwidth_bps", "model"),
            "first_device_s": ("bandwidth_bps", "model"), "first_edge_s": ("bandwidth_bps", "model"),
            "right_in_time": ("bandwidth_bps", "way"), "delay_s": ("bandwidth_bps", "way"),
            "megabytes": ("bandwidth_bps", "way"), "on_device": ("bandwidth_bps", "way"),
            "spans_s": ("bandwidth_bps", "way", "span")}  # fmt: skip
    for name, dims in axes.items():
        result[name] = (("replica", *dims), result[name].values)
    result = result.assign_coords(
        model=config.models, way=config.ways, span=list(SPANS), bandwidth_bps=list(config.bandwidths_bps)
    )
    result["deadline_s"] = config.deadline_s
    return result.drop_dims([dim for dim in result.dims if str(dim).endswith(("_at", "_0", "_1", "_2"))])


def best(result: "xr.Dataset", rate_bps: float) -> str:
    """Return the way of most right answers in time."""
    shares = result["right_in_time"].sel(bandwidth_bps=rate_bps).mean("replica")
    return str(result["way"].values[int(np.argmax(shares.values))])


def leanest(result: "xr.Dataset", rate_bps: float) -> str:
    """Return the way of fewest bytes among those within one point of the best: the best trade-off, as we mean it."""
    at = result.sel(bandwidth_bps=rate_bps)
    near = at["right_in_time"].mean("replica") >= at["right_in_time"].mean("replica").max() - 0.01
    return str(result["way"].values[int(np.nanargmin(at["megabytes"].mean("replica").where(near).values))])


def worst_z(result: "xr.Dataset") -> float:
    """Return how many standard errors the mean of all seeds is from theory, of the model that is furthest."""
    off = (result["mean_s"] - result["theory_s"]).mean("replica")
    error = np.sqrt((result["mean_error_s"] ** 2).sum("replica")) / result.sizes["replica"]
    return float(abs(off / error).max())


def table(result: "xr.Dataset") -> Table:
    """Return what models are, when they are there and answer, and how much is answered right in time."""
    rows = []
    for rate_bps in result["bandwidth_bps"].values:
        at = result.sel(bandwidth_bps=rate_bps)
        for model in map(str, result["model"].values):
            one = at.sel(model=model)
            shares = [str(mean(100 * at["right_in_time"].sel(way=f"{w}, {model}"))) for w in ("edge", "device")]
            first = [f"{mean(one[name]).value:.3g}" for name in ("download_s", "first_device_s", "first_edge_s")]
            rows.append([f"{rate_bps / 1e6:g} Mb/s", model, *first, *shares])
        either, share = at.sel(way=EITHER), 100 * float(at["on_device"].sel(way=EITHER).mean())
        rows.append([
            f"{rate_bps / 1e6:g} Mb/s", EITHER, "", "", "", str(mean(100 * either["right_in_time"])),
            f"({share:.0f} % on device)",
        ])  # fmt: skip
    columns = ["cell's link", "model", "there after, s", "first answer: device, s", "edge, s",
               "right in time: edge, %", "device, %"]  # fmt: skip
    sizes = "; ".join(
        f"{m}: {float(result['file_bytes'].sel(model=m).mean()) / 1e3:.0f} kB, "
        f"{float(result['operations'].sel(model=m).mean()) / 1e6:.2f} Mop, "
        f"{mean(100 * result['accuracy'].sel(model=m))} % right"
        for m in map(str, result["model"].values)
    )
    ratio = result["mean_s"] / result["theory_s"]
    note = (
        f"Means over {result.sizes['replica']} seeds with 95 % intervals; each draws and trains anew. {sizes}. In "
        f"time: within {1e3 * float(result['deadline_s']):g} ms of asking; no device has a model when it begins. "
        f"At an uplink's load of {CHECK_LOAD:g} the mean delay is {mean(ratio)} of the M/G/1 formula's, at most "
        f"{worst_z(result):.1f} standard errors off. Delay that spans do not explain: {float(result['gap_s'].max()):g} "
        f"s; bytes beyond files and manifests: {float(result['bytes_beyond'].max()):g}."
    )
    return Table("Models that travel to eight devices in a cell, or stay at the edge", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw when models are there, first answers, what is answered right in time, and where the time goes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 8.6), layout="constrained")
    (there, first), (share, bytes_axis) = figure.subplots(2, 2)
    rates = result["bandwidth_bps"].values / 1e6
    models = list(map(str, result["model"].values))
    for number, model in enumerate(models):
        one = result.sel(model=model)
        style = {"color": COLORS[number], "marker": MARKERS[number], "markersize": 5}
        size = float(one["file_bytes"].mean()) / 1e3
        band(there, rates, one["download_s"].values, label=f"{model}, {size:.0f} kB", **style)
        band(first, rates, one["first_device_s"].values, label=f"device, {model}", **style)
        band(first, rates, one["first_edge_s"].values, label=f"edge, {model}", linestyle="--", **style)
    there.set(title="A model is there (mean of eight that ask at once)", ylabel="s", xscale="log", yscale="log")
    first.set(title="The first answer is there", ylabel="s", xscale="log", yscale="log")
    for way in map(str, result["way"].values):
        where, _, model = way.partition(", ")
        place = models.index(model) if model else len(models)
        style = {
            "color": COLORS[place], "marker": MARKERS[place], "markersize": 5,
            "linestyle": {"edge": "--", "device": "-"}.get(where, ":"), "label": way,
        }  # fmt: skip
        one = result.sel(way=way)
        band(share, rates, 100 * one["right_in_time"].values, **style)
        bytes_axis.plot(one["megabytes"].mean("replica"), 100 * one["right_in_time"].mean("replica"), **style)
    for rate_bps in result["bandwidth_bps"].values:
        way = leanest(result, rate_bps)
        at = result.sel(bandwidth_bps=rate_bps, way=way).mean("replica")
        bytes_axis.plot(float(at["megabytes"]), 100 * float(at["right_in_time"]), "o", color="0.3", markersize=13,
                        fillstyle="none", linestyle="")  # fmt: skip
    share.set(title=f"Answered right within {1e3 * float(result['deadline_s']):g} ms of asking, from a cold start",
              ylabel="% of requests", xscale="log", ylim=(0, 100))  # fmt: skip
    bytes_axis.set(title="Ringed: fewest bytes within a point of the best, at each bandwidth",
                   xlabel="MB over the cell's link in the session", ylabel="% right in time", xscale="log",
                   ylim=(0, 100))  # fmt: skip
    for axis in (there, first, share):
        axis.set_xlabel("the cell's link, Mb/s")
    for axis in (there, first, share, bytes_axis):
        axis.grid(visible=True, which="major", color="0.9")
        axis.set_axisbelow(True)
        if axis is not bytes_axis:  # its lines are named beside it
            axis.legend(fontsize=8, frameon=False)
    return {"models_travel": figure, "spans": draw_spans(result)}


def band(axis: Any, at: Any, samples: Any, **style: Any) -> None:
    """Draw the mean of samples, shape (replica, points), with its 95 % interval."""
    means = [mean(samples[:, place]) for place in range(samples.shape[1])]
    axis.plot(at, [m.value for m in means], **style)
    if samples.shape[0] > 1:
        low = [max(m.low, 0.2 * m.value) for m in means]  # a logarithmic axis knows no negative time
        axis.fill_between(at, low, [m.high for m in means], color=style["color"], alpha=0.15, linewidth=0)


def draw_spans(result: "xr.Dataset") -> "Figure":
    """Draw where the time of the answered goes at a slow and at a fast link."""
    from matplotlib.figure import Figure

    rates = result["bandwidth_bps"].values
    chosen = [rates[len(rates) // 2], rates[-1]]
    figure = Figure(figsize=(11.5, 3.6), layout="constrained")
    for axis, rate_bps in zip(figure.subplots(1, 2, sharey=True), chosen, strict=True):
        left = np.zeros(result.sizes["way"])
        ways = list(map(str, result["way"].values))
        for number, span in enumerate(SPANS):
            width = 1e3 * result["spans_s"].sel(bandwidth_bps=rate_bps, span=span).mean("replica").fillna(0).values
            axis.barh(range(len(ways)), width, left=left, color=COLORS[number], label=span)
            left += width
        axis.set_yticks(range(len(ways)), ways)
        axis.invert_yaxis() if axis.get_subplotspec().is_first_col() else None
        axis.set(title=f"{rate_bps / 1e6:g} Mb/s", xlabel="ms of an answered request's delay, mean",
                 xlim=(0, 1.05 * left.max()))  # fmt: skip
    axis.legend(fontsize=8, frameon=False)
    return figure


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return times, shares and the bars, with intervals."""
    figures: dict[str, Any] = {
        "mean delay over theory": {m: mean((result["mean_s"] / result["theory_s"]).sel(model=m))._asdict()
                                   for m in map(str, result["model"].values)},
        "mean delay off theory, standard errors at most": worst_z(result),
        "delay that spans do not explain, s": float(result["gap_s"].max()),
        "bytes beyond files and manifests": float(result["bytes_beyond"].max()),
        "accuracy minus dense": {
            m: difference(result["accuracy"].sel(model=m), result["accuracy"].sel(model=DENSE))._asdict()
            for m in map(str, result["model"].values) if m != DENSE
        },
        "file bytes": {m: mean(result["file_bytes"].sel(model=m))._asdict() for m in map(str, result["model"].values)},
    }  # fmt: skip
    for rate_bps in result["bandwidth_bps"].values:
        at = result.sel(bandwidth_bps=rate_bps)
        figures[f"{rate_bps / 1e6:g} Mb/s"] = {
            "right in time": {w: mean(at["right_in_time"].sel(way=w))._asdict() for w in map(str, at["way"].values)},
            "there after, s": {m: mean(at["download_s"].sel(model=m))._asdict() for m in map(str, at["model"].values)},
            "best": best(result, rate_bps), "fewest bytes within a point of the best": leanest(result, rate_bps),
        }  # fmt: skip
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
