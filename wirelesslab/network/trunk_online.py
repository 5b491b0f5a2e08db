"""Trunk reservation that is tuned while the station runs, from the arrival rates of the moment.

The best reserve is found on the exact chain, as `best_trunk_reservation` does it, but compiled, starting each
reserve from the law of the one before, and remembered: a re-tuning takes milliseconds, a second one of the same
load nothing.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.admission import LossSystem

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]
Reserves = tuple[int, ...]

TOLERANCE = 1e-7  # of a sweep's change of the reward rate, relative: reserves that differ by less are equal
MAX_SWEEPS = 20_000


class OnlineTrunk:
    """The best trunk reservation for arrival rates that are measured, not known.

    The class that pays most per unit and second is never held back; the others' reserves are searched class by
    class until none changes. Rates are rounded to whole powers of `step`, and what was found for them is kept.

    Args:
        system: Its capacity, demands, holding times and rewards; its own arrival rates are not looked at.
        step: Ratio of neighbouring rates that are told apart.

    Examples:
        >>> from wirelesslab.network.admission import CallClass
        >>> calls = (CallClass(arrival_rate=1), CallClass(arrival_rate=1, demand=4, reward=20))
        >>> trunk = OnlineTrunk(LossSystem(capacity=30, classes=calls))
        >>> trunk.reserves([20.0, 5.0]), trunk.reserves([20.0, 0.5])
        ((16, 0), (0, 0))
    """

    def __init__(self, system: LossSystem, *, step: float = 1.1) -> None:
        check.positive(**{"step - 1": step - 1})
        self.system, self.step = system, step
        self._free = system.free_units().ravel()
        self._strides = np.array([int(np.prod(system.shape[k + 1 :])) for k in range(len(system.shape))], np.int64)
        self._demands = np.array([c.demand for c in system.classes], np.int64)
        self._holding_s = np.array([c.holding_s for c in system.classes], np.float64)
        self._rewards = np.array([c.reward for c in system.classes], np.float64)
        self._protected = int(np.argmax(self._rewards / self._holding_s / self._demands))
        self._found: dict[tuple[int, ...], Reserves] = {}

    def reserves(self, rates_per_s: "Floats | list[float]") -> Reserves:
        """Return the reserve of each class for these arrival rates, shape (classes,), at least 0.

        Raises:
            ValueError: Another number of rates, or rates that are negative or no numbers.
            RuntimeError: The chain's law is not found in `MAX_SWEEPS` sweeps.
        """
        rates = check.array(rates_per_s, self._demands.shape, "classes", name="rates_per_s")
        return tuple(self.reserves_many(rates[None])[0].tolist())

    def reserves_many(self, rates_per_s: NDArray[np.floating]) -> Counts:
        """Return the reserves for many rows of arrival rates, shape (rows, classes); see `reserves`."""
        rates = check.array(rates_per_s, (None, self._demands.size), "rows, classes", name="rates_per_s")
        if (rates < 0).any():
            msg = f"rates_per_s: got {rates.min():g}, expected rates of at least 0"
            raise ValueError(msg)
        floor = 1e-3 / self._holding_s  # a thousandth of an Erlang is as good as nothing
        steps = np.rint(np.log(np.maximum(rates.astype(np.float64), floor)) / np.log(self.step)).astype(np.int64)
        return np.array([self._found.get(key) or self._search(key) for key in map(tuple, steps.tolist())], np.int64)

    def _search(self, key: tuple[int, ...]) -> Reserves:
        rates = self.step ** np.array(key, np.float64)
        reserve = np.zeros(rates.size, np.int64)
        found = _tune(
            self._free, self._strides, self._demands, rates, self._holding_s, self._rewards, self._protected,
            self.system.capacity, reserve,
        )  # fmt: skip
        if not found:
            msg = f"rates_per_s: got {rates.tolist()}, whose law is not found in {MAX_SWEEPS} sweeps; use less load"
            raise RuntimeError(msg)
        self._found[key] = tuple(int(r) for r in reserve)
        return self._found[key]


@njit(cache=True, nogil=True)
def _earned(
    free: Counts, strides: Counts, demands: Counts, rates: Floats, holding_s: Floats, rewards: Floats,
    reserve: Counts, law: Floats,
) -> float:  # fmt: skip
    """Return the reward per second under a reserve, and leave its law in `law`; -1e300 if it was not found."""
    num_classes, last = demands.size, -1e300
    for sweep in range(MAX_SWEEPS):
        total = 0.0
        earned = 0.0
        for step in range(free.size):
            state = step if sweep % 2 else free.size - 1 - step
            if free[state] < 0:
                continue
            come, leave = 0.0, 0.0
            for k in range(num_classes):
                count = (state // strides[k]) % ((free[0] // demands[k]) + 1)
                if count:
                    leave += count / holding_s[k]
                    if free[state] >= reserve[k]:  # the state before let this class in
                        come += rates[k] * law[state - strides[k]]
                if free[state] >= demands[k]:
                    come += (count + 1) / holding_s[k] * law[state + strides[k]]
                    if free[state] >= demands[k] + reserve[k]:
                        leave += rates[k]
            if leave > 0:
                law[state] = come / leave
        for state in range(free.size):
            if free[state] >= 0:
                total += law[state]
                for k in range(num_classes):
                    if free[state] >= demands[k] + reserve[k]:
                        earned += rates[k] * rewards[k] * law[state]
        for state in range(free.size):
            law[state] /= total
        earned /= total
        if abs(earned - last) <= TOLERANCE * abs(earned):
            return earned
        last = earned
    return -1e300


@njit(cache=True, nogil=True)
def _tune(
    free: Counts, strides: Counts, demands: Counts, rates: Floats, holding_s: Floats, rewards: Floats,
    protected: int, capacity: int, reserve: Counts,
) -> bool:  # fmt: skip
    """Set `reserve` to the best; returns whether every law was found."""
    law = np.where(free >= 0, 1.0, 0.0)
    reserve[...] = 0
    most = _earned(free, strides, demands, rates, holding_s, rewards, reserve, law)
    moved = most > -1e300
    found = moved
    while moved and found:
        moved = False
        for k in range(demands.size):
            if k == protected:
                continue
            best = reserve[k]
            for trial in range(capacity - demands[k] + 2):
                reserve[k] = trial
                law = np.where(free >= 0, law + 1e-12, 0.0)  # what a reserve emptied may be filled again
                earned = _earned(free, strides, demands, rates, holding_s, rewards, reserve, law)
                found = found and earned > -1e300
                if earned > most * (1 + 2 * TOLERANCE):
                    most, best, moved = earned, trial, True
            reserve[k] = best
        if demands.size == 2:
            break  # one class to search: the first pass is the whole search
    return found
