"""Compiled inner loops of the covariance method.

One frame at a time: most visits change nothing and cost one product with the inverse covariance
P, which stays in the first-level cache; frames side by side would skip only what all of them
skip. Always float64, as P carries the rounding of all its rank-one changes. Symbols are padded
with zeros to whole vectors, and the padding of P stays zero.

References: Fengler, Haghighatshoar, Jung and Caire, IEEE Trans. Inf. Theory 67(5), 2021.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.compiling import Complex, jit

PAD = 8  # symbols per vector, float64
CANCELS = 1e-4  # taking out a power shrinks P's determinant by this factor: the rank-one change has lost its digits
LEAST = 1e-300  # of a_i, which rounding must not make 0 or less


def padded_pilots(pilots: Complex) -> NDArray[np.float64]:
    """Pilots (L, K) as reals (2, K, padded L): one contiguous sequence per coordinate."""
    length, num_rows = pilots.shape
    padded = np.zeros((2, num_rows, -(-length // PAD) * PAD))
    padded[0, :, :length], padded[1, :, :length] = pilots.real.T, pilots.imag.T
    return padded


@jit()
def _load_frame(frame: Any, noise_power: float, received: Any, inverse: Any) -> None:
    """Split a frame (L, M) into reals (2, M, padded L); start from P = I / noise_power."""
    inverse[:] = 0.0
    received[:] = 0.0
    for symbol in range(frame.shape[0]):
        inverse[0, symbol, symbol] = 1.0 / noise_power
        for m in range(frame.shape[1]):
            received[0, m, symbol] = frame[symbol, m].real
            received[1, m, symbol] = frame[symbol, m].imag


@jit()
def column(inverse: Any, pilots: Any, i: int, u: Any) -> float:
    """Find u = P s_i and return a_i = s_i^H u; four rows of P at a time, as P = P^H."""
    padded = u.shape[1]
    u[:] = 0.0
    for row in range(0, padded, 4):
        for j in range(padded):
            re, im = u[0, j], u[1, j]
            for k in range(row, row + 4):  # unrolled by the compiler
                re += inverse[0, k, j] * pilots[0, i, k] + inverse[1, k, j] * pilots[1, i, k]
                im += inverse[0, k, j] * pilots[1, i, k] - inverse[1, k, j] * pilots[0, i, k]
            u[0, j], u[1, j] = re, im
    a = 0.0
    for j in range(padded):
        a += pilots[0, i, j] * u[0, j] + pilots[1, i, j] * u[1, j]
    return max(a, LEAST)


@jit()
def _project(inverse: Any, pilots: Any, i: Any, received: Any, u: Any) -> tuple[float, float]:
    """Find u = P s_i, a = s_i^H u and b = ||Y^H u||^2 / M."""
    padded = u.shape[1]
    a, b = column(inverse, pilots, i, u), 0.0
    for m in range(received.shape[1]):
        re, im = 0.0, 0.0
        for j in range(padded):
            re += received[0, m, j] * u[0, j] + received[1, m, j] * u[1, j]
            im += received[0, m, j] * u[1, j] - received[1, m, j] * u[0, j]
        b += re * re + im * im
    return a, b / received.shape[1]


@jit()
def _change(inverse: Any, u: Any, factor: float) -> None:
    """P <- P - factor u u^H."""
    padded = u.shape[1]
    for row in range(padded):
        re, im = factor * u[0, row], factor * u[1, row]
        if re == 0.0 and im == 0.0:
            continue
        for j in range(padded):
            inverse[0, row, j] -= re * u[0, j] + im * u[1, j]
            inverse[1, row, j] -= im * u[0, j] - re * u[1, j]


@jit()
def _rebuild(inverse: Any, pilots: Any, powers: Any, noise_power: float, received: Any, u: Any) -> None:
    """P from its powers alone: adding them one by one loses nothing, as removing a strong one would."""
    inverse[:] = 0.0
    for symbol in range(inverse.shape[1]):
        inverse[0, symbol, symbol] = 1.0 / noise_power
    for i in range(powers.size):
        if powers[i] > 0.0:
            a, _ = _project(inverse, pilots, i, received, u)
            _change(inverse, u, powers[i] / (1.0 + powers[i] * a))


@jit()
def coordinate_descent(
    received: Complex,
    pilots: NDArray[np.float64],
    noise_power: float,
    order: NDArray[np.int64],
    gammas: NDArray[np.float64],
) -> None:
    """Minimise log det Sigma + tr(Sigma^-1 Y Y^H) / M over gamma >= 0, one coordinate at a time.

    Sigma = S diag(gamma) S^H + noise_power I, from gamma = 0. Coordinate i moves by d =
    max((b - a) / a^2, -gamma_i), the exact minimum along it.

    Args:
        received: Frames Y, shape (F, L, M).
        pilots: `padded_pilots(S)`, shape (2, K, padded L).
        noise_power: Variance per complex entry, linear.
        order: Coordinates in the order of their visits, shape (sweeps, K), the same in all frames.
        gammas: Receives gamma, linear, shape (F, K).
    """
    padded, num_antennas = pilots.shape[2], received.shape[2]
    inverse, signal = np.empty((2, padded, padded)), np.empty((2, num_antennas, padded))
    u = np.empty((2, padded))
    gammas[:] = 0.0
    for f in range(received.shape[0]):
        _load_frame(received[f], noise_power, signal, inverse)
        for sweep in range(order.shape[0]):
            if sweep > 0:  # sheds the rounding of a sweep's changes
                _rebuild(inverse, pilots, gammas[f], noise_power, signal, u)
            for i in order[sweep]:
                a, b = _project(inverse, pilots, i, signal, u)
                d = max((b - a) / (a * a), -gammas[f, i])
                if d == 0.0:
                    continue
                gammas[f, i] = gammas[f, i] + d if d > -gammas[f, i] else 0.0
                if 1.0 + d * a > CANCELS:
                    _change(inverse, u, d / (1.0 + d * a))
                else:
                    _rebuild(inverse, pilots, gammas[f], noise_power, signal, u)


@jit()
def block_coordinate_descent(
    received: Complex,
    pilots: NDArray[np.float64],
    noise_power: float,
    order: NDArray[np.int64],
    gammas: NDArray[np.float64],
) -> None:
    """`coordinate_descent` with at most one gamma > 0 in the block of each device.

    A visit to device n removes its gamma, then sets the one whose exact minimum lowers the cost
    most, log(1 + d a) - d b / (1 + d a), or none.

    Args:
        received: Frames Y, shape (F, L, M).
        pilots: `padded_pilots(S)`, shape (2, K, padded L).
        noise_power: Variance per complex entry, linear.
        order: Devices in the order of their visits, shape (sweeps, N).
        gammas: Receives gamma, linear, shape (F, K); device n owns K / N coordinates.
    """
    padded, num_antennas = pilots.shape[2], received.shape[2]
    num_pilots = pilots.shape[1] // order.shape[1]
    inverse, signal = np.empty((2, padded, padded)), np.empty((2, num_antennas, padded))
    u, kept = np.empty((2, padded)), np.empty((2, padded))
    gammas[:] = 0.0
    for f in range(received.shape[0]):
        _load_frame(received[f], noise_power, signal, inverse)
        for visit in range(order.size):
            n = order.flat[visit]
            if visit > 0 and visit % order.shape[1] == 0:
                _rebuild(inverse, pilots, gammas[f], noise_power, signal, u)
            for i in range(n * num_pilots, (n + 1) * num_pilots):
                if gammas[f, i] > 0.0:
                    a, b = _project(inverse, pilots, i, signal, u)
                    removed, gammas[f, i] = gammas[f, i], 0.0
                    if 1.0 - removed * a > CANCELS:
                        _change(inverse, u, -removed / (1.0 - removed * a))
                    else:
                        _rebuild(inverse, pilots, gammas[f], noise_power, signal, u)
            best, lowest, step, factor = 0, 0.0, 0.0, 0.0
            for i in range(n * num_pilots, (n + 1) * num_pilots):
                a, b = _project(inverse, pilots, i, signal, u)
                if b > a:
                    d = (b - a) / (a * a)
                    cost = math.log(b / a) - (b - a) / a  # as 1 + d a = b / a
                    if cost < lowest:
                        best, lowest, step, factor = i, cost, d, d * a / b
                        kept[:] = u
            if lowest < 0.0:
                gammas[f, best] = step
                _change(inverse, kept, factor)
