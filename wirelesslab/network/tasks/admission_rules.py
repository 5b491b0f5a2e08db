"""Baselines of the task `Admission`: rules that see what an agent sees.

Each answers many stations at once (`act_many`, as a trained policy does) and is a callable ``rule(observation,
info)`` for one.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.admission import (
    AdmissionRule,
    CompleteSharing,
    LossSystem,
    OptimalAdmission,
    admission_table,
    best_trunk_reservation,
)
from wirelesslab.network.agents.bandits import Bandit
from wirelesslab.network.tasks.admission_setting import AdmissionSetting, Sight
from wirelesslab.network.trunk_online import OnlineTrunk

Seen = NDArray[np.float32]
Answers = NDArray[np.int64]


class StationRule(Protocol):
    """Answers callers: a baseline, or a trained policy."""

    def act_many(self, observations: Seen, masks: NDArray[Any] | None = None) -> NDArray[Any]:
        """Return 1 where the caller is let in, shape (stations,), for observations (stations, size)."""
        ...


class ByTable:
    """A rule that looks at who is in service and who calls, and at nothing else: `AdmissionRule`, answered by table.

    Args:
        rule: Complete sharing, trunk reservation, the optimum.
        system: Whose station it is.
        sight: Where in an observation stands what.
    """

    def __init__(self, rule: AdmissionRule, system: LossSystem, sight: Sight) -> None:
        self.sight, self.table = sight, admission_table(rule, system)

    def act_many(self, observations: Seen, masks: NDArray[Any] | None = None) -> Answers:  # noqa: ARG002
        """See `StationRule`."""
        counts = observations[:, self.sight.in_service].astype(np.int64)
        return np.asarray(self.table[(callers(observations, self.sight), *counts.T)], np.int64)

    def __call__(self, observation: Seen, info: Mapping[str, Any]) -> int:  # noqa: ARG002
        """Answer one caller."""
        return int(self.act_many(observation[None])[0])


def tuned_trunk(system: LossSystem, sight: Sight) -> ByTable:
    """Return trunk reservation tuned offline: the best of all for the system's own mean load, by exact search."""
    return ByTable(best_trunk_reservation(system)[0], system, sight)


class RetunedTrunk:
    """Trunk reservation that is tuned anew at every call, for the arrival rates that the station has measured.

    Args:
        system: Its capacity, demands, holding times and rewards; its arrival rates are not looked at.
        sight: Where in an observation stands what; measured rates must be seen.
        step: Ratio of rates that are told apart.
    """

    def __init__(self, system: LossSystem, sight: Sight, *, step: float = 1.1) -> None:
        _need_rates(sight)
        self.sight, self.trunk = sight, OnlineTrunk(system, step=step)
        self._demands = np.array([c.demand for c in system.classes])

    def act_many(self, observations: Seen, masks: NDArray[Any] | None = None) -> Answers:  # noqa: ARG002
        """See `StationRule`."""
        caller = callers(observations, self.sight)
        reserves = self.trunk.reserves_many(observations[:, self.sight.rates_per_s])
        needed = self._demands[caller] + reserves[np.arange(len(caller)), caller]
        return (observations[:, self.sight.free] >= needed).astype(np.int64)

    def __call__(self, observation: Seen, info: Mapping[str, Any]) -> int:  # noqa: ARG002
        """Answer one caller."""
        return int(self.act_many(observation[None])[0])


RESERVES = (0, 4, 8, 12, 16, 20, 26)  # of a station of 30 units: from complete sharing to hardly anybody


class BanditTrunk:
    """Bandits that choose trunk reservations: one for each station, a round lasting some calls.

    An arm is a number of units that every class but the most rewarding (per unit and second) must leave free. The
    context is 1 and the measured load of each class over the capacity; the payoff of a round is what was admitted
    in it, over the greatest reward of a call, per call. The bandit counts its payoffs itself, from its own answers.

    Args:
        system: Its capacity, demands, holding times and rewards.
        sight: Where in an observation stands what; measured rates must be seen.
        bandits: One for each station, of `num_features` and as many arms as reserves.
        reserves: Units to be left free, by arm.
        calls_per_round: Calls between two choices.
    """

    def __init__(
        self, system: LossSystem, sight: Sight, bandits: Sequence[Bandit], *,
        reserves: Sequence[int] = RESERVES, calls_per_round: int = 200,
    ) -> None:  # fmt: skip
        _need_rates(sight)
        check.non_negative_integer(**{f"reserves[{i}]": r for i, r in enumerate(reserves)})
        check.positive_integer(calls_per_round=calls_per_round)
        self.sight, self.bandits, self.calls_per_round = sight, list(bandits), calls_per_round
        self._capacity, self._reserves = system.capacity, np.array(reserves)
        self._demands = np.array([c.demand for c in system.classes])
        self._rewards = np.array([c.reward for c in system.classes])
        self._holding_s = np.array([c.holding_s for c in system.classes])
        self._protected = int(np.argmax(self._rewards / self._demands / self._holding_s))
        self._arms = np.zeros(len(self.bandits), np.int64)
        self._contexts = np.zeros((len(self.bandits), self.num_features(sight)))
        self._paid, self._calls = np.zeros(len(self.bandits)), 0

    @staticmethod
    def num_features(sight: Sight) -> int:
        """Entries of a context."""
        return 1 + sight.num_classes

    def act_many(self, observations: Seen, masks: NDArray[Any] | None = None) -> Answers:  # noqa: ARG002
        """See `StationRule`; the rows are the stations, in the order of the bandits.

        Raises:
            ValueError: There are more or fewer stations than bandits.
        """
        if len(observations) != len(self.bandits):
            msg = f"observations: got {len(observations)} rows, expected one for each of {len(self.bandits)} bandits"
            raise ValueError(msg)
        if self._calls % self.calls_per_round == 0:
            self._next_round(observations)
        self._calls += 1
        caller = callers(observations, self.sight)
        kept = np.where(caller == self._protected, 0, self._reserves[self._arms])
        admit = observations[:, self.sight.free] >= self._demands[caller] + kept
        self._paid += np.where(admit, self._rewards[caller], 0.0)
        return admit.astype(np.int64)

    def __call__(self, observation: Seen, info: Mapping[str, Any]) -> int:  # noqa: ARG002
        """Answer one caller, by the only bandit."""
        return int(self.act_many(observation[None])[0])

    def _next_round(self, observations: Seen) -> None:
        payoffs = self._paid / self.calls_per_round / np.abs(self._rewards).max()
        loads = observations[:, self.sight.rates_per_s] * self._holding_s * self._demands / self._capacity
        contexts = np.concatenate([np.ones((len(loads), 1)), loads], axis=1)
        for i, bandit in enumerate(self.bandits):
            if self._calls:
                bandit.learn(self._contexts[i], int(self._arms[i]), float(payoffs[i]))
            self._arms[i] = bandit.choose(contexts[i])
        self._contexts, self._paid[:] = contexts, 0.0


def callers(observations: Seen, sight: Sight) -> Answers:
    """Return the class that calls, shape (stations,)."""
    return np.asarray(np.argmax(observations[:, sight.caller], axis=1), np.int64)


def baselines(setting: AdmissionSetting) -> dict[str, StationRule]:
    """Return the rules that need no learning, for a setting of one system, by name.

    Raises:
        ValueError: The setting has several systems, whose tariffs these rules do not read.
    """
    if len(setting.systems) != 1:
        msg = f"setting: got {len(setting.systems)} systems, expected one; make the rules of each"
        raise ValueError(msg)
    system, sight = setting.systems[0], setting.sight
    rules: dict[str, StationRule] = {
        "complete sharing": ByTable(CompleteSharing(system), system, sight),
        "trunk, tuned for the mean": tuned_trunk(system, sight),
        "optimum for the mean": ByTable(OptimalAdmission.solve(system), system, sight),
    }
    if setting.rates:
        rules["trunk, re-tuned online"] = RetunedTrunk(system, sight)
    return rules


def _need_rates(sight: Sight) -> None:
    if not sight.rates:
        msg = "sight: got one without measured rates, expected AdmissionSetting(rates=True)"
        raise ValueError(msg)
