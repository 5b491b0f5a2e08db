"""Does a learner place services better than rules do? Training, and episodes that all play alike.

Settings were chosen on episodes of `VALIDATION_SEED`; judge with another seed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from wirelesslab.network.learners import PPO, Keep, Progress, Trained, evaluate, train
from wirelesslab.network.tasks.placement import Observation, Placement
from wirelesslab.network.tasks.placement_optimum import foreseen_bound
from wirelesslab.network.tasks.placement_rows import FEATURES, PlacementRows, rows
from wirelesslab.network.tasks.placement_rules import RULES, RandomFeasible
from wirelesslab.network.tasks.placement_services import PlacementConfig
from wirelesslab.network.tasks.task import Source
from wirelesslab.network.topology import Graph
from wirelesslab.replicas import Mean, difference
from wirelesslab.rng import stream

TASK = "wirelesslab/Placement-v0"
VALIDATION_SEED = 9
LEARNER = PPO(discount=0.98, rollout=64, entropy=0.005, learning_rate=2e-3)
STEPS, ENVS = 40_960, 16

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """Returns of episodes that all policies met alike.

    Attributes:
        learned: Of each training, shape (trainings, episodes).
        rules: Of each rule, shape (episodes,), by name.
        bounds: What nobody can exceed, where that was asked for, shape (episodes,).
    """

    learned: Floats
    rules: Mapping[str, Floats]
    bounds: Floats | None = None

    def gains(self, rule: str) -> list[Mean]:
        """Return for each training by how much it earns more than a rule, with the interval of paired episodes."""
        return [difference(returns, self.rules[rule]) for returns in self.learned]

    @property
    def best_rule(self) -> str:
        """The rule that earned most, "foresees" left out if there is one: it knows what no agent does."""
        return max((name for name in self.rules if name != "foresees"), key=lambda name: float(self.rules[name].mean()))


class LearnedPlacement:
    """A trained policy as a rule, for any topology: the net scores each host by its own row.

    Args:
        trained: On `placement_rows.rows`.

    Raises:
        ValueError: It was trained on something else.
    """

    def __init__(self, trained: Trained) -> None:
        trained.must_be_of(TASK, "wirelesslab/PlacementRows-v0")
        if trained.interface.features != len(FEATURES):
            msg = f"trained: got a policy that sees {trained.interface.features} features, expected {len(FEATURES)}"
            raise ValueError(msg)
        self.trained = trained

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> int:
        """See `placement_rules.Rule`."""
        del info
        seen = rows(observation)
        if len(seen) != self.trained.interface.size:
            self.trained = self.trained.for_items(len(seen))
        return int(self.trained.act(seen, observation["action_mask"]))


def train_placement(
    seed: int, *, config: PlacementConfig | None = None, graph: Graph | None = None, source: Source = "physical",
    learner: Any = LEARNER, steps: int = STEPS, keep: Keep | None = None,
    show: Callable[[Progress], None] | None = None,
) -> Trained:  # fmt: skip
    """Train a policy that places services; on one core some 15 seconds.

    Args:
        seed: Of the training.
        config: Of the task, as `graph` and `source`.
        graph: See `Placement`.
        source: See `Placement`.
        learner: How it learns.
        steps: Services placed, over all environments.
        keep: Where checkpoints live.
        show: Called with progress.
    """

    def make() -> PlacementRows:
        return PlacementRows(Placement(config, graph, source=source), lean=True)

    envs = SyncVectorEnv([make] * ENVS, autoreset_mode=AutoresetMode.SAME_STEP)
    return train(learner, envs, steps=steps, seed=seed, keep=keep, show=show, task=TASK)


def judge_placement(
    trained: Sequence[Trained], *, episodes: int, seed: int, config: PlacementConfig | None = None,
    graph: Graph | None = None, source: Source = "physical", bounds: bool = False,
) -> Judged:  # fmt: skip
    """Play the same episodes by each trained policy and each rule.

    Args:
        trained: Policies, trained on this topology or on others.
        episodes: How many.
        seed: Of the episodes.
        config: Of the task, as `graph` and `source`.
        graph: See `Placement`.
        source: See `Placement`.
        bounds: Whether to work out the bound of each episode too, a fifth of a second each.
    """
    env = Placement(config, graph, source=source)
    rules = {**RULES, "random": RandomFeasible(seed)}
    found = None
    if bounds:
        found = np.zeros(episodes)
        for number in range(episodes):  # the seeds of `evaluate`
            env.reset(seed=int(stream(seed, "evaluation episode", number).integers(2**31 - 1)))
            found[number] = foreseen_bound(env)
    return Judged(
        np.array([evaluate(LearnedPlacement(one), env, episodes=episodes, seed=seed) for one in trained]),
        {name: evaluate(rule, env, episodes=episodes, seed=seed) for name, rule in rules.items()},
        found,
    )
