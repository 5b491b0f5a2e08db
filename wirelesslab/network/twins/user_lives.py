"""The lives of user twins: absent, creating, live, migrating, live, retired; and at which edge each one is master."""

from collections import deque
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.twins.access_policy import AuditLog
from wirelesslab.network.twins.messages import Mirror, Postbag


class Life(IntEnum):
    """Where a twin stands in its life."""

    ABSENT = 0
    CREATING = 1
    LIVE = 2
    MIGRATING = 3
    RETIRED = 4


@dataclass(frozen=True, kw_only=True)
class Migration:
    """A twin's way from edge to edge.

    Attributes:
        user: Whose twin.
        source: Edge that it left.
        sink: Edge that it went to.
        num_bytes: What travelled: all of the twin, and nothing else.
        began_s: When it was stopped.
        ended_s: When it was live again.
        arrived: Whether it is at the sink; otherwise it was lost on the way and lives on at the source.
    """

    user: int
    source: str
    sink: str
    num_bytes: int
    began_s: float
    ended_s: float
    arrived: bool


@dataclass
class Lives:
    """The lives of N twins on E edges.

    Attributes:
        life: A `Life` each, shape (N,).
        home: Edge where a twin is, or is being made; -1 if nowhere. While it migrates: the edge it left. Shape (N,).
        target: Edge that a migrating twin goes to; -1 if it goes nowhere. Shape (N,).
        masters: Which edge holds a master that takes updates, shape (N, E): at most one of each twin.
        moving: Flow of each migration under way -> user and when it began.
    """

    life: NDArray[np.int8]
    home: NDArray[np.int64]
    target: NDArray[np.int64]
    masters: NDArray[np.bool_]
    moving: dict[int, tuple[int, float]]

    @classmethod
    def absent(cls, num_users: int, num_edges: int) -> "Lives":
        """Return twins that are not there."""
        return cls(
            life=np.zeros(num_users, np.int8), home=np.full(num_users, -1), target=np.full(num_users, -1),
            masters=np.zeros((num_users, num_edges), bool), moving={},
        )  # fmt: skip

    @property
    def mirrored(self) -> NDArray[np.bool_]:
        """Which users' updates are sent, shape (N,)."""
        return (self.life >= Life.CREATING) & (self.life <= Life.MIGRATING)

    @property
    def destination(self) -> NDArray[np.int64]:
        """Edge to which updates are sent, shape (N,)."""
        return np.where(self.target >= 0, self.target, self.home)

    def begin(self, who: NDArray[np.int64], edges: NDArray[np.int64]) -> None:
        """Begin to make twins at these edges."""
        self.life[who], self.home[who], self.target[who] = Life.CREATING, edges, -1

    def go_live(self, who: NDArray[np.int64]) -> None:
        """Make twins masters where they are."""
        self.life[who] = Life.LIVE
        self.masters[who, self.home[who]] = True

    def stop(self, user: int, edge: int, number: int, now_s: float) -> None:
        """Stop a twin, to copy it to an edge."""
        self.masters[user] = False
        self.life[user], self.target[user] = Life.MIGRATING, edge
        self.moving[number] = (user, now_s)

    def settle(self, user: int, *, arrived: bool) -> None:
        """Let a twin that was under way live at its target, or again where it was."""
        if arrived:
            self.home[user] = self.target[user]
        self.target[user] = -1
        self.go_live(np.array([user]))

    def end(self, who: NDArray[np.int64]) -> None:
        """Let nothing be left of twins."""
        gone = set(who.tolist())
        self.life[who], self.home[who], self.target[who] = Life.RETIRED, -1, -1
        self.masters[who] = False
        self.moving = {number: move for number, move in self.moving.items() if move[0] not in gone}

    def check(self) -> None:
        """Assert that a live twin has one master, where it is, and any other none.

        Raises:
            AssertionError: Not so: a bug, never bad input.
        """
        live = self.life == Life.LIVE
        assert np.array_equal(self.masters.sum(axis=1), live), "masters: not one of each live twin and none of others"
        who = np.flatnonzero(live)
        assert self.masters[who, self.home[who]].all(), "masters: one is not where its twin is"
        under_way = sorted(user for user, _ in self.moving.values())
        assert under_way == np.flatnonzero(self.life == Life.MIGRATING).tolist(), "migrating: not those under way"


@dataclass
class UserState:
    """All of user twins that changes, kept in the network's record of their name.

    Attributes:
        start_s: When they began.
        rounds: Of their clock so far.
        lives: Where each twin stands.
        memories: Of each feed's rule.
        sent: Version of each user that was sent last, by feed.
        mirrors: What is known, by feed.
        bag: What is under way.
        migrations: The latest.
        counts: What has happened so far.
        audit: Who has read what.
    """

    start_s: float
    rounds: int
    lives: Lives
    memories: list[dict[str, Any]]
    sent: list[NDArray[np.int64]]
    mirrors: list[Mirror]
    bag: Postbag
    migrations: deque[Migration]
    counts: dict[str, int]
    audit: AuditLog
