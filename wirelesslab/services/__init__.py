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

__all__ = [
    "Crowd", "FrameAccess", "FrameOutcomes", "Framing", "GrantFreeAccess", "InLoop", "LoadEstimate", "OwnedPilots",
    "SharedPilots", "TabulatedAccess", "tabulate",
]  # fmt: skip
