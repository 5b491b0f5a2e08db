"""Rules of SliceAlloc over the same observation as learners: plans of agents, and max-weight where queues are seen.

A rule is called ``rule(observation, info) -> action``; by its `task` and `act` it plugs into a running network as a
trained policy does: ``Agent(LearnedPolicy(rule, interface))``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.agents.interfaces import ShareInterface
from wirelesslab.network.agents.plans import (
    ConvexShares,
    MaxMinShares,
    Plan,
    ProportionalShares,
    SquareRootShares,
    StaticShares,
)

Floats = NDArray[np.float64]
ID = "wirelesslab/SliceAlloc-v0"


@dataclass(frozen=True)
class PlanRule:
    """What a plan of agents would do, for the mean loads that are seen; the same shares in every domain.

    Attributes:
        plan: From loads to shares; it is told loads as parts of a capacity of 1 (``capacity_bps=1.0``), of one window.
        interface: Of the task.
        memory: Which of the interface's means of loads it is told, from 0.
        task: Of whose policies it takes the place.
    """

    plan: Plan
    interface: ShareInterface
    memory: int = 0
    task: str = ID

    def __post_init__(self) -> None:
        check.within(0, len(self.interface.memory) - 1, memory=self.memory)

    def act(self, observation: ArrayLike) -> Floats:
        """Return the answer to an observation of shape (rows, features)."""
        count = len(self.interface.slices)
        loads = np.asarray(observation, float)[:count, self.memory]
        shares = self.plan.shares(loads[None], 0)
        if shares is None or np.shape(shares) != (count,):
            msg = f"plan: {self.plan!r} gave {shares}, expected a share for each of {list(self.interface.slices)}"
            raise ValueError(msg)
        return self.interface.answer(shares)

    def __call__(self, observation: ArrayLike, info: Mapping[str, Any] | None = None) -> Floats:
        """Return the action."""
        del info
        return self.act(observation)


@dataclass(frozen=True)
class MaxWeightRule:
    """Everything above the least share to the longest queue, by weighted bytes; equal shares while nothing waits.

    References:
        Tassiulas and Ephremides, IEEE Trans. Autom. Control 37(12), 1992; see `agents.rules.MaxWeight`.

    Attributes:
        interface: Of the task; it must show queues.
        weights: One for each slice; () weighs all alike.
        task: Of whose policies it takes the place.
    """

    interface: ShareInterface
    weights: tuple[float, ...] = ()
    task: str = ID

    def __post_init__(self) -> None:
        if "queues" not in self.interface.shows:
            msg = f"interface: shows {self.interface.features}, expected queues too; max-weight decides by them"
            raise ValueError(msg)
        if self.weights and len(self.weights) != len(self.interface.slices):
            msg = f"weights: got {len(self.weights)}, expected one for each of {list(self.interface.slices)}"
            raise ValueError(msg)

    def act(self, observation: ArrayLike) -> Floats:
        """Return the answer to an observation of shape (rows, features)."""
        count, column = len(self.interface.slices), self.interface.features.index("queues")
        waiting = np.asarray(observation, float)[:count, column] * np.array(self.weights or (1.0,) * count)
        chosen = np.arange(count) == np.argmax(waiting) if waiting.any() else np.ones(count, bool)
        return np.tile(chosen.astype(float), len(self.interface.domains))

    def __call__(self, observation: ArrayLike, info: Mapping[str, Any] | None = None) -> Floats:
        """Return the action."""
        del info
        return self.act(observation)


@dataclass(frozen=True)
class LateRule:
    """Shares in proportion to load, and more for who is late: load over all loads, plus the share that was late.

    Our choice of a simple feedback where square roots do not apply, since capacities are not known.

    Attributes:
        interface: Of the task; it must show what is late.
        start: What every slice counts as, so that none is left with the least share alone.
        task: Of whose policies it takes the place.
    """

    interface: ShareInterface
    start: float = 0.1
    task: str = ID

    def __post_init__(self) -> None:
        check.within(0, 1, start=self.start)
        if "late" not in self.interface.shows:
            msg = f"interface: shows {self.interface.features}, expected what is late too; this rule decides by it"
            raise ValueError(msg)

    def act(self, observation: ArrayLike) -> Floats:
        """Return the answer to an observation of shape (rows, features)."""
        seen, features = np.asarray(observation, float), self.interface.features
        load, every = seen[:, 0], seen[:, len(self.interface.memory)]
        parts = np.divide(load, every, out=np.zeros_like(load), where=every > 0)
        late = seen[:, features.index("late")]
        return np.asarray(np.minimum((self.start + parts + late) / (2 + self.start), 1.0))

    def __call__(self, observation: ArrayLike, info: Mapping[str, Any] | None = None) -> Floats:
        """Return the action."""
        del info
        return self.act(observation)


def rules_of(interface: ShareInterface, memory: int = 0) -> dict[str, PlanRule | MaxWeightRule]:
    """Return the rules by name; max-weight where queues are seen."""
    equal = StaticShares(shares_of_slices=(1 / len(interface.slices),) * len(interface.slices))
    plans: dict[str, Plan] = {
        "static": equal,
        "proportional": ProportionalShares(least=0.0),
        "max-min": MaxMinShares(capacity_bps=1.0, least=0.0),
        "square root": SquareRootShares(capacity_bps=1.0, least=0.0),
        "convex": ConvexShares(capacity_bps=1.0, least=0.0),
    }
    rules: dict[str, PlanRule | MaxWeightRule] = {
        name: PlanRule(plan, interface, memory) for name, plan in plans.items()
    }
    if "queues" in interface.shows:
        rules["max-weight"] = MaxWeightRule(interface)
    return rules
