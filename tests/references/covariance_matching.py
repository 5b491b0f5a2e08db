"""Covariance matching pursuit for one frame, every inverse from scratch."""

import numpy as np
from numpy.typing import NDArray

from tests.references.covariance import covariance_of


def covariance_matching_pursuit(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    noise_power: float,
    price: float,
    *,
    readjust: bool,
    most: int,
) -> tuple[NDArray[np.float64], int]:
    """Return gamma (N Q,) and the steps made; see `CovarianceMatching` for what a step is.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        noise_power: sigma^2 per complex entry, linear.
        price: Nats of the likelihood that a pilot must bring.
        readjust: Whether powers may be moved again.
        most: Steps at most.
    """
    M, gammas = received.shape[1], np.zeros(pilots.shape[1])
    for step in range(most):
        inverse = np.linalg.inv(covariance_of(pilots, gammas, noise_power))
        u = inverse @ pilots
        a = np.sum(pilots.conj() * u, axis=0).real
        b = np.sum(np.abs(u.conj().T @ received) ** 2, axis=1) / M
        d = np.maximum((b - a) / a**2, -gammas)
        taken = gammas > 0
        gain = M * (d * b / (1 + d * a) - np.log(1 + d * a))
        gain = gain + np.where(taken, np.where(d == -gammas, price, 0.0), -price)
        gain[(d == 0) | (taken & (not readjust))] = -np.inf
        best = int(np.argmax(gain))
        if gain[best] <= 0 or (taken[best] and gain[best] < 0.01):
            return gammas, step
        gammas[best] += d[best]
    return gammas, most
