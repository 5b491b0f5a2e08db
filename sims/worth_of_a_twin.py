"""What is a digital twin worth to who decides by it: fresh, aged, or none?

wirelesslab run worth_of_a_twin          (about 5 minutes on two cores; --quick: 30 seconds)

Expect: a fresh twin is worth as much as the network itself: on a link whose loads are exchanged every 10 s it brings
9 jobs down to 3, in cells 42 % late down to 11 %, and the error of twins under a budget of messages to 0.6 of equal
rates. Half a second of age takes back a good part of that, and one or two seconds all: an older twin is worse than
none, for shares that follow old loads starve who is busy now. Wishes that are tried in a fresh twin first, which
knows the queues, leave 2.4 jobs (1.6 to 3.2) where the rule alone leaves 3.6; tried in a twin that is a second old
they are far worse than the rule in some runs, and nobody should do so.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.network import Agent, DigitalTwin, Network, Rehearse, SetRatios, SquareRootShares, View
from wirelesslab.network.agents.interfaces import ShareInterface
from wirelesslab.network.agents.learned import LearnedPolicy
from wirelesslab.network.learners.policies import load_policy
from wirelesslab.network.tasks.slice_alloc import SliceAlloc, twin_of
from wirelesslab.network.tasks.slice_alloc_judgement import TASK
from wirelesslab.network.tasks.slice_alloc_rules import LateRule, PlanRule
from wirelesslab.network.tasks.slice_alloc_worlds import CellsWorld, LinkWorld
from wirelesslab.network.tasks.task import Source
from wirelesslab.network.tasks.twin_sync_judgement import baselines, costs_on_simulator
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import difference, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PHYSICAL = "the network itself"
SHARES = (0.2, 0.35, 0.5, 0.65, 0.8)  # of the first slice: what is rehearsed beside the rule's wish


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is decided, and by what.

    Attributes:
        replicas: Independent runs of each way to see, the same arrivals for every way.
        link_ages_s: Ages of twins of the load of a link.
        cell_ages_s: Ages of twins of cells, links and a computer.
        sync_ages_s: Ages of what is seen of twins whose sync rates are set.
        rehearsed_ages_s: Ages of twins in which wishes are rehearsed; 0 is fresh.
        loads: Of the link's two slices in turn, parts of the link.
        phase_steps: Steps of 0.1 s, or 50 mean service times, after which they are exchanged.
        phases: That are measured, after one that is not.
        cell_steps: Steps in the cells that are measured.
        sync_steps: Steps of an episode of sync rates.
        rehearsed_phases: Phases that are measured where wishes are rehearsed.
        policy: File of a policy that was trained in SliceAllocReduced, for the link; "" takes square-root shares.
    """

    replicas: int = 10
    link_ages_s: tuple[float, ...] = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
    cell_ages_s: tuple[float, ...] = (0.3, 1.0, 2.0, 4.0)
    sync_ages_s: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    rehearsed_ages_s: tuple[float, ...] = (0.0, 1.0)
    loads: tuple[tuple[float, ...], ...] = ((0.45, 0.15), (0.15, 0.45))
    phase_steps: int = 100
    phases: int = 8
    cell_steps: int = 160
    sync_steps: int = 960
    rehearsed_phases: int = 4
    policy: str = ""

    def __post_init__(self) -> None:
        check.positive_integer(
            replicas=self.replicas, phases=self.phases, cell_steps=self.cell_steps, sync_steps=self.sync_steps,
            rehearsed_phases=self.rehearsed_phases,
        )  # fmt: skip
        _ = self.link

    @property
    def link(self) -> LinkWorld:
        """The link whose shares are set."""
        return LinkWorld(loads=self.loads, phase_steps=self.phase_steps)


QUICK: Mapping[str, Any] = {
    "replicas": 3, "link_ages_s": (0.5, 4.0), "cell_ages_s": (2.0,), "sync_ages_s": (2.0,), "rehearsed_ages_s": (0.0,),
    "phases": 2, "phase_steps": 50, "cell_steps": 60, "sync_steps": 240, "rehearsed_phases": 1,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to see.

    Attributes:
        config: The sim's.
        source: What is looked at.
        age_s: Of what an aged twin shows when it is looked at.
        rehearse: Whether several wishes are tried in the twin before one is done.
    """

    config: Config = field(repr=False)
    source: Source
    age_s: float = 0.0
    rehearse: bool = False


def ways(config: Config, ages_s: tuple[float, ...]) -> dict[str, Way]:
    """Return the ways to see by name, from none to all."""
    aged = {f"{age_s:g} s old": Way(config=config, source="aged", age_s=age_s) for age_s in sorted(ages_s)[::-1]}
    return {
        "no twin": Way(config=config, source="none"), **aged,
        "fresh": Way(config=config, source="fresh"), PHYSICAL: Way(config=config, source="physical"),
    }  # fmt: skip


# --- shares of a link ------------------------------------------------------------------------------------


def decider(config: Config, interface: ShareInterface) -> LearnedPolicy:
    """Return who sets the shares of the link: a rule, or what was learned."""
    if config.policy:
        from pathlib import Path

        return LearnedPolicy(load_policy(Path(config.policy), TASK), interface)
    return LearnedPolicy(PlanRule(SquareRootShares(capacity_bps=1.0, least=0.0), interface), interface)


def figures(network: Network, world: LinkWorld, phases: int) -> Mapping[str, Any]:
    """Let a network live; return the mean jobs on its link and the late share, of the phases after the first."""
    phase_s = world.phase_steps * world.step_s
    network.run(phase_s)
    before, (began_s, first) = network.view(), world.reading(network)
    network.run((1 + phases) * phase_s)
    network.check()
    ended_s, last = world.reading(network)
    view = network.view(before)
    late = [view.late_share(name) for name in view.slices]
    return {"figure": float((last - first).sum() / (ended_s - began_s)), "late_share": float(np.nanmean(late))}


def delay_of(age_s: float, step_s: float) -> float:
    """Return the delay of a twin that is told every step, for what it shows at a step's end to be so old."""
    return max(age_s - step_s / 2, 0.0)  # what comes between two steps is seen at the next


def link(way: Way, seed: int) -> Mapping[str, Any]:
    """Set the shares of a link by what is seen; see `main`."""
    world = way.config.link
    network, interface = world.network(seed), world.interface
    twin = twin_of(way.source, world.step_s, world.step_s, delay_of(way.age_s, world.step_s))
    if way.source == "none":
        for action in interface.actions(np.ones(interface.answer_shape)):
            network.apply(action)
    else:
        if twin is not None:
            network.add(twin)
        network.add(Agent(decider(way.config, interface), sees=twin, every_s=world.step_s, name="agent"))
    return figures(network, world, way.config.phases)


# --- radio, links and a computer --------------------------------------------------------------------------


def cells(way: Way, seed: int) -> Mapping[str, Any]:
    """Set shares of radio, transport and compute by what is seen; see `main`."""
    world, steps = CellsWorld(), way.config.cell_steps
    env = SliceAlloc(
        world, source=way.source, period_s=world.step_s, delay_s=delay_of(way.age_s, world.step_s), horizon=10**6
    )
    rule, warm = LateRule(env.interface), 40
    seen, _ = env.reset(seed=seed)
    before = env.network.view()
    for step in range(warm + steps):
        if step == warm:
            before = env.network.view()
        seen, *_ = env.step(rule(seen))
    env.network.check()
    view = env.network.view(before)
    late = float(np.nanmean([view.late_share(name) for name in view.slices]))
    return {"figure": 100 * late, "late_share": late}


# --- sync rates ----------------------------------------------------------------------------------------------


def sync(way: Way, seed: int) -> Mapping[str, Any]:
    """Set sync rates under a budget by what is seen; see `main`."""
    setting = SyncSetting(num_steps=way.config.sync_steps)
    rules = baselines(setting)

    def error(rule: str) -> float:
        costs = costs_on_simulator(rules[rule], [seed], setting, source=way.source, aged_s=way.age_s)
        return float(costs[0])

    return {"figure": error("square root and ages, measured") / error("uniform"), "late_share": np.nan}


# --- rehearsal -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fixed:
    """Wishes the same shares always: something to be rehearsed.

    Attributes:
        interface: Of the link.
        share: Of its first slice.
    """

    interface: ShareInterface
    share: float

    def act(self, view: View) -> tuple[SetRatios, ...]:
        """Return the wish."""
        del view
        return self.interface.actions(self.interface.answer([self.share, 1 - self.share]))


def rehearsed(way: Way, seed: int) -> Mapping[str, Any]:
    """Set the shares of a link with or without trying wishes in a twin first; see `main`."""
    world = way.config.link
    network, interface = world.network(seed), world.interface
    delay_s = delay_of(way.age_s, world.step_s)
    twin = network.add(DigitalTwin(world.step_s, delay_s, window_s=4 * world.step_s, windows=4, name="twin"))
    rule = decider(way.config, interface)
    wishes = (rule, *(Fixed(interface, share) for share in SHARES))
    policy = Rehearse(wishes, horizon_s=0.4, futures=2) if way.rehearse else rule
    network.add(Agent(policy, sees=twin, every_s=2 * world.step_s, name="agent"))
    return figures(network, world, way.config.rehearsed_phases)


# --- the sim -------------------------------------------------------------------------------------------------

PANELS: dict[str, tuple[Callable[[Way, int], Mapping[str, Any]], str, str]] = {
    "link": (link, "mean jobs on the link", "Shares of a link, by loads seen"),
    "cells": (cells, "late or lost (%), mean of three slices", "Shares of radio, links and a computer"),
    "sync": (sync, "error over that of equal rates", "Sync rates under a budget"),
    "rehearsal": (rehearsed, "mean jobs on the link", "Shares of a link, rehearsed or not"),
}


def cases(config: Config, panel: str) -> dict[str, Way]:
    """Return the ways of a panel, the one that others are held against last."""
    if panel != "rehearsal":
        return ways(
            config, getattr(config, {"link": "link_ages_s", "cells": "cell_ages_s", "sync": "sync_ages_s"}[panel])
        )
    names = {0.0: "fresh"}
    return {
        f"{names.get(age_s, f'{age_s:g} s old')}, {'rehearsed' if tried else 'the rule alone'}": Way(
            config=config, source="aged", age_s=age_s, rehearse=tried
        )
        for age_s in sorted(config.rehearsed_ages_s)[::-1]
        for tried in (True, False)
    }


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Decide by every way to see, under the same arrivals for every way.

    Returns:
        For each panel ("link", "cells", "sync", "rehearsal"), over its ways and `replica`: a `figure` of which less is
        better (mean jobs; percent late; mean squared error over that of equal rates), and the `late_share` of flows.
    """
    session = session or Session()
    whole = None
    for panel, (experiment, *_) in PANELS.items():
        one = session.replicate(experiment, cases(config, panel), config.replicas, panel)
        one = one.rename(experiment=panel, figure=f"figure_{panel}", late_share=f"late_share_{panel}")
        whole = one if whole is None else whole.merge(one, combine_attrs="override")
    assert whole is not None
    return whole


def table(result: "xr.Dataset") -> Table:
    """Return the figure of each way, beside the last of its panel."""
    rows = []
    for panel, (_, unit, title) in PANELS.items():
        values = result[f"figure_{panel}"]
        reference = values.isel({panel: -1})
        for place, name in enumerate(result[panel].values):
            one = values.isel({panel: place})
            last = place == result.sizes[panel] - 1
            rows.append([title, str(name), str(mean(one)), "-" if last else str(difference(one, reference)), unit])
    columns = ["what is decided", "what is seen", "figure", "beside the last", "in"]
    note = (
        f"Means over {result.sizes['replica']} replicas with 95 % intervals; differences are of pairs under the same "
        "arrivals. Less is better. Aged twins are told every step, so much late; no twin: equal shares or rates."
    )
    return Table("What a twin is worth to who decides by it", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the figure of each way, a panel for each decision."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    figure = Figure(figsize=(11.5, 7.4), layout="constrained")
    for axis, (panel, (_, unit, title)) in zip(figure.subplots(2, 2).ravel(), PANELS.items(), strict=True):
        names = list(result[panel].values)
        for place, name in enumerate(names):
            m = mean(result[f"figure_{panel}"].isel({panel: place}))
            kind = kind_of(str(name))
            low = max(m.low, 0.3 * m.value)  # a logarithmic axis knows nothing below 0
            axis.errorbar(
                m.value, place, xerr=[[m.value - low], [min(m.high, 3 * m.value) - m.value]], color=COLORS[kind],
                marker=MARKERS[kind], markersize=6, capsize=3, linewidth=1.3,
            )  # fmt: skip
            axis.annotate(
                f"{m.value:.3g}", (m.value, place), (0, 7), textcoords="offset points", ha="center", fontsize=8
            )
        middles = result[f"figure_{panel}"].mean("replica").values
        if middles.max() > 3 * middles.min():
            axis.set_xscale("log")
            for said in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
                said(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.2, 0.5)))  # 20, not 2 x 10^1
        else:
            axis.set_xlim(0, None)
        axis.set_yticks(range(len(names)), names, fontsize=9)
        axis.set_ylim(-0.6, len(names) - 0.3)
        axis.set_xlabel(f"{unit}, 95 % interval")
        axis.set_title(title, fontsize=10)
        axis.grid(visible=True, which="both", axis="x", color="0.9")
        axis.set_axisbelow(True)
    return {"worth": figure}


def kind_of(name: str) -> int:
    """Return the colour of a way: none, aged, fresh, the network; with or without rehearsal."""
    for number, word in enumerate(("no twin", "rehearsed", "rule alone", "old", "fresh")):
        if word in name:
            return (0, 2, 1, 1, 2)[number]
    return 3


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return the figure of each way, and its difference to the last of its panel."""
    found: dict[str, Any] = {}
    for panel, (_, unit, title) in PANELS.items():
        values = result[f"figure_{panel}"]
        found[f"{title}: {unit}"] = {
            str(name): {
                **mean(values.isel({panel: place}))._asdict(),
                "minus last": difference(values.isel({panel: place}), values.isel({panel: -1}))._asdict(),
            }
            for place, name in enumerate(result[panel].values)
        }
    return found


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
