"""What a person sees while a study runs: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

from wirelesslab.schedule import Status
from wirelesslab.units import readable_seconds


class Watch(Protocol):
    """Called with the state of a running study after every batch."""

    def __call__(self, status: Status, /) -> None:
        """Show `status`."""
        ...


def share(status: Status) -> float:
    """Return the share of the expected time that has passed; 1 once every rate is known."""
    if status.finished or status.curves_done == status.curves:
        return 1.0
    if status.seconds_left is None:
        return 0.0
    return min(0.99, status.seconds / max(status.seconds + status.seconds_left, 1e-9))


def line(status: Status) -> str:
    """Return one plain line: share done, rate, errors so far, time left."""
    return f"{share(status):4.0%}  {details(status)}"


def details(status: Status) -> str:
    """Return the line without its share."""
    rate = status.batches / status.seconds if status.seconds > 0 else 0.0
    left = "?" if status.seconds_left is None else readable_seconds(status.seconds_left)
    resumed = f" (+{status.resumed} from the journal)" if status.resumed else ""
    failed = f", {len(status.failures)} points FAILED" if status.failures else ""
    return (
        f"{status.curves_done}/{status.curves} rates known, {status.batches} batches{resumed}, "
        f"{rate:.1f} batches/s, {status.errors} errors seen, {left} left{failed}"
    )


class PlainLines:
    """Writes a line at the first batch, then every `every_s` seconds, and at the end."""

    def __init__(self, out: TextIO, every_s: float = 5.0) -> None:
        self.out, self.every_s, self._next = out, every_s, 0.0

    def __call__(self, status: Status, /) -> None:
        """Write a line when it is time."""
        now = time.monotonic()
        if now >= self._next or status.finished:
            self._next = now + self.every_s
            self.out.write(line(status) + "\n")
            self.out.flush()


@contextmanager
def progress(out: TextIO | None = None) -> Iterator[Watch]:
    """Give a watch that fits where the output goes; the live bar ends with the context."""
    stream = sys.stderr if out is None else out
    if not stream.isatty():
        yield PlainLines(stream)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.percentage:3.0f} %"),
        BarColumn(bar_width=24),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=Console(file=stream), transient=True) as bar:
        task = bar.add_task("starting the workers …", total=1)

        def show(status: Status, /) -> None:
            where = ", ".join(f"{k}={v}" for k, v in status.latest.items())
            bar.update(task, completed=share(status), description=f"{details(status)}  [dim]{where}[/]")

        yield show


class SimulatedTime:
    """Writes how far a simulation is, every `every_s` seconds and at the end: time simulated, rate, time left."""

    def __init__(self, out: TextIO, every_s: float = 5.0) -> None:
        self.out, self.every_s = out, every_s
        self._began = time.monotonic()
        self._next = 0.0 if every_s == 0 else self._began + min(1.0, every_s)

    def __call__(self, time_s: float, until_s: float, /) -> None:
        """Write a line when it is time."""
        now = time.monotonic()
        if now < self._next and time_s < until_s:
            return
        self._next = now + self.every_s
        spent_s = now - self._began
        rate = time_s / spent_s if spent_s > 0 else 0.0
        left = readable_seconds((until_s - time_s) / rate) if rate > 0 else "?"
        done = f"{time_s / until_s:4.0%}  {time_s:.4g} of {until_s:g} s simulated"
        self._write(f"{done}, {rate:.3g} s per second, {left} left")

    def _write(self, text: str) -> None:
        # On a terminal a line takes the place of the one before.
        self.out.write(f"\r{text}\x1b[K" if self.out.isatty() else f"{text}\n")
        self.out.flush()


@contextmanager
def simulated_time(out: TextIO | None = None) -> Iterator[SimulatedTime]:
    """Give a watch for a simulation that fits where the output goes."""
    stream = sys.stderr if out is None else out
    try:
        yield SimulatedTime(stream, every_s=0.2 if stream.isatty() else 5.0)
    finally:
        if stream.isatty():
            stream.write("\n")
