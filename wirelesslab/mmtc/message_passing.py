"""One chunk of frames on its way through AMP iterations: what AMP and its unfolded form share.

See `kernels` for the layout: real form, Gauss form, frames last.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc import kernels
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.threads import map_chunks

Real = NDArray[np.floating[Any]]
T = TypeVar("T")


class Chunk:
    """The state of AMP on some frames: X = 0 and Z = Y at first.

    Attributes:
        received: Y in real form, shape (2, L, M, F).
        residual: Z, likewise.
        estimate: X in Gauss form, shape (3, K, M, F).
        correlation: The three partial products of S^H Z, shape (3, K, M, F).
        tau2: Effective noise power of each frame, linear, shape (F,).
        gains: Nodes of the gains, shape (N, J).
        log_weights: Log weights of the nodes, shape (J,).
        jacobian: Σ D of the last denoising, shape (2, M, M, F), or (2, 1, 1, F), its mean diagonal.
    """

    def __init__(self, received: Real, pilots: "Pilots", *, scalar: bool, buffers: Real) -> None:
        """Start; `scalar` asks for the scalar Onsager term, `buffers` (2, 3, K, M, F) are overwritten."""
        _, _, m, frames = received.shape
        real = received.dtype
        self.received, self.gains, self.log_weights = received, pilots.gains, pilots.log_weights
        self._pilots = pilots
        self.estimate, self.correlation = buffers[0], buffers[1]
        self.estimate[:] = 0
        self._product, self._gauss = np.empty_like(received), np.empty((3, *received.shape[1:]), real)
        size = 1 if scalar else m
        self.jacobian = np.zeros((2, size, size, frames), real)
        self.residual = received.copy()
        self._least = np.finfo(real).tiny * 1e6  # a frame of zeros is a frame of silence
        self.tau2 = np.empty(frames, real)
        self.measure()

    @property
    def num_frames(self) -> int:
        """F."""
        return int(self.tau2.size)

    def measure(self) -> None:
        """Find τ² = ||Z||² / (L M) of each frame."""
        self.tau2[:] = 2 * np.mean(self.residual**2, axis=(0, 1, 2), dtype=np.float64)
        np.maximum(self.tau2, self._least, out=self.tau2)

    def correlate(self, step: Real | None = None) -> None:
        """Find S^H Z, each frame times its `step`, shape (F,)."""
        z, gauss = self.residual if step is None else self.residual * step, self._gauss
        gauss[0] = z[0]
        np.subtract(z[1], z[0], out=gauss[1])
        np.add(z[0], z[1], out=gauss[2])
        np.matmul(self._pilots.adjoint, flat(gauss), out=flat(self.correlation))

    def denoise(self, controls: Real, prior: int) -> None:
        """Replace X by η(X + S^H Z) and find the Jacobian; see `kernels.denoise`."""
        kernels.denoise(
            self.correlation, self.estimate, self.tau2, self.log_weights, self.gains, controls, prior, self.jacobian
        )

    def subtract(self, onsager: Real) -> None:
        """Replace Z by Y - S X + the Onsager term times `onsager`, shape (F,), and find τ²."""
        gauss, product = self._gauss, self._product
        np.matmul(self._pilots.forward, flat(self.estimate), out=flat(gauss))
        np.subtract(gauss[0], gauss[2], out=product[0])
        np.add(gauss[0], gauss[1], out=product[1])
        kernels.onsager_residual(self.received, product, self.jacobian, onsager, self.residual, self.tau2)
        np.maximum(self.tau2, self._least, out=self.tau2)

    def rows(self) -> Real:
        """Return X + S^H Z in real form, shape (2, K, M, F); the correlation is used up."""
        rows: Real = self.correlation[:2]
        rows[1] += self.correlation[0] + self.estimate[0] + self.estimate[1]
        rows[0] += self.estimate[0] - self.correlation[2]
        return rows


class Pilots:
    """What all chunks of an observation share: S in the form that products take, gains, precision."""

    def __init__(self, observation: Observation) -> None:
        o, s = observation, observation.pilots
        self.observation = o
        self.real = np.dtype(o.received.real.dtype)
        self.forward = np.stack([s.real + s.imag, s.real, s.imag]).astype(self.real)
        self.adjoint = np.ascontiguousarray(
            np.stack([s.real - s.imag, s.real, -s.imag]).swapaxes(1, 2), dtype=self.real
        )
        self.gains = np.maximum(o.gains.nodes, np.finfo(self.real).tiny).astype(self.real)
        self.log_weights = np.log(o.gains.weights).astype(self.real)
        # A prior of exactly 0 or 1 has no log-odds; this is as good as certain in either precision.
        self.activity_prob = float(np.clip(o.activity_prob, 1e-12, 1 - 1e-7))

    def map(self, work: Callable[[Chunk], T], *, scalar: bool = False) -> list[T]:
        """Return ``work(chunk)`` for consecutive chunks of the frames, on all cores."""
        o = self.observation

        def on(part: slice) -> T:
            received = frames_last(o.received[part])
            with _SCRATCH.lend((2, 3, o.pilots.shape[1], *received.shape[2:]), self.real) as buffers:
                return work(Chunk(received, self, scalar=scalar, buffers=buffers))

        return map_chunks(on, o.num_frames, chunk_frames(o.pilots.shape[1], o.num_antennas, self.real.itemsize))


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


def chunk_frames(num_pilots: int, num_antennas: int, itemsize: int) -> int:
    """Frames of a chunk: whole vectors, and an estimate and its correlation that stay in the cache."""
    fit = 2**23 // (2 * num_pilots * num_antennas * itemsize)
    return int(np.clip(fit // 32 * 32, 16, 128))


def frames_last(received: NDArray[np.complexfloating[Any, Any]]) -> Real:
    """Turn (frames, L, M) complex into real form, (2, L, M, frames)."""
    frames, length, m = received.shape
    real = np.empty((2, length, m, frames), received.real.dtype)  # not stack: it keeps the order of its input
    real[0], real[1] = np.moveaxis(received.real, 0, -1), np.moveaxis(received.imag, 0, -1)
    return real


def flat(array: Real) -> Real:
    """View (3, rows, M, frames) as the three matrices (rows, M frames) that a product takes."""
    return array.reshape(*array.shape[:2], -1)
