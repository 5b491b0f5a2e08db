"""Orthogonal matching pursuit: exact without noise, and in the oracle's order."""

from dataclasses import replace

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, OVERLOADED, frames_of
from tests.references.greedy import simultaneous_omp
from wirelesslab.mmtc import PathLoss
from wirelesslab.mmtc.detectors import OMP

VARIANTS = (OMP(), OMP(one_per_device=True))


@pytest.mark.parametrize("detector", VARIANTS, ids=repr)
@pytest.mark.parametrize("scenario", [LIGHT, replace(LIGHT, gain_law=PathLoss())], ids=["equal", "path loss"])
def test_without_noise_every_label_is_found(detector, scenario):
    scenario = replace(scenario, pilot_length=60, activity_prob=0.05, snr_db=60.0)
    observation, truth = frames_of(scenario, 50, "noiseless")
    detection = detector.detect(observation)
    assert np.array_equal(detection.labels, truth.symbols)
    assert np.all(detection.iterations >= truth.activity.sum(axis=1))


@pytest.mark.parametrize("detector", VARIANTS, ids=repr)
@pytest.mark.parametrize("scenario", [LIGHT, OVERLOADED], ids=["light", "overloaded"])
def test_pilots_are_chosen_in_the_oracles_order(detector, scenario):
    observation, _ = frames_of(scenario, 8, "order")
    final = detector.detect(observation).iterations
    # The support after k steps, for every k: the k-th pilot is what the k-th step adds.
    supports = [detector._pursue(observation, observation.received, k) for k in range(1, int(final.max()) + 1)]
    for frame in range(8):
        order, before = [], np.zeros(observation.pilots.shape[1], bool)
        for support in supports:
            order += np.flatnonzero(support[frame] & ~before).tolist()
            before = support[frame]
        assert len(order) == final[frame]
        expected = simultaneous_omp(
            observation.received[frame],
            observation.pilots,
            len(order),
            observation.pilots_per_device,
            detector.one_per_device,
        )
        assert order == expected


def test_one_per_device_takes_one_pilot_of_a_device():
    observation, _ = frames_of(OVERLOADED, 20, "one")
    support = OMP(one_per_device=True)._pursue(observation, observation.received, 19).reshape(20, -1, 2)
    assert support.sum(axis=2).max() == 1


def test_a_silent_cell_gives_an_almost_empty_support():
    observation, _ = frames_of(replace(LIGHT, activity_prob=0.0), 20, "silent")
    assert not OMP().detect(observation).iterations.any()


def test_the_support_leaves_room_for_the_noise():
    observation, _ = frames_of(replace(LIGHT, pilot_length=5, activity_prob=0.9, snr_db=20.0), 20, "crowd")
    assert OMP().detect(observation).iterations.max() <= 4
