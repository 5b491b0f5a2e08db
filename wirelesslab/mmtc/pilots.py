"""Pilot codebooks: what the devices may send. To add one, write a class with `draw` and name it in `CODEBOOKS`."""

from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.designed_pilots import Designed, OrthogonalBlocks


class Codebook(Protocol):
    """A law of pilots, named by its configuration."""

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> NDArray[np.complex128]:
        """Return pilots, shape (L, num_pilots), columns of norm 1 unless the codebook says otherwise.

        Raises:
            ValueError: The codebook has fewer than `num_pilots` pilots of that length.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Gaussian:
    """Independent complex Gaussian entries.

    Attributes:
        normalized: Scale every column to norm exactly 1; otherwise entries are CN(0, 1/L), of
            norm 1 in the mean only.
    """

    normalized: bool = True

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> NDArray[np.complex128]:
        """Return pilots, shape (L, num_pilots)."""
        pilots = complex_normal(rng, (pilot_length, num_pilots))
        if self.normalized:
            return np.asarray(pilots / np.linalg.norm(pilots, axis=0))
        return np.asarray(pilots / np.sqrt(pilot_length))


@dataclass(frozen=True, kw_only=True)
class QPSK:
    """Independent entries from the four points (±1 ± i)/sqrt(2L): constant envelope."""

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> NDArray[np.complex128]:
        """Return pilots, shape (L, num_pilots)."""
        quadrant = rng.integers(4, size=(pilot_length, num_pilots))
        return np.asarray(np.exp(1j * np.pi * (quadrant / 2 + 0.25)) / np.sqrt(pilot_length))


@dataclass(frozen=True, kw_only=True)
class PartialDFT:
    """L rows of the num_pilots-point Fourier matrix, drawn without repetition; a tight frame."""

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> NDArray[np.complex128]:
        """Return pilots, shape (L, num_pilots)."""
        if pilot_length > num_pilots:
            msg = (
                f"codebook: PartialDFT draws {pilot_length} different rows of a {num_pilots}-point Fourier matrix; "
                "expected pilot_length of at most num_devices * 2**bits_per_device"
            )
            raise ValueError(msg)
        rows = np.sort(rng.choice(num_pilots, pilot_length, replace=False))
        # The exponent is reduced in integers: exact phases whatever the size.
        phase = np.outer(rows, np.arange(num_pilots)) % num_pilots
        pilots = np.exp(-2j * np.pi * phase / num_pilots)[:, rng.permutation(num_pilots)]
        return np.asarray(pilots / np.sqrt(pilot_length))


@dataclass(frozen=True, kw_only=True)
class ZadoffChu:
    """Cyclic shifts of Zadoff-Chu sequences, shared out at random among the devices.

    With p the largest prime that is at most L, a root u in 1..p-1 and a shift give a sequence
    exp(-iπ u n(n+1)/p), extended cyclically to L symbols: (p-1) p different pilots.
    References: Chu, IEEE Trans. Inf. Theory 18(4), 1972; cyclic extension as in LTE uplink reference signals.
    """

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> NDArray[np.complex128]:
        """Return pilots, shape (L, num_pilots)."""
        prime = _largest_prime(pilot_length)
        if num_pilots > prime * (prime - 1):
            msg = (
                f"codebook: Zadoff-Chu has {prime * (prime - 1)} sequences of length {pilot_length} (prime {prime}), "
                f"{num_pilots} are wanted; lengthen the pilots, lower num_devices or bits_per_device"
            )
            raise ValueError(msg)
        chosen = rng.permutation(prime * (prime - 1))[:num_pilots]
        root, shift = 1 + chosen // prime, chosen % prime
        n = (np.arange(pilot_length)[:, None] + shift) % prime
        phase = (root * (n * (n + 1) // 2)) % prime  # exp(-iπ u n(n+1)/p) has period p in u n(n+1)/2
        return np.asarray(np.exp(-2j * np.pi * phase / prime) / np.sqrt(pilot_length))


CODEBOOKS: tuple[type[Codebook], ...] = (Gaussian, QPSK, PartialDFT, ZadoffChu, OrthogonalBlocks, Designed)


def complex_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.complex128]:
    """Return independent CN(0, 1) entries: variance 1, half of it in each real dimension."""
    pairs = rng.standard_normal((*shape, 2))
    pairs *= np.sqrt(0.5)
    return pairs.view(np.complex128)[..., 0]


def _largest_prime(limit: int) -> int:
    for candidate in range(limit, 2, -1):  # of length 2, shifts are collinear
        if all(candidate % factor for factor in range(2, int(candidate**0.5) + 1)):
            return candidate
    msg = f"codebook: got pilot_length {limit}, expected at least 3 for Zadoff-Chu"
    raise ValueError(msg)


def pilots_digest(pilots: NDArray[np.complexfloating[Any, Any]]) -> str:
    """Return a digest of a set of pilots, the same in both precisions."""
    single = np.ascontiguousarray(pilots, dtype=np.complex64)
    return sha256(single.tobytes() + repr(single.shape).encode()).hexdigest()[:16]
