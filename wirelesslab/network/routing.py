"""Which way traffic goes: shortest paths on what is up, spread over ways that cost the same."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from heapq import heappop, heappush
from itertools import islice, pairwise
from typing import Literal

import networkx as nx

from wirelesslab import check
from wirelesslab.network.topology import Graph
from wirelesslab.rng import canonical

Weight = Literal["delay", "hops", "transfer"]
WEIGHTS: tuple[Weight, ...] = ("delay", "hops", "transfer")
SAME = 1e-9  # relative difference up to which two costs are one: far above rounding, far below meaning

Path = tuple[str, ...]
Link = tuple[str, str]


@dataclass(frozen=True)
class _Tree:
    """From every node that reaches a sink: cost and hops to it, and the neighbours to go to next."""

    cost: dict[str, float]
    hops: dict[str, int]
    onward: dict[str, tuple[str, ...]]


class Routes:
    """The routes of a graph without its failed parts. Nothing changes in it: after a failure make a new one.

    Costs are read once, when it is made; trees towards a sink are computed on first use (Dijkstra) and
    kept, so asking again is a dictionary look-up. Ties go to the way of fewest hops, then to the
    node that the graph names first; with a `flow`, they are spread by a hash.
    """

    def __init__(
        self,
        graph: Graph,
        down_nodes: Iterable[str] = frozenset(),
        down_links: Iterable[Link] = frozenset(),
        *,
        weight: Weight = "delay",
        num_bytes: int = 0,
    ) -> None:
        """Read the graph.

        Args:
            graph: A topology (see `topology.check_graph`).
            down_nodes: Failed nodes.
            down_links: Failed links, each direction by itself.
            weight: What is least: propagation delay; hops; or, for "transfer", delay plus the time in
                which `num_bytes` pass each link, one after another (store and forward).
            num_bytes: Of a transfer.

        Raises:
            ValueError: A failed node or link that the graph does not have, or an unknown weight.
        """
        check.one_of(WEIGHTS, weight=weight)
        check.non_negative_integer(num_bytes=num_bytes)
        self.graph, self.weight, self.num_bytes = graph, weight, num_bytes
        self.down_nodes, self.down_links = frozenset(down_nodes), frozenset(down_links)
        for node in self.down_nodes:
            self._check_node("down_nodes", node)
        for link in self.down_links:
            if link not in graph.edges:
                msg = f"down_links: got {link!r}, expected links of the graph as (from, to)"
                raise ValueError(msg)
        self._order = {node: place for place, node in enumerate(graph)}
        self._delay_s: dict[Link, float] = {}
        self._cost: dict[Link, float] = {}
        self._into: dict[str, list[str]] = {node: [] for node in graph}
        self._out: dict[str, list[str]] = {node: [] for node in graph}
        for tail, head, attributes in graph.edges(data=True):
            if (tail, head) in self.down_links or self.down_nodes & {tail, head}:
                continue
            delay_s = attributes["delay_s"]
            cost = 1.0 if weight == "hops" else delay_s
            if weight == "transfer":
                cost += 8 * num_bytes / attributes["rate_bps"]
            self._delay_s[tail, head], self._cost[tail, head] = delay_s, cost
            self._into[head].append(tail)
            self._out[tail].append(head)
        self._trees: dict[str, _Tree] = {}
        self._paths: dict[Link, Path | None] = {}

    def path(self, source: str, sink: str, flow: int | str | None = None) -> Path | None:
        """Return the nodes from `source` to `sink`, or None when they are cut off from each other.

        Args:
            source: Where it begins.
            sink: Where it ends.
            flow: Number or name of a flow. At each node the flow's hash picks one of the ways on that
                cost the same, as routers do: a flow stays on its path, many flows spread.

        Raises:
            ValueError: A node that the graph does not have.
        """
        if flow is None and (source, sink) in self._paths:
            return self._paths[source, sink]
        self._check_node("source", source)
        self._check_node("sink", sink)
        tree = self._tree(sink)
        if source not in tree.cost:
            found: Path | None = None
        else:
            nodes = [source]
            while nodes[-1] != sink:
                ways = tree.onward[nodes[-1]]
                nodes.append(ways[0] if flow is None or len(ways) == 1 else ways[_hash(flow, nodes[-1]) % len(ways)])
            found = tuple(nodes)
        if flow is None:
            self._paths[source, sink] = found
        return found

    def cost(self, source: str, sink: str) -> float:
        """Return the cost of the best way (seconds or hops), inf when there is none."""
        self._check_node("source", source)
        self._check_node("sink", sink)
        return self._tree(sink).cost.get(source, math.inf)

    def propagation_s(self, path: Path) -> float:
        """Return the propagation delay along a path, its links added up from source to sink.

        Raises:
            ValueError: The path uses a link that is not there or down.
        """
        for link in pairwise(path):
            if link not in self._delay_s:
                msg = f"path: got the link {link!r}, expected links that are up; ask for the path again"
                raise ValueError(msg)
        return float(sum(self._delay_s[link] for link in pairwise(path)))

    def round_trip_s(self, first: str, second: str) -> float:
        """Return the propagation delay there and back, each on its own route; inf when either is cut off."""
        there, back = self.path(first, second), self.path(second, first)
        if there is None or back is None:
            return math.inf
        return self.propagation_s(there) + self.propagation_s(back)

    def best_paths(self, source: str, sink: str, num: int) -> list[Path]:
        """Return the `num` best paths without loops, the best first; fewer when there are no more.

        References: Yen, "Finding the k shortest loopless paths in a network", Management Science 17(11), 1971.
        """
        check.positive_integer(num=num)
        self._check_node("source", source)
        self._check_node("sink", sink)
        if self.path(source, sink) is None:
            return []
        if source == sink:
            return [(source,)]
        up = nx.DiGraph()
        up.add_weighted_edges_from(((*link, cost) for link, cost in self._cost.items()), weight="cost")
        return [tuple(nodes) for nodes in islice(nx.shortest_simple_paths(up, source, sink, weight="cost"), num)]

    def without(self, down_nodes: Iterable[str] = (), down_links: Iterable[Link] = ()) -> "Routes":
        """Return the routes when these have failed as well."""
        nodes, links = self.down_nodes | frozenset(down_nodes), self.down_links | frozenset(down_links)
        return Routes(self.graph, nodes, links, weight=self.weight, num_bytes=self.num_bytes)

    def _check_node(self, name: str, node: str) -> None:
        if node not in self.graph:
            msg = f"{name}: got {node!r}, expected a node of the graph{check.nearest(str(node), map(str, self.graph))}"
            raise ValueError(msg)

    def _tree(self, sink: str) -> _Tree:
        """Return the tree towards a sink: Dijkstra on the reversed links, by cost and then by hops."""
        if sink in self._trees:
            return self._trees[sink]
        cost: dict[str, float] = {}
        hops: dict[str, int] = {}
        best: dict[str, tuple[float, int]] = {sink: (0.0, 0)}
        heap = [(0.0, 0, self._order[sink], sink)] if sink not in self.down_nodes else []
        while heap:
            node_cost, node_hops, _, node = heappop(heap)
            if node in cost:
                continue
            cost[node], hops[node] = node_cost, node_hops
            for tail in self._into[node]:
                offer = (node_cost + self._cost[tail, node], node_hops + 1)
                if tail not in cost and offer < best.get(tail, (math.inf, 0)):
                    best[tail] = offer
                    heappush(heap, (*offer, self._order[tail], tail))
        onward = {node: self._onward(node, cost, hops) for node in cost if node != sink}
        self._trees[sink] = _Tree(cost, hops, onward)
        return self._trees[sink]

    def _onward(self, node: str, cost: dict[str, float], hops: dict[str, int]) -> tuple[str, ...]:
        """Return the neighbours on ways of least cost, the shortest in hops first."""
        here = cost[node]
        ways = [
            head
            for head in self._out[node]
            if head in cost
            and self._cost[node, head] + cost[head] <= here * (1 + SAME)
            # strictly nearer, by cost or else by hops: links of cost 0 make no loops
            and (cost[head], hops[head]) < (here, hops[node])
        ]
        return tuple(sorted(ways, key=lambda head: (hops[head], self._order[head])))


def shortest_path(graph: Graph, source: str, sink: str, weight: Weight = "delay", *, num_bytes: int = 0) -> Path | None:
    """Return the best path once; for many questions about one graph make `Routes`.

    Examples:
        >>> from wirelesslab.network.topology import metro
        >>> shortest_path(metro(), "gnb-1", "cloud")
        ('gnb-1', 'edge-1', 'core', 'cloud')
    """
    return Routes(graph, weight=weight, num_bytes=num_bytes).path(source, sink)


def _hash(flow: int | str, node: str) -> int:
    # the node is hashed too: otherwise all nodes would split the same flows the same way
    return int.from_bytes(sha256(canonical((flow, node))).digest()[:8], "little")
