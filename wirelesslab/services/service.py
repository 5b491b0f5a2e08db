"""What services share: the messages they have on the way, and a request's life as instants that meet.

A service keeps no process per client. A message is a flow whose label leads back to its record; what happens to a
request is written down as instants, one after the other, so that the spans between them leave no time out and count
none twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import TYPE_CHECKING, Generic, TypeVar

from wirelesslab.network.flows import Flow, FlowRecord

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

M = TypeVar("M")


@dataclass
class Mail(Generic[M]):
    """Messages that a service has on the way; plain data, so that a snapshot holds it.

    Attributes:
        slice: Slice of all messages.
        receiver: Name of the service, which is told what became of them.
        under_way: By number.
        sent: How many have been sent so far.
        sent_bytes: Their bytes.
    """

    slice: str
    receiver: str
    under_way: dict[int, M] = field(default_factory=dict)
    sent: int = 0
    sent_bytes: int = 0

    def send(
        self, network: "Network", message: M, num_bytes: int, source: str, sink: str, *, operations: float = 0.0,
        deadline_s: float | None = None,
    ) -> None:  # fmt: skip
        """Send a message; what becomes of it may be told before this returns."""
        number = self.sent
        self.under_way[number] = message
        self.sent, self.sent_bytes = number + 1, self.sent_bytes + num_bytes
        network.send(
            Flow(slice=self.slice, num_bytes=num_bytes, source=source, sink=sink, operations=operations,
                 deadline_s=deadline_s, label=f"{self.receiver}:{number}", receiver=self.receiver)
        )  # fmt: skip

    def take(self, record: FlowRecord) -> M:
        """Return the message that a flow carried; it is on the way no longer."""
        return self.under_way.pop(int(record.flow.label.rpartition(":")[2]))


@dataclass(frozen=True)
class Life:
    """Instants of a life in order: the end of each span is the beginning of the next, to the last bit.

    Attributes:
        began_s: When it began.
        ends_s: What ended when, by the name of the span that led there.

    Examples:
        >>> life = Life(1.0, {"uplink": 1.25, "compute": 2.0})
        >>> life.spans_s, life.delay_s
        ({'uplink': 0.25, 'compute': 0.75}, 1.0)
    """

    began_s: float
    ends_s: Mapping[str, float]

    @property
    def instants_s(self) -> Sequence[float]:
        """The beginning and the end of every span."""
        return (self.began_s, *self.ends_s.values())

    @property
    def spans_s(self) -> dict[str, float]:
        """How long each span took."""
        return {name: after - at for name, (at, after) in zip(self.ends_s, pairwise(self.instants_s), strict=True)}

    @property
    def delay_s(self) -> float:
        """From the beginning to the last end."""
        return self.instants_s[-1] - self.began_s

    @property
    def exact_delay(self) -> Fraction:
        """The delay as a fraction: nothing is rounded away."""
        return Fraction(self.instants_s[-1]) - Fraction(self.began_s)

    def exact_spans(self) -> dict[str, Fraction]:
        """Return the spans as fractions, whose sum is the exact delay."""
        instants = [Fraction(instant) for instant in self.instants_s]
        return {name: after - at for name, (at, after) in zip(self.ends_s, pairwise(instants), strict=True)}

    def check(self) -> None:
        """Assert that no span is negative.

        Raises:
            AssertionError: Something ended before it began: a bug.
        """
        for name, span in self.exact_spans().items():
            assert span >= 0, f"{name}: took {float(span)} s"
