"""No detector's error rates have changed since they were recorded."""

from functools import cache

import pytest

from tests.regression import (
    FALSE_ALARM,
    METRICS,
    POINTS,
    RECORD,
    Counts,
    changes,
    load,
    measure,
    record,
    recorded_counts,
    setting,
)
from wirelesslab.mmtc.detectors import DETECTORS
from wirelesslab.stats import Count

NAMES = [d.name for d in DETECTORS] + ["genie"]
HOW = "run `python -m tests.regression`, read the table, and commit the record if the change is meant"
measured = cache(measure)


def assert_unchanged(before: Counts, now: Counts, name: str) -> None:
    p_values = changes({name: before[name]}, {name: now[name]})
    changed = [
        f"{metric}: recorded {before[name][metric]}, now {now[name][metric]}, p = {p:.1e}"
        for (_, metric), p in p_values.items()
        if p <= FALSE_ALARM
    ]
    assert not changed, f"{name}: {'; '.join(changed)}. {HOW}"


def test_the_record_is_there_and_states_its_false_alarm_rate():
    assert RECORD.exists(), HOW
    assert load()["false_alarm"] == FALSE_ALARM


@pytest.mark.parametrize("point", POINTS)
def test_the_record_was_made_at_these_points_with_this_seed_for_all_detectors(point):
    written = load()["points"]
    assert set(written) == set(POINTS), HOW
    assert written[point]["setting"] == setting(point), HOW
    assert set(written[point]["counts"]) == set(NAMES), HOW


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("point", POINTS)
def test_error_rates_are_those_on_record(point, name):
    before, now = recorded_counts(load(), point), measured(point)
    assert now[name]["ser"].attempts == before[name]["ser"].attempts
    assert_unchanged(before, now, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_with_twice_or_half_the_errors_fails(name):
    # The comparison has teeth: at one point at least, doubled errors are noticed, and halved ones too.
    for factor in (2, 0.5):
        noticed = []
        for point in POINTS:
            now = measured(point)
            doctored = {name: {m: Count(int(factor * now[name][m].errors), now[name][m].attempts) for m in METRICS}}
            try:
                assert_unchanged(doctored, now, name)
            except AssertionError:
                noticed.append(point)
        assert noticed, f"{name} errs too rarely at every point"


@pytest.mark.parametrize("point", POINTS)
def test_unchanged_counts_pass_and_a_written_record_reads_back(point):
    now = measured(point)
    again = recorded_counts(record({point: now}), point)
    for name in NAMES:
        assert {m: (c.errors, c.attempts) for m, c in again[name].items()} == {
            m: (c.errors, c.attempts) for m, c in now[name].items()
        }
        assert_unchanged(again, now, name)
