"""States and checkpoints in files that cannot execute code: arrays, what they are, and a checksum; never a pickle.

A checkpoint is what a training needs to go on as if nothing had happened: its state (weights, optimizer, moving
averages are all named arrays of it), its random generators, and its place in the data. It is one file and is replaced
at once: a process that is killed while it writes leaves the checkpoint before.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import array_files, check
from wirelesslab.array_files import WeightFileError
from wirelesslab.vision.method import Epoch, State, state_arrays, state_of

STATE = "wirelesslab vision state 1"
CHECKPOINT = "wirelesslab vision checkpoint 1"


class Restores(Protocol):
    """What saving asks of a method; every `Trainable` has it."""

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> State:
        """Return the state that was written; refuse that of another net."""
        ...


def save_state(path: Path, state: State, method: object, record: Mapping[str, Any] | None = None) -> Path:
    """Write a state to ``<path>.npz``.

    Args:
        path: With or without its ending.
        state: What was trained.
        method: What trained it; the file says so in words, for its reader.
        record: How it was trained, in values of JSON.

    Returns:
        The path of the file.
    """
    body = {"format": STATE, "method": repr(method), "record": dict(record or {})}
    return array_files.write_one(path, state_arrays(state), body)


def load_state(path: Path, method: Restores) -> State:
    """Return the state that `save_state` wrote.

    Raises:
        WeightFileError: The file is missing, cut short, changed, of something else, or of another architecture.
    """
    kept = array_files.read_one(path, STATE)
    return _restored(path, kept, kept.arrays, method)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A training between two steps.

    Attributes:
        state: Weights, optimizer, moving averages, counters.
        generators: Random generators by name. Those that `rng.stream` names anew at each step need not be here.
        cursor: Place in the data, in whole numbers by name, such as epoch and batch.
        history: What was noted so far.
        losses: Of the epoch that has begun.
    """

    state: State
    generators: Mapping[str, np.random.Generator] = field(default_factory=dict)
    cursor: Mapping[str, int] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    losses: tuple[float, ...] = ()


def save_checkpoint(path: Path, checkpoint: Checkpoint, method: object, run: Mapping[str, Any] | None = None) -> Path:
    """Write a checkpoint to ``<path>.npz``, in the place of the one before.

    Args:
        path: With or without its ending.
        checkpoint: The training.
        method: What is trained.
        run: What else the training depends on, such as seed and data, in values of JSON.
    """
    body = {
        "format": CHECKPOINT, "method": repr(method), "run": dict(run or {}),
        "generators": {name: _random_state(name, rng) for name, rng in checkpoint.generators.items()},
        "cursor": dict(checkpoint.cursor),
        "history": [[epoch.step, dict(epoch.scores)] for epoch in checkpoint.history],
    }  # fmt: skip
    arrays = {f"state/{name}": array for name, array in state_arrays(checkpoint.state).items()}
    return array_files.write_one(path, arrays | {"losses": np.array(checkpoint.losses, np.float64)}, body)


def load_checkpoint(path: Path, method: Restores, run: Mapping[str, Any] | None = None) -> Checkpoint:
    """Return the checkpoint, with generators that go on where they were.

    Raises:
        WeightFileError: The file is missing, cut short, changed, of something else, or of another training: another
            architecture, another method, or another run.
    """
    kept = array_files.read_one(path, CHECKPOINT)
    file, body = array_files.both(path)[0], kept.body
    arrays = {name.removeprefix("state/"): a for name, a in kept.arrays.items() if name.startswith("state/")}
    state = _restored(path, kept, arrays, method)
    if body["method"] != repr(method):
        msg = f"checkpoint: {file} is of {body['method']}, got {method!r}; go on with the same, or write elsewhere"
        raise WeightFileError(msg)
    wanted = json.loads(json.dumps(dict(run or {})))
    if body["run"] != wanted:
        odd = sorted(n for n in {*body["run"], *wanted} if body["run"].get(n) != wanted.get(n))
        said = ", ".join(f"{n} is {body['run'].get(n)!r}, got {wanted.get(n)!r}" for n in odd)
        msg = f"checkpoint: {file} is of another training ({said}); go on with the same, or write elsewhere"
        raise WeightFileError(msg)
    return Checkpoint(
        state,
        {name: _generator(said) for name, said in body["generators"].items()},
        body["cursor"],
        tuple(Epoch(step, scores) for step, scores in body["history"]),
        tuple(kept.arrays["losses"].tolist()),
    )


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """Where and how often a training writes its checkpoint.

    Attributes:
        path: Of the file; a training that finds one there goes on from it.
        every_steps: Steps between two checkpoints.
    """

    path: Path
    every_steps: int = 100

    def __post_init__(self) -> None:
        check.positive_integer(every_steps=self.every_steps)

    @property
    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return array_files.both(self.path)[0].exists()


def _restored(path: Path, kept: array_files.Kept, arrays: Mapping[str, NDArray[Any]], method: Restores) -> State:
    file = array_files.both(path)[0]
    try:
        return method.restored(arrays, 0)
    except (ValueError, KeyError, TypeError) as error:
        msg = f"weights: {file} is of {kept.body.get('method')}, got {method!r} to load it; {error}"
        raise WeightFileError(msg) from None


def _random_state(name: str, rng: np.random.Generator) -> dict[str, Any]:
    state = dict(rng.bit_generator.state)
    if state["bit_generator"] != "PCG64":
        msg = f"generators: got {state['bit_generator']} for {name!r}, expected PCG64, such as rng.stream(7) gives"
        raise TypeError(msg)
    return state


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    rng = np.random.default_rng(0)
    rng.bit_generator.state = dict(state)
    return rng


__all__ = [
    "Checkpoint",
    "Keeping",
    "WeightFileError",
    "load_checkpoint",
    "load_state",
    "save_checkpoint",
    "save_state",
    "state_arrays",
    "state_of",
]
