"""Series in flat memory: windows and batches that double in length when there are too many of them.

They complete `statistics.py`: what happened when, and how far a mean of correlated samples is known.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

MIN_BATCHES = 20


class WindowedSeries:
    """Count and sum per window of time; the windows double in length when they no longer reach.

    Args:
        window_s: Length of the first windows.
        max_windows: How many are kept, an even number; between half of them and all are in use in a long run.
        start_s: Where the first window starts.

    Examples:
        >>> load = WindowedSeries(window_s=1.0, max_windows=4)
        >>> load.add_many([0.5, 1.5, 3.9, 4.0], [10.0, 20.0, 30.0, 40.0])
        >>> load.window_s, load.sums.tolist(), load.counts.tolist()
        (2.0, [30.0, 30.0, 40.0], [2, 1, 1])
    """

    def __init__(self, window_s: float, max_windows: int = 1024, start_s: float = 0.0) -> None:
        check.positive(window_s=window_s)
        check.positive_integer(max_windows=max_windows)
        check.finite(start_s=start_s)
        if max_windows % 2:
            msg = f"max_windows: got {max_windows}, expected an even number, so that windows can be joined in pairs"
            raise ValueError(msg)
        self.first_window_s, self.start_s, self.doublings = float(window_s), float(start_s), 0
        self._used = 0
        self._sums, self._counts = np.zeros(max_windows), np.zeros(max_windows, np.int64)

    @property
    def window_s(self) -> float:
        """Length of a window now."""
        return math.ldexp(self.first_window_s, self.doublings)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Numbers per window, shape (windows,): from the start to the last window that saw one."""
        return self._counts[: self._used].copy()

    @property
    def sums(self) -> NDArray[np.float64]:
        """Their sums, shape (windows,)."""
        return np.array(self._sums[: self._used])

    @property
    def means(self) -> NDArray[np.float64]:
        """Their means, shape (windows,); NaN where none came."""
        sums, counts = self._sums[: self._used], self._counts[: self._used]
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    @property
    def starts_s(self) -> NDArray[np.float64]:
        """Where the windows start, shape (windows,)."""
        return np.asarray(self.start_s + self.window_s * np.arange(self._used), dtype=np.float64)

    def add(self, time_s: float, value: float) -> None:
        """Take one number."""
        self.add_many(np.array([time_s]), np.array([value]))

    def add_many(self, times_s: ArrayLike, values: ArrayLike) -> None:
        """Take numbers at their times, both of shape (n,), in any order.

        Raises:
            ValueError: A time before the start, or a number that is not finite.
        """
        times = np.asarray(times_s, dtype=np.float64)
        numbers = np.broadcast_to(np.asarray(values, dtype=np.float64), times.shape)
        if not times.size:
            return
        if not (np.isfinite(times).all() and np.isfinite(numbers).all() and times.min() >= self.start_s):
            msg = (
                f"times_s, values: got {times.min()} and others, expected finite numbers from start_s={self.start_s} on"
            )
            raise ValueError(msg)
        while (last := int((times.max() - self.start_s) / self.window_s)) >= self._sums.size:
            self._double()
        index = ((times - self.start_s) / self.window_s).astype(np.int64)
        self._used = max(self._used, last + 1)
        self._sums[: self._used] += np.bincount(index, weights=numbers, minlength=self._used)
        self._counts[: self._used] += np.bincount(index, minlength=self._used)

    def _double(self) -> None:
        half = self._sums.size // 2
        for array in (self._sums, self._counts):
            array[:half] = array[::2] + array[1::2]
            array[half:] = 0
        self._used = -(-self._used // 2)
        self.doublings += 1

    def merge(self, other: "WindowedSeries") -> None:
        """Add what `other` saw, window by window; `other` stays as it is.

        Raises:
            ValueError: The two started with other windows.
        """
        mine, theirs = ((s.first_window_s, s.start_s, s._sums.size) for s in (self, other))
        if mine != theirs:
            msg = f"other: got (window_s, start_s, max_windows)={theirs}, expected {mine}; make both alike"
            raise ValueError(msg)
        copy = WindowedSeries(self.first_window_s, self._sums.size, self.start_s)
        copy.restore(other.snapshot())
        while self.doublings != copy.doublings:
            (self if self.doublings < copy.doublings else copy)._double()
        self._sums += copy._sums
        self._counts += copy._counts
        self._used = max(self._used, copy._used)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state: numbers and arrays."""
        return {
            "first_window_s": self.first_window_s,
            "start_s": self.start_s,
            "doublings": self.doublings,
            "used": self._used,
            "sums": self._sums.copy(),
            "counts": self._counts.copy(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.first_window_s, self.start_s = float(state["first_window_s"]), float(state["start_s"])
        self.doublings, self._used = int(state["doublings"]), int(state["used"])
        self._sums, self._counts = np.array(state["sums"]), np.array(state["counts"])


class BatchMeans:
    """Mean of a correlated series and its standard error, by batches that double in length.

    There are 20 to 39 whole batches after the first 20 samples, however long the series.

    References:
        Batch means: Law, Simulation Modeling and Analysis, 9.5.3; the doubling is our choice of bookkeeping.

    Examples:
        >>> series = BatchMeans()
        >>> series.add_many(np.arange(80.0))
        >>> series.mean, series.num_batches, series.batch_length
        (39.5, 20, 4)
    """

    def __init__(self) -> None:
        self.count, self.batch_length = 0, 1
        self._total, self._open_sum, self._open_count = 0.0, 0.0, 0
        self._num, self._sums = 0, np.zeros(2 * MIN_BATCHES)

    def add(self, value: float) -> None:
        """Take one number."""
        if value - value != 0.0:
            msg = f"value: got {value}, expected a finite number"
            raise ValueError(msg)
        self.count += 1
        self._total += value
        self._open_sum += value
        self._open_count += 1
        if self._open_count == self.batch_length:
            self._close()

    def add_many(self, values: ArrayLike) -> None:
        """Take numbers in their order, shape (n,)."""
        rest = np.asarray(values, dtype=np.float64).ravel()
        if not np.isfinite(rest).all():
            msg = f"values: got {rest[~np.isfinite(rest)][0]}, expected finite numbers"
            raise ValueError(msg)
        self.count += rest.size
        self._total += float(rest.sum())
        while rest.size:
            whole = min(rest.size // self.batch_length, self._sums.size - self._num)
            if self._open_count == 0 and whole:
                taken = whole * self.batch_length
                self._sums[self._num : self._num + whole] = rest[:taken].reshape(whole, -1).sum(axis=1)
                self._num += whole
                self._double_if_full()
            else:
                taken = min(rest.size, self.batch_length - self._open_count)
                self._open_sum += float(rest[:taken].sum())
                self._open_count += taken
                if self._open_count == self.batch_length:
                    self._close()
            rest = rest[taken:]

    def _close(self) -> None:
        self._sums[self._num] = self._open_sum
        self._num += 1
        self._open_sum, self._open_count = 0.0, 0
        self._double_if_full()

    def _double_if_full(self) -> None:
        if self._num == self._sums.size:
            self._sums[: self._num // 2] = self._sums[::2] + self._sums[1::2]
            self._num //= 2
            self.batch_length *= 2

    @property
    def num_batches(self) -> int:
        """Whole batches so far."""
        return self._num

    @property
    def mean(self) -> float:
        """Mean of all numbers; NaN before the first."""
        return self._total / self.count if self.count else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of the mean; NaN before there are 20 batches."""
        if self._num < MIN_BATCHES:
            return math.nan
        return float((self._sums[: self._num] / self.batch_length).std(ddof=1) / math.sqrt(self._num))

    def merge(self, other: "BatchMeans") -> None:
        """Take in an independent series (a replica, another worker's part); `other` stays as it is.

        What does not fill a batch of the longer of the two lengths counts for the mean alone.
        """
        length = max(self.batch_length, other.batch_length)
        sums = np.concatenate([_in_batches_of(length, s._sums[: s._num], s.batch_length) for s in (self, other)])
        while sums.size >= 2 * MIN_BATCHES:
            sums, length = _in_batches_of(2 * length, sums, length), 2 * length
        self.count += other.count
        self._total += other._total
        self.batch_length, self._num = length, sums.size
        self._sums[: sums.size] = sums
        self._open_sum, self._open_count = 0.0, 0

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state: numbers and an array."""
        state = {name.strip("_"): value for name, value in vars(self).items()}
        return state | {"sums": self._sums.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        for name in vars(self):
            value = state[name.strip("_")]
            setattr(self, name, value.copy() if isinstance(value, np.ndarray) else value)


def _in_batches_of(length: int, sums: NDArray[np.float64], now: int) -> NDArray[np.float64]:
    joined = length // now
    return np.asarray(sums[: sums.size // joined * joined].reshape(-1, joined).sum(axis=1))
