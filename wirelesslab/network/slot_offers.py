"""Packets at the door of the slotted radio: checked, in order, not yet taken in by a slot."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

Integers = NDArray[np.int64]
Times = NDArray[np.float64]


class Offers:
    """What was offered since the last slot began, in the order of time.

    Attributes:
        latest_s: No packet may be offered before it.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Integers, Integers, Times]] = []
        self.latest_s = 0.0

    def __len__(self) -> int:
        return sum(part[0].size for part in self._parts)

    def take(
        self,
        users: ArrayLike,
        num_bytes: ArrayLike,
        offered_s: ArrayLike | None,
        now_s: float,
        num_users: int,
        saturated: NDArray[np.bool_] | None,
    ) -> None:
        """Check packets and keep them; see `RadioAccess.offer`.

        Raises:
            ValueError: No such user, a saturated user, an empty packet, or times that go backwards.
        """
        who = indices(users, None, num_users, name="users")
        sizes, times = np.empty(who.size, np.int64), np.empty(who.size)
        given = np.asarray(num_bytes)
        if given.dtype.kind not in "iu" or (given.size and given.min() < 1):
            msg = "num_bytes: expected whole numbers of at least 1"
            raise ValueError(msg)
        sizes[:] = given
        if saturated is not None and saturated[who].any():
            msg = "users: got packets for a saturated user, which always has data and takes none"
            raise ValueError(msg)
        times[:] = now_s if offered_s is None else offered_s
        if not who.size:
            return
        if offered_s is not None:
            if not np.isfinite(times).all() or times[0] < self.latest_s * (1 - 1e-12) - 1e-12:
                msg = f"offered_s: got {times[0]}, expected finite times not before {self.latest_s}, the last one"
                raise ValueError(msg)
            if (times[1:] < times[:-1]).any():
                msg = "offered_s: expected times that do not decrease; sort the packets by time"
                raise ValueError(msg)
        self.latest_s = max(self.latest_s, float(times[-1]))
        self._parts.append((who, sizes, times))

    def waiting(self) -> tuple[Integers, Integers, Times]:
        """Return users, bytes and times of all packets, shape (packets,) each."""
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
        if len(self._parts) > 1:
            who, sizes, times = zip(*self._parts, strict=True)
            self._parts = [(np.concatenate(who), np.concatenate(sizes), np.concatenate(times))]
        return self._parts[0]

    def checked_end(self, until_s: float) -> float:
        """Return a time up to which an access may compute.

        Raises:
            ValueError: It lies before now or before the last packet offered, or is not finite.
        """
        if not self.latest_s <= until_s < np.inf:
            msg = f"until_s: got {until_s}, expected a finite time of at least {self.latest_s}"
            raise ValueError(msg)
        return float(until_s)

    def taken(self, until_s: float) -> tuple[Integers, Integers, Times]:
        """Take the packets offered up to `until_s` off the list; return their users, bytes and times."""
        who, sizes, times = self.waiting()
        count = int(np.searchsorted(times, until_s, side="right"))
        if count:
            self.drop_first(count)
        return who[:count], sizes[:count], times[:count]

    def drop_first(self, count: int) -> None:
        """Forget the first packets: they have been taken in."""
        who, sizes, times = self.waiting()
        # Copies, so that the few that stay do not hold on to the many that went.
        self._parts = [(who[count:].copy(), sizes[count:].copy(), times[count:].copy())] if count < who.size else []

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state."""
        users, num_bytes, offered_s = (array.copy() for array in self.waiting())
        return {"users": users, "num_bytes": num_bytes, "offered_s": offered_s, "latest_s": self.latest_s}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self._parts = [(state["users"].copy(), state["num_bytes"].copy(), state["offered_s"].copy())]
        self.latest_s = float(state["latest_s"])


def indices(values: ArrayLike, length: int | None, limit: int | None, *, name: str) -> Integers:
    """Return `values` as indices from 0 to below `limit`, shape (length,).

    Raises:
        ValueError: Another shape or range.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (length is not None and array.size != length):
        array = check.array(values, (length,), "users", name=name)
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or (limit is not None and array.max() >= limit)):
        top = "" if limit is None else f" to below {limit}"
        msg = f"{name}: got {array.dtype} from {array.min()} to {array.max()}, expected whole numbers from 0{top}"
        raise ValueError(msg)
    return array.astype(np.int64)
