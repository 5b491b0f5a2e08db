"""What is known of each grid point of a study, and what must be computed next.

The result of a grid point and part is the shortest prefix of its batches that satisfies `Stop`. Batches
may arrive in any order: a part's prefix grows as far as the records reach without a gap.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from wirelesslab import check
from wirelesslab.stats import Count, Timing

Metrics = Mapping[str, Count | Timing]


@dataclass(frozen=True, kw_only=True)
class Stop:
    """When a rate is known well enough: all targets that are given hold, or the batches are used up.

    Attributes:
        errors: Errors to see at least.
        relative_width: Half width of the 95 % clustered interval over the rate, at most.
        max_batches: Batches at most, per grid point.
        min_batches: Batches at least; few draws tell little about their scatter, and stopping at a
            number of errors after one or two bad draws overstates the rate. Never above `max_batches`.
        metric: The metric that must be known; the trial's first one when None.
    """

    errors: int | None = 100
    relative_width: float | None = None
    max_batches: int = 40
    min_batches: int = 8
    metric: str | None = None

    def __post_init__(self) -> None:
        check.positive_integer(max_batches=self.max_batches, min_batches=self.min_batches)
        if self.errors is not None:
            check.positive_integer(errors=self.errors)
        if self.relative_width is not None:
            check.positive(relative_width=self.relative_width)

    def satisfied(self, count: Count, batches: int) -> bool:
        """Say whether `count`, the sum of `batches` batches, is enough."""
        if batches >= self.max_batches:
            return True
        if batches < self.min_batches or (self.errors is None and self.relative_width is None):
            return False
        if self.errors is not None and count.errors < self.errors:
            return False
        return self.relative_width is None or count.relative_width() <= self.relative_width

    def remaining(self, count: Count, batches: int) -> int:
        """Estimate how many more batches are needed, from the errors so far."""
        if not batches:
            return self.max_batches
        needed = [float(self.min_batches)]
        if self.errors is not None:
            needed.append(batches * self.errors / count.errors if count.errors else math.inf)
        if self.relative_width is not None:
            needed.append(batches * (count.relative_width() / self.relative_width) ** 2)
        if self.errors is None and self.relative_width is None:
            needed.append(math.inf)
        return max(1, math.ceil(min(max(needed), self.max_batches)) - batches)


@dataclass(frozen=True)
class Failure:
    """A grid point that could not be computed, and why."""

    point: Mapping[str, Any]
    batch: int
    error: str


@dataclass
class Part:
    """What is known of one part (a detector) at one grid point: a growing prefix of batches."""

    batches: int = 0
    metrics: dict[str, Count | Timing] = field(default_factory=dict)
    done: bool = False

    def primary(self, stop: Stop) -> Count:
        """Return the count that `stop` looks at."""
        name = stop.metric or next(iter(self.metrics), "")
        if self.metrics and name not in self.metrics:
            msg = f"metric: got {name!r}, expected one of {', '.join(self.metrics)}{check.nearest(name, self.metrics)}"
            raise ValueError(msg)
        count = self.metrics.get(name, Count())
        if not isinstance(count, Count):
            msg = f"metric: {name!r} is a timing, expected a count"
            raise TypeError(msg)
        return count


class Point:
    """The state of one grid point: the prefix of each part, and the batches that wait for an earlier one."""

    def __init__(self, values: dict[str, Any], config: Any, names: Sequence[str] | None, stop: Stop) -> None:
        self.values, self.config, self.stop = values, config, stop
        self.parts: dict[str, Part] | None = None if names is None else {name: Part() for name in names}
        self.in_flight: dict[int, frozenset[str]] = {}
        self._waiting: dict[int, dict[str, Metrics]] = {}
        self._failed: dict[int, tuple[frozenset[str], str]] = {}

    def add(self, batch: int, metrics: Mapping[str, Metrics]) -> None:
        """Take in one batch and advance each part's prefix as far as there is no gap."""
        if self.parts is None:
            self.parts = {name: Part() for name in metrics}
        self._failed.pop(batch, None)
        for name, part in self.parts.items():
            if name in metrics and not part.done and batch >= part.batches:
                self._waiting.setdefault(batch, {})[name] = metrics[name]
            while not part.done and name in self._waiting.get(part.batches, {}):
                for metric, value in self._waiting[part.batches].pop(name).items():
                    before = part.metrics.get(metric)
                    part.metrics[metric] = value if before is None else before + value  # type: ignore[operator]
                part.batches += 1
                part.done = self.stop.satisfied(part.primary(self.stop), part.batches)

    def fail(self, batch: int, names: frozenset[str], error: str) -> None:
        """Take in that `batch` of the parts `names` (all parts when empty) could not be computed."""
        self._failed[batch] = (names, error)

    @property
    def _unfinished(self) -> dict[str, int]:
        return {name: part.batches for name, part in (self.parts or {}).items() if not part.done}

    def _retry(self) -> tuple[int, frozenset[str]] | None:
        """Return a failed batch that fewer parts need than were computed in it, and these parts.

        A batch that was computed ahead may hold a part that turned out to be known without it. The
        result must not depend on that, so the others get the batch to themselves.
        """
        for batch, (names, _) in self._failed.items():
            needed = frozenset(name for name, first in self._unfinished.items() if first == batch)
            on_the_way = any(first < batch for first in self._unfinished.values())
            if needed and needed < names and not on_the_way and batch not in self.in_flight:
                return batch, needed
        return None

    @property
    def failure(self) -> Failure | None:
        """The batch that a part needs and that cannot be had; None while there is hope."""
        if self.parts is None:
            failed = None if self.in_flight else next(iter(sorted(self._failed)), None)
        else:
            needed = set(self._unfinished.values()) & self._failed.keys()
            failed = min(needed) if needed and min(needed) <= min(self._unfinished.values()) else None
            if self.in_flight or self._retry() is not None:
                failed = None
        return None if failed is None else Failure(self.values, failed, self._failed[failed][1])

    @property
    def done(self) -> bool:
        """Nothing more is needed, or nothing more can be had."""
        if self.parts is not None and all(part.done for part in self.parts.values()):
            return True
        return self.failure is not None

    def next_task(self) -> tuple[int, frozenset[str]] | None:
        """Return the first batch that an unfinished part still lacks, and the parts that lack it."""
        if self.parts is None:  # names unknown before the first batch
            batch = next(b for b in itertools.count() if b not in self.in_flight)
            return (batch, frozenset()) if batch < self.stop.max_batches and not self._failed else None
        unfinished = self._unfinished
        if not unfinished:
            return None
        for batch in range(min(unfinished.values()), self.stop.max_batches):
            if batch in self._failed:
                return self._retry()  # nobody goes past a failed batch
            have = self._waiting.get(batch, {}).keys() | self.in_flight.get(batch, frozenset())
            missing = frozenset(name for name, first in unfinished.items() if first <= batch and name not in have)
            if missing and batch not in self.in_flight:
                return batch, missing
        return None

    def summary(self) -> tuple[int, int, int, float, float]:
        """Return parts known, parts, errors seen, and the work left: in seconds, and in batches of unknown length."""
        if self.parts is None:
            return 0, 1, 0, 0.0, float(self.stop.max_batches)
        hopeless = self.failure is not None
        known = errors = 0
        seconds = unknown = 0.0
        for part in self.parts.values():
            count = part.primary(self.stop)
            known += part.done
            errors += count.errors
            if part.done or hopeless:
                continue
            remaining = self.stop.remaining(count, part.batches)
            spent = sum(metric.seconds for metric in part.metrics.values() if isinstance(metric, Timing))
            if spent:
                seconds += spent / part.batches * remaining
            else:
                unknown = max(unknown, float(remaining))
        return known, len(self.parts), errors, seconds, unknown


@dataclass(frozen=True)
class Status:
    """Where a running study stands: what a progress display shows.

    Attributes:
        batches: Batches computed in this run.
        resumed: Batches that the journal already held.
        curves_done: Pairs of grid point and part that are known well enough.
        curves: All such pairs (an estimate before the first batch of an undeclared trial).
        errors: Errors seen so far, over all points and parts.
        seconds: Since the run began.
        busy_seconds: Spent inside batches, summed over the workers.
        seconds_left: Estimate; None before the first batch.
        failures: Grid points that failed.
        latest: The point that was last worked on.
        finished: Nothing more will come.
    """

    batches: int
    resumed: int
    curves_done: int
    curves: int
    errors: int
    seconds: float
    busy_seconds: float
    seconds_left: float | None
    failures: tuple[Failure, ...]
    latest: Mapping[str, Any]
    finished: bool = False
