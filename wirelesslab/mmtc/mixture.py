"""Where training data comes from: cells drawn at random, or one cell again and again."""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc.arrivals import Arrival, Synchronous
from wirelesslab.mmtc.channels import Fading, Rayleigh
from wirelesslab.mmtc.gains import EqualGain, GainKnowledge, GainLaw
from wirelesslab.mmtc.limits import block_map_rates
from wirelesslab.mmtc.pilots import pilots_digest
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import Cell, draw_cell
from wirelesslab.mmtc.weight_files import TrainedFor
from wirelesslab.results import ADDED_LATER
from wirelesslab.rng import stream

Shape = tuple[int, int, int, int]  # N, J, L, M


SCREENING_NODES = 8  # a rough rate decides whether a cell is of use
MOST_SYMBOLS_PER_SPEAKER = 1e6  # light cells are easy; no network needs to be warned of them


def _spread_db(law: GainLaw) -> float:
    nodes, weights = law.quadrature(64)
    gain_db = 10 * np.log10(nodes)
    return float(np.sqrt(weights @ (gain_db - weights @ gain_db) ** 2))


class Source(Protocol):
    """Gives the cell of each training step."""

    def cell(self, rng: np.random.Generator) -> Cell:
        """Return a cell."""
        ...

    def trained_for(self) -> TrainedFor:
        """Return what a network that learns from this source has seen."""
        ...


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Random pilots in cells of random shape: sizes and activity log-uniform, SNR uniform.

    Attributes:
        num_devices: Least and most N.
        bits_per_device: J, one of these.
        pilot_length: Least and most L.
        num_antennas: Least and most M.
        activity_prob: Least and most ε.
        snr_db: Least and most SNR in dB.
        gain_laws: One of these; a law given twice comes twice as often.
        fadings: One of these.
        gain_knowledge: What the station knows of β.
        least_symbols_per_speaker: Cells with a smaller L/(εN) are left out: nobody hears there.
        single_user_ser: Cells whose single-user symbol error rate is outside are left out: they
            teach nothing, being without errors, or without hope.
        crowded_below: With a smaller L/(εN) a cell is crowded: others cause errors at any SNR, and the
            lower end of `single_user_ser` does not apply; 0 takes no cell for crowded.
        excluded: Shapes (N, J, L, M) that are kept for testing.
        arrivals: How devices arrive: one of these; a law given twice comes twice as often.
        most_columns: Cells with more columns, N times labels times states, are left out; they take long.
    """

    num_devices: tuple[int, int] = (50, 220)
    bits_per_device: tuple[int, ...] = (1, 2)
    pilot_length: tuple[int, int] = (12, 64)
    num_antennas: tuple[int, int] = (2, 16)
    activity_prob: tuple[float, float] = (0.045, 0.16)
    snr_db: tuple[float, float] = (-7.0, 11.0)
    gain_laws: tuple[GainLaw, ...] = (EqualGain(),)
    fadings: tuple[Fading, ...] = (Rayleigh(),)
    gain_knowledge: GainKnowledge = "known"
    least_symbols_per_speaker: float = 1.2
    single_user_ser: tuple[float, float] = (3e-6, 8e-2)
    crowded_below: float = 0.0
    excluded: tuple[Shape, ...] = ()
    arrivals: tuple[Arrival, ...] = field(default=(Synchronous(),), metadata=ADDED_LATER)
    most_columns: float = field(default=float("inf"), metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        for name in ("num_devices", "pilot_length", "num_antennas", "activity_prob", "snr_db", "single_user_ser"):
            low, high = getattr(self, name)
            if not low <= high:
                msg = f"{name}: got {low} to {high}, expected the lower end first"
                raise ValueError(msg)
        check.positive(least_symbols_per_speaker=self.least_symbols_per_speaker)
        for end in (0, 1):  # a corner that no scenario accepts is refused now
            Scenario(
                num_devices=self.num_devices[end],
                pilot_length=self.pilot_length[end],
                num_antennas=self.num_antennas[end],
                activity_prob=self.activity_prob[end],
                snr_db=self.snr_db[end],
            )
        for name in ("bits_per_device", "gain_laws", "fadings", "arrivals"):
            if not getattr(self, name):
                msg = f"{name}: got none, expected at least one"
                raise ValueError(msg)

    def draw(self, rng: np.random.Generator) -> Scenario:
        """Return one scenario.

        Raises:
            ValueError: A thousand draws in a row were left out.
        """
        for _ in range(1000):
            scenario = self._draw(rng)
            s = scenario
            if (s.num_devices, s.bits_per_device, s.pilot_length, s.num_antennas) in self.excluded:
                continue
            if s.num_pilots * s.arrival.num_states > self.most_columns:
                continue
            if s.load > 1 / self.least_symbols_per_speaker:
                continue
            least = 0.0 if s.load * self.crowded_below > 1 else self.single_user_ser[0]
            in_step = replace(s, arrival=Synchronous())  # a rough rate will do, and only this one has a closed form
            if (
                least
                <= block_map_rates(in_step, s.noise_power, num_nodes=SCREENING_NODES).ser
                <= self.single_user_ser[1]
            ):
                return scenario
        msg = f"mixture: no cell of 1000 was of use; widen single_user_ser={self.single_user_ser} or the ranges"
        raise ValueError(msg)

    def _draw(self, rng: np.random.Generator) -> Scenario:
        def whole(low: int, high: int) -> int:
            return min(int(np.exp(rng.uniform(np.log(low), np.log(high + 1)))), high)

        return Scenario(
            num_devices=whole(*self.num_devices),
            bits_per_device=int(rng.choice(self.bits_per_device)),
            pilot_length=whole(*self.pilot_length),
            num_antennas=whole(*self.num_antennas),
            activity_prob=float(np.exp(rng.uniform(*np.log(self.activity_prob)))),
            snr_db=float(rng.uniform(*self.snr_db)),
            gain_law=self.gain_laws[int(rng.integers(len(self.gain_laws)))],
            fading=self.fadings[int(rng.integers(len(self.fadings)))],
            gain_knowledge=self.gain_knowledge,
            # With one law there is nothing to draw: the streams of earlier trainings stay as they were.
            arrival=self.arrivals[0 if len(self.arrivals) == 1 else int(rng.integers(len(self.arrivals)))],
        )

    def cell(self, rng: np.random.Generator) -> Cell:
        """Return a cell with pilots of its own."""
        return draw_cell(self.draw(rng), rng)

    def trained_for(self) -> TrainedFor:
        """Return the ranges."""
        return TrainedFor(
            num_devices=self.num_devices,
            pilots_per_device=(
                2 ** min(self.bits_per_device) * min(a.num_states for a in self.arrivals),
                2 ** max(self.bits_per_device) * max(a.num_states for a in self.arrivals),
            ),
            pilot_length=self.pilot_length,
            num_antennas=self.num_antennas,
            activity_prob=self.activity_prob,
            snr_db=self.snr_db,
            symbols_per_speaker=(self.least_symbols_per_speaker, MOST_SYMBOLS_PER_SPEAKER),
            gain_spread_db=(0.0, 1.2 * max(map(_spread_db, self.gain_laws))),  # a cell's own spread varies
            gain_knowledge=self.gain_knowledge,
        )


@dataclass(frozen=True, kw_only=True)
class OneCell:
    """One set of pilots and gains, again and again: what a network with parameters per device needs.

    Attributes:
        scenario: The cell, in numbers; its SNR is the middle of the range.
        cell_seed: Seeds the pilots and gains.
        snr_range_db: The SNR is uniform within half of this to both sides.
    """

    scenario: Scenario
    cell_seed: int = 0
    snr_range_db: float = 0.0

    def fixed(self) -> Cell:
        """Return the cell, at its own SNR."""
        return draw_cell(self.scenario, stream(self.cell_seed, "the one cell"))

    def cell(self, rng: np.random.Generator) -> Cell:
        """Return the cell at a random SNR."""
        fixed = self.fixed()
        shift = self.snr_range_db * (float(rng.random()) - 0.5)
        return replace(fixed, scenario=replace(self.scenario, snr_db=self.scenario.snr_db + shift))

    def trained_for(self) -> TrainedFor:
        """Return the cell's own numbers."""
        s, half = self.scenario, self.snr_range_db / 2
        return TrainedFor(
            num_devices=(s.num_devices,) * 2,
            pilots_per_device=(s.pilots_per_device,) * 2,
            pilot_length=(s.pilot_length,) * 2,
            num_antennas=(s.num_antennas,) * 2,
            activity_prob=(s.activity_prob,) * 2,
            snr_db=(s.snr_db - half, s.snr_db + half),
            symbols_per_speaker=(1 / s.load,) * 2,
            gain_knowledge=s.gain_knowledge,
            pilots_digest=pilots_digest(self.fixed().pilots),
        )


# The cell of the shipped network with parameters per device: overloaded, where AMP alone fails.
ONE_CELL = OneCell(
    scenario=Scenario(
        num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, activity_prob=0.1, snr_db=0.0
    ),
    cell_seed=1,
    snr_range_db=4.0,
)
