"""The three fidelities of the radio agree where their models coincide, and with theory."""

import math

import numpy as np
import pytest

from wirelesslab.network.active_set import ActiveSetAccess, LimitedGrants
from wirelesslab.network.fading import NoFading
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.slices import EMBB, URLLC, ResourceRatio
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.user_schedulers import RoundRobin
from wirelesslab.rng import stream


def slot_access(slices, cells, slice_of, rate_bps, slot_s):
    config = SlotRadio(slot_s=slot_s, intra_slice=RoundRobin(), fading=NoFading())
    rates = np.full(len(cells), rate_bps)
    return SlotAccess(config, slices, cells=cells, slice_of=slice_of, mean_rate_bps=rates)


def flow_access(slices, cells, slice_of, rate_bps):
    return FlowAccess(slices, cells=cells, slice_of=slice_of, rates_bps=np.full(len(cells), rate_bps))


def delays_by_offer(done, users, times):
    """Delays in the order of offer: users and times name a packet."""
    ours = np.lexsort((done.user, done.offered_s))
    wanted = np.lexsort((users, times))
    assert np.array_equal(done.user[ours], users[wanted])
    delays = np.empty(users.size)
    delays[wanted] = done.delay_s[ours]
    return delays


def books(access):
    account = access.account()
    account.check()
    return account.offered_bytes, account.delivered_bytes, account.waiting_bytes, account.delivered_packets


def test_slots_and_flows_agree_on_files_that_share_a_cell_and_with_theory():
    """M/G/1-PS, 30 cells of 16 Mb/s, files of 20 kB (10 ms) on average, at load 0.6: 25 ms."""
    num_cells, per_cell, rate_bps, load, horizon_s = 30, 20, 16e6, 0.6, 40.0
    rng = stream(1, "fidelities")
    num = rng.poisson(load * horizon_s / 0.01 * num_cells)
    times = np.sort(rng.random(num) * horizon_s)
    cells = np.repeat(np.arange(num_cells), per_cell)
    users = rng.integers(cells.size, size=num)
    sizes = rng.geometric(1 / 20_000, size=num)
    slice_of = np.zeros(cells.size, int)
    slots = slot_access((EMBB,), cells, slice_of, rate_bps, 2e-4)
    flows = flow_access((EMBB,), cells, slice_of, rate_bps)
    delays = []
    for access in (slots, flows):
        access.offer(users, sizes, times)
        done = access.advance(horizon_s + 5.0)
        assert done.user.size == num
        delays.append(delays_by_offer(done, users, times))
    for of_slots, of_flows in zip(books(slots), books(flows), strict=True):
        assert np.array_equal(of_slots, of_flows)
    by_cell = [np.bincount(cells[users], weights=d) / np.bincount(cells[users]) for d in delays]
    expected_s = 0.010 / (1 - load)
    means, errors = np.mean(by_cell, axis=1), np.std(by_cell, axis=1, ddof=1) / math.sqrt(num_cells)
    assert abs(means[1] - expected_s) < 3 * errors[1]
    assert means[1] == pytest.approx(expected_s, rel=0.02)
    # On the same files the means differ by slots alone: half a slot until the first, half a slot at the last.
    assert means[0] == pytest.approx(means[1], rel=0.02)
    # File by file they differ for two files of one user at once: slots serve them one after the other.
    assert np.corrcoef(*delays)[0, 1] > 0.9


def test_slots_and_flows_carry_the_same_under_reservations_at_full_load():
    """Two busy slices at dedicated 0.3 and the rest: each carries its share times the rate, whole bytes kept."""
    rate_bps, horizon_s = 8e6, 2.0
    cells, slice_of = np.zeros(4, int), np.array([0, 0, 1, 1])
    carried = []
    for access in (
        slot_access((EMBB, URLLC), cells, slice_of, rate_bps, 1e-3),
        flow_access((EMBB, URLLC), cells, slice_of, rate_bps),
    ):
        access.set_ratios({"urllc": ResourceRatio.isolated(0.3)})
        access.offer([0, 1, 2, 3], [10_000_000] * 4)
        access.advance(horizon_s)
        _, delivered, waiting, _ = books(access)
        carried.append(delivered[0])
        assert (delivered + waiting).tolist() == [[20_000_000, 20_000_000]]
    assert carried[1].tolist() == pytest.approx([1_400_000, 600_000], abs=2)  # at most a byte per file is rounded
    # A slot is 1000 bytes.
    assert carried[0] == pytest.approx(carried[1], abs=1002)


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_slots_and_grants_agree_on_packets_of_one_slot_and_with_the_slotted_md1_queue(load):
    """A packet fills a slot: mean inside is load (1/2 + load/(2 (1 - load)) + 1), in both accesses."""
    num_cells, num_slots, packet = 40, 10_000, 125
    rng = stream(2, load)
    times = np.sort(rng.random(rng.poisson(load * num_cells * num_slots)) * num_slots) * 1e-3
    users = rng.integers(num_cells, size=times.size)  # one device per cell: both serve it first come, first served
    sizes = np.full(times.size, packet)
    cells = np.arange(num_cells)
    slots = slot_access((EMBB,), cells, np.zeros(num_cells, int), 8 * packet / 1e-3, 1e-3)
    grants = ActiveSetAccess(
        (EMBB,), cells=cells, slice_of=np.zeros(num_cells, int), slot_s=1e-3,
        contention=LimitedGrants(1), rng=stream(3),
    )  # fmt: skip
    inside, delays = [], []
    end_s = (num_slots + 1000) * 1e-3
    for access in (slots, grants):
        access.offer(users, sizes, times)
        done = access.advance(end_s)
        assert done.user.size == times.size
        delays.append(delays_by_offer(done, users, times))
        account = access.account()
        account.check()
        inside.append(account.packet_seconds[:, 0] / (num_slots * 1e-3))
        assert account.used_share_seconds.sum() == pytest.approx(times.size * 1e-3, rel=1e-6)
    assert delays[0] == pytest.approx(delays[1], abs=1e-9)
    for of_slots, of_grants in zip(books(slots), books(grants), strict=True):
        assert np.array_equal(of_slots, of_grants)
    expected = load * (0.5 + load / (2 * (1 - load)) + 1)
    for values in inside:
        assert abs(values.mean() - expected) < 3 * values.std(ddof=1) / math.sqrt(num_cells)
        assert values.mean() == pytest.approx(expected, rel=0.02)
