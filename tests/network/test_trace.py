"""Traces: what is written is the documented format, the same each time, in bounded memory."""

import errno
import io
import itertools
import json
import os
import tracemalloc

import numpy as np
import pytest

from wirelesslab.network.trace import Trace, check_trace


def write(trace):
    trace.span("slices/embb", "download", 0.001, 0.0035, num_bytes=np.int64(1500), path=["gnb_1", "edge"])
    trace.counter("slices/embb", "waiting", 0.002, 4)
    trace.counter("slices/urllc", "share", 0.002, {"used": 0.25, "free": 0.75})
    trace.instant("controllers/planner", "decide", 0.003, state=np.array([1.0, 2.0]))
    trace.span("edge", "inférence", 0.0, 0.0)


def test_events_have_the_documented_fields_and_tracks_their_names():
    trace = Trace()
    write(trace)
    events = json.loads(trace.text())["traceEvents"]
    names = {(e["pid"], e["tid"]): e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert sorted(names.values()) == ["edge", "embb", "planner", "urllc"]
    assert [e["args"]["name"] for e in events if e["name"] == "process_name"] == [
        "slices", "controllers", "wirelesslab",
    ]  # fmt: skip
    span = next(e for e in events if e["name"] == "download")
    assert (span["ph"], span["ts"], span["dur"]) == ("X", 1000.0, 2500.0)
    assert span["args"] == {"num_bytes": 1500, "path": ["gnb_1", "edge"]}
    assert names[span["pid"], span["tid"]] == "embb"
    share = next(e for e in events if e["name"] == "share")
    assert (share["ph"], share["args"]) == ("C", {"used": 0.25, "free": 0.75})
    assert names[share["pid"], share["tid"]] == "urllc"
    decide = next(e for e in events if e["name"] == "decide")
    assert (decide["ph"], decide["s"], decide["args"]["state"]) == ("i", "t", [1.0, 2.0])
    assert check_trace(json.loads(trace.text())) == len(events) == 5 + 4 + 3


def test_the_same_calls_give_the_same_bytes_on_disk_and_in_memory(tmp_path):
    memory = Trace()
    write(memory)
    for name in ("a.json", "b.json"):
        with Trace(tmp_path / name) as trace:
            write(trace)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == memory.text()
    assert check_trace(tmp_path / "a.json") == memory.num_events


def test_an_empty_trace_is_a_trace():
    trace = Trace()
    assert check_trace(json.loads(trace.text())) == 0
    trace.close()
    assert check_trace(json.loads(trace.text())) == 0


def test_spans_that_touch_in_seconds_touch_in_the_viewer():
    trace = Trace()
    edges = np.cumsum(np.full(2000, 0.1 / 3))
    for start, end in itertools.pairwise(edges):
        trace.span("link", "busy", start, end)
    spans = [e for e in json.loads(trace.text())["traceEvents"] if e["ph"] == "X"]
    for one, two in itertools.pairwise(spans):
        assert one["ts"] + one["dur"] == pytest.approx(two["ts"], abs=1e-6)


def test_a_long_trace_on_disk_takes_no_memory(tmp_path):
    with Trace(tmp_path / "long.json") as trace:
        trace.counter("a", "x", 0.0, 0)
        for k in range(15_000):
            trace.counter("a", "x", k * 1e-3, k)
        tracemalloc.start()
        for k in range(15_000, 20_000):
            trace.counter("a", "x", k * 1e-3, k)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100_000
    assert (tmp_path / "long.json").stat().st_size > 1_000_000
    assert check_trace(tmp_path / "long.json") == 20_003


def test_in_memory_the_number_of_events_is_bounded_and_the_rest_counted():
    trace = Trace(max_events=100)
    for k in range(300):
        trace.instant("a", "tick", k)
    assert check_trace(json.loads(trace.text())) == 100
    assert trace.dropped == 202


GOOD = {
    "X": {"name": "n", "ph": "X", "ts": 1.0, "dur": 0, "pid": 1, "tid": 1},
    "C": {"name": "n", "ph": "C", "ts": 1.0, "pid": 1, "tid": 1, "args": {"v": 1}},
    "i": {"name": "n", "ph": "i", "ts": 1.0, "pid": 1, "tid": 1, "s": "t"},
    "M": {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "embb"}},
}


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("X", "ph", "Q"), ("X", "ph", None), ("X", "name", ""), ("X", "name", None), ("X", "ts", "1"),
        ("X", "ts", None), ("X", "ts", float("nan")), ("X", "dur", -1), ("X", "dur", None), ("X", "pid", "a"),
        ("X", "pid", True), ("X", "tid", None), ("X", "args", [1]), ("C", "args", None), ("C", "args", {"v": "1"}),
        ("C", "args", {"v": True}), ("i", "s", "x"), ("M", "name", "no_such_metadata"), ("M", "args", {}),
        ("M", "args", {"name": 3}),
    ],
)  # fmt: skip
def test_a_wrong_field_is_refused_by_its_event_and_its_name(kind, field, value):
    bad = {k: v for k, v in GOOD[kind].items() if k != field} | ({} if value is None else {field: value})
    assert check_trace({"traceEvents": [*GOOD.values()]}) == 4
    with pytest.raises(ValueError, match=rf"traceEvents\[4\]\.{field}:"):
        check_trace({"traceEvents": [*GOOD.values(), bad]})


def test_a_track_has_one_name():
    other = GOOD["M"] | {"args": {"name": "urllc"}}
    with pytest.raises(ValueError, match=r"traceEvents\[1\]\.args"):
        check_trace({"traceEvents": [GOOD["M"], other]})


@pytest.mark.parametrize("bad", [{}, {"traceEvents": {}}, {"traceEvents": [3]}])
def test_other_objects_are_no_traces(bad):
    with pytest.raises(ValueError, match="traceEvents"):
        check_trace(bad)


def test_a_file_that_was_not_closed_is_refused(tmp_path):
    (tmp_path / "cut.json").write_text('{"traceEvents": [', encoding="utf-8")
    with pytest.raises(ValueError, match="was it closed"):
        check_trace(tmp_path / "cut.json")
    (tmp_path / "list.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="JSON object"):
        check_trace(tmp_path / "list.json")


def test_it_refuses_what_it_cannot_draw():
    trace = Trace()
    for bad, said in (
        (lambda: trace.span("a", "x", 2.0, 1.0), "end_s"),
        (lambda: trace.span("a/", "x", 1.0, 2.0), "track"),
        (lambda: trace.instant("a", "", 1.0), "name"),
        (lambda: trace.counter("a", "x", 1.0, float("nan")), "finite"),
        (lambda: trace.counter("a", "x", float("inf"), 1.0), "time_s"),
    ):
        with pytest.raises(ValueError, match=said):
            bad()
    trace.close()
    with pytest.raises(ValueError, match="close"):
        trace.instant("a", "x", 1.0)


def test_a_disk_that_fills_up_names_the_trace(tmp_path):
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trace = Trace(tmp_path / "trace.json")
    trace._file.close()
    trace._file = Full()
    for speak in (lambda: trace.instant("a", "b", 1.0), trace.close):
        with pytest.raises(OSError, match=r"cannot write .*trace.json .No space left.*make room"):
            speak()
