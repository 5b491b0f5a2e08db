"""Traffic whose rate moves with the time of day, or in any other steps: an evening peak, a flash crowd."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.arrivals import Draws
from wirelesslab.network.packet_sizes import SizeLaw, size_law
from wirelesslab.network.source_streams import Memory, begin_streams, first_uniforms, uniforms, uniforms_ahead
from wirelesslab.network.sources import Placed

Rng = np.random.Generator


@dataclass(frozen=True, kw_only=True)
class Diurnal(Placed):
    r"""A Poisson process whose rate goes through a profile of equal steps, period after period.

    Arrivals are those of a process of rate 1 in the time $\Lambda(t)$, the integral of the rate. Every
    draw is therefore an arrival: under two rates a source draws the same numbers (thinning would not).

    References:
        Çinlar, Introduction to Stochastic Processes, 1975: inversion of the integrated rate.

    Attributes:
        period_s: Length of the profile, such as a day.
        rates_per_s: Packets per second of one source in each of the profile's equal steps; at least one above 0.
        num_bytes: Size of every packet, or a law of sizes.
        random_phase: Whether each source begins at a uniform place of the profile, or all at its beginning.

    Examples:
        >>> burst = Diurnal(period_s=4.0, rates_per_s=(0.0, 100.0, 0.0, 0.0), num_bytes=200)  # from 1 s to 2 s
        >>> rng = np.random.default_rng(7)
        >>> times_s, _ = burst.ahead(rng, burst.begin(rng, 1), 50)
        >>> bool(1.0 <= times_s.min() and times_s.max() < 2.0)
        True
    """

    period_s: float
    rates_per_s: tuple[float, ...]
    num_bytes: int | SizeLaw
    random_phase: bool = False

    def __post_init__(self) -> None:
        check.positive(period_s=self.period_s)
        check.within(0, np.finfo(float).max, **{f"rates_per_s[{i}]": rate for i, rate in enumerate(self.rates_per_s)})
        if not any(self.rates_per_s):
            msg = f"rates_per_s: got {self.rates_per_s}, expected at least one rate above 0"
            raise ValueError(msg)
        size_law(self.num_bytes)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one source in the long run."""
        return 8 * float(self._expected()[-1]) / self.period_s * size_law(self.num_bytes).mean_bytes

    def begin(self, rng: Rng, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0."""
        memory = begin_streams(rng, num_sources)
        draws = first_uniforms(memory)
        memory["phase_s"] = draws[:, 2] * self.period_s * self.random_phase
        memory["load"] = self._load(memory["phase_s"]) - np.log(draws[:, 0])
        memory["next_s"] = self._time_s(memory["load"]) - memory["phase_s"]
        return memory

    def advance(self, _rng: Rng, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take these sources' arrivals; return their sizes."""
        draws = uniforms(memory, sources)
        memory["load"][sources] += -np.log(draws[:, 0])
        memory["next_s"][sources] = self._time_s(memory["load"][sources]) - memory["phase_s"][sources]
        return self._sizes(draws)

    def ahead(self, _rng: Rng, memory: Memory, num: int, /) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take one source's next arrivals; return their times and sizes."""
        draws = uniforms_ahead(memory, num)
        # cumsum adds from left to right, as `advance` does: equal to the last bit
        loads = np.cumsum(np.concatenate([memory["load"], -np.log(draws[:, 0])]))
        later_s = self._time_s(loads[1:]) - memory["phase_s"][0]
        times_s = np.concatenate([memory["next_s"], later_s])
        memory["load"][0], memory["next_s"][0] = loads[-1], times_s[-1]
        return times_s[:-1], self._sizes(draws)

    def _sizes(self, draws: Draws) -> NDArray[np.int64]:
        return size_law(self.num_bytes).quantile(draws[:, 1])

    def _expected(self) -> NDArray[np.float64]:
        """Return the arrivals expected by the end of each step, 0 before the first, shape (steps + 1,)."""
        step_s = self.period_s / len(self.rates_per_s)
        return np.concatenate([[0.0], np.cumsum(np.array(self.rates_per_s) * step_s)])

    def _load(self, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the arrivals expected until times within the first period."""
        grid_s = np.linspace(0.0, self.period_s, len(self.rates_per_s) + 1)
        return np.asarray(np.interp(times_s, grid_s, self._expected()))

    def _time_s(self, loads: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return when so many arrivals have been expected."""
        expected = self._expected()
        periods, rest = np.divmod(loads, expected[-1])
        step = np.searchsorted(expected, rest, side="right") - 1
        inside = (rest - expected[step]) / np.diff(expected)[step]
        return np.asarray((periods * len(self.rates_per_s) + step + inside) * (self.period_s / len(self.rates_per_s)))


def day_of_rates(mean_per_s: float, swing: float, peak: float, steps: int = 24) -> tuple[float, ...]:
    """Return a day's rates in steps: a sinusoid around the mean.

    Args:
        mean_per_s: Mean over the day.
        swing: Amplitude over mean, in [0, 1].
        peak: Where in the day the peak lies, in [0, 1].
        steps: Steps of the day.

    Examples:
        >>> day_of_rates(10.0, 0.5, 0.5, steps=4)  # night, morning, afternoon, evening
        (6.464466, 13.535534, 13.535534, 6.464466)
    """
    check.positive(mean_per_s=mean_per_s)
    check.within(0, 1, swing=swing, peak=peak)
    check.positive_integer(steps=steps)
    middles = ((step + 0.5) / steps for step in range(steps))
    return tuple(round(mean_per_s * (1 + swing * math.cos(2 * math.pi * (middle - peak))), 6) for middle in middles)
