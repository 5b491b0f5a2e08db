"""Compiled bookkeeping of `FrameAccess`: messages in lines, segments acknowledged, and chance without a generator.

Chance here is a hash of (seed, purpose, who, when): what happens to a frame does not depend on how time is cut
into calls, and a copy of the state needs no copy of a generator.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.network.active_kernels import ACTIVE, FREE, first_slot_from

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MISSED, HEARD, WRONG = 0, 1, 2
BACK_OFF, ROW, WHO, ALARM = 1, 2, 3, 4  # purposes of chance


class Messages(NamedTuple):
    """A pool of messages, shape (capacity,); `user` is -1 where there is none."""

    user: Integers
    num_bytes: Integers
    offered_s: Floats
    after: Integers  # the next message of the same device, -1: none
    segments: Integers  # that it is cut into
    acknowledged: Integers  # of them
    attempts: Integers  # of the segment at hand, in vain so far
    restarts: Integers
    broken: Integers  # 1 when the station has something false among its segments
    spoken: Integers  # frames spent on it
    free: Integers  # a stack of unused places; how many: `Counters.sizes[FREE]`


class Active(NamedTuple):
    """Devices that have a message, shape (capacity,), the first `Counters.sizes[ACTIVE]` in use."""

    user: Integers
    speak_slot: Integers  # the slot in which it speaks next


class Devices(NamedTuple):
    """All devices, shape (users,); touched only where something happens."""

    group: Integers  # cell * slices + slice
    codebook: Integers
    label: Integers  # place in the codebook
    head: Integers  # first message, -1: none
    tail: Integers


class Counters(NamedTuple):
    """Shape (cells * slices,), but for `sizes`, shape (2,)."""

    sizes: Integers
    since_s: Floats  # up to when `packet_seconds` is computed
    waiting: Integers
    waiting_bytes: Integers
    offered_bytes: Integers
    delivered_bytes: Integers
    dropped_bytes: Integers
    offered_packets: Integers
    delivered_packets: Integers
    dropped_packets: Integers
    frames_spoken: Integers
    frames_of_delivered: Integers  # all that the messages delivered have cost, restarts included
    missed: Integers
    wrong: Integers
    false_alarms: Integers
    broken_by_alarm: Integers
    restarts: Integers
    packet_seconds: Floats
    sojourn_seconds: Floats
    used_share_seconds: Floats


@njit(cache=True, nogil=True)
def chance(seed: int, purpose: int, who: int, when: int) -> float:
    """Return a number uniform in [0, 1) that is a hash of its arguments (the mixer of SplitMix64, thrice)."""
    z = np.uint64(seed)
    for part in (purpose, who, when):
        z = (z ^ np.uint64(part)) + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return float(z >> np.uint64(11)) * 2.0**-53


@njit(cache=True, nogil=True, error_model="numpy")
def next_turn(slot: int, offset: int, turns: int) -> int:
    """Return the first slot from `slot` on that is `offset` modulo `turns`."""
    return slot + (offset - slot) % turns


@njit(cache=True, nogil=True, error_model="numpy")
def enqueue(
    user: Integers,
    num_bytes: Integers,
    offered_s: Floats,
    segments: Integers,
    slot_s: float,
    turns: int,
    offset: Integers,
    messages: Messages,
    active: Active,
    devices: Devices,
    counters: Counters,
) -> None:
    """Put arrivals in line, in their order; the pools must have room for them."""
    sizes = counters.sizes
    for k in range(user.size):
        u = user[k]
        sizes[FREE] -= 1
        p = messages.free[sizes[FREE]]
        messages.user[p], messages.num_bytes[p], messages.offered_s[p] = u, num_bytes[k], offered_s[k]
        messages.after[p], messages.segments[p] = -1, segments[k]
        messages.acknowledged[p] = messages.attempts[p] = messages.restarts[p] = 0
        messages.broken[p] = messages.spoken[p] = 0
        if devices.head[u] < 0:
            devices.head[u] = p
            a = sizes[ACTIVE]
            active.user[a] = u
            active.speak_slot[a] = next_turn(first_slot_from(offered_s[k], slot_s), offset[devices.codebook[u]], turns)
            sizes[ACTIVE] += 1
        else:
            messages.after[devices.tail[u]] = p
        devices.tail[u] = p
        g = devices.group[u]
        counters.offered_packets[g] += 1
        counters.offered_bytes[g] += num_bytes[k]
        counters.waiting_bytes[g] += num_bytes[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _leave(p: int, now_s: float, messages: Messages, devices: Devices, counters: Counters) -> None:
    u = messages.user[p]
    g = devices.group[u]
    devices.head[u] = messages.after[p]
    counters.waiting_bytes[g] -= messages.num_bytes[p]
    counters.sojourn_seconds[g] += now_s - messages.offered_s[p]
    messages.user[p] = -1
    messages.free[counters.sizes[FREE]] = p
    counters.sizes[FREE] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def settle(  # noqa: PLR0915 (one pass over the speakers)
    seed: int,
    slot_s: float,
    turns: int,
    back_off_turns: int,
    max_attempts: int,
    max_restarts: int,
    speakers: Integers,
    outcome: NDArray[np.int8],
    alarmed: Integers,
    messages: Messages,
    active: Active,
    devices: Devices,
    counters: Counters,
    ended: tuple[Integers, Integers, Floats, Floats, NDArray[np.bool_]],
) -> int:
    """Settle frames in which every codebook had at most one turn.

    Args:
        seed: Of the back-off.
        slot_s: Length of a slot.
        turns: Slots from one turn of a codebook to its next.
        back_off_turns: Window of the back-off.
        max_attempts: Of a segment; 0: no end.
        max_restarts: Of a message; -1: no end.
        speakers: Places in the active list in the order of their slots, shape (speakers,).
        outcome: MISSED, HEARD or WRONG, shape (speakers,).
        alarmed: Devices, silent in their codebook's turn, whose pilots the station believed to hear.
        messages: State, changed in place.
        active: State, changed in place.
        devices: State, changed in place.
        counters: State, changed in place.
        ended: User, bytes, time of offer, time of end, and whether delivered; shape (speakers,), written.

    Returns:
        How many messages ended.
    """
    for u in alarmed:
        g = devices.group[u]
        counters.false_alarms[g] += 1
        p = devices.head[u]
        if p >= 0 and messages.spoken[p] > 0:
            counters.broken_by_alarm[g] += 1 - messages.broken[p]
            messages.broken[p] = 1
    num_ended, num_again = 0, 0
    again = np.empty(speakers.size, np.int64)
    for k in range(speakers.size):
        a = speakers[k]
        u, slot = active.user[a], active.speak_slot[a]
        g, p, end_s = devices.group[u], devices.head[u], (slot + 1) * slot_s
        messages.spoken[p] += 1
        counters.frames_spoken[g] += 1
        over, delivered = False, False
        active.speak_slot[a] = slot + turns
        if outcome[k] == MISSED:
            counters.missed[g] += 1
            messages.attempts[p] += 1
            over = messages.attempts[p] == max_attempts
            active.speak_slot[a] += turns * int(back_off_turns * chance(seed, BACK_OFF, u, slot))
        else:
            messages.attempts[p] = 0
            messages.acknowledged[p] += 1
            if outcome[k] == WRONG:
                counters.wrong[g] += 1
                messages.broken[p] = 1
            if messages.acknowledged[p] == messages.segments[p]:
                if messages.broken[p]:
                    over = messages.restarts[p] == max_restarts
                    messages.restarts[p] += 1
                    messages.acknowledged[p] = messages.broken[p] = 0
                    counters.restarts[g] += 1
                else:
                    over, delivered = True, True
        if not over:
            continue
        ended[0][num_ended], ended[1][num_ended] = u, messages.num_bytes[p]
        ended[2][num_ended], ended[3][num_ended] = messages.offered_s[p], end_s
        ended[4][num_ended] = delivered
        num_ended += 1
        if delivered:
            counters.delivered_packets[g] += 1
            counters.delivered_bytes[g] += messages.num_bytes[p]
            counters.frames_of_delivered[g] += messages.spoken[p]
        else:
            counters.dropped_packets[g] += 1
            counters.dropped_bytes[g] += messages.num_bytes[p]
        _leave(p, end_s, messages, devices, counters)
        active.user[a] = -1
        if devices.head[u] >= 0:
            again[num_again] = a
            num_again += 1
            active.user[a] = u
            # Its next message may have come only during this slot.
            first = max(slot + 1, first_slot_from(messages.offered_s[devices.head[u]], slot_s))
            active.speak_slot[a] = next_turn(first, slot % turns, turns)
    if num_ended > num_again:
        write = 0
        for read in range(counters.sizes[ACTIVE]):
            if active.user[read] >= 0:
                active.user[write], active.speak_slot[write] = active.user[read], active.speak_slot[read]
                write += 1
        counters.sizes[ACTIVE] = write
    return num_ended


@njit(cache=True, nogil=True, error_model="numpy")
def integrate(
    came_s: Floats, came: Integers, gone_s: Floats, gone: Integers, until_s: float, counters: Counters
) -> None:
    """Bring the integral of messages waiting up to `until_s`; events are sorted, their groups beside them."""
    i, j = 0, 0
    while i < came.size or j < gone.size:
        arrives = j == gone.size or (i < came.size and came_s[i] <= gone_s[j])
        t, g = (came_s[i], came[i]) if arrives else (gone_s[j], gone[j])
        counters.packet_seconds[g] += counters.waiting[g] * (t - counters.since_s[g])
        counters.since_s[g] = t
        counters.waiting[g] += 1 if arrives else -1
        i, j = (i + 1, j) if arrives else (i, j + 1)
    for g in range(counters.waiting.size):
        counters.packet_seconds[g] += counters.waiting[g] * (until_s - counters.since_s[g])
        counters.since_s[g] = until_s


@njit(cache=True, nogil=True, error_model="numpy")
def resample(
    seed: int,
    slot: Integers,
    codebook: Integers,
    draw: Integers,
    first: Integers,
    label: Integers,
    num_devices: int,
    missed: NDArray[np.int16],
    wrong: NDArray[np.int16],
    alarms: NDArray[np.int16],
    outcome: NDArray[np.int8],
) -> tuple[Integers, Integers]:
    """Draw whole frames from a table and deal what happened in them to devices, uniformly.

    Args:
        seed: Of all chance.
        slot: When, shape (frames,).
        codebook: Whose turn, shape (frames,).
        draw: Which of the table's pilot draws, shape (frames,).
        first: Where each frame's speakers begin, shape (frames + 1,).
        label: Place of each speaker in the codebook, shape (speakers,).
        num_devices: Devices of a codebook.
        missed: Table, shape (speakers 0.., draws, frames).
        wrong: Table, of the same shape.
        alarms: Table, of the same shape.
        outcome: Written, shape (speakers,).

    Returns:
        Frame and place in the codebook of every false alarm.
    """
    total = 0
    row = np.empty(slot.size, np.int64)
    for f in range(slot.size):
        row[f] = int(missed.shape[2] * chance(seed, ROW, codebook[f], slot[f]))
        total += alarms[first[f + 1] - first[f], draw[f], row[f]]
    false_frame, false_label = np.empty(total, np.int64), np.empty(total, np.int64)
    taken = np.zeros(num_devices, np.bool_)
    num_false = 0
    for f in range(slot.size):
        speakers = first[f + 1] - first[f]
        lost, misread = missed[speakers, draw[f], row[f]], wrong[speakers, draw[f], row[f]]
        for k in range(first[f], first[f + 1]):
            taken[label[k]] = True
            # Selection sampling: each way to deal the outcomes to the speakers is equally likely.
            place = int((first[f + 1] - k) * chance(seed, WHO, codebook[f] * num_devices + label[k], slot[f]))
            if place < lost:
                outcome[k], lost = MISSED, lost - 1
            elif place < lost + misread:
                outcome[k], misread = WRONG, misread - 1
            else:
                outcome[k] = HEARD
        begun, tries = num_false, 0
        while num_false - begun < alarms[speakers, draw[f], row[f]]:
            at = int(num_devices * chance(seed, ALARM + tries, codebook[f], slot[f]))
            tries += 1
            if not taken[at]:
                taken[at] = True
                false_frame[num_false], false_label[num_false] = f, at
                num_false += 1
        for k in range(first[f], first[f + 1]):
            taken[label[k]] = False
        for k in range(begun, num_false):
            taken[false_label[k]] = False
    return false_frame, false_label
