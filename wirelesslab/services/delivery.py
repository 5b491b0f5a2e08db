"""Models that travel: a file in chunks with checksums, from an origin through caches to clients; an actor.

A client asks for a manifest, compares what it vouches for with what it holds, and asks for the chunks of what differs,
some at a time. Requests go up the client's way to the origin and stop at the first cache that has what is asked for; a
cache that has not asks once for all who wait. What is lost is sent again when there is a way; what comes damaged
is seen by its checksum and fetched again, by caches too. Every message is a flow of the slice.
"""

from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from wirelesslab import check
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.slices import Slice
from wirelesslab.services.delivery_files import MANIFEST, Key, Payload, Release, encode_ask, updated
from wirelesslab.services.delivery_records import Cache, Came, Download, Entry, Fetch, Message, Place, Ways, starts_of
from wirelesslab.services.service import Mail

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


class Delivery:
    """Brings releases of models from an origin to clients.

    Args:
        releases: What is published at the beginning, of one model or several; the last of a name is its latest.
        origin: Node that has all releases.
        clients: Their nodes; a node may hold many. Client i is the i-th.
        caches: Bytes of chunks that a node keeps. A client uses those on its way to the origin, nearest first.
        slice: Slice of all messages, or its name.
        chunk_bytes: Length of a chunk.
        window: Chunks that a client has asked for and not got, at most.
        starts_s: When each client asks for the latest release of the first model, shape (clients,), at once where that
            is past, inf for never; None lets nobody ask before `fetch` is called.
        holds: Version of each model that clients have at the beginning, by name; of `releases`.
        damage_prob: That a chunk or a manifest has a byte changed from one place to the next; at most 0.99.
        timeout_s: After which what was lost is sent again.
        name: Its name as an actor.

    Raises:
        ValueError: A number makes no sense, or a release is there twice.
    """

    def __init__(
        self,
        releases: Sequence[Release],
        *,
        origin: str,
        clients: Sequence[str],
        slice: Slice | str,
        caches: Mapping[str, int] | None = None,
        chunk_bytes: int = 32_768,
        window: int = 16,
        starts_s: ArrayLike | None = None,
        holds: Mapping[str, str] | None = None,
        damage_prob: float = 0.0,
        timeout_s: float = 0.2,
        name: str = "delivery",
    ) -> None:
        check.positive_integer(chunk_bytes=chunk_bytes, window=window)
        check.positive(timeout_s=timeout_s)
        check.within(0, 0.99, damage_prob=damage_prob)  # or nothing would ever arrive
        if not releases or not clients:
            msg = f"releases, clients: got {len(releases)} and {len(clients)}, expected at least one of each"
            raise ValueError(msg)
        if origin in (caches or {}):
            msg = f"caches: got the origin {origin!r}, expected other nodes; the origin has all"
            raise ValueError(msg)
        self.starts_s = starts_of(starts_s, len(clients))
        self.origin, self.clients, self.name = origin, tuple(clients), name
        self.slice = slice if isinstance(slice, str) else slice.name
        self.chunk_bytes, self.window, self.timeout_s, self.damage_prob = chunk_bytes, window, timeout_s, damage_prob
        self.releases: dict[tuple[str, str], Release] = {}
        self.latest: dict[str, str] = {}
        for one in releases:
            self.publish(one)
        for held in (holds or {}).items():
            self.release(*held)
        self.caches = {node: Cache(capacity) for node, capacity in (caches or {}).items()}
        self.held: list[dict[str, str]] = [dict(holds or {}) for _ in clients]
        self.downloads: list[Download] = []
        self.listeners: list[str] = []
        self.retries, self._mail = 0, Mail[Message](self.slice, name)
        self._fetches: dict[tuple[int, str], Fetch] = {}
        self._damage: dict[tuple[Place, int], int] = {}
        self._payloads: dict[Key, Payload] = {}  # made from the releases, so no part of the state
        self._checked: set[Key] = set()

    # --- beginning ----------------------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Begin; called by `Network.add`.

        Raises:
            ValueError: A node or the slice is not of this network, or a client has no way to the origin.
        """
        self._settle(network)
        self._rng = network.rng("damage", self.name)
        for client, start_s in enumerate(self.starts_s):
            if start_s < inf:
                network.agenda.after(max(0.0, start_s - network.now_s), self.fetch, client)

    def _settle(self, network: "Network") -> None:
        self._network = network
        network.slice_index(self.slice)
        for node in (self.origin, *self.clients, *self.caches):
            network.check_node(node)
        self._ways = Ways.through(network.graph, self.clients, tuple(self.caches), self.origin)

    def publish(self, release: Release) -> None:
        """Publish a release at the origin; it is the latest of its name from now on.

        Raises:
            ValueError: Its version is there already: what caches keep under a version must stay true.
        """
        if (release.name, release.version) in self.releases:
            msg = f"publish: {release.name} {release.version} is there already, expected a new version"
            raise ValueError(msg)
        self.releases[release.name, release.version] = release
        self.latest[release.name] = release.version

    def release(self, name: str, version: str) -> Release:
        """Return a release.

        Raises:
            ValueError: There is none.
        """
        found = self.releases.get((name, version))
        if found is None:
            msg = f"release: got {name!r} {version!r}, expected one of {sorted(self.releases)}"
            raise ValueError(msg)
        return found

    def payload(self, key: Key) -> Payload:
        """Return what a key stands for."""
        if key not in self._payloads:
            base = self.release(key.name, key.base) if key.base else None
            self._payloads[key] = Payload.between(self.release(key.name, key.version), base, self.chunk_bytes)
        return self._payloads[key]

    # --- a client -----------------------------------------------------------------------------------------------------

    def has(self, client: int, name: str) -> bool:
        """Return whether a client, by its number from 0, has some version of a model."""
        return client >= 0 and name in self.held[client]

    def fetching(self, client: int, name: str) -> bool:
        """Return whether a client is getting a model."""
        return (client, name) in self._fetches

    def held_release(self, client: int, name: str) -> Release:
        """Return what a client has: what came, put together with what it had, is compared with it tensor by tensor.

        Raises:
            KeyError: It has none.
        """
        return self.release(name, self.held[client][name])

    def fetch(self, client: int, name: str = "", version: str = "") -> None:
        """Let a client get a model now, from what it has; also called by the agenda.

        Nothing happens if the client has that version or is getting it.

        Args:
            client: Its number.
            name: Of the model; the first that was published when "".
            version: The latest when "".

        Raises:
            ValueError: There is no such client or release, or it is getting another version of that model.
        """
        check.within(0, len(self.clients) - 1, client=client)
        name = name or next(iter(self.latest))
        key = Key(name, self.held[client].get(name, ""), version or self.latest.get(name, ""))
        self.release(name, key.version)
        now = self._fetches.get((client, name))
        if now is not None and now.key != key:
            msg = f"fetch: client {client} is getting {name} {now.key.version}, got {key.version}; wait for its end"
            raise ValueError(msg)
        if now is not None or key.base == key.version:
            return
        fetch = self._fetches[client, name] = Fetch(client, key, self._network.now_s)
        self._ask(fetch, (MANIFEST,))

    def _ask(self, fetch: Fetch, numbers: tuple[int, ...]) -> None:
        self._send(Message("ask", fetch.key, numbers, fetch.client, self._ways.first(fetch.client)))

    def _got(self, message: Message, sound: bool) -> None:
        """Take what came to a client."""
        number = message.numbers[0]
        fetch = self._fetch_of(message.to, message.key)
        if fetch is None:
            return
        now, size = self._network.now_s, self.payload(fetch.key).size(number)
        if number == MANIFEST:
            fetch.manifest_bytes += size
        else:
            fetch.chunk_bytes += size
        if not sound:
            fetch.damaged += 1
            self._ask(fetch, message.numbers)
            return
        if number == MANIFEST:
            fetch.manifest_s = now
            num = self.payload(fetch.key).num_chunks
            fetch.missing, fetch.asked = set(range(num)), min(self.window, num)
            self._ask(fetch, tuple(range(fetch.asked)))
            return
        assert fetch.missing is not None
        fetch.missing.remove(number)
        fetch.came[message.came] += 1
        if fetch.first_s < 0:
            fetch.first_s = now
        if not fetch.missing:
            self._have(fetch)
        elif fetch.asked < self.payload(fetch.key).num_chunks:
            fetch.asked += 1
            self._ask(fetch, (fetch.asked - 1,))

    def _fetch_of(self, client: Place, key: Key) -> Fetch | None:
        fetch = self._fetches.get((int(client), key.name))
        return fetch if fetch is not None and fetch.key == key else None

    def _have(self, fetch: Fetch) -> None:
        """End a download: put the model together, check it, and tell who listens."""
        key, payload = fetch.key, self.payload(fetch.key)
        if key not in self._checked:  # all who had the same and got the same have the same
            base = self.release(key.name, key.base) if key.base else None
            updated(base, payload.content, payload.vouched)
            self._checked.add(key)
        self.held[fetch.client][key.name] = key.version
        del self._fetches[fetch.client, key.name]
        self.downloads.append(Download(
            client=fetch.client, name=key.name, base=key.base, version=key.version, began_s=fetch.began_s,
            manifest_s=fetch.manifest_s, first_s=fetch.first_s, ended_s=self._network.now_s,
            content_bytes=len(payload.content), chunk_bytes=fetch.chunk_bytes, manifest_bytes=fetch.manifest_bytes,
            ask_bytes=fetch.ask_bytes, hits=fetch.came["cache"], shared=fetch.came["shared"], retries=fetch.retries,
            damaged=fetch.damaged,
        ))  # fmt: skip
        for listener in self.listeners:
            self._network.actors[listener].downloaded(fetch.client, key.name)

    # --- caches and the origin ----------------------------------------------------------------------------------------

    def _asked(self, message: Message, node: str) -> None:
        """Answer a request at a cache or at the origin, or pass on what is not here."""
        if node == self.origin:
            for number in message.numbers:
                self._put(message.key, number, node, message.sender, "origin")
            return
        cache, missing = self.caches[node], []
        for number in message.numbers:
            entry: Entry = (message.key, number)
            if cache.has(entry):
                cache.hits += 1
                self._put(message.key, number, node, message.sender, "cache")
            elif entry in cache.waiting:
                cache.shared += 1
                cache.waiting[entry].append(message.sender)
            else:
                cache.misses += 1
                cache.waiting[entry] = [message.sender]
                missing.append(number)
        if missing:
            self._send(Message("ask", message.key, tuple(missing), node, self._ways.above(node, message.sender)))

    def _put(self, key: Key, number: int, node: str, to: Place, came: Came) -> None:
        self._send(Message("put", key, (number,), node, to, came))

    def _stored(self, message: Message, sound: bool) -> None:
        """Take what came to a cache, and send it to all who wait."""
        node, number = str(message.to), message.numbers[0]
        cache, entry = self.caches[node], (message.key, number)
        if not sound:
            cache.damaged += 1
            self._send(Message("ask", message.key, (number,), node, message.sender))
            return
        cache.store(entry, self.payload(message.key).size(number))
        for place, waiter in enumerate(cache.waiting.pop(entry)):
            self._put(message.key, number, node, waiter, "shared" if place else message.came)

    # --- messages -----------------------------------------------------------------------------------------------------

    def _node(self, place: Place) -> str:
        return place if isinstance(place, str) else self.clients[place]

    def _send(self, message: Message) -> None:
        if message.what == "ask":
            size = len(encode_ask(message.key, message.numbers))
            if isinstance(message.sender, int):
                fetch = self._fetch_of(message.sender, message.key)
                assert fetch is not None
                fetch.ask_bytes += size
        else:
            size = self.payload(message.key).size(message.numbers[0])
        self._mail.send(self._network, message, size, self._node(message.sender), self._node(message.to))

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take what a flow brought, or send it again; called by the network."""
        message = self._mail.take(record)
        if not record.delivered:
            network.agenda.after(self.timeout_s, self.again, message)
        elif record.flow.source == record.flow.sink:
            network.agenda.after(0.0, self.take, message)  # at once it would go on within itself, chunk by chunk
        else:
            self.take(message)

    def take(self, message: Message) -> None:
        """Act on what came; also called by the agenda."""
        if message.what == "ask":
            self._asked(message, self._node(message.to))
        elif isinstance(message.to, int):
            self._got(message, self._sound(message))
        else:
            self._stored(message, self._sound(message))

    def again(self, message: Message) -> None:
        """Send a message again that was lost, once there is a way; called by the agenda."""
        network = self._network
        if network.routes.path(self._node(message.sender), self._node(message.to)) is None:
            network.agenda.after(self.timeout_s, self.again, message)
            return
        self.retries += 1
        for place in (message.sender, message.to):
            if isinstance(place, int):
                fetch = self._fetch_of(place, message.key)
                assert fetch is not None
                fetch.retries += 1
            elif place in self.caches and place == message.below:
                self.caches[place].retries += 1
        self._send(message._replace(tries=message.tries + 1))

    def damage_next(self, place: Place, number: int, times: int = 1) -> None:
        """Let a chunk (or `MANIFEST`) come damaged to a client or cache the next `times` that it comes there."""
        check.positive_integer(times=times)
        if place not in self.caches and place not in range(len(self.clients)):
            msg = f"place: got {place!r}, expected a client below {len(self.clients)} or one of {sorted(self.caches)}"
            raise ValueError(msg)
        self._damage[place, number] = self._damage.get((place, number), 0) + times

    def _sound(self, message: Message) -> bool:
        """Return whether what came has its checksum; damage changes a byte on the way."""
        payload, number = self.payload(message.key), message.numbers[0]
        content = payload.chunk(number)
        planned = self._damage.get((message.to, number), 0)
        if planned:
            self._damage[message.to, number] = planned - 1
        if planned or (self.damage_prob and self._rng.random() < self.damage_prob):
            place = int(self._rng.integers(len(content)))
            content = content[:place] + bytes([content[place] ^ 0x40]) + content[place + 1 :]
        return payload.sound(number, content)

    # --- looking, and written down ------------------------------------------------------------------------------------

    def gauges(self) -> Mapping[str, float]:
        """Return downloads that ended and are under way, and the share of chunks that came out of caches."""
        chunks = sum(-(-d.content_bytes // self.chunk_bytes) for d in self.downloads)
        hits = sum(d.hits for d in self.downloads)
        return {
            "downloads": float(len(self.downloads)), "under way": float(len(self._fetches)),
            "share of caches": hits / chunks if chunks else float("nan"),
        }  # fmt: skip

    def check(self) -> None:
        """Assert that caches hold what they say, that lives have no gaps, and that content has the length it should.

        Raises:
            AssertionError: A bug.
        """
        for cache in self.caches.values():
            cache.check()
        for d in self.downloads:
            d.life.check()
            assert d.content_bytes == len(self.payload(Key(d.name, d.base, d.version)).content), "delivery: bytes"
            assert d.damaged or d.chunk_bytes == d.content_bytes, "delivery: a chunk came twice or not at all"

    def state(self) -> dict[str, Any]:
        """Return all that changes, as records; the network copies it."""
        return {
            "releases": self.releases, "latest": self.latest, "caches": self.caches, "held": self.held,
            "downloads": self.downloads, "listeners": self.listeners, "retries": self.retries,
            "_fetches": self._fetches, "_damage": self._damage, "_mail": self._mail, "_rng": self._rng,
        }  # fmt: skip

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "Delivery":
        """Return this delivery as it was when `state` was copied, in another network."""
        fresh = object.__new__(Delivery)
        fresh.__dict__.update(self.__dict__)
        fresh.__dict__.update(state)
        fresh._payloads, fresh._checked = {}, set()
        fresh._settle(network)
        return fresh


__all__ = ["Delivery", "Download", "Key", "Payload", "Release"]
