"""Who answers a request: node or device, dense or sparse model, and what waits for a model to come."""

import numpy as np
import pytest

from tests.services.inference_cells import SPEED, cell, model, serve, sized
from wirelesslab.network import EMBB, Network
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services.delivery import Delivery
from wirelesslab.services.delivery_files import Release
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_policies import AlwaysDevice, AlwaysEdge, BestInTime, LeastDelay

# --- policies -------------------------------------------------------------------------------------------------------


def crowd(policy, *, rate_per_s: float, device_s: float = 0.02, until_s: float = 5.0, **options):
    images = sized(200, 300)
    right = np.array([True, False])
    models = [
        model(images, 2e-3, name="dense", accuracy=0.9),
        model(images, 4e-4, name="sparse", right=right, accuracy=0.8),
    ]
    return serve(images, models, policy=policy, clients=10, rate_per_s=rate_per_s, until_s=until_s,
                 device_operations_per_s=2e-3 * SPEED / device_s, **options)[0]  # fmt: skip


def test_always_edge_and_always_device_do_what_they_say():
    rules = {
        AlwaysEdge(): ("edge", "dense"),
        AlwaysEdge("sparse"): ("edge", "sparse"),
        AlwaysDevice("sparse"): ("device", "sparse"),
    }
    for policy, (where, name) in rules.items():
        service = crowd(policy, rate_per_s=5.0)
        assert {(r.where, r.model) for r in service.requests} == {(where, name)}
        spent = service.sums.up_bytes + service.sums.down_bytes
        assert (spent == 0) == (where == "device")


def test_the_device_takes_over_when_the_edge_is_crowded_and_only_then():
    calm, busy = (crowd(LeastDelay(), rate_per_s=rate, device_s=0.04, until_s=2.0) for rate in (5.0, 400.0))
    share = [np.mean([r.where == "device" for r in service.requests]) for service in (calm, busy)]
    assert share[0] < 0.35
    assert share[1] > share[0] + 0.2


def test_by_least_delay_answers_come_sooner_than_by_either_place_alone_when_both_are_needed():
    means = [
        crowd(policy, rate_per_s=70.0).sums.delays.mean
        for policy in (LeastDelay(), AlwaysEdge("sparse"), AlwaysEdge("dense"), AlwaysDevice("dense"))
    ]
    assert means[0] < min(means[1:])


def test_the_best_model_that_is_expected_in_time_is_taken():
    patient, hasty = (crowd(BestInTime(), rate_per_s=2.0, deadline_s=deadline_s) for deadline_s in (0.2, 0.0072))
    assert {r.model for r in patient.requests} == {"dense"}
    assert {r.model for r in hasty.requests} == {"sparse"}


def test_who_hears_nothing_in_time_turns_to_its_device_and_tries_again_later():
    images = sized(200)
    models = [model(images, 2e-3, name="dense", accuracy=0.9), model(images, 4e-4, name="sparse", accuracy=0.8)]
    graph = cell(10, hub=True, up_bps=5e4)  # ten times less than is asked for: nothing comes back in time
    service, _ = serve(images, models, policy=BestInTime(), graph=graph, clients=10, rate_per_s=10.0, until_s=20.0,
                       deadline_s=0.1, device_operations_per_s=1e7)  # fmt: skip
    late = [r for r in service.requests if r.sent_s > 5.0]
    on_device = np.mean([r.where == "device" for r in late])
    assert 0.7 < on_device < 1.0
    assert np.mean([r.in_time for r in late]) > 0.7
    always, _ = serve(images, models, policy=AlwaysEdge(), graph=graph, clients=10, rate_per_s=10.0, until_s=20.0,
                      deadline_s=0.1)  # fmt: skip
    assert always.sums.in_time < 0.05 * always.sums.asked


def test_equal_seeds_meet_equal_arrivals_whatever_the_policy_does():
    first, second = (crowd(policy, rate_per_s=20.0) for policy in (AlwaysEdge(), LeastDelay()))
    asked = [{r.number: (r.client, r.image, r.sent_s) for r in service.requests} for service in (first, second)]
    both = asked[0].keys() & asked[1].keys()
    assert len(both) > 900
    assert all(asked[0][number] == asked[1][number] for number in both)


# --- with a delivery ------------------------------------------------------------------------------------------------


def test_the_first_answer_of_a_device_waits_for_its_model_and_the_span_says_how_long():
    graph, nodes = cell(3)
    add_node(graph, "cloud", "cloud", (-1.0, 0.0))
    add_link(graph, "edge-1", "cloud", rate_bps=1e7, delay_s=5e-3)
    network = Network(graph, (EMBB,), seed=1)
    content = np.random.default_rng(1).bytes(50_000)
    release = Release.of_bytes("dense", "1", content)
    delivery = network.add(Delivery([release], origin="cloud", clients=nodes, slice=EMBB, caches={"edge-1": 10**6}))
    images = sized(200)
    service = network.add(
        Inference([model(images)], images, at="edge-1", clients=nodes, slice=EMBB, policy=AlwaysDevice(),
                  device_operations_per_s=SPEED / 10, delivery="delivery")
    )  # fmt: skip
    for _ in range(3):
        service.ask(0)
    network.run(0.1)
    copy = Network.restored(network.snapshot())
    for one in (network, copy):
        one.run(9.0)
    network.check()
    (download,) = delivery.downloads
    for place, request in enumerate(service.requests):
        spans = request.life.spans_s
        assert spans["model"] == download.delay_s
        assert spans["queue"] == pytest.approx(place * 0.01, abs=1e-12)
        assert spans["compute"] == pytest.approx(0.01, rel=1e-9)
        assert request.up_bytes == request.down_bytes == 0
    assert copy.snapshot().digest() == network.snapshot().digest()
    network.actors["inference"].ask(0)
    network.run(10.0)
    assert service.requests[-1].life.spans_s["model"] == 0.0  # it has the model now
