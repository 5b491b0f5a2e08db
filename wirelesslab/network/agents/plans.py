"""Plans: who gets which share, from the loads that have been.

The rules here need no learning. To add one, write a frozen config with `shares` and name it in `PLANS`; its specs
run by themselves, and it reserves shares of any domain through `Reserve` (agents) and `Planner` (windows).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.convex import fewest_misses_shares, least_delay_shares
from wirelesslab.network.shares import EqualShares

Aim = Literal["delay", "misses"]
AIMS: tuple[Aim, ...] = ("delay", "misses")


class Plan(Protocol):
    """Decides the shares of the coming window from the windows that have been."""

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return the share of each slice, adding up to at most 1; None changes nothing.

        Args:
            history: Offered bits per second, shape (windows so far, slices).
            window: Number of the window that begins, from 0.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class StaticShares:
    """The same shares always.

    Attributes:
        shares_of_slices: One for each slice, in their order.
    """

    shares_of_slices: tuple[float, ...]

    def __post_init__(self) -> None:
        check.within(0, 1, **{f"shares_of_slices[{i}]": share for i, share in enumerate(self.shares_of_slices)})
        if sum(self.shares_of_slices) > 1 + 1e-9:
            msg = f"shares_of_slices: got {self.shares_of_slices}, which sum to {sum(self.shares_of_slices):g}, not 1"
            raise ValueError(msg)

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return them in the first window."""
        del history
        return np.array(self.shares_of_slices) if window == 0 else None


@dataclass(frozen=True, kw_only=True)
class ProportionalShares:
    """Shares in proportion to the load of the last windows.

    Attributes:
        memory: Windows that are averaged.
        least: Smallest share of a slice.
    """

    memory: int = 1
    least: float = 0.05

    def __post_init__(self) -> None:
        check.positive_integer(memory=self.memory)
        check.within(0, 0.5, least=self.least)

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return equal shares until something has been seen."""
        del window
        recent = _recent(history, self.memory)
        return _with_least(recent, self.least)


@dataclass(frozen=True, kw_only=True)
class SquareRootShares:
    """Load plus a part of what is left in proportion to the square roots of the loads.

    References:
        Kleinrock's square-root capacity assignment: it minimises the mean delay of M/M/1 queues.

    Attributes:
        capacity_bps: What is shared.
        memory: Windows that are averaged.
        least: Smallest share of a slice.
    """

    capacity_bps: float
    memory: int = 1
    least: float = 0.02

    def __post_init__(self) -> None:
        check.positive(capacity_bps=self.capacity_bps)
        check.positive_integer(memory=self.memory)
        check.within(0, 0.5, least=self.least)

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return equal shares until something has been seen, and proportional ones in overload."""
        del window
        recent = _recent(history, self.memory)
        spare = self.capacity_bps - recent.sum()
        if spare <= 0 or not recent.any():
            return _with_least(recent, self.least)
        roots = np.sqrt(recent)
        return _with_least(recent + spare * roots / roots.sum(), self.least)


@dataclass(frozen=True, kw_only=True)
class MaxMinShares:
    """To each what it needs or, if that is too much, no less than anybody else gets; what is left is split evenly.

    Attributes:
        capacity_bps: What is shared.
        memory: Windows that are averaged.
        least: Smallest share of a slice.

    Examples:
        >>> MaxMinShares(capacity_bps=10.0, least=0.0).shares(np.array([[1.0, 6.0, 8.0]]), 1).round(3)
        array([0.1 , 0.45, 0.45])
    """

    capacity_bps: float
    memory: int = 1
    least: float = 0.02

    def __post_init__(self) -> None:
        check.positive(capacity_bps=self.capacity_bps)
        check.positive_integer(memory=self.memory)
        check.within(0, 0.5, least=self.least)

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return equal shares until something has been seen."""
        del window
        load = _recent(history, self.memory) / self.capacity_bps
        given = EqualShares().divide(load, 1.0, 1.0)
        return _with_least(given + (1 - given.sum()) / given.size, self.least)


@dataclass(frozen=True, kw_only=True)
class ConvexShares:
    """The shares of least cost, by convex optimisation (see `convex`).

    Attributes:
        capacity_bps: What is shared.
        aim: The least jobs ("delay"; square-root shares if all slices weigh alike) or the fewest packets later
            than promised ("misses").
        weights: One for each slice, such as the price of a broken promise; () weighs all alike.
        promises_s: Delay promised by each slice; "misses" needs them.
        packet_bytes: Mean size of a packet; "misses" needs it.
        memory: Windows that are averaged.
        least: Smallest share of a slice.
    """

    capacity_bps: float
    aim: Aim = "delay"
    weights: tuple[float, ...] = ()
    promises_s: tuple[float, ...] = ()
    packet_bytes: float = 1500.0
    memory: int = 1
    least: float = 0.02

    def __post_init__(self) -> None:
        check.positive(capacity_bps=self.capacity_bps, packet_bytes=self.packet_bytes)
        check.one_of(AIMS, aim=self.aim)
        for name in ("weights", "promises_s"):
            check.positive(**{f"{name}[{i}]": value for i, value in enumerate(getattr(self, name))})
        check.positive_integer(memory=self.memory)
        check.within(0, 0.5, least=self.least)
        if self.aim == "misses" and not self.promises_s:
            msg = "promises_s: got (), expected the promised delay of each slice, by which misses are counted"
            raise ValueError(msg)

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return equal shares until something has been seen, and proportional ones in overload."""
        del window
        recent = _recent(history, self.memory)
        load, count = recent / self.capacity_bps, recent.size
        if np.maximum(load, self.least).sum() >= 1 - 1e-6 or load.sum() < 1e-9:
            return _with_least(recent, self.least)
        weights = self._of_each("weights", self.weights or (1.0,) * count, count)
        if self.aim == "delay":
            return least_delay_shares(load, weights, self.least)
        promises_s = self._of_each("promises_s", self.promises_s, count)
        served_per_s = self.capacity_bps / (8 * self.packet_bytes)
        return fewest_misses_shares(load, weights, served_per_s * promises_s, self.least)

    def _of_each(self, name: str, values: Sequence[float], count: int) -> NDArray[np.float64]:
        if len(values) != count:
            msg = f"{name}: got {len(values)}, expected one for each of the {count} slices"
            raise ValueError(msg)
        return np.array(values)


@dataclass(frozen=True, kw_only=True)
class SeasonalShares:
    """Square-root shares for the load that the same window had a season ago.

    Attributes:
        season: Windows in a season, such as a day's.
        capacity_bps: What is shared.
        least: Smallest share of a slice.
    """

    season: int
    capacity_bps: float
    least: float = 0.02

    def __post_init__(self) -> None:
        check.positive_integer(season=self.season)
        _ = self._rule

    @property
    def _rule(self) -> SquareRootShares:
        return SquareRootShares(capacity_bps=self.capacity_bps, least=self.least)

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return what the last window asks for until a season has been seen."""
        # counted from the end: a planner's memory may be shorter than its life
        seen = history[-self.season][None] if len(history) >= self.season else history
        return self._rule.shares(seen, window)


@dataclass(frozen=True, kw_only=True)
class ForeseenShares:
    """What a rule would do if it knew the coming window's load: the bound on what forecasts are worth to it.

    Attributes:
        rule: It.
        loads_bps: Load of each slice in each window, repeated when they are through.
    """

    rule: Plan
    loads_bps: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        if len({len(loads) for loads in self.loads_bps}) != 1:
            msg = f"loads_bps: got {self.loads_bps}, expected at least one window, and every slice's load in each"
            raise ValueError(msg)
        for window, loads in enumerate(self.loads_bps):
            check.within(0, np.finfo(float).max, **{f"loads_bps[{window}][{i}]": load for i, load in enumerate(loads)})

    def shares(self, history: NDArray[np.float64], window: int) -> NDArray[np.float64] | None:
        """Return the rule's shares for the load that is about to come."""
        del history
        return self.rule.shares(np.array(self.loads_bps[window % len(self.loads_bps)])[None], window)


PLANS: tuple[type[Plan], ...] = (
    StaticShares, ProportionalShares, MaxMinShares, SquareRootShares, ConvexShares, SeasonalShares, ForeseenShares,
)  # fmt: skip


def _recent(history: NDArray[np.float64], memory: int) -> NDArray[np.float64]:
    """Return the mean load of the last windows, zeros if there are none."""
    return np.asarray(history[-memory:].mean(axis=0) if len(history) else np.zeros(history.shape[1]))


def _with_least(loads: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return shares in proportion to the loads, none below `least`."""
    count = loads.size
    if least * count > 1:
        msg = f"least: got {least} for {count} slices, expected at most {1 / count:g}"
        raise ValueError(msg)
    total = loads.sum()
    shares = loads / total if total > 0 else np.full(count, 1 / count)
    return np.asarray(least + (1 - least * count) * shares)
