"""Rules for a learning job: one fixed choice, compress when sending takes longer than computing, foresee a period."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.tasks.ai_slice import AISlice
from wirelesslab.network.tasks.ai_slice_job import Floats
from wirelesslab.network.tasks.ai_slice_world import AISliceConfig
from wirelesslab.rng import stream

Observation = NDArray[np.float32]
Action = NDArray[np.int64]


class Rule(Protocol):
    """Chooses batch, coder and edge node from what is seen."""

    def __call__(self, observation: Observation, info: Mapping[str, Any], /) -> Action:
        """Return three numbers."""
        ...


BEST_FIXED = (2, 2, 0)
"""The best of all fixed choices under the default config, by the mean over ten episodes: tuned as a learner is."""


def middle_choice(config: AISliceConfig) -> tuple[int, int, int]:
    """Return the middle batch, the middle coder and the first edge node."""
    return (len(config.job.batches) - 1) // 2, (len(config.job.coders) - 1) // 2, 0


class Fixed:
    """One choice, always.

    Args:
        choice: Places of batch, coder and edge node.
    """

    def __init__(self, choice: tuple[int, int, int]) -> None:
        self._choice = np.array(choice, np.int64)

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> Action:
        """See `Rule`."""
        del observation, info
        return self._choice.copy()


class RandomChoice:
    """Any choice, all alike.

    Args:
        config: Of the task.
        seed: Of its draws, a stream of their own.
    """

    def __init__(self, config: AISliceConfig, seed: int = 0) -> None:
        self._sizes = [len(config.job.batches), len(config.job.coders), config.edges]
        self._rng = stream(seed, "AI slice", "random rule")

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> Action:
        """See `Rule`."""
        del observation, info
        return np.asarray(self._rng.integers(self._sizes), np.int64)


class CompressWhenSendingDominates:
    """The bandwidth rule: the edge node with the fastest way, and no more compression than sending calls for.

    With the middle batch, it takes the first coder by which the slowest client's sending, up and down, takes no longer
    than the slowest computing; the last coder if none does.

    Args:
        config: Of the task.
    """

    def __init__(self, config: AISliceConfig) -> None:
        self._config, self._batch = config, middle_choice(config)[0]
        job = config.job
        part = job.batches[self._batch] / config.clients
        self._compute_s = part * job.operations_per_sample / min(config.client_operations_per_s)
        up, down = np.array([job.message_bytes(coder) for coder in job.coders], float).T
        self._bits = 8 * (up + down / config.down_over_up)  # as if all went up

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> Action:
        """See `Rule`."""
        del info
        edges = self._config.edges
        rates = observation[5 + edges : 5 + 2 * edges].astype(float)
        edge = int(rates.argmax())
        quick = np.flatnonzero(self._bits / rates[edge] <= self._compute_s)
        coder = int(quick[0]) if quick.size else self._bits.size - 1
        return np.array([self._batch, coder, edge], np.int64)


def scores(env: AISlice) -> Floats:
    """Return what each choice would earn in the coming period, (batches, coders, edges), rounds taken as divisible."""
    config, job = env.config, env.config.job
    left_s = config.period_s - env.overrun_s - env.move_seconds()  # (edges,)
    sent = np.array([job.round_bytes(coder, config.clients) for coder in job.coders]) / 1e9
    worth = config.progress_worth * job.gains(env.progress) - config.gigabyte_price * sent  # (batches, coders)
    return np.asarray(np.maximum(left_s, 0.0) / env.round_s * worth[:, :, None])


class ForeseesAPeriod:
    """Clairvoyant, a period at a time: the choice that earns most in the coming period, whose world it knows.

    It looks at the environment itself, not at what is shown; it does not look beyond the period.

    Args:
        env: The task.
    """

    def __init__(self, env: AISlice) -> None:
        self._env = env

    def __call__(self, observation: Observation, info: Mapping[str, Any]) -> Action:
        """See `Rule`."""
        del observation, info
        table = scores(self._env)
        return np.array(np.unravel_index(int(table.argmax()), table.shape), np.int64)


def most_progress(env: AISlice) -> Floats:
    """Return a bound on how much of the job can be done after each period of an episode, shape (horizon + 1,).

    Every period the fastest choice, free moves, rounds divisible, and one round in advance. It holds because to
    have done more never means to have done less later.

    Args:
        env: After its reset.
    """
    config, job = env.config, env.config.job
    kept = env.snapshot()
    done, bound = 0.0, [0.0]
    for period in range(config.horizon):
        env.period = period
        pace = (job.gains(done)[:, :, None] / env.round_s).max()
        done = min(done + config.period_s * float(pace), 1.0)
        bound.append(min(done + float(job.gains(0.0).max()), 1.0))
    env.restore(kept)
    return np.array(bound)
