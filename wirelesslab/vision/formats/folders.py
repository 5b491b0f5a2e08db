"""Folders of pictures, as ImageNet is kept: a folder for each class, PNG or JPEG in it.

``root/train/<class>/*.png`` and the same below ``validation`` (or ``val``) and ``test``; or classes right below the
root.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data, DataError
from wirelesslab.vision.formats.pixels import Part, joined, refuse_used, to_bytes, written_parts

ENDINGS = (".png", ".jpg", ".jpeg")
ALIASES = {"val": "validation"}
GREY_OR_COLOUR = ("1", "L", "P", "RGB", "CMYK", "YCbCr")  # what Pillow turns into 8-bit grey or colour without loss


def read_folders(
    root: Path, *, channels: int = 3, side: int | None = None, per_class: int | None = None, seed: int = 0
) -> Data:
    """Return the pictures below a folder; labels count class folders in alphabetical order.

    Args:
        root: Holds folders of classes, or "train" and others that hold them.
        channels: 3 for colour, 1 for grey.
        side: Pictures are scaled until their shorter side has this many pixels, and cut to the square in the middle.
            None takes them as they are, and all must be of one shape.
        per_class: How many of each class and split at most, drawn by `seed`; None takes all.
        seed: Of that draw.

    Raises:
        DataError: A folder is missing or empty, a picture is damaged, has another shape, or an alpha channel or more
            than 8 bits.
    """
    check.one_of(("1", "3"), channels=str(channels))
    if not root.is_dir():
        msg = f"{root}: no such folder, expected one with a folder for each class"
        raise DataError(msg)
    below = {path.name: path for path in sorted(root.iterdir()) if path.is_dir()}
    splits = {ALIASES.get(n, n): path for n, path in below.items() if ALIASES.get(n, n) in SPLITS}
    if splits and len(splits) < len(below):
        odd = sorted(set(below) - {path.name for path in splits.values()})
        msg = f"{root}: got folders {odd} beside {sorted(splits)}, expected splits or classes, not both"
        raise DataError(msg)
    places = {name: splits[name] for name in SPLITS if name in splits} or {"": root}
    classes = _classes(next(iter(places.values())))
    parts: dict[str, Part] = {}
    shape: tuple[int, ...] | None = None
    for split, folder in places.items():
        if _classes(folder) != classes:
            odd = sorted(set(_classes(folder)) ^ set(classes))
            msg = f"{folder}: got other classes than {next(iter(places.values()))}, expected the same; {odd} differ; "
            raise DataError(msg + "splits that share no class, for few shots, are read by read_split_files")
        images: list[NDArray[np.uint8]] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            for file in _files(folder / name, per_class, seed, split):
                images.append(read_picture(file, channels, side))
                labels.append(label)
                shape = shape or images[0].shape
                if images[-1].shape != shape:
                    msg = f"{file}: got shape {images[-1].shape} (h, w, c), expected {shape} as the others; "
                    msg += "give a side to have pictures scaled and cut"
                    raise DataError(msg)
            check.fits_in_memory(6 * len(labels) * int(np.prod(shape or 0)), str(root), "lower side or per_class")
        parts[split] = np.stack(images), np.array(labels, np.int64)
    data = joined(parts, classes, name=root.name)
    return data if splits else Data(data.images, data.labels, classes, name=root.name)


def _classes(folder: Path) -> tuple[str, ...]:
    found = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
    if not found:
        files = len(list(folder.iterdir()))
        msg = f"{folder}: got {files} files and no folder, expected a folder for each class"
        raise DataError(msg)
    return found


def _files(folder: Path, most: int | None, seed: int, split: str) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    if not files:
        msg = f"{folder}: got no picture, expected some that end in {', '.join(ENDINGS)}"
        raise DataError(msg)
    if most is None or len(files) <= most:
        return files
    check.positive_integer(per_class=most)
    chosen = stream(seed, "pictures", split, folder.name).permutation(len(files))[:most]
    return [files[place] for place in np.sort(chosen)]


def read_picture(file: Path, channels: int, side: int | None) -> NDArray[np.uint8]:
    """Return a picture as bytes, shape (h, w, channels).

    Args:
        file: PNG or JPEG.
        channels: 3 for colour, 1 for grey.
        side: Scaled until the shorter side has so many pixels, and cut to the middle square; None takes it whole.

    Raises:
        DataError: It is damaged, or of another kind.
    """
    try:
        from PIL import Image
    except ImportError as error:
        msg = "pictures: pillow is not installed; pip install 'wirelesslab[vision]'"
        raise ImportError(msg) from error
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            mode = opened.mode
            picture: Any = opened.convert("RGB" if channels == 3 else "L") if mode in GREY_OR_COLOUR else None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        msg = f"{file}: cannot be read as PNG or JPEG ({error}); it is cut short, damaged, or of another kind"
        raise DataError(msg) from None
    if picture is None:
        msg = f"{file}: got a picture of mode {mode}, expected 8-bit grey or colour without an alpha channel"
        raise DataError(msg)
    if side is not None:
        check.positive_integer(side=side)
        width, height = picture.size
        scale = side / min(width, height)
        picture = picture.resize(
            (max(side, round(width * scale)), max(side, round(height * scale))), Image.Resampling.BILINEAR
        )
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
    return np.asarray(picture, np.uint8).reshape(picture.height, picture.width, channels)


def write_folders(root: Path, data: Data) -> Path:
    """Write images as PNG in folders of classes below a folder for each split ("train" when there are none).

    Args:
        root: Is made; it must be new or empty.
        data: Of 1 or 3 channels; every split holds every class, or the folders could not be read again.

    Returns:
        The root.

    Raises:
        ValueError: Other channels, a split without an image of some class, or a root with something in it.
    """
    from PIL import Image

    if data.images.shape[-1] not in (1, 3):
        msg = f"images: got {data.images.shape[-1]} channels, expected 1 or 3"
        raise ValueError(msg)
    refuse_used(root)
    pixels = to_bytes(data)
    for split, places in written_parts(data).items():
        for label, name in enumerate(data.classes):
            here = places[data.labels[places] == label]
            if not len(here):
                msg = f"data: got no image of class {name!r} in {split!r}, expected some of every class"
                raise ValueError(msg)
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for place in here:
                image = pixels[place]
                Image.fromarray(image if image.shape[-1] == 3 else image[..., 0]).save(folder / f"{place:06d}.png")
    return root
