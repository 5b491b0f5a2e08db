"""Stations keep every packet, obey queueing theory, and keep the shares they promise."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network import Network, single_cell
from wirelesslab.network.agenda import Agenda
from wirelesslab.network.flows import Flow, OnTheWay, Packet
from wirelesslab.network.queues import Station
from wirelesslab.network.schedulers import (
    SCHEDULERS,
    EarliestDeadline,
    FirstComeFirstServed,
    StrictPriority,
    WeightedFair,
)
from wirelesslab.network.slices import EMBB, MIOT, URLLC, ResourceRatio
from wirelesslab.network.theory import erlang_b, erlang_c
from wirelesslab.stats import batch_means

THREE = (EMBB, URLLC, MIOT)


class Calls:
    """Sends jobs to a node at given times."""

    name = "calls"

    def __init__(self, times, works):
        self.times, self.works = times, works

    def run(self, network):
        for time, work in zip(self.times, self.works, strict=True):
            yield network.until(float(time))
            network.send(Flow(slice="embb", num_bytes=1, source="edge-1", sink="edge-1", operations=float(work)))


class Desk:
    """A station with somebody who hands packets in and notes what comes out."""

    name = "desk"

    def __init__(self, slices=THREE, scheduler=None, **options):
        self.agenda = Agenda()
        self.served, self.lost = [], []
        self.station = Station(
            "desk's station", self.agenda, slices, scheduler or WeightedFair(), options.pop("rate", 1.0),
            self._served, lambda packet, reason: self.lost.append((packet, reason)), **options,
        )  # fmt: skip

    def _served(self, packet):
        self.served.append((self.agenda.now, packet))

    def hand_in(self, index, work, num_bytes=1, deadline_s=None):
        flow = Flow(slice=self.station.slices[index].name, num_bytes=num_bytes, source="a", sink="b")
        now = self.agenda.now
        due = now + self.station.slices[index].level.delay_s if deadline_s is None else deadline_s
        way = OnTheWay(flow, 0, index, now, due, now)
        self.station.take(Packet(way, work, num_bytes, ("a", "b")))

    def at(self, times, indices, works, num_bytes=None):
        for place, time in enumerate(times):
            size = 1 if num_bytes is None else int(num_bytes[place])
            self.agenda.after(float(time), self.hand_in, int(indices[place]), float(works[place]), size)

    def waits(self):
        return np.array([time - packet.came_s - packet.work for time, packet in self.served])


def arrivals(rng, num, load):
    return np.cumsum(rng.exponential(1 / load, num))


@pytest.mark.parametrize("load", [0.5, 0.8])
@pytest.mark.parametrize(
    ("law", "scv"), [("deterministic", 0.0), ("exponential", 1.0), ("hyperexponential", 4.0)], ids=str
)
def test_the_mean_wait_is_pollaczek_s_and_khinchine_s(load, law, scv):
    rng = np.random.default_rng([3, int(10 * load), int(scv)])
    num = 200_000
    work = {
        "deterministic": lambda: np.ones(num),
        "exponential": lambda: rng.exponential(1, num),
        "hyperexponential": lambda: rng.exponential(1, num) * two_means(rng, num, scv),
    }[law]()
    times = arrivals(rng, num, load)
    waits = lindley(times, work)
    mean, error = batch_means(waits, 40)
    expected = load * (1 + scv) / (2 * (1 - load))
    assert abs(mean - expected) < 3 * error + 0.02 * expected
    # the station agrees with Lindley's recursion packet by packet
    few = 2_000
    desk = Desk((EMBB,))
    desk.at(times[:few], np.zeros(few), work[:few])
    desk.agenda.run(1e9)
    assert np.allclose(desk.waits(), waits[:few], atol=1e-8)
    desk.station.account().check()


def two_means(rng, num, scv):
    p = 0.5 * (1 + np.sqrt((scv - 1) / (scv + 1)))
    return np.where(rng.random(num) < p, 0.5 / p, 0.5 / (1 - p))


def lindley(times, work):
    waits = np.zeros(times.size)
    gaps = np.diff(times)
    for k in range(1, times.size):
        waits[k] = max(0.0, waits[k - 1] + work[k - 1] - gaps[k - 1])
    return waits


def test_ten_servers_wait_as_erlang_says():
    rng, num = np.random.default_rng(5), 80_000
    desk = Desk((EMBB,), rate=10.0, servers=10)
    desk.at(arrivals(rng, num, 7.0), np.zeros(num), rng.exponential(1, num))
    desk.agenda.run(1e9)
    waits = np.array([time - packet.came_s - packet.work for time, packet in desk.served])
    mean, error = batch_means(waits, 40)
    share, share_error = batch_means((waits > 1e-9).astype(float), 40)
    assert mean == pytest.approx(0.073910, abs=3 * error)
    assert share == pytest.approx(erlang_c(10, 7.0), abs=3 * share_error)
    assert desk.station.account().delayed_packets[0] == np.count_nonzero(waits > 1e-9)


@pytest.mark.parametrize("holding", ["exponential", "fixed"])
def test_servers_without_a_waiting_room_block_as_erlang_says_whatever_the_holding_law(holding):
    rng, num = np.random.default_rng(6), 60_000
    work = rng.exponential(1, num) if holding == "exponential" else np.ones(num)
    desk = Desk((EMBB,), rate=10.0, servers=10, buffer_packets=0)
    desk.at(arrivals(rng, num, 7.0), np.zeros(num), work)
    desk.agenda.run(1e9)
    account = desk.station.account()
    share = account.dropped_packets[0] / num
    # blocking is positively correlated over a few holding times: 10 of them per batch make batches independent
    error = np.sqrt(share * (1 - share) / num) * 2
    assert share == pytest.approx(erlang_b(10, 7.0), abs=3 * error)
    assert {reason for _, reason in desk.lost} == {"buffer full"}


@st.composite
def busy_periods(draw):
    num = draw(st.integers(1, 60))
    gaps = draw(st.lists(st.floats(0, 2), min_size=num, max_size=num))
    work = draw(st.lists(st.floats(0.01, 3), min_size=num, max_size=num))
    index = draw(st.lists(st.integers(0, 2), min_size=num, max_size=num))
    size = draw(st.lists(st.integers(1, 2000), min_size=num, max_size=num))
    return np.cumsum(gaps), index, work, size


ratios = st.sampled_from(
    [
        None,
        (ResourceRatio.isolated(0.5), ResourceRatio(min=0.2), ResourceRatio(max=0.3)),
        (ResourceRatio(dedicated=0.25, min=0.25), ResourceRatio.isolated(0.25), ResourceRatio(max=0.4)),
    ]
)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.__name__)
@given(
    period=busy_periods(), ratios=ratios, later=ratios, breaks=st.booleans(), buffer=st.sampled_from([0, 1500, np.inf])
)
@settings(max_examples=40, deadline=None)
def test_every_packet_and_byte_is_somewhere_whatever_happens(scheduler, period, ratios, later, breaks, buffer):
    times, index, work, size = period
    desk = Desk(scheduler=scheduler(), ratios=ratios, buffer_bytes=buffer)
    desk.at(times, index, work, size)
    rng = np.random.default_rng(0)
    for until in np.sort(rng.uniform(0, times[-1] + 5, 8)):
        desk.agenda.run(float(until) + 1e-9)
        desk.station.account().check()
        if breaks and until > times[-1] / 2 and desk.station.up:
            evicted = desk.station.set_up(False)
            assert desk.station.account().inside_packets.sum() == 0
            assert len(evicted) == desk.station.account().dropped_packets.sum() - len(desk.lost)
        elif later is not None:
            desk.station.set_ratios(later)
            desk.station.account().check()
    desk.station.set_up(True)
    desk.agenda.run(1e6)
    account = desk.station.account()
    account.check()
    assert account.inside_packets.sum() == 0


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.__name__)
@given(period=busy_periods())
@settings(max_examples=30, deadline=None)
def test_a_shared_server_never_idles_while_somebody_waits(scheduler, period):
    times, index, work, _ = period
    desk = Desk(scheduler=scheduler())
    desk.at(times, index, work)
    desk.agenda.run(1e6)
    ends = [time for time, _ in desk.served]
    # any order of service empties a work-conserving server at the same moment
    end = 0.0
    for time, amount in zip(times, work, strict=True):
        end = max(end, time) + amount
    assert max(ends) == pytest.approx(end)


@pytest.mark.parametrize("scheduler", SCHEDULERS, ids=lambda s: s.__name__)
@given(period=busy_periods())
@settings(max_examples=30, deadline=None)
def test_a_slice_is_served_first_come_first_served(scheduler, period):
    times, index, work, _ = period
    desk = Desk(scheduler=scheduler())
    desk.at(times, index, work)
    desk.agenda.run(1e6)
    for wanted in range(3):
        came = [packet.came_s for _, packet in desk.served if packet.way.slice_index == wanted]
        assert came == sorted(came)


def test_a_node_without_a_waiting_room_blocks_as_erlang_says():
    graph = single_cell()
    graph.nodes["edge-1"].update(operations_per_s=1.0, num_servers=5, buffer_jobs=0)
    network = Network(graph, (EMBB,), seed=3)
    rng = np.random.default_rng(8)
    network.add(Calls(arrivals(rng, 20_000, 3.3), rng.exponential(1, 20_000)))
    network.run(1e5)
    share = network.book.ended_flows["buffer full"][0] / 20_000
    # blocking comes in spells of about a holding time, 3.3 calls: their number sets the error
    error = np.sqrt(share * (1 - share) / 20_000 * 3.3)
    assert share == pytest.approx(erlang_b(5, 3.3), abs=3 * error)


def test_weights_divide_a_saturated_link_in_their_proportion():
    desk = Desk(scheduler=WeightedFair())  # embb weighs 2, urllc and miot 1
    num = 3000
    desk.at(np.zeros(num), np.arange(num) % 3, np.ones(num))
    desk.agenda.run(800.5)
    assert desk.station.account().work_done == pytest.approx([400, 200, 200], abs=2)


def test_priority_is_strict_and_does_not_interrupt():
    desk = Desk(scheduler=StrictPriority())
    desk.at([0.0, 0.1, 0.2, 0.3], [0, 2, 1, 0], [1.0, 1.0, 1.0, 1.0])
    desk.agenda.run(100)
    assert [packet.way.slice_index for _, packet in desk.served] == [0, 1, 0, 2]


def test_the_earliest_deadline_goes_first():
    desk = Desk(scheduler=EarliestDeadline())  # promises: embb 0.1 s, urllc 0.01 s, miot 10 s
    desk.at([0.0, 0.001, 0.002, 0.003], [2, 2, 0, 1], [1.0] * 4)
    desk.agenda.run(100)
    assert [packet.way.slice_index for _, packet in desk.served] == [2, 1, 0, 2]


def test_a_dedicated_slice_does_not_notice_a_flood_of_the_others():
    def urllc_times(flood):
        desk = Desk(
            ratios=(ResourceRatio(), ResourceRatio.isolated(0.3), ResourceRatio()), scheduler=FirstComeFirstServed()
        )
        rng = np.random.default_rng(8)
        times, work = arrivals(rng, 500, 0.2), rng.exponential(1, 500)
        desk.at(times, np.ones(500), work)
        desk.at(arrivals(rng, 500 * flood, 0.5 * flood), np.zeros(500 * flood), rng.exponential(1, 500 * flood))
        desk.agenda.run(1e6)
        return [time for time, packet in desk.served if packet.way.slice_index == 1]

    assert urllc_times(1) == urllc_times(10)  # to the last bit


def test_a_guaranteed_slice_gets_its_minimum_in_a_flood_and_lends_it_when_idle():
    ratios = (ResourceRatio(), ResourceRatio(min=0.4), ResourceRatio())
    desk = Desk(ratios=ratios, scheduler=FirstComeFirstServed())
    desk.at(np.zeros(2000), np.zeros(2000), np.full(2000, 0.5))
    desk.at(np.full(1000, 10.0), np.ones(1000), np.full(1000, 0.5))
    desk.agenda.run(10.0)
    assert desk.station.account().work_done == pytest.approx([10, 0, 0], abs=0.5)  # all lent
    desk.agenda.run(510.0)
    assert desk.station.account().work_done[1] == pytest.approx(0.4 * 500, abs=1)


def test_a_ceiling_is_never_exceeded_even_by_the_only_slice():
    desk = Desk(ratios=(ResourceRatio(max=0.3), ResourceRatio(), ResourceRatio()))
    desk.at(np.zeros(1000), np.zeros(1000), np.full(1000, 0.5))
    for until in (10.0, 100.0, 1000.0):
        desk.agenda.run(until)
        assert desk.station.account().work_done[0] <= 0.3 * until + 0.5  # one packet of 0.5
    assert desk.station.account().work_done[0] == pytest.approx(300, abs=1)


def test_new_shares_hold_from_the_moment_they_are_set():
    desk = Desk((EMBB, URLLC), ratios=(ResourceRatio.isolated(0.5), ResourceRatio.isolated(0.5)))
    desk.at([0.0, 0.0], [0, 1], [10.0, 10.0])
    desk.agenda.run(4.0)  # 2 of 10 done each
    desk.station.set_ratios((ResourceRatio.isolated(0.8), ResourceRatio.isolated(0.2)))
    desk.agenda.run(100.0)
    assert [time for time, _ in desk.served] == pytest.approx([4 + 8 / 0.8, 4 + 8 / 0.2])
    assert desk.station.account().work_done == pytest.approx([10, 10])


def test_shares_of_more_than_the_whole_are_refused_and_change_nothing():
    desk = Desk((EMBB, URLLC))
    with pytest.raises(ValueError, match=r"shares \(min\) sum to 1.2, expected at most 1; lower one of"):
        desk.station.set_ratios((ResourceRatio(min=0.7), ResourceRatio(min=0.5)))
    assert desk.station.ratios == (ResourceRatio(), ResourceRatio())


def test_a_dedicated_share_of_several_servers_must_be_whole_servers():
    with pytest.raises(ValueError, match=r"is 0\.9 of 3 servers, expected a whole number"):
        Desk((EMBB, URLLC), servers=3, ratios=(ResourceRatio.isolated(0.3), ResourceRatio()))


def test_waiting_times_follow_each_other_in_the_book():
    desk = Desk((EMBB,))
    desk.at([0, 0, 0], [0, 0, 0], [1.0, 2.0, 3.0])
    desk.agenda.run(10.0)
    account = desk.station.account()
    assert account.wait_seconds[0] == pytest.approx(0 + 1 + 3)
    assert account.delayed_packets[0] == 2
    assert all(a <= b for a, b in pairwise([time for time, _ in desk.served]))


@given(period=busy_periods())
@settings(max_examples=60, deadline=None)
def test_deadlines_order_packets_of_one_slice_too(period):
    times, _, work, size = period
    desk = Desk((EMBB,), scheduler=EarliestDeadline())
    rng = np.random.default_rng(len(times))
    deadlines = rng.uniform(0, 50, len(times))
    for time, amount, num_bytes, deadline in zip(times, work, size, deadlines, strict=True):
        desk.agenda.after(float(time), desk.hand_in, 0, float(amount), num_bytes, float(deadline))
    desk.agenda.run(1e6)
    served = [packet for _, packet in desk.served]
    starts = {id(packet): time - packet.work for time, packet in desk.served}
    for number, packet in enumerate(served):
        for later in served[number + 1 :]:
            if later.came_s < starts[id(packet)] - 1e-9:  # it was there, and waited longer: it was less urgent
                assert packet.way.deadline_s <= later.way.deadline_s


def test_a_full_buffer_in_the_order_of_deadlines_gives_up_the_least_urgent():
    desk = Desk((EMBB,), scheduler=EarliestDeadline(), buffer_packets=2)
    for deadline in (9.0, 5.0, 7.0, 1.0, 8.0):
        desk.hand_in(0, 1.0, 1, deadline)
    desk.agenda.run(10.0)
    assert [packet.way.deadline_s for _, packet in desk.served] == [9.0, 1.0, 5.0]
    assert sorted(packet.way.deadline_s for packet, _ in desk.lost) == [7.0, 8.0]
    desk.station.account().check()
