"""Ratios of errors on common air."""

import numpy as np
import pytest

from tests.mmtc.cells import STANDARD_ERRORS
from wirelesslab.mmtc.paired import paired_ratio
from wirelesslab.rng import stream


def test_what_both_sides_share_is_no_uncertainty_of_their_ratio():
    rng = stream(1)
    share = rng.gamma(1.0, 40.0, 20)  # cells of very different difficulty
    over, under = rng.poisson(2 * share), rng.poisson(share)
    paired, apart = paired_ratio(over, under), paired_ratio(over, rng.permutation(under))
    assert paired.low < 2 < paired.high
    assert np.log(paired.high / paired.low) < 0.7 * np.log(apart.high / apart.low)


def test_the_interval_covers_the_true_ratio():
    inside, tries = 0, 400
    for i in range(tries):
        rng = stream(2, i)
        share = rng.gamma(2.0, 20.0, 16)
        ratio = paired_ratio(rng.poisson(1.5 * share), rng.poisson(share))
        inside += ratio.low <= 1.5 <= ratio.high
    assert inside / tries > 0.95 - STANDARD_ERRORS * np.sqrt(0.05 * 0.95 / tries)


def test_a_side_without_errors_says_little():
    ratio = paired_ratio([3, 1, 2, 2], [0, 0, 0, 0])
    assert ratio.value == pytest.approx(16)
    assert ratio.low < 1
    assert ratio.without_errors == 1


def test_a_single_group_has_no_interval_and_is_refused():
    with pytest.raises(ValueError, match="groups: got 1"):
        paired_ratio([3], [1])
