"""Few shots over the network: backbone and prototypes travel once, to the byte; calibration is the device's own."""

from dataclasses import replace

import numpy as np
import pytest

from tests.services.inference_cells import SPEED, cell
from wirelesslab.network import EMBB, Network, Poisson
from wirelesslab.services.delivery import Delivery
from wirelesslab.services.delivery_files import Key, Release
from wirelesslab.services.few_shots import (
    BACKBONE,
    PRIOR,
    FewShotDevice,
    release_of,
    served_episodes,
    write_files,
    write_prior,
)
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_images import EncodedImages
from wirelesslab.services.inference_models import ServedModel
from wirelesslab.services.inference_policies import AlwaysDevice
from wirelesslab.services.inference_records import SPANS
from wirelesslab.vision.few_shot import Episodes, FewShot
from wirelesslab.vision.few_shot.nets import Backbone
from wirelesslab.vision.few_shot.pretraining import Pretraining
from wirelesslab.vision.keras_files import WeightFileError
from wirelesslab.vision.worlds.characters import Characters

WORLD = Characters(families=3, base_per_family=2, validation_families=1, pictures=8, novel_pictures=6, side=12)
METHOD = FewShot(
    pretraining=Pretraining(
        backbone=Backbone(widths=(4, 4, 4, 8), shape=(12, 12, 1)), num_classes=6, batch_size=16, epochs=1
    )
)
EPISODES = Episodes(ways=3, shots=1, queries=2, count=8, seed=3)
EACH = 6  # queries of an episode
NAME = "few-shot"


@pytest.fixture(scope="module")
def world():
    return WORLD.data(1)


@pytest.fixture(scope="module")
def state(world):
    return METHOD.fit(METHOD.build(1), world, 1).state


@pytest.fixture(scope="module")
def folder(state, tmp_path_factory):
    return write_files(tmp_path_factory.mktemp("published"), METHOD, state)


@pytest.fixture(scope="module")
def served(world, folder, tmp_path_factory):
    """The model of a device that has the files, its queries, the episodes and their pictures."""
    test = world.only("test")
    drawn = EPISODES.draw(test.labels, test.classes)
    device = FewShotDevice.of(release_of(NAME, "1", folder), METHOD.rule, tmp_path_factory.mktemp("device"))
    return (*served_episodes(device, test, drawn, name=NAME), device, drawn, test)


def test_a_method_that_does_not_learn_backward_is_charged_what_its_answers_cost(world, state):
    test = world.only("test")
    _, first = np.unique(test.labels, return_index=True)
    taught = METHOD.learn(state, test.images[first], test.labels[first], test.classes)
    served = ServedModel.of(METHOD, taught, test, EncodedImages.of(test))
    assert served.operations == 2 * METHOD.query_macs(taught) > 2 * METHOD.pretraining.feature_macs()


def run(served, folder, clients=2, rate_per_s=0.0, until_s=0.001):
    graph, nodes = cell(clients)
    network = Network(graph, (EMBB,), seed=1, keep_records=None)
    delivery = network.add(
        Delivery([release_of(NAME, "1", folder)], origin="edge-1", clients=nodes, slice=EMBB, chunk_bytes=5_000)
    )
    traffic = Poisson(rate_per_s=rate_per_s, num_bytes=1) if rate_per_s else None
    service = network.add(
        Inference([served[0]], served[1], at="edge-1", clients=nodes, slice=EMBB, policy=AlwaysDevice(),
                  traffic=traffic, device_operations_per_s=SPEED / 20, delivery="delivery", keep_records=None)
    )  # fmt: skip
    network.run(until_s)
    return network, delivery, service


def carried(network):
    """Bytes that all links have carried."""
    return sum(int(station.account().served_bytes.sum()) for name, station in network.stations.items() if "->" in name)


# --- what travels -----------------------------------------------------------------------------------------------------


def test_what_travels_is_the_two_files_in_one_frame_to_the_byte(served, folder):
    network, delivery, _ = run(served, folder)
    delivery.fetch(0)
    network.run(20.0)
    network.check()
    (download,) = delivery.downloads
    files = sum((folder / part).stat().st_size for part in (BACKBONE, PRIOR))
    frame = 12 + sum(4 + len(part) + 8 for part in (BACKBONE, PRIOR))  # counts; a name and a length for each part
    assert download.content_bytes == download.chunk_bytes == files + frame
    assert download.manifest_bytes == len(delivery.payload(Key(NAME, "", "1")).manifest)
    assert carried(network) == download.content_bytes + download.manifest_bytes + download.ask_bytes
    held = delivery.held_release(0, NAME)
    assert all(held.parts[part] == (folder / part).read_bytes() for part in (BACKBONE, PRIOR))


def test_prototypes_are_single_precision_values_of_base_classes(served, state, folder):
    found = served[2].prior["prototypes"]
    assert (found.shape, found.dtype) == ((6, 8), np.float32)
    np.testing.assert_array_equal(found, METHOD.prior(state)["prototypes"])
    overhead = (folder / PRIOR).stat().st_size - found.nbytes
    assert 0 < overhead < 1_000  # two entries of an archive, their heads and a description with a checksum


def test_a_second_version_with_new_prototypes_sends_them_alone(served, state, folder, world, tmp_path):
    network, delivery, _ = run(served, folder)
    delivery.fetch(0)
    network.run(20.0)
    before = carried(network)
    base = world.only("train")
    features = METHOD.pretraining.features(state, base.images)
    kept = base.labels < 5  # a base class was withdrawn
    prior = METHOD.rule.prior(features[kept], base.labels[kept])
    (tmp_path / BACKBONE).write_bytes((folder / BACKBONE).read_bytes())
    second = release_of(NAME, "2", write_prior(tmp_path, prior))
    delivery.publish(second)
    delivery.fetch(0)
    network.run(40.0)
    network.check()
    update = delivery.downloads[1]
    assert (update.base, update.version) == ("1", "2")
    assert update.content_bytes == (tmp_path / PRIOR).stat().st_size + 12 + 4 + len(PRIOR) + 8
    assert carried(network) - before == update.content_bytes + update.manifest_bytes + update.ask_bytes
    assert update.content_bytes < delivery.downloads[0].content_bytes / 10
    device = FewShotDevice.of(delivery.held_release(0, NAME), METHOD.rule, tmp_path / "device")
    np.testing.assert_array_equal(device.prior["prototypes"], prior["prototypes"])


def test_further_episodes_send_no_byte(served, folder):
    network, delivery, service = run(served, folder)
    for query in range(EACH):
        service.ask(0, query)
    network.run(20.0)
    assert len(delivery.downloads) == 1
    before, asked = carried(network), service.sums.asked
    for query in range(EACH, EACH * len(served[3])):  # seven more episodes, of new shots and other classes
        service.ask(0, query)
    network.run(40.0)
    network.check()
    assert len({tuple(sorted(c)) for c in served[3].classes.tolist()}) > 1
    assert carried(network) == before > 0
    assert service.sums.answered == asked + EACH * 7 == 48
    assert service.sums.up_bytes == service.sums.down_bytes == 0


# --- what is felt and got ---------------------------------------------------------------------------------------------


def test_the_device_answers_as_the_method_does(served, state):
    model, images, device, drawn, test = served
    said = device.answers(test, drawn)
    assert said.shape == (8, EACH)
    assert len(images) == model.right.size == 8 * EACH
    features = METHOD.pretraining.features(state, test.images)
    np.testing.assert_allclose(device.features(test.images), features, rtol=1e-5, atol=1e-6)  # float32, another graph
    there = device.rule.calibrate(device.prior, drawn.support(features))
    here = METHOD.rule.calibrate(METHOD.prior(state), drawn.support(features))
    np.testing.assert_array_equal(there.vectors, here.vectors)  # to the last bit: the file holds the prior as it is
    for episode, places in enumerate(drawn.places):
        shots, queries = places[:, 0], places[:, 1:].ravel()
        taught = METHOD.learn(state, test.images[shots], test.labels[shots], test.classes)
        found = METHOD.predict(taught, test.images[queries])
        np.testing.assert_array_equal(said[episode], found)
        np.testing.assert_array_equal(model.right[episode * EACH :][:EACH], found == test.labels[queries])
        assert model.operations == 2 * METHOD.query_macs(taught)


def test_delays_are_sums_of_spans_and_the_first_waits_for_what_has_to_come(served, folder):
    network, delivery, service = run(served, folder, clients=3, rate_per_s=5.0, until_s=20.0)
    network.check()
    assert len(service.requests) > 200  # of some 300 that three clients ask
    assert len(delivery.downloads) == 3
    compute_s = served[0].operations / (SPEED / 20)
    for request in service.requests:
        assert request.ending == "answered"
        assert request.where == "device"
        assert request.right == served[0].right[request.image]
        assert sum(request.life.exact_spans().values()) == request.life.exact_delay
        spans = request.life.spans_s
        assert tuple(spans) == SPANS
        assert spans["uplink"] == spans["downlink"] == 0.0
        assert spans["compute"] == pytest.approx(compute_s, rel=1e-9)
        came_s = next(d.ended_s for d in delivery.downloads if d.client == request.client)
        assert spans["model"] == pytest.approx(max(0.0, came_s - request.sent_s), abs=1e-9)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_what_is_no_such_release_is_refused(served, folder, tmp_path, world):
    with pytest.raises(FileNotFoundError, match=r"no file .*backbone\.keras; write it first"):
        release_of(NAME, "1", tmp_path)
    with pytest.raises(ValueError, match=r"got parts \['file'\], expected"):
        FewShotDevice.of(Release.of_bytes(NAME, "1", b"x"), METHOD.rule, tmp_path)
    whole = release_of(NAME, "1", folder)
    cut = replace(whole, parts={**whole.parts, PRIOR: whole.parts[PRIOR][:-30]})
    with pytest.raises(WeightFileError, match="weights: "):
        FewShotDevice.of(cut, METHOD.rule, tmp_path)
    with pytest.raises(ValueError, match=r"draw among data\.labels"):
        served_episodes(served[2], world.only("train"), served[3])
