"""Judge a policy by whole episodes."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.learners.policies import Trained
from wirelesslab.rng import stream

if TYPE_CHECKING:
    from gymnasium import Env

Floats = NDArray[np.float64]


def evaluate(
    policy: Trained | Callable[[Any, Mapping[str, Any]], Any], env: "Env[Any, Any]", *, episodes: int, seed: int
) -> Floats:
    """Return the returns of whole episodes, shape (episodes,).

    Args:
        policy: A trained policy, or a rule ``rule(observation, info) -> action``.
        env: One environment; with one seed every policy meets the same episodes, each seeded anew.
        episodes: How many.
        seed: Of the episodes; they differ from those of a training with the same seed.
    """
    check.positive_integer(episodes=episodes)
    returns = np.zeros(episodes)
    for number in range(episodes):
        seen, info = env.reset(seed=int(stream(seed, "evaluation episode", number).integers(2**31 - 1)))
        ended = False
        while not ended:
            if isinstance(policy, Trained):
                action = policy.act(seen, info.get("action_mask"))
                if not policy.interface.discrete:
                    action = np.reshape(action, env.action_space.shape or (-1,)).astype(env.action_space.dtype)
            else:
                action = policy(seen, info)
            seen, reward, terminated, truncated, info = env.step(action)
            returns[number] += float(reward)
            ended = terminated or truncated
    return returns
