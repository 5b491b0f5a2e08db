"""Shares are kept whatever a slice did before, whatever was dropped, and whatever shares it had."""

import networkx as nx
import numpy as np
import pytest

from wirelesslab.network import (
    EMBB,
    URLLC,
    Flow,
    Network,
    Outage,
    Periodic,
    Planner,
    Poisson,
    ProportionalShares,
    ResourceRatio,
    ServiceLevel,
    SetRatios,
    SetUp,
    Slice,
    SlotRadio,
    SNssai,
    StrictPriority,
    Trace,
    line,
    metro,
    user_schedulers,
)
from wirelesslab.network.service_report import service_table
from wirelesslab.network.topology import add_link, add_node

LINK = "edge-1->edge-2"


def slice_of(name, sst, **options):
    return Slice(name=name, snssai=SNssai(sst), **options)


def network_of(*slices, buffer_bytes=None, rate_bps=1e6, **options):
    return Network(line(num_links=1, rate_bps=rate_bps, buffer_bytes=buffer_bytes), slices, **options)


def send(network, name, count, **options):
    whole = {"slice": name, "num_bytes": 1000, "source": "edge-1", "sink": "edge-2", **options}
    for _ in range(count):
        network.send(Flow(**whole))


def rates(network, seconds):
    """Delivered rate of each slice over the next seconds, in units of the link of 1 Mbit/s."""
    before = network.view()
    network.run(network.now_s + seconds)
    after = network.view(before)
    return [after.delivered_bps(s.name) / 1e6 for s in network.slices]


def test_a_guarantee_is_not_used_up_by_capacity_that_nobody_else_wanted():
    network = network_of(
        slice_of("a", 1, transport=ResourceRatio(min=0.3), priority=20),
        slice_of("b", 2, priority=1),
        scheduler=StrictPriority(),
    )
    network.add(
        Poisson("a", source="edge-1", sink="edge-2", rate_per_s=100.0, num_bytes=1000)
    )  # 0.8 of the link, alone
    network.run(50.0)
    send(network, "b", 10_000)
    assert rates(network, 40.0) == pytest.approx([0.3, 0.7], abs=0.01)


def test_packets_that_were_dropped_cost_a_slice_nothing():
    network = network_of(slice_of("a", 1), slice_of("b", 2), buffer_bytes=10_000)
    for name, rate in (("a", 1250.0), ("b", 125.0)):  # ten times the link, and once
        network.add(Poisson(name, source="edge-1", sink="edge-2", rate_per_s=rate, num_bytes=1000))
    assert rates(network, 100.0) == pytest.approx([0.5, 0.5], abs=0.02)


def test_a_slice_under_a_ceiling_does_not_turn_the_others_clock_back():
    network = network_of(slice_of("a", 1, transport=ResourceRatio(max=0.1)), slice_of("b", 2), slice_of("c", 3))
    send(network, "a", 5000)
    send(network, "b", 10_000)
    network.run(50.0)
    while not any(service.index == 0 for service in network.stations[LINK].in_service.values()):
        network.run(network.now_s + 0.001)
    send(network, "c", 4000)
    assert rates(network, 20.0) == pytest.approx([0.1, 0.45, 0.45], abs=0.02)


@pytest.mark.parametrize(
    "own", [ResourceRatio(min=0.1), ResourceRatio(dedicated=0.1, min=0.1)], ids=["min", "dedicated"]
)
def test_a_guarantee_comes_on_top_of_the_fair_share_of_the_rest(own):
    network = network_of(slice_of("a", 1, transport=own), slice_of("b", 2))
    network.add(Periodic("a", source="edge-1", sink="edge-2", period_s=0.1, num_bytes=1000, random_phase=False))
    network.run(100.09)
    for name in ("b", "a"):
        send(network, name, 6000)
    assert rates(network, 20.0) == pytest.approx([0.55, 0.45], abs=0.02)


def test_new_shares_do_not_remember_the_old_ones():
    network = network_of(slice_of("a", 1, transport=ResourceRatio(max=1e-6)), slice_of("b", 2))
    send(network, "a", 100)
    network.run(1.0)
    network.apply(SetRatios(domain="transport", ratios={"a": ResourceRatio(max=0.5)}))
    network.run(4.0)  # 100 packets of 8 ms at half the rate take 1.6 s
    assert network.view().slices["a"].delivered_flows == 100


def test_the_shares_of_one_link_are_kept_when_another_slice_s_share_of_it_changes():
    network = Network(line(num_links=2, rate_bps=1e6), (slice_of("a", 1), slice_of("b", 2)))
    for name, ratio in (("a", ResourceRatio.isolated(0.3)), ("b", ResourceRatio(max=0.5))):
        network.apply(SetRatios(domain="transport", ratios={name: ratio}, element=LINK))
    assert network.stations[LINK].ratios == (ResourceRatio.isolated(0.3), ResourceRatio(max=0.5))
    network.apply(SetRatios(domain="transport", ratios={"b": ResourceRatio(max=0.9)}))
    assert network.stations[LINK].ratios == (ResourceRatio.isolated(0.3), ResourceRatio(max=0.9))


def test_interrupted_jobs_of_a_slice_go_on_in_their_order():
    graph = nx.DiGraph()
    add_node(graph, "n", "edge", (0, 0), operations_per_s=1.0, num_servers=4)
    add_node(graph, "m", "core", (1, 0))
    add_link(graph, "n", "m", rate_bps=1e9)
    network = Network(graph, (slice_of("a", 1), slice_of("b", 2)), keep_records=None)
    for k in range(4):
        network.send(Flow(slice="a", num_bytes=1, source="n", sink="n", operations=10.0, label=str(k)))
    network.run(1.0)
    network.apply(SetRatios(domain="compute", ratios={"b": ResourceRatio.isolated(0.75)}))
    assert [record.flow.label for record in network.run(100.0).records] == ["0", "1", "2", "3"]
    waits = network.run(101.0).stations.sel(station="n", slice="a")["wait_seconds"]
    assert waits == pytest.approx(9 + 18 + 27)  # one server left: jobs 1 to 3 wait for 9 s of each before them


def test_waiting_times_are_those_of_the_packets_that_began():
    network = network_of(slice_of("a", 1))
    send(network, "a", 1000)
    assert float(network.run(1.0).stations["mean_wait_s"].sel(station=LINK)[0]) == pytest.approx(0.496, abs=0.005)
    network.apply(SetUp(element=LINK, up=False))
    stations = network.run(2.0).stations.sel(station=LINK)
    assert 0 <= float(stations["share_delayed"][0]) <= 1
    assert float(stations["wait_seconds"][0]) > 0


def test_an_element_is_down_until_the_last_outage_is_over():
    network = network_of(slice_of("a", 1))
    network.add(Outage(element=LINK, start_s=0.0, end_s=10.0))
    network.add(Outage(element=LINK, start_s=5.0, end_s=15.0))
    for until, down in ((4.0, True), (7.0, True), (12.0, True), (16.0, False)):
        network.run(until)
        assert (LINK in network.view().down) == down
    refused = network.apply(SetUp(element=LINK, up=False), by="somebody").refused
    assert not refused
    assert "held out of service by somebody" in network.apply(SetUp(element=LINK, up=True), by="me").refused


def test_a_planner_at_a_node_is_built_again_while_another_node_is_down():
    network = Network(metro(num_gnbs=3), (EMBB, URLLC))
    network.add(Planner(plan=ProportionalShares(), window_s=1.0, at="core"))
    network.add(Outage(element="gnb-2", start_s=0.5, end_s=3.0))
    network.run(1.0005)
    copy = Network.restored(network.snapshot())
    network.run(4.0)
    copy.run(4.0)
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_what_is_due_does_not_pile_up_below_a_ceiling():
    network = network_of(slice_of("a", 1, transport=ResourceRatio(max=1e-9)), buffer_bytes=2000)
    network.add(Poisson("a", source="edge-1", sink="edge-2", rate_per_s=100.0, num_bytes=1000))
    for until in (10.0, 50.0):
        network.run(until)
        assert len(network.agenda.env._queue) < 10


@pytest.mark.parametrize(
    ("flow", "message"),
    [
        ({"operations": 3.0}, "operations: 'edge-2' computes nothing"),
        ({"user": 3}, "user: no radio serves 'edge-2'"),
        ({"receiver": "nobody"}, "receiver: got 'nobody', expected the name of an actor"),
        ({"sent_s": float("nan")}, "sent_s: got nan"),
        ({"sent_s": 100.0}, "sent_s: got 100.0, expected at most now"),
        ({"deadline_s": "soon"}, "deadline_s: got 'soon'"),
    ],
)
def test_a_flow_that_could_not_end_is_refused_before_it_begins(flow, message):
    network = network_of(slice_of("a", 1))
    with pytest.raises((ValueError, TypeError), match=message):
        send(network, "a", 1, **flow)
    assert network.book.offered_flows == [0]
    network.run(1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SetRatios(domain="transport", ratios={"a": 0.5}), "ratios: got 0.5 for a"),
        (lambda: SetUp(element="edge-1", up="no"), "up: got 'no', expected True or False"),
        (lambda: SetUp(element=None, up=True), "element: got None"),
        (lambda: Planner(plan="static", window_s=1.0), "plan: got 'static', expected a plan"),
        (lambda: Planner(plan=ProportionalShares(), window_s=1.0, domain="trans"), "domain: got 'trans'"),
        (lambda: Slice(name="a", snssai=1), "snssai: got 1, expected a SNssai"),
        (lambda: Slice(name="a", snssai=SNssai(1), radio=0.5), "radio: got 0.5, expected a ResourceRatio"),
        (lambda: network_of(slice_of("a", 1), keep_records=-1), "keep_records: got -1"),
        (lambda: network_of(slice_of("a", 1), report_s=1e-300), "report_s: got 1e-300"),
        (lambda: network_of(slice_of("a", 1), scheduler=StrictPriority), "got the class StrictPriority"),
        (lambda: network_of(slice_of("a", 1)).run(float("inf")), "until_s: got inf"),
    ],
)
def test_nonsense_is_refused_at_the_door(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_flow_that_should_have_arrived_counts_as_late_while_it_still_waits():
    urgent = Slice(name="a", snssai=SNssai(1), level=ServiceLevel(delay_s=0.05), priority=9)
    network = network_of(urgent, slice_of("b", 2, priority=1), scheduler=StrictPriority())
    send(network, "b", 5000)
    network.run(0.1)
    send(network, "a", 10)
    before = network.view()
    run = network.run(1.0)
    assert int(run.slices["overdue_flows"].sel(slice="a")) == 10
    assert float(run.slices["late_share"].sel(slice="a")) == 1.0
    assert network.view(before).late_share("a") == 1.0
    table = service_table(run, network.slices)
    assert table.rows[0][-1] == "BROKEN"


def test_a_promised_rate_is_broken_by_what_waits_too_long():
    slow = Slice(name="a", snssai=SNssai(1), level=ServiceLevel(delay_s=0.5, delay_quantile=0.0, rate_bps=5e5))
    network = network_of(slow, rate_bps=1e5)
    network.add(Poisson("a", source="edge-1", sink="edge-2", rate_per_s=100.0, num_bytes=1000))
    assert service_table(network.run(20.0), network.slices).rows[0][-1] == "BROKEN"
    idle = network_of(slow)
    assert service_table(idle.run(1.0), idle.slices).rows[0][-1] == "idle"


class Hasty:
    """Acts before its first sleep."""

    def run(self, network):
        while True:
            network.send(Flow(slice="a", num_bytes=10, source="edge-1", sink="edge-2"))
            yield network.until(np.floor(network.now_s) + 1.0)


def test_an_actor_that_acts_when_it_is_begun_anew_is_refused():
    network = network_of(slice_of("a", 1))
    network.add(Hasty())
    network.run(5.5)
    with pytest.raises(RuntimeError, match="send: hasty-1 acts before its first sleep when it is begun anew"):
        Network.restored(network.snapshot())


class Careless:
    """Keeps its state under a name that is not its own."""

    def run(self, network):
        state = network.record("beat", lambda: {"next_s": 1.0})
        while True:
            yield network.until(state["next_s"])
            state["next_s"] += 1.0


def test_two_actors_cannot_share_a_record_by_mistake():
    network = network_of(slice_of("a", 1))
    network.add(Careless())
    network.add(Careless())
    with pytest.raises(ValueError, match="record: 'beat' is kept by careless-1, got it asked for by careless-2"):
        network.run(1.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Network(line(num_links=1, rate_bps=1e6), EMBB), "slices: got the slice embb, expected several"),
        (lambda: network_of(EMBB, scheduler=user_schedulers.ProportionalFair()), "expected one of links and servers"),
        (lambda: SlotRadio(intra_slice="proportional_fair"), "intra_slice: got 'proportional_fair', expected"),
        (lambda: ResourceRatio(dedicated=0.2), "write it as min as well"),
        (lambda: network_of(EMBB).add(type("Mute", (), {"run": lambda self, network: None})()), "expected a generator"),
    ],
)
def test_beginners_are_told_what_was_wanted(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_a_slice_may_be_given_where_its_name_is_wanted(tmp_path):
    network = network_of(EMBB, keep_records=1, trace=Trace())
    network.send(Flow(slice=EMBB, num_bytes=10, source="edge-1", sink="edge-2"))
    run = network.run(1.0)
    assert run.records[0].flow.slice == "embb"
    run.save(tmp_path / "run")  # records and traces are text
    assert network.trace is not None
    assert '"embb"' in network.trace.text()


def test_a_flow_of_too_many_segments_is_refused_at_once():
    network = network_of(slice_of("a", 1))
    with pytest.raises(ValueError, match="more than 1000000 segments; raise segment_bytes"):
        send(network, "a", 1, num_bytes=10**12)
    assert network.book.offered_flows == [0]
