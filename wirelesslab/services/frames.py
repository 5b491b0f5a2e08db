"""What becomes of a frame: one protocol, and the receivers that need no table.

A frame is one turn of a codebook: some of its devices speak one pilot each, and the station believes
something of every device. What it believes of a speaker is nothing (missed), what was said, or something
else (wrong); of a silent device, nothing or a false alarm.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc.detection import Detector
from wirelesslab.mmtc.gains import EqualGain
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import Cell, draw_cell, simulate
from wirelesslab.rng import stream
from wirelesslab.services.frame_kernels import HEARD, MISSED, WHO, WRONG, chance

Integers = NDArray[np.int64]
AT_ONCE = 64  # frames in one call of a detector


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames that are computed together, in the order of their slots.

    Attributes:
        slot: When, shape (frames,).
        cell: Where, shape (frames,).
        codebook: Whose turn, counted over all cells, shape (frames,).
        first: Where each frame's speakers begin, shape (frames + 1,).
        label: Place of each speaker in its codebook, shape (speakers,).
        activity_prob: ε that the detector is told in each frame, shape (frames,); NaN leaves the scenario's.
    """

    slot: Integers
    cell: Integers
    codebook: Integers
    first: Integers
    label: Integers
    activity_prob: NDArray[np.float64]

    @property
    def num_speakers(self) -> Integers:
        """Speakers of each frame, shape (frames,)."""
        return np.diff(self.first)


@dataclass(frozen=True, eq=False)
class Heard:
    """What the station made of frames.

    Attributes:
        outcome: `MISSED`, `HEARD` or `WRONG` for each speaker, int8 of shape (speakers,).
        false_frame: Frame of each false alarm, shape (alarms,).
        false_label: The silent device's place in its codebook, shape (alarms,).
    """

    outcome: NDArray[np.int8]
    false_frame: Integers
    false_label: Integers

    @classmethod
    def without_alarms(cls, outcome: NDArray[np.int8]) -> "Heard":
        """Return outcomes of frames in which nobody was heard who was silent."""
        return cls(outcome, np.zeros(0, np.int64), np.zeros(0, np.int64))


class FrameOutcomes(Protocol):
    """Decides what becomes of frames. It keeps no state: all chance is named by seed, slot and codebook."""

    @property
    def takes_activity_prob(self) -> bool:
        """Whether it can be told another ε than it was made for."""
        ...

    def hear(self, frames: Frames, seed: int, /) -> Heard:
        """Return what the station made of them."""
        ...


@dataclass(frozen=True)
class OwnedPilots:
    """Every device owns its pilots and the receiver is perfect: all are heard, rightly."""

    takes_activity_prob: bool = False

    def hear(self, frames: Frames, seed: int, /) -> Heard:
        """See `FrameOutcomes`."""
        del seed
        return Heard.without_alarms(np.full(frames.label.size, HEARD, np.int8))


@dataclass(frozen=True)
class SharedPilots:
    """A perfect receiver of devices that draw their pilots from a common pool: those that chose alike are missed.

    Among K speakers one is alone with its pilot with probability (1 - 1/P)^(K-1). Who speaks is told by the
    segment itself (our choice: a pilot that is not owned names nobody).

    Attributes:
        num_pilots: P, pilots in the pool of every codebook.
    """

    num_pilots: int
    takes_activity_prob: bool = False

    def __post_init__(self) -> None:
        check.positive_integer(num_pilots=self.num_pilots)

    def hear(self, frames: Frames, seed: int, /) -> Heard:
        """See `FrameOutcomes`."""
        frame = np.repeat(np.arange(frames.slot.size), frames.num_speakers)
        drawn = [
            int(self.num_pilots * chance(seed, WHO, codebook << 20 | label, slot))
            for codebook, label, slot in zip(
                frames.codebook[frame].tolist(), frames.label.tolist(), frames.slot[frame].tolist(), strict=True
            )
        ]
        choice = frame * self.num_pilots + np.array(drawn, np.int64)
        _, which, times = np.unique(choice, return_inverse=True, return_counts=True)
        return Heard.without_alarms(np.where(times[which] == 1, HEARD, MISSED).astype(np.int8))


@dataclass(frozen=True)
class InLoop:
    """A detector at work: the air of every frame is simulated, and the detector says what it heard.

    Pilots are drawn once for each cell and used by all of its codebooks, whose turns never coincide in time and
    band; with gains that differ from device to device, pilots and gains are drawn for each codebook. Frames of
    one cell that are computed together meet air named by the first of their slots: which air that is depends
    on how time is cut into ticks, the law does not.

    Attributes:
        scenario: The devices of one codebook, and the air.
        detector: Who listens.
        name: Of the air: other names are other pilots and other noise under the same seed.
    """

    scenario: Scenario
    detector: Detector
    name: str = "air"
    takes_activity_prob: bool = True

    def __post_init__(self) -> None:
        check_detector(self.detector)

    @property
    def num_devices(self) -> int:
        """N, devices of a codebook."""
        return self.scenario.num_devices

    def hear(self, frames: Frames, seed: int, /) -> Heard:
        """See `FrameOutcomes`."""
        s = self.scenario
        air = frames.cell if s.gain_law == EqualGain() else frames.codebook
        outcome = np.empty(frames.label.size, np.int8)
        speaks = np.zeros((frames.slot.size, s.num_devices), np.bool_)
        frame_of = np.repeat(np.arange(frames.slot.size), frames.num_speakers)
        speaks[frame_of, frames.label] = True
        result = np.zeros((frames.slot.size, s.num_devices), np.int8)
        for place in np.unique(air).tolist():
            all_here = np.flatnonzero(air == place)
            for start in range(0, all_here.size, AT_ONCE):
                here = all_here[start : start + AT_ONCE]
                rng = stream(seed, self.name, place, int(frames.slot[here[0]]), int(frames.codebook[here[0]]))
                result[here] = self._listen(_cell(s, seed, self.name, place), speaks[here], frames, here, rng)
        outcome[:] = result[frame_of, frames.label]
        false_frame, false_label = np.nonzero(~speaks & (result == WRONG))
        return Heard(outcome, false_frame.astype(np.int64), false_label.astype(np.int64))

    def _listen(
        self, cell: Cell, speaks: NDArray[np.bool_], frames: Frames, here: Integers, rng: np.random.Generator
    ) -> NDArray[np.int8]:
        """Return what became of every device, shape (frames, N): missed (or rightly silent), heard or wrong."""
        observation, truth = simulate(cell, rng, num_frames=here.size, activity=speaks)
        told = float(frames.activity_prob[here[0]])
        if np.isfinite(told):
            observation = replace(observation, activity_prob=told)
        labels = self.detector.detect(observation).labels
        return np.where(labels == 0, MISSED, np.where(labels == truth.symbols, HEARD, WRONG)).astype(np.int8)


def check_detector(detector: object) -> None:
    """Refuse what does not detect, and the class of what does.

    Raises:
        TypeError: It is one of these.
    """
    if isinstance(detector, type):
        msg = f"detector: got the class {detector.__name__}, expected one that is made, such as {detector.__name__}()"
        raise TypeError(msg)
    if not hasattr(detector, "detect"):
        msg = f"detector: got {detector!r}, expected a detector such as AMP() or outcomes such as TabulatedAccess"
        raise TypeError(msg)


def check_outcomes(outcomes: FrameOutcomes, num_devices: int, *, estimated: bool) -> None:
    """Refuse outcomes that do not fit a radio.

    Args:
        outcomes: What becomes of frames; those that have `num_devices` are of codebooks of so many.
        num_devices: N of the radio.
        estimated: Whether they are to be told an estimate of ε.

    Raises:
        ValueError: They are of other codebooks, or were made for one ε.
    """
    if estimated and not outcomes.takes_activity_prob:
        msg = (
            f"estimate: got one with {type(outcomes).__name__}, which was made for one ε; "
            "take the detector itself, or leave ε assumed"
        )
        raise ValueError(msg)
    own = getattr(outcomes, "num_devices", num_devices)
    if own != num_devices:
        msg = f"outcomes: are of codebooks of {own} devices, expected the framing's {num_devices}"
        raise ValueError(msg)


@lru_cache(maxsize=256)
def _cell(scenario: Scenario, seed: int, name: str, place: int) -> Cell:
    """Return pilots and gains of a place: always the same for the same names."""
    return draw_cell(scenario, stream(seed, name, "pilots", place))
