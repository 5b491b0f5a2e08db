"""Who may read what of a twin, and who has: rules, and a log that is written down with the network.

A twin keeps an `AuditLog` in its record and calls `AuditLog.read` before it shows anything. What leaves a twin has
passed there: what was shown and what was refused.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from wirelesslab import check

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

# Whatever a twin of any level can be asked for: a rule about anything else would never bite.
TWIN_ATTRIBUTES = (
    "slices", "ratios", "down", "queues", "traffic",
    "position", "channel", "cell", "demand", "served", "delay",
    "users", "offered_bytes", "waiting_bytes", "delivered_packets", "late_packets", "delay_seconds", "users_by_cell",
    "waiting_by_cell", "oldest_s", "newest_s", "mean_s",
)  # fmt: skip

READS_KEPT = 10_000  # the latest ones; counts are kept of all, so that memory does not grow with simulated time


class AccessRefusedError(PermissionError):
    """Somebody asked a twin for what they may not read."""


@dataclass(frozen=True, kw_only=True)
class AccessRule:
    """Lets readers read an attribute, or not.

    Attributes:
        reader: Name of the actor who reads, or its beginning and a "*": "edge-*"; "*" is everybody.
        attribute: Name of what is read, likewise.
        allowed: Whether they may.
    """

    reader: str = "*"
    attribute: str = "*"
    allowed: bool

    def __post_init__(self) -> None:
        for name in ("reader", "attribute"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value or "*" in value[:-1]:
                msg = f"{name}: got {value!r}, expected a name, or the beginning of names and a '*', such as 'edge-*'"
                raise ValueError(msg)
        if not any(_fits(self.attribute, name) for name in TWIN_ATTRIBUTES):
            hint = check.nearest(self.attribute, TWIN_ATTRIBUTES)
            msg = f"attribute: got {self.attribute!r}, which no twin has, expected one such as 'queues'{hint}"
            raise ValueError(msg)
        if not isinstance(self.allowed, bool):
            msg = f"allowed: got {self.allowed!r}, expected True or False"
            raise TypeError(msg)

    def fits(self, reader: str, attribute: str) -> bool:
        """Return whether the rule speaks of this reader and this attribute.

        Examples:
            >>> AccessRule(reader="edge-*", allowed=False).fits("edge-2", "queues")
            True
        """
        return _fits(self.reader, reader) and _fits(self.attribute, attribute)


def allow(reader: str = "*", attribute: str = "*") -> AccessRule:
    """Return the rule that lets these readers read it."""
    return AccessRule(reader=reader, attribute=attribute, allowed=True)


def forbid(reader: str = "*", attribute: str = "*") -> AccessRule:
    """Return the rule that does not."""
    return AccessRule(reader=reader, attribute=attribute, allowed=False)


@dataclass(frozen=True)
class AccessPolicy:
    """Who may read which attribute; without rules, everybody everything.

    Attributes:
        rules: The last one that fits decides: general rules first, then exceptions.
        default: What holds where none fits.

    Examples:
        >>> policy = AccessPolicy((forbid("*", "position"), allow("handover-*", "position")))
        >>> policy.may("planner-1", "position"), policy.may("handover-1", "position"), policy.may("x", "queues")
        (False, True, True)
    """

    rules: tuple[AccessRule, ...] = ()
    default: bool = True

    def __post_init__(self) -> None:
        rules = (self.rules,) if isinstance(self.rules, AccessRule) else tuple(self.rules)
        for rule in rules:
            if not isinstance(rule, AccessRule):
                msg = f"rules: got {rule!r}, expected rules such as forbid('planner-*', 'queues')"
                raise TypeError(msg)
        if not isinstance(self.default, bool):
            msg = f"default: got {self.default!r}, expected True or False"
            raise TypeError(msg)
        object.__setattr__(self, "rules", rules)

    def may(self, reader: str, attribute: str) -> bool:
        """Return whether this reader may read this attribute."""
        for rule in reversed(self.rules):
            if rule.fits(reader, attribute):
                return rule.allowed
        return self.default


def policy_or_open(policy: AccessPolicy | None) -> AccessPolicy:
    """Return a twin's policy; one that forbids nothing when None.

    Raises:
        TypeError: It is none.
    """
    if not isinstance(policy, AccessPolicy | None):
        msg = f"policy: got {policy!r}, expected an AccessPolicy such as AccessPolicy((forbid('app-*'),)), or None"
        raise TypeError(msg)
    return policy or AccessPolicy()


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRecord:
    """An attribute of a twin was asked for.

    Attributes:
        time_s: When.
        twin: Name of the twin.
        by: Name of the actor who asked; "" is whoever runs the simulation.
        attribute: Name of what was asked for.
        allowed: Whether it was shown.
    """

    time_s: float
    twin: str
    by: str
    attribute: str
    allowed: bool


class ReadCount(NamedTuple):
    """How often somebody has asked a twin for an attribute.

    Attributes:
        twin: Name of the twin.
        by: Name of the actor who asked.
        attribute: Name of what was asked for.
        shown: How often it was shown.
        refused: How often it was not.
        last_s: When it was asked for last.
    """

    twin: str
    by: str
    attribute: str
    shown: int
    refused: int
    last_s: float


@dataclass
class AuditLog:
    """Who has asked a twin for what: data, kept as `audit` in the twin's record or state.

    What whoever runs the simulation (by "") is shown is not logged: that a run is watched must not change it.

    Attributes:
        twin: Name of the twin.
        latest: The latest reads, oldest first, without those that are routine.
        counts: Of all: (by, attribute) -> shown, refused, time of the last.
    """

    twin: str
    latest: deque[ReadRecord] = field(default_factory=lambda: deque(maxlen=READS_KEPT))
    counts: dict[tuple[str, str], tuple[int, int, float]] = field(default_factory=dict)

    def read(
        self, policy: AccessPolicy, attributes: Iterable[str], by: str, now_s: float, *, routine: bool = False
    ) -> None:
        """Log that somebody reads these attributes, all or none; call it before anything is shown.

        Args:
            policy: Who may read what.
            attributes: They.
            by: Name of who reads.
            now_s: The time.
            routine: Count it alone: a twin that adds others up reads them in every round.

        Raises:
            AccessRefusedError: They may not read one of them; that is logged, and nothing may be shown.
        """
        wanted = tuple(attributes)
        forbidden = [name for name in wanted if not policy.may(by, name)]
        if forbidden:
            self.note(forbidden, by, now_s, allowed=False)
            msg = (
                f"{self.twin}: {by or 'nobody in particular'} asked for {', '.join(forbidden)}, which the access "
                "policy forbids; let it read less, or allow it in the twin's AccessPolicy"
            )
            raise AccessRefusedError(msg)
        self.note(wanted, by, now_s, allowed=True, routine=routine)

    def shown_to(
        self, reader: object, shown: Iterable[str], policy: AccessPolicy, by: str, now_s: float
    ) -> tuple[str, ...]:
        """Log a look, and return what it shows: what the reader says that it `reads`, or else what it may read.

        Who says nothing and may read nothing is refused, rather than shown a view of nothing.

        Args:
            reader: The actor who looks; None if there is none of that name.
            shown: All that could be shown.
            policy: Who may read what.
            by: Name of who looks.
            now_s: The time.

        Raises:
            AccessRefusedError: The reader reads what it may not; that is logged, and nothing may be shown.
        """
        reads = getattr(reader, "reads", None)
        all_shown = tuple(shown)
        if reads is None:
            wanted = tuple(a for a in all_shown if policy.may(by, a)) or all_shown
        else:
            wanted = tuple(a for a in all_shown if a in reads)
        self.read(policy, wanted, by, now_s)
        return wanted

    def note(self, attributes: Iterable[str], by: str, now_s: float, *, allowed: bool, routine: bool = False) -> None:
        """Log that these attributes were shown, or refused."""
        if allowed and not by:
            return
        for name in attributes:
            if not routine:
                self.latest.append(ReadRecord(time_s=now_s, twin=self.twin, by=by, attribute=name, allowed=allowed))
            shown, refused, _ = self.counts.get((by, name), (0, 0, 0.0))
            self.counts[by, name] = (shown + 1, refused, now_s) if allowed else (shown, refused + 1, now_s)

    def table(self) -> tuple[ReadCount, ...]:
        """Return every attribute that anybody asked for, with counts, by reader and attribute."""
        return tuple(ReadCount(self.twin, by, name, *count) for (by, name), count in sorted(self.counts.items()))


def audit(network: "Network") -> tuple[ReadCount, ...]:
    """Return every attribute of every twin of a network that was asked for, by twin, reader and attribute."""
    return tuple(count for log in _logs(network) for count in log.table())


def latest_reads(network: "Network") -> tuple[ReadRecord, ...]:
    """Return the latest reads of all twins of a network, in order of time."""
    records = (record for log in _logs(network) for record in log.latest)
    return tuple(sorted(records, key=lambda record: record.time_s))


def _logs(network: "Network") -> Iterator[AuditLog]:
    """Find the logs under `audit`, in what actors keep in the network or in the state that they write down."""
    for name in sorted({*network.actors, *network.memory}):
        actor = network.actors.get(name)
        parts = actor.state().values() if actor is not None and hasattr(actor, "state") else ()
        for kept in (network.memory.get(name), *parts):
            log = kept.get("audit") if isinstance(kept, Mapping) else getattr(kept, "audit", None)
            if isinstance(log, AuditLog):
                yield log


def _fits(pattern: str, name: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern
