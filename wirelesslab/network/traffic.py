"""Traffic models: who says how much when. Each is one law for a single source and for a million.

To add one, write a class with `mean_rate_bps`, `begin`, `advance` and `ahead` (see `TrafficModel`) and
name it in `TRAFFIC_MODELS`; video and touch are in `media_traffic`, rates that
move with the day in `diurnal_traffic`, replayed traces in `traffic_traces`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, gammaincinv, pdtr, pdtrik

from wirelesslab import check
from wirelesslab.network.arrivals import (
    Draws,
    TrafficModel,
    advance_clocked,
    advance_renewal,
    clock_s,
    clocked_ahead,
    due,
    renewal_ahead,
)
from wirelesslab.network.diurnal_traffic import Diurnal
from wirelesslab.network.media_traffic import Haptics, XrVideo
from wirelesslab.network.packet_sizes import (
    ExponentialSize,
    FixedSize,
    HyperexponentialSize,
    ParetoSize,
    SizeLaw,
    size_law,
)
from wirelesslab.network.source_streams import Memory, begin_streams, first_uniforms, uniforms, uniforms_ahead
from wirelesslab.network.sources import Placed
from wirelesslab.network.traffic_traces import TrafficTrace, load_trace

__all__ = [
    "TRAFFIC_MODELS",
    "BetaBurst",
    "Diurnal",
    "ExponentialSize",
    "FixedSize",
    "Ftp3",
    "Haptics",
    "HyperexponentialSize",
    "Memory",
    "OnOff",
    "ParetoSize",
    "Periodic",
    "Poisson",
    "SizeLaw",
    "TrafficModel",
    "TrafficTrace",
    "XrVideo",
    "due",
    "load_trace",
]

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Poisson(Placed):
    """Packets at the instants of a Poisson process, of independent sizes.

    Attributes:
        rate_per_s: Packets per second of one source.
        num_bytes: Size of every packet, or a law of sizes.
    """

    rate_per_s: float
    num_bytes: int | SizeLaw

    def __post_init__(self) -> None:
        check.positive(rate_per_s=self.rate_per_s)
        size_law(self.num_bytes)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one source."""
        return 8 * self.rate_per_s * size_law(self.num_bytes).mean_bytes

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0."""
        memory = begin_streams(rng, num_sources)
        memory["next_s"] = self._gaps_s(first_uniforms(memory))
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' arrivals; return their sizes."""
        return advance_renewal(memory, sources, self._gaps_s, self._sizes)

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next arrivals; return their times and sizes."""
        return renewal_ahead(memory, num, self._gaps_s, self._sizes)

    def _gaps_s(self, draws: Draws) -> NDArray[np.float64]:
        return np.asarray(np.log(draws[:, 0]) / -self.rate_per_s)

    def _sizes(self, draws: Draws) -> NDArray[np.int64]:
        return size_law(self.num_bytes).quantile(draws[:, 1])


@dataclass(frozen=True, kw_only=True)
class Ftp3(Placed):
    """Whole files of one size, a Poisson process of them per user.

    References: FTP model 3 of 3GPP as we recollect it: Poisson arrivals per user of files of
    0.5 MB; the rate is the study's own choice.

    Attributes:
        rate_per_s: Files per second of one user.
        file_bytes: Size of a file.
    """

    rate_per_s: float
    file_bytes: int = 500_000

    def __post_init__(self) -> None:
        check.positive(rate_per_s=self.rate_per_s)
        check.positive_integer(file_bytes=self.file_bytes)

    @property
    def _poisson(self) -> Poisson:
        return Poisson(rate_per_s=self.rate_per_s, num_bytes=self.file_bytes)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one user."""
        return self._poisson.mean_rate_bps

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of users at time 0."""
        return self._poisson.begin(rng, num_sources)

    def advance(self, rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these users' arrivals; return their sizes."""
        return self._poisson.advance(rng, memory, sources)

    def ahead(self, rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one user's next arrivals; return their times and sizes."""
        return self._poisson.ahead(rng, memory, num)


@dataclass(frozen=True, kw_only=True)
class Periodic(Placed):
    """A packet per period: sensors, control loops, twins that report.

    Attributes:
        period_s: Time between a source's ticks.
        num_bytes: Size of every packet, or a law of sizes.
        jitter_s: A packet follows its tick by a time uniform in [0, jitter_s]; at most the period,
            so that packets never overtake.
        random_phase: Whether each source's first tick is uniform in [0, period_s), or all tick at 0.
    """

    period_s: float
    num_bytes: int | SizeLaw
    jitter_s: float = 0.0
    random_phase: bool = True

    def __post_init__(self) -> None:
        check.positive(period_s=self.period_s)
        check.within(0, self.period_s, jitter_s=self.jitter_s)
        size_law(self.num_bytes)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one source."""
        return 8 * size_law(self.num_bytes).mean_bytes / self.period_s

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0."""
        memory = begin_streams(rng, num_sources)
        draws = first_uniforms(memory)
        memory["phase_s"] = draws[:, 2] * self.period_s * self.random_phase
        memory["next_s"] = clock_s(memory, self.period_s, self._late_s(draws))
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' arrivals; return their sizes."""
        return advance_clocked(memory, sources, self.period_s, self._late_s, self._sizes)

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next arrivals; return their times and sizes."""
        return clocked_ahead(memory, num, self.period_s, self._late_s, self._sizes)

    def _late_s(self, draws: Draws) -> NDArray[np.float64]:
        return np.asarray(draws[:, 0] * self.jitter_s)

    def _sizes(self, draws: Draws) -> NDArray[np.int64]:
        return size_law(self.num_bytes).quantile(draws[:, 1])


@dataclass(frozen=True, kw_only=True)
class OnOff(Placed):
    r"""A source that talks at a constant rate or not at all, for exponential times in turn.

    A packet leaves whenever the source has been on for another packet's worth of time. Between two
    packets lie therefore $p$ = one packet time of talking and $K \sim$ Poisson($p$ / mean_on_s)
    silences, whose sum is Gamma(K): packets are a renewal process, drawn without a step per silence,
    and the offered rate is exactly that of the fluid source. Sources begin in the stationary regime.

    Attributes:
        mean_on_s: Mean time on.
        mean_off_s: Mean time off.
        rate_bps: Rate while on.
        num_bytes: Size of a packet.
    """

    mean_on_s: float
    mean_off_s: float
    rate_bps: float
    num_bytes: int

    def __post_init__(self) -> None:
        check.positive(mean_on_s=self.mean_on_s, mean_off_s=self.mean_off_s, rate_bps=self.rate_bps)
        check.positive_integer(num_bytes=self.num_bytes)

    @property
    def packet_s(self) -> float:
        """Time on that a packet takes."""
        return 8 * self.num_bytes / self.rate_bps

    @property
    def on_prob(self) -> float:
        """Share of the time that a source is on."""
        return self.mean_on_s / (self.mean_on_s + self.mean_off_s)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one source."""
        return self.rate_bps * self.on_prob

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0."""
        memory = begin_streams(rng, num_sources)
        state, phase, number, length = first_uniforms(memory).T
        on_s = phase * self.packet_s
        # of a source that is off, the number that said so, stretched to (0, 1), says for how long yet
        off = np.minimum((1 - state) / (1 - self.on_prob), 1.0)
        memory["next_s"] = on_s + self._silence_s(on_s, number, length) - self.mean_off_s * np.log(off)
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' arrivals; return their sizes."""
        return advance_renewal(memory, sources, self._gaps_s, self._sizes)

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next arrivals; return their times and sizes."""
        return renewal_ahead(memory, num, self._gaps_s, self._sizes)

    def _gaps_s(self, draws: Draws) -> NDArray[np.float64]:
        on_s = np.full(draws.shape[0], self.packet_s)
        return np.asarray(on_s + self._silence_s(on_s, draws[:, 0], draws[:, 1]))

    def _sizes(self, draws: Draws) -> NDArray[np.int64]:
        return np.full(draws.shape[0], self.num_bytes, np.int64)

    def _silence_s(
        self, on_s: NDArray[np.float64], number: NDArray[np.float64], length: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the silences that interrupt `on_s` seconds of talking: a Poisson number of exponential times."""
        silence_s = np.zeros(on_s.size)
        silent = np.flatnonzero(number > np.exp(-on_s / self.mean_on_s))
        if silent.size:
            mean, prob = on_s[silent] / self.mean_on_s, number[silent]
            count = np.maximum(np.ceil(pdtrik(prob, mean)), 1.0)
            count -= (count > 1) & (pdtr(count - 1, mean) >= prob)
            silence_s[silent] = self.mean_off_s * gammaincinv(count, length[silent])
        return silence_s


@dataclass(frozen=True, kw_only=True)
class BetaBurst(Placed):
    """An alarm, a reboot, a match that ends: every source speaks once, at a time of Beta law, then never again.

    References: traffic model 2 of 3GPP TR 37.868: Beta(3, 4) over 10 s.

    Attributes:
        duration_s: How long the burst takes.
        alpha: First shape parameter.
        beta: Second shape parameter.
        num_bytes: Size of every packet, or a law of sizes; our choice of default.
    """

    duration_s: float = 10.0
    alpha: float = 3.0
    beta: float = 4.0
    num_bytes: int | SizeLaw = 200

    def __post_init__(self) -> None:
        check.positive(duration_s=self.duration_s, alpha=self.alpha, beta=self.beta)
        size_law(self.num_bytes)

    @property
    def mean_rate_bps(self) -> None:
        """None: a source that speaks once has no rate in the long run."""
        return None

    def arrivals_per_s(self, time_s: NDArray[np.float64], num_sources: int) -> NDArray[np.float64]:
        """Return the expected arrivals per second of all sources together, shape of `time_s`.

        Examples:
            >>> BetaBurst().arrivals_per_s(np.array([4.0]), 30_000).round(1)  # its peak
            array([6220.8])
        """
        x = np.asarray(time_s, np.float64) / self.duration_s
        inside = (x > 0) & (x < 1)
        y = np.where(inside, x, 0.5)
        density = np.exp((self.alpha - 1) * np.log(y) + (self.beta - 1) * np.log1p(-y) - betaln(self.alpha, self.beta))
        return np.asarray(num_sources * np.where(inside, density, 0.0) / self.duration_s)

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0."""
        memory = begin_streams(rng, num_sources)
        memory["next_s"] = self.duration_s * rng.beta(self.alpha, self.beta, num_sources)
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' only arrivals; return their sizes."""
        memory["next_s"][sources] = math.inf
        return size_law(self.num_bytes).quantile(uniforms(memory, sources)[:, 1])

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's arrival, if it is still to come; return its time and size."""
        left = min(num, int(np.isfinite(memory["next_s"][0])))
        draws = uniforms_ahead(memory, left)
        times_s = memory["next_s"][:left].copy()
        memory["next_s"][:left] = math.inf
        return times_s, size_law(self.num_bytes).quantile(draws[:, 1])


TRAFFIC_MODELS: tuple[type[TrafficModel], ...] = (
    Poisson,
    Ftp3,
    Periodic,
    OnOff,
    BetaBurst,
    Diurnal,
    XrVideo,
    Haptics,
    TrafficTrace,
)
