r"""Structured sparsity learning: a net learns, from a trained one, to do without whole groups of its weights.

$E(W)=E_D(W)+\lambda R(W)+\sum_{\mathrm{kinds}}\lambda_g\sum_l R_g(W_l)$ is followed downhill in two ways:

- "subgradient", as published: $\lambda_g w/\|w^{(g)}\|$ is added to the gradient before momentum, and after each step
  all $|w|<10^{-4}$ are set to 0.
- "proximal": a step along the gradient of $E_D$, then each group is shrunk by $t=\eta\lambda_g/(1-\mu)$: with momentum
  $\mu$ a constant pull moves a weight by $\eta/(1-\mu)$ times its size per step. Groups become exactly 0. Kinds that
  overlap are shrunk one after another, which is not the proximal step of their sum.

References:
    Wen et al., "Learning structured sparsity in deep neural networks", NeurIPS 2016, and the authors' Caffe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.data import Data
from wirelesslab.vision.fitting import fit_epochs
from wirelesslab.vision.method import Array, Batch, Epoch, Fit, Gradients, State, state_arrays, state_of
from wirelesslab.vision.saving import Keeping
from wirelesslab.vision.structured_sparsity.graph import graph_of
from wirelesslab.vision.structured_sparsity.groups import GroupLasso, Target, pull, what_is_left
from wirelesslab.vision.structured_sparsity.removal import still_moments
from wirelesslab.vision.structured_sparsity.thresholds import Cuts, Threshold, cut_groups, masked

MODES = ("subgradient", "proximal")
STAGES = ("baseline", "learning", "tuning")


@dataclass(frozen=True, kw_only=True)
class StructuredSparsity:
    """A classifier that becomes sparse in groups. Implements `Trainable`.

    The state's number "stage" says what a step does: "baseline": learn as the classifier does; "learning": with group
    lasso; "tuning": what is left learns, what is gone (masks in the state) stays gone. `fit` goes through all
    that lie before it; over a network, `begin` and `prune` lead from one to the next. Like weight decay, group lasso is
    applied after averaging, so nothing of it travels.

    The schedule is the authors' in shares: from a trained baseline, at a tenth of its rate, of which the last 0.3 at a
    tenth again; half as many passes as the baseline had, then a third as many to tune. A tenth in that last part is
    our reading.

    Attributes:
        classifier: The net, and how its baseline is trained.
        penalties: Kinds of groups with strengths; kinds of one layer add up.
        mode: See above.
        epochs: Passes with group lasso; half of the classifier's when None.
        tuning_epochs: Passes after the cut; a third of the classifier's when None.
        rate_factor: Times the classifier's rate.
        first_share: Of the steps with group lasso that have this rate; the others have `later_factor` times it.
        later_factor: See `first_share`.
        zero_below: Weights of lesser magnitude are set to 0 after each step of mode "subgradient".
        threshold: Where norms are cut.

    Raises:
        ValueError: Mode "proximal" with Adam: the size of Adam's step is not its rate, so t would be a guess.
    """

    classifier: Classifier = field(default_factory=lambda: Classifier(backbone="lenet"))
    penalties: tuple[GroupLasso, ...] = (GroupLasso(kind="filters"),)
    mode: Literal["subgradient", "proximal"] = "subgradient"
    epochs: int | None = None
    tuning_epochs: int | None = None
    rate_factor: float = 0.1
    first_share: float = 0.7
    later_factor: float = 0.1
    zero_below: float = 1e-4
    threshold: Threshold = Threshold()

    def __post_init__(self) -> None:
        check.one_of(MODES, mode=self.mode)
        check.positive_integer(penalties=len(self.penalties))
        for name in ("epochs", "tuning_epochs"):
            if getattr(self, name) is not None:
                check.positive_integer(**{name: getattr(self, name)})
        check.positive(rate_factor=self.rate_factor, later_factor=self.later_factor)
        check.probability(first_share=self.first_share)
        check.within(0, 1, zero_below=self.zero_below)
        if self.mode == "proximal" and self.classifier.update.rule == "adam":
            msg = "mode: got 'proximal' with Adam, expected SGD with or without momentum: the proximal step needs the "
            msg += "size of a step, and Adam's is not its rate; take mode='subgradient' or UpdateRule(rule='momentum')"
            raise ValueError(msg)

    # --- a method ---

    def build(self, seed: int, /) -> State:
        """Return the classifier's initial state."""
        state = self.classifier.build(seed)
        return State(state.arrays, {**state.numbers, "stage": "baseline"})

    def fit(self, state: State, data: Data, seed: int, /, *, keep: Keeping | None = None) -> Fit:
        """Train through all stages: the baseline (unless it is trained), group lasso, the cut, tuning.

        Args:
            state: Where to start: what `build`, `begin` or `prune` gave, or a state of the classifier's.
            data: With a split "train"; "validation" is judged after each epoch.
            seed: Of the order of images.
            keep: Where to write checkpoints, one file for each stage.

        Returns:
            The tuned state; scores in the history have the stage before their names, and steps count from 0 in each.
        """
        history: list[Epoch] = []
        if self._stage(state) == "baseline":
            if not state.numbers["step"]:
                fit = self.fit_stage(state, data, seed, keep=keep)
                state, history = fit.state, list(fit.history)
            state = self.begin(state, self.steps(len(data.only("train"))))
        if self._stage(state) == "learning":
            fit = self.fit_stage(state, data, seed, keep=keep)
            state, history = self.prune(fit.state), history + list(fit.history)
        fit = self.fit_stage(state, data, seed, keep=keep)
        return Fit(fit.state, tuple(history) + fit.history)

    def fit_stage(self, state: State, data: Data, seed: int, *, keep: Keeping | None = None) -> Fit:
        """Train through the state's own stage, and no further: no cut is made."""
        stage = self._stage(state)
        epochs = {"baseline": self.classifier.epochs, "learning": self.learning_epochs, "tuning": self.last_epochs}
        size, order = self.classifier.batch_size, () if stage == "baseline" else (stage,)
        beside = keep and replace(keep, path=keep.path.with_name(f"{keep.path.name}_{stage}"))
        fit = fit_epochs(self, state, data, seed, epochs=epochs[stage], batch_size=size, purpose=order, keep=beside)
        named = (Epoch(e.step, {f"{stage} {name}": score for name, score in e.scores.items()}) for e in fit.history)
        return Fit(fit.state, tuple(named))

    def predict(self, state: State, images: Array, /) -> NDArray[np.int64]:
        """Return labels, shape (n,)."""
        return self.classifier.predict(state, images)

    def evaluate(self, state: State, data: Data, /) -> dict[str, float]:
        """Return the classifier's scores."""
        return self.classifier.evaluate(state, data)

    def operations(self, state: State, batch: int, /) -> int:
        """Return multiply-adds of learning from `batch` images: the classifier's, and two per penalised weight."""
        found = self.classifier.operations(state, batch)
        if self._stage(state) != "learning":
            return found
        weights = state.part("weights")
        targets = self._targets(weights)
        return found + sum(2 * weights[key].size for one in targets for key in (one.kernel, *one.along))

    def query_macs(self, state: State, /) -> int:
        """Return multiply-adds of answering one image: the classifier's, zeros included; `export` leaves them out."""
        return self.classifier.query_macs(state)

    # --- a learner ---

    def gradients(self, state: State, batch: Batch, rng: np.random.Generator, /) -> Gradients:
        """Return the classifier's gradients; group lasso is no part of them."""
        return self.classifier.gradients(state, batch, rng)

    def apply(self, state: State, gradients: Sequence[Array], /) -> State:
        """Return the state one step later, by the rule of its stage."""
        stage = self._stage(state)
        if stage == "baseline":
            return self.classifier.apply(state, gradients)
        if stage == "tuning":
            after, masks = self._slowed(self.rate_factor).apply(state, gradients), state.part("masks")
            return after.with_part("weights", masked(after.part("weights"), masks)).with_part("masks", masks)
        step, steps = int(state.numbers["step"]), int(state.numbers["learning steps"])
        factor = self.rate_factor * (1.0 if step < self.first_share * steps else self.later_factor)
        learner, arrays = self._slowed(factor), list(gradients)
        if self.mode == "subgradient":
            before = state.part("weights")
            places = {name: place for place, name in enumerate(before)}
            for target in self._targets(before):
                for key, more in target.scaled(before, pull(target.norms(before), target.strength)).items():
                    arrays[places[key]] = np.asarray(arrays[places[key]], np.float32) + more
            after = learner.apply(state, arrays)
            small = np.float32(self.zero_below)
            for w in after.part("weights").values():  # just made, and nobody else has them: no copy
                np.multiply(w, np.abs(w) >= small, out=w)
            return after
        after = learner.apply(state, arrays)
        weights, rule = after.part("weights"), learner.update
        reach = rule.rate / (1 - rule.momentum) if rule.rule == "momentum" else rule.rate
        for target in self._targets(weights):
            weights |= target.scaled(weights, what_is_left(target.norms(weights), reach * target.strength))
        return after.with_part("weights", weights)

    def travels(self, state: State, /) -> dict[str, str]:
        """Return the names of what travels, and of what kind it is."""
        return self.classifier.travels(state)

    def written(self, state: State, /) -> Mapping[str, NDArray[Any]]:
        """Return the whole state as arrays."""
        return state_arrays(state)

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> State:
        """Return the state that was written.

        Raises:
            ValueError: It is the state of another net, update rule or method.
        """
        state = state_of(arrays)
        masks = {name: np.asarray(mask, bool) for name, mask in state.part("masks").items()}
        plain = State({n: a for n, a in state.arrays.items() if not n.startswith("masks/")}, state.numbers)
        back = self.classifier.restored(state_arrays(plain), seed)
        weights = back.part("weights")
        odd = [n for n, mask in masks.items() if n not in weights or weights[n].shape != mask.shape]
        if odd or (self._stage(back) == "tuning" and not masks):
            msg = f"state: masks do not fit the net: {odd[0]!r} has no such weights" if odd else "state: masks are gone"
            raise ValueError(msg)
        return back.with_part("masks", masks)

    # --- from one stage to the next ---

    @property
    def learning_epochs(self) -> int:
        """Passes with group lasso."""
        return self.epochs or max(1, round(self.classifier.epochs / 2))

    @property
    def last_epochs(self) -> int:
        """Passes of tuning."""
        return self.tuning_epochs or max(1, round(self.classifier.epochs / 3))

    def steps(self, num_images: int) -> int:
        """Return how many steps `fit` takes with group lasso on so many training images."""
        return self.learning_epochs * max(1, num_images // min(self.classifier.batch_size, num_images))

    def begin(self, state: State, steps: int) -> State:
        """Return a trained baseline about to learn with group lasso; what the optimizer remembered is forgotten.

        Args:
            state: This method's or its classifier's.
            steps: How many there will be, by which the rate falls; `steps` tells them.
        """
        check.positive_integer(steps=steps)
        fresh = State({}, {"step": 0, "stage": "learning", "learning steps": steps})
        return self._carried(fresh, state)

    def cut(self, state: State) -> Cuts:
        """Return which groups of the state's weights are gone, and how clearly; the state stays as it is."""
        return cut_groups(graph_of(self.classifier), state.part("weights"), self.penalties, self.threshold)

    def prune(self, state: State) -> State:
        """Return the state without the groups that are gone, about to be tuned; its masks keep them away.

        The moving moments behind a filter that is gone become those of what it always says now: its BatchNorm then says
        its shift, which is the mean of what it said before, at once and not after hundreds of steps of tuning.
        """
        cuts = self.cut(state)
        fresh = State({}, {"step": 0, "stage": "tuning"})
        weights = cuts.masked(state.part("weights"))
        moments = still_moments(graph_of(self.classifier), weights, state.part("statistics"))
        return self._carried(
            fresh, state.with_part("weights", weights).with_part("statistics", moments)
        ).with_part("masks", cuts.masks)  # fmt: skip

    def penalty(self, state: State) -> float:
        """Return the sum of lambda R_g over kinds and layers."""
        weights = state.part("weights")
        return sum(one.strength * float(one.norms(weights).sum(dtype=np.float64)) for one in self._targets(weights))

    def _carried(self, fresh: State, state: State) -> State:
        weights = state.part("weights")
        fresh = fresh.with_part("weights", weights).with_part("statistics", state.part("statistics"))
        return fresh.with_part("optimizer", self.classifier.update.memory(weights))

    def _stage(self, state: State) -> str:
        stage = str(state.numbers.get("stage", "baseline"))
        check.one_of(STAGES, stage=stage)
        return stage

    def _slowed(self, factor: float) -> Classifier:
        rule = self.classifier.update
        return replace(self.classifier, update=replace(rule, rate=rule.rate * factor))

    def _targets(self, weights: Mapping[str, NDArray[Any]]) -> tuple[Target, ...]:
        return _targets_of(self.classifier, self.penalties, tuple(weights))


@lru_cache(maxsize=16)
def _targets_of(
    classifier: Classifier, penalties: tuple[GroupLasso, ...], names: tuple[str, ...]
) -> tuple[Target, ...]:
    graph = graph_of(classifier)
    return tuple(target for lasso in penalties for target in lasso.targets(graph, names))
