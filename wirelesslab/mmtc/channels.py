"""Small-scale block fading, of unit power per antenna.

To add a law, write a class with `draw` and `correlation` and name it in `FADINGS`; its power and
correlation specs run by themselves.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, toeplitz
from scipy.special import j0

from wirelesslab import check
from wirelesslab.mmtc.pilots import complex_normal
from wirelesslab.units import db_to_linear


class Fading(Protocol):
    """The law of a device's channel vector h in one frame; the path gain multiplies it."""

    def draw(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> NDArray[np.complex128]:
        """Return independent channel vectors, shape (num_channels, M)."""
        ...

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return E[h h^H], shape (M, M), with a diagonal of ones."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rayleigh:
    """Rich scattering, independent antennas: h ~ CN(0, I)."""

    def draw(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> NDArray[np.complex128]:
        """Return independent channel vectors, shape (num_channels, M)."""
        return complex_normal(rng, (num_channels, num_antennas))

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return the identity, shape (M, M)."""
        return np.eye(num_antennas, dtype=complex)


@dataclass(frozen=True, kw_only=True)
class Rician:
    """A line of sight over scattering: h = sqrt(κ/(κ+1)) e^{iφ} a(θ) + sqrt(1/(κ+1)) CN(0, I).

    a(θ) is the response of a uniform linear array at half a wavelength, θ and φ uniform, drawn
    anew for every device and frame: a device that moves by more than a wavelength between frames.

    Attributes:
        k_factor_db: κ, power of the line of sight over that of the scattering, in dB.
    """

    k_factor_db: float = 6.0

    def __post_init__(self) -> None:
        check.finite(k_factor_db=self.k_factor_db)

    def draw(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> NDArray[np.complex128]:
        """Return independent channel vectors, shape (num_channels, M)."""
        k_factor = db_to_linear(self.k_factor_db)
        azimuth, phase = rng.uniform(0, 2 * np.pi, (2, num_channels, 1))
        sight = np.exp(1j * (phase + np.pi * np.sin(azimuth) * np.arange(num_antennas)))
        scattered = complex_normal(rng, (num_channels, num_antennas))
        return np.asarray((np.sqrt(k_factor) * sight + scattered) / np.sqrt(k_factor + 1))

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return (κ J_0(π(i-j)) + δ_ij)/(κ+1), shape (M, M)."""
        k_factor = db_to_linear(self.k_factor_db)
        sight = toeplitz(j0(np.pi * np.arange(num_antennas)))
        return np.asarray((k_factor * sight + np.eye(num_antennas)) / (k_factor + 1), dtype=complex)


@dataclass(frozen=True, kw_only=True)
class Kronecker:
    """Correlated antennas, E[h_i h_j*] = r^|i-j| (exponential model); devices stay independent.

    References: Loyka, IEEE Commun. Lett. 5(9), 2001.

    Attributes:
        correlation_coefficient: r, between neighbouring antennas, in [0, 1).
    """

    correlation_coefficient: float = 0.7

    def __post_init__(self) -> None:
        check.within(0, 0.999, correlation_coefficient=self.correlation_coefficient)

    def draw(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> NDArray[np.complex128]:
        """Return independent channel vectors, shape (num_channels, M)."""
        factor = cholesky(self.correlation(num_antennas), lower=True)
        return np.asarray(complex_normal(rng, (num_channels, num_antennas)) @ factor.T)

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return r^|i-j|, shape (M, M)."""
        return np.asarray(toeplitz(self.correlation_coefficient ** np.arange(num_antennas)), dtype=complex)


FADINGS: tuple[type[Fading], ...] = (Rayleigh, Rician, Kronecker)
