"""Compiled bookkeeping of `ActiveSetAccess`: packets in lines, active devices in a list.

A device is active while it has a packet. Its packets form a line, linked through a pool; the devices
that are active form a list in the order in which they came to the head of the line.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Packets(NamedTuple):
    """A pool of packets, arrays of shape (capacity,); `user` is -1 where there is none."""

    user: Integers
    num_bytes: Integers
    offered_s: Floats
    after: Integers  # the next packet of the same device, -1: none
    free: Integers  # a stack of unused places; how many: `Counters.sizes[FREE]`


class Active(NamedTuple):
    """The active devices, arrays of shape (capacity,), the first `Counters.sizes[ACTIVE]` in use."""

    user: Integers
    ready_slot: Integers  # speaks from this slot on
    attempts: Integers  # of the packet at the head, so far


class Devices(NamedTuple):
    """All devices, arrays of shape (users,); touched only where something happens."""

    group: Integers  # cell * slices + slice
    head: Integers  # first packet, -1: none
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
    packet_seconds: Floats
    sojourn_seconds: Floats
    used_share_seconds: Floats
    used_slot: Integers  # last slot in which somebody spoke


FREE, ACTIVE = 0, 1


@njit(cache=True, nogil=True, error_model="numpy")
def first_slot_from(time_s: float, slot_s: float) -> int:
    """Return the first slot that starts at or after `time_s`."""
    slot = int(np.ceil(time_s / slot_s))
    while (slot - 1) * slot_s >= time_s:
        slot -= 1
    while slot * slot_s < time_s:
        slot += 1
    return slot


@njit(cache=True, nogil=True, error_model="numpy")
def _count(group: int, now_s: float, change: int, counters: Counters) -> None:
    counters.packet_seconds[group] += counters.waiting[group] * (now_s - counters.since_s[group])
    counters.since_s[group] = now_s
    counters.waiting[group] += change


@njit(cache=True, nogil=True, error_model="numpy")
def enqueue(
    user: Integers,
    num_bytes: Integers,
    offered_s: Floats,
    slot_s: float,
    packets: Packets,
    active: Active,
    devices: Devices,
    counters: Counters,
) -> None:
    """Put arrivals in line, in their order; the pools must have room for them."""
    sizes = counters.sizes
    for k in range(user.size):
        u = user[k]
        sizes[FREE] -= 1
        p = packets.free[sizes[FREE]]
        packets.user[p] = u
        packets.num_bytes[p] = num_bytes[k]
        packets.offered_s[p] = offered_s[k]
        packets.after[p] = -1
        if devices.head[u] < 0:
            devices.head[u] = p
            a = sizes[ACTIVE]
            active.user[a] = u
            active.ready_slot[a] = first_slot_from(offered_s[k], slot_s)
            active.attempts[a] = 0
            sizes[ACTIVE] += 1
        else:
            packets.after[devices.tail[u]] = p
        devices.tail[u] = p
        g = devices.group[u]
        _count(g, offered_s[k], 1, counters)
        counters.offered_packets[g] += 1
        counters.offered_bytes[g] += num_bytes[k]
        counters.waiting_bytes[g] += num_bytes[k]


@njit(cache=True, nogil=True, error_model="numpy")
def _leave(p: int, now_s: float, packets: Packets, devices: Devices, counters: Counters) -> int:
    """Take the first packet of a device out; return its group."""
    u = packets.user[p]
    g = devices.group[u]
    devices.head[u] = packets.after[p]
    _count(g, now_s, -1, counters)
    counters.waiting_bytes[g] -= packets.num_bytes[p]
    counters.sojourn_seconds[g] += now_s - packets.offered_s[p]
    packets.user[p] = -1
    packets.free[counters.sizes[FREE]] = p
    counters.sizes[FREE] += 1
    return int(g)


@njit(cache=True, nogil=True, error_model="numpy")
def finish_slot(  # noqa: PLR0915 (one pass over the list)
    slot: int,
    slot_s: float,
    speakers: Integers,
    heard: NDArray[np.bool_],
    back_off: Integers,
    max_attempts: int,
    packets: Packets,
    active: Active,
    devices: Devices,
    counters: Counters,
    done: tuple[Integers, Integers, Floats],
    lost: tuple[Integers, Integers, Floats],
) -> int:
    """Settle a slot: who was heard is through, who was not backs off, waits or gives up.

    Args:
        slot: Its number.
        slot_s: Its length.
        speakers: Places in the active list, ascending, shape (speakers,).
        heard: Who got through, shape (speakers,).
        back_off: Slots to stay silent, one per speaker not heard, shape (losers,); empty: losers just wait.
        max_attempts: Attempts after which a packet is given up; 0: never.
        packets: State, changed in place.
        active: State, changed in place.
        devices: State, changed in place.
        counters: State, changed in place.
        done: User, bytes and time of offer of each packet heard, written; shape (heard,).
        lost: The same of each packet given up; shape (losers,), if any can be.

    Returns:
        How many packets were given up.
    """
    now_s = (slot + 1) * slot_s
    losers, num_done, num_lost = 0, 0, 0
    # The list closes its gaps behind the reader; who has another packet goes to its end.
    again = np.empty(speakers.size, np.int64)
    num_again = 0
    write = speakers[0] if speakers.size else counters.sizes[ACTIVE]
    k = 0
    for read in range(write, counters.sizes[ACTIVE]):
        stays = True
        if k < speakers.size and speakers[k] == read:
            u = active.user[read]
            g = devices.group[u]
            if counters.used_slot[g] != slot:
                counters.used_slot[g] = slot
                counters.used_share_seconds[g] += slot_s
            p = devices.head[u]
            if heard[k]:
                done[0][num_done] = u
                done[1][num_done] = packets.num_bytes[p]
                done[2][num_done] = packets.offered_s[p]
                num_done += 1
                counters.delivered_packets[g] += 1
                counters.delivered_bytes[g] += packets.num_bytes[p]
                _leave(p, now_s, packets, devices, counters)
                stays = False
            elif back_off.size:
                active.ready_slot[read] = slot + 1 + back_off[losers]
                losers += 1
                active.attempts[read] += 1
                if active.attempts[read] == max_attempts:
                    lost[0][num_lost], lost[1][num_lost] = u, packets.num_bytes[p]
                    lost[2][num_lost] = packets.offered_s[p]
                    num_lost += 1
                    counters.dropped_packets[g] += 1
                    counters.dropped_bytes[g] += packets.num_bytes[p]
                    _leave(p, now_s, packets, devices, counters)
                    stays = False
            if not stays and devices.head[u] >= 0:
                again[num_again] = u
                num_again += 1
            k += 1
        if stays:
            active.user[write] = active.user[read]
            active.ready_slot[write] = active.ready_slot[read]
            active.attempts[write] = active.attempts[read]
            write += 1
    for j in range(num_again):
        u = again[j]
        active.user[write] = u
        # Its next packet may have come only during this slot.
        active.ready_slot[write] = max(slot + 1, first_slot_from(packets.offered_s[devices.head[u]], slot_s))
        active.attempts[write] = 0
        write += 1
    counters.sizes[ACTIVE] = write
    return num_lost
