"""A whole network in one file: read, checked to the line, built and run.

The words of the file are made from the wing's own classes (see `scenario_models`): every traffic model,
scheduler, topology, plan and failure is called by its name in snake case.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import networkx as nx
import numpy as np
from pydantic import Field, ValidationError, create_model

from wirelesslab.network import topology
from wirelesslab.network.areas import AREAS, Area, Disc
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.fading import FADINGS, Fading
from wirelesslab.network.failures import FAILURES
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.handover import A3
from wirelesslab.network.manhattan import Manhattan
from wirelesslab.network.mobility import Mobility, RandomWalk, RandomWaypoint, Static
from wirelesslab.network.movement import Movement
from wirelesslab.network.packet_sizes import SIZE_LAWS, SizeLaw
from wirelesslab.network.planning import PLANS, Plan, Planner
from wirelesslab.network.radio import RATE_MAPPINGS, LinkBudget, RateMapping
from wirelesslab.network.run import Run
from wirelesslab.network.scenario_models import Part, family, model_of, reasons
from wirelesslab.network.schedulers import SCHEDULERS
from wirelesslab.network.simulation import Network
from wirelesslab.network.slices import ResourceRatio, ServiceLevel, Slice, SNssai, check_slices
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.topology import Graph, add_link, add_node, check_graph
from wirelesslab.network.trace import Trace
from wirelesslab.network.traffic import TRAFFIC_MODELS, TrafficModel
from wirelesslab.network.traffic_traces import TrafficTrace
from wirelesslab.network.user_schedulers import USER_SCHEDULERS, UserScheduler
from wirelesslab.network.yaml_lines import Lines, ScenarioError
from wirelesslab.rng import stream

TOPOLOGIES: tuple[Callable[..., Graph], ...] = (
    topology.hex_cells,
    topology.metro,
    topology.line,
)
MOVERS: tuple[type[Mobility], ...] = (Static, RandomWalk, RandomWaypoint, Manhattan)


class NodePart(Part):
    """A node of a hand-made graph."""

    name: str
    kind: Literal["device", "gnb", "edge", "core", "cloud"]
    position_m: tuple[float, float] = (0.0, 0.0)
    operations_per_s: float | None = None
    num_servers: int = 1


class LinkPart(Part):
    """A link of a hand-made graph, in both directions; without `delay_s` it is straight fibre."""

    a: str
    b: str
    rate_bps: float
    delay_s: float | None = None
    buffer_bytes: int | None = None


class GraphPart(Part):
    """A graph of one's own."""

    kind: Literal["graph"]
    nodes: list[NodePart]
    links: list[LinkPart]

    def build(self) -> Graph:
        """Return the graph."""
        graph: Graph = nx.DiGraph()
        for node in self.nodes:
            if node.name in graph:
                msg = f"nodes: {node.name} comes twice"
                raise ValueError(msg)
            servers = {} if node.operations_per_s is None else {
                "operations_per_s": node.operations_per_s, "num_servers": node.num_servers,
            }  # fmt: skip
            add_node(graph, node.name, node.kind, node.position_m, **servers)
        for link in self.links:
            for end in (link.a, link.b):
                if end not in graph:
                    msg = f"links: {link.a} - {link.b}: there is no node {end!r}"
                    raise ValueError(msg)
            add_link(
                graph, link.a, link.b, rate_bps=link.rate_bps, delay_s=link.delay_s, buffer_bytes=link.buffer_bytes
            )
        check_graph(graph)
        return graph


class RatioPart(Part):
    """A share of a resource: dedicated <= min <= max."""

    dedicated: float = 0.0
    min: float = 0.0
    max: float = 1.0

    def build(self) -> ResourceRatio:
        """Return the share."""
        return ResourceRatio(dedicated=self.dedicated, min=self.min, max=self.max)


class SlicePart(Part):
    """A slice."""

    name: str
    sst: int
    sd: int | None = None
    delay_s: float | None = None
    delay_quantile: float = 0.99
    rate_bps: float | None = None
    loss: float | None = None
    radio: RatioPart = RatioPart()
    transport: RatioPart = RatioPart()
    compute: RatioPart = RatioPart()
    weight: float = 1.0
    priority: int = 10

    def build(self) -> Slice:
        """Return the slice."""
        return Slice(
            name=self.name, snssai=SNssai(self.sst, self.sd), weight=self.weight, priority=self.priority,
            level=ServiceLevel(
                delay_s=self.delay_s, delay_quantile=self.delay_quantile, rate_bps=self.rate_bps, loss=self.loss
            ),
            radio=self.radio.build(), transport=self.transport.build(), compute=self.compute.build(),
        )  # fmt: skip


@cache
def scenario_model() -> type[Part]:
    """Return the pydantic model of a scenario file."""
    sizes = {SizeLaw: family(SIZE_LAWS)}
    laws = tuple(model for model in TRAFFIC_MODELS if model is not TrafficTrace)
    radio_words = {RateMapping: family(RATE_MAPPINGS), UserScheduler: family(USER_SCHEDULERS), Fading: family(FADINGS)}
    traffic: Any = family(laws, families=sizes)
    speech: Any = family(laws, families=sizes, without=("slice", "source", "sink", "label", "name"))
    group = create_model(
        "UserGroup", __base__=Part, __doc__="Users of a slice that speak alike.",
        slice=(str, ...), count=(int, Field(gt=0)), traffic=(speech, ...), sink=(str, ""), together=(bool, False),
    )  # fmt: skip
    radio = create_model(
        "Radio", __base__=Part, __doc__="Cells at the gNBs, and their users.",
        users=(list[group], Field(min_length=1)),  # type: ignore[valid-type]
        fidelity=(Literal["slot", "flow"], "slot"),
        radius_m=(float, Field(250.0, gt=0)),
        tick_s=(float, Field(1e-3, gt=0)),
        measure_every_s=(float, Field(0.1, gt=0)),
        load=(float, Field(1.0, ge=0, le=1)),
        link_budget=(model_of(LinkBudget, tagged=False), None),
        slots=(model_of(SlotRadio, families=radio_words, tagged=False), None),
        mobility=(family(MOVERS, families={Area: family(AREAS)}), None),
        handover=(model_of(A3, tagged=False), None),
    )  # fmt: skip
    planner = model_of(Planner, families={Plan: family(PLANS)}, tagged=False)
    builders = family(TOPOLOGIES, extra=(GraphPart,))
    return create_model(
        "NetworkScenario", __base__=Part, __doc__="A network, what lives on it, and for how long.",
        name=(str, "network"),
        seed=(int, Field(0, ge=0)),
        until_s=(float, Field(gt=0)),
        report_s=(float, Field(1.0, gt=0)),
        segment_bytes=(int, Field(65_536, gt=0)),
        keep_records=(int, Field(0, ge=0)),
        spans=(bool, False),
        topology=(builders, ...),
        slices=(list[SlicePart], Field(min_length=1)),
        scheduler=(family(SCHEDULERS), None),
        traffic=(list[traffic], []),
        failures=(list[family(FAILURES)], []),  # type: ignore[misc]
        planner=(planner, None),
        radio=(radio, None),
    )  # fmt: skip


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors and for other tools."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **scenario_model().model_json_schema()}


class NetworkScenario:
    """A scenario file, checked: `build` makes its network, `run` lives it.

    Args:
        lines: The file.

    Raises:
        ScenarioError: Something in it is wrong; the message names line, field and reason of each thing.

    Examples:
        >>> scenario = NetworkScenario.from_text('''
        ... until_s: 1.0
        ... topology: {kind: metro, num_gnbs: 3}
        ... slices: [{name: embb, sst: 1}]
        ... traffic: [{kind: poisson, slice: embb, source: gnb-1, sink: cloud, rate_per_s: 100.0, num_bytes: 1500}]
        ... ''')
        >>> bool(scenario.run().slices["delivered_flows"].sum() > 50)
        True
    """

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        try:
            text = json.dumps(lines.data)
        except (TypeError, ValueError) as error:
            msg = f"{lines.name}: has a value that is neither number, text, list nor mapping: {error}"
            raise ScenarioError(msg) from None
        try:
            self.data: Any = scenario_model().model_validate_json(text)
        except ValidationError as error:
            raise ScenarioError("\n".join(lines.complaint(place, reason) for place, reason in reasons(error))) from None
        self.build()

    @classmethod
    def load(cls, path: str | Path) -> "NetworkScenario":
        """Read a YAML file."""
        return cls(Lines.of_file(Path(path)))

    @classmethod
    def from_text(cls, text: str, name: str = "scenario") -> "NetworkScenario":
        """Read a YAML text."""
        return cls(Lines(text, name))

    def _told(self, place: tuple[str | int, ...], make: Callable[[], Any]) -> Any:
        """Return what `make` makes; what it refuses is said with its line."""
        try:
            return make()
        except ScenarioError:
            raise
        except (ValueError, TypeError) as error:
            raise ScenarioError(self._lines.complaint(place, str(error))) from None

    def build(self, *, trace: Trace | None = None) -> Network:
        """Return the network at time 0.

        Raises:
            ScenarioError: Its parts do not fit together.
        """
        data = self.data
        graph = self._told(("topology",), data.topology.build)
        slices = tuple(self._told(("slices", i), part.build) for i, part in enumerate(data.slices))
        self._told(("slices",), lambda: check_slices(slices))
        network = self._told(
            (),
            lambda: Network(
                graph, slices, scheduler=None if data.scheduler is None else data.scheduler.build(), seed=data.seed,
                segment_bytes=data.segment_bytes, report_s=data.report_s, keep_records=data.keep_records,
                spans=data.spans, trace=trace,
            ),
        )  # fmt: skip
        if data.radio is not None:
            self._told(("radio",), lambda: network.add(self._cells(network)))
        for i, part in enumerate(data.traffic):
            self._place(network, part, ("traffic", i))
        for i, part in enumerate(data.failures):
            self._told(("failures", i, "element"), lambda part=part: network.check_element(part.element))
            self._told(("failures", i), lambda part=part: network.add(part.build()))
        if data.planner is not None:
            self._told(("planner",), lambda: network.add(data.planner.build()))
        return network

    def _place(self, network: Network, part: Any, place: tuple[str | int, ...]) -> None:
        self._told((*place, "slice"), lambda: network.slice_index(part.slice))
        for end in ("source", "sink"):
            self._told((*place, end), lambda end=end: network.check_node(getattr(part, end)))
        self._told(place, lambda: network.add(part.build()))

    def _cells(self, network: Network) -> Cells:
        radio, seed = self.data.radio, self.data.seed
        nodes = tuple(node for node, kind in network.graph.nodes.items() if kind["kind"] == "gnb")
        if not nodes:
            msg = "the topology has no gNB for a cell to stand at"
            raise ValueError(msg)
        cells_m = np.array([network.graph.nodes[node]["position_m"] for node in nodes])
        demands, of_slice = [], []
        for i, group in enumerate(radio.users):
            place = ("radio", "users", i)
            of_slice += [
                self._told((*place, "slice"), lambda group=group: network.slice_index(group.slice))
            ] * group.count
            if group.sink:
                self._told((*place, "sink"), lambda group=group: network.check_node(group.sink))
            law: TrafficModel = self._told((*place, "traffic"), group.traffic.build)
            demands.append(Demand(slice=group.slice, model=law, sink=group.sink, together=group.together))
        rng = stream(seed, "places of users")
        home = rng.integers(len(nodes), size=len(of_slice))
        users_m = cells_m[home] + Disc(radius_m=radio.radius_m).place(rng, len(of_slice))
        budget = LinkBudget() if radio.link_budget is None else radio.link_budget.build()
        slots = SlotRadio() if radio.slots is None else radio.slots.build()
        mobility = Static() if radio.mobility is None else radio.mobility.build()
        by_flow = radio.fidelity == "flow"
        movement = Movement(
            mobility, budget, users_m, cells_m, rule=A3() if radio.handover is None else radio.handover.build(),
            every_s=radio.measure_every_s, load=radio.load, rate=slots.rate if by_flow else None, seed=seed,
        )  # fmt: skip
        access = (
            FlowAccess(
                network.slices, num_cells=len(nodes), cells=movement.cells, user_slices=of_slice, rates_bps=movement.mean
            )
            if by_flow
            else SlotAccess(
                slots, network.slices, cells=movement.cells, user_slices=of_slice, mean_snr=movement.mean,
                num_cells=len(nodes), seed=seed,
            )
        )  # fmt: skip
        return Cells(access, nodes, demands, tick_s=radio.tick_s, movement=movement)

    def run(self, folder: str | Path | None = None, *, trace: bool = False) -> Run:
        """Build the network, live it, and save its tables (and its trace) in `folder` if there is one."""
        written = Trace(Path(folder) / "trace.json") if trace and folder is not None else None
        if folder is not None:
            Path(folder).mkdir(parents=True, exist_ok=True)
        network = self.build(trace=written)
        run = network.run(self.data.until_s)
        network.check()
        if written is not None:
            written.close()
        if folder is not None:
            run.save(folder)
        return run
