"""Small networks with an inference service, for its tests."""

import networkx as nx
import numpy as np

from wirelesslab.network import EMBB, URLLC, Network, Poisson
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_images import EncodedImages
from wirelesslab.services.inference_models import ServedModel

SPEED = 1e9
UP_BPS, DELAY_S = 1e6, 2e-3


def cell(clients: int = 1, *, up_bps: float = UP_BPS, hub: bool = False, delay_s: float = DELAY_S, servers: int = 1):
    """Devices on links of their own to an edge, or all behind one gNB whose link they share."""
    graph = nx.DiGraph()
    add_node(graph, "edge-1", "edge", (0.0, 0.0), operations_per_s=SPEED, num_servers=servers)
    for client in range(1 if hub else clients):
        name = "gnb-1" if hub else f"device-{client}"
        add_node(graph, name, "gnb" if hub else "device", (1.0, float(client)))
        add_link(graph, name, "edge-1", rate_bps=up_bps, delay_s=delay_s)
    return graph, ["gnb-1"] * clients if hub else [f"device-{client}" for client in range(clients)]


def sized(*sizes: int) -> EncodedImages:
    """Images that only stand for some of these lengths, with their header."""
    return EncodedImages(tuple(b"x" * (size - 16) for size in sizes))


def model(images: EncodedImages, compute_s: float = 1e-3, *, name: str = "dense", right=None, accuracy=float("nan")):
    right = np.ones(len(images), bool) if right is None else right
    return ServedModel.of_answers(name, np.zeros(len(images), np.int64), right, compute_s * SPEED, accuracy)


def serve(
    images=None, models=None, *, clients=4, rate_per_s=20.0, until_s=30.0, seed=1, graph=None, network=None, **options
):
    graph, nodes = graph or cell(clients)
    images = images or sized(200, 300, 400)
    network = network or Network(graph, (EMBB, URLLC), seed=seed, keep_records=None)
    options = {"keep_records": None, "slice": EMBB} | options
    traffic = Poisson(rate_per_s=rate_per_s, num_bytes=1) if rate_per_s else None
    service = network.add(
        Inference(models or [model(images)], images, at="edge-1", clients=nodes, traffic=traffic, **options)
    )
    network.run(until_s)
    network.check()
    return service, network
