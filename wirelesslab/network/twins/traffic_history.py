"""What a twin remembers of the traffic that was offered: a window for each past second, say, and the law of sizes.

Sources count what they offer (`Network.traffic`); a twin hears the counts now and then. Counts between two messages
are taken to grow evenly (our choice), so that windows of one length come of messages at any times.
"""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Series = tuple[int, str, str]  # place of the slice, source, sink
Totals = tuple[float, float, float, float]  # flows, bytes, sum of squared bytes, operations
Counts = dict[tuple[int, str], Totals]  # of one source: (place of the slice, sink) -> totals since the start

NOTHING: Totals = (0.0, 0.0, 0.0, 0.0)
SLACK = 1e-9  # of a window: a message at a window's end closes it


class Offered(NamedTuple):
    """What was offered in past windows.

    Attributes:
        series: Slice, source and sink of each column.
        flows_per_s: In each window, the newest last, shape (windows, series).
        end_s: When the newest window ended.
        mean_bytes: Of a flow, shape (series,).
        second_moment: Mean squared bytes of a flow, shape (series,).
        operations: Mean operations of a flow, shape (series,).
    """

    series: tuple[Series, ...]
    flows_per_s: NDArray[np.float64]
    end_s: float
    mean_bytes: NDArray[np.float64]
    second_moment: NDArray[np.float64]
    operations: NDArray[np.float64]


@dataclass
class TrafficHistory:
    """Counts at the ends of windows, for each source.

    Attributes:
        window_s: Length of a window.
        windows: How many are kept.
        start_s: When the first began.
        newest: By source: when it was heard of last, and its counts then.
        ends: By source: counts at the ends of windows, the newest last.
        number: By source: how many windows after `start_s` the newest of `ends` lies.
    """

    window_s: float
    windows: int
    start_s: float
    newest: dict[str, tuple[float, Counts]] = field(default_factory=dict)
    ends: dict[str, deque[Counts]] = field(default_factory=dict)
    number: dict[str, int] = field(default_factory=dict)

    def take(self, source: str, stamp_s: float, counts: Counts) -> None:
        """Take in what a source had offered at a time later than all that is known of it."""
        before = self.newest.get(source)
        self.newest[source] = stamp_s, counts
        latest = math.floor((stamp_s - self.start_s) / self.window_s + SLACK)
        if before is None:
            closed = abs(stamp_s - self._end_s(latest)) <= SLACK * self.window_s
            self.ends[source] = deque([counts] if closed else [], maxlen=self.windows + 1)
            self.number[source] = latest
            return
        since_s, old = before
        for number in range(max(self.number[source] + 1, latest - self.windows), latest + 1):
            part = min((self._end_s(number) - since_s) / (stamp_s - since_s), 1.0)
            self.ends[source].append({key: _between(old.get(key, NOTHING), new, part) for key, new in counts.items()})
        self.number[source] = max(latest, self.number[source])

    def _end_s(self, number: int) -> float:
        return self.start_s + number * self.window_s

    def offered(self) -> Offered:
        """Return what is known. A source that has fallen silent is taken to go on as in its last window.

        Before a whole window is known, there is one with the mean rate since the twin began, or else the network.
        """
        series = tuple(sorted((index, a, sink) for a, (_, counts) in self.newest.items() for index, sink in counts))
        known = [len(ends) - 1 for ends in self.ends.values() if len(ends) > 1]
        rows, latest = min(known, default=0), max(self.number.values(), default=0)
        flows = np.zeros((max(rows, 1), len(series)))
        moments = np.zeros((len(series), 4))
        for column, (index, source, sink) in enumerate(series):
            key = index, sink
            stamp_s, counts = self.newest[source]
            ends = [end.get(key, NOTHING) for end in self.ends[source]]
            whole = np.diff([end[0] for end in ends])[-len(flows) :] / self.window_s
            if whole.size:
                # its windows stand where they were; those not heard of yet are as the last one
                behind = min(latest - self.number[source], len(flows))
                shown = np.concatenate([whole, np.full(behind, whole[-1])])[-len(flows) :]
                flows[-shown.size :, column] = shown
                flows[: -shown.size, column] = shown[0]
            elif ends and stamp_s > (since_s := self._end_s(self.number[source])):
                flows[:, column] = (counts[key][0] - ends[-1][0]) / (stamp_s - since_s)
            elif stamp_s > 0:
                flows[:, column] = counts[key][0] / stamp_s
            lately = np.subtract(counts[key], ends[0]) if ends else np.array(counts[key])
            moments[column] = lately if lately[0] > 0 else counts[key]
        mean = moments[:, 1:] / moments[:, :1]
        heard_s = [stamp_s for stamp_s, _ in self.newest.values()]
        end_s = self._end_s(latest) if rows else max(heard_s, default=self.start_s)
        return Offered(series, flows, end_s, mean[:, 0], mean[:, 1], mean[:, 2])


def counts_of(traffic: Mapping[Series, list[float]], source: str) -> Counts:
    """Return what one source has offered so far, out of `Network.traffic`."""
    found = {(index, sink): totals for (index, a, sink), totals in traffic.items() if a == source}
    return {key: (float(n), float(size), float(square), float(work)) for key, (n, size, square, work) in found.items()}


def _between(old: Totals, new: Totals, part: float) -> Totals:
    flows, size, square, work = (a + part * (b - a) for a, b in zip(old, new, strict=True))
    return flows, size, square, work
