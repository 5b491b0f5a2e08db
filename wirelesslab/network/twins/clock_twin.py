"""The smallest twin there is: at one node it mirrors the clock of another.

What it knows is the time, so its error is its age, and every closed form of ages can be held against it.
"""

import math
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.source_streams import Memory
from wirelesslab.network.twins.messages import Carriage, Mirror, Postbag
from wirelesslab.network.twins.sync import Sync

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

ONE = np.array([0])


@dataclass
class _State:
    """All of the twin that changes."""

    memory: Memory
    bag: Postbag
    mirror: Mirror
    sent: NDArray[np.int64]


class ClockTwin:
    """Mirrors the clock of a node, as an actor.

    Args:
        sync: When the clock is read and sent.
        carriage: What carries it.
        source: Node whose clock it is.
        at: Node where the twin lives.
        name: Name as an actor.

    Examples:
        >>> from wirelesslab.network import EMBB, Network, line
        >>> from wirelesslab.network.twins.sync import PeriodicSync
        >>> network = Network(line(num_links=1, rate_bps=8e3), (EMBB,))
        >>> carriage = Carriage(slice="embb", num_bytes=100)  # a tenth of a second on the link
        >>> twin = network.add(ClockTwin(PeriodicSync(period_s=1.0), carriage, source="edge-1", at="edge-2"))
        >>> _ = network.run(until_s=5.5)
        >>> twin.age_s, round(twin.mean_age_s, 2)
        (0.5, 0.58)
    """

    def __init__(self, sync: Sync, carriage: Carriage, *, source: str, at: str, name: str = "clock-twin") -> None:
        self.sync, self.carriage, self.source, self.at, self.name = sync, carriage, source, at, name

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`.

        Raises:
            ValueError: A node or the slice is not of this network.
        """
        network.check_node(self.source)
        network.check_node(self.at)
        if self.carriage.slice:
            network.slice_index(self.carriage.slice)
        self._network = network
        self._state = network.record(self.name, self._begin)
        self._sleep()

    def _begin(self) -> _State:
        network = self._network
        return _State(
            memory=self.sync.begin(network.rng("twins", self.name, "sync"), 1, network.now_s),
            bag=Postbag(network.rng("twins", self.name, "air")), mirror=Mirror.empty({"time_s": np.zeros((1, 1))}),
            sent=np.zeros(1, np.int64),
        )  # fmt: skip

    def _sleep(self) -> None:
        next_s = self.sync.next_s(self._state.memory)
        if next_s < math.inf:
            self._network.agenda.after(exact_delay(self._network.now_s, next_s), self.tick)

    def tick(self) -> None:
        """Send the time, if it is due; called by the agenda."""
        now, state = self._network.now_s, self._state
        if self.sync.due(state.memory, now, lambda: np.array([now])).size:
            state.sent += 1
            said = (now, state.sent.copy()) if self.carriage.heard(state.bag, 1)[0] else None
            self.carriage.send(self._network, state.bag, self, said, source=self.source, sink=self.at)
        self._sleep()

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take a message that a slice carried, or learn that it was lost."""
        del network
        self._take(self._state.bag.taken(record))

    def arrive(self, number: int) -> None:
        """Take a message that no slice carried; called by the agenda."""
        self._take(self._state.bag.arrived(number))

    def _take(self, said: tuple[float, NDArray[np.int64]] | None) -> None:
        if said is not None:
            stamp_s, version = said
            self._state.mirror.take(ONE, version, stamp_s, {"time_s": np.array([[stamp_s]])}, self._network.now_s)

    # --- what is known ---------------------------------------------------------------------------------------

    @property
    def age_s(self) -> float:
        """How old what it knows is; inf before the first message."""
        return float(self._state.mirror.ages_s(self._network.now_s)[0])

    @property
    def age_integral(self) -> float:
        """The exact integral of the age since the first message: the area of its sawtooth."""
        return float(self._state.mirror.age_integrals(self._network.now_s)[0])

    @property
    def mean_age_s(self) -> float:
        """The mean age since the first message; nan before."""
        return float(self._state.mirror.mean_ages_s(self._network.now_s)[0])

    @property
    def bag(self) -> Postbag:
        """What is under way, and counts of what was sent and lost: the record itself, to look at."""
        return self._state.bag

    @property
    def mirror(self) -> Mirror:
        """What is known: the record itself, to look at."""
        return self._state.mirror

    def gauges(self) -> Mapping[str, float]:
        """Return the age; nan before the first message."""
        return {"age (s)": self.age_s if self.age_s < math.inf else math.nan}

    # --- written down and built again ---------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return nothing: all that changes is in the network's record of this name."""
        return {}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "ClockTwin":
        """Return this twin in another network, which has its record."""
        del state
        fresh = copy(self)
        fresh._network = network
        fresh._state = network.record(self.name, lambda: self._state)
        return fresh
