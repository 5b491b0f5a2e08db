"""The task Admission: what comes never depends on what was let in, many stations are many single ones, and what
it earns is what the chain says."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from wirelesslab.network.admission import CallClass, CompleteSharing, LossSystem, OptimalAdmission, TrunkReservation
from wirelesslab.network.admission import long_run as long_run_of
from wirelesslab.network.tasks.admission import Admission
from wirelesslab.network.tasks.admission_judgement import calls_to_come, reward_per_second
from wirelesslab.network.tasks.admission_rules import ByTable
from wirelesslab.network.tasks.admission_setting import (
    ADMIT,
    LIGHT,
    LOPSIDED,
    OVERLOADED,
    REFUSE,
    AdmissionSetting,
    Load,
)
from wirelesslab.network.tasks.admission_vector import AdmissionVector

PLAIN = AdmissionSetting(calls=40)
MANY = AdmissionSetting(
    systems=(LIGHT, OVERLOADED, LOPSIDED), tariffs=True, load=Load(low=0.5, high=2.0, period_s=5.0, amplitude=0.8),
    holding="fixed", memory_s=3.0, calls=40,
)  # fmt: skip
BARE = AdmissionSetting(rates=False, calls=40)
SETTINGS = pytest.mark.parametrize("setting", [PLAIN, MANY, BARE], ids=["plain", "many", "bare"])


def same(one, other, where=""):
    """Assert that two answers of Gymnasium are one, kinds of arrays included."""
    assert type(one) is type(other), where
    if isinstance(one, dict):
        assert set(one) == set(other), where
        for name in one:
            same(one[name], other[name], f"{where}/{name}")
    elif isinstance(one, tuple):
        for k, (a, b) in enumerate(zip(one, other, strict=True)):
            same(a, b, f"{where}[{k}]")
    elif isinstance(one, np.ndarray) and one.dtype == object:
        for a, b in zip(one, other, strict=True):
            same(a, b, where)
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype, where
        assert np.array_equal(one, other), where
    else:
        assert one == other, where


def allowed(infos, rng):
    return infos["action_mask"][:, 1] * (rng.random(len(infos["action_mask"])) < 0.8)


@SETTINGS
def test_a_vector_answers_as_gymnasiums_own_vector_of_single_stations_to_the_last_bit(setting):
    native = AdmissionVector(5, setting)
    single = SyncVectorEnv([lambda: Admission(setting)] * 5, autoreset_mode=AutoresetMode.SAME_STEP)
    assert native.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert native.single_observation_space == single.single_observation_space
    assert native.observation_space == single.observation_space
    assert native.action_space == single.action_space
    rng = np.random.default_rng(1)
    answer = native.reset(seed=11)
    same(answer, single.reset(seed=11))
    for _ in range(100):  # two episodes and a half
        actions = allowed(answer[-1], rng)
        answer = native.step(actions)
        same(answer, single.step(actions))
    same(native.reset(), single.reset())  # without a seed the draws go on
    same(native.reset(seed=[5, 4, 3, 2, 1]), single.reset(seed=[5, 4, 3, 2, 1]))


@SETTINGS
def test_observations_are_what_they_are_said_to_be(setting):
    env, sight = Admission(setting), setting.sight
    seen, info = env.reset(seed=3)
    rng = np.random.default_rng(2)
    for _ in range(400):
        assert env.observation_space.contains(seen)
        caller = int(np.argmax(seen[sight.caller]))
        assert seen[sight.caller].sum() == 1
        assert caller == env.waiting_call()[1]
        if setting.tariffs:
            demands = seen[sight.demands]
            system = next(s for s in setting.systems if [c.reward for c in s.classes] == seen[sight.rewards].tolist())
            assert demands.tolist() == [c.demand for c in system.classes]
        else:
            system, demands = setting.systems[0], np.array([c.demand for c in setting.systems[0].classes])
        assert seen[sight.free] == 30 - seen[sight.in_service] @ demands
        assert info["action_mask"].tolist() == seen[sight.mask].tolist() == [1, seen[sight.free] >= demands[caller]]
        if setting.rates:
            assert (seen[sight.rates_per_s] >= 0).all()
        if not setting.rates and not setting.tariffs:
            rebuilt = sight.observations(system, seen[sight.in_service], caller)[0]
            assert np.array_equal(seen, rebuilt)
        seen, _, _, over, info = env.step(int(info["action_mask"][1] and rng.random() < 0.8))
        if over:
            seen, info = env.reset()


def test_a_reward_is_paid_on_admission_and_a_refusal_is_a_cost_by_class():
    env = Admission(PLAIN)
    seen, info = env.reset(seed=5)
    paid = {0: 1.0, 1: 20.0}
    met = set()
    for call in range(39):
        caller = int(np.argmax(seen[PLAIN.sight.caller]))
        action = ADMIT if call % 2 and info["action_mask"][1] else REFUSE
        seen, reward, terminated, truncated, info = env.step(action)
        assert reward == sum(info["reward"].values()) == (paid[caller] if action else 0)
        assert info["reward"][f"class {caller}"] == reward
        assert info["cost"] == {f"class {k}": int(k == caller and action == REFUSE) for k in range(2)}
        assert not terminated
        assert not truncated
        met.add((caller, action))
    assert len(met) == 4
    assert env.step(REFUSE)[3]


def test_what_comes_does_not_depend_on_what_was_let_in():
    setting = replace(MANY, calls=300)
    foretold = calls_to_come(setting, 9, 200)
    env = Admission(setting)
    _, info = env.reset(seed=9)
    rng = np.random.default_rng(4)
    for call in range(200):
        assert env.waiting_call() == tuple(column[call] for column in foretold)
        info = env.step(int(info["action_mask"][1] and rng.random() < 0.7))[-1]


def test_many_stations_written_down_go_on_to_the_last_bit_wherever_they_are_restored():
    envs, rng = AdmissionVector(4, MANY), np.random.default_rng(3)
    infos = envs.reset(seed=2)[1]
    for _ in range(30):
        infos = envs.step(allowed(infos, rng))[-1]
    kept, others = envs.snapshot(), AdmissionVector(4, MANY)
    others.restore(kept)
    for _ in range(60):  # over an episode's end
        actions = allowed(infos, rng)
        answer = envs.step(actions)
        same(answer, others.step(actions))
        infos = answer[-1]
    same(envs.reset(), others.reset())


def test_a_snapshot_of_other_stations_is_refused_and_changes_nothing():
    three, four = AdmissionVector(3), AdmissionVector(4)
    three.reset(seed=1)
    four.reset(seed=1)
    before = four.snapshot()
    with pytest.raises(ValueError, match="snapshot: got counters of shape"):
        four.restore(three.snapshot())
    same(before, four.snapshot())


def full(env):
    """Return an environment whose waiting call does not fit."""
    _, info = env.reset(seed=1)
    while np.all(info["action_mask"][..., 1]):
        info = env.step(info["action_mask"][..., 1])[-1]
    return env


@pytest.mark.parametrize("action", [2, -1, 0.5, np.nan, [0], None, "admit"])
def test_what_is_no_answer_is_refused_and_nothing_happens(action):
    env = Admission(AdmissionSetting())
    env.reset(seed=1)
    before = env.snapshot()
    with pytest.raises(ValueError, match="0 refuses, 1 admits"):
        env.step(action)
    same(before, env.snapshot())


@pytest.mark.parametrize("actions", [[0, 2, 0], [0.0, 1.0, 1.0], [0, 0], [np.nan] * 3, [[0, 0, 0]], 0])
def test_what_are_no_answers_are_refused_and_nothing_happens_anywhere(actions):
    envs = AdmissionVector(3)
    envs.reset(seed=1)
    before = envs.snapshot()
    with pytest.raises(ValueError, match="0 refuses, 1 admits"):
        envs.step(np.array(actions))
    same(before, envs.snapshot())


@pytest.mark.parametrize("kind", ["single", "many"])
def test_who_does_not_fit_is_not_let_in(kind):
    env = full(Admission() if kind == "single" else AdmissionVector(3))
    before = env.snapshot()
    with pytest.raises(ValueError, match="obey the action mask"):
        env.step(1 if kind == "single" else np.ones(3, int))
    same(before, env.snapshot())


def test_a_step_before_the_first_reset_is_refused():
    for env, action in ((Admission(), 0), (AdmissionVector(2), np.zeros(2, int))):
        with pytest.raises(RuntimeError, match="reset"):
            env.step(action)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"systems": ()}, "systems"),
        ({"systems": (LIGHT, replace(LIGHT, capacity=31))}, "systems"),
        ({"holding": "pareto"}, "holding"),
        ({"memory_s": 0.0}, "memory_s"),
        ({"calls": 0}, "calls"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        AdmissionSetting(**change)
    for load in ({"low": 2.0}, {"amplitude": 1.5}, {"period_s": 0.0}):
        with pytest.raises(ValueError, match=next(iter(load))):
            Load(**load)


def test_the_native_vector_is_what_gymnasium_makes_by_name():
    envs = gymnasium.make_vec(
        "wirelesslab/Admission-v0", num_envs=3, vectorization_mode="vector_entry_point",
        setting=BARE,
    )  # fmt: skip
    assert envs.unwrapped.setting == BARE
    assert envs.reset(seed=1)[0].shape == (3, BARE.sight.size)


# --- the laws of what comes -----------------------------------------------------------------------


def test_measured_rates_have_the_mean_and_the_spread_of_a_forgetful_count():
    memory_s, stations = 4.0, 2_000
    envs = AdmissionVector(stations, AdmissionSetting(memory_s=memory_s, calls=10_000))
    envs.reset(seed=1)
    for _ in range(1_000):  # 40 s: the beginning is forgotten
        seen = envs.step(np.zeros(stations, int))[0]
    measured, rates = seen[:, envs.sight.rates_per_s].astype(float), np.array([20.0, 5.0])
    variance = rates / (2 * memory_s)  # Campbell's theorem for shots of exp(-age / memory) / memory
    assert measured.mean(axis=0) == pytest.approx(rates, abs=5 * np.sqrt(variance.max() / stations))
    # a sample variance of nearly normal numbers spreads by sqrt(2 / n) of itself
    assert measured.var(axis=0, ddof=1) == pytest.approx(variance, rel=6 * np.sqrt(2 / stations))


def test_at_the_beginning_the_measured_rates_are_right_already():
    stations = 4_000
    envs = AdmissionVector(stations, AdmissionSetting(memory_s=5.0))
    measured = envs.reset(seed=3)[0][:, envs.sight.rates_per_s].astype(float)
    error = measured.std(axis=0, ddof=1) / np.sqrt(stations)
    # but for the empty interval before the first call, of 1/25 s, in a memory of 5 s that is filled to 1 - 1/e
    expected = np.array([20.0, 5.0]) * (1 - 1 / (25 * 5 * (1 - np.exp(-1))))
    assert (abs(measured.mean(axis=0) - expected) <= 4 * error).all()


def test_a_drifting_load_swings_as_stated_its_classes_against_each_other():
    setting = AdmissionSetting(rates=False, load=Load(period_s=8.0, amplitude=0.9), calls=10**6)
    envs = AdmissionVector(200, setting)
    infos = envs.reset(seed=1)[1]
    phases = envs.snapshot()["stations"]["phase"]
    counts, until_s = np.zeros((2, 16)), 80.0
    for _ in range(2_600):  # until all stations have passed ten periods
        times_s = infos["time_s"]
        caller = envs.snapshot()["stations"]["caller"]
        bins = ((times_s / 8.0 + phases / (2 * np.pi)) % 1 * 16).astype(int)
        live = times_s < until_s
        np.add.at(counts, (caller[live], bins[live]), 1)
        infos = envs.step(np.zeros(200, int))[-1]
    assert infos["time_s"].min() > until_s
    edges = np.linspace(0, 2 * np.pi, 17)
    swing = 0.9 * (np.cos(edges[:-1]) - np.cos(edges[1:])) / np.diff(edges)  # mean of the sine over each bin
    expected = 200 * until_s / 16 * np.array([[20.0], [5.0]]) * (1 + np.array([[1], [-1]]) * swing)
    assert (abs(counts - expected) <= 5 * np.sqrt(expected)).all()  # Poisson counts, 32 of them


def test_factors_of_drawn_loads_are_log_uniform_and_drawn_class_by_class():
    setting = AdmissionSetting(systems=(LIGHT, OVERLOADED), load=Load(low=0.25, high=4.0), memory_s=0.1)
    envs = AdmissionVector(4_000, setting)
    envs.reset(seed=1)
    state = envs.snapshot()["stations"]
    base = np.array([[c.arrival_rate for c in s.classes] for s in setting.systems])[state["system"]]
    draws = np.log(state["rates"] / base) / np.log(16) + 0.5
    assert state["system"].mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(4_000))
    assert draws.min() >= 0
    assert draws.max() <= 1
    assert draws.mean(axis=0) == pytest.approx(0.5, abs=5 / np.sqrt(12 * 4_000))
    assert np.corrcoef(draws.T)[0, 1] == pytest.approx(0, abs=5 / np.sqrt(4_000))


RULES = {
    "complete sharing": CompleteSharing(OVERLOADED),
    "trunk reservation": TrunkReservation(OVERLOADED, (16, 0)),
    "optimum": OptimalAdmission.solve(OVERLOADED),
}


@pytest.mark.parametrize("name", RULES)
def test_blocking_and_reward_are_those_of_the_chain(name):
    rule = RULES[name]
    setting = AdmissionSetting(rates=False)
    found = reward_per_second(ByTable(rule, OVERLOADED, setting.sight), setting, range(40), calls=20_000)
    exact = long_run_of(rule, OVERLOADED)
    for values, expected in ((found.per_s, exact.reward_rate), *zip(found.blocking.T, exact.blocking, strict=True)):
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean() - expected) <= 4 * error
        assert values.mean() == pytest.approx(expected, rel=0.02)


def test_fixed_holding_blocks_like_exponential_under_complete_sharing():
    setting = AdmissionSetting(systems=(LIGHT,), rates=False, holding="fixed")
    found = reward_per_second(ByTable(CompleteSharing(LIGHT), LIGHT, setting.sight), setting, range(40), calls=10_000)
    error = found.blocking.std(axis=0, ddof=1) / np.sqrt(40)
    assert (abs(found.blocking.mean(axis=0) - [0.030374, 0.146660]) <= 4 * error).all()


def test_an_outside_policy_drives_the_task_by_the_plain_api():
    """Nothing of wirelesslab but the environment's name: refuse the small class while fewer than 16 units are free."""
    env = gymnasium.make("wirelesslab/Admission-v0")
    seen, info = env.reset(seed=7)
    earned, over = 0.0, False
    while not over:
        small_calls, free_units = seen[2] == 1, seen[4]
        keep_out = small_calls and free_units < 17
        seen, reward, terminated, truncated, info = env.step(int(info["action_mask"][1] and not keep_out))
        earned, over = earned + reward, terminated or truncated
    assert earned / info["time_s"] == pytest.approx(89.17, rel=0.1)  # 80 s, of rewards of 20: a spread of some 3 %


def test_relative_rewards_are_shares_of_what_a_full_station_earns():
    plain, relative = Admission(MANY), Admission(replace(MANY, relative=True))
    info, met = plain.reset(seed=8)[1], set()
    relative.reset(seed=8)
    for _ in range(200):
        action = int(info["action_mask"][1])
        seen, reward, _, over, info = plain.step(action)
        share = relative.step(action)[1]
        full = 30 * max(seen[MANY.sight.rewards] / seen[MANY.sight.demands])
        assert share == pytest.approx(reward / full, rel=1e-12)
        met.add(float(full))
        if over:
            info = plain.reset()[1]
            relative.reset()
    assert len(met) > 1


def test_three_classes_play_as_well():
    system = LossSystem(
        capacity=12,
        classes=tuple(
            CallClass(arrival_rate=a, demand=d, reward=d * r) for a, d, r in ((3, 1, 1), (1, 2, 2), (1, 3, 3))
        ),
    )
    setting = AdmissionSetting(systems=(system,), memory_s=2.0, tariffs=True)
    rule = OptimalAdmission.solve(system)
    found = reward_per_second(ByTable(rule, system, setting.sight), setting, range(30), calls=5_000)
    error = found.per_s.std(ddof=1) / np.sqrt(30)
    assert abs(found.per_s.mean() - rule.reward_rate) <= 4 * error
