"""Compiled processor sharing by virtual time: the inner loop of `FlowAccess`.

A group is one slice in one cell, number cell * slices + slice. Its clock V tells how many seconds of
the whole resource a file of weight 1 would have got: dV/dt = share / (weights in service). A file that
needs `work` seconds of the whole resource gets the finish tag V + work / weight when it comes and is
through when V reaches it, whoever comes or goes meanwhile. A group's files are a heap by tag, linked
through arrays, so an arrival or a completion costs the logarithm of the files in service. Cells do
not touch one another between calls and are computed one after the other.

References: virtual time as in Parekh and Gallager, IEEE/ACM Trans. Netw. 1(3), 1993; skew heaps:
Sleator and Tarjan, SIAM J. Comput. 15(1), 1986.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.network.shares import reserved_shares_of_cell

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
FREE = -1  # of `Files.user`


class Files(NamedTuple):
    """A pool of files (packets), arrays of shape (capacity,); `user` is -1 where there is none."""

    user: Integers
    num_bytes: Integers
    left_bytes: Integers  # not yet delivered when the file came into its group
    remaining: Floats  # the same without rounding to whole bytes
    offered_s: Floats
    entered_s: Floats
    tag: Floats
    left: Integers  # children in the heap, -1: none
    right: Integers
    free: Integers  # a stack of unused places; how many: `Cells.num_free`
    done: Integers  # places of the files that completed in this call
    done_s: Floats


class Users(NamedTuple):
    """Where the users are, arrays of shape (users,)."""

    cell: Integers
    slice_index: Integers
    rate_bps: Floats  # with the whole resource of the cell; 0: out of reach
    weight: Floats


class Cells(NamedTuple):
    """Clocks and counters: shape (cells,) for `since_s`, `next_s`, `up`, (1,) for `num_free`, else (cells, slices)."""

    since_s: Floats  # up to when the clocks and integrals of the cell are computed
    next_s: Floats  # next completion if nobody comes
    up: NDArray[np.bool_]
    num_free: Integers
    root: Integers  # file with the smallest tag, -1: none
    clock: Floats
    weights: Floats  # in service
    share: Floats
    waiting: Integers  # files, those out of reach included
    offered_bytes: Integers
    delivered_bytes: Integers
    offered_packets: Integers
    delivered_packets: Integers
    packet_seconds: Floats
    sojourn_seconds: Floats
    used_share_seconds: Floats


class Policy(NamedTuple):
    """What slices may have, arrays of shape (slices,)."""

    dedicated: Floats
    minimum: Floats
    maximum: Floats
    weight: Floats


@njit(cache=True, nogil=True, error_model="numpy")
def _meld(a: int, b: int, files: Files) -> int:
    """Join two heaps; return the root."""
    if a < 0:
        return b
    if b < 0:
        return a
    tag, left, right = files.tag, files.left, files.right
    if tag[b] < tag[a]:
        a, b = b, a
    root = a
    while True:
        r = right[a]
        right[a] = left[a]
        if r < 0:
            left[a] = b
            return root
        if tag[r] > tag[b]:
            r, b = b, r
        left[a] = r
        a = r


@njit(cache=True, nogil=True, error_model="numpy")
def settle(c: int, now_s: float, cells: Cells) -> None:
    """Bring clocks and integrals of a cell to `now_s`, before which nothing happens in it."""
    elapsed = now_s - cells.since_s[c]
    if elapsed > 0:
        for s in range(cells.root.shape[1]):
            cells.packet_seconds[c, s] += elapsed * cells.waiting[c, s]
            if cells.root[c, s] >= 0:
                share = cells.share[c, s]
                cells.clock[c, s] += elapsed * share / cells.weights[c, s]
                cells.used_share_seconds[c, s] += elapsed * share
        cells.since_s[c] = now_s


@njit(cache=True, nogil=True, error_model="numpy")
def divide(c: int, cells: Cells, policy: Policy) -> None:
    """Divide a cell among its busy slices."""
    if cells.up[c]:
        demand = (cells.root[c] >= 0).astype(np.float64)
        reserved_shares_of_cell(demand, policy.dedicated, policy.minimum, policy.maximum, policy.weight, cells.share[c])
    else:
        cells.share[c, :] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _upcoming(c: int, cells: Cells, files: Files) -> tuple[float, int]:
    """Return when and in which slice a file of the cell is next through."""
    best, slice_index = np.inf, -1
    for s in range(cells.root.shape[1]):
        root, share = cells.root[c, s], cells.share[c, s]
        if root >= 0 and share > 0:
            ahead = files.tag[root] - cells.clock[c, s]
            when = cells.since_s[c] + max(ahead, 0.0) * cells.weights[c, s] / share
            if when < best:
                best, slice_index = when, s
    return best, slice_index


@njit(cache=True, nogil=True, error_model="numpy")
def foresee(c: int, cells: Cells, files: Files) -> None:
    """Note when the cell's next file will be through."""
    cells.next_s[c] = _upcoming(c, cells, files)[0]


@njit(cache=True, nogil=True, error_model="numpy")
def _enter(f: int, c: int, s: int, cells: Cells, files: Files, users: Users) -> bool:
    """Take a file of known remaining bytes into service; return whether the slice was idle."""
    user = files.user[f]
    files.left[f] = -1
    files.right[f] = -1
    if users.rate_bps[user] <= 0:
        return False
    idle = cells.root[c, s] < 0
    if idle:
        # A clock that starts anew keeps its precision however long the run.
        cells.clock[c, s] = 0.0
        cells.weights[c, s] = 0.0
    weight = users.weight[user]
    files.tag[f] = cells.clock[c, s] + 8.0 * files.remaining[f] / users.rate_bps[user] / weight
    cells.weights[c, s] += weight
    cells.root[c, s] = _meld(cells.root[c, s], f, files)
    return bool(idle)


@njit(cache=True, nogil=True, error_model="numpy")
def _arrive(f: int, c: int, s: int, now_s: float, cells: Cells, files: Files, users: Users) -> bool:
    files.entered_s[f] = now_s
    cells.waiting[c, s] += 1
    cells.offered_packets[c, s] += 1
    cells.offered_bytes[c, s] += files.left_bytes[f]
    return bool(_enter(f, c, s, cells, files, users))


@njit(cache=True, nogil=True, error_model="numpy")
def _complete(c: int, s: int, now_s: float, cells: Cells, files: Files, users: Users) -> bool:
    """Take out the file that is through; return whether the slice is idle now."""
    f = cells.root[c, s]
    cells.root[c, s] = _meld(files.left[f], files.right[f], files)
    cells.clock[c, s] = files.tag[f]
    cells.weights[c, s] -= users.weight[files.user[f]]
    cells.waiting[c, s] -= 1
    cells.delivered_packets[c, s] += 1
    cells.delivered_bytes[c, s] += files.left_bytes[f]
    cells.sojourn_seconds[c, s] += now_s - files.entered_s[f]
    return bool(cells.root[c, s] < 0)


@njit(cache=True, nogil=True, error_model="numpy")
def run_cells(
    until_s: float,
    first: Integers,
    order: Integers,
    user: Integers,
    num_bytes: Integers,
    offered_s: Floats,
    cells: Cells,
    files: Files,
    users: Users,
    policy: Policy,
) -> int:
    """Compute every cell up to `until_s`; return how many files are through, their places in `files.done`.

    Args:
        until_s: Files that are through by then, and no later, come out.
        first: Where the arrivals of each cell start in `order`, shape (cells + 1,).
        order: Arrivals cell by cell, in time inside a cell, shape (arrivals,).
        user: Of each arrival, shape (arrivals,).
        num_bytes: Of each arrival, shape (arrivals,).
        offered_s: When it comes, shape (arrivals,).
        cells: State, changed in place.
        files: State, changed in place; at least as many free places as arrivals.
        users: Users.
        policy: What slices may have.
    """
    num_done = 0
    for c in range(cells.since_s.size):
        k, end = first[c], first[c + 1]
        if k == end and cells.next_s[c] > until_s:
            continue
        while True:
            completion_s, done_slice = _upcoming(c, cells, files)
            arrival_s = offered_s[order[k]] if k < end else np.inf
            now_s = min(arrival_s, completion_s)
            if now_s > until_s or now_s == np.inf:
                break
            settle(c, now_s, cells)
            if completion_s <= arrival_s:
                f = cells.root[c, done_slice]
                files.done[num_done] = f
                files.done_s[num_done] = now_s
                num_done += 1
                changed = _complete(c, done_slice, now_s, cells, files, users)
            else:
                a = order[k]
                k += 1
                cells.num_free[0] -= 1
                f = files.free[cells.num_free[0]]
                files.user[f] = user[a]
                files.num_bytes[f] = num_bytes[a]
                files.left_bytes[f] = num_bytes[a]
                files.remaining[f] = num_bytes[a]
                files.offered_s[f] = offered_s[a]
                changed = _arrive(f, c, users.slice_index[user[a]], now_s, cells, files, users)
            if changed:
                divide(c, cells, policy)
        foresee(c, cells, files)
    return num_done


@njit(cache=True, nogil=True, error_model="numpy")
def release(num_done: int, cells: Cells, files: Files) -> None:
    """Free the places of the files that are through."""
    for k in range(num_done):
        f = files.done[k]
        files.user[f] = FREE
        files.free[cells.num_free[0]] = f
        cells.num_free[0] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def left_now(f: int, now_s: float, cells: Cells, files: Files, users: Users) -> float:
    """Return how many bytes of a file are left at `now_s`, before which nothing happens, not rounded."""
    user = files.user[f]
    c, s = users.cell[user], users.slice_index[user]
    if users.rate_bps[user] <= 0:
        return float(files.remaining[f])
    clock = cells.clock[c, s] + (now_s - cells.since_s[c]) * cells.share[c, s] / cells.weights[c, s]
    work = max(files.tag[f] - clock, 0.0) * users.weight[user]
    return float(min(work * users.rate_bps[user] / 8.0, files.remaining[f]))


@njit(cache=True, nogil=True, error_model="numpy")
def whole(remaining: float, left_bytes: int) -> int:
    """Return the whole bytes still to come: at least 1, the last byte is through when the file is."""
    return int(min(max(np.ceil(remaining), 1.0), left_bytes))


@njit(cache=True, nogil=True, error_model="numpy")
def inside(
    now_s: float,
    cells: Cells,
    files: Files,
    users: Users,
    waiting_bytes: Integers,
    delivered_bytes: Integers,
    sojourn_seconds: Floats,
) -> None:
    """Add, per cell and slice, what the files that wait have still to get, have got here, and how long they are in."""
    for f in range(files.user.size):
        user = files.user[f]
        if user >= 0:
            c, s = users.cell[user], users.slice_index[user]
            to_come = whole(left_now(f, now_s, cells, files, users), files.left_bytes[f])
            waiting_bytes[c, s] += to_come
            delivered_bytes[c, s] += files.left_bytes[f] - to_come
            sojourn_seconds[c, s] += now_s - files.entered_s[f]


@njit(cache=True, nogil=True, error_model="numpy")
def move(
    now_s: float, cell: Integers, rate_bps: Floats, cells: Cells, files: Files, users: Users, policy: Policy
) -> None:
    """Give users new cells and rates: their files go on with the bytes that remain.

    What is left of a file counts as offered to the new cell, no longer to the old one.
    """
    num_cells, num_slices = cells.root.shape
    touched = np.zeros((num_cells, num_slices), np.bool_)
    changed = np.zeros(files.user.size, np.bool_)
    for f in range(files.user.size):
        user = files.user[f]
        if user >= 0 and (users.cell[user] != cell[user] or users.rate_bps[user] != rate_bps[user]):
            changed[f] = True
            touched[users.cell[user], users.slice_index[user]] = True
            touched[cell[user], users.slice_index[user]] = True
    for c in range(num_cells):
        if touched[c].any():
            settle(c, now_s, cells)
    for g in np.flatnonzero(changed):
        f = int(g)
        user = files.user[f]
        c, s = users.cell[user], users.slice_index[user]
        files.remaining[f] = left_now(f, now_s, cells, files, users)
        left_bytes = whole(files.remaining[f], files.left_bytes[f])
        cells.delivered_bytes[c, s] += files.left_bytes[f] - left_bytes
        files.left_bytes[f] = left_bytes
        cells.offered_bytes[c, s] -= left_bytes
        cells.offered_packets[c, s] -= 1
        cells.waiting[c, s] -= 1
        cells.sojourn_seconds[c, s] += now_s - files.entered_s[f]
    for c in range(num_cells):
        for s in range(num_slices):
            if touched[c, s]:
                cells.root[c, s] = -1
    # Those who stay first, with their tags: a heap that they fill starts no new clock.
    for f in range(files.user.size):
        user = files.user[f]
        if user >= 0 and not changed[f] and rate_bps[user] > 0:
            c, s = cell[user], users.slice_index[user]
            if touched[c, s]:
                if cells.root[c, s] < 0:
                    cells.weights[c, s] = 0.0
                files.left[f] = -1
                files.right[f] = -1
                cells.weights[c, s] += users.weight[user]
                cells.root[c, s] = _meld(cells.root[c, s], f, files)
    users.cell[:] = cell
    users.rate_bps[:] = rate_bps
    for g in np.flatnonzero(changed):
        f = int(g)
        user = files.user[f]
        _arrive(f, users.cell[user], users.slice_index[user], now_s, cells, files, users)
    for c in range(num_cells):
        if touched[c].any():
            divide(c, cells, policy)
            foresee(c, cells, files)
