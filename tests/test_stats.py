"""Counts merge in any order, and their intervals tell the truth about clustered errors."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from wirelesslab.rng import stream
from wirelesslab.stats import (
    Count,
    Timing,
    assert_rate,
    batch_means,
    binomial_p_value,
    same_rate_p_value,
    total,
)


@st.composite
def counts(draw):
    attempts = draw(st.lists(st.integers(0, 1000), max_size=6))
    return Count.per_frame([draw(st.integers(0, a)) for a in attempts], attempts)


@given(counts(), counts(), counts())
def test_adding_counts_is_associative_and_commutative_with_zero(a, b, c):
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Count() == a
    assert total([a, b, c]) == a + b + c


@given(counts(), counts())
def test_a_count_survives_json(a, b):
    assert Count.from_json(json.loads(json.dumps((a + b).to_json()))) == a + b


@given(counts(), counts())
def test_an_interval_holds_the_rate_and_lies_in_0_and_1(a, b):
    count = a + b
    low, high = count.interval()
    if count.attempts:
        assert 0 <= low <= count.rate <= high <= 1
        assert high > low
    else:
        assert all(map(math.isnan, (low, high, count.rate)))


@given(counts(), counts())
def test_clustering_never_narrows_the_binomial_interval(a, b):
    count = a + b
    if count.attempts:
        plain, clustered = Count(count.errors, count.attempts).interval(), count.interval()
        # 1e-12: rounding of two routes to the same number
        assert clustered.high - clustered.low >= plain.high - plain.low - 1e-12


def test_the_frames_of_a_draw_are_inner_clusters_and_the_draw_is_an_outer_one():
    count = Count.per_frame([0, 3, 1], [10, 10, 0 + 1])
    assert (count.errors, count.attempts) == (4, 21)
    assert (count.frames.num, count.frames.errors_squared, count.frames.errors_attempts) == (3, 10, 31)
    assert (count.draws.num, count.draws.errors_squared, count.draws.attempts_squared) == (1, 16, 441)
    assert (count + count).draws.num == 2


def test_frames_without_attempts_are_no_clusters():
    assert Count.per_frame([0, 2], [0, 5]).frames.num == 1
    assert Count.per_frame([0, 0], [0, 0]).draws.num == 0


@pytest.mark.parametrize(("errors", "attempts"), [([-1], [5]), ([6], [5]), ([1, 9], 8)])
def test_fewer_than_no_errors_or_more_than_attempts_are_refused(errors, attempts):
    with pytest.raises(ValueError, match="errors: got a frame"):
        Count.per_frame(errors, attempts)


@given(st.integers(1, 10_000))
def test_without_errors_the_interval_begins_at_0_and_with_nothing_else_it_ends_at_1(attempts):
    none, all_wrong = Count.per_frame([0, 0], attempts), Count.per_frame([attempts] * 2, attempts)
    assert none.interval().low == 0.0 < none.interval().high < 1.0
    assert all_wrong.interval().high == 1.0 > all_wrong.interval().low > 0.0
    assert none.relative_width() == math.inf


def test_without_clustering_the_interval_is_wilsons():
    count = Count(37, 1000)  # no cluster sums at all
    wilson = binomtest(37, 1000).proportion_ci(0.95, method="wilson")
    assert count.interval() == pytest.approx((wilson.low, wilson.high), rel=1e-10)


def test_more_confidence_is_a_wider_interval():
    count = total(Count.per_frame([3, 0, 1, 0], 50) for _ in range(5))
    widths = [high - low for low, high in (count.interval(c) for c in (0.5, 0.9, 0.99))]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]


def test_relative_width_is_half_the_interval_over_the_rate():
    count = Count.per_frame([2, 5, 3, 1], 100)
    low, high = count.interval()
    assert count.relative_width() == pytest.approx((high - low) / 2 / count.rate, rel=1e-12)


# Coverage by simulation. The truth is known because the rates are drawn from laws of known mean.
REPLICAS = 2000
# 2000 replicas of a 95 % interval: the share covered has a standard error of sqrt(.95 * .05 / 2000)
# = 0.5 %, so 93 % lies 4 standard errors below 95 % (false alarm 3e-5).
LEAST_COVERED = 0.93


def clustered(rng: np.random.Generator, draws: int, frames: int) -> tuple[Count, float]:
    """Return a count of frames that collapse as a whole, in draws some of which are worse; and the true rate."""
    devices, collapse, floor = 50, 0.15, 0.02
    worse = rng.gamma(2.0, 0.5, size=(draws, 1))  # mean 1: a random effect of the draw
    collapsed = rng.random((draws, frames)) < np.minimum(collapse * worse, 1)
    errors = rng.binomial(devices, np.where(collapsed, 0.4, floor))
    # E[min(c W, 1)] differs from c by less than 1e-5 for W ~ Gamma(2, 1/2), c = 0.15.
    return total(Count.per_frame(row, devices) for row in errors), collapse * 0.4 + (1 - collapse) * floor


@pytest.mark.parametrize(
    ("draws", "frames"), [(10, 16), (30, 8), (1, 200)], ids=["few draws", "many draws", "one draw"]
)
def test_the_interval_of_clustered_errors_covers_the_truth_and_the_binomial_one_does_not(draws, frames):
    rng = stream(1, "coverage", draws)
    covered = plain = 0
    for _ in range(REPLICAS if draws > 1 else 600):
        if draws == 1:  # frames collapse, but there is one draw and no random effect
            collapsed = rng.random(frames) < 0.15
            count, truth = Count.per_frame(rng.binomial(50, np.where(collapsed, 0.4, 0.02)), 50), 0.077
        else:
            count, truth = clustered(rng, draws, frames)
        low, high = count.interval()
        covered += low <= truth <= high
        low, high = Count(count.errors, count.attempts).interval()
        plain += low <= truth <= high
    replicas = REPLICAS if draws > 1 else 600
    # 600 replicas: standard error 0.9 %, and 4 of them below 95 % are 91.4 %.
    assert covered / replicas >= (LEAST_COVERED if draws > 1 else 0.914)
    assert plain / replicas < 0.8


def test_the_interval_of_independent_errors_is_not_much_wider_than_it_must_be():
    rng = stream(2, "independent")
    ratios = []
    for _ in range(300):
        count = total(Count.per_frame(rng.binomial(50, 0.05, size=16), 50) for _ in range(20))
        low, high = count.interval()
        plain = Count(count.errors, count.attempts).interval()
        ratios.append((high - low) / (plain.high - plain.low))
    # The largest of three estimates of one variance, with Student's factor for 20 draws: 10 to 20 %.
    assert 1.0 <= np.mean(ratios) < 1.25


def test_two_counts_of_one_rate_are_seldom_called_different():
    rng = stream(3, "same")
    p_values = [
        same_rate_p_value(Count(rng.binomial(500, 0.1), 500), Count(rng.binomial(2000, 0.1), 2000)) for _ in range(400)
    ]
    # An exact test is conservative: P(p <= 0.05) <= 0.05; 400 tests have 20 +- 4.4 such, 38 are 4 sigma.
    assert sum(p <= 0.05 for p in p_values) <= 38


def test_two_counts_of_different_rates_are_told_apart():
    assert same_rate_p_value(Count(50, 1000), Count(150, 1000)) < 1e-9


def test_the_test_of_equal_rates_is_symmetric_and_knows_nothing_without_errors():
    a, b = Count(3, 100), Count(30, 400)
    assert same_rate_p_value(a, b) == pytest.approx(same_rate_p_value(b, a), rel=1e-10)
    assert same_rate_p_value(Count(0, 10), Count(0, 10_000)) == 1.0


def test_the_exact_p_value_of_a_fair_coin_is_known():
    assert binomial_p_value(0, 10, 0.5) == pytest.approx(2 / 2**10, rel=1e-10)


def test_a_rate_that_fits_passes_and_one_that_does_not_fails_with_the_numbers():
    assert_rate(Count(103, 1000), 0.1)
    with pytest.raises(AssertionError, match=r"rate: got 200/1000 = 0.2, expected 0.1 \(p = .*<= 1e-06\)"):
        assert_rate(Count(200, 1000), 0.1)


def test_batch_means_know_the_standard_error_of_a_correlated_series():
    # AR(1) with coefficient a: the mean of n samples has the standard deviation s/(1 - a)/sqrt(n).
    coefficient, samples, replicas = 0.8, 4000, 200
    rng = stream(4, "ar1")
    true_error = 1 / (1 - coefficient) / math.sqrt(samples)
    errors, naive, hits = [], [], 0
    for _ in range(replicas):
        noise, series = rng.standard_normal(samples), np.empty(samples)
        series[0] = noise[0] / math.sqrt(1 - coefficient**2)
        for i in range(1, samples):
            series[i] = coefficient * series[i - 1] + noise[i]
        mean, error = batch_means(series)
        errors.append(error)
        naive.append(series.std(ddof=1) / math.sqrt(samples))
        hits += abs(mean) <= 2.093 * error  # Student, 19 degrees
    # One estimate from 20 batches scatters by 16 %, the mean of 200 by 1.2 %; its bias is about -2 %.
    assert np.mean(errors) == pytest.approx(true_error, rel=0.07)
    assert np.mean(naive) < true_error / 2
    assert hits / replicas >= 0.88  # 95 % less 4.5 standard errors of 1.5 %


def test_batch_means_drop_the_remainder_at_the_start():
    assert batch_means([1e9, *[1.0, 3.0] * 20], num_batches=20) == pytest.approx((2.0, 0.0))


@pytest.mark.parametrize(("samples", "num_batches"), [([1.0] * 39, 20), ([], 20), ([1.0] * 9, 1)])
def test_too_short_a_series_is_refused(samples, num_batches):
    with pytest.raises(ValueError, match=r"samples: got \d+, expected at least"):
        batch_means(samples, num_batches)


def test_timings_add_and_are_nan_before_the_first_frame():
    assert (Timing(1.0, 4) + Timing(2.0, 2)).seconds_per_frame == 0.5
    assert math.isnan(Timing().seconds_per_frame)
