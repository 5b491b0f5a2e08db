"""What a station gains that knows how its antennas correlate, and what it may not claim."""

from dataclasses import replace

import numpy as np
import pytest

from tests.mmtc.cells import OVERLOADED, TINY, frames_of
from wirelesslab.mmtc import Kronecker, LocalScattering, Rayleigh, UniformGainDb, error_counts, symbol_errors
from wirelesslab.mmtc.detection import likelihood_ratio_readout
from wirelesslab.mmtc.detectors import AMP, Genie, MAMPNet
from wirelesslab.mmtc.whitening import (
    GenieKnowing,
    Whitened,
    effective_antennas,
    known_correlation_readout,
    scales,
    virtual_antennas,
)

STRONG = Kronecker(correlation_coefficient=0.9)
COMPLEX = LocalScattering(azimuth_deg=25.0, spread_deg=8.0)


def posterior_by_the_whole_covariance(observation, powers, correlation, frame, device):
    """The oracle: every antenna and symbol of a frame as one Gaussian vector, label by label."""
    o, q = observation, observation.pilots_per_device
    y = o.received[frame].reshape(-1)  # symbols outside, antennas inside
    others = powers[frame].copy()
    others[device * q : (device + 1) * q] = 0

    def log_likelihood(gamma):
        signal = (o.pilots * gamma) @ o.pilots.conj().T
        covariance = np.kron(signal, correlation) + o.noise_power * np.eye(y.size)
        return -np.linalg.slogdet(covariance)[1] - (y.conj() @ np.linalg.solve(covariance, y)).real

    logs = [np.log(1 - o.activity_prob) + log_likelihood(others)]
    for label in range(q):
        parts = []
        for node, weight in zip(o.gains.nodes[device], o.gains.weights, strict=True):
            spoke = others.copy()
            spoke[device * q + label] = node
            parts.append(log_likelihood(spoke) + np.log(weight))
        logs.append(np.log(o.activity_prob / q) + np.logaddexp.reduce(parts))
    return np.exp(logs - np.logaddexp.reduce(logs))


@pytest.mark.parametrize("knowledge", ["known", "distribution"])
@pytest.mark.parametrize("fading", [STRONG, COMPLEX], ids=["real", "complex"])
def test_the_read_out_is_the_decision_of_the_whole_covariance(fading, knowledge):
    scenario = replace(TINY, fading=fading, gain_law=UniformGainDb(low_db=-6, high_db=6), gain_knowledge=knowledge)
    observation, truth = frames_of(scenario, 3, "whitening", knowledge)
    powers, correlation = Genie(truth).powers(observation), fading.correlation(3)
    found = known_correlation_readout(observation, powers, correlation)
    for frame in range(3):
        for device in range(scenario.num_devices):
            expected = posterior_by_the_whole_covariance(observation, powers, correlation, frame, device)
            np.testing.assert_allclose(found[frame, device], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("snr_db", [0.0, 70.0])
def test_the_read_out_is_exact_in_overload_too_where_only_the_weakest_virtual_antenna_tells_speakers_apart(snr_db):
    narrow = LocalScattering(azimuth_deg=25.0, spread_deg=0.7)  # λ of 3, 2e-3 and 5e-7
    crowded = replace(TINY, fading=narrow, num_devices=8, pilot_length=3, activity_prob=0.5, snr_db=snr_db)
    observation, truth = frames_of(crowded, 3, "overload")
    powers, correlation = Genie(truth).powers(observation), narrow.correlation(3)
    assert len(virtual_antennas(observation, correlation)[1]) == (2 if snr_db < 30 else 3)
    found = known_correlation_readout(observation, powers, correlation)
    for frame in range(3):
        for device in range(8):
            expected = posterior_by_the_whole_covariance(observation, powers, correlation, frame, device)
            # At 0 dB the antenna that is left out would move posteriors by 1e-6.
            np.testing.assert_allclose(found[frame, device], expected, atol=1e-5)


def test_without_correlation_the_read_out_is_the_one_that_all_share():
    observation, truth = frames_of(TINY, 8, "equal antennas")
    powers = Genie(truth).powers(observation)
    known = known_correlation_readout(observation, powers, Rayleigh().correlation(3))
    np.testing.assert_allclose(known, likelihood_ratio_readout(observation, powers), rtol=1e-9, atol=1e-12)


def test_virtual_antennas_lose_no_energy_and_fade_independently():
    scenario = replace(TINY, fading=COMPLEX, num_devices=1, pilot_length=2, activity_prob=1.0, snr_db=120)
    observation, _ = frames_of(scenario, 20_000, "rotated")
    rotated, powers = virtual_antennas(observation, COMPLEX.correlation(3))
    np.testing.assert_allclose(
        np.sum(np.abs(rotated.received) ** 2), np.sum(np.abs(observation.received) ** 2), rtol=1e-9
    )
    assert powers.sum() == pytest.approx(3)
    row = np.linalg.norm(rotated.received, axis=1)  # pilots have norm 1: |h| of each virtual antenna
    np.testing.assert_allclose(np.mean(row**2, axis=0), powers, rtol=5 / np.sqrt(20_000))  # var|h|² = λ²
    first, second = rotated.received[:, 0, 0], rotated.received[:, 0, 1]
    products = first * second.conj()
    assert abs(products.mean()) < 5 * products.std() / np.sqrt(20_000)


def test_scales_leave_equal_antennas_alone_whiten_under_interference_and_mute_the_weak():
    np.testing.assert_allclose(scales(np.ones(4), 0.1, 0.3), 1)
    powers = np.array([3.0, 0.9, 0.1])
    assert powers @ scales(powers, 0.1, 0.3) ** 2 == pytest.approx(powers.sum())
    crowded = scales(powers, 1e-9, 0.5)  # interference everywhere: equal powers after scaling
    np.testing.assert_allclose(powers * crowded**2, powers.sum() / 3, rtol=1e-6)
    np.testing.assert_allclose(scales(powers, 1e-9, 0.0), 1, rtol=1e-6)  # no noise, no interference: all equally good
    faint = scales(np.array([1.0, 1e-3]), 1.0, 0.0)  # far below the noise: weight in proportion to power
    assert faint[1] ** 2 / faint[0] ** 2 == pytest.approx(1e-3 * 2, rel=0.01)


def test_effective_antennas_are_counted_by_the_average_of_an_energy():
    """M_eff = E[|h|²]²/var|h|², whatever the correlation."""
    for fading in (Rayleigh(), STRONG, COMPLEX):
        energy = np.sum(np.abs(fading.draw(np.random.default_rng(8), 50_000, 4)) ** 2, axis=1)
        measured = energy.mean() ** 2 / energy.var()
        # relative error of a variance of something exponential-like: sqrt(8/n), five of them
        assert measured == pytest.approx(effective_antennas(fading.correlation(4)), rel=5 * np.sqrt(8 / 50_000))


def test_the_genie_that_knows_the_correlation_is_a_lower_limit_and_the_one_that_does_not_is_none():
    observation, truth = frames_of(replace(OVERLOADED, fading=STRONG), 60, "genies", precision="complex64")
    knowing = symbol_errors(GenieKnowing(truth, STRONG).detect(observation), truth)
    for other in (Genie(truth), Whitened(AMP(), STRONG), Whitened(MAMPNet.pretrained(quiet=True), STRONG)):
        assert knowing.errors < symbol_errors(other.detect(observation), truth).errors


@pytest.mark.parametrize("detector", [AMP(), AMP(retuned=True)], ids=lambda d: d.name)
def test_amp_hears_more_in_overload_when_it_knows_strong_correlation(detector):
    """Paired frames: sixty suffice for five standard errors of the gain."""
    observation, truth = frames_of(replace(OVERLOADED, fading=STRONG), 60, "paired", precision="complex64")
    wrong = [
        (d.detect(observation).labels != truth.symbols).sum(axis=1) for d in (detector, Whitened(detector, STRONG))
    ]
    gain = wrong[0] - wrong[1]
    assert gain.mean() > 5 * gain.std(ddof=1) / np.sqrt(gain.size)


def test_delays_are_read_out_too():
    from wirelesslab.mmtc import Delayed

    scenario = replace(TINY, fading=STRONG, arrival=Delayed(max_delay_symbols=1), pilot_length=12, snr_db=12)
    observation, truth = frames_of(scenario, 40, "late")
    rates = error_counts(Whitened(AMP(), STRONG).detect(observation), truth)
    assert rates["ser"].rate < scenario.activity_prob / 2


def test_names_tell_configurations_apart_and_wrong_shapes_are_refused():
    names = {Whitened(AMP(), f, **o).name for f in (STRONG, COMPLEX) for o in ({}, {"scaled": False})}
    assert len(names) == 4
    observation, _ = frames_of(TINY, 1, "shape")
    with pytest.raises(ValueError, match=r"correlation: got shape \(4, 4\)"):
        virtual_antennas(observation, np.eye(4))
    with pytest.raises(ValueError, match="residual: got 2"):
        Whitened(AMP(), STRONG, residual=2)
