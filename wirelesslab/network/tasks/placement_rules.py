"""Rules that place services without learning: at random, near, where it is empty, where it just fits."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
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


class KeepsRoom:
    """Far what may be far, and a margin at near hosts for what must be near: trunk reservation for placing.

    A service that could be anywhere in time goes to the allowed host of most operations per second in all; if that
    is full, to the emptiest one of the others that keeps `margin` of itself free. What must be near goes to the
    nearest.

    Args:
        margin: Share of a host. The default is the best of 0, 0.2, 0.4 and 0.6 (loads 0.4 to 1.0).
    """

    def __init__(self, margin: float = 0.2) -> None:
        check.within(0, 1, margin=margin)
        self.margin = margin

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> int:
        """See `Rule`."""
        delays_s, mask = observation["ways"][:, 0], observation["action_mask"]
        operations_per_s, _, bound_s, _, _ = observation["service"]
        if (delays_s > bound_s).any():
            return nearest_feasible(observation, info)
        nodes = observation["nodes"][observation["hosts"]]
        largest = int(nodes[:, 1].argmax())
        if mask[largest]:
            return largest
        left = (nodes[:, 2] - operations_per_s) / nodes[:, 1]
        allowed = (mask[:-1] == 1) & (left >= self.margin)
        return int(np.argmax(np.where(allowed, left, -np.inf))) if allowed.any() else int(mask.size - 1)


RULES: Mapping[str, Rule] = {
    "nearest feasible": nearest_feasible,
    "least loaded": least_loaded,
    "best fit": best_fit,
    "keeps room": KeepsRoom(),
}
"""Rules without a memory; `RandomFeasible` has one."""
