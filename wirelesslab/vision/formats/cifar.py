"""CIFAR-10 and CIFAR-100 in their binary version.

A record is one byte of label (CIFAR-100: coarse, then fine) and 3072 of pixels: red, green, blue, each 32 rows of 32.

References:
    Krizhevsky, "Learning multiple layers of features from tiny images", 2009; the format is told on its web page.
"""

from pathlib import Path

import numpy as np

from wirelesslab import check
from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats.pixels import Part, joined, read_file, to_bytes, written_parts

Files = dict[str, tuple[str, ...]]
SIDE, PIXELS = 32, 3072
CIFAR_10: Files = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)), "test": ("test_batch.bin",),
}  # fmt: skip
CIFAR_100: Files = {"train": ("train.bin",), "test": ("test.bin",)}
NAMES = {10: "batches.meta.txt", 100: "fine_label_names.txt"}


def read_cifar(folder: Path, kind: int = 10, *, validation: float = 0.1, seed: int = 0) -> Data:
    """Return the images of a folder, shape (n, 32, 32, 3), with splits "train", "validation" and "test".

    Args:
        folder: Where the ``.bin`` files and the file of names are.
        kind: 10 or 100.
        validation: Share of the training images that is held out for choices.
        seed: Of that choice.

    Raises:
        DataError: A file is missing, empty, cut short, or holds labels that have no name.
    """
    files = _files(kind)
    names = tuple(read_file(folder / NAMES[kind], f"{kind} names, a line each").decode("utf-8", "replace").split())
    if len(names) != kind:
        msg = f"{folder / NAMES[kind]}: got {len(names)} names, expected {kind}"
        raise DataError(msg)
    parts: dict[str, Part] = {}
    for split, members in files.items():
        found = [_records(folder / member, kind) for member in members]
        parts[split] = np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])
    return joined(parts, names, name=f"CIFAR-{kind}", validation=validation, seed=seed)


def _records(path: Path, kind: int) -> Part:
    header = 1 if kind == 10 else 2
    content = read_file(path, f"records of {header + PIXELS} bytes")
    if len(content) % (header + PIXELS):
        msg = f"{path}: got {len(content)} bytes, expected a multiple of {header + PIXELS} (CIFAR-{kind}'s records); "
        msg += "it is cut short or of another kind"
        raise DataError(msg)
    records = np.frombuffer(content, np.uint8).reshape(-1, header + PIXELS)
    labels = records[:, header - 1].astype(np.int64)
    if labels.max() >= kind:
        msg = f"{path}: got label {labels.max()} in record {labels.argmax()}, expected 0 to {kind - 1}"
        raise DataError(msg)
    return records[:, header:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1), labels


def write_cifar(folder: Path, data: Data, kind: int = 10) -> Path:
    """Write images as `read_cifar` reads them: "test" as it is, all else as training images.

    CIFAR-10 spreads the training images over five files, so there must be five. CIFAR-100's coarse labels are 0.

    Args:
        folder: Is made.
        data: Shape (n, 32, 32, 3), classes of which there are `kind` at most; missing names become "unused_12".
        kind: 10 or 100.

    Returns:
        The folder.
    """
    files = _files(kind)
    check.array(data.images, (None, SIDE, SIDE, 3), "n, h, w, c", name="images", because="CIFAR's are so")
    if data.num_classes > kind or any(len(name.split()) != 1 for name in data.classes):
        msg = f"classes: got {list(data.classes)[:12]}, expected at most {kind} names without spaces"
        raise ValueError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    names = [*data.classes, *(f"unused_{number}" for number in range(data.num_classes, kind))]
    (folder / NAMES[kind]).write_text("\n".join(names) + "\n", encoding="utf-8")
    parts = written_parts(data)
    test = parts.pop("test", np.zeros(0, np.int64))
    places = {"train": np.concatenate(list(parts.values())), "test": test}
    for split, members in files.items():
        if len(places[split]) < len(members):
            msg = f"data: got {len(places[split])} images for {split!r}, expected at least {len(members)}"
            raise ValueError(msg)
    pixels = to_bytes(data).transpose(0, 3, 1, 2).reshape(len(data), PIXELS)
    labels = data.labels.astype(np.uint8)[:, None]
    header = labels if kind == 10 else np.concatenate([np.zeros_like(labels), labels], axis=1)
    records = np.concatenate([header, pixels], axis=1)
    for split, members in files.items():
        for member, chosen in zip(members, np.array_split(places[split], len(members)), strict=True):
            (folder / member).write_bytes(records[chosen].tobytes())
    return folder


def _files(kind: int) -> Files:
    check.one_of(("10", "100"), kind=str(kind))
    return CIFAR_10 if kind == 10 else CIFAR_100
