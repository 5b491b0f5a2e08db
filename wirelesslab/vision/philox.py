"""Philox4x32-10, a counter-based generator: any number of a stream at once, in any order, on any machine.

Counters (place, lane, step) and a 64-bit key give four numbers of 32 bits, by integer operations only. A vector
of places is filled four numbers deep, so that the compiler keeps places side by side in vector registers: it draws
32 bits in a fifth of the time of NumPy's fastest generator (`benchmarks/wires.py`). Random123's known answers
are tests.

References: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab.rng import stream

BLOCK = 1024  # places filled at once: 16 kB, which stay in the first-level cache
ROUNDS = 10

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def jit(**options: Any) -> Callable[[Kernel], Kernel]:
    """Compile a kernel on its first call and keep it on disk; it runs without the GIL, sums may be reordered."""
    settings: dict[str, Any] = {
        "nogil": True, "cache": True, "error_model": "numpy", "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    }  # fmt: skip
    compiler: Callable[[Kernel], Kernel] = numba.njit(**(settings | options))
    return compiler


def key_of(seed: int, *name: str | int) -> NDArray[np.uint64]:
    """Return the key of the stream called `name` under `seed`: two numbers of 32 bits, shape (2,)."""
    return stream(seed, *name).integers(1 << 32, size=2, dtype=np.uint64)


@jit()
def fill(first: int, lane: int, step: int, key: Any, numbers: Any) -> None:
    """Fill numbers (4, B), uint32, with those of the places `first` to `first` + B - 1; key (2,), uint64.

    Places, lanes and steps are below 2^32.
    """
    mul0, mul1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    weyl0, weyl1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    low, half = np.uint64(0xFFFFFFFF), np.uint64(32)
    second, third = np.uint64(lane), np.uint64(step)
    for j in range(numbers.shape[1]):
        a, b, c, d = np.uint64(first) + np.uint64(j), second, third, np.uint64(0)
        k0, k1 = key[0], key[1]
        for _ in range(ROUNDS):
            p, q = mul0 * a, mul1 * c
            a, b, c, d = (q >> half) ^ b ^ k0, q & low, (p >> half) ^ d ^ k1, p & low
            k0, k1 = (k0 + weyl0) & low, (k1 + weyl1) & low
        numbers[0, j], numbers[1, j] = np.uint32(a), np.uint32(b)
        numbers[2, j], numbers[3, j] = np.uint32(c), np.uint32(d)


@jit()
def draw_all(lane: int, step: int, key: Any, numbers: Any, count: int) -> None:
    """Draw `count` numbers block by block into `numbers` (4, B) and forget them: what an encoder's randomness costs."""
    for first in range(0, -(-count // 4), numbers.shape[1]):
        fill(first, lane, step, key, numbers)


@jit()
def _uniforms(lane: int, step: int, key: Any, out: Any) -> None:
    places = -(-out.size // 4)
    numbers = np.empty((4, BLOCK), np.uint32)
    for first in range(0, places, BLOCK):
        fill(first, lane, step, key, numbers)
        for row in range(4):
            start = row * places + first
            stop = min(out.size, row * places + min(first + BLOCK, places))
            for i in range(start, stop):
                out[i] = np.float32(np.int32(numbers[row, i - start] >> np.uint32(8))) * np.float32(2.0**-24)


def uniforms(count: int, key: ArrayLike, lane: int = 0, step: int = 0) -> NDArray[np.float32]:
    """Return `count` numbers in [0, 1), multiples of 2^-24.

    Element i is number i // P of place i % P, with P = ceil(count / 4).

    Examples:
        >>> uniforms(3, (0, 0)).round(6)
        array([0.399046, 0.88052 , 0.735713], dtype=float32)
    """
    out = np.empty(count, np.float32)
    _uniforms(lane, step, np.asarray(key, np.uint64), out)
    return out
