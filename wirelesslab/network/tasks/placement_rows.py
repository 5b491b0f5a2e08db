"""A placement as rows, one for each action: what a net that is shared by all rows needs, whatever the topology."""

from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from wirelesslab.network.tasks.placement import Observation, Placement

FEATURES = (
    "refuses", "allowed", "delay over bound", "links on the way", "share over all of the host",
    "free over all of the host", "free share left at the host", "shares that fit the host, log",
    "shares that fit the way, log", "value", "mean free share of hosts that are near",
    "mean free share of the other hosts", "allowed hosts", "bound, log s",
)  # fmt: skip
"""Columns of `rows`; none has a unit, and none depends on how many nodes there are."""

NEAR_HOPS = 2.5  # up to so many links away a host is near: the gNB's own edge and that one's neighbours
MOST = 10.0  # rows are within -MOST and MOST


def rows(observation: Observation) -> NDArray[np.float32]:
    """Return what is seen of a placement as one row for each action, the last for refusing.

    The columns are `FEATURES`. The last five say the same in each row: what the service is and how full the
    network is. Everything comes from the observation, so that aged free rates make aged rows.

    Args:
        observation: Of `Placement`, any topology.

    Returns:
        Shape (hosts + 1, len(FEATURES)).
    """
    hosts = observation["hosts"]
    room, free = observation["nodes"][hosts, 1], observation["nodes"][hosts, 2]
    delay_s, links, way_bps = observation["ways"].T
    operations_per_s, bps, bound_s, value, _ = observation["service"]
    mask = observation["action_mask"]
    table = np.zeros((hosts.size + 1, len(FEATURES)), np.float32)
    table[-1, 0] = 1.0
    table[:, 1] = mask
    body = table[:-1]
    body[:, 2] = np.minimum(delay_s / bound_s, 2.0)
    body[:, 3] = links / 4
    body[:, 4] = np.minimum(operations_per_s / room, 2.0)
    body[:, 5] = free / room
    body[:, 6] = np.maximum((free - operations_per_s) / room, -1.0)
    body[:, 7] = np.log1p(free / operations_per_s) / 3
    body[:, 8] = np.log1p(way_bps / bps) / 3
    near = links < NEAR_HOPS
    share = free / room
    table[:, 9] = value / 10
    table[:, 10] = share[near].mean() if near.any() else 0.0
    table[:, 11] = share[~near].mean() if not near.all() else 0.0
    table[:, 12] = mask[:-1].mean()
    table[:, 13] = np.log10(bound_s) / 3
    return np.clip(table, -MOST, MOST)


class PlacementRows(gymnasium.ObservationWrapper[NDArray[np.float32], int, Observation]):
    """`Placement` whose observation is `rows`; state, actions, rewards and horizon are its own.

    Args:
        env: The placement.
        lean: Whether `info` keeps nothing but the action mask, as training needs.
    """

    remembers_nothing = True  # so that a checkpoint of what is within is one of the whole

    def __init__(self, env: Placement, *, lean: bool = False) -> None:
        super().__init__(env)
        self.lean = lean
        self.observation_space = Box(-MOST, MOST, (len(env.hosts) + 1, len(FEATURES)), np.float32)

    def observation(self, observation: Observation) -> NDArray[np.float32]:
        """Return the rows."""
        return rows(observation)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """See `Placement.reset`."""
        observation, info = super().reset(seed=seed, options=options)
        return observation, self._kept(info)

    def step(self, action: int) -> tuple[NDArray[np.float32], SupportsFloat, bool, bool, dict[str, Any]]:
        """See `Placement.step`."""
        observation, reward, terminated, truncated, info = super().step(action)
        return observation, reward, terminated, truncated, self._kept(info)

    def _kept(self, info: dict[str, Any]) -> dict[str, Any]:
        return {"action_mask": info["action_mask"]} if self.lean else info


def with_rows(**settings: Any) -> PlacementRows:
    """Return `Placement` by its rows, as learners want it; `settings` are those of `Placement`."""
    return PlacementRows(Placement(**settings))
