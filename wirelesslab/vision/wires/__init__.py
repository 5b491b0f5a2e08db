"""Wires: gradients as bytes, there and back, one exchange or several per step."""

from wirelesslab.vision.wires.feedback import SignSGD, TopK
from wirelesslab.vision.wires.float32 import Float32
from wirelesslab.vision.wires.messages import Layout, WireError
from wirelesslab.vision.wires.qsgd import QSGD
from wirelesslab.vision.wires.ternary import Ternary
from wirelesslab.vision.wires.wire import Wire, WireState

WIRES = (Float32, Ternary, QSGD, SignSGD, TopK)

__all__ = ["QSGD", "WIRES", "Float32", "Layout", "SignSGD", "Ternary", "TopK", "Wire", "WireError", "WireState"]
