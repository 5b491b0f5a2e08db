"""AISlice for learners of one numbered choice: what is seen in logarithms, and all triples counted through."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray

from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.task import checked_choice

LEAST, MOST = 1.0, 12.0  # what is shown as a logarithm is at least that; and no logarithm exceeds this

MEANING = "a triple of batch, coder and edge node, counted through"


def features(observation: NDArray[np.float32], edges: int) -> NDArray[np.float32]:
    """Return what is seen of a job without units: parts as they are, times in hours, scales and rates in powers of ten.

    Args:
        observation: Of `AISlice`, shape (..., 6 + 3 edges).
        edges: Edge nodes.

    Returns:
        The same shape.
    """
    result = np.array(observation, np.float32)
    result[..., [1, 2, -1]] /= 3600.0
    for part in (slice(3, 5), slice(5 + edges, 5 + 3 * edges)):
        scale = 1e-6 if part.start == 3 else 1.0
        result[..., part] = np.log10(np.maximum(result[..., part], scale))
    return np.clip(result, -MOST, MOST)


class AISliceChoices(gymnasium.Wrapper[NDArray[np.float32], Any, NDArray[np.float32], Any]):
    """`AISlice` with `features` to see and one number to choose; state, rewards and horizon are its own.

    Args:
        env: The task.
        lean: Whether `info` is empty, as training needs.
    """

    remembers_nothing = True  # so that a checkpoint of what is within is one of the whole

    def __init__(self, env: AISlice, *, lean: bool = False) -> None:
        super().__init__(env)
        self.lean, self._edges = lean, env.config.edges
        self._sizes = tuple(int(n) for n in env.action_space.nvec)  # type: ignore[attr-defined]
        shape = env.observation_space.shape
        self.observation_space = Box(-MOST, MOST, shape, np.float32)
        self.action_space = Discrete(int(np.prod(self._sizes)))

    def choice(self, number: int) -> NDArray[np.int64]:
        """Return the triple (batch, coder, edge) of a number.

        Raises:
            ValueError: It is none of the numbers.
        """
        chosen = checked_choice(number, int(np.prod(self._sizes)), MEANING)
        return np.array(np.unravel_index(chosen, self._sizes), np.int64)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """See `AISlice.reset`."""
        observation, info = self.env.reset(seed=seed, options=options)
        return features(observation, self._edges), {} if self.lean else info

    def step(self, action: int) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """See `AISlice.step`."""
        observation, reward, terminated, truncated, info = self.env.step(self.choice(action))
        return features(observation, self._edges), reward, terminated, truncated, {} if self.lean else info


def with_choices(**settings: Any) -> AISliceChoices:
    """Return `AISlice` by numbered choices, as learners want it; `settings` are those of `AISlice`."""
    return AISliceChoices(AISlice(**settings))
