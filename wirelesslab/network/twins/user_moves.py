"""How twins of users follow them: which are astray, and the flow in which one is copied to another edge."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.flows import Flow, FlowRecord
from wirelesslab.network.routing import Routes
from wirelesslab.network.twins.user_lives import Life, Lives, Migration, UserState

if TYPE_CHECKING:
    import networkx as nx

    from wirelesslab.network.simulation import Network


def homes_of(network: "Network", edges: tuple[str, ...]) -> tuple[str, ...]:
    """Return the nodes where twins may live: these, or all edges of the graph if none are named.

    Raises:
        ValueError: One is not a node or stands there twice, or there is none.
    """
    nodes = network.graph.nodes
    homes = edges or tuple(node for node in nodes if nodes[node]["kind"] == "edge")
    for node in homes:
        network.check_node(node)
    if not homes or len(set(homes)) < len(homes):
        what = f"got {homes}, expected each once" if homes else "the graph has no node of kind edge"
        msg = f"edges: {what}; name the nodes where twins live"
        raise ValueError(msg)
    return homes


def nearest(graph: "nx.DiGraph[str]", cells: Sequence[str], edges: Sequence[str]) -> NDArray[np.int64]:
    """Return the place of the edge that is nearest to each cell, of equals the first, shape (cells,).

    By the routes of the whole graph, whatever is out of service: where a twin belongs must not hang on when it is
    asked, for a network that is built anew from its record asks again.

    Raises:
        ValueError: A cell reaches no edge.
    """
    routes = Routes(graph)
    costs = np.array([[routes.cost(cell, edge) for edge in edges] for cell in cells])
    lost = np.flatnonzero(np.isinf(costs).all(axis=1))
    if lost.size:
        msg = f"edges: {cells[lost[0]]} reaches none of {', '.join(edges)}; name one where its users' twins can live"
        raise ValueError(msg)
    return np.asarray(np.argmin(costs, axis=1))


@dataclass(frozen=True, kw_only=True, eq=False)
class Moves:
    """Where twins belong, and what it takes to get there.

    Attributes:
        edges: Nodes where twins live.
        edge_of_cell: Place in `edges` where the twins of each cell's users belong, shape (cells,).
        slice: Slice in which a twin travels; "" takes no time and is no traffic.
        num_bytes: Size of a twin.
        operations: What the new edge computes before it is live there.
        twins: Name of the actor whose twins they are.
    """

    edges: tuple[str, ...]
    edge_of_cell: NDArray[np.int64] = field(repr=False)
    slice: str
    num_bytes: int
    operations: float
    twins: str

    def astray(self, lives: Lives, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return whose twins are not where they belong: those that are being made, and those that are live.

        Args:
            lives: Where they are.
            cells: Cell of each user, shape (users,).
        """
        away = (self.edge_of_cell[cells] != lives.home) & (lives.home >= 0)
        return np.flatnonzero(away & (lives.life == Life.CREATING)), np.flatnonzero(away & (lives.life == Life.LIVE))

    def move(self, network: "Network", state: UserState, user: int, edge: int, now_s: float) -> None:
        """Stop a live twin and copy it to an edge."""
        lives = state.lives
        if not self.slice:
            lives.stop(user, edge, -1, now_s)
            del lives.moving[-1]
            self._settled(state, user, now_s, now_s, arrived=True)
            return
        lives.stop(user, edge, network.next_number, now_s)
        network.send(
            Flow(
                slice=self.slice, num_bytes=self.num_bytes, source=self.edges[lives.home[user]], sink=self.edges[edge],
                operations=self.operations, label="twin migration", receiver=self.twins,
            )
        )  # fmt: skip

    def settle(self, state: UserState, record: FlowRecord, now_s: float) -> None:
        """Let a twin live where its copy has come to, or where it was if the copy was lost."""
        user, began_s = state.lives.moving.pop(record.number)
        self._settled(state, user, began_s, now_s, arrived=record.delivered)

    def _settled(self, state: UserState, user: int, began_s: float, now_s: float, *, arrived: bool) -> None:
        source, sink = self.edges[state.lives.home[user]], self.edges[state.lives.target[user]]
        state.lives.settle(user, arrived=arrived)
        state.migrations.append(
            Migration(
                user=user, source=source, sink=sink, num_bytes=self.num_bytes, began_s=began_s, ended_s=now_s,
                arrived=arrived,
            )
        )  # fmt: skip
        state.counts["migrations" if arrived else "failed_migrations"] += 1
        state.counts["migrated_bytes"] += self.num_bytes if arrived else 0
