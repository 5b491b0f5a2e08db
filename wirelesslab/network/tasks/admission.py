"""The task `Admission`: a call comes; let it in or refuse it?

rules: `admission_rules.baselines`
"""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

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
from wirelesslab.network.tasks.task import begun, checked_choice, same_setting, seed_of

MEANING = "0 refuses, 1 admits"

Info = dict[str, Any]


class Admission(gymnasium.Env[NDArray[np.float32], np.int64]):
    """A station of `capacity` units is called by several classes and answers one call after another.

    The decision problem, one step for each call:

    * State: calls in service and their ends, who calls, and where the load stands, which nobody tells.
    * Observation: `Sight`, float32: calls in service per class, who calls (one of n), free units; if ``rates``, the
      arrival rates per second as the station has measured them, counting a call by exp(-age / memory_s); if
      ``tariffs``, demand in units and reward of each class; the mask.
    * Action: 0 refuses, 1 admits; a call that does not fit can only be refused (mask).
    * Transition: an admitted call holds its demand for its holding time; calls of class k arrive as a Poisson
      process, steady or drifting (`Load`). What comes does not depend on what was let in.
    * Reward: what the class pays, when admitted; if ``relative``, as a share of what a full station earns per second.
      ``info["reward"]`` has it by class ("class 0", ...), ``info["cost"]`` the refused call by class,
      ``info["time_s"]`` when the waiting caller called.
    * Horizon: truncated after ``calls`` calls; it never terminates. What counts is reward per second in the long run:
      a discount of 0.99 to 0.995 per call sees some holding times ahead.

    Under exponential holding and steady load the optimum is known: `OptimalAdmission`.

    Args:
        setting: The station and what is offered.

    Examples:
        >>> env = Admission()
        >>> seen, info = env.reset(seed=7)
        >>> seen, reward, terminated, truncated, info = env.step(1)
        >>> float(reward) == sum(info["reward"].values())
        True
    """

    metadata = {"render_modes": []}  # noqa: RUF012 - Gymnasium declares it without ClassVar

    def __init__(self, setting: AdmissionSetting | None = None) -> None:
        self.setting = setting or AdmissionSetting()
        self.sight = self.setting.sight
        self.observation_space: gymnasium.spaces.Space[Any] = self.setting.observation_space
        self.action_space = gymnasium.spaces.Discrete(2)
        num_classes = self.sight.num_classes
        self._names = tuple(f"class {k}" for k in range(num_classes))
        self._terms = terms(self.setting)
        self._state: Stations | None = None
        self._seen, self._last_seen = np.zeros((2, 1, self.sight.size), np.float32)
        self._mask, self._last_mask = np.zeros((2, 1, 2), np.int8)
        self._reward, self._blocked = np.zeros((1, num_classes)), np.zeros((1, num_classes), np.int8)
        self._over, self._last_s = np.zeros(1, np.bool_), np.zeros(1)

    def reset(
        self,
        *,
        seed: int | None = None,
        options: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[NDArray[np.float32], Info]:
        """Open an episode; with a seed everything that comes follows from it, without one the draws go on."""
        super().reset(seed=seed)
        if seed is not None or self._state is None:
            self._state = stations(self.setting, [seed_of(self, seed)])
        begin_all(self._state, self._terms, self._seen, self._mask)
        return self._seen[0].copy(), self._info()

    def step(self, action: Any) -> tuple[NDArray[np.float32], float, bool, bool, Info]:
        """Answer the waiting call.

        Raises:
            ValueError: The action is neither 0 nor 1, or admits who does not fit; nothing has happened.
        """
        state = self._opened()
        admit = np.array([checked_choice(action, self._mask[0], MEANING)])
        answer_all(
            state, self._terms, admit, False, self._seen, self._mask, self._reward, self._blocked, self._over,
            self._last_seen, self._last_mask, self._last_s,
        )  # fmt: skip
        info = self._info()
        info["reward"] = dict(zip(self._names, self._reward[0].tolist(), strict=True))
        info["cost"] = dict(zip(self._names, self._blocked[0].tolist(), strict=True))
        return self._seen[0].copy(), float(self._reward.sum()), False, bool(self._over[0]), info

    def waiting_call(self) -> tuple[float, int, float]:
        """Return when the waiting caller called, its class, and how long it would stay: what no agent sees."""
        state = self._opened()
        return float(state.now_s[0]), int(state.caller[0]), float(state.caller_holding_s[0])

    def _opened(self) -> Stations:
        return begun(self._state)

    def _info(self) -> Info:
        return {"action_mask": self._mask[0].copy(), "time_s": float(self._opened().now_s[0])}

    def snapshot(self) -> dict[str, Any]:
        """Return all that changes, as arrays."""
        state = {name: array.copy() for name, array in self._opened()._asdict().items()}
        return {"of": self._of(), "stations": state, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of the same setting, to the last bit.

        Raises:
            ValueError: It is of another setting; nothing has changed.
        """
        same_setting(snapshot, self._of())
        if self._state is None:
            self._state = stations(self.setting, [0])
        restore_stations(self._state, snapshot["stations"])
        self.np_random.bit_generator.state = snapshot["np_random"]
        look_all(self._state, self._terms, self._seen, self._mask)

    def _of(self) -> dict[str, str]:
        return {"setting": repr(self.setting)}
