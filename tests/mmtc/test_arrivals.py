"""Devices that come late or off the carrier: what is received, what is decided, and what is left as it was."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import xarray as xr

from tests.mmtc.cells import LIGHT, OVERLOADED, TINY, family, frames_of
from tests.references.genie import exhaustive_map, genie_posteriors
from wirelesslab.mmtc import (
    ARRIVALS,
    CarrierOffset,
    Delayed,
    DelayedAndOffset,
    Detection,
    Rayleigh,
    Scenario,
    Synchronous,
    draw_cell,
    error_counts,
    limits,
    simulate,
    state_errors,
    state_evolution,
    symbol_error_trial,
    symbol_errors,
    uplink,
)
from wirelesslab.mmtc.detectors import AMP, Genie
from wirelesslab.mmtc.limits import block_map_rates, why_no_closed_forms, why_no_limits, with_limits
from wirelesslab.mmtc.mixture import Mixture
from wirelesslab.naming import build
from wirelesslab.results import describe
from wirelesslab.rng import stream
from wirelesslab.services.frames import HEARD, Frames, InLoop
from wirelesslab.services.framing import Framing

LAWS = (
    *(law() for law in ARRIVALS),
    Delayed(max_delay_symbols=1),
    CarrierOffset(max_offset=0.1, num_frequencies=4),
    CarrierOffset(on_grid=False),
    DelayedAndOffset(max_delay_symbols=1, num_frequencies=2, on_grid=False),
)
ONE_STATE = (
    Delayed(max_delay_symbols=0),
    CarrierOffset(max_offset=0.1, num_frequencies=1),
    DelayedAndOffset(max_delay_symbols=0, max_offset=0.1, num_frequencies=1),
)
OF_BOTH = DelayedAndOffset(max_delay_symbols=2, max_offset=0.06, num_frequencies=3)


def noise_free(observation, truth):
    """Sum over speakers of column times channel, entry by entry of the definition."""
    out = np.zeros(observation.received.shape, complex)
    for frame, device in np.argwhere(truth.symbols):
        block = observation.pilots[:, device * observation.pilots_per_device :]
        column = (truth.symbols[frame, device] - 1) * observation.states_per_pilot + truth.states[frame, device]
        amplitude = np.sqrt(truth.path_gain[device])
        out[frame] += np.outer(block[:, column], amplitude * truth.channels[frame, device])
    return out


# --- what is received ------------------------------------------------------------------------------


@pytest.mark.parametrize("arrival", ONE_STATE, ids=repr)
def test_one_state_is_everybody_in_step_to_the_last_bit(arrival):
    (usual, truth), (other, same) = (
        frames_of(replace(LIGHT, arrival=a), 6, "one state") for a in (Synchronous(), arrival)
    )
    assert np.array_equal(usual.received, other.received)
    assert np.array_equal(usual.pilots, other.pilots)
    assert (usual.states_per_pilot, other.states_per_pilot) == (1, 1)
    assert np.array_equal(truth.states, same.states)
    assert np.array_equal(truth.active_channels, same.active_channels)


def test_a_late_pilot_is_the_pilot_shifted_by_hand():
    pilots = draw_cell(LIGHT, stream(1)).pilots
    columns = Delayed(max_delay_symbols=3).expand(pilots).reshape(43, 80, 4)
    for delay in range(4):
        by_hand = np.concatenate([np.zeros((delay, 80)), pilots, np.zeros((3 - delay, 80))])
        assert np.array_equal(columns[:, :, delay], by_hand)


def test_a_carrier_beside_the_middle_turns_the_pilot_symbol_by_symbol():
    pilots, law = draw_cell(LIGHT, stream(1)).pilots, CarrierOffset(max_offset=0.03, num_frequencies=3)
    columns = law.expand(pilots).reshape(40, 80, 3)
    np.testing.assert_allclose(law.frequencies([0, 1, 2]), [-0.02, 0, 0.02], atol=1e-15)
    for number, cycles in enumerate((-0.02, 0, 0.02)):
        for symbol in (0, 7, 39):
            expected = pilots[symbol] * np.exp(2j * np.pi * cycles * symbol)
            np.testing.assert_allclose(columns[symbol, :, number], expected, rtol=1e-12)


def test_both_at_once_is_the_one_after_the_other_with_the_frequency_fastest():
    pilots = draw_cell(LIGHT, stream(1)).pilots
    turned = CarrierOffset(max_offset=0.06, num_frequencies=3).expand(pilots)
    late = Delayed(max_delay_symbols=2).expand(turned).reshape(42, 80, 3, 3)  # (pilot, frequency, delay)
    both = OF_BOTH.expand(pilots).reshape(42, 80, 3, 3)  # (pilot, delay, frequency)
    np.testing.assert_allclose(both, late.swapaxes(2, 3), atol=1e-15)
    assert OF_BOTH.delays([0, 2, 3, 8, -1]).tolist() == [0, 0, 1, 2, -1]
    np.testing.assert_allclose(OF_BOTH.frequencies([0, 2, 3, 7, -1]), [-0.04, 0.04, -0.04, 0, np.nan], atol=1e-15)


@pytest.mark.parametrize("arrival", LAWS, ids=repr)
def test_columns_keep_norm_1_and_so_the_snr_its_meaning(arrival):
    scenario = replace(LIGHT, arrival=arrival, activity_prob=0.0)
    observation, _ = frames_of(scenario, 200, "norm")
    np.testing.assert_allclose(np.linalg.norm(observation.pilots, axis=0), 1, rtol=1e-12)
    assert observation.pilots.shape == (scenario.window_length, scenario.num_pilots * arrival.num_states)
    assert observation.noise_power == pytest.approx(1 / LIGHT.pilot_length, rel=1e-12)
    power = np.abs(observation.received) ** 2  # of every symbol of the window, 800 entries each
    assert np.all(np.abs(power.mean((0, 2)) * LIGHT.pilot_length - 1) < 5.5 / np.sqrt(800))


@pytest.mark.parametrize("arrival", [a for a in LAWS if a.on_grid], ids=repr)
def test_what_arrives_is_the_columns_of_who_spoke_in_their_states(arrival):
    observation, truth = frames_of(replace(LIGHT, arrival=arrival, snr_db=150), 6, "arrives")
    np.testing.assert_allclose(observation.received, noise_free(observation, truth), atol=1e-6)
    assert np.array_equal(truth.states == -1, truth.symbols == 0)


def test_states_are_uniform_and_drawn_anew_in_every_frame():
    _, truth = frames_of(replace(LIGHT, arrival=OF_BOTH, activity_prob=1), 200, "uniform")
    counts = np.bincount(truth.states.ravel(), minlength=9)
    share = counts / truth.states.size
    assert np.all(np.abs(share - 1 / 9) < 5.5 * np.sqrt(8 / 81 / truth.states.size))
    assert not np.array_equal(truth.states[0], truth.states[1])


@pytest.mark.parametrize("arrival", LAWS, ids=repr)
def test_only_who_is_not_on_the_grid_has_a_distance_to_it(arrival):
    assert (arrival.residuals(stream(1), 2, 3) is None) == arrival.on_grid


def test_a_carrier_beside_the_grid_is_within_half_a_step_of_its_state():
    law = CarrierOffset(max_offset=0.03, num_frequencies=3, on_grid=False)
    assert np.abs(law.residuals(stream(1), 100, 40)).max() <= 0.01
    scenario = replace(LIGHT, arrival=law, snr_db=150, activity_prob=0.025)
    observation, truth = frames_of(scenario, 60, "beside")
    single = np.flatnonzero(truth.activity.sum(1) == 1)
    assert single.size > 10
    on_grid = noise_free(observation, truth)
    for frame in single:
        # Antenna by antenna what came is the column on the grid times a turn at a constant pace.
        turn = (observation.received[frame] / on_grid[frame])[:, 0]
        pace = np.angle(turn[1:] / turn[:-1]) / (2 * np.pi)
        np.testing.assert_allclose(pace, pace[0], atol=1e-4)
        assert abs(pace[0]) <= 0.01 + 1e-4


def test_a_sweep_over_delays_meets_the_same_speakers_channels_and_noise():
    (usual, truth), (late, same) = (
        frames_of(replace(LIGHT, arrival=Delayed(max_delay_symbols=d)), 5, "sweep") for d in (0, 4)
    )
    assert np.array_equal(truth.symbols, same.symbols)
    assert np.array_equal(truth.active_channels, same.active_channels)
    np.testing.assert_allclose(
        usual.received - noise_free(usual, truth), (late.received - noise_free(late, same))[:, :40], atol=1e-12
    )


@dataclass(frozen=True)
class CountedRayleigh:
    """Rayleigh that notes how many channels each call asks for."""

    calls: list[int] = field(default_factory=list, hash=False)

    def draw(self, rng, num_channels, num_antennas):
        self.calls.append(num_channels)
        return Rayleigh().draw(rng, num_channels, num_antennas)


@pytest.mark.parametrize("arrival", [Synchronous(), Delayed(max_delay_symbols=2)], ids=repr)
def test_channels_are_drawn_for_many_frames_at_once_and_chunks_change_no_bit(arrival, monkeypatch):
    counted = CountedRayleigh()
    usual, truth = frames_of(replace(LIGHT, arrival=arrival, fading=counted), 12, "at once")
    assert counted.calls == [np.count_nonzero(truth.symbols)]
    monkeypatch.setattr(uplink, "FRAMES_AT_ONCE_BYTES", 16 * 42 * 4 * 5)
    chunked, _ = frames_of(replace(LIGHT, arrival=arrival), 12, "at once")
    assert np.array_equal(usual.received, chunked.received)


# --- what is decided ---------------------------------------------------------------------------------


def quiet_family(truth):
    """All detectors and the genie; networks that have seen no states do not say so."""
    return [replace(d, quiet=True) if hasattr(d, "quiet") else d for d in family(truth)]


def summed(columns: np.ndarray, labels: int) -> np.ndarray:
    """Posteriors of labels from those of columns, silence first."""
    each = columns[..., 1:].reshape(*columns.shape[:-1], labels, -1)
    return np.concatenate([columns[..., :1], each.sum(-1)], axis=-1)


@pytest.mark.parametrize("arrival", [Delayed(max_delay_symbols=2), OF_BOTH], ids=repr)
def test_the_genie_knows_how_others_arrive_and_sums_over_its_own_ways(arrival):
    scenario = replace(TINY, arrival=arrival)
    o, truth = frames_of(scenario, 8, "genie")
    columns = np.where(truth.symbols > 0, (truth.symbols - 1) * o.states_per_pilot + truth.states + 1, 0)
    found = Genie(truth).detect(o).posteriors
    for frame in range(8):
        expected = genie_posteriors(
            o.received[frame], o.pilots, columns[frame], truth.path_gain, o.noise_power, o.activity_prob,
            o.pilots_per_device,
        )  # fmt: skip
        np.testing.assert_allclose(found[frame], summed(expected, 2), atol=1e-9)


def test_alone_in_the_cell_the_genie_is_the_enumeration_of_labels_and_states():
    scenario = replace(TINY, num_devices=1, arrival=OF_BOTH)
    o, truth = frames_of(scenario, 20, "alone")
    found = Genie(truth).detect(o).posteriors
    for frame in range(20):
        exact = exhaustive_map(o.received[frame], o.pilots, truth.path_gain, o.noise_power, 0.3, 2 * 9)
        np.testing.assert_allclose(found[frame], summed(exact, 2), atol=1e-9)


def test_told_others_states_the_genie_errs_less_than_the_enumeration_and_that_less_than_amp():
    scenario = replace(TINY, num_devices=3, pilot_length=4, num_antennas=2, arrival=Delayed(max_delay_symbols=1))
    o, truth = frames_of(scenario, 300, "order")
    exact = np.stack([
        summed(exhaustive_map(y, o.pilots, truth.path_gain, o.noise_power, 0.3, 4), 2) for y in o.received
    ])  # fmt: skip
    genie, exhaustive, amp = (
        symbol_errors(d, truth).errors
        for d in (Genie(truth).detect(o), Detection(exact, np.zeros(300, np.int64)), AMP().detect(o))
    )
    assert 0 < genie < exhaustive < amp


@pytest.mark.parametrize("arrival", [Delayed(max_delay_symbols=2), OF_BOTH], ids=repr)
def test_every_detector_serves_unchanged_and_says_how_devices_arrived(arrival):
    scenario = replace(LIGHT, num_devices=8, snr_db=10.0, num_antennas=8, arrival=arrival)
    o, truth = frames_of(scenario, 8, "serve")
    for detector in quiet_family(truth):
        found = detector.detect(o)
        assert found.posteriors.shape == (8, 8, 3), detector.name
        np.testing.assert_allclose(found.posteriors.sum(-1), 1, atol=1e-5, err_msg=detector.name)
        assert np.array_equal(found.states == -1, found.labels == 0), detector.name
        assert found.states.max() < arrival.num_states
        wrong = state_errors(found, truth, arrival)
        # 10 dB, 8 antennas, 0.8 speakers among 40 symbols: nobody guesses, not even a matched filter. Chance is 2/3.
        assert wrong["wrong_delay"].errors <= 0.2 * wrong["wrong_delay"].attempts, detector.name
        assert wrong["wrong_delay"].attempts > 0, detector.name


def test_the_genie_is_below_every_detector_where_devices_come_late():
    o, truth = frames_of(replace(OVERLOADED, arrival=Delayed(max_delay_symbols=2)), 40, "below", precision="complex64")
    bound = Genie(truth).detect(o).labels != truth.symbols
    for detector in quiet_family(truth)[:-1]:
        wrong = detector.detect(o).labels != truth.symbols
        # It is a bound in the mean: where exactly one of the two errs, a fair coin's 5 standard errors are allowed.
        assert wrong.sum() >= bound.sum() - 5 * np.sqrt(np.sum(wrong != bound)), detector.name


def test_a_label_is_as_probable_as_its_states_together():
    o, _ = frames_of(replace(TINY, num_devices=1, arrival=Delayed(max_delay_symbols=1)), 1, "sum")
    columns = np.array([[[0.4, 0.05, 0.25, 0.16, 0.14]]])  # silence; label 1 on time, late; label 2
    found = Detection.of(o, columns, np.zeros(1, np.int64))
    np.testing.assert_allclose(found.posteriors, [[[0.4, 0.3, 0.3]]])
    assert found.labels.tolist() == [[0]]
    assert found.states.tolist() == [[-1]]
    assert found.states_of(np.array([[1]])).tolist() == [[1]]
    assert found.states_of(np.array([[2]])).tolist() == [[0]]


def test_in_step_a_detection_is_what_the_detector_computed():
    o, _ = frames_of(TINY, 1, "as is")
    columns = np.full((1, 5, 3), 1 / 3)
    found = Detection.of(o, columns, np.zeros(1, np.int64))
    assert found.posteriors is columns
    assert found.states.tolist() == [[-1] * 5]


# --- how wrong the estimates are ------------------------------------------------------------------


def test_estimates_are_judged_among_those_who_were_heard_rightly():
    law = DelayedAndOffset(max_delay_symbols=1, max_offset=0.1, num_frequencies=2)
    o, truth = frames_of(replace(TINY, num_devices=4, arrival=law), 1, "judge", symbols=[[1, 1, 2, 0]])
    truth = replace(truth, arrival_states=np.array([[0, 1, 2, -1]]))
    columns = np.zeros((1, 4, 9))
    columns[0, 0, 1 + 0] = 1  # right in all
    columns[0, 1, 1 + 3] = 1  # label right, the delay wrong
    columns[0, 2, 1 + 1] = 1  # another label: not judged
    columns[0, 3, 1 + 2] = 1  # a false alarm: not judged
    counts = state_errors(Detection.of(o, columns, np.zeros(1, np.int64)), truth, law)
    assert {name: (c.errors, c.attempts) for name, c in counts.items()} == {
        "wrong_state": (1, 2), "wrong_delay": (1, 2), "wrong_frequency": (0, 2),
    }  # fmt: skip


def test_a_study_counts_estimates_only_where_there_is_something_to_estimate():
    trial = symbol_error_trial(AMP(), frames_per_batch=4)
    usual = trial(LIGHT, stream(1))["AMP block"]
    late = trial(replace(LIGHT, arrival=Delayed(max_delay_symbols=1)), stream(1))["AMP block"]
    assert set(late) - set(usual) == {"wrong_state", "wrong_delay", "wrong_frequency"}
    assert late["wrong_delay"].attempts > 0
    assert late["wrong_frequency"].errors == 0


# --- what is left as it was, and what is refused -------------------------------------------------


def test_a_scenario_in_step_is_described_as_before_there_were_others():
    assert "arrival" not in describe(LIGHT)
    late = describe(replace(LIGHT, arrival=Delayed(max_delay_symbols=2)))
    assert late["arrival"] == {"class": "Delayed", "max_delay_symbols": 2}
    assert late.keys() - describe(LIGHT).keys() == {"arrival"}
    assert json.dumps(late)


def test_a_grid_says_why_closed_forms_do_not_hold_wherever_in_it_that_is():
    laws = [Synchronous(), Delayed(max_delay_symbols=2)]
    forms = with_limits(xr.Dataset(), LIGHT, {"snr_db": [0.0, 2.0], "arrival": laws})
    assert forms.attrs["note"].startswith("at some points: Delayed arrival has no closed form")
    assert np.isnan(forms["single_user"].values).tolist() == [[False, True], [False, True]]
    assert with_limits(xr.Dataset(), LIGHT, {"arrival": laws[1:]}).attrs["note"].startswith("Delayed arrival")
    assert "note" not in with_limits(xr.Dataset(), LIGHT, {"arrival": laws[:1]}).attrs


def test_closed_forms_say_why_they_do_not_hold_and_the_genie_still_does():
    late = replace(LIGHT, arrival=Delayed(max_delay_symbols=2))
    assert why_no_limits(late) == ""
    assert "Delayed arrival has no closed form" in why_no_closed_forms(late)
    assert np.isnan(limits(late)["single user"])
    assert limits(late)["all silent"] == LIGHT.activity_prob
    beside = replace(LIGHT, arrival=CarrierOffset(on_grid=False))
    assert "beside the grid" in why_no_limits(beside)
    for form in (state_evolution, lambda s: block_map_rates(s, 0.1)):
        with pytest.raises(ValueError, match=r"arrival: got Delayed\(max_delay_symbols=2\), expected one state"):
            form(late)


def test_a_mixture_in_step_draws_the_cells_that_it_always_drew():
    usual, late = Mixture(), Mixture(arrivals=(Delayed(max_delay_symbols=2),), most_columns=900)
    assert "arrivals" not in describe(usual)
    drawn = late.draw(stream(2))
    assert drawn.arrival == Delayed(max_delay_symbols=2)
    assert drawn.num_pilots * 3 <= 900
    rng = stream(2)
    draws = (usual.draw(rng) for _ in range(100))
    assert replace(drawn, arrival=Synchronous()) == next(s for s in draws if 3 * s.num_pilots <= 900)
    assert late.trained_for().pilots_per_device == (6, 12)
    assert usual.trained_for().pilots_per_device == (2, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Delayed(max_delay_symbols=-1), "max_delay_symbols: got -1"),
        (lambda: Delayed(max_delay_symbols=1.5), "max_delay_symbols: got 1.5"),
        (lambda: Delayed(max_delay_symbols=10**6), "max_delay_symbols"),
        (lambda: CarrierOffset(max_offset=0.6), "max_offset: got 0.6"),
        (lambda: CarrierOffset(max_offset=np.nan), "max_offset"),
        (lambda: CarrierOffset(num_frequencies=0), "num_frequencies: got 0"),
        (lambda: CarrierOffset(max_offset=0.0, num_frequencies=3), "num_frequencies: got 3 in a band of width 0"),
        (lambda: DelayedAndOffset(max_delay_symbols=100, num_frequencies=100), "num_states"),
        (lambda: Scenario(arrival=Delayed), "arrival: got .* expected a law with its numbers, such as Delayed"),
        (
            lambda: Scenario(arrival=Rayleigh()),
            "arrival: got Rayleigh.* expected a law with its numbers, such as Delayed",
        ),
        (lambda: Delayed(max_delay_symbols=2).delays([3]), "states: got 3 to 3, expected 0..2, or -1"),
        (lambda: Delayed(max_delay_symbols=2).delays([0.5]), "states: got an array of float64, expected whole"),
        (
            lambda: replace(frames_of(LIGHT, 1, "x")[0], states_per_pilot=3),
            "pilots_per_device: got 2, expected a multiple of states_per_pilot=3",
        ),
        (lambda: Mixture(arrivals=()), "arrivals: got none"),
    ],
)
def test_nonsense_is_refused(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()


def test_error_counts_count_the_symbol_and_not_how_it_came():
    law = Delayed(max_delay_symbols=1)
    o, truth = frames_of(replace(TINY, num_devices=2, arrival=law), 1, "symbol", symbols=[[1, 0]])
    columns = np.zeros((1, 2, 5))
    columns[0, 0, 1 + 1 - int(truth.states[0, 0])] = 1  # the right label in the other state
    columns[0, 1, 0] = 1
    found = Detection.of(o, columns, np.zeros(1, np.int64))
    assert error_counts(found, truth)["ser"].errors == 0
    assert state_errors(found, truth, law)["wrong_state"].errors == 1


def test_the_command_line_names_arrivals_with_their_numbers():
    assert build(ARRIVALS, "delayed:max_delay_symbols=2", name="arrival") == Delayed(max_delay_symbols=2)
    both = build(ARRIVALS, "delayed-and-offset:num_frequencies=5;on_grid=false", name="arrival")
    assert both == DelayedAndOffset(num_frequencies=5, on_grid=False)


def test_two_runs_with_one_seed_are_equal():
    scenario = replace(LIGHT, arrival=DelayedAndOffset(on_grid=False))
    (first, truth), (second, same) = (simulate(scenario, stream(9), num_frames=3) for _ in range(2))
    assert np.array_equal(first.received, second.received)
    assert np.array_equal(truth.states, same.states)


def test_a_slot_lasts_until_the_latest_pilot_is_there():
    late = Framing.of(replace(LIGHT, arrival=Delayed(max_delay_symbols=4)), symbol_s=1e-3, guard_s=0.01)
    assert late.slot_s == pytest.approx(0.054, rel=1e-12)
    assert late.spoken_s == pytest.approx(0.04, rel=1e-12)


def test_messages_go_over_a_radio_whose_devices_come_late():
    late = replace(TINY, snr_db=20.0, num_antennas=8, arrival=Delayed(max_delay_symbols=2))
    radio = InLoop(late, AMP())
    frames = Frames(
        slot=np.arange(20), cell=np.zeros(20, np.int64), codebook=np.zeros(20, np.int64),
        first=np.arange(21), label=np.arange(20) % 5, activity_prob=np.full(20, np.nan),
    )  # fmt: skip
    heard = radio.hear(frames, 7)
    assert np.count_nonzero(heard.outcome == HEARD) >= 18  # alone, at 20 dB
