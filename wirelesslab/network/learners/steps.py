"""What a training loop and a learner say to each other."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners.policies import Interface

Floats32 = NDArray[np.float32]
Bools = NDArray[np.bool_]


def checked_discount(discount: float) -> None:
    """Refuse what is no discount of a step.

    Raises:
        ValueError: It is not above 0, or exceeds 1.
    """
    check.finite(discount=discount)
    if not 0 < discount <= 1:
        why = "; above 1 later rewards would count more than earlier ones" if discount > 1 else ""
        msg = f"discount: got {discount}, expected a number above 0 and up to 1, such as 0.99{why}"
        raise ValueError(msg)


class Step(NamedTuple):
    """One step of all environments of a vector.

    Attributes:
        observations: What was seen, shape (envs, ...).
        masks: Which choices were allowed, shape (envs, choices); all true for `Box` actions of any size.
        raw: What the learner did, in its own terms, see `Interface.actions`.
        rewards: Shape (envs,).
        terminated: The end was real: nothing is to be had any more.
        truncated: Only the time was over: what follows is worth what the next observation is worth.
        next_observations: What was seen next; the last of an episode where it ended, not the first of the following.
        next_masks: Which choices are allowed next.
        valid: False where the environment only began a new episode and what was done did not count.
    """

    observations: Floats32
    masks: Bools
    raw: NDArray[Any]
    rewards: Floats32
    terminated: Bools
    truncated: Bools
    next_observations: Floats32
    next_masks: Bools
    valid: Bools

    @property
    def ended(self) -> Bools:
        """Where an episode ended, for either reason."""
        return self.terminated | self.truncated


class Learning(Protocol):
    """A learner at work: its state between two steps is in its arrays."""

    @property
    def pauses_next(self) -> bool:
        """Whether after the next step a checkpoint may be written, its arrays being all there is."""
        ...

    def act(self, observations: Floats32, masks: Bools) -> NDArray[Any]:
        """Return what to do in training, in the learner's own terms."""
        ...

    def see(self, step: Step) -> None:
        """Take note of a step, and learn when it is time."""
        ...

    def net(self) -> DenseNet:
        """Return the net of the policy as it is now."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that a checkpoint must keep."""
        ...

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        ...

    def figures(self) -> dict[str, float]:
        """Return a few numbers for who watches."""
        ...


class Learner(Protocol):
    """How to learn: a frozen config that prints, compares and hashes."""

    def begin(self, interface: Interface, *, num_envs: int, steps: int, seed: int) -> Learning:
        """Return a learning at its beginning.

        Args:
            interface: What is seen and done.
            num_envs: Environments side by side.
            steps: Steps of the whole training, summed over environments; schedules depend on it.
            seed: Of everything random in it.
        """
        ...
