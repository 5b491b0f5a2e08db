r"""Covariance-based maximum likelihood for one frame, with every inverse computed from scratch.

Given $\gamma$, the columns of the received $Y$ are independent
$CN(0, \Sigma)$ with $\Sigma = S \,\mathrm{diag}(\gamma)\, S^H + \sigma^2 I$.

References:
    Fengler, Haghighatshoar, Jung, Caire, IEEE Trans. Inf. Theory 67(5), 2021. Chen, Sohrabi, Yu,
    IEEE Trans. Inf. Theory 68(3), 2022.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


def covariance_of(
    pilots: NDArray[np.complex128], gammas: NDArray[np.float64], noise_power: float
) -> NDArray[np.complex128]:
    r"""$\Sigma = S\,\mathrm{diag}(\gamma)\,S^H + \sigma^2 I$, shape (L, L)."""
    return (pilots * gammas) @ pilots.conj().T + noise_power * np.eye(len(pilots))


def negative_log_likelihood(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    gammas: NDArray[np.float64],
    noise_power: float,
) -> float:
    r"""$\log\det\Sigma + \mathrm{tr}(\Sigma^{-1} Y Y^H)/M$, in nats per antenna, less $L \log\pi$.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        gammas: Power of each column, linear, shape (N Q,).
        noise_power: sigma^2 per complex entry, linear.
    """
    sigma = covariance_of(pilots, gammas, noise_power)
    _, log_det = np.linalg.slogdet(sigma)
    sample = received @ received.conj().T / received.shape[1]
    return float(log_det + np.trace(np.linalg.inv(sigma) @ sample).real)


def covariance_ml(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    noise_power: float,
    order: NDArray[np.int64],
) -> NDArray[np.float64]:
    r"""Minimise the negative log-likelihood over $\gamma \ge 0$, one coordinate at a time from 0.

    With $a = s^H \Sigma^{-1} s$ and $b = \|Y^H \Sigma^{-1} s\|^2 / M$, the best step along a
    coordinate is $d = \max((b - a)/a^2, -\gamma)$.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        noise_power: sigma^2 per complex entry, linear.
        order: The column visited at each step of each sweep, shape (sweeps, N Q).

    Returns:
        Power of each column, linear, shape (N Q,).
    """
    M = received.shape[1]
    gammas = np.zeros(pilots.shape[1])
    for column in order.ravel():
        s = pilots[:, column]
        inverse = np.linalg.inv(covariance_of(pilots, gammas, noise_power))
        a = (s.conj() @ inverse @ s).real
        b = np.sum(np.abs(received.conj().T @ inverse @ s) ** 2) / M
        gammas[column] += max((b - a) / a**2, -gammas[column])
    return gammas


def block_constrained_covariance_ml(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    noise_power: float,
    order: NDArray[np.int64],
    num_pilots: int,
) -> NDArray[np.float64]:
    r"""Coordinate descent that allows each device at most one non-zero $\gamma$.

    At a visit the block is emptied; with the $a$, $b$ of `covariance_ml`, pilot q would then take
    $d = \max((b - a)/a^2, 0)$ and change the negative log-likelihood by
    $\log(1 + d a) - d b/(1 + d a)$. The pilot that lowers it most is kept; if none does, none is.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        noise_power: sigma^2 per complex entry, linear.
        order: The device visited at each step of each sweep, shape (sweeps, N).
        num_pilots: Q, pilots per device.

    Returns:
        Power of each column, linear, shape (N Q,).
    """
    M = received.shape[1]
    gammas = np.zeros(pilots.shape[1])
    for device in order.ravel():
        block = range(device * num_pilots, (device + 1) * num_pilots)
        gammas[block] = 0.0
        inverse = np.linalg.inv(covariance_of(pilots, gammas, noise_power))
        best_change, best_column, best_step = 0.0, None, 0.0
        for column in block:
            s = pilots[:, column]
            a = (s.conj() @ inverse @ s).real
            b = np.sum(np.abs(received.conj().T @ inverse @ s) ** 2) / M
            d = max((b - a) / a**2, 0.0)
            change = np.log1p(d * a) - d * b / (1 + d * a)
            if change < best_change:
                best_change, best_column, best_step = change, column, d
        if best_column is not None:
            gammas[best_column] = best_step
    return gammas


def block_likelihood_ratios(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    gammas: NDArray[np.float64],
    gains: NDArray[np.float64],
    noise_power: float,
    num_pilots: int,
) -> NDArray[np.float64]:
    r"""Log-likelihood ratio of each pilot against silence, with the other devices' $\gamma$ known.

    $l_q = -M \log(1 + \beta a_q) + \beta b_q / (1 + \beta a_q)$ with
    $a_q = s_q^H \Sigma_{-n}^{-1} s_q$ and $b_q = \|Y^H \Sigma_{-n}^{-1} s_q\|^2$ (a sum over the
    antennas, not a mean), where $\Sigma_{-n}$ leaves out the whole block of device n.

    Args:
        received: Y, shape (L, M).
        pilots: S, shape (L, N Q).
        gammas: Power of each column, linear, shape (N Q,).
        gains: beta of each device, linear, shape (N,).
        noise_power: sigma^2 per complex entry, linear.
        num_pilots: Q, pilots per device.

    Returns:
        $l_q$ in nats, before any prior, shape (N, Q).
    """
    M = received.shape[1]
    llr = np.empty((len(gains), num_pilots))
    for device, beta in enumerate(gains):
        others = gammas.copy()
        others[device * num_pilots : (device + 1) * num_pilots] = 0.0
        inverse = np.linalg.inv(covariance_of(pilots, others, noise_power))
        for q in range(num_pilots):
            s = pilots[:, device * num_pilots + q]
            a = (s.conj() @ inverse @ s).real
            b = np.sum(np.abs(received.conj().T @ inverse @ s) ** 2)
            llr[device, q] = -M * np.log1p(beta * a) + beta * b / (1 + beta * a)
    return llr


def block_map(llr: NDArray[np.float64], activity_prob: float) -> NDArray[np.float64]:
    r"""Posterior of each label: silent has weight $1-\epsilon$, pilot q $(\epsilon/Q) e^{l_q}$.

    Args:
        llr: $l_q$ in nats, shape (N, Q).
        activity_prob: epsilon, in (0, 1).

    Returns:
        Probabilities, shape (N, Q + 1); index 0 is silent, and the argmax is the decision.
    """
    num_devices, num_pilots = llr.shape
    silent = np.full((num_devices, 1), np.log1p(-activity_prob))
    joint = np.hstack([silent, np.log(activity_prob / num_pilots) + llr])
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
