"""Glyphs: letters, digits and invented signs, drawn as strokes by a hand that never draws the same twice.

A class is a list of strokes between points of a grid: capital letters, the ten digits (as many pictures as it takes to
tell half a point of accuracy), or signs that a seed invents, as many as a study of few-shot learning wants. Each
picture warps, turns and thickens its strokes anew from a random stream of its own, named by seed, split and number.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data
from wirelesslab.vision.worlds.shapes import boxes_of

Grid = NDArray[np.float64]
Strokes = tuple[tuple[tuple[float, float], ...], ...]  # lines through points (x, y), each in 0 to 2, y downwards
LETTERS: dict[str, Strokes] = {
    "A": (((0, 2), (1, 0), (2, 2)), ((0.5, 1), (1.5, 1))),
    "E": (((2, 0), (0, 0), (0, 2), (2, 2)), ((0, 1), (1.6, 1))),
    "F": (((2, 0), (0, 0), (0, 2)), ((0, 1), (1.6, 1))),
    "H": (((0, 0), (0, 2)), ((2, 0), (2, 2)), ((0, 1), (2, 1))),
    "K": (((0, 0), (0, 2)), ((2, 0), (0, 1), (2, 2))),
    "L": (((0, 0), (0, 2), (2, 2)),),
    "M": (((0, 2), (0, 0), (1, 1), (2, 0), (2, 2)),),
    "N": (((0, 2), (0, 0), (2, 2), (2, 0)),),
    "T": (((0, 0), (2, 0)), ((1, 0), (1, 2))),
    "V": (((0, 0), (1, 2), (2, 0)),),
    "X": (((0, 0), (2, 2)), ((2, 0), (0, 2))),
    "Y": (((0, 0), (1, 1), (2, 0)), ((1, 1), (1, 2))),
    "Z": (((0, 0), (2, 0), (0, 2), (2, 2)),),
}
DIGITS: dict[str, Strokes] = {
    "0": (((1, 0), (1.8, 0.5), (1.8, 1.5), (1, 2), (0.2, 1.5), (0.2, 0.5), (1, 0)),),
    "1": (((0.5, 0.4), (1, 0), (1, 2)),),
    "2": (((0.2, 0.4), (1, 0), (1.8, 0.5), (0.2, 2), (1.8, 2)),),
    "3": (((0.2, 0.2), (1.2, 0), (1.7, 0.5), (1, 1), (1.8, 1.5), (1.2, 2), (0.2, 1.8)),),
    "4": (((1.4, 2), (1.4, 0), (0.2, 1.3), (1.9, 1.3)),),
    "5": (((1.7, 0), (0.4, 0), (0.3, 0.9), (1.3, 0.8), (1.8, 1.4), (1.2, 2), (0.2, 1.8)),),
    "6": (((1.6, 0.1), (0.6, 0.7), (0.2, 1.5), (1, 2), (1.7, 1.5), (1.2, 1), (0.4, 1.2)),),
    "7": (((0.2, 0), (1.8, 0), (0.8, 2)),),
    "8": (((1, 1), (0.3, 0.5), (1, 0), (1.7, 0.5), (1, 1), (0.2, 1.5), (1, 2), (1.8, 1.5), (1, 1)),),
    "9": (((1.7, 0.8), (0.8, 1), (0.3, 0.5), (1, 0), (1.7, 0.4), (1.5, 2)),),
}
CORNERS = [(float(x), float(y)) for x in range(3) for y in range(3)]


@dataclass(frozen=True, kw_only=True)
class Glyphs:
    """A world of glyphs.

    Attributes:
        train: Pictures to learn from.
        validation: Pictures for choices.
        test: Pictures for the last word.
        side: Pixels, each way.
        invented: How many signs are invented; 0 draws capital letters, or digits.
        digits: Whether the ten digits are drawn.
        alphabet: Seed of the invention: worlds of one alphabet have the same classes, whatever seed draws pictures.
        warp: How far points of strokes wander, standard deviation as a share of a stroke's length of about 1.
        noise: Standard deviation of the noise upon all, of pixels in [0, 1].
    """

    train: int = 1000
    validation: int = 300
    test: int = 300
    side: int = 28
    invented: int = 0
    digits: bool = False
    alphabet: int = 0
    warp: float = 0.08
    noise: float = 0.05

    def __post_init__(self) -> None:
        check.non_negative_integer(
            train=self.train, validation=self.validation, test=self.test, invented=self.invented, alphabet=self.alphabet
        )
        check.positive_integer(side=self.side)
        check.within(12, 1024, side=self.side)
        check.within(0, 0.5, warp=self.warp)
        check.within(0, 1, noise=self.noise)
        check.within(0, 2000, invented=self.invented)
        if self.digits and self.invented:
            msg = f"digits: got digits and {self.invented} invented signs, expected one or the other"
            raise ValueError(msg)

    def signs(self) -> dict[str, Strokes]:
        """Return the strokes of each class by its name."""
        if not self.invented:
            return DIGITS if self.digits else LETTERS
        found: dict[frozenset[frozenset[tuple[float, float]]], Strokes] = {}
        rng = stream(self.alphabet, "alphabet")
        while len(found) < self.invented:
            strokes = tuple(_walk(rng) for _ in range(int(rng.integers(1, 4))))
            edges = frozenset(frozenset(pair) for s in strokes for pair in pairwise(s))
            if 3 <= len(edges) <= 6:  # signs of the same edges look the same, however they are drawn
                found.setdefault(edges, strokes)
        return {f"sign {number}": strokes for number, strokes in enumerate(found.values())}

    def data(self, seed: int) -> Data:
        """Return the world's pictures, shape (n, side, side, 1), bright on dark; classes take turns in each split.

        `truth` has "boxes" (n, 4), left, top, right, bottom in pixels, right and bottom not included, and "masks"
        (n, side, side) of the ink.
        """
        signs = self.signs()
        names = [(split, number) for split in SPLITS for number in range(getattr(self, split))]
        check.positive_integer(pictures=len(names))
        check.fits_in_memory(len(names) * self.side**2 * 5, "glyphs", "lower train or side")
        images = np.zeros((len(names), self.side, self.side, 1), np.float32)
        masks = np.zeros(images.shape[:3], bool)
        labels = np.array([number % len(signs) for _, number in names], np.int64)
        strokes = list(signs.values())
        for place, (split, number) in enumerate(names):
            images[place, ..., 0], masks[place] = self._picture(
                strokes[labels[place]], stream(seed, "glyphs", split, number)
            )
        ends = np.cumsum([0, *(getattr(self, split) for split in SPLITS)])
        splits = {split: np.arange(a, b) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
        truth = {"boxes": boxes_of(masks), "masks": masks}
        return Data(images, labels, tuple(signs), splits, truth=truth, name="glyphs")

    def _picture(self, strokes: Strokes, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return a picture and the mask of its ink, both (side, side)."""
        turn, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.25, 0.25)
        size = self.side * rng.uniform(0.24, 0.32, 2)  # of a grid's step, across and down
        about = self.side / 2 + self.side * rng.uniform(-0.06, 0.06, 2)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[1, shear], [0, 1]]
        centre = np.arange(self.side) + 0.5
        x, y = np.meshgrid(centre, centre)
        away = np.full((self.side, self.side), np.inf)
        for stroke in strokes:
            points = np.array(stroke) - 1 + self.warp * rng.standard_normal((len(stroke), 2))
            points = (points @ matrix.T) * size + about
            for a, b in pairwise(points):
                away = np.minimum(away, _distance(x, y, a, b))
        width = self.side / 28 * rng.uniform(0.9, 1.6)  # half a stroke's width
        ink = np.clip(width - away + 0.5, 0, 1)
        image = rng.uniform(0, 0.15) + ink * rng.uniform(0.6, 0.85) + self.noise * rng.standard_normal(ink.shape)
        return np.clip(image, 0, 1).astype(np.float32), ink >= 0.5


def _walk(rng: np.random.Generator) -> tuple[tuple[float, float], ...]:
    """Return a stroke of two to four corners, each a neighbour of the one before, none twice."""
    here = CORNERS[int(rng.integers(9))]
    stroke = [here]
    for _ in range(int(rng.integers(1, 4))):
        near = [c for c in CORNERS if c not in stroke and max(abs(c[0] - here[0]), abs(c[1] - here[1])) == 1]
        if not near:
            break
        here = near[int(rng.integers(len(near)))]
        stroke.append(here)
    return tuple(stroke)


def _distance(x: Grid, y: Grid, a: Grid, b: Grid) -> Grid:
    """Return the distance of points (x, y) from the line between a and b."""
    along = b - a
    share = np.clip(((x - a[0]) * along[0] + (y - a[1]) * along[1]) / (along @ along + 1e-12), 0, 1)
    distance: Grid = np.hypot(x - a[0] - share * along[0], y - a[1] - share * along[1])
    return distance
