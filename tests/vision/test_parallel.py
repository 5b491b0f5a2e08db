"""Data-parallel training in one process and in real ones: replicas stay alike, and the dead come back."""

from hashlib import sha256

import numpy as np
import pytest

from tests.vision.learners import Blobs, Softmax, blobs
from wirelesslab.rng import stream
from wirelesslab.vision.parallel import ParameterServer, Replica, ShuffledBatches, train_in_one_process
from wirelesslab.vision.parallel_processes import ProcessOptions, TrainingError, train_in_processes
from wirelesslab.vision.terngrad import TernGradConfig
from wirelesslab.vision.wires import QSGD, Float32, SignSGD, Ternary, TopK, WireError

TERNARY = Ternary(TernGradConfig(min_size=4))
SIGNS = SignSGD(min_size=4)
FAMILY = (Float32(), TERNARY, QSGD(min_size=4), SIGNS, TopK(share=0.1, min_size=4))
every_wire = pytest.mark.parametrize("wire", FAMILY, ids=repr)


def digest(replica) -> str:
    return sha256(replica.weights()).hexdigest()


def trained(job: Blobs) -> list:
    replicas = job.replicas()
    train_in_one_process(replicas, job.steps)
    return replicas


# --- in one process ------------------------------------------------------------------------------------------------


@every_wire
def test_replicas_learn_and_stay_alike_to_the_last_bit(wire):
    replicas = trained(Blobs(wire, workers=4, steps=100))
    assert len({digest(r) for r in replicas}) == 1
    x, y = blobs(500, seed=99)
    assert Softmax().accuracy(replicas[0].state, x, y) > 0.9  # chance is 0.25


def test_they_are_alike_after_a_thousand_steps():
    replicas = trained(Blobs(TERNARY, workers=3, steps=1000))
    assert len({digest(r) for r in replicas}) == 1


def test_float32_takes_the_steps_of_one_large_batch():
    job, learner = Blobs(Float32(), workers=4, steps=10), Softmax()
    replicas = job.replicas()
    state = learner.build(job.seed)
    for step in range(job.steps):
        each = [
            learner.gradients(state, r.batches.batch(step), stream(job.seed, "step", r.worker, step)) for r in replicas
        ]
        state = learner.apply(state, [np.mean([np.float64(g) for g in gs], axis=0) for gs in zip(*each, strict=True)])
    train_in_one_process(replicas, job.steps)
    np.testing.assert_allclose(replicas[0].state["weights"], state["weights"], rtol=1e-5, atol=1e-6)


def test_traffic_is_what_the_messages_weigh():
    job = Blobs(Float32(), workers=3, steps=2)
    traffic = train_in_one_process(job.replicas(), 2)
    assert traffic.up == traffic.down == 2 * 3 * (18 + 2 * 9 + 4 * (120 + 4))


@every_wire
def test_a_replica_that_was_written_down_goes_on_alike(wire):
    job = Blobs(wire, workers=2, steps=7)
    replicas = trained(job)
    copies = job.replicas()
    for copy, replica in zip(copies, replicas, strict=True):
        copy.restore(replica.written())
    for crew in (replicas, copies):
        train_in_one_process(crew, 9)
    assert {r.step for r in [*replicas, *copies]} == {16}
    assert len({digest(r) for r in [*replicas, *copies]}) == 1


def test_each_epoch_sees_every_example_once_in_another_order():
    x = np.arange(30)
    batches = ShuffledBatches(x, x, 10, seed=1)
    epochs = [np.concatenate([batches.batch(3 * e + i)[0] for i in range(3)]) for e in range(2)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), x)
    assert not np.array_equal(*epochs)


def test_crews_and_batches_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="expected 0 to 1 of 2"):
        train_in_one_process(Blobs(workers=2).replicas()[::-1], 1)
    with pytest.raises(ValueError, match="at most the shard's 3"):
        ShuffledBatches(np.zeros(3), np.zeros(3), 4, seed=1)
    with pytest.raises(ValueError, match="got 2 for 3 inputs"):
        ShuffledBatches(np.zeros(3), np.zeros(2), 1, seed=1)


def test_the_server_takes_what_is_due_and_nothing_else():
    job = Blobs(Float32(), workers=2)
    first, second = job.replicas()
    server = ParameterServer(Float32(), 2)
    with pytest.raises(ValueError, match="before any worker said"):
        server.offer(b"")
    server.know(first.layout())
    with pytest.raises(WireError, match="header"):
        server.offer(b"nonsense")
    assert server.offer(first.encode())
    assert server.offer(first.encode())  # again: taken once
    assert not server.complete
    early = job.replica(1)
    early.step = 1
    with pytest.raises(ValueError, match="expected"):
        server.offer(early.encode())
    assert server.offer(second.encode())
    assert server.complete
    server.close()
    assert not server.offer(second.encode())  # too late
    other = Replica(Softmax(features=5), Float32(), ShuffledBatches(*blobs(64, features=5), 16, 1), 1, 0, 2)
    with pytest.raises(ValueError, match="as the other workers train"):
        server.know(other.layout())


# --- in processes of their own -------------------------------------------------------------------------------------


def test_processes_come_to_the_same_bits_as_one_process():
    job = Blobs(TERNARY, workers=2, steps=12)
    run = train_in_processes(job)
    expected = trained(job)
    assert set(run.digests) == {digest(expected[0])}
    np.testing.assert_array_equal(run.arrays["state/weights"], expected[0].state["weights"])
    traffic = train_in_one_process(job.replicas(), job.steps)
    assert (run.up, run.down) == (traffic.up, traffic.down)


@pytest.mark.parametrize(("wire", "exchange"), [(TERNARY, 1), (SIGNS, 0)], ids=["ternary", "signs"])
def test_a_worker_that_is_killed_comes_back_and_nothing_is_lost(wire, exchange):
    job = Blobs(wire, workers=2, steps=12)
    run = train_in_processes(job, ProcessOptions(kill_at=((1, 5, exchange),), written_every=3))
    assert run.killed == ((1, 5),)
    assert not run.missed
    assert set(run.digests) == {digest(trained(job)[0])}  # weights, momentum and what it owed were restored


def test_a_slow_worker_is_left_out_when_patience_ends_and_replicas_stay_alike():
    job = Blobs(SIGNS, workers=2, steps=6)
    run = train_in_processes(job, ProcessOptions(patience_s=0.05, delays_s=((1, 0.4),)))
    assert run.missed
    assert set(run.missed.values()) <= {(0,), (1,)}
    assert len(set(run.digests)) == 1


def test_training_goes_on_from_what_was_written(tmp_path):
    short, whole = Blobs(TERNARY, workers=2, steps=5), Blobs(TERNARY, workers=2, steps=11)
    train_in_processes(short, folder=tmp_path)
    assert set(train_in_processes(whole, folder=tmp_path).digests) == {digest(trained(whole)[0])}


def test_a_worker_that_always_dies_ends_the_training_with_an_error():
    job = Blobs(Float32(), workers=2, steps=4)
    with pytest.raises(TrainingError, match="worker 0: ended 1 times"):
        train_in_processes(job, ProcessOptions(kill_at=((0, 1, 0),), restarts=0, timeout_s=20))


def test_nonsense_options_are_refused():
    for options in ({"patience_s": 0.0}, {"timeout_s": -1.0}, {"written_every": 0}, {"written_every": 65}):
        with pytest.raises(ValueError, match="expected"):
            ProcessOptions(**options)
