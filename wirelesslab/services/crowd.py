"""Arrivals of a million devices at the price of the messages that come: one clock for all."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.packet_sizes import SizeLaw, size_law
from wirelesslab.network.source_streams import Memory

BLOCK = 256  # messages drawn at once


@dataclass(frozen=True, kw_only=True)
class Crowd:
    """Independent Poisson devices, drawn as their superposition: a Poisson process that is dealt out uniformly.

    The law is that of `Poisson` for each device; the cost is that of the messages, not of the devices.

    Attributes:
        rate_per_s: Messages per second of one device.
        num_bytes: Size of every message, or a law of sizes.
    """

    rate_per_s: float
    num_bytes: int | SizeLaw

    def __post_init__(self) -> None:
        check.positive(rate_per_s=self.rate_per_s)
        size_law(self.num_bytes)

    @property
    def mean_rate_bps(self) -> float:
        """Offered rate of one device."""
        return 8 * self.rate_per_s * size_law(self.num_bytes).mean_bytes

    def begin(self, rng: np.random.Generator, num_sources: int, /) -> Memory:
        """Return the memory at time 0: the next messages of all devices together."""
        memory: Memory = {"num_sources": np.array([num_sources]), "last_s": np.zeros(1)}
        memory["next_s"] = np.zeros(0)
        self._draw(rng, memory)
        return memory

    def _draw(self, rng: np.random.Generator, memory: Memory) -> None:
        num = int(memory["num_sources"][0])
        gaps_s = rng.exponential(1 / (self.rate_per_s * num), BLOCK)
        memory["next_s"] = np.cumsum(np.concatenate([memory["last_s"], gaps_s]))[1:]
        memory["who"] = rng.integers(num, size=BLOCK)
        memory["size"] = size_law(self.num_bytes).quantile(1 - rng.random(BLOCK))
        memory["last_s"] = memory["next_s"][-1:].copy()

    def due(
        self, rng: np.random.Generator, memory: Memory, until_s: float
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Take all messages before `until_s`; see `network.arrivals.due`."""
        columns = []
        while True:
            cut = int(np.searchsorted(memory["next_s"], until_s, side="left"))
            columns.append((memory["who"][:cut], memory["size"][:cut], memory["next_s"][:cut]))
            if cut < memory["next_s"].size:
                break
            self._draw(rng, memory)
        for name in ("who", "size", "next_s"):
            memory[name] = memory[name][cut:].copy()
        who, size, when_s = (np.concatenate(column) for column in zip(*columns, strict=True))
        return who, size, when_s

    def advance(self, _rng: np.random.Generator, _memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Refuse: a crowd has no clock of one device.

        Raises:
            TypeError: Always.
        """
        msg = f"Crowd: {sources.size} devices were asked for one by one; take traffic.Poisson for single sources"
        raise TypeError(msg)

    def ahead(
        self, rng: np.random.Generator, memory: Memory, num: int, /
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Refuse, as `advance` does.

        Raises:
            TypeError: Always.
        """
        return np.zeros(0), self.advance(rng, memory, np.arange(num))
