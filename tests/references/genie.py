r"""Posteriors that no detector beats: a genie that knows the other devices, and exhaustive search.

Both integrate the channels out exactly. Given the labels of all devices, the columns of the
received $Y$ are independent $CN(0, \Sigma)$, $\Sigma = S \Gamma_b S^H + \sigma^2 I$, where
$\Gamma_b$ is diagonal with $\beta_n$ at the pilot that device n sends and zero elsewhere.
"""

from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


def log_likelihood(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    symbols: NDArray[np.int64],
    gains: NDArray[np.float64],
    noise_power: float,
    num_pilots: int,
) -> float:
    r"""$\log p(Y \mid \text{symbols})$, channels integrated out, less the constant $-LM \log\pi$.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        symbols: Label of each device, 0 silent or 1..Q, shape (N,).
        gains: beta of each device, linear, shape (N,).
        noise_power: sigma^2 per complex entry, linear.
        num_pilots: Q, pilots per device.
    """
    L, M = received.shape
    sigma = noise_power * np.eye(L, dtype=np.complex128)
    for device in np.flatnonzero(symbols):
        s = pilots[:, device * num_pilots + symbols[device] - 1]
        sigma += gains[device] * np.outer(s, s.conj())
    _, log_det = np.linalg.slogdet(sigma)
    energy = np.sum(received.conj() * (np.linalg.inv(sigma) @ received)).real
    return -M * float(log_det) - float(energy)


def log_prior(symbols: NDArray[np.int64], activity_prob: float, num_pilots: int) -> float:
    r"""$\log$ probability of the labels: $1-\epsilon$ if silent, $\epsilon/Q$ per pilot."""
    num_active = np.count_nonzero(symbols)
    num_silent = len(symbols) - num_active
    return num_active * np.log(activity_prob / num_pilots) + num_silent * np.log1p(-activity_prob)


def genie_posteriors(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    symbols: NDArray[np.int64],
    gains: NDArray[np.float64],
    noise_power: float,
    activity_prob: float,
    num_pilots: int,
) -> NDArray[np.float64]:
    """Posterior of each device's label given the received signal and all *other* true labels.

    The block-MAP error rate under it is a lower bound for every detector that knows as much of
    the gains, the noise and the activity.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        symbols: True labels, 0 silent or 1..Q, shape (N,).
        gains: beta of each device, linear, shape (N,).
        noise_power: sigma^2 per complex entry, linear.
        activity_prob: epsilon, in (0, 1).
        num_pilots: Q, pilots per device.

    Returns:
        Probabilities, shape (N, Q + 1); index 0 is silent.
    """
    joint = np.empty((len(gains), num_pilots + 1))
    for device in range(len(gains)):
        for label in range(num_pilots + 1):
            hypothesis = symbols.copy()
            hypothesis[device] = label
            joint[device, label] = log_likelihood(
                received, pilots, hypothesis, gains, noise_power, num_pilots
            ) + log_prior(hypothesis, activity_prob, num_pilots)
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def exhaustive_map(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    gains: NDArray[np.float64],
    noise_power: float,
    activity_prob: float,
    num_pilots: int,
) -> NDArray[np.float64]:
    """Exact posterior marginals, by summing over all (Q + 1)^N label vectors: for tiny N.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        gains: beta of each device, linear, shape (N,).
        noise_power: sigma^2 per complex entry, linear.
        activity_prob: epsilon, in (0, 1).
        num_pilots: Q, pilots per device.

    Returns:
        Probabilities, shape (N, Q + 1); index 0 is silent. Their argmax minimises the symbol
        error rate, which the jointly most probable label vector need not do.
    """
    num_devices = len(gains)
    hypotheses = np.array(list(product(range(num_pilots + 1), repeat=num_devices)))
    joint = np.array(
        [
            log_likelihood(received, pilots, hypothesis, gains, noise_power, num_pilots)
            + log_prior(hypothesis, activity_prob, num_pilots)
            for hypothesis in hypotheses
        ]
    )
    probabilities = np.exp(joint - logsumexp(joint))
    marginals = np.zeros((num_devices, num_pilots + 1))
    for hypothesis, probability in zip(hypotheses, probabilities, strict=True):
        marginals[np.arange(num_devices), hypothesis] += probability
    return marginals
