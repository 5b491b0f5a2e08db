"""Pictures of plain shapes on blurred noise, drawn by a program that knows what it drew: class, box and mask.

Colour and texture are drawn without regard to the class, so that only the outline tells it. Each picture has a random
stream of its own, named by seed, split and number: splits never share one, and a larger world begins with the pictures
of a smaller one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data

Grid = NDArray[np.float64]
PLACES_TRIED = 40  # for an object, before the picture goes without it
OVERLAP = 0.1  # of the smaller of two boxes that another object may cover
FINE = 3  # samples per pixel side, for soft edges; odd, so that no pixel is half covered


def _disc(x: Grid, y: Grid) -> Any:
    return np.hypot(x, y) - 1


def _square(x: Grid, y: Grid) -> Any:
    return np.maximum(np.abs(x), np.abs(y)) - 0.85


def _triangle(x: Grid, y: Grid) -> Any:
    return np.maximum(np.abs(x) * np.sqrt(0.75) - y * 0.5, y) - 0.55


def _cross(x: Grid, y: Grid) -> Any:
    a, b = np.abs(x), np.abs(y)
    return np.minimum(np.maximum(a - 1, b - 0.32), np.maximum(a - 0.32, b - 1))


def _ring(x: Grid, y: Grid) -> Any:
    return np.abs(np.hypot(x, y) - 0.75) - 0.25


def _star(x: Grid, y: Grid) -> Any:
    return np.hypot(x, y) - (0.72 + 0.28 * np.cos(5 * np.arctan2(x, -y)))


def _diamond(x: Grid, y: Grid) -> Any:
    return np.abs(x) * 1.6 + np.abs(y) - 1


def _bar(x: Grid, y: Grid) -> Any:
    return np.maximum(np.abs(x) - 1, np.abs(y) - 0.3)


# Below 0 inside; about within the circle of radius 1. The first four are the usual world.
OUTLINES: dict[str, Callable[[Grid, Grid], Any]] = {
    "disc": _disc, "square": _square, "triangle": _triangle, "cross": _cross,
    "ring": _ring, "star": _star, "diamond": _diamond, "bar": _bar,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """A world of shapes.

    Attributes:
        train: Pictures to learn from.
        validation: Pictures for choices.
        test: Pictures for the last word.
        side: Pixels, each way.
        classes: Names among `OUTLINES`.
        least: Fewest objects in a picture.
        most: Most objects; a picture goes without one for which no free place is found.
        radius: Smallest and largest, as a share of the side.
        rotation: Largest turn either way, in radians; pi makes the task much harder.
        noise: Standard deviation of the noise upon all, of pixels in [0, 1].
    """

    train: int = 600
    validation: int = 200
    test: int = 200
    side: int = 64
    classes: tuple[str, ...] = ("disc", "square", "triangle", "cross")
    least: int = 1
    most: int = 1
    radius: tuple[float, float] = (0.12, 0.24)
    rotation: float = 0.4
    noise: float = 0.03

    def __post_init__(self) -> None:
        check.non_negative_integer(train=self.train, validation=self.validation, test=self.test)
        check.positive_integer(side=self.side, least=self.least, most=self.most)
        for name in self.classes:
            check.one_of(OUTLINES, classes=name)
        check.within(0, pi, rotation=self.rotation)
        check.within(0, 1, noise=self.noise)
        check.within(2 / self.side, 0.4, smallest_radius=self.radius[0])
        check.within(self.radius[0], 0.4, largest_radius=self.radius[1])
        if not self.classes or len(set(self.classes)) < len(self.classes) or self.most < self.least:
            msg = f"classes, least and most: got {self.classes}, {self.least} and {self.most}, expected different "
            msg += "names, and least not above most"
            raise ValueError(msg)

    def data(self, seed: int) -> Data:
        """Return the world's pictures, shape (n, side, side, 3), with what is true of them.

        `truth` has, with m the most objects: "boxes" (n, m, 4), left, top, right, bottom in pixels, of what is seen of
        an object, right and bottom not included; "masks" (n, m, side, side); "kinds" (n, m), the classes, -1 where
        there is no object. A picture's label is the class of its largest object.
        """
        names = [(split, number) for split in SPLITS for number in range(getattr(self, split))]
        check.positive_integer(pictures=len(names))
        num, side = len(names), self.side
        check.fits_in_memory(num * side**2 * (12 + self.most), "shapes", "lower train, side or most")
        images, labels = np.zeros((num, side, side, 3), np.float32), np.zeros(num, np.int64)
        masks, kinds = np.zeros((num, self.most, side, side), bool), np.full((num, self.most), -1, np.int64)
        for place, (split, number) in enumerate(names):
            images[place], found = self._picture(stream(seed, "shapes", split, number))
            for slot, (kind, mask) in enumerate(found):
                kinds[place, slot], masks[place, slot] = kind, mask
            labels[place] = kinds[place, masks[place].sum(axis=(1, 2)).argmax()]
        ends = np.cumsum([0, *(getattr(self, split) for split in SPLITS)])
        splits = {split: np.arange(a, b) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
        truth = {"boxes": boxes_of(masks), "masks": masks, "kinds": kinds}
        return Data(images, labels, self.classes, splits, truth=truth, name="shapes")

    def _picture(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], list[tuple[int, NDArray[np.bool_]]]]:
        """Return a picture, and kind and visible mask of each object, the hindmost first."""
        image = background(rng, self.side)
        found: list[tuple[int, NDArray[np.bool_]]] = []
        circles: list[tuple[float, float, float]] = []
        for _ in range(int(rng.integers(self.least, self.most + 1))):
            kind, place = int(rng.integers(len(self.classes))), self._place(rng, circles)
            if place is None:
                continue
            circles.append(place)
            cover = self._cover(self.classes[kind], place, float(rng.uniform(-self.rotation, self.rotation)))
            image += cover[..., None] * (_paint(rng, self.side, image, cover) - image)
            found = [(k, m & (cover < 0.5)) for k, m in found] + [(kind, cover >= 0.5)]
        image = image + self.noise * rng.standard_normal(image.shape)
        return np.clip(image, 0, 1).astype(np.float32), found

    def _place(
        self, rng: np.random.Generator, circles: list[tuple[float, float, float]]
    ) -> tuple[float, float, float] | None:
        """Return column, row and radius in pixels, nearly free of other objects; None when the picture is full."""
        for _ in range(PLACES_TRIED):
            radius = float(rng.uniform(*self.radius)) * self.side
            x, y = (float(v) for v in rng.uniform(radius, self.side - radius, 2))
            covered = (
                max(0.0, r + radius - abs(a - x)) * max(0.0, r + radius - abs(b - y)) / (4 * min(r, radius) ** 2)
                for a, b, r in circles
            )
            if all(share <= OVERLAP for share in covered):
                return x, y, radius
        return None

    def _cover(self, name: str, place: tuple[float, float, float], turn: float) -> Grid:
        """Return how much of each pixel the shape covers, shape (side, side)."""
        x, y, radius = place
        fine = (np.arange(self.side * FINE) + 0.5) / FINE
        u, v = (fine[None, :] - x) / radius, (fine[:, None] - y) / radius
        inside = OUTLINES[name](u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)) < 0
        cover: Grid = inside.reshape(self.side, FINE, self.side, FINE).mean(axis=(1, 3))
        return cover


def background(rng: np.random.Generator, side: int) -> Grid:
    """Return blurred noise of one colour cast, shape (side, side, 3), within 0.2 and 0.8 mostly."""
    from scipy.ndimage import gaussian_filter

    soft = gaussian_filter(rng.standard_normal((side, side)), side / rng.uniform(8, 20), mode="wrap")
    soft /= soft.std() + 1e-12
    tint: Grid = rng.uniform(0.3, 0.7, 3)
    made: Grid = np.clip(tint + 0.1 * soft[..., None] * rng.uniform(0.5, 1.5, 3), 0, 1)
    return made


def _paint(rng: np.random.Generator, side: int, image: Grid, cover: Grid) -> Grid:
    """Return a striped colour that differs from what it covers, shape (side, side, 3)."""
    behind = image[cover > 0].mean(axis=0) if np.any(cover > 0) else np.full(3, 0.5)
    colours = rng.uniform(0, 1, (8, 3))
    colour = colours[np.abs(colours - behind).sum(axis=1).argmax()]
    angle, wave, phase = rng.uniform(0, pi), rng.uniform(4, 10), rng.uniform(0, 2 * pi)
    row, column = np.mgrid[:side, :side]
    stripes = np.sin(2 * pi * (np.cos(angle) * column + np.sin(angle) * row) / wave + phase)
    painted: Grid = np.clip(colour + 0.1 * stripes[..., None], 0, 1)
    return painted


def boxes_of(masks: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the boxes of masks, shape (..., h, w) to (..., 4): left, top, right, bottom; zeros for an empty mask.

    Right and bottom are the first column and row that are not covered.
    """
    found = []
    for axis in (-2, -1):
        line = np.asarray(masks.any(axis=axis))  # columns, then rows
        first, last = line.argmax(axis=-1), line.shape[-1] - line[..., ::-1].argmax(axis=-1)
        found.append((first, np.where(line.any(axis=-1), last, 0)))
    (left, right), (top, bottom) = found
    return np.stack([left, top, right, bottom], axis=-1).astype(np.int64)
