"""What an inference service keeps: requests under way, what became of those that ended, and their sums."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.statistics import Tally
from wirelesslab.services.inference_policies import Where
from wirelesslab.services.service import Life

Ending = Literal["answered", "dropped", "lost"]
SPANS = ("model", "uplink", "queue", "compute", "downlink")


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How a node takes requests together.

    Attributes:
        max_size: Most requests of a batch.
        max_wait_s: How long the first of a batch waits for others while the node is free.
        overhead_s: What each batch costs beside its images, at the node's full speed: declared, not measured.
    """

    max_size: int = 1
    max_wait_s: float = 0.0
    overhead_s: float = 0.0

    def __post_init__(self) -> None:
        check.positive_integer(max_size=self.max_size)
        check.within(0, np.finfo(float).max, max_wait_s=self.max_wait_s, overhead_s=self.overhead_s)

    def check_deadline(self, deadline_s: float) -> None:
        """Refuse a wait for company that alone would outlast a deadline: with few requests all would be late.

        Raises:
            ValueError: It would.
        """
        if self.max_size > 1 and self.max_wait_s >= deadline_s:
            msg = f"batching: waits {self.max_wait_s:g} s for company, and an answer is of use for {deadline_s:g} s; "
            raise ValueError(msg + "lower max_wait_s")


@dataclass(slots=True)
class Pending:
    """A request under way; instants that have not come are negative.

    Attributes:
        number: Its number.
        client: Whose.
        image: About which image.
        model: Place of the model that is to answer.
        where: Who answers.
        sent_s: When it came into being.
        due_s: When the answer ceases to be of use; inf never.
        unloaded_s: What it takes when nothing waits.
        ready_s: When its device had the model; at once at the edge.
        arrived_s: When it was where it is answered.
        began_s: When its batch was closed, or the device began with it.
        computed_s: When the answer was there.
        batch: Number of its batch.
        batch_size: Requests in it.
        up_bytes: Of the request.
        down_bytes: Of the answer, once it is sent.
    """

    number: int
    client: int
    image: int
    model: int
    where: Where
    sent_s: float
    due_s: float
    unloaded_s: float
    ready_s: float = -1.0
    arrived_s: float = -1.0
    began_s: float = -1.0
    computed_s: float = -1.0
    batch: int = -1
    batch_size: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What became of a request.

    Attributes:
        number: Its number.
        client: Whose.
        image: About which image.
        model: Name of the model.
        where: Who answered.
        sent_s: When it came into being.
        ready_s: When its device had the model; at once at the edge.
        arrived_s: When it was where it is answered.
        began_s: When its batch was closed and handed to the node, or the device began with it.
        computed_s: When the answer was there.
        ended_s: When the client had it, or when the request was dropped or lost.
        due_s: When the answer ceases to be of use.
        ending: "answered"; "dropped" since it could not be met any more; "lost" on the way or with a node.
        right: Whether the answer is right; False without one.
        batch: Number of its batch; negative on a device.
        batch_size: Requests in it.
        up_bytes: Of the request as it travelled; 0 on a device.
        down_bytes: Of the answer as it travelled; 0 on a device.
    """

    number: int
    client: int
    image: int
    model: str
    where: Where
    sent_s: float
    ready_s: float
    arrived_s: float
    began_s: float
    computed_s: float
    ended_s: float
    due_s: float
    ending: Ending
    right: bool
    batch: int
    batch_size: int
    up_bytes: int
    down_bytes: int

    @property
    def life(self) -> Life:
        """Its spans: waiting for the model, uplink, queue, compute, downlink; 0 for what it did not come to.

        The queue ends when the batch is closed. Where others share the node, their jobs are in "compute".
        """
        instants = (self.ready_s, self.arrived_s, self.began_s, self.computed_s, self.ended_s)
        return Life(self.sent_s, dict(zip(SPANS, instants, strict=True)))

    @property
    def delay_s(self) -> float:
        """From asking to having."""
        return self.ended_s - self.sent_s

    @property
    def in_time(self) -> bool:
        """Whether it was answered while that was of use."""
        return self.ending == "answered" and self.ended_s <= self.due_s

    @classmethod
    def of(cls, pending: Pending, name: str, ended_s: float, ending: Ending, right: bool) -> "Request":
        """Return the record of a request that ends; instants that never came are those of its end."""
        came = {
            instant: ended_s if getattr(pending, instant) < 0 else getattr(pending, instant)
            for instant in ("ready_s", "arrived_s", "began_s", "computed_s")
        }
        return cls(
            number=pending.number, client=pending.client, image=pending.image, model=name, where=pending.where,
            sent_s=pending.sent_s, **came, ended_s=ended_s, due_s=pending.due_s, ending=ending, right=right,
            batch=pending.batch, batch_size=pending.batch_size, up_bytes=pending.up_bytes,
            down_bytes=pending.down_bytes,
        )  # fmt: skip


@dataclass
class Sums:
    """Sums over all requests that ended, and a sketch of the delays of the answered.

    Attributes:
        asked: Requests that began.
        answered: Answers that came.
        dropped: That could not be met any more.
        lost: On the way or with a node.
        in_time: Answers that came while they were of use.
        right: Right answers.
        right_in_time: Right answers that came in time.
        at_edge: Requests that were sent to the node.
        batches: Batches that were computed at the node, or lost with it.
        batched: Requests in them.
        up_bytes: Requests that were sent.
        down_bytes: Answers that were sent.
        span_seconds: Of the answered, for each of `SPANS`.
        delays: Of the answered.
    """

    asked: int = 0
    answered: int = 0
    dropped: int = 0
    lost: int = 0
    in_time: int = 0
    right: int = 0
    right_in_time: int = 0
    at_edge: int = 0
    batches: int = 0
    batched: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    span_seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(len(SPANS)))
    delays: Tally = field(default_factory=Tally)

    def end(self, request: Request) -> None:
        """Note the end of a request."""
        setattr(self, request.ending, getattr(self, request.ending) + 1)
        if request.ending != "answered":
            return
        self.in_time += request.in_time
        self.right += request.right
        self.right_in_time += request.right and request.in_time
        self.delays.add(request.delay_s)
        instants = np.array(request.life.instants_s)
        self.span_seconds += instants[1:] - instants[:-1]

    @property
    def ended(self) -> int:
        """Requests that ended."""
        return self.answered + self.dropped + self.lost

    @property
    def accuracy_in_time(self) -> float:
        """Share of the ended requests that got the right answer in time; NaN before any."""
        return self.right_in_time / self.ended if self.ended else float("nan")
