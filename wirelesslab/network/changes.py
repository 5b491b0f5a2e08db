"""Carrying out what is wished of a network: shares, failures and repairs, slices on and off, rates of twins."""

from typing import TYPE_CHECKING, Protocol, cast

from wirelesslab import check
from wirelesslab.network.flows import Packet
from wirelesslab.network.queues import Station, check_ratios
from wirelesslab.network.routing import Routes
from wirelesslab.network.view import Action, SetActive, SetRatios, SetSync, SetUp

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


class Settable(Protocol):
    """A twin whose sync rates can be set while it runs."""

    def set_rates(self, rates_per_s: tuple[float, ...], /) -> None:
        """Be told of each thing at these rates from now on.

        Raises:
            ValueError: They are not rates, or exceed a budget; nothing has changed.
        """
        ...


def tried(network: "Network", action: Action, by: str) -> str:
    """Do what is wished; return why it was refused, "" if it was done."""
    try:
        carry_out(network, action, by)
    except (ValueError, TypeError) as error:
        return str(error)
    return ""


def carry_out(network: "Network", action: Action, by: str) -> None:
    """Do what is wished; nothing has changed if it is refused.

    Raises:
        ValueError: It names what does not exist, or shares that do not fit.
        TypeError: It is no action.
    """
    if isinstance(action, SetRatios):
        _set_ratios(network, action)
        told, place = network.told.setdefault(by, {}), (action.domain, action.element)
        for other in told if not action.element else ():  # what holds everywhere ends what held somewhere
            if other[0] == action.domain:
                told[other] = {name: ratio for name, ratio in told[other].items() if name not in action.ratios}
        told[place] = {**told.get(place, {}), **action.ratios}
    elif isinstance(action, SetUp):
        _set_up(network, action, by)
    elif isinstance(action, SetActive):
        network.active[network.slice_index(action.slice)] = action.active
    elif isinstance(action, SetSync):
        twin_to_set(network, action.twin).set_rates(action.rates_per_s)
    else:
        msg = f"apply: got {type(action).__name__}, expected SetRatios, SetUp, SetActive or SetSync"
        raise TypeError(msg)


def twin_to_set(network: "Network", name: str) -> Settable:
    """Return the twin of that name, whose sync rates can be set.

    Raises:
        ValueError: There is none.
    """
    twins = [other for other, actor in network.actors.items() if hasattr(actor, "set_rates")]
    if name not in twins:
        msg = f"twin: got {name!r}, expected one whose sync rates can be set, of {sorted(twins)}"
        raise ValueError(msg + check.nearest(name, twins))
    return cast(Settable, network.actors[name])


def _set_ratios(network: "Network", action: SetRatios) -> None:
    for name in action.ratios:
        network.slice_index(name)
    wished = {**network.ratios[action.domain], **action.ratios}
    if action.domain == "radio":
        if action.element:
            msg = f"element: got {action.element!r}, expected '': the shares of the radio hold in every cell"
            raise ValueError(msg)
        check_ratios(tuple(wished[s.name] for s in network.slices), network.slices, 1, action.domain)
        for actor in network.actors.values():
            if hasattr(actor, "set_ratios"):
                actor.set_ratios(wished)
    else:
        stations: list[Station] = [*(network.links if action.domain == "transport" else network.servers).values()]
        chosen = [s for s in stations if action.element in {"", s.name}]
        if not chosen and action.element:
            msg = f"element: got {action.element!r}, expected one of {sorted(s.name for s in stations)}"
            raise ValueError(msg)
        if not action.element:
            check_ratios(tuple(wished[s.name] for s in network.slices), network.slices, 1, action.domain)
        fresh = [
            tuple(
                action.ratios.get(s.name, ratio) for s, ratio in zip(network.slices, station.ratios or (), strict=True)
            )
            for station in chosen
        ]
        for station, ratios in zip(chosen, fresh, strict=True):  # all are asked before one is changed
            check_ratios(ratios, network.slices, station.servers, station.name)
        for station, ratios in zip(chosen, fresh, strict=True):
            station.set_ratios(ratios)
    if not action.element:
        network.ratios[action.domain] = wished


def routes_of(network: "Network") -> Routes:
    """Return the routes over what is in service."""
    down_links = frozenset((a, b) for (a, b), s in network.links.items() if s.name in network.down)
    return Routes(network.graph, frozenset(n for n in network.graph if n in network.down), down_links)


def _set_up(network: "Network", action: SetUp, by: str) -> None:
    """An element is out of service as long as anybody who took it out has not brought it back."""
    network.check_element(action.element)
    holders = network.down.get(action.element, ())
    if action.up:
        if holders and by not in holders:
            msg = f"element: {action.element} is held out of service by {', '.join(holders)}, expected one of them"
            raise ValueError(msg)
        holders = tuple(name for name in holders if name != by)
    elif by not in holders:
        holders = (*holders, by)
    if holders:
        network.down[action.element] = holders
    else:
        network.down.pop(action.element, None)
    network.routes = routes_of(network)
    for (a, b), link in network.links.items():
        serves = network.down.keys().isdisjoint({link.name, a, b})
        if serves != link.up:
            for packet in link.set_up(serves):
                send_another_way(network, packet, a)
    for node, server in network.servers.items():
        if (node not in network.down) != server.up:
            for packet in server.set_up(node not in network.down):
                network.lose(packet, "failed")
    for actor in network.actors.values():
        if action.element in getattr(actor, "cell_nodes", ()):
            actor.set_cell_up(action.element, action.element not in network.down)


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
