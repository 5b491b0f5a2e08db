"""IDX, the format of MNIST: a magic number, big-endian sizes, then values.

The magic number is two zero bytes, a byte for the type, and the number of axes. Files that end in ``.gz`` are
unpacked on the way, never beyond what their sizes say.

References:
    LeCun, Cortes and Burges, "The MNIST database of handwritten digits"; the format is told on its web page.
"""

import gzip
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats.pixels import Part, joined, to_bytes, written_parts

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
DEFLATE = 1032  # bytes that a byte of deflated data can stand for at most
MNIST = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> NDArray[Any]:
    """Return the array of a file, in the machine's byte order.

    Raises:
        DataError: The file is missing, its magic number is another, or it holds fewer or more values than it says.
    """
    if not path.is_file():
        msg = f"{path}: no such file, expected IDX data"
        raise DataError(msg)
    try:
        if path.suffix == ".gz":
            with gzip.open(path) as unpacked:
                return _array(unpacked, path)
        with path.open("rb") as file:
            return _array(file, path)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"{path}: cannot be unpacked ({error}); it is cut short, damaged, or not gzip"
        raise DataError(msg) from None


def _array(file: BinaryIO | gzip.GzipFile, path: Path) -> NDArray[Any]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in TYPES or not 1 <= magic[3] <= 8:
        msg = f"{path}: got magic number 0x{magic.hex() or '(nothing)'}, expected 0x0000ttnn, such as 0x00000803 for "
        msg += "images or 0x00000801 for labels"
        raise DataError(msg)
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        msg = f"{path}: got {len(sizes)} bytes of sizes, expected {4 * magic[3]}; it is cut short"
        raise DataError(msg)
    shape = tuple(int(side) for side in np.frombuffer(sizes, ">u4"))
    kind = np.dtype(TYPES[magic[2]])
    claimed = prod(shape) * kind.itemsize
    if claimed > path.stat().st_size * (DEFLATE if path.suffix == ".gz" else 1):
        msg = f"{path}: got {path.stat().st_size} bytes, expected {claimed} of values for {shape}; it is cut short, or "
        msg += "its sizes are damaged"
        raise DataError(msg)
    check.fits_in_memory(claimed, f"{path}: {shape}", "it is too large for this machine")
    content = file.read(claimed + 1)
    if len(content) != claimed:
        found = f"{len(content)}" if len(content) < claimed else "more"
        msg = f"{path}: got {found} bytes of values, expected {claimed} for {shape}; it is cut short or damaged"
        raise DataError(msg)
    return np.frombuffer(content, kind).reshape(shape).astype(kind.newbyteorder("="))


def write_idx(path: Path, array: NDArray[Any]) -> Path:
    """Write an array; gzipped when the name ends in ``.gz``.

    Raises:
        TypeError: The format has no such type.
    """
    codes = {np.dtype(name).newbyteorder("="): code for code, name in TYPES.items()}
    if array.dtype not in codes or not 1 <= array.ndim <= 8:
        msg = f"array: got {array.dtype} with {array.ndim} axes, expected 1 to 8 of {', '.join(map(str, codes))}"
        raise TypeError(msg)
    code = codes[array.dtype]
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(TYPES[code]).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def read_mnist(folder: Path, *, validation: float = 0.1, seed: int = 0) -> Data:
    """Return MNIST, or what has its form (Fashion-MNIST, KMNIST): images (n, h, w, 1) in three splits.

    Args:
        folder: Holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same with ``t10k``, each also
            with ``.gz``.
        validation: Share of the training images that is held out for choices.
        seed: Of that choice.

    Raises:
        DataError: A file is missing or damaged, or images and labels do not fit together.
    """
    parts: dict[str, Part] = {}
    for split, begin in MNIST.items():
        files = [_there(folder / f"{begin}-{what}-ubyte") for what in ("images-idx3", "labels-idx1")]
        images, labels = map(read_idx, files)
        for file, array, axes in zip(files, (images, labels), (3, 1), strict=True):
            if array.ndim != axes or array.dtype != np.uint8 or not array.size:
                msg = f"{file}: got {array.dtype} of shape {array.shape}, expected bytes with {axes} axes, and some"
                raise DataError(msg)
        if len(images) != len(labels):
            msg = f"{files[1]}: got {len(labels)} labels, expected one for each of the {len(images)} images beside it"
            raise DataError(msg)
        if parts and images.shape[1:] != parts["train"][0].shape[1:3]:
            msg = f"{files[0]}: got images {images.shape[1:]}, expected {parts['train'][0].shape[1:3]} as in training"
            raise DataError(msg)
        parts[split] = images[..., None], labels.astype(np.int64)
    most = max(int(part[1].max()) for part in parts.values())
    names = tuple(str(label) for label in range(most + 1))
    return joined(parts, names, name="MNIST", validation=validation, seed=seed)


def write_mnist(folder: Path, data: Data, *, packed: bool = False) -> Path:
    """Write images of one channel as `read_mnist` reads them: "test" as it is, all else as training images.

    Args:
        folder: Is made.
        data: Shape (n, h, w, 1).
        packed: Whether files are gzipped.
    """
    check.array(data.images, (None, None, None, 1), "n, h, w, c", name="images", because="MNIST's are grey")
    parts, pixels, end = written_parts(data), to_bytes(data)[..., 0], ".gz" if packed else ""
    test = parts.pop("test", np.zeros(0, np.int64))
    for begin, places in (("train", np.concatenate(list(parts.values()))), ("t10k", test)):
        write_idx(folder / f"{begin}-images-idx3-ubyte{end}", pixels[places])
        write_idx(folder / f"{begin}-labels-idx1-ubyte{end}", data.labels[places].astype(np.uint8))
    return folder


def _there(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    return packed if packed.is_file() and not path.is_file() else path
