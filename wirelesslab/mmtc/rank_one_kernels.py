"""Compiled inner loops of detectors that move one pilot at a time: CL-MP and the Gibbs sampler.

A frame's *state* is P = Σ^-1 and what it makes of every pilot: a_k = s_k^H P s_k and c_k = s_k^H P Y.
With u = P s_i and g_k = s_k^H u, a change of pilot i's power by d is, with f = d / (1 + d a_i),

    P <- P - f u u^H,   a_k <- a_k - f |g_k|^2,   c_k <- c_k - f g_k c_i,

L^2 + K L + K M complex products in place of the K L^2 of looking at all pilots anew; and while nothing
changes, a look at a pilot costs M. A power that is taken out when 1 + d a_i is small has hidden P's
digits: the state is then rebuilt from the powers that stay, which only adds. Always float64, complex
numbers as two reals, pilots last in `cross` and symbols padded with zeros to whole vectors.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.compiling import Complex, jit
from wirelesslab.mmtc.covariance_kernels import LEAST, column, padded_pilots

CANCELS = 1e-5  # below this 1 + d a_i, taking a power out would leave fewer than six digits


def in_noise_alone(
    pilots: Complex, noise_power: float
) -> tuple[NDArray[np.float64], NDArray[np.complex128], NDArray[np.float64]]:
    """Return pilots as the kernels take them, (2, K, padded L), S^H, and a_k = |s_k|^2 / noise_power, (K,)."""
    columns = pilots.astype(np.complex128)
    energy = np.sum(columns.real**2 + columns.imag**2, axis=0) / noise_power
    return padded_pilots(columns), np.ascontiguousarray(columns.T.conj()), energy


def cross_terms(adjoint: NDArray[np.complex128], received: Complex, noise_power: float) -> NDArray[np.float64]:
    """Return S^H Y / noise_power as reals, shape (frames, 2, M, K): every c_k while nobody has power."""
    cross = np.swapaxes(adjoint @ received.astype(np.complex128), 1, 2) / noise_power
    return np.ascontiguousarray(np.stack([cross.real, cross.imag], axis=1))


@jit()
def correlate(pilots: Any, u: Any, first: int, last: int, g: Any) -> None:
    """Find g_k = s_k^H u for pilots first ... last - 1."""
    for k in range(first, last):
        re, im = 0.0, 0.0
        for j in range(u.shape[1]):
            re += pilots[0, k, j] * u[0, j] + pilots[1, k, j] * u[1, j]
            im += pilots[0, k, j] * u[1, j] - pilots[1, k, j] * u[0, j]
        g[0, k], g[1, k] = re, im


@jit()
def change(inverse: Any, energy: Any, cross: Any, u: Any, g: Any, i: int, factor: float) -> None:
    """Move P, a and c by the rank-one change of pilot i; u and g are those of i."""
    padded, num_pilots = u.shape[1], energy.size
    for row in range(padded):
        re, im = factor * u[0, row], factor * u[1, row]
        if re == 0.0 and im == 0.0:
            continue
        for j in range(padded):
            inverse[0, row, j] -= re * u[0, j] + im * u[1, j]
            inverse[1, row, j] -= im * u[0, j] - re * u[1, j]
    for k in range(num_pilots):
        energy[k] = max(energy[k] - factor * (g[0, k] * g[0, k] + g[1, k] * g[1, k]), LEAST)
    for m in range(cross.shape[1]):
        re, im = factor * cross[0, m, i], factor * cross[1, m, i]
        for k in range(num_pilots):
            cross[0, m, k] -= g[0, k] * re - g[1, k] * im
            cross[1, m, k] -= g[0, k] * im + g[1, k] * re


@jit()
def move(pilots: Any, inverse: Any, energy: Any, cross: Any, i: int, d: float, u: Any, g: Any) -> bool:
    """Change the power of pilot i by d; return False, and change nothing, when digits would be lost."""
    growth = 1.0 + d * column(inverse, pilots, i, u)
    if growth < CANCELS:
        return False
    correlate(pilots, u, 0, energy.size, g)
    change(inverse, energy, cross, u, g, i, d / growth)
    return True


@jit()
def rebuild(
    pilots: Any, noise_power: float, energy0: Any, cross0: Any, powers: Any, inverse: Any, energy: Any, cross: Any,
    u: Any, g: Any,
) -> None:  # fmt: skip
    """The state of these powers (K,), from noise alone by adding one after the other."""
    inverse[:] = 0.0
    for symbol in range(inverse.shape[1]):
        inverse[0, symbol, symbol] = 1.0 / noise_power
    energy[:] = energy0
    cross[:] = cross0
    for i in range(powers.size):
        if powers[i] > 0.0:
            move(pilots, inverse, energy, cross, i, powers[i], u, g)


@jit()
def matching_pursuit(
    cross0: NDArray[np.float64],
    energy0: NDArray[np.float64],
    pilots: NDArray[np.float64],
    noise_power: float,
    price: float,
    most: int,
    readjust: bool,
    gammas: NDArray[np.float64],
    steps: NDArray[np.int64],
) -> None:
    """Covariance matching pursuit: at each step the move of one power that raises the posterior most.

    Args:
        cross0: S^H Y / noise_power, real and imaginary part, shape (F, 2, M, K).
        energy0: |s_k|^2 / noise_power, shape (K,).
        pilots: `covariance_kernels.padded_pilots(S)`, shape (2, K, padded L).
        noise_power: Variance per complex entry, linear.
        price: What a pilot must bring to be taken, in nats of the likelihood.
        most: Steps at most.
        readjust: Whether a step may also move the power of a pilot taken before, or take it out.
        gammas: Receives gamma, linear, shape (F, K).
        steps: Receives the steps made, shape (F,).
    """
    num_antennas, num_pilots, padded = cross0.shape[2], pilots.shape[1], pilots.shape[2]
    inverse, u, g = np.empty((2, padded, padded)), np.empty((2, padded)), np.empty((2, num_pilots))
    energy, cross, strength = np.empty(num_pilots), np.empty((2, num_antennas, num_pilots)), np.empty(num_pilots)
    gammas[:] = 0.0
    for f in range(cross0.shape[0]):
        powers = gammas[f]
        rebuild(pilots, noise_power, energy0, cross0[f], powers, inverse, energy, cross, u, g)
        steps[f] = most
        for step in range(most):
            strength[:] = 0.0
            for m in range(num_antennas):
                for k in range(num_pilots):
                    strength[k] += cross[0, m, k] * cross[0, m, k] + cross[1, m, k] * cross[1, m, k]
            best, highest, step_by = -1, 0.0, 0.0
            for k in range(num_pilots):
                a, b = energy[k], strength[k] / num_antennas
                taken = powers[k] > 0.0
                if (taken and not readjust) or (not taken and b <= a):
                    continue
                d = (b - a) / (a * a)
                given_back = taken and d <= -powers[k]
                if given_back:
                    d = -powers[k]
                    if 1.0 + d * a <= 0.0:
                        continue
                gain = num_antennas * (d * b / (1.0 + d * a) - math.log(1.0 + d * a))
                gain += price if given_back else (0.0 if taken else -price)
                if gain > highest:
                    best, highest, step_by = k, gain, d
            # A step that brings less than a hundredth of a nat to a pilot taken before changes no label.
            if best < 0 or (powers[best] > 0.0 and highest < 0.01):
                steps[f] = step
                break
            powers[best] = powers[best] + step_by if step_by > -powers[best] else 0.0
            if not move(pilots, inverse, energy, cross, best, step_by, u, g):
                rebuild(pilots, noise_power, energy0, cross0[f], powers, inverse, energy, cross, u, g)
