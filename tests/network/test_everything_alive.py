"""Everything at once: users who move, twins of three levels, a planner, operators, failures; nothing is lost."""

from functools import cache
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.network.agent_worlds import Always, mind_of
from tests.network.twin_worlds import NODES, cells_world
from wirelesslab.network import (
    AccessPolicy,
    Agent,
    Carriage,
    DigitalTwin,
    ExponentialSize,
    Feed,
    Flow,
    Mandate,
    MaxWeight,
    Network,
    Outage,
    PeriodicSync,
    Planner,
    Poisson,
    PoissonSync,
    ProportionalShares,
    Rehearse,
    ResourceRatio,
    SetRatios,
    SliceTwin,
    StaticShares,
    ThresholdSync,
    UserTwins,
    audit,
    forbid,
)
from wirelesslab.network.areas import Rectangle
from wirelesslab.network.mobility import RandomWaypoint
from wirelesslab.network.twins.access_policy import latest_reads

TO_AND_FRO = RandomWaypoint(area=Rectangle(low_m=(-700.0, -100.0), high_m=(700.0, 100.0)), speed_mps=(100.0, 200.0))
END_S = 3.0
MOMENTS_S = (0.0137, 0.9, 1.2551, 2.004)


def alive(seed=3):
    """Return a network on which everything lives that this wing has."""
    network, cells = cells_world(mobility=TO_AND_FRO, rate_per_s=20.0, seed=seed, report_s=0.5, keep_records=None)
    for name, source, sink in (("embb", "edge-1", "core"), ("miot", "edge-2", "core"), ("miot", "core", "edge-2")):
        network.add(Poisson(name, source=source, sink=sink, rate_per_s=300.0, num_bytes=ExponentialSize(5000.0)))
    for user in range(0, 40, 2):
        network.send(Flow(slice="embb", num_bytes=20_000, source="core", sink=NODES[user // 10], user=user))
    told = Carriage(slice="miot", num_bytes=60, header_bytes=40, loss=0.05)
    feeds = (
        Feed(attributes=("cell", "demand", "served", "delay"), sync=PeriodicSync(period_s=0.1), carriage=told),
        Feed(attributes=("position", "channel"), sync=PoissonSync(rate_per_s=2.0), carriage=told),
    )
    twins = network.add(UserTwins(cells, feeds, migration_slice="embb", state_bytes=50_000, operations=1e6))
    network.add(SliceTwin(twins, ("embb", "miot"), at="core", every_s=0.1, carriage=told))
    twin = network.add(DigitalTwin(
        0.1, slice="miot", at="edge-1", name="twin", policy=AccessPolicy((forbid("curious", "queues"),)),
        sync={"queues": PoissonSync(rate_per_s=15.0), "down": ThresholdSync(error=0.0, every_s=0.02, at_most_s=1.0)},
    ))  # fmt: skip
    network.add(Planner(plan=ProportionalShares(), window_s=0.5, dedicated=False, sees=twin, at="core", part=0.6,
                        name="planner"))  # fmt: skip
    halves = StaticShares(shares_of_slices=(0.5, 0.5))
    network.add(
        Planner(plan=halves, window_s=0.7, domain="radio", sees="slice-twin", at="edge-1", name="radio-planner")
    )
    inside = Mandate(domains=("transport",), kinds=("ratios",), floor="planner")
    network.add(Agent(MaxWeight(), sees=twin, at="edge-1", every_s=0.05, mandate=inside, name="operator"))
    network.add(Agent(Rehearse((MaxWeight(),), horizon_s=0.05, futures=1), sees=twin, at="edge-2", every_s=0.9,
                      mandate=inside, name="thinker"))  # fmt: skip
    greedy = SetRatios(domain="transport", ratios={"embb": ResourceRatio(max=0.1), "miot": ResourceRatio(min=0.9)})
    network.add(Agent(Always(greedy), every_s=0.4, at="edge-1", mandate=inside, name="greedy"))
    network.add(Agent(Always("rubbish"), sees="slice-twin", at="core", every_s=0.3, name="confused"))
    network.add(Agent(Always(None), sees=twin, at="edge-1", every_s=0.3, name="curious"))
    network.add(Agent(Always(greedy), sees=twin, at="core", every_s=0.3, decide_s=0.05, deadline_s=0.01, name="slow"))
    network.add(Outage(element="edge-1->core", start_s=1.1, end_s=1.5))
    network.add(Outage(element="gnb-3", start_s=1.25, end_s=1.55))
    return network


@cache
def lived():
    """Return the network at its end, snapshots of it on the way, and its run."""
    network, snapshots = alive(), []
    for moment_s in MOMENTS_S:
        network.run(moment_s)
        network.check()
        snapshots.append(network.snapshot())
    while not network.memory["user-twins"].lives.moving:
        network.agenda.env.step()
    snapshots.append(network.snapshot())  # while a twin is on its way
    run = network.run(END_S)
    network.check()
    return network, snapshots, run


def test_whoever_is_watched_or_written_down_on_the_way_ends_alike():
    network, snapshots, _ = lived()
    end = network.snapshot().digest()
    undisturbed = alive()
    undisturbed.run(END_S)
    assert undisturbed.snapshot().digest() == end
    for snapshot in snapshots:
        again = Network.restored(snapshot)
        assert again.snapshot().digest() == snapshot.digest()
        again.run(END_S)
        again.check()
        assert again.snapshot().digest() == end, f"restored at {snapshot.time_s}"


def test_something_of_everything_has_happened():
    network, snapshots, _ = lived()
    twins, twin, slices = (network.actors[name] for name in ("user-twins", "twin", "slice-twin"))
    assert twins.counts["migrations"] > 5
    assert twins.counts["lost_updates"] > 0
    assert any(snapshot.state["memory"]["user-twins"].lives.moving for snapshot in snapshots)
    assert min(slices.counts["messages"], twin.counts["messages"]) > 50
    assert network.book.handovers > 0
    assert mind_of(network, network.actors["thinker"]).policy.rehearsals > 0


def test_bytes_of_twins_are_all_accounted_for():
    network, _, _ = lived()
    sent = {name: network.actors[name].counts["num_bytes"] for name in ("user-twins", "slice-twin", "twin")}
    flows = [r.flow for r in network.flow_records if r.flow.label == "twin sync"]
    flows += [way.flow for way in network.ways.values() if way.flow.label == "twin sync"]
    assert {name: sum(f.num_bytes for f in flows if f.receiver == name) for name in sent} == sent
    moved = [r for r in network.flow_records if r.flow.label == "twin migration"]
    twins = network.actors["user-twins"]
    assert twins.counts["migrated_bytes"] == sum(r.flow.num_bytes for r in moved if r.delivered)
    assert twins.counts["migrations"] + twins.counts["failed_migrations"] == len(moved)


def test_refusals_are_written_down_with_their_reasons_and_the_run_goes_on():
    network, _, _ = lived()
    refused = {}
    for record in network.actions:
        if record.refused:
            refused.setdefault(record.by, set()).add(record.refused.split(":")[0])
    assert refused["confused"] == {"no action, expected SetRatios, SetUp, SetActive or SetSync"}
    assert refused["slow"] == {"late"}
    assert refused["greedy"] == {"outside the reservation"}
    assert refused["curious"] == {"twin"}  # forbids it its queues
    operator = mind_of(network, network.actors["operator"])
    assert operator.num_decisions > 10


def test_every_attribute_that_an_agent_was_shown_is_in_the_log_and_no_other():
    network, _, _ = lived()
    shown = {(c.twin, c.by): set() for c in audit(network)}
    for count in audit(network):
        shown[count.twin, count.by] |= {count.attribute} if count.shown else set()
    everything = {"slices", "ratios", "down", "queues"}
    assert shown == {
        ("twin", "planner"): {"slices"}, ("slice-twin", "radio-planner"): {"slices"}, ("twin", "operator"): {"queues"},
        ("twin", "thinker"): everything | {"traffic"}, ("slice-twin", "confused"): {"slices", "ratios"},
        ("twin", "curious"): set(), ("twin", "slow"): everything,
        ("user-twins", "slice-twin"): {"cell", "demand", "served", "delay"},
    }  # fmt: skip
    times_s = [read.time_s for read in latest_reads(network)]
    assert times_s == sorted(times_s)
    by_agents = sum(count.shown + count.refused for count in audit(network) if count.by != "slice-twin")
    assert len(times_s) == by_agents + 4  # a slice twin's reading of its members is counted, but listed once


def test_no_age_is_negative_no_stamp_goes_back_and_no_twin_has_two_masters():
    network, before = alive(), {}
    for until_s in np.arange(0.05, END_S, 0.0537):
        network.run(float(until_s))
        network.actors["user-twins"].check()
        stamps = {f"users {i}": m.stamp_s for i, m in enumerate(network.memory["user-twins"].mirrors)}
        stamps |= {f"twin {a}": m.stamp_s for a, m in network.actors["twin"].state()["state"].mirrors.items()}
        for name, stamp_s in stamps.items():
            assert stamp_s.max() <= network.now_s
            known = np.isfinite(stamp_s) & np.isfinite(before.get(name, stamp_s))
            assert (stamp_s[known] >= before.get(name, stamp_s)[known]).all()
            before[name] = stamp_s.copy()
        for twin in ("twin", "slice-twin"):
            view = network.actors[twin].view()
            assert min(view.ages_s.values()) >= 0
            assert view.time_s >= before.get(twin, 0.0)
            before[twin] = view.time_s


def test_a_report_of_it_all_opens(tmp_path):
    _, _, run = lived()
    page = run.report(tmp_path / "report.html").read_text(encoding="utf-8")
    text = " ".join(ElementTree.fromstring(page.partition("\n")[2]).itertext())
    for word in ("planner", "operator", "confused", "age of queues", "slice-twin", "user-twins"):
        assert word in text, word


@pytest.mark.parametrize("name", ["user-twins", "slice-twin", "twin", "planner", "operator"])
def test_whoever_is_here_is_not_added_twice(name):
    network, _, _ = lived()
    with pytest.raises(ValueError, match="lives here already"):
        network.add(network.actors[name])
