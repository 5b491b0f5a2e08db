"""Fit the networks of predictors: a committee that validates in turns, and how far a correction is trusted.

Nothing here looks at queues that a predictor will be tested on.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.dense_nets import MIDDLE, SPREAD, DenseNet
from wirelesslab.network.twins.dense_training import Examples, Training, train
from wirelesslab.network.twins.predictors import corrections
from wirelesslab.rng import stream

Floats = NDArray[np.float64]

FOLDS = 4
HIDDEN = 8  # units of each member
LEAST = 8  # queues
DECAYS = (1e-3, 1e-2)
TRUSTS = tuple((margin, reach) for margin in (0.0, 0.5, 1.0, 2.0) for reach in (2.0, 4.0, 8.0))
EDGE = 0.2  # share of the queues that is held back to choose margin and reach
EDGE_FEATURES = (0, 3, 4)  # load, arrivals' scv, dispersion: where operation leaves the training range
TRAINING = Training(steps=300, judge_every=25, learning_rate=0.03, tolerance=0.1)  # all of these are our choice


def committee(inputs: Floats, targets: Floats, *, seed: int) -> tuple[DenseNet, float]:
    """Return the mean of `FOLDS` networks, each trained without a part of the examples and validated on it.

    Args:
        inputs: Shape (examples, inputs).
        targets: Shape (examples, outputs).
        seed: Of first weights and of the parts.

    Returns:
        The committee, and the weight decay with the least loss on the parts that were left out.
    """
    if len(inputs) < LEAST:
        msg = f"queues: got {len(inputs)}, expected at least {LEAST} to learn from; use ModelDriven until then"
        raise ValueError(msg)
    part = stream(seed, "folds").permutation(len(inputs)) % FOLDS
    away = np.array([part == fold for fold in range(FOLDS)])
    blanks = [_blank(inputs, targets, seed + fold) for fold in range(FOLDS)]
    count = len(DECAYS)
    examples = Examples(
        inputs=inputs, targets=targets, learn=np.tile(~away, (count, 1)).astype(float),
        judge=np.tile(away, (count, 1)).astype(float),
    )  # fmt: skip
    trained = train(blanks * count, examples, TRAINING, [decay for decay in DECAYS for _ in range(FOLDS)])
    losses = np.array([loss for _, loss in trained]).reshape(count, FOLDS).mean(axis=1)
    best = int(np.argmin(losses))
    return mean_of([net for net, _ in trained[best * FOLDS : (best + 1) * FOLDS]]), DECAYS[best]


def mean_of(members: list[DenseNet]) -> DenseNet:
    """Return one network that gives the mean of networks with one hidden layer and equal standardisation."""
    first = members[0]
    arrays: dict[str, NDArray[Any]] = {
        MIDDLE: first.arrays[MIDDLE],
        SPREAD: first.arrays[SPREAD],
        "kernel 0": np.concatenate([m.arrays["kernel 0"] for m in members], axis=1),
        "bias 0": np.concatenate([m.arrays["bias 0"] for m in members]),
        "kernel 1": np.concatenate([m.arrays["kernel 1"] for m in members]) / len(members),
        "bias 1": np.stack([m.arrays["bias 1"] for m in members]).mean(axis=0),
    }
    return DenseNet(arrays)


def trust_of(
    inputs: Floats, targets: Floats, *, decay: float, default: tuple[float, float], seed: int
) -> tuple[float, float]:
    """Return the margin and reach with the least error on the outermost queues, after training without them.

    Args:
        inputs: Shape (examples, inputs).
        targets: Logarithms of what came over what the formula said, shape (examples, outputs).
        decay: Weight decay.
        default: When there are too few queues to hold any back.
        seed: Of first weights.
    """
    held = int(EDGE * len(inputs))
    if held == 0 or len(inputs) - held < 2 * LEAST:
        return default
    learn, judge = (np.zeros((len(EDGE_FEATURES), len(inputs))) for _ in range(2))
    ranks = [np.argsort(inputs[:, feature], kind="stable") for feature in EDGE_FEATURES]
    for number, order in enumerate(ranks):
        inner = order[:-held]
        # who stops the training is drawn from the inner queues: the outer ones only choose margin and reach
        stops = stream(seed, "edge", number).permutation(inner.size) % FOLDS == 0
        learn[number, inner[~stops]] = judge[number, inner[stops]] = 1.0
    examples = Examples(inputs=inputs, targets=targets, learn=learn, judge=judge)
    nets = train([_blank(inputs, targets, seed)] * len(ranks), examples, TRAINING, [decay] * len(ranks))
    errors = np.zeros(len(TRUSTS))
    for (net, _), order in zip(nets, ranks, strict=True):
        box, outer = inputs[order[:-held]], order[-held:]
        low, high = box.min(axis=0), box.max(axis=0)
        for number, (margin, reach) in enumerate(TRUSTS):
            learned = corrections(net, inputs[outer], low, high, margin, reach)
            errors[number] += np.abs(learned - targets[outer]).mean()
    return TRUSTS[int(np.argmin(errors))]


def _blank(inputs: Floats, targets: Floats, seed: int) -> DenseNet:
    return DenseNet.untrained(inputs.shape[1], (HIDDEN,), targets.shape[1], seed=seed, inputs=inputs)
