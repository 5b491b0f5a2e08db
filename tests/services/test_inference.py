"""Requests that are answered: where every second and byte goes, and what becomes of them."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest

from tests.services.inference_cells import DELAY_S, SPEED, UP_BPS, cell, model, serve, sized
from wirelesslab.network import EMBB, URLLC, Network, Outage, Poisson, ResourceRatio, SetRatios
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_images import EncodedImages, Png, Raw, encode_answer
from wirelesslab.services.inference_models import ServedModel
from wirelesslab.services.inference_policies import AlwaysDevice, AlwaysEdge, BestInTime, LeastDelay, Option
from wirelesslab.services.inference_records import SPANS, Batching
from wirelesslab.services.inference_times import Way
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.method import Fit, State

# --- where the time goes --------------------------------------------------------------------------------------------


def test_every_delay_is_the_exact_sum_of_its_spans():
    batching = Batching(max_size=4, max_wait_s=2e-3, overhead_s=1e-3)
    service, _ = serve(batching=batching, deadline_s=0.012, rate_per_s=150.0, until_s=5.0)
    assert len(service.requests) > 2000
    assert {request.ending for request in service.requests} == {"answered", "dropped"}
    for request in service.requests:
        assert sum(request.life.exact_spans().values()) == request.life.exact_delay
        assert request.life.delay_s == request.delay_s
        assert tuple(request.life.spans_s) == SPANS


def test_spans_are_those_that_the_network_saw_itself():
    graph, nodes = cell(2)
    network = Network(graph, (EMBB,), seed=1, keep_records=None, spans=True)
    images = sized(200, 300, 400)
    service = network.add(Inference([model(images)], images, at="edge-1", clients=nodes, slice=EMBB, keep_records=None,
                                    traffic=Poisson(rate_per_s=150, num_bytes=1)))  # fmt: skip
    run = network.run(5.0)
    ups = [r for r in run.records if r.flow.sink == "edge-1" and r.flow.source != "edge-1"]
    jobs = [r for r in run.records if r.flow.source == r.flow.sink]
    arrived = {(r.sent_s, r.ended_s) for r in ups}
    computed = {(r.sent_s, r.ended_s) for r in jobs}
    for request in service.requests:
        assert (request.sent_s, request.arrived_s) in arrived
        assert (request.began_s, request.computed_s) in computed
    waited = sum(b - a for r in ups for what, _, a, b in r.spans if what == "queue")
    assert waited > 0


def test_a_request_alone_takes_its_bytes_and_operations_and_nothing_else():
    images = sized(250)
    service, network = serve(images, [model(images, 3e-3)], clients=1, rate_per_s=0, until_s=0.5)
    service.ask(0)
    network.run(1.0)
    (request,) = service.requests
    answer = len(encode_answer(0, 0, np.int64(0)))
    expected = {
        "model": 0.0, "uplink": 8 * 250 / UP_BPS + DELAY_S, "queue": 0.0, "compute": 3e-3,
        "downlink": 8 * answer / UP_BPS + DELAY_S,
    }  # fmt: skip
    assert request.life.spans_s == pytest.approx(expected, rel=1e-9)
    assert (request.up_bytes, request.down_bytes) == (250, answer)


def test_links_carry_the_encoded_requests_and_answers_to_the_byte():
    data = digits(1).only("test").at(np.arange(40))
    images = EncodedImages.of(data)
    served = model(images)
    service, network = serve(images, [served])
    network.run(31.0)
    requests = list(service.requests)
    assert all(r.up_bytes == len(images.request(r.number, 0, r.image)) for r in requests)
    assert all(r.down_bytes == len(encode_answer(r.number, 0, np.int64(0))) for r in requests)
    up = sum(int(network.stations[f"device-{i}->edge-1"].account().offered_bytes.sum()) for i in range(4))
    down = sum(int(network.stations[f"edge-1->device-{i}"].account().offered_bytes.sum()) for i in range(4))
    assert (up, down) == (service.sums.up_bytes, service.sums.down_bytes)


def test_compute_takes_longer_under_a_smaller_share_of_the_node():
    for share in (1.0, 0.25):
        half = replace(EMBB, compute=ResourceRatio.isolated(share)) if share < 1 else EMBB
        images = sized(200)
        graph = cell(1)
        network = Network(graph[0], (half, URLLC), seed=1)
        service, _ = serve(images, [model(images)], graph=graph, network=network, rate_per_s=5.0)
        spans = np.array([r.life.spans_s["compute"] for r in service.requests])
        np.testing.assert_allclose(spans, 1e-3 / share, rtol=1e-9)


# --- batches --------------------------------------------------------------------------------------------------------


def test_every_request_is_in_one_batch_and_batches_keep_their_size_and_wait():
    batching = Batching(max_size=5, max_wait_s=4e-3, overhead_s=2e-3)
    service, network = serve(batching=batching, rate_per_s=60.0, models=None, until_s=20.0)
    network.run(25.0)
    by_batch: dict[int, list] = {}
    for request in service.requests:
        by_batch.setdefault(request.batch, []).append(request)
    sizes = []
    for requests in by_batch.values():
        assert len({r.batch_size for r in requests}) == 1
        assert len({(r.began_s, r.computed_s) for r in requests}) == 1
        sizes.append(requests[0].batch_size)
        if len(requests) == requests[0].batch_size:  # of the last, some are under way
            expected_s = batching.overhead_s + len(requests) * 1e-3
            assert requests[0].computed_s - requests[0].began_s == pytest.approx(expected_s, rel=1e-9)
    assert max(sizes) <= 5
    assert len(set(sizes)) > 2
    assert service.sums.batched == service.sums.answered + sum(p.batch >= 0 for p in service._pending.values())


def test_while_the_node_is_free_nobody_waits_longer_for_company_than_declared():
    service, _ = serve(batching=Batching(max_size=100, max_wait_s=7e-3), rate_per_s=3.0)
    waits = [r.life.spans_s["queue"] for r in service.requests]
    assert max(waits) == pytest.approx(7e-3, rel=1e-9)
    assert sum(wait == max(waits) for wait in waits) or min(waits) < 7e-3


def test_batches_share_their_overhead_so_that_a_busy_node_answers_more():
    images = sized(60)
    answered = [
        serve(images, [model(images, 2e-4)], rate_per_s=300.0, until_s=3.0,
              batching=Batching(max_size=size, overhead_s=2e-3))[0].sums.answered
        for size in (1, 4, 16)
    ]  # fmt: skip
    assert answered[0] < answered[1] < answered[2]


def test_a_batch_holds_requests_for_one_model_and_the_oldest_goes_first():
    images = sized(100)
    models = [model(images, name="dense"), model(images, 2e-4, name="sparse")]

    @dataclass(frozen=True)
    class InTurns:
        def choose(self, sight):
            return sight.options[sight.client % 2]

    service, _ = serve(images, models, policy=InTurns(), rate_per_s=100.0, until_s=5.0, batching=Batching(max_size=3))
    names: dict[int, set] = {}
    for request in service.requests:
        names.setdefault(request.batch, set()).add(request.model)
    assert all(len(found) == 1 for found in names.values())
    assert set.union(*names.values()) == {"dense", "sparse"}
    for name in ("dense", "sparse"):
        began = [r.began_s for r in sorted(service.requests, key=lambda r: (r.arrived_s, r.number)) if r.model == name]
        assert began == sorted(began)


# --- deadlines ------------------------------------------------------------------------------------------------------


def test_what_is_dropped_would_have_been_late_and_nothing_that_was_in_time_is_lost():
    options = {"graph": cell(20, hub=True), "clients": 20, "rate_per_s": 24.0, "deadline_s": 0.015, "until_s": 20.0}
    images = sized(200, 260)
    kept, _ = serve(images, [model(images, 2.2e-3)], **options, drop=False)
    dropping, _ = serve(images, [model(images, 2.2e-3)], **options, drop=True)
    fate = {r.number: r for r in kept.requests}
    dropped = [r for r in dropping.requests if r.ending == "dropped"]
    assert len(dropped) > 100
    for request in dropped:
        if request.number in fate:  # the same arrivals; first come first served, so here nobody waits longer
            assert not fate[request.number].in_time
            assert request.ended_s < fate[request.number].ended_s
    in_time = {r.number for r in kept.requests if r.in_time}
    assert in_time <= {r.number for r in dropping.requests if r.in_time}
    assert dropping.sums.in_time > kept.sums.in_time
    assert kept.sums.dropped == 0


def test_a_request_is_dropped_no_sooner_than_it_cannot_be_met_any_more():
    options = {"clients": 20, "rate_per_s": 30.0, "deadline_s": 0.02, "until_s": 10.0}
    service, network = serve(graph=cell(20, hub=True), batching=Batching(max_size=4, overhead_s=4e-3), **options)
    back = Way.along(network.routes, "edge-1", "gnb-1", 65_536)
    dropped = [r for r in service.requests if r.ending == "dropped"]
    assert dropped
    for request in dropped:
        least_s = 4e-3 + 1e-3 + back.least_s(int(service.models[0].answer_bytes[request.image]))
        assert request.ended_s + least_s > request.due_s
        assert request.down_bytes == 0


def test_a_device_drops_what_would_end_late_and_begins_nothing_in_vain():
    images = sized(200)
    service, _ = serve(images, [model(images, 1e-3)], policy=AlwaysDevice(), device_operations_per_s=SPEED / 40,
                       deadline_s=0.1, rate_per_s=30.0)  # fmt: skip
    answered = [r for r in service.requests if r.ending == "answered"]
    assert service.sums.dropped > 0
    assert all(r.in_time for r in answered)
    for client in range(4):  # a device does one thing at a time, in order
        mine = sorted((r.began_s, r.computed_s) for r in answered if r.client == client)
        assert all(after >= before - 1e-12 for (_, before), (after, _) in pairwise(mine))


# --- answers --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NearestMean:
    """The class whose mean image is nearest: any method with predict and query_macs serves."""

    def build(self, seed, /):
        return State({})

    def fit(self, state, data, seed, /):
        train = data.only("train")
        means = np.stack([train.images[train.labels == label].mean(axis=0) for label in range(data.num_classes)])
        return Fit(State({"means": means.astype(np.float32)}))

    def predict(self, state, images, /):
        means = state.arrays["means"]
        return ((images[:, None] - means[None]) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)

    def evaluate(self, state, data, /):
        return {"accuracy": float(np.mean(self.predict(state, data.images) == data.labels))}

    def operations(self, state, batch, /):
        return batch * state.arrays["means"].size  # nothing goes backward

    def query_macs(self, state, /):
        return state.arrays["means"].size


def test_a_method_becomes_a_service_whose_answers_are_right_as_often_as_it_is():
    data, method = digits(3), NearestMean()
    state = method.fit(method.build(0), data, 0).state
    test = data.only("test")
    graph, nodes = cell(6)
    network = Network(graph, (EMBB,), seed=2)
    service = network.add(
        Inference.of(method, state, test, at="edge-1", clients=nodes, slice=EMBB,
                     traffic=Poisson(rate_per_s=40, num_bytes=1), keep_records=None)
    )  # fmt: skip
    network.run(20.0)
    network.check()
    predicted = method.predict(state, service.images.seen())
    for request in service.requests:
        assert request.right == bool(predicted[request.image] == test.labels[request.image])
    accuracy, num = method.evaluate(state, test)["accuracy"], service.sums.answered
    assert service.models[0].operations == 2 * 10 * 64
    assert abs(service.sums.right / num - accuracy) < 5 * np.sqrt(accuracy * (1 - accuracy) / num) + 1e-9


def test_the_trained_net_itself_says_what_a_request_is_answered():
    from wirelesslab.vision.classification import Classifier

    data, method = digits(1), Classifier(epochs=1)
    state = method.fit(method.build(1), data, 1).state
    images = EncodedImages.of(data.only("test"))
    served = ServedModel.of(method, state, data.only("test"), images, name="digits")
    assert served.right.tolist() == (method.predict(state, images.seen()) == data.only("test").labels).tolist()
    convolutions, pools = 8 * 8 * 9 * 16 + 4 * 4 * 9 * 16 * 32, 4 * (4 * 4 * 16 + 2 * 2 * 32)
    assert served.operations == 2 * (convolutions + pools + 2 * 2 * 32 * 64 + 64 * 10)
    assert 0.1 < served.right.mean() < 1


def test_boxes_and_masks_are_answers_too_and_words_are_not():
    boxes = {"boxes": np.ones((3, 4), np.float32), "masks": (np.zeros((8, 8), bool), np.zeros(2))}
    images = sized(100, 100)
    served = ServedModel.of_answers("detector", [boxes, {"boxes": np.ones((0, 4), np.float32)}], np.ones(2, bool), 1e6)
    many, none = served.answer_bytes
    assert many == len(encode_answer(0, 0, boxes)) > none + 3 * 16 + 64 + 16
    service, _ = serve(images, [served], until_s=5.0)
    assert {r.down_bytes for r in service.requests if r.ending == "answered"} == {many, none}
    with pytest.raises(TypeError, match="expected numbers"):
        encode_answer(0, 0, {"label": "cat"})


@pytest.mark.parametrize("codec", [Png(), Raw()], ids=repr)
@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (5, 7, 3)])
def test_a_codec_loses_nothing_of_eight_bits(codec, shape):
    image = np.random.default_rng(1).integers(256, size=shape).astype(np.uint8)
    np.testing.assert_array_equal(codec.decode(codec.encode(image)), image)


def test_other_readers_open_our_png(tmp_path):
    image_module = pytest.importorskip("PIL.Image")
    for shape in ((9, 6, 1), (9, 6, 3)):
        image = np.random.default_rng(1).integers(256, size=shape).astype(np.uint8)
        path = tmp_path / "image.png"
        path.write_bytes(Png().encode(image))
        np.testing.assert_array_equal(np.asarray(image_module.open(path)).reshape(shape), image)


# --- what breaks, and copies ----------------------------------------------------------------------------------------


def test_what_a_failed_link_or_node_holds_is_lost_and_counted_and_the_rest_is_answered():
    graph = cell(4)
    network = Network(graph[0], (EMBB, URLLC), seed=1)
    network.add(Outage(element="edge-1", start_s=5.0, end_s=7.0))
    network.add(Outage(element="device-1->edge-1", start_s=10.0, end_s=12.0))
    service, _ = serve(graph=graph, network=network, rate_per_s=50.0, until_s=20.0)
    lost = [r for r in service.requests if r.ending == "lost"]
    assert {round(r.ended_s) // 5 for r in lost} <= {1, 2}
    assert service.sums.lost == len(lost) > 300
    assert service.sums.asked == service.sums.answered + service.sums.lost + len(service._pending)
    late = [r for r in service.requests if r.sent_s > 12.5]
    assert all(r.ending == "answered" for r in late)


@pytest.mark.parametrize("policy", [AlwaysEdge(), LeastDelay(), BestInTime()], ids=repr)
def test_a_service_that_was_written_down_goes_on_to_the_last_bit(policy):
    images = sized(200, 300, 400)
    graph, nodes = cell(6)
    network = Network(graph, (EMBB, URLLC), seed=5)
    models = [model(images, accuracy=0.9), model(images, 3e-4, name="sparse", accuracy=0.8)]
    service = network.add(
        Inference(models, images, at="edge-1", clients=nodes, slice=EMBB, traffic=Poisson(rate_per_s=80, num_bytes=1),
                  policy=policy, batching=Batching(max_size=4, max_wait_s=2e-3, overhead_s=1e-3), deadline_s=0.02,
                  device_operations_per_s=np.linspace(1e8, 3e8, 6))
    )  # fmt: skip
    for moment_s in (0.5013, 1.0002):
        network.run(moment_s)
        copy = Network.restored(network.snapshot())
        assert copy.snapshot().digest() == network.snapshot().digest()
    network.apply(SetRatios(domain="compute", ratios={"embb": ResourceRatio(max=0.5)}))
    copy.apply(SetRatios(domain="compute", ratios={"embb": ResourceRatio(max=0.5)}))
    network.run(3.0)
    copy.run(3.0)
    network.check()
    assert copy.actors["inference"].requests == service.requests
    assert copy.snapshot().digest() == network.snapshot().digest()


def test_memory_does_not_grow_with_time_when_few_records_are_kept():
    service, _ = serve(keep_records=50, until_s=20.0)
    assert len(service.requests) == 50
    assert service.sums.answered > 1000
    assert len(service._mail.under_way) < 20
    assert service.sums.delays.count == service.sums.answered


# --- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"at": "device-0"}, "computes nothing"),
        ({"clients": ["nobody"]}, "expected a node"),
        ({"clients": []}, "and clients"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"until_s": float("nan")}, "until_s"),
        ({"until_s": -1.0}, "until_s"),
        ({"batching": Batching(max_size=8, max_wait_s=0.2), "deadline_s": 0.1}, "0.2 s for company.*lower max_wait_s"),
        ({"keep_records": -1}, "keep_records"),
        ({"device_operations_per_s": 0.0}, "device_operations_per_s"),
        ({"delivery": "inference"}, "expected a Delivery with the same clients"),
    ],
    ids=str,
)
def test_nonsense_is_refused(options, said):
    images = sized(100)
    given = {"at": "edge-1", "clients": ["device-0"], "slice": EMBB} | options
    with pytest.raises(ValueError, match=said):
        Network(cell(1)[0], (EMBB,), seed=1).add(Inference([model(images)], images, **given))


def test_a_model_with_other_numbers_of_answers_than_images_is_refused():
    with pytest.raises(ValueError, match="has answers to 1 images, expected 2"):
        Inference([model(sized(100))], sized(100, 200), at="edge-1", clients=["device-0"], slice=EMBB)


def test_a_model_without_a_name_or_plain_answers_or_with_per_cent_is_refused():
    said = {"name": "m", "operations": 1.0, "right": np.ones(2, bool), "answer_bytes": np.full(2, 30)}
    for odd in ({"name": ""}, {"right": np.array([0.2, 0.9])}, {"right": np.ones(0, bool)}, {"accuracy": 97.0}):
        with pytest.raises(ValueError, match=r"name, right: got|accuracy: got 97.*write 97.0 % as 0.97"):
            ServedModel(**(said | odd))


def test_a_policy_that_invents_an_option_is_told_what_there_is():
    class Inventor:
        def choose(self, sight, /):
            return Option("device", sight.options[0].model, 0.0, 1.0)

    service, _ = serve(policy=Inventor(), rate_per_s=0, until_s=0.1)
    with pytest.raises(ValueError, match=r"policy: got 'device' with model .*, expected one of"):
        service.ask(0)


def test_a_policy_that_wants_a_model_that_nobody_has_is_told_what_there_is():
    images = sized(100)
    service, _ = serve(images, [model(images)], policy=AlwaysDevice("dense"), rate_per_s=0, until_s=0.1)
    with pytest.raises(ValueError, match="expected one of"):
        service.ask(0)
