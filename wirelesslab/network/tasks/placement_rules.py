"""Rules that place services without learning: at random, near, where it is empty, where it just fits."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.tasks.placement import Observation
from wirelesslab.rng import stream


class Rule(Protocol):
    """Chooses an action from what is seen."""

    def __call__(self, observation: Observation, info: Mapping[str, Any], /) -> int:
        """Return the number of a host, or the number of hosts to refuse."""
        ...


def _best(observation: Observation, preference: NDArray[np.floating]) -> int:
    """Return the allowed host that is preferred most, the first among equals; refuse if none is allowed."""
    allowed = observation["action_mask"][:-1] == 1
    if not allowed.any():
        return int(allowed.size)
    return int(np.argmax(np.where(allowed, preference, -np.inf)))


def nearest_feasible(observation: Observation, info: Mapping[str, Any]) -> int:
    """Return the allowed host of least delay."""
    del info
    return _best(observation, -observation["ways"][:, 0])


def least_loaded(observation: Observation, info: Mapping[str, Any]) -> int:
    """Return the allowed host of which the largest share is seen as free."""
    del info
    nodes = observation["nodes"][observation["hosts"]]
    return _best(observation, nodes[:, 2] / nodes[:, 1])


def best_fit(observation: Observation, info: Mapping[str, Any]) -> int:
    """Return the allowed host that is left with the fewest free operations per second, as seen."""
    del info
    return _best(observation, -observation["nodes"][observation["hosts"], 2])


class RandomFeasible:
    """Any allowed host, all alike; refuses only what fits nowhere.

    Args:
        seed: Of its draws, a stream of their own.
    """

    def __init__(self, seed: int = 0) -> None:
        self._rng = stream(seed, "placement", "random rule")

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> int:
        """See `Rule`."""
        del info
        return _best(observation, self._rng.random(observation["hosts"].size))


RULES: Mapping[str, Rule] = {
    "nearest feasible": nearest_feasible,
    "least loaded": least_loaded,
    "best fit": best_fit,
}
"""Rules without a memory; `RandomFeasible` has one."""
