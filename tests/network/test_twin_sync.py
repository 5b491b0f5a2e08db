"""When twins are sent what they mirror, how it travels, and how old what they know becomes."""

from typing import Any

import numpy as np
import pytest

from wirelesslab.network import EMBB, ExponentialSize, Network, line, theory
from wirelesslab.network.twins.clock_twin import ClockTwin
from wirelesslab.network.twins.messages import Carriage, Mirror, Postbag
from wirelesslab.network.twins.sync import (
    RULES,
    SYNC_RULES,
    BudgetSync,
    PeriodicSync,
    PoissonSync,
    RatedSync,
    Sync,
    ThresholdSync,
    lognormal_budget_gain,
    sync_cost,
)
from wirelesslab.rng import stream

BYTES, RATE_BPS = 100_000, 8e5  # an update takes a second


def watched(sync: Sync, carriage: Carriage, seed: int = 2) -> tuple[Network, ClockTwin]:
    network = Network(
        line(num_links=1, rate_bps=RATE_BPS, distance_m=1e-3), (EMBB,), seed=seed, segment_bytes=10**9, report_s=1000.0
    )
    return network, network.add(ClockTwin(sync, carriage, source="edge-1", at="edge-2", name="twin"))


def batches(
    network: Network, twin: ClockTwin, warm_s: float, batch_s: float, num: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return in each batch of time the mean age, from the exact integral of the sawtooth, and the mean delay."""
    integrals, delays, ended = [], [], []
    for batch in range(num + 1):
        network.run(until_s=warm_s + batch * batch_s)
        integrals.append(twin.age_integral)
        delays.append(network.book.delay_seconds[0])
        ended.append(network.book.ended_flows["delivered"][0])
    return np.diff(integrals) / batch_s, np.diff(delays) / np.maximum(np.diff(ended), 1)


def dm1_sojourn(load: float) -> float:
    return theory.dm1_age(load) - 1 / (2 * load)  # the age is half a period and a sojourn


LAWS = {
    "M/M/1": (PoissonSync, ExponentialSize(float(BYTES)), theory.mm1_age, theory.mm1_sojourn),
    "M/D/1": (PoissonSync, BYTES, theory.md1_age, lambda load: 1 + theory.md1_wait(load)),
    "D/M/1": (
        lambda rate_per_s: PeriodicSync(period_s=1 / rate_per_s), ExponentialSize(float(BYTES)), theory.dm1_age,
        dm1_sojourn,
    ),
}  # fmt: skip


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("load", [0.5, 0.8])
def test_the_age_of_a_twin_fed_through_a_link_is_that_of_the_queue(law: str, load: float) -> None:
    make, size, closed_form, sojourn = LAWS[law]
    network, twin = watched(make(rate_per_s=load), Carriage(slice="embb", num_bytes=size))
    ages, delays = batches(network, twin, warm_s=200.0, batch_s=1200.0 / (1 - load), num=20)
    assert abs(ages.mean() - closed_form(load)) < 3 * ages.std(ddof=1) / np.sqrt(ages.size)
    # the messages' mean delay is known too: what it strays by in a batch tells most of what the age strays by
    off = delays - sojourn(load)
    slope = float(np.cov(ages, off)[0, 1] / off.var(ddof=1))
    left = ages - slope * off
    error, wanted = left.std(ddof=2) / np.sqrt(left.size), closed_form(load)
    assert abs(left.mean() - wanted) < 3 * error  # one run in 130 each, with 18 degrees of freedom; fixed by the seed
    assert left.mean() == pytest.approx(wanted, rel=0.02)


def test_the_age_of_a_periodic_twin_whose_updates_are_lost_is_the_closed_form() -> None:
    network, twin = watched(PeriodicSync(period_s=1.0), Carriage(loss=0.1, delay_s=0.2))
    means, _ = batches(network, twin, warm_s=100.2, batch_s=1000.0, num=20)
    error, wanted = means.std(ddof=1) / np.sqrt(means.size), theory.periodic_age(1.0, 0.1, 0.2)
    assert wanted == pytest.approx(0.81111, abs=1e-5)
    assert abs(means.mean() - wanted) < 3 * error
    assert means.mean() == pytest.approx(wanted, rel=0.02)


def test_a_loss_in_the_air_leaves_the_bytes_in_the_slice_and_the_age_growing() -> None:
    network, twin = watched(PeriodicSync(period_s=10.0), Carriage(slice="embb", num_bytes=BYTES, loss=1.0))
    network.run(until_s=35.0)
    network.check()
    assert network.book.ended_flows["delivered"][0] == 4  # the slice carried them all
    assert twin.bag.lost_updates == 4
    assert twin.mirror.ages_s(network.now_s)[0] == np.inf


def test_a_message_lost_in_the_network_leaves_the_age_growing_until_the_next_one() -> None:
    network, twin = watched(PeriodicSync(period_s=10.0), Carriage(slice="embb", num_bytes=BYTES))
    network.run(until_s=9.0)
    network.active[0] = False  # the update of second 10 is refused
    network.run(until_s=15.0)
    network.active[0] = True
    assert twin.mirror.ages_s(15.0)[0] == 15.0
    assert twin.bag.lost_messages == 1
    assert not twin.bag.under_way
    network.run(until_s=22.0)
    network.check()
    assert twin.mirror.ages_s(22.0)[0] == 2.0


def test_an_update_that_was_overtaken_never_makes_a_mirror_older() -> None:
    mirror = Mirror.empty({"x": np.zeros((2, 1))})
    one, both = np.array([1]), np.array([0, 1])
    mirror.take(one, np.array([2]), 5.0, {"x": np.array([[7.0]])}, now_s=6.0)
    changed = mirror.take(both, np.array([1, 1]), 4.0, {"x": np.array([[1.0], [2.0]])}, now_s=7.0)
    assert changed.tolist() == [0]
    assert mirror.values["x"].ravel().tolist() == [1.0, 7.0]
    assert mirror.ages_s(8.0).tolist() == [4.0, 3.0]
    assert mirror.overtaken == 1


def test_the_integral_of_an_age_is_the_area_of_its_sawtooth() -> None:
    mirror, one = Mirror.empty({"x": np.zeros((1, 1))}), np.array([0])
    mirror.take(one, np.array([1]), 0.0, {}, now_s=1.0)  # from here on the age runs from 1 to 3,
    mirror.take(one, np.array([2]), 2.0, {}, now_s=3.0)  # then from 1 to 2
    assert mirror.age_integrals(4.0)[0] == pytest.approx(2 * 2 + 1.5)
    assert mirror.mean_ages_s(4.0)[0] == pytest.approx(5.5 / 3)


def test_of_what_is_lost_in_the_air_the_share_is_the_probability() -> None:
    bag, carriage = Postbag(stream(1, "air")), Carriage(loss=0.3)
    heard = carriage.heard(bag, 100_000)
    assert heard.mean() == pytest.approx(0.7, abs=4 * np.sqrt(0.21 / 100_000))  # 4 standard errors
    assert bag.lost_updates == np.count_nonzero(~heard)


def test_a_message_weighs_its_header_and_its_updates() -> None:
    bag = Postbag(stream(1, "air"))
    assert Carriage(num_bytes=30, header_bytes=40).size_bytes(bag, 5) == 190
    sizes = [Carriage(num_bytes=ExponentialSize(100.0), header_bytes=40).size_bytes(bag, 10_000) for _ in range(3)]
    assert np.allclose(sizes, 1_000_040, rtol=5 / np.sqrt(10_000))  # 5 standard deviations of a sum


# --- the rules ---------------------------------------------------------------------------------------------------

RULES_OF_EACH_KIND = [
    PeriodicSync(period_s=0.7, random_phase=True), PoissonSync(rate_per_s=1.5), ThresholdSync(error=0.5, every_s=0.1),
    BudgetSync(messages_per_s=9.0, weights=(1.0, 2.0, 3.0, 4.0, 5.0)),
    RatedSync(rates_per_s=(0.5, 1.0, 1.5, 2.0, 2.5), budget_per_s=7.5),
]  # fmt: skip


def sent(sync: Sync, times_s: np.ndarray, values: np.ndarray, seed: int = 3) -> list[tuple[float, int]]:
    """Return who was sent when, things being looked at at these times; values (T, N)."""
    memory = sync.begin(stream(seed, "sync"), values.shape[1], 0.0)
    return [
        (float(t), int(user))
        for t, row in zip(times_s, values, strict=True)
        for user in sync.due(memory, float(t), lambda row=row: row)
    ]


def test_every_rule_is_among_these_tests() -> None:
    assert {type(rule) for rule in RULES_OF_EACH_KIND} == set(SYNC_RULES)


@pytest.mark.parametrize("sync", RULES_OF_EACH_KIND, ids=lambda rule: type(rule).__name__)
def test_a_rule_says_before_when_somebody_is_due(sync: Sync) -> None:
    memory = sync.begin(stream(3, "sync"), 5, 2.0)
    now, walk = 2.0, stream(4, "walk")
    position = np.zeros(5)
    for _ in range(200):
        now = max(now, sync.next_s(memory))
        before = {name: rows.copy() for name, rows in memory.items()}
        assert sync.due(memory, now - 1e-6, lambda at=position: at).size == 0
        assert all(np.array_equal(before[name], rows) for name, rows in memory.items())
        position = position + walk.normal(0, 0.3, 5)
        who = sync.due(memory, now, lambda at=position: at)
        assert who.size or isinstance(sync, ThresholdSync)
        assert np.all(np.diff(who) > 0)
    assert now > 5.0


@pytest.mark.parametrize("sync", [RULES_OF_EACH_KIND[0], RULES_OF_EACH_KIND[1]], ids=["periodic", "Poisson"])
def test_a_rule_keeps_its_rate(sync: Sync) -> None:
    times = np.arange(0.0, 200.0, 1e-3)
    num = len(sent(sync, times, np.zeros((times.size, 50))))
    wanted = 50 * 200 * (1.5 if isinstance(sync, PoissonSync) else 1 / 0.7)
    assert num == pytest.approx(wanted, abs=4 * np.sqrt(wanted) if isinstance(sync, PoissonSync) else 50)


def test_regular_beats_do_not_drift_and_fall_on_the_clock() -> None:
    times = np.cumsum(np.full(100_000, 0.1))  # sums of a tenth: off by 2e-8 at the end
    at = [t for t, _ in sent(PeriodicSync(period_s=0.3), times, np.zeros((times.size, 1)))]
    assert at[0] == 0.1  # the first time that anybody looked; the beat began at 0
    assert np.allclose(at[1:], 0.3 * np.arange(1, len(at)), rtol=0, atol=1e-7)


def test_what_missed_several_beats_is_sent_once() -> None:
    memory = PeriodicSync(period_s=1.0).begin(stream(1), 1, 0.0)
    assert PeriodicSync(period_s=1.0).due(memory, 5.5, lambda: np.zeros(1)).tolist() == [0]
    assert PeriodicSync(period_s=1.0).next_s(memory) == 6.0


def test_a_threshold_bounds_the_error_of_what_moves_with_bounded_speed() -> None:
    sync, speed = ThresholdSync(error=2.0, every_s=0.1), 3.0
    times = np.arange(0.0, 100.0, 0.01)
    direction = stream(5, "direction").choice([-1.0, 1.0], (times.size // 50, 20)).repeat(50, axis=0)
    values = np.cumsum(speed * 0.01 * direction, axis=0)
    said, worst = np.full(20, np.nan), 0.0
    memory = sync.begin(stream(1), 20, 0.0)
    for now, row in zip(times, values, strict=True):
        who = sync.due(memory, float(now), lambda row=row: row)
        said[who] = row[who]
        worst = max(worst, float(np.abs(row - said).max()))
    assert 2.0 < worst <= 2.0 + speed * 0.1 + 1e-9


def test_a_threshold_sends_what_stands_still_at_the_latest_after_a_while() -> None:
    times = np.round(np.arange(0.0, 20.05, 0.1), 9)
    said = sent(ThresholdSync(error=1.0, every_s=0.5, at_most_s=4.0), times, np.zeros((times.size, 1)))
    assert [t for t, _ in said] == [0.0, 4.0, 8.0, 12.0, 16.0, 20.0]


def test_what_is_forgotten_is_sent_at_the_next_look() -> None:
    sync, still = ThresholdSync(error=1.0, every_s=1.0), np.zeros(3)
    memory = sync.begin(stream(1), 3, 0.0)
    assert sync.due(memory, 0.0, lambda: still).tolist() == [0, 1, 2]
    sync.forget(memory, np.array([1]))
    assert sync.due(memory, 1.0, lambda: still).tolist() == [1]


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
def test_square_roots_gain_what_the_lognormal_form_says_and_proportions_gain_nothing(sigma: float) -> None:
    # sample of 20,000 weights at sigma 1.5: the gain's own standard error is 3 %
    weights = tuple(np.exp(sigma * stream(7, "weights").standard_normal(20_000)))
    cost = {rule: BudgetSync(messages_per_s=100.0, weights=weights, rule=rule).mean_cost for rule in RULES}
    assert cost["uniform"] / cost["square root"] == pytest.approx(lognormal_budget_gain(sigma), rel=0.06)
    assert cost["proportional"] == pytest.approx(cost["uniform"], rel=1e-12)
    rates = BudgetSync(messages_per_s=100.0, weights=weights).rates_per_s
    assert rates.sum() == pytest.approx(100.0)
    for _ in range(3):  # no other division of the budget costs less
        other = rates * np.exp(0.1 * stream(8, "other").standard_normal(rates.size))
        assert sync_cost(weights, other * 100.0 / other.sum()) > cost["square root"]


def test_ages_under_a_budget_cost_what_its_closed_form_says() -> None:
    weights = (1.0, 4.0, 9.0, 0.25)
    for rule in RULES:
        sync = BudgetSync(messages_per_s=20.0, weights=weights, rule=rule)
        mirror, memory = Mirror.empty({"x": np.zeros((4, 1))}), sync.begin(stream(1), 4, 0.0)
        version = np.zeros(4, np.int64)
        while (now := sync.next_s(memory)) < 300.0:
            who = sync.due(memory, now, lambda: np.zeros(4))
            version[who] += 1
            mirror.take(who, version[who], now, {}, now)
        cost = float(np.asarray(weights) @ mirror.mean_ages_s(300.0))
        assert cost == pytest.approx(sync.mean_cost, rel=0.01)  # of whole periods; the ends cost a part of one


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: PeriodicSync(period_s=0), "period_s"),
        (lambda: PoissonSync(rate_per_s=-1), "rate_per_s"),
        (lambda: ThresholdSync(error=1, every_s=2, at_most_s=1), "at_most_s"),
        (lambda: BudgetSync(messages_per_s=1, weights=(1.0, 0.0)), "weights"),
        (lambda: BudgetSync(messages_per_s=1, weights=(1.0,), rule="best"), "rule"),
        (lambda: BudgetSync(messages_per_s=1, weights=(1.0,)).begin(stream(1), 2, 0.0), "weights"),
        (lambda: Carriage(slice="embb", delay_s=1.0), "delay_s"),
        (lambda: Carriage(loss=2), "loss"),
        (lambda: sync_cost([1.0], [0.0]), "rates_per_s"),
    ],
)
def test_nonsense_is_refused(make: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


# --- written down --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slice_name", ["embb", ""])
@pytest.mark.parametrize("sync", RULES_OF_EACH_KIND[:3], ids=lambda rule: type(rule).__name__)
def test_a_network_restored_in_mid_message_goes_on_alike_to_the_last_bit(sync: Sync, slice_name: str) -> None:
    carriage = Carriage(slice=slice_name, num_bytes=ExponentialSize(3e4), loss=0.2, delay_s=0.0 if slice_name else 0.35)
    network, twin = watched(sync, carriage)
    at = 20.0
    network.run(until_s=at)
    while not twin.bag.under_way:
        at += 0.01
        network.run(until_s=at)
    snapshot = network.snapshot()
    again = Network.restored(snapshot)
    assert again.snapshot().digest() == snapshot.digest()
    for end_s in (at + 0.2, at + 50.0):
        network.run(until_s=end_s)
        again.run(until_s=end_s)
        assert again.snapshot().digest() == network.snapshot().digest()
    assert again.actors["twin"].mirror.version[0] > 5
