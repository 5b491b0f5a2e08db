"""Codebooks that are made for their correlations: orthogonal within a device's block, or low everywhere.

Two pilots of one device are never sent together, but must be told apart by the symbol; pilots of different devices
are sent together. Hence two kinds of pairs, "within" and "between" blocks.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.threads import one_blas_thread

Pilots = NDArray[np.complex128]


@dataclass(frozen=True, kw_only=True)
class OrthogonalBlocks:
    """Each block of columns is drawn from a random unitary matrix of its own; blocks are independent.

    Attributes:
        block: Columns of a block, at most the pilot length: the scenario's pilots per device or a multiple.
    """

    block: int = 4

    def __post_init__(self) -> None:
        check.positive_integer(block=self.block)

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> Pilots:
        """Return pilots, shape (L, num_pilots).

        Raises:
            ValueError: There are no `block` orthogonal pilots of that length.
        """
        if self.block > pilot_length:
            msg = (
                f"codebook: OrthogonalBlocks of {self.block} got pilot_length {pilot_length}, expected at least the "
                "block; lengthen the pilots or lower block and bits_per_device"
            )
            raise ValueError(msg)
        num_blocks = -(-num_pilots // self.block)
        bases = _isometries(rng, num_blocks, pilot_length, self.block)
        return np.ascontiguousarray(bases.transpose(1, 0, 2).reshape(pilot_length, -1)[:, :num_pilots])


@dataclass(frozen=True, kw_only=True)
class Designed:
    r"""Pilots of low coherence: a descent on a smooth maximum of the squared correlations.

    From Gaussian pilots, $\frac1p \log \sum_{i \ne j} \exp(p\, w_{ij} |s_i^H s_j|^2)$ is lowered over columns of
    norm 1, while p grows: first the mean of the correlations falls (to a tight frame), then their maximum. The
    weight of pairs within a block is `within_weight`, that of other pairs 1: 4 lets a correlation within a block
    be half of one between blocks. The algorithm and its numbers are our choice, in the spirit of Tropp, Dhillon,
    Heath and Strohmer, IEEE Trans. Inf. Theory 51(1), 2005 (structured tight frames).

    The budget is fixed: `iterations` steps of 2 L K² complex multiplications and K² exponentials each, about 0.2 s
    for 200 pilots of 20 symbols and 1 s for 400 of 40. A process makes each of `num_designs` designs of a shape
    once and keeps it; a draw picks one and turns it by a random unitary, which changes no correlation.

    Attributes:
        block: Columns of a block: the scenario's pilots per device.
        within_weight: How much more a squared correlation within a block counts.
        iterations: Steps of the descent.
        sharpness: p at the end; it begins at 5.
        step: Length of the first step, of the column that moves most; it falls to 0 linearly.
        num_designs: Different designs of a shape; more draws than that share designs, and are no independent pilots.
    """

    block: int = 4
    within_weight: float = 4.0
    iterations: int = 100
    sharpness: float = 200.0
    step: float = 0.2
    num_designs: int = 16

    def __post_init__(self) -> None:
        check.positive_integer(block=self.block, iterations=self.iterations, num_designs=self.num_designs)
        check.positive(within_weight=self.within_weight, step=self.step)
        check.within(5, 1e4, sharpness=self.sharpness)

    def draw(self, rng: np.random.Generator, pilot_length: int, num_pilots: int) -> Pilots:
        """Return pilots, shape (L, num_pilots).

        Raises:
            MemoryError: The correlations would not fit in memory.
        """
        check.fits_in_memory(
            6 * 16.0 * num_pilots**2,
            f"the design of {num_pilots} pilots",
            "lower num_devices or bits_per_device, or take OrthogonalBlocks",
        )
        pilots = _designed(self, pilot_length, num_pilots, int(rng.integers(self.num_designs)))
        turned = _isometries(rng, 1, pilot_length, pilot_length)[0] @ pilots
        return np.asarray(turned / np.linalg.norm(turned, axis=0))


@lru_cache(maxsize=64)
def _designed(config: Designed, pilot_length: int, num_pilots: int, number: int) -> Pilots:
    """The design of that number; one thread, so that it is the same whoever asks for it."""
    with one_blas_thread():
        return _descend(config, pilot_length, num_pilots, number)


def _descend(config: Designed, pilot_length: int, num_pilots: int, number: int) -> Pilots:
    """A hundred or so small steps from Gaussian pilots."""
    rng = stream(number, "designed pilots", pilot_length, num_pilots)
    pairs = rng.standard_normal((2, pilot_length, num_pilots))
    pilots: Pilots = pairs[0] + 1j * pairs[1]
    pilots /= np.linalg.norm(pilots, axis=0)
    blocks = np.arange(num_pilots) // config.block
    weights = np.where(blocks[:, None] == blocks, config.within_weight, 1.0)
    np.fill_diagonal(weights, 0.0)
    for step in range(config.iterations):
        done = step / config.iterations
        sharpness = 5.0 * (config.sharpness / 5.0) ** done
        gram = pilots.conj().T @ pilots
        squares = weights * (gram.real**2 + gram.imag**2)
        # The weights of a soft maximum; their common factor cancels in the step's length.
        pull = weights * np.exp(sharpness * (squares - squares.max()))
        gradient = pilots @ (pull * gram)
        gradient -= pilots * np.sum(pilots.real * gradient.real + pilots.imag * gradient.imag, axis=0)
        longest = np.linalg.norm(gradient, axis=0).max()
        if longest < 1e-14:
            break  # orthogonal already, or a single pilot
        pilots = pilots - config.step * (1 - done) / longest * gradient
        pilots /= np.linalg.norm(pilots, axis=0)
    pilots.setflags(write=False)
    return np.asarray(pilots)


def _isometries(rng: np.random.Generator, number: int, rows: int, columns: int) -> Pilots:
    """Matrices with orthonormal columns, uniform (Haar), shape (number, rows, columns)."""
    pairs = rng.standard_normal((2, number, rows, columns))
    q, r = np.linalg.qr(pairs[0] + 1j * pairs[1])
    diagonal = np.diagonal(r, axis1=-2, axis2=-1)
    return np.asarray(q * (diagonal / np.abs(diagonal))[:, None, :])


@dataclass(frozen=True, kw_only=True)
class Correlations:
    """Correlations |s_i^H s_j| of pilots, which have norm 1.

    Attributes:
        within: The largest between pilots of one block; 0 for blocks of one.
        between: The largest between pilots of different blocks; 0 for a single block.
        within_rms: Root of the mean square within blocks.
        between_rms: Root of the mean square between blocks.
        total: Total squared correlation, all pairs and the diagonal.
        welch: Welch's bound: no K pilots of length L have a smaller largest correlation.
        least_total: Welch's bound of the total, max(K, K²/L), which tight frames meet.
    """

    within: float
    between: float
    within_rms: float
    between_rms: float
    total: float
    welch: float
    least_total: float


def correlations(pilots: NDArray[np.complexfloating[Any, Any]], block: int) -> Correlations:
    """Return how `pilots`, shape (L, K), of which each device owns `block` columns, correlate.

    References: Welch, IEEE Trans. Inf. Theory 20(3), 1974. Beyond K = L² pilots the bound cannot be met.

    Examples:
        >>> correlations(np.eye(4, dtype=complex), 2).between
        0.0
    """
    s = check.array(pilots, (None, None), "L, num_pilots", name="pilots")
    check.positive_integer(block=block)
    length, number = s.shape
    squares = np.abs(s.conj().T @ s) ** 2
    total = float(squares.sum())
    np.fill_diagonal(squares, 0.0)
    blocks = np.arange(number) // block
    own = blocks[:, None] == blocks
    pairs = int(own.sum()) - number, int((~own).sum())
    inside, outside = squares[own], squares[~own]
    return Correlations(
        within=float(np.sqrt(inside.max(initial=0.0))),
        between=float(np.sqrt(outside.max(initial=0.0))),
        within_rms=float(np.sqrt(inside.sum() / max(pairs[0], 1))),
        between_rms=float(np.sqrt(outside.sum() / max(pairs[1], 1))),
        total=total,
        welch=float(np.sqrt(max(number - length, 0) / (length * max(number - 1, 1)))),
        least_total=float(max(number, number**2 / length)),
    )
