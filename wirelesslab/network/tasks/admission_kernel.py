"""Many stations side by side, compiled: calls come, are let in or refused, and leave.

What comes is drawn by counters of its own and never depends on what was let in, so that rules meet the same calls.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.network.tasks.admission_setting import AdmissionSetting
from wirelesslab.network.tasks.draws import counters, exponential, uniform

PURPOSES = ("arrivals", "classes", "holding", "episodes")
ARRIVALS, CLASSES, HOLDING, EPISODES = range(4)

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]


class Terms(NamedTuple):
    """What does not change; arrays of shape (systems, classes)."""

    demands: Counts
    rewards: Floats  # as they are paid
    holding_s: Floats
    base_rates: Floats
    capacity: int
    fixed_holding: bool
    low: float
    high: float
    period_s: float
    amplitude: float
    memory_s: float
    most_rate: float
    calls: int
    show_rates: bool
    show_tariffs: bool


class Stations(NamedTuple):
    """All that changes; the first axis of every array is the station.

    Attributes:
        counters: Of `PURPOSES`.
        now_s: When the waiting caller called; the episode began at 0.
        caller: Its class.
        caller_holding_s: How long it would stay.
        next_end_s: When the next call in service ends.
        ends_s: When each ends; infinite where none is, shape (stations, most calls).
        end_classes: Their classes.
        in_service: Calls in service, shape (stations, classes).
        free: Units that are free.
        system: Which system is played.
        rates: Mean arrival rates in this episode, shape (stations, classes).
        phase: Of the drift.
        seen: Calls counted, forgotten with age, without the waiting one, shape (stations, classes).
        watched_s: How long the station has been counting.
        calls: Calls answered in this episode.
    """

    counters: NDArray[np.uint64]
    now_s: Floats
    caller: Counts
    caller_holding_s: Floats
    next_end_s: Floats
    ends_s: Floats
    end_classes: Counts
    in_service: Counts
    free: Counts
    system: Counts
    rates: Floats
    phase: Floats
    seen: Floats
    watched_s: Floats
    calls: Counts


def terms(setting: AdmissionSetting) -> Terms:
    """Return a setting as the numbers that kernels read."""
    classes = [system.classes for system in setting.systems]
    load = setting.load
    return Terms(
        demands=np.array([[c.demand for c in row] for row in classes], np.int64),
        rewards=np.array([setting.sight.paid(system) for system in setting.systems]),
        holding_s=np.array([[c.holding_s for c in row] for row in classes], np.float64),
        base_rates=np.array([[c.arrival_rate for c in row] for row in classes], np.float64),
        capacity=setting.systems[0].capacity, fixed_holding=setting.holding == "fixed", low=float(load.low),
        high=float(load.high), period_s=float(load.period_s), amplitude=float(load.amplitude),
        memory_s=float(setting.memory_s), most_rate=float(setting.most_rate), calls=int(setting.calls),
        show_rates=bool(setting.rates), show_tariffs=bool(setting.tariffs),
    )  # fmt: skip


def stations(setting: AdmissionSetting, seeds: list[int]) -> Stations:
    """Return stations before their first episode, one for each seed; `begin_all` opens them."""
    num, num_classes, most = len(seeds), len(setting.systems[0].classes), setting.most_calls
    return Stations(
        counters=counters(seeds, *PURPOSES), now_s=np.zeros(num), caller=np.zeros(num, np.int64),
        caller_holding_s=np.zeros(num), next_end_s=np.full(num, np.inf), ends_s=np.full((num, most), np.inf),
        end_classes=np.zeros((num, most), np.int64), in_service=np.zeros((num, num_classes), np.int64),
        free=np.full(num, setting.systems[0].capacity, np.int64), system=np.zeros(num, np.int64),
        rates=np.zeros((num, num_classes)), phase=np.zeros(num), seen=np.zeros((num, num_classes)),
        watched_s=np.zeros(num), calls=np.zeros(num, np.int64),
    )  # fmt: skip


def restore_stations(state: Stations, kept: Mapping[str, Any]) -> None:
    """Write back what a snapshot kept.

    Raises:
        ValueError: It is of another setting or another number of stations; nothing has changed.
    """
    for name, array in state._asdict().items():
        found = np.shape(kept[name]) if name in kept else None
        if found != array.shape:
            msg = (
                f"snapshot: got {name} of shape {found}, expected {array.shape}; restore into the setting it came from"
            )
            raise ValueError(msg)
    for name, array in state._asdict().items():
        array[...] = kept[name]


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _hear(s: Stations, t: Terms, i: int) -> None:
    """Let time pass until somebody calls: candidates at the greatest rate, thinned to the rate of the hour."""
    greatest = 0.0
    for k in range(s.rates.shape[1]):
        greatest += s.rates[i, k] * (1 + t.amplitude)
    caller = -1
    while caller < 0:
        interval_s = exponential(s.counters, i, ARRIVALS) / greatest
        s.now_s[i] += interval_s
        s.watched_s[i] += interval_s
        left = uniform(s.counters, i, CLASSES) * greatest
        swing = 0.0
        if t.amplitude > 0:
            swing = t.amplitude * np.sin(2 * np.pi * s.now_s[i] / t.period_s + s.phase[i])
        forgotten = np.exp(-interval_s / t.memory_s) if t.show_rates else 1.0
        for k in range(s.rates.shape[1]):
            s.seen[i, k] *= forgotten
            if caller < 0:
                left -= s.rates[i, k] * (1 + (swing if k % 2 == 0 else -swing))
                if left < 0:
                    caller = k
    s.caller[i] = caller


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _await(s: Stations, t: Terms, i: int) -> None:
    """Let those whose time has come leave, and draw how long the caller would stay."""
    now_s = s.now_s[i]
    if s.next_end_s[i] <= now_s:
        next_end_s = np.inf
        for place in range(s.ends_s.shape[1]):
            if s.ends_s[i, place] <= now_s:
                s.ends_s[i, place] = np.inf
                k = s.end_classes[i, place]
                s.in_service[i, k] -= 1
                s.free[i] += t.demands[s.system[i], k]
            elif s.ends_s[i, place] < next_end_s:
                next_end_s = s.ends_s[i, place]
        s.next_end_s[i] = next_end_s
    stay = 1.0 if t.fixed_holding else exponential(s.counters, i, HOLDING)
    s.caller_holding_s[i] = stay * t.holding_s[s.system[i], s.caller[i]]


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _begin(s: Stations, t: Terms, i: int) -> None:
    """Open an episode: nobody in service, loads drawn, the station having counted for a while."""
    s.system[i] = min(int(uniform(s.counters, i, EPISODES) * t.demands.shape[0]), t.demands.shape[0] - 1)
    s.phase[i] = 2 * np.pi * uniform(s.counters, i, EPISODES)
    for k in range(s.rates.shape[1]):
        factor = t.low * (t.high / t.low) ** uniform(s.counters, i, EPISODES)
        s.rates[i, k] = t.base_rates[s.system[i], k] * factor
        s.in_service[i, k] = 0
        s.seen[i, k] = 0.0
    s.ends_s[i] = np.inf
    s.next_end_s[i] = np.inf
    s.free[i] = t.capacity
    s.calls[i] = 0
    s.now_s[i] = -t.memory_s if t.show_rates else 0.0
    s.watched_s[i] = 0.0
    _hear(s, t, i)
    while s.now_s[i] < 0:
        s.seen[i, s.caller[i]] += 1
        _hear(s, t, i)
    _await(s, t, i)


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def _look(s: Stations, t: Terms, i: int, seen: NDArray[np.float32], mask: NDArray[np.int8]) -> None:
    """Write the observation, in the order of `Sight`, and the mask."""
    num_classes = s.rates.shape[1]
    fits = s.free[i] >= t.demands[s.system[i], s.caller[i]]
    for k in range(num_classes):
        seen[i, k] = s.in_service[i, k]
        seen[i, num_classes + k] = s.caller[i] == k
    seen[i, 2 * num_classes] = s.free[i]
    place = 2 * num_classes + 1
    if t.show_rates:
        weight_s = t.memory_s * -np.expm1(-s.watched_s[i] / t.memory_s)
        for k in range(num_classes):
            seen[i, place + k] = min(s.seen[i, k] / weight_s, t.most_rate)
        place += num_classes
    if t.show_tariffs:
        for k in range(num_classes):
            seen[i, place + k] = t.demands[s.system[i], k]
            seen[i, place + num_classes + k] = t.rewards[s.system[i], k]
        place += 2 * num_classes
    seen[i, place] = 1
    seen[i, place + 1] = fits
    mask[i, 0] = 1
    mask[i, 1] = fits


@njit(cache=True, nogil=True)
def begin_all(s: Stations, t: Terms, seen: NDArray[np.float32], mask: NDArray[np.int8]) -> None:
    """Open an episode at every station and write what is seen, shape (stations, size), and the masks."""
    for i in range(s.now_s.size):
        _begin(s, t, i)
        _look(s, t, i, seen, mask)


@njit(cache=True, nogil=True)
def look_all(s: Stations, t: Terms, seen: NDArray[np.float32], mask: NDArray[np.int8]) -> None:
    """Write what is seen and the masks, of stations that wait for an answer."""
    for i in range(s.now_s.size):
        _look(s, t, i, seen, mask)


@njit(cache=True, nogil=True)
def answer_all(
    s: Stations, t: Terms, admit: NDArray[np.int64], renew: bool, seen: NDArray[np.float32],
    mask: NDArray[np.int8], reward: Floats, blocked: NDArray[np.int8], over: NDArray[np.bool_],
    last_seen: NDArray[np.float32], last_mask: NDArray[np.int8], last_s: Floats,
) -> bool:  # fmt: skip
    """Answer the caller at every station and go on to the next; returns whether any episode is over.

    Args:
        s: The stations.
        t: The terms.
        admit: 1 lets the caller in, who must fit.
        renew: Whether a station whose episode is over begins the next one.
        seen: For what is seen next, after renewal where there is one.
        mask: For the mask that belongs to it.
        reward: For the reward of each class, shape (stations, classes).
        blocked: For 1 at the class of a caller that was refused, shape (stations, classes).
        over: For whether the episode is over.
        last_seen: Where it is over, for what the old episode saw last.
        last_mask: And its mask.
        last_s: And its time.
    """
    any_over = False
    reward[...] = 0.0
    blocked[...] = 0
    for i in range(s.now_s.size):
        caller = s.caller[i]
        if admit[i] == 1:
            reward[i, caller] = t.rewards[s.system[i], caller]
            s.in_service[i, caller] += 1
            s.free[i] -= t.demands[s.system[i], caller]
            place = 0
            while s.ends_s[i, place] < np.inf:
                place += 1
            end_s = s.now_s[i] + s.caller_holding_s[i]
            s.ends_s[i, place] = end_s
            s.end_classes[i, place] = caller
            s.next_end_s[i] = min(s.next_end_s[i], end_s)
        else:
            blocked[i, caller] = 1
        s.seen[i, caller] += 1
        s.calls[i] += 1
        _hear(s, t, i)
        _await(s, t, i)
        over[i] = s.calls[i] >= t.calls
        if over[i]:
            any_over = True
            _look(s, t, i, last_seen, last_mask)
            last_s[i] = s.now_s[i]
            if renew:
                _begin(s, t, i)
        _look(s, t, i, seen, mask)
    return any_over
