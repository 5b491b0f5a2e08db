"""Rooms as clouds of coloured points, each with its class: segmentation with rare classes in three dimensions.

Most points lie on walls and floor, few on lamps, plants and cups. Things stand in their surroundings: chairs at the
table, cups upon it, cabinets at a wall; so the height and the neighbours of a point say much about its class, and some
things are only told by them. Each room is turned at random about the vertical, points come in random order, and
positions and colours are noisy.

How many points a surface gets is what the table `SURFACES` says, not its area: a scanner comes nearer to small things.
Each room has a random stream of its own, named by seed, split and number: splits never share one, and a larger world
begins with the rooms of a smaller one.
"""

from dataclasses import dataclass
from math import pi

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.vision.data import SPLITS, Data
from wirelesslab.vision.worlds.shapes import Grid

CLASSES = ("wall", "floor", "chair", "table", "cabinet", "plant", "lamp", "cup")
SURFACES = {  # weight in the draw of points of each thing that is there
    "wall": 15.0, "floor": 18.0, "chair": 1.4, "table": 4.5, "cabinet": 5.0, "plant": 1.2, "lamp": 0.9, "cup": 0.5,
}  # fmt: skip
COLOURS = {
    "wall": (0.7, 0.68, 0.62), "floor": (0.5, 0.42, 0.35), "table": (0.5, 0.38, 0.28), "cabinet": (0.55, 0.47, 0.4),
    "chair": (0.45, 0.4, 0.38), "plant": (0.36, 0.46, 0.32), "lamp": (0.68, 0.62, 0.5), "cup": (0.6, 0.55, 0.55),
}  # fmt: skip
TALL = 2.6  # metres
REACH = 4.5  # metres from the middle that become 1; the largest room's corner is nearer


@dataclass(frozen=True, kw_only=True)
class PointScenes:
    """A world of rooms.

    Attributes:
        train: Rooms to learn from.
        validation: Rooms for choices.
        test: Rooms for the last word.
        points: Of a room.
        jitter_m: Standard deviation of a position, each way, in metres.
        noise: Standard deviation of a colour channel; colours are in [0, 1].
    """

    train: int = 600
    validation: int = 200
    test: int = 600
    points: int = 256
    jitter_m: float = 0.03
    noise: float = 0.08

    def __post_init__(self) -> None:
        check.non_negative_integer(train=self.train, validation=self.validation, test=self.test)
        check.positive_integer(points=self.points)
        check.within(0, 1, jitter_m=self.jitter_m, noise=self.noise)

    def data(self, seed: int) -> Data:
        """Return rooms as "images" (n, points, 1, 6): x, y, z over 4.5 m, and red, green, blue.

        The origin is in the middle of the floor. `truth` has "pixel_labels" (n, points, 1), uint8, places in `CLASSES`.
        A room's label is the rarest class that has a point in it.
        """
        names = [(split, number) for split in SPLITS for number in range(getattr(self, split))]
        check.positive_integer(rooms=len(names))
        num = len(names)
        check.fits_in_memory(num * self.points * 25, "point scenes", "lower train or points")
        clouds = np.zeros((num, self.points, 1, 6), np.float32)
        classes = np.zeros((num, self.points, 1), np.uint8)
        for place, (split, number) in enumerate(names):
            rng = stream(seed, "point scenes", split, number)
            clouds[place, :, 0], classes[place, :, 0] = self._room(rng)
        ends = np.cumsum([0, *(getattr(self, split) for split in SPLITS)])
        splits = {split: np.arange(a, b) for split, a, b in zip(SPLITS, ends[:-1], ends[1:], strict=True)}
        labels = classes.reshape(num, -1).max(axis=1).astype(np.int64)
        return Data(
            clouds, labels, CLASSES, splits, (-1.0, 1.0), {"pixel_labels": classes}, name="point scenes"
        )  # fmt: skip

    def _room(self, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Return the points of a room, shape (points, 6), and their classes."""
        things = _furnished(rng)
        weights = np.array([SURFACES[name] for name, _, _ in things])
        owner = rng.choice(len(things), self.points, p=weights / weights.sum())
        middles, halves = (np.stack([thing[k] for thing in things])[owner] for k in (1, 2))
        place = middles + halves * _on_boxes(halves, rng) + self.jitter_m * rng.standard_normal((self.points, 3))
        angle = rng.uniform(0, 2 * pi)
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        paints = np.stack([np.array(COLOURS[name]) + rng.uniform(-0.18, 0.18, 3) for name, _, _ in things])
        colours = paints[owner] * rng.uniform(0.8, 1.15) + self.noise * rng.standard_normal((self.points, 3))
        cloud = np.concatenate([np.clip(place @ turn.T / REACH, -1, 1), np.clip(colours, 0, 1)], axis=1)
        return cloud.astype(np.float32), np.array([CLASSES.index(things[k][0]) for k in owner], np.uint8)


def _furnished(rng: np.random.Generator) -> list[tuple[str, Grid, Grid]]:
    """Return what is in a room: class, middle and half sides (x, y, z) of a box, in metres from the floor's middle."""
    wide, deep = rng.uniform(1.6, 2.6, 2)

    def box(name: str, middle: tuple[float, ...], half: tuple[float, ...]) -> tuple[str, Grid, Grid]:
        return name, np.array(middle, float), np.array(half, float)

    walls = [
        box("wall", (wide, 0, TALL / 2), (0, deep, TALL / 2)),
        box("wall", (0, deep, TALL / 2), (wide, 0, TALL / 2)),
    ]
    things = [box("floor", (0, 0, 0), (wide, deep, 0)), *walls[: 1 + int(rng.uniform() < 0.7)]]
    if rng.uniform() < 0.5:
        along, tall = rng.uniform(-0.6, 0.6) * deep, rng.uniform(0.35, 1.0)
        things.append(box("cabinet", (wide - 0.25, along, tall), (0.22, rng.uniform(0.3, 0.6), tall)))
    high = rng.uniform(0.65, 0.8)
    x, y = rng.uniform(-0.5, 0.5, 2) * (wide, deep)
    a, b = rng.uniform(0.4, 0.8, 2)
    there = rng.uniform() < 0.75
    if there:
        things.append(box("table", (x, y, high), (a, b, 0.03)))
    for _ in range(int(rng.integers(0, 4))):
        side = rng.choice([-1, 1])
        seat = (x + side * (a + 0.15), y + rng.uniform(-1, 1) * b) if there else tuple(rng.uniform(-1, 1, 2))
        things += [
            box("chair", (*seat, 0.45), (0.2, 0.2, 0.03)),
            box("chair", (seat[0] + side * 0.2, seat[1], 0.7), (0.02, 0.2, 0.25)),
        ]
    if rng.uniform() < 0.35:
        stand, tall = rng.uniform(-0.85, 0.85, 2) * (wide, deep), rng.uniform(0.2, 0.5)
        things.append(box("plant", (*stand, tall), (0.18, 0.18, tall)))
    if rng.uniform() < 0.4:  # over the table, or on the floor
        spot = (x, y, rng.uniform(1.5, 2.0)) if there and rng.uniform() < 0.6 else (*rng.uniform(-1, 1, 2), 1.3)
        things.append(box("lamp", spot, (0.15, 0.15, 0.12)))
    if rng.uniform() < (0.6 if there else 0.1):
        spot = (x + rng.uniform(-1, 1) * a, y + rng.uniform(-1, 1) * b, high + 0.1) if there else (x, y, 0.1)
        things.append(box("cup", spot, (0.06, 0.06, 0.08)))
    return things


def _on_boxes(halves: Grid, rng: np.random.Generator) -> Grid:
    """Return a point on the surface of each box, shape (points, 3), each coordinate in [-1, 1] of its half side."""
    inside = rng.uniform(-1, 1, halves.shape)
    areas = np.stack([halves[:, 1] * halves[:, 2], halves[:, 0] * halves[:, 2], halves[:, 0] * halves[:, 1]], axis=1)
    edges = np.cumsum(areas, axis=1)
    face = (rng.uniform(size=len(halves))[:, None] * edges[:, -1:] > edges[:, :-1]).sum(axis=1)
    inside[np.arange(len(halves)), face] = rng.choice([-1.0, 1.0], len(halves))
    return np.asarray(inside)
