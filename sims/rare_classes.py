"""Does pulling class centers to a simplex help a segmenter to see rare classes, and what else would do as well?

wirelesslab run rare_classes     (some 60 minutes on one core; --parts points: 2 minutes; --quick: 45 seconds)

Scenes of which nine tenths are meadow, sky, forest and road; cars, cows, boats and birds are the tail. A small U-Net
learns them by cross entropy, with center collapse beside it (as it is by default; without its prior; with a learned
classifier of centers in place of the simplex; behind a projection that is frozen or learned), and by what a
practitioner would hold against imbalance; center collapse beside weighted cross entropy and beside Dice is tried, too.
Each method's own parameter is chosen by mIoU on validation pictures, under seeds that are not used again, of as many
trials for each; variants of center collapse take its weight, but beside Dice it is chosen anew. A DeepLab-like net and
a point net in rooms, at the default weight, are smaller parts that are told but not judged. Trainings are short, nine
passes over the pictures, and have not converged: in twice the steps cross entropy's own tail came 12.8 points higher
under the first seed. Center collapse at the same weight was 7.0 points above it there (8.5 at the usual length).

Expect: center collapse brings class means nearer to the simplex, to 0.36 (0.33 to 0.39) of cross entropy's deviation,
and the tail 8.4 points of IoU (7.1 to 9.7), at 0.3 (0.1 to 0.5) for the head and 1.0 (0.1 to 1.8) for common classes.
Its prior adds nothing; a learned classifier of centers already gains 6.3 points, so that most of it is that each class
counts alike. Dice and Lovasz losses (18 points each) and mild weights (11) do much more for the tail on these scenes.
Beside Dice, center collapse brings the tail 2.2 points (0.8 to 3.6) and all classes 0.9 (0.3 to 1.5) above Dice alone,
at 0.2 (0.0 to 0.3) for the head: as good over all as Lovasz alone. Each chosen value lies between others that were
tried and scored less. What is exported is the same net, of the same size to the byte.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims._rare_classes import ABLATIONS, GROUPS, METHODS, SHOWN, TOGETHER, Case, masks_of, shown, trained

from wirelesslab import check
from wirelesslab.plot import COLORS
from wirelesslab.replicas import Mean, difference, mean
from wirelesslab.session import Session, Table
from wirelesslab.vision.neural_collapse.collapse import CenterCollapse
from wirelesslab.vision.tuning import choose, trials_of

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PARTS = ("unet", "deeplab", "points")
TITLES = {"unet": "U-Net, scenes", "deeplab": "DeepLab-like, scenes", "points": "point net, rooms"}
BASE, OURS = "cross entropy", "center collapse"
RIVALS = tuple(name for name in METHODS if name != OURS)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is trained.

    Attributes:
        parts: Of "unet", "deeplab" and "points".
        replicas: Seeds of the U-Net's trainings, each with pictures of its own.
        small_replicas: Seeds of the other nets'.
        tuning_replicas: Seeds for every value that is tried.
        steps: Of a training, in batches of 16.
        rate: Of Adam at its beginning, the same for all: 0.003 came less far in so few steps by cross entropy, on
            pictures of another seed.
        train: Pictures or rooms to learn from.
        validation: Pictures for choices.
        test: Pictures for the last word.
        rivals: Losses that are compared with center collapse.
        ablations: Of center collapse.
    """

    parts: tuple[str, ...] = PARTS
    replicas: int = 6
    small_replicas: int = 3
    tuning_replicas: int = 2
    steps: int = 450
    rate: float = 0.008
    train: int = 800
    validation: int = 400
    test: int = 800
    rivals: tuple[str, ...] = RIVALS
    ablations: tuple[str, ...] = tuple(ABLATIONS)

    def __post_init__(self) -> None:
        check.positive(rate=self.rate)
        check.positive_integer(
            replicas=self.replicas, small_replicas=self.small_replicas, tuning_replicas=self.tuning_replicas,
            steps=self.steps, train=self.train, validation=self.validation, test=self.test,
        )  # fmt: skip
        for name, choices in (("parts", PARTS), ("rivals", RIVALS), ("ablations", tuple(ABLATIONS))):
            for one in getattr(self, name):
                check.one_of(choices, **{name: one})
        if not self.parts:
            msg = f"parts: got none, expected some of {', '.join(PARTS)}"
            raise ValueError(msg)


QUICK: Mapping[str, Any] = {
    "parts": ("unet", "points"), "replicas": 2, "small_replicas": 2, "tuning_replicas": 1, "steps": 20, "train": 48,
    "validation": 48, "test": 64, "rivals": ("weighted",), "ablations": ("prior off",),
}  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Choose parameters on validation pictures, train under fresh seeds, judge on test pictures.

    Returns:
        Variables by part, such as "unet tail mIoU", over the part's methods and `replica`, in per cent, NaN where a
        part has fewer replicas than another; "unet IoU" over classes too; geometry; "unet graph", "unet weights" and
        "unet file_bytes" of what is exported; "unet masks" of a few pictures, of the first replica; "unet tuning mIoU"
        over what was tried, and "unet value", chosen.
    """
    import xarray as xr

    session = session or Session()
    sizes: dict[str, Any] = {
        "steps": config.steps, "rate": config.rate, "train": config.train, "validation": config.validation,
    }  # fmt: skip
    found: list[xr.Dataset] = []
    for part in config.parts:
        methods: tuple[str, ...] = (BASE, OURS)
        chosen = {BASE: 0.0, OURS: CenterCollapse().weight}
        if part == "unet":
            trials, own = _chosen(
                session, {name: METHODS[name][1] for name in (OURS, *config.rivals)}, {}, sizes, config.tuning_replicas
            )  # fmt: skip
            chosen |= own
            together = {name: two for name, two in TOGETHER.items() if two[0] in config.rivals}
            chosen |= dict.fromkeys((*config.ablations, *together), chosen[OURS])
            beside = {name: chosen[loss] for name, (loss, _) in together.items()}
            more = {name: weights for name, (_, weights) in together.items() if weights}
            if more:
                of_more, own = _chosen(session, more, beside, sizes, config.tuning_replicas)
                chosen, trials = chosen | own, xr.concat([trials, of_more], "experiment")
            methods += (*config.ablations, *config.rivals, *together)
            kept = trials.rename(experiment="trial", replica="tuning replica")
            found.append(kept.rename({name: f"unet tuning {name}" for name in kept.data_vars}))
        cases = {
            name: Case(
                net=part, method=name, value=chosen[name], test=config.test,
                other=chosen[TOGETHER[name][0]] if name in TOGETHER else 0.0, **sizes,
            )
            for name in methods
        }  # fmt: skip
        replicas = config.replicas if part == "unet" else config.small_replicas
        final = session.replicate(trained, cases, replicas, name=part)
        final["masks"] = final["masks"].isel(replica=0).astype(np.uint8)
        final["value"] = ("experiment", [chosen[name] for name in methods])
        names = {str(name): f"{part} {name}" for name in (*final.data_vars, *final.dims) if name != "replica"}
        found.append(final.rename(names))
    return xr.merge(found, join="outer", compat="no_conflicts", combine_attrs="drop_conflicts").assign_attrs(
        found[-1].attrs
    )


def _chosen(
    session: Session, tried: Mapping[str, Sequence[float]], beside: Mapping[str, float], sizes: Mapping[str, Any],
    replicas: int,
) -> "tuple[xr.Dataset, dict[str, float]]":  # fmt: skip
    """Return the scores of all that is tried on validation pictures, by method, and the best value of each method."""
    cases, settings = {}, {}
    for name, value in ((name, value) for name, values in tried.items() for value in values):
        title = f"{name}, {value:g}"
        cases[title] = Case(
            net="unet", method=name, value=value, other=beside.get(name, 0.0), test=0, purpose="tuning", **sizes
        )
        settings[title] = (name, {"value": value})
    trials = session.replicate(trained, cases, replicas, name="unet_together" if beside else "unet_tuning")
    best = choose(trials_of(trials, settings, score="mIoU"))
    kept = trials[["mIoU", "tail mIoU", "head mIoU"]]
    return kept, {name: float(setting["value"]) for name, setting in best.items()}


def of_part(result: "xr.Dataset", part: str) -> "xr.Dataset":
    """Return the variables of one part without its name; none when it was not run."""
    begin = f"{part} "
    own = [name for name in map(str, result.data_vars) if name.startswith(begin) and "tuning" not in name]
    one = result[own]
    one = one.rename({n: str(n).removeprefix(begin) for n in (*own, *one.dims, *one.coords) if n.startswith(begin)})
    return one.dropna("replica", how="all", subset=["mIoU"])  # parts have different numbers of seeds


def parts_of(result: "xr.Dataset") -> tuple[str, ...]:
    """Return the parts that were run."""
    return tuple(part for part in PARTS if f"{part} mIoU" in result)


def best_rival(one: "xr.Dataset", score: str) -> str:
    """Return the rival of the highest mean on test pictures: chosen with hindsight, in its favour; "" if there is none.

    Args:
        one: See `of_part`.
        score: Such as "tail mIoU".
    """
    rivals = [name for name in map(str, one["experiment"].values) if name in RIVALS]
    return max(rivals, key=lambda name: float(one[score].sel(experiment=name).mean())) if rivals else ""


def figures(result: "xr.Dataset") -> dict[str, Mean | float]:
    """Return all figures of merit by name; differences are of pairs, in points."""
    found: dict[str, Mean | float] = {}
    for part in parts_of(result):
        one, title = of_part(result, part), TITLES[part]
        methods = [str(name) for name in one["experiment"].values]
        base = one.sel(experiment=BASE)
        for name in methods:
            own = one.sel(experiment=name)
            found[f"{title}: {name}, parameter"] = float(own["value"])
            found |= {f"{title}: {name}, {score}, %": mean(own[score]) for score in GROUPS}
            found[f"{title}: {name}, ETF deviation"] = mean(own["ETF deviation"])
            if name == BASE:
                continue
            found |= {f"{title}: {name} minus {BASE}, {score}": difference(own[score], base[score]) for score in GROUPS}
            found[f"{title}: {name} over {BASE}, ETF deviation"] = _ratio(own["ETF deviation"] / base["ETF deviation"])
            for what in ("NC1", "NC2 norms", "NC2 cosines", "NC3"):
                found[f"{title}: {name} minus {BASE}, {what}"] = difference(own[what], base[what])
            for what in ("graph", "weights", "file_bytes"):
                found[f"{title}: {name}, exports whose {what} differ"] = float((own[what] != base[what]).sum())
        ours = one.sel(experiment=OURS)
        for score in ("mIoU", "tail mIoU"):
            rival = best_rival(one, score)
            if rival:
                name = f"{title}: {OURS} minus the best rival ({rival}), {score}"
                found[name] = difference(ours[score], one[score].sel(experiment=rival))
        for name, loss in ((n, TOGETHER[n][0]) for n in methods if n in TOGETHER):
            for score in ("mIoU", "tail mIoU", "head mIoU"):
                pair = (one[score].sel(experiment=which) for which in (name, loss))
                found[f"{title}: {name} minus {loss}, {score}"] = difference(*pair)
        for name in (n for n in methods if n in ABLATIONS):
            own = one.sel(experiment=name)
            found[f"{title}: {OURS} minus {name}, tail mIoU"] = difference(ours["tail mIoU"], own["tail mIoU"])
    return found


def _ratio(values: Any) -> Mean:
    """Return the geometric mean of ratios with its interval."""
    logs = mean(np.log(np.asarray(values, float)))
    return Mean(*(float(np.exp(end)) for end in logs[:3]), logs.replicas)


def _signed(value: Mean) -> str:
    return f"{value.value:+.2f} ({value.low:+.2f} to {value.high:+.2f})"


def table(result: "xr.Dataset") -> Table:
    """Return what each method comes to, and its paired differences from cross entropy."""
    rows: list[list[str]] = []
    for part in parts_of(result):
        one, title = of_part(result, part), TITLES[part]
        base = one.sel(experiment=BASE)
        for name in map(str, one["experiment"].values):
            own = one.sel(experiment=name)
            value = float(own["value"])
            cells = [title, name if name == BASE else f"{name}, {value:g}"]
            cells += [f"{float(own[score].mean()):.2f}" for score in ("mIoU", "tail mIoU")]
            if name == BASE:
                rows.append([*cells, "-", "-", "-", "-", "-"])
                continue
            scores = ("mIoU", "head mIoU", "common mIoU", "tail mIoU")
            moved = [_signed(difference(own[score], base[score])) for score in scores]
            rows.append([*cells, *moved, str(_ratio(own["ETF deviation"] / base["ETF deviation"]))])
        for score in ("mIoU", "tail mIoU"):
            rival = best_rival(one, score)
            if rival:
                against = difference(one[score].sel(experiment=OURS), one[score].sel(experiment=rival))
                place = 4 if score == "mIoU" else 7
                rows.append([title, f"{OURS} minus {rival}", *["-"] * 7])
                rows[-1][place] = _signed(against)
    columns = ["net", "method, its parameter", "mIoU", "tail", "mIoU, moved", "head, moved", "common, moved",
               "tail, moved", "ETF deviation, times"]  # fmt: skip
    seeds = " and ".join(f"{of_part(result, part).sizes['replica']} ({part})" for part in parts_of(result))
    odd = sum(v for n, v in figures(result).items() if "exports whose" in n and not isinstance(v, Mean))
    note = (
        f"Per cent; moved: paired difference from cross entropy in points, with 95 % intervals over {seeds} seeds, "
        "each with its own pictures. Rivals in the last rows are those of the highest means on the same test pictures. "
        f"Exported nets that differ from cross entropy's in graph, number of weights or bytes of the file: {odd:.0f}."
    )
    return Table("Rare classes, with and without center collapse", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw what moves, each class's IoU, and masks side by side."""
    part = parts_of(result)[0]
    one = of_part(result, part)
    return {"rare_classes": _draw_scores(result), "masks": _draw_masks(one, part)}


def _draw_scores(result: "xr.Dataset") -> "Figure":
    from matplotlib.figure import Figure

    rows = [(part, str(name)) for part in parts_of(result) for name in of_part(result, part)["experiment"].values]
    figure = Figure(figsize=(13, 2.2 + 0.34 * len(rows)), layout="constrained")
    tail, head, angles, classes = figure.subplots(1, 4, width_ratios=(1.1, 0.9, 0.8, 1.6))
    for place, (part, name) in enumerate(rows):
        one = of_part(result, part)
        own, base = one.sel(experiment=name), one.sel(experiment=BASE)
        colour = COLORS[1] if name == OURS else COLORS[0] if name in RIVALS else COLORS[4] if name != BASE else "0.3"
        deviation = mean(own["ETF deviation"])
        _point(angles, place, deviation, colour)
        for axis, score in ((tail, "tail mIoU"), (head, "head mIoU")):
            if name != BASE:
                _point(axis, place, difference(own[score], base[score]), colour)
    labels = [name if part == "unet" else f"{name} ({part})" for part, name in rows]
    tail.set_yticks(-np.arange(len(rows)), labels, fontsize=8)
    for axis in (head, angles):
        axis.set_yticks([])
    for axis in (tail, head, angles):
        axis.set_ylim(0.6 - len(rows), 0.6)
        axis.grid(visible=True, axis="x", color="0.9")
    head.axvspan(-0.5, 0, color="0.92", zorder=0)
    for axis, title in ((tail, "tail classes"), (head, "head classes; grey: half a point lost")):
        axis.axvline(0, color="0.6", linewidth=1)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("mIoU minus cross entropy's (points)", fontsize=8)
    angles.set_xlim(left=0)
    angles.set_title("class means from the simplex", fontsize=9)
    angles.set_xlabel("mean deviation of cosines", fontsize=8)
    _draw_classes(classes, result, parts_of(result)[0])
    return figure


def _point(axis: Any, place: int, value: Mean, colour: str) -> None:
    low, high = (end if np.isfinite(end) else value.value for end in value.interval)
    axis.errorbar(
        value.value, -place, xerr=[[value.value - low], [high - value.value]], marker="o", markersize=4, capsize=3,
        color=colour,
    )  # fmt: skip


def _draw_classes(axis: Any, result: "xr.Dataset", part: str) -> None:
    """Draw each class's IoU by cross entropy, center collapse and the best rival."""
    one = of_part(result, part)
    names = shown(part).classes
    rival = best_rival(one, "mIoU")
    lines: Sequence[tuple[str, str]] = ((BASE, "0.3"), (OURS, COLORS[1]), *([(rival, COLORS[0])] if rival else []))
    for shift, (name, colour) in zip((-0.2, 0.0, 0.2), lines, strict=False):
        values = [mean(one["IoU"].sel(experiment=name)[:, k]) for k in range(len(names))]
        for k, value in enumerate(values):
            low, high = (end if np.isfinite(end) else value.value for end in value.interval)
            axis.errorbar(
                k + shift, value.value, yerr=[[value.value - low], [high - value.value]], marker="o", markersize=3.5,
                capsize=2, color=colour, label=name if k == 0 else None,
            )  # fmt: skip
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize=8)
    axis.set_ylim(0, 100)
    axis.set_ylabel("IoU (%)", fontsize=8)
    axis.set_title("each class, the most frequent left; 95 % intervals", fontsize=9)
    axis.grid(visible=True, axis="y", color="0.9")
    axis.legend(fontsize=7, frameon=False, loc="lower left")


def _draw_masks(one: "xr.Dataset", part: str) -> "Figure":
    """Draw pictures, what is true of them, and what methods say, side by side."""
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    data = shown(part)
    methods = [BASE, OURS, *([rival] if (rival := best_rival(one, "mIoU")) else [])]
    said = [masks_of(one["masks"].sel(experiment=name), part) for name in methods]
    columns = [("true", data.truth["pixel_labels"]), *zip(methods, said, strict=True)]
    pale = ("#C8D8A8", "#D8E8F4", "#8FB08F", "#C0B8B0", "#E8C8A0", "#A8C4E8")
    bright = (COLORS[1], COLORS[3], COLORS[4], COLORS[0])
    colours = ListedColormap([*pale, *bright])
    figure = Figure(figsize=(2 * (1 + len(columns)), 2 * SHOWN + 0.9), layout="constrained")
    axes = figure.subplots(len(data), 1 + len(columns), squeeze=False)
    for row, image in enumerate(data.images):
        _picture(axes[row, 0], image)
        for axis, (title, masks) in zip(axes[row, 1:], columns, strict=True):
            wrong = masks[row] == 255
            _cells(axis, np.ma.masked_array(masks[row], wrong), colours, BoundaryNorm(np.arange(-0.5, 10), 10))
            if row == 0:
                axis.set_title(title, fontsize=9)
    axes[0, 0].set_title("picture", fontsize=9)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    handles = [Patch(color=colours(k), label=name) for k, name in enumerate(data.classes)]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    return figure


def _picture(axis: Any, image: Any) -> None:
    """Draw a picture, or a cloud's points from above."""
    if image.shape[1] > 1:
        axis.imshow(image)
    else:
        axis.scatter(image[:, 0, 0], image[:, 0, 1], c=np.clip(image[:, 0, 3:], 0, 1), s=4)
        axis.set_aspect("equal")


def _cells(axis: Any, mask: Any, colours: Any, norm: Any) -> None:
    """Draw a mask; of a cloud, its points one below another in a square."""
    side = round(np.sqrt(mask.size))
    axis.imshow(mask if mask.shape[1] > 1 else mask[: side**2].reshape(side, side), cmap=colours, norm=norm,
                interpolation="nearest")  # fmt: skip


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return all figures of merit with their intervals."""
    return {n: v._asdict() if isinstance(v, Mean) else v for n, v in figures(result).items()}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
