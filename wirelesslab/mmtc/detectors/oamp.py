"""Orthogonal (vector) approximate message passing: AMP for pilots that are not independent Gaussian."""

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc import kernels
from wirelesslab.mmtc.detection import Detection, Real, resolvable_noise
from wirelesslab.mmtc.message_passing import Chunk, Pilots
from wirelesslab.mmtc.uplink import Observation

LEAST_VARIANCE = 1e-6  # of v, beside the noise: nothing is known better, and 1/v stays finite
DIVERGENCE = (1e-6, 0.995)  # of the denoiser's mean divergence: the extrinsic variance stays within 2e2 τ²


@dataclass(frozen=True)
class OAMP:
    r"""OAMP, also called VAMP: a linear MMSE step and a divergence-free block-MMSE denoiser.

    With v the variance per entry of X - X̂ in a frame, and $\lambda_l$ the eigenvalues of $S S^H$,

    $R = \hat X + \frac{v}{\xi} S^H (v S S^H + \sigma^2 I)^{-1} (Y - S \hat X)$,
    $\xi = \frac1K \sum_l \frac{v \lambda_l}{v \lambda_l + \sigma^2}$, $\tau^2 = v (1 - \xi)/\xi$;
    $\hat X' = (\eta(R) - \alpha R)/(1 - \alpha)$, $v' = \tau^2 \alpha/(1 - \alpha)$,

    with $\eta$ and its mean divergence $\alpha$ those of AMP's block denoiser (by Tweedie's formula
    $\tau^2 \alpha$ is its mean posterior variance). One eigen-decomposition of L x L turns pilots and
    frames so that the inverse is a scaling of rows: an iteration then costs the two products of AMP.
    Labels are the block-MAP decision on the last R. It reads the noise power, which AMP does not.
    Our choices: the first v is measured in each frame; α is clipped to [1e-6, 0.995] and v to at least
    1e-6 of the noise, which matters at the model's corners only.
    References: Ma and Ping, IEEE Access 5, 2017 (OAMP); Rangan, Schniter and Fletcher, IEEE Trans. Inf.
    Theory 65(10), 2019 (VAMP); several antennas and a block denoiser are our reading.

    Attributes:
        iterations: Linear steps at most.
        damping: Share of the new X̂ and v in the next ones; 1 is undamped, and collapses in overload and where noise
            is weak (v is predicted, not measured: once too small, it stays so). 0.6 is our choice, on other frames
            than those of tests and sims: .5 to .7 hardly differ.
    """

    iterations: int = 20
    damping: float = 0.6

    def __post_init__(self) -> None:
        check.positive_integer(iterations=self.iterations)
        check.within(0.01, 1, damping=self.damping)

    @property
    def name(self) -> str:
        """What curves call it."""
        given = [f for f in fields(self) if getattr(self, f.name) != f.default]
        return ", ".join(["OAMP", *(f"{f.name} {getattr(self, f.name):g}" for f in given)])

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame, with the trace ``effective_noise`` (τ² per iteration)."""
        o = observation
        pilots = o.pilots.astype(np.complex128)
        eigenvalues, vectors = np.linalg.eigh(pilots @ pilots.conj().T)
        turn = vectors.conj().T
        turned = replace(
            o,
            pilots=(turn @ pilots).astype(o.pilots.dtype),
            received=(turn.astype(o.received.dtype) @ o.received),
        )
        shared = Pilots(turned)
        strongest = float(np.max(np.abs(o.received), initial=0.0)) ** 2
        linear = _LinearStep(
            np.maximum(eigenvalues, 0.0), o.pilots.shape[1], resolvable_noise(o.noise_power, strongest)
        )

        def work(chunk: Chunk) -> tuple[Real, Real]:
            return self._run(chunk, shared, linear)

        posteriors, tau2 = zip(*shared.map(work, scalar=True), strict=True)
        used = np.full(o.num_frames, self.iterations, dtype=np.int64)
        return Detection.of(o, np.concatenate(posteriors), used, {"effective_noise": np.concatenate(tau2)})

    def _run(self, chunk: Chunk, pilots: Pilots, linear: "_LinearStep") -> tuple[Real, Real]:
        """Return posteriors (frames, N, Q + 1) and τ² (frames, iterations)."""
        frames, q, real = chunk.num_frames, pilots.observation.pilots_per_device, pilots.real
        controls = kernels.plain_controls(pilots.activity_prob, q, kernels.BLOCK, frames, real)
        trace = np.empty((frames, self.iterations))
        nothing = np.zeros(frames, real)
        variance = linear.measured(chunk.tau2.astype(np.float64))
        for iteration in range(self.iterations):
            weights, tau2 = linear(variance)
            trace[:, iteration] = tau2
            chunk.correlate(weights.astype(real))
            chunk.tau2[:] = tau2
            if iteration == self.iterations - 1:
                break
            before = chunk.estimate.copy()
            chunk.denoise(controls, kernels.BLOCK)
            divergence = chunk.jacobian[0, 0, 0].astype(np.float64) / before.shape[1]
            alpha = np.clip(divergence, *DIVERGENCE)
            self._orthogonalise(chunk, before, alpha.astype(real))
            new = np.maximum(tau2 * alpha / (1 - alpha), linear.least)
            variance = self.damping * new + (1 - self.damping) * variance
            chunk.subtract(nothing)
        posteriors = np.empty((chunk.gains.shape[0], q + 1, frames), real)
        kernels.block_posteriors(chunk.rows(), chunk.tau2, chunk.log_weights, chunk.gains, controls, posteriors)
        return np.ascontiguousarray(np.moveaxis(posteriors, -1, 0)), trace

    def _orthogonalise(self, chunk: Chunk, before: Real, alpha: Real) -> None:
        """Replace η(R) by (η(R) - α R) / (1 - α), damped; `before` is X̂, in Gauss form as all here."""
        real_part = before[0] + chunk.correlation[0] - chunk.correlation[2]
        imaginary = before[0] + before[1] + chunk.correlation[0] + chunk.correlation[1]
        keep, share = self.damping / (1 - alpha), 1 - self.damping
        for i, rows in enumerate((real_part, imaginary - real_part, real_part + imaginary)):
            chunk.estimate[i] -= alpha * rows
            chunk.estimate[i] *= keep
            if share:
                chunk.estimate[i] += share * before[i]


@dataclass(frozen=True, eq=False)
class _LinearStep:
    """The linear MMSE step in the eigenvectors of S S^H.

    Attributes:
        eigenvalues: λ, shape (L,).
        num_pilots: K.
        noise_power: σ², linear.
    """

    eigenvalues: NDArray[np.float64]
    num_pilots: int
    noise_power: float

    @property
    def least(self) -> float:
        """The least v."""
        return LEAST_VARIANCE * self.noise_power

    def measured(self, power: Real) -> NDArray[np.float64]:
        """Return v of X̂ = 0 from the received power per entry, ||Y||² / (L M), shape (frames,)."""
        excess = (power - self.noise_power) * self.eigenvalues.size / self.eigenvalues.sum()
        return np.asarray(np.maximum(excess, self.least))

    def __call__(self, variance: Real) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the factor on each row of the residual, shape (L, 1, frames), and τ², shape (frames,)."""
        rank = min(self.eigenvalues.size, self.num_pilots)
        spread = self.eigenvalues[:, None] * variance + self.noise_power
        seen = np.sum(self.eigenvalues[:, None] * variance / spread, axis=0) / self.num_pilots
        # 1 - ξ as a sum of positive terms: the difference would lose its digits.
        hidden = np.sum(self.noise_power / spread[-rank:], axis=0) + (self.num_pilots - rank)
        return (variance / seen / spread)[:, None, :], variance * hidden / self.num_pilots / seen
