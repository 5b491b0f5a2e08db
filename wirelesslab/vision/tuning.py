"""Tuning that can be checked: every trial is written down, all methods get equal effort, and only validation chooses.

A log is a file of JSON lines. A line is a trial (method, hyper-parameters, seed, score on validation) or a choice
(method, hyper-parameters, mean score). Nothing that was tried is missing from it, and what was not tried is not chosen.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import array_files, check

if TYPE_CHECKING:
    import xarray as xr

Settings = Mapping[str, Any]
Trainer = Callable[
    [str, Settings, int], float
]  # method, hyper-parameters, seed -> score on validation, higher is better
JUDGED_ON = "validation"


@dataclass(frozen=True)
class Trial:
    """One training with one setting.

    Attributes:
        method: Its name.
        settings: Hyper-parameters by name, values of JSON.
        seed: Of the training and of its split.
        score: On validation, the higher the better; -inf for a training that diverged.
        chosen: Whether this setting was chosen for its method.
        loss: On validation; decides between settings of equal scores, the lower the better.
    """

    method: str
    settings: Settings
    seed: int
    score: float
    chosen: bool = False
    loss: float = 0.0


def tune(
    train: Trainer, candidates: Mapping[str, Sequence[Settings]], seeds: Sequence[int], log: Path | None = None
) -> dict[str, Settings]:
    """Try every candidate of every method under the same seeds; return each method's best.

    The best has the highest mean score; of equals, the one that stands first.

    Args:
        train: Trains and returns the score on validation images. It gets no chance to see a test set here: what it
            returns is all that is used. NaN counts as diverged.
        candidates: Settings to try, as many for each method.
        seeds: Of the trainings; the final ones take others.
        log: Where lines are appended, a trial as soon as it is done. None writes nothing.

    Raises:
        ValueError: Methods have different numbers of candidates, a candidate is there twice, all trainings of a method
            diverged, or the log already holds one of the methods.
    """
    _equal_effort({name: len(settings) for name, settings in candidates.items()}, "candidates")
    for name, settings in candidates.items():
        if not settings or len({_key(s) for s in settings}) < len(settings):
            msg = f"candidates: got {list(settings)} for {name!r}, expected at least one, and none twice"
            raise ValueError(msg)
    check.positive_integer(seeds=len(seeds))
    if len(set(seeds)) < len(seeds):
        msg = f"seeds: got {list(seeds)}, expected different ones"
        raise ValueError(msg)
    known = {trial.method for trial in read_log(log)} if log is not None and log.exists() else set()
    if known & set(candidates):
        msg = f"log: {log} already holds {sorted(known & set(candidates))}; expected a method to be tuned once, "
        msg += "so that none gets more trials: write to another file"
        raise ValueError(msg)
    found: dict[str, Settings] = {}
    for name, settings in candidates.items():
        trials = []
        for setting in settings:
            for seed in seeds:
                score = float(train(name, setting, seed))
                trials.append(Trial(name, setting, seed, score if score == score else -np.inf))  # noqa: PLR0124
                _append(log, _said(trials[-1]))
        found[name] = best(trials)
        _append(log, _choice(name, found[name]))
    return found


def trials_of(
    result: "xr.Dataset", settings: Mapping[str, tuple[str, Settings]], *, score: str = "validation", loss: str = ""
) -> list[Trial]:
    """Return the trials of a tuning that `Session.replicate` ran, in whatever order and on however many cores.

    Args:
        result: Over `experiment` and `replica`.
        settings: Experiments, by name, as method and hyper-parameters.
        score: The variable that scores, higher is better; NaN counts as diverged.
        loss: The variable that decides between equals; none when empty.

    Returns:
        Trials whose seed is the number of the replica: equal numbers had equal seeds.
    """
    trials = []
    for name, (method, setting) in settings.items():
        one = result.sel(experiment=name)
        for replica in range(one.sizes["replica"]):
            value = float(one[score][replica])
            judged = float(one[loss][replica]) if loss else 0.0
            trials.append(Trial(method, setting, replica, -np.inf if np.isnan(value) else value, loss=judged))
    return trials


def choose(trials: Sequence[Trial], log: Path | None = None) -> dict[str, Settings]:
    """Return each method's best setting, and write all trials and choices at once.

    Args:
        trials: Of all methods, as many for each.
        log: The file, which is replaced; None writes nothing.

    Raises:
        ValueError: Effort was not equal, or as `best`.
    """
    methods = effort(trials)
    found = {method: best([t for t in trials if t.method == method]) for method in methods}
    if log is not None:
        lines = [_said(trial) for trial in trials] + [_choice(*one) for one in found.items()]
        array_files.replace(log, "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode())
    return found


def best(trials: Sequence[Trial]) -> Settings:
    """Return the setting of the highest mean score among one method's trials.

    Of equals, it is the one of the lowest mean loss, and then the one that was tried first.

    Raises:
        ValueError: Trials are of several methods, settings were tried under different seeds, or all diverged.
    """
    if len({trial.method for trial in trials}) != 1:
        msg = f"trials: got methods {sorted({trial.method for trial in trials})}, expected one"
        raise ValueError(msg)
    by_setting: dict[str, list[Trial]] = {}
    for trial in trials:
        by_setting.setdefault(_key(trial.settings), []).append(trial)
    if len({tuple(sorted(t.seed for t in group)) for group in by_setting.values()}) != 1:
        msg = f"trials: settings of {trials[0].method!r} were tried under different seeds, expected the same for all"
        raise ValueError(msg)
    means = {
        key: (float(np.mean([t.score for t in group])), -float(np.mean([t.loss for t in group])))
        for key, group in by_setting.items()
    }
    winner = max(means, key=lambda key: means[key])
    if means[winner][0] == -np.inf:
        msg = f"trials: every setting of {trials[0].method!r} diverged under some seed; try lower rates"
        raise ValueError(msg)
    return by_setting[winner][0].settings


def read_log(log: Path) -> list[Trial]:
    """Return all trials in the order in which they were made; those of chosen settings say so.

    Raises:
        ValueError: A line is not of this log, scores are of something else than validation, or a setting was chosen
            that was never tried.
    """
    trials: list[Trial] = []
    chosen: set[tuple[str, str]] = set()
    for number, text in enumerate(log.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            judged = line["on"]
            if "choice" in line:
                chosen.add((line["choice"], _key(line["settings"])))
            else:
                score = -np.inf if line["score"] is None else float(line["score"])
                trials.append(Trial(line["method"], line["settings"], line["seed"], score, loss=line["loss"]))
        except (ValueError, KeyError, TypeError) as error:
            msg = f"log: line {number} of {log} is no trial and no choice ({type(error).__name__}: {error})"
            raise ValueError(msg) from None
        if judged != JUDGED_ON:
            msg = f"log: line {number} of {log} was judged on {judged!r}, expected {JUDGED_ON!r}"
            raise ValueError(msg)
    untried = chosen - {(t.method, _key(t.settings)) for t in trials}
    if untried:
        msg = f"log: {log} chooses {sorted(untried)[0]}, expected a setting that was tried"
        raise ValueError(msg)
    return [replace(trial, chosen=(trial.method, _key(trial.settings)) in chosen) for trial in trials]


def effort(trials: Sequence[Trial]) -> dict[str, int]:
    """Return how many trials each method got.

    Raises:
        ValueError: Not all got as many.
    """
    counts: dict[str, int] = {}
    for trial in trials:
        counts[trial.method] = counts.get(trial.method, 0) + 1
    _equal_effort(counts, "trials")
    return counts


def _equal_effort(counts: Mapping[str, int], what: str) -> None:
    if len(set(counts.values())) > 1:
        msg = f"{what}: got {dict(counts)}, expected as many for each method (equal effort)"
        raise ValueError(msg)


def _said(trial: Trial) -> dict[str, Any]:
    score = trial.score if np.isfinite(trial.score) else None
    said = {"method": trial.method, "settings": dict(trial.settings), "seed": trial.seed, "score": score}
    return {**said, "loss": trial.loss, "on": JUDGED_ON}


def _choice(method: str, settings: Settings) -> dict[str, Any]:
    return {"choice": method, "settings": dict(settings), "on": JUDGED_ON}


def _append(log: Path | None, line: Mapping[str, Any]) -> None:
    if log is None:
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, allow_nan=False) + "\n")


def _key(settings: Settings) -> str:
    return json.dumps(dict(settings), sort_keys=True)
