"""From a scenario to what the station receives: Y = S X + W, and nothing else."""

import tracemalloc
from dataclasses import fields, replace

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, frames_of, within_standard_errors
from wirelesslab.mmtc import (
    ACTIVITY_LAWS,
    CODEBOOKS,
    FADINGS,
    GAIN_LAWS,
    ActivityTrace,
    Cell,
    Observation,
    PathLoss,
    Scenario,
    draw_cell,
    simulate,
)
from wirelesslab.mmtc.gains import GainPrior
from wirelesslab.rng import stream

SCENARIOS = (
    LIGHT,
    *(replace(LIGHT, codebook=law()) for law in CODEBOOKS[1:]),
    *(replace(LIGHT, gain_law=law()) for law in GAIN_LAWS[1:]),
    *(replace(LIGHT, fading=law()) for law in FADINGS[1:]),
    *(replace(LIGHT, activity_law=law()) for law in ACTIVITY_LAWS[1:] if law is not ActivityTrace),
    replace(LIGHT, bits_per_device=0),
    replace(LIGHT, bits_per_device=3, num_antennas=1),
)


def noise_free(observation, truth):
    """S X, entry by entry from the truth."""
    q = observation.pilots_per_device
    received = np.zeros(observation.received.shape, dtype=complex)
    channels = truth.channels
    for frame, device in zip(*np.nonzero(truth.symbols), strict=True):
        pilot = observation.pilots[:, device * q + truth.symbols[frame, device] - 1]
        received[frame] += np.sqrt(truth.path_gain[device]) * np.outer(pilot, channels[frame, device])
    return received


@pytest.mark.parametrize("scenario", SCENARIOS, ids=repr)
def test_the_station_receives_the_sum_of_the_pilots_sent_through_their_channels(scenario):
    observation, truth = frames_of(replace(scenario, snr_db=150), 12, "reconstruction")
    assert truth.symbols.any()
    noise = observation.received - noise_free(observation, truth)
    loudest = np.sqrt(truth.path_gain.max()) * 40  # rounding of a sum of that size
    assert np.abs(noise).max() < 7 * np.sqrt(observation.noise_power) + 1e-14 * loudest


@pytest.mark.parametrize("scenario", SCENARIOS, ids=repr)
def test_labels_channels_and_activity_tell_one_story(scenario):
    _, truth = frames_of(scenario, 12, "story")
    assert truth.symbols.min() >= 0
    assert truth.symbols.max() <= scenario.pilots_per_device
    assert np.array_equal(truth.activity, truth.symbols > 0)
    assert np.array_equal(np.any(truth.channels != 0, axis=-1), truth.activity)
    assert truth.active_channels.shape == (np.count_nonzero(truth.symbols), scenario.num_antennas)


def test_the_noise_has_the_power_that_the_snr_says():
    scenario = replace(LIGHT, activity_prob=0, snr_db=-7)
    observation, truth = frames_of(scenario, 400, "noise")
    assert not truth.symbols.any()
    power = np.abs(observation.received.ravel()) ** 2
    assert observation.noise_power == pytest.approx(10**0.7 / scenario.pilot_length, rel=1e-12)
    assert within_standard_errors(power, observation.noise_power)
    assert within_standard_errors((observation.received.ravel() ** 2).real, 0.0)  # circular


def test_labels_are_uniform():
    _, truth = frames_of(replace(LIGHT, bits_per_device=2, activity_prob=1), 500, "labels")
    for label in range(1, 5):
        assert within_standard_errors((truth.symbols.ravel() == label).astype(float), 0.25)


def test_a_sweep_over_snr_meets_the_same_air_and_only_the_noise_is_scaled():
    (low, truth), (high, same) = (frames_of(replace(LIGHT, snr_db=snr), 5, "air") for snr in (-10, 20))
    assert np.array_equal(truth.symbols, same.symbols)
    assert np.array_equal(truth.active_channels, same.active_channels)
    assert np.array_equal(low.pilots, high.pilots)
    air = noise_free(low, truth)
    np.testing.assert_allclose(
        (low.received - air) / np.sqrt(low.noise_power), (high.received - air) / np.sqrt(high.noise_power), atol=1e-12
    )


def test_a_sweep_over_activity_meets_nested_speakers_and_the_same_pilots_and_noise():
    (quiet, few), (busy, many) = (frames_of(replace(LIGHT, activity_prob=p), 5, "nested") for p in (0.1, 0.3))
    assert np.array_equal(quiet.pilots, busy.pilots)
    assert np.array_equal(many.symbols[few.activity], few.symbols[few.activity])
    np.testing.assert_allclose(
        quiet.received - noise_free(quiet, few), busy.received - noise_free(busy, many), atol=1e-12
    )


def test_more_frames_leave_the_first_ones_alone():
    (short, first), (long, all_) = (frames_of(LIGHT, frames, "prefix") for frames in (3, 9))
    assert np.array_equal(short.received, long.received[:3])
    assert np.array_equal(first.symbols, all_.symbols[:3])


def test_frames_of_a_cell_differ_in_all_but_pilots_and_gains():
    cell = draw_cell(replace(LIGHT, gain_law=PathLoss()), stream(1))
    (first, truth), (second, other) = (simulate(cell, stream(seed), num_frames=2) for seed in (2, 3))
    assert np.array_equal(first.pilots, second.pilots)
    assert np.array_equal(truth.path_gain, other.path_gain)
    assert np.array_equal(truth.path_gain, cell.path_gain)
    assert not np.array_equal(truth.symbols, other.symbols)
    assert not np.array_equal(first.received, second.received)
    assert not np.array_equal(first.received[0], first.received[1])


def test_two_calls_on_one_generator_give_different_air_and_the_same_seed_the_same():
    rng = stream(4)
    first, second = (simulate(LIGHT, rng, num_frames=2)[0].received for _ in range(2))
    again = simulate(LIGHT, stream(4), num_frames=2)[0].received
    assert not np.array_equal(first, second)
    assert np.array_equal(first, again)


def test_single_precision_is_double_precision_rounded():
    double, truth = frames_of(LIGHT, 4, "precision")
    single, same = frames_of(LIGHT, 4, "precision", precision="complex64")
    assert single.received.dtype == single.pilots.dtype == np.complex64
    assert double.received.dtype == double.pilots.dtype == np.complex128
    assert np.array_equal(truth.symbols, same.symbols)
    np.testing.assert_allclose(single.received, double.received, atol=1e-6)
    np.testing.assert_allclose(single.pilots, double.pilots, atol=1e-7)


def test_single_precision_is_what_one_gets_unasked():
    assert simulate(LIGHT, stream(1))[0].received.dtype == np.complex64


# --- what is given is transmitted -----------------------------------------------------------------


def test_given_symbols_are_sent():
    symbols = stream(5).integers(0, 3, (6, LIGHT.num_devices))
    observation, truth = frames_of(replace(LIGHT, snr_db=150), 6, "given", symbols=symbols)
    assert np.array_equal(truth.symbols, symbols)
    assert np.abs(observation.received - noise_free(observation, truth)).max() < 1e-6


@pytest.mark.parametrize("kind", [bool, int, float, list])
def test_given_activity_decides_who_speaks_and_the_labels_are_drawn(kind):
    activity = stream(6).integers(0, 2, (6, LIGHT.num_devices))
    given = activity.tolist() if kind is list else activity.astype(kind)
    _, truth = frames_of(LIGHT, 6, "given", activity=given)
    assert np.array_equal(truth.activity, activity.astype(bool))
    assert set(np.unique(truth.symbols)) == {0, 1, 2}


def test_given_activity_leaves_channels_of_noise_alone():
    drawn, truth = frames_of(LIGHT, 3, "leave")
    given, same = frames_of(LIGHT, 3, "leave", activity=truth.activity)
    assert np.array_equal(truth.symbols, same.symbols)
    assert np.array_equal(drawn.received, given.received)


SHAPE = (2, LIGHT.num_devices)


def entry(value, kind=float):
    array = np.zeros(SHAPE, dtype=kind)
    array[1, 3] = value
    return array


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"symbols": entry(3)}, r"symbols: got 3.0 in frame 1, device 3, expected 0 \(silent\) or a label in 1..2"),
        ({"symbols": entry(-1)}, "symbols: got -1.0 in frame 1, device 3"),
        ({"symbols": entry(0.5)}, "symbols: got 0.5 in frame 1, device 3"),
        ({"symbols": entry(1 + 1j, complex)}, r"symbols: got \(1\+1j\) in frame 1, device 3"),
        ({"symbols": entry(np.nan)}, r"symbols: got 1 of 80 entries that are NaN or infinite, the first at \(1, 3\)"),
        ({"symbols": np.zeros((2, 5), int)}, r"symbols: got shape \(2, 5\), expected \(frames=2, N=40\)"),
        ({"symbols": np.zeros(40, int)}, r"symbols: got shape \(40,\)"),
        ({"activity": entry(2)}, "activity: got 2.0 in frame 1, device 3, expected 0 or 1"),
        ({"activity": entry(np.nan)}, "activity: got 1 of 80 entries that are NaN"),
        ({"activity": np.zeros((3, 40))}, r"activity: got shape \(3, 40\), expected \(frames=2, N=40\)"),
        (
            {"activity": entry(1), "symbols": entry(0)},
            "symbols: got 0 in frame 1, device 3, whose activity is 1; give 0 for the silent and 1..2 for those who",
        ),
        ({"activity": entry(0), "symbols": entry(2)}, "symbols: got 2 in frame 1, device 3, whose activity is 0"),
        ({"precision": "complex32"}, "precision: got 'complex32', expected one of complex64, complex128"),
        ({"num_frames": 0}, "num_frames: got 0, expected a whole number of at least 1"),
    ],
)
def test_what_cannot_be_sent_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        simulate(LIGHT, stream(1), **({"num_frames": 2} | given))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simulate(LIGHT, 7), "rng: got int, expected numpy.random.Generator"),
        (lambda: simulate("cell", stream(1)), "cell_or_scenario: got str, expected a Cell or a Scenario"),
        (lambda: simulate(LIGHT, stream(1), num_frames=1.5), "num_frames: got 1.5"),
        (lambda: simulate(LIGHT, stream(1), activity=[["a"] * 40]), "activity: got an array of <U1, expected numbers"),
    ],
)
def test_what_is_of_the_wrong_kind_is_refused(call, message):
    with pytest.raises(TypeError, match=message):
        call()


# --- cells and observations -----------------------------------------------------------------------


def test_a_cell_of_ones_own_pilots_and_gains_is_used_as_given():
    scenario = replace(LIGHT, num_devices=3, pilot_length=6, snr_db=150)
    pilots, gains = np.eye(6), np.array([4.0, 1.0, 0.0])
    cell = Cell(scenario, pilots, gains)
    observation, truth = simulate(cell, stream(1), symbols=[[1, 2, 1]], precision="complex128")
    expected = np.zeros((6, 4), complex)
    expected[0], expected[3] = 2 * truth.channels[0, 0], truth.channels[0, 1]
    np.testing.assert_allclose(observation.received[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("pilots", "gains", "message"),
    [
        (np.ones((40, 79)), np.ones(40), r"pilots: got shape \(40, 79\), expected \(L=40, num_pilots=80\)"),
        (np.full((40, 80), np.nan), np.ones(40), "pilots: got 3200 of 3200 entries that are NaN"),
        (np.ones((40, 80)), np.ones(39), r"path_gain: got shape \(39,\), expected \(N=40\)"),
        (np.ones((40, 80)), -np.ones(40), "path_gain: got an entry that is negative or complex"),
        (np.ones((40, 80)), 1j * np.ones(40), "path_gain: got an entry that is negative or complex"),
    ],
)
def test_a_cell_that_does_not_fit_its_scenario_is_refused(pilots, gains, message):
    with pytest.raises(ValueError, match=message):
        Cell(LIGHT, pilots, gains)


def test_a_detector_cannot_see_the_truth():
    observation, _ = frames_of(LIGHT, 2, "blind")
    names = {f.name for f in fields(Observation)}
    assert names == {
        "received", "pilots", "noise_power", "activity_prob", "gains", "pilots_per_device", "states_per_pilot",
    }  # fmt: skip
    for secret in ("symbols", "activity", "channels", "truth", "path_gain"):
        assert not hasattr(observation, secret)


def test_a_station_that_knows_only_the_law_of_the_gains_cannot_see_them():
    observation, truth = frames_of(replace(LIGHT, gain_law=PathLoss(), gain_knowledge="distribution"), 2, "gains")
    assert np.unique(observation.gains.nodes, axis=0).shape[0] == 1
    assert not np.isin(truth.path_gain, observation.gains.nodes).any()


def observed(**changes):
    observation, _ = frames_of(LIGHT, 2, "observed")
    return replace(observation, **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"received": np.zeros((2, 39, 4))},
            r"received: got shape \(2, 39, 4\), expected \(frames, L=40, M\); L was set by pilots \(40, 80\)",
        ),
        ({"received": np.zeros((40, 4))}, r"received: got shape \(40, 4\), expected \(frames, L=40, M\)"),
        ({"received": np.full((2, 40, 4), np.nan)}, "received: got 320 of 320 entries that are NaN"),
        ({"pilots": np.ones((40, 81))}, "pilots: got 81 columns, expected a multiple of pilots_per_device=2"),
        ({"noise_power": 0.0}, "noise_power: got 0.0, expected a number above 0"),
        ({"activity_prob": 10}, "write 10 % as 0.1"),
        ({"pilots_per_device": 0}, "pilots_per_device: got 0"),
        ({"gains": GainPrior(np.ones((39, 1)), np.ones(1))}, r"gains.nodes: got shape \(39, 1\), expected \(N=40, J\)"),
        ({"gains": GainPrior(np.ones((40, 2)), np.ones(1))}, r"gains.weights: got shape \(1,\), expected \(J=2\)"),
    ],
)
def test_an_observation_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        observed(**changes)


def test_an_observation_with_negative_gains_is_refused():
    with pytest.raises(ValueError, match="gains"):
        observed(gains=GainPrior(-np.ones((40, 1)), np.ones(1)))


def test_an_observation_of_no_frames_is_refused():
    with pytest.raises(ValueError, match="received"):
        observed(received=np.zeros((0, 40, 4), complex))


# --- memory ---------------------------------------------------------------------------------------


def test_more_frames_than_memory_holds_are_refused_at_once_and_the_message_says_how_to_go_on():
    with pytest.raises(MemoryError, match="1000000000000 frames of 40 devices") as e:
        simulate(LIGHT, stream(1), num_frames=10**12)
    assert "lower num_frames and add up the counts of several calls" in str(e.value)
    assert "are free" in str(e.value)


def test_more_pilots_than_memory_holds_are_refused_at_once():
    with pytest.raises(MemoryError, match="lower num_devices, bits_per_device or pilot_length"):
        draw_cell(Scenario(num_devices=10**8), stream(1))


def test_ten_thousand_devices_simulate_in_bounded_memory():
    scenario = Scenario(num_devices=10_000, bits_per_device=2, pilot_length=50, num_antennas=8, activity_prob=0.001)
    num_frames = 200
    tracemalloc.start()
    try:
        observation, _ = simulate(scenario, stream(1), num_frames=num_frames)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert observation.received.shape == (num_frames, 50, 8)
    # Pilots: the four copies that `draw_cell` asks room for. Frames: activity, labels and their
    # draws (24 bytes a device). Noise: the scratch of a block of frames, here all of them, twice.
    pilots = 4 * 16 * scenario.pilot_length * scenario.num_pilots  # 128 MB
    labels = 24 * num_frames * scenario.num_devices  # 48 MB
    noise = 2 * 16 * num_frames * 50 * 8
    assert peak < pilots + labels + noise + 2**23
    # X itself, dense, would be eight times that.
    assert peak < num_frames * scenario.num_pilots * scenario.num_antennas * 16 / 4
