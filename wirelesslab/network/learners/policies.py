"""What a training gives: a policy of arrays, asked by NumPy, kept in a file that cannot execute code."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import array_files, check
from wirelesslab.array_files import WeightFileError
from wirelesslab.network.dense_nets import DenseNet

FORMAT = "wirelesslab policy 1"
NEVER = -1e9  # the score of an action that a mask forbids; above minus infinity, which makes NaN in gradients

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Interface:
    """What a policy sees and does.

    Attributes:
        observation_shape: (features,); or (items, features), where one net is applied to every row and so treats all
            items alike: each row's output is the score of choosing that item, or that item's own number.
        num_actions: Choices of a `Discrete` action; 0 for a `Box`.
        first_action: The number of the first choice.
        low: Lower bounds of a `Box` action, one for each number of it.
        high: Upper bounds.
    """

    observation_shape: tuple[int, ...]
    num_actions: int = 0
    first_action: int = 0
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check.positive_integer(**{f"observation_shape[{i}]": n for i, n in enumerate(self.observation_shape)})
        check.non_negative_integer(num_actions=self.num_actions)
        check.finite(**{f"low[{i}]": v for i, v in enumerate(self.low)})
        check.finite(**{f"high[{i}]": v for i, v in enumerate(self.high)})
        if len(self.observation_shape) not in (1, 2):
            msg = f"observation_shape: got {self.observation_shape}, expected (features,) or (items, features)"
            raise ValueError(msg)
        if bool(self.num_actions) == bool(self.low) or len(self.low) != len(self.high):
            msg = (
                f"actions: got {self.num_actions} choices and bounds {self.low} to {self.high}, expected one of the two"
            )
            raise ValueError(msg)
        if any(low >= high for low, high in zip(self.low, self.high, strict=True)):
            msg = f"low: got {self.low}, expected less than high, {self.high}, in every number"
            raise ValueError(msg)
        if self.rows and self.size != self.observation_shape[0]:
            msg = (
                f"actions: got {self.size} for {self.observation_shape[0]} rows of observations, expected one for each "
                "row; flatten the observation if rows are no items"
            )
            raise ValueError(msg)

    @property
    def discrete(self) -> bool:
        """Whether an action is a choice."""
        return self.num_actions > 0

    @property
    def rows(self) -> bool:
        """Whether one net is applied to every row of an observation."""
        return len(self.observation_shape) == 2

    @property
    def features(self) -> int:
        """Numbers that the net sees at once."""
        return self.observation_shape[-1]

    @property
    def size(self) -> int:
        """Choices, or numbers of a `Box` action."""
        return self.num_actions or len(self.low)

    def actions(self, raw: NDArray[Any]) -> NDArray[Any]:
        """Return actions in the task's terms.

        Args:
            raw: Numbers of choices from 0 on, shape (...); or numbers on the whole line, shape (..., size), which
                tanh squeezes into the bounds.
        """
        if self.discrete:
            return np.asarray(raw, np.int64) + self.first_action
        low, high = np.array(self.low), np.array(self.high)
        within = low + (high - low) * (0.5 + 0.5 * np.tanh(np.asarray(raw, np.float64)))
        return np.asarray(np.clip(within, low, high))

    def describe(self) -> dict[str, Any]:
        """Return it in values of JSON."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}

    @classmethod
    def described(cls, said: Mapping[str, Any]) -> "Interface":
        """Return what `describe` told."""
        known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in said.items()}
        return cls(**known)


@dataclass(frozen=True, eq=False, kw_only=True)
class Trained:
    """A policy that was trained: the best it knows for an observation, nothing of it random.

    Attributes:
        task: Id of the task.
        learner: What trained it, such as "PPO".
        interface: What it sees and does.
        net: Scores of choices, or numbers on the whole line that tanh squeezes into the action's bounds: the medians
            of the trained law; for each row where the interface has rows.
        record: How it was trained, in values of JSON.
    """

    task: str
    learner: str
    interface: Interface
    net: DenseNet
    record: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        wanted = self.interface.features, 1 if self.interface.rows else self.interface.size
        got = self.net.sizes[0], self.net.sizes[-1]
        if got != wanted:
            msg = (
                f"net: got {got[0]} inputs and {got[1]} outputs, expected {wanted[0]} and {wanted[1]} by the interface"
            )
            raise ValueError(msg)

    def must_be_of(self, *tasks: str) -> None:
        """Refuse to be taken for a policy of other tasks.

        Args:
            tasks: Ids, of which its own must be one.

        Raises:
            ValueError: It is not.
        """
        if self.task not in tasks:
            msg = f"trained: got a policy of {self.task}, expected one of {' or '.join(tasks)}; train one for this task"
            raise ValueError(msg)

    def for_items(self, items: int) -> "Trained":
        """Return the same policy for another number of items: its net serves every row, however many there are.

        Raises:
            ValueError: It sees no rows, or the bounds of its numbers are not alike for all items.
        """
        check.positive_integer(items=items)
        seen = self.interface
        if not seen.rows or len(set(zip(seen.low, seen.high, strict=True))) > 1:
            msg = (
                f"items: got {items} for a policy of {self.task} that sees {seen.observation_shape}, expected one that "
                "sees (items, features) and answers within the same bounds for each item"
            )
            raise ValueError(msg)
        form = replace(
            seen, observation_shape=(items, seen.features), num_actions=items if seen.discrete else 0,
            low=seen.low[:1] * items, high=seen.high[:1] * items,
        )  # fmt: skip
        return replace(self, interface=form)

    def act(self, observation: ArrayLike, mask: ArrayLike | None = None) -> int | Floats:
        """Return what to do.

        Args:
            observation: Of the interface's shape, in the task's units.
            mask: Which choices are allowed, shape (choices,); all when None.

        Returns:
            The number of the choice, or the numbers of a `Box` action within its bounds.

        Raises:
            ValueError: Another shape, NaN or infinity, or a mask that allows nothing.
        """
        shape, axes = self.interface.observation_shape, "items, features" if self.interface.rows else "features"
        one = check.array(observation, shape, axes, name="observation", because=f"it is a policy of {self.task}")
        done = self.act_many(one[None], None if mask is None else np.asarray(mask)[None])[0]
        return int(done) if self.interface.discrete else np.asarray(done, np.float64)

    def act_many(self, observations: ArrayLike, masks: ArrayLike | None = None) -> NDArray[Any]:
        """Return what to do for many observations, shape (many, ...), with masks (many, choices)."""
        shape = self.interface.observation_shape
        axes = "many, items, features" if self.interface.rows else "many, features"
        seen = check.array(
            observations, (None, *shape), axes, name="observation", because=f"it is a policy of {self.task}"
        )
        scores = self.net(seen.reshape(-1, self.interface.features)).reshape(len(seen), self.interface.size)
        if not self.interface.discrete:
            return self.interface.actions(scores)
        return self.interface.actions(np.argmax(np.where(self._allowed(masks, len(seen)), scores, -np.inf), axis=1))

    def _allowed(self, masks: ArrayLike | None, many: int) -> Bools:
        if masks is None:
            return np.ones((many, self.interface.size), bool)
        allowed = check.array(masks, (many, self.interface.size), "many, choices", name="mask").astype(bool)
        if not allowed.any(axis=1).all():
            msg = f"mask: allows nothing in row {int(np.argmin(allowed.any(axis=1)))}, expected at least one choice"
            raise ValueError(msg)
        return allowed


def save_policy(policy: Trained, path: str | Path) -> Path:
    """Write a policy to ``<path>.npz``, with or without its ending; returns the path of the file."""
    body = {
        "format": FORMAT, "task": policy.task, "learner": policy.learner,
        "interface": policy.interface.describe(), "record": dict(policy.record),
    }  # fmt: skip
    return array_files.write_one(Path(path), policy.net.arrays, body)


def load_policy(path: str | Path, task: str | None = None) -> Trained:
    """Return the policy that `save_policy` wrote.

    Args:
        path: With or without its ending.
        task: The task that it must be of; any when None.

    Raises:
        WeightFileError: The file is missing, cut short, changed, no policy, or a policy of another task.
    """
    kept = array_files.read_one(Path(path), FORMAT, "policy", "train and save it again")
    file, body = array_files.both(Path(path))[0], kept.body
    if task is not None and body.get("task") != task:
        msg = f"policy: {file} is of {body.get('task')!r}, expected one of {task!r}; train one for this task"
        raise WeightFileError(msg)
    try:
        interface = Interface.described(body["interface"])
        return Trained(
            task=body["task"], learner=body["learner"], interface=interface, net=DenseNet(kept.arrays),
            record=body["record"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        msg = f"policy: {file} holds no policy ({error})"
        raise WeightFileError(msg) from None
