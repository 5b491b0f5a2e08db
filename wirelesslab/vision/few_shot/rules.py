"""What a rule for few shots is: what it takes from base classes, from the shots, and how it then decides.

Features come in and classes go out; nothing here knows images or nets. All arrays may have any number of leading axes
(episodes), and each episode is decided alone. Rules are inductive: a query is decided from the base classes and the
shots, never from other queries.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

Floats = NDArray[np.floating[Any]]
Prior = Mapping[str, Floats]

TINY = 1e-12  # lengths below count as this: a feature vector of zeros stays one and is like nothing


class Decider(Protocol):
    """What shots came to: it decides queries."""

    def predict(self, queries: Floats, /) -> NDArray[np.int64]:
        """Return the number of the class of each query.

        Args:
            queries: Features, shape (..., queries, d).

        Returns:
            Classes in the order of the shots' axis "ways", shape (..., queries).
        """
        ...

    def scores(self, queries: Floats, /) -> Floats:
        """Return what each class gets for each query, the more the likelier, shape (..., queries, ways)."""
        ...


class Rule(Protocol):
    """Decides queries from a few shots, with what base classes taught. A frozen value without arrays."""

    def prior(self, features: Floats, labels: NDArray[np.int64], /) -> Prior:
        """Return what is kept of the base classes, by name: all that has to travel, once.

        Args:
            features: Of base images, shape (n, d).
            labels: Their classes, shape (n,); a class is one that has an image.
        """
        ...

    def calibrate(self, prior: Prior, support: Floats, /) -> Decider:
        """Return what the shots come to.

        Args:
            prior: What `prior` gave.
            support: Features of the shots, shape (..., ways, shots, d).
        """
        ...


def unit(vectors: Floats) -> Floats:
    """Return vectors, shape (..., d), divided by their lengths; zeros stay zeros.

    Examples:
        >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
        [[0.6, 0.8], [0.0, 0.0]]
    """
    return vectors / np.maximum(lengths(vectors), TINY)[..., None]


def lengths(vectors: Floats) -> Floats:
    """Return the Euclidean lengths of vectors, shape (..., d) to (...)."""
    found: Floats = np.sqrt(np.einsum("...d,...d->...", vectors, vectors))
    return found


def power(features: Floats, beta: float) -> Floats:
    """Return Tukey's transform x^beta of features that are not negative."""
    if beta == 1:
        return features
    return np.sqrt(features) if beta == 0.5 else features**beta


def softmax(scores: Floats) -> Floats:
    """Return weights along the last axis that sum to 1; scores of -inf weigh 0."""
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def matched(features: ArrayLike, *, name: str, axes: str, dimension: int | None = None) -> Floats:
    """Return features as an array of floats whose last axes are `axes`, such as "ways, shots, d".

    Float32 stays what it is; whole numbers become float64.

    Raises:
        ValueError: Too few axes, another dimension d than `dimension`, NaN or infinity, or no entries along an axis.
        TypeError: Not real numbers.
    """
    array = np.asarray(features)
    if array.dtype.kind not in "biuf":
        msg = f"{name}: got an array of {array.dtype}, expected real numbers"
        raise TypeError(msg)
    least = axes.count(",") + 1
    if array.ndim < least or 0 in array.shape[array.ndim - least :]:
        msg = f"{name}: got shape {array.shape}, expected (..., {axes}) with at least one entry along each"
        raise ValueError(msg)
    if dimension is not None and array.shape[-1] != dimension:
        msg = f"{name}: got features of dimension {array.shape[-1]}, expected {dimension} as those of the base classes"
        raise ValueError(msg)
    if array.dtype.kind != "f":
        return array.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(array.sum())  # one pass; a sum of finite numbers may overflow: only then look closer
    if not finite:
        check.array(array, array.shape, ", ".join("." * array.ndim), name=name)
    return array


def non_negative(features: Floats, negative: str, *, name: str) -> Floats:
    """Return features without negative entries.

    Args:
        features: Any shape.
        negative: "refuse" or "relu", which sets negative entries to 0.
        name: The argument's name.

    Raises:
        ValueError: An entry is negative and `negative` is "refuse".
    """
    if negative == "relu":
        return np.maximum(features, 0)
    if features.size and features.min() < 0:
        msg = f"{name}: got features down to {features.min():g}, expected none below 0, for a power is taken of them; "
        msg += "take them after a ReLU, or say negative='relu'"
        raise ValueError(msg)
    return features


def prototypes(features: ArrayLike, labels: ArrayLike) -> Floats:
    """Return the plain mean of each class's features, shape (classes, d), in the order of their labels.

    Args:
        features: Shape (n, d).
        labels: Shape (n,), whole numbers; labels that no image has are passed over.

    Examples:
        >>> prototypes([[1.0, 0.0], [3.0, 0.0], [0.0, 5.0]], [2, 2, 7]).tolist()
        [[2.0, 0.0], [0.0, 5.0]]
    """
    array, numbers = labelled(features, labels)
    _, begins, counts = np.unique(np.sort(numbers), return_index=True, return_counts=True)
    sums = np.add.reduceat(array[np.argsort(numbers, kind="stable")], begins, axis=0, dtype=np.float64)
    return (sums / counts[:, None]).astype(array.dtype)


def labelled(features: ArrayLike, labels: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Return features, shape (n, d), and their labels, shape (n,), checked.

    Raises:
        ValueError: Shapes do not fit, or there is none.
        TypeError: Labels are not whole numbers.
    """
    array = matched(features, name="features", axes="n, d")
    check.array(array, (None, None), "n, d", name="features")
    numbers = check.array(labels, (len(array),), "n", name="labels", because="n was set by features")
    if numbers.dtype.kind not in "iu":
        msg = f"labels: got {numbers.dtype}, expected whole numbers"
        raise TypeError(msg)
    return array, numbers.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Transform:
    """What is done to a feature vector before it is compared.

    In this order: negative entries allowed, refused or cut, the power, length 1 if asked,
    the shift and then length 1. Each image is transformed alone.

    Attributes:
        beta: Exponent of the power; 1 leaves features alone.
        negative: As `non_negative`, or "allow".
        shift: Vector that is taken away, shape (d,); None takes away nothing and leaves lengths alone.
        unit_first: Whether features are given length 1 before the shift.
    """

    beta: float = 1.0
    negative: str = "allow"
    shift: Floats | None = None
    unit_first: bool = False

    def __call__(self, features: Floats, name: str) -> Floats:
        """Return features, any leading axes; `name` is the argument's, for messages."""
        if self.negative != "allow":
            features = non_negative(features, self.negative, name=name)
        features = power(features, self.beta)
        if self.shift is None:
            return features
        return unit((unit(features) if self.unit_first else features) - self.shift)


@dataclass(frozen=True, eq=False)
class Anchors:
    """Decides for the class whose anchor has the largest cosine with the query.

    Attributes:
        vectors: Of each class, shape (..., ways, shots, d). With several shots, the anchor of a query is their mean
            weighted by the softmax of the query's products with them.
        unit_queries: Whether these products are of queries of length 1, or of queries as they come.
        transform: What is done to queries first.
    """

    vectors: Floats
    unit_queries: bool = False
    transform: Transform = field(default_factory=Transform)

    def predict(self, queries: Floats) -> NDArray[np.int64]:
        """Return the class of each query, shape (..., queries); of equals, the first."""
        found = self._queries(queries)
        if self.vectors.shape[-2] > 1:
            return _largest(self._weighted(found))
        return _largest(np.matmul(found, np.swapaxes(unit(self.vectors[..., 0, :]), -1, -2)))

    def scores(self, queries: Floats) -> Floats:
        """Return cosines, shape (..., queries, ways)."""
        return self._weighted(self._queries(queries))

    def shot_weights(self, queries: Floats) -> Floats:
        """Return how much each shot counts for each query, shape (..., queries, ways, shots); sums over shots are 1."""
        found = self._queries(queries)
        return softmax(self._products(found) / self._scale(found)[..., None, None])

    def _queries(self, queries: Floats) -> Floats:
        found = matched(queries, name="queries", axes="queries, d", dimension=self.vectors.shape[-1])
        if found.shape[:-2] != self.vectors.shape[:-3]:
            msg = f"queries: got shape {found.shape}, expected {(*self.vectors.shape[:-3], 'queries', 'd')}; "
            msg += "the leading axes were set by the shots"
            raise ValueError(msg)
        return self.transform(found, "queries")

    def _products(self, queries: Floats) -> Floats:
        *batch, ways, shots, d = self.vectors.shape
        flat = self.vectors.reshape(*batch, ways * shots, d)
        products: Floats = np.matmul(queries, np.swapaxes(flat, -1, -2))
        return products.reshape(*queries.shape[:-1], ways, shots)

    def _scale(self, queries: Floats) -> Floats:
        return np.maximum(lengths(queries), TINY) if self.unit_queries else np.ones(queries.shape[:-1], queries.dtype)

    def _weighted(self, queries: Floats) -> Floats:
        """Return cosines with weighted anchors; these are never formed: products and inner products of shots do."""
        products = self._products(queries)
        weights = softmax(products / self._scale(queries)[..., None, None])
        inner = np.matmul(self.vectors, np.swapaxes(self.vectors, -1, -2))  # (..., ways, shots, shots)
        spread = np.matmul(np.moveaxis(weights, -2, -3), inner)  # (..., ways, queries, shots)
        squares = np.moveaxis(np.einsum("...wqs,...qws->...wq", spread, weights), -2, -1)
        along = np.einsum("...s,...s->...", products, weights)
        length = np.sqrt(np.maximum(squares, 0)) * lengths(queries)[..., None]
        cosines: Floats = along / np.maximum(length, TINY)
        return cosines


@dataclass(frozen=True, eq=False)
class Planes:
    """Decides for the class of the largest linear score.

    Attributes:
        weights: Shape (..., ways, d).
        bias: Shape (..., ways).
        transform: What is done to queries first.
        unit_queries: Whether they are then given length 1.
    """

    weights: Floats
    bias: Floats
    transform: Transform = field(default_factory=Transform)
    unit_queries: bool = False

    def predict(self, queries: Floats) -> NDArray[np.int64]:
        """Return the class of each query, shape (..., queries); of equals, the first."""
        return _largest(self.scores(queries))

    def scores(self, queries: Floats) -> Floats:
        """Return logits, shape (..., queries, ways)."""
        found = matched(queries, name="queries", axes="queries, d", dimension=self.weights.shape[-1])
        found = self.transform(found, "queries")
        logits: Floats = np.matmul(found, np.swapaxes(self.weights, -1, -2).astype(found.dtype, copy=False))
        if self.unit_queries:
            logits /= np.maximum(lengths(found), TINY)[..., None]
        logits += self.bias[..., None, :].astype(found.dtype, copy=False)
        return logits


def _largest(scores: Floats) -> NDArray[np.int64]:
    """Return where scores are largest along the last axis; of equals, the first."""
    return np.asarray(scores.argmax(axis=-1), np.int64)
