"""What does a user cost? Processor time and memory from a thousand users to a million.

wirelesslab run growth          (about 3 minutes; --quick: 1 minute)

Expect: about in proportion, or less. A user-slot costs 13 to 17 ns from ten thousand users to a million
(exponent 1.05: a million users no longer fit in the caches); files and packets get cheaper, for the cost of
a call is shared by more of them (2 us and 0.3 us each at a million users). A million users take 50 to
115 MiB. Times are processor time of one core of a machine that did other things too.
"""

import json
import multiprocessing
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check, results
from wirelesslab.network.workloads import WORKLOADS, cost_alone, fitted_exponent
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

KINDS = {"slots": "SlotAccess", "flows": "FlowAccess", "active set": "ActiveSetAccess"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """How many users, and how often each is timed.

    Attributes:
        users: Numbers of users, ascending.
        rounds: Turns that are timed in each process.
        processes: Fresh processes for each kind of radio: memory and speed depend on where things come to lie.
        fit_from: Users from which the exponent is fitted.
    """

    users: tuple[int, ...] = (1_000, 10_000, 100_000, 1_000_000)
    rounds: int = 5
    processes: int = 3
    fit_from: int = 10_000

    def __post_init__(self) -> None:
        check.positive_integer(rounds=self.rounds, processes=self.processes)
        check.positive_integer(**{f"users[{i}]": count for i, count in enumerate(self.users)})
        fitted = [count for count in self.users if count >= self.fit_from]
        if list(self.users) != sorted(set(self.users)) or len(fitted) < 2:
            msg = f"users: got {self.users}, expected ascending numbers, two or more from fit_from={self.fit_from} on"
            raise ValueError(msg)


QUICK: Mapping[str, Any] = {"users": (1_000, 10_000, 100_000), "rounds": 3, "processes": 1, "fit_from": 1_000}


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Time every kind of radio at every size, each in processes of its own, one after the other.

    Returns:
        Over `kind` and `users`: seconds of processor time per simulated second (`cost`, over `turn`), per
        user-slot, file or packet (`unit_cost_s`), and resident memory beyond the code's own (`memory_bytes`,
        over `replica`, a process each).
    """
    import xarray as xr

    del session
    kinds, shape = list(KINDS), (len(KINDS), len(config.users))
    seconds = np.zeros((*shape, config.processes, config.rounds))
    memory = np.zeros((*shape, config.processes))
    for process in range(config.processes):
        for place, kind in enumerate(kinds):
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
                measured = alone.submit(cost_alone, kind, config.users, config.rounds).result()
            seconds[place, :, process] = measured["step_s"]
            memory[place, :, process] = measured["memory_bytes"]
    step_s = np.array([WORKLOADS[kind].step_s for kind in kinds])[:, None, None]
    units = np.array([[WORKLOADS[kind].units(count) for count in config.users] for kind in kinds])[..., None]
    turns = seconds.reshape(*shape, -1)
    dims = ("kind", "users", "turn")
    data = {
        "cost": (dims, turns / step_s, {"units": "s per simulated s"}),
        "unit_cost_s": (dims, turns / units, {"units": "s"}),
        "memory_bytes": (("kind", "users", "replica"), memory, {"units": "byte"}),
    }
    coords = {"kind": kinds, "users": list(config.users), "unit": ("kind", [WORKLOADS[kind].unit for kind in kinds])}
    attrs = {"fit_from": config.fit_from, "config": json.dumps(results.describe(config)), **results.provenance()}
    return xr.Dataset(data, coords, attrs)


def exponent(result: "xr.Dataset", kind: str) -> Any:
    """Return the fitted exponent of the cost over users; medians of processes are the points."""
    some = result.sel(kind=kind, users=result["users"] >= result.attrs["fit_from"])
    processes = result.sizes["replica"]
    # turns of one process are not independent: each process gives one point per size
    points = np.median(some["cost"].values.reshape(some.sizes["users"], processes, -1), axis=2)
    return fitted_exponent(np.repeat(some["users"].values, processes), points.ravel())


def unit_cost(result: "xr.Dataset", kind: str, users: int) -> Any:
    """Return the mean over processes of the median cost per unit, in seconds."""
    turns = result["unit_cost_s"].sel(kind=kind, users=users).values.reshape(result.sizes["replica"], -1)
    return mean(np.median(turns, axis=1) if result.sizes["replica"] > 1 else turns)


def table(result: "xr.Dataset") -> Table:
    """Return cost per unit, units per second, memory, and exponents."""
    rows = []
    for kind in result["kind"].values:
        grown = exponent(result, kind)
        for users in result["users"].values:
            one = result.sel(kind=kind, users=users)
            cost, memory = unit_cost(result, kind, users), one["memory_bytes"].values / 2**20
            ns = f"{1e9 * cost.value:.4g} ({1e9 * cost.low:.4g} to {1e9 * cost.high:.4g})"
            last = users == result["users"].values[-1]
            radio = f"{KINDS[kind]}, per {one['unit'].item()}"
            rows.append([
                radio, f"{users:.0e}".replace("e+0", "e"), ns, f"{1 / cost.value:.3g}",
                f"{float(np.median(one['cost'])):.3g}", f"{np.median(memory):.4g}",
                f"{grown.value:.3f} ({grown.low:.3f} to {grown.high:.3f})" if last else "",
            ])  # fmt: skip
    columns = ["radio, unit", "users", "ns per unit", "units/s", "s per simulated s", "memory, MiB", "exponent"]
    note = (
        "Processor time of one core of a shared machine: means over fresh processes of their median turns, 95 % "
        f"intervals.\nExponent of time over users from {result.attrs['fit_from']:.0e} users on. Memory: most that was "
        "resident so far beyond the code's own, offers included."
    )
    return Table("What a user costs", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw time per simulated second, cost per unit and memory over users."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12.5, 4.4), layout="constrained")
    total, each, memory = figure.subplots(1, 3)
    users = result["users"].values
    for number, kind in enumerate(result["kind"].values):
        style = {"color": COLORS[number], "marker": MARKERS[number], "capsize": 3, "linewidth": 1.3, "markersize": 5}
        one, grown = result.sel(kind=kind), exponent(result, kind)
        costs = [unit_cost(result, kind, count) for count in users]
        scale = np.median(one["cost"].values / one["unit_cost_s"].values, axis=1)
        label = f"{KINDS[kind]}: exponent {grown.value:.2f} ({grown.low:.2f} to {grown.high:.2f})"
        for axis, factor in ((total, scale), (each, np.full(users.size, 1e9))):
            middle = factor * [c.value for c in costs]
            low = factor * [max(c.low, 0.5 * c.value) for c in costs]  # a logarithmic axis knows nothing below 0
            high = factor * [c.high for c in costs]
            name = label if axis is total else f"per {one['unit'].item()}"
            axis.errorbar(users, middle, yerr=[middle - low, high - middle], label=name, **style)
        mib = one["memory_bytes"].values / 2**20
        middle = np.median(mib, axis=1)
        memory.errorbar(
            users, middle, yerr=[middle - mib.min(axis=1), mib.max(axis=1) - middle], label=KINDS[kind], **style
        )
    total.axhline(1.0, color="0.4", linestyle="--", linewidth=1)
    total.annotate("real time", (users[0], 1.0), (0, 3), textcoords="offset points", fontsize=8, color="0.3")
    for axis, label in (
        (total, "processor time (s) per simulated second"),
        (each, "processor time (ns) per unit"),
        (memory, "resident memory (MiB) beyond the code's own"),
    ):
        axis.set(xlabel="users", ylabel=label, xscale="log", yscale="log")
        axis.grid(visible=True, which="major", color="0.9")
        axis.set_axisbelow(True)
        low, high = axis.get_ylim()
        axis.set_ylim(low, high * (high / low) ** 0.3)
        axis.legend(fontsize=7.5, frameon=False, loc="upper left")
    figure.suptitle("One core of a shared machine; 95 % intervals over processes, memory: range", fontsize=10)
    return {"growth": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return exponents, costs per unit and memory."""
    figures: dict[str, Any] = {"measured on": "one core of a shared machine; processor time"}
    for kind in result["kind"].values:
        figures[f"exponent, {KINDS[kind]}"] = exponent(result, kind)._asdict()
        for users in result["users"].values:
            one = result.sel(kind=kind, users=users)
            figures[f"{KINDS[kind]}, {users} users"] = {
                f"seconds per {one['unit'].item()}": unit_cost(result, kind, users)._asdict(),
                "memory_bytes": one["memory_bytes"].values,
            }
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
