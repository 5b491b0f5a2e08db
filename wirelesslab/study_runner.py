"""How a study is worked off: batches out to an executor, counts back to their points and into the journal."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from typing import Any

from wirelesslab.executors import InProcess, StudyFailedError, concurrency, result_of
from wirelesslab.journal import Journal
from wirelesslab.results import describe
from wirelesslab.rng import stream
from wirelesslab.schedule import Metrics, Point, Status
from wirelesslab.stats import Count, Timing
from wirelesslab.threads import one_thread


def run_batch(
    trial: Any, config: Any, seed: int, batch: int, names: frozenset[str]
) -> tuple[dict[str, dict[str, Any]], float]:
    """Run one batch on one thread; what a worker process does. Returns metrics as JSON, and seconds."""
    if names:
        trial = trial.only(names)
    start = time.perf_counter()
    with one_thread():
        outcome = trial(config, stream(seed, "batch", batch))
    return {part: _to_json(metrics) for part, metrics in outcome.items()}, time.perf_counter() - start


def _to_json(metrics: Metrics) -> dict[str, Any]:
    return {
        name: {"seconds": m.seconds, "frames": m.frames} if isinstance(m, Timing) else m.to_json()
        for name, m in metrics.items()
    }


def from_json(metrics: Mapping[str, Any]) -> Metrics:
    """Return the counts and timings that a batch of a journal holds."""
    return {name: Timing(**m) if isinstance(m, dict) else Count.from_json(m) for name, m in metrics.items()}


class Runner:
    """Keeps an executor busy until every point is done.

    Args:
        trial: One batch of work at one grid point.
        seed: The seed under which batches are keyed.
        points: Where the study stands.
        executor: Who computes.
        book: The journal, which is told of every batch.
        resumed: Batches that it held.
        watch: Told after every batch.
        fail_fast: Stop at the first point that fails.
    """

    def __init__(
        self,
        trial: Any,
        seed: int,
        points: list[Point],
        executor: Executor,
        book: Journal | None,
        resumed: int,
        watch: Callable[[Status], None] | None,
        fail_fast: bool,
    ) -> None:
        self.trial, self.seed, self.points, self.executor = trial, seed, points, executor
        self.book, self.watch, self.fail_fast = book, watch, fail_fast
        self.start, self.batches, self.busy_seconds = time.perf_counter(), 0, 0.0
        self.resumed = resumed
        self.open = [point for point in points if not point.done]
        self.summaries = {id(point): point.summary() for point in points}
        self.workers = 1
        self.pending: dict[Future[Any], tuple[Point, int]] = {}

    def run(self) -> None:
        """Work until every point is done.

        Raises:
            StudyFailedError: A worker process died, or a point failed under `fail_fast`.
        """
        try:
            self._fill()
            while self.pending:
                finished, _ = wait(self.pending, return_when=FIRST_COMPLETED)
                # What failed comes last, so that its neighbours are in the journal.
                for future in sorted(finished, key=lambda f: f.cancelled() or f.exception() is not None):
                    self._collect(future)
                self._fill()
            if self.watch is not None:
                self.watch(self.status(self.points[-1], finished=True))
        except BaseException:
            for future in self.pending:
                future.cancel()
            raise

    def _fill(self) -> None:
        """Submit tasks, the points with the least in flight first, until the window is full."""
        self.workers = concurrency(self.executor)  # a cluster grows and shrinks
        # Enough queued work to hide the round trip; not so much that many batches are computed in vain.
        window = 1 if isinstance(self.executor, InProcess) else 2 * self.workers
        self.open = [point for point in self.open if not point.done]
        while len(self.pending) < window:
            for point in sorted(self.open, key=lambda p: len(p.in_flight)):
                task = point.next_task()
                if task is not None:
                    break
            else:
                return
            batch, names = task
            point.in_flight[batch] = names
            offered = names if hasattr(self.trial, "only") else frozenset()
            future = self.executor.submit(run_batch, self.trial, point.config, self.seed, batch, offered)
            self.pending[future] = (point, batch)

    def _collect(self, future: Future[Any]) -> None:
        point, batch = self.pending.pop(future)
        names = point.in_flight.pop(batch)
        try:
            outcome, seconds = result_of(future, f"{say(point.values)}, batch {batch}")
        except StudyFailedError:
            raise
        except Exception as error:
            self._fail(point, batch, names, error)
            return
        expected = names or (point.parts or outcome).keys()
        if not expected <= outcome.keys():
            lacking = ", ".join(sorted(set(expected) - outcome.keys()))
            self._fail(point, batch, names, ValueError(f"trial: returned nothing for {lacking}, which was asked for"))
            return
        self.batches += 1
        self.busy_seconds += seconds
        if self.book is not None:
            values = {name: describe(value) for name, value in point.values.items()}
            self.book.append({"point": values, "batch": batch, "seconds": round(seconds, 6), "counts": outcome})
        point.add(batch, {name: from_json(metrics) for name, metrics in outcome.items()})
        self._report(point)

    def _report(self, point: Point) -> None:
        if self.fail_fast and point.failure is not None:
            msg = f"grid point {say(point.values)}, batch {point.failure.batch} failed: {point.failure.error}"
            raise StudyFailedError(msg)
        if self.watch is not None:
            self.watch(self.status(point))

    def _fail(self, point: Point, batch: int, names: frozenset[str], error: Exception) -> None:
        message = f"{type(error).__name__}: {error}"
        point.fail(batch, names, message)
        self._report(point)

    def status(self, latest: Point, *, finished: bool = False) -> Status:
        """Return where the study stands; `latest` is the point that was last worked on."""
        self.summaries[id(latest)] = latest.summary()
        each = self.busy_seconds / self.batches if self.batches else 0.0
        known, parts, errors, seconds, unknown = map(sum, zip(*self.summaries.values(), strict=True))
        left = (seconds + unknown * each) / self.workers
        return Status(
            batches=self.batches,
            resumed=self.resumed,
            curves_done=int(known),
            curves=int(max(parts, len(self.points))),
            errors=int(errors),
            seconds=time.perf_counter() - self.start,
            busy_seconds=self.busy_seconds,
            seconds_left=left if self.batches else None,
            failures=tuple(p.failure for p in self.points if p.failure is not None),
            latest=latest.values,
            finished=finished,
        )


def say(values: Mapping[str, Any]) -> str:
    """Return a grid point in words."""
    return ", ".join(f"{name}={value}" for name, value in values.items()) or "(the only point)"
