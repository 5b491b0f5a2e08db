"""Randomness for compiled tasks: a counter for each environment and purpose, so that thousands draw side by side.

A purpose (arrivals, holding times) has a counter of its own: what an agent does never changes what comes, and two
policies meet the same fate. The counters are the whole state; copied, they go on as before.

References:
    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014 (SplitMix64).
"""

from collections.abc import Sequence
from math import log1p

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab.rng import stream

Counters = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_30, _27, _31, _11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


def counters(seeds: Sequence[int], *purposes: str) -> Counters:
    """Return the counters that environments start from, shape (environments, purposes).

    Args:
        seeds: One for each environment; equal seeds draw the same.
        purposes: Their names; a new one does not disturb the others.
    """
    starts = [[int(stream(int(seed), "task", purpose).integers(2**63)) for purpose in purposes] for seed in seeds]
    return np.array(starts, np.uint64).reshape(len(seeds), len(purposes))


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def mixed(counter: np.uint64) -> float:
    """Return the draw from [0, 1) that belongs to a counter."""
    z = (counter ^ (counter >> _30)) * _FIRST
    z = (z ^ (z >> _27)) * _SECOND
    return float((z ^ (z >> _31)) >> _11) * 1.1102230246251565e-16


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def uniform(state: Counters, env: int, purpose: int) -> float:
    """Draw from [0, 1) and count on."""
    state[env, purpose] += _STEP
    return mixed(state[env, purpose])


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def uniforms(state: Counters, env: int, purpose: int, out: NDArray[np.float64]) -> None:
    """Draw what as many calls of `uniform` would; none waits for the one before, so that a processor does several."""
    at = state[env, purpose]
    for i in range(out.size):
        out[i] = mixed(at + np.uint64(i + 1) * _STEP)
    state[env, purpose] = at + np.uint64(out.size) * _STEP


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def exponential(state: Counters, env: int, purpose: int) -> float:
    """Draw from the exponential law of mean 1 and count on."""
    return -log1p(-uniform(state, env, purpose))


@njit(inline="always")  # type: ignore[untyped-decorator, unused-ignore]
def normal(state: Counters, env: int, purpose: int) -> float:
    """Draw from the normal law of mean 0 and spread 1 and count on by two (Box and Muller, one of the pair)."""
    radius = np.sqrt(-2 * log1p(-uniform(state, env, purpose)))
    return float(radius * np.cos(2 * np.pi * uniform(state, env, purpose)))
