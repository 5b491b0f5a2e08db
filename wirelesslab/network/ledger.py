"""Who holds how much of which radio cell, link and server; and the rules by which slices may hold more.

The ledger counts in whole millionths of an element, so that what is given back is exactly what was taken.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.slices import DOMAINS, Domain, Slice

PARTS = 1_000_000
"""Parts of a whole element; the ledger knows no smaller share."""

Element = tuple[Domain, Hashable]
"""What is reserved: ("radio", "cell-3"), ("transport", ("gnb-1", "edge-1")), ("compute", "edge-1")."""


def parts(share: float) -> int:
    """Return a share of an element in whole parts, rounded down so that shares that add up to 1 fit together.

    A slice is short of its promise by less than a millionth of the element.

    Examples:
        >>> parts(0.3), 6 * parts(1 / 6)
        (300000, 999996)
    """
    check.within(0, 1, share=share)
    return int(share * PARTS + 1e-6)  # 0.29 * PARTS is 289999.99999999994


class Ledger:
    """Who holds how much of which element, in whole parts.

    Args:
        capacities: Share of each element that slices may hold, in [0, 1]; 1 is the whole element.

    Examples:
        >>> ledger = Ledger({("compute", "edge-1"): 1.0})
        >>> ledger.hold("embb", {("compute", "edge-1"): parts(0.6)})
        >>> ledger.lacking("urllc", {("compute", "edge-1"): parts(0.5)})
        {('compute', 'edge-1'): 100000}
    """

    def __init__(self, capacities: Mapping[Element, float]) -> None:
        for element, share in capacities.items():
            if not isinstance(element, tuple) or len(element) != 2:
                msg = f"capacities: got the element {element!r}, expected a pair such as ('radio', 'cell-3')"
                raise ValueError(msg)
            check.one_of(DOMAINS, domain=element[0])
            check.within(0, 1, **{f"capacities[{element}]": share})
        self.elements: tuple[Element, ...] = tuple(capacities)
        self._index = {element: i for i, element in enumerate(self.elements)}
        self.capacity_parts = np.array([parts(share) for share in capacities.values()], dtype=np.int64)
        self.held_parts = np.zeros(len(self.elements), dtype=np.int64)
        self._holdings: dict[str, NDArray[np.int64]] = {}

    def _row(self, wanted: Mapping[Element, int]) -> NDArray[np.int64]:
        row = np.zeros(len(self.elements), dtype=np.int64)
        for element, amount in wanted.items():
            if element not in self._index:
                known = ", ".join(map(str, self.elements[:8]))
                msg = f"elements: got {element!r}, expected elements of the ledger: {known}"
                raise ValueError(msg)
            check.non_negative_integer(**{f"wanted[{element}]": amount})
            row[self._index[element]] = amount
        return row

    def _named(self, row: NDArray[np.int64]) -> dict[Element, int]:
        return {self.elements[i]: int(row[i]) for i in np.flatnonzero(row)}

    def holding(self, name: str) -> dict[Element, int]:
        """Return the parts that `name` holds, elements of which it holds nothing left out."""
        return self._named(self._holdings[name]) if name in self._holdings else {}

    @property
    def holders(self) -> tuple[str, ...]:
        """Names of those who hold something or nothing on the ledger, in the order of their coming."""
        return tuple(self._holdings)

    def lacking(self, name: str, wanted: Mapping[Element, int], margin_parts: int = 0) -> dict[Element, int]:
        """Return by how many parts each element is too small for `name` to hold `wanted` in place of what it holds.

        Args:
            name: The holder.
            wanted: Parts of each element.
            margin_parts: To stay free on every element of which `name` would hold more than now.
        """
        row = self._row(wanted)
        growth = row - self._holdings.get(name, 0)
        excess = self.held_parts + growth + margin_parts - self.capacity_parts
        return self._named(np.where(growth > 0, np.maximum(excess, 0), 0))

    def hold(self, name: str, wanted: Mapping[Element, int]) -> None:
        """Let `name` hold `wanted` in place of what it holds, all of it or (raising) no change at all.

        Raises:
            ValueError: It does not fit, or an element is unknown.
        """
        lacking = self.lacking(name, wanted)
        if lacking:
            msg = f"{name}: {shortage(lacking)}; ask `lacking` first"
            raise ValueError(msg)
        row = self._row(wanted)
        self.held_parts += row - self._holdings.get(name, 0)
        self._holdings[name] = row

    def release(self, name: str) -> None:
        """Take back everything that `name` holds, if anything."""
        self.held_parts -= self._holdings.pop(name, 0)

    def check(self) -> None:
        """Assert that the holdings add up to what is held, and that no element is overdrawn.

        Raises:
            AssertionError: A bug of the ledger, never bad input.
        """
        total = sum(self._holdings.values(), np.zeros_like(self.held_parts))
        assert np.array_equal(total, self.held_parts), f"holdings add up to {total}, held {self.held_parts}"
        assert (self.held_parts >= 0).all(), "somebody gave back more than was held"
        assert (self.held_parts <= self.capacity_parts).all(), "an element is overdrawn"

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the whole state."""
        return {
            "held_parts": self.held_parts.copy(),
            "holdings": {name: row.copy() for name, row in self._holdings.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot of a ledger of the same elements."""
        self.held_parts[...] = state["held_parts"]
        self._holdings = {name: row.copy() for name, row in state["holdings"].items()}


def shortage(lacking: Mapping[Element, int]) -> str:
    """Return in words what `Ledger.lacking` found."""
    worst = max(lacking, key=lambda element: lacking[element])
    more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
    return f"{worst[0]} {worst[1]} lacks {lacking[worst] / PARTS:g} of itself{more}"


# --- admission ------------------------------------------------------------------------------------


class ReservationRule(Protocol):
    """Decides which slices may hold reservations; the ledger sees to it that they fit."""

    def refusal(self, ledger: Ledger, slice_: Slice, wanted: Mapping[Element, int]) -> str:
        """Return why `slice_` may not hold `wanted` (parts of each element) from now on; empty if it may."""
        ...


@dataclass(frozen=True)
class AdmitWhatFits:
    """Complete sharing: whoever fits is let in."""

    def refusal(self, ledger: Ledger, slice_: Slice, wanted: Mapping[Element, int]) -> str:
        """See `ReservationRule`."""
        lacking = ledger.lacking(slice_.name, wanted)
        return shortage(lacking) if lacking else ""


@dataclass(frozen=True, kw_only=True)
class KeepMargin:
    """Trunk reservation: less urgent slices must leave a margin of every element of which they take more.

    Attributes:
        margin: Share of an element that must stay free.
        exempt_priority: Slices whose priority is at most this may use the margin.
    """

    margin: float
    exempt_priority: int = 0

    def __post_init__(self) -> None:
        check.within(0, 1, margin=self.margin)
        check.non_negative_integer(exempt_priority=self.exempt_priority)

    def refusal(self, ledger: Ledger, slice_: Slice, wanted: Mapping[Element, int]) -> str:
        """See `ReservationRule`."""
        margin_parts = 0 if slice_.priority <= self.exempt_priority else parts(self.margin)
        lacking = ledger.lacking(slice_.name, wanted, margin_parts)
        return f"{shortage(lacking)} beside a margin of {margin_parts / PARTS:g}" if lacking else ""
