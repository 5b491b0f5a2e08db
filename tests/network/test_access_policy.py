"""Who may read what of a twin, and the log of who has."""

import pytest

from wirelesslab.network.twins import access_policy, infrastructure_attributes, slice_twin, user_attributes
from wirelesslab.network.twins.access_policy import (
    READS_KEPT,
    AccessPolicy,
    AccessRefusedError,
    AccessRule,
    AuditLog,
    ReadCount,
    ReadRecord,
    allow,
    forbid,
)


def test_without_rules_everybody_may_read_everything():
    assert AccessPolicy().may("anybody", "anything")


def test_the_last_rule_that_fits_decides():
    policy = AccessPolicy((forbid("*"), allow("edge-*", "queues"), forbid("edge-3")))
    readers = ("core-1", "edge-1", "edge-3", "edg")
    assert [policy.may(reader, "queues") for reader in readers] == [False, True, False, False]
    assert not policy.may("edge-1", "slices")


def test_what_is_not_named_follows_the_default():
    policy = AccessPolicy(allow("planner", "slices"), default=False)
    assert policy.may("planner", "slices")
    assert not policy.may("planner", "queues")
    assert not policy.may("planner-2", "slices"), "a name without a star is that name alone"


@pytest.mark.parametrize("pattern", ["", "*-1", "a*b", 3])
def test_a_pattern_that_is_no_name_and_no_prefix_is_refused(pattern):
    with pytest.raises(ValueError, match=r"expected a name, or the beginning of names and a '\*'"):
        AccessRule(reader=pattern, allowed=True)


def test_a_policy_of_no_rules_but_words_is_refused():
    with pytest.raises(TypeError, match="rules such as forbid"):
        AccessPolicy(("planner may not",))


def test_a_forbidden_read_is_refused_logged_and_shows_nothing_of_the_rest():
    log = AuditLog("twin-1")
    with pytest.raises(AccessRefusedError, match=r"twin-1: spy asked for queues, which the access policy forbids"):
        log.read(AccessPolicy(forbid("spy", "queues")), ("slices", "queues"), "spy", 2.5)
    assert list(log.latest) == [ReadRecord(time_s=2.5, twin="twin-1", by="spy", attribute="queues", allowed=False)]
    assert log.table() == (ReadCount("twin-1", "spy", "queues", 0, 1, 2.5),)


def test_a_refusal_is_a_permission_error():
    assert issubclass(AccessRefusedError, PermissionError)


def test_the_table_counts_every_attribute_of_every_reader():
    log, policy = AuditLog("twin-1"), AccessPolicy(forbid("b", "ratios"))
    for time_s in (1.0, 2.0):
        log.read(policy, ("slices", "ratios"), "a", time_s)
        log.read(policy, ("slices",), "b", time_s)
    with pytest.raises(AccessRefusedError):
        log.read(policy, ("ratios",), "b", 3.0)
    assert [tuple(count)[1:] for count in log.table()] == [
        ("a", "ratios", 2, 0, 2.0), ("a", "slices", 2, 0, 2.0), ("b", "ratios", 0, 1, 3.0), ("b", "slices", 2, 0, 2.0),
    ]  # fmt: skip


def test_watching_a_run_leaves_no_trace_in_it():
    log = AuditLog("twin-1")
    log.read(AccessPolicy(), ("slices",), "", 1.0)
    assert log == AuditLog("twin-1")


def test_the_log_is_bounded_and_its_counts_are_not():
    log = AuditLog("twin-1")
    for number in range(READS_KEPT + 5):
        log.read(AccessPolicy(), ("slices",), "a", float(number))
    assert len(log.latest) == READS_KEPT
    assert log.latest[0].time_s == 5.0
    assert log.table()[0].shown == READS_KEPT + 5


def test_a_rule_about_what_no_twin_has_is_refused_for_it_would_never_bite():
    with pytest.raises(ValueError, match=r"attribute: got 'queue', which no twin has.*did you mean 'queues'"):
        forbid("guest-*", "queue")
    assert forbid("guest-*", "waiting_*").fits("guest-1", "waiting_by_cell")


def test_rules_know_every_attribute_of_every_kind_of_twin():
    known = (*infrastructure_attributes.ATTRIBUTES, *user_attributes.USER_ATTRIBUTES, *slice_twin.SLICE_ATTRIBUTES)
    assert sorted(access_policy.TWIN_ATTRIBUTES) == sorted(known)
