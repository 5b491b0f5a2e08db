"""The hall: services in which the wings meet."""

from wirelesslab.services.access import (
    Crowd,
    FrameAccess,
    FrameOutcomes,
    Framing,
    GrantFreeAccess,
    InLoop,
    LoadEstimate,
    OwnedPilots,
    SharedPilots,
    TabulatedAccess,
    tabulate,
)
from wirelesslab.services.training import Costs, DistributedTraining, Round

__all__ = [
    "Costs", "Crowd", "DistributedTraining", "FrameAccess", "FrameOutcomes", "Framing", "GrantFreeAccess", "InLoop",
    "LoadEstimate", "OwnedPilots", "Round", "SharedPilots", "TabulatedAccess", "tabulate",
]  # fmt: skip
