"""What it costs that every user has a twin: user-slots per second of a whole network, and its memory over time."""

import gc
import time
import tracemalloc

import numpy as np

from benchmarks.timing import verdict
from wirelesslab.network import EMBB, MIOT, URLLC, Network, Poisson, metro
from wirelesslab.network.cells import Cells, Demand
from wirelesslab.network.mobility import RandomWalk
from wirelesslab.network.movement import Movement
from wirelesslab.network.radio import LinkBudget
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.network.twins.feeds import Feed
from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.slice_twin import SliceTwin
from wirelesslab.network.twins.sync import PeriodicSync
from wirelesslab.network.twins.users import UserTwins
from wirelesslab.rng import stream

SLICES = (EMBB, URLLC, MIOT)
USERS, USERS_PER_CELL, SPACING_M = 100_000, 500, 500.0
SLOTS_PER_S, TURNS = 1000, 3


def world(num_users: int, *, twins: bool = True, num_edges: int = 4) -> Network:
    """Return users on the move, ten packets a second each, with twins that hear of each user every second or two."""
    num_cells = max(1, num_users // USERS_PER_CELL)
    side = int(np.ceil(np.sqrt(num_cells)))
    cells_m = SPACING_M * np.array([(place % side, place // side) for place in range(num_cells)], float)
    rng = stream(1, "world of twins", num_users)
    users_m = rng.uniform((0, 0), cells_m.max(axis=0) + SPACING_M, (num_users, 2))
    movement = Movement(RandomWalk(diffusion_m2_per_s=50.0), LinkBudget(), users_m, cells_m, every_s=1.0, load=0.3)
    access = SlotAccess(
        SlotRadio(buffer_bytes=20_000), SLICES, cells=movement.cells, num_cells=num_cells,
        slice_of=rng.integers(0, 3, num_users), mean_snr=movement.mean, seed=2,
    )  # fmt: skip
    # series have their own bound, 4096 points, so that a short run would not show whether they are flat
    network = Network(metro(num_gnbs=num_cells, num_edges=num_edges), SLICES, seed=3, report_s=1000.0)
    demands = [Demand(slice=s.name, model=Poisson(rate_per_s=10.0, num_bytes=850)) for s in SLICES]
    gnbs = [node for node, kind in network.graph.nodes(data="kind") if kind == "gnb"]
    cells = network.add(Cells(access, gnbs, demands, tick_s=0.01, movement=movement))
    if twins:
        carriage = Carriage(slice="miot", num_bytes=40, header_bytes=40)
        sets = (("position", "cell", "channel"), 2.0), (("demand", "served", "delay"), 1.0)
        feeds = [
            Feed(attributes=names, sync=PeriodicSync(period_s=period_s, random_phase=True), carriage=carriage)
            for names, period_s in sets
        ]
        mirrored = network.add(UserTwins(cells, feeds, clock_s=0.1, migration_slice="embb"))
        network.add(
            SliceTwin(mirrored, [s.name for s in SLICES], at="core", carriage=Carriage(slice="miot"), history=2)
        )
    return network


def user_slots_per_s() -> tuple[float, float, Network]:
    """Return user-slots per second of processor time with twins and without, and the network with twins.

    Both take turns of a simulated second, in which everybody moves once; the best turn of each counts, for other
    work on the machine only adds.
    """
    networks = {twins: world(USERS, twins=twins) for twins in (True, False)}
    best = {True: np.inf, False: np.inf}
    for turn in range(TURNS + 1):
        for twins, network in networks.items():
            start = time.thread_time()
            network.agenda.run(float(turn + 1))
            if turn:  # the first fills the queues
                best[twins] = min(best[twins], time.thread_time() - start)
    for network in networks.values():
        network.check()
    return USERS * SLOTS_PER_S / best[True], USERS * SLOTS_PER_S / best[False], networks[True]


def added_bytes(num_s: int) -> int:
    """Return what twins add to what a network holds after so many simulated seconds, garbage collected.

    The air is the same with and without them. One edge: the log of migrations has a bound of its own, a thousand.
    """
    kept = []
    for twins in (False, True):
        tracemalloc.start()
        network = world(2000, twins=twins, num_edges=1)
        network.agenda.run(float(num_s))
        gc.collect()
        kept.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    return kept[1] - kept[0]


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    rate, bare, network = user_slots_per_s()
    counts = network.actors["user-twins"].counts
    print(
        f"      {USERS} users on the move, without twins: {bare:.3g} user-slots/s; with twins {rate / bare:.2f} of that"
    )
    told = f"{counts['updates']} updates in {counts['messages']} messages, {counts['migrations']} migrations"
    print(f"      twins of them heard {told}")
    added_bytes(2)  # what is allocated once
    short, long = added_bytes(6), added_bytes(60)
    print(f"      twins of 2000 users add {short / 1024:.0f} KiB after 6 s, {long / 1024:.0f} KiB after 60 s")
    return all([
        verdict("user-slots per second at 1e5 users with twins", rate, 1e7, at_least=True),
        # What waits in the air differs from run to run by some 16 KiB: 2 % either way, and 0 over forty times the time.
        verdict("growth of what twins hold over 10x the simulated time", long / short - 1, 0.05, at_least=False),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
