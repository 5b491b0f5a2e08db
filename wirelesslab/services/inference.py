"""A method that answers requests over a simulated network; an actor.

Clients send encoded images; a node takes what comes in batches, computes, and sends answers back; or a client's own
device computes. What the model says of each image it has really said, once, before the simulation (`ServedModel`). Time
is operations over speed, and bytes are those of encoded messages. Clients are rows of arrays: none has a process.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from wirelesslab import check
from wirelesslab.network.agenda import exact_delay
from wirelesslab.network.arrivals import TrafficModel
from wirelesslab.network.flows import FlowRecord
from wirelesslab.network.slices import Slice
from wirelesslab.services.inference_clients import Arrivals, EdgeNews
from wirelesslab.services.inference_images import Codec, EncodedImages
from wirelesslab.services.inference_models import ServedModel, check_served
from wirelesslab.services.inference_policies import AlwaysEdge, Option, Placement, Sight, own_option
from wirelesslab.services.inference_records import Batching, Ending, Pending, Request, Sums
from wirelesslab.services.inference_times import Ways
from wirelesslab.services.service import Mail
from wirelesslab.vision.data import Data
from wirelesslab.vision.method import Method, State

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


class Inference:
    """Answers requests at a node or on devices.

    Args:
        models: That can be asked; the first one unless a policy says otherwise.
        images: What requests are about, as many as each model has answers.
        at: The service's node, which must compute.
        clients: Their nodes; a node may hold many. Client i is the i-th.
        slice: Slice of all messages and jobs, or its name.
        traffic: When each client asks; sizes are those of the images, not the model's. None: only `ask` makes requests.
        policy: Chooses node or device, and the model, for each request.
        batching: How the node takes requests together; each of its servers has one batch at a time.
        deadline_s: How long an answer is of use; None for ever.
        drop: Give up a request whose turn has come but which even a batch of one would answer too late.
        device_operations_per_s: Of each client's own device, one number or shape (clients,); None: none computes.
        device_overhead_s: What each image costs on a device besides.
        delivery: Name of the `Delivery` that brings the models, with the same clients in the same order; "": devices
            have them. A request for a device without the model asks for it and waits.
        memory_s: After which a client has forgotten 63 % of what the edge took longer than without load.
        until_s: No request of the traffic begins after that.
        keep_records: Latest requests whose records are kept; None keeps all, and memory grows.
        name: Its name as an actor.

    Raises:
        ValueError: Models, images and clients do not fit together, or a number makes no sense.
    """

    def __init__(
        self,
        models: Sequence[ServedModel],
        images: EncodedImages,
        *,
        at: str,
        clients: Sequence[str],
        slice: Slice | str,
        traffic: TrafficModel | None = None,
        policy: Placement | None = None,
        batching: Batching | None = None,
        deadline_s: float | None = None,
        drop: bool = True,
        device_operations_per_s: ArrayLike | None = None,
        device_overhead_s: float = 0.0,
        delivery: str = "",
        memory_s: float = 5.0,
        until_s: float = inf,
        keep_records: int | None = 10_000,
        name: str = "inference",
    ) -> None:
        check_served(models, len(images), len(clients))
        check.positive(memory_s=memory_s, deadline_s=1.0 if deadline_s is None else deadline_s)
        check.within(
            0, np.finfo(float).max, device_overhead_s=device_overhead_s, until_s=0.0 if until_s == inf else until_s
        )
        if keep_records is not None:
            check.non_negative_integer(keep_records=keep_records)
        self.models, self.images, self.at, self.clients = tuple(models), images, at, tuple(clients)
        self.slice = slice if isinstance(slice, str) else slice.name
        self.traffic, self.policy, self.batching = traffic, policy or AlwaysEdge(), batching or Batching()
        self.deadline_s, self.drop = inf if deadline_s is None else float(deadline_s), drop
        self.batching.check_deadline(self.deadline_s)
        self.device_operations_per_s = None
        if device_operations_per_s is not None:
            speeds = np.broadcast_to(np.asarray(device_operations_per_s, float), (len(clients),))
            check.positive(device_operations_per_s=float(speeds.min()))
            self.device_operations_per_s = speeds
        self.device_overhead_s, self.delivery = float(device_overhead_s), delivery
        self.until_s, self.name = until_s, name
        self._sizes = images.sizes
        self.sums = Sums()
        self.requests: deque[Request] = deque(maxlen=keep_records)
        self._pending: dict[int, Pending] = {}
        self._queues: list[deque[int]] = [deque() for _ in models]
        self._jobs: dict[int, list[int]] = {}  # batches at the node
        self._waiting: dict[tuple[int, str], list[int]] = {}  # for a model to come to a device
        self._free_s = np.zeros(len(clients))  # when each device has done what it has begun
        self._news = EdgeNews.none(memory_s, len(clients))
        self._wake, self._wake_s = -1, -1.0
        self._mail: Mail[tuple[str, int]] = Mail(self.slice, name)

    @classmethod
    def of(
        cls, method: Method, state: State, data: Data, *, codec: Codec | None = None, **options: Any
    ) -> "Inference":  # fmt: skip
        """Return a service of one method, which predicts all images of `data` now, as they come out of the codec.

        Args:
            method: What answers.
            state: What it was trained to.
            data: The images.
            codec: How clients encode them; PNG when None.
            options: The constructor's other arguments.
        """
        images = EncodedImages.of(data, codec)
        return cls([ServedModel.of(method, state, data, images)], images, **options)

    # --- beginning ----------------------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Begin; called by `Network.add`.

        Raises:
            ValueError: A node, the slice or the delivery is not of this network, or the node computes nothing.
        """
        self._settle(network)
        if self.delivery:
            bringer: Any = network.actors.get(self.delivery)
            if getattr(bringer, "clients", None) != self.clients or not hasattr(bringer, "listeners"):
                msg = f"delivery: got {self.delivery!r}, expected a Delivery with the same clients, added before"
                raise ValueError(msg)
            bringer.listeners.append(self.name)
        rng = network.rng("requests", self.name)
        memory = {} if self.traffic is None else self.traffic.begin(rng, len(self.clients))
        self._arrivals = Arrivals(rng, network.now_s, memory)
        self._next(network)

    def _settle(self, network: "Network") -> None:
        self._network = network
        network.slice_index(self.slice)
        for node in (self.at, *self.clients):
            network.check_node(node)
        if self.at not in network.servers:
            msg = f"at: {self.at!r} computes nothing, expected one of {sorted(network.servers)}"
            raise ValueError(msg)
        kind = network.graph.nodes[self.at]
        self._speed, self._servers = float(kind["operations_per_s"]), int(kind.get("num_servers", 1))
        self._ways = Ways(network.graph, network.settings["segment_bytes"])
        for node in dict.fromkeys(self.clients):
            self._ways.between(node, self.at)

    def _next(self, network: "Network") -> None:
        """Put down the next arrival."""
        when_s = self._arrivals.next_s(self.traffic, len(self.images))
        if when_s < inf and when_s <= self.until_s:
            network.agenda.after(exact_delay(network.now_s, when_s), self.arrive)

    def arrive(self) -> None:
        """Begin the request that is due; called by the agenda."""
        self._begin(*self._arrivals.take())
        self._next(self._network)

    def ask(self, client: int, image: int | None = None) -> int:
        """Let a client ask now, about a random image unless said; returns the request's number."""
        check.within(0, len(self.clients) - 1, client=client)
        if image is None:
            image = int(self._arrivals.rng.integers(len(self.images)))
        check.within(0, len(self.images) - 1, image=image)
        return self._begin(client, image)

    # --- a request ----------------------------------------------------------------------------------------------------

    def _begin(self, client: int, image: int) -> int:
        now = self._network.now_s
        sight = Sight(now, client, self.deadline_s, self._options(client, image, now))
        chosen = own_option(sight, self.policy.choose(sight))
        place = next(i for i, model in enumerate(self.models) if model.name == chosen.model)
        number = self.sums.asked
        self.sums.asked += 1
        unloaded_s = self._unloaded_s(client, place, image)
        pending = self._pending[number] = Pending(
            number, client, image, place, chosen.where, now, now + self.deadline_s, unloaded_s
        )  # fmt: skip
        if chosen.where == "edge":
            pending.ready_s, pending.up_bytes = now, int(self._sizes[image])
            self.sums.at_edge += 1
            self.sums.up_bytes += pending.up_bytes
            self._mail.send(self._network, ("up", number), pending.up_bytes, self.clients[client], self.at,
                            deadline_s=None if pending.due_s == inf else pending.due_s)  # fmt: skip
            if pending.due_s < inf and self.device_operations_per_s is not None:
                self._news.unheard[number] = client, self.deadline_s - pending.unloaded_s
                self._network.agenda.after(exact_delay(now, pending.due_s), self.overdue, number)
        elif chosen.held:
            self._on_device(pending)
        else:
            self._waiting.setdefault((client, chosen.model), []).append(number)
            bringer = self._network.actors[self.delivery]
            if not bringer.fetching(client, chosen.model):
                bringer.fetch(client, chosen.model)
        return number

    def overdue(self, number: int) -> None:
        """Let a client know that it has not heard in time, if so; called by the agenda."""
        self._news.miss(number, self._network.now_s)

    def _options(self, client: int, image: int, now: float) -> list[Option]:
        """Return what a client can choose from, with what it can know of it."""
        excess_s = self._news.expected_s(client, now)
        options = [
            Option("edge", model.name, self._unloaded_s(client, place, image) + excess_s, model.accuracy)
            for place, model in enumerate(self.models)
        ]
        if self.device_operations_per_s is None:
            return options
        bringer = self._network.actors[self.delivery] if self.delivery else None
        waits_s = max(0.0, float(self._free_s[client]) - now)
        for model in self.models:
            held = bringer is None or bringer.has(client, model.name)
            expected_s = waits_s + self._on_device_s(client, model) if held else inf
            options.append(Option("device", model.name, expected_s, model.accuracy, held))
        return options

    def _unloaded_s(self, client: int, model: int, image: int) -> float:
        """Return what the edge takes when nothing waits anywhere."""
        node = self.clients[client]
        up, down = self._ways.between(node, self.at), self._ways.between(self.at, node)
        served = self.models[model]
        computed_s = served.compute_s(1, self._speed, self.batching.overhead_s)
        return up.least_s(int(self._sizes[image])) + computed_s + down.least_s(int(served.answer_bytes[image]))

    def _end(self, pending: Pending, ending: Ending) -> None:
        model = self.models[pending.model]
        del self._pending[pending.number]
        right = ending == "answered" and bool(model.right[pending.image])
        request = Request.of(pending, model.name, self._network.now_s, ending, right)
        self.sums.end(request)
        self.requests.append(request)

    # --- on a device --------------------------------------------------------------------------------------------------

    def _on_device_s(self, client: int, model: ServedModel) -> float:
        assert self.device_operations_per_s is not None
        return model.compute_s(1, float(self.device_operations_per_s[client]), self.device_overhead_s)

    def _on_device(self, pending: Pending) -> None:
        """Queue a request at its device, first come first served, or drop it: when it would end is known at once."""
        now, client = self._network.now_s, pending.client
        pending.ready_s = pending.arrived_s = now
        began_s = max(now, float(self._free_s[client]))
        ended_s = began_s + self._on_device_s(client, self.models[pending.model])
        if self.drop and ended_s > pending.due_s:
            self._end(pending, "dropped")
            return
        pending.began_s, self._free_s[client] = began_s, ended_s
        self._network.agenda.after(exact_delay(now, ended_s), self.device_done, pending.number)

    def device_done(self, number: int) -> None:
        """End what a device has computed; called by the agenda."""
        pending = self._pending[number]
        pending.computed_s = self._network.now_s
        self._end(pending, "answered")

    def downloaded(self, client: int, model: str) -> None:
        """Go on with what has waited for a model; called by the delivery."""
        for number in self._waiting.pop((client, model), []):
            self._on_device(self._pending[number])

    # --- at the node --------------------------------------------------------------------------------------------------

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take what a flow brought; called by the network."""
        what, number = self._mail.take(record)
        if what == "job":
            self._computed(number, record.delivered)
        elif not record.delivered:
            self._end(self._pending[number], "lost")
        elif what == "up":
            pending = self._pending[number]
            pending.arrived_s = network.now_s
            self._queues[pending.model].append(number)
            self.serve()
        else:
            pending = self._pending[number]
            excess_s = network.now_s - pending.sent_s - pending.unloaded_s
            self._news.hear(number, pending.client, excess_s, network.now_s)
            self._end(pending, "answered")

    def serve(self) -> None:
        """Hand over batches while a server is free and one is ready; also called by the agenda."""
        network = self._network
        while len(self._jobs) < self._servers:
            place = self._ready(network.now_s)
            if place is None:
                return
            batch = self._batch(place, network.now_s)
            if not batch:
                continue
            job, model = self.sums.batches, self.models[place]
            self.sums.batches, self.sums.batched = job + 1, self.sums.batched + len(batch)
            for number in batch:
                pending = self._pending[number]
                pending.began_s, pending.batch, pending.batch_size = network.now_s, job, len(batch)
            self._jobs[job] = batch
            operations = len(batch) * model.operations + self.batching.overhead_s * self._speed
            soonest_s = min(self._pending[number].due_s for number in batch)
            self._mail.send(network, ("job", job), 1, self.at, self.at, operations=operations,
                            deadline_s=None if soonest_s == inf else soonest_s)  # fmt: skip

    def _ready(self, now: float) -> int | None:
        """Return the model whose batch is full or has waited long enough, the oldest first; else wake in time."""
        heads = {i: self._pending[queue[0]].arrived_s for i, queue in enumerate(self._queues) if queue}
        wait_s = self.batching.max_wait_s
        full = [i for i in heads if len(self._queues[i]) >= self.batching.max_size or heads[i] + wait_s <= now]
        if full:
            return min(full, key=lambda i: (heads[i], i))
        if heads:
            wake_s = min(heads.values()) + wait_s
            if wake_s != self._wake_s:
                self._network.agenda.cancel(self._wake)
                self._wake, self._wake_s = self._network.agenda.after(exact_delay(now, wake_s), self.serve), wake_s
        return None

    def _batch(self, place: int, now: float) -> list[int]:
        """Take the next batch out of a queue, without what cannot be met any more."""
        batch: list[int] = []
        queue, model = self._queues[place], self.models[place]
        soonest_s = now + model.compute_s(1, self._speed, self.batching.overhead_s)
        while queue and len(batch) < self.batching.max_size:
            pending = self._pending[queue.popleft()]
            if self.drop and pending.due_s < inf:
                down = self._ways.between(self.at, self.clients[pending.client])
                if soonest_s + down.least_s(int(model.answer_bytes[pending.image])) > pending.due_s:
                    self._end(pending, "dropped")
                    continue
            batch.append(pending.number)
        return batch

    def _computed(self, job: int, done: bool) -> None:
        """Send the answers of a batch; a node that fails loses what it had begun."""
        network = self._network
        for number in self._jobs.pop(job):
            pending = self._pending[number]
            if not done:
                self._end(pending, "lost")
                continue
            pending.computed_s = network.now_s
            pending.down_bytes = int(self.models[pending.model].answer_bytes[pending.image])
            self.sums.down_bytes += pending.down_bytes
            self._mail.send(network, ("down", number), pending.down_bytes, self.at, self.clients[pending.client])
        network.agenda.after(0.0, self.serve)  # not at once: this may be told while a batch is being handed over

    # --- looking, and written down ------------------------------------------------------------------------------------

    def gauges(self) -> Mapping[str, float]:
        """Return what a report shows of it."""
        return {
            "under way": float(len(self._pending)), "waiting at the node": float(sum(map(len, self._queues))),
            "right in time": self.sums.accuracy_in_time, "dropped": float(self.sums.dropped),
        }  # fmt: skip

    def check(self) -> None:
        """Assert that no request is lost or counted twice, and that lives have no gaps.

        Raises:
            AssertionError: A bug.
        """
        sums = self.sums
        assert sums.asked == sums.ended + len(self._pending), "inference: a request was lost or invented"
        ended = sums.batched - sum(pending.batch >= 0 for pending in self._pending.values())
        assert 0 <= ended <= sums.ended, "inference: batches do not add up"
        for request in self.requests:
            request.life.check()

    def state(self) -> dict[str, Any]:
        """Return all that changes, as records and arrays; the network copies it."""
        names = ("sums", "requests", "_pending", "_queues", "_jobs", "_waiting", "_free_s", "_news", "_arrivals",
                 "_wake", "_wake_s", "_mail")  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "Inference":
        """Return this service as it was when `state` was copied, in another network."""
        fresh = object.__new__(Inference)
        fresh.__dict__.update(self.__dict__)
        fresh.__dict__.update(state)
        fresh._settle(network)
        return fresh
