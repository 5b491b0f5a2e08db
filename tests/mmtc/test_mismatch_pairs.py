"""Both sides of a mismatch meet the same air, and differ in what the case says alone."""

import pytest
from wirelesslab_sims.mismatch import CLUSTERS, CORRELATION, EPSILON, GAIN, NOISE, SNR, PairTrial, Point

from wirelesslab.mmtc.detectors import AMP, LMMSE
from wirelesslab.rng import stream

TRIAL = PairTrial((AMP(), LMMSE()), frames=12)


def errors(case, replicate=0):
    """Wrong labels of AMP, misled and knowing better."""
    counts = TRIAL(Point(cell="overloaded", case=case, replicate=replicate), stream(1))["AMP block"]
    return counts["ser"].errors, counts["better"].errors


@pytest.mark.parametrize("case", [f"{NOISE} = 6", f"{SNR} = 3"])
def test_amp_measures_its_noise_so_a_wrong_one_changes_nothing_on_common_air(case):
    misled, better = errors(case)
    assert misled == better > 0


@pytest.mark.parametrize("case", [f"{EPSILON} = 1", f"{GAIN} = 0", f"{CORRELATION} = 0"])
def test_a_belief_that_is_right_costs_nothing(case):
    misled, better = errors(case)
    assert misled == better > 0


def test_repetitions_are_other_air_and_cases_the_same():
    assert errors(f"{NOISE} = 6") == errors(f"{NOISE} = -6")
    assert len({errors(f"{NOISE} = 6", replicate) for replicate in range(4)}) > 1


@pytest.mark.parametrize("case", [f"{CORRELATION} = 0.9", f"{CLUSTERS} = 10"])
def test_a_wrong_law_makes_a_difference(case):
    misled, better = errors(case)
    assert misled != better


def test_an_unknown_case_is_refused():
    with pytest.raises(ValueError, match="case: got 'moon'"):
        Point(cell="light", case="moon = 3")
