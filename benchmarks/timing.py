"""Honest timing on a machine that does other things too: interleaved rounds, medians, the load beside them."""

import os
import statistics
import time
from collections.abc import Callable, Mapping


def interleaved_seconds(work: Mapping[str, Callable[[], object]], rounds: int = 7) -> dict[str, float]:
    """Return the median seconds of each piece of work.

    The pieces take turns, so that a slow spell of the machine hits all of them alike; the first
    round (compilation, caches) is thrown away.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for round_number in range(rounds + 1):
        for name, function in work.items():
            start = time.perf_counter()
            function()
            if round_number:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def load() -> str:
    """Return the machine's load averages, for the record."""
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def verdict(name: str, value: float, bar: float, *, at_least: bool) -> bool:
    """Print a measured ratio beside its bar; return whether it holds."""
    holds = value >= bar if at_least else value <= bar
    print(f"{'ok  ' if holds else 'MISS'}  {name}: {value:.3g} ({'at least' if at_least else 'at most'} {bar:g})")
    return holds
