"""How good is a policy of `Admission`: exactly on the chain, in simulation under drift, and against who knows all.

A trained policy and a baseline are judged alike, by what they answer to observations.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.admission import (
    CompleteSharing,
    LossSystem,
    OptimalAdmission,
    TabulatedAdmission,
    best_trunk_reservation,
    long_run,
    reward_rate,
)
from wirelesslab.network.clairvoyant import CallRecord, clairvoyant_bound
from wirelesslab.network.tasks.admission import Admission
from wirelesslab.network.tasks.admission_rules import StationRule
from wirelesslab.network.tasks.admission_setting import AdmissionSetting, unit_of
from wirelesslab.network.tasks.admission_vector import AdmissionVector

Floats = NDArray[np.float64]


def tabulate_policy(
    policy: StationRule, setting: AdmissionSetting, system: LossSystem, rates_per_s: Sequence[float] | None = None
) -> TabulatedAdmission:
    """Return a policy as a rule over who is in service: for the chain, for simulation, for a running network.

    Args:
        policy: What answers.
        setting: Whose observations it reads.
        system: Whose states are asked for.
        rates_per_s: What the station is taken to have measured: the system's own rates unless given.
    """
    free = system.free_units()
    states = np.argwhere(free >= 0)
    table = np.zeros((len(system.classes), *system.shape), np.bool_)
    for k in range(len(system.classes)):
        seen = setting.sight.observations(system, states, k, rates_per_s)
        masks = seen[:, setting.sight.mask].astype(np.int8)
        table[(k, *states.T)] = np.asarray(policy.act_many(seen, masks)) == 1
    return TabulatedAdmission(system, table)


class Gap(NamedTuple):
    """What a policy earns per second in the long run, beside what others do, all exact.

    Attributes:
        earned: By the policy, measured rates frozen at the system's own.
        sharing: By complete sharing.
        trunk: By the best trunk reservation.
        optimum: By the best rule of all.
        blocking: Of each class under the policy.
    """

    earned: float
    sharing: float
    trunk: float
    optimum: float
    blocking: tuple[float, ...]

    @property
    def reached(self) -> float:
        """Share of the gap from complete sharing to the optimum."""
        return (self.earned - self.sharing) / (self.optimum - self.sharing)

    @property
    def of_optimum(self) -> float:
        """What it earns over the optimum."""
        return self.earned / self.optimum


def gap_reached(policy: StationRule, setting: AdmissionSetting, system: LossSystem) -> Gap:
    """Return what a policy earns on the exact chain of a system (exponential holding, steady load).

    A policy that reads measured rates is asked as if it measured them without error; `reward_per_second` tells what
    it earns with those that it does measure.
    """
    run = long_run(tabulate_policy(policy, setting, system), system)
    return Gap(run.reward_rate, *_references(system), tuple(run.blocking.tolist()))


@lru_cache(maxsize=64)
def _references(system: LossSystem) -> tuple[float, float, float]:
    """Return what complete sharing, the best trunk reservation and the best rule of all earn."""
    sharing, trunk = reward_rate(CompleteSharing(system), system), best_trunk_reservation(system)[1]
    return sharing, trunk, OptimalAdmission.solve(system).reward_rate


class Earned(NamedTuple):
    """What a policy earned in simulation, by seed: `per_s` (seeds,), and `blocking` of each class (seeds, classes)."""

    per_s: Floats
    blocking: Floats


def reward_per_second(
    policy: StationRule, setting: AdmissionSetting, seeds: Sequence[int], *, calls: int, warm_up: int = 500
) -> Earned:
    """Return what a policy earns per second at one station for each seed, in one long episode.

    Policies that are given the same seeds meet the same calls: compare them pair by pair. Rewards are told in full,
    also where the setting pays shares.

    Args:
        policy: What answers; it reads rates as the station measures them.
        setting: The station and what is offered; its number of calls is not looked at.
        seeds: One for each station.
        calls: Calls that are counted at each station.
        warm_up: Calls before them.
    """
    check.positive_integer(calls=calls)
    check.non_negative_integer(warm_up=warm_up)
    envs = AdmissionVector(len(seeds), replace(setting, calls=warm_up + calls + 1))
    seen, infos = envs.reset(seed=list(seeds))
    num_classes = setting.sight.num_classes
    earned, began_s = np.zeros(len(seeds)), infos["time_s"]
    refused, offered = np.zeros((2, len(seeds), num_classes))
    for call in range(warm_up + calls):
        if call == warm_up:
            began_s = infos["time_s"]
        here = seen[:, setting.sight.caller]
        seen, rewards, _, _, infos = envs.step(policy.act_many(seen, infos["action_mask"]))
        if call >= warm_up:
            earned += rewards
            offered += here
            refused += np.stack([infos["cost"][f"class {k}"] for k in range(num_classes)], axis=1)
    units = np.array([unit_of(system) if setting.relative else 1.0 for system in setting.systems])
    units = units[envs.snapshot()["stations"]["system"]]
    return Earned(units * earned / (infos["time_s"] - began_s), refused / offered)


def calls_to_come(setting: AdmissionSetting, seed: int, num_calls: int) -> CallRecord:
    """Return the calls that a station with this seed will meet, whatever it answers."""
    check.positive_integer(num_calls=num_calls)
    env = Admission(replace(setting, calls=num_calls))
    env.reset(seed=seed)
    times_s, classes, holding_s = np.zeros(num_calls), np.zeros(num_calls, np.int64), np.zeros(num_calls)
    for call in range(num_calls):
        times_s[call], classes[call], holding_s[call] = env.waiting_call()
        env.step(0)
    return CallRecord(times_s, classes, holding_s)


class Hindsight(NamedTuple):
    """Rewards of a window of calls from an empty station: what a policy `earned`, and the `bound` for who knew all."""

    earned: float
    bound: float


def against_hindsight(policy: StationRule, setting: AdmissionSetting, seed: int, num_calls: int) -> Hindsight:
    """Return what a policy earns in a window of calls, and what nobody can exceed there.

    The bound is the clairvoyant's: it knows arrivals and holding times. No rule that waits for calls to come can
    reach it; what lies between the two is the price of not knowing, and what is left to gain.

    Raises:
        ValueError: The setting has several systems.
    """
    if len(setting.systems) != 1:
        msg = f"setting: got {len(setting.systems)} systems, expected one"
        raise ValueError(msg)
    env = Admission(replace(setting, calls=num_calls))
    seen, info = env.reset(seed=seed)
    earned = 0.0
    for _ in range(num_calls):
        answer = policy.act_many(seen[None], info["action_mask"][None])[0]
        seen, reward, _, _, info = env.step(int(answer))
        earned += reward
    earned *= unit_of(setting.systems[0]) if setting.relative else 1.0
    return Hindsight(earned, clairvoyant_bound(calls_to_come(setting, seed, num_calls), setting.systems[0]))
