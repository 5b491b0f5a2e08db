"""Segmentation over the network: center collapse adds nothing to a download; masks are served; workers train."""

from hashlib import sha256

import networkx as nx
import numpy as np
import pytest

from tests.services.inference_cells import cell
from wirelesslab.network import EMBB, Network, Poisson
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services.delivery import Delivery
from wirelesslab.services.delivery_files import Release
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_images import EncodedImages
from wirelesslab.services.inference_models import GoodMask, ServedModel
from wirelesslab.services.training import DistributedTraining
from wirelesslab.vision.crews import shards_of
from wirelesslab.vision.data import Data
from wirelesslab.vision.keras_files import export_keras, import_keras
from wirelesslab.vision.neural_collapse.collapse import CenterCollapse
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.parallel import Replica, ShuffledBatches, train_in_one_process
from wirelesslab.vision.segmentation import Segmenter
from wirelesslab.vision.segmentation_losses import ClassCounts
from wirelesslab.vision.segmentation_metrics import IGNORED
from wirelesslab.vision.wires import Ternary
from wirelesslab.vision.worlds.scenes import Scenes

SMALL = {"shape": (24, 24, 3), "widths": (4, 4, 8), "features": 9, "steps": 2, "batch_size": 4}
SCENES = Scenes(train=16, validation=0, test=12, side=24)
BRANCHES = {
    "none": None, "default": CenterCollapse(),
    "learned": CenterCollapse(classifier="learned", projection="learned"),
}  # fmt: skip


@pytest.fixture(scope="module")
def world():
    return SCENES.data(1)


@pytest.fixture(scope="module")
def files(world, tmp_path_factory):
    """Exported nets after two steps of training, by what stood beside cross entropy."""
    folder, found = tmp_path_factory.mktemp("nets"), {}
    for name, collapse in BRANCHES.items():
        method = Segmenter(collapse=collapse, **SMALL)
        state = method.fit(method.build(3), world, 3).state
        found[name] = export_keras(folder / name / "net.keras", method, state)
    return found


def tree():
    graph = nx.DiGraph()
    add_node(graph, "edge-1", "edge", (0.0, 0.0), operations_per_s=1e9)
    for worker in range(2):
        add_node(graph, f"gnb-{worker}", "gnb", (1.0, float(worker)), operations_per_s=1e9)
        add_link(graph, f"gnb-{worker}", "edge-1", rate_bps=1e6, delay_s=1e-3)
    return graph


@pytest.mark.parametrize("branch", [name for name in BRANCHES if name != "none"])
def test_center_collapse_adds_nothing_to_what_is_downloaded(files, branch):
    plain, ours = import_keras(files["none"]), import_keras(files[branch])
    assert ours.to_json() == plain.to_json()
    assert [(v.path, v.shape) for v in ours.variables] == [(v.path, v.shape) for v in plain.variables]
    assert any(np.any(a.numpy() != b.numpy()) for a, b in zip(ours.variables, plain.variables, strict=True))
    assert files[branch].stat().st_size == files["none"].stat().st_size


def test_a_delivery_carries_as_many_bytes_with_center_collapse_as_without(files):
    told = []
    for name in ("none", "default"):
        network = Network(tree(), (EMBB,), seed=1, keep_records=None)
        delivery = network.add(
            Delivery([Release.of_file("net", "1", files[name])], origin="edge-1", slice=EMBB, starts_s=[0.0, 0.5],
                     clients=["gnb-0", "gnb-1"], chunk_bytes=10_000)
        )  # fmt: skip
        network.run(60.0)
        network.check()
        told.append([(d.content_bytes, d.chunk_bytes, d.manifest_bytes, d.ask_bytes, d.ended_s)
                     for d in delivery.downloads])  # fmt: skip
    assert len(told[0]) == 2
    assert told[0] == told[1]


# --- masks as answers -------------------------------------------------------------------------------------------------


def test_a_mask_is_right_only_when_rare_classes_are_found():
    masks = np.zeros((3, 10, 10), np.uint8)
    masks[1, :2, :2] = 1  # 4 pixels of 100
    masks[2] = IGNORED
    data = Data(np.zeros((3, 10, 10, 1), np.float32), np.array([0, 1, 0]), ("sky", "bird"),
                truth={"pixel_labels": masks})  # fmt: skip
    lazy = np.zeros((3, 10, 10), np.uint8)  # 96 % of the second picture's pixels, and no bird
    np.testing.assert_array_equal(GoodMask(0.6)(lazy, data), [True, False, False])
    np.testing.assert_array_equal(GoodMask(0.48)(lazy, data), [True, True, False])  # (0.96 + 0) / 2
    np.testing.assert_array_equal(GoodMask(1.0)(np.where(masks == IGNORED, 0, masks), data), [True, True, False])
    with pytest.raises(ValueError, match=r"got truth of nothing, expected 'pixel_labels' among it; masks are"):
        GoodMask()(lazy, Data(data.images, data.labels, data.classes))
    with pytest.raises(ValueError, match=r"least: got 60, .*write 60 % as 0.6"):
        GoodMask(60)


def test_a_segmenter_answers_requests_with_masks(world):
    method, test = Segmenter(**SMALL), world.only("test")
    state = method.fit(method.build(3), world, 3).state
    images = EncodedImages.of(test)
    served = ServedModel.of(method, state, test, images, judge=GoodMask(0.2))
    seen = method.predict(state, images.seen())
    np.testing.assert_array_equal(served.right, GoodMask(0.2)(seen, test))
    assert served.operations == 2 * sum(forward_macs(method.model()).values())
    assert np.all(served.answer_bytes > 24 * 24)  # a byte for each pixel, and a header
    graph, clients = cell(2, up_bps=1e6)
    network = Network(graph, (EMBB,), seed=1, keep_records=None)
    service = network.add(
        Inference([served], images, at="edge-1", clients=clients, traffic=Poisson(rate_per_s=5.0, num_bytes=1),
                  slice=EMBB, keep_records=None)
    )  # fmt: skip
    network.run(10.0)
    network.check()
    assert service.sums.answered > 20  # of some 100 that were asked
    assert service.sums.down_bytes >= service.sums.answered * served.answer_bytes.min()


# --- training over the network ----------------------------------------------------------------------------------------


def test_workers_train_a_segmenter_over_the_network_to_the_same_bits_as_in_one_process(world):
    train = world.only("train")
    masks = train.truth["pixel_labels"]
    method = Segmenter(collapse=CenterCollapse(), counts=ClassCounts.of(masks, world.num_classes), **SMALL)
    network = Network(tree(), (EMBB,), seed=1)
    training = network.add(
        DistributedTraining.of(method, Ternary(), world, workers=["gnb-0", "gnb-1"], server="edge-1", slice=EMBB,
                               batch=4, steps=2, seed=4, truth="pixel_labels")
    )  # fmt: skip
    network.run(100.0)
    network.check()
    assert training.done
    alone = [
        Replica(method, Ternary(), ShuffledBatches(train.images[p], masks[p], 4, 4, w), 4, w, 2)
        for w, p in enumerate(shards_of(train.labels, 2, 4))
    ]
    train_in_one_process(alone, 2)
    digests = {sha256(replica.weights()).hexdigest() for replica in (*training.replicas, *alone)}
    assert len(digests) == 1
    with pytest.raises(ValueError, match=r"truth: got 'pixel_label', .*did you mean 'pixel_labels'"):
        DistributedTraining.of(method, Ternary(), world, workers=["gnb-0", "gnb-1"], server="edge-1", slice=EMBB,
                               batch=4, steps=2, truth="pixel_label")  # fmt: skip
