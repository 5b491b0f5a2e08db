"""The front door: list, run, show, doctor; flags from configs; errors that teach in one line."""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import types
from pathlib import Path

import pytest
import xarray as xr

from tests.trials import ROOT, environment, records, same_counts, wait_until
from wirelesslab import __version__, cli, doctor
from wirelesslab.progress import PlainLines, progress
from wirelesslab.results import load
from wirelesslab.schedule import Failure, Status
from wirelesslab.session import Session, Table, run_sim

ALL_SIMS = tuple(cli.sim_files())
SIMS = ("ser_phase_map", "ser_vs_snr_and_devices")  # those that sweep a scenario; test_sims.py runs all
# The smallest run that has every ingredient: two SNRs, a real detector, the genie.
SMALL = {
    "ser_vs_snr_and_devices": [
        "--snr-db", "-4,4", "--num-devices", "16", "--pilot-length", "14", "--detectors", "lmmse",
        "--frames-per-batch", "6", "--min-batches", "1", "--max-batches", "3",
    ],
    "ser_phase_map": [
        "--pilots-per-device", "0.5,1", "--activity-prob", "0.1,0.3", "--num-antennas", "2", "--num-devices", "16",
        "--detectors", "lmmse", "--frames-per-batch", "6", "--min-batches", "1", "--max-batches", "3",
    ],
}  # fmt: skip
GRIDS = {
    "ser_vs_snr_and_devices": {"num_devices": 1, "snr_db": 2},
    "ser_phase_map": {"num_antennas": 1, "activity_prob": 2, "pilot_length": 2},
}


class Ended(str):
    """What a command said: its output; with its errors and exit code beside it."""

    code: int
    err: str


@pytest.fixture
def door(capsys):
    """The command line in this process: ``door("list")`` returns what it printed."""

    def call(*words: object) -> Ended:
        code = 0
        try:
            cli.main([str(word) for word in words])
        except SystemExit as leave:
            code = leave.code or 0
        out, err = capsys.readouterr()
        ended = Ended(out)
        ended.code, ended.err = code, err
        return ended

    return call


def command(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "wirelesslab", *map(str, words)],
        env=environment(), cwd=cwd, capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip


def one_line_error(ended: Ended, pattern: str) -> None:
    """The command failed, said one line beginning with "Error:", and showed no traceback."""
    assert ended.code != 0
    assert "Traceback" not in ended.err
    # What click itself refuses (a flag, a value) is preceded by a line or two of usage; progress
    # lines may come first.
    errors = [line for line in ended.err.splitlines() if line.startswith("Error:")]
    assert len(errors) == 1, ended.err
    assert re.search(pattern, errors[0]), errors[0]
    assert ended.err.rstrip().splitlines()[-1] == errors[0]


# list, version, help


def test_list_names_every_sim_with_its_question(door):
    lines = door("list").splitlines()
    assert [line.split()[0] for line in lines] == sorted(cli.sim_files())
    assert set(SIMS) < {line.split()[0] for line in lines}
    assert all(line.endswith("?") or "?" in line for line in lines)


def test_the_version_is_the_package_s(door):
    assert __version__ in door("--version")


@pytest.mark.parametrize("name", ALL_SIMS)
def test_every_field_of_a_config_is_a_flag_with_its_docstring_as_help(door, name):
    config = cli.load_sim(name).Config
    texts = cli.help_texts(config)
    shown = " ".join(door("run", name, "--help").split())
    shown = shown.replace("- ", "-")  # words that the help broke at a hyphen
    for field in dataclasses.fields(config):
        assert f"--{field.name.replace('_', '-')} " in shown
        assert texts[field.name], f"{field.name} has no line in the docstring of Config"
        assert texts[field.name].replace("- ", "-") in shown
    for flag in ("--seed", "--workers", "--scheduler", "--out", "--quick", "--fail-fast"):
        assert flag in shown


@pytest.mark.parametrize("name", ALL_SIMS)
def test_the_help_of_a_sim_begins_with_its_question_and_says_what_to_expect(door, name):
    text = " ".join(door("run", name, "--help").split())
    assert cli.question(ROOT / "sims" / f"{name}.py") in text
    assert "Expect:" in text


def test_run_without_a_sim_lists_the_sims(door):
    ended = door("run", "--help")
    assert all(name in ended for name in ALL_SIMS)


@pytest.mark.parametrize("name", ALL_SIMS)
def test_a_sim_s_own_file_takes_the_same_flags(name):
    ended = subprocess.run(
        [sys.executable, f"sims/{name}.py", "--help"], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    field = dataclasses.fields(cli.load_sim(name).Config)[0].name
    assert f"--{field.replace('_', '-')}" in ended.stdout


def test_a_flag_for_a_list_takes_values_with_commas():
    kinds = cli.CommaList(float), cli.CommaList(int), cli.CommaList(str)
    assert kinds[0].convert("0, 5,10", None, None) == (0.0, 5.0, 10.0)
    assert kinds[1].convert("64,128", None, None) == (64, 128)
    assert kinds[2].convert("amp-row,omp", None, None) == ("amp-row", "omp")


# run


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> dict[str, Path]:
    """A finished quick run of each sim, made by the command in a process of its own."""
    folders = {}
    for name in SIMS:
        folders[name] = tmp_path_factory.mktemp(name) / "result"
        ended = command("run", name, "--quick", "--workers", 2, "--seed", 5, "--out", folders[name], *SMALL[name])
        assert ended.returncode == 0, ended.stderr
        assert str(folders[name] / "result.nc") in ended.stdout
        (folders[name].parent / "stdout").write_text(ended.stdout, encoding="utf-8")
        (folders[name].parent / "stderr").write_text(ended.stderr, encoding="utf-8")
    return folders


@pytest.mark.parametrize("name", SIMS)
def test_a_run_saves_a_labelled_result(finished, name):
    result = load(finished[name])
    assert dict(result.sizes) == {"detector": 2, **GRIDS[name]}
    assert list(result["detector"].values) == ["LMMSE", "genie"]
    dims = ("detector", *GRIDS[name])
    rates = ("ser", "missed", "false_alarm", "wrong_symbol", "frame_collapse")
    columns = {f"{rate}{end}" for rate in rates for end in ("", "_low", "_high")}
    for variable in {"errors", "attempts", "seconds_per_frame", *columns}:
        assert set(result[variable].dims) == set(dims), variable
    assert bool((result["ser_low"] <= result["ser"]).all() and (result["ser"] <= result["ser_high"]).all())
    assert bool((result["seconds_per_frame"] > 0).all())
    xr.testing.assert_allclose(result["ser"], result["errors"] / result["attempts"])


@pytest.mark.parametrize("name", SIMS)
def test_a_result_carries_config_seed_versions_and_command(finished, name):
    attrs = load(finished[name]).attrs
    assert attrs["seed"] == 5
    assert json.loads(attrs["config"])["seed"] == 5
    assert json.loads(attrs["config"])["base"]["class"] == "Scenario"
    assert json.loads(attrs["versions"])["wirelesslab"] == __version__
    assert attrs["command"].startswith(f"wirelesslab run {name} --quick")
    assert attrs["sim"] == name


@pytest.mark.parametrize("name", SIMS)
def test_a_summary_has_intervals_wall_time_and_provenance(finished, name):
    summary = json.loads((finished[name] / "summary.json").read_text(encoding="utf-8"))
    result = load(finished[name])
    rates = {key: value for key, value in summary["figures_of_merit"].items() if key.startswith("ser |")}
    assert len(rates) == result["ser"].size
    for figure in rates.values():
        assert figure["low"] <= figure["value"] <= figure["high"]
        assert figure["value"] == pytest.approx(figure["errors"] / figure["attempts"], rel=1e-12)
    assert summary["wall_seconds"] > 0
    assert summary["seed"] == 5
    assert summary["quick"] is True
    assert summary["command"].startswith(f"wirelesslab run {name}")
    assert summary["config"]["detectors"] == ["lmmse"]
    assert summary["versions"]["numpy"]
    assert summary["failures"] == []


@pytest.mark.parametrize("name", SIMS)
def test_the_figures_are_there_as_png_and_svg_and_are_not_empty(finished, name):
    summary = json.loads((finished[name] / "summary.json").read_text(encoding="utf-8"))
    assert {Path(figure).suffix for figure in summary["figures"]} == {".png", ".svg"}
    for figure in summary["figures"]:
        content = (finished[name] / figure).read_bytes()
        assert len(content) > 5000
        assert content.startswith(b"\x89PNG" if figure.endswith("png") else b"<?xml")
        if figure.endswith("png"):
            width, height = (int.from_bytes(content[at : at + 4], "big") for at in (16, 20))
            assert width > 400
            assert height > 200


@pytest.mark.parametrize("name", SIMS)
def test_progress_is_plain_lines_when_the_output_is_no_terminal(finished, name):
    lines = (finished[name].parent / "stderr").read_text(encoding="utf-8").splitlines()
    shape = r" *\d+% .*\d+/\d+ .*known.* \d+ batches.* [\d.]+ batches/s, \d+ errors seen, .+ left"
    assert lines
    assert all(re.fullmatch(shape, line) for line in lines)
    assert lines[-1].startswith("100%")
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize("name", SIMS)
def test_show_says_again_what_the_run_said(finished, door, name):
    stdout = (finished[name].parent / "stdout").read_text(encoding="utf-8")
    ended = door("show", finished[name])
    assert ended.code == 0
    table = json.loads((finished[name] / "summary.json").read_text(encoding="utf-8"))["table"]
    assert table in stdout
    assert table in ended
    assert "seed 5" in ended


def test_show_draws_a_figure_that_is_missing_again(finished, door, tmp_path):
    shutil.copytree(finished[SIMS[1]], tmp_path / "copy")
    (tmp_path / "copy" / "ser.png").unlink()
    assert "ser.png" in door("show", tmp_path / "copy")
    assert (tmp_path / "copy" / "ser.png").stat().st_size > 5000


def test_a_second_run_takes_everything_from_the_journal_and_gives_the_same_counts(finished, door, tmp_path):
    name = SIMS[1]
    shutil.copytree(finished[name], tmp_path / "copy")
    before = len(records(tmp_path / "copy"))
    ended = door("run", name, "--quick", "--workers", 1, "--seed", 5, "--out", tmp_path / "copy", *SMALL[name])
    assert ended.code == 0
    assert len(records(tmp_path / "copy")) == before
    same_counts(load(tmp_path / "copy"), load(finished[name]))


def test_one_worker_gives_the_counts_of_two(finished, door, tmp_path):
    name = SIMS[0]
    ended = door("run", name, "--quick", "--workers", 1, "--seed", 5, "--out", tmp_path / "one", *SMALL[name])
    assert ended.code == 0
    same_counts(load(tmp_path / "one"), load(finished[name]))


def test_quick_changes_only_what_was_not_said(door, tmp_path):
    door("run", SIMS[1], "--quick", "--workers", 1, "--out", tmp_path / "r", "--snr-db", "3", *SMALL[SIMS[1]][2:])
    config = json.loads((tmp_path / "r" / "summary.json").read_text(encoding="utf-8"))["config"]
    assert config["snr_db"] == [3.0]
    assert config["max_batches"] == 3
    assert config["target_errors"] == cli.load_sim(SIMS[1]).QUICK["target_errors"]


def test_show_of_an_unfinished_run_says_how_far_it_has_come(finished, door, tmp_path):
    (tmp_path / "half").mkdir()
    lines = (finished[SIMS[1]] / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "half" / "journal.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:20])
    ended = door("show", tmp_path / "half")
    assert ended.code == 0
    assert "of 4 known well enough" in ended
    assert "the same command goes on from here" in ended
    assert re.search(r"num_devices=16, snr_db=-4.0: LMMSE \d+/\d+", ended)


def test_show_of_an_unfinished_training_says_that_it_goes_on(door, tmp_path):
    (tmp_path / "checkpoint-3.npz").write_bytes(b"")
    ended = door("show", tmp_path)
    assert ended.code == 0
    assert "a training is on its way (checkpoint-3.npz); the same command goes on" in ended


def test_ctrl_c_stops_a_run_with_exit_code_130_and_the_same_command_goes_on(tmp_path):
    words = [
        "run", SIMS[1], "--workers", "2", "--snr-db", "-4,0,4", "--num-devices", "16", "--pilot-length", "14",
        "--detectors", "matched-filter", "--frames-per-batch", "32", "--target-errors", "1000000",
        "--max-batches", "60",
    ]  # fmt: skip
    folder = tmp_path / "result"
    process = subprocess.Popen(
        [sys.executable, "-m", "wirelesslab", *words, "--out", str(folder)],
        env=environment(), start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: len(records(folder)) >= 5, what="five batches in the journal")
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    kept = len(records(folder))
    assert kept < 180, "the run was over before Ctrl+C"
    assert process.returncode == 130, stderr
    assert "every finished batch is kept, and the same command goes on from there" in stderr
    assert "Traceback" not in stderr
    shown = command("show", folder)
    assert "the same command goes on from here" in shown.stdout

    for out in (folder, tmp_path / "undisturbed"):
        ended = command(*words, "--out", out)
        assert ended.returncode == 0, ended.stderr
    same_counts(load(folder), load(tmp_path / "undisturbed"))
    batches = [(json.dumps(r["point"]), r["batch"]) for r in records(folder)]
    assert len(batches) == len(set(batches)) == 180


# errors teach, in one line


def run(*words: object) -> list[object]:
    return ["run", SIMS[1], "--workers", 1, *words]


@pytest.mark.parametrize(
    ("words", "pattern"),
    [
        (["run", "ser_vs_snr"], r"sim: got 'ser_vs_snr', expected one of .*did you mean 'ser_vs_snr_and_devices'\?"),
        (
            ["run", "nothing-like-it"],
            r"sim: got 'nothing-like-it', expected one of agent_generalisation, agents_against_rules, asynchronous",
        ),
        (run("--detectors", "covarience"), r"detectors: got 'covarience', .*did you mean 'covariance'\?"),
        (
            run("--activity-prob", "10"),
            r"activity_prob: got 10.*expected a probability in \[0, 1\]; write 10.* % as 0.1",
        ),
        (run("--activity-prob", "-0.5"), r"activity_prob: got -0.5, expected a probability"),
        (run("--num-antennas", "0"), r"num_antennas: got 0, expected a whole number of at least 1"),
        (run("--snr-db", "0,nan"), r"snr_db: got nan, expected a finite number"),
        (run("--snr-db", "0,0"), r"snr_db got 0.0 twice"),
        (run("--snr-db", "0;5"), r"got '0;5', expected numbers separated by commas, such as 0,5,10"),
        (run("--num-devices", "10,2.5"), r"got '10,2.5', expected .*numbers separated by commas"),
        (run("--snr-db", ","), r"snr.db.*expected"),
        (run("--num-devices", ""), r"num.devices.*expected"),
        (run("--detectors", "lmmse,lmmse"), r"detectors: got 'LMMSE' twice"),
        (run("--fading", "reyleigh"), r"fading: got 'reyleigh', .*did you mean 'rayleigh'\?"),
        (run("--gain-knowledge", "psychic"), r"psychic"),
        (run("--frames-per-batch", "0"), r"frames_per_batch: got 0"),
        (run("--snr", "0"), r"[Nn]o such option.*--snr"),
        (run("--scheduler", "nonsense"), r"no Dask scheduler answers at 'nonsense' .*start one with `dask scheduler`"),
    ],
    ids=lambda v: " ".join(map(str, v[-2:])) if isinstance(v, list) else "",
)
def test_a_wrong_word_is_refused_in_one_line_that_teaches(door, tmp_path, words, pattern):
    ended = door(*words, *(["--out", tmp_path / "r"] if len(words) > 2 else []))
    one_line_error(ended, pattern)
    assert not (tmp_path / "r" / "result.nc").exists()


def test_a_scheduler_that_does_not_answer_is_refused_within_bounded_time(tmp_path):
    start = time.monotonic()
    ended = command(*run("--scheduler", "tcp://127.0.0.1:1", "--out", tmp_path / "r"))
    assert time.monotonic() - start < 40  # it asks for 10 s; imports on a busy machine take a few
    assert ended.returncode != 0
    assert ended.stderr.startswith("Error: scheduler: no Dask scheduler answers at 'tcp://127.0.0.1:1'")
    assert len(ended.stderr.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_refused(door, tmp_path):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    ended = door(*run("--out", tmp_path / "file" / "result"))
    one_line_error(ended, "out: cannot write to .*choose another folder with --out")


def test_a_damaged_journal_is_refused_and_named(finished, door, tmp_path):
    name = SIMS[1]
    shutil.copytree(finished[name], tmp_path / "r")
    journal = tmp_path / "r" / "journal.jsonl"
    damaged = journal.read_bytes().replace(b'"batch":0', b'"batch":1', 1)
    journal.write_bytes(damaged)
    ended = door("run", name, "--quick", "--seed", 5, "--workers", 1, "--out", tmp_path / "r", *SMALL[name])
    one_line_error(ended, r"journal: .*is damaged in line \d+ .*restore the file from a copy, or remove it")
    assert journal.read_bytes() == damaged


def test_the_journal_of_another_run_is_refused_with_what_differs(finished, door, tmp_path):
    name = SIMS[1]
    shutil.copytree(finished[name], tmp_path / "r")
    ended = door("run", name, "--quick", "--seed", 6, "--workers", 1, "--out", tmp_path / "r", *SMALL[name])
    assert ended.code != 0
    assert ended.err.startswith("Error: journal: ")
    assert "study.seed: 5 in the journal, 6 here" in ended.err
    assert "Traceback" not in ended.err


def test_show_of_a_folder_without_a_result_says_how_to_get_one(door, tmp_path):
    one_line_error(door("show", tmp_path), "folder: no result in .*")


@pytest.mark.parametrize("content", ['{"table": ', '{"table": "of somebody else"}', "[1, 2]"])
def test_show_of_a_damaged_or_foreign_summary_names_the_file(door, tmp_path, content):
    (tmp_path / "summary.json").write_text(content, encoding="utf-8")
    one_line_error(door("show", tmp_path), r"summary\.json (is damaged|is not of a sim)")


def test_a_folder_that_holds_another_sim_s_result_is_refused_and_kept(finished, door, tmp_path):
    shutil.copytree(finished[SIMS[1]], tmp_path / "r")
    before = {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()}
    ended = door("run", SIMS[0], "--workers", 1, "--out", tmp_path / "r", *SMALL[SIMS[0]])
    one_line_error(ended, f"out: .* holds the result of {SIMS[1]}; choose another folder")
    (tmp_path / "r" / "summary.json").write_text('{"my": "thesis"}', encoding="utf-8")
    ended = door("run", SIMS[1], "--workers", 1, "--out", tmp_path / "r", *SMALL[SIMS[1]])
    one_line_error(ended, "out: .* holds a summary.json that no sim wrote; choose another folder")
    before["summary.json"] = b'{"my": "thesis"}'
    assert {path.name: path.read_bytes() for path in (tmp_path / "r").iterdir()} == before


def test_a_damaged_result_is_named_when_it_is_to_be_drawn_again(finished, door, tmp_path):
    shutil.copytree(finished[SIMS[1]], tmp_path / "r")
    whole = (finished[SIMS[1]] / "result.nc").read_bytes()
    for harmed in (whole[:300], whole[: len(whole) // 2], whole[:-100]):
        (tmp_path / "r" / "result.nc").write_bytes(harmed)
        one_line_error(door("show", "--redraw", tmp_path / "r"), r"result: .*result\.nc is damaged .*run the sim again")


@pytest.mark.parametrize(("kilobytes", "lacking"), [(16, "result.nc"), (48, "ser.png")])
def test_a_disk_that_fills_up_leaves_the_earlier_files_and_says_what_to_do(finished, tmp_path, kilobytes, lacking):
    name, folder = SIMS[1], tmp_path / "r"
    shutil.copytree(finished[name], folder)
    words = ["run", name, "--quick", "--workers", "1", "--seed", "5", "--out", str(folder), *SMALL[name]]
    code = f"""
import resource
from wirelesslab.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({kilobytes * 1024}, {kilobytes * 1024}))
main({words!r})
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2, ended.stderr
    *progress_lines, last = ended.stderr.rstrip().splitlines()
    assert re.match(rf"Error: cannot write .*{lacking} .File too large.; make room", last), ended.stderr
    assert all("known" in line for line in progress_lines), ended.stderr
    assert {path.name for path in folder.iterdir()} == {path.name for path in finished[name].iterdir()}
    assert (folder / lacking).read_bytes() == (finished[name] / lacking).read_bytes()


@pytest.mark.parametrize("damaged", ["journal", "empty"])
def test_show_of_a_damaged_journal_is_one_line_too(finished, door, tmp_path, damaged):
    content = (finished[SIMS[1]] / "journal.jsonl").read_bytes().replace(b'"batch":0', b'"batch":1', 1)
    (tmp_path / "journal.jsonl").write_bytes(content if damaged == "journal" else b"")
    ended = door("show", tmp_path)
    if damaged == "journal":
        one_line_error(ended, "is damaged in line")
    else:
        assert "has no batch yet" in ended


def test_with_traceback_the_origin_of_an_error_is_shown(tmp_path):
    words = run("--activity-prob", "10", "--out", tmp_path / "r")
    plain, full = command(*words), command("--traceback", *words)
    assert plain.returncode != 0
    assert len(plain.stderr.strip().splitlines()) == 1
    assert full.returncode != 0
    assert "Traceback" in full.stderr
    assert "check.py" in full.stderr


def test_a_cell_that_does_not_fit_in_memory_is_reported_point_by_point_and_the_rest_goes_on(door, tmp_path):
    words = ["--num-devices", "16,2000000000", *SMALL[SIMS[1]][4:], "--snr-db", "4", "--out", tmp_path / "r"]
    ended = door("run", SIMS[1], "--workers", 1, *words)
    assert ended.code == 1
    assert re.search(r"FAILED .*num_devices.*2000000000.*MemoryError: .*needs .*are free", ended.err)
    assert bool((load(tmp_path / "r")["complete"].sel(num_devices=16) == 1).all())


def test_a_run_in_which_every_point_fails_says_why(door, tmp_path):
    words = ["--num-devices", "2000000000", *SMALL[SIMS[1]][4:], "--snr-db", "4", "--out", tmp_path / "r"]
    ended = door("run", SIMS[1], "--workers", 1, *words)
    assert ended.code == 1
    assert "MemoryError" in ended.err
    assert "Traceback" not in ended.err


def test_fail_fast_stops_a_run_at_the_first_point_that_fails(door, tmp_path):
    words = [
        "--num-devices",
        "2000000000",
        *SMALL[SIMS[1]][4:],
        "--snr-db",
        "4",
        "--out",
        tmp_path / "r",
        "--fail-fast",
    ]
    one_line_error(door("run", SIMS[1], "--workers", 1, *words), "grid point num_devices=2000000000.*MemoryError")


# doctor


def test_the_doctor_finds_this_machine_sound(door):
    ended = door("doctor")
    assert ended.code == 0, ended
    assert "all is well" in ended

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    assert all(re.search(rf"^ok +{name} ", ended, re.MULTILINE) for name in needed)
    assert all(f"[{extra}]" in ended for extra in project["optional-dependencies"])


def test_the_doctor_says_what_is_missing_and_how_to_get_it(door, monkeypatch):
    packages = {"": ["numpy", "no-such-package-of-ours"], "moon": ["numpy", "no-such-either"], "sun": ["numpy"]}
    monkeypatch.setattr(doctor, "wanted", lambda: packages)
    ended = door("doctor")
    assert ended.code == 1
    assert re.search(r"BAD +no-such-package-of-ours +missing; pip install", ended)
    assert re.search(r"- +\[moon\] +without no-such-either; pip install 'wirelesslab\[moon\]'", ended)
    assert re.search(r"ok +\[sun\] +numpy \d", ended)
    assert "something is missing" in ended


# progress


def status(**changes) -> Status:
    usual = {
        "batches": 5, "resumed": 0, "curves_done": 1, "curves": 4, "errors": 12, "seconds": 2.0,
        "busy_seconds": 2.0, "seconds_left": 75.0, "failures": (), "latest": {"snr_db": 3},
    }  # fmt: skip
    return Status(**(usual | changes))


def test_a_line_of_progress_has_share_rate_errors_and_time_left():
    out = io.StringIO()
    PlainLines(out)(status())
    (line,) = out.getvalue().splitlines()
    assert re.match(r" *\d+%", line)
    for part in ("1/4 ", "5 batches", "2.5 batches/s", "12 errors seen", "1 min 15 s left"):
        assert part in line


def test_lines_of_progress_come_at_intervals_and_at_the_end():
    out = io.StringIO()
    watch = PlainLines(out, every_s=3600)
    for batches in range(1, 50):
        watch(status(batches=batches))
    watch(status(batches=50, curves_done=4, finished=True))
    assert len(out.getvalue().splitlines()) == 2
    assert out.getvalue().splitlines()[-1].startswith("100%")


def test_progress_tells_what_was_resumed_and_what_failed():
    out = io.StringIO()
    PlainLines(out)(status(resumed=7, failures=(Failure({"snr_db": 3}, 0, "ValueError: x"),), seconds_left=None))
    assert "(+7 from the journal)" in out.getvalue()
    assert "1 points FAILED" in out.getvalue()
    assert "? left" in out.getvalue()


def test_a_terminal_gets_a_live_bar_that_ends_with_the_run():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with progress(out) as watch:
        assert not isinstance(watch, PlainLines)
        watch(status())
        watch(status(curves_done=4))


def test_a_table_aligns_its_numbers_on_the_right_and_ends_with_its_note():
    rows = [["SNR 0 dB", "1.0e-01", "5"], ["SNR 10 dB", "2.00e-02", "123"]]
    lines = str(Table("Rates", ["point", "AMP", "errors"], rows, note="a note")).splitlines()
    assert (lines[0], lines[-1]) == ("Rates", "a note")
    first, second = (next(line for line in lines if line.startswith(row[0])) for row in rows)
    assert first.split()[-2:] == ["1.0e-01", "5"]
    assert len(first) == len(second)
    assert first.index("1.0e-01") + len("1.0e-01") == second.index("2.00e-02") + len("2.00e-02")


# outside this checkout


def test_an_installed_copy_finds_its_sims_from_anywhere(tmp_path):
    source, target, elsewhere = tmp_path / "source", tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    for folder in ("wirelesslab", "sims"):
        shutil.copytree(ROOT / folder, source / folder, ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
    subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--target", str(target), str(source)],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(target)}

    def python(*words: str) -> str:
        return subprocess.run(
            [sys.executable, *words], env=env, cwd=elsewhere, capture_output=True, text=True, timeout=60, check=True
        ).stdout

    where, sims = python(
        "-c", "import wirelesslab, wirelesslab_sims as s; print(wirelesslab.__file__); print(s.__file__)"
    ).split()
    assert Path(where).is_relative_to(target)
    assert Path(sims).is_relative_to(target)
    assert [line.split()[0] for line in python("-m", "wirelesslab", "list").splitlines()] == sorted(ALL_SIMS)
    assert len(list((target / "wirelesslab" / "mmtc" / "weights").glob("*.npz"))) == 4
    assert (target / "wirelesslab" / "py.typed").exists()
    assert "--snr-db" in python("-m", "wirelesslab", "run", SIMS[1], "--help")


def test_a_sim_may_return_a_dataset_that_no_study_made(tmp_path):
    sim = types.SimpleNamespace(
        main=lambda config, session: xr.Dataset({"square": ("number", [4, 25])}, {"number": [2, 5]}),
        table=lambda result: Table("Squares", ("number", "square"), [("2", "4"), ("5", "25")]),
        draw=lambda result: {},
        summary=lambda result: {"sum": int(result.square.sum())},
    )
    report = run_sim(sim, "squares", cli.load_sim("ser_vs_snr_and_devices").Config(), Session(out=tmp_path))
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["figures_of_merit"] == {"sum": 29}
    assert summary["command"] == load(tmp_path).attrs["command"]
    assert summary["versions"]["wirelesslab"] == __version__
    assert report.failures == []
