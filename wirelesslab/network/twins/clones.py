"""A network built anew from what a twin knows, and the futures that it may meet.

Nothing here sees the network that the twin mirrors: `Known` is data. `clone_of` builds a network from it that begins
where the twin's oldest news of queues ends; `drawn` draws what it will meet.

Our choices, where a twin does not know: traffic is Poisson for each slice, source and sink, at the rate that is
forecast, with sizes of a gamma law that fits the first two moments, and operations in proportion to size. What
waits in a queue is as many flows as packets wait (fewer, where flows are cut into segments), of equal
size, bound for the sinks of the traffic that passes there, and has waited for as long as that traffic took to bring
what stands behind it. What is between two nodes is forgotten. Users of a radio are not modelled.
"""

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.flows import Flow
from wirelesslab.network.schedulers import Scheduler
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio, Slice
from wirelesslab.network.twins.forecasts import Forecaster
from wirelesslab.network.twins.traffic_history import Offered
from wirelesslab.network.view import SetActive, SetRatios, SetUp
from wirelesslab.rng import stream

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Story

STEADY = 1e-9  # squared coefficient of variation below which all flows have one size


@dataclass(frozen=True, kw_only=True)
class Known:
    """All that a twin knows, copied out of it.

    Attributes:
        graph: Topology and rates.
        slices: They.
        scheduler: Of links and servers.
        segment_bytes: Into which flows are cut.
        time_s: Now.
        ages_s: How old what is known is, by attribute.
        active: Whether each slice takes flows.
        promises: Delay that each slice promises; inf if none.
        ratios: Shares in force, by domain and slice.
        ratios_of_stations: Shares of links and servers that differ from these.
        down: What is out of service, and who holds it so.
        queues: By link or server: bytes inside of each slice, and packets.
        offered: What was offered in past windows.
        window_s: Length of these windows.
    """

    graph: Any = field(repr=False)
    slices: tuple[Slice, ...]
    scheduler: Scheduler
    segment_bytes: int
    time_s: float
    ages_s: Mapping[str, float]
    active: tuple[bool, ...]
    promises: tuple[float, ...]
    ratios: Mapping[Domain, Mapping[str, ResourceRatio]]
    ratios_of_stations: Mapping[str, tuple[ResourceRatio, ...]]
    down: Mapping[str, tuple[str, ...]]
    queues: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(repr=False)
    offered: Offered = field(repr=False)
    window_s: float

    @property
    def start_s(self) -> float:
        """When a clone begins: the time of the oldest news of queues."""
        return self.time_s - self.ages_s["queues"]


# --- the future ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Foreseen:
    """Flows at times that are drawn beforehand, as an actor.

    Attributes:
        times_s: When each is sent, ascending, shape (flows,).
        flows: They.
        name: Its name as an actor.
    """

    times_s: NDArray[np.float64]
    flows: tuple[Flow, ...]
    name: str = "foreseen"

    def run(self, network: Network) -> "Story":
        """Send them."""
        place = network.record(self.name, lambda: {"next": 0})
        while place["next"] < len(self.flows):
            yield network.until(float(self.times_s[place["next"]]))
            network.send(self.flows[place["next"]])
            place["next"] += 1


def expected_rates(
    known: Known, forecaster: Forecaster, horizon_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the edges of the windows that a clone lives through, in its own time, and flows per second in each.

    Returns:
        Shapes (windows + 1,) and (windows, series).
    """
    offered = known.offered
    steps = max(1, math.ceil((known.time_s + horizon_s - offered.end_s) / known.window_s - 1e-9))
    if offered.series:
        ahead = np.asarray(forecaster.ahead(offered.flows_per_s, steps), float)
    else:
        ahead = np.zeros((steps, 0))
    edges = offered.end_s + known.window_s * np.arange(steps + 1) - known.start_s
    last = known.time_s + horizon_s - known.start_s
    rates = np.maximum(ahead, 0.0)
    if edges[0] > 0:  # queues are older than the newest window: what it said held then
        edges, rates = np.concatenate([[0.0], edges]), np.concatenate([offered.flows_per_s[-1:], rates])
    edges[-1] = max(edges[-1], last)
    edges = np.clip(edges, 0.0, last)
    kept = np.diff(edges) > 0
    return np.concatenate([[0.0], edges[1:][kept]]), rates[kept]


def drawn(known: Known, expected: tuple[NDArray[np.float64], NDArray[np.float64]], seed: int, future: int) -> Foreseen:
    """Draw one future: Poisson arrivals of each series, with a stream of randomness of its own."""
    edges, rates = expected
    offered, times, flows = known.offered, [], []
    for column, (index, source, sink) in enumerate(offered.series):
        rng = stream(seed, "what if", future, index, source, sink)
        counts = rng.poisson(rates[:, column] * np.diff(edges))
        starts, widths = np.repeat(edges[:-1], counts), np.repeat(np.diff(edges), counts)
        times.append(np.sort(starts + widths * rng.random(starts.size)))
        sizes = fitted_sizes(offered.mean_bytes[column], offered.second_moment[column], starts.size, rng)
        work = offered.operations[column] / offered.mean_bytes[column]
        name = known.slices[index].name
        flows += [
            Flow(slice=name, num_bytes=size, source=source, sink=sink, operations=work * size)
            for size in sizes.tolist()
        ]  # fmt: skip
    when = np.concatenate([np.zeros(0), *times])
    order = np.argsort(when, kind="stable")
    return Foreseen(when[order], tuple(flows[place] for place in order.tolist()))


def fitted_sizes(mean_bytes: float, second_moment: float, num: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw sizes of a gamma law with these moments, in whole bytes, at least 1, shape (num,)."""
    variation = max(second_moment / mean_bytes**2 - 1, 0.0)
    if variation < STEADY:
        return np.full(num, max(round(mean_bytes), 1), np.int64)
    sizes = rng.gamma(1 / variation, mean_bytes * variation, num)
    return np.maximum(np.rint(sizes), 1).astype(np.int64)


# --- the clone ----------------------------------------------------------------------------------------------------


def clone_of(known: Known, flows_per_s: NDArray[np.float64], seed: int = 0, future: int = 0) -> Network:
    """Return a network as it is known to have been, at its time 0: what is down, shares, and what waits.

    Args:
        known: It.
        flows_per_s: Of each series, shape (series,): what waits is bound for where this traffic goes.
        seed: Of the choice of sinks.
        future: Likewise.
    """
    network = Network(
        deepcopy(known.graph), known.slices, scheduler=known.scheduler, segment_bytes=known.segment_bytes, report_s=1e9
    )
    network.promises = list(known.promises)
    for place in DOMAINS:
        network.apply(SetRatios(domain=place, ratios=known.ratios[place]))
    for station, shares in known.ratios_of_stations.items():
        names = [s.name for s in known.slices]
        domain: Domain = "compute" if station in network.servers else "transport"
        network.apply(SetRatios(domain=domain, ratios=dict(zip(names, shares, strict=True)), element=station))
    for element, holders in known.down.items():
        for holder in holders:
            network.apply(SetUp(element=element, up=False), by=holder)
    rng = stream(seed, "what if", future, "waiting")
    for flow in waiting(known, network, flows_per_s, rng):
        network.send(flow)
    for s, active in zip(known.slices, known.active, strict=True):
        network.apply(SetActive(slice=s.name, active=active))
    network.actions.clear()
    network.told.clear()
    return network


def waiting(known: Known, network: Network, flows_per_s: NDArray[np.float64], rng: np.random.Generator) -> list[Flow]:
    """Return what waits in the queues as flows; in each queue those that came first are first."""
    routes = [network.routes.path(source, sink) or () for _, source, sink in known.offered.series]
    hops = [set(pairwise(route)) for route in routes]
    computed = known.offered.operations > 0
    flows: list[Flow] = []
    for station, inside in known.queues.items():
        tail, _, head = station.partition("->")
        for index, (num_bytes, packets) in enumerate(zip(*inside, strict=True)):
            if num_bytes:
                passing = [
                    column
                    for column, (of, _, sink) in enumerate(known.offered.series)
                    if of == index and ((tail, head) in hops[column] if head else sink == tail and computed[column])
                ]
                flows += _queue(known, index, tail, head or tail, num_bytes, packets, passing, flows_per_s, rng)
    return flows


def _queue(
    known: Known,
    index: int,
    tail: str,
    head: str,
    num_bytes: int,
    packets: int,
    passing: list[int],
    flows_per_s: NDArray[np.float64],
    rng: np.random.Generator,
) -> list[Flow]:
    """Return what waits of one slice before one link or server as flows, given the series that pass there."""
    offered, name = known.offered, known.slices[index].name
    if not passing:  # nobody is known to send this: it goes one hop, and is not computed
        return [Flow(slice=name, num_bytes=num_bytes, source=tail, sink=head)]
    rates, sizes = flows_per_s[passing], offered.mean_bytes[passing]
    total, usual = float(rates.sum()), float(sizes.mean())
    num = packets if usual <= known.segment_bytes else max(1, min(packets, round(num_bytes / usual)))
    weights = rates * sizes if total > 0 else np.ones(len(passing))
    chosen = rng.choice(passing, size=num, p=weights / weights.sum())
    parts = np.maximum(np.diff(np.rint(np.linspace(0, num_bytes, num + 1))), 1).astype(int)
    return [
        Flow(
            slice=name, num_bytes=size, source=tail, sink=offered.series[column][2],
            operations=float(offered.operations[column]),
            sent_s=-(num - place - 0.5) / total if total > 0 else 0.0,
        )
        for place, (column, size) in enumerate(zip(chosen.tolist(), parts.tolist(), strict=True))
    ]  # fmt: skip
