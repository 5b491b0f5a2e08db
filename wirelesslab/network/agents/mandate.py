"""How far an agent's hand reaches, and what it must leave to others."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from wirelesslab import check
from wirelesslab.network.slices import DOMAINS, Domain, ResourceRatio
from wirelesslab.network.view import Action, SetActive, SetRatios, SetSync, SetUp, kept_for

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

Kind = Literal["ratios", "up", "active", "sync"]
KINDS: tuple[Kind, ...] = ("ratios", "up", "active", "sync")
ROUNDING = 1e-9  # shares are said to nine digits


@dataclass(frozen=True, kw_only=True)
class Mandate:
    """What an agent may change. A wish outside it is refused and recorded.

    A `floor` makes an agent an operator: it works inside what a planner has reserved in the running window. It
    may give a slice more than the reserved dedicated and min shares and never less, and a ceiling at or below the
    reserved one and never a higher one. What is checked is the reservation in force when the wish arrives.

    Attributes:
        kinds: "ratios" (`SetRatios`), "up" (`SetUp`), "active" (`SetActive`), "sync" (`SetSync`).
        domains: Of shares.
        elements: Links and nodes; () means all of them, and the whole of a domain at once.
        slices: Names; () means all.
        twins: Names of those whose sync rates it may set; () means all.
        floor: Name of the planner whose reservations it works inside; "" if there is none.
    """

    kinds: tuple[Kind, ...] = KINDS
    domains: tuple[Domain, ...] = DOMAINS
    elements: tuple[str, ...] = ()
    slices: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    floor: str = ""

    def __post_init__(self) -> None:
        for name, choices in (
            ("kinds", KINDS),
            ("domains", DOMAINS),
            ("elements", None),
            ("slices", None),
            ("twins", None),
        ):
            values = getattr(self, name)
            if isinstance(values, str):
                msg = f"{name}: got {values!r}, expected several, such as ({values!r},)"
                raise TypeError(msg)
            for value in values if choices is not None else ():
                check.one_of(choices or (), **{name: value})

    def check(self, network: "Network") -> None:
        """Refuse a mandate over what the network does not have.

        Raises:
            ValueError: It names a slice, an element, a twin or a planner that is not there.
        """
        for name in self.slices:
            network.slice_index(name)
        for element in self.elements:
            network.check_element(element)
        for twin in self.twins:
            if not hasattr(network.seen(twin), "set_rates"):
                msg = f"twins: got {twin!r}, expected one whose sync rates can be set"
                raise ValueError(msg)
        if self.floor:
            try:
                network.in_force(self.floor)
            except ValueError as error:
                msg = str(error).replace("in_force:", "floor:")
                raise ValueError(msg) from None

    def forbids(self, action: Action, network: "Network") -> str:
        """Return why an action is outside the mandate; "" if it is inside."""
        if isinstance(action, SetRatios):
            return (
                self._outside("kinds", "ratios")
                or self._outside("domains", action.domain)
                or self._outside("elements", action.element or f"all of {action.domain}", every=not action.element)
                or "".join(self._outside("slices", name) for name in action.ratios)
                or self._below(action, network)
            )
        if isinstance(action, SetUp):
            return self._outside("kinds", "up") or self._outside("elements", action.element)
        if isinstance(action, SetActive):
            return self._outside("kinds", "active") or self._outside("slices", action.slice)
        if isinstance(action, SetSync):
            return self._outside("kinds", "sync") or self._outside("twins", action.twin)
        return ""  # no action: the network refuses it

    def _outside(self, name: str, value: str, *, every: bool = False) -> str:
        allowed = getattr(self, name)
        may_all = not allowed and name in {"elements", "slices", "twins"}
        if may_all or (value in allowed and not every):
            return ""
        return f"outside the mandate: {name} are {', '.join(allowed) or 'none'}, got {value}"

    def _below(self, action: SetRatios, network: "Network") -> str:
        reserved = self.reserved(network)
        for name, wished in action.ratios.items():
            kept = kept_for(reserved, name, action.domain, action.element)
            if min(wished.dedicated - kept.dedicated, wished.min - kept.min, kept.max - wished.max) < -ROUNDING:
                return (
                    f"outside the reservation: {self.floor} keeps {_said(kept)} (dedicated/min/max) for {name}, "
                    f"got {_said(wished)}"
                )
        return ""

    def reserved(self, network: "Network") -> Mapping[tuple[Domain, str], Mapping[str, ResourceRatio]]:
        """Return what the planner has reserved, by (domain, element or "") and slice: what an operator is shown."""
        return {place: dict(ratios) for place, ratios in network.in_force(self.floor).items()} if self.floor else {}


def _said(ratio: ResourceRatio) -> str:
    return f"{ratio.dedicated:g}/{ratio.min:g}/{ratio.max:g}"
