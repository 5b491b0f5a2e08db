"""Greedy pursuit: one pilot after the other, the loudest first."""

from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.detection import Detection, Real, gaussian_log_ratios, likelihood_ratio_readout
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.threads import map_chunks


@dataclass(frozen=True)
class OMP:
    """Simultaneous orthogonal matching pursuit, jointly over the antennas.

    Each step takes the pilot of largest residual energy and projects it out. A frame stops when
    the device's likelihood ratio in noise alone falls below its prior odds (the block-MAP
    threshold; nothing is tuned), or when the support has L - 1 pilots or six standard deviations
    more than the expected number. The support then goes to the shared likelihood-ratio read-out.
    References: Tropp, Gilbert and Strauss, Signal Process. 86(3), 2006.

    Attributes:
        one_per_device: Once a pilot is taken, leave out the other pilots of its device.
    """

    one_per_device: bool = False

    @property
    def name(self) -> str:
        """What curves call it."""
        return "OMP one per device" if self.one_per_device else "OMP"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        o = observation
        mean = o.activity_prob * o.num_devices
        most = max(1, min(o.pilot_length - 1, o.num_devices, ceil(mean + 6 * sqrt(mean) + 1)))
        chunk = max(1, 2**22 // (16 * o.pilots.shape[1] * o.num_antennas))
        parts = map_chunks(lambda part: self._pursue(o, o.received[part], most), o.num_frames, chunk)
        support = np.concatenate(parts)
        mean_gain = np.repeat(o.gains.nodes @ o.gains.weights, o.pilots_per_device)
        posteriors = likelihood_ratio_readout(o, support * mean_gain)
        return Detection.of(o, posteriors, support.sum(axis=1).astype(np.int64))

    def _pursue(self, o: Observation, received: NDArray[np.complexfloating[Any, Any]], most: int) -> NDArray[np.bool_]:
        """Return the support of each frame, shape (frames, N Q)."""
        frames, q = received.shape[0], o.pilots_per_device
        adjoint = np.ascontiguousarray(o.pilots.conj().T)
        support = np.zeros((frames, o.pilots.shape[1]), dtype=bool)
        allowed = np.ones_like(support)
        running = np.ones(frames, dtype=bool)
        residual, everyone = received.copy(), np.arange(frames)
        norms = np.asarray(np.sum(np.abs(o.pilots) ** 2, axis=0, dtype=np.float64))
        basis = np.zeros((frames, o.pilot_length, most), received.dtype)
        with np.errstate(divide="ignore"):
            prior_odds = np.log1p(-o.activity_prob) - np.log(o.activity_prob / q)
        for step in range(most):
            correlation = adjoint @ residual
            energy = np.asarray(np.sum(correlation.real**2 + correlation.imag**2, axis=-1, dtype=np.float64))
            chosen = np.argmax(np.where(allowed, energy / norms, -1.0), axis=1)
            ratio = self._log_ratio(o, energy[everyone, chosen], norms[chosen], chosen // q)
            running &= (ratio > prior_odds) & allowed[everyone, chosen]
            if not running.any():
                break
            support[everyone[running], chosen[running]] = True
            allowed[everyone, chosen] = False
            if self.one_per_device:
                allowed.reshape(frames, -1, q)[everyone, chosen // q] = False
            # Gram-Schmidt, twice is enough (Kahan); a frame that has stopped adds a zero vector.
            vector = o.pilots[:, chosen].T * running[:, None]
            for _ in range(2):
                vector = vector - np.einsum("flk,fk->fl", basis, np.einsum("flk,fl->fk", basis.conj(), vector))
            norm = np.linalg.norm(vector, axis=1, keepdims=True)
            vector = np.where(norm > 1e-6, vector / np.maximum(norm, 1e-6), 0)
            basis[:, :, step] = vector
            residual -= vector[:, :, None] * np.einsum("fl,flm->fm", vector.conj(), residual)[:, None]
        return support

    @staticmethod
    def _log_ratio(o: Observation, energy: Real, norm: Real, device: NDArray[np.int64]) -> Real:
        """Log-likelihood ratio of each frame's chosen pilot in noise alone, shape (frames,)."""
        gains = type(o.gains)(o.gains.nodes[device], o.gains.weights)
        return gaussian_log_ratios(
            norm[:, None] / o.noise_power, energy[:, None] / o.noise_power**2, gains, o.num_antennas
        )[:, 0]
