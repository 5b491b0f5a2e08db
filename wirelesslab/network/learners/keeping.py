"""Checkpoints of a training, and what environments say of their state, in one file that cannot execute code."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import array_files, check
from wirelesslab.array_files import WeightFileError

FORMAT = "wirelesslab training checkpoint 1"
FORGETFUL = ("TimeLimit", "OrderEnforcing", "PassiveEnvChecker")
"""Wrappers of Gymnasium that remember nothing, but for `TimeLimit`'s count of steps, which is kept."""


@dataclass(frozen=True, kw_only=True)
class Keep:
    """Where and how often a training writes its checkpoint.

    Attributes:
        path: Of the file, with or without ``.npz``; a training that finds one there goes on from it.
        every_steps: Steps, summed over environments, between two checkpoints, at the least. Environments that cannot
            tell their state begin new episodes at each, so that a training goes on exactly from any: keep them far
            apart for those with long episodes.
    """

    path: Path
    every_steps: int = 20_000

    def __post_init__(self) -> None:
        check.positive_integer(every_steps=self.every_steps)

    @property
    def exists(self) -> bool:
        """Whether there is something to go on from."""
        return array_files.both(self.path)[0].exists()


@dataclass(frozen=True)
class Checkpoint:
    """A training between two steps.

    Attributes:
        arrays: Of the learner.
        loop: Of the training loop: a tree of plain values and arrays.
        environment: What the environments told of their state; None when they begin new episodes.
    """

    arrays: Mapping[str, NDArray[Any]]
    loop: Mapping[str, Any]
    environment: Any = None


def save_checkpoint(path: Path, checkpoint: Checkpoint, run: Mapping[str, Any]) -> Path:
    """Write a checkpoint to ``<path>.npz``, in the place of the one before.

    Args:
        path: With or without its ending.
        checkpoint: The training.
        run: What it is a checkpoint of, in values of JSON.
    """
    trees: dict[str, NDArray[Any]] = {}
    body = {
        "format": FORMAT, "run": dict(run),
        "loop": pack(checkpoint.loop, trees), "environment": pack(checkpoint.environment, trees),
        "episodes": "begin anew" if checkpoint.environment is None else "go on",
    }  # fmt: skip
    arrays = {f"learner/{name}": array for name, array in checkpoint.arrays.items()}
    return array_files.write_one(path, arrays | trees, body)


def load_checkpoint(path: Path, run: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint.

    Raises:
        WeightFileError: The file is missing, cut short, changed, of something else, or of another training.
    """
    kept = array_files.read_one(path, FORMAT, "checkpoint", "delete it and train from the beginning")
    file, body = array_files.both(path)[0], kept.body
    wanted = json.loads(json.dumps(dict(run)))
    if body["run"] != wanted:
        odd = sorted(n for n in {*body["run"], *wanted} if body["run"].get(n) != wanted.get(n))
        said = ", ".join(f"{n} is {body['run'].get(n)!r}, got {wanted.get(n)!r}" for n in odd)
        msg = f"checkpoint: {file} is of another training ({said}); go on with the same, or write elsewhere"
        raise WeightFileError(msg)
    arrays = {n.removeprefix("learner/"): a for n, a in kept.arrays.items() if n.startswith("learner/")}
    return Checkpoint(arrays, unpack(body["loop"], kept.arrays), unpack(body["environment"], kept.arrays))


def pack(tree: Any, arrays: dict[str, NDArray[Any]]) -> Any:
    """Return a tree of plain values in values of JSON; its arrays are added to `arrays`.

    Raises:
        TypeError: Something in it is neither text, number, array, nor a list, tuple or mapping of such.
    """
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, np.ndarray | np.generic) and np.asarray(tree).dtype.kind in "biufcU":
        name = f"tree/{len(arrays)}"
        arrays[name] = np.array(tree)
        return {"array": name, "scalar": isinstance(tree, np.generic)}
    if isinstance(tree, Mapping) and all(isinstance(name, str) for name in tree):
        return {"mapping": {name: pack(value, arrays) for name, value in tree.items()}}
    if isinstance(tree, list | tuple) and not hasattr(tree, "_fields"):
        return {type(tree).__name__: [pack(value, arrays) for value in tree]}
    msg = f"state: got a {type(tree).__name__}, expected text, numbers, arrays, and lists, tuples and mappings of them"
    raise TypeError(msg)


def unpack(said: Any, arrays: Mapping[str, NDArray[Any]]) -> Any:
    """Return the tree that `pack` was given."""
    if not isinstance(said, dict):
        return said
    if "array" in said:
        value = arrays[said["array"]]
        return value[()] if said["scalar"] else value
    if "mapping" in said:
        return {name: unpack(value, arrays) for name, value in said["mapping"].items()}
    parts = [unpack(value, arrays) for value in next(iter(said.values()))]
    return tuple(parts) if "tuple" in said else parts


def state_of(env: Any) -> Any:
    """Return the state of a vector of environments as a plain tree; None if they cannot tell it, or not plainly.

    A vector that has ``snapshot`` and ``restore`` is asked itself; of gymnasium's `SyncVectorEnv` each environment is,
    and how long its wrappers have counted. Wrappers that may remember more, such as running means, make it untellable:
    known to remember nothing are those of `FORGETFUL` and those whose class says ``remembers_nothing = True``.
    """
    tree: Any = None
    if hasattr(env, "snapshot") and hasattr(env, "restore"):
        tree = env.snapshot()
    elif _synchronous(env) and all(hasattr(one.unwrapped, "snapshot") and _forgetful(one) for one in env.envs):
        tree = {
            "envs": [{"state": one.unwrapped.snapshot(), "elapsed": _elapsed(one)} for one in env.envs],
            "autoreset": np.array(env._autoreset_envs),
        }
    try:
        pack(tree, {})
    except TypeError:
        return None
    return tree


def restore_state(env: Any, tree: Any) -> None:
    """Put a vector of environments, after a reset, into a state that `state_of` gave."""
    if not _synchronous(env) or hasattr(env, "restore"):
        env.restore(tree)
        return
    for one, state in zip(env.envs, tree["envs"], strict=True):
        one.unwrapped.restore(state["state"])
        for wrapper, elapsed in zip(_counting(one), state["elapsed"], strict=True):
            wrapper._elapsed_steps = elapsed
    env._autoreset_envs[:] = tree["autoreset"]


def _synchronous(env: Any) -> bool:
    return hasattr(env, "envs") and hasattr(env, "_autoreset_envs")


def _wrappers(env: Any) -> list[Any]:
    found = []
    while env is not env.unwrapped:
        found.append(env)
        env = env.env
    return found


def _forgetful(env: Any) -> bool:
    """Whether no wrapper remembers anything beside the count of steps."""
    kinds = [type(wrapper) for wrapper in _wrappers(env)]
    return all(
        (kind.__module__.startswith("gymnasium.") and kind.__name__ in FORGETFUL)
        or getattr(kind, "remembers_nothing", False)
        for kind in kinds
    )


def _counting(env: Any) -> list[Any]:
    """Wrappers that end an episode by their own count of steps."""
    return [wrapper for wrapper in _wrappers(env) if hasattr(wrapper, "_elapsed_steps")]


def _elapsed(env: Any) -> list[int]:
    return [int(wrapper._elapsed_steps or 0) for wrapper in _counting(env)]
