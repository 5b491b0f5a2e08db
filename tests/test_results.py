"""Results: what is saved is loaded, an old file survives a failed save, and only what belongs together is merged."""

import errno
import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tests.trials import ANNA, BERT, CARL, Coin, TossTrial, same_counts
from wirelesslab import results
from wirelesslab.mmtc import Scenario
from wirelesslab.results import describe, label, load, merge, prepare_folder, save, write_summary
from wirelesslab.study import Stop, Study

COIN, STOP = Coin(), Stop(errors=20, max_batches=8)


def toss(bias=(0.1, 0.3), players=(ANNA, BERT), seed=7, base=COIN, stop=STOP) -> xr.Dataset:
    return Study(TossTrial(players=players), base, {"bias": list(bias)}, stop, seed).run(workers=1)


def test_a_saved_result_is_loaded_unchanged(tmp_path):
    result = toss()
    save(result, tmp_path / "result.nc")
    for place in (tmp_path, str(tmp_path), tmp_path / "result.nc"):
        found = load(place)
        xr.testing.assert_identical(found, result)
        assert found.attrs["seed"] == result.attrs["seed"]


def test_a_loaded_result_is_in_memory_and_its_file_may_go(tmp_path):
    save(toss(), tmp_path / "result.nc")
    found = load(tmp_path)
    (tmp_path / "result.nc").unlink()
    assert found["ser"].values.shape == (2, 2)


def test_a_failed_save_keeps_the_old_file_and_leaves_nothing_else(tmp_path, monkeypatch):
    save(toss(), tmp_path / "result.nc")
    before = (tmp_path / "result.nc").read_bytes()

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"cannot write .*result.nc .No space left.*make room"):
        save(toss(seed=8), tmp_path / "result.nc")
    assert (tmp_path / "result.nc").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]


def test_a_result_that_is_not_there_is_an_error_with_the_nearest_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no result.nc in 'nowhere'; run a sim first"):
        load("nowhere")
    (tmp_path / "results" / "first").mkdir(parents=True)
    save(toss(), tmp_path / "results" / "first" / "result.nc")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'results/first'\?"):
        load("results/fist")


# merging


def test_results_of_two_grids_are_merged_to_the_result_of_both():
    merged, whole = merge(toss([0.1]), toss([0.3])), toss([0.1, 0.3])
    for name in ("errors", "attempts", "ser", "ser_low", "ser_high", "batches"):
        np.testing.assert_array_equal(merged[name].sel(detector=whole["detector"], bias=whole["bias"]), whole[name])


def test_results_of_two_sets_of_detectors_are_merged_to_the_result_of_all():
    merged, whole = (
        merge(toss(players=(ANNA,)), toss(players=(BERT,)), toss(players=(CARL,))),
        toss(players=(ANNA, BERT, CARL)),
    )
    same_counts(merged.sel(detector=whole["detector"]), whole)


def test_results_that_overlap_are_merged_though_their_timings_differ():
    merged = merge(toss([0.1, 0.2]), toss([0.2, 0.3]))
    np.testing.assert_array_equal(merged["errors"], toss([0.1, 0.2, 0.3])["errors"])


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"seed": 8}, "merge: seed differs, 7 and 8"),
        ({"base": Coin(label="other")}, "merge: base differs"),
    ],
)
def test_results_that_do_not_belong_together_are_not_merged(other, message):
    with pytest.raises(ValueError, match=message):
        merge(toss(), toss(**other))


def test_results_over_other_fields_are_not_merged():
    other = Study(TossTrial(), Coin(), {"label": ["plain"]}, Stop(max_batches=2), 7).run(workers=1)
    with pytest.raises(ValueError, match=r"merge: (base|over) differs"):
        merge(toss(), other)


def test_results_that_disagree_where_they_overlap_are_not_merged():
    with pytest.raises(ValueError, match="merge: the results disagree where they overlap"):
        merge(toss(stop=Stop(errors=None, max_batches=2)), toss(stop=Stop(errors=None, max_batches=3)))


# descriptions


def test_a_configuration_becomes_plain_json_and_keeps_its_classes():
    described = describe(Scenario(num_devices=np.int64(5)))
    assert json.loads(json.dumps(described)) == described
    assert described["class"] == "Scenario"
    assert described["num_devices"] == 5
    assert described["fading"] == {"class": "Rayleigh"}


@dataclass(frozen=True)
class Crate:
    """A configuration that holds what a configuration must not."""

    content: object = field(default=None)


@pytest.mark.parametrize(
    "content", [np.zeros(3), np.array(1.0), {1, 2}, np.random.default_rng(1), object(), lambda: 0, b"x", 1j],
    ids=lambda c: type(c).__name__,
)  # fmt: skip
def test_a_configuration_of_anything_but_numbers_text_and_dataclasses_is_refused(content):
    with pytest.raises(TypeError, match=r"config: got .*expected numbers, text and frozen dataclasses"):
        describe(Crate(content))


def test_nested_values_are_described_too():
    given = Crate({"a": (1, np.float64(2.5)), "b": [Path("x/y"), None, True, Coin]})
    assert describe(given)["content"] == {"a": [1, 2.5], "b": ["x/y", None, True, "Coin"]}


@pytest.mark.parametrize(("value", "shown"), [(3, 3), (0.5, 0.5), ("amp", "amp"), (True, "True")])
def test_a_swept_number_labels_itself(value, shown):
    assert label(value) == shown


def test_swept_words_are_coordinates():
    result = Study(TossTrial(), Coin(), {"label": ["a", "b"]}, Stop(max_batches=1), 7).run(workers=1)
    assert list(result["label"].values) == ["a", "b"]


# folders and summaries


def test_a_folder_that_cannot_be_written_is_refused_with_another_way(tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(OSError, match=r"out: cannot write to .*choose another folder with --out"):
        prepare_folder(tmp_path / "file" / "result")


def test_a_folder_is_made_and_left_empty(tmp_path):
    assert prepare_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_summary_is_json_in_which_nan_is_null(tmp_path):
    write_summary(tmp_path, {"rate": np.float64(0.5), "nothing": float("nan"), "list": np.arange(2), "far": np.inf})
    text = (tmp_path / "summary.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"rate": 0.5, "nothing": None, "list": [0, 1], "far": None}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_provenance_names_versions_command_and_time(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/wirelesslab/__main__.py", "run", "a sim"])
    found = results.provenance()
    assert found["command"] == "wirelesslab run 'a sim'"
    assert set(results.PACKAGES) < set(json.loads(found["versions"]))


@pytest.mark.parametrize(
    ("found", "told"), [(KeyError("no such object"), ValueError), (PermissionError("not yours"), PermissionError)]
)
def test_what_the_reader_stumbles_on_in_a_damaged_file_is_told_as_damage(monkeypatch, tmp_path, found, told):
    def stumbles(*_, **__):
        raise found

    (tmp_path / "result.nc").write_bytes(b"scrambled in the middle")
    monkeypatch.setattr(xr, "open_dataset", stumbles)
    with pytest.raises(told, match="is damaged" if told is ValueError else "not yours"):
        load(tmp_path)
