"""Handover on event A3: a neighbour is better than the serving cell by a margin, and stays so for a while.

Powers come in as an array of users and cells; the state is arrays too, one entry per user.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.units import linear_to_db

NEVER = -np.inf


@dataclass(frozen=True, kw_only=True)
class A3:
    """When a user changes cells.

    Attributes:
        hysteresis_db: How much better than the serving cell a neighbour must be (offset and hysteresis of
            the standard in one number).
        time_to_trigger_s: How long the same neighbour must stay the best and that much better.
        ping_pong_s: A return to the previous cell within this time of leaving it is a ping-pong (1 s in
            3GPP TR 36.839).

    References:
        3GPP TS 38.331, 5.5.4.4 (event A3).
    """

    hysteresis_db: float = 3.0
    time_to_trigger_s: float = 0.16
    ping_pong_s: float = 1.0

    def __post_init__(self) -> None:
        check.within(0, 30, hysteresis_db=self.hysteresis_db)
        check.within(0, 3600, time_to_trigger_s=self.time_to_trigger_s, ping_pong_s=self.ping_pong_s)


@dataclass(frozen=True, eq=False)
class HandoverRecord:
    """Who changed cells at one measurement; shape (switched,) each.

    Attributes:
        at_s: When.
        user: Indices, ascending.
        source: Cell that was left.
        target: Cell that was entered.
        ping_pong: Whether this is a return to the cell that was left a moment ago.
    """

    at_s: float
    user: NDArray[np.int64]
    source: NDArray[np.int64]
    target: NDArray[np.int64]
    ping_pong: NDArray[np.bool_]


class Handover:
    """Serving cells of all users, moved by measurements.

    Args:
        rule: Margin and times.
        powers: First measurement, linear, shape (users, cells); each user starts in its strongest cell.
        at_s: Its time.

    Attributes:
        serving: Cell of each user, shape (users,).
        num_handovers: So far, over all users.
        num_ping_pongs: Those among them that were returns.
    """

    def __init__(self, rule: A3, powers: ArrayLike, *, at_s: float = 0.0) -> None:
        measured = _measured(powers, None)
        self.rule = rule
        self._shape = measured.shape
        self.serving: NDArray[np.int64] = measured.argmax(axis=1)
        self.num_handovers = 0
        self.num_ping_pongs = 0
        self._candidate: NDArray[np.int64] = np.full(len(measured), -1)
        self._since_s = np.full(len(measured), float(at_s))
        self._previous: NDArray[np.int64] = np.full(len(measured), -1)
        self._left_s = np.full(len(measured), NEVER)
        self._now_s = float(at_s)

    def measure(self, powers: ArrayLike, at_s: float) -> HandoverRecord:
        """Take a measurement and move whom it moves.

        The entering condition is watched at measurements only: it holds in between if it held at both ends
        with the same neighbour on top.

        Args:
            powers: Linear, shape (users, cells).
            at_s: Not before the last measurement.

        Raises:
            ValueError: Another shape, powers that are not positive, or time that runs backwards.
        """
        check.finite(at_s=at_s)
        if at_s < self._now_s:
            msg = f"at_s: got {at_s}, expected at least {self._now_s}, the last measurement"
            raise ValueError(msg)
        self._now_s = float(at_s)
        measured = _measured(powers, self._shape)
        users = np.arange(len(measured))
        own = measured[users, self.serving].astype(float)
        best = measured.argmax(axis=1)
        entered = linear_to_db(measured[users, best]) - linear_to_db(own) > self.rule.hysteresis_db
        best[~entered] = -1
        fresh = entered & (best != self._candidate)
        self._since_s[fresh] = at_s
        self._candidate = best
        # Times are sums of decimal fractions: 0.3 - 0.14 must count as 0.16.
        waited = at_s - self._since_s >= self.rule.time_to_trigger_s * (1 - 1e-9) - 1e-12
        user = np.flatnonzero(entered & waited)
        source, target = self.serving[user], best[user]
        back = (target == self._previous[user]) & (at_s - self._left_s[user] <= self.rule.ping_pong_s)
        self.serving[user], self._previous[user], self._left_s[user] = target, source, at_s
        self._candidate[user] = -1
        self.num_handovers += int(user.size)
        self.num_ping_pongs += int(np.count_nonzero(back))
        return HandoverRecord(float(at_s), user, source, target, back)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        return {
            "serving": self.serving.copy(),
            "candidate": self._candidate.copy(),
            "since_s": self._since_s.copy(),
            "previous": self._previous.copy(),
            "left_s": self._left_s.copy(),
            "now_s": self._now_s,
            "num_handovers": self.num_handovers,
            "num_ping_pongs": self.num_ping_pongs,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of as many users."""
        self.serving, self._candidate, self._since_s, self._previous, self._left_s = (
            state[name].copy() for name in ("serving", "candidate", "since_s", "previous", "left_s")
        )
        self._now_s = float(state["now_s"])
        self.num_handovers, self.num_ping_pongs = int(state["num_handovers"]), int(state["num_ping_pongs"])


def _measured(powers: ArrayLike, shape: tuple[int, ...] | None) -> NDArray[np.floating[Any]]:
    wanted = (None, None) if shape is None else shape
    array = check.array(powers, wanted, "users, cells", name="powers", because="the first measurement set the shape")
    if array.size and not array.min() > 0:
        msg = f"powers: got {array.min()}, expected linear powers above 0"
        raise ValueError(msg)
    return array
