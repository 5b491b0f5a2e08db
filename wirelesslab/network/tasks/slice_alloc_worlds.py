"""Networks whose slices an agent divides: cells slot by slot with links and a computer, or one link of two queues.

All figures are our choice unless a docstring says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.agents.interfaces import ShareInterface
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.diurnal_traffic import Diurnal
from wirelesslab.network.flows import Flow
from wirelesslab.network.packet_sizes import ExponentialSize
from wirelesslab.network.simulation import Network, Story
from wirelesslab.network.slices import DOMAINS, EMBB, MIOT, URLLC, ServiceLevel, Slice
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.topology import add_link, add_node, line
from wirelesslab.network.view import View
from wirelesslab.rng import stream

Parts = dict[str, float]
REPORT_S = 1e6  # practically never: a task is watched through its own figures


class World(Protocol):
    """A network to act on, and what is good in it."""

    @property
    def step_s(self) -> float:
        """Length of a step."""
        ...

    @property
    def start_s(self) -> float:
        """When the first step begins."""
        ...

    @property
    def interface(self) -> ShareInterface:
        """What is seen and done."""
        ...

    def network(self, seed: int) -> Network:
        """Return the network before its first instant."""
        ...

    def reading(self, network: Network) -> Any:
        """Return what is read off the network between two steps, as plain data."""
        ...

    def judged(self, before: Any, after: Any, moved: float) -> tuple[Parts, Parts]:
        """Return the parts of a step's reward, and its costs.

        Args:
            before: Reading at its beginning.
            after: Reading at its end.
            moved: Half the sum of changes of shares, a mean over domains, in [0, 1].
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LinkWorld:
    """One link, two slices, Poisson flows of exponential sizes whose loads are exchanged: the flow level.

    With dedicated shares each slice is an M/M/1 queue served at its share. The reward is minus the mean number of
    jobs on the link in the step, as a number of the link's own books.

    Attributes:
        step_s: Length of a step.
        link_bps: Rate of the link.
        packet_bytes: Mean size: it takes 2 ms on the whole link, so that a step is 50 mean service times.
        loads: Of each slice in each phase, parts of the link.
        phase_steps: Steps of a phase: 20,000 service times.
        memory: Windows that mean loads remember.
        queues: Whether queues are seen.
        least: Smallest share.
        dedicated: Whether shares are kept apart; otherwise what is idle is lent.
        promised_jobs: Mean jobs of a slice in a step beyond which its promise is broken.
    """

    step_s: float = 0.1
    link_bps: float = 50e6
    packet_bytes: float = 12_500.0
    loads: tuple[tuple[float, ...], ...] = ((0.6, 0.1), (0.1, 0.6))
    phase_steps: int = 400
    memory: tuple[int, ...] = (1, 2, 4, 16)
    queues: bool = False
    least: float = 0.001
    dedicated: bool = True
    promised_jobs: float = 10.0

    def __post_init__(self) -> None:
        check.positive(
            step_s=self.step_s, link_bps=self.link_bps, packet_bytes=self.packet_bytes, promised_jobs=self.promised_jobs
        )
        check.positive_integer(phase_steps=self.phase_steps)
        for phase, loads in enumerate(self.loads):
            check.within(0, 4, **{f"loads[{phase}][{i}]": load for i, load in enumerate(loads)})
        if len({len(loads) for loads in self.loads}) != 1 or not 1 <= len(self.loads[0]) <= len(KINDS):
            msg = f"loads: got {self.loads}, expected phases of 1 to {len(KINDS)} slices' loads each"
            raise ValueError(msg)
        _ = self.interface

    @property
    def start_s(self) -> float:
        """At once."""
        return 0.0

    @property
    def service_s(self) -> float:
        """A mean service time on the whole link."""
        return 8 * self.packet_bytes / self.link_bps

    @property
    def slices(self) -> tuple[Slice, ...]:
        """They weigh alike and promise nothing that a link could break by itself."""
        kinds = KINDS[: len(self.loads[0])]
        return tuple(replace(s, level=ServiceLevel(delay_s=20 * self.service_s), weight=1.0) for s in kinds)

    @property
    def interface(self) -> ShareInterface:
        """Loads as counts of flows of the mean size; shares of the link."""
        return ShareInterface(
            slices=tuple(s.name for s in self.slices), capacity_bps=self.link_bps, memory=self.memory,
            flow_bytes=self.packet_bytes, least=self.least, dedicated=self.dedicated,
            shows=("queues",) if self.queues else (),
        )  # fmt: skip

    def network(self, seed: int) -> Network:
        """Return the link and its sources."""
        graph = line(num_links=1, rate_bps=self.link_bps, distance_m=1e-3)
        network = Network(graph, self.slices, seed=seed, segment_bytes=10**9, report_s=REPORT_S)
        for index, s in enumerate(self.slices):
            rates = tuple(loads[index] / self.service_s for loads in self.loads)
            if any(rates):
                network.add(Diurnal(
                    s, source="edge-1", sink="edge-2", period_s=len(rates) * self.phase_steps * self.step_s,
                    rates_per_s=rates, num_bytes=ExponentialSize(self.packet_bytes), name=f"traffic of {s.name}",
                ))  # fmt: skip
        return network

    def reading(self, network: Network) -> tuple[float, NDArray[np.float64]]:
        """Return the time, and the integral of jobs on the link of each slice."""
        now, book = network.now_s, network.links["edge-1", "edge-2"].book
        since = now - np.array(book.touched_s)
        return now, np.array(book.packet_seconds) + np.array(book.inside) * since

    def judged(
        self, before: tuple[float, NDArray[np.float64]], after: tuple[float, NDArray[np.float64]], moved: float
    ) -> tuple[Parts, Parts]:
        """Return minus the mean jobs, and each slice's jobs beyond what is promised."""
        del moved
        jobs = (after[1] - before[1]) / (after[0] - before[0])
        costs = {s.name: max(float(n) - self.promised_jobs, 0.0) for s, n in zip(self.slices, jobs, strict=True)}
        return {"jobs": -float(jobs.sum())}, costs


@dataclass(frozen=True, kw_only=True)
class CellsWorld:
    """Cells of many users slot by slot, links behind them and a computer at the edge, shared by three slices.

    embb's files and miot's reports go from the air over a gNB's link to the edge; urllc's commands end in the air.
    Every slice has jobs computed at the edge. Loads are exchanged between slices every `phase_s`.

    Attributes:
        num_cells: Cells, of 20 MHz.
        users_per_slice: In all cells together; 100 of three slices are 300 users.
        step_s: Length of a step: 100 slots of 1 ms.
        tick_s: What has got through the air is sent on so often.
        phase_s: Loads are exchanged so often.
        link_bps: Of a gNB's link.
        operations_per_s: Of the computer at the edge.
        memory: Windows that mean loads remember.
        late_weight: What a step with everything late costs, in units of the whole capacity delivered.
        change_weight: What it costs to exchange all shares.
    """

    num_cells: int = 3
    users_per_slice: int = 100
    step_s: float = 0.1
    tick_s: float = 0.02
    phase_s: float = 4.0
    link_bps: float = 40e6
    operations_per_s: float = 1e10
    memory: tuple[int, ...] = (1, 8)
    late_weight: float = 1.0
    change_weight: float = 0.1

    def __post_init__(self) -> None:
        check.positive_integer(num_cells=self.num_cells, users_per_slice=self.users_per_slice)
        check.positive(
            step_s=self.step_s, tick_s=self.tick_s, phase_s=self.phase_s, link_bps=self.link_bps,
            operations_per_s=self.operations_per_s,
        )  # fmt: skip
        check.within(0, 100, late_weight=self.late_weight, change_weight=self.change_weight)

    @property
    def start_s(self) -> float:
        """Between two ticks: what is told to a twin then is what the network shows then."""
        return self.tick_s / 2

    @property
    def slices(self) -> tuple[Slice, ...]:
        """They weigh alike; promises as in `PROMISES_S`."""
        return tuple(
            replace(s, level=ServiceLevel(delay_s=PROMISES_S[s.name], delay_quantile=0.95), weight=1.0) for s in KINDS
        )

    @property
    def interface(self) -> ShareInterface:
        """Shares of radio, transport and compute; loads by bytes, as parts of all gNBs' links together."""
        return ShareInterface(
            slices=tuple(s.name for s in KINDS), capacity_bps=self.num_cells * self.link_bps, domains=DOMAINS,
            memory=self.memory, shows=("queues", "delays", "late", "shares"), least=0.05,
        )  # fmt: skip

    def network(self, seed: int) -> Network:
        """Return cells, links, computer and who uses them; where users are is drawn from the seed."""
        graph = nx.DiGraph()
        add_node(graph, "edge-1", "edge", (0.0, 0.0), operations_per_s=self.operations_per_s)
        nodes = [f"gnb-{cell + 1}" for cell in range(self.num_cells)]
        for cell, node in enumerate(nodes):
            add_node(graph, node, "gnb", (1000.0, 500.0 * cell))
            add_link(graph, node, "edge-1", rate_bps=self.link_bps)
        network = Network(graph, self.slices, seed=seed, segment_bytes=10**9, report_s=REPORT_S)
        rng, num_users = stream(seed, "places"), 3 * self.users_per_slice
        access = SlotAccess(
            SlotRadio(), self.slices, cells=np.arange(num_users) % self.num_cells,
            slice_of=np.arange(num_users) // self.users_per_slice, mean_snr=10 ** rng.normal(1.3, 0.3, num_users),
            num_cells=self.num_cells, seed=seed,
        )  # fmt: skip
        demands = [
            Demand(slice=name, model=self._moving(mbps, size), sink="" if name == "urllc" else "edge-1", together=True)
            for name, (mbps, size) in AIR.items()
        ]
        network.add(Cells(access, nodes, demands, tick_s=self.tick_s))
        for name, loads in COMPUTE.items():
            network.add(EdgeJobs(
                slice=name, node="edge-1", phase_s=self.phase_s, loads=loads, jobs_per_s=JOBS_PER_S,
                operations_per_s=self.operations_per_s, name=f"jobs of {name}",
            ))  # fmt: skip
        return network

    def _moving(self, mbps: tuple[float, float], num_bytes: float) -> Diurnal:
        """Return what one user says: the slice's Mb/s of a cell, divided among the cell's users of the slice."""
        per_user = self.num_cells * 1e6 / (8 * num_bytes * self.users_per_slice)
        return Diurnal(
            period_s=2 * self.phase_s, rates_per_s=tuple(rate * per_user for rate in mbps),
            num_bytes=ExponentialSize(num_bytes),
        )  # fmt: skip

    def reading(self, network: Network) -> View:
        """Return the network's own view."""
        return network.view()

    def judged(self, before: View, after: View, moved: float) -> tuple[Parts, Parts]:
        """Return what was delivered, late and changed; and by how much the late share of each slice is too large."""
        view = replace(after, before=before)
        late = {name: float(np.nan_to_num(view.late_share(name))) for name in view.slices}
        delivered = sum(view.delivered_bps(name) for name in view.slices) / self.interface.capacity_bps
        parts = {
            "delivered": delivered,
            "late": -self.late_weight * sum(late.values()) / len(late),
            "changed": -self.change_weight * moved,
        }
        allowed = {s.name: 1 - s.level.delay_quantile for s in self.slices}
        return parts, {f"{name} late": max(late[name] - allowed[name], 0.0) for name in late}


KINDS = (EMBB, URLLC, MIOT)
PROMISES_S: Mapping[str, float] = {"embb": 0.25, "urllc": 0.03, "miot": 0.4}
# Mb/s in a cell in the two phases, and mean bytes of a packet; a cell carries about 90 Mb/s by proportional fairness
AIR: Mapping[str, tuple[tuple[float, float], float]] = {
    "embb": ((22.0, 8.0), 20_000.0), "urllc": ((8.0, 16.0), 1_000.0), "miot": ((4.0, 20.0), 4_000.0),
}  # fmt: skip
COMPUTE: Mapping[str, tuple[float, float]] = {"embb": (0.4, 0.1), "urllc": (0.15, 0.25), "miot": (0.1, 0.35)}
JOBS_PER_S = 400.0  # that the whole computer does
AHEAD = 256  # jobs drawn at once


@dataclass(frozen=True, kw_only=True)
class EdgeJobs:
    """Poisson jobs of exponential work for a node's computer, at a load that steps from phase to phase.

    Attributes:
        slice: Whose they are.
        node: Where they come and are computed.
        phase_s: Length of a phase.
        loads: Of each phase in turn, parts of the computer, all above 0.
        jobs_per_s: That the whole computer does.
        operations_per_s: Of the whole computer.
        name: Its name as an actor.
    """

    slice: str
    node: str
    phase_s: float
    loads: tuple[float, ...]
    jobs_per_s: float
    operations_per_s: float
    name: str

    def __post_init__(self) -> None:
        check.positive(
            phase_s=self.phase_s, jobs_per_s=self.jobs_per_s, operations_per_s=self.operations_per_s,
            **{f"loads[{i}]": load for i, load in enumerate(self.loads)},
        )  # fmt: skip

    def run(self, network: Network) -> Story:
        """Send a job at each arrival."""
        law = Diurnal(
            period_s=len(self.loads) * self.phase_s, num_bytes=ExponentialSize(1000.0),
            rates_per_s=tuple(load * self.jobs_per_s for load in self.loads),
        )  # fmt: skip

        def first() -> dict[str, Any]:
            rng = network.rng("jobs", self.name)
            return {"rng": rng, "memory": law.begin(rng, 1), "times_s": np.zeros(0), "position": 0}

        kept = network.record(self.name, first)
        per_byte = self.operations_per_s / (self.jobs_per_s * 1000.0)
        while True:
            if kept["position"] == len(kept["times_s"]):
                kept["times_s"], kept["sizes"] = law.ahead(kept["rng"], kept["memory"], AHEAD)
                kept["position"] = 0
            yield network.until(float(kept["times_s"][kept["position"]]))
            size = int(kept["sizes"][kept["position"]])
            kept["position"] += 1
            network.send(
                Flow(slice=self.slice, num_bytes=1, source=self.node, sink=self.node, operations=size * per_byte)
            )
