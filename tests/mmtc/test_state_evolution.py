"""State evolution and closed-form rates against plain sampling."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.mmtc.cells import LIGHT
from tests.references.state_evolution import complex_normal, tau_squared
from wirelesslab.mmtc import EqualGain, PathLoss, Scenario, UniformGainDb, limits, state_evolution
from wirelesslab.mmtc.limits import block_map_rates
from wirelesslab.rng import stream
from wirelesslab.stats import Count, assert_rate

CROWDED = Scenario(num_devices=100, bits_per_device=2, pilot_length=30, num_antennas=4, activity_prob=0.1, snr_db=0.0)
SPREAD = replace(CROWDED, gain_law=UniformGainDb(low_db=-6, high_db=6))
ANNULUS = replace(CROWDED, gain_law=PathLoss())
NUM_SAMPLES = 200_000


@pytest.mark.parametrize("prior", ["row", "block"])
@pytest.mark.parametrize(
    "scenario",
    [
        CROWDED,
        replace(CROWDED, snr_db=-6),
        replace(CROWDED, bits_per_device=1, num_antennas=8),
        replace(CROWDED, gain_law=EqualGain(gain_db=4)),
    ],
    ids=["crowded", "noisy", "many antennas", "loud, one antenna"],
)
def test_state_evolution_is_the_monte_carlo_one(scenario, prior):
    s, iterations = scenario, 6
    gain = float(s.gain_law.quadrature(1)[0][0])
    runs = np.array([
        tau_squared(
            prior, s.noise_power, gain, s.num_devices, s.pilots_per_device, s.pilot_length, s.num_antennas,
            s.activity_prob, iterations=iterations, num_samples=25_000, rng=stream(1, prior, run),
        )
        for run in range(12)
    ])  # fmt: skip
    predicted = state_evolution(s, iterations=iterations, prior=prior)
    # The runs tell their own standard error, near 0.7 %; the package's own sampling may add 0.3 %.
    error = runs.std(axis=0, ddof=1) / np.sqrt(len(runs))
    assert np.all(error < 0.01 * predicted)
    assert np.all(np.abs(predicted - runs.mean(axis=0)) < 4 * error + 0.003 * predicted)


def test_state_evolution_starts_at_the_received_power_and_never_rises():
    for scenario in (CROWDED, SPREAD, ANNULUS, replace(ANNULUS, gain_knowledge="distribution")):
        trace = state_evolution(scenario, iterations=8)
        nodes, weights = scenario.gain_law.quadrature(32)
        start = scenario.noise_power + scenario.activity_prob * scenario.num_devices / scenario.pilot_length * (
            nodes @ weights
        )
        assert trace[0] == pytest.approx(start, rel=1e-12)
        assert np.all(np.diff(trace) <= 2e-3 * trace[:-1])
        assert trace[-1] >= scenario.noise_power


def test_knowing_less_of_the_gains_or_of_the_blocks_never_lowers_the_effective_noise():
    for scenario in (SPREAD, ANNULUS):
        known, ignorant = (
            state_evolution(replace(scenario, gain_knowledge=knowledge), iterations=8)[-1]
            for knowledge in ("known", "distribution")
        )
        assert known <= ignorant * 1.005
    assert state_evolution(CROWDED, prior="block")[-1] <= state_evolution(CROWDED, prior="row")[-1] * 1.005


def draw_rows(scenario, tau2, active, rng, num_samples=NUM_SAMPLES):
    """Gains, sent labels and rows in noise of power tau2 of independent devices."""
    q, m = scenario.pilots_per_device, scenario.num_antennas
    gain = scenario.gain_law.draw(rng, num_samples)
    label = np.where(rng.random(num_samples) < active, rng.integers(1, q + 1, num_samples), 0)
    sent = label[:, None] == np.arange(1, q + 1)
    x = sent[:, :, None] * (np.sqrt(gain)[:, None] * complex_normal(rng, num_samples, m))[:, None, :]
    return gain, label, x, x + np.sqrt(tau2) * complex_normal(rng, num_samples, q, m)


def supposed_gains(scenario, gain):
    """Possible gains (samples, J) and weights (J,): an own rule of midpoints."""
    if scenario.gain_knowledge == "known":
        return gain[:, None], np.ones(1)
    law = scenario.gain_law
    if isinstance(law, PathLoss):  # midpoints in log distance, half a dB apart
        distance = law.min_distance ** ((np.arange(96) + 0.5) / 96)
        return distance[None, :] ** -law.exponent, distance**2 / np.sum(distance**2)
    nodes = 10 ** ((law.low_db + (law.high_db - law.low_db) * (np.arange(32) + 0.5) / 32) / 10)
    return nodes[None, :], np.full(32, 1 / 32)


def likelihood_ratios(scenario, tau2, gain, rows):
    nodes, weights = supposed_gains(scenario, gain)
    energy = np.sum(np.abs(rows) ** 2, axis=-1)
    llr = np.empty(energy.shape)
    for q in range(energy.shape[1]):
        each = energy[:, q, None] * (1 / tau2 - 1 / (nodes + tau2)) - scenario.num_antennas * np.log1p(nodes / tau2)
        llr[:, q] = logsumexp(each + np.log(weights), axis=1)
    return llr


@pytest.mark.parametrize("tau2", [0.03, 0.2, 1.0])
@pytest.mark.parametrize(
    "scenario",
    [
        CROWDED,
        replace(CROWDED, bits_per_device=0),
        replace(CROWDED, bits_per_device=3, num_antennas=1),
        replace(CROWDED, activity_prob=0.9),
        SPREAD,
        ANNULUS,
        replace(SPREAD, gain_knowledge="distribution"),
        replace(ANNULUS, gain_knowledge="distribution"),
    ],
    ids=[
        "equal",
        "activity only",
        "one antenna",
        "busy",
        "spread",
        "path loss",
        "spread, law known",
        "path loss, law known",
    ],
)
def test_closed_form_rates_are_those_of_counting(scenario, tau2):
    s, eps, n = scenario, scenario.activity_prob, 30_000
    rates = block_map_rates(s, tau2)
    for active in (1.0, 0.0):
        gain, sent, _, rows = draw_rows(s, tau2, active, stream(2, s.num_antennas, tau2, active), n)
        joint = likelihood_ratios(s, tau2, gain, rows) + np.log(eps / s.pilots_per_device) - np.log1p(-eps)
        said = np.where(joint.max(axis=1) > 0, 1 + joint.argmax(axis=1), 0)
        # Independent devices: the exact binomial test, at a false-alarm rate of 1e-6 each.
        if active:
            assert_rate(Count(int(np.sum(said == 0)), n), rates.missed)
            assert_rate(Count(int(np.sum((said > 0) & (said != sent))), n), rates.wrong_symbol)
        else:
            assert_rate(Count(int(np.sum(said > 0)), n), rates.false_alarm)
    assert rates.ser == pytest.approx(eps * (rates.missed + rates.wrong_symbol) + (1 - eps) * rates.false_alarm)


@pytest.mark.parametrize("knowledge", ["known", "distribution"])
@pytest.mark.parametrize("scenario", [SPREAD, ANNULUS], ids=["spread", "path loss"])
def test_each_step_of_state_evolution_with_unequal_gains_is_that_of_sampling(scenario, knowledge):
    s = replace(scenario, gain_knowledge=knowledge)
    trace = state_evolution(s, iterations=6)
    for step in (0, 2, 4):
        tau2 = trace[step]
        gain, _, x, rows = draw_rows(s, tau2, s.activity_prob, stream(3, step), 30_000)
        nodes, weights = supposed_gains(s, gain)
        error = np.zeros(len(x))
        llr = likelihood_ratios(s, tau2, gain, rows)
        joint = np.concatenate(
            [np.full((len(x), 1), np.log1p(-s.activity_prob)), llr + np.log(s.activity_prob / s.pilots_per_device)],
            axis=1,
        )
        posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))[:, 1:]
        energy = np.sum(np.abs(rows) ** 2, axis=-1)
        for q in range(s.pilots_per_device):
            each = (
                energy[:, q, None] * (1 / tau2 - 1 / (nodes + tau2))
                - s.num_antennas * np.log1p(nodes / tau2)
                + np.log(weights)
            )
            omega = np.exp(each - logsumexp(each, axis=1, keepdims=True))
            shrinkage = np.sum(omega * (nodes / (nodes + tau2)), axis=1)
            error += np.sum(np.abs((posterior[:, q] * shrinkage)[:, None] * rows[:, q] - x[:, q]) ** 2, axis=1)
        error *= s.num_devices / s.pilot_length / s.num_antennas
        # The package's own sampling adds about 0.3 %; ours is known from its scatter.
        tolerance = 5 * error.std() / np.sqrt(len(error)) + 0.005 * trace[step + 1]
        assert trace[step + 1] - s.noise_power == pytest.approx(error.mean(), abs=tolerance)


def test_the_limits_are_ordered():
    for scenario in (CROWDED, SPREAD, ANNULUS, LIGHT):
        lines = limits(scenario)
        assert 0 <= lines["single user"] <= lines["state evolution"] <= lines["all silent"]
        assert lines["all silent"] == scenario.activity_prob


@pytest.mark.parametrize("num_antennas", [1, 8, 64])
@pytest.mark.parametrize("activity_prob", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.filterwarnings("error")
def test_the_limits_are_rates_for_every_activity_without_a_warning(num_antennas, activity_prob):
    lines = limits(Scenario(num_antennas=num_antennas, activity_prob=activity_prob, snr_db=10.0))
    assert all(0 <= rate <= 1 for rate in lines.values())


def test_a_station_that_takes_the_mean_for_the_truth_has_no_state_evolution():
    scenario = replace(ANNULUS, gain_knowledge="mean")
    assert np.isnan(limits(scenario)["state evolution"])
    with pytest.raises(ValueError, match="gain_knowledge: got 'mean', expected 'known' or 'distribution'"):
        state_evolution(scenario)


def test_state_evolution_of_nonsense_is_refused():
    with pytest.raises(ValueError, match="iterations: got 0"):
        state_evolution(CROWDED, iterations=0)
    with pytest.raises(ValueError, match="prior: got 'winner'"):
        state_evolution(CROWDED, prior="winner")
