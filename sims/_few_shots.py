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
from wirelesslab.vision.few_shot import GRIDS, P3DC, Drawn, Episodes, Pool, Rule, accuracies, line_up, tune
from wirelesslab.vision.few_shot.nets import Backbone
from wirelesslab.vision.few_shot.pretraining import Pretraining
from wirelesslab.vision.method import State
from wirelesslab.vision.worlds.characters import Characters

NEAREST = "nearest neighbour"
OURS = "P3DC, scale-free, tuned"
RULES = (*line_up(1), *(f"{name}, tuned" for name in GRIDS))
SWEPT = (NEAREST, "power of both, tuned", "P3DC, paper, tuned", OURS)
AIRS = ("related", "unrelated", "digits")
TARGETS = tuple(f"{air}, {shots} shot{'s' * (shots > 1)}" for shots in (1, 5) for air in AIRS)
MAIN = TARGETS[0]
LOUDER = 7.0  # what features are multiplied by, to see who changes their mind
JUDGED, CHOSEN = 1, 2  # seeds of episodes


@dataclass(frozen=True, kw_only=True)
class Case:
    """A world and how it is judged.

    Attributes:
        kind: Of the backbone.
        epochs: Of pretraining.
        bend: As `Characters.bend`.
        warp: As `Characters.warp`.
        pictures: Of each class.
        episodes: Of related classes at one shot.
        fewer: Of everything else.
        tuning: Episodes of validation classes for each setting.
        ways: That are swept.
    """

    kind: Literal["conv4", "resnet12"] = "conv4"
    epochs: int = 20
    bend: float = 0.08
    warp: float = 0.14
    pictures: int = 60
    episodes: int = 10_000
    fewer: int = 2000
    tuning: int = 300
    ways: tuple[int, ...] = (2, 5, 10, 16)

    def __post_init__(self) -> None:
        check.positive_integer(episodes=self.episodes, fewer=self.fewer, tuning=self.tuning, epochs=self.epochs)

    def characters(self, *, related: bool) -> Characters:
        """Return the world's law."""
        number = self.pictures
        return Characters(bend=self.bend, warp=self.warp, pictures=number, novel_pictures=number, related=related)

    def pretraining(self) -> Pretraining:
        """Return the recipe."""
        base = len(self.characters(related=True).names()["train"])
        return Pretraining(backbone=Backbone(kind=self.kind), num_classes=base, epochs=self.epochs)

    def judged(self, target: str) -> Episodes:
        """Return the episodes of a target."""
        count = self.episodes if target == MAIN else self.fewer
        return Episodes(shots=1 if "1 shot" in target else 5, count=count, seed=JUDGED)

    def drawn(self, target: str) -> Drawn:
        """Return the episodes of a target of characters as they are drawn in every world."""
        names = self.characters(related=True).names()
        first = len(names["train"]) + len(names["validation"])
        labels = np.repeat(np.arange(first, first + len(names["test"])), self.pictures)
        return self.judged(target).draw(labels)


def world(case: Case, seed: int) -> dict[str, Any]:
    """Return what every rule comes to in one world.

    Returns:
        For each target "accuracy", "minus_nearest" and "ours_minus" over `RULES`, each with the standard error of its
        mean over episodes; what tuning chose, as places in `GRIDS`; accuracies over numbers of ways; shares of
        predictions that change when all features are multiplied; and how right the backbone is on its base classes.
    """
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
    for shots in (1, 5):
        plain = line_up(shots)
        tried = Episodes(shots=shots, count=case.tuning, seed=CHOSEN)
        for air, pool in validation.items():
            tuned = tune({name: plain[name] for name in GRIDS}, GRIDS, base, pool, tried)
            rules[air, shots] = {**plain, **{f"{name}, tuned": rule for name, rule in tuned.items()}}
            found[f"chosen {air} {shots}"] = [_place(name, tuned[name]) for name in GRIDS]
        rules["digits", shots] = rules["related", shots]  # no digit is seen before the last word
    for target in TARGETS:
        air, shots = target.split(",")[0], case.judged(target).shots
        drawn = case.judged(target).draw(novel[air].labels, novel[air].names)
        found |= _judged(target, accuracies(rules[air, shots], base, novel[air], drawn))
    found["ways"] = [list(row) for row in _over_ways(case, rules["related", 1], base, novel["related"])]
    found["changed"] = _changed(rules["related", 1], base, novel["related"])
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


def _judged(target: str, right: Mapping[str, NDArray[np.float64]]) -> dict[str, list[float]]:
    values = 100 * np.array([right[name] for name in RULES])  # (rules, episodes)
    others = {
        "accuracy": values,
        "minus_nearest": values - values[RULES.index(NEAREST)],
        "ours_minus": values[RULES.index(OURS)] - values,
    }
    found = {}
    for what, samples in others.items():
        found[f"{target} {what}"] = samples.mean(axis=1).tolist()
        found[f"{target} {what} error"] = (samples.std(axis=1, ddof=1) / np.sqrt(samples.shape[1])).tolist()
    return found


def _over_ways(case: Case, rules: Mapping[str, Rule], base: Pool, novel: Pool) -> NDArray[np.float64]:
    swept = {name: rules[name] for name in SWEPT}
    rows = []
    for episodes in Episodes(count=case.fewer, seed=JUDGED).over_ways(case.ways):
        right = accuracies(swept, base, novel, episodes.draw(novel.labels, novel.names))
        rows.append([100 * right[name].mean() for name in SWEPT])
    return np.array(rows)


def _changed(rules: Mapping[str, Rule], base: Pool, novel: Pool) -> list[float]:
    """Return the share of predictions (%) that change when all features are multiplied, published and scale-free."""
    drawn = Episodes(count=200, seed=JUDGED).draw(novel.labels, novel.names)
    shares = []
    for rule in (P3DC.published(1), rules[OURS]):
        said = []
        for factor in (1.0, LOUDER):
            prior = rule.prior(factor * base.features, base.labels)
            decider = rule.calibrate(prior, factor * drawn.support(novel.features))
            said.append(decider.predict(factor * drawn.queries(novel.features)))
        shares.append(100 * float(np.mean(said[0] != said[1])))
    return shares


def smaller(case: Case, **other: Any) -> Case:
    """Return a case that differs in a backbone or a bend and is judged on fewer episodes."""
    return replace(case, episodes=case.fewer, **other)
