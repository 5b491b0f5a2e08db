"""Loss systems played call by call, under any admission rule and for holding times that no chain describes."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.admission import AdmissionRule, LossSystem, admission_table
from wirelesslab.rng import substreams

Holding = Literal["exponential", "fixed"]
HOLDINGS: tuple[Holding, ...] = ("exponential", "fixed")


class Calls(NamedTuple):
    """Calls counted per class, both of shape (classes,)."""

    blocked: NDArray[np.int64]
    offered: NDArray[np.int64]


@njit(cache=True, nogil=True)
def _serve(
    arrivals_s: NDArray[np.float64],
    kinds: NDArray[np.int64],
    holding_s: NDArray[np.float64],
    table: NDArray[np.bool_],
    strides: NDArray[np.int64],
    ends_s: NDArray[np.float64],
    end_kinds: NDArray[np.int64],
    place: NDArray[np.int64],
    blocked: NDArray[np.int64],
    offered: NDArray[np.int64],
) -> None:
    """Play arrivals; `ends_s` (inf where nobody is), `end_kinds`, `place` (of the state) and the counts are kept up."""
    state = place[0]
    next_end = ends_s.min()
    for i in range(arrivals_s.size):
        now = arrivals_s[i]
        if next_end <= now:
            next_end = np.inf
            for slot in range(ends_s.size):
                if ends_s[slot] <= now:
                    ends_s[slot] = np.inf
                    state -= strides[end_kinds[slot]]
                elif ends_s[slot] < next_end:
                    next_end = ends_s[slot]
        kind = kinds[i]
        offered[kind] += 1
        if not table[kind, state]:
            blocked[kind] += 1
            continue
        slot = 0
        while ends_s[slot] < np.inf:
            slot += 1
        ends_s[slot] = now + holding_s[i]
        end_kinds[slot] = kind
        next_end = min(next_end, ends_s[slot])
        state += strides[kind]
    place[0] = state


class AdmissionSimulation:
    """A loss system under a rule, played call by call; its state is arrays.

    Rules and laws of holding that are given equal generators meet the same arrivals, and the
    result does not depend on the pieces in which `advance` is called.

    Attributes:
        now_s: Time of the last arrival.
    """

    def __init__(
        self, rule: AdmissionRule, system: LossSystem, rng: np.random.Generator, holding: Holding = "exponential"
    ) -> None:
        check.one_of(HOLDINGS, holding=holding)
        self.system, self.holding = system, holding
        self.now_s = 0.0
        shape = system.shape
        self._table = admission_table(rule, system).reshape(len(shape), -1)
        self._strides = np.array([int(np.prod(shape[k + 1 :])) for k in range(len(shape))], dtype=np.int64)
        self._rngs = substreams(rng, "intervals", "classes", "holding")
        most_calls = system.capacity // min(c.demand for c in system.classes)
        self._state = {
            "ends_s": np.full(most_calls, np.inf),
            "end_kinds": np.zeros(most_calls, np.int64),
            "place": np.zeros(1, np.int64),
            "blocked": np.zeros(len(shape), np.int64),
            "offered": np.zeros(len(shape), np.int64),
        }

    def advance(self, num_arrivals: int) -> Calls:
        """Play so many more arrivals; returns those of them that were blocked and offered."""
        check.non_negative_integer(num_arrivals=num_arrivals)
        before = {name: self._state[name].copy() for name in ("blocked", "offered")}
        rates = np.array([c.arrival_rate for c in self.system.classes])
        means = np.array([c.holding_s for c in self.system.classes])
        edges = np.cumsum(rates)[:-1] / rates.sum()
        while num_arrivals:
            piece = min(num_arrivals, 65_536)
            num_arrivals -= piece
            intervals = self._rngs["intervals"].standard_exponential(piece) / rates.sum()
            intervals[0] += self.now_s
            # The running sum starts from now, so that pieces add in the order of one long sum.
            arrivals_s = np.cumsum(intervals)
            kinds = np.searchsorted(edges, self._rngs["classes"].random(piece), side="right").astype(np.int64)
            holding_s = means[kinds]
            if self.holding == "exponential":
                holding_s = holding_s * self._rngs["holding"].standard_exponential(piece)
            _serve(arrivals_s, kinds, holding_s, self._table, self._strides, **self._state)
            self.now_s = float(arrivals_s[-1])
        return Calls(*(self._state[name] - before[name] for name in ("blocked", "offered")))

    @property
    def in_service(self) -> NDArray[np.int64]:
        """Calls in service per class as the last arrival left them, shape (classes,)."""
        present = np.isfinite(self._state["ends_s"])
        return np.bincount(self._state["end_kinds"][present], minlength=len(self.system.classes))

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        rngs = {name: rng.bit_generator.state for name, rng in self._rngs.items()}
        return {"now_s": self.now_s, "rngs": rngs, **{name: array.copy() for name, array in self._state.items()}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of a simulation of the same system; what follows is then the same."""
        self.now_s = float(state["now_s"])
        for name, array in self._state.items():
            array[...] = state[name]
        for name, rng in self._rngs.items():
            rng.bit_generator.state = state["rngs"][name]


def simulate_admission(
    rule: AdmissionRule,
    system: LossSystem,
    rng: np.random.Generator,
    num_arrivals: int,
    holding: Holding = "exponential",
    warm_up: int = 0,
) -> Calls:
    """Play `num_arrivals` calls, after `warm_up` more that are not counted, from an empty system.

    Args:
        rule: Decides who comes in.
        system: What is shared.
        rng: Its arrivals, classes and holding times.
        num_arrivals: Calls of all classes.
        holding: "exponential", or "fixed" at each class's mean.
        warm_up: Calls played first.
    """
    simulation = AdmissionSimulation(rule, system, rng, holding)
    simulation.advance(warm_up)
    return simulation.advance(num_arrivals)
