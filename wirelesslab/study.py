"""A study: one trial, repeated over a grid until every rate is known well enough.

A *trial* is one batch of work at one grid point. It returns, per detector (or whatever is being
compared), the counts of each metric. Batches are the tasks of an executor, the unit of the journal
and the key of the randomness: batch 3 of every grid point and detector meets the same air.

The result of a grid point and detector is the shortest prefix of batches that satisfies `Stop`.
Batches may be computed in any order, by anybody, and some in vain: the result is the same.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xarray as xr

from wirelesslab import check
from wirelesslab.executors import StudyFailedError as StudyFailedError  # noqa: PLC0414
from wirelesslab.executors import abandon, local_executor, refuse_in_worker
from wirelesslab.journal import Journal, JournalError, difference, read
from wirelesslab.results import describe, prepare_folder, provenance, tabulate, versions
from wirelesslab.rng import canonical, stream
from wirelesslab.schedule import Metrics, Point, Status
from wirelesslab.schedule import Stop as Stop  # noqa: PLC0414  (part of this module's interface)
from wirelesslab.study_runner import Runner, from_json, say

JOURNAL = "journal.jsonl"


class Trial(Protocol):
    """One batch of work at one grid point; picklable, so that a worker process can run it.

    Its first metric is the primary one. A trial may also offer what `SymbolErrorTrial` offers:
    ``parts``, a mapping of the names it will return to their configurations, ``only(names)``, a
    trial of those parts alone that meets the same air, and ``describe()``, what else its result
    depends on. A study then drops the parts that are known well enough, and a journal can take up
    further parts.
    """

    def __call__(self, config: Any, rng: np.random.Generator, /) -> Mapping[str, Metrics]:
        """Return counts per part and metric."""
        ...


class Study:
    """One trial over a grid, until `Stop`.

    Args:
        trial: One batch of work at one grid point, picklable.
        base: A frozen dataclass: the configuration of every point but for what is swept.
        over: Fields of `base` and the values they take; the grid is their product.
        stop: When a rate is known well enough.
        seed: The seed under which all randomness is keyed by batch.

    Raises:
        TypeError: `base` is no dataclass, or a value is of the wrong kind.
        ValueError: A name in `over` is no field of `base`, a list is empty or holds a value twice,
            or a grid point's configuration refuses its values.

    Examples:
        >>> from wirelesslab.mmtc import Scenario, symbol_error_trial
        >>> from wirelesslab.mmtc.detectors import AMP
        >>> study = Study(symbol_error_trial(AMP(), frames_per_batch=10), Scenario(num_devices=40),
        ...               over={"snr_db": [-6, 6]}, stop=Stop(max_batches=2))
        >>> result = study.run(workers=1)
        >>> dict(result.sizes)
        {'detector': 2, 'snr_db': 2}
    """

    def __init__(
        self,
        trial: Trial,
        base: Any,
        over: Mapping[str, Sequence[Any]],
        stop: Stop | None = None,
        seed: int = 0,
    ) -> None:
        if not is_dataclass(base) or isinstance(base, type):
            msg = f"base: got {base!r}, expected an instance of a dataclass, such as Scenario()"
            raise TypeError(msg)
        names = [f.name for f in fields(base)]
        unknown = [name for name in over if name not in names]
        if unknown:
            hint = check.nearest(unknown[0], names)
            msg = f"over: got {unknown}, expected fields of {type(base).__name__}: {names}{hint}"
            raise ValueError(msg)
        stream(seed)
        if stop is not None and not isinstance(stop, Stop):
            msg = f"stop: got {stop!r}, expected a Stop, such as Stop(errors=200, max_batches=40)"
            raise TypeError(msg)
        self.trial, self.base, self.seed, self.stop = trial, base, seed, stop or Stop()
        self.over = {name: _values(name, values) for name, values in over.items()}
        self._grid = [dict(zip(self.over, values, strict=True)) for values in itertools.product(*self.over.values())]
        # Every point's configuration is built now: nonsense is refused before anything is computed.
        self._configs = [replace(base, **values) for values in self._grid]
        self.identity = {
            "wirelesslab": versions()["wirelesslab"],
            "trial": describe_trial(trial),
            "base": {k: v for k, v in describe(base).items() if k not in self.over},
            "over": list(self.over),
            "seed": int(seed),
        }
        self.plan = {
            "parts": {name: describe(part) for name, part in getattr(trial, "parts", {}).items()},
            "grid": {name: [describe(v) for v in values] for name, values in self.over.items()},
            "stop": describe(self.stop),
        }

    def run(
        self,
        journal: str | Path | None = None,
        *,
        executor: Executor | None = None,
        workers: int | None = None,
        watch: Callable[[Status], None] | None = None,
        fail_fast: bool = False,
    ) -> xr.Dataset:
        """Compute what is missing and return the labelled result.

        Args:
            journal: A folder; its ``journal.jsonl`` keeps every batch, and a rerun computes only
                what is missing. None keeps nothing.
            executor: Any `concurrent.futures.Executor`, such as a Dask client's; None makes a pool
                of `workers` spawned processes, which ends with the run.
            workers: Processes of that pool, each with one thread; 1 works in this process; None
                takes one per core.
            watch: Called with a `Status` after every batch.
            fail_fast: Stop at the first grid point that fails, instead of reporting it in
                ``result.attrs["failures"]`` and going on.

        Returns:
            Dims ``detector`` and the grid; see `wirelesslab.results.tabulate`.

        Raises:
            JournalError: The journal is damaged, foreign, or in use.
            StudyFailedError: A worker process died, or a point failed under `fail_fast`.
        """
        refuse_in_worker()
        names = list(self.plan["parts"]) or None
        points = [Point(v, c, names, self.stop) for v, c in zip(self._grid, self._configs, strict=True)]
        with ExitStack() as stack:
            book, resumed = None, 0
            if journal is not None:
                if self.identity["trial"] is None:
                    msg = (
                        "trial: a journal cannot tell this trial from another one; make it a function of a module, "
                        "a frozen dataclass, or give it a describe()"
                    )
                    raise TypeError(msg)
                prepare_folder(journal)
                book = stack.enter_context(Journal(Path(journal) / JOURNAL, {"study": self.identity}))
                resumed = _replay(book.records, points, self.plan["parts"])
                book.append({"run": self.plan, **provenance()})
            if not all(point.done for point in points):
                own = executor is None
                pool = local_executor(self.trial, workers) if executor is None else executor
                try:
                    Runner(self.trial, self.seed, points, pool, book, resumed, watch, fail_fast).run()
                except BaseException:
                    if own:
                        abandon(pool)
                    raise
                if own:
                    pool.shutdown(cancel_futures=True)
        return self.tabulate(points)

    def tabulate(self, points: Sequence[Point]) -> xr.Dataset:
        """Return the points' prefixes as a labelled Dataset."""
        parts = list(dict.fromkeys(name for point in points for name in point.parts or ()))
        failures = [
            {
                "point": {k: describe(v) for k, v in p.values.items()},
                "batch": p.failure.batch,
                "error": p.failure.error,
            }
            for p in points
            if p.failure is not None
        ]
        rows = [
            {name: (part.batches, part.done, part.metrics) for name, part in (point.parts or {}).items()}
            for point in points
        ]
        attrs = {
            "config": json.dumps({**self.identity, **self.plan}),
            "seed": self.seed,
            "failures": json.dumps(failures),
            **provenance(),
        }
        return tabulate(rows, self.over, parts, attrs)


def progress_of(folder: str | Path) -> str:
    """Return how far the unfinished study in `folder` has come, from its journal alone."""
    header, records, _ = read(Path(folder) / JOURNAL)
    plans = [record["run"] for record in records if "run" in record]
    if header is None or not plans:
        return f"{folder}: a study began and has no batch yet"
    plan = plans[-1]
    stop = Stop(**{k: v for k, v in plan["stop"].items() if k != "class"})
    over = plan["grid"]
    grid = [dict(zip(over, values, strict=True)) for values in itertools.product(*over.values())]
    points = [Point(values, None, list(plan["parts"]) or None, stop) for values in grid]
    _replay(records, points, plan["parts"])
    lines = []
    for point in points:
        known = [
            f"{name} {part.primary(stop).errors}/{part.primary(stop).attempts}{'' if part.done else ' …'}"
            for name, part in (point.parts or {}).items()
        ]
        lines.append(f"{say(point.values)}: {', '.join(known) or 'nothing yet'}")
    done = sum(part.done for point in points for part in (point.parts or {}).values())
    total = sum(len(point.parts or {}) for point in points)
    further = "the study is complete" if done == total else "… goes on: the same command goes on from here"
    lines.append(f"{done} of {total} known well enough (errors/attempts); {further}")
    return "\n".join(lines)


def _replay(records: Sequence[Mapping[str, Any]], points: Sequence[Point], parts: Mapping[str, Any]) -> int:
    """Feed a journal's records to the points; refuse a part that changed under the same name.

    Returns how many records belong to the points.
    """
    used = 0
    by_key = {_key({k: describe(v) for k, v in point.values.items()}): point for point in points}
    for record in records:
        if "run" in record:
            earlier = record["run"]["parts"]
            shared = {name: part for name, part in parts.items() if name in earlier}
            changed = list(difference(json.loads(json.dumps(shared)), {name: earlier[name] for name in shared}))
            if changed:
                msg = (
                    "journal: a detector changed its configuration under the same name; choose another folder.\n  "
                    + "\n  ".join(changed)
                )
                raise JournalError(msg)
        elif (point := by_key.get(_key(record["point"]))) is not None:
            wanted = {n: from_json(m) for n, m in record["counts"].items() if not parts or n in parts}
            point.add(record["batch"], wanted)
            used += 1
    return used


def _key(values: Mapping[str, Any]) -> bytes:
    """Name a grid point by its values; 0 and 0.0 are one value."""
    parts: Iterator[tuple[str, str | float]] = (
        (name, value if isinstance(value, int | float | str) else json.dumps(value, sort_keys=True))
        for name, value in sorted(values.items())
    )
    return canonical(tuple(itertools.chain.from_iterable(parts)))


def _values(name: str, values: Sequence[Any]) -> tuple[Any, ...]:
    if isinstance(values, str) or not hasattr(values, "__iter__"):
        msg = f"over: {name} got {values!r}, expected a list of values, such as [{values!r}]"
        raise TypeError(msg)
    result = tuple(v.item() if isinstance(v, np.generic) else v for v in values)
    if not result:
        msg = f"over: {name} got no value, expected at least one"
        raise ValueError(msg)
    twice = [v for i, v in enumerate(result) if v in result[:i]]
    if twice:
        msg = f"over: {name} got {twice[0]!r} twice; name each value once"
        raise ValueError(msg)
    return result


def describe_trial(trial: Any) -> Any:
    """Return what tells `trial` from another one, or None when nothing does (a closure, a plain instance)."""
    if hasattr(trial, "describe"):
        return trial.describe()
    if isinstance(trial, partial):
        inside = describe_trial(trial.func)
        return inside and {"partial": inside, "args": describe(trial.args), "keywords": describe(trial.keywords)}
    if is_dataclass(trial):
        return describe(trial)
    name = getattr(trial, "__qualname__", "<instance>")
    return None if "<" in name else {"function": f"{trial.__module__}.{name}"}
