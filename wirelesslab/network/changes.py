"""Carrying out what is wished of a network: shares, failures and repairs, slices switched on and off."""

from typing import TYPE_CHECKING

from wirelesslab.network.flows import Packet
from wirelesslab.network.queues import Station, check_ratios
from wirelesslab.network.routing import Routes
from wirelesslab.network.view import Action, SetActive, SetRatios, SetUp

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


def carry_out(network: "Network", action: Action) -> None:
    """Do what is wished; nothing has changed if it is refused.

    Raises:
        ValueError: It names what does not exist, or shares that do not fit.
        TypeError: It is no action.
    """
    if isinstance(action, SetRatios):
        _set_ratios(network, action)
    elif isinstance(action, SetUp):
        _set_up(network, action)
    elif isinstance(action, SetActive):
        network.active[network.slice_index(action.slice)] = action.active
    else:
        msg = f"apply: got {type(action).__name__}, expected SetRatios, SetUp or SetActive"
        raise TypeError(msg)


def _set_ratios(network: "Network", action: SetRatios) -> None:
    for name in action.ratios:
        network.slice_index(name)
    wished = {**network.ratios[action.domain], **action.ratios}
    ratios = tuple(wished[s.name] for s in network.slices)
    check_ratios(ratios, network.slices, 1, action.domain)
    if action.domain == "radio":
        if action.element:
            msg = f"element: got {action.element!r}, expected '': the shares of the radio hold in every cell"
            raise ValueError(msg)
        for actor in network.actors.values():
            if hasattr(actor, "set_ratios"):
                actor.set_ratios(wished)
    else:
        stations: list[Station] = [*(network.links if action.domain == "transport" else network.servers).values()]
        chosen = [s for s in stations if action.element in {"", s.name}]
        if not chosen:
            msg = f"element: got {action.element!r}, expected one of {sorted(s.name for s in stations)}"
            raise ValueError(msg)
        for station in chosen:  # all are asked before one is changed
            check_ratios(ratios, network.slices, station.servers, station.name)
        for station in chosen:
            station.set_ratios(ratios)
    if not action.element:
        network.ratios[action.domain] = wished


def routes_of(network: "Network") -> Routes:
    """Return the routes over what is in service."""
    down_links = frozenset((a, b) for (a, b), s in network.links.items() if s.name in network.down)
    return Routes(network.graph, frozenset(n for n in network.graph if n in network.down), down_links)


def _set_up(network: "Network", action: SetUp) -> None:
    network.check_element(action.element)
    (network.down.discard if action.up else network.down.add)(action.element)
    network.routes = routes_of(network)
    for (a, b), link in network.links.items():
        serves = network.down.isdisjoint({link.name, a, b})
        if serves != link.up:
            for packet in link.set_up(serves):
                send_another_way(network, packet, a)
    for node, server in network.servers.items():
        if (node not in network.down) != server.up:
            for packet in server.set_up(node not in network.down):
                network.lose(packet, "failed")
    for actor in network.actors.values():
        if action.element in getattr(actor, "cell_nodes", ()):
            actor.set_cell_up(action.element, action.up)


def send_another_way(network: "Network", packet: Packet, node: str) -> None:
    """Send a packet that a failed link held, or that comes to one, on from the link's beginning."""
    if packet.way.number not in network.ways:
        return
    route = None if node in network.down else network.routes.path(node, packet.way.flow.sink)
    if route is None:
        network.lose(packet, "no route")
    else:
        packet.route, packet.hop = route, 0
        network.forward(packet)
