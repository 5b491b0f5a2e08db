"""Specs of the bounds: the chain is the task, its best rule is best, and nobody beats one who foresees all."""

import itertools

import numpy as np
import pytest

from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_optimum import PlacementChain, foreseen_bound
from wirelesslab.network.tasks.placement_rules import RULES, nearest_feasible
from wirelesslab.network.tasks.placement_services import ANALYTICS, CONTROL, PlacementConfig
from wirelesslab.network.topology import single_cell
from wirelesslab.stats import batch_means, student_quantile

GRAPH = single_cell(
    access_bps=1e9, core_bps=5e8, edge_operations_per_s=6e12, cloud_operations_per_s=2e13, cloud_distance_m=300e3
)
GRAPH.nodes["cloud"]["num_servers"] = 1
CONFIG = PlacementConfig(kinds=(CONTROL, ANALYTICS), arrivals_per_s=0.25, horizon=200)
CHAIN = PlacementChain(CONFIG, GRAPH)


def nearest(state, gnb, kind):
    """Return the nearest host with room: on this instance the edge, then the cloud where the bound holds."""
    for host in range(2):
        slot = (gnb, kind, host)
        if slot in CHAIN.slots:
            place = CHAIN.slots.index(slot)
            if (*state[:place], state[place] + 1, *state[place + 1 :]) in CHAIN.index:
                return host
    return 2


def best(state, gnb, kind):
    return int(CHAIN.best[0][CHAIN.calls.index((gnb, kind)), CHAIN.index[state]])


def refuse_all(state, gnb, kind):
    return 2


def test_the_best_rule_earns_what_value_iteration_says_and_more_than_the_others():
    assert CHAIN.reward_per_service(best) == pytest.approx(CHAIN.best[1], rel=1e-6)
    assert CHAIN.best[1] > 1.05 * CHAIN.reward_per_service(nearest)
    assert CHAIN.reward_per_service(refuse_all) == pytest.approx(-CONFIG.refusal_price)


@pytest.mark.parametrize(
    ("act", "exact"),
    [
        (lambda env, observation, info: nearest_feasible(observation, info), CHAIN.reward_per_service(nearest)),
        (lambda env, observation, info: CHAIN.best_action(env), CHAIN.best[1]),
    ],
    ids=["nearest", "best"],
)
def test_a_rule_earns_in_the_task_what_it_earns_on_the_chain(act, exact):
    env = Placement(PlacementConfig(kinds=CONFIG.kinds, arrivals_per_s=CONFIG.arrivals_per_s, horizon=30_000), GRAPH)
    observation, info = env.reset(seed=11)
    rewards = []
    for _ in range(env.config.horizon):
        observation, reward, _, _, info = env.step(act(env, observation, info))
        rewards.append(reward)
    middle, error = batch_means(rewards[500:])  # the network was empty at first; batches of 1475, some 100 lives each
    assert abs(middle - exact) < student_quantile(1 - 5e-5, 19) * error  # false alarm 1e-4
    assert middle == pytest.approx(exact, rel=0.03)


def test_one_who_foresees_all_finds_what_trying_everything_finds():
    env = Placement(PlacementConfig(kinds=CONFIG.kinds, arrivals_per_s=3.0, horizon=7), GRAPH)
    for seed in (1, 2):
        env.reset(seed=seed)
        start, found = env.snapshot(), -np.inf
        for actions in itertools.product(range(3), repeat=7):
            env.restore(start)
            total = sum(float(env.step(action)[1]) for action in actions)
            found = max(found, total)
        env.restore(start)
        assert foreseen_bound(env, whole=True) == pytest.approx(found, rel=1e-6)
        assert foreseen_bound(env) >= found - 1e-6


def test_no_rule_earns_more_in_an_episode_than_the_bound():
    env = Placement()
    for seed in range(3):
        env.reset(seed=seed)
        bound = foreseen_bound(env)
        for rule in RULES.values():
            observation, info = env.reset(seed=seed)
            total, truncated = 0.0, False
            while not truncated:
                observation, reward, _, truncated, info = env.step(rule(observation, info))
                total += float(reward)
            assert total <= bound


def test_an_instance_of_too_many_states_is_refused(monkeypatch):
    monkeypatch.setattr("wirelesslab.network.tasks.placement_optimum.MAX_STATES", 20)
    with pytest.raises(ValueError, match="more than 20 states, expected fewer"):
        PlacementChain(CONFIG, GRAPH)
