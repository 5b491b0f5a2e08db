"""The twin of a slice: what its members' twins come to together, gathered from the edges where they live.

Level 2 of 3. Each edge adds up the twins that are live there and sends the sums to the slice twin's node, as traffic of
a slice. At the edge the sums are exact; what the slice twin shows is as old as its messages are, and says so.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from math import inf, nan
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.twins.access_policy import AccessPolicy, AuditLog, policy_or_open
from wirelesslab.network.twins.aggregates import MEMBER_ATTRIBUTES, TOTALS, Aggregate, totals_of, view_of
from wirelesslab.network.twins.messages import Carriage, Postbag
from wirelesslab.network.view import View

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network
    from wirelesslab.network.twins.users import UserTwins

SHOWN = ("slices", "ratios")  # in a view
SLICE_ATTRIBUTES = tuple(Aggregate.__dataclass_fields__)
Key = tuple[str, int]  # slice, place of an edge


@dataclass(frozen=True)
class _Part:
    """What an edge says of a slice."""

    round: int
    sums: Aggregate
    ratios: dict[Any, Any]
    noticed: "_Noticed"


@dataclass
class _Noticed:
    """What an edge has noticed so far of what a slice's members say; it never falls, wherever they go."""

    by_cell: NDArray[np.int64]  # bytes, where their users were then
    totals: NDArray[np.float64]  # see TOTALS


@dataclass
class _State:
    """All of a slice twin that changes."""

    start_s: float
    rounds: int
    slices: tuple[str, ...]
    parts: dict[Key, _Part]
    noticed: dict[Key, _Noticed]
    counted: NDArray[np.float64]  # of each user's TOTALS, what has been noticed
    shown_s: float  # the time of what is shown: 0 of nothing; it never goes back
    windows: deque[tuple[float, dict[str, NDArray[np.int64]]]]
    bag: Postbag
    audit: AuditLog


class SliceTwin:
    """The twin of one slice, or of several, as an actor.

    Args:
        twins: The members' `UserTwins`, or their name; they live on the network already, and mirror at least
            "cell", "demand", "served" and "delay".
        slices: Names of the slices.
        at: Node where it lives; "" beside the network, which no slice's traffic can reach.
        every_s: From one message of each edge to the next, and the length of a window of the history.
        carriage: What carries the messages.
        history: Windows that are kept.
        policy: Who may read; everybody everything when None.
        name: Name as an actor.

    Raises:
        ValueError: Numbers that make no sense, or a slice's traffic to nowhere.

    Examples:
        >>> from wirelesslab.network import EMBB, Cells, Demand, Feed, Network, PeriodicSync, Poisson, metro
        >>> from wirelesslab.network import SlotAccess, SlotRadio, UserTwins
        >>> access = SlotAccess(SlotRadio(), (EMBB,), cells=[0, 0, 1], slice_of=[0, 0, 0], mean_snr=[10.0] * 3)
        >>> network = Network(metro(num_gnbs=2), (EMBB,))
        >>> demand = Demand(slice="embb", model=Poisson(rate_per_s=50.0, num_bytes=1000))
        >>> cells = network.add(Cells(access, ("gnb-1", "gnb-2"), (demand,)))
        >>> told = Carriage(slice="embb", num_bytes=32, header_bytes=40)
        >>> feed = Feed(attributes=MEMBER_ATTRIBUTES, sync=PeriodicSync(period_s=0.2), carriage=told)
        >>> twins = network.add(UserTwins(cells, (feed,)))
        >>> twin = network.add(SliceTwin(twins, "embb", every_s=0.1))
        >>> _ = network.run(until_s=1.15)
        >>> sums = twin.sums("embb")
        >>> sums.users, sums.aligned, sums.users_by_cell.tolist()
        (3, True, [2, 1])
        >>> sums.offered_bytes == int(twins.values("demand")[:, 0].sum()), twins.counts["messages"]
        (True, 12)
    """

    def __init__(
        self,
        twins: "UserTwins | str",
        slices: str | Sequence[str],
        *,
        at: str = "",
        every_s: float = 1.0,
        carriage: Carriage | None = None,
        history: int = 256,
        policy: AccessPolicy | None = None,
        name: str = "slice-twin",
    ) -> None:
        check.positive(every_s=every_s)
        check.positive_integer(history=history)
        self.twins_name = twins if isinstance(twins, str) else twins.name
        self._first = (slices,) if isinstance(slices, str) else tuple(getattr(s, "name", s) for s in slices)
        self.at, self.every_s, self.carriage = at, every_s, carriage or Carriage(num_bytes=200)
        self.history_windows, self.policy, self.name = history, policy_or_open(policy), name
        if len(set(self._first)) < len(self._first):
            msg = f"slices: got {self._first}, expected each once"
            raise ValueError(msg)
        if self.carriage.slice and not at:
            msg = f"at: got '', expected the node to which the slice {self.carriage.slice} carries messages"
            raise ValueError(msg)

    # --- the actor -------------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`.

        Raises:
            ValueError: Twins, slices or the node are not of this network, or the twins do not mirror what it takes.
            AccessRefusedError: It may not read of its members what it adds up.
        """
        self._bind(network)
        for name in (*self._first, self.carriage.slice):
            if name:
                network.slice_index(name)
        if self.at:
            network.check_node(self.at)
        for attribute in MEMBER_ATTRIBUTES:
            self._twins.mirror(attribute)
        self._twins.asked(MEMBER_ATTRIBUTES, by=self.name)
        self._state = network.record(self.name, self._begin)
        network.agenda.after(0.0, self.tick)

    def _begin(self) -> _State:
        return _State(
            start_s=self._network.now_s, rounds=0, slices=self._first, parts={}, noticed={},
            counted=np.zeros((self._twins.num_users, len(TOTALS))), shown_s=0.0,
            windows=deque(maxlen=self.history_windows + 1),
            bag=Postbag(self._network.rng("twins", self.name, "air")), audit=AuditLog(self.name),
        )  # fmt: skip

    def _bind(self, network: "Network") -> None:
        self._network = network
        twins = network.actors.get(self.twins_name)
        if not hasattr(twins, "mirror"):
            msg = f"twins: got {self.twins_name!r}, expected the name of UserTwins that live here; add them first"
            raise ValueError(msg)
        self._twins: UserTwins = cast("UserTwins", twins)

    def tick(self) -> None:
        """Close a window, and let every edge say what its twins come to; called by the agenda."""
        network, state, twins = self._network, self._state, self._twins
        now = network.now_s
        state.windows.append((now, {name: self._demand_by_cell(name) for name in state.slices}))
        state.rounds += 1
        twins.asked(MEMBER_ATTRIBUTES, by=self.name, routine=True)
        slice_of = twins.slice_of
        ratios = {domain: dict(shares) for domain, shares in network.ratios.items()}
        for edge, node in enumerate(twins.edges):
            here = twins.live_at(edge)
            for name in state.slices:
                who = here[slice_of[here] == network.slice_index(name)]
                part = _Part(state.rounds, Aggregate.of(twins, who), ratios, self._notice((name, edge), who))
                heard = bool(self.carriage.heard(state.bag, 1)[0])
                payload = ((name, edge), part) if heard else None
                self.carriage.send(network, state.bag, self, payload, source=node, sink=self.at)
        network.agenda.after(exact_delay(now, state.start_s + state.rounds * self.every_s), self.tick)

    def _notice(self, key: Key, who: NDArray[np.int64]) -> _Noticed:
        """Add what members have said since they were last counted, wherever that was; return all so far."""
        state, twins = self._state, self._twins
        nothing = _Noticed(np.zeros(twins.num_cells, np.int64), np.zeros(len(TOTALS)))
        noticed, said = state.noticed.setdefault(key, nothing), totals_of(twins, who)
        news = said - state.counted[who]
        np.add.at(noticed.by_cell, twins.mirror("cell").values["cell"][who, 0], news[:, 0].astype(np.int64))
        noticed.totals += news.sum(axis=0)
        state.counted[who] = said
        return deepcopy(noticed)

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take a message of an edge, or learn that it was lost."""
        del network
        self._take(self._state.bag.taken(record))

    def arrive(self, number: int) -> None:
        """Take a message that no slice carried; called by the agenda."""
        self._take(self._state.bag.arrived(number))

    def _take(self, payload: Any) -> None:
        if payload is None:
            return
        key, part = payload
        known = self._state.parts.get(key)
        if key[0] in self._state.slices and (known is None or part.round > known.round):
            self._state.parts[key] = part
            self._state.shown_s = float(np.fmax(self._state.shown_s, self.sums().mean_s))

    # --- what is known ----------------------------------------------------------------------------------------

    @property
    def slices(self) -> tuple[str, ...]:
        """Whose twin it is."""
        return self._state.slices

    @property
    def counts(self) -> Mapping[str, int]:
        """Messages and bytes sent so far, updates lost in the air, messages lost in the network."""
        bag = self._state.bag
        return {k: getattr(bag, k) for k in ("messages", "num_bytes", "lost_updates", "lost_messages")}

    def sums(self, *slices: str) -> Aggregate:
        """Return what is known of slices together; of all of them if none is named.

        Raises:
            ValueError: It is not the twin of such a slice.
        """
        for name in slices:
            check.one_of(self.slices, slices=name)
        wanted = slices or self.slices
        parts = (part.sums for (name, _), part in self._state.parts.items() if name in wanted)
        return Aggregate.joined(parts, self._twins.num_cells)

    def age_s(self, *slices: str) -> float:
        """Return the age of the oldest thing in `sums`; inf if nothing is known."""
        oldest_s = self.sums(*slices).oldest_s
        return self._network.now_s - oldest_s if oldest_s < inf else inf

    def read(self, attribute: str, *, by: str) -> dict[str, Any]:
        """Return a figure of each slice's `sums`, to somebody who may read it; asking is logged.

        Raises:
            ValueError: There is no such figure.
            AccessRefusedError: `by` may not read it; that is logged too.
        """
        check.one_of(SLICE_ATTRIBUTES, attribute=attribute)
        self._state.audit.read(self.policy, (attribute,), by, self._network.now_s)
        return {name: getattr(self.sums(name), attribute) for name in self.slices}

    def history(self, slice_name: str) -> NDArray[np.int64]:
        """Return the bytes that members said in each cell, window by window, shape (T, cells): for forecasts.

        A byte belongs to the cell where its user was when an edge first heard of it, and to the window in which
        this twin did.

        Raises:
            ValueError: It is not the twin of that slice.
        """
        check.one_of(self.slices, slice_name=slice_name)
        nothing = np.zeros(self._twins.num_cells, np.int64)
        rows = np.array([so_far.get(slice_name, nothing) for _, so_far in self._state.windows])
        return np.diff(rows.reshape(-1, nothing.size), axis=0)

    def _demand_by_cell(self, name: str) -> NDArray[np.int64]:
        parts = (part.noticed.by_cell for (of, _), part in self._state.parts.items() if of == name)
        return sum(parts, np.zeros(self._twins.num_cells, np.int64))

    def view(self, before: View | None = None, *, by: str = "") -> View:
        """Return the slices as policies see them; its moment is the mean time at which their totals were so.

        Totals are of all that members ever said, so that they never fall: `sums` lacks those who are under way to
        another edge. An actor that says what it `reads`, as agents do, is shown that and nothing else; others are
        shown what they may read. A window begins anew when slices were merged or split.

        Raises:
            AccessRefusedError: An actor reads what it may not; that is logged.
        """
        state, network = self._state, self._network
        shown = state.audit.shown_to(network.actors.get(by), SHOWN, self.policy, by, network.now_s)
        latest = max(state.parts.values(), key=lambda part: part.round, default=None)
        slices = self.slices if "slices" in shown else ()
        same = before is not None and set(before.slices) == set(slices)
        return View(
            time_s=state.shown_s,
            slices={name: view_of(self._totals(name)) for name in slices},
            ratios={d: dict(r) for d, r in latest.ratios.items()} if latest and "ratios" in shown else {},
            ages_s={name: self.age_s() for name in shown},
            before=replace(before, before=None) if before is not None and same else None,
        )

    def _totals(self, name: str) -> NDArray[np.float64]:
        parts = (part.noticed.totals for (of, _), part in self._state.parts.items() if of == name)
        return sum(parts, np.zeros(len(TOTALS)))

    def gauges(self) -> Mapping[str, float]:
        """Return users, what waits and the age of what is known, of all slices together; nan if nothing is known."""
        sums, age_s = self.sums(), self.age_s()
        return {
            "users": float(sums.users),
            "bytes waiting": float(sums.waiting_bytes),
            "age (s)": age_s if age_s < inf else nan,
        }

    # --- merged and split -------------------------------------------------------------------------------------

    def merge(self, other: "SliceTwin") -> None:
        """Take over the slices of another slice twin, which is left with none; what is on its way to it is not taken.

        Raises:
            ValueError: The other is this one, lives elsewhere or has other members.
        """
        if other is self or (other.at, other.twins_name) != (self.at, self.twins_name):
            msg = f"merge: got {other.name} at {other.at!r} of {other.twins_name}, expected another one of "
            raise ValueError(msg + f"{self.twins_name} at {self.at!r}")
        self._take_over(other, other.slices)

    def split(self, *slices: str, name: str) -> "SliceTwin":
        """Give slices to a new slice twin that lives at the same node; returns it.

        Raises:
            ValueError: It is not the twin of such a slice, or the name is taken.
        """
        for one in slices:
            check.one_of(self.slices, slices=one)
        fresh = SliceTwin(
            self.twins_name, (), at=self.at, every_s=self.every_s, carriage=self.carriage,
            history=self.history_windows, policy=self.policy, name=name,
        )  # fmt: skip
        self._network.add(fresh)
        fresh._take_over(self, slices)
        return fresh

    def _take_over(self, other: "SliceTwin", slices: tuple[str, ...]) -> None:
        mine, theirs = self._state, other._state
        indices = [self._network.slice_index(name) for name in slices]
        theirs.slices = tuple(name for name in theirs.slices if name not in slices)
        mine.slices += slices
        for kept, given in ((mine.parts, theirs.parts), (mine.noticed, theirs.noticed)):
            moved = {key: cast("dict[Key, Any]", given).pop(key) for key in list(given) if key[0] in slices}
            cast("dict[Key, Any]", kept).update(moved)
        for key, part in mine.parts.items():
            if key[0] in slices:  # rounds are counted by each twin for itself
                mine.parts[key] = replace(part, round=min(part.round, mine.rounds))
        own = np.isin(self._twins.slice_of, indices)
        mine.counted[own] = theirs.counted[own]
        mine.shown_s = max(mine.shown_s, theirs.shown_s)

    # --- written down and built again ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return nothing: all that changes is in the network's record of this name."""
        return {}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "SliceTwin":
        """Return this twin in another network, which has its record."""
        del state
        fresh = copy(self)
        fresh._bind(network)
        fresh._state = network.record(self.name, lambda: self._state)
        return fresh
