"""Threads: results never depend on how many there are."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from wirelesslab import threads


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_chunks_cover_all_items_once_and_in_order():
    parts = threads.map_chunks(lambda part: list(range(100))[part], 100, 7)
    assert [len(part) for part in parts] == [7] * 14 + [2]
    assert [item for part in parts for item in part] == list(range(100))


@pytest.mark.parametrize("cores", [1, 2, 5])
def test_the_chunks_do_not_depend_on_the_number_of_cores(monkeypatch, cores):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    assert threads.map_chunks(lambda part: (part.start, part.stop), 10, 4) == [(0, 4), (4, 8), (8, 10)]


@pytest.mark.parametrize("cores", [1, 2])
def test_no_items_are_no_work(monkeypatch, cores):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    assert threads.map_chunks(lambda part: part, 0, 4) == []


def test_a_product_has_the_same_bits_with_one_core_and_with_many(monkeypatch):
    matrices = np.random.default_rng(1).standard_normal((24, 40, 40))

    def products(cores: int) -> np.ndarray:
        monkeypatch.setattr(threads, "available_cores", lambda: cores)
        return np.concatenate(threads.map_chunks(lambda part: matrices[part] @ matrices[part], 24, 4))

    np.testing.assert_array_equal(products(1), products(3))


def test_an_error_in_a_chunk_reaches_the_caller():
    def work(part: slice) -> None:
        if part.start == 8:
            msg = "chunk of 8"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="chunk of 8"):
        threads.map_chunks(work, 20, 4)


def test_blas_is_held_to_one_thread_and_let_go_again():
    before = blas_threads()
    with threads.one_blas_thread():
        assert blas_threads() <= {1}
        with threads.one_blas_thread():
            assert blas_threads() <= {1}
        assert blas_threads() <= {1}
    assert blas_threads() == before


def test_blas_is_let_go_after_an_error():
    before = blas_threads()
    with pytest.raises(RuntimeError, match="inside"), threads.one_blas_thread():
        raise RuntimeError("inside")
    assert blas_threads() == before


def test_blas_stays_held_until_the_last_of_several_threads_lets_go():
    before, inside, leave = blas_threads(), threading.Event(), threading.Event()

    def hold() -> None:
        with threads.one_blas_thread():
            inside.set()
            leave.wait(30)

    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(hold)
        try:
            assert inside.wait(30)
            with threads.one_blas_thread():
                pass
            assert blas_threads() <= {1}
        finally:
            leave.set()
        held.result(30)
    assert blas_threads() == before


def test_blas_is_held_in_any_thread_also_after_another_thread_held_it_before():
    # OpenBLAS 0.3.31: what one thread sets and restores, a later thread's setting does not override.
    matrix = np.random.default_rng(1).standard_normal((600, 600))

    def product() -> tuple[set[int], np.ndarray]:
        with threads.one_blas_thread():
            return blas_threads(), matrix[:, :333] @ matrix[:333]

    here = product()
    with ThreadPoolExecutor(1) as pool:
        there = pool.submit(product).result(30)
    assert there[0] <= {1}
    np.testing.assert_array_equal(here[1], there[1])


def test_one_thread_keeps_chunks_in_the_calling_thread():
    with threads.one_thread():
        who = threads.map_chunks(lambda part: threading.get_ident(), 20, 4)
    assert set(who) == {threading.get_ident()}


def test_there_is_at_least_one_core():
    assert threads.available_cores() >= 1
