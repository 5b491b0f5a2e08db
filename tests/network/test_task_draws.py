"""Specs of the randomness of compiled tasks, and of how tasks take actions."""

import gymnasium
import numpy as np
import pytest
from numba import njit
from scipy import stats

from wirelesslab.network.tasks.draws import counters, exponential, normal, uniform, uniforms
from wirelesslab.network.tasks.task import checked_box, checked_choice


@njit
def many(state, draw, num):
    values = np.empty((state.shape[0], num))
    for env in range(state.shape[0]):
        for i in range(num):
            if draw == 0:
                values[env, i] = uniform(state, env, 1)
            elif draw == 1:
                values[env, i] = exponential(state, env, 1)
            else:
                values[env, i] = normal(state, env, 1)
    return values


@pytest.mark.parametrize(("draw", "law"), [(0, stats.uniform), (1, stats.expon), (2, stats.norm)])
def test_draws_follow_their_law(draw, law):
    values = many(counters(range(40), "arrivals", "holding"), draw, 1000)
    assert stats.kstest(values.ravel(), law.cdf).pvalue > 1e-4
    between = np.corrcoef(values)[np.triu_indices(40, 1)]
    assert np.abs(between).max() < 5.5 / np.sqrt(1000)  # 780 pairs: false alarm below 1e-4
    along = np.mean([np.corrcoef(row[:-1], row[1:])[0, 1] for row in values])
    assert abs(along) < 4 / np.sqrt(40 * 1000)


def test_a_purpose_does_not_disturb_another_and_a_copy_goes_on_as_the_first():
    state = counters([3], "arrivals", "holding")
    kept = state.copy()
    first = many(state, 0, 5)
    assert state[0, 0] == kept[0, 0]
    assert state[0, 1] != kept[0, 1]
    np.testing.assert_array_equal(many(kept, 0, 5), first)
    np.testing.assert_array_equal(counters([2, 3], "arrivals", "holding")[1], counters([3], "arrivals", "holding")[0])
    assert counters([3], "holding")[0, 0] == counters([3], "arrivals", "holding")[0, 1]


def test_many_draws_at_once_are_those_of_one_after_the_other():
    @njit
    def at_once(state, num):
        values = np.empty(num)
        uniforms(state, 0, 1, values)
        return values

    state = counters([3], "arrivals", "holding")
    kept = state.copy()
    np.testing.assert_array_equal(at_once(state, 7), many(kept, 0, 7)[0])
    np.testing.assert_array_equal(state, kept)


BOX = gymnasium.spaces.Box(0.0, 1.0, (2, 2))


@pytest.mark.parametrize(
    ("action", "words"),
    [
        (np.zeros(4), "got shape (4,), expected numbers of shape (2, 2): shares"),
        ([[0, 0], [0, np.nan]], "got nan at [1, 1], expected numbers from 0 to 1: shares; clip"),
        ([[0, 1.5], [0, 0]], "got 1.5 at [0, 1]"),
        ("more", "got 'more', expected numbers of shape (2, 2)"),
    ],
)
def test_an_action_outside_its_box_is_refused_with_its_place(action, words):
    with pytest.raises(ValueError) as refused:  # noqa: PT011
        checked_box(BOX, action, "shares")
    assert words in str(refused.value)


def test_rounding_at_the_bounds_is_forgiven():
    assert checked_box(BOX, np.full((2, 2), 1 + 1e-9), "shares").max() == 1.0


@pytest.mark.parametrize("action", [2, -1, 0.5, np.nan, "1", [1], None])
def test_a_choice_that_is_none_is_refused(action):
    with pytest.raises(ValueError, match="expected a whole number from 0 to 1: 0 refuses, 1 admits"):
        checked_choice(action, 2, "0 refuses, 1 admits")


def test_a_choice_that_is_masked_is_refused():
    assert checked_choice(np.int64(0), np.array([1, 0], np.int8), "0 refuses, 1 admits") == 0
    with pytest.raises(ValueError, match=r"got 1, which is not allowed now \(allowed are \[0\]\)"):
        checked_choice(1, np.array([1, 0], np.int8), "0 refuses, 1 admits")
