"""State evolution: the effective noise that AMP should see, in the limit of a large cell."""

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from wirelesslab import check
from wirelesslab.mmtc.denoisers import activity_weights, row_statistics
from wirelesslab.mmtc.gains import gain_prior
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.rng import stream

Real = NDArray[np.floating[Any]]
NUM_NUMBERS = 2**19  # random energies per expectation: relative error of τ² about 0.2 %


def state_evolution(
    scenario: Scenario, *, iterations: int = 20, prior: Literal["row", "block"] = "block"
) -> NDArray[np.float64]:
    r"""Return τ² at each AMP iteration, shape (iterations,).

    $\tau_0^2 = \sigma^2 + \epsilon N E[\beta]/L$ and
    $\tau_{t+1}^2 = \sigma^2 + \frac{N}{L M} E\|x - \eta(x + \tau_t w)\|^2$ over a device's block. It
    predicts AMP for N, L → ∞ at fixed N/L; in small overloaded cells AMP does worse.
    The channel is taken for Rayleigh, as the denoiser takes it.
    References: Liu and Yu, IEEE Trans. Signal Process. 66(11), 2018, section IV.

    Args:
        scenario: The cell; its `gain_knowledge` decides what the denoiser knows ("mean" is refused:
            a mismatched denoiser has no such recursion here).
        iterations: Iterations.
        prior: The denoiser.
    """
    check.positive_integer(iterations=iterations)
    check.one_of(("row", "block"), prior=prior)
    s = scenario
    if s.gain_knowledge == "mean":
        msg = "gain_knowledge: got 'mean', expected 'known' or 'distribution'; the denoiser must be matched"
        raise ValueError(msg)
    nodes, node_weights = s.gain_law.quadrature(32)
    if s.activity_prob == 0:
        return np.full(iterations, s.noise_power)
    if s.activity_prob == 1 and s.pilots_per_device == 1:
        prior = "row"
    trace = [s.noise_power + s.activity_prob * s.num_devices / s.pilot_length * float(nodes @ node_weights)]
    while len(trace) < iterations:
        error = _mean_square_error(s, trace[-1], nodes, node_weights, prior)
        trace.append(s.noise_power + s.num_devices / s.pilot_length * error)
    return np.array(trace)


def _mean_square_error(
    s: Scenario, tau2: float, nodes: Real, node_weights: Real, prior: Literal["row", "block"]
) -> float:
    """E||x - η||²/M of one device's block.

    η is a conditional mean under the prior that it supposes, so the error is E|x|² - E|η|²: for the
    row prior row by row, for the block prior block by block.
    """
    q, m = s.pilots_per_device, s.num_antennas
    eps = min(s.activity_prob, 1 - 1e-12)
    num_samples = max(256, NUM_NUMBERS // (q * nodes.size))
    own, others = _standard_energies(num_samples, q, m)
    known = s.gain_knowledge == "known"
    law_nodes, law_weights = nodes, node_weights
    signal = estimated = 0.0
    for beta, weight in zip(law_nodes, law_weights, strict=True):
        supposed = gain_prior("known", s.gain_law, np.array([beta])) if known else None
        prior_nodes = supposed.nodes[0] if supposed else law_nodes
        prior_weights = supposed.weights if supposed else law_weights
        for first_power, probability in ((beta + tau2, eps), (tau2, 1 - eps)):
            energy = tau2 * others
            energy[:, 0] = first_power * own
            stats = row_statistics(energy, tau2, prior_nodes, prior_weights, m)
            w = activity_weights(stats.log_ratio, eps, prior)
            power = np.mean(np.sum((w * stats.shrinkage) ** 2 * energy, axis=-1)) / m
            estimated += float(weight) * probability * float(power)
        signal += float(weight) * eps * float(beta)
    return max(signal - estimated, 0.0)


@lru_cache(maxsize=8)
def _standard_energies(num_samples: int, q: int, m: int) -> tuple[Real, Real]:
    """Gamma(M) energies: a stratified column for the row that may be active, and all Q rows."""
    rng = stream(0, "state evolution", num_samples, q, m)
    stratum = (np.arange(num_samples) + rng.random(num_samples)) / num_samples
    return np.asarray(gammaincinv(m, stratum)), rng.standard_gamma(m, (num_samples, q))
