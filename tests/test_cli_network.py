"""`simulate` and `schema`: a network from a file, from the door."""

import errno
import io
import json
import os
import re

import pytest

from tests.test_cli import command, door, one_line_error  # noqa: F401 (a fixture)
from tests.test_house import HEAVY, ON_DEMAND, loaded_by
from tests.trials import ROOT
from wirelesslab.network.run import Run
from wirelesslab.progress import SimulatedTime

TINY = ROOT / "docs" / "scenarios" / "two_nodes.yaml"


@pytest.fixture
def short(tmp_path):
    """The tiny example, for a tenth of its time."""
    path = tmp_path / "short.yaml"
    path.write_text(TINY.read_text(encoding="utf-8").replace("until_s: 10.0", "until_s: 1.0"), encoding="utf-8")
    return path


def test_simulate_prints_what_each_slice_was_promised_and_got(door, short):  # noqa: F811
    ended = door("simulate", short)
    assert ended.code == 0, ended.err
    row = next(line for line in ended.splitlines() if line.startswith("embb"))
    assert re.search(r"0\.99 within 50 ms +kept$", row)
    assert "Slices after 1 s" in ended
    assert "100%  1 of 1 s simulated" in ended.err
    assert "left" in ended.err


def test_simulate_writes_its_folder_and_a_trace(door, short, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    ended = door("simulate", short, "--out", out, "--trace")
    assert ended.code == 0, ended.err
    names = {path.name for path in out.iterdir()}
    assert names == {
        "slices.parquet", "stations.parquet", "cells.parquet", "series.parquet", "gauges.parquet", "actions.jsonl",
        "flows.jsonl", "manifest.json", "trace.json",
    }  # fmt: skip
    assert all(str(out / name) in ended for name in names)
    json.loads((out / "trace.json").read_text(encoding="utf-8"))


def test_a_wrong_scenario_is_refused_with_its_lines_and_code_2(door, short):  # noqa: F811
    text = (
        short.read_text(encoding="utf-8").replace("sst: 1", "sst: one").replace("rate_per_s: 500.0", "rate_per_s: -1")
    )
    short.write_text(text, encoding="utf-8")
    ended = door("simulate", short)
    assert ended.code == 2
    first, second = ended.err.strip().splitlines()
    assert re.match(r"Error: .*short\.yaml, line \d+: slices\[0\]\.sst: got 'one'", first)
    assert re.match(r".*short\.yaml, line \d+: traffic\[0\]\.rate_per_s: got -1", second)


def test_a_scenario_that_is_not_there_is_one_line_and_code_2(door, tmp_path):  # noqa: F811
    ended = door("simulate", tmp_path / "nowhere.yaml")
    one_line_error(ended, "nowhere.yaml: cannot be read")
    assert ended.code == 2


def test_a_trace_without_a_folder_is_refused(door, short):  # noqa: F811
    one_line_error(door("simulate", short, "--trace"), "add --out FOLDER")


def test_a_folder_that_cannot_be_written_is_refused_before_the_run(door, short, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    ended = door("simulate", short, "--out", tmp_path / "file" / "out")
    one_line_error(ended, "out: cannot write to")
    assert "simulated" not in ended.err


def test_schema_prints_the_schema_that_is_written(door):  # noqa: F811
    ended = door("schema")
    assert ended == (ROOT / "docs" / "scenarios" / "schema.json").read_text(encoding="utf-8")


def test_the_help_of_simulate_loads_nothing_heavy():
    heavy = {*HEAVY, *ON_DEMAND, "pydantic", "numpy", "networkx", "simpy"}
    loaded = loaded_by("from wirelesslab.cli import main; main(['simulate', '--help'])")
    assert loaded.isdisjoint(heavy - loaded_by("from wirelesslab.cli import main; main(['--help'])"))
    assert loaded.isdisjoint({*HEAVY, *ON_DEMAND})


def test_simulate_loads_neither_tensorflow_nor_sionna(short):
    assert loaded_by(f"from wirelesslab.cli import main; main(['simulate', {str(short)!r}])").isdisjoint(HEAVY)


def test_progress_comes_at_intervals_and_at_the_end():
    out = io.StringIO()
    watch = SimulatedTime(out, every_s=3600)
    for step in range(1, 11):
        watch(step / 10, 1.0)
    (line,) = out.getvalue().splitlines()
    assert re.match(r"100%  1 of 1 s simulated, \S+ s per second, \S+ s left$", line)
    out = io.StringIO()
    watch = SimulatedTime(out, every_s=0)
    watch(0.25, 1.0)
    assert out.getvalue().startswith(" 25%  0.25 of 1 s simulated")


def test_simulate_writes_a_report_and_report_writes_it_again_from_the_folder(door, short, tmp_path):  # noqa: F811
    out = tmp_path / "out"
    ended = door("simulate", short, "--out", out, "--report")
    assert ended.code == 0, ended.err
    assert f"written  {out / 'report.html'}" in ended
    again = door("report", out, "--out", tmp_path / "again.html")
    assert again.code == 0, again.err
    assert (tmp_path / "again.html").read_bytes() == (out / "report.html").read_bytes()
    one_line_error(door("show", out), "holds a run of simulate; write its page with `wirelesslab report")


def test_a_report_without_a_folder_or_of_no_run_is_refused(door, short, tmp_path):  # noqa: F811
    one_line_error(door("simulate", short, "--report"), "add --out FOLDER")
    one_line_error(door("report", tmp_path / "nowhere"), "holds no run")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("the disk is <full>")], ids=["ctrl-c", "error"])
def test_an_interrupted_simulation_keeps_what_it_has_and_its_report_says_so(
    door,  # noqa: F811
    short,
    tmp_path,
    monkeypatch,
    error,
):
    def stop(self, time_s, until_s):
        if time_s >= 0.5:
            raise error

    monkeypatch.setattr(SimulatedTime, "__call__", stop)
    out = tmp_path / "out"
    ended = door("simulate", short, "--out", out, "--report")
    assert ended.code == (130 if isinstance(error, KeyboardInterrupt) else 1)
    assert (f"{out} holds what was computed" if isinstance(error, KeyboardInterrupt) else "<full>") in ended.err
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "This run did not reach its end: it was" in text
    assert "at 0.5 of 1 s" in text
    run = Run.load(out)
    assert run.time_s == 0.5
    assert run.manifest["troubles"] == []
    assert int(run.slices["delivered_flows"].sum()) > 50


def test_a_simulation_that_was_killed_leaves_a_folder_that_says_so(door, short, tmp_path, monkeypatch):  # noqa: F811
    def killed(self, folder):
        raise SystemExit(137)

    monkeypatch.setattr(Run, "save", killed)
    assert door("simulate", short, "--out", tmp_path / "out").code == 137
    ended = door("report", tmp_path / "out")
    assert ended.code == 0
    assert "series.parquet is missing" in ended.err
    assert "it was killed before" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_disk_that_fills_up_at_the_end_names_the_file_and_leaves_none_half(door, short, tmp_path, monkeypatch):  # noqa: F811
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "out"
    one_line_error(door("simulate", short, "--out", out), r"cannot write .*parquet .No space left.*make room")
    assert not [path for path in out.iterdir() if path.name.startswith(".")]
    assert "it was killed before it could write" in Run.load(out).manifest["stopped"]


def test_a_folder_with_somebody_else_s_manifest_is_refused_and_kept(door, short, tmp_path):  # noqa: F811
    kept = '{"name": "my web page"}'
    (tmp_path / "manifest.json").write_text(kept, encoding="utf-8")
    (tmp_path / "flows.jsonl").write_text("mine", encoding="utf-8")
    one_line_error(door("simulate", short, "--out", tmp_path), "holds a manifest.json that no simulation wrote")
    assert (tmp_path / "manifest.json").read_text(encoding="utf-8") == kept
    assert (tmp_path / "flows.jsonl").read_text(encoding="utf-8") == "mine"
    (tmp_path / "manifest.json").unlink()
    one_line_error(door("simulate", short, "--out", tmp_path), r"holds flows\.jsonl but no manifest\.json")
    assert (tmp_path / "flows.jsonl").read_text(encoding="utf-8") == "mine"
