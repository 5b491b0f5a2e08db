"""Receiver operating characteristics as counts."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.mmtc.cells import STANDARD_ERRORS
from wirelesslab.mmtc import Scenario, simulate
from wirelesslab.mmtc.decisions import log_odds
from wirelesslab.mmtc.detectors import AMP, LMMSE
from wirelesslab.mmtc.roc import LEVELS, PARTIAL, area, jackknife, missed_at, partial_area, roc, roc_counts
from wirelesslab.rng import stream
from wirelesslab.stats import Count
from wirelesslab.study import Stop, Study

SMALL = Scenario(num_devices=40, bits_per_device=1, pilot_length=14, num_antennas=4, activity_prob=0.15)


def curve(counts):
    """False alarms and misses at all levels."""
    sides = ("false_alarm", "missed")
    return [np.array([counts[f"roc_{side}_{i:03d}"].rate for i in range(LEVELS.size)]) for side in sides]


@pytest.fixture(scope="module")
def frames():
    """Frames of one cell, what AMP makes of them, and the truth."""
    observation, truth = simulate(SMALL, stream(1), num_frames=60)
    return AMP().detect(observation), truth


def test_counts_at_every_level_are_those_of_a_threshold_there(frames):
    detection, truth = frames
    odds, spoke = log_odds(detection), truth.symbols > 0
    counts = roc_counts(detection, truth)
    for i, level in enumerate(LEVELS):
        assert counts[f"roc_missed_{i:03d}"].errors == np.sum(spoke & (odds <= level))
        assert counts[f"roc_false_alarm_{i:03d}"].errors == np.sum(~spoke & (odds > level))
        assert counts[f"roc_false_alarm_{i:03d}"].attempts == np.sum(~spoke)


def test_the_area_is_the_probability_that_a_speaker_has_the_higher_log_odds(frames):
    detection, truth = frames
    odds, spoke = np.searchsorted(LEVELS, log_odds(detection)), truth.symbols > 0
    difference = odds[spoke][:, None] - odds[~spoke]
    wanted = np.mean(difference > 0) + np.mean(difference == 0) / 2
    assert area(*curve(roc_counts(detection, truth))) == pytest.approx(wanted, abs=1e-12)


def test_chance_has_half_the_area_and_perfect_knowledge_all_of_it():
    even = np.linspace(1, 0, 11)
    assert area(even, 1 - even) == pytest.approx(0.5)
    assert partial_area(even, 1 - even) == pytest.approx(PARTIAL / 2)
    assert missed_at(even, 1 - even, 0.03) == pytest.approx(0.97)
    none = np.zeros(11)
    assert area(none, none) == partial_area(none, none) == pytest.approx(1)
    assert missed_at(none, none, 0.03) == pytest.approx(0)


def test_batches_of_frames_add_up(frames):
    detection, truth = frames
    halves = []
    for part in (slice(0, 30), slice(30, 60)):
        one = type(detection)(detection.posteriors[part], detection.iterations[part])
        first = int((truth.symbols[: part.start] > 0).sum())
        spoken = int((truth.symbols[part] > 0).sum())
        channels = truth.active_channels[first : first + spoken]
        halves.append(roc_counts(one, type(truth)(truth.symbols[part], truth.path_gain, channels)))
    for name, count in roc_counts(detection, truth).items():
        added = halves[0][name] + halves[1][name]
        assert (added.errors, added.attempts, added.frames) == (count.errors, count.attempts, count.frames)


class Replicated:
    """A trial whose grid is the seed of its air."""

    def __call__(self, config, rng):
        """Return the counts of two detectors."""
        observation, truth = simulate(SMALL, stream(config.num_antennas, "replicate"), num_frames=40)
        del rng
        found = {}
        for detector in (LMMSE(), AMP()):
            detection = detector.detect(observation)
            wrong = (detection.labels != truth.symbols).sum(1)
            found[detector.name] = {"ser": Count.per_frame(wrong, SMALL.num_devices)} | roc_counts(detection, truth)
        return found


def test_a_study_gives_curves_and_areas_with_intervals():
    over = {"num_antennas": [4, 5, 6, 7, 8]}
    counts = Study(Replicated(), SMALL, over, Stop(errors=None, min_batches=1, max_batches=1)).run(workers=1)
    result = roc(counts, "num_antennas", at=(0.01, 0.1))
    for name in ("area", "partial_area", "missed_at", "roc_missed", "roc_false_alarm"):
        value, low, high = (result[name + end] for end in ("", "_low", "_high"))
        assert bool(((low <= value) & (value <= high)).all())
    assert float(result["area"].sel(detector="AMP block")) > float(result["area"].sel(detector="LMMSE"))
    assert bool((result["missed_at"].sel(rate=0.01) >= result["missed_at"].sel(rate=0.1)).all())
    pooled = sum(
        roc_counts(LMMSE().detect(o), t)["roc_missed_026"].errors
        for o, t in (simulate(SMALL, stream(a, "replicate"), num_frames=40) for a in over["num_antennas"])
    )
    rate = float(result["roc_missed"].sel(detector="LMMSE")[26])
    assert rate == pytest.approx(pooled / int(counts["roc_missed_026_attempts"].sel(detector="LMMSE").sum()))


def test_intervals_need_two_replicates():
    counts = Study(Replicated(), SMALL, {"num_antennas": [4]}, Stop(errors=None, min_batches=1, max_batches=1))
    with pytest.raises(ValueError, match="at least two of 'num_antennas'"):
        roc(counts.run(workers=1), "num_antennas")


def test_the_jackknife_interval_covers_the_area_of_a_known_characteristic():
    # Speakers N(1.5, 1), silent ones N(0, 1): the area is Φ(1.5/√2). Student intervals of 12 groups: 95 %.
    def one_area(spoke, silent):
        levels = np.linspace(-4, 6, 80)
        return area(np.mean(silent > levels[:, None], axis=1), np.mean(spoke <= levels[:, None], axis=1))

    inside, wanted, tries = 0, norm.cdf(1.5 / np.sqrt(2)), 150
    for i in range(tries):
        rng = stream(9, i)
        spoke, silent = rng.normal(1.5, 1, (12, 20)), rng.normal(0, 1, (12, 60))
        without = [one_area(np.delete(spoke, g, 0).ravel(), np.delete(silent, g, 0).ravel()) for g in range(12)]
        _, low, high = jackknife(np.array(one_area(spoke.ravel(), silent.ravel())), np.array(without))
        inside += bool(low <= wanted <= high)
    assert inside / tries > 0.95 - STANDARD_ERRORS * np.sqrt(0.05 * 0.95 / tries)
