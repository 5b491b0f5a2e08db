"""Gradients as they are: what all others are measured against."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.terngrad import sums_of
from wirelesslab.vision.wires.messages import Layout
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
)


@dataclass(frozen=True)
class Float32:
    """Four bytes an entry, both ways; the mean is that of one large batch."""

    code: ClassVar[int] = 0
    exchanges: ClassVar[int] = 1

    def init(
        self, like: Sequence[NDArray[np.generic]], seed: int, worker: int, workers: int, *, exact: Sequence[int] = ()
    ) -> WireState:
        """Return a worker's state."""
        return init_state(like, seed, worker, workers, exact=exact)

    def encode(
        self, state: WireState, gradients: Sequence[NDArray[np.generic]], step: int, exchange: int = 0,
        received: bytes = b"",  # noqa: ARG002
    ) -> bytes:  # fmt: skip
        """Return the gradients' bytes.

        Raises:
            ValueError: An entry is NaN or infinite, or a shape is wrong.
        """
        flats = state.layout.flat(gradients)
        for flat, name in zip(flats, state.layout.names, strict=True):
            sums_of(flat, name)
        return message_up(self, state, step, exchange, [floats_up(flat) for flat in flats])

    def aggregate(self, messages: Sequence[bytes], layout: Layout) -> bytes:
        """Return the mean."""
        ups = parse_ups(self, messages, layout)
        columns = zip(*[up.tensors for up in ups], strict=True)
        return message_down(self, ups, [mean_down([read_floats(t) for t in column]) for column in columns])

    def decode(self, state: WireState, received: bytes, step: int) -> list[Flat]:
        """Return the mean gradient."""
        message = parse_down(self, state, received, step, 0)
        return state.layout.shaped([read_floats(t) for t in message.tensors])
