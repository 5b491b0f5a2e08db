"""Fading laws: unit power, and the correlation that they state."""

import numpy as np
import pytest

from tests.mmtc.cells import within_standard_errors
from wirelesslab.mmtc import FADINGS, Kronecker, Rayleigh, Rician
from wirelesslab.rng import stream

LAWS = (
    *(law() for law in FADINGS),
    Rician(k_factor_db=-3),
    Kronecker(correlation_coefficient=0.95),
    Kronecker(correlation_coefficient=0),
)
NUM_DRAWS = 100_000


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_every_antenna_receives_unit_power(law):
    power = np.abs(law.draw(stream(1), NUM_DRAWS, 4)) ** 2
    assert np.all(within_standard_errors(power, 1.0))


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_antennas_correlate_as_stated(law):
    h = law.draw(stream(2), NUM_DRAWS, 4)
    products = h[:, :, None] * h[:, None, :].conj()
    expected = law.correlation(4)
    assert np.all(within_standard_errors(products.real, expected.real))
    assert np.all(within_standard_errors(products.imag, expected.imag))


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_stated_correlation_is_hermitian_positive_with_a_diagonal_of_ones(law):
    correlation = law.correlation(6)
    np.testing.assert_allclose(np.diag(correlation), 1, rtol=1e-12)
    np.testing.assert_allclose(correlation, correlation.conj().T, atol=1e-15)
    assert np.linalg.eigvalsh(correlation).min() > -1e-12


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_phase_is_uniform_so_a_pilot_cannot_be_told_by_its_sign(law):
    h = law.draw(stream(3), NUM_DRAWS, 3)
    for pseudo in (h**2, h, h[:, :1] * h):
        assert np.all(within_standard_errors(pseudo.real, 0.0))
        assert np.all(within_standard_errors(pseudo.imag, 0.0))


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_devices_fade_independently(law):
    h = law.draw(stream(4), NUM_DRAWS, 2)
    products = h[0::2] * h[1::2].conj()
    assert np.all(within_standard_errors(products.real, 0.0))
    assert np.all(within_standard_errors(products.imag, 0.0))


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_a_frame_without_speakers_has_no_channels(law):
    assert law.draw(stream(5), 0, 4).shape == (0, 4)


def test_a_strong_line_of_sight_hardly_fades_and_a_weak_one_is_rayleigh():
    spread = [np.var(np.abs(Rician(k_factor_db=k).draw(stream(6), NUM_DRAWS, 1)) ** 2) for k in (30, -30)]
    assert spread[0] < 0.01  # var |h|^2 = (2 k + 1)/(k + 1)^2
    assert spread[1] == pytest.approx(np.var(np.abs(Rayleigh().draw(stream(7), NUM_DRAWS, 1)) ** 2), rel=0.1)


def test_impossible_fading_is_refused():
    with pytest.raises(ValueError, match="correlation_coefficient: got 1"):
        Kronecker(correlation_coefficient=1)
    with pytest.raises(ValueError, match="k_factor_db: got inf"):
        Rician(k_factor_db=float("inf"))
