"""The flow-level radio: against a slow fluid oracle, against queueing theory, and its books to the last byte."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.shares import ratio_table, reserved_shares
from wirelesslab.network.slices import EMBB, MIOT, URLLC, ResourceRatio, Slice, SNssai
from wirelesslab.rng import stream
from wirelesslab.stats import batch_means

THREE = (
    Slice(name="a", snssai=SNssai(1), radio=ResourceRatio(dedicated=0.2, min=0.3, max=0.6), weight=2),
    Slice(name="b", snssai=SNssai(2), radio=ResourceRatio(min=0.1)),
    Slice(name="c", snssai=SNssai(3), radio=ResourceRatio(dedicated=0.1, min=0.1, max=0.1)),
)


class Fluid:
    """The slow, obvious version: every file of every slice is moved on from event to event."""

    def __init__(self, slices, num_cells, cells, slice_of, rates_bps, weights):
        self.slices, self.cells, self.of = list(slices), list(cells), slice_of
        self.rates, self.weights = list(rates_bps), weights
        self.table, self.up = ratio_table(slices, "radio"), [True] * num_cells
        self.now, self.files, self.used = 0.0, [], np.zeros((num_cells, len(slices)))

    def speeds(self):
        """Bytes per second of every file, and the shares of the cells."""
        busy = np.zeros(self.used.shape)
        weights = np.zeros(self.used.shape)
        for f in self.files:
            if self.rates[f["user"]] > 0:
                at = self.cells[f["user"]], self.of[f["user"]]
                busy[at] = 1
                weights[at] += self.weights[f["user"]]
        share = reserved_shares(busy, self.table, weights=[s.weight for s in self.slices]) * np.array(self.up)[:, None]
        speeds = []
        for f in self.files:
            u = f["user"]
            at = self.cells[u], self.of[u]
            speeds.append(share[at] * self.weights[u] / weights[at] * self.rates[u] / 8 if self.rates[u] > 0 else 0.0)
        return speeds, share * busy

    def run(self, until, arrivals):
        done, arrivals = [], list(arrivals)
        while True:
            speeds, share = self.speeds()
            ends = [self.now + f["left"] / v if v > 0 else math.inf for f, v in zip(self.files, speeds, strict=True)]
            first = min(ends, default=math.inf)
            comes = arrivals[0][2] if arrivals else math.inf
            event = min(first, comes, until)
            for f, v in zip(self.files, speeds, strict=True):
                f["left"] -= v * (event - self.now)
            self.used += share * (event - self.now)
            self.now = event
            if first <= min(comes, until):
                gone = self.files.pop(ends.index(first))
                done.append((gone["user"], gone["size"], gone["offered"], event))
            elif comes <= until:
                user, size, offered = arrivals.pop(0)
                self.files.append({"user": user, "size": size, "offered": offered, "left": float(size)})
            else:
                return done


def both(rng, num_users=12, num_cells=3):
    place = {
        "num_cells": num_cells,
        "cells": rng.integers(num_cells, size=num_users),
        "slice_of": rng.integers(3, size=num_users),
        "rates_bps": rng.uniform(1e3, 1e4, size=num_users) * (rng.random(num_users) > 0.1),
        "weights": rng.uniform(0.5, 2, size=num_users),
    }
    return FlowAccess(THREE, **place), Fluid(THREE, *place.values())


def offers(rng, start, end, num_users=12, mean_gap=0.3):
    times = start + np.cumsum(rng.exponential(mean_gap, size=200))
    times = times[times < end]
    return rng.integers(num_users, size=times.size), rng.integers(1, 600, size=times.size), times


@pytest.mark.parametrize("seed", range(8))
def test_it_is_the_fluid_that_a_slow_oracle_computes_through_failures_handovers_and_new_shares(seed):
    rng = stream(seed, "oracle")
    radio, fluid = both(rng)
    ours, theirs = [], []
    for step in range(12):
        start, end = 5.0 * step, 5.0 * (step + 1)
        users, sizes, times = offers(rng, start, end)
        radio.offer(users, sizes, times)
        ours.append(radio.advance(end))
        theirs += fluid.run(end, zip(users, sizes, times, strict=True))
        radio.account().check()
        assert radio.account().used_share_seconds == pytest.approx(fluid.used, rel=1e-9, abs=1e-9)
        left = sum(f["left"] for f in fluid.files)
        assert 0 <= radio.account().waiting_bytes.sum() - left + 1e-6 <= len(fluid.files) + 1e-6
        if step % 3 == 0:
            cells, rates = rng.integers(3, size=12), rng.uniform(1e3, 1e4, size=12) * (rng.random(12) > 0.2)
            stay = rng.random(12) < 0.5
            fluid.cells = [int(c) for c in np.where(stay, fluid.cells, cells)]
            fluid.rates = [float(r) for r in np.where(stay, fluid.rates, rates)]
            radio.set_users(fluid.cells, fluid.rates)
        elif step % 3 == 1:
            fluid.up[step % 2] = not fluid.up[step % 2]
            radio.set_cell_up(step % 2, fluid.up[step % 2])
        else:
            most = float(rng.uniform(0.3, 1))
            fluid.table[1] = (0.05, 0.2, most)
            radio.set_ratios({"b": ResourceRatio(dedicated=0.05, min=0.2, max=most)})
        radio.account().check()
    got = [tuple(row) for part in ours for row in zip(*vars(part).values(), strict=True)]
    assert len(got) == len(theirs) > 40
    # Both sorted by user, size and offer: completions at one moment may come in either order.
    for mine, other in zip(sorted(got), sorted(theirs), strict=True):
        assert mine == pytest.approx(other, rel=1e-9, abs=1e-8)
    assert all((np.diff(part.delivered_s) >= 0).all() for part in ours)


@pytest.mark.parametrize("load", [0.4, 0.8])
@pytest.mark.parametrize("law", ["exponential", "very variable"])
def test_a_file_takes_its_size_over_one_minus_the_load_whatever_the_law_of_sizes(load, law):
    """M/G/1-PS. A cell of 160 Mb/s and files of 0.5 MB: 25 ms alone, 41.67 ms at load 0.4, 125 ms at 0.8."""
    num_files, mean_bytes, rate_bps = 500_000 if load < 0.5 else 1_500_000, 500_000, 160e6
    rng = stream(5, "ps", law, load)
    if law == "exponential":
        sizes = rng.exponential(mean_bytes, size=num_files)
    else:  # two-point mixture of exponentials, scv = 9: one in twenty is ten times as long as the mean
        long = rng.random(num_files) < 0.05
        sizes = rng.exponential(np.where(long, 8.0 * mean_bytes, mean_bytes * 0.6 / 0.95), size=num_files)
    sizes = np.maximum(1, np.rint(sizes)).astype(np.int64)
    alone_s = 8 * sizes / rate_bps
    times = np.cumsum(rng.exponential(0.025 / load, size=num_files))
    radio = FlowAccess((EMBB,), num_cells=1, cells=[0], slice_of=[0], rates_bps=[rate_bps])
    radio.offer(np.zeros(num_files, np.int64), sizes, times)
    done = radio.advance(times[-1] + 100)
    assert done.user.size == num_files
    in_order = np.argsort(done.offered_s, kind="stable")
    delay_s = done.delay_s[in_order]
    mean_s, error_s = batch_means(delay_s, 40)
    expected_s = 0.025 / (1 - load)
    assert abs(mean_s - expected_s) < 3 * error_s
    assert mean_s == pytest.approx(expected_s, rel=0.02)
    # The law holds size by size: short, middling and long files.
    for low, high in ((0, 0.3), (0.3, 1), (1, 3), (3, 100)):
        chosen = (alone_s > low * 0.025) & (alone_s <= high * 0.025)
        excess, error = batch_means(delay_s[chosen] - alone_s[chosen] / (1 - load), 40)
        expected = alone_s[chosen].mean() / (1 - load)
        assert abs(excess) < max(3.5 * error, 1e-12), (law, load, low)  # 16 such tests: 3.5 for 1 in 130
        assert abs(excess) < 0.02 * expected or abs(excess) < 3 * error
    account = radio.account()
    account.check()
    assert account.used_share_seconds.sum() == pytest.approx(alone_s.sum(), rel=1e-9)


@given(st.integers(0, 2**32), st.lists(st.floats(0.01, 4.0), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None)
def test_where_the_calls_cut_time_does_not_matter_to_the_last_bit(seed, cuts):
    rng = np.random.default_rng(seed)
    place = rng.bit_generator.state
    once, _ = both(rng)
    rng.bit_generator.state = place
    often, _ = both(rng)
    users, sizes, times = offers(rng, 0.0, 24.0)
    once.offer(users, sizes, times)
    whole = once.advance(24.0)
    parts, now, k = [], 0.0, 0
    for cut in [*cuts, 24.0]:
        now = min(now + cut, 24.0)
        until = int(np.searchsorted(times, now, side="right"))
        for j in range(k, until):
            often.offer(users[j : j + 1], sizes[j : j + 1], times[j : j + 1])
        k = until
        parts.append(often.advance(now))
        _ = often.account(), often.next_s
    joined = type(whole).joined(parts)
    for name, value in vars(whole).items():
        assert np.array_equal(value, getattr(joined, name)), name


def test_driven_event_by_event_nothing_happens_before_next_s():
    rng = stream(11)
    radio, _ = both(rng)
    users, sizes, _ = offers(rng, 0.0, 8.0)
    radio.offer(users, sizes)
    alive = np.isin(users, np.flatnonzero(radio._users.rate_bps > 0)).sum()
    seen = 0
    while math.isfinite(radio.next_s):
        upcoming = radio.next_s
        assert radio.advance(math.nextafter(upcoming, 0)).user.size == 0
        done = radio.advance(upcoming)
        assert done.user.size >= 1
        assert (done.delivered_s == upcoming).all()
        seen += done.user.size
    assert seen == alive


@pytest.mark.parametrize("pending", [False, True])
def test_a_restored_access_goes_on_to_the_last_bit(pending):
    rng = stream(12)
    radio, _ = both(rng)
    radio.offer(*offers(rng, 0.0, 10.0))
    radio.advance(10.0)
    later = offers(rng, 10.0, 20.0)
    if pending:
        radio.offer(*later)
        later = later[0][:0], later[1][:0], later[2][:0]
    state = pickle.loads(pickle.dumps(radio.snapshot()))

    def future(access):
        access.set_ratios({"a": ResourceRatio(min=0.5)})
        access.offer(*later)
        first = access.advance(21.0)
        access.set_users(np.zeros(12, np.int64), np.full(12, 5e3))
        return [*vars(first).values(), *vars(access.advance(40.0)).values(), *vars(access.account()).values()]

    one = future(radio)
    other, _ = both(stream(12))
    other.restore(state)
    two = future(other)
    other.restore(state)
    three = future(other)
    for a, b, c in zip(one, two, three, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)


def test_bytes_stay_whole_and_conserved_while_a_file_moves_from_cell_to_cell():
    radio = FlowAccess((EMBB,), num_cells=2, cells=[0], slice_of=[0], rates_bps=[8.0])  # 1 byte per second
    radio.offer([0], [10])
    radio.advance(2.5)
    account = radio.account()
    assert (account.delivered_bytes[0, 0], account.waiting_bytes[0, 0]) == (2, 8)
    radio.set_users([1], [4.0])
    account = radio.account()
    account.check()
    assert account.offered_bytes.tolist() == [[2], [8]]
    assert account.offered_packets.tolist() == [[0], [1]]
    done = radio.advance(30.0)
    assert done.delivered_s == pytest.approx([2.5 + 7.5 / 0.5])
    assert (done.num_bytes.tolist(), done.offered_s.tolist()) == ([10], [0.0])
    account = radio.account()
    account.check()
    assert account.delivered_bytes.tolist() == [[2], [8]]
    assert account.packet_seconds.ravel() == pytest.approx([2.5, 15.0])


def test_a_cell_that_fails_delivers_nothing_and_takes_up_its_files_where_it_left_them():
    radio = FlowAccess((EMBB,), num_cells=2, cells=[0, 1], slice_of=[0, 0], rates_bps=[8.0, 8.0])
    radio.offer([0, 1], [4, 4])
    radio.advance(1.0)
    radio.set_cell_up(0, False)
    assert radio.next_s == 4.0
    assert radio.advance(9.0).user.tolist() == [1]
    assert radio.next_s == math.inf
    radio.set_cell_up(0, True)
    assert radio.advance(20.0).delivered_s.tolist() == [12.0]
    account = radio.account()
    account.check()
    assert account.used_share_seconds.ravel() == pytest.approx([4.0, 4.0])


def test_a_dedicated_share_is_unmoved_by_a_flood_and_an_idle_guarantee_is_lent():
    def third_slice_delay(flood):
        slices = (EMBB, URLLC, MIOT)
        radio = FlowAccess(slices, num_cells=1, cells=[0, 0], slice_of=[0, 2], rates_bps=[8e3, 8e3])
        radio.set_ratios({"miot": ResourceRatio.isolated(0.2), "urllc": ResourceRatio(min=0.3)})
        radio.offer(np.zeros(flood, np.int64), np.full(flood, 1000))
        radio.offer([1], [100])
        done = radio.advance(1e5)
        return done.delay_s[done.user == 1][0], done.delay_s[done.user == 0]

    for flood in (0, 1, 10):
        isolated, others = third_slice_delay(flood)
        assert isolated == pytest.approx(100 / (1000 * 0.2))
        if flood:
            assert others.max() == pytest.approx(flood * 1000 / (1000 * 0.8))  # urllc is idle and lends its 0.3


def test_a_user_of_double_weight_gets_double_the_rate():
    radio = FlowAccess((EMBB,), num_cells=1, cells=[0, 0], slice_of=[0, 0], rates_bps=[24.0] * 2, weights=[1, 2])
    radio.offer([0, 1], [10, 10])
    # 3 bytes/s: user 1 gets 2 until 5 s, then user 0 has 5 left and the whole cell.
    assert radio.advance(50.0).delivered_s == pytest.approx([5.0, 5 + 5 / 3])


def test_it_refuses_what_it_cannot_mean():
    radio = FlowAccess((EMBB,), num_cells=1, cells=[0], slice_of=[0], rates_bps=[8.0])
    for bad, said in (
        (lambda: radio.offer([1], [5]), "users"),
        (lambda: radio.offer([0], [0]), "at least 1"),
        (lambda: radio.offer([0, 0], [1, 1], [2.0, 1.0]), "do not decrease"),
        (lambda: radio.offer([0], [1], [-1.0]), "not before 0.0"),
        (lambda: radio.set_ratios({"embbb": ResourceRatio()}), "did you mean 'embb'"),
        (lambda: radio.set_cell_up(1, True), "cell"),
        (lambda: radio.set_users([0], [-1.0]), "rates_bps"),
        (lambda: radio.advance(-1.0), "until_s"),
    ):
        with pytest.raises(ValueError, match=said):
            bad()
    with pytest.raises(ValueError, match="num_bytes"):
        radio.offer([0], [1.5])
    radio.offer([0], [1], [3.0])
    with pytest.raises(ValueError, match="at least 3"):
        radio.advance(2.0)
