"""What the network writes down about its flows: sums, a sketch of the delays, and a time series, never lists."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.flows import OnTheWay, Outcome
from wirelesslab.network.slices import Slice
from wirelesslab.network.statistics import Tally
from wirelesslab.network.view import SliceView

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
MOST_POINTS = 4096  # of the time series; then every second one is given up
SERIES = (
    "offered_flows", "offered_bytes", "delivered_flows", "delivered_bytes", "lost_flows", "lost_bytes", "late_flows",
    "delay_seconds", "inside_bytes", "refused_flows", "overdue_flows",
)  # fmt: skip
REFUSED: tuple[Outcome, ...] = ("slice not active", "buffer full", "cell full")  # lost for want of room, not broken


@dataclass(eq=False)
class FlowBook:
    """Totals over the slices (lists), delays, and the time series of the totals.

    Attributes:
        num_slices: Slices.
        report_s: Spacing of the time series.
        offered_flows: That began, of each slice.
        offered_bytes: That began.
        ended_flows: That ended, by outcome.
        ended_bytes: That ended, by outcome.
        late_flows: Delivered after their deadline.
        delay_seconds: Delays of the delivered, added up.
        inside_flows: On the way.
        flow_seconds: Integral of `inside_flows`, up to `touched_s`.
        sojourn_seconds: Times in the network of those that ended.
        touched_s: When `flow_seconds` was brought up to date.
        delays: Sketch of the delays of the delivered, of each slice.
        air_flows: Packets of users that live and end in the air; the radio's own account checks their times.
        air_bytes: Their bytes.
        handovers: Changes of cell.
        wishes: Actions that were asked for, also those whose records are kept no more.
        reports: Spacings that have passed: points come at whole multiples, so that they do not drift.
        times_s: Times of the series.
        points: The series: for each time an array of shape (len(SERIES), slices).
        gauges: What actors read off themselves at each of these times, by name.
    """

    num_slices: int
    report_s: float
    offered_flows: list[int]
    offered_bytes: list[int]
    ended_flows: dict[Outcome, list[int]]
    ended_bytes: dict[Outcome, list[int]]
    late_flows: list[int]
    delay_seconds: list[float]
    inside_flows: list[int]
    flow_seconds: list[float]
    sojourn_seconds: list[float]
    touched_s: list[float]
    delays: list[Tally]
    air_flows: list[int]
    air_bytes: list[int]
    handovers: int = 0
    wishes: int = 0
    reports: int = 0
    times_s: list[float] = field(default_factory=list)
    points: list[NDArray[np.float64]] = field(default_factory=list)
    gauges: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def empty(cls, slices: Sequence[Slice], report_s: float) -> "FlowBook":
        """Return a book in which nothing is written."""
        count = len(slices)

        def whole() -> list[int]:
            return [0] * count

        def real() -> list[float]:
            return [0.0] * count

        return cls(
            num_slices=count, report_s=report_s, offered_flows=whole(), offered_bytes=whole(),
            ended_flows={outcome: whole() for outcome in OUTCOMES},
            ended_bytes={outcome: whole() for outcome in OUTCOMES}, late_flows=whole(),
            delay_seconds=real(), inside_flows=whole(), flow_seconds=real(), sojourn_seconds=real(),
            touched_s=real(), delays=[Tally() for _ in range(count)], air_flows=whole(), air_bytes=whole(),
        )  # fmt: skip

    def begin(self, index: int, num_bytes: int, now: float) -> None:
        """Note the beginning of a flow."""
        self.offered_flows[index] += 1
        self.offered_bytes[index] += num_bytes
        self.flow_seconds[index] += self.inside_flows[index] * (now - self.touched_s[index])
        self.touched_s[index] = now
        self.inside_flows[index] += 1

    def end(self, way: OnTheWay, outcome: Outcome, ended_s: float, now: float) -> None:
        """Note the end of a flow; `ended_s` may lie a little before `now`, when the air tells in slots."""
        index = way.slice_index
        self.flow_seconds[index] += self.inside_flows[index] * (now - self.touched_s[index])
        self.touched_s[index] = now
        self.inside_flows[index] -= 1
        self.sojourn_seconds[index] += now - way.began_s
        self.ended_flows[outcome][index] += 1
        self.ended_bytes[outcome][index] += way.flow.num_bytes
        if outcome == "delivered":
            delay_s = ended_s - way.sent_s
            self.delay_seconds[index] += delay_s
            self.delays[index].add(delay_s)
            if ended_s > way.deadline_s:
                self.late_flows[index] += 1

    def air_begin(self, index: int, flows: int, num_bytes: int) -> None:
        """Note packets that users offer to the air, where they will end."""
        self.offered_flows[index] += flows
        self.offered_bytes[index] += num_bytes
        self.air_flows[index] += flows
        self.air_bytes[index] += num_bytes

    def air_end(self, index: int, delays_s: NDArray[np.float64], num_bytes: int, promise_s: float) -> None:
        """Note packets that ended in the air, delivered after `delays_s`."""
        self.air_flows[index] -= delays_s.size
        self.air_bytes[index] -= num_bytes
        self.ended_flows["delivered"][index] += delays_s.size
        self.ended_bytes["delivered"][index] += num_bytes
        self.delay_seconds[index] += float(delays_s.sum())
        self.delays[index].add_many(delays_s)
        self.late_flows[index] += int(np.count_nonzero(delays_s > promise_s))

    def air_lose(self, index: int, flows: int, num_bytes: int, outcome: Outcome = "cell full") -> None:
        """Note packets that the air gave up, or did not take."""
        self.air_flows[index] -= flows
        self.air_bytes[index] -= num_bytes
        self.ended_flows[outcome][index] += flows
        self.ended_bytes[outcome][index] += num_bytes

    def air_pass(self, index: int, flows: int, num_bytes: int) -> None:
        """Note packets that leave the air for the graph, where they are noted again as flows."""
        self.offered_flows[index] -= flows
        self.offered_bytes[index] -= num_bytes
        self.air_flows[index] -= flows
        self.air_bytes[index] -= num_bytes

    def lost(self, index: int, *, num_bytes: bool = False) -> int:
        """Return how many flows, or bytes, of a slice were not delivered."""
        ended = self.ended_bytes if num_bytes else self.ended_flows
        return sum(counts[index] for outcome, counts in ended.items() if outcome != "delivered")

    def view(self, index: int, active: bool, overdue: int = 0) -> SliceView:
        """Return the totals of a slice; how many flows are overdue, the network knows."""
        delivered, lost = self.ended_bytes["delivered"][index], self.lost(index, num_bytes=True)
        return SliceView(
            offered_flows=self.offered_flows[index],
            offered_bytes=self.offered_bytes[index],
            delivered_flows=self.ended_flows["delivered"][index],
            delivered_bytes=delivered,
            lost_flows=self.lost(index),
            lost_bytes=lost,
            late_flows=self.late_flows[index],
            overdue_flows=overdue,
            delay_seconds=self.delay_seconds[index],
            inside_bytes=self.offered_bytes[index] - delivered - lost,
            refused_flows=sum(self.ended_flows[outcome][index] for outcome in REFUSED),
            active=active,
        )

    def report(
        self, now_s: float, gauges: dict[str, float] | None = None, overdue: Sequence[int] | None = None
    ) -> None:
        """Add a point to the series; when there are too many, every second one goes and the spacing doubles."""
        late = overdue or (0,) * self.num_slices
        views = [self.view(index, True, late[index]) for index in range(self.num_slices)]
        self.times_s.append(now_s)
        self.reports += 1
        self.points.append(np.array([[float(getattr(view, name)) for view in views] for name in SERIES]))
        self.gauges.append(gauges or {})
        if len(self.times_s) == MOST_POINTS:  # an even number: the latest point stays
            self.times_s, self.points, self.gauges = self.times_s[1::2], self.points[1::2], self.gauges[1::2]
            self.report_s *= 2
            self.reports //= 2

    def check(self, now_s: float, ways: Sequence[OnTheWay]) -> None:
        """Assert that every flow and byte is somewhere, and Little's law.

        Raises:
            AssertionError: A bug.
        """
        for index in range(self.num_slices):
            here = [way for way in ways if way.slice_index == index]
            inside_bytes = sum(way.flow.num_bytes for way in here)
            ended = sum(counts[index] for counts in self.ended_flows.values())
            ended_bytes = sum(counts[index] for counts in self.ended_bytes.values())
            flows, num_bytes = (
                ended + len(here) + self.air_flows[index],
                ended_bytes + inside_bytes + self.air_bytes[index],
            )
            assert self.offered_flows[index] == flows, f"slice {index}: a flow was lost or invented"
            assert self.offered_bytes[index] == num_bytes, f"slice {index}: bytes lost or invented"
            assert self.inside_flows[index] == len(here), f"slice {index}: miscounted what is inside"
            area = self.flow_seconds[index] + len(here) * (now_s - self.touched_s[index])
            sojourn = self.sojourn_seconds[index] + sum(now_s - way.began_s for way in here)
            tolerance = 1e-6 * max(1.0, area) + 1e-9 * now_s * self.offered_flows[index]
            assert abs(area - sojourn) <= tolerance, f"slice {index}: Little's law, {area} against {sojourn}"
