"""Fading laws: unit power, and the correlation that they state."""

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.linalg import toeplitz
from scipy.special import j0

from tests.mmtc.cells import within_standard_errors
from wirelesslab.mmtc import FADINGS, Kronecker, LocalScattering, Rayleigh, Rician, UniformLinear, UniformPlanar
from wirelesslab.mmtc.antennas import aperture, positions, response
from wirelesslab.rng import stream

LAWS = (
    *(law() for law in FADINGS),
    Rician(k_factor_db=-3),
    Kronecker(correlation_coefficient=0.95),
    Kronecker(correlation_coefficient=0),
    LocalScattering(azimuth_deg=30.0, spectrum="laplacian"),
    LocalScattering(array=UniformLinear(spacing_wavelengths=0.7), zenith_deg=70.0, spread_deg=25.0),
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
    with pytest.raises(ValueError, match="spectrum: got 'uniform'"):
        LocalScattering(spectrum="uniform")
    with pytest.raises(ValueError, match="num_antennas: got 5, expected a multiple of num_rows=2"):
        LocalScattering(array=UniformPlanar(num_rows=2)).draw(stream(1), 1, 5)


@pytest.mark.parametrize("spectrum", ["gaussian", "laplacian"])
@pytest.mark.parametrize("spread_deg", [2.0, 10.0, 60.0])
@pytest.mark.parametrize("spacing", [0.5, 3.0])
def test_correlation_follows_from_the_array_and_the_angular_power_spectrum(spectrum, spread_deg, spacing):
    """Against adaptive integration of the definition, of which a wide spectrum keeps what lies within half a turn."""
    law = LocalScattering(
        array=UniformLinear(spacing_wavelengths=spacing), spread_deg=spread_deg, azimuth_deg=25.0, spectrum=spectrum
    )
    spread, direction = np.deg2rad(spread_deg), np.deg2rad(25.0)
    reach = min(np.pi, 40 * spread)

    def density(deviation):
        return np.exp(-((deviation / spread) ** 2) / 2 if spectrum == "gaussian" else -np.sqrt(2) * deviation / spread)

    def mean(wave):
        both = lambda away: density(away) * (wave(away) + wave(-away))  # noqa: E731
        return quad(both, 0, reach, limit=2000, epsabs=1e-13)[0] / (2 * quad(density, 0, reach, limit=500)[0])

    stated = law.correlation(4)
    for apart in (1, 3):
        turn = lambda away, d=apart: 2 * np.pi * d * spacing * np.sin(direction + away)  # noqa: E731
        expected = mean(lambda x, t=turn: np.cos(t(x))) + 1j * mean(lambda x, t=turn: np.sin(t(x)))
        assert stated[apart, 0] == pytest.approx(expected, abs=1e-7)


def test_scatterers_all_around_on_the_horizon_give_the_correlation_of_clarke():
    law = LocalScattering(spread_deg=180.0, sector_deg=360.0)  # a random direction in a full circle: isotropic
    np.testing.assert_allclose(law.correlation(5), toeplitz(j0(np.pi * np.arange(5))), atol=1e-9)


def test_a_narrow_spread_is_one_wave_and_wide_spacing_parts_the_antennas():
    narrow = LocalScattering(spread_deg=0.05, azimuth_deg=40.0).correlation(4)
    wave = response(UniformLinear(), 4, np.deg2rad(40.0))
    np.testing.assert_allclose(narrow, np.outer(wave, wave.conj()), atol=1e-4)
    neighbours = [
        abs(LocalScattering(array=UniformLinear(spacing_wavelengths=d), azimuth_deg=0.0).correlation(2)[0, 1])
        for d in (0.5, 1.0, 2.0, 4.0)
    ]
    assert neighbours == sorted(neighbours, reverse=True)


def test_antennas_of_an_array_stand_where_they_should_and_phases_follow_the_way():
    np.testing.assert_allclose(
        positions(UniformPlanar(num_rows=2, spacing_wavelengths=1.0, row_spacing_wavelengths=0.6), 4),
        [[0, -0.5, 0.3], [0, -0.5, -0.3], [0, 0.5, 0.3], [0, 0.5, -0.3]],
    )
    assert aperture(UniformPlanar(num_rows=2), 4) == pytest.approx(np.hypot(0.5, 0.5))
    from_the_side = response(UniformLinear(), 3, np.pi / 2)  # half a wavelength each: the phase turns by π
    np.testing.assert_allclose(from_the_side[1:] / from_the_side[:-1], -1)
    from_above = response(UniformLinear(), 3, 0.3, zenith=0.0)
    np.testing.assert_allclose(from_above, 1, atol=1e-12)


def test_rows_of_a_planar_array_hear_the_same_wave_later_where_it_comes_from_above():
    law = LocalScattering(array=UniformPlanar(num_rows=2), zenith_deg=60.0)
    h = law.draw(stream(8), 100, 4)
    np.testing.assert_allclose(h[:, 0] / h[:, 1], np.exp(2j * np.pi * 0.5 * np.cos(np.deg2rad(60.0))), rtol=1e-9)
