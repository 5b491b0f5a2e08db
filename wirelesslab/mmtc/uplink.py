"""From a scenario to what the station receives: cells drawn once, many frames in them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.mmtc.activity import checked_activity
from wirelesslab.mmtc.arrivals import NOBODY
from wirelesslab.mmtc.gains import GainPrior, gain_prior
from wirelesslab.mmtc.pilots import complex_normal
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.rng import substreams

Precision = Literal["complex64", "complex128"]
FRAMES_AT_ONCE_BYTES = 2**26  # scratch memory of the simulator, whatever the number of frames


@dataclass(frozen=True, eq=False)
class Cell:
    """What is drawn once: the pilots that the devices own, and how loud each device arrives.

    Attributes:
        scenario: The numbers it was drawn from.
        pilots: S, shape (L, N Q); device n owns the columns n Q … n Q + Q - 1.
        path_gain: β, linear, shape (N,).
    """

    scenario: Scenario
    pilots: NDArray[np.complex128]
    path_gain: NDArray[np.float64]

    def __post_init__(self) -> None:
        s = self.scenario
        pilots = check.array(self.pilots, (s.pilot_length, s.num_pilots), "L, num_pilots", name="pilots")
        gains = check.array(self.path_gain, (s.num_devices,), "N", name="path_gain")
        if np.any(gains < 0) or gains.dtype.kind == "c":
            msg = "path_gain: got an entry that is negative or complex, expected linear power gains of at least 0"
            raise ValueError(msg)
        object.__setattr__(self, "pilots", pilots.astype(np.complex128, copy=False))
        object.__setattr__(self, "path_gain", gains.astype(np.float64, copy=False))


@dataclass(frozen=True, eq=False)
class Observation:
    """What the base station knows: a detector's whole input.

    Attributes:
        received: Y, shape (frames, L, M); L is the window, with room for the largest delay.
        pilots: S, shape (L, N Q), in the same precision.
        noise_power: σ², per complex entry, linear.
        activity_prob: ε.
        gains: What is known of β.
        pilots_per_device: Q, columns of a device's block: its labels times its states.
        states_per_pilot: Columns of a block that are one label, side by side: the ways in which a device may
            arrive. 1 where everybody arrives in step.
    """

    received: NDArray[np.complexfloating[Any, Any]]
    pilots: NDArray[np.complexfloating[Any, Any]]
    noise_power: float
    activity_prob: float
    gains: GainPrior
    pilots_per_device: int
    states_per_pilot: int = 1

    def __post_init__(self) -> None:
        check.positive_integer(pilots_per_device=self.pilots_per_device, states_per_pilot=self.states_per_pilot)
        if self.pilots_per_device % self.states_per_pilot:
            wanted = f"a multiple of states_per_pilot={self.states_per_pilot}, labels times states"
            msg = f"pilots_per_device: got {self.pilots_per_device}, expected {wanted}"
            raise ValueError(msg)
        check.positive(noise_power=self.noise_power)
        check.probability(activity_prob=self.activity_prob)
        pilots = check.array(self.pilots, (None, None), "L, num_pilots", name="pilots")
        if pilots.shape[1] % self.pilots_per_device:
            wanted = f"a multiple of pilots_per_device={self.pilots_per_device}"
            msg = f"pilots: got {pilots.shape[1]} columns, expected {wanted}"
            raise ValueError(msg)
        received = check.array(
            self.received,
            (None, pilots.shape[0], None),
            "frames, L, M",
            name="received",
            because=f"L was set by pilots {pilots.shape}",
        )
        for name, values in (("received", received), ("pilots", pilots)):
            if values.dtype not in (np.complex64, np.complex128):
                msg = f"{name}: got an array of {values.dtype}, expected complex64 or complex128"
                raise TypeError(msg)
        if not received.size:
            msg = f"received: got shape {received.shape}, expected at least one frame, symbol and antenna"
            raise ValueError(msg)
        nodes = check.array(self.gains.nodes, (self.num_devices, None), "N, J", name="gains.nodes")
        weights = check.array(self.gains.weights, (nodes.shape[1],), "J", name="gains.weights")
        if np.any(nodes < 0) or np.any(weights <= 0):
            msg = "gains: got a negative gain or a weight that is not above 0, expected linear gains and probabilities"
            raise ValueError(msg)

    @property
    def num_frames(self) -> int:
        """Frames observed."""
        return int(self.received.shape[0])

    @property
    def pilot_length(self) -> int:
        """L, symbols that the station listened for."""
        return int(self.received.shape[1])

    @property
    def num_labels(self) -> int:
        """Labels of a device, silence apart."""
        return self.pilots_per_device // self.states_per_pilot

    @property
    def num_antennas(self) -> int:
        """M."""
        return int(self.received.shape[2])

    @property
    def num_devices(self) -> int:
        """N."""
        return int(self.pilots.shape[1]) // self.pilots_per_device


@dataclass(frozen=True, eq=False)
class Truth:
    """What only the simulator knows.

    Attributes:
        symbols: b, shape (frames, N), 0 silent, 1..Q the pilot sent.
        path_gain: β, shape (N,).
        active_channels: sqrt-free small-scale channels h of those who spoke, shape (spoken, M), in
            the row-major order of ``symbols != 0``.
        arrival_states: How each device that spoke arrived, shape (frames, N), -1 for the silent; None when
            everybody arrived in step.
    """

    symbols: NDArray[np.int64]
    path_gain: NDArray[np.float64]
    active_channels: NDArray[np.complexfloating[Any, Any]]
    arrival_states: NDArray[np.int64] | None = None

    @property
    def states(self) -> NDArray[np.int64]:
        """How each device arrived, shape (frames, N): a state of the scenario's arrival, -1 for the silent."""
        if self.arrival_states is not None:
            return self.arrival_states
        return np.where(self.activity, 0, NOBODY)

    @property
    def activity(self) -> NDArray[np.bool_]:
        """A, who spoke, shape (frames, N)."""
        return self.symbols > 0

    @property
    def channels(self) -> NDArray[np.complexfloating[Any, Any]]:
        """H, shape (frames, N, M), zero for the silent; built on each call, mind its size."""
        dense = np.zeros((*self.symbols.shape, self.active_channels.shape[1]), self.active_channels.dtype)
        dense[self.activity] = self.active_channels
        return dense


def draw_cell(scenario: Scenario, rng: np.random.Generator) -> Cell:
    """Draw pilots and path gains.

    Raises:
        MemoryError: The pilots would not fit in memory.
        ValueError: The codebook has too few pilots of that length.
    """
    check.fits_in_memory(
        4 * 16.0 * scenario.pilot_length * scenario.num_pilots,
        f"pilots of {scenario.pilot_length} symbols x {scenario.num_pilots} columns",
        "lower num_devices, bits_per_device or pilot_length",
    )
    streams = substreams(rng, "pilots", "gains")
    return Cell(
        scenario,
        scenario.codebook.draw(streams["pilots"], scenario.pilot_length, scenario.num_pilots),
        scenario.gain_law.draw(streams["gains"], scenario.num_devices),
    )


def simulate(
    cell_or_scenario: Cell | Scenario,
    rng: np.random.Generator,
    *,
    num_frames: int = 1,
    activity: ArrayLike | None = None,
    symbols: ArrayLike | None = None,
    precision: Precision = "complex64",
) -> tuple[Observation, Truth]:
    """Simulate frames of one cell.

    Each purpose (pilots, gains, activity, symbols, channels, noise) draws from a stream of its
    own, split off `rng`: two scenarios that differ in their SNR meet the same air.

    Args:
        cell_or_scenario: A cell, or a scenario from which one is drawn first.
        rng: The source of all randomness.
        num_frames: Frames in this cell.
        activity: Who speaks, 0 or 1, shape (frames, N); drawn from the scenario's law when None.
        symbols: What is sent, 0 silent or 1..Q, shape (frames, N); drawn uniformly when None. Given
            with `activity`, the two must agree on who speaks.
        precision: Of the received signal and the pilots that the detector sees.

    Returns:
        The observation, for detectors, and the truth, for judges and genies.

    Raises:
        ValueError: A given array has the wrong shape, NaN, or entries out of range.
        MemoryError: The frames would not fit in memory.

    Examples:
        >>> from wirelesslab.rng import stream
        >>> observation, truth = simulate(Scenario(num_devices=40), stream(1), num_frames=8)
        >>> observation.received.shape, truth.symbols.shape
        ((8, 30, 4), (8, 40))
    """
    check.positive_integer(num_frames=num_frames)
    check.one_of(("complex64", "complex128"), precision=precision)
    dtype = np.dtype(precision)
    streams = substreams(rng, "cell", "activity", "symbols", "channels", "noise")
    scenario = cell_or_scenario.scenario if isinstance(cell_or_scenario, Cell) else cell_or_scenario
    if not isinstance(scenario, Scenario):
        msg = f"cell_or_scenario: got {type(scenario).__name__}, expected a Cell or a Scenario"
        raise TypeError(msg)
    s = scenario
    check.fits_in_memory(
        num_frames * s.num_devices * (24.0 + 2 * s.activity_prob * s.num_antennas * dtype.itemsize)
        + num_frames * s.window_length * s.num_antennas * 2.0 * dtype.itemsize
        + 24.0 * s.window_length * s.num_pilots * s.arrival.num_states,
        f"{num_frames} frames of {s.num_devices} devices, {s.pilot_length} symbols and {s.num_antennas} antennas",
        "lower num_frames and add up the counts of several calls, or lower num_devices",
    )
    cell = cell_or_scenario if isinstance(cell_or_scenario, Cell) else draw_cell(s, streams["cell"])
    sent = _labels(s, num_frames, activity, symbols, streams["activity"], streams["symbols"])
    columns = s.arrival.expand(cell.pilots)
    arrived = _arrived(s, num_frames, sent, streams["symbols"].spawn(1)[0])
    received, channels = _air(cell, columns, sent, arrived, streams, dtype)
    observation = Observation(
        received=received,
        pilots=columns.astype(dtype),
        noise_power=s.noise_power,
        activity_prob=s.activity_prob,
        gains=gain_prior(s.gain_knowledge, s.gain_law, cell.path_gain),
        pilots_per_device=s.pilots_per_device * s.arrival.num_states,
        states_per_pilot=s.arrival.num_states,
    )
    return observation, Truth(sent, cell.path_gain, channels, arrived.states)


@dataclass(frozen=True, eq=False)
class _Arrived:
    """How devices arrive: their states, -1 for the silent, and their distance to the grid of carriers; (frames, N)."""

    states: NDArray[np.int64]
    residuals: NDArray[np.float64] | None


def _arrived(s: Scenario, num_frames: int, sent: NDArray[np.int64], rng: np.random.Generator) -> _Arrived:
    states_rng, residuals_rng = rng.spawn(2)
    states = s.arrival.draw(states_rng, num_frames, s.num_devices)
    return _Arrived(np.where(sent > 0, states, NOBODY), s.arrival.residuals(residuals_rng, num_frames, s.num_devices))


def _air(
    cell: Cell,
    columns: NDArray[np.complex128],
    sent: NDArray[np.int64],
    arrived: _Arrived,
    streams: dict[str, np.random.Generator],
    dtype: np.dtype[Any],
) -> tuple[NDArray[np.complexfloating[Any, Any]], NDArray[np.complexfloating[Any, Any]]]:
    """Return what is received, shape (frames, L, M), and the channels of all who spoke, shape (spoken, M)."""
    s, amplitude = cell.scenario, np.sqrt(cell.path_gain)
    (num_frames, most), window, m = sent.shape, columns.shape[0], s.num_antennas
    column = (np.arange(s.num_devices) * s.pilots_per_device + sent - 1) * s.arrival.num_states + arrived.states
    received = np.empty((num_frames, window, m), dtype)
    speakers = np.count_nonzero(sent, axis=1)
    channels = np.empty((int(speakers.sum()), m), dtype)
    first, noise_scale = 0, np.sqrt(s.noise_power)
    late_noise = streams["noise"].spawn(1)[0]
    # In chunks, all speakers of a chunk at once: a law that computes its channels elsewhere is called seldom.
    step = max(1, FRAMES_AT_ONCE_BYTES // (16 * max(window, min(most, int(speakers.max(initial=0)))) * m))
    for start in range(0, num_frames, step):
        stop = min(start + step, num_frames)
        noise = np.empty((stop - start, window, m), np.complex128)
        # The symbols after a pilot's length have a stream of their own: a sweep over delays meets the same noise.
        noise[:, : s.pilot_length] = complex_normal(streams["noise"], (stop - start, s.pilot_length, m))
        noise[:, s.pilot_length :] = complex_normal(late_noise, (stop - start, window - s.pilot_length, m))
        noise *= noise_scale
        h = s.fading.draw(streams["channels"], int(speakers[start:stop].sum()), m)
        channels[first : first + len(h)] = h
        here = 0
        for frame in range(start, stop):
            devices = np.flatnonzero(sent[frame])
            signatures = columns[:, column[frame, devices]]
            if arrived.residuals is not None:
                turns = np.arange(window)[:, None] * arrived.residuals[frame, devices]
                signatures = signatures * np.exp(2j * np.pi * turns)
            own = h[here : here + devices.size]
            received[frame] = signatures @ (amplitude[devices, None] * own) + noise[frame - start]
            here += devices.size
        first += here
    return received, channels


def _labels(
    scenario: Scenario,
    num_frames: int,
    activity: ArrayLike | None,
    symbols: ArrayLike | None,
    activity_rng: np.random.Generator,
    symbols_rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return what is sent, shape (frames, N), drawing what was not given."""
    shape, q = (num_frames, scenario.num_devices), scenario.pilots_per_device
    active = None if activity is None else checked_activity(activity, *shape)
    if symbols is None:
        if active is None:
            active = scenario.activity_law.draw(activity_rng, *shape, scenario.activity_prob)
        return np.where(active, symbols_rng.integers(1, q + 1, size=shape), 0)
    given = check.array(
        symbols, shape, "frames, N", name="symbols", because="frames are set by num_frames, N by the scenario"
    )
    bad = (given != np.floor(given.real)) | (given.real < 0) | (given.real > q)
    if bad.any():
        frame, device = np.argwhere(bad)[0]
        msg = (
            f"symbols: got {given[frame, device]} in frame {frame}, device {device}, "
            f"expected 0 (silent) or a label in 1..{q}"
        )
        raise ValueError(msg)
    labels = given.real.astype(np.int64)
    if active is not None and np.any((labels > 0) != active):
        frame, device = np.argwhere((labels > 0) != active)[0]
        msg = (
            f"symbols: got {labels[frame, device]} in frame {frame}, device {device}, whose activity is "
            f"{int(active[frame, device])}; give 0 for the silent and 1..{q} for those who speak"
        )
        raise ValueError(msg)
    return labels
