"""Fairness across a network of links, and water-filling: optimality conditions, closed forms, slow oracles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.fair_rates import max_min_rates, proportional_fair_rates, water_filling
from wirelesslab.network.theory import line_rates

SIXTY = settings(max_examples=60)


def line(num_links):
    """One flow over all links and one flow over each."""
    return np.hstack([np.ones((num_links, 1)), np.eye(num_links)])


@st.composite
def networks(draw):
    links, flows = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    routes = (rng.random((links, flows)) < 0.5).astype(float)
    routes[rng.integers(links, size=flows), np.arange(flows)] = 1
    return routes, rng.uniform(0.1, 10, links)


@pytest.mark.parametrize("num_links", [1, 2, 3, 10])
def test_a_line_of_links_is_shared_as_theory_says(num_links):
    for fairness, rates in (("max-min", max_min_rates), ("proportional", proportional_fair_rates)):
        long, short = line_rates(num_links, fairness)
        found = rates(line(num_links), np.ones(num_links))
        assert found == pytest.approx(np.array([long] + [short] * num_links), rel=1e-8)


@SIXTY
@given(networks())
def test_in_a_max_min_division_every_flow_has_a_full_link_on_which_nobody_is_faster(network):
    routes, capacities = network
    rates = max_min_rates(routes, capacities)
    used = routes @ rates
    assert (used <= capacities * (1 + 1e-9)).all()
    full = used >= capacities * (1 - 1e-9)
    fastest = np.array([rates[route > 0].max(initial=0.0) for route in routes])
    for flow in range(rates.size):
        bottlenecks = full & (routes[:, flow] > 0) & (fastest <= rates[flow] * (1 + 1e-9))
        assert bottlenecks.any()


@SIXTY
@given(networks(), st.integers(0, 1000))
def test_no_other_division_is_proportionally_better(network, seed):
    routes, capacities = network
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0.5, 2, routes.shape[1])
    rates = proportional_fair_rates(routes, capacities, weights)
    assert (routes @ rates <= capacities * (1 + 1e-12)).all()
    # Kelly's definition: the weighted sum of relative changes to any feasible y is never above 0.
    for _ in range(20):
        other = rng.exponential(size=rates.size) ** 2 + 1e-9
        other *= (capacities / (routes @ other + 1e-300)).min()
        assert weights @ ((other - rates) / rates) <= 1e-6 * weights.sum()


def test_a_hundred_links_and_three_hundred_flows_meet_the_conditions_of_optimality():
    rng = np.random.default_rng(1)
    routes = (rng.random((100, 300)) < 0.05).astype(float)
    routes[rng.integers(100, size=300), np.arange(300)] = 1
    capacities = 10 ** rng.uniform(3, 9, 100)  # bit/s, over six decades
    rates = proportional_fair_rates(routes, capacities)
    full = routes @ rates >= capacities * (1 - 1e-7)
    prices = np.linalg.lstsq(routes[full].T, 1 / rates, rcond=None)[0]  # no price on links that are not full
    assert routes[full].T @ prices == pytest.approx(1 / rates, rel=1e-3)
    assert (prices > 0).all()


def test_a_cell_is_shared_by_weight():
    rates = proportional_fair_rates(np.ones((1, 3)), [6.0], [1.0, 2.0, 3.0])
    assert rates == pytest.approx(np.array([1.0, 2.0, 3.0]), rel=1e-9)


def test_water_filling_meets_the_numbers_of_the_specification():
    gains = np.array([1, 0.5, 0.25, 0.1])
    powers, level = water_filling(gains, 10)
    assert level == pytest.approx(17 / 3, rel=1e-12)
    assert np.log2(1 + gains * powers).sum() == pytest.approx(4.50750, abs=5e-6)
    assert np.log2(1 + gains * 2.5).sum() == pytest.approx(3.99965, abs=5e-6)


@SIXTY
@given(seed=st.integers(0, 10_000), power=st.floats(0, 100))
def test_water_stands_level_over_the_channels_that_are_used(seed, power):
    gains = np.random.default_rng(seed).exponential(size=(3, 5)) + 1e-3
    powers, level = water_filling(gains, power)
    assert powers.sum(axis=-1) == pytest.approx(power, rel=1e-9, abs=1e-9)
    heights = np.broadcast_to(level[:, None], gains.shape)
    assert (powers + 1 / gains)[powers > 0] == pytest.approx(heights[powers > 0], rel=1e-9)
    assert (1 / gains >= heights * (1 - 1e-9))[powers == 0].all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: max_min_rates([[1, 0]], [1.0]), "flow 1 that crosses no link"),
        (lambda: max_min_rates([[0.5]], [1.0]), "entries other than 0 and 1"),
        (lambda: proportional_fair_rates([[1]], [0.0]), "capacities: got .*above 0"),
        (lambda: proportional_fair_rates([[1]], [1.0], -1.0), "weights: got"),
        (lambda: water_filling([1.0, 0.0], 1.0), "gains: got"),
        (lambda: water_filling([1.0], -1.0), "power: got"),
    ],
)
def test_nonsense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
