r"""The posterior of every label by enumeration of all label vectors, channels integrated out.

Given all labels and gains, the columns of Y are independent $CN(0, \Sigma)$ with $\Sigma$ the noise
and the pilots that are sent, each times its gain.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray


def exact_posteriors(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    nodes: NDArray[np.float64],
    weights: NDArray[np.float64],
    noise_power: float,
    activity_prob: float,
    num_pilots: int,
) -> NDArray[np.float64]:
    """Return the posterior of each label, shape (N, Q + 1), label 0 silent.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        nodes: Possible gains of each device, linear, shape (N, J).
        weights: Their probabilities, shape (J,).
        noise_power: sigma^2 per complex entry, linear.
        activity_prob: epsilon, in (0, 1).
        num_pilots: Q.
    """
    (L, M), N, Q = received.shape, len(nodes), num_pilots
    silent = [(0, 0.0, np.log1p(-activity_prob))]  # label, gain, log prior
    per_device = [
        silent
        + [
            (q + 1, float(nodes[n, j]), np.log(activity_prob / Q * weights[j]))
            for q in range(Q)
            for j in range(len(weights))
        ]
        for n in range(N)
    ]
    logs, labels = [], []
    for chosen in product(*per_device):
        sigma = noise_power * np.eye(L, dtype=complex)
        for n, (label, gain, _) in enumerate(chosen):
            if label:
                s = pilots[:, n * Q + label - 1]
                sigma += gain * np.outer(s, s.conj())
        _, log_det = np.linalg.slogdet(sigma)
        fit = np.sum(received.conj() * np.linalg.solve(sigma, received)).real
        logs.append(sum(log_prior for _, _, log_prior in chosen) - M * log_det - fit)
        labels.append([label for label, _, _ in chosen])
    weight = np.exp(np.array(logs) - max(logs))
    table = np.array(labels)
    posterior = np.stack([weight @ (table == label) for label in range(Q + 1)], axis=1)
    return posterior / weight.sum()
