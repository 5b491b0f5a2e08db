"""The cell, in numbers: derived values, and refusals that teach."""

import math
from dataclasses import replace

import pytest

from wirelesslab.mmtc import QPSK, Rician, Scenario


def test_derived_numbers_follow_the_definitions():
    scenario = Scenario(num_devices=100, bits_per_device=2, pilot_length=30, activity_prob=0.1, snr_db=-6)
    assert scenario.pilots_per_device == 4
    assert scenario.num_pilots == 400
    assert scenario.noise_power == pytest.approx(10**0.6 / 30, rel=1e-12)
    assert scenario.load == pytest.approx(1 / 3, rel=1e-12)


def test_a_scenario_compares_and_hashes_by_its_numbers():
    assert Scenario(snr_db=3, fading=Rician()) == replace(Scenario(snr_db=3), fading=Rician())
    assert hash(Scenario(codebook=QPSK())) == hash(Scenario(codebook=QPSK()))
    assert Scenario() != Scenario(snr_db=1)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"activity_prob": 10}, r"activity_prob: got 10, expected a probability in \[0, 1\]; write 10 % as 0.1"),
        ({"activity_prob": -0.1}, r"activity_prob: got -0.1, expected a probability"),
        ({"activity_prob": math.nan}, "activity_prob: got nan, expected a finite number"),
        ({"num_antennas": 0}, "num_antennas: got 0, expected a whole number of at least 1"),
        ({"num_devices": 0}, "num_devices: got 0"),
        ({"pilot_length": -3}, "pilot_length: got -3"),
        ({"bits_per_device": -1}, "bits_per_device: got -1, expected a whole number of at least 0"),
        ({"bits_per_device": 13}, r"bits_per_device: got 13, expected a number in \[0, 12\]"),
        ({"snr_db": math.inf}, "snr_db: got inf, expected a finite number"),
        ({"snr_db": 300}, r"snr_db: got 300, expected a number in \[-200, 200\]"),
        ({"gain_knowledge": "distributed"}, "gain_knowledge: got 'distributed', .*did you mean 'distribution'"),
    ],
)
def test_numbers_that_no_cell_has_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        Scenario(**numbers)


@pytest.mark.parametrize(
    ("kinds", "message"),
    [
        ({"num_devices": 10.5}, "num_devices: got 10.5, expected a whole number"),
        ({"num_devices": "100"}, "num_devices: got '100', expected a whole number"),
        ({"num_antennas": True}, "num_antennas: got True, expected a whole number"),
        ({"activity_prob": "0.1"}, "activity_prob: got '0.1', expected a number"),
        ({"snr_db": None}, "snr_db: got None, expected a number"),
    ],
)
def test_numbers_of_the_wrong_kind_are_refused(kinds, message):
    with pytest.raises(TypeError, match=message):
        Scenario(**kinds)


@pytest.mark.parametrize("law", ["codebook", "gain_law", "fading", "activity_law"])
@pytest.mark.parametrize("value", ["qpsk", QPSK], ids=["a word", "a class"])
def test_a_law_that_is_a_word_or_a_class_is_refused_at_the_door(law, value):
    with pytest.raises(TypeError, match=law):
        Scenario(**{law: value})
