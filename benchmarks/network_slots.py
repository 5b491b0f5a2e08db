"""How fast the slotted radio is: user-slots per second on one core, how cost grows with users, memory over time."""

import math
import time
import tracemalloc

import numpy as np
from numpy.typing import NDArray

from benchmarks.timing import verdict
from wirelesslab.network.slices import EMBB, MIOT, URLLC
from wirelesslab.network.slots import SlotAccess, SlotRadio
from wirelesslab.rng import stream

SLOT_S = 1e-3
USERS_PER_CELL = 500
PACKETS_PER_USER_S = 10.0
PACKET_BYTES = (200, 1500)  # 34 Mb/s in each cell of 20 MHz: a third of the band, more where channels are poor
USERS = (10_000, 100_000, 1_000_000)

Offers = list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def cells(num_users: int, *, saturated: bool = False) -> SlotAccess:
    """Return three slices in as many cells as `num_users` fill: fair, fading, Shannon rates."""
    rng = stream(1, "users", num_users)
    num_cells = max(1, num_users // USERS_PER_CELL)
    return SlotAccess(
        SlotRadio(slot_s=SLOT_S, buffer_bytes=200_000),
        (EMBB, URLLC, MIOT),
        cells=rng.integers(0, num_cells, num_users),
        slice_of=rng.integers(0, 3, num_users),
        mean_snr=10 ** rng.normal(1.2, 0.6, num_users),
        num_cells=num_cells,
        saturated=saturated,
        seed=2,
    )


def packets(num_users: int, num_slots: int) -> Offers:
    """Return Poisson packets of each slot, drawn beforehand: the benchmark is of the radio."""
    rng = stream(3, "packets", num_users)
    counts = rng.poisson(num_users * PACKETS_PER_USER_S * SLOT_S, num_slots)
    return [(rng.integers(0, num_users, k), rng.integers(*PACKET_BYTES, k)) for k in counts]


def run(access: SlotAccess, offers: Offers) -> None:
    """Offer and advance, slot by slot."""
    for users, sizes in offers:
        access.offer(users, sizes)
        access.advance(access.now_s + SLOT_S)


def seconds_per_slot(systems: dict[str, tuple[int, bool]], rounds: int = 5) -> dict[str, float]:
    """Return the median over rounds of the processor time of one slot, offers and accounts included.

    Processor time of this one thread, not wall time: other work on the machine then only costs its caches.
    The systems take turns, so that a slow spell hits all of them alike.

    Args:
        systems: Number of users, and whether they always have data.
        rounds: Turns.
    """
    work = {}
    for name, (num_users, saturated) in systems.items():
        num_slots = max(8, min(1000, 4_000_000 // num_users))
        nothing: Offers = [(np.zeros(0, np.int64), np.zeros(0, np.int64))] * num_slots
        access = cells(num_users, saturated=saturated)
        run(access, nothing if saturated else packets(num_users, max(60, num_slots)))  # to its steady state
        work[name] = access, nothing if saturated else packets(num_users, num_slots)
    times: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(rounds):
        for name, (access, offers) in work.items():
            start = time.thread_time()
            run(access, offers)
            times[name].append((time.thread_time() - start) / len(offers))
    for access, _ in work.values():
        access.account().check()
    return {name: float(np.median(values)) for name, values in times.items()}


def peak_bytes(num_users: int, num_slots: int) -> int:
    """Return the largest memory during a run of so many slots, its packets drawn as it goes."""
    access, rng = cells(num_users), stream(4, "memory")
    rate = num_users * PACKETS_PER_USER_S * SLOT_S
    tracemalloc.start()
    for _ in range(num_slots):
        count = int(rng.poisson(rate))
        access.offer(rng.integers(0, num_users, count), rng.integers(*PACKET_BYTES, count))
        access.advance(access.now_s + SLOT_S)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    systems = {f"{users} users": (users, False) for users in USERS}
    cost = seconds_per_slot(systems | {"100000 saturated users": (100_000, True), "20 users": (20, False)})
    for (users, _), (name, seconds) in zip(
        [*systems.values(), (100_000, True), (20, False)], cost.items(), strict=True
    ):
        print(f"      {name}: {1e3 * seconds:.3f} ms per slot, {users / seconds:.3g} user-slots/s")
    at_1e4, at_1e5, at_1e6 = (cost[name] for name in systems)
    exponent = math.log(at_1e6 / at_1e4) / math.log(100)
    peak_bytes(2_000, 10)  # what is allocated once
    short, long = peak_bytes(2_000, 400), peak_bytes(2_000, 4_000)
    held = [
        verdict("user-slots per second at 1e5 users", 1e5 / at_1e5, 1e7, at_least=True),
        verdict(
            "user-slots per second at 1e5 saturated users", 1e5 / cost["100000 saturated users"], 1e7, at_least=True
        ),
        verdict("cost exponent, 1e4 to 1e6 users", exponent, 1.05, at_least=False),
        verdict("microseconds per slot at 20 users", 1e6 * cost["20 users"], 30, at_least=False),
        verdict("memory after 10x the simulated time", long / short, 1.1, at_least=False),
    ]
    return all(held)


if __name__ == "__main__":
    main()
