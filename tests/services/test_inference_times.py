"""What theory says of the mean delay of requests, and of the most that can be answered."""

import networkx as nx
import numpy as np
import pytest

from tests.services.inference_cells import DELAY_S, SPEED, UP_BPS, cell, model, serve, sized
from wirelesslab.network import EMBB, ExponentialSize, Flow, Network
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_images import EncodedImages, Raw
from wirelesslab.services.inference_records import Batching
from wirelesslab.services.inference_times import RequestTime, Way, most_per_s
from wirelesslab.stats import batch_means
from wirelesslab.vision.datasets import digits

# --- what theory says of the mean -----------------------------------------------------------------------------------


def mean_delay(service: Inference, warm_up: int = 500) -> tuple[float, float]:
    """Mean and standard error of the delays in the order of their requests, by 40 batch means."""
    answered = sorted((r for r in service.requests if r.ending == "answered"), key=lambda r: r.number)[warm_up:]
    return batch_means([r.delay_s for r in answered], 40)


def theory(service: Inference, network: Network, rate_per_s: float, **options) -> RequestTime:
    answer = int(service.models[0].answer_bytes[0])
    return RequestTime(
        rate_per_s=rate_per_s, uplink_s=tuple(8 * service.images.sizes / UP_BPS), propagation_s=2 * DELAY_S,
        compute_s=service.models[0].operations / SPEED, downlink_s=8 * answer / UP_BPS, **options,
    )  # fmt: skip


def assert_mean(service: Inference, expected_s: float) -> None:
    got_s, error_s = mean_delay(service)
    # 3 standard errors: 0.4 % of seeds would fail (Student, 39 degrees); the seed is fixed
    assert abs(got_s - expected_s) < 3 * error_s, (
        f"mean delay: got {got_s:.6g} s +- {error_s:.2g}, expected {expected_s:.6g} s"
    )
    assert error_s < 0.03 * expected_s


def test_real_png_images_over_a_busy_uplink_take_what_the_mg1_queue_says():
    images = EncodedImages.of(digits(1, side=28).only("test").at(np.arange(120)))
    graph = cell(30, hub=True)
    fastest_s = 8 * images.sizes.min() / UP_BPS
    rate = 0.7 / (8 * images.sizes.mean() / UP_BPS) / 30
    service, network = serve(
        images, [model(images, 0.9 * fastest_s)], graph=graph, clients=30, rate_per_s=rate, until_s=80.0
    )
    expected = theory(service, network, 30 * rate)
    assert expected.case == "nothing waits at the server"
    assert np.ptp(images.sizes) > 50  # sizes do vary
    assert_mean(service, expected.mean_s)
    assert max(r.life.spans_s["queue"] for r in service.requests) == 0.0


@pytest.mark.parametrize("compute_s", [2.4e-3, 4e-4], ids=["busy server", "busy uplink"])
def test_raw_images_all_alike_wait_in_a_tandem_as_before_its_slower_part_alone(compute_s):
    images = EncodedImages.of(digits(1).only("test").at(np.arange(60)), Raw())
    slowest_s = max(compute_s, 8 * images.sizes[0] / UP_BPS)
    rate = 0.7 / slowest_s / 10
    service, network = serve(images, [model(images, compute_s)], graph=cell(10, hub=True), clients=10, rate_per_s=rate,
                             until_s=12_000 / (10 * rate))  # fmt: skip
    expected = theory(service, network, 10 * rate)
    assert expected.case == ("alike in size" if compute_s > 1e-3 else "nothing waits at the server")
    assert_mean(service, expected.mean_s)


def test_exponential_sizes_leave_the_uplink_as_poisson_so_that_both_queues_are_exact():
    law = ExponentialSize(400.0)
    images = sized(*np.maximum(law.quantile((np.arange(400) + 0.5) / 400), 17))
    rate = 0.6 / (8 * images.sizes.mean() / UP_BPS) / 10
    service, network = serve(
        images, [model(images, 3e-3)], graph=cell(10, hub=True), clients=10, rate_per_s=rate, until_s=80.0
    )
    expected = theory(service, network, 10 * rate)
    assert expected.case == "poisson at the server"
    assert min(expected.loads.values()) > 0.5
    assert_mean(service, expected.mean_s)


def test_many_uplinks_of_their_own_make_arrivals_at_the_server_nearly_poisson():
    images = EncodedImages.of(digits(1, side=28).only("test").at(np.arange(120)))
    service, network = serve(images, [model(images, 2e-3)], clients=30, rate_per_s=0.7 / 2e-3 / 30, until_s=40.0)
    expected = theory(service, network, 0.7 / 2e-3, num_uplinks=30)
    got_s, error_s = mean_delay(service)
    assert abs(got_s - expected.mean_s) < 3 * error_s + 0.02 * expected.mean_s  # near: 2 % on top


def test_no_more_is_answered_than_the_bottleneck_carries_and_little_less():
    images = sized(250)
    for compute_s, batching in ((1e-3, Batching()), (4e-3, Batching()), (1e-3, Batching(max_size=8, overhead_s=12e-3))):
        service, _ = serve(images, [model(images, compute_s)], graph=cell(5, hub=True), clients=5, rate_per_s=200.0,
                           until_s=5.0, batching=batching)  # fmt: skip
        most = most_per_s(
            8 * images.sizes / UP_BPS, compute_s, max_size=batching.max_size, overhead_s=batching.overhead_s
        )
        assert service.sums.asked > 1.5 * 5 * most
        assert 0.97 * 5 * most < service.sums.answered <= 5 * most


def test_twice_the_servers_answer_twice_as_much():
    images = sized(60)
    counts = []
    for servers in (1, 2):
        service, _ = serve(
            images, [model(images, 5e-3)], graph=cell(5, servers=servers), clients=5, rate_per_s=200.0, until_s=5.0
        )
        counts.append(service.sums.answered)
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.01)


@pytest.mark.parametrize("num_bytes", [1, 900, 1500, 1501, 3000, 10_001])
@pytest.mark.parametrize("rates_bps", [(1e6, 4e6), (4e6, 1e6), (2e6, 2e6)])
def test_no_flow_is_faster_than_its_way_says_and_a_single_segment_is_exactly_so_fast(num_bytes, rates_bps):
    graph = nx.DiGraph()
    for place in range(3):
        add_node(graph, f"edge-{place}", "edge", (float(place), 0.0))
    for place, rate_bps in enumerate(rates_bps):
        add_link(graph, f"edge-{place}", f"edge-{place + 1}", rate_bps=rate_bps, delay_s=3e-3)
    network = Network(graph, (EMBB,), seed=1, segment_bytes=1500, keep_records=None)
    network.send(Flow(slice="embb", num_bytes=num_bytes, source="edge-0", sink="edge-2"))
    delay_s = network.run(1.0).records[0].delay_s
    least_s = Way.along(network.routes, "edge-0", "edge-2", 1500).least_s(num_bytes)
    assert delay_s >= least_s - 1e-12
    if num_bytes <= 1500:
        assert delay_s == pytest.approx(least_s, rel=1e-12)


def test_answers_that_would_wait_for_one_another_have_no_such_formula():
    with pytest.raises(ValueError, match="answers would wait for one another"):
        RequestTime(rate_per_s=10.0, uplink_s=(1e-3, 2e-3), compute_s=1e-4, downlink_s=2e-3)
    with pytest.raises(ValueError, match="load"):
        _ = RequestTime(rate_per_s=600.0, uplink_s=(1e-3, 2e-3), compute_s=3e-3).mean_s


def test_request_by_request_the_uplink_and_the_server_are_lindleys_recursion():
    images = sized(*range(150, 900, 50))
    service, _ = serve(
        images, [model(images, 2.5e-3)], graph=cell(8, hub=True), clients=8, rate_per_s=22.0, until_s=20.0
    )
    requests = sorted(service.requests, key=lambda r: r.number)
    up_free_s = server_free_s = 0.0
    for request in requests:
        up_free_s = max(up_free_s, request.sent_s) + 8 * request.up_bytes / UP_BPS
        assert request.arrived_s == pytest.approx(up_free_s + DELAY_S, abs=1e-9)
        began_s = max(server_free_s, request.arrived_s)
        server_free_s = began_s + 2.5e-3
        assert (request.began_s, request.computed_s) == pytest.approx((began_s, server_free_s), abs=1e-9)
        back_s = DELAY_S + 8 * request.down_bytes / UP_BPS
        assert request.ended_s == pytest.approx(request.computed_s + back_s, abs=1e-9)
    # the arrivals themselves: as many as a Poisson process has (5 standard errors), images as often as each other
    expected = 8 * 22.0 * 20.0
    assert abs(service.sums.asked - expected) < 5 * np.sqrt(expected)
    counts = np.bincount([r.image for r in requests], minlength=len(images))
    mean = counts.mean()
    assert ((counts - mean) ** 2 / mean).sum() < 50  # chi-square, 14 degrees: a false alarm of 6e-6
