"""Few-shot splits as miniImageNet is kept: a table for each split beside all pictures, or folders of classes.

``root/train.csv``, ``val.csv`` and ``test.csv`` have the columns filename and label, such as
``n0153282900000005.jpg,n01532829``; the picture lies in ``root/images`` or in ``root/images/<label>``. Or there is no
table, and pictures lie in ``root/train/<class>``, ``root/val/<class>`` and ``root/test/<class>``. No class is in two
splits: "train" has the base classes, "validation" those for choices, "test" the novel ones.
"""

import csv
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats.folders import ENDINGS, read_picture
from wirelesslab.vision.formats.pixels import Part, joined, read_file, to_bytes

TABLES = {"train": "train.csv", "validation": "val.csv", "test": "test.csv"}
COLUMNS = ("filename", "label")
IMAGES = "images"


def read_split_files(
    root: Path, *, channels: int = 3, side: int | None = None, per_class: int | None = None, seed: int = 0
) -> Data:
    """Return pictures whose splits hold different classes; labels count classes as they first appear, split by split.

    Args:
        root: Holds the three tables and the folder "images", or the folders "train", "val" and "test" of classes.
        channels: 3 for colour, 1 for grey.
        side: As in `read_folders`: scaled and cut to squares of this many pixels; None takes pictures as they are.
        per_class: How many of each class at most, drawn by `seed`; None takes all.
        seed: Of that draw.

    Raises:
        DataError: A table, folder or picture is missing or damaged, a table has other columns, a class or a picture is
            in two splits, or pictures have different sizes and there is no `side`.
    """
    check.one_of(("1", "3"), channels=str(channels))
    if per_class is not None:
        check.positive_integer(per_class=per_class)
    listed = _listed(root)
    owner: dict[str, str] = {}
    for split, (where, classes) in listed.items():
        for name in classes:
            if name in owner:
                msg = f"{where}: class {name!r} is in {listed[owner[name]][0].name} too, expected it in one split; "
                raise DataError(msg + "take it out of one of them, or novel classes are not new")
            owner[name] = split
    label_of = {name: label for label, name in enumerate(owner)}
    parts: dict[str, Part] = {}
    shape: tuple[int, ...] | None = None
    for split, (_, classes) in listed.items():
        images: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        for name, files in classes.items():
            for file in _chosen(files, per_class, stream(seed, "pictures", name)):
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


def _listed(root: Path) -> dict[str, tuple[Path, dict[str, list[Path]]]]:
    """Return, for each split, the table or folder that says so, and the pictures of each class in its order."""
    if any((root / table).is_file() for table in TABLES.values()) or not any((root / s).is_dir() for s in TABLES):
        found: dict[str, tuple[Path, dict[str, list[Path]]]] = {}
        seen: dict[Path, str] = {}
        for split, table in TABLES.items():
            found[split] = root / table, _pictures(root / table)
            for file in (file for files in found[split][1].values() for file in files):
                if seen.setdefault(file, table) != table:
                    msg = f"{root / table}: got the picture {file.name}, which is in {seen[file]} too, expected it in "
                    raise DataError(msg + "one split; take its row out of one of them")
        return found
    return {split: _folders(root, split, TABLES[split].removesuffix(".csv")) for split in TABLES}


def _folders(root: Path, split: str, short: str) -> tuple[Path, dict[str, list[Path]]]:
    """Return a split's folder and the pictures of the class folders in it, in alphabetical order."""
    folder = next((root / name for name in (short, split) if (root / name).is_dir()), root / short)
    if not folder.is_dir():
        msg = f"{folder}: no such folder, expected one with a folder for each class, beside those of other splits"
        raise DataError(msg)
    found = {
        path.name: sorted(file for file in path.iterdir() if file.suffix.lower() in ENDINGS)
        for path in sorted(folder.iterdir()) if path.is_dir()
    }  # fmt: skip
    for name, files in (found or {"": []}).items():
        if not files:
            msg = f"{folder / name}: got no picture, expected a folder for each class with some that end in "
            raise DataError(msg + ", ".join(ENDINGS))
    return folder, found


def _pictures(table: Path) -> dict[str, list[Path]]:
    """Return where the pictures of a table lie, by class.

    Raises:
        DataError: One lies nowhere, or outside the folder of pictures.
    """
    found: dict[str, list[Path]] = {}
    images = table.parent / IMAGES
    for name, files in _table(table).items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            msg = f"{table}: got the label {name!r}, expected one that can name a folder below {IMAGES}"
            raise DataError(msg)
        for file in files:
            if Path(file).is_absolute() or ".." in Path(file).parts:
                msg = f"{table}: got the filename {file!r} of class {name!r}, expected one below the folder {IMAGES}"
                raise DataError(msg)
            places = images / file, images / name / file
            there = next((place for place in places if place.is_file()), None)
            if there is None:
                msg = f"{places[0]}: no such picture, nor {places[1]}, but {table.name} lists it for class {name!r}; "
                raise DataError(msg + "add it, or take its row out")
            found.setdefault(name, []).append(there)
    return found


def _table(file: Path) -> dict[str, list[str]]:
    """Return the filenames of each class, in the table's order; blanks around commas do not count."""
    what = "a table of filename,label (or, without any table, folders train, val and test of classes)"
    try:
        rows = list(csv.reader(StringIO(read_file(file, what).decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{file}: cannot be read as a table ({error}), expected UTF-8 with commas"
        raise DataError(msg) from None
    lines = [[cell.strip() for cell in row] for row in rows]
    got = lines[0] if lines else []
    if not set(COLUMNS) <= set(got):
        msg = f"{file}: got the columns {got}, expected {list(COLUMNS)}; write them as its first line"
        raise DataError(msg)
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, line in enumerate(lines[1:], 1):
        if not any(line):
            continue
        name, label = (dict(zip(got, line, strict=False)).get(column, "") for column in COLUMNS)
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
