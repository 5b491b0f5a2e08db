"""Where the station's antennas stand, and how a plane wave meets them.

The arrays stand in the plane of y and z; azimuth is counted from the x axis, their broadside, and zenith
from the z axis, as in 3GPP TR 38.901. Lengths are in wavelengths.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check


class AntennaArray(Protocol):
    """A law of where antennas stand, for any number of them that it can hold."""

    def grid(self, num_antennas: int) -> tuple[int, int]:
        """Return rows (along z) and columns (along y)."""
        ...

    @property
    def spacings(self) -> tuple[float, float]:
        """Distance between rows and between columns, in wavelengths."""
        ...


@dataclass(frozen=True, kw_only=True)
class UniformLinear:
    """A horizontal row of antennas at equal distances.

    Attributes:
        spacing_wavelengths: Distance between neighbours, in wavelengths.
    """

    spacing_wavelengths: float = 0.5

    def __post_init__(self) -> None:
        check.positive(spacing_wavelengths=self.spacing_wavelengths)

    def grid(self, num_antennas: int) -> tuple[int, int]:
        """Return one row and M columns."""
        return 1, num_antennas

    @property
    def spacings(self) -> tuple[float, float]:
        """Distance between rows (there is but one) and between columns, in wavelengths."""
        return self.spacing_wavelengths, self.spacing_wavelengths


@dataclass(frozen=True, kw_only=True)
class UniformPlanar:
    """Antennas on a rectangular grid, counted down the columns.

    Attributes:
        num_rows: Rows, one above the other; M must be a multiple of it.
        spacing_wavelengths: Distance between columns, in wavelengths.
        row_spacing_wavelengths: Distance between rows, in wavelengths.
    """

    num_rows: int = 2
    spacing_wavelengths: float = 0.5
    row_spacing_wavelengths: float = 0.5

    def __post_init__(self) -> None:
        check.positive_integer(num_rows=self.num_rows)
        check.positive(
            spacing_wavelengths=self.spacing_wavelengths, row_spacing_wavelengths=self.row_spacing_wavelengths
        )

    def grid(self, num_antennas: int) -> tuple[int, int]:
        """Return rows and columns.

        Raises:
            ValueError: M antennas do not fill the rows.
        """
        if num_antennas % self.num_rows:
            msg = f"num_antennas: got {num_antennas}, expected a multiple of num_rows={self.num_rows} of the array"
            raise ValueError(msg)
        return self.num_rows, num_antennas // self.num_rows

    @property
    def spacings(self) -> tuple[float, float]:
        """Distance between rows and between columns, in wavelengths."""
        return self.row_spacing_wavelengths, self.spacing_wavelengths


def positions(array: AntennaArray, num_antennas: int) -> NDArray[np.float64]:
    """Return where the antennas stand around the array's middle, in wavelengths, shape (M, 3).

    Examples:
        >>> positions(UniformLinear(), 3)[:, 1]
        array([-0.5,  0. ,  0.5])
    """
    rows, columns = array.grid(num_antennas)
    row, column = np.tile(np.arange(rows), columns), np.repeat(np.arange(columns), rows)
    place = np.zeros((num_antennas, 3))
    place[:, 1] = (column - (columns - 1) / 2) * array.spacings[1]
    place[:, 2] = ((rows - 1) / 2 - row) * array.spacings[0]
    return place


def aperture(array: AntennaArray, num_antennas: int) -> float:
    """Return the largest distance between two antennas, in wavelengths."""
    rows, columns = array.grid(num_antennas)
    return float(np.hypot((rows - 1) * array.spacings[0], (columns - 1) * array.spacings[1]))


def response(
    array: AntennaArray, num_antennas: int, azimuth: ArrayLike, zenith: ArrayLike = np.pi / 2
) -> NDArray[np.complex128]:
    """Return the array's response to plane waves, of unit modulus.

    a_m = exp(2πi p_m · u) with the antenna's place p_m in wavelengths and the direction
    u = (sin ζ cos φ, sin ζ sin φ, cos ζ) from which the wave comes.

    Args:
        array: The law of places.
        num_antennas: M.
        azimuth: φ, in radians, any shape.
        zenith: ζ, in radians, of a shape that goes with it; the horizon when left out.

    Returns:
        Shape (…, M).
    """
    phi, zeta = np.broadcast_arrays(np.asarray(azimuth, float), np.asarray(zenith, float))
    place = positions(array, num_antennas)
    path = (np.sin(zeta) * np.sin(phi))[..., None] * place[:, 1] + np.cos(zeta)[..., None] * place[:, 2]
    return np.asarray(np.exp(2j * np.pi * path))
