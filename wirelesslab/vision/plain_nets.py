"""Small convolutional classifiers in NumPy alone: where a step must cost less than a call into TensorFlow.

Studies of how gradients travel take millions of steps of nets that have ten thousand weights. These are made for that:
float32, deterministic on one BLAS thread, gradients checked against differences, operations counted by layer.
`LENET` is the classic of 431,080 parameters on 28 x 28 images, `DIGITS` a net for 8 x 8 ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod, sqrt
from typing import Any, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.threads import one_blas_thread

Array = NDArray[np.float32]
Batch = tuple[Array, NDArray[np.integer[Any]]]
OPTIMIZERS = ("sgd", "momentum", "adam")


@dataclass(frozen=True, kw_only=True)
class PlainNet:
    """Convolutions with ReLU and 2 x 2 maximum pooling, then dense layers; softmax at the end. A `Learner`.

    Attributes:
        image: Height, width and channels of the images.
        channels: Of each convolution.
        kernel: Side of the convolutions.
        pad: Zeros around the images before each convolution.
        hidden: Units of the dense layers in between.
        classes: Classes.
        optimizer: "sgd", "momentum" (0.9) or "adam" (0.9, 0.999, 1e-8).
        rate: Learning rate at the beginning.
        decay_steps: Steps after which the rate has fallen to 0, linearly; 0 keeps it.
        weight_decay: Added to the mean gradient, at every worker alike: it does not travel.
    """

    image: tuple[int, int, int] = (8, 8, 1)
    channels: tuple[int, ...] = (8, 16)
    kernel: int = 3
    pad: int = 1
    hidden: tuple[int, ...] = (160,)
    classes: int = 10
    optimizer: Literal["sgd", "momentum", "adam"] = "momentum"
    rate: float = 0.05
    decay_steps: int = 0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        check.positive_integer(kernel=self.kernel, classes=self.classes)
        check.non_negative_integer(pad=self.pad, decay_steps=self.decay_steps)
        check.one_of(OPTIMIZERS, optimizer=self.optimizer)
        check.positive(rate=self.rate)
        check.within(0, 1, weight_decay=self.weight_decay)
        for height, width, _ in self._maps():
            if min(height, width) < 1:
                msg = f"image: {self.image} is too small for {len(self.channels)} convolutions; raise pad"
                raise ValueError(msg)

    def _maps(self) -> list[tuple[int, int, int]]:
        """Shapes after each convolution and its pooling; odd rows and columns at the end are dropped."""
        shapes, (height, width, _) = [], self.image
        for channels in self.channels:
            height, width = ((side + 2 * self.pad - self.kernel + 1) // 2 for side in (height, width))
            shapes.append((height, width, channels))
        return shapes

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the weights: kernel and bias of each layer."""
        maps = [self.image, *self._maps()]
        shapes: list[tuple[int, ...]] = []
        for before, after in pairwise(maps):
            shapes += [(self.kernel, self.kernel, before[2], after[2]), (after[2],)]
        units = [prod(maps[-1]), *self.hidden, self.classes]
        for inputs, outputs in pairwise(units):
            shapes += [(inputs, outputs), (outputs,)]
        return tuple(shapes)

    @property
    def num_parameters(self) -> int:
        """Weights and biases."""
        return sum(prod(shape) for shape in self.shapes)

    def forward_operations(self) -> int:
        """Return the multiply-accumulates of an image's forward pass, each counted as two operations."""
        maps, total = [self.image, *self._maps()], 0
        for before, after in pairwise(maps):
            height, width = (side + 2 * self.pad - self.kernel + 1 for side in before[:2])
            total += height * width * self.kernel**2 * before[2] * after[2]
        units = [prod(maps[-1]), *self.hidden, self.classes]
        return 2 * (total + sum(a * b for a, b in pairwise(units)))

    def operations(self, batch_size: int) -> int:
        """Return the operations of a gradient: the forward pass, and backward twice that."""
        return 3 * batch_size * self.forward_operations()

    # --- what a learner does ---------------------------------------------------------------------------------------

    def build(self, seed: int, /) -> dict[str, Array]:
        """Return He's random weights, zero biases, and an optimizer at rest."""
        rng, state = stream(seed, "weights"), {}
        for place, shape in enumerate(self.shapes):
            scale = sqrt(2 / prod(shape[:-1])) if len(shape) > 1 else 0.0
            state[f"weight/{place}"] = (scale * rng.standard_normal(shape)).astype(np.float32)
        for name in {"sgd": (), "momentum": ("speed",), "adam": ("first", "second")}[self.optimizer]:
            state |= {f"{name}/{place}": np.zeros(shape, np.float32) for place, shape in enumerate(self.shapes)}
        return state | {"steps": np.zeros((), np.float32)}

    def weights(self, state: Mapping[str, Array]) -> list[Array]:
        """Return the weights, in the order of `shapes`."""
        return [state[f"weight/{place}"] for place in range(len(self.shapes))]

    def gradients(self, state: Mapping[str, Array], batch: Batch, rng: np.random.Generator, /) -> list[Array]:
        """Return the gradients of the mean cross-entropy over a batch: images (B, height, width, channels), labels."""
        del rng  # nothing here is random
        images, labels = batch
        with one_blas_thread():
            scores, kept = self._forward(self.weights(state), images)
            slope = _softmax(scores)
            slope[np.arange(len(labels)), labels] -= 1
            return self._backward(self.weights(state), slope / np.float32(len(labels)), kept)

    def apply(self, state: Mapping[str, Array], gradients: Sequence[Array], /) -> dict[str, Array]:
        """Return the state one step later."""
        fresh = dict(state)
        step = float(state["steps"])
        rate = np.float32(self.rate * (max(0.0, 1 - step / self.decay_steps) if self.decay_steps else 1.0))
        fresh["steps"] = np.float32(step + 1) + np.zeros((), np.float32)
        for place, given in enumerate(gradients):
            weight = state[f"weight/{place}"]
            g = given + np.float32(self.weight_decay) * weight if self.weight_decay else given
            if self.optimizer == "sgd":
                change = g
            elif self.optimizer == "momentum":
                fresh[f"speed/{place}"] = change = np.float32(0.9) * state[f"speed/{place}"] + g
            else:
                first = np.float32(0.9) * state[f"first/{place}"] + np.float32(0.1) * g
                second = np.float32(0.999) * state[f"second/{place}"] + np.float32(0.001) * g * g
                fresh[f"first/{place}"], fresh[f"second/{place}"] = first, second
                unbiased = first / np.float32(1 - 0.9 ** (step + 1)), second / np.float32(1 - 0.999 ** (step + 1))
                change = unbiased[0] / (np.sqrt(unbiased[1]) + np.float32(1e-8))
            fresh[f"weight/{place}"] = weight - rate * change
        return fresh

    def written(self, state: Mapping[str, Array], /) -> dict[str, Array]:
        """Return the state, which is arrays already."""
        return dict(state)

    def restored(self, arrays: Mapping[str, NDArray[Any]], seed: int, /) -> dict[str, Array]:
        """Return the state that was written.

        Raises:
            ValueError: It is that of another net or optimizer.
        """
        wanted = self.build(seed)
        if {n: a.shape for n, a in wanted.items()} != {n: np.shape(a) for n, a in arrays.items()}:
            msg = f"arrays: got {sorted(arrays)}, expected the arrays of {self!r}"
            raise ValueError(msg)
        return {name: np.array(value, np.float32) for name, value in arrays.items()}

    def loss_and_accuracy(self, state: Mapping[str, Array], images: Array, labels: NDArray[Any]) -> tuple[float, float]:
        """Return the mean cross-entropy and the share of right answers."""
        with one_blas_thread():
            p = _softmax(self._forward(self.weights(state), images)[0])
        chosen = np.maximum(p[np.arange(len(labels)), labels], np.finfo(np.float32).tiny)
        return float(-np.log(chosen).mean()), float((p.argmax(axis=1) == labels).mean())

    # --- forward and backward ----------------------------------------------------------------------------------------

    def _forward(self, weights: Sequence[Array], images: Array) -> tuple[Array, list[Any]]:
        """Return scores (B, classes) and what the way back needs."""
        given = check.array(images, (None, *self.image), "B, height, width, channels", name="images")
        x: Any = given.astype(np.float32, copy=False)
        kept: list[Any] = []
        place = 0
        for _ in self.channels:
            kernel, bias = weights[place : place + 2]
            padded = np.pad(x, ((0, 0), (self.pad,) * 2, (self.pad,) * 2, (0, 0)))
            windows = sliding_window_view(padded, (self.kernel, self.kernel), axis=(1, 2))  # B, h, w, c, k, k
            columns = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, prod(kernel.shape[:3]))
            out = (columns @ kernel.reshape(columns.shape[1], -1) + bias).reshape(*windows.shape[:3], -1)
            height, width = (side // 2 for side in out.shape[1:3])
            blocks = out[:, : 2 * height, : 2 * width].reshape(len(x), height, 2, width, 2, -1)
            quads = blocks.transpose(0, 1, 3, 5, 2, 4).reshape(len(x), height, width, -1, 4)
            winner = quads.argmax(axis=-1)[..., None]
            best = np.take_along_axis(quads, winner, axis=-1)[..., 0]
            kept.append((x.shape, padded.shape, columns, out.shape, winner, best > 0))
            x, place = np.maximum(best, 0), place + 2
        kept.append(x.shape)
        x = x.reshape(len(x), -1)
        while place < len(weights):
            kept.append(x)
            x = x @ weights[place] + weights[place + 1]
            if place + 2 < len(weights):
                x = np.maximum(x, 0)
            place += 2
        return x, kept

    def _backward(self, weights: Sequence[Array], slope: Array, kept: list[Any]) -> list[Array]:
        """Return the gradients, from the loss's slope by the scores (B, classes)."""
        found: list[Array] = []
        first_dense = 2 * len(self.channels)
        for place in range(len(weights) - 2, first_dense - 1, -2):
            x = kept[len(self.channels) + 1 + (place - first_dense) // 2]
            found = [x.T @ slope, slope.sum(axis=0), *found]
            slope = slope @ weights[place].T
            if place > first_dense:
                slope *= x > 0
        slope = slope.reshape(kept[len(self.channels)])
        for layer in range(len(self.channels) - 1, -1, -1):
            shape, padded_shape, columns, out_shape, winner, positive = kept[layer]
            height, width = slope.shape[1:3]
            quads = np.zeros((*winner.shape[:-1], 4), np.float32)
            np.put_along_axis(quads, winner, (slope * positive)[..., None], axis=-1)
            out = np.zeros(out_shape, np.float32)
            blocks = quads.reshape(*winner.shape[:-1], 2, 2).transpose(0, 1, 4, 2, 5, 3)
            out[:, : 2 * height, : 2 * width] = blocks.reshape(len(slope), 2 * height, 2 * width, -1)
            flat, kernel = out.reshape(-1, out_shape[-1]), weights[2 * layer]
            found = [(columns.T @ flat).reshape(kernel.shape), flat.sum(axis=0), *found]
            if layer:
                slope = self._to_images(flat @ kernel.reshape(-1, out_shape[-1]).T, shape, padded_shape, out_shape)
        return found

    def _to_images(self, columns: Array, shape: Sequence[int], padded: Sequence[int], out: Sequence[int]) -> Array:
        """Add windows (B h w, k k c) up where they lay on the images."""
        k, images = self.kernel, np.zeros(padded, np.float32)
        parts = columns.reshape(*out[:3], k, k, shape[-1])
        for i in range(k):
            for j in range(k):
                images[:, i : i + out[1], j : j + out[2]] += parts[:, :, :, i, j]
        return images[:, self.pad : self.pad + shape[1], self.pad : self.pad + shape[2]]


def _softmax(scores: Array) -> Array:
    p: Array = np.exp(scores - scores.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    return p


DIGITS = PlainNet()
LENET = PlainNet(image=(28, 28, 1), channels=(20, 50), kernel=5, pad=0, hidden=(500,))
