"""Traffic that was recorded: read from a file, replayed as it was."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.source_streams import Memory
from wirelesslab.network.sources import Placed

Rng = np.random.Generator
COLUMNS = ("time_s", "num_bytes", "source")


@dataclass(frozen=True, eq=False, kw_only=True)
class TrafficTrace(Placed):
    """Recorded packets, replayed. Without `source_of` every source replays the whole trace.

    Attributes:
        times_s: When, nondecreasing, from 0 on, shape (n,).
        num_bytes: How much, shape (n,), each at least 1.
        source_of: Who, shape (n,); source u of a simulation replays the packets of source u.
        repeat_s: The trace begins anew after this time, which is later than its last packet; None plays it once.
    """

    times_s: NDArray[np.float64]
    num_bytes: NDArray[np.int64]
    source_of: NDArray[np.int64] | None = None
    repeat_s: float | None = None

    def __post_init__(self) -> None:
        times_s = check.array(self.times_s, (None,), "n", name="times_s").astype(np.float64)
        num = times_s.size
        sizes = _whole(self.num_bytes, num, 1, "num_bytes")
        owner = np.zeros(num, np.int64) if self.source_of is None else _whole(self.source_of, num, 0, "source_of")
        early = np.flatnonzero(np.diff(times_s, prepend=0.0) < 0)
        if early.size:
            i = int(early[0])
            msg = (
                f"times_s: got {times_s[i]:g} after {times_s[i - 1] if i else 0:g} at index {i}, "
                "expected nondecreasing times from 0 on; sort the trace"
            )
            raise ValueError(msg)
        if self.repeat_s is not None:
            check.positive(repeat_s=self.repeat_s)
            if num and self.repeat_s <= times_s[-1]:
                msg = f"repeat_s: got {self.repeat_s}, expected later than the last packet at {times_s[-1]:g} s"
                raise ValueError(msg)
        order = np.argsort(owner, kind="stable")
        bounds = np.searchsorted(owner[order], np.arange(owner.max(initial=0) + 2))
        for name, value in (
            ("times_s", times_s),
            ("num_bytes", sizes),
            ("source_of", None if self.source_of is None else owner),
            ("_sorted_s", times_s[order]),
            ("_sorted_bytes", sizes[order]),
            ("_bounds", bounds),
        ):
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"TrafficTrace({self.times_s.size} packets, repeat_s={self.repeat_s})"

    @property
    def num_sources(self) -> int | None:
        """How many sources the trace knows; None: any number."""
        return None if self.source_of is None else len(self._bounds) - 1

    @property
    def mean_rate_bps(self) -> float | None:
        """Offered rate of a source, averaged over the trace's sources; None when the trace ends."""
        if self.repeat_s is None:
            return None
        return 8 * int(self.num_bytes.sum()) / self.repeat_s / (self.num_sources or 1)

    def begin(self, _rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0.

        Raises:
            ValueError: More sources than the trace has.
        """
        check.non_negative_integer(num_sources=num_sources)
        if self.num_sources is not None and num_sources > self.num_sources:
            msg = f"num_sources: got {num_sources}, the trace has {self.num_sources}; expected at most as many"
            raise ValueError(msg)
        rows = np.arange(num_sources) if self.source_of is not None else np.zeros(num_sources, np.int64)
        memory: Memory = {"row": rows, "position": np.zeros(num_sources, np.int64), "next_s": np.empty(num_sources)}
        memory["next_s"][:] = self._look_up(rows, memory["position"])[0]
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' packets; return their sizes."""
        rows, position = memory["row"][sources], memory["position"][sources]
        memory["position"][sources] = position + 1
        memory["next_s"][sources] = self._look_up(rows, position + 1)[0]
        return self._look_up(rows, position)[1]

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next packets, fewer if the trace ends; return their times and sizes."""
        check.non_negative_integer(num=num)
        position = memory["position"][0] + np.arange(num + 1)
        times_s, num_bytes = self._look_up(np.full(num + 1, memory["row"][0]), position)
        num = min(num, int(np.isfinite(times_s).sum()))
        memory["position"] += num
        memory["next_s"][0] = times_s[num]
        return times_s[:num], num_bytes[:num]

    def _look_up(
        self, rows: NDArray[np.int64], position: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return time (inf past the end) and size of packet number `position` of each row."""
        bounds: NDArray[np.int64] = self._bounds
        count = bounds[rows + 1] - bounds[rows]
        times_s, num_bytes = np.full(rows.size, math.inf), np.zeros(rows.size, np.int64)
        there = count > 0 if self.repeat_s is not None else position < count
        lap, place = np.divmod(position[there], count[there])
        index = bounds[rows[there]] + place
        times_s[there] = self._sorted_s[index] + lap * (self.repeat_s or 0.0)
        num_bytes[there] = self._sorted_bytes[index]
        return times_s, num_bytes

    # the packets once more, by source and in time; made in __post_init__
    _sorted_s = np.zeros(0)
    _sorted_bytes = np.zeros(0, np.int64)
    _bounds = np.zeros(2, np.int64)


def load_trace(path: str | Path, *, repeat_s: float | None = None) -> TrafficTrace:
    """Read a trace from a CSV file with the header ``time_s,num_bytes`` or ``time_s,num_bytes,source``.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: Another header, or an entry that is no such number; names line and column.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"trace: no file {str(path)!r}; expected a CSV file with the header time_s,num_bytes[,source]"
        raise FileNotFoundError(msg)
    with file.open(encoding="utf-8-sig", newline="") as text:
        lines = csv.reader(text)
        header = [word.strip() for word in next(lines, [])]
        if sorted(header) not in (sorted(COLUMNS[:2]), sorted(COLUMNS)):
            msg = f"{file.name}, line 1: got the header {','.join(header)!r}, expected time_s,num_bytes[,source]"
            raise ValueError(msg)
        columns: dict[str, list[float]] = {name: [] for name in header}
        for row in lines:
            if not row:
                continue
            if len(row) != len(header):
                msg = f"{file.name}, line {lines.line_num}: got {len(row)} columns, expected {','.join(header)}"
                raise ValueError(msg)
            for name, word in zip(header, row, strict=True):
                columns[name].append(_number(word, name, columns[name], f"{file.name}, line {lines.line_num}"))
    source = columns.get("source")
    return TrafficTrace(
        times_s=np.array(columns["time_s"], np.float64),
        num_bytes=np.array(columns["num_bytes"], np.int64),
        source_of=None if source is None else np.array(source, np.int64),
        repeat_s=repeat_s,
    )


def _number(word: str, column: str, before: list[float], where: str) -> float:
    """Return one entry of a file, or say where it is wrong."""
    wanted = {"time_s": "seconds", "num_bytes": "whole bytes of at least 1", "source": "a whole number of at least 0"}
    try:
        value: float = float(word) if column == "time_s" else int(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < (1 if column == "num_bytes" else 0):
        msg = f"{where}, column {column}: got {word!r}, expected {wanted[column]}"
        raise ValueError(msg)
    if column == "time_s" and before and value < before[-1]:
        msg = f"{where}, column {column}: got {word} after {before[-1]:g}, expected nondecreasing times; sort the file"
        raise ValueError(msg)
    return value


def _whole(values: ArrayLike, num: int, least: int, name: str) -> NDArray[np.int64]:
    given = check.array(values, (num,), "n", name=name, because="n was set by times_s")
    if num and (np.any(given != np.rint(given)) or given.min() < least):
        msg = f"{name}: got {given[(given != np.rint(given)) | (given < least)][0]}, expected whole numbers >= {least}"
        raise ValueError(msg)
    return given.astype(np.int64)
