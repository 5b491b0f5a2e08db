"""Bytes on their way: flows, what became of them, and the packets that carry them."""

from dataclasses import dataclass, field
from math import inf
from typing import Literal

from wirelesslab import check

Outcome = Literal["delivered", "buffer full", "no route", "failed", "cell full", "slice not active"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """Bytes that go from a source to a sink under a slice.

    Attributes:
        slice: Name of the slice; a `Slice` is taken for its name.
        num_bytes: Size.
        source: Node that sends.
        sink: Node that receives.
        user: User of the radio at the sink's cell who is to get the bytes; None ends at the sink.
        operations: What the sink computes before the flow counts as delivered; 0 computes nothing.
        deadline_s: When it should be there, in simulated time; None takes the slice's promise.
        sent_s: When the bytes came into being, if that was before they were sent (they crossed a radio
            first); None means when they are sent.
        label: For records; says what the bytes are.
        receiver: Name of the actor whose `receive` is told of the end; "" tells nobody.
    """

    slice: str
    num_bytes: int
    source: str
    sink: str
    user: int | None = None
    operations: float = 0.0
    deadline_s: float | None = None
    sent_s: float | None = None
    label: str = ""
    receiver: str = ""

    def __post_init__(self) -> None:
        if type(self.slice) is not str:
            object.__setattr__(self, "slice", getattr(self.slice, "name", self.slice))


@dataclass(frozen=True, kw_only=True, slots=True)
class FlowRecord:
    """What became of a flow.

    Attributes:
        flow: The flow.
        number: Its number in this network, counted from 0.
        sent_s: When it came into being.
        ended_s: When its last byte arrived, or when it was lost.
        outcome: "delivered", or why not.
        spans: Where the time went, if the network keeps spans: (what, where, from, to) with what in
            "queue", "transmit", "propagate", "wait for server", "compute", "radio"; of the segment that ended it.
    """

    flow: Flow
    number: int
    sent_s: float
    ended_s: float
    outcome: Outcome
    spans: tuple[tuple[str, str, float, float], ...] = ()

    @property
    def delay_s(self) -> float:
        """From its beginning to its end."""
        return self.ended_s - self.sent_s

    @property
    def delivered(self) -> bool:
        """Whether all of it arrived."""
        return self.outcome == "delivered"


@dataclass(slots=True)
class OnTheWay:
    """The state of a flow that has not ended.

    Attributes:
        flow: The flow.
        number: Its number.
        slice_index: Place of its slice in the network's tuple.
        sent_s: When it came into being.
        deadline_s: When it should be there; inf if nobody said.
        began_s: When it was sent.
        segments_left: Segments that have not arrived.
    """

    flow: Flow
    number: int
    slice_index: int
    sent_s: float
    deadline_s: float
    began_s: float
    segments_left: int = 1


@dataclass(slots=True)
class Packet:
    """A segment of a flow, or a job at a server: what queues hold.

    Attributes:
        way: The flow it belongs to.
        work: What a server has to do: bits on a link, operations at a node.
        num_bytes: Its size.
        route: Nodes from source to sink.
        hop: Where on the route it is.
        came_s: When it came to the queue that it is in.
        waits_s: Since when it waits there.
        begun: Whether its service has begun there, be it interrupted.
        spans: Where its time went, if the network keeps spans.
    """

    way: OnTheWay
    work: float
    num_bytes: int
    route: tuple[str, ...]
    hop: int = 0
    came_s: float = 0.0
    waits_s: float = 0.0
    begun: bool = False
    spans: list[tuple[str, str, float, float]] | None = field(default=None)


def check_flow(flow: Flow) -> None:
    """Refuse a flow of no or negative size."""
    if type(flow.num_bytes) is not int or flow.num_bytes < 1:
        check.positive_integer(num_bytes=flow.num_bytes)
    if flow.operations:
        check.positive(operations=flow.operations)
    for name in ("sent_s", "deadline_s"):
        value = getattr(flow, name)
        if value is not None and value != inf:
            check.finite(**{name: value})
