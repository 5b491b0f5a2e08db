"""Who knows all calls: the bound against trying every choice, and against every rule."""

import itertools

import numpy as np
import pytest

from wirelesslab.network.admission import CallClass, LossSystem
from wirelesslab.network.clairvoyant import CallRecord, clairvoyant_bound
from wirelesslab.rng import stream


def calls(seed, number, classes):
    rng = stream(seed, "window")
    return CallRecord(
        np.cumsum(rng.exponential(0.3, number)), rng.integers(classes, size=number), rng.exponential(1.0, number)
    )


def best_choice(window, system):
    """Return the reward of the best of all choices among a few calls, each tried."""
    demands = np.array([c.demand for c in system.classes])[window.classes]
    rewards = np.array([c.reward for c in system.classes])[window.classes]
    ends_s = window.arrivals_s + window.holding_s
    best = 0.0
    for chosen in itertools.product((0, 1), repeat=len(demands)):
        there = np.array(chosen) * demands
        used = [there[(window.arrivals_s <= now_s) & (ends_s > now_s)].sum() for now_s in window.arrivals_s]
        if max(used) <= system.capacity:
            best = max(best, float(np.dot(chosen, rewards)))
    return best


@pytest.mark.parametrize("seed", range(8))
def test_with_one_demand_the_bound_is_the_best_choice(seed):
    system = LossSystem(capacity=2, classes=(CallClass(arrival_rate=1), CallClass(arrival_rate=1, reward=3.0)))
    window = calls(seed, 11, 2)
    assert clairvoyant_bound(window, system) == pytest.approx(best_choice(window, system), rel=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_with_several_demands_no_choice_exceeds_the_bound(seed):
    system = LossSystem(
        capacity=4, classes=(CallClass(arrival_rate=1), CallClass(arrival_rate=1, demand=3, reward=4.0))
    )
    window = calls(seed, 11, 2)
    best, bound = best_choice(window, system), clairvoyant_bound(window, system)
    assert best <= bound + 1e-9
    assert bound <= best + 4.0  # what halves of calls add stays below a call


def test_nothing_comes_nothing_is_earned_and_a_call_of_no_length_is_a_call():
    one = LossSystem(capacity=1, classes=(CallClass(arrival_rate=1),))
    empty = CallRecord(np.zeros(0), np.zeros(0, int), np.zeros(0))
    assert clairvoyant_bound(empty, one) == 0
    assert clairvoyant_bound(CallRecord(np.array([1.0]), np.zeros(1, int), np.zeros(1)), one) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"arrivals_s": np.array([1.0, 0.5])}, "go back"),
        ({"classes": np.array([0, 1])}, "classes: got 0 to 1, expected 0 to 0"),
        ({"holding_s": np.array([1.0])}, "holding_s"),
        ({"holding_s": np.array([1.0, -2.0])}, "holding_s: got -2, expected times of at least 0"),
        ({"arrivals_s": np.array([0.0, np.nan])}, "NaN"),
    ],
)
def test_records_that_make_no_sense_are_refused(change, says):
    one = LossSystem(capacity=1, classes=(CallClass(arrival_rate=1),))
    window = CallRecord(np.array([0.0, 1.0]), np.zeros(2, int), np.ones(2))
    with pytest.raises(ValueError, match=says):
        clairvoyant_bound(window._replace(**change), one)
