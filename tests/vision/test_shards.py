"""Shards part a data set exactly, and as unevenly as their law says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirelesslab.vision.shards import class_skew, dirichlet, iid

LABELS = np.repeat(np.arange(10), 300)


def is_partition(shards, num):
    return np.array_equal(np.sort(np.concatenate(shards)), np.arange(num))


@given(num=st.integers(1, 300), workers=st.integers(1, 40), seed=st.integers(0, 99))
def test_even_shards_hold_every_place_once_in_sizes_that_differ_by_one(num, workers, seed):
    if num < workers:
        with pytest.raises(ValueError, match="would get 0 of"):
            iid(num, workers, seed)
        return
    shards = iid(num, workers, seed)
    assert is_partition(shards, num)
    assert {len(s) for s in shards} <= {num // workers, -(-num // workers)}


@given(alpha=st.floats(1.0, 1e4), workers=st.integers(1, 6), seed=st.integers(0, 99))
def test_dirichlet_shards_hold_every_place_once(alpha, workers, seed):
    labels = np.random.default_rng(seed).integers(0, 7, 700)
    assert is_partition(dirichlet(labels, workers, alpha, seed), 700)


def test_a_worker_s_share_of_a_class_has_the_variance_of_its_law():
    # Of N workers' shares of a class, one has mean 1/N and variance (1/N)(1-1/N)/(N alpha+1): 0.0469 for N=4 and
    # alpha=.75. 200 seeds with 10 classes give 2000 independent shares of worker 0; the relative standard error of a
    # variance is sqrt((kurtosis - 1)/2000), about 0.03 here. Five of them are allowed; rounding to 1/300 adds 1e-6.
    shares = [np.bincount(LABELS[dirichlet(LABELS, 4, 0.75, seed)[0]], minlength=10) / 300 for seed in range(200)]
    assert np.mean(shares) == pytest.approx(0.25, abs=5 * np.sqrt(0.0469 / 2000))
    assert np.var(shares) == pytest.approx(0.25 * 0.75 / 4, rel=0.15)


def test_skew_falls_with_alpha_and_even_shards_have_only_that_of_chance():
    def skew(alpha):
        return np.mean([class_skew(LABELS, dirichlet(LABELS, 5, alpha, seed)) for seed in range(8)])

    low, middle, high = (skew(alpha) for alpha in (0.2, 1.0, 1000.0))
    assert low > middle > high
    assert low > 0.4
    # Shards of 600 of 10 equal classes: a class's share has deviation sqrt(.09/600 * .8) = 0.011, whose mean magnitude
    # is 0.0088; ten of them, halved: 0.044.
    assert np.mean(class_skew(LABELS, iid(3000, 5, 1))) == pytest.approx(0.044, abs=0.02)
    assert high < 0.044


def test_shards_follow_from_their_seed():
    one, same, other = (dirichlet(LABELS, 4, 0.5, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_an_empty_shard_is_refused_with_what_would_mend_it():
    with pytest.raises(ValueError, match=r"worker \d of 8 would get \d of 20 images, expected at least 1; raise alpha"):
        dirichlet(np.repeat([0, 1], 10), 8, 0.05, 1)
    with pytest.raises(ValueError, match="expected at least 1500"):
        dirichlet(LABELS, 4, 1.0, 1, least=1500)
    with pytest.raises(ValueError, match="alpha: got 0, expected a number above 0"):
        dirichlet(LABELS, 4, 0, 1)
