"""The rules that hold the house up: imports point down, the door opens quickly, everything is said in words."""

import ast
import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import wirelesslab as wl
from tests.trials import ROOT
from wirelesslab import cli

HEAVY = ("tensorflow", "keras", "sionna")
ON_DEMAND = ("xarray", "matplotlib", "numba", "scipy", "distributed")
MODULES = ["wirelesslab", *sorted(m.name for m in pkgutil.walk_packages(wl.__path__, "wirelesslab."))]
FILES = sorted((ROOT / "wirelesslab").rglob("*.py"))
SIMS = sorted(p for p in (ROOT / "sims").glob("*.py") if not p.stem.startswith("_"))


def loaded_by(code: str, folder: Path | None = None) -> set[str]:
    """Return the modules that a fresh interpreter has loaded after `code`."""
    report = "import json, sys\nprint('\\n' + json.dumps(sorted(sys.modules)))"
    program = f"try:\n    {code}\nexcept SystemExit:\n    pass\n{report}"
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=folder or ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    return {name.partition(".")[0] for name in json.loads(ended.stdout.splitlines()[-1])}


@pytest.mark.parametrize(
    "code",
    [
        "import wirelesslab",
        "from wirelesslab.cli import main; main(['--help'])",
        "from wirelesslab.cli import main; main(['list'])",
        "from wirelesslab.cli import main; main(['run', '--help'])",
        "import wirelesslab; dir(wirelesslab)",
    ],
    ids=["import", "--help", "list", "run --help", "dir"],
)
def test_the_door_opens_without_anything_heavy(code):
    assert loaded_by(code).isdisjoint({*HEAVY, *ON_DEMAND})


def test_show_loads_neither_tensorflow_nor_sionna(tmp_path):
    summary = {
        "sim": "a sim",
        "table": "a table",
        "seed": 1,
        "wall_seconds": 2,
        "created": "now",
        "command": "x",
        "figures": [],
    }
    (tmp_path / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    loaded = loaded_by(f"from wirelesslab.cli import main; main(['show', {str(tmp_path)!r}])")
    assert loaded.isdisjoint({*HEAVY, *ON_DEMAND})


def test_neither_a_study_nor_the_mmtc_wing_loads_tensorflow_or_sionna():
    assert loaded_by("import wirelesslab.study, wirelesslab.session, wirelesslab.plot").isdisjoint(HEAVY)
    assert loaded_by("import wirelesslab.mmtc, wirelesslab.mmtc.detectors, wirelesslab.mmtc.report").isdisjoint(HEAVY)


def test_a_doctor_s_visit_loads_neither_tensorflow_nor_sionna():
    assert loaded_by("from wirelesslab.cli import main; main(['doctor'])").isdisjoint(HEAVY)


def test_every_public_name_of_the_package_is_there():
    for name in wl.__all__:
        assert getattr(wl, name) is not None
        assert name in dir(wl)
    with pytest.raises(AttributeError, match="no attribute 'Studdy'"):
        _ = wl.Studdy


@pytest.mark.parametrize("name", MODULES)
def test_every_name_that_a_module_offers_is_there(name):
    module = importlib.import_module(name)
    for offered in getattr(module, "__all__", ()):
        assert hasattr(module, offered), offered


@pytest.mark.parametrize("name", MODULES)
def test_every_public_module_class_and_function_says_what_it_is(name):
    module = importlib.import_module(name)
    missing = [] if module.__doc__ else [name]
    for word, thing in vars(module).items():
        if word.startswith("_") or getattr(thing, "__module__", None) != name:
            continue
        if getattr(thing, "__name__", word) != word:  # a constant that holds a function made elsewhere
            continue
        bare = inspect.unwrap(thing) if callable(thing) else thing
        if not (inspect.isclass(bare) or inspect.isfunction(bare)):
            continue
        doc = bare.__doc__ or ""
        if not doc or doc.startswith(f"{word}("):  # a dataclass without a docstring shows its signature
            missing.append(word)
        if inspect.isclass(bare):
            for method, function in vars(bare).items():
                public = not method.startswith("_") and (inspect.isfunction(function) or isinstance(function, property))
                if public and not function.__doc__:
                    missing.append(f"{word}.{method}")
    assert missing == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_is_longer_than_a_person_reads_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 600


def test_every_package_is_in_the_wheel():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in FILES if p.name == "__init__.py"}
    assert set(told) == {*there, "wirelesslab_sims"}


def test_imports_point_down_and_wings_stand_apart():
    lint = Path(sys.executable).with_name("lint-imports")
    if not lint.exists():
        pytest.skip("import-linter is not installed; pip install 'wirelesslab[dev]'")
    ended = subprocess.run(
        [str(lint), "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


def test_tensorflow_and_sionna_are_imported_by_no_module_of_the_floor_but_their_door():
    for path in sorted((ROOT / "wirelesslab").glob("*.py")):
        if path.stem == "tensorflow":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.partition(".")[0] in HEAVY for name in names), path.name


def test_tensorflow_is_imported_through_its_door_only():
    for path in FILES:
        if path != ROOT / "wirelesslab" / "tensorflow.py":
            assert "import tensorflow" not in path.read_text(encoding="utf-8"), path.name


def test_nothing_reads_a_global_random_generator():
    for path in [*FILES, *SIMS]:
        text = path.read_text(encoding="utf-8")
        for word in ("np.random.seed", "np.random.rand", "np.random.normal", "import random", "from random"):
            assert word not in text, path.name


@pytest.mark.parametrize("path", SIMS, ids=lambda p: p.stem)
def test_a_sim_says_its_question_its_command_and_what_to_expect(path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    assert "?" in text.splitlines()[0]
    assert f"wirelesslab run {path.stem}" in text
    assert "minute" in text or "second" in text
    assert "Expect" in text


@pytest.mark.parametrize("path", SIMS, ids=lambda p: p.stem)
def test_a_sim_offers_what_the_command_line_needs(path):
    sim = cli.load_sim(path.stem)
    config = sim.Config()
    assert set(sim.QUICK) <= set(vars(config))
    for name in ("main", "table", "draw", "summary"):
        assert callable(getattr(sim, name))
