"""Covariance matching pursuit: one power after the other, the one that explains the covariance best."""

from dataclasses import dataclass
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.detection import Detection, Real, likelihood_ratio_readout, resolvable_noise
from wirelesslab.mmtc.rank_one_kernels import cross_terms, in_noise_alone, matching_pursuit
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.threads import map_chunks

FRAMES_PER_CHUNK = 16


@dataclass(frozen=True)
class CovarianceMatching:
    r"""Covariance-learning matching pursuit, CL-MP.

    From $\Sigma = \sigma^2 I$, each step finds for every pilot the power that raises the likelihood of
    Y most, $\gamma = \max(0, (b/M - a)/a^2)$ with $a = s^H \Sigma^{-1} s$ and $b = \|Y^H \Sigma^{-1} s\|^2$,
    takes the pilot that raises it most, and changes $\Sigma^{-1}$ by rank one. The published form is told the
    number of speakers and sets each power once. Our choices: a pilot must bring more than the prior odds,
    log((1 - ε) Q/ε) nats, which is also the stopping rule (nothing is tuned); steps may go to pilots taken
    before (`readjust`); labels come from the likelihood-ratio read-out that the covariance method uses.
    References: Marata, Ollila and Alves, "Activity Detection for Massive Random Access using
    Covariance-based Matching Pursuit", arXiv 2405.02741, 2024.

    Attributes:
        readjust: Whether a step may move the power of a pilot taken before, or give it back.
    """

    readjust: bool = True

    @property
    def name(self) -> str:
        """What curves call it."""
        return "CL-MP" if self.readjust else "CL-MP once"

    def powers(self, observation: Observation) -> tuple[Real, NDArray[np.int64]]:
        """Return the powers γ, shape (frames, N Q), and the steps made, shape (frames,)."""
        o = observation
        mean = o.activity_prob * o.num_devices
        speakers = max(1, min(o.num_devices, ceil(mean + 6 * sqrt(mean) + 1)))
        with np.errstate(divide="ignore"):
            price = float(np.log1p(-o.activity_prob) - np.log(o.activity_prob / o.pilots_per_device))
        noise_power = resolvable_noise(o.noise_power, float(np.max(np.abs(o.received)) ** 2))
        pilots, adjoint, energy = in_noise_alone(o.pilots, noise_power)
        powers, steps = np.zeros((o.num_frames, energy.size)), np.zeros(o.num_frames, dtype=np.int64)

        def work(part: slice) -> None:
            matching_pursuit(
                cross_terms(adjoint, o.received[part], noise_power), energy, pilots, noise_power,
                float(np.clip(price, -1e6, 1e6)), (3 if self.readjust else 1) * speakers, self.readjust,
                powers[part], steps[part],
            )  # fmt: skip

        map_chunks(work, o.num_frames, FRAMES_PER_CHUNK)
        return powers, steps

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame; its iterations are the steps made."""
        powers, steps = self.powers(observation)
        return Detection.of(observation, likelihood_ratio_readout(observation, powers), steps)
