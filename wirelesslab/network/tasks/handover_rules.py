"""Baselines of the task `Handover`, how policies are trained for it, and how all are judged.

Each rule answers many users at once, ``act_many(observations, masks)``, as a trained policy does.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.learners.policies import Trained
from wirelesslab.network.learners.ppo import PPO
from wirelesslab.network.learners.training import train
from wirelesslab.network.radio import Shannon
from wirelesslab.network.tasks.handover import NAME, HandoverUsers, outcome
from wirelesslab.network.tasks.handover_world import FEATURES, Floats, HandoverSetting, HandoverWorld, Ints
from wirelesslab.rng import stream

MARGIN, SINR, USERS, SERVING = (FEATURES.index(name) for name in ("margin_db", "sinr_db", "users", "serving"))
MARGINS_DB = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
GAINS = (0.1, 0.2, 0.4, 0.8, 1.2, 1.6)
LEARNER = PPO(
    discount=0.9
)  # better than 0.95 with more entropy, in one training each, on episodes of seeds 1000 to 1005

Masks = NDArray[Any]


class UserRule(Protocol):
    """Chooses cells: a baseline, or a trained policy."""

    def act_many(self, observations: NDArray[Any], masks: Masks | None = None) -> NDArray[Any]:
        """Return the place of the cell that each user chooses, shape (users,)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Strongest:
    """Event A3 without waiting: to the strongest cell, once it is better than one's own by a margin.

    Attributes:
        margin_db: How much better. Users look when it is their turn, which is its time to trigger.

    References:
        3GPP TS 38.331, 5.5.4.4.
    """

    margin_db: float = 3.0

    def act_many(self, observations: NDArray[Any], masks: Masks | None = None) -> Ints:
        """See `UserRule`."""
        margins = np.where(_allowed(observations, masks), observations[..., MARGIN], -np.inf)
        best = margins.argmax(axis=1)
        better = np.take_along_axis(margins, best[:, None], 1)[:, 0] > self.margin_db
        return np.asarray(np.where(better, best, 0), np.int64)


@dataclass(frozen=True, kw_only=True)
class BestRate:
    """To the cell that promises the best rate: what the measured SINR carries, over its users and oneself.

    Attributes:
        gain: How much better its logarithm must be than one's own.
    """

    gain: float = 0.2

    def act_many(self, observations: NDArray[Any], masks: Masks | None = None) -> Ints:
        """See `UserRule`."""
        efficiency = Shannon().spectral_efficiency(10 ** (observations[..., SINR] / 10.0))
        users = observations[..., USERS] + (1 - observations[..., SERVING])
        promised = np.log(np.maximum(efficiency, 1e-3) / np.maximum(users, 1.0))
        promised = np.where(_allowed(observations, masks), promised, -np.inf)
        best = promised.argmax(axis=1)
        better = np.take_along_axis(promised, best[:, None], 1)[:, 0] > promised[:, 0] + self.gain
        return np.asarray(np.where(better, best, 0), np.int64)


class AnyCell:
    """Any cell that is allowed, all alike.

    Args:
        seed: Of its choices.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = stream(seed, "any cell")

    def act_many(self, observations: NDArray[Any], masks: Masks | None = None) -> Ints:
        """See `UserRule`."""
        allowed = _allowed(observations, masks)
        return np.asarray(np.where(allowed, self._rng.random(allowed.shape), -1.0).argmax(axis=1), np.int64)


def _allowed(observations: NDArray[Any], masks: Masks | None) -> NDArray[np.bool_]:
    return np.asarray(observations[..., -1] > 0 if masks is None else np.asarray(masks) > 0)


class Served(NamedTuple):
    """What users got, by seed, shape (seeds,): means over users and steps.

    Attributes:
        utility: ln(rate / 1 Mb/s).
        rate_bps: Rate.
        handovers_per_s: Changes of a user.
        ping_pongs_per_s: Those back to the cell left less than a second ago.
    """

    utility: Floats
    rate_bps: Floats
    handovers_per_s: Floats
    ping_pongs_per_s: Floats


def served(rule: UserRule, setting: HandoverSetting, seeds: Sequence[int]) -> Served:
    """Return what a rule or policy gives its users in one episode for each seed; equal seeds meet the same ways."""
    rows = []
    for seed in seeds:
        world, found = HandoverWorld(setting, seed), []
        for _ in range(setting.horizon):
            seen, masks = world.observations(), world.masks()
            got = world.step(np.asarray(rule.act_many(seen, masks), np.int64))
            rewards, _, _ = outcome(got)
            found.append([rewards.mean(), *(got[n].mean() for n in ("rate_bps", "changed", "returned"))])
        rows.append(np.mean(found, axis=0) / [1, 1, setting.step_s, setting.step_s])
    return Served(*np.array(rows).T)


def tuned(
    make: Callable[[float], UserRule], values: Sequence[float], setting: HandoverSetting, seeds: Sequence[int]
) -> UserRule:
    """Return the rule whose number serves best in validation episodes."""
    scores = [served(make(value), setting, seeds).utility.mean() for value in values]
    return make(values[int(np.argmax(scores))])


@dataclass(frozen=True, kw_only=True)
class HandoverTraining:
    """How a policy of `Handover` is trained.

    Attributes:
        learner: Rows of a net shared by all users.
        steps: User steps.
        num_worlds: Side by side.
    """

    learner: PPO = LEARNER
    steps: int = 600_000
    num_worlds: int = 8

    def __post_init__(self) -> None:
        check.positive_integer(steps=self.steps, num_worlds=self.num_worlds)


def trained(how: HandoverTraining, setting: HandoverSetting, seed: int) -> Trained:
    """Return a policy that every user can follow."""
    return train(how.learner, HandoverUsers(how.num_worlds, setting), steps=how.steps, seed=seed, task=NAME)
