"""The network: a graph of queues and computers, the slices that share them, and everything that lives on it."""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar, cast

import networkx as nx
import numpy as np
import simpy

from wirelesslab import check
from wirelesslab.network.actors import Actor as Actor  # noqa: PLC0414  (part of this module's interface)
from wirelesslab.network.actors import Story as Story  # noqa: PLC0414
from wirelesslab.network.actors import check_ends, gauges_of, name_for, radio_at
from wirelesslab.network.agenda import Agenda, exact_delay
from wirelesslab.network.books import FlowBook
from wirelesslab.network.changes import send_another_way, tried
from wirelesslab.network.flows import Flow, FlowRecord, OnTheWay, Outcome, Packet, check_flow
from wirelesslab.network.queues import Station
from wirelesslab.network.routing import Routes
from wirelesslab.network.run import Run, run_of
from wirelesslab.network.schedulers import Scheduler
from wirelesslab.network.settings import checked_settings
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio, Slice
from wirelesslab.network.snapshots import Snapshot, take_over, written_state
from wirelesslab.network.view import Action, ActionRecord, View
from wirelesslab.rng import stream

if TYPE_CHECKING:
    from wirelesslab.network.trace import Trace

ACTIONS_KEPT = 10_000  # the latest ones; memory must not grow with simulated time
MOST_SEGMENTS = 1_000_000  # of one flow, all of which are on the way at once

T = TypeVar("T")
InForce = dict[tuple[Domain, str], dict[str, ResourceRatio]]  # (domain, element or "") -> slice -> share


class Network:
    """A 6G network.

    Args:
        graph: Nodes and directed links, as `topology` builds them.
        slices: The slices that share it.
        scheduler: The order in which links and servers take the slices that share them; `WeightedFair()` when None.
        seed: Of every stream of randomness in it.
        segment_bytes: Flows travel in segments of at most so many bytes, one behind the other.
        report_s: Spacing of the time series; it doubles when there are more than 4096 points.
        keep_records: How many of the latest flows' records are kept; None keeps all, and memory grows.
        spans: Whether records say where each flow's time went.
        trace: Where spans, actions and failures are written for Perfetto; None writes nothing.

    Raises:
        ValueError: Graph or slices do not make a network.

    Examples:
        >>> from wirelesslab.network import EMBB, Flow, line
        >>> network = Network(line(num_links=2, rate_bps=8e6), (EMBB,), keep_records=1)
        >>> _ = network.send(Flow(slice="embb", num_bytes=1000, source="edge-1", sink="edge-3"))
        >>> run = network.run(until_s=1.0)
        >>> round(run.records[0].delay_s, 6)
        0.0021
    """

    name = "network"

    def __init__(
        self,
        graph: "nx.DiGraph[str]",
        slices: tuple[Slice, ...],
        *,
        scheduler: Scheduler | None = None,
        seed: int = 0,
        segment_bytes: int = 65_536,
        report_s: float = 1.0,
        keep_records: int | None = 0,
        spans: bool = False,
        trace: "Trace | None" = None,
    ) -> None:
        self.settings = checked_settings(
            graph, slices, scheduler=scheduler, seed=seed, segment_bytes=segment_bytes, report_s=report_s,
            keep_records=keep_records, spans=spans,
        )  # fmt: skip
        slices = self.settings["slices"]
        self.graph, self.slices, self.seed, self.trace = graph, slices, seed, trace
        self.agenda = Agenda()
        self.actors: dict[str, Any] = {}
        self._owners: dict[str, str] = {}
        self._index = {s.name: index for index, s in enumerate(slices)}
        self.promises = [inf if s.level.delay_s is None else s.level.delay_s for s in slices]
        self._segment_bytes, self._spans = segment_bytes, spans
        self.memory: dict[str, Any] = {}
        self.ratios: dict[Domain, dict[str, ResourceRatio]] = {
            domain: {s.name: s.ratio(domain) for s in slices} for domain in DOMAINS
        }
        self.active = [True] * len(slices)
        self.down: dict[str, tuple[str, ...]] = {}  # element -> who holds it out of service
        self.next_number = 0
        self.ways: dict[int, OnTheWay] = {}
        # (slice, source, sink) -> flows, bytes, sum of squared bytes, operations: what twins forecast from
        self.traffic: dict[tuple[int, str, str], list[float]] = {}
        self.book = FlowBook.empty(slices, report_s)
        self.actions: deque[ActionRecord] = deque(maxlen=ACTIONS_KEPT)
        self.told: dict[str, InForce] = {}  # who -> the shares that they have put into force last
        self.flow_records: deque[FlowRecord] = deque(maxlen=keep_records)
        self.links = {(a, b): self._link(a, b) for a, b in graph.edges}
        self.servers = {node: self._server(node) for node, kind in graph.nodes.items() if kind.get("operations_per_s")}
        self.stations = {s.name: s for s in (*self.links.values(), *self.servers.values())}
        self._delay_s = {(a, b): float(link["delay_s"]) for a, b, link in graph.edges(data=True)}
        self.routes = Routes(graph)
        self.agenda.after(report_s, self.report)

    def _link(self, a: str, b: str) -> Station:
        link = self.graph.edges[a, b]
        buffer = link.get("buffer_bytes")
        return Station(
            f"{a}->{b}", self.agenda, self.slices, self.settings["scheduler"], float(link["rate_bps"]),
            self._sent, self.lose, ratios=tuple(self.ratios["transport"].values()), spans=self._spans,
            buffer_bytes=inf if buffer is None else float(buffer),
        )  # fmt: skip

    def _server(self, node: str) -> Station:
        kind = self.graph.nodes[node]
        servers = int(kind.get("num_servers", 1))
        room = kind.get("buffer_jobs")
        return Station(
            node, self.agenda, self.slices, self.settings["scheduler"], float(kind["operations_per_s"]) * servers,
            self._arrived, self.lose, servers=servers, spans=self._spans,
            ratios=tuple(self.ratios["compute"].values()), waiting_span="wait for server", service_span="compute",
            buffer_packets=inf if room is None else float(room),
        )  # fmt: skip

    # --- living on it ------------------------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        """The time, in seconds."""
        return self.agenda.now

    def add(self, actor: T) -> T:
        """Let an actor live here from now on; returns it.

        An actor without a name gets one from its class: "poisson-1", "planner-1".

        Raises:
            ValueError: It is here already or in another network, its name is taken, or it refuses to live here.
            TypeError: It has neither `run` nor `join`.
        """
        name = name_for(self, actor)
        self.actors[name] = actor
        if hasattr(actor, "join"):
            try:
                actor.join(self)
            except Exception:
                del self.actors[name]  # what has refused to live here is not here, and its name is free
                raise
        else:
            self.agenda.start(name, cast(Actor, actor).run(self))
        return actor

    def name_of(self, actor: object) -> str:
        """Return the name under which an actor lives here.

        Raises:
            ValueError: It does not.
        """
        for name, other in self.actors.items():
            if other is actor:
                return name
        msg = f"name_of: {actor!r} does not live here; add it first"
        raise ValueError(msg)

    def until(self, time_s: float) -> simpy.Event:
        """Return what an actor's `run` yields to sleep until `time_s`."""
        return self.agenda.until(time_s)

    def record(self, name: str, make: Callable[[], T]) -> T:
        """Return the record kept under `name`, made by `make` the first time: where an actor keeps its state.

        A record is any object that can be copied: a dict, a dataclass, arrays, a generator of randomness. It
        belongs to the actor that asked for it first, whose own name is ``network.name_of(self)``.

        Raises:
            ValueError: It is another actor's.
        """
        actor = self.agenda.actor
        if actor and self._owners.setdefault(name, actor) != actor:
            msg = (
                f"record: {name!r} is kept by {self._owners[name]}, got it asked for by {actor}; say "
                "network.record(network.name_of(self), ...)"
            )
            raise ValueError(msg)
        if name not in self.memory:
            self.memory[name] = make()
        return cast(T, self.memory[name])

    def _refuse_while_waking(self, what: str) -> None:
        """Refuse that an actor acts while it is begun anew from its record: it has done so already.

        Raises:
            RuntimeError: Always.
        """
        msg = (
            f"{what}: {self.agenda.waking} acts before its first sleep when it is begun anew; its run must first "
            "sleep until the time in its record, then act"
        )
        raise RuntimeError(msg)

    def rng(self, *name: str | int) -> np.random.Generator:
        """Return the stream of randomness of that name; nobody else's draws disturb it."""
        return stream(self.seed, *name)

    def slice_index(self, name: str) -> int:
        """Return a slice's place in `slices`.

        Raises:
            ValueError: There is no slice of that name.
        """
        try:
            return self._index[name]
        except (KeyError, TypeError):
            hint = check.nearest(str(name), self._index)
            msg = f"slice: got {name!r}, expected one of {sorted(self._index)}{hint}"
            raise ValueError(msg) from None

    def check_node(self, node: str) -> None:
        """Refuse what is not a node.

        Raises:
            ValueError: There is no node of that name.
        """
        if node not in self.graph:
            msg = f"got {node!r}, expected a node of the network{check.nearest(node, self.graph)}"
            raise ValueError(msg)

    def check_element(self, element: str) -> None:
        """Refuse what is neither a node nor a link.

        Raises:
            ValueError: There is none of that name.
        """
        links = [s.name for s in self.links.values()]
        if element not in self.graph and element not in links:
            msg = f"element: got {element!r}, expected a node or a link such as {links[-1]!r}"
            raise ValueError(msg + check.nearest(element, [*self.graph, *links]))

    def promise_s(self, index: int) -> float:
        """Return the delay that a slice promises, by its place; inf if none."""
        return self.promises[index]

    def send(self, flow: Flow) -> int:
        """Send a flow on its way; returns its number.

        Raises:
            ValueError: Its slice, source or sink does not exist, or its size is not positive.
        """
        check_flow(flow)
        if self.agenda.waking:
            self._refuse_while_waking("send")
        index = self.slice_index(flow.slice)
        if flow.num_bytes > MOST_SEGMENTS * self._segment_bytes:
            msg = f"num_bytes: got {flow.num_bytes}, more than {MOST_SEGMENTS} segments; raise segment_bytes"
            raise ValueError(msg)
        if flow.operations or flow.receiver or flow.user is not None or flow.sent_s is not None:
            check_ends(self, flow)
        route = self.routes.path(flow.source, flow.sink)
        now = self.agenda.env._now
        number = self.next_number
        self.next_number = number + 1
        sent_s = now if flow.sent_s is None else flow.sent_s
        deadline_s = flow.deadline_s if flow.deadline_s is not None else sent_s + self.promises[index]
        way = OnTheWay(flow, number, index, sent_s, deadline_s, now)
        self.ways[number] = way
        self.book.begin(index, flow.num_bytes, now)
        self._note_traffic(index, flow)
        if not self.active[index]:
            self._end(way, "slice not active")
            return number
        if route is None:
            self._end(way, "no route")
            return number
        size, left = self._segment_bytes, flow.num_bytes
        way.segments_left = -(-left // size)
        while left > 0:
            part = min(size, left)
            left -= part
            self.forward(Packet(way, 0.0, part, route, spans=[] if self._spans else None))
        return number

    def _note_traffic(self, index: int, flow: Flow) -> None:
        """Add a flow to what its slice asked for from that source to that sink."""
        totals = self.traffic.get((index, flow.source, flow.sink))
        if totals is None:
            totals = self.traffic[index, flow.source, flow.sink] = [0, 0, 0, 0.0]
        totals[0] += 1
        totals[1] += flow.num_bytes
        totals[2] += flow.num_bytes * flow.num_bytes
        totals[3] += flow.operations

    # --- a packet's journey ------------------------------------------------------------------------------

    def forward(self, packet: Packet) -> None:
        """Take a packet on from the node where it is."""
        route, hop = packet.route, packet.hop
        if hop + 1 < len(route):
            link = self.links[route[hop], route[hop + 1]]
            if not link.up:  # it failed while the packet was on its way there
                send_another_way(self, packet, route[hop])
                return
            packet.work = 8.0 * packet.num_bytes
            link.take(packet)
            return
        way = packet.way
        way.segments_left -= 1
        if way.segments_left or way.number not in self.ways:
            return
        flow = way.flow
        if flow.operations:
            packet.work = flow.operations
            self.servers[flow.sink].take(packet)
        else:
            self._arrived(packet)

    def _sent(self, packet: Packet) -> None:
        route, hop = packet.route, packet.hop
        packet.hop = hop + 1
        delay_s = self._delay_s[route[hop], route[hop + 1]]
        if packet.spans is not None:
            now = self.agenda.now
            packet.spans.append(("propagate", f"{route[hop]}->{route[hop + 1]}", now, now + delay_s))
        if delay_s:
            self.agenda.after(delay_s, self.arrive, packet)
        else:
            self.forward(packet)

    def arrive(self, packet: Packet) -> None:
        """Receive a packet at the next node of its route; called by the agenda."""
        if self.down and packet.route[packet.hop] in self.down:
            self.lose(packet, "failed")
        else:
            self.forward(packet)

    def _arrived(self, packet: Packet) -> None:
        """All of the flow is at its sink, and computed."""
        way = packet.way
        if way.flow.user is None:
            self._end(way, "delivered", packet)
            return
        radio_at(self.actors, way.flow.sink).deliver_to_user(way.number, way.flow, self.agenda.now)

    def radio_delivered(self, number: int, time_s: float) -> None:
        """End a flow whose last bytes reached their user at `time_s`; called by the radio."""
        way = self.ways.get(number)
        if way is not None:
            self._end(way, "delivered", ended_s=time_s)

    def radio_lost(self, number: int) -> None:
        """End a flow that the radio gave up."""
        way = self.ways.get(number)
        if way is not None:
            self._end(way, "cell full")

    def lose(self, packet: Packet, reason: str) -> None:
        """End the flow of a packet that cannot go on."""
        way = packet.way
        if way.number in self.ways:
            self._end(way, cast(Outcome, reason), packet)

    def _end(self, way: OnTheWay, outcome: Outcome, packet: Packet | None = None, ended_s: float | None = None) -> None:
        now = self.agenda.env._now
        ended_s = now if ended_s is None else ended_s
        flow = way.flow
        del self.ways[way.number]
        self.book.end(way, outcome, ended_s, now)
        if self.flow_records.maxlen != 0 or flow.receiver or self.trace is not None:
            spans = () if packet is None or packet.spans is None else tuple(packet.spans)
            record = FlowRecord(
                flow=flow, number=way.number, sent_s=way.sent_s, ended_s=ended_s, outcome=outcome, spans=spans
            )
            self.flow_records.append(record)
            if self.trace is not None:
                self._write_spans(record)
            if flow.receiver:
                self.actors[flow.receiver].receive(self, record)

    def _write_spans(self, record: FlowRecord) -> None:
        assert self.trace is not None
        name = record.flow.label or f"flow {record.number}"
        self.trace.span(record.flow.slice, name, record.sent_s, record.ended_s, outcome=record.outcome)
        for what, where, start_s, end_s in record.spans:
            self.trace.span(record.flow.slice, f"{what} {where}", start_s, end_s)

    # --- looking and changing ------------------------------------------------------------------------------

    def view(self, before: View | None = None, *, by: str = "") -> View:
        """Return what the network looks like now; windows are reckoned from `before`, `by` is who looks."""
        del by  # a network shows itself to everybody; a twin asks
        return View(
            time_s=self.now_s,
            slices={
                s.name: self.book.view(i, self.active[i], overdue)
                for i, (s, overdue) in enumerate(zip(self.slices, self.overdue(), strict=True))
            },
            ratios={domain: dict(shares) for domain, shares in self.ratios.items()},
            down=tuple(sorted(self.down)),
            queues={name: station.inside_bytes() for name, station in self.stations.items()},
            before=None if before is None else replace(before, before=None),
        )

    def overdue(self) -> list[int]:
        """Return for each slice how many flows are still on their way and should have arrived by now."""
        counts = [0] * len(self.slices)
        for way in self.ways.values():
            if way.deadline_s < self.now_s:
                counts[way.slice_index] += 1
        return counts

    def apply(self, action: Action, by: str = "operator") -> ActionRecord:
        """Do what is wished or refuse it; the record says which, and the run goes on."""
        if self.agenda.waking:
            self._refuse_while_waking("apply")
        return self._note(action, by, tried(self, action, by))

    def refuse(self, action: Action, reason: str, by: str) -> ActionRecord:
        """Record a wish that was refused before it could be tried: too late, or beyond what somebody may do."""
        return self._note(action, by, reason)

    def _note(self, action: Action, by: str, refused: str) -> ActionRecord:
        record = ActionRecord(time_s=self.now_s, by=by, action=action, refused=refused)
        self.actions.append(record)
        self.book.wishes += 1
        if self.trace is not None:
            self.trace.instant(by, f"{action}{' REFUSED: ' + refused if refused else ''}", self.now_s)
        return record

    def in_force(self, by: str) -> InForce:
        """Return the shares that an actor has put into force last, by domain and element.

        Raises:
            ValueError: There is no actor of that name.
        """
        if by not in self.actors:
            msg = f"in_force: got {by!r}, expected an actor{check.nearest(by, self.actors)}"
            raise ValueError(msg)
        return self.told.get(by, {})

    def seen(self, name: str = "") -> Any:
        """Return what an agent looks at: the twin of that name, or this network.

        Raises:
            ValueError: There is none of that name, or it shows nothing.
        """
        if name in {"", self.name}:
            return self
        if not hasattr(self.actors.get(name), "view"):
            twins = [other for other, actor in self.actors.items() if hasattr(actor, "view")]
            msg = f"sees: got {name!r}, expected a twin, one of {sorted(twins)}, or the network"
            raise ValueError(msg + check.nearest(name, twins))
        return self.actors[name]

    # --- time ----------------------------------------------------------------------------------------------

    def report(self) -> None:
        """Add a point to the time series; called by the agenda."""
        self.book.report(self.now_s, gauges_of(self), self.overdue())
        if self.trace is not None:
            for index, s in enumerate(self.slices):
                view = self.book.view(index, self.active[index])
                now_s = self.now_s
                self.trace.counter(s.name, "bytes inside", now_s, float(view.inside_bytes))
                self.trace.counter(s.name, "bytes delivered", now_s, float(view.delivered_bytes))
        next_s = (self.book.reports + 1) * self.book.report_s
        self.agenda.after(exact_delay(self.now_s, next_s), self.report)

    def run(self, until_s: float) -> Run:
        """Let the network live until `until_s` and return what has happened so far.

        Raises:
            ValueError: That time has passed.
        """
        check.finite(until_s=until_s)
        if not until_s > self.now_s:
            msg = f"until_s: got {until_s}, expected a time after now, {self.now_s} s"
            raise ValueError(msg)
        self.agenda.run(until_s)
        return run_of(self)

    def check(self) -> None:
        """Assert conservation of bytes and Little's law on every queue, in the air and for all flows.

        Raises:
            AssertionError: Something was lost or invented: a bug, never bad input.
        """
        for station in self.stations.values():
            station.account().check()
        for actor in self.actors.values():
            if hasattr(actor, "check"):
                actor.check()
        self.book.check(self.now_s, list(self.ways.values()))

    # --- written down and built again -----------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Write the network down; nothing in it is disturbed.

        Raises:
            RuntimeError: An actor waits for something that cannot be written down.
        """
        return Snapshot(self.now_s, dict(self.settings), dict(self.actors), written_state(self))

    @classmethod
    def restored(cls, snapshot: Snapshot) -> "Network":
        """Build the network that was written down: it goes on as that one did, to the last bit."""
        network = cls(**snapshot.settings)
        take_over(network, snapshot)
        return network
