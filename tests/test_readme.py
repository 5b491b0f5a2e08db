"""What the README shows works as it is written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wirelesslab.mmtc import Scenario, simulate
from wirelesslab.rng import stream

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_readme_s_script_runs_and_draws_its_figure(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(next(block for block in BLOCKS if "wl.Study" in block), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "attempts=6400" in done.stdout
    assert (tmp_path / "results" / "mine" / "waterfall.png").stat().st_size > 10_000
    assert (tmp_path / "results" / "mine" / "journal.jsonl").exists()


def test_the_readme_s_detector_hears_a_single_user():
    names: dict[str, object] = {}
    exec(next(block for block in BLOCKS if "class FirstLook" in block), names)
    observation, truth = simulate(Scenario(num_devices=1, activity_prob=0.5, snr_db=6.0), stream(1), num_frames=500)
    detection = names["FirstLook"]().detect(observation)
    np.testing.assert_allclose(detection.posteriors.sum(axis=-1), 1)
    assert np.mean(detection.labels != truth.symbols) < 0.05


def test_the_readme_s_networks_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    blocks = [
        block
        for block in BLOCKS
        if "wirelesslab.network" in block and not re.search("crew_of|StructuredSparsity", block)
    ]
    assert len(blocks) >= 5
    for number, block in enumerate(blocks):
        code = compile(block, f"README block {number}", "exec")
        exec(code, names)
    said = capsys.readouterr().out
    assert "operator" in said, "the audit names who has read"
    assert "joules per message" in said
    assert (tmp_path / "report.html").stat().st_size > 10_000


def test_the_readme_s_nets_learn_and_their_gradients_travel(capsys):
    exec(compile(next(block for block in BLOCKS if "crew_of" in block), "README", "exec"), {"__name__": "readme"})
    said = capsys.readouterr().out
    assert float(re.search(r"'accuracy': ([\d.]+)", said).group(1)) > 0.9
    up, down = (int(re.search(rf"{way}=(\d+)", said).group(1)) for way in (r"Traffic\(up", "down"))
    assert "Round(step=19" in said
    assert 0 < up < down < 100 * 4 * 4 * 13_258, "float32 would be four bytes a parameter, worker and step"


@pytest.mark.parametrize("link", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_a_link_of_the_readme_leads_somewhere(link):
    assert (ROOT / link).exists(), link


def test_every_make_target_that_the_readme_names_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"^make (\w+)", README, flags=re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_the_makefile_finds_no_python_where_there_is_none(tmp_path):
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text(encoding="utf-8"), encoding="utf-8")
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text("", encoding="utf-8")
    done = subprocess.run(
        ["make", "study", "PYTHON=", "UV="], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "MAKEFLAGS": ""},
    )  # fmt: skip
    assert done.returncode != 0
    assert "needs Python 3.11 or 3.12" in done.stdout + done.stderr


def test_the_readme_s_small_net_is_smaller_and_still_sees_and_travels(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "readme"}
    exec(next(block for block in BLOCKS if "StructuredSparsity" in block), names)
    before, after = (int(n) for n in re.findall(r"(\d+) -> (\d+) parameters", capsys.readouterr().out)[0])
    assert after < before / 2
    small = names["small"]
    assert small.classifier.evaluate(small.state, names["data"].only("test"))["accuracy"] > 0.8
    download = names["delivery"].downloads[0]
    assert download.content_bytes == (tmp_path / "results" / "small.keras").stat().st_size


@pytest.mark.parametrize("about", ["Delayed, Designed", "few_shot.pretraining"])
def test_the_readme_s_late_devices_and_rare_classes_run(about, capsys):
    exec(compile(next(block for block in BLOCKS if about in block), "README", "exec"), {"__name__": "readme"})
    assert capsys.readouterr().out
