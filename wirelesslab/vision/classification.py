"""Plain supervised classification by cross entropy: the method whose gradients TernGrad makes ternary."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.backbones import Architecture, backbone, check_backbone, usual_shape
from wirelesslab.vision.data import Data
from wirelesslab.vision.fitting import fit_epochs
from wirelesslab.vision.keras_nets import Net, initial_state, restored_as, stepped, travelling, values_of
from wirelesslab.vision.method import Array, Batch, Fit, Gradients, State, state_arrays
from wirelesslab.vision.metrics import accuracy_scores, mistakes
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.saving import Keeping
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
        return initial_state(self._net()[0].model, self.update, seed)

    def gradients(self, state: State, batch: Batch, rng: np.random.Generator, /) -> Gradients:
        """Return the gradients of the batch's mean cross entropy, and the moving moments after it."""
        images = self._checked(batch[0])
        labels = np.asarray(batch[1], np.int32)
        if len(labels) != len(images) or not len(labels) or labels.min() < 0 or labels.max() >= self.num_classes:
            msg = f"batch: got {len(images)} images with {len(labels)} labels, expected one of 0 to "
            msg += f"{self.num_classes - 1} for each of at least one image"
            raise ValueError(msg)
        net, learn, _ = self._net()
        loss, slopes, moments = learn(*self._values(state), net.seeds(rng), images, labels)
        return Gradients(tuple(g.numpy() for g in slopes), float(loss), tuple(m.numpy() for m in moments))

    def apply(self, state: State, gradients: Sequence[Array], /) -> State:
        """Return the state one step later."""
        return stepped(self.update, state, gradients)

    def travels(self, state: State, /) -> dict[str, str]:
        """Return the names of what travels, and of what kind it is."""
        return travelling(state)

    def written(self, state: State, /) -> Mapping[str, NDArray[Any]]:
        """Return the whole state as arrays."""
        return state_arrays(state)

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> State:
        """Return the state that was written.

        Raises:
            ValueError: It is the state of another net or update rule.
        """
        return restored_as(arrays, self.build(seed), repr(self.backbone))

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

    def operations(self, state: State, batch: int, /) -> int:
        """Return multiply-adds of learning from `batch` images: three times forward."""
        check.positive_integer(batch=batch)
        return 3 * batch * self.query_macs(state)

    def query_macs(self, state: State, /) -> int:  # noqa: ARG002
        """Return multiply-adds of answering one image: forward."""
        return sum(forward_macs(self._net()[0].model).values())

    def model(self) -> Any:
        """Return the Keras net without trained weights: to look at, or to put a state's weights into."""
        return backbone(self.backbone, num_classes=self.num_classes, shape=self.shape)

    def net_values(self, state: State) -> dict[str, Array]:
        """Return a state's weights and moving moments by the names of the net's variables.

        Raises:
            ValueError: The state is of another net; what is missing, too much, or of another shape is named.
        """
        return values_of(self._net()[0].model, state, repr(self.backbone))

    def _net(self) -> tuple[Net, Any, Any]:
        return _compiled(self.backbone, self.num_classes, self.shape)

    def _checked(self, images: Any) -> Array:
        wanted = self.shape or usual_shape(self.backbone)
        return check.array(
            images, (None, *wanted), "n, h, w, c", name="images", because=f"set by {self.backbone!r}"
        ).astype(np.float32, copy=False)

    def _values(self, state: State) -> tuple[list[Any], list[Any]]:
        return list(state.part("weights").values()), list(state.part("statistics").values())


@lru_cache(maxsize=8)
def _compiled(name: str | Architecture, num_classes: int, shape: tuple[int, int, int] | None) -> tuple[Net, Any, Any]:
    """Return the net, and gradients and logits as functions of weights; the model's own variables are never used."""
    from wirelesslab.tensorflow import tf

    net = Net(backbone(name, num_classes=num_classes, shape=shape))

    def slopes(weights: Any, moments: Any, seeds: Any, images: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(weights)
            logits, moved = net.learning(weights, moments, seeds, images)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        return loss, tape.gradient(loss, weights), moved

    def seen(weights: Any, moments: Any, images: Any) -> Any:  # its own for each net: TensorFlow counts its tracings
        return net.seeing(weights, moments, images)

    return net, tf.function(slopes, reduce_retracing=True), tf.function(seen, reduce_retracing=True)
