"""What a delivery keeps: caches, downloads that are under way, and what became of those that ended."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from typing import Literal, NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import ArrayLike

from wirelesslab import check
from wirelesslab.network.routing import Routes
from wirelesslab.network.topology import Graph
from wirelesslab.services.delivery_files import Key
from wirelesslab.services.service import Life

Place = int | str  # a client by its number, or the node of a cache or of the origin
Came = Literal["origin", "cache", "shared"]
Entry = tuple[
    Key, int
]  # a chunk of a payload, or its manifest: a key holds the version, so nothing in a cache is stale


class Message(NamedTuple):
    """What goes between a client, caches and the origin.

    Attributes:
        what: "ask" goes up, "put" comes down.
        key: Of which payload.
        numbers: Chunks that are asked for, or the one that comes.
        sender: Who sent it.
        to: Who gets it.
        came: Of what comes: from the origin, out of a cache, or of a fetch that somebody else began.
        tries: How often it was sent.
    """

    what: Literal["ask", "put"]
    key: Key
    numbers: tuple[int, ...]
    sender: Place
    to: Place
    came: Came = "origin"
    tries: int = 1

    @property
    def below(self) -> Place:
        """Of the two places, the one nearer to clients: who waits."""
        return self.sender if self.what == "ask" else self.to


def starts_of(starts_s: ArrayLike | None, num_clients: int) -> list[float]:
    """Return when each client begins, inf for never.

    Raises:
        ValueError: There are other numbers of starts than of clients, or one is NaN or negative.
    """
    starts = np.full(num_clients, inf) if starts_s is None else np.asarray(starts_s, float)
    check.array(np.where(starts == inf, 0.0, starts), (num_clients,), "clients", name="starts_s")
    if starts.min() < 0:
        msg = f"starts_s: got {starts.min():g} of client {int(starts.argmin())}, expected instants from 0 on"
        raise ValueError(msg)
    return [float(start) for start in starts]


@dataclass(frozen=True)
class Ways:
    """Who asks whom: each client's caches on its way to the origin, nearest first, then the origin.

    Attributes:
        clients: Nodes of the clients.
        chains: By node of a client.
        onward: By two places that follow one another, the one after.
    """

    clients: tuple[str, ...]
    chains: Mapping[str, tuple[str, ...]]
    onward: Mapping[tuple[str, str], str]

    @classmethod
    def through(cls, graph: Graph, clients: tuple[str, ...], caches: tuple[str, ...], origin: str) -> "Ways":
        """Return the ways through a graph of which nothing has failed.

        Raises:
            ValueError: A client has no way to the origin and back.
        """
        routes, chains, onward = Routes(graph), {}, {}
        reached = nx.descendants(graph, origin) | {origin}
        for node in dict.fromkeys(clients):
            path = routes.path(node, origin)
            if path is None or node not in reached:
                msg = f"clients: {node!r} has no way to {origin!r} and back, expected one; add links"
                raise ValueError(msg)
            chain = chains[node] = (*(n for n in path if n in caches), origin)
            for below, here, above in zip(chain, chain[1:], chain[2:], strict=False):
                onward[below, here] = above
        return cls(clients, chains, onward)

    def first(self, client: int) -> str:
        """Return whom a client asks."""
        return self.chains[self.clients[client]][0]

    def above(self, node: str, below: Place) -> str:
        """Return whom a cache asks for somebody who asked it."""
        return self.chains[self.clients[below]][1] if isinstance(below, int) else self.onward[below, node]


@dataclass
class Cache:
    """A store of chunks at a node that gives up what was asked for longest ago.

    Attributes:
        capacity_bytes: Most bytes of chunks; manifests, which every check needs, are kept beside them.
        stored: Chunks with their sizes, the one asked for last at the end.
        used_bytes: Of the chunks.
        manifests: Keys whose manifest is here.
        waiting: Who waits for what is being fetched.
        hits: Chunks and manifests that were here when they were asked for.
        shared: That were on their way already for somebody else.
        misses: That had to be fetched.
        damaged: That came damaged and were fetched again.
        retries: Messages that were lost and sent again.
        evicted_bytes: Given up.
    """

    capacity_bytes: int
    stored: dict[Entry, int] = field(default_factory=dict)
    used_bytes: int = 0
    manifests: set[Key] = field(default_factory=set)
    waiting: dict[Entry, list[Place]] = field(default_factory=dict)
    hits: int = 0
    shared: int = 0
    misses: int = 0
    damaged: int = 0
    retries: int = 0
    evicted_bytes: int = 0

    def __post_init__(self) -> None:
        check.positive_integer(capacity_bytes=self.capacity_bytes)

    def has(self, entry: Entry) -> bool:
        """Return whether it is here; asking makes it the last to be given up."""
        key, number = entry
        if number < 0:
            return key in self.manifests
        if entry not in self.stored:
            return False
        self.stored[entry] = self.stored.pop(entry)
        return True

    def store(self, entry: Entry, num_bytes: int) -> None:
        """Keep a chunk, and give up others for it; what is larger than the cache is not kept."""
        key, number = entry
        if number < 0:
            self.manifests.add(key)
            return
        if entry in self.stored or num_bytes > self.capacity_bytes:
            return
        while self.used_bytes + num_bytes > self.capacity_bytes:
            oldest = next(iter(self.stored))
            size = self.stored.pop(oldest)
            self.used_bytes -= size
            self.evicted_bytes += size
        self.stored[entry] = num_bytes
        self.used_bytes += num_bytes

    def check(self) -> None:
        """Assert that the books agree.

        Raises:
            AssertionError: A bug.
        """
        assert self.used_bytes == sum(self.stored.values()) <= self.capacity_bytes, "cache: bytes do not add up"


@dataclass
class Fetch:
    """A download under way.

    Attributes:
        client: Whose.
        key: What it gets.
        began_s: When it asked.
        manifest_s: When the manifest was there; negative until then.
        first_s: When the first chunk was there; negative until then.
        missing: Chunks that are not there, in order; None until the manifest says how many there are.
        asked: Chunks that have been asked for; the next is the first that has not.
        came: How many chunks came from where.
        retries: Messages that were lost and sent again.
        damaged: What came damaged.
        ask_bytes: Requests, those sent again included.
        manifest_bytes: Manifests that came, damaged ones included.
        chunk_bytes: Chunks that came, damaged ones included.
    """

    client: int
    key: Key
    began_s: float
    manifest_s: float = -1.0
    first_s: float = -1.0
    missing: set[int] | None = None
    asked: int = 0
    came: dict[Came, int] = field(default_factory=lambda: {"origin": 0, "cache": 0, "shared": 0})
    retries: int = 0
    damaged: int = 0
    ask_bytes: int = 0
    manifest_bytes: int = 0
    chunk_bytes: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Download:
    """What became of a download.

    Attributes:
        client: Whose.
        name: Of the model.
        base: Version that the client had; "" is none.
        version: Version that it has now.
        began_s: When it asked.
        manifest_s: When the manifest was there.
        first_s: When the first chunk was there: nothing of the content is of use before its checksum agrees.
        ended_s: When the last one was there.
        content_bytes: Length of what was fetched: of the file, or of the parts that differ.
        chunk_bytes: Chunks that came, damaged ones included.
        manifest_bytes: Manifests that came, damaged ones included.
        ask_bytes: Requests, those sent again included.
        hits: Chunks that a cache on the way had.
        shared: Chunks that a cache on the way was fetching already.
        retries: Messages to or from the client that were lost and sent again.
        damaged: Chunks and manifests that came damaged and were fetched again.
    """

    client: int
    name: str
    base: str
    version: str
    began_s: float
    manifest_s: float
    first_s: float
    ended_s: float
    content_bytes: int
    chunk_bytes: int
    manifest_bytes: int
    ask_bytes: int
    hits: int
    shared: int
    retries: int
    damaged: int

    @property
    def life(self) -> Life:
        """Its spans: until the manifest, until the first chunk, until the last."""
        return Life(self.began_s, {"manifest": self.manifest_s, "first chunk": self.first_s, "rest": self.ended_s})

    @property
    def delay_s(self) -> float:
        """From asking to having."""
        return self.ended_s - self.began_s
