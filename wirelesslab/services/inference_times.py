"""What a request takes: ways that nothing waits on, and the closed form of its mean delay under Poisson load.

The closed form adds an M/G/1 uplink, an M/D/1 server and a way back. It is exact where one of these holds, and each is
tested: requests are alike in size, whatever the loads (a tandem of constant servers delays as its slowest alone:
Friedman 1965); the server is faster than the shortest request's transmission, so that nothing can wait there; sizes
are exponential, so that what leaves the uplink is Poisson again (Burke 1956). With many clients on links of their own
the server's arrivals are nearly Poisson, and the sum is near.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from wirelesslab import check
from wirelesslab.network.routing import Routes
from wirelesslab.network.theory import md1_wait, mg1_wait
from wirelesslab.network.topology import Graph

Case = Literal["nothing waits at the server", "alike in size", "poisson at the server"]
CASES: tuple[Case, ...] = ("nothing waits at the server", "alike in size", "poisson at the server")


@dataclass(frozen=True)
class Way:
    """A way through a network of which nothing has failed.

    Attributes:
        seconds_per_bit: Of each link.
        propagation_s: Of all links.
        segment_bytes: Length of a segment; links store a segment and forward it.
    """

    seconds_per_bit: tuple[float, ...]
    propagation_s: float
    segment_bytes: int

    @classmethod
    def along(cls, routes: Routes, source: str, sink: str, segment_bytes: int) -> "Way":
        """Return the way that a flow takes by these routes.

        Raises:
            ValueError: There is none.
        """
        path = routes.path(source, sink)
        if path is None:
            msg = f"way: got {source!r} and {sink!r}, expected nodes with a way from one to the other; add links"
            raise ValueError(msg)
        links = [routes.graph.edges[link] for link in pairwise(path)]
        return cls(
            tuple(1 / link["rate_bps"] for link in links), float(sum(link["delay_s"] for link in links)), segment_bytes
        )

    def least_s(self, num_bytes: int) -> float:
        """Return the least time that bytes need: exactly what they take alone if they are one segment."""
        if not self.seconds_per_bit:
            return 0.0
        last = num_bytes % self.segment_bytes or min(num_bytes, self.segment_bytes)
        whole = 8 * (num_bytes - last) * max(self.seconds_per_bit)
        return whole + 8 * last * sum(self.seconds_per_bit) + self.propagation_s


class Ways:
    """The ways of a graph of which nothing has failed, worked out when they are asked for.

    Args:
        graph: Of the network.
        segment_bytes: Of the network.
    """

    def __init__(self, graph: Graph, segment_bytes: int) -> None:
        self.segment_bytes = segment_bytes
        self._routes = Routes(graph)
        self._found: dict[tuple[str, str], Way] = {}

    def between(self, source: str, sink: str) -> Way:
        """Return a way.

        Raises:
            ValueError: There is none.
        """
        if (source, sink) not in self._found:
            self._found[source, sink] = Way.along(self._routes, source, sink, self.segment_bytes)
        return self._found[source, sink]


@dataclass(frozen=True, kw_only=True)
class RequestTime:
    """The mean delay of requests that come as a Poisson process over one uplink to one server, without batches.

    Attributes:
        rate_per_s: Requests per second of all clients together.
        uplink_s: Times in which requests pass the uplink, equally likely, shape (images,).
        compute_s: Of one request.
        downlink_s: Of one answer, which never waits: at most `compute_s`, or the shortest `uplink_s` of a single link.
        propagation_s: There and back.
        num_uplinks: Links of their own on which clients are spread evenly; above 1 the sum is near, not exact.
    """

    rate_per_s: float
    uplink_s: Sequence[float]
    compute_s: float
    downlink_s: float = 0.0
    propagation_s: float = 0.0
    num_uplinks: int = 1

    def __post_init__(self) -> None:
        check.positive(rate_per_s=self.rate_per_s, compute_s=self.compute_s)
        check.positive_integer(num_uplinks=self.num_uplinks)
        check.within(0, np.inf, downlink_s=self.downlink_s, propagation_s=self.propagation_s)
        apart_s = max(self.compute_s, min(self.uplink_s) if self.num_uplinks == 1 else 0.0)
        if self.downlink_s > apart_s:
            msg = (
                f"downlink_s: got {self.downlink_s:g}, expected at most {apart_s:g}: answers would wait for one another"
            )
            raise ValueError(msg)

    @property
    def case(self) -> Case:
        """Which of the exact cases it is; the last one is near unless sizes are exponential."""
        times_s = np.asarray(self.uplink_s, float)
        if self.num_uplinks == 1 and self.compute_s <= times_s.min():
            return CASES[0]
        if self.num_uplinks == 1 and np.ptp(times_s) == 0:
            return CASES[1]
        return CASES[2]

    @property
    def parts_s(self) -> dict[str, float]:
        """Mean of each span: uplink and downlink with their propagation, waiting for the server, compute."""
        times_s = np.asarray(self.uplink_s, float)
        mean_s = float(times_s.mean())
        up_wait_s = mg1_wait(self.rate_per_s / self.num_uplinks, mean_s, float(times_s.var()) / mean_s**2)
        alone_s = md1_wait(self.rate_per_s, self.compute_s)
        case = self.case
        if case == CASES[0]:
            queue_s = 0.0
        elif case == CASES[1]:  # the whole tandem waits as the slowest alone would, wherever that is
            queue_s = max(alone_s, up_wait_s) - up_wait_s
        else:
            queue_s = alone_s
        return {
            "uplink": up_wait_s + mean_s + self.propagation_s / 2, "queue": queue_s, "compute": self.compute_s,
            "downlink": self.downlink_s + self.propagation_s / 2,
        }  # fmt: skip

    @property
    def mean_s(self) -> float:
        """The mean delay."""
        return float(sum(self.parts_s.values()))

    @property
    def loads(self) -> dict[str, float]:
        """Load of each uplink and of the server."""
        mean_s = float(np.mean(self.uplink_s))
        return {"uplink": self.rate_per_s / self.num_uplinks * mean_s, "server": self.rate_per_s * self.compute_s}


def most_per_s(uplink_s: ArrayLike, compute_s: float, *, max_size: int = 1, overhead_s: float = 0.0) -> float:
    """Return the most requests per second that an uplink and a server with batches can carry: the bottleneck's.

    Examples:
        >>> round(most_per_s([2e-3], 1e-3), 9), round(most_per_s([1e-3], 1e-3, max_size=4, overhead_s=4e-3), 9)
        (500.0, 500.0)
    """
    check.positive_integer(max_size=max_size)
    return min(1 / float(np.asarray(uplink_s, float).mean()), 1 / (compute_s + overhead_s / max_size))
