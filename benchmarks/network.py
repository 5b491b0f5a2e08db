"""The network's speed on one core: user-slots per second, how cost grows, memory over time, a customer's cost."""

import time
import tracemalloc
from collections.abc import Generator
from typing import Any

import numpy as np
import simpy

from benchmarks.timing import verdict
from wirelesslab.network import EMBB, ExponentialSize, Network, Poisson, line
from wirelesslab.network.workloads import SlottedUsers, Workload, fitted_exponent, seconds_per_step
from wirelesslab.rng import stream

USERS = (10_000, 100_000, 1_000_000)
CUSTOMERS, LOAD, TURNS = 30_000, 0.8, 7


def peak_bytes(num_users: int, num_slots: int) -> int:
    """Return the largest memory during a run of so many slots, its packets drawn as it goes."""
    workload = SlottedUsers()
    radio, rng = workload.radio(num_users), stream(4, "memory")
    rate = num_users * workload.packets_per_user_s * workload.step_s
    tracemalloc.start()
    for _ in range(num_slots):
        count = int(rng.poisson(rate))
        radio.offer(rng.integers(0, num_users, count), rng.integers(*workload.num_bytes, count))
        radio.advance(radio.now_s + workload.step_s)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def queue() -> Network:
    """Return an M/M/1 queue in a whole network: a link that sends a mean packet in a second."""
    network = Network(
        line(num_links=1, rate_bps=8e5, distance_m=1e-3), (EMBB,), seed=1, segment_bytes=10**9, report_s=100.0
    )
    network.add(Poisson(
        EMBB, source="edge-1", sink="edge-2", rate_per_s=LOAD, num_bytes=ExponentialSize(1e5), name="arrivals"
    ))  # fmt: skip
    return network


def arrivals() -> tuple[list[float], list[float]]:
    """Return the gaps and service times of that queue's customers."""
    network = queue()
    model, rng = network.actors["arrivals"], network.rng("traffic", "arrivals")
    times_s, num_bytes = model.ahead(rng, model.begin(rng, 1), CUSTOMERS)
    return np.diff(times_s, prepend=0.0).tolist(), (8 * num_bytes / 8e5).tolist()


def raw_simpy(gaps_s: list[float], service_s: list[float]) -> tuple[float, float]:
    """Serve them as SimPy's tutorial does, a process per customer; return processor time and mean time inside."""
    env = simpy.Environment()
    server = simpy.Resource(env)
    inside_s: list[float] = []

    def customer(needs_s: float) -> Generator[simpy.Event, Any, None]:
        came_s = env.now
        with server.request() as turn:
            yield turn
            yield env.timeout(needs_s)
        inside_s.append(env.now - came_s)

    def source() -> Generator[simpy.Event, Any, None]:
        for gap_s, needs_s in zip(gaps_s, service_s, strict=True):
            yield env.timeout(gap_s)
            env.process(customer(needs_s))

    env.process(source())
    start = time.thread_time()
    env.run()
    return time.thread_time() - start, float(np.mean(inside_s))


def whole_network(end_s: float) -> tuple[float, float, int]:
    """Serve them in a network; return processor time, mean delay, and how many there were."""
    network = queue()
    start = time.thread_time()
    network.agenda.run(end_s)
    took = time.thread_time() - start
    network.check()
    delivered = network.book.ended_flows["delivered"][0]
    return took, network.book.delay_seconds[0] / delivered, delivered


def customer_cost() -> bool:
    """Compare the two, in turns; the best of each counts, for other work on the machine only adds."""
    gaps_s, service_s = arrivals()
    end_s = float(np.sum(gaps_s)) + 1e-3  # the network draws ahead and would go on
    raw, ours = [], []
    for _ in range(TURNS):
        raw.append(raw_simpy(gaps_s, service_s))
        ours.append(whole_network(end_s))
    per_raw, per_ours = min(r[0] for r in raw) / CUSTOMERS, min(o[0] for o in ours) / ours[0][2]
    means = f"mean time inside {raw[0][1]:.3f} s and {ours[0][1]:.3f} s"
    each = f"raw SimPy {1e6 * per_raw:.1f} us, network {1e6 * per_ours:.1f} us"
    print(f"      M/M/1 customer at load {LOAD}: {each}; {means}")
    return verdict("an M/M/1 customer in a whole network over raw SimPy's", per_ours / per_raw, 2.0, at_least=False)


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    systems: dict[str, tuple[Workload, int]] = {f"{users} users": (SlottedUsers(), users) for users in USERS}
    others = {"100000 saturated users": (SlottedUsers(saturated=True), 100_000), "20 users": (SlottedUsers(), 20)}
    costs = seconds_per_step(systems | others)
    cost = {name: float(np.median(seconds)) for name, seconds in costs.items()}
    for name, (_, users) in (systems | others).items():
        print(f"      {name}: {1e3 * cost[name]:.3f} ms per slot, {users / cost[name]:.3g} user-slots/s")
    grown = fitted_exponent(
        np.repeat(USERS, [costs[name].size for name in systems]), np.concatenate([costs[name] for name in systems])
    )
    print(f"      cost exponent, 1e4 to 1e6 users: {grown.value:.3f} ({grown.low:.3f} to {grown.high:.3f})")
    peak_bytes(2_000, 10)  # what is allocated once
    short, long = peak_bytes(2_000, 400), peak_bytes(2_000, 4_000)
    rate, saturated = 1e5 / cost["100000 users"], 1e5 / cost["100000 saturated users"]
    return all([
        verdict("user-slots per second at 1e5 users", rate, 1e7, at_least=True),
        verdict("user-slots per second at 1e5 saturated users", saturated, 1e7, at_least=True),
        verdict("cost exponent, 1e4 to 1e6 users", grown.value, 1.05, at_least=False),
        verdict("microseconds per slot at 20 users", 1e6 * cost["20 users"], 30, at_least=False),
        verdict("growth of memory over 10x the simulated time", long / short - 1, 0.01, at_least=False),
        customer_cost(),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
