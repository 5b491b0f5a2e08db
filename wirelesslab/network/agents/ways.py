"""How long control takes on its way: from what is seen to who decides, and from there to what is changed.

Control messages take the propagation time of the best way in service, and no share of any link: our choice, for
they are small beside what they control. What a twin's messages cost is the twin's to pay, in a slice.
"""

from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING

from wirelesslab.network.view import Action, SetRatios, SetUp, Wish

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


def check_place(network: "Network", at: str) -> None:
    """Refuse a place from which an agent cannot reach the whole network.

    Raises:
        ValueError: There is no such node, or some node in service cannot reach it.
    """
    if not at:
        return
    network.check_node(at)
    if network.routes.down_nodes or network.routes.down_links:
        return  # cut off for a while, perhaps; the agent records it
    if max(network.routes.round_trip_s(node, at) for node in network.graph) == inf:
        msg = f"at: {at} cannot be reached from every node; put the agent where all can tell it what they see"
        raise ValueError(msg)


def way_there_s(network: "Network", source: str | None, at: str) -> float:
    """Return the time from where something is seen to an agent's node.

    Args:
        network: It.
        source: A node; None is the farthest that is in reach, "" is beside the network, where nothing takes time.
        at: The agent's node; "" is beside the network.

    Returns:
        Seconds; inf if there is no way.
    """
    if not at or source == "":
        return 0.0
    if source is not None:
        return network.routes.cost(source, at)
    return _farthest(network.routes.cost(node, at) for node in network.graph)


def way_back_s(network: "Network", at: str, wish: Action) -> float:
    """Return the time from an agent's node to the node whose link or server an action changes, or to the farthest."""
    if not at or isinstance(wish, Wish):
        return 0.0
    element = wish.element if isinstance(wish, SetRatios | SetUp) else ""
    node = element.partition("->")[0]
    # all of a domain; or what does not exist, which the network refuses; or a failed node, which is told another way
    if node not in network.graph or node in network.routes.down_nodes:
        return _farthest(network.routes.cost(at, node) for node in network.graph)
    return network.routes.cost(at, node)


def longest_way_s(network: "Network", at: str) -> float:
    """Return the time from a node to the farthest one and back, halved."""
    whole = SetRatios(domain="transport", ratios={})
    return (way_there_s(network, None, at) + way_back_s(network, at, whole)) / 2


def _farthest(ways_s: Iterable[float]) -> float:
    return max((way_s for way_s in ways_s if way_s < inf), default=inf)
