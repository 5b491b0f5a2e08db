"""The twin of the infrastructure: what it knows, how old that is, who may see it, and what it foresees.

Level 3 of 3. It mirrors attributes of the network (see `infrastructure_attributes`), each by a sync rule of its own;
what one node has to say at one time goes as one message. The graph (topology, rates) is known from the start.
"""

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.slices import DOMAINS
from wirelesslab.network.source_streams import Memory
from wirelesslab.network.twins.access_policy import AccessPolicy, AuditLog, ReadCount, policy_or_open
from wirelesslab.network.twins.clones import Known
from wirelesslab.network.twins.forecasts import Forecaster, Persistence
from wirelesslab.network.twins.infrastructure_attributes import (
    ATTRIBUTES,
    BY_NODE,
    Message,
    News,
    compared,
    numbers,
    sensed,
)
from wirelesslab.network.twins.messages import Carriage, Mirror, Postbag
from wirelesslab.network.twins.sync import PeriodicSync, Sync
from wirelesslab.network.twins.traffic_history import TrafficHistory
from wirelesslab.network.twins.what_if import Rehearsal, Score, WhatIf, Wishes, rehearse
from wirelesslab.network.view import SliceView, View

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

__all__ = ["ATTRIBUTES", "SHOWN", "DigitalTwin"]

SHOWN = ("slices", "ratios", "down", "queues")  # in a view; traffic is what forecasts are made of
NUMBER_BYTES, HEADER_BYTES = 8, 40  # of a number in a message, and of the message; our choice


@dataclass
class _State:
    """All of the twin that changes."""

    memories: dict[str, Memory]  # of each attribute's rule
    sent: dict[str, NDArray[np.int64]]  # version that was sent last, by attribute and row
    mirrors: dict[str, Mirror]  # ages and versions, by attribute and row
    told: dict[str, list[Any]]  # what is known, by attribute and row; None if nothing
    bag: Postbag
    audit: AuditLog
    history: TrafficHistory


class DigitalTwin:
    """A delayed mirror of the network, as an actor; agents look at it instead of at the network.

    Args:
        period_s: From one update of an attribute to its next, unless `sync` says otherwise.
        delay_s: How long a message takes when no slice carries it.
        slice: Slice in which messages travel, as real traffic; "" is a line of delay `delay_s`.
        at: Node where the twin lives and messages go; "" is beside the network, without a slice only.
        core: Node where totals, shares and failures are known; the first of kind "core" unless given, else the first.
        scope: Nodes that a local twin mirrors; all when empty. Its queues, traffic and failures are theirs alone.
        attributes: What is mirrored, out of `ATTRIBUTES`.
        sync: When an attribute is sent, by name; rows are nodes for queues and traffic.
        policy: Who may read what.
        forecaster: What it expects of the traffic, from flows per second in past windows.
        window_s: Length of these windows.
        windows: How many it remembers.
        name: Name as an actor; the network gives one if there is none.

    Raises:
        ValueError: Unknown attributes, or numbers that make no sense.

    Examples:
        >>> from wirelesslab.network import EMBB, URLLC, Network, Poisson, metro
        >>> network = Network(metro(num_gnbs=3), (EMBB, URLLC))
        >>> twin = network.add(DigitalTwin(period_s=0.1, delay_s=0.02))
        >>> _ = network.run(until_s=0.55)
        >>> twin.view().time_s, round(twin.view().ages_s["queues"], 3)
        (0.5, 0.05)
    """

    def __init__(
        self,
        period_s: float = 0.1,
        delay_s: float = 0.0,
        *,
        slice: str = "",
        at: str = "",
        core: str = "",
        scope: Sequence[str] = (),
        attributes: Sequence[str] = ATTRIBUTES,
        sync: Mapping[str, Sync] | None = None,
        policy: AccessPolicy | None = None,
        forecaster: Forecaster | None = None,
        window_s: float = 1.0,
        windows: int = 100,
        name: str = "",
    ) -> None:
        check.positive(period_s=period_s, window_s=window_s)
        check.positive_integer(windows=windows)
        self.attributes, rules = tuple(attributes), dict(sync or {})
        for attribute in self.attributes:
            check.one_of(ATTRIBUTES, attribute=attribute)
        if not self.attributes or len(set(self.attributes)) < len(self.attributes):
            msg = f"attributes: got {self.attributes}, expected at least one and each once"
            raise ValueError(msg)
        for attribute, rule in rules.items():
            check.one_of(self.attributes, sync=attribute)
            if not hasattr(rule, "due"):
                msg = f"sync: got {rule!r} for {attribute}, expected a rule such as PeriodicSync(period_s=0.1)"
                raise TypeError(msg)
        if forecaster is not None and not hasattr(forecaster, "ahead"):
            msg = f"forecaster: got {forecaster!r}, expected one with ahead(history, steps), such as Persistence()"
            raise TypeError(msg)
        self.sync = {a: rules.get(a, PeriodicSync(period_s=period_s)) for a in self.attributes}
        self.carriage = Carriage(
            slice=slice, num_bytes=NUMBER_BYTES, header_bytes=HEADER_BYTES, delay_s=delay_s, label="twin sync"
        )
        if self.carriage.slice and not at:
            msg = f"at: got '', expected the node to which messages in the slice {self.carriage.slice} go"
            raise ValueError(msg)
        nodes = (scope,) if isinstance(scope, str) else tuple(scope)
        self.at, self.core, self.scope, self.name = at, core, tuple(dict.fromkeys(nodes)), name
        self.policy, self.forecaster = policy_or_open(policy), forecaster or Persistence()
        self.window_s, self.windows = window_s, windows
        self._network: Any = None

    # --- the actor -----------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`.

        Raises:
            ValueError: A node or slice is not of this network.
        """
        if self.carriage.slice:
            network.slice_index(self.carriage.slice)
        self.name = network.name_of(self)
        self._bind(network)
        now, rows = network.now_s, {a: len(self.places[a]) for a in self.attributes}
        self._state = _State(
            memories={
                a: rule.begin(network.rng("twins", self.name, "sync", a), rows[a], now) for a, rule in self.sync.items()
            },
            sent={a: np.zeros(num, np.int64) for a, num in rows.items()},
            mirrors={a: replace(Mirror.empty({"": np.zeros(num)}), values={}) for a, num in rows.items()},
            told={a: [None] * num for a, num in rows.items()},
            bag=Postbag(network.rng("twins", self.name, "air")),
            audit=AuditLog(self.name),
            history=TrafficHistory(self.window_s, self.windows, now),
        )
        network.agenda.after(0.0, self.tick)

    def _bind(self, network: "Network") -> None:
        self._network = network
        nodes = network.graph.nodes
        for node in (*self.scope, *filter(None, (self.at, self.core))):
            network.check_node(node)
        cores = [node for node in nodes if nodes[node]["kind"] == "core"]
        self.core = self.core or (cores or list(nodes))[0]
        inside = self.scope or tuple(nodes)
        self.places = {a: inside if a in BY_NODE else (self.core,) for a in self.attributes}

    def tick(self) -> None:
        """Send what is due; called by the agenda."""
        network, state = self._network, self._state
        now = network.now_s
        news: dict[str, list[News]] = {}
        for attribute, rule in self.sync.items():
            rows = rule.due(state.memories[attribute], now, lambda a=attribute: compared(network, a, self.places[a]))  # type: ignore[misc]
            for row in rows.tolist():
                state.sent[attribute][row] += 1
                node = self.places[attribute][row]
                value = sensed(network, attribute, node, self.scope)
                news.setdefault(node, []).append(News(attribute, row, int(state.sent[attribute][row]), value))
        for node, told in news.items():
            said = sum(numbers(one.value) for one in told)
            self.carriage.send(
                network, state.bag, self, Message(now, tuple(told)), source=node, sink=self.at or node, updates=said
            )
        next_s = min((rule.next_s(state.memories[a]) for a, rule in self.sync.items()), default=math.inf)
        if next_s < math.inf:
            network.agenda.after(exact_delay(now, next_s), self.tick)

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take a message that the slice carried, or learn that it was lost."""
        del network
        message = self._state.bag.taken(record)
        if message is not None:
            self._hear(message)

    def arrive(self, number: int) -> None:
        """Take a message that no slice carried; called by the agenda."""
        self._hear(self._state.bag.arrived(number))

    def _hear(self, message: Message) -> None:
        state, now = self._state, self._network.now_s
        for attribute, row, version, value in message.news:
            who = np.array([row])
            if not state.mirrors[attribute].take(who, np.array([version]), message.stamp_s, {}, now).size:
                continue
            state.told[attribute][row] = value
            if attribute == "traffic":
                state.history.take(self.places[attribute][row], message.stamp_s, value)

    # --- what is known ---------------------------------------------------------------------------------------

    def ages_s(self) -> Mapping[str, float]:
        """Return the age of each attribute, of its oldest part; inf while a part has not been heard of."""
        now = self._network.now_s
        return {a: float(mirror.ages_s(now).max(initial=0.0)) for a, mirror in self._state.mirrors.items()}

    def mean_ages_s(self) -> Mapping[str, float]:
        """Return the age of each attribute, the mean over time since it was first heard of, and over its parts."""
        now = self._network.now_s
        return {a: float(mirror.mean_ages_s(now).mean()) for a, mirror in self._state.mirrors.items()}

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages and bytes sent so far, messages lost in the network, and news overtaken by newer ones."""
        bag, mirrors = self._state.bag, self._state.mirrors.values()
        sent = {name: getattr(bag, name) for name in ("messages", "num_bytes", "lost_messages")}
        return {**sent, "overtaken": sum(mirror.overtaken for mirror in mirrors)}

    def gauges(self) -> Mapping[str, float]:
        """Return the age of each attribute, nan while it is not known, and what was sent."""
        ages = {f"age of {a} (s)": age if age < math.inf else math.nan for a, age in self.ages_s().items()}
        return {**ages, "bytes sent": float(self._state.bag.num_bytes)}

    def view(self, before: View | None = None, *, by: str = "") -> View:
        """Return what is known, as a window since `before`; its moment is that of the slices' totals.

        An actor that says what it `reads`, as agents do, is shown that and nothing else; others are shown what they
        may read. Before anything has come, it is an untouched network, as at time 0, of infinite age.

        Raises:
            AccessRefusedError: An actor reads what it may not; that is logged.
        """
        network, state, ages = self._network, self._state, self.ages_s()
        mirrored = tuple(a for a in SHOWN if a in self.attributes)
        shown = state.audit.shown_to(network.actors.get(by), mirrored, self.policy, by, network.now_s)
        moments = [state.mirrors[a].stamp_s.min() for a in self.attributes]
        moment = state.mirrors["slices"].stamp_s[0] if "slices" in self.attributes else max(moments)
        view = View(
            time_s=float(moment) if moment > -math.inf else 0.0,
            slices={}, ratios={}, ages_s={a: ages[a] for a in shown},
            before=None if before is None else replace(before, before=None),
        )  # fmt: skip
        if "slices" in shown:
            views = (SliceView(),) * len(network.slices) if (told := state.told["slices"][0]) is None else told[0]
            view = replace(view, slices={s.name: one for s, one in zip(network.slices, views, strict=True)})
        if "ratios" in shown:
            told = state.told["ratios"][0]
            promised = {domain: {s.name: s.ratio(domain) for s in network.slices} for domain in DOMAINS}
            view = replace(view, ratios=promised if told is None else {d: dict(r) for d, r in told[0].items()})
        if "down" in shown:
            view = replace(view, down=tuple(state.told["down"][0] or ()))
        if "queues" in shown:
            names = [s.name for s in network.slices]
            queues = {
                station: dict(zip(names, num_bytes, strict=True))
                for told in state.told["queues"]
                for station, (num_bytes, _) in (told or {}).items()
            }
            order = [name for name in network.stations if name in queues]
            view = replace(view, queues={name: queues[name] for name in order})
        return view

    def read(self, attribute: str, *, by: str = "") -> Mapping[str, Any]:
        """Return a copy of what is known of one attribute, by the node that told it; what was never told is missing.

        Raises:
            AccessRefusedError: `by` may not read it; that is logged.
            ValueError: It is not mirrored.
        """
        check.one_of(self.attributes, attribute=attribute)
        self._state.audit.read(self.policy, (attribute,), by, self._network.now_s)
        told = zip(self.places[attribute], self._state.told[attribute], strict=True)
        return {node: deepcopy(value) for node, value in told if value is not None}

    def reads(self) -> tuple[ReadCount, ...]:
        """Return who has asked for what, with counts."""
        return self._state.audit.table()

    # --- what would be ---------------------------------------------------------------------------------------

    def known(self, *, by: str = "") -> Known:
        """Return a copy of all that the twin knows: what `what_if` works from, and nothing else.

        Raises:
            AccessRefusedError: `by` may not read all of it; that is logged.
            ValueError: It mirrors a part of the network only, or has not heard of all of it yet.
        """
        missing = [a for a in ATTRIBUTES if a not in self.attributes]
        if self.scope or missing:
            what = f"the nodes {', '.join(self.scope)}" if self.scope else f"no {', '.join(missing)}"
            msg = f"what_if: {self.name} mirrors {what}, expected the whole network; ask a twin without a scope"
            raise ValueError(msg)
        self._state.audit.read(self.policy, ATTRIBUTES, by, self._network.now_s)
        ages, told, settings = self.ages_s(), self._state.told, self._network.settings
        unheard = [a for a in ATTRIBUTES if ages[a] == math.inf]
        if unheard:
            msg = f"what_if: {self.name} has not heard yet of {', '.join(unheard)}; ask when its first messages came"
            raise ValueError(msg)
        views, promises = told["slices"][0]
        domains, stations = told["ratios"][0]
        return deepcopy(
            Known(
                graph=settings["graph"], slices=settings["slices"], scheduler=settings["scheduler"],
                segment_bytes=settings["segment_bytes"], time_s=self._network.now_s, ages_s=ages,
                active=tuple(view.active for view in views), promises=promises, ratios=domains,
                ratios_of_stations=stations, down=told["down"][0],
                queues={name: inside for node in told["queues"] for name, inside in node.items()},
                offered=self._state.history.offered(), window_s=self.window_s,
            )
        )  # fmt: skip

    def what_if(
        self,
        action: Wishes,
        *,
        horizon_s: float = 1.0,
        futures: int = 8,
        seed: int = 0,
        by: str = "",
    ) -> WhatIf:
        """Return what the twin expects of an action, of several that are done at once, or of none.

        Nothing in the network changes but, if `by` is an actor, the log of who has read what.

        Args:
            action: The wish; None does nothing.
            horizon_s: How far it looks, from now on.
            futures: Independent futures; the same with the action and without.
            seed: Of the futures.
            by: Who asks, and would act.

        Raises:
            AccessRefusedError: `by` may not read all that the twin knows.
            ValueError: The twin does not know enough, or the action concerns the radio.
        """
        return self.what_ifs([action], horizon_s=horizon_s, futures=futures, seed=seed, by=by)[0]

    def what_ifs(
        self,
        actions: Sequence[Wishes],
        *,
        horizon_s: float = 1.0,
        futures: int = 8,
        seed: int = 0,
        by: str = "",
    ) -> tuple[WhatIf, ...]:
        """Return what the twin expects of each of several wishes, in the same futures; as `what_if`."""
        known = self.known(by=by)
        return rehearse(known, self.forecaster, actions, horizon_s=horizon_s, futures=futures, seed=seed, by=by)

    def best_of(
        self,
        actions: Sequence[Wishes],
        score: Score,
        *,
        horizon_s: float = 1.0,
        futures: int = 8,
        seed: int = 0,
        by: str = "",
    ) -> Rehearsal:
        """Return which of several wishes has the highest score; doing nothing is always one, and wins ties.

        Wishes that would be refused are never chosen. Raises as `what_if`.
        """
        tried = self.what_ifs([None, *actions], horizon_s=horizon_s, futures=futures, seed=seed, by=by)
        return Rehearsal.of(tried, score)

    # --- written down and built again -------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that changes, by reference; the network copies it."""
        return {"state": self._state}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "DigitalTwin":
        """Return this twin as it was when `state` was copied, in another network."""
        fresh = DigitalTwin(
            slice=self.carriage.slice, delay_s=self.carriage.delay_s, at=self.at, core=self.core, scope=self.scope,
            attributes=self.attributes, sync=self.sync, policy=self.policy, forecaster=self.forecaster,
            window_s=self.window_s, windows=self.windows, name=self.name,
        )  # fmt: skip
        fresh._bind(network)
        fresh._state = cast(_State, state["state"])
        return fresh
