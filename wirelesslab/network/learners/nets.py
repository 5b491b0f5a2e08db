"""Small dense networks for learning: all parameters of a learner lie in one flat vector.

One vector makes a target network one assignment, Adam five operations, and a checkpoint three arrays: with nets as
small as these a step of training costs as much in TensorFlow's operations as in arithmetic.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.dense_nets import MIDDLE, SPREAD, DenseNet
from wirelesslab.network.learners.moments import Moments
from wirelesslab.rng import stream

Floats32 = NDArray[np.float32]
Layers = Sequence[tuple[Any, Any]]  # kernel (in, out) and bias (out,) of each layer


@dataclass(frozen=True)
class Layout:
    """Where the nets and free numbers of a learner lie in its vector.

    Attributes:
        nets: Sizes of each net: inputs, hidden units, outputs.
        free: Numbers at the end that belong to no net.
    """

    nets: tuple[tuple[int, ...], ...]
    free: int = 0

    @property
    def shapes(self) -> list[list[tuple[tuple[int, int], tuple[int]]]]:
        """Shapes of kernel and bias of each layer of each net."""
        return [[((a, b), (b,)) for a, b in itertools.pairwise(sizes)] for sizes in self.nets]

    @property
    def lengths(self) -> list[int]:
        """Lengths of all parts, in order."""
        parts = [int(np.prod(shape)) for net in self.shapes for layer in net for shape in layer]
        return [*parts, self.free] if self.free else parts

    def initial(self, seed: int, last_scales: Sequence[float], free: float = 0.0) -> Floats32:
        """Return parameters: kernels uniform after Glorot and Bengio, biases 0.

        Args:
            seed: Of the kernels.
            last_scales: What the last kernel of each net is scaled by; a small one begins near 0 for every input.
            free: Value of the free numbers.
        """
        rng = stream(seed, "learner's parameters")
        parts = []
        for net, scale in zip(self.shapes, last_scales, strict=True):
            for layer, ((before, after), _) in enumerate(net):
                limit = np.sqrt(6 / (before + after)) * (scale if layer == len(net) - 1 else 1.0)
                parts += [rng.uniform(-limit, limit, before * after), np.zeros(after)]
        return np.concatenate([*parts, np.full(self.free, free)]).astype(np.float32)

    def split(self, flat: NDArray[Any]) -> tuple[list[Layers], NDArray[Any]]:
        """Return views of the nets' layers, and the free numbers, of a vector of NumPy's."""
        parts = np.split(flat, np.cumsum(self.lengths)[:-1])
        return self._shaped(parts, np.reshape), parts[-1] if self.free else flat[:0]

    def tensors(self, flat: Any) -> tuple[list[Layers], Any]:
        """Return the nets' layers, and the free numbers, of a vector of TensorFlow's."""
        from wirelesslab.tensorflow import tf

        parts = tf.split(flat, self.lengths)
        return self._shaped(parts, tf.reshape), parts[-1] if self.free else None

    def _shaped(self, parts: Sequence[Any], reshape: Any) -> list[Layers]:
        at = iter(parts)
        nets: list[Layers] = []
        for net in self.shapes:
            nets.append([(reshape(next(at), kernel), reshape(next(at), bias)) for kernel, bias in net])
        return nets


def numpy_outputs(layers: Layers, inputs: Floats32, *, pool: bool = False) -> Floats32:
    """Return the outputs of a tanh net for standardised inputs, shape (..., inputs): what `outputs` gives, by NumPy.

    Args:
        layers: Of the net.
        inputs: Standardised, shape (..., inputs).
        pool: As in `outputs`: take the mean over the axis before the last after the first layer.

    Returns:
        Shape (..., outputs), without the axis of rows where they were pooled.
    """
    shape, values = inputs.shape[:-1], inputs.reshape(-1, inputs.shape[-1])
    for number, (kernel, bias) in enumerate(layers):
        values = values @ kernel + bias
        if number < len(layers) - 1:
            values = np.tanh(values)
        if pool and number == 0:
            values, shape = values.reshape(-1, shape[-1], values.shape[-1]).mean(axis=1), shape[:-1]
    return values.reshape(*shape, values.shape[-1])


def outputs(layers: Layers, inputs: Any, activation: str = "tanh", *, pool: bool = False) -> Any:
    """Return the outputs, in TensorFlow.

    Args:
        layers: Of the net.
        inputs: Shape (batch, inputs), or (batch, rows, inputs): the net is applied to every row.
        activation: Of hidden layers, "tanh" or "relu".
        pool: Take the mean over rows after the first layer, so that the net answers for all rows together, whatever
            their order (Zaheer et al., Deep Sets, NeurIPS 2017).
    """
    from wirelesslab.tensorflow import tf

    bend = tf.tanh if activation == "tanh" else tf.nn.relu
    rows = inputs.shape[1] if len(inputs.shape) == 3 else 0
    values = tf.reshape(inputs, (-1, inputs.shape[-1]))  # one product of matrices, not one for each of the batch
    for number, (kernel, bias) in enumerate(layers):
        values = values @ kernel + bias
        if number < len(layers) - 1:
            values = bend(values)
        if pool and rows and number == 0:
            values, rows = tf.reduce_mean(tf.reshape(values, (-1, rows, values.shape[-1])), axis=1), 0
    return tf.reshape(values, (-1, rows, values.shape[-1])) if rows else values


def policy_net(layers: Layers, moments: Moments, keep: slice = slice(None)) -> DenseNet:
    """Return a net with its standardisation; of the last layer's outputs those to keep."""
    arrays = {MIDDLE: moments.middle, SPREAD: moments.spread}
    for number, (kernel, bias) in enumerate(layers):
        last = number == len(layers) - 1
        arrays[f"kernel {number}"] = kernel[:, keep] if last else kernel
        arrays[f"bias {number}"] = bias[keep] if last else bias
    return DenseNet(arrays)


def several_updates(update: Any, batches: Sequence[Any], mean_reward: Any) -> tuple[Any, Any]:
    """Do one gradient step after the other within one call of a compiled function, in TensorFlow.

    Args:
        update: Called with the arrays of one step and the mean reward; returns the new mean reward and a loss.
        batches: Arrays whose first axis counts the steps.
        mean_reward: Before the first.

    Returns:
        The mean reward after the last, and its loss.
    """
    from wirelesslab.tensorflow import tf

    num = tf.shape(batches[0])[0]

    def body(at: Any, mean: Any, loss: Any) -> tuple[Any, Any, Any]:
        del loss
        return at + 1, *update(*(batch[at] for batch in batches), mean)

    first = tf.constant(0), mean_reward, tf.constant(0.0)
    _, mean_reward, loss = tf.while_loop(lambda at, *_: at < num, body, first, parallel_iterations=1)
    return mean_reward, loss


class Adam:
    """Adam (Kingma and Ba, ICLR 2015) on a flat vector, with its parameters.

    Args:
        initial: Parameters.
        clip_norm: Largest norm of a gradient; longer ones are shortened to it.
        epsilon: Beside the root of the second moment.
    """

    def __init__(self, initial: Floats32, clip_norm: float = np.inf, epsilon: float = 1e-7) -> None:
        from wirelesslab.tensorflow import tf

        self.values = tf.Variable(initial)
        self.first, self.second = tf.Variable(np.zeros_like(initial)), tf.Variable(np.zeros_like(initial))
        self.count = tf.Variable(0.0)
        self.clip_norm, self.epsilon = clip_norm, epsilon

    def step(self, gradient: Any, rate: Any) -> None:
        """Go one step down; inside a compiled function."""
        from wirelesslab.tensorflow import tf

        if np.isfinite(self.clip_norm):
            gradient = tf.clip_by_norm(gradient, self.clip_norm)
        count = self.count.assign_add(1.0)
        first = self.first.assign(0.9 * self.first + 0.1 * gradient)
        second = self.second.assign(0.999 * self.second + 0.001 * gradient**2)
        long = rate * tf.sqrt(1 - 0.999**count) / (1 - 0.9**count)
        self.values.assign_sub(long * first / (tf.sqrt(second) + self.epsilon))

    def numpy(self) -> Floats32:
        """Return the parameters."""
        return np.array(self.values.numpy(), np.float32)

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Return parameters and moments under names that begin with `name`."""
        parts = {"values": self.values, "first": self.first, "second": self.second, "count": self.count}
        return {f"{name} {part}": variable.numpy() for part, variable in parts.items()}

    def restore(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take what `arrays` gave."""
        parts = {"values": self.values, "first": self.first, "second": self.second, "count": self.count}
        for part, variable in parts.items():
            variable.assign(arrays[f"{name} {part}"])
