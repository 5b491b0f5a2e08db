"""Codebooks: unit pilots, each with the property that it is named for."""

import numpy as np
import pytest

from tests.mmtc.cells import STANDARD_ERRORS
from wirelesslab.mmtc import CODEBOOKS, QPSK, Gaussian, PartialDFT, Scenario, ZadoffChu, draw_cell
from wirelesslab.rng import stream

SHAPES = ((30, 200), (13, 64), (48, 48))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_every_pilot_has_norm_one(codebook, shape):
    pilots = codebook().draw(stream(1), *shape)
    assert pilots.shape == shape
    assert pilots.dtype == np.complex128
    np.testing.assert_allclose(np.linalg.norm(pilots, axis=0), 1, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_no_pilot_is_a_multiple_of_another_so_unknown_channels_cannot_confuse_them(codebook, shape):
    pilots = codebook().draw(stream(2), *shape)
    coherence = np.abs(pilots.conj().T @ pilots) - np.eye(shape[1])
    assert coherence.max() < 1 - 1e-6


@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_the_same_stream_gives_the_same_pilots_and_another_one_gives_others(codebook):
    first, again, other = (codebook().draw(stream(seed), 13, 64) for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_unnormalised_gaussian_pilots_have_norm_one_in_the_mean_only():
    length, num_pilots = 20, 20_000
    pilots = Gaussian(normalized=False).draw(stream(5), length, num_pilots)
    energy = np.sum(np.abs(pilots) ** 2, axis=0)  # Gamma(L)/L: variance 1/L
    assert abs(energy.mean() - 1) < STANDARD_ERRORS / np.sqrt(length * num_pilots)
    # The variance of the sample variance of a Gamma(L)/L is (2 + 6/L)/(L^2 n).
    spread = np.sqrt((2 + 6 / length) / num_pilots) / length
    assert abs(energy.var() - 1 / length) < STANDARD_ERRORS * spread


def test_gaussian_entries_are_circular():
    pilots = Gaussian(normalized=False).draw(stream(6), 50, 4000) * np.sqrt(50)
    assert abs(np.mean(pilots**2)) < STANDARD_ERRORS * np.sqrt(2 / pilots.size)  # E|z^2|^2 = 2
    assert abs(np.mean(pilots)) < STANDARD_ERRORS / np.sqrt(pilots.size)


def test_qpsk_pilots_have_a_constant_envelope_and_four_points():
    pilots = QPSK().draw(stream(7), 30, 500) * np.sqrt(30)
    np.testing.assert_allclose(np.abs(pilots), 1, rtol=1e-12)
    points = np.unique(np.round(pilots * np.sqrt(2)).ravel())
    assert set(points) == {1 + 1j, 1 - 1j, -1 + 1j, -1 - 1j}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_of_a_partial_fourier_matrix_are_orthogonal(shape):
    length, num_pilots = shape
    pilots = PartialDFT().draw(stream(8), *shape)
    np.testing.assert_allclose(pilots @ pilots.conj().T, num_pilots / length * np.eye(length), atol=1e-11 * num_pilots)


def test_a_large_partial_fourier_matrix_keeps_exact_phases():
    pilots = PartialDFT().draw(stream(9), 16, 40_000)
    np.testing.assert_allclose(pilots @ pilots.conj().T, 40_000 / 16 * np.eye(16), atol=1e-8)


@pytest.mark.parametrize("prime", [3, 5, 13, 31])
def test_zadoff_chu_has_constant_amplitude_and_ideal_periodic_autocorrelation(prime):
    pilots = ZadoffChu().draw(stream(10), prime, prime * (prime - 1))
    np.testing.assert_allclose(np.abs(pilots), prime**-0.5, rtol=1e-12)
    for shift in range(1, prime):
        np.testing.assert_allclose(np.sum(pilots.conj() * np.roll(pilots, shift, axis=0), axis=0), 0, atol=1e-11)


@pytest.mark.parametrize("prime", [3, 5, 13])
def test_zadoff_chu_sequences_of_other_roots_correlate_at_one_over_root_length(prime):
    pilots = ZadoffChu().draw(stream(11), prime, prime * (prime - 1))
    correlation = np.sort(np.abs(pilots.conj().T @ pilots), axis=1)
    np.testing.assert_allclose(correlation[:, : prime - 1], 0, atol=1e-11)  # other shifts, same root
    np.testing.assert_allclose(correlation[:, prime - 1 : -1], prime**-0.5, atol=1e-11)


def test_zadoff_chu_with_more_pilots_than_sequences_is_refused_and_says_what_to_do():
    with pytest.raises(
        ValueError, match=r"codebook: Zadoff-Chu has 20 sequences of length 6 \(prime 5\), 24 are wanted"
    ) as e:
        draw_cell(Scenario(num_devices=12, bits_per_device=1, pilot_length=6, codebook=ZadoffChu()), stream(1))
    assert "lengthen the pilots" in str(e.value)
    assert "num_devices" in str(e.value)


def test_zadoff_chu_of_one_symbol_is_refused():
    with pytest.raises(ValueError, match="pilot_length 1, expected at least 3"):
        ZadoffChu().draw(stream(1), 1, 1)


def test_two_zadoff_chu_pilots_of_two_symbols_are_refused_or_told_apart():
    # p = 2 has no Zadoff-Chu sequence of this formula: its shifts are [1, -1] and [-1, 1].
    try:
        pilots = ZadoffChu().draw(stream(1), 2, 2)
    except ValueError:
        return
    assert abs(np.vdot(pilots[:, 0], pilots[:, 1])) < 1 - 1e-6


def test_more_symbols_than_fourier_rows_are_refused_and_say_what_to_do():
    with pytest.raises(ValueError, match="PartialDFT draws 30 different rows of a 8-point Fourier matrix") as e:
        draw_cell(Scenario(num_devices=2, pilot_length=30, codebook=PartialDFT()), stream(1))
    assert "pilot_length" in str(e.value)
    assert "num_devices * 2**bits_per_device" in str(e.value)
