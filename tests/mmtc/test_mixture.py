"""Where training data come from: cells in their ranges, and never one that is kept for testing."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from wirelesslab_sims import _test_points as points
from wirelesslab_sims import train_mampnet

from wirelesslab.mmtc import EqualGain, PathLoss, Rayleigh, Rician, Scenario, UniformGainDb
from wirelesslab.mmtc.limits import block_map_rates
from wirelesslab.mmtc.mixture import ONE_CELL, Mixture, OneCell
from wirelesslab.mmtc.weight_files import pilots_digest
from wirelesslab.rng import stream

WIDE = Mixture(
    num_devices=(20, 60),
    bits_per_device=(1, 2),
    pilot_length=(10, 30),
    num_antennas=(2, 6),
    activity_prob=(0.05, 0.15),
    snr_db=(-5.0, 8.0),
    gain_laws=(EqualGain(), EqualGain(), EqualGain(), PathLoss()),
    fadings=(Rayleigh(), Rician(k_factor_db=3)),
)
# Four shapes, all of them of use.
FEW = Mixture(
    num_devices=(40, 41), bits_per_device=(1,), pilot_length=(20, 21), num_antennas=(4, 4),
    activity_prob=(0.1, 0.1), snr_db=(0.0, 0.0),
)  # fmt: skip
ALL = (*points.OVERLOADED, *points.OTHERS)


def shape_of(scenario):
    return scenario.num_devices, scenario.bits_per_device, scenario.pilot_length, scenario.num_antennas


def draws(mixture, number, *name):
    rng = stream(61, *name)
    return [mixture.draw(rng) for _ in range(number)]


# --- mixtures ---------------------------------------------------------------------------------------


def test_every_draw_lies_in_the_ranges_and_every_choice_comes():
    found = draws(WIDE, 300)
    for name in ("num_devices", "pilot_length", "num_antennas", "activity_prob", "snr_db"):
        low, high = getattr(WIDE, name)
        values = np.array([getattr(s, name) for s in found])
        assert np.all((values >= low) & (values <= high)), name
        assert values.max() - values.min() > 0.5 * (high - low), name  # the range is used
    assert {s.bits_per_device for s in found} == {1, 2}
    assert {s.gain_law for s in found} == {EqualGain(), PathLoss()}
    assert {s.fading for s in found} == {Rayleigh(), Rician(k_factor_db=3)}
    assert {s.gain_knowledge for s in found} == {"known"}


def test_both_ends_of_a_range_of_whole_numbers_come():
    found = draws(FEW, 100)
    assert {shape_of(s) for s in found} == {(n, 1, length, 4) for n in (40, 41) for length in (20, 21)}


def test_the_same_generator_gives_the_same_cells():
    assert draws(WIDE, 10, "same") == draws(WIDE, 10, "same")
    first, again = WIDE.cell(stream(1)), WIDE.cell(stream(1))
    assert np.array_equal(first.pilots, again.pilots)
    assert np.array_equal(first.path_gain, again.path_gain)


def test_two_cells_of_one_shape_have_pilots_of_their_own():
    one_shape = replace(FEW, num_devices=(40, 40), pilot_length=(20, 20))
    rng = stream(2)
    assert not np.array_equal(one_shape.cell(rng).pilots, one_shape.cell(rng).pilots)


def test_excluded_shapes_never_come():
    kept = (41, 1, 20, 4)
    excluded = ((40, 1, 20, 4), (40, 1, 21, 4), (41, 1, 21, 4))
    assert {shape_of(s) for s in draws(replace(FEW, excluded=excluded), 100)} == {kept}
    with pytest.raises(ValueError, match="no cell of 1000 was of use"):
        replace(FEW, excluded=(*excluded, kept)).draw(stream(3))


@pytest.mark.parametrize("least", [1.2, 3.0, 5.0])
def test_no_cell_is_more_loaded_than_the_limit(least):
    symbols = [
        s.pilot_length / (s.activity_prob * s.num_devices)
        for s in draws(replace(WIDE, least_symbols_per_speaker=least), 60, least)
    ]
    assert min(symbols) >= least * (1 - 1e-12)
    assert min(symbols) < 1.5 * least  # the limit is what holds them


@pytest.mark.parametrize("window", [(3e-6, 8e-2), (1e-3, 1e-2)])
def test_the_single_user_error_rate_lies_in_its_window(window):
    low, high = window
    for scenario in draws(replace(WIDE, single_user_ser=window), 60, low):
        assert low <= block_map_rates(scenario, scenario.noise_power).ser <= high


def test_the_lower_end_of_the_window_does_not_hold_for_crowded_cells():
    mixture = replace(WIDE, single_user_ser=(1e-3, 8e-2), crowded_below=4.0)
    easy_and_crowded = 0
    for s in draws(mixture, 100):
        ser, crowded = block_map_rates(s, s.noise_power).ser, s.pilot_length < 4 * s.activity_prob * s.num_devices
        assert ser <= 8e-2
        assert crowded or ser >= 1e-3
        easy_and_crowded += crowded and ser < 1e-3
    assert easy_and_crowded  # otherwise this mixture tells nothing


def test_a_window_in_which_nothing_lies_is_said_so():
    with pytest.raises(ValueError, match="no cell of 1000 was of use; widen single_user_ser"):
        replace(FEW, single_user_ser=(0.5, 0.6)).draw(stream(4))


@pytest.mark.parametrize(
    "name", ["num_devices", "pilot_length", "num_antennas", "activity_prob", "snr_db", "single_user_ser"]
)
def test_a_range_whose_ends_are_swapped_is_refused(name):
    low, high = getattr(Mixture(), name)
    with pytest.raises(ValueError, match=f"{name}: got {high} to {low}, expected the lower end first"):
        Mixture(**{name: (high, low)})


@pytest.mark.parametrize("name", ["activity_prob", "snr_db", "single_user_ser"])
def test_a_range_with_an_end_that_is_no_number_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: got"):
        Mixture(**{name: (float("nan"), 0.1)})


@pytest.mark.parametrize("name", ["bits_per_device", "gain_laws", "fadings"])
def test_a_choice_of_nothing_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: got none, expected at least one"):
        Mixture(**{name: ()})


@pytest.mark.parametrize("limit", [0, -1.0])
def test_a_load_limit_that_is_not_above_zero_is_refused(limit):
    with pytest.raises(ValueError, match="least_symbols_per_speaker"):
        Mixture(least_symbols_per_speaker=limit)


def test_what_a_mixture_trains_for_are_its_ranges():
    mixture = replace(WIDE, bits_per_device=(2, 0), gain_knowledge="distribution")
    t = mixture.trained_for()
    for name in ("num_devices", "pilot_length", "num_antennas", "activity_prob", "snr_db"):
        assert getattr(t, name) == getattr(mixture, name)
    assert t.pilots_per_device == (1, 4)
    assert (t.gain_knowledge, t.pilots_digest) == ("distribution", "")


# --- one cell ---------------------------------------------------------------------------------------


SMALL_CELL = OneCell(
    scenario=Scenario(
        num_devices=12, bits_per_device=1, pilot_length=8, num_antennas=2, snr_db=1.0,
        gain_law=UniformGainDb(low_db=-5, high_db=5),
    ),
    cell_seed=9,
    snr_range_db=4.0,
)  # fmt: skip


def test_one_cell_gives_the_same_pilots_and_gains_each_time():
    rng = stream(5)
    cells = [SMALL_CELL.cell(rng) for _ in range(20)]
    for cell in (*cells, SMALL_CELL.fixed()):
        assert np.array_equal(cell.pilots, cells[0].pilots)
        assert np.array_equal(cell.path_gain, cells[0].path_gain)
    assert not np.array_equal(replace(SMALL_CELL, cell_seed=10).fixed().pilots, cells[0].pilots)


def test_the_snr_of_one_cell_lies_within_half_its_range_to_both_sides():
    rng = stream(6)
    snr_db = np.array([SMALL_CELL.cell(rng).scenario.snr_db for _ in range(200)])
    assert np.all(np.abs(snr_db - 1.0) <= 2.0)
    # 200 uniform draws all miss the outer tenth of an end with probability 0.95^200 = 4e-5.
    assert snr_db.min() < -0.8
    assert snr_db.max() > 2.8
    assert SMALL_CELL.fixed().scenario.snr_db == 1.0


def test_a_cell_without_an_snr_range_keeps_its_snr():
    assert replace(SMALL_CELL, snr_range_db=0.0).cell(stream(7)).scenario == SMALL_CELL.scenario


@pytest.mark.parametrize("source", [SMALL_CELL, ONE_CELL], ids=["small", "shipped"])
def test_what_one_cell_trains_for_are_its_own_numbers_and_pilots(source):
    t, s = source.trained_for(), source.scenario
    assert t.num_devices == (s.num_devices, s.num_devices)
    assert t.pilots_per_device == (s.pilots_per_device, s.pilots_per_device)
    assert t.snr_db == (s.snr_db - 2, s.snr_db + 2)
    assert t.pilots_digest == pilots_digest(source.fixed().pilots.astype(np.complex64))


# --- the test points --------------------------------------------------------------------------------


def test_there_are_twenty_overloaded_test_points_and_twenty_others():
    assert (len(points.OVERLOADED), len(points.OTHERS)) == (20, 20)
    assert len(set(ALL)) == 40
    for point in points.OVERLOADED:
        assert point[2] / (point[4] * point[0]) < 3
    for point in points.OTHERS:
        assert point[2] / (point[4] * point[0]) >= 3


@pytest.mark.parametrize("point", ALL, ids=str)
def test_every_test_point_is_inside_the_range_of_the_bar(point):
    s = points.scenario(point)
    assert 60 <= s.num_devices <= 200
    assert s.pilots_per_device in (2, 4)
    assert 14 <= s.pilot_length <= 60
    assert 2 <= s.num_antennas <= 16
    assert 0.05 <= s.activity_prob <= 0.15
    assert -6 <= s.snr_db <= 10


def test_drawing_again_gives_the_first_test_points():
    stored = {True: iter(points.OVERLOADED), False: iter(points.OTHERS)}
    for overloaded, point in islice(points.draw(), 2):
        assert point == next(stored[overloaded])


def test_the_test_points_have_a_single_user_limit_that_leaves_errors_to_count():
    for point in ALL:
        scenario = points.scenario(point)
        # The genie that screened them is at or above what a device alone in the cell would reach.
        assert block_map_rates(scenario, scenario.noise_power).ser <= 3e-2, point


@pytest.mark.parametrize("setting", ["known", "distribution", "asynchronous"])
def test_no_training_mixture_can_give_a_test_point(setting):
    mixture = train_mampnet.source(setting)
    assert isinstance(mixture, Mixture)
    for point in ALL:
        assert point[:4] in mixture.excluded
    n, j, length, m = points.OVERLOADED[0][:4]
    only = replace(
        mixture, num_devices=(n, n), bits_per_device=(j,), pilot_length=(length, length), num_antennas=(m, m),
        gain_laws=(EqualGain(),), gain_knowledge="known",
    )  # fmt: skip
    with pytest.raises(ValueError, match="no cell of 1000"):
        only.draw(stream(8))
    assert shape_of(replace(only, excluded=()).draw(stream(8))) == (n, j, length, m)  # it would come otherwise


def test_the_one_cell_of_the_shipped_network_is_no_test_point():
    assert shape_of(train_mampnet.source("one-cell").scenario) not in points.excluded()


@pytest.mark.parametrize("setting", ["known", "distribution"])
def test_the_training_range_holds_the_range_of_the_bar(setting):
    t = train_mampnet.source(setting).trained_for()
    assert t.num_devices[0] <= 60
    assert t.num_devices[1] >= 200
    assert t.pilots_per_device == (2, 4)
    assert t.pilot_length[0] <= 14
    assert t.pilot_length[1] >= 60
    assert t.num_antennas[0] <= 2
    assert t.num_antennas[1] >= 16
    assert t.activity_prob[0] <= 0.05
    assert t.activity_prob[1] >= 0.15
    assert t.snr_db[0] <= -6
    assert t.snr_db[1] >= 10
    assert t.gain_knowledge == setting
