"""Workers on links of their own to a server, with other traffic beside them or without: a sim's network."""

from dataclasses import dataclass, field, replace

import networkx as nx

from wirelesslab import check
from wirelesslab.network import EMBB, ExponentialSize, Network, Poisson, ResourceRatio, SetRatios, Slice, SNssai, View
from wirelesslab.network.agents.agent import Agent
from wirelesslab.network.topology import add_link, add_node

TRAINING = Slice(name="training", snssai=SNssai(128))
BACKGROUND_BYTES = 12_500
POLICIES = ("alone", "beside others", "half guaranteed", "agent")


@dataclass
class LendWhenIdle:
    """Guarantees training most of every link while it has something to send, and little otherwise.

    Attributes:
        busy: Share while messages wait.
        idle: Share otherwise.
        reads: What it looks at.
    """

    busy: float = 0.9
    idle: float = 0.1
    reads: tuple[str, ...] = field(default=("queues", "ratios"))

    def act(self, view: View) -> SetRatios | None:
        """Return the share that fits what waits; nothing while it stands already."""
        waiting = sum(station.get(TRAINING.name, 0) for station in view.queues.values())
        share = self.busy if waiting else self.idle
        if view.ratios["transport"][TRAINING.name].min == share:
            return None
        return SetRatios(domain="transport", ratios={TRAINING.name: ResourceRatio(min=share)})


def star(
    workers: int, *, rate_bps: float, latency_s: float, operations_per_s: float, policy: str, background: float,
    seed: int,
) -> Network:  # fmt: skip
    """Return workers "gnb-1", ... on links of their own to "server".

    Args:
        workers: N.
        rate_bps: Each worker's link, each way.
        latency_s: One way.
        operations_per_s: Of every node.
        policy: Of `POLICIES`; all but "alone" have other traffic.
        background: Load of other traffic on each link, each way, as a share.
        seed: Of the network.
    """
    check.one_of(POLICIES, policy=policy)
    graph = nx.DiGraph()
    add_node(graph, "server", "edge", (0.0, 0.0), operations_per_s=operations_per_s)
    for worker in range(workers):
        name = f"gnb-{worker + 1}"
        add_node(graph, name, "gnb", (1e3, 1e3 * worker), operations_per_s=operations_per_s)
        add_link(graph, name, "server", rate_bps=rate_bps, delay_s=latency_s)
    share = ResourceRatio(min=0.5) if policy == "half guaranteed" else ResourceRatio()
    slices, segment_bytes = (replace(TRAINING, transport=share), EMBB), 65_536 if policy == "alone" else 1500
    network = Network(graph, slices, seed=seed, segment_bytes=segment_bytes, report_s=10.0)
    if policy != "alone":
        load = background * rate_bps / (8 * BACKGROUND_BYTES)
        for worker in range(workers):
            for a, b in ((f"gnb-{worker + 1}", "server"), ("server", f"gnb-{worker + 1}")):
                network.add(Poisson(
                    EMBB, source=a, sink=b, rate_per_s=load, num_bytes=ExponentialSize(float(BACKGROUND_BYTES)),
                    name=f"others-{a}-{b}",
                ))  # fmt: skip
    if policy == "agent":
        network.add(Agent(LendWhenIdle(), at="server", every_s=0.01))
    return network
