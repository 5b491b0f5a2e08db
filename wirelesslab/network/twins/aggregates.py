"""What the members of a slice come to together: sums that are exact, and what they say of the slice."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, nan
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.slices import ServiceLevel
from wirelesslab.network.view import SliceView

if TYPE_CHECKING:
    from wirelesslab.network.twins.users import UserTwins

MEMBER_ATTRIBUTES = ("cell", "demand", "served", "delay")
"""What of its members a slice twin is made of."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Aggregate:
    """Sums over the live twins of a slice's users, whole numbers but for the delays.

    Attributes:
        users: How many there are.
        offered_bytes: That they have said so far.
        waiting_bytes: Of them, waiting.
        delivered_packets: That got through.
        late_packets: Of them, late.
        delay_seconds: Delays of those that got through, added up.
        users_by_cell: How many are in each cell, shape (cells,).
        waiting_by_cell: What waits in each cell, shape (cells,).
        oldest_s: When the oldest of what is added up was so; inf if there is nothing.
        newest_s: When the newest was; -inf if there is nothing.
    """

    users: int
    offered_bytes: int
    waiting_bytes: int
    delivered_packets: int
    late_packets: int
    delay_seconds: float
    users_by_cell: NDArray[np.int64]
    waiting_by_cell: NDArray[np.int64]
    oldest_s: float
    newest_s: float

    @classmethod
    def of(cls, twins: "UserTwins", who: NDArray[np.int64]) -> "Aggregate":
        """Return the sums over these users' twins, as they are now."""
        known = {a: twins.mirror(a).values[a][who] for a in MEMBER_ATTRIBUTES}
        stamps_s = np.array([twins.mirror(a).stamp_s[who] for a in MEMBER_ATTRIBUTES])
        cell, waiting = known["cell"][:, 0], known["demand"][:, 1]
        waiting_by_cell = np.zeros(twins.num_cells, np.int64)
        np.add.at(waiting_by_cell, cell, waiting)
        return cls(
            users=who.size, offered_bytes=int(known["demand"][:, 0].sum()), waiting_bytes=int(waiting.sum()),
            delivered_packets=int(known["served"][:, 0].sum()), late_packets=int(known["served"][:, 1].sum()),
            delay_seconds=float(known["delay"].sum()), users_by_cell=np.bincount(cell, minlength=twins.num_cells),
            waiting_by_cell=waiting_by_cell, oldest_s=float(stamps_s.min(initial=inf)),
            newest_s=float(stamps_s.max(initial=-inf)),
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: "Iterable[Aggregate]", num_cells: int) -> "Aggregate":
        """Return the sum of parts that have no member in common; nothing if there are none."""
        all_parts = list(parts)
        nothing = np.zeros(num_cells, np.int64)
        return cls(
            users=sum(p.users for p in all_parts), offered_bytes=sum(p.offered_bytes for p in all_parts),
            waiting_bytes=sum(p.waiting_bytes for p in all_parts),
            delivered_packets=sum(p.delivered_packets for p in all_parts),
            late_packets=sum(p.late_packets for p in all_parts), delay_seconds=sum(p.delay_seconds for p in all_parts),
            users_by_cell=sum((p.users_by_cell for p in all_parts), nothing),
            waiting_by_cell=sum((p.waiting_by_cell for p in all_parts), nothing),
            oldest_s=min((p.oldest_s for p in all_parts), default=inf),
            newest_s=max((p.newest_s for p in all_parts), default=-inf),
        )  # fmt: skip

    @property
    def aligned(self) -> bool:
        """Whether all that is added up was so at one time: the sum is then what the slice was, not a mixture."""
        return self.oldest_s == self.newest_s

    @property
    def mean_delay_s(self) -> float:
        """Mean delay in the air of what got through; nan if nothing has."""
        return self.delay_seconds / self.delivered_packets if self.delivered_packets else nan

    @property
    def late_share(self) -> float:
        """Share of what got through that was late; nan if nothing has."""
        return self.late_packets / self.delivered_packets if self.delivered_packets else nan

    def keeps(self, level: ServiceLevel) -> bool:
        """Return whether no more was late than a service level allows (1 - `delay_quantile`); True if nothing came."""
        return level.delay_s is None or not self.late_share > 1 - level.delay_quantile

    def view(self, *, active: bool = True) -> SliceView:
        """Return it as policies see a slice; packets that wait are not counted as flows, for nobody counts them."""
        return SliceView(
            offered_flows=self.delivered_packets, offered_bytes=self.offered_bytes,
            delivered_flows=self.delivered_packets, delivered_bytes=self.offered_bytes - self.waiting_bytes,
            late_flows=self.late_packets, delay_seconds=self.delay_seconds, inside_bytes=self.waiting_bytes,
            active=active,
        )  # fmt: skip
