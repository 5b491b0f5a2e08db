"""Who is next: the order in which a link or a server serves the slices that wait for it.

To add a rule, write a frozen config with `begin` and `pick` and name it in `SCHEDULERS`; its
specs (conservation, work conservation, isolation) run by themselves. How a divisible resource is shared,
instead of taken in turns, is `shares`; how users of a cell take turns, `slots`.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from wirelesslab.network.flows import Packet
from wirelesslab.network.slices import Slice

Memory = dict[str, Any]
Queues = Sequence[deque[Packet]]


class Scheduler(Protocol):
    """Chooses which slice's first packet is served next.

    Inside a slice packets are first come, first served, or, where `by_deadline` says so, in the order of their
    deadlines; then a full buffer gives up the least urgent packet instead of the latest one.
    """

    @property
    def by_deadline(self) -> bool:
        """Whether a slice's queue is kept in the order of deadlines."""
        ...

    def begin(self, slices: tuple[Slice, ...]) -> Memory:
        """Return what the rule remembers, as data."""
        ...

    def pick(self, memory: Memory, waiting: Sequence[int], queues: Queues) -> int:
        """Return which of the slices `waiting` (never empty, ascending) is served next."""
        ...


@dataclass(frozen=True)
class FirstComeFirstServed:
    """One queue for all: the oldest packet of all slices."""

    by_deadline: ClassVar[bool] = False

    def begin(self, slices: tuple[Slice, ...]) -> Memory:
        """Remember nothing."""
        del slices
        return {}

    def pick(self, memory: Memory, waiting: Sequence[int], queues: Queues) -> int:
        """Return the slice whose first packet came first."""
        del memory
        return min(waiting, key=lambda index: queues[index][0].came_s)


@dataclass(frozen=True)
class RoundRobin:
    """One packet of each slice in turn."""

    by_deadline: ClassVar[bool] = False

    def begin(self, slices: tuple[Slice, ...]) -> Memory:
        """Remember whose turn it was."""
        return {"last": len(slices) - 1}

    def pick(self, memory: Memory, waiting: Sequence[int], queues: Queues) -> int:
        """Return the next slice after the last one served."""
        del queues
        last = memory["last"]
        memory["last"] = chosen = next((index for index in waiting if index > last), waiting[0])
        return chosen


@dataclass(frozen=True)
class WeightedFair:
    """Shares in proportion to the slices' weights, packet by packet.

    Slice i's first packet starts, in virtual time, at $S_i = max(v, F_i)$; the smallest start is next, v becomes
    it, and $F_i = S_i + bits / w_i$. What is served out of a guarantee or by a server of its own is not counted: that
    comes on top, and a packet that was dropped costs nothing.

    References:
        Goyal, Vin and Cheng, "Start-time fair queueing", SIGCOMM 1996.
    """

    by_deadline: ClassVar[bool] = False

    def begin(self, slices: tuple[Slice, ...]) -> Memory:
        """Remember the virtual time and where each slice's last packet ended in it."""
        return {"virtual": 0.0, "ends": [0.0] * len(slices), "weights": [s.weight for s in slices]}

    def pick(self, memory: Memory, waiting: Sequence[int], queues: Queues) -> int:
        """Return the slice whose first packet starts first; among equals, whoever came first."""
        virtual, ends = memory["virtual"], memory["ends"]
        if len(waiting) == 1:
            chosen = waiting[0]
        else:
            chosen = min(waiting, key=lambda index: (max(virtual, ends[index]), queues[index][0].came_s))
        memory["virtual"] = start = max(virtual, ends[chosen])
        ends[chosen] = start + queues[chosen][0].work / memory["weights"][chosen]
        return chosen


@dataclass(frozen=True)
class StrictPriority:
    """Always the slice with the smallest `priority`; a packet in service is not interrupted."""

    by_deadline: ClassVar[bool] = False

    def begin(self, slices: tuple[Slice, ...]) -> Memory:
        """Remember the priorities."""
        return {"rank": [s.priority for s in slices]}

    def pick(self, memory: Memory, waiting: Sequence[int], queues: Queues) -> int:
        """Return the most urgent slice; among equals, whoever came first."""
        rank = memory["rank"]
        return min(waiting, key=lambda index: (rank[index], queues[index][0].came_s))


@dataclass(frozen=True)
class EarliestDeadline:
    """The packet whose deadline comes first, of all slices; without deadlines, first come, first served."""

    by_deadline: ClassVar[bool] = True

    def begin(self, slices: tuple[Slice, ...]) -> Memory:
        """Remember nothing."""
        del slices
        return {}

    def pick(self, memory: Memory, waiting: Sequence[int], queues: Queues) -> int:
        """Return the slice whose first packet is due first."""
        del memory
        return min(waiting, key=lambda index: (queues[index][0].way.deadline_s, queues[index][0].came_s))


SCHEDULERS: tuple[type[Scheduler], ...] = (
    FirstComeFirstServed,
    RoundRobin,
    WeightedFair,
    StrictPriority,
    EarliestDeadline,
)
