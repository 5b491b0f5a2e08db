"""Who lives on a network: what is asked of them, under which name, and who of them serves a user."""

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import simpy

from wirelesslab.network.flows import Flow

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

Story = Generator[simpy.Event, Any, Any]


class Actor(Protocol):
    """Whatever lives on a network: a source, a service, a twin, an agent, a plan of failures.

    It may have a `name`; otherwise the network gives it one. One that sends a flow every second::

        @dataclass(frozen=True)
        class Heartbeat:
            def run(self, network):
                beat = network.record(network.name_of(self), lambda: {"next_s": network.now_s + 1})
                while True:
                    yield network.until(beat["next_s"])
                    network.send(Flow(slice="urllc", num_bytes=100, source="gnb-1", sink="edge-1"))
                    beat["next_s"] += 1
    `run` sleeps by ``yield network.until(time_s)`` and keeps what it knows in ``network.record(...)``: begun
    anew from that record it must go on where it was, for that is how a network is copied.
    """

    def run(self, network: "Network", /) -> Story:
        """Live."""
        ...


def name_for(network: "Network", actor: Any) -> str:
    """Return the name under which an actor can live on a network: its own, or one from its class.

    Raises:
        ValueError: It is here already or in another network, or its name is taken.
        TypeError: It has neither `run` nor `join`.
    """
    if not hasattr(actor, "run") and not hasattr(actor, "join"):
        msg = f"add: got {type(actor).__name__}, expected an actor with a method run(network)"
        raise TypeError(msg)
    if any(actor is other for other in network.actors.values()):
        msg = f"add: {network.name_of(actor)} lives here already; build another one, with a name of its own"
        raise ValueError(msg)
    home = getattr(actor, "_network", None)
    if isinstance(home, type(network)) and any(actor is other for other in home.actors.values()):
        msg = f"add: {home.name_of(actor)} lives in another network already; build another one for this network"
        raise ValueError(msg)
    name = getattr(actor, "name", "") or _fresh_name(network, type(actor).__name__.lower())
    if name in network.actors or name == network.name or name in network.stations:
        msg = f"name: got {name!r}, which is taken; taken are {sorted([network.name, *network.actors])}"
        raise ValueError(msg)
    return str(name)


def _fresh_name(network: "Network", kind: str) -> str:
    number = 1
    while f"{kind}-{number}" in network.actors:
        number += 1
    return f"{kind}-{number}"


def check_ends(network: "Network", flow: Flow) -> None:
    """Refuse a flow that could not end, before it begins.

    Raises:
        ValueError: Its sink cannot compute, serve its user or hand it to its receiver, or it was sent in the future.
    """
    if flow.operations and flow.sink not in network.servers:
        msg = f"operations: {flow.sink!r} computes nothing, expected one of {sorted(network.servers)}"
        raise ValueError(msg)
    if flow.user is not None:
        radio_at(network.actors, flow.sink).check_user(flow.user, flow.slice)
    if flow.receiver and not hasattr(network.actors.get(flow.receiver), "receive"):
        msg = f"receiver: got {flow.receiver!r}, expected the name of an actor with a method receive"
        raise ValueError(msg)
    if flow.sent_s is not None and flow.sent_s > network.now_s:
        msg = f"sent_s: got {flow.sent_s}, expected at most now, {network.now_s} s"
        raise ValueError(msg)


def radio_at(actors: Mapping[str, Any], node: str) -> Any:
    """Return the radio that serves users at a node.

    Raises:
        ValueError: None does.
    """
    listens = None  # a radio with an uplink only stands aside, unless there is no other to say no
    for actor in actors.values():
        if node in getattr(actor, "cell_nodes", ()):
            if not getattr(actor, "uplink_only", False):
                return actor
            listens = listens or actor
    if listens is not None:
        return listens
    msg = f"user: no radio serves {node!r}; add a Cells actor with a cell there"
    raise ValueError(msg)


def gauges_of(network: "Network") -> dict[str, float]:
    """Return what actors, and the records that they keep, read off themselves, by "name: gauge"."""
    return {
        f"{name}: {gauge}": float(value)
        for name, kept in (*network.actors.items(), *network.memory.items())  # what an actor keeps may speak for it
        if hasattr(kept, "gauges")
        for gauge, value in kept.gauges().items()
    }
