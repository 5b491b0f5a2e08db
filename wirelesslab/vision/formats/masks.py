"""Pictures with a mask each, as ADE20K's challenge keeps them: classes of pixels as the numbers in a grey or index PNG.

``root/images/training/<name>.png`` (or .jpg) and ``root/annotations/training/<name>.png``, and the same with
``validation`` and ``test``; a split without annotations is none. Names of the classes stand in ``root/classes.txt``, a
line each, as we write them, or are given (ADE20K has them in a table of its own).

Two conventions of what a mask's number means: with `zero_is_unlabelled` (ADE20K's) 0 is a pixel that nobody labelled
and class k is k + 1; without it class k is k, and 255 is not labelled. What is read always has 255 for the latter.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.data import SPLITS, Data, DataError
from wirelesslab.vision.formats.pixels import refuse_used, to_bytes, written_parts
from wirelesslab.vision.segmentation_metrics import IGNORED, checked_labels, pixel_shares, rarest_there

FOLDERS = {"train": "training", "validation": "validation", "test": "test"}
ENDINGS = (".png", ".jpg", ".jpeg")
CLASSES = "classes.txt"
Bytes = NDArray[np.uint8]


def read_masks(
    root: Path, *, classes: tuple[str, ...] | None = None, zero_is_unlabelled: bool = False, most: int | None = None,
    without_labels: Literal["keep", "drop", "refuse"] = "keep",
) -> Data:  # fmt: skip
    """Return pictures with `truth["pixel_labels"]`, uint8 (n, h, w).

    A picture's label is the rarest class that is in its mask, by the shares of the training pixels.

    Args:
        root: Holds "images" and "annotations".
        classes: Names in the order of their numbers; those of ``classes.txt`` when None.
        zero_is_unlabelled: ADE20K's convention; see above.
        most: Pictures of each split at most, the first by name; None reads all.
        without_labels: What becomes of a picture without a labelled pixel: it is kept (training gets nothing from it,
            metrics leave it out, and its label is the most frequent class), dropped, or refused.

    Raises:
        DataError: A folder, picture or mask is missing or damaged, a mask has another size than its picture, pictures
            have different sizes, a mask is not of one channel of 8 bits, or it holds a number that is no class.
    """
    check.one_of(("keep", "drop", "refuse"), without_labels=without_labels)
    names = classes or _names(root)
    check.within(1, IGNORED - zero_is_unlabelled, number_of_classes=len(names))
    images: list[Bytes] = []
    masks: list[Bytes] = []
    splits: dict[str, NDArray[np.int64]] = {}
    for split in SPLITS:
        pairs = _pairs(root, FOLDERS[split])
        if most is not None:
            check.positive_integer(most=most)
            pairs = pairs[:most]
        first = len(images)
        for picture, annotation in pairs:
            image, mask = _picture(picture), _mask(annotation, len(names), zero_is_unlabelled)
            if mask.shape != image.shape[:2]:
                msg = f"{annotation}: got a mask of {mask.shape} (h, w), expected {image.shape[:2]} as {picture.name}"
                raise DataError(msg)
            if images and image.shape != images[0].shape:
                msg = f"{picture}: got shape {image.shape} (h, w, c), expected {images[0].shape} as the others; "
                raise DataError(msg + "scale or cut pictures and masks to one size before")
            if without_labels != "keep" and not np.any(mask != IGNORED):
                if without_labels == "refuse":
                    msg = f"{annotation}: got a mask without a labelled pixel, expected some; "
                    raise DataError(msg + "without_labels='keep' or 'drop' takes such data")
                continue
            images.append(image)
            masks.append(mask)
        if len(images) > first:
            check.fits_in_memory(6 * sum(i.size for i in images), str(root), "give a smaller most")
            splits[split] = np.arange(first, len(images))
    if not images:
        msg = f"{root}: got no picture with a mask, expected images/training/*.png and annotations/training/*.png"
        raise DataError(msg)
    truth = np.stack(masks)
    shares = pixel_shares(truth[splits.get("train", np.arange(len(truth)))], len(names))
    pixels = np.stack(images).astype(np.float32) / np.float32(255)
    return Data(pixels, rarest_there(truth, shares), names, splits, truth={"pixel_labels": truth}, name=root.name)


def write_masks(root: Path, data: Data, *, zero_is_unlabelled: bool = False) -> Path:
    """Write pictures and masks as PNG, and the classes' names; masks in shades of grey, whose numbers are the classes.

    Args:
        root: Is made; it must be new or empty.
        data: Of 1 or 3 channels, with `truth["pixel_labels"]` of the same height and width; all is "training" when
            there are no splits, else what is in none of them is not written.
        zero_is_unlabelled: ADE20K's convention; see above.

    Returns:
        The root.

    Raises:
        ValueError: There are no masks, of another shape, or with labels outside the classes; or the root is in use.
    """
    from PIL import Image

    if data.images.shape[-1] not in (1, 3):
        msg = f"images: got {data.images.shape[-1]} channels, expected 1 or 3"
        raise ValueError(msg)
    check.one_of(data.truth, truth="pixel_labels")
    check.within(1, IGNORED - zero_is_unlabelled, number_of_classes=data.num_classes)
    masks = checked_labels(data.truth["pixel_labels"], data.num_classes, "pixel_labels")
    check.array(masks, data.images.shape[:3], "n, h, w", name="pixel_labels", because="set by images")
    if any("\n" in name or not name.strip() for name in data.classes):
        msg = f"classes: got {data.classes}, expected names of one line each"
        raise ValueError(msg)
    if zero_is_unlabelled:
        masks = np.where(masks == IGNORED, 0, masks + 1)
    refuse_used(root)
    pixels = to_bytes(data)
    for split, places in written_parts(data).items():
        folders = [root / kind / FOLDERS[split] for kind in ("images", "annotations")]
        for folder in folders:
            folder.mkdir(parents=True, exist_ok=True)
        for place in places:
            image = pixels[place] if pixels.shape[-1] == 3 else pixels[place, ..., 0]
            for folder, content in zip(folders, (image, masks[place].astype(np.uint8)), strict=True):
                Image.fromarray(content).save(folder / f"{place:08d}.png")
    (root / CLASSES).write_text("".join(f"{name}\n" for name in data.classes), encoding="utf-8")
    return root


def _names(root: Path) -> tuple[str, ...]:
    file = root / CLASSES
    if not file.is_file():
        msg = f"{file}: no such file, expected the name of a class in each line; or give classes=(...)"
        raise DataError(msg)
    names = tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines())
    if not names or not all(names) or len(set(names)) < len(names):
        msg = f"{file}: got {len(names)} lines, some empty or there twice, expected a different name in each"
        raise DataError(msg)
    return names


def _pairs(root: Path, folder: str) -> list[tuple[Path, Path]]:
    """Return the pictures of a split with their masks; none when it has no folder of masks."""
    images, annotations = root / "images" / folder, root / "annotations" / folder
    if not images.is_dir() or not annotations.is_dir():
        if annotations.is_dir() or (folder == FOLDERS["train"] and not (root / "images").is_dir()):
            msg = f"{images}: no such folder, expected pictures for the masks below {root / 'annotations'}"
            raise DataError(msg)
        return []
    pictures, masks = ({p.stem: p for p in _files(place)} for place in (images, annotations))
    odd = sorted(set(pictures) ^ set(masks))
    if odd:
        lacks = annotations if odd[0] in pictures else images
        msg = f"{lacks}: got nothing called {odd[0]!r} ({len(odd)} such names), expected a mask for each picture and "
        raise DataError(msg + "a picture for each mask")
    return [(pictures[name], masks[name]) for name in sorted(pictures)]


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
    twice = [a.name for a, b in pairwise(files) if a.stem == b.stem]
    if twice:
        msg = f"{folder}: got {twice[0]!r} and another file of that name with another ending, expected one"
        raise DataError(msg)
    return files


def _opened(file: Path, wanted: tuple[str, ...], what: str) -> tuple[Any, str]:
    """Return a file's pixels and mode."""
    try:
        from PIL import Image
    except ImportError as error:
        msg = "masks: pillow is not installed; pip install 'wirelesslab[vision]'"
        raise ImportError(msg) from error
    try:
        with Image.open(file, formats=("PNG", "JPEG")) as opened:
            opened.load()
            mode = str(opened.mode)
            pixels = np.asarray(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        msg = f"{file}: cannot be read as PNG or JPEG ({error}); it is cut short, damaged, or of another kind"
        raise DataError(msg) from None
    if mode not in wanted:
        msg = f"{file}: got a picture of mode {mode}, expected {what}"
        raise DataError(msg)
    return pixels, mode


def _picture(file: Path) -> Bytes:
    """Return a picture, shape (h, w, 1 or 3)."""
    pixels, mode = _opened(file, ("L", "RGB"), "8-bit grey or colour (L or RGB)")
    return np.asarray(pixels[..., None] if mode == "L" else pixels, np.uint8)


def _mask(file: Path, num_classes: int, zero_is_unlabelled: bool) -> Bytes:
    """Return a mask with 255 where nothing is labelled, shape (h, w)."""
    if file.suffix.lower() != ".png":
        msg = f"{file}: got a mask as JPEG, which changes numbers, expected PNG"
        raise DataError(msg)
    pixels, _ = _opened(file, ("L", "P"), "one channel of 8 bits (L or P), a class's number for each pixel")
    mask = np.asarray(pixels, np.uint8)
    if zero_is_unlabelled:
        mask = mask - np.uint8(1)  # 0 becomes 255: not labelled
        odd = (mask >= num_classes) & (pixels != 0)
    else:
        odd = (mask >= num_classes) & (mask != IGNORED)
    if odd.any():
        row, column = (int(i) for i in np.argwhere(odd)[0])
        wanted = f"1 to {num_classes}, or 0" if zero_is_unlabelled else f"0 to {num_classes - 1}, or {IGNORED}"
        msg = f"{file}: got {int(pixels[row, column])} at row {row}, column {column} ({int(odd.sum())} such pixels), "
        raise DataError(msg + f"expected {wanted} for a pixel that is not labelled; there are {num_classes} classes")
    return mask
