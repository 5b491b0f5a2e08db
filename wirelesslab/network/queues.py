"""Queues and servers: what a link is to bits and a computer is to operations.

A station has one queue per slice. A slice with a dedicated share has a server of its own; all others share
the rest, in the order of a scheduler. Guaranteed shares are kept by virtual clocks, and ceilings by
spacing out the starts of a slice's packets. Nothing is ever lost without being counted.
"""

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Any

import numpy as np

from wirelesslab import check
from wirelesslab.network.agenda import Agenda
from wirelesslab.network.flows import Packet
from wirelesslab.network.schedulers import Memory, Scheduler
from wirelesslab.network.slices import ResourceRatio, Slice
from wirelesslab.network.station_books import Book, StationAccount

SHARED = -1  # key of the servers that slices without one of their own share


@dataclass(slots=True)
class Pool:
    """Servers that are alike.

    Attributes:
        key: The slice whose own they are, or SHARED.
        rate: Work per second of each; 0 when the pool has been closed.
        servers: How many.
        busy: How many of them serve.
        slices: Slices that may be served here.
    """

    key: int
    rate: float
    servers: int
    slices: tuple[int, ...]
    busy: int = 0


@dataclass(slots=True)
class Service:
    """A packet in service.

    Attributes:
        packet: It.
        index: Its slice.
        key: The pool that serves it.
        due: Number of its end on the agenda.
        began_s: When this service began, or was last timed anew.
        left: Work that was left then.
    """

    packet: Packet
    index: int
    key: int
    due: int
    began_s: float
    left: float


@dataclass(eq=False)
class Station:
    """Queues of all slices before one resource.

    Attributes:
        name: Unique in the network, such as "gnb-1->edge-1" or "edge-1".
        agenda: Where it puts down what is due.
        slices: All slices of the network.
        scheduler: The order in which the shared servers take them.
        rate: Work per second of the whole resource: bits per second, or operations per second.
        served: Called with each packet that has been served.
        lost: Called with each packet that is turned away.
        servers: Servers among which `rate` is divided.
        ratios: Shares of the slices; nobody has one when None.
        buffer_bytes: Most bytes that may wait, for each slice.
        buffer_packets: Most packets that may wait, for each slice.
        spans: Whether packets note where their time goes.
        waiting_span: What waiting is called in spans.
        service_span: What service is called in spans.
    """

    name: str
    agenda: Agenda
    slices: tuple[Slice, ...]
    scheduler: Scheduler
    rate: float
    served: Callable[[Packet], None]
    lost: Callable[[Packet, str], None]
    servers: int = 1
    ratios: tuple[ResourceRatio, ...] | None = None
    buffer_bytes: float = inf
    buffer_packets: float = inf
    spans: bool = False
    waiting_span: str = "queue"
    service_span: str = "transmit"
    up: bool = True
    queues: list[deque[Packet]] = field(init=False)
    book: Book = field(init=False)
    memory: Memory = field(init=False)

    def __post_init__(self) -> None:
        check.positive(rate=self.rate)
        check.positive_integer(servers=self.servers)
        count = len(self.slices)
        self.queues = [deque() for _ in range(count)]
        self.waiting_bytes = [0] * count
        self.book = Book.empty(count, self.agenda.now)
        self.memory = self.scheduler.begin(self.slices)
        self.in_service: dict[int, Service] = {}
        self.pools: dict[int, Pool] = {}
        self._key = 0
        self._clock = [0.0] * count  # until when a slice's guarantee has been used up
        self._next_start = [0.0] * count  # before which a slice with a ceiling may not start on the shared servers
        self._wake, self._wake_s = -1, -1.0
        self.set_ratios(self.ratios or (ResourceRatio(),) * count)

    # --- packets ---------------------------------------------------------------------------------------

    def take(self, packet: Packet) -> None:
        """Take a packet in; when it would have to wait and there is no room, the last in the queue is given up."""
        now = self.agenda.env._now
        index = packet.way.slice_index
        packet.came_s = packet.waits_s = now
        packet.begun = False
        book = self.book
        book.offered_packets[index] += 1
        book.offered_bytes[index] += packet.num_bytes
        book.packet_seconds[index] += book.inside[index] * (now - book.touched_s[index])
        book.touched_s[index] = now
        book.inside[index] += 1
        queue = self.queues[index]
        if self.scheduler.by_deadline and queue:
            _insert_by_deadline(queue, packet)
        else:
            queue.append(packet)
        self.waiting_bytes[index] += packet.num_bytes
        self._serve()
        if packet.begun:
            return
        book.delayed_packets[index] += 1
        while self.waiting_bytes[index] > self.buffer_bytes or len(queue) > self.buffer_packets:
            last = queue.pop()
            self.waiting_bytes[index] -= last.num_bytes
            self._leave(index, last, now)
            book.dropped_packets[index] += 1
            book.dropped_bytes[index] += last.num_bytes
            book.refused_packets[index] += 1
            book.delayed_packets[index] -= 1
            self.lost(last, "buffer full")

    def _leave(self, index: int, packet: Packet, now: float) -> None:
        book = self.book
        book.packet_seconds[index] += book.inside[index] * (now - book.touched_s[index])
        book.touched_s[index] = now
        book.inside[index] -= 1
        book.sojourn_seconds[index] += now - packet.came_s

    def _serve(self) -> None:
        """Give every free server something to do."""
        if not self.up:
            return
        queues = self.queues
        for pool in self.pools.values():
            while pool.busy < pool.servers and pool.rate > 0:
                waiting = [index for index in pool.slices if queues[index]]
                if not waiting:
                    break
                if pool.key == SHARED:
                    if self._shaped:
                        waiting = self._allowed(waiting)
                        if not waiting:
                            break
                    index = self._entitled(waiting) if self._guaranteed else SHARED
                    if index != SHARED:
                        packet = queues[index][0]
                        start = max(self._clock[index], packet.came_s)
                        self._clock[index] = start + packet.work / self._min_rate[index]
                    else:
                        index = self.scheduler.pick(self.memory, waiting, queues)
                else:
                    index = waiting[0]
                self._begin(pool, index)

    def _begin(self, pool: Pool, index: int) -> None:
        packet = self.queues[index].popleft()
        self.waiting_bytes[index] -= packet.num_bytes
        now = self.agenda.env._now
        self.book.wait_seconds[index] += now - packet.waits_s
        if not packet.begun:
            packet.begun = True
            self.book.begun_packets[index] += 1
        pool.busy += 1
        key = self._key
        self._key = key + 1
        if self._shaped and pool.key == SHARED:
            self._next_start[index] = max(self._next_start[index], now) + packet.work / self._max_rate[index]
        if packet.spans is not None:
            packet.spans.append((self.waiting_span, self.name, packet.waits_s, now))
        due = self.agenda.after(packet.work / pool.rate, self.finish, key)
        self.in_service[key] = Service(packet, index, pool.key, due, now, packet.work)

    def finish(self, key: int) -> None:
        """End a service; called by the agenda."""
        service = self.in_service.pop(key)
        packet, index = service.packet, service.index
        now = self.agenda.env._now
        self.pools[service.key].busy -= 1
        self._leave(index, packet, now)
        book = self.book
        book.served_packets[index] += 1
        book.served_bytes[index] += packet.num_bytes
        book.work_done[index] += packet.work
        if packet.spans is not None:
            packet.spans.append((self.service_span, self.name, service.began_s, now))
        self._serve()
        self.served(packet)

    # --- shares ----------------------------------------------------------------------------------------

    def set_ratios(self, ratios: tuple[ResourceRatio, ...]) -> None:
        """Hold the slices to these shares from now on; packets in service go on at their server's new rate.

        Raises:
            ValueError: The guaranteed shares add up to more than 1, or a dedicated share of several
                servers is not a whole number of them.
        """
        check_ratios(ratios, self.slices, self.servers, self.name)
        self.ratios = ratios
        dedicated = [ratio.dedicated for ratio in ratios]
        own = {index: share for index, share in enumerate(dedicated) if share > 0}
        each = self.rate / self.servers
        wanted: dict[int, tuple[float, int, tuple[int, ...]]] = {}
        for index, share in own.items():
            if self.servers == 1:
                wanted[index] = (self.rate * share, 1, (index,))
            else:
                wanted[index] = (each, round(share * self.servers), (index,))
        rest = max(0.0, 1 - sum(own.values()))
        common = tuple(i for i, ratio in enumerate(ratios) if ratio.max > ratio.dedicated)
        if rest > 1e-12 and common:
            servers = 1 if self.servers == 1 else round(rest * self.servers)
            wanted[SHARED] = (self.rate * rest if self.servers == 1 else each, servers, common)
        self._min_rate = [self.rate * (ratio.min - ratio.dedicated) for ratio in ratios]
        self._max_rate = [self.rate * (ratio.max - ratio.dedicated) if ratio.max < 1 else inf for ratio in ratios]
        # What a slice used or was held back for under its old shares does not count under the new ones.
        self._clock = [self.agenda.now] * len(ratios)
        self._next_start = [self.agenda.now] * len(ratios)
        self._guaranteed = any(rate > 0 for rate in self._min_rate)
        self._shaped = any(rate < inf for rate in self._max_rate)
        for key in self.pools.keys() | wanted.keys():
            rate, servers, slices = wanted.get(key, (0.0, 0, ()))
            if key not in self.pools:
                self.pools[key] = Pool(key, rate, servers, slices)
            else:
                self._retime(self.pools[key], rate, servers, slices)
        self.pools = {key: self.pools[key] for key in sorted(wanted, reverse=True)}
        self._serve()

    def _retime(self, pool: Pool, rate: float, servers: int, slices: tuple[int, ...]) -> None:
        """Change a pool's rate and size; services beyond its size go back to the head of their queue."""
        now = self.agenda.env._now
        inside = [key for key, service in self.in_service.items() if service.key == pool.key]
        before = pool.rate
        pool.rate, pool.servers, pool.slices = rate, servers, slices
        stay = [key for key in inside if self.in_service[key].index in slices][:servers]
        for key in reversed(inside):  # the youngest goes back first, so that the oldest ends at the head
            service = self.in_service[key]
            left = max(0.0, service.left - (now - service.began_s) * before)
            if key not in stay:
                self._interrupt(key, left)
            elif rate != before:
                self.agenda.cancel(service.due)
                if service.packet.spans is not None:
                    service.packet.spans.append((self.service_span, self.name, service.began_s, now))
                service.began_s, service.left = now, left
                service.due = self.agenda.after(left / rate, self.finish, key)

    def _interrupt(self, key: int, left: float) -> None:
        """Put a packet in service back to the head of its queue, with `left` of its work to do."""
        service = self.in_service.pop(key)
        self.agenda.cancel(service.due)
        now = self.agenda.env._now
        packet = service.packet
        self.pools[service.key].busy -= 1
        self.book.work_done[service.index] += packet.work - left
        packet.waits_s = now
        if packet.spans is not None:
            packet.spans.append((self.service_span, self.name, service.began_s, now))
        packet.work = left
        self.queues[service.index].appendleft(packet)
        self.waiting_bytes[service.index] += packet.num_bytes

    def _entitled(self, waiting: list[int]) -> int:
        """Return the slice that is furthest behind its guarantee, or SHARED if none is.

        References:
            Zhang, "VirtualClock", ACM TOCS 9(2), 1991.
        """
        now = self.agenda.env._now
        best, chosen = inf, SHARED
        for index in waiting:
            rate = self._min_rate[index]
            if rate > 0 and self._clock[index] <= now:
                packet = self.queues[index][0]
                tag = max(self._clock[index], packet.came_s) + packet.work / rate
                if tag < best:
                    best, chosen = tag, index
        return chosen

    def _allowed(self, waiting: list[int]) -> list[int]:
        """Return those below their ceiling; if there is none, look again when the first one is."""
        now = self.agenda.env._now
        allowed = [index for index in waiting if self._next_start[index] <= now]
        if not allowed:
            soonest = min(self._next_start[index] for index in waiting)
            if soonest != self._wake_s:  # otherwise it is put down already
                self.agenda.cancel(self._wake)
                self._wake, self._wake_s = self.agenda.after(soonest - now, self.look_again), soonest
        return allowed

    def look_again(self) -> None:
        """Serve whoever waited below a ceiling; called by the agenda."""
        self._wake, self._wake_s = -1, -1.0
        self._serve()

    # --- failures, and looking in -----------------------------------------------------------------------

    def set_up(self, up: bool) -> list[Packet]:
        """Take the station out of service or back; returns the packets that were inside when it failed.

        They have left the station, counted as dropped here; whoever called may send them another way.
        """
        self.up = up
        if up:
            self._serve()
            return []
        now = self.agenda.env._now
        evicted = []
        for key in reversed(list(self.in_service)):
            service = self.in_service[key]
            left = max(0.0, service.left - (now - service.began_s) * self.pools[service.key].rate)
            self._interrupt(key, left)
        for index, queue in enumerate(self.queues):
            while queue:
                packet = queue.popleft()
                self.waiting_bytes[index] -= packet.num_bytes
                self._leave(index, packet, now)
                self.book.dropped_packets[index] += 1
                self.book.dropped_bytes[index] += packet.num_bytes
                evicted.append(packet)
        return evicted

    def inside_bytes(self) -> dict[str, int]:
        """Return the bytes that wait or are in service, by slice."""
        book = self.book
        counts = zip(self.slices, book.offered_bytes, book.served_bytes, book.dropped_bytes, strict=True)
        return {s.name: offered - served - dropped for s, offered, served, dropped in counts}

    def account(self) -> StationAccount:
        """Return where every packet is; what is inside is counted afresh, not taken from the book."""
        now, book, count = self.agenda.now, self.book, len(self.slices)
        packets, num_bytes = np.zeros(count, np.int64), np.zeros(count, np.int64)
        sojourn, work = np.array(book.sojourn_seconds), np.array(book.work_done)
        inside = [(index, packet) for index, queue in enumerate(self.queues) for packet in queue]
        inside += [(service.index, service.packet) for service in self.in_service.values()]
        for index, packet in inside:
            packets[index] += 1
            num_bytes[index] += packet.num_bytes
            sojourn[index] += now - packet.came_s
        for service in self.in_service.values():
            done = (now - service.began_s) * self.pools[service.key].rate
            work[service.index] += service.packet.work - max(0.0, service.left - done)
        area = np.array(book.packet_seconds) + np.array(book.inside) * (now - np.array(book.touched_s))
        return StationAccount(
            np.array(book.offered_packets), np.array(book.served_packets), packets, np.array(book.dropped_packets),
            np.array(book.offered_bytes), np.array(book.served_bytes), num_bytes, np.array(book.dropped_bytes),
            np.array(book.refused_packets), np.array(book.begun_packets),
            np.array(book.delayed_packets), np.array(book.wait_seconds), sojourn, area, work, now,
        )  # fmt: skip

    STATE = (
        "rate", "ratios", "up", "queues", "waiting_bytes", "book", "memory", "in_service", "pools", "_key", "_clock",
        "_next_start", "_wake", "_wake_s", "_min_rate", "_max_rate", "_guaranteed", "_shaped",
    )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Return all that changes, by reference; the network copies it."""
        return {name: getattr(self, name) for name in self.STATE}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what `state` returned; what is due is rebuilt by the agenda."""
        for name, value in state.items():
            setattr(self, name, value)


def _insert_by_deadline(queue: deque[Packet], packet: Packet) -> None:
    """Put a packet behind all that are due before it or with it."""
    place = len(queue)
    while place and queue[place - 1].way.deadline_s > packet.way.deadline_s:
        place -= 1
    queue.insert(place, packet)


def check_ratios(ratios: tuple[ResourceRatio, ...], slices: tuple[Slice, ...], servers: int, where: str) -> None:
    """Refuse shares that a resource of `servers` servers cannot keep.

    Raises:
        ValueError: They add up to more than 1, or do not give whole servers.
    """
    least = {s.name: ratio.min for s, ratio in zip(slices, ratios, strict=True)}
    if sum(least.values()) > 1 + 1e-9:
        msg = f"{where}: shares (min) sum to {sum(least.values()):g}, expected at most 1; lower one of {least}"
        raise ValueError(msg)
    if servers == 1:
        return
    for s, ratio in zip(slices, ratios, strict=True):
        if abs(ratio.dedicated * servers - round(ratio.dedicated * servers)) > 1e-9:
            msg = (
                f"{where}: dedicated share {ratio.dedicated:g} of {s.name} is {ratio.dedicated * servers:g} "
                f"of {servers} servers, expected a whole number"
            )
            raise ValueError(msg)
