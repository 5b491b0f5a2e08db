"""How what is mirrored comes to its twin: messages that are real flows, and what the twin makes of them.

A twin keeps three things in its state: a `Postbag` (what is under way), and for each set of attributes the memory
of its `Sync` rule and a `Mirror` (what has arrived, and how old it is). All are data and are written down with
the network. A twin sends with `Carriage.send`, and takes what comes in its `receive(network, record)` with
`Postbag.taken(record)`, or in its `arrive(number)` with `Postbag.arrived(number)` if no slice carries it.
"""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.flows import Flow, FlowRecord
from wirelesslab.network.packet_sizes import FixedSize, SizeLaw, size_law

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


class Recipient(Protocol):
    """A twin that messages are sent to: an actor with a name of its own."""

    @property
    def name(self) -> str:
        """Its name as an actor."""
        ...

    def receive(self, network: "Network", record: FlowRecord, /) -> None:
        """Take a message that a slice carried, or learn that it was lost."""
        ...

    def arrive(self, number: int, /) -> None:
        """Take a message that no slice carried."""
        ...


@dataclass
class Postbag:
    """What is under way to a twin, and what was.

    Attributes:
        rng: Of sizes and losses.
        under_way: What each message says, by the number of its flow; below 0 for those that no slice carries.
        next_number: Of the next message that no slice carries.
        messages: Sent so far.
        num_bytes: Sent so far.
        updates: Sent so far; a message may carry many.
        lost_updates: Of them, lost in the air.
        lost_messages: Lost in the network.
    """

    rng: np.random.Generator
    under_way: dict[int, Any] = field(default_factory=dict)
    next_number: int = -1
    messages: int = 0
    num_bytes: int = 0
    updates: int = 0
    lost_updates: int = 0
    lost_messages: int = 0

    def taken(self, record: FlowRecord) -> Any:
        """Return what a message says whose flow has ended; None if it was lost, or is not of this bag."""
        if record.number not in self.under_way:
            return None
        payload = self.under_way.pop(record.number)
        if not record.delivered:
            self.lost_messages += 1
            return None
        return payload

    def arrived(self, number: int) -> Any:
        """Return what a message says that no slice carried."""
        return self.under_way.pop(number)


@dataclass(frozen=True, kw_only=True)
class Carriage:
    """What carries updates, and what they weigh.

    Attributes:
        slice: Name of the slice whose traffic the messages are; "" sends no traffic: what is said is there
            `delay_s` later.
        num_bytes: Of an update, a number or a law.
        header_bytes: Of a message, however many updates it carries.
        loss: Probability that an update is lost in the air although its bytes are sent (our choice: updates
            are lost independently, each at its place in the message).
        delay_s: Of a message that no slice carries.
        label: What the flows are called.
    """

    slice: str = ""
    num_bytes: int | SizeLaw = 100
    header_bytes: int = 0
    loss: float = 0.0
    delay_s: float = 0.0
    label: str = "twin sync"

    def __post_init__(self) -> None:
        if not isinstance(self.slice, str):
            object.__setattr__(self, "slice", getattr(self.slice, "name", self.slice))
        size_law(self.num_bytes)
        check.non_negative_integer(header_bytes=self.header_bytes)
        check.probability(loss=self.loss)
        check.within(0, math.inf, delay_s=self.delay_s)
        if self.slice and self.delay_s:
            msg = f"delay_s: got {self.delay_s}, expected 0 in the slice {self.slice}, whose links take their time"
            raise ValueError(msg)

    def heard(self, bag: Postbag, updates: int) -> NDArray[np.bool_]:
        """Return which of so many updates survive the air, shape (updates,); to be asked once for each message."""
        if not self.loss:
            return np.ones(updates, bool)
        kept = bag.rng.random(updates) >= self.loss
        bag.lost_updates += int(updates - np.count_nonzero(kept))
        return kept

    def size_bytes(self, bag: Postbag, updates: int) -> int:
        """Return the size of a message of so many updates; laws are drawn from."""
        law = size_law(self.num_bytes)
        if isinstance(law, FixedSize):
            return self.header_bytes + updates * int(law.num_bytes)
        return self.header_bytes + int(law.quantile(bag.rng.random(updates)).sum())

    def send(
        self,
        network: "Network",
        bag: Postbag,
        twin: Recipient,
        payload: Any,
        *,
        source: str,
        sink: str,
        updates: int = 1,
    ) -> int:
        """Send a message to a twin from a node to a node; returns its number.

        Args:
            network: Where it travels.
            bag: The twin's.
            twin: An actor with a name of its own.
            payload: What it says: data; None if all of it was lost in the air.
            source: Node that sends.
            sink: Node where the twin lives.
            updates: How many updates it carries, those lost in the air included.
        """
        size = self.size_bytes(bag, updates)
        bag.messages += 1
        bag.updates += updates
        bag.num_bytes += size
        if self.slice:
            number = network.next_number
            bag.under_way[number] = payload  # before it is sent: to the next room it takes no time
            network.send(
                Flow(
                    slice=self.slice, num_bytes=size, source=source, sink=sink, label=self.label, receiver=twin.name
                )
            )  # fmt: skip
            return number
        number = bag.next_number
        bag.next_number = number - 1
        bag.under_way[number] = payload
        if self.delay_s:
            network.agenda.after(self.delay_s, twin.arrive, number)
        else:
            twin.arrive(number)
        return number


@dataclass
class Mirror:
    """What a twin knows of N things, and since when; versions, not arrivals, decide what is newer.

    Attributes:
        values: By attribute, each of N rows.
        stamp_s: When what is known was so, shape (N,); -inf if nothing is known.
        version: Which update it is, shape (N,), counted from 1; 0 if none.
        age_seconds: Integral over time of each age since the first update came, shape (N,).
        since_s: Until when that integral has been reckoned, shape (N,).
        first_s: When the first update came, shape (N,); nan if none has.
        overtaken: Updates that came after a newer one, and changed nothing.
    """

    values: dict[str, NDArray[Any]]
    stamp_s: NDArray[np.float64]
    version: NDArray[np.int64]
    age_seconds: NDArray[np.float64]
    since_s: NDArray[np.float64]
    first_s: NDArray[np.float64]
    overtaken: int = 0

    @classmethod
    def empty(cls, values: dict[str, NDArray[Any]]) -> "Mirror":
        """Return a mirror that knows nothing; `values` are arrays of the right shapes and kinds."""
        num = len(next(iter(values.values())))
        return cls(
            values=values, stamp_s=np.full(num, -math.inf), version=np.zeros(num, np.int64), age_seconds=np.zeros(num),
            since_s=np.full(num, math.nan), first_s=np.full(num, math.nan),
        )  # fmt: skip

    def take(
        self,
        who: NDArray[np.int64],
        version: NDArray[np.int64],
        stamp_s: float,
        values: dict[str, NDArray[Any]],
        now_s: float,
    ) -> NDArray[np.int64]:
        """Take updates; those that are not newer than what is known change nothing.

        Args:
            who: Things, each at most once, shape (n,).
            version: Of each update, shape (n,).
            stamp_s: When it was so.
            values: By attribute, each of n rows.
            now_s: The time.

        Returns:
            Those whose mirror has changed.
        """
        newer = version > self.version[who]
        if not newer.all():
            self.overtaken += int(newer.size - np.count_nonzero(newer))
            who, version = who[newer], version[newer]
            values = {name: rows[newer] for name, rows in values.items()}
        old = self.stamp_s[who]
        known = np.isfinite(old)
        if known.all():
            self.age_seconds[who] += _area(old, self.since_s[who], now_s)
        else:
            seen, fresh = who[known], who[~known]
            self.age_seconds[seen] += _area(old[known], self.since_s[seen], now_s)
            self.first_s[fresh] = now_s
        self.since_s[who], self.stamp_s[who], self.version[who] = now_s, stamp_s, version
        for name, rows in values.items():
            self.values[name][who] = rows
        return who

    def clear(self, who: NDArray[np.int64], version: NDArray[np.int64]) -> None:
        """Know nothing of these things any more, and take no update of a version up to `version`, shape (n,)."""
        for rows in self.values.values():
            rows[who] = 0
        self.stamp_s[who], self.version[who], self.age_seconds[who] = -math.inf, version, 0.0
        self.since_s[who] = self.first_s[who] = math.nan

    def ages_s(self, now_s: float) -> NDArray[np.float64]:
        """Return how old what is known is, shape (N,); inf where nothing is known."""
        return np.asarray(now_s - self.stamp_s)

    def age_integrals(self, now_s: float) -> NDArray[np.float64]:
        """Return the exact integral of each age (a sawtooth) from `first_s` to now, shape (N,); 0 before the first."""
        known = np.isfinite(self.stamp_s)
        area = self.age_seconds.copy()
        area[known] += _area(self.stamp_s[known], self.since_s[known], now_s)
        return area

    def mean_ages_s(self, now_s: float) -> NDArray[np.float64]:
        """Return the mean of each age over the time since its first update, shape (N,); nan if there is none."""
        span_s = now_s - self.first_s
        known = span_s > 0
        mean_s: NDArray[np.float64] = np.full(span_s.size, math.nan)
        return np.divide(self.age_integrals(now_s), span_s, out=mean_s, where=known)


def _area(stamp_s: NDArray[np.float64], since_s: NDArray[np.float64], now_s: float) -> NDArray[np.float64]:
    # of the age from since to now: (a + b)/2 times the width, which loses nothing late in a long run
    return np.asarray((0.5 * (since_s + now_s) - stamp_s) * (now_s - since_s))
