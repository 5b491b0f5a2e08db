"""DQN: learn what every choice is worth, choose the best (Mnih et al., Nature 518, 2015).

With the parts that have lasted (Hessel et al., Rainbow, AAAI 2018): two nets share the maximum (van Hasselt et al.,
AAAI 2016), a value and advantages add up to the values of choices (Wang et al., ICML 2016), rewards of several
steps. For tasks that never end the mean reward is subtracted (Naik et al., Reward Centering, RLJ 2024): what is left
to learn no longer grows as the discount nears 1.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners.nets import Adam, Layout, numpy_outputs, outputs, policy_net, several_updates
from wirelesslab.network.learners.off_policy import MEAN_RATE, OffPolicy
from wirelesslab.network.learners.policies import NEVER, Interface
from wirelesslab.network.learners.replay import Transitions
from wirelesslab.network.learners.steps import checked_discount
from wirelesslab.rng import stream


@dataclass(frozen=True, kw_only=True)
class DQN:
    """How values of choices are learned.

    Attributes:
        hidden: Units of the net's hidden layers.
        discount: Of a step.
        n_steps: Steps whose rewards are taken as they came, before the net's own value is.
        double: The net chooses the best next action, the slow one says what it is worth.
        dueling: The net gives a value and the choices' advantages over their mean.
        centre: Subtract the mean reward, for tasks that never end.
        learning_rate: Of Adam; falls to `final_share` of it over the training.
        final_share: See `learning_rate`.
        batch_size: Transitions of a gradient step.
        steps_per_update: Steps, summed over environments, for each gradient step.
        capacity: Transitions that are remembered.
        warmup_steps: Steps with random choices before the first gradient step.
        first_epsilon: Share of random choices after them.
        last_epsilon: Share of random choices at last.
        explore_share: Share of the training over which it falls.
        target_rate: How much of the net the slow net takes over at each gradient step; 0 with `target_every`.
        target_every: Gradient steps after which the slow net becomes the net; 0 with `target_rate`.
        clip_norm: Largest norm of a gradient.
        reward_scale: What rewards are multiplied by; 0 makes returns of the order of 1, from what the warm-up saw.
    """

    hidden: tuple[int, ...] = (64, 64)
    discount: float = 0.99
    n_steps: int = 3
    double: bool = True
    dueling: bool = True
    centre: bool = False
    learning_rate: float = 1e-3
    final_share: float = 0.1
    batch_size: int = 128
    steps_per_update: float = 4.0
    capacity: int = 50_000
    warmup_steps: int = 1_000
    first_epsilon: float = 1.0
    last_epsilon: float = 0.02
    explore_share: float = 0.3
    target_rate: float = 0.01
    target_every: int = 0
    clip_norm: float = 10.0
    reward_scale: float = 0.0

    def __post_init__(self) -> None:
        check.positive_integer(**{f"hidden[{i}]": units for i, units in enumerate(self.hidden)})
        check.positive_integer(
            n_steps=self.n_steps, batch_size=self.batch_size, capacity=self.capacity, warmup_steps=self.warmup_steps
        )
        check.non_negative_integer(target_every=self.target_every)
        checked_discount(self.discount)
        check.positive(
            learning_rate=self.learning_rate, steps_per_update=self.steps_per_update,
            clip_norm=self.clip_norm,
        )  # fmt: skip
        check.probability(
            final_share=self.final_share, first_epsilon=self.first_epsilon,
            last_epsilon=self.last_epsilon, explore_share=self.explore_share, target_rate=self.target_rate,
        )  # fmt: skip
        check.within(0, 1e12, reward_scale=self.reward_scale)
        if bool(self.target_rate) == bool(self.target_every):
            msg = (
                f"target_rate, target_every: got {self.target_rate}, {self.target_every}, expected one of them above 0"
            )
            raise ValueError(msg)

    def begin(self, interface: Interface, *, num_envs: int, steps: int, seed: int) -> "_Learning":
        """Return a learning at its beginning; see `Learner`."""
        del num_envs  # replay does not care who lived it
        if not interface.discrete:
            msg = "DQN: got Box actions, expected Discrete ones; take SAC or PPO"
            raise TypeError(msg)
        return _Learning(self, interface, steps, seed)

    def epsilon(self, step: int, steps: int) -> float:
        """Return the share of random choices at a step of a training."""
        if step < self.warmup_steps:
            return 1.0
        gone = min(1.0, step / max(1.0, self.explore_share * steps))
        return self.first_epsilon + (self.last_epsilon - self.first_epsilon) * gone


def values_of(layers: Any, observations: Any, *, dueling: bool) -> Any:
    """Return the values of all choices, shape (batch, choices), in TensorFlow."""
    from wirelesslab.tensorflow import tf

    given = outputs(layers, observations)
    if not dueling:
        return given[..., 0] if len(given.shape) == 3 else given
    if len(given.shape) == 3:  # (batch, rows, 2)
        advantages, value = given[..., 0], tf.reduce_mean(given[..., 1], axis=1, keepdims=True)
    else:
        advantages, value = given[:, :-1], given[:, -1:]
    return value + advantages - tf.reduce_mean(advantages, axis=1, keepdims=True)


def targets(
    rewards: Any, factors: Any, next_values: Any, slow_next_values: Any, next_masks: Any, *, double: bool
) -> Any:
    """Return what chosen actions were worth, in TensorFlow.

    Args:
        rewards: On the way, shape (batch,).
        factors: What the end counts for, shape (batch,).
        next_values: Of the net, shape (batch, choices).
        slow_next_values: Of the slow net.
        next_masks: Which choices are allowed.
        double: Whether the net chooses; else the slow net does.
    """
    from wirelesslab.tensorflow import tf

    judge = next_values if double else slow_next_values
    best = tf.argmax(tf.where(next_masks, judge, NEVER), axis=1, output_type=tf.int32)
    return rewards + factors * tf.gather(slow_next_values, best, axis=1, batch_dims=1)


class _Learning(OffPolicy):
    """DQN at work."""

    def __init__(self, how: DQN, interface: Interface, steps: int, seed: int) -> None:
        from wirelesslab.tensorflow import tf

        extra = int(how.dueling)
        size = 1 + extra if interface.rows else interface.size + extra
        layout = Layout(((interface.features, *how.hidden, size),))
        self.adam = Adam(layout.initial(seed, [0.1]), how.clip_norm)
        super().__init__(
            how, interface, steps, seed, layout=layout, adams={"net": self.adam}, target="net",
            scale_discount=how.discount,
        )  # fmt: skip
        self._update = tf.function(self._improve, autograph=False, reduce_retracing=True)

    def act(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the best choice, or now and then any that is allowed."""
        rng = stream(self.seed, "explore", self.acts)
        self.acts += 1
        some = rng.random(len(masks)) < self.how.epsilon(self.step, self.steps)
        random = np.asarray(np.argmax(np.where(masks, rng.random(masks.shape), -1.0), axis=1))
        if some.all():
            return random
        given = numpy_outputs(self.layers, self.moments.standard(observations))
        scores = given[..., 0] if self.interface.rows else given[:, : self.interface.size]
        return np.asarray(np.where(some, random, np.argmax(np.where(masks, scores, -np.inf), axis=1)))

    def learn(self, drawn: Transitions) -> None:
        """Do gradient steps, one for each batch of the first axis."""
        how, num = self.how, len(drawn.rewards)
        take = np.full(num, how.target_rate, np.float32)
        if how.target_every:
            take[:] = (self.updates + 1 + np.arange(num)) % how.target_every == 0
        mean, loss = self._update(
            self.moments.standard(drawn.observations), drawn.raw.astype(np.int32),
            drawn.rewards * np.float32(self.scale), drawn.weights, drawn.factors,
            self.moments.standard(drawn.next_observations), drawn.next_masks, take,
            np.float32(self.mean_reward * self.scale), self.rate,
        )  # fmt: skip
        self.learned(mean, loss, num)

    def _improve(self, *given: Any) -> tuple[Any, Any]:
        *batches, mean_reward, rate = given
        return several_updates(lambda *batch: self._improve_once(*batch, rate=rate), batches, mean_reward)

    def _improve_once(
        self, seen: Any, actions: Any, rewards: Any, weights: Any, factors: Any, following: Any, masks: Any, take: Any,
        mean_reward: Any, *, rate: Any,
    ) -> tuple[Any, Any]:  # fmt: skip
        from wirelesslab.tensorflow import tf

        how = self.how
        slow = values_of(self.layout.tensors(self.slow)[0][0], following, dueling=how.dueling)
        quick = values_of(self.layout.tensors(self.adam.values)[0][0], following, dueling=how.dueling)
        wanted = targets(rewards - mean_reward * weights, factors, quick, slow, masks, double=how.double)
        with tf.GradientTape() as tape:
            all_values = values_of(self.layout.tensors(self.adam.values)[0][0], seen, dueling=how.dueling)
            errors = wanted - tf.gather(all_values, actions, axis=1, batch_dims=1)
            size = tf.abs(errors)
            loss = tf.reduce_mean(tf.where(size < 1, 0.5 * errors**2, size - 0.5))  # Huber's
        self.adam.step(tape.gradient(loss, self.adam.values), rate)
        self.slow.assign_add(take * (self.adam.values - self.slow))
        if how.centre:  # the mean reward goes where the errors point: unlike a mean of rewards it forgets exploration
            mean_reward += MEAN_RATE * tf.reduce_mean(errors)
        return mean_reward, loss

    def net(self) -> DenseNet:
        """Return the net whose greatest output is the best choice: values, or advantages where rows share it."""
        layers = list(self.layers)
        if self.how.dueling and not self.interface.rows:  # values are linear in value and advantages: one layer
            kernel, bias = layers[-1]
            fold = np.eye(self.interface.size + 1, self.interface.size) - 1 / self.interface.size
            fold[-1] = 1.0
            layers[-1] = (kernel @ fold).astype(np.float32), (bias @ fold).astype(np.float32)
        return policy_net(layers, self.moments, slice(0, 1 if self.interface.rows else self.interface.size))

    def figures(self) -> dict[str, float]:
        """Return loss and exploration, and the mean reward where it is subtracted."""
        return self.shown(epsilon=self.how.epsilon(self.step, self.steps))
