"""How right a classifier is: counts with intervals, and which class is taken for which.

Errors of different images are taken as independent: each is a frame of its own to `stats.Count`, whose interval is then
Wilson's, a little widened by Student's factor.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.stats import Count


def mistakes(predicted: ArrayLike, labels: ArrayLike) -> Count:
    """Return how many of the images, shape (n,), got a wrong label.

    Examples:
        >>> count = mistakes([0, 1, 1, 2], [0, 1, 2, 2])
        >>> count.errors, count.attempts
        (1, 4)
    """
    found, right = _labels(predicted, labels)
    return Count.per_frame(found != right, 1)


def accuracy_scores(count: Count, confidence: float = 0.95) -> dict[str, float]:
    """Return "accuracy" with "accuracy low" and "accuracy high", and the counts: "right" of "images"."""
    check.positive_integer(images=count.attempts)
    low, high = count.interval(confidence)
    right = count.attempts - count.errors
    return {
        "accuracy": right / count.attempts, "accuracy low": 1 - high, "accuracy high": 1 - low,
        "right": float(right), "images": float(count.attempts),
    }  # fmt: skip


def confusion(predicted: ArrayLike, labels: ArrayLike, num_classes: int) -> NDArray[np.int64]:
    """Return how often each class was taken for each, shape (num_classes, num_classes): row the truth, column said.

    Raises:
        ValueError: A label that is not in 0 to num_classes - 1, or other numbers of them.

    Examples:
        >>> confusion([0, 1, 1, 2], [0, 1, 2, 2], 3).tolist()
        [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    """
    check.positive_integer(num_classes=num_classes)
    found, right = _labels(predicted, labels)
    for name, values in (("predicted", found), ("labels", right)):
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            msg = f"{name}: got {values.min()} to {values.max()}, expected 0 to {num_classes - 1}"
            raise ValueError(msg)
    counts = np.bincount(right * num_classes + found, minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def _labels(predicted: ArrayLike, labels: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    right = check.array(labels, (None,), "n", name="labels")
    found = check.array(predicted, (len(right),), "n", name="predicted", because="n was set by labels")
    for name, values in (("predicted", found), ("labels", right)):
        if values.size and values.dtype.kind not in "iu":
            msg = f"{name}: got {values.dtype}, expected whole numbers, such as logits.argmax(axis=1)"
            raise TypeError(msg)
    return found.astype(np.int64), right.astype(np.int64)
