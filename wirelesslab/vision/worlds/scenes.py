"""Scenes outdoors in which most pixels are meadow and sky, and a few are birds: segmentation with rare classes.

Ten classes in falling order of their share of pixels: about 42, 35, 8, 6, 4, 2, 1.6, 0.6, 0.4 and 0.4 per cent. Things
stand where one looks for them: a car on the road, a boat on the pond, a bird in the sky, a cow on the meadow. So what
surrounds a pixel says much about its class, and features of a rare thing come to resemble those of what is around it:
this is what center collapse is meant against. A share of things stray into other surroundings, where only their form
tells what they are; colours are drawn from ranges that overlap, under a light of each picture's own, and noise lies
upon all.

Each picture has a random stream of its own, named by seed, split and number: splits never share one, and a larger world
begins with the pictures of a smaller one. It goes to disk as pictures with index masks (`formats.write_masks`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data
from wirelesslab.vision.segmentation_metrics import IGNORED
from wirelesslab.vision.worlds.shapes import Grid

CLASSES = ("meadow", "sky", "forest", "road", "house", "pond", "car", "cow", "boat", "bird")
THINGS = {"car": "road", "cow": "meadow", "boat": "pond", "bird": "sky"}  # and where one looks for them
COLOURS = {  # the middle of a class's colours and how far they go either way, of pixels in [0, 1]
    "meadow": ((0.38, 0.52, 0.28), 0.08), "sky": ((0.55, 0.65, 0.8), 0.1), "forest": ((0.26, 0.4, 0.24), 0.08),
    "road": ((0.5, 0.47, 0.45), 0.08), "house": ((0.6, 0.5, 0.42), 0.2), "pond": ((0.4, 0.5, 0.62), 0.1),
    "car": ((0.5, 0.45, 0.45), 0.3), "cow": ((0.5, 0.42, 0.36), 0.22), "boat": ((0.55, 0.5, 0.45), 0.28),
    "bird": ((0.42, 0.42, 0.45), 0.2),
}  # fmt: skip
OFTEN = {"car": 0.74, "cow": 0.29, "boat": 0.32, "bird": 0.3}  # of a picture, where there is such a place
SIZES = {"car": (0.11, 0.17), "cow": (0.08, 0.13), "boat": (0.1, 0.16), "bird": (0.08, 0.13)}  # radius over side


def _car(u: Grid, v: Grid) -> tuple[NDArray[np.bool_], Grid]:
    body, cabin = (np.abs(u) < 1) & (np.abs(v - 0.25) < 0.3), (np.abs(u + 0.1) < 0.55) & (np.abs(v + 0.3) < 0.26)
    return body | cabin, np.where(v > 0.35, -1.0, np.where(cabin, 0.7, 0.0))


def _cow(u: Grid, v: Grid) -> tuple[NDArray[np.bool_], Grid]:
    body, head = u**2 + (v / 0.55) ** 2 < 1, (u - 0.95) ** 2 + (v + 0.45) ** 2 < 0.12
    return body | head, np.where(np.sin(4 * u + 1) * np.cos(4 * v) > 0, 1.0, -0.6)


def _boat(u: Grid, v: Grid) -> tuple[NDArray[np.bool_], Grid]:
    hull, sail = (np.abs(u) < 1 - 0.6 * v) & (np.abs(v - 0.3) < 0.3), (np.abs(u) < 0.6 * (v + 1)) & (v <= 0) & (v > -1)
    return hull | sail, np.where(v > 0, -0.6, 0.8)


def _bird(u: Grid, v: Grid) -> tuple[NDArray[np.bool_], Grid]:
    wings = (np.abs(v - 0.7 * np.abs(np.abs(u) - 0.5)) < 0.3) & (np.abs(u) < 1)
    return wings, np.where(np.abs(u) < 0.3, -0.8, 0.0)


# Where a thing is and how light it is there, at u to the right and v down, in its radii.
FORMS: dict[str, Callable[[Grid, Grid], tuple[NDArray[np.bool_], Grid]]] = {
    "car": _car, "cow": _cow, "boat": _boat, "bird": _bird,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Scenes:
    """A world of scenes.

    Attributes:
        train: Pictures to learn from.
        validation: Pictures for choices.
        test: Pictures for the last word.
        side: Pixels, each way.
        often: How often a picture has a car, cow, boat or bird, times the usual (`OFTEN`).
        stray: Share of these things that stand where one does not look for them.
        noise: Standard deviation of the noise upon all, of pixels in [0, 1].
        unlabelled: Share of pictures in which a corner is not labelled.
    """

    train: int = 800
    validation: int = 300
    test: int = 800
    side: int = 40
    often: float = 1.0
    stray: float = 0.25
    noise: float = 0.07
    unlabelled: float = 0.1

    def __post_init__(self) -> None:
        check.non_negative_integer(train=self.train, validation=self.validation, test=self.test)
        check.positive_integer(side=self.side)
        check.within(24, 4096, side=self.side)
        check.within(0, 2, often=self.often)
        check.within(0, 1, noise=self.noise)
        check.probability(stray=self.stray, unlabelled=self.unlabelled)

    def data(self, seed: int) -> Data:
        """Return the world's pictures, shape (n, side, side, 3).

        `truth` has "pixel_labels" (n, side, side), uint8, places in `CLASSES` or `IGNORED`. A picture's label is the
        rarest class that is seen in it.
        """
        names = [(split, number) for split in SPLITS for number in range(getattr(self, split))]
        check.positive_integer(pictures=len(names))
        num, side = len(names), self.side
        check.fits_in_memory(num * side**2 * 13, "scenes", "lower train or side")
        images, masks = np.zeros((num, side, side, 3), np.float32), np.zeros((num, side, side), np.uint8)
        for place, (split, number) in enumerate(names):
            images[place], masks[place] = self._picture(stream(seed, "scenes", split, number))
        ends = np.cumsum([0, *(getattr(self, split) for split in SPLITS)])
        splits = {split: np.arange(a, b) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
        labels = np.where(masks == IGNORED, 0, masks).reshape(num, -1).max(axis=1).astype(np.int64)
        return Data(images, labels, CLASSES, splits, truth={"pixel_labels": masks}, name="scenes")

    def _picture(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return a picture and its mask."""
        mask = self._land(rng)
        colours = {name: np.array(middle) + rng.uniform(-far, far, 3) for name, (middle, far) in COLOURS.items()}
        canvas = np.stack([colours[name] for name in CLASSES])[mask] + self._texture(mask, rng)[..., None]
        for thing, often in OFTEN.items():
            if rng.uniform() < often * self.often:
                self._put(thing, colours[thing], canvas, mask, rng)
        light = rng.uniform(0.8, 1.15) * rng.uniform(0.94, 1.06, 3)
        image = canvas * light + self.noise * rng.standard_normal(canvas.shape)
        if rng.uniform() < self.unlabelled:
            high, wide = (int(v) for v in rng.integers(self.side // 8, self.side // 3, 2))
            mask[-high:, :wide] = IGNORED
        return np.clip(image, 0, 1).astype(np.float32), mask

    def _land(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the mask of a picture without things, shape (side, side)."""
        side = self.side
        row, column = (np.mgrid[:side, :side] + 0.5) / side
        wave = np.sin(2 * pi * column * rng.uniform(0.3, 1.2) + rng.uniform(0, 2 * pi))
        horizon = rng.uniform(0.38, 0.54) + 0.03 * wave
        mask = np.where(row < horizon, CLASSES.index("sky"), CLASSES.index("meadow")).astype(np.uint8)
        below = row > horizon
        if rng.uniform() < 0.75:  # a forest behind the meadow
            trees = np.sin(2 * pi * column * rng.uniform(0.4, 1.5) + rng.uniform(0, 2 * pi))
            tops = 0.02 * np.sin(2 * pi * column * rng.uniform(5, 9) + rng.uniform(0, 2 * pi))
            height = rng.uniform(0.04, 0.19) + rng.uniform(0, 0.1) * trees + tops
            mask[(row < horizon) & (row > horizon - height)] = CLASSES.index("forest")
        if rng.uniform() < 0.4:
            x, y, a = rng.uniform(0.2, 0.8), rng.uniform(0.66, 0.88), rng.uniform(0.15, 0.28)
            pond = ((column - x) / a) ** 2 + ((row - y) / (a * rng.uniform(0.35, 0.6))) ** 2 < 1
            mask[pond & below] = CLASSES.index("pond")
        if rng.uniform() < 0.52:
            mask[self._road(row, column, horizon, rng) & below] = CLASSES.index("road")
        if rng.uniform() < 0.6:
            x, w, h = rng.uniform(0.1, 0.9), rng.uniform(0.09, 0.17), rng.uniform(0.13, 0.24)
            foot = horizon + rng.uniform(0.02, 0.12)
            walls = (np.abs(column - x) < w) & (row < foot) & (row > foot - h)
            roof = (np.abs(column - x) < (row - foot + 1.5 * h) * 1.2 * w / (0.5 * h)) & (row <= foot - h)
            mask[walls | (roof & (row > foot - 1.5 * h))] = CLASSES.index("house")
        return mask

    def _road(self, row: Grid, column: Grid, horizon: Grid, rng: np.random.Generator) -> NDArray[np.bool_]:
        """Return where the road is: one that comes near from the horizon, or one that goes across."""
        if rng.uniform() < 0.5:
            near = (row - horizon) / (1 - horizon)
            middle = rng.uniform(0.2, 0.8) + rng.uniform(-0.5, 0.5) * near
            return np.asarray(np.abs(column - middle) < 0.03 + rng.uniform(0.12, 0.24) * near)
        level = rng.uniform(0.65, 0.85) + rng.uniform(-0.2, 0.2) * (column - 0.5)
        return np.asarray(np.abs(row - level) < rng.uniform(0.04, 0.09))

    def _texture(self, mask: NDArray[np.uint8], rng: np.random.Generator) -> Grid:
        """Return what a class's surface adds to its colour, shape (side, side)."""
        from scipy.ndimage import gaussian_filter

        row, column = np.mgrid[: self.side, : self.side]
        grain = rng.standard_normal((self.side, self.side))
        soft, streaks = gaussian_filter(grain, 1.5) * 5, gaussian_filter(grain, (0.3, 3)) * 3
        windows = (np.sin(row * rng.uniform(1.2, 1.8)) > 0.3) & (np.sin(column * rng.uniform(1.2, 1.8)) > 0.3)
        surfaces = {
            "meadow": 0.06 * grain, "sky": 0.03 * soft + 0.1 * row / self.side, "forest": 0.08 * soft,
            "road": 0.02 * grain, "house": -0.2 * windows, "pond": 0.05 * streaks,
        }  # fmt: skip
        found: Grid = np.select([mask == CLASSES.index(n) for n in surfaces], list(surfaces.values()))
        return found

    def _put(
        self, thing: str, colour: Grid, canvas: Grid, mask: NDArray[np.uint8], rng: np.random.Generator
    ) -> None:  # fmt: skip
        """Draw a thing where one looks for it, or astray; not at all where the picture has no such place."""
        home = mask == CLASSES.index(THINGS[thing])
        able = np.argwhere(~home if rng.uniform() < self.stray else home)
        if not len(able):
            return
        y, x = able[int(rng.integers(len(able)))]
        radius = rng.uniform(*SIZES[thing]) * self.side
        row, column = np.mgrid[: self.side, : self.side]
        u, v = (column - x) / radius * rng.choice([-1, 1]), (row - y) / radius
        inside, shade = FORMS[thing](u, v)
        canvas[inside] = (colour + 0.18 * shade[..., None])[inside]
        mask[inside] = CLASSES.index(thing)
