"""Rules as policies: reservations by a plan, max-weight, fail-over. None of them learns.

To add one, write a class with `act` and name it in `POLICIES`; its specs run by themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from math import floor
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.plans import Plan
from wirelesslab.network.agents.policy import Policy
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio
from wirelesslab.network.view import SetRatios, View

DIGITS = 1e9  # shares are said to nine digits, rounded down so that their sum never exceeds what there is


@dataclass(eq=False)
class Reserve:
    """Reserve what a plan says, for the loads that have been seen.

    Attributes:
        plan: The rule: from the offered bits per second of the windows that have been to shares.
        domain: What is reserved.
        element: One link or server; "" is all of the domain.
        dedicated: Whether the shares are each slice's own, idle or not; otherwise they are guarantees,
            and what is idle is lent.
        part: Of the domain that is reserved; an operator may give the rest to whom it likes.
        history_windows: Windows that are remembered.
        window: Number of the window that comes next: memory, as the next two.
        history: Loads that have been seen, each of shape (slices,), the latest last.
        seen_s: Time of the last view.
    """

    reads: ClassVar[tuple[str, ...]] = ("slices",)
    plan: Plan
    _: KW_ONLY
    domain: Domain = "transport"
    element: str = ""
    dedicated: bool = False
    part: float = 1.0
    history_windows: int = 1000
    window: int = field(default=0, init=False)
    history: list[NDArray[np.float64]] = field(default_factory=list, init=False, repr=False)
    seen_s: float = field(default=-1.0, init=False, repr=False)

    def __post_init__(self) -> None:
        if not hasattr(self.plan, "shares"):
            msg = f"plan: got {self.plan!r}, expected a plan such as ProportionalShares()"
            raise TypeError(msg)
        check.one_of(DOMAINS, domain=self.domain)
        check.within(0, 1, part=self.part)
        check.positive_integer(history_windows=self.history_windows)

    def check(self, names: Sequence[str]) -> None:
        """Refuse a plan for another number of slices.

        Raises:
            ValueError: It gives more or fewer shares than there are slices.
        """
        shares = self.plan.shares(np.zeros((0, len(names))), 0)
        if shares is not None:
            self._check_number(shares, names)

    def act(self, view: View) -> SetRatios | None:
        """Return the plan's shares for the window that begins."""
        names = list(view.slices)
        if not names:
            msg = "slices: the view shows none, expected one that shows what each slice was offered"
            raise ValueError(msg)
        if view.before is not None and view.time_s > self.seen_s:
            self.history.append(np.array([view.offered_bps(name) for name in names]))
            del self.history[: -self.history_windows]
        self.seen_s = view.time_s
        shares = self.plan.shares(np.array(self.history).reshape(-1, len(names)), self.window)
        self.window += 1
        if shares is None:
            return None
        self._check_number(shares, names)
        if not np.isfinite(shares).all():
            msg = f"shares: {type(self.plan).__name__} gave {shares}, expected numbers"
            raise ValueError(msg)
        return SetRatios(
            domain=self.domain,
            element=self.element,
            ratios={
                name: _ratio(share * self.part, dedicated=self.dedicated)
                for name, share in zip(names, shares, strict=True)
            },
        )

    def _check_number(self, shares: NDArray[np.float64], names: Sequence[str]) -> None:
        if np.shape(shares) != (len(names),):
            msg = f"shares: {type(self.plan).__name__} gave {np.size(shares)}, expected one for each of {list(names)}"
            raise ValueError(msg)


@dataclass(frozen=True, kw_only=True)
class MaxWeight:
    """Guarantee all that nobody has reserved to the slice with the most weighted bytes waiting.

    The longest queue, if all weigh alike. It needs a view that shows queues. Under a mandate with a floor it gives what
    the planner has reserved to everybody, and what is left to the longest queue.

    References:
        Tassiulas and Ephremides, IEEE Trans. Autom. Control 37(12), 1992: serving the largest product of queue
        and rate keeps every load stable that can be; here all have the same rate.

    Attributes:
        domain: What is shared: "transport" or "compute".
        element: One link or server; "" is all of the domain, by its queues added up.
        weights: One for each slice, in their order; () weighs all alike.
        most: Guaranteed to the longest queue at most, of what nobody has reserved.
    """

    reads: ClassVar[tuple[str, ...]] = ("queues",)
    domain: Domain = "transport"
    element: str = ""
    weights: tuple[float, ...] = ()
    most: float = 1.0

    def __post_init__(self) -> None:
        check.one_of(("transport", "compute"), domain=self.domain)
        check.positive(**{f"weights[{i}]": weight for i, weight in enumerate(self.weights)})
        check.within(0, 1, most=self.most)

    def act(self, view: View) -> SetRatios | None:
        """Return guarantees; None when nothing waits.

        Raises:
            ValueError: The view shows no such queue, or the weights are not one for each slice.
        """
        waiting = waiting_bytes(view, self.domain, self.element)
        names, weights = list(waiting), self.weights or (1.0,) * len(waiting)
        if len(weights) != len(names):
            msg = f"weights: got {len(weights)}, expected one for each of {names}"
            raise ValueError(msg)
        backlog = [waiting[name] * weight for name, weight in zip(names, weights, strict=True)]
        if not any(backlog):
            return None
        kept = {name: view.kept(name, self.domain, self.element) for name in names}
        longest = names[int(np.argmax(backlog))]
        extra = self.most * max(1 - sum(ratio.min for ratio in kept.values()), 0.0)
        ratios = {}
        for name, ratio in kept.items():
            share = min(ratio.min + (extra if name == longest else 0.0), ratio.max)
            ratios[name] = ResourceRatio(dedicated=ratio.dedicated, min=max(_said(share), ratio.min), max=ratio.max)
        return SetRatios(domain=self.domain, element=self.element, ratios=ratios)


@dataclass(kw_only=True)
class FailOver:
    """While an element is out of service, hold slices to other shares: a rule that a node can follow by itself.

    Attributes:
        watch: Links and nodes; any of them that fails is an emergency.
        emergency: Shares, by slice, while one of them is down.
        usual: Shares, by slice, when all are up again.
        domain: Whose shares.
        element: One link or server; "" is all of the domain.
        failed: Whether it is an emergency: memory.
    """

    reads: ClassVar[tuple[str, ...]] = ("down",)
    watch: tuple[str, ...]
    emergency: Mapping[str, ResourceRatio]
    usual: Mapping[str, ResourceRatio]
    domain: Domain = "transport"
    element: str = ""
    failed: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        for ratios in (self.emergency, self.usual):
            SetRatios(domain=self.domain, element=self.element, ratios=ratios)
        if not self.watch or isinstance(self.watch, str) or set(self.emergency) != set(self.usual):
            msg = (
                f"watch, emergency, usual: got {self.watch!r}, {sorted(self.emergency)} and {sorted(self.usual)}, "
                "expected elements to watch, such as ('edge-1->core',), and the same slices in both"
            )
            raise ValueError(msg)

    def act(self, view: View) -> SetRatios | None:
        """Return other shares when an emergency begins or ends.

        Raises:
            ValueError: The view is a twin's that does not tell what is down.
        """
        if view.ages_s and "down" not in view.ages_s:
            msg = f"down: the view shows {', '.join(view.ages_s)} alone, expected one that tells what is out of service"
            raise ValueError(msg)
        failed = not set(self.watch).isdisjoint(view.down)
        if failed == self.failed:
            return None
        self.failed = failed
        return SetRatios(domain=self.domain, element=self.element, ratios=self.emergency if failed else self.usual)


POLICIES: tuple[type[Policy], ...] = (Reserve, MaxWeight, FailOver)


def waiting_bytes(view: View, domain: Domain, element: str = "") -> Mapping[str, int]:
    """Return what waits for a link or server, or for all of a domain, by slice.

    Raises:
        ValueError: The view does not show it.
    """
    if element in view.queues:
        return view.queues[element]
    chosen = [waiting for name, waiting in view.queues.items() if ("->" in name) == (domain == "transport")]
    if element or not chosen:
        msg = f"queues: the view shows none of {element or domain}, expected one that shows what waits there"
        raise ValueError(msg + check.nearest(element, view.queues))
    return {name: sum(waiting[name] for waiting in chosen) for name in chosen[0]}


def policy_of(policy: Policy | Plan) -> Any:
    """Return a policy as it is, a plan as a policy."""
    return policy if hasattr(policy, "act") else Reserve(policy)


def _said(share: float) -> float:
    return floor(share * DIGITS) / DIGITS


def _ratio(share: float, *, dedicated: bool) -> ResourceRatio:
    return ResourceRatio.isolated(_said(share)) if dedicated else ResourceRatio(min=_said(share))
