"""Characters in families: base classes to learn from, and novel ones that are variations of what was learned, or not.

A family is a few curved strokes; a class of it bends them a little and has one stroke of its own. Related novel
classes are of families of which base classes are known, unrelated ones of families that no base class is of. Base
classes, classes for choices and novel ones never share a class. Each picture has a random stream of its own, named by
seed, class and number; the base pictures of a seed are the same whether its novel classes are related or not, so one
net serves both.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data

Points = NDArray[np.float64]
STEPS = 6  # straight pieces of a curved stroke
REACH = 0.5  # the least distance between the ends of a stroke, in half widths of a character


@dataclass(frozen=True, kw_only=True)
class Characters:
    """A world of characters, all drawn from the seed that `data` gets: families, classes and pictures.

    Attributes:
        families: Of base classes.
        base_per_family: Base classes of each: split "train".
        novel_per_family: Novel classes of each family, or of each of as many new ones.
        validation_families: Families whose novel classes are for choices: split "validation"; those of the others are
            for the last word: split "test".
        pictures: Of each base class.
        novel_pictures: Of each novel class.
        related: Whether novel classes are of the base's families.
        strokes: Of a family; each class has one more.
        bend: How far a class bends its family's strokes: standard deviation of points, in half widths of a character.
        warp: How far a hand's points wander from picture to picture.
        side: Pixels, each way.
        noise: Standard deviation of the noise upon all, of pixels in [0, 1].
    """

    families: int = 12
    base_per_family: int = 4
    novel_per_family: int = 2
    validation_families: int = 4
    pictures: int = 60
    novel_pictures: int = 60
    related: bool = True
    strokes: int = 3
    bend: float = 0.18
    warp: float = 0.09
    side: int = 28
    noise: float = 0.05

    def __post_init__(self) -> None:
        check.positive_integer(
            families=self.families, base_per_family=self.base_per_family, novel_per_family=self.novel_per_family,
            validation_families=self.validation_families, pictures=self.pictures, novel_pictures=self.novel_pictures,
            strokes=self.strokes, side=self.side,
        )  # fmt: skip
        check.within(12, 256, side=self.side)
        check.within(0, 1, bend=self.bend, warp=self.warp, noise=self.noise)
        if self.validation_families >= self.families:
            msg = f"validation_families: got {self.validation_families}, expected fewer than {self.families} families; "
            raise ValueError(msg + "those that are left are for the last word")

    def names(self) -> dict[str, tuple[str, ...]]:
        """Return the names of classes by split; no name is in two of them."""
        far = "" if self.related else "far "
        base = tuple(f"family {f} base {c}" for f in range(self.families) for c in range(self.base_per_family))
        novel = [
            [f"{far}family {f} novel {c}" for c in range(self.novel_per_family)] for f in range(self.families)
        ]  # fmt: skip
        choices = tuple(name for family in novel[: self.validation_families] for name in family)
        last = tuple(name for family in novel[self.validation_families :] for name in family)
        return dict(zip(SPLITS, (base, choices, last), strict=True))

    def strokes_of(self, seed: int, name: str) -> Points:
        """Return the strokes of a class: start, bend and end of each, shape (strokes + 1, 3, 2), within -1 to 1."""
        family = name.rpartition(" ")[0].rpartition(" ")[0]
        shared = np.stack([_stroke(stream(seed, "characters", family, k)) for k in range(self.strokes)])
        rng = stream(seed, "characters", name)
        bent = shared + self.bend * rng.standard_normal(shared.shape)
        return np.concatenate([np.clip(bent, -1.2, 1.2), _stroke(rng)[None]])

    def data(self, seed: int) -> Data:
        """Return the world's pictures, shape (n, side, side, 1), bright on dark, class by class.

        Splits are by class: "train" has the base classes, "validation" novel ones for choices, "test" the others.
        `truth` has "family" (n,), the number of a class's family; an unrelated one counts on from the base's.
        """
        names = self.names()
        counts = [self.pictures if split == "train" else self.novel_pictures for split in SPLITS for _ in names[split]]
        classes = tuple(name for split in SPLITS for name in names[split])
        labels = np.repeat(np.arange(len(classes)), counts)
        check.fits_in_memory(len(labels) * self.side**2 * 4, "characters", "lower pictures or side")
        images = np.zeros((len(labels), self.side, self.side, 1), np.float32)
        place = 0
        for name, count in zip(classes, counts, strict=True):
            strokes = self.strokes_of(seed, name)
            for number in range(count):
                images[place, ..., 0] = self._picture(strokes, stream(seed, "characters", name, "picture", number))
                place += 1
        starts = np.cumsum(
            [0, *(sum(c for c, n in zip(counts, classes, strict=True) if n in names[s]) for s in SPLITS)]
        )
        splits = {s: np.arange(a, b) for s, a, b in zip(SPLITS, starts[:-1], starts[1:], strict=True)}
        family = np.array(
            [int(n.split("family ")[1].split()[0]) + self.families * n.startswith("far") for n in classes]
        )
        return Data(images, labels, classes, splits, truth={"family": family[labels]}, name="characters")

    def _picture(self, strokes: Points, rng: np.random.Generator) -> NDArray[np.float32]:
        """Return a picture, shape (side, side)."""
        points = strokes + self.warp * rng.standard_normal(strokes.shape)
        turn, shear = rng.uniform(-0.15, 0.15), rng.uniform(-0.2, 0.2)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ [[1, shear], [0, 1]]
        size = self.side * rng.uniform(0.28, 0.36, 2)
        about = self.side / 2 + self.side * rng.uniform(-0.05, 0.05, 2)
        points = (points @ matrix.T) * size + about
        share = np.linspace(0, 1, STEPS + 1)[:, None]
        start, bend, end = points[:, None, 0], points[:, None, 1], points[:, None, 2]
        path = (1 - share) ** 2 * start + 2 * share * (1 - share) * bend + share**2 * end  # (strokes, steps + 1, 2)
        width = self.side / 28 * rng.uniform(0.8, 1.4)  # half a stroke's width
        ink = np.clip(width - _distance(path, self.side) + 0.5, 0, 1)
        image = rng.uniform(0, 0.15) + ink * rng.uniform(0.6, 0.85) + self.noise * rng.standard_normal(ink.shape)
        return np.clip(image, 0, 1).astype(np.float32)


def _stroke(rng: np.random.Generator) -> Points:
    """Return start, bend and end of a stroke, shape (3, 2), whose ends are not too near one another."""
    while True:
        start, bend, end = rng.uniform(-1, 1, (3, 2))
        if np.hypot(*(end - start)) >= REACH:
            return np.stack([start, bend, end])


def _distance(paths: Points, side: int) -> Points:
    """Return the distance of every pixel's middle from the nearest of the paths, shape (side, side).

    Args:
        paths: Points (x, y) in pixels, shape (strokes, points, 2).
        side: Pixels, each way.
    """
    a, along = paths[:, :-1].reshape(-1, 2), np.diff(paths, axis=1).reshape(-1, 2)
    middle = np.arange(side) + 0.5
    x, y = middle - a[:, :1], middle - a[:, 1:]  # (pieces, side)
    long, high = along[:, :1], along[:, 1:]
    dot = (x * long)[:, None, :] + (y * high)[:, :, None]
    share = np.clip(dot / (long**2 + high**2 + 1e-12)[:, None], 0, 1)
    off = (x[:, None, :] - share * long[:, None]) ** 2 + (y[:, :, None] - share * high[:, None]) ** 2
    nearest: Points = np.sqrt(off.min(axis=0))
    return nearest
