"""What was placed comes true: hosted services as slices of a network, whose requests queue, travel and are computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.flows import Flow
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import ResourceRatio, Slice, SNssai
from wirelesslab.network.tasks.placement import Placement
from wirelesslab.network.tasks.placement_services import ServiceKind, Ways
from wirelesslab.network.view import SetRatios
from wirelesslab.stats import batch_means

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Story

FIRST_SST = 128  # slice types from here on are the operator's own
AHEAD = 256  # requests whose times are drawn at once


@dataclass
class _Ahead:
    """The arrivals that a service has drawn ahead, and where it stands: at first it has none."""

    rng: np.random.Generator
    times_s: NDArray[np.float64]
    position: int = 1


@dataclass(frozen=True, kw_only=True)
class Requests:
    """The requests of one hosted service, a Poisson stream of flows that the host computes; an actor.

    Attributes:
        kind: What the service is.
        slice: Name of its slice.
        source: Its gNB.
        sink: Its host.
        name: Its name as an actor.
    """

    kind: ServiceKind
    slice: str
    source: str
    sink: str
    name: str = ""

    def run(self, network: Network) -> "Story":
        """Send a request at each arrival."""
        name = network.name_of(self)
        state = network.record(name, lambda: _Ahead(network.rng("placed", name), np.array([network.now_s])))
        while True:
            if state.position == state.times_s.size:
                gaps = state.rng.exponential(1 / self.kind.requests_per_s, AHEAD)
                state.times_s, state.position = state.times_s[-1] + np.cumsum(gaps), 0
            yield network.until(float(state.times_s[state.position]))
            network.send(
                Flow(
                    slice=self.slice, num_bytes=self.kind.bytes_per_request, source=self.source, sink=self.sink,
                    operations=self.kind.operations_per_request,
                )
            )  # fmt: skip
            state.position += 1


@dataclass(frozen=True, kw_only=True)
class Compared:
    """A hosted service's delay as the task reckons it and as the network shows it.

    Attributes:
        kind: Name of the kind.
        gnb: Where its requests come from.
        host: Where they are computed.
        reckoned_s: Mean delay by `Ways.delay_s`.
        simulated_s: Mean delay of the simulated requests.
        error_s: Standard error of that, by batch means.
        requests: How many were delivered.
    """

    kind: str
    gnb: str
    host: str
    reckoned_s: float
    simulated_s: float
    error_s: float
    requests: int


def network_of(env: Placement, *, seed: int = 0) -> Network:
    """Return a network in which everything that an environment hosts at this moment lives, each with shares of its own.

    Every service is a slice; the shares that the task has booked are dedicated to it on the links of its way
    and at its host.

    Raises:
        ValueError: Nothing is hosted, or a host has several servers, of which only whole ones can be dedicated.
    """
    return _network(env.ways, [(g, k, h) for _, _, g, k, h in sorted(env.hosted, key=lambda one: one[1])], seed)


def _network(ways: Ways, hosted: Sequence[tuple[int, int, int]], seed: int) -> Network:
    if not hosted:
        msg = "env: got one that hosts nothing, expected at least one service; take some steps first"
        raise ValueError(msg)
    kinds = ways.config.kinds
    slices = tuple(Slice(name=f"service_{number}", snssai=SNssai(FIRST_SST, number)) for number in range(len(hosted)))
    network = Network(
        ways.graph, slices, seed=seed, keep_records=None, segment_bytes=max(kind.bytes_per_request for kind in kinds)
    )
    for s, (g, k, h) in zip(slices, hosted, strict=True):
        host = ways.hosts[h]
        own = int(ways.operations_per_s[k]) / float(ways.room_operations_per_s[h])
        _dedicate(network, SetRatios(domain="compute", element=host, ratios={s.name: ResourceRatio.isolated(own)}))
        for link in ways.on_way[g][h]:
            tail, head = ways.links[int(link)]
            own = int(ways.bps[k]) / float(ways.room_bps[link])
            ratios = {s.name: ResourceRatio.isolated(own)}
            _dedicate(network, SetRatios(domain="transport", element=f"{tail}->{head}", ratios=ratios))
        network.add(Requests(kind=kinds[k], slice=s.name, source=ways.gnbs[g], sink=host, name=f"requests-{s.name}"))
    return network


def _dedicate(network: Network, action: SetRatios) -> None:
    refused = network.apply(action, by="placement").refused
    if refused:
        msg = f"placement: the network refused {action}: {refused}"
        raise ValueError(msg)


def compared(env: Placement, *, until_s: float, seed: int = 0, warm_up_s: float = 0.0) -> list[Compared]:
    """Return for everything hosted the delay that was reckoned beside the one that requests have in the network.

    Args:
        env: A placement that hosts something.
        until_s: How long the network lives.
        seed: Of the requests.
        warm_up_s: Requests sent before are left out: queues begin empty.
    """
    check.positive(until_s=until_s)
    check.within(0, until_s, warm_up_s=warm_up_s)
    hosted = [(g, k, h) for _, _, g, k, h in sorted(env.hosted, key=lambda one: one[1])]
    network = _network(env.ways, hosted, seed)
    run = network.run(until_s)
    delays: dict[str, list[float]] = {s.name: [] for s in network.slices}
    for record in sorted(run.records, key=lambda one: one.number):
        if record.delivered and record.sent_s >= warm_up_s:
            delays[record.flow.slice].append(record.delay_s)
    table = []
    for s, (g, k, h) in zip(network.slices, hosted, strict=True):
        middle, error = batch_means(delays[s.name])
        table.append(
            Compared(
                kind=env.config.kinds[k].name, gnb=env.ways.gnbs[g], host=env.hosts[h],
                reckoned_s=float(env.ways.delay_s[g, k, h]), simulated_s=middle, error_s=error,
                requests=len(delays[s.name]),
            )
        )  # fmt: skip
    return table
