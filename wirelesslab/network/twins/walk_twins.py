"""Twins of things that wander: each mirrors the place of one, and how often each is told can be set.

A thing walks at random in the plane (Brownian motion), so that its twin's mean squared error is its weight, in square
metres per second, times the twin's age. How far it had strayed each time the twin was told tells the weight, roughly.
"""

import math
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.source_streams import Memory
from wirelesslab.network.twins.messages import Carriage, Mirror, Postbag
from wirelesslab.network.twins.sync import RatedSync
from wirelesslab.network.view import SyncView, View

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


@dataclass
class WalkState:
    """All of the twins that changes, N of them.

    Attributes:
        memory: Of the rule that says when.
        bag: What is under way.
        mirror: What is known: "position", shape (N, 2).
        place_m: Where things were when they were last sent or looked at, shape (N, 2).
        moved_s: When that was, shape (N,).
        sent: Version that was sent last, shape (N,).
        strayed: Sum of how far each had strayed when it was told, squared and per second; older ones fade. Shape (N,).
        heard: How many times that is, older ones counting less, shape (N,).
        rng: Of the walks.
        due: Number on the agenda of the next time that somebody is sent; -1 if none is.
    """

    memory: Memory
    bag: Postbag
    mirror: Mirror
    place_m: NDArray[np.float64]
    moved_s: NDArray[np.float64]
    sent: NDArray[np.int64]
    strayed: NDArray[np.float64]
    heard: NDArray[np.float64]
    rng: np.random.Generator
    due: int = -1


class WalkTwins:
    """Mirrors the places of things that wander, as an actor.

    Args:
        weights: Mean squared straying per second of each thing, m^2/s, shape (N,): four times its
            diffusion coefficient.
        sync: When each is sent; its rates can be set, by `SetSync`.
        carriage: What carries the news.
        source: Node where the things are seen.
        at: Node where the twins live.
        memory: By what each measured straying counts less with each later one, in (0, 1).
        ages_s: How old what is known at the beginning is, shape (N,); none means that it is new.
        name: Name as an actor.

    Examples:
        >>> from wirelesslab.network import EMBB, Network, SetSync, line
        >>> network = Network(line(num_links=1, rate_bps=1e6), (EMBB,))
        >>> twins = WalkTwins((1.0, 9.0), RatedSync(rates_per_s=(2.0, 2.0), budget_per_s=4.0),
        ...                   Carriage(slice="embb"), source="edge-1", at="edge-2")
        >>> _ = network.add(twins)
        >>> network.apply(SetSync(twin="walk-twins", rates_per_s=(1.0, 3.0))).refused
        ''
        >>> network.apply(SetSync(twin="walk-twins", rates_per_s=(1.0, 4.0))).refused[:20]
        'rates_per_s: sum to '
        >>> _ = network.run(until_s=500.0)
        >>> (twins.mirror.mean_ages_s(500.0) * [1.0, 3.0]).round(1).tolist()
        [1.0, 1.0]
    """

    def __init__(
        self,
        weights: Sequence[float],
        sync: RatedSync,
        carriage: Carriage,
        *,
        source: str,
        at: str,
        memory: float = 0.97,
        ages_s: Sequence[float] = (),
        name: str = "walk-twins",
    ) -> None:
        self.weights = check.array(weights, (None,), "things", name="weights").astype(float)
        if not self.weights.size or not self.weights.min() >= 0 or not np.isfinite(self.weights).all():
            msg = "weights: got none or not all finite and at least 0, expected the squared straying of each per second"
            raise ValueError(msg)
        check.within(0, 1, memory=memory)
        self.ages_s = check.array(
            ages_s if len(ages_s) else np.zeros(self.weights.size), self.weights.shape, "things", name="ages_s"
        )
        self.sync, self.carriage, self.source, self.at = sync, carriage, source, at
        self.kept, self.name = memory, name
        self._weights = self.weights.tolist()  # reading a list costs less than reading an array

    # --- the actor -----------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`.

        Raises:
            ValueError: A node or the slice is not of this network, or there are not as many rates as things.
        """
        network.check_node(self.source)
        network.check_node(self.at)
        if self.carriage.slice:
            network.slice_index(self.carriage.slice)
        self._network = network
        self._state = network.record(self.name, self._begin)
        self._sleep()

    def _begin(self) -> WalkState:
        network, num, now = self._network, self.weights.size, self._network.now_s
        walks = network.rng("twins", self.name, "walks")
        mirror = Mirror.empty({"position": np.zeros((num, 2))})
        mirror.take(np.arange(num), np.ones(num, np.int64), now, {}, now)
        mirror.stamp_s -= self.ages_s
        return WalkState(
            memory=self.sync.begin(network.rng("twins", self.name, "sync"), num, now),
            bag=Postbag(network.rng("twins", self.name, "air")), mirror=mirror,
            place_m=walks.standard_normal((num, 2)) * np.sqrt(self.weights * self.ages_s / 2)[:, None],
            moved_s=np.full(num, now), sent=np.ones(num, np.int64), strayed=np.zeros(num), heard=np.zeros(num),
            rng=walks,
        )  # fmt: skip

    def _sleep(self) -> None:
        next_s = self.sync.next_s(self._state.memory)
        self._state.due = -1
        if next_s < math.inf:
            self._state.due = self._network.agenda.after(exact_delay(self._network.now_s, next_s), self.tick)

    def _look(self, one: int, now: float) -> tuple[float, float]:
        """Let a thing walk until now; return where it is."""
        state, place_m = self._state, self._state.place_m[one]
        spread_m = math.sqrt(0.5 * self._weights[one] * (now - float(state.moved_s[one])))
        x_m, y_m = (float(at) + spread_m * state.rng.standard_normal() for at in place_m.tolist())
        place_m[0], place_m[1], state.moved_s[one] = x_m, y_m, now
        return x_m, y_m

    def tick(self) -> None:
        """Send whose turn it is; called by the agenda."""
        network, state = self._network, self._state
        now = network.now_s
        for one in self.sync.due(state.memory, now, _nothing).tolist():
            state.sent[one] += 1
            said = (one, int(state.sent[one]), now, self._look(one, now))
            payload = said if not self.carriage.loss or self.carriage.heard(state.bag, 1)[0] else None
            self.carriage.send(network, state.bag, self, payload, source=self.source, sink=self.at)
        self._sleep()

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take a message that the slice carried, or learn that it was lost."""
        del network
        self._hear(self._state.bag.taken(record))

    def arrive(self, number: int) -> None:
        """Take a message that no slice carried; called by the agenda."""
        self._hear(self._state.bag.arrived(number))

    def _hear(self, said: tuple[int, int, float, tuple[float, float]] | None) -> None:
        if said is None:
            return
        state, (one, version, stamp_s, (x_m, y_m)) = self._state, said
        mirror = state.mirror
        known_m, span_s = mirror.values["position"][one].tolist(), stamp_s - float(mirror.stamp_s[one])
        place_m = {"position": np.array([[x_m, y_m]])}
        if mirror.take(np.array([one]), np.array([version]), stamp_s, place_m, self._network.now_s).size and span_s > 0:
            strayed = ((x_m - known_m[0]) ** 2 + (y_m - known_m[1]) ** 2) / span_s
            state.strayed[one] = self.kept * float(state.strayed[one]) + strayed
            state.heard[one] = self.kept * float(state.heard[one]) + 1

    def set_rates(self, rates_per_s: ArrayLike, /) -> None:
        """Let things be sent at these rates from now on; called for `SetSync`.

        Raises:
            ValueError: As `RatedSync.checked` says; nothing has changed.
        """
        self.sync.set_rates(self._state.memory, rates_per_s, self._network.now_s)
        self._network.agenda.cancel(self._state.due)
        self._sleep()

    # --- what is known ---------------------------------------------------------------------------------------

    @property
    def bag(self) -> Postbag:
        """What is under way, and counts of what was sent and lost: the record itself, to look at."""
        return self._state.bag

    @property
    def mirror(self) -> Mirror:
        """What is known: the record itself, to look at."""
        return self._state.mirror

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        """Updates per second of each thing, as they are set, shape (N,)."""
        return np.array(self._state.memory["rate_per_s"])

    @property
    def strayed(self) -> NDArray[np.float64]:
        """Sum of each twin's squared straying per second, m^2/s, when it was told, older ones faded; shape (N,)."""
        return self._state.strayed.copy()

    @property
    def heard(self) -> NDArray[np.float64]:
        """How many times `strayed` is the sum of, older ones counting less, shape (N,)."""
        return self._state.heard.copy()

    def view(self, before: View | None = None, *, by: str = "") -> View:
        """Return how each thing is told, at once, and nothing else; `by` is who looks: anybody may."""
        del by
        state, now = self._state, self._network.now_s
        ages_s = state.mirror.ages_s(now)
        told = SyncView(
            ages_s=tuple(ages_s.tolist()), rates_per_s=tuple(state.memory["rate_per_s"].tolist()),
            strayed=tuple(state.strayed.tolist()), heard=tuple(state.heard.tolist()),
        )  # fmt: skip
        return View(
            time_s=now, slices={}, ratios={}, ages_s={"syncs": float(ages_s.max())}, syncs={self.name: told},
            before=None if before is None else replace(before, before=None),
        )  # fmt: skip

    def truth_m(self) -> NDArray[np.float64]:
        """Return where things are now, shape (N, 2): for judges, and for who sits where the things are."""
        now = self._network.now_s
        return np.array([self._look(one, now) for one in range(self.weights.size)])

    def errors_m(self) -> NDArray[np.float64]:
        """Return how far what is known is from where things are now, shape (N,): for judges."""
        return np.asarray(np.sqrt(np.square(self.truth_m() - self.mirror.values["position"]).sum(axis=1)))

    def gauges(self) -> Mapping[str, float]:
        """Return the mean and the greatest age, and the messages lost."""
        ages_s = self.mirror.ages_s(self._network.now_s)
        lost = float(self.bag.lost_messages)
        return {"mean age (s)": float(ages_s.mean()), "greatest age (s)": float(ages_s.max()), "messages lost": lost}

    # --- written down and built again ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return nothing: all that changes is in the network's record of this name."""
        return {}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "WalkTwins":
        """Return these twins in another network, which has their record."""
        del state
        fresh = copy(self)
        fresh._network = network
        fresh._state = network.record(self.name, lambda: self._state)
        return fresh


def _nothing() -> NDArray[np.float64]:
    return np.zeros(0)
