"""Train a learner on a vector of environments: one loop for all learners, with progress, checkpoints, exact resume.

Time's end is no end: where an episode was truncated, the learner is shown its last observation, which is worth what
the net says; only where it terminated is there nothing more to come. Both ways in which Gymnasium's vectors begin
anew are known: in the same step (the last observation is in ``infos["final_obs"]``), or in the next one (whose action
does not count).
"""

import time
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import array_files, check
from wirelesslab.array_files import WeightFileError
from wirelesslab.network.learners.keeping import (
    Checkpoint,
    Keep,
    load_checkpoint,
    restore_state,
    save_checkpoint,
    state_of,
)
from wirelesslab.network.learners.policies import Interface, Trained
from wirelesslab.network.learners.steps import Learner, Learning, Step
from wirelesslab.network.learners.watching import Progress
from wirelesslab.rng import stream
from wirelesslab.threads import one_blas_thread

if TYPE_CHECKING:
    from gymnasium.vector import VectorEnv

Floats = NDArray[np.float64]
POINTS = 100  # of the curve that a training leaves in its record


def interface_of(env: "VectorEnv[Any, Any, Any]") -> Interface:
    """Return what a policy sees and does in these environments.

    Raises:
        TypeError: Observations that are no `Box`, or actions that are neither `Discrete` nor a bounded `Box`.
    """
    from gymnasium.spaces import Box, Discrete

    seen, done = env.single_observation_space, env.single_action_space
    if not isinstance(seen, Box):
        msg = f"observation_space: got {seen}, expected a Box; flatten it with gymnasium.wrappers.FlattenObservation"
        raise TypeError(msg)
    shape = tuple(int(n) for n in seen.shape)
    if isinstance(done, Discrete):
        return Interface(observation_shape=shape, num_actions=int(done.n), first_action=int(done.start))
    if not isinstance(done, Box) or not (np.isfinite(done.low).all() and np.isfinite(done.high).all()):
        msg = f"action_space: got {done}, expected Discrete, or a Box with finite bounds"
        raise TypeError(msg)
    low, high = (tuple(float(v) for v in ends.ravel()) for ends in (done.low, done.high))
    return Interface(observation_shape=shape, low=low, high=high)


def hold_to_one_thread() -> None:
    """Hold TensorFlow to one thread: two trainings with one seed are then equal, and small nets gain nothing by more.

    To be called before TensorFlow has computed anything; too late, it warns.
    """
    from wirelesslab.tensorflow import tf

    try:
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError:
        if tf.config.threading.get_intra_op_parallelism_threads() != 1:
            msg = "threads: TensorFlow already runs with several; start a new process for trainings that repeat exactly"
            warnings.warn(msg, stacklevel=2)


def train(
    learner: Learner,
    env: "VectorEnv[Any, Any, Any]",
    *,
    steps: int,
    seed: int,
    keep: Keep | None = None,
    show: Callable[[Progress], None] | None = None,
    task: str | None = None,
) -> Trained:
    """Train a policy; going on from a checkpoint, if there is one, as if nothing had happened.

    On one thread of TensorFlow the same seed gives the same policy to the last bit.

    Args:
        learner: How to learn: `DQN`, `PPO` or `SAC`.
        env: Environments side by side; it is reset, with seeds from `seed`. What they allow is in
            ``infos["action_mask"]``, shape (envs, choices).
        steps: Steps summed over environments; rounded up to whole steps of all.
        seed: Of parameters, exploration, and episodes.
        keep: Where checkpoints live; None keeps none.
        show: Called after every step of all environments.
        task: Id that the policy bears; the one under which the environment is registered when None.

    Raises:
        TypeError: One environment instead of a vector, or spaces that no learner knows.
        KeyboardInterrupt: At Ctrl+C; it says from which checkpoint and step the same call goes on.
        ValueError: NaN from an environment, or autoreset switched off.
        WeightFileError: The checkpoint is damaged, or of another training.
    """
    check.positive_integer(steps=steps)
    if not hasattr(env, "num_envs"):
        name = _id(env)
        msg = f"env: got one {name}, expected several side by side; use gymnasium.make_vec({name!r}, num_envs=...)"
        raise TypeError(msg)
    with one_blas_thread():
        loop = _Loop(learner, env, steps, seed, keep, task or _id(env))
        try:
            return loop.run(show)
        except KeyboardInterrupt:  # in the middle of a step: only what a checkpoint holds is whole
            raise KeyboardInterrupt(loop.kept()) from None


class _Loop:
    """The state of one training."""

    def __init__(self, learner: Learner, env: Any, steps: int, seed: int, keep: Keep | None, task: str) -> None:
        self.learner, self.env, self.seed, self.keep, self.task = learner, env, seed, keep, task
        self.steps = -(-steps // env.num_envs) * env.num_envs
        self.interface = interface_of(env)
        self.same_step = _same_step(env)
        self.learning: Learning = learner.begin(self.interface, num_envs=env.num_envs, steps=self.steps, seed=seed)
        self.step, self.restarts, self.last_kept = 0, 0, 0
        self.observations, self.masks = self._reset()
        self.resting = np.zeros(env.num_envs, bool)  # whose next step only begins a new episode
        self.returns, self.recent, self.episodes = np.zeros(env.num_envs), np.zeros(0), 0
        self.window = np.zeros(4)  # steps, their rewards, episodes, their returns, since the last point of the curve
        self.curve: list[list[float]] = []
        self.exact = keep is not None and state_of(env) is not None
        self.run_of = {
            "task": task, "learner": repr(learner), "seed": seed, "steps": self.steps, "num_envs": env.num_envs,
            "interface": self.interface.describe(),
        }  # fmt: skip
        if keep is not None and keep.exists:
            self._restore(load_checkpoint(keep.path, self.run_of))

    def run(self, show: Callable[[Progress], None] | None) -> Trained:
        began, first = time.monotonic(), self.step
        while self.step < self.steps:
            pause = self._pause_next()
            self._advance(anew=pause and not self.exact)
            if pause:
                self._save()
            if show is not None:
                mean_return = float(self.recent.mean()) if self.recent.size else float("nan")
                reward = self.window[1] / self.window[0] if self.window[0] else self.curve[-1][1]
                show(Progress(
                    self.step, self.steps, time.monotonic() - began, self.step - first, self.episodes, mean_return,
                    float(reward), self.learning.figures(),
                ))  # fmt: skip
        record = {**self.run_of, "curve": self.curve, "episodes": self.episodes}
        return Trained(
            task=self.task, learner=type(self.learner).__name__, interface=self.interface, net=self.learning.net(),
            record=record,
        )  # fmt: skip

    def kept(self) -> str:
        """Return what is kept of the training, for who has ended it."""
        if self.keep is None:
            return f"nothing was kept of {self.step:,} steps of the training; with a checkpoint it is"
        if not self.last_kept:
            return (
                f"nothing was kept yet: the first checkpoint is written after {self.keep.every_steps:,} steps or more, "
                f"this was step {self.step:,}"
            )
        file = array_files.both(self.keep.path)[0]
        return f"{file} holds the training up to step {self.last_kept:,} of {self.steps:,}; the same goes on from there"

    def _pause_next(self) -> bool:
        if self.keep is None or not self.learning.pauses_next:
            return False
        after = self.step + self.env.num_envs
        return bool(after - self.last_kept >= self.keep.every_steps or after >= self.steps)

    def _advance(self, *, anew: bool) -> None:
        """Do one step in all environments; `anew`: and begin new episodes after it."""
        raw = self.learning.act(self.observations, self.masks)
        actions = self.interface.actions(raw)
        space = self.env.action_space
        actions = actions.reshape(space.shape).astype(space.dtype)
        seen, rewards, terminated, truncated, infos = self.env.step(actions)
        seen, rewards = _finite(seen, "observation"), _finite(rewards, "reward")
        terminated, truncated = np.array(terminated, bool), np.array(truncated, bool)
        valid, masks = ~self.resting, self._masks(infos)
        following, following_masks = seen, masks
        ended = terminated | truncated
        if self.same_step and ended.any():
            following, following_masks = _finals(seen, masks, ended, infos)
        self._note(rewards, ended, valid)
        if anew:
            truncated = truncated | ~(terminated | self.resting)
        self.learning.see(Step(
            self.observations, self.masks, raw, rewards, terminated, truncated, following, following_masks, valid,
        ))  # fmt: skip
        self.step += self.env.num_envs
        self.resting = ended & (not self.same_step)
        self.observations, self.masks = seen, masks
        if anew:
            self.restarts += 1
            self.observations, self.masks = self._reset()
            self.resting[:], self.returns[:] = False, 0.0

    def _reset(self) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        seed = int(stream(self.seed, "training episodes", self.restarts).integers(2**31 - 1))
        seen, infos = self.env.reset(seed=seed)
        return _finite(seen, "observation"), self._masks(infos)

    def _masks(self, infos: Mapping[str, Any]) -> NDArray[np.bool_]:
        shape = self.env.num_envs, self.interface.size
        if not self.interface.discrete or "action_mask" not in infos:
            return np.ones(shape, bool)
        masks = check.array(infos["action_mask"], shape, "envs, choices", name="action_mask").astype(bool)
        nothing = ~masks.any(axis=1)
        if nothing.any():
            msg = f"action_mask: environment {int(np.argmax(nothing))} allows nothing, expected at least one choice"
            raise ValueError(msg)
        return masks

    def _note(self, rewards: NDArray[np.float32], ended: NDArray[np.bool_], valid: NDArray[np.bool_]) -> None:
        """Keep count of returns, and of a point of the curve now and then."""
        self.returns += rewards
        over = self.returns[ended]
        self.recent = np.concatenate([self.recent, over])[-100:]
        self.episodes += over.size
        self.returns[ended] = 0.0
        self.window += (valid.sum(), rewards[valid].sum(dtype=np.float64), over.size, over.sum())
        after = self.step + self.env.num_envs
        if after * POINTS // self.steps > self.step * POINTS // self.steps or after >= self.steps:
            steps, reward, episodes, returns = self.window.tolist()
            mean_return = returns / episodes if episodes else None
            self.curve.append([after, reward / max(steps, 1), mean_return])  # type: ignore[list-item]
            self.window[:] = 0

    def _save(self) -> None:
        assert self.keep is not None
        loop = {
            "step": self.step, "restarts": self.restarts, "observations": self.observations, "masks": self.masks,
            "resting": self.resting, "returns": self.returns, "recent": self.recent, "episodes": self.episodes,
            "window": self.window, "curve": self.curve,
        }  # fmt: skip
        state = state_of(self.env) if self.exact else None
        save_checkpoint(self.keep.path, Checkpoint(self.learning.arrays(), loop, state), self.run_of)
        self.last_kept = self.step

    def _restore(self, kept: Checkpoint) -> None:
        loop = kept.loop
        self.step, self.restarts, self.episodes = loop["step"], loop["restarts"], loop["episodes"]
        self.last_kept, self.curve = self.step, loop["curve"]
        self.returns, self.recent, self.window = loop["returns"], loop["recent"], loop["window"]
        self.resting = loop["resting"]
        self.learning.restore(kept.arrays)
        if kept.environment is not None:
            try:
                restore_state(self.env, kept.environment)
            except ValueError as error:  # the task's id alone does not tell its settings
                msg = f"checkpoint: it is of another training ({error}); go on with the same, or write elsewhere"
                raise WeightFileError(msg) from None
            self.observations, self.masks = loop["observations"], loop["masks"]
        else:
            self.observations, self.masks = self._reset()


def _id(env: Any) -> str:
    spec = getattr(env, "spec", None)
    return str(spec.id) if spec is not None else type(env.unwrapped).__name__


def _same_step(env: Any) -> bool:
    from gymnasium.vector import AutoresetMode

    mode = env.metadata.get("autoreset_mode")
    if mode not in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP):
        msg = f"autoreset_mode: got {mode}, expected SAME_STEP or NEXT_STEP in the metadata of {env}"
        raise ValueError(msg)
    return bool(mode == AutoresetMode.SAME_STEP)


def _finite(values: Any, what: str) -> NDArray[np.float32]:
    """Return what environments gave, in single precision; refuse NaN and infinity."""
    array = np.array(values, np.float32)
    if not np.isfinite(array).all():
        where = int(np.argwhere(~np.isfinite(array))[0][0])
        msg = f"{what}: environment {where} gave {array[where].tolist()}, expected finite numbers"
        raise ValueError(msg)
    return array


def _finals(
    seen: NDArray[np.float32], masks: NDArray[np.bool_], ended: NDArray[np.bool_], infos: Mapping[str, Any]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the observations and masks that followed, the last of an episode where one ended.

    Where its last mask is not told, all choices count as allowed.
    """
    if "final_obs" not in infos:
        msg = (
            "infos: got no 'final_obs' from environments that begin anew in the same step, expected it where one ended"
        )
        raise ValueError(msg)
    following, following_masks = seen.copy(), masks.copy()
    which = np.flatnonzero(ended)
    following[which] = np.stack([np.asarray(infos["final_obs"][i]) for i in which])
    following = _finite(following, "final_obs")
    told = infos.get("final_info", {}).get("action_mask") if isinstance(infos.get("final_info"), Mapping) else None
    following_masks[which] = True if told is None else np.stack([np.asarray(told[i]) for i in which]).astype(bool)
    return following, following_masks


__all__ = ["Keep", "Learner", "Progress", "hold_to_one_thread", "interface_of", "train"]
