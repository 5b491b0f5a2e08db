r"""Logistic regression on the shots, for all episodes at once.

The loss is scikit-learn's: 1/2 |W|^2 + C sum_i -log softmax(W x_i + b) at the right class, the bias free. Weights lie
in the span of the samples, so few samples of many numbers are first written in coordinates that keep their products;
and since the bias is free, samples may be centred.

The solver is L-BFGS. It starts from a bound of the Hessian, for the curvature of a softmax is at most half the identity
for every sample (Boehning): in few dimensions, or some more with many samples, one matrix per episode, inverted once;
else its mean diagonal. Steps are halved until they lower the loss. An episode that has arrived stays where it is, so
that no episode's result depends on which others are solved with it. Episodes that have not arrived when steps run out
are told of in a warning.

References:
    Boehning, "Multinomial logistic regression algorithm", Ann. Inst. Stat. Math. 44(1), 1992.
    Nocedal and Wright, Numerical Optimization, 2006, algorithm 7.4.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.few_shot.rules import (
    Floats,
    Planes,
    Prior,
    Transform,
    labelled,
    matched,
    unit,
)

MEMORY = 20  # pairs that L-BFGS keeps: weak regularisation of nearly separable shots needs thousands of steps with 6
HALVINGS = 12  # of a step
WIDENED = 4.0  # times the mean diagonal, for the first step in many dimensions (our choice)
FEW_DIMENSIONS = 100  # up to which a matrix is inverted
MORE_DIMENSIONS, PER_DIMENSION = 256, 4  # up to which it is for so many samples each: that costs less than more steps
REPACK = 0.7  # share of episodes still going at which those that have arrived leave the arrays
SUFFICIENT = 1e-4  # share of the promised decrease that a step must keep (Armijo)


@dataclass(frozen=True, kw_only=True)
class LogisticRegression:
    """Multinomial logistic regression on the shots.

    Attributes:
        inverse_strength: C of the loss above (1 is scikit-learn's default).
        beta: Exponent of a power taken of shots and queries first; 1 takes none.
        unit_length: Whether features are then given length 1 (our choice; True makes C mean the same for any net).
        negative: What becomes of negative features when beta is not 1: "refuse" or "relu".
        tolerance: Largest entry of the gradient, over C and the number of shots, at which the solver stops.
        most_steps: After which the solver stops as it is, with a warning.
    """

    inverse_strength: float = 1.0
    beta: float = 1.0
    unit_length: bool = True
    negative: str = "refuse"
    tolerance: float = 1e-4
    most_steps: int = 300

    def __post_init__(self) -> None:
        check.positive(inverse_strength=self.inverse_strength, beta=self.beta, tolerance=self.tolerance)
        check.positive_integer(most_steps=self.most_steps)
        check.one_of(("refuse", "relu"), negative=self.negative)

    def prior(self, features: Floats, labels: NDArray[np.int64]) -> Prior:
        """Return nothing: base classes are not asked."""
        labelled(features, labels)
        return {}

    def calibrate(self, prior: Prior, support: Floats) -> Planes:  # noqa: ARG002
        """Return the planes that the shots, shape (..., ways, shots, d), are fitted with."""
        shots = matched(support, name="support", axes="ways, shots, d")
        *batch, ways, num, d = shots.shape
        change = Transform(self.beta, self.negative if self.beta != 1 else "allow")
        found = change(shots, "support")
        if self.unit_length:
            found = unit(found)
        labels = np.repeat(np.arange(ways), num)
        weights, bias = fit(
            found.reshape(-1, ways * num, d), labels, ways, self.inverse_strength, tolerance=self.tolerance,
            most_steps=self.most_steps,
        )  # fmt: skip
        return Planes(weights.reshape(*batch, ways, d), bias.reshape(*batch, ways), change, self.unit_length)


def fit(
    samples: Floats,
    labels: NDArray[np.int64],
    ways: int,
    inverse_strength: float = 1.0,
    *,
    tolerance: float = 1e-4,
    most_steps: int = 300,
) -> tuple[Floats, Floats]:
    """Return weights, shape (episodes, ways, d), and biases, shape (episodes, ways), which sum to 0.

    Args:
        samples: Shape (episodes, n, d); float32 is computed in float32.
        labels: The class of each sample, the same in all episodes, shape (n,), in 0..ways-1.
        ways: Number of classes.
        inverse_strength: C.
        tolerance: Largest entry of the gradient, over C n, at which an episode has arrived.
        most_steps: After which the solver stops as it is.

    Warns:
        UserWarning: Episodes had not arrived then; it says how many, and by how much they missed the tolerance.
    """
    _, num, d = samples.shape
    middle = samples.mean(axis=1, keepdims=True)
    centred = samples - middle
    targets = (labels == np.arange(ways)[:, None]).astype(samples.dtype)  # (ways, n)
    if d <= num or num > FEW_DIMENSIONS:
        weights, bias = _solve(centred, targets, inverse_strength, tolerance, most_steps)
    else:
        # Coordinates Z = U S^(1/2) of the Gram matrix U S U'; X = Z A, where A = S^(-1/2) U' X has orthonormal rows.
        values, vectors = np.linalg.eigh(np.matmul(centred, np.swapaxes(centred, -1, -2)))
        kept = values > values.max(axis=-1, keepdims=True) * num * np.finfo(samples.dtype).eps
        roots = np.sqrt(np.where(kept, values, 0))
        inverse = np.where(kept, 1 / np.where(kept, roots, 1), 0).astype(samples.dtype)
        inner, bias = _solve(vectors * roots[:, None, :], targets, inverse_strength, tolerance, most_steps)
        weights = np.matmul(np.matmul(inner * inverse[:, None, :], np.swapaxes(vectors, -1, -2)), centred)
    bias = bias - np.einsum("ewd,ed->ew", weights, middle[:, 0])
    return weights, bias - bias.mean(axis=1, keepdims=True)


def _solve(
    samples: Floats, targets: Floats, strength: float, tolerance: float, most_steps: int
) -> tuple[Floats, Floats]:
    """Return weights and biases for centred samples; in arrays (episodes, ways, d + 1) the bias stands last."""
    episodes, num, d = samples.shape
    kind, scale = samples.dtype, strength * num
    start = _start(samples, strength)

    def look(at: Floats, given: Floats) -> tuple[Floats, Floats]:
        """Return loss and gradient, over `scale`."""
        weights = at[..., :d]
        logits = np.matmul(weights, np.swapaxes(given, -1, -2)) + at[..., d:]  # (rows, ways, n)
        logits -= logits.max(axis=1, keepdims=True)
        right = np.einsum("ewn,wn->e", logits, targets)
        np.exp(logits, out=logits)
        total = logits.sum(axis=1, keepdims=True)
        loss = strength * (np.log(total).sum(axis=(1, 2)) - right) + np.einsum("ewd,ewd->e", weights, weights) / 2
        logits /= total
        logits -= targets
        gradient = np.empty_like(at)
        gradient[..., :d] = (strength * np.matmul(logits, given) + weights) / scale
        gradient[..., d] = strength / scale * logits.sum(axis=-1)
        return loss / scale, gradient

    rows, at = np.arange(episodes), np.zeros((episodes, len(targets), d + 1), kind)
    result = at.copy()
    loss, gradient = look(at, samples)
    pairs: list[tuple[Floats, Floats, Floats]] = []
    for _ in range(most_steps):
        going = np.abs(gradient).max(axis=(1, 2)) > tolerance
        if going.mean() <= REPACK:
            result[rows[~going]] = at[~going]
            rows, at, loss, gradient = rows[going], at[going], loss[going], gradient[going]
            samples, start = samples[going], start[going]
            pairs = [(moved[going], turned[going], rho[going]) for moved, turned, rho in pairs]
            if not len(rows):
                break
            going = going[going]
        step = np.where(going[:, None, None], -_direction(gradient, pairs, start, scale), kind.type(0))
        slope = np.einsum("ewd,ewd->e", step, gradient)
        size = np.ones(len(rows), kind)
        new = at + step
        new_loss, new_gradient = look(new, samples)
        for _ in range(HALVINGS):
            allowed = loss + SUFFICIENT * size * slope + 4 * np.finfo(kind).eps * np.abs(loss)
            bad = np.flatnonzero(new_loss > allowed)
            if not len(bad):
                break
            size[bad] /= 2
            new[bad] = at[bad] + size[bad, None, None] * step[bad]
            new_loss[bad], new_gradient[bad] = look(new[bad], samples[bad])
        moved, turned = new - at, new_gradient - gradient
        product = np.einsum("ewd,ewd->e", moved, turned)
        rho = np.where(product > 0, 1 / np.where(product > 0, product, 1), 0).astype(kind)
        pairs = [*pairs[-MEMORY + 1 :], (moved, turned, rho)]
        at, loss, gradient = new, new_loss, new_gradient
    result[rows] = at
    _tell(np.abs(gradient).max(axis=(1, 2)) / tolerance, episodes, most_steps)
    return result[..., :d], result[..., d]


def _tell(left: Floats, episodes: int, most_steps: int) -> None:
    """Warn of episodes that have not arrived, by the largest entries of their gradients over the tolerance."""
    late = ~(left <= 1)
    if late.any():
        msg = f"logistic regression: {late.sum()} of {episodes} episodes stopped after {most_steps} steps before they "
        msg += f"had arrived, the farthest with a gradient {left.max():.3g} times the tolerance; allow more steps or a "
        warnings.warn(msg + "larger tolerance, or lower inverse_strength", stacklevel=4)


def _start(samples: Floats, strength: float) -> Floats:
    """Return the inverse of the Hessian's bound, shape (episodes, d + 1, d + 1), or its diagonal, (episodes, 1, d + 1).

    Samples are centred, so the bias has no part in the rest.
    """
    episodes, num, d = samples.shape
    if d > (MORE_DIMENSIONS if num >= PER_DIMENSION * d else FEW_DIMENSIONS):
        mean = 1 + strength / 2 * np.einsum("end,end->e", samples, samples) * WIDENED / num
        found = np.repeat(1 / mean[:, None, None], d + 1, axis=-1).astype(samples.dtype)
        found[..., d] = 2 / (strength * num)
        return found
    bound = np.zeros((episodes, d + 1, d + 1), samples.dtype)
    bound[:, :d, :d] = np.matmul(np.swapaxes(samples, -1, -2), samples) * (strength / 2)
    bound[:, range(d), range(d)] += 1
    bound[:, d, d] = strength * num / 2
    inverse: Floats = np.linalg.inv(bound)
    return inverse


def _direction(gradient: Floats, pairs: list[tuple[Floats, Floats, Floats]], start: Floats, scale: float) -> Floats:
    """Return the inverse Hessian that the pairs tell of, times the gradient: L-BFGS's two loops, by episode."""
    left, shares = gradient.copy(), []
    for moved, turned, rho in reversed(pairs):
        share = rho * np.einsum("ewd,ewd->e", moved, left)
        left -= share[:, None, None] * turned
        shares.append(share)
    found: Floats = (left * start if start.shape[-2] == 1 else np.matmul(left, start)) * scale
    for (moved, turned, rho), share in zip(pairs, reversed(shares), strict=True):
        back = rho * np.einsum("ewd,ewd->e", turned, found)
        found += (share - back)[:, None, None] * moved
    return found
