"""A random stream of its own for each of a million sources, as three columns of numbers.

Source u owns a key; its draws number c are a function of (key, c) alone: the counter-based generator
Philox4x64-10. What a source does therefore depends neither on the other sources, nor on the order in
which they are looked at, nor on how time is cut into steps; policies are compared under the very same
arrivals; and copying the columns copies the future.

References: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from wirelesslab import check

Memory = dict[str, NDArray[Any]]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

WIDTH = 4  # uniform numbers per draw
NEXT, FIRST = 0, 1  # lanes: what follows an arrival, and how a source begins


def _jit(kernel: Kernel) -> Kernel:
    compiler: Callable[[Kernel], Any] = numba.njit(cache=True, nogil=True)
    compiled: Kernel = compiler(kernel)
    return compiled


@_jit
def _high(a: np.uint64, b: np.uint64) -> np.uint64:
    """Return the upper 64 bits of the product."""
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    a0, a1, b0, b1 = a & low, a >> half, b & low, b >> half
    middle = a1 * b0 + ((a0 * b0) >> half)
    other = a0 * b1 + (middle & low)
    return np.uint64(a1 * b1 + (middle >> half) + (other >> half))


@_jit
def philox(keys: NDArray[np.uint64], counts: NDArray[np.uint64], lane: int) -> NDArray[np.uint64]:
    """Return the blocks with counter (count, lane, 0, 0), shape (n, 4), for keys (n, 2) or (1, 2) and counts (n,)."""
    blocks = np.empty((counts.size, 4), np.uint64)
    for i in range(counts.size):
        owner = i if keys.shape[0] > 1 else 0
        k0, k1 = keys[owner, 0], keys[owner, 1]
        c0, c1, c2, c3 = counts[i], np.uint64(lane), np.uint64(0), np.uint64(0)
        for _ in range(10):
            high0, low0 = _high(np.uint64(0xD2E7470EE14C6C93), c0), np.uint64(0xD2E7470EE14C6C93) * c0
            high1, low1 = _high(np.uint64(0xCA5A826395121157), c2), np.uint64(0xCA5A826395121157) * c2
            c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
            k0 = k0 + np.uint64(0x9E3779B97F4A7C15)
            k1 = k1 + np.uint64(0xBB67AE8584CAA73B)
        blocks[i, 0], blocks[i, 1], blocks[i, 2], blocks[i, 3] = c0, c1, c2, c3
    return blocks


def begin_streams(rng: np.random.Generator, num_sources: int) -> Memory:
    """Return fresh streams: "key" (num_sources, 2) drawn from `rng`, "count" (num_sources,) of draws so far.

    Raises:
        ValueError: `num_sources` is negative.
        TypeError: It is no whole number.
    """
    check.non_negative_integer(num_sources=num_sources)
    return {
        "key": rng.integers(0, 2**64, (num_sources, 2), dtype=np.uint64),
        "count": np.zeros(num_sources, np.int64),
    }


def uniforms(memory: Memory, sources: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the next draw of each of these sources, shape (n, 4), in (0, 1); their counts move on by one."""
    counts = memory["count"][sources]
    memory["count"][sources] = counts + 1
    return _unit(philox(memory["key"][sources], counts.view(np.uint64), NEXT))


def uniforms_ahead(memory: Memory, num: int) -> NDArray[np.float64]:
    """Return the next `num` draws of the one source in `memory`, shape (num, 4), in (0, 1).

    Raises:
        ValueError: `memory` holds not one source, or `num` is negative.
    """
    check.non_negative_integer(num=num)
    if memory["count"].shape != (1,):
        msg = (
            f"memory: got {memory['count'].size} sources, expected one; "
            "slice it: {name: rows[u : u + 1].copy() for name, rows in memory.items()}"
        )
        raise ValueError(msg)
    counts = memory["count"][0] + np.arange(num, dtype=np.int64)
    memory["count"] += num
    return _unit(philox(memory["key"], counts.view(np.uint64), NEXT))


def first_uniforms(memory: Memory) -> NDArray[np.float64]:
    """Return each source's numbers for its beginning, shape (U, 4), in (0, 1); no count moves."""
    return _unit(philox(memory["key"], np.zeros(memory["count"].size, np.uint64), FIRST))


@_jit
def run_rated(
    next_s: NDArray[np.float64],
    rate_per_s: NDArray[np.float64],
    keys: NDArray[np.uint64],
    counts: NDArray[np.int64],
    until_s: float,
) -> NDArray[np.int64]:
    """Move dates that are not after `until_s` on by exponential gaps at each source's rate; return whose they were.

    Args:
        next_s: Date of each source, shape (U,); changed in place.
        rate_per_s: Of each, shape (U,).
        keys: Of the streams, shape (U, 2).
        counts: Of draws so far, shape (U,); changed in place.
        until_s: What is not after that is past.

    Returns:
        Sources, ascending.
    """
    who = np.empty(next_s.size, np.int64)
    num = 0
    one = np.empty(1, np.uint64)
    for source in range(next_s.size):
        if next_s[source] <= until_s:
            who[num] = source
            num += 1
            while next_s[source] <= until_s:
                one[0] = np.uint64(counts[source])
                block = philox(keys[source : source + 1], one, NEXT)
                counts[source] += 1
                unit = (float(block[0, 0] >> np.uint64(12)) + 0.5) * 2.0**-52
                next_s[source] -= np.log(unit) / rate_per_s[source]
    return who[:num]


def _unit(blocks: NDArray[np.uint64]) -> NDArray[np.float64]:
    # 52 bits and a half: never 0, never 1, so every quantile function is finite
    return np.asarray(((blocks >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
