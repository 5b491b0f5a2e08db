"""The network as a graph: cells, edge, core and cloud, and the directed links between them.

A topology is a `networkx.DiGraph`. Nodes carry `kind` (one of `KINDS`), `position_m` (x, y) and, where
something computes, `operations_per_s` of one server, `num_servers` and `buffer_jobs`, the jobs that may wait for
each slice (absent: any number). Directed edges carry `rate_bps`,
`delay_s` (propagation alone) and `buffer_bytes` (None: unlimited). Rates, distances and speeds of the
builders are our choice; light in fibre takes 5 microseconds per kilometre.
"""

import math
from typing import Any, TypeAlias

import networkx as nx
import numpy as np

from wirelesslab import check

KINDS = ("device", "gnb", "edge", "core", "cloud")
NODE_ATTRIBUTES = ("kind", "position_m", "operations_per_s", "num_servers", "buffer_jobs")
LINK_ATTRIBUTES = ("rate_bps", "delay_s", "buffer_bytes")
FIBRE_MPS = 2e8  # two thirds of the speed of light in vacuum

Graph: TypeAlias = nx.DiGraph


def add_node(
    graph: Graph,
    name: str,
    kind: str,
    position_m: tuple[float, float],
    *,
    operations_per_s: float | None = None,
    num_servers: int | None = None,
    buffer_jobs: int | None = None,
) -> None:
    """Add a node; what it cannot do (None) is left out."""
    attributes: dict[str, Any] = {"kind": kind, "position_m": (float(position_m[0]), float(position_m[1]))}
    if operations_per_s is not None:
        attributes |= {"operations_per_s": operations_per_s, "num_servers": num_servers or 1}
        if buffer_jobs is not None:
            attributes["buffer_jobs"] = buffer_jobs
    graph.add_node(name, **attributes)


def add_link(
    graph: Graph,
    first: str,
    second: str,
    *,
    rate_bps: float,
    delay_s: float | None = None,
    buffer_bytes: int | None = None,
) -> None:
    """Add a link in both directions; without `delay_s` it is straight fibre from node to node."""
    if delay_s is None:
        delay_s = math.dist(graph.nodes[first]["position_m"], graph.nodes[second]["position_m"]) / FIBRE_MPS
    for tail, head in ((first, second), (second, first)):
        graph.add_edge(tail, head, rate_bps=float(rate_bps), delay_s=delay_s, buffer_bytes=buffer_bytes)


def hex_sites(num_rings: int, inter_site_distance_m: float) -> list[tuple[float, float]]:
    """Return the sites of a hexagonal layout, the centre first, then ring by ring.

    The cell of a site is ``Hexagon(radius_m=inter_site_distance_m / sqrt(3), center_m=site)``.

    Examples:
        >>> len(hex_sites(2, 500.0))
        19
    """
    check.non_negative_integer(num_rings=num_rings)
    check.positive(inter_site_distance_m=inter_site_distance_m)
    corners = [(math.cos(k * math.pi / 3), math.sin(k * math.pi / 3)) for k in range(6)]
    sites = [(0.0, 0.0)]
    for ring in range(1, num_rings + 1):
        for side in range(6):
            (x0, y0), (x1, y1) = corners[side], corners[(side + 1) % 6]
            for step in range(ring):
                x, y = (ring - step) * x0 + step * x1, (ring - step) * y0 + step * y1
                sites.append((inter_site_distance_m * x, inter_site_distance_m * y))
    return sites


def hex_cells(
    num_rings: int = 1,
    inter_site_distance_m: float = 500.0,
    *,
    access_bps: float = 10e9,
    core_bps: float = 100e9,
    core_distance_m: float = 20e3,
    cloud_distance_m: float = 200e3,
    edge_operations_per_s: float = 1e13,
    cloud_operations_per_s: float = 1e14,
    buffer_bytes: int | None = None,
) -> Graph:
    """Return hexagonal cells, 1 + 3 r (r + 1) of them, all on one edge node; then the core; then the cloud.

    Args:
        num_rings: r, rings of cells around the middle one.
        inter_site_distance_m: Between neighbouring sites.
        access_bps: Of the links between gNBs and edge.
        core_bps: Of those between edge, core and cloud.
        core_distance_m: From the middle to the core.
        cloud_distance_m: From the core to the cloud.
        edge_operations_per_s: Of the edge's only server.
        cloud_operations_per_s: Of each of the cloud's ten servers.
        buffer_bytes: In front of each link; None is unlimited.
    """
    check.positive(core_distance_m=core_distance_m, cloud_distance_m=cloud_distance_m)
    graph = nx.DiGraph()
    sites = hex_sites(num_rings, inter_site_distance_m)
    for cell, site in enumerate(sites, start=1):
        add_node(graph, f"gnb-{cell}", "gnb", site)
    add_node(graph, "edge-1", "edge", (0.0, 0.0), operations_per_s=edge_operations_per_s)
    add_node(graph, "core", "core", (core_distance_m, 0.0))
    cloud_m = (core_distance_m + cloud_distance_m, 0.0)
    add_node(graph, "cloud", "cloud", cloud_m, operations_per_s=cloud_operations_per_s, num_servers=10)
    for cell in range(1, len(sites) + 1):
        add_link(graph, f"gnb-{cell}", "edge-1", rate_bps=access_bps, buffer_bytes=buffer_bytes)
    add_link(graph, "edge-1", "core", rate_bps=core_bps, buffer_bytes=buffer_bytes)
    add_link(graph, "core", "cloud", rate_bps=core_bps, buffer_bytes=buffer_bytes)
    check_graph(graph)
    return graph


def single_cell(**options: Any) -> Graph:
    """Return one cell: gnb-1 - edge-1 - core - cloud; `options` are those of `hex_cells`."""
    return hex_cells(0, **options)


def metro(
    num_gnbs: int = 7,
    num_edges: int = 3,
    *,
    ring_radius_m: float = 10e3,
    access_distance_m: float = 1e3,
    cloud_distance_m: float = 200e3,
    access_bps: float = 10e9,
    ring_bps: float = 100e9,
    core_bps: float = 400e9,
    edge_operations_per_s: float = 1e13,
    edge_servers: int = 2,
    cloud_operations_per_s: float = 1e14,
    cloud_servers: int = 100,
    buffer_bytes: int | None = None,
) -> Graph:
    """Return a metro ring: edge nodes in a ring, gNBs on them in turn, two ways to the core, then the cloud.

    The core stands in the middle and hangs on edge-1 and on the edge opposite, so that no single link
    of ring or core cuts an edge off.

    Args:
        num_gnbs: gNBs, spread over the edges in turn.
        num_edges: Edge nodes.
        ring_radius_m: From core to edges.
        access_distance_m: From an edge to its gNBs.
        cloud_distance_m: From core to cloud.
        access_bps: Of links between gNBs and edges.
        ring_bps: Of links between edges.
        core_bps: Of links at the core.
        edge_operations_per_s: Of one server at an edge.
        edge_servers: Servers per edge.
        cloud_operations_per_s: Of one server in the cloud.
        cloud_servers: Servers in the cloud.
        buffer_bytes: In front of each link; None is unlimited.
    """
    check.positive_integer(num_gnbs=num_gnbs, num_edges=num_edges)
    check.positive(ring_radius_m=ring_radius_m, access_distance_m=access_distance_m, cloud_distance_m=cloud_distance_m)
    graph = nx.DiGraph()
    for cell in range(1, num_gnbs + 1):
        place, home = divmod(cell - 1, num_edges)
        around = -(-(num_gnbs - home) // num_edges)  # gNBs of this edge
        x, y = _on_circle(ring_radius_m, home / num_edges)
        dx, dy = _on_circle(access_distance_m, place / around)
        add_node(graph, f"gnb-{cell}", "gnb", (x + dx, y + dy))
    for edge in range(1, num_edges + 1):
        place_m = _on_circle(ring_radius_m, (edge - 1) / num_edges)
        name = f"edge-{edge}"
        add_node(graph, name, "edge", place_m, operations_per_s=edge_operations_per_s, num_servers=edge_servers)
    add_node(graph, "core", "core", (0.0, 0.0))
    cloud_m = (0.0, cloud_distance_m)
    add_node(graph, "cloud", "cloud", cloud_m, operations_per_s=cloud_operations_per_s, num_servers=cloud_servers)
    for cell in range(1, num_gnbs + 1):
        host = f"edge-{1 + (cell - 1) % num_edges}"
        add_link(graph, f"gnb-{cell}", host, rate_bps=access_bps, buffer_bytes=buffer_bytes)
    for edge in range(1, num_edges + 1 if num_edges > 2 else num_edges):
        add_link(graph, f"edge-{edge}", f"edge-{edge % num_edges + 1}", rate_bps=ring_bps, buffer_bytes=buffer_bytes)
    for edge in sorted({1, 1 + num_edges // 2}):
        add_link(graph, f"edge-{edge}", "core", rate_bps=core_bps, buffer_bytes=buffer_bytes)
    add_link(graph, "core", "cloud", rate_bps=core_bps, buffer_bytes=buffer_bytes)
    check_graph(graph)
    return graph


def line(num_links: int, rate_bps: float, *, distance_m: float = 10e3, buffer_bytes: int | None = None) -> Graph:
    """Return nodes edge-1 … edge-(num_links + 1) in a line: the test bench of fairness between long and short flows."""
    check.positive_integer(num_links=num_links)
    check.positive(rate_bps=rate_bps, distance_m=distance_m)
    graph = nx.DiGraph()
    for place in range(num_links + 1):
        add_node(graph, f"edge-{place + 1}", "edge", (place * distance_m, 0.0))
    for place in range(num_links):
        add_link(graph, f"edge-{place + 1}", f"edge-{place + 2}", rate_bps=rate_bps, buffer_bytes=buffer_bytes)
    check_graph(graph)
    return graph


def _on_circle(radius_m: float, turn: float) -> tuple[float, float]:
    return radius_m * math.cos(2 * math.pi * turn), radius_m * math.sin(2 * math.pi * turn)


def check_graph(graph: Graph) -> None:
    """Refuse a graph that is no topology.

    Raises:
        TypeError: No `networkx.DiGraph`, or an attribute of another kind.
        ValueError: No nodes; an unknown kind or attribute; a rate, delay, buffer, place or server that is
            missing or makes no sense; a link from a node to itself; parts that are not connected.
    """
    if not isinstance(graph, nx.DiGraph) or graph.is_multigraph():
        msg = f"graph: got {type(graph).__name__}, expected networkx.DiGraph; an undirected one: graph.to_directed()"
        raise TypeError(msg)
    if not graph:
        msg = "graph: got no nodes, expected at least one"
        raise ValueError(msg)
    for name, attributes in graph.nodes(data=True):
        if not isinstance(name, str):
            msg = f"node: got the name {name!r}, expected text such as 'gnb-1'"
            raise TypeError(msg)
        _check_attributes(f"node {name!r}", attributes, NODE_ATTRIBUTES, ("kind", "position_m"))
        if attributes["kind"] not in KINDS:
            hint = check.nearest(str(attributes["kind"]), KINDS)
            msg = f"node {name!r}: got kind {attributes['kind']!r}, expected one of {', '.join(KINDS)}{hint}"
            raise ValueError(msg)
        check.array(attributes["position_m"], (2,), "x and y", name=f"position_m of node {name!r}")
        if "operations_per_s" in attributes:
            check.positive(**{f"operations_per_s of node {name!r}": attributes["operations_per_s"]})
        if "num_servers" in attributes:
            check.positive_integer(**{f"num_servers of node {name!r}": attributes["num_servers"]})
        if attributes.get("buffer_jobs") is not None:
            check.non_negative_integer(**{f"buffer_jobs of node {name!r}": attributes["buffer_jobs"]})
    for tail, head, attributes in graph.edges(data=True):
        where = f"link {tail!r} -> {head!r}"
        if tail == head:
            msg = f"{where}: got a link from a node to itself, expected two nodes; remove it"
            raise ValueError(msg)
        _check_attributes(where, attributes, LINK_ATTRIBUTES, ("rate_bps", "delay_s"))
        check.positive(**{f"rate_bps of {where}": attributes["rate_bps"]})
        check.within(0, np.finfo(float).max, **{f"delay_s of {where}": attributes["delay_s"]})
        if attributes.get("buffer_bytes") is not None:
            check.non_negative_integer(**{f"buffer_bytes of {where}": attributes["buffer_bytes"]})
    parts = sorted((sorted(part) for part in nx.weakly_connected_components(graph)), key=len, reverse=True)
    if len(parts) > 1:
        shown = "; ".join(", ".join(part[:4]) + (", …" if len(part) > 4 else "") for part in parts)
        msg = f"graph: got {len(parts)} parts without a link between them ({shown}), expected one; add links"
        raise ValueError(msg)


def _check_attributes(where: str, attributes: dict[str, Any], known: tuple[str, ...], needed: tuple[str, ...]) -> None:
    for name in attributes:
        if name not in known:
            msg = f"{where}: got the attribute {name!r}, expected {', '.join(known)}{check.nearest(str(name), known)}"
            raise ValueError(msg)
    missing = [name for name in needed if name not in attributes]
    if missing:
        msg = f"{where}: got no {' and no '.join(missing)}, expected {', '.join(needed)}"
        raise ValueError(msg)
