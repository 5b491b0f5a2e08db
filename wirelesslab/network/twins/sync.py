"""When what is mirrored is sent to its twin: by the clock, at random, when it has changed, or within a budget.

A `RatedSync` is set anew while it runs, by the action `SetSync`.

State is `memory`, a dict of arrays with a row for each mirrored thing, so that a hundred thousand users cost one
pass over a column. A thing that is mirrored alone is an array of one row. To add a rule, write a frozen config
with the methods of `Sync` and name it in `SYNC_RULES`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.source_streams import Memory, begin_streams, first_uniforms, run_rated, uniforms

Rng = np.random.Generator
Look = Callable[[], NDArray[np.float64]]
Rule = Literal["square root", "uniform", "proportional"]
RULES: tuple[Rule, ...] = ("square root", "uniform", "proportional")
ROUNDING = 1e-9  # of the sum of many rates
SLACK = 1e-12  # times are sums of decimal fractions: 0.1 + 0.2 is due at 0.3


class Sync(Protocol):
    """When each of N things is sent."""

    def begin(self, rng: Rng, num: int, now_s: float, /) -> Memory:
        """Return the memory of `num` things that are mirrored from `now_s` on."""
        ...

    def next_s(self, memory: Memory, /) -> float:
        """Return when one of them is due, or looked at, next; inf if never."""
        ...

    def due(self, memory: Memory, now_s: float, look: Look, /) -> NDArray[np.int64]:
        """Return who is sent now, ascending, and reckon with it; `memory` is changed in place.

        Args:
            memory: What `begin` returned.
            now_s: The time. Of several dates that have passed since the last call only one is left: sent twice at
                one instant, a thing would say the same twice.
            look: Returns what the things are now, shape (N,) or (N, K); called only by rules that compare.
        """
        ...

    def forget(self, memory: Memory, who: NDArray[np.int64], /) -> None:
        """Forget what was sent of these things: their twins begin anew."""
        ...


@dataclass(frozen=True, kw_only=True)
class PeriodicSync:
    """Every `period_s`, from the start on.

    Attributes:
        period_s: From one update of a thing to its next.
        random_phase: Begin each thing's beat at a random time in the first period, so that not all speak at once.
    """

    period_s: float
    random_phase: bool = False

    def __post_init__(self) -> None:
        check.positive(period_s=self.period_s)

    def begin(self, rng: Rng, num: int, now_s: float, /) -> Memory:
        """Return each thing's beat."""
        return _beats(np.full(num, float(self.period_s)), rng if self.random_phase else None, now_s)

    def next_s(self, memory: Memory, /) -> float:
        """Return the next beat of all."""
        return float(memory["next_s"].min(initial=math.inf))

    def due(self, memory: Memory, now_s: float, _look: Look, /) -> NDArray[np.int64]:
        """Return whose beat it is."""
        return _due_by_beat(memory, now_s)

    def forget(self, _memory: Memory, _who: NDArray[np.int64], /) -> None:
        """A beat goes on."""


@dataclass(frozen=True, kw_only=True)
class PoissonSync:
    """At random, with exponential gaps: what the closed forms of ages under Poisson updates suppose.

    Attributes:
        rate_per_s: Updates per second of each thing.
    """

    rate_per_s: float

    def __post_init__(self) -> None:
        check.positive(rate_per_s=self.rate_per_s)

    def begin(self, rng: Rng, num: int, now_s: float, /) -> Memory:
        """Return each thing's stream of gaps and its first date."""
        memory = begin_streams(rng, num)
        memory["next_s"] = now_s + self._gaps_s(first_uniforms(memory))
        return memory

    def next_s(self, memory: Memory, /) -> float:
        """Return the next date of all."""
        return float(memory["next_s"].min(initial=math.inf))

    def due(self, memory: Memory, now_s: float, _look: Look, /) -> NDArray[np.int64]:
        """Return whose date has come."""
        who = np.flatnonzero(memory["next_s"] <= _latest(now_s))
        late = who
        while late.size:
            memory["next_s"][late] += self._gaps_s(uniforms(memory, late))
            late = late[memory["next_s"][late] <= _latest(now_s)]
        return who

    def forget(self, _memory: Memory, _who: NDArray[np.int64], /) -> None:
        """The future does not hang on the past."""

    def _gaps_s(self, draws: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.log(draws[:, 0]) / self.rate_per_s


@dataclass(frozen=True, kw_only=True)
class ThresholdSync:
    """When a thing is off what was last sent of it, as seen at regular looks.

    The twin of a thing that moves by at most v per second errs by at most `error` + v (`every_s` + delay), as
    long as nothing is lost.

    Attributes:
        error: Distance (Euclidean) from what was sent beyond which it is sent again.
        every_s: From one look to the next.
        at_most_s: It is sent at the latest so long after the last time; inf waits for ever.
    """

    error: float
    every_s: float
    at_most_s: float = math.inf

    def __post_init__(self) -> None:
        check.within(0, math.inf, error=self.error)
        check.positive(every_s=self.every_s)
        if not self.at_most_s >= self.every_s:
            msg = f"at_most_s: got {self.at_most_s}, expected at least every_s={self.every_s}, when it is looked at"
            raise ValueError(msg)

    def begin(self, _rng: Rng, num: int, now_s: float, /) -> Memory:
        """Return nothing sent, and a look at once."""
        return {
            "sent_s": np.full(num, -math.inf),
            "sent": np.zeros((num, 0)),  # as wide as what is looked at, once that is known
            "looks": np.zeros(1, np.int64),
            "start_s": np.array([float(now_s)]),
        }

    def next_s(self, memory: Memory, /) -> float:
        """Return the next look."""
        return float(memory["start_s"][0] + memory["looks"][0] * self.every_s)

    def due(self, memory: Memory, now_s: float, look: Look, /) -> NDArray[np.int64]:
        """Return who is off, or has long not been heard of."""
        if self.next_s(memory) > _latest(now_s):
            return np.zeros(0, np.int64)
        memory["looks"][0] = math.floor((_latest(now_s) - memory["start_s"][0]) / self.every_s) + 1
        sent_s = memory["sent_s"]
        values = np.asarray(look(), float).reshape(sent_s.size, -1)
        if memory["sent"].shape != values.shape:
            memory["sent"] = np.zeros(values.shape)
        square = np.square(values - memory["sent"]).sum(axis=1)
        who = np.flatnonzero(~(square <= self.error**2) | (sent_s <= _latest(now_s) - self.at_most_s))
        memory["sent"][who], sent_s[who] = values[who], now_s
        return who

    def forget(self, memory: Memory, who: NDArray[np.int64], /) -> None:
        """Send them at the next look."""
        memory["sent_s"][who] = -math.inf
        if memory["sent"].shape[1]:
            memory["sent"][who] = math.nan


@dataclass(frozen=True, kw_only=True)
class BudgetSync:
    """Each thing on a beat of its own, so that all together keep within a budget of messages.

    Of all rates of the same sum, those in proportion to the square root of the weights make sum_i w_i age_i least.
    Equal rates and rates in proportion to the weights cost the same, whatever the weights.

    Attributes:
        messages_per_s: The budget, over all things.
        weights: What a second of age of each thing costs, shape (N,), all above 0.
        rule: How rates follow from weights.

    Examples:
        >>> BudgetSync(messages_per_s=3.0, weights=(1.0, 4.0)).rates_per_s.tolist()
        [1.0, 2.0]
    """

    messages_per_s: float
    weights: tuple[float, ...]
    rule: Rule = "square root"

    def __post_init__(self) -> None:
        check.positive(messages_per_s=self.messages_per_s)
        check.one_of(RULES, rule=self.rule)
        weights = check.array(self.weights, (None,), "things", name="weights").astype(float)
        if not weights.size or not weights.min() > 0 or not np.isfinite(weights).all():
            msg = "weights: got none or not all of them finite and above 0, expected the cost of a second of each age"
            raise ValueError(msg)
        object.__setattr__(self, "weights", tuple(weights.tolist()))

    @property
    def rates_per_s(self) -> NDArray[np.float64]:
        """Updates per second of each thing, shape (N,)."""
        power = {"square root": 0.5, "uniform": 0.0, "proportional": 1.0}[self.rule]
        parts = np.asarray(self.weights) ** power
        return np.asarray(self.messages_per_s * parts / parts.sum())

    @property
    def mean_cost(self) -> float:
        """The mean over time of sum_i w_i age_i when updates take no time: half a period each."""
        return sync_cost(self.weights, self.rates_per_s)

    def begin(self, rng: Rng, num: int, now_s: float, /) -> Memory:
        """Return each thing's beat, at a random phase.

        Raises:
            ValueError: There are not as many things as weights.
        """
        if num != len(self.weights):
            msg = f"weights: got {len(self.weights)}, expected one for each of {num} things"
            raise ValueError(msg)
        return _beats(1 / self.rates_per_s, rng, now_s)

    def next_s(self, memory: Memory, /) -> float:
        """Return the next beat of all."""
        return float(memory["next_s"].min(initial=math.inf))

    def due(self, memory: Memory, now_s: float, _look: Look, /) -> NDArray[np.int64]:
        """Return whose beat it is."""
        return _due_by_beat(memory, now_s)

    def forget(self, _memory: Memory, _who: NDArray[np.int64], /) -> None:
        """A beat goes on."""


@dataclass(frozen=True, kw_only=True)
class RatedSync:
    """At random, each thing at a rate of its own that may be set while it runs, within a budget.

    The dates of a thing are those of a Poisson process of rate 1 whose clock runs at its rate. Setting rates draws
    nothing: whoever sets them, and how, the same fate is met sooner or later.

    Attributes:
        rates_per_s: Updates per second of each thing at the beginning, shape (N,), all above 0.
        budget_per_s: Most updates per second of all things together; inf if there is no such bound.

    Examples:
        >>> sync = RatedSync(rates_per_s=(1.0, 1.0), budget_per_s=2.0)
        >>> memory = sync.begin(np.random.default_rng(1), 2, 0.0)
        >>> before_s = memory["next_s"].copy()
        >>> sync.set_rates(memory, (0.5, 1.5), 0.0)
        >>> (before_s / memory["next_s"]).round(9).tolist()
        [0.5, 1.5]
    """

    rates_per_s: tuple[float, ...]
    budget_per_s: float = math.inf

    def __post_init__(self) -> None:
        if self.budget_per_s != math.inf:
            check.positive(budget_per_s=self.budget_per_s)
        rates = self.checked(self.rates_per_s, np.size(self.rates_per_s))
        object.__setattr__(self, "rates_per_s", tuple(rates.tolist()))

    def checked(self, rates_per_s: ArrayLike, num: int) -> NDArray[np.float64]:
        """Return rates of `num` things.

        Raises:
            ValueError: Not one for each, not all finite and above 0, or their sum exceeds the budget.
        """
        rates = check.array(rates_per_s, (num,), "things", name="rates_per_s").astype(float)
        if not rates.size or not rates.min() > 0 or not np.isfinite(rates).all():
            msg = "rates_per_s: got none or not all finite and above 0; what is never sent ages for ever"
            raise ValueError(msg)
        if rates.sum() > self.budget_per_s * (1 + ROUNDING):
            msg = (
                f"rates_per_s: sum to {rates.sum():g}, expected at most the budget of {self.budget_per_s:g}; lower some"
            )
            raise ValueError(msg)
        return rates

    def begin(self, rng: Rng, num: int, now_s: float, /) -> Memory:
        """Return each thing's stream, rate and first date.

        Raises:
            ValueError: There are not as many things as rates.
        """
        rates = self.checked(self.rates_per_s, num)
        memory = begin_streams(rng, num)
        memory["rate_per_s"] = rates
        memory["next_s"] = now_s - np.log(first_uniforms(memory)[:, 0]) / rates
        return memory

    def next_s(self, memory: Memory, /) -> float:
        """Return the next date of all."""
        return float(memory["next_s"].min(initial=math.inf))

    def due(self, memory: Memory, now_s: float, _look: Look, /) -> NDArray[np.int64]:
        """Return whose date has come."""
        return run_rated(memory["next_s"], memory["rate_per_s"], memory["key"], memory["count"], _latest(now_s))

    def forget(self, _memory: Memory, _who: NDArray[np.int64], /) -> None:
        """The future does not hang on the past."""

    def set_rates(self, memory: Memory, rates_per_s: ArrayLike, now_s: float, /) -> None:
        """Let things be sent at these rates from now on; `memory` is changed in place, or not at all.

        Raises:
            ValueError: As `checked` says.
        """
        old = memory["rate_per_s"]
        rates = self.checked(rates_per_s, old.size)
        memory["next_s"] = now_s + np.maximum(memory["next_s"] - now_s, 0.0) * (old / rates)
        memory["rate_per_s"] = rates


SYNC_RULES: tuple[type[Sync], ...] = (PeriodicSync, PoissonSync, ThresholdSync, BudgetSync, RatedSync)


def sync_cost(weights: ArrayLike, rates_per_s: ArrayLike) -> float:
    """Return the mean over time of sum_i w_i age_i of things on regular beats, updates taking no time.

    Examples:
        >>> sync_cost([1.0, 4.0], [1.0, 2.0]), round(sync_cost([1.0, 4.0], [1.5, 1.5]), 3)
        (1.5, 1.667)
    """
    weight = check.array(weights, (None,), "things", name="weights").astype(float)
    rate = check.array(rates_per_s, weight.shape, "things", name="rates_per_s", because="things are set by weights")
    if rate.size and not rate.min() > 0:
        msg = f"rates_per_s: got {rate.min()}, expected rates above 0; what is never sent ages for ever"
        raise ValueError(msg)
    return float((weight / (2 * rate)).sum())


def lognormal_budget_gain(sigma: float) -> float:
    """Return what square-root rates gain over equal ones for many things of lognormal weights: exp(sigma^2 / 4).

    Args:
        sigma: Standard deviation of the weights' logarithms.

    Examples:
        >>> [round(lognormal_budget_gain(sigma), 3) for sigma in (0.5, 1.0, 1.5)]
        [1.064, 1.284, 1.755]
    """
    check.within(0, math.inf, sigma=sigma)
    return math.exp(sigma**2 / 4)


def _latest(now_s: float) -> float:
    return now_s + SLACK * max(1.0, abs(now_s))


def _beats(period_s: NDArray[np.float64], rng: Rng | None, now_s: float) -> Memory:
    phase_s = np.zeros(period_s.size) if rng is None else period_s * rng.random(period_s.size)
    first_s = now_s + phase_s
    return {
        "first_s": first_s,
        "period_s": period_s,
        "beats": np.zeros(period_s.size, np.int64),
        "next_s": first_s.copy(),
    }


def _due_by_beat(memory: Memory, now_s: float) -> NDArray[np.int64]:
    next_s = memory["next_s"]
    who = np.flatnonzero(next_s <= _latest(now_s))
    if who.size:
        first_s, period_s = memory["first_s"][who], memory["period_s"][who]
        # Dates are multiples of the period, not sums: they must not drift.
        beats = np.maximum(np.floor((_latest(now_s) - first_s) / period_s).astype(np.int64), memory["beats"][who]) + 1
        memory["beats"][who] = beats
        next_s[who] = first_s + beats * period_s
    return who
