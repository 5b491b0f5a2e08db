r"""Correlated antennas that the station knows: R = E[h h^H], the same for all devices.

What is exact. With $R = U \Lambda U^H$ the rotated signal $Y U^*$ has the same pilots, noise that is still
white, and channels that are independent from one virtual antenna to the next, with powers $\lambda_i$: no
information is lost. Given the labels of the other devices, virtual antenna i has interference of covariance
$\Sigma_i = \lambda_i S \Gamma S^H + \sigma^2 I$, and the block-MAP decision adds the virtual antennas' log-likelihood
ratios, each with its own power and interference (`known_correlation_readout`).

What is not. The detectors suppose equal powers and equal noise on all antennas. To rotate without scaling changes
nothing for them: they read energies and inner products over antennas, which no rotation moves. Full whitening
($1/\sqrt{\lambda_i}$) makes the powers equal but multiplies the noise of the weak antennas by $1/\lambda_i$. `scales`
is a compromise: it makes a row's energy the quadratic form that the optimal decision reads.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from wirelesslab import check
from wirelesslab.mmtc.channels import Fading
from wirelesslab.mmtc.detection import (
    Detection,
    Detector,
    Real,
    block_map,
    leave_one_out,
    resolvable_noise,
)
from wirelesslab.mmtc.detectors.genie import Genie
from wirelesslab.mmtc.uplink import Observation, Truth
from wirelesslab.threads import map_chunks

NEGLIGIBLE = 1e-6  # of the strongest virtual antenna's power: weaker ones are left out, if
INAUDIBLE = 1e-4  # of the noise is all that the loudest device's power amounts to there
ROUNDING = 1e-13  # of the strongest virtual antenna's power: what is below is no eigenvalue but rounding


def virtual_antennas(observation: Observation, correlation: NDArray[np.complex128]) -> tuple[Observation, Real]:
    """Return the observation on antennas that fade independently, and their powers λ, strongest first.

    A rotation, and exact but for virtual antennas that carry hardly anything but noise: whose power is below both
    `NEGLIGIBLE` of the strongest one's and, for the loudest device, `INAUDIBLE` of the noise. They are left out.

    Raises:
        ValueError: The correlation is not one of the observed antennas.
    """
    m = observation.num_antennas
    r = check.array(correlation, (m, m), "M, M", name="correlation", because="the observation sets M")
    powers, vectors = np.linalg.eigh(r)
    powers, vectors = powers[::-1], vectors[:, ::-1]
    loudest = max(float(observation.gains.nodes.max()), 1e-77)
    weak = min(NEGLIGIBLE * powers[0], INAUDIBLE * observation.noise_power / loudest)
    kept = powers > max(weak, ROUNDING * powers[0])
    received = observation.received @ vectors[:, kept].conj()
    return replace(observation, received=received.astype(observation.received.dtype)), powers[kept]


def effective_antennas(correlation: NDArray[np.complex128]) -> float:
    """Return (tr R)²/tr(R²): as many independent antennas of equal power average an energy equally well.

    Examples:
        >>> effective_antennas(np.eye(4)), effective_antennas(np.ones((4, 4)))
        (4.0, 1.0)
    """
    return float(np.trace(correlation).real ** 2 / np.sum(np.abs(correlation) ** 2))


def scales(powers: Real, noise_power: float, interference: float, gain: float = 1.0) -> Real:
    r"""Return the amplitude by which each virtual antenna is multiplied.

    In noise of $v_i = \sigma^2 + \rho \lambda_i$ the optimal decision on a row reads the energy
    $\sum_i |r_i|^2 (1/v_i - 1/(\beta\lambda_i + v_i))$. The scales are the square roots of these weights, made so that
    the mean power stays what it was. Interference ($\rho$ large) whitens, noise ($\rho = 0$, low noise) leaves
    things as they are, and antennas weaker than the noise are suppressed.

    Args:
        powers: λ, linear.
        noise_power: σ².
        interference: ρ, power of interference per unit of λ, linear.
        gain: β, of the row that is decided.
    """
    noise = noise_power + interference * powers
    weights = 1 / noise - 1 / (gain * powers + noise)
    return np.asarray(np.sqrt(weights * powers.sum() / np.sum(weights * powers)))


def known_correlation_readout(observation: Observation, powers: Real, correlation: NDArray[np.complex128]) -> Real:
    r"""Return the posterior of each device's label, the others' powers and the antennas' correlation being given.

    The likelihood ratios of `detection.likelihood_ratio_readout`, one virtual antenna at a time:
    LLR = log Σ_j w_j exp Σ_i [β_j λ_i b_i/(1 + β_j λ_i a_i) - log(1 + β_j λ_i a_i)]. Exact for h ~ CN(0, R). It takes
    an inverse for each virtual antenna where equal antennas need one.

    Args:
        observation: What was received.
        powers: γ, the power supposed on every pilot, shape (frames, N Q).
        correlation: R, shape (M, M).

    Returns:
        Posteriors, shape (frames, N, Q + 1).
    """
    o, antenna_powers = virtual_antennas(observation, correlation)
    q, n = o.pilots_per_device, o.num_devices
    pilots = o.pilots.astype(np.complex128)

    def work(part: slice) -> Real:
        gamma = powers[part].astype(np.float64)
        received = o.received[part].astype(np.complex128)
        terms = np.zeros((o.gains.weights.size, len(gamma), n, q))
        for i, power in enumerate(antenna_powers):
            noise = resolvable_noise(o.noise_power, float(power * gamma.max(initial=0.0)))
            a, matched = leave_one_out(pilots, power * gamma, noise, received[..., i : i + 1], q)
            b = matched[..., 0].real ** 2 + matched[..., 0].imag ** 2
            for j, node in enumerate(power * o.gains.nodes.T):
                growth = 1 + node[:, None] * a
                terms[j] += node[:, None] * b / growth - np.log(growth)
        ratios = logsumexp(terms + np.log(o.gains.weights)[:, None, None, None], axis=0)
        return block_map(np.asarray(ratios), o.activity_prob)

    chunk = max(1, 2**21 // (16 * n * q * (o.pilot_length + q)))
    return np.concatenate(map_chunks(work, o.num_frames, chunk))


@dataclass(frozen=True)
class Whitened:
    """A detector for equal antennas, told that they are correlated.

    It hears the virtual antennas, scaled (`scales`), and its soft decisions are then read out once more with
    the correlation (`known_correlation_readout`): the powers it found, βπ, are taken for the others'.

    Attributes:
        detector: Who detects.
        fading: The law whose `correlation` is known; the devices share it.
        residual: Share of the speakers' power, β ε N/L per symbol, that the scales take for interference: 1 is
            the first iteration, 0 when all speakers are known. 0.1 is our choice, best of 0, 0.1 and 0.25 on
            validation frames at r = 0.5 and 0.9.
        scaled: Whether virtual antennas are scaled before the detector hears them.
        readout: Whether its decisions are read out once more.
    """

    detector: Detector
    fading: Fading
    residual: float = 0.1
    scaled: bool = True
    readout: bool = True

    def __post_init__(self) -> None:
        check.within(0, 1, residual=self.residual)

    @property
    def name(self) -> str:
        """The detector's name, the correlation that it knows, and options that are not the usual ones."""
        words = [f"knowing {self.fading}"]
        words += [f"residual {self.residual:g}"] if self.residual != 0.1 else []
        words += [] if self.scaled else ["not scaled"]
        words += [] if self.readout else ["no read-out"]
        return f"{self.detector.name} ({', '.join(words)})"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        o = observation
        correlation = self.fading.correlation(o.num_antennas)
        heard = o
        if self.scaled:
            rotated, powers = virtual_antennas(o, correlation)
            gains = o.gains.nodes @ o.gains.weights
            load = o.activity_prob * o.num_devices / o.pilot_length
            size = scales(powers, o.noise_power, self.residual * load * float(gains.mean()), float(gains.mean()))
            size *= np.sqrt(powers.size / powers.sum())
            heard = replace(
                rotated,
                received=(rotated.received * size).astype(o.received.dtype),
                noise_power=o.noise_power * float(np.mean(size**2)),
            )
        found = self.detector.detect(heard)
        if not self.readout:
            return found
        columns = known_correlation_readout(o, _column_powers(o, found), correlation)
        return Detection.of(o, columns, found.iterations, found.history)


@dataclass(frozen=True, eq=False)
class GenieKnowing:
    """The genie that also knows the antennas' correlation: the limit where h ~ CN(0, R), one R for all devices.

    Attributes:
        truth: What the genie is told.
        fading: The law whose `correlation` it knows.
    """

    name: ClassVar[str] = "genie knowing R"
    truth: Truth
    fading: Fading

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame."""
        o = observation
        powers = Genie(self.truth).powers(o)
        columns = known_correlation_readout(o, powers, self.fading.correlation(o.num_antennas))
        return Detection.of(o, columns, np.zeros(o.num_frames, dtype=np.int64))


def _column_powers(observation: Observation, found: Detection) -> Real:
    """Mean gain times posterior on each label's most probable column, shape (frames, N Q)."""
    o, states = observation, observation.states_per_pilot
    speaks = found.posteriors[..., 1:] * (o.gains.nodes @ o.gains.weights)[:, None]
    columns = np.zeros((*speaks.shape, states))
    at = np.zeros(speaks.shape, np.int64) if found.label_states is None else found.label_states.astype(np.int64)
    np.put_along_axis(columns, at[..., None], speaks[..., None], axis=-1)
    return columns.reshape(o.num_frames, -1)
