"""Which groups are gone: a cut in the norms of each layer, the gap at which it was made, and masks that keep it.

Sub-gradients never make a group exactly 0; after training, norms are either near 0 or far from it, or they are not, and
then there is nothing to cut. A cut is therefore made where the gap can be seen, and says how wide it was.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.structured_sparsity.graph import Graph
from wirelesslab.vision.structured_sparsity.groups import GroupLasso, Target


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """Where norms are cut.

    Attributes:
        relative: Groups below this share of the largest norm of their layer and kind may go (for "depth": of the
            largest among the layers that have it).
        gap: Ratio of the smallest kept to the largest dropped norm that can be seen (2 is our choice). The cut is the
            highest one below the share that has such a gap; where there is none, nothing goes.
    """

    relative: float = 1e-2
    gap: float = 2.0

    def __post_init__(self) -> None:
        check.within(0, 1, relative=self.relative)
        check.within(1, 1e12, gap=self.gap)

    def cut(self, norms: NDArray[Any]) -> tuple[NDArray[np.bool_], float]:
        """Return which groups stay, and the ratio of the smallest kept to the largest dropped norm.

        At least the largest stays. The ratio is infinite when all that goes is exactly 0, or nothing goes.

        Examples:
            >>> kept, gap = Threshold().cut(np.array([5.0, 0.004, 3.0, 0.002]))
            >>> kept.tolist(), round(gap)
            ([True, False, True, False], 750)
        """
        flat = np.sort(np.asarray(norms, np.float64).ravel())
        able = int(np.searchsorted(flat, self.relative * flat[-1]))  # so many lie below the share
        for count in range(min(able, len(flat) - 1), 0, -1):
            if flat[count] > self.gap * flat[count - 1] or (flat[count - 1] == 0 < flat[count]):
                with np.errstate(over="ignore", divide="ignore"):
                    ratio = float(flat[count] / flat[count - 1])
                return np.asarray(norms) > flat[count - 1], ratio
        return np.ones(np.shape(norms), bool), np.inf


@dataclass(frozen=True)
class Cut:
    """What became of one kind of group in one layer.

    Attributes:
        layer: Its name.
        kind: The kind of group.
        groups: How many there are.
        dropped: How many of them went.
        gap: Smallest kept over largest dropped norm; infinite where nothing was dropped or all of it was exactly 0.
        undecided: Groups below the share that stayed for want of a gap.
    """

    layer: str
    kind: str
    groups: int
    dropped: int
    gap: float
    undecided: int


@dataclass(frozen=True, eq=False)
class Cuts:
    """All cuts of a net, and what they leave.

    Attributes:
        cuts: One per layer and kind.
        masks: By the names of kernels, shape as the kernels', false where a weight is gone for good.
    """

    cuts: tuple[Cut, ...]
    masks: Mapping[str, NDArray[np.bool_]]

    def masked(self, weights: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return weights, with zeros where they are gone."""
        return masked(weights, self.masks)


def masked(weights: Mapping[str, NDArray[Any]], masks: Mapping[str, NDArray[np.bool_]]) -> dict[str, NDArray[Any]]:
    """Return weights by name, with zeros where masks are false; arrays without a mask stay."""
    return {name: np.where(masks[name], w, w.dtype.type(0)) if name in masks else w for name, w in weights.items()}


def cut_groups(
    graph: Graph, weights: Mapping[str, NDArray[Any]], penalties: Iterable[GroupLasso], threshold: Threshold
) -> Cuts:
    """Cut all groups that penalties worked on.

    A layer that is gone as a whole lets nothing through its branch, so all of the branch goes with it: what remains of
    the block is what its last BatchNorm says of zeros.
    """
    masks: dict[str, NDArray[np.bool_]] = {}
    cuts: list[Cut] = []

    def drop(target: Target, kept: NDArray[np.bool_]) -> None:
        for key, stays in ((target.kernel, kept), *((key, kept.ravel()) for key in target.along)):
            masks[key] = masks.get(key, np.ones(weights[key].shape, bool)) & stays

    for lasso in penalties:
        targets = lasso.targets(graph, weights)
        norms = [target.norms(weights) for target in targets]
        if lasso.kind != "depth":
            for target, found in zip(targets, norms, strict=True):
                kept, gap = threshold.cut(found)
                below = int((found < threshold.relative * found.max()).sum())
                gone = int(kept.size - kept.sum())
                cuts.append(Cut(target.layer, lasso.kind, kept.size, gone, gap, below - gone))
                drop(target, kept)
        elif targets:
            sizes = np.array([float(found.item()) for found in norms])
            kept, gap = threshold.cut(sizes)
            for target, size, stays in zip(targets, sizes, kept, strict=True):
                low = bool(stays and size < threshold.relative * sizes.max())
                cuts.append(Cut(target.layer, "depth", 1, int(not stays), gap, int(low)))
            dead = {target.layer for target, stays in zip(targets, kept, strict=True) if not stays}
            for block in graph.blocks:
                for name in block.layers if dead & set(block.layers) else ():
                    spared = Target(name, "depth", 0.0, f"{name}/kernel")  # goes with the others all the same
                    drop(next((target for target in targets if target.layer == name), spared), np.zeros(1, bool))
    return Cuts(tuple(cuts), masks)
