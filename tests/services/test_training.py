"""Learning over a simulated network: the same bits as without one, at the time that the network takes."""

from dataclasses import replace
from math import inf

import networkx as nx
import numpy as np
import pytest

from tests.vision.learners import Blobs, Softmax, blobs
from wirelesslab.network import EMBB, URLLC, Flow, Network, Outage, ResourceRatio, SetActive, SetRatios
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.services.training import Costs, DistributedTraining
from wirelesslab.services.training_speed import StepTime, speed_up
from wirelesslab.vision.parallel import ANSWERS_KEPT, train_in_one_process
from wirelesslab.vision.terngrad import TernGradConfig
from wirelesslab.vision.wires import Float32, SignSGD, Ternary

SPEED = 1e9  # operations per second, of every node
TERNARY = Ternary(TernGradConfig(min_size=4))
SIGNS = SignSGD(min_size=4)
COSTS = Costs(gradient=2e6, encode=1e5, aggregate=5e4, finish=1e5)
BITS = 1e5


def star(
    workers: int, *, shared_bps: float | None = None, access_bps: float = BITS, delay_s: float = 5e-3, buffer=None
):
    """Workers on links of their own to the server, or to a hub from which one link goes on."""
    graph = nx.DiGraph()
    add_node(graph, "server", "edge", (0.0, 0.0), operations_per_s=SPEED)
    home = "server"
    if shared_bps is not None:
        add_node(graph, "hub", "gnb", (1.0, 0.0))
        add_link(graph, "hub", "server", rate_bps=shared_bps, delay_s=delay_s)
        home, delay_s = "hub", 0.0
    for worker in range(workers):
        add_node(graph, f"worker-{worker}", "device", (2.0, float(worker)), operations_per_s=SPEED)
        add_link(graph, f"worker-{worker}", home, rate_bps=access_bps, delay_s=delay_s, buffer_bytes=buffer)
    return graph


def crew(job: Blobs, **options) -> DistributedTraining:
    nodes = [f"worker-{worker}" for worker in range(job.workers)]
    options = {"costs": COSTS, "steps": job.steps, "slice": EMBB} | options
    return DistributedTraining(job.replicas(), workers=nodes, server="server", **options)


def net(job: Blobs, *, slices=(EMBB, URLLC), **graph) -> Network:
    return Network(star(job.workers, **graph), slices, seed=1)


def run(job: Blobs, until_s: float = 1000.0, network: Network | None = None, **options):
    network = network or net(job)
    training = network.add(crew(job, **options))
    network.run(until_s)
    network.check()
    return training, network


def weights(replicas) -> set[bytes]:
    return {replica.weights() for replica in replicas}


def one_process(job: Blobs) -> set[bytes]:
    replicas = job.replicas()
    train_in_one_process(replicas, job.steps)
    return weights(replicas)


# --- the mathematics is the network's business in nothing -----------------------------------------------------------


@pytest.mark.parametrize("wire", [Float32(), TERNARY, SIGNS], ids=repr)
def test_the_weights_are_those_of_one_process_to_the_last_bit(wire):
    job = Blobs(wire, workers=3, steps=8)
    training, _ = run(job)
    assert training.done
    assert weights(training.replicas) == one_process(job)


def test_a_straggler_and_a_slow_link_change_times_and_no_weights():
    job = Blobs(TERNARY, workers=3, steps=5)
    graph = star(3)
    graph.edges["worker-2", "server"]["rate_bps"] = BITS / 10
    training, _ = run(job, network=Network(graph, (EMBB,), seed=1), stragglers={1: 7.0})
    assert weights(training.replicas) == one_process(job)
    assert {r.slowest for r in training.rounds} == {2}


@pytest.mark.parametrize("wire", [TERNARY, SIGNS], ids=["ternary", "signs"])
def test_messages_lost_to_an_outage_are_sent_again_and_no_weight_differs(wire):
    job = Blobs(wire, workers=3, steps=8)
    network = net(job)
    for start_s in (0.02, 0.1, 0.21):
        network.add(Outage(element="worker-1->server", start_s=start_s, end_s=start_s + 0.05, name=f"outage-{start_s}"))
    training, _ = run(job, network=network, timeout_s=0.03)
    assert sum(r.resent for r in training.rounds) > 0
    assert weights(training.replicas) == one_process(job)


def test_a_buffer_that_is_too_small_loses_messages_which_are_sent_again():
    job = Blobs(Float32(), workers=2, steps=4)
    network = net(job, buffer=600)
    for number in range(40):  # other traffic on the way of worker 0
        network.send(Flow(slice="embb", num_bytes=300 + number % 2, source="worker-0", sink="server"))
    training, _ = run(job, network=network, timeout_s=0.05)
    assert training.done
    assert sum(r.resent for r in training.rounds) > 0
    assert weights(training.replicas) == one_process(job)


@pytest.mark.parametrize("element", ["worker-1", "server"])
def test_a_node_that_fails_loses_its_job_and_begins_it_anew_and_no_weight_differs(element):
    job = Blobs(TERNARY, workers=3, steps=8)
    network = net(job)
    for start_s in (0.0008, 0.0431, 0.1502):  # the first is amid the first gradient
        network.add(Outage(element=element, start_s=start_s, end_s=start_s + 0.02, name=f"outage-{start_s}"))
    training, _ = run(job, network=network, timeout_s=0.03)
    assert training.done
    assert sum(r.resent for r in training.rounds) > 0
    assert weights(training.replicas) == one_process(job)


def test_a_slice_that_is_switched_off_halts_the_training_and_switched_on_lets_it_go_on():
    job = Blobs(TERNARY, workers=3, steps=8)
    network = net(job)
    training = network.add(crew(job, timeout_s=0.05))
    network.run(0.05)
    network.apply(SetActive(slice="embb", active=False))
    network.run(0.5)  # what was on its way has arrived, and nothing else began
    halted = training.step
    network.run(3.0)
    assert training.step == halted < job.steps
    network.apply(SetActive(slice="embb", active=True))
    network.run(10.0)
    network.check()
    assert weights(training.replicas) == one_process(job)


def test_a_worker_may_sit_at_the_servers_own_node():
    job = Blobs(TERNARY, workers=2, steps=5)
    network = net(job)
    training = network.add(
        DistributedTraining(job.replicas(), workers=["server", "worker-1"], server="server", slice=EMBB,
                            costs=COSTS, steps=job.steps)
    )  # fmt: skip
    network.run(100.0)
    network.check()
    assert weights(training.replicas) == one_process(job)


# --- bytes and times ------------------------------------------------------------------------------------------------


def test_rounds_carry_the_bytes_that_one_process_counts():
    job = Blobs(TERNARY, workers=3, steps=6)
    training, network = run(job)
    traffic = train_in_one_process(job.replicas(), job.steps)
    assert sum(r.up_bytes for r in training.rounds) == traffic.up
    assert sum(r.down_bytes for r in training.rounds) == traffic.down
    jobs = 6 * (3 * 3 + 2)  # gradient, codes, finish of each worker; two sums: one byte each in the books
    delivered = int(network.run(2000.0).slices["delivered_bytes"].sel(slice="embb"))
    assert delivered == traffic.up + traffic.down + jobs


def test_rounds_carry_every_message_that_was_sent_those_sent_again_included_to_the_byte():
    job = Blobs(TERNARY, workers=3, steps=8)
    network = Network(star(3), (EMBB,), seed=1, keep_records=None)
    network.add(Outage(element="worker-1->server", start_s=0.02, end_s=0.07))
    network.add(Outage(element="server->worker-2", start_s=0.1, end_s=0.15))
    training, _ = run(job, network=network, timeout_s=0.03)
    sent = {"up": 0, "down": 0}
    for record in network.run(2000.0).records:
        kind = record.flow.label.split(":")[0]
        if kind in sent:
            sent[kind] += record.flow.num_bytes
    assert sum(r.resent for r in training.rounds) > 0
    assert sent == {"up": sum(r.up_bytes for r in training.rounds), "down": sum(r.down_bytes for r in training.rounds)}


def test_a_gradient_takes_its_operations_over_the_share_of_its_node():
    job = Blobs(TERNARY, workers=2, steps=3)
    quarter = replace(EMBB, compute=ResourceRatio.isolated(0.25))
    for slices, share in (((EMBB, URLLC), 1.0), ((quarter, URLLC), 0.25)):
        training, _ = run(job, network=net(job, slices=slices))
        first = training.rounds[0]
        expected_s = (COSTS.gradient + COSTS.encode) / (share * SPEED)
        assert first.gradients_s - first.began_s == pytest.approx(expected_s, rel=1e-9)


def test_where_messages_differ_a_round_waits_for_the_largest_and_the_records_say_how_large_it_was():
    job = Blobs(Ternary(TernGradConfig(min_size=4, code="entropy", down="entropy")), workers=4, steps=6)
    training, _ = run(job)
    rounds = training.rounds
    assert any(4 * r.largest_up_bytes > r.up_bytes for r in rounds)
    moved_s = sum(8 * (r.largest_up_bytes + r.down_bytes / 4) / BITS + 4 * 5e-3 for r in rounds)
    computed_s = 6 * (COSTS.gradient + 2 * COSTS.encode + 2 * 4 * COSTS.aggregate + COSTS.finish) / SPEED
    assert rounds[-1].ended_s == pytest.approx(moved_s + computed_s, rel=1e-9)


def step_time(job: Blobs, training: DistributedTraining, **network) -> StepTime:
    """The formula's inputs, with the sizes of real messages."""
    replicas = job.replicas()
    answer, up, down = b"", [], []
    for exchange in range(job.wire.exchanges):
        messages = [r.encode(exchange, answer) for r in replicas]
        answer = job.wire.aggregate(messages, replicas[0].layout())
        up.append(len(messages[0]))
        down.append(len(answer))
    costs = training.costs
    return StepTime(
        num_workers=job.workers, up_bytes=tuple(up), down_bytes=tuple(down), gradient_s=costs.gradient / SPEED,
        encode_s=costs.encode / SPEED, aggregate_s=costs.aggregate / SPEED, finish_s=costs.finish / SPEED,
        **{"access_bps": BITS, "latency_s": 5e-3, **network},
    )  # fmt: skip


@pytest.mark.parametrize("wire", [Float32(), TERNARY], ids=["float32", "ternary"])
@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("bps", [1e4, 1e7])
def test_a_round_takes_what_the_formula_says(wire, workers, bps):
    job = Blobs(wire, workers=workers, steps=5)
    training, _ = run(job, network=net(job, access_bps=bps))
    formula = step_time(job, training, access_bps=bps)
    measured = training.rounds[-1].ended_s / job.steps
    assert measured == pytest.approx(formula.step_s, rel=0.05)


@pytest.mark.parametrize("segment_bytes", [50, 65_536])
def test_ternary_rounds_on_a_shared_link_take_what_the_formula_says(segment_bytes):
    job = Blobs(TERNARY, workers=8, steps=5)
    network = Network(star(8, shared_bps=2 * BITS), (EMBB,), seed=1, segment_bytes=segment_bytes)
    training, _ = run(job, network=network)
    formula = step_time(job, training, shared_bps=2 * BITS, segment_bytes=segment_bytes)
    measured = training.rounds[-1].ended_s / job.steps
    assert measured <= formula.step_s * 1.001
    assert measured == pytest.approx(formula.step_s, rel=0.35)  # scalers come down, and codes go up, one by one


def test_on_a_shared_link_a_single_exchange_overlaps_with_the_next_and_the_records_say_by_how_much():
    job = Blobs(Float32(), workers=8, steps=6)
    training, _ = run(job, network=net(job, shared_bps=2 * BITS))
    formula = step_time(job, training, shared_bps=2 * BITS)
    measured = np.diff([r.ended_s for r in training.rounds])
    assert np.all(measured < formula.step_s)
    overlaps = np.array([a.ended_s - b.began_s for a, b in zip(training.rounds, training.rounds[1:], strict=False)])
    assert np.all(overlaps > 0)  # a step begins at the first worker while its predecessor still ends at the last
    begun = np.array([r.ended_s - r.began_s for r in training.rounds])
    np.testing.assert_allclose(measured, begun[1:] - overlaps, rtol=1e-9)


def test_a_straggler_adds_just_what_it_computes_longer():
    job = Blobs(TERNARY, workers=2, steps=4)
    plain, _ = run(job)
    slow, _ = run(job, stragglers={1: 6.0})
    longer_s = 4 * 5 * (COSTS.gradient + 2 * COSTS.encode + COSTS.finish) / SPEED
    assert slow.rounds[-1].ended_s - plain.rounds[-1].ended_s == pytest.approx(longer_s, rel=1e-6)


def test_a_quarter_of_the_link_takes_four_times_as_long_and_an_agent_may_change_it_meanwhile():
    job = Blobs(Float32(), workers=2, steps=10)
    costs = Costs(gradient=1.0)
    graph = {"delay_s": 0.0}
    quarter = replace(EMBB, transport=ResourceRatio.isolated(0.25))
    full, _ = run(job, network=net(job, **graph), costs=costs)
    slow, _ = run(job, network=net(job, slices=(quarter, URLLC), **graph), costs=costs, slice=quarter)
    assert slow.rounds[-1].ended_s == pytest.approx(4 * full.rounds[-1].ended_s, rel=1e-3)
    network = net(job, slices=(quarter, URLLC), **graph)
    network.add(crew(job, costs=costs, slice=quarter))
    network.run(slow.rounds[4].ended_s)
    network.apply(SetRatios(domain="transport", ratios={"embb": ResourceRatio.isolated(1.0)}), by="agent")
    network.run(1000.0)
    training = network.actors["training"]
    assert training.rounds[-1].ended_s == pytest.approx(slow.rounds[4].ended_s + full.rounds[-1].ended_s / 2, rel=0.02)
    assert weights(training.replicas) == weights(full.replicas)


def test_time_to_a_score_is_when_it_was_first_reached():
    job = Blobs(TERNARY, workers=2, steps=40)
    x, y = blobs(300, seed=99)
    training, network = run(job, score=lambda replica: Softmax().accuracy(replica.state, x, y), score_every=5)
    scores = {r.step: r.score for r in training.rounds if not np.isnan(r.score)}
    assert sorted(scores) == list(range(4, 40, 5))
    reached = next(r for r in training.rounds if r.score >= 0.9)
    assert training.time_to(0.9) == reached.ended_s
    assert training.time_to(1.1) == inf
    assert network.run(2000.0).gauges["training: steps"].values[-1] == 40


# --- leaving out ----------------------------------------------------------------------------------------------------


def test_patience_leaves_a_straggler_out_and_replicas_stay_alike():
    job = Blobs(TERNARY, workers=3, steps=20)
    training, _ = run(job, stragglers={2: 100.0}, patience_s=0.02)
    assert training.done
    assert any(2 in r.missed for r in training.rounds)
    assert not any({0, 1} & set(r.missed) for r in training.rounds)
    assert len(weights(training.replicas)) == 1
    for r in training.rounds:  # the gradient of who was left out is no part of the round
        assert r.gradients_s <= r.answers_s[0]
    # Answers that wait are applied one after the other; no gradient is computed that nobody awaits.
    last = training.rounds[-1]
    assert last.ended_s - last.answers_s[-1] < 100 * (COSTS.gradient + COSTS.encode + job.steps * COSTS.finish) / SPEED
    waiting, _ = run(job, stragglers={2: 100.0})
    assert training.rounds[-1].answers_s[-1] < 0.8 * waiting.rounds[-1].answers_s[-1]


def test_a_worker_cut_off_for_a_while_is_left_out_and_catches_up():
    job = Blobs(SIGNS, workers=3, steps=30)
    network = net(job)
    for way in ("worker-1->server", "server->worker-1"):
        network.add(Outage(element=way, start_s=0.1, end_s=0.5, name=way.replace("->", "-to-")))
    training, _ = run(job, network=network, patience_s=0.02, timeout_s=0.05)
    assert training.done
    assert any(r.missed == (1,) for r in training.rounds)
    assert len(weights(training.replicas)) == 1


def test_a_worker_cut_off_for_longer_than_the_server_keeps_answers_catches_up_all_the_same():
    job = Blobs(SIGNS, workers=3, steps=ANSWERS_KEPT + 30)
    network = net(job)
    network.add(Outage(element="server->worker-1", start_s=0.1, end_s=3.0))
    training, _ = run(job, network=network, patience_s=0.005, timeout_s=0.2)
    assert training.done
    assert sum(1 in r.missed for r in training.rounds) > ANSWERS_KEPT
    assert len(weights(training.replicas)) == 1


# --- snapshots ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wire", [TERNARY, SIGNS, Float32()], ids=["ternary", "signs", "float32"])
@pytest.mark.parametrize("at_s", [0.0005, 0.0123, 0.0931, 0.3])
def test_a_snapshot_in_mid_training_goes_on_to_the_last_bit(wire, at_s):
    job = Blobs(wire, workers=3, steps=12)
    network = net(job)
    network.add(crew(job, stragglers={1: 2.0}))
    network.run(at_s)
    snapshot = network.snapshot()
    copy = Network.restored(snapshot)
    assert copy.snapshot().digest() == snapshot.digest()
    for one in (network, copy):
        one.run(1000.0)
        one.check()
    mine, its = network.actors["training"], copy.actors["training"]
    assert mine.rounds == its.rounds or repr(mine.rounds) == repr(its.rounds)  # scores may be nan
    assert weights(mine.replicas) == weights(its.replicas) == one_process(job)


def test_a_snapshot_amid_lost_messages_and_patience_goes_on_to_the_last_bit():
    job = Blobs(SIGNS, workers=3, steps=12)
    network = net(job)
    for way in ("worker-1->server", "server->worker-1"):
        network.add(Outage(element=way, start_s=0.03, end_s=0.2, name=way.replace("->", "-to-")))
    network.add(crew(job, patience_s=0.02, timeout_s=0.05))
    network.run(0.03)
    while not {"resend", "lose_patience"} <= {due.method for due in network.agenda.written()}:
        network.run(network.now_s + 1e-3)
        assert network.now_s < 0.2
    copy = Network.restored(network.snapshot())
    for one in (network, copy):
        one.run(1000.0)
        one.check()
    mine, its = network.actors["training"], copy.actors["training"]
    assert any(r.missed for r in mine.rounds)
    assert repr(mine.rounds) == repr(its.rounds)
    assert weights(mine.replicas) == weights(its.replicas)


# --- what is refused ------------------------------------------------------------------------------------------------


def test_nonsense_is_refused():
    job = Blobs(workers=2)
    with pytest.raises(ValueError, match="expected one each, in order"):
        DistributedTraining(job.replicas(), workers=["worker-0"], server="server", slice=EMBB, costs=COSTS, steps=1)
    with pytest.raises(ValueError, match="expected a node of the network"):
        net(job).add(
            DistributedTraining(
                job.replicas(), workers=["worker-0", "wrker-1"], server="server", slice=EMBB, costs=COSTS, steps=1
            )
        )
    for options in ({"steps": 0}, {"timeout_s": 0.0}, {"patience_s": -1.0}, {"stragglers": {5: 2.0}}):
        with pytest.raises(ValueError, match="expected"):
            crew(job, **options)
    with pytest.raises(ValueError, match="gradient"):
        Costs(gradient=0.0)
    with pytest.raises(ValueError, match="expected one each"):
        DistributedTraining([], workers=[], server="server", slice=EMBB, costs=COSTS, steps=1)
    with pytest.raises(ValueError, match="of how many"):
        DistributedTraining(
            Blobs(workers=3).replicas()[:2], workers=["worker-0", "worker-1"], server="server", slice=EMBB,
            costs=COSTS, steps=1,
        )  # fmt: skip
    mixed = [job.replica(0), replace(job, wire=SIGNS).replica(1)]
    with pytest.raises(ValueError, match="one that all share"):
        DistributedTraining(mixed, workers=["worker-0", "worker-1"], server="server", slice=EMBB, costs=COSTS, steps=1)
    ahead = crew(job)
    ahead.replicas[1].step = 3
    with pytest.raises(ValueError, match=r"steps \[0, 3\]"):
        net(job).add(ahead)


# --- the formula itself ---------------------------------------------------------------------------------------------

LENET = {"num_workers": 4, "gradient_s": 0.01, "latency_s": 5e-3}
FLOATS = StepTime(up_bytes=(1_724_410,), down_bytes=(1_724_410,), access_bps=1e7, **LENET)
CODES = StepTime(up_bytes=(90, 108_160), down_bytes=(90, 215_910), access_bps=1e7, **LENET)


def test_compression_pays_on_slow_links_and_costs_a_round_trip_on_fast_ones():
    gains = [
        speed_up(replace(FLOATS, access_bps=bps), replace(CODES, access_bps=bps)) for bps in (1e6, 1e7, 1e8, 1e9, 1e12)
    ]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 10
    assert gains[-1] < 1


def test_more_workers_on_a_shared_link_make_compression_pay_more():
    gains = [
        speed_up(replace(FLOATS, num_workers=n, shared_bps=1e9, access_bps=1e9),
                 replace(CODES, num_workers=n, shared_bps=1e9, access_bps=1e9))
        for n in (2, 8, 32, 128)
    ]  # fmt: skip
    assert gains == sorted(gains)


def test_multicast_spares_the_shared_link_and_never_costs_time():
    unicast = replace(CODES, num_workers=32, shared_bps=1e8)
    multicast = replace(unicast, multicast=True)
    assert multicast.step_s < unicast.step_s
    assert replace(CODES, shared_bps=1e15).step_s == pytest.approx(CODES.step_s, rel=1e-6)
