"""What the tasks about sync rates have in common: who is mirrored, what is seen, and how actions become rates."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.sync_rates import (
    AGE,
    FEATURES,
    HEARD,
    HIGHEST_DB,
    LOWEST_DB,
    OLDEST_S,
    RATE,
    STRAYING,
    SyncInterface,
    rates_of,
)

__all__ = [
    "AGE", "CHARGES", "FEATURES", "HEARD", "HIGHEST_DB", "LOWEST_DB", "OLDEST_S", "RATE", "STRAYING", "Charge",
    "SyncSetting",
]  # fmt: skip

Charge = Literal["ages", "expected ages"]
CHARGES: tuple[Charge, ...] = ("ages", "expected ages")


@dataclass(frozen=True, kw_only=True)
class SyncSetting:
    """N things wander; each has a twin, whose mean squared error is the thing's weight times the twin's age.

    Attributes:
        num_twins: N.
        sigma: Spread of the weights' logarithms; they are lognormal of median 1 m^2/s, drawn for each episode, and
            never shown.
        budget_per_s: What the sync rates of all twins add up to. The default is one a second for each.
        step_s: For how long rates hold until they are set anew.
        num_steps: Of an episode, which then is cut off.
        spread: The greatest rate that can be set is so many times the least.
        memory: By what each measured straying counts less with each later one.
        old_s: A twin that is older than this is counted in ``info["cost"]``.
        charge: What the reward charges: the ages that came about, or those to be expected of the rates set, given the
            ages at the step's beginning, which are less noisy: for training in the reduced model alone.
    """

    num_twins: int = 16
    sigma: float = 1.0
    budget_per_s: float = 16.0
    step_s: float = 0.25
    num_steps: int = 960
    spread: float = 1000.0
    memory: float = 0.97
    old_s: float = 10.0
    charge: Charge = "ages"

    def __post_init__(self) -> None:
        check.positive_integer(num_twins=self.num_twins, num_steps=self.num_steps)
        check.within(0, math.inf, sigma=self.sigma)
        check.positive(budget_per_s=self.budget_per_s, step_s=self.step_s, old_s=self.old_s)
        check.within(0, 1, memory=self.memory)
        check.one_of(CHARGES, charge=self.charge)
        _ = self.interface

    @property
    def interface(self) -> SyncInterface:
        """Through which a policy of the task sees and acts in a running network."""
        return SyncInterface(num_twins=self.num_twins, budget_per_s=self.budget_per_s, spread=self.spread)

    @property
    def observations(self) -> Box:
        """A row of `FEATURES` for each twin, shape (num_twins, 4), float32."""
        most_heard = min(1 / (1 - self.memory) if self.memory < 1 else math.inf, 1e6)
        low = np.array([0.0, 0.0, LOWEST_DB, 0.0], np.float32)
        high = np.array([OLDEST_S, self.budget_per_s, HIGHEST_DB, most_heard * 1.001], np.float32)
        rows = (self.num_twins, 1)
        return Box(np.tile(low, rows), np.tile(high, rows), dtype=np.float32)

    @property
    def actions(self) -> Box:
        """A number in [0, 1] for each twin: see `rates_of`."""
        return Box(0.0, 1.0, (self.num_twins,), np.float32)

    def rates_of(self, actions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the rates that actions mean, shape (..., num_twins): see `agents.sync_rates.rates_of`."""
        return rates_of(actions, self.budget_per_s, self.spread)

    def actions_of(self, rates: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the actions that mean rates in these proportions, the middle of their range at 0.5.

        Where they differ by more than `spread`, the greatest and the least are cut.

        Args:
            rates: All above 0, shape (..., num_twins).
        """
        logs = np.log(np.asarray(rates, np.float64))
        middle = (logs.max(axis=-1, keepdims=True) + logs.min(axis=-1, keepdims=True)) / 2
        return np.asarray(np.clip(0.5 + (logs - middle) / math.log(self.spread), 0.0, 1.0))
