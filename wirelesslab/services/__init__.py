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
from wirelesslab.services.delivery import Delivery
from wirelesslab.services.delivery_files import Release
from wirelesslab.services.delivery_records import Download
from wirelesslab.services.inference import Inference
from wirelesslab.services.inference_images import EncodedImages, Png, Raw
from wirelesslab.services.inference_models import GoodMask, ServedModel
from wirelesslab.services.inference_policies import AlwaysDevice, AlwaysEdge, BestInTime, LeastDelay
from wirelesslab.services.inference_records import Batching, Request
from wirelesslab.services.inference_times import RequestTime
from wirelesslab.services.training import Costs, DistributedTraining, Round

__all__ = [
    "AlwaysDevice", "AlwaysEdge", "Batching", "BestInTime", "Costs", "Crowd", "Delivery", "DistributedTraining",
    "Download", "EncodedImages", "FrameAccess", "FrameOutcomes", "Framing", "GoodMask", "GrantFreeAccess", "InLoop",
    "Inference", "LeastDelay", "LoadEstimate", "OwnedPilots", "Png", "Raw", "Release", "Request", "RequestTime",
    "Round", "ServedModel", "SharedPilots", "TabulatedAccess", "tabulate",
]  # fmt: skip
