"""QSGD: entries rounded at random to a few levels of their bucket's length."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.philox import uniforms
from wirelesslab.vision.terngrad import sums_of
from wirelesslab.vision.wires.messages import LENGTH, Layout, Mode, Tensor, WireError
from wirelesslab.vision.wires.packing import bits_for, pack_bits, packed_size, unpack_bits
from wirelesslab.vision.wires.wire import (
    Flat,
    WireState,
    floats_up,
    init_state,
    mean_down,
    message_down,
    message_up,
    parse_down,
    parse_ups,
    read_floats,
    refuse_mode,
)


@dataclass(frozen=True, kw_only=True)
class QSGD:
    """Quantised gradients: per bucket a length, per entry a signed level in a fixed number of bits; floats come down.

    Entry g of a bucket of length |v| becomes sign(g) |v| l / levels, where l is levels |g| / |v| rounded up or
    down at random so that the mean is g. The paper codes levels with Elias codes; fixed bits are our choice.

    Attributes:
        levels: Above zero; 1 gives ternary entries.
        bucket: Entries that share a length.
        min_size: Tensors of fewer entries travel as float32.

    References:
        Alistarh et al., "QSGD: communication-efficient SGD via gradient quantization and encoding", NeurIPS 2017.
    """

    levels: int = 3
    bucket: int = 512
    min_size: int = 64
    code: ClassVar[int] = 2
    exchanges: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check.positive_integer(levels=self.levels, bucket=self.bucket, min_size=self.min_size)
        check.within(1, 0xFFFF, levels=self.levels, bucket=self.bucket)

    def init(
        self, like: Sequence[NDArray[np.generic]], seed: int, worker: int, workers: int, *, exact: Sequence[int] = ()
    ) -> WireState:
        """Return a worker's state."""
        return init_state(like, seed, worker, workers, exact=exact)

    def encode(
        self, state: WireState, gradients: Sequence[NDArray[np.generic]], step: int, exchange: int = 0,
        received: bytes = b"",  # noqa: ARG002
    ) -> bytes:  # fmt: skip
        """Return lengths and levels.

        Raises:
            ValueError: An entry is NaN or infinite, or a shape is wrong.
        """
        flats = state.layout.flat(gradients)
        floats, tensors = state.layout.floats(self.min_size), []
        for lane, (flat, name) in enumerate(zip(flats, state.layout.names, strict=True)):
            sums_of(flat, name)
            if floats[lane]:
                tensors.append(floats_up(flat))
            else:
                tensors.append(self._levels_up(flat, uniforms(flat.size, state.key, lane, step)))
        return message_up(self, state, step, exchange, tensors)

    def _levels_up(self, flat: Flat, drawn: Flat) -> Tensor:
        lengths = self._lengths(flat)
        per_entry = np.repeat(lengths, self.bucket)[: flat.size].astype(np.float64)
        with np.errstate(divide="ignore", invalid="ignore"):
            exact = np.where(per_entry > 0, self.levels * np.abs(flat) / per_entry, 0.0)
        level = np.minimum(np.floor(exact + drawn), self.levels).astype(np.int64)
        values = (np.where(flat < 0, -level, level) + self.levels).astype(np.uint32)
        bits = bits_for(2 * self.levels + 1)
        packed = np.empty(packed_size(flat.size, bits), np.uint8)
        pack_bits(values, bits, packed)
        head = LENGTH.pack(self.levels | self.bucket << 16)
        return Tensor(flat.size, 0.0, Mode.LEVELS, head + lengths.astype("<f4").tobytes() + packed.tobytes())

    def _lengths(self, flat: Flat) -> Flat:
        """Return each bucket's l2 norm, rounded up so that no entry exceeds it."""
        squares = np.add.reduceat(flat.astype(np.float64) ** 2, np.arange(0, flat.size, self.bucket))
        lengths = np.minimum(np.sqrt(squares), np.finfo(np.float32).max).astype(np.float32)
        return np.where(lengths.astype(np.float64) ** 2 < squares, np.nextafter(lengths, np.float32(np.inf)), lengths)

    def aggregate(self, messages: Sequence[bytes], layout: Layout) -> bytes:
        """Return the mean as floats: lengths differ from worker to worker, so levels cannot be added."""
        ups = parse_ups(self, messages, layout)
        columns, floats = zip(*[up.tensors for up in ups], strict=True), layout.floats(self.min_size)
        tensors = [
            mean_down([read_floats(t) if whole else self._read(t) for t in column])
            for column, whole in zip(columns, floats, strict=True)
        ]
        return message_down(self, ups, tensors)

    def _read(self, tensor: Tensor) -> Flat:
        refuse_mode(tensor, Mode.LEVELS)
        (head,) = LENGTH.unpack_from(tensor.payload)
        if (head & 0xFFFF, head >> 16) != (self.levels, self.bucket):
            got = f"{head & 0xFFFF} levels in buckets of {head >> 16}"
            msg = f"message: got {got}, expected {self.levels} and {self.bucket}"
            raise WireError(msg)
        buckets, bits = -(-tensor.size // self.bucket), bits_for(2 * self.levels + 1)
        lengths = np.frombuffer(tensor.payload, "<f4", buckets, LENGTH.size).astype(np.float32)
        values = np.empty(tensor.size, np.uint32)
        even = unpack_bits(np.frombuffer(tensor.payload, np.uint8, offset=LENGTH.size + 4 * buckets), bits, values)
        if not even or values.max() > 2 * self.levels or not (np.isfinite(lengths).all() and lengths.min() >= 0):
            msg = "message: got levels or lengths out of range; it was damaged"
            raise WireError(msg)
        unit = np.repeat(lengths / np.float32(self.levels), self.bucket)[: tensor.size]
        read: Flat = unit * (values.astype(np.float32) - np.float32(self.levels))
        return read

    def decode(self, state: WireState, received: bytes, step: int) -> list[Flat]:
        """Return the mean gradient."""
        message = parse_down(self, state, received, step, 0)
        return state.layout.shaped([read_floats(t) for t in message.tensors])
