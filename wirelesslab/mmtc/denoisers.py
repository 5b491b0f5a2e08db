"""MMSE denoisers of rows and blocks in Gaussian noise, as plain formulas.

The compiled kernels compute the same in one pass over a batch; these are for state evolution, for
readers and for tests. A row of a device is r = x + CN(0, τ² I) with x = 0 or sqrt(β) h; its
sufficient statistic is the energy |r|² over the M antennas.
"""

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logsumexp

Real = NDArray[np.floating[Any]]


class RowStatistics(NamedTuple):
    """What a row's energy says, gains marginalised.

    Attributes:
        log_ratio: log p(r | active) / p(r | silent).
        slope: Its derivative by the energy, E[Δ] over the posterior of the gain.
        shrinkage: E[β/(β+τ²)] over the posterior of the gain given that the row is active.
        shrinkage_slope: The derivative of the shrinkage by the energy.
        shrinkage_square: E[(β/(β+τ²))²] over the same posterior.
    """

    log_ratio: Real
    slope: Real
    shrinkage: Real
    shrinkage_slope: Real
    shrinkage_square: Real


def row_statistics(energy: Real, tau2: float, nodes: Real, weights: Real, num_antennas: int) -> RowStatistics:
    """Return what row energies say of the row.

    Args:
        energy: |r|², any shape.
        tau2: τ², noise variance per complex entry, linear.
        nodes: Possible gains β, linear; the last axis holds the J nodes, the others broadcast with `energy`.
        weights: Their probabilities, shape (J,).
        num_antennas: M.
    """
    factor = nodes / (nodes + tau2)
    delta = factor / tau2
    each = delta * energy[..., None] - num_antennas * np.log1p(nodes / tau2) + np.log(weights)
    if nodes.shape[-1] == 1:  # a known gain: its posterior is a point
        k = np.broadcast_to(factor[..., 0], energy.shape)
        return RowStatistics(each[..., 0], np.broadcast_to(delta[..., 0], energy.shape), k, np.zeros_like(k), k**2)
    log_ratio = np.asarray(logsumexp(each, axis=-1))
    omega = np.exp(each - log_ratio[..., None])
    slope, shrinkage = np.sum(omega * delta, axis=-1), np.sum(omega * factor, axis=-1)
    shrinkage_slope = np.sum(omega * delta * factor, axis=-1) - slope * shrinkage
    return RowStatistics(log_ratio, slope, shrinkage, shrinkage_slope, np.sum(omega * factor**2, axis=-1))


def activity_weights(log_ratio: Real, activity_prob: float, prior: Literal["row", "block"]) -> Real:
    """Return the posterior probability that each row of each block is active.

    Args:
        log_ratio: Log-likelihood ratios, shape (..., Q).
        activity_prob: ε of the device; each row is active with ε/Q.
        prior: "row" takes rows for independent; "block" knows that at most one is active.
    """
    q = log_ratio.shape[-1]
    share = activity_prob / q
    if prior == "row":
        return np.asarray(expit(log_ratio + np.log(share / (1 - share))))
    joint = log_ratio + np.log(share)
    silent = np.full((*joint.shape[:-1], 1), np.log1p(-activity_prob))
    norm = logsumexp(np.concatenate([silent, joint], axis=-1), axis=-1, keepdims=True)
    return np.asarray(np.exp(joint - norm))


def denoise(
    rows: NDArray[np.complexfloating[Any, Any]],
    tau2: float,
    nodes: Real,
    weights: Real,
    activity_prob: float,
    prior: Literal["row", "block"],
) -> tuple[NDArray[np.complexfloating[Any, Any]], NDArray[np.complexfloating[Any, Any]]]:
    r"""Return the MMSE estimate of one frame's rows and the sum of its Jacobian blocks.

    $\eta(r) = w \bar k r$ and
    $D = w \bar k I + [w (1 - w) l' \bar k + w \bar k'] r^H r$ (Liu and Yu 2018 for one known gain).

    Args:
        rows: R, shape (N, Q, M).
        tau2: τ², linear.
        nodes: Possible gains, shape (N, J).
        weights: Their probabilities, shape (J,).
        activity_prob: ε.
        prior: See `activity_weights`.

    Returns:
        η(R), shape (N, Q, M), and Σ D, shape (M, M).
    """
    m = rows.shape[-1]
    energy = np.sum(np.abs(rows) ** 2, axis=-1)
    s = row_statistics(energy, tau2, nodes[:, None, :], weights, m)
    w = activity_weights(s.log_ratio, activity_prob, prior)
    outer = w * (1 - w) * s.slope * s.shrinkage + w * s.shrinkage_slope
    jacobian = np.sum(w * s.shrinkage) * np.eye(m) + np.einsum("nq,nqi,nqj->ij", outer, rows.conj(), rows)
    return (w * s.shrinkage)[..., None] * rows, jacobian
