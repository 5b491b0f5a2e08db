"""One world of characters: a backbone learns its base classes, then all rules are judged on the same episodes.

Nothing of a world's test classes is looked at before its rules are tuned, on validation classes and other episodes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.data import Data
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.few_shot import (
    GRIDS,
    P3DC,
    DistributionCalibration,
    Episodes,
    Pool,
    Rule,
    accuracies,
    line_up,
    tune,
)
from wirelesslab.vision.few_shot.distributions import PUBLISHED_SAMPLES
from wirelesslab.vision.few_shot.nets import Backbone
from wirelesslab.vision.few_shot.pretraining import Pretraining
from wirelesslab.vision.method import State
from wirelesslab.vision.worlds.characters import Characters

NEAREST = "nearest neighbour"
OURS = "P3DC, scale-free, tuned"
RULES = (*line_up(1), *(f"{name}, tuned" for name in GRIDS))
SWEPT = (NEAREST, "power of shots, tuned", "centred, tuned", "P3DC, paper, tuned", OURS)
AIRS = ("related", "unrelated", "digits")
USUAL = tuple(f"{air}, {shots} shot{'s' * (shots > 1)}" for shots in (1, 5) for air in AIRS)
MAIN = USUAL[0]
SAMPLED = tuple(f"{target}, {PUBLISHED_SAMPLES} samples" for target in USUAL)  # as published, on fewer episodes
TARGETS = (*USUAL, *SAMPLED)
UNTUNED = "P3DC, scale-free"  # its settings were fixed before any world was drawn
BASES = {"minus_nearest": NEAREST, "ours_minus": OURS, "untuned_minus": UNTUNED}  # what others are held against
LOUDER = 7.0  # what features are multiplied by, to see who changes their mind


@dataclass(frozen=True, kw_only=True)
class Case:
    """A world and how it is judged; what is not said here is as in the sim's `Config`.

    Attributes:
        kind: Of the backbone.
        targets: Of `TARGETS`, those that are judged; `MAIN` at least.
        epochs: Of pretraining.
        bend: As `Characters.bend`.
        warp: As `Characters.warp`.
        pictures: Of each class.
        episodes: Of `MAIN`.
        fewer: Of everything else.
        sampled: Of `SAMPLED`.
        tuning: Episodes of validation classes for each setting.
        ways: That are swept.
    """

    kind: Literal["conv4", "resnet12"] = "conv4"
    targets: tuple[str, ...] = TARGETS
    epochs: int
    bend: float
    warp: float
    pictures: int
    episodes: int
    fewer: int
    sampled: int
    tuning: int
    ways: tuple[int, ...]

    def __post_init__(self) -> None:
        check.positive_integer(tuning=self.tuning, epochs=self.epochs)
        for name in ("episodes", "fewer", "sampled"):  # two at least, or there is no interval
            check.within(2, float("inf"), **{name: getattr(self, name)})

    def characters(self, *, related: bool) -> Characters:
        """Return the world's law."""
        number = self.pictures
        return Characters(bend=self.bend, warp=self.warp, pictures=number, novel_pictures=number, related=related)

    def pretraining(self) -> Pretraining:
        """Return the recipe."""
        base = len(self.characters(related=True).names()["train"])
        return Pretraining(backbone=Backbone(kind=self.kind), num_classes=base, epochs=self.epochs)

    def judged(self, target: str, seed: int) -> Episodes:
        """Return the episodes of a target in the world of a seed.

        Each world has its own: classes of a family have the same labels in every world, and digits are the same, so
        that episodes of the same places would be hard in all worlds at once.
        """
        count = self.episodes if target == MAIN else self.sampled if target in SAMPLED else self.fewer
        return Episodes(shots=shots_of(target), count=count, seed=2 * seed)

    def chosen_on(self, shots: int, seed: int) -> Episodes:
        """Return the episodes of validation classes on which settings are chosen."""
        return Episodes(shots=shots, count=self.tuning, seed=2 * seed + 1)


def shots_of(target: str) -> int:
    """Return how many shots of each class a target has."""
    return 1 if "1 shot" in target else 5


def world(case: Case, seed: int) -> dict[str, Any]:
    """Return what every rule comes to in one world.

    Returns:
        For each target "accuracy" and, of `BASES`, differences on the same episodes over `RULES`, each with the
        standard error of its mean over episodes, and the "digest" of these episodes in pieces of 16 bits; what tuning
        chose, as places in `GRIDS`; accuracies over numbers of ways; shares of predictions that change when all
        features are multiplied; and how right the backbone is on its base classes.
    """
    from wirelesslab.tensorflow import use_threads

    use_threads(1)  # so that sums do not depend on the machine's cores or on the number of workers
    method = case.pretraining()
    near, far = (case.characters(related=related).data(seed) for related in (True, False))
    state = method.fit(method.build(seed), near, seed).state
    base = pool_of(method, state, near, "train")
    validation = {"related": pool_of(method, state, near, "validation")}
    validation["unrelated"] = pool_of(method, state, far, "validation")
    novel = {"related": pool_of(method, state, near, "test"), "unrelated": pool_of(method, state, far, "test")}
    written = digits(seed, side=method.backbone.shape[0])
    novel["digits"] = Pool(method.features(state, written.images), written.labels, _named(written.classes))
    found: dict[str, Any] = {"base_accuracy": 100 * method.evaluate(state, near.only("train"))["accuracy"]}
    rules: dict[tuple[str, int], dict[str, Rule]] = {}
    for target in case.targets:
        air, shots = target.split(",")[0], shots_of(target)
        learned = "related" if air == "digits" else air  # no digit is seen before the last word
        if (learned, shots) not in rules:
            plain, tried = line_up(shots), case.chosen_on(shots, seed)
            tuned = tune({name: plain[name] for name in GRIDS}, GRIDS, base, validation[learned], tried)
            rules[learned, shots] = {**plain, **{f"{name}, tuned": rule for name, rule in tuned.items()}}
            found[f"chosen {learned} {shots}"] = [_place(name, tuned[name]) for name in GRIDS]
        drawn = case.judged(target, seed).draw(novel[air].labels, novel[air].names)
        judged = _sampled(rules[learned, shots]) if target in SAMPLED else rules[learned, shots]
        found |= _judged(target, accuracies(judged, base, novel[air], drawn))
        found[f"{target} digest"] = np.frombuffer(bytes.fromhex(drawn.digest()), ">u2").tolist()
    found["ways"] = _over_ways(case, rules["related", 1], base, novel["related"], seed)
    found["changed"] = _changed(rules["related", 1], base, novel["related"], seed)
    return found


def pool_of(method: Pretraining, state: State, data: Data, split: str) -> Pool:
    """Return the features of a split."""
    one = data.only(split)
    return Pool(method.features(state, one.images), one.labels, data.classes)


def chosen_settings(name: str, place: float) -> Mapping[str, Any]:
    """Return what tuning chose of a rule's grid."""
    return GRIDS[name][int(place)]


def _named(classes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"digit {name}" for name in classes)


def _place(name: str, rule: Rule) -> int:
    held = [all(getattr(rule, field) == value for field, value in settings.items()) for settings in GRIDS[name]]
    return held.index(True)


def _sampled(rules: Mapping[str, Rule]) -> dict[str, Rule]:
    """Return the rules with as many samples for calibrated distributions as published, at the settings they have."""
    return {
        name: replace(rule, num_samples=PUBLISHED_SAMPLES, mirrored=False)
        if isinstance(rule, DistributionCalibration)
        else rule
        for name, rule in rules.items()
    }


def _judged(target: str, right: Mapping[str, NDArray[np.float64]]) -> dict[str, list[float]]:
    values = 100 * np.array([right[name] for name in RULES])  # (rules, episodes)
    others = {"accuracy": values}
    for what, name in BASES.items():
        against = values - values[RULES.index(name)]
        others[what] = against if what == "minus_nearest" else -against
    found = {}
    for what, samples in others.items():
        found[f"{target} {what}"] = samples.mean(axis=1).tolist()
        found[f"{target} {what} error"] = (samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])).tolist()
    return found


def _over_ways(case: Case, rules: Mapping[str, Rule], base: Pool, novel: Pool, seed: int) -> list[list[float]]:
    swept = {name: rules[name] for name in SWEPT}
    rows = []
    for episodes in Episodes(count=case.fewer, seed=2 * seed).over_ways(case.ways):
        right = accuracies(swept, base, novel, episodes.draw(novel.labels, novel.names))
        rows.append([100 * float(right[name].mean()) for name in SWEPT])
    return rows


def _changed(rules: Mapping[str, Rule], base: Pool, novel: Pool, seed: int) -> list[float]:
    """Return the share of predictions (%) that change when all features are multiplied, published and scale-free."""
    drawn = Episodes(count=200, seed=2 * seed).draw(novel.labels, novel.names)
    shares = []
    for rule in (P3DC.published(1), rules[OURS]):
        said = []
        for factor in (1.0, LOUDER):
            prior = rule.prior(factor * base.features, base.labels)
            decider = rule.calibrate(prior, factor * drawn.support(novel.features))
            said.append(decider.predict(factor * drawn.queries(novel.features)))
        shares.append(100 * float(np.mean(said[0] != said[1])))
    return shares
