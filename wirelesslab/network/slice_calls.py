"""Admission rules of calls, applied to slices: slices that come and go are calls, an element is their resource."""

from collections.abc import Mapping
from dataclasses import dataclass

from wirelesslab.network.admission import AdmissionRule, LossSystem
from wirelesslab.network.ledger import PARTS, Element, Ledger, parts, shortage
from wirelesslab.network.slices import Slice


@dataclass(frozen=True)
class SlicesAsCalls:
    """Lets slices hold a share of an element as an admission rule lets calls in: optimal, reserving or learned.

    A slice is of the class whose demand it takes, as a share of the element: with a capacity of 30 units, a class of
    demand 4 takes 4/30. Slices that take nothing of the element are let in wherever they fit.

    Attributes:
        rule: Asked with the number of slices of each class that hold their share.
        system: Capacity and demands; no two classes may have one demand, for nothing else tells them apart.
        element: The element that they share.
    """

    rule: AdmissionRule
    system: LossSystem
    element: Element

    def __post_init__(self) -> None:
        demands = [c.demand for c in self.system.classes]
        if len(set(demands)) != len(demands):
            msg = f"system: got classes of demands {demands}, expected each once: slices are told apart by demand"
            raise ValueError(msg)

    def _class_of(self, held_parts: int) -> int | None:
        # up to a part per unit may have been rounded away
        wanted = [parts(c.demand / self.system.capacity) for c in self.system.classes]
        return next((k for k, w in enumerate(wanted) if abs(w - held_parts) <= self.system.classes[k].demand), None)

    def refusal(self, ledger: Ledger, slice_: Slice, wanted: Mapping[Element, int]) -> str:
        """See `ReservationRule`."""
        lacking = ledger.lacking(slice_.name, wanted)
        if lacking:
            return shortage(lacking)
        taken = wanted.get(self.element, 0)
        if not taken:
            return ""
        class_index = self._class_of(taken)
        if class_index is None:
            share = taken / PARTS
            return f"takes {share:g} of {self.element}, which is the demand of no class of the admission rule"
        in_service = [0] * len(self.system.classes)
        for name in ledger.holders:
            held = self._class_of(ledger.holding(name).get(self.element, 0))
            if held is not None and name != slice_.name:
                in_service[held] += 1
        if self.rule.admit(in_service, class_index):
            return ""
        return f"the admission rule keeps {self.element} for others, with {in_service} slices of each class on it"
