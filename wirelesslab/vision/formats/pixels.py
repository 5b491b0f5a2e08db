"""Between images of floats and bytes, and between parts that files keep apart and the splits of one `Data`."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import Data, DataError

Part = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images (n, h, w, c) and labels (n,)


def to_bytes(data: Data) -> NDArray[np.uint8]:
    """Return images as whole numbers from 0 to 255, rounded to the nearest; of its range, not of their own."""
    low, high = data.value_range
    scaled = (data.images - np.float32(low)) * np.float32(255 / (high - low))
    return np.asarray(np.rint(scaled), np.uint8)


def written_parts(data: Data) -> dict[str, NDArray[np.int64]]:
    """Return the places of each split; all are "train" when the data is not split."""
    return dict(data.splits) or {"train": np.arange(len(data))}


def refuse_used(root: Path) -> None:
    """Refuse a folder in which something is already: what is read back would be a mixture of old and new pictures.

    Raises:
        ValueError: It is not empty.
    """
    if root.is_dir() and (found := sorted(path.name for path in root.iterdir())):
        msg = f"root: got {str(root)!r} with {found[0]!r} in it, expected a new or empty folder: what was there would "
        raise ValueError(msg + "be read again among what is written")


def joined(
    parts: Mapping[str, Part], classes: tuple[str, ...], *, name: str, validation: float = 0.0, seed: int = 0
) -> Data:
    """Return parts as one `Data` with a split for each.

    Args:
        parts: By split, all of one image shape.
        classes: Names of the labels.
        name: What the data is called.
        validation: Share of "train" that becomes "validation", when there is no such part.
        seed: Of that choice.
    """
    check.within(0, 1 - 1e-9, validation=validation)
    count = sum(part[0].nbytes for part in parts.values())
    check.fits_in_memory(6 * count, f"{name}: images as float32", "read fewer images or smaller ones")
    images = np.concatenate([part[0] for part in parts.values()]).astype(np.float32) / np.float32(255)
    labels = np.concatenate([part[1] for part in parts.values()])
    splits, first = {}, 0
    for split, part in parts.items():
        splits[split] = np.arange(first, first + len(part[1]))
        first += len(part[1])
    if validation and "train" in splits and "validation" not in splits:
        order = stream(seed, "split").permutation(splits["train"])
        held = round(validation * len(order))
        splits |= {"train": np.sort(order[held:]), "validation": np.sort(order[:held])}
    return Data(images, labels, classes, splits, name=name)


def read_file(path: Path, what: str) -> bytes:
    """Return a file's content.

    Raises:
        DataError: It is not there, or empty.
    """
    if not path.is_file():
        there = sorted(p.name for p in path.parent.iterdir())[:5] if path.parent.is_dir() else None
        found = "no such folder" if there is None else f"the folder holds {', '.join(there) or 'nothing'}"
        msg = f"{path}: no such file ({found}), expected {what}"
        raise DataError(msg)
    size = path.stat().st_size
    if not size:
        msg = f"{path}: got an empty file, expected {what}"
        raise DataError(msg)
    check.fits_in_memory(size, str(path), "read a smaller file")
    return path.read_bytes()
