"""Who is let in: admission rules for calls or slices that take whole units of one resource.

A `LossSystem` offers calls of several classes; who is refused is lost. Rules look at how many of
each class are in service. Under exponential holding the system is a Markov chain, whose best rule
is found here by value iteration and whose reward under any rule follows from its stationary law.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import breadth_first_order
from scipy.sparse.linalg import spsolve

from wirelesslab import check

MAX_STATES = 2_000_000  # of the box of counts, per class: beyond, exact methods take minutes and gigabytes


@dataclass(frozen=True, kw_only=True)
class CallClass:
    """Calls of one kind: Poisson arrivals that each take `demand` units for a while and pay once, when admitted.

    Attributes:
        arrival_rate: Per second.
        demand: Units of the resource that a call holds.
        holding_s: Mean time for which it holds them.
        reward: For each call admitted.
    """

    arrival_rate: float
    demand: int = 1
    holding_s: float = 1.0
    reward: float = 1.0

    def __post_init__(self) -> None:
        check.positive(arrival_rate=self.arrival_rate, holding_s=self.holding_s)
        check.positive_integer(demand=self.demand)
        check.finite(reward=self.reward)

    @property
    def load(self) -> float:
        """Offered load in Erlang."""
        return self.arrival_rate * self.holding_s


@dataclass(frozen=True, kw_only=True)
class LossSystem:
    """A resource of `capacity` units and the classes that call for it.

    Examples:
        >>> system = LossSystem(
        ...     capacity=30,
        ...     classes=(CallClass(arrival_rate=10), CallClass(arrival_rate=3, demand=4, reward=12)),
        ... )
        >>> round(reward_rate(CompleteSharing(system), system), 3)
        40.417
        >>> round(OptimalAdmission.solve(system).reward_rate, 3)
        41.252
    """

    capacity: int
    classes: tuple[CallClass, ...]

    def __post_init__(self) -> None:
        check.positive_integer(capacity=self.capacity)
        if not self.classes:
            msg = "classes: got none, expected at least one CallClass"
            raise ValueError(msg)
        for index, call_class in enumerate(self.classes):
            if call_class.demand > self.capacity:
                msg = f"classes[{index}]: got demand {call_class.demand}, expected at most capacity {self.capacity}"
                raise ValueError(msg)

    @property
    def shape(self) -> tuple[int, ...]:
        """Counts that each class can have in service, 0 included: the box that holds all states."""
        return tuple(self.capacity // c.demand + 1 for c in self.classes)

    def free_units(self) -> NDArray[np.int64]:
        """Units that are free in each state of the box, negative outside the system, shape `shape`.

        Raises:
            ValueError: The box is too large to be written out.
        """
        size = float(np.prod([float(n) for n in self.shape]))
        if size > MAX_STATES:
            msg = (
                f"classes: got {size:.3g} states, expected at most {MAX_STATES}; merge classes or count in larger units"
            )
            raise ValueError(msg)
        used = np.zeros(self.shape, dtype=np.int64)
        for axis, call_class in enumerate(self.classes):
            used += call_class.demand * _along(np.arange(self.shape[axis]), axis, len(self.shape))
        return self.capacity - used


def _along(values: NDArray[Any], axis: int, ndim: int) -> NDArray[Any]:
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


# --- rules ----------------------------------------------------------------------------------------


class AdmissionRule(Protocol):
    """Decides whether a call is let in."""

    def admit(self, in_service: Sequence[int], class_index: int) -> bool:
        """Return whether a call of this class is let in beside those in service, counted per class."""
        ...


@dataclass(frozen=True)
class CompleteSharing:
    """Whoever fits comes in."""

    system: LossSystem

    def admit(self, in_service: Sequence[int], class_index: int) -> bool:
        """See `AdmissionRule`."""
        return _free(self.system, in_service) >= self.system.classes[class_index].demand


@dataclass(frozen=True)
class TrunkReservation:
    """A class comes in if, once it is in, its reserve would still be free for others.

    Attributes:
        system: What is shared.
        reserve: Units that each class must leave free; 0 for the class that is protected.
    """

    system: LossSystem
    reserve: tuple[int, ...]

    def __post_init__(self) -> None:
        check.non_negative_integer(**{f"reserve[{i}]": r for i, r in enumerate(self.reserve)})
        if len(self.reserve) != len(self.system.classes):
            msg = f"reserve: got {len(self.reserve)}, expected one for each of the {len(self.system.classes)} classes"
            raise ValueError(msg)

    def admit(self, in_service: Sequence[int], class_index: int) -> bool:
        """See `AdmissionRule`."""
        needed = self.system.classes[class_index].demand + self.reserve[class_index]
        return _free(self.system, in_service) >= needed


@dataclass(frozen=True, eq=False)
class OptimalAdmission:
    """The rule of most reward per second under exponential holding: the oracle. Made by `solve`.

    Attributes:
        system: What is shared.
        table: Whether each class is let in, shape (classes, *system.shape).
        reward_rate: What the rule earns per second.
    """

    system: LossSystem
    table: NDArray[np.bool_]
    reward_rate: float

    @classmethod
    def solve(cls, system: LossSystem, tolerance: float = 1e-9, max_sweeps: int = 1_000_000) -> "OptimalAdmission":
        """Find it by relative value iteration on the uniformised chain.

        A sweep brackets the best reward rate between the least and the greatest change of value
        per transition; the search ends when they agree to `tolerance`, relative to the rewards offered.

        Raises:
            RuntimeError: They do not agree after `max_sweeps`.

        References:
            Puterman, Markov Decision Processes, 1994, 8.5.4 and 8.5.6 (bounds), 11.5 (uniformisation).
        """
        check.positive(tolerance=tolerance)
        free = system.free_units()
        inside = free >= 0
        ndim, num_classes = free.ndim, len(system.classes)
        departures = [
            _along(np.arange(n) / c.holding_s, k, ndim)
            for k, (n, c) in enumerate(zip(system.shape, system.classes, strict=True))
        ]
        leaving = np.where(inside, sum(departures), 0.0)
        rate = sum(c.arrival_rate for c in system.classes) + float(leaving.max())
        fits = [free >= c.demand for c in system.classes]
        scale = sum(abs(c.reward) * c.arrival_rate for c in system.classes) or 1.0
        value = np.zeros(system.shape)
        for _ in range(max_sweeps):
            new = (rate - leaving) * value
            for k, call_class in enumerate(system.classes):
                gain = np.where(fits[k], call_class.reward + np.roll(value, -1, axis=k) - value, 0.0)
                new += call_class.arrival_rate * np.maximum(gain, 0.0)
                new += departures[k] * np.roll(value, 1, axis=k)
            change = (new - rate * value)[inside]
            low, high = float(change.min()), float(change.max())
            value = np.where(inside, (new - new.flat[0]) / rate, 0.0)
            if high - low <= tolerance * scale:
                break
        else:
            msg = f"max_sweeps: got {max_sweeps}, reward still between {low:g} and {high:g}; allow more sweeps"
            raise RuntimeError(msg)
        table = np.zeros((num_classes, *system.shape), dtype=np.bool_)
        for k, call_class in enumerate(system.classes):
            table[k] = fits[k] & (call_class.reward + np.roll(value, -1, axis=k) >= value)
        return cls(system, table, (low + high) / 2)

    def admit(self, in_service: Sequence[int], class_index: int) -> bool:
        """See `AdmissionRule`."""
        return bool(self.table[(class_index, *in_service)])


@dataclass(frozen=True, eq=False)
class TabulatedAdmission:
    """A rule written out: what an agent has learned, or any other, as plain data.

    Attributes:
        system: What is shared.
        table: Whether each class is let in, in every state, shape (classes, *system.shape).
    """

    system: LossSystem
    table: NDArray[np.bool_]

    def __post_init__(self) -> None:
        shape = (len(self.system.classes), *self.system.shape)
        axes = ", ".join(["classes", *(f"counts of class {k}" for k in range(len(shape) - 1))])
        table = check.array(self.table, shape, axes, name="table").astype(np.bool_)
        free = self.system.free_units()
        for k, call_class in enumerate(self.system.classes):
            wrong = np.argwhere(table[k] & (free < call_class.demand))
            if wrong.size:
                where = wrong[0].tolist()
                msg = f"table: lets in class {k} of demand {call_class.demand} at {where}, where it does not fit"
                raise ValueError(msg)
        table.setflags(write=False)
        object.__setattr__(self, "table", table)

    def admit(self, in_service: Sequence[int], class_index: int) -> bool:
        """See `AdmissionRule`."""
        return bool(self.table[(class_index, *in_service)])


def _free(system: LossSystem, in_service: Sequence[int]) -> int:
    return system.capacity - sum(n * c.demand for n, c in zip(in_service, system.classes, strict=True))


def admission_table(rule: AdmissionRule, system: LossSystem) -> NDArray[np.bool_]:
    """Return whether `rule` lets each class in, in every state, shape (classes, *system.shape).

    Raises:
        ValueError: The rule lets in who does not fit.
    """
    free = system.free_units()
    table = np.zeros((len(system.classes), *system.shape), dtype=np.bool_)
    for state in np.argwhere(free >= 0).tolist():
        for k, call_class in enumerate(system.classes):
            table[(k, *state)] = rule.admit(state, k)
            if table[(k, *state)] and free[tuple(state)] < call_class.demand:
                msg = f"rule: {rule} lets in class {k} of demand {call_class.demand} at {state}, where it does not fit"
                raise ValueError(msg)
    return table


# --- what a rule earns, exactly -------------------------------------------------------------------


class LongRun(NamedTuple):
    """A rule in the long run: `blocking` of each class, and `reward_rate` per second."""

    blocking: NDArray[np.float64]
    reward_rate: float


def long_run(rule: AdmissionRule, system: LossSystem) -> LongRun:
    """Return blocking and reward from the stationary law of the Markov chain (exponential holding).

    Arrivals are Poisson and see time averages, so blocking is the probability of refusing states.
    """
    return _long_run_of_table(admission_table(rule, system), system)


def reward_rate(rule: AdmissionRule, system: LossSystem) -> float:
    """Return what a rule earns per second, exactly; see `long_run`."""
    return long_run(rule, system).reward_rate


def _long_run_of_table(table: NDArray[np.bool_], system: LossSystem) -> LongRun:
    shape = system.shape
    flat = table.reshape(len(shape), -1)
    size = flat.shape[1]
    sources, targets, rates = [], [], []
    for k, call_class in enumerate(system.classes):
        stride = int(np.prod(shape[k + 1 :]))
        count = (np.arange(size) // stride) % shape[k]
        rising, falling = np.flatnonzero(flat[k]), np.flatnonzero(count)
        sources += [rising, falling]
        targets += [rising + stride, falling - stride]
        rates += [np.full(rising.size, call_class.arrival_rate), count[falling] / call_class.holding_s]
    moves = sparse.csr_matrix(
        (np.concatenate(rates), (np.concatenate(sources), np.concatenate(targets))), shape=(size, size)
    )
    # Every state drains to the empty one, so what the empty one reaches is the one recurrent class.
    states = breadth_first_order(moves, 0, return_predecessors=False)
    law = np.ones(1)
    if states.size > 1:
        moves = moves[states][:, states]
        balance = (moves.T - sparse.diags(np.asarray(moves.sum(axis=1)).ravel())).tocsc()
        # The empty state's balance follows from the others'; fixing its weight at 1 takes its place.
        rest = spsolve(balance[1:, 1:], -balance[1:, [0]].toarray().ravel())
        law = np.maximum(np.concatenate([law, np.atleast_1d(rest)]), 0.0)
        law /= law.sum()
    blocking = np.array([law[~flat[k, states]].sum() for k in range(len(shape))])
    earned = sum(c.arrival_rate * c.reward * (1 - b) for c, b in zip(system.classes, blocking, strict=True))
    return LongRun(blocking, float(earned))


def best_trunk_reservation(
    system: LossSystem, *, shut_out: bool = True, max_solutions: int = 20_000
) -> tuple[TrunkReservation, float]:
    """Return the best trunk reservation and its reward rate, by trying all, one exact solution each.

    Args:
        system: What is shared.
        shut_out: Whether a class may be shut out for good, by a reserve of capacity - demand + 1;
            otherwise its largest reserve lets it in when everything is free.
        max_solutions: How many to try at most; one takes about 3 ms with 140 states.

    Raises:
        ValueError: There are more than `max_solutions` to try.
    """
    choices = [range(system.capacity - c.demand + 1 + shut_out) for c in system.classes]
    number = int(np.prod([len(c) for c in choices], dtype=np.float64))
    if number > max_solutions:
        msg = f"system: got {number} trunk reservations to try, expected at most max_solutions={max_solutions}"
        raise ValueError(msg)
    free = system.free_units()
    best, most = (0,) * len(choices), -np.inf
    for reserve in itertools.product(*choices):
        table = np.stack([free >= c.demand + r for c, r in zip(system.classes, reserve, strict=True)])
        earned = _long_run_of_table(table, system).reward_rate
        if earned > most + 1e-12 * abs(earned):
            best, most = reserve, earned
    return TrunkReservation(system, best), most
