"""A million grant-free devices on one core: simulated seconds per second, and memory over time."""

import time
import tracemalloc

import numpy as np

from benchmarks.timing import verdict
from wirelesslab.mmtc import Scenario
from wirelesslab.mmtc.detectors import MatchedFilter
from wirelesslab.network import MIOT, Network, line
from wirelesslab.services import Crowd, Framing, GrantFreeAccess, TabulatedAccess, tabulate
from wirelesslab.threads import one_thread

SCENARIO = Scenario(num_devices=200, bits_per_device=2, pilot_length=48, num_antennas=8, snr_db=5.0, activity_prob=0.01)
CELLS, DEVICES, FILL_S, TURN_S, TURNS = 4, 250_000, 12.0, 10.0, 4


def city(table: TabulatedAccess, devices: int = DEVICES) -> Network:
    """Return a network of four cells whose devices say 32 bytes every two hours."""
    network = Network(line(num_links=CELLS, rate_bps=1e9), (MIOT,), seed=1)
    network.add(GrantFreeAccess(
        SCENARIO, table, at=tuple(f"edge-{c + 1}" for c in range(CELLS)), sink=f"edge-{CELLS + 1}", devices=devices,
        framing=Framing.of(SCENARIO, symbol_s=1 / 168e3, bands=4), traffic=Crowd(rate_per_s=1 / 7200, num_bytes=32),
        tick_s=0.1,
    ))  # fmt: skip
    return network


def peak_bytes(table: TabulatedAccess, until_s: float) -> int:
    """Return the largest memory of a smaller city up to `until_s`, all of it included."""
    tracemalloc.start()
    city(table, 50_000).run(until_s)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def main() -> bool:
    """Print every figure beside its bar; return whether all hold."""
    with one_thread():
        table = tabulate(SCENARIO, MatchedFilter(), active=range(13), frames=16, draws=4)
        network = city(table)
        network.run(FILL_S)  # until as many messages are under way as in the long run
        seconds = []
        for turn in range(TURNS):
            start = time.thread_time()
            network.run(FILL_S + (turn + 1) * TURN_S)
            seconds.append(time.thread_time() - start)
        network.check()
        access = network.actors["grant-free"].access
        frames = access.counts()["frames_spoken"].sum() / network.now_s
        print(f"      {access.cells.size} devices, {access.num_active} with a message, {frames:.3g} frames per second")
        short, long = peak_bytes(table, 20.0), peak_bytes(table, 100.0)
    return all([
        verdict("simulated over processor seconds, 1e6 devices", TURN_S / np.median(seconds), 3, at_least=True),
        verdict("growth of memory over 5x the simulated time", long / short - 1, 0.05, at_least=False),
    ])  # fmt: skip


if __name__ == "__main__":
    main()
