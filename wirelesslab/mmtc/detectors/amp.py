"""Approximate message passing, batched over frames: two matrix products and one fused kernel."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc import kernels
from wirelesslab.mmtc.detection import Detection, Real
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.threads import map_chunks

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
        o = observation
        real = np.dtype(o.received.real.dtype)
        s = o.pilots
        forward = np.stack([s.real + s.imag, s.real, s.imag]).astype(real)
        adjoint = np.ascontiguousarray(np.stack([s.real - s.imag, s.real, -s.imag]).swapaxes(1, 2), dtype=real)
        gains = np.maximum(o.gains.nodes, np.finfo(real).tiny).astype(real)
        log_weights = np.log(o.gains.weights).astype(real)
        # A prior of exactly 0 or 1 has no log-odds; this is as good as certain in either precision.
        prior_prob = float(np.clip(o.activity_prob, 1e-12, 1 - 1e-7))

        def work(part: slice) -> tuple[Real, Real, NDArray[np.int64]]:
            received = _frames_last(o.received[part])
            with _SCRATCH.lend((2, 3, s.shape[1], *received.shape[2:]), real) as buffers:
                return self._run(received, forward, adjoint, gains, log_weights, prior_prob, buffers[0], buffers[1])

        chunk = _chunk_frames(o.pilots.shape[1], o.num_antennas, real.itemsize)
        posteriors, tau2, iterations = zip(*map_chunks(work, o.num_frames, chunk), strict=True)
        return Detection(
            np.concatenate(posteriors), np.concatenate(iterations), {"effective_noise": np.concatenate(tau2)}
        )

    def _run(
        self,
        received: Real,
        forward: Real,
        adjoint: Real,
        gains: Real,
        log_weights: Real,
        activity_prob: float,
        estimate: Real,
        correlation: Real,
    ) -> tuple[Real, Real, NDArray[np.int64]]:
        """Run one chunk of frames; see `kernels` for real and Gauss form. The last two are scratch.

        Returns:
            Posteriors (frames, N, Q + 1), τ² (frames, iterations), iterations used (frames,).
        """
        real = received.dtype
        _, _, m, frames = received.shape
        k, n = forward.shape[2], gains.shape[0]
        slope, bias = (RETUNED_SLOPE, RETUNED_BIAS) if self.retuned else (1.0, 0.0)
        estimate[:] = 0
        product, gauss = np.empty_like(received), np.empty((3, *received.shape[1:]), real)
        jacobian = np.empty((2, 1, 1, frames) if self.retuned else (2, m, m, frames), real)
        residual = received.copy()
        tau2 = np.asarray(2 * np.mean(residual**2, axis=(0, 1, 2), dtype=np.float64), dtype=real)
        floor = np.finfo(real).tiny * 1e6  # a frame of zeros is a frame of silence
        np.maximum(tau2, floor, out=tau2)
        trace = np.full((frames, self.iterations), np.nan)
        best = _BestIterate(estimate, residual, tau2) if self.best_iterate else None
        for iteration in range(self.iterations):
            trace[:, iteration] = tau2
            _correlate(adjoint, residual, gauss, correlation)
            if iteration == self.iterations - 1:
                break
            before = (estimate.copy(), residual.copy()) if self.damping < 1 else None
            kernels.denoise(
                correlation,
                estimate,
                tau2,
                log_weights,
                gains,
                activity_prob,
                PRIORS[self.prior],
                slope,
                bias,
                jacobian,
            )
            np.matmul(forward, _flat(estimate), out=_flat(gauss))
            np.subtract(gauss[0], gauss[2], out=product[0])
            np.add(gauss[0], gauss[1], out=product[1])
            weight = RETUNED_ONSAGER[iteration] if self.retuned and iteration < len(RETUNED_ONSAGER) else 1.0
            kernels.onsager_residual(received, product, jacobian, weight, residual, tau2)
            if before is not None:
                estimate[:] = self.damping * estimate + (1 - self.damping) * before[0]
                residual[:] = self.damping * residual + (1 - self.damping) * before[1]
                tau2[:] = 2 * np.mean(residual**2, axis=(0, 1, 2), dtype=np.float64)
            np.maximum(tau2, floor, out=tau2)
            if best is not None and not best.offer(estimate, residual, tau2):
                break
        used = np.full(frames, self.iterations, dtype=np.int64)
        if best is not None:
            estimate, residual, tau2, used = best.estimate, best.residual, best.tau2, best.iteration + 1
            _correlate(adjoint, residual, gauss, correlation)
        rows = correlation[:2]
        rows[1] += correlation[0] + estimate[0] + estimate[1]
        rows[0] += estimate[0] - correlation[2]
        posteriors = np.empty((n, k // n + 1, frames), real)
        kernels.block_posteriors(rows, tau2, log_weights, gains, activity_prob, slope, bias, posteriors)
        return np.ascontiguousarray(np.moveaxis(posteriors, -1, 0)), trace, used


class _Scratch:
    """Buffers that outlive a call: fresh memory costs a page fault every 4 KiB, a tenth of a short detection."""

    def __init__(self, most_bytes: int = 2**26) -> None:
        self._free: list[Real] = []
        self._lock = threading.Lock()
        self._most_bytes = most_bytes

    @contextmanager
    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[Real]:
        """Lend an array of that shape with arbitrary content."""
        with self._lock:
            fitting = next((i for i, b in enumerate(self._free) if b.shape == shape and b.dtype == dtype), None)
            buffer = None if fitting is None else self._free.pop(fitting)
        buffer = np.empty(shape, dtype) if buffer is None else buffer
        try:
            yield buffer
        finally:
            with self._lock:
                self._free.append(buffer)
                while sum(b.nbytes for b in self._free) > self._most_bytes:
                    self._free.pop(0)


_SCRATCH = _Scratch()


class _BestIterate:
    """The iterate of smallest residual of each frame; a frame whose residual has doubled is out."""

    def __init__(self, estimate: Real, residual: Real, tau2: Real) -> None:
        self.estimate, self.residual, self.tau2 = estimate.copy(), residual.copy(), tau2.copy()
        self.iteration = np.zeros(tau2.size, dtype=np.int64)
        self._running = np.ones(tau2.size, dtype=bool)
        self._step = 0

    def offer(self, estimate: Real, residual: Real, tau2: Real) -> bool:
        """Keep what is better; return whether any frame still runs."""
        self._step += 1
        self._running &= tau2 <= 2 * self.tau2
        better = self._running & (tau2 < self.tau2)
        self.estimate[..., better], self.residual[..., better] = estimate[..., better], residual[..., better]
        self.tau2[better], self.iteration[better] = tau2[better], self._step
        return bool(self._running.any())


def _chunk_frames(num_pilots: int, num_antennas: int, itemsize: int) -> int:
    """Frames of a chunk: whole vectors, and an estimate and its correlation that stay in the cache."""
    fit = 2**23 // (2 * num_pilots * num_antennas * itemsize)
    return int(np.clip(fit // 32 * 32, 16, 128))


def _frames_last(received: NDArray[np.complexfloating[Any, Any]]) -> Real:
    """Turn (frames, L, M) complex into real form, (2, L, M, frames)."""
    frames, length, m = received.shape
    real = np.empty((2, length, m, frames), received.real.dtype)  # not stack: it keeps the order of its input
    real[0], real[1] = np.moveaxis(received.real, 0, -1), np.moveaxis(received.imag, 0, -1)
    return real


def _correlate(adjoint: Real, residual: Real, gauss: Real, correlation: Real) -> None:
    """Write the three partial products of S^H Z into `correlation`; `gauss` receives Z in Gauss form."""
    gauss[0] = residual[0]
    np.subtract(residual[1], residual[0], out=gauss[1])
    np.add(residual[0], residual[1], out=gauss[2])
    np.matmul(adjoint, _flat(gauss), out=_flat(correlation))


def _flat(array: Real) -> Real:
    """View (3, rows, M, frames) as the three matrices (rows, M frames) that a product takes."""
    return array.reshape(*array.shape[:2], -1)
