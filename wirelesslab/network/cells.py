"""The radio's place in the network: cells at gNBs, users who speak and move, and the way into the core."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.access import Delivered, RadioAccess
from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.arrivals import TrafficModel, due
from wirelesslab.network.flows import Flow
from wirelesslab.network.movement import Movable, Movement
from wirelesslab.network.slices import ResourceRatio

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

Tag = tuple[int, int, float]  # user, bytes, offered: what a packet in the air is known by


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What the users of a slice say.

    Attributes:
        slice: The slice; every user of the radio who belongs to it speaks so.
        model: Law of each user's arrivals.
        sink: Node to which what got through goes on from the user's gNB; "" ends in the cell.
        together: Send on what a cell delivered in a tick as one flow, instead of packet by packet: for many users.
            Its delay is reckoned from the mean of the times at which its packets were offered.
    """

    slice: str
    model: TrafficModel
    sink: str = ""
    together: bool = False


@dataclass
class UserMeters:
    """What each user has said and got through, counted by the gNBs tick by tick; all of shape (users,).

    Attributes:
        offered_bytes: Said and sent to the user so far; what was turned away at the door of a slice is not counted.
        ended_bytes: Of them, got through or given up, in whole packets.
        delivered_packets: Got through.
        late_packets: Of them, later than the user's slice promises; reckoned in the air alone.
        delay_seconds: Delays in the air of all that got through, added up.
        since_s: What was said until then is not counted, though it may get through later.
    """

    offered_bytes: NDArray[np.int64]
    ended_bytes: NDArray[np.int64]
    delivered_packets: NDArray[np.int64]
    late_packets: NDArray[np.int64]
    delay_seconds: NDArray[np.float64]
    since_s: float

    @classmethod
    def zero(cls, num_users: int, since_s: float) -> "UserMeters":
        """Return meters that have counted nothing."""
        offered, ended, delivered, late = (np.zeros(num_users, np.int64) for _ in range(4))
        return cls(offered, ended, delivered, late, np.zeros(num_users), since_s)


class Cells:
    """Cells of one radio, as an actor: it offers what users say, and sends on what gets through.

    A radio has one direction in which its rates were reckoned; `Movement`'s are a downlink's. Users of a `sink` speak
    at these rates too: a simplification that is fair to capacity and generous to a user's transmit power.

    Flows of the network with a `user` come the other way: they are offered to the air when they reach the
    sink, in whichever cell the user then is, and end when the user has them. The clock ticks every `tick_s`;
    inside a tick the radio computes at its own resolution, and what has got through is sent on at the tick's
    end. Shares and failures take effect in the radio at their own time. What users of a slice that is not
    active say is lost at the door.

    Args:
        access: The radio; its cell c stands at ``cell_nodes[c]``.
        cell_nodes: The gNBs.
        demands: What users say, at most one for each slice.
        tick_s: Spacing of the clock.
        movement: Who moves, and how cells are chosen; nobody moves when None.
        name: Name as an actor; also names the streams of its randomness.

    Raises:
        ValueError: Nodes and cells do not match, or a demand's slice has no users.
    """

    def __init__(
        self,
        access: RadioAccess,
        cell_nodes: Sequence[str],
        demands: Sequence[Demand] = (),
        *,
        tick_s: float = 1e-3,
        movement: Movement | None = None,
        name: str = "cells",
    ) -> None:
        check.positive(tick_s=tick_s)
        self.access, self.cell_nodes, self.demands = access, tuple(cell_nodes), tuple(demands)
        self.tick_s, self.movement, self.name = tick_s, movement, name
        if len(self.cell_nodes) != access.num_cells:
            msg = f"cell_nodes: got {len(self.cell_nodes)}, expected one for each of the {access.num_cells} cells"
            raise ValueError(msg)
        names = [demand.slice for demand in self.demands]
        if len(set(names)) < len(names):
            msg = f"demands: got slices {names}, expected each slice once"
            raise ValueError(msg)
        self._slice_of = access.user_slices
        self._tagged: dict[Tag, deque[int]] = {}
        self._to_users: list[Tag] = []
        self._through: list[Delivered] = []  # not yet sent on
        self._gone: list[Delivered] = []
        self._ticks = 0
        self._offered_s = -math.inf  # until when all that was said has been offered to the radio
        self._meters: UserMeters | None = None

    # --- the actor ---------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`.

        Raises:
            ValueError: Slices, nodes or sinks are not of this network.
        """
        self._network, self._start_s = network, network.now_s
        for node in self.cell_nodes:
            if node not in network.graph:
                msg = f"cell_nodes: got {node!r}, expected nodes of the network{check.nearest(node, network.graph)}"
                raise ValueError(msg)
        if [s.name for s in self.access.slices] != [s.name for s in network.slices]:
            msg = (
                f"access: has the slices {[s.name for s in self.access.slices]}, expected the network's "
                f"{[s.name for s in network.slices]}, in this order"
            )
            raise ValueError(msg)
        self._speakers: dict[str, tuple[NDArray[np.int64], dict[str, NDArray[Any]], np.random.Generator]] = {}
        for demand in self.demands:
            index = network.slice_index(demand.slice)
            if demand.sink and demand.sink not in network.graph:
                msg = f"sink: got {demand.sink!r}, expected a node{check.nearest(demand.sink, network.graph)}"
                raise ValueError(msg)
            users = np.flatnonzero(self._slice_of == index)
            if not users.size:
                msg = f"demands: no user of the radio belongs to {demand.slice}; give slice_of or drop the demand"
                raise ValueError(msg)
            rng = network.rng("users", self.name, demand.slice)
            self._speakers[demand.slice] = (users, demand.model.begin(rng, users.size), rng)
        for cell, node in enumerate(self.cell_nodes):
            if node in network.down:
                self.access.set_cell_up(cell, False)
        network.agenda.after(self.tick_s, self.tick)

    def tick(self) -> None:
        """Offer what was said since the last tick, compute, and send on; called by the agenda."""
        network = self._network
        now = network.now_s
        self._catch_up(now)
        through, self._through = Delivered.joined(self._through), []
        gone, self._gone = Delivered.joined(self._gone), []
        self._deliver(through)
        self._lose(gone)
        self._ticks += 1
        if self.movement is not None:
            record = self.movement.advance(now - self._start_s, cast(Movable, self.access))
            network.book.handovers += 0 if record is None else record.user.size
        # Ticks are multiples of tick_s, not sums: a day of milliseconds must not drift away from the slots.
        network.agenda.after(exact_delay(now, self._start_s + (self._ticks + 1) * self.tick_s), self.tick)

    @property
    def ticked_s(self) -> float:
        """The time of the last tick: what the gNBs know is of then."""
        return self._start_s + self._ticks * self.tick_s

    def meters(self) -> UserMeters:
        """Return what has been counted for each user since this was first asked for."""
        if self._meters is None:
            self._meters = UserMeters.zero(self._slice_of.size, self._offered_s)
        return self._meters

    def _catch_up(self, now: float) -> None:
        """Let the radio compute up to now."""
        self._offer(now)
        self._through.append(self.access.advance(now))
        self._gone.append(self.access.given_up())

    def _offer(self, now: float) -> None:
        users, sizes, times = [], [], []
        self._offered_s = now
        book = self._network.book
        for demand in self.demands:
            speakers, memory, rng = self._speakers[demand.slice]
            who, num_bytes, at = due(demand.model, rng, memory, now - self._start_s)
            if not who.size:
                continue
            index, total = self._network.slice_index(demand.slice), int(num_bytes.sum())
            book.air_begin(index, who.size, total)
            if not self._network.active[index]:
                book.air_lose(index, who.size, total, "slice not active")
                continue
            users.append(speakers[who])
            sizes.append(num_bytes)
            times.append(np.minimum(at + self._start_s, now))
        if self._to_users:
            who, num_bytes, at = (np.array(column) for column in zip(*self._to_users, strict=True))
            users.append(who.astype(np.int64))
            sizes.append(num_bytes.astype(np.int64))
            times.append(at)
            self._to_users = []
        if not users:
            return
        if self._meters is not None:
            for who, num_bytes in zip(users, sizes, strict=True):
                np.add.at(self._meters.offered_bytes, who, num_bytes)
        if len(users) == 1:
            self.access.offer(users[0], sizes[0], times[0])
            return
        at = np.concatenate(times)
        order = np.argsort(at, kind="stable")
        self.access.offer(np.concatenate(users)[order], np.concatenate(sizes)[order], at[order])

    def _deliver(self, delivered: Delivered) -> None:
        if not delivered.user.size:
            return
        network = self._network
        if self._meters is not None:
            self._count(self._meters, delivered)
        if self._tagged:
            delivered = self._hand_over(delivered)
        slice_of = self._slice_of[delivered.user]
        for demand in self.demands:
            index = network.slice_index(demand.slice)
            chosen = slice_of == index
            if not chosen.any():
                continue
            num_bytes = int(delivered.num_bytes[chosen].sum())
            if not demand.sink:
                network.book.air_end(index, delivered.delay_s[chosen], num_bytes, network.promise_s(index))
                continue
            network.book.air_pass(index, int(chosen.sum()), num_bytes)
            if demand.together:
                self._send_together(demand, delivered, np.flatnonzero(chosen))
            else:
                self._send_each(demand, delivered, np.flatnonzero(chosen))

    def _count(self, meters: UserMeters, delivered: Delivered) -> None:
        delivered = delivered.take(delivered.offered_s > meters.since_s)
        user, delay_s = delivered.user, delivered.delay_s
        np.add.at(meters.ended_bytes, user, delivered.num_bytes)
        np.add.at(meters.delivered_packets, user, 1)
        np.add.at(meters.delay_seconds, user, delay_s)
        late = delay_s > np.asarray(self._network.promises)[self._slice_of[user]]
        np.add.at(meters.late_packets, user[late], 1)

    def _send_each(self, demand: Demand, delivered: Delivered, chosen: NDArray[np.int64]) -> None:
        cells = self.access.cells[delivered.user[chosen]].tolist()
        sizes, times = delivered.num_bytes[chosen].tolist(), delivered.offered_s[chosen].tolist()
        for cell, size, at in zip(cells, sizes, times, strict=True):
            node = self.cell_nodes[cell]
            self._network.send(Flow(slice=demand.slice, num_bytes=size, source=node, sink=demand.sink, sent_s=at))

    def _send_together(self, demand: Demand, delivered: Delivered, chosen: NDArray[np.int64]) -> None:
        cell_of = self.access.cells[delivered.user[chosen]]
        for cell in np.unique(cell_of).tolist():
            here = chosen[cell_of == cell]
            self._network.send(
                Flow(
                    slice=demand.slice, num_bytes=int(delivered.num_bytes[here].sum()), source=self.cell_nodes[cell],
                    sink=demand.sink, sent_s=float(delivered.offered_s[here].mean()),
                )
            )  # fmt: skip

    # --- flows to users ------------------------------------------------------------------------------------

    def check_user(self, user: int, slice_name: str) -> None:
        """Refuse a flow to somebody who is not here.

        Raises:
            ValueError: There is no such user, or the user belongs to another slice.
        """
        if type(user) is not int or not 0 <= user < self._slice_of.size:
            msg = f"user: got {user!r}, expected one of the {self._slice_of.size} users, counted from 0"
            raise ValueError(msg)
        own = self.access.slices[int(self._slice_of[user])].name
        if own != slice_name:
            msg = f"user: got a flow of {slice_name} for user {user} of {own}, expected a flow of the user's slice"
            raise ValueError(msg)

    def deliver_to_user(self, number: int, flow: Flow, now_s: float) -> None:
        """Take a flow that has reached its sink; called by the network."""
        assert flow.user is not None
        tag = (flow.user, flow.num_bytes, now_s)
        self._to_users.append(tag)
        self._tagged.setdefault(tag, deque()).append(number)

    def _hand_over(self, delivered: Delivered) -> Delivered:
        """End the flows among what was delivered; returns the rest."""
        keep = np.ones(delivered.user.size, bool)
        tags = zip(delivered.user.tolist(), delivered.num_bytes.tolist(), delivered.offered_s.tolist(), strict=True)
        for place, tag in enumerate(tags):
            numbers = self._tagged.get(tag)
            if numbers:
                keep[place] = False
                self._network.radio_delivered(numbers.popleft(), float(delivered.delivered_s[place]))
                if not numbers:
                    del self._tagged[tag]
        return delivered.take(keep)

    def _lose(self, lost: Delivered) -> None:
        if not lost.user.size:
            return
        if self._meters is not None:
            counted = lost.take(lost.offered_s > self._meters.since_s)
            np.add.at(self._meters.ended_bytes, counted.user, counted.num_bytes)
        for user, num_bytes, at in zip(
            lost.user.tolist(), lost.num_bytes.tolist(), lost.offered_s.tolist(), strict=True
        ):
            numbers = self._tagged.get((user, num_bytes, at))
            if numbers:
                self._network.radio_lost(numbers.popleft())
                if not numbers:
                    del self._tagged[user, num_bytes, at]
            else:
                self._network.book.air_lose(int(self._slice_of[user]), 1, num_bytes)

    # --- what the network asks for ----------------------------------------------------------------------------

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """Hold the slices to these shares of every cell."""
        self._catch_up(self._network.now_s)
        self.access.set_ratios(ratios)

    def set_cell_up(self, node: str, up: bool) -> None:
        """Take the cell at a gNB out of service or back."""
        self._catch_up(self._network.now_s)
        self.access.set_cell_up(self.cell_nodes.index(node), up)

    def check(self) -> None:
        """Assert conservation and Little's law in the air."""
        self.access.account().check()

    STATE = (
        "access", "movement", "_speakers", "_tagged", "_to_users", "_through", "_gone", "_ticks", "_start_s",
        "_offered_s", "_meters",
    )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return all that changes, by reference; the network copies it."""
        return {name: getattr(self, name) for name in self.STATE}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "Cells":
        """Return these cells as they were when `state` was copied, in another network."""
        fresh = Cells(
            state["access"],
            self.cell_nodes,
            self.demands,
            tick_s=self.tick_s,
            movement=state["movement"],
            name=self.name,
        )  # fmt: skip
        for name, value in state.items():
            setattr(fresh, name, value)
        fresh._network = network
        return fresh
