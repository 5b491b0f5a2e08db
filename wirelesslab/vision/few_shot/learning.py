"""Few shots as a method: a backbone and what base classes taught are fitted once; new classes are learned from a few.

A state goes through three stages: built, fitted (the backbone of "weights" and "statistics", and "prior", what the rule
keeps of base classes), and taught ("shots", features of a few labelled pictures of new classes). Nothing is trained
when classes are learned: their features are kept, and calibrated whenever queries are decided.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.data import Data
from wirelesslab.vision.few_shot.calibration import P3DC
from wirelesslab.vision.few_shot.episodes import Episodes, check_disjoint
from wirelesslab.vision.few_shot.judgement import Pool, accuracies, pooled
from wirelesslab.vision.few_shot.pretraining import Pretraining
from wirelesslab.vision.few_shot.rules import Decider, Floats, Prior, Rule
from wirelesslab.vision.keras_nets import values_of
from wirelesslab.vision.method import Array, Fit, State, state_arrays, state_of
from wirelesslab.vision.saving import Keeping

BASE = "base classes"  # the number of a state that holds their names, as JSON
OWN = ("prior", "shots", "base")  # parts of a state that pretraining knows nothing of


@dataclass(frozen=True, kw_only=True)
class FewShot:
    """A backbone, a rule that decides from a few shots, and episodes in which that is judged. Implements `Method`.

    Attributes:
        pretraining: The backbone, and how it learns from base classes.
        rule: What is kept of base classes, and how a few shots then decide.
        episodes: In which `evaluate` judges.

    Examples:
        >>> FewShot().rule.mode
        'scale_free'
    """

    pretraining: Pretraining = field(default_factory=Pretraining)
    rule: Rule = field(default_factory=lambda: P3DC.scale_free(1))
    episodes: Episodes = field(default_factory=Episodes)

    # --- a method ---

    def build(self, seed: int, /) -> State:
        """Return the initial state: a backbone that has learned nothing, no prior, no shots."""
        return self.pretraining.build(seed)

    def fit(self, state: State, data: Data, seed: int, /, *, keep: Keeping | None = None) -> Fit:
        """Train the backbone on the base classes, then keep of them what the rule asks for; shots are forgotten.

        Args:
            state: Where to start.
            data: With a split "train" of base classes; no other split is looked at.
            seed: Of order, turns and mixing.
            keep: As in `Pretraining.fit`.
        """
        found = self.pretraining.fit(_split(state)[0], data, seed, keep=keep)
        base = data.only("train")
        prior = self.rule.prior(self.pretraining.features(found.state, base.images), base.labels.astype(np.int64))
        known = np.unique(base.labels).astype(np.int64)
        names = json.dumps([data.classes[k] for k in known])
        fitted = State(found.state.arrays, {**found.state.numbers, BASE: names})
        fitted = fitted.with_part("prior", {name: np.asarray(array) for name, array in prior.items()})
        return Fit(fitted.with_part("base", {"labels": known}), found.history)

    def learn(
        self, state: State, images: Array, labels: NDArray[np.integer[Any]], classes: Sequence[str] = ()
    ) -> State:
        """Return the state that knows new classes by these pictures, and by no others; nothing is trained.

        Args:
            state: A fitted one; shots that it has are forgotten.
            images: Labelled pictures, shape (n, h, w, c).
            labels: Their classes, shape (n,), as many pictures of each of at least two.
            classes: Names of the labels. Given, base and new classes are told apart by name; else by label, so that
                labels must then be numbered as those of the base classes were.

        Raises:
            ValueError: The state is not fitted, a class is a base class, fewer than two classes, or not as many
                pictures of each.
        """
        prior, numbers = self.prior(state), check.array(labels, (len(images),), "n", name="labels")
        if numbers.dtype.kind not in "iu":
            msg = f"labels: got {numbers.dtype}, expected whole numbers"
            raise TypeError(msg)
        ways, counts = np.unique(numbers, return_counts=True)
        if len(ways) < 2 or len(set(counts.tolist())) > 1:
            msg = f"labels: got {dict(zip(ways.tolist(), counts.tolist(), strict=True))} pictures by class, expected "
            msg += "as many of each of at least two classes; leave some out"
            raise ValueError(msg)
        if classes:
            check.within(0, len(classes) - 1, first_label=int(ways[0]), last_label=int(ways[-1]))
            check_disjoint(self.base_classes(state), [classes[k] for k in ways])
        else:
            check_disjoint(state.arrays["base/labels"], ways)
        order = np.argsort(numbers, kind="stable")
        features = self.pretraining.features(state, images)[order].reshape(len(ways), int(counts[0]), -1)
        self.rule.calibrate(prior, features)  # refuses what cannot be calibrated now, not at the first query
        return state.with_part("shots", {"features": features, "labels": ways.astype(np.int64)})

    def predict(self, state: State, images: Array, /) -> NDArray[np.int64]:
        """Return the learned classes that pictures are of, by their labels, shape (n,).

        Raises:
            ValueError: No class was learned.
        """
        ways = self._shots(state)["labels"]
        if not len(images):
            return np.zeros(0, np.int64)
        chosen = self.decider(state).predict(self.pretraining.features(state, images))
        return np.asarray(ways[chosen], np.int64)

    def evaluate(self, state: State, data: Data, /) -> dict[str, float]:
        """Return the mean "accuracy" in episodes of the data's classes, and its 95 % interval over episodes.

        Shots that the state has do not count: each episode brings its own. Base and new classes are told apart by
        name.

        Args:
            state: A fitted one.
            data: Pictures of new classes.

        Returns:
            "accuracy", "accuracy low" and "accuracy high".

        Raises:
            ValueError: A class is a base class, or there are too few classes or pictures for an episode.
        """
        prior, base = self.prior(state), self.base_classes(state)
        labels = np.asarray(data.labels, np.int64)
        known = Pool(np.zeros((len(base), 1)), np.arange(len(base)), base)  # names alone: the prior is there already
        drawn = self.episodes.draw(labels, data.classes)
        check_disjoint(base, [data.classes[k] for k in np.unique(labels)])
        novel = Pool(self.pretraining.features(state, data.images), labels, tuple(data.classes))
        found = pooled([accuracies({"rule": self.rule}, known, novel, drawn, {"rule": prior})["rule"]])
        return {"accuracy": found.value, "accuracy low": found.low, "accuracy high": found.high}

    def operations(self, state: State, batch: int, /) -> int:
        """Return multiply-adds of learning from `batch` pictures once.

        Before the state is fitted they are base pictures and cost what `Pretraining.operations` says: forward once,
        backward twice as much. Afterwards they are shots: forward once and calibrated, nothing goes backward.
        """
        check.positive_integer(batch=batch)
        if BASE not in state.numbers:
            return self.pretraining.operations(state, batch)
        return batch * (self.pretraining.feature_macs() + shot_macs(self.rule, self.prior(state)))

    def query_macs(self, state: State, /) -> int:
        """Return multiply-adds of answering one picture with the classes that were learned, shots calibrated anew."""
        ways, shots, dimension = self._shots(state)["features"].shape
        anew = ways * shots * shot_macs(self.rule, self.prior(state))
        total: int = self.pretraining.feature_macs() + decision_macs(ways, shots, dimension) + anew
        return total

    # --- what it knows ---

    def prior(self, state: State) -> Prior:
        """Return what is kept of base classes: all that has to travel beside the backbone.

        Raises:
            ValueError: The state is not fitted.
        """
        if BASE not in state.numbers:
            msg = "state: got one without a prior, expected one of FewShot.fit, which learns base classes first"
            raise ValueError(msg)
        return state.part("prior")

    def base_classes(self, state: State) -> tuple[str, ...]:
        """Return the names of the base classes of a fitted state."""
        self.prior(state)
        return tuple(json.loads(str(state.numbers[BASE])))

    def decider(self, state: State) -> Decider:
        """Return what the shots come to; its queries are features."""
        return self.rule.calibrate(self.prior(state), self._shots(state)["features"])

    def model(self) -> Any:
        """Return the Keras backbone, from images to features, without trained weights."""
        return self.pretraining.backbone.model()

    def net_values(self, state: State) -> dict[str, Array]:
        """Return the backbone's weights and moving moments by the names of its variables; heads stay behind."""
        heads = ("classes/", "turns/")
        kept = {name: a for name, a in state.part("weights").items() if not name.startswith(heads)}
        bare = State({}).with_part("weights", kept).with_part("statistics", state.part("statistics"))
        return values_of(self.model(), bare, repr(self.pretraining.backbone))

    # --- written and read ---

    def written(self, state: State, /) -> Mapping[str, NDArray[Any]]:
        """Return the whole state as arrays."""
        return state_arrays(state)

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> State:
        """Return the state that was written.

        Raises:
            ValueError: It is the state of another backbone.
        """
        bare, own = _split(state_of(arrays))
        numbers = dict(state_of(arrays).numbers)
        return State({**self.pretraining.restored(state_arrays(bare), seed).arrays, **own}, numbers)

    def _shots(self, state: State) -> dict[str, NDArray[Any]]:
        shots = state.part("shots")
        if not shots:
            msg = (
                "state: got one that has learned no class, expected one of FewShot.learn, with a few labelled pictures"
            )
            raise ValueError(msg)
        return shots


def shot_macs(rule: Rule, prior: Prior) -> int:
    """Return multiply-adds of calibrating one shot, its features given: compared with the prior, and pulled by it.

    Each takes one for every value of the prior; `P3DC` does both for each of its two levels that is in use. Other rules
    are counted with one level; what a rule iterates over (`LogisticRegression`) is not in it.
    """
    levels = (rule.sample_weight > 0) + (rule.task_weight > 0) if isinstance(rule, P3DC) else 1
    return 2 * levels * sum(int(np.size(array)) for array in prior.values())


def decision_macs(ways: int, shots: int, dimension: int) -> int:
    """Return multiply-adds of deciding one query: its products with all shots; with several, their weighting, too."""
    each = dimension if shots == 1 else dimension + shots + 1
    return ways * shots * each


def _split(state: State) -> tuple[State, dict[str, Floats]]:
    """Return the part of a state that pretraining knows, and the other arrays."""
    own = {name: array for name, array in state.arrays.items() if name.partition("/")[0] in OWN}
    rest = {name: array for name, array in state.arrays.items() if name not in own}
    return State(rest, {name: value for name, value in state.numbers.items() if name != BASE}), own
