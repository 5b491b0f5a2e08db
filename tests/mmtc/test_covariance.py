"""Covariance maximum likelihood: rank-one updates reach what inverses from scratch reach."""

from dataclasses import replace

import numpy as np
import pytest

from tests.mmtc.cells import OVERLOADED, frames_of
from tests.references.covariance import (
    block_constrained_covariance_ml,
    block_likelihood_ratios,
    block_map,
    covariance_ml,
    negative_log_likelihood,
)
from wirelesslab.mmtc import PathLoss, Scenario, symbol_errors
from wirelesslab.mmtc.detection import likelihood_ratio_readout
from wirelesslab.mmtc.detectors import OMP, Covariance, Genie
from wirelesslab.rng import stream

CELL = Scenario(num_devices=12, bits_per_device=1, pilot_length=9, num_antennas=4, activity_prob=0.2, snr_db=5.0)
CELLS = {
    "crowded": CELL,
    "one antenna": replace(CELL, num_antennas=1),
    "four pilots": replace(CELL, bits_per_device=2, num_devices=6),
    "activity only": replace(CELL, bits_per_device=0, num_antennas=16),
    "path loss": replace(CELL, gain_law=PathLoss(), snr_db=0.0),
    "whole vectors": replace(CELL, pilot_length=16),
}


def order_of(detector, scenario):
    """The documented orders: random permutations from the stream of that name."""
    size = scenario.num_devices if detector.block_constrained else scenario.num_pilots
    rng = stream(detector.order_seed, "covariance sweeps", size)
    return np.stack([rng.permutation(size) for _ in range(detector.sweeps)])


def oracle_powers(detector, scenario, observation, frame):
    o, order = observation, order_of(detector, scenario)
    if detector.block_constrained:
        return block_constrained_covariance_ml(o.received[frame], o.pilots, o.noise_power, order, o.pilots_per_device)
    return covariance_ml(o.received[frame], o.pilots, o.noise_power, order)


@pytest.mark.parametrize("block_constrained", [False, True], ids=["free", "block"])
@pytest.mark.parametrize("cell", CELLS)
def test_powers_are_those_of_the_oracle(cell, block_constrained):
    detector, scenario = Covariance(block_constrained=block_constrained, sweeps=6, order_seed=3), CELLS[cell]
    observation, _ = frames_of(scenario, 3, "powers")
    powers = detector.powers(observation)
    for frame in range(3):
        expected = oracle_powers(detector, scenario, observation, frame)
        np.testing.assert_allclose(powers[frame], expected, atol=1e-8 * max(1.0, expected.max()))


@pytest.mark.parametrize("block_constrained", [False, True], ids=["free", "block"])
@pytest.mark.parametrize("snr_db", [20, 40, 60])
def test_powers_are_those_of_the_oracle_when_noise_is_weak(snr_db, block_constrained):
    # Noise at 60 dB below the signal is what a near device of a path-loss cell has at 12 dB.
    scenario = replace(CELL, num_devices=20, pilot_length=30, activity_prob=0.1, snr_db=snr_db)
    detector = Covariance(block_constrained=block_constrained)
    observation, _ = frames_of(scenario, 4, "weak noise")
    powers = detector.powers(observation)
    for frame in range(4):
        expected = oracle_powers(detector, scenario, observation, frame)
        np.testing.assert_allclose(powers[frame], expected, atol=1e-3 * max(1.0, expected.max()))


@pytest.mark.parametrize("block_constrained", [False, True], ids=["free", "block"])
@pytest.mark.parametrize("snr_db", [0, 10, 20, 30])
def test_near_devices_do_not_deafen_the_station(snr_db, block_constrained):
    # Gains up to 48 dB apart and known, twice as many symbols as a frame has speakers: nobody errs.
    scenario = Scenario(
        num_devices=40, bits_per_device=1, pilot_length=30, num_antennas=4, gain_law=PathLoss(), snr_db=snr_db
    )
    detector, errors = Covariance(block_constrained=block_constrained), 0
    for cell in range(6):
        observation, truth = frames_of(scenario, 40, "near", cell)
        powers = detector.powers(observation)
        assert powers.max() < 100 * truth.path_gain.max()
        errors += symbol_errors(detector.detect(observation), truth).errors
    assert errors <= 5  # of 9,600


def test_the_order_seed_decides_the_orders_and_nothing_else_does():
    observation, _ = frames_of(CELL, 3, "order")
    first, again, other = (Covariance(sweeps=2, order_seed=seed).powers(observation) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    alone = Covariance(sweeps=2, order_seed=1).powers(replace(observation, received=observation.received[1:2]))
    np.testing.assert_allclose(alone[0], first[1], rtol=1e-12)


def test_every_sweep_raises_the_likelihood():
    observation, _ = frames_of(CELL, 4, "sweeps")
    costs = []
    for sweeps in (1, 2, 4, 8, 16):
        powers = Covariance(sweeps=sweeps).powers(observation)
        assert np.all(powers >= 0)
        costs.append(
            [
                negative_log_likelihood(observation.received[f], observation.pilots, powers[f], observation.noise_power)
                for f in range(4)
            ]
        )
    assert np.all(np.diff(costs, axis=0) <= 1e-9)


def test_the_constrained_variant_gives_power_to_one_pilot_of_a_device_at_most():
    observation, _ = frames_of(OVERLOADED, 16, "block")
    powers = Covariance(block_constrained=True).powers(observation).reshape(16, -1, 2)
    assert np.all(np.count_nonzero(powers, axis=2) <= 1)
    assert np.count_nonzero(powers) > 0


# --- the read-out ---------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_the_read_out_is_the_likelihood_ratio_without_ones_own_block(cell):
    scenario = CELLS[cell]
    observation, truth = frames_of(scenario, 4, "read-out")
    powers = Covariance().powers(observation)
    posteriors = likelihood_ratio_readout(observation, powers)
    for frame in range(4):
        llr = block_likelihood_ratios(
            observation.received[frame], observation.pilots, powers[frame], truth.path_gain,
            observation.noise_power, observation.pilots_per_device,
        )  # fmt: skip
        np.testing.assert_allclose(posteriors[frame], block_map(llr, scenario.activity_prob), atol=1e-8)


def test_the_read_out_of_arbitrary_powers_even_two_in_a_block_is_that_of_the_oracle():
    observation, truth = frames_of(CELLS["four pilots"], 3, "arbitrary")
    powers = stream(4).gamma(0.3, size=(3, observation.pilots.shape[1]))
    posteriors = likelihood_ratio_readout(observation, powers)
    shared = likelihood_ratio_readout(observation, powers[:1])
    for f in range(3):
        for got, gamma in ((posteriors[f], powers[f]), (shared[f], powers[0])):
            llr = block_likelihood_ratios(
                observation.received[f], observation.pilots, gamma, truth.path_gain, observation.noise_power, 4
            )
            np.testing.assert_allclose(got, block_map(llr, 0.2), atol=1e-9)


def test_the_read_out_of_true_powers_is_the_genie():
    observation, truth = frames_of(CELL, 5, "genie")
    powers = np.zeros((5, 12, 2))
    frame, device = np.nonzero(truth.symbols)
    powers[frame, device, truth.symbols[frame, device] - 1] = 1
    np.testing.assert_allclose(
        likelihood_ratio_readout(observation, powers.reshape(5, -1)), Genie(truth).detect(observation).posteriors
    )


def test_detection_is_powers_and_read_out():
    observation, _ = frames_of(CELL, 5, "both")
    detector = Covariance(sweeps=5)
    detection = detector.detect(observation)
    assert np.array_equal(detection.posteriors, likelihood_ratio_readout(observation, detector.powers(observation)))
    assert np.all(detection.iterations == 5)


def test_many_antennas_resolve_an_overloaded_cell_that_defeats_greed():
    observation, truth = frames_of(replace(OVERLOADED, num_antennas=32), 40, "antennas")
    errors = {d.name: symbol_errors(d.detect(observation), truth).errors for d in (Covariance(), OMP())}
    assert errors["covariance"] * 5 < errors["OMP"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"sweeps": 0}, ValueError, "sweeps: got 0, expected a whole number of at least 1"),
        ({"sweeps": 1.5}, TypeError, "sweeps: got 1.5"),
        ({"order_seed": -1}, ValueError, "order_seed: got -1"),
    ],
)
def test_options_without_meaning_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        Covariance(**options)


def test_two_configurations_never_share_a_name():
    configurations = [
        Covariance(sweeps=s, block_constrained=b, order_seed=o)
        for s in (1, 12, 20)
        for b in (False, True)
        for o in (0, 1)
    ]
    assert len({c.name for c in configurations}) == len(configurations)
