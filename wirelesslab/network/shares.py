"""How a divisible resource is shared: among claimants, and among slices that hold reservations.

A rule's claimants are the last axis; what comes before it (cells, servers) is divided independently.
Every rule gives nobody more than it asks for and leaves nothing idle that somebody asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.slices import Domain, Slice

Floats = NDArray[np.float64]


class ShareRule(Protocol):
    """Divides a resource among those who claim parts of it."""

    def divide(self, demands: ArrayLike, weights: ArrayLike, capacity: ArrayLike) -> Floats:
        """Return what everybody gets.

        Args:
            demands: What each could use, shape (..., claimants), at least 0.
            weights: Above 0, broadcast to the demands; rules without weights ignore them.
            capacity: What there is, at least 0, broadcast to (...).

        Returns:
            Allocations, shape (..., claimants), none above its demand, their sum the lesser of
            the capacity and the demands' sum.
        """
        ...


@njit(cache=True, nogil=True, error_model="numpy")
def fill_evenly(demand: Floats, weights: Floats, ranks: NDArray[np.int64], capacity: float, out: Floats) -> None:
    """Weighted max-min division of one resource, rank after rank (0 first), by raising one water level.

    Writes `out`, all arrays of shape (claimants,). For use inside kernels: nothing is checked or allocated.
    """
    left = capacity
    rank = 0
    out[:] = -1.0  # not settled yet
    while True:
        next_rank = -1
        for i in range(ranks.size):
            if ranks[i] >= rank and (next_rank < 0 or ranks[i] < next_rank):
                next_rank = ranks[i]
        if next_rank < 0:
            return
        settled = True
        while settled:
            total = 0.0
            for i in range(demand.size):
                if ranks[i] == next_rank and out[i] < 0:
                    total += weights[i]
            if total == 0:  # all settled, or without weight
                for i in range(demand.size):
                    if ranks[i] == next_rank and out[i] < 0:
                        out[i] = 0.0
                break
            level = max(left, 0.0) / total
            settled = False
            for i in range(demand.size):
                if ranks[i] == next_rank and out[i] < 0 and demand[i] <= weights[i] * level:
                    out[i] = demand[i]
                    left -= demand[i]
                    settled = True
            if not settled:
                for i in range(demand.size):
                    if ranks[i] == next_rank and out[i] < 0:
                        out[i] = min(weights[i] * level, demand[i])
                left = 0.0
        rank = next_rank + 1


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_rows(demands: Floats, weights: Floats, ranks: NDArray[np.int64], capacity: Floats, out: Floats) -> None:
    for row in range(demands.shape[0]):
        fill_evenly(demands[row], weights[row], ranks, capacity[row], out[row])


def _claims(demands: ArrayLike, weights: ArrayLike, capacity: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return checked demands and weights (..., claimants) and capacity (...)."""
    wanted = np.asarray(demands, dtype=np.float64)
    if wanted.ndim == 0 or not np.isfinite(wanted).all() or (wanted < 0).any():
        msg = f"demands: got {_excerpt(wanted)}, expected finite numbers of at least 0, shape (..., claimants)"
        raise ValueError(msg)
    try:
        weight = np.broadcast_to(np.asarray(weights, dtype=np.float64), wanted.shape)
        total = np.broadcast_to(np.asarray(capacity, dtype=np.float64), wanted.shape[:-1])
    except ValueError as error:
        msg = (
            f"weights, capacity: got shapes {np.shape(weights)}, {np.shape(capacity)}, expected what broadcasts to "
            f"{wanted.shape}, {wanted.shape[:-1]}, set by demands"
        )
        raise ValueError(msg) from error
    if not (np.isfinite(weight) & (weight > 0)).all():
        msg = f"weights: got {_excerpt(weight)}, expected finite numbers above 0; leave a claimant out by a demand of 0"
        raise ValueError(msg)
    if not (np.isfinite(total) & (total >= 0)).all():
        msg = f"capacity: got {_excerpt(total)}, expected finite numbers of at least 0"
        raise ValueError(msg)
    return wanted, weight, total


def _excerpt(values: Floats) -> str:
    return np.array2string(values, threshold=8, edgeitems=2, separator=", ").replace("\n", "")


def _filled(claims: tuple[Floats, Floats, Floats], ranks: NDArray[np.int64]) -> Floats:
    wanted, weight, total = claims
    out = np.empty(wanted.shape)
    rows = (-1, wanted.shape[-1])
    if wanted.size:
        _fill_rows(
            np.ascontiguousarray(wanted).reshape(rows),
            np.ascontiguousarray(weight).reshape(rows),
            ranks,
            np.ascontiguousarray(total).reshape(-1),
            out.reshape(rows),
        )
    return out


@dataclass(frozen=True)
class EqualShares:
    """Everybody the same, or less if that is enough: max-min fairness, the fluid limit of round robin.

    Weights are ignored. `MaxMin` is another name of it.

    Examples:
        >>> EqualShares().divide([0.1, 0.6, 0.8], 1.0, 1.0)
        array([0.1 , 0.45, 0.45])
    """

    def divide(self, demands: ArrayLike, weights: ArrayLike, capacity: ArrayLike) -> Floats:
        """See `ShareRule`."""
        wanted, weight, total = _claims(demands, weights, capacity)
        return _filled((wanted, np.ones_like(weight), total), np.zeros(wanted.shape[-1], np.int64))


MaxMin = EqualShares


@dataclass(frozen=True)
class WeightedShares:
    """In proportion to weight, or less if that is enough: the fluid limit of weighted fair queueing (GPS).

    References:
        Parekh and Gallager, IEEE/ACM Trans. Netw. 1(3), 1993.

    Examples:
        >>> WeightedShares().divide([0.1, 0.9, 0.8], [1, 1, 2], 1.0)
        array([0.1, 0.3, 0.6])
    """

    def divide(self, demands: ArrayLike, weights: ArrayLike, capacity: ArrayLike) -> Floats:
        """See `ShareRule`."""
        claims = _claims(demands, weights, capacity)
        return _filled(claims, np.zeros(claims[0].shape[-1], np.int64))


@dataclass(frozen=True)
class ProportionalToDemand:
    """The same fraction of what each asks for; weights are ignored. Who asks for more gets more.

    Examples:
        >>> ProportionalToDemand().divide([0.5, 1.5], 1.0, 1.0)
        array([0.25, 0.75])
    """

    def divide(self, demands: ArrayLike, weights: ArrayLike, capacity: ArrayLike) -> Floats:
        """See `ShareRule`."""
        wanted, _, total = _claims(demands, weights, capacity)
        asked = wanted.sum(axis=-1)
        fraction = np.divide(total, asked, out=np.ones(asked.shape), where=asked > total)
        return np.asarray(wanted * fraction[..., None])


@dataclass(frozen=True)
class StrictPriority:
    """The most urgent take what they want, the next what is left; equals share by weight.

    Attributes:
        priorities: One per claimant, smaller is served first, as `Slice.priority`. Empty: claimants
            are served in their order. They belong to the rule because they order the claimants
            once and for all, whereas demands and weights are those of the moment.

    Examples:
        >>> StrictPriority((10, 1, 1)).divide([0.5, 0.9, 0.3], 1.0, 1.0)
        array([0. , 0.7, 0.3])
    """

    priorities: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check.non_negative_integer(**{f"priorities[{i}]": p for i, p in enumerate(self.priorities)})

    def divide(self, demands: ArrayLike, weights: ArrayLike, capacity: ArrayLike) -> Floats:
        """See `ShareRule`.

        Raises:
            ValueError: The priorities are not one per claimant.
        """
        claims = _claims(demands, weights, capacity)
        claimants = claims[0].shape[-1]
        if self.priorities and len(self.priorities) != claimants:
            msg = f"priorities: got {len(self.priorities)}, expected one for each of the {claimants} claimants"
            raise ValueError(msg)
        return _filled(claims, np.array(self.priorities or range(claimants), np.int64))


SHARE_RULES: tuple[type[ShareRule], ...] = (EqualShares, WeightedShares, ProportionalToDemand, StrictPriority)


# --- slices ---------------------------------------------------------------------------------------


def ratio_table(slices: Sequence[Slice], domain: Domain) -> Floats:
    """Return each slice's dedicated, min and max share of a domain, shape (slices, 3)."""
    ratios = [s.ratio(domain) for s in slices]
    return np.array([(r.dedicated, r.min, r.max) for r in ratios], dtype=np.float64).reshape(-1, 3)


@njit(cache=True, nogil=True, error_model="numpy")
def _guarantee(demand: Floats, dedicated: Floats, minimum: Floats, maximum: Floats, out: Floats, more: Floats) -> float:
    """Write what is guaranteed (`out`) and what is wanted beyond it (`more`); return what is left for all."""
    left = 1.0
    for i in range(demand.size):
        out[i] = min(demand[i], minimum[i])
        more[i] = min(demand[i], maximum[i]) - out[i]
        left -= max(out[i], dedicated[i])  # an idle dedicated part is not lent
    return max(left, 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def reserved_shares_of_cell(
    demand: Floats, dedicated: Floats, minimum: Floats, maximum: Floats, weights: Floats, out: Floats
) -> None:
    """Divide one cell among slices with `WeightedShares`; as `reserved_shares`, for use inside kernels.

    Writes `out`; all arrays have shape (slices,). Nothing is checked.
    """
    more = np.empty_like(demand)
    extra = np.empty_like(demand)
    left = _guarantee(demand, dedicated, minimum, maximum, out, more)
    fill_evenly(more, weights, np.zeros(demand.size, np.int64), left, extra)
    for i in range(demand.size):
        out[i] += extra[i]


@njit(cache=True, nogil=True, error_model="numpy")
def _guarantee_rows(demands: Floats, ratios: Floats, out: Floats, more: Floats, left: Floats) -> None:
    dedicated, minimum, maximum = ratios[:, 0].copy(), ratios[:, 1].copy(), ratios[:, 2].copy()
    for row in range(demands.shape[0]):
        left[row] = _guarantee(demands[row], dedicated, minimum, maximum, out[row], more[row])


def reserved_shares(
    demands: ArrayLike, ratios: ArrayLike, rule: ShareRule | None = None, weights: ArrayLike = 1.0
) -> Floats:
    """Divide resources among slices that hold reservations, as RRMPolicyRatio says.

    Three steps: the dedicated part is kept for its slice alone, idle or not; what is guaranteed
    (min) is given on demand; the rest is divided by `rule` among what is wanted beyond that, up
    to max. How the rest is divided is our choice, the standard leaves it open.

    Args:
        demands: Fraction of the resource that each slice could use now, shape (..., slices).
        ratios: Dedicated, min and max share of each slice, shape (slices, 3), see `ratio_table`.
        rule: Divides the rest; `WeightedShares` unless given.
        weights: For the rule, broadcast to the demands.

    Returns:
        Shares of the resource, shape (..., slices), their sum over slices at most 1.

    Raises:
        ValueError: Ratios that are not dedicated <= min <= max, or min shares that exceed the resource.

    References:
        3GPP TS 28.541, RRMPolicyRatio.

    Examples:
        >>> ratios = [[0.2, 0.3, 1.0], [0.0, 0.3, 0.5]]
        >>> reserved_shares([[1.0, 0.2], [0.0, 1.0], [1.0, 1.0]], ratios)
        array([[0.8, 0.2],
               [0. , 0.5],
               [0.5, 0.5]])
    """
    wanted, weight, _ = _claims(demands, weights, 1.0)
    slices = wanted.shape[-1]
    table = check.array(ratios, (slices, 3), "slices, 3", name="ratios", because="slices are set by demands")
    table = table.astype(np.float64)
    if (np.diff(np.hstack([np.zeros((slices, 1)), table, np.ones((slices, 1))])) < 0).any():
        msg = f"ratios: got {table.tolist()}, expected 0 <= dedicated <= min <= max <= 1 in each row"
        raise ValueError(msg)
    if table[:, 1].sum() > 1 + 1e-9:
        msg = (
            f"ratios: min shares sum to {table[:, 1].sum():g}, expected at most 1; lower one of {table[:, 1].tolist()}"
        )
        raise ValueError(msg)
    out, more, left = np.empty(wanted.shape), np.empty(wanted.shape), np.empty(wanted.shape[:-1])
    if wanted.size:
        rows = np.ascontiguousarray(wanted).reshape(-1, slices)
        _guarantee_rows(rows, table, out.reshape(-1, slices), more.reshape(-1, slices), left.reshape(-1))
        out += (rule or WeightedShares()).divide(more, weight, left)
    return out
