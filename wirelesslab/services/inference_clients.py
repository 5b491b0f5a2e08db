"""Clients of an inference service, as arrays: when they ask about what, and what they have learnt of the edge."""

from dataclasses import dataclass, field
from math import exp, inf

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.arrivals import TrafficModel, due
from wirelesslab.network.source_streams import Memory

LOOK_AHEAD_S = 0.1  # arrivals are drawn for so long at once
NEWS = 0.3  # weight of the latest answer in what a client expects of the edge: our choice


@dataclass
class Arrivals:
    """Who asks when about which image: drawn ahead in blocks, so what a policy does never changes them.

    Attributes:
        rng: Of arrivals and images.
        start_s: When the traffic model's time began.
        memory: Of the traffic model; empty without one.
        whens_s: Of the block.
        whos: Clients.
        whats: Images.
        place: The next one of the block.
    """

    rng: np.random.Generator
    start_s: float
    memory: Memory
    whens_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    whos: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    whats: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    place: int = 0

    def next_s(self, traffic: TrafficModel | None, num_images: int) -> float:
        """Return when the next request comes, inf never."""
        if self.place == len(self.whens_s):
            first_s = float(self.memory["next_s"].min()) if self.memory else inf
            if traffic is None or first_s == inf:
                return inf
            self.whos, _, whens_s = due(traffic, self.rng, self.memory, first_s + LOOK_AHEAD_S)
            self.whens_s, self.place = whens_s + self.start_s, 0
            self.whats = self.rng.integers(num_images, size=len(self.whos))
        return float(self.whens_s[self.place])

    def take(self) -> tuple[int, int]:
        """Return client and image of the request that has come."""
        self.place += 1
        return int(self.whos[self.place - 1]), int(self.whats[self.place - 1])


@dataclass
class EdgeNews:
    """What answers of the edge took longer than without load, as each client has seen it; silence is news, too.

    The mean forgets exponentially in the number of answers and in time, so that who once met a crowd tries again.

    Attributes:
        memory_s: After which 63 % is forgotten.
        excess_s: By client, when it was seen.
        seen_s: When that was.
        unheard: By number of a request, whose it is, and what its answer will have taken longer when it ceases to be of
            use.
    """

    memory_s: float
    excess_s: NDArray[np.float64]
    seen_s: NDArray[np.float64]
    unheard: dict[int, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def none(cls, memory_s: float, num_clients: int) -> "EdgeNews":
        """Return that nobody knows anything."""
        return cls(memory_s, np.zeros(num_clients), np.zeros(num_clients))

    def expected_s(self, client: int, now: float) -> float:
        """Return what a client expects now."""
        return float(self.excess_s[client]) * exp(-(now - float(self.seen_s[client])) / self.memory_s)

    def hear(self, number: int, client: int, excess_s: float, now: float) -> None:
        """Note what an answer took longer."""
        self.unheard.pop(number, None)
        self.excess_s[client] = (1 - NEWS) * self.expected_s(client, now) + NEWS * max(excess_s, 0.0)
        self.seen_s[client] = now

    def miss(self, number: int, now: float) -> None:
        """Note that an answer has not come in time, if so: that it took so much longer counts in full."""
        if number in self.unheard:
            client, excess_s = self.unheard.pop(number)
            self.excess_s[client] = max(self.expected_s(client, now), excess_s)
            self.seen_s[client] = now
