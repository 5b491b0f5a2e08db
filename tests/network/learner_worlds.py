"""Tiny environments whose best policy is known, for tests of learners."""

from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

SLIP = 0.2
NEAR, FAR = 0.8, 1.0  # rewards for pushing on at the left and at the right end


class Chain(VectorEnv):
    """Five places in a row, steps to the left (0) or right (1) that slip now and then, a reward at either end.

    Args:
        num_envs: Chains side by side.
        horizon: Steps after which an episode is truncated.
        same_step: How it begins anew.
        tells: Whether it can tell its state.
        masked: Forbid one of three choices, the third of which stays, at random in every step; refuse it when chosen.
    """

    def __init__(
        self, num_envs: int = 8, *, horizon: int = 25, same_step: bool = True, tells: bool = True, masked: bool = False
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP if same_step else AutoresetMode.NEXT_STEP}
        self.num_envs, self.horizon, self.same_step, self.masked = num_envs, horizon, same_step, masked
        self.single_observation_space = Box(0, 1, (5,), np.float32)
        self.single_action_space = Discrete(3 if masked else 2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        if tells:
            self.snapshot, self.restore = self._snapshot, self._restore

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        del options
        self.rng = np.random.default_rng(seed)
        self.places = self.rng.integers(5, size=self.num_envs)
        self.ages = np.zeros(self.num_envs, int)
        self.ended = np.zeros(self.num_envs, bool)
        return self.seen(), self.infos()

    def seen(self):
        return np.eye(5, dtype=np.float32)[self.places]

    def infos(self):
        if not self.masked:
            return {}
        self.mask = np.ones((self.num_envs, 3), np.int8)
        self.mask[np.arange(self.num_envs), self.rng.integers(3, size=self.num_envs)] = 0
        return {"action_mask": self.mask.copy()}

    def step(self, actions):
        if self.masked and not self.mask[np.arange(self.num_envs), actions].all():
            msg = "a forbidden action was chosen"
            raise ValueError(msg)
        began = self.ended.copy()
        slipped = self.rng.random(self.num_envs) < SLIP
        going = np.where(actions == 2, 0, np.where(slipped, -1, 1) * (2 * actions - 1))
        rewards = FAR * ((self.places == 4) & (actions == 1)) + NEAR * ((self.places == 0) & (actions == 0))
        self.places = np.clip(self.places + going, 0, 4)
        self.ages += 1
        anew = self.rng.integers(5, size=self.num_envs)
        self.places[began], self.ages[began], rewards[began] = anew[began], 0, 0.0
        truncated = self.ages >= self.horizon
        infos = {}
        if self.same_step and truncated.any():
            infos = {"final_obs": np.full(self.num_envs, None, object), "_final_obs": truncated.copy()}
            for i in np.flatnonzero(truncated):
                infos["final_obs"][i] = self.seen()[i]
            self.places[truncated], self.ages[truncated] = anew[truncated], 0
        else:
            self.ended = truncated.copy()
        return self.seen(), rewards.astype(float), np.zeros(self.num_envs, bool), truncated, infos | self.infos()

    def _snapshot(self):
        mask = self.mask.copy() if self.masked else None
        parts = (self.places.copy(), self.ages.copy(), self.ended.copy(), mask)
        return {"rng": self.rng.bit_generator.state, "parts": parts}

    def _restore(self, snapshot):
        self.rng = np.random.default_rng(0)
        self.rng.bit_generator.state = snapshot["rng"]
        parts = [None if part is None else part.copy() for part in snapshot["parts"]]
        self.places, self.ages, self.ended = parts[:3]
        if self.masked:
            self.mask = parts[3]


def chain_values(going_right: Any, discount: float) -> np.ndarray[Any, Any]:
    """Return what each place of an endless `Chain` is worth, exactly, by the probability of going right in each."""
    moves = np.zeros((2, 5, 5))
    for action in range(2):
        for place in range(5):
            for slipped in range(2):
                going = (2 * action - 1) * (1 - 2 * slipped)
                moves[action, place, np.clip(place + going, 0, 4)] += SLIP if slipped else 1 - SLIP
    rewards = np.zeros((2, 5))
    rewards[1, 4], rewards[0, 0] = FAR, NEAR
    law = np.stack([1 - np.asarray(going_right, float), np.asarray(going_right, float)])  # (action, place)
    step = np.einsum("ap,apq->pq", law, moves)
    return np.linalg.solve(np.eye(5) - discount * step, (law * rewards).sum(axis=0))


def best_of_chain(discount: float) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the best of all 32 policies, and its values."""
    policies = [[bits >> place & 1 for place in range(5)] for bits in range(32)]
    values = [chain_values(policy, discount) for policy in policies]
    best = int(np.argmax([v.sum() for v in values]))
    return np.array(policies[best]), values[best]


class Aim(VectorEnv):
    """Hit a mark that is told: one step is an episode; the reward is minus the squared miss, in units of the bounds.

    Args:
        num_envs: Marks at once.
        items: Rows of the observation, each with a mark of its own; 0 for one mark and no rows.
    """

    def __init__(self, num_envs: int = 16, items: int = 0) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs, self.items = num_envs, items
        shape = (items, 2) if items else (2,)
        self.single_observation_space = Box(-1000, 1000, shape, np.float32)
        self.single_action_space = Box(-1.0, 3.0, (max(items, 1),), np.float32)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        del options
        if seed is not None:
            self.rng = np.random.default_rng(seed)
        self.drawn = self.rng.uniform(size=(self.num_envs, max(self.items, 1), 2))
        return self.seen(), {}

    def seen(self):
        # units far from 1: a mark of 500 to 700, and a number that tells nothing
        told = self.drawn * (200, 1e-3) + (500, 0)
        return told.astype(np.float32).reshape(self.observation_space.shape)

    def marks(self):
        return 2.0 * self.drawn[..., 0]

    def step(self, actions):
        rewards = -(((actions - self.marks()) / 4) ** 2).mean(axis=1)
        before = self.seen()
        seen, _ = self.reset()
        ended, none = np.ones(self.num_envs, bool), np.zeros(self.num_envs, bool)
        return seen, rewards, ended, none, {"final_obs": before}

    def snapshot(self):
        return {"rng": self.rng.bit_generator.state, "drawn": self.drawn.copy()}

    def restore(self, snapshot):
        self.rng = np.random.default_rng(0)
        self.rng.bit_generator.state = snapshot["rng"]
        self.drawn = snapshot["drawn"].copy()
