"""Learners at work: they solve what can be solved by hand, begin anew rightly, and go on exactly where they were."""

import dataclasses
import re
import signal
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Dict, MultiDiscrete
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import NormalizeReward, TimeLimit

import wirelesslab.network.tasks  # noqa: F401 - makes its tasks known
from tests.network.learner_worlds import Aim, Chain, best_of_chain, chain_values
from tests.trials import environment, wait_until
from wirelesslab.array_files import WeightFileError
from wirelesslab.network.learners import DQN, PPO, SAC, Keep, load_policy, train
from wirelesslab.network.learners.keeping import state_of
from wirelesslab.network.learners.training import interface_of
from wirelesslab.network.tasks.admission_setting import LIGHT, LOPSIDED, AdmissionSetting
from wirelesslab.network.tasks.admission_vector import AdmissionVector

QUICK_DQN = DQN(
    hidden=(32,),
    discount=0.9,
    n_steps=2,
    warmup_steps=200,
    batch_size=64,
    steps_per_update=8,
    target_rate=0.03,
    learning_rate=3e-3,
    last_epsilon=0.1,
)
QUICK_PPO = PPO(hidden=(32,), discount=0.9, rollout=32, minibatches=2, learning_rate=3e-3)
QUICK_SAC = SAC(hidden=(32, 32), discount=0.9, warmup_steps=200, batch_size=64, steps_per_update=8)
CASES = {
    "DQN": (QUICK_DQN, Chain), "PPO": (QUICK_PPO, Chain), "PPO, numbers": (QUICK_PPO, Aim), "SAC": (QUICK_SAC, Aim),
}  # fmt: skip


def right(policy):
    """Where a policy for the chain goes right."""
    return policy.act_many(np.eye(5))


# --- what can be solved by hand -----------------------------------------------------------------------


@pytest.mark.parametrize("learner", [QUICK_DQN, QUICK_PPO], ids=["DQN", "PPO"])
@pytest.mark.parametrize("same_step", [True, False], ids=["same step", "next step"])
def test_the_best_policy_of_a_chain_is_found(learner, same_step):
    best, values = best_of_chain(0.9)
    assert 0 < best.sum() < 5  # neither end is best from everywhere
    policy = train(learner, Chain(same_step=same_step), steps=8_000, seed=1)
    # the second-best policy loses 3 %
    assert chain_values(right(policy), 0.9).sum() >= 0.98 * values.sum()


def test_dqn_s_values_are_those_of_the_endless_chain_though_every_episode_is_cut_short():
    # an episode of 5 steps is worth 5 at most; what is learned is the endless chain's worth, up to 10
    learner = DQN(hidden=(32,), discount=0.9, warmup_steps=200, batch_size=64, steps_per_update=6, n_steps=1,
                  reward_scale=1.0, target_rate=0.02, first_epsilon=0.5, last_epsilon=0.2)  # fmt: skip
    policy = train(learner, Chain(horizon=5), steps=12_000, seed=2)
    told = policy.net(np.eye(5)).max(axis=1)
    # 10 %: the noise of one training of this length; without the value of what was cut off, less than half is told
    np.testing.assert_allclose(told, best_of_chain(0.9)[1], rtol=0.1)


@pytest.mark.parametrize("learner", [
    dataclasses.replace(QUICK_DQN, discount=0.98, centre=True),
    PPO(hidden=(32,), discount=1.0, rollout=32, minibatches=2, learning_rate=3e-3, centre=True),
], ids=["DQN", "PPO"])  # fmt: skip
def test_a_task_that_never_ends_is_solved_by_the_mean_reward(learner):
    def mean_reward(policy):
        return (1 - 0.9999) * chain_values(policy, 0.9999).mean()

    best = max(mean_reward([bits >> place & 1 for place in range(5)]) for bits in range(32))
    policy = train(learner, Chain(horizon=200), steps=8_000, seed=1)
    assert mean_reward(right(policy)) >= 0.97 * best  # to push left everywhere loses 20 %


@pytest.mark.parametrize("learner", [
    PPO(hidden=(32,), rollout=16, minibatches=2, learning_rate=5e-3, entropy=0.0),
    SAC(hidden=(32, 32), warmup_steps=512, batch_size=128, steps_per_update=8, learning_rate=3e-3),
], ids=["PPO", "SAC"])  # fmt: skip
@pytest.mark.parametrize("items", [0, 4], ids=["one", "rows"])
def test_a_mark_that_is_told_is_hit(learner, items):
    env = Aim(64, items)
    policy = train(learner, env, steps=40_000 if isinstance(learner, PPO) else 5_000, seed=1)
    env.reset(seed=9)
    misses = (policy.act_many(env.seen()) - env.marks()) / 4
    # to know no mark misses by 0.144 in the root mean square
    assert np.sqrt((misses**2).mean()) < 0.03


@pytest.mark.parametrize("learner", [QUICK_DQN, QUICK_PPO], ids=["DQN", "PPO"])
@pytest.mark.parametrize("same_step", [True, False], ids=["same step", "next step"])
def test_what_is_forbidden_is_never_done_in_training(learner, same_step):
    train(learner, Chain(masked=True, same_step=same_step), steps=800, seed=1)  # the chain refuses it


# --- one seed, one policy -----------------------------------------------------------------------------


def test_one_seed_gives_one_policy_and_another_seed_another():
    # the other learners: below, where a training is killed
    first, again, other = (train(QUICK_PPO, Chain(), steps=1_000, seed=seed).net.digest for seed in (1, 1, 2))
    assert first == again != other


class Killed(Exception):
    """Stands for the end of a process."""


@pytest.mark.parametrize(
    ("case", "tells"), [*((case, True) for case in CASES), ("DQN", False), ("PPO", False)], ids=str
)
def test_a_training_that_was_killed_gives_the_policy_of_one_that_was_not(case, tells, tmp_path):
    learner, world = CASES[case]
    make = (lambda: Chain(tells=tells, horizon=40)) if world is Chain else world

    def killed(progress):
        if progress.step >= 1_100:
            raise Killed

    keep = Keep(path=tmp_path / "killed", every_steps=600)
    with pytest.raises(Killed):
        train(learner, make(), steps=1_600, seed=1, keep=keep, show=killed)
    assert keep.exists
    begun = []
    after = train(learner, make(), steps=1_600, seed=1, keep=keep, show=lambda p: begun.append(p.step))
    assert begun[0] > 600  # it did go on
    # where environments tell their state, checkpoints change nothing; where not, both begin new episodes at each
    elsewhere = None if tells else Keep(path=tmp_path / "whole", every_steps=600)
    whole = train(learner, make(), steps=1_600, seed=1, keep=elsewhere)
    assert after.net.digest == whole.net.digest
    assert after.record == whole.record


def test_a_run_from_the_command_line_that_is_killed_goes_on_to_the_same_policy(tmp_path):
    words = ["run", "train_agent", "--steps", "12000", "--checkpoint-every", "1000", "--episodes", "1", "--seed", "4"]
    command = [sys.executable, "-m", "wirelesslab", *words, "--out"]
    running = subprocess.Popen([*command, str(tmp_path / "killed")], env=environment(), stderr=subprocess.DEVNULL)
    wait_until((tmp_path / "killed" / "checkpoint-4.npz").exists, 120, "the first checkpoint")
    running.kill()  # SIGKILL
    running.wait()
    assert not (tmp_path / "killed" / "policy-4.npz").exists()
    for name in ("killed", "whole"):
        ended = subprocess.run([*command, str(tmp_path / name)], env=environment(), capture_output=True, text=True,
                               timeout=300, check=False)  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-2000:]
    after, whole = (load_policy(tmp_path / name / "policy-4", "CartPole-v1") for name in ("killed", "whole"))
    assert after.net.digest == whole.net.digest


def test_ctrl_c_says_from_which_checkpoint_and_step_the_training_goes_on(tmp_path):
    def interrupted(progress):
        if progress.step >= 1_100:
            raise KeyboardInterrupt

    keep = Keep(path=tmp_path / "kept", every_steps=600)
    with pytest.raises(
        KeyboardInterrupt, match=r"kept\.npz holds the training up to step 768 of 1,600; the same goes on"
    ):
        train(QUICK_PPO, Chain(), steps=1_600, seed=1, keep=keep, show=interrupted)
    after, whole = (train(QUICK_PPO, Chain(), steps=1_600, seed=1, keep=one) for one in (keep, None))
    assert after.net.digest == whole.net.digest
    seldom = Keep(path=tmp_path / "seldom", every_steps=10_000)
    with pytest.raises(
        KeyboardInterrupt, match=r"nothing was kept yet: .* after 10,000 steps or more, this was step 1,104"
    ):
        train(QUICK_PPO, Chain(), steps=1_600, seed=1, keep=seldom, show=interrupted)
    with pytest.raises(KeyboardInterrupt, match="nothing was kept of 1,104 steps"):
        train(QUICK_PPO, Chain(), steps=1_600, seed=1, show=interrupted)


def test_ctrl_c_at_the_command_line_speaks_of_the_checkpoint(tmp_path):
    command = [sys.executable, "-m", "wirelesslab", "run", "train_agent", "--steps", "2000000", "--checkpoint-every",
               "1000", "--seed", "4", "--out", str(tmp_path)]  # fmt: skip
    running = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    wait_until((tmp_path / "checkpoint-4.npz").exists, 120, "the first checkpoint")
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert re.search(r"stopped; .*checkpoint-4\.npz holds the training up to step [\d,]+ of 2,000,000", said), said
    assert "batch" not in said


def test_a_finished_training_is_not_done_again(tmp_path):
    keep = Keep(path=tmp_path / "training")
    first = train(QUICK_PPO, Chain(), steps=1_024, seed=1, keep=keep)
    steps = []
    again = train(QUICK_PPO, Chain(), steps=1_024, seed=1, keep=keep, show=lambda p: steps.append(p.step))
    assert steps == []
    assert again.net.digest == first.net.digest


def test_a_checkpoint_that_is_damaged_or_of_another_training_is_refused(tmp_path):
    keep = Keep(path=tmp_path / "training.npz")
    train(QUICK_PPO, Chain(), steps=1_024, seed=1, keep=keep)
    with pytest.raises(WeightFileError, match=r"of another training .seed is 1, got 2"):
        train(QUICK_PPO, Chain(), steps=1_024, seed=2, keep=keep)
    with pytest.raises(WeightFileError, match="learner is 'PPO"):
        train(QUICK_DQN, Chain(), steps=1_024, seed=1, keep=keep)
    content = keep.path.read_bytes()
    keep.path.write_bytes(content[:-50])
    with pytest.raises(WeightFileError, match="holds no network"):
        train(QUICK_PPO, Chain(), steps=1_024, seed=1, keep=keep)


def test_a_checkpoint_of_another_load_is_refused_though_all_shapes_are_alike(tmp_path):
    keep = Keep(path=tmp_path / "training.npz")
    light, lopsided = (AdmissionVector(4, AdmissionSetting(systems=(system,))) for system in (LIGHT, LOPSIDED))
    train(QUICK_PPO, light, steps=512, seed=1, keep=keep)
    with pytest.raises(WeightFileError, match=r"of another training .* setting AdmissionSetting"):
        train(QUICK_PPO, lopsided, steps=512, seed=1, keep=keep)


# --- what environments may and may not be ---------------------------------------------------------------


def test_nan_from_an_environment_is_refused():
    class Broken(Chain):
        def seen(self):
            return super().seen() * np.where(self.ages[:, None] == 3, np.nan, 1)

    with pytest.raises(ValueError, match=r"observation: environment \d gave .*nan"):
        train(QUICK_PPO, Broken(), steps=1_000, seed=1)


def test_one_environment_is_refused_with_how_to_make_several():
    one = gymnasium.make("CartPole-v1")
    with pytest.raises(
        TypeError, match=r"got one CartPole-v1, .* gymnasium\.make_vec\('CartPole-v1', num_envs=\.\.\.\)"
    ):
        train(QUICK_DQN, one, steps=10, seed=1)


@pytest.mark.parametrize("name", ["wirelesslab/PlacementRows-v0", "wirelesslab/AISliceChoices-v0"])
def test_wrappers_that_may_remember_something_are_not_called_exactly_resumable(name):
    def state(wrappers):
        envs = gymnasium.make_vec(name, num_envs=2, vectorization_mode="sync", wrappers=wrappers)
        envs.reset(seed=1)
        return state_of(envs)

    assert state([]) is not None
    assert state([lambda env: TimeLimit(env, 9)]) is not None
    assert state([NormalizeReward]) is None


def test_spaces_that_no_learner_knows_and_other_ways_to_begin_anew_are_refused():
    env = Chain()
    env.single_action_space = MultiDiscrete([2, 2])
    with pytest.raises(TypeError, match="action_space: got MultiDiscrete"):
        interface_of(env)
    env.single_observation_space = Dict({})
    with pytest.raises(TypeError, match="observation_space: got Dict"):
        interface_of(env)
    env = Chain()
    env.metadata = {"autoreset_mode": AutoresetMode.DISABLED}
    with pytest.raises(ValueError, match="autoreset_mode"):
        train(QUICK_PPO, env, steps=100, seed=1)


def test_progress_tells_rate_time_left_and_how_well_it_goes():
    seen = []
    policy = train(QUICK_DQN, Chain(), steps=2_000, seed=1, show=seen.append)
    assert seen[-1].step == seen[-1].steps == 2_000
    assert seen[-1].episodes == 2_000 // 25
    assert "steps/s" in str(seen[-1])
    assert "left" in str(seen[0])
    assert seen[5].seconds_left > 0
    assert len(policy.record["curve"]) == 100
    # the curve accounts for every reward, and all of them fell in episodes that have ended
    steps, rewards = np.array([point[:2] for point in policy.record["curve"]]).T
    total = (np.diff(steps, prepend=0) * rewards).sum()
    assert total == pytest.approx(seen[-1].mean_return * seen[-1].episodes, rel=1e-6)
