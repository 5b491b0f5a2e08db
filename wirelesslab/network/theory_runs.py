"""Queues of this simulator in the situations that theory describes, to be held against its closed forms.

Each case says what theory expects (`expected`) and what the simulator gives under a seed (`measure`), row by row;
times are in units of a mean service. The radio's and the air's cases are in `theory_runs_radio`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.flows import Flow, FlowRecord
from wirelesslab.network.packet_sizes import ExponentialSize, FixedSize, HyperexponentialSize, SizeLaw
from wirelesslab.network.schedulers import FirstComeFirstServed
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import EMBB
from wirelesslab.network.statistics import Tally
from wirelesslab.network.theory import (
    erlang_b,
    erlang_c,
    jackson,
    mg1_wait,
    mm1_sojourn,
    mm1_sojourn_quantile,
    mmc_wait,
)
from wirelesslab.network.topology import line
from wirelesslab.network.traffic import Poisson

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Story

Law = Literal["exponential", "fixed", "hyperexponential"]
LAWS: tuple[Law, ...] = ("exponential", "fixed", "hyperexponential")
MEAN_BYTES = 10_000  # so many that whole bytes do not matter
MOST_ROWS = MOST_CONTROLS = 2
WARM_UP = 500.0  # mean services; at load 0.8 a queue forgets within about 100
AHEAD = 256


class Measured(NamedTuple):
    """What a run gave: `values` in the order of a case's `expected`, and `controls`.

    Controls are figures of the run whose mean is known to be 0: by how much more work, or more arrivals, came than
    should have. They tell how much of its deviation was luck.
    """

    values: Sequence[float]
    controls: Sequence[float] = ()


class Case(Protocol):
    """A situation that theory describes."""

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says, row by row; at most MOST_ROWS of them."""
        ...

    def measure(self, seed: int) -> Measured:
        """Return what the simulator gives."""
        ...


def run_case(case: Case, seed: int) -> dict[str, list[float]]:
    """Run a case under a seed: an experiment for `replicate`, padded with NaN to MOST_ROWS."""
    values, controls = case.measure(seed)
    return {"measured": _padded(values, MOST_ROWS), "controls": _padded(controls, MOST_CONTROLS)}


def _padded(values: Sequence[float], length: int) -> list[float]:
    return [*map(float, values), *[float("nan")] * (length - len(values))]


class Estimate(NamedTuple):
    """A mean over replicas, its standard error, and the degrees of freedom behind that."""

    value: float
    standard_error: float
    degrees: int


def estimate(samples: ArrayLike, controls: ArrayLike = ()) -> Estimate:
    """Return the mean of independent samples, what controls explain of its deviation taken off.

    Args:
        samples: One per replica, shape (replicas,).
        controls: Figures of known mean 0, shape (replicas, controls); columns of NaN are none. They are used when
            there are at least ten replicas for each.

    References:
        Control variates by regression: Lavenberg and Welch, Management Science 27(3), 1981.

    Examples:
        >>> estimate([1.0, 2.0, 3.0]).value
        2.0
    """
    values = check.array(samples, (None,), "replicas", name="samples").astype(float)
    columns = np.asarray(controls, dtype=float).reshape(values.size, -1)
    columns = columns[:, np.isfinite(columns).all(axis=0)]
    if values.size < 10 * columns.shape[1]:
        columns = columns[:, :0]
    design = np.column_stack([np.ones(values.size), columns])
    degrees = values.size - design.shape[1]
    if degrees < 1:
        return Estimate(float(values.mean()), float("inf"), 1)
    inverse = np.linalg.pinv(design.T @ design)
    weights = inverse @ design.T @ values
    rest = values - design @ weights
    return Estimate(float(weights[0]), float(np.sqrt(rest @ rest / degrees * inverse[0, 0])), degrees)


@dataclass(frozen=True, kw_only=True)
class SingleServer:
    """A link that Poisson flows of independent sizes come to: M/M/1, M/D/1, M/G/1.

    Rows: for exponential sizes the mean time inside and its 99 % quantile, otherwise the mean wait.

    Attributes:
        load: Below 1.
        law: Of sizes.
        scv: Variance over squared mean of a hyperexponential law.
        num_flows: Flows that are measured, about.
    """

    load: float
    law: Law = "exponential"
    scv: float = 4.0
    num_flows: int = 50_000

    def __post_init__(self) -> None:
        check.one_of(LAWS, law=self.law)
        check.positive_integer(num_flows=self.num_flows)
        mg1_wait(self.load, scv=self.scv)  # refuses what is not stable

    @property
    def name(self) -> str:
        """Kendall's."""
        letter = {"exponential": "M", "fixed": "D", "hyperexponential": "G"}[self.law]
        variance = f", scv {self.scv:g}" if self.law == "hyperexponential" else ""
        return f"M/{letter}/1, load {self.load:g}{variance}"

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        if self.law == "exponential":
            return {
                f"{self.name}: mean time inside": mm1_sojourn(self.load),
                f"{self.name}: 99 % of times inside": mm1_sojourn_quantile(0.99, self.load),
            }
        return {f"{self.name}: mean wait": mg1_wait(self.load, scv=0.0 if self.law == "fixed" else self.scv)}

    def measure(self, seed: int) -> Measured:
        """Return what a network of one link gives."""
        laws: dict[Law, SizeLaw] = {
            "exponential": ExponentialSize(mean=MEAN_BYTES),
            "fixed": FixedSize(MEAN_BYTES),
            "hyperexponential": HyperexponentialSize(mean=MEAN_BYTES, scv=self.scv),
        }
        network = Network(
            line(num_links=1, rate_bps=8.0 * MEAN_BYTES, distance_m=1.0), (EMBB,),
            seed=seed, scheduler=FirstComeFirstServed(), segment_bytes=2**40, report_s=1e4,
        )  # fmt: skip
        network.add(Poisson(EMBB, source="edge-1", sink="edge-2", rate_per_s=self.load, num_bytes=laws[self.law]))
        link = network.links["edge-1", "edge-2"]
        network.run(WARM_UP)
        before = link.account()
        network.book.delays[0] = inside = Tally(accuracy=1e-3)
        network.run(WARM_UP + self.num_flows / self.load)
        network.check()
        after = link.account()
        # A wait is written down when service begins: of those that came, all but the few that still queue.
        begun = after.offered_packets - before.offered_packets
        expected = self.load * (after.now_s - before.now_s)
        controls = begun[0] / expected - 1, (after.work_done - before.work_done)[0] / (link.rate * expected) - 1
        if self.law == "exponential":
            return Measured((inside.mean, inside.quantile(0.99)), controls)
        return Measured((((after.wait_seconds - before.wait_seconds) / begun)[0],), controls)


@dataclass
class _Jobs:
    """What a source of jobs has drawn ahead."""

    rng: np.random.Generator
    times_s: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    operations: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    now_s: float = 0.0
    position: int = 0

    def draw(self, rate_per_s: float, fixed: bool) -> None:
        """Draw the next arrivals."""
        self.times_s = self.now_s + np.cumsum(self.rng.standard_exponential(AHEAD)) / rate_per_s
        self.operations = np.ones(AHEAD) if fixed else self.rng.standard_exponential(AHEAD)
        self.now_s, self.position = float(self.times_s[-1]), 0


@dataclass(frozen=True, kw_only=True)
class JobSource:
    """Poisson jobs of one operation on average for a node's servers.

    Attributes:
        node: Where they come and are computed.
        rate_per_s: Jobs per second.
        fixed: Whether every job has exactly one operation; otherwise exponential.
        receiver: Name of the actor that is told of each job's end.
        name: Its name as an actor.
    """

    node: str
    rate_per_s: float
    fixed: bool = False
    receiver: str = ""
    name: str = "jobs"

    def run(self, network: Network) -> "Story":
        """Send a job at each arrival."""
        state = network.record(self.name, lambda: _Jobs(network.rng("jobs", self.name)))
        while True:
            if state.position == state.times_s.size:
                state.draw(self.rate_per_s, self.fixed)
            yield network.until(float(state.times_s[state.position]))
            operations = float(state.operations[state.position])
            state.position += 1
            network.send(_job(self.node, operations, self.receiver, None))


def _job(node: str, operations: float, receiver: str, sent_s: float | None) -> Flow:
    return Flow(
        slice=EMBB.name, num_bytes=1, source=node, sink=node, operations=operations, receiver=receiver, sent_s=sent_s
    )


def _computers(operations_per_s: Sequence[float], num_servers: int, seed: int) -> Network:
    """Return a line of nodes that compute."""
    graph = line(num_links=max(1, len(operations_per_s) - 1), rate_bps=1e9, distance_m=1.0)
    for place, speed in enumerate(operations_per_s, start=1):
        graph.nodes[f"edge-{place}"].update(operations_per_s=speed, num_servers=num_servers)
    return Network(graph, (EMBB,), seed=seed, scheduler=FirstComeFirstServed(), report_s=1e4)


@dataclass(frozen=True, kw_only=True)
class ManyServers:
    """A computer of several servers: M/M/c, or Erlang's loss system when nobody may wait.

    Rows: the probability of having to wait and the mean wait; or the share that is lost.

    Attributes:
        servers: c.
        load: In Erlang.
        waiting: Whether there is room to wait.
        fixed: Whether every job is of the same size.
        num_jobs: Jobs that are measured, about.
    """

    servers: int = 10
    load: float = 7.0
    waiting: bool = True
    fixed: bool = False
    num_jobs: int = 50_000

    def __post_init__(self) -> None:
        check.positive_integer(servers=self.servers, num_jobs=self.num_jobs)
        check.positive(load=self.load)
        if self.waiting:
            mmc_wait(self.load, self.servers)
            if self.fixed:
                msg = "fixed: got True for a queue, expected False; M/D/c has no closed form of this kind"
                raise ValueError(msg)

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        if self.waiting:
            name = f"M/M/{self.servers}, {self.load:g} Erlang"
            return {
                f"{name}: probability of waiting": erlang_c(self.servers, self.load),
                f"{name}: mean wait": mmc_wait(self.load, self.servers),
            }
        name = f"M/{'D' if self.fixed else 'M'}/{self.servers}/{self.servers}, {self.load:g} Erlang"
        return {f"{name}: blocking": erlang_b(self.servers, self.load)}

    def measure(self, seed: int) -> Measured:
        """Return what a network's server gives."""
        network = _computers([1.0], self.servers, seed)
        server = network.servers["edge-1"]
        if not self.waiting:
            server.buffer_packets = 0
        network.add(JobSource(node="edge-1", rate_per_s=self.load, fixed=self.fixed))
        network.run(WARM_UP / 5)
        before = server.account()
        network.run(WARM_UP / 5 + self.num_jobs / self.load)
        network.check()
        after = server.account()
        offered = after.offered_packets[0] - before.offered_packets[0]
        names = ("delayed_packets", "wait_seconds") if self.waiting else ("dropped_packets",)
        expected = self.load * (after.now_s - before.now_s)
        controls = [offered / expected - 1]
        if self.waiting:
            controls.append((after.work_done[0] - before.work_done[0]) / expected - 1)
        return Measured([(getattr(after, name)[0] - getattr(before, name)[0]) / offered for name in names], controls)


@dataclass
class _Seen:
    """What a router has drawn and seen."""

    rng: np.random.Generator
    jobs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Router:
    """Sends a job that a node has finished to another node, or lets it go, by chance.

    Attributes:
        nodes: Names of the nodes.
        routing: Probability of going from row to column, shape (nodes, nodes).
        name: Its name as an actor.
    """

    nodes: tuple[str, ...]
    routing: tuple[tuple[float, ...], ...]
    name: str = "router"

    def run(self, network: Network) -> "Story":
        """Sleep; it is woken by the ends of jobs."""
        yield network.until(float("inf"))

    def seen(self, network: Network) -> _Seen:
        """Return what it has seen."""
        return network.record(self.name, lambda: _Seen(network.rng("router")))

    def receive(self, network: Network, record: FlowRecord) -> None:
        """Send a finished job on."""
        state = self.seen(network)
        move = np.searchsorted(np.cumsum(self.routing[self.nodes.index(record.flow.sink)]), state.rng.random())
        if move < len(self.nodes):
            work = float(state.rng.standard_exponential())
            network.send(_job(self.nodes[move], work, self.name, record.sent_s))
        else:
            state.jobs += 1
            state.seconds += record.ended_s - record.sent_s


@dataclass(frozen=True, kw_only=True)
class JacksonNetwork:
    """Jobs that wander between computers: a gateway, an edge that may send back, and a cloud.

    Attributes:
        arrival_rate: Of jobs at the gateway, per second.
        to_edge: Share that the gateway sends to the edge; the rest goes to the cloud.
        back: Share that the edge sends back to the gateway.
        speeds: Jobs per second of gateway, edge and cloud.
        num_jobs: Jobs that are measured, about.
    """

    arrival_rate: float = 0.4
    to_edge: float = 0.7
    back: float = 0.2
    speeds: tuple[float, ...] = (1.0, 1.0, 0.5)
    num_jobs: int = 20_000

    def __post_init__(self) -> None:
        check.probability(to_edge=self.to_edge, back=self.back)
        check.positive_integer(num_jobs=self.num_jobs)
        if len(self.speeds) != 3:
            msg = f"speeds: got {len(self.speeds)}, expected those of gateway, edge and cloud"
            raise ValueError(msg)
        _ = self.expected

    @property
    def routing(self) -> tuple[tuple[float, ...], ...]:
        """From gateway, edge, cloud to each of them."""
        return ((0.0, self.to_edge, 1 - self.to_edge), (self.back, 0.0, 0.0), (0.0, 0.0, 0.0))

    @property
    def expected(self) -> Mapping[str, float]:
        """What theory says."""
        flow = jackson((self.arrival_rate, 0, 0), self.routing, self.speeds)
        return {"Jackson network, gateway-edge-cloud: end to end": flow.end_to_end_s}

    def measure(self, seed: int) -> Measured:
        """Return what a network of three computers gives."""
        network = _computers(self.speeds, 1, seed)
        router = network.add(Router(nodes=("edge-1", "edge-2", "edge-3"), routing=self.routing))
        network.add(JobSource(node="edge-1", rate_per_s=self.arrival_rate, receiver=router.name))
        network.run(WARM_UP)
        seen = router.seen(network)
        jobs, seconds = seen.jobs, seen.seconds
        network.run(WARM_UP + self.num_jobs / self.arrival_rate)
        network.check()
        left = seen.jobs - jobs
        return Measured(((seen.seconds - seconds) / left,), (left / self.num_jobs - 1,))
