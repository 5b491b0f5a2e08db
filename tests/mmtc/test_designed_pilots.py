"""Pilots that are made for their correlations."""

import numpy as np
import pytest

from wirelesslab.mmtc import Gaussian
from wirelesslab.mmtc.designed_pilots import Designed, OrthogonalBlocks, correlations
from wirelesslab.rng import stream

SHAPES = ((14, 96), (30, 200))


@pytest.mark.parametrize("shape", SHAPES)
def test_pilots_of_a_device_are_orthogonal_and_those_of_two_devices_are_not(shape):
    found = correlations(OrthogonalBlocks(block=4).draw(stream(1), *shape), 4)
    assert found.within < 1e-12
    assert found.between > 0.2


def test_devices_of_two_pilots_have_orthogonal_ones_in_blocks_of_four():
    assert correlations(OrthogonalBlocks(block=4).draw(stream(1), 14, 96), 2).within < 1e-12


def test_blocks_longer_than_the_pilots_are_refused():
    with pytest.raises(ValueError, match=r"OrthogonalBlocks of 8 got pilot_length 6.*lengthen the pilots"):
        OrthogonalBlocks(block=8).draw(stream(1), 6, 32)


@pytest.mark.parametrize("shape", SHAPES)
def test_designed_pilots_correlate_less_than_gaussian_ones_and_never_less_than_welch_allows(shape):
    designed, plain = (correlations(law.draw(stream(2), *shape), 4) for law in (Designed(), Gaussian()))
    assert designed.welch <= designed.between < 1.35 * designed.welch
    assert designed.between < 0.6 * plain.between
    assert designed.within < 0.6 * designed.between  # squares within a block weigh 4 times
    assert designed.least_total <= designed.total < 1.01 * designed.least_total < plain.total


def test_gaussian_pilots_keep_welchs_bounds_too():
    plain = correlations(Gaussian().draw(stream(3), 10, 60), 2)
    assert plain.welch == pytest.approx(np.sqrt(50 / (10 * 59)))
    assert max(plain.between, plain.within) > plain.welch
    assert plain.total > plain.least_total == 360


def test_a_heavier_block_is_a_quieter_one():
    light, heavy = (correlations(Designed(within_weight=weight).draw(stream(4), 14, 96), 4) for weight in (1.0, 16.0))
    assert heavy.within < 0.6 * light.within


def test_two_draws_of_one_design_differ_by_a_rotation_alone():
    law, grams = Designed(num_designs=1, iterations=10), []
    for seed in (5, 6):
        pilots = law.draw(stream(seed), 14, 48)
        grams.append(pilots.conj().T @ pilots)
        np.testing.assert_allclose(np.linalg.norm(pilots, axis=0), 1, rtol=1e-12)
    assert not np.array_equal(law.draw(stream(5), 14, 48), law.draw(stream(6), 14, 48))
    np.testing.assert_allclose(grams[0], grams[1], atol=1e-12)


@pytest.mark.parametrize("num_pilots", [1, 3, 14])
def test_no_more_pilots_than_symbols_become_orthogonal(num_pilots):
    pilots = Designed(iterations=200).draw(stream(7), 14, num_pilots)
    assert correlations(pilots, 4).between < 0.02  # the last steps are short, not zero
