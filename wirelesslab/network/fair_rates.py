"""Rates across a whole network or spectrum: max-min fair, proportionally fair, water-filling."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

Floats = NDArray[np.float64]


class WaterFilling(NamedTuple):
    """Powers per channel, shape (..., channels), and the water level, shape (...)."""

    powers: Floats
    level: Floats


def water_filling(gains: ArrayLike, power: ArrayLike) -> WaterFilling:
    """Return the powers that carry most over parallel Gaussian channels: max(0, level - 1/gain).

    Args:
        gains: SNR of each channel per unit of power, above 0, shape (..., channels).
        power: To be spent in all, at least 0, broadcast to (...).

    Examples:
        >>> powers, level = water_filling([1, 0.5, 0.25, 0.1], 10)
        >>> powers.round(4), round(float(level), 4)
        (array([4.6667, 3.6667, 1.6667, 0.    ]), 5.6667)
    """
    gain = np.asarray(gains, dtype=np.float64)
    if gain.ndim == 0 or not gain.shape[-1] or not (np.isfinite(gain) & (gain > 0)).all():
        msg = f"gains: got {gain.tolist()}, expected finite numbers above 0, shape (..., channels)"
        raise ValueError(msg)
    total = np.broadcast_to(np.asarray(power, dtype=np.float64), gain.shape[:-1])
    if not (np.isfinite(total) & (total >= 0)).all():
        msg = f"power: got {total.tolist()}, expected finite numbers of at least 0"
        raise ValueError(msg)
    floors = np.sort(1 / gain, axis=-1)
    levels = (total[..., None] + np.cumsum(floors, axis=-1)) / np.arange(1, gain.shape[-1] + 1)
    used = np.maximum(np.count_nonzero(levels > floors, axis=-1), 1)
    level = np.take_along_axis(levels, used[..., None] - 1, axis=-1)
    return WaterFilling(np.maximum(0.0, level - 1 / gain), level[..., 0])


def _network(routes: ArrayLike, capacities: ArrayLike) -> tuple[Floats, Floats]:
    incidence = check.array(routes, (None, None), "links, flows", name="routes").astype(np.float64)
    capacity = check.array(
        capacities, incidence.shape[:1], "links", name="capacities", because="links are set by routes"
    ).astype(np.float64)
    if not np.isin(incidence, (0, 1)).all():
        msg = "routes: got entries other than 0 and 1, expected 1 where a flow crosses a link"
        raise ValueError(msg)
    free = np.flatnonzero(incidence.sum(axis=0) == 0)
    if free.size:
        msg = f"routes: got flow {free[0]} that crosses no link, expected at least one; its rate would have no bound"
        raise ValueError(msg)
    if (capacity <= 0).any():
        msg = f"capacities: got {capacity.tolist()}, expected numbers above 0; leave out flows over dead links"
        raise ValueError(msg)
    return incidence, capacity


def max_min_rates(routes: ArrayLike, capacities: ArrayLike) -> Floats:
    """Return the max-min fair rates of flows through a network, by progressive filling.

    All rates grow together; when a link is full, its flows stop.

    Args:
        routes: 1 where a flow crosses a link, shape (links, flows).
        capacities: Above 0, shape (links,).

    References:
        Bertsekas and Gallager, Data Networks, 1992, 6.5.2.

    Examples:
        >>> max_min_rates([[1, 1, 0], [1, 0, 1]], [1, 3])
        array([0.5, 0.5, 2.5])
    """
    incidence, capacity = _network(routes, capacities)
    rates = np.zeros(incidence.shape[1])
    growing = np.ones(rates.size, dtype=bool)
    left = capacity.copy()
    while growing.any():
        crossing = incidence @ growing
        busy = crossing > 0
        steps = np.full(left.size, np.inf)
        steps[busy] = left[busy] / crossing[busy]
        step = steps.min()
        rates[growing] += step
        left = np.maximum(left - step * crossing, 0.0)
        left[steps == step] = 0.0
        full = busy & (left <= 1e-12 * capacity)
        growing &= incidence[full].sum(axis=0) == 0
    return rates


def proportional_fair_rates(
    routes: ArrayLike, capacities: ArrayLike, weights: ArrayLike = 1.0, gap: float = 1e-11
) -> Floats:
    """Return the rates x that maximise the sum of w log x under the links' capacities.

    A primal-dual interior-point method; the rates stay feasible and the prices of the links are
    its dual variables, so that price times slack, summed, bounds what is missing.

    Args:
        routes: 1 where a flow crosses a link, shape (links, flows).
        capacities: Above 0, shape (links,).
        weights: Above 0, broadcast to (flows,).
        gap: How far the objective may be from its maximum, relative to the sum of the weights.

    Raises:
        RuntimeError: The gap is too small for the precision of the numbers.

    References:
        Kelly, Maulloo and Tan, J. Oper. Res. Soc. 49(3), 1998; Boyd and Vandenberghe, Convex
        Optimization, 11.7.

    Examples:
        >>> proportional_fair_rates([[1, 1, 0], [1, 0, 1]], [1, 1]).round(6)
        array([0.333333, 0.666667, 0.666667])
    """
    incidence, capacity = _network(routes, capacities)
    check.positive(gap=gap)
    rates = max_min_rates(incidence, capacity) / 2
    weight = np.broadcast_to(np.asarray(weights, dtype=np.float64), rates.shape)
    if not (np.isfinite(weight) & (weight > 0)).all():
        msg = f"weights: got {weight.tolist()}, expected finite numbers above 0"
        raise ValueError(msg)

    def residual(x: Floats, y: Floats, centre: float) -> float:
        """Distance from the central path, each equation in units of weight."""
        stationary = weight - x * (incidence.T @ y)
        complementary = y * (capacity - incidence @ x) - centre
        return float(np.sqrt(stationary @ stationary + complementary @ complementary))

    prices = weight.sum() / capacity / capacity.size
    for _ in range(200):
        slack = capacity - incidence @ rates
        missing = float(prices @ slack)
        # Unsettled stationarity r can cost about sum r^2 / w beside the missing complementarity.
        unsettled = weight - rates * (incidence.T @ prices)
        if missing <= gap * weight.sum() and float((unsettled**2 / weight).sum()) <= gap * weight.sum():
            return rates
        centre = 0.1 * missing / capacity.size
        hessian = np.diag(weight / rates**2) + (incidence.T * (prices / slack)) @ incidence
        rise = np.linalg.solve(hessian, weight / rates - incidence.T @ (centre / slack))
        rise_prices = (centre + prices * (incidence @ rise)) / slack - prices
        step = 1.0
        for values, change in ((rates, rise), (prices, rise_prices), (slack, -(incidence @ rise))):
            falling = change < 0
            step = min(step, float((-values[falling] / change[falling]).min(initial=np.inf)) * 0.99)
        now = residual(rates, prices, centre)
        while residual(rates + step * rise, prices + step * rise_prices, centre) > (1 - 0.01 * step) * now:
            step /= 2
            if step < 1e-12:
                msg = f"gap: got {gap:g}, reached {missing / weight.sum():g} within rounding; ask for less"
                raise RuntimeError(msg)
        rates, prices = rates + step * rise, prices + step * rise_prices
    msg = f"gap: got {gap:g}, reached {missing / weight.sum():g} after 200 steps; ask for less"
    raise RuntimeError(msg)
