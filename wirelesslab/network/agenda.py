"""What is due, as data: the network's future is a table of records that SimPy carries out.

A SimPy generator cannot be copied, and neither can what hides in its locals. So everything that is going to
happen is kept here as a record, (time, whose, which of its methods, with what), beside the SimPy event
that will make it happen; and an actor's generator sleeps only through `until`, with all that it knows in
its own record. A network can then be written down, and built again from what was written, to the last bit
(docs/decisions/0009).
"""

from collections.abc import Callable, Generator
from math import inf, nextafter
from typing import Any, NamedTuple

import simpy

Handler = Callable[..., None]


class Due(NamedTuple):
    """Something that is going to happen.

    Attributes:
        time_s: When.
        owner: Name of the part, or of the actor that sleeps until then.
        method: What of it is called; "" wakes an actor.
        arguments: With what.
        number: Its number on the agenda, by which parts strike it out.
    """

    time_s: float
    owner: str
    method: str
    arguments: tuple[Any, ...]
    number: int


class Agenda:
    """Everything that is due, in the order in which it was put down.

    Attributes:
        env: The SimPy environment that carries it out.
    """

    def __init__(self, start_s: float = 0.0) -> None:
        self.env = simpy.Environment(initial_time=start_s)
        self._next = 0
        self._dues: dict[int, tuple[float, Handler, tuple[Any, ...]]] = {}
        self._asleep: dict[str, tuple[float, int]] = {}  # actor -> when it wakes, and its place in the order
        self._names: dict[simpy.Process | None, str] = {}
        self.waking = ""

    @property
    def next_number(self) -> int:
        """The number of the next entry."""
        return self._next

    @property
    def now(self) -> float:
        """The time, in seconds."""
        return self.env._now  # the property costs as much as a dictionary's lookup

    def after(self, delay_s: float, handler: Handler, *arguments: Any) -> int:
        """Put down that `handler` is called with `arguments` in `delay_s`; returns the entry's number.

        `handler` is a method of a part that has a `name`; what it is given must be data.
        """
        number = self._next
        self._next = number + 1
        event = self.env.timeout(delay_s, number)
        event.callbacks.append(self._fire)
        self._dues[number] = (self.env._now + delay_s, handler, arguments)
        return number

    def cancel(self, number: int) -> None:
        """Strike an entry out; nothing happens if it is gone already."""
        self._dues.pop(number, None)

    def until(self, time_s: float) -> simpy.Event:
        """Return what an actor yields to sleep until `time_s`; a time that has passed means now.

        Raises:
            RuntimeError: Called from outside an actor's `run`.
        """
        name = self.waking or self._names.get(self.env.active_process, "")
        if not name:
            msg = "until: called from outside an actor's run; parts put down what is due with Agenda.after"
            raise RuntimeError(msg)
        number = self._next
        self._next = number + 1
        self._asleep[name] = (time_s, number)
        if time_s == inf:
            return self.env.event()
        return self.env.timeout(exact_delay(self.env._now, time_s))

    @property
    def actor(self) -> str:
        """Name of the actor that is running now; "" if none is."""
        return self.waking or self._names.get(self.env.active_process, "")

    def start(self, name: str, story: Generator[simpy.Event, Any, Any]) -> None:
        """Let an actor run from now on.

        Raises:
            TypeError: Its `run` is no generator.
        """
        if not isinstance(story, Generator):
            msg = f"{name}: run gave {type(story).__name__}, expected a generator that yields network.until(...)"
            raise TypeError(msg)

        def named() -> Generator[simpy.Event, Any, Any]:
            yield from story
            self._asleep.pop(name, None)
            self._names.pop(process, None)

        process = self.env.process(named())
        self._names[process] = name

    def run(self, until_s: float) -> None:
        """Carry out everything up to and including `until_s`."""
        # SimPy's own stop at a time comes before what is due at that time; we mean the end of that instant.
        while self.env.peek() <= until_s:
            self.env.step()
        if until_s > self.env._now:
            self.env.run(until=until_s)

    def _fire(self, event: simpy.Event) -> None:
        due = self._dues.pop(event._value, None)
        if due is not None:
            due[1](*due[2])

    # --- written down and built again ------------------------------------------------------------------

    def written(self) -> list[Due]:
        """Return all that is due, in order.

        Raises:
            RuntimeError: An actor waits for something else than a time.
        """
        idle = sorted(set(self._names.values()) - self._asleep.keys())
        if idle:
            msg = (
                f"agenda: {', '.join(idle)} waits for something that is not a time, which cannot be written down; "
                "let its run yield network.until(...) only, and keep its state in network.record(...)"
            )
            raise RuntimeError(msg)
        entries = [
            Due(time, handler.__self__.name, handler.__name__, arguments, number)  # type: ignore[attr-defined]
            for number, (time, handler, arguments) in self._dues.items()
        ]
        entries += [Due(time, name, "", (), number) for name, (time, number) in self._asleep.items()]
        return sorted(entries, key=lambda due: due.number)

    def rebuild(
        self,
        dues: list[Due],
        next_number: int,
        parts: Callable[[str], Any],
        story: Callable[[str], Generator[simpy.Event, Any, Any]],
    ) -> None:
        """Put down again what was written, in the same order and under the same numbers.

        Args:
            dues: What `written` returned.
            next_number: What it was then.
            parts: Finds a part by its name.
            story: Returns the generator of an actor, which goes on from the actor's record.
        """
        for due in dues:
            self._next = due.number
            if due.method:
                self._rebuild_due(due, getattr(parts(due.owner), due.method))
                continue
            generator = story(due.owner)
            self.waking = due.owner
            try:
                first = next(generator, None)
            finally:
                self.waking = ""
            if first is None:
                continue
            if self._asleep[due.owner][0] != due.time_s:
                msg = (
                    f"{due.owner}: slept until {due.time_s} s and, begun anew from its record, sleeps until "
                    f"{self._asleep[due.owner][0]} s; its run must find in its record where it was"
                )
                raise RuntimeError(msg)
            self.start(due.owner, _after(first, generator))
        self._next = next_number

    def _rebuild_due(self, due: Due, handler: Handler) -> None:
        number = self._next
        self._next = number + 1
        event = self.env.timeout(exact_delay(self.env._now, due.time_s), number)
        event.callbacks.append(self._fire)
        self._dues[number] = (due.time_s, handler, due.arguments)


def exact_delay(now_s: float, time_s: float) -> float:
    """Return the delay that, added to `now_s` in floating point, gives exactly `time_s` (0 when it has passed)."""
    if time_s <= now_s:
        return 0.0
    delay = time_s - now_s
    while now_s + delay < time_s:
        delay = nextafter(delay, inf)
    while now_s + delay > time_s:
        delay = nextafter(delay, 0.0)
    return delay


def _after(first: simpy.Event, story: Generator[simpy.Event, Any, Any]) -> Generator[simpy.Event, Any, Any]:
    yield first
    yield from story
