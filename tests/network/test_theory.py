"""Closed forms of queues, networks and ages: each against a simulation, a sum or an identity that does not use it."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from wirelesslab.network import theory
from wirelesslab.rng import stream
from wirelesslab.stats import batch_means

LOADS = (0.5, 0.8)
NUM_JOBS = 1_500_000


def assert_meets(samples, expected):
    """Within 3 standard errors by 30 batch means, and within 2 %: the bar of every closed form."""
    mean, error = batch_means(samples, 30)
    assert abs(mean - expected) <= 3 * error, f"got {mean} +- {error}, expected {expected}"
    assert mean == pytest.approx(expected, rel=0.02)


def intervals(law, rate, rng):
    mean = {"M": lambda: rng.standard_exponential(NUM_JOBS), "D": lambda: np.ones(NUM_JOBS)}
    # Two exponentials whose mixture has mean 1 and squared coefficient of variation 4 (balanced means).
    tilt = (1 + math.sqrt(3 / 5)) / 2
    branch = np.where(rng.random(NUM_JOBS) < tilt, 1 / (2 * tilt), 1 / (2 * (1 - tilt)))
    mean["H"] = lambda: branch * rng.standard_exponential(NUM_JOBS)
    return mean[law]() / rate


def single_server(arrival_law, service_law, load, seed):
    """Inter-arrival times and sojourns of a first-come-first-served queue of service rate 1, by Lindley's recursion."""
    gaps = intervals(arrival_law, load, stream(seed, "gaps", arrival_law, load))
    service = intervals(service_law, 1.0, stream(seed, "service", service_law, load))
    steps = np.concatenate([[0.0], np.cumsum(service[:-1] - gaps[1:])])
    waits = steps - np.minimum.accumulate(steps)
    return gaps, waits, waits + service


@pytest.mark.parametrize("load", LOADS)
def test_the_mm1_queue_has_the_mean_and_the_99_percent_point_of_theory(load):
    _, _, sojourns = single_server("M", "M", load, 1)
    assert_meets(sojourns, theory.mm1_sojourn(load))
    beyond = sojourns > theory.mm1_sojourn_quantile(0.99, load)
    mean, error = batch_means(beyond, 30)
    assert abs(mean - 0.01) <= 3 * error


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize(("law", "scv"), [("D", 0.0), ("M", 1.0), ("H", 4.0)])
def test_the_wait_of_mg1_is_pollaczek_khinchines(law, scv, load):
    assert_meets(single_server("M", law, load, 2)[1], theory.mg1_wait(load, scv=scv))


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("queue", ["mm1", "md1", "dm1"])
def test_ages_are_the_areas_under_the_saw_tooth(queue, load):
    gaps, _, sojourns = single_server(queue[0].upper(), queue[1].upper(), load, 3)
    areas = gaps[1:] * sojourns[1:] + gaps[1:] ** 2 / 2  # Kaul et al. 2012, eq. (3)
    # A ratio of means; linearised, so that batch means give its standard error.
    expected = getattr(theory, f"{queue}_age")(load)
    mean, error = batch_means((areas - expected * gaps[1:]) * load + expected, 30)
    assert abs(mean - expected) <= 3 * error
    assert mean == pytest.approx(expected, rel=0.02)


def test_the_peak_age_of_mm1_is_interval_plus_sojourn():
    gaps, _, sojourns = single_server("M", "M", 0.5, 4)
    assert_meets(gaps[1:] + sojourns[1:], theory.mm1_peak_age(0.5))


@pytest.mark.parametrize(("age", "best"), [(theory.mm1_age, 0.531), (theory.dm1_age, 0.517)])
def test_updates_that_come_too_rarely_or_too_often_make_a_twin_old(age, best):
    loads = np.arange(0.40, 0.65, 0.001)
    assert loads[np.argmin([age(load) for load in loads])] == pytest.approx(best, abs=0.001)


def test_a_service_twice_as_fast_halves_every_time():
    assert theory.mm1_age(1.0, 2.0) == pytest.approx(theory.mm1_age(0.5) / 2, rel=1e-12)
    assert theory.dm1_age(1.0, 2.0) == pytest.approx(theory.dm1_age(0.5) / 2, rel=1e-12)
    assert theory.md1_age(1.0, 0.5) == pytest.approx(theory.md1_age(0.5) / 2, rel=1e-12)
    assert theory.md1_wait(1.0, 0.5) == pytest.approx(theory.md1_wait(0.5) / 2, rel=1e-12)
    assert theory.mmc_wait(14.0, 10, 2.0) == pytest.approx(theory.mmc_wait(7.0, 10) / 2, rel=1e-12)


@pytest.mark.parametrize("loss", [0.1, 0.6])
def test_a_twin_with_lossy_periodic_updates_has_the_age_of_theory(loss):
    heard = stream(5, "heard").random(400_000) >= loss
    heard[0] = True
    periods = np.arange(heard.size)
    last = np.maximum.accumulate(np.where(heard, periods, 0))
    assert_meets((periods - last) * 2.0 + 1.0 + 0.3, theory.periodic_age(2.0, loss, 0.3))  # mean age over each period
    assert theory.periodic_age(2.0, 0.0, 0.3) == pytest.approx(1.3, rel=1e-12)


@given(servers=st.integers(1, 40), per_server=st.floats(0.01, 0.99))
def test_erlangs_formulas_are_the_sums_over_states(servers, per_server):
    load = servers * per_server
    terms = [load**n / math.factorial(n) for n in range(servers + 1)]
    assert theory.erlang_b(servers, load) == pytest.approx(terms[-1] / sum(terms), rel=1e-10)
    waiting = terms[-1] / (1 - per_server)
    assert theory.erlang_c(servers, load) == pytest.approx(waiting / (sum(terms[:-1]) + waiting), rel=1e-9)


@given(servers=st.integers(1, 60), load=st.floats(0.01, 100))
def test_calls_of_one_unit_are_blocked_as_erlang_says(servers, load):
    blocking = theory.kaufman_roberts(servers, (1,), (load,)).blocking
    assert blocking[0] == pytest.approx(theory.erlang_b(servers, load), rel=1e-9)


def test_one_server_is_mm1():
    assert theory.erlang_c(1, 0.7) == pytest.approx(0.7, rel=1e-12)
    assert theory.mmc_wait(0.7, 1) == pytest.approx(theory.mg1_wait(0.7), rel=1e-12)


def test_the_occupancy_is_a_law_even_for_ten_thousand_units():
    blocking, busy = theory.kaufman_roberts(10_000, (1, 100), (4_000.0, 60.0))
    assert busy.sum() == pytest.approx(1, rel=1e-12)
    carried = 4_000 * (1 - blocking[0]) + 100 * 60 * (1 - blocking[1])
    assert np.arange(10_001) @ busy == pytest.approx(carried, rel=1e-9)  # Little's law for units


def test_a_jackson_network_keeps_the_time_of_its_visits():
    flow = theory.jackson((0.4, 0, 0), ((0, 0.7, 0.3), (0.2, 0, 0), (0, 0, 0)), (1, 1, 0.5))
    visits = flow.rates / 0.4
    sojourns = [theory.mm1_sojourn(a, m) for a, m in zip(flow.rates, (1, 1, 0.5), strict=True)]
    assert flow.end_to_end_s == pytest.approx(float(visits @ sojourns), rel=1e-12)
    assert flow.end_to_end_s == pytest.approx(4.348552, abs=5e-7)


def test_no_division_of_capacity_beats_the_square_root():
    loads, prices, budget = np.array([0.6, 0.1, 0.3]), np.array([1.0, 4.0, 2.0]), 2.5
    best = theory.square_root_capacities(loads, budget, prices)
    assert prices @ best == pytest.approx(budget, rel=1e-12)
    jobs = lambda slack: float((loads / np.maximum(slack, 1e-9)).sum())  # noqa: E731
    spend = {"type": "eq", "fun": lambda slack: prices @ (slack + loads) - budget}
    found = minimize(jobs, np.full(3, 0.1), constraints=[spend], bounds=[(1e-6, None)] * 3, method="SLSQP", tol=1e-12)
    assert jobs(best - loads) == pytest.approx(found.fun, rel=1e-6)  # the accuracy of SLSQP


def test_demand_proportional_halves_hold_more_jobs_than_square_root_ones():
    loads = np.array([0.6, 0.1])
    shares = theory.square_root_capacities(loads, 1.0)
    assert (loads / (shares - loads)).sum() == pytest.approx(3.966, abs=5e-4)
    assert (loads / (loads / 0.7 - loads)).sum() == pytest.approx(4.667, abs=5e-4)


def test_the_best_of_k_rayleigh_users_is_worth_the_harmonic_number():
    assert_meets(stream(6, "fading").standard_exponential((200_000, 16)).max(axis=1), theory.multiuser_gain(16))


def test_every_device_of_a_burst_wakes_once():
    times = np.linspace(0, 10, 100_001)
    rate = theory.beta_burst_rate(times, 30_000, 10.0)
    assert np.trapezoid(rate, times) == pytest.approx(30_000, rel=1e-8)
    assert rate.max() == pytest.approx(theory.beta_burst_peak(30_000, 10.0), rel=1e-8)


def test_preambles_collide_as_often_as_drawn_ones():
    drawn = stream(7, "preambles").integers(54, size=(200_000, 31))
    assert_meets((drawn[:, 1:] != drawn[:, :1]).all(axis=1), theory.no_collision(54, 31))
    others = stream(7, "others").poisson(31.10 / 54, size=200_000)
    assert_meets(others == 0, theory.no_collision_poisson(54, 31.10))


def test_slotted_aloha_is_best_at_load_one():
    assert theory.slotted_aloha(1.0) > max(theory.slotted_aloha(0.99), theory.slotted_aloha(1.01))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.mm1_sojourn(1.2), r"load: got 1\.2 per server.*exceed service by 0\.2"),
        (lambda: theory.erlang_c(10, 12.0), r"load: got 1\.2 per server.*exceed service by 2 "),
        (lambda: theory.mm1_age(1.0), r"load: got 1 per server"),
        (lambda: theory.ps_sojourn(1.0, 1.5), r"load: got 1\.5"),
        (lambda: theory.square_root_capacities((0.6, 0.6), 1.0), r"capacity: got 1, expected above 1\.2.*lacks 0\.2"),
        (lambda: theory.jackson((1.0,), ((0.5,),), (1.5,)), r"load: got 1\.33333.*by 0\.5"),
        (lambda: theory.jackson((1.0,), ((1.0,),), (1.5,)), r"routing: got a circle"),
        (lambda: theory.periodic_age(1.0, 1.0), r"loss: got 1, expected below 1"),
        (lambda: theory.kaufman_roberts(3, (1, 2), (1.0,)), r"loads: got 1 for 2 classes"),
        (lambda: theory.mm1_sojourn_quantile(99, 0.5), r"probability: got 99.*write 99 % as 0\.99"),
    ],
)
def test_what_has_no_answer_is_refused_and_by_how_much_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
