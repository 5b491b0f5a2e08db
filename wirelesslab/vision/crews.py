"""Crews that train on scikit-learn's digits: a split, shards of it, and a replica for each.

The 1797 digits are divided anew by every seed: training, validation and test never share an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.parallel import ParameterServer, Replica, ShuffledBatches
from wirelesslab.vision.plain_nets import PlainNet
from wirelesslab.vision.wires import Wire

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Messages = Callable[[int, int, Sequence[bytes], bytes], None]  # step, exchange, messages up, answer


@dataclass(frozen=True, eq=False)
class Split:
    """Images and labels of one part: shapes (n, height, width, 1) in [0, 1], and (n,)."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def of(self, chosen: NDArray[np.integer[Any]]) -> "Split":
        """Return some of it."""
        return Split(self.images[chosen], self.labels[chosen])


@cache
def _digits() -> Split:
    from sklearn.datasets import load_digits

    data = load_digits()
    return Split((data.images / 16).astype(np.float32)[..., None], data.target.astype(np.int64))


def digits(seed: int, *, side: int = 8) -> dict[str, Split]:
    """Return "train" (1077 images), "validation" and "test" (360 each), divided by `seed`.

    Args:
        seed: Of the division.
        side: 8, or 28: every pixel three times as wide and high, two rows of zeros around (LeNet's size).
    """
    check.one_of(("8", "28"), side=str(side))
    whole = _digits()
    if side == 28:
        large = whole.images.repeat(3, axis=1).repeat(3, axis=2)
        whole = Split(np.pad(large, ((0, 0), (2, 2), (2, 2), (0, 0))), whole.labels)
    order = stream(seed, "split").permutation(len(whole))
    return {"train": whole.of(order[:1077]), "validation": whole.of(order[1077:1437]), "test": whole.of(order[1437:])}


def shards_of(labels: Labels, workers: int, seed: int, concentration: float | None = None) -> list[NDArray[np.int64]]:
    """Return each worker's places, all shards of one size (what is left over is nobody's).

    Args:
        labels: Shape (n,).
        workers: How many.
        seed: Of the division.
        concentration: Of the Dirichlet law from which each worker's mix of classes is drawn; None mixes evenly. A
            shard takes from what is left: when a class is used up, others take its place.
    """
    check.positive_integer(workers=workers)
    rng, size = stream(seed, "shards"), len(labels) // workers
    order = rng.permutation(len(labels))
    if concentration is None:
        return [order[worker * size : (worker + 1) * size] for worker in range(workers)]
    check.positive(concentration=concentration)
    classes = int(labels.max()) + 1
    left = [list(order[labels[order] == label]) for label in range(classes)]
    shards = []
    for _ in range(workers):
        mix = rng.dirichlet(np.full(classes, concentration))
        shard: list[int] = []
        while len(shard) < size:
            share = np.where([bool(places) for places in left], mix + 1e-9, 0.0)
            label = int(rng.choice(classes, p=share / share.sum()))
            shard.append(left[label].pop())
        shards.append(np.array(shard))
    return shards


def crew_of(
    net: PlainNet, wire: Wire, train: Split, *, workers: int, batch: int, seed: int, concentration: float | None = None
) -> list[Replica]:
    """Return a replica for each worker, each with its shard; `batch` is of all workers together.

    Raises:
        ValueError: The batch cannot be divided among the workers.
    """
    if batch % workers:
        msg = f"batch: got {batch} for {workers} workers, expected a multiple"
        raise ValueError(msg)
    return [
        Replica(
            net, wire, ShuffledBatches(train.images[p], train.labels[p], batch // workers, seed, worker), seed, worker,
            workers,
        )
        for worker, p in enumerate(shards_of(train.labels, workers, seed, concentration))
    ]  # fmt: skip


def train_alike(replicas: Sequence[Replica], steps: int, look: Messages | None = None) -> None:
    """Let replicas take steps together, computing what is the same for all only once.

    The same messages as `train_in_one_process`, but only worker 0 applies the mean gradient and the others take its
    state over: they would come to the same bits.
    """
    server = ParameterServer(replicas[0].wire, len(replicas), step=replicas[0].step)
    first = replicas[0]
    server.know(first.layout())
    for _ in range(steps):
        answer = b""
        for exchange in range(server.wire.exchanges):
            messages = [replica.encode(exchange, answer) for replica in replicas]
            for message in messages:
                server.offer(message)
            answer = server.close()
            if look is not None:
                look(first.step, exchange, messages, answer)
        first.finish(answer)
        for replica in replicas[1:]:
            replica.follow(first)
