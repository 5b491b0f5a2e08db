"""What is sent to user twins, when, and how."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.twins.messages import Carriage
from wirelesslab.network.twins.sync import PeriodicSync, Sync
from wirelesslab.network.twins.user_attributes import USER_ATTRIBUTES, check_attributes


@dataclass(frozen=True, kw_only=True)
class Feed:
    """Attributes that are sent together, when, and how.

    Attributes:
        attributes: Names out of `USER_ATTRIBUTES`; a rule that compares looks at the first.
        sync: When each user's are sent.
        carriage: What carries them.
    """

    attributes: tuple[str, ...]
    sync: Sync
    carriage: Carriage = Carriage()

    def __post_init__(self) -> None:
        object.__setattr__(self, "attributes", tuple(self.attributes))
        check_attributes(self.attributes)


EVERYTHING = Feed(attributes=tuple(USER_ATTRIBUTES), sync=PeriodicSync(period_s=1.0, random_phase=True))


@dataclass(frozen=True)
class Updates:
    """What a message says of some users.

    Attributes:
        feed: Place of its feed.
        edge: Place of the edge that it goes to.
        who: The users.
        version: Of each update, counted from 1.
        stamp_s: When it was so.
        values: By attribute, each of as many rows as users.
    """

    feed: int
    edge: int
    who: NDArray[np.int64]
    version: NDArray[np.int64]
    stamp_s: float
    values: dict[str, NDArray[Any]]


def by_gnb(cells: NDArray[np.int64], edges: NDArray[np.int64]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield (cell, edge, places of those who send from there to there) for each pair that occurs.

    Examples:
        >>> [(c, e, p.tolist()) for c, e, p in by_gnb(np.array([1, 0, 1]), np.array([0, 0, 0]))]
        [(0, 0, [1]), (1, 0, [0, 2])]
    """
    pair = cells * (int(edges.max()) + 1) + edges
    order = np.argsort(pair, kind="stable")
    bounds = np.flatnonzero(np.diff(pair[order], prepend=-1, append=-1)).tolist()
    for first, last in pairwise(bounds):
        places = order[first:last]
        yield int(cells[places[0]]), int(edges[places[0]]), places
