"""What is planning worth when load moves through the day?

wirelesslab run planning_and_operation          (about 2 minutes on two cores; --quick: 20 seconds)

Expect: static shares, cut for the mean day, are overloaded at each slice's own peak: jobs pile up and most
packets of those hours are late. Reservations that follow the last hour's load cure most of it, always an
hour late; yesterday's same hour is nearly as good as knowing the load. Square roots beat proportions by 3 %.
Lending what is reserved but idle, or no reservation at all, beats every plan: a server that sees the
queues needs no forecast, at the price of isolation.
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
    Diurnal,
    ExponentialSize,
    ForeseenShares,
    Network,
    Plan,
    Planner,
    ProportionalShares,
    SeasonalShares,
    ServiceLevel,
    SquareRootShares,
    StaticShares,
    line,
)
from wirelesslab.network.diurnal_traffic import day_of_rates
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import difference, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PROMISES_S = {EMBB: 0.1, V2X: 0.05, MIOT: 0.2}  # our choice, with packets of 2 ms on the whole link
SLICES = tuple(replace(s, level=ServiceLevel(delay_s=delay_s), weight=1.0) for s, delay_s in PROMISES_S.items())
REFERENCE = "static, by mean load"
LEARNING_DAYS = 1
LEAST_LATE = 1e-3  # per cent: where the logarithmic axis begins


@dataclass(frozen=True, kw_only=True)
class Config:
    """The link, the day, and how long it is watched.

    Attributes:
        replicas: Independent runs of each plan, the same arrivals for every plan.
        days: Days that are measured, after one day in which plans learn.
        day_s: Length of a day; days are short so that they can be many.
        windows_per_day: Planning windows in a day, called hours here.
        link_bps: Rate of the link that the slices share.
        packet_bytes: Mean size of a packet; sizes are exponential.
        mean_loads: Mean load of each slice (embb, v2x, miot), as a share of the link.
        peak_hours: Hour of each slice's peak, of 24.
        swing: Amplitude of the load over its mean.
    """

    replicas: int = 10
    days: int = 2
    day_s: float = 96.0
    windows_per_day: int = 24
    link_bps: float = 50e6
    packet_bytes: int = 12_500
    mean_loads: tuple[float, ...] = (0.3, 0.2, 0.2)
    peak_hours: tuple[float, ...] = (20.0, 11.0, 3.0)
    swing: float = 0.8

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas, days=self.days, windows_per_day=self.windows_per_day)
        check.positive(day_s=self.day_s, link_bps=self.link_bps)
        for name in ("mean_loads", "peak_hours"):
            if len(getattr(self, name)) != len(SLICES):
                msg = f"{name}: got {getattr(self, name)}, expected one for each of {[s.name for s in SLICES]}"
                raise ValueError(msg)

    @property
    def window_s(self) -> float:
        """Length of a planning window."""
        return self.day_s / self.windows_per_day

    @property
    def loads(self) -> "np.ndarray[Any, np.dtype[np.float64]]":
        """Load of each slice in each window as a share of the link, shape (windows, slices)."""
        days = [
            day_of_rates(load, self.swing, hour / 24, self.windows_per_day)
            for load, hour in zip(self.mean_loads, self.peak_hours, strict=True)
        ]
        return np.array(days).T


QUICK: Mapping[str, Any] = {"replicas": 3, "days": 1, "day_s": 24.0}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way to plan.

    Attributes:
        day: The day.
        plan: The rule; None reserves nothing.
        dedicated: Whether what is reserved stays idle when its slice does not use it.
    """

    day: Config
    plan: Plan | None
    dedicated: bool = True


def cases(config: Config) -> dict[str, Case]:
    """Return the plans by name."""
    total = sum(config.mean_loads)
    static = StaticShares(shares_of_slices=tuple(load / total for load in config.mean_loads))
    square_root = SquareRootShares(capacity_bps=config.link_bps)
    yesterday = SeasonalShares(season=config.windows_per_day, capacity_bps=config.link_bps)
    known = tuple(tuple(float(load * config.link_bps) for load in loads) for loads in config.loads)
    return {
        REFERENCE: Case(day=config, plan=static),
        "proportional, last hour": Case(day=config, plan=ProportionalShares()),
        "square root, last hour": Case(day=config, plan=square_root),
        "square root, yesterday": Case(day=config, plan=yesterday),
        "square root, load foreseen": Case(day=config, plan=ForeseenShares(rule=square_root, loads_bps=known)),
        "yesterday's, idle share lent": Case(day=config, plan=yesterday, dedicated=False),
        "no reservation, fair queue": Case(day=config, plan=None),
    }


def some_days(case: Case, seed: int) -> Mapping[str, Any]:
    """Run one network for some days; return its figures of the measured ones, see `main`."""
    day = case.day
    graph = line(num_links=1, rate_bps=day.link_bps, distance_m=1e3)
    network = Network(graph, SLICES, seed=seed, segment_bytes=10**9, report_s=day.window_s)
    per_load = day.link_bps / (8 * day.packet_bytes)
    for s, loads in zip(SLICES, (per_load * day.loads).T, strict=True):
        network.add(Diurnal(
            s, source="edge-1", sink="edge-2", period_s=day.day_s, rates_per_s=tuple(loads.tolist()),
            num_bytes=ExponentialSize(float(day.packet_bytes)),
        ))  # fmt: skip
    planner = None if case.plan is None else Planner(plan=case.plan, window_s=day.window_s, dedicated=case.dedicated)
    if planner is not None:
        network.add(planner)
    link = network.links["edge-1", "edge-2"]
    moments = LEARNING_DAYS * day.day_s, (LEARNING_DAYS + day.days) * day.day_s
    job_seconds = []
    for moment in moments:
        run = network.run(moment + 1e-6)  # the report of that very moment included
        network.check()
        job_seconds.append(link.account().packet_seconds.sum())
    whole, hours = run.series, run.windows()
    gone = whole.isel(time_s=-1) - whole.isel(time_s=LEARNING_DAYS * day.windows_per_day)
    bad, ended = gone["late_flows"] + gone["lost_flows"], gone["delivered_flows"] + gone["lost_flows"]
    delays = (hours["mean_delay_s"] * hours["delivered_bps"]).sum("slice") / hours["delivered_bps"].sum("slice")
    by_hour = delays.values[LEARNING_DAYS * day.windows_per_day :].reshape(day.days, day.windows_per_day)
    return {
        "jobs": (job_seconds[1] - job_seconds[0]) / (moments[1] - moments[0]),
        "delay_s": float(gone["delay_seconds"].sum() / gone["delivered_flows"].sum()),
        "late_share": [*(bad / ended).values, float(bad.sum() / ended.sum())],
        "delay_by_hour_s": by_hour.mean(axis=0),
        "reserved": reserved(network, planner, day),
    }


def reserved(network: Network, planner: Planner | None, day: Config) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """Return the shares reserved in each window of the last day, shape (windows, slices); NaN without a plan."""
    shares = np.full((day.windows_per_day, len(SLICES)), np.nan)
    if planner is not None:
        for time_s, planned in network.record(network.name_of(planner), lambda: None).planned:  # type: ignore[attr-defined]
            first = round(time_s / day.window_s) - (LEARNING_DAYS + day.days - 1) * day.windows_per_day
            shares[max(first, 0) :] = planned
    return shares


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Run every plan under the same arrivals.

    Returns:
        Over `experiment` and `replica`: `jobs` on the link, mean `delay_s`, `late_share` of each slice and of all
        against the promised delays, `delay_by_hour_s`, and the shares `reserved` in each hour.
    """
    session = session or Session()
    result = session.replicate(some_days, cases(config), config.replicas)
    names = {"late_share_at": "of", "delay_by_hour_s_at": "hour", "reserved_0": "hour", "reserved_1": "slice"}
    # renamed one by one: two dimensions become the same hour
    for old, new in names.items():
        for name in [n for n in result if old in result[n].dims]:
            result[name] = result[name].rename({old: new})
    result["load"] = (("hour", "slice"), config.loads)
    slices = [s.name for s in SLICES]
    hours = (np.arange(config.windows_per_day) + 0.5) * 24 / config.windows_per_day
    return result.assign_coords({"of": [*slices, "all"], "slice": slices, "hour": hours})


def table(result: "xr.Dataset") -> Table:
    """Return jobs, delay, late shares, and jobs beside the static plan."""
    rows = []
    for name in result["experiment"].values:
        one = result.sel(experiment=name)
        less = difference(one["jobs"], result["jobs"].sel(experiment=REFERENCE))
        late = [mean(100 * one["late_share"].sel(of=of)) for of in result["of"].values]
        rows.append([
            str(name), str(mean(one["jobs"])), str(mean(1e3 * one["delay_s"])), str(late[-1]),
            " ".join(f"{share.value:.2g}" for share in late[:-1]), "-" if name == REFERENCE else str(less),
        ])  # fmt: skip
    promises = ", ".join(f"{s.name} {1e3 * delay:g} ms" for s, delay in zip(SLICES, PROMISES_S.values(), strict=True))
    columns = ["plan", "jobs", "mean delay, ms", "late, %", f"late {' '.join(s.name for s in SLICES)}, %",
               "jobs beside static"]  # fmt: skip
    note = (
        f"Means over {result.sizes['replica']} replicas with 95 % intervals; differences are of pairs under the same "
        f"arrivals. Late: delivered after the promise ({promises}), or lost."
    )
    return Table("Three slices with peaks at different hours on one link", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw load and reservations, delay over the day, and each plan's jobs and late share."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 8.2), layout="constrained")
    top, middle, jobs_axis, late_axis = figure.subplot_mosaic([["load", "delay"], ["jobs", "late"]]).values()
    hours = result["hour"].values
    step = hours[1] - hours[0]
    edges = np.append(hours - step / 2, hours[-1] + step / 2)
    for number, name in enumerate(result["slice"].values):
        top.stairs(
            100 * result["load"].sel(slice=name),
            edges,
            baseline=None,
            color=COLORS[number],
            linewidth=1.8,
            label=f"{name}: load",
        )
        for plan, style in ((REFERENCE, ":"), ("square root, yesterday", "--")):
            shares = 100 * result["reserved"].sel(slice=name, experiment=plan).mean("replica")
            label = f"{name}: reserved, {'static' if style == ':' else 'square root, yesterday'}"
            top.stairs(shares, edges, baseline=None, color=COLORS[number], linestyle=style, linewidth=1.3, label=label)
    top.set(xlabel="hour of the day", ylabel="share of the link (%)", xlim=(0, 24), ylim=(0, None))
    top.set_title("Load and what is reserved for it", fontsize=10)
    for number, plan in enumerate(result["experiment"].values):
        samples = 1e3 * result["delay_by_hour_s"].sel(experiment=plan)
        means = [mean(samples.isel(hour=i)) for i in range(hours.size)]
        color = COLORS[number]
        middle.plot(hours, [m.value for m in means], color=color, marker=MARKERS[number], markersize=3.5,
                    linewidth=1.2, label=plan)  # fmt: skip
        low = [max(m.low, 0.3 * m.value) for m in means]  # a logarithmic axis knows no negative delay
        middle.fill_between(hours, low, [m.high for m in means], color=color, alpha=0.2, linewidth=0)
        for axis, values in ((jobs_axis, result["jobs"]), (late_axis, 100 * result["late_share"].sel(of="all"))):
            m = mean(values.sel(experiment=plan))
            at, low_end = max(m.value, LEAST_LATE), max(m.low, LEAST_LATE)
            axis.errorbar(at, -number, xerr=[[at - low_end], [max(m.high - at, 0.0)]], color=color,
                          marker=MARKERS[number], markersize=6, capsize=3)  # fmt: skip
            axis.annotate(f"{m.value:.3g}", (at, -number), (0, 7), textcoords="offset points", ha="center", fontsize=8)
    middle.set(xlabel="hour of the day", ylabel="mean delay (ms), 95 % interval", xlim=(0, 24), yscale="log")
    middle.set_title("Delay of the packets delivered in an hour; colours as below", fontsize=10)
    for axis, label in (
        (jobs_axis, "mean jobs on the link"),
        (late_axis, "packets later than promised (%; left edge: 0)"),
    ):
        axis.set_yticks(-np.arange(result.sizes["experiment"]), list(result["experiment"].values), fontsize=9)
        axis.set(
            xlabel=f"{label}, 95 % interval",
            xscale="log",
            ylim=(-result.sizes["experiment"] + 0.5, 0.6),
        )
    late_axis.set_yticklabels([])
    late_axis.set_xlim(LEAST_LATE, 200)
    for axis in (top, middle):
        axis.set_xticks(range(0, 25, 6))
    for axis in (top, middle, jobs_axis, late_axis):
        axis.grid(visible=True, which="major", color="0.9")
        axis.set_axisbelow(True)
    figure.legend(*top.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    return {"planning": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return each plan's figures and its difference to the static one, with intervals."""
    static = result.sel(experiment=REFERENCE)

    def compared(one: "xr.DataArray", other: "xr.DataArray") -> Mapping[str, Any]:
        return {**mean(one)._asdict(), "minus static": difference(one, other)._asdict()}

    figures: dict[str, Any] = {}
    for name in result["experiment"].values:
        one = result.sel(experiment=name)
        figures[str(name)] = {figure: compared(one[figure], static[figure]) for figure in ("jobs", "delay_s")} | {
            f"late_share, {of}": compared(one["late_share"].sel(of=of), static["late_share"].sel(of=of))
            for of in result["of"].values
        }
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
