r"""Losses of pixels: cross entropy, and what a practitioner holds against imbalance. All leave unlabelled pixels out.

Each is a value whose `loss` gives the mean over a batch's labelled pixels, in TensorFlow; without any it is 0, and so
are its slopes. How frequent classes are is counted in the training split alone (`ClassCounts`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike

from wirelesslab import check
from wirelesslab.vision.segmentation_metrics import IGNORED, checked_labels

LEAST = 1e-12  # added to a share before its logarithm: a class that was never there


class Counted(NamedTuple):
    """Counts of the training split as tensors, each of shape (K,): labelled pixels, and images that hold the class."""

    pixels: Any
    images: Any


@dataclass(frozen=True)
class ClassCounts:
    """How often each class is in a training split.

    Attributes:
        pixels: Labelled pixels of each class.
        images: Images that hold a pixel of it.
    """

    pixels: tuple[int, ...]
    images: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.pixels) != len(self.images):
            msg = f"images: got {len(self.images)}, expected {len(self.pixels)}, one for each class"
            raise ValueError(msg)
        for name in ("pixels", "images"):
            check.non_negative_integer(**{f"{name}_{k}": count for k, count in enumerate(getattr(self, name))})

    @classmethod
    def of(cls, labels: ArrayLike, num_classes: int) -> Self:
        """Return the counts of masks, shape (n, h, w), with `IGNORED` where nothing is known.

        Raises:
            ValueError: A label outside the classes, or no labelled pixel at all.

        Examples:
            >>> ClassCounts.of([[[0, 0], [1, 255]], [[0, 0], [0, 0]]], 3)
            ClassCounts(pixels=(6, 1, 0), images=(2, 1, 0))
        """
        known = checked_labels(labels, num_classes)
        each = np.array([np.bincount(mask[mask != IGNORED], minlength=num_classes) for mask in known], np.int64)
        each = each.reshape(-1, num_classes)
        if not each.sum():
            msg = f"labels: got {len(known)} masks without a labelled pixel, expected some to learn from"
            raise ValueError(msg)
        return cls(tuple(map(int, each.sum(axis=0))), tuple(map(int, (each > 0).sum(axis=0))))


class PixelLoss(Protocol):
    """What a segmenter learns pixels by: a value, such as a frozen dataclass."""

    def __hash__(self) -> int:
        """Return what equal losses have in common."""
        ...

    @property
    def needs_counts(self) -> bool:
        """Whether counts of the training split must be known."""
        ...

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:
        """Return the mean loss, a scalar.

        Args:
            logits: float32, shape (n, h, w, K).
            labels: int32, 0 to K - 1 or `IGNORED`, shape (n, h, w).
            counts: Of the training split; not looked at where `needs_counts` is false.
        """
        ...


def log_prior(counts: Any) -> Any:
    """Return the logarithms of shares of counts, shape (K,); 1e-12 is added to each share, as in CeCo's release."""
    from wirelesslab.tensorflow import tf

    shares = tf.cast(counts, tf.float32)
    return tf.math.log(shares / tf.maximum(tf.reduce_sum(shares), 1.0) + LEAST)


def pixel_nats(logits: Any, labels: Any) -> tuple[Any, Any, Any]:
    """Return the cross entropy of each pixel, 0 where unlabelled; 1 where labelled, 0 elsewhere; and safe labels."""
    from wirelesslab.tensorflow import tf

    known = labels != IGNORED
    safe = tf.where(known, labels, 0)
    weight = tf.cast(known, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(safe, logits) * weight, weight, safe


def _mean(values: Any, weights: Any) -> Any:
    from wirelesslab.tensorflow import tf

    return tf.math.divide_no_nan(tf.reduce_sum(values), tf.reduce_sum(weights))


@dataclass(frozen=True)
class CrossEntropy:
    """Every pixel weighs the same: minus the logarithm of what its class was given."""

    needs_counts = False

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:  # noqa: ARG002
        """Return the mean over labelled pixels."""
        nats, weight, _ = pixel_nats(logits, labels)
        return _mean(nats, weight)


@dataclass(frozen=True, kw_only=True)
class WeightedCrossEntropy:
    """Pixels of rare classes weigh more: by (median share / share of the class) ** power, as median-frequency does.

    Shares are of all labelled pixels of the training split, and the median is over classes that are there (Eigen and
    Fergus, ICCV 2015, divide by the pixels of images that hold the class alone: here that would spare the rare ones).
    The mean is divided by the sum of weights.

    Attributes:
        power: 1 is plain median-frequency balancing; 0.5 the square root of it.
    """

    power: float = 0.5
    needs_counts = True

    def __post_init__(self) -> None:
        check.within(0, 10, power=self.power)

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:
        """Return the weighted mean over labelled pixels."""
        from wirelesslab.tensorflow import tf

        nats, weight, safe = pixel_nats(logits, labels)
        each = tf.gather(self.weights(counts.pixels), safe) * weight
        return _mean(nats * each, each)

    def weights(self, pixels: Any) -> Any:
        """Return the weight of each class from its number of training pixels, shape (K,); 0 for one without any."""
        from wirelesslab.tensorflow import tf

        count = tf.cast(pixels, tf.float32)
        there = tf.sort(tf.boolean_mask(count, count > 0))
        num = tf.shape(there)[0]
        median = (there[(num - 1) // 2] + there[num // 2]) / 2
        return tf.where(count > 0, (median / tf.maximum(count, 1.0)) ** self.power, 0.0)


@dataclass(frozen=True, kw_only=True)
class Focal:
    """Pixels that are right with confidence weigh less: (1 - p) ** gamma times cross entropy (Lin et al., ICCV 2017).

    Attributes:
        gamma: 0 is cross entropy; the paper's is 2.
    """

    gamma: float = 2.0
    needs_counts = False

    def __post_init__(self) -> None:
        check.within(0, 100, gamma=self.gamma)

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:  # noqa: ARG002
        """Return the mean over labelled pixels."""
        from wirelesslab.tensorflow import tf

        nats, weight, _ = pixel_nats(logits, labels)
        missing = -tf.math.expm1(-nats)  # 1 - p, exact where p is nearly 1
        if self.gamma < 1:  # a power below 1 has no slope at 0
            missing = tf.maximum(missing, 1e-7)
        return _mean(missing**self.gamma * nats, weight)


@dataclass(frozen=True, kw_only=True)
class LogitAdjusted:
    """Frequent classes must win by a margin while learning: tau log(share of pixels) is added to their logits.

    In use logits are taken as they are, which aims at the mean of per-class accuracies (Menon et al., ICLR 2021).

    Attributes:
        tau: Times the logarithm; 0 is cross entropy.
    """

    tau: float = 1.0
    needs_counts = True

    def __post_init__(self) -> None:
        check.within(0, 100, tau=self.tau)

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:
        """Return the mean over labelled pixels."""
        nats, weight, _ = pixel_nats(logits + self.tau * log_prior(counts.pixels), labels)
        return _mean(nats, weight)


@dataclass(frozen=True, kw_only=True)
class Dice:
    """Overlap of what is said, in probabilities, with what is there, for each class that is in the batch.

    1 - (2 sum p y + smooth) / (sum p + sum y + smooth), over all pixels of the batch, mean over classes that are there
    (Milletari, Navab and Ahmadi, 3DV 2016, without their squares), and cross entropy beside it, as is usual.

    Attributes:
        smooth: Keeps a class of few pixels from jumping.
        cross_entropy: Times cross entropy, added; 0 is overlap alone.
    """

    smooth: float = 1.0
    cross_entropy: float = 1.0
    needs_counts = False

    def __post_init__(self) -> None:
        check.within(0, 1e6, smooth=self.smooth, cross_entropy=self.cross_entropy)

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:  # noqa: ARG002
        """Return the mean over classes that are in the batch, and the pixels' cross entropy."""
        from wirelesslab.tensorflow import tf

        nats, weight, _ = pixel_nats(logits, labels)
        said, there = _flat(logits, labels, weight)
        shared, total = tf.reduce_sum(said * there, 0), tf.reduce_sum(said, 0) + tf.reduce_sum(there, 0)
        each = 1 - (2 * shared + self.smooth) / tf.maximum(total + self.smooth, LEAST)
        present = tf.cast(tf.reduce_sum(there, 0) > 0, tf.float32)
        return _mean(each * present, present) + self.cross_entropy * _mean(nats, weight)


@dataclass(frozen=True, kw_only=True)
class Lovasz:
    """The Lovász extension of the Jaccard loss, of softmax probabilities (Berman, Triki and Blaschko, CVPR 2018).

    Over all pixels of the batch, mean over the classes that are there, and cross entropy beside it.

    Attributes:
        cross_entropy: Times cross entropy, added; 0 is Lovász alone.
    """

    cross_entropy: float = 1.0
    needs_counts = False

    def __post_init__(self) -> None:
        check.within(0, 1e6, cross_entropy=self.cross_entropy)

    def loss(self, logits: Any, labels: Any, counts: Counted, /) -> Any:  # noqa: ARG002
        """Return the mean over classes that are in the batch, and the pixels' cross entropy."""
        from wirelesslab.tensorflow import tf

        nats, weight, _ = pixel_nats(logits, labels)
        said, there = (tf.transpose(part) for part in _flat(logits, labels, weight))  # (K, pixels)
        unlabelled = 1 - tf.reshape(weight, (1, -1))
        errors = tf.abs(there - said)  # 0 where unlabelled: neither was counted there
        order = tf.stop_gradient(tf.argsort(errors - 2 * unlabelled, axis=1, direction="DESCENDING", stable=True))
        worst, right = (tf.gather(part, order, batch_dims=1) for part in (errors, there))
        whole = tf.reduce_sum(there, axis=1, keepdims=True)
        jaccard = 1 - (whole - tf.cumsum(right, axis=1)) / tf.maximum(whole + tf.cumsum(1 - right, axis=1), 1.0)
        steps = jaccard - tf.pad(jaccard[:, :-1], ((0, 0), (1, 0)))
        each = tf.reduce_sum(worst * tf.stop_gradient(steps), axis=1)
        present = tf.cast(whole[:, 0] > 0, tf.float32)
        return _mean(each * present, present) + self.cross_entropy * _mean(nats, weight)


def _flat(logits: Any, labels: Any, weight: Any) -> tuple[Any, Any]:
    """Return probabilities and one-hot truth, each of shape (pixels, K), 0 where nothing is known."""
    from wirelesslab.tensorflow import tf

    num = logits.shape[-1]
    said = tf.nn.softmax(logits) * weight[..., None]
    there = tf.one_hot(labels, num)  # of IGNORED, which is no class: zeros
    return tf.reshape(said, (-1, num)), tf.reshape(there, (-1, num))


LOSSES: dict[str, PixelLoss] = {
    "cross entropy": CrossEntropy(), "weighted": WeightedCrossEntropy(), "focal": Focal(),
    "logit adjusted": LogitAdjusted(), "dice": Dice(), "lovasz": Lovasz(),
}  # fmt: skip
