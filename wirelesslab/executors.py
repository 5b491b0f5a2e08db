"""Where batches run: this process, a pool of spawned processes, or a Dask cluster."""

import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ProcessPoolExecutor
from multiprocessing import current_process, get_context, parent_process
from multiprocessing.connection import wait
from socket import create_connection
from typing import Any, TypeVar
from urllib.parse import urlsplit

from wirelesslab import check
from wirelesslab.threads import available_cores

T = TypeVar("T")


class StudyFailedError(RuntimeError):
    """A task failed and nothing goes on without it, a worker died, or the executor gave its tasks up."""


class InProcess(Executor):
    """Runs each task at once, in this process; what one worker is."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run ``fn(*args, **kwargs)`` and return its finished future."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # KeyboardInterrupt goes through: it ends the study
            future.set_exception(error)
        return future


def local_executor(trial: object, workers: int | None = None) -> Executor:
    """Return an executor of `workers` processes on this machine; one per core when None.

    Raises:
        TypeError: `trial` cannot be sent to another process.
        RuntimeError: See `refuse_in_worker`.
    """
    workers = available_cores() if workers is None else workers
    check.positive_integer(workers=workers)
    refuse_in_worker()
    if workers == 1:
        return InProcess()
    try:
        pickle.dumps(trial)
    except Exception as error:
        msg = f"trial: cannot be sent to worker processes ({error}); define it in a module, or run with workers=1"
        raise TypeError(msg) from error
    return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_become_worker)


def result_of(future: Future[T], where: str) -> T:
    """Return what a finished task gave, or raise what it raised.

    Args:
        future: The task.
        where: Which one, for messages.

    Raises:
        StudyFailedError: It has no result because a worker process died or the executor gave it up.
    """
    try:
        return future.result()
    except CancelledError as error:
        msg = "the executor gave up its tasks (has the cluster gone?); the journal keeps what was computed: run again"
        raise StudyFailedError(msg) from error
    except BrokenExecutor as error:
        msg = (
            f"a worker process died (out of memory?), perhaps at {where}; "
            "what was computed is in the journal: run again to go on, with fewer workers or smaller pieces of work"
        )
        raise StudyFailedError(msg) from error


def refuse_in_worker() -> None:
    """Refuse to run a study while a spawned worker imports the main script.

    Raises:
        RuntimeError: The script's work is not under ``if __name__ == "__main__"``.
    """
    if getattr(current_process(), "_inheriting", False):  # what multiprocessing itself looks at
        msg = (
            "workers: a worker process ran the main script again and reached the study; put the script's work "
            "under `if __name__ == '__main__':`, or run the study with workers=1"
        )
        raise RuntimeError(msg)


def abandon(executor: Executor) -> None:
    """End a pool without waiting for batches that nobody will read."""
    # The interpreter would wait for the workers when it exits; they hold nothing that matters.
    processes = list((getattr(executor, "_processes", None) or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        process.terminate()


def _become_worker() -> None:
    """Set up a spawned worker: one thread, deaf to Ctrl+C, gone when its parent is gone."""
    import signal

    # Ctrl+C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, "1")
    parent = parent_process()
    if parent is not None:

        def follow() -> None:
            wait([parent.sentinel])
            os._exit(1)

        # After kill -9 nobody tells the workers: without this they would wait for tasks for ever.
        threading.Thread(target=follow, daemon=True).start()


def dask_executor(address: str, timeout_s: float = 30.0) -> Executor:
    """Return the executor of the Dask cluster whose scheduler listens at `address`.

    The cluster's workers need wirelesslab installed, in the same version.

    Raises:
        ConnectionError: Dask is not installed, nothing answers, or no worker comes within `timeout_s` seconds.
    """
    try:
        from distributed import Client
    except ImportError:
        msg = "scheduler: Dask is not installed; pip install 'wirelesslab[dask]'"
        raise ConnectionError(msg) from None
    refusal = (
        f"scheduler: no Dask scheduler answers at {address!r} within {timeout_s:g} s ({{}}); start one with "
        "`dask scheduler`, workers with `dask worker ADDRESS`, and give the address it prints, such as "
        "tcp://127.0.0.1:8786"
    )
    # A client that fails to connect lingers in Dask's own threads, so the door is tried without one.
    try:
        parts = urlsplit(address if "://" in address else f"tcp://{address}")
        if not parts.hostname or not parts.port:
            raise ConnectionError(refusal.format("that is no address"))
        create_connection((parts.hostname, parts.port), timeout=timeout_s).close()
    except (OSError, ValueError) as error:
        if isinstance(error, ConnectionError) and str(error).startswith("scheduler"):
            raise
        raise ConnectionError(refusal.format(str(error) or type(error).__name__)) from None
    try:
        client: Any = Client(address, timeout=timeout_s, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:
        raise ConnectionError(refusal.format(str(error).strip() or type(error).__name__)) from None
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError:
        client.close()
        msg = (
            f"scheduler: {address!r} answers but has no worker after {timeout_s:g} s; "
            f"start some with `dask worker {address}`"
        )
        raise ConnectionError(msg) from None
    executor: Executor = client.get_executor(pure=False)
    return executor


def concurrency(executor: Executor) -> int:
    """Return how many tasks `executor` runs at once, as far as it tells; at least 1."""
    client = getattr(executor, "_client", None)
    if client is not None and hasattr(client, "ncores"):
        return max(1, int(sum(client.ncores().values())))
    if isinstance(executor, InProcess):
        return 1
    return max(1, int(getattr(executor, "_max_workers", 4)))
