"""What a detector is, what it returns, and the decision rule that all share."""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from wirelesslab import check
from wirelesslab.mmtc.arrivals import NOBODY
from wirelesslab.mmtc.gains import GainPrior
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.threads import map_chunks

Real = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Detection:
    """Who spoke and what they said, with how sure the detector is.

    Attributes:
        posteriors: Probability of each label, shape (frames, N, Q + 1); label 0 is silence.
        iterations: Iterations spent on each frame, shape (frames,).
        history: Optional traces, such as ``effective_noise``, shape (frames, iterations).
        label_states: The most probable state of each label but silence, shape (frames, N, Q); None where
            there is but one.
    """

    posteriors: Real
    iterations: NDArray[np.int64]
    history: dict[str, Real] = field(default_factory=dict, repr=False)
    label_states: NDArray[np.int16] | None = field(default=None, repr=False)

    @classmethod
    def of(
        cls,
        observation: Observation,
        columns: Real,
        iterations: NDArray[np.int64],
        history: dict[str, Real] | None = None,
    ) -> "Detection":
        """Return the detection that posteriors of every column of a device's block amount to.

        A label's probability is the sum over its states: which way a device arrived is not what it said.

        Args:
            observation: What was detected in.
            columns: Probability of silence and of each column, shape (frames, N, 1 + pilots_per_device).
            iterations: Iterations spent on each frame, shape (frames,).
            history: Optional traces.
        """
        traces = {} if history is None else history
        states = observation.states_per_pilot
        if states == 1:
            return cls(columns, iterations, traces)
        each = columns[..., 1:].reshape(*columns.shape[:-1], observation.num_labels, states)
        posteriors = np.concatenate([columns[..., :1], each.sum(axis=-1)], axis=-1)
        return cls(posteriors, iterations, traces, np.argmax(each, axis=-1).astype(np.int16))

    @property
    def labels(self) -> NDArray[np.int64]:
        """The most probable labels, shape (frames, N): the rule that minimises the symbol error rate."""
        return np.asarray(np.argmax(self.posteriors, axis=-1))

    @property
    def states(self) -> NDArray[np.int64]:
        """How the devices arrived, shape (frames, N): the most probable state of the label, -1 for the silent.

        The scenario's arrival reads it: ``scenario.arrival.delays(detection.states)``, in symbols, and
        ``frequencies``, in cycles per symbol.
        """
        return self.states_of(self.labels)

    def states_of(self, labels: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the most probable state given `labels`, shape (frames, N), such as another rule decides; -1 for 0."""
        if self.label_states is None:
            return np.where(labels > 0, 0, NOBODY)
        chosen = np.take_along_axis(self.label_states, np.maximum(labels - 1, 0)[..., None], axis=-1)[..., 0]
        return np.where(labels > 0, chosen, NOBODY).astype(np.int64)


class Detector(Protocol):
    """Decides who spoke and what they said, from what the base station knows."""

    @property
    def name(self) -> str:
        """What curves and tables call it; two configurations never share a name."""
        ...

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        ...


@dataclass(frozen=True)
class Assuming:
    """A detector that is told other numbers than the station's: for studies of what knowledge is worth.

    Attributes:
        detector: Who is told.
        activity_prob: The ε it supposes; the true one when None.
        noise_db: How far the noise power that it supposes lies above the true one, in dB. The matched
            filter and AMP measure their noise in each frame: they do not read it.
        mean_gain: Whether it takes every device's gain for the mean of what is known.
        gain_db: How far the gains that it supposes lie above the true ones, in dB.
    """

    detector: Detector
    activity_prob: float | None = None
    noise_db: float = 0.0
    mean_gain: bool = False
    gain_db: float = 0.0

    def __post_init__(self) -> None:
        if self.activity_prob is not None:
            check.probability(activity_prob=self.activity_prob)
        check.finite(noise_db=self.noise_db, gain_db=self.gain_db)

    @property
    def name(self) -> str:
        """The detector's name and what it supposes."""
        told = [f"ε={self.activity_prob:g}"] if self.activity_prob is not None else []
        told += [f"σ² {self.noise_db:+g} dB"] if self.noise_db else []
        told += ["mean gain"] if self.mean_gain else []
        told += [f"β {self.gain_db:+g} dB"] if self.gain_db else []
        return f"{self.detector.name} ({', '.join(told) or 'told the truth'})"

    def detect(self, observation: Observation, /) -> Detection:
        """Return what the detector makes of the altered observation."""
        gains = observation.gains
        if self.mean_gain:
            mean = (gains.nodes @ gains.weights).mean()
            gains = GainPrior(np.full((observation.num_devices, 1), mean), np.ones(1))
        if self.gain_db:
            gains = GainPrior(gains.nodes * 10 ** (self.gain_db / 10), gains.weights)
        told = replace(
            observation,
            gains=gains,
            noise_power=observation.noise_power * 10 ** (self.noise_db / 10),
            activity_prob=observation.activity_prob if self.activity_prob is None else self.activity_prob,
        )
        return self.detector.detect(told)


def resolvable_noise(noise_power: float, signal_power: float) -> float:
    """Return the noise power that double precision can tell apart beside `signal_power`: at least 1e-11 of it.

    Only scenarios beyond 100 dB of SNR and gain spread notice; without it their inverses are rounding errors.
    """
    return max(noise_power, 1e-11 * signal_power, 1e-77)


def block_map(log_ratios: Real, activity_prob: float) -> Real:
    """Return the posterior of each label from log-likelihood ratios against silence.

    Args:
        log_ratios: log p(r | label q) / p(r | silent), shape (..., Q).
        activity_prob: ε; each label has prior ε/Q.

    Returns:
        Posteriors, shape (..., Q + 1), silence first; computed in the log domain.
    """
    q = log_ratios.shape[-1]
    with np.errstate(divide="ignore"):
        silent, spoke = np.log1p(-activity_prob), np.log(activity_prob / q)
    joint = np.concatenate([np.full((*log_ratios.shape[:-1], 1), silent), log_ratios + spoke], axis=-1)
    return np.asarray(np.exp(joint - logsumexp(joint, axis=-1, keepdims=True)))


def gaussian_log_ratios(a: Real, b: Real, gains: GainPrior, num_antennas: int) -> Real:
    """Return log-likelihood ratios of a pilot in Gaussian interference, gains marginalised.

    LLR = log Σ_j w_j exp(-M log(1 + β_j a) + β_j b / (1 + β_j a)).

    Args:
        a: s^H Σ^-1 s with the interference covariance Σ without the device, shape (..., N, Q).
        b: ||Y^H Σ^-1 s||², summed over antennas, shape (..., N, Q).
        gains: The known gains or their mixture.
        num_antennas: M.
    """
    terms = []
    for node, weight in zip(gains.nodes.T, gains.weights, strict=True):
        growth = 1 + node[:, None] * a
        terms.append(node[:, None] * b / growth - num_antennas * np.log(growth) + np.log(weight))
    return terms[0] if len(terms) == 1 else np.asarray(logsumexp(np.stack(terms), axis=0))


def likelihood_ratio_readout(observation: Observation, powers: Real, *, shared: bool = False) -> Real:
    r"""Return the posterior of each device's label, the others' powers being given.

    The block-MAP read-out shared by the covariance, greedy, linear and genie detectors: device n is
    tested against $\Sigma_{-n} = \sum_{k \ne n} S_k \Gamma_k S_k^H + \sigma^2 I$. With
    $G = S_n^H \Sigma^{-1} S_n$ the matrix inversion lemma gives
    $S_n^H \Sigma_{-n}^{-1} [S_n, Y] = (I - G \Gamma_n)^{-1} S_n^H \Sigma^{-1} [S_n, Y]$, so one
    inverse per frame serves all devices. Double precision throughout.

    Args:
        observation: What was received.
        powers: γ, the power supposed on every pilot, shape (frames, N Q), or (1, N Q) if `shared`.
        shared: The powers are a mean over all frames; Σ is then scaled to each frame's received power.

    Returns:
        Posteriors, shape (frames, N, Q + 1).
    """
    o = observation
    q, n, length = o.pilots_per_device, o.num_devices, o.pilot_length
    pilots = o.pilots.astype(np.complex128)
    noise_power = resolvable_noise(o.noise_power, float(powers.max(initial=0.0)))
    if shared:
        return _shared_readout(o, pilots, powers[0], noise_power)

    def work(part: slice) -> Real:
        received = o.received[part].astype(np.complex128)
        a, alone = leave_one_out(pilots, powers[part].astype(np.float64), noise_power, received, q)
        b = np.sum(alone.real**2 + alone.imag**2, axis=-1)
        return block_map(gaussian_log_ratios(a, b, o.gains, o.num_antennas), o.activity_prob)

    chunk = max(1, 2**21 // (16 * n * q * (length + q)))
    return np.concatenate(map_chunks(work, o.num_frames, chunk))


def leave_one_out(
    pilots: NDArray[np.complex128],
    powers: Real,
    noise_power: float,
    received: NDArray[np.complex128],
    pilots_per_device: int,
) -> tuple[Real, NDArray[np.complex128]]:
    """Return what each device's pilots say when the others' powers are given.

    Args:
        pilots: S, shape (L, N Q).
        powers: γ, shape (frames, N Q), or (1, N Q) for all frames.
        noise_power: σ².
        received: Y, shape (frames, L, M).
        pilots_per_device: Q.

    Returns:
        s^H Σ_-n^-1 s, shape (frames, N, Q), and s^H Σ_-n^-1 Y, shape (frames, N, Q, M).
    """
    whitened = _inverse_covariance(pilots, powers, noise_power) @ pilots  # (frames, L, K)
    a, mixing = _without_own(pilots, whitened, powers, pilots_per_device)
    cross = np.swapaxes(whitened.conj(), 1, 2) @ received
    return a, np.asarray(np.linalg.solve(mixing, cross.reshape(-1, *a.shape[1:], received.shape[2])), np.complex128)


def _shared_readout(o: Observation, pilots: NDArray[np.complex128], gamma: Real, noise_power: float) -> Real:
    """The read-out for powers that are the same in all frames: one inverse for all."""
    q, n = o.pilots_per_device, o.num_devices
    inverse = _inverse_covariance(pilots, gamma[None].astype(np.float64), noise_power)
    whitened = inverse @ pilots
    a, mixing = _without_own(pilots, whitened, gamma[None], q)
    adjoint = np.ascontiguousarray(whitened[0].conj().T)

    def work(part: slice) -> Real:
        received = o.received[part].astype(np.complex128)
        cross = np.linalg.solve(mixing, (adjoint @ received).reshape(-1, n, q, o.num_antennas))
        b = np.sum(cross.real**2 + cross.imag**2, axis=-1)
        # The number of speakers varies from frame to frame: Σ is scaled to the power that came.
        power = np.mean((received.conj() * (inverse[0] @ received)).real, axis=(1, 2))[:, None, None]
        power = np.maximum(power, 1e-30)  # a frame of zeros is a frame of silence
        ratios = gaussian_log_ratios(a / power, b / power**2, o.gains, o.num_antennas)
        return block_map(ratios, o.activity_prob)

    return np.concatenate(map_chunks(work, o.num_frames, max(1, 2**21 // (16 * n * q * o.num_antennas))))


def _inverse_covariance(pilots: NDArray[np.complex128], gamma: Real, noise_power: float) -> NDArray[np.complex128]:
    """(S Γ S^H + σ² I)^-1, shape (frames, L, L)."""
    covariance = (pilots * gamma[:, None, :]) @ pilots.conj().T
    diagonal = np.arange(pilots.shape[0])
    covariance[:, diagonal, diagonal] += noise_power
    return np.asarray(np.linalg.inv(covariance))


def _without_own(
    pilots: NDArray[np.complex128], whitened: NDArray[np.complex128], gamma: Real, q: int
) -> tuple[Real, NDArray[np.complex128]]:
    """s^H Σ_-n^-1 s, shape (frames, N, Q), and I - G Γ_n, shape (frames, N, Q, Q)."""
    frames, length, k = whitened.shape
    own = pilots.reshape(length, -1, q).transpose(1, 2, 0).conj()  # (N, Q, L)
    gram = own @ whitened.reshape(frames, length, -1, q).transpose(0, 2, 1, 3)  # (frames, N, Q, Q)
    mixing = np.eye(q) - gram * gamma.reshape(frames, k // q, 1, q)
    a = np.linalg.solve(mixing, gram)
    return np.maximum(np.diagonal(a, axis1=-2, axis2=-1).real, 0.0), mixing
