"""Where the state of `FrameAccess` begins, how it grows, and the account that is read off it."""

from dataclasses import fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.access import Account
from wirelesslab.services import frame_kernels as kernels

Pool = TypeVar("Pool", kernels.Messages, kernels.Active)


def columns(number: int) -> list[NDArray[Any]]:
    """Return so many empty columns of whole numbers."""
    return [np.zeros(0, np.int64) for _ in range(number)]


def no_messages() -> kernels.Messages:
    """Return a pool without room; see `longer`."""
    return kernels.Messages(*columns(len(kernels.Messages._fields)))._replace(offered_s=np.zeros(0))


def no_counts(num_groups: int, now_s: float) -> kernels.Counters:
    """Return counters that have counted nothing by `now_s`."""
    real = ("packet_seconds", "sojourn_seconds", "used_share_seconds", "since_s")
    arrays: dict[str, NDArray[Any]] = {
        name: np.zeros(num_groups, np.float64 if name in real else np.int64) for name in kernels.Counters._fields
    }
    return kernels.Counters(**arrays | {"sizes": np.zeros(2, np.int64), "since_s": np.full(num_groups, now_s)})


def longer(pool: Pool, more: int) -> Pool:
    """Return a pool with room for so many more."""
    return type(pool)(*(np.concatenate([array, np.zeros(more, array.dtype)]) for array in pool))


def account_of(
    counters: kernels.Counters,
    messages: kernels.Messages,
    group: NDArray[np.int64],
    shape: tuple[int, int],
    now_s: float,
) -> Account:
    """Return where every byte is; `group` is the devices', `shape` (cells, slices)."""
    waits = messages.user >= 0
    since = np.bincount(group[messages.user[waits]], now_s - messages.offered_s[waits], minlength=shape[0] * shape[1])
    names = {f.name for f in fields(Account)} & set(counters._fields)
    values = {name: getattr(counters, name).reshape(shape).copy() for name in names}
    values["waiting_packets"] = counters.waiting.reshape(shape).copy()
    values["sojourn_seconds"] += since.reshape(shape)
    return Account(**values, now_s=now_s)
