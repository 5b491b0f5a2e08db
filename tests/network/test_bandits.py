"""Bandits: confidence and posterior by hand, and regret that stops growing."""

import copy

import numpy as np
import pytest

from wirelesslab.network.agents.bandits import LinUCB, ThompsonSampling
from wirelesslab.rng import stream

CONTEXTS = np.array([[1.0, 2.0], [1.0, -1.0]])
PAYOFFS = (3.0, 1.0)
# by hand, for ridge 1: A = I + [[2, 1], [1, 5]] = [[3, 1], [1, 6]], determinant 17; b = 3 (1, 2) + 1 (1, -1) = (4, 5)
INVERSE = np.array([[6.0, -1.0], [-1.0, 3.0]]) / 17
MEAN = np.array([19.0, 11.0]) / 17


def taught(bandit):
    for context, payoff in zip(CONTEXTS, PAYOFFS, strict=True):
        bandit.learn(context, 0, payoff)
    return bandit


def test_the_confidence_of_linucb_is_that_worked_out_by_hand():
    scores = taught(LinUCB(2, 2, alpha=1.5)).scores([2.0, 1.0])
    # x = (2, 1): x.mean = 49/17; x A^-1 x = (24 - 4 + 3) / 17 = 23/17; the arm never pulled: 0 and x.x = 5
    assert scores == pytest.approx([49 / 17 + 1.5 * np.sqrt(23 / 17), 1.5 * np.sqrt(5)], rel=1e-12)


def test_thompsons_posterior_is_that_worked_out_by_hand():
    mean, covariance = taught(ThompsonSampling(2, 2, stream(1, "bandit"), noise=0.5)).posterior()
    assert mean == pytest.approx(np.array([MEAN, [0, 0]]), rel=1e-12)
    assert covariance == pytest.approx(np.array([INVERSE, np.eye(2)]) / 4, rel=1e-12)


def test_thompson_pulls_an_arm_as_often_as_it_believes_it_best():
    # one feature, payoffs known: arm 0 has mean 0.5, variance 1/2; arm 1 has mean 0, variance 1
    bandit = ThompsonSampling(2, 1, stream(2, "bandit"))
    bandit.learn([1.0], 0, 1.0)
    pulls, trials = sum(bandit.choose([1.0]) == 0 for _ in range(20_000)), 20_000
    expected = 0.6584543  # Phi(0.5 / sqrt(1.5))
    assert pulls / trials == pytest.approx(expected, abs=5 * np.sqrt(expected * (1 - expected) / trials))


def test_a_memory_forgets_an_arms_past_at_each_of_its_pulls():
    bandit = taught(LinUCB(2, 2, memory=0.5))
    first, second = CONTEXTS
    assert bandit.beliefs.precision[0] == pytest.approx(0.5 * np.outer(first, first) + np.outer(second, second))
    assert bandit.beliefs.weighted[0] == pytest.approx(0.5 * 3.0 * first + 1.0 * second)


def regrets(bandit, rounds, seed, features=3, arms=4):
    """Return what was lost in each round to who knows the weights: by the bandit, and by a choice at random."""
    rng = stream(seed, "problem")
    weights = rng.standard_normal((arms, features))
    lost = np.zeros((2, rounds))
    for t in range(rounds):
        context = rng.standard_normal(features)
        means = weights @ context
        arm = bandit.choose(context)
        bandit.learn(context, arm, means[arm] + 0.5 * rng.standard_normal())
        lost[:, t] = means.max() - means[arm], means.max() - means.mean()
    return lost


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: LinUCB(4, 3, alpha=1.0),
        lambda seed: ThompsonSampling(4, 3, stream(seed, "bandit"), noise=0.5),
    ],
    ids=["LinUCB", "Thompson"],
)
def test_regret_grows_ever_more_slowly(make):
    lost, at_random = sum(regrets(make(seed), 1_600, seed) for seed in range(6))
    quarters = lost.reshape(4, 400).sum(axis=1)
    assert quarters.sum() < 0.05 * at_random.sum()
    # regret of order sqrt(t) puts 1/2 of it into the first quarter, and (1 - sqrt(3/4)) = 0.13 into the last
    assert quarters[0] > 0.5 * quarters.sum()
    assert quarters[3] < 0.13 * quarters.sum()


def test_a_bandits_memory_is_data():
    bandit = taught(ThompsonSampling(2, 2, stream(3, "bandit")))
    other = copy.deepcopy(bandit)
    choices = [bandit.choose([1.0, 0.3]) for _ in range(20)]
    assert choices == [other.choose([1.0, 0.3]) for _ in range(20)]
    assert len(set(choices)) == 2


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda b: b.learn([1.0, np.nan], 0, 1.0), "context"),
        (lambda b: b.learn([1.0], 0, 1.0), "context"),
        (lambda b: b.learn([1.0, 0.0], 2, 1.0), "arm: got 2, expected one from 0 to 1"),
        (lambda b: b.learn([1.0, 0.0], 0, float("nan")), "payoff"),
        (lambda b: b.choose([1.0, 0.0, 0.0]), "context"),
    ],
)
def test_what_is_no_payoff_arm_or_context_is_refused_and_teaches_nothing(act, says):
    bandit = taught(LinUCB(2, 2))
    before = bandit.beliefs.posterior()[0].copy()
    with pytest.raises(ValueError, match=says):
        act(bandit)
    assert (bandit.beliefs.posterior()[0] == before).all()
