"""Traces for Perfetto and chrome://tracing: what every slice, controller and edge was doing when.

A trace is a JSON object whose `traceEvents` are spans (ph X), counters (C), instants (i) and the names
of tracks (M); times are microseconds of simulated time.

References:
    "Trace Event Format", Google, the document behind chrome://tracing; Perfetto reads it as a legacy format.
"""

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from wirelesslab import check
from wirelesslab.array_files import cannot_write

MICROSECONDS = 1e6
PHASES = ("X", "C", "i", "M")
SCOPES = ("t", "p", "g")
METADATA = {"process_name": "name", "thread_name": "name", "thread_sort_index": "sort_index"}
MOST_IN_MEMORY = 1_000_000


class Trace:
    """Writes a trace, event by event, to a file or into memory.

    A track is named "group/name" or "name": the group is the process of the viewer, the name its
    thread. Tracks appear in the order of their first use. The same calls give the same bytes.

    Args:
        path: File to write; None keeps the text in memory, see `text`.
        max_events: Bound of what is kept in memory; later events are counted in `dropped`, not
            kept. A file takes any number.

    Examples:
        >>> trace = Trace()
        >>> trace.span("slices/embb", "download", 0.001, 0.003, num_bytes=1500)
        >>> trace.counter("slices/embb", "waiting", 0.002, 4)
        >>> check_trace(json.loads(trace.text()))
        4
    """

    def __init__(self, path: str | Path | None = None, *, max_events: int = MOST_IN_MEMORY) -> None:
        check.positive_integer(max_events=max_events)
        self.max_events: float = max_events if path is None else math.inf
        self.num_events = self.dropped = 0
        self._path = path
        self._file: TextIO = io.StringIO()
        if path is not None:
            self._file = Path(path).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._processes: dict[str, int] = {}
        self._tracks: dict[str, tuple[int, int]] = {}
        self._file.write('{"displayTimeUnit": "ms", "traceEvents": [')
        self._closed = False

    def span(self, track: str, name: str, start_s: float, end_s: float, **args: Any) -> None:
        """Say that something went on from `start_s` to `end_s`; `args` are shown beside it.

        Raises:
            ValueError: It ends before it starts.
        """
        check.finite(start_s=start_s, end_s=end_s)
        if end_s < start_s:
            msg = f"end_s: got {end_s}, expected a time of at least start_s={start_s}"
            raise ValueError(msg)
        start = _microseconds(start_s)
        # The difference of what is printed, so that spans that touch in seconds touch in the viewer.
        self._write(track, name, "X", ts=start, dur=round(_microseconds(end_s) - start, 3), args=args)

    def counter(self, track: str, name: str, time_s: float, value: float | Mapping[str, float]) -> None:
        """Say that from `time_s` on a quantity has this value; several values are stacked."""
        values = dict(value) if isinstance(value, Mapping) else {name: value}
        check.finite(time_s=time_s, **values)
        self._write(track, name, "C", ts=_microseconds(time_s), args=values)

    def instant(self, track: str, name: str, time_s: float, **args: Any) -> None:
        """Say that something happened at `time_s`."""
        check.finite(time_s=time_s)
        self._write(track, name, "i", ts=_microseconds(time_s), s="t", args=args)

    def text(self) -> str:
        """Return the trace so far as JSON.

        Raises:
            ValueError: The trace goes to a file.
        """
        if not isinstance(self._file, io.StringIO):
            msg = "text: got a trace that is written to a file, expected one in memory; read the file after close()"
            raise ValueError(msg)
        return self._file.getvalue() + ("" if self._closed else "\n]}\n")

    def close(self) -> None:
        """Finish the file. Closing twice does nothing more.

        Raises:
            OSError: The disk is full or gone.
        """
        if not self._closed:
            self._closed = True
            try:
                try:
                    self._file.write("\n]}\n")
                finally:
                    if not isinstance(self._file, io.StringIO):
                        self._file.close()
            except OSError as error:
                raise cannot_write(Path(self._path or ""), error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, track: str, name: str, phase: str, **fields: Any) -> None:
        if self._closed:
            msg = f"trace: got {name!r} after close(), expected events before it"
            raise ValueError(msg)
        if not name:
            msg = "name: got '', expected a name for the event"
            raise ValueError(msg)
        if self.num_events >= self.max_events:
            self.dropped += 1
            return
        pid, tid = self._tracks.get(track) or self._new_track(track)
        if fields.get("args") == {}:
            del fields["args"]
        self._event({"name": name, "ph": phase, "pid": pid, "tid": tid, **fields})

    def _new_track(self, track: str) -> tuple[int, int]:
        group, _, name = track.rpartition("/")
        if not name:
            msg = f'track: got {track!r}, expected "name" or "group/name", such as "slices/embb"'
            raise ValueError(msg)
        group = group or "wirelesslab"
        if group not in self._processes:
            self._processes[group] = len(self._processes) + 1
            pid = self._processes[group]
            self._event({"name": "process_name", "ph": "M", "pid": pid, "tid": 0, "args": {"name": group}})
        ids = self._processes[group], len(self._tracks) + 1
        self._tracks[track] = ids
        common = {"ph": "M", "pid": ids[0], "tid": ids[1]}
        self._event({"name": "thread_name", **common, "args": {"name": name}})
        return ids

    def _event(self, event: dict[str, Any]) -> None:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False, default=_plain)
        try:
            self._file.write((",\n" if self.num_events else "\n") + text)
        except OSError as error:
            raise cannot_write(Path(self._path or ""), error) from error
        self.num_events += 1


def _microseconds(time_s: float) -> float:
    return round(float(time_s) * MICROSECONDS, 3)  # to the nanosecond, as far as viewers go


def _plain(value: Any) -> Any:
    """Return what JSON can hold: numbers and arrays of NumPy as Python's."""
    for name in ("tolist", "item"):
        if hasattr(value, name):
            return getattr(value, name)()
    return str(value)


def check_trace(source: str | Path | Mapping[str, Any]) -> int:
    """Refuse what is no trace in the JSON object format; return the number of its events.

    Args:
        source: A file, or the object itself.

    Raises:
        ValueError: No JSON object with a list `traceEvents`, or an event with a missing or wrong field; the
            message names the event's index and the field.
    """
    trace: Any = source
    if not isinstance(source, Mapping):
        try:
            trace = json.loads(Path(source).read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            msg = f"trace: {str(source)!r} is no JSON ({error}); was it closed?"
            raise ValueError(msg) from error
    events = trace.get("traceEvents") if isinstance(trace, Mapping) else None
    if not isinstance(events, list):
        msg = "trace: expected a JSON object with a list traceEvents"
        raise ValueError(msg)
    named: dict[tuple[int, int], str] = {}
    for index, event in enumerate(events):
        if not isinstance(event, Mapping):
            msg = f"traceEvents[{index}]: got {event!r}, expected an object"
            raise ValueError(msg)
        _check_event(index, event, named)
    return len(events)


def _check_event(index: int, event: Mapping[str, Any], named: dict[tuple[int, int], str]) -> None:
    def expect(holds: bool, field: str, wanted: str) -> None:
        if not holds:
            got = repr(event[field]) if field in event else "nothing"
            msg = f"traceEvents[{index}].{field}: got {got}, expected {wanted}"
            raise ValueError(msg)

    phase, args = event.get("ph"), event.get("args", {})
    expect(phase in PHASES, "ph", f"one of {', '.join(PHASES)}")
    expect(isinstance(event.get("name"), str) and event["name"] != "", "name", "text")
    for field in ("pid", "tid"):
        expect(isinstance(event.get(field), int) and not isinstance(event[field], bool), field, "a whole number")
    expect(isinstance(args, Mapping), "args", "an object")
    if phase == "M":
        expect(event["name"] in METADATA, "name", f"one of {', '.join(METADATA)}")
        wanted = METADATA[event["name"]]
        kind = int if wanted == "sort_index" else str
        expect(isinstance(args.get(wanted), kind), "args", f"{wanted} of type {kind.__name__}")
        if event["name"] == "thread_name":
            ids = (event["pid"], event["tid"])
            expect(named.setdefault(ids, args["name"]) == args["name"], "args", f"one name for the track {ids}")
        return
    expect(_is_number(event.get("ts")), "ts", "a finite number of microseconds")
    if phase == "X":
        expect(_is_number(event.get("dur")) and event["dur"] >= 0, "dur", "a number of microseconds of at least 0")
    elif phase == "C":
        expect(len(args) > 0 and all(map(_is_number, args.values())), "args", "finite numbers, at least one")
    else:
        expect(event.get("s", "t") in SCOPES, "s", f"one of {', '.join(SCOPES)}")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
