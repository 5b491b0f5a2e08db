"""OAMP: the one that is fast is the slow, obvious one; and it serves pilots that AMP was not made for."""

from dataclasses import replace

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, OVERLOADED, TINY, frames_of
from tests.references.oamp import oamp as oracle
from wirelesslab.mmtc import PartialDFT, PathLoss, Scenario, simulate, state_evolution, symbol_errors
from wirelesslab.mmtc.detectors import AMP, OAMP
from wirelesslab.mmtc.limits import block_map_rates
from wirelesslab.rng import stream

CELLS = {
    "light": LIGHT,
    "one antenna": replace(LIGHT, num_antennas=1, snr_db=5.0),
    "activity only": replace(LIGHT, bits_per_device=0, num_antennas=2),
    "fewer pilots than symbols": replace(TINY, pilot_length=16),
    "path loss": replace(LIGHT, gain_law=PathLoss()),
    "rows of a DFT": replace(LIGHT, codebook=PartialDFT()),
}


@pytest.mark.parametrize("damping", [0.6, 1.0])
@pytest.mark.parametrize("cell", CELLS)
def test_oamp_is_the_oracle_frame_by_frame(cell, damping):
    observation, truth = frames_of(CELLS[cell], 4, "oracle")
    o = observation
    detection = OAMP(damping=damping, iterations=12).detect(o)
    for frame in range(4):
        posteriors, trace = oracle(
            o.received[frame], o.pilots, truth.path_gain, o.noise_power, o.activity_prob, o.pilots_per_device,
            iterations=12, damping=damping,
        )  # fmt: skip
        # Rounding is amplified as v falls by orders of magnitude: 1e-6 of what is far above it.
        np.testing.assert_allclose(detection.history["effective_noise"][frame], trace, rtol=1e-5)
        np.testing.assert_allclose(detection.posteriors[frame], posteriors, atol=1e-6)


def paired(scenario, *detectors, draws, frames_per_draw, seed):
    """Errors of each detector on the same draws, shape (detectors, draws), among so many labels a draw."""
    errors = np.empty((len(detectors), draws), np.int64)
    for draw in range(draws):
        observation, truth = simulate(scenario, stream(seed, "oamp", draw), num_frames=frames_per_draw)
        errors[:, draw] = [symbol_errors(d.detect(observation), truth).errors for d in detectors]
    return errors


def interval(difference):
    """The 99 % interval of a mean over draws, Student's t: (low, high)."""
    from scipy.stats import t

    error = difference.std(ddof=1) / np.sqrt(difference.size)
    half = t.ppf(0.995, difference.size - 1) * error
    return difference.mean() - half, difference.mean() + half


def scaled(times):
    """The crowded cell of the recorded points at -6 dB, grown as state evolution grows it: loads, K/L and σ² stay."""
    return Scenario(
        num_devices=100 * times, bits_per_device=2, pilot_length=30 * times, num_antennas=4,
        snr_db=-6.0 - 10 * np.log10(times),
    )  # fmt: skip


def test_as_a_cell_of_independent_pilots_grows_it_comes_to_err_as_amp_does():
    # The cell is one of the recorded operating points and its growth has no choice: it was not picked for how this
    # test comes out. Small, OAMP errs a quarter less; eight times as large (K = 3,200) the two are within a tenth.
    amp, oamp = paired(scaled(1), AMP(), OAMP(), draws=8, frames_per_draw=40, seed=53)
    assert interval(oamp - amp)[1] < -0.1 * amp.mean()
    amp, oamp = paired(scaled(8), AMP(), OAMP(), draws=6, frames_per_draw=6, seed=53)
    low, high = interval(oamp - amp)
    assert max(-low, high) < 0.1 * amp.mean()
    evolved = block_map_rates(scaled(8), float(state_evolution(scaled(8), iterations=20)[-1])).ser
    # Some 700 errors have a standard error of 4 %, and the cell is finite.
    assert oamp.mean() / (6 * 800) == pytest.approx(evolved, rel=0.15)


@pytest.mark.parametrize(
    ("scenario", "most"),
    [
        (
            Scenario(
                num_devices=60, bits_per_device=0, pilot_length=40, num_antennas=2, activity_prob=0.2,
                codebook=PartialDFT(),
            ),
            0.8,
        ),
        (
            Scenario(num_devices=100, bits_per_device=1, pilot_length=40, num_antennas=4, snr_db=-4.0,
                     codebook=PartialDFT()),
            1.0,
        ),
    ],
    ids=["K = 1.5 L", "K = 5 L"],
)  # fmt: skip
def test_with_rows_of_a_dft_for_pilots_it_is_better_than_amp(scenario, most):
    # S S^H is K/L times the identity: rows of X disturb each other by K/L - 1 and not, as AMP thinks, by K/L.
    amp, oamp = paired(scenario, AMP(), OAMP(), draws=12, frames_per_draw=40, seed=32)
    _, high = interval(oamp - amp)
    assert high < 0
    assert oamp.sum() < most * amp.sum()


def test_undamped_it_collapses_in_overload_and_damped_it_does_not():
    amp, free, damped = paired(OVERLOADED, AMP(), OAMP(damping=1.0), OAMP(), draws=6, frames_per_draw=32, seed=33)
    assert free.sum() > 2 * amp.sum()
    assert interval(damped - amp)[1] < 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"iterations": 0}, ValueError, "iterations: got 0, expected a whole number of at least 1"),
        ({"iterations": 2.5}, TypeError, "iterations: got 2.5"),
        ({"damping": 0}, ValueError, "damping: got 0"),
        ({"damping": 1.5}, ValueError, "damping: got 1.5"),
    ],
)
def test_options_without_meaning_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        OAMP(**options)


def test_two_configurations_never_share_a_name():
    configurations = [OAMP(iterations=i, damping=d) for i in (5, 20) for d in (0.5, 0.6, 1.0)]
    assert len({c.name for c in configurations}) == len(configurations)
