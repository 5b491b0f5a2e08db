"""Twins of users: how old they are, how wrong, where they live, and that they move whole."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.network.twin_worlds import CELLS_M, NODES, RING_BPS, RING_DELAY_S, cells_world, graph, world
from wirelesslab.network import EMBB, Network, SetUp, theory
from wirelesslab.network.areas import Rectangle
from wirelesslab.network.mobility import MobilityTrace, RandomWalk, RandomWaypoint
from wirelesslab.network.twins.access_policy import AccessPolicy, AccessRefusedError, audit, forbid
from wirelesslab.network.twins.feeds import Feed
from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.sync import PeriodicSync, PoissonSync, ThresholdSync
from wirelesslab.network.twins.user_attributes import USER_ATTRIBUTES
from wirelesslab.network.twins.user_lives import Life
from wirelesslab.network.twins.users import UserTwins

WALK = RandomWalk(diffusion_m2_per_s=3.0)
TO_AND_FRO = RandomWaypoint(area=Rectangle(low_m=(-700.0, -100.0), high_m=(700.0, 100.0)), speed_mps=(100.0, 200.0))
STATE_BYTES = 20_000  # 20 ms on the ring, and 5 ms along it


def everything(period_s=0.2, **carriage):
    sync = PeriodicSync(period_s=period_s, random_phase=True)
    return Feed(attributes=tuple(USER_ATTRIBUTES), sync=sync, carriage=Carriage(**carriage))


# --- ages and errors -------------------------------------------------------------------------------------------------


def test_the_mean_age_of_lossy_periodic_twins_of_users_is_the_closed_form():
    feed = everything(1.0, loss=0.1, delay_s=0.2)
    network, _, twins = world((feed,), num_users=400, mobility=WALK, rate_per_s=0.01, every_s=0.5)
    network.run(until_s=10.0)
    before = twins.mirror("position").age_integrals(10.0)
    network.run(until_s=30.0)
    ages_s = (twins.mirror("position").age_integrals(30.0) - before) / 20.0
    error = ages_s.std(ddof=1) / np.sqrt(ages_s.size)  # users are independent; so many batches
    wanted = theory.periodic_age(1.0, 0.1, 0.2)
    # the clock sends at its next beat and the gNB knows of its last tick: up to 0.01 s each
    assert -3 * error < ages_s.mean() - wanted < 3 * error + 0.02
    assert ages_s.mean() == pytest.approx(wanted, rel=0.02 + 0.02)


def test_the_error_of_a_twin_grows_with_its_age_as_the_random_walk_says():
    network, _, twins = world((everything(4.0),), num_users=4000, mobility=WALK, rate_per_s=0.01, clock_s=0.05)
    network.run(until_s=12.03)
    ages_s, square = twins.ages_s("position"), np.square(twins.errors("position"))
    per_axis = np.square(twins.values("position") - twins.truth("position"))
    assert 3.5 < ages_s.max() < 4.1
    for low, high in ((0.2, 1.0), (1.0, 2.0), (2.0, 3.0), (3.0, 4.0)):
        chosen = (ages_s >= low) & (ages_s < high)
        ratio = square[chosen] / (4 * WALK.diffusion_m2_per_s * ages_s[chosen])  # exponential, mean 1
        error = 1 / np.sqrt(chosen.sum())
        assert ratio.mean() == pytest.approx(1.0, abs=3 * error)
        for axis in range(2):  # chi-squared with one degree of freedom, variance 2
            ratio = per_axis[chosen, axis] / (2 * WALK.diffusion_m2_per_s * ages_s[chosen])
            assert ratio.mean() == pytest.approx(1.0, abs=3 * np.sqrt(2) * error)
    slope = float((square * ages_s).sum() / np.square(ages_s).sum())
    assert slope == pytest.approx(4 * WALK.diffusion_m2_per_s, rel=0.06)  # 4 standard errors of 4000 users


def test_a_threshold_bounds_the_error_of_users_positions():
    sync = ThresholdSync(error=5.0, every_s=0.05)
    feeds = (Feed(attributes=("position",), sync=sync),)
    network, _, twins = world(feeds, mobility=TO_AND_FRO, migration_slice="")
    worst = 0.0
    for round_ in range(200):
        network.run(until_s=5.0 + round_ * 0.013)
        worst = max(worst, float(twins.errors("position").max()))
    assert 5.0 < worst <= 5.0 + 200.0 * (0.05 + 0.01)  # the fastest, from one look to the next and of the last tick


def test_what_is_sent_together_is_one_flow_of_each_gnb():
    feed = everything(0.5, slice="miot", num_bytes=30, header_bytes=20)
    feed = replace(feed, sync=PeriodicSync(period_s=0.5))
    network, cells, twins = world((feed,), mobility=WALK, rate_per_s=1e-6)
    network.run(until_s=2.3)
    assert twins.counts["messages"] == 5 * np.unique(cells.access.cells).size
    assert twins.counts["updates"] == 5 * 40
    assert twins.counts["num_bytes"] == twins.counts["messages"] * 20 + 200 * 30
    index = network.slice_index("miot")
    assert network.book.offered_bytes[index] - network.book.air_bytes[index] >= twins.counts["num_bytes"]
    assert (
        sum(total[1] for (_, source, _), total in network.traffic.items() if source in NODES)
        == (twins.counts["num_bytes"])
    )


def test_a_twin_knows_what_the_gnb_knew_and_how_old_that_is():
    network, cells, twins = world((everything(0.1, delay_s=0.03),), mobility=WALK, clock_s=0.1)
    network.run(until_s=3.0)
    meters = cells.meters()
    assert (meters.offered_bytes > 0).mean() > 0.9
    assert np.all(twins.values("demand")[:, 0] <= meters.offered_bytes)
    network.run(until_s=3.2)
    account = cells.access.account()
    assert meters.offered_bytes.sum() == account.offered_bytes.sum()
    assert meters.delivered_packets.sum() == account.delivered_packets.sum()
    assert twins.truth("demand")[:, 1].min() >= 0
    ages_s = twins.ages_s("demand")
    assert ages_s.min() >= 0.03
    assert ages_s.max() <= 0.24


# --- lives -----------------------------------------------------------------------------------------------------------


def test_a_twin_is_absent_then_made_then_live_then_retired_and_leaves_nothing():
    network, _, twins = world((everything(0.1, delay_s=0.15),), create=False, mobility=WALK)
    network.run(until_s=0.5)
    assert set(twins.life) == {Life.ABSENT}
    assert np.isinf(twins.ages_s("position")).all()
    assert twins.counts["messages"] == 0
    twins.create([3, 4])
    network.run(until_s=0.6)
    assert twins.life[3] == Life.CREATING
    network.run(until_s=1.0)
    assert twins.life[3] == twins.life[4] == Life.LIVE
    assert twins.homes[3] in {"edge-1", "edge-2"}
    assert twins.homes[5] == ""
    assert np.isfinite(twins.ages_s("delay")[[3, 4]]).all()
    twins.retire(3)
    for _ in range(2):  # at once, and when what was under way has come
        assert twins.life[3] == Life.RETIRED
        assert np.isinf(twins.ages_s("position")[3])
        assert not any(twins.values(a)[3].any() for a in USER_ATTRIBUTES)
        assert np.isnan(twins.mirror("demand").mean_ages_s(network.now_s)[3])
        network.run(until_s=network.now_s + 1.0)
    twins.create(3)
    network.run(until_s=network.now_s + 0.5)
    assert twins.life[3] == Life.LIVE


def test_create_and_retire_refuse_what_makes_no_sense():
    network, _, twins = world((everything(),), mobility=WALK)
    with pytest.raises(ValueError, match="there already"):
        twins.create(1)
    with pytest.raises(ValueError, match="users"):
        twins.retire([40])
    twins.retire(1)
    with pytest.raises(ValueError, match="has no twin"):
        twins.retire(1)
    network.run(until_s=0.1)


def crossing(feeds, **options):
    """Return a world with one user who goes from the first edge's cells to the second's, at 100 m/s."""
    path = np.stack([np.linspace(-300.0, 300.0, 61), np.full(61, 20.0)], axis=1)[:, None, :]
    trace = MobilityTrace(times_s=np.linspace(0.0, 6.0, 61), positions_m=path)
    return world(feeds, mobility=trace, users_m=path[0], state_bytes=STATE_BYTES, **options)


def test_a_twin_follows_its_user_to_the_next_edge_whole_and_its_age_jumps_by_the_way():
    feeds = (everything(1.0, num_bytes=10, delay_s=0.0),)
    network, _, twins = crossing(feeds, migration_slice="embb", rate_per_s=1e-6)
    homes, ages_s = [], []
    while network.now_s < 6.0:  # every event
        network.agenda.env.step()
        twins.check()
        homes.append(twins.homes[0])
        ages_s.append((network.now_s, twins.ages_s("position")[0]))
    assert list(dict.fromkeys(homes)) == ["edge-1", "edge-2"]
    (migration,) = twins.migrations
    assert (migration.source, migration.sink, migration.num_bytes) == ("edge-1", "edge-2", STATE_BYTES)
    under_way_s = migration.ended_s - migration.began_s
    assert under_way_s == pytest.approx(8 * STATE_BYTES / RING_BPS + RING_DELAY_S, rel=1e-9)
    assert twins.counts["migrated_bytes"] == STATE_BYTES
    # nothing else travelled on the ring
    assert network.links["edge-1", "edge-2"].account().served_bytes.sum() == STATE_BYTES
    age_before = min(age for at, age in ages_s if at == migration.began_s)
    age_after = max(age for at, age in ages_s if at == migration.ended_s)
    assert age_after - age_before == pytest.approx(under_way_s, abs=1e-9)
    network.check()


def test_an_update_that_comes_while_a_twin_is_under_way_is_missed_and_the_age_is_that_of_the_copy():
    feeds = (everything(0.02, num_bytes=10),)
    network, _, twins = crossing(feeds, migration_slice="embb", rate_per_s=1e-6, operations=2e8)
    largest = 0.0
    while network.now_s < 6.0:
        network.agenda.env.step()
        largest = max(largest, float(twins.ages_s("position")[0])) if network.now_s > 0.1 else 0.0
    (migration,) = twins.migrations
    under_way_s = 8 * STATE_BYTES / RING_BPS + RING_DELAY_S + 2e8 / 1e9  # and 0.2 s of computing at the new edge
    assert migration.ended_s - migration.began_s == pytest.approx(under_way_s, rel=1e-9)
    assert twins.counts["missed"] == pytest.approx(under_way_s / 0.02, abs=1)
    assert under_way_s < largest < under_way_s + 0.02 + 0.01 + 0.011


def test_there_are_never_two_masters_whatever_moves_and_fails():
    feeds = (everything(0.1, slice="miot", num_bytes=40, loss=0.1),)
    network, _, twins = world(feeds, mobility=TO_AND_FRO, every_s=0.05, migration_slice="embb", state_bytes=50_000)
    failures = {4.0: False, 4.5: True, 6.0: False, 6.3: True}
    while network.now_s < 8.0:
        network.agenda.env.step()
        for at in [at for at in failures if network.now_s >= at]:
            network.active[0] = failures.pop(at)  # migrations that begin now are refused
        twins.check()
    network.check()
    counts, ended = twins.counts, twins.migrations
    assert counts["migrations"] > 20
    assert counts["failed_migrations"] > 0
    assert counts["migrated_bytes"] == 50_000 * counts["migrations"] == sum(m.num_bytes for m in ended if m.arrived)
    moved = [m for m in ended if m.arrived]
    for user in range(40):  # each goes on from where it came to
        own = [m for m in moved if m.user == user]
        assert all(a.sink == b.source and a.ended_s <= b.began_s for a, b in pairwise(own))


def test_a_twin_that_is_retired_on_its_way_does_not_come_back():
    network, _, twins = crossing((everything(0.5),), migration_slice="embb", rate_per_s=1e-6)
    while twins.life[0] != Life.MIGRATING:
        network.agenda.env.step()
    twins.retire(0)
    network.run(until_s=6.0)
    assert twins.life[0] == Life.RETIRED
    assert twins.migrations == ()
    assert twins.counts["lost_messages"] == 0


# --- written down, and asked for -------------------------------------------------------------------------------------


def test_a_network_restored_in_mid_migration_and_mid_message_goes_on_alike_to_the_last_bit():
    feeds = (
        Feed(
            attributes=("position", "cell"), sync=PoissonSync(rate_per_s=8.0),
            carriage=Carriage(slice="miot", num_bytes=900, loss=0.1),
        ),
        Feed(
            attributes=("demand", "served", "delay"), sync=ThresholdSync(error=2000.0, every_s=0.05),
            carriage=Carriage(delay_s=0.04),
        ),
    )  # fmt: skip
    network, _, twins = world(feeds, mobility=TO_AND_FRO, every_s=0.05, migration_slice="embb", state_bytes=50_000)
    network.run(until_s=2.0)
    while not (Life.MIGRATING in twins.life and twins.counts["messages"] and len(network.ways) > 1):
        network.agenda.env.step()
    snapshot = network.snapshot()
    again = Network.restored(snapshot)
    assert again.snapshot().digest() == snapshot.digest()
    for end_s in (network.now_s + 0.02, network.now_s + 3.0):
        for one in (network, again):
            one.run(until_s=end_s)
        assert again.snapshot().digest() == network.snapshot().digest()
    other = again.actors["user-twins"]
    assert other is not twins
    assert np.array_equal(other.ages_s("position"), twins.ages_s("position"))
    assert other.counts == twins.counts
    again.run(until_s=again.now_s + 1.0)
    assert network.now_s < again.now_s
    assert other.counts["messages"] > twins.counts["messages"]  # the first has not been touched


def test_who_may_not_read_an_attribute_is_refused_and_logged():
    policy = AccessPolicy((forbid("planner", "position"),))
    network, _, twins = world((everything(0.1),), mobility=WALK, policy=policy)
    network.run(until_s=1.0)
    assert twins.read("demand", by="planner").shape == (40, 2)
    with pytest.raises(AccessRefusedError, match="position"):
        twins.read("position", by="planner")
    told = {(count.by, count.attribute): (count.shown, count.refused) for count in audit(network)}
    assert told == {("planner", "demand"): (1, 0), ("planner", "position"): (0, 1)}
    with pytest.raises(ValueError, match="attribute"):
        twins.read("mood", by="planner")


def test_a_run_reports_ages_migrations_and_losses():
    network, _, twins = world((everything(0.5, loss=0.3),), mobility=WALK)
    run = network.run(until_s=10.0)
    assert "user-twins: mean age of position (s)" in run.gauges
    assert twins.gauges()["updates lost in the air"] == twins.counts["lost_updates"] > 0
    assert twins.gauges()["live twins"] == 40


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"feeds": ()}, "attributes"),
        ({"feeds": (everything(), everything())}, "each once"),
        ({"state_bytes": 0}, "state_bytes"),
        ({"clock_s": 0}, "clock_s"),
        ({"operations": -1}, "operations"),
    ],
)
def test_nonsense_is_refused(options, says):
    with pytest.raises(ValueError, match=says):
        UserTwins(**options)


def test_twins_of_cells_that_are_not_there_are_refused():
    network = Network(graph(), (EMBB,))
    with pytest.raises(ValueError, match="cells"):
        network.add(UserTwins("cells"))
    with pytest.raises(ValueError, match="attributes"):
        Feed(attributes=("mood",), sync=PeriodicSync(period_s=1.0))
    assert CELLS_M.shape == (len(NODES), 2)


def test_twins_that_come_late_count_what_is_said_from_then_on():
    # what waits when they come was said before, and must not be missing from what waits when it gets through
    network, cells = cells_world(mobility=WALK, rate_per_s=50.0, every_s=0.5)
    for name in NODES:
        network.apply(SetUp(element=name, up=False))
    network.run(1.0)
    backlog = cells.access.account().waiting_bytes.sum()
    twins = network.add(UserTwins(cells, everything(0.01)))
    for name in NODES:
        network.apply(SetUp(element=name, up=True))
    while network.now_s < 4.0:
        network.run(network.now_s + 0.25)
        assert twins.truth("demand").min() >= 0
    waiting = cells.access.account().waiting_bytes.sum()
    assert waiting < backlog / 10  # it was got rid of
    assert twins.truth("demand")[:, 1].sum() <= waiting + 40 * 1500  # but for parts of packets


def test_where_a_twin_belongs_does_not_hang_on_what_is_down_when_a_network_is_built_anew():
    # gnb-3 belongs to edge-2; while it is down, no edge is in its reach
    network, _, _ = world(everything(), mobility=WALK, every_s=0.5, migration_slice="embb")
    network.run(1.0)
    network.apply(SetUp(element="gnb-3", up=False))
    network.run(1.1)
    again = Network.restored(network.snapshot())
    for one in (network, again):
        one.run(2.0)
    assert again.snapshot().digest() == network.snapshot().digest()
    assert again.actors["user-twins"].counts["migrations"] == 0


def test_a_cell_that_reaches_no_edge_is_refused():
    network, cells = cells_world()
    network.graph.remove_edge("gnb-3", "edge-2")
    with pytest.raises(ValueError, match="gnb-3 reaches none of"):
        network.add(UserTwins(cells, everything()))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"edges": ("edge-1", "edge-1")}, "edges"),
        ({"edges": "edge-9"}, "expected a node"),
        ({"policy": [forbid("app-*")]}, "policy"),
        ({"state_bytes": 0}, "state_bytes"),
        ({"operations": -1.0}, "operations"),
        ({"clock_s": 0.0}, "clock_s"),
    ],
)
def test_twins_of_users_that_make_no_sense_are_refused_and_leave_nothing_behind(options, words):
    network, cells = cells_world()
    with pytest.raises((ValueError, TypeError), match=words):
        network.add(UserTwins(cells, everything(), **options))
    assert "user-twins" not in network.actors
    assert network.add(UserTwins(cells, everything(), edges="edge-1")).homes == ("edge-1",) * 40


def test_twins_live_in_one_network():
    _, _, twins = world(everything())
    network, _ = cells_world()
    with pytest.raises(ValueError, match="another network"):
        network.add(twins)
