"""How far can a twin's what-if be trusted, and where does it fail?

wirelesslab run what_if_fidelity          (about 5 minutes on two cores; --quick: 30 seconds)

Expect: while load is steady, effects of random actions on delay and lateness are ranked as they come, with rank
correlations of 0.96 to 0.98 whatever the twin's age up to 4 s; one future does nearly as well as six. On throughput it
is 0.81 to 0.88: most actions change it by little but chance. Where it fails: when load has just moved from some slices
to others, a twin that has not heard of it still ranks well (0.96) but errs by 1.8 times the spread of the effects, and
so does, nearly, a mean over the past that includes the old load. In a daily wave a twin 4 s old that expects the last
second to go on falls to 0.85; one that remembers past days stays at 0.98.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import spearmanr

from wirelesslab import check
from wirelesslab.network import (
    EMBB,
    MIOT,
    URLLC,
    Action,
    DigitalTwin,
    Diurnal,
    ExponentialSize,
    Network,
    ResourceRatio,
    ServiceLevel,
    SetRatios,
    SetUp,
)
from wirelesslab.network.diurnal_traffic import day_of_rates
from wirelesslab.network.topology import Graph, add_link, add_node
from wirelesslab.network.twins.forecasts import Forecaster, Persistence, Seasonal
from wirelesslab.network.twins.what_if import figures_of, rehearse
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import mean
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

PROMISES_S = {EMBB: 0.2, URLLC: 0.04, MIOT: 0.1}  # our choice; a packet of embb takes 10 ms on a link
SLICES = tuple(replace(s, level=ServiceLevel(delay_s=delay_s), weight=1.0) for s, delay_s in PROMISES_S.items())
SIZES = {"embb": 10_000.0, "urllc": 5_000.0, "miot": 5_000.0}  # mean bytes of exponential flows
# slice, source, Mbit/s before a change and after it, hour of the peak in a wave; all go to the core
SOURCES = (
    ("embb", "gnb-1", 3.5, 1.5, 20.0), ("urllc", "gnb-1", 2.0, 4.0, 8.0),
    ("embb", "gnb-2", 2.5, 1.0, 20.0), ("miot", "gnb-2", 2.0, 3.5, 2.0),
)  # fmt: skip
DAY_S, NOW_S, CHANGE_S, SWING = 16, 33.0, 31.0, 0.6
FORECASTS: dict[str, Forecaster] = {
    "last second": Persistence(),
    "mean of 8 seconds": Seasonal(season=1, memory=8),
    "past days": Seasonal(season=DAY_S, memory=2),
}
SHOWN = {"mean_delay_s": "mean delay", "late_share": "late share", "delivered_bps": "throughput"}


class Way(NamedTuple):
    """A load, and how a twin foresees what becomes of it.

    Attributes:
        load: "steady", "just changed" or "daily wave".
        age_s: Of all that the twin knows.
        forecast: Name out of `FORECASTS`.
        futures: That it draws.
    """

    load: str
    age_s: float
    forecast: str
    futures: int

    def __str__(self) -> str:
        many = "1 future" if self.futures == 1 else f"{self.futures} futures"
        return f"{self.load}: {self.age_s:g} s old, {self.forecast}, {many}"


WAYS = (
    *(Way("steady", age_s, "mean of 8 seconds", 2) for age_s in (0.0, 1.0, 4.0)),
    Way("steady", 0.0, "last second", 2),
    *(Way("steady", 0.0, "mean of 8 seconds", futures) for futures in (1, 6)),
    *(Way("just changed", age_s, "last second", 2) for age_s in (0.0, 1.0, 4.0)),
    Way("just changed", 0.0, "mean of 8 seconds", 2),
    *(Way("daily wave", 0.0, forecast, 2) for forecast in FORECASTS),
    Way("daily wave", 4.0, "last second", 2),
    Way("daily wave", 4.0, "past days", 2),
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much is tried.

    Attributes:
        replicas: Independent networks, each with actions of its own.
        actions: Random actions in each, at least 3.
        horizon_s: Over which effects are measured, and foreseen.
        link_bps: Rate of every link.
    """

    replicas: int = 8
    actions: int = 30
    horizon_s: float = 4.0
    link_bps: float = 8e6

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas)
        check.positive(horizon_s=self.horizon_s, link_bps=self.link_bps)
        check.within(3, 1000, actions=self.actions)


QUICK: Mapping[str, Any] = {"replicas": 2, "actions": 8, "horizon_s": 2.0}


def two_edges(link_bps: float) -> Graph:
    """Return two gNBs on two edges, in a triangle with the core."""
    graph = Graph()
    for number, y in (("1", 0.0), ("2", 1e3)):
        add_node(graph, f"gnb-{number}", "gnb", (0.0, y))
        add_node(graph, f"edge-{number}", "edge", (1e3, y))
    add_node(graph, "core", "core", (2e3, 500.0))
    for first, second in (
        ("gnb-1", "edge-1"), ("gnb-2", "edge-2"), ("edge-1", "edge-2"), ("edge-1", "core"), ("edge-2", "core"),
    ):  # fmt: skip
        add_link(graph, first, second, rate_bps=link_bps)
    return graph


def lived(load: str, config: Config, seed: int) -> tuple[Network, dict[float, DigitalTwin]]:
    """Return a network under this load at `NOW_S`, and its twins by age."""
    network = Network(two_edges(config.link_bps), SLICES, seed=seed, segment_bytes=10**6, report_s=1e3)
    for name, source, before, after, hour in SOURCES:
        per_mbps = 1e6 / (8 * SIZES[name])
        period_s, rates = {
            "steady": (1e6, (per_mbps * before,)),
            "just changed": (2 * CHANGE_S, (per_mbps * before, per_mbps * after)),
            "daily wave": (DAY_S, tuple(day_of_rates(per_mbps * before, SWING, hour / 24, DAY_S))),
        }[load]
        network.add(
            Diurnal(
                name, source=source, sink="core", period_s=period_s, rates_per_s=rates,
                num_bytes=ExponentialSize(SIZES[name]),
            )
        )  # fmt: skip
    ages = sorted({way.age_s for way in WAYS if way.load == load})
    twins = {age: network.add(DigitalTwin(period_s=0.5, delay_s=age, name=f"twin of {age:g} s")) for age in ages}
    network.run(until_s=NOW_S)
    return network, twins


def random_actions(num: int, rng: np.random.Generator) -> list[Action]:
    """Return random shares of all links or of one, kept apart or as ceilings, and failures of links."""
    links = ("gnb-1->edge-1", "gnb-2->edge-2", "edge-1->core", "edge-2->core")
    actions: list[Action] = []
    for _ in range(num):
        kind, link = rng.random(), links[rng.integers(4)]
        if kind < 0.1:
            actions.append(SetUp(element=links[2 + rng.integers(2)], up=False))
            continue
        shares = rng.dirichlet([4.0, 4.0, 4.0]) * rng.uniform(0.85, 1.0)
        if rng.random() < 0.7:
            ratios = [ResourceRatio.isolated(float(share)) for share in shares]
        else:
            ratios = [ResourceRatio(max=float(np.clip(1.6 * share, 0.15, 1.0))) for share in shares]
        named = {s.name: ratio for s, ratio in zip(SLICES, ratios, strict=True)}
        actions.append(SetRatios(domain="transport", ratios=named, element="" if kind < 0.6 else link))
    return actions


def true_effects(network: Network, actions: list[Action], horizon_s: float) -> "dict[str, NDArray[np.float64]]":
    """Return what each action really changes, in copies with the real generators, shape (actions, slices)."""
    snapshot, found = network.snapshot(), []
    for action in (None, *actions):
        copy = Network.restored(snapshot)
        before = copy.view()
        if action is not None:
            copy.apply(action)
        copy.agenda.run(NOW_S + horizon_s)
        found.append(figures_of(copy.view(before)))
    return {kpi: np.array([one[kpi] - found[0][kpi] for one in found[1:]]) for kpi in SHOWN}


def one_slice(true: "NDArray[np.float64]", effect: "NDArray[np.float64]") -> tuple[float, float]:
    """Return rank correlation and error over actions that have an effect in both; nan where one never varies."""
    good = np.isfinite(true + effect)
    true, effect = true[good], effect[good]
    if np.ptp(true) == 0 or np.ptp(effect) == 0:
        return np.nan, np.nan
    return float(spearmanr(true, effect).statistic), float(np.sqrt(np.mean((effect - true) ** 2)) / np.std(true))


def compare(config: Config, seed: int) -> Mapping[str, Any]:
    """Foresee and do the same actions in one network of each load; see `main`."""
    ranks, errors = {}, {}
    for load in dict.fromkeys(way.load for way in WAYS):
        network, twins = lived(load, config, seed)
        actions = random_actions(config.actions, stream(seed, "actions", load))
        truth = true_effects(network, actions, config.horizon_s)
        for way in (way for way in WAYS if way.load == load):
            foreseen = rehearse(
                twins[way.age_s].known(), FORECASTS[way.forecast], actions, horizon_s=config.horizon_s,
                futures=way.futures, seed=seed,
            )  # fmt: skip
            for kpi, true in truth.items():
                effect = np.array([[one.effect(kpi, s.name).value for s in SLICES] for one in foreseen])
                both = [one_slice(true[:, i], effect[:, i]) for i in range(len(SLICES))]
                ranks[way, kpi], errors[way, kpi] = np.nanmean(both, axis=0)
    return {
        "rank": [[ranks[way, kpi] for kpi in SHOWN] for way in WAYS],
        "error": [[errors[way, kpi] for kpi in SHOWN] for way in WAYS],
    }


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Foresee and do random actions.

    Returns:
        Over `replica`, `way` and `kpi`: Spearman's `rank` correlation of predicted and true effects over actions, and
        the `error`, root mean square over the spread (standard deviation over actions) of the true effects; both for
        each slice and averaged over slices.
    """
    session = session or Session()
    result = session.replicate(compare, {"networks": config}, config.replicas).isel(experiment=0)
    for name in ("rank", "error"):
        result[name] = result[name].rename({f"{name}_at": "way", f"{name}_1": "kpi"})
    return result.assign_coords({"way": [str(way) for way in WAYS], "kpi": list(SHOWN)})


def table(result: "xr.Dataset") -> Table:
    """Return rank correlations of each figure, and the error of the mean delay."""
    rows = []
    for way, words in zip(WAYS, result["way"].values, strict=True):
        ranks = [str(mean(result["rank"].sel(way=words, kpi=kpi))) for kpi in SHOWN]
        error = mean(result["error"].sel(way=words, kpi="mean_delay_s"))
        rows.append([way.load, f"{way.age_s:g} s, {way.forecast}, {way.futures}", *ranks, str(error)])
    columns = ["load", "age, forecast, futures", *(f"rank: {words}" for words in SHOWN.values()), "error: mean delay"]
    note = (
        f"Means over {result.sizes['replica']} networks with 95 % intervals, each a mean over {len(SLICES)} slices. "
        "Rank: Spearman's, of predicted and true effects. Error: root mean square over the spread of true effects; "
        "1 is as bad as foreseeing the same mean effect of everything."
    )
    return Table("Effects of random actions, as foreseen and as they came", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw rank correlation and error of each way."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 6.8), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places, place = [], 0.0
    for number, way in enumerate(WAYS):
        place -= 1.0 if number and way.load == WAYS[number - 1].load else 1.8
        places.append(place)
    for axis, name in ((left, "rank"), (right, "error")):
        for number, (kpi, words) in enumerate(SHOWN.items()):
            for at, way in zip(places, result["way"].values, strict=True):
                m = mean(result[name].sel(way=way, kpi=kpi))
                low, high = max(m.low, -1.0), min(m.high, 1.0 if name == "rank" else 10.0)
                axis.errorbar(
                    m.value, at + 0.22 * (1 - number), xerr=[[max(m.value - low, 0.0)], [max(high - m.value, 0.0)]],
                    color=COLORS[number], marker=MARKERS[number], markersize=5, capsize=2, linewidth=1.2,
                    label=words if at == places[0] else None,
                )  # fmt: skip
        axis.grid(visible=True, axis="x", color="0.9")
        axis.set_axisbelow(True)
    left.axvline(0.9, color="0.4", linestyle=":", linewidth=1.2)
    left.set_yticks(places, list(result["way"].values), fontsize=8)
    left.set_xlabel("rank correlation of predicted and true effects, 95 % interval")
    right.set_xlabel("error over the spread of true effects, 95 % interval")
    right.set_xlim(0, None)
    right.axvline(1.0, color="0.4", linestyle=":", linewidth=1.2)
    figure.legend(*left.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    return {"what_if": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return rank correlation and error of each way and figure, with intervals."""
    return {
        str(way): {
            f"{name}, {kpi}": mean(result[name].sel(way=way, kpi=kpi))._asdict()
            for name in ("rank", "error")
            for kpi in SHOWN
        }
        for way in result["way"].values
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
