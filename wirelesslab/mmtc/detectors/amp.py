"""Approximate message passing, batched over frames: two matrix products and one fused kernel."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc import kernels
from wirelesslab.mmtc.detection import Detection, Real
from wirelesslab.mmtc.message_passing import Chunk, Pilots
from wirelesslab.mmtc.uplink import Observation

Prior = Literal["row", "block", "winner"]
PRIORS: dict[Prior, int] = {"row": kernels.ROW, "block": kernels.BLOCK, "winner": kernels.WINNER}

# Re-tuned AMP (our choice, found by search in overloaded cells): the Onsager term is over-weighted at
# first, and log-likelihood ratios are tempered, because early residuals are not as Gaussian as AMP thinks.
RETUNED_ONSAGER = (1.6, 1.4, 1.3, 1.2, 1.15, 1.1)
RETUNED_SLOPE, RETUNED_BIAS = 0.7, 0.6  # bias in nats, before the prior is added


@dataclass(frozen=True)
class AMP:
    r"""AMP with an MMSE denoiser for devices that send one of Q pilots, or none.

    $R = X + S^H Z$, $X' = \eta(R)$, $Z' = Y - S X' + \frac1L Z \sum_k D_k$ with the Jacobian $D_k$ of
    $\eta$ at row k (the full M x M Onsager term) and $\tau^2 = \|Z\|^2/(LM)$ per frame, from
    $X = 0$, $Z = Y$. Labels are the block-MAP decision on the last $R$. Pilots of norm 1 are supposed.
    References: Liu and Yu, IEEE Trans. Signal Process. 66(11), 2018 ("row"); the Bayes-optimal
    denoiser of a block with at most one active row ("block"); "winner", a row-wise denoiser of each
    block's strongest row, stands in for the modified AMP of Senel and Larsson, IEEE Trans. Commun. 66(12), 2018.

    Attributes:
        prior: What the denoiser supposes: independent rows, one row per block, or a winner per block.
        iterations: Denoisings at most.
        damping: Share of the new estimate and residual in the next ones; 1 is undamped. Below 1
            it makes AMP worse at most points.
        best_iterate: Keep each frame's iterate of smallest residual, and leave a frame alone once
            its residual has doubled: AMP can diverge at finite size.
        retuned: Over-weighted scalar Onsager term and tempered likelihood ratios: much better in
            overload, worse in easy cells and with widely spread gains. Needs the block prior.
    """

    prior: Prior = "block"
    iterations: int = 20
    damping: float = 1.0
    best_iterate: bool = False
    retuned: bool = False

    def __post_init__(self) -> None:
        check.one_of(PRIORS, prior=self.prior)
        check.positive_integer(iterations=self.iterations)
        check.within(0.01, 1, damping=self.damping)
        if self.retuned and self.prior != "block":
            msg = f"prior: got {self.prior!r} with retuned=True, expected 'block'; it was tuned for that denoiser"
            raise ValueError(msg)

    @property
    def name(self) -> str:
        """What curves call it: the variant, and every option that is not the usual one."""
        words = ["AMP", "re-tuned" if self.retuned else self.prior]
        if self.best_iterate:
            words[1:] = ["best iterate"] if words[1] == "block" else [words[1], "best iterate"]
        numbers = [f for f in fields(self) if f.name in ("iterations", "damping")]
        return ", ".join(
            [
                " ".join(words),
                *(f"{f.name} {getattr(self, f.name):g}" for f in numbers if getattr(self, f.name) != f.default),
            ]
        )

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame, with the trace ``effective_noise`` (τ² per iteration)."""
        pilots = Pilots(observation)

        def work(chunk: Chunk) -> tuple[Real, Real, NDArray[np.int64]]:
            return self._run(chunk, pilots)

        posteriors, tau2, iterations = zip(*pilots.map(work, scalar=self.retuned), strict=True)
        return Detection.of(
            observation,
            np.concatenate(posteriors),
            np.concatenate(iterations),
            {"effective_noise": np.concatenate(tau2)},
        )

    def _run(self, chunk: Chunk, pilots: Pilots) -> tuple[Real, Real, NDArray[np.int64]]:
        """Return posteriors (frames, N, Q + 1), τ² (frames, iterations) and iterations used (frames,)."""
        frames, q = chunk.num_frames, pilots.observation.pilots_per_device
        slope, bias = (RETUNED_SLOPE, RETUNED_BIAS) if self.retuned else (1.0, 0.0)
        prior = PRIORS[self.prior]
        controls, readout = (
            kernels.plain_controls(pilots.activity_prob, q, p, frames, pilots.real, slope, bias)
            for p in (prior, kernels.BLOCK)
        )
        trace = np.full((frames, self.iterations), np.nan)
        best = _BestIterate(chunk) if self.best_iterate else None
        for iteration in range(self.iterations):
            trace[:, iteration] = chunk.tau2
            chunk.correlate()
            if iteration == self.iterations - 1:
                break
            before = (chunk.estimate.copy(), chunk.residual.copy()) if self.damping < 1 else None
            chunk.denoise(controls, prior)
            weight = RETUNED_ONSAGER[iteration] if self.retuned and iteration < len(RETUNED_ONSAGER) else 1.0
            chunk.subtract(np.full(frames, weight, pilots.real))
            if before is not None:
                chunk.estimate[:] = self.damping * chunk.estimate + (1 - self.damping) * before[0]
                chunk.residual[:] = self.damping * chunk.residual + (1 - self.damping) * before[1]
                chunk.measure()
            if best is not None and not best.offer():
                break
        used = np.full(frames, self.iterations, dtype=np.int64)
        if best is not None:
            used = best.restore()
            chunk.correlate()
        posteriors = np.empty((chunk.gains.shape[0], q + 1, frames), pilots.real)
        kernels.block_posteriors(chunk.rows(), chunk.tau2, chunk.log_weights, chunk.gains, readout, posteriors)
        return np.ascontiguousarray(np.moveaxis(posteriors, -1, 0)), trace, used


class _BestIterate:
    """The iterate of smallest residual of each frame; a frame whose residual has doubled is out."""

    def __init__(self, chunk: Chunk) -> None:
        self._chunk = chunk
        self._estimate, self._residual, self._tau2 = chunk.estimate.copy(), chunk.residual.copy(), chunk.tau2.copy()
        self._iteration = np.zeros(chunk.num_frames, dtype=np.int64)
        self._running = np.ones(chunk.num_frames, dtype=bool)
        self._step = 0

    def offer(self) -> bool:
        """Keep what is better; return whether any frame still runs."""
        chunk = self._chunk
        self._step += 1
        self._running &= chunk.tau2 <= 2 * self._tau2
        better = self._running & (chunk.tau2 < self._tau2)
        self._estimate[..., better], self._residual[..., better] = (
            chunk.estimate[..., better],
            chunk.residual[..., better],
        )
        self._tau2[better], self._iteration[better] = chunk.tau2[better], self._step
        return bool(self._running.any())

    def restore(self) -> NDArray[np.int64]:
        """Put every frame's best iterate back, and return how many iterations led there."""
        chunk = self._chunk
        chunk.estimate[:], chunk.residual[:], chunk.tau2[:] = self._estimate, self._residual, self._tau2
        return self._iteration + 1
