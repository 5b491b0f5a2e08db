"""How a sim is run: where its result goes, who computes it, what is shown."""

import itertools
import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from wirelesslab import results
from wirelesslab.array_files import replace
from wirelesslab.executors import StudyFailedError, dask_executor
from wirelesslab.progress import progress
from wirelesslab.study import Stop, Study, Trial

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from wirelesslab.replicas import Experiment


@dataclass(frozen=True)
class Table:
    """A small table of text, as a sim prints it.

    Attributes:
        title: One line.
        columns: Headings.
        rows: Cells, as many as there are columns.
        note: What the reader must know to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def __str__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
        texts = [i == 0 or all(not row[i][:1].isdigit() for row in self.rows) for i in range(len(self.columns))]

        def line(cells: Sequence[str]) -> str:
            sides = zip(cells, widths, texts, strict=True)
            return "  ".join(cell.ljust(width) if text else cell.rjust(width) for cell, width, text in sides).rstrip()

        rule = "-" * len(line(["x" * width for width in widths]))
        lines, before = [self.title, "", line(self.columns), rule], None
        grouped = any(first[0] == second[0] for first, second in itertools.pairwise(self.rows))
        for row in self.rows:
            if grouped and before is not None and row[0] != before:
                lines.append(rule)
            # A repeated first cell is a group: said once.
            lines.append(line(["" if row[0] == before else row[0], *row[1:]]))
            before = row[0]
        return "\n".join([*lines, rule, *([self.note] if self.note else [])])


class Sim(Protocol):
    """What a module in ``sims/`` offers: a question, its numbers, and how the answer is shown."""

    __name__: str
    __doc__: str | None
    Config: type[Any]
    QUICK: Mapping[str, Any]

    def main(self, config: Any, session: "Session") -> "xr.Dataset":
        """Compute the result."""
        ...

    def table(self, result: "xr.Dataset") -> Table:
        """Return the result as a table."""
        ...

    def draw(self, result: "xr.Dataset") -> Mapping[str, "Figure"]:
        """Return named figures."""
        ...

    def summary(self, result: "xr.Dataset") -> Mapping[str, Any]:
        """Return named figures of merit with their intervals."""
        ...


@dataclass
class Session:
    """One run of a sim: seed, workers, where results go.

    Attributes:
        seed: The seed of all randomness.
        out: Folder of the result and the journal; None keeps nothing.
        workers: Processes on this machine; None takes one per core.
        scheduler: Address of a Dask scheduler, instead of processes on this machine.
        quick: A small run that shows the way, whose figures mean little.
        fail_fast: Stop at the first grid point that fails.
        quiet: Show no progress.
    """

    seed: int = 1
    out: Path | None = None
    workers: int | None = None
    scheduler: str | None = None
    quick: bool = False
    fail_fast: bool = False
    quiet: bool = False
    _executor: Executor | None = field(default=None, repr=False)

    def study(
        self, trial: Trial, base: Any, over: Mapping[str, Sequence[Any]], stop: Stop, name: str = ""
    ) -> "xr.Dataset":
        """Run a study with this session's seed, executor, journal and progress.

        Args:
            trial: See `Study`.
            base: See `Study`.
            over: See `Study`.
            stop: See `Study`.
            name: Tells the journals of a sim with several studies apart.
        """
        study = Study(trial, base, over, stop, self.seed)
        if self.scheduler is not None and self._executor is None:
            self._executor = dask_executor(self.scheduler)
        journal = None if self.out is None else self.out / name
        options: dict[str, Any] = {
            "executor": self._executor,
            "workers": self.workers,
            "fail_fast": self.fail_fast,
        }
        if self.quiet:
            return study.run(journal, **options)
        with progress() as watch:
            return study.run(journal, watch=watch, **options)

    def replicate(
        self, experiment: "Experiment", configs: Mapping[str, Any], replicas: int, name: str = ""
    ) -> "xr.Dataset":
        """Run experiments under many seeds with this session's seed, workers, journal and progress.

        Args:
            experiment: See `replicas.replicate`.
            configs: See `replicas.replicate`.
            replicas: Seeds for each experiment.
            name: Tells the journals of a sim with several of these apart.
        """
        from wirelesslab.replicas import replicate

        if self.scheduler is not None and self._executor is None:
            self._executor = dask_executor(self.scheduler)
        return replicate(
            experiment, configs, replicas, seed=self.seed, journal=None if self.out is None else self.out / name,
            executor=self._executor, workers=self.workers, quiet=self.quiet,
        )  # fmt: skip

    def close(self) -> None:
        """Let go of the cluster."""
        if self._executor is not None:
            self._executor.shutdown(wait=False)
            client = getattr(self._executor, "_client", None)
            if client is not None:
                client.close()
            self._executor = None


@dataclass(frozen=True)
class Report:
    """What a finished run shows: its table, where its figures are, and the points that failed."""

    table: Table
    figures: Sequence[Path]
    failures: Sequence[Mapping[str, Any]]


def run_sim(sim: Sim | ModuleType, name: str, config: Any, session: Session) -> Report:
    """Run a sim and write ``result.nc``, ``summary.json`` and its figures into the session's folder.

    Raises:
        ValueError: The folder holds the result of something else.
        OSError: The folder cannot be written to.
        StudyFailedError: Every grid point failed, a replica did, or a worker died.
    """
    start = time.perf_counter()
    if session.out is not None:
        _refuse_another(session.out, name)
        session.out = results.prepare_folder(session.out)
    try:
        result = sim.main(config, session)
    finally:
        session.close()
    wall_seconds = time.perf_counter() - start
    for key, value in results.provenance().items():  # a study has said it; a Dataset made by hand has not
        result.attrs.setdefault(key, value)
    result.attrs |= {
        "sim": name,
        "sim_config": json.dumps(results.describe(config)),
        "quick": int(session.quick),
    }
    if "errors" not in result and "failures" in result.attrs:
        first = json.loads(result.attrs["failures"])[0]
        msg = f"every grid point failed; the first, {first['point']}: {first['error']}"
        raise StudyFailedError(msg)
    table = sim.table(result)
    failures = json.loads(result.attrs.get("failures", "[]"))
    figures: list[Path] = []
    if session.out is not None:
        results.save(result, session.out / results.RESULT)
        figures = save_figures(sim.draw(result), session.out)
        results.write_summary(
            session.out,
            {
                "sim": name,
                "figures_of_merit": sim.summary(result),
                "wall_seconds": round(wall_seconds, 2),
                "config": results.describe(config),
                "quick": session.quick,
                "seed": session.seed,
                "study": json.loads(result.attrs["config"]) if "config" in result.attrs else None,
                "versions": json.loads(result.attrs["versions"]),
                "command": result.attrs["command"],
                "created": result.attrs["created"],
                "failures": failures,
                "figures": [path.name for path in figures],
                "table": str(table),
            },
        )
    return Report(table, figures, failures)


def _refuse_another(folder: Path, name: str) -> None:
    """Refuse a folder in which another sim's result, or somebody else's summary, would be overwritten."""
    try:
        kept = json.loads((folder / results.SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # none yet, or a damaged one, which this run mends
        return
    other = kept.get("sim") if isinstance(kept, dict) else None
    if other != name:
        what = f"the result of {other}" if other else f"a {results.SUMMARY} that no sim wrote"
        msg = f"out: {str(folder)!r} holds {what}; choose another folder with --out"
        raise ValueError(msg)


def save_figures(figures: Mapping[str, "Figure"], folder: Path) -> list[Path]:
    """Write each figure as PNG and SVG, and return the paths."""
    from matplotlib import rc_context

    paths = []
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            path = folder / f"{name}.{suffix}"
            # Neither a date nor random names in the file: the same result gives the same bytes.
            content = BytesIO()
            with rc_context({"svg.hashsalt": name}):
                figure.savefig(content, format=suffix, dpi=150, metadata={"Date": None} if suffix == "svg" else {})
            replace(path, content.getvalue())
            paths.append(path)
    return paths
