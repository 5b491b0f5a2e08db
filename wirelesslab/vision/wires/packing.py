"""Small integers packed into bytes, and back.

Codes 0, 1, 2 stand for -1, 0, +1. A byte holds four (2 bits each) or five (base 3, as 3^5 = 243 <= 256), not
neighbours but elements a stride apart: byte j of B holds elements j, j + B, j + 2B, ..., so that packing is a vector
operation. What is left over in the last places is code 1, a zero. Sums and levels take as many bits as their
range needs, one behind the other, lowest bit first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.philox import jit

Bytes = NDArray[np.uint8]


def bits_for(levels: int) -> int:
    """Return how many bits tell `levels` values apart: ceil(log2(levels)).

    Examples:
        >>> [bits_for(2 * workers + 1) for workers in (1, 2, 4, 16, 512)]
        [2, 3, 4, 6, 11]
    """
    return (levels - 1).bit_length()


def packed_size(count: int, bits: int) -> int:
    """Return the bytes that `count` values of `bits` bits fill."""
    return -(-count * bits // 8)


@jit()
def pack_quarters(codes: Any, out: Any) -> None:
    """Pack codes (n,) into bytes (ceil(n / 4),)."""
    size, n = out.size, codes.size
    for k in range(4):
        shift = np.uint8(2 * k)
        here = max(0, min(size, n - k * size))
        part = codes[k * size : k * size + here]
        if k == 0:
            out[:] = part
            continue
        for j in range(here):
            out[j] |= part[j] << shift
        for j in range(here, size):
            out[j] |= np.uint8(1) << shift


@jit()
def unpack_quarters(packed: Any, codes: Any) -> bool:
    """Unpack bytes (ceil(n / 4),) into codes (n,); False when a byte holds a code 3, or padding that is no zero."""
    size, n = packed.size, codes.size
    bad = np.uint8(0)
    for j in range(size):  # a code is 3 when both of its bits are set
        bad |= packed[j] & (packed[j] >> np.uint8(1)) & np.uint8(0x55)
    for k in range(4):
        shift = np.uint8(2 * k)
        here = max(0, min(size, n - k * size))
        part = codes[k * size : k * size + here]
        for j in range(here):
            part[j] = (packed[j] >> shift) & np.uint8(3)
        for j in range(here, size):
            bad |= ((packed[j] >> shift) & np.uint8(3)) ^ np.uint8(1)
    return bool(bad == 0)


@jit()
def pack_fifths(codes: Any, out: Any) -> None:
    """Pack codes (n,) into bytes (ceil(n / 5),)."""
    size, n = out.size, codes.size
    weight = 1
    for k in range(5):
        w = np.uint8(weight)
        here = max(0, min(size, n - k * size))
        part = codes[k * size : k * size + here]
        if k == 0:
            out[:] = part
        else:
            for j in range(here):
                out[j] += np.uint8(part[j] * w)
            for j in range(here, size):
                out[j] += w
        weight *= 3


@jit()
def unpack_fifths(packed: Any, codes: Any) -> bool:
    """Unpack bytes (ceil(n / 5),) into codes (n,); False when a byte is above 242, or padding is no zero."""
    size, n = packed.size, codes.size
    good = True
    for j in range(size):
        rest = packed[j]
        good &= rest < np.uint8(243)
        for k in range(5):
            code = rest % np.uint8(3)
            rest //= np.uint8(3)
            place = k * size + j
            if place < n:
                codes[place] = code
            else:
                good &= code == np.uint8(1)
    return good


@jit()
def pack_bits(values: Any, bits: int, out: Any) -> None:
    """Pack values (n,), uint32 below 2^bits, into bytes (ceil(n bits / 8),)."""
    held, count, at = np.uint64(0), 0, 0
    for i in range(values.size):
        held |= np.uint64(values[i]) << np.uint64(count)
        count += bits
        while count >= 8:
            out[at] = np.uint8(held & np.uint64(0xFF))
            held >>= np.uint64(8)
            count -= 8
            at += 1
    if count > 0:
        out[at] = np.uint8(held & np.uint64(0xFF))


@jit()
def unpack_bits(packed: Any, bits: int, values: Any) -> bool:
    """Unpack bytes (ceil(n bits / 8),) into values (n,), uint32; False when bits behind the last value are set."""
    held, count, at = np.uint64(0), 0, 0
    mask = (np.uint64(1) << np.uint64(bits)) - np.uint64(1)
    for i in range(values.size):
        while count < bits:
            held |= np.uint64(packed[at]) << np.uint64(count)
            count += 8
            at += 1
        values[i] = np.uint32(held & mask)
        held >>= np.uint64(bits)
        count -= bits
    return bool(held == np.uint64(0))
