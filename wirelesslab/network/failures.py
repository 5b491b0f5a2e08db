"""What breaks, and when it comes back: planned outages, and elements that fail at random."""

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

import numpy as np

from wirelesslab import check
from wirelesslab.network.view import SetUp

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network, Story


@dataclass(frozen=True, kw_only=True)
class Outage:
    """An element that is out of service from one time to another.

    Attributes:
        element: A link such as "gnb-1->edge-1", or a node; a cell fails with its gNB.
        start_s: When it fails.
        end_s: When it is back; inf never.
        name: Its name as an actor.
    """

    element: str
    start_s: float
    end_s: float = inf
    name: str = ""

    def __post_init__(self) -> None:
        check.within(0, inf, start_s=self.start_s)
        if not self.start_s < self.end_s:
            msg = f"end_s: got {self.end_s}, expected a time after start_s={self.start_s}"
            raise ValueError(msg)

    def run(self, network: "Network") -> "Story":
        """Fail, and come back."""
        name = network.name_of(self)
        network.check_element(self.element)
        done = network.record(name, lambda: {"changes": 0})
        for number, (time_s, up) in enumerate(((self.start_s, False), (self.end_s, True))):
            if done["changes"] <= number and time_s < inf:
                yield network.until(time_s)
                done["changes"] = number + 1
                network.apply(SetUp(element=self.element, up=up), by=name)


@dataclass
class _Repairs:
    """When the element changes next, and where its randomness stands."""

    up: bool
    next_s: float
    rng: np.random.Generator


@dataclass(frozen=True, kw_only=True)
class RandomFailures:
    """An element that works and fails in turns, both for exponential times.

    Attributes:
        element: A link or a node.
        mean_up_s: Mean time between a repair and the next failure.
        mean_down_s: Mean time to repair.
        name: Its name as an actor.
    """

    element: str
    mean_up_s: float
    mean_down_s: float
    name: str = ""

    def __post_init__(self) -> None:
        check.positive(mean_up_s=self.mean_up_s, mean_down_s=self.mean_down_s)

    def run(self, network: "Network") -> "Story":
        """Fail and come back, for ever."""
        name = network.name_of(self)
        network.check_element(self.element)

        def begin() -> _Repairs:
            rng = network.rng("failures", name)
            return _Repairs(True, network.now_s + rng.exponential(self.mean_up_s), rng)

        state = network.record(name, begin)
        while True:
            yield network.until(state.next_s)
            state.up = not state.up
            state.next_s += state.rng.exponential(self.mean_up_s if state.up else self.mean_down_s)
            network.apply(SetUp(element=self.element, up=state.up), by=name)


FAILURES = (Outage, RandomFailures)
