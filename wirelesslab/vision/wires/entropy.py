"""An entropy coder of small integers: range asymmetric numeral systems, four interleaved, frequencies sent along.

Ternary codes have 3 levels, sums of N of them 2N + 1. A code of frequency f of `TOTAL` costs log2(TOTAL / f) bits, and
all frequencies are at least 1. A few bytes may stand for very many zeros: it is the receiver that knows how many codes
there must be. A decoded message ends with all states back at `LEAST` and every byte read, or it is refused.

References: Duda, "Asymmetric numeral systems", arXiv:1311.2540, 2013; the byte-wise form is Giesen's, public domain.
"""

from functools import cache
from struct import Struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.philox import jit

PRECISION = 14
TOTAL = 1 << PRECISION
LEAST = 1 << 23  # a state lives in [LEAST, 256 LEAST)
STATES = 4
MOST_LEVELS = 127  # while levels^2 < TOTAL, the most frequent code can pay for raising all others to frequency 1


@cache
def head_of(levels: int) -> Struct:
    """Return a message's head: frequencies of all codes but the last, and the states with which decoding begins."""
    return Struct(f"<{levels - 1}H{STATES}I")


def frequencies(counts: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Return counts (levels,) scaled to add up to TOTAL, none below 1."""
    n = max(int(counts.sum()), 1)
    found = np.maximum(1, (counts * TOTAL + n // 2) // n)
    found[np.argmax(found)] += TOTAL - found.sum()
    return found.astype(np.uint32)


def entropy_bits(counts: NDArray[np.int64]) -> float:
    """Return the least bits per code that any coder of independent codes with these counts needs."""
    share = counts[counts > 0] / counts.sum()
    return float(-(share * np.log2(share)).sum())


@jit()
def _starts(freq: Any) -> Any:
    """Return where each code's slots begin, shape (levels,)."""
    start = np.empty(freq.size, np.uint32)
    total = np.uint32(0)
    for code in range(freq.size):
        start[code] = total
        total += freq[code]
    return start


@jit()
def _encode(codes: Any, freq: Any, states: Any, out: Any) -> int:
    """Encode codes (n,) from the last to the first; returns where in `out`, filled from its end, the bytes begin."""
    at = out.size
    starts = _starts(freq)
    for back in range(codes.size):
        i = codes.size - 1 - back
        f, start = freq[codes[i]], starts[codes[i]]
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
    starts, owner = _starts(freq), np.empty(TOTAL, np.uint8)
    for code in range(freq.size):
        owner[starts[code] : starts[code] + freq[code]] = code
    mask = np.uint32(TOTAL - 1)
    for i in range(codes.size):
        x = states[i & 3]
        slot = x & mask
        code = owner[slot]
        x = np.uint32(freq[code] * (x >> np.uint32(PRECISION)) + slot - starts[code])
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


def _check_levels(levels: int) -> None:
    if not 2 <= levels <= MOST_LEVELS:
        msg = f"entropy-coded codes: got {levels} levels, expected 2 to {MOST_LEVELS}"
        raise ValueError(msg)


def compress(codes: NDArray[np.uint8], levels: int = 3) -> bytes:
    """Return codes 0 to levels - 1, shape (n,), as bytes.

    Raises:
        ValueError: More than MOST_LEVELS levels, or a code that is none of them.

    Examples:
        >>> len(compress(np.ones(10_000, np.uint8)))
        20
    """
    _check_levels(levels)
    counts = np.bincount(codes, minlength=levels)
    if counts.size > levels:
        msg = f"entropy-coded codes: got a code {counts.size - 1}, expected all below {levels}"
        raise ValueError(msg)
    freq = frequencies(counts)
    states = np.full(STATES, LEAST, np.uint32)
    out = np.empty(2 * codes.size + 8, np.uint8)  # no code costs more than 14 bits
    start = _encode(codes, freq, states, out)
    return head_of(levels).pack(*freq[:-1].tolist(), *states.tolist()) + out[start:].tobytes()


def decompress(data: bytes | memoryview, count: int, levels: int = 3) -> NDArray[np.uint8]:
    """Return `count` codes below `levels`; the caller knows how many are right before memory is taken.

    Raises:
        ValueError: The bytes are not those of so many codes.
    """
    _check_levels(levels)
    head = head_of(levels)
    if len(data) < head.size:
        msg = f"entropy-coded codes: got {len(data)} bytes, expected at least the {head.size} of frequencies and states"
        raise ValueError(msg)
    numbers = head.unpack_from(data)
    some, states = numbers[: levels - 1], numbers[levels - 1 :]
    found = (*some, TOTAL - sum(some))
    if min(found) < 1:
        listed = ", ".join(map(str, found))
        msg = f"entropy-coded codes: got frequencies {listed}, expected all at least 1, sum {TOTAL}"
        raise ValueError(msg)
    if min(states) < LEAST or max(states) >= 256 * LEAST:
        msg = f"entropy-coded codes: got states {list(states)}, expected them in [2^23, 2^31)"
        raise ValueError(msg)
    codes = np.empty(count, np.uint8)
    body = np.frombuffer(data, np.uint8, offset=head.size)
    if not _decode(body, np.array(found, np.uint32), np.array(states, np.uint32), codes):
        msg = f"entropy-coded codes: got {len(data)} bytes that do not hold {count} codes; the message was damaged"
        raise ValueError(msg)
    return codes
