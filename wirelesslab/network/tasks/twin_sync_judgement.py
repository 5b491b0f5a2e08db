"""How good is a policy for sync rates that is not told the weights: beside the square root of the true ones.

A policy learns in the compiled model of ages and is judged there and on the simulator. The same episode, by its seed,
has the same weights and first ages for all policies and in both. The square root of the true weights is the best of
all constant rates; a policy that sees ages may do better still.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.learners.keeping import Keep
from wirelesslab.network.learners.policies import Trained
from wirelesslab.network.learners.ppo import PPO
from wirelesslab.network.learners.training import Progress, train
from wirelesslab.network.tasks.task import Source
from wirelesslab.network.tasks.twin_sync import TwinSync
from wirelesslab.network.tasks.twin_sync_reduced import TwinSyncReducedVector
from wirelesslab.network.tasks.twin_sync_rules import (
    AgeAware,
    PowerMeasured,
    PowerTold,
    SyncRule,
    Uniform,
    Weighed,
)
from wirelesslab.network.tasks.twin_sync_setting import SyncSetting
from wirelesslab.rng import stream

Floats = NDArray[np.float64]
Maker = Callable[[Weighed], SyncRule]

TASK = "wirelesslab/TwinSync-v0"
SETTING = SyncSetting()
# No entropy and a small first spread: sixteen numbers share one advantage, and noise of each is noise of all. A step's
# rates show in the ages of the next ten. Few environments and many small rollouts learnt faster than the reverse.
LEARNER = PPO(
    hidden=(32, 32), discount=0.9, trace=0.9, rollout=16, entropy=0.0, first_spread=0.3, learning_rate=3e-3
)  # fmt: skip
NUM_ENVS, STEPS = 128, 500_000
EQUAL, TOLD, TRAP = "uniform", "square root, told", "proportional, told"
LEARNED = "learned"


def trained(
    seed: int,
    *,
    setting: SyncSetting = SETTING,
    steps: int = STEPS,
    keep: Keep | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Trained:
    """Return a policy that learnt in the compiled model, not told any weight; about a minute on one idle core."""
    env = TwinSyncReducedVector(NUM_ENVS, setting)
    return train(LEARNER, env, steps=steps, seed=seed, keep=keep, show=show, task=TASK)


def asked(policy: Trained) -> Maker:
    """Return a trained policy as a rule, for one environment or for many at once.

    Raises:
        ValueError: It is of another task.
    """
    policy.must_be_of(*SETTING.interface.tasks)

    def rule(observation: NDArray[np.floating], _info: Mapping[str, object], /) -> NDArray[np.floating]:
        if observation.ndim == 2:
            return np.asarray(policy.act(observation))
        return np.asarray(policy.act_many(observation))

    return lambda _env: rule


def baselines(setting: SyncSetting = SETTING) -> dict[str, Maker]:
    """Return the rules that a policy is held against, by name; the one for ages is tuned."""
    return {
        EQUAL: lambda _env: Uniform(),
        TRAP: lambda env: PowerTold(env, 1.0),
        TOLD: PowerTold,
        "square root, measured": lambda _env: PowerMeasured(setting),
        "square root and ages, measured": lambda _env: AgeAware(setting),
    }


def costs_in_model(make: Maker, seeds: Sequence[int], setting: SyncSetting = SETTING) -> Floats:
    """Return the mean cost of each episode, m^2, in the compiled model, shape (seeds,)."""
    envs = TwinSyncReducedVector(len(seeds), setting)
    seen, infos = envs.reset(seed=[int(seed) for seed in seeds])
    rule, total = make(envs), np.zeros(len(seeds))
    for _ in range(setting.num_steps):
        seen, rewards, _, _, infos = envs.step(rule(seen, infos))
        total -= rewards
    return total / setting.num_steps


def costs_on_simulator(
    make: Maker,
    seeds: Sequence[int],
    setting: SyncSetting = SETTING,
    *,
    source: Source = "fresh",
    aged_s: float = 1.0,
) -> Floats:
    """Return the same on the simulator, where messages are flows; about half a second for each episode."""
    env, costs = TwinSync(setting, source=source, aged_s=aged_s), np.zeros(len(seeds))
    for place, seed in enumerate(seeds):
        seen, info = env.reset(seed=int(seed))
        rule = make(env)
        for _ in range(setting.num_steps):
            seen, reward, _, _, info = env.step(rule(seen, info))
            costs[place] -= reward
        env.network.check()
    return costs / setting.num_steps


class Kept(NamedTuple):
    """How much of the square-root rule's gain over equal rates a policy keeps, from costs of the same episodes.

    Attributes:
        gain: Mean cost of equal rates over the policy's.
        gain_of_root: The same of the square root of the true weights.
        of_gain: The first over the second: cost of the square root over the policy's.
        of_gap: Share of the cost that the square root saves: the stricter measure; 0 is equal rates.
        low: Lower end of the 95 % interval of `of_gap`, by bootstrap over episodes.
        high: Upper end.
    """

    gain: float
    gain_of_root: float
    of_gain: float
    of_gap: float
    low: float
    high: float


def kept(policy: Floats, root: Floats, equal: Floats, *, resamples: int = 2000, seed: int = 0) -> Kept:
    """Compare mean costs of the same episodes.

    Args:
        policy: Costs of the policy, shape (episodes,).
        root: Of the square root of the true weights.
        equal: Of equal rates.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Examples:
        >>> told = kept(np.array([1.1, 1.1]), np.array([1.0, 1.0]), np.array([1.5, 1.5]))
        >>> round(told.of_gain, 3), round(told.of_gap, 3)
        (0.909, 0.8)
    """
    check.positive_integer(resamples=resamples)
    costs = check.array(np.stack([policy, root, equal]), (3, None), "policies, episodes", name="costs").astype(float)
    mean = costs.mean(axis=1)
    chosen = stream(seed, "bootstrap of episodes").integers(0, costs.shape[1], (resamples, costs.shape[1]))
    again = costs[:, chosen].mean(axis=2)
    low, high = np.quantile((again[2] - again[0]) / (again[2] - again[1]), [0.025, 0.975])
    return Kept(
        gain=float(mean[2] / mean[0]), gain_of_root=float(mean[2] / mean[1]), of_gain=float(mean[1] / mean[0]),
        of_gap=float((mean[2] - mean[0]) / (mean[2] - mean[1])), low=float(low), high=float(high),
    )  # fmt: skip


def judged(
    policies: Mapping[str, Maker],
    *,
    in_model: Sequence[int] = (),
    on_simulator: Sequence[int] = (),
    setting: SyncSetting = SETTING,
) -> dict[str, dict[str, Floats]]:
    """Return costs by place ("model", "simulator") and policy, baselines included, in episodes of these seeds.

    This is what a sim calls: ``judged({LEARNED: asked(trained(1))}, in_model=range(256), on_simulator=range(40))``.
    """
    everyone = {**baselines(setting), **policies}
    result: dict[str, dict[str, Floats]] = {}
    if len(in_model):
        result["model"] = {name: costs_in_model(make, in_model, setting) for name, make in everyone.items()}
    if len(on_simulator):
        result["simulator"] = {name: costs_on_simulator(make, on_simulator, setting) for name, make in everyone.items()}
    return result
