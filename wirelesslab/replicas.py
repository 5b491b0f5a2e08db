"""Replicas: the same experiments under many seeds, paired, kept in a journal, with intervals of their means.

A `Study` adds up errors until a rate is known; what a network run gives are figures (a delay, a share, a number
of jobs) whose spread only independent runs can tell. Replica r of every experiment gets the same seed, so that
differences between experiments are differences of pairs.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check, results
from wirelesslab.executors import InProcess, StudyFailedError, abandon, concurrency, local_executor, result_of
from wirelesslab.journal import Journal, read
from wirelesslab.rng import stream
from wirelesslab.stats import Interval, student_quantile
from wirelesslab.threads import one_blas_thread
from wirelesslab.units import readable_seconds

Figures = Mapping[str, float | Sequence[float]]
Experiment = Callable[[Any, int], Figures]  # config, seed -> figures; defined in a module
JOURNAL = "journal.jsonl"


def replicate(
    experiment: Experiment,
    configs: Mapping[str, Any],
    replicas: int,
    *,
    seed: int = 1,
    journal: Path | None = None,
    executor: Executor | None = None,
    workers: int | None = None,
    quiet: bool = True,
) -> xr.Dataset:
    """Run every experiment under `replicas` seeds.

    Args:
        experiment: Called with a config and a seed; returns figures by name, numbers or lists of numbers of
            a length that is always the same. NaN means that there is none.
        configs: Experiments by name.
        replicas: Seeds for each.
        seed: From which the seeds are drawn.
        journal: Folder whose ``journal.jsonl`` keeps every finished run; a rerun computes only what is missing.
        executor: Where runs run; a pool of `workers` processes when None.
        workers: Processes; one per core when None.
        quiet: Show no progress.

    Returns:
        A variable for each figure, dimensions `experiment`, `replica` and, for lists, the figure's own.

    Raises:
        ValueError: No experiment, or figures whose names or lengths differ from run to run.
        JournalError: The folder's journal is of something else.
        StudyFailedError: A run failed, or a worker process died; what had been computed is in the journal.
    """
    check.positive_integer(replicas=replicas)
    if not configs:
        msg = "configs: got none, expected at least one experiment"
        raise ValueError(msg)
    seeds = [int(s) for s in stream(seed, "replicas").integers(2**31, size=replicas)]
    work = {
        (name, replica): (config, seeds[replica]) for replica in range(replicas) for name, config in configs.items()
    }
    done: dict[tuple[str, int], dict[str, Any]] = {}
    header = {
        "experiment": f"{experiment.__module__}.{experiment.__qualname__}",
        "configs": {name: results.describe(config) for name, config in configs.items()},
        "seed": seed,
    }
    if journal is None:
        _run(experiment, work, done, None, executor, workers, quiet)
    else:
        with Journal(Path(journal) / JOURNAL, header) as book:
            done |= {place: figures for place, figures in _kept(book.records).items() if place in work}
            book.append({"run": {"replicas": replicas}, **results.provenance()})
            _run(experiment, work, done, book, executor, workers, quiet)
    return _table({place: done[place] for place in work}, list(configs), replicas, header)


def progress_of(folder: str | Path) -> str:
    """Return how far the unfinished replicas in `folder` have come, from their journal alone."""
    header, records, _ = read(Path(folder) / JOURNAL)
    if header is None:
        return f"{folder}: replicas began, and there is no run yet"
    wanted = next((record["run"]["replicas"] for record in reversed(records) if "run" in record), None)
    names, kept = list(header["configs"]), _kept(records)
    counts = {name: sum(n == name and (wanted is None or r < wanted) for n, r in kept) for name in names}
    of, of_all = ("", "") if wanted is None else (f" of {wanted}", f" of {wanted * len(names)}")
    whole = wanted is not None and min(counts.values()) >= wanted
    further = "the replicas are complete" if whole else "… goes on: the same command goes on from here"
    lines = [f"{name}: {count}{of} runs" for name, count in counts.items()]
    return "\n".join([*lines, f"{sum(counts.values())}{of_all} runs; {further}"])


def _kept(records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the figures of the runs that a journal holds."""
    return {(r["experiment"], r["replica"]): r["figures"] for r in records if "figures" in r}


def _run(
    experiment: Experiment,
    work: Mapping[tuple[str, int], tuple[Any, int]],
    done: dict[tuple[str, int], dict[str, Any]],
    book: Journal | None,
    executor: Executor | None,
    workers: int | None,
    quiet: bool,
) -> None:
    missing = [place for place in work if place not in done]
    if not missing:
        return
    pool = executor or local_executor(experiment, min(workers or len(missing), len(missing)) if workers else workers)
    progress = _Progress(total=len(work), resumed=len(done), quiet=quiet)
    waiting, running = iter(missing), {}
    ended = False
    try:
        for place in waiting:
            running[pool.submit(_one, experiment, *work[place])] = place
            if len(running) < 2 * concurrency(pool) and not isinstance(pool, InProcess):
                continue
            _collect(running, done, book, progress, concurrency(pool))
        while running:
            _collect(running, done, book, progress, concurrency(pool))
        ended = True
    finally:
        if executor is None:
            pool.shutdown() if ended else abandon(pool)


def _one(experiment: Experiment, config: Any, seed: int) -> tuple[dict[str, Any], float]:
    """Make one run; returns its figures, and how many seconds it took."""
    began = time.perf_counter()
    with one_blas_thread():
        figures = {name: np.asarray(value, float).tolist() for name, value in experiment(config, seed).items()}
    return figures, time.perf_counter() - began


class _Progress:
    """Writes a line after every run: share done, rate, time left by what runs take (not by what starting took)."""

    def __init__(self, total: int, resumed: int, quiet: bool) -> None:
        self.total, self.resumed, self.quiet = total, resumed, quiet
        self.began, self.fresh, self.busy_seconds = time.monotonic(), 0, 0.0

    def add(self, seconds: float) -> None:
        """Note that a run has ended, which took so long."""
        self.fresh += 1
        self.busy_seconds += seconds

    def show(self, workers: int) -> None:
        """Write the line, unless told to be quiet."""
        if self.quiet:
            return
        done = self.resumed + self.fresh
        rate = self.fresh / max(time.monotonic() - self.began, 1e-9)
        left = self.busy_seconds / max(self.fresh, 1) * (self.total - done) / workers
        kept = f" (+{self.resumed} from the journal)" if self.resumed else ""
        sys.stderr.write(
            f"{done / self.total:4.0%}  {done}/{self.total} runs{kept}, {rate:.2g} runs/s, "
            f"{readable_seconds(left)} left\n"
        )
        sys.stderr.flush()


def _collect(
    running: dict[Any, tuple[str, int]], done: dict[tuple[str, int], dict[str, Any]], book: Journal | None,
    progress: _Progress, workers: int,
) -> None:  # fmt: skip
    finished, _ = wait(running, return_when=FIRST_COMPLETED)
    failed: StudyFailedError | None = None
    for future in finished:
        place = running.pop(future)
        name, replica = place
        try:
            figures, seconds = result_of(future, f"{name}, replica {replica}")
        except StudyFailedError as error:
            failed = error
            continue
        except Exception as error:
            failed = StudyFailedError(f"{name}, replica {replica} failed: {type(error).__name__}: {error}")
            failed.__cause__ = error
            continue
        done[place] = figures
        progress.add(seconds)
        if book is not None:
            book.append({"experiment": name, "replica": replica, "figures": _jsonable(figures)})
    if failed is not None:  # its neighbours are in the journal
        raise failed
    progress.show(workers)


def _jsonable(value: Any) -> Any:
    """NaN and infinity are no JSON: they travel as text."""
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return value if np.isfinite(value) else str(value)


def _table(
    done: Mapping[tuple[str, int], Mapping[str, Any]], names: list[str], replicas: int, header: Mapping[str, Any]
) -> xr.Dataset:
    first = done[names[0], 0]
    figures: dict[str, Any] = {}
    for figure, value in first.items():
        shape = np.shape(value)
        array = np.full((len(names), replicas, *shape), np.nan)
        for (name, replica), found in done.items():
            entry = np.array(found.get(figure, "missing"), dtype=object)
            if set(found) != set(first) or entry.shape != shape:
                msg = (
                    f"experiment: {name} gave the figures {sorted(found)} and a shape {entry.shape} of {figure}, "
                    f"{names[0]} gave {sorted(first)} and {shape}; let every run give the same"
                )
                raise ValueError(msg)
            array[names.index(name), replica] = entry.astype(float)
        dims = (
            "experiment",
            "replica",
            *(f"{figure}_{axis}" if axis else f"{figure}_at" for axis in range(len(shape))),
        )
        figures[figure] = (dims, array)
    attrs = {**results.provenance(), "config": json.dumps(header)}
    return xr.Dataset(figures, {"experiment": names, "replica": range(replicas)}, attrs)


class Mean(NamedTuple):
    """A mean over replicas with its interval.

    Attributes:
        value: The mean.
        low: Lower end.
        high: Upper end.
        replicas: Independent runs behind it.
    """

    value: float
    low: float
    high: float
    replicas: int

    def __str__(self) -> str:
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    @property
    def interval(self) -> Interval:
        """The interval alone."""
        return Interval(self.low, self.high)


def mean(samples: ArrayLike, confidence: float = 0.95) -> Mean:
    """Return the mean of independent samples with Student's interval; NaN entries are left out.

    Examples:
        >>> str(mean([1.0, 2.0, 3.0]))
        '2 (-0.484 to 4.48)'
    """
    values: NDArray[np.float64] = np.asarray(samples, float).ravel()
    values = values[~np.isnan(values)]
    if values.size == 0:
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    middle = float(values.mean())
    if values.size == 1:
        return Mean(middle, float("-inf"), float("inf"), 1)
    half = student_quantile(0.5 + confidence / 2, values.size - 1) * values.std(ddof=1) / np.sqrt(values.size)
    return Mean(middle, middle - float(half), middle + float(half), int(values.size))


def difference(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> Mean:
    """Return the mean difference of pairs, first minus second, with its interval."""
    return mean(np.asarray(first, float) - np.asarray(second, float), confidence)


def interquartile_mean(samples: ArrayLike, confidence: float = 0.95, resamples: int = 4000) -> Mean:
    """Return the mean of the middle half of independent samples with a percentile bootstrap interval.

    A quarter of the weight is cut off at each end; where that falls inside a sample, the sample counts in part. One
    training that went wrong therefore does not decide, and neither does one that was lucky. NaN entries are left out.
    The interval of few samples is too narrow: some 90 % in place of 95 % with ten.

    Args:
        samples: One score for each independent run.
        confidence: Of the interval.
        resamples: Of the bootstrap, which draws whole runs with replacement from a stream of its own.

    References:
        Agarwal et al., "Deep reinforcement learning at the edge of the statistical precipice", NeurIPS 2021.

    Examples:
        >>> interquartile_mean([0.0, 1.0, 2.0, 900.0]).value
        1.5
    """
    values: NDArray[np.float64] = np.asarray(samples, float).ravel()
    values = values[~np.isnan(values)]
    if values.size == 0:
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    middle = float(_middle_half(values[None])[0])
    if values.size == 1:
        return Mean(middle, float("-inf"), float("inf"), 1)
    drawn = stream(0, "bootstrap", values.size).integers(values.size, size=(resamples, values.size))
    low, high = np.quantile(_middle_half(values[drawn]), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Mean(middle, float(low), float(high), int(values.size))


def _middle_half(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the middle half of each row."""
    num = samples.shape[-1]
    edges = np.arange(num + 1) / num
    weights = np.clip(np.minimum(edges[1:], 0.75) - np.maximum(edges[:-1], 0.25), 0.0, None)
    return np.asarray(np.sort(samples, axis=-1) @ weights / weights.sum())
