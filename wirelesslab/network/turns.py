"""Turns: which slice a cell's slot belongs to, by smooth weighted round robin over the slices that want it."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.shares import reserved_shares
from wirelesslab.network.slices import ResourceRatio, Slice


class Turns:
    """Gives each cell's slot to one of the slices that want it, in proportion to what `reserved_shares` gives them.

    A dedicated share that its slice does not want stays empty, and who wants nothing saves nothing up.

    Args:
        slices: All slices.
        num_cells: Cells; each takes turns of its own.
    """

    def __init__(self, slices: tuple[Slice, ...], num_cells: int) -> None:
        self.slices, self.num_cells = slices, num_cells
        self._credit = np.zeros((num_cells, len(slices) + 1))
        self.ratios = {s.name: s.radio for s in slices}
        self._gains = self._gains_of(self.ratios)

    @property
    def needed(self) -> bool:
        """Whether there is anything to take turns about: not with one slice that may use everything."""
        return bool(self._gains.shape[1] > 2 or self._gains[1, 1] > 0)

    def set_ratios(self, ratios: Mapping[str, ResourceRatio]) -> None:
        """From now on, hold these slices to these shares of every cell's slots.

        Raises:
            ValueError: An unknown slice, or `min` shares that add up to more than 1.
        """
        for name in ratios:
            check.one_of(self.ratios, slices=name)
        wanted = self.ratios | dict(ratios)
        self._gains = self._gains_of(wanted)
        self.ratios = wanted

    def take(self, group: NDArray[np.int64], *, only_theirs: bool = False) -> NDArray[np.bool_]:
        """Give each cell's slot to one slice, or to none; return which speakers may use it.

        Args:
            group: Of each speaker, cell * slices + slice, shape (speakers,).
            only_theirs: Only the cells of the speakers have a slot now; the others' turns stay where they are.
        """
        num = len(self.slices)
        rows: Any = np.unique(group // num) if only_theirs else slice(None)
        wanted = (np.bincount(group, minlength=self.num_cells * num) > 0).reshape(self.num_cells, num)[rows]
        gain = self._gains[wanted @ (1 << np.arange(num))]
        credit = self._credit[rows]
        credit[:, :num][~wanted] = 0.0
        credit += gain
        best = np.argmax(np.where(gain > 0, credit, -np.inf), axis=1)
        credit[np.arange(best.size), best] -= 1.0
        self._credit[rows] = credit
        chosen = np.full(self.num_cells, -1, np.int64)
        chosen[rows] = best
        return np.asarray(chosen[group // num] == group % num)

    def snapshot(self) -> dict[str, Any]:
        """Return a copy of the state."""
        ratios = {name: (r.dedicated, r.min, r.max) for name, r in self.ratios.items()}
        return {"ratios": ratios, "credit": self._credit.copy()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to a snapshot."""
        self.ratios = {
            name: ResourceRatio(dedicated=d, min=low, max=high) for name, (d, low, high) in state["ratios"].items()
        }
        self._gains = self._gains_of(self.ratios)
        self._credit = np.array(state["credit"])

    def _gains_of(self, ratios: Mapping[str, ResourceRatio]) -> NDArray[np.float64]:
        """Return the shares for every set of slices that want a slot, and what stays empty: (2^slices, slices + 1)."""
        num = len(self.slices)
        wanting = (np.arange(2**num)[:, None] >> np.arange(num)) & 1
        triples = [(r.dedicated, r.min, r.max) for r in ratios.values()]
        shares = reserved_shares(wanting.astype(np.float64), triples, weights=[s.weight for s in self.slices])
        return np.hstack([shares, np.maximum(0.0, 1.0 - shares.sum(axis=1, keepdims=True))])
