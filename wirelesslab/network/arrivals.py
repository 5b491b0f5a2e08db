"""Arrivals of many sources: what a traffic model is, and what is due.

A model's whole state is `memory`, a dict of arrays with one row per source. Randomness sits there too
(see `source_streams`), so a source's arrivals are the same however time is cut into steps, whichever
sources are served beside it, and whether they are drawn one by one or ahead.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.source_streams import Memory, uniforms, uniforms_ahead

Draws = NDArray[np.float64]  # shape (n, 4), uniform in (0, 1)


class TrafficModel(Protocol):
    """The law by which sources speak, one source or a million; what they say comes in packets of bytes.

    `rng` is drawn from by `begin` alone in every model here; a model of your own may draw from it in
    the other two, and then loses what the module's first paragraph promises.
    """

    @property
    def mean_rate_bps(self) -> float | None:
        """Offered rate of one source in the long run; None where there is none, as in a burst."""
        ...

    def begin(self, rng: np.random.Generator, num_sources: int, /) -> Memory:
        """Return the memory of sources at time 0; "next_s" (num_sources,) is each one's next arrival, inf for never."""
        ...

    def advance(self, rng: np.random.Generator, memory: Memory, sources: NDArray[np.int64], /) -> NDArray[np.int64]:
        """Take the arrivals due at ``memory["next_s"][sources]``.

        Args:
            rng: See the class.
            memory: Changed in place: these sources move on to their next arrival.
            sources: Indices without duplicates, shape (n,); none of them silent for good.

        Returns:
            Sizes in bytes, shape (n,).
        """
        ...

    def ahead(
        self, rng: np.random.Generator, memory: Memory, num: int, /
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Take the next `num` arrivals of a single source at once.

        Args:
            rng: See the class.
            memory: Of one source; changed in place, to the bit as `num` calls of `advance` would.
            num: How many.

        Returns:
            Times in seconds and sizes in bytes, both (num,); shorter when the source falls silent for good.
        """
        ...


def due(
    model: TrafficModel, rng: np.random.Generator, memory: Memory, until_s: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Take all arrivals of all sources before `until_s`.

    Costs one pass over the sources, and a handful of NumPy calls per arrival of the busiest of them;
    for one source over a long time `ahead` is the faster way to the same arrivals.

    Args:
        model: The traffic model.
        rng: Its generator.
        memory: Of any number of sources; changed in place.
        until_s: Arrivals at this very time are not due yet.

    Returns:
        Sources, sizes in bytes and times in seconds, all (n,), sorted by time, ties by source.

    Raises:
        ValueError: `until_s` is not finite.
        TypeError: It is not a number.

    Examples:
        >>> from wirelesslab.network.traffic import Periodic
        >>> model, rng = Periodic(period_s=1.0, num_bytes=10, random_phase=False), np.random.default_rng(7)
        >>> memory = model.begin(rng, 2)
        >>> [column.tolist() for column in due(model, rng, memory, 1.5)]
        [[0, 1, 0, 1], [10, 10, 10, 10], [0.0, 0.0, 1.0, 1.0]]
    """
    check.finite(until_s=until_s)
    of_its_own = getattr(model, "due", None)
    if of_its_own is not None:  # a law of a whole crowd knows a cheaper way than a clock for each source
        who, num_bytes, when_s = of_its_own(rng, memory, until_s)
        return who, num_bytes, when_s
    next_s = memory["next_s"]
    users = np.flatnonzero(next_s < until_s)
    columns: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
    while users.size:
        times_s = next_s[users]
        columns.append((users, model.advance(rng, memory, users), times_s))
        users = users[next_s[users] < until_s]
    if not columns:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    who, num_bytes, when_s = (np.concatenate(column) for column in zip(*columns, strict=True))
    # a stable sort of rows that came in rounds: packets of one source at one instant keep their order
    order = np.lexsort((who, when_s))
    return who[order], num_bytes[order], when_s[order]


# --- the two kinds of law that most models are ----------------------------------------------------
# Draw number c gives the size of arrival c and what leads from it to arrival c + 1.


def advance_renewal(
    memory: Memory,
    sources: NDArray[np.int64],
    gaps_s: Callable[[Draws], NDArray[np.float64]],
    sizes: Callable[[Draws], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Advance sources whose gaps are independent and of one law."""
    draws = uniforms(memory, sources)
    memory["next_s"][sources] += gaps_s(draws)
    return sizes(draws)


def renewal_ahead(
    memory: Memory,
    num: int,
    gaps_s: Callable[[Draws], NDArray[np.float64]],
    sizes: Callable[[Draws], NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a renewal source's next `num` arrivals."""
    draws = uniforms_ahead(memory, num)
    # cumsum adds from left to right, as `advance` does: equal to the last bit
    times_s = np.cumsum(np.concatenate([memory["next_s"], gaps_s(draws)]))
    memory["next_s"][0] = times_s[-1]
    return times_s[:-1], sizes(draws)


def clock_s(memory: Memory, period_s: float, late_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return phase + count * period + lateness; a product, so that a million periods do not drift."""
    return np.asarray(memory["phase_s"] + memory["count"] * period_s + late_s)


def advance_clocked(
    memory: Memory,
    sources: NDArray[np.int64],
    period_s: float,
    late_s: Callable[[Draws], NDArray[np.float64]],
    sizes: Callable[[Draws], NDArray[np.int64]],
) -> NDArray[np.int64]:
    """Advance sources that tick, each tick being late by a law of its own."""
    draws = uniforms(memory, sources)
    ticks = {"phase_s": memory["phase_s"][sources], "count": memory["count"][sources]}
    memory["next_s"][sources] = clock_s(ticks, period_s, late_s(draws))
    return sizes(draws)


def clocked_ahead(
    memory: Memory,
    num: int,
    period_s: float,
    late_s: Callable[[Draws], NDArray[np.float64]],
    sizes: Callable[[Draws], NDArray[np.int64]],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return a ticking source's next `num` arrivals."""
    counts = memory["count"][0] + np.arange(1, num + 1)
    draws = uniforms_ahead(memory, num)
    later_s = clock_s({"phase_s": memory["phase_s"], "count": counts}, period_s, late_s(draws))
    times_s = np.concatenate([memory["next_s"], later_s])
    memory["next_s"][0] = times_s[-1]
    return times_s[:-1], sizes(draws)
