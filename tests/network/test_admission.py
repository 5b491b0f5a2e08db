"""Admission: the exact optimum against every other policy, formulas and simulation."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.admission import (
    CallClass,
    CompleteSharing,
    LossSystem,
    OptimalAdmission,
    TrunkReservation,
    admission_table,
    best_trunk_reservation,
    long_run,
    reward_rate,
)
from wirelesslab.network.admission_runs import HOLDINGS, AdmissionSimulation, simulate_admission
from wirelesslab.network.theory import erlang_b, kaufman_roberts
from wirelesslab.rng import stream


def system(*classes, capacity=30):
    """Classes as (Erlang, units, reward)."""
    calls = tuple(CallClass(arrival_rate=load, demand=units, reward=reward) for load, units, reward in classes)
    return LossSystem(capacity=capacity, classes=calls)


LIGHT = system((10, 1, 1), (3, 4, 12))
OVERLOADED = system((20, 1, 1), (5, 4, 20))
LOPSIDED = system((30, 1, 1), (3, 6, 60))


@dataclass(frozen=True, eq=False)
class Tabled:
    """A rule read from a table, for the enumeration of all policies."""

    table: np.ndarray

    def admit(self, in_service, class_index):
        return bool(self.table[(class_index, *in_service)])


@pytest.mark.parametrize(
    ("shared", "optimum", "sharing", "trunk", "reserve"),
    [
        (LIGHT, 41.252, 40.417, 41.235, (4, 0)),
        (OVERLOADED, 89.93, 62.84, 89.17, (16, 0)),
        (LOPSIDED, 160.19, 56.53, 159.32, (29, 0)),
    ],
    ids=["light", "overloaded", "lopsided"],
)
def test_the_rules_earn_what_the_specification_says(shared, optimum, sharing, trunk, reserve):
    digits = 5e-4 if shared is LIGHT else 5e-3  # half a unit of the last digit stated; 40.4165 is stated rounded up
    oracle = OptimalAdmission.solve(shared)
    assert oracle.reward_rate == pytest.approx(optimum, abs=digits)
    assert reward_rate(CompleteSharing(shared), shared) == pytest.approx(sharing, abs=digits)
    best, earned = best_trunk_reservation(shared, shut_out=False)
    assert best.reserve == reserve
    assert earned == pytest.approx(trunk, abs=digits)
    assert earned <= oracle.reward_rate


def test_where_one_class_is_hardly_worth_its_place_the_best_rule_shuts_it_out():
    best, earned = best_trunk_reservation(LOPSIDED)
    oracle = OptimalAdmission.solve(LOPSIDED)
    assert best.reserve == (30, 0)
    assert earned == pytest.approx(oracle.reward_rate, rel=1e-8)
    assert earned == pytest.approx(60 * 3 * (1 - erlang_b(5, 3.0)), rel=1e-10)


def test_the_value_iteration_promises_what_its_table_earns():
    for shared in (LIGHT, OVERLOADED, LOPSIDED):
        oracle = OptimalAdmission.solve(shared)
        assert reward_rate(oracle, shared) == pytest.approx(oracle.reward_rate, rel=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_no_policy_at_all_beats_the_optimum(seed):
    rng = stream(seed, "small systems")
    classes = tuple(
        CallClass(arrival_rate=a, demand=d, holding_s=h, reward=r)
        for a, d, h, r in zip(
            rng.uniform(0.5, 3, 2), (1, 2), rng.uniform(0.5, 2, 2), rng.uniform(0.5, 5, 2), strict=True
        )
    )
    small = LossSystem(capacity=3, classes=classes)
    open_states = np.argwhere(admission_table(CompleteSharing(small), small))
    earned = []
    for choice in itertools.product((False, True), repeat=len(open_states)):
        table = np.zeros((2, *small.shape), dtype=bool)
        table[tuple(open_states[list(choice)].T)] = True
        earned.append(reward_rate(Tabled(table), small))
    assert len(earned) == 2 ** len(open_states)
    assert OptimalAdmission.solve(small).reward_rate == pytest.approx(max(earned), rel=1e-8)


@settings(max_examples=40)
@given(
    capacity=st.integers(5, 20),
    demands=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    data=st.data(),
)
def test_complete_sharing_blocks_as_kaufman_and_roberts_say(capacity, demands, data):
    loads = [data.draw(st.floats(0.1, 8)) for _ in demands]
    holding = [data.draw(st.floats(0.2, 5)) for _ in demands]
    classes = tuple(
        CallClass(arrival_rate=a / h, demand=d, holding_s=h) for a, d, h in zip(loads, demands, holding, strict=True)
    )
    shared = LossSystem(capacity=capacity, classes=classes)
    blocking = long_run(CompleteSharing(shared), shared).blocking
    assert blocking == pytest.approx(kaufman_roberts(capacity, demands, loads).blocking, rel=1e-8)


@pytest.mark.parametrize("holding", HOLDINGS)
def test_simulated_blocking_is_kaufman_roberts_whatever_the_law_of_holding(holding):
    simulation = AdmissionSimulation(CompleteSharing(LIGHT), LIGHT, stream(17, "calls"), holding)
    simulation.advance(2_000)  # 150 holding times: forgotten
    batches = [simulation.advance(200_000) for _ in range(20)]
    rates = np.array([calls.blocked / calls.offered for calls in batches])
    error = rates.std(axis=0, ddof=1) / np.sqrt(len(rates))
    expected = np.array([0.030374, 0.146660])
    assert (abs(rates.mean(axis=0) - expected) <= 3 * error).all(), f"{rates.mean(axis=0)} +- {error}"
    assert rates.mean(axis=0) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "rule", [TrunkReservation(OVERLOADED, (16, 0)), OptimalAdmission.solve(OVERLOADED)], ids=["trunk", "optimal"]
)
def test_simulated_blocking_under_other_rules_is_that_of_the_chain(rule):
    simulation = AdmissionSimulation(rule, OVERLOADED, stream(12, "calls"))
    simulation.advance(2_000)
    rates = np.array([c.blocked / c.offered for c in (simulation.advance(100_000) for _ in range(20))])
    error = rates.std(axis=0, ddof=1) / np.sqrt(len(rates))
    expected = long_run(rule, OVERLOADED).blocking
    assert (abs(rates.mean(axis=0) - expected) <= 3 * error).all(), f"{rates.mean(axis=0)} +- {error}"
    assert rates.mean(axis=0) == pytest.approx(expected, rel=0.02)


def slow_simulation(rule, shared, rng, num_arrivals):
    """Calls one by one in plain Python, from the same streams."""
    intervals, kinds, holding = rng.spawn(3)
    rates = np.array([c.arrival_rate for c in shared.classes])
    now, present, blocked, offered = 0.0, [], [0] * len(rates), [0] * len(rates)
    for _ in range(num_arrivals):
        now += intervals.standard_exponential() / rates.sum()
        kind = int(np.searchsorted(np.cumsum(rates)[:-1] / rates.sum(), kinds.random(), side="right"))
        stay = shared.classes[kind].holding_s * holding.standard_exponential()
        present = [(end, k) for end, k in present if end > now]
        offered[kind] += 1
        if rule.admit([sum(k == j for _, k in present) for j in range(len(rates))], kind):
            present.append((now + stay, kind))
        else:
            blocked[kind] += 1
    return blocked, offered


def test_the_fast_simulation_is_the_slow_one():
    rule = TrunkReservation(OVERLOADED, (5, 1))
    fast = simulate_admission(rule, OVERLOADED, stream(13, "calls"), 3_000)
    blocked, offered = slow_simulation(rule, OVERLOADED, stream(13, "calls"), 3_000)
    assert fast.blocked.tolist() == blocked
    assert fast.offered.tolist() == offered


def test_pieces_and_snapshots_change_nothing():
    whole = AdmissionSimulation(CompleteSharing(LIGHT), LIGHT, stream(14, "calls"))
    expected = whole.advance(70_000)
    pieces = AdmissionSimulation(CompleteSharing(LIGHT), LIGHT, stream(14, "calls"))
    first = pieces.advance(12_345)
    state = pieces.snapshot()
    seconds = []
    for _ in range(2):
        seconds.append(pieces.advance(70_000 - 12_345))
        assert pieces.now_s == whole.now_s
        assert np.array_equal(pieces.in_service, whole.in_service)
        pieces.restore(state)
    for second in seconds:
        assert np.array_equal(first.blocked + second.blocked, expected.blocked)
        assert np.array_equal(first.offered + second.offered, expected.offered)


def test_all_rules_meet_the_same_arrivals():
    offered = [
        simulate_admission(rule, LIGHT, stream(15, "calls"), 5_000, holding).offered.tolist()
        for rule in (CompleteSharing(LIGHT), TrunkReservation(LIGHT, (4, 0)))
        for holding in HOLDINGS
    ]
    assert offered == [offered[0]] * 4
    assert sum(offered[0]) == 5_000


def test_one_pool_blocks_less_than_three_partitions():
    part, pool = system((7, 1, 1), capacity=10), system((21, 1, 1), capacity=30)
    assert long_run(CompleteSharing(part), part).blocking[0] == pytest.approx(0.078741, abs=5e-7)
    assert long_run(CompleteSharing(pool), pool).blocking[0] == pytest.approx(0.0136, abs=5e-5)


def test_nobody_admitted_is_nothing_earned():
    closed = TrunkReservation(LIGHT, (30, 30))
    assert reward_rate(closed, LIGHT) == 0
    assert simulate_admission(closed, LIGHT, stream(16, "calls"), 100).blocked.sum() == 100


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: system((1, 31, 1)), r"classes\[0\]: got demand 31, expected at most capacity 30"),
        (lambda: LossSystem(capacity=3, classes=()), "classes: got none"),
        (lambda: TrunkReservation(LIGHT, (1,)), "reserve: got 1, expected one for each of the 2"),
        (lambda: system(*[(1, 1, 1)] * 6).free_units(), "states, expected at most"),
        (lambda: best_trunk_reservation(system(*[(1, 1, 1)] * 3)), "29791 trunk reservations to try"),
        (lambda: simulate_admission(CompleteSharing(LIGHT), LIGHT, stream(1), 10, "weibull"), "holding: got 'weibull'"),
        (lambda: admission_table(Tabled(np.ones((2, 31, 8), bool)), LIGHT), "where it does not fit"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
