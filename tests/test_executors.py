"""Who computes a study does not matter: one process, several, a hostile order, a cluster, or a crash between."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.trials import (
    ANNA,
    BERT,
    CARL,
    Coin,
    TossTrial,
    computed,
    environment,
    notes,
    records,
    same_counts,
    tosses,
    wait_until,
)
from wirelesslab import executors
from wirelesslab.executors import InProcess, concurrency, dask_executor, local_executor
from wirelesslab.mmtc import Scenario, symbol_error_trial
from wirelesslab.mmtc.detectors import LMMSE, MatchedFilter
from wirelesslab.replicas import replicate
from wirelesslab.study import Stop, Study, StudyFailedError

SEED = 7
PLAYERS = (ANNA, BERT, CARL)
STOP = Stop(errors=25, max_batches=10, min_batches=1)


def study(log: str = "", over=None, players=PLAYERS, stop=STOP) -> Study:
    trial = TossTrial(players=players, log=str(log))
    return Study(trial, Coin(), over or {"bias": [0.02, 0.1, 0.3]}, stop, SEED)


def radio() -> Study:
    """A small study of real detectors."""
    trial = symbol_error_trial(MatchedFilter(), LMMSE(), frames_per_batch=4)
    base = Scenario(num_devices=12, pilot_length=10, num_antennas=2, bits_per_device=1, activity_prob=0.2)
    return Study(trial, base, {"snr_db": [-3, 6]}, Stop(errors=15, max_batches=4, min_batches=1), seed=3)


class Hostile(Executor):
    """Completes tasks in another order than they came, and the first ones last.

    With `lifo` the newest waiting task is always next; otherwise one is drawn at random.
    """

    def __init__(self, seed: int, *, lifo: bool = False, width: int = 6) -> None:
        self._max_workers, self._random, self._lifo = width, random.Random(seed), lifo
        self._waiting: list[tuple[Future, Callable[..., Any], tuple, dict]] = []
        self._changed, self._open = threading.Condition(), True
        self.order: list[int] = []
        self._submitted = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def submit(self, fn, /, *args, **kwargs):
        future: Future = Future()
        with self._changed:
            self._waiting.append((future, fn, (self._submitted, args), kwargs))
            self._submitted += 1
            self._changed.notify()
        return future

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return
                # Hold back until the study has filled its window, or offers no more.
                held = -1
                while held != len(self._waiting):
                    held = len(self._waiting)
                    self._changed.wait(0.002)
                at = len(self._waiting) - 1 if self._lifo else self._random.randrange(len(self._waiting))
                future, fn, (number, args), kwargs = self._waiting.pop(at)
            self.order.append(number)
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(fn(*args, **kwargs))
                except Exception as error:
                    future.set_exception(error)

    def shutdown(self, wait=True, *, cancel_futures=False):
        with self._changed:
            self._open = False
            self._changed.notify()


# the same counts, whoever computes them


@pytest.fixture(scope="module")
def sequential():
    return study().run(workers=1)


def test_two_spawned_workers_give_the_counts_of_one(sequential, tmp_path):
    same_counts(study().run(tmp_path, workers=2), sequential)
    done = list(computed(tmp_path))
    assert len(done) == len(set(done))


@pytest.mark.parametrize("seed", range(4))
def test_batches_that_come_back_in_a_random_order_give_the_same_counts(sequential, tmp_path, seed):
    with Hostile(seed) as executor:
        same_counts(study().run(tmp_path, executor=executor), sequential)
    assert executor.order != sorted(executor.order)
    done = list(computed(tmp_path))
    assert len(done) == len(set(done))


def test_batches_that_come_back_newest_first_give_the_same_counts(sequential, tmp_path):
    with Hostile(0, lifo=True) as executor:
        same_counts(study().run(tmp_path, executor=executor), sequential)
    assert executor.order != sorted(executor.order)
    same_counts(study().run(tmp_path, workers=1), sequential)


def test_a_pool_of_threads_gives_the_same_counts(sequential):
    with ThreadPoolExecutor(3) as executor:
        same_counts(study().run(executor=executor), sequential)


def test_an_executor_that_is_given_is_left_open(sequential):
    with ThreadPoolExecutor(2) as executor:
        study().run(executor=executor)
        assert executor.submit(int, "3").result(10) == 3


def test_a_batch_that_was_computed_in_vain_cannot_fail_a_point():
    # Two batches of about 40 errors are enough. An executor that runs ahead meets the failure of
    # the third, which a single worker never sees.
    coin, stop = Coin(bias=0.5, trouble="fails in batch 2"), Stop(errors=60, max_batches=6, min_batches=1)
    needs_two = Study(TossTrial(players=(ANNA,)), coin, {}, stop, SEED)
    alone = needs_two.run(workers=1)
    assert int(alone["batches"].max()) == 2
    assert alone.attrs["failures"] == "[]"
    with Hostile(0, lifo=True) as executor:
        ahead = needs_two.run(executor=executor)
    same_counts(ahead, alone)
    assert ahead.attrs["failures"] == "[]"


def test_real_detectors_give_the_same_counts_in_one_process_in_two_and_in_disorder():
    alone = radio().run(workers=1)
    same_counts(radio().run(workers=2), alone)
    with Hostile(1) as executor:
        same_counts(radio().run(executor=executor), alone)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory) -> Iterator[str]:
    """A Dask scheduler and two worker processes on this machine; gives the address."""
    pytest.importorskip("distributed")
    folder = tmp_path_factory.mktemp("dask")
    found, usual = folder / "scheduler.json", {"env": environment(), "cwd": folder}
    dask = [sys.executable, "-m", "dask"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": (folder / "log").open("w")}
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(found)]
    processes = [subprocess.Popen([*dask, "scheduler", *options], **usual, **quiet)]
    worker = [*dask, "worker", "--scheduler-file", str(found), "--nthreads", "1", "--no-nanny", "--no-dashboard"]
    try:
        wait_until(found.exists, 60, "the scheduler's file")
        processes += [subprocess.Popen(worker, **usual, **quiet) for _ in range(2)]
        from distributed import Client

        with Client(scheduler_file=str(found), set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            address = client.scheduler.address
        yield address
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()


def test_a_cluster_of_two_processes_gives_the_same_counts(cluster, sequential, tmp_path):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        executor = client.get_executor()
        assert concurrency(executor) == 2
        same_counts(study(tmp_path / "log").run(tmp_path, executor=executor), sequential)
        assert len(notes(tmp_path / "log")) == len(records(tmp_path))
        same_counts(radio().run(executor=executor), radio().run(workers=1))


def test_a_cluster_takes_up_the_journal_of_one_worker(cluster, sequential, tmp_path):
    from distributed import Client

    study(stop=Stop(errors=5, max_batches=3, min_batches=1)).run(tmp_path, workers=1)
    with Client(cluster, set_as_default=False) as client:
        same_counts(study().run(tmp_path, executor=client.get_executor()), sequential)
    done = list(computed(tmp_path))
    assert len(done) == len(set(done))


def test_replicas_on_a_cluster_are_those_of_one_worker(cluster, tmp_path):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        there = replicate(
            tosses, {"a": 0.1, "b": 0.7}, 3, journal=tmp_path / "there", executor=client.get_executor(pure=False)
        )
    assert there.equals(replicate(tosses, {"a": 0.1, "b": 0.7}, 3, workers=1))


def test_a_point_that_fails_on_a_cluster_is_reported(cluster):
    executor = dask_executor(cluster)
    result = study(over={"trouble": ["", "fails"]}).run(executor=executor)
    executor._client.close()
    assert "the coin fell off the table" in result.attrs["failures"]


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense", "carrier-pigeon://loft:1", "127.0.0.1:port"])
def test_a_scheduler_that_does_not_answer_is_an_error_that_teaches_within_bounded_time(address):
    start = time.monotonic()
    with pytest.raises(ConnectionError, match=r"no Dask scheduler answers at .* start one with `dask scheduler`"):
        dask_executor(address, timeout_s=2.0)
    assert time.monotonic() - start < 20  # 2 s, and room for importing Dask on a busy machine


def test_without_dask_a_scheduler_is_refused_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ConnectionError, match=r"pip install 'wirelesslab\[dask\]'"):
        dask_executor("tcp://127.0.0.1:8786")


# choosing an executor


def test_one_worker_works_in_this_process():
    assert isinstance(local_executor(TossTrial(), 1), InProcess)


def test_without_a_number_there_is_one_worker_per_core(monkeypatch):
    monkeypatch.setattr(executors, "available_cores", lambda: 3)
    with local_executor(TossTrial()) as pool:
        assert isinstance(pool, ProcessPoolExecutor)
        assert concurrency(pool) == 3


@pytest.mark.parametrize(("workers", "kind"), [(0, ValueError), (-2, ValueError), (1.5, TypeError), ("2", TypeError)])
def test_a_number_of_workers_that_is_none_is_refused(workers, kind):
    with pytest.raises(kind, match="workers: got"):
        study().run(workers=workers)


def test_concurrency_is_at_least_1_for_an_executor_that_does_not_tell():
    assert concurrency(Executor()) >= 1
    assert concurrency(InProcess()) == 1


def test_a_task_of_this_process_keeps_its_error_and_lets_ctrl_c_through():
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert isinstance(InProcess().submit(int, "x").exception(), ValueError)
    with pytest.raises(KeyboardInterrupt):
        InProcess().submit(interrupted)


def test_a_trial_that_cannot_be_pickled_is_refused_with_what_to_do():
    local = Study(lambda coin, rng: {}, Coin(), {}, Stop(), SEED)
    with pytest.raises(TypeError, match=r"trial: cannot be sent to worker processes .*define it in a module"):
        local.run(workers=2)


@dataclass(frozen=True)
class NotHere:
    """A configuration that a worker process cannot hold."""

    bias: float = 0.1

    def __reduce__(self):
        raise TypeError("it stays here")


def test_a_configuration_that_cannot_be_pickled_is_reported_as_the_failure_of_its_point():
    result = Study(TossTrial(), NotHere(), {}, Stop(max_batches=2, min_batches=1), SEED).run(workers=2)
    assert "it stays here" in result.attrs["failures"]


def test_a_worker_process_that_dies_ends_the_study_with_an_error_that_teaches(tmp_path):
    with pytest.raises(StudyFailedError, match=r"a worker process died .*trouble=dies.*run again to go on"):
        study(over={"trouble": ["dies"]}).run(tmp_path, workers=2)
    result = study(over={"trouble": [""]}).run(tmp_path, workers=1)
    assert bool(result["complete"].all())


# scripts in processes of their own


def script(folder: Path, body: str, *, guard: bool = True) -> list[str]:
    """Write a script that runs a study; returns the command."""
    lines = [line for line in body.strip().splitlines() if line.strip()]
    if guard:
        lines = ["if __name__ == '__main__':", *(f"    {line}" for line in lines)]
    head = ["from tests.trials import *", "from wirelesslab.study import Stop, Study"]
    path = folder / "script.py"
    path.write_text("\n".join([*head, *lines]) + "\n", encoding="utf-8")
    return [sys.executable, str(path)]


def long_study(folder: Path, *, seconds: float = 0.0, batches: int = 40, log: str = "") -> str:
    return (
        f"Study(TossTrial(seconds={seconds}, log={str(log)!r}), Coin(), {{'bias': [0.02, 0.1, 0.3]}}, "
        f"Stop(errors=None, max_batches={batches}, min_batches=1), {SEED}).run({str(folder)!r}, workers=2)"
    )


def undisturbed(batches: int = 40):
    return study(players=(ANNA, BERT), stop=Stop(errors=None, max_batches=batches, min_batches=1)).run(workers=1)


def alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_study_killed_in_the_middle_goes_on_as_if_nothing_had_happened(tmp_path):
    folder = tmp_path / "result"
    command = script(tmp_path, long_study(folder, seconds=0.02))
    killed = subprocess.Popen(command, env=environment())
    wait_until(lambda: len(records(folder)) >= 10, what="ten batches in the journal")
    family = psutil.Process(killed.pid).children(recursive=True)
    assert len(family) >= 2
    killed.kill()
    killed.wait(30)
    half = len(records(folder))
    assert half < 120, "the study was over before it was killed"
    wait_until(lambda: not any(map(alive, family)), 30, "the workers of a killed study to be gone")

    again = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    done = list(computed(folder))
    assert len(done) == len(set(done)) == 3 * 40 * 2
    log = tmp_path / "log"
    trial = TossTrial(log=str(log))
    over, stop = {"bias": [0.02, 0.1, 0.3]}, Stop(errors=None, max_batches=40, min_batches=1)
    same_counts(Study(trial, Coin(), over, stop, SEED).run(folder, workers=1), undisturbed())
    assert notes(log) == []


def test_a_killed_study_loses_no_batch_that_was_journalled(tmp_path):
    folder, log = tmp_path / "result", tmp_path / "log"
    command = script(tmp_path, long_study(folder, seconds=0.02, log=str(log)))
    killed = subprocess.Popen(command, env=environment())
    wait_until(lambda: len(records(folder)) >= 10, what="ten batches in the journal")
    killed.kill()
    killed.wait(30)
    before = set(computed(folder))
    subprocess.run(command, env=environment(), timeout=120, check=True)
    assert before <= set(computed(folder))
    # Computed twice is at most what was in flight: four tasks (two per worker) when it was killed.
    assert len(notes(log)) <= 120 + 4


def interrupted(command: list[str], ready: Callable[[], bool], seconds: float = 30) -> tuple[int, str, float]:
    """Run a command, press Ctrl+C when it is ready; returns exit code, stderr, seconds until it ended."""
    process = subprocess.Popen(
        command, env=environment(), start_new_session=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        wait_until(ready, what="the study to be under way")
        start = time.monotonic()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
        _, stderr = process.communicate(timeout=seconds)
        return process.returncode, stderr, time.monotonic() - start
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # workers that were left
        process.wait(10)


def test_ctrl_c_leaves_a_journal_from_which_one_goes_on(tmp_path):
    folder = tmp_path / "result"
    command = script(tmp_path, long_study(folder, seconds=0.02))
    code, _, _ = interrupted(command, lambda: len(records(folder)) >= 10)
    assert code != 0
    assert len(records(folder)) < 120
    again = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    done = list(computed(folder))
    assert len(done) == len(set(done))
    same_counts(
        study(players=(ANNA, BERT), stop=Stop(errors=None, max_batches=40, min_batches=1)).run(folder, workers=1),
        undisturbed(),
    )


def test_ctrl_c_does_not_wait_for_batches_that_nobody_will_read(tmp_path):
    folder, log = tmp_path / "result", tmp_path / "log"
    command = script(tmp_path, long_study(folder, seconds=40, log=str(log)))
    try:
        code, _, seconds = interrupted(command, lambda: len(notes(log)) >= 2, seconds=10)
    except subprocess.TimeoutExpired:
        pytest.fail("10 s after Ctrl+C the study still waits for batches of 40 s")
    assert code != 0
    assert seconds < 10


@pytest.mark.parametrize("journal", [False, True], ids=["without a journal", "with a journal"])
def test_a_script_without_a_main_guard_is_told_so_instead_of_starting_processes_for_ever(tmp_path, journal):
    folder = tmp_path / "result"
    body = long_study(folder, log=str(tmp_path / "log"))
    if not journal:
        body = body.replace(repr(str(folder)), "None")
    ended = subprocess.run(
        script(tmp_path, body, guard=False),
        env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode != 0
    assert "if __name__ == '__main__':" in ended.stderr
    assert notes(tmp_path / "log") == []


class Together(Executor):
    """Works only when three tasks wait, and hands all back at once: the first one without a result."""

    _max_workers = 2

    def __init__(self) -> None:
        self.waiting: list[tuple[Future, Callable[..., Any], tuple]] = []

    def submit(self, fn, /, *args, **kwargs):
        self.waiting.append((Future(), fn, args))
        if len(self.waiting) == 3:
            (broken, _, _), *others = self.waiting
            for future, work, its in others:
                future.set_result(work(*its))
            broken.set_exception(BrokenExecutor("gone"))
        return self.waiting[-1][0]


def test_what_came_back_beside_a_broken_task_is_in_the_journal(tmp_path):
    with pytest.raises(StudyFailedError, match="a worker process died"):
        study(over={"bias": [0.02, 0.1, 0.3]}).run(tmp_path, executor=Together())
    assert len(records(tmp_path)) == 2
