"""What arrives over time when a device sends an impulse: paths with delays and coefficients at each antenna."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Taps:
    """Impulse responses of independent devices.

    Attributes:
        coefficients: a, shape (channels, M, paths).
        delays_s: τ, shape (channels, paths); unused paths have coefficients of 0.
    """

    coefficients: NDArray[np.complex128]
    delays_s: NDArray[np.float64]

    def at(self, offset_hz: float = 0.0) -> NDArray[np.complex128]:
        """Return the coefficient of one subcarrier, that far from the carrier, shape (channels, M)."""
        turns = np.exp(-2j * np.pi * offset_hz * self.delays_s)
        return np.asarray(np.einsum("nmp,np->nm", self.coefficients, turns))

    @property
    def power_delay_profile(self) -> NDArray[np.float64]:
        """Return mean power over the antennas, shape (channels, paths)."""
        return np.asarray(np.mean(self.coefficients.real**2 + self.coefficients.imag**2, axis=1))

    @property
    def delay_spread_s(self) -> NDArray[np.float64]:
        """Return the rms delay spread of each channel, in seconds, shape (channels,)."""
        return rms_delay_spread_s(self.power_delay_profile, self.delays_s)


def rms_delay_spread_s(power: NDArray[np.float64], delays_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the square root of the delays' variance under the powers, over the last axis, in seconds."""
    share = power / power.sum(axis=-1, keepdims=True)
    mean = np.sum(share * delays_s, axis=-1, keepdims=True)
    return np.asarray(np.sqrt(np.sum(share * (delays_s - mean) ** 2, axis=-1)))
