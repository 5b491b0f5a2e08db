"""PPO: a policy goes uphill in small steps, on what it just did itself (Schulman et al., arXiv 1707.06347).

Choices are drawn from a masked softmax, `Box` actions from a normal law on the whole line that tanh squeezes into the
bounds: the squeezing cancels in the ratio of densities, and one form of policy serves SAC too. (A Beta law has no tail
to squeeze, but gradients that explode where an action nears its bound.) For tasks that never end the mean reward may
be subtracted (Zhang and Ross, ICML 2021; Ma et al., arXiv 2106.03442), with a discount of up to 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.learners.moments import Moments
from wirelesslab.network.learners.nets import Adam, Layout, numpy_outputs, outputs, policy_net
from wirelesslab.network.learners.policies import NEVER, Interface
from wirelesslab.network.learners.steps import Step, checked_discount
from wirelesslab.rng import stream

Floats = NDArray[np.float64]
LOG_SPREADS = -5.0, 0.5  # a wider law would only be squeezed into both bounds, however well entropy were paid
FORGET = 0.1  # of the moving means of rewards and returns, once they are ten rollouts old


@dataclass(frozen=True, kw_only=True)
class PPO:
    """How a policy is improved.

    Attributes:
        hidden: Units of the hidden layers of policy and value net, tanh.
        discount: Of a step; up to 1 when `centre`.
        trace: λ of generalised advantages (Schulman et al., ICLR 2016): 0 trusts the value net, 1 the rewards.
        centre: Subtract the mean reward, for tasks that never end.
        rollout: Steps of every environment between two improvements.
        epochs: Times that each rollout is gone through.
        minibatches: Parts of it, one gradient step each.
        clip: How far the ratio of new to old probability may go before it earns nothing more.
        learning_rate: Of Adam; falls to `final_share` of it over the training.
        final_share: See `learning_rate`.
        entropy: What a nat of the policy's entropy is worth, in standard deviations of the advantage.
        value_weight: Of the value net's squared error, in units of its standardised targets.
        clip_norm: Largest norm of a gradient.
        first_spread: Of `Box` actions at the beginning, on the whole line; tanh leaves [-1, 1] of it.
    """

    hidden: tuple[int, ...] = (64, 64)
    discount: float = 0.99
    trace: float = 0.95
    centre: bool = False
    rollout: int = 64
    epochs: int = 6
    minibatches: int = 4
    clip: float = 0.2
    learning_rate: float = 1e-3
    final_share: float = 0.05
    entropy: float = 0.003
    value_weight: float = 0.5
    clip_norm: float = 0.5
    first_spread: float = 0.6

    def __post_init__(self) -> None:
        check.positive_integer(
            rollout=self.rollout, epochs=self.epochs, minibatches=self.minibatches,
            **{f"hidden[{i}]": units for i, units in enumerate(self.hidden)},
        )  # fmt: skip
        checked_discount(self.discount)
        check.positive(
            clip=self.clip, learning_rate=self.learning_rate, clip_norm=self.clip_norm,
            value_weight=self.value_weight, first_spread=self.first_spread,
        )  # fmt: skip
        check.within(0, 1, trace=self.trace)
        check.probability(final_share=self.final_share)
        check.within(0, 1, entropy=self.entropy)
        if self.discount == 1 and not self.centre:
            msg = "discount: got 1 without centre, expected less than 1; returns of a task that never ends are infinite"
            raise ValueError(msg)

    def begin(self, interface: Interface, *, num_envs: int, steps: int, seed: int) -> "_Learning":
        """Return a learning at its beginning; see `Learner`."""
        if num_envs * self.rollout < self.minibatches:
            msg = f"minibatches: got {self.minibatches}, expected at most {num_envs * self.rollout}, a rollout's steps"
            raise ValueError(msg)
        return _Learning(self, interface, steps, seed)


def advantages(
    rewards: Floats, values: Floats, next_values: Floats, terminated: NDArray[np.bool_], ended: NDArray[np.bool_], *,
    discount: float, trace: float,
) -> Floats:  # fmt: skip
    r"""Return generalised advantages $A_t = \delta_t + \gamma \lambda A_{t+1}$, over time within each episode.

    Args:
        rewards: Shape (time, envs).
        values: Of what was seen.
        next_values: Of what was seen next, the last of an episode where it ended.
        terminated: The end was real: the next value counts for nothing.
        ended: An episode ended, for either reason: no advantage is handed back over this border.
        discount: $\gamma$.
        trace: $\lambda$.
    """
    errors = rewards + discount * next_values * ~terminated - values
    result, later = np.zeros_like(errors), np.zeros(errors.shape[1])
    for t in reversed(range(len(errors))):
        later = errors[t] + discount * trace * later * ~ended[t]
        result[t] = later
    return result


def clipped_gain(log_ratios: Any, gains: Any, clip: float) -> Any:
    """Return PPO's objective for each action, in TensorFlow: nothing more is earned beyond the clip."""
    from wirelesslab.tensorflow import tf

    ratios = tf.exp(log_ratios)
    return tf.minimum(ratios * gains, tf.clip_by_value(ratios, 1 - clip, 1 + clip) * gains)


def choice_law(scores: Any, masks: Any, actions: Any) -> tuple[Any, Any]:
    """Return log-probability of choices and entropy of their law, shape (batch,), in TensorFlow."""
    from wirelesslab.tensorflow import tf

    logs = tf.nn.log_softmax(tf.where(masks, scores, NEVER))
    entropy = -tf.reduce_sum(tf.where(masks, tf.exp(logs) * logs, 0.0), axis=1)
    return tf.gather(logs, actions, axis=1, batch_dims=1), entropy


def normal_law(means: Any, log_spread: Any, raw: Any) -> tuple[Any, Any]:
    """Return log-density on the whole line and entropy, summed over numbers, shape (batch,), in TensorFlow."""
    from wirelesslab.tensorflow import tf

    logs = -0.5 * ((raw - means) * tf.exp(-log_spread)) ** 2 - log_spread - 0.5 * np.log(2 * np.pi)
    entropy = log_spread + 0.5 * (np.log(2 * np.pi) + 1) + tf.zeros_like(means)
    return tf.reduce_sum(logs, axis=1), tf.reduce_sum(entropy, axis=1)


class _Learning:
    """PPO at work; between two rollouts its nets are all it has."""

    def __init__(self, how: PPO, interface: Interface, steps: int, seed: int) -> None:
        from wirelesslab.tensorflow import tf

        self.how, self.interface, self.steps, self.seed = how, interface, steps, seed
        size, free = (1, 1) if interface.rows else (interface.size, interface.size)
        nets = ((interface.features, *how.hidden, size), (interface.features, *how.hidden, 1))
        self.layout = Layout(nets, 0 if interface.discrete else free)
        initial = self.layout.initial(seed, [0.01, 1.0], float(np.log(how.first_spread)))
        self.adam = Adam(initial, how.clip_norm, epsilon=1e-5)
        self.moments = Moments(interface.features)
        self.step, self.acts, self.rollouts = 0, 0, 0
        self.mean_reward, self.value_middle, self.value_spread = 0.0, 0.0, 1.0
        self.held: list[Step] = []
        self.shown = {"entropy": float("nan"), "moved": float("nan")}
        self._judge = tf.function(self._law_and_value, autograph=False, reduce_retracing=True)
        self._update = tf.function(self._improve, autograph=False, reduce_retracing=True)
        self._take()

    @property
    def pauses_next(self) -> bool:
        """Whether the rollout ends with the next step."""
        return len(self.held) + 1 == self.how.rollout

    def act(self, observations: NDArray[np.float32], masks: NDArray[np.bool_]) -> NDArray[Any]:
        """Return a draw from the policy."""
        rng = stream(self.seed, "act", self.acts)
        self.acts += 1
        given = numpy_outputs(self.layers, self.moments.standard(observations))
        given = given[..., 0] if self.interface.rows else given
        if self.interface.discrete:  # the greatest of scores with Gumbel noise is a draw from their softmax
            return np.asarray(np.argmax(np.where(masks, given + rng.gumbel(size=given.shape), -np.inf), axis=1))
        noise = rng.standard_normal(given.shape, np.float32)
        return np.asarray(given + np.exp(np.clip(self.log_spread, *LOG_SPREADS)) * noise, np.float32)

    def see(self, step: Step) -> None:
        """Keep a step; improve the policy at the end of a rollout."""
        self.held.append(step)
        self.step += len(step.rewards)
        if len(self.held) == self.how.rollout:
            whole: list[Any] = [np.stack(parts) for parts in zip(*self.held, strict=True)]
            self._learn(Step(*whole))
            self.held = []

    def _learn(self, past: Step) -> None:
        """Improve the policy; `past` has a first axis of time."""
        how, shape = self.how, past.rewards.shape
        parts: list[Any] = [part.reshape(-1, *part.shape[2:]) for part in past]
        flat = Step(*parts)
        # What was done is judged by the net as it stands with these new moments, old probabilities included: ratios
        # begin at 1, and what moments move between two rollouts, little after the first few, is not corrected for.
        self.moments.see(flat.observations[flat.valid])
        self.rollouts += 1
        forget = max(FORGET, 1 / self.rollouts)
        self.mean_reward += forget * (float(past.rewards[past.valid].mean()) - self.mean_reward) if how.centre else 0.0
        seen = self.moments.standard(flat.observations)
        raw = flat.raw.astype(np.int32) if self.interface.discrete else flat.raw
        logs, given = (told.numpy() for told in self._judge(seen, flat.masks, raw))
        values = (self.value_middle + self.value_spread * given.astype(np.float64)).reshape(shape)
        next_values = np.concatenate([values[1:], np.zeros((1, shape[1]))])
        apart = past.ended.copy()  # where what was seen next is not what was seen in the step after
        apart[-1] = True
        where = np.nonzero(apart & ~past.terminated)
        next_values[where] = self._values(past.next_observations[where])
        gains = advantages(
            (past.rewards - self.mean_reward).astype(np.float64), values, next_values, past.terminated, past.ended,
            discount=how.discount, trace=how.trace,
        )  # fmt: skip
        wanted = gains + values
        self._restandardise(wanted[past.valid], forget)
        good = gains[past.valid]
        gains = (gains - good.mean()) / (good.std() + 1e-8)
        wanted = (wanted - self.value_middle) / self.value_spread
        whole = [seen, flat.masks, raw, logs, *(v.reshape(-1).astype(np.float32) for v in (gains, wanted))]
        which = np.flatnonzero(flat.valid)
        self._go_through([one[which] for one in whole])
        self._take()

    def _go_through(self, whole: list[NDArray[Any]]) -> None:
        how, num = self.how, len(whole[0])
        rng = stream(self.seed, "minibatches", self.rollouts)
        rate = np.float32(how.learning_rate * (1 - (1 - how.final_share) * min(1.0, self.step / self.steps)))
        size, shown = max(1, num // how.minibatches), []
        for _ in range(how.epochs):
            order = rng.permutation(num)
            for first in range(0, min(num, size * how.minibatches), size):
                shown.append(self._update(*(part[order[first : first + size]] for part in whole), rate))
        self.shown = {"entropy": float(shown[-1][0]), "moved": float(shown[-1][1])}

    def _outputs(self, seen: Any, masks: Any, raw: Any) -> tuple[Any, Any, Any]:
        """Log-probabilities of what was done, entropies, and standardised values."""
        from wirelesslab.tensorflow import tf

        (policy, critic), log_spread = self.layout.tensors(self.adam.values)
        given = outputs(policy, seen)
        given = given[..., 0] if self.interface.rows else given
        if self.interface.discrete:
            logs, entropy = choice_law(given, masks, raw)
        else:
            logs, entropy = normal_law(given, tf.clip_by_value(log_spread, *LOG_SPREADS), raw)
        return logs, entropy, outputs(critic, seen, pool=True)[:, 0]

    def _law_and_value(self, seen: Any, masks: Any, raw: Any) -> tuple[Any, Any]:
        logs, _, values = self._outputs(seen, masks, raw)
        return logs, values

    def _improve(self, seen: Any, masks: Any, raw: Any, old: Any, gains: Any, wanted: Any, rate: Any) -> Any:
        from wirelesslab.tensorflow import tf

        how = self.how
        with tf.GradientTape() as tape:
            logs, entropy, values = self._outputs(seen, masks, raw)
            gain = tf.reduce_mean(clipped_gain(logs - old, gains, how.clip))
            error = 0.5 * tf.reduce_mean((values - wanted) ** 2)
            loss = how.value_weight * error - gain - how.entropy * tf.reduce_mean(entropy)
        self.adam.step(tape.gradient(loss, self.adam.values), rate)
        moved = tf.reduce_mean(tf.cast(tf.abs(logs - old) > np.log(1 + how.clip), tf.float32))
        return tf.reduce_mean(entropy), moved

    def _values(self, observations: NDArray[np.float32]) -> Floats:
        seen = self.moments.standard(observations)
        given = numpy_outputs(self.critic, seen, pool=self.interface.rows)
        return self.value_middle + self.value_spread * given[:, 0].astype(np.float64)

    def _restandardise(self, wanted: Floats, forget: float) -> None:
        """Let the value net speak in new units without changing what it says (van Hasselt et al., PopArt, 2016)."""
        middle = self.value_middle + forget * (float(wanted.mean()) - self.value_middle)
        square = self.value_spread**2 + self.value_middle**2
        square = (float((wanted**2).mean()) - square) * forget + square
        spread = max(np.sqrt(max(square - middle**2, 0.0)), 1e-6 * (1 + abs(middle)))
        if self.rollouts > 1:  # before, it had nothing to say
            flat = self.adam.numpy()
            kernel, bias = self.layout.split(flat)[0][1][-1]  # views
            kernel *= self.value_spread / spread
            bias[:] = (self.value_spread * bias + self.value_middle - middle) / spread
            self.adam.values.assign(flat)
        self.value_middle, self.value_spread = middle, float(spread)

    def _take(self) -> None:
        """Take the nets from TensorFlow to NumPy, for acting."""
        (self.layers, self.critic), self.log_spread = self.layout.split(self.adam.numpy())

    def net(self) -> DenseNet:
        """Return the policy's net: scores of choices, or medians on the whole line."""
        return policy_net(self.layers, self.moments)

    def figures(self) -> dict[str, float]:
        """Return entropy, the share of actions beyond the clip, and the mean reward where it is subtracted."""
        return {**self.shown, **({"mean reward": self.mean_reward} if self.how.centre else {})}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all that a checkpoint must keep, between two rollouts."""
        numbers = [self.step, self.acts, self.rollouts, self.mean_reward, self.value_middle, self.value_spread]
        return {"numbers": np.array(numbers), **self.adam.arrays("nets"), **self.moments.arrays()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        numbers = arrays["numbers"].tolist()
        self.step, self.acts, self.rollouts = (int(n) for n in numbers[:3])
        self.mean_reward, self.value_middle, self.value_spread = numbers[3:]
        self.moments.restore(arrays)
        self.adam.restore("nets", arrays)
        self._take()
