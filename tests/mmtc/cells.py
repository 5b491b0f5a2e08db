"""Cells, frames and tolerances that the specs of the mMTC wing share."""

from dataclasses import replace
from typing import Any

import numpy as np

from wirelesslab.mmtc import Detector, Observation, Scenario, Truth, simulate
from wirelesslab.mmtc.detectors import DETECTORS, Genie
from wirelesslab.rng import stream

# L/(eps N) = 10: AMP is at home here, and rounding is not amplified.
LIGHT = Scenario(num_devices=40, bits_per_device=1, pilot_length=40, num_antennas=4, activity_prob=0.1, snr_db=0.0)
# L/(eps N) = 2: whole frames collapse.
OVERLOADED = Scenario(num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, snr_db=0.0)
TINY = Scenario(num_devices=5, bits_per_device=1, pilot_length=6, num_antennas=3, activity_prob=0.3, snr_db=3.0)

# Two-sided tail of a normal beyond 5 standard errors: 6e-7. Specs that compare K statistics raise a
# false alarm with probability of about K times that (seeds are fixed: once passed, always passed).
STANDARD_ERRORS = 5.0


def frames_of(scenario: Scenario, num_frames: int, *name: str | float, **options: Any) -> tuple[Observation, Truth]:
    """Frames in double precision from the stream of that name."""
    options.setdefault("precision", "complex128")
    return simulate(scenario, stream(2301, *name), num_frames=num_frames, **options)


def family(truth: Truth) -> tuple[Detector, ...]:
    """All detectors and the genie."""
    return (*DETECTORS, Genie(truth))


def one_frame(observation: Observation, frame: int) -> Observation:
    """The observation of one of the frames."""
    return replace(observation, received=observation.received[frame : frame + 1])


def within_standard_errors(samples: np.ndarray, expected: Any, axis: int = 0) -> np.ndarray:
    """Whether means of independent samples agree with what is expected, to 5 standard errors."""
    mean = samples.mean(axis=axis)
    error = samples.std(axis=axis, ddof=1) / np.sqrt(samples.shape[axis])
    return np.abs(mean - expected) <= STANDARD_ERRORS * error + 1e-12
