"""The twin of the infrastructure: a delayed mirror whose messages are traffic, and which knows how old it is."""

from dataclasses import dataclass, replace
from math import inf

import numpy as np
import pytest

from wirelesslab.network import (
    EMBB,
    MIOT,
    URLLC,
    Agent,
    ExponentialSize,
    Flow,
    Network,
    Poisson,
    ProportionalShares,
    ResourceRatio,
    SetRatios,
    SetUp,
    line,
    metro,
)
from wirelesslab.network.twins.access_policy import AccessPolicy, AccessRefusedError, audit, forbid, latest_reads
from wirelesslab.network.twins.infrastructure import ATTRIBUTES, DigitalTwin
from wirelesslab.network.twins.sync import PeriodicSync, PoissonSync, ThresholdSync
from wirelesslab.network.twins.traffic_history import TrafficHistory

SLICES = (EMBB, URLLC, MIOT)


def loaded(seed=1, **twin):
    """Return a line of three nodes, loaded to 80 %, and its twin."""
    network = Network(line(num_links=2, rate_bps=1e6), SLICES, seed=seed)
    for name, rate_per_s in (("embb", 50.0), ("urllc", 50.0)):
        network.add(
            Poisson(name, source="edge-1", sink="edge-3", rate_per_s=rate_per_s, num_bytes=ExponentialSize(1000.0))
        )
    return network, network.add(DigitalTwin(**twin))


def same(first, second):
    """Whether two views say the same, whatever their ages."""
    return replace(first, ages_s={}) == replace(second, ages_s={})


# --- what it shows, and how old that is ---------------------------------------------------------------------------


def test_a_fresh_twin_shows_what_the_network_shows():
    network, twin = loaded(period_s=0.25)
    network.run(until_s=5.0)
    assert same(twin.view(), network.view())
    assert twin.view().ages_s == dict.fromkeys(("slices", "ratios", "down", "queues"), 0.0)


def test_a_twin_behind_a_delay_line_shows_the_network_as_it_was():
    network, twin = loaded(period_s=0.5, delay_s=0.3)
    network.run(until_s=5.0)
    then = network.view()
    network.apply(SetUp(element="edge-2->edge-3", up=False))
    network.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=0.5)}))
    network.run(until_s=5.4)
    assert same(twin.view(), then)
    assert twin.view().ages_s["queues"] == pytest.approx(0.4, abs=1e-12)
    network.run(until_s=6.0)
    assert twin.view().down == ("edge-2->edge-3",)
    assert twin.view().ratios["transport"]["embb"].min == 0.5


def test_before_anything_has_come_it_shows_an_untouched_network_of_infinite_age():
    network, twin = loaded(period_s=1.0, delay_s=0.5)
    network.run(until_s=0.4)
    view = twin.view()
    assert set(view.ages_s.values()) == {inf}
    assert view.time_s == 0.0
    assert view.slices["embb"].offered_flows == 0
    assert (view.queues, view.down) == ({}, ())
    assert view.ratios["transport"] == {s.name: s.transport for s in SLICES}


@pytest.mark.parametrize(("period_s", "delay_s"), [(1.0, 0.0), (0.5, 0.2), (0.3, 0.7)])
def test_the_mean_age_of_a_periodic_attribute_behind_a_delay_line_is_delay_plus_half_a_period(period_s, delay_s):
    network, twin = loaded(period_s=period_s, delay_s=delay_s)
    network.run(until_s=delay_s + 300 * period_s)  # whole periods after the first message: the mean is exact
    for age_s in twin.mean_ages_s().values():
        assert age_s == pytest.approx(delay_s + period_s / 2, rel=1e-9)


def test_each_attribute_has_a_rule_of_its_own():
    rules = {"down": ThresholdSync(error=0.5, every_s=0.1), "queues": PeriodicSync(period_s=0.3)}
    network, twin = loaded(period_s=2.0, sync=rules)
    network.run(until_s=5.0)
    network.apply(SetUp(element="edge-1->edge-2", up=False))
    network.run(until_s=5.15)
    ages = twin.ages_s()
    assert twin.view().down == ("edge-1->edge-2",)
    assert ages == pytest.approx({"slices": 1.15, "ratios": 1.15, "down": 0.05, "queues": 0.05, "traffic": 1.15})


def test_what_has_changed_is_sent_and_what_has_not_is_not():
    rules = {a: ThresholdSync(error=0.0, every_s=0.1) for a in ATTRIBUTES}
    network = Network(line(num_links=2, rate_bps=1e6), SLICES, seed=1)
    twin = network.add(DigitalTwin(sync=rules))
    network.run(until_s=1.05)
    first = twin.counts["messages"]
    assert first == 3  # each node once, for nothing has happened
    network.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=0.5)}))
    network.run(until_s=2.05)
    assert twin.counts["messages"] == first + 1
    assert twin.ages_s() == pytest.approx(
        {"slices": 2.05, "ratios": 0.95, "down": 2.05, "queues": 2.05, "traffic": 2.05}
    )
    network.send(Flow(slice="embb", num_bytes=100_000, source="edge-1", sink="edge-2"))
    network.run(until_s=2.15)
    assert twin.view().queues["edge-1->edge-2"]["embb"] > 0
    assert twin.read("traffic")["edge-1"] == {(0, "edge-2"): (1.0, 1e5, 1e10, 0.0)}
    assert twin.view().slices["embb"].inside_bytes == 100_000


def test_the_age_under_poisson_updates_is_exponential_in_the_mean():
    network, twin = loaded(period_s=1.0, attributes=("slices",), sync={"slices": PoissonSync(rate_per_s=5.0)})
    network.run(until_s=400.0)
    # 2000 exponential gaps of mean 0.2 s: the mean age 0.2 s has a standard error of 0.2 sqrt(5 / 2000)
    assert twin.mean_ages_s()["slices"] == pytest.approx(0.2, abs=4 * 0.2 * np.sqrt(5 / 2000))


def test_windows_of_two_views_give_rates():
    network, twin = loaded(period_s=1.0)
    network.run(until_s=10.0)
    before = twin.view()
    network.run(until_s=20.0)
    live = network.view(twin.view(before).before)
    assert twin.view(before).window_s == 10.0
    assert twin.view(before).offered_bps("embb") == live.offered_bps("embb") > 0


# --- its messages -------------------------------------------------------------------------------------------------


def test_messages_in_a_slice_are_flows_that_wait_and_are_counted():
    network, twin = loaded(period_s=0.1, slice="miot", at="edge-3", core="edge-1")
    network.run(until_s=10.0)
    counts, sliced = twin.counts, network.view().slices["miot"]
    assert sliced.offered_flows == counts["messages"]
    assert sliced.offered_bytes == counts["num_bytes"]
    # behind 80 % load nothing is fresher than its bits on two links, and its own node says the latest at once
    assert twin.mean_ages_s()["slices"] > 0.05 + 2 * 8 * 300 / 1e6
    assert twin.read("queues").keys() == {"edge-1", "edge-2", "edge-3"}


def test_what_one_node_says_at_one_time_is_one_message():
    network, twin = loaded(period_s=1.0, slice="miot", at="edge-3", core="edge-1")
    network.run(until_s=0.5)
    assert twin.counts["messages"] == 3  # edge-1: totals, shares, failures, queues and traffic; the others theirs


def test_a_node_that_is_cut_off_ages():
    network, twin = loaded(period_s=0.1, slice="miot", at="edge-3", core="edge-3")
    network.run(until_s=1.0)
    network.apply(SetUp(element="edge-2->edge-3", up=False))
    network.run(until_s=3.0)
    assert twin.ages_s()["queues"] > 2.0
    assert twin.ages_s()["slices"] < 0.1 + 1e-9
    assert twin.counts["lost_messages"] > 10


def test_the_report_of_a_run_has_the_twins_ages():
    network, _ = loaded(period_s=0.4, delay_s=0.1)
    gauges = network.run(until_s=5.0).gauges
    assert gauges["digitaltwin-1: age of queues (s)"].values == pytest.approx([0.2, 0.4, 0.2, 0.4, 0.2])


# --- local twins --------------------------------------------------------------------------------------------------


def test_a_local_twin_sees_its_nodes_only():
    network, twin = loaded(period_s=0.5, scope=("edge-2",))
    network.apply(SetUp(element="edge-1", up=False))
    network.apply(SetUp(element="edge-2->edge-3", up=False))
    network.run(until_s=2.0)
    assert set(twin.view().queues) == {"edge-2->edge-1", "edge-2->edge-3"}
    assert twin.view().down == ("edge-2->edge-3",)
    assert twin.read("traffic") == {"edge-2": {}}
    with pytest.raises(ValueError, match="mirrors the nodes edge-2, expected the whole network"):
        twin.what_if(None)


# --- who may read it ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Curious:
    """Reads what it says it reads."""

    reads: tuple[str, ...] = ATTRIBUTES[:4]

    def act(self, view):
        """Change nothing."""
        del view


def test_an_agent_that_may_not_read_is_refused_that_is_logged_and_the_run_goes_on():
    network, twin = loaded(period_s=0.1, policy=AccessPolicy(forbid("spy", "queues")), name="twin")
    network.add(Agent(Curious(), sees=twin, every_s=1.0, name="spy"))
    network.add(Agent(Curious(("slices",)), sees="twin", every_s=1.0, name="modest"))
    run = network.run(until_s=4.5)
    refusals = [action for action in run.actions if action.refused]
    assert len(refusals) == 5
    assert "spy asked for queues, which the access policy forbids" in refusals[0].refused
    assert [tuple(count)[:5] for count in audit(network)] == [
        ("twin", "modest", "slices", 5, 0), ("twin", "spy", "queues", 0, 5),
    ]  # fmt: skip
    assert [record.allowed for record in latest_reads(network)] == [False, True] * 5


def test_the_log_lists_every_attribute_that_every_agent_read():
    network, twin = loaded(period_s=0.1, name="twin")
    network.add(Agent(ProportionalShares(), sees=twin, every_s=0.5, name="shares"))
    network.add(Agent(Curious(), sees=twin, every_s=1.0, name="curious"))
    network.add(Agent(Curious(("down",)), every_s=1.0, name="live"))  # looks at the network, not at a twin
    network.run(until_s=9.9)
    everything = {("curious", attribute): 10 for attribute in ("slices", "ratios", "down", "queues")}
    assert {(c.by, c.attribute): c.shown for c in audit(network)} == {("shares", "slices"): 20, **everything}


def test_an_agent_is_shown_what_it_reads_and_nothing_else():
    network, twin = loaded(period_s=0.1)
    network.add(Agent(Curious(("queues",)), sees=twin, every_s=1.0, name="narrow"))
    network.run(until_s=2.0)
    view = twin.view(by="narrow")
    assert set(view.ages_s) == {"queues"}
    assert (view.slices, view.ratios, view.down) == ({}, {}, ())
    assert view.queues == twin.view().queues


def test_reading_a_forbidden_attribute_raises_and_is_logged():
    network, twin = loaded(period_s=0.1, policy=AccessPolicy(forbid("*", "traffic")))
    network.run(until_s=1.0)
    with pytest.raises(AccessRefusedError, match="analyst asked for traffic"):
        twin.read("traffic", by="analyst")
    with pytest.raises(AccessRefusedError):
        twin.what_if(None, by="analyst")
    assert [(c.by, c.attribute, c.shown, c.refused) for c in twin.reads()] == [("analyst", "traffic", 0, 2)]


def test_watching_leaves_no_trace():
    network, twin = loaded(period_s=0.1)
    network.run(until_s=1.0)
    digest = network.snapshot().digest()
    twin.view()
    twin.read("queues")
    assert network.snapshot().digest() == digest


# --- written down and built again ---------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [{"delay_s": 0.25}, {"slice": "miot", "at": "edge-3"}], ids=["line", "slice"])
def test_a_restored_twin_goes_on_alike_to_the_last_bit_with_messages_under_way(way):
    def build():
        network, twin = loaded(period_s=0.1, name="twin", window_s=0.5, **way)
        network.add(Agent(ProportionalShares(), sees=twin, every_s=0.3, name="agent"))
        return network

    whole, parted = build(), build()
    whole.run(until_s=4.0)
    parted.run(until_s=2.01)
    assert parted.actors["twin"].state()["state"].bag.under_way, "the test wants messages under way"
    copy = Network.restored(parted.snapshot())
    for network in (parted, copy):
        network.run(until_s=4.0)
        assert network.snapshot().digest() == whole.snapshot().digest()
    assert copy.actors["twin"].view() == whole.actors["twin"].view()
    assert audit(copy) == audit(whole) != ()


# --- what is refused ----------------------------------------------------------------------------------------------


def test_an_agent_of_a_twin_that_comes_late_and_is_told_late_sees_no_rate_that_never_was():
    network = loaded()[0]
    network.run(until_s=20.0)
    twin = network.add(DigitalTwin(period_s=0.5, delay_s=0.3, name="late"))
    rates_bps, seen = [], None
    for step in range(1, 30):
        seen = twin.view(seen)
        rates_bps.append(seen.offered_bps("embb") if seen.window_s else 0.0)
        network.run(until_s=20.0 + 0.25 * step)
    # 50 packets of 1000 bytes a second; a window of 25 has a standard error of 0.2 * sqrt(2) of that
    assert max(rates_bps) < 4e5 * (1 + 5 * 0.28)


@pytest.mark.parametrize(
    "ratios",
    [
        SetRatios(domain="transport", ratios={"embb": ResourceRatio(max=0.5)}),
        SetRatios(domain="transport", ratios={"embb": ResourceRatio(dedicated=0.2, min=0.2)}),
        SetRatios(domain="transport", ratios={"embb": ResourceRatio(min=0.2)}, element="edge-2->edge-3"),
    ],
    ids=["a ceiling", "a dedicated part", "one link"],
)
def test_a_rule_that_compares_notices_every_change_of_shares(ratios):
    network, twin = loaded(sync={"ratios": ThresholdSync(error=0.0, every_s=0.1)})
    network.run(until_s=1.05)
    assert twin.view().ages_s["ratios"] == pytest.approx(1.05)  # nothing has changed since it was told
    network.apply(ratios)
    network.run(until_s=1.15)
    assert twin.view().ages_s["ratios"] == pytest.approx(0.05)
    assert twin.known().ratios_of_stations == ({ratios.element: network.links["edge-2", "edge-3"].ratios}
                                               if ratios.element else {})  # fmt: skip


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="attribute"):
        DigitalTwin(attributes=("slices", "moods"))
    with pytest.raises(ValueError, match="at: got '', expected the node"):
        DigitalTwin(slice="embb")
    with pytest.raises(ValueError, match="delay_s"):
        DigitalTwin(slice="embb", at="core", delay_s=0.1)
    for attributes in ((), ("slices", "slices")):
        with pytest.raises(ValueError, match="expected at least one and each once"):
            DigitalTwin(attributes=attributes)
    with pytest.raises(ValueError, match="sync: got 'queues', expected one of slices"):
        DigitalTwin(attributes=("slices",), sync={"queues": PeriodicSync(period_s=1.0)})
    with pytest.raises(TypeError, match="expected a rule such as PeriodicSync"):
        DigitalTwin(sync={"queues": 0.1})
    with pytest.raises(TypeError, match="expected an AccessPolicy"):
        DigitalTwin(policy=[forbid("app-*")])
    with pytest.raises(TypeError, match="expected one with ahead"):
        DigitalTwin(forecaster="seasonal")
    with pytest.raises(TypeError, match="default: got 'no'"):
        AccessPolicy(default="no")
    network, twin = loaded()
    with pytest.raises(ValueError, match="expected a node of the network"):
        network.add(DigitalTwin(scope=("edge-9",)))
    with pytest.raises(ValueError, match="lives in another network already"):
        Network(metro(), SLICES).add(twin)


# --- the traffic that it remembers --------------------------------------------------------------------------------


def test_remembered_windows_are_what_was_offered_in_them_whenever_messages_came():
    history = TrafficHistory(window_s=1.0, windows=4, start_s=0.0)
    for stamp_s in (0.0, 0.7, 1.3, 2.9, 5.2, 6.0):  # two flows of 100 bytes a second, evenly
        history.take("a", stamp_s, {(0, "b"): (2 * stamp_s, 200 * stamp_s, 2e4 * stamp_s, 10 * stamp_s)})
    offered = history.offered()
    assert offered.series == ((0, "a", "b"),)
    assert offered.flows_per_s[:, 0] == pytest.approx([2.0] * 4)
    assert offered.end_s == 6.0
    assert (offered.mean_bytes[0], offered.second_moment[0], offered.operations[0]) == pytest.approx((100, 1e4, 5))


def test_a_source_that_fell_silent_is_taken_to_go_on():
    history = TrafficHistory(window_s=1.0, windows=10, start_s=0.0)
    for stamp_s in range(6):
        history.take("a", float(stamp_s), {(0, "c"): (3.0 * stamp_s, 3.0, 3.0, 0.0)})
        if stamp_s < 4:
            history.take("b", float(stamp_s), {(1, "c"): (float(stamp_s), 1.0, 1.0, 0.0)})
    offered = history.offered()
    assert offered.series == ((0, "a", "c"), (1, "b", "c"))
    assert offered.flows_per_s.tolist() == [[3.0, 1.0]] * 3
    assert offered.end_s == 5.0


def test_before_a_whole_window_the_mean_since_the_start_is_known():
    history = TrafficHistory(window_s=10.0, windows=4, start_s=0.0)
    history.take("a", 0.0, {})
    history.take("a", 2.0, {(0, "b"): (8.0, 800.0, 8e4, 0.0)})
    assert history.offered().flows_per_s.tolist() == [[4.0]]
    assert history.offered().end_s == 2.0


def test_a_twin_that_comes_late_reckons_from_when_it_came():
    network, _ = loaded()
    network.run(until_s=50.0)
    network.apply(SetUp(element="edge-2->edge-3", up=False))
    late = network.add(DigitalTwin(period_s=1.0, window_s=10.0, name="late"))
    network.run(until_s=52.0)
    flows = late.known().offered.flows_per_s
    # two seconds of two Poisson processes of 50 per second: five standard deviations
    assert flows.shape == (1, 2)
    assert np.all(np.abs(flows - 50) < 5 * np.sqrt(100) / 2)


def test_memory_does_not_grow_with_simulated_time():
    history = TrafficHistory(window_s=1.0, windows=5, start_s=0.0)
    for stamp_s in range(100):
        history.take("a", float(stamp_s), {(0, "b"): (float(stamp_s), 1.0, 1.0, 0.0)})
    assert len(history.ends["a"]) == 6
