"""Who gets through when several speak in one slot: rules of `ActiveSetAccess`.

To add one (a detector in the loop, a table made from one), write a class with `losers_wait` and
`success`; it is given who speaks in which cell and returns who was heard.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check


class Contention(Protocol):
    """Decides who gets through."""

    @property
    def losers_wait(self) -> bool:
        """Whether who does not get through tries in the next slot, unharmed, instead of backing off."""
        ...

    def success(
        self, rng: np.random.Generator, users: NDArray[np.int64], cells: NDArray[np.int64], slot: int
    ) -> NDArray[np.bool_]:
        """Return who gets through, shape (speakers,).

        Args:
            rng: For choices and noise.
            users: Who speaks, each once, in the order in which they came to the head of the line, shape (speakers,).
            cells: Where, shape (speakers,).
            slot: Number of the slot.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class OwnedPilots:
    """Every device owns its pilot and the receiver is ideal: all get through."""

    losers_wait: bool = False

    def success(
        self, rng: np.random.Generator, users: NDArray[np.int64], cells: NDArray[np.int64], slot: int
    ) -> NDArray[np.bool_]:
        """See `Contention`."""
        del rng, cells, slot
        return np.ones(users.size, np.bool_)


@dataclass(frozen=True)
class SharedPool:
    """Devices draw from a cell's pool of preambles; those that chose alike are lost.

    Among K speakers one is alone with its choice with probability (1 - 1/P)^(K-1). A pool of 1 is slotted ALOHA.

    Attributes:
        num_preambles: P; 54 in the random access of LTE.

    References:
        3GPP TR 37.868; slotted ALOHA: Roberts, 1975.

    Examples:
        >>> nobody = np.zeros(0, np.int64)
        >>> SharedPool(54).success(np.random.default_rng(1), nobody, nobody, 0).size
        0
    """

    num_preambles: int = 54
    losers_wait: bool = False

    def __post_init__(self) -> None:
        check.positive_integer(num_preambles=self.num_preambles)

    def success(
        self, rng: np.random.Generator, users: NDArray[np.int64], cells: NDArray[np.int64], slot: int
    ) -> NDArray[np.bool_]:
        """See `Contention`."""
        del slot
        choice = cells * self.num_preambles + rng.integers(self.num_preambles, size=users.size)
        return np.asarray(np.bincount(choice)[choice] == 1) if users.size else np.zeros(0, np.bool_)


@dataclass(frozen=True)
class LimitedGrants:
    """A base station that hears everybody and grants so many packets per slot and cell: a work-conserving server.

    Attributes:
        per_slot: Packets per slot and cell; whoever is not granted waits in line.
    """

    per_slot: int = 1
    losers_wait: bool = True

    def __post_init__(self) -> None:
        check.positive_integer(per_slot=self.per_slot)

    def success(
        self, rng: np.random.Generator, users: NDArray[np.int64], cells: NDArray[np.int64], slot: int
    ) -> NDArray[np.bool_]:
        """See `Contention`."""
        del rng, users, slot
        order = np.argsort(cells, kind="stable")
        in_order = cells[order]
        rank = np.arange(cells.size) - np.searchsorted(in_order, in_order, side="left")
        granted = np.zeros(cells.size, np.bool_)
        granted[order] = rank < self.per_slot
        return granted


CONTENTIONS: tuple[type[Contention], ...] = (OwnedPilots, SharedPool, LimitedGrants)
