"""The floor: detectors that filter once and decide."""

from dataclasses import dataclass

import numpy as np

from wirelesslab.mmtc.detection import (
    Detection,
    Real,
    block_map,
    gaussian_log_ratios,
    likelihood_ratio_readout,
)
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.threads import map_chunks


@dataclass(frozen=True)
class MatchedFilter:
    """Correlates with every pilot and takes all else for white noise of the received power.

    The block-MAP decision on S^H Y with effective noise τ² = ||Y||²/(L M): AMP's first iteration.
    """

    @property
    def name(self) -> str:
        """What curves call it."""
        return "matched filter"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        o = observation
        n, q, m = o.num_devices, o.pilots_per_device, o.num_antennas
        adjoint = np.ascontiguousarray(o.pilots.conj().T)
        norms = np.sum(np.abs(o.pilots) ** 2, axis=0, dtype=np.float64).reshape(n, q)

        def work(part: slice) -> Real:
            received = o.received[part]
            tau2 = np.mean(np.abs(received) ** 2, axis=(1, 2), dtype=np.float64, keepdims=True)
            tau2 = np.maximum(tau2, 1e-30)  # a frame of zeros is a frame of silence
            rows = adjoint @ received
            energy = np.asarray(np.sum(rows.real**2 + rows.imag**2, axis=-1, dtype=np.float64)).reshape(-1, n, q)
            a = np.broadcast_to(norms / tau2, energy.shape)
            return block_map(gaussian_log_ratios(a, energy / tau2**2, o.gains, m), o.activity_prob)

        posteriors = np.concatenate(map_chunks(work, o.num_frames, max(1, 2**22 // (16 * n * q * m))))
        return Detection.of(o, posteriors, np.ones(o.num_frames, dtype=np.int64))


@dataclass(frozen=True)
class LMMSE:
    """Whitens with the mean covariance of all devices and tests each block in it.

    The interference covariance is Σ = Σ_n (ε/Q) E[β_n] S_n S_n^H + σ² I, that of the linear MMSE
    estimator of X, scaled to each frame's received power; the decision is the shared likelihood
    ratio with the device itself taken out.
    """

    @property
    def name(self) -> str:
        """What curves call it."""
        return "LMMSE"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        o = observation
        mean_gain = o.gains.nodes @ o.gains.weights
        powers = np.repeat(o.activity_prob / o.pilots_per_device * mean_gain, o.pilots_per_device)[None]
        return Detection.of(o, likelihood_ratio_readout(o, powers, shared=True), np.ones(o.num_frames, dtype=np.int64))
