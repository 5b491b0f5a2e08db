"""Grant-free access inside the network: simulated time, a detector or its table, and flows into the core."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc.detection import Detector
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.network.arrivals import TrafficModel
from wirelesslab.network.cells import Cells, Demand, UserMeters
from wirelesslab.network.flows import Flow
from wirelesslab.network.slices import ResourceRatio
from wirelesslab.services.crowd import Crowd
from wirelesslab.services.frame_access import FrameAccess
from wirelesslab.services.frames import FrameOutcomes, InLoop, OwnedPilots, SharedPilots
from wirelesslab.services.framing import Framing, LoadEstimate
from wirelesslab.services.tables import TabulatedAccess, tabulate

if TYPE_CHECKING:
    from wirelesslab.network.simulation import Network

__all__ = [
    "Crowd", "FrameAccess", "FrameOutcomes", "Framing", "GrantFreeAccess", "InLoop", "LoadEstimate", "OwnedPilots",
    "SharedPilots", "TabulatedAccess", "tabulate",
]  # fmt: skip


class GrantFreeAccess:
    """Cells of devices that speak without a grant, as an actor: `network.add(GrantFreeAccess(...))`.

    Messages come in simulated time, are said in frames (see `Framing` for the rules), and a detector decides what
    was heard. What got through goes on as flows from the cell's node to `sink`, sent when the message came. All
    devices belong to one slice; if other slices are reserved a share of the radio, their turns stay empty.

    Args:
        scenario: The devices of one codebook, and the air.
        detector: Who listens: a detector, in the loop, or a `FrameOutcomes` such as `TabulatedAccess.load(path)`.
        at: The cell's node, or several, one for each cell.
        slice: Slice of the devices.
        sink: Where messages go; "" ends them in the cell.
        traffic: What each device says; a `Crowd` costs only what is said.
        devices: In each cell; as many as one codebook has when None.
        slot_s: Time from one frame to the next, when no framing is given.
        framing: How messages become frames; by default a frame every `slot_s`, in one band.
        activity_prob: The ε that the detector is told: "assumed" is the scenario's, "estimated" follows the load
            (`LoadEstimate()`, or one with other numbers).
        together: Send on what a cell delivered in a tick as one flow: for very many devices.
        tick_s: Spacing of the clock at which what got through is sent on.
        name: Name as an actor; also names the streams of its randomness.

    Raises:
        ValueError: Framing, scenario and outcomes disagree, a cell is named twice, or the devices say nothing in
            their pilots (J = 0).
        TypeError: `detector` neither detects nor hears, or is the class of one that does.
    """

    movement = None  # a codebook belongs to its cell, and so do its devices
    uplink_only = True  # flows to users at the same gNB are another radio's

    def __init__(
        self,
        scenario: Scenario,
        detector: Detector | FrameOutcomes,
        *,
        at: str | Sequence[str] = "gnb-1",
        slice: str = "miot",
        sink: str = "",
        traffic: TrafficModel,
        devices: int | None = None,
        slot_s: float = 1e-3,
        framing: Framing | None = None,
        activity_prob: Literal["assumed", "estimated"] | LoadEstimate = "assumed",
        together: bool = False,
        tick_s: float = 0.01,
        name: str = "grant-free",
    ) -> None:
        if not scenario.bits_per_device:
            msg = "scenario: got bits_per_device=0, expected at least 1; messages are said in the choice of pilot"
            raise ValueError(msg)
        check.positive(tick_s=tick_s)
        self.scenario, self.name, self.tick_s = scenario, name, tick_s
        self.cell_nodes = (at,) if isinstance(at, str) else tuple(at)
        if not self.cell_nodes or len(set(self.cell_nodes)) < len(self.cell_nodes):
            msg = f"at: got {self.cell_nodes}, expected nodes, each once; a cell grows by devices and codebooks"
            raise ValueError(msg)
        self.framing = framing or Framing(
            slot_s=slot_s, bits_per_frame=scenario.bits_per_device, num_devices=scenario.num_devices
        )
        own = {"num_devices": scenario.num_devices, "bits_per_frame": scenario.bits_per_device}
        other = {key: getattr(self.framing, key) for key in own}
        if own != other:
            msg = f"framing: got {other}, expected the scenario's {own}; Framing.of(scenario, symbol_s=...) agrees"
            raise ValueError(msg)
        self.outcomes: FrameOutcomes
        if hasattr(detector, "hear") and not isinstance(detector, type):
            self.outcomes = cast(FrameOutcomes, detector)
        else:
            self.outcomes = InLoop(scenario, cast(Detector, detector))
        if isinstance(self.outcomes, TabulatedAccess):
            self.outcomes.check_scenario(scenario)
        if isinstance(self.outcomes, InLoop) and self.outcomes.scenario != scenario:
            msg = f"detector: listens in {self.outcomes.scenario}, expected the devices' own {scenario}"
            raise ValueError(msg)
        if isinstance(activity_prob, str):
            check.one_of(("assumed", "estimated"), activity_prob=activity_prob)
        self.estimate = None if activity_prob == "assumed" else LoadEstimate()
        if isinstance(activity_prob, LoadEstimate):
            self.estimate = activity_prob
        self.devices = scenario.num_devices if devices is None else devices
        check.positive_integer(devices=self.devices)
        self.demand = Demand(slice=slice, model=traffic, sink=sink, together=together)
        self._cells: Cells | None = None

    # --- the actor ---------------------------------------------------------------------------------------

    def join(self, network: "Network") -> None:
        """Take a place in the network; called by `Network.add`."""
        num = len(self.cell_nodes) * self.devices
        access = FrameAccess(
            network.slices,
            cells=np.repeat(np.arange(len(self.cell_nodes)), self.devices),
            slice_of=np.full(num, network.slice_index(self.demand.slice)),
            framing=self.framing,
            outcomes=self.outcomes,
            rng=network.rng("air", self.name),
            estimate=self.estimate,
            now_s=network.now_s,
        )
        self._cells = Cells(access, self.cell_nodes, (self.demand,), tick_s=self.tick_s, name=self.name)
        self._cells.join(network)

    @property
    def cells(self) -> Cells:
        """The cells in which the devices are.

        Raises:
            RuntimeError: It lives in no network yet.
        """
        if self._cells is None:
            msg = f"{self.name}: lives in no network yet; say network.add(...) first"
            raise RuntimeError(msg)
        return self._cells

    @property
    def access(self) -> FrameAccess:
        """The radio."""
        access = self.cells.access
        assert isinstance(access, FrameAccess)
        return access

    def tick(self) -> None:
        """Offer what came since the last tick, compute, and send on; called by the agenda."""
        self.cells.tick()

    def gauges(self) -> Mapping[str, float]:
        """Return what a report of the network shows of it, over all cells."""
        access, counts = self.access, self.access.counts()
        account, frames = access.account(), int(counts["frames_spoken"].sum())
        delivered = int(account.delivered_packets.sum())
        energy = access.framing.frame_energy_j * frames / delivered if delivered else float("nan")
        return {
            "messages waiting": float(account.waiting_packets.sum()),
            "frames spoken": float(frames),
            "segments missed": float(counts["missed"].sum()),
            "messages begun anew": float(counts["restarts"].sum()),
            "joules per message": energy,
        }

    # --- what networks, twins and reports ask of cells ----------------------------------------------------------

    @property
    def ticked_s(self) -> float:
        """The time of the last tick."""
        return self.cells.ticked_s

    def meters(self) -> UserMeters:
        """Return what has been counted for each device since this was first asked for."""
        return self.cells.meters()

    def check_user(self, user: int, slice_name: str) -> None:
        """Refuse flows to devices: they speak, and are not spoken to.

        Raises:
            ValueError: Always.
        """
        msg = f"user: got a flow of {slice_name} for device {user} of {self.name}, which has an uplink only"
        raise ValueError(msg)

    def deliver_to_user(self, number: int, flow: Flow, now_s: float) -> None:
        """Hand a flow to the cells; none ever passes `check_user`."""
        self.cells.deliver_to_user(number, flow, now_s)

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """Hold the slices to these shares of every codebook's turns."""
        self.cells.set_ratios(ratios)

    def set_cell_up(self, node: str, up: bool) -> None:
        """Take the cell at a gNB out of service or back."""
        self.cells.set_cell_up(node, up)

    def check(self) -> None:
        """Assert conservation and Little's law in the air."""
        self.cells.check()

    def state(self) -> dict[str, Any]:
        """Return all that changes, by reference; the network copies it."""
        return self.cells.state()

    def restored(self, network: "Network", state: Mapping[str, Any]) -> "GrantFreeAccess":
        """Return this as it was when `state` was copied, in another network."""
        fresh = object.__new__(GrantFreeAccess)
        fresh.__dict__.update(self.__dict__)
        fresh._cells = self.cells.restored(network, state)
        return fresh
