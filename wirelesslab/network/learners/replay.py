"""Remember transitions as arrays, of all environments of a vector at once, with returns over several steps."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirelesslab import array_files, check
from wirelesslab.network.learners.steps import Step

Floats32 = NDArray[np.float32]


class Transitions(NamedTuple):
    """Transitions over one or several steps.

    Attributes:
        observations: Where they began, shape (many, ...).
        raw: What was done there, in the learner's terms.
        rewards: Sum of the rewards on the way, each discounted to the beginning.
        weights: Sum of the discounts on the way: what a reward of 1 in each step would have added up to.
        factors: What the value of the end counts for: the discount over the way, 0 where the end was real.
        next_observations: Where they ended.
        next_masks: What is allowed there, shape (many, choices).
    """

    observations: Floats32
    raw: NDArray[Any]
    rewards: Floats32
    weights: Floats32
    factors: Floats32
    next_observations: Floats32
    next_masks: NDArray[np.bool_]


class SeveralSteps:
    """Makes transitions over `n` steps of single ones; shorter ones where an episode ends.

    Args:
        n: Steps.
        discount: Of a step.
    """

    def __init__(self, n: int, discount: float) -> None:
        self.n, self.discount, self.time = n, discount, 0
        self.held: dict[str, NDArray[Any]] = {}  # the latest n steps of each environment, by time modulo n

    def see(self, step: Step) -> Transitions:
        """Return the transitions that are complete with this step."""
        num_envs = len(step.rewards)
        if not self.held:
            self.held = {
                "open": np.zeros((self.n, num_envs), bool),
                "rewards": np.zeros((self.n, num_envs)),
                "observations": np.zeros((self.n, *step.observations.shape), np.float32),
                "raw": np.zeros((self.n, *step.raw.shape), step.raw.dtype),
            }
        held, now = self.held, self.time % self.n
        held["open"][now], held["rewards"][now] = step.valid, 0.0
        held["observations"][now], held["raw"][now] = step.observations, step.raw
        done: list[Transitions] = []
        for age in reversed(range(self.n)):  # the oldest first
            slot = (self.time - age) % self.n
            held["rewards"][slot] += self.discount**age * step.rewards
            complete = held["open"][slot] & (step.ended | (age == self.n - 1))
            if not complete.any():
                continue
            which = np.flatnonzero(complete)
            held["open"][slot, which] = False
            worth = self.discount ** (age + 1) * ~step.terminated[which]
            weight = sum(self.discount**k for k in range(age + 1))
            done.append(Transitions(
                held["observations"][slot, which], held["raw"][slot, which],
                held["rewards"][slot, which].astype(np.float32), np.full(which.size, weight, np.float32),
                worth.astype(np.float32), step.next_observations[which], step.next_masks[which],
            ))  # fmt: skip
        self.time += 1
        if not done:
            none = slice(0, 0)
            empty = np.zeros(0, np.float32)
            return Transitions(
                step.observations[none], step.raw[none], empty, empty, empty, step.observations[none], step.masks[none]
            )
        joined: list[Any] = [np.concatenate(parts) for parts in zip(*done, strict=True)]
        return Transitions(*joined)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it."""
        return {"pending time": np.array(self.time), **{f"pending {name}": a for name, a in self.held.items()}}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        self.time = int(arrays["pending time"])
        self.held = {
            name.removeprefix("pending "): array.copy()
            for name, array in arrays.items()
            if name.startswith("pending ") and name != "pending time"
        }


class Replay:
    """The latest transitions, the oldest overwritten first.

    Args:
        capacity: How many.
    """

    def __init__(self, capacity: int) -> None:
        check.positive_integer(capacity=capacity)
        self.capacity, self.size, self.place = capacity, 0, 0
        self.kept: Transitions | None = None

    def add(self, new: Transitions) -> None:
        """Remember transitions."""
        num = len(new.rewards)
        if num == 0:
            return
        if num > self.capacity:
            msg = f"capacity: got {self.capacity}, expected at least the {num} transitions of one step"
            raise ValueError(msg)
        if self.kept is None:
            empty: list[Any] = [np.zeros((self.capacity, *part.shape[1:]), part.dtype) for part in new]
            self.kept = Transitions(*empty)
            self._refuse_size()
        where = (self.place + np.arange(num)) % self.capacity
        for kept, part in zip(self.kept, new, strict=True):
            kept[where] = part
        self.place = (self.place + num) % self.capacity
        self.size = min(self.size + num, self.capacity)

    def draw(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Transitions:
        """Return transitions, each drawn anew from all, with first axes of that shape."""
        assert self.kept is not None
        which = rng.integers(self.size, size=shape)
        drawn: list[Any] = [part[which] for part in self.kept]
        return Transitions(*drawn)

    def reward_scale(self, discount: float, *, centre: bool) -> tuple[float, float]:
        """Return what rewards are multiplied by, and their mean if they are to be centred, else 0.

        Independent rewards of the root mean square found here add up to discounted returns whose spread is it over
        sqrt(1 - discount²): scaled, returns are of the order of 1, whatever the units and the discount.
        """
        assert self.kept is not None
        rewards = self.kept.rewards[: self.size].astype(np.float64) / self.kept.weights[: self.size]
        middle = float(rewards.mean()) if centre else 0.0
        size = float(np.sqrt(np.mean((rewards - middle) ** 2)))
        long = np.sqrt(max(1 - discount, 1e-4))
        return (float(long / size) if size > 1e-9 * (1 + abs(middle)) else 1.0), middle

    def _refuse_size(self) -> None:
        """Refuse a memory that no checkpoint could hold."""
        assert self.kept is not None
        num_bytes = sum(part.nbytes for part in self.kept)
        if num_bytes > 0.9 * array_files.MOST_BYTES:
            most = int(self.capacity * 0.9 * array_files.MOST_BYTES / num_bytes)
            msg = f"capacity: got {self.capacity}, expected at most {most}, which a checkpoint can hold; lower it"
            raise ValueError(msg)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return what is remembered."""
        kept = {} if self.kept is None else self.kept._asdict()
        return {"replay place": np.array(self.place), **{f"replay {n}": a[: self.size] for n, a in kept.items()}}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        if "replay rewards" in arrays:
            self.kept, self.size, self.place = None, 0, 0
            self.add(Transitions(*(arrays[f"replay {name}"] for name in Transitions._fields)))
        self.place = int(arrays["replay place"])
