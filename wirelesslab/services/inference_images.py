"""Images as clients send them: real bytes of a declared codec, with a header that says whose request it is.

Both codecs keep eight bits a value and lose nothing more: what a node sees is `seen(images)`, on which predictions must
be made. PNG is written here with the standard library alone (filter 0 on every row, as zlib likes small images best:
our choice); any reader opens it.
"""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.data import Data
from wirelesslab.vision.formats.pixels import to_bytes

Pixels = NDArray[np.uint8]  # (h, w, c)
HEADER = struct.Struct("<4sQHH")  # magic, number of the request, number of the model, spare
ASK, ANSWER = b"WLQ1", b"WLA1"
_SHAPE = struct.Struct("<HHB")
_KINDS = {1: 0, 3: 2}  # channels -> colour type of PNG: grey, RGB


class Codec(Protocol):
    """How an image becomes bytes."""

    def encode(self, image: Pixels, /) -> bytes:
        """Return an image, shape (h, w, c), as bytes."""
        ...

    def decode(self, content: bytes, /) -> Pixels:
        """Return the image."""
        ...


@dataclass(frozen=True)
class Raw:
    """Height, width, channels in five bytes, then a byte for each value."""

    def encode(self, image: Pixels, /) -> bytes:
        """Return the image's values behind its shape."""
        return _SHAPE.pack(*image.shape) + image.tobytes()

    def decode(self, content: bytes, /) -> Pixels:
        """Return the image."""
        shape = _SHAPE.unpack_from(content)
        return np.frombuffer(content, np.uint8, offset=_SHAPE.size).reshape(shape)


@dataclass(frozen=True)
class Png:
    """PNG, eight bits a value, grey or RGB.

    Attributes:
        level: Of zlib, 1 to 9.

    References: ISO/IEC 15948 (PNG), clauses 5, 9 and 11.
    """

    level: int = 9

    def __post_init__(self) -> None:
        check.positive_integer(level=self.level)
        check.within(1, 9, level=self.level)

    def encode(self, image: Pixels, /) -> bytes:
        """Return a whole PNG file.

        Raises:
            ValueError: The image has neither one channel nor three.
        """
        height, width, channels = image.shape
        if channels not in _KINDS:
            msg = f"image: got {channels} channels, expected 1 or 3; Raw takes any"
            raise ValueError(msg)
        head = struct.pack(">IIBBBBB", width, height, 8, _KINDS[channels], 0, 0, 0)
        rows = np.zeros((height, 1 + width * channels), np.uint8)  # each row begins with its filter, 0: none
        rows[:, 1:] = image.reshape(height, -1)
        parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows.tobytes(), self.level)), (b"IEND", b""))
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in parts
        )

    def decode(self, content: bytes, /) -> Pixels:
        """Return the image of a file that `encode` wrote."""
        width, height, _, kind = struct.unpack_from(">IIBB", content, 16)
        size = struct.unpack_from(">I", content, 33)[0]
        rows = np.frombuffer(zlib.decompress(content[41 : 41 + size]), np.uint8).reshape(height, -1)
        return rows[:, 1:].reshape(height, width, {kind: c for c, kind in _KINDS.items()}[kind])


@dataclass(frozen=True, eq=False)
class EncodedImages:
    """Images that clients may ask about.

    Attributes:
        contents: Each as bytes.
        codec: That made them; None where they only stand for images.
    """

    contents: tuple[bytes, ...]
    codec: Codec | None = None

    def __post_init__(self) -> None:
        if not self.contents or not all(self.contents):
            msg = f"contents: got {len(self.contents)}, expected at least one image, none of them empty"
            raise ValueError(msg)

    @classmethod
    def of(cls, data: Data, codec: Codec | None = None) -> "EncodedImages":
        """Return a data set's images, rounded to whole values from 0 to 255 of their range; PNG unless said."""
        codec = codec or Png()
        return cls(tuple(codec.encode(image) for image in to_bytes(data)), codec)

    def __len__(self) -> int:
        return len(self.contents)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Bytes of each request: the image and its header, shape (images,)."""
        return np.array([HEADER.size + len(content) for content in self.contents], np.int64)

    def seen(self, value_range: tuple[float, float] = (0.0, 1.0)) -> NDArray[np.float32]:
        """Return what a node makes of them, float32, shape (images, h, w, c).

        Raises:
            ValueError: They only stand for images.
        """
        if self.codec is None:
            msg = "images: got bytes without a codec, expected EncodedImages.of(data)"
            raise ValueError(msg)
        low, high = value_range
        pixels = np.stack([self.codec.decode(content) for content in self.contents]).astype(np.float32)
        return np.asarray(low + pixels * np.float32((high - low) / 255), np.float32)

    def request(self, number: int, model: int, image: int) -> bytes:
        """Return a request as it travels."""
        return HEADER.pack(ASK, number, model, 0) + self.contents[image]


def encode_answer(number: int, model: int, answer: Any) -> bytes:
    """Return an answer as it travels: header, then name, kind, shape and values of each array in it.

    Args:
        number: Of the request.
        model: Place of the model.
        answer: A number, an array, or names with, or a sequence of, such: a label, a mask, boxes with scores.

    Raises:
        TypeError: It holds something else than numbers.

    Examples:
        >>> len(encode_answer(7, 0, np.int64(3)))
        30
        >>> len(encode_answer(7, 0, {"boxes": np.zeros((2, 4), np.float32), "scores": np.ones(2, np.float32)}))
        85
    """
    parts = [HEADER.pack(ANSWER, number, model, 0)]
    for name, array in _arrays("", answer):
        if array.dtype.kind not in "biuf":
            msg = f"answer: got {array.dtype} {name!r}, expected numbers; let the method's predictions be arrays"
            raise TypeError(msg)
        parts += [f"{name} {array.dtype.str} {','.join(map(str, array.shape))}\n".encode(), array.tobytes()]
    return b"".join(parts)


def _arrays(name: str, answer: Any) -> Iterator[tuple[str, NDArray[Any]]]:
    if isinstance(answer, Mapping):
        for key, value in answer.items():
            yield from _arrays(f"{name}/{key}", value)
    elif isinstance(answer, list | tuple):
        for place, value in enumerate(answer):
            yield from _arrays(f"{name}/{place}", value)
    else:
        yield name, np.asarray(answer)


def answer_sizes(answers: Sequence[Any]) -> NDArray[np.int64]:
    """Return the bytes of each answer as it travels, shape (images,)."""
    return np.array([len(encode_answer(0, 0, answer)) for answer in answers], np.int64)
