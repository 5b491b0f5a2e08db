"""The genie: exact Bayes with the others' labels given, and a bound on everybody."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import logsumexp

from tests.mmtc.cells import LIGHT, OVERLOADED, TINY, family, frames_of
from tests.references.genie import exhaustive_map, genie_posteriors, log_likelihood
from wirelesslab.mmtc import EqualGain, PathLoss, UniformGainDb, simulate, symbol_errors
from wirelesslab.mmtc.detectors import AMP, Genie
from wirelesslab.rng import stream

CELLS = {
    "tiny": TINY,
    "one antenna": replace(TINY, num_antennas=1),
    "four pilots": replace(TINY, bits_per_device=2),
    "activity only": replace(TINY, bits_per_device=0),
    "spread gains": replace(TINY, gain_law=UniformGainDb(low_db=-10, high_db=10)),
    "path loss": replace(TINY, gain_law=PathLoss(), snr_db=-10.0),
    "busy": replace(TINY, activity_prob=0.9),
}


@pytest.mark.parametrize("cell", CELLS)
def test_the_genie_is_the_oracle(cell):
    scenario = CELLS[cell]
    observation, truth = frames_of(scenario, 12, "oracle")
    o, detection = observation, Genie(truth).detect(observation)
    for frame in range(12):
        expected = genie_posteriors(
            o.received[frame], o.pilots, truth.symbols[frame], truth.path_gain,
            o.noise_power, o.activity_prob, o.pilots_per_device,
        )  # fmt: skip
        np.testing.assert_allclose(detection.posteriors[frame], expected, atol=1e-9)


@pytest.mark.parametrize("knowledge", ["distribution", "mean"])
def test_a_genie_that_does_not_know_a_devices_own_gain_marginalises_it(knowledge):
    scenario = replace(TINY, gain_law=UniformGainDb(low_db=-10, high_db=10), gain_knowledge=knowledge)
    observation, truth = frames_of(scenario, 8, "own gain")
    o, posteriors = observation, Genie(truth).detect(observation).posteriors
    for frame in range(8):
        for device in range(scenario.num_devices):
            joint = np.empty(3)
            for label in range(3):
                symbols = truth.symbols[frame].copy()
                symbols[device] = label
                terms = []
                for node, weight in zip(o.gains.nodes[device], o.gains.weights, strict=True):
                    gains = truth.path_gain.copy()
                    gains[device] = node
                    terms.append(
                        np.log(weight) + log_likelihood(o.received[frame], o.pilots, symbols, gains, o.noise_power, 2)
                    )
                joint[label] = logsumexp(terms) + np.log(0.15 if label else 0.7)
            np.testing.assert_allclose(posteriors[frame, device], np.exp(joint - logsumexp(joint)), atol=1e-9)


def test_with_one_device_the_genie_has_nothing_to_tell():
    scenario = replace(TINY, num_devices=1, bits_per_device=2)
    observation, truth = frames_of(scenario, 30, "alone")
    posteriors = Genie(truth).detect(observation).posteriors
    for frame in range(30):
        expected = exhaustive_map(
            observation.received[frame], observation.pilots, truth.path_gain, observation.noise_power, 0.3, 4
        )
        np.testing.assert_allclose(posteriors[frame], expected, atol=1e-9)


def test_the_genie_errs_less_than_exhaustive_search_and_that_less_than_amp():
    scenario, num_frames = replace(TINY, pilot_length=4, num_antennas=2), 400
    observation, truth = frames_of(scenario, num_frames, "order")
    marginals = np.stack(
        [
            exhaustive_map(y, observation.pilots, truth.path_gain, observation.noise_power, scenario.activity_prob, 2)
            for y in observation.received
        ]
    )
    genie, amp = (symbol_errors(d.detect(observation), truth).errors for d in (Genie(truth), AMP()))
    best = int(np.count_nonzero(marginals.argmax(axis=2) != truth.symbols))
    assert 0 < genie < best < amp


@pytest.mark.parametrize("snr_db", [-10, 0, 10])
@pytest.mark.parametrize(
    "scenario",
    [
        LIGHT,
        OVERLOADED,
        replace(LIGHT, gain_law=PathLoss()),
        replace(LIGHT, gain_law=PathLoss(), gain_knowledge="distribution"),
        replace(LIGHT, num_antennas=1),
    ],
    ids=["light", "overloaded", "path loss", "law known", "one antenna"],
)
def test_nobody_beats_the_genie(scenario, snr_db):
    errors, disagreements = {}, {}
    for cell in range(4):
        observation, truth = frames_of(replace(scenario, snr_db=snr_db), 40, "bound", cell, precision="complex64")
        wrong = {d.name: d.detect(observation).labels != truth.symbols for d in family(truth)}
        for name, where in wrong.items():
            errors[name] = errors.get(name, 0) + int(where.sum())
            disagreements[name] = disagreements.get(name, 0) + int((where != wrong["genie"]).sum())
    for name, count in errors.items():
        # Same frames: of the labels where exactly one of the two is wrong, at least half are the
        # other's in the mean; 5 standard errors of a fair coin below that is significant.
        assert count >= errors["genie"] - 5 * np.sqrt(disagreements[name]), f"{name} beats the genie"


@pytest.mark.parametrize("law", [EqualGain(), PathLoss()], ids=repr)
@pytest.mark.parametrize("snr_db", [40, 80, 120, 160, 200])
def test_the_genie_bounds_everybody_at_any_snr_that_a_scenario_may_have(law, snr_db):
    scenario = replace(LIGHT, num_devices=20, gain_law=law, snr_db=snr_db)
    observation, truth = frames_of(scenario, 20, "loud")
    errors = {d.name: symbol_errors(d.detect(observation), truth).errors for d in family(truth)}
    assert errors["genie"] <= min(errors.values())


def test_a_genie_of_other_frames_is_refused():
    (observation, _), (_, other) = simulate(LIGHT, stream(1), num_frames=2), simulate(LIGHT, stream(1), num_frames=3)
    with pytest.raises(ValueError, match=r"truth: got symbols \(3, 40\), expected \(frames=2, N=40\)"):
        Genie(other).detect(observation)
