"""How messages become frames, and what a station believes of its load: the rules, in numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.mmtc.scenario import Scenario


@dataclass(frozen=True, kw_only=True)
class LoadEstimate:
    """How a station that does not know ε reckons it: the smoothed share of devices that it heard in its frames.

    Every turn of a codebook counts, also those in which nobody was heard. Updated once every round of turns.

    Attributes:
        memory_frames: Frames of a cell after which the past weighs 1/e.
        floor: The least ε that the detector is told: nobody is ever ruled out.
        ceiling: The greatest.
    """

    memory_frames: float = 200.0
    floor: float = 0.005
    ceiling: float = 0.5

    def __post_init__(self) -> None:
        check.within(1, 1e9, memory_frames=self.memory_frames)
        check.probability(floor=self.floor, ceiling=self.ceiling)
        if not 0 < self.floor <= self.ceiling < 1:
            msg = f"floor: got {self.floor} with ceiling={self.ceiling}, expected 0 < floor <= ceiling < 1"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class Framing:
    """How messages become frames; every rule here is our choice.

    A message of b bytes becomes ceil(8 (b + overhead_bytes) / J) segments of J bits, one frame each. Turns go round:
    codebook c of a cell speaks in every `turns`-th slot, turns = ceil(codebooks / bands), in one band. A device
    speaks in the first turn that begins at or after its message came. The station acknowledges what it heard,
    at once and without error. A device that is not acknowledged stays silent for 0 to `back_off_turns` - 1 turns and
    says the segment again; after `max_attempts` in a row the message is dropped. A wrong symbol, or a false alarm
    in a turn in which a device that is amid a message is silent, shows only when the CRC fails at the message's end:
    then the whole message begins anew, at most `max_restarts` times.

    Attributes:
        slot_s: Time from one frame to the next: pilot_length symbols and what guards them.
        bits_per_frame: J.
        num_devices: N, devices of a codebook.
        codebooks: In each cell; as many as its devices need when None.
        bands: Frames of a cell at the same time, in frequency.
        overhead_bytes: CRC and header of every message; 3 bytes stand for a CRC of 24 bits that misses nothing.
        back_off_turns: Window of the back-off; 1 tries again in the next turn.
        max_attempts: Of one segment; None never gives up.
        max_restarts: Of one message; None never gives up.
        tx_power_w: Power of a device that speaks; 0.2 W is 23 dBm.
        spoken_s: How long of a slot it speaks; the whole slot when None.
    """

    slot_s: float
    bits_per_frame: int
    num_devices: int
    codebooks: int | None = None
    bands: int = 1
    overhead_bytes: int = 3
    back_off_turns: int = 8
    max_attempts: int | None = 10
    max_restarts: int | None = None
    tx_power_w: float = 0.2
    spoken_s: float | None = None

    def __post_init__(self) -> None:
        check.positive(slot_s=self.slot_s, tx_power_w=self.tx_power_w)
        if self.spoken_s is not None:
            check.positive(spoken_s=self.spoken_s)
            check.within(0, self.slot_s, spoken_s=self.spoken_s)
        check.positive_integer(
            bits_per_frame=self.bits_per_frame, num_devices=self.num_devices, bands=self.bands,
            back_off_turns=self.back_off_turns,
        )  # fmt: skip
        check.non_negative_integer(overhead_bytes=self.overhead_bytes)
        for name in ("codebooks", "max_attempts"):
            if getattr(self, name) is not None:
                check.positive_integer(**{name: getattr(self, name)})
        if self.max_restarts is not None:
            check.non_negative_integer(max_restarts=self.max_restarts)

    @classmethod
    def of(cls, scenario: Scenario, *, symbol_s: float, guard_s: float = 0.0, **rules: Any) -> "Framing":
        """Return the framing in which a frame takes the scenario's pilots, the largest delay and a guard.

        Args:
            scenario: Gives the pilots' length, the largest delay, J and N.
            symbol_s: Time of a pilot symbol.
            guard_s: Silence after a frame.
            rules: The other fields.

        Examples:
            >>> Framing.of(Scenario(pilot_length=40), symbol_s=1e-5, guard_s=1e-4).slot_s
            0.0005
        """
        check.positive(symbol_s=symbol_s)
        check.within(0, 1e6, guard_s=guard_s)
        spoken_s = scenario.pilot_length * symbol_s
        return cls(
            slot_s=scenario.window_length * symbol_s + guard_s, spoken_s=spoken_s, num_devices=scenario.num_devices,
            bits_per_frame=scenario.bits_per_device, **rules,
        )  # fmt: skip

    @property
    def frame_energy_j(self) -> float:
        """Energy that a device spends on a frame."""
        return self.tx_power_w * (self.slot_s if self.spoken_s is None else self.spoken_s)

    def segments(self, num_bytes: ArrayLike) -> NDArray[np.int64]:
        """Return how many frames messages of these sizes take when nothing fails.

        Examples:
            >>> Framing(slot_s=1e-3, bits_per_frame=2, num_devices=64).segments([32])
            array([140])
        """
        bits = 8 * (np.asarray(num_bytes, np.int64) + self.overhead_bytes)
        return np.asarray(-(-bits // self.bits_per_frame))
