"""SAC: a policy that earns much and stays as random as told (Haarnoja et al., arXiv 1812.05905).

Two critics, the lower of which is believed; a normal law on the whole line that tanh squeezes into the bounds; a
temperature that finds itself, so that the policy's entropy is what was asked for.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners.nets import Adam, Layout, numpy_outputs, outputs, policy_net, several_updates
from wirelesslab.network.learners.off_policy import MEAN_RATE, OffPolicy
from wirelesslab.network.learners.policies import Interface
from wirelesslab.network.learners.replay import Transitions
from wirelesslab.network.learners.steps import checked_discount
from wirelesslab.rng import stream

LEAST_LOG_SPREAD, MOST_LOG_SPREAD = -5.0, 2.0


@dataclass(frozen=True, kw_only=True)
class SAC:
    """How a policy and its critics are learned.

    Attributes:
        hidden: Units of the hidden layers; tanh in the policy, which NumPy evaluates, ReLU in the critics.
        discount: Of a step.
        n_steps: Steps whose rewards are taken as they came.
        centre: Subtract the mean reward, for tasks that never end.
        learning_rate: Of Adam, for policy, critics and temperature; falls to `final_share` of it over the training.
        final_share: See `learning_rate`.
        batch_size: Transitions of a gradient step.
        steps_per_update: Steps, summed over environments, for each gradient step.
        capacity: Transitions that are remembered.
        warmup_steps: Steps with actions drawn evenly from the bounds, before the first gradient step.
        target_rate: How much of the critics the slow ones take over at each gradient step.
        first_temperature: Of the policy's entropy, at the beginning, in units of scaled rewards.
        target_entropy: Nats wanted for each number of an action, on [-1, 1], where even drawing has log 2.
        reward_scale: What rewards are multiplied by; 0 makes rewards of the order of 1, from what the warm-up saw.
    """

    hidden: tuple[int, ...] = (64, 64)
    discount: float = 0.99
    n_steps: int = 1
    centre: bool = False
    learning_rate: float = 1e-3
    final_share: float = 0.2
    batch_size: int = 256
    steps_per_update: float = 1.0
    capacity: int = 50_000
    warmup_steps: int = 1_000
    target_rate: float = 0.005
    first_temperature: float = 0.2
    target_entropy: float = -1.0
    reward_scale: float = 0.0

    def __post_init__(self) -> None:
        check.positive_integer(
            n_steps=self.n_steps, batch_size=self.batch_size, capacity=self.capacity, warmup_steps=self.warmup_steps,
            **{f"hidden[{i}]": units for i, units in enumerate(self.hidden)},
        )  # fmt: skip
        checked_discount(self.discount)
        check.positive(
            learning_rate=self.learning_rate, steps_per_update=self.steps_per_update,
            target_rate=self.target_rate, first_temperature=self.first_temperature,
        )  # fmt: skip
        check.probability(final_share=self.final_share, target_rate=self.target_rate)
        check.within(-10, float(np.log(2)), target_entropy=self.target_entropy)
        check.within(0, 1e12, reward_scale=self.reward_scale)

    def begin(self, interface: Interface, *, num_envs: int, steps: int, seed: int) -> "_Learning":
        """Return a learning at its beginning; see `Learner`."""
        del num_envs  # replay does not care who lived it
        if interface.discrete:
            msg = "SAC: got Discrete actions, expected a Box; take DQN or PPO"
            raise TypeError(msg)
        return _Learning(self, interface, steps, seed)


def squeezed_log_density(means: Any, log_spread: Any, noise: Any) -> tuple[Any, Any]:
    """Return actions on [-1, 1], shape (batch, size), and their log-density, shape (batch,), in TensorFlow.

    Args:
        means: Of the normal law on the whole line, shape (batch, size).
        log_spread: Logarithm of its standard deviation.
        noise: Standard normal draws.
    """
    from wirelesslab.tensorflow import tf

    raw = means + tf.exp(log_spread) * noise
    normal = -0.5 * noise**2 - log_spread - 0.5 * np.log(2 * np.pi)
    shrunk = 2 * (np.log(2) - raw - tf.nn.softplus(-2 * raw))  # log(1 - tanh²), exact far out too
    return tf.tanh(raw), tf.reduce_sum(normal - shrunk, axis=1)


class _Learning(OffPolicy):
    """SAC at work."""

    def __init__(self, how: SAC, interface: Interface, steps: int, seed: int) -> None:
        from wirelesslab.tensorflow import tf

        numbers, beside = (2, 1) if interface.rows else (2 * interface.size, interface.size)
        layout = Layout(((interface.features, *how.hidden, numbers),))
        self.critic_layout = Layout(((interface.features + beside, *how.hidden, 1),) * 2)
        self.actor = Adam(layout.initial(seed, [0.01]))
        self.critics = Adam(self.critic_layout.initial(seed, [1.0, 1.0]))
        self.heat = Adam(np.log([how.first_temperature]).astype(np.float32))
        super().__init__(
            how, interface, steps, seed, layout=layout, target="critics", scale_discount=0.0,
            adams={"actor": self.actor, "critics": self.critics, "heat": self.heat},
        )  # fmt: skip
        self._update = tf.function(self._improve, autograph=False, reduce_retracing=True)

    def act(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return a draw from the policy; in the warm-up from the whole of the bounds."""
        del masks  # a Box has none
        rng = stream(self.seed, "act", self.acts)
        self.acts += 1
        shape = len(observations), self.interface.size
        if self.step < self.how.warmup_steps:
            return np.arctanh(rng.uniform(-0.999, 0.999, shape)).astype(np.float32)
        given = numpy_outputs(self.layers, self.moments.standard(observations)).reshape(*shape, 2)
        log_spread = np.clip(given[..., 1], LEAST_LOG_SPREAD, MOST_LOG_SPREAD)
        return np.asarray(given[..., 0] + np.exp(log_spread) * rng.standard_normal(shape, np.float32), np.float32)

    def learn(self, drawn: Transitions) -> None:
        """Do gradient steps, one for each batch of the first axis."""
        how, num = self.how, len(drawn.rewards)
        shape = num, 2, how.batch_size, self.interface.size
        noise = stream(self.seed, "noise", self.updates).standard_normal(shape, np.float32)
        mean, loss = self._update(
            self.moments.standard(drawn.observations), np.tanh(drawn.raw), drawn.rewards * np.float32(self.scale),
            drawn.weights, drawn.factors, self.moments.standard(drawn.next_observations), noise,
            np.float32(self.mean_reward * self.scale), self.rate,
        )  # fmt: skip
        self.learned(mean, loss, num)

    def _law(self, actor: Any, seen: Any) -> tuple[Any, Any]:
        from wirelesslab.tensorflow import tf

        given = tf.reshape(outputs(self.layout.tensors(actor)[0][0], seen), (-1, self.interface.size, 2))
        return given[..., 0], tf.clip_by_value(given[..., 1], LEAST_LOG_SPREAD, MOST_LOG_SPREAD)

    def _worth(self, critics: Any, seen: Any, actions: Any) -> tuple[Any, Any]:
        from wirelesslab.tensorflow import tf

        both = tf.concat([seen, actions[..., None] if self.interface.rows else actions], axis=-1)
        first, second = self.critic_layout.tensors(critics)[0]
        return outputs(first, both, "relu", pool=True)[:, 0], outputs(second, both, "relu", pool=True)[:, 0]

    def _improve(self, *given: Any) -> tuple[Any, Any]:
        *batches, mean_reward, rate = given
        return several_updates(lambda *batch: self._improve_once(*batch, rate=rate), batches, mean_reward)

    def _improve_once(
        self, seen: Any, actions: Any, rewards: Any, weights: Any, factors: Any, following: Any, noise: Any,
        mean_reward: Any, *, rate: Any,
    ) -> tuple[Any, Any]:  # fmt: skip
        from wirelesslab.tensorflow import tf

        heat = tf.exp(self.heat.values[0])
        next_actions, next_logs = squeezed_log_density(*self._law(self.actor.values, following), noise[0])
        later = tf.minimum(*self._worth(self.slow, following, next_actions)) - heat * next_logs
        wanted = rewards - mean_reward * weights + factors * later
        with tf.GradientTape() as tape:
            first, second = self._worth(self.critics.values, seen, actions)
            loss = 0.5 * tf.reduce_mean((first - wanted) ** 2 + (second - wanted) ** 2)
        self.critics.step(tape.gradient(loss, self.critics.values), rate)
        with tf.GradientTape() as tape:
            own, logs = squeezed_log_density(*self._law(self.actor.values, seen), noise[1])
            regret = tf.reduce_mean(heat * logs - tf.minimum(*self._worth(self.critics.values, seen, own)))
        self.actor.step(tape.gradient(regret, self.actor.values), rate)
        self.heat.step(heat_gradient(logs, self.how.target_entropy * self.interface.size)[None], rate)
        self.slow.assign_add(self.how.target_rate * (self.critics.values - self.slow))
        if self.how.centre:
            mean_reward += MEAN_RATE * tf.reduce_mean(wanted - first)
        return mean_reward, loss

    def net(self) -> DenseNet:
        """Return the policy's net: medians on the whole line."""
        return policy_net(self.layers, self.moments, slice(0, None, 2))

    def figures(self) -> dict[str, float]:
        """Return the critics' loss and the temperature, and the mean reward where it is subtracted."""
        return self.shown(temperature=float(np.exp(self.heat.numpy()[0])))


def heat_gradient(logs: Any, target_entropy: float) -> Any:
    """Return the gradient for the temperature's logarithm, in TensorFlow: down where entropy is above its target.

    Args:
        logs: Log-densities of actions drawn from the policy.
        target_entropy: In nats.
    """
    from wirelesslab.tensorflow import tf

    return -(tf.reduce_mean(logs) + target_entropy)
