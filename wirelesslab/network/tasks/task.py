"""What all tasks have in common: where an agent's view comes from, how seeds and actions are taken.

A task is a Gymnasium environment. Beyond what Gymnasium asks it keeps to this:

* ``info["reward"]`` holds the parts of the reward, by name; they add up to it.
* ``info["cost"]`` holds what constraints were broken by, by name, at least 0; it is never inside the reward, so
  that learners of constrained problems have it apart.
* ``info["action_mask"]`` (int8, 1 where an action is allowed) where not all actions always are; the observation
  tells the same.
* ``snapshot()`` returns plain data from which ``restore(snapshot)`` goes on to the last bit. A seed alone would
  not do: it leads back to the start only.
* An action that is no number, outside its bounds or of another shape is refused by a ValueError, and nothing
  has happened.
* Bounds of observations are finite, stated with units; what exceeds them is shown at the bound.
"""

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import gymnasium
import numpy as np
from numpy.typing import NDArray

Source = Literal["physical", "fresh", "aged", "none"]
SOURCES: tuple[Source, ...] = ("physical", "fresh", "aged", "none")
"""What an agent looks at: the network as it is, a twin that is told at once, one that is told late, nothing."""


T = TypeVar("T")


class Recorded(Protocol):
    """A task that can be written down between two steps."""

    def snapshot(self) -> Mapping[str, Any]:
        """Return its state as plain data; nothing in it is disturbed."""
        ...

    def restore(self, snapshot: Mapping[str, Any], /) -> None:
        """Go on from what was written down."""
        ...


def seed_of(env: gymnasium.Env[Any, Any], seed: int | None) -> int:
    """Return the seed of an episode: the one that was given, or the next of the environment's own stream.

    Call it after ``super().reset(seed=seed)``. Environment i of a vector has the seed of the vector plus i.
    """
    return int(env.np_random.integers(2**31)) if seed is None else int(seed)


def vector_seeds(
    env: "gymnasium.vector.VectorEnv[Any, Any, Any]",
    seed: int | Sequence[int | None] | None,
    num: int | None = None,
    what: str = "environments",
) -> list[int]:
    """Return the seed of each environment of a vector, and seed the vector's own stream where one number is given.

    Args:
        env: The vector, from whose own stream comes what is not given.
        seed: One number, of which environment i has it plus i; a sequence, each with its own or None; or None.
        num: How many seeds; `env.num_envs` when None.
        what: They are of, for the message.

    Raises:
        ValueError: No whole numbers of at least 0, or not as many as environments.
    """
    num = env.num_envs if num is None else num

    def drawn() -> int:
        return int(env.np_random.integers(2**31))

    def whole(one: object) -> int:
        if isinstance(one, bool) or not isinstance(one, int | np.integer) or one < 0:
            msg = f"seed: got {one!r}, expected whole numbers of at least 0: one, or one for each of the {num} {what}"
            raise ValueError(msg)
        return int(one)

    if seed is None or isinstance(seed, str) or not isinstance(seed, Sequence | np.ndarray):
        first = drawn() if seed is None else whole(seed)
        if seed is not None:
            gymnasium.vector.VectorEnv.reset(env, seed=first)
        return [first + i for i in range(num)]
    if len(seed) != num:
        msg = f"seed: got {len(seed)} seeds, expected one number, or one for each of the {num} {what}"
        raise ValueError(msg)
    given = [None if one is None else whole(one) for one in seed]
    return [drawn() if one is None else one for one in given]


def vector_infos(told: Mapping[str, Any], of: NDArray[np.bool_]) -> dict[str, Any]:
    """Return what environments of a vector told of themselves, in the form that Gymnasium gives it.

    Args:
        told: Arrays by name whose first axis counts the environments, or again such by name.
        of: Of whom it is told, shape (environments,); it stands under "_name" beside each "name". The numbers of the
            others are 0.
    """
    infos: dict[str, Any] = {}
    for name, value in told.items():
        if isinstance(value, Mapping):
            infos[name] = vector_infos(value, of)
        else:
            infos[name] = value if of.all() else np.where(of.reshape(-1, *[1] * (value.ndim - 1)), value, 0)
        infos[f"_{name}"] = of
    return infos


def begun(state: T | None) -> T:
    """Return what a task keeps of its episode.

    Raises:
        RuntimeError: There is none before the first reset.
    """
    if state is None:
        msg = "step: got a call before the first reset; call reset(seed=...) first"
        raise RuntimeError(msg)
    return state


def same_setting(snapshot: Mapping[str, Any], of: Mapping[str, str]) -> None:
    """Refuse a snapshot of another setting.

    Args:
        snapshot: What came; under "of" it holds what it is of.
        of: What it must be of: texts by name.

    Raises:
        ValueError: It is of another, or does not say.
    """
    was = snapshot.get("of")
    if not isinstance(was, Mapping):
        msg = f"snapshot: got one that does not say what it is of ({was!r}), expected one by snapshot() of such a task"
        raise ValueError(msg)
    odd = sorted(name for name in {*was, *of} if was.get(name) != of.get(name))
    if odd:
        said = "; ".join(f"{name} {was.get(name)}, expected {of.get(name)}" for name in odd)
        msg = f"snapshot: got one of another setting: {said}; build the task as it was"
        raise ValueError(msg)


def checked_box(space: gymnasium.spaces.Box, action: object, what: str) -> NDArray[np.float64]:
    """Return an action of a box as float64.

    Args:
        space: Of actions.
        action: What came.
        what: The numbers mean, for the message: "shares of radio, transport and compute".

    Raises:
        ValueError: It has another shape, is no number, or lies outside the bounds.
    """
    try:
        values = np.asarray(action, np.float64)
    except (TypeError, ValueError):
        values = np.array(np.nan)
    if values.shape != space.shape:
        got = f"shape {values.shape}" if values.shape else reprlib.repr(action)
        msg = f"action: got {got}, expected numbers of shape {space.shape}: {what}"
        raise ValueError(msg)
    wrong = ~((values >= space.low - 1e-6) & (values <= space.high + 1e-6))  # so that NaN is wrong too
    if wrong.any():
        place = tuple(int(i) for i in np.argwhere(wrong)[0])
        msg = (
            f"action: got {values[place]:g} at {list(place)}, expected numbers from {float(space.low[place]):g} to "
            f"{float(space.high[place]):g}: {what}; clip what a policy says before it acts"
        )
        raise ValueError(msg)
    return np.clip(values, space.low, space.high).astype(np.float64)


def checked_choice(action: object, mask: NDArray[np.int8] | int, what: str) -> int:
    """Return a choice among numbered actions.

    Args:
        action: What came.
        mask: 1 where an action is allowed, shape (actions,); or how many there are, all allowed.
        what: The number means, for the message: "0 refuses, 1 admits".

    Raises:
        ValueError: It is no whole number, none of the actions, or not allowed now.
    """
    allowed = np.ones(mask, np.int8) if isinstance(mask, int) else mask
    number = np.asarray(action)
    whole = number.shape == () and (np.issubdtype(number.dtype, np.integer))
    if not whole or not 0 <= int(number) < allowed.size:
        msg = f"action: got {action!r}, expected a whole number from 0 to {allowed.size - 1}: {what}"
        raise ValueError(msg)
    if not allowed[int(number)]:
        free = np.flatnonzero(allowed).tolist()
        msg = f"action: got {int(number)}, which is not allowed now (allowed are {free}): {what}; obey the action mask"
        raise ValueError(msg)
    return int(number)
