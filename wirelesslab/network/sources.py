"""Traffic on the graph: one source at a node, sending flows to another node."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.flows import Flow
from wirelesslab.network.slices import Slice
from wirelesslab.network.source_streams import Memory

if TYPE_CHECKING:
    from wirelesslab.network.arrivals import TrafficModel
    from wirelesslab.network.simulation import Network, Story

AHEAD = 256  # arrivals drawn at once


@dataclass
class _Arrivals:
    """What a source has drawn ahead, and where it stands."""

    memory: Memory
    rng: np.random.Generator
    times_s: NDArray[np.float64]
    num_bytes: NDArray[np.int64]
    start_s: float
    position: int = 0


@dataclass(frozen=True)
class Placed:
    """Where a traffic model's flows go; without a slice it is a law only, for users of a radio.

    Attributes:
        slice: Slice of its flows, or its name.
        source: Node that sends.
        sink: Node that receives.
        label: What its flows are called in records and traces.
        name: Its name as an actor.
    """

    slice: Slice | str = ""
    source: str = ""
    sink: str = ""
    label: str = ""
    name: str = ""

    def run(self, network: "Network") -> "Story":
        """Send a flow at each arrival.

        Raises:
            ValueError: Slice, source or sink are not given, or not of this network.
        """
        name = network.name_of(self)
        slice_name = self.slice.name if isinstance(self.slice, Slice) else self.slice
        for what, value in (("slice", slice_name), ("source", self.source), ("sink", self.sink)):
            if not value:
                msg = f"{what}: {name} has none; say {type(self).__name__}(slice, source=..., sink=..., ...)"
                raise ValueError(msg)
        state = network.record(name, lambda: self._begin(network, name))
        while state.times_s.size:
            while state.position < state.times_s.size:
                yield network.until(float(state.times_s[state.position]))
                network.send(
                    Flow(
                        slice=slice_name, num_bytes=int(state.num_bytes[state.position]), source=self.source,
                        sink=self.sink, label=self.label,
                    )
                )  # fmt: skip
                state.position += 1
            self._draw(state)

    def _begin(self, network: "Network", name: str) -> _Arrivals:
        model: TrafficModel = self  # type: ignore[assignment]
        rng = network.rng("traffic", name)
        state = _Arrivals(model.begin(rng, 1), rng, np.zeros(0), np.zeros(0, np.int64), network.now_s)
        self._draw(state)
        return state

    def _draw(self, state: _Arrivals) -> None:
        model: TrafficModel = self  # type: ignore[assignment]
        times_s, state.num_bytes = model.ahead(state.rng, state.memory, AHEAD)
        state.times_s, state.position = times_s + state.start_s, 0
