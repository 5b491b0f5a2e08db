"""Honest timing on a machine that does other things too: interleaved rounds, medians, the load beside them."""

import os
import statistics
import time
from collections.abc import Callable, Mapping

TURN_S = 0.6


def interleaved_seconds(work: Mapping[str, Callable[[], object]], rounds: int = 5) -> dict[str, float]:
    """Return the median seconds of each piece of work, at its sustained pace.

    The pieces take turns of at least `TURN_S` seconds, so that a slow spell of the machine hits all of
    them alike. The first half of each turn is thrown away: compilation, cold caches, and the threads
    of the piece before, which BLAS keeps spinning for a while.
    """
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(rounds):
        for name, function in work.items():
            turn: list[float] = []
            while sum(turn) < TURN_S or len(turn) < 4:
                start = time.perf_counter()
                function()
                turn.append(time.perf_counter() - start)
            seconds[name] += turn[len(turn) // 2 :]
    return {name: statistics.median(values) for name, values in seconds.items()}


def load() -> str:
    """Return the machine's load averages, for the record."""
    return ", ".join(f"{value:.2f}" for value in os.getloadavg())


def verdict(name: str, value: float, bar: float, *, at_least: bool) -> bool:
    """Print a measured ratio beside its bar; return whether it holds."""
    holds = value >= bar if at_least else value <= bar
    print(f"{'ok  ' if holds else 'MISS'}  {name}: {value:.3g} ({'at least' if at_least else 'at most'} {bar:g})")
    return holds
