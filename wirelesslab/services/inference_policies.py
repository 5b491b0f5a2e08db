"""Who answers a request, and with which model: rules that see what a client can know, and nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Literal, Protocol

from wirelesslab import check

Where = Literal["edge", "device"]


@dataclass(frozen=True, slots=True)
class Option:
    """A way to get an answer.

    Attributes:
        where: At the service's node, or on the client's own device.
        model: Which model.
        expected_s: Delay that the client expects: what the way takes when nothing waits, and what its latest answers
            took longer than that; on the device what waits there, exactly. inf while the device lacks the model.
        accuracy: Of the model, on images kept for choices; NaN unknown.
        held: Whether the model is there.
    """

    where: Where
    model: str
    expected_s: float
    accuracy: float
    held: bool = True


@dataclass(frozen=True, slots=True)
class Sight:
    """What a client sees when it asks.

    Attributes:
        time_s: Now.
        client: Its number.
        deadline_s: How long the answer is of use, from now; inf for ever.
        options: What can be chosen, models in the order of the service, the edge before the device.
    """

    time_s: float
    client: int
    deadline_s: float
    options: Sequence[Option]


class Placement(Protocol):
    """Chooses for each request; a value, the same answer for the same sight."""

    def choose(self, sight: Sight, /) -> Option:
        """Return one of the options."""
        ...


def own_option(sight: Sight, chosen: Option) -> Option:
    """Return the option of a sight that a policy chose, as the service itself describes it.

    Raises:
        ValueError: There is none of that place and model.
    """
    return _named(sight, chosen.where, chosen.model)


def _named(sight: Sight, where: Where, model: str) -> Option:
    for option in sight.options:
        if option.where == where and model in ("", option.model):
            return option
    found = [(option.where, option.model) for option in sight.options]
    msg = f"policy: got {where!r} with model {model!r}, expected one of {found}"
    raise ValueError(msg)


@dataclass(frozen=True)
class AlwaysEdge:
    """Everything is sent to the node.

    Attributes:
        model: Which model; the service's first when "".
    """

    model: str = ""

    def choose(self, sight: Sight, /) -> Option:
        """Return the edge."""
        return _named(sight, "edge", self.model)


@dataclass(frozen=True)
class AlwaysDevice:
    """Everything is computed on the device; what comes before the model waits for it.

    Attributes:
        model: Which model; the service's first when "".
    """

    model: str = ""

    def choose(self, sight: Sight, /) -> Option:
        """Return the device."""
        return _named(sight, "device", self.model)


@dataclass(frozen=True)
class LeastDelay:
    """Whatever is expected to answer first; the earlier option where two are equal."""

    def choose(self, sight: Sight, /) -> Option:
        """Return the option of least expected delay."""
        return min(sight.options, key=lambda option: option.expected_s)


@dataclass(frozen=True)
class BestInTime:
    """The most accurate model that is expected in time, wherever it is sooner; if none is, the first to answer.

    Attributes:
        margin: Share of the deadline that is kept back: an expectation is no promise.
    """

    margin: float = 0.2

    def __post_init__(self) -> None:
        check.within(0, 1, margin=self.margin)

    def choose(self, sight: Sight, /) -> Option:
        """Return the best option that fits."""
        time_s = (1 - self.margin) * sight.deadline_s
        fitting = [option for option in sight.options if option.expected_s <= time_s and option.expected_s < inf]
        if not fitting:
            return LeastDelay().choose(sight)
        return min(fitting, key=lambda o: (-o.accuracy if not isnan(o.accuracy) else 0.0, o.expected_s))


PLACEMENTS = (AlwaysEdge, AlwaysDevice, LeastDelay, BestInTime)
