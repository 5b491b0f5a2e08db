"""TernGrad's wire: scalers first, then codes up and integer sums down."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.ternary_kernels import draw_codes, draw_quarters, lifted
from wirelesslab.vision.terngrad import TernGradConfig, scaler_of, sums_of
from wirelesslab.vision.wires.entropy import MOST_LEVELS, compress, decompress
from wirelesslab.vision.wires.messages import LENGTH, Layout, Message, Mode, Tensor, WireError
from wirelesslab.vision.wires.packing import (
    bits_for,
    pack_bits,
    pack_fifths,
    packed_size,
    unpack_bits,
    unpack_fifths,
    unpack_quarters,
)
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

Codes = NDArray[np.uint8]
TERNARY = {"2bit": Mode.QUARTERS, "base3": Mode.FIFTHS, "entropy": Mode.ENTROPY}


@dataclass(frozen=True)
class Ternary:
    """Ternary gradients (TernGrad).

    With shared scalers a step has two exchanges: scalers up and their maximum down, then codes up and their integer
    sums down, in ceil(log2(2N + 1)) bits or entropy-coded. Without sharing there is one, and floats come down.

    Attributes:
        config: What becomes ternary, and how.
        names: Names of the tensors, when `config.float_names` keeps some of them.

    Raises:
        ValueError: `config.float_names` names a tensor that `names` lacks.
    """

    config: TernGradConfig = field(default_factory=TernGradConfig)
    names: tuple[str, ...] = ()
    code: ClassVar[int] = 1

    def __post_init__(self) -> None:
        for name in self.config.float_names:
            check.one_of(self.names, float_names=name)

    @property
    def exchanges(self) -> int:
        """Two when scalers are shared, one otherwise."""
        return 2 if self.config.share_scaler == "max" else 1

    def init(
        self, like: Sequence[NDArray[np.generic]], seed: int, worker: int, workers: int, *, exact: Sequence[int] = ()
    ) -> WireState:
        """Return a worker's state."""
        return init_state(like, seed, worker, workers, names=self.names, exact=exact)

    def encode(
        self, state: WireState, gradients: Sequence[NDArray[np.generic]], step: int, exchange: int = 0,
        received: bytes = b"",
    ) -> bytes:  # fmt: skip
        """Return scalers in the first of two exchanges, codes in the last.

        Raises:
            ValueError: An entry is NaN or infinite, a shape is wrong, or `received` is not this step's scalers.
        """
        flats = state.layout.flat(gradients)
        if exchange + 1 < self.exchanges:
            tensors = [Tensor(f.size, s, Mode.NOTHING) for f, s in zip(flats, self._scalers(state, flats), strict=True)]
            state.checked_step = step
            return message_up(self, state, step, exchange, tensors)
        if self.exchanges == 1:
            scales = self._scalers(state, flats)
        else:
            scales = [t.scale for t in parse_down(self, state, received, step, 0).tensors]
            if state.checked_step != step:  # a worker that came back between the exchanges
                self._scalers(state, flats)
        ternary = self._ternary(state.layout)
        tensors = [
            self._codes_up(state, flat, scale, lane, step) if ternary[lane] else floats_up(flat)
            for lane, (flat, scale) in enumerate(zip(flats, scales, strict=True))
        ]
        return message_up(self, state, step, exchange, tensors)

    def _ternary(self, layout: Layout) -> list[bool]:
        return [not whole for whole in layout.floats(self.config.min_size, self.config.float_names)]

    def _scalers(self, state: WireState, flats: Sequence[Flat]) -> list[float]:
        """Return the scalers of the ternary tensors, 0 for the others."""
        ternary, clip_c = self._ternary(state.layout), self.config.clip_c
        sums = [sums_of(flat, name) for flat, name in zip(flats, state.layout.names, strict=True)]
        if self.config.layerwise:
            found = [scaler_of(*s, max(f.size, 1), clip_c) for s, f in zip(sums, flats, strict=True)]
        else:
            some = [(s, f.size) for s, f, is_ternary in zip(sums, flats, ternary, strict=True) if is_ternary]
            count = max(sum(size for _, size in some), 1)
            largest = max((s[2] for s, _ in some), default=0.0)
            found = [scaler_of(sum(s[0] for s, _ in some), sum(s[1] for s, _ in some), largest, count, clip_c)] * len(
                sums
            )
        return [float(np.float32(s)) if is_ternary else 0.0 for s, is_ternary in zip(found, ternary, strict=True)]

    def _codes_up(self, state: WireState, flat: Flat, scale: float, lane: int, step: int) -> Tensor:
        """Draw a tensor's codes and pack them; a scaler of 0 says that all are zeros."""
        if scale == 0.0:
            return Tensor(flat.size, 0.0, Mode.NOTHING)
        mode = TERNARY[self.config.code]
        values, step_size = lifted(flat, scale)
        if mode is Mode.QUARTERS:
            packed = np.empty(-(-flat.size // 4), np.uint8)
            draw_quarters(values, step_size, lane, step, state.key, packed)
            return Tensor(flat.size, scale, mode, packed.data)
        codes = np.empty(flat.size, np.uint8)
        draw_codes(values, step_size, lane, step, state.key, codes)
        if mode is Mode.FIFTHS:
            packed = np.empty(-(-flat.size // 5), np.uint8)
            pack_fifths(codes, packed)
            return Tensor(flat.size, scale, mode, packed.data)
        coded = compress(codes)
        return Tensor(flat.size, scale, mode, LENGTH.pack(len(coded)) + coded)

    def aggregate(self, messages: Sequence[bytes], layout: Layout) -> bytes:
        """Return the largest scalers, or the sums of the codes (their float mean without sharing)."""
        ups = parse_ups(self, messages, layout)
        columns = list(zip(*[up.tensors for up in ups], strict=True))
        if ups[0].exchange + 1 < self.exchanges:
            return message_down(self, ups, [self._largest(column) for column in columns])
        ternary = self._ternary(layout)
        make = self._sums if self.config.share_scaler == "max" else self._mean
        tensors = [
            make(column) if is_ternary else mean_down([read_floats(t) for t in column])
            for column, is_ternary in zip(columns, ternary, strict=True)
        ]
        return message_down(self, ups, tensors)

    @staticmethod
    def _largest(column: Sequence[Tensor]) -> Tensor:
        for tensor in column:
            refuse_mode(tensor, Mode.NOTHING)
        return Tensor(column[0].size, max(t.scale for t in column), Mode.NOTHING)

    def _sums(self, column: Sequence[Tensor]) -> Tensor:
        scales = {t.scale for t in column}
        if len(scales) > 1:
            msg = f"messages: got the scalers {sorted(scales)} of one tensor, expected the one that was shared"
            raise WireError(msg)
        size, scale, workers = column[0].size, column[0].scale, len(column)
        if scale == 0.0:
            return Tensor(size, 0.0, Mode.NOTHING)
        total = np.zeros(size, np.uint32)  # codes are 0, 1, 2: the sum has N added
        for tensor in column:
            total += read_codes(tensor)
        levels = 2 * workers + 1
        num_bytes = packed_size(size, bits_for(levels))
        if self.config.down == "entropy" and levels <= MOST_LEVELS:
            coded = compress(total.astype(np.uint8), levels)
            if LENGTH.size + len(coded) < num_bytes:  # a small tensor's frequencies may cost more than they spare
                return Tensor(size, scale, Mode.CODED_SUMS, LENGTH.pack(len(coded)) + coded)
        packed = np.empty(num_bytes, np.uint8)
        pack_bits(total, bits_for(levels), packed)
        return Tensor(size, scale, Mode.SUMS, packed.data)

    @staticmethod
    def _mean(column: Sequence[Tensor]) -> Tensor:
        flats = [np.float32(t.scale) * (read_codes(t).astype(np.float32) - np.float32(1)) for t in column]
        return mean_down(flats)

    def decode(self, state: WireState, received: bytes, step: int) -> list[Flat]:
        """Return the mean gradient: integer multiples of s / N where codes were summed."""
        message = parse_down(self, state, received, step, self.exchanges - 1)
        return state.layout.shaped([self._mean_gradient(tensor, message) for tensor in message.tensors])

    @staticmethod
    def _mean_gradient(tensor: Tensor, message: Message) -> Flat:
        if tensor.mode not in (Mode.SUMS, Mode.CODED_SUMS):
            return read_floats(tensor)
        workers = message.workers
        unit = np.float32(tensor.scale / workers)
        mean: Flat = unit * (read_sums(tensor, workers).astype(np.float32) - np.float32(workers))
        return mean


def read_sums(tensor: Tensor, workers: int) -> NDArray[np.unsignedinteger[Any]]:
    """Return a tensor's sums of N codes, 0 to 2N.

    Raises:
        WireError: The bytes hold no such sums.
    """
    if tensor.mode is Mode.CODED_SUMS:
        return _decompressed(tensor, 2 * workers + 1)
    sums = np.empty(tensor.size, np.uint32)
    even = unpack_bits(np.frombuffer(tensor.payload, np.uint8), bits_for(2 * workers + 1), sums)
    if not even or (sums.size and sums.max() > 2 * workers):
        msg = f"message: got sums above {2 * workers}, or bits behind the last; it was damaged"
        raise WireError(msg)
    return sums


def _decompressed(tensor: Tensor, levels: int) -> Codes:
    try:
        return decompress(tensor.payload[LENGTH.size :], tensor.size, levels)
    except ValueError as error:
        raise WireError(str(error)) from error


def read_codes(tensor: Tensor) -> Codes:
    """Return a tensor's codes 0, 1, 2.

    Raises:
        WireError: A byte holds no codes, or the tensor is of another mode.
    """
    if tensor.mode is Mode.NOTHING:
        return np.ones(tensor.size, np.uint8)
    refuse_mode(tensor, *TERNARY.values())
    if tensor.mode is Mode.ENTROPY:
        return _decompressed(tensor, 3)
    codes = np.empty(tensor.size, np.uint8)
    unpack: Any = unpack_quarters if tensor.mode is Mode.QUARTERS else unpack_fifths
    if not unpack(np.frombuffer(tensor.payload, np.uint8), codes):
        msg = "message: got a byte that holds no ternary codes; it was damaged"
        raise WireError(msg)
    return codes
