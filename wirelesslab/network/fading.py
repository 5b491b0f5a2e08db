"""Fast fading, slot by slot: one power gain of mean 1 per user and slot.

To add a law, write a frozen config with `begin` and `draw` and name it in `FADINGS`; its specs (mean 1,
the same gains whatever the batching, restored bit by bit) run by themselves.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check

Gains = NDArray[np.float32]
FadingState = dict[str, Gains]


class Fading(Protocol):
    """How the power gain of each user changes from slot to slot; independent between users."""

    def begin(self, num_users: int, rng: np.random.Generator) -> FadingState:
        """Return what must be remembered from one slot to the next, as arrays."""
        ...

    def draw(self, state: FadingState, slot_s: float, rng: np.random.Generator, gains: Gains) -> None:
        """Fill `gains`, shape (slots, users), linear, mean 1, for the next slots; `state` moves on."""
        ...


@dataclass(frozen=True, kw_only=True)
class NoFading:
    """The channel stands still."""

    def begin(self, num_users: int, rng: np.random.Generator) -> FadingState:
        """Remember nothing."""
        del num_users, rng
        return {}

    def draw(self, state: FadingState, slot_s: float, rng: np.random.Generator, gains: Gains) -> None:
        """Fill `gains` with 1."""
        del state, slot_s, rng
        gains[...] = 1


@dataclass(frozen=True, kw_only=True)
class RayleighFading:
    """Rayleigh fading, independent from slot to slot: exponential power of mean 1."""

    def begin(self, num_users: int, rng: np.random.Generator) -> FadingState:
        """Remember nothing."""
        del num_users, rng
        return {}

    def draw(self, state: FadingState, slot_s: float, rng: np.random.Generator, gains: Gains) -> None:
        """Fill `gains` with exponential variates."""
        del state, slot_s
        rng.standard_exponential(dtype=np.float32, out=gains)


@dataclass(frozen=True, kw_only=True)
class CorrelatedRayleigh:
    r"""Rayleigh fading of a moving user, as a first-order autoregression of the complex gain.

    $h_{t+1} = \rho h_t + \sqrt{1-\rho^2} w_t$ with $\rho = J_0(2 \pi f_D T)$, the correlation of Clarke's
    and Jakes' model one slot of length T apart; further apart the autoregression forgets as $\rho^n$,
    whereas Jakes' correlation rings.

    Attributes:
        doppler_hz: Largest Doppler shift, speed over wavelength.
    """

    doppler_hz: float = 10.0

    def __post_init__(self) -> None:
        check.positive(doppler_hz=self.doppler_hz)

    def correlation(self, slot_s: float) -> float:
        """Return the correlation of the complex gains of neighbouring slots."""
        from scipy.special import j0

        return float(j0(2 * np.pi * self.doppler_hz * slot_s))

    def begin(self, num_users: int, rng: np.random.Generator) -> FadingState:
        """Return stationary complex gains as real and imaginary parts, shape (2, users)."""
        return {"parts": rng.standard_normal((2, num_users), dtype=np.float32) * np.float32(np.sqrt(0.5))}

    def draw(self, state: FadingState, slot_s: float, rng: np.random.Generator, gains: Gains) -> None:
        """Fill `gains` with the squared magnitudes of the following slots."""
        rho = self.correlation(slot_s)
        stay, step = np.float32(rho), np.float32(np.sqrt((1 - rho**2) / 2))
        parts = state["parts"]
        fresh = np.empty_like(parts)
        for slot in range(len(gains)):
            rng.standard_normal(dtype=np.float32, out=fresh)
            fresh *= step
            parts *= stay
            parts += fresh
            np.square(parts[0], out=gains[slot])
            gains[slot] += np.square(parts[1], out=fresh[0])


FADINGS: tuple[type[Fading], ...] = (NoFading, RayleighFading, CorrelatedRayleigh)
