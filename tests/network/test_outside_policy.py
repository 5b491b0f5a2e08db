"""A policy from outside drives environments through Gymnasium alone: make, reset with a seed, step, masks.

Nothing here knows wirelesslab but its import, which makes the environments known. What learns is a few lines of NumPy
(the cross-entropy method) and an optimiser of SciPy: copy either to begin with a policy of your own.
"""

import gymnasium
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

import wirelesslab.network.tasks  # noqa: F401 (makes the environments known)

EPISODES = range(1000, 1020)  # none of them is met while learning


def play(env, choose, seed):
    """Return the return of one episode."""
    seen, info = env.reset(seed=seed)
    total, over = 0.0, False
    while not over:
        seen, reward, terminated, truncated, info = env.step(choose(seen, info["action_mask"]))
        total, over = total + float(reward), terminated or truncated
    return total


def linear(weights):
    """The allowed host of the highest score; a host's score is a weighted sum of what is seen of it."""
    return lambda rows, mask: int(np.argmax(np.where(mask == 1, rows @ weights, -np.inf)))


def by_chance(seed):
    """Any allowed action."""
    rng = np.random.default_rng(seed)
    return lambda rows, mask: int(rng.choice(np.flatnonzero(mask)))


def cross_entropy(env, seed, *, generations=6, candidates=16, elite=4):
    """Draw weights, play each in the same episode, and draw the next ones about the best; returns their middle.

    References:
        Rubinstein, "The cross-entropy method for combinatorial and continuous optimization", 1999.
    """
    rng = np.random.default_rng(seed)
    features = env.observation_space.shape[1]
    middle, spread = np.zeros(features), np.ones(features)
    for generation in range(generations):
        drawn = middle + spread * rng.standard_normal((candidates, features))
        returns = [play(env, linear(weights), seed=generation) for weights in drawn]
        best = drawn[np.argsort(returns)[-elite:]]
        middle, spread = best.mean(axis=0), best.std(axis=0) + 0.1
    return middle


@pytest.fixture(scope="module")
def env():
    return gymnasium.make("wirelesslab/PlacementRows-v0")


@pytest.fixture(scope="module")
def weights(env):
    return cross_entropy(env, seed=1)


def test_a_linear_policy_of_numpy_learns_to_place_better_than_chance(env, weights):
    chance = by_chance(1)
    gains = np.array([play(env, linear(weights), seed) - play(env, chance, seed) for seed in EPISODES])
    # pairs meet the same services; by chance a mean exceeds five standard errors once in ten thousand times at most
    assert gains.mean() > 5 * gains.std(ddof=1) / np.sqrt(gains.size)


def test_the_same_seeds_give_the_same_policy_and_the_same_episode(env, weights):
    assert np.array_equal(cross_entropy(env, seed=1, generations=1), cross_entropy(env, seed=1, generations=1))
    assert play(env, linear(weights), seed=7) == play(env, linear(weights), seed=7)


def test_who_obeys_the_mask_never_asks_for_what_is_not_possible(env, weights):
    seen, info = env.reset(seed=3)
    for _ in range(200):
        action = linear(weights)(seen, info["action_mask"])
        assert info["action_mask"][action] == 1
        seen, _, _, truncated, info = env.step(action)
        assert info["cost"]["infeasible"] == 0
    assert truncated


def test_an_optimiser_of_scipy_finds_a_floor_for_shares_in_the_compiled_form():
    """Shares in proportion to load and a floor: one number, tuned on 64 links at once under the same arrivals."""
    envs = gymnasium.make_vec("wirelesslab/SliceAllocReduced-v0", num_envs=64, phase_steps=20, horizon=100)

    def jobs(floor, seed):
        seen, _ = envs.reset(seed=seed)
        counted = np.zeros(64)
        for _ in range(100):
            weights = np.clip(seen[:, :, 0] + floor, 1e-6, None)  # the load of the last window
            seen, rewards, _, _, _ = envs.step((weights / weights.max(axis=1, keepdims=True)).astype(np.float32))
            counted -= rewards / 100
        return counted

    found = minimize_scalar(lambda log: jobs(np.exp(log), seed=1).mean(), bounds=(-6, 1), options={"maxiter": 12})
    tuned, proportional, equal = (jobs(floor, seed=5000) for floor in (np.exp(found.x), 0.0, 1e3))
    for other in (proportional, equal):
        gains = np.log(other / tuned)  # mean jobs differ by orders of magnitude from link to link
        assert gains.mean() > 4 * gains.std(ddof=1) / 8
