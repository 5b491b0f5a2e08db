"""How do learned agents do at loads, sizes and topologies that they never met in training?

wirelesslab run agent_generalisation                          (about 25 minutes of one core; --quick: 20 seconds)
wirelesslab run agent_generalisation --tasks placement        (any of slice_alloc, twin_sync, placement)

Expect: nets that treat slices, twins and hosts as rows answer for any number of them. A placer trained on a ring of
four edges stays ahead of the nearest and of the least loaded host on rings of two to twelve edges, behind a slower core
and where more comes; where little comes, which it never met, simple rules are a few per cent better. Shares of a link
are ahead of proportional ones at light and middle loads, met or not, and for three slices; at the heaviest loads they
are not told apart from square roots, and at the most lopsided ones and in phases far shorter than those judged they are
behind them. Sync rates keep what they gain on the best constant ones for 4 to 64 twins and any spread but the widest;
where messages are four times as many they gain nothing. A tuned rule that sees ages too stays ahead of them. Policies
and rules see the same, pairs meet the same arrivals, and intervals are over independent trainings.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import networkx as nx
import numpy as np
from wirelesslab_sims._agent_trials import LEARNED, Figures, judged_by

from wirelesslab import check
from wirelesslab.network.agents.learned import LearnedPolicy
from wirelesslab.network.learners import hold_to_one_thread
from wirelesslab.network.tasks import placement_judgement, slice_alloc_judgement, twin_sync_judgement
from wirelesslab.network.tasks.placement_services import PlacementConfig, placement_metro
from wirelesslab.network.tasks.slice_alloc_worlds import LinkWorld
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting
from wirelesslab.network.topology import Graph, add_link, add_node
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import Mean, difference, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

BETWEEN = " | "  # a place and a policy
FAR = 150  # per cent, from which on an axis is logarithmic
HEAVIER = 6 / 7  # part of the heavier of two slices where nothing else is said


class Look(NamedTuple):
    """How a task's figures are shown.

    Attributes:
        title: Of the task.
        unit: What a figure is.
        more: Whether more is better.
        rules: That the learned policy is shown beside, out of all that were played.
    """

    title: str
    unit: str
    more: bool
    rules: tuple[str, ...]


LOOKS: Mapping[str, Look] = {
    "slice_alloc": Look(
        "SliceAlloc", "mean jobs", False,
        ("proportional", "square root", "proportional, floor tuned", "square root, told"),
    ),
    "twin_sync": Look(
        "TwinSync", "mean squared error (m²)", False,
        ("square root, measured", "square root and ages, measured", "square root, told"),
    ),
    "placement": Look("Placement", "return of an episode", True, ("nearest feasible", "least loaded", "keeps room")),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where policies are taken, and how much they are judged.

    Attributes:
        tasks: Of slice_alloc, twin_sync, placement.
        trainings: Independent policies of each task.
        steps_share: Part of the usual steps of each training.
        total_loads: Of two slices together, parts of the link; trained between 0.35 and 0.8.
        splits: Parts of the heavier slice at a total load of 0.7, beside 6/7; trained with any.
        phase_steps: Steps of 50 mean service times after which loads are exchanged; trained with 60 on average.
        short_phase_steps: The same where loads move fast.
        rounds: How often each slice is the heavier one while jobs are counted.
        num_twins: Numbers of twins, one message a second for each on average; trained with 16.
        sigmas: Spreads of the logarithms of the weights of 16 twins; trained with 1.
        messages_per_s: For each of 16 twins, on average; trained with 1.
        sync_episodes: In which each policy for sync rates is judged.
        num_edges: Sizes of the metro ring, with two gNBs and a quarter of a service a second for each edge; trained
            with 4.
        arrivals_per_s: Services for 4 edges; trained with 1.
        placed_episodes: In which each policy for placement is judged.
    """

    tasks: tuple[str, ...] = tuple(LOOKS)
    trainings: int = 5
    steps_share: float = 1.0
    total_loads: tuple[float, ...] = (0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
    splits: tuple[float, ...] = (0.5, 0.98)
    phase_steps: int = 200
    short_phase_steps: int = 20
    rounds: int = 2
    num_twins: tuple[int, ...] = (4, 8, 64)
    sigmas: tuple[float, ...] = (0.5, 1.5, 2.0)
    messages_per_s: tuple[float, ...] = (0.25, 4.0)
    sync_episodes: int = 3
    num_edges: tuple[int, ...] = (2, 8, 12)
    arrivals_per_s: tuple[float, ...] = (0.5, 1.5, 2.5)
    placed_episodes: int = 60

    def __post_init__(self) -> None:
        for task in self.tasks:
            check.one_of(LOOKS, tasks=task)
        check.positive(steps_share=self.steps_share)
        check.positive_integer(
            trainings=self.trainings, phase_steps=self.phase_steps, short_phase_steps=self.short_phase_steps,
            rounds=self.rounds, sync_episodes=self.sync_episodes, placed_episodes=self.placed_episodes,
        )  # fmt: skip

    def steps(self, usual: int) -> int:
        """Return how long to train where `usual` steps are usual."""
        return max(1, round(usual * self.steps_share))


QUICK: Mapping[str, Any] = {
    "trainings": 2, "steps_share": 0.01, "total_loads": (0.5, 0.9), "splits": (), "phase_steps": 20, "rounds": 1,
    "num_twins": (8,), "sigmas": (), "messages_per_s": (4.0,), "sync_episodes": 1, "num_edges": (2,),
    "arrivals_per_s": (2.5,), "placed_episodes": 5,
}  # fmt: skip


def slice_alloc(config: Config, seed: int) -> Figures:
    """Train a divider of a link on the reduced model; return mean jobs on the simulator by place and policy."""
    hold_to_one_thread()
    learned = slice_alloc_judgement.trained(seed, steps=config.steps(slice_alloc_judgement.STEPS))
    found = {}
    for place, world in links(config).items():
        rules = slice_alloc_judgement.rules(world)
        own = LearnedPolicy(learned.for_items(len(world.slices)), world.interface)
        phases = config.rounds * len(world.loads) * (config.phase_steps // world.phase_steps)
        for name in (LEARNED, *LOOKS["slice_alloc"].rules):
            policy = own if name == LEARNED else rules[name]
            found[place + BETWEEN + name] = slice_alloc_judgement.mean_jobs(policy, seed, world=world, phases=phases)
    return found


def links(config: Config) -> dict[str, LinkWorld]:
    """Return the links whose shares are set, by place."""

    def world(total: float, heavier: float, steps: int = config.phase_steps) -> LinkWorld:
        loads = total * heavier, total * (1 - heavier)
        return LinkWorld(loads=(loads, loads[::-1]), phase_steps=steps)

    places = {f"load {total:g}": world(total, HEAVIER) for total in config.total_loads}
    places |= {f"load 0.7, {split:.0%} in one slice": world(0.7, split) for split in config.splits}
    short = min(config.short_phase_steps, config.phase_steps)
    places[f"load 0.7, phases of {short} steps"] = world(0.7, HEAVIER, short)
    three = ((0.5, 0.1, 0.1), (0.1, 0.5, 0.1), (0.1, 0.1, 0.5))
    return places | {"load 0.7, three slices": LinkWorld(loads=three, phase_steps=config.phase_steps)}


def twin_sync(config: Config, seed: int) -> Figures:
    """Train a setter of sync rates in the model; return mean errors on the simulator, m^2, by place and policy."""
    hold_to_one_thread()
    learned = twin_sync_judgement.trained(seed, steps=config.steps(twin_sync_judgement.STEPS))
    found = {}
    for place, setting in settings(config).items():
        makers = twin_sync_judgement.baselines(setting)
        makers[LEARNED] = twin_sync_judgement.asked(learned.for_items(setting.num_twins))
        seeds = judged_by(seed, place, config.sync_episodes)
        for name in (LEARNED, *LOOKS["twin_sync"].rules):
            costs = twin_sync_judgement.costs_on_simulator(makers[name], seeds, setting)
            found[place + BETWEEN + name] = float(costs.mean())
    return found


def settings(config: Config) -> dict[str, SyncSetting]:
    """Return the settings of sync rates, by place."""
    usual = twin_sync_judgement.SETTING
    return {
        "16 twins, σ = 1": usual,
        **{f"{n} twins": replace(usual, num_twins=n, budget_per_s=float(n)) for n in config.num_twins},
        **{f"σ = {sigma:g}": replace(usual, sigma=sigma) for sigma in config.sigmas},
        **{
            f"{rate:g} messages a second for each": replace(usual, budget_per_s=usual.num_twins * rate)
            for rate in config.messages_per_s
        },
    }


def placement(config: Config, seed: int) -> Figures:
    """Train a placer of services on a metro ring; return mean returns of episodes by place and policy."""
    hold_to_one_thread()
    learned = placement_judgement.train_placement(seed, steps=config.steps(placement_judgement.STEPS))
    found = {}
    for place, (graph, arrivals_per_s) in topologies(config).items():
        judged = placement_judgement.judge_placement(
            [learned], episodes=config.placed_episodes, seed=seed, graph=graph,
            config=PlacementConfig(arrivals_per_s=arrivals_per_s),
        )  # fmt: skip
        returns = {LEARNED: judged.learned[0], **{name: judged.rules[name] for name in LOOKS["placement"].rules}}
        found |= {place + BETWEEN + name: float(one.mean()) for name, one in returns.items()}
    return found


def topologies(config: Config) -> dict[str, tuple[Graph, float]]:
    """Return topologies and how many services come a second, by place."""
    usual = placement_metro()
    return {
        "ring of 4 edges": (usual, 1.0),
        **{f"{rate:g} services a second": (usual, rate) for rate in config.arrivals_per_s},
        **{f"ring of {edges} edges": (placement_metro(2 * edges, edges), edges / 4) for edges in config.num_edges},
        "core of half the rate": (scaled(usual, "core", 0.5), 1.0),
        "ring and access of a fifth of the rate": (scaled(usual, "edge", 0.2), 1.0),
        "chain of 4 edges": (chain(4), 1.0),
    }


def scaled(graph: Graph, kind: str, factor: float) -> Graph:
    """Return a graph whose links at nodes of a kind, the core's or all others, have another rate."""
    other = graph.copy()
    for one, end, link in other.edges(data=True):
        at_core = "core" in (one, end)
        if at_core == (kind == "core"):
            link["rate_bps"] *= factor
    return other


def chain(num_edges: int) -> Graph:
    """Return edges in a row, each with two gNBs and half as fast as in the ring, and the cloud at the row's end."""
    graph: Graph = nx.DiGraph()
    for place in range(1, num_edges + 1):
        edge = f"edge-{place}"
        add_node(graph, edge, "edge", (10e3 * place, 0.0), operations_per_s=5e12, num_servers=1)
        for gnb, side_m in ((f"gnb-{2 * place - 1}", 1e3), (f"gnb-{2 * place}", -1e3)):
            add_node(graph, gnb, "gnb", (10e3 * place, side_m))
            add_link(graph, gnb, edge, rate_bps=2e9)
        if place > 1:
            add_link(graph, f"edge-{place - 1}", edge, rate_bps=2e9)
    add_node(graph, "cloud", "cloud", (300e3, 0.0), operations_per_s=2e14, num_servers=1)
    add_link(graph, f"edge-{num_edges}", "cloud", rate_bps=1e9)
    return graph


def met(task: str, place: str) -> bool:
    """Return whether a training of the task meets the like of a place."""
    if task != "slice_alloc":
        return place in ("16 twins, σ = 1", "ring of 4 edges")
    least, most = slice_alloc_judgement.MODEL.total_load
    alike = "," not in place or "in one slice" in place
    return alike and least <= float(place.split()[1].strip(",")) <= most


TRIALS: Mapping[str, Callable[[Config, int], Figures]] = {
    "slice_alloc": slice_alloc, "twin_sync": twin_sync, "placement": placement,
}  # fmt: skip


def main(config: Config, session: Session) -> "xr.Dataset":
    """Train, and judge at every place; returns for each task its figures by place, policy and training."""
    import xarray as xr

    parts, attrs = {}, {}
    for task in config.tasks:
        found = session.replicate(TRIALS[task], {task: config}, config.trainings, name=task)
        names = [str(name).split(BETWEEN) for name in found]
        places, policies = (list(dict.fromkeys(part)) for part in zip(*names, strict=True))
        values = np.stack([found[place + BETWEEN + policy].values[0] for place in places for policy in policies])
        parts[task] = xr.DataArray(
            values.reshape(len(places), len(policies), -1), dims=(f"{task} place", f"{task} policy", "replica"),
            coords={f"{task} place": places, f"{task} policy": policies, "replica": found["replica"].values},
        )  # fmt: skip
        attrs = found.attrs
    return xr.Dataset(parts, attrs=attrs)


def tasks_of(result: "xr.Dataset") -> list[str]:
    """Return the tasks that a result holds, in order."""
    return [task for task in LOOKS if task in result]


def places_of(result: "xr.Dataset", task: str) -> list[str]:
    """Return a task's places, in order."""
    return [str(place) for place in result[f"{task} place"].values]


def scores(result: "xr.Dataset", task: str, place: str, policy: str = LEARNED) -> "np.ndarray[Any, Any]":
    """Return the figures of a policy at a place, shape (trainings,)."""
    return np.asarray(result[task].sel({f"{task} place": place, f"{task} policy": policy}).values)


def better_by(result: "xr.Dataset", task: str, place: str, rule: str) -> Mean:
    """Return by how many per cent of a rule's figure the learned policy is better at a place, over pairs."""
    own, other = scores(result, task, place), scores(result, task, place, rule)
    scale = (100 if LOOKS[task].more else -100) / np.abs(other)
    return difference(scale * own, scale * other)


def table(result: "xr.Dataset") -> Table:
    """Return the learned policy's figures by place, and by how much it is better than each rule."""
    rows, most = [], max(len(look.rules) for look in LOOKS.values())
    for task in tasks_of(result):
        look = LOOKS[task]
        blank = [""] * (most - len(look.rules))
        rows.append([f"{look.title}: {look.unit}", "", "learned", *(f"than {rule}" for rule in look.rules), *blank])
        for place in places_of(result, task):
            gains = [percent(better_by(result, task, place, rule)) for rule in look.rules]
            mark = "met" if met(task, place) else ""
            rows.append([place, mark, str(mean(scores(result, task, place))), *gains, *blank])
    return Table(
        "Learned agents where they were not trained",
        ["where", "", "figure (95 %)", "better by", *[""] * (most - 1)],
        rows,
        f"Over {result.sizes['replica']} trainings, each judged under arrivals of its own; pairs meet the same. "
        'Met: the like of it came in training. Negative: the rule is better.',
    )  # fmt: skip


def percent(gain: Mean) -> str:
    """Return a relative difference in words."""
    return f"{gain.value:.1f} % ({gain.low:.1f} to {gain.high:.1f})"


def draw(result: "xr.Dataset") -> Mapping[str, "Figure"]:
    """Return a panel for each task: by how much the learned policy is better than each rule, place by place."""
    from matplotlib.figure import Figure

    tasks = tasks_of(result)
    figure = Figure(figsize=(5.2 * len(tasks), 6.8), layout="constrained")
    for axis, task in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        look, places = LOOKS[task], places_of(result, task)
        for number, rule in enumerate(look.rules):
            gains = [better_by(result, task, place, rule) for place in places]
            middles, shift = np.array([gain.value for gain in gains]), 0.17 * (number - (len(look.rules) - 1) / 2)
            ends = np.array([[gain.low, gain.high] for gain in gains]).T
            reach = np.clip(np.abs(ends - middles), 0, 1e3)  # one training alone has no interval
            axis.errorbar(
                middles, np.arange(len(places)) + shift, xerr=reach, fmt=MARKERS[number], color=COLORS[number],
                markersize=5, capsize=2, linewidth=1.2, label=f"than {rule}",
            )  # fmt: skip
        for number, place in enumerate(places):
            if met(task, place):
                axis.axhspan(number - 0.5, number + 0.5, color="0.93", zorder=0)
        axis.axvline(0, color="0.3", linewidth=1)
        axis.set_yticks(range(len(places)), places, fontsize=9)
        axis.set_ylim(len(places) - 0.4, -0.6)
        if np.abs(axis.get_xlim()).max() > FAR:
            axis.set_xscale("symlog", linthresh=10)
            axis.set_xticks([-1000, -100, -10, 0, 10, 100], ["-1000", "-100", "-10", "0", "10", "100"])
        axis.set_xlabel(f"better by (%), {look.unit}", fontsize=9)
        axis.set_title(f"{look.title}; grey: met in training", fontsize=10)
        axis.grid(axis="x", color="0.88")
        axis.set_axisbelow(True)
        axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.09))
    return {"generalisation": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return figures by place with gains over rules, and at how many places never met the learned policy wins."""
    found: dict[str, Any] = {}
    for task in tasks_of(result):
        places = places_of(result, task)
        gains = {place: {rule: better_by(result, task, place, rule) for rule in LOOKS[task].rules} for place in places}
        new = [place for place in places if not met(task, place)]
        found[task] = {
            "places": {
                place: {
                    "met in training": met(task, place), "learned": mean(scores(result, task, place))._asdict(),
                    "better by per cent": {rule: gain._asdict() for rule, gain in gains[place].items()},
                }
                for place in places
            },
            "of places never met": {
                rule: {
                    "all": len(new),
                    "learned is better, by the interval": sum(gains[place][rule].low > 0 for place in new),
                    "the rule is better, by the interval": sum(gains[place][rule].high < 0 for place in new),
                }
                for rule in LOOKS[task].rules
            },
        }  # fmt: skip
    return found


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
