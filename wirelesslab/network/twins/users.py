"""Twins of users: each mirrors one user of a radio, at the edge of the cell that serves the user, and moves along.

Level 1 of 3. All users of one `Cells` actor are arrays here; what is known of them comes in messages, one from each
gNB for all its users whose turn it is, as traffic of a slice. A twin is made where its user is, goes live when
every attribute has been heard of, is stopped and copied to another edge when its user has changed to a cell
there, and leaves nothing when it is retired.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy
from math import inf, nan
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.twins.access_policy import AccessPolicy, AuditLog, policy_or_open
from wirelesslab.network.twins.feeds import EVERYTHING, Feed, Updates, by_gnb
from wirelesslab.network.twins.messages import Mirror, Postbag
from wirelesslab.network.twins.user_attributes import USER_ATTRIBUTES, check_attributes, sensed
from wirelesslab.network.twins.user_lives import Life, Lives, Migration, UserState
from wirelesslab.network.twins.user_moves import Moves, homes_of, nearest

if TYPE_CHECKING:
    from wirelesslab.network.cells import Cells
    from wirelesslab.network.simulation import Network

MIGRATIONS_KEPT = 1000  # the latest ones; memory must not grow with simulated time


class UserTwins:
    """Twins of all users of one radio, as an actor.

    What a message says is what the user's gNB knew at its last tick, and is stamped with that time. It is taken by
    the edge at which the twin is master when it comes; elsewhere, and while the twin is under way, it is missed.

    Args:
        cells: Name of the `Cells` whose users are mirrored; it must live on the network already.
        feeds: What is sent, each attribute in one feed.
        edges: Nodes where twins may live; all edges of the graph unless given. A cell's twins live at the edge
            nearest by route (of equals the first).
        clock_s: Updates are sent, and handovers noticed, at multiples of it: everything that is due then goes
            together. None sends each update at its own time, for few users.
        state_bytes: Size of a twin, which travels when it migrates.
        migration_slice: Slice in which it travels; "" takes no time and is no traffic.
        operations: What the new edge computes before a twin is live there.
        create: Whether twins of all users are made at once.
        policy: Who may read; everybody everything when None.
        name: Name as an actor.

    Raises:
        ValueError: An attribute in two feeds, or numbers that make no sense.
    """

    def __init__(
        self,
        cells: "Cells | str" = "cells",
        feeds: Feed | Sequence[Feed] = (EVERYTHING,),
        *,
        edges: Sequence[str] = (),
        clock_s: float | None = 0.01,
        state_bytes: int = 10_000,
        migration_slice: str = "",
        operations: float = 0.0,
        create: bool = True,
        policy: AccessPolicy | None = None,
        name: str = "user-twins",
    ) -> None:
        if clock_s is not None:
            check.positive(clock_s=clock_s)
        check.positive_integer(state_bytes=state_bytes)
        check.within(0, inf, operations=operations)
        self.feeds = (feeds,) if isinstance(feeds, Feed) else tuple(feeds)
        attributes = [a for feed in self.feeds for a in feed.attributes]
        check_attributes(tuple(attributes))
        self._place = {a: index for index, feed in enumerate(self.feeds) for a in feed.attributes}
        self.cells_name = cells if isinstance(cells, str) else cells.name
        self.edges, self.clock_s, self.state_bytes = (
            (edges,) if isinstance(edges, str) else tuple(edges),
            clock_s,
            state_bytes,
        )
        self.migration_slice = getattr(migration_slice, "name", migration_slice)
        self.operations, self.create_all, self.policy, self.name = operations, create, policy_or_open(policy), name

    # --- the actor -----------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`.

        Raises:
            ValueError: Cells, edges or slices are not of this network, or what is to be mirrored is not known.
        """
        self._bind(network)
        slices = {feed.carriage.slice for feed in self.feeds} | {self.migration_slice}
        for name in sorted(slices - {""}):
            network.slice_index(name)
        if self.operations and not all(edge in network.servers for edge in self.edges):
            msg = f"operations: got {self.operations}, but not all of {self.edges} compute; expected 0"
            raise ValueError(msg)
        still = [a for a in self._place if USER_ATTRIBUTES[a].moves and self._cells.movement is None]
        if still:
            msg = (
                f"attributes: {', '.join(still)} of users is known to Cells with a movement; give it one, or drop them"
            )
            raise ValueError(msg)
        num, now = self.num_users, network.now_s
        self._cells.meters()
        self._state = network.record(self.name, lambda: self._begin(num, now))
        network.agenda.after(0.0, self.tick)
        if self.create_all:
            self.create(np.arange(num))

    def _begin(self, num: int, now: float) -> UserState:
        network = self._network
        return UserState(
            start_s=now,
            rounds=0,
            lives=Lives.absent(num, len(self.edges)),
            memories=[
                feed.sync.begin(network.rng("twins", self.name, "sync", index), num, now)
                for index, feed in enumerate(self.feeds)
            ],
            sent=[np.zeros(num, np.int64) for _ in self.feeds],
            mirrors=[Mirror.empty({a: USER_ATTRIBUTES[a].empty(num) for a in feed.attributes}) for feed in self.feeds],
            bag=Postbag(network.rng("twins", self.name, "air")),
            migrations=deque(maxlen=MIGRATIONS_KEPT),
            counts=dict.fromkeys(("missed", "migrations", "migrated_bytes", "failed_migrations"), 0),
            audit=AuditLog(self.name),
        )

    def _bind(self, network: "Network") -> None:
        self._network = network
        cells = network.actors.get(self.cells_name)
        if not hasattr(cells, "meters"):
            msg = f"cells: got {self.cells_name!r}, expected the name of Cells that live here; add them first"
            raise ValueError(msg)
        self._cells = cast("Cells", cells)
        self.edges = homes_of(network, self.edges)
        self._moves = Moves(
            edges=self.edges, edge_of_cell=nearest(network.graph, self._cells.cell_nodes, self.edges),
            slice=self.migration_slice, num_bytes=self.state_bytes, operations=self.operations, twins=self.name,
        )  # fmt: skip

    def tick(self) -> None:
        """Notice handovers and send what is due; called by the agenda."""
        network, state = self._network, self._state
        now = network.now_s
        self._follow(now)
        for index in range(len(self.feeds)):
            self._send_due(index, now)
        state.rounds += 1
        if self.clock_s is None:
            next_s = min(feed.sync.next_s(memory) for feed, memory in zip(self.feeds, state.memories, strict=True))
            next_s = min(next_s, self._cells.ticked_s + self._cells.tick_s) if len(self.edges) > 1 else next_s
            next_s = max(next_s, np.nextafter(now, inf))
        else:
            next_s = state.start_s + state.rounds * self.clock_s
        if next_s < inf:
            network.agenda.after(exact_delay(now, float(next_s)), self.tick)

    def _send_due(self, index: int, now: float) -> None:
        feed, state, cells = self.feeds[index], self._state, self._cells
        who = feed.sync.due(state.memories[index], now, lambda: sensed(cells, feed.attributes[0]))
        who = who[state.lives.mirrored[who]]
        if not who.size:
            return
        state.sent[index][who] += 1
        heard = feed.carriage.heard(state.bag, who.size)
        version, known = state.sent[index][who], {a: sensed(cells, a)[who] for a in feed.attributes}
        for cell, edge, places in by_gnb(cells.access.cells[who], state.lives.destination[who]):
            kept = places[heard[places]]
            values = {a: rows[kept] for a, rows in known.items()}
            updates = Updates(index, edge, who[kept], version[kept], cells.ticked_s, values)
            source, sink = cells.cell_nodes[cell], self.edges[edge]
            feed.carriage.send(
                self._network, state.bag, self, updates, source=source, sink=sink, updates=places.size
            )  # fmt: skip

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take a message, or a twin that has come to its new edge, or learn that it was lost."""
        del network
        if record.number in self._state.lives.moving:
            self._moves.settle(self._state, record, self._network.now_s)
            return
        updates = self._state.bag.taken(record)
        if updates is not None:
            self._hear(updates)

    def arrive(self, number: int) -> None:
        """Take a message that no slice carried; called by the agenda."""
        self._hear(self._state.bag.arrived(number))

    def _hear(self, updates: Updates) -> None:
        state, now = self._state, self._network.now_s
        lives, who = state.lives, updates.who
        making = (lives.life[who] == Life.CREATING) & (lives.home[who] == updates.edge)
        here = lives.masters[who, updates.edge] | making
        if not here.all():
            state.counts["missed"] += int(here.size - np.count_nonzero(here))
        values = {a: rows[here] for a, rows in updates.values.items()}
        state.mirrors[updates.feed].take(who[here], updates.version[here], updates.stamp_s, values, now)
        made = who[making]
        if made.size:
            known = np.all([np.isfinite(mirror.stamp_s[made]) for mirror in state.mirrors], axis=0)
            lives.go_live(made[known])

    # --- from birth to end ----------------------------------------------------------------------------------

    def create(self, users: ArrayLike) -> None:
        """Make twins of these users where they are; they are live when every attribute has been heard of.

        Raises:
            ValueError: There is no such user, or the twin is there already.
        """
        who = self._users(users)
        lives = self._state.lives
        if lives.mirrored[who].any():
            msg = f"create: the twin of user {who[lives.mirrored[who]][0]} is there already; retire it first"
            raise ValueError(msg)
        self._begin_at(who, self._moves.edge_of_cell[self._cells.access.cells[who]])

    def retire(self, users: ArrayLike) -> None:
        """Let nothing be left of the twins of these users; what is under way to them is not taken.

        Raises:
            ValueError: There is no such user, or no twin of it.
        """
        who = self._users(users)
        state = self._state
        if not state.lives.mirrored[who].all():
            msg = f"retire: user {who[~state.lives.mirrored[who]][0]} has no twin; create it first"
            raise ValueError(msg)
        state.lives.end(who)
        self._forget(who)

    def _forget(self, who: NDArray[np.int64]) -> None:
        for mirror, sent in zip(self._state.mirrors, self._state.sent, strict=True):
            mirror.clear(who, sent[who])

    def _users(self, users: ArrayLike) -> NDArray[np.int64]:
        who = np.unique(np.atleast_1d(np.asarray(users)))
        if who.size and (who.dtype.kind not in "iu" or not 0 <= who[0] <= who[-1] < self.num_users):
            msg = f"users: got {who[0]} to {who[-1]}, expected whole numbers from 0 to {self.num_users - 1}"
            raise ValueError(msg)
        return who.astype(np.int64)

    def _follow(self, now: float) -> None:
        """Send twins after users who have changed to a cell of another edge."""
        if len(self.edges) == 1:
            return
        state, cell_of = self._state, self._cells.access.cells
        making, live = self._moves.astray(state.lives, cell_of)
        if making.size:  # there is nothing to move yet: begin again there
            self._forget(making)
            self._begin_at(making, self._moves.edge_of_cell[cell_of[making]])
        for user in live.tolist():
            self._moves.move(self._network, state, user, int(self._moves.edge_of_cell[cell_of[user]]), now)

    def _begin_at(self, who: NDArray[np.int64], edges: NDArray[np.int64]) -> None:
        self._state.lives.begin(who, edges)
        for feed, memory in zip(self.feeds, self._state.memories, strict=True):
            feed.sync.forget(memory, who)

    # --- what is known ---------------------------------------------------------------------------------------

    @property
    def num_users(self) -> int:
        """Users of the radio, mirrored or not."""
        return int(self._cells.access.user_slices.size)

    @property
    def num_cells(self) -> int:
        """Cells of the radio."""
        return self._cells.access.num_cells

    @property
    def slice_of(self) -> NDArray[np.int64]:
        """Place of each user's slice among the network's, shape (users,)."""
        return self._cells.access.user_slices

    def live_at(self, edge: int) -> NDArray[np.int64]:
        """Return whose twins are live at the edge of this place in `edges`, ascending."""
        return np.flatnonzero(self._state.lives.masters[:, edge])

    @property
    def life(self) -> NDArray[np.int8]:
        """Where each twin stands, a `Life`, shape (users,)."""
        return self._state.lives.life.copy()

    @property
    def homes(self) -> tuple[str, ...]:
        """The edge where each twin is; while it migrates the one it left; "" if it is nowhere."""
        return tuple("" if edge < 0 else self.edges[edge] for edge in self._state.lives.home.tolist())

    @property
    def migrations(self) -> tuple[Migration, ...]:
        """The latest migrations, in the order in which they ended."""
        return tuple(self._state.migrations)

    @property
    def counts(self) -> Mapping[str, int]:
        """What has happened so far.

        "messages", "num_bytes" and "updates" sent; "lost_updates" in the air, "lost_messages" in the network,
        "overtaken" by newer ones, "missed" because the twin was not where they went; "migrations" and
        "migrated_bytes" that arrived, "failed_migrations" that did not.
        """
        bag = self._state.bag
        sent = {k: getattr(bag, k) for k in ("messages", "num_bytes", "updates", "lost_updates", "lost_messages")}
        return {**sent, "overtaken": sum(m.overtaken for m in self._state.mirrors), **self._state.counts}

    def mirror(self, attribute: str) -> Mirror:
        """Return where an attribute is kept, with its feed's others: the record itself, to look at.

        Raises:
            ValueError: It is not mirrored.
        """
        check.one_of(tuple(self._place), attribute=attribute)
        return self._state.mirrors[self._place[attribute]]

    def ages_s(self, attribute: str) -> NDArray[np.float64]:
        """Return how old what is known of each user is, shape (users,); inf where nothing is."""
        return self.mirror(attribute).ages_s(self._network.now_s)

    def values(self, attribute: str) -> NDArray[Any]:
        """Return what is known of each user, shape (users, columns); 0 where nothing is (see `ages_s`)."""
        values = self.mirror(attribute).values[attribute].copy()
        assert isinstance(values, np.ndarray)
        return values

    def read(self, attribute: str, *, by: str) -> NDArray[Any]:
        """Return what is known, to somebody who may read it; asking is logged.

        Raises:
            AccessRefusedError: `by` may not; that is logged too.
        """
        self.asked((attribute,), by=by)
        return self.values(attribute)

    def asked(self, attributes: Sequence[str], *, by: str, routine: bool = False) -> None:
        """Log that somebody reads these attributes at the edges, as twins of slices do; if `routine`, count it alone.

        Raises:
            ValueError: One is not mirrored.
            AccessRefusedError: `by` may not read one; that is logged too.
        """
        for attribute in attributes:
            check.one_of(tuple(self._place), attribute=attribute)
        self._state.audit.read(self.policy, attributes, by, self._network.now_s, routine=routine)

    def truth(self, attribute: str) -> NDArray[Any]:
        """Return what the gNBs know now: for judges, never for agents."""
        check.one_of(tuple(self._place), attribute=attribute)
        return np.array(sensed(self._cells, attribute))

    def errors(self, attribute: str) -> NDArray[np.float64]:
        """Return the distance of what is known from the truth, shape (users,): for judges, never for agents."""
        off = self.values(attribute).astype(float) - self.truth(attribute)
        return np.asarray(np.sqrt(np.square(off).sum(axis=1)))

    def gauges(self) -> Mapping[str, float]:
        """Return mean and greatest age of each attribute over live twins (nan without any), moves, and losses."""
        life = self._state.lives.life
        live = (life == Life.LIVE) | (life == Life.MIGRATING)
        counts, told = self.counts, {"live twins": float(np.count_nonzero(live))}
        for attribute in self._place:
            ages_s = self.ages_s(attribute)[live]
            told[f"mean age of {attribute} (s)"] = float(ages_s.mean()) if ages_s.size else nan
            told[f"greatest age of {attribute} (s)"] = float(ages_s.max()) if ages_s.size else nan
        told["migrations under way"] = float(len(self._state.lives.moving))
        told["messages lost"] = float(counts["lost_messages"])
        told["updates lost in the air"] = float(counts["lost_updates"])
        return told

    def check(self) -> None:
        """Assert that every live twin has one master and any other none."""
        self._state.lives.check()

    # --- written down and built again -------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return nothing: all that changes is in the network's record of this name."""
        return {}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "UserTwins":
        """Return these twins in another network, which has their record."""
        del state
        fresh = copy(self)
        fresh._bind(network)
        fresh._state = network.record(self.name, lambda: self._state)
        return fresh
