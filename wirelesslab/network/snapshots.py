"""A network written down, and the hash by which two states are known to be equal."""

from collections import deque
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from hashlib import sha256
from pickle import dumps
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab.network.agenda import Agenda, Due
from wirelesslab.network.changes import routes_of

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

# What of a network changes, beside its stations, its actors and what is due.
CHANGING = (
    "memory", "traffic", "ratios", "active", "down", "next_number", "ways", "book", "actions", "told",
    "flow_records", "promises",
)  # fmt: skip


@dataclass(frozen=True)
class Snapshot:
    """A network written down: from it, `Network.restored` builds one that goes on alike, to the last bit.

    Attributes:
        time_s: When it was written.
        settings: What the network was built with.
        actors: Its actors, by name.
        state: Everything that changes.
    """

    time_s: float
    settings: Mapping[str, Any] = field(repr=False)
    actors: Mapping[str, Any] = field(repr=False)
    state: Mapping[str, Any] = field(repr=False)

    def digest(self) -> str:
        """Return a hash of the whole state: equal states have equal digests."""
        return sha256(dumps(_canonical(self.state))).hexdigest()


def written_state(network: "Network") -> dict[str, Any]:
    """Return a copy of everything in a network that changes.

    Raises:
        RuntimeError: An actor waits for something that cannot be written down.
    """
    state = {
        "next_due": network.agenda.next_number,
        "dues": [tuple(due) for due in network.agenda.written()],
        "stations": {name: station.state() for name, station in network.stations.items()},
        "actors": {name: actor.state() for name, actor in network.actors.items() if hasattr(actor, "state")},
        **{name: getattr(network, name) for name in CHANGING},
    }
    return deepcopy(state)


def take_over(network: "Network", snapshot: Snapshot) -> None:
    """Put a fresh network into the state that was written down."""
    state = deepcopy(dict(snapshot.state))
    network.agenda = Agenda(snapshot.time_s)
    for name, station in network.stations.items():
        station.agenda = network.agenda
        station.set_state(state["stations"][name])
    for name in CHANGING:
        setattr(network, name, state[name])
    network.routes = routes_of(network)
    for name, actor in snapshot.actors.items():
        kept = state["actors"]
        network.actors[name] = actor.restored(network, kept[name]) if name in kept else actor

    def part(name: str) -> Any:
        return network if name == network.name else network.stations.get(name) or network.actors[name]

    dues = [Due(*due) for due in state["dues"]]
    network.agenda.rebuild(dues, state["next_due"], part, lambda name: network.actors[name].run(network))


def _canonical(value: Any) -> Any:
    """Return plain data that pickles alike whenever it is equal: no shared references, no hash order."""
    if isinstance(value, np.ndarray):
        return ("array", str(value.dtype), value.shape, value.tobytes())
    if isinstance(value, np.random.Generator):
        return _canonical(value.bit_generator.state)
    if isinstance(value, Mapping):
        return ("mapping", [(repr(key), _canonical(item)) for key, item in value.items()])
    if isinstance(value, set | frozenset):
        return ("set", sorted(map(repr, value)))
    if isinstance(value, list | tuple | deque):
        return ("sequence", [_canonical(item) for item in value])
    names = getattr(type(value), "__dataclass_fields__", None)
    if names is not None:
        return (type(value).__name__, [(name, _canonical(getattr(value, name))) for name in names])
    if isinstance(value, bool | int | float | str | bytes) or value is None:
        return (type(value).__name__, repr(value))
    if isinstance(value, np.generic):
        return ("number", repr(value.item()))
    if hasattr(value, "__dict__"):
        return (type(value).__name__, _canonical(vars(value)))
    return ("other", repr(value))
