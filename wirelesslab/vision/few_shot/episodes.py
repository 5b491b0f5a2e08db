"""Episodes: which classes, shots and queries a rule is judged on, fixed by a seed before any rule is seen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.few_shot.rules import Floats, matched

Places = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Episodes:
    """Many small tasks: `ways` classes, of each `shots` images that are labelled and `queries` that are asked.

    Rules are judged inductively: a query is decided from the shots of its episode and the base classes alone; that an
    episode has as many queries of each class is known to no rule.

    Attributes:
        ways: Classes of an episode.
        shots: Labelled images of each class.
        queries: Images of each class that are asked.
        count: How many episodes. More of them begin with the same ones.
        seed: Of the draw.

    Examples:
        >>> drawn = Episodes(ways=2, shots=1, queries=2, count=3).draw([0, 0, 0, 4, 4, 4, 9, 9, 9])
        >>> drawn.places.shape, drawn.classes.shape, drawn.digest()[:8]
        ((3, 2, 3), (3, 2), '214085a2')
    """

    ways: int = 5
    shots: int = 1
    queries: int = 15
    count: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(ways=self.ways, shots=self.shots, queries=self.queries, count=self.count)
        check.non_negative_integer(seed=self.seed)
        if self.ways == 1:
            msg = "ways: got 1, expected at least 2 classes, or nothing is decided"
            raise ValueError(msg)

    def over_ways(self, ways: Sequence[int]) -> tuple["Episodes", ...]:
        """Return what is asked here for several numbers of ways; each number has episodes of its own."""
        return tuple(replace(self, ways=number) for number in ways)

    def draw(self, labels: ArrayLike, names: Sequence[str] = ()) -> "Drawn":
        """Return the episodes among images with these labels.

        Args:
            labels: Of all images that may be drawn, shape (n,), whole numbers.
            names: Of the classes by label, for messages.

        Raises:
            ValueError: Fewer classes than ways, or a class has fewer images than shots and queries.
        """
        numbers = check.array(labels, (None,), "n", name="labels")
        if numbers.dtype.kind not in "iu":
            msg = f"labels: got {numbers.dtype}, expected whole numbers"
            raise TypeError(msg)
        classes, counts = np.unique(numbers, return_counts=True)
        each = self.shots + self.queries
        if len(classes) < self.ways:
            msg = f"labels: got {len(classes)} classes, expected at least {self.ways} for {self.ways} ways"
            raise ValueError(msg)
        if counts.size and counts.min() < each:
            small = int(classes[counts.argmin()])
            called = f"{small} ({names[small]})" if 0 <= small < len(names) else f"{small}"
            msg = f"labels: class {called} has {counts.min()} images, expected at least {each} for {self.shots} shots "
            msg += f"and {self.queries} queries; ask for fewer, or leave the class out"
            raise ValueError(msg)
        order = np.argsort(numbers, kind="stable")
        begins = np.cumsum(counts) - counts
        rng = stream(self.seed, "episodes", self.ways, self.shots, self.queries)
        uniforms = rng.random((self.count, 2 * self.ways * (1 + each)))  # a row each: more episodes leave these alone
        of_classes, of_images = np.split(uniforms, [2 * self.ways], axis=1)
        chosen = _distinct(np.full(self.count, len(classes)), of_classes.reshape(self.count, self.ways, 2))
        within = _distinct(counts[chosen], of_images.reshape(self.count, self.ways, each, 2))
        places = order[begins[chosen][..., None] + within]
        return Drawn(self, classes[chosen].astype(np.int64), places.astype(np.int64))


def _distinct(sizes: NDArray[np.int64], uniforms: Floats) -> Places:
    """Return distinct numbers below each of `sizes`, shape (...), in random order, shape (..., k).

    Floyd's way takes k steps, whatever the sizes: step t draws from 0 to size - k + t and takes that end itself when
    what it drew is already there. Its sets are uniform, its order is not; so they are shuffled.

    Args:
        sizes: At least k each.
        uniforms: Shape (..., k, 2), for the draw and for the shuffle.
    """
    num = uniforms.shape[-2]
    found = np.full((*sizes.shape, num), -1, np.int64)
    for step in range(num):
        end = sizes - num + step
        drawn = np.minimum((uniforms[..., step, 0] * (end + 1)).astype(np.int64), end)
        taken = (found[..., :step] == drawn[..., None]).any(axis=-1)
        found[..., step] = np.where(taken, end, drawn)
    return np.take_along_axis(found, np.argsort(uniforms[..., 1], axis=-1, kind="stable"), axis=-1)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Episodes as places of images.

    Attributes:
        episodes: What was asked for.
        classes: Labels of each episode's ways, shape (count, ways), int64.
        places: Images of each way, shots before queries, shape (count, ways, shots + queries), int64.
    """

    episodes: Episodes
    classes: Places
    places: Places

    def __len__(self) -> int:
        return len(self.places)

    def digest(self) -> str:
        """Return the SHA-256 of classes and places, which says that two runs were judged on the same episodes."""
        asked = (self.episodes.ways, self.episodes.shots, self.episodes.queries, len(self))
        said = sha256(repr(asked).encode())
        for array in (self.classes, self.places):
            said.update(np.ascontiguousarray(array, "<i8").tobytes())
        return said.hexdigest()

    def support(self, features: ArrayLike, part: slice = slice(None)) -> Floats:
        """Return the shots' features, shape (episodes, ways, shots, d), of features (n, d)."""
        return self._of(features)[self.places[part, :, : self.episodes.shots]]

    def queries(self, features: ArrayLike, part: slice = slice(None)) -> Floats:
        """Return the queries' features, shape (episodes, ways * queries, d): the first way's, then the next's."""
        places = self.places[part, :, self.episodes.shots :]
        return self._of(features)[places.reshape(len(places), -1)]

    def answers(self) -> Places:
        """Return the right way of each query, shape (ways * queries,); it is the same in every episode."""
        return np.repeat(np.arange(self.episodes.ways), self.episodes.queries)

    def _of(self, features: ArrayLike) -> Floats:
        array = matched(features, name="features", axes="n, d")
        if array.ndim != 2 or len(array) <= self.places.max(initial=-1):
            msg = f"features: got shape {array.shape}, expected (n, d) with n > {self.places.max(initial=-1)}, "
            msg += "as many as there were labels"
            raise ValueError(msg)
        return array


def check_disjoint(
    base: Sequence[str | int] | NDArray[np.integer], novel: Sequence[str | int] | NDArray[np.integer]
) -> None:
    """Refuse base and novel classes that overlap: a novel class must be new.

    Args:
        base: Names or labels of the base classes, or labels of all base images.
        novel: The same of the novel ones.

    Raises:
        ValueError: A class is in both.

    Examples:
        >>> check_disjoint(["cat", "dog"], ["fox"])
    """
    both = sorted({_plain(c) for c in base} & {_plain(c) for c in novel}, key=str)
    if both:
        msg = f"novel: got {len(both)} classes that are base classes too, such as {both[0]!r}; expected none in both"
        raise ValueError(msg)


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value
