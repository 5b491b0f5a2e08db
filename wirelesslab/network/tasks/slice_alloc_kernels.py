r"""Slices as M/M/1 queues, each served at its share, many networks side by side: the compiled part of the reduced task.

Time is in mean service times of the whole capacity, so that it serves one job a unit of time. Given the shares of a
step the queues are a Markov chain with bounded rates. It is sampled exactly by uniformisation: in a step of length
$T$ there are Poisson($\Lambda T$) events with $\Lambda = \sum_i \lambda_i + 1$, and each is an arrival at queue $i$
with probability $\lambda_i / \Lambda$, a turn of server $i$ with probability $s_i / \Lambda$, in vain when queue $i$
is empty, or nothing. The mean jobs of a step are taken given these events: the mean over the stretches between them.

References:
    Grassmann, "Transient solutions in Markovian queueing systems", Computers & Operations Research 4(1), 1977:
    uniformisation. Hörmann, "The transformed rejection method for generating Poisson random variables", Insurance:
    Mathematics and Economics 12(1), 1993: the algorithm PTRS.
"""

from math import floor, lgamma, log
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.network.tasks.draws import Counters, exponential, uniform, uniforms

Floats = NDArray[np.float64]
EVENTS, PHASES = 0, 1  # purposes of randomness: what happens in a step, and which loads come


class Queues(NamedTuple):
    """State of the networks, one row for each; what is not told otherwise has shape (networks, slices).

    Attributes:
        jobs: That wait or are served.
        together: Jobs of one queue for all, served by the whole capacity under the same events, shape (networks,).
        load: That comes now, a part of the whole capacity.
        means: Loads that have been measured, exponentially weighted means, shape (networks, memories, slices).
        shares: In force.
        counts: Steps so far, steps left of the phase, number of the phase; shape (networks, 3).
        draws: Counters of randomness, shape (networks, 2).
    """

    jobs: NDArray[np.int64]
    together: NDArray[np.int64]
    load: Floats
    means: Floats
    shares: Floats
    counts: NDArray[np.int64]
    draws: Counters


class Law(NamedTuple):
    """What comes, and how it is measured.

    Attributes:
        step: Length of a step, service times.
        loads: Of each phase and slice, in turn; without rows they are drawn.
        phase_steps: Steps of a phase; its mean, if loads are drawn (geometric law).
        least_total: Least load of all slices together, if loads are drawn.
        most_total: Largest.
        memory: Windows that each mean of loads remembers, shape (memories,).
    """

    step: float
    loads: Floats
    phase_steps: float
    least_total: float
    most_total: float
    memory: Floats


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def poisson(mean: float, draws: Counters, env: int) -> int:
    """Draw from the Poisson law: by gaps while the mean is small, by Hörmann's PTRS else."""
    if mean < 10.0:
        count, reached = 0, exponential(draws, env, EVENTS)
        while reached < mean:
            count += 1
            reached += exponential(draws, env, EVENTS)
        return count
    b = 0.931 + 2.53 * np.sqrt(mean)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1239 + 1.1328 / (b - 3.4)
    v_r = 0.9277 - 3.6224 / (b - 2.0)
    log_mean = log(mean)
    while True:
        u = uniform(draws, env, EVENTS) - 0.5
        v = uniform(draws, env, EVENTS)
        us = 0.5 - abs(u)
        if us < 1e-12 or v == 0.0:
            continue
        k = floor((2.0 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= v_r:
            return int(k)
        if k < 0 or (us < 0.013 and v > us):
            continue
        if log(v) + log(inverse_alpha) - log(a / (us * us) + b) <= k * log_mean - mean - lgamma(k + 1.0):
            return int(k)


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def next_phase(env: int, queues: Queues, law: Law) -> None:
    """Begin the next phase: its loads, and how long it lasts."""
    number = queues.counts[env, 2]
    num_slices = queues.load.shape[1]
    if law.loads.shape[0] > 0:
        for i in range(num_slices):
            queues.load[env, i] = law.loads[number % law.loads.shape[0], i]
        queues.counts[env, 1] = int(law.phase_steps)
    else:
        total = law.least_total + (law.most_total - law.least_total) * uniform(queues.draws, env, PHASES)
        parts = 0.0
        for i in range(num_slices):  # a uniform division: exponentials over their sum
            queues.load[env, i] = exponential(queues.draws, env, PHASES) + 1e-9
            parts += queues.load[env, i]
        for i in range(num_slices):
            queues.load[env, i] *= total / parts
        gap = exponential(queues.draws, env, PHASES) * law.phase_steps
        queues.counts[env, 1] = 1 + int(gap)
    queues.counts[env, 2] = number + 1


@njit(cache=True, nogil=True)  # type: ignore[untyped-decorator, unused-ignore]
def begin(env: int, queues: Queues, law: Law) -> None:
    """Begin an episode: empty queues, nothing measured, equal shares; randomness goes on where it was."""
    queues.jobs[env] = 0
    queues.together[env] = 0
    queues.means[env] = 0.0
    queues.shares[env] = 1.0 / queues.shares.shape[1]
    queues.counts[env] = 0
    next_phase(env, queues, law)


@njit(cache=True, nogil=True, error_model="numpy")  # type: ignore[untyped-decorator, unused-ignore]
def advance(queues: Queues, law: Law, jobs: Floats) -> None:
    """Let every network live through a step at its shares in force.

    Args:
        queues: Their state.
        law: What comes.
        jobs: Gets the mean jobs of each slice, and those of one queue for all; shape (networks, slices + 1).
    """
    num_envs, num_slices = queues.jobs.shape
    bounds = np.empty(2 * num_slices)  # of the kinds of events: arrivals, then turns of servers; nothing comes last
    draws, kinds = np.empty(64), np.empty(64, np.int32)
    for env in range(num_envs):
        reached = 0.0
        for i in range(num_slices):
            reached += queues.load[env, i]
            bounds[i] = reached
        total = reached + 1.0
        for i in range(num_slices):
            reached += queues.shares[env, i]
            bounds[num_slices + i] = reached
        count = poisson(total * law.step, queues.draws, env)
        if count > draws.size:
            draws, kinds = np.empty(2 * count), np.empty(2 * count, np.int32)
        uniforms(queues.draws, env, EVENTS, draws[:count])
        kinds[:count] = 0
        for bound in bounds:
            for event in range(count):
                kinds[event] += draws[event] * total >= bound
        # Queue by queue, and without branches: what happens next cannot be guessed.
        first = queues.counts[env, 0] == 0
        for i in range(num_slices):
            inside, came = queues.jobs[env, i], 0
            area = inside  # jobs summed over the count + 1 stretches between events
            for event in range(count):
                comes = kinds[event] == i
                came += comes
                inside = max(inside + comes - (kinds[event] == num_slices + i), 0)
                area += inside
            queues.jobs[env, i] = inside
            jobs[env, i] = area / (count + 1)
            measured = came / law.step
            for k in range(law.memory.size):
                if first:
                    queues.means[env, k, i] = measured
                else:
                    queues.means[env, k, i] += (measured - queues.means[env, k, i]) / law.memory[k]
        together = queues.together[env]
        area = together
        for event in range(count):
            together = max(together + (1 if kinds[event] < num_slices else -1), 0)
            area += together
        queues.together[env] = together
        jobs[env, num_slices] = area / (count + 1)
        queues.counts[env, 0] += 1
        queues.counts[env, 1] -= 1
        if queues.counts[env, 1] == 0:
            next_phase(env, queues, law)
