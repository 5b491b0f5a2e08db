"""Images with labels, in splits that share no image."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream

SPLITS = ("train", "validation", "test")


class DataError(ValueError):
    """A file or folder of data is missing, empty, damaged, or not of the kind that was asked for."""


@dataclass(frozen=True, eq=False)
class Data:
    """Images with labels, and where each image belongs.

    Attributes:
        images: float32, shape (n, h, w, c), within `value_range`.
        labels: int64, shape (n,), from 0.
        classes: The names of the labels.
        splits: Indices of the images of each split, by name; no image is in two of them. Empty: not split.
        value_range: Smallest and largest value that an image may hold.
        truth: What else is known of each image, by name, each of length n: boxes, masks.
        name: What it is called.

    Raises:
        ValueError: Shapes, range, labels or splits do not fit together.
    """

    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    splits: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    value_range: tuple[float, float] = (0.0, 1.0)
    truth: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        check.array(self.images, (None, None, None, None), "n, h, w, c", name="images")
        if self.images.dtype != np.float32:
            msg = f"images: got {self.images.dtype}, expected float32 in {list(self.value_range)}"
            raise TypeError(msg)
        check.array(self.labels, (len(self.images),), "n", name="labels", because="n was set by images")
        low, high = self.value_range
        if self.images.size and (self.images.min() < low or self.images.max() > high):
            msg = f"images: got values in [{self.images.min():g}, {self.images.max():g}], expected [{low:g}, {high:g}]"
            raise ValueError(msg)
        if len(self.labels) and (self.labels.min() < 0 or self.labels.max() >= len(self.classes)):
            msg = f"labels: got {self.labels.min()} to {self.labels.max()}, expected 0 to {len(self.classes) - 1}"
            raise ValueError(msg)
        if len(self.labels) and self.labels.dtype.kind not in "iu":
            msg = f"labels: got {self.labels.dtype}, expected whole numbers"
            raise TypeError(msg)
        for name, values in self.truth.items():
            if len(values) != len(self.images):
                msg = f"truth: got {len(values)} of {name!r}, expected one for each of {len(self.images)} images"
                raise ValueError(msg)
        self._check_splits()

    def _check_splits(self) -> None:
        owner = np.full(len(self.images), -1)
        for number, (name, places) in enumerate(self.splits.items()):
            if len(places) and (places.min() < 0 or places.max() >= len(self.images)):
                msg = f"splits: {name!r} has {places.min()} to {places.max()}, expected 0 to {len(self.images) - 1}"
                raise ValueError(msg)
            if len(np.unique(places)) < len(places) or np.any(owner[places] >= 0):
                msg = f"splits: an image of {name!r} is there twice or in another split; splits must be disjoint"
                raise ValueError(msg)
            owner[places] = number

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """How many labels there are."""
        return len(self.classes)

    def digest(self) -> str:
        """Return the SHA-256 of images and labels."""
        said = sha256(repr((self.images.shape, self.classes)).encode())
        for array in (self.images, self.labels.astype(np.int64)):
            said.update(np.ascontiguousarray(array).tobytes())
        return said.hexdigest()

    def only(self, split: str) -> "Data":
        """Return one split alone.

        Raises:
            ValueError: There is none of that name.
        """
        check.one_of(self.splits, split=split)
        return self.at(self.splits[split])

    def at(self, places: NDArray[Any]) -> "Data":
        """Return the images at these places alone, as data without splits."""
        truth = {name: values[places] for name, values in self.truth.items()}
        return replace(self, images=self.images[places], labels=self.labels[places], splits={}, truth=truth)

    def split(self, seed: int, *, validation: float = 0.2, test: float = 0.2) -> "Data":
        """Return the same images in random splits "train", "validation" and "test".

        Images that are equal to the last bit stay together, so that no split has seen what another is judged on.

        Args:
            seed: Of the split.
            validation: Share of images for choices.
            test: Share of images for the last word.
        """
        check.probability(validation=validation, test=test)
        if validation + test >= 1:
            msg = f"validation and test: got {validation:g} and {test:g}, expected a sum below 1"
            raise ValueError(msg)
        groups: dict[bytes, list[int]] = {}
        for place, image in enumerate(self.images):
            groups.setdefault(sha256(image.tobytes()).digest(), []).append(place)
        order = stream(seed, "split").permutation(len(groups))
        alike = list(groups.values())
        wanted = {"test": round(test * len(self)), "validation": round(validation * len(self))}
        found: dict[str, list[int]] = {name: [] for name in SPLITS}
        for group in order:
            name = next((n for n, most in wanted.items() if len(found[n]) + len(alike[group]) <= most), "train")
            found[name].extend(alike[group])
        return replace(self, splits={name: np.sort(np.array(found[name], np.int64)) for name in SPLITS})
