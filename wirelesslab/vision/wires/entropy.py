"""An entropy coder of ternary codes: range asymmetric numeral systems, four interleaved, frequencies sent along.

A code of frequency f of `TOTAL` costs log2(TOTAL / f) bits, and all three frequencies are at least 1. A few bytes may
stand for very many zeros: it is the receiver that knows how many codes there must be. A decoded message ends with
all states back at `LEAST` and every byte read, or it is refused.

References: Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013; the byte-wise form is Giesen's, public domain.
"""

from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.philox import jit

PRECISION = 14
TOTAL = 1 << PRECISION
LEAST = 1 << 23  # a state lives in [LEAST, 256 LEAST)
STATES = 4
HEAD = Struct("<HH4I")  # frequencies of codes 0 and 1, and the states with which decoding begins


def frequencies(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return counts (3,) scaled to add up to TOTAL, none below 1."""
    n = max(int(counts.sum()), 1)
    found = np.maximum(1, (counts * TOTAL + n // 2) // n)
    found[np.argmax(found)] += TOTAL - found.sum()
    return found.astype(np.uint32)


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Return the least bits per code that any coder of independent codes with these counts needs."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


@jit()
def _encode(codes: Any, freq: Any, states: Any, out: Any) -> int:
    """Encode codes (n,) from the last to the first; returns where in `out`, filled from its end, the bytes begin."""
    at = out.size
    start0, start1, start2 = np.uint32(0), freq[0], freq[0] + freq[1]
    for back in range(codes.size):
        i = codes.size - 1 - back
        code = codes[i]
        f = freq[0] if code == 0 else (freq[1] if code == 1 else freq[2])
        start = start0 if code == 0 else (start1 if code == 1 else start2)
        x = states[i & 3]
        limit = np.uint64(f) << np.uint64(31 - PRECISION)
        while np.uint64(x) >= limit:
            at -= 1
            out[at] = np.uint8(x & np.uint32(0xFF))
            x >>= np.uint32(8)
        quotient = np.uint32(x // f)
        states[i & 3] = np.uint32((quotient << np.uint32(PRECISION)) + (x - quotient * f) + start)
    return int(at)


@jit()
def _decode(data: Any, freq: Any, states: Any, codes: Any) -> bool:
    """Decode bytes into codes (n,); False unless bytes and states come out even."""
    at = 0
    start1, start2 = freq[0], freq[0] + freq[1]
    mask = np.uint32(TOTAL - 1)
    for i in range(codes.size):
        x = states[i & 3]
        slot = x & mask
        code = np.uint8(0) if slot < start1 else (np.uint8(1) if slot < start2 else np.uint8(2))
        f = freq[0] if code == 0 else (freq[1] if code == 1 else freq[2])
        start = np.uint32(0) if code == 0 else (start1 if code == 1 else start2)
        x = np.uint32(f * (x >> np.uint32(PRECISION)) + slot - start)
        while x < np.uint32(LEAST):
            if at >= data.size:
                return False
            x = np.uint32((x << np.uint32(8)) | np.uint32(data[at]))
            at += 1
        states[i & 3] = x
        codes[i] = code
    even = at == data.size
    for k in range(4):
        even &= states[k] == np.uint32(LEAST)
    return bool(even)


def compress(codes: NDArray[np.uint8]) -> bytes:
    """Return codes 0, 1, 2, shape (n,), as bytes.

    Examples:
        >>> len(compress(np.ones(10_000, np.uint8)))
        20
    """
    freq = frequencies(np.bincount(codes, minlength=3)[:3])
    states = np.full(STATES, LEAST, np.uint32)
    out = np.empty(2 * codes.size + 8, np.uint8)  # no code costs more than 14 bits
    start = _encode(codes, freq, states, out)
    return HEAD.pack(int(freq[0]), int(freq[1]), *states.tolist()) + out[start:].tobytes()


def decompress(data: bytes | memoryview, count: int) -> NDArray[np.uint8]:
    """Return `count` codes; the caller knows how many are right before memory is taken.

    Raises:
        ValueError: The bytes are not those of so many codes.
    """
    if len(data) < HEAD.size:
        msg = f"entropy-coded codes: got {len(data)} bytes, expected at least the {HEAD.size} of frequencies and states"
        raise ValueError(msg)
    first, second, *states = HEAD.unpack_from(data)
    third = TOTAL - first - second
    if min(first, second, third) < 1:
        msg = f"entropy-coded codes: got frequencies {first}, {second}, {third}, expected all at least 1, sum {TOTAL}"
        raise ValueError(msg)
    if min(states) < LEAST or max(states) >= 256 * LEAST:
        msg = f"entropy-coded codes: got states {states}, expected them in [2^23, 2^31)"
        raise ValueError(msg)
    codes = np.empty(count, np.uint8)
    freq = np.array([first, second, third], np.uint32)
    body = np.frombuffer(data, np.uint8, offset=HEAD.size)
    if not _decode(body, freq, np.array(states, np.uint32), codes):
        msg = f"entropy-coded codes: got {len(data)} bytes that do not hold {count} codes; the message was damaged"
        raise ValueError(msg)
    return codes
