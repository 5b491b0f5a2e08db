"""`TwinSyncReduced`: sync rates of many twins under a budget, in a model of ages alone, alone or many at once.

rules: `twin_sync_rules.Uniform`, `.PowerTold`, `.PowerMeasured`, `.AgeAware`
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.tasks import twin_sync_kernels as kernels
from wirelesslab.network.tasks.draws import counters
from wirelesslab.network.tasks.task import begun, checked_box, same_setting, seed_of, vector_infos, vector_seeds
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting

WHAT = "a number for each twin, whose rate is budget spread^a / sum of all"


class Table:
    """Environments of one setting, played together."""

    def __init__(self, setting: SyncSetting, num_envs: int) -> None:
        self.setting, self.num_envs = setting, num_envs
        self._game: kernels.Games | None = None
        self._numbers = (
            setting.budget_per_s, setting.step_s, float(np.log(setting.spread)), setting.memory, setting.old_s,
        )  # fmt: skip

    def sit_down(self, seeds: list[int]) -> None:
        """Take the seats of these seeds; begin with `begin`."""
        self._game = kernels.games(counters(seeds, "twin sync"), self.setting.num_twins)

    @property
    def seated(self) -> bool:
        """Whether there is a stream of episodes to go on with."""
        return self._game is not None

    @property
    def games(self) -> kernels.Games:
        """What is being played."""
        return begun(self._game)

    def begin(self, envs: NDArray[np.int64]) -> None:
        """Begin episodes in these environments."""
        rate = self.setting.budget_per_s / self.setting.num_twins
        for env in envs.tolist():
            kernels.begin(self.games, env, self.setting.sigma, rate)

    def weights(self) -> NDArray[np.float64]:
        """Return the weights of the running episodes, shape (E, N)."""
        return np.array(self.games.weight, np.float64)

    def play(self, actions: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the cost of a step and the share of old twins, each of shape (E,)."""
        costs, old = np.empty(self.num_envs), np.empty(self.num_envs)
        kernels.play(self.games, actions, self._numbers, self.setting.charge == "expected ages", costs, old)
        return costs, old

    def snapshot(self) -> Mapping[str, Any]:
        """Return all that changes, copied."""
        return {"of": self._of(), **{name: rows.copy() for name, rows in self.games._asdict().items()}}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: It is of another setting or number of environments; nothing has changed.
        """
        same_setting(snapshot, self._of())
        wanted = kernels.games(np.zeros((self.num_envs, 1), np.uint64), self.setting.num_twins)._asdict()
        for name, rows in wanted.items():
            check.array(snapshot[name], rows.shape, "environments, twins, ...", name=name)
        self._game = kernels.Games(**{name: np.array(snapshot[name], wanted[name].dtype) for name in wanted})

    def _of(self) -> dict[str, str]:
        return {"setting": repr(self.setting)}


class TwinSyncReduced(gymnasium.Env[Any, Any]):
    """Divide a budget of sync rates among twins whose importance is not told, in a model of ages alone.

    State: of each of N twins its weight w_i (m^2/s, lognormal, drawn for each episode), its age (s), the time until it
    is told next, and what has been measured.
    Action: `SyncSetting.actions`, a number in [0, 1] for each twin; f_i = budget spread^a_i / sum_j spread^a_j is its
    rate (1/s) for the next `step_s` seconds. The budget is used exactly.
    Transition: twin i is told at the instants of a Poisson process of rate f_i. It is then of age 0, and how far its
    thing had strayed since is measured: squared, w_i age times an exponential number of mean 1 (a walk in the plane).
    Observation: `SyncSetting.observations`, for each twin its age, its rate in force, the mean of measured squared
    strayings per second in dB re 1 m^2/s (older ones fade; 0 dB before the first), and how many it is a mean of.
    Reward: minus the mean over twins and over the step of w_i age_i, the mean squared error of what is known, in m^2.
    Cost (`info["cost"]`): "old", the share of twins older than `old_s` at the step's end.
    Horizon: `num_steps`, then truncated; nothing terminates. A discount of 0 to 0.9 does: what a rate does to ages
    fades within a few mean gaps.

    Best of all constant rates are those in proportion to sqrt(w_i); equal ones cost exp(sigma^2 / 4) times as much, and
    ones in proportion to w_i as much as equal ones. Who sees ages may do better than any constant rates.
    Not modelled: messages take no time. `TwinSync` is the same task on the simulator.

    A reset without a seed begins the next episode of the same stream.

    Args:
        setting: Of the task.
    """

    metadata: Mapping[str, Any] = {"render_modes": []}  # type: ignore[assignment]

    def __init__(self, setting: SyncSetting | None = None) -> None:
        self.setting = setting or SyncSetting()
        self.observation_space, self.action_space = self.setting.observations, self.setting.actions
        self._box = self.setting.actions
        self._table = Table(self.setting, 1)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode: weights are drawn, ages are as after long at equal rates, nothing has been measured."""
        super().reset(seed=seed)
        del options
        if seed is not None or not self._table.seated:
            self._table.sit_down([seed_of(self, seed)])
        self._table.begin(np.zeros(1, np.int64))
        return self._table.games.seen[0].copy(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Set the rates and let `step_s` seconds pass.

        Raises:
            ValueError: The action is not of `action_space`; nothing has happened.
        """
        games = self._table.games
        costs, old = self._table.play(checked_box(self._box, action, WHAT)[None])
        reward = -float(costs[0])
        info = {"reward": {"error (m^2)": reward}, "cost": {"old": float(old[0])}}
        return games.seen[0].copy(), reward, False, bool(games.steps[0] >= self.setting.num_steps), info

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of this episode, m^2/s, shape (num_twins,): for judges and for rules that are told."""
        return np.asarray(self._table.weights()[0])

    def snapshot(self) -> Mapping[str, Any]:
        """Return the state as plain arrays."""
        return self._table.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what `snapshot` returned, to the last bit."""
        self._table.restore(snapshot)


class TwinSyncReducedVector(gymnasium.vector.VectorEnv[NDArray[np.float32], NDArray[np.float32], Any]):
    """Many `TwinSyncReduced` side by side, compiled; environment i is, to the last bit, the scalar one of seed + i.

    An episode that is cut off begins anew in the same step; its last observation is in ``infos["final_obs"]``, shape
    (num_envs, num_twins, 4), its last parts of reward and cost in ``infos["final_info"]``, where
    ``infos["_final_obs"]`` says so: as Gymnasium's SyncVectorEnv has it.

    Args:
        num_envs: How many.
        setting: Of the task.
    """

    metadata: Mapping[str, Any] = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # type: ignore[assignment]

    def __init__(self, num_envs: int = 64, setting: SyncSetting | None = None) -> None:
        check.positive_integer(num_envs=num_envs)
        self.num_envs, self.setting = num_envs, setting or SyncSetting()
        self.single_observation_space = self.setting.observations
        self.single_action_space = self.setting.actions
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._boxes = gymnasium.spaces.Box(0.0, 1.0, (num_envs, self.setting.num_twins), np.float32)
        self._table = Table(self.setting, num_envs)

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin an episode everywhere; a number seeds environment i with seed + i.

        Raises:
            ValueError: A list of seeds is longer or shorter than there are environments.
        """
        del options
        if seed is not None or not self._table.seated:
            self._table.sit_down(vector_seeds(self, seed))
        self._table.begin(np.arange(self.num_envs))
        return self._table.games.seen.copy(), {}

    def step(
        self, actions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Set the rates everywhere and let `step_s` seconds pass.

        Raises:
            ValueError: The actions are not of `action_space`; nothing has happened.
        """
        games = self._table.games
        costs, old = self._table.play(checked_box(self._boxes, actions, WHAT))
        told: dict[str, Any] = {"reward": {"error (m^2)": -costs}, "cost": {"old": old}}
        truncated = games.steps >= self.setting.num_steps
        infos = {} if truncated.all() else vector_infos(told, ~truncated)
        seen = games.seen.copy()
        if truncated.any():
            infos |= {"final_obs": seen, "final_info": vector_infos(told, truncated)}
            infos |= {"_final_obs": truncated, "_final_info": truncated}
            self._table.begin(np.flatnonzero(truncated))
            seen = games.seen.copy()
        return seen, -costs, np.zeros(self.num_envs, bool), truncated, infos

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of the running episodes, m^2/s, shape (envs, twins): for judges and rules that are told."""
        return self._table.weights()

    def snapshot(self) -> Mapping[str, Any]:
        """Return the state of all environments as plain arrays."""
        return self._table.snapshot()

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what `snapshot` returned, to the last bit."""
        self._table.restore(snapshot)
