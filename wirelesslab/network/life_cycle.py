"""The life of a slice: prepared, admitted, active, terminated, with everything it holds on a ledger.

A state machine that refuses steps out of turn and records every one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

from wirelesslab import check
from wirelesslab.network.ledger import AdmitWhatFits, Element, Ledger, ReservationRule, parts, shortage
from wirelesslab.network.slices import Slice

State = Literal["prepared", "admitted", "active", "terminated"]
ALLOWED: dict[State, tuple[str, ...]] = {
    "prepared": ("admit", "modify", "terminate"),
    "admitted": ("activate", "modify", "terminate"),
    "active": ("deactivate", "modify", "terminate"),
    "terminated": ("prepare",),
}
"""Steps that each state allows."""


@dataclass(frozen=True)
class LifeCycleEvent:
    """One step in the life of a slice.

    Attributes:
        time_s: When.
        name: The slice's.
        step: What was asked for.
        origin: State before; empty when there was none.
        target: State after; the same as before when the step was refused or changed nothing but shares.
        reason: Why it was refused; empty when it was done.
    """

    time_s: float
    name: str
    step: str
    origin: State | Literal[""]
    target: State
    reason: str = ""


@dataclass(frozen=True)
class Decision:
    """Whether a step was done; true or false by itself. `reason` says why not."""

    done: bool
    reason: str = ""

    def __bool__(self) -> bool:
        return self.done


@dataclass(frozen=True)
class Booking:
    """A slice that is not terminated: its state, and the elements on which it has its share."""

    slice_: Slice
    elements: tuple[Element, ...]
    state: State

    @property
    def wanted(self) -> dict[Element, int]:
        """Parts that it reserves: the min share of the element's domain."""
        return {element: parts(self.slice_.ratio(element[0]).min) for element in self.elements}


class LifeCycle:
    """The slices of a network from preparation to the end, none holding what it should not.

    Preparation -> commissioning (`admit`, which reserves) -> operation (`activate`, `modify`,
    `deactivate`) -> decommissioning (`terminate`, allowed from every state). A step out of turn
    raises; a step that does not fit is a `Decision` that is false and leaves everything as it was.

    Args:
        ledger: What there is to reserve; nobody else should write to it.
        rule: Who may reserve it; `AdmitWhatFits` unless given.

    References:
        3GPP TS 28.530, 4.3 (phases) and TS 28.531 (provisioning). The names of states are our choice.

    Examples:
        >>> from wirelesslab.network.slices import ResourceRatio, SNssai
        >>> life = LifeCycle(Ledger({("radio", "cell-0"): 1.0}))
        >>> half = Slice(name="embb", snssai=SNssai(1), radio=ResourceRatio(min=0.5))
        >>> life.prepare(half, [("radio", "cell-0")])
        >>> bool(life.admit("embb")), life.ledger.holding("embb")
        (True, {('radio', 'cell-0'): 500000})
        >>> life.activate("embb")
        >>> life.admit("embb")
        Traceback (most recent call last):
        ValueError: embb: got the step admit in state active, expected one of deactivate, modify, terminate
    """

    def __init__(self, ledger: Ledger, rule: ReservationRule | None = None) -> None:
        self.ledger = ledger
        self.rule: ReservationRule = rule or AdmitWhatFits()
        self.now_s = 0.0
        self.events: list[LifeCycleEvent] = []
        self._plans: dict[str, Booking] = {}

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Slices that are active, in the order of their preparation."""
        return tuple(plan.slice_ for plan in self._plans.values() if plan.state == "active")

    def state(self, name: str) -> State:
        """Return the state of a slice; one that was never prepared counts as terminated."""
        return self._plans[name].state if name in self._plans else "terminated"

    def booking(self, name: str) -> Booking:
        """Return the booking of a slice that is not terminated.

        Raises:
            ValueError: There is none.
        """
        if name not in self._plans:
            msg = f"{name}: got no such slice, expected one of {', '.join(self._plans) or 'those prepared; none is'}"
            raise ValueError(msg)
        return self._plans[name]

    def prepare(self, slice_: Slice, elements: Iterable[Element], *, time_s: float | None = None) -> None:
        """Plan a slice on these elements; nothing is reserved yet.

        Raises:
            ValueError: A living slice has this name or S-NSSAI, or an element is unknown.
        """
        self._clock(time_s)
        self._expect(slice_.name, "prepare")
        for plan in self._plans.values():
            if plan.slice_.snssai == slice_.snssai:
                msg = f"{slice_.name}: got S-NSSAI {slice_.snssai}, which {plan.slice_.name} has; expected another"
                raise ValueError(msg)
        plan = Booking(slice_, tuple(dict.fromkeys(elements)), "prepared")
        self.ledger.lacking(slice_.name, plan.wanted)  # names an element that is unknown
        self._plans[slice_.name] = plan
        self._record(slice_.name, "prepare", "", "prepared")

    def admit(self, name: str, *, time_s: float | None = None) -> Decision:
        """Reserve what a prepared slice needs, if the rule lets it in and it fits; otherwise it stays prepared."""
        plan = self._begin(name, "admit", time_s)
        return self._reserve("admit", plan, Booking(plan.slice_, plan.elements, "admitted"))

    def activate(self, name: str, *, time_s: float | None = None) -> None:
        """Let an admitted slice carry traffic."""
        self._move(self._begin(name, "activate", time_s), "activate", "active")

    def deactivate(self, name: str, *, time_s: float | None = None) -> None:
        """Stop the traffic of an active slice; it keeps its reservations."""
        self._move(self._begin(name, "deactivate", time_s), "deactivate", "admitted")

    def modify(
        self, name: str, slice_: Slice, *, elements: Iterable[Element] | None = None, time_s: float | None = None
    ) -> Decision:
        """Give a slice other promises, shares or elements; if they do not fit, everything stays as it was.

        Raises:
            ValueError: Another name or S-NSSAI: that would be another slice.
        """
        plan = self._begin(name, "modify", time_s)
        if (slice_.name, slice_.snssai) != (name, plan.slice_.snssai):
            msg = (
                f"{name}: got a slice {slice_.name} of S-NSSAI {slice_.snssai}, expected {name} of "
                f"{plan.slice_.snssai}; terminate the one and prepare the other"
            )
            raise ValueError(msg)
        new = Booking(slice_, plan.elements if elements is None else tuple(dict.fromkeys(elements)), plan.state)
        return self._reserve("modify", plan, new)

    def terminate(self, name: str, *, time_s: float | None = None) -> None:
        """End a slice and give back all that it holds."""
        plan = self._begin(name, "terminate", time_s)
        self.ledger.release(name)
        del self._plans[name]
        self._record(name, "terminate", plan.state, "terminated")

    def _begin(self, name: str, step: str, time_s: float | None) -> Booking:
        self._clock(time_s)
        self._expect(name, step)
        return self._plans[name]

    def _clock(self, time_s: float | None) -> None:
        if time_s is not None:
            check.finite(time_s=time_s)
            if time_s < self.now_s:
                msg = f"time_s: got {time_s}, expected at least {self.now_s}, the time of the last step"
                raise ValueError(msg)
            self.now_s = float(time_s)

    def _expect(self, name: str, step: str) -> None:
        state = self.state(name)
        if step not in ALLOWED[state]:
            msg = f"{name}: got the step {step} in state {state}, expected one of {', '.join(ALLOWED[state])}"
            raise ValueError(msg)

    def _reserve(self, step: str, old: Booking, new: Booking) -> Decision:
        name = old.slice_.name
        reason = ""
        lacking = self.ledger.lacking(name, new.wanted)  # also names an element that is unknown
        if new.state != "prepared":
            reason = self.rule.refusal(self.ledger, new.slice_, new.wanted)
            if lacking and not reason:
                reason = shortage(lacking)
            if not reason:
                self.ledger.hold(name, new.wanted)
        if not reason:
            self._plans[name] = new
        self._record(name, step, old.state, self._plans[name].state, reason)
        return Decision(not reason, reason)

    def _move(self, plan: Booking, step: str, target: State) -> None:
        self._plans[plan.slice_.name] = Booking(plan.slice_, plan.elements, target)
        self._record(plan.slice_.name, step, plan.state, target)

    def _record(self, name: str, step: str, origin: State | Literal[""], target: State, reason: str = "") -> None:
        self.events.append(LifeCycleEvent(self.now_s, name, step, origin, target, reason))

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state, the ledger's included."""
        return {
            "now_s": self.now_s,
            "plans": dict(self._plans),
            "events": tuple(self.events),
            "ledger": self.ledger.snapshot(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.now_s = float(state["now_s"])
        self._plans = dict(state["plans"])
        self.events = list(cast(tuple[LifeCycleEvent, ...], state["events"]))
        self.ledger.restore(state["ledger"])
