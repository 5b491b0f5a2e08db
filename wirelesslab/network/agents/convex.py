r"""Shares of least cost: convex programs over the simplex, solved by sequential least squares (scipy's SLSQP).

Slices are M/M/1 queues of packets of one mean size. With load $\rho_i$ and share $s_i$ of a capacity, both as parts of
it, the mean jobs are $\rho_i / (s_i - \rho_i)$, and a packet is later than $d$ with probability
$\exp(-\mu (s_i - \rho_i) d)$, where the whole capacity serves $\mu$ packets a second. Both are convex in $s_i$.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Floats = NDArray[np.float64]
EDGE = 1e-4  # of the room: a queue is left at least that much, for at its load the cost is infinite


def least_delay_shares(load: Floats, weights: Floats, least: float = 0.0) -> Floats:
    """Return the shares with the least weighted jobs, none below `least`; square-root shares if all weigh alike.

    Args:
        load: Of each queue, a part of the capacity, shape (queues,), their sum below 1.
        weights: Of each queue's jobs.
        least: Smallest share.

    Examples:
        >>> least_delay_shares(np.array([0.6, 0.1]), np.ones(2)).round(4)
        array([0.813, 0.187])
    """
    weighted = weights * load

    def cost(shares: Floats) -> tuple[float, Floats]:
        room = shares - load
        return float((weighted / room).sum()), -weighted / room**2

    return _cheapest(cost, load, weighted, least)


def fewest_misses_shares(load: Floats, weights: Floats, haste: Floats, least: float = 0.0) -> Floats:
    """Return the shares with the least weighted rate of packets later than promised, none below `least`.

    Args:
        load: Of each queue, a part of the capacity, shape (queues,), their sum below 1.
        weights: Of each queue's misses.
        haste: Packets that the whole capacity serves within the promised delay.
        least: Smallest share.

    Examples:
        >>> fewest_misses_shares(np.array([0.3, 0.3]), np.ones(2), np.array([10.0, 40.0])).round(3)
        array([0.592, 0.408])
    """
    weighted = weights * load

    def cost(shares: Floats) -> tuple[float, Floats]:
        misses = weighted * np.exp(-haste * (shares - load))
        return float(misses.sum()), -haste * misses

    return _cheapest(cost, load, weighted, least)


def _cheapest(cost: Callable[[Floats], tuple[float, Floats]], load: Floats, weighted: Floats, least: float) -> Floats:
    """Minimise over how the room above what each needs is divided, from a square-root division on."""
    room = 1 - np.maximum(load, least).sum()
    edge = np.where(load > 0, EDGE * room, 0.0)
    low = np.maximum(load + edge, least)
    room = 1 - low.sum()
    start = np.sqrt(weighted) / np.sqrt(weighted).sum()
    unit = cost(low + room * start)[0]  # the cost in its own unit: tolerances are relative then

    def scaled(part: Floats) -> tuple[float, Floats]:
        value, slope = cost(low + room * part)
        return value / unit, room * slope / unit

    found = minimize(
        scaled, start, jac=True, method="SLSQP", bounds=[(0.0, 1.0)] * load.size,
        options={"ftol": 1e-12, "maxiter": 200},
        constraints={"type": "eq", "fun": lambda part: part.sum() - 1, "jac": np.ones_like},
    )  # fmt: skip
    part = np.clip(found.x, 0.0, 1.0)
    part /= part.sum()
    return np.asarray(low + room * (part if scaled(part)[0] <= 1 else start))
