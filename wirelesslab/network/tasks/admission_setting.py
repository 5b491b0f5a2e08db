"""What is offered to the station in the task `Admission`, and what it sees of that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.admission import CallClass, LossSystem
from wirelesslab.network.admission_runs import HOLDINGS, Holding

REFUSE, ADMIT = 0, 1


def _two(loads: tuple[float, float], demand: int, reward: float) -> LossSystem:
    classes = (CallClass(arrival_rate=loads[0]), CallClass(arrival_rate=loads[1], demand=demand, reward=reward))
    return LossSystem(capacity=30, classes=classes)


LIGHT = _two((10.0, 3.0), 4, 12.0)
OVERLOADED = _two((20.0, 5.0), 4, 20.0)
LOPSIDED = _two((30.0, 3.0), 6, 60.0)
"""The three systems for which optimum, best trunk reservation and complete sharing are known: 41.252, 41.235 and
40.417 per second in light load; 89.93, 89.17, 62.84 overloaded; 160.19, 159.32 (160.19 with the small class shut
out), 56.53 where the large class is worth ten times its place."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """How the arrival rates of a system's classes move; by default not at all.

    In an episode class k arrives as a Poisson process of rate ``base_k * factor_k * (1 + amplitude * sin(2 pi t /
    period_s + phase + pi k))``: even classes swing against odd ones. Factors and phase are drawn when it begins.

    Attributes:
        low: Least factor of a class's arrival rate.
        high: Greatest; each class's factor is drawn by itself, log-uniformly.
        period_s: Of the drift.
        amplitude: Of the drift, as a share of the mean, in [0, 1].
    """

    low: float = 1.0
    high: float = 1.0
    period_s: float = 200.0
    amplitude: float = 0.0

    def __post_init__(self) -> None:
        check.positive(low=self.low, high=self.high, period_s=self.period_s)
        check.within(0, 1, amplitude=self.amplitude)
        if self.low > self.high:
            msg = f"low: got {self.low}, expected at most high={self.high}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class AdmissionSetting:
    """One station and what may be offered to it.

    Attributes:
        systems: An episode plays one of them, drawn evenly; same capacity, same number of classes.
        load: How their arrival rates move.
        holding: "exponential", or "fixed" at each class's mean.
        rates: Whether the arrival rates that the station has measured are seen.
        memory_s: A call counts in the measured rate by exp(-age / memory_s); the station has been counting for
            `memory_s` when an episode begins.
        tariffs: Whether demand and reward of each class are seen: of use when systems differ.
        relative: Whether a reward is paid as a share of what the station would earn per second if it were full of
            its most rewarding class (`unit_of`): so that an agent of several systems heeds all alike.
        calls: Calls in an episode.
    """

    systems: tuple[LossSystem, ...] = field(default_factory=lambda: (OVERLOADED,))
    load: Load = Load()
    holding: Holding = "exponential"
    rates: bool = True
    memory_s: float = 20.0
    tariffs: bool = False
    relative: bool = False
    calls: int = 2_000

    def __post_init__(self) -> None:
        check.one_of(HOLDINGS, holding=self.holding)
        check.positive(memory_s=self.memory_s)
        check.positive_integer(calls=self.calls)
        kinds = {(system.capacity, len(system.classes)) for system in self.systems}
        if len(kinds) != 1:
            msg = (
                f"systems: got (capacity, classes) {sorted(kinds)}, expected at least one system and all alike in both"
            )
            raise ValueError(msg)

    @property
    def sight(self) -> "Sight":
        """Where in an observation stands what."""
        return Sight(len(self.systems[0].classes), self.rates, self.tariffs, self.relative)

    @property
    def most_calls(self) -> int:
        """Calls that can be in service at once."""
        return self.systems[0].capacity // min(c.demand for s in self.systems for c in s.classes)

    @property
    def most_rate(self) -> float:
        """Greatest measured arrival rate that is shown: four times the greatest there is, and eight calls in memory."""
        swing = self.load.high * (1 + self.load.amplitude)
        return 4 * swing * max(c.arrival_rate for s in self.systems for c in s.classes) + 8 / self.memory_s

    @property
    def observation_space(self) -> gymnasium.spaces.Box:
        """Bounds of what is seen, float32, in the order of `Sight`."""
        sight = self.sight
        low, high = np.zeros(sight.size), np.ones(sight.size)
        high[sight.in_service], high[sight.free] = self.most_calls, self.systems[0].capacity
        high[sight.rates_per_s] = self.most_rate
        high[sight.demands] = self.systems[0].capacity
        rewards = np.concatenate([sight.paid(system) for system in self.systems])
        low[sight.rewards], high[sight.rewards] = min(0.0, *rewards), max(1.0, *rewards)
        return gymnasium.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)


def unit_of(system: LossSystem) -> float:
    """Return what a station earns per second when it is full of its most rewarding class; 1 if none pays."""
    most = max(c.reward / (c.demand * c.holding_s) for c in system.classes)
    return system.capacity * most if most > 0 else 1.0


class Sight(NamedTuple):
    """Where in an observation stands what; a station's own, with nothing of the load but what was counted.

    The entries, each block one number per class unless said: calls in service; who calls (1 at its class); free
    units (one number); measured arrival rates per second (if `rates`); demands in units and rewards (if `tariffs`);
    the action mask (two numbers: refuse, admit).
    """

    num_classes: int
    rates: bool
    tariffs: bool
    relative: bool = False

    @property
    def size(self) -> int:
        """Numbers in an observation."""
        return self.num_classes * (2 + self.rates + 2 * self.tariffs) + 3

    @property
    def in_service(self) -> slice:
        """Calls in service of each class."""
        return slice(0, self.num_classes)

    @property
    def caller(self) -> slice:
        """1 at the class of the caller."""
        return slice(self.num_classes, 2 * self.num_classes)

    @property
    def free(self) -> int:
        """Units that nobody holds."""
        return 2 * self.num_classes

    @property
    def rates_per_s(self) -> slice:
        """Measured arrival rates; empty if they are not seen."""
        return slice(self.free + 1, self.free + 1 + self.num_classes * self.rates)

    @property
    def demands(self) -> slice:
        """Units that a call of each class holds; empty if tariffs are not seen."""
        begin = self.rates_per_s.stop
        return slice(begin, begin + self.num_classes * self.tariffs)

    @property
    def rewards(self) -> slice:
        """What a call of each class pays, as it is paid (`paid`); empty if tariffs are not seen."""
        begin = self.demands.stop
        return slice(begin, begin + self.num_classes * self.tariffs)

    @property
    def mask(self) -> slice:
        """1 where an action is allowed: refuse, admit."""
        return slice(self.size - 2, self.size)

    def paid(self, system: LossSystem) -> NDArray[np.float64]:
        """Return what a call of each class pays: as the tariff has it, or as a share of what a full station earns."""
        return np.array([c.reward for c in system.classes]) / (unit_of(system) if self.relative else 1.0)

    def observations(
        self,
        system: LossSystem,
        in_service: ArrayLike,
        class_index: ArrayLike,
        rates_per_s: Sequence[float] | None = None,
    ) -> NDArray[np.float32]:
        """Return what is seen in these states, shape (states, size).

        Args:
            system: Whose station it is.
            in_service: Calls in service, shape (states, classes).
            class_index: Who calls, shape (states,).
            rates_per_s: Measured arrival rates; the system's own, as if measured without error, unless given.
        """
        states = np.asarray(in_service, np.int64).reshape(-1, self.num_classes)
        caller = np.broadcast_to(np.asarray(class_index, np.int64), len(states))
        demands = np.array([c.demand for c in system.classes])
        free = system.capacity - states @ demands
        seen = np.zeros((len(states), self.size), np.float32)
        seen[:, self.in_service] = states
        seen[np.arange(len(states)), self.num_classes + caller] = 1
        seen[:, self.free] = free
        if self.rates:
            rates = [c.arrival_rate for c in system.classes] if rates_per_s is None else list(rates_per_s)
            seen[:, self.rates_per_s] = rates
        if self.tariffs:
            seen[:, self.demands] = demands
            seen[:, self.rewards] = self.paid(system)
        seen[:, self.size - 2] = 1
        seen[:, self.size - 1] = free >= demands[caller]
        return seen
