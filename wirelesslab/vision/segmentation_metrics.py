"""How right a segmentation is: intersection over union per class, for frequent and rare ones, with intervals by image.

Pixels of an image go wrong together, so that an image, not a pixel, is what counts as one independent draw here: all
counts are kept per image, and intervals come from the scatter between images. A point cloud is an image of one column.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.replicas import Mean
from wirelesslab.stats import Count, student_quantile

IGNORED = 255  # a pixel that nobody has labelled; it is neither learned from nor judged
GROUPS = ("head", "common", "tail")
Counts = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """How many pixels of each class were there, said, and both, image by image. Counts of further images add.

    Attributes:
        both: Pixels of a class that were said to be of it, shape (n, classes).
        there: Pixels of a class, of those that are labelled, shape (n, classes).
        said: Labelled pixels that were said to be of a class, shape (n, classes).

    Examples:
        >>> counts = PixelCounts.of([[[0, 0], [1, 1]]], [[[0, 1], [1, IGNORED]]], 3)
        >>> counts.iou().round(3).tolist()
        [0.5, 0.5, nan]
        >>> counts.accuracy.attempts
        3
    """

    both: Counts
    there: Counts
    said: Counts

    def __post_init__(self) -> None:
        for name in ("both", "there", "said"):
            check.array(getattr(self, name), self.both.shape, "n, classes", name=name, because="set by both")
        if np.any(self.both > np.minimum(self.there, self.said)):
            msg = "both: got more pixels than were there or said, expected at most as many"
            raise ValueError(msg)

    @classmethod
    def of(cls, predicted: ArrayLike, labels: ArrayLike, num_classes: int) -> "PixelCounts":
        """Return the counts of masks.

        Args:
            predicted: Classes that were said, shape (n, h, w); what is said of unlabelled pixels does not matter, as
                long as it is a class.
            labels: Classes that are there, same shape, or `IGNORED`.
            num_classes: K; classes are 0 to K - 1.

        Raises:
            ValueError: A label that is neither a class nor `IGNORED`, or a prediction that is no class.
        """
        found, right = _masks(predicted, labels, num_classes)
        image = np.broadcast_to(np.arange(len(right))[:, None, None], right.shape)
        known = right != IGNORED

        def counted(where: NDArray[np.bool_], classes: NDArray[np.int64]) -> Counts:
            places = image[where] * num_classes + classes[where]
            counts = np.bincount(places, minlength=len(right) * num_classes)
            return counts.astype(np.int64).reshape(len(right), num_classes)

        return cls(counted(known & (found == right), right), counted(known, right), counted(known, found))

    def __len__(self) -> int:
        return len(self.both)

    def __add__(self, other: "PixelCounts") -> "PixelCounts":
        return PixelCounts(
            *(np.concatenate([getattr(self, n), getattr(other, n)]) for n in ("both", "there", "said"))
        )  # fmt: skip

    def iou(self) -> NDArray[np.float64]:
        """Return intersection over union of each class over all images, shape (classes,).

        A class that is neither there nor said in any image has none: NaN, and means leave it out. One that is said
        but not there has 0.
        """
        union = (self.there + self.said - self.both).sum(axis=0)
        return np.where(union > 0, self.both.sum(axis=0) / np.maximum(union, 1), np.nan)

    def mean_iou(self, classes: Sequence[int] | None = None, confidence: float = 0.95) -> Mean:
        r"""Return the mean IoU over classes with an interval between images.

        A class's IoU is a ratio of sums over images, $I = \sum_i b_i / \sum_i u_i$; linearised, image i moves it by
        $(b_i - I u_i) / \sum u$, and the mean over classes by the mean of that. The variance is that of the sum of
        independent moves, $n/(n-1) \sum_i m_i^2$ (Cochran, Sampling Techniques, 1977, ch. 6). With fewer than some
        twenty images of a rare class it is too narrow, and an IoU of 0 or 1 in all images has none.

        Args:
            classes: Of which; all when None. Those without an IoU are left out.
            confidence: Of the interval.

        Returns:
            NaN when no class has an IoU; an infinite interval for a single image. `replicas` are images.
        """
        iou = self.iou()
        chosen = np.arange(len(iou)) if classes is None else np.asarray(classes, np.int64)
        chosen = chosen[~np.isnan(iou[chosen])]
        if not len(chosen):
            return Mean(float("nan"), float("nan"), float("nan"), len(self))
        both = self.both[:, chosen]
        union = self.there[:, chosen] + self.said[:, chosen] - both
        middle = float(iou[chosen].mean())
        if len(self) < 2:
            return Mean(middle, float("-inf"), float("inf"), len(self))
        moves = ((both - iou[chosen] * union) / union.sum(axis=0)).mean(axis=1)
        half = student_quantile(0.5 + confidence / 2, len(self) - 1) * float(
            np.sqrt(len(self) / (len(self) - 1) * np.sum(moves**2))
        )
        return Mean(middle, max(0.0, middle - half), min(1.0, middle + half), len(self))

    @property
    def accuracy(self) -> Count:
        """Labelled pixels that got a wrong class, among all labelled ones; an image is a frame."""
        used = self.there.sum(axis=1) > 0
        attempts = self.there.sum(axis=1)[used]
        return Count.per_frame((attempts - self.both.sum(axis=1)[used]).tolist(), attempts.tolist())

    def shares(self) -> NDArray[np.float64]:
        """Return each class's share of the labelled pixels, shape (classes,); zeros when none is labelled."""
        there = self.there.sum(axis=0)
        return np.asarray(there / max(int(there.sum()), 1), np.float64)


def pixel_confusion(predicted: ArrayLike, labels: ArrayLike, num_classes: int) -> Counts:
    """Return how often each class was taken for each, shape (K, K): row the truth, column said; unlabelled left out.

    Args:
        predicted: Shape (n, h, w).
        labels: Same shape, with `IGNORED` where nothing is known.
        num_classes: K.

    Raises:
        ValueError: As `PixelCounts.of`.

    Examples:
        >>> pixel_confusion([[[0, 0], [1, 1]]], [[[0, 1], [1, IGNORED]]], 2).tolist()
        [[1, 0], [1, 1]]
    """
    found, right = _masks(predicted, labels, num_classes)
    known = right != IGNORED
    counts = np.bincount(right[known] * num_classes + found[known], minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def pixel_shares(labels: ArrayLike, num_classes: int) -> NDArray[np.float64]:
    """Return each class's share of the labelled pixels of masks, shape (n, h, w) to (K,); zeros when none is labelled.

    Raises:
        ValueError: A label that is neither a class nor `IGNORED`.
    """
    right = checked_labels(labels, num_classes)
    counts = np.bincount(right[right != IGNORED], minlength=num_classes)
    return np.asarray(counts / max(int(counts.sum()), 1), np.float64)


def share_groups(shares: ArrayLike) -> dict[str, tuple[int, ...]]:
    """Return the classes that are head, common and tail, by their share of the training pixels.

    In falling order of share the first third of K classes (K // 3) is the head, the next third is common, and all
    others are the tail: 3, 3 and 4 of 10. Of equal shares the class of the lower number goes first. ScanNet200's
    groups are made alike, of thirds of its 200 classes; to round in favour of the tail is our choice.

    Args:
        shares: Or counts, shape (K,), K at least 3.

    Examples:
        >>> share_groups([0.4, 0.1, 0.2, 0.3])
        {'head': (0,), 'common': (3,), 'tail': (1, 2)}
    """
    values = check.array(shares, (None,), "classes", name="shares")
    if len(values) < len(GROUPS) or values.min() < 0:
        msg = f"shares: got {values}, expected at least three, none below 0"
        raise ValueError(msg)
    order = np.argsort(-values, kind="stable")
    third = len(values) // 3
    parts = (order[:third], order[third : 2 * third], order[2 * third :])
    return {name: tuple(sorted(int(k) for k in part)) for name, part in zip(GROUPS, parts, strict=True)}


def segmentation_scores(
    counts: PixelCounts, shares: ArrayLike | None = None, classes: Sequence[str] = (), confidence: float = 0.95
) -> dict[str, float]:
    """Return all scores by name, in [0, 1], those of means with " low" and " high".

    "mIoU", "head mIoU", "common mIoU" and "tail mIoU" (fewer than three classes have no groups), "pixel accuracy", the
    counts "pixels" and "images", and the IoU of each class as "IoU <name>".

    Args:
        counts: Of the images.
        shares: Of the TRAINING pixels, shape (classes,), which make the groups; of the judged pixels when None.
        classes: Names; numbers when there are none.
        confidence: Of the intervals, which take an image as one draw.
    """
    num = counts.both.shape[1]
    iou, accuracy = counts.iou(), counts.accuracy
    check.positive_integer(labelled_pixels=accuracy.attempts)
    names = list(classes) or [str(k) for k in range(num)]
    if len(names) != num:
        msg = f"classes: got {len(names)} names, expected {num}"
        raise ValueError(msg)
    wanted: Mapping[str, Sequence[int] | None] = {"mIoU": None}
    if num >= len(GROUPS):
        groups = share_groups(
            counts.shares() if shares is None else check.array(shares, (num,), "classes", name="shares")
        )
        wanted = {**wanted, **{f"{name} mIoU": members for name, members in groups.items()}}
    scores: dict[str, float] = {}
    for name, members in wanted.items():
        found = counts.mean_iou(members, confidence)
        scores |= {name: found.value, f"{name} low": found.low, f"{name} high": found.high}
    low, high = accuracy.interval(confidence)
    scores |= {
        "pixel accuracy": 1 - accuracy.rate, "pixel accuracy low": 1 - high, "pixel accuracy high": 1 - low,
        "pixels": float(accuracy.attempts), "images": float(len(counts)),
    }  # fmt: skip
    return scores | {f"IoU {name}": float(value) for name, value in zip(names, iou, strict=True)}


def rarest_there(labels: ArrayLike, shares: ArrayLike) -> NDArray[np.int64]:
    """Return for each mask the class of the smallest share that is in it, shape (n, h, w) to (n,).

    A mask without a labelled pixel gets the class of the largest share: nothing rarer is known to be in it.

    Args:
        labels: Masks.
        shares: Of each class, shape (K,).

    Raises:
        ValueError: A label that is neither a class nor `IGNORED`.
    """
    values = check.array(shares, (None,), "classes", name="shares")
    right = checked_labels(labels, len(values))
    order = np.argsort(-values, kind="stable")
    rank = np.zeros(256, np.int64)  # of IGNORED: 0, as of the most frequent class
    rank[order] = np.arange(len(values))
    highest = rank[right].reshape(len(right), -1).max(axis=1, initial=0)
    return np.asarray(order[highest], np.int64)


def checked_labels(labels: ArrayLike, num_classes: int, name: str = "labels") -> NDArray[np.int64]:
    """Return masks as whole numbers, shape (n, h, w).

    Args:
        labels: Of whole numbers, 0 to `num_classes` - 1 or `IGNORED`.
        num_classes: At most 255, so that `IGNORED` is none of them.
        name: For the message.

    Raises:
        TypeError: Not whole numbers.
        ValueError: Another shape, or a label outside the classes; it is named with its place.
    """
    check.positive_integer(num_classes=num_classes)
    check.within(1, IGNORED, num_classes=num_classes)
    values = _whole(check.array(labels, (None, None, None), "n, h, w", name=name), name)
    odd = (values < 0) | ((values >= num_classes) & (values != IGNORED))
    if odd.any():
        where = tuple(int(i) for i in np.argwhere(odd)[0])
        msg = f"{name}: got {values[where]} at {where} (image, row, column) and {int(odd.sum()) - 1} more outside the "
        msg += f"classes, expected 0 to {num_classes - 1}, or {IGNORED} for a pixel that is not labelled"
        raise ValueError(msg)
    return values


def _masks(predicted: ArrayLike, labels: ArrayLike, num_classes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    right = checked_labels(labels, num_classes)
    found = check.array(predicted, right.shape, "n, h, w", name="predicted", because="set by labels")
    found = _whole(found, "predicted")
    if found.size and (found.min() < 0 or found.max() >= num_classes):
        msg = f"predicted: got {found.min()} to {found.max()}, expected 0 to {num_classes - 1}"
        raise ValueError(msg)
    return found, right


def _whole(values: NDArray[Any], name: str) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        msg = f"{name}: got {values.dtype}, expected whole numbers, such as logits.argmax(axis=-1)"
        raise TypeError(msg)
    return values.astype(np.int64)
