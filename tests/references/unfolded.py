"""The refinement of the unfolded network for one frame: packed Hermitian matrices, and the covariance test."""

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complexfloating]
Real = NDArray[np.floating]


def pack(matrix: Complex, *, doubled: bool = False) -> Real:
    """Hermitian (L, L) as reals: real parts in the lower triangle, imaginary parts of the lower in the upper."""
    length = matrix.shape[0]
    factor = 2.0 if doubled else 1.0
    packed = np.empty((length, length))
    for i in range(length):
        packed[i, i] = matrix[i, i].real
        for j in range(i):
            packed[i, j] = factor * matrix[i, j].real
            packed[j, i] = factor * matrix[i, j].imag
    return packed


def posteriors(logits: Real) -> Real:
    """Log-odds (N, Q) against silence as probabilities (N, Q + 1)."""
    weights = np.exp(np.column_stack([np.zeros(len(logits)), logits]))
    return weights / weights.sum(axis=1, keepdims=True)


def covariance_test(
    received: Complex, pilots: Complex, noise_power: float, powers: Real, nodes: Real, weights: Real
) -> tuple[Real, Real]:
    """Log ratio of each pilot "sent" against "not sent" beside all *other* pilots, and its mean gain if sent.

    The pilot's own power is left out by leaving it out: one matrix is inverted for each pilot.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, K).
        noise_power: What is white, per entry.
        powers: Power that is supposed of each pilot, shape (K,).
        nodes: Possible gains of each pilot, shape (K, J).
        weights: Their probabilities, shape (J,).
    """
    length, m = received.shape
    ratios, gains = np.empty(len(powers)), np.empty(len(powers))
    for k in range(len(powers)):
        s = pilots[:, k]
        others = np.delete(np.arange(len(powers)), k)
        sigma = (pilots[:, others] * powers[others]) @ pilots[:, others].conj().T + noise_power * np.eye(length)
        inverse = np.linalg.inv(sigma)
        a = (s.conj() @ inverse @ s).real
        b = np.sum(np.abs(received.conj().T @ inverse @ s) ** 2)
        likelihoods = weights * np.exp(-m * np.log(1 + nodes[k] * a) + nodes[k] * b / (1 + nodes[k] * a))
        ratios[k] = np.log(likelihoods.sum())
        gains[k] = (likelihoods * nodes[k]).sum() / likelihoods.sum()
    return ratios, gains
