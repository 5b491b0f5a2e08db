"""What a twin of the infrastructure mirrors, where that is known, and how it is said.

slices   totals of every slice, and what it promises         known at the core
ratios   shares in force, of domains and of single stations  known at the core
down     what is out of service, and who holds it so         known at the core
queues   bytes and packets inside, by station and slice      known at the station's node
traffic  what was offered, by slice, source and sink         known at the source
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.queues import Station
from wirelesslab.network.slices import DOMAINS
from wirelesslab.network.twins.traffic_history import counts_of

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

ATTRIBUTES = ("slices", "ratios", "down", "queues", "traffic")
BY_NODE = ("queues", "traffic")  # known where they are; the rest at the core


class News(NamedTuple):
    """What a message says of one attribute at one place.

    Attributes:
        attribute: Name out of `ATTRIBUTES`.
        row: Which of the places where it is known.
        version: Counted from 1.
        value: Plain data.
    """

    attribute: str
    row: int
    version: int
    value: Any


class Message(NamedTuple):
    """What a node says.

    Attributes:
        stamp_s: When it was so.
        news: It.
    """

    stamp_s: float
    news: tuple[News, ...]


def sensed(network: "Network", attribute: str, node: str, scope: Sequence[str] = ()) -> Any:
    """Return what is so now, as plain data of its own.

    Args:
        network: It.
        attribute: Name out of `ATTRIBUTES`.
        node: Where the queues or sources are.
        scope: Only failures of these nodes and of links from or to them; of all when empty.
    """
    if attribute == "slices":
        overdue = network.overdue()
        views = [network.book.view(i, network.active[i], overdue[i]) for i in range(len(network.slices))]
        return tuple(views), tuple(network.promises)
    if attribute == "ratios":
        domains = {domain: dict(shares) for domain, shares in network.ratios.items()}
        usual = tuple(domains["transport"].values()), tuple(domains["compute"].values())
        own = {s.name: s.ratios for s in network.links.values() if s.ratios != usual[0]}
        own |= {s.name: s.ratios for s in network.servers.values() if s.ratios != usual[1]}
        return domains, own
    if attribute == "down":
        here = [e for e in network.down if not scope or not set(scope).isdisjoint(e.split("->"))]
        return {element: network.down[element] for element in sorted(here)}
    if attribute == "queues":
        return {s.name: (tuple(s.inside_bytes().values()), tuple(s.book.inside)) for s in _stations(network, node)}
    return counts_of(network.traffic, node)


def compared(network: "Network", attribute: str, places: Sequence[str]) -> NDArray[np.float64]:
    """Return what sync rules compare, a row for each place.

    Bytes inside by slice; shares of every domain and station; what is down (0 or 1); bytes in queues by slice; bytes
    offered by slice.
    """
    if attribute == "slices":
        return np.array([[view.inside_bytes for view in sensed(network, attribute, places[0])[0]]], float)
    if attribute == "ratios":
        shares = [ratio for domain in DOMAINS for ratio in network.ratios[domain].values()]
        shares += [ratio for station in network.stations.values() for ratio in station.ratios or ()]
        return np.array([[part for ratio in shares for part in (ratio.dedicated, ratio.min, ratio.max)]])
    if attribute == "down":
        return np.array([[float(element in network.down) for element in (*network.graph, *network.stations)]])
    rows = np.zeros((len(places), len(network.slices)))
    for row, node in enumerate(places):
        if attribute == "queues":
            rows[row] += np.sum([list(s.inside_bytes().values()) for s in _stations(network, node)], axis=0)
        else:
            for (index, _), totals in counts_of(network.traffic, node).items():
                rows[row, index] += totals[1]
    return rows


def numbers(value: Any) -> int:
    """Return how many numbers a message says, at least 1; names cost nothing, for both ends know the network."""
    if isinstance(value, Mapping | tuple):
        items = value.values() if isinstance(value, Mapping) else value
        return max(1, sum(map(numbers, items)))
    return len(getattr(type(value), "__dataclass_fields__", ".")) or 1


def _stations(network: "Network", node: str) -> list[Station]:
    links = [network.links[node, head] for head in network.graph.successors(node)]
    return [*links, *([network.servers[node]] if node in network.servers else [])]
