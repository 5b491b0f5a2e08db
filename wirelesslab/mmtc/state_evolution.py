"""State evolution: the effective noise that AMP should see, in the limit of a large cell."""

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincinv

from wirelesslab import check
from wirelesslab.mmtc.denoisers import activity_weights, row_statistics
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.rng import stream

Real = NDArray[np.floating[Any]]
NUM_ENERGIES = 2**18  # energies per expectation: relative error of τ² a few tenths of a per cent


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
            a mismatched denoiser has no such recursion here), and so is more than one state of arrival.
        iterations: Iterations.
        prior: The denoiser.
    """
    check.positive_integer(iterations=iterations)
    check.one_of(("row", "block"), prior=prior)
    s = scenario
    check_in_step(s)
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


def check_in_step(scenario: Scenario) -> None:
    """Refuse a scenario whose devices arrive in more than one state, or beside the one that is supposed.

    Raises:
        ValueError: They do.
    """
    if scenario.arrival.num_states > 1 or not scenario.arrival.on_grid:
        msg = (
            f"arrival: got {scenario.arrival!r}, expected one state, such as Synchronous(); columns of one pilot in "
            "several states depend on each other, and their summed posterior has no closed form: take the genie"
        )
        raise ValueError(msg)


def _mean_square_error(
    s: Scenario, tau2: float, nodes: Real, node_weights: Real, prior: Literal["row", "block"]
) -> float:
    r"""E||x - η||²/M of one device's block, as the mean posterior variance.

    Given that a row is active and its gain is β_j, x is $CN(k_j r, k_j τ² I)$; the variance follows
    from the first two moments over the posterior of activity and gain. Averaging it, instead of the
    error itself, is exact for a conditional mean and leaves much less scatter.
    """
    q, m = s.pilots_per_device, s.num_antennas
    eps = min(s.activity_prob, 1 - 1e-12)
    nodes_each = 1 if s.gain_knowledge == "known" else nodes.size
    num_samples = max(2**10, min(NUM_ENERGIES, 4 * NUM_ENERGIES // nodes_each) // q)
    own, others, level = _standard_draws(num_samples, q, m)
    beta = nodes[np.searchsorted(np.cumsum(node_weights)[:-1], level)][:, None]
    known = s.gain_knowledge == "known"
    supposed, weights = (beta[:, :, None], np.ones(1)) if known else (nodes, node_weights)
    error = 0.0
    for own_power, probability in ((beta + tau2, eps), (tau2, 1 - eps)):
        energy = tau2 * others
        energy[:, :1] = own_power * own[:, None]
        stats = row_statistics(energy, tau2, supposed, weights, m)
        w = activity_weights(stats.log_ratio, eps, prior)
        second = w * (stats.shrinkage_square * energy + m * stats.shrinkage * tau2)
        variance = np.sum(second - (w * stats.shrinkage) ** 2 * energy, axis=-1)
        error += probability * float(np.mean(variance)) / m
    return error


@lru_cache(maxsize=8)
def _standard_draws(num_samples: int, q: int, m: int) -> tuple[Real, Real, Real]:
    """Draw Gamma(M) energies of the row that may be active and of all Q rows, and gain levels.

    Each column is stratified and shuffled (a Latin hypercube). The same numbers serve every iteration and
    scenario, so that the recursion is smooth.
    """
    rng = stream(0, "state evolution", num_samples, q, m)
    order = rng.permuted(np.tile(np.arange(num_samples), (q + 2, 1)), axis=1)
    strata = (order + rng.random(order.shape)) / num_samples
    energies = gammaincinv(m, strata[:-1])
    return energies[0], np.ascontiguousarray(energies[1:].T), strata[-1]
