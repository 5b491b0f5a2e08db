"""The active-set radio: contention against its closed forms, queues against theory, its books to the last byte."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.active_set import CONTENTIONS, ActiveSetAccess, LimitedGrants, OwnedPilots, SharedPool
from wirelesslab.network.slices import MIOT, URLLC, ResourceRatio
from wirelesslab.rng import stream
from wirelesslab.stats import Count, assert_rate


def access(contention, num_devices=50, *, seed=1, num_cells=1, slices=(MIOT,), slot_s=1.0, **options):
    users = np.arange(num_devices)
    return ActiveSetAccess(
        slices, num_cells=num_cells, cells=users % num_cells, slice_of=users // num_cells % len(slices),
        slot_s=slot_s, contention=contention, rng=stream(seed, "contention"), **options,
    )  # fmt: skip


# --- rules ------------------------------------------------------------------------------------------


def success_rate(rule, speakers_of_slot):
    rng = stream(3)
    heard = speakers = 0
    for slot, num in enumerate(speakers_of_slot):
        ok = rule.success(rng, np.arange(num), np.zeros(num, np.int64), slot)
        heard, speakers = heard + int(ok.sum()), speakers + num
    return heard, speakers


def test_31_contenders_for_54_preambles_are_each_alone_with_probability_0_5708():
    """(53/54)^30 with exactly 31 contenders: TR 37.868's Beta(3, 4) burst at its peak."""
    heard, speakers = success_rate(SharedPool(54), [31] * 20_000)
    assert heard / speakers == pytest.approx((53 / 54) ** 30, rel=0.005)  # 620,000 trials: s.e. 0.12 %
    assert round((53 / 54) ** 30, 4) == 0.5708


@pytest.mark.parametrize(("mean", "preambles"), [(10, 64), (31.10, 54)])
def test_poisson_contenders_are_alone_with_probability_exp_of_minus_load(mean, preambles):
    """0.8553 for 10 devices and 64 preambles, 0.5622 for the peak of the burst."""
    heard, speakers = success_rate(SharedPool(preambles), stream(4).poisson(mean, size=20_000))
    assert heard / speakers == pytest.approx(math.exp(-mean / preambles), rel=0.01)


def test_slotted_aloha_carries_one_over_e_packets_per_slot():
    num_slots = 60_000
    radio = access(SharedPool(1), 1000, max_attempts=1)
    arrivals = stream(5).poisson(1.0, size=num_slots)
    times = np.repeat(np.arange(num_slots), arrivals).astype(float)
    radio.offer(np.arange(times.size) % 1000, np.full(times.size, 20), times)
    carried = radio.advance(num_slots).user.size
    assert_rate(Count(errors=carried, attempts=num_slots), math.exp(-1))
    assert carried / num_slots == pytest.approx(math.exp(-1), rel=0.02)  # s.e. 0.5 %
    account = radio.account()
    account.check()
    assert account.dropped_packets.sum() == times.size - carried


def test_cells_have_pools_of_their_own():
    ok = SharedPool(1).success(stream(6), np.arange(4), np.array([0, 1, 1, 2]), 0)
    assert ok.tolist() == [True, False, False, True]


def test_grants_are_counted_per_cell_and_given_in_line():
    ok = LimitedGrants(2).success(stream(6), np.arange(6), np.array([1, 0, 1, 1, 0, 1]), 0)
    assert ok.tolist() == [True, True, True, False, True, False]


# --- queues -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_one_grant_per_slot_is_the_slotted_md1_queue(load):
    """Wait for the slot's start (1/2) + rho/(2 (1 - rho)) + the slot itself."""
    num_cells, num_slots = 40, 10_000
    rng = stream(7, load)
    times = np.sort(rng.random(rng.poisson(load * num_cells * num_slots)) * num_slots)
    radio = access(LimitedGrants(1), 10_000, num_cells=num_cells)
    radio.offer(rng.integers(10_000, size=times.size), np.full(times.size, 20), times)
    done = radio.advance(num_slots + 1000.0)
    assert done.user.size == times.size
    expected = 0.5 + load / (2 * (1 - load)) + 1
    cells = done.user % num_cells  # independent replicas
    means = np.bincount(cells, weights=done.delay_s) / np.bincount(cells)
    assert abs(means.mean() - expected) < 3 * means.std(ddof=1) / math.sqrt(num_cells)
    assert means.mean() == pytest.approx(expected, rel=0.02)
    account = radio.account()
    account.check()
    assert account.packet_seconds.sum() / num_cells / num_slots == pytest.approx(load * expected, rel=0.02)
    assert account.used_share_seconds.sum() == times.size


def test_owned_pilots_deliver_every_packet_at_the_end_of_its_slot():
    radio = access(OwnedPilots(), 100, slot_s=0.5)
    times = np.sort(stream(8).random(60) * 30)
    radio.offer(np.arange(60), np.full(60, 20), times)
    done = radio.advance(40.0)
    assert np.array_equal(done.delivered_s, np.ceil(times / 0.5) * 0.5 + 0.5)


def test_a_device_speaks_one_packet_per_slot_and_its_oldest_first():
    radio = access(OwnedPilots())
    radio.offer([3, 3, 3, 4], [1, 2, 3, 4])
    done = radio.advance(10.0)
    assert list(zip(done.user, done.num_bytes, done.delivered_s, strict=True)) == [
        (3, 1, 1.0), (4, 4, 1.0), (3, 2, 2.0), (3, 3, 3.0),
    ]  # fmt: skip


def test_colliders_back_off_uniformly_and_give_up_after_their_attempts():
    class Never:
        losers_wait = False

        def __init__(self):
            self.slots = []

        def success(self, rng, users, cells, slot):
            self.slots.append((slot, users.tolist()))
            return np.zeros(users.size, np.bool_)

    rule = Never()
    radio = access(rule, 3000, back_off_slots=4, max_attempts=5)
    radio.offer(np.arange(3000), np.full(3000, 7))
    radio.advance(100.0)
    spoken = {u: [slot for slot, users in rule.slots if u in set(users)] for u in range(0, 3000, 10)}
    gaps = np.concatenate([np.diff(slots) for slots in spoken.values()])
    assert all(len(slots) == 5 for slots in spoken.values())
    counts = np.bincount(gaps, minlength=5)
    assert counts[0] == 0
    assert counts.size == 5
    # 1200 gaps, uniform over 1 to 4: chi-square with 3 degrees of freedom below its 1e-4 quantile.
    assert ((counts[1:] - 300) ** 2 / 300).sum() < 21.1
    account = radio.account()
    account.check()
    assert account.dropped_bytes.sum() == 21_000
    assert radio.num_active == 0
    assert radio.next_s == math.inf


# --- the oracle -------------------------------------------------------------------------------------


def slow(rule, rng, num_cells, slot_s, arrivals, num_slots, back_off, max_attempts, down):
    """The obvious version: every device looks at every slot."""
    lines, active = {}, []
    done, dropped, arrivals = [], 0, list(arrivals)
    for slot in range(num_slots):
        while arrivals and arrivals[0][2] <= (slot + 1) * slot_s:
            user, size, offered = arrivals.pop(0)
            lines.setdefault(user, [])
            if not lines[user]:
                active.append([user, math.ceil(offered / slot_s), 0])
            lines[user].append((size, offered))
        speakers = [d for d in active if d[1] <= slot and (d[0] % num_cells, slot) not in down]
        if not speakers:
            continue
        users = np.array([d[0] for d in speakers])
        heard = rule.success(rng, users, users % num_cells, slot)
        waits = np.zeros(users.size, int)
        if not rule.losers_wait:
            waits[~heard] = rng.integers(back_off, size=np.count_nonzero(~heard))
        again = []
        for device, ok, wait in zip(speakers, heard, waits, strict=True):
            user, gone = device[0], ok
            if ok:
                done.append((user, *lines[user][0], (slot + 1) * slot_s))
            elif not rule.losers_wait:
                device[1], device[2] = slot + 1 + wait, device[2] + 1
                gone = device[2] == max_attempts
                dropped += gone
            if gone:
                lines[user].pop(0)
                active.remove(device)
                if lines[user]:
                    again.append([user, max(slot + 1, math.ceil(lines[user][0][1] / slot_s)), 0])
        active += again
    return done, dropped


@pytest.mark.parametrize("rule", [OwnedPilots(), SharedPool(2), LimitedGrants(1)], ids=repr)
@pytest.mark.parametrize("seed", range(4))
def test_it_is_what_a_slow_oracle_computes(rule, seed):
    rng = stream(seed, "oracle")
    num = 250
    times = np.cumsum(rng.exponential(0.6, size=num))
    arrivals = list(
        zip(rng.integers(12, size=num).tolist(), rng.integers(1, 99, size=num).tolist(), times, strict=True)
    )
    down = {(1, slot) for slot in range(40, 60)}
    theirs, dropped = slow(rule, stream(9, seed), 2, 1.0, arrivals, 400, 4, 3, down)
    radio = access(rule, 12, num_cells=2, back_off_slots=4, max_attempts=3)
    radio._rng = stream(9, seed)
    parts, k = [], 0
    for now in (13.0, 40.0, 60.0, 61.7, 400.0):
        until = int(np.searchsorted(times, now, side="right"))
        radio.offer(*(np.array(column) for column in zip(*arrivals[k:until], strict=True)))
        k = until
        parts.append(radio.advance(now))
        radio.account().check()
        radio.set_cell_up(1, now != 40.0)
    ours = [row for part in parts for row in zip(*vars(part).values(), strict=True)]
    assert ours == theirs
    assert radio.account().dropped_packets.sum() == dropped
    assert (dropped > 0) == isinstance(rule, SharedPool)


@given(st.integers(0, 2**32), st.lists(st.floats(0.1, 20), max_size=8), st.sampled_from([0, 1, 2]))
@settings(max_examples=25, deadline=None)
def test_where_the_calls_cut_time_does_not_matter_to_the_last_bit(seed, cuts, which):
    rule = (SharedPool(3), LimitedGrants(1), OwnedPilots())[which]
    once, often = (access(rule, 30, num_cells=3, slices=(MIOT, URLLC), max_attempts=6) for _ in range(2))
    for radio in (once, often):
        radio.set_ratios({"miot": ResourceRatio(dedicated=0.2, min=0.3, max=0.7)})
    rng = np.random.default_rng(seed)
    times = np.sort(rng.random(80) * 40)
    users, sizes = rng.integers(30, size=80), rng.integers(1, 50, size=80)
    once.offer(users, sizes, times)
    whole = once.advance(120.0)
    parts, now, k = [], 0.0, 0
    for cut in [*cuts, 120.0]:
        now = min(120.0, now + cut)
        until = int(np.searchsorted(times, now, side="right"))
        often.offer(users[k:until], sizes[k:until], times[k:until])
        k = until
        parts.append(often.advance(now))
        _ = often.next_s, often.account().check(), often.snapshot()
    joined = type(whole).joined(parts)
    for name, value in vars(whole).items():
        assert np.array_equal(value, getattr(joined, name)), name
    for name, value in vars(once.account()).items():
        assert np.allclose(value, getattr(often.account(), name), rtol=1e-12), name


@pytest.mark.parametrize("rule", [kind() for kind in CONTENTIONS], ids=repr)
def test_a_restored_access_goes_on_to_the_last_bit(rule):
    def make():
        return access(rule, 40, num_cells=2, slices=(MIOT, URLLC), back_off_slots=5)

    rng = stream(10)
    times = np.sort(rng.random(300) * 60)
    users, sizes = rng.integers(40, size=300), rng.integers(1, 50, size=300)
    radio = make()
    radio.offer(users, sizes, times)
    radio.advance(60.0)
    radio.set_cell_up(0, False)
    radio.offer(users, sizes, times + 60)
    state = pickle.loads(pickle.dumps(radio.snapshot()))

    def future(radio):
        radio.set_cell_up(0, True)
        first = radio.advance(125.0)
        return [*vars(first).values(), *vars(radio.advance(300.0)).values(), *vars(radio.account()).values()]

    one = future(radio)
    other = make()
    other.restore(state)
    two = future(other)
    other.restore(state)
    for a, b, c in zip(one, two, future(other), strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)
    assert one[0].size > 0


# --- slices -----------------------------------------------------------------------------------------


def test_slots_are_divided_by_the_slices_shares_and_a_dedicated_part_stays_empty():
    def carried(ratios, busy, num_slots=1000):
        radio = access(LimitedGrants(1), 40, slices=(MIOT, URLLC))
        radio.set_ratios(ratios)
        users = np.flatnonzero(np.isin(np.arange(40) % 2, busy))
        radio.offer(np.repeat(users, num_slots // users.size), np.ones(num_slots, int))
        done = radio.advance(num_slots)
        radio.account().check()
        return [np.count_nonzero(done.user % 2 == s) / num_slots for s in (0, 1)]

    isolated = {"miot": ResourceRatio.isolated(0.3)}
    assert carried(isolated, [0, 1]) == pytest.approx([0.3, 0.7 * 5 / 7], abs=0.003)  # 500 packets each
    assert carried(isolated, [0]) == pytest.approx([0.3, 0], abs=0.003)
    assert carried(isolated, [1]) == pytest.approx([0, 0.7], abs=0.003)
    assert carried({"miot": ResourceRatio(min=0.3)}, [1]) == [0, 1]


def test_a_dedicated_share_is_unmoved_by_a_flood():
    def delays(flood):
        radio = access(LimitedGrants(1), 40, slices=(MIOT, URLLC))
        radio.set_ratios({"urllc": ResourceRatio.isolated(0.5)})
        times = np.arange(0, 900, 3.0)
        every = np.sort(np.concatenate([times, np.repeat(times, flood)]))
        users = np.where(np.arange(every.size) % (flood + 1) == 0, 1, 2)
        radio.offer(users, np.ones(every.size, int), every)
        done = radio.advance(2000.0)
        return done.delay_s[done.user == 1]

    # A slot of one's own every other slot: never later than two slots, flooded or not.
    assert delays(0).size == delays(10).size == 300
    assert delays(10).max() <= 2.0


# --- cost -------------------------------------------------------------------------------------------


def test_memory_is_flat_in_simulated_time():
    radio = access(SharedPool(16), 5000, max_attempts=8)
    rng, sizes = stream(12), []
    for k in range(40):
        times = np.sort(k * 1000 + rng.random(4000) * 1000)
        radio.offer(rng.integers(5000, size=4000), np.full(4000, 20), times)
        radio.advance((k + 1) * 1000.0)
        sizes.append(len(pickle.dumps(radio.snapshot())))
    assert sizes[-1] <= 1.05 * sizes[1]


def test_it_refuses_what_it_cannot_mean():
    radio = access(OwnedPilots())
    for bad, said in (
        (lambda: access(OwnedPilots(), slot_s=0.0), "slot_s"),
        (lambda: access(OwnedPilots(), back_off_slots=0), "back_off_slots"),
        (lambda: SharedPool(0), "num_preambles"),
        (lambda: radio.offer([50], [5]), "users"),
        (lambda: radio.offer([0, 0], [1, 1], [2.0, 1.0]), "do not decrease"),
        (lambda: radio.set_ratios({"miott": ResourceRatio()}), "did you mean 'miot'"),
        (lambda: radio.set_cell_up(1, True), "cell"),
        (lambda: radio.advance(-1.0), "until_s"),
    ):
        with pytest.raises(ValueError, match=said):
            bad()
