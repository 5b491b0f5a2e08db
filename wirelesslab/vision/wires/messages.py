"""Messages of gradients: a versioned header, what each tensor is, then its bytes; checked before memory is taken.

Little-endian throughout::

    magic "WLGR" | version u8 | wire u8 | exchange u8 | direction u8 | workers u16 | worker u16 | step u32 | tensors u16
    per tensor:  n u32 | s f32 | mode u8
    payloads, in the same order

A receiver knows the tensors' sizes (`Layout`). A message that names others, or whose payloads are not as long as its
header says, is refused before an array is made, so that no message can make a receiver take more memory than its
model needs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from math import isfinite
from struct import Struct

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.wires.packing import bits_for, packed_size

MAGIC, VERSION = b"WLGR", 1
HEADER, TENSOR, LENGTH = Struct("<4sBBBBHHIH"), Struct("<IfB"), Struct("<I")
UP, DOWN = 0, 1
SERVER = 0xFFFF  # the worker number of what the server sends
MOST_WORKERS, MOST_STEPS = 0xFFFE, 0xFFFFFFFF


class WireError(ValueError):
    """A message that is not what it should be."""


class Mode(IntEnum):
    """What a tensor's payload is.

    Its length follows from n (and N), but for `ENTROPY`, `CODED_SUMS` and `SPARSE`, which begin with it as u32.
    """

    NOTHING = 0  # zeros, or a scaler alone: no payload
    FLOATS = 1  # n float32
    QUARTERS = 2  # ternary codes, four a byte
    FIFTHS = 3  # ternary codes, five a byte
    ENTROPY = 4  # ternary codes, entropy-coded
    SUMS = 5  # sums of N ternary codes, N added, ceil(log2(2N + 1)) bits each
    LEVELS = 6  # u16 levels, u16 bucket, a float32 norm per bucket, signed levels in bits
    SIGNS = 7  # one bit each
    SPARSE = 8  # pairs: n indices u32, ascending, then n values float32
    CODED_SUMS = 9  # sums as in SUMS, entropy-coded


MODES = {mode.value: mode for mode in Mode}


@dataclass(frozen=True)
class Layout:
    """The tensors that travel: what sender and receiver agree on beforehand.

    Attributes:
        shapes: Of each tensor.
        names: Of each tensor; "" where it has none.
        exact: Places of tensors that travel as float32 whatever the wire does with others: moving moments and the
            like, which no wire may clip or round.
    """

    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...] = ()
    exact: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.names:
            object.__setattr__(self, "names", ("",) * len(self.shapes))
        if len(self.names) != len(self.shapes):
            msg = f"names: got {len(self.names)} for {len(self.shapes)} tensors, expected one each"
            raise ValueError(msg)
        if not 0 < len(self.shapes) <= 0xFFFF:
            msg = f"shapes: got {len(self.shapes)} tensors, expected 1 to 65535"
            raise ValueError(msg)
        big = [s for s in self.sizes if s > 0xFFFFFFFF]
        if big:
            msg = f"shapes: got a tensor of {big[0]} elements, expected fewer than 2^32"
            raise ValueError(msg)

    @classmethod
    def of(cls, like: Sequence[NDArray[np.generic]], names: Sequence[str] = (), exact: Sequence[int] = ()) -> "Layout":
        """Return the layout of arrays."""
        return cls(tuple(tuple(np.shape(a)) for a in like), tuple(names), tuple(exact))

    def floats(self, min_size: int, names: Sequence[str] = ()) -> list[bool]:
        """Return for each tensor whether it travels as float32: exact, of fewer elements than that, or so named."""
        return [
            size < min_size or place in self.exact or name in names
            for place, (size, name) in enumerate(zip(self.sizes, self.names, strict=True))
        ]

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Elements of each tensor."""
        return tuple(int(np.prod(shape, dtype=np.int64)) for shape in self.shapes)

    @property
    def num_values(self) -> int:
        """Elements of all tensors."""
        return sum(self.sizes)

    def flat(self, arrays: Sequence[object], what: str = "gradients") -> list[NDArray[np.float32]]:
        """Return arrays as float32 vectors.

        Raises:
            ValueError: Another number of arrays, or other shapes.
            TypeError: Something that is not made of numbers, such as the sparse slices of an embedding.
        """
        if len(arrays) != len(self.shapes):
            msg = f"{what}: got {len(arrays)} tensors, expected {len(self.shapes)}"
            raise ValueError(msg)
        found = []
        for place, (given, shape, name) in enumerate(zip(arrays, self.shapes, self.names, strict=True)):
            array = np.asarray(given)
            if array.dtype.kind not in "fiu":
                msg = f"{what}: tensor {place} {name} is {type(given).__name__}, expected an array; make it dense first"
                raise TypeError(msg)
            if array.shape != shape:
                msg = f"{what}: tensor {place} {name} has shape {array.shape}, expected {shape}"
                raise ValueError(msg)
            found.append(np.ascontiguousarray(array, np.float32).reshape(-1))
        return found

    def shaped(self, flats: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return vectors in the tensors' shapes."""
        return [flat.reshape(shape) for flat, shape in zip(flats, self.shapes, strict=True)]


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor in a message.

    Attributes:
        size: n, its elements.
        scale: s, float32.
        mode: What `payload` is.
        payload: Its bytes.
    """

    size: int
    scale: float
    mode: Mode
    payload: bytes | memoryview = b""


@dataclass(frozen=True, slots=True)
class Message:
    """A message, in parts.

    Attributes:
        wire: Code of the wire, see `wires.WIRES`.
        exchange: Which of the step's exchanges, from 0.
        direction: UP or DOWN.
        workers: N; on the way down, how many took part.
        worker: Who sends; SERVER on the way down.
        step: Which training step.
        tensors: In the layout's order.
    """

    wire: int
    exchange: int
    direction: int
    workers: int
    worker: int
    step: int
    tensors: tuple[Tensor, ...]


def pack(message: Message) -> bytes:
    """Return a message as bytes."""
    head = HEADER.pack(
        MAGIC, VERSION, message.wire, message.exchange, message.direction, message.workers, message.worker,
        message.step, len(message.tensors),
    )  # fmt: skip
    table = [TENSOR.pack(t.size, t.scale, t.mode) for t in message.tensors]
    return b"".join([head, *table, *[t.payload for t in message.tensors]])


def parse(data: bytes, layout: Layout) -> Message:
    """Read a message; every length is checked before anything of that length is made.

    Raises:
        WireError: Not a message of this version for these tensors, shorter or longer than it says, or a
            scaler that is negative, infinite or NaN.
    """
    if len(data) < HEADER.size:
        msg = f"message: got {len(data)} bytes, expected at least the {HEADER.size} of a header; it was cut off"
        raise WireError(msg)
    magic, version, wire, exchange, direction, workers, worker, step, count = HEADER.unpack_from(data)
    if magic != MAGIC:
        msg = f"message: got the beginning {magic!r}, expected {MAGIC!r}; these bytes are no gradients"
        raise WireError(msg)
    if version != VERSION:
        msg = f"message: got version {version}, expected {VERSION}; let both ends run the same wirelesslab"
        raise WireError(msg)
    if direction not in (UP, DOWN) or not 0 < workers <= MOST_WORKERS:
        msg = f"message: got direction {direction} and {workers} workers, expected 0 or 1, and 1 to {MOST_WORKERS}"
        raise WireError(msg)
    if (worker != SERVER) if direction == DOWN else (worker >= workers):
        wanted = SERVER if direction == DOWN else f"a number below {workers}"
        msg = f"message: got worker {worker}, direction {direction}, expected {wanted}"
        raise WireError(msg)
    if count != len(layout.shapes):
        msg = f"message: got {count} tensors, expected {len(layout.shapes)}; both ends must train the same model"
        raise WireError(msg)
    at = HEADER.size + count * TENSOR.size
    if len(data) < at:
        msg = f"message: got {len(data)} bytes, expected at least {at} for the table of {count} tensors; it was cut off"
        raise WireError(msg)
    view, tensors = memoryview(data), []
    for place, size in enumerate(layout.sizes):
        n, scale, mode = TENSOR.unpack_from(data, HEADER.size + place * TENSOR.size)
        where = f"message: tensor {place}"
        if n != size:
            msg = f"{where} claims {n} elements, expected {size}"
            raise WireError(msg)
        if not (isfinite(scale) and scale >= 0):
            msg = f"{where} has the scaler {scale}, expected a finite number of at least 0"
            raise WireError(msg)
        if mode not in MODES:
            msg = f"{where} has mode {mode}, expected one of {', '.join(map(str, MODES))}"
            raise WireError(msg)
        kind = MODES[mode]
        length = _payload_bytes(kind, n, workers, view[at:], where)
        if at + length > len(data):
            msg = f"{where} claims {length} bytes, {len(data) - at} are left; the message was cut off"
            raise WireError(msg)
        tensors.append(Tensor(n, scale, kind, view[at : at + length]))
        at += length
    if at != len(data):
        msg = f"message: got {len(data)} bytes, expected {at}; {len(data) - at} are too many"
        raise WireError(msg)
    return Message(wire, exchange, direction, workers, worker, step, tuple(tensors))


def _payload_bytes(mode: Mode, n: int, workers: int, rest: memoryview, where: str) -> int:
    """Return the length of a payload as its header tells it."""
    match mode:
        case Mode.NOTHING:
            return 0
        case Mode.FLOATS:
            return 4 * n
        case Mode.QUARTERS:
            return -(-n // 4)
        case Mode.FIFTHS:
            return -(-n // 5)
        case Mode.SUMS:
            return packed_size(n, bits_for(2 * workers + 1))
        case Mode.SIGNS:
            return -(-n // 8)
    if len(rest) < LENGTH.size:
        msg = f"{where}: got {len(rest)} bytes, expected {LENGTH.size} that say how long it is; the message was cut off"
        raise WireError(msg)
    (first,) = LENGTH.unpack_from(rest)
    if mode in (Mode.ENTROPY, Mode.CODED_SUMS):
        return LENGTH.size + int(first)
    if mode is Mode.SPARSE:
        if first > n:
            msg = f"{where} claims {first} of {n} elements, expected at most all"
            raise WireError(msg)
        return LENGTH.size + 8 * int(first)
    levels, bucket = first & 0xFFFF, first >> 16
    if not levels or not bucket:
        msg = f"{where}: got {levels} levels in buckets of {bucket}, expected at least 1 of each"
        raise WireError(msg)
    return int(LENGTH.size + 4 * -(-n // bucket) + packed_size(n, bits_for(2 * levels + 1)))


def expect(
    message: Message, *, wire: int, direction: int, step: int | None = None, exchange: int | None = None
) -> None:
    """Refuse a message that is right in itself, and not the one that is due.

    Raises:
        WireError: Another wire, direction, step or exchange.
    """
    for what, got, wanted in (
        ("wire", message.wire, wire), ("direction", message.direction, direction), ("step", message.step, step),
        ("exchange", message.exchange, exchange),
    ):  # fmt: skip
        if wanted is not None and got != wanted:
            msg = f"message of worker {message.worker}: got {what} {got}, expected {wanted}"
            raise WireError(msg)


def check_place(*, worker: int, workers: int, step: int = 0) -> None:
    """Refuse a worker or a step that a header cannot hold."""
    if type(step) is not int or not 0 <= step <= MOST_STEPS:
        check.non_negative_integer(step=step)
        check.within(0, MOST_STEPS, step=step)
    if type(workers) is not int or not 0 < workers <= MOST_WORKERS or type(worker) is not int or worker < 0:
        check.positive_integer(workers=workers)
        check.non_negative_integer(worker=worker)
        check.within(1, MOST_WORKERS, workers=workers)
    if worker >= workers:
        msg = f"worker: got {worker}, expected a number below workers={workers}"
        raise ValueError(msg)
