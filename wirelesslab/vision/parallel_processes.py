"""Data-parallel training in real processes: workers speak gRPC over loopback, may be slow, be killed, and come back.

The server sits in the parent. A worker writes itself down after every few steps (weights, optimizer, what it still
owes); when it is killed it is started again, goes back to what it wrote, and computes anew what is missing. Messages
are a function of (seed, worker, step), and the server keeps its latest answers, so that nothing but time is lost.
With `patience_s` the others do not wait: the step goes on without the worker, whose gradient of that step is lost,
and which catches up from the answers.

Messages are bytes as the wire makes them: gRPC's generic handlers need no compiled protocol.
"""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.context import SpawnProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import grpc
import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.parallel import ANSWERS_KEPT, ParameterServer, Replica
from wirelesslab.vision.wires import Layout, Wire, WireError
from wirelesslab.vision.wires.messages import parse

SERVICE = "wirelesslab.Training"
LONGEST_MESSAGE = 1 << 30
POLL_S = 0.05  # how often the parent looks after its workers
OPTIONS = (("grpc.max_receive_message_length", LONGEST_MESSAGE), ("grpc.max_send_message_length", LONGEST_MESSAGE))


class TrainingError(RuntimeError):
    """Training in processes that did not come to its end."""


class Job(Protocol):
    """What workers do; sent to their processes, so it must be defined in a module and hold plain data."""

    @property
    def wire(self) -> Wire:
        """How their gradients travel."""
        ...

    @property
    def workers(self) -> int:
        """How many there are."""
        ...

    @property
    def steps(self) -> int:
        """When training ends."""
        ...

    def replica(self, worker: int, /) -> Replica:
        """Return a worker at its first step."""
        ...


@dataclass(frozen=True, kw_only=True)
class ProcessOptions:
    """How workers are run.

    Attributes:
        patience_s: How long a step waits for the slowest worker before it goes on without; None waits `timeout_s`.
        timeout_s: Longest wait for anything: then training ends with an error instead of hanging.
        written_every: Steps between two times that a worker writes itself down; at most ANSWERS_KEPT.
        restarts: How often a worker that died is started again, each.
        delays_s: Seconds that a worker sleeps before each step, by worker: slow workers for tests and demonstrations.
        kill_at: Step and exchange at which a worker is killed when its message arrives, once, by worker: likewise.
    """

    patience_s: float | None = None
    timeout_s: float = 120.0
    written_every: int = 1
    restarts: int = 3
    delays_s: tuple[tuple[int, float], ...] = ()
    kill_at: tuple[tuple[int, int, int], ...] = ()

    def __post_init__(self) -> None:
        check.positive(timeout_s=self.timeout_s)
        if self.patience_s is not None:
            check.positive(patience_s=self.patience_s)
        check.positive_integer(written_every=self.written_every)
        check.non_negative_integer(restarts=self.restarts)
        if self.written_every > ANSWERS_KEPT:
            msg = f"written_every: got {self.written_every}, expected at most {ANSWERS_KEPT}, the answers that are kept"
            raise ValueError(msg)


@dataclass(frozen=True)
class ProcessRun:
    """What became of a training.

    Attributes:
        arrays: Worker 0 at the end, see `Replica.written`.
        digests: SHA-256 of all that training changed, by worker: equal replicas have equal ones.
        killed: Worker and step of each kill.
        missed: Workers left out, by step.
        up: Bytes from workers to server, messages sent again after a restart included.
        down: Bytes from server to workers.
    """

    arrays: dict[str, NDArray[Any]] = field(repr=False)
    digests: tuple[str, ...]
    killed: tuple[tuple[int, int], ...]
    missed: dict[int, tuple[int, ...]]
    up: int
    down: int


# --- the server, in the parent -----------------------------------------------------------------------------------


class _Hub:
    """Everything that gRPC's threads share: one lock, one server of parameters."""

    def __init__(self, job: Job, options: ProcessOptions) -> None:
        self.options = options
        self.server = ParameterServer(job.wire, job.workers)
        self.news = threading.Condition()
        self.results: dict[int, tuple[str, bytes]] = {}
        self.killed: list[tuple[int, int]] = []
        self.kill: Callable[[int], None] | None = None
        self._to_kill = {worker: (step, exchange) for worker, step, exchange in options.kill_at}
        self._began_s = time.monotonic()
        self.failure = ""
        self.up = self.down = 0

    def hello(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """A worker says what it trains."""
        said = json.loads(request)
        shapes = tuple(tuple(shape) for shape in said["shapes"])
        layout = Layout(shapes, tuple(said["names"]), tuple(said["exact"]))
        with self.news:
            try:
                self.server.know(layout)
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        return b"{}"

    def exchange(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        """A worker's message; returns when all have spoken, or patience is over."""
        with self.news:
            try:
                assert self.server.layout is not None
                read = parse(message, self.server.layout)
                at = read.step, read.exchange
                if self._to_kill.get(read.worker) == at and self.kill is not None:
                    del self._to_kill[read.worker]
                    self.killed.append((read.worker, read.step))
                    self.kill(read.worker)
                self.up += len(message)
                if not self.server.waiting:
                    self._began_s = time.monotonic()
                if self.server.offer(message) and self.server.complete:
                    self._close()
            except (WireError, ValueError, AssertionError) as error:
                self.failure = str(error)
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            answer = self._awaited(at, context)
            self.down += len(answer)
            return answer

    def _awaited(self, at: tuple[int, int], context: grpc.ServicerContext) -> bytes:
        """Wait for an answer; whoever loses patience first goes on without the missing ones."""
        until_s = time.monotonic() + self.options.timeout_s
        while at not in self.server.answers:
            now_s = time.monotonic()
            if at < (self.server.step, self.server.exchange):
                context.abort(grpc.StatusCode.OUT_OF_RANGE, f"step {at[0]} is past, and its answer no longer kept")
            if now_s >= until_s:
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"step {at[0]} waits for a worker")
            left_s = until_s - now_s
            if self.options.patience_s is not None:
                lost_s = self._began_s + self.options.patience_s - now_s
                if lost_s <= 0 and self.server.waiting and at == (self.server.step, self.server.exchange):
                    self._close()
                    continue
                left_s = min(left_s, max(lost_s, 1e-3))
            self.news.wait(left_s)
        return self.server.answers[at]

    def _close(self) -> None:
        self.server.close()
        self._began_s = time.monotonic()
        self.news.notify_all()

    def done(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        """A worker has finished: number u16, digest of 64 letters, and worker 0's arrays."""
        del context
        with self.news:
            self.results[int.from_bytes(request[:2], "little")] = request[2:66].decode("ascii"), request[66:]
            self.news.notify_all()
        return b"{}"


@contextmanager
def _serving(hub: _Hub, workers: int) -> Iterator[int]:
    """Serve on a port of the system's choice; yields it."""
    methods = {
        name: grpc.unary_unary_rpc_method_handler(method)
        for name, method in (("Hello", hub.hello), ("Exchange", hub.exchange), ("Done", hub.done))
    }
    server = grpc.server(ThreadPoolExecutor(2 * workers + 4, thread_name_prefix="wire"), options=OPTIONS)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(grace=None).wait(timeout=10)


def train_in_processes(job: Job, options: ProcessOptions | None = None, *, folder: Path | None = None) -> ProcessRun:
    """Train with one process per worker, until all have taken the job's steps.

    Args:
        job: What workers do.
        options: See `ProcessOptions`.
        folder: Where workers write themselves down; a temporary one when None. Training goes on from what is there.

    Raises:
        TrainingError: A worker failed more often than it may be started again, or nothing moved for `timeout_s`.
    """
    options = options or ProcessOptions()
    check.positive_integer(steps=job.steps, workers=job.workers)
    with TemporaryDirectory() as temporary:
        place = Path(temporary) if folder is None else folder
        place.mkdir(parents=True, exist_ok=True)
        hub = _Hub(job, options)
        hub.server.step = min(_written_steps(place, job.workers))
        with _serving(hub, job.workers) as port:
            crew = _Crew(job, options, hub, port, place)
            hub.kill = crew.kill
            try:
                crew.work()
            finally:
                crew.end()
        return _run_of(hub, job.workers)


def _run_of(hub: _Hub, workers: int) -> ProcessRun:
    digests = tuple(hub.results[worker][0] for worker in range(workers))
    return ProcessRun(
        arrays=unpacked(hub.results[0][1]), digests=digests, killed=tuple(hub.killed), missed=dict(hub.server.missed),
        up=hub.up, down=hub.down,
    )  # fmt: skip


class _Crew:
    """The workers' processes."""

    def __init__(self, job: Job, options: ProcessOptions, hub: _Hub, port: int, place: Path) -> None:
        self.job, self.options, self.hub, self.port, self.place = job, options, hub, port, place
        self.processes: dict[int, SpawnProcess] = {}
        self.starts = dict.fromkeys(range(job.workers), 0)

    def start(self, worker: int) -> None:
        self.starts[worker] += 1
        arguments = (self.job, self.options, worker, self.port, str(self.place))
        process = multiprocessing.get_context("spawn").Process(target=_work, args=arguments, daemon=True)
        process.start()
        self.processes[worker] = process

    def kill(self, worker: int) -> None:
        self.processes[worker].kill()

    def work(self) -> None:
        """Start all, start those again that die, and return when all have finished."""
        for worker in range(self.job.workers):
            self.start(worker)
        moved_s, before = time.monotonic(), (-1, -1, 0)
        while len(self.hub.results) < self.job.workers:
            with self.hub.news:
                self.hub.news.wait(POLL_S)
                now = self.hub.server.step, self.hub.server.exchange, len(self.hub.results)
            if now != before:
                moved_s, before = time.monotonic(), now
            if time.monotonic() - moved_s > 2 * self.options.timeout_s:
                msg = (
                    f"workers: nothing moved for {2 * self.options.timeout_s:g} s at step {now[0]}; {self.hub.failure}"
                )
                raise TrainingError(msg)
            for worker, process in list(self.processes.items()):
                if process.exitcode is None or worker in self.hub.results:
                    continue
                if self.starts[worker] > self.options.restarts:
                    msg = f"worker {worker}: ended {self.starts[worker]} times, the last with code {process.exitcode}"
                    raise TrainingError(f"{msg}; {self.hub.failure}".rstrip("; "))
                self.start(worker)

    def end(self) -> None:
        for process in self.processes.values():
            process.join(timeout=5 if len(self.hub.results) == self.job.workers else 0)
            if process.exitcode is None:
                process.kill()
                process.join(timeout=10)


# --- a worker, in its own process ----------------------------------------------------------------------------------


def _work(job: Job, options: ProcessOptions, worker: int, port: int, place: str) -> None:
    """Live as a worker."""
    from hashlib import sha256

    from wirelesslab.threads import one_blas_thread

    file = Path(place) / f"worker-{worker}.npz"
    delay_s = dict(options.delays_s).get(worker, 0.0)
    with one_blas_thread(), grpc.insecure_channel(f"127.0.0.1:{port}", options=OPTIONS) as channel:

        def call(method: str, request: bytes) -> bytes:
            answer: bytes = channel.unary_unary(f"/{SERVICE}/{method}")(request, timeout=2 * options.timeout_s)
            return answer

        replica = job.replica(worker)
        if file.exists():
            replica.restore(unpacked(file.read_bytes()))
        layout = replica.layout()
        call("Hello", json.dumps({"shapes": layout.shapes, "names": layout.names, "exact": layout.exact}).encode())
        while replica.step < job.steps:
            if delay_s:
                threading.Event().wait(delay_s)
            answer = b""
            for exchange in range(replica.wire.exchanges):
                answer = call("Exchange", replica.encode(exchange, answer))
            replica.finish(answer)
            if replica.step % options.written_every == 0 or replica.step == job.steps:
                _write(file, packed(replica.written()))
        digest = sha256(replica.weights()).hexdigest().encode("ascii")
        call("Done", worker.to_bytes(2, "little") + digest + (packed(replica.written()) if worker == 0 else b""))


def packed(arrays: dict[str, NDArray[Any]]) -> bytes:
    """Return arrays as the bytes of an npz file."""
    from io import BytesIO

    buffer = BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def unpacked(data: bytes) -> dict[str, NDArray[Any]]:
    """Return the arrays of an npz file; pickled objects are refused."""
    from io import BytesIO

    with np.load(BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _write(file: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    fresh = file.with_suffix(".new")
    fresh.write_bytes(data)
    os.replace(fresh, file)


def _written_steps(place: Path, workers: int) -> list[int]:
    """Return the step at which each worker was written down, 0 for one that was not."""
    steps = []
    for worker in range(workers):
        file, step = place / f"worker-{worker}.npz", 0
        with suppress(FileNotFoundError):
            step = int(unpacked(file.read_bytes())["step"])
        steps.append(step)
    return steps
