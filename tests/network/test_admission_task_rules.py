"""Rules and judgement of the task Admission: what is judged exactly is what simulations find, baselines are tough."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network.admission import (
    CompleteSharing,
    OptimalAdmission,
    TrunkReservation,
    admission_table,
    best_trunk_reservation,
)
from wirelesslab.network.admission_runs import HOLDINGS, AdmissionSimulation
from wirelesslab.network.agents.bandits import LinUCB, ThompsonSampling
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners.policies import Interface, Trained
from wirelesslab.network.tasks.admission import Admission
from wirelesslab.network.tasks.admission_judgement import (
    against_hindsight,
    gap_reached,
    reward_per_second,
    tabulate_policy,
)
from wirelesslab.network.tasks.admission_rules import BanditTrunk, ByTable, RetunedTrunk, baselines
from wirelesslab.network.tasks.admission_setting import LIGHT, LOPSIDED, OVERLOADED, AdmissionSetting, Load
from wirelesslab.rng import stream

SETTING = AdmissionSetting()
DRIFT = AdmissionSetting(load=Load(period_s=200.0, amplitude=0.8), memory_s=10.0)


def paired(one, other):
    """Return mean difference and its standard error."""
    difference = one.per_s - other.per_s
    return difference.mean(), difference.std(ddof=1) / np.sqrt(len(difference))


@pytest.mark.parametrize("system", [LIGHT, OVERLOADED, LOPSIDED], ids=["light", "overloaded", "lopsided"])
def test_the_gap_is_nothing_for_complete_sharing_and_all_of_it_for_the_optimum(system):
    sharing = gap_reached(ByTable(CompleteSharing(system), system, SETTING.sight), SETTING, system)
    assert sharing.reached == pytest.approx(0, abs=1e-9)
    optimum = gap_reached(ByTable(OptimalAdmission.solve(system), system, SETTING.sight), SETTING, system)
    assert optimum.reached == pytest.approx(1, abs=1e-6)
    trunk = gap_reached(RetunedTrunk(system, SETTING.sight, step=1.0001), SETTING, system)
    assert trunk.earned == pytest.approx(trunk.trunk, rel=1e-6)
    assert trunk.of_optimum == pytest.approx(trunk.trunk / trunk.optimum, rel=1e-6)


def trained():
    """Return a small net with a policy between sharing and reserving: admit the small class while much is free."""
    sight = SETTING.sight
    kernel = np.zeros((sight.size, 2), np.float32)
    kernel[sight.caller, 1] = -8.5, 8.5  # small calls need 9 free units, large ones what they take
    kernel[sight.free, 1] = 1.0
    arrays = {
        "input middle": np.zeros(sight.size, np.float32), "input spread": np.ones(sight.size, np.float32),
        "kernel 0": kernel, "bias 0": np.zeros(2, np.float32),
    }  # fmt: skip
    interface = Interface(observation_shape=(sight.size,), num_actions=2)
    return Trained(task="wirelesslab/Admission-v0", learner="by hand", interface=interface, net=DenseNet(arrays))


def test_a_trained_policy_is_tabulated_as_it_answers():
    table = tabulate_policy(trained(), SETTING, OVERLOADED).table
    assert (table == admission_table(TrunkReservation(OVERLOADED, (8, 0)), OVERLOADED)).all()


@pytest.mark.parametrize("holding", HOLDINGS)
def test_a_trained_policy_is_scored_by_the_simulator_as_by_the_task(holding):
    policy, setting = trained(), replace(SETTING, holding=holding)
    task = reward_per_second(policy, setting, range(30), calls=5_000)
    simulation = AdmissionSimulation(tabulate_policy(policy, SETTING, OVERLOADED), OVERLOADED, stream(3, "c"), holding)
    simulation.advance(500)
    batches = [simulation.advance(5_000) for _ in range(30)]
    blocking = np.array([b.blocked / b.offered for b in batches])
    error = np.sqrt((task.blocking.var(axis=0, ddof=1) + blocking.var(axis=0, ddof=1)) / 30)
    assert (abs(task.blocking.mean(axis=0) - blocking.mean(axis=0)) <= 4 * error).all()
    if holding == "exponential":
        exact = gap_reached(policy, SETTING, OVERLOADED)
        error = task.per_s.std(ddof=1) / np.sqrt(30)
        assert abs(task.per_s.mean() - exact.earned) <= 4 * error


def test_seeds_are_met_alike_by_all_rules():
    rules = baselines(SETTING)
    one = reward_per_second(rules["complete sharing"], SETTING, [4, 5], calls=300)
    other = reward_per_second(rules["complete sharing"], SETTING, [5, 4], calls=300)
    assert one.per_s.tolist() == other.per_s[::-1].tolist()
    relative = reward_per_second(rules["complete sharing"], replace(SETTING, relative=True), [4, 5], calls=300)
    assert relative.per_s == pytest.approx(one.per_s, rel=1e-12)  # always told in full


def test_under_drift_trunk_reservation_re_tuned_beats_what_was_tuned_for_the_mean_and_both_beat_sharing():
    rules = baselines(DRIFT)
    earned = {name: reward_per_second(rule, DRIFT, range(16), calls=4_000) for name, rule in rules.items()}
    for better, worse in (
        ("trunk, re-tuned online", "trunk, tuned for the mean"), ("trunk, tuned for the mean", "complete sharing"),
    ):  # fmt: skip
        gain, error = paired(earned[better], earned[worse])
        assert gain > 3 * error


@pytest.mark.parametrize("kind", ["LinUCB", "Thompson"])
def test_bandits_learn_a_reserve_that_beats_complete_sharing(kind):
    num, features = 8, BanditTrunk.num_features(SETTING.sight)
    bandits = [
        LinUCB(7, features, alpha=0.3)
        if kind == "LinUCB"
        else ThompsonSampling(7, features, stream(i, "bandit"), noise=0.1)
        for i in range(num)
    ]
    rule = BanditTrunk(OVERLOADED, SETTING.sight, bandits, calls_per_round=100)
    found = reward_per_second(rule, SETTING, range(num), calls=5_000, warm_up=5_000)
    sharing = reward_per_second(baselines(SETTING)["complete sharing"], SETTING, range(num), calls=5_000, warm_up=5_000)
    gain, error = paired(found, sharing)
    gap = best_trunk_reservation(OVERLOADED)[1] - 62.84
    assert gain - 3 * error > 0.6 * gap
    with pytest.raises(ValueError, match="one for each of 8 bandits"):
        rule.act_many(np.zeros((3, SETTING.sight.size), np.float32))


def test_rules_answer_one_caller_as_they_answer_many():
    env = Admission(DRIFT)
    for rule in baselines(DRIFT).values():
        seen, info = env.reset(seed=3)
        for _ in range(200):
            answer = rule(seen, info)
            assert answer == rule.act_many(seen[None])[0]
            assert answer <= info["action_mask"][1]
            seen, _, _, _, info = env.step(answer)


def test_nobody_earns_more_than_hindsight_allows():
    rules = baselines(SETTING)
    for seed in range(2):
        found = {name: against_hindsight(rule, SETTING, seed, 600) for name, rule in rules.items()}
        bounds = {f.bound for f in found.values()}
        assert len(bounds) == 1
        assert max(f.earned for f in found.values()) < bounds.pop()
        assert found["optimum for the mean"].earned > 0.8 * found["optimum for the mean"].bound


def test_rules_that_need_what_is_not_shown_say_so():
    bare = AdmissionSetting(rates=False)
    with pytest.raises(ValueError, match="rates=True"):
        RetunedTrunk(OVERLOADED, bare.sight)
    assert "trunk, re-tuned online" not in baselines(bare)
    several = AdmissionSetting(systems=(LIGHT, OVERLOADED))
    for ask in (lambda: baselines(several), lambda: against_hindsight(trained(), several, 1, 10)):
        with pytest.raises(ValueError, match="2 systems"):
            ask()
