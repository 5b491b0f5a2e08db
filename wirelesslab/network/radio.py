"""From positions to rates: link budgets of many users and cells, SINR, and what a slot carries.

Users are arrays and come in chunks, so that the memory beside the result stays small: a million users times
57 cells never exist in float64 at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network import path_loss
from wirelesslab.network.path_loss import SCENARIOS, Scenario
from wirelesslab.rng import substreams
from wirelesslab.units import db_to_linear

THERMAL_DBM_PER_HZ = -174.0  # at 290 K
CHUNK = 262_144  # user-cell pairs at a time
Antenna = Literal["omni", "sector"]
ANTENNAS: tuple[Antenna, ...] = ("omni", "sector")

Powers = NDArray[np.float32]


class RateMapping(Protocol):
    """Spectral efficiency as a function of SNR; the kernel of the slots knows those in `RATE_MAPPINGS`."""

    @property
    def slope(self) -> float:
        """Factor of the law."""
        ...

    @property
    def ceiling(self) -> float:
        """Largest efficiency in bit/s/Hz."""
        ...

    @property
    def least_snr(self) -> float:
        """SNR below which nothing gets through, linear."""
        ...

    def spectral_efficiency(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Return bit/s/Hz at an SNR, linear."""
        ...


@dataclass(frozen=True, kw_only=True)
class Shannon:
    """Truncated Shannon bound: a fraction of it between a least SNR and a largest efficiency.

    The form is that of 3GPP TR 36.942, annex A; the numbers are our choice: three quarters of the bound, up to
    the 7.4 bit/s/Hz that the highest entry of NR's 256QAM table comes to.

    Attributes:
        attenuation: Fraction of Shannon's bound.
        max_bps_per_hz: Largest efficiency.
        min_snr_db: Nothing gets through below it.

    Examples:
        >>> Shannon().spectral_efficiency([0.01, 1.0, 1e6]).round(2)
        array([0.  , 0.75, 7.4 ])
    """

    attenuation: float = 0.75
    max_bps_per_hz: float = 7.4
    min_snr_db: float = -10.0

    def __post_init__(self) -> None:
        check.positive(attenuation=self.attenuation, max_bps_per_hz=self.max_bps_per_hz)
        check.within(0, 1, attenuation=self.attenuation)
        check.finite(min_snr_db=self.min_snr_db)

    @property
    def slope(self) -> float:
        """Factor of the law."""
        return self.attenuation

    @property
    def ceiling(self) -> float:
        """Largest efficiency in bit/s/Hz."""
        return self.max_bps_per_hz

    @property
    def least_snr(self) -> float:
        """SNR below which nothing gets through, linear."""
        return float(db_to_linear(self.min_snr_db))

    def spectral_efficiency(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Return bit/s/Hz at an SNR, linear."""
        ratio = np.asarray(snr, dtype=float)
        rate = np.minimum(self.max_bps_per_hz, self.attenuation * np.log2(1 + ratio))
        return np.where(ratio < self.least_snr, 0.0, rate)


@dataclass(frozen=True, kw_only=True)
class ProportionalRate:
    """A rate exactly proportional to the SNR, as the closed form of proportional fairness supposes.

    Attributes:
        bps_per_hz: Efficiency at SNR 1.
    """

    bps_per_hz: float = 1.0

    def __post_init__(self) -> None:
        check.positive(bps_per_hz=self.bps_per_hz)

    @property
    def slope(self) -> float:
        """Factor of the law."""
        return self.bps_per_hz

    @property
    def ceiling(self) -> float:
        """There is none."""
        return float("inf")

    @property
    def least_snr(self) -> float:
        """Everything gets through."""
        return 0.0

    def spectral_efficiency(self, snr: ArrayLike) -> NDArray[np.float64]:
        """Return bit/s/Hz at an SNR, linear."""
        return self.bps_per_hz * np.asarray(snr, dtype=float)


RATE_MAPPINGS: tuple[type[RateMapping], ...] = (Shannon, ProportionalRate)


@dataclass(frozen=True, kw_only=True)
class LinkBudget:
    """What a user receives from a cell on average over the fast fading (downlink).

    Attributes:
        scenario: Path loss of TR 38.901.
        carrier_hz: Carrier frequency.
        bandwidth_hz: Of each cell.
        tx_power_dbm: Of each cell, over the whole band.
        noise_figure_db: Of the user's receiver.
        station_height_m: None takes the scenario's.
        user_height_m: None takes the scenario's.
        shadowing: Draw shadow fading, independent between sites and users (the standard correlates them
            over distance; we do not).
        line_of_sight: "drawn" by its probability, or the same "always" or "never" for all.
        antenna: "omni", or the "sector" pattern of TR 38.901, table 7.3-1, in both planes.
        antenna_gain_dbi: Largest gain; 8 dBi in that table.
        downtilt_deg: Of a sector's beam below the horizon (our choice: 10).
    """

    scenario: Scenario = "UMa"
    carrier_hz: float = 3.5e9
    bandwidth_hz: float = 20e6
    tx_power_dbm: float = 46.0
    noise_figure_db: float = 9.0
    station_height_m: float | None = None
    user_height_m: float | None = None
    shadowing: bool = True
    line_of_sight: Literal["drawn", "always", "never"] = "drawn"
    antenna: Antenna = "omni"
    antenna_gain_dbi: float = 8.0
    downtilt_deg: float = 10.0

    def __post_init__(self) -> None:
        check.one_of(SCENARIOS, scenario=self.scenario)
        check.one_of(ANTENNAS, antenna=self.antenna)
        check.one_of(("drawn", "always", "never"), line_of_sight=self.line_of_sight)
        check.within(0.5e9, 100e9, carrier_hz=self.carrier_hz)
        check.positive(bandwidth_hz=self.bandwidth_hz)
        check.finite(
            tx_power_dbm=self.tx_power_dbm, noise_figure_db=self.noise_figure_db, antenna_gain_dbi=self.antenna_gain_dbi
        )
        check.within(-90, 90, downtilt_deg=self.downtilt_deg)
        for name in ("station_height_m", "user_height_m"):
            if getattr(self, name) is not None:
                check.positive(**{name: getattr(self, name)})

    @property
    def heights_m(self) -> tuple[float, float]:
        """Heights of station and user."""
        station, user = self.station_height_m, self.user_height_m
        return (
            path_loss.STATION_HEIGHT_M[self.scenario] if station is None else station,
            path_loss.USER_HEIGHT_M[self.scenario] if user is None else user,
        )

    @property
    def noise_mw(self) -> float:
        """Noise power of the whole band, linear."""
        level = THERMAL_DBM_PER_HZ + 10 * np.log10(self.bandwidth_hz) + self.noise_figure_db
        return float(db_to_linear(float(level)))


def sector_gain_db(budget: LinkBudget, azimuth_deg: ArrayLike, elevation_deg: ArrayLike) -> NDArray[np.float64]:
    """Return the gain of a sector's antenna towards a direction, in dBi.

    Args:
        budget: Largest gain and downtilt.
        azimuth_deg: Off the sector's axis.
        elevation_deg: Above the horizon.

    References:
        3GPP TR 38.901, table 7.3-1: 65 degrees between the half-power points, at most 30 dB down.
    """
    azimuth = (np.asarray(azimuth_deg) + 180) % 360 - 180
    vertical = np.minimum(12 * ((np.asarray(elevation_deg) + budget.downtilt_deg) / 65) ** 2, 30)
    horizontal = np.minimum(12 * (azimuth / 65) ** 2, 30)
    return np.asarray(budget.antenna_gain_dbi - np.minimum(vertical + horizontal, 30))


def received_powers(
    budget: LinkBudget,
    users_m: ArrayLike,
    cells_m: ArrayLike,
    rng: np.random.Generator,
    *,
    azimuth_deg: ArrayLike | None = None,
) -> Powers:
    """Return the mean power that each user receives from each cell, linear, in mW, shape (users, cells).

    Cells at one place are sectors of one site and share line of sight and shadowing.

    Args:
        budget: The link budget.
        users_m: Positions in the plane, shape (users, 2).
        cells_m: Positions of the cells, shape (cells, 2).
        rng: Of line of sight and shadowing.
        azimuth_deg: Axis of each cell's sector, counterclockwise from the x axis, shape (cells,).

    Raises:
        ValueError: Arrays of other shapes, or a sector antenna without azimuths.
        MemoryError: The result does not fit.
    """
    users = check.array(users_m, (None, 2), "users, 2", name="users_m")
    num_cells = np.shape(cells_m)[0]
    check.fits_in_memory(4.0 * len(users) * num_cells, "received powers", "serve users in groups with `serving`")
    powers: Powers = np.empty((len(users), num_cells), np.float32)
    for rows, chunk in _chunks(budget, users, cells_m, rng, azimuth_deg):
        powers[rows] = chunk
    return powers


def _chunks(
    budget: LinkBudget, users: NDArray[Any], cells_m: ArrayLike, rng: np.random.Generator, azimuth_deg: ArrayLike | None
) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    cells = check.array(cells_m, (None, 2), "cells, 2", name="cells_m")
    if budget.antenna == "sector" and azimuth_deg is None:
        msg = "azimuth_deg: got None, expected the axis of each sector; or take antenna='omni'"
        raise ValueError(msg)
    sites, site_of = np.unique(cells, axis=0, return_inverse=True)
    site_of = site_of.reshape(-1)
    axis = None if azimuth_deg is None else check.array(azimuth_deg, (len(cells),), "cells", name="azimuth_deg")
    station, user = budget.heights_m
    limit = path_loss.break_point_m(budget.scenario, budget.carrier_hz, station, user)
    streams = substreams(rng, "sight", "shadow")  # two, so that the size of a chunk does not matter
    step = max(1, CHUNK // len(cells))
    for first in range(0, len(users), step):
        rows = slice(first, min(first + step, len(users)))
        east, north = (users[rows, None, k] - sites[None, :, k] for k in (0, 1))
        distance = np.hypot(east, north)
        if budget.line_of_sight == "drawn":
            probability = path_loss.line_of_sight_probability(budget.scenario, distance, user)
            seen = streams["sight"].random(distance.shape) < probability
        else:
            seen = np.full(distance.shape, budget.line_of_sight == "always")
        gain_db = budget.tx_power_dbm - path_loss.path_loss_db(
            budget.scenario, distance, budget.carrier_hz,
            line_of_sight=seen, station_height_m=station, user_height_m=user,
        )  # fmt: skip
        if budget.shadowing:
            std_db = path_loss.shadowing_std_db(budget.scenario, seen, distance, limit)
            gain_db = gain_db + std_db * streams["shadow"].standard_normal(distance.shape)
        per_cell = gain_db[:, site_of]
        if budget.antenna == "sector" and axis is not None:
            bearing = np.degrees(np.arctan2(north, east))[:, site_of] - axis
            elevation = np.degrees(np.arctan2(user - station, np.maximum(distance, 1e-3)))[:, site_of]
            per_cell = per_cell + sector_gain_db(budget, bearing, elevation)
        else:
            per_cell = per_cell + budget.antenna_gain_dbi
        yield rows, np.exp(per_cell * (np.log(10) / 10))


@dataclass(frozen=True, eq=False)
class Serving:
    """Which cell serves each user, and how well; shape (users,) each, ratios linear.

    Attributes:
        cell: The strongest cell, or the one that was asked for.
        snr: Over noise alone.
        sinr: Over noise and the other cells, weighted with their loads.
    """

    cell: NDArray[np.int64]
    snr: NDArray[np.float32]
    sinr: NDArray[np.float32]


def signal_quality(
    powers_mw: NDArray[np.floating[Any]], noise_mw: float, *, load: ArrayLike = 1.0, cell: ArrayLike | None = None
) -> Serving:
    """Return SNR and SINR of each user.

    Args:
        powers_mw: Received powers, linear, shape (users, cells).
        noise_mw: Noise power, linear.
        load: Share of the time in which each cell transmits, shape (cells,) or one for all; 1 is full
            interference. An average over time: the interference of a slot does not jump.
        cell: Serving cell of each user, shape (users,); the strongest by default.

    Examples:
        >>> s = signal_quality(np.array([[4.0, 1.0]]), 1.0, load=0.5)
        >>> s.snr.tolist(), s.sinr.round(3).tolist()
        ([4.0], [2.6670000553131104])
    """
    check.positive(noise_mw=noise_mw)
    weights = np.broadcast_to(np.asarray(load, dtype=float), powers_mw.shape[1:])
    if np.any((weights < 0) | (weights > 1)):
        msg = f"load: got values from {weights.min()} to {weights.max()}, expected shares in [0, 1]"
        raise ValueError(msg)
    serving = powers_mw.argmax(axis=1) if cell is None else np.asarray(cell, dtype=np.int64)
    signal = np.take_along_axis(powers_mw, serving[:, None], axis=1)[:, 0].astype(float)
    others = np.empty(len(powers_mw))
    step = max(1, CHUNK // max(powers_mw.shape[1], 1))
    for first in range(0, len(powers_mw), step):
        rows = slice(first, first + step)
        interference = powers_mw[rows].astype(float) * weights
        np.put_along_axis(interference, serving[rows, None], 0.0, axis=1)
        others[rows] = interference.sum(axis=1)
    return Serving(
        serving.astype(np.int64),
        (signal / noise_mw).astype(np.float32),
        (signal / (noise_mw + others)).astype(np.float32),
    )


def serving(
    budget: LinkBudget,
    users_m: ArrayLike,
    cells_m: ArrayLike,
    rng: np.random.Generator,
    *,
    azimuth_deg: ArrayLike | None = None,
    load: ArrayLike = 1.0,
) -> Serving:
    """Return what `signal_quality` makes of `received_powers`, without ever holding all the powers."""
    users = check.array(users_m, (None, 2), "users, 2", name="users_m")
    parts = [
        signal_quality(chunk.astype(np.float32), budget.noise_mw, load=load)
        for _, chunk in _chunks(budget, users, cells_m, rng, azimuth_deg)
    ]
    return Serving(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("cell", "snr", "sinr")))
