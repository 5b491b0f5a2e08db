"""A small world whose users have twins: four cells in a row, an edge for every two of them, a slow ring."""

import numpy as np

from wirelesslab.network import EMBB, MIOT, Network, Poisson
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.handover import A3
from wirelesslab.network.mobility import RandomWalk
from wirelesslab.network.movement import Movement
from wirelesslab.network.radio import LinkBudget
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.topology import add_link, add_node
from wirelesslab.network.twins.users import UserTwins

SLICES = (EMBB, MIOT)
NODES = ("gnb-1", "gnb-2", "gnb-3", "gnb-4")
CELLS_M = np.array([[-600.0, 0.0], [-200.0, 0.0], [200.0, 0.0], [600.0, 0.0]])
RING_BPS, RING_DELAY_S = 8e6, 0.005


def graph():
    import networkx as nx

    net = nx.DiGraph()
    for place, node in enumerate(NODES):
        add_node(net, node, "gnb", tuple(CELLS_M[place]))
    for edge, x in (("edge-1", -400.0), ("edge-2", 400.0)):
        add_node(net, edge, "edge", (x, 0.0), operations_per_s=1e9, num_servers=1)
    add_node(net, "core", "core", (0.0, 5000.0))
    for place, node in enumerate(NODES):
        add_link(net, node, f"edge-{1 + place // 2}", rate_bps=80e6, delay_s=0.001)
    add_link(net, "edge-1", "edge-2", rate_bps=RING_BPS, delay_s=RING_DELAY_S)
    for edge in ("edge-1", "edge-2"):
        add_link(net, edge, "core", rate_bps=80e6, delay_s=0.02)
    return net


def world(feeds, *, num_users=40, mobility=None, seed=1, users_m=None, rate_per_s=5.0, every_s=0.01, **options):
    """Return a network, its cells and its users' twins."""
    network, cells = cells_world(
        num_users=num_users, mobility=mobility, seed=seed, users_m=users_m, rate_per_s=rate_per_s, every_s=every_s,
        tick_s=options.pop("tick_s", 0.01), **options.pop("network", {}),
    )  # fmt: skip
    return network, cells, network.add(UserTwins(cells, feeds, **options))


def cells_world(
    *, num_users=40, mobility=None, seed=1, users_m=None, rate_per_s=5.0, every_s=0.01, tick_s=0.01, **options
):
    """Return a network and its cells, whose users have no twins."""
    mobility = mobility or RandomWalk(diffusion_m2_per_s=400.0)
    if users_m is None:
        users_m = np.random.default_rng(seed).uniform((-700, -100), (700, 100), (num_users, 2))
    num_users = len(users_m)
    network = Network(graph(), SLICES, seed=seed, segment_bytes=10**9, **options)
    budget = LinkBudget(bandwidth_hz=5e6, shadowing=False, line_of_sight="always")
    rule = A3(hysteresis_db=1.0, time_to_trigger_s=0.0)
    movement = Movement(mobility, budget, users_m, CELLS_M, rule=rule, every_s=every_s, seed=seed)
    access = SlotAccess(
        SlotRadio(slot_s=1e-3, bandwidth_hz=5e6), SLICES, cells=movement.cells, num_cells=len(NODES),
        slice_of=np.arange(num_users) % 2, mean_snr=movement.mean, seed=seed,
    )  # fmt: skip
    demands = (
        Demand(slice="embb", model=Poisson(rate_per_s=rate_per_s, num_bytes=1500)),
        Demand(slice="miot", model=Poisson(rate_per_s=rate_per_s, num_bytes=200)),
    )
    if num_users < 2:
        demands = demands[:1]
    return network, network.add(Cells(access, NODES, demands, tick_s=tick_s, movement=movement))
