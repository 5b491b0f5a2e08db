import math
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.access import Delivered
from wirelesslab.network.fading import CorrelatedRayleigh, NoFading, RayleighFading
from wirelesslab.network.radio import ProportionalRate, Shannon
from wirelesslab.network.slices import EMBB, MIOT, URLLC, ResourceRatio
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.user_schedulers import EarliestDeadline, MaxRate, ProportionalFair, RoundRobin
from wirelesslab.rng import stream
from wirelesslab.stats import batch_means

SLICES = (EMBB, URLLC, MIOT)
SCHEDULERS = (ProportionalFair(window_slots=20), RoundRobin(), MaxRate(), EarliestDeadline())
SLOT_S = 1e-3


def same_packets(first: Delivered, second: Delivered) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("user", "num_bytes", "offered_s", "delivered_s")
    )


class Oracle:
    """The slots told slowly: lists, sorting, one user after the other; gains are given."""

    def __init__(self, config, slices, cells, slice_of, mean_snr, ratios):
        self.config, self.slices, self.ratios = config, slices, ratios
        self.cell, self.slice_of, self.snr = list(cells), list(slice_of), np.float32(mean_snr)
        users = range(len(self.cell))
        self.queue = [deque() for _ in users]
        self.credit = [0.0 for _ in users]
        self.average = []
        for user in users:
            members = sum(
                c == self.cell[user] and s == self.slice_of[user] for c, s in zip(cells, slice_of, strict=True)
            )
            efficiency = float(config.rate.spectral_efficiency(float(self.snr[user])))
            self.average.append(np.float32(max(config.slot_s / 8 * config.bandwidth_hz * efficiency / members, 1e-6)))
        self.turn, self.slot, self.dropped, self.pending = {}, 0, [], deque()
        self.down, self.log = set(), []

    def bytes_per_slot(self, user, gain):
        snr, rate = float(self.snr[user]) * float(gain), self.config.rate
        if isinstance(rate, ProportionalRate):
            return self.config.slot_s / 8 * self.config.bandwidth_hz * (rate.bps_per_hz * snr)
        if snr < rate.least_snr:
            return 0.0
        return self.config.slot_s / 8 * self.config.bandwidth_hz * min(rate.ceiling, rate.slope * math.log2(1 + snr))

    def shares(self, want):
        grant = [min(w, r.min) for w, r in zip(want, self.ratios, strict=True)]
        more = [min(w, r.max) - g for w, g, r in zip(want, grant, self.ratios, strict=True)]
        spare = 1.0
        for g, r in zip(grant, self.ratios, strict=True):
            spare -= max(g, r.dedicated)
        spare, extra, hungry = max(spare, 0.0), [0.0] * len(want), list(range(len(want)))
        while hungry:
            level = max(spare, 0.0) / sum(float(self.slices[s].weight) for s in hungry)
            content = [s for s in hungry if more[s] <= self.slices[s].weight * level]
            for s in content or hungry:
                extra[s] = min(more[s], self.slices[s].weight * level)
                spare -= extra[s]
            hungry = [s for s in hungry if s not in content] if content else []
        return [g + e for g, e in zip(grant, extra, strict=True)]

    def key(self, user, capacity, cell):
        rule = self.config.intra_slice
        if isinstance(rule, ProportionalFair):
            return (-capacity / float(self.average[user]), user)
        if isinstance(rule, RoundRobin):
            return ((user - self.turn.get((cell, self.slice_of[user]), -1) - 1) % len(self.cell), user)
        if isinstance(rule, MaxRate):
            return (-capacity, user)
        return (self.queue[user][0][2], user)

    def run_slot(self, gains):
        now, end = self.slot * self.config.slot_s, (self.slot + 1) * self.config.slot_s
        while self.pending and self.pending[0][2] <= now + 1e-6 * self.config.slot_s:
            user, size, offered = self.pending.popleft()
            limit = self.config.buffer_bytes
            if limit is not None and sum(p[1] for p in self.queue[user]) + size > limit:
                self.dropped.append((user, size))
            else:
                self.queue[user].append([size, size, offered])
        if isinstance(self.config.intra_slice, ProportionalFair):
            keep = np.float32(1 - 1 / self.config.intra_slice.window_slots)
            self.average = [max(a * keep, np.float32(1e-12)) for a in self.average]
        for cell in sorted(set(range(max(self.cell) + 1)) - self.down):
            want, members, capacity = [], [], {}
            for s in range(len(self.slices)):
                users = [u for u in range(len(self.cell)) if (self.cell[u], self.slice_of[u]) == (cell, s)]
                users = [u for u in users if self.queue[u]]
                capacity |= {u: self.bytes_per_slot(u, gains[u]) for u in users}
                users = [u for u in users if capacity[u] > 0]
                total = 0.0
                for u in users:
                    total += (sum(p[1] for p in self.queue[u]) - self.credit[u]) / capacity[u]
                want.append(total)
                members.append(sorted(users, key=lambda u: self.key(u, capacity[u], cell)))
            for s, share in enumerate(self.shares(want)):
                left = share
                for user in members[s]:
                    if left <= 1e-12:
                        break
                    queued, reach = sum(p[1] for p in self.queue[user]), left * capacity[user] + self.credit[user]
                    if queued <= reach + 1e-6:
                        served = queued
                        left -= min(left, (served - self.credit[user]) / capacity[user])
                        self.credit[user] = 0.0
                    else:
                        served, left = int(reach + 1e-6), 0.0
                        self.credit[user] = max(0.0, reach - served)
                    self.take(user, served, end)
                    if isinstance(self.config.intra_slice, ProportionalFair):
                        self.average[user] += np.float32(served / self.config.intra_slice.window_slots)
                    self.turn[cell, s] = user
        self.slot += 1

    def take(self, user, served, end):
        while served:
            packet = self.queue[user][0]
            taken = min(served, packet[1])
            packet[1] -= taken
            served -= taken
            if packet[1] == 0:
                self.queue[user].popleft()
                self.log.append((user, packet[0], packet[2], end))


def drawn_system(seed, scheduler, rate, buffer_bytes):
    rng = stream(seed, "system")
    num_users, num_cells = int(rng.integers(1, 14)), int(rng.integers(1, 4))
    dedicated = rng.dirichlet(np.ones(4))[:3] * 0.9
    lowest = dedicated + rng.dirichlet(np.ones(4))[:3] * (1 - dedicated.sum()) * 0.9
    ratios = tuple(
        ResourceRatio(dedicated=float(d), min=float(m), max=float(m + rng.random() * (1 - m)))
        for d, m in zip(dedicated, lowest, strict=True)
    )
    slices = tuple(replace(s, radio=r) for s, r in zip(SLICES, ratios, strict=True))
    config = SlotRadio(intra_slice=scheduler, rate=rate, buffer_bytes=buffer_bytes, bandwidth_hz=1e6)
    cells, slice_of = rng.integers(0, num_cells, num_users), rng.integers(0, 3, num_users)
    cells[0] = num_cells - 1
    return rng, config, slices, ratios, cells, slice_of, rng.exponential(3.0, num_users)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scheduler=st.sampled_from(SCHEDULERS),
    rate=st.sampled_from((ProportionalRate(), Shannon(min_snr_db=-3))),
    buffer_bytes=st.sampled_from((None, 900)),
)
def test_the_kernel_and_the_slow_oracle_agree_exactly(seed, scheduler, rate, buffer_bytes):
    rng, config, slices, ratios, cells, slice_of, snr = drawn_system(seed, scheduler, rate, buffer_bytes)
    access = SlotAccess(config, slices, cells=cells, slice_of=slice_of, mean_snr=snr, seed=seed)
    oracle = Oracle(config, slices, cells, slice_of, snr, ratios)
    air = stream(seed, "slots", "slots")  # the access's own fading
    parts = []
    for step in range(25):
        count = int(rng.poisson(len(cells) * 0.8))
        users, sizes = rng.integers(0, len(cells), count), rng.integers(1, 600, count)
        offered = np.sort(step * 2 * SLOT_S + rng.random(count) * 2 * SLOT_S)
        access.offer(users, sizes, offered)
        oracle.pending.extend(zip(users.tolist(), sizes.tolist(), offered.tolist(), strict=True))
        if step == 10:
            access.set_cell_up(0, False)
            oracle.down.add(0)
        if step == 15:
            access.set_cell_up(0, True)
            oracle.down.clear()
        if step in {12, 18}:
            new = rng.integers(0, access.num_cells, len(cells))
            new[0] = access.num_cells - 1
            access.set_users(new)
            oracle.cell = new.tolist()
        parts.append(access.advance((step + 1) * 2 * SLOT_S))
        for _ in range(2):
            oracle.run_slot(air.standard_exponential(len(cells), dtype=np.float32))
        access.account().check()
    got = Delivered.joined(parts)
    log = list(
        zip(got.user.tolist(), got.num_bytes.tolist(), got.offered_s.tolist(), got.delivered_s.tolist(), strict=True)
    )
    assert log == oracle.log
    assert access.backlog_bytes.tolist() == [sum(p[1] for p in q) for q in oracle.queue]
    assert access.account().dropped_bytes.sum() == sum(size for _, size in oracle.dropped)
    if isinstance(scheduler, ProportionalFair):
        assert access.average_bytes_per_slot.tolist() == [float(a) for a in oracle.average]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    scheduler=st.sampled_from(SCHEDULERS),
    fading=st.sampled_from((NoFading(), RayleighFading(), CorrelatedRayleigh(doppler_hz=50))),
    saturated=st.booleans(),
)
def test_bytes_and_time_are_conserved_through_failures_handovers_and_drops(seed, scheduler, fading, saturated):
    rng, config, slices, _, cells, slice_of, snr = drawn_system(seed, scheduler, Shannon(), 2_000)
    config = replace(config, fading=fading)
    always = np.zeros(len(cells), bool)
    always[0] = saturated and len(cells) > 1
    packets = np.flatnonzero(~always)
    access = SlotAccess(config, slices, cells=cells, slice_of=slice_of, mean_snr=snr, saturated=always, seed=seed)
    now, offered, delivered = 0.0, 0, 0
    for _ in range(30):
        users = rng.choice(packets, int(rng.poisson(len(cells))))
        sizes = rng.integers(1, 900, users.size)
        later = now + float(rng.random()) * 4 * SLOT_S
        access.offer(users, sizes, np.sort(rng.uniform(now, later, users.size)))
        offered += int(sizes.sum())
        access.account().check()
        got = access.advance(later)
        delivered += int(got.num_bytes.sum())
        assert np.all(got.delay_s > 0)
        assert np.all(np.diff(got.delivered_s) >= 0)
        now = later
        access.set_cell_up(int(rng.integers(access.num_cells)), bool(rng.random() < 0.7))
        access.set_users(rng.integers(0, access.num_cells, len(cells)), rng.exponential(3.0, len(cells)))
        account = access.account()
        account.check()
        assert account.waiting_packets.sum() < 1e4
    account = access.account()
    if not always.any():
        assert account.offered_bytes.sum() == offered
        partly = account.delivered_bytes.sum() - delivered
        assert 0 <= partly <= 900 * len(cells)
    assert account.used_share_seconds.sum() <= access.num_cells * account.now_s * (1 + 1e-9)


def test_moved_packets_are_on_the_new_cells_account_and_their_past_on_the_old_ones():
    access = SlotAccess(
        SlotRadio(fading=NoFading(), intra_slice=RoundRobin()),
        (EMBB,), cells=[0], slice_of=[0], mean_rate_bps=[8e5], num_cells=2,
    )  # fmt: skip
    access.offer([0], [250])
    access.advance(SLOT_S)  # 100 bytes per slot
    access.set_users([1])
    before = access.account()
    before.check()
    assert before.offered_bytes.tolist() == [[100], [150]]
    assert before.packet_seconds.tolist() == [[SLOT_S], [0.0]]
    got = access.advance(3 * SLOT_S)
    after = access.account()
    after.check()
    assert got.delay_s.tolist() == pytest.approx([3 * SLOT_S])
    assert after.delivered_bytes.tolist() == [[100], [150]]
    assert after.packet_seconds == pytest.approx(np.array([[SLOT_S], [2 * SLOT_S]]))


def test_fractions_of_a_byte_are_kept_until_they_make_a_whole_one():
    access = SlotAccess(
        SlotRadio(fading=NoFading(), intra_slice=RoundRobin()), (EMBB,), cells=[0], slice_of=[0], mean_rate_bps=[2e3]
    )  # a quarter of a byte per slot
    access.offer([0], [25])
    assert access.advance(0.0991).user.size == 0
    assert access.advance(0.1001).delivered_s.tolist() == pytest.approx([0.1])


@pytest.mark.parametrize("load", [0.4, 0.6])
def test_round_robin_of_poisson_files_is_processor_sharing(load):
    rng = stream(5, "files", load)
    num_users, rate_bps, mean_bytes = 60, 80e6, 100 * 10_000  # 10 kB per slot: 100 slots for a file
    file_s = 8 * mean_bytes / rate_bps
    num_files = 16_000 if load == 0.4 else 40_000
    offered = np.cumsum(rng.exponential(file_s / load, num_files))
    small = rng.random(num_files) < 0.5
    sizes = np.where(small, mean_bytes // 2, mean_bytes * 3 // 2)
    # Every file has a user of its own for as long as it lasts: 60 are never busy at once.
    users = np.arange(num_files) % num_users
    access = SlotAccess(
        SlotRadio(fading=NoFading(), intra_slice=RoundRobin()),
        (EMBB,), cells=np.zeros(num_users, int), slice_of=np.zeros(num_users, int),
        mean_rate_bps=np.full(num_users, rate_bps),
    )  # fmt: skip
    access.offer(users, sizes, offered)
    got = access.advance(float(offered[-1]) + 200 * file_s)
    assert got.user.size == num_files
    order = np.argsort(got.offered_s)
    for size in (mean_bytes // 2, mean_bytes * 3 // 2):
        of_size = order[got.num_bytes[order] == size]
        # A slot has no beginning for the file that comes during it, and no end before its end: one slot on average.
        delays = got.delay_s[of_size] - SLOT_S
        expected = 8 * size / rate_bps / (1 - load)
        mean, error = batch_means(delays[200:], 20)
        assert abs(mean - expected) < 3 * error
        assert abs(mean / expected - 1) < 0.02
    access.account().check()


def test_proportional_fairness_gains_the_harmonic_number_from_16_rayleigh_users():
    num_users, slots = 16, 60_000
    access = SlotAccess(
        SlotRadio(rate=ProportionalRate(), intra_slice=ProportionalFair(window_slots=2000)),
        (EMBB,), cells=np.zeros(num_users, int), slice_of=np.zeros(num_users, int),
        mean_snr=np.full(num_users, 4.0), saturated=True, seed=11,
    )  # fmt: skip
    access.advance(10.0)
    served, series = access.account().delivered_bytes.sum(), []
    for step in range(100):
        access.advance(10.0 + (step + 1) * slots / 100 * SLOT_S)
        total = access.account().delivered_bytes.sum()
        series.append((total - served) / (slots / 100))
        served = total
    one_user_alone = 20e6 * 4.0 * SLOT_S / 8
    gain, error = (value / one_user_alone for value in batch_means(series, 20))
    harmonic = float(np.sum(1 / np.arange(1, num_users + 1)))
    assert abs(gain - harmonic) < 3 * error
    assert abs(gain / harmonic - 1) < 0.02


def flooded(ratio: ResourceRatio, flood: int) -> tuple[Delivered, np.ndarray]:
    slices = (replace(EMBB, radio=ResourceRatio()), replace(URLLC, radio=ratio))
    users = 40
    slice_of = np.arange(users) % 2
    access = SlotAccess(
        SlotRadio(buffer_bytes=50_000), slices,
        cells=np.zeros(users, int), slice_of=slice_of, mean_snr=np.full(users, 10.0), seed=2,
    )  # fmt: skip
    own, others, parts = stream(1, "own"), stream(1, "others"), []
    for step in range(600):
        mine = own.integers(0, users // 2, own.poisson(5)) * 2 + 1
        theirs = others.integers(0, users // 2, others.poisson(2)) * 2
        who, sizes = [mine], [own.integers(100, 1000, mine.size)]
        for _ in range(flood):
            who.append(theirs)
            sizes.append(np.full(theirs.size, 1500))
        access.offer(np.concatenate(who), np.concatenate(sizes))
        parts.append(access.advance((step + 1) * SLOT_S))
    access.account().check()
    got = Delivered.joined(parts)
    keep = got.user % 2 == 1
    return Delivered(got.user[keep], got.num_bytes[keep], got.offered_s[keep], got.delivered_s[keep]), got.user


def test_a_flood_elsewhere_does_not_move_a_slice_with_resources_of_its_own():
    calm, _ = flooded(ResourceRatio.isolated(0.5), 1)
    flood, everyone = flooded(ResourceRatio.isolated(0.5), 10)
    assert calm.user.size > 1000
    assert everyone.size > flood.user.size
    assert same_packets(calm, flood)


def test_a_flood_elsewhere_delays_a_slice_that_shares():
    calm, _ = flooded(ResourceRatio(), 1)
    flood, _ = flooded(ResourceRatio(), 10)
    assert flood.delay_s.mean() > 1.5 * calm.delay_s.mean()


def test_no_slice_exceeds_its_max_and_no_dedicated_share_is_lent_in_any_slot():
    ratios = (ResourceRatio(max=0.45), ResourceRatio(dedicated=0.2, min=0.2), ResourceRatio(min=0.1, max=0.6))
    slices = tuple(replace(s, radio=r) for s, r in zip(SLICES, ratios, strict=True))
    rng, users = stream(3, "max"), 60
    slice_of = np.arange(users) % 3
    access = SlotAccess(
        SlotRadio(), slices, cells=np.arange(users) // 3 % 2, slice_of=slice_of, mean_snr=np.full(users, 5.0), seed=4
    )
    used = np.zeros((2, 3))
    peaks = np.zeros(3)
    for step in range(400):
        who = rng.integers(0, users, rng.poisson(60))
        who = who[(slice_of[who] != 1) | (step >= 200)]  # the second slice is silent at first
        access.offer(who, rng.integers(1, 3000, who.size))
        access.advance((step + 1) * SLOT_S)
        total = access.account().used_share_seconds
        shares, used = (total - used) / SLOT_S, total
        assert np.all(shares[:, 0] <= 0.45 + 1e-9)
        assert np.all(shares[:, 2] <= 0.6 + 1e-9)
        assert np.all(shares.sum(axis=1) <= (1 if step >= 200 else 0.8) + 1e-9)
        peaks = np.maximum(peaks, shares.max(axis=0))
    assert peaks[0] > 0.44  # the limits were reached, not merely respected
    assert peaks[1] > 0.3


def test_a_guaranteed_share_is_there_on_demand_and_the_rest_follows_the_weights():
    slices = (replace(EMBB, weight=3.0), replace(URLLC, radio=ResourceRatio(min=0.4)), replace(MIOT, weight=1.0))
    access = SlotAccess(
        SlotRadio(fading=NoFading()), slices,
        cells=[0, 0, 0], slice_of=[0, 1, 2], mean_snr=[1.0, 1.0, 1.0], saturated=True,
    )  # fmt: skip
    access.advance(1.0)
    # 0.6 is left over, in the ratio 3 : 1 : 1, beyond the guarantee
    assert access.account().used_share_seconds[0] == pytest.approx([0.36, 0.52, 0.12])


def test_ratios_can_change_while_running():
    access = SlotAccess(
        SlotRadio(fading=NoFading()), (EMBB, URLLC), cells=[0, 0], slice_of=[0, 1], mean_snr=[1.0, 1.0], saturated=True
    )
    access.set_ratios({"embb": ResourceRatio.isolated(0.25), "urllc": ResourceRatio.isolated(0.5)})
    access.advance(1.0)
    assert access.account().used_share_seconds[0] == pytest.approx([0.25, 0.5])
    with pytest.raises(ValueError, match=r"min shares sum to 1\.5"):
        access.set_ratios({"embb": ResourceRatio(min=1.0)})
    with pytest.raises(ValueError, match="did you mean 'urllc'"):
        access.set_ratios({"urlc": ResourceRatio()})


def test_nothing_gets_through_in_a_cell_that_is_down_and_everything_waits():
    access = SlotAccess(SlotRadio(), (EMBB,), cells=[0, 1], slice_of=[0, 0], mean_snr=[10.0, 10.0])
    access.set_cell_up(0, False)
    access.offer([0, 1], [500, 500])
    assert access.advance(0.1).user.tolist() == [1]
    assert access.account().waiting_bytes.tolist() == [[500], [0]]
    access.set_cell_up(0, True)
    assert access.advance(0.2).user.tolist() == [0]
    access.account().check()


def busy_run(access: SlotAccess, rng: np.random.Generator, steps: int) -> Delivered:
    parts = []
    for _ in range(steps):
        count = int(rng.poisson(30))
        access.offer(rng.integers(0, access.num_users, count), rng.integers(1, 2000, count))
        parts.append(access.advance(access.now_s + 2.5 * SLOT_S))
        access.set_users(rng.integers(0, access.num_cells, access.num_users))
    return Delivered.joined(parts)


@pytest.mark.parametrize("fading", [RayleighFading(), CorrelatedRayleigh(doppler_hz=30)])
def test_a_snapshot_goes_on_bit_by_bit_also_in_another_access(fading):
    def fresh(seed):
        rng = stream(8, "users")
        return SlotAccess(
            SlotRadio(fading=fading, buffer_bytes=20_000), SLICES,
            cells=rng.integers(0, 3, 50), slice_of=rng.integers(0, 3, 50), mean_snr=rng.exponential(5, 50), seed=seed,
        )  # fmt: skip

    access, rng = fresh(1), stream(8, "traffic")
    busy_run(access, rng, 30)
    access.offer([3], [700])
    state, traffic = access.snapshot(), rng.bit_generator.state
    first = busy_run(access, rng, 30)
    account = access.account()
    other = fresh(99)
    for again in (access, other):
        again.restore(state)
        rng.bit_generator.state = traffic
        assert same_packets(first, busy_run(again, rng, 30))
        assert np.array_equal(again.account().packet_seconds, account.packet_seconds)
        assert np.array_equal(again.account().delivered_bytes, account.delivered_bytes)
    assert first.user.size > 100


def test_one_long_advance_equals_many_short_ones():
    rng = stream(4, "one")
    offered = np.sort(rng.random(3000))
    users, sizes = rng.integers(0, 30, 3000), rng.integers(1, 3000, 3000)

    def fresh():
        return SlotAccess(
            SlotRadio(), SLICES, cells=np.arange(30) % 4, slice_of=np.arange(30) % 3, mean_snr=np.full(30, 8.0), seed=6
        )

    whole, pieces = fresh(), fresh()
    whole.offer(users, sizes, offered)
    at_once, parts, taken = whole.advance(1.1), [], 0
    for until in np.linspace(0, 1.1, 777)[1:]:
        upto = int(np.searchsorted(offered, until))
        pieces.offer(users[taken:upto], sizes[taken:upto], offered[taken:upto])
        taken = upto
        parts.append(pieces.advance(float(until)))
    assert same_packets(at_once, Delivered.joined(parts))
    assert np.allclose(whole.account().packet_seconds, pieces.account().packet_seconds)


def test_memory_follows_the_backlog_and_not_the_simulated_time():
    access = SlotAccess(
        SlotRadio(), SLICES, cells=np.arange(90) % 3, slice_of=np.arange(90) % 3, mean_snr=np.full(90, 10.0), seed=1
    )
    rng, sizes = stream(2, "memory"), []
    for _ in range(20):
        for _ in range(100):
            count = int(rng.poisson(20))
            access.offer(rng.integers(0, 90, count), rng.integers(1, 1000, count))
            access.advance(access.now_s + SLOT_S)
        sizes.append(sum(a.nbytes for g in ("pool", "users", "books") for a in access.snapshot()[g].values()))
    assert sizes[-1] == sizes[0]
    assert access.account().delivered_packets.sum() > 30_000


@pytest.mark.parametrize(
    ("offer", "message"),
    [
        (([9], [10]), "users: got int64 from 9 to 9"),
        (([0], [0]), "num_bytes"),
        (([0], [1.5]), "num_bytes"),
        (([1], [10]), "saturated"),
        (([0, 0], [1, 1], [0.2, 0.1]), "do not decrease"),
        (([0], [1], [-1.0]), "offered_s"),
    ],
)
def test_packets_that_make_no_sense_are_refused(offer, message):
    access = SlotAccess(
        SlotRadio(), (EMBB,), cells=[0, 0], slice_of=[0, 0], mean_snr=[1.0, 1.0], saturated=[False, True]
    )
    with pytest.raises(ValueError, match=message):
        access.offer(*offer)


def test_an_access_refuses_users_in_no_cell_or_no_slice():
    good = {"cells": [0, 0], "slice_of": [0, 0], "mean_snr": [1.0, 1.0]}
    for bad in (
        {"slice_of": [0, 1]},
        {"mean_snr": [1.0]},
        {"mean_snr": [1.0, -1.0]},
        {"cells": [0, -1]},
        {"mean_snr": None},
    ):
        with pytest.raises(ValueError, match="expected"):
            SlotAccess(SlotRadio(), (EMBB,), **(good | bad))
