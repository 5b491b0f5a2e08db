"""The task `Handover`: every user is an agent that chooses its cell, as a PettingZoo environment.

rules: `handover_rules.Strongest`, `.BestRate`, `.AnyCell`, judged by `handover_rules.served`
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from pettingzoo import ParallelEnv

from wirelesslab import check
from wirelesslab.network.tasks.handover_world import (
    FEATURES,
    HIGH,
    LOW,
    Floats,
    HandoverSetting,
    HandoverWorld,
    Ints,
    utility,
)
from wirelesslab.network.tasks.task import begun, checked_choice, same_setting, vector_infos, vector_seeds

NAME = "wirelesslab/Handover-v0"  # what policies trained for it are of; PettingZoo keeps no register
MEANING = "a place among the cells that the user reports, 0 is the one that serves it"

Row = NDArray[np.float32]
Seen = dict[str, NDArray[Any]]


def spaces_of(setting: HandoverSetting) -> tuple[Box, Discrete]:
    """Return what an agent sees and what it may do."""
    shape = (setting.candidates, len(FEATURES))
    low, high = (np.broadcast_to(np.array(ends, np.float32), shape).copy() for ends in (LOW, HIGH))
    return Box(low, high, shape, np.float32), Discrete(setting.candidates)


def _of(setting: HandoverSetting) -> dict[str, str]:
    return {"setting": repr(setting)}


def outcome(got: Mapping[str, Floats]) -> tuple[Floats, dict[str, Floats], dict[str, Floats]]:
    """Return rewards, their parts, and costs, shape (users,) each."""
    whole, rate = utility(got["whole_bps"]), utility(got["rate_bps"])
    costs = {"below 1 Mb/s": (got["rate_bps"] < 1e6).astype(float), "ping-pong": got["returned"]}
    return rate, {"rate": whole, "interruption": rate - whole}, costs


class Handover(ParallelEnv[str, Seen, int]):  # type: ignore[misc]
    """Users walk among cells; each chooses the one that serves it.

    The decision process (a Markov game with one agent for each user, all paid alike for what they get themselves):

    * State: positions and ways of all users, their shadowing, serving cells, times since their last change.
    * Observation of an agent: the ``action_mask``, and under ``observation``, shape (candidates, features), a row for
      each cell that it reports, its own first:
      ``margin_db`` measured power over that of its own cell; ``sinr_db`` from the measured powers of the reported
      cells; ``users`` that the cell tells (see `HandoverSetting.source`); ``serving`` 1 in its own row; ``since_s``
      seconds since its last change, at most 10; ``left_last`` 1 for the cell that it left last; ``allowed``: the
      action mask, which is also in the infos. Bounds: `LOW` and `HIGH`.
    * Action: the place of a cell among the rows. Agents take turns: out of turn only 0, staying, is
      allowed, and another wish is not heard.
    * Transition: changes happen at once and cost `interruption_s` of the step; every cell divides its time evenly
      among its users; then all walk on for `step_s`.
    * Reward of an agent: ln(rate / 1 Mb/s), at least ln 0.01; ``infos[agent]["reward"]`` tells the "rate" that it
      would have had without and what the "interruption" took. Costs: below 1 Mb/s, ping-pong.
    * Horizon: `horizon` steps, then truncated; a discount of 0.9 looks some steps ahead.

    Args:
        setting: Cells, users, radio.

    Examples:
        >>> env = Handover(HandoverSetting(users=5))
        >>> observations, infos = env.reset(seed=7)
        >>> _ = env.step(dict.fromkeys(env.agents, 0))
        >>> observations["user-1"]["observation"].shape
        (4, 7)
    """

    metadata = {"name": "handover_v0", "render_modes": []}  # noqa: RUF012 - as PettingZoo has it

    def __init__(self, setting: HandoverSetting | None = None) -> None:
        self.setting = setting or HandoverSetting()
        self.possible_agents = [f"user-{i + 1}" for i in range(self.setting.users)]
        self.agents: list[str] = []
        self.render_mode = None
        spaces = [spaces_of(self.setting) for _ in self.possible_agents]
        self.observation_spaces = {
            a: Dict({"observation": rows, "action_mask": MultiBinary(self.setting.candidates)})
            for a, (rows, _) in zip(self.possible_agents, spaces, strict=True)
        }
        self.action_spaces = {a: done for a, (_, done) in zip(self.possible_agents, spaces, strict=True)}
        self._rng, _ = seeding.np_random()
        self._world: HandoverWorld | None = None

    def observation_space(self, agent: str) -> Dict:
        """Return what an agent sees; the same object always."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        """Return what an agent may do; the same object always."""
        return self.action_spaces[agent]

    def reset(
        self,
        seed: int | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[dict[str, Seen], dict[str, dict[str, Any]]]:
        """Begin an episode: of that seed, or of the next of the environment's own stream."""
        if seed is not None:
            self._rng, _ = seeding.np_random(seed)
        self._world = HandoverWorld(self.setting, int(self._rng.integers(2**31)) if seed is None else int(seed))
        self.agents = list(self.possible_agents)
        masks = self._world.masks()
        return self._seen(), {a: {"action_mask": masks[i]} for i, a in enumerate(self.agents)}

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Seen], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Let every agent choose and a step pass.

        Raises:
            ValueError: An agent's action is missing, or none of its choices; nothing has happened.
            RuntimeError: There is no episode.
        """
        world = self._opened()
        if not self.agents:
            msg = "step: the episode is over, expected reset first"
            raise RuntimeError(msg)
        odd = sorted(set(actions) ^ set(self.agents))
        if odd:
            msg = f"actions: got {len(actions)} that miss or add {odd[:3]}, expected one for each of env.agents"
            raise ValueError(msg)
        choices = np.array(
            [checked_choice(actions[a], self.setting.candidates, f"{a}: {MEANING}") for a in self.agents]
        )
        rewards, parts, costs = outcome(world.step(choices))
        over = world.step_number >= self.setting.horizon
        seen, masks, agents = self._seen(), world.masks(), self.agents
        infos: dict[str, dict[str, Any]] = {
            a: {
                "action_mask": masks[i],
                "reward": {name: float(values[i]) for name, values in parts.items()},
                "cost": {name: float(values[i]) for name, values in costs.items()},
            }
            for i, a in enumerate(agents)
        }
        if over:
            self.agents = []
        paid = {a: float(rewards[i]) for i, a in enumerate(agents)}
        return seen, paid, dict.fromkeys(agents, False), dict.fromkeys(agents, over), infos

    def _seen(self) -> dict[str, Seen]:
        rows, masks = self._opened().observations(), self._opened().masks()
        return {a: {"observation": rows[i], "action_mask": masks[i]} for i, a in enumerate(self.possible_agents)}

    def _opened(self) -> HandoverWorld:
        return begun(self._world)

    def snapshot(self) -> dict[str, Any]:
        """Return the whole state as plain data."""
        world = self._opened().snapshot()
        return {
            "of": _of(self.setting),
            "world": world,
            "agents": list(self.agents),
            "rng": self._rng.bit_generator.state,
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from what was written down, to the last bit.

        Raises:
            ValueError: It is of another setting.
        """
        same_setting(snapshot, _of(self.setting))
        self._world = HandoverWorld.restored(self.setting, snapshot["world"])
        self.agents = list(snapshot["agents"])
        self._rng.bit_generator.state = snapshot["rng"]


class HandoverUsers(VectorEnv[Row, Ints, NDArray[Any]]):
    """All users of several worlds as one vector, so that one policy can be trained from what they all live through.

    World w is seeded with seed + w; its users stand side by side. Episodes end together and begin anew in the same
    step.

    Args:
        num_worlds: Worlds.
        setting: Of each.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012 - as Gymnasium has it

    def __init__(self, num_worlds: int = 4, setting: HandoverSetting | None = None) -> None:
        check.positive_integer(num_worlds=num_worlds)
        self.setting = setting or HandoverSetting()
        self.num_worlds, self.num_envs = num_worlds, num_worlds * self.setting.users
        self.single_observation_space, self.single_action_space = spaces_of(self.setting)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = MultiDiscrete(np.full(self.num_envs, self.setting.candidates))
        self.worlds: list[HandoverWorld] = []

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> tuple[Row, dict[str, Any]]:
        """Begin an episode in every world; a whole number seeds world w with seed + w, a list each with its own."""
        seeds = vector_seeds(self, seed, self.num_worlds, "worlds")
        self.worlds = [HandoverWorld(self.setting, one) for one in seeds]
        return self._seen(), self._mask_infos()

    def step(self, actions: Any) -> tuple[Row, Floats, NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]:
        """Let every user of every world choose and a step pass.

        Raises:
            ValueError: Another shape, or none of the choices; nothing has happened.
        """
        chosen = np.asarray(actions)
        if chosen.shape != (self.num_envs,) or not np.issubdtype(chosen.dtype, np.integer):
            msg = (
                f"actions: got {chosen.dtype} of shape {chosen.shape}, expected whole numbers of shape "
                f"({self.num_envs},): {MEANING}"
            )
            raise ValueError(msg)
        for place in np.flatnonzero((chosen < 0) | (chosen >= self.setting.candidates)):
            checked_choice(chosen[place], self.setting.candidates, f"user {place}: {MEANING}")
        begun(self.worlds or None)
        parts = np.split(chosen.astype(np.int64), self.num_worlds)
        got = [world.step(part) for world, part in zip(self.worlds, parts, strict=True)]
        rewards, told, costs = outcome({name: np.concatenate([g[name] for g in got]) for name in got[0]})
        over = self.worlds[0].step_number >= self.setting.horizon
        truncated = np.full(self.num_envs, over)
        last_told = {"reward": told, "cost": costs}
        infos = {} if over else vector_infos(last_told, ~truncated)
        if over:
            last = np.empty(self.num_envs, object)
            last[:] = list(self._seen())
            final = vector_infos(last_told | {"action_mask": self._masks()}, truncated)
            infos |= {"final_obs": last, "_final_obs": truncated, "final_info": final, "_final_info": truncated}
            first = int(self.np_random.integers(2**30))
            self.worlds = [HandoverWorld(self.setting, first + w) for w in range(self.num_worlds)]
        infos |= self._mask_infos()
        return self._seen(), rewards, np.zeros(self.num_envs, bool), truncated, infos

    def _seen(self) -> Row:
        return np.concatenate([world.observations() for world in self.worlds])

    def _mask_infos(self) -> dict[str, Any]:
        return vector_infos({"action_mask": self._masks()}, np.ones(self.num_envs, bool))

    def _masks(self) -> NDArray[np.int8]:
        return np.concatenate([world.masks() for world in self.worlds])

    def snapshot(self) -> dict[str, Any]:
        """Return all that changes, as plain data."""
        worlds = [world.snapshot() for world in begun(self.worlds or None)]
        return {"of": self._of(), "worlds": worlds, "np_random": self.np_random.bit_generator.state}

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Go on from a snapshot of as many worlds of the same setting, to the last bit.

        Raises:
            ValueError: It is of another setting, or of more or fewer worlds.
        """
        same_setting(snapshot, self._of())
        self.worlds = list(map(partial(HandoverWorld.restored, self.setting), snapshot["worlds"]))
        self.np_random.bit_generator.state = snapshot["np_random"]

    def _of(self) -> dict[str, str]:
        return _of(self.setting) | {"worlds": str(self.num_worlds)}
