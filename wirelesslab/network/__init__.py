"""The 6G network: queues, radio and slices at any size, in simulated time."""

from wirelesslab.network import theory, user_schedulers
from wirelesslab.network.access import Account, Delivered, RadioAccess
from wirelesslab.network.active_set import ActiveSetAccess
from wirelesslab.network.agents.agent import Agent, DecisionRecord
from wirelesslab.network.agents.mandate import Mandate
from wirelesslab.network.agents.plans import (
    PLANS,
    ConvexShares,
    ForeseenShares,
    MaxMinShares,
    Plan,
    ProportionalShares,
    SeasonalShares,
    SquareRootShares,
    StaticShares,
)
from wirelesslab.network.agents.policy import Policy
from wirelesslab.network.agents.rehearsal import Rehearse
from wirelesslab.network.agents.rules import POLICIES, FailOver, MaxWeight, Reserve
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.failures import Outage, RandomFailures
from wirelesslab.network.flow_sharing import FlowAccess
from wirelesslab.network.flows import Flow, FlowRecord
from wirelesslab.network.movement import Movement
from wirelesslab.network.planning import Planner
from wirelesslab.network.radio import LinkBudget
from wirelesslab.network.run import Run
from wirelesslab.network.schedulers import (
    SCHEDULERS,
    EarliestDeadline,
    FirstComeFirstServed,
    RoundRobin,
    Scheduler,
    StrictPriority,
    WeightedFair,
)
from wirelesslab.network.simulation import Actor, Network
from wirelesslab.network.slice_manager import SliceManager
from wirelesslab.network.slices import EMBB, MIOT, URLLC, V2X, ResourceRatio, ServiceLevel, Slice, SNssai
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.snapshots import Snapshot
from wirelesslab.network.topology import hex_cells, line, metro, single_cell
from wirelesslab.network.trace import Trace
from wirelesslab.network.traffic import (
    TRAFFIC_MODELS,
    BetaBurst,
    Diurnal,
    ExponentialSize,
    FixedSize,
    Ftp3,
    Haptics,
    HyperexponentialSize,
    OnOff,
    ParetoSize,
    Periodic,
    Poisson,
    TrafficModel,
    TrafficTrace,
    XrVideo,
    load_trace,
)
from wirelesslab.network.twins.access_policy import AccessPolicy, AccessRefusedError, allow, audit, forbid
from wirelesslab.network.twins.feeds import Feed
from wirelesslab.network.twins.infrastructure import DigitalTwin
from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.slice_twin import SliceTwin
from wirelesslab.network.twins.sync import BudgetSync, PeriodicSync, PoissonSync, RatedSync, ThresholdSync
from wirelesslab.network.twins.users import UserTwins
from wirelesslab.network.twins.what_if import WhatIf
from wirelesslab.network.view import Action, ActionRecord, SetActive, SetRatios, SetSync, SetUp, SliceView, View

__all__ = [
    "EMBB", "MIOT", "PLANS", "POLICIES", "SCHEDULERS", "TRAFFIC_MODELS", "URLLC", "V2X", "AccessPolicy",
    "AccessRefusedError", "Account", "Action", "ActionRecord", "ActiveSetAccess", "Actor", "Agent", "BetaBurst",
    "BudgetSync", "Carriage", "Cells", "ConvexShares", "DecisionRecord", "Delivered", "Demand", "DigitalTwin",
    "Diurnal", "EarliestDeadline", "ExponentialSize", "FailOver", "Feed", "FirstComeFirstServed", "FixedSize", "Flow",
    "FlowAccess", "FlowRecord", "ForeseenShares", "Ftp3", "Haptics", "HyperexponentialSize", "LinkBudget", "Mandate",
    "MaxMinShares", "MaxWeight", "Movement", "Network", "OnOff", "Outage", "ParetoSize", "Periodic", "PeriodicSync",
    "Plan", "Planner", "Poisson", "PoissonSync", "Policy", "ProportionalShares", "RadioAccess", "RandomFailures",
    "RatedSync", "Rehearse", "Reserve", "ResourceRatio", "RoundRobin", "Run", "SNssai", "Scheduler", "SeasonalShares",
    "ServiceLevel", "SetActive", "SetRatios", "SetSync", "SetUp", "Slice", "SliceManager", "SliceTwin", "SliceView",
    "SlotAccess", "SlotRadio", "Snapshot", "SquareRootShares", "StaticShares", "StrictPriority", "ThresholdSync",
    "Trace", "TrafficModel", "TrafficTrace", "UserTwins", "View", "WeightedFair", "WhatIf", "XrVideo", "allow",
    "audit", "forbid", "hex_cells", "line", "load_trace", "metro", "single_cell", "theory", "user_schedulers",
]  # fmt: skip
