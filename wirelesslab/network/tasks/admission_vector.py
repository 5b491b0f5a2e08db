"""The task `Admission` played at many stations at once, compiled."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.tasks.admission import MEANING
from wirelesslab.network.tasks.admission_kernel import (
    Stations,
    answer_all,
    begin_all,
    look_all,
    restore_stations,
    stations,
    terms,
)
from wirelesslab.network.tasks.admission_setting import AdmissionSetting
from wirelesslab.network.tasks.task import begun, same_setting, vector_infos, vector_seeds

Infos = dict[str, Any]
Seeds = int | Sequence[int | None]


class AdmissionVector(VectorEnv[NDArray[np.float32], NDArray[np.int64], NDArray[Any]]):
    """`Admission` at `num_envs` stations: station i, seeded with seed + i, is bit-equal to `Admission` seeded so.

    An episode that is over is followed by the next within the same step (``AutoresetMode.SAME_STEP``): what it saw
    last stands in ``infos["final_obs"]``, its info in ``infos["final_info"]``, as Gymnasium's SyncVectorEnv has it.

    Args:
        num_envs: Stations.
        setting: What each is and is offered.

    Examples:
        >>> envs = AdmissionVector(num_envs=4)
        >>> seen, infos = envs.reset(seed=7)
        >>> seen, rewards, terminated, truncated, infos = envs.step(infos["action_mask"][:, 1])  # whoever fits
        >>> seen.shape, rewards.shape
        ((4, 9), (4,))
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, num_envs: int = 1, setting: AdmissionSetting | None = None) -> None:
        check.positive_integer(num_envs=num_envs)
        self.num_envs = num_envs
        self.setting = setting or AdmissionSetting()
        self.sight = self.setting.sight
        self.single_observation_space = self.setting.observation_space
        self.single_action_space = Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = MultiDiscrete(np.full(num_envs, 2))
        num_classes = self.sight.num_classes
        self._names = tuple(f"class {k}" for k in range(num_classes))
        self._terms = terms(self.setting)
        self._state: Stations | None = None
        self._seen, self._last_seen = np.zeros((2, num_envs, self.sight.size), np.float32)
        self._mask, self._last_mask = np.zeros((2, num_envs, 2), np.int8)
        self._reward = np.zeros((num_envs, num_classes))
        self._blocked = np.zeros((num_envs, num_classes), np.int8)
        self._over, self._last_s = np.zeros(num_envs, np.bool_), np.zeros(num_envs)

    def reset(
        self,
        *,
        seed: Seeds | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], Infos]:
        """Open an episode everywhere; a whole number seeds station i with seed + i, a list each with its own."""
        if seed is not None or self._state is None:
            self._state = stations(self.setting, vector_seeds(self, seed, what="stations"))
        state = self._opened()
        begin_all(state, self._terms, self._seen, self._mask)
        return self._seen.copy(), self._info(np.ones(self.num_envs, np.bool_))

    def step(self, actions: Any) -> tuple[NDArray[np.float32], NDArray[Any], NDArray[Any], NDArray[Any], Infos]:
        """Answer the waiting call at every station.

        Raises:
            ValueError: An action is neither 0 nor 1, or admits who does not fit; nothing has happened anywhere.
        """
        state = self._opened()
        some_over = answer_all(
            state, self._terms, self._checked(actions), True, self._seen, self._mask, self._reward, self._blocked,
            self._over, self._last_seen, self._last_mask, self._last_s,
        )  # fmt: skip
        truncated, going_on = self._over.copy(), ~self._over
        infos = self._info(np.ones(self.num_envs, np.bool_))
        if not some_over:
            infos |= self._outcome(going_on)
        else:
            seen_last = {"action_mask": self._last_mask.copy(), "time_s": self._last_s.copy()}
            final = vector_infos(seen_last, truncated) | self._outcome(truncated)
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(truncated):
                last[i] = self._last_seen[i].copy()
            infos |= {"final_obs": last, "_final_obs": truncated, "final_info": final, "_final_info": truncated}
            if going_on.any():
                infos |= self._outcome(going_on)
        rewards = self._reward.sum(axis=1)
        return self._seen.copy(), rewards, np.zeros(self.num_envs, np.bool_), truncated, infos

    def _checked(self, actions: Any) -> NDArray[np.int64]:
        chosen = np.asarray(actions)
        whole = np.issubdtype(chosen.dtype, np.integer)
        if not whole or chosen.shape != (self.num_envs,) or ((chosen < 0) | (chosen > 1)).any():
            msg = (
                f"actions: got {chosen.dtype} of shape {chosen.shape}{_first_wrong(chosen) if whole else ''}, expected "
                f"whole numbers of shape ({self.num_envs},): {MEANING}"
            )
            raise ValueError(msg)
        forbidden = np.flatnonzero(chosen > self._mask[:, 1])
        if forbidden.size:
            msg = (
                f"actions: got 1 at station {forbidden[0]}, where the caller does not fit: {MEANING}; obey the action "
                "mask"
            )
            raise ValueError(msg)
        return chosen.astype(np.int64)

    def _opened(self) -> Stations:
        return begun(self._state)

    def _info(self, of: NDArray[np.bool_]) -> Infos:
        return vector_infos({"action_mask": self._mask.copy(), "time_s": self._opened().now_s.copy()}, of)

    def _outcome(self, of: NDArray[np.bool_]) -> Infos:
        """Rewards and refusals by class, of those stations; 0 elsewhere."""
        reward = dict(zip(self._names, self._reward.T.copy(), strict=True))
        cost = dict(zip(self._names, self._blocked.T.astype(np.int64), strict=True))
        return vector_infos({"reward": reward, "cost": cost}, of)

    def snapshot(self) -> dict[str, Any]:
        """Return all that changes, as arrays."""
        state = {name: array.copy() for name, array in self._opened()._asdict().items()}
        return {"of": self._of(), "stations": state, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of as many stations of the same setting, to the last bit.

        Raises:
            ValueError: It is of another setting or number of stations; nothing has changed.
        """
        same_setting(snapshot, self._of())
        if self._state is None:
            self._state = stations(self.setting, list(range(self.num_envs)))
        restore_stations(self._state, snapshot["stations"])
        self.np_random.bit_generator.state = snapshot["np_random"]
        look_all(self._state, self._terms, self._seen, self._mask)

    def _of(self) -> dict[str, str]:
        return {"setting": repr(self.setting)}


def _first_wrong(chosen: NDArray[Any]) -> str:
    wrong = np.flatnonzero((chosen < 0) | (chosen > 1))
    return f" with {chosen.ravel()[wrong[0]]} at {wrong[0]}" if wrong.size else ""
