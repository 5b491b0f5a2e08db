"""The life of slices on a network: what is admitted is reserved in every cell, on every link and server."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from wirelesslab.network.ledger import Element, Ledger, ReservationRule
from wirelesslab.network.life_cycle import Decision, LifeCycle
from wirelesslab.network.queues import check_ratios
from wirelesslab.network.slices import DOMAINS, ResourceRatio, Slice
from wirelesslab.network.view import SetActive, SetRatios

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network


class SliceManager:
    """Takes a network's slices through their lives; while it is there, a slice carries traffic only when active.

    As an actor it starts from nothing: all slices are switched off and hold no share until they are prepared,
    admitted and activated. The guaranteed share (`min`) of each domain is booked on all its elements.

    Args:
        rule: Who may reserve what; `AdmitWhatFits` unless given.
        name: Its name as an actor.

    Examples:
        >>> from wirelesslab.network import EMBB, Network, line
        >>> network = Network(line(num_links=1, rate_bps=1e6), (EMBB,))
        >>> manager = network.add(SliceManager())
        >>> manager.prepare("embb")
        >>> bool(manager.admit("embb"))
        True
        >>> manager.activate("embb")
        >>> network.view().slices["embb"].active
        True
    """

    def __init__(self, rule: ReservationRule | None = None, *, name: str = "slice-manager") -> None:
        self.rule, self.name = rule, name

    def join(self, network: "Network") -> None:
        """Take over the network's slices; called by `Network.add`."""
        self._network = network
        self.elements: tuple[Element, ...] = (
            *(("radio", node) for node, kind in network.graph.nodes.items() if kind["kind"] == "gnb"),
            *(("transport", link) for link in network.links),
            *(("compute", node) for node in network.servers),
        )
        self.life = LifeCycle(Ledger(dict.fromkeys(self.elements, 1.0)), self.rule)
        for s in network.slices:
            self._release(s.name)

    def prepare(self, name: str, slice_: Slice | None = None) -> None:
        """Prepare a slice of the network, with other promises and shares if `slice_` says so.

        Raises:
            ValueError: The network has no such slice, or it is alive already.
        """
        own = self._network.slices[self._network.slice_index(name)]
        slice_ = slice_ or own
        if (slice_.name, slice_.snssai) != (name, own.snssai):
            msg = f"slice_: got {slice_.name} of S-NSSAI {slice_.snssai}, expected {name} of {own.snssai}"
            raise ValueError(msg)
        self._check_servers(slice_)
        self.life.prepare(slice_, self.elements, time_s=self._network.now_s)

    def admit(self, name: str) -> Decision:
        """Book what a prepared slice needs; a false decision says what is lacking, and books nothing."""
        return self.life.admit(name, time_s=self._network.now_s)

    def activate(self, name: str) -> None:
        """Put the booked shares into force and let the slice carry traffic."""
        self.life.activate(name, time_s=self._network.now_s)
        self._enforce(self.life.booking(name).slice_)
        self._network.apply(SetActive(slice=name, active=True), by=self.name)

    def deactivate(self, name: str) -> None:
        """Stop a slice's traffic; what it booked stays booked."""
        self.life.deactivate(name, time_s=self._network.now_s)
        self._network.apply(SetActive(slice=name, active=False), by=self.name)

    def modify(self, name: str, slice_: Slice) -> Decision:
        """Give a living slice other shares; if they do not fit, everything stays as it was."""
        self._check_servers(slice_)
        decision = self.life.modify(name, slice_, time_s=self._network.now_s)
        if decision and self.life.state(name) == "active":
            self._enforce(slice_)
        return decision

    def terminate(self, name: str) -> None:
        """End a slice: no traffic, no shares, nothing booked."""
        self.life.terminate(name, time_s=self._network.now_s)
        self._release(name)

    def _check_servers(self, slice_: Slice) -> None:
        """Refuse a dedicated share that some node cannot give because it is not whole servers."""
        others = (ResourceRatio(),) * (len(self._network.slices) - 1)
        for server in self._network.servers.values():
            check_ratios((slice_.compute, *others), self._network.slices, server.servers, server.name)

    def _enforce(self, slice_: Slice) -> None:
        promise = slice_.level.delay_s
        self._network.promises[self._network.slice_index(slice_.name)] = float("inf") if promise is None else promise
        for domain in DOMAINS:
            action = SetRatios(domain=domain, ratios={slice_.name: slice_.ratio(domain)})
            refused = self._network.apply(action, by=self.name).refused
            assert not refused, refused  # what was booked fits

    def _release(self, name: str) -> None:
        for domain in DOMAINS:
            self._network.apply(SetRatios(domain=domain, ratios={name: ResourceRatio()}), by=self.name)
        self._network.apply(SetActive(slice=name, active=False), by=self.name)

    def check(self) -> None:
        """Assert that no element is booked beyond its capacity, and nothing by slices that have ended."""
        self.life.ledger.check()

    def state(self) -> dict[str, Any]:
        """Return all that changes, by reference; the network copies it."""
        return {"life": self.life, "elements": self.elements}

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "SliceManager":
        """Return this manager as it was when `state` was copied, in another network."""
        fresh = SliceManager(self.rule, name=self.name)
        fresh.life, fresh.elements, fresh._network = state["life"], state["elements"], network
        return fresh
