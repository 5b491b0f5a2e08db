"""Named streams: a name gives the same numbers always, and another name gives others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirelesslab.rng import canonical, stream, substreams

NAME_PARTS = st.one_of(st.text(max_size=8), st.integers(), st.floats(allow_nan=False, allow_infinity=False))


@pytest.mark.parametrize("zero", [0, 0.0, -0.0, np.int64(0), np.float64(0), np.float32(0)], ids=repr)
def test_equal_numbers_of_different_types_are_one_name(zero):
    assert stream(7, "snr", zero).random() == stream(7, "snr", 0).random()


def test_text_of_numpy_is_text():
    assert canonical((np.str_("air"), 1)) == canonical(("air", 1))


def test_a_number_and_its_spelling_are_different_names():
    assert stream(7, 1).random() != stream(7, "1").random()


@given(st.tuples(NAME_PARTS, NAME_PARTS), st.tuples(NAME_PARTS, NAME_PARTS))
def test_two_names_are_one_only_if_their_parts_are_equal(first, second):
    assert (canonical(first) == canonical(second)) == (first == second)


@pytest.mark.parametrize(("first", "second"), [(("a|i1",), ("a", 1)), (("a", "b"), ("ab",)), (("a", "b"), ("b", "a"))])
def test_parts_of_a_name_do_not_run_together(first, second):
    assert stream(7, *first).random() != stream(7, *second).random()


def test_streams_do_not_depend_on_the_order_in_which_they_are_made():
    forwards = {name: stream(3, name).random(4) for name in ("air", "noise", "weights")}
    backwards = {name: stream(3, name).random(4) for name in ("weights", "extra", "noise", "air")}
    for name, numbers in forwards.items():
        np.testing.assert_array_equal(backwards[name], numbers)


def test_streams_of_different_names_are_uncorrelated():
    # The correlation of n independent pairs has a standard deviation of 1/sqrt(n): 5 of them.
    draws = np.array([stream(3, "batch", b).standard_normal(10_000) for b in range(6)])
    off_diagonal = np.corrcoef(draws)[~np.eye(6, dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(10_000)


def test_another_seed_gives_another_stream():
    assert stream(1, "air").random() != stream(2, "air").random()


def test_an_integer_of_numpy_is_a_seed():
    assert stream(np.int64(5), "air").random() == stream(5, "air").random()


@pytest.mark.parametrize(
    ("seed", "kind"), [(-1, ValueError), (1.5, TypeError), (True, TypeError), ("7", TypeError), (None, TypeError)]
)
def test_a_seed_that_is_no_whole_number_from_0_on_is_refused(seed, kind):
    with pytest.raises(kind, match=r"seed: got .*expected a whole number"):
        stream(seed)


@pytest.mark.parametrize("part", [None, 1j, b"air", (1, 2), np.array([1, 2])], ids=repr)
def test_a_name_that_is_neither_text_nor_number_is_refused(part):
    with pytest.raises(TypeError, match=r"name: got .*expected text or a number"):
        stream(7, part)


@pytest.mark.parametrize("part", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_names_nothing_is_refused_in_the_same_voice(part):
    with pytest.raises((TypeError, ValueError), match="name: got"):
        stream(7, part)


def test_a_purpose_that_draws_more_leaves_the_others_alone():
    def noise(num_pilots: int) -> np.ndarray:
        parts = substreams(stream(7, "batch", 0), "pilots", "noise")
        parts["pilots"].random(num_pilots)
        return parts["noise"].random(5)

    np.testing.assert_array_equal(noise(10), noise(1000))


def test_a_second_split_gives_new_generators():
    rng = stream(7, "batch", 0)
    assert substreams(rng, "a")["a"].random() != substreams(rng, "a")["a"].random()


@pytest.mark.parametrize("rng", [7, None, np.random.RandomState(1)], ids=lambda r: type(r).__name__)
def test_only_generators_are_split(rng):
    with pytest.raises(TypeError, match=r"rng: got .*expected numpy.random.Generator"):
        substreams(rng, "a")
