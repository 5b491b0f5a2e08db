"""The study engine: the shortest prefix of batches that is enough, whoever computes it and however often."""

import itertools
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wirelesslab as wl
from tests.trials import (
    ANNA,
    BERT,
    CARL,
    Coin,
    ForgetfulTrial,
    TossTrial,
    air_of_batch,
    computed,
    notes,
    records,
    same_counts,
    undeclared_trial,
)
from wirelesslab.results import load, save
from wirelesslab.stats import Count
from wirelesslab.study import Stop, Study, StudyFailedError

SEED = 7
COIN = Coin()
BIASES = [0.02, 0.1, 0.3]
STOPS = [
    Stop(errors=20, max_batches=12, min_batches=1),
    Stop(errors=5, max_batches=12, min_batches=4),
    Stop(errors=None, relative_width=0.4, max_batches=12, min_batches=1),
    Stop(errors=15, relative_width=0.5, max_batches=12, min_batches=2),
    Stop(errors=None, max_batches=3, min_batches=1),
    Stop(errors=10, max_batches=9, metric="half", min_batches=1),
]


def study(trial=None, *, over=None, stop=STOPS[0], base=COIN, seed=SEED) -> Study:
    return Study(trial or TossTrial(), base, over or {"bias": BIASES}, stop, seed)


def shortest_prefix(trial, coin: Coin, stop: Stop, player: str, seed: int = SEED) -> tuple[int, Count]:
    """The oracle: add batch after batch until it is enough, for one player alone."""
    metric = stop.metric or "ser"
    total = {}
    for batch in itertools.count():
        outcome = trial(coin, wl.rng.stream(seed, "batch", batch))[player]
        total = {name: total.get(name, Count()) + outcome[name] for name in ("ser", metric)}
        looked_at, used = total[metric], batch + 1
        if used == stop.max_batches:
            break
        targets = []
        if stop.errors is not None:
            targets.append(looked_at.errors >= stop.errors)
        if stop.relative_width is not None:
            low, high = looked_at.interval()
            targets.append(looked_at.errors > 0 and (high - low) / 2 / looked_at.rate <= stop.relative_width)
        if used >= stop.min_batches and targets and all(targets):
            break
    return used, total["ser"]


# what the result is


@pytest.mark.parametrize("stop", STOPS, ids=str)
def test_the_result_is_the_shortest_prefix_of_batches_that_is_enough(stop):
    result = study(stop=stop).run(workers=1)
    for bias, player in itertools.product(BIASES, ("anna", "bert")):
        at = result.sel(bias=bias, detector=player)
        used, count = shortest_prefix(TossTrial(), Coin(bias=bias), stop, player)
        assert int(at["batches"]) == used
        assert (int(at["errors"]), int(at["attempts"])) == (count.errors, count.attempts)
        assert (float(at["ser_low"]), float(at["ser_high"])) == count.interval()


@settings(max_examples=30, deadline=None)
@given(
    errors=st.none() | st.integers(1, 60),
    relative_width=st.none() | st.floats(0.1, 2),
    batches=st.lists(st.integers(1, 10), min_size=2, max_size=2).map(sorted),
    bias=st.floats(0, 0.5),
    seed=st.integers(0, 2**40),
)
def test_the_prefix_is_shortest_for_any_rule(errors, relative_width, batches, bias, seed):
    stop = Stop(errors=errors, relative_width=relative_width, min_batches=batches[0], max_batches=batches[1])
    result = study(over={"bias": [bias]}, stop=stop, seed=seed).run(workers=1)
    for player in ("anna", "bert"):
        used, count = shortest_prefix(TossTrial(), Coin(bias=bias), stop, player, seed)
        at = result.isel(bias=0).sel(detector=player)
        assert (int(at["batches"]), int(at["errors"])) == (used, count.errors)


def test_every_metric_stands_beside_the_primary_one_with_its_counts_and_interval():
    result = study().run(workers=1)
    assert dict(result.sizes) == {"detector": 2, "bias": 3}
    for name in ("errors", "attempts", "ser", "ser_low", "ser_high", "half", "half_low", "half_high", "half_errors"):
        assert result[name].dims == ("detector", "bias")
    np.testing.assert_allclose(result["ser"], result["errors"] / result["attempts"], rtol=1e-12)
    assert result["errors"].dtype == np.int64
    assert bool((result["complete"] == 1).all())


def test_a_result_says_where_it_came_from():
    attrs = study().run(workers=1).attrs
    config = json.loads(attrs["config"])
    assert (attrs["seed"], config["seed"]) == (SEED, SEED)
    assert config["base"] == {"class": "Coin", "label": "plain", "trouble": ""}
    assert config["grid"] == {"bias": BIASES}
    assert config["stop"]["errors"] == 20
    assert {"python", "numpy", "wirelesslab"} <= set(json.loads(attrs["versions"]))
    assert attrs["command"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*\+00:00", attrs["created"])


def test_a_study_without_a_grid_is_one_point():
    result = Study(TossTrial(), Coin(), {}, Stop(max_batches=2, min_batches=1), SEED).run(workers=1)
    assert dict(result.sizes) == {"detector": 2}
    assert result["ser"].dims == ("detector",)


def test_all_grid_points_meet_the_same_air(tmp_path):
    log = tmp_path / "log"
    labels = ["a", "b", "c"]
    result = study(TossTrial(log=str(log)), over={"label": labels}).run(workers=1)
    for label in labels[1:]:
        np.testing.assert_array_equal(result["errors"].sel(label=label), result["errors"].sel(label="a"))
    airs = {label: [n["air"] for n in notes(log) if n["label"] == label] for label in labels}
    assert airs["a"] == airs["b"] == airs["c"]
    assert airs["a"] == [air_of_batch(b) for b in range(len(airs["a"]))]


def test_the_air_of_a_point_does_not_depend_on_the_rest_of_the_grid_or_on_the_other_players():
    whole = study().run(workers=1)
    alone = study(TossTrial(players=(BERT,)), over={"bias": [0.1]}).run(workers=1)
    same_counts(alone, whole.sel(bias=[0.1], detector=["bert"]))


def test_another_seed_meets_another_air():
    first, second = (
        study(seed=seed, stop=Stop(errors=None, max_batches=10, min_batches=1)).run(workers=1) for seed in (1, 2)
    )
    assert not np.array_equal(first["errors"], second["errors"])


def test_a_player_that_is_known_well_enough_is_computed_no_more(tmp_path):
    log = tmp_path / "log"
    result = study(TossTrial(log=str(log)), over={"bias": [0.1]}).run(workers=1)
    calls = notes(log)
    for player in ("anna", "bert"):
        used = int(result["batches"].isel(bias=0).sel(detector=player))
        assert [player in call["players"] for call in calls] == [True] * used + [False] * (len(calls) - used)
    assert calls[0]["players"] == ["anna", "bert"]
    assert calls[-1]["players"] == ["bert"]


def test_a_plain_function_is_a_trial_too():
    declared, plain = study().run(workers=1), study(undeclared_trial).run(workers=1)
    for name in ("errors", "attempts", "batches"):
        np.testing.assert_array_equal(declared[name], plain[name])


def test_timings_are_reported_and_are_no_part_of_a_comparison():
    first, second = study().run(workers=1), study().run(workers=1)
    assert bool((first["seconds_per_frame"] > 0).all())
    assert not first["seconds_per_frame"].equals(second["seconds_per_frame"])
    same_counts(first, second)


def test_no_work_is_computed_twice_when_it_is_computed_once():
    seen = []
    study().run(workers=1, watch=seen.append)
    last = seen.pop()
    assert [status.batches for status in seen] == list(range(1, len(seen) + 1))
    assert last.finished
    assert last.batches == seen[-1].batches
    assert last.curves_done == last.curves == 6
    assert last.seconds_left == 0.0
    assert last.errors > 0
    assert last.failures == ()


# nonsense is refused before anything is computed


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"over": {"bais": [0.1]}},
            ValueError,
            r"over: got \['bais'\], expected fields of Coin.*did you mean 'bias'\?",
        ),
        ({"over": {"bias": []}}, ValueError, "over: bias got no value"),
        ({"over": {"bias": [0.1, 0.2, 0.1]}}, ValueError, "over: bias got 0.1 twice"),
        ({"over": {"bias": [0, 0.0]}}, ValueError, "over: bias got 0.0 twice"),
        ({"over": {"bias": 0.1}}, TypeError, r"over: bias got 0.1, expected a list of values"),
        ({"over": {"label": "abc"}}, TypeError, "over: label got 'abc', expected a list of values"),
        ({"over": {"bias": [0.1, 2]}}, ValueError, r"bias: got 2, expected a probability"),
        ({"base": {"bias": 0.1}}, TypeError, "base: got .*expected an instance of a dataclass"),
        ({"base": Coin}, TypeError, "base: got .*expected an instance of a dataclass"),
        ({"seed": -1}, ValueError, "seed: got -1"),
        ({"seed": 1.5}, TypeError, "seed: got 1.5"),
        ({"over": {"label": [np.ones(3)]}}, TypeError, "config: got ndarray, expected numbers, text"),
    ],
)
def test_a_study_of_nonsense_is_refused(changes, kind, message):
    with pytest.raises(kind, match=message):
        study(**changes)


@pytest.mark.parametrize(
    ("rule", "kind", "message"),
    [
        ({"errors": 0}, ValueError, "errors: got 0"),
        ({"max_batches": 0}, ValueError, "max_batches: got 0"),
        ({"relative_width": -0.1}, ValueError, "relative_width: got -0.1"),
        ({"errors": 2.5}, TypeError, "errors: got 2.5"),
    ],
)
def test_a_rule_of_nonsense_is_refused(rule, kind, message):
    with pytest.raises(kind, match=message):
        Stop(**rule)


@pytest.mark.parametrize(
    ("metric", "kind", "message"),
    [
        ("halff", ValueError, r"metric: got 'halff', expected one of ser, half.*did you mean 'half'\?"),
        ("seconds_per_frame", TypeError, "metric: 'seconds_per_frame' is a timing, expected a count"),
    ],
)
def test_a_rule_about_a_metric_that_the_trial_lacks_is_refused(metric, kind, message):
    with pytest.raises(kind, match=message):
        study(stop=Stop(metric=metric)).run(workers=1)


def test_a_trial_that_does_not_return_a_part_it_declared_is_refused_and_not_asked_for_ever(tmp_path):
    with pytest.raises((ValueError, StudyFailedError), match="bert"):
        study(ForgetfulTrial(str(tmp_path / "log")), over={"bias": [0.1]}).run(workers=1, fail_fast=True)


# a journal: compute only what is missing


def test_a_rerun_computes_nothing_and_gives_the_same_result(tmp_path):
    log = tmp_path / "log"
    first = study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    calls = len(notes(log))
    second = study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    assert calls > 0
    assert len(notes(log)) == calls
    assert second.drop_attrs().identical(first.drop_attrs())


def test_a_tighter_rule_computes_only_the_further_batches(tmp_path):
    log = tmp_path / "log"
    study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    calls = len(notes(log))
    tight = Stop(errors=40, max_batches=20, min_batches=1)
    result = study(TossTrial(log=str(log)), stop=tight).run(tmp_path, workers=1)
    same_counts(result, study(stop=tight).run(workers=1))
    done = list(computed(tmp_path))
    assert len(done) == len(set(done))
    assert calls < len(notes(log)) == len(records(tmp_path))


def test_a_looser_rule_computes_nothing_and_uses_a_shorter_prefix(tmp_path):
    log = tmp_path / "log"
    study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    calls, loose = len(notes(log)), Stop(errors=3, max_batches=5, min_batches=1)
    same_counts(study(TossTrial(log=str(log)), stop=loose).run(tmp_path, workers=1), study(stop=loose).run(workers=1))
    assert len(notes(log)) == calls


def test_a_larger_grid_computes_only_the_new_points(tmp_path):
    log = tmp_path / "log"
    study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    calls = len(notes(log))
    wider = {"bias": [0.05, *BIASES]}
    result = study(TossTrial(log=str(log)), over=wider).run(tmp_path, workers=1)
    assert {n["bias"] for n in notes(log)[calls:]} == {0.05}
    same_counts(result, study(over=wider).run(workers=1))


def test_a_further_player_computes_only_itself(tmp_path):
    log = tmp_path / "log"
    study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    calls, players = len(notes(log)), (CARL, ANNA, BERT)
    result = study(TossTrial(players=players, log=str(log))).run(tmp_path, workers=1)
    assert all(n["players"] == ["carl"] for n in notes(log)[calls:])
    same_counts(result, study(TossTrial(players=players)).run(workers=1))


def test_a_player_that_left_and_came_back_is_not_computed_again(tmp_path):
    log = tmp_path / "log"
    both = study(TossTrial(log=str(log))).run(tmp_path, workers=1)
    calls = len(notes(log))
    alone = study(TossTrial(players=(BERT,), log=str(log))).run(tmp_path, workers=1)
    assert list(alone["detector"].values) == ["bert"]
    same_counts(study(TossTrial(log=str(log))).run(tmp_path, workers=1), both)
    assert len(notes(log)) == calls


def test_0_and_0_point_0_are_one_grid_point_of_a_journal(tmp_path):
    log = tmp_path / "log"
    study(TossTrial(log=str(log)), over={"bias": [0, 1]}).run(tmp_path, workers=1)
    calls = len(notes(log))
    study(TossTrial(log=str(log)), over={"bias": np.array([0.0, 1.0])}).run(tmp_path, workers=1)
    assert len(notes(log)) == calls


def test_a_plain_function_resumes_too(tmp_path):
    first = study(undeclared_trial).run(tmp_path, workers=1)
    before = len(records(tmp_path))
    same_counts(study(undeclared_trial).run(tmp_path, workers=1), first)
    assert len(records(tmp_path)) == before > 0


def test_a_journal_torn_at_any_line_leads_to_the_same_result(tmp_path):
    whole = study().run(tmp_path / "whole", workers=1)
    lines = (tmp_path / "whole" / "journal.jsonl").read_bytes().splitlines(keepends=True)
    for kept in range(len(lines)):
        folder = tmp_path / f"{kept}"
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(lines[:kept]) + lines[kept][: len(lines[kept]) // 2])
        same_counts(study().run(folder, workers=1), whole)
        done = list(computed(folder))
        assert len(done) == len(set(done))


def test_ctrl_c_in_this_process_leaves_a_journal_from_which_one_goes_on(tmp_path):
    # The coin sends SIGINT to its own process in the middle of its third batch.
    over = {"bias": [0.1], "trouble": ["", "interrupts in batch 3"]}
    stop = Stop(errors=None, max_batches=6, min_batches=1)
    with pytest.raises(KeyboardInterrupt):
        study(over=over, stop=stop).run(tmp_path, workers=1)
    assert 0 < len(records(tmp_path)) < 12
    calm = study(over={"bias": [0.1], "trouble": [""]}, stop=stop)
    same_counts(calm.run(tmp_path, workers=1), calm.run(workers=1))
    done = list(computed(tmp_path))
    assert len(done) == len(set(done))


# failures


TROUBLED = {"bias": [0.1], "trouble": ["", "fails"]}


def test_a_point_that_fails_is_reported_and_the_rest_goes_on(tmp_path):
    result = study(over=TROUBLED).run(tmp_path, workers=1)
    failures = json.loads(result.attrs["failures"])
    assert [f["point"] for f in failures] == [{"bias": 0.1, "trouble": "fails"}]
    assert failures[0]["error"] == "ValueError: the coin fell off the table"
    failed = result.sel(trouble="fails").isel(bias=0)
    assert int(failed["complete"].sum()) == 0
    assert int(failed["batches"].sum()) == 0
    assert bool(np.isnan(failed["ser"]).all())
    same_counts(result.sel(trouble=[""]), study(over={"bias": [0.1], "trouble": [""]}).run(workers=1))


def test_a_failure_is_tried_again_by_the_next_run(tmp_path):
    log = tmp_path / "log"
    for calls in (1, 2):
        study(TossTrial(log=str(log)), over={"trouble": ["fails"]}).run(tmp_path, workers=1)
        assert len(notes(log)) == calls


def test_when_every_point_fails_the_result_still_says_so(tmp_path):
    result = study(over={"trouble": ["fails"]}).run(workers=1)
    assert len(json.loads(result.attrs["failures"])) == 1
    assert list(result["detector"].values) == ["anna", "bert"]
    save(result, tmp_path / "result.nc")
    assert int(load(tmp_path)["complete"].sum()) == 0


def test_fail_fast_stops_at_the_first_failure_and_names_the_point():
    with pytest.raises(StudyFailedError, match=r"bias=0.1, trouble=fails, batch 0 failed: ValueError: the coin fell"):
        study(over=TROUBLED).run(workers=1, fail_fast=True)


def test_a_failure_is_part_of_the_watch():
    seen = []
    study(over=TROUBLED).run(workers=1, watch=seen.append)
    assert [f.point for f in seen[-1].failures] == [{"bias": 0.1, "trouble": "fails"}]


# the public face


def test_the_study_of_the_package_is_this_one():
    assert (wl.Study, wl.Stop, wl.Count) == (Study, Stop, Count)


def test_remaining_batches_are_estimated_between_1_and_the_maximum():
    stop = Stop(errors=100, max_batches=40, min_batches=1)
    assert stop.remaining(Count(), 0) == 40
    assert stop.remaining(Count(50, 1000), 10) == 10
    assert stop.remaining(Count(0, 1000), 10) == 30
    assert stop.remaining(Count(99, 1000), 10) == 1
    assert Stop(errors=None, relative_width=0.1, min_batches=1).remaining(Count(1, 10), 1) <= 39
    assert math.isfinite(Stop(errors=None, min_batches=1).remaining(Count(0, 10), 3))


def test_the_journal_of_a_study_is_one_file_in_its_folder(tmp_path):
    study().run(Path(tmp_path) / "deep" / "er", workers=1)
    assert [p.name for p in (tmp_path / "deep" / "er").iterdir()] == ["journal.jsonl"]
