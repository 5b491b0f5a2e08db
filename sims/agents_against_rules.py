"""How do learned agents do beside tuned rules, and how far are they from what can be had at best?

wirelesslab run agents_against_rules                        (about 45 minutes on two cores; --quick: a minute)
wirelesslab run agents_against_rules --tasks twin_sync      (any of admission, slice_alloc, twin_sync, placement,
                                                             ai_slice, handover)

Expect: agents come close to what is best for who knows the load, without being told it; a rule that was tuned for the
load is as good while that stands still. Shares by the square root are the best for loads seen and queues unseen; who
sees the queues does better than any of them. An agent that sees ages sets sync rates better than the best constant
ones; a rule that sees them too, tuned, does two or three in a hundred better still. Intervals are over independent
trainings, each judged in episodes of its own beside all rules.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from wirelesslab_sims import _agent_trials as trials
from wirelesslab_sims._agent_trials import LEARNED, Effort, Roots, Station

from wirelesslab import check
from wirelesslab.network.tasks import (
    ai_slice_judgement,
    placement_judgement,
    slice_alloc_judgement,
    twin_sync_judgement,
)
from wirelesslab.network.tasks.handover_rules import HandoverTraining
from wirelesslab.network.tasks.slice_alloc_judgement import in_theory
from wirelesslab.plot import COLORS
from wirelesslab.replicas import Mean, difference, interquartile_mean, mean
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

SIGMAS = (0.5, 1.0, 1.5)
MANY = ("slice_alloc", "twin_sync")  # whose best learner is judged over many trainings


class Look(NamedTuple):
    """How a task's figures are shown.

    Attributes:
        title: Of the task.
        unit: What a figure is.
        more: Whether more is better.
        best: What the learned policy is measured by: the optimum, a bound, or the best rule that is told no more.
        plain: The simple rule that an agent must beat.
        logarithm: Whether a figure is a natural logarithm: relative differences are then those of what it is of.
    """

    title: str
    unit: str
    more: bool
    best: str
    plain: str
    logarithm: bool = False


LOOKS: Mapping[str, Look] = {
    "light": Look("Admission, light load, exact", "reward per second", True, "optimum", "complete sharing"),
    "overloaded": Look("Admission, overloaded, exact", "reward per second", True, "optimum", "complete sharing"),
    "lopsided": Look("Admission, lopsided, exact", "reward per second", True, "optimum", "complete sharing"),
    "drift": Look(
        "Admission, overloaded, drifting",
        "reward per second",
        True,
        "trunk, re-tuned online",
        "trunk, tuned for the mean",
    ),
    "slice_alloc": Look("SliceAlloc, moving load, simulator", "mean jobs", False, "square root, told", "proportional"),
    "twin_sync": Look(
        "TwinSync, simulator",
        "mean squared error (m²)",
        False,
        "square root and ages, measured, simulator",
        "square root, told, simulator",
    ),
    "placement": Look("Placement", "return of an episode", True, "knows all", "nearest feasible"),
    "ai_slice": Look("AISlice", "return of an episode", True, "foresees", "bandwidth rule"),
    "handover": Look("Handover", "ln(rate / 1 Mb/s)", True, "", "strongest, tuned margin", logarithm=True),
}
TASKS = ("admission", "slice_alloc", "twin_sync", "placement", "ai_slice", "handover")
EXACT = ("gap reached", "of optimum", "learned, simulated")  # what is told of a policy beside what it earns


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained and judged.

    Attributes:
        tasks: Of admission, slice_alloc, twin_sync, placement, ai_slice, handover.
        trainings: Of admission (each of its loads), slice_alloc and twin_sync.
        other_trainings: Of the other tasks.
        steps_share: Part of the usual steps of each training.
        episodes_share: Part of the usual episodes of judgement.
    """

    tasks: tuple[str, ...] = TASKS
    trainings: int = 10
    other_trainings: int = 5
    steps_share: float = 1.0
    episodes_share: float = 1.0

    def __post_init__(self) -> None:
        for task in self.tasks:
            check.one_of(TASKS, tasks=task)
        check.positive_integer(trainings=self.trainings, other_trainings=self.other_trainings)
        check.positive(steps_share=self.steps_share, episodes_share=self.episodes_share)

    def effort(self, task: str) -> Effort:
        """Return how long a task's policies are trained and judged."""
        full = EFFORTS[task]
        return Effort(
            steps=max(1, round(full.steps * self.steps_share)),
            episodes=max(1, round(full.episodes * self.episodes_share)),
        )


EFFORTS: Mapping[str, Effort] = {
    "slice_alloc": Effort(steps=slice_alloc_judgement.STEPS, episodes=4),
    "twin_sync": Effort(steps=twin_sync_judgement.STEPS, episodes=8),
    "placement": Effort(steps=placement_judgement.STEPS, episodes=40),
    "ai_slice": Effort(steps=ai_slice_judgement.STEPS, episodes=40),
    "handover": Effort(steps=HandoverTraining().steps, episodes=10),
}
QUICK: Mapping[str, Any] = {
    "tasks": ("twin_sync", "handover"), "trainings": 2, "other_trainings": 2, "steps_share": 0.03,
    "episodes_share": 0.1,
}  # fmt: skip


def main(config: Config, session: Session) -> "xr.Dataset":
    """Train and judge, task by task; returns figures by task, policy and training."""
    import xarray as xr

    parts, attrs = {}, {}
    if "admission" in config.tasks:
        full = Station()
        steps, calls = round(full.steps * config.steps_share), round(full.calls * config.episodes_share)
        cases = {name: Station(system=name, steps=steps, calls=calls) for name in trials.SYSTEMS}
        steady = session.replicate(trials.admission, cases, config.trainings, name="admission")
        for name in cases:
            parts[name] = by_policy(steady.sel(experiment=[name]), f"{name} policy")
        drift = {"drift": Station(steps=steps, calls=calls)}
        found = session.replicate(trials.admission_drift, drift, config.trainings, name="admission_drift")
        bandits = session.replicate(trials.admission_bandits, drift, config.trainings, name="admission_bandits")
        parts["drift"], attrs = by_policy(found.merge(bandits), "drift policy"), found.attrs
    for task in [task for task in config.tasks if task != "admission"]:
        number = config.trainings if task in MANY else config.other_trainings
        found = session.replicate(trials.TRIALS[task], {task: config.effort(task)}, number, name=task)
        parts[task] = by_policy(found, f"{task} policy")
        attrs = found.attrs
        if task == "twin_sync":
            cases = {f"{sigma:g}": Roots(sigma=sigma) for sigma in SIGMAS}
            gains = session.replicate(trials.roots, cases, 10, name="roots")
            parts["roots"] = by_policy(gains, "roots figure", dims=("experiment", "replica"))
    result = xr.Dataset(parts, attrs=attrs).rename({"experiment": "sigma"} if "roots" in parts else {})
    return result


def by_policy(found: "xr.Dataset", dimension: str, dims: tuple[str, ...] = ("replica",)) -> "xr.DataArray":
    """Return the figures of one task as one array, whose last dimension names what they are of."""
    import xarray as xr

    names = [str(name) for name in found]
    values = np.stack([found[name].values for name in names], axis=-1)
    if len(dims) == 1:
        values = values[0]
    coordinates = {"replica": found["replica"].values, dimension: names}
    if "experiment" in dims:
        coordinates["experiment"] = found["experiment"].values
    return xr.DataArray(values, dims=(*dims, dimension), coords=coordinates)


def scores(result: "xr.Dataset", task: str) -> dict[str, "np.ndarray[Any, Any]"]:
    """Return a task's figures by policy, shape (trainings,)."""
    part = result[task]
    dimension = f"{task} policy"
    return {
        str(name): part.sel({dimension: name}).values[~np.isnan(part.sel({dimension: name}).values)]
        for name in part[dimension].values
    }


def earned(result: "xr.Dataset", task: str) -> dict[str, "np.ndarray[Any, Any]"]:
    """Return figures of one kind by policy, shape (trainings,): what can stand in one panel."""
    return {name: v for name, v in scores(result, task).items() if name not in EXACT and not name.endswith(", model")}


def learned_name(task: str) -> str:
    """Return under which name the learned policy of a task stands."""
    return f"{LEARNED}, simulator" if task == "twin_sync" else LEARNED


def better_by(result: "xr.Dataset", task: str, policy: str) -> Mean:
    """Return by how much the learned policy is better than another, of the other's figure, over paired trainings.

    Where figures are logarithms, that of their exponentials in the geometric mean: part of a logarithm says nothing.
    """
    found, sign = scores(result, task), 1 if LOOKS[task].more else -1
    other = found[policy]
    if LOOKS[task].logarithm:
        apart = difference(sign * found[learned_name(task)], sign * other)
        return apart._replace(**{end: float(np.expm1(getattr(apart, end))) for end in ("value", "low", "high")})
    return difference(sign * found[learned_name(task)] / np.abs(other), sign * other / np.abs(other))


def table(result: "xr.Dataset") -> Table:
    """Return figures of all policies, and by how much the learned one is better."""
    rows = []
    for task in tasks_of(result):
        look, found = LOOKS[task], earned(result, task)
        order = sorted(found, key=lambda name: found[name].mean(), reverse=look.more)
        for name in order:
            middle = interquartile_mean(found[name])
            own = name == learned_name(task)
            gain = "" if own else percent(better_by(result, task, name))
            mark = "*" if own else ("best" if name == look.best else "")
            rows.append([f"{look.title} ({look.unit})", name.removesuffix(", simulator"), mark, str(middle), gain])
    for gain in gains(result):
        rows.append(["Square-root sync rates over equal ones", f"sigma {gain[0]}", "", gain[1], gain[2]])
    return Table(
        "Learned agents beside rules",
        ["task", "policy", "", "interquartile mean (95 %)", "learned is better by"],
        rows,
        "* learned. Intervals: bootstrap over trainings for means (of five or ten: somewhat too narrow), by "
        "Student over pairs for differences.",
    )


def percent(gain: Mean) -> str:
    """Return a relative difference in words."""
    return f"{100 * gain.value:.1f} % ({100 * gain.low:.1f} to {100 * gain.high:.1f})"


def tasks_of(result: "xr.Dataset") -> list[str]:
    """Return the looks that a result holds, in order."""
    return [task for task in LOOKS if task in result]


def gains(result: "xr.Dataset") -> list[tuple[str, str, str, dict[str, Mean]]]:
    """Return for each spread of the weights what square roots gain, in words and numbers."""
    if "roots" not in result:
        return []
    found = []
    for sigma in result["sigma"].values:
        part = result["roots"].sel(sigma=sigma)
        figure = {str(n): part.sel({"roots figure": n}).values for n in part["roots figure"].values}
        numbers = {
            "by formula": mean(figure["by formula"]),
            "played": mean(figure["equal"] / figure["root"]),
            "in proportion": mean(figure["equal"] / figure["proportional"]),
            "played over that of so few": mean(figure["equal"] / figure["root"] / figure["of so few"]),
        }
        closed = np.exp(float(sigma) ** 2 / 4)
        words = f"by formula {numbers['by formula']}, played {numbers['played']}"
        found.append(
            (str(sigma), words, f"exp(sigma²/4) = {closed:.3f}; in proportion {numbers['in proportion']}", numbers)
        )
    return found


def draw(result: "xr.Dataset") -> Mapping[str, "Figure"]:
    """Return a panel for each task: every training of the learned policy, and the rules beside it."""
    from matplotlib import pyplot as plt

    tasks = tasks_of(result)
    rows = -(-len(tasks) // 2)
    figure, axes = plt.subplots(rows, min(2, len(tasks)), figsize=(11, 2.9 * rows), squeeze=False, layout="constrained")
    for axis in axes.ravel()[len(tasks) :]:
        axis.set_visible(False)
    for axis, task in zip(axes.ravel(), tasks, strict=False):
        look, found = LOOKS[task], earned(result, task)
        found.pop("any cell", None)  # so far off that nothing else could be told apart
        worst_first = sorted(found, key=lambda name: found[name].mean(), reverse=not look.more)
        for place, name in enumerate(worst_first):
            middle, own = interquartile_mean(found[name]), name == learned_name(task)
            color = COLORS[1] if own else COLORS[2] if name == look.best else COLORS[0]
            axis.scatter(found[name], np.full(found[name].size, place), s=12, color=color, alpha=0.35, linewidths=0)
            axis.errorbar(
                middle.value, place, xerr=[[middle.value - middle.low], [middle.high - middle.value]] if
                np.isfinite(middle.low) else None, fmt="D" if own else "o", color=color, capsize=3, markersize=5,
            )  # fmt: skip
        axis.set_yticks(
            range(len(worst_first)), [name.removesuffix(", simulator") for name in worst_first], fontsize=8.5
        )
        axis.set_xlabel(f"{look.unit}, {'more' if look.more else 'less'} is better")
        axis.set_title(look.title, fontsize=10)
        axis.grid(axis="x", alpha=0.3)
    return {"agents": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return interquartile means, and gains over the simple rule and over the measure, with intervals."""
    found: dict[str, Any] = {}
    for task in tasks_of(result):
        look = LOOKS[task]
        found[task] = {
            "interquartile means": {n: interquartile_mean(v)._asdict() for n, v in scores(result, task).items()},
            f"better than {look.plain}": better_by(result, task, look.plain)._asdict(),
        }
        if look.best:
            found[task][f"better than {look.best}"] = better_by(result, task, look.best)._asdict()
    if "slice_alloc" in found:
        found["slice_alloc"]["in theory"] = dict(in_theory((0.6, 0.1)))
    if "twin_sync" in found:
        found["twin_sync"]["share of what the best constant rates save"] = {
            place: mean(of_gap(result, place))._asdict() for place in ("model", "simulator")
        }
        found["square roots over equal"] = {
            sigma: {n: one._asdict() for n, one in numbers.items()} for sigma, _, _, numbers in gains(result)
        }
    return found


def of_gap(result: "xr.Dataset", place: str) -> "np.ndarray[Any, Any]":
    """Return which share of what the square root saves over equal rates the learned policy saves, by training."""
    found = scores(result, "twin_sync")
    equal, root, own = (found[f"{name}, {place}"] for name in ("uniform", "square root, told", LEARNED))
    return np.asarray((equal - own) / (equal - root))


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
