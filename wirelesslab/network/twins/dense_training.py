"""Fit a small dense network with Keras; the one file of the twins that needs TensorFlow, when called."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.dense_nets import MIDDLE, SPREAD, DenseNet

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What networks are trained with, each on its own part, and judged by.

    Attributes:
        inputs: Shape (examples, inputs).
        targets: Shape (examples, outputs).
        learn: What an error on each example costs each network in training, shape (networks, examples); 0 where it
            may not look.
        judge: The same in its validation.
    """

    inputs: Floats
    targets: Floats
    learn: Floats
    judge: Floats


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a small network is fitted: all examples in every step, by Adam; nothing in it is random.

    Attributes:
        steps: Steps of the optimiser.
        judge_every: Steps between judgements on the validation examples; the best network so far is kept,
            the one from before training among them.
        learning_rate: Adam's, falling to a tenth over the steps.
        weight_decay: Price of the squares of all kernels, unless told for each network.
        tolerance: Errors well below this count by their squares, those above by their size.
    """

    steps: int = 600
    judge_every: int = 50
    learning_rate: float = 0.02
    weight_decay: float = 1e-4
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        check.positive_integer(steps=self.steps, judge_every=self.judge_every)
        check.positive(learning_rate=self.learning_rate, tolerance=self.tolerance)
        check.within(0, 1, weight_decay=self.weight_decay)


def loss_of(net: DenseNet, inputs: Floats, targets: Floats, weights: Floats, tolerance: float) -> float:
    """Mean weighted pseudo-Huber loss, in units of the outputs: about |error| for errors above the tolerance."""
    seen = np.flatnonzero(weights)
    errors = net(inputs[seen]) - targets[seen]
    losses = np.sqrt(errors**2 + tolerance**2) - tolerance
    return float((weights[seen, None] * losses).mean() / weights[seen].mean())


def as_keras(net: DenseNet) -> Any:
    """Return the same network as a Keras model."""
    from wirelesslab.tensorflow import tf

    keras = tf.keras
    normal = keras.layers.Normalization(mean=net.arrays[MIDDLE], variance=net.arrays[SPREAD].astype(float) ** 2)
    inside = [keras.layers.Dense(units, activation="tanh") for units in net.sizes[1:-1]]
    model = keras.Sequential([keras.Input((net.sizes[0],)), normal, *inside, keras.layers.Dense(net.sizes[-1])])
    dense = model.layers[1:]
    for number, layer in enumerate(dense):
        layer.set_weights([net.arrays[f"kernel {number}"], net.arrays[f"bias {number}"]])
    return model


def train(
    nets: Sequence[DenseNet], examples: Examples, how: Training, decays: Sequence[float] | None = None
) -> list[tuple[DenseNet, float]]:
    """Train networks of one shape side by side, each on its own part of the examples.

    Args:
        nets: Equal in sizes and standardisation.
        examples: What they learn from.
        how: The training.
        decays: Weight decay of each; the training's when None.

    Returns:
        For each, the network with the least loss on its validation part - the one that came, or one on the way -
        and that loss.
    """
    from wirelesslab.tensorflow import tf

    first = nets[0]
    layers = len(first.sizes) - 1
    inputs = tf.constant((examples.inputs - first.arrays[MIDDLE]) / first.arrays[SPREAD], tf.float32)[None]
    targets = tf.constant(examples.targets, tf.float32)[None]  # (1, examples, outputs)
    learn = tf.constant(examples.learn / examples.learn.mean(axis=1, keepdims=True), tf.float32)[..., None]
    price = tf.constant([how.weight_decay] * len(nets) if decays is None else list(decays), tf.float32)
    kernels = [tf.Variable(np.stack([net.arrays[f"kernel {i}"] for net in nets])) for i in range(layers)]
    biases = [tf.Variable(np.stack([net.arrays[f"bias {i}"] for net in nets])[:, None]) for i in range(layers)]
    variables = [*kernels, *biases]
    optimizer = tf.keras.optimizers.Adam(how.learning_rate)
    optimizer.build(variables)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator, unused-ignore]
    def step(rate: Any) -> None:
        with tf.GradientTape() as tape:
            values = tf.repeat(inputs, len(nets), axis=0)  # (networks, examples, inputs)
            for i in range(layers):
                values = values @ kernels[i] + biases[i]
                values = tf.tanh(values) if i < layers - 1 else values
            losses = tf.sqrt((values - targets) ** 2 + how.tolerance**2) - how.tolerance
            squares = tf.add_n([tf.reduce_sum(kernel**2, axis=(1, 2)) for kernel in kernels])
            loss = tf.reduce_sum(tf.reduce_mean(learn * losses, axis=(1, 2)) + price * squares)
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    def judged(net: DenseNet, number: int) -> tuple[DenseNet, float]:
        return net, loss_of(net, examples.inputs, examples.targets, examples.judge[number], how.tolerance)

    best = [judged(net, number) for number, net in enumerate(nets)]
    for number in range(how.steps):
        step(tf.constant(how.learning_rate * 0.1 ** (number / how.steps), tf.float32))
        if (number + 1) % how.judge_every == 0 or number + 1 == how.steps:
            now = [judged(net, k) for k, net in enumerate(_nets(first, kernels, biases))]
            best = [min(pair, key=lambda one: one[1]) for pair in zip(best, now, strict=True)]
    return best


def _nets(first: DenseNet, kernels: Sequence[Any], biases: Sequence[Any]) -> list[DenseNet]:
    """Return the networks of stacked variables."""
    stacks = {f"kernel {i}": kernel.numpy() for i, kernel in enumerate(kernels)}
    stacks |= {f"bias {i}": bias.numpy()[:, 0] for i, bias in enumerate(biases)}
    scales = {name: first.arrays[name] for name in (MIDDLE, SPREAD)}
    num = len(stacks["bias 0"])
    return [DenseNet(scales | {name: stack[number] for name, stack in stacks.items()}) for number in range(num)]
