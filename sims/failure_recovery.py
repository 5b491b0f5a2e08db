"""How long does the network take to recover?

wirelesslab run failure_recovery          (about 2 minutes on two cores; --quick: 20 seconds)

Expect: a failed core link loses next to nothing, for flows go around it at once; but the other link now
carries twice the load, and the delay stays up until the link is back. A failed edge node or
cell loses what begins there until it is back. When the load of one slice rises for good above its
reservation, static shares never recover; shares that follow the load do within a window or two and the time
it takes to drain the backlog. A fair queue without reservations hardly notices, except what is lost.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.network import (
    EMBB,
    MIOT,
    V2X,
    Diurnal,
    ExponentialSize,
    Network,
    Outage,
    Plan,
    Planner,
    Poisson,
    ProportionalShares,
    ServiceLevel,
    StaticShares,
    metro,
)
from wirelesslab.network.recovery import median_with_interval, recovery_time, usual_ceiling
from wirelesslab.plot import COLORS
from wirelesslab.replicas import difference, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PROMISES_S = {EMBB: 0.075, V2X: 0.25, MIOT: 0.5}  # our choice, with packets of 4 ms on a whole core link
SLICES = tuple(replace(s, level=ServiceLevel(delay_s=delay_s), weight=1.0) for s, delay_s in PROMISES_S.items())
PARTS = (0.4, 0.3, 0.3)  # of the load, by slice: what static shares are cut for
NUM_GNBS = 6
LINES = {"static": "-", "adaptive": "--", "fair queue": ":"}
ELEMENTS = {"core link down": "edge-1->core", "edge node down": "edge-1", "cell down": "gnb-1"}
SURGES = ("load step", "flash crowd")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The metro, its load, and what happens to it.

    Attributes:
        replicas: Independent runs of each event and policy, the same arrivals for every policy.
        events: What happens.
        core_bps: Rate of each of the two links into the core; all others have four times as much.
        load: Mean load of the core links, as a share of their rate.
        packet_bytes: Mean size of a packet; sizes are exponential.
        begin_s: When it happens.
        last_s: How long it lasts; a load step lasts for ever, a flash crowd half as long.
        end_s: When the run ends.
        surge: Load of embb over its usual load in a load step and in a flash crowd.
        window_s: Planning window of the adaptive shares.
        report_s: Window in which lateness is measured.
        tolerance: Late share above the usual that still counts as recovered.
        hold: Windows in a row that must be so.
    """

    replicas: int = 10
    events: tuple[str, ...] = (*ELEMENTS, *SURGES)
    core_bps: float = 25e6
    load: float = 0.35
    packet_bytes: int = 12_500
    begin_s: float = 30.0
    last_s: float = 20.0
    end_s: float = 90.0
    surge: float = 3.2
    window_s: float = 2.0
    report_s: float = 1.0
    tolerance: float = 0.05
    hold: int = 5

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas)
        for event in self.events:
            check.one_of((*ELEMENTS, *SURGES), events=event)
        check.positive(last_s=self.last_s, report_s=self.report_s)
        if not 2 * WARM_UP_S <= self.begin_s < self.begin_s + self.last_s < self.end_s:
            msg = (
                f"begin_s, end_s: got {self.begin_s} and {self.end_s}, expected {2 * WARM_UP_S} <= begin_s, "
                f"and begin_s + last_s < end_s"
            )
            raise ValueError(msg)


WARM_UP_S = 10.0
QUICK: Mapping[str, Any] = {"replicas": 2, "events": ("core link down", "load step"), "end_s": 60.0}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing that happens, under one policy.

    Attributes:
        world: The metro.
        event: What happens.
        plan: Reserves shares of every link; None reserves nothing.
    """

    world: Config
    event: str
    plan: Plan | None


def plans() -> dict[str, Plan | None]:
    """Return the policies by name."""
    return {
        "static": StaticShares(shares_of_slices=PARTS),
        "adaptive": ProportionalShares(),
        "fair queue": None,
    }


def network_of(case: Case, seed: int) -> Network:
    """Return the metro under load, with the event to come."""
    world = case.world
    graph = metro(
        num_gnbs=NUM_GNBS, num_edges=2, access_bps=4 * world.core_bps, ring_bps=4 * world.core_bps,
        core_bps=world.core_bps,
    )  # fmt: skip
    network = Network(graph, SLICES, seed=seed, segment_bytes=10**9, report_s=world.report_s)
    sizes = ExponentialSize(float(world.packet_bytes))
    usual = 2 * world.load * world.core_bps / (8 * world.packet_bytes) / NUM_GNBS  # packets per second of a gNB
    for s, part in zip(SLICES, PARTS, strict=True):
        for gnb in range(1, NUM_GNBS + 1):
            place = {"source": f"gnb-{gnb}", "sink": "core", "num_bytes": sizes}
            network.add(Poisson(s, rate_per_s=part * usual, name=f"{s.name}-{gnb}", **place))
            if case.event in SURGES and s.name == EMBB.name:
                last_s = world.end_s if case.event == "load step" else world.last_s / 2
                steps = surge_steps(world, last_s, (world.surge - 1) * part * usual)
                network.add(
                    Diurnal(s, name=f"surge-{gnb}", period_s=world.report_s * len(steps), rates_per_s=steps, **place)
                )
    if case.event in ELEMENTS:
        network.add(Outage(element=ELEMENTS[case.event], start_s=world.begin_s, end_s=world.begin_s + world.last_s))
    if case.plan is not None:
        network.add(Planner(plan=case.plan, window_s=world.window_s))
    return network


def surge_steps(world: Config, last_s: float, rate_per_s: float) -> tuple[float, ...]:
    """Return the additional rate in each report window of the run."""
    windows = math.ceil(world.end_s / world.report_s) + 1
    starts_s = world.report_s * np.arange(windows)
    return tuple(np.where((starts_s >= world.begin_s) & (starts_s < world.begin_s + last_s), rate_per_s, 0.0).tolist())


def disturbed(case: Case, seed: int) -> Mapping[str, Any]:
    """Run one network through one event; return its figures, see `main`."""
    world = case.world
    network = network_of(case, seed)
    run = network.run(world.end_s + 1e-6)  # the report of that very moment included
    network.check()
    windows, gone = run.windows(), run.series.diff("time_s")
    ends_s = windows["time_s"].values
    ended = (gone["delivered_flows"] + gone["lost_flows"]).sum("slice")
    late = ((gone["late_flows"] + gone["lost_flows"]).sum("slice") / ended).values
    delay_s = (gone["delay_seconds"].sum("slice") / gone["delivered_flows"].sum("slice")).values
    warm = ends_s > WARM_UP_S + world.report_s / 2
    phases = {
        "before": warm & (ends_s <= world.begin_s),
        "during": (ends_s > world.begin_s) & (ends_s <= world.begin_s + world.last_s),
        "after": ends_s > world.begin_s + world.last_s,
    }
    ceiling = usual_ceiling(late[phases["before"]], tolerance=world.tolerance)
    return {
        "late_share": late,
        "mean_delay_s": delay_s,
        "ends_s": ends_s,
        "late_by_phase": [late[phase].mean() for phase in phases.values()],
        "delay_by_phase_s": [np.nanmean(delay_s[phase]) for phase in phases.values()],
        "lost_bytes": float(run.slices["lost_bytes"].sum()),
        "recovery_s": recovery_time(
            ends_s[warm], late[warm], world.begin_s, window_s=world.report_s, ceiling=ceiling, hold=world.hold
        ),
    }


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Run every event under every policy and the same arrivals.

    Returns:
        Over `event`, `policy` and `replica`: `late_share` (lost packets included) and `mean_delay_s` of each window
        `time_s`, both before, during and after (`phase`), `lost_bytes`, and `recovery_s` of the late share.
    """
    session = session or Session()
    policies = plans()
    cases = {
        f"{event} / {name}": Case(world=config, event=event, plan=plan)
        for event in config.events
        for name, plan in policies.items()
    }
    flat = session.replicate(disturbed, cases, config.replicas)
    ends_s = flat["ends_s"].values[0, 0]
    dims = {
        "late_share_at": "time_s",
        "mean_delay_s_at": "time_s",
        "late_by_phase_at": "phase",
        "delay_by_phase_s_at": "phase",
    }
    result = flat.drop_vars(["ends_s", "experiment"])
    for old, new in dims.items():
        for name in [n for n in result if old in result[n].dims]:
            result[name] = result[name].rename({old: new})
    sizes = (len(config.events), len(policies))
    for name in list(result.data_vars):
        variable = result[name]
        shape = (*sizes, *variable.shape[1:])
        result[name] = (("event", "policy", *variable.dims[1:]), variable.values.reshape(shape))
    return result.assign_coords(
        event=list(config.events), policy=list(policies), time_s=ends_s, phase=["before", "during", "after"],
    ).assign_attrs(begin_s=config.begin_s, last_s=config.last_s, report_s=config.report_s, hold=config.hold,
        tolerance=config.tolerance,
   )  # fmt: skip


def recovery_text(samples: "xr.DataArray") -> str:
    """Return a median with its interval, and in how many runs there was none."""
    values = samples.values
    median, low, high = median_with_interval(values)
    if math.isinf(low) and low < 0:  # too few runs for an interval
        low = high = median
    shown = ["never" if math.isinf(value) else f"{value:g}" for value in (median, max(low, 0.0), high)]
    some = (
        f", {np.count_nonzero(np.isinf(values))} of {values.size} never"
        if 0 < np.isinf(values).sum() < values.size
        else ""
    )
    return f"{shown[0]} ({shown[1]} to {shown[2]}{some})" if len(set(shown)) > 1 else shown[0]


def table(result: "xr.Dataset") -> Table:
    """Return late shares before, during and after, losses and recovery times."""
    rows = []
    for event in result["event"].values:
        for policy in result["policy"].values:
            one = result.sel(event=event, policy=policy)
            late = [mean(100 * one["late_by_phase"].sel(phase=phase)) for phase in result["phase"].values]
            static = 100 * result["late_by_phase"].sel(event=event, policy="static", phase="after")
            less = difference(100 * one["late_by_phase"].sel(phase="after"), static)
            rows.append([
                str(event), str(policy), *map(str, late), "-" if policy == "static" else str(less),
                str(mean(one["lost_bytes"] / 1e6)), recovery_text(one["recovery_s"]),
            ])  # fmt: skip
    columns = [
        "event",
        "shares",
        "late before, %",
        "during, %",
        "after, %",
        "after, beside static",
        "lost, MB",
        "recovery, s",
    ]
    attrs = result.attrs
    note = (
        f"Late: delivered after the promise, or lost. Means over {result.sizes['replica']} replicas with 95 % "
        f"intervals. During: {attrs['last_s']:g} s from the event.\nRecovery: from the event to the first of "
        f"{attrs['hold']} windows of {attrs['report_s']:g} s in a row whose late share is at most what was usual "
        f"before, plus {100 * attrs['tolerance']:g} points; median\nwith 95 % interval; never: not within the run."
    )
    return Table("A metro network under load is disturbed", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw late share and delay over time, one row per event."""
    from matplotlib.figure import Figure

    events = result["event"].values
    figure = Figure(figsize=(11, 1.0 + 2.15 * len(events)), layout="constrained")
    axes = figure.subplots(len(events), 2, sharex=True, sharey="col", squeeze=False)
    for row, event in enumerate(events):
        for axis, name, factor in ((axes[row, 0], "late_share", 100.0), (axes[row, 1], "mean_delay_s", 1e3)):
            shade(axis, str(event), result)
            for number, policy in enumerate(result["policy"].values):
                samples = factor * result[name].sel(event=event, policy=policy).transpose("time_s", "replica").values
                means = [mean(window) for window in samples]
                middle, low, high = (np.array([getattr(m, end) for m in means]) for end in ("value", "low", "high"))
                color = COLORS[number]
                at_s = result["time_s"].values - result.attrs["report_s"] / 2
                label = f"{policy} shares" if policy != "fair queue" else "fair queue, no shares"
                axis.plot(at_s, middle, color=color, linestyle=LINES[str(policy)], linewidth=1.5, label=label)
                floor = 0.0 if name == "late_share" else 0.5 * middle
                axis.fill_between(at_s, np.maximum(low, floor), np.where(np.isfinite(high), high, middle), color=color,
                                  alpha=0.22, linewidth=0)  # fmt: skip
            axis.grid(visible=True, which="major", color="0.9")
            axis.set_axisbelow(True)
        axes[row, 0].set_title(str(event), fontsize=10, loc="left")
        texts = [
            f"{p} {recovery_text(result['recovery_s'].sel(event=event, policy=p))}" for p in result["policy"].values
        ]
        axes[row, 1].set_title("recovery (s): " + "; ".join(texts), fontsize=7.5, loc="left")
        axes[row, 0].set_ylabel("late or lost (%)")
        axes[row, 1].set_ylabel("mean delay (ms)")
        axes[row, 1].set_yscale("log")
        axes[row, 0].set_ylim(0, 100)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
        axis.set_xlim(WARM_UP_S, float(result["time_s"][-1]))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False, fontsize=9,
                  title="means over replicas, 95 % bands; grey: the disturbance", title_fontsize=9)  # fmt: skip
    return {"recovery": figure}


def shade(axis: "Axes", event: str, result: "xr.Dataset") -> None:
    """Shade the time of the event."""
    begin_s, last_s = result.attrs["begin_s"], result.attrs["last_s"]
    end_s = {"load step": float(result["time_s"][-1]), "flash crowd": begin_s + last_s / 2}.get(event, begin_s + last_s)
    axis.axvspan(begin_s, end_s, color="0.88", zorder=0)


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return late shares, losses and recovery times with their intervals, and differences to static shares."""
    figures: dict[str, Any] = {}
    for event in result["event"].values:
        for policy in result["policy"].values:
            one, static = (result.sel(event=event, policy=p) for p in (policy, "static"))
            median, low, high = median_with_interval(one["recovery_s"].values)
            late = {
                f"late_share {phase}": mean(one["late_by_phase"].sel(phase=phase))._asdict()
                for phase in result["phase"].values
            }
            after = difference(one["late_by_phase"].sel(phase="after"), static["late_by_phase"].sel(phase="after"))
            figures[f"{event}, {policy}"] = {
                **late,
                "late_share after, minus static": after._asdict(),
                "delay_s": {
                    str(p): mean(one["delay_by_phase_s"].sel(phase=p))._asdict() for p in result["phase"].values
                },
                "lost_bytes": mean(one["lost_bytes"])._asdict(),
                "recovery_s": {"median": median, "low": low, "high": high},
                "runs that never recovered": int(np.isinf(one["recovery_s"].values).sum()),
            }
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
