"""Ratios over cells: geometric means and medians with intervals that cover, and times taken in turns."""

import numpy as np
import pytest
import xarray as xr

from wirelesslab.mmtc import Scenario
from wirelesslab.mmtc.detectors import AMP, MatchedFilter
from wirelesslab.mmtc.report import Ratio, seconds_in_turns, ser_ratio, time_ratio
from wirelesslab.rng import stream
from wirelesslab.stats import Count

LABELS = 40_000


def result(rates, seed=0, labels=LABELS):
    """A result whose cells (columns) have binomial errors at `rates` (detector -> list)."""
    rng = stream(seed, "report")
    names = list(rates)
    errors = np.array([rng.binomial(labels, rates[name]) for name in names])
    attempts = np.full_like(errors, labels)
    ends = np.array([[Count(int(e), labels).interval(0.95) for e in row] for row in errors])
    dims = ("detector", "cell")
    return xr.Dataset(
        {
            "errors": (dims, errors), "attempts": (dims, attempts), "ser": (dims, errors / labels),
            "ser_low": (dims, ends[..., 0]), "ser_high": (dims, ends[..., 1]),
        },
        coords={"detector": names},
    )  # fmt: skip


RATES = {"a": [0.02, 0.01, 0.004], "b": [0.01, 0.005, 0.002], "c": [0.03, 0.002, 0.02]}


def test_the_geometric_mean_is_that_of_the_cells():
    ratio = ser_ratio(result(RATES), ["a"], ["b"])
    assert ratio.cells == 3
    assert ratio.ends == "95 %"
    assert ratio.low < ratio.value < ratio.high
    assert ratio.value == pytest.approx(2, rel=0.15)  # about 70 to 800 errors a cell: 5 % on the mean


def test_the_interval_covers_the_true_ratio_as_often_as_it_says():
    held = [(r := ser_ratio(result(RATES, seed), ["a"], ["b"])).low <= 2 <= r.high for seed in range(120)]
    assert 0.87 <= np.mean(held) <= 1.0  # 95 % +- 4 standard errors of 120 looks


def test_the_best_of_several_is_taken_cell_by_cell():
    one = ser_ratio(result(RATES), ["b", "c"], ["b"]).value
    each = [min(b, c) / b for b, c in zip(RATES["b"], RATES["c"], strict=True)]
    assert one == pytest.approx(np.exp(np.mean(np.log(each))), rel=0.2)


def test_a_median_has_an_interval_of_its_own():
    ratio = ser_ratio(result(RATES), ["c"], ["b"], median=True)
    assert ratio.low < 3 < ratio.high


def test_a_rate_without_errors_counts_as_half_an_error_and_is_told():
    ratio = ser_ratio(result({"a": [0.0, 0.01], "b": [0.01, 0.01]}), ["a"], ["b"])
    assert ratio.without_errors == 1
    assert "1 rates without errors" in str(ratio)
    assert ratio.value == pytest.approx(np.sqrt(0.5 / 400), rel=0.3)


def test_times_are_taken_in_turns_and_come_with_their_range():
    cells = [Scenario(num_devices=20, pilot_length=10), Scenario(num_devices=40, pilot_length=10)]
    detectors = (MatchedFilter(), AMP(iterations=40))
    seconds = seconds_in_turns(detectors, cells, num_frames=32, turns=3)
    assert seconds.shape == (2, 2)
    assert np.all(seconds > 0)
    names = [d.name for d in detectors]
    whole = xr.Dataset({"seconds_in_turns": (("timed", "cell"), [[1.0, 4.0], [2.0, 2.0]])}, coords={"timed": names})
    ratio = time_ratio(whole, *names)
    assert ratio == Ratio(1.0, 0.5, 2.0, 2, "range")
    assert "cells 0.5 to 2" in str(ratio)
