"""Compiled inner loops of the slotted radio: one pass over the backlogged users of every cell and slot.

Users are rows of arrays; `Order` lists them by (cell, slice), so that a slice of a cell is a run of it.
Waiting packets live in one pool, a linked list per user. Nothing here reorders floating-point sums: the
slow oracle of the tests gives the same bytes.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.network.shares import reserved_shares_of_cell

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# rows of Books.counts
OFFERED_BYTES, DELIVERED_BYTES, WAITING_BYTES, DROPPED_BYTES = 0, 1, 2, 3
OFFERED_PACKETS, DELIVERED_PACKETS, WAITING_PACKETS, DROPPED_PACKETS = 4, 5, 6, 7
# rows of Books.times
INTEGRAL, SINCE, SOJOURN, USED = 0, 1, 2, 3
# entries of marks
SLOT, FREE, NUM_FREE, WAITING, NUM_OUT, TAKEN = 0, 1, 2, 3, 4, 5
# rows of ratios
DEDICATED, MIN, MAX, WEIGHT = 0, 1, 2, 3

DONE, POOL_FULL, OUT_FULL = 0, 1, 2
PROPORTIONAL, SHANNON = 0, 1
FAIR, ROUND_ROBIN, MAX_RATE, EARLIEST = 0, 1, 2, 3

WHOLE = 1e-6  # bytes; less than this is rounding, not a missing byte
NOTHING = 1e-12  # of a slot
LEAST_AVERAGE = np.float32(1e-12)  # bytes per slot; keeps idle users' averages from becoming subnormal
ENDLESS = 2.0  # slots that a user with endless data would like to have: more than there are


# A packet touches all of these, and a million users fit in no cache: side by side they cost one miss, not six.
USER = np.dtype(
    [
        ("row", np.int32),
        ("place", np.int32),
        ("head", np.int32),
        ("tail", np.int32),
        ("queued", np.int64),
        ("credit", np.float64),
    ]
)


class Users(NamedTuple):
    """Who they are and what they wait for; shape (users,) each.

    Those named in `USER` are views of one array of records.
    """

    row: NDArray[np.int32]  # cell * num_slices + slice
    mean: NDArray[np.float32]  # SNR without fading, linear; or bits/s, with a rate proportional to it
    saturated: NDArray[np.bool_]  # always have data
    queued: Integers  # bytes waiting
    head: NDArray[np.int32]  # oldest packet in the pool; -1 is none
    tail: NDArray[np.int32]
    place: NDArray[np.int32]  # in the order
    credit: Floats  # fraction of a byte that was paid for but not delivered yet
    average: NDArray[np.float32]  # bytes per slot, the memory of proportional fairness


class Order(NamedTuple):
    """Users sorted by row, then index."""

    user: NDArray[np.int32]  # (users,)
    busy: NDArray[np.uint8]  # (users,), by place: has data (1), always has data (2); a scan of bytes instead of queues
    start: Integers  # (rows + 1,)
    saturated: Integers  # (rows,), how many always have data


class Pool(NamedTuple):
    """Waiting packets and free places; shape (places,) each."""

    next: Integers
    left: Integers  # bytes still to be delivered
    size: Integers
    offered: Floats  # s


class Books(NamedTuple):
    """What happened so far, per row."""

    counts: Integers  # (8, rows)
    times: Floats  # (4, rows)
    turn: Integers  # (rows,), last user served


class Scratch(NamedTuple):
    """Work space; nothing survives a slot."""

    user: NDArray[np.int32]  # (users,) each: candidates of a row, at the row's place in the order
    heap: NDArray[np.int32]
    metric: Floats
    capacity: Floats
    want: Floats  # (slices,) each
    grant: Floats


class Output(NamedTuple):
    """Packets delivered; shape (capacity,) each."""

    user: Integers
    size: Integers
    offered: Floats
    delivered: Floats


class Rule(NamedTuple):
    """The numbers of a `SlotRadio` and its rate mapping."""

    slot_s: float
    scheduler: int
    window: float  # slots
    buffer_bytes: int  # per user
    mapping: int
    full_band_bytes: float  # bytes per slot for each bit/s/Hz (or for each bit/s of `mean`)
    slope: float
    ceiling: float  # bit/s/Hz
    least_snr: float


def idle_users(num_users: int) -> Users:
    """Return users without packets, in row 0."""
    record = np.zeros(num_users, USER)
    record["head"] = record["tail"] = -1
    return Users(
        **{name: record[name] for name in USER.names or ()},
        mean=np.zeros(num_users, np.float32),
        average=np.zeros(num_users, np.float32),
        saturated=np.zeros(num_users, np.bool_),
    )


def empty_pool(places: int) -> Pool:
    """Return places that are not linked yet."""
    return Pool(np.zeros(places, np.int64), np.zeros(places, np.int64), np.zeros(places, np.int64), np.zeros(places))


@njit(cache=True, nogil=True, error_model="numpy")
def sort_by_row(users: Users, order: Order) -> None:
    """Fill `order` by counting: linear in the users."""
    row, start = users.row, order.start
    start[:] = 0
    order.saturated[:] = 0
    for user in range(row.size):
        start[row[user] + 1] += 1
        order.saturated[row[user]] += users.saturated[user]
    for r in range(start.size - 1):
        start[r + 1] += start[r]
    following = start.copy()
    for user in range(row.size):
        place = following[row[user]]
        following[row[user]] += 1
        order.user[place] = user
        users.place[user] = place
        order.busy[place] = 2 if users.saturated[user] else users.head[user] >= 0


@njit(cache=True, nogil=True, error_model="numpy")
def move(moved: Integers, new_row: NDArray[np.int32], now: float, users: Users, pool: Pool, books: Books) -> None:
    """Take users to other rows, their waiting packets and bytes with them.

    What was delivered or dropped stays on the old row's account; what still waits counts as offered to the
    new row. The time spent so far stays with the old row.
    """
    counts, times = books.counts, books.times
    for user in moved:
        old, new = users.row[user], new_row[user]
        users.row[user] = new
        packets, spent, at = 0, 0.0, users.head[user]
        while at >= 0:
            packets += 1
            spent += now - pool.offered[at]
            at = pool.next[at]
        if packets:
            for r in (old, new):
                times[INTEGRAL, r] += counts[WAITING_PACKETS, r] * (now - times[SINCE, r])
                times[SINCE, r] = now
            times[SOJOURN, old] += spent
            times[SOJOURN, new] -= spent
            for what in (OFFERED_PACKETS, WAITING_PACKETS):
                counts[what, old] -= packets
                counts[what, new] += packets
            for what in (OFFERED_BYTES, WAITING_BYTES):
                counts[what, old] -= users.queued[user]
                counts[what, new] += users.queued[user]


@njit(cache=True, nogil=True, error_model="numpy")
def waiting_seconds(now: float, users: Users, pool: Pool, seconds: Floats) -> None:
    """Add to `seconds`, shape (rows,), how long each waiting packet has been waiting."""
    for user in range(users.row.size):
        at = users.head[user]
        while at >= 0:
            seconds[users.row[user]] += now - pool.offered[at]
            at = pool.next[at]


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def bytes_per_slot(snr: float, rule: Rule) -> float:
    """What the whole band would carry in one slot."""
    if rule.mapping == PROPORTIONAL:
        return rule.full_band_bytes * (rule.slope * snr)
    if snr < rule.least_snr:
        return 0.0
    return rule.full_band_bytes * min(rule.ceiling, rule.slope * math.log2(1.0 + snr))


@njit(cache=True, nogil=True, error_model="numpy", forceinline=True)
def sift(heap: NDArray[np.int32], metric: Floats, first: int, size: int, at: int) -> None:
    """Let the candidate at `at` sink to its place; the largest metric is on top, ties by index."""
    item = heap[first + at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        chosen = heap[first + child]
        if child + 1 < size:
            other = heap[first + child + 1]
            if metric[other] > metric[chosen] or (metric[other] == metric[chosen] and other < chosen):
                child, chosen = child + 1, other
        if metric[item] > metric[chosen] or (metric[item] == metric[chosen] and item < chosen):
            break
        heap[first + at] = chosen
        at = child
    heap[first + at] = item


@njit(cache=True, nogil=True, error_model="numpy")
def take_in(
    now: float, users: Users, order: Order, pool: Pool, books: Books,
    who: Integers, num_bytes: Integers, offered: Floats, lost_s: Floats, marks: Integers, rule: Rule,
) -> bool:  # fmt: skip
    """Queue what was offered up to `now`, or drop it (and say when) where the buffer is full; False if the pool is."""
    counts, times = books.counts, books.times
    at = marks[TAKEN]
    while at < who.size and offered[at] <= now + 1e-6 * rule.slot_s:
        if marks[NUM_FREE] == 0:
            marks[TAKEN] = at
            return False
        user, size = who[at], num_bytes[at]
        r = users.row[user]
        counts[OFFERED_BYTES, r] += size
        counts[OFFERED_PACKETS, r] += 1
        if users.queued[user] + size > rule.buffer_bytes:
            counts[DROPPED_BYTES, r] += size
            counts[DROPPED_PACKETS, r] += 1
            lost_s[at] = now
        else:
            # Negative for a packet that came while the last slot was on the air; the sum is right at `now`.
            times[INTEGRAL, r] += counts[WAITING_PACKETS, r] * (offered[at] - times[SINCE, r])
            times[SINCE, r] = offered[at]
            counts[WAITING_BYTES, r] += size
            counts[WAITING_PACKETS, r] += 1
            place = marks[FREE]
            marks[FREE] = pool.next[place]
            marks[NUM_FREE] -= 1
            marks[WAITING] += 1
            pool.next[place], pool.left[place], pool.size[place] = -1, size, size
            pool.offered[place] = offered[at]
            if users.head[user] < 0:
                users.head[user] = place
                order.busy[users.place[user]] = 1
            else:
                pool.next[users.tail[user]] = place
            users.tail[user] = place
            users.queued[user] += size
        at += 1
    marks[TAKEN] = at
    return True


@njit(cache=True, nogil=True, error_model="numpy")
def deliver(
    user: int, num_bytes: int, end: float, users: Users, order: Order, pool: Pool, books: Books,
    output: Output, marks: Integers,
) -> None:  # fmt: skip
    """Take bytes off a user's oldest packets."""
    counts, times, r, finished = books.counts, books.times, users.row[user], 0
    users.queued[user] -= num_bytes
    counts[DELIVERED_BYTES, r] += num_bytes
    counts[WAITING_BYTES, r] -= num_bytes
    place = users.head[user]
    while num_bytes > 0:
        taken = min(num_bytes, pool.left[place])
        pool.left[place] -= taken
        num_bytes -= taken
        if pool.left[place] == 0:
            out = marks[NUM_OUT]
            output.user[out], output.size[out] = user, pool.size[place]
            output.offered[out], output.delivered[out] = pool.offered[place], end
            marks[NUM_OUT] = out + 1
            times[SOJOURN, r] += end - pool.offered[place]
            finished += 1
            following = pool.next[place]
            pool.next[place] = marks[FREE]
            marks[FREE] = place
            place = following
    users.head[user] = place
    if place < 0:
        order.busy[users.place[user]] = 0
    if finished:
        times[INTEGRAL, r] += counts[WAITING_PACKETS, r] * (end - times[SINCE, r])
        times[SINCE, r] = end
        counts[WAITING_PACKETS, r] -= finished
        counts[DELIVERED_PACKETS, r] += finished
        marks[NUM_FREE] += finished
        marks[WAITING] -= finished


@njit(cache=True, nogil=True, error_model="numpy")
def find_candidates(
    r: int, gains: NDArray[np.float32], users: Users, order: Order, pool: Pool, turn: int, scratch: Scratch, rule: Rule
) -> tuple[int, float]:
    """List a row's users that have data and a channel, with their metrics; return how many, and what they want."""
    first = order.start[r]
    size, want, num_users = 0, 0.0, users.row.size
    for position in range(first, order.start[r + 1]):
        if order.busy[position] == 0:
            continue
        user = order.user[position]
        endless = order.busy[position] == 2
        capacity = bytes_per_slot(float(users.mean[user]) * float(gains[user]), rule)
        if not capacity > 0.0:
            continue
        at = first + size
        scratch.user[at], scratch.capacity[at], scratch.heap[at] = user, capacity, at
        if rule.scheduler == FAIR:
            scratch.metric[at] = capacity / float(users.average[user])
        elif rule.scheduler == ROUND_ROBIN:
            scratch.metric[at] = -float((user - turn - 1) % num_users)
        elif rule.scheduler == MAX_RATE:
            scratch.metric[at] = capacity
        else:
            scratch.metric[at] = -np.inf if endless else -pool.offered[users.head[user]]
        want += ENDLESS if endless else (users.queued[user] - users.credit[user]) / capacity
        size += 1
    return size, want


@njit(cache=True, nogil=True, error_model="numpy")
def serve_row(
    r: int, size: int, share: float, end: float, users: Users, order: Order, pool: Pool, books: Books,
    scratch: Scratch, output: Output, marks: Integers, rule: Rule,
) -> None:  # fmt: skip
    """Give a share of the slot to a row's candidates, the best first."""
    first, left = order.start[r], share
    heap = scratch.heap
    for at in range(size // 2 - 1, -1, -1):
        sift(heap, scratch.metric, first, size, at)
    while size > 0 and left > NOTHING:
        best = heap[first]
        size -= 1
        heap[first] = heap[first + size]
        sift(heap, scratch.metric, first, size, 0)
        user, capacity = scratch.user[best], scratch.capacity[best]
        reach = left * capacity + users.credit[user]
        if not users.saturated[user] and users.queued[user] <= reach + WHOLE:
            served = users.queued[user]
            left -= min(left, (served - users.credit[user]) / capacity)
            users.credit[user] = 0.0
        else:
            served = int(reach + WHOLE)
            left = 0.0
            users.credit[user] = max(0.0, reach - served)
        if users.saturated[user]:
            books.counts[OFFERED_BYTES, r] += served
            books.counts[DELIVERED_BYTES, r] += served
        else:
            deliver(user, served, end, users, order, pool, books, output, marks)
        if rule.scheduler == FAIR:
            users.average[user] += np.float32(served / rule.window)
        books.turn[r] = user
    books.times[USED, r] += (share - max(left, 0.0)) * rule.slot_s


@njit(cache=True, nogil=True, error_model="numpy")
def run_slots(
    first_slot: int, gains: NDArray[np.float32], users: Users, order: Order, pool: Pool, books: Books,
    scratch: Scratch, output: Output, who: Integers, num_bytes: Integers, offered: Floats, lost_s: Floats,
    ratios: Floats, up: NDArray[np.bool_], marks: Integers, rule: Rule,
) -> int:  # fmt: skip
    """Run the slots whose gains, shape (slots, users), are given; `first_slot` is the number of the first.

    Returns:
        `DONE`, or what has to be made larger before the call is repeated.
    """
    num_slices = scratch.want.size
    keep = np.float32(1.0 - 1.0 / rule.window)
    sizes = np.zeros(num_slices, np.int64)
    while marks[SLOT] < first_slot + gains.shape[0]:
        slot = marks[SLOT]
        if not take_in(slot * rule.slot_s, users, order, pool, books, who, num_bytes, offered, lost_s, marks, rule):
            return POOL_FULL
        if marks[NUM_OUT] + marks[WAITING] > output.user.size:
            return OUT_FULL
        end = (slot + 1) * rule.slot_s
        if rule.scheduler == FAIR:
            average = users.average
            for user in range(average.size):
                average[user] = max(average[user] * keep, LEAST_AVERAGE)
        for cell in range(up.size):
            if not up[cell]:
                continue
            total = 0
            for s in range(num_slices):
                r = cell * num_slices + s
                sizes[s], scratch.want[s] = 0, 0.0
                if books.counts[WAITING_PACKETS, r] > 0 or order.saturated[r] > 0:
                    sizes[s], scratch.want[s] = find_candidates(
                        r, gains[slot - first_slot], users, order, pool, books.turn[r], scratch, rule
                    )
                    total += sizes[s]
            if total == 0:
                continue
            reserved_shares_of_cell(
                scratch.want, ratios[DEDICATED], ratios[MIN], ratios[MAX], ratios[WEIGHT], scratch.grant
            )
            for s in range(num_slices):
                if sizes[s] > 0 and scratch.grant[s] > 0.0:
                    r = cell * num_slices + s
                    serve_row(
                        r, sizes[s], scratch.grant[s], end, users, order, pool, books, scratch, output, marks, rule
                    )
        marks[SLOT] = slot + 1
    return DONE
