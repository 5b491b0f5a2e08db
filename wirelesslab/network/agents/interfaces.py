"""Between views and learned policies: what a policy is shown as numbers, and what its numbers change.

An interface is shared word for word by the task in which a policy is trained and by the agent in whose network it
lives, so that a trained policy plugs in unchanged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.agents.rules import DIGITS
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio
from wirelesslab.network.view import Action, SetRatios, View

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Shown = Literal["queues", "delays", "late", "shares"]
SHOWN: tuple[Shown, ...] = ("queues", "delays", "late", "shares")
MOST_LOAD, MOST_S = 4.0, 1000.0  # bounds of what is shown; beyond them it is shown at the bound


class Interface(Protocol):
    """Turns a view into an observation, and an answer into actions."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the tasks whose policies it fits."""
        ...

    @property
    def reads(self) -> tuple[str, ...]:
        """What of a view it reads; see `Policy`."""
        ...

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of what it shows."""
        ...

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Of what it is told."""
        ...

    def begin(self) -> Any:
        """Return a memory that has seen nothing."""
        ...

    def observe(self, view: View, memory: Any) -> Floats32:
        """Return what is shown of a view; `memory` takes it in.

        Raises:
            ValueError: The view does not show what is needed, or shows what is no number.
        """
        ...

    def actions(self, answer: ArrayLike) -> Sequence[Action]:
        """Return what an answer means.

        Raises:
            ValueError: Another shape, no numbers, or numbers outside [0, 1].
        """
        ...


@dataclass
class LoadMemory:
    """What an interface remembers of the windows that have been.

    Attributes:
        means: Exponentially weighted mean loads, shape (memories, slices).
        windows: How many have been.
        seen_s: Moment of the latest view.
    """

    means: Floats
    windows: int = 0
    seen_s: float = -math.inf

    def take(self, load: Floats, memory: Floats) -> None:
        """Take in the loads of a window, shape (slices,); the first one is the mean so far."""
        weight = 1.0 if self.windows == 0 else 1 / memory[:, None]
        self.means += (load - self.means) * weight
        self.windows += 1


@dataclass(frozen=True, kw_only=True)
class ShareInterface:
    r"""Loads of slices in, shares of slices out: a row for each slice in each domain.

    Rows go domain by domain, in the order of `slices` in each. A row shows, each in its bounds:

    ==========================  =====================================================  ===========
    a number for each `memory`  own load, a part of `capacity_bps`                     0 to 4
    a number for each `memory`  load of all slices together, likewise                  0 to 4
    "queues"                    own bytes inside, in seconds of the whole capacity     0 to 1000 s
    "delays"                    mean delay of what arrived in the last window; else 0  0 to 1000 s
    "late"                      share late or lost in the last window; else 0          0 to 1
    "shares"                    own guaranteed share in force, in the row's domain     0 to 1
    if several `domains`        1 in the place of the row's domain, 0 in the others'   0 to 1
    ==========================  =====================================================  ===========

    An answer has a number $a$ in [0, 1] for each row. In each domain slice $i$ of $n$ gets the share
    $\ell + (1 - n \ell)\, a_i / \sum_j a_j$ with $\ell$ = `least`; equal shares if all are 0. Shares therefore
    always add up to 1, no slice starves, and only ratios of answers count.

    Attributes:
        slices: Names, in the network's order.
        capacity_bps: What loads and queues are reckoned by; our choice is the narrowest resource on the slices' way.
        domains: Whose shares are set.
        memory: Windows that the exponentially weighted means of loads remember (weight 1/memory); 1 is the last window.
        shows: What else is shown.
        flow_bytes: Loads are the number of flows that began, so many bytes each; 0 counts their bytes themselves.
        least: Smallest share of a slice.
        dedicated: Whether shares are each slice's own, idle or not; otherwise they are guarantees.
        element: One link or server whose shares are set; "" is all of each domain.

    Examples:
        >>> interface = ShareInterface(slices=("embb", "urllc"), capacity_bps=1e7, least=0.1)
        >>> interface.features
        ('load, 1 window', 'all loads, 1 window')
        >>> interface.shares([0.3, 0.1])
        array([[0.7, 0.3]])
    """

    tasks: ClassVar[tuple[str, ...]] = ("wirelesslab/SliceAlloc-v0", "wirelesslab/SliceAllocReduced-v0")
    slices: tuple[str, ...]
    capacity_bps: float
    domains: tuple[Domain, ...] = ("transport",)
    memory: tuple[int, ...] = (1,)
    shows: tuple[Shown, ...] = ()
    flow_bytes: float = 0.0
    least: float = 0.02
    dedicated: bool = True
    element: str = ""

    def __post_init__(self) -> None:
        check.positive(capacity_bps=self.capacity_bps)
        check.positive_integer(**{f"memory[{i}]": windows for i, windows in enumerate(self.memory)})
        check.within(0, math.inf, flow_bytes=self.flow_bytes)
        for name, choices in (("domains", DOMAINS), ("shows", SHOWN)):
            for value in getattr(self, name):
                check.one_of(choices, **{name: value})
        for name in ("slices", "domains", "memory"):
            values = getattr(self, name)
            if not values or isinstance(values, str) or len(set(values)) < len(values):
                msg = f"{name}: got {values!r}, expected at least one and each once, such as ('embb', 'urllc')"
                raise ValueError(msg)
        check.within(0, 1 / len(self.slices), least=self.least)
        if self.element and len(self.domains) > 1:
            msg = f"element: got {self.element!r} and the domains {self.domains}, expected the element's domain alone"
            raise ValueError(msg)

    @property
    def reads(self) -> tuple[str, ...]:
        """What of a view it reads."""
        return ("slices", "ratios") if "shares" in self.shows else ("slices",)

    @property
    def num_rows(self) -> int:
        """Slices times domains."""
        return len(self.slices) * len(self.domains)

    @cached_property
    def features(self) -> tuple[str, ...]:
        """What each number of a row is."""
        windows = [f"{m} window{'s' if m > 1 else ''}" for m in self.memory]
        loads = [f"{what}, {w}" for what in ("load", "all loads") for w in windows]
        several = self.domains if len(self.domains) > 1 else ()
        return (*loads, *(one for one in SHOWN if one in self.shows), *several)

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """(rows, features)."""
        return self.num_rows, len(self.features)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """(rows,)."""
        return (self.num_rows,)

    @property
    def high(self) -> Floats32:
        """Upper bounds of an observation, shape (rows, features); all lower bounds are 0."""
        most = {"queues": MOST_S, "delays": MOST_S}
        row = [MOST_LOAD if "load" in name else most.get(name, 1.0) for name in self.features]
        return np.tile(np.array(row, np.float32), (self.num_rows, 1))

    # --- from view to observation ----------------------------------------------------------------------------

    def begin(self) -> LoadMemory:
        """Return a memory that has seen nothing: loads of 0."""
        return LoadMemory(np.zeros((len(self.memory), len(self.slices))))

    def observe(self, view: View, memory: LoadMemory) -> Floats32:
        """Return what is shown of a view, shape (rows, features), and take its window into `memory`.

        A window that was seen before, as a twin shows it that has heard nothing since, is not taken in again.

        Raises:
            ValueError: The view shows other slices, lacks what is read, or holds what is no number.
        """
        for one in (view, view.before):
            if one is not None and set(one.slices) != set(self.slices):
                msg = f"slices: the view shows {list(one.slices)}, expected {list(self.slices)}, as in training"
                raise ValueError(msg)
        if view.before is not None and view.time_s > memory.seen_s and view.window_s > 0:
            loads = np.array([self._load(view, name) for name in self.slices])
            if not np.isfinite(loads).all():  # asked first: one wrong window must not spoil all that come
                place = int(np.argmin(np.isfinite(loads)))
                raise ValueError(_no_number(loads[place], "load", self.slices[place]))
            memory.take(loads, np.array(self.memory, float))
        memory.seen_s = view.time_s
        shown: dict[Shown, Floats] = {}
        if "queues" in self.shows:
            inside = [view.slices[name].inside_bytes for name in self.slices]
            shown["queues"] = 8 * np.array(inside, float) / self.capacity_bps
        for what, of in (("delays", view.mean_delay_s), ("late", view.late_share)):
            if what in self.shows:
                shown[what] = np.array([_or_zero(view, of(name)) for name in self.slices])
        if "shares" in self.shows:
            if not set(self.domains) <= set(view.ratios):
                msg = f"ratios: the view shows {sorted(view.ratios)}, expected the shares of {', '.join(self.domains)}"
                raise ValueError(msg)
            shown["shares"] = np.array([[view.ratios[d][s].min for s in self.slices] for d in self.domains])
        return self.rows(memory.means, shown)

    def _load(self, view: View, name: str) -> float:
        if not self.flow_bytes:
            return view.offered_bps(name) / self.capacity_bps
        before = 0 if view.before is None else view.before.slices[name].offered_flows
        flows = view.slices[name].offered_flows - before
        return 8 * self.flow_bytes * flows / (view.window_s * self.capacity_bps)

    def rows(self, means: Floats, shown: "dict[Shown, Floats] | None" = None) -> Floats32:
        """Return an observation from numbers.

        Args:
            means: Mean loads, shape (memories, slices).
            shown: What else is shown, by name: "shares" of shape (domains, slices), the others (slices,).

        Raises:
            ValueError: Something is no number.
        """
        count, others = len(self.slices), shown or {}
        columns = [*means, *(np.full(count, one.sum()) for one in means)]
        out = np.zeros(self.observation_shape)
        for place in range(len(self.domains)):
            block = out[place * count : (place + 1) * count]
            for column, values in enumerate(columns):
                block[:, column] = values
            for name in others:
                block[:, self.features.index(name)] = others[name][place] if name == "shares" else others[name]
            if len(self.domains) > 1:
                block[:, len(self.features) - len(self.domains) + place] = 1.0
        if not np.isfinite(out).all():
            row, column = np.argwhere(~np.isfinite(out))[0]
            raise ValueError(_no_number(out[row, column], self.features[column], self.slices[row % count]))
        return np.clip(out.astype(np.float32), 0.0, self.high)

    # --- from answer to actions -------------------------------------------------------------------------------

    def shares(self, answer: ArrayLike) -> Floats:
        """Return the shares that an answer means, shape (domains, slices).

        Raises:
            ValueError: Another shape, no numbers, or numbers outside [0, 1].
        """
        values = np.asarray(answer, np.float64)
        if values.shape != self.answer_shape or not ((values >= -1e-6) & (values <= 1 + 1e-6)).all():
            msg = (
                f"answer: got {np.array2string(values, threshold=9)}, expected {self.num_rows} numbers from 0 to 1, "
                f"one for each of {', '.join(self.slices)} in {', '.join(self.domains)}"
            )
            raise ValueError(msg)
        return shares_of(np.clip(values, 0.0, 1.0).reshape(len(self.domains), len(self.slices)), self.least)

    def answer(self, shares: ArrayLike) -> Floats:
        """Return an answer that means these shares, or comes nearest to them; what rules need.

        Args:
            shares: Shape (domains, slices), or (slices,) for every domain alike.
        """
        wanted = np.broadcast_to(np.asarray(shares, float), (len(self.domains), len(self.slices)))
        above = np.maximum(wanted - self.least, 0.0)
        largest = above.max(axis=1, keepdims=True)
        return np.asarray(np.divide(above, largest, out=np.ones_like(above), where=largest > 0)).ravel()

    def actions(self, answer: ArrayLike) -> tuple[SetRatios, ...]:
        """Return the shares of each domain as actions."""
        return tuple(
            SetRatios(
                domain=domain,
                element=self.element,
                ratios={name: self._ratio(share) for name, share in zip(self.slices, row.tolist(), strict=True)},
            )
            for domain, row in zip(self.domains, self.shares(answer), strict=True)
        )

    def _ratio(self, share: float) -> ResourceRatio:
        said = math.floor(share * DIGITS) / DIGITS  # rounded down: their sum never exceeds what there is
        return ResourceRatio.isolated(said) if self.dedicated else ResourceRatio(min=said)


def shares_of(answers: Floats, least: float) -> Floats:
    """Return shares from answers of the same shape (..., slices): see `ShareInterface`."""
    total = answers.sum(axis=-1, keepdims=True)
    count = answers.shape[-1]
    parts = np.divide(answers, total, out=np.full(answers.shape, 1 / count), where=total > 0)
    return np.asarray(least + (1 - count * least) * parts)


def _no_number(value: float, what: str, whose: str) -> str:
    return f"observation: got {value} as {what} of {whose}, expected a number; look at what the view shows of it"


def _or_zero(view: View, value: float) -> float:
    """Nothing arrived, nothing ended: that is shown as 0; another NaN is a fault of the view."""
    known = all(
        math.isfinite(getattr(one, what))
        for one in view.slices.values()
        for what in ("delivered_flows", "lost_flows", "late_flows", "overdue_flows", "delay_seconds")
    )
    return 0.0 if known and math.isnan(value) else value
