"""Fit a small dense network with Keras; the one file of the twins that needs TensorFlow, when called."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.twins.dense_nets import MIDDLE, SPREAD, DenseNet

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Examples:
    """What is learned from, or judged by.

    Attributes:
        inputs: Shape (examples, inputs).
        targets: Shape (examples, outputs).
        weights: What an error on each example costs, shape (examples,).
    """

    inputs: Floats
    targets: Floats
    weights: Floats


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a small network is fitted: all examples in every step, by Adam; nothing in it is random.

    Attributes:
        steps: Steps of the optimiser.
        judge_every: Steps between judgements on the validation examples; the best network so far is kept,
            the one from before training among them.
        learning_rate: Adam's, falling to a tenth over the steps.
        weight_decay: Price of the squares of all kernels.
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


def loss_of(net: DenseNet, examples: Examples, tolerance: float) -> float:
    """Mean weighted pseudo-Huber loss, in units of the outputs: about |error| for errors above the tolerance."""
    errors = net(examples.inputs) - examples.targets
    losses = np.sqrt(errors**2 + tolerance**2) - tolerance
    return float((examples.weights[:, None] * losses).mean() / examples.weights.mean())


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


def from_keras(model: Any, net: DenseNet) -> DenseNet:
    """Return the network with the weights that the model has now."""
    arrays = {MIDDLE: net.arrays[MIDDLE], SPREAD: net.arrays[SPREAD]}
    for number, layer in enumerate(model.layers[1:]):
        arrays[f"kernel {number}"], arrays[f"bias {number}"] = layer.get_weights()
    return DenseNet(arrays)


def train(net: DenseNet, training: Examples, validation: Examples, how: Training) -> DenseNet:
    """Return the network with the least loss on the validation examples: the one that came, or one on the way."""
    from wirelesslab.tensorflow import tf

    model = as_keras(net)
    inputs = tf.constant((training.inputs - net.arrays[MIDDLE]) / net.arrays[SPREAD], tf.float32)
    targets = tf.constant(training.targets, tf.float32)
    weights = tf.constant(training.weights[:, None] / training.weights.mean(), tf.float32)
    optimizer = tf.keras.optimizers.Adam(how.learning_rate)
    layers, variables = model.layers[1:], model.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False, jit_compile=False)  # type: ignore[untyped-decorator, unused-ignore]
    def step(rate: Any) -> None:
        with tf.GradientTape() as tape:
            values = inputs
            for layer in layers:
                values = layer(values)
            losses = tf.sqrt((values - targets) ** 2 + how.tolerance**2) - how.tolerance
            decay = tf.add_n([tf.reduce_sum(layer.kernel**2) for layer in layers])
            loss = tf.reduce_mean(weights * losses) + how.weight_decay * decay
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))

    best, least = net, loss_of(net, validation, how.tolerance)
    for number in range(how.steps):
        step(tf.constant(how.learning_rate * 0.1 ** (number / how.steps), tf.float32))
        if (number + 1) % how.judge_every == 0 or number + 1 == how.steps:
            candidate = from_keras(model, net)
            loss = loss_of(candidate, validation, how.tolerance)
            if loss < least:
                best, least = candidate, loss
    return best
