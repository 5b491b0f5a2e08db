"""Weaves: outlines that hardly anything but the direction of a weave tells from the ground; a net must be deep to see.

Figure and ground are woven of the same two colours with the same wave; the threads of the figure run another way. To
name the outline a net has to find threads, then where their direction changes, then what these places form together,
at any turn and place: each answer rests upon the one before. A part of the pictures also has a figure of another tint,
so that learning can begin with what is easy.

Why a world like this: depth is worth nothing where single features or their numbers tell the class. What we tried
before, a seed each, with residual nets of 8, 16 and 32 filters on 8,000 pictures:

- Cords to be followed from a white plug to a coloured one, whose colour is the class. They need more layers the longer
  they are, but in 10 passes a ResNet-20 did not begin to follow them (41 %; a ResNet-8 55 %): which colours are there
  at all is worth 33 %, and it stayed with that.
- Weaves with fainter tints (to 0.25, most near 0): a ResNet-20 stayed at chance for four of eight passes; in the end
  both nets were at 60 %.
- Tints to 0.4: 82 % against 62 %, after 12 passes. To 0.6, as it is now: 6,000 pictures and 8 passes in batches of 32,
  the last two at a tenth of the rate, are enough for 83 % against 66 %.

`sims/sparsity_speed.py` tells the difference over seeds.

Each picture has a random stream of its own, named by seed, split and number: splits never share one, and a larger world
begins with the pictures of a smaller one. At 32 pixels it goes to disk in CIFAR's binary format
(`formats.write_cifar`), so that the real files stand wherever it does.

References:
    Second-order vision, which filters, rectifies and filters again, goes back to Chubb and Sperling, J. Opt. Soc. Am. A
    5, 1988; the name is all we took.
"""

from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data
from wirelesslab.vision.worlds.shapes import FINE, OUTLINES, Grid, boxes_of


@dataclass(frozen=True, kw_only=True)
class Weaves:
    """A world of weaves.

    Attributes:
        train: Pictures to learn from.
        validation: Pictures for choices.
        test: Pictures for the last word.
        side: Pixels, each way.
        classes: Names among `shapes.OUTLINES`.
        radius: Smallest and largest, as a share of the side.
        wave: Shortest and longest wave of the threads, in pixels.
        tint: Largest difference of a colour channel between figure and ground; each picture's is uniform from 0.
        noise: Standard deviation of the noise upon all, of pixels in [0, 1].
    """

    train: int = 6000
    validation: int = 1000
    test: int = 3000
    side: int = 32
    classes: tuple[str, ...] = tuple(OUTLINES)
    radius: tuple[float, float] = (0.28, 0.42)
    wave: tuple[float, float] = (3.0, 6.0)
    tint: float = 0.6
    noise: float = 0.03

    def __post_init__(self) -> None:
        check.non_negative_integer(train=self.train, validation=self.validation, test=self.test)
        check.positive_integer(side=self.side)
        for name in self.classes:
            check.one_of(OUTLINES, classes=name)
        if not self.classes or len(set(self.classes)) < len(self.classes):
            msg = f"classes: got {self.classes}, expected different names, at least one"
            raise ValueError(msg)
        check.within(4 / self.side, 0.48, smallest_radius=self.radius[0])
        check.within(self.radius[0], 0.48, largest_radius=self.radius[1])
        check.within(2, self.side, shortest_wave=self.wave[0])
        check.within(self.wave[0], self.side, longest_wave=self.wave[1])
        check.within(0, 1, tint=self.tint, noise=self.noise)

    def data(self, seed: int) -> Data:
        """Return the world's pictures, shape (n, side, side, 3); classes take turns in each split.

        `truth` has "masks" (n, side, side) of the figure, "boxes" (n, 4), left, top, right, bottom in pixels, right and
        bottom not included, and "tint" (n,), the largest difference of a channel between figure and ground.
        """
        names = [(split, number) for split in SPLITS for number in range(getattr(self, split))]
        check.positive_integer(pictures=len(names))
        num, side = len(names), self.side
        check.fits_in_memory(num * side**2 * 13, "weaves", "lower train or side")
        images, masks = np.zeros((num, side, side, 3), np.float32), np.zeros((num, side, side), bool)
        labels = np.array([number % len(self.classes) for _, number in names], np.int64)
        tints = np.zeros(num)
        for place, (split, number) in enumerate(names):
            rng = stream(seed, "weaves", split, number)
            images[place], masks[place], tints[place] = self._picture(self.classes[labels[place]], rng)
        ends = np.cumsum([0, *(getattr(self, split) for split in SPLITS)])
        splits = {split: np.arange(a, b) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
        truth = {"boxes": boxes_of(masks), "masks": masks, "tint": tints}
        return Data(images, labels, self.classes, splits, truth=truth, name="weaves")

    def _picture(self, name: str, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
        """Return a picture, the mask of its figure, and the difference of their tints."""
        cover = self._cover(name, rng)
        angle, wave = rng.uniform(0, pi), rng.uniform(*self.wave)
        turned = angle + rng.choice([-1, 1]) * rng.uniform(pi / 3, pi / 2)
        ground, figure = (self._threads(direction, wave, rng) for direction in (angle, turned))
        base = rng.uniform(0.4, 0.6, 3)
        threads = _direction(rng) * rng.uniform(0.2, 0.35)  # from one of the two colours to the other, halved
        tint = self.tint * float(rng.uniform())
        woven = (ground * (1 - cover) + figure * cover)[..., None] * threads
        image = base + woven + (cover[..., None] - 0.5) * _direction(rng) * tint
        image = image + self.noise * rng.standard_normal(image.shape)
        return np.clip(image, 0, 1).astype(np.float32), cover >= 0.5, tint

    def _cover(self, name: str, rng: np.random.Generator) -> Grid:
        """Return how much of each pixel the outline covers, shape (side, side), at some place and any turn."""
        radius = rng.uniform(*self.radius) * self.side
        x, y = self.side / 2 + rng.uniform(-0.8, 0.8, 2) * max(self.side / 2 - radius - 1, 0)
        turn = rng.uniform(0, 2 * pi)
        fine = (np.arange(self.side * FINE) + 0.5) / FINE
        u, v = (fine[None, :] - x) / radius, (fine[:, None] - y) / radius
        inside = OUTLINES[name](u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)) < 0
        cover: Grid = inside.reshape(self.side, FINE, self.side, FINE).mean(axis=(1, 3))
        return cover

    def _threads(self, direction: float, wave: float, rng: np.random.Generator) -> Grid:
        """Return threads that swing a little, in [-1, 1], shape (side, side)."""
        row, column = np.mgrid[: self.side, : self.side]
        across = np.cos(direction) * column + np.sin(direction) * row
        along = np.cos(direction) * row - np.sin(direction) * column
        swing = 0.8 * np.sin(2 * pi * along / rng.uniform(12, 20))
        threads: Grid = np.sin(2 * pi * across / wave + rng.uniform(0, 2 * pi) + swing)
        return threads


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a direction in colours, shape (3,), whose largest channel is 1 or -1."""
    drawn = rng.standard_normal(3)
    return np.asarray(drawn / np.abs(drawn).max())
