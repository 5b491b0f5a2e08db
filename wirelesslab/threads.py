"""Threads, so that results never depend on how many there are.

BLAS sums in another order when it uses another number of threads, and a borderline decision can
flip with the last bit. Heavy work is therefore cut into chunks of a fixed size, every chunk runs
with one BLAS thread, and the chunks, not the products, are spread over the cores.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")

_lock = threading.Lock()
_holders = 0
_restore: Callable[[], None] | None = None
_local = threading.local()
_known: tuple[int, ThreadpoolController] | None = None
# threadpoolctl lets only the thread that set OpenBLAS's threads first set them again, as long as it
# lives. This thread does it for all others.
_keeper = ThreadPoolExecutor(1, thread_name_prefix="blas")


def _controller() -> ThreadpoolController:
    """The BLAS libraries that are loaded; looked for again when modules have been imported since."""
    global _known  # noqa: PLW0603
    if _known is None or _known[0] != len(sys.modules):
        _known = (len(sys.modules), ThreadpoolController())
    return _known[1]


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread in this process; may be nested and held by several threads."""
    global _holders, _restore  # noqa: PLW0603  (BLAS itself keeps its thread count in a global)
    with _lock:
        if _holders == 0:
            _restore = (
                _keeper.submit(lambda: _controller().limit(limits=1, user_api="blas")).result().restore_original_limits
            )
        _holders += 1
    try:
        yield
    finally:
        with _lock:
            _holders -= 1
            if _holders == 0 and _restore is not None:
                _keeper.submit(_restore).result()
                _restore = None


@contextmanager
def one_thread() -> Iterator[None]:
    """Hold BLAS and `map_chunks` to one thread: what a study's worker does for each batch."""
    before = getattr(_local, "num_threads", None)
    _local.num_threads = 1
    try:
        with one_blas_thread():
            yield
    finally:
        _local.num_threads = before


def map_chunks(work: Callable[[slice], T], num_items: int, chunk: int) -> list[T]:
    """Return ``work(slice)`` for consecutive slices of `chunk` items, in order, on all cores.

    The chunks depend on the sizes only, so the result does not depend on the number of cores.
    `work` should spend its time where Python's lock is released (NumPy products, nogil kernels).
    """
    slices = [slice(start, min(start + chunk, num_items)) for start in range(0, num_items, chunk)]
    if not slices:
        return []
    num_threads = getattr(_local, "num_threads", None) or available_cores()
    with one_blas_thread():
        if num_threads == 1 or len(slices) == 1:
            return [work(part) for part in slices]
        with ThreadPoolExecutor(min(num_threads, len(slices))) as pool:
            return list(pool.map(work, slices))
