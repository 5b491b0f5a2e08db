"""``make bench``: every speed claim as a ratio in one run."""

import sys

from benchmarks import access, detectors, few_shot, network, studies, tasks, twins, wires
from benchmarks.timing import load
from wirelesslab.threads import available_cores

if __name__ == "__main__":
    print(f"{available_cores()} cores, load averages before: {load()}")
    held = [
        detectors.main(),
        studies.main(),
        network.main(),
        twins.main(),
        access.main(),
        wires.main(),
        tasks.main(),
        few_shot.main(),
    ]
    print(f"load averages after: {load()}")
    sys.exit(not all(held))
