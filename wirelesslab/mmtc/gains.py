"""Large-scale gains, and what the base station knows of them.

To add a law, write a class with `draw` and `quadrature` and name it in `GAIN_LAWS`; its specs
(mean and distribution agree between the two) run by themselves.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.units import db_to_linear

GainKnowledge = Literal["known", "distribution", "mean"]
GAIN_KNOWLEDGE: tuple[GainKnowledge, ...] = ("known", "distribution", "mean")


class GainLaw(Protocol):
    """The distribution of a device's large-scale gain β, linear; 1 means received at `snr_db`."""

    def draw(self, rng: np.random.Generator, num_devices: int) -> NDArray[np.float64]:
        """Return independent gains, shape (num_devices,)."""
        ...

    def quadrature(self, num_nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return nodes and weights, shape (num_nodes,) or fewer, for expectations over β."""
        ...


@dataclass(frozen=True, kw_only=True)
class EqualGain:
    """Perfect power control: every device arrives with the same gain.

    Attributes:
        gain_db: The gain in dB.
    """

    gain_db: float = 0.0

    def __post_init__(self) -> None:
        check.finite(gain_db=self.gain_db)

    def draw(self, rng: np.random.Generator, num_devices: int) -> NDArray[np.float64]:
        """Return the gain of each device, shape (num_devices,)."""
        del rng
        return np.full(num_devices, db_to_linear(self.gain_db))

    def quadrature(self, num_nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the one node with weight 1."""
        del num_nodes
        return np.array([db_to_linear(self.gain_db)]), np.ones(1)


@dataclass(frozen=True, kw_only=True)
class UniformGainDb:
    """Imperfect power control: gains uniform in dB.

    Attributes:
        low_db: The weakest gain in dB.
        high_db: The strongest gain in dB.
    """

    low_db: float = -5.0
    high_db: float = 5.0

    def __post_init__(self) -> None:
        check.finite(low_db=self.low_db, high_db=self.high_db)
        if self.low_db >= self.high_db:
            msg = f"low_db: got {self.low_db}, expected less than high_db={self.high_db}"
            raise ValueError(msg)

    def draw(self, rng: np.random.Generator, num_devices: int) -> NDArray[np.float64]:
        """Return independent gains, shape (num_devices,)."""
        return db_to_linear(rng.uniform(self.low_db, self.high_db, num_devices))

    def quadrature(self, num_nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Gauss-Legendre nodes in dB."""
        x, weights = np.polynomial.legendre.leggauss(num_nodes)
        gain_db = (self.low_db + self.high_db) / 2 + (self.high_db - self.low_db) / 2 * x
        return db_to_linear(gain_db), weights / weights.sum()


@dataclass(frozen=True, kw_only=True)
class PathLoss:
    """No power control: devices uniform in an annulus, β = (d/R)^-exponent, so β = 1 at the cell edge.

    Attributes:
        exponent: Path loss exponent.
        min_distance: Inner radius over the cell radius; without it the mean gain would be infinite.
    """

    exponent: float = 3.67
    min_distance: float = 0.05

    def __post_init__(self) -> None:
        check.positive(exponent=self.exponent, min_distance=self.min_distance)
        if self.min_distance >= 1:
            msg = f"min_distance: got {self.min_distance}, expected a fraction of the cell radius below 1"
            raise ValueError(msg)

    def draw(self, rng: np.random.Generator, num_devices: int) -> NDArray[np.float64]:
        """Return independent gains, shape (num_devices,)."""
        inner = self.min_distance**2
        distance = np.sqrt(inner + (1 - inner) * rng.random(num_devices))
        return np.asarray(distance**-self.exponent)

    def quadrature(self, num_nodes: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return Gauss-Legendre nodes in log distance, weighted with the annulus' density."""
        x, weights = np.polynomial.legendre.leggauss(num_nodes)
        log_distance = np.log(self.min_distance) * (1 - x) / 2
        weights = weights * np.exp(2 * log_distance)
        return np.exp(-self.exponent * log_distance), weights / weights.sum()


GAIN_LAWS: tuple[type[GainLaw], ...] = (EqualGain, UniformGainDb, PathLoss)


@dataclass(frozen=True, eq=False)
class GainPrior:
    """What the station knows of the gains: for each device, a mixture of possible values.

    Attributes:
        nodes: Possible gains, linear, shape (N, J); J = 1 when a gain is known or taken for its mean.
        weights: Their probabilities, shape (J,).
    """

    nodes: NDArray[np.float64]
    weights: NDArray[np.float64]


def gain_prior(
    knowledge: GainKnowledge, law: GainLaw, path_gain: NDArray[np.float64], num_nodes: int = 32
) -> GainPrior:
    """Return what the station knows of `path_gain`, shape (N,).

    Args:
        knowledge: "known", the gains themselves; "distribution", only their law, marginalised by
            quadrature; "mean", only the law's mean, taken for the truth.
        law: The law.
        path_gain: The true gains.
        num_nodes: Nodes of the quadrature; 32 resolve 48 dB of path loss at 16 antennas.
    """
    check.one_of(GAIN_KNOWLEDGE, gain_knowledge=knowledge)
    if knowledge == "known":
        return GainPrior(path_gain[:, None], np.ones(1))
    nodes, weights = law.quadrature(num_nodes)
    if knowledge == "mean":
        fine, fine_weights = law.quadrature(256)
        nodes, weights = np.array([fine @ fine_weights]), np.ones(1)
    return GainPrior(np.tile(nodes, (path_gain.size, 1)), weights)
