"""A learning job's rounds as flows of a network: what the task reckons by a formula, played out message by message."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import networkx as nx

from wirelesslab import check
from wirelesslab.network.flows import Flow
from wirelesslab.network.slices import Slice, SNssai
from wirelesslab.network.tasks.ai_slice_job import LearningJob, World
from wirelesslab.network.topology import Graph, add_node, check_graph

if TYPE_CHECKING:
    from wirelesslab.network.flows import FlowRecord
    from wirelesslab.network.simulation import Network

AI_SLICE = Slice(name="ai", snssai=SNssai(128))


def star_of(world: World) -> Graph:
    """Return a world of one period as a graph: clients, edge nodes, and a way of its own between any two of them."""
    graph = nx.DiGraph()
    clients, edges = world.up_bps.shape
    for client in range(clients):
        speed = float(world.client_operations_per_s[client])
        add_node(graph, f"client-{client}", "device", (float(client), 0.0), operations_per_s=speed)
    for edge in range(edges):
        speed = float(world.edge_operations_per_s[edge])
        add_node(graph, f"edge-{edge}", "edge", (float(edge), 1.0), operations_per_s=speed)
    for client in range(clients):
        for edge in range(edges):
            delay_s = float(world.propagation_s[edge])
            for tail, head, rates in (("client", "edge", world.up_bps), ("edge", "client", world.down_bps)):
                ends = {"client": f"client-{client}", "edge": f"edge-{edge}"}
                rate = float(rates[client, edge])
                graph.add_edge(ends[tail], ends[head], rate_bps=rate, delay_s=delay_s, buffer_bytes=None)
    check_graph(graph)
    return graph


class Rounds:
    """Rounds of a learning job, one after the other, all by one choice; an actor on `star_of`.

    Args:
        job: The job.
        choice: Places of batch, coder and edge node.
        rounds: How many.
        clients: How many.
        name: Its name as an actor.
    """

    def __init__(
        self, job: LearningJob, choice: tuple[int, int, int], rounds: int, clients: int, *, name: str = "rounds"
    ) -> None:
        check.positive_integer(rounds=rounds, clients=clients)
        batch, coder, edge = choice
        self.job, self.rounds, self.clients, self.name = job, rounds, clients, name
        self.choice, self.batch, self.coder = choice, job.batches[batch], job.coders[coder]
        self.edge = f"edge-{edge}"
        self.rounds_s: list[float] = []  # how long each round took that is over
        self.sent_bytes = 0
        self._waits_for, self._began_s = 0, 0.0

    def join(self, network: "Network") -> None:
        """Begin the first round; called by `Network.add`."""
        self._begin(network)

    def state(self) -> dict[str, Any]:
        """Return all that changes; the network copies it."""
        return {
            "rounds_s": self.rounds_s, "sent_bytes": self.sent_bytes, "waits_for": self._waits_for,
            "began_s": self._began_s,
        }  # fmt: skip

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "Rounds":
        """Return these rounds as they were when `state` was copied, in another network."""
        del network
        other = Rounds(self.job, self.choice, self.rounds, self.clients, name=self.name)
        other.rounds_s, other.sent_bytes = state["rounds_s"], state["sent_bytes"]
        other._waits_for, other._began_s = state["waits_for"], state["began_s"]
        return other

    def _send(self, network: "Network", source: str, sink: str, label: str, num_bytes: int, operations: float) -> None:
        if source != sink:
            self.sent_bytes += num_bytes
        network.send(
            Flow(
                slice=AI_SLICE.name, num_bytes=num_bytes, source=source, sink=sink, operations=operations, label=label,
                receiver=self.name,
            )
        )  # fmt: skip

    def _begin(self, network: "Network") -> None:
        self._waits_for, self._began_s = self.clients, network.now_s
        operations = self.batch / self.clients * self.job.operations_per_sample
        for client in range(self.clients):  # a job is a flow from a node to itself
            self._send(network, f"client-{client}", f"client-{client}", "gradient", 1, operations)

    def receive(self, network: "Network", record: "FlowRecord") -> None:
        """Go on where a message or a job has ended; called by the network."""
        up, down = self.job.message_bytes(self.coder)
        label, place = record.flow.label, record.flow.sink
        if label == "gradient":
            self._send(network, place, self.edge, "up", up, 0.0)
        elif label == "up":
            self._waits_for -= 1
            if not self._waits_for:
                values = self.job.num_values * self.clients
                work = self.job.edge_operations_per_sample * self.batch + self.job.edge_operations_per_value * values
                if work:
                    self._send(network, self.edge, self.edge, "server", 1, work)
                else:
                    self._answer(network, down)
        elif label == "server":
            self._answer(network, down)
        else:
            self._waits_for -= 1
            if not self._waits_for:
                self.rounds_s.append(network.now_s - self._began_s)
                if len(self.rounds_s) < self.rounds:
                    self._begin(network)

    def _answer(self, network: "Network", down: int) -> None:
        self._waits_for = self.clients
        for client in range(self.clients):
            self._send(network, self.edge, f"client-{client}", "down", down, 0.0)
