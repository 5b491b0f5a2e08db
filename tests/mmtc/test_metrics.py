"""Counting errors, and the trial that studies repeat."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, OVERLOADED
from wirelesslab.mmtc import Detection, Scenario, Truth, draw_cell, error_counts, symbol_error_trial, symbol_errors
from wirelesslab.mmtc.detectors import AMP, LMMSE, Genie, MatchedFilter
from wirelesslab.mmtc.metrics import AtPlaces, Place
from wirelesslab.rng import stream
from wirelesslab.stats import Count, Timing


def detection_of(labels, num_pilots=2):
    labels = np.asarray(labels)
    return Detection(np.eye(num_pilots + 1)[labels], np.zeros(len(labels), dtype=np.int64))


def truth_of(symbols):
    symbols = np.asarray(symbols)
    return Truth(symbols, np.ones(symbols.shape[1]), np.zeros((np.count_nonzero(symbols), 1)))


#           missed, false alarm, wrong symbol, right | all wrong | all right | nobody speaks
SYMBOLS = [[1, 0, 2, 1, 0, 0], [1, 2, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]
LABELS = [[0, 2, 1, 1, 0, 0], [2, 0, 1, 0, 0, 0], [2, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]


def test_every_kind_of_error_is_counted_among_those_who_can_commit_it():
    counts = error_counts(detection_of(LABELS), truth_of(SYMBOLS))
    pairs = {name: (count.errors, count.attempts) for name, count in counts.items()}
    assert pairs == {
        "ser": (3 + 3 + 0 + 1, 24),
        "missed": (1 + 1, 3 + 2 + 1),
        "false_alarm": (1 + 1 + 0 + 1, 3 + 4 + 5 + 6),
        "wrong_symbol": (1 + 1, 6),
        # at least two wrong labels, and at least half as many as speakers: frames 0 and 1
        "frame_collapse": (2, 4),
    }


def test_the_three_kinds_add_up_to_the_symbol_errors():
    rng = stream(1)
    symbols, labels = rng.integers(0, 4, (50, 30)), rng.integers(0, 4, (50, 30))
    counts = error_counts(detection_of(labels, 3), truth_of(symbols))
    assert counts["ser"].errors == sum(counts[kind].errors for kind in ("missed", "false_alarm", "wrong_symbol"))
    assert counts["missed"].attempts == counts["wrong_symbol"].attempts
    assert counts["ser"].attempts == counts["missed"].attempts + counts["false_alarm"].attempts == 1500
    assert symbol_errors(detection_of(labels, 3), truth_of(symbols)) == counts["ser"]


def test_saying_nothing_misses_everybody_and_scores_the_activity():
    counts = error_counts(detection_of(np.zeros((4, 6), int)), truth_of(SYMBOLS))
    assert counts["missed"].rate == 1
    assert counts["false_alarm"].errors == counts["wrong_symbol"].errors == 0
    assert counts["ser"].rate == 6 / 24


def test_counts_are_clustered_by_frame():
    ser = error_counts(detection_of(LABELS), truth_of(SYMBOLS))["ser"]
    assert ser == Count.per_frame([3, 3, 0, 1], [6, 6, 6, 6])
    assert ser.frames.num == 4
    assert ser.frames.errors_squared == 9 + 9 + 1
    assert ser.draws.num == 1


def test_a_frame_without_speakers_is_no_cluster_of_missed_ones():
    missed = error_counts(detection_of(LABELS), truth_of(SYMBOLS))["missed"]
    assert missed.frames.num == 3


@pytest.mark.parametrize("shape", [(4, 5), (3, 6), (1, 6)])
def test_a_detection_of_other_frames_is_refused(shape):
    with pytest.raises(ValueError, match=r"detection: got shape .* expected \(frames=4, N=6\); the truth sets"):
        error_counts(detection_of(np.zeros(shape, int)), truth_of(SYMBOLS))


# --- the trial ------------------------------------------------------------------------------------


class Echo:
    """Remembers what it was shown, and hears nobody."""

    def __init__(self, name):
        self.name, self.seen = name, []

    def detect(self, observation, /):
        self.seen.append(observation)
        o = observation
        posteriors = np.zeros((o.num_frames, o.num_devices, o.pilots_per_device + 1))
        posteriors[..., 0] = 1
        return Detection(posteriors, np.zeros(o.num_frames, dtype=np.int64))


def counts_of(outcome):
    return {name: {k: v for k, v in metrics.items() if isinstance(v, Count)} for name, metrics in outcome.items()}


def test_all_detectors_of_a_trial_meet_the_same_air():
    first, second = Echo("first"), Echo("second")
    outcome = symbol_error_trial(first, second, frames_per_batch=5)(LIGHT, stream(1))
    assert first.seen[0] is second.seen[0] or np.array_equal(first.seen[0].received, second.seen[0].received)
    assert counts_of(outcome)["first"] == counts_of(outcome)["second"]


def test_a_trial_returns_counts_and_time_of_every_curve_the_genie_among_them():
    outcome = symbol_error_trial(AMP(), frames_per_batch=7)(LIGHT, stream(1))
    assert list(outcome) == ["AMP block", "genie"]
    for metrics in outcome.values():
        assert next(iter(metrics)) == "ser"
        assert set(metrics) == {"ser", "missed", "false_alarm", "wrong_symbol", "frame_collapse", "seconds_per_frame"}
        assert metrics["ser"].attempts == 7 * LIGHT.num_devices
        assert isinstance(metrics["seconds_per_frame"], Timing)
        assert metrics["seconds_per_frame"].frames == 7


@pytest.mark.parametrize("scenario", [LIGHT, OVERLOADED], ids=["light", "overloaded"])
def test_leaving_detectors_out_keeps_the_counts_of_the_others(scenario):
    trial = symbol_error_trial(AMP(), LMMSE(), MatchedFilter(), frames_per_batch=32)
    everybody = counts_of(trial(scenario, stream(2)))
    for names in (["LMMSE"], ["genie", "AMP block"], ["matched filter", "LMMSE"]):
        some = counts_of(trial.only(names)(scenario, stream(2)))
        assert some == {name: everybody[name] for name in everybody if name in names}


def test_two_scenarios_that_differ_in_snr_meet_common_random_numbers():
    low, high = Echo("low"), Echo("high")
    for echo, snr_db in ((low, 0.0), (high, 10.0)):
        symbol_error_trial(echo, limits=(), frames_per_batch=3)(replace(LIGHT, snr_db=snr_db), stream(3))
    assert np.array_equal(low.seen[0].pilots, high.seen[0].pilots)


def test_two_curves_of_one_name_are_refused():
    with pytest.raises(ValueError, match="detectors: got 'AMP block' twice; each curve needs a name of its own"):
        symbol_error_trial(AMP(), AMP(prior="block"))
    with pytest.raises(ValueError, match="'genie' twice"):
        symbol_error_trial(Echo("genie"), limits=(Genie,))


def test_what_is_no_detector_is_refused():
    with pytest.raises(TypeError, match="expected detectors, such as AMP"):
        symbol_error_trial("amp")
    with pytest.raises(TypeError, match="expected detectors, such as AMP"):
        symbol_error_trial(SimpleNamespace(name="mute"))
    with pytest.raises(ValueError, match="frames_per_batch: got 0"):
        symbol_error_trial(AMP(), frames_per_batch=0)


def test_the_parts_of_a_trial_are_its_detectors_and_limits_by_name():
    trial = symbol_error_trial(AMP(), LMMSE())
    assert list(trial.parts) == ["AMP block", "LMMSE", "genie"]
    assert trial.parts["AMP block"] == AMP()
    assert trial.parts["genie"] is Genie
    assert trial.describe() == {"class": "SymbolErrorTrial", "frames_per_batch": 64}


# --- a grid of cells ---------------------------------------------------------------------------------


def test_a_list_of_cells_is_a_grid_and_every_cell_has_air_of_its_own():
    fixed = draw_cell(Scenario(num_devices=12, pilot_length=10), stream(3))
    cells = (Scenario(num_devices=12, pilot_length=10), Scenario(num_devices=12, pilot_length=10), fixed)
    trial = AtPlaces(symbol_error_trial(AMP(iterations=3), frames_per_batch=40), cells)
    outcomes = [trial(Place(i), stream(1, "batch", 0))["AMP block, iterations 3"]["ser"] for i in range(3)]
    assert len({count.errors for count in outcomes}) > 1
    again = trial(Place(1), stream(1, "batch", 0))["AMP block, iterations 3"]["ser"]
    assert again == outcomes[1]
    assert trial.describe()["cells"][2]["pilots"] != ""
    assert set(trial.only(["genie"]).parts) == {"genie"}
