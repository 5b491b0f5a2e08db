"""What is to be placed and where it could go: kinds of services, hosts, the ways to them and the delays over them.

A service sends requests (Poisson) from its gNB to its host, where each is computed. It gets shares of its own on
every link of the way and at the host, larger than its mean use by 1 / utilisation. Its delay is then its own
affair, and known: see `Ways.delay_s`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.routing import Routes
from wirelesslab.network.theory import md1_wait
from wirelesslab.network.topology import Graph, check_graph, metro

MOST = 2**62  # of whole units in a share or a capacity, so that int64 sums stay exact


@dataclass(frozen=True, kw_only=True)
class ServiceKind:
    """Services of one kind; the numbers of the default kinds are our choice.

    Attributes:
        name: For tables.
        requests_per_s: Of one service, Poisson.
        bytes_per_request: From the gNB to the host.
        operations_per_request: Computed at the host; the way back is not counted.
        delay_bound_s: Largest mean delay of a request, from its sending to its having been computed.
        value: Paid once, when the service is hosted.
        mean_life_s: Mean of the exponential time for which it lives.
        weight: How often it comes, beside the other kinds.
    """

    name: str
    requests_per_s: float
    bytes_per_request: int
    operations_per_request: float
    delay_bound_s: float
    value: float
    mean_life_s: float
    weight: float = 1.0

    def __post_init__(self) -> None:
        check.positive(
            requests_per_s=self.requests_per_s, operations_per_request=self.operations_per_request,
            delay_bound_s=self.delay_bound_s, value=self.value, mean_life_s=self.mean_life_s, weight=self.weight,
        )  # fmt: skip
        check.positive_integer(bytes_per_request=self.bytes_per_request)

    def shares(self, utilisation: float) -> tuple[int, int]:
        """Return the operations per second and bits per second that it gets, whole numbers, rounded up."""
        used = self.requests_per_s / utilisation
        return math.ceil(used * self.operations_per_request), math.ceil(used * 8 * self.bytes_per_request)


CONTROL = ServiceKind(
    name="control", requests_per_s=1000.0, bytes_per_request=1_000, operations_per_request=6e8, delay_bound_s=2.5e-3,
    value=6.0, mean_life_s=60.0, weight=3.0,
)  # fmt: skip
VISION = ServiceKind(
    name="vision", requests_per_s=60.0, bytes_per_request=100_000, operations_per_request=2e10, delay_bound_s=0.07,
    value=5.0, mean_life_s=60.0, weight=2.0,
)  # fmt: skip
ANALYTICS = ServiceKind(
    name="analytics", requests_per_s=12.0, bytes_per_request=1_000_000, operations_per_request=2e11, delay_bound_s=1.0,
    value=3.0, mean_life_s=60.0, weight=3.0,
)  # fmt: skip
KINDS = (CONTROL, VISION, ANALYTICS)


@dataclass(frozen=True, kw_only=True)
class PlacementConfig:
    """What comes, and what it is worth.

    Attributes:
        kinds: Of services.
        arrivals_per_s: Services that come in a second, over all gNBs alike.
        utilisation: Share of its shares that a service uses on average.
        delay_price: Paid for a delay as long as the bound, in proportion for a shorter one.
        refusal_price: Paid for a service that is not hosted.
        horizon: Services in an episode.
    """

    kinds: tuple[ServiceKind, ...] = KINDS
    arrivals_per_s: float = 1.0
    utilisation: float = 0.6
    delay_price: float = 1.0
    refusal_price: float = 0.5
    horizon: int = 200

    def __post_init__(self) -> None:
        if not self.kinds:
            msg = "kinds: got none, expected at least one ServiceKind"
            raise ValueError(msg)
        check.positive(arrivals_per_s=self.arrivals_per_s)
        check.positive_integer(horizon=self.horizon)
        check.within(0.01, 0.99, utilisation=self.utilisation)
        check.within(0, 1e6, delay_price=self.delay_price, refusal_price=self.refusal_price)

    @property
    def kind_probs(self) -> NDArray[np.float64]:
        """How often each kind comes, shape (kinds,)."""
        weights = np.array([kind.weight for kind in self.kinds])
        return np.asarray(weights / weights.sum())


def placement_metro(num_gnbs: int = 8, num_edges: int = 4) -> Graph:
    """Return the default place: a metro ring of small edges, and a large cloud behind a narrow core (our choice)."""
    return metro(
        num_gnbs, num_edges, access_bps=2e9, ring_bps=2e9, core_bps=1e9, edge_operations_per_s=1e13, edge_servers=1,
        cloud_operations_per_s=2e14, cloud_servers=1, cloud_distance_m=300e3,
    )  # fmt: skip


class Ways:
    """The hosts of a graph, the shortest way from every gNB to each, and what there is on them.

    Args:
        graph: A topology with gNBs, and with nodes that compute: the hosts.
        config: What comes.

    Attributes:
        nodes: Of the graph, by name.
        links: Of the graph, as pairs of names.
        gnbs: Nodes where services come.
        hosts: Nodes that compute.
        room_operations_per_s: Of each host, whole numbers, shape (hosts,).
        room_bps: Of each link, whole numbers, shape (links,).
        on_way: Places of the links on the way, by gNB and host.
        uses: The same as a table, shape (gNBs, hosts, links).
        hops: Links on the way, shape (gNBs, hosts); -1 where there is none.
        propagation_s: Along the way, shape (gNBs, hosts); inf where there is none.
        delay_s: Mean delay of a request if it is hosted there, shape (gNBs, kinds, hosts).
        operations_per_s: Share of each kind at its host, shape (kinds,).
        bps: Share of each kind on every link of its way, shape (kinds,).

    Raises:
        ValueError: There is no gNB, or nothing computes.
    """

    def __init__(self, graph: Graph, config: PlacementConfig) -> None:
        check_graph(graph)
        self.graph, self.config = graph, config
        self.nodes: tuple[str, ...] = tuple(graph)
        self.links: tuple[tuple[str, str], ...] = tuple(graph.edges)
        self.gnbs = tuple(n for n, kind in graph.nodes(data="kind") if kind == "gnb")
        self.hosts = tuple(n for n, speed in graph.nodes(data="operations_per_s") if speed)
        if not self.gnbs or not self.hosts:
            msg = f"graph: got gNBs {self.gnbs} and hosts {self.hosts}, expected one of each; say operations_per_s"
            raise ValueError(msg)
        speeds = [graph.nodes[h]["operations_per_s"] * graph.nodes[h].get("num_servers", 1) for h in self.hosts]
        self.room_operations_per_s = _whole(speeds, "operations_per_s")
        self.room_bps = _whole([graph.edges[link]["rate_bps"] for link in self.links], "rate_bps")
        shares = np.array([kind.shares(config.utilisation) for kind in config.kinds], np.int64)
        self.operations_per_s, self.bps = shares[:, 0], shares[:, 1]
        place = {link: i for i, link in enumerate(self.links)}
        routes = Routes(graph)
        size = (len(self.gnbs), len(self.hosts))
        self.uses = np.zeros((*size, len(self.links)), bool)
        self.hops = np.full(size, -1, np.int64)
        self.propagation_s = np.full(size, np.inf)
        self.on_way: list[list[NDArray[np.int64]]] = []
        for g, gnb in enumerate(self.gnbs):
            row = []
            for h, host in enumerate(self.hosts):
                path = routes.path(gnb, host)
                links = [] if path is None else [place[link] for link in pairwise(path)]
                if path is not None:
                    self.hops[g, h], self.propagation_s[g, h] = len(links), routes.propagation_s(path)
                    self.uses[g, h, links] = True
                row.append(np.array(links, np.int64))
            self.on_way.append(row)
        self.delay_s = np.array([
            [[self._delay_s(g, kind, h) for h in range(size[1])] for kind in range(len(config.kinds))]
            for g in range(size[0])
        ])  # fmt: skip

    def _delay_s(self, gnb: int, kind: int, host: int) -> float:
        r"""Return the mean delay of a request over its own shares.

        Equal requests cross servers that take constant times $s_i$ one after the other. Only before the
        slowest do they ever wait, as if it stood alone: $D = d + \sum_i s_i + W(\lambda, \max_i s_i)$ with propagation
        $d$ and the wait $W$ of M/D/1.

        References:
            Friedman, "Reduction methods for tandem queuing systems", Operations Research 13, 1965.
        """
        if self.hops[gnb, host] < 0:
            return math.inf
        what = self.config.kinds[kind]
        times = [8 * what.bytes_per_request / int(self.bps[kind])] * int(self.hops[gnb, host])
        times.append(what.operations_per_request / int(self.operations_per_s[kind]))
        return float(self.propagation_s[gnb, host]) + sum(times) + md1_wait(what.requests_per_s, max(times))


def _whole(values: Sequence[float], name: str) -> NDArray[np.int64]:
    """Return capacities as whole numbers, rounded down: what is given back is then exactly what was taken."""
    if max(values) > MOST:
        msg = f"{name}: got {max(values):g}, expected at most {MOST:g}; count in larger units"
        raise ValueError(msg)
    return np.array([math.floor(value) for value in values], np.int64)
