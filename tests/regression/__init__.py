"""Recorded symbol-error counts: a detector that gets better or worse by accident is noticed.

`python -m tests.regression` records anew, and prints what changed and how surely. Counts are compared,
never bits: BLAS, threads and compilers may turn a borderline label. The comparison is the exact
conditional test of two counts under one rate, at `FALSE_ALARM` per comparison. It supposes that labels
err independently; on the same seed, the same air, it is far more cautious than that. When the air
changes (another order of draws), errors come in heaps of a frame, and a false alarm is likelier: look
at the table, then record anew.
"""

import json
from pathlib import Path
from typing import Any

from wirelesslab.mmtc import PathLoss, Scenario, error_counts, simulate
from wirelesslab.mmtc.detectors import DETECTORS, Genie
from wirelesslab.results import describe
from wirelesslab.rng import stream
from wirelesslab.stats import Count, same_rate_p_value

RECORD = Path(__file__).with_name("ser_counts.json")
SEED, DRAWS, FRAMES_PER_DRAW = 1943, 8, 32
FALSE_ALARM = 1e-6  # of one comparison; of all of them together about 1e-4
METRICS = ("ser", "missed", "false_alarm")

POINTS = {
    "light": Scenario(num_devices=100, bits_per_device=1, pilot_length=60, num_antennas=4, snr_db=-8.0),
    "overloaded": Scenario(num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, snr_db=0.0),
    "path loss": Scenario(
        num_devices=100, bits_per_device=2, pilot_length=40, num_antennas=4, snr_db=-8.0, gain_law=PathLoss()
    ),
    "many antennas": Scenario(num_devices=60, bits_per_device=1, pilot_length=12, num_antennas=32, snr_db=-8.0),
}

Counts = dict[str, dict[str, Count]]  # detector -> metric -> count


def measure(point: str) -> Counts:
    """Count errors of all detectors and the genie at a point, on the recorded seed."""
    counts: Counts = {}
    for draw in range(DRAWS):
        air = stream(SEED, "regression", point, draw)
        observation, truth = simulate(POINTS[point], air, num_frames=FRAMES_PER_DRAW)
        for detector in (*DETECTORS, Genie(truth)):
            found = error_counts(detector.detect(observation), truth)
            so_far = counts.setdefault(detector.name, {metric: Count() for metric in METRICS})
            counts[detector.name] = {metric: so_far[metric] + found[metric] for metric in METRICS}
    return counts


def setting(point: str) -> dict[str, Any]:
    """What a record depends on: everything but the detectors."""
    return {
        "scenario": describe(POINTS[point]), "seed": SEED, "draws": DRAWS, "frames_per_draw": FRAMES_PER_DRAW,
    }  # fmt: skip


def record(measured: dict[str, Counts]) -> dict[str, Any]:
    """Return what is written to the file."""
    return {
        "false_alarm": FALSE_ALARM,
        "points": {
            point: {
                "setting": setting(point),
                "counts": {
                    name: {metric: [count.errors, count.attempts] for metric, count in metrics.items()}
                    for name, metrics in counts.items()
                },
            }
            for point, counts in measured.items()
        },
    }


def load() -> dict[str, Any]:
    """Return the record, or an empty one."""
    return json.loads(RECORD.read_text()) if RECORD.exists() else {"false_alarm": FALSE_ALARM, "points": {}}


def recorded_counts(written: dict[str, Any], point: str) -> Counts:
    """Return the recorded counts of a point."""
    counts = written["points"].get(point, {}).get("counts", {})
    return {name: {m: Count(*pair) for m, pair in metrics.items()} for name, metrics in counts.items()}


def changes(before: Counts, now: Counts) -> dict[tuple[str, str], float]:
    """Return the p-value of each detector and metric that both have."""
    return {
        (name, metric): same_rate_p_value(before[name][metric], now[name][metric])
        for name in now
        if name in before
        for metric in METRICS
    }
