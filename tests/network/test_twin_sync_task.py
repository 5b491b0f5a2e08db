"""What is special to the tasks about sync rates; what all tasks promise is in test_tasks."""

import numpy as np
import pytest

from wirelesslab.network.tasks.twin_sync import AGENT, TWINS, TwinSync
from wirelesslab.network.tasks.twin_sync_reduced import TwinSyncReduced, TwinSyncReducedVector
from wirelesslab.network.tasks.twin_sync_rules import (
    AgeAware,
    PowerMeasured,
    PowerTold,
    Uniform,
    few_twins_gain,
    square_root_cost,
    uniform_cost,
    weights_measured,
)
from wirelesslab.network.tasks.twin_sync_setting import AGE, HEARD, RATE, STRAYING, SyncSetting
from wirelesslab.network.twins.sync import lognormal_budget_gain
from wirelesslab.network.view import SetSync
from wirelesslab.rng import stream

SMALL = SyncSetting(num_twins=5, budget_per_s=5.0, num_steps=30)


def costs(make, setting, *, num_envs, warm=0, seed=5):
    """Return each environment's mean cost after `warm` steps, to the end of the episode; and its weights."""
    envs = TwinSyncReducedVector(num_envs, setting)
    seen, infos = envs.reset(seed=seed)
    weights, rule, total = envs.weights, make(envs), np.zeros(num_envs)
    for step in range(setting.num_steps):
        seen, rewards, _, _, infos = envs.step(rule(seen, infos))
        total -= rewards * (step >= warm)
    return total / (setting.num_steps - warm), weights


# --- actions and what is seen -----------------------------------------------------------------------------------


def test_rates_use_the_budget_exactly_and_actions_say_them_again():
    setting = SyncSetting(num_twins=6, budget_per_s=9.0)
    actions = stream(1, "actions").random((50, 6))
    rates = setting.rates_of(actions)
    assert rates.sum(axis=1) == pytest.approx(np.full(50, 9.0), rel=1e-12)
    assert setting.rates_of(setting.actions_of(rates)) == pytest.approx(rates, rel=1e-9)
    assert (rates.max(axis=1) / rates.min(axis=1)).max() <= setting.spread
    assert setting.rates_of(np.full(6, 0.3)) == pytest.approx(np.full(6, 1.5))


def test_rates_too_far_apart_are_cut():
    setting = SyncSetting(num_twins=2, budget_per_s=2.0, spread=10.0)
    assert setting.rates_of(setting.actions_of(np.array([1.0, 1e6]))).tolist() == pytest.approx([2 / 11, 20 / 11])


@pytest.mark.parametrize("make", [TwinSyncReduced, TwinSync], ids=["reduced", "simulator"])
def test_weights_are_not_seen_and_show_in_what_was_measured(make):
    env = make(SyncSetting(num_steps=400, memory=0.99))
    first, _ = env.reset(seed=2)
    assert not first[:, [STRAYING, HEARD]].any()
    assert first[:, RATE] == pytest.approx(np.ones(16))
    for _ in range(400):
        seen, *_ = env.step(np.full(16, 0.5))
    ratio = weights_measured(seen, doubt=1e-9) / env.weights
    # a mean of some hundred exponential numbers each: the log's spread is a tenth
    assert np.abs(np.log(ratio)).max() < 4.5 / np.sqrt(seen[:, HEARD].min())
    assert seen[:, HEARD].min() > 30


@pytest.mark.parametrize("make", [TwinSyncReduced, TwinSync], ids=["reduced", "simulator"])
def test_one_seed_is_one_set_of_weights_and_ages_in_both(make):
    env, other = make(SMALL), TwinSyncReduced(SMALL)
    seen, _ = env.reset(seed=7)
    same, _ = other.reset(seed=7)
    assert np.array_equal(env.weights, other.weights)
    assert np.array_equal(seen, same)


def test_a_twin_is_told_at_the_rate_that_is_set_and_its_age_is_the_inverse():
    setting = SyncSetting(num_twins=4, budget_per_s=4.0, sigma=0.0, num_steps=20_000, memory=0.0)
    env, rates = TwinSyncReduced(setting), np.array([0.4, 0.8, 1.2, 1.6])
    env.reset(seed=3)
    actions, ages, total = setting.actions_of(rates), np.zeros(4), 0.0
    for _ in range(setting.num_steps):
        seen, reward, *_ = env.step(actions)
        ages, total = ages + seen[:, AGE], total - reward
    seconds = setting.num_steps * setting.step_s
    # an age is exponential, and correlated over a mean gap: its mean over n gaps has a relative spread of sqrt(2 / n)
    assert np.abs(ages / setting.num_steps * rates - 1).max() < 4.5 * np.sqrt(2 / (seconds * rates.min()))
    assert total / setting.num_steps == pytest.approx((1 / rates).mean(), rel=4.5 * np.sqrt(2 / (seconds * 0.4)))


def test_how_steps_are_cut_changes_nothing_at_constant_rates():
    coarse = SyncSetting(step_s=2.0, num_steps=30)
    fine = SyncSetting(step_s=0.25, num_steps=240)
    one, _ = costs(PowerTold, coarse, num_envs=8)
    other, _ = costs(PowerTold, fine, num_envs=8)
    assert one == pytest.approx(other, rel=1e-9)


def test_expected_ages_cost_on_average_what_ages_cost():
    setting = SyncSetting(num_steps=100, sigma=0.5)
    # the same fates: only what is charged differs
    came, _ = costs(PowerTold, setting, num_envs=400)
    expected, _ = costs(PowerTold, SyncSetting(num_steps=100, sigma=0.5, charge="expected ages"), num_envs=400)
    off = came - expected
    assert abs(off.mean()) < 4 * off.std(ddof=1) / np.sqrt(off.size)
    assert off.std() > 0


def test_an_episode_that_is_cut_off_is_followed_by_another_and_its_last_sight_is_kept():
    envs, env = TwinSyncReducedVector(3, SMALL), TwinSyncReduced(SMALL)
    envs.reset(seed=4)
    env.reset(seed=5)
    for step in range(2 * SMALL.num_steps):
        seen, _, terminated, truncated, infos = envs.step(np.full((3, 5), 0.5))
        single, _, _, over, _ = env.step(np.full(5, 0.5))
        assert not terminated.any()
        assert truncated.all() == over == ((step + 1) % SMALL.num_steps == 0)
        if over:
            assert np.array_equal(infos["final_obs"][1], single)
            single, _ = env.reset()  # goes on with the same stream
        assert np.array_equal(seen[1], single)


def test_many_environments_are_written_down_and_go_on_to_the_last_bit():
    envs = TwinSyncReducedVector(3, SMALL)
    envs.reset(seed=4)
    envs.step(np.full((3, 5), 0.5))
    kept = envs.snapshot()
    first = [envs.step(np.full((3, 5), 0.2))[:2] for _ in range(40)]
    fresh = TwinSyncReducedVector(3, SMALL)
    fresh.restore(kept)
    for seen, rewards in first:
        again = fresh.step(np.full((3, 5), 0.2))
        assert np.array_equal(again[0], seen)
        assert np.array_equal(again[1], rewards)


# --- the square-root rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
def test_square_roots_gain_the_lognormal_form_on_weights_that_are_drawn(sigma):
    envs = TwinSyncReducedVector(400, SyncSetting(num_twins=2000, budget_per_s=2000.0, sigma=sigma))
    envs.reset(seed=1)
    weights = envs.weights
    gains = uniform_cost(weights, 2000.0) / square_root_cost(weights, 2000.0)
    low, high = gains.mean() + np.array([-4, 4]) * gains.std(ddof=1) / np.sqrt(gains.size)
    assert low > 0.98 * lognormal_budget_gain(sigma)
    assert high < 1.02 * lognormal_budget_gain(sigma)


@pytest.mark.parametrize("sigma", [0.5, 1.0, 1.5])
def test_square_roots_gain_the_lognormal_form_when_they_are_played(sigma):
    # Ages begin as after long at equal rates; the warm steps are sixty mean gaps. Seldom told twins, of a sixth of
    # the mean rate, have forgotten their beginning by then.
    setting = SyncSetting(num_twins=500, budget_per_s=500.0, sigma=sigma, step_s=4.0, num_steps=35)
    roots, weights = costs(PowerTold, setting, num_envs=200, warm=15)
    equal, _ = costs(lambda _: Uniform(), setting, num_envs=200, warm=15)
    gain = equal.mean() / roots.mean()
    error = np.std(equal / equal.mean() - roots / roots.mean(), ddof=1) / np.sqrt(len(roots)) * gain
    assert abs(gain - few_twins_gain(sigma, 500)) < 4 * error
    assert gain == pytest.approx(lognormal_budget_gain(sigma), rel=0.02)
    formula = square_root_cost(weights, 500.0)
    off = roots / formula - 1  # beside the very weights: only when twins were told is left to chance
    assert abs(off.mean()) < 4 * off.std(ddof=1) / np.sqrt(off.size)


def test_rates_in_proportion_to_weights_gain_nothing():
    weights = np.exp(stream(1, "weights").standard_normal((20, 64)))
    setting = SyncSetting(num_twins=64, budget_per_s=64.0, spread=1e9)
    rates = setting.rates_of(setting.actions_of(weights))
    assert (weights / rates).sum(axis=1) == pytest.approx(64 * uniform_cost(weights, 64.0), rel=1e-9)
    # and when they are played, after a start of twelve gaps of the least rate
    setting = SyncSetting(sigma=0.5, step_s=5.0, num_steps=400)
    proportional, _ = costs(lambda envs: PowerTold(envs, 1.0), setting, num_envs=100, warm=40)
    equal, _ = costs(lambda _: Uniform(), setting, num_envs=100, warm=40)
    off = proportional / equal - 1
    assert abs(off.mean()) < 4 * off.std(ddof=1) / np.sqrt(off.size)
    assert off.std(ddof=1) / np.sqrt(off.size) < 0.005


def test_square_roots_of_what_was_measured_come_close_to_those_of_the_truth_and_ages_help():
    setting = SyncSetting()
    told, _ = costs(PowerTold, setting, num_envs=64)
    equal, _ = costs(lambda _: Uniform(), setting, num_envs=64)
    measured, _ = costs(lambda _: PowerMeasured(setting), setting, num_envs=64)
    aware, _ = costs(lambda _: AgeAware(setting), setting, num_envs=64)
    kept = told.mean() / measured.mean()
    assert 0.97 < kept < 1.0
    assert equal.mean() > 1.2 * told.mean()
    assert aware.mean() < 0.9 * told.mean(), "who sees ages does better than any constant rates"


# --- the simulator beside the model ---------------------------------------------------------------------------------

RULES = {
    "uniform": lambda _: Uniform(), "proportional": lambda env: PowerTold(env, 1.0), "square root": PowerTold,
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_the_model_costs_what_the_simulator_costs(name):
    setting, num = SyncSetting(step_s=2.0, num_steps=40), 20
    off = []
    for seed in range(num):
        total = []
        for env in (TwinSync(setting), TwinSyncReduced(setting)):
            seen, info = env.reset(seed=seed)
            rule, rewards = RULES[name](env), []
            for _ in range(setting.num_steps):
                seen, reward, *_, info = env.step(rule(seen, info))
                rewards.append(reward)
            total.append(-np.mean(rewards))
        off.append(total[0] / total[1] - 1)  # of the same weights
    error = np.std(off, ddof=1) / np.sqrt(num)
    assert abs(np.mean(off)) < 4 * error
    assert error < 0.05


def test_rates_are_set_by_an_action_that_the_network_records():
    env = TwinSync(SMALL)
    env.reset(seed=1)
    env.step(np.array([0.5, 0.5, 0.5, 0.5, 1.0]))
    record = env.network.actions[-1]
    assert isinstance(record.action, SetSync)
    assert (record.by, record.action.twin, record.refused) == (AGENT, TWINS, "")
    assert sum(record.action.rates_per_s) == pytest.approx(5.0)
    env.network.check()
    for _ in range(20):
        *_, info = env.step(np.full(5, 0.5))
    assert env.network.book.ended_flows["delivered"][0] > 10
    assert info["cost"]["lost"] == 0


def test_messages_that_are_lost_are_a_cost():
    env = TwinSync(SMALL)
    env.reset(seed=1)
    env.network.active[0] = False
    lost = sum(env.step(np.full(5, 0.5))[-1]["cost"]["lost"] for _ in range(20))
    assert lost == env.twins.bag.lost_messages > 10


def test_what_is_seen_depends_on_where_the_agent_looks():
    def seen(source, **options):
        env = TwinSync(SMALL, source=source, **options)
        rows = [env.reset(seed=6)[0]]
        rows += [env.step(np.full(5, 0.5) + 0.1 * (np.arange(5) == step % 5))[0] for step in range(20)]
        return np.array(rows)

    fresh, aged, physical, none = (seen(s) for s in ("fresh", "aged", "physical", "none"))
    assert np.array_equal(aged[8:, :, [AGE, STRAYING, HEARD]], fresh[4:-4, :, [AGE, STRAYING, HEARD]])  # 1 s is 4 steps
    for other in (aged, physical, none):
        assert np.array_equal(other[:, :, RATE], fresh[:, :, RATE])
    assert not none[:, :, [AGE, STRAYING, HEARD]].any()
    assert np.all(physical[1:, :, HEARD] > 0)
    assert physical[-1, :, HEARD].min() > fresh[-1, :, HEARD].max()
    assert np.array_equal(seen("aged", aged_s=0.0), fresh)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SyncSetting(num_twins=0), "num_twins"),
        (lambda: SyncSetting(spread=1.0), "spread"),
        (lambda: SyncSetting(memory=2.0), "memory"),
        (lambda: SyncSetting(charge="nothing"), "charge"),
        (lambda: TwinSync(source="guess"), "source"),
        (lambda: TwinSync(SyncSetting(charge="expected ages")), "charge"),
        (lambda: PowerMeasured(SyncSetting(), doubt=0), "doubt"),
    ],
)
def test_nonsense_is_refused(make, says):
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize("make", [TwinSync, TwinSyncReduced, lambda: TwinSyncReducedVector(2)])
def test_a_step_before_the_first_reset_is_refused(make):
    with pytest.raises(RuntimeError, match=r"call reset\(seed=...\) first"):
        make().step(np.zeros(16))


def test_a_list_of_seeds_is_one_for_each_environment():
    envs = TwinSyncReducedVector(3)
    with pytest.raises(ValueError, match="one for each of the 3"):
        envs.reset(seed=[1, 2])
