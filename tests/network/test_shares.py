"""Sharing a resource: one spec for every rule, and the three steps of RRMPolicyRatio."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numba import njit

from wirelesslab.network.shares import (
    SHARE_RULES,
    EqualShares,
    MaxMin,
    ProportionalToDemand,
    StrictPriority,
    WeightedShares,
    ratio_table,
    reserved_shares,
    reserved_shares_of_cell,
)
from wirelesslab.network.slices import EMBB, URLLC, ResourceRatio

RULES = [rule() for rule in SHARE_RULES]
FIFTY = settings(max_examples=50)
ROUNDING = 1e-12  # sums of a few numbers of order 1 in double precision

levels = st.one_of(st.just(0.0), st.floats(1e-6, 2.0))
demands_of = arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=levels)
ratio_rows = st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=5)


def table(rows):
    """Valid ratios: sorted in each row, min shares scaled down to at most 1 in all."""
    ratios = np.sort(np.array(rows), axis=1)
    ratios[:, :2] /= max(1.0, ratios[:, 1].sum())
    return ratios


def level_by_bisection(demands, weights, capacity):
    """The slow and obvious weighted max-min division of one resource."""
    if demands.sum() <= capacity:
        return demands
    low, high = 0.0, (demands / weights).max()
    for _ in range(200):
        level = (low + high) / 2
        if np.minimum(demands, weights * level).sum() > capacity:
            high = level
        else:
            low = level
    return np.minimum(demands, weights * low)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@FIFTY
@given(demands=demands_of, capacity=st.floats(0, 3), seed=st.integers(0, 99))
def test_nobody_gets_more_than_asked_and_nothing_wanted_stays_idle(rule, demands, capacity, seed):
    weights = np.random.default_rng(seed).uniform(0.1, 10, demands.shape[-1])
    shares = rule.divide(demands, weights, capacity)
    assert shares.shape == demands.shape
    assert (shares >= 0).all()
    assert (shares <= demands * (1 + ROUNDING)).all()
    assert shares.sum(axis=-1) == pytest.approx(np.minimum(demands.sum(axis=-1), capacity), abs=ROUNDING)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@FIFTY
@given(demands=demands_of, seed=st.integers(0, 99))
def test_every_cell_is_divided_as_if_it_were_alone(rule, demands, seed):
    rng = np.random.default_rng(seed)
    weights, capacity = rng.uniform(0.1, 10, demands.shape), rng.uniform(0, 2, demands.shape[0])
    together = rule.divide(demands, weights, capacity)
    alone = [rule.divide(d, w, c) for d, w, c in zip(demands, weights, capacity, strict=True)]
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("rule", RULES, ids=repr)
@FIFTY
@given(demands=demands_of, capacity=st.floats(0.1, 3), more=st.floats(0, 2))
def test_more_of_the_resource_takes_nothing_from_anybody(rule, demands, capacity, more):
    less_shares, more_shares = (rule.divide(demands, 1.0, c) for c in (capacity, capacity + more))
    assert (more_shares >= less_shares - ROUNDING).all()


@FIFTY
@given(demands=demands_of, capacity=st.floats(0, 3), seed=st.integers(0, 99))
def test_weighted_shares_raise_one_water_level(demands, capacity, seed):
    weights = np.random.default_rng(seed).uniform(0.1, 10, demands.shape[-1])
    expected = [level_by_bisection(d, weights, capacity) for d in demands]
    assert WeightedShares().divide(demands, weights, capacity) == pytest.approx(np.array(expected), abs=1e-10)


@FIFTY
@given(demands=demands_of, capacity=st.floats(0, 3))
def test_equal_shares_are_weighted_shares_of_equal_weights_and_ignore_weights(demands, capacity):
    weights = np.arange(1.0, demands.shape[-1] + 1)
    equal = EqualShares().divide(demands, weights, capacity)
    assert np.array_equal(equal, WeightedShares().divide(demands, 1.0, capacity))
    assert MaxMin is EqualShares


def test_a_million_claims_are_divided_at_once():
    demands = np.random.default_rng(0).exponential(size=(10, 100_000))
    shares = WeightedShares().divide(demands, 1.0, 20_000.0)
    assert shares.sum(axis=1) == pytest.approx(20_000, rel=1e-9)
    assert np.ptp(shares[shares < demands].reshape(-1)) < 0.01  # one level per row, close for equal laws


def test_proportional_shares_reward_who_asks_for_more():
    shares = ProportionalToDemand().divide([[0.5, 1.5], [0.2, 0.3]], 1.0, 1.0)
    assert shares == pytest.approx(np.array([[0.25, 0.75], [0.2, 0.3]]))


@FIFTY
@given(demands=arrays(np.float64, 5, elements=levels), capacity=st.floats(0, 3))
def test_who_is_less_urgent_changes_nothing_for_the_urgent(demands, capacity):
    rule = StrictPriority((3, 1, 1, 2, 3))
    shares = rule.divide(demands, 1.0, capacity)
    muted = demands * [0, 1, 1, 0, 0]
    assert np.array_equal(rule.divide(muted, 1.0, capacity)[1:3], shares[1:3])
    if shares[[0, 4]].sum() > ROUNDING:  # somebody of the last rank is served: everybody before has all
        assert shares[1:4] == pytest.approx(demands[1:4], abs=ROUNDING)


# --- reservations ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES, ids=repr)
@FIFTY
@given(rows=ratio_rows, data=st.data())
def test_reservations_are_kept_under_every_rule(rule, rows, data):
    ratios = table(rows)
    demands = data.draw(arrays(np.float64, (3, len(rows)), elements=levels))
    dedicated, minimum, maximum = ratios.T
    shares = reserved_shares(demands, ratios, rule, 1.0 + np.arange(len(rows)))
    assert (shares <= np.minimum(demands, maximum) + ROUNDING).all()
    assert (shares >= np.minimum(demands, minimum) - ROUNDING).all()
    assert (shares.sum(axis=1) <= 1 + ROUNDING).all()
    # Work-conserving outside the dedicated parts: all of them is used, or nobody could use more.
    own = np.minimum(shares, dedicated)
    wanted = (np.minimum(demands, maximum) - np.minimum(demands, dedicated)).sum(axis=1)
    others = (shares - own).sum(axis=1)
    assert others == pytest.approx(np.minimum(wanted, 1 - dedicated.sum()), abs=10 * ROUNDING)


def test_an_idle_dedicated_part_is_not_lent_but_an_idle_guarantee_is():
    flood = [[0.0, 5.0]]
    assert reserved_shares(flood, [[0.4, 0.4, 1], [0, 0, 1]]) == pytest.approx(np.array([[0.0, 0.6]]))
    assert reserved_shares(flood, [[0.0, 0.4, 1], [0, 0, 1]]) == pytest.approx(np.array([[0.0, 1.0]]))


@FIFTY
@given(mine=st.floats(0, 2), flood=st.floats(0, 100))
def test_a_slice_of_its_own_is_untouched_by_any_flood(mine, flood):
    ratios = ratio_table((EMBB, URLLC), "radio")
    ratios[0] = ResourceRatio.isolated(0.3).dedicated
    quiet, loud = (reserved_shares([mine, other], ratios)[0] for other in (0.0, flood))
    assert quiet == loud == min(mine, 0.3)


@njit
def every_cell(demands, dedicated, minimum, maximum, weights, out):
    for cell in range(demands.shape[0]):
        reserved_shares_of_cell(demands[cell], dedicated, minimum, maximum, weights, out[cell])


@FIFTY
@given(rows=ratio_rows, data=st.data())
def test_the_kernel_of_one_cell_and_the_division_of_all_cells_agree_to_the_last_bit(rows, data):
    ratios = table(rows)
    demands = data.draw(arrays(np.float64, (3, len(rows)), elements=levels))
    weights = data.draw(arrays(np.float64, len(rows), elements=st.floats(0.1, 10)))
    out = np.empty_like(demands)
    every_cell(demands, *np.ascontiguousarray(ratios.T), weights, out)
    assert np.array_equal(out, reserved_shares(demands, ratios, WeightedShares(), weights))


def test_inside_kernels_a_slice_without_weight_gets_its_guarantee_only():
    demands, out = np.array([[1.0, 1.0], [1.0, 0.0]]), np.empty((2, 2))
    every_cell(demands, np.zeros(2), np.array([0.2, 0.1]), np.ones(2), np.array([0.0, 1.0]), out)
    assert out == pytest.approx(np.array([[0.2, 0.8], [0.2, 0.0]]))


@FIFTY
@given(rows=ratio_rows, data=st.data())
def test_a_greater_demand_is_never_given_less(rows, data):
    demands = data.draw(arrays(np.float64, len(rows), elements=levels))
    assume(demands.sum() > 0)
    ratios = table(rows)
    more = demands.copy()
    more[0] += 0.5
    assert reserved_shares(more, ratios)[0] >= reserved_shares(demands, ratios)[0] - ROUNDING


def test_the_table_of_ratios_is_that_of_the_slices():
    assert ratio_table((EMBB, URLLC), "compute").tolist() == [[0, 0, 1], [0, 0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: EqualShares().divide([-1.0], 1.0, 1.0), "demands: got .*at least 0"),
        (lambda: EqualShares().divide([np.nan], 1.0, 1.0), "demands: got .*finite"),
        (lambda: WeightedShares().divide([1.0, 1.0], [1.0, 0.0], 1.0), "weights: got .*above 0"),
        (lambda: WeightedShares().divide([1.0, 1.0], [1.0] * 3, 1.0), "weights, capacity: got shapes"),
        (lambda: WeightedShares().divide([1.0], 1.0, -1.0), "capacity: got .*at least 0"),
        (lambda: StrictPriority((1, 2)).divide([1.0], 1.0, 1.0), "priorities: got 2"),
        (lambda: reserved_shares([1.0], [[0.5, 0.3, 1.0]]), "dedicated <= min <= max"),
        (lambda: reserved_shares([1.0, 1.0], [[0, 0.6, 1], [0, 0.6, 1]]), r"min shares sum to 1\.2"),
        (lambda: reserved_shares([1.0, 1.0], [[0, 0.6, 1]]), "ratios: got shape"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
