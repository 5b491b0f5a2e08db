"""Models that answer: what each says about every image, whether that is right, and what it costs to compute and send.

The real model predicts all images once, before the simulation: a request then looks up what it would have said, and a
network of many clients needs no TensorFlow. Everything is numbers in arrays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.services.inference_images import EncodedImages, answer_sizes
from wirelesslab.vision.data import Data
from wirelesslab.vision.method import Method, State
from wirelesslab.vision.segmentation_metrics import PixelCounts

OPERATIONS_PER_MAC = 2
Judge = Callable[[Any, Data], NDArray[np.bool_]]


def same_label(predicted: Any, data: Data) -> NDArray[np.bool_]:
    """Return where the predicted class is the true one, shape (images,)."""
    found = check.array(predicted, (len(data),), "n", name="predicted", because="n was set by the images")
    return np.asarray(found == data.labels)


@dataclass(frozen=True)
class GoodMask:
    """Judges masks: one is right when the classes that are in the picture are found well enough, rare ones too.

    For each class that is in a picture, intersection over union within this picture; right is a picture whose mean over
    these classes is large enough. A share of pixels would not do: who says nothing but sky and meadow may have most of
    them. A picture without a labelled pixel is not right: nobody can say that it is.

    Attributes:
        least: The smallest mean that is right; our choice.
    """

    least: float = 0.6

    def __post_init__(self) -> None:
        check.probability(least=self.least)

    def __call__(self, predicted: Any, data: Data) -> NDArray[np.bool_]:
        """Return where masks, shape (images, h, w), are right, shape (images,)."""
        if "pixel_labels" not in data.truth:
            msg = f"data: got truth of {sorted(data.truth) or 'nothing'}, expected 'pixel_labels' among it; masks are "
            raise ValueError(msg + "judged by GoodMask, classes of whole images by the default judge")
        counts = PixelCounts.of(predicted, data.truth["pixel_labels"], data.num_classes)
        there = counts.there > 0
        iou = counts.both / np.maximum(counts.there + counts.said - counts.both, 1)
        num = there.sum(axis=1)
        mean = np.sum(iou * there, axis=1) / np.maximum(num, 1)
        return np.asarray((mean >= self.least) & (num > 0))


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A model as a service sees it.

    Attributes:
        name: Under which it is asked for, and delivered.
        operations: To answer one image.
        right: Whether its answer is right, for each image.
        answer_bytes: Length of its encoded answer, for each image.
        accuracy: Share that is right on images kept for choices ("validation"), which a policy may know; NaN unknown.
    """

    name: str
    operations: float
    right: NDArray[np.bool_]
    answer_bytes: NDArray[np.int64]
    accuracy: float = float("nan")

    def __post_init__(self) -> None:
        check.positive(operations=self.operations)
        check.array(self.right, (None,), "images", name="right")
        if not self.name or np.asarray(self.right).dtype != bool or not len(self.right):
            msg = f"name, right: got {self.name!r} and {np.asarray(self.right).dtype} of {len(self.right)}, expected a "
            raise ValueError(msg + "name, and whether the answer is right, a bool for each of at least one image")
        if not np.isnan(self.accuracy):
            check.probability(accuracy=self.accuracy)
        sizes = check.array(
            self.answer_bytes, self.right.shape, "images", name="answer_bytes", because="images are set by right"
        )
        if sizes.min() < 1:
            msg = f"answer_bytes: got {sizes.min()}, expected at least 1"
            raise ValueError(msg)

    @classmethod
    def of_answers(
        cls, name: str, answers: Sequence[Any] | NDArray[Any], right: NDArray[np.bool_], operations: float,
        accuracy: float = float("nan"),
    ) -> "ServedModel":  # fmt: skip
        """Return a model that has been asked about every image already, such as an exported Keras net.

        Args:
            name: Of the model.
            answers: What it said of each image.
            right: Whether that is right.
            operations: To answer one image; two for each multiply-add.
            accuracy: On images kept for choices.
        """
        return cls(name, float(operations), np.asarray(right, bool), answer_sizes(list(answers)), accuracy)

    @classmethod
    def of(
        cls, method: Method, state: State, data: Data, images: EncodedImages, *, name: str = "model",
        judge: Judge = same_label, operations: float | None = None, accuracy: float = float("nan"),
    ) -> "ServedModel":  # fmt: skip
        """Let a method predict all images, as they come out of the codec.

        Args:
            method: What predicts.
            state: What it was trained to.
            data: The images with what is true of them.
            images: The same, encoded.
            name: Of the model.
            judge: Says which predictions are right; of labels unless said.
            operations: To answer one image; when None two for each of `method.query_macs`.
            accuracy: On images kept for choices.

        Raises:
            ValueError: There are other numbers of images than of encoded ones.
        """
        if len(images) != len(data):
            msg = f"images: got {len(images)} encoded, expected the {len(data)} of the data"
            raise ValueError(msg)
        predicted = method.predict(state, images.seen(data.value_range))
        if operations is None:
            operations = OPERATIONS_PER_MAC * method.query_macs(state)
        return cls.of_answers(name, list(predicted), judge(predicted, data), operations, accuracy)

    def compute_s(self, num_images: int, operations_per_s: float, overhead_s: float = 0.0) -> float:
        """Return how long a batch takes at a speed: operations over speed, and what each batch costs besides."""
        return overhead_s + num_images * self.operations / operations_per_s


def check_served(models: Sequence[ServedModel], num_images: int, num_clients: int) -> None:
    """Refuse what is no service: models without answers to all images, names that are taken twice, nobody to ask.

    Raises:
        ValueError: It is none.
    """
    names = [model.name for model in models]
    if not models or not num_clients or len(set(names)) < len(names):
        msg = f"models, clients: got {names} and {num_clients} clients, expected names, each once, and clients"
        raise ValueError(msg)
    for model in models:
        if len(model.right) != num_images:
            msg = f"models: {model.name!r} has answers to {len(model.right)} images, expected {num_images}"
            raise ValueError(msg)
