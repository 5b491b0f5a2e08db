"""How good rules are: accuracy of each episode, differences on the same episodes, and settings chosen beforehand.

An episode is a cluster: its queries share their shots, so only episodes count as independent. Intervals are over draws
of episodes from the images and classes at hand; they say nothing of other classes, for which worlds are drawn anew, and
in each world its own episodes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.replicas import Mean
from wirelesslab.stats import student_quantile
from wirelesslab.threads import map_chunks
from wirelesslab.vision import tuning
from wirelesslab.vision.few_shot.episodes import Drawn, Episodes, check_disjoint
from wirelesslab.vision.few_shot.rules import Floats, Prior, Rule

CHUNK = 32  # episodes at a time: 32 of 80 images and 640 numbers take 6.5 MB

R = TypeVar("R", bound=Rule)


@dataclass(frozen=True, eq=False)
class Pool:
    """Cached features of images with labels.

    Attributes:
        features: Shape (n, d).
        labels: Shape (n,), whole numbers.
        names: Of the classes by label, for messages.
    """

    features: Floats
    labels: NDArray[np.int64]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check.array(self.features, (None, None), "n, d", name="features")
        check.array(self.labels, (len(self.features),), "n", name="labels", because="n was set by features")
        if self.names and len(self.labels):
            check.within(0, len(self.names) - 1, first_label=int(self.labels.min()), last_label=int(self.labels.max()))

    def classes(self, *, by_name: bool) -> list[str | int]:
        """Return the classes that images are of, by their names or by their labels."""
        return [self.names[k] if by_name else k for k in np.unique(self.labels).tolist()]


def accuracies(
    rules: Mapping[str, Rule], base: Pool, novel: Pool, drawn: Drawn, priors: Mapping[str, Prior] | None = None
) -> dict[str, NDArray[np.float64]]:
    """Return the accuracy of each rule in each episode, shape (episodes,), by the rules' names.

    All rules see the same shots and queries. Episodes are decided in chunks of a fixed size on all cores; the result
    does not depend on how many there are.

    Args:
        rules: By name.
        base: Base classes.
        novel: Classes that episodes are drawn of, other ones than `base` has: of other names when both pools have
            names, so that another world may count its labels from 0 too, and of other labels when not.
        drawn: Episodes among the images of `novel`.
        priors: What rules took from the base classes, where that was done before; others are asked anew.

    Raises:
        ValueError: A class is base and novel, or episodes were drawn among other labels.
    """
    by_name = bool(base.names and novel.names)
    check_disjoint(base.classes(by_name=by_name), novel.classes(by_name=by_name))
    if not np.array_equal(novel.labels[drawn.places], np.broadcast_to(drawn.classes[..., None], drawn.places.shape)):
        msg = "drawn: its images have other classes in novel than when episodes were drawn; draw among novel.labels"
        raise ValueError(msg)
    known = {name: rule.prior(base.features, base.labels) for name, rule in rules.items() if name not in (priors or {})}
    known |= dict(priors or {})
    answers = drawn.answers()

    def judge(part: slice) -> NDArray[np.float64]:
        support, queries = drawn.support(novel.features, part), drawn.queries(novel.features, part)
        right = [rule.calibrate(known[n], support).predict(queries) == answers for n, rule in rules.items()]
        return np.array([found.mean(axis=-1) for found in right])

    found = np.concatenate(map_chunks(judge, len(drawn), CHUNK), axis=1)
    return dict(zip(rules, found, strict=True))


@dataclass(frozen=True)
class Paired:
    """One rule against another on the same episodes.

    Attributes:
        first: Its name.
        second: The other's.
        difference: Mean of first minus second in accuracy, with its interval.
    """

    first: str
    second: str
    difference: Mean

    @property
    def wholly_above(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.difference.low > 0


def paired(found: Mapping[str, ArrayLike], first: str, second: str, confidence: float = 0.95) -> Paired:
    """Return how much better `first` was than `second` on the same episodes.

    Args:
        found: Accuracies by rule, shape (episodes,).
        first: A rule.
        second: Another one.
        confidence: Of the interval.
    """
    check.one_of(found, first=first, second=second)
    return Paired(
        first, second, pooled([np.asarray(found[first], float) - np.asarray(found[second], float)], confidence)
    )


def pooled(worlds: Sequence[ArrayLike], confidence: float = 0.95) -> Mean:
    """Return the mean over worlds that count alike, with Student's interval over episodes within worlds.

    Args:
        worlds: Of each world, accuracies or differences of its episodes, shape (episodes,); worlds have episodes of
            their own, see `stratified`.
        confidence: Of the interval.

    Raises:
        ValueError: A world has fewer than two episodes.
    """
    values = [np.asarray(world, float).ravel() for world in worlds]
    if min(map(len, values), default=2) < 2:
        msg = "worlds: got one with fewer than 2 episodes, expected at least 2, or there is no interval"
        raise ValueError(msg)
    errors = [v.std(ddof=1) / np.sqrt(len(v)) for v in values]
    return stratified([v.mean() for v in values], errors, [len(v) for v in values], confidence)


def stratified(means: ArrayLike, errors: ArrayLike, episodes: Sequence[int] | int, confidence: float = 0.95) -> Mean:
    """Return the mean over worlds that count alike from each world's mean, with Student's interval over episodes.

    Worlds are strata: the interval is of these worlds' mean, not of worlds to come; for those, take `replicas.mean` of
    the worlds' means. Episodes must be drawn anew for each world: where the same places are drawn in all of them, luck
    that hangs on places (two classes of one family, the same digits) does not average out, and the interval is too
    narrow. Degrees of freedom are Welch's and Satterthwaite's.

    Args:
        means: Of each world, shape (worlds,).
        errors: Standard errors of these means over episodes, shape (worlds,).
        episodes: Of each world, or of all of them.
        confidence: Of the interval.
    """
    middles = np.asarray(means, float).ravel()
    check.positive_integer(worlds=len(middles))
    parts = check.array(np.asarray(errors, float), middles.shape, "worlds", name="errors", because="means set it") ** 2
    counts = np.broadcast_to(np.asarray(episodes), middles.shape)
    check.within(2, float("inf"), fewest_episodes=int(counts.min()))
    total = float(parts.sum())
    degrees = round(total**2 / float(np.sum(parts**2 / (counts - 1)))) if total else 1
    half = student_quantile(0.5 + confidence / 2, max(degrees, 1)) * float(np.sqrt(total)) / len(middles)
    middle = float(middles.mean())
    return Mean(middle, middle - half, middle + half, int(counts.sum()))


def tune(
    rules: Mapping[str, R],
    grids: Mapping[str, Sequence[tuning.Settings]],
    base: Pool,
    validation: Pool,
    episodes: Episodes,
    log: Path | None = None,
) -> dict[str, R]:
    """Return rules with the settings that do best in episodes of validation classes.

    Every rule gets a grid of the same size and the same episodes. Of equals, the setting that stands first is chosen.

    Args:
        rules: By name.
        grids: For each of `rules`, fields and values to try, such as ``{"tau": 0.1}``.
        base: Base classes.
        validation: Classes that are neither base nor judged on later.
        episodes: To draw among them; those judged on have another seed.
        log: Where trials and choices are written (`vision.tuning`). None writes nothing.

    Raises:
        ValueError: Grids are of different sizes, or one is missing.
    """
    if set(rules) != set(grids):
        msg = f"grids: got {sorted(grids)}, expected one for each of {sorted(rules)}"
        raise ValueError(msg)
    drawn = episodes.draw(validation.labels, validation.names)

    def score(name: str, settings: Mapping[str, Any], _: int) -> float:
        rule = _with(rules[name], settings)
        return float(accuracies({name: rule}, base, validation, drawn)[name].mean())

    chosen = tuning.tune(score, grids, (episodes.seed,), log)
    return {name: _with(rule, chosen[name]) for name, rule in rules.items()}


def _with(rule: R, settings: Mapping[str, Any]) -> R:
    changed: R = replace(rule, **settings)  # type: ignore[type-var]
    return changed
