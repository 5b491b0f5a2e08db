"""Plain supervised classification by cross entropy: the method whose gradients TernGrad makes ternary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.backbones import Architecture, backbone, check_backbone, initial_weights, is_seed, usual_shape
from wirelesslab.vision.data import Data
from wirelesslab.vision.method import Array, Batch, Epoch, Fit, Gradients, State, Trainable, state_arrays, state_of
from wirelesslab.vision.metrics import accuracy_scores, mistakes
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.saving import Checkpoint, Keeping, load_checkpoint, save_checkpoint
from wirelesslab.vision.update_rules import UpdateRule


@dataclass(frozen=True, kw_only=True)
class Classifier:
    """A net that learns classes. Implements `Trainable`.

    BatchNorm: a worker's gradients use the moments of its own batch; the moving moments after the batch travel beside
    the gradients as float32 and all workers go on with their mean (our choice). Weight decay is added in `apply`,
    after averaging. There is no augmentation; `gradients` draws from its `rng` for layers of Dropout, if the
    backbone has any, and for nothing else.

    Attributes:
        backbone: A name of `backbones.backbone`, or an `Architecture`, such as `Architecture.of` a Keras model.
        num_classes: Labels.
        shape: h, w, c of images; the backbone's usual one when None.
        update: How weights follow gradients.
        batch_size: Images per step in `fit`.
        epochs: Passes over the training images in `fit`.
    """

    backbone: str | Architecture = "digits"
    num_classes: int = 10
    shape: tuple[int, int, int] | None = None
    update: UpdateRule = UpdateRule()
    batch_size: int = 64
    epochs: int = 20

    def __post_init__(self) -> None:
        check_backbone(self.backbone)
        check.positive_integer(num_classes=self.num_classes, batch_size=self.batch_size, epochs=self.epochs)

    def build(self, seed: int, /) -> State:
        """Return the initial state."""
        model = self._net()[0]
        weights = initial_weights(model, seed)
        moments = {
            v.path: np.full(tuple(v.shape), float("variance" in v.path), np.float32)
            for v in model.non_trainable_variables
            if not is_seed(v)
        }
        state = State({}, {"step": 0}).with_part("weights", weights).with_part("statistics", moments)
        return state.with_part("optimizer", self.update.memory(weights))

    def gradients(self, state: State, batch: Batch, rng: np.random.Generator, /) -> Gradients:
        """Return the gradients of the batch's mean cross entropy, and the moving moments after it."""
        images = self._checked(batch[0])
        labels = np.asarray(batch[1], np.int32)
        if len(labels) != len(images) or not len(labels) or labels.min() < 0 or labels.max() >= self.num_classes:
            msg = f"batch: got {len(images)} images with {len(labels)} labels, expected one of 0 to "
            msg += f"{self.num_classes - 1} for each of at least one image"
            raise ValueError(msg)
        model, learn, _ = self._net()
        seeds = [rng.integers(0, 2**30, tuple(v.shape)) for v in model.non_trainable_variables if is_seed(v)]
        loss, slopes, moments = learn(*self._values(state), seeds, images, labels)
        return Gradients(tuple(g.numpy() for g in slopes), float(loss), tuple(m.numpy() for m in moments))

    def apply(self, state: State, gradients: Sequence[Array], /) -> State:
        """Return the state one step later."""
        weights, moments, step = state.part("weights"), state.part("statistics"), int(state.numbers["step"])
        if len(gradients) != len(weights) + len(moments):
            msg = f"gradients: got {len(gradients)}, expected {len(weights)} and {len(moments)} statistics"
            raise ValueError(msg)
        arrays = list(gradients)
        fresh, memory = self.update.step(weights, state.part("optimizer"), arrays[: len(weights)], step)
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
        if shapes[0] != shapes[1]:
            odd = sorted(n for n in {*shapes[0], *shapes[1]} if shapes[0].get(n) != shapes[1].get(n))
            msg = f"state: got another architecture or update rule than {self.backbone!r}; {odd[0]!r} does not fit"
            raise ValueError(msg)
        return State({name: state.arrays[name] for name in like.arrays}, state.numbers)  # in this net's order

    def fit(self, state: State, data: Data, seed: int, /, *, keep: Keeping | None = None) -> Fit:
        """Train on "train" for the epochs; note loss and validation scores after each.

        Args:
            state: Where to start.
            data: With a split "train"; "validation" is judged after each epoch.
            seed: Of the order of images.
            keep: Where to write checkpoints; when there is one already, training goes on from it, and comes to the
                same bits as if it had never stopped. None writes nothing.

        Raises:
            WeightFileError: The checkpoint that is there is damaged or of another training.
        """
        return fit_epochs(self, state, data, seed, epochs=self.epochs, batch_size=self.batch_size, keep=keep)

    def logits(self, state: State, images: Array) -> Array:
        """Return logits, shape (n, classes), with the moving moments."""
        images, net = self._checked(images), self._net()[2]
        parts = [net(*self._values(state), images[i : i + 256]).numpy() for i in range(0, len(images), 256)]
        return np.concatenate([np.zeros((0, self.num_classes), np.float32), *parts])

    def predict(self, state: State, images: Array, /) -> NDArray[np.int64]:
        """Return labels, shape (n,)."""
        return np.asarray(self.logits(state, images).argmax(axis=1), np.int64)

    def evaluate(self, state: State, data: Data, /) -> dict[str, float]:
        """Return the mean "cross entropy" in nats and `metrics.accuracy_scores`: accuracy, its interval and counts."""
        check.positive_integer(images=len(data))
        logits = self.logits(state, data.images).astype(np.float64)
        top = logits.max(axis=1, keepdims=True)
        logs = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        nats = -logs[np.arange(len(data)), data.labels]
        count = mistakes(logits.argmax(axis=1), data.labels)
        return {**accuracy_scores(count), "cross entropy": float(nats.mean())}

    def operations(self, state: State, batch: int, /) -> int:  # noqa: ARG002
        """Return multiply-adds of learning from `batch` images: three times forward."""
        check.positive_integer(batch=batch)
        return 3 * batch * sum(forward_macs(self._net()[0]).values())

    def model(self) -> Any:
        """Return the Keras net without trained weights: to look at, or to put a state's weights into."""
        return backbone(self.backbone, num_classes=self.num_classes, shape=self.shape)

    def net_values(self, state: State) -> dict[str, Array]:
        """Return a state's weights and moving moments by the names of the net's variables.

        Raises:
            ValueError: The state is of another net; what is missing, too much, or of another shape is named.
        """
        found = state.part("weights") | state.part("statistics")
        wanted = {v.path: tuple(v.shape) for v in self._net()[0].variables if not is_seed(v)}
        odd = {
            "missing": [n for n in wanted if n not in found], "extra": [n for n in found if n not in wanted],
            "of another shape": [n for n, shape in wanted.items() if n in found and found[n].shape != shape],
        }  # fmt: skip
        if any(odd.values()):
            said = [f"{what} {_some(names)}" for what, names in odd.items() if names]
            msg = f"state: got one of another net than {self.backbone!r}: {'; '.join(said)}; give the state with the "
            raise ValueError(msg + "classifier that built or trained it")
        return {name: found[name] for name in wanted}

    def _net(self) -> tuple[Any, Any, Any]:
        return _compiled(self.backbone, self.num_classes, self.shape)

    def _checked(self, images: Any) -> Array:
        wanted = self.shape or usual_shape(self.backbone)
        return check.array(
            images, (None, *wanted), "n, h, w, c", name="images", because=f"set by {self.backbone!r}"
        ).astype(np.float32, copy=False)

    def _values(self, state: State) -> tuple[list[Any], list[Any]]:
        return list(state.part("weights").values()), list(state.part("statistics").values())


def _some(names: Sequence[str]) -> str:
    """Return the first of many names, and how many more there are."""
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more


def fit_epochs(
    method: Trainable, state: State, data: Data, seed: int, *, epochs: int, batch_size: int,
    purpose: tuple[str, ...] = (), keep: Keeping | None = None,
) -> Fit:  # fmt: skip
    """Train by batches in random order; note loss and validation scores after each epoch.

    Args:
        method: What learns.
        state: Where to start.
        data: With a split "train"; "validation" is judged after each epoch.
        seed: Of the order of images.
        epochs: Passes over the training images.
        batch_size: Images per step; what does not fill a batch at an epoch's end is left out of it.
        purpose: Goes before the names of random streams, so that two trainings of one seed differ in order.
        keep: As in `Classifier.fit`.

    Raises:
        WeightFileError: The checkpoint that is there is damaged or of another training.
    """
    train = data.only("train")
    check.positive_integer(training_images=len(train))
    size = min(batch_size, len(train))
    run: dict[str, Any] = {}
    if keep is not None:
        run = {"seed": seed} | {name: data.only(name).digest() for name in data.splits if name != "test"}
    now = Checkpoint(state, cursor={"epoch": 0, "place": 0})
    if keep is not None and keep.exists:
        now = load_checkpoint(keep.path, method, run)
    state, history, losses = now.state, list(now.history), list(now.losses)
    for epoch in range(now.cursor["epoch"], epochs):
        order = stream(seed, *purpose, "order", epoch).permutation(len(train))
        begin = now.cursor["place"] if epoch == now.cursor["epoch"] else 0
        for first in range(begin, len(train) - size + 1, size):
            step = int(state.numbers["step"])
            if keep is not None and step % keep.every_steps == 0 and step:
                cursor = {"epoch": epoch, "place": first}
                now = Checkpoint(state, {}, cursor, tuple(history), tuple(losses))
                save_checkpoint(keep.path, now, method, run)
            places = order[first : first + size]
            found = method.gradients(
                state, (train.images[places], train.labels[places]), stream(seed, *purpose, "step", step)
            )
            state = method.apply(state, found)
            losses.append(found.loss)
        scores, losses = {"loss": float(np.mean(losses))}, []
        if len(data.splits.get("validation", ())):
            judged = method.evaluate(state, data.only("validation"))
            scores |= {f"validation {name}": judged[name] for name in ("accuracy", "right", "images")}
        history.append(Epoch(int(state.numbers["step"]), scores))
    if keep is not None:
        save_checkpoint(keep.path, Checkpoint(state, {}, {"epoch": epochs, "place": 0}, tuple(history)), method, run)
    return Fit(state, tuple(history))


@lru_cache(maxsize=8)
def _compiled(name: str | Architecture, num_classes: int, shape: tuple[int, int, int] | None) -> tuple[Any, Any, Any]:
    """Return model, gradients and logits as functions of weights; the model's own variables are never used."""
    from wirelesslab.tensorflow import tf

    model = backbone(name, num_classes=num_classes, shape=shape)
    seeded = [is_seed(v) for v in model.non_trainable_variables]
    still = [tf.zeros(v.shape, v.dtype) for v in model.non_trainable_variables if is_seed(v)]

    def others(moments: Any, seeds: Any) -> list[Any]:
        """Return what is not trained, in the model's order."""
        moments, seeds = iter(moments), iter(seeds)
        return [next(seeds if seed else moments) for seed in seeded]

    def slopes(weights: Any, moments: Any, seeds: Any, images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, moved = model.stateless_call(weights, others(moments, seeds), images, training=True)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        moments = [value for value, seed in zip(moved, seeded, strict=True) if not seed]
        return loss, tape.gradient(loss, weights), moments

    def seen(weights: Any, moments: Any, images: Any) -> Any:
        return model.stateless_call(weights, others(moments, still), images, training=False)[0]

    return model, tf.function(slopes, reduce_retracing=True), tf.function(seen, reduce_retracing=True)
