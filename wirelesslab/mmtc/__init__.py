"""Massive machine-type communication: grant-free access with data embedded in the choice of pilot."""

from wirelesslab.mmtc.activity import (
    ACTIVITY_LAWS,
    ActivityTrace,
    BetaBurst,
    Clustered,
    Independent,
    load_activity,
)
from wirelesslab.mmtc.antennas import UniformLinear, UniformPlanar
from wirelesslab.mmtc.arrivals import ARRIVALS, CarrierOffset, Delayed, DelayedAndOffset, Synchronous
from wirelesslab.mmtc.channels import FADINGS, Kronecker, LocalScattering, Rayleigh, Rician
from wirelesslab.mmtc.decisions import Costed, Costs, Threshold, Thresholded, learn_threshold
from wirelesslab.mmtc.designed_pilots import Designed, OrthogonalBlocks
from wirelesslab.mmtc.detection import Assuming, Detection, Detector
from wirelesslab.mmtc.gains import GAIN_LAWS, EqualGain, PathLoss, UniformGainDb
from wirelesslab.mmtc.limits import limits
from wirelesslab.mmtc.metrics import SymbolErrorTrial, error_counts, state_errors, symbol_error_trial, symbol_errors
from wirelesslab.mmtc.pilots import CODEBOOKS, QPSK, Gaussian, PartialDFT, ZadoffChu
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.sionna_channels import CDL, SIONNA_FADINGS, TDL, RMa, UMa, UMi
from wirelesslab.mmtc.state_evolution import state_evolution
from wirelesslab.mmtc.uplink import Cell, Observation, Truth, draw_cell, simulate

__all__ = [
    "ACTIVITY_LAWS", "ARRIVALS", "CDL", "CODEBOOKS", "FADINGS", "GAIN_LAWS", "QPSK", "SIONNA_FADINGS", "TDL",
    "ActivityTrace", "Assuming", "BetaBurst", "CarrierOffset", "Cell", "Clustered", "Costed", "Costs", "Delayed",
    "DelayedAndOffset", "Designed", "Detection", "Detector", "EqualGain", "Gaussian", "Independent", "Kronecker",
    "LocalScattering", "Observation", "OrthogonalBlocks", "PartialDFT", "PathLoss", "RMa", "Rayleigh", "Rician",
    "Scenario", "SymbolErrorTrial", "Synchronous", "Threshold", "Thresholded", "Truth", "UMa", "UMi", "UniformGainDb",
    "UniformLinear", "UniformPlanar", "ZadoffChu", "draw_cell", "error_counts", "learn_threshold", "limits",
    "load_activity", "simulate", "state_errors", "state_evolution", "symbol_error_trial", "symbol_errors",
]  # fmt: skip
