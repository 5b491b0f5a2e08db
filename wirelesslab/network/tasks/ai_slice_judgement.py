"""Does a learner run a learning job better than rules do? Training, and episodes that all play alike.

Settings were chosen on episodes of `placement_judgement.VALIDATION_SEED`; judge with another seed.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from numpy.typing import NDArray

from wirelesslab.network.learners import PPO, Keep, Progress, Trained, evaluate, train
from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.ai_slice_choices import AISliceChoices, features
from wirelesslab.network.tasks.ai_slice_rules import (
    BEST_FIXED,
    CompressWhenSendingDominates,
    Fixed,
    ForeseesAPeriod,
    RandomChoice,
    Rule,
    middle_choice,
)
from wirelesslab.network.tasks.ai_slice_world import AISliceConfig
from wirelesslab.network.tasks.placement_judgement import Judged
from wirelesslab.network.tasks.task import Source

TASK = "wirelesslab/AISlice-v0"
LEARNER = PPO(discount=0.95, trace=0.8, rollout=64, entropy=0.01, learning_rate=2e-3)
STEPS, ENVS = 40_960, 16


class LearnedAISlice:
    """A trained policy as a rule.

    Args:
        trained: On `AISliceChoices`.
        config: Of the task.

    Raises:
        ValueError: It was trained on something else.
    """

    def __init__(self, trained: Trained, config: AISliceConfig) -> None:
        trained.must_be_of(TASK, "wirelesslab/AISliceChoices-v0")
        sizes = (len(config.job.batches), len(config.job.coders), config.edges)
        if trained.interface.num_actions != np.prod(sizes):
            msg = f"trained: got a policy of {trained.task} with {trained.interface.num_actions} choices, "
            raise ValueError(msg + f"expected {np.prod(sizes)}, one for each batch, coder and edge node")
        self.trained, self._sizes, self._edges = trained, sizes, config.edges

    def __call__(self, observation: NDArray[np.float32], info: Mapping[str, Any]) -> NDArray[np.int64]:
        """See `ai_slice_rules.Rule`."""
        del info
        number = self.trained.act(features(observation, self._edges))
        return np.array(np.unravel_index(int(number), self._sizes), np.int64)


def train_ai_slice(
    seed: int, *, config: AISliceConfig | None = None, source: Source = "physical", learner: Any = LEARNER,
    steps: int = STEPS, keep: Keep | None = None, show: Callable[[Progress], None] | None = None,
) -> Trained:  # fmt: skip
    """Train a policy that runs a learning job; on one core some 15 seconds.

    Args:
        seed: Of the training.
        config: Of the task, as `source`.
        source: See `AISlice`.
        learner: How it learns.
        steps: Periods, over all environments.
        keep: Where checkpoints live.
        show: Called with progress.
    """

    def make() -> AISliceChoices:
        return AISliceChoices(AISlice(config, source=source), lean=True)

    envs = SyncVectorEnv([make] * ENVS, autoreset_mode=AutoresetMode.SAME_STEP)
    return train(learner, envs, steps=steps, seed=seed, keep=keep, show=show, task=TASK)


def judge_ai_slice(
    trained: Sequence[Trained], *, episodes: int, seed: int, config: AISliceConfig | None = None,
    source: Source = "physical",
) -> Judged:  # fmt: skip
    """Play the same episodes by each trained policy and each rule; "foresees" sees the world itself.

    Args:
        trained: Policies.
        episodes: How many.
        seed: Of the episodes.
        config: Of the task, as `source`.
        source: See `AISlice`.
    """
    env = AISlice(config, source=source)
    rules: dict[str, Rule] = {
        "fixed middle": Fixed(middle_choice(env.config)),
        "best fixed": Fixed(BEST_FIXED),
        "bandwidth rule": CompressWhenSendingDominates(env.config),
        "random": RandomChoice(env.config, seed),
        "foresees": ForeseesAPeriod(env),
    }
    return Judged(
        np.array([evaluate(LearnedAISlice(one, env.config), env, episodes=episodes, seed=seed) for one in trained]),
        {name: evaluate(rule, env, episodes=episodes, seed=seed) for name, rule in rules.items()},
    )
