"""Streaming statistics against numpy on the same numbers, and what it costs to keep them."""

import copy
import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.network.series import BatchMeans, WindowedSeries
from wirelesslab.network.statistics import Tally, TimeAverage
from wirelesslab.rng import stream

numbers = st.one_of(
    st.floats(-1e9, 1e9, allow_nan=False).filter(lambda x: x == 0 or abs(x) > 1e-12),
    st.integers(-50, 50).map(float),
)


def tally_of(values, by_one):
    tally = Tally()
    if by_one:
        for value in values:
            tally.add(value)
    else:
        tally.add_many(values)
    return tally


def same_state(first, second):
    a, b = first.snapshot(), second.snapshot()
    return a.keys() == b.keys() and all(np.array_equal(a[k], b[k], equal_nan=True) for k in a)


# --- Tally ------------------------------------------------------------------------------------------


@given(st.lists(numbers, min_size=1, max_size=700), st.floats(0, 1), st.booleans())
@settings(max_examples=150, deadline=None)
def test_quantiles_are_within_one_per_cent_of_the_order_statistic(values, q, by_one):
    tally = tally_of(values, by_one)
    exact = np.sort(values)[math.floor(q * (len(values) - 1))]
    assert tally.quantile(q) == pytest.approx(exact, rel=0.01 + 1e-9, abs=0)


@given(st.lists(numbers, min_size=2, max_size=700), st.booleans())
@settings(max_examples=100, deadline=None)
def test_count_mean_spread_and_extremes_are_numpys(values, by_one):
    tally = tally_of(values, by_one)
    scale = np.abs(values).max()
    assert tally.count == len(values)
    assert tally.mean == pytest.approx(np.mean(values), rel=1e-9, abs=1e-12 * scale)
    assert tally.std == pytest.approx(np.std(values, ddof=1), rel=1e-6, abs=1e-9 * scale)
    assert (tally.min, tally.max) == (min(values), max(values))


@given(st.lists(numbers, max_size=400), st.lists(numbers, min_size=1, max_size=400), st.floats(0, 1))
@settings(max_examples=80, deadline=None)
def test_a_merge_is_the_tally_of_both(first, second, q):
    merged, other = tally_of(first, True), tally_of(second, True)
    before = copy.deepcopy(other)
    merged.merge(other)
    both = tally_of(first + second, False)
    assert same_state(other, before)
    assert (merged.count, merged.min, merged.max) == (both.count, both.min, both.max)
    assert merged.quantile(q) == both.quantile(q)
    assert merged.mean == pytest.approx(both.mean, rel=1e-9, abs=1e-12 * np.abs(first + second).max())


@given(st.lists(numbers, min_size=1, max_size=400), numbers)
@settings(max_examples=150, deadline=None)
def test_the_share_above_errs_by_no_more_than_the_numbers_near_the_limit(values, limit):
    values = np.array(values)
    near = np.mean(np.abs(values - limit) <= 0.021 * np.abs(limit) + 1e-300)
    assert abs(tally_of(values, False).share_above(limit) - np.mean(values > limit)) <= near + 1e-9


def test_looking_does_not_change_what_follows():
    rng = stream(1)
    watched, alone = Tally(), Tally()
    for value in rng.exponential(size=1000):
        watched.add(value)
        alone.add(value)
        _ = (watched.mean, watched.quantile(0.9), watched.snapshot()) if watched.count % 97 == 0 else None
    assert same_state(watched, alone)


@pytest.mark.parametrize("make", [Tally, TimeAverage, BatchMeans, lambda: WindowedSeries(0.5, 8)])
def test_a_restored_statistic_goes_on_to_the_last_bit(make):
    def feed(statistic, numbers, start):
        for k, value in enumerate(numbers, start):
            statistic.set(value, k) if isinstance(statistic, TimeAverage) else statistic.add(
                *((k, value) if isinstance(statistic, WindowedSeries) else (value,))
            )

    values = stream(2).normal(size=900)
    one = make()
    feed(one, values[:500], 0)
    state = pickle.loads(pickle.dumps(one.snapshot()))
    other = make()
    other.restore(state)
    assert same_state(one, other)
    feed(one, values[500:], 500)
    feed(other, values[500:], 500)
    assert same_state(one, other)
    one.restore(state)
    assert not same_state(one, other)


def test_a_tally_of_ten_million_numbers_takes_no_more_than_one_of_ten_thousand():
    rng, tally = stream(3), Tally()
    sizes = []
    for _ in range(100):
        tally.add_many(rng.lognormal(-4, 2, size=100_000))
        sizes.append(len(pickle.dumps(tally.snapshot())))
    assert sizes[-1] < 1.3 * sizes[0] < 20_000
    assert tally.quantile(0.99) == pytest.approx(math.exp(-4 + 2 * 2.3263479), rel=0.02)


def test_any_double_fits():
    tally = Tally()
    tally.add_many([1.7e308, 5e-324, -1.7e308, 2.3e-308, 0.0])
    assert tally._positive.counts.nbytes < 600_000
    assert [tally.quantile(q) for q in (0, 0.5, 1)] == pytest.approx([-1.7e308, 0, 1.7e308], rel=0.01)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [Tally, BatchMeans])
def test_numbers_that_are_not_finite_are_refused_at_the_door(make, bad):
    statistic = make()
    with pytest.raises(ValueError, match="finite"):
        statistic.add(bad)
    with pytest.raises(ValueError, match="finite"):
        statistic.add_many([1.0, bad])
    assert statistic.count == 0


def test_nothing_has_no_mean_and_no_quantile():
    assert math.isnan(Tally().mean)
    assert math.isnan(Tally().share_above(0))
    with pytest.raises(ValueError, match="add first"):
        Tally().quantile(0.5)
    with pytest.raises(ValueError, match="accuracy"):
        Tally().merge(Tally(accuracy=0.02))


# --- TimeAverage ------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(-9, 9)), min_size=1, max_size=40), st.floats(0.1, 5))
@settings(max_examples=60, deadline=None)
def test_the_time_average_is_the_integral_over_the_time(steps, rest_s):
    average, times, values, now = TimeAverage(), [], [], 3.0
    for gap, value in steps:
        now += gap
        average.set(value, now)
        times.append(now)
        values.append(value)
    end = now + rest_s
    exact = np.dot(values, np.diff([*times, end])) / (end - times[0])
    assert average.mean(end) == pytest.approx(exact, rel=1e-9, abs=1e-9)
    assert average.max == max(values)


def test_merged_time_averages_pool_their_time():
    one, two = TimeAverage(), TimeAverage()
    one.set(1, 0.0)
    two.set(4, 8.0)
    one.merge(two, 9.0)
    assert one.mean(2.0) == pytest.approx((2 * 1 + 1 * 4) / 3)
    with pytest.raises(ValueError, match="at or after"):
        two.set(1, 7.0)


# --- WindowedSeries ---------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 300), st.floats(-5, 5)), min_size=1, max_size=60), st.integers(0, 60))
@settings(max_examples=80, deadline=None)
def test_windows_add_up_to_numpys_histogram_in_one_piece_and_merged(points, cut):
    times, values = map(np.array, zip(*points, strict=True))
    whole, first, second = (WindowedSeries(0.5, 16) for _ in range(3))
    for time_s, value in points:
        whole.add(time_s, value)
    first.add_many(times[:cut], values[:cut])
    second.add_many(times[cut:], values[cut:])
    first.merge(second)
    edges = np.append(whole.starts_s, whole.starts_s[-1] + whole.window_s)
    for series in (whole, first):
        assert series.window_s == whole.window_s
        assert series.counts.tolist() == np.histogram(times, edges)[0].tolist()
        assert series.sums == pytest.approx(np.histogram(times, edges, weights=values)[0], abs=1e-9)
    assert 1 <= whole.counts.size <= 16


def test_a_long_series_keeps_at_least_half_its_windows():
    series = WindowedSeries(1.0, 64)
    series.add_many(np.arange(100_000.0), 1.0)
    assert 32 < series.counts.size <= 64
    assert series.counts.sum() == 100_000
    assert series.means == pytest.approx(1.0)


# --- BatchMeans -------------------------------------------------------------------------------------


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=500), st.integers(1, 60))
@settings(max_examples=80, deadline=None)
def test_batches_are_those_of_the_series_cut_by_hand(values, chunk):
    one, many = BatchMeans(), BatchMeans()
    for value in values:
        one.add(value)
    for k in range(0, len(values), chunk):
        many.add_many(values[k : k + chunk])
    length = one.batch_length
    cut = np.reshape(values[: one.num_batches * length], (-1, length)).mean(axis=1)
    for series in (one, many):
        assert (series.batch_length, series.num_batches, series.count) == (length, len(values) // length, len(values))
        assert series.mean == pytest.approx(np.mean(values), abs=1e-9)
        if len(values) >= 20:
            assert 20 <= series.num_batches < 40
            assert series.standard_error == pytest.approx(cut.std(ddof=1) / math.sqrt(cut.size), rel=1e-6, abs=1e-9)
        else:
            assert math.isnan(series.standard_error)


def test_the_standard_error_of_a_correlated_series_is_right():
    # AR(1) with coefficient 0.9: the mean's variance is that of white noise times (1 + 0.9)/(1 - 0.9) = 19.
    errors, deviations = [], []
    for seed in range(40):
        noise = stream(seed, "ar").normal(size=20_000)
        series, x = np.empty_like(noise), 0.0
        for k, e in enumerate(noise):
            x = 0.9 * x + e
            series[k] = x
        batches = BatchMeans()
        batches.add_many(series)
        errors.append(batches.standard_error)
        deviations.append(batches.mean)
    exact = math.sqrt(19 / 0.19 / 20_000)
    # 40 estimates with about 25 degrees of freedom each: standard error of their mean 2.2 %, bias below 1 %.
    assert np.mean(errors) == pytest.approx(exact, rel=0.08)
    assert np.mean(np.abs(deviations) < 2 * np.array(errors)) > 0.8


def test_merged_replicas_have_the_mean_of_all():
    parts = [stream(seed).exponential(size=n) for seed, n in enumerate((37, 5000, 800))]
    merged = BatchMeans()
    for part in parts:
        series = BatchMeans()
        series.add_many(part)
        merged.merge(series)
    assert merged.count == 5837
    assert merged.mean == pytest.approx(np.concatenate(parts).mean(), rel=1e-12)
    assert 20 <= merged.num_batches < 40
    assert merged.standard_error == pytest.approx(1 / math.sqrt(5837), rel=0.6)
