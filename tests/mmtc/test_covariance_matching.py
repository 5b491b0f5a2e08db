"""Covariance matching pursuit: rank-one moves reach what inverses from scratch reach."""

from dataclasses import replace
from math import log

import numpy as np
import pytest

from tests.mmtc.cells import OVERLOADED, frames_of
from tests.mmtc.test_covariance import CELLS
from tests.references.covariance import negative_log_likelihood
from tests.references.covariance_matching import covariance_matching_pursuit
from wirelesslab.mmtc import PathLoss, Scenario, symbol_errors
from wirelesslab.mmtc.detection import likelihood_ratio_readout
from wirelesslab.mmtc.detectors import OMP, CovarianceMatching


@pytest.mark.parametrize("readjust", [True, False], ids=["readjusted", "once"])
@pytest.mark.parametrize("cell", CELLS)
def test_powers_and_steps_are_those_of_the_oracle(cell, readjust):
    scenario = CELLS[cell]
    observation, _ = frames_of(scenario, 4, "pursuit")
    powers, steps = CovarianceMatching(readjust=readjust).powers(observation)
    price = log((1 - scenario.activity_prob) * scenario.pilots_per_device / scenario.activity_prob)
    for frame in range(4):
        expected, made = covariance_matching_pursuit(
            observation.received[frame], observation.pilots, observation.noise_power, price, readjust=readjust,
            most=10**4,
        )  # fmt: skip
        assert steps[frame] == made
        np.testing.assert_allclose(powers[frame], expected, atol=1e-8 * max(1.0, expected.max()))


def test_where_all_speak_the_likeliest_pilot_still_comes_first():
    # The prior odds are infinite then: they must not swallow the likelihood that ranks the pilots.
    observation, _ = frames_of(Scenario(num_devices=20, pilot_length=16, activity_prob=1.0), 10, "all speak")
    powers, _ = CovarianceMatching(readjust=False).powers(observation)
    for frame in range(10):
        expected, _ = covariance_matching_pursuit(
            observation.received[frame], observation.pilots, observation.noise_power, -1e5, readjust=False, most=20
        )
        np.testing.assert_allclose(powers[frame], expected, atol=1e-8 * max(1.0, expected.max()))


@pytest.mark.parametrize("snr_db", [20, 40, 60])
def test_powers_are_those_of_the_oracle_when_noise_is_weak(snr_db):
    scenario = Scenario(num_devices=20, bits_per_device=1, pilot_length=30, num_antennas=4, snr_db=snr_db)
    observation, truth = frames_of(scenario, 4, "weak noise")
    powers, _ = CovarianceMatching().powers(observation)
    price = log(0.9 * 2 / 0.1)
    for frame in range(4):
        expected, _ = covariance_matching_pursuit(
            observation.received[frame], observation.pilots, observation.noise_power, price, readjust=True, most=10**4
        )
        np.testing.assert_allclose(powers[frame], expected, atol=1e-3 * max(1.0, expected.max()))
    assert symbol_errors(CovarianceMatching().detect(observation), truth).errors == 0


def test_powers_that_may_move_again_are_at_least_as_likely():
    observation, _ = frames_of(OVERLOADED, 20, "likelihood")
    o, costs = observation, []
    for readjust in (True, False):
        powers, _ = CovarianceMatching(readjust=readjust).powers(o)
        costs.append(
            np.mean(
                [
                    negative_log_likelihood(y, o.pilots, g, o.noise_power)
                    for y, g in zip(o.received, powers, strict=True)
                ]
            )
        )
    assert costs[0] < costs[1]


def test_once_every_step_takes_another_pilot_and_noise_alone_takes_few():
    observation, _ = frames_of(OVERLOADED, 20, "steps")
    powers, steps = CovarianceMatching(readjust=False).powers(observation)
    assert np.array_equal(np.count_nonzero(powers, axis=1), steps)
    noise, _ = frames_of(replace(OVERLOADED, snr_db=-100.0), 50, "noise")
    # Noise brings log(18) nats to a pilot of 200 in most frames, for a likelihood ratio is the largest of many: less
    # than one pilot a frame, beside the ten that speak.
    assert np.count_nonzero(CovarianceMatching().powers(noise)[0]) < 50


def test_detection_is_powers_and_read_out():
    observation, _ = frames_of(OVERLOADED, 5, "both")
    detection, (powers, steps) = CovarianceMatching().detect(observation), CovarianceMatching().powers(observation)
    assert np.array_equal(detection.posteriors, likelihood_ratio_readout(observation, powers))
    assert np.array_equal(detection.iterations, steps)


def test_it_resolves_an_overloaded_cell_that_defeats_projections():
    observation, truth = frames_of(replace(OVERLOADED, num_antennas=32), 40, "antennas")
    errors = {d.name: symbol_errors(d.detect(observation), truth).errors for d in (CovarianceMatching(), OMP())}
    assert errors["CL-MP"] * 5 < errors["OMP"]


def test_near_devices_do_not_deafen_the_station():
    scenario = Scenario(
        num_devices=40, bits_per_device=1, pilot_length=30, num_antennas=4, gain_law=PathLoss(), snr_db=20.0
    )
    errors = 0
    for cell in range(6):
        observation, truth = frames_of(scenario, 40, "near", cell)
        errors += symbol_errors(CovarianceMatching().detect(observation), truth).errors
    assert errors <= 5  # of 9,600


def test_two_configurations_never_share_a_name():
    assert CovarianceMatching().name != CovarianceMatching(readjust=False).name
