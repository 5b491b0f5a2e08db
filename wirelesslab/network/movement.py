"""Users on the move: positions, what they receive there, and the cell that serves them."""

from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.handover import A3, Handover, HandoverRecord
from wirelesslab.network.mobility import Mobility, Static
from wirelesslab.network.radio import LinkBudget, RateMapping, received_powers, signal_quality
from wirelesslab.network.source_streams import Memory
from wirelesslab.rng import stream


class Movable(Protocol):
    """A radio whose users can change cell and quality while it runs."""

    def set_users(self, cells: ArrayLike, mean: ArrayLike, /) -> None:
        """From now on users are in these cells, with this mean SINR, or full-band rate in bits per second."""
        ...


class Movement:
    """Moves users, measures, and hands them over.

    Line of sight and shadowing are a user's own for the whole run (drawn from the same numbers at every
    measurement), so that they change with distance only.

    Args:
        mobility: How users move.
        budget: From positions to received powers.
        users_m: Where they begin, shape (users, 2).
        cells_m: Where the cells stand, shape (cells, 2).
        rule: When users change cells.
        every_s: Spacing of the measurements.
        azimuth_deg: Axis of each cell's sector, shape (cells,), for sector antennas.
        load: Share of the time in which the other cells transmit.
        rate: With it the radio is told rates in bits per second (`FlowAccess`), without it the SINR.
        seed: Of line of sight, shadowing and the movement.
        name: Of its streams, so that two radios of one simulation differ.
    """

    def __init__(
        self,
        mobility: Mobility,
        budget: LinkBudget,
        users_m: ArrayLike,
        cells_m: ArrayLike,
        *,
        rule: A3 | None = None,
        every_s: float = 0.1,
        azimuth_deg: ArrayLike | None = None,
        load: float = 1.0,
        rate: RateMapping | None = None,
        seed: int = 0,
        name: str = "movement",
    ) -> None:
        check.positive(every_s=every_s)
        check.within(0, 1, load=load)
        self.mobility, self.budget, self.every_s, self.load, self.rate = mobility, budget, every_s, load, rate
        self._seed, self._name, self._azimuth_deg = seed, name, azimuth_deg
        self.users_m: NDArray[np.float64] = check.array(users_m, (None, 2), "users, 2", name="users_m").astype(float)
        self.cells_m: NDArray[np.float64] = check.array(cells_m, (None, 2), "cells, 2", name="cells_m").astype(float)
        self._rng = stream(seed, "movement", name)
        self._memory: Memory = mobility.begin(self._rng, self.users_m)
        self._rounds = 0
        powers = self._powers()
        self.handover = Handover(rule or A3(), powers)
        self.mean = self._quality(powers)

    @property
    def cells(self) -> NDArray[np.int64]:
        """Serving cell of each user, shape (users,)."""
        return self.handover.serving

    def advance(self, since_start_s: float, access: Movable) -> HandoverRecord | None:
        """Move, measure and tell the radio, if it is time; returns who changed cells then."""
        rounds = int(since_start_s / self.every_s * (1 + 1e-12))
        if rounds <= self._rounds:
            return None
        step_s = (rounds - self._rounds) * self.every_s
        self._rounds = rounds
        if isinstance(self.mobility, Static):
            return None
        self.users_m = self.mobility.advance(self._rng, self._memory, self.users_m, step_s)
        powers = self._powers()
        record = self.handover.measure(powers, rounds * self.every_s)
        self.mean = self._quality(powers)
        access.set_users(self.cells, self.mean)
        return record

    def _powers(self) -> NDArray[np.float32]:
        rng = stream(self._seed, "large scale", self._name)
        return received_powers(self.budget, self.users_m, self.cells_m, rng, azimuth_deg=self._azimuth_deg)

    def _quality(self, powers: NDArray[np.float32]) -> NDArray[np.float64]:
        cell = self.handover.serving
        sinr = signal_quality(powers, self.budget.noise_mw, load=self.load, cell=cell).sinr.astype(float)
        if self.rate is None:
            return sinr
        return self.budget.bandwidth_hz * self.rate.spectral_efficiency(sinr)
