"""Users speak, listen, move and are handed over; nothing is lost between the air and the graph."""

from itertools import pairwise

import numpy as np
import pytest

from wirelesslab.network import (
    EMBB,
    MIOT,
    URLLC,
    ExponentialSize,
    Flow,
    Network,
    Outage,
    Periodic,
    Poisson,
    ResourceRatio,
    SetActive,
    SetRatios,
    SetUp,
    metro,
)
from wirelesslab.network.active_set import ActiveSetAccess, LimitedGrants, SharedPool
from wirelesslab.network.areas import Disc
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.fading import NoFading
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.handover import A3
from wirelesslab.network.mobility import RandomWaypoint
from wirelesslab.network.movement import Movement
from wirelesslab.network.radio import LinkBudget, Shannon
from wirelesslab.network.slots import SlotAccess, SlotRadio

SLICES = (EMBB, MIOT)
NODES = ("gnb-1", "gnb-2")
FIDELITIES = ("slot", "flow", "active")
NUM_USERS = 12  # the first half of EMBB, the others of MIOT
OF_SLICE = np.repeat([0, 1], NUM_USERS // 2)
AREA = Disc(radius_m=400.0)
CELLS_M = np.array([[-200.0, 0.0], [200.0, 0.0]])


def access_of(fidelity, *, cells=None, mean=None, buffer_bytes=None, max_attempts=None):
    cells = np.arange(NUM_USERS) % 2 if cells is None else cells
    common = {"cells": cells, "slice_of": OF_SLICE, "num_cells": 2}
    if fidelity == "slot":
        radio = SlotRadio(bandwidth_hz=2e6, buffer_bytes=buffer_bytes)
        return SlotAccess(radio, SLICES, mean_snr=np.full(NUM_USERS, 10.0) if mean is None else mean, seed=1, **common)
    if fidelity == "flow":
        return FlowAccess(SLICES, rates_bps=np.full(NUM_USERS, 7e6) if mean is None else mean, **common)
    return ActiveSetAccess(
        SLICES, slot_s=1e-3, contention=SharedPool(4), rng=np.random.default_rng(1), max_attempts=max_attempts, **common
    )


def movement_of(fidelity, seed=2, every_s=0.05):
    users_m = AREA.place(np.random.default_rng(seed).random((NUM_USERS, 2)))
    return Movement(
        RandomWaypoint(area=AREA, speed_mps=(100.0, 200.0)), LinkBudget(bandwidth_hz=2e6), users_m, CELLS_M,
        rule=A3(hysteresis_db=1.0, time_to_trigger_s=0.0), every_s=every_s, seed=seed,
        rate=Shannon() if fidelity == "flow" else None,
    )  # fmt: skip


def demands_of(sink, together=False, rate_per_s=60.0):
    return (
        Demand(
            slice="embb", model=Poisson(rate_per_s=rate_per_s, num_bytes=ExponentialSize(mean=2000.0)), sink=sink,
            together=together,
        ),
        Demand(slice="miot", model=Poisson(rate_per_s=rate_per_s / 2, num_bytes=200), sink=sink, together=together),
    )  # fmt: skip


def network_of(fidelity, *, moving=False, sink="cloud", together=False, seed=3, rate_per_s=60.0, **options):
    network = Network(metro(num_gnbs=2, num_edges=1), SLICES, seed=seed, keep_records=None)
    movement = movement_of(fidelity) if moving else None
    if movement is not None:
        options |= {"cells": movement.cells, "mean": movement.mean}
    access = access_of(fidelity, **options)
    cells = Cells(access, NODES, demands_of(sink, together, rate_per_s), tick_s=2e-3, movement=movement)
    network.add(cells)
    return network, cells


def assert_whole(network, cells):
    """Everything is somewhere: the network's own books, the radio's, and both together, to the byte."""
    network.check()
    book, account = network.book, cells.access.account()
    for index in range(len(SLICES)):
        ended = sum(counts[index] for counts in book.ended_bytes.values())
        inside = sum(way.flow.num_bytes for way in network.ways.values() if way.slice_index == index)
        assert book.offered_bytes[index] == ended + inside + book.air_bytes[index]
        tagged = sum(
            tag[1] * len(numbers) for tag, numbers in cells._tagged.items() if OF_SLICE[tag[0]] == index
        )  # in the air, but flows of the graph
        waiting = int(account.waiting_packets[:, index].sum())
        of_users = waiting - sum(len(n) for t, n in cells._tagged.items() if OF_SLICE[t[0]] == index)
        assert book.air_flows[index] == of_users
        # a packet in part delivered waits as a whole in the book, and with what is left of it in the air
        assert book.air_bytes[index] + tagged >= int(account.waiting_bytes[:, index].sum())


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize(("sink", "together"), [("", False), ("cloud", False), ("cloud", True)])
@pytest.mark.parametrize("moving", [False, True], ids=["still", "moving"])
def test_no_byte_is_lost_or_invented_between_the_air_and_the_graph(fidelity, sink, together, moving):
    network, cells = network_of(fidelity, moving=moving, sink=sink, together=together)
    for until in (0.31, 0.7003, 1.0, 1.6):
        network.run(until)
        assert_whole(network, cells)
    offered = cells.access.account().offered_bytes.sum()
    assert sum(network.book.offered_bytes) == offered > 300_000
    delivered = network.book.ended_bytes["delivered"]
    assert min(delivered) > 0
    assert network.book.lost(0) == network.book.lost(1) == 0
    assert (network.book.handovers > 0) == moving


@pytest.mark.parametrize(("fidelity", "option"), [("slot", {"buffer_bytes": 3000}), ("active", {"max_attempts": 1})])
@pytest.mark.parametrize("sink", ["", "cloud"])
def test_what_the_air_gives_up_is_lost_in_the_books_to_the_byte(fidelity, option, sink):
    network, cells = network_of(fidelity, sink=sink, rate_per_s=150.0, **option)
    network.run(1.0)
    assert_whole(network, cells)
    account = cells.access.account()
    lost = [network.book.lost(i) for i in range(2)]
    assert lost == account.dropped_packets.sum(axis=0).tolist()
    assert sum(lost) > 20
    assert [network.book.lost(i, num_bytes=True) for i in range(2)] == account.dropped_bytes.sum(axis=0).tolist()
    assert sum(network.book.offered_bytes) == account.offered_bytes.sum()


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_without_a_sink_the_delay_is_the_air_s_own(fidelity):
    network, cells = network_of(fidelity, sink="")
    heard = []
    advance = cells.access.advance

    def overheard(until_s):
        delivered = advance(until_s)
        heard.append(delivered)
        return delivered

    cells.access.advance = overheard
    network.run(1.0)
    for index in range(2):
        own = np.concatenate([d.delay_s[OF_SLICE[d.user] == index] for d in heard])
        tally = network.book.delays[index]
        assert tally.count == own.size > 100
        assert network.book.delay_seconds[index] == pytest.approx(own.sum(), rel=1e-12)
        assert tally.mean == pytest.approx(own.mean(), rel=1e-12)
        promise = network.promise_s(index)
        assert network.book.late_flows[index] == np.count_nonzero(own > promise)


def test_with_a_sink_the_delay_is_that_of_the_air_and_of_the_graph():
    slices, tick_s = (URLLC,), 1e-3
    network = Network(metro(num_gnbs=1, num_edges=1), slices, seed=1, keep_records=None, spans=True)
    radio = SlotRadio(fading=NoFading(), bandwidth_hz=2e6)
    access = SlotAccess(radio, slices, cells=[0], slice_of=[0], mean_snr=[10.0], num_cells=1)
    demand = Demand(slice="urllc", model=Periodic(period_s=0.01, num_bytes=125, random_phase=False), sink="edge-1")
    network.add(Cells(access, ["gnb-1"], [demand], tick_s=tick_s))
    run = network.run(0.2)
    link = network.graph.edges["gnb-1", "edge-1"]
    graph_s = 8 * 125 / link["rate_bps"] + link["delay_s"]
    # Offered at the start of a slot, through at its end, sent on at the tick that ends then too.
    assert [r.sent_s for r in run.records] == pytest.approx([k * 0.01 for k in range(len(run.records))], abs=1e-12)
    assert [r.delay_s for r in run.records] == pytest.approx([1e-3 + graph_s] * len(run.records), abs=1e-9)
    assert len(run.records) == 20


def test_together_loses_no_delay_of_the_air():
    alone, together = (network_of("flow", sink="cloud", together=t)[0] for t in (False, True))
    alone.run(2.0), together.run(2.0)
    means = [n.book.delay_seconds[0] / n.book.ended_flows["delivered"][0] for n in (alone, together)]
    assert together.book.ended_bytes["delivered"][0] == pytest.approx(alone.book.ended_bytes["delivered"][0], rel=0.01)
    # Few packets share a tick, so the two differ little; without the air's part it would be a fraction.
    assert means[1] == pytest.approx(means[0], rel=0.1)
    graph_s = network_graph_delay(alone)
    assert means[1] > 1.2 * graph_s


def network_graph_delay(network):
    path = network.routes.path("gnb-1", "cloud")
    return sum(network.graph.edges[a, b]["delay_s"] for a, b in pairwise(path))


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_flow_to_a_user_ends_when_the_air_has_delivered_it_and_its_delay_has_both_parts(fidelity):
    network = Network(metro(num_gnbs=2, num_edges=1), SLICES, seed=3, keep_records=None)
    cells = network.add(Cells(access_of(fidelity), NODES, tick_s=2e-3))
    user = 2  # of EMBB, in cell 0
    network.send(Flow(slice="embb", num_bytes=6000, source="cloud", sink="gnb-1", user=user))
    network.run(4e-4)
    assert not network.flow_records, "it cannot have come through fibre and air so soon"
    network.run(1.0)
    (record,) = network.flow_records
    account = cells.access.account()
    assert record.delivered
    assert account.delivered_bytes.sum() == account.offered_bytes.sum() == 6000
    path = network.routes.path("cloud", "gnb-1")
    edges = [network.graph.edges[a, b] for a, b in pairwise(path)]
    graph_s = sum(8 * 6000 / e["rate_bps"] + e["delay_s"] for e in edges)
    air_s = float(account.sojourn_seconds.sum())
    assert air_s > 5e-4
    assert record.delay_s == pytest.approx(graph_s + air_s, rel=1e-9)
    assert_whole(network, cells)


def test_downlink_flows_and_users_own_packets_share_the_air_without_being_mistaken():
    network, cells = network_of("slot", sink="cloud", rate_per_s=40.0)
    for user in range(6):
        network.add(
            Poisson(EMBB, source="cloud", sink=NODES[user % 2], rate_per_s=40.0, num_bytes=900, name=f"down-{user}")
        )
    sends = network.send
    network.send = lambda flow: sends(
        Flow(slice=flow.slice, num_bytes=flow.num_bytes, source="cloud", sink=flow.sink, user=int(flow.sink[-1]) - 1)
        if flow.source == "cloud"
        else flow
    )
    network.run(1.5)
    assert_whole(network, cells)
    down = [r for r in network.flow_records if r.flow.user is not None]
    assert len(down) > 300
    assert all(r.delivered for r in down)
    assert min(r.delay_s for r in down) > network_graph_delay(network)


def test_a_flow_to_no_user_or_to_another_slice_s_is_refused():
    for user, slice_name, reason in ((99, "embb", "one of the 12 users"), (11, "embb", "the user's slice")):
        network, _ = network_of("slot", rate_per_s=1e-3)
        with pytest.raises(ValueError, match=reason):
            network.send(Flow(slice=slice_name, num_bytes=100, source="cloud", sink="gnb-1", user=user))


@pytest.mark.parametrize("fidelity", FIDELITIES)
@pytest.mark.parametrize("sink", ["", "cloud"])
def test_while_a_gnb_is_down_its_packets_wait_and_afterwards_they_come_through(fidelity, sink):
    network, cells = network_of(fidelity, sink=sink, rate_per_s=20.0)
    network.add(Outage(element="gnb-1", start_s=0.5, end_s=1.0))
    network.run(0.5)
    before = cells.access.account()
    network.run(0.9995)
    during = cells.access.account()
    delivered = during.delivered_packets - before.delivered_packets
    assert delivered[0].sum() == 0, "the cell that is down delivered something"
    assert delivered[1].sum() > 20
    assert during.waiting_packets[0].sum() > 20
    assert_whole(network, cells)
    network.run(3.0)
    after = cells.access.account()
    assert after.waiting_packets[0].sum() < 10
    assert after.dropped_packets.sum() == 0
    assert_whole(network, cells)
    # what the gNB had just sent into its link is lost, nothing of what waited in the air
    assert network.book.lost(0) + network.book.lost(1) <= 5
    assert max(t.quantile(1.0) for t in network.book.delays) > 0.4


def test_an_outage_in_mid_tick_stops_the_cell_at_its_own_time():
    network = Network(metro(num_gnbs=2, num_edges=1), SLICES, seed=3)
    access = access_of("flow")
    cells = network.add(Cells(access, NODES, tick_s=0.1))
    network.add(Outage(element="gnb-1", start_s=0.03, end_s=0.05))
    access.offer([0], [70_000])  # 80 ms alone at 7 Mbit/s
    cells._network.book.air_begin(0, 1, 70_000)
    network.run(0.2)
    assert access.account().sojourn_seconds.sum() == pytest.approx(0.1, rel=1e-9)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_shares_of_the_radio_reach_the_access(fidelity):
    network, cells = network_of(fidelity, sink="", rate_per_s=3000.0 if fidelity == "active" else 1500.0)
    network.run(0.2)
    first = cells.access.account().delivered_packets.sum(axis=0)
    ratios = {"embb": ResourceRatio(max=0.0), "miot": ResourceRatio.isolated(0.5)}
    assert not network.apply(SetRatios(domain="radio", ratios=ratios)).refused
    network.run(0.21)
    before = cells.access.account().delivered_packets.sum(axis=0)
    network.run(0.4)
    after = cells.access.account().delivered_packets.sum(axis=0)
    assert first.min() > 0
    assert after[0] == before[0]
    assert after[1] > before[1] + 20
    refused = network.apply(SetRatios(domain="radio", ratios={"embb": ResourceRatio(min=0.9)})).refused
    assert "sum to" in refused
    network.check()


def test_users_of_a_slice_that_is_not_active_are_turned_away_at_the_door():
    network, cells = network_of("slot", sink="")
    network.run(0.5)
    network.apply(SetActive(slice="embb", active=False))
    network.run(1.0)
    turned = network.book.ended_flows["slice not active"]
    assert turned[0] > 100
    assert turned[1] == 0
    assert_whole(network, cells)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_moving_users_in_mid_run_go_on_from_a_snapshot_to_the_last_bit(fidelity):
    options = {"slot": {"buffer_bytes": 60_000}, "active": {"max_attempts": 3}}.get(fidelity, {})
    network, _ = network_of(fidelity, moving=True, **options)
    network.add(Outage(element="gnb-2", start_s=0.41, end_s=0.9))
    network.run(0.5503)
    for number in range(3):
        network.send(Flow(slice="embb", num_bytes=3000, source="cloud", sink="gnb-1", user=number))
    network.run(0.5521)
    written = network.snapshot()
    copy = Network.restored(written)
    assert copy.snapshot().digest() == written.digest()
    handovers = network.book.handovers
    network.run(1.5)
    assert network.snapshot().digest() != written.digest()
    copy.run(1.5)
    assert copy.snapshot().digest() == network.snapshot().digest()
    assert list(copy.flow_records) == list(network.flow_records)
    assert network.book.handovers > handovers, "nobody was handed over after the snapshot: a weak test"
    copy.check()
    again = Network.restored(written)
    again.run(1.5)
    assert again.snapshot().digest() == network.snapshot().digest()


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_the_same_seed_gives_the_same_records(fidelity):
    runs = [network_of(fidelity, moving=True)[0] for _ in range(2)]
    assert runs[0].run(0.8).records == runs[1].run(0.8).records
    assert runs[0].snapshot().digest() == runs[1].snapshot().digest()
    assert network_of(fidelity, moving=True, seed=4)[0].run(0.8).records != runs[0].run(0.9).records


def offers_of(seed_of_other=None, extra=False):
    network = Network(metro(num_gnbs=2, num_edges=1), SLICES, seed=5)
    access = access_of("slot")
    heard, offer = [], access.offer

    def overheard(users, num_bytes, offered_s=None):
        heard.extend(zip(*(np.asarray(column).tolist() for column in (users, num_bytes, offered_s)), strict=True))
        offer(users, num_bytes, offered_s)

    access.offer = overheard
    if extra:
        network.add(Poisson(MIOT, source="gnb-1", sink="cloud", rate_per_s=400.0, num_bytes=300))
    network.add(Cells(access, NODES, demands_of("cloud") if extra else demands_of("cloud")[:1]))
    network.run(1.0)
    return [packet for packet in heard if packet[0] < NUM_USERS // 2]


def test_an_unrelated_source_or_demand_leaves_the_users_arrivals_untouched():
    assert len(offers_of()) > 200
    assert offers_of() == offers_of(extra=True)


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_handover_takes_a_user_s_backlog_along(fidelity):
    access = access_of(fidelity)
    access.offer([0, 0, 1], [50_000, 40_000, 30_000], [0.0, 0.0, 0.0])
    access.advance(0.0005)
    before = access.account()
    cells = access.cells.copy()
    assert cells[0] == 0
    cells[0] = 1
    access.set_users(cells, np.full(NUM_USERS, 7e6 if fidelity == "flow" else 10.0))
    after = access.account()
    after.check()
    assert access.cells.tolist() == cells.tolist()
    assert before.waiting_packets[0].sum() == 2
    assert after.waiting_packets[0].sum() == 0
    assert after.waiting_packets[1].sum() == 3
    assert after.waiting_bytes.sum() == before.waiting_bytes.sum()
    assert after.offered_bytes.sum() == before.offered_bytes.sum() == 120_000
    delivered = [access.advance(0.5 * k) for k in range(1, 5)]
    assert sorted(b for d in delivered for b in d.num_bytes.tolist()) == [30_000, 40_000, 50_000]
    access.account().check()
    assert access.account().delivered_bytes[:, 0].sum() == 120_000


def test_the_three_accesses_speak_one_interface():
    for fidelity in FIDELITIES:
        access = access_of(fidelity)
        assert access.slices == SLICES
        assert access.num_cells == 2
        assert access.user_slices.tolist() == OF_SLICE.tolist()
        assert access.cells.tolist() == (np.arange(NUM_USERS) % 2).tolist()
        assert access.given_up().user.size == 0
        access.user_slices[0] = 1
        assert access.user_slices[0] == 0, "a caller can change whose slice a user is"


def test_what_an_access_gave_up_is_told_once_and_kept_by_a_snapshot():
    slot = access_of("slot", buffer_bytes=1000)
    slot.offer([0, 0, 0], [900, 800, 100], [0.0001, 0.0002, 0.0003])
    active = ActiveSetAccess(
        (MIOT,), cells=[0, 0], slice_of=[0, 0], slot_s=1e-3, contention=SharedPool(1), rng=np.random.default_rng(1),
        max_attempts=1,
    )  # fmt: skip
    active.offer([0, 1], [30, 40], [0.0, 0.0])
    for access, sizes, when in ((slot, [800], [0.001]), (active, [30, 40], [0.001, 0.001])):
        access.advance(0.003)
        state = access.snapshot()
        lost = access.given_up()
        assert lost.num_bytes.tolist() == sizes
        assert lost.delivered_s.tolist() == when
        assert access.given_up().user.size == 0
        access.restore(state)
        assert access.given_up().num_bytes.tolist() == sizes
        assert access.account().dropped_bytes.sum() == sum(sizes)


def test_cells_that_do_not_fit_are_refused():
    access = access_of("slot")
    with pytest.raises(ValueError, match="one for each of the 2 cells"):
        Cells(access, ["gnb-1"])
    demand = demands_of("cloud")[0]
    with pytest.raises(ValueError, match="each slice once"):
        Cells(access, NODES, [demand, demand])
    with pytest.raises(ValueError, match="tick_s"):
        Cells(access, NODES, tick_s=0)
    for slices, cells, reason in (
        (SLICES[::-1], Cells(access, NODES), "in this order"),
        (SLICES, Cells(access, ("gnb-1", "gnb-7")), "nodes of the network"),
        (SLICES, Cells(access, NODES, demands_of("clod")), "did you mean 'cloud'"),
    ):
        with pytest.raises(ValueError, match=reason):
            Network(metro(num_gnbs=2, num_edges=1), slices).add(cells)


def test_limited_grants_serve_a_cell_that_joined_while_its_gnb_was_down_only_afterwards():
    network = Network(metro(num_gnbs=2, num_edges=1), SLICES, seed=3)
    network.apply(SetUp(element="gnb-1", up=False))
    access = ActiveSetAccess(
        SLICES, cells=np.arange(NUM_USERS) % 2, slice_of=OF_SLICE, num_cells=2, slot_s=1e-3,
        contention=LimitedGrants(3), rng=np.random.default_rng(1),
    )  # fmt: skip
    cells = network.add(Cells(access, NODES, demands_of("")))
    network.run(0.5)
    assert cells.access.account().delivered_packets[0].sum() == 0
    network.apply(SetUp(element="gnb-1", up=True))
    network.run(1.0)
    assert cells.access.account().delivered_packets[0].sum() > 0


@pytest.mark.parametrize("fidelity", FIDELITIES)
def test_a_run_s_table_of_cells_is_the_radio_s_own_account(fidelity):
    network, cells = network_of(fidelity, sink="")
    run = network.run(0.5)
    account = cells.access.account()
    assert list(run.cells["cell"].values) == list(NODES)
    for name in ("offered_bytes", "delivered_packets", "waiting_bytes", "dropped_packets"):
        assert np.array_equal(run.cells[name].values, getattr(account, name))
    assert ((run.cells["used_ratio"] >= 0) & (run.cells["used_ratio"].sum("slice") <= 1 + 1e-9)).all()
    assert run.cells["used_ratio"].sum() > 0
    assert run.cells["used_ratio"].attrs["kpi"].startswith("RRU.PrbTotDl")
