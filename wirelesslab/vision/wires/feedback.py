"""Wires with error feedback: what a message leaves out is kept by its worker and added to the next gradient."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.terngrad import sums_of
from wirelesslab.vision.wires.messages import LENGTH, Layout, Mode, Tensor, WireError
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


def owed(state: WireState, gradients: Sequence[NDArray[np.generic]]) -> list[Flat]:
    """Return gradients plus what is still owed, one vector per tensor.

    Raises:
        ValueError: An entry is NaN or infinite, or a shape is wrong; the state is left as it was.
    """
    flats = state.layout.flat(gradients)
    found = [flat + memory for flat, memory in zip(flats, state.memory, strict=True)]
    for flat, name in zip(found, state.layout.names, strict=True):
        sums_of(flat, name)
    return found


@dataclass(frozen=True, kw_only=True)
class SignSGD:
    """One bit an entry, and the mean magnitude; floats come down.

    Attributes:
        min_size: Tensors of fewer entries travel as float32.

    References:
        Karimireddy et al., "Error feedback fixes signSGD and other gradient compression schemes", ICML 2019.
    """

    min_size: int = 64
    code: ClassVar[int] = 3
    exchanges: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check.positive_integer(min_size=self.min_size)

    def init(
        self, like: Sequence[NDArray[np.generic]], seed: int, worker: int, workers: int, *, exact: Sequence[int] = ()
    ) -> WireState:
        """Return a worker's state, which owes nothing yet."""
        return init_state(like, seed, worker, workers, exact=exact, memory=True)

    def encode(
        self, state: WireState, gradients: Sequence[NDArray[np.generic]], step: int, exchange: int = 0,
        received: bytes = b"",  # noqa: ARG002
    ) -> bytes:  # fmt: skip
        """Return signs; what they leave out is kept in the state.

        Raises:
            ValueError: An entry is NaN or infinite, or a shape is wrong.
        """
        tensors, memory = [], []
        for flat, whole in zip(owed(state, gradients), state.layout.floats(self.min_size), strict=True):
            if whole:
                tensors.append(floats_up(flat))
                memory.append(np.zeros_like(flat))
                continue
            scale = np.float32(np.abs(flat).mean(dtype=np.float64))
            positive = flat >= 0
            payload = np.packbits(positive, bitorder="little").tobytes()
            tensors.append(Tensor(flat.size, float(scale), Mode.SIGNS, payload))
            memory.append(flat - np.where(positive, scale, -scale))
        message = message_up(self, state, step, exchange, tensors)
        state.memory = memory
        return message

    def aggregate(self, messages: Sequence[bytes], layout: Layout) -> bytes:
        """Return the mean as floats."""
        ups = parse_ups(self, messages, layout)
        columns, floats = zip(*[up.tensors for up in ups], strict=True), layout.floats(self.min_size)
        tensors = [
            mean_down([read_floats(t) if whole else self._read(t) for t in column])
            for column, whole in zip(columns, floats, strict=True)
        ]
        return message_down(self, ups, tensors)

    def _read(self, tensor: Tensor) -> Flat:
        refuse_mode(tensor, Mode.SIGNS)
        bits = np.unpackbits(np.frombuffer(tensor.payload, np.uint8), bitorder="little")
        if bits[tensor.size :].any():
            msg = "message: got signs behind the last entry; it was damaged"
            raise WireError(msg)
        scale = np.float32(tensor.scale)
        return np.where(bits[: tensor.size] == 1, scale, -scale)

    def decode(self, state: WireState, received: bytes, step: int) -> list[Flat]:
        """Return the mean gradient."""
        message = parse_down(self, state, received, step, 0)
        return state.layout.shaped([read_floats(t) for t in message.tensors])


@dataclass(frozen=True, kw_only=True)
class TopK:
    """The largest entries of each tensor with their places, eight bytes each; the union of them comes down.

    Attributes:
        share: Of the entries that are sent, rounded up.
        min_size: Tensors of fewer entries travel as float32.

    References:
        Stich, Cordonnier and Jaggi, "Sparsified SGD with memory", NeurIPS 2018.
    """

    share: float = 0.01
    min_size: int = 64
    code: ClassVar[int] = 4
    exchanges: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check.positive(share=self.share)
        check.probability(share=self.share)
        check.positive_integer(min_size=self.min_size)

    def init(
        self, like: Sequence[NDArray[np.generic]], seed: int, worker: int, workers: int, *, exact: Sequence[int] = ()
    ) -> WireState:
        """Return a worker's state, which owes nothing yet."""
        return init_state(like, seed, worker, workers, exact=exact, memory=True)

    def encode(
        self, state: WireState, gradients: Sequence[NDArray[np.generic]], step: int, exchange: int = 0,
        received: bytes = b"",  # noqa: ARG002
    ) -> bytes:  # fmt: skip
        """Return the largest entries; the others are kept in the state.

        Raises:
            ValueError: An entry is NaN or infinite, or a shape is wrong.
        """
        tensors, memory = [], []
        for flat, whole in zip(owed(state, gradients), state.layout.floats(self.min_size), strict=True):
            kept = np.zeros_like(flat)
            if whole:
                tensors.append(floats_up(flat))
            else:
                count = ceil(self.share * flat.size)
                places = np.sort(np.argpartition(-np.abs(flat), count - 1)[:count])
                tensors.append(sparse(flat.size, places, flat[places]))
                kept = flat.copy()
                kept[places] = 0.0
            memory.append(kept)
        message = message_up(self, state, step, exchange, tensors)
        state.memory = memory
        return message

    def aggregate(self, messages: Sequence[bytes], layout: Layout) -> bytes:
        """Return the mean: the entries that anybody sent, or all where that is shorter."""
        ups = parse_ups(self, messages, layout)
        columns, floats = zip(*[up.tensors for up in ups], strict=True), layout.floats(self.min_size)
        tensors = [
            mean_down([read_floats(t) for t in column]) if whole else self._mean(column)
            for column, whole in zip(columns, floats, strict=True)
        ]
        return message_down(self, ups, tensors)

    def _mean(self, column: Sequence[Tensor]) -> Tensor:
        dense = mean_down([self._read(t) for t in column])
        sent = np.unique(np.concatenate([read_sparse(t)[0] for t in column]))
        if LENGTH.size + 8 * sent.size >= 4 * dense.size:
            return dense
        return sparse(dense.size, sent, np.frombuffer(dense.payload, "<f4")[sent])

    def _read(self, tensor: Tensor) -> Flat:
        refuse_mode(tensor, Mode.SPARSE)
        return scattered(tensor)

    def decode(self, state: WireState, received: bytes, step: int) -> list[Flat]:
        """Return the mean gradient."""
        message = parse_down(self, state, received, step, 0)
        flats = [scattered(t) if t.mode is Mode.SPARSE else read_floats(t) for t in message.tensors]
        return state.layout.shaped(flats)


def sparse(size: int, places: NDArray[np.integer], values: Flat) -> Tensor:
    """Return a tensor of `size` entries of which only some are sent."""
    payload = LENGTH.pack(places.size) + places.astype("<u4").tobytes() + values.astype("<f4").tobytes()
    return Tensor(size, 0.0, Mode.SPARSE, payload)


def read_sparse(tensor: Tensor) -> tuple[NDArray[np.int64], Flat]:
    """Return the places, ascending, and their values.

    Raises:
        WireError: Places are not ascending or outside, or values are not finite.
    """
    (count,) = LENGTH.unpack_from(tensor.payload)
    places = np.frombuffer(tensor.payload, "<u4", count, LENGTH.size).astype(np.int64)
    values = np.frombuffer(tensor.payload, "<f4", count, LENGTH.size + 4 * count).astype(np.float32)
    if count and not (np.all(np.diff(places) > 0) and places[-1] < tensor.size and np.isfinite(values).all()):
        msg = (
            f"message: got places that do not ascend below {tensor.size}, or values that are not finite; it was damaged"
        )
        raise WireError(msg)
    return places, values


def scattered(tensor: Tensor) -> Flat:
    """Return a SPARSE tensor's entries, zeros where nothing was sent."""
    flat = np.zeros(tensor.size, np.float32)
    places, values = read_sparse(tensor)
    flat[places] = values
    return flat
