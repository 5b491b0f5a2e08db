"""Trainings of agents and their judgement beside rules, one function for each task: what sims replicate over seeds.

Every function trains a policy with the seed that it is given and lets it and all rules play the same episodes, which
that seed names too: replicas are independent trainings on independent episodes, policies within one are pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from wirelesslab import check
from wirelesslab.network.admission import LossSystem
from wirelesslab.network.agents.bandits import Bandit, LinUCB, ThompsonSampling
from wirelesslab.network.learners import hold_to_one_thread
from wirelesslab.network.tasks import (
    ai_slice_judgement,
    placement_judgement,
    slice_alloc_judgement,
    twin_sync_judgement,
)
from wirelesslab.network.tasks.admission_judgement import gap_reached, reward_per_second
from wirelesslab.network.tasks.admission_rules import RESERVES, BanditTrunk, baselines
from wirelesslab.network.tasks.admission_setting import LIGHT, LOPSIDED, OVERLOADED
from wirelesslab.network.tasks.admission_training import DRIFT, STEPS_ONE, one_station, train_admission
from wirelesslab.network.tasks.handover_rules import (
    GAINS,
    MARGINS_DB,
    AnyCell,
    BestRate,
    HandoverTraining,
    Strongest,
    served,
    trained,
    tuned,
)
from wirelesslab.network.tasks.handover_world import HandoverSetting
from wirelesslab.network.tasks.twin_sync_rules import few_twins_gain, square_root_cost, uniform_cost
from wirelesslab.rng import stream

Figures = Mapping[str, float]
LEARNED = "learned"


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How long a policy is trained and how much it is judged by.

    Attributes:
        steps: Of the training, over all environments.
        episodes: In which policies are judged; phases of the load for `slice_alloc`.
    """

    steps: int
    episodes: int

    def __post_init__(self) -> None:
        check.positive_integer(steps=self.steps, episodes=self.episodes)


def judged_by(seed: int, name: str, episodes: int) -> list[int]:
    """Return the seeds of the episodes in which the policies of one replica are judged."""
    return [int(s) for s in stream(seed, "judged", name).integers(2**30, size=episodes)]


def slice_alloc(effort: Effort, seed: int) -> Figures:
    """Return mean jobs on the simulator's link by policy."""
    hold_to_one_thread()
    policy = slice_alloc_judgement.trained(seed, steps=effort.steps)
    return {
        name: slice_alloc_judgement.mean_jobs(one, seed, phases=effort.episodes)
        for name, one in slice_alloc_judgement.policies(policy).items()
    }


def twin_sync(effort: Effort, seed: int) -> Figures:
    """Return mean costs by policy on the simulator, and in the model, m^2, over episodes."""
    hold_to_one_thread()
    policy = twin_sync_judgement.trained(seed, steps=effort.steps)
    seeds = judged_by(seed, "twin sync", 16 * effort.episodes)
    costs = twin_sync_judgement.judged(
        {LEARNED: twin_sync_judgement.asked(policy)}, in_model=seeds, on_simulator=seeds[: effort.episodes]
    )
    return {
        f"{name}, {place}": float(found.mean())
        for place, by_policy in costs.items()
        for name, found in by_policy.items()
    }


@dataclass(frozen=True, kw_only=True)
class Roots:
    """What square-root rates gain over equal ones.

    Attributes:
        sigma: Spread of the logarithms of the weights.
        num_twins: In the model that is played.
        num_steps: Of an episode.
    """

    sigma: float
    num_twins: int = 400
    num_steps: int = 400


def roots(case: Roots, seed: int) -> Figures:
    """Return the gain by formula on a million drawn weights, and mean costs of eight played episodes of many twins."""
    weights = np.exp(case.sigma * stream(seed, "weights").standard_normal(1_000_000))
    setting = twin_sync_judgement.SyncSetting(
        num_twins=case.num_twins, budget_per_s=float(case.num_twins), sigma=case.sigma, num_steps=case.num_steps,
        spread=1e6,
    )  # fmt: skip
    rules, seeds = twin_sync_judgement.baselines(setting), judged_by(seed, "roots", 8)
    equal, root, trap = (
        float(twin_sync_judgement.costs_in_model(rules[name], seeds, setting).mean())
        for name in (twin_sync_judgement.EQUAL, twin_sync_judgement.TOLD, twin_sync_judgement.TRAP)
    )
    return {
        "by formula": float(uniform_cost(weights, 1.0) / square_root_cost(weights, 1.0)),
        "equal": equal, "root": root, "proportional": trap, "of so few": few_twins_gain(case.sigma, case.num_twins),
    }  # fmt: skip


def placement(effort: Effort, seed: int) -> Figures:
    """Return mean returns of episodes by policy, and the bound of who knows all services to come."""
    hold_to_one_thread()
    policy = placement_judgement.train_placement(seed, steps=effort.steps)
    found = placement_judgement.judge_placement([policy], episodes=effort.episodes, seed=seed, bounds=True)
    assert found.bounds is not None
    rules = {name: float(returns.mean()) for name, returns in found.rules.items()}
    return {LEARNED: float(found.learned.mean()), **rules, "knows all": float(found.bounds.mean())}


def ai_slice(effort: Effort, seed: int) -> Figures:
    """Return mean returns of episodes by policy."""
    hold_to_one_thread()
    policy = ai_slice_judgement.train_ai_slice(seed, steps=effort.steps)
    found = ai_slice_judgement.judge_ai_slice([policy], episodes=effort.episodes, seed=seed)
    return {LEARNED: float(found.learned.mean()), **{n: float(returns.mean()) for n, returns in found.rules.items()}}


def handover(effort: Effort, seed: int) -> Figures:
    """Return the mean utility of users, ln(rate / 1 Mb/s), by policy; rules are tuned on episodes of their own."""
    hold_to_one_thread()
    setting, tuning = HandoverSetting(), judged_by(seed, "handover rules", 6)
    how = HandoverTraining(steps=effort.steps)
    policies = {
        LEARNED: trained(how, setting, seed),
        "strongest, tuned margin": tuned(lambda m: Strongest(margin_db=m), MARGINS_DB, setting, tuning),
        "best rate, tuned gain": tuned(lambda g: BestRate(gain=g), GAINS, setting, tuning),
        "any cell": AnyCell(seed),
    }
    seeds = judged_by(seed, "handover", effort.episodes)
    return {name: float(served(one, setting, seeds).utility.mean()) for name, one in policies.items()}


SYSTEMS: Mapping[str, LossSystem] = {"light": LIGHT, "overloaded": OVERLOADED, "lopsided": LOPSIDED}


@dataclass(frozen=True, kw_only=True)
class Station:
    """A station whose calls an agent learns to answer; the same learner and effort for all.

    Attributes:
        system: Of `SYSTEMS`; its load is steady.
        steps: Of the training.
        calls: In which policies are judged in simulation, at each of four stations.
    """

    system: str = "overloaded"
    steps: int = STEPS_ONE
    calls: int = 6000

    def __post_init__(self) -> None:
        check.one_of(SYSTEMS, system=self.system)
        check.positive_integer(steps=self.steps, calls=self.calls)


def admission(case: Station, seed: int) -> Figures:
    """Return what a policy earns per second, exactly, beside rules; and in simulation, with rates as measured."""
    hold_to_one_thread()
    system = SYSTEMS[case.system]
    setting = one_station(system)
    policy = train_admission(setting, seed=seed, steps=case.steps)
    gap = gap_reached(policy, setting, system)
    measured = reward_per_second(policy, setting, judged_by(seed, "admission", 4), calls=case.calls)
    return {
        LEARNED: gap.earned, "complete sharing": gap.sharing, "trunk, tuned": gap.trunk, "optimum": gap.optimum,
        "learned, simulated": float(measured.per_s.mean()), "gap reached": gap.reached, "of optimum": gap.of_optimum,
    }  # fmt: skip


def admission_drift(case: Station, seed: int) -> Figures:
    """Return what policies earn per second in simulation while the load swings."""
    hold_to_one_thread()
    setting = one_station(SYSTEMS[case.system], DRIFT)
    policies = {LEARNED: train_admission(setting, seed=seed, steps=case.steps), **baselines(setting)}
    seeds = judged_by(seed, "admission drift", 4)
    return {
        name: float(reward_per_second(one, setting, seeds, calls=case.calls).per_s.mean())
        for name, one in policies.items()
    }


def admission_bandits(case: Station, seed: int) -> Figures:
    """Return what bandits over trunk reserves earn in the episodes of `admission_drift`, learning as they go.

    They begin anew at each station and forget: their payoffs are noisy and a swing of the load is soon over. Their
    widths and memory are our choice, not tuned.
    """
    setting = one_station(SYSTEMS[case.system], DRIFT)
    seeds, features = judged_by(seed, "admission drift", 4), BanditTrunk.num_features(setting.sight)
    arms = len(RESERVES)
    crews: Mapping[str, Sequence[Bandit]] = {
        "LinUCB over reserves": [LinUCB(arms, features, alpha=0.1, memory=0.98) for _ in seeds],
        "Thompson over reserves": [
            ThompsonSampling(arms, features, stream(seed, "Thompson", k), noise=0.1, memory=0.98)
            for k in range(len(seeds))
        ],
    }
    system, sight = SYSTEMS[case.system], setting.sight
    rules = {name: BanditTrunk(system, sight, crew, calls_per_round=100) for name, crew in crews.items()}
    return {
        name: float(reward_per_second(rule, setting, seeds, calls=case.calls).per_s.mean())
        for name, rule in rules.items()
    }


TRIALS: Mapping[str, Callable[[Effort, int], Figures]] = {
    "slice_alloc": slice_alloc, "twin_sync": twin_sync, "placement": placement, "ai_slice": ai_slice,
    "handover": handover,
}  # fmt: skip
