"""MMSE denoisers: Bayes' rule, its derivative, and the compiled version of both."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import gamma

from wirelesslab.mmtc import PathLoss, kernels
from wirelesslab.mmtc.denoisers import activity_weights, denoise, row_statistics
from wirelesslab.mmtc.pilots import complex_normal
from wirelesslab.rng import stream

KNOWN = (np.array([1.0]), np.array([1.0]))
MIXTURE = (np.array([0.2, 1.0, 30.0]), np.array([0.5, 0.3, 0.2]))
PATH_LOSS = PathLoss().quadrature(32)
GAINS = {"known": KNOWN, "mixture": MIXTURE, "path loss": PATH_LOSS}
N, Q, M, EPS = 6, 3, 4, 0.2


def rows_of(tau2, *, num_pilots=Q, power=1.0, seed=0):
    """One row in three carries a signal."""
    rng = stream(seed, "rows")
    sent = (rng.random((N, num_pilots, 1)) < 1 / 3) * np.sqrt(power)
    return sent * complex_normal(rng, (N, num_pilots, M)) + np.sqrt(tau2) * complex_normal(rng, (N, num_pilots, M))


def nodes_of(name):
    nodes, weights = GAINS[name]
    return np.tile(nodes, (N, 1)), weights


# --- Bayes' rule ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GAINS)
def test_the_log_ratio_is_that_of_two_gamma_densities_of_the_energy(name):
    nodes, weights = GAINS[name]
    energy, tau2 = np.linspace(0.1, 30, 50), 0.7
    active = sum(w * gamma(M, scale=b + tau2).pdf(energy) for b, w in zip(nodes, weights, strict=True))
    expected = np.log(active) - gamma(M, scale=tau2).logpdf(energy)
    np.testing.assert_allclose(
        row_statistics(energy, tau2, nodes, weights, M).log_ratio, expected, rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", GAINS)
def test_slopes_are_the_derivatives_by_the_energy(name):
    nodes, weights = GAINS[name]
    energy, tau2, h = np.linspace(0.5, 30, 50), 0.7, 1e-5
    low, mid, high = (row_statistics(energy + step, tau2, nodes, weights, M) for step in (-h, 0, h))
    np.testing.assert_allclose(mid.slope, (high.log_ratio - low.log_ratio) / (2 * h), rtol=1e-7)
    np.testing.assert_allclose(mid.shrinkage_slope, (high.shrinkage - low.shrinkage) / (2 * h), rtol=1e-5, atol=1e-9)


@given(
    energies=st.lists(st.floats(0, 200), min_size=2, max_size=5),
    extra=st.floats(0, 100),
    tau2=st.floats(1e-3, 10),
    eps=st.floats(0.001, 0.999),
)
@pytest.mark.parametrize("prior", ["row", "block"])
@pytest.mark.parametrize("name", GAINS)
@settings(max_examples=60, deadline=None)
def test_a_louder_row_is_never_less_likely_to_be_active(name, prior, energies, extra, tau2, eps):
    quiet = np.array(energies)
    loud = quiet.copy()
    loud[0] += extra
    weights = [activity_weights(row_statistics(e, tau2, *GAINS[name], M).log_ratio, eps, prior) for e in (quiet, loud)]
    # Log ratios reach 1e6 here, and weights are exponentials of their differences: 1e6 x 2e-16, rounded up.
    assert weights[1][0] >= weights[0][0] * (1 - 1e-9)
    # Under the block prior another's gain is one's own loss.
    assert np.all(weights[1][1:] <= weights[0][1:] * (1 + 1e-9))
    assert np.all((weights[1] >= 0) & (weights[1] <= 1 + 1e-9))


@given(energy=st.floats(0, 1e4), tau2=st.floats(1e-3, 10), eps=st.floats(0.001, 0.999))
@settings(max_examples=200, deadline=None)
def test_a_block_of_one_row_is_a_row(energy, tau2, eps):
    ratio = row_statistics(np.array([energy]), tau2, *MIXTURE, M).log_ratio
    np.testing.assert_allclose(activity_weights(ratio, eps, "block"), activity_weights(ratio, eps, "row"), rtol=1e-8)


@given(energies=st.lists(st.floats(0, 1e5), min_size=1, max_size=6), eps=st.floats(0.001, 0.999))
@settings(max_examples=100, deadline=None)
def test_the_rows_of_a_block_share_one_activity(energies, eps):
    ratio = row_statistics(np.array(energies), 0.1, *KNOWN, M).log_ratio
    assert activity_weights(ratio, eps, "block").sum() <= 1 + 1e-8  # exponentials of differences of 1e6


@pytest.mark.parametrize("name", GAINS)
def test_the_denoiser_is_the_conditional_mean(name):
    # E|x|^2 = E|eta|^2 + E|x - eta|^2 and E<x, eta> = E|eta|^2: x - eta is orthogonal to eta.
    rng, count, tau2 = stream(1), 40_000, 0.5
    nodes, weights = GAINS[name]
    gain = rng.choice(nodes, size=count, p=weights)
    label = np.where(rng.random(count) < EPS, rng.integers(1, Q + 1, count), 0)
    sent = label[:, None] == np.arange(1, Q + 1)
    x = sent[:, :, None] * (np.sqrt(gain)[:, None] * complex_normal(rng, (count, M)))[:, None, :]
    r = x + np.sqrt(tau2) * complex_normal(rng, x.shape)
    eta, _ = denoise(r, tau2, np.tile(nodes, (count, 1)), weights, EPS, "block")
    inner = np.sum((eta.conj() * (x - eta)).real, axis=(1, 2))
    assert abs(inner.mean()) < 5 * inner.std() / np.sqrt(count)


# --- the derivative -------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["row", "block"])
@pytest.mark.parametrize("name", GAINS)
@pytest.mark.parametrize("tau2", [0.05, 0.6])
def test_the_jacobian_is_the_numerical_derivative_of_every_row_by_itself(name, prior, tau2):
    rows, (nodes, weights), h = rows_of(tau2), nodes_of(name), 1e-5
    _, jacobian = denoise(rows, tau2, nodes, weights, EPS, prior)
    expected = np.zeros((M, M), complex)
    for q in range(Q):
        for i in range(M):
            slopes = []
            for step in (h, 1j * h):
                above, below = rows.copy(), rows.copy()
                above[:, q, i] += step
                below[:, q, i] -= step
                high, low = (denoise(r, tau2, nodes, weights, EPS, prior)[0][:, q] for r in (above, below))
                slopes.append((high - low) / (2 * h))
            expected[i] += (0.5 * (slopes[0] - 1j * slopes[1])).sum(axis=0)  # d/dr = (d/dx - i d/dy)/2
    np.testing.assert_allclose(jacobian, expected, rtol=1e-5, atol=1e-7)


# --- the kernels ----------------------------------------------------------------------------------

TAU2 = np.array([0.02, 0.3, 1.0, 7.0, 0.3])
PRIORS = {"row": kernels.ROW, "block": kernels.BLOCK}


def real_form(rows):
    """(frames, N, Q, M) complex to (2, N Q, M, frames) real."""
    flat = np.moveaxis(rows.reshape(rows.shape[0], -1, rows.shape[-1]), 0, -1)
    return np.ascontiguousarray(np.stack([flat.real, flat.imag]))


def run_kernel(rows, name, prior, dtype, *, scalar=False, slope=1.0, bias=0.0):
    """Return eta (frames, N, Q, M) and sum D (frames, M, M) of the compiled denoiser."""
    nodes, weights = nodes_of(name)
    r = real_form(rows).astype(dtype)
    start = np.full_like(r, 0.25)
    c = r - start
    products = np.stack([0.5 * c[0], c[1] - 0.5 * c[0], -0.5 * c[0]])  # p1 - p3 and p1 + p2 are what S^H Z would be
    estimate = np.stack([start[0], start[1] - start[0], start[0] + start[1]])
    jacobian = np.full((2, 1, 1, r.shape[-1]) if scalar else (2, M, M, r.shape[-1]), np.nan, dtype)
    kernels.denoise(
        products, estimate, TAU2.astype(dtype), np.log(weights).astype(dtype), nodes.astype(dtype),
        kernels.plain_controls(EPS, rows.shape[2], prior, r.shape[-1], dtype, slope, bias), prior, jacobian,
    )  # fmt: skip
    np.testing.assert_allclose(estimate[2], 2 * estimate[0] + estimate[1], rtol=1e-5, atol=1e-5)
    eta = np.moveaxis(estimate[0] + 1j * (estimate[0] + estimate[1]), -1, 0).reshape(rows.shape)
    return eta, np.moveaxis(jacobian[0] + 1j * jacobian[1], -1, 0)


def formula(rows, name, prior):
    nodes, weights = nodes_of(name)
    pairs = [denoise(r, t, nodes, weights, EPS, prior) for r, t in zip(rows, TAU2, strict=True)]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def frames(num_pilots=Q):
    return np.stack([rows_of(t, seed=i, num_pilots=num_pilots, power=3.0) for i, t in enumerate(TAU2)])


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float64, 1e-9), (np.float32, 3e-5)])
@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", GAINS)
def test_the_compiled_denoiser_is_the_formula(name, prior, dtype, rtol):
    rows = frames()
    eta, jacobian = run_kernel(rows, name, PRIORS[prior], dtype)
    expected_eta, expected_jacobian = formula(rows, name, prior)
    np.testing.assert_allclose(eta, expected_eta, rtol=rtol, atol=rtol)
    scale = np.abs(expected_jacobian).max()
    np.testing.assert_allclose(jacobian, expected_jacobian, rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("name", GAINS)
def test_the_scalar_onsager_term_is_the_mean_diagonal_of_the_full_one(name, prior):
    rows = frames()
    eta, mean = run_kernel(rows, name, PRIORS[prior], np.float64, scalar=True)
    expected_eta, full = formula(rows, name, prior)
    np.testing.assert_allclose(eta, expected_eta, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(mean[:, 0, 0], np.trace(full, axis1=1, axis2=2).real / M, rtol=1e-9)


@pytest.mark.parametrize("name", GAINS)
def test_the_compiled_block_prior_of_one_row_is_the_row_prior(name):
    rows = frames(num_pilots=1)
    for block, row in zip(
        run_kernel(rows, name, kernels.BLOCK, np.float64), run_kernel(rows, name, kernels.ROW, np.float64), strict=True
    ):
        np.testing.assert_allclose(block, row, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", GAINS)
def test_the_winner_keeps_the_loudest_row_of_each_block_and_silences_the_rest(name):
    rows = frames()
    eta, jacobian = run_kernel(rows, name, kernels.WINNER, np.float64)
    energy = np.sum(np.abs(rows) ** 2, axis=-1)
    wins = np.arange(Q) == energy.argmax(axis=-1)[..., None]
    expected, _ = formula(rows, name, "row")
    np.testing.assert_allclose(eta, expected * wins[..., None], rtol=1e-9, atol=1e-12)
    # The Jacobian sums over winners alone: each a block of one row whose prior is eps/Q.
    nodes, weights = nodes_of(name)
    for f, tau2 in enumerate(TAU2):
        _, sum_d = denoise(rows[f][wins[f]][:, None], tau2, nodes, weights, EPS / Q, "row")
        np.testing.assert_allclose(jacobian[f], sum_d, rtol=1e-9, atol=1e-9)


def test_the_sum_of_jacobians_is_hermitian():
    _, jacobian = run_kernel(frames(), "mixture", kernels.BLOCK, np.float64)
    np.testing.assert_allclose(jacobian, np.swapaxes(jacobian.conj(), 1, 2), rtol=1e-12)


@pytest.mark.parametrize("energy_scale", [1e-6, 1.0, 1e3, 1e6])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_compiled_denoiser_survives_rows_of_any_loudness(energy_scale, dtype):
    rows = frames() * np.sqrt(energy_scale)
    eta, jacobian = run_kernel(rows, "path loss", kernels.BLOCK, dtype)
    assert np.all(np.isfinite(eta))
    assert np.all(np.isfinite(jacobian))
    assert np.all(np.abs(eta) <= np.abs(rows) * (1 + 1e-5) + 1e-5)
