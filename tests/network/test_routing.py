"""Routes are the shortest ones on what is up, and nothing else."""

import math
from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from wirelesslab.network.routing import WEIGHTS, Routes, shortest_path
from wirelesslab.network.topology import add_link, add_node, line, metro

NUM_BYTES = 40_000


@st.composite
def graphs(draw, delays=(1e-3, 1e-3, 2e-3, 3e-3, 4.7e-3)):
    """Random directed graphs, with many ties; possibly in parts."""
    num = draw(st.integers(2, 9))
    pairs = [(a, b) for a in range(num) for b in range(num) if a != b]
    links = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=30))
    graph = nx.DiGraph()
    for node in range(num):
        add_node(graph, f"n{node}", "edge", (0.0, 0.0))
    for tail, head in links:
        rate_bps = draw(st.sampled_from([1e8, 2e8, 1e9]))
        delay_s = draw(st.sampled_from(delays))
        graph.add_edge(f"n{tail}", f"n{head}", rate_bps=rate_bps, delay_s=delay_s, buffer_bytes=None)
    return graph


def price(graph, link, weight):
    attributes = graph.edges[link]
    return {
        "hops": 1.0,
        "delay": attributes["delay_s"],
        "transfer": attributes["delay_s"] + 8 * NUM_BYTES / attributes["rate_bps"],
    }[weight]


def price_of(graph, path, weight):
    return sum(price(graph, link, weight) for link in pairwise(path))


@given(graphs(), st.sampled_from(WEIGHTS))
@settings(max_examples=120, deadline=None)
def test_routes_cost_what_networkx_and_scipy_say(graph, weight):
    routes = Routes(graph, weight=weight, num_bytes=NUM_BYTES)
    nodes = list(graph)
    links = [(nodes.index(a), nodes.index(b)) for a, b in graph.edges]
    prices = [price(graph, link, weight) for link in graph.edges]
    matrix = csr_array((prices, tuple(np.array(links).reshape(-1, 2).T)), shape=(len(nodes),) * 2)
    by_scipy = dijkstra(matrix)
    for i, source in enumerate(nodes):
        by_networkx = nx.single_source_dijkstra_path_length(
            graph, source, weight=lambda a, b, _: price(graph, (a, b), weight)
        )
        for j, sink in enumerate(nodes):
            path = routes.path(source, sink)
            if path is None:
                assert sink not in by_networkx
                assert np.isinf(by_scipy[i, j])
                assert routes.cost(source, sink) == math.inf
                continue
            assert (path[0], path[-1]) == (source, sink)
            assert len(set(path)) == len(path)
            found = price_of(graph, path, weight)
            assert found == pytest.approx(by_networkx[sink], rel=1e-8)
            assert found == pytest.approx(by_scipy[i, j], rel=1e-8)
            assert routes.cost(source, sink) == pytest.approx(found, rel=1e-8)
            assert path == shortest_path(graph, source, sink, weight, num_bytes=NUM_BYTES)


@given(graphs(delays=(0.0, 0.0, 1e-3)), st.integers(0, 50))
@settings(max_examples=100, deadline=None)
def test_links_without_delay_make_no_loops_and_no_flow_pays_more_than_the_best(graph, flow):
    routes = Routes(graph)
    for source in graph:
        for sink in graph:
            path = routes.path(source, sink, flow=flow)
            if path is None:
                assert not nx.has_path(graph, source, sink)
                continue
            assert len(set(path)) == len(path)
            best = nx.dijkstra_path_length(graph, source, sink, weight="delay_s")
            assert price_of(graph, path, "delay") == pytest.approx(best, rel=1e-8, abs=1e-15)


@given(graphs(), st.data())
@settings(max_examples=100, deadline=None)
def test_a_route_never_uses_what_has_failed_and_is_none_only_when_cut(graph, data):
    down_nodes = frozenset(data.draw(st.lists(st.sampled_from(list(graph)), unique=True, max_size=3)))
    links = list(graph.edges)
    down_links = frozenset(data.draw(st.lists(st.sampled_from(links), unique=True, max_size=6)) if links else [])
    routes = Routes(graph).without(down_nodes).without(down_links=down_links)
    left = graph.copy()
    left.remove_edges_from(down_links)
    left.remove_nodes_from(down_nodes)
    for source in graph:
        for sink in graph:
            paths = [routes.path(source, sink), routes.path(source, sink, flow=3), *routes.best_paths(source, sink, 2)]
            if {source, sink} & down_nodes or not nx.has_path(left, source, sink):
                assert paths == [None, None]
                continue
            for path in paths:
                assert set(path) <= set(left)
                assert all(left.has_edge(*link) for link in pairwise(path))
            best = nx.dijkstra_path_length(left, source, sink, weight="delay_s")
            assert price_of(left, paths[0], "delay") == pytest.approx(best, rel=1e-8)


@given(graphs(), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_k_best_paths_are_those_of_a_full_enumeration(graph, num):
    routes = Routes(graph)
    source, sink = list(graph)[:2]
    found = routes.best_paths(source, sink, num)
    every = sorted(price_of(graph, path, "delay") for path in nx.all_simple_paths(graph, source, sink))
    assert [price_of(graph, path, "delay") for path in found] == pytest.approx(every[:num], rel=1e-8)
    assert len(set(found)) == len(found) == min(num, len(every))


def ladder(num_ways):
    """Two ends, and ways between them that cost the same."""
    graph = nx.DiGraph()
    for name in ("a", "z", *(f"m{i}" for i in range(num_ways))):
        add_node(graph, name, "edge", (0.0, 0.0))
    for i in range(num_ways):
        add_link(graph, "a", f"m{i}", rate_bps=1e9, delay_s=1e-3)
        add_link(graph, f"m{i}", "z", rate_bps=1e9, delay_s=2e-3)
    return graph


def test_flows_spread_evenly_over_ways_that_cost_the_same_and_each_stays_on_its_own():
    routes, num = Routes(ladder(4)), 4_000
    paths = [routes.path("a", "z", flow=flow) for flow in range(num)]
    counts = np.unique([path[1] for path in paths], return_counts=True)[1]
    assert ((counts - num / 4) ** 2 / (num / 4)).sum() < 21.1  # chi squared, 3 degrees of freedom: 1e-4
    assert paths == [Routes(ladder(4)).path("a", "z", flow=flow) for flow in range(num)]
    assert routes.path("a", "z", flow="video-7") == routes.path("a", "z", flow="video-7")


def test_choices_at_one_node_tell_nothing_about_those_at_the_next():
    graph = ladder(2)
    for name in ("p0", "p1", "end"):
        add_node(graph, name, "edge", (0.0, 0.0))
    for i in range(2):
        add_link(graph, "z", f"p{i}", rate_bps=1e9, delay_s=1e-3)
        add_link(graph, f"p{i}", "end", rate_bps=1e9, delay_s=1e-3)
    routes = Routes(graph)
    pairs = [(path[1], path[3]) for path in (routes.path("a", "end", flow=flow) for flow in range(4_000))]
    counts = np.unique([a + b for a, b in pairs], return_counts=True)[1]
    assert counts.size == 4
    assert ((counts - 1_000) ** 2 / 1_000).sum() < 21.1


def test_a_large_transfer_takes_the_fast_detour_and_a_small_one_the_short_way():
    graph = line(2, 1e9, distance_m=10e3)
    add_link(graph, "edge-1", "edge-3", rate_bps=1e6, delay_s=1e-5)
    assert shortest_path(graph, "edge-1", "edge-3", "transfer", num_bytes=1) == ("edge-1", "edge-3")
    assert shortest_path(graph, "edge-1", "edge-3", "transfer", num_bytes=10_000) == ("edge-1", "edge-2", "edge-3")
    assert Routes(graph, weight="transfer", num_bytes=10_000).cost("edge-1", "edge-3") == pytest.approx(
        2 * (5e-5 + 8e-5), rel=1e-12
    )


def test_the_round_trip_is_that_of_both_ways_and_infinite_when_one_is_cut():
    graph = metro()
    routes = Routes(graph)
    one_way_s = 1e3 / 2e8 + 10e3 / 2e8 + 200e3 / 2e8  # gNB to edge, core and cloud, at 5 us per km
    assert routes.round_trip_s("gnb-1", "cloud") == pytest.approx(2 * one_way_s, rel=1e-12)
    assert routes.round_trip_s("core", "core") == 0
    assert routes.path("core", "core") == ("core",)
    cut = routes.without(down_links=[("cloud", "core")])
    assert cut.path("gnb-1", "cloud") is not None
    assert cut.path("cloud", "gnb-1") is None
    assert cut.round_trip_s("gnb-1", "cloud") == math.inf


def test_a_cut_ring_sends_traffic_the_other_way_round():
    graph = metro(8, 4)
    assert Routes(graph).path("edge-2", "core") in {("edge-2", "edge-1", "core"), ("edge-2", "edge-3", "core")}
    for lost, kept in (("edge-1", "edge-3"), ("edge-3", "edge-1")):
        assert Routes(graph, {lost}).path("edge-2", "core") == ("edge-2", kept, "core")
        assert Routes(graph, (), {("edge-2", lost)}).path("edge-2", "core") == ("edge-2", kept, "core")


def test_asking_again_is_answered_from_memory_with_the_same_path():
    routes = Routes(metro())
    assert routes.path("gnb-1", "cloud") is routes.path("gnb-1", "cloud")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: Routes(metro(), {"gnb-99"}), "down_nodes: got 'gnb-99'"),
        (lambda: Routes(metro(), (), {("gnb-1", "cloud")}), "down_links: got ('gnb-1', 'cloud')"),
        (lambda: Routes(metro(), weight="delays"), "weight: got 'delays', expected one of delay, hops, transfer"),
        (lambda: Routes(metro()).path("gbn-1", "cloud"), "source: got 'gbn-1', expected a node of the graph; did you"),
        (lambda: Routes(metro()).path("gnb-1", "clouds"), "sink: got 'clouds'"),
        (lambda: Routes(metro()).propagation_s(("gnb-1", "cloud")), "path: got the link ('gnb-1', 'cloud')"),
    ],
)
def test_questions_about_what_is_not_there_are_refused(ask, message):
    with pytest.raises(ValueError, match=r".") as error:
        ask()
    assert message in str(error.value)
