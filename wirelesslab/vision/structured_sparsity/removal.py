"""Which channels of a net with zeros can be removed, and what must be said instead of them.

Three questions, asked of a model's graph and its weights:

- Which channels are constant? Forward: a filter of zeros says its bias, whatever is seen; BatchNorm and activations
  make another constant of it. At a border that was padded with zeros, a constant other than 0 is none.
- Which channels does nobody need? Backward: all who read them have zeros for them, or can take their constant into
  the bias.
- Which branches are constant as a whole? What is added there is a constant, and the block is gone.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.structured_sparsity.graph import ELEMENTWISE, IMAGE, WEIGHTED, Graph, Node, as_numbers

Values = Mapping[str, NDArray[Any]]
Constants = dict[str, NDArray[np.float64]]
Borders = Literal["keep", "fold"]
BORDERS = ("keep", "fold")


@dataclass(frozen=True, eq=False)
class Removal:
    """What is removed from a net.

    Attributes:
        kept: Which channels stay, by the name of a space.
        constants: What each node's channels say if that never changes, else NaN; by node.
        dropped: Names of inputs of an Add that are constant and no longer computed, by the Add's name.
        needed: Nodes that are still computed, in order.
        folded: How many constant channels, other than 0, each layer takes into its bias.
        approximate: Of these layers, those that see a padded border: there the fold is not exact.
        held: How many dead channels stay, by space, since a padded border would betray their absence.
        filters: How many filters each convolution and dense layer but the last keeps, and how many it had.

    `str` says it in a line.
    """

    kept: Mapping[str, NDArray[np.bool_]]
    constants: Mapping[str, NDArray[np.float64]]
    dropped: Mapping[str, tuple[str, ...]]
    needed: tuple[str, ...]
    folded: Mapping[str, int]
    approximate: tuple[str, ...]
    held: Mapping[str, int]
    filters: Mapping[str, tuple[int, int]]

    def __str__(self) -> str:
        """Return how many filters each layer keeps, such as "removed 4 of 48 filters: conv_1 12 of 16, ...".

        Examples:
            >>> str(Removal({}, {}, {}, (), {}, (), {}, {"conv_1": (12, 16), "conv_2": (32, 32)}))
            'removed 4 of 48 filters: conv_1 12 of 16, conv_2 32 of 32'
        """
        had = sum(before for _, before in self.filters.values())
        gone = had - sum(after for after, _ in self.filters.values())
        layers = ", ".join(f"{name} {after} of {before}" for name, (after, before) in self.filters.items())
        said = f"removed {gone or 'none'} of {had} filters: {layers}" if had else "removed nothing: no filters"
        if self.held:
            said += f"; dead, but kept for the sake of padded borders: {sum(self.held.values())}"
        return said + (f"; not exact beside the border at {', '.join(self.approximate)}" if self.approximate else "")

    def keeps(self, node: Node) -> NDArray[np.bool_]:
        """Return which channels of a node's output stay."""
        return self.kept[node.space]


def constants_of(graph: Graph, values: Values, borders: Borders = "keep") -> Constants:
    """Return by node what each channel always says, NaN where it depends on the image."""
    found: Constants = {}
    for node in graph.nodes.values():
        found[node.name] = _constant(graph, node, values, [found[name] for name in node.inputs], borders)
    return found


def _constant(
    graph: Graph, node: Node, values: Values, read: list[NDArray[np.float64]], borders: Borders
) -> NDArray[np.float64]:
    if not read or node.name == graph.output:
        return np.full(node.channels, np.nan)
    varies = np.isnan(read[0])
    if node.has_border and borders == "keep":
        varies = varies | (read[0] != 0)  # beside the border it says something else
    known = np.where(varies, 0.0, read[0])
    if node.kind in WEIGHTED:
        taps = graph.taps(node, values[f"{node.name}/kernel"])
        sums = taps.sum(axis=0, dtype=np.float64)
        depends = np.any(taps[:, varies] != 0, axis=(0, 1))
        said = np.where(depends, np.nan, as_numbers(values, node, "bias", 0.0) + known @ sums)
        return _activated(node, said)
    if node.kind == "DepthwiseConv2D":
        taps = values[f"{node.name}/kernel"].reshape(-1, node.channels)
        depends = varies & np.any(taps != 0, axis=0)
        said = as_numbers(values, node, "bias", 0.0) + known * taps.sum(axis=0, dtype=np.float64)
        return _activated(node, np.where(depends, np.nan, said))
    if node.kind == "BatchNormalization":
        factor, shift = _scale_and_shift(node, values)
        return np.where(factor == 0, shift, factor * read[0] + shift)
    if node.kind == "Add":
        return np.asarray(np.sum(read, axis=0))
    if node.kind == "ZeroPadding2D":
        return np.where(varies, np.nan, read[0])
    return _activated(node, read[0]) if node.kind in ELEMENTWISE else read[0]


def _scale_and_shift(node: Node, values: Values) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what a BatchNorm multiplies by and adds."""
    spread = np.sqrt(as_numbers(values, node, "moving_variance", 1.0) + node.layer.epsilon)
    factor = as_numbers(values, node, "gamma", 1.0) / spread
    return factor, as_numbers(values, node, "beta", 0.0) - factor * as_numbers(values, node, "moving_mean", 0.0)


def _activated(node: Node, said: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return constants behind a layer's activation, computed as the layer does, in single precision."""
    act = node.layer if node.kind in ELEMENTWISE else node.layer.activation
    if getattr(act, "__name__", "") == "linear" or np.isnan(said).all():
        return said
    seen = np.asarray(act(np.nan_to_num(said).astype(np.float32)[None]), np.float64)[0]
    return np.where(np.isnan(said), np.nan, seen)


def still_moments(graph: Graph, weights: Values, moments: Values) -> dict[str, NDArray[Any]]:
    """Return moving moments that are true of filters of zeros, which always say the same to the BatchNorm behind them.

    Args:
        graph: The net.
        weights: With zeros.
        moments: Of all BatchNorms, by name; those behind other filters stay.
    """
    found, constants = dict(moments), constants_of(graph, {**moments, **weights})
    for node in graph.weighted():
        norm, kernel = graph.norm_after(node.name), weights[f"{node.name}/kernel"]
        dead = np.asarray(~kernel.any(axis=tuple(range(kernel.ndim - 1))))
        if norm is not None and dead.any():
            for what, said in (("moving_mean", constants[node.name]), ("moving_variance", np.zeros(len(dead)))):
                before = moments[f"{norm}/{what}"]
                found[f"{norm}/{what}"] = np.where(dead, said, before).astype(before.dtype)
    return found


def find_removal(graph: Graph, values: Values, borders: Borders = "keep") -> Removal:
    """Return all that can be removed without changing what the net says; at least one channel stays everywhere.

    Args:
        graph: Of the model.
        values: Its variables by path; the zeros in them are what makes channels removable.
        borders: Of dead channels that say a constant other than 0, where the next layer pads with zeros: "keep" them,
            which is exact, or "fold" them as if there were no border, which is exact inside and not beside it.
    """
    constants = constants_of(graph, values, borders)
    kept = {n.space: np.ones(n.channels, bool) for n in graph.nodes.values()}
    dropped: dict[str, tuple[str, ...]] = {}
    while True:
        dropped = _dropped(graph, constants, kept, dropped)
        needed = _needed(graph, dropped)
        after = _kept(graph, values, constants, kept, needed, borders)
        if all(np.array_equal(kept[space], after[space]) for space in kept):
            break
        kept = after
    folded: dict[str, int] = {}
    held: dict[str, int] = {}
    strict = constants if borders == "keep" else constants_of(graph, values)
    beside = {n.name for n in graph.nodes.values() if n.has_border}
    approximate = {name for name in beside if (np.isnan(strict[name]) & ~np.isnan(constants[name])).any()}
    for node in (graph.nodes[name] for name in needed if graph.nodes[name].kind in WEIGHTED):
        source = graph.source(node)
        stays, said = kept[source.space], np.nan_to_num(constants[source.name]) != 0
        used = np.any(graph.taps(node, values[f"{node.name}/kernel"])[:, :, kept[node.space]] != 0, axis=(0, 2))
        if gone := int((used & said & ~stays).sum()):
            folded[node.name] = gone
            approximate |= {node.name} & beside
        if node.name in beside and borders == "keep" and (stuck := int((used & said & stays).sum())):
            held[source.space] = max(held.get(source.space, 0), stuck)
    classes = graph.nodes[graph.output].space
    filters = {
        n.name: (int(kept[n.space].sum()) if n.name in needed else 0, n.channels)
        for n in graph.weighted() if n.space != classes
    }  # fmt: skip
    beside_border = tuple(name for name in graph.nodes if name in approximate)
    return Removal(kept, constants, dropped, needed, folded, beside_border, held, filters)


def _dropped(
    graph: Graph, constants: Constants, kept: dict[str, NDArray[np.bool_]], before: dict[str, tuple[str, ...]]
) -> dict[str, tuple[str, ...]]:
    found = {}
    for node in graph.nodes.values():
        if node.kind == "Add":
            dead = [name for name in node.inputs if not np.isnan(constants[name][kept[node.space]]).any()]
            if len(dead) == len(node.inputs):  # something must be left to add to
                dead.remove(next(name for name in dead if name not in before.get(node.name, ())))
            if dead:
                found[node.name] = tuple(dead)
    return found


def _needed(graph: Graph, dropped: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    wanted, waiting = set(), [graph.output]
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting.extend(i for i in graph.nodes[name].inputs if i not in dropped.get(name, ()))
    return tuple(name for name in graph.nodes if name in wanted or name == IMAGE)


def _kept(
    graph: Graph, values: Values, constants: Constants, kept: dict[str, NDArray[np.bool_]],
    needed: tuple[str, ...], borders: Borders,
) -> dict[str, NDArray[np.bool_]]:  # fmt: skip
    wanted = {space: np.zeros(len(stays), bool) for space, stays in kept.items()}
    strength = {space: np.zeros(len(stays)) for space, stays in kept.items()}
    for fixed in (IMAGE, graph.nodes[graph.output].space):
        wanted[fixed][:] = True
    for node in (graph.nodes[name] for name in needed if graph.nodes[name].kind in WEIGHTED):
        source, kernel = graph.source(node), values[f"{node.name}/kernel"]
        constant = constants[source.name]
        used = np.any(graph.taps(node, kernel)[:, :, kept[node.space]] != 0, axis=(0, 2))
        exact = not node.has_border or borders == "fold"
        foldable = ~np.isnan(constant) & (exact | (constant == 0))
        wanted[source.space] |= used & ~foldable
        strength[node.space] += np.square(kernel, dtype=np.float64).reshape(-1, kernel.shape[-1]).sum(axis=0)
    found = {space: kept[space] & wanted[space] for space in kept}
    for space, stays in found.items():
        if not stays.any():
            best = np.where(kept[space], strength[space], -1.0)
            stays[int(best.argmax())] = True
    return found
