"""How often should a twin be told, when telling it costs capacity?

wirelesslab run twin_staleness          (about 5 minutes on two cores; --quick: 20 seconds)

Expect: age is U-shaped in the rate of updates, least at load 0.517 when they are periodic and 0.531 when they are
Poisson: too few are old when they come, too many wait for each other. Decisions are too: a twin told rarely gives the
link to the slice that was busy before, a twin told too often fills the link with news. In between it beats shares
that nobody moves by far, and comes close to a twin that is told everything for nothing. A twin that is nearly as old
as a turn is long is worse than none.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.network import (
    EMBB,
    MIOT,
    V2X,
    Agent,
    Diurnal,
    ExponentialSize,
    Network,
    ProportionalShares,
    Reserve,
    ResourceRatio,
    ServiceLevel,
    SetRatios,
    line,
    theory,
)
from wirelesslab.network.twins.clock_twin import ClockTwin
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.sync import PeriodicSync, PoissonSync, Sync
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import difference, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

UPDATE_BYTES = 100_000  # one second on the link of the ages
PROMISE_S = 0.1  # our choice: about twenty packets' time on the whole link
BUSY = (EMBB, V2X)  # take turns
SLICES = tuple(
    replace(s, level=ServiceLevel(delay_s=PROMISE_S), weight=1.0, priority=10) for s in (*BUSY, MIOT)
)  # the last one carries the twin's messages
LAWS = ("D/M/1", "M/M/1")
TICKS_PERCENT = (5, 10, 20, 30, 50, 100)
NONE, FREE = "no twin", "told for nothing"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Two experiments: the age of a clock's twin, and shares of a link decided on a twin of its load.

    Attributes:
        replicas: Independent runs of each case, the same arrivals for every case.
        loads: Updates per service time at which ages are measured; service takes a second on average.
        ages_s: How long each is watched.
        periods_s: From one message to the twin to the next, where decisions are measured.
        link_bps: Rate of the link that two slices and the twin's messages share.
        packet_bytes: Mean size of a packet; sizes are exponential.
        busy: Load of the slice whose turn it is, as a share of the link.
        idle: Load of the other.
        phase_s: Length of a turn.
        phases: How many are measured, after two that are not.
        beat_s: From one decision to the next.
        window_s: Decisions are for the mean load of so long, or of one message's interval if that is longer.
    """

    replicas: int = 10
    loads: tuple[float, ...] = (0.15, 0.25, 0.35, 0.45, 0.517, 0.6, 0.7, 0.8, 0.9)
    ages_s: float = 10_000.0
    periods_s: tuple[float, ...] = (16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.2, 0.1, 0.05, 0.02, 0.012)
    link_bps: float = 2e6
    packet_bytes: int = 1250
    busy: float = 0.6
    idle: float = 0.1
    phase_s: float = 20.0
    phases: int = 8
    beat_s: float = 0.1
    window_s: float = 1.0

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas, phases=self.phases, packet_bytes=self.packet_bytes)
        check.positive(
            ages_s=self.ages_s, link_bps=self.link_bps, phase_s=self.phase_s, beat_s=self.beat_s, window_s=self.window_s
        )
        check.within(0, 1, busy=self.busy, idle=self.idle)
        if self.busy + self.idle >= 1:
            msg = f"busy: got loads {self.busy} and {self.idle}, expected a sum below 1; the link needs room for news"
            raise ValueError(msg)


QUICK: Mapping[str, Any] = {
    "replicas": 3, "loads": (0.25, 0.517, 0.8), "ages_s": 3000.0, "periods_s": (16.0, 2.0, 0.2, 0.012), "phases": 4,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Updates:
    """A clock's twin: how often it is told, and by which law."""

    config: Config
    law: str
    load: float


def age(case: Updates, seed: int) -> Mapping[str, Any]:
    """Return the mean age of a twin fed through a link of its own."""
    network = Network(
        line(num_links=1, rate_bps=8.0 * UPDATE_BYTES, distance_m=1e-3), (EMBB,), seed=seed, segment_bytes=10**9,
        report_s=1e6,
    )  # fmt: skip
    carriage = Carriage(slice="embb", num_bytes=ExponentialSize(float(UPDATE_BYTES)))
    periodic: Sync = PeriodicSync(period_s=1 / case.load)
    sync = periodic if case.law == "D/M/1" else PoissonSync(rate_per_s=case.load)
    twin = network.add(ClockTwin(sync, carriage, source="edge-1", at="edge-2"))
    warm_s = 0.1 * case.config.ages_s
    network.run(warm_s)
    before = twin.age_integral
    network.run(warm_s + case.config.ages_s)
    network.check()
    return {"age_s": (twin.age_integral - before) / case.config.ages_s}


@dataclass(frozen=True, kw_only=True)
class Told:
    """A way to be told: a period; whether messages are traffic; none without a twin."""

    config: Config
    period_s: float = 0.0
    free: bool = False


def decisions(case: Told, seed: int) -> Mapping[str, Any]:
    """Return what became of the packets, the age of what was known, and the share of the link that news took."""
    config = case.config
    network = Network(
        line(num_links=1, rate_bps=config.link_bps, distance_m=1e3),
        SLICES,
        seed=seed,
        segment_bytes=10**9,
        report_s=1e6,
    )
    per_load = config.link_bps / (8 * config.packet_bytes)
    turns = (config.busy, config.idle), (config.idle, config.busy)
    for s, loads in zip(SLICES, turns, strict=False):
        network.add(Diurnal(
            s, source="edge-1", sink="edge-2", period_s=2 * config.phase_s,
            rates_per_s=tuple(per_load * load for load in loads), num_bytes=ExponentialSize(float(config.packet_bytes)),
        ))  # fmt: skip
    twin = None
    if case.period_s:
        # "edge-1", where the link begins, knows the totals; the twin and who decides are at the other end
        twin = DigitalTwin(
            case.period_s, slice="" if case.free else "miot", at="edge-2", core="edge-1", attributes=("slices",)
        )
        network.add(twin)
        windows = max(1, round(config.window_s / max(case.period_s, config.beat_s)))
        # A share that lies idle is not lent: the decision alone says who gets what.
        policy = Reserve(ProportionalShares(memory=windows, least=0.02), dedicated=True)
        network.add(Agent(policy, sees=twin, at="edge-2", every_s=config.beat_s))
    else:
        equal = ResourceRatio.isolated(1 / len(BUSY))
        network.apply(SetRatios(domain="transport", ratios={s.name: equal for s in BUSY}))
    warm_s, watched_s = 2 * config.phase_s, config.phases * config.phase_s
    network.run(warm_s)
    first = network.view()
    network.run(warm_s + watched_s)
    network.check()
    view = network.view(first)
    names = [s.name for s in SLICES[: len(BUSY)]]
    now, then = view.slices, first.slices
    flows = sum(now[n].delivered_flows - then[n].delivered_flows for n in names)
    late = sum(now[n].late_flows - then[n].late_flows for n in names) + sum(now[n].overdue_flows for n in names)
    ended = flows + sum(now[n].overdue_flows for n in names)
    return {
        "late_share": late / ended,
        "delay_s": sum(now[n].delay_seconds - then[n].delay_seconds for n in names) / flows,
        "age_s": np.nan if twin is None else twin.mean_ages_s()["slices"],
        "news_share": view.offered_bps("miot") / config.link_bps,
    }


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Measure ages, then decisions, each under the same arrivals for every case.

    Returns:
        Over `updates` (law and load) and `replica`: `clock_age_s`. Over `told` (no twin, told for nothing, or every
        so often) and `replica`: `late_share` and `delay_s` of packets, mean `age_s` of what was known, and
        `news_share`, what the twin's messages take of the link.
    """
    session = session or Session()
    updates = {f"{law} {load:g}": Updates(config=config, law=law, load=load) for law in LAWS for load in config.loads}
    told = {NONE: Told(config=config), FREE: Told(config=config, period_s=config.beat_s, free=True)}
    told |= {f"every {period_s:g} s": Told(config=config, period_s=period_s) for period_s in config.periods_s}
    ages = session.replicate(age, updates, config.replicas, "ages").rename(experiment="updates", age_s="clock_age_s")
    result = session.replicate(decisions, told, config.replicas, "decisions").rename(experiment="told")
    result = result.merge(ages)
    result["load"] = ("updates", [case.load for case in updates.values()])
    result["law"] = ("updates", [case.law for case in updates.values()])
    result["closed_form_s"] = ("updates", [closed_form_s(case.law, case.load) for case in updates.values()])
    result["period_s"] = ("told", [case.period_s for case in told.values()])
    return result


def closed_form_s(law: str, load: float) -> float:
    """Return the mean age when service takes a second."""
    return theory.dm1_age(load) if law == "D/M/1" else theory.mm1_age(load)


def best(result: "xr.Dataset") -> str:
    """Return the way to be told, of those that cost capacity, at which fewest packets are late."""
    paid = [name for name in result["told"].values if name not in (NONE, FREE)]
    return str(min(paid, key=lambda name: mean(result["late_share"].sel(told=name)).value))


def table(result: "xr.Dataset") -> Table:
    """Return for each way to be told what is late, beside the best one."""
    reference, rows = best(result), []
    for name in result["told"].values:
        one = result.sel(told=name)
        more = difference(100 * one["late_share"], 100 * result["late_share"].sel(told=reference))
        known = "-" if name == NONE else str(mean(one["age_s"]))
        rows.append([
            str(name), str(mean(100 * one["late_share"])), str(mean(1e3 * one["delay_s"])), known,
            f"{100 * float(one['news_share'].mean()):.2g}", "-" if name == reference else str(more),
        ])  # fmt: skip
    columns = ["twin", "late, %", "mean delay, ms", "age of the load, s", "news, % of the link", "late beside best, %"]
    note = (
        f"Means over {result.sizes['replica']} replicas with 95 % intervals; differences are of pairs under the same "
        f"arrivals. Late: after {1e3 * PROMISE_S:g} ms. Best: {reference}."
    )
    return Table("Shares of a link decided on the load that a twin knows", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw age over load beside the closed forms, and late packets and age over the interval of messages."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    smooth = np.linspace(0.1, 0.92, 200)
    for number, law in enumerate(LAWS):
        color = COLORS[number]
        forms = [closed_form_s(law, load) for load in smooth]
        left.plot(smooth, forms, color=color, linewidth=1.2, label=f"{law}, closed form")
        least = int(np.argmin(forms))
        left.axvline(smooth[least], color=color, linestyle=":", linewidth=0.9)
        chosen = result.isel(updates=np.flatnonzero(result["law"].values == law))
        means = [mean(chosen["clock_age_s"].isel(updates=i)) for i in range(chosen.sizes["updates"])]
        left.errorbar(
            chosen["load"], [m.value for m in means],
            yerr=[[m.value - m.low for m in means], [m.high - m.value for m in means]], color=color,
            marker=MARKERS[number], markersize=5, linestyle="none", capsize=3, label=f"{law}, measured",
        )  # fmt: skip
    left.set(
        xlabel="updates per mean service time (load)", ylabel="mean age (service times), 95 % interval", ylim=(0, 12)
    )
    left.set_title("Age: few updates are old, many wait for each other", fontsize=10)
    paid = result.isel(told=np.flatnonzero(~np.isin(result["told"].values, (NONE, FREE)))).sortby("period_s")
    late = [mean(100 * paid["late_share"].isel(told=i)) for i in range(paid.sizes["told"])]
    right.errorbar(
        paid["period_s"], [m.value for m in late],
        yerr=[[m.value - max(m.low, 0.3 * m.value) for m in late], [m.high - m.value for m in late]],
        color=COLORS[0], marker=MARKERS[0], markersize=5, linewidth=1.2, capsize=3, label="told so often, at a cost",
    )  # fmt: skip
    for number, (name, style) in enumerate(((NONE, "--"), (FREE, "-.")), start=1):
        m = mean(100 * result["late_share"].sel(told=name))
        label = {NONE: "no twin: equal shares", FREE: f"{FREE}, without traffic"}[name]
        right.axhline(m.value, color=COLORS[number], linestyle=style, linewidth=1.3, label=label)
        right.axhspan(max(m.low, 0.3 * m.value), m.high, color=COLORS[number], alpha=0.15, linewidth=0)
    right.set(xscale="log", yscale="log", xlabel="from one message to the next (s); left: often",
              ylabel="packets later than promised (%), 95 % interval")  # fmt: skip
    right.set_yticks(TICKS_PERCENT, [f"{tick:g}" for tick in TICKS_PERCENT])
    right.set_yticks([], minor=True)
    right.set_title("Decisions: stale on the right, crowded out on the left", fontsize=10)
    for axis in (left, right):
        axis.grid(visible=True, which="major", color="0.9")
        axis.set_axisbelow(True)
        axis.legend(fontsize=8, frameon=False)
    return {"staleness": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return ages beside closed forms, what was late for each way to be told, and the ends beside the best."""
    reference = best(result)
    ages = {
        str(name): {
            **mean(result["clock_age_s"].sel(updates=name))._asdict(),
            "closed_form": float(result["closed_form_s"].sel(updates=name)),
        }
        for name in result["updates"].values
    }
    late = {
        str(name): {
            **mean(result["late_share"].sel(told=name))._asdict(),
            "minus best": difference(
                result["late_share"].sel(told=name), result["late_share"].sel(told=reference)
            )._asdict(),
        }
        for name in result["told"].values
    }
    return {"age, service times": ages, "best": reference, "late_share": late}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
