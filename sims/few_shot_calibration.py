"""Does it help a nearest neighbour of few shots to move them towards prototypes of base classes that they resemble?

wirelesslab run few_shot_calibration     (some 45 minutes on one core; --quick: 40 seconds)

Characters come in families. A Conv-4 learns base classes by turns and manifold mixup; then episodes of classes that it
never saw are decided from one shot of each or from five: related ones, of families that it knows, unrelated ones, and
real digits. P3DC-Shot stands as it is published and in the scale-free form that is this project's own, beside plain and
centred nearest neighbours, a power transform without prototypes, logistic regression and calibrated distributions (of
20 mirrored samples, and once more, in fewer episodes, of 750 as published), each with its usual settings and with
settings chosen on validation classes, out of grids of equal size. All rules decide the same episodes, inductively: each
query alone. Each world has its own episodes. How alike the classes of a family are (the bend) was chosen where
calibration gained most, on validation classes of other seeds; the part "bends" shows what is left of it elsewhere.

Expect: at one shot of related classes the scale-free variant is 0.7 points above nearest neighbour (85 % right) as it
is and 0.9 tuned, in every world, and 0.4 and 0.5 above the tuned power of shots. It is not the best rule there:
calibrated distributions of 750 samples, tuned, are 0.9 points above it; of 20, they fall behind it. The published
formula is 3 points below nearest neighbour as it is (2 to 5 over worlds) and 0.2 above when tuned; its predictions
change with the scale of features. What the scale-free variant gains falls as classes of a family differ more, to hardly
more than a tuned power or centre gains. From one shot of digits it loses. At five shots tuned logistic regression and
calibrated distributions are better.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims._few_shots import (
    AIRS,
    BASES,
    MAIN,
    NEAREST,
    OURS,
    RULES,
    SAMPLED,
    SWEPT,
    TARGETS,
    UNTUNED,
    USUAL,
    Case,
    chosen_settings,
    world,
)

from wirelesslab import check
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import Mean, difference, mean
from wirelesslab.session import Session, Table
from wirelesslab.vision.few_shot import GRIDS, stratified

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PARTS = ("conv4", "resnet12", "bends")
NETS = PARTS[:2]
DISTRIBUTIONS = ("calibrated distributions", "calibrated distributions, tuned")
RIVALS: Mapping[str, str] = {  # over bends, and where they are met
    **dict.fromkeys((NEAREST, "power of shots, tuned", "power of both, tuned", "centred, tuned"), MAIN),
    DISTRIBUTIONS[1]: SAMPLED[0],
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which worlds, and how long they are judged.

    Attributes:
        parts: Of "conv4"; "resnet12", which learns one world and is judged on fewer episodes; and "bends", worlds for
            a Conv-4 in which classes of a family differ more, judged on related classes at one shot alone.
        worlds: Of characters, each with its own classes and pictures.
        epochs: Passes over the base pictures.
        bend: How far classes of a family differ, as `Characters.bend`. It and `warp` were chosen on validation classes
            of seeds 11 to 13: nearest neighbour was right three times in four there, and calibration gained more than
            the power alone; `bends` show what it gains elsewhere.
        warp: How far a hand wanders from picture to picture, as `Characters.warp`.
        bends: Other bends.
        bend_worlds: Worlds of each.
        pictures: Of each class.
        episodes: Of related classes at one shot, in each world.
        fewer: Of everything else.
        sampled: Of each once more, where calibrated distributions draw 750 samples of each class as published;
            elsewhere, and when settings are chosen, they draw 20, which is a twentieth of the work and worth less.
        tuning: Episodes of validation classes for each setting that is tried.
        ways: Numbers of classes of an episode, swept.
    """

    parts: tuple[str, ...] = PARTS
    worlds: int = 10
    epochs: int = 20
    bend: float = 0.08
    warp: float = 0.14
    bends: tuple[float, ...] = (0.12, 0.18)
    bend_worlds: int = 5
    pictures: int = 60
    episodes: int = 10_000
    fewer: int = 1000
    sampled: int = 200
    tuning: int = 300
    ways: tuple[int, ...] = (2, 5, 10, 16)

    def __post_init__(self) -> None:
        check.positive_integer(worlds=self.worlds, bend_worlds=self.bend_worlds)
        for name in self.parts:
            check.one_of(PARTS, parts=name)
        if self.bend in self.bends:
            msg = f"bends: got {self.bends}, expected others than the {self.bend} of conv4's worlds; leave it out"
            raise ValueError(msg)
        case_of(self)  # refuses what it cannot judge before an hour of training


QUICK: Mapping[str, Any] = {
    "parts": ("conv4", "bends"), "worlds": 2, "bends": (0.18,), "bend_worlds": 1, "epochs": 1, "pictures": 22,
    "episodes": 60, "fewer": 20, "sampled": 8, "tuning": 6, "ways": (2, 5),
}  # fmt: skip


def case_of(config: Config) -> Case:
    """Return the case of the Conv-4."""
    shared = ("epochs", "bend", "warp", "pictures", "episodes", "fewer", "sampled", "tuning", "ways")
    return Case(**{name: getattr(config, name) for name in shared})


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Train a backbone in every world and judge all rules.

    Returns:
        Variables by part ("conv4 ...", "resnet12 ..." and "bend 0.12 ...") over worlds (`replica`): accuracies in per
        cent over rules, differences on the same episodes with the standard error of each world, the episodes' digests,
        settings that were chosen, accuracies over ways.
    """
    import xarray as xr

    session, main_case, found = session or Session(), case_of(config), []
    fewer = replace(main_case, episodes=config.fewer)
    for part in config.parts:
        cases, count = {part: main_case}, config.worlds
        if part == "resnet12":
            cases, count = {part: replace(fewer, kind="resnet12")}, 1
        if part == "bends":
            cases = {f"bend {bend:g}": replace(fewer, bend=bend, targets=(MAIN, SAMPLED[0])) for bend in config.bends}
            count = config.bend_worlds
        several = session.replicate(world, cases, count, name=part)
        for place, name in enumerate(cases):
            one = several.isel(experiment=place, drop=True)
            own = [str(v) for v in (*one.data_vars, *one.dims) if found or v != "replica"]
            found.append(one.rename({each: f"{name} {each}" for each in own}))
    result = xr.merge(found, combine_attrs="drop_conflicts")
    return result.assign_attrs({**found[0].attrs, "ways": list(config.ways), "bend": config.bend})


def parts_of(result: "xr.Dataset") -> list[str]:
    """Return what is there: backbones, then other bends."""
    there = [str(name).removesuffix(" base_accuracy") for name in result if str(name).endswith(" base_accuracy")]
    return [part for part in NETS if part in there] + [part for part in there if part.startswith("bend ")]


def targets_of(result: "xr.Dataset", part: str) -> list[str]:
    """Return what a part was judged on."""
    return [target for target in TARGETS if f"{part} {target} accuracy" in result]


def rules_of(target: str) -> tuple[str, ...]:
    """Return the rules that are told of: where samples are as many as published, few."""
    return (NEAREST, *DISTRIBUTIONS, UNTUNED, OURS) if target in SAMPLED else RULES


def episodes_of(result: "xr.Dataset", part: str, target: str) -> int:
    """Return how many episodes a target had in each world."""
    config = json.loads(result.attrs["sim_config"]) if "sim_config" in result.attrs else {}
    name = "sampled" if target in SAMPLED else "episodes" if (part, target) == (NETS[0], MAIN) else "fewer"
    return int(config.get(name, getattr(Config, name)))


def compared(result: "xr.Dataset", part: str, target: str, what: str, rule: str) -> dict[str, Any]:
    """Return a difference of a rule: in each world, pooled over episodes of these worlds, and over worlds to come.

    Args:
        result: Of the sim.
        part: A backbone or a bend.
        target: What was decided.
        what: Of `BASES`: "minus_nearest", "ours_minus" of the tuned scale-free variant, or "untuned_minus" of that
            variant as it is by default.
        rule: The rule.
    """
    place, episodes = RULES.index(rule), episodes_of(result, part, target)
    values, errors = (np.asarray(result[f"{part} {target} {what}{end}"])[:, place] for end in ("", " error"))
    each = [stratified([v], [e], episodes) for v, e in zip(values, errors, strict=True)]
    return {
        "worlds": each, "pooled": stratified(values, errors, episodes), "over worlds": mean(values),
        "wholly above 0 in": sum(one.low > 0 for one in each),
    }  # fmt: skip


def over_bends(result: "xr.Dataset", against: str) -> dict[float, dict[str, Any]]:
    """Return, for related classes at one shot of a Conv-4, what `compared` says of the tuned variant minus a rule."""
    bends = {f"bend {bend:g}": bend for bend in map(float, np.atleast_1d(_config_of(result).bends))}
    bends |= {NETS[0]: float(result.attrs["bend"])}
    found = {
        bends[part]: compared(result, part, RIVALS[against], "ours_minus", against)
        for part in parts_of(result)
        if part in bends
    }  # fmt: skip
    return dict(sorted(found.items()))


def table(result: "xr.Dataset") -> Table:
    """Return accuracies and differences of every part and target."""
    rows = []
    for part in parts_of(result):
        for target in targets_of(result, part):
            for rule in rules_of(target):
                right = np.asarray(result[f"{part} {target} accuracy"])[:, RULES.index(rule)]
                found = {what: compared(result, part, target, what, rule) for what in BASES}
                above = f"{found['minus_nearest']['wholly above 0 in']}/{len(right)}"
                row = [f"{part}: {target}", rule, f"{right.mean():.2f}"]
                for what, one in found.items():
                    row += [str(one["pooled"]), _half(one["over worlds"])]
                    row += [above] if what == "minus_nearest" else []
                rows.append(row)
    chosen = _config_of(result)
    note = (
        "Points of accuracy, means over worlds; differences are of the same episodes. Intervals in brackets are 95 % "
        "over episodes of these worlds and say nothing of others; +-: half of the 95 % interval over worlds to come. "
        "'> 0': worlds in which the whole interval over episodes is above 0. "
        f"The bend of {chosen.bend:g} and the warp of {chosen.warp:g} are those at which calibration gained most on "
        "validation classes of other seeds; 'bend ...' are worlds in which classes of a family differ more."
    )
    columns = ["part: target", "rule", "right, %", "minus nearest neighbour", "+-", "> 0",
               "scale-free, tuned, minus it", "+-", "scale-free, untuned, minus it", "+-"]  # fmt: skip
    return Table("Rules that decide from few shots", columns, rows, note)


def _half(one: Mean) -> str:
    return f"{(one.high - one.low) / 2:.2f}" if np.isfinite(one.high) else "?"


def _config_of(result: "xr.Dataset") -> Config:
    told = json.loads(result.attrs["sim_config"]) if "sim_config" in result.attrs else {}
    known = {name: tuple(v) if isinstance(v, list) else v for name, v in told.items() if name != "class"}
    return Config(**known)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw differences to nearest neighbour for every target, accuracies over ways, and differences over bends."""
    made = {"rules": _draw_rules(result), "ways": _draw_ways(result)} if parts_of(result)[0] in NETS else {}
    return made | ({"bends": _draw_bends(result)} if len(over_bends(result, NEAREST)) > 1 else {})


def _draw_rules(result: "xr.Dataset") -> "Figure":
    from matplotlib.figure import Figure

    part = parts_of(result)[0]
    shown = [(rule, "") for rule in RULES if rule != NEAREST]
    for rule in DISTRIBUTIONS:  # below what draws fewer samples
        shown.insert(shown.index((rule, "")) + 1, (rule, ", 750 samples"))
    figure = Figure(figsize=(12.5, 9.6), layout="constrained")
    axes = figure.subplots(2, 3, sharey=True)
    for axis, target in zip(axes.ravel(), USUAL, strict=True):
        axis.axvline(0, color="0.5", linewidth=1)
        low, high = 0.0, 3.0
        for at, (rule, samples) in enumerate(shown):
            found = compared(result, part, target + samples, "minus_nearest", rule)
            values = [one.value for one in found["worlds"]]
            color = COLORS[1] if rule.startswith("P3DC, scale") else COLORS[0] if rule.startswith("P3DC") else "0.35"
            axis.plot(values, [-at] * len(values), ".", color=color, alpha=0.5, markersize=5)
            _interval(axis, found["over worlds"], -at, color=color, linewidth=1.2)
            _interval(axis, found["pooled"], -at, color=color, linewidth=4)
            axis.plot(
                found["pooled"].value, -at, marker="D", markersize=5, color=color,
                markerfacecolor=color if "tuned" in rule else "white",
            )  # fmt: skip
            low, high = min(low, *values), max(high, *values)
        accuracy = np.asarray(result[f"{part} {target} accuracy"])[:, RULES.index(NEAREST)].mean()
        axis.set_title(f"{target}; nearest neighbour {accuracy:.1f} %", fontsize=10)
        axis.set_xlim(low - 0.5, high + 0.5)
        axis.set_yticks(-np.arange(len(shown)), [rule + samples for rule, samples in shown], fontsize=8)
        axis.grid(visible=True, axis="x", color="0.9")
    for axis in axes[1]:
        axis.set_xlabel("points of accuracy above nearest neighbour")
    figure.suptitle(
        f"{part}: means over {result[f'{part} base_accuracy'].size} worlds (dots) of bend {result.attrs['bend']:g}, "
        "chosen where calibration gains most (other bends: see there)\n95 % intervals: thick over episodes of these "
        "worlds, thin over worlds to come; filled: tuned on validation classes",
        fontsize=10,
    )
    return figure


def _interval(axis: Any, one: Mean, at: float, **how: Any) -> None:
    if np.isfinite(one.low):
        axis.plot([one.low, one.high], [at, at], solid_capstyle="butt", **how)


def _draw_ways(result: "xr.Dataset") -> "Figure":
    from matplotlib.figure import Figure

    part = parts_of(result)[0]
    ways, right = np.atleast_1d(result.attrs["ways"]), np.asarray(result[f"{part} ways"])  # (worlds, ways, rules)
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axis = figure.subplots()
    for place, rule in enumerate(SWEPT[1:], 1):
        values = [difference(right[:, k, place], right[:, k, 0]) for k in range(len(ways))]
        ends = np.abs([[v.value - v.low, v.high - v.value] for v in values])
        axis.errorbar(
            np.arange(len(ways)) + 0.08 * (place - 2.5), [v.value for v in values],
            yerr=np.where(np.isfinite(ends), ends, 0).T, label=rule, color=COLORS[place], marker=MARKERS[place],
            capsize=3, linestyle="none",
        )  # fmt: skip
    axis.axhline(0, color="0.5", linewidth=1)
    names = [f"{w}\n{right[:, k, 0].mean():.0f} %" for k, w in enumerate(ways)]
    axis.set_xticks(range(len(ways)), names)
    axis.set(xlabel="classes of an episode, and how often nearest neighbour is right", ylabel="points above it")
    axis.set_title("Related classes, one shot; 95 % intervals over worlds", fontsize=10)
    axis.legend(fontsize=8, frameon=False)
    axis.grid(visible=True, axis="y", color="0.9")
    return figure


def _draw_bends(result: "xr.Dataset") -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    for place, rule in enumerate(RIVALS):
        found = over_bends(result, rule)
        places = np.arange(len(found)) + 0.07 * (place - 2)
        for at, one in zip(places, found.values(), strict=True):
            for what, width in (("over worlds", 1.2), ("pooled", 4.0)):
                if np.isfinite(one[what].low):
                    axis.plot([at, at], [one[what].low, one[what].high], color=COLORS[place], linewidth=width,
                              solid_capstyle="butt")  # fmt: skip
        label = f"minus {rule}{', 750 samples' if rule in DISTRIBUTIONS else ''}"
        axis.plot(places, [one["pooled"].value for one in found.values()], color=COLORS[place], marker=MARKERS[place],
                  label=label, linestyle=":", linewidth=1)  # fmt: skip
    axis.axhline(0, color="0.5", linewidth=1)
    worlds, chosen = over_bends(result, NEAREST), float(result.attrs["bend"])
    names = [
        f"{bend:g}{', chosen for it' if bend == chosen else ''}\n{len(one['worlds'])} worlds"
        for bend, one in worlds.items()
    ]
    axis.set_xticks(range(len(worlds)), names)
    axis.set(xlabel="how far classes of a family differ (bend)", ylabel="points of accuracy")
    axis.set_title(
        "Scale-free calibration, tuned, minus rivals: related classes, one shot;\n"
        "95 % intervals, thick over episodes, thin over worlds to come", fontsize=10,
    )  # fmt: skip
    axis.legend(fontsize=8, frameon=False)
    axis.grid(visible=True, axis="y", color="0.9")
    return figure


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return accuracies, differences, choices, and on which episodes and by which recipe."""
    case = case_of(_config_of(result))
    found: dict[str, Any] = {"recipe": json.loads(json.dumps(case.pretraining().recipe())), "inductive": True}
    found["bend and warp"] = (
        f"{case.bend:g} and {case.warp:g}: those at which calibration gained most on validation classes of other seeds"
    )
    for rule in RIVALS:
        found[f"scale-free, tuned, minus {rule}, over bends"] = {
            f"{bend:g}": {what: one[what]._asdict() for what in ("pooled", "over worlds")}
            for bend, one in over_bends(result, rule).items()
        }
    for part in parts_of(result):
        found[f"{part}: right on the base pictures that it learned from, %"] = mean(
            result[f"{part} base_accuracy"]
        )._asdict()
        changed = np.asarray(result[f"{part} changed"])
        found[f"{part}: predictions that change with the scale of features, %"] = {
            "published": float(changed[:, 0].mean()), "scale-free, tuned": float(changed[:, 1].max()),
        }  # fmt: skip
        for air, shots in ((air, shots) for shots in (1, 5) for air in AIRS[:2]):
            if f"{part} chosen {air} {shots}" in result:
                places = np.asarray(result[f"{part} chosen {air} {shots}"]).astype(int)
                found[f"{part}: chosen, {air}, {shots}"] = {
                    name: [dict(chosen_settings(name, p)) for p in places[:, k]] for k, name in enumerate(GRIDS)
                }
        for target in targets_of(result, part):
            pieces = np.asarray(result[f"{part} {target} digest"]).astype(">u2")
            found[f"{part}: {target}: episodes"] = {
                "in each world": episodes_of(result, part, target), "sha256": [one.tobytes().hex() for one in pieces],
            }  # fmt: skip
            for rule in rules_of(target):
                right = mean(np.asarray(result[f"{part} {target} accuracy"])[:, RULES.index(rule)])
                entry: dict[str, Any] = {"accuracy": right._asdict()}
                for what in BASES:
                    one = compared(result, part, target, what, rule)
                    kept = {name: one[name]._asdict() for name in ("pooled", "over worlds")}
                    entry[what] = {**kept, "wholly above 0 in": one["wholly above 0 in"]}
                found[f"{part}: {target}: {rule}"] = entry
    return found


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
