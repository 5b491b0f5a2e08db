"""Where users can be: areas of the plane."""

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check

Points = NDArray[np.float64]  # shape (n, 2), metres


class Area(Protocol):
    """A convex area of the plane."""

    def contains(self, points_m: Points, /) -> NDArray[np.bool_]:
        """Return which points (n, 2) lie in the area, its border included (up to rounding)."""
        ...

    def place(self, uniform: NDArray[np.float64], /) -> Points:
        """Map numbers in (0, 1), shape (n, 2), to points spread evenly over the area, shape (n, 2)."""
        ...

    def reflect(self, points_m: Points, /) -> Points:
        """Return points mirrored at the border, as often as it takes, until they lie in the area."""
        ...


@dataclass(frozen=True, kw_only=True)
class Rectangle:
    """The points between two corners.

    Attributes:
        low_m: The corner with the smaller coordinates.
        high_m: The opposite corner.
    """

    low_m: tuple[float, float] = (0.0, 0.0)
    high_m: tuple[float, float]

    def __post_init__(self) -> None:
        for axis in (0, 1):
            check.finite(low_m=self.low_m[axis], high_m=self.high_m[axis])
            if self.low_m[axis] >= self.high_m[axis]:
                msg = f"high_m: got {self.high_m}, expected both coordinates above those of low_m={self.low_m}"
                raise ValueError(msg)

    def contains(self, points_m: Points, /) -> NDArray[np.bool_]:
        """Return which points lie in the rectangle."""
        slack = 1e-9 * (np.subtract(self.high_m, self.low_m))
        inside = (points_m >= self.low_m - slack) & (points_m <= self.high_m + slack)
        return np.asarray(inside.all(axis=1))

    def place(self, uniform: NDArray[np.float64], /) -> Points:
        """Return points spread evenly."""
        return np.asarray(self.low_m + uniform * np.subtract(self.high_m, self.low_m))

    def reflect(self, points_m: Points, /) -> Points:
        """Return points mirrored into the rectangle."""
        half = np.subtract(self.high_m, self.low_m) / 2
        return np.asarray(self.low_m + half + _fold(points_m - self.low_m - half, half))


@dataclass(frozen=True, kw_only=True)
class Disc:
    """The points within a radius of a centre."""

    radius_m: float
    center_m: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        check.positive(radius_m=self.radius_m)
        check.finite(center_m=self.center_m[0])
        check.finite(center_m=self.center_m[1])

    def contains(self, points_m: Points, /) -> NDArray[np.bool_]:
        """Return which points lie in the disc."""
        return np.asarray(np.hypot(*(points_m - self.center_m).T) <= self.radius_m * (1 + 1e-9))

    def place(self, uniform: NDArray[np.float64], /) -> Points:
        """Return points spread evenly."""
        radius, angle = self.radius_m * np.sqrt(uniform[:, 0]), 2 * math.pi * uniform[:, 1]
        return np.asarray(self.center_m + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1))

    def reflect(self, points_m: Points, /) -> Points:
        """Return points mirrored along their radius."""
        offset = points_m - self.center_m
        radius = np.hypot(*offset.T)
        scale = np.where(radius > self.radius_m, _fold(radius, self.radius_m) / np.maximum(radius, self.radius_m), 1.0)
        return np.asarray(self.center_m + offset * scale[:, None])


@dataclass(frozen=True, kw_only=True)
class Hexagon:
    """A regular hexagon with two corners straight above and below its centre, as the cells of `hex_cells`.

    Attributes:
        radius_m: From the centre to a corner; 1/sqrt(3) of the distance between sites.
        center_m: The centre.
    """

    radius_m: float
    center_m: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self) -> None:
        check.positive(radius_m=self.radius_m)
        check.finite(center_m=self.center_m[0])
        check.finite(center_m=self.center_m[1])

    @property
    def _normals(self) -> Points:
        angle = np.arange(3) * math.pi / 3  # of three sides; the others lie opposite
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)

    @property
    def _apothem_m(self) -> float:
        return self.radius_m * math.sqrt(3) / 2

    def contains(self, points_m: Points, /) -> NDArray[np.bool_]:
        """Return which points lie in the hexagon."""
        distance = np.abs((points_m - self.center_m) @ self._normals.T)
        return np.asarray((distance <= self._apothem_m * (1 + 1e-9)).all(axis=1))

    def place(self, uniform: NDArray[np.float64], /) -> Points:
        """Return points spread evenly, over the three rhombi that make up the hexagon."""
        angle = math.pi / 2 + np.arange(4) * 2 * math.pi / 3
        corners = self.radius_m * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        rhombus, along = np.divmod(3 * uniform[:, 0], 1.0)
        first = np.minimum(rhombus.astype(np.int64), 2)
        return np.asarray(self.center_m + along[:, None] * corners[first] + uniform[:, 1:2] * corners[first + 1])

    def reflect(self, points_m: Points, /) -> Points:
        """Return points mirrored at the sides; each mirroring brings them nearer to the centre."""
        offset = points_m - self.center_m
        outside = np.flatnonzero(~self.contains(points_m))
        while outside.size:
            for normal in self._normals:
                along = offset[outside] @ normal
                offset[outside] += (_fold(along, self._apothem_m) - along)[:, None] * normal
            outside = outside[~self.contains(offset[outside] + self.center_m)]
        return np.asarray(self.center_m + offset)


AREAS: tuple[type[Area], ...] = (Rectangle, Disc, Hexagon)


def _fold(value: NDArray[np.float64], bound: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers mirrored at -bound and bound until they lie between."""
    turn = np.mod(value + bound, 4 * np.asarray(bound))
    return np.asarray(np.where(turn > 2 * np.asarray(bound), 3 * np.asarray(bound) - turn, turn - bound))
