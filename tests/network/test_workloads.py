"""The loads that costs are measured on are stable ones, and the fit of growth is a fit."""

import numpy as np
import pytest
from scipy.stats import linregress, t

from wirelesslab.network.workloads import WORKLOADS, cost_alone, fitted_exponent, live, resident_bytes, seconds_per_step

every_workload = pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))


@every_workload
def test_a_workload_is_stable_and_nothing_is_lost(workload):
    radio, steps = workload.radio(2_000), 300
    live(radio, workload.offers(2_000, steps), workload.step_s)
    account = radio.account()
    account.check()
    offered, delivered = account.offered_packets.sum(), account.delivered_packets.sum()
    assert offered > 0
    assert delivered > 0.8 * offered


@every_workload
def test_a_workload_offers_as_many_units_as_it_says(workload):
    offers = workload.offers(10_000, 400)
    if workload.unit == "user-slot":
        assert workload.units(10_000) == 10_000
    else:
        expected = 400 * workload.units(10_000)
        assert sum(users.size for users, _ in offers) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_costs_are_measured_in_turns_and_in_a_process_of_ones_own():
    systems = {name: (workload, 200) for name, workload in WORKLOADS.items()}
    seconds = seconds_per_step(systems, rounds=2)
    assert {name: values.shape for name, values in seconds.items()} == dict.fromkeys(WORKLOADS, (2,))
    assert all((values > 0).all() for values in seconds.values())
    alone = cost_alone("flows", (200, 20_000), 3)
    assert alone["step_s"].shape == (2, 3)
    assert 0 <= alone["memory_bytes"][0] <= alone["memory_bytes"][1] < resident_bytes()


def test_an_exponent_is_that_of_least_squares_and_its_interval_students():
    rng = np.random.default_rng(3)
    sizes = np.repeat([1e3, 1e4, 1e5], 4)
    costs = 2e-6 * sizes**1.1 * np.exp(0.1 * rng.standard_normal(12))
    ours, theirs = fitted_exponent(sizes, costs), linregress(np.log(sizes), np.log(costs))
    assert ours.value == pytest.approx(theirs.slope, rel=1e-10)
    half = t.ppf(0.975, 10) * theirs.stderr
    assert (ours.low, ours.high) == pytest.approx((theirs.slope - half, theirs.slope + half), rel=1e-9)
    with pytest.raises(ValueError, match="expected three points or more above 0, of two sizes or more"):
        fitted_exponent([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])
