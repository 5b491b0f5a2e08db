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
        mean_s: The mean time at which it was so, over members and attributes; nan if there is nothing.
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
    mean_s: float = nan

    @classmethod
    def of(cls, twins: "UserTwins", who: NDArray[np.int64]) -> "Aggregate":
        """Return the sums over these users' twins, as they are now."""
        known = {a: twins.mirror(a).values[a][who] for a in MEMBER_ATTRIBUTES}
        stamps_s = np.array([twins.mirror(a).stamp_s[who] for a in MEMBER_ATTRIBUTES])
        cell, waiting = known["cell"][:, 0], known["demand"][:, 1]
        waiting_by_cell = np.zeros(twins.num_cells, np.int64)
        np.add.at(waiting_by_cell, cell, waiting)
        oldest_s = float(stamps_s.min(initial=inf))
        return cls(
            users=who.size, offered_bytes=int(known["demand"][:, 0].sum()), waiting_bytes=int(waiting.sum()),
            delivered_packets=int(known["served"][:, 0].sum()), late_packets=int(known["served"][:, 1].sum()),
            delay_seconds=float(known["delay"].sum()), users_by_cell=np.bincount(cell, minlength=twins.num_cells),
            waiting_by_cell=waiting_by_cell, oldest_s=oldest_s, newest_s=float(stamps_s.max(initial=-inf)),
            mean_s=oldest_s + float((stamps_s - oldest_s).mean()) if who.size else nan,  # exact if all are of one time
        )  # fmt: skip

    @classmethod
    def joined(cls, parts: "Iterable[Aggregate]", num_cells: int) -> "Aggregate":
        """Return the sum of parts that have no member in common; nothing if there are none."""
        all_parts = list(parts)
        nothing = np.zeros(num_cells, np.int64)
        users, oldest_s = sum(p.users for p in all_parts), min((p.oldest_s for p in all_parts), default=inf)
        later_s = sum(p.users * (p.mean_s - oldest_s) for p in all_parts if p.users)
        return cls(
            users=users, offered_bytes=sum(p.offered_bytes for p in all_parts),
            waiting_bytes=sum(p.waiting_bytes for p in all_parts),
            delivered_packets=sum(p.delivered_packets for p in all_parts),
            late_packets=sum(p.late_packets for p in all_parts), delay_seconds=sum(p.delay_seconds for p in all_parts),
            users_by_cell=sum((p.users_by_cell for p in all_parts), nothing),
            waiting_by_cell=sum((p.waiting_by_cell for p in all_parts), nothing),
            oldest_s=oldest_s, newest_s=max((p.newest_s for p in all_parts), default=-inf),
            mean_s=oldest_s + later_s / users if users else nan,
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


TOTALS = ("bytes offered", "of them through or given up", "packets through", "of them late", "delays added up (s)")
"""What never falls of each member, and therefore of a slice, whoever of its members is under way to another edge."""


def totals_of(twins: "UserTwins", who: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return `TOTALS` as these users' twins know them, shape (users, totals): whole numbers but for the delays."""
    offered, waiting = twins.mirror("demand").values["demand"][who].T
    served, delay = twins.mirror("served").values["served"][who], twins.mirror("delay").values["delay"][who]
    return np.column_stack([offered, offered - waiting, served, delay]).astype(np.float64)


def view_of(totals: NDArray[np.float64]) -> SliceView:
    """Return `TOTALS` as policies see a slice; packets that wait are not counted as flows, for nobody counts them."""
    offered, ended, through, late = (int(total) for total in totals[:4])
    return SliceView(
        offered_flows=through, offered_bytes=offered, delivered_flows=through, delivered_bytes=ended, late_flows=late,
        delay_seconds=float(totals[4]), inside_bytes=offered - ended,
    )  # fmt: skip
