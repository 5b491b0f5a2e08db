"""How a backbone learns from base classes: rotations as a pretext, then (manifold) mixup, as S2M2 does.

Every picture of a batch is turned by zero to three quarters, and the net says class and turn. After a share of the
steps pictures, or what a stage makes of them, are mixed in pairs, and targets with them. Widths, number of steps, batch
and rates are our choice, for one core: that is why the whole recipe goes into every result (`Pretraining.recipe`).

References:
    Mangla et al., "Charting the right manifold: manifold mixup for few-shot learning", WACV 2020 (S2M2).
    Verma et al., "Manifold mixup", ICML 2019.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.backbones import initial_weights
from wirelesslab.vision.data import Data
from wirelesslab.vision.few_shot.nets import Backbone
from wirelesslab.vision.fitting import fit_epochs
from wirelesslab.vision.method import Array, Batch, Fit, Gradients, State, state_arrays, state_of
from wirelesslab.vision.metrics import accuracy_scores, mistakes
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.saving import Keeping
from wirelesslab.vision.update_rules import UpdateRule

TURNS = 4
MIXES = ("none", "input", "manifold")


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """A backbone with a head for classes and one for turns, and how they learn. Implements `Trainable`.

    The rate falls with the steps as half a cosine, to a hundredth.

    Attributes:
        backbone: The net.
        num_classes: Base classes.
        rotation_weight: Of the loss of turns, beside the loss of classes; 0 turns no picture.
        mix: What is mixed: "none", "input" (pictures) or "manifold" (in front of one of the four stages, drawn anew
            for each batch).
        mix_alpha: Shares are drawn from Beta(alpha, alpha).
        mix_from: Share of the steps after which mixing begins.
        update: How weights follow gradients.
        batch_size: Pictures per step.
        epochs: Passes over the training pictures.
    """

    backbone: Backbone = Backbone()
    num_classes: int = 48
    rotation_weight: float = 0.5
    mix: Literal["none", "input", "manifold"] = "manifold"
    mix_alpha: float = 2.0
    mix_from: float = 0.6
    update: UpdateRule = UpdateRule(rate=0.05, weight_decay=5e-4)
    batch_size: int = 64
    epochs: int = 20

    def __post_init__(self) -> None:
        check.positive_integer(num_classes=self.num_classes, batch_size=self.batch_size, epochs=self.epochs)
        check.one_of(MIXES, mix=self.mix)
        check.positive(mix_alpha=self.mix_alpha)
        check.within(0, 1, mix_from=self.mix_from)
        check.within(0, 1e3, rotation_weight=self.rotation_weight)
        height, width, _ = self.backbone.shape
        if self.rotation_weight and height != width:
            msg = f"shape: got images of {height} x {width}, expected squares, or a rotation_weight of 0"
            raise ValueError(msg)

    def recipe(self) -> dict[str, Any]:
        """Return all that says how the backbone is trained, in values of JSON."""
        return {**asdict(self), "dimension": self.backbone.dimension, "rate": "half a cosine, to a hundredth"}

    def build(self, seed: int, /) -> State:
        """Return the initial state."""
        stages = _compiled(self.backbone)[0]
        weights = {name: array for stage in stages for name, array in initial_weights(stage, seed).items()}
        for head, count in (("classes", self.num_classes), ("turns", TURNS)):
            drawn = stream(seed, "weights", head).standard_normal((self.backbone.dimension, count), dtype=np.float32)
            weights |= {
                f"{head}/kernel": drawn / np.float32(np.sqrt(self.backbone.dimension)),
                f"{head}/bias": np.zeros(count, np.float32),
            }
        moments = {
            v.path: np.full(tuple(v.shape), float("variance" in v.path), np.float32)
            for stage in stages
            for v in stage.non_trainable_variables
        }
        state = State({}, {"step": 0, "steps": 0}).with_part("weights", weights).with_part("statistics", moments)
        return state.with_part("optimizer", self.update.memory(weights))

    def gradients(self, state: State, batch: Batch, rng: np.random.Generator, /) -> Gradients:
        """Return the gradients of the loss of classes and turns; turns, pairs and shares are drawn from `rng`."""
        images, labels = self._checked(batch[0]), check.array(batch[1], (None,), "n", name="labels")
        if len(labels) != len(images) or not len(labels) or labels.min() < 0 or labels.max() >= self.num_classes:
            msg = f"batch: got {len(images)} images with {len(labels)} labels, expected one of 0 to "
            msg += f"{self.num_classes - 1} for each of at least one image"
            raise ValueError(msg)
        turns = rng.integers(0, TURNS, len(images)) if self.rotation_weight else np.zeros(len(images), np.int64)
        pairs, shares = rng.permutation(len(images)), np.ones(4, np.float32)
        drawn, place = rng.beta(self.mix_alpha, self.mix_alpha), int(rng.integers(4))
        begun = int(state.numbers["step"]) >= self.mix_from * int(state.numbers["steps"])
        if self.mix != "none" and begun:
            shares[place if self.mix == "manifold" else 0] = drawn
        learn = _compiled(self.backbone)[1]
        loss, slopes, moments = learn(
            list(state.part("weights").values()), list(state.part("statistics").values()), turned(images, turns),
            np.asarray(labels, np.int32), turns.astype(np.int32), pairs.astype(np.int32), shares,
            np.float32(self.rotation_weight),
        )  # fmt: skip
        return Gradients(tuple(g.numpy() for g in slopes), float(loss), tuple(m.numpy() for m in moments))

    def apply(self, state: State, gradients: Sequence[Array], /) -> State:
        """Return the state one step later."""
        weights, moments, step = state.part("weights"), state.part("statistics"), int(state.numbers["step"])
        if len(gradients) != len(weights) + len(moments):
            msg = f"gradients: got {len(gradients)}, expected {len(weights)} and {len(moments)} statistics"
            raise ValueError(msg)
        arrays = list(gradients)
        share = step / max(1, int(state.numbers["steps"]))
        factor = max(0.01, 0.5 + 0.5 * float(np.cos(np.pi * min(1.0, share)))) if state.numbers["steps"] else 1.0
        fresh, memory = self.update.step(
            weights, state.part("optimizer"), arrays[: len(weights)], step, rate_factor=factor
        )
        moved = {n: np.asarray(a, np.float32) for n, a in zip(moments, arrays[len(weights) :], strict=True)}
        after = State({}, {**state.numbers, "step": step + 1}).with_part("weights", fresh)
        return after.with_part("statistics", moved).with_part("optimizer", memory)

    def travels(self, state: State, /) -> dict[str, str]:
        """Return the names of what travels, and of what kind it is."""
        kinds = dict.fromkeys(state.part("weights"), "gradient")
        return kinds | dict.fromkeys(state.part("statistics"), "statistic")

    def written(self, state: State, /) -> Mapping[str, NDArray[Any]]:
        """Return the whole state as arrays."""
        return state_arrays(state)

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> State:
        """Return the state that was written.

        Raises:
            ValueError: It is the state of another net or update rule.
        """
        state, like = state_of(arrays), self.build(seed)
        shapes = [{n: (a.shape, a.dtype) for n, a in s.arrays.items()} for s in (state, like)]
        odd = sorted(n for n in {*shapes[0], *shapes[1]} if shapes[0].get(n) != shapes[1].get(n))
        if odd:
            msg = f"state: got another net or update rule than {self!r}; {odd[0]!r} does not fit"
            raise ValueError(msg)
        return State({name: state.arrays[name] for name in like.arrays}, state.numbers)

    def fit(self, state: State, data: Data, seed: int, /, *, keep: Keeping | None = None) -> Fit:
        """Train on the split "train", whose labels are 0 to `num_classes` - 1; no other split is looked at.

        Args:
            state: Where to start.
            data: Base pictures.
            seed: Of order, turns and mixing.
            keep: As in `Classifier.fit`: a training that was stopped comes to the same bits as one that was not.

        Raises:
            ValueError: The state's training has ended: its rate has fallen and its pictures are mixed.
        """
        if 0 < int(state.numbers["steps"]) <= int(state.numbers["step"]):
            msg = f"state: got one whose training ended at step {state.numbers['step']}, expected a fresh one; start "
            raise ValueError(msg + "from build(seed)")
        base = data.only("train")
        base = replace(base, splits={"train": np.arange(len(base))})
        if not int(state.numbers["steps"]):
            steps = self.epochs * (len(base) // min(self.batch_size, max(1, len(base))))
            state = State(state.arrays, {**state.numbers, "steps": int(state.numbers["step"]) + steps})
        return fit_epochs(self, state, base, seed, epochs=self.epochs, batch_size=self.batch_size, keep=keep)

    def features(self, state: State, images: Array) -> Array:
        """Return features, shape (n, dimension), never negative, with the moving moments."""
        images, see = self._checked(images), _compiled(self.backbone)[2]
        values = [v for n, v in state.part("weights").items() if n.startswith("stage_")]
        moments = list(state.part("statistics").values())
        parts = [see(values, moments, images[i : i + 256]).numpy() for i in range(0, len(images), 256)]
        return np.concatenate([np.zeros((0, self.backbone.dimension), np.float32), *parts])

    def predict(self, state: State, images: Array, /) -> NDArray[np.int64]:
        """Return base classes, shape (n,)."""
        logits = self.features(state, images) @ state.arrays["weights/classes/kernel"]
        return np.asarray((logits + state.arrays["weights/classes/bias"]).argmax(axis=1), np.int64)

    def evaluate(self, state: State, data: Data, /) -> dict[str, float]:
        """Return `metrics.accuracy_scores` among base classes."""
        return accuracy_scores(mistakes(self.predict(state, data.images), data.labels))

    def operations(self, state: State, batch: int, /) -> int:  # noqa: ARG002
        """Return multiply-adds of learning from `batch` images: three times forward, heads included."""
        check.positive_integer(batch=batch)
        return 3 * batch * (self.feature_macs() + self.backbone.dimension * (self.num_classes + TURNS))

    def query_macs(self, state: State, /) -> int:  # noqa: ARG002
        """Return multiply-adds of answering one image: forward, with the head of classes alone."""
        return self.feature_macs() + self.backbone.dimension * self.num_classes

    def feature_macs(self) -> int:
        """Return multiply-adds of one image's features."""
        return sum(sum(forward_macs(stage).values()) for stage in _compiled(self.backbone)[0])

    def _checked(self, images: Any) -> Array:
        return check.array(
            images, (None, *self.backbone.shape), "n, h, w, c", name="images", because="set by the backbone"
        ).astype(np.float32, copy=False)  # fmt: skip


def turned(images: Array, turns: NDArray[np.int64]) -> Array:
    """Return square images (n, s, s, c), each turned by so many quarters against the clock, shape (n,)."""
    made = np.array(images)
    for quarter in range(1, TURNS):
        made[turns == quarter] = np.rot90(images[turns == quarter], quarter, axes=(1, 2))
    return made


@lru_cache(maxsize=8)
def _compiled(backbone: Backbone) -> tuple[list[Any], Any, Any]:
    """Return stages, gradients and features as functions of weights; the stages' own variables are never used."""
    from wirelesslab.tensorflow import tf

    stages = backbone.stages()
    trained = [len(stage.trainable_variables) for stage in stages]
    still = [len(stage.non_trainable_variables) for stage in stages]

    def run(weights: Any, moments: Any, x: Any, training: bool, mixed: Any = None) -> Any:
        moved: list[Any] = []
        at = past = 0
        for number, stage in enumerate(stages):
            if mixed is not None:
                pairs, shares = mixed
                x = shares[number] * x + (1 - shares[number]) * tf.gather(x, pairs)
            x, fresh = stage.stateless_call(
                weights[at : at + trained[number]], moments[past : past + still[number]], x, training=training
            )
            moved, at, past = moved + list(fresh), at + trained[number], past + still[number]
        return x, moved

    def slopes(
        weights: Any, moments: Any, images: Any, labels: Any, turns: Any, pairs: Any, shares: Any, weight: Any
    ) -> Any:
        nats = tf.nn.sparse_softmax_cross_entropy_with_logits
        with tf.GradientTape() as tape:
            tape.watch(weights)
            x, moved = run(weights, moments, images, True, (pairs, shares))
            share, loss = tf.reduce_prod(shares), 0.0
            for targets, kernel, bias, times in ((labels, *weights[-4:-2], 1.0), (turns, *weights[-2:], weight)):
                logits = x @ kernel + bias
                both = share * nats(targets, logits) + (1 - share) * nats(tf.gather(targets, pairs), logits)
                loss += times * tf.reduce_mean(both)
        return loss, tape.gradient(loss, weights), moved

    def seen(weights: Any, moments: Any, images: Any) -> Any:
        return run(weights, moments, images, False)[0]

    return stages, tf.function(slopes, reduce_retracing=True), tf.function(seen, reduce_retracing=True)
