"""A method of vision trains in one process, in processes of its own, and over the network, to the same bits."""

from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import networkx as nx
import numpy as np
import pytest

from wirelesslab.network import EMBB, Network
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.rng import stream
from wirelesslab.services.training import Costs, DistributedTraining
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.crews import shards_of
from wirelesslab.vision.data import Data
from wirelesslab.vision.parallel import Replica, ShuffledBatches, train_in_one_process
from wirelesslab.vision.parallel_processes import ProcessOptions, train_in_processes
from wirelesslab.vision.wires import Ternary

STEPS, WORKERS = 3, 2


@dataclass(frozen=True)
class Job:
    """Two workers train a small net on noise with a brighter half."""

    backbone: str = "digits"
    wire: Ternary = Ternary()
    workers: int = WORKERS
    steps: int = STEPS

    def replica(self, worker: int) -> Replica:
        learner = Classifier(backbone=self.backbone, num_classes=2)
        rng = stream(worker, "images")
        labels = rng.integers(0, 2, 32)
        images = rng.random((32, *shape_of(self.backbone))).astype(np.float32) * 0.5
        images[:, :4] += 0.5 * labels[:, None, None, None].astype(np.float32)
        return Replica(learner, self.wire, ShuffledBatches(images, labels, 8, 1, worker), 1, worker, self.workers)


def shape_of(backbone: str) -> tuple[int, int, int]:
    from wirelesslab.vision.backbones import INPUTS

    return tuple(INPUTS[backbone][:3])


@cache
def in_one_process(backbone: str) -> tuple[str, ...]:
    replicas = [Job(backbone).replica(worker) for worker in range(WORKERS)]
    train_in_one_process(replicas, STEPS)
    return tuple(sha256(r.weights()).hexdigest() for r in replicas)


def test_replicas_of_a_method_stay_alike():
    first, second = in_one_process("digits")
    assert first == second


def test_the_network_trains_a_method_to_the_same_bits():
    graph = nx.DiGraph()
    add_node(graph, "edge-1", "edge", (0.0, 0.0), operations_per_s=1e9)
    for worker in range(WORKERS):
        add_node(graph, f"gnb-{worker}", "gnb", (1.0, worker), operations_per_s=1e9)
        add_link(graph, f"gnb-{worker}", "edge-1", rate_bps=1e6, delay_s=1e-3)
    network, job = Network(graph, (EMBB,)), Job()
    replicas = [job.replica(worker) for worker in range(WORKERS)]
    operations = 2 * replicas[0].learner.operations(replicas[0].state, 8)
    training = network.add(
        DistributedTraining(replicas, workers=[f"gnb-{w}" for w in range(WORKERS)], server="edge-1", slice=EMBB,
                            costs=Costs.per_value(replicas[0].layout().num_values, operations), steps=STEPS)
    )  # fmt: skip
    network.run(0.01)
    copy = Network.restored(network.snapshot())
    for one in (network, copy):
        one.run(100.0)
        one.check()
        digests = [sha256(r.weights()).hexdigest() for r in one.actors["training"].replicas]
        assert tuple(digests) == in_one_process("digits")
    assert training.done


def test_a_training_is_said_with_a_method_a_wire_and_data():
    graph = nx.DiGraph()
    add_node(graph, "edge-1", "edge", (0.0, 0.0), operations_per_s=1e9)
    add_node(graph, "gnb-1", "gnb", (1.0, 0.0), operations_per_s=1e9)
    add_link(graph, "gnb-1", "edge-1", rate_bps=1e6, delay_s=1e-3)
    rng = stream(5, "images")
    data = Data(rng.random((40, *shape_of("digits"))).astype(np.float32), rng.integers(0, 2, 40), ("dim", "bright"),
                {"train": np.arange(32), "test": np.arange(32, 40)})  # fmt: skip
    method, network = Classifier(backbone="digits", num_classes=2), Network(graph, (EMBB,))
    training = network.add(DistributedTraining.of(
        method, Ternary(), data, workers=["gnb-1", "edge-1"], server="edge-1", slice=EMBB, batch=8, steps=STEPS, seed=4
    ))  # fmt: skip
    network.run(100.0)
    network.check()
    assert training.done
    assert training.costs.gradient == 2 * method.operations(training.replicas[0].state, 8)
    train = data.only("train")
    alone = [
        Replica(method, Ternary(), ShuffledBatches(train.images[p], train.labels[p], 8, 4, w), 4, w, 2)
        for w, p in enumerate(shards_of(train.labels, 2, 4))
    ]
    train_in_one_process(alone, STEPS)
    assert {r.weights() for r in training.replicas} == {r.weights() for r in alone}
    with pytest.raises(ValueError, match="batch_size"):
        DistributedTraining.of(
            method, Ternary(), data, workers=["gnb-1", "edge-1"], server="edge-1", slice=EMBB, batch=17, steps=1
        )


def test_processes_train_a_method_to_the_same_bits_even_when_one_is_killed():
    run = train_in_processes(Job(), ProcessOptions(kill_at=((1, 1, 1),), timeout_s=120))
    assert run.killed == ((1, 1),)
    assert run.digests == in_one_process("digits")


def test_moving_moments_travel_as_they_are_and_are_averaged():
    job = Job("resnet8")
    replicas = [job.replica(worker) for worker in range(WORKERS)]
    layout = replicas[0].layout()
    kinds = list(replicas[0].learner.travels(replicas[0].state).values())
    assert layout.exact == tuple(place for place, kind in enumerate(kinds) if kind == "statistic")
    assert layout.exact
    own = [r.gradients() for r in replicas]
    train_in_one_process(replicas, 1)
    moved = list(replicas[0].state.part("statistics").values())
    for place, moment in zip(layout.exact, moved, strict=True):
        np.testing.assert_allclose(moment, np.mean([g[place] for g in own], axis=0), rtol=1e-6, atol=1e-9)
