"""Checks at the door: they say what came, what was wanted and how to mend it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trials import Coin
from wirelesslab import check
from wirelesslab.mmtc import Scenario, simulate
from wirelesslab.rng import stream


@given(st.floats(0, 1))
def test_every_number_from_0_to_1_is_a_probability(value):
    check.probability(activity_prob=value)


@pytest.mark.parametrize("value", [-0.1, 1.0000001, 10, -1, 250])
def test_a_probability_outside_0_and_1_is_refused(value):
    with pytest.raises(ValueError, match=r"activity_prob: got .*expected a probability in \[0, 1\]"):
        Scenario(activity_prob=value)


def test_a_probability_in_per_cent_is_told_how_to_be_written():
    with pytest.raises(ValueError, match=r"write 10 % as 0.1"):
        Scenario(activity_prob=10)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_probability_that_is_not_finite_is_refused(value):
    with pytest.raises(ValueError, match=r"bias: got .*expected a finite number"):
        Coin(bias=value)


@pytest.mark.parametrize("value", ["0.1", None, True, 1j], ids=repr)
def test_what_is_no_number_is_no_probability(value):
    with pytest.raises(TypeError, match=r"activity_prob: got .*expected a number"):
        Scenario(activity_prob=value)


@pytest.mark.parametrize("field", ["num_antennas", "num_devices", "pilot_length"])
@pytest.mark.parametrize("value", [0, -1])
def test_a_cell_without_antennas_devices_or_pilots_is_refused(field, value):
    with pytest.raises(ValueError, match=f"{field}: got {value}, expected a whole number of at least 1"):
        Scenario(**{field: value})


@pytest.mark.parametrize("value", [2.0, "2", True, None], ids=repr)
def test_what_is_counted_must_be_a_whole_number(value):
    with pytest.raises(TypeError, match=r"num_antennas: got .*expected a whole number"):
        check.positive_integer(num_antennas=value)


def test_zero_is_a_non_negative_integer_and_no_positive_one():
    check.non_negative_integer(bits=0)
    with pytest.raises(ValueError, match="bits: got -1"):
        check.non_negative_integer(bits=-1)


def test_numbers_of_numpy_are_numbers():
    check.positive_integer(num=np.int32(3))
    check.probability(share=np.float32(0.5))
    check.positive(power=np.float64(2))


@pytest.mark.parametrize("value", [0, -1.5])
def test_what_must_be_positive_is_above_0(value):
    with pytest.raises(ValueError, match=r"noise_power: got .*expected a number above 0"):
        check.positive(noise_power=value)


@pytest.mark.parametrize("value", [-200.5, 201])
def test_a_number_outside_its_range_is_refused_with_the_range(value):
    with pytest.raises(ValueError, match=r"snr_db: got .*expected a number in \[-200, 200\]"):
        Scenario(snr_db=value)


def test_every_named_value_is_checked_and_the_wrong_one_is_named():
    with pytest.raises(ValueError, match="second: got 0"):
        check.positive_integer(first=1, second=0)


def test_an_unknown_word_is_told_the_nearest_known_one():
    with pytest.raises(ValueError, match=r"metric: got 'missd', expected one of ser, missed; did you mean 'missed'\?"):
        check.one_of(["ser", "missed"], metric="missd")


def test_a_word_unlike_all_others_gets_no_advice():
    assert check.nearest("xyz", ["ser", "missed"]) == ""


def test_an_array_of_the_right_shape_passes_unchanged():
    given_array = np.ones((2, 3))
    assert check.array(given_array, (None, 3), "frames, M", name="received") is given_array


@pytest.mark.parametrize("shape", [(5, 2), (4,), (4, 2, 1), ()])
def test_an_array_of_another_shape_is_refused_with_both_shapes_and_the_reason(shape):
    with pytest.raises(ValueError, match=r"received: got shape .*expected \(L=4, M\); L was set by pilots \(4, 9\)"):
        check.array(np.ones(shape), (4, None), "L, M", name="received", because="L was set by pilots (4, 9)")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, complex(0, np.nan)], ids=repr)
def test_an_array_with_nan_or_infinity_is_refused_and_told_where(bad):
    value = np.ones((2, 3), dtype=complex if isinstance(bad, complex) else float)
    value[1, 2] = bad
    with pytest.raises(ValueError, match=r"rows: got 1 of 6 entries that are NaN or infinite, the first at \(1, 2\)"):
        check.array(value, (None, None), "N, M", name="rows")


@pytest.mark.parametrize("value", [["a", "b"], [None, 1], [object()]], ids=["texts", "none", "objects"])
def test_an_array_of_no_numbers_is_refused(value):
    with pytest.raises(TypeError, match=r"rows: got an array of .*expected numbers"):
        check.array(value, (None,), "N", name="rows")


def test_rows_of_different_lengths_are_refused_under_the_name_of_the_argument():
    with pytest.raises((TypeError, ValueError), match="rows: got"):
        check.array([[1, 2], [3]], (None, None), "N, M", name="rows")


def test_work_that_does_not_fit_in_memory_is_refused_with_both_sizes():
    with pytest.raises(
        MemoryError, match=r"pilots: needs 9.09 PiB|pilots: needs .*iB, .*iB are free; lower num_devices"
    ):
        check.fits_in_memory(1e16, "pilots", "lower num_devices")


def test_work_that_fits_passes():
    check.fits_in_memory(1e3, "pilots", "lower num_devices")


def test_free_memory_is_a_plausible_number():
    assert 2**20 < check.available_bytes() < 2**50


def test_a_cell_that_does_not_fit_in_memory_is_refused_before_anything_is_drawn():
    with pytest.raises(MemoryError, match=r"needs .*are free; .*(num_|pilot_length)"):
        simulate(Scenario(num_devices=2_000_000_000), stream(1), num_frames=1)
