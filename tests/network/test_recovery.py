"""A recovery time is that of the figure, not of luck; its interval covers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from wirelesslab.network import EMBB, Flow, Network, Outage, Poisson, line, metro
from wirelesslab.network.recovery import median_with_interval, recovery_time, usual_ceiling

ENDS_S = np.arange(1.0, 21.0)
CALM = [1.0, 1.1, 0.9, 1.0, 1.05, 0.95, 1.0, 1.1, 0.9, 1.0]  # until 10 s


def recovered(after, event_s=10.0, **options):
    return recovery_time(ENDS_S, [*CALM, *after], event_s, window_s=1.0, **options)


def test_a_figure_that_never_left_its_usual_range_needs_no_time():
    assert recovered(CALM) == 0.0


def test_the_time_runs_from_the_event_to_the_first_window_that_is_usual_again():
    assert recovered([5.0, 4.0, 3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]) == 4.0


def test_one_lucky_window_is_no_recovery():
    after = [5.0, 1.0, 5.0, 1.0, 1.0, 5.0, 1.0, 1.0, 1.0, 1.0]
    assert recovered(after) == 6.0
    assert recovered(after, hold=2) == 3.0
    assert recovered(after, hold=1) == 1.0


def test_a_figure_that_stays_bad_never_recovers():
    assert recovered([5.0] * 10) == math.inf
    assert recovered([5.0] * 8 + [1.0] * 2) == math.inf  # not for long enough to tell


def test_what_turns_bad_long_after_the_event_is_not_put_down_to_it():
    after = [1.0, 1.0, 1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0]
    assert recovered(after) == 0.0
    assert recovered(after, hold=4) == 0.0
    with_patience = [1.0, 1.0, 5.0, 5.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    assert recovered(with_patience) == 4.0  # within `hold` windows it is


def test_windows_in_which_nothing_was_delivered_have_not_recovered():
    assert recovered([math.nan] * 3 + [1.0] * 7) == 3.0
    assert recovered([math.nan] * 10) == math.inf


def test_an_event_inside_a_window_is_not_seen_before_it_happened():
    assert recovered([5.0, 5.0] + [1.0] * 8, event_s=10.5) == pytest.approx(1.5)


@given(st.lists(st.sampled_from([1.0, 5.0, math.nan]), min_size=10, max_size=10), st.integers(1, 4))
def test_it_agrees_with_looking_window_by_window(after, hold):
    usual = [value <= 2.0 for value in after]
    expected = next((float(k) for k in range(10 - hold + 1) if all(usual[k : k + hold])), math.inf)
    assert recovered(after, hold=hold, ceiling=2.0) == expected


def test_the_usual_ceiling_is_exceeded_as_rarely_as_it_says():
    rng = np.random.default_rng(5)
    samples = rng.normal(3.0, 0.5, (20_000, 9))
    above = sum(row[8] > usual_ceiling(row[:8], confidence=0.95) for row in samples)
    assert above / 20_000 == pytest.approx(0.05, abs=4 * np.sqrt(0.05 * 0.95 / 20_000))
    assert usual_ceiling([1.0, 2.0, 3.0], confidence=0.9) == pytest.approx(2 + t.ppf(0.9, 2) * np.sqrt(4 / 3))
    assert usual_ceiling([0.0] * 5, tolerance=0.01) == 0.01


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: usual_ceiling([1.0, 2.0]), "got 2 windows before the disturbance, expected at least 3"),
        (lambda: recovery_time([1.0, 2.0], [1.0], 0.0, window_s=1.0), "got shapes"),
        (lambda: recovery_time(ENDS_S, ENDS_S, 18.0, window_s=1.0), "after which 2 windows end, expected at least 3"),
        (lambda: median_with_interval([]), "samples: got 0"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("size", [6, 10, 15, 40])
def test_the_interval_of_a_median_covers_it_as_often_as_it_says(size):
    rng = np.random.default_rng(7)
    covered = sum(
        low <= math.log(2) <= high
        for _, low, high in (median_with_interval(rng.exponential(size=size)) for _ in range(2_000))
    )
    assert covered / 2_000 > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 2_000)


def test_a_median_of_runs_half_of_which_never_recovered_says_so():
    assert median_with_interval([1.0] * 3 + [math.inf] * 7) == (math.inf, 1.0, math.inf)
    assert median_with_interval([1.0, 2.0, 3.0]) == (2.0, -math.inf, math.inf)


def test_a_network_without_another_way_recovers_when_its_link_is_back():
    network = Network(line(num_links=1, rate_bps=8e5), (EMBB,), seed=3, report_s=1.0)
    network.add(Poisson(EMBB, source="edge-1", sink="edge-2", rate_per_s=50.0, num_bytes=1_000))
    network.add(Outage(element="edge-1->edge-2", start_s=60.0, end_s=70.0))
    run = network.run(120.0 + 1e-6)
    windows = run.windows()
    share = windows["late_share"].sel(slice="embb").values
    took_s = recovery_time(windows["time_s"].values, share, 60.0, window_s=1.0)
    network.check()
    assert took_s == pytest.approx(10.0, abs=1.0)  # lost while there is no route: nothing piles up


def test_packets_on_their_way_to_a_link_that_has_failed_go_around_it():
    network = Network(metro(num_gnbs=2, num_edges=2, access_bps=1e5), (EMBB,), seed=4, keep_records=None)
    for _ in range(20):  # two seconds' work for the first link; the second one fails meanwhile
        network.send(Flow(slice="embb", num_bytes=1_250, source="gnb-1", sink="core"))
    network.add(Outage(element="edge-1->core", start_s=1.0, end_s=50.0))
    run = network.run(100.0)
    network.check()
    assert [record.outcome for record in run.records] == ["delivered"] * 20
    assert max(record.delay_s for record in run.records) < 2.1
