"""What a gNB knows of its users: the attributes that user twins mirror."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check

if TYPE_CHECKING:
    from wirelesslab.network.cells import Cells


@dataclass(frozen=True, kw_only=True)
class UserAttribute:
    """Something that is known of each user.

    Attributes:
        columns: What its numbers are, in order.
        whole: Whether they are whole numbers, so that sums of them are exact.
        moves: Whether it needs `Cells` with a movement.
    """

    columns: tuple[str, ...]
    whole: bool = False
    moves: bool = False

    def empty(self, num_users: int) -> NDArray[Any]:
        """Return an array of it that says nothing, shape (users, columns)."""
        return np.zeros((num_users, len(self.columns)), np.int64 if self.whole else np.float64)


USER_ATTRIBUTES: Mapping[str, UserAttribute] = {
    "position": UserAttribute(columns=("x (m)", "y (m)"), moves=True),
    "channel": UserAttribute(columns=("mean SINR, linear, or full-band rate (bit/s)",), moves=True),
    "cell": UserAttribute(columns=("cell",), whole=True),
    "demand": UserAttribute(columns=("bytes offered so far", "bytes waiting"), whole=True),
    "served": UserAttribute(columns=("packets through so far", "of them late"), whole=True),
    "delay": UserAttribute(columns=("delays of packets through so far, added up (s)",)),
}


def check_attributes(names: tuple[str, ...]) -> None:
    """Refuse what is not known of users.

    Raises:
        ValueError: None, one twice, or one that is unknown.
    """
    for name in names:
        check.one_of(tuple(USER_ATTRIBUTES), attributes=name)
    if not names or len(set(names)) < len(names):
        msg = f"attributes: got {names}, expected at least one and each once"
        raise ValueError(msg)


def sensed(cells: "Cells", attribute: str) -> NDArray[Any]:
    """Return what the gNBs know of all their users since the last tick, shape (users, columns)."""
    if attribute == "position":
        assert cells.movement is not None
        return cells.movement.users_m
    if attribute == "channel":
        assert cells.movement is not None
        return cells.movement.mean[:, None]
    if attribute == "cell":
        return cells.access.cells[:, None]
    meters = cells.meters()
    if attribute == "demand":
        return np.column_stack([meters.offered_bytes, meters.offered_bytes - meters.ended_bytes])
    if attribute == "served":
        return np.column_stack([meters.delivered_packets, meters.late_packets])
    return meters.delay_seconds[:, None]
