"""Data-parallel training on a simulated network: every message is a flow, every gradient takes its time.

The mathematics is done for real, by the replicas of `vision.parallel`; what the network adds is time. A gradient
takes operations / node speed (a job in the node's queue, under the slice's share), a message takes what its
bytes take on the way, and what is lost, be it a message or a job, is begun again after a timeout. With nobody left
out the weights are those of training in one process, to the last bit, whatever the network does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.network.flows import Flow, FlowRecord
from wirelesslab.network.slices import Slice
from wirelesslab.services.training_records import Costs, OpenRound, Place, Round, check_replicas
from wirelesslab.vision.crews import shards_of
from wirelesslab.vision.data import Data
from wirelesslab.vision.method import Trainable
from wirelesslab.vision.parallel import ParameterServer, Replica, ShuffledBatches
from wirelesslab.vision.wires import Wire

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

Score = Callable[[Replica], float]

# A flow's label says what it is, whose, and of which step and exchange: messages are "up" or "down", jobs at a worker's
# own node "gradient", "encode" or "finish", those of the server "sum".
SEPARATOR = ":"


class DistributedTraining:
    """Workers at nodes train one model through a server at another; an actor.

    A step: every worker computes its gradient, then for each of the wire's exchanges sends a message to the
    server, which answers all once everybody has spoken (or `patience_s` after the first, without the others); each
    worker applies the last answer. Answers go to each worker in turn, as unicast.

    A snapshot of the network holds the whole training: weights, optimizer, error feedback, messages on the way.
    A job is a flow of one byte from its node to itself. A node that fails loses the job at hand and keeps the
    worker's weights: the job begins anew when the node is back. A slice that is switched off lets nothing begin.

    Args:
        replicas: The workers, in order, at the same step.
        workers: Their nodes, which must compute; the same node may hold several.
        server: The server's node, which must compute.
        slice: Slice of all messages and jobs, or its name.
        costs: Operations of a step.
        steps: When training ends.
        stragglers: Factor on a worker's operations, by worker.
        timeout_s: After which a message or a job that was lost is begun again.
        patience_s: How long a step waits for others after the first message; None waits for all.
        score: Called with worker 0 every `score_every` steps, takes no simulated time.
        score_every: See `score`.
        name: Its name as an actor.

    Raises:
        ValueError: Workers and replicas do not fit together, or a number makes no sense.
    """

    def __init__(
        self,
        replicas: Sequence[Replica],
        *,
        workers: Sequence[str],
        server: str,
        slice: Slice | str,
        costs: Costs,
        steps: int,
        stragglers: Mapping[int, float] | None = None,
        timeout_s: float = 0.2,
        patience_s: float | None = None,
        score: Score | None = None,
        score_every: int = 1,
        name: str = "training",
    ) -> None:
        check.positive_integer(steps=steps, score_every=score_every)
        check.positive(timeout_s=timeout_s)
        if patience_s is not None:
            check.positive(patience_s=patience_s)
        check_replicas(replicas, len(workers))
        for worker, factor in (stragglers or {}).items():
            check.within(0, len(workers) - 1, straggler=worker)
            check.positive(**{f"stragglers[{worker}]": factor})
        self.replicas, self.workers, self.server = list(replicas), tuple(workers), server
        self.slice = slice if isinstance(slice, str) else slice.name
        self.costs, self.steps, self.stragglers = costs, steps, dict(stragglers or {})
        self.timeout_s, self.patience_s = timeout_s, patience_s
        self.score, self.score_every, self.name = score, score_every, name
        self.wire = replicas[0].wire
        self.hub = ParameterServer(self.wire, len(workers), step=replicas[0].step)
        self.places = [Place() for _ in workers]
        self.rounds: list[Round] = []
        self._open: dict[int, OpenRound] = {}
        self._summing: tuple[int, int] = (-1, -1)  # the exchange whose answer the server computes

    @classmethod
    def of(
        cls, method: Trainable, wire: Wire, data: Data, *, workers: Sequence[str], server: str, slice: Slice | str,
        batch: int, steps: int, seed: int = 0, costs: Costs | None = None, truth: str | None = None, **options: Any,
    ) -> "DistributedTraining":  # fmt: skip
        """Return a method's training on even shards of its data.

        Args:
            method: What learns.
            wire: How gradients travel.
            data: Images; of the split "train" when there are splits.
            workers: Nodes of the workers.
            server: Node of the server.
            slice: Slice of all messages and jobs, or its name.
            batch: Images of one worker in one step.
            steps: When training ends.
            seed: Of the weights, shards, batches and codes.
            costs: When None, two operations for each of the method's multiply-adds, and `Costs.per_value` for the rest.
            truth: What of `data.truth` is learned in place of labels, such as "pixel_labels" by a `Segmenter`. One that
                asks how frequent classes are is told so before (`Segmenter.counts`): a worker sees its shard alone.
            options: The constructor's other arguments.

        Raises:
            ValueError: A shard holds less than a batch, or as the constructor says.
        """
        train, num = data.only("train") if data.splits else data, len(workers)
        if truth is not None:
            check.one_of(train.truth, truth=truth)
        told = train.labels if truth is None else train.truth[truth]
        replicas = [
            Replica(method, wire, ShuffledBatches(train.images[p], told[p], batch, seed, w), seed, w, num)
            for w, p in enumerate(shards_of(train.labels, num, seed))
        ]
        if costs is None:
            costs = Costs.per_value(replicas[0].layout().num_values, 2 * method.operations(replicas[0].state, batch))
        return cls(replicas, workers=workers, server=server, slice=slice, costs=costs, steps=steps, **options)

    # --- beginning -----------------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Begin; called by `Network.add`.

        Raises:
            ValueError: A node or the slice is not of this network, or the replicas are not at one step.
        """
        steps = [replica.step for replica in self.replicas]
        if len(set(steps)) > 1:
            msg = f"replicas: got them at steps {steps}, expected all at the same; restore what each wrote down"
            raise ValueError(msg)
        self._check_nodes(network)
        for replica in self.replicas:
            self.hub.know(replica.layout())
        for worker in range(len(self.workers)):
            self._begin(network, worker)

    def _check_nodes(self, network: "Network") -> None:
        self._network = network
        network.slice_index(self.slice)
        for node in (*self.workers, self.server):
            network.check_node(node)
            if node not in network.servers:
                msg = f"workers: {node!r} computes nothing, expected one of {sorted(network.servers)}"
                raise ValueError(msg)

    @property
    def step(self) -> int:
        """The step that the slowest worker is at."""
        return min(replica.step for replica in self.replicas)

    @property
    def done(self) -> bool:
        """Whether all steps have been taken."""
        return self.step >= self.steps

    def gauges(self) -> Mapping[str, float]:
        """Return steps taken and the last score."""
        scores = [r.score for r in self.rounds if not np.isnan(r.score)]
        return {"steps": float(self.step), "score": scores[-1] if scores else float("nan")}

    def time_to(self, score: float) -> float:
        """Return when a score of at least that was first reached, in seconds; inf if it was not."""
        return next((r.ended_s for r in self.rounds if r.score >= score), float("inf"))

    # --- a worker's step -----------------------------------------------------------------------------------------

    def _begin(self, network: "Network", worker: int) -> None:
        """Compute a gradient: a job at the worker's own node, unless the step was taken without it already."""
        step = self.replicas[worker].step
        if step >= self.steps:
            return
        self._open.setdefault(step, OpenRound(network.now_s))
        self.places[worker].exchange = 0
        if (step, self.wire.exchanges - 1) in self.places[worker].inbox:
            return
        self._job(network, worker, "gradient", step, 0, self.costs.gradient + self.costs.encode)

    def _job(self, network: "Network", worker: int, what: str, step: int, exchange: int, operations: float) -> None:
        """Compute at a worker's node, in the node's queue; no operations take no time."""
        label = SEPARATOR.join((what, str(worker), str(step), str(exchange)))
        operations *= self.stragglers.get(worker, 1.0)
        if not operations:
            network.agenda.after(0.0, self.computed, label)
            return
        node = self.workers[worker]
        network.send(
            Flow(slice=self.slice, num_bytes=1, source=node, sink=node, operations=operations, label=label,
                 receiver=self.name)
        )  # fmt: skip

    def computed(self, label: str) -> None:
        """Go on after a job; also called by the agenda."""
        network = self._network
        what, number, at_step, at_exchange = label.split(SEPARATOR)
        worker, step, exchange = int(number), int(at_step), int(at_exchange)
        if what == "sum":
            self._answer(network)
            return
        replica, place = self.replicas[worker], self.places[worker]
        if not self._awaited(what, worker, step, exchange):
            return
        if what == "finish":
            self._finished(network, worker)
            return
        if what == "gradient":
            place.gradient_s = network.now_s
        received = place.inbox.get((step, exchange - 1), b"")
        place.message = replica.encode(exchange, received)
        self._send_up(network, worker, step, exchange)
        self._read(network, worker)

    def _awaited(self, what: str, worker: int, step: int, exchange: int) -> bool:
        """Return whether a worker's job is still wanted: the step may have gone on without it."""
        at = self.replicas[worker].step, self.places[worker].exchange
        return at == (step, -1 if what == "finish" else exchange)

    def _send_up(self, network: "Network", worker: int, step: int, exchange: int) -> None:
        message = self.places[worker].message
        now = self._open.get(step)
        if now is not None:
            now.up_bytes += len(message)
            now.largest[exchange] = max(now.largest.get(exchange, 0), len(message))
        label = SEPARATOR.join(("up", str(worker), str(step), str(exchange)))
        network.send(
            Flow(slice=self.slice, num_bytes=len(message), source=self.workers[worker], sink=self.server, label=label,
                 receiver=self.name)
        )  # fmt: skip

    def _read(self, network: "Network", worker: int) -> None:
        """Act on the answers that are there: the last one of the step ends it, be the worker ready or not."""
        replica, place = self.replicas[worker], self.places[worker]
        if place.exchange < 0:
            return
        step, last = replica.step, self.wire.exchanges - 1
        if (step, last) in place.inbox:
            place.exchange = -1
            self._job(network, worker, "finish", step, last, self.costs.finish)
        elif (step, place.exchange) in place.inbox and place.message:
            place.exchange, place.message = place.exchange + 1, b""
            self._job(network, worker, "encode", step, place.exchange, self.costs.encode)

    def _finished(self, network: "Network", worker: int) -> None:
        """Apply the mean gradient and begin the next step."""
        replica, place = self.replicas[worker], self.places[worker]
        step = replica.step
        replica.finish(place.inbox[step, self.wire.exchanges - 1])
        place.inbox = {at: answer for at, answer in place.inbox.items() if at[0] > step}
        place.message = b""
        now = self._open[step]
        now.finished += 1
        if worker == 0 and self.score is not None and (step + 1) % self.score_every == 0:
            now.score = float(self.score(replica))
        if now.finished == len(self.workers):
            del self._open[step]
            self.rounds.append(Round(
                step=step, began_s=now.began_s, gradients_s=now.gradients_s, answers_s=tuple(now.answers_s),
                ended_s=network.now_s, slowest=now.slowest, missed=tuple(sorted(now.missed)), up_bytes=now.up_bytes,
                largest_up_bytes=sum(now.largest.values()), down_bytes=now.down_bytes, resent=now.resent,
                score=now.score,
            ))  # fmt: skip
        self._begin(network, worker)
        self._read(network, worker)

    # --- the server ----------------------------------------------------------------------------------------------

    def receive(self, network: "Network", record: FlowRecord) -> None:
        """Take what a flow brought, or send it again; called by the network."""
        label = record.flow.label
        what, number, at_step, at_exchange = label.split(SEPARATOR)
        if not record.delivered:
            network.agenda.after(self.timeout_s, self.resend, label, record.flow)
            return
        if what not in ("up", "down"):
            self.computed(label)
            return
        worker, step, exchange = int(number), int(at_step), int(at_exchange)
        if what == "down":
            if step >= self.replicas[worker].step:
                # The server forgets old answers; an open round does not, for somebody may be long cut off.
                self.places[worker].inbox[step, exchange] = self._open[step].answers[exchange]
                self._read(network, worker)
            return
        if (step, exchange) != (self.hub.step, self.hub.exchange) or self._summing == (step, exchange):
            return  # too late
        first = not self.hub.waiting
        now, place = self._open[step], self.places[worker]
        self.hub.offer(place.message)
        now.slowest = worker
        if exchange == 0:
            now.gradients_s = max(now.gradients_s, place.gradient_s)
        if self.hub.complete:
            self._sum(network)
        elif first and self.patience_s is not None:
            network.agenda.after(self.patience_s, self.lose_patience, step, exchange)

    def resend(self, label: str, flow: Flow) -> None:
        """Send a message, or begin a job, again after it was lost; called by the agenda."""
        what, number, at_step, at_exchange = label.split(SEPARATOR)
        worker, step, exchange = int(number), int(at_step), int(at_exchange)
        now = self._open.get(step)
        if what == "up" and (step, exchange) != (self.hub.step, self.hub.exchange):
            return  # the step went on without it
        if what == "down" and self.replicas[worker].step > step:
            return
        if what not in ("up", "down", "sum") and not self._awaited(what, worker, step, exchange):
            return
        if now is not None:
            now.resent += 1
            now.up_bytes += flow.num_bytes if what == "up" else 0
            now.down_bytes += flow.num_bytes if what == "down" else 0
        self._network.send(replace(flow))

    def lose_patience(self, step: int, exchange: int) -> None:
        """Go on without those that have not spoken; called by the agenda."""
        if (step, exchange) == (self.hub.step, self.hub.exchange) and self._summing != (step, exchange):
            self._sum(self._network)

    def _sum(self, network: "Network") -> None:
        """Add up what is there: a job at the server's node."""
        self._summing = self.hub.step, self.hub.exchange
        label = SEPARATOR.join(("sum", "0", str(self.hub.step), str(self.hub.exchange)))
        operations = self.costs.aggregate * len(self.hub.waiting)
        if not operations:
            network.agenda.after(0.0, self.computed, label)
            return
        network.send(
            Flow(slice=self.slice, num_bytes=1, source=self.server, sink=self.server, operations=operations,
                 label=label, receiver=self.name)
        )  # fmt: skip

    def _answer(self, network: "Network") -> None:
        step, exchange = self._summing
        now = self._open[step]
        answer = self.hub.close()
        now.answers_s.append(network.now_s)
        now.answers[exchange] = answer
        now.missed |= set(self.hub.missed.get(step, ()))
        for worker, node in enumerate(self.workers):
            now.down_bytes += len(answer)
            label = SEPARATOR.join(("down", str(worker), str(step), str(exchange)))
            network.send(
                Flow(slice=self.slice, num_bytes=len(answer), source=self.server, sink=node, label=label,
                     receiver=self.name)
            )  # fmt: skip

    # --- written down ----------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return all that changes, as records and arrays; the network copies it."""
        return {
            "replicas": [replica.written() for replica in self.replicas],
            "checked": [-1 if r.end is None else r.end.checked_step for r in self.replicas],
            "hub": {
                "step": self.hub.step, "exchange": self.hub.exchange, "waiting": self.hub.waiting,
                "answers": self.hub.answers, "missed": self.hub.missed,
            },
            "places": self.places, "rounds": self.rounds, "open": self._open, "summing": self._summing,
        }  # fmt: skip

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "DistributedTraining":
        """Return this training as it was when `state` was copied, in another network."""
        replicas = []
        for own, arrays in zip(self.replicas, state["replicas"], strict=True):
            replica = replace(own, step=0, state=None, end=None)
            replica.restore(arrays)
            replicas.append(replica)
        fresh = DistributedTraining(
            replicas, workers=self.workers, server=self.server, slice=self.slice, costs=self.costs, steps=self.steps,
            stragglers=self.stragglers, timeout_s=self.timeout_s, patience_s=self.patience_s, score=self.score,
            score_every=self.score_every, name=self.name,
        )  # fmt: skip
        fresh._check_nodes(network)
        for replica, checked in zip(replicas, state["checked"], strict=True):
            fresh.hub.know(replica.layout())
            assert replica.end is not None
            replica.end.checked_step = checked
        for name, value in state["hub"].items():
            setattr(fresh.hub, name, value)
        fresh.places, fresh.rounds, fresh._open = state["places"], state["rounds"], state["open"]
        fresh._summing = state["summing"]
        return fresh


__all__ = ["Costs", "DistributedTraining", "Round"]
