r"""Orthogonal AMP for one frame, with the inverse of an L x L matrix in each iteration."""

import numpy as np
from numpy.typing import NDArray

from tests.references.amp import block_posteriors


def oamp(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    gains: NDArray[np.float64],
    noise_power: float,
    activity_prob: float,
    num_pilots: int,
    *,
    iterations: int = 20,
    damping: float = 1.0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""Return posteriors (N, Q + 1) and the trace of tau^2 (iterations,).

    With the linear estimator $W = v S^H (v S S^H + \sigma^2 I)^{-1}$ and
    $\xi = \mathrm{tr}(W S)/K$: $R = X + W (Y - S X)/\xi$, $\tau^2 = v (1 - \xi)/\xi$. The denoiser's
    mean posterior variance $\bar v$ gives $1/v' = 1/\bar v - 1/\tau^2$ and
    $X' = v' (\eta(R)/\bar v - R/\tau^2)$. Both are damped.
    """
    (L, M), K, Q = received.shape, pilots.shape[1], num_pilots
    beta = np.repeat(gains, Q)[:, None]
    X = np.zeros((K, M), complex)
    v = max((np.mean(np.abs(received) ** 2) - noise_power) * L / np.sum(np.abs(pilots) ** 2), 1e-6 * noise_power)
    trace = []
    for iteration in range(iterations):
        W = v * pilots.conj().T @ np.linalg.inv(v * pilots @ pilots.conj().T + noise_power * np.eye(L))
        xi = np.trace(W @ pilots).real / K
        R = X + W @ (received - pilots @ X) / xi
        tau2 = v * (1 - xi) / xi
        trace.append(tau2)
        shrinkage = beta / (beta + tau2)
        energy = np.sum(np.abs(R) ** 2, axis=1, keepdims=True)
        llr = shrinkage / tau2 * energy - M * np.log1p(beta / tau2)
        posteriors = block_posteriors(llr.reshape(-1, Q), activity_prob)
        if iteration + 1 == iterations:
            break
        p = posteriors[:, 1:].reshape(-1, 1)
        eta = p * shrinkage * R
        # E|x|^2 - |E x|^2, per entry: a row that is active is CN(k r, k tau^2 I).
        second = p * (shrinkage**2 * energy + M * shrinkage * tau2)
        bar = np.mean(second - np.sum(np.abs(eta) ** 2, axis=1, keepdims=True)) / M
        new = 1 / (1 / bar - 1 / tau2)
        X = damping * new * (eta / bar - R / tau2) + (1 - damping) * X
        v = damping * max(new, 1e-6 * noise_power) + (1 - damping) * v
    return posteriors, np.array(trace)
