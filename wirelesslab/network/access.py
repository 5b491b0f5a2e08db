"""The radio as the network sees it: users offer bytes, bytes get through, and everything is accounted for.

Three fidelities speak this interface: `SlotAccess` (every user, every slot), `FlowAccess` (processor
sharing by virtual time) and `ActiveSetAccess` (grant-free, touching only who has something to say).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab.network.slices import ResourceRatio, Slice


@dataclass(frozen=True, eq=False)
class Delivered:
    """Packets that got through, in the order of their completion; all arrays have shape (packets,).

    Attributes:
        user: Index of the user.
        num_bytes: Size of the packet.
        offered_s: When it was offered.
        delivered_s: When its last byte got through.
    """

    user: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    offered_s: NDArray[np.float64]
    delivered_s: NDArray[np.float64]

    @property
    def delay_s(self) -> NDArray[np.float64]:
        """Time from offer to delivery, shape (packets,)."""
        return self.delivered_s - self.offered_s

    def take(self, which: NDArray[Any]) -> "Delivered":
        """Return some of the packets."""
        return Delivered(self.user[which], self.num_bytes[which], self.offered_s[which], self.delivered_s[which])

    @classmethod
    def none(cls) -> "Delivered":
        """Return no packets."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0), np.zeros(0))

    @classmethod
    def joined(cls, parts: "list[Delivered]") -> "Delivered":
        """Return all packets of `parts`, in their order."""
        if not parts:
            return cls.none()
        return cls(
            *(
                np.concatenate([getattr(p, name) for p in parts])
                for name in ("user", "num_bytes", "offered_s", "delivered_s")
            )
        )


@dataclass(frozen=True, eq=False)
class Account:
    """Where every byte and packet is; all arrays have shape (cells, slices).

    Exactly: offered = delivered + waiting + dropped, in bytes and in packets. Dropped bytes are
    the bytes of dropped packets that had not been delivered.

    Attributes:
        offered_bytes: Offered so far.
        delivered_bytes: Got through so far, partly delivered packets included.
        waiting_bytes: Still inside.
        dropped_bytes: Given up: full buffers, retries exhausted, failed cells.
        offered_packets: As above, in packets.
        delivered_packets: Whole packets that got through.
        waiting_packets: Packets not yet wholly through.
        dropped_packets: Given up.
        packet_seconds: Integral over time of the packets waiting.
        sojourn_seconds: Time inside of all packets, those still waiting counted until now. Little's
            law on the sample path says that this equals `packet_seconds`.
        used_share_seconds: Integral over time of the share of the cell's resource that was used.
        now_s: The time of this account.
    """

    offered_bytes: NDArray[np.int64]
    delivered_bytes: NDArray[np.int64]
    waiting_bytes: NDArray[np.int64]
    dropped_bytes: NDArray[np.int64]
    offered_packets: NDArray[np.int64]
    delivered_packets: NDArray[np.int64]
    waiting_packets: NDArray[np.int64]
    dropped_packets: NDArray[np.int64]
    packet_seconds: NDArray[np.float64]
    sojourn_seconds: NDArray[np.float64]
    used_share_seconds: NDArray[np.float64]
    now_s: float

    def check(self) -> None:
        """Assert conservation (exact) and Little's law on the sample path (rounding only).

        Raises:
            AssertionError: The access lost or invented something: a bug, never bad input.
        """
        for what in ("bytes", "packets"):
            offered, delivered, waiting, dropped = (
                getattr(self, f"{state}_{what}") for state in ("offered", "delivered", "waiting", "dropped")
            )
            assert np.array_equal(offered, delivered + waiting + dropped), (
                f"{what}: {offered.sum()} offered, {delivered.sum()} delivered + {waiting.sum()} waiting "
                f"+ {dropped.sum()} dropped"
            )
            assert min(offered.min(), delivered.min(), waiting.min(), dropped.min()) >= 0, f"{what}: a negative count"
        assert np.allclose(self.packet_seconds, self.sojourn_seconds, rtol=1e-6, atol=1e-6 * max(1.0, self.now_s)), (
            f"Little's law: the integral of packets waiting is {self.packet_seconds.sum()}, "
            f"their times inside add up to {self.sojourn_seconds.sum()}"
        )


class RadioAccess(Protocol):
    """A fidelity of the radio. Its whole state is arrays: `snapshot` and `restore` lose nothing."""

    @property
    def slices(self) -> tuple[Slice, ...]:
        """All slices."""
        ...

    @property
    def num_cells(self) -> int:
        """Cells."""
        ...

    @property
    def cells(self) -> NDArray[np.int64]:
        """Cell of each user, shape (users,)."""
        ...

    @property
    def user_slices(self) -> NDArray[np.int64]:
        """Place in `slices` of each user's slice, shape (users,)."""
        ...

    @property
    def now_s(self) -> float:
        """The time up to which everything has been computed."""
        ...

    @property
    def next_s(self) -> float:
        """When something will happen next (the end of a slot, a completion); inf if nothing is waiting."""
        ...

    def offer(self, users: ArrayLike, num_bytes: ArrayLike, offered_s: ArrayLike | None = None) -> None:
        """Take one packet per entry; a user may come several times; offered now unless `offered_s` says when.

        `offered_s` is never later than the next time `advance` is asked for, and nondecreasing.
        """
        ...

    def advance(self, until_s: float) -> Delivered:
        """Compute everything up to `until_s` and return what got through since the last call."""
        ...

    def given_up(self) -> Delivered:
        """Return the packets that were dropped since the last call; `delivered_s` says when."""
        ...

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """From now on, hold these slices to these shares of every cell."""
        ...

    def set_cell_up(self, cell: int, up: bool) -> None:
        """Take a cell out of service or back; while it is down nothing gets through in it and packets wait."""
        ...

    def account(self) -> Account:
        """Return where every byte is."""
        ...

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state: arrays, numbers and the states of its generators."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot; what follows equals what followed then, to the last bit."""
        ...
