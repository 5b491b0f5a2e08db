"""A policy that is not told the weights is judged beside the square root of the true ones."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network import Agent, Network
from wirelesslab.network.agents.learned import LearnedPolicy
from wirelesslab.network.agents.sync_rates import SyncInterface
from wirelesslab.network.tasks.twin_sync import TWINS, TwinSync
from wirelesslab.network.tasks.twin_sync_judgement import (
    EQUAL,
    LEARNED,
    SETTING,
    TOLD,
    asked,
    baselines,
    costs_in_model,
    costs_on_simulator,
    judged,
    kept,
    trained,
)
from wirelesslab.network.tasks.twin_sync_rules import PowerTold, Uniform
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting


@pytest.fixture(scope="module")
def policy():
    return trained(3, steps=100_000)


def test_a_short_training_keeps_what_the_square_root_gains_in_the_model_and_on_the_simulator(policy):
    makers = {LEARNED: asked(policy), TOLD: PowerTold, EQUAL: lambda _: Uniform()}
    costs = {name: costs_in_model(make, range(1000, 1064)) for name, make in makers.items()}
    model = kept(costs[LEARNED], costs[TOLD], costs[EQUAL])
    assert model.of_gain >= 0.97, "97 % of the gain that the square root of the true weights has over equal rates"
    assert model.low > 0.97, "and of what it saves, the stricter measure"
    there = {name: costs_on_simulator(makers[name], range(1000, 1008)) for name in (LEARNED, TOLD)}
    # paired: in one episode both meet the same weights
    ratio = there[TOLD] / there[LEARNED]
    assert ratio.mean() - 3 * ratio.std(ddof=1) / np.sqrt(ratio.size) >= 0.97


def test_everyone_is_judged_in_the_same_episodes():
    setting = SyncSetting(num_steps=40)
    costs = judged({"again": PowerTold}, in_model=range(5), on_simulator=range(2), setting=setting)
    assert costs.keys() == {"model", "simulator"}
    assert set(costs["model"]) == {*baselines(), "again"}
    for place in costs.values():
        assert np.array_equal(place["again"], place[TOLD])


def test_the_same_seed_trains_the_same_policy():
    one, other = (trained(5, steps=8_000) for _ in range(2))
    assert one.net.digest == other.net.digest
    assert trained(6, steps=8_000).net.digest != one.net.digest


def test_a_policy_answers_one_and_many_alike(policy):
    rule = asked(policy)(None)
    seen = np.random.default_rng(1).random((3, 16, 4)).astype(np.float32)
    together = rule(seen, {})
    assert together == pytest.approx(np.stack([rule(one, {}) for one in seen]), abs=1e-12)
    with pytest.raises(ValueError, match=r"NaN|finite|nan"):
        rule(np.full((16, 4), np.nan), {})


def test_a_trained_policy_plugs_into_a_running_network_and_decides_there_as_in_its_task(policy):
    env = TwinSync()
    seen, _ = env.reset(seed=9)
    network = Network.restored(env.network.snapshot())
    agent = Agent(LearnedPolicy(policy, SETTING.interface), sees=TWINS, every_s=SETTING.step_s, name="tuner")
    network.add(agent)
    for _ in range(40):
        seen, *_ = env.step(policy.act(seen))
    network.agenda.run(40 * SETTING.step_s - 1e-3)
    wished, done = ([record.action.rates_per_s for record in net.actions] for net in (network, env.network))
    assert all(record.by == "tuner" and not record.refused for record in network.actions)
    assert np.array(wished) == pytest.approx(
        np.array(done), rel=1e-5
    )  # actions of the task are those of an agent are not rounded
    with pytest.raises(ValueError, match="expected one of wirelesslab/TwinSync-v0"):
        LearnedPolicy(replace(policy, task="wirelesslab/Admission-v0"), SETTING.interface)


def test_an_agent_that_does_not_see_the_twins_is_refused_and_the_run_goes_on(policy):
    env = TwinSync()
    env.reset(seed=9)
    network = env.network
    network.add(Agent(LearnedPolicy(policy, SETTING.interface), every_s=1.0, name="blind"))
    other = SyncInterface(num_twins=16, budget_per_s=32.0)
    network.add(Agent(LearnedPolicy(policy, other), sees=TWINS, every_s=1.0, name="greedy"))
    network.agenda.run(3.5)
    reasons = {record.by: record.refused for record in network.actions}
    assert "shows how no twins are told, expected 'walk-twins'" in reasons["blind"]
    assert "sum to 32, expected at most the budget of 16" in reasons["greedy"]
    assert network.now_s == 3.5


def test_model_and_simulator_judge_episodes_of_the_same_weights():
    setting = SyncSetting(num_steps=200, sigma=1.5)
    model = costs_in_model(PowerTold, range(8), setting)
    there = costs_on_simulator(PowerTold, range(8), setting)
    assert np.corrcoef(np.log(model), np.log(there))[0, 1] > 0.9  # their sizes differ by weights, not by chance


def test_what_is_kept_is_one_for_the_root_itself_and_none_for_equal_rates():
    rng = np.random.default_rng(1)
    root = rng.uniform(1, 2, 50)
    equal = root * rng.uniform(1.2, 1.3, 50)
    same, none = kept(root, root, equal), kept(equal, root, equal)
    assert (same.of_gain, same.of_gap, same.low, same.high) == (1.0, 1.0, 1.0, 1.0)
    assert (none.gain, none.of_gap) == (1.0, 0.0)
    assert SETTING.num_twins == 16
