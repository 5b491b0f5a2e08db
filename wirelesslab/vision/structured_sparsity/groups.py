r"""Group lasso: weights that live or die together, and what makes them do so.

A kernel of Keras has axes (m, k, c, n): height, width, channel read, filter. Its groups are

- "filters": all weights of one filter, $W_{\cdot,\cdot,\cdot,n}$; rows of the matrix that a convolution multiplies by;
- "channels": all weights that read one channel, $W_{\cdot,\cdot,c,\cdot}$;
- "shapes": all weights at one place of the filters, $W_{m,k,c,\cdot}$; columns of that matrix;
- "filters_2d": the weights from one channel to one filter, $W_{\cdot,\cdot,c,n}$;
- "depth": the whole layer.

The penalty is $R_g(W)=\sum_g\|w^{(g)}\|_2$, without a weight for the size of groups, as published.

References:
    Wen et al., "Learning structured sparsity in deep neural networks", NeurIPS 2016, and the authors' Caffe.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.structured_sparsity.graph import IMAGE, Graph

Array = NDArray[np.float32]
Kind = Literal["filters", "channels", "shapes", "filters_2d", "depth"]
AXES: dict[str, tuple[int, ...]] = {
    "filters": (0, 1, 2), "channels": (0, 1, 3), "shapes": (3,), "filters_2d": (0, 1), "depth": (0, 1, 2, 3),
}  # fmt: skip

SCALES = ("gamma", "beta")


@dataclass(frozen=True)
class Target:
    """A layer that is pulled.

    Attributes:
        layer: Its name.
        kind: Of its groups.
        strength: lambda_g times the layer's multiplier.
        kernel: The name of its kernel.
        along: Names of vectors over filters that belong to the groups too.
    """

    layer: str
    kind: str
    strength: float
    kernel: str
    along: tuple[str, ...] = ()

    def norms(self, weights: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the norms of the groups, as `group_norms` does."""
        found = group_norms(weights[self.kernel], self.kind)
        if not self.along:
            return found
        more = np.sum([np.square(weights[key]) for key in self.along], axis=0)
        return np.asarray(np.sqrt(np.square(found) + (more.sum() if self.kind == "depth" else more)))

    def scaled(self, weights: Mapping[str, NDArray[Any]], factors: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Return the layer's arrays times one factor per group."""
        found = {self.kernel: np.asarray(weights[self.kernel] * factors)}
        return found | {key: np.asarray(weights[key] * factors.ravel()) for key in self.along}


@dataclass(frozen=True, kw_only=True)
class GroupLasso:
    """One kind of group with its strength.

    Attributes:
        kind: What a group is, see above.
        strength: lambda_g.
        multipliers: Pairs (pattern of layers' names, factor): the first that fits multiplies the strength at that
            layer; 0 spares it. A layer that fits none has factor 1.
        dense: Whether dense layers have groups too: filters are their outputs, channels and shapes their inputs. The
            last layer's outputs are classes and are never a group.
        along: Whether what else acts on a filter's channel alone belongs to its group: its bias, and scale and shift
            of the BatchNorm behind (our choice; the paper's groups are kernels). Behind a BatchNorm the size of a
            kernel means nothing to the net, so lasso on kernels alone weakens all of them alike; and a filter that
            goes with its shift says 0, which can be left out even before a padded border. For "filters" and "depth".

    "depth" takes convolutions between the ends of a shortcut only: neither the first convolution nor projections,
    without which nothing would reach the output. "channels" spares layers that read the image.
    """

    kind: Kind = "filters"
    strength: float = 0.01
    multipliers: tuple[tuple[str, float], ...] = ()
    dense: bool = False
    along: bool = False

    def __post_init__(self) -> None:
        check.one_of(AXES, kind=self.kind)
        check.within(0, 1e6, strength=self.strength)
        if self.along and self.kind not in ("filters", "depth"):
            msg = f"along: got True for {self.kind!r}, expected it for 'filters' or 'depth': a bias is of one filter"
            raise ValueError(msg)
        for pattern, factor in self.multipliers:
            check.within(0, 1e6, **{f"multipliers[{pattern!r}]": factor})

    def strengths(self, graph: Graph) -> dict[str, float]:
        """Return lambda times the multiplier by the name of each layer that has groups, in order.

        Raises:
            ValueError: No layer has such groups, or a pattern fits none that could have.
        """
        inside = {name for block in graph.blocks for name in block.layers}
        able = []
        for node in graph.weighted():
            if node.kind == "Dense" and (not self.dense or self.kind == "depth"):
                continue
            if self.kind in ("filters", "filters_2d") and node.name == graph.output:
                continue
            if self.kind == "channels" and graph.source(node).space == IMAGE:
                continue
            if self.kind != "depth" or node.name in inside:
                able.append(node.name)
        if not able:
            msg = f"kind: the net has no layer with groups of kind {self.kind!r}"
            raise ValueError(msg + ("; depth needs shortcuts" if self.kind == "depth" else ""))
        for pattern, _ in self.multipliers:
            if not any(fnmatchcase(name, pattern) for name in able):
                msg = f"multipliers: {pattern!r} fits no layer with {self.kind!r}, expected one of {', '.join(able)}"
                raise ValueError(msg)
        return {name: self.strength * self._factor(name) for name in able}

    def targets(self, graph: Graph, names: Iterable[str]) -> list[Target]:
        """Return the layers that are pulled at all, in order.

        Args:
            graph: The net.
            names: Of its trainable arrays.
        """
        known, found = set(names), []
        for name, strength in self.strengths(graph).items():
            if strength > 0:
                beside = [f"{name}/bias", *(f"{graph.norm_after(name)}/{what}" for what in SCALES)]
                along = tuple(key for key in beside if self.along and key in known)
                found.append(Target(name, self.kind, strength, f"{name}/kernel", along))
        return found

    def _factor(self, name: str) -> float:
        return next((factor for pattern, factor in self.multipliers if fnmatchcase(name, pattern)), 1.0)


def group_norms(kernel: NDArray[Any], kind: str) -> NDArray[Any]:
    """Return the norms of a kernel's groups, shape as the kernel's with 1 for axes within a group.

    Args:
        kernel: Shape (m, k, c, n), or (c, n) of a dense layer.
        kind: See above.

    Examples:
        >>> group_norms(np.full((3, 3, 1, 2), 2.0, np.float32), "filters").ravel().tolist()
        [6.0, 6.0]
    """
    check.one_of(AXES, kind=kind)
    if kernel.ndim == 2:
        return np.asarray(group_norms(kernel[None, None], kind)[0, 0])
    axes = AXES[kind]
    if axes == (0, 1, 2):
        flat = kernel.reshape(-1, kernel.shape[-1])
        return np.asarray(np.sqrt(np.einsum("ij,ij->j", flat, flat))).reshape(1, 1, 1, -1)
    if axes == (3,):
        flat = kernel.reshape(-1, kernel.shape[-1])
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", flat, flat))).reshape(*kernel.shape[:3], 1)
    return np.asarray(np.sqrt(np.square(kernel).sum(axis=axes, keepdims=True)))


def penalty(kernel: NDArray[Any], kind: str) -> float:
    """Return R_g of one kernel."""
    return float(group_norms(kernel, kind).sum(dtype=np.float64))


def slope(kernel: NDArray[Any], kind: str) -> NDArray[Any]:
    r"""Return the sub-gradient $w/\|w^{(g)}\|$ of R_g that is 0 where a group is 0, shape as the kernel's."""
    return np.asarray(kernel * pull(group_norms(kernel, kind)))


def shrunk(kernel: NDArray[Any], kind: str, amount: float) -> NDArray[Any]:
    r"""Return the proximal step of ``amount`` times R_g: each group's norm is less by `amount`, or 0.

    $w^{(g)} \leftarrow w^{(g)}\max(0, 1-t/\|w^{(g)}\|)$. It is exact for one kind; kinds whose groups overlap are
    shrunk one after another, which is not the proximal step of their sum.
    """
    return np.asarray(kernel * what_is_left(group_norms(kernel, kind), amount))


def pull(norms: NDArray[Any], strength: float = 1.0) -> NDArray[Any]:
    """Return strength / norm, and 0 for norms of 0: times the weights it is the sub-gradient."""
    return np.asarray(np.divide(norms.dtype.type(strength), norms, out=np.zeros_like(norms), where=norms > 0))


def what_is_left(norms: NDArray[Any], amount: float) -> NDArray[Any]:
    """Return max(0, 1 - amount / norm), by which a proximal step multiplies groups."""
    check.within(0, 1e30, amount=amount)
    left = np.zeros_like(norms)
    np.divide(norms - norms.dtype.type(amount), norms, out=left, where=norms > amount)
    return left
