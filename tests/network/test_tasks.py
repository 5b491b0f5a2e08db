"""Specs of every task: Gymnasium's own checks, one seed one episode, written down and gone on with, refusals."""

import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from wirelesslab.network.tasks import TASKS
from wirelesslab.network.tasks.admission_setting import LOPSIDED, AdmissionSetting
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting

IDS = [task.id for task in TASKS]
NATIVE = [task.id for task in TASKS if task.vector]
STEPS = 12


def flat(observation):
    """Return an observation as one row of numbers, whatever its form."""
    if isinstance(observation, dict):
        return np.concatenate([flat(observation[name]) for name in sorted(observation)])
    return np.asarray(observation, float).ravel()


def drawn(env, info, rng):
    """Return an action that is allowed; the same for the same generator."""
    if isinstance(env.action_space, gymnasium.spaces.Discrete):
        allowed = np.flatnonzero(info["action_mask"]) if "action_mask" in info else np.arange(env.action_space.n)
        return int(rng.choice(allowed))
    if isinstance(env.action_space, gymnasium.spaces.MultiDiscrete):
        return rng.integers(env.action_space.nvec)
    space = env.action_space
    return (space.low + rng.random(space.shape) * (space.high - space.low)).astype(space.dtype)


def played(env, seed, steps=STEPS, rng_seed=1):
    """Return what an episode shows and gives, row by row."""
    rng = np.random.default_rng(rng_seed)
    observation, info = env.reset(seed=seed)
    rows = [flat(observation)]
    for _ in range(steps):
        observation, reward, terminated, truncated, info = env.step(drawn(env, info, rng))
        rows.append(np.concatenate([flat(observation), [reward, terminated, truncated]]))
        if terminated or truncated:
            observation, info = env.reset()
    return rows


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


def as_written(env):
    """Return an environment without the wrappers that Gymnasium puts around it, with those of the task's own."""
    while type(env).__module__.startswith("gymnasium."):
        env = env.env
    return env


@pytest.fixture(params=IDS)
def env(request):
    made = gymnasium.make(request.param)
    yield made
    made.close()


def test_gymnasium_finds_nothing_wrong(env):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version")  # a task of two forms
        check_env(as_written(env), skip_render_check=True)


def test_one_seed_is_one_episode_and_another_is_another(env):
    first = played(env, 5)
    assert_same(first, played(env, 5))
    other = played(env, 6)
    assert any(not np.array_equal(one, two) for one, two in zip(first, other, strict=True))


def test_a_task_that_was_written_down_goes_on_to_the_last_bit(env):
    task, rng = env.unwrapped, np.random.default_rng(1)
    _, info = task.reset(seed=5)
    for _ in range(4):
        *_, terminated, truncated, info = task.step(drawn(task, info, rng))
        assert not terminated
        assert not truncated
    kept, kept_info = task.snapshot(), info

    def on(task):
        rng, info, rows = np.random.default_rng(2), kept_info, []
        for _ in range(STEPS):
            observation, reward, terminated, truncated, info = task.step(drawn(task, info, rng))
            rows.append(np.concatenate([flat(observation), [reward]]))
            if terminated or truncated:
                break
        return rows

    first = on(task)
    task.restore(kept)
    assert_same(first, on(task))
    fresh = gymnasium.make(env.spec.id).unwrapped
    fresh.reset(seed=99)
    fresh.restore(kept)
    assert_same(first, on(fresh))


def test_the_episode_after_one_that_was_written_down_is_the_same_too(env):
    task, fresh = env.unwrapped, gymnasium.make(env.spec.id).unwrapped
    task.reset(seed=5)
    fresh.reset(seed=99)
    fresh.restore(task.snapshot())
    assert_same(played(task, None, steps=2), played(fresh, None, steps=2))


def test_a_step_outside_an_episode_is_refused(env):
    task = as_written(env)
    with pytest.raises(RuntimeError, match="reset"):
        task.step(task.action_space.sample())


def test_parts_of_the_reward_add_up_and_costs_stand_apart(env):
    rng = np.random.default_rng(3)
    _, info = env.reset(seed=7)
    for _ in range(STEPS):
        _, reward, terminated, truncated, info = env.step(drawn(env, info, rng))
        assert sum(info["reward"].values()) == pytest.approx(reward, rel=1e-9, abs=1e-9)
        assert all(cost >= 0 for cost in info["cost"].values())
        assert np.isfinite(reward)
        if terminated or truncated:
            _, info = env.reset()


def test_an_action_that_is_none_is_refused_and_nothing_has_happened(env):
    task, bare = as_written(env), env.unwrapped
    rng = np.random.default_rng(4)
    _, info = task.reset(seed=8)
    if isinstance(task.action_space, gymnasium.spaces.Box):
        wrong = [np.full(task.action_space.shape, np.nan), task.action_space.high + 1.0, np.zeros(99)]
    else:
        wrong = [np.nan, 10**6, "more", np.zeros(99, int)]
    action = drawn(task, info, rng)
    kept = bare.snapshot()
    expected = task.step(action)
    bare.restore(kept)
    for bad in wrong:
        with pytest.raises(ValueError, match="expected"):
            task.step(bad)
    found = task.step(action)
    np.testing.assert_array_equal(flat(expected[0]), flat(found[0]))
    assert expected[1] == found[1]


SHORT = {
    "wirelesslab/Admission-v0": {"setting": AdmissionSetting(calls=5)},
    "wirelesslab/SliceAllocReduced-v0": {"horizon": 5, "regret": True},
    "wirelesslab/TwinSyncReduced-v0": {"setting": SyncSetting(num_steps=5)},
}


@pytest.mark.parametrize("name", NATIVE)
def test_many_at_once_answer_bit_for_bit_as_gymnasiums_vector_of_single_ones(name):
    native = gymnasium.make_vec(name, 3, **SHORT[name])
    single = gymnasium.make_vec(name, 3, "sync", {"autoreset_mode": AutoresetMode.SAME_STEP}, **SHORT[name])
    assert type(native.unwrapped) is not type(single.unwrapped)

    def same(one, other):
        if isinstance(other, np.ndarray) and other.dtype == object:  # it has a row for each, or None
            one, other = (np.stack([np.asarray(row) for row in rows]) for rows in (one, other))
        np.testing.assert_equal(one, other)

    answer, other = native.reset(seed=11), single.reset(seed=11)
    rng, over = np.random.default_rng(1), 0
    for _ in range(12):
        for one, two in zip(answer[:-1], other[:-1], strict=True):
            np.testing.assert_array_equal(one, two)
        assert answer[-1].keys() == other[-1].keys()
        for what, told in other[-1].items():
            same(answer[-1][what], told)
        masks = answer[-1].get("action_mask")
        actions = np.stack([
            np.asarray(drawn(one, {} if masks is None else {"action_mask": masks[i]}, rng))
            for i, one in enumerate(single.envs)
        ])  # fmt: skip
        answer, other = native.step(actions), single.step(actions)
        over += "final_info" in answer[-1]
    assert over == 2


ELSEWHERE = {
    "wirelesslab/Admission-v0": {"setting": AdmissionSetting(systems=(LOPSIDED,))},  # its arrays have the same shapes
    "wirelesslab/SliceAllocReduced-v0": {"total_load": (0.1, 0.2)},
    "wirelesslab/TwinSyncReduced-v0": {"setting": SyncSetting(sigma=2.0)},
}


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("make", [gymnasium.make, gymnasium.make_vec])
def test_a_snapshot_of_another_setting_is_refused_and_nothing_has_happened(name, make):
    one, other = (make(name, **options).unwrapped for options in ({}, ELSEWHERE[name]))
    one.reset(seed=1)
    other.reset(seed=1)
    before = other.snapshot()
    with pytest.raises(ValueError, match="snapshot: got one of"):
        other.restore(one.snapshot())
    np.testing.assert_equal(other.snapshot(), before)


def test_every_task_says_its_decision_process_in_words(env):
    words = (type(env.unwrapped).__doc__ or "").lower()
    for part in ("state", "action", "reward", "horizon"):
        assert part in words, f"the docstring of {type(env.unwrapped).__name__} lacks its {part}"
