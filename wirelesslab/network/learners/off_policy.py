"""What DQN and SAC have in common: they remember steps, whoever did them, and learn from draws of these."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.learners.moments import Moments
from wirelesslab.network.learners.nets import Adam, Layout
from wirelesslab.network.learners.policies import Interface
from wirelesslab.network.learners.replay import Replay, SeveralSteps, Transitions
from wirelesslab.network.learners.steps import Step
from wirelesslab.rng import stream

MEAN_RATE = 0.01  # of an error goes into the mean reward at each gradient step


class OffPolicy(ABC):
    """A learning from memory. A kind of it says how it acts and what a gradient step is (`learn`).

    Args:
        how: The learner: `DQN` or `SAC`.
        interface: What is seen and done.
        steps: Of the whole training.
        seed: Of everything random.
        layout: Of the net that acts, which is the first of `adams`.
        adams: All that is learned, by name.
        target: Name of the one that has a slow twin.
        scale_discount: By which rewards add up to what is to be of the order of 1, see `Replay.reward_scale`.
    """

    pauses_next = True

    def __init__(
        self, how: Any, interface: Interface, steps: int, seed: int, *, layout: Layout, adams: Mapping[str, Adam],
        target: str, scale_discount: float,
    ) -> None:  # fmt: skip
        from wirelesslab.tensorflow import tf

        self.how, self.interface, self.steps, self.seed = how, interface, steps, seed
        self.layout, self.adams, self.scale_discount = layout, adams, scale_discount
        self.slow = tf.Variable(adams[target].numpy())
        self.moments = Moments(interface.features)
        self.replay, self.several = Replay(how.capacity), SeveralSteps(how.n_steps, how.discount)
        self.step, self.acts, self.updates = 0, 0, 0
        self.scale, self.mean_reward, self.loss = how.reward_scale, 0.0, float("nan")
        self._take()

    @abstractmethod
    def learn(self, drawn: Transitions) -> None:
        """Do gradient steps, one for each batch of the first axis."""

    def see(self, step: Step) -> None:
        """Remember a step; learn as often as is due."""
        how = self.how
        self.moments.see(step.observations[step.valid])
        self.replay.add(self.several.see(step))
        self.step += len(step.rewards)
        due = int((self.step - how.warmup_steps) / how.steps_per_update)
        if due <= self.updates or self.replay.size == 0:
            return
        if self.scale == 0:
            self.scale, self.mean_reward = self.replay.reward_scale(self.scale_discount, centre=how.centre)
        self.learn(self.replay.draw(stream(self.seed, "replay", self.updates), (due - self.updates, how.batch_size)))
        self._take()

    @property
    def rate(self) -> np.float32:
        """Adam's rate at this step of the training."""
        how = self.how
        return np.float32(how.learning_rate * (1 - (1 - how.final_share) * min(1.0, self.step / self.steps)))

    def learned(self, mean: Any, loss: Any, num: int) -> None:
        """Take note of what gradient steps gave: the mean reward, as scaled, and the last loss."""
        self.updates += num
        self.mean_reward, self.loss = float(mean) / self.scale, float(loss)

    def _take(self) -> None:
        """Take the net that acts from TensorFlow to NumPy."""
        self.layers = self.layout.split(next(iter(self.adams.values())).numpy())[0][0]

    def shown(self, **own: float) -> dict[str, float]:
        """Return the loss, a kind's own figures, and the mean reward where it is subtracted."""
        return {"loss": self.loss, **own, **({"mean reward": self.mean_reward} if self.how.centre else {})}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that a checkpoint must keep."""
        found = {
            "numbers": np.array([self.step, self.acts, self.updates, self.scale, self.mean_reward, self.loss]),
            "slow": self.slow.numpy(), **self.moments.arrays(), **self.replay.arrays(), **self.several.arrays(),
        }  # fmt: skip
        for name, adam in self.adams.items():
            found |= adam.arrays(name)
        return found

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        numbers = arrays["numbers"].tolist()
        self.step, self.acts, self.updates = (int(n) for n in numbers[:3])
        self.scale, self.mean_reward, self.loss = numbers[3:]
        self.slow.assign(arrays["slow"])
        for part in (self.moments, self.replay, self.several):
            part.restore(arrays)
        for name, adam in self.adams.items():
            adam.restore(name, arrays)
        self._take()
