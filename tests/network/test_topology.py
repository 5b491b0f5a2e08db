"""What the builders build, what the check refuses, and that files give back what was saved."""

import json
import math

import networkx as nx
import numpy as np
import pytest

from wirelesslab.network.areas import Hexagon
from wirelesslab.network.topology import (
    FIBRE_MPS,
    add_link,
    add_node,
    check_graph,
    hex_cells,
    hex_sites,
    line,
    metro,
    single_cell,
)
from wirelesslab.network.topology_files import from_node_link, load_graph, save_graph, to_node_link

GRAPHS = {
    "single_cell": single_cell(),
    "hex_cells": hex_cells(2, 300.0, buffer_bytes=10_000),
    "metro": metro(),
    "metro of one edge": metro(3, 1),
    "metro of two edges": metro(3, 2),
    "metro of eight edges": metro(20, 8, buffer_bytes=1_000_000),
    "line": line(4, 1e6),
}
every_graph = pytest.mark.parametrize("graph", GRAPHS.values(), ids=GRAPHS)


def kinds(graph):
    return {kind: [n for n, k in graph.nodes(data="kind") if k == kind] for kind in ("gnb", "edge", "core", "cloud")}


def same(first, second):
    return dict(first.nodes(data=True)) == dict(second.nodes(data=True)) and {
        (a, b): d for a, b, d in first.edges(data=True)
    } == {(a, b): d for a, b, d in second.edges(data=True)}


@every_graph
def test_every_topology_passes_the_check_and_its_links_are_symmetric(graph):
    check_graph(graph)
    assert nx.is_strongly_connected(graph)
    for tail, head, attributes in graph.edges(data=True):
        assert graph.edges[head, tail] == attributes


@every_graph
def test_delays_are_those_of_light_in_straight_fibre(graph):
    for tail, head, delay_s in graph.edges(data="delay_s"):
        ends = (graph.nodes[tail]["position_m"], graph.nodes[head]["position_m"])
        assert delay_s == pytest.approx(math.dist(*ends) / FIBRE_MPS, rel=1e-12)


@pytest.mark.parametrize(("num_gnbs", "num_edges"), [(7, 3), (1, 1), (20, 8), (3, 5), (4, 2)])
def test_a_metro_has_its_gnbs_on_a_ring_of_edges(num_gnbs, num_edges):
    graph = metro(num_gnbs, num_edges)
    assert {kind: len(names) for kind, names in kinds(graph).items()} == {
        "gnb": num_gnbs,
        "edge": num_edges,
        "core": 1,
        "cloud": 1,
    }
    edges = kinds(graph)["edge"]
    served = [sum(graph.nodes[n]["kind"] == "gnb" for n in graph.successors(edge)) for edge in edges]
    assert sum(served) == num_gnbs
    assert max(served) - min(served) <= 1
    assert all(graph.out_degree(name) == 1 for name in kinds(graph)["gnb"])
    ring = graph.subgraph(edges).to_undirected()
    assert nx.is_connected(ring)
    if num_edges > 2:
        assert all(degree == 2 for _, degree in ring.degree())
    places = [graph.nodes[name]["position_m"] for name in kinds(graph)["gnb"]]
    assert len(set(places)) == num_gnbs


def test_no_single_failed_ring_or_core_link_cuts_an_edge_of_a_metro_off():
    graph = metro(8, 4)
    inner = [*kinds(graph)["edge"], "core"]
    for tail, head in graph.subgraph(inner).to_undirected().edges:
        cut = graph.subgraph(inner).copy()
        cut.remove_edges_from([(tail, head), (head, tail)])
        assert nx.is_strongly_connected(cut)


@pytest.mark.parametrize("num_rings", [0, 1, 2, 4])
def test_hexagonal_sites_lie_on_their_lattice(num_rings):
    sites = np.array(hex_sites(num_rings, 500.0))
    assert len(sites) == 1 + 3 * num_rings * (num_rings + 1)
    distance = np.hypot(*(sites[:, None] - sites[None]).transpose(2, 0, 1))
    neighbours = (np.abs(distance - 500.0) < 1e-6).sum(axis=1)
    assert distance[distance > 1e-6].min(initial=500.0) == pytest.approx(500.0)
    if num_rings:
        inner = distance[0] < 500.0 * (num_rings - 1) * math.sqrt(3) / 2 + 1
        assert (neighbours[inner] == 6).all()
        assert distance[0].max() == pytest.approx(500.0 * num_rings)


def test_hexagons_around_the_sites_tile_the_plane():
    cells = [Hexagon(radius_m=500.0 / math.sqrt(3), center_m=site) for site in hex_sites(2, 500.0)]
    points_m = np.random.default_rng(7).uniform(-600, 600, (2_000, 2))
    holders = sum(cell.contains(points_m).astype(int) for cell in cells)
    assert (holders == 1).all()


def test_a_line_of_links_has_one_node_more_than_links():
    graph = line(3, 5e6)
    assert list(graph) == ["edge-1", "edge-2", "edge-3", "edge-4"]
    assert graph.number_of_edges() == 6
    assert {rate for *_, rate in graph.edges(data="rate_bps")} == {5e6}


# --- files ----------------------------------------------------------------------------------------


@every_graph
@pytest.mark.parametrize("suffix", [".json", ".graphml"])
def test_a_saved_topology_comes_back_equal(graph, suffix, tmp_path):
    save_graph(graph, tmp_path / f"net{suffix}")
    assert same(load_graph(tmp_path / f"net{suffix}"), graph)


def test_node_link_data_is_plain_json_and_leaves_the_graph_alone():
    graph = metro()
    data = json.loads(json.dumps(to_node_link(graph)))
    assert same(from_node_link(data), graph)
    assert same(graph, metro())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.json", "{", "holds no JSON"),
        ("a.json", "[]", "got no directed node-link data"),
        ("a.json", '{"directed": false, "nodes": [], "edges": []}', "got no directed node-link data"),
        ("a.json", '{"nodes": [{"id": "a", "kind": "gnb", "position_m": [0, 0]}], "edges": [{"source": "a"}]}', "edge"),
        ("a.graphml", "<graphml", "holds no GraphML"),
        ("a.yaml", "", "expected a name that ends in .json or .graphml"),
    ],
)
def test_a_file_that_holds_no_topology_is_refused(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=r".") as error:
        load_graph(tmp_path / name)
    assert message in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        load_graph(tmp_path / "none.json")


# --- the check ------------------------------------------------------------------------------------


def changed(**attributes):
    graph = metro()
    where = graph.edges["gnb-1", "edge-1"] if "link" in attributes else graph.nodes["edge-1"]
    for name, value in (attributes.get("link") or attributes["node"]).items():
        if value is ...:
            del where[name]
        else:
            where[name] = value
    return graph


def in_parts():
    graph = metro()
    add_node(graph, "gnb-98", "gnb", (0, 0))
    add_node(graph, "gnb-99", "gnb", (0, 0))
    add_link(graph, "gnb-98", "gnb-99", rate_bps=1.0)
    return graph


def with_loop():
    graph = metro()
    add_link(graph, "core", "core", rate_bps=1.0)
    return graph


@pytest.mark.parametrize(
    ("graph", "message"),
    [
        (changed(node={"kind": "egde"}), "node 'edge-1': got kind 'egde', expected one of device, gnb, edge, core, cl"),
        (changed(node={"kind": ...}), "node 'edge-1': got no kind"),
        (changed(node={"colour": "red"}), "node 'edge-1': got the attribute 'colour'"),
        (changed(node={"position_m": (0.0, math.nan)}), "position_m of node 'edge-1'"),
        (changed(node={"operations_per_s": -1.0}), "operations_per_s of node 'edge-1': got -1.0"),
        (changed(node={"num_servers": 0}), "num_servers of node 'edge-1': got 0"),
        (changed(link={"rate_bps": ...}), "link 'gnb-1' -> 'edge-1': got no rate_bps"),
        (changed(link={"rate_bps": -5.0}), "rate_bps of link 'gnb-1' -> 'edge-1': got -5.0"),
        (changed(link={"rate_bps": math.nan}), "rate_bps of link 'gnb-1' -> 'edge-1': got nan"),
        (changed(link={"delay_s": -1e-3}), "delay_s of link 'gnb-1' -> 'edge-1': got -0.001"),
        (changed(link={"buffer_bytes": -1}), "buffer_bytes of link 'gnb-1' -> 'edge-1': got -1"),
        (changed(node={"buffer_jobs": -1}), "buffer_jobs of node 'edge-1': got -1"),
        (changed(link={"rate": 1.0}), "got the attribute 'rate', expected rate_bps, delay_s, buffer_bytes; did"),
        (in_parts(), "got 2 parts without a link between them (cloud, core, edge-1, edge-2, …; gnb-98, gnb-99)"),
        (with_loop(), "link 'core' -> 'core': got a link from a node to itself"),
        (nx.DiGraph(), "graph: got no nodes"),
    ],
)  # fmt: skip
def test_what_is_no_topology_is_refused_with_its_place(graph, message):
    with pytest.raises(ValueError, match=r".") as error:
        check_graph(graph)
    assert message in str(error.value)


@pytest.mark.parametrize("graph", [nx.Graph([("a", "b")]), nx.MultiDiGraph([("a", "b")]), {"a": "b"}])
def test_what_is_no_directed_graph_is_refused(graph):
    with pytest.raises(TypeError, match=r"expected networkx\.DiGraph"):
        check_graph(graph)
