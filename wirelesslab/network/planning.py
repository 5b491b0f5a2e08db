"""Two clocks: planning windows set the slices' reservations, operation schedules inside them.

A `Plan` is the rule, `Planner` the actor that applies it at the start of each window and at no other time.
The rules here need no learning; agents on a network's nodes come with their own.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio
from wirelesslab.network.view import SetRatios, View

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network, Story


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
        recent = history[-self.memory :].mean(axis=0) if len(history) else np.zeros(history.shape[1])
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
        recent = history[-self.memory :].mean(axis=0) if len(history) else np.zeros(history.shape[1])
        spare = self.capacity_bps - recent.sum()
        if spare <= 0 or not recent.any():
            return _with_least(recent, self.least)
        roots = np.sqrt(recent)
        return _with_least(recent + spare * roots / roots.sum(), self.least)


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


PLANS: tuple[type[Plan], ...] = (StaticShares, ProportionalShares, SquareRootShares, SeasonalShares, ForeseenShares)


def _with_least(loads: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Return shares in proportion to the loads, none below `least`."""
    count = loads.size
    if least * count > 1:
        msg = f"least: got {least} for {count} slices, expected at most {1 / count:g}"
        raise ValueError(msg)
    total = loads.sum()
    shares = loads / total if total > 0 else np.full(count, 1 / count)
    return np.asarray(least + (1 - least * count) * shares)


@dataclass
class _Windows:
    """What a planner has seen and reserved, of the latest windows."""

    next_s: float
    began_s: float
    way_s: float
    decided: SetRatios | None = None
    window: int = 0
    history: list[NDArray[np.float64]] = field(default_factory=list)
    planned: list[tuple[float, NDArray[np.float64]]] = field(default_factory=list)
    last: View | None = None


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Sets the slices' reservations at the start of each window; they stand until the next one.

    Attributes:
        plan: The rule.
        window_s: Length of a window.
        domain: What is reserved.
        dedicated: Whether the shares are each slice's own, idle or not; otherwise they are guarantees,
            and what is idle is lent.
        at: Node where it sits: what it sees takes the longest way through the network to get there, and
            what it decides takes as long to get back. "" sits beside the network and needs no time.
        decide_s: Time that a decision takes, at a node.
        history_windows: Windows that are remembered.
        name: Its name as an actor.
    """

    plan: Plan
    window_s: float
    domain: Domain = "transport"
    dedicated: bool = True
    at: str = ""
    decide_s: float = 1e-3
    history_windows: int = 1000
    name: str = ""

    def __post_init__(self) -> None:
        if not hasattr(self.plan, "shares"):
            msg = f"plan: got {self.plan!r}, expected a plan such as ProportionalShares()"
            raise TypeError(msg)
        check.one_of(DOMAINS, domain=self.domain)
        check.positive(window_s=self.window_s, decide_s=self.decide_s)
        check.positive_integer(history_windows=self.history_windows)

    def run(self, network: "Network") -> "Story":
        """Sense at the start of every window, decide, and enforce as soon as the way there and back allows.

        Raises:
            ValueError: The way is longer than the window.
        """
        name = network.name_of(self)
        state = network.record(name, lambda: self._begin(network))
        way_s = state.way_s
        delay_s = 2 * way_s + self.decide_s if self.at else 0.0
        if delay_s >= self.window_s:
            msg = f"window_s: got {self.window_s}, expected more than the {delay_s:g} s of a decision at {self.at}"
            raise ValueError(msg)
        while True:
            yield network.until(state.next_s)
            if state.decided is None:
                state.began_s = state.next_s
                state.decided = self._decision(network, state)
                if state.decided is not None and delay_s:
                    state.next_s += delay_s
                    continue
            if state.decided is not None:
                self._enforce(network, state, name, way_s)
            state.next_s = state.began_s + self.window_s

    def _begin(self, network: "Network") -> _Windows:
        several = any(node.get("num_servers", 1) > 1 for node in network.graph.nodes.values())
        if self.domain == "compute" and self.dedicated and several:
            msg = "dedicated: shares of several servers must be whole servers; say dedicated=False for compute"
            raise ValueError(msg)
        return _Windows(network.now_s, network.now_s, longest_way_s(network, self.at) if self.at else 0.0)

    def _enforce(self, network: "Network", state: _Windows, name: str, way_s: float) -> None:
        action, state.decided = state.decided, None
        assert action is not None
        if not network.apply(action, by=name).refused:
            shares = np.array([action.ratios[s.name].min for s in network.slices])
            state.planned.append((network.now_s, shares))
            del state.planned[: -self.history_windows]
        if network.trace is not None and self.at:
            told_s, decided_s = state.began_s + way_s, state.began_s + way_s + self.decide_s
            for what, start_s, end_s in (
                ("sense", state.began_s, told_s), ("decide", told_s, decided_s), ("enforce", decided_s, network.now_s),
            ):  # fmt: skip
                network.trace.span(f"control/{name}", what, start_s, end_s)

    def _decision(self, network: "Network", state: _Windows) -> SetRatios | None:
        view = network.view(state.last)
        names = [s.name for s in network.slices]
        if state.last is not None:
            state.history.append(np.array([view.offered_bps(n) for n in names]))
            del state.history[: -self.history_windows]
        state.last = network.view()
        seen = np.array(state.history).reshape(-1, len(names))
        shares = self.plan.shares(seen, state.window)
        state.window += 1
        if shares is None:
            return None
        if shares.shape != (len(names),):
            msg = f"shares: {type(self.plan).__name__} gave {shares.size}, expected one for each of {names}"
            raise ValueError(msg)
        ratio = ResourceRatio.isolated if self.dedicated else (lambda share: ResourceRatio(min=share))
        ratios = {n: ratio(float(np.floor(share * 1e9) / 1e9)) for n, share in zip(names, shares, strict=True)}
        return SetRatios(domain=self.domain, ratios=ratios)


def longest_way_s(network: "Network", at: str) -> float:
    """Return the propagation time between a node and the node that is farthest from it.

    Raises:
        ValueError: There is no such node, or some node cannot reach it.
    """
    network.check_node(at)
    longest = max(network.routes.round_trip_s(node, at) for node in network.graph) / 2
    if longest == float("inf"):
        msg = f"at: {at} cannot be reached from every node; put the planner where all can tell it what they see"
        raise ValueError(msg)
    return longest
