"""Small-scale block fading, of unit power per antenna.

To add a law, write a class with `draw` and `correlation` and name it in `FADINGS`; its power and
correlation specs run by themselves.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cholesky, toeplitz
from scipy.special import j0

from wirelesslab import check
from wirelesslab.mmtc.antennas import AntennaArray, UniformLinear, aperture, response
from wirelesslab.mmtc.pilots import complex_normal
from wirelesslab.units import db_to_linear

AngularSpectrum = Literal["gaussian", "laplacian"]
ANGULAR_SPECTRA: tuple[AngularSpectrum, ...] = ("gaussian", "laplacian")


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


@dataclass(frozen=True, kw_only=True)
class LocalScattering:
    r"""Scatterers around each device: the waves of one device arrive within an angular spread.

    Given the device's direction, h ~ CN(0, R) with
    $R = \int p(\delta)\, a(\varphi + \delta) a(\varphi + \delta)^H d\delta$: the correlation follows from the
    array and the angular power spectrum. The spectrum is cut at ±180° and, on its tails, where less than 1e-9 of
    the power is left. With a fixed direction all devices share one correlation; with random ones each device
    has its own, and `correlation` is their mean, under which h is no longer Gaussian.
    References: Björnson, Hoydis and Sanguinetti, Massive MIMO Networks, 2017, section 2.6 (local scattering).

    Attributes:
        array: Where the antennas stand.
        spread_deg: Standard deviation of the azimuth around the device's direction, in degrees.
        azimuth_deg: φ, every device's direction from broadside, in degrees; None draws it for each
            device and frame, uniformly in the sector.
        sector_deg: Width of the sector around broadside for random directions, in degrees.
        spectrum: Law of the deviation: "gaussian" or "laplacian".
        zenith_deg: Direction of all waves from the vertical, in degrees; 90 is the horizon.
    """

    array: AntennaArray = UniformLinear()
    spread_deg: float = 10.0
    azimuth_deg: float | None = None
    sector_deg: float = 120.0
    spectrum: AngularSpectrum = "gaussian"
    zenith_deg: float = 90.0

    def __post_init__(self) -> None:
        check.within(0.01, 180, spread_deg=self.spread_deg)
        check.within(0, 360, sector_deg=self.sector_deg)
        check.within(0, 180, zenith_deg=self.zenith_deg)
        if self.azimuth_deg is not None:
            check.finite(azimuth_deg=self.azimuth_deg)
        check.one_of(ANGULAR_SPECTRA, spectrum=self.spectrum)

    def draw(self, rng: np.random.Generator, num_channels: int, num_antennas: int) -> NDArray[np.complex128]:
        """Return independent channel vectors, shape (num_channels, M)."""
        if self.azimuth_deg is not None:
            factor = _root(self.correlation(num_antennas))
            return np.asarray(complex_normal(rng, (num_channels, num_antennas)) @ factor.T)
        # The quadrature's rays with Gaussian weights have exactly the quadrature's correlation.
        deviation, power = self._rays(num_antennas)
        half = np.deg2rad(self.sector_deg) / 2
        direction = rng.uniform(-half, half, num_channels)
        h = np.empty((num_channels, num_antennas), dtype=np.complex128)
        step = max(1, 2**22 // (deviation.size * num_antennas))
        for start in range(0, num_channels, step):
            phi = direction[start : start + step, None] + deviation
            weight = np.sqrt(power) * complex_normal(rng, phi.shape)
            waves = response(self.array, num_antennas, phi, np.deg2rad(self.zenith_deg))
            h[start : start + step] = np.einsum("nk,nkm->nm", weight, waves, optimize=True)
        return h

    def correlation(self, num_antennas: int) -> NDArray[np.complex128]:
        """Return R, or its mean over the sector, shape (M, M), by Gauss-Legendre quadrature to about 1e-9."""
        deviation, power = self._rays(num_antennas)
        directions, share = np.deg2rad([self.azimuth_deg or 0.0]), np.ones(1)
        if self.azimuth_deg is None:
            nodes, share = np.polynomial.legendre.leggauss(_num_nodes(self.array, num_antennas))
            directions, share = nodes * np.deg2rad(self.sector_deg) / 2, share / 2
        phi = (directions[:, None] + deviation).ravel()
        waves = response(self.array, num_antennas, phi, np.deg2rad(self.zenith_deg))
        weighted = waves * np.outer(share, power).ravel()[:, None]
        return np.asarray(weighted.T @ waves.conj())

    def _rays(self, num_antennas: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Deviations in radians and their powers, which sum to 1."""
        spread = np.deg2rad(self.spread_deg)
        nodes, weights = np.polynomial.legendre.leggauss(_num_nodes(self.array, num_antennas))
        reach = min(np.pi, spread * (6.2 if self.spectrum == "gaussian" else 15.0))
        away = (nodes + 1) / 2 * reach
        density = np.exp(-((away / spread) ** 2) / 2 if self.spectrum == "gaussian" else -np.sqrt(2) * away / spread)
        power = np.concatenate([weights * density, weights * density])
        return np.concatenate([-away, away]), power / power.sum()


def _num_nodes(array: AntennaArray, num_antennas: int) -> int:
    """Nodes for half a spectrum: enough for its shape and for one turn of the phase between nodes or less."""
    return 32 + int(np.ceil(8 * aperture(array, num_antennas)))


def _root(correlation: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """A square root, also where rounding has made the smallest eigenvalues negative."""
    values, vectors = np.linalg.eigh(correlation)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


FADINGS: tuple[type[Fading], ...] = (Rayleigh, Rician, Kronecker, LocalScattering)
