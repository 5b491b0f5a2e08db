"""Twins of slices: the sum of their members, to the byte, and honest about their age."""

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

from tests.network.twin_worlds import graph, world
from wirelesslab.network import EMBB, MIOT, Agent, Network, ServiceLevel
from wirelesslab.network.areas import Rectangle
from wirelesslab.network.mobility import RandomWalk, RandomWaypoint
from wirelesslab.network.twins.access_policy import AccessPolicy, AccessRefusedError, audit, forbid, latest_reads
from wirelesslab.network.twins.aggregates import Aggregate
from wirelesslab.network.twins.feeds import Feed
from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.slice_twin import SliceTwin
from wirelesslab.network.twins.sync import PeriodicSync
from wirelesslab.network.twins.user_attributes import USER_ATTRIBUTES
from wirelesslab.network.twins.user_lives import Life

STILL = RandomWalk(diffusion_m2_per_s=1.0)
TO_AND_FRO = RandomWaypoint(area=Rectangle(low_m=(-700.0, -100.0), high_m=(700.0, 100.0)), speed_mps=(100.0, 200.0))
WHOLE = ("users", "offered_bytes", "waiting_bytes", "delivered_packets", "late_packets")


def feed(period_s=0.1, random_phase=False, **carriage):
    sync = PeriodicSync(period_s=period_s, random_phase=random_phase)
    return Feed(attributes=tuple(USER_ATTRIBUTES), sync=sync, carriage=Carriage(**carriage))


def slices_world(*slices, user_feed=None, mobility=STILL, **options):
    network, cells, twins = world((user_feed or feed(),), mobility=mobility, every_s=0.05)
    return network, cells, twins, network.add(SliceTwin(twins, slices or ("embb", "miot"), **options))


def assert_sum_of_members(network, cells, twins, twin):
    """Everything that a slice twin says is what its live members say, added up one by one."""
    live = [u for u in range(twins.num_users) if twins.life[u] == Life.LIVE]
    known = {a: twins.values(a) for a in USER_ATTRIBUTES}
    for index, name in enumerate(("embb", "miot")):
        sums, members = twin.sums(name), [u for u in live if twins.slice_of[u] == index]
        assert sums.users == len(members)
        assert sums.offered_bytes == sum(int(known["demand"][u, 0]) for u in members)
        assert sums.waiting_bytes == sum(int(known["demand"][u, 1]) for u in members)
        assert sums.delivered_packets == sum(int(known["served"][u, 0]) for u in members)
        assert sums.late_packets == sum(int(known["served"][u, 1]) for u in members)
        assert sums.delay_seconds == pytest.approx(sum(float(known["delay"][u, 0]) for u in members), rel=1e-12)
        for cell in range(4):
            here = [u for u in members if known["cell"][u, 0] == cell]
            assert sums.users_by_cell[cell] == len(here)
            assert sums.waiting_by_cell[cell] == sum(int(known["demand"][u, 1]) for u in here)
    return network, cells


@pytest.mark.parametrize("mobility", [STILL, TO_AND_FRO], ids=["still", "moving"])
def test_a_slice_twin_is_the_sum_of_its_members_to_the_byte(mobility):
    # members are heard of at even tenths of a second, and added up at all of them
    network, cells, twins, twin = slices_world(user_feed=feed(0.2), mobility=mobility, every_s=0.1)
    for until_s in (0.505, 1.505, 3.105):
        network.run(until_s)
        assert_sum_of_members(network, cells, twins, twin)
        assert twin.sums().aligned
        # all users were asked at one time: the sum is what the radio itself says of that time
        assert twin.sums().users == 40
        assert twin.sums().oldest_s == twins.mirror("demand").stamp_s[0]
    network.run(3.15)
    assert twin.sums().offered_bytes <= cells.access.account().offered_bytes.sum()


def test_at_equal_time_stamps_the_sum_is_what_the_radio_had_counted_then():
    network, cells, _, twin = slices_world(every_s=0.1)
    told = {}
    while network.now_s < 2.0:
        network.agenda.env.step()
        told[cells.ticked_s] = cells.meters().offered_bytes.sum()
    sums = twin.sums()
    assert sums.aligned
    assert sums.offered_bytes == told[sums.oldest_s] > 0


def test_a_slice_twin_of_members_of_unequal_ages_says_so():
    network, _, _, twin = slices_world(user_feed=feed(0.5, random_phase=True), every_s=0.1)
    network.run(3.0)
    sums = twin.sums()
    assert not sums.aligned
    assert sums.newest_s > sums.oldest_s
    assert twin.age_s() == pytest.approx(3.0 - sums.oldest_s)
    assert 0.4 < twin.age_s() < 0.75


def test_messages_of_a_slice_twin_are_traffic_and_it_is_as_old_as_they_are():
    carriage = Carriage(slice="miot", num_bytes=400, header_bytes=40)
    network, _, twins, twin = slices_world(at="core", every_s=0.5, carriage=carriage)
    network.run(4.7)
    assert twin.counts["messages"] == 10 * 2 * 2  # rounds, edges, slices
    assert twin.counts["num_bytes"] == 440 * twin.counts["messages"]
    to_core = sum(t[1] for (_, _, sink), t in network.traffic.items() if sink == "core")
    assert to_core == twin.counts["num_bytes"]
    assert 0.2 < twin.age_s() < 0.2 + 0.15
    network.run(4.51 + 0.5)
    assert twin.age_s() > 0.02 + twins.ages_s("demand").min()  # the way to the core takes 20 ms


def test_a_lost_message_leaves_the_slice_twin_growing_old():
    network, _, _, twin = slices_world(at="core", every_s=0.5, carriage=Carriage(slice="miot"))
    network.run(2.2)
    network.active[1] = False
    network.run(4.2)
    assert twin.counts["lost_messages"] == 4 * 4
    assert 2.1 < twin.age_s() < 2.4
    network.active[1] = True
    network.run(4.7)
    assert twin.age_s() < 0.4


@pytest.mark.parametrize("mobility", [STILL, TO_AND_FRO], ids=["still", "moving"])
def test_the_history_adds_up_to_all_that_members_have_said(mobility):
    network, _, twins, twin = slices_world(mobility=mobility, every_s=0.2)
    network.run(4.1)
    for name in ("embb", "miot"):
        history = twin.history(name)
        assert history.shape == (20, 4)
        assert history.min() >= 0
    network.run(4.21)  # closes the window of what was known at 4.2
    history = twin.history("embb")
    members = twins.slice_of == 0
    assert 0 < history.sum() <= twins.values("demand")[members, 0].sum()
    # bytes lie where the users were: nearly all cells had some
    assert (history.sum(axis=0) > 0).all()


def test_a_history_is_no_longer_than_was_asked_for():
    network, _, _, twin = slices_world(every_s=0.1, history=5)
    network.run(3.0)
    assert twin.history("embb").shape == (5, 4)


def test_slice_twins_merge_and_split_and_nothing_is_lost():
    network, cells, twins, embb = slices_world("embb", user_feed=feed(0.2), every_s=0.1, name="embb-twin")
    miot = network.add(SliceTwin(twins, "miot", every_s=0.1, name="miot-twin"))
    network.run(1.15)
    apart = {name: getattr(embb.sums(), name) + getattr(miot.sums(), name) for name in WHOLE}
    embb.merge(miot)
    assert embb.slices == ("embb", "miot")
    assert miot.slices == ()
    assert miot.sums().users == 0
    assert {name: getattr(embb.sums(), name) for name in WHOLE} == apart
    network.run(2.15)
    assert_sum_of_members(network, cells, twins, embb)
    assert miot.sums().users == 0
    together = embb.sums("miot")
    again = embb.split("miot", name="miot-again")
    assert {name: getattr(again.sums(), name) for name in WHOLE} == {name: getattr(together, name) for name in WHOLE}
    network.run(3.05)
    assert embb.slices == ("embb",)
    assert again.sums().offered_bytes > together.offered_bytes
    assert again.history("miot").min() >= 0
    with pytest.raises(ValueError, match="slices"):
        embb.sums("miot")
    with pytest.raises(ValueError, match="merge"):
        embb.merge(embb)


def test_a_slice_twin_shows_a_view_with_its_age():
    network, _, _, twin = slices_world(every_s=0.1)
    network.run(1.05)
    first = twin.view(by="planner")
    network.run(2.05)
    view = twin.view(first, by="planner")
    sums = twin.sums("embb")
    assert view.slices["embb"].offered_bytes == sums.offered_bytes
    assert view.slices["embb"].inside_bytes == sums.waiting_bytes
    assert view.ages_s["slices"] == twin.age_s()
    assert view.time_s == sums.oldest_s == sums.newest_s
    assert view.ratios == network.view().ratios
    rate_bps = 8 * (sums.offered_bytes - first.slices["embb"].offered_bytes) / 1.0
    assert view.offered_bps("embb") == pytest.approx(rate_bps)
    assert {count.attribute for count in audit(network) if count.by == "planner"} == {"slices", "ratios"}


@dataclass
class Witness:
    """Writes down what it is shown, and wishes nothing."""

    reads: tuple = ("slices", "ratios")
    seen: list = field(default_factory=list)

    def act(self, view):
        self.seen.append(view)


def test_an_agent_faster_than_the_twin_is_told_sees_the_true_rates():
    # told every second, looked at every quarter: what is shown is as long ago as the totals, and so is its window
    network, cells, _, twin = slices_world(user_feed=feed(1.0), every_s=0.25)
    agent = network.add(Agent(Witness(), sees=twin, every_s=0.25))
    offered = {}
    while network.now_s < 6.0:
        network.agenda.env.step()
        offered[cells.ticked_s] = 8 * cells.meters().offered_bytes[cells.access.user_slices == 0].sum()
    views = network.record(network.name_of(agent), lambda: None).policy.seen
    windows = [view for view in views if view.before is not None]
    assert len(windows) > 16
    assert {round(view.window_s, 9) for view in windows} == {1.0}
    for view in windows:
        truth_bps = (offered[view.time_s] - offered[view.before.time_s]) / view.window_s
        assert truth_bps > 0
        assert view.offered_bps("embb") == pytest.approx(truth_bps)


def test_totals_never_fall_and_time_never_goes_back_while_twins_are_under_way():
    network, _, twins = world((feed(0.1, random_phase=True),), mobility=TO_AND_FRO, migration_slice="embb",
                              state_bytes=200_000, rate_per_s=50.0)  # fmt: skip
    twin = network.add(SliceTwin(twins, ("embb", "miot"), every_s=0.1))
    views, fewest = [], 40
    for step in range(1, 60):
        network.run(0.05 * step)
        views.append(twin.view())
        fewest = min(fewest, twin.sums().users) if step > 10 else fewest
    assert fewest < 40  # while it is copied, no edge adds a twin up
    for before, after in pairwise(views):
        assert after.time_s >= before.time_s
        for name in ("embb", "miot"):
            old, new = before.slices[name], after.slices[name]
            for what in ("offered_bytes", "delivered_bytes", "delivered_flows", "late_flows", "delay_seconds"):
                assert getattr(new, what) >= getattr(old, what), what


def test_totals_are_the_sum_of_the_members_while_nobody_is_under_way():
    network, _, _, twin = slices_world(user_feed=feed(0.2), every_s=0.1)
    network.run(3.15)
    for name in ("embb", "miot"):
        sums, seen = twin.sums(name), twin.view().slices[name]
        assert (seen.offered_bytes, seen.inside_bytes) == (sums.offered_bytes, sums.waiting_bytes)
        assert (seen.delivered_flows, seen.late_flows) == (sums.delivered_packets, sums.late_packets)
        assert seen.delay_seconds == pytest.approx(sums.delay_seconds, rel=1e-12)


def test_an_agent_is_shown_what_it_reads_and_the_log_says_so():
    network, _, _, twin = slices_world(every_s=0.1)
    for name, reads in (("queue-reader", ("queues",)), ("load-reader", ("slices",))):
        network.add(Agent(Witness(reads), sees=twin, every_s=0.5, name=name))
    network.run(2.2)
    blind, seeing = (network.record(name, lambda: None).policy.seen for name in ("queue-reader", "load-reader"))
    assert {(tuple(view.slices), tuple(view.ratios)) for view in seeing} == {(("embb", "miot"), ())}
    assert not any(view.slices or view.ratios for view in blind)
    counts = {(c.by, c.attribute): c.shown for c in audit(network) if c.by.endswith("reader")}
    assert counts == {("load-reader", "slices"): 5}


def test_what_is_split_off_keeps_its_time():
    network, _, _, twin = slices_world(user_feed=feed(0.5), every_s=0.5)
    network.run(1.75)
    before = twin.view()
    apart = twin.split("miot", name="miot-twin").view()
    assert apart.time_s == before.time_s < network.now_s
    assert apart.slices["miot"] == before.slices["miot"]


def test_a_twin_that_knows_nothing_has_no_age_to_draw():
    network, _, twins, twin = slices_world(at="core", every_s=0.5, carriage=Carriage(slice="miot"))
    assert np.isnan(twin.gauges()["age (s)"])
    assert np.isnan(twins.gauges()["greatest age of demand (s)"])
    network.run(1.25)
    assert 0 < twins.gauges()["mean age of demand (s)"] < twin.gauges()["age (s)"] < 0.9


def test_a_window_begins_anew_when_slices_are_merged():
    network, _, twins, embb = slices_world("embb", user_feed=feed(0.2), every_s=0.1, name="embb-twin")
    miot = network.add(SliceTwin(twins, "miot", every_s=0.1, name="miot-twin"))
    network.run(1.15)
    before = embb.view()
    embb.merge(miot)
    network.run(2.15)
    assert embb.view(before).before is None
    assert embb.view(before).offered_bps("miot") > 0


def test_a_slice_twin_reads_its_members_by_leave_and_that_is_logged():
    network, _, _, _ = slices_world(every_s=0.1)
    network.run(1.05)
    counts = {c.attribute: c.shown for c in audit(network) if (c.twin, c.by) == ("user-twins", "slice-twin")}
    assert counts == dict.fromkeys(("cell", "demand", "served", "delay"), 1 + 11)  # when it came, and each round
    assert len(latest_reads(network)) == 4  # what is routine is counted alone, or it would fill the log
    network, _, twins = world((feed(),), policy=AccessPolicy((forbid("slice-*", "demand"),)))
    with pytest.raises(AccessRefusedError, match="demand"):
        network.add(SliceTwin(twins, "embb"))
    assert [(c.by, c.attribute, c.refused) for c in audit(network)] == [("slice-twin", "demand", 1)]


def test_who_may_not_look_is_refused_and_logged():
    policy = AccessPolicy((forbid("app-*"),))
    network, _, _, twin = slices_world(every_s=0.1, policy=policy)
    network.run(1.0)
    assert twin.read("users", by="planner") == {"embb": 20, "miot": 20}
    with pytest.raises(AccessRefusedError):
        twin.read("users", by="app-1")
    with pytest.raises(AccessRefusedError):
        twin.view(by="app-1")
    assert sum(count.refused for count in audit(network) if count.by == "app-1") == 3
    with pytest.raises(ValueError, match="attribute"):
        twin.read("mood", by="planner")


def test_a_slice_twin_knows_whether_its_slice_keeps_its_promise():
    zero = np.zeros(1, np.int64)
    given = {"users": 1, "offered_bytes": 9, "waiting_bytes": 0, "delay_seconds": 2.0, "users_by_cell": zero,
             "waiting_by_cell": zero, "oldest_s": 1.0, "newest_s": 1.0}  # fmt: skip
    level = ServiceLevel(delay_s=0.1, delay_quantile=0.95)
    assert Aggregate(delivered_packets=100, late_packets=4, **given).keeps(level)
    assert not Aggregate(delivered_packets=100, late_packets=6, **given).keeps(level)
    assert Aggregate(delivered_packets=100, late_packets=6, **given).keeps(ServiceLevel())
    assert Aggregate(delivered_packets=100, late_packets=6, **given).mean_delay_s == 0.02
    assert Aggregate.joined([], 1).keeps(level)


def test_a_network_with_slice_twins_restored_goes_on_alike_to_the_last_bit():
    carriage = Carriage(slice="miot", num_bytes=40_000, loss=0.1)
    network, _, _, twin = slices_world(mobility=TO_AND_FRO, at="core", every_s=0.2, carriage=carriage)
    network.run(2.0)
    while not twin._state.bag.under_way:
        network.agenda.env.step()
    snapshot = network.snapshot()
    again = Network.restored(snapshot)
    assert again.snapshot().digest() == snapshot.digest()
    for one in (network, again):
        one.run(5.0)
    assert again.snapshot().digest() == network.snapshot().digest()
    other = again.actors["slice-twin"]
    assert other is not twin
    assert other.sums().offered_bytes == twin.sums().offered_bytes


def test_what_makes_no_slice_twin_is_refused():
    network = Network(graph(), (EMBB, MIOT))
    with pytest.raises(ValueError, match="twins"):
        network.add(SliceTwin("user-twins", "embb"))
    with pytest.raises(ValueError, match="at"):
        SliceTwin("user-twins", "embb", carriage=Carriage(slice="embb"))
    network, _, twins = world((Feed(attributes=("cell",), sync=PeriodicSync(period_s=1.0)),))
    with pytest.raises(ValueError, match="attribute"):
        network.add(SliceTwin(twins, "embb"))
