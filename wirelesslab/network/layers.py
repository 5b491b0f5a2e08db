"""The layers of the network, and which module belongs to which.

Our reading of holistic network virtualization (see the specification of the wing): a physical layer that
carries bytes, a virtual layer of slices and twins that describes and divides it, and a control
layer that sees through `View` and changes through `Action`, both of which take time to get where they go.
A test holds every module to its layer: control touches the physical layer only through those two.
"""

from typing import Literal

Layer = Literal["laws", "physical", "virtual", "control", "report"]

LAYERS: dict[Layer, tuple[str, ...]] = {
    # What can be said without a network: closed forms, rules, geometry, statistics.
    "laws": (
        "admission", "admission_runs", "areas", "clairvoyant", "contention", "fading", "fair_rates", "packet_sizes",
        "path_loss", "recovery", "series", "shares", "statistics", "theory", "trunk_online",
        "dense_nets", "learners.dqn", "learners.evaluation", "learners.keeping", "learners.moments", "learners.nets",
        "learners.off_policy", "learners.policies", "learners.ppo", "learners.replay", "learners.sac",
        "learners.steps", "learners.training", "learners.watching",
        "twins.dense_training", "twins.forecast_skill", "twins.forecast_training",
        "twins.forecasts", "twins.predictor_training", "twins.predictors",
    ),
    # What carries bytes and computes.
    "physical": (
        "access", "active_kernels", "active_set", "actors", "agenda", "arrivals", "books", "cells", "changes",
        "device_lines", "diurnal_traffic", "failures", "flow_sharing", "flows", "handover", "manhattan",
        "media_traffic", "mobility", "movement", "processor_sharing", "queues", "radio", "routing", "schedulers",
        "settings", "simulation", "sionna_radio", "slot_kernels", "slot_offers", "slots", "snapshots", "source_streams",
        "sources", "station_books", "topology", "topology_files", "traffic", "traffic_traces", "turns",
        "user_schedulers",
    ),
    # What is promised and to whom it belongs.
    "virtual": (
        "ledger", "life_cycle", "slice_calls", "slice_manager", "slices", "twins.access_policy", "twins.aggregates",
        "twins.clock_twin", "twins.clones", "twins.feeds", "twins.foreseen_delays", "twins.infrastructure",
        "twins.infrastructure_attributes", "twins.messages", "twins.slice_twin", "twins.sync", "twins.traffic_history",
        "twins.user_attributes", "twins.user_lives", "twins.user_moves", "twins.users", "twins.walk_twins",
        "twins.what_if", "view",
    ),
    # Who decides.
    "control": (
        "agents.agent", "agents.bandits", "agents.convex", "agents.interfaces", "agents.learned", "agents.mandate",
        "agents.plans", "agents.policy", "agents.rehearsal", "agents.rules", "agents.sync_rates", "agents.ways",
        "planning",
    ),
    # What people see, and what they write.
    "report": (
        "isolation", "kpis", "layers", "report_looks", "report_map", "report_page", "report_panels", "run",
        "saved_runs", "scenario", "scenario_models", "scenario_parts", "service_report",
        "tasks.admission", "tasks.admission_judgement", "tasks.admission_kernel", "tasks.admission_rules",
        "tasks.admission_setting", "tasks.admission_training", "tasks.admission_vector", "tasks.draws",
        "tasks.handover", "tasks.handover_rules", "tasks.handover_world",
        "tasks.ai_slice", "tasks.ai_slice_choices", "tasks.ai_slice_in_network", "tasks.ai_slice_job",
        "tasks.ai_slice_judgement", "tasks.placement_judgement",
        "tasks.ai_slice_rules", "tasks.ai_slice_world",
        "tasks.placement", "tasks.placement_in_network", "tasks.placement_optimum", "tasks.placement_rows",
        "tasks.placement_rules", "tasks.placement_services",
        "tasks.registration", "tasks.slice_alloc", "tasks.slice_alloc_judgement", "tasks.slice_alloc_kernels",
        "tasks.slice_alloc_reduced", "tasks.slice_alloc_rules", "tasks.slice_alloc_worlds", "tasks.task",
        "tasks.twin_sync", "tasks.twin_sync_judgement", "tasks.twin_sync_kernels", "tasks.twin_sync_reduced",
        "tasks.twin_sync_rules", "tasks.twin_sync_setting", "theory_runs",
        "theory_runs_radio", "trace", "twins.queue_studies", "workloads", "yaml_lines",
    ),
}  # fmt: skip


def layer_of(module: str) -> Layer:
    """Return the layer of a module of the wing.

    Raises:
        ValueError: It is in none.

    Examples:
        >>> layer_of("queues")
        'physical'
    """
    for layer, modules in LAYERS.items():
        if module in modules:
            return layer
    msg = f"module: {module!r} is in no layer; name it in layers.LAYERS"
    raise ValueError(msg)
