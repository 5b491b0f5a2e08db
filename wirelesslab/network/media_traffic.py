"""Traffic of immersive media: video frames and touch, as 3GPP models them for XR and 6G studies.

The uplink of poses and control, 100 bytes every 4 ms, is `traffic.Periodic(period_s=0.004, num_bytes=100)`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from wirelesslab import check
from wirelesslab.network.arrivals import Draws, advance_clocked, advance_renewal, clock_s, clocked_ahead, renewal_ahead
from wirelesslab.network.packet_sizes import ParetoSize
from wirelesslab.network.source_streams import Memory, begin_streams, first_uniforms
from wirelesslab.network.sources import Placed

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class XrVideo(Placed):
    """Video frames as packets: a frame per tick, truncated Gaussian in size and in lateness.

    References: our reading of 3GPP TR 38.838, 5.1.1 (frame sizes of mean R/F/8 bytes, standard
    deviation 10.5 %, kept within 50-150 %; jitter of mean 0, standard deviation 2 ms, within 4 ms
    either way). The parameters are those of the Gaussian before truncation. Release 20 (RAN1 LS
    R1-2509596) adds immersive gaming: `XrVideo(rate_bps=100e6, frames_per_s=90, size_std=0.25,
    size_min=0.25, size_max=3.0)`.

    Attributes:
        rate_bps: Mean frame size before truncation times frames per second.
        frames_per_s: Frames per second.
        size_std: Standard deviation of frame sizes, as a fraction of their mean.
        size_min: Smallest frame, as a fraction of the mean.
        size_max: Largest frame, likewise.
        jitter_std_s: Standard deviation of a frame's lateness.
        jitter_max_s: Largest lateness either way; at most half a frame period, so that frames never
            overtake. Clocks run behind by as much, so that no time is negative.
    """

    rate_bps: float = 30e6
    frames_per_s: float = 60.0
    size_std: float = 0.105
    size_min: float = 0.5
    size_max: float = 1.5
    jitter_std_s: float = 0.002
    jitter_max_s: float = 0.004

    def __post_init__(self) -> None:
        check.positive(rate_bps=self.rate_bps, frames_per_s=self.frames_per_s)
        check.positive(size_std=self.size_std, jitter_std_s=self.jitter_std_s)
        check.within(0, 1, size_min=self.size_min)
        check.finite(size_max=self.size_max)
        if self.size_max < 1 or self.size_max == self.size_min:
            msg = (
                f"size_max: got {self.size_max}, expected at least 1 (the mean) and more than size_min={self.size_min}"
            )
            raise ValueError(msg)
        check.within(0, self.period_s / 2, jitter_max_s=self.jitter_max_s)
        if self.frame_bytes < 1:
            msg = f"rate_bps: got {self.rate_bps}, that is {self.frame_bytes:g} bytes per frame, expected at least 1"
            raise ValueError(msg)

    @property
    def period_s(self) -> float:
        """Time between frames."""
        return 1 / self.frames_per_s

    @property
    def frame_bytes(self) -> float:
        """Mean frame before truncation."""
        return self.rate_bps / self.frames_per_s / 8

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one source; truncation that is not symmetric moves it off `rate_bps` a little."""
        low, high = ((bound - 1) / self.size_std for bound in (self.size_min, self.size_max))
        density = (math.exp(-(low**2) / 2) - math.exp(-(high**2) / 2)) / math.sqrt(2 * math.pi)
        return self.rate_bps * (1 + self.size_std * density / float(ndtr(high) - ndtr(low)))

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0, each at a uniform phase of its clock."""
        memory = begin_streams(rng, num_sources)
        draws = first_uniforms(memory)
        memory["phase_s"] = draws[:, 2] * self.period_s
        memory["next_s"] = clock_s(memory, self.period_s, self._late_s(draws))
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' frames; return their sizes."""
        return advance_clocked(memory, sources, self.period_s, self._late_s, self._sizes)

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next frames; return their times and sizes."""
        return clocked_ahead(memory, num, self.period_s, self._late_s, self._sizes)

    def _late_s(self, draws: Draws) -> NDArray[np.float64]:
        bound = self.jitter_max_s / self.jitter_std_s
        return self.jitter_max_s + self.jitter_std_s * _truncated_normal(draws[:, 0], -bound, bound)

    def _sizes(self, draws: Draws) -> NDArray[np.int64]:
        low, high = ((bound - 1) / self.size_std for bound in (self.size_min, self.size_max))
        sizes = self.frame_bytes * (1 + self.size_std * _truncated_normal(draws[:, 1], low, high))
        return np.asarray(np.maximum(np.rint(sizes), 1), np.int64)


@dataclass(frozen=True, kw_only=True)
class Haptics(Placed):
    """Downlink touch: small packets of Pareto size after gaps of an exponential law on a grid.

    References: our reading of the reply LS S4-260162 of SA4 to RAN1 (Release 20), read in a public
    summary only: sizes Pareto with tail index 7 on 504-1736 bits; gaps exponential with 0.015 per
    ms, rounded to multiples of M and at least M, for instance M = 32 ms. The range is taken as a
    condition on the Pareto law; the optional jitter of TR 38.838 is left out. Sources begin in the
    stationary regime.

    Attributes:
        rate_per_s: Of the exponential law.
        quantum_s: M, the grid of gaps and the smallest gap.
        alpha: Tail index of packet sizes.
        low_bytes: Smallest packet.
        high_bytes: Largest packet.
    """

    rate_per_s: float = 15.0
    quantum_s: float = 0.032
    alpha: float = 7.0
    low_bytes: int = 63
    high_bytes: int = 217

    def __post_init__(self) -> None:
        check.positive(rate_per_s=self.rate_per_s, quantum_s=self.quantum_s)
        ParetoSize(self.alpha, self.low_bytes, self.high_bytes)

    @property
    def _tail(self) -> float:
        # sum over k >= 1 of P(gap > k quanta) = P(X > k + 1/2)
        step = self.rate_per_s * self.quantum_s
        return math.exp(-1.5 * step) / -math.expm1(-step)

    @property
    def mean_gap_s(self) -> float:
        """Mean time between packets, rounding included."""
        return self.quantum_s * (1 + self._tail)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one source."""
        return 8 * ParetoSize(self.alpha, self.low_bytes, self.high_bytes).mean_bytes / self.mean_gap_s

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0."""
        memory = begin_streams(rng, num_sources)
        whole, part = first_uniforms(memory)[:, :2].T
        # the residual gap has density P(gap > x) / mean: first which quantum, then where in it
        place = whole * (1 + self._tail)
        rest = np.clip((place - 1) / self._tail, 0, 1 - 2.0**-53)
        beyond = 1 + np.floor(np.log1p(-rest) / -(self.rate_per_s * self.quantum_s))
        memory["next_s"] = self.quantum_s * (np.where(place < 1, 0.0, beyond) + part)
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' packets; return their sizes."""
        return advance_renewal(memory, sources, self._gaps_s, self._sizes)

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next packets; return their times and sizes."""
        return renewal_ahead(memory, num, self._gaps_s, self._sizes)

    def _gaps_s(self, draws: Draws) -> NDArray[np.float64]:
        quanta = np.rint(np.log(draws[:, 0]) / -(self.rate_per_s * self.quantum_s))
        return np.asarray(self.quantum_s * np.maximum(quanta, 1))

    def _sizes(self, draws: Draws) -> NDArray[np.int64]:
        return ParetoSize(self.alpha, self.low_bytes, self.high_bytes).quantile(draws[:, 1])


def _truncated_normal(uniform: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return quantiles of a standard normal number given that it lies in [low, high]."""
    below, above = ndtr(low), ndtr(high)
    return np.asarray(np.clip(ndtri(below + uniform * (above - below)), low, high))
