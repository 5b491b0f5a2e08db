"""Lines of packets in pools, one for each of very many devices: how they begin, how they grow, what is in them.

`ActiveSetAccess` and the frames of `services` keep their packets alike: a pool whose `user` is -1 where there is
none, a stack `free` of unused places, and counters whose `sizes` say how many places are free and devices active.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.access import Account
from wirelesslab.network.active_kernels import FREE

REAL = ("offered_s", "since_s", "packet_seconds", "sojourn_seconds", "used_share_seconds")  # all others are counts

Columns = TypeVar("Columns", bound=tuple[NDArray[Any], ...])


class Waiting(Protocol):
    """The columns of a pool of packets that an account looks at."""

    @property
    def user(self) -> NDArray[np.int64]:
        """Whose packet it is; -1 where there is none."""
        ...

    @property
    def offered_s(self) -> NDArray[np.float64]:
        """When it was offered."""
        ...


def empty(kind: type[Columns], size: int = 0) -> Columns:
    """Return columns of zeros, by a class of named columns: what is measured is real, what is counted whole."""
    names = cast(Any, kind)._fields
    return cast(Columns, cast(Any, kind)(*(np.zeros(size, np.float64 if n in REAL else np.int64) for n in names)))


def no_counts(kind: type[Columns], num_groups: int, now_s: float) -> Columns:
    """Return counters, one for each group of devices, that have counted nothing by `now_s`."""
    started = {"sizes": np.zeros(2, np.int64), "since_s": np.full(num_groups, now_s)}
    return cast(Columns, cast(Any, empty(kind, num_groups))._replace(**started))


def longer(pool: Columns, more: int) -> Columns:
    """Return columns with room for so many more."""
    kind = cast(Any, type(pool))
    return cast(Columns, kind(*(np.concatenate([array, np.zeros(more, array.dtype)]) for array in pool)))


def with_room(pool: Columns, sizes: NDArray[np.int64], coming: int) -> Columns:
    """Return a pool of packets with free places for those that are coming; `sizes` is kept up to date."""
    free, places = int(sizes[FREE]), int(pool[0].size)
    if free >= coming:
        return pool
    more = max(64, places, coming - free)
    grown = longer(pool, more)
    columns = cast(Any, grown)
    columns.user[places:] = -1
    columns.free[free : free + more] = np.arange(places, places + more)
    sizes[FREE] += more
    return grown


def account_of(
    counters: Any, packets: Waiting, group: NDArray[np.int64], shape: tuple[int, int], now_s: float
) -> Account:
    """Return where every byte is.

    Args:
        counters: Of each group, shape (groups,), named as in `Account`, with `waiting` and `since_s`.
        packets: The pool.
        group: Group of each device, cell * slices + slice, shape (users,).
        shape: Cells, slices.
        now_s: The time of the account.
    """
    waits = packets.user >= 0
    ages_s = now_s - packets.offered_s[waits]
    values: Mapping[str, NDArray[Any]] = {
        f.name: getattr(counters, f.name).copy() for f in fields(Account) if hasattr(counters, f.name)
    } | {"waiting_packets": counters.waiting.copy()}
    values["packet_seconds"][:] += counters.waiting * (now_s - counters.since_s)
    values["sojourn_seconds"][:] += np.bincount(group[packets.user[waits]], ages_s, minlength=counters.waiting.size)
    return Account(**{name: value.reshape(shape) for name, value in values.items()}, now_s=now_s)
