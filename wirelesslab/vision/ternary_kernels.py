"""Compiled inner loops of ternary gradients: statistics, and codes drawn and packed in one go.

An entry g is kept, as the sign of its scaler s, when u s < |g| with u uniform in [0, 1): entries of s and more are
always kept, zeros never, and the mean is that of the clipped entry, to 2^-24 s. The numbers u belong to the
elements, not to the packing, so that all three codings of a tensor carry the same codes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.philox import BLOCK, fill, jit

PART = 4096  # values whose moments are found at once: 16 kB, which stay in the first-level cache


@jit()
def _moments(values: Any, bits: Any) -> Any:
    total, squares, largest = 0.0, 0.0, np.int32(0)
    for i in range(values.size):
        value = np.float64(values[i])
        total += value
        squares += value * value
    for i in range(bits.size):
        largest = max(largest, bits[i] & np.int32(0x7FFFFFFF))
    return total, squares, largest


@jit()
def moments(values: Any, bits: Any) -> tuple[float, float, float]:
    """Return sum and sum of squares of values (n,), and the largest magnitude.

    `bits` are the same values seen as int32: magnitudes order like their bits, which the compiler can do with
    vectors, and NaN and infinity come out on top. Some thousand values at a time are read once from memory.
    """
    total, squares, largest = 0.0, 0.0, np.int32(0)
    for first in range(0, values.size, PART):
        some = _moments(values[first : first + PART], bits[first : first + PART])
        total += some[0]
        squares += some[1]
        largest = max(largest, some[2])
    return total, squares, float(np.int32(largest).view(np.float32))


@jit(inline="always")
def _code(value: Any, drawn: Any, unit: Any) -> Any:
    """Return 0, 1, 2 for -1, 0, +1."""
    kept = np.float32(np.int32(drawn >> np.uint32(8))) * unit < abs(value)
    return (np.int32(2) if value > 0 else np.int32(0)) if kept else np.int32(1)


@jit()
def draw_codes(values: Any, scale: Any, lane: int, step: int, key: Any, codes: Any) -> None:
    """Draw codes (n,) of values (n,): 0, 1, 2 for -1, 0, +1."""
    n = values.size
    places = -(-n // 4)
    numbers = np.empty((4, BLOCK), np.uint32)
    unit = np.float32(scale) * np.float32(2.0**-24)
    for first in range(0, places, BLOCK):
        fill(first, lane, step, key, numbers)
        for row in range(4):
            start, stop = row * places + first, min(n, row * places + min(first + BLOCK, places))
            some, out, drawn = values[start:stop], codes[start:stop], numbers[row]
            for j in range(stop - start):
                out[j] = np.uint8(_code(some[j], drawn[j], unit))


@jit()
def draw_quarters(values: Any, scale: Any, lane: int, step: int, key: Any, out: Any) -> None:
    """`draw_codes` and `pack_quarters` in one go: byte j holds just the elements that share the place j."""
    n, places = values.size, out.size
    whole = n - 3 * places  # places that all four rows have; rows but the last are full
    numbers = np.empty((4, BLOCK), np.uint32)
    unit = np.float32(scale) * np.float32(2.0**-24)
    rows = values[:places], values[places : 2 * places], values[2 * places : 3 * places], values[3 * places :]
    for first in range(0, places, BLOCK):
        fill(first, lane, step, key, numbers)
        here = min(first + BLOCK, places) - first
        full = max(0, min(here, whole - first))
        a, b, c, d = rows[0][first:], rows[1][first:], rows[2][first:], rows[3][first:]
        part, u0, u1, u2, u3 = out[first : first + here], numbers[0], numbers[1], numbers[2], numbers[3]
        for j in range(full):
            low = _code(a[j], u0[j], unit) | _code(b[j], u1[j], unit) << np.int32(2)
            high = _code(c[j], u2[j], unit) << np.int32(4) | _code(d[j], u3[j], unit) << np.int32(6)
            part[j] = np.uint8(low | high)
        for j in range(full, here):
            byte = np.int32(0)
            for row in range(4):
                place = row * places + first + j
                code = _code(values[place], numbers[row, j], unit) if place < n else np.int32(1)
                byte |= code << np.int32(2 * row)
            part[j] = np.uint8(byte)


def bits_of(values: NDArray[np.float32]) -> NDArray[np.int32]:
    """Return the same memory seen as integers."""
    return values.view(np.int32)


def lifted(values: NDArray[np.float32], scale: float) -> tuple[NDArray[np.float32], np.float32]:
    """Return values and scaler, both times 2^60 where the scaler is so small that a number times 2^-24 would vanish."""
    if scale >= 2.0**-90:
        return values, np.float32(scale)
    lift = np.float32(2.0**60)
    return values * lift, np.float32(scale) * lift
