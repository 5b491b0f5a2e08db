"""A learner small enough for exact tests: softmax regression on scikit-like blobs, NumPy only, with momentum."""

from dataclasses import dataclass

import numpy as np

from wirelesslab.rng import stream
from wirelesslab.vision.parallel import Replica, ShuffledBatches
from wirelesslab.vision.wires import Float32, Wire


@dataclass(frozen=True)
class Softmax:
    """Linear classifier of `features` numbers into `classes`, in float32."""

    features: int = 30
    classes: int = 4
    rate: float = 0.1
    momentum: float = 0.9

    def build(self, seed):
        weights = stream(seed, "weights").standard_normal((self.features, self.classes)).astype(np.float32) * 0.1
        arrays = {"weights": weights, "bias": np.zeros(self.classes, np.float32)}
        return arrays | {f"speed_{name}": np.zeros_like(value) for name, value in arrays.items()}

    def gradients(self, state, batch, rng):
        x, y = batch
        x = x + 0.01 * rng.standard_normal(x.shape).astype(np.float32)  # augmentation: randomness of its own
        scores = x @ state["weights"] + state["bias"]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        p[np.arange(len(y)), y] -= 1
        return [x.T @ p / len(y), p.mean(axis=0)]

    def apply(self, state, gradients):
        fresh = {}
        for name, gradient in zip(("weights", "bias"), gradients, strict=True):
            speed = np.float32(self.momentum) * state[f"speed_{name}"] - np.float32(self.rate) * gradient
            fresh |= {f"speed_{name}": speed, name: state[name] + speed}
        return fresh

    def written(self, state):
        return dict(state)

    def restored(self, arrays, seed):
        return {name: np.array(value) for name, value in arrays.items()}

    def accuracy(self, state, x, y):
        return float(np.mean(np.argmax(x @ state["weights"] + state["bias"], axis=1) == y))

    def operations(self, state, batch):
        return 6 * len(batch[1]) * self.features * self.classes


def blobs(count: int, seed: int = 0, features: int = 30, classes: int = 4):
    """Gaussian clouds around `classes` corners."""
    rng = stream(seed, "blobs")
    labels = rng.integers(0, classes, count)
    centres = stream(0, "centres").standard_normal((classes, features))
    return (centres[labels] + rng.standard_normal((count, features))).astype(np.float32), labels


@dataclass(frozen=True)
class Blobs:
    """A job: workers train a softmax on blobs."""

    wire: Wire = Float32()
    workers: int = 2
    steps: int = 20
    seed: int = 3

    def replica(self, worker: int) -> Replica:
        x, y = blobs(64, seed=10 + worker)
        batches = ShuffledBatches(x, y, 16, self.seed, worker)
        return Replica(Softmax(), self.wire, batches, self.seed, worker, self.workers)

    def replicas(self) -> list[Replica]:
        return [self.replica(worker) for worker in range(self.workers)]
