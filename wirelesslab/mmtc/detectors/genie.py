"""The genie: what nobody can beat with the same prior knowledge."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.detection import Detection, likelihood_ratio_readout
from wirelesslab.mmtc.uplink import Observation, Truth


@dataclass(frozen=True, eq=False)
class Genie:
    """Genie-state MAP: decides each device knowing the true labels of all others.

    The channels stay unknown. Labels, powers and noise of the others make the interference
    Gaussian with known covariance, so the decision is exact. More knowledge cannot hurt: it bounds
    the symbol error rate of every detector from below, for Rayleigh fading, devices that speak
    independently, and gains that are known or known by their law. Elsewhere it supposes the same as
    the detectors do and is no limit (`limits.why_no_limits`). Where the gains are known by their
    distribution only, the genie is told the others' gains and marginalises the device's own: still a
    lower bound, somewhat looser. Where devices do not arrive in step, the genie is told how the others
    arrived, and sums over the ways in which the device itself may have: it does not know its delay.

    Attributes:
        truth: What the genie is told.
    """

    name: ClassVar[str] = "genie"
    truth: Truth

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame.

        Raises:
            ValueError: The truth is not that of the observed frames.
        """
        posteriors = likelihood_ratio_readout(observation, self.powers(observation))
        return Detection.of(observation, posteriors, np.zeros(observation.num_frames, dtype=np.int64))

    def powers(self, observation: Observation, /) -> NDArray[np.float64]:
        """Return the true power on every column of the pilots, shape (frames, N Q).

        Raises:
            ValueError: The truth is not that of the observed frames.
        """
        o, symbols = observation, self.truth.symbols
        if symbols.shape != (o.num_frames, o.num_devices):
            msg = f"truth: got symbols {symbols.shape}, expected (frames={o.num_frames}, N={o.num_devices})"
            raise ValueError(msg)
        powers = np.zeros((o.num_frames, o.num_devices, o.pilots_per_device))
        frame, device = np.nonzero(symbols)
        column = (symbols[frame, device] - 1) * o.states_per_pilot + self.truth.states[frame, device]
        powers[frame, device, column] = self.truth.path_gain[device]
        return powers.reshape(o.num_frames, -1)
