"""What a wire is: gradients of many workers as bytes, through a server, back as one mean gradient."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.philox import key_of
from wirelesslab.vision.wires.messages import (
    DOWN,
    SERVER,
    UP,
    Layout,
    Message,
    Mode,
    Tensor,
    WireError,
    check_place,
    expect,
    pack,
    parse,
)

Flat = NDArray[np.float32]


@dataclass
class WireState:
    """What a worker's end of a wire knows; arrays and numbers only, so that it can be copied and saved.

    Attributes:
        layout: The tensors.
        seed: Of the randomness; with worker and step it names a stream, so nothing depends on who computes first.
        worker: This worker's number, from 0.
        workers: N.
        key: Of the randomness: that of the stream (seed, "wire", worker); the step is a counter.
        memory: What has not been sent yet, one vector per tensor; empty without error feedback.
        checked_step: The step whose gradients have been checked by an earlier exchange; -1 none.
    """

    layout: Layout
    seed: int
    worker: int
    workers: int
    key: NDArray[np.uint64]
    memory: list[Flat] = field(default_factory=list)
    checked_step: int = -1


class Wire(Protocol):
    """Turns gradients into messages and back, in one or more exchanges per step.

    For every exchange each worker's `encode` makes a message, the server's `aggregate` makes one of them all,
    and every worker gets that one; it is what the next exchange is given as `received`, and after the last
    one `decode` returns the mean gradient. What comes down is the same for all, so replicas stay identical.
    """

    @property
    def code(self) -> int:
        """Its number in headers."""
        ...

    @property
    def exchanges(self) -> int:
        """Exchanges per step."""
        ...

    def init(
        self, like: Sequence[NDArray[np.generic]], seed: int, worker: int, workers: int, *, exact: Sequence[int] = ()
    ) -> WireState:
        """Return a worker's state for gradients of these shapes; tensors at the places `exact` travel as they are."""
        ...

    def encode(
        self, state: WireState, gradients: Sequence[NDArray[np.generic]], step: int, exchange: int, received: bytes
    ) -> bytes:
        """Return a worker's message; `received` is what came down in the exchange before, b"" in the first."""
        ...

    def aggregate(self, messages: Sequence[bytes], layout: Layout) -> bytes:
        """Return the server's answer to one message of each worker that takes part."""
        ...

    def decode(self, state: WireState, received: bytes, step: int) -> list[Flat]:
        """Return the mean gradient, in the layout's shapes."""
        ...


def init_state(
    like: Sequence[NDArray[np.generic]],
    seed: int,
    worker: int,
    workers: int,
    *,
    names: Sequence[str] = (),
    exact: Sequence[int] = (),
    memory: bool = False,
) -> WireState:
    """Return a worker's state; what every wire's `init` comes down to."""
    check_place(worker=worker, workers=workers)
    layout = Layout.of(like, names, exact)
    kept = [np.zeros(size, np.float32) for size in layout.sizes] if memory else []
    return WireState(layout, seed, worker, workers, key_of(seed, "wire", worker), kept)


def message_up(wire: Wire, state: WireState, step: int, exchange: int, tensors: Sequence[Tensor]) -> bytes:
    """Return a worker's message as bytes."""
    check_place(worker=state.worker, workers=state.workers, step=step)
    return pack(Message(wire.code, exchange, UP, state.workers, state.worker, step, tuple(tensors)))


def message_down(wire: Wire, ups: Sequence[Message], tensors: Sequence[Tensor]) -> bytes:
    """Return the server's answer to these messages as bytes; its N is how many there were."""
    return pack(Message(wire.code, ups[0].exchange, DOWN, len(ups), SERVER, ups[0].step, tuple(tensors)))


def parse_ups(wire: Wire, messages: Sequence[bytes], layout: Layout) -> list[Message]:
    """Read the workers' messages of one exchange, and return them in the workers' order.

    Raises:
        WireError: There is none; one is damaged; they are of different steps, exchanges or numbers of workers; or a
            worker speaks twice.
    """
    if not messages:
        msg = "messages: got none, expected one of each worker that takes part"
        raise WireError(msg)
    ups = sorted((parse(data, layout) for data in messages), key=lambda m: m.worker)
    first = ups[0]
    for up in ups:
        expect(up, wire=wire.code, direction=UP, step=first.step, exchange=first.exchange)
        if up.workers != first.workers:
            msg = f"message of worker {up.worker}: got {up.workers} workers, expected {first.workers} as the others say"
            raise WireError(msg)
    numbers = [up.worker for up in ups]
    if len(set(numbers)) < len(numbers):
        msg = f"messages: got workers {numbers}, expected each once"
        raise WireError(msg)
    if first.exchange >= wire.exchanges:
        msg = f"messages: got exchange {first.exchange}, expected one below {wire.exchanges}"
        raise WireError(msg)
    return ups


def parse_down(wire: Wire, state: WireState, received: bytes, step: int, exchange: int) -> Message:
    """Read the server's answer.

    Raises:
        WireError: It is damaged, or not the one that is due.
    """
    message = parse(received, state.layout)
    expect(message, wire=wire.code, direction=DOWN, step=step, exchange=exchange)
    if message.workers > state.workers:
        msg = f"message: got {message.workers} workers that took part, expected at most {state.workers}"
        raise WireError(msg)
    return message


def floats_up(flat: Flat) -> Tensor:
    """Return a tensor that travels as it is."""
    return Tensor(flat.size, 0.0, Mode.FLOATS, flat.astype("<f4", copy=False).tobytes())


def read_floats(tensor: Tensor) -> Flat:
    """Return the numbers of a FLOATS tensor, refusing NaN and infinity.

    Raises:
        WireError: An entry is NaN or infinite, or the tensor is of another mode.
    """
    if tensor.mode is Mode.NOTHING:
        return np.zeros(tensor.size, np.float32)
    refuse_mode(tensor, Mode.FLOATS)
    values = np.frombuffer(tensor.payload, "<f4").astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        msg = "message: got a number that is NaN or infinite, expected finite ones"
        raise WireError(msg)
    return values


def refuse_mode(tensor: Tensor, *wanted: Mode) -> None:
    """Refuse a tensor of another mode.

    Raises:
        WireError: It is.
    """
    if tensor.mode not in wanted:
        msg = f"message: got a tensor of mode {tensor.mode.name}, expected {' or '.join(m.name for m in wanted)}"
        raise WireError(msg)


def mean_down(flats: Sequence[Flat]) -> Tensor:
    """Return the workers' mean as floats: added in the workers' order in double precision, then rounded once."""
    total = np.zeros(flats[0].size, np.float64)
    for flat in flats:
        total += flat
    total /= len(flats)
    return floats_up(total.astype(np.float32))
