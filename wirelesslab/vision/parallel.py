"""Data-parallel training: replicas that start alike, see different data, and take the same steps.

A `Replica` is one worker, a `ParameterServer` the other end of its wire. Neither knows how messages travel: here a loop
carries them, in `parallel_processes` gRPC between processes, in `services.training` flows over a simulated network;
the weights come out alike to the last bit. Every random number is named by (seed, worker, step), so nothing
depends on who computes first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.method import Arrays, Learner
from wirelesslab.vision.wires import Layout, Wire, WireState
from wirelesslab.vision.wires.messages import parse

ANSWERS_KEPT = 64  # steps whose answers the server keeps for workers that come back


class Batches(Protocol):
    """A worker's data: the batch of any step, always the same."""

    def batch(self, step: int, /) -> Any:
        """Return the batch of a step."""
        ...


@dataclass(frozen=True, eq=False)
class ShuffledBatches:
    """Batches of a shard, in another order each epoch; what does not fill a batch waits for another epoch.

    Attributes:
        inputs: Shape (n, ...).
        labels: Shape (n, ...).
        batch_size: At most n.
        seed: Of the order, with the worker.
        worker: Whose shard it is.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]
    batch_size: int
    seed: int
    worker: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(batch_size=self.batch_size)
        if len(self.inputs) != len(self.labels):
            msg = f"labels: got {len(self.labels)} for {len(self.inputs)} inputs, expected one each"
            raise ValueError(msg)
        if self.batch_size > len(self.inputs):
            msg = f"batch_size: got {self.batch_size}, expected at most the shard's {len(self.inputs)}"
            raise ValueError(msg)

    @property
    def per_epoch(self) -> int:
        """Batches in an epoch."""
        return len(self.inputs) // self.batch_size

    def batch(self, step: int, /) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return inputs and labels of a step."""
        epoch, place = divmod(step, self.per_epoch)
        order = stream(self.seed, "batches", self.worker, epoch).permutation(len(self.inputs))
        chosen = order[place * self.batch_size : (place + 1) * self.batch_size]
        return self.inputs[chosen], self.labels[chosen]


@dataclass(eq=False)
class Replica:
    """One worker's copy of what is trained, and its end of the wire.

    Attributes:
        learner: What is trained. If it has a method `travels`, what that calls "statistic" travels as float32 and is
            averaged as it is.
        wire: How gradients travel.
        batches: Its data.
        seed: Of the initial weights, the same at all workers, and with the worker's number of all else.
        worker: Its number, from 0.
        workers: How many there are.
        step: The step it is at.
        state: Weights, optimizer and all else.
        end: Its end of the wire.
    """

    learner: Learner[Any]
    wire: Wire
    batches: Batches
    seed: int
    worker: int
    workers: int
    step: int = 0
    state: Any = None
    end: WireState | None = None
    _gradients: Sequence[NDArray[np.float32]] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.state is None:
            self.state = self.learner.build(self.seed)

    def gradients(self) -> Sequence[NDArray[np.float32]]:
        """Return this step's gradients, computed once."""
        if self._gradients is None:
            rng = stream(self.seed, "step", self.worker, self.step)
            found = self.learner.gradients(self.state, self.batches.batch(self.step), rng)
            self._gradients = [np.asarray(g, np.float32) for g in found]
            if self.end is None:
                self.end = self.wire.init(
                    self._gradients, self.seed, self.worker, self.workers, exact=self._statistics()
                )
        return self._gradients

    def _statistics(self) -> list[int]:
        """Places of what travels and is no gradient: the moving moments of BatchNorm, for one."""
        kinds = self.learner.travels(self.state).values() if hasattr(self.learner, "travels") else ()
        return [place for place, kind in enumerate(kinds) if kind == "statistic"]

    def layout(self) -> Layout:
        """Return what travels."""
        self.gradients()
        assert self.end is not None
        return self.end.layout

    def encode(self, exchange: int = 0, received: bytes = b"") -> bytes:
        """Return this step's message; see `Wire.encode`. Each exchange's message is made once."""
        gradients = self.gradients()
        assert self.end is not None
        return self.wire.encode(self.end, gradients, self.step, exchange, received)

    def finish(self, received: bytes) -> None:
        """Take the step that the server's last answer tells."""
        self.gradients()
        assert self.end is not None
        mean = self.wire.decode(self.end, received, self.step)
        self.state = self.learner.apply(self.state, mean)
        self.step += 1
        self._gradients = None

    def follow(self, other: "Replica") -> None:
        """Take over the state of a replica that has applied this step's answer: it is what this one would come to."""
        self.state, self.step, self._gradients = other.state, other.step, None

    def weights(self) -> bytes:
        """Return all that training changes as bytes: equal replicas have equal ones."""
        arrays = self.learner.written(self.state)
        return b"".join(np.ascontiguousarray(arrays[name]).tobytes() for name in sorted(arrays))

    def written(self) -> dict[str, NDArray[Any]]:
        """Return everything between two steps, as arrays: state, step, and what its end of the wire still owes."""
        arrays = {f"state/{name}": np.array(value) for name, value in self.learner.written(self.state).items()}
        arrays["step"] = np.array(self.step)
        if self.end is not None:
            arrays |= {f"owed/{place}": vector.copy() for place, vector in enumerate(self.end.memory)}
        return arrays

    def restore(self, arrays: Arrays) -> None:
        """Go back to what was written."""
        own = {name.removeprefix("state/"): value for name, value in arrays.items() if name.startswith("state/")}
        self.state = self.learner.restored(own, self.seed)
        self.step, self._gradients, self.end = int(arrays["step"]), None, None
        if any(name.startswith("owed/") for name in arrays):
            self.gradients()  # which makes this end of the wire
            assert self.end is not None
            self.end.memory = [np.array(arrays[f"owed/{place}"]) for place in range(len(self.end.memory))]


@dataclass(eq=False)
class ParameterServer:
    """The server's end: collects the workers' messages, and keeps the answers of the latest steps.

    Attributes:
        wire: How gradients travel.
        workers: How many there are.
        layout: What travels; taken from the first worker that speaks when None.
        step: The step whose messages are awaited.
        exchange: The exchange within it.
        waiting: Messages of that exchange, by worker.
        answers: Latest answers, by (step, exchange).
        missed: Workers left out, by step.
    """

    wire: Wire
    workers: int
    layout: Layout | None = None
    step: int = 0
    exchange: int = 0
    waiting: dict[int, bytes] = field(default_factory=dict)
    answers: dict[tuple[int, int], bytes] = field(default_factory=dict)
    missed: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def know(self, layout: Layout) -> None:
        """Take a worker's word for what travels.

        Raises:
            ValueError: It differs from what others said.
        """
        self.layout = self.layout or layout
        if layout != self.layout:
            msg = f"layout: got {layout.shapes}, expected {self.layout.shapes} as the other workers train"
            raise ValueError(msg)

    def offer(self, message: bytes) -> bool:
        """Take a worker's message; returns whether it is one that is awaited (not one that came too late, or again).

        Raises:
            WireError: It is damaged.
            ValueError: Nothing is known of the tensors yet, or the message is ahead of the training.
        """
        if self.layout is None:
            msg = "layout: got a message before any worker said what travels; call know first"
            raise ValueError(msg)
        read = parse(message, self.layout)
        at = read.step, read.exchange
        if at > (self.step, self.exchange):
            msg = f"message of worker {read.worker}: got step and exchange {at}, expected {self.step, self.exchange}"
            raise ValueError(msg)
        if at < (self.step, self.exchange):
            return False
        self.waiting[read.worker] = message
        return True

    @property
    def complete(self) -> bool:
        """Whether all workers have spoken."""
        return len(self.waiting) == self.workers

    def close(self) -> bytes:
        """Answer whoever has spoken, and go on to the next exchange."""
        assert self.layout is not None
        answer = self.wire.aggregate(list(self.waiting.values()), self.layout)
        self.answers[self.step, self.exchange] = answer
        absent = tuple(sorted(set(range(self.workers)) - set(self.waiting)))
        if absent:
            self.missed[self.step] = tuple(sorted({*self.missed.get(self.step, ()), *absent}))
        self.waiting = {}
        self.exchange += 1
        if self.exchange == self.wire.exchanges:
            self.step, self.exchange = self.step + 1, 0
            for exchange in range(self.wire.exchanges):
                self.answers.pop((self.step - 1 - ANSWERS_KEPT, exchange), None)
        return answer


@dataclass
class Traffic:
    """Bytes of a training, of all workers.

    Attributes:
        up: From workers to server.
        down: From server to workers, once per worker.
        steps: Steps taken.
    """

    up: int = 0
    down: int = 0
    steps: int = 0


def train_in_one_process(
    replicas: Sequence[Replica], steps: int, *, watch: Callable[[int], None] | None = None
) -> Traffic:
    """Let replicas take `steps` steps together, in this process.

    Args:
        replicas: All workers, in order, at the same step.
        steps: How many.
        watch: Called after each step with its number.

    Returns:
        What travelled.
    """
    check.positive_integer(steps=steps)
    if [r.worker for r in replicas] != list(range(len(replicas))) or {r.workers for r in replicas} != {len(replicas)}:
        msg = f"replicas: got workers {[r.worker for r in replicas]} of {sorted({r.workers for r in replicas})}, "
        msg += f"expected 0 to {len(replicas) - 1} of {len(replicas)}"
        raise ValueError(msg)
    server = ParameterServer(replicas[0].wire, len(replicas), step=replicas[0].step)
    traffic = Traffic()
    for replica in replicas:
        server.know(replica.layout())
    for _ in range(steps):
        answer = b""
        for exchange in range(server.wire.exchanges):
            for replica in replicas:
                message = replica.encode(exchange, answer)
                server.offer(message)
                traffic.up += len(message)
            answer = server.close()
            traffic.down += len(answer) * len(replicas)
        for replica in replicas:
            replica.finish(answer)
        traffic.steps += 1
        if watch is not None:
            watch(replicas[0].step - 1)
    return traffic
