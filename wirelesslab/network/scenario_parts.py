"""The words of a scenario file: every family of the wing, by the names of its members in snake case."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import networkx as nx
from pydantic import Field, create_model

from wirelesslab.network import topology
from wirelesslab.network.agents.agent import Agent, Seen
from wirelesslab.network.agents.mandate import Mandate
from wirelesslab.network.agents.plans import PLANS, Plan
from wirelesslab.network.agents.policy import Policy
from wirelesslab.network.agents.rules import POLICIES
from wirelesslab.network.areas import AREAS, Area
from wirelesslab.network.contention import CONTENTIONS
from wirelesslab.network.fading import FADINGS, Fading
from wirelesslab.network.failures import FAILURES
from wirelesslab.network.handover import A3
from wirelesslab.network.mobility import MOBILITY_MODELS, Mobility, MobilityTrace
from wirelesslab.network.packet_sizes import SIZE_LAWS, SizeLaw
from wirelesslab.network.planning import Planner
from wirelesslab.network.radio import RATE_MAPPINGS, LinkBudget, RateMapping
from wirelesslab.network.scenario_models import Part, family, model_of
from wirelesslab.network.schedulers import SCHEDULERS
from wirelesslab.network.slices import ResourceRatio, ServiceLevel, Slice, SNssai
from wirelesslab.network.slots import SlotRadio
from wirelesslab.network.topology import Graph, add_link, add_node, check_graph
from wirelesslab.network.traffic import TRAFFIC_MODELS
from wirelesslab.network.twins.infrastructure import ATTRIBUTES, DigitalTwin
from wirelesslab.network.user_schedulers import USER_SCHEDULERS, UserScheduler

TOPOLOGIES: tuple[Callable[..., Graph], ...] = (
    topology.hex_cells,
    topology.metro,
    topology.line,
)
# Recorded positions do not go into a scenario file: they would have to say where the users begin.
MOVERS: tuple[type[Mobility], ...] = tuple(model for model in MOBILITY_MODELS if model is not MobilityTrace)


class NodePart(Part):
    """A node of a hand-made graph."""

    name: str
    kind: Literal["device", "gnb", "edge", "core", "cloud"]
    position_m: tuple[float, float] = (0.0, 0.0)
    operations_per_s: float | None = None
    num_servers: int = 1
    buffer_jobs: int | None = None


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
            servers: dict[str, Any] = {} if node.operations_per_s is None else {
                "operations_per_s": node.operations_per_s, "num_servers": node.num_servers,
                "buffer_jobs": node.buffer_jobs,
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


class TwinPart(Part):
    """A twin of the infrastructure, or of the nodes in its scope; with a slice its messages are traffic in it."""

    name: str = ""
    at: str = ""
    period_s: float = 0.1
    delay_s: float = 0.0
    slice: str = ""
    scope: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ATTRIBUTES
    window_s: float = 1.0

    def build(self) -> DigitalTwin:
        """Return the twin."""
        return DigitalTwin(
            self.period_s, self.delay_s, slice=self.slice, at=self.at, scope=self.scope, attributes=self.attributes,
            window_s=self.window_s, name=self.name,
        )  # fmt: skip


@cache
def scenario_model() -> type[Part]:
    """Return the pydantic model of a scenario file."""
    words = {SizeLaw: family(SIZE_LAWS), Slice | str: str}
    radio_words = {
        RateMapping: family(RATE_MAPPINGS), UserScheduler: family(USER_SCHEDULERS, suffix="OfUsers"),
        Fading: family(FADINGS),
    }  # fmt: skip
    traffic: Any = family(TRAFFIC_MODELS, families=words, needed=("slice", "source", "sink"))
    speech: Any = family(
        TRAFFIC_MODELS, families=words, without=("slice", "source", "sink", "label", "name"), suffix="OfUser"
    )
    group: Any = create_model(
        "UserGroup", __base__=Part, __doc__="Users of a slice that speak alike.",
        slice=(str, ...), count=(int, Field(gt=0)), traffic=(speech, ...), sink=(str, ""), together=(bool, False),
    )  # fmt: skip
    grant_free: Any = create_model(
        "GrantFree", __base__=Part, __doc__="Slotted contention: who is not heard tries again later.",
        contention=(family(CONTENTIONS, without=("losers_wait",)), ...),
        slot_s=(float, Field(1e-3, gt=0)),
        back_off_slots=(int, Field(20, gt=0)),
        max_attempts=(int | None, Field(None, gt=0)),
    )  # fmt: skip
    fidelity: Any = Literal["slot", "flow", "active_set"]
    budget: Any = model_of(LinkBudget, tagged=False)
    slots: Any = model_of(SlotRadio, families=radio_words, tagged=False)
    rule: Any = model_of(A3, tagged=False)
    failure: Any = family(FAILURES)
    radio: Any = create_model(
        "Radio", __base__=Part, __doc__="Cells at the gNBs, and their users.",
        users=(list[group], Field(min_length=1)),
        fidelity=(fidelity, "slot"),
        radius_m=(float, Field(250.0, gt=0)),
        tick_s=(float, Field(1e-3, gt=0)),
        measure_every_s=(float, Field(0.1, gt=0)),
        load=(float, Field(1.0, ge=0, le=1)),
        link_budget=(budget | None, None),
        slots=(slots | None, None),
        grant_free=(grant_free | None, None),
        mobility=(family(MOVERS, families={Area: family(AREAS)}) | None, None),
        handover=(rule | None, None),
    )  # fmt: skip
    plan = family(PLANS, protocol=Plan)
    planner: Any = model_of(Planner, families={Plan: plan, Seen | str | None: str | None}, tagged=False)
    shares = model_of(ResourceRatio, tagged=False)
    agent_words = {
        Policy | Plan: family(POLICIES, families={Plan: plan, ResourceRatio: shares}),
        Mandate: model_of(Mandate, tagged=False), Seen | str | None: str | None,
    }  # fmt: skip
    agent: Any = model_of(Agent, families=agent_words, tagged=False)
    builders: Any = family(TOPOLOGIES, extra=(GraphPart,))
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
        scheduler=(family(SCHEDULERS) | None, None),
        traffic=(list[traffic], []),
        failures=(list[failure], []),
        planner=(planner | None, None),
        twins=(list[TwinPart], []),
        agents=(list[agent], []),
        radio=(radio | None, None),
    )  # fmt: skip


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema of a scenario file, for editors and for other tools."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **scenario_model().model_json_schema()}


def schema_text() -> str:
    """Return the JSON Schema as text: what docs/scenarios/schema.json holds."""
    return json.dumps(json_schema(), indent=2, allow_nan=False) + "\n"
