"""Replicas: paired seeds, any number of workers, and nothing computed is lost."""

import os
import re

import numpy as np
import pytest

from wirelesslab import cli, replicas
from wirelesslab.executors import StudyFailedError
from wirelesslab.replicas import difference, interquartile_mean, mean, replicate
from wirelesslab.rng import stream


def coin(bias, seed):
    rng = np.random.default_rng(seed)
    return {"mean": float(rng.normal()) + bias, "path": rng.normal(size=3) + bias, "none": float("nan")}


def stubborn(bias, seed):
    if bias == 2.0:
        raise RuntimeError("no")
    return coin(bias, seed)


def deadly(bias, seed):
    os._exit(3)


def changing(bias, seed):
    return {"mean": 1.0} if bias == 0.0 else {"mean": 1.0, "more": 2.0}


def test_replicas_are_paired_and_their_figures_labelled():
    result = replicate(coin, {"low": 0.0, "high": 1.0}, 5, workers=1)
    assert result["mean"].dims == ("experiment", "replica")
    assert result["path"].shape == (2, 5, 3)
    assert np.allclose(result["mean"].sel(experiment="high") - result["mean"].sel(experiment="low"), 1.0)
    assert len(np.unique(result["mean"].sel(experiment="low"))) == 5
    assert np.isnan(result["none"]).all()


def test_one_worker_and_two_give_the_same_to_the_last_bit():
    one, two = (replicate(coin, {"a": 0.0, "b": 1.0}, 4, workers=w) for w in (1, 2))
    assert one.equals(two)


def test_more_replicas_keep_the_first_ones(tmp_path):
    few = replicate(coin, {"a": 0.0}, 3, workers=1, journal=tmp_path)
    more = replicate(coin, {"a": 0.0}, 6, workers=1, journal=tmp_path)
    assert np.array_equal(few["mean"], more["mean"][:, :3])


def test_what_was_computed_before_a_failure_is_not_computed_again(tmp_path, monkeypatch):
    with pytest.raises(StudyFailedError, match="bad, replica 0 failed: RuntimeError: no"):
        replicate(stubborn, {"good": 0.0, "bad": 2.0}, 2, workers=1, journal=tmp_path)
    calls = []

    def once(experiment, config, seed):
        calls.append(config)
        return {"mean": 0.0, "path": [0.0] * 3, "none": 0.0}, 0.1

    monkeypatch.setattr(replicas, "_one", once)
    replicate(stubborn, {"good": 0.0, "bad": 2.0}, 2, workers=1, journal=tmp_path)
    assert calls.count(0.0) < 2


def test_a_worker_process_that_dies_ends_the_replicas_with_an_error_that_teaches(tmp_path):
    with pytest.raises(StudyFailedError, match=r"a worker process died .* at a, replica [01]; .*run again to go on"):
        replicate(deadly, {"a": 0.0}, 2, workers=2, journal=tmp_path)


def test_fewer_replicas_than_the_journal_holds_are_its_first(tmp_path, capsys):
    many = replicate(coin, {"a": 0.0}, 6, workers=1, journal=tmp_path)
    few = replicate(
        coin,
        {
            "a": 0.0,
        },
        2,
        workers=1,
        journal=tmp_path,
        quiet=False,
    )
    assert np.array_equal(few["mean"], many["mean"][:, :2])
    assert capsys.readouterr().err == ""  # nothing was left to compute


def test_progress_has_share_rate_and_time_left(tmp_path, capsys):
    replicate(coin, {"a": 0.0}, 2, workers=1, journal=tmp_path)
    replicate(coin, {"a": 0.0}, 4, workers=1, journal=tmp_path, quiet=False)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[0] for line in lines] == ["75%", "100%"]
    assert lines[-1].endswith("0.0 s left")
    shape = r" *\d+%  \d/4 runs \(\+2 from the journal\), [\d.e+]+ runs/s, [\d.]+ s left"
    assert all(re.fullmatch(shape, line) for line in lines), lines


def test_show_says_how_far_unfinished_replicas_have_come(tmp_path, capsys):
    configs = {"good": 0.0, "bad": 2.0}
    with pytest.raises(StudyFailedError):
        replicate(stubborn, configs, 3, workers=1, journal=tmp_path / "part")
    with pytest.raises(SystemExit, match="0"):
        cli.main(["show", str(tmp_path)])
    shown = capsys.readouterr().out.splitlines()
    assert shown == [
        "good: 1 of 3 runs",
        "bad: 0 of 3 runs",
        "1 of 6 runs; … goes on: the same command goes on from here",
    ]
    replicate(coin, {"a": 0.0}, 2, workers=1, journal=tmp_path / "whole")
    assert replicas.progress_of(tmp_path / "whole") == "a: 2 of 2 runs\n2 of 2 runs; the replicas are complete"


def test_a_journal_that_cannot_be_opened_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "journal.jsonl").mkdir()
    with pytest.raises(OSError, match=r"journal: cannot write to .*Is a directory.*choose another folder"):
        replicate(coin, {"a": 0.0}, 1, workers=1, journal=tmp_path)


def test_a_journal_of_other_experiments_is_refused(tmp_path):
    replicate(coin, {"a": 0.0}, 1, workers=1, journal=tmp_path)
    with pytest.raises(ValueError, match="belongs to another configuration"):
        replicate(coin, {"a": 0.5}, 1, workers=1, journal=tmp_path)


def test_runs_that_give_other_figures_are_refused():
    with pytest.raises(ValueError, match="let every run give the same"):
        replicate(changing, {"a": 0.0, "b": 1.0}, 1, workers=1)


def test_nothing_to_run_is_refused():
    with pytest.raises(ValueError, match="configs: got none"):
        replicate(coin, {}, 1)


def test_the_interval_of_a_mean_holds_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = sum(low <= 3.0 <= high for _, low, high, _ in (mean(rng.normal(3, 2, 6)) for _ in range(2000)))
    assert 0.95 * 2000 - 3 * 9.75 < hits < 0.95 * 2000 + 3 * 9.75  # 9.75: standard error of the binomial count


def test_the_difference_of_pairs_is_sharper_than_the_difference_of_means():
    first = replicate(coin, {"low": 0.0, "high": 1.0}, 8, workers=1)["mean"]
    pairs = difference(first.sel(experiment="high"), first.sel(experiment="low"))
    assert pairs.value == pytest.approx(1.0)
    assert pairs.high - pairs.low < 1e-9


def test_one_sample_has_no_interval():
    assert mean([1.0])[:3] == (1.0, float("-inf"), float("inf"))
    assert np.isnan(mean([]).value)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [([7.0], 7.0), ([1.0, 2.0], 1.5), ([0.0, 4.0, 100.0], (1 / 12 * 0 + 1 / 3 * 4 + 1 / 12 * 100) * 2),
     (range(10), 4.5), ([0, 0, 0, 1, 2, 3, 4, 90, 90, 90], (0.5 * 0 + 1 + 2 + 3 + 4 + 0.5 * 90) / 5)],
)  # fmt: skip
def test_the_interquartile_mean_weighs_the_middle_half(samples, expected):
    assert interquartile_mean(samples).value == pytest.approx(expected)


def test_a_run_that_went_wrong_does_not_move_the_interquartile_mean():
    runs = np.linspace(0.9, 1.0, 10)
    wrong = np.where(np.arange(10) == 0, -1000.0, runs)
    assert interquartile_mean(wrong).value == pytest.approx(interquartile_mean(runs).value)


def test_the_bootstrap_interval_holds_about_as_often_as_it_says():
    """For ten normal samples the percentile bootstrap of the mean holds some 90 % of the time, not 95 %."""
    rng = stream(5)
    found = [interquartile_mean(rng.normal(size=10), resamples=400) for _ in range(400)]
    held = np.mean([one.low <= 0 <= one.high for one in found])
    assert 0.83 < held < 0.96


def test_a_single_run_has_no_bootstrap_interval():
    assert interquartile_mean([3.0, np.nan]).low == -np.inf
    assert interquartile_mean([]).replicas == 0
