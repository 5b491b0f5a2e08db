"""What a policy sees of a network, what it may change, and what became of its wishes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from wirelesslab import check
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio


@dataclass(frozen=True, kw_only=True)
class SliceView:
    """A slice as it stands; counts are totals since the start, so that two views give any window's.

    Attributes:
        offered_flows: That began.
        offered_bytes: That began.
        delivered_flows: That arrived whole.
        delivered_bytes: That arrived.
        lost_flows: That did not.
        lost_bytes: That did not.
        late_flows: Delivered later than the slice promises.
        overdue_flows: Flows still on the way that should have arrived by now.
        delay_seconds: Delays of all that were delivered, added up.
        inside_bytes: On the way.
        refused_flows: Of the lost, those for which there was no room or whose slice was not active.
        active: Whether the slice takes flows.
    """

    offered_flows: int = 0
    offered_bytes: int = 0
    delivered_flows: int = 0
    delivered_bytes: int = 0
    lost_flows: int = 0
    lost_bytes: int = 0
    late_flows: int = 0
    overdue_flows: int = 0
    delay_seconds: float = 0.0
    inside_bytes: int = 0
    refused_flows: int = 0
    active: bool = True


@dataclass(frozen=True, kw_only=True)
class SyncView:
    """How a twin is told of the N things that it mirrors: what a policy for sync rates sees.

    Attributes:
        ages_s: How old what is known of each is.
        rates_per_s: How often each is told, as it is set.
        strayed: How far each had strayed when it was told, squared and per second of its age, m^2/s, added up; older
            ones have faded.
        heard: How many times that is, older ones counting less.
    """

    ages_s: tuple[float, ...]
    rates_per_s: tuple[float, ...]
    strayed: tuple[float, ...]
    heard: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """A network at a moment.

    Attributes:
        time_s: The moment.
        slices: By name.
        ratios: The shares in force, by domain and slice.
        down: Names of links, nodes and cells that are out of service.
        queues: Bytes that wait or are in service, by link or server and slice; empty when that is not known.
        ages_s: How old each attribute shown is, by name; empty when it is seen as it is.
        reserved: What the one who looks must leave each slice, by (domain, element or "") and slice; empty when that
            is nothing. See `kept`.
        syncs: How twins whose rates can be set are told, by their names; empty when that is not shown.
        before: The view that windows are reckoned from; None reckons from the start.
    """

    time_s: float
    slices: Mapping[str, SliceView]
    ratios: Mapping[Domain, Mapping[str, ResourceRatio]]
    down: tuple[str, ...] = ()
    queues: Mapping[str, Mapping[str, int]] = field(default_factory=dict, repr=False)
    ages_s: Mapping[str, float] = field(default_factory=dict)
    reserved: Mapping[tuple[Domain, str], Mapping[str, ResourceRatio]] = field(default_factory=dict)
    syncs: Mapping[str, SyncView] = field(default_factory=dict, repr=False)
    before: "View | None" = field(default=None, repr=False)

    def _window(self, name: str, what: str) -> float:
        first = 0 if self.before is None else getattr(self.before.slices[name], what)
        return float(getattr(self.slices[name], what) - first)

    @property
    def window_s(self) -> float:
        """Length of the window."""
        return self.time_s - (0.0 if self.before is None else self.before.time_s)

    def offered_bps(self, name: str) -> float:
        """Rate at which a slice's bytes came in the window, bits per second."""
        return 8 * self._window(name, "offered_bytes") / self.window_s if self.window_s else 0.0

    def delivered_bps(self, name: str) -> float:
        """Rate at which they arrived."""
        return 8 * self._window(name, "delivered_bytes") / self.window_s if self.window_s else 0.0

    def mean_delay_s(self, name: str) -> float:
        """Mean delay of what arrived in the window; nan if nothing did."""
        flows = self._window(name, "delivered_flows")
        return self._window(name, "delay_seconds") / flows if flows else float("nan")

    def kept(self, name: str, domain: Domain, element: str = "") -> ResourceRatio:
        """Return what must be left to a slice on an element, or everywhere in a domain: see `kept_for`."""
        return kept_for(self.reserved, name, domain, element)

    def late_share(self, name: str) -> float:
        """Share that was late or lost of what ended in the window and what is overdue now; nan if there is nothing."""
        overdue = self.slices[name].overdue_flows
        ended = self._window(name, "delivered_flows") + self._window(name, "lost_flows") + overdue
        bad = self._window(name, "late_flows") + self._window(name, "lost_flows") + overdue
        return bad / ended if ended else float("nan")


def kept_for(
    reserved: Mapping[tuple[Domain, str], Mapping[str, ResourceRatio]], name: str, domain: Domain, element: str = ""
) -> ResourceRatio:
    """Return the tightest of a slice's reservations on an element; for all of a domain, of those on any element."""
    places = [place for place in reserved if place[0] == domain and (not place[1] or element in {"", place[1]})]
    told = [reserved[place][name] for place in places if name in reserved[place]]
    least = max((ratio.min for ratio in told), default=0.0)
    most = max(min((ratio.max for ratio in told), default=1.0), least)
    return ResourceRatio(dedicated=max((ratio.dedicated for ratio in told), default=0.0), min=least, max=most)


class Action(Protocol):
    """A change that somebody wishes; the network checks it, does it or refuses it, and records both."""

    def __str__(self) -> str:
        """Return the wish in words."""
        ...


@dataclass(frozen=True, kw_only=True)
class SetRatios:
    """Hold slices to these shares of a domain from now on.

    Attributes:
        domain: "radio", "transport" or "compute".
        ratios: By slice; slices that are not named keep theirs.
        element: One link ("a->b") or node; "" means all of the domain.
    """

    domain: Domain
    ratios: Mapping[str, ResourceRatio]
    element: str = ""

    def __post_init__(self) -> None:
        check.one_of(DOMAINS, domain=self.domain)
        for name, ratio in self.ratios.items():
            if not isinstance(ratio, ResourceRatio):
                msg = f"ratios: got {ratio!r} for {name}, expected a ResourceRatio such as ResourceRatio(min=0.5)"
                raise TypeError(msg)
        object.__setattr__(self, "ratios", dict(self.ratios))

    def __str__(self) -> str:
        shares = ", ".join(f"{k} {r.dedicated:g}/{r.min:g}/{r.max:g}" for k, r in self.ratios.items())
        return f"{self.domain}{' of ' + self.element if self.element else ''}: {shares}"


@dataclass(frozen=True, kw_only=True)
class SetUp:
    """Take a link ("a->b") or a node out of service, or back.

    Attributes:
        element: Its name.
        up: Whether it serves from now on.
    """

    element: str
    up: bool

    def __post_init__(self) -> None:
        if not isinstance(self.element, str):
            msg = f"element: got {self.element!r}, expected the name of a node or link"
            raise TypeError(msg)
        _yes_or_no(up=self.up)

    def __str__(self) -> str:
        return f"{self.element} {'up' if self.up else 'down'}"


@dataclass(frozen=True, kw_only=True)
class SetActive:
    """Let a slice take flows, or not.

    Attributes:
        slice: Its name.
        active: Whether it takes flows from now on.
    """

    slice: str
    active: bool

    def __post_init__(self) -> None:
        _yes_or_no(active=self.active)

    def __str__(self) -> str:
        return f"{self.slice} {'active' if self.active else 'not active'}"


@dataclass(frozen=True, kw_only=True)
class SetSync:
    """Let a twin be told at these rates from now on.

    Attributes:
        twin: Its name as an actor; its sync rule must be one that can be set, a `RatedSync`.
        rates_per_s: Updates per second of each thing that it mirrors, in order.
    """

    twin: str
    rates_per_s: tuple[float, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.twin, str):
            msg = f"twin: got {self.twin!r}, expected the name of a twin"
            raise TypeError(msg)
        object.__setattr__(self, "rates_per_s", tuple(float(rate) for rate in self.rates_per_s))

    def __str__(self) -> str:
        rates = self.rates_per_s
        told = f"{sum(rates):g}/s, {min(rates):g} to {max(rates):g}" if rates else "no rates"
        return f"{self.twin}: {len(rates)} things at {told}"


ACTIONS = (SetRatios, SetUp, SetActive, SetSync)


@dataclass(frozen=True)
class Wish:
    """What somebody wished that is no action, in words: it stands in the record of its refusal.

    Attributes:
        words: They.
    """

    words: str

    def __str__(self) -> str:
        return self.words


@dataclass(frozen=True, kw_only=True)
class ActionRecord:
    """What became of a wish.

    Attributes:
        time_s: When it was made.
        by: Who made it.
        action: The wish.
        refused: Why it was refused; "" if it was done.
    """

    time_s: float
    by: str
    action: Action
    refused: str = ""


def _yes_or_no(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, bool):
            msg = f"{name}: got {value!r}, expected True or False"
            raise TypeError(msg)
