"""What is lost when a worker is killed in the middle of training?

wirelesslab run terngrad_killed_worker          (about 4 minutes on two cores; --quick: 30 seconds)

Expect: nothing but time. Two workers train in processes of their own over gRPC; one of them, drawn at random, is killed
at a random step, comes back from what it wrote down last (up to three steps before), and ends with the other at the
weights of a training in which nobody died, to the last bit: with ternary codes and with signs, whose error feedback
is each worker's own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.plot import COLORS
from wirelesslab.replicas import difference, mean
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table
from wirelesslab.stats import Count
from wirelesslab.vision.crews import crew_of, digits
from wirelesslab.vision.parallel import Replica, train_in_one_process
from wirelesslab.vision.parallel_processes import ProcessOptions, train_in_processes
from wirelesslab.vision.plain_nets import DIGITS
from wirelesslab.vision.wires import SignSGD, Ternary, Wire

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

WIRES: Mapping[str, Wire] = {"ternary": Ternary(), "signs with error feedback": SignSGD()}


@dataclass(frozen=True, kw_only=True)
class Config:
    """How often a worker is killed.

    Attributes:
        replicas: Trainings with a kill, for each wire.
        steps: Steps of a training.
        written_every: Steps between two times that a worker writes itself down.
    """

    replicas: int = 10
    steps: int = 40
    written_every: int = 3

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas, steps=self.steps, written_every=self.written_every)


QUICK: Mapping[str, Any] = {"replicas": 2, "steps": 8}


@dataclass(frozen=True, kw_only=True)
class Training:
    """Two workers on digits: a `Job`.

    Attributes:
        wire: How gradients travel.
        steps: When it ends.
        seed: Of split, weights and all else.
        workers: How many.
        written_every: See `Config`.
    """

    wire: Wire
    steps: int
    seed: int = 0
    workers: int = 2
    written_every: int = 3

    def crew(self) -> list[Replica]:
        """Return all workers."""
        net = replace(DIGITS, rate=0.08)
        return crew_of(net, self.wire, digits(self.seed)["train"], workers=self.workers, batch=64, seed=self.seed)

    def replica(self, worker: int) -> Replica:
        """Return a worker at its first step."""
        return self.crew()[worker]


def kill_one(training: Training, seed: int) -> Mapping[str, Any]:
    """Train with and without a kill; returns accuracies in per cent, and whether all weights are equal."""
    job, rng = replace(training, seed=seed), stream(seed, "kill")
    worker, step = int(rng.integers(job.workers)), int(rng.integers(job.steps))
    exchange = int(rng.integers(job.wire.exchanges))
    undisturbed = job.crew()
    train_in_one_process(undisturbed, job.steps)
    options = ProcessOptions(kill_at=((worker, step, exchange),), written_every=job.written_every, timeout_s=60)
    run = train_in_processes(job, options)
    back = job.replica(0)
    back.restore(run.arrays)
    test = digits(seed)["test"]
    scores = [DIGITS.loss_and_accuracy(r.state, test.images, test.labels)[1] for r in (back, undisturbed[0])]
    expected = sha256(undisturbed[0].weights()).hexdigest()
    return {
        "killed": 100 * scores[0], "undisturbed": 100 * scores[1], "kills": len(run.killed),
        "equal": float(set(run.digests) == {expected}), "left_out": sum(map(len, run.missed.values())),
        "step": step, "ended": float(back.step == job.steps),
    }  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Kill a worker in every training.

    Returns:
        Over `experiment` and `replica`: test accuracy with the kill (`killed`) and without (`undisturbed`), whether all
        weights are `equal` to the last bit, at which `step` the worker died, and how many steps were `left_out`.
    """
    session = session or Session()
    jobs = {
        name: Training(wire=wire, steps=config.steps, written_every=config.written_every)
        for name, wire in WIRES.items()
    }
    return session.replicate(kill_one, jobs, config.replicas)


def table(result: "xr.Dataset") -> Table:
    """Return what was lost."""
    rows = []
    for name in map(str, result["experiment"].values):
        one = result.sel(experiment=name)
        rows.append([
            name, f"{int(one['kills'].sum())}", f"{int(one['ended'].sum())}", f"{int(one['equal'].sum())}",
            f"{int(one['left_out'].sum())}", str(mean(one["killed"])),
            str(difference(one["killed"], one["undisturbed"])),
        ])  # fmt: skip
    columns = ["wire", "kills", "ended", "weights equal", "steps left out", "test, %", "points beside undisturbed"]
    return Table("A worker is killed and comes back", columns, rows, "Means over seeds with 95 % intervals.")


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw accuracy with a kill over accuracy without."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.8), layout="constrained")
    axis = figure.subplots()
    for number, name in enumerate(map(str, result["experiment"].values)):
        one = result.sel(experiment=name)
        axis.plot(one["undisturbed"], one["killed"], "os"[number % 2], color=COLORS[number], label=name, markersize=6,
                  fillstyle="none")  # fmt: skip
    ends = [float(np.min(result["undisturbed"])) - 1, float(np.max(result["undisturbed"])) + 1]
    axis.plot(ends, ends, color="0.7", zorder=0)
    axis.set(xlabel="test accuracy undisturbed (%)", ylabel="test accuracy with a kill (%)")
    axis.set_title("One point per training; on the line: the same", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    return {"killed_worker": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return counts with intervals."""
    figures = {}
    for name in map(str, result["experiment"].values):
        one = result.sel(experiment=name)
        equal, runs = int(one["equal"].sum()), result.sizes["replica"]
        figures[name] = {
            "kills": int(one["kills"].sum()), "steps left out": int(one["left_out"].sum()),
            "share with equal weights": {"value": equal / runs, "interval": list(Count(equal, runs).interval())},
            "points beside undisturbed": difference(one["killed"], one["undisturbed"])._asdict(),
        }  # fmt: skip
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
