import numpy as np
import pytest
from scipy.special import j0
from scipy.stats import kstest

from wirelesslab.network.fading import FADINGS, CorrelatedRayleigh, NoFading, RayleighFading
from wirelesslab.rng import stream
from wirelesslab.stats import batch_means

SLOT_S = 1e-3


def gains(fading, num_slots, num_users, seed=1):
    rng = stream(seed, "fading")
    out = np.zeros((num_slots, num_users), np.float32)
    fading.draw(fading.begin(num_users, rng), SLOT_S, rng, out)
    return out


@pytest.mark.parametrize("law", FADINGS)
def test_the_mean_gain_is_one(law):
    mean, error = batch_means(gains(law(), 4000, 100).mean(axis=1), 20)
    assert abs(mean - 1) <= 3 * error
    assert abs(mean - 1) < 0.02


@pytest.mark.parametrize("law", FADINGS)
def test_gains_do_not_depend_on_how_slots_are_batched(law):
    whole, rng = gains(law(), 30, 7), stream(1, "fading")
    state, pieces = law().begin(7, rng), []
    for count in (1, 4, 20, 5):
        out = np.zeros((count, 7), np.float32)
        law().draw(state, SLOT_S, rng, out)
        pieces.append(out)
    assert np.array_equal(whole, np.concatenate(pieces))


@pytest.mark.parametrize("fading", [RayleighFading(), CorrelatedRayleigh(doppler_hz=100)])
def test_rayleigh_power_is_exponential(fading):
    assert kstest(gains(fading, 1, 50_000)[0], "expon").pvalue > 1e-3


def test_correlated_gains_decay_as_the_autoregression_says():
    fading = CorrelatedRayleigh(doppler_hz=40)
    rho = float(j0(2 * np.pi * 40 * SLOT_S))
    series = gains(fading, 3, 200_000)
    for lag in (1, 2):
        # Powers of complex Gaussians correlate as the squared correlation of the amplitudes.
        got = np.corrcoef(series[0], series[lag])[0, 1]
        assert abs(got - rho ** (2 * lag)) < 4 / np.sqrt(200_000) * 2


def test_no_fading_stands_still():
    assert np.array_equal(gains(NoFading(), 3, 2), np.ones((3, 2), np.float32))


def test_a_doppler_shift_of_nothing_is_refused():
    with pytest.raises(ValueError, match="doppler_hz"):
        CorrelatedRayleigh(doppler_hz=0.0)
