"""What the README and the guide show works as it is written, and what they and their neighbours link to is there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from wirelesslab import cli
from wirelesslab.mmtc import Scenario, simulate
from wirelesslab.network.tasks import registration
from wirelesslab.results import load
from wirelesslab.rng import stream
from wirelesslab.services import EncodedImages, ServedModel
from wirelesslab.session import Session, run_sim

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs" / "guide").glob("*.md"))]
WRITTEN = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
SCRIPT = 'if __name__ == "__main__"'
Names = dict[str, Any]


def shown(page: Path) -> list[tuple[int, str]]:
    """Return the Python blocks of a page, each with the line on which it begins."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in found]


# --- what a page must have said or made when all its blocks have run ------------------------------------------------


def said_by_the_readme(names: Names, said: str, folder: Path) -> None:
    assert "attempts=6400" in said
    assert (folder / "results" / "mine" / "waterfall.png").stat().st_size > 10_000
    assert (folder / "results" / "mine" / "journal.jsonl").exists()
    names["test_my_receiver_errs_as_often_as_it_did"]()


def said_by_studies(names: Names, said: str, folder: Path) -> None:
    assert load(folder / "results" / "small").sizes["snr_db"] == 2
    run_sim(SimpleNamespace(**names), "sevens", names["Config"](), Session(out=folder / "results" / "sevens"))
    summary = json.loads((folder / "results" / "sevens" / "summary.json").read_text(encoding="utf-8"))
    rate = summary["figures_of_merit"]["rate"]
    assert rate["low"] < 1 / 6 < rate["high"], "of 95 %, under this seed"


def said_by_massive_access(names: Names, said: str, folder: Path) -> None:
    assert "MAMPNet Count(" in said
    observation, truth = simulate(Scenario(num_devices=1, activity_prob=0.5, snr_db=6.0), stream(1), num_frames=500)
    detection = names["FirstLook"]().detect(observation)
    np.testing.assert_allclose(detection.posteriors.sum(axis=-1), 1)
    assert np.mean(detection.labels != truth.symbols) < 0.05


def said_by_network(names: Names, said: str, folder: Path) -> None:
    assert "late_share" in said
    assert "used_ratio" in said


def said_by_twins_and_agents(names: Names, said: str, folder: Path) -> None:
    assert "operator" in said, "the audit names who has read"
    assert (folder / "report.html").stat().st_size > 10_000
    assert "['embb not active', 'embb active'" in said


def said_by_learned_agents(names: Names, said: str, folder: Path) -> None:
    assert (folder / "results" / "policy.npz").exists()
    assert "by chance" in said


def said_by_vision(names: Names, said: str, folder: Path) -> None:
    assert float(re.search(r"'accuracy': ([\d.]+)", said)[1]) > 0.9
    up, down = (int(re.search(rf"{way}=(\d+)", said)[1]) for way in (r"Traffic\(up", "down"))
    assert 0 < up < down < 100 * 4 * 4 * 13_258, "float32 would be four bytes a parameter, worker and step"
    before, after = (int(n) for n in re.findall(r"(\d+) -> (\d+) parameters", said)[0])
    assert after < before / 2
    small = names["small"]
    assert small.classifier.evaluate(small.state, names["data"].only("test"))["accuracy"] > 0.8
    simple, state, test = names["simple"], names["state"], names["data"].only("test")
    served = ServedModel.of(simple, state, test, EncodedImages.of(test))
    assert served.right.mean() > 0.8
    assert served.operations == 2 * 10 * 64


def said_by_hall(names: Names, said: str, folder: Path) -> None:
    assert "joules per message" in said
    assert "Round(step=19" in said
    download = names["delivery"].downloads[0]
    assert download.content_bytes == (folder / "results" / "digits.keras").stat().st_size
    assert names["service"].sums.right_in_time > 0.8 * names["service"].sums.asked


SAID: dict[str, Callable[[Names, str, Path], None]] = {
    "README": said_by_the_readme, "studies": said_by_studies, "massive_access": said_by_massive_access,
    "network": said_by_network, "twins_and_agents": said_by_twins_and_agents,
    "learned_agents": said_by_learned_agents, "vision": said_by_vision, "hall": said_by_hall,
}  # fmt: skip


def test_every_page_of_the_guide_is_run():
    assert {page.stem for page in PAGES} == set(SAID)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page_run_one_after_the_other(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: Names = {"__name__": page.stem}
    blocks = shown(page)
    assert blocks
    for line, block in blocks:
        if SCRIPT in block:  # it starts processes, which import the file
            script = tmp_path / f"line_{line}.py"
            script.write_text(block, encoding="utf-8")
            done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=600, check=False)
            assert done.returncode == 0, done.stderr
        else:
            exec(compile(block, f"{page.name}, block at line {line}", "exec"), names)
    SAID[page.stem](names, capsys.readouterr().out, tmp_path)


# --- links, commands, files -----------------------------------------------------------------------------------------


def headings(page: Path) -> set[str]:
    """Return the anchors of a page, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    words = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", word.lower()).replace(" ", "-") for word in words}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page):
    lost = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in headings(target)):
            lost.append(link)
    assert lost == []


def commands() -> list[tuple[str, list[str]]]:
    """Return the sim and the flags of each `wirelesslab run` that a page shows in a block."""
    found = []
    for page in PAGES:
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE):
            for line in re.findall(
                r"^\.venv/bin/wirelesslab run (.*)$", block.replace("\\\n", " "), flags=re.MULTILINE
            ):
                sim, *words = line.partition("#")[0].split()
                found.append((sim, words))
    return found


@pytest.mark.parametrize(("sim", "words"), commands(), ids=" ".join)
def test_the_command_line_takes_every_run_that_the_pages_show(sim, words):
    cli.sim_command(sim).make_context(sim, words)


def test_every_make_target_that_the_pages_name_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    told = {
        target for page in PAGES for target in re.findall(r"(?:^|`)make (\w+)", page.read_text(), flags=re.MULTILINE)
    }
    assert len(told) >= 8
    for target in told:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_every_sim_has_a_row_in_the_guide():
    guide = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert [sim for sim in cli.sim_files() if f"| `{sim}` |" not in guide] == []


def test_every_result_has_a_row_and_says_the_command_that_makes_it_again():
    results = ROOT / "docs" / "results"
    text = (results / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[`(\w+)`\]\(\1\) \| .*? \| (.*) \|$", text, re.MULTILINE))
    assert set(rows) == {path.name for path in results.iterdir() if path.is_dir()}
    for path in sorted(results.rglob("summary.json")):
        name = path.parent.relative_to(results).as_posix()
        command = json.loads(path.read_text(encoding="utf-8"))["command"].split()
        assert command[:2] == ["wirelesslab", "run"], name
        assert command[-2:] == ["--out", f"docs/results/{name}"], name
        flags = re.sub(r"--workers \d+ ?", "", " ".join(command[3:-2]))  # any number gives the same counts
        said = rows[name.partition("/")[0]]
        if "make weights" not in said:
            assert command[2] == name.partition("/")[0]
            assert all(flag in said for flag in flags.replace(" --", "\n--").splitlines()), (name, flags)


def test_every_task_notebook_and_decision_is_named_where_one_looks_for_it():
    learned = (ROOT / "docs" / "guide" / "learned_agents.md").read_text(encoding="utf-8")
    assert [task.id for task in registration.TASKS if task.id.partition("/")[2].partition("-")[0] not in learned] == []
    readme, index = README.read_text(encoding="utf-8"), ROOT / "docs" / "decisions" / "README.md"
    assert [path.name for path in (ROOT / "notebooks").glob("*.ipynb") if f"notebooks/{path.name}" not in readme] == []
    for path in sorted(index.parent.glob("0*.md")):
        number, title = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ").split(". ", 1)
        assert f"| [{number}]({path.name}) | {title} |" in index.read_text(encoding="utf-8"), path.name
        assert int(number) == int(path.name[:4])


def test_the_glossary_is_sorted_and_its_names_are_in_the_code():
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "wirelesslab").rglob("*.py"))
    known = set(re.findall(r"\w+", code))
    for table in re.findall(
        r"(?:^\| .*\n)+", (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8"), re.MULTILINE
    ):
        names = [row.split(" | ")[0].removeprefix("| ") for row in table.splitlines()]
        plain = [name.replace("`", "").casefold() for name in names if name != "name"]
        assert plain == sorted(set(plain))
        said = re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", table)))
        assert set(said) - known - set(cli.sim_files()) - {"make", "sims", "main"} == set()


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
