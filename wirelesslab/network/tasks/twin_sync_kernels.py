"""Many sync tasks side by side, compiled: ages of Poisson updates whose rates are set step by step, exactly.

Between two steps a twin is told at the instants of a Poisson process; its age, a sawtooth, is added up exactly. An
update takes no time. Each twin has counters of its own, so that its fate does not hang on what is done with others.
"""

from math import exp, log10
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.network.tasks.draws import Counters, exponential, normal, uniform
from wirelesslab.network.tasks.twin_sync_setting import HIGHEST_DB, LOWEST_DB, OLDEST_S

Floats = NDArray[np.float64]
GAPS, STRAYINGS = 0, 1
_11 = np.uint64(11)


class Games(NamedTuple):
    """State of E environments of N twins.

    Attributes:
        start: Counters of what begins episodes, shape (E, 1).
        fate: Counters of each twin's gaps and strayings, shape (E N, 2).
        steps: Of the episode so far, shape (E,).
        weight: Mean squared straying per second, m^2/s, shape (E, N).
        age: Of each twin, s, shape (E, N).
        left: Until the next update, in mean gaps at the rate then in force, shape (E, N).
        strayed: Sum of measured squared strayings per second, older ones faded, shape (E, N).
        heard: How many they are, shape (E, N).
        seen: What is observed, shape (E, N, 4).
    """

    start: Counters
    fate: Counters
    steps: NDArray[np.int64]
    weight: Floats
    age: Floats
    left: Floats
    strayed: Floats
    heard: Floats
    seen: NDArray[np.float32]


def games(start: Counters, num_twins: int) -> Games:
    """Return environments that have not begun, from their counters, shape (E, 1)."""
    shape = (len(start), num_twins)
    return Games(
        start=start.copy(), fate=np.zeros((len(start) * num_twins, 2), np.uint64),
        steps=np.zeros(len(start), np.int64), weight=np.zeros(shape), age=np.zeros(shape), left=np.zeros(shape),
        strayed=np.zeros(shape), heard=np.zeros(shape), seen=np.zeros((*shape, 4), np.float32),
    )  # fmt: skip


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def begin(game: Games, env: int, sigma: float, rate: float) -> None:
    """Begin an episode: draw weights, and ages as they are after long at equal rates."""
    num = game.weight.shape[1]
    game.steps[env] = 0
    for i in range(num):
        row = env * num + i
        game.weight[env, i] = exp(sigma * normal(game.start, env, 0))
        game.age[env, i] = exponential(game.start, env, 0) / rate
        for purpose in range(2):
            game.fate[row, purpose] = np.uint64(uniform(game.start, env, 0) * 9007199254740992.0) << _11
        game.left[env, i] = exponential(game.fate, row, GAPS)
        game.strayed[env, i] = game.heard[env, i] = 0.0
        seen = game.seen[env, i]
        seen[0], seen[1], seen[2], seen[3] = min(game.age[env, i], OLDEST_S), rate, 0.0, 0.0


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def play(
    game: Games,
    actions: NDArray[np.floating],
    numbers: tuple[float, float, float, float, float],
    expected: bool,
    costs: Floats,
    old: Floats,
) -> None:
    """Let one step pass in every environment.

    Args:
        game: Their state, changed in place.
        actions: Shape (E, N).
        numbers: Budget, step, logarithm of the spread, memory, age from which a twin is old.
        expected: Whether ages are charged as expected at the step's beginning.
        costs: Filled with the mean over twins and time of weight times age, m^2, shape (E,).
        old: Filled with the share of twins that are old at the step's end, shape (E,).
    """
    budget, step, log_spread, memory, limit = numbers
    num = game.weight.shape[1]
    rates = np.empty(num)
    for env in range(game.weight.shape[0]):
        total = 0.0
        for i in range(num):
            rates[i] = exp(log_spread * actions[env, i])
            total += rates[i]
        scale = budget / total
        cost, late = 0.0, 0
        for i in range(num):
            rate = rates[i] * scale
            age, left, rest, area, weight = game.age[env, i], game.left[env, i], step, 0.0, game.weight[env, i]
            if expected:
                cost += weight * (step + (age * rate - 1) * -np.expm1(-rate * step) / rate) / rate
            told = False
            while left <= rate * rest:
                gap = left / rate
                area += gap * (age + 0.5 * gap)
                age += gap
                rest -= gap
                # what has walked for `age` has strayed by weight * age times an exponential number, squared
                row = env * num + i
                game.strayed[env, i] = memory * game.strayed[env, i] + weight * exponential(game.fate, row, STRAYINGS)
                game.heard[env, i] = memory * game.heard[env, i] + 1
                age, told = 0.0, True
                left = exponential(game.fate, row, GAPS)
            area += rest * (age + 0.5 * rest)
            age += rest
            game.age[env, i], game.left[env, i] = age, left - rate * rest
            if not expected:
                cost += weight * area
            late += age > limit
            seen = game.seen[env, i]
            seen[0], seen[1] = min(age, OLDEST_S), rate
            if told:
                decibel = 10 * log10(game.strayed[env, i] / game.heard[env, i] + 1e-300)
                seen[2], seen[3] = min(max(decibel, LOWEST_DB), HIGHEST_DB), game.heard[env, i]
        costs[env], old[env] = cost / (num * step), late / num
        game.steps[env] += 1
