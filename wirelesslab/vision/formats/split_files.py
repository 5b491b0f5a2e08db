"""Few-shot splits as miniImageNet is kept: a table for each split, and all pictures in one folder.

``root/train.csv``, ``val.csv`` and ``test.csv`` have the columns filename and label; pictures lie in ``root/images``.
No class is in two splits: "train" has the base classes, "validation" those for choices, "test" the novel ones.
"""

import csv
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats.folders import read_picture
from wirelesslab.vision.formats.pixels import Part, joined, read_file, to_bytes

TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
COLUMNS = ("filename", "label")
IMAGES = "images"


def read_split_files(
    root: Path, *, channels: int = 3, side: int | None = None, per_class: int | None = None, seed: int = 0
) -> Data:
    """Return pictures whose splits hold different classes; labels count classes as they first appear, split by split.

    Args:
        root: Holds the three tables and the folder "images".
        channels: 3 for colour, 1 for grey.
        side: As in `read_folders`: scaled and cut to squares of this many pixels; None takes pictures as they are.
        per_class: How many of each class at most, drawn by `seed`; None takes all.
        seed: Of that draw.

    Raises:
        DataError: A table or picture is missing or damaged, a table has other columns, a class is in two splits, or
            pictures have different sizes and there is no `side`.
    """
    check.one_of(("1", "3"), channels=str(channels))
    if per_class is not None:
        check.positive_integer(per_class=per_class)
    tables = {split: _table(root / file) for split, file in TABLES.items()}
    owner: dict[str, str] = {}
    for split, table in tables.items():
        for name in table:
            if name in owner:
                msg = f"{root / TABLES[split]}: class {name!r} is in {TABLES[owner[name]]} too, expected it in one "
                raise DataError(msg + "split; take its rows out of one of them, or novel classes are not new")
            owner[name] = split
    label_of = {name: label for label, name in enumerate(owner)}
    parts: dict[str, Part] = {}
    shape: tuple[int, ...] | None = None
    for split, table in tables.items():
        images: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        for name, files in table.items():
            for file in _chosen([root / IMAGES / file for file in files], per_class, stream(seed, "pictures", name)):
                if not file.is_file():
                    msg = f"{file}: no such picture, but {TABLES[split]} lists it for class {name!r}; add it, or take "
                    raise DataError(msg + "its row out")
                images.append(read_picture(file, channels, side))
                labels.append(label_of[name])
                shape = shape or images[0].shape
                if images[-1].shape != shape:
                    msg = f"{file}: got shape {images[-1].shape} (h, w, c), expected {shape} as the others; "
                    raise DataError(msg + "give a side to have pictures scaled and cut")
            check.fits_in_memory(6.0 * len(labels) * int(np.prod(shape or 0)), str(root), "lower side or per_class")
        parts[split] = np.stack(images), np.array(labels, np.int64)
    return joined(parts, tuple(label_of), name=root.name)


def write_split_files(root: Path, data: Data) -> Path:
    """Write pictures as PNG and a table for each split, class by class.

    Args:
        root: Is made.
        data: Of 1 or 3 channels, with the splits "train", "validation" and "test", which share no class.

    Returns:
        The root.

    Raises:
        ValueError: A split is missing or empty, or a class is in two of them.
    """
    from PIL import Image

    if data.images.shape[-1] not in (1, 3):
        msg = f"images: got {data.images.shape[-1]} channels, expected 1 or 3"
        raise ValueError(msg)
    owner: dict[int, str] = {}
    for split in TABLES:
        places = data.splits.get(split, np.zeros(0, np.int64))
        if set(data.splits) != set(TABLES) or not len(places):
            msg = f"splits: got {sorted(data.splits)}, expected pictures in each of {sorted(TABLES)} and no other"
            raise ValueError(msg)
        for label in np.unique(data.labels[places]).tolist():
            if label in owner:
                msg = f"splits: class {data.classes[label]!r} is in {owner[label]!r} and {split!r}, expected one split"
                raise ValueError(msg)
            owner[label] = split
    pixels = to_bytes(data)
    (root / IMAGES).mkdir(parents=True, exist_ok=True)
    for split, table in TABLES.items():
        places = data.splits[split]
        with (root / table).open("w", newline="", encoding="utf-8") as opened:
            rows = csv.writer(opened)
            rows.writerow(COLUMNS)
            for place in places[np.argsort(data.labels[places], kind="stable")].tolist():
                image = pixels[place] if pixels.shape[-1] == 3 else pixels[place, ..., 0]
                Image.fromarray(image).save(root / IMAGES / f"{place:08d}.png")
                rows.writerow((f"{place:08d}.png", data.classes[int(data.labels[place])]))
    return root


def _table(file: Path) -> dict[str, list[str]]:
    """Return the files of each class, in the table's order."""
    try:
        rows = csv.DictReader(StringIO(read_file(file, "a table of filename,label").decode("utf-8-sig"), newline=""))
        got, lines = tuple(rows.fieldnames or ()), list(rows)
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{file}: cannot be read as a table ({error}), expected UTF-8 with commas"
        raise DataError(msg) from None
    if not set(COLUMNS) <= set(got):
        msg = f"{file}: got the columns {list(got)}, expected {list(COLUMNS)}; write them as its first line"
        raise DataError(msg)
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, line in enumerate(lines, 1):
        name, label = line["filename"], line["label"]
        if not name or not label or name in seen:
            msg = f"{file}: got {name!r} of class {label!r} in row {number}, expected a new filename and a class"
            raise DataError(msg)
        seen.add(name)
        found.setdefault(label, []).append(name)
    if not found:
        msg = f"{file}: got no row below the header, expected a picture in each"
        raise DataError(msg)
    return found


def _chosen(files: list[Path], most: int | None, rng: np.random.Generator) -> list[Path]:
    if most is None or len(files) <= most:
        return files
    return [files[place] for place in sorted(rng.permutation(len(files))[:most].tolist())]
