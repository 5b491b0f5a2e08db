"""A cell whose clients let models come or ask the edge, and what a session there comes to: a sim's network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import networkx as nx
import numpy as np
from wirelesslab_sims._models_to_travel import Trained

from wirelesslab.network import Network, Poisson, Slice, SNssai
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services import (
    AlwaysDevice,
    AlwaysEdge,
    BestInTime,
    Delivery,
    EncodedImages,
    Inference,
    RequestTime,
)
from wirelesslab.services.inference_policies import Placement
from wirelesslab.services.inference_records import SPANS
from wirelesslab.stats import batch_means

REQUESTS = Slice(name="requests", snssai=SNssai(128), weight=4.0)
MODELS = Slice(name="models", snssai=SNssai(129), weight=1.0)
CELL, EDGE, CLOUD = "gnb-1", "edge-1", "cloud"
CHECK_LOAD = 0.7  # of the uplink, where the mean delay is held against theory
EITHER = "edge or device"


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Clients of a cell, their devices and their edge.

    Attributes:
        clients: In the cell.
        rate_per_s: Requests per second of each client.
        deadline_s: How long an answer is of use.
        session_s: How long clients ask; nobody has a model when it begins.
        device_operations_per_s: Of each client's device.
        edge_operations_per_s: Of the edge node, what this cell gets of it.
    """

    clients: int
    rate_per_s: float
    deadline_s: float
    session_s: float
    device_operations_per_s: float
    edge_operations_per_s: float


def network_of(cell: Cell, rate_bps: float, seed: int, segment_bytes: int = 15_000) -> Network:
    """Return clients' cell, an edge node with a cache, and the cloud, from which models come."""
    graph = nx.DiGraph()
    add_node(graph, CELL, "gnb", (0.0, 0.0))
    add_node(graph, EDGE, "edge", (1e3, 0.0), operations_per_s=cell.edge_operations_per_s)
    add_node(graph, CLOUD, "cloud", (2e5, 0.0))
    add_link(graph, CELL, EDGE, rate_bps=rate_bps, delay_s=2e-3)
    add_link(graph, EDGE, CLOUD, rate_bps=1e9, delay_s=1e-2)
    return Network(graph, (REQUESTS, MODELS), seed=seed, segment_bytes=segment_bytes, report_s=60.0)


def service(
    cell: Cell, images: EncodedImages, models: Sequence[Trained], policy: Placement, **options: Any
) -> Inference:
    """Return the cell's service."""
    return Inference(
        [model.served for model in models], images, at=EDGE, clients=[CELL] * cell.clients, slice=REQUESTS,
        policy=policy, **options,
    )  # fmt: skip


def delivery(cell: Cell, models: Sequence[Trained]) -> Delivery:
    """Return the delivery of models to all clients, who ask for the first at once."""
    return Delivery(
        [model.release for model in models], origin=CLOUD, clients=[CELL] * cell.clients, slice=MODELS,
        caches={EDGE: 8_000_000}, chunk_bytes=15_000, starts_s=np.zeros(cell.clients),
    )  # fmt: skip


def first_answers(cell: Cell, images: EncodedImages, model: Trained, rate_bps: float, seed: int) -> list[float]:
    """Let all clients ask for a model and for an answer at once.

    Returns:
        Mean seconds of downloads, of first answers on devices and at the edge, and bytes that links have carried
        beyond the file's length and its manifest's: must be 0.
    """
    network = network_of(cell, rate_bps, seed)
    models = network.add(delivery(cell, [model]))
    devices = network.add(
        service(cell, images, [model], AlwaysDevice(), delivery=models.name, deadline_s=None,
                device_operations_per_s=cell.device_operations_per_s)
    )  # fmt: skip
    for client in range(cell.clients):
        devices.ask(client)
    while devices.sums.answered < cell.clients:
        network.run(network.now_s + 10.0)
    network.check()
    each = model.num_bytes + models.downloads[0].manifest_bytes
    carried = [int(network.stations[link].account().served_bytes.sum()) for link in ("cloud->edge-1", "edge-1->gnb-1")]
    beyond = abs(carried[0] - each) + abs(carried[1] - cell.clients * each)
    other = network_of(cell, rate_bps, seed)
    edge = other.add(service(cell, images, [model], AlwaysEdge()))
    for client in range(cell.clients):
        edge.ask(client)
    while edge.sums.answered < cell.clients:
        other.run(other.now_s + 10.0)
    return [
        float(np.mean([d.delay_s for d in models.downloads])), devices.sums.delays.mean, edge.sums.delays.mean,
        float(beyond),
    ]  # fmt: skip


def session(
    cell: Cell, images: EncodedImages, models: Sequence[Trained], way: str, rate_bps: float, seed: int
) -> Mapping[str, Any]:
    """Let clients ask for a while, from the moment at which devices begin to get their model."""
    # where answers travel beside models, in short segments: an answer waits for no more than one of them
    network = network_of(cell, rate_bps, seed, 1500 if way == EITHER else 15_000)
    where, _, name = way.partition(", ")
    policy: Placement = {"edge": AlwaysEdge(name), "device": AlwaysDevice(name)}.get(where, BestInTime())
    options: dict[str, Any] = {}
    if where != "edge":
        wanted = [m for m in models if m.served.name == name] or [min(models, key=lambda m: m.num_bytes)]
        network.add(delivery(cell, wanted))
        options = {"delivery": "delivery", "device_operations_per_s": cell.device_operations_per_s}
    answers = network.add(
        service(cell, images, models, policy, deadline_s=cell.deadline_s, until_s=cell.session_s,
                traffic=Poisson(rate_per_s=cell.rate_per_s, num_bytes=1), keep_records=None, **options)
    )  # fmt: skip
    network.run(cell.session_s + 1.0)
    network.check()
    sums = answers.sums
    gap = max((abs(sum(r.life.exact_spans().values()) - r.life.exact_delay) for r in answers.requests), default=0)
    carried = sum(network.stations[link].account().served_bytes.sum() for link in ("gnb-1->edge-1", "edge-1->gnb-1"))
    return {
        "right_in_time": sums.right_in_time / max(sums.asked, 1),
        "delay_s": sums.delays.mean if sums.answered else np.nan,
        "spans_s": sums.span_seconds / sums.answered if sums.answered else np.full(len(SPANS), np.nan),
        "megabytes": float(carried) / 1e6, "on_device": 1 - sums.at_edge / max(sums.asked, 1), "gap_s": float(gap),
    }  # fmt: skip


def fastest(cell: Cell, images: EncodedImages) -> float:
    """Return the most requests per second that the uplink brings one after another where theory is checked."""
    return float(cell.clients * cell.rate_per_s / CHECK_LOAD * images.sizes.mean() / images.sizes.min())


def against_theory(
    cell: Cell, images: EncodedImages, model: Trained, slowest: float, requests: int, seed: int
) -> tuple[float, float, float]:
    """Return the mean delay under Poisson load, its standard error by batch means, and its closed form.

    Args:
        cell: Whose clients ask; how fast the link and the edge are follows from the load.
        images: What they ask about.
        model: What answers.
        slowest: Operations of the largest model that is held against theory.
        requests: How many there are, about.
        seed: Of the arrivals.
    """
    # so fast an edge that requests never come to it faster than it answers: then the sum of parts is exact
    cell = replace(cell, edge_operations_per_s=1.2 * slowest * fastest(cell, images))
    total, sizes = cell.clients * cell.rate_per_s, images.sizes
    rate_bps = float(8 * sizes.mean() * total / CHECK_LOAD)
    network = network_of(cell, rate_bps, seed)
    edge = network.add(
        service(cell, images, [model], AlwaysEdge(), traffic=Poisson(rate_per_s=cell.rate_per_s, num_bytes=1),
                keep_records=None)
    )  # fmt: skip
    network.run(requests / total)
    network.check()
    delays = [r.delay_s for r in sorted(edge.requests, key=lambda r: r.number)]
    expected = RequestTime(
        rate_per_s=total, uplink_s=tuple(8 * sizes / rate_bps), propagation_s=4e-3,
        compute_s=model.served.compute_s(1, cell.edge_operations_per_s),
        downlink_s=8 * int(model.served.answer_bytes[0]) / rate_bps,
    )  # fmt: skip
    return (*batch_means(delays[len(delays) // 20 :], 20), expected.mean_s)
