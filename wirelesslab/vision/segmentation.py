"""Segmentation: a net that learns a class for each pixel, or each point of a cloud, with or without center collapse."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.backbones import is_seed
from wirelesslab.vision.data import Data
from wirelesslab.vision.fitting import fit_epochs
from wirelesslab.vision.keras_nets import (
    WEIGHTS,
    Net,
    filled,
    initial_state,
    restored_as,
    stepped,
    travelling,
    values_of,
)
from wirelesslab.vision.method import Array, Batch, Fit, Gradients, State, state_arrays
from wirelesslab.vision.neural_collapse.collapse import CenterCollapse
from wirelesslab.vision.neural_collapse.geometry import Geometry, moments_of
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.saving import Keeping
from wirelesslab.vision.schedules import Schedule
from wirelesslab.vision.segmentation_losses import ClassCounts, Counted, CrossEntropy, PixelLoss
from wirelesslab.vision.segmentation_metrics import IGNORED, PixelCounts, checked_labels, segmentation_scores
from wirelesslab.vision.segmentation_nets import INPUTS, NETS, check_sides, segmentation_net
from wirelesslab.vision.update_rules import UpdateRule

TRUTH = "pixel_labels"  # of `Data.truth`: uint8, shape (n, h, w), 255 where nobody knows
CHUNK = 64  # images looked at together


@dataclass(frozen=True, kw_only=True)
class Segmenter:
    """A net that learns pixels' classes. Implements `Trainable`.

    Its data has `truth["pixel_labels"]`, whole numbers (n, h, w), 255 where a pixel is not labelled. Counts of classes
    come from the split "train" alone: `fit` puts them into the state; who trains otherwise (workers over a network)
    gives them as `counts`, or calls `counted`. Each worker takes the class centers of its own batch. What the branch of
    center collapse learns is in the state's part "branch", beside "weights", which are those of a net without it.

    Attributes:
        net: A name of `segmentation_nets.segmentation_net`.
        num_classes: K, at most 255.
        shape: h, w, c of images; the net's usual one when None.
        loss: Of pixels, see `segmentation_losses`.
        collapse: The regularizer of class centers, or None.
        update: How weights follow gradients.
        schedule: How the rate falls; other than constant it needs `steps`.
        batch_size: Images per step in `fit`.
        steps: Steps of `fit`; None when epochs are said.
        epochs: Passes over the training images in `fit`; None when steps are said.
        judge_every: Epochs between two looks at validation images in `fit`; the last is always looked at.
        widths: Channels of the net's stages; its usual ones when None.
        features: Dimensions of a pixel's feature, d.
        counts: Of the training split, where `fit` does not see it.
    """

    net: Literal["unet", "deeplab", "points"] = "unet"
    num_classes: int = 10
    shape: tuple[int, int, int] | None = None
    loss: PixelLoss = CrossEntropy()
    collapse: CenterCollapse | None = None
    update: UpdateRule = UpdateRule(rule="adam", rate=3e-3)
    schedule: Schedule = Schedule()
    batch_size: int = 16
    steps: int | None = 700
    epochs: int | None = None
    judge_every: int = 5
    widths: tuple[int, int, int] | None = None
    features: int = 32
    counts: ClassCounts | None = None

    def __post_init__(self) -> None:
        check.one_of(NETS, net=self.net)
        check.positive_integer(
            num_classes=self.num_classes, batch_size=self.batch_size, judge_every=self.judge_every,
            features=self.features,
        )  # fmt: skip
        check.within(2, 255, num_classes=self.num_classes)
        check_sides(self.net, self.sides)
        if (self.steps is None) == (self.epochs is None):
            msg = f"steps and epochs: got {self.steps} and {self.epochs}, expected one of them, and the other None"
            raise ValueError(msg)
        check.positive_integer(**({"epochs": self.epochs} if self.steps is None else {"steps": self.steps}))
        if self.schedule.needs_steps and self.steps is None:
            msg = f"schedule: got {self.schedule.kind!r} with epochs, expected steps, whose number it depends on"
            raise ValueError(msg)
        if self.collapse is not None:
            self.collapse.check_fits(self.features, self.num_classes)
        if self.counts is not None and len(self.counts.pixels) != self.num_classes:
            msg = f"counts: got {len(self.counts.pixels)} classes, expected {self.num_classes}"
            raise ValueError(msg)

    # --- a method ---

    def build(self, seed: int, /) -> State:
        """Return the initial state; a net's weights are the same with and without center collapse."""
        more = {} if self.collapse is None else self.collapse.learned(self.features, self.num_classes, seed)
        state = initial_state(self._net()[0].model, self.update, seed, {"branch": more} if more else None)
        counts = self.counts or ClassCounts((0,) * self.num_classes, (0,) * self.num_classes)
        return self._with_counts(state, counts)

    def counted(self, state: State, labels: NDArray[Any]) -> State:
        """Return the state with the classes of a training split's masks counted, shape (n, h, w)."""
        return self._with_counts(state, ClassCounts.of(labels, self.num_classes))

    def fit(self, state: State, data: Data, seed: int, /, *, keep: Keeping | None = None) -> Fit:
        """Train on "train"; note loss and validation scores on the way.

        Images without a labelled pixel give nothing: they are left out of training.

        Args:
            state: Where to start; a state that is there already goes on to `steps`, with the class counts of its first
                training: say `counted` for other data.
            data: With a split "train" and masks; "validation" is judged.
            seed: Of the order of images.
            keep: Where to write checkpoints; when there is one already, training goes on from it, and comes to the
                same bits as if it had never stopped. None writes nothing.

        Raises:
            ValueError: There are no masks, or labels outside the classes, or no labelled pixel.
            WeightFileError: The checkpoint that is there is damaged or of another training.
        """
        train = data.only("train")
        masks = self._masks(train)
        if self.counts is None and not state.part("counts")["pixels"].any():
            state = self.counted(state, masks)
        used = data.splits["train"][(masks != IGNORED).any(axis=(1, 2))]
        check.positive_integer(training_images_with_labelled_pixels=len(used))
        data = replace(data, splits={**data.splits, "train": used})
        size = min(self.batch_size, len(used))
        epochs = self.epochs or -(-int(self.steps or 1) // (len(used) // size))
        return fit_epochs(
            self, state, data, seed, epochs=epochs, batch_size=size, keep=keep, truth=TRUTH, last_step=self.steps,
            noted=("mIoU", "cross entropy"), judge_every=self.judge_every,
        )  # fmt: skip

    def logits(self, state: State, images: Array) -> Array:
        """Return logits, shape (n, h, w, K), with the moving moments."""
        return self._whole(state, images, 0, (*self.sides[:2], self.num_classes))

    def features_of(self, state: State, images: Array) -> Array:
        """Return what the last 1 x 1 classifier reads, shape (n, h', w', d); DeepLab's is of a quarter of the size."""
        return self._whole(state, images, 1, self._feature_shape())

    def predict(self, state: State, images: Array, /) -> NDArray[np.uint8]:
        """Return masks, shape (n, h, w)."""
        parts = [one[0].argmax(axis=-1).astype(np.uint8) for one in self._seen(state, images)]
        return np.concatenate([np.zeros((0, *self.sides[:2]), np.uint8), *parts])

    def evaluate(self, state: State, data: Data, /) -> dict[str, float]:
        """Return `segmentation_metrics.segmentation_scores` and the mean "cross entropy" of labelled pixels, in nats.

        Head, common and tail are by the shares of the training pixels that the state knows.
        """
        masks = self._masks(data)
        counts: PixelCounts | None = None
        nats, pixels = 0.0, 0
        for place, (logits, _) in zip(range(0, len(data), CHUNK), self._seen(state, data.images), strict=True):
            mask = masks[place : place + CHUNK]
            one = PixelCounts.of(logits.argmax(axis=-1), mask, self.num_classes)
            counts = one if counts is None else counts + one
            known, right = logits[mask != IGNORED].astype(np.float64), mask[mask != IGNORED]
            top = known.max(axis=-1)
            sums = np.log(np.exp(known - top[:, None]).sum(axis=-1)) + top
            nats += float((sums - known[np.arange(len(right)), right]).sum())
            pixels += len(right)
        check.positive_integer(labelled_pixels=pixels)
        assert counts is not None  # there is a labelled pixel
        seen = state.part("counts")["pixels"]
        scores = segmentation_scores(counts, seen if seen.any() else None, data.classes)
        return {**scores, "cross entropy": nats / pixels}

    def geometry(self, state: State, data: Data) -> Geometry:
        """Return how far the features of data have collapsed to a simplex, against the last layer's weights.

        Where features are smaller than masks, masks are reduced to the nearest pixel: no feature is invented.
        """
        masks, shape = self._masks(data), self._feature_shape()
        rows, columns = (
            [(2 * i + 1) * many // (2 * few) for i in range(few)]
            for few, many in zip(shape[:2], self.sides[:2], strict=True)
        )
        small = masks[:, rows][:, :, columns]
        seen = zip(range(0, len(data), CHUNK), self._seen(state, data.images), strict=True)
        whole = moments_of(((one[1], small[place : place + CHUNK]) for place, one in seen), self.num_classes)
        return whole.geometry(state.part("weights")["logits/kernel"][0, 0])

    def operations(self, state: State, batch: int, /) -> int:
        """Return multiply-adds of learning from `batch` images: three times forward, the branch's included."""
        check.positive_integer(batch=batch)
        each, once = self.query_macs(state), 0
        if self.collapse is not None:
            pixels = int(np.prod(self.sides[:2]))
            more, once = self.collapse.macs(self.features, self.num_classes, pixels)
            each += more
        return 3 * (batch * each + once)

    def query_macs(self, state: State, /) -> int:  # noqa: ARG002
        """Return multiply-adds of answering one image: forward, without the branch."""
        return sum(forward_macs(self._net()[0].model).values())

    def model(self, state: State | None = None) -> Any:
        """Return the plain Keras net, logits of images, as it is used: with a state's weights, or without trained ones.

        Nothing of center collapse is in it.
        """
        model = segmentation_net(
            self.net, num_classes=self.num_classes, shape=self.shape, widths=self.widths, features=self.features
        )
        return model if state is None else filled(model, self.net_values(state))

    def net_values(self, state: State) -> dict[str, Array]:
        """Return a state's weights and moving moments by the names of the net's variables.

        Raises:
            ValueError: The state is of another net; what is missing, too much, or of another shape is named.
        """
        return values_of(self._net()[0].model, state, repr(self.net))

    # --- a learner ---

    def gradients(self, state: State, batch: Batch, rng: np.random.Generator, /) -> Gradients:
        """Return the gradients of the batch's loss, and the moving moments after it.

        Args:
            state: With classes counted, if the loss or a prior asks for them.
            batch: Images (n, h, w, c) and masks (n, h, w) of whole numbers.
            rng: For layers that draw; ours do not.

        Raises:
            ValueError: Labels outside the classes, other shapes, or classes that were not counted.
        """
        images = self._checked(batch[0])
        labels = checked_labels(batch[1], self.num_classes)
        if labels.shape != images.shape[:3] or not len(images):
            msg = f"batch: got images {images.shape} with masks {labels.shape}, expected one label for each pixel of "
            raise ValueError(msg + "at least one image")
        counts = state.part("counts")
        asked = self.loss.needs_counts or (self.collapse is not None and self.collapse.needs_counts)
        if asked and not counts["pixels"].any():
            msg = "counts: the loss asks how frequent classes are in training, and nobody has counted; expected "
            raise ValueError(msg + "Segmenter(counts=ClassCounts.of(masks, K)), or a state of `counted` or `fit`")
        net, learn, _ = self._net()
        told = Counted(*(np.asarray(counts[name], np.float32) for name in Counted._fields))
        loss, slopes, moments = learn(*self._values(state), net.seeds(rng), images, labels.astype(np.int32), told)
        return Gradients(tuple(g.numpy() for g in slopes), float(loss), tuple(m.numpy() for m in moments))

    def apply(self, state: State, gradients: Sequence[Array], /) -> State:
        """Return the state one step later."""
        factor = 1.0 if self.steps is None else self.schedule.factor(int(state.numbers["step"]), self.steps)
        return stepped(self.update, state, gradients, parts=self._parts(), rate_factor=factor)

    def travels(self, state: State, /) -> dict[str, str]:
        """Return the names of what travels, and of what kind it is."""
        return travelling(state, self._parts())

    def written(self, state: State, /) -> Mapping[str, NDArray[Any]]:
        """Return the whole state as arrays."""
        return state_arrays(state)

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> State:
        """Return the state that was written.

        Raises:
            ValueError: It is the state of another net, update rule or branch.
        """
        return restored_as(arrays, self.build(seed), repr(self.net))

    @property
    def sides(self) -> tuple[int, int, int]:
        """h, w, c of images."""
        return self.shape or INPUTS[self.net]

    def _parts(self) -> tuple[str, ...]:
        return WEIGHTS if self.collapse is None else (*WEIGHTS, "branch")

    def _feature_shape(self) -> tuple[int, int, int]:
        scale = 4 if self.net == "deeplab" else 1
        return self.sides[0] // scale, self.sides[1] // scale, self.features

    def _with_counts(self, state: State, counts: ClassCounts) -> State:
        known = {"pixels": np.array(counts.pixels, np.int64), "images": np.array(counts.images, np.int64)}
        return state.with_part("counts", known)

    def _masks(self, data: Data) -> NDArray[np.int64]:
        check.one_of(data.truth, truth=TRUTH)
        masks = checked_labels(data.truth[TRUTH], self.num_classes, TRUTH)
        return check.array(masks, (len(data), *self.sides[:2]), "n, h, w", name=TRUTH, because="set by images")

    def _checked(self, images: Any) -> Array:
        return check.array(
            images, (None, *self.sides), "n, h, w, c", name="images", because=f"set by {self.net!r}"
        ).astype(np.float32, copy=False)  # fmt: skip

    def _seen(self, state: State, images: Any) -> Iterator[tuple[Array, Array]]:
        """Yield logits and features of a few images after another."""
        images, see = self._checked(images), self._net()[2]
        weights, moments = list(state.part("weights").values()), list(state.part("statistics").values())
        for place in range(0, len(images), CHUNK):
            logits, features = see(weights, moments, images[place : place + CHUNK])
            yield logits.numpy(), features.numpy()

    def _whole(self, state: State, images: Any, which: int, shape: tuple[int, ...]) -> Array:
        parts = [one[which] for one in self._seen(state, images)]
        return np.concatenate([np.zeros((0, *shape), np.float32), *parts])

    def _values(self, state: State) -> tuple[list[Any], list[Any], dict[str, Any]]:
        return list(state.part("weights").values()), list(state.part("statistics").values()), state.part("branch")

    def _net(self) -> tuple[Net, Any, Any]:
        return _compiled(
            self.net, self.num_classes, self.shape, self.widths, self.features, self.loss, self.collapse
        )  # fmt: skip


@lru_cache(maxsize=16)
def _compiled(
    name: str, num_classes: int, shape: tuple[int, int, int] | None, widths: tuple[int, int, int] | None, width: int,
    pixels: PixelLoss, collapse: CenterCollapse | None,
) -> tuple[Net, Any, Any]:  # fmt: skip
    """Return the net with its features beside its logits, and gradients and both outputs as functions of weights."""
    from wirelesslab.tensorflow import tf

    plain = segmentation_net(name, num_classes=num_classes, shape=shape, widths=widths, features=width)
    net = Net(tf.keras.Model(plain.inputs, [plain.outputs[0], plain.get_layer("features").output], name=name))
    still = {} if collapse is None else collapse.fixed(width, num_classes)

    weights, moments = (
        [tf.TensorSpec(v.shape, tf.float32) for v in variables if not is_seed(v)]
        for variables in (net.model.trainable_variables, net.model.non_trainable_variables)
    )
    seeds = [tf.TensorSpec(v.shape, tf.int64) for v in net.model.non_trainable_variables if is_seed(v)]
    images = tf.TensorSpec((None, *net.model.inputs[0].shape[1:]), tf.float32)
    labels = tf.TensorSpec(images.shape[:3], tf.int32)
    learned = {} if collapse is None else collapse.learned(width, num_classes, 0)
    branch = {name: tf.TensorSpec(array.shape, tf.float32) for name, array in learned.items()}
    counts = Counted(*(tf.TensorSpec((num_classes,), tf.float32) for _ in Counted._fields))

    asked = (weights, moments, branch, seeds, images, labels, counts)

    def learn(weights: Any, moments: Any, branch: Any, seeds: Any, images: Any, labels: Any, counts: Any) -> Any:
        followed = [*weights, *(branch[name] for name in learned)]
        with tf.GradientTape() as tape:
            tape.watch(followed)
            (logits, features), moved = net.learning(weights, moments, seeds, images)
            loss = pixels.loss(logits, labels, counts)
            if collapse is not None:
                loss += collapse.loss(features, labels, {**still, **branch}, counts)
        return loss, tape.gradient(loss, followed, unconnected_gradients="zero"), moved

    def see(weights: Any, moments: Any, images: Any) -> Any:
        return net.seeing(weights, moments, images)

    seeing = tf.function(see, input_signature=(weights, moments, images))
    return net, tf.function(learn, input_signature=asked), seeing
