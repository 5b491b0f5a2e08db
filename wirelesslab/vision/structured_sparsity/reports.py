"""What sparsity came to: scores at each stage, what is left of each layer, what the smaller net weighs and costs."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.rng import stream
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.data import Data
from wirelesslab.vision.keras_files import export_keras
from wirelesslab.vision.method import State
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.structured_sparsity.export import Exported, export
from wirelesslab.vision.structured_sparsity.graph import graph_of
from wirelesslab.vision.structured_sparsity.learning import StructuredSparsity
from wirelesslab.vision.structured_sparsity.products import (
    ProductTimes,
    kernel_matrix,
    time_products,
    without_zero_lines,
)
from wirelesslab.vision.structured_sparsity.removal import Borders
from wirelesslab.vision.structured_sparsity.thresholds import Cut


@dataclass(frozen=True)
class Left:
    """How much is left of something.

    Attributes:
        now: In the smaller net.
        before: In the whole net.
    """

    now: int
    before: int

    @property
    def share(self) -> float:
        """Now over before."""
        return self.now / self.before

    def __str__(self) -> str:
        return f"{self.now}/{self.before}"


@dataclass(frozen=True)
class LayerLeft:
    """What is left of a convolution or dense layer; nothing at all when its block is gone.

    Attributes:
        name: Of the layer.
        filters: That it makes.
        channels: That it reads.
        shapes: Columns of its kernel's matrix that are not all zeros; those of channels that nobody makes any more
            count as gone. The smaller Keras layer multiplies by all places of the channels that it reads.
        parameters: Of kernel and bias.
        macs: Multiply-adds of one image.
    """

    name: str
    filters: Left
    channels: Left
    shapes: Left
    parameters: Left
    macs: Left


@dataclass(frozen=True)
class Report:
    """What sparsity came to.

    Attributes:
        accuracy: By stage: "baseline", "learned" (before the cut), "pruned" (after it), "tuned", "exported".
        layers: In order.
        blocks: Residual blocks.
        parameters: Of all layers, without moving moments.
        file_bytes: Of the `.keras` files.
        macs: Multiply-adds of one image, of all layers.
        cuts: Where norms were cut, with the gaps.
        held: Dead channels that stay because a padded border would betray their absence, by space.
        approximate: Layers at whose border the smaller net is not exact.
    """

    accuracy: Mapping[str, float]
    layers: tuple[LayerLeft, ...]
    blocks: Left
    parameters: Left
    file_bytes: Left
    macs: Left
    cuts: tuple[Cut, ...]
    held: Mapping[str, int]
    approximate: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        found = ["accuracy: " + ", ".join(f"{stage} {100 * value:.2f} %" for stage, value in self.accuracy.items())]
        found.append(f"{'layer':<26}{'filters':>10}{'channels':>10}{'shapes':>12}{'parameters':>16}{'MACs':>20}")
        found += [
            f"{one.name:<26}{one.filters!s:>10}{one.channels!s:>10}{one.shapes!s:>12}{one.parameters!s:>16}{one.macs!s:>20}"
            for one in self.layers
        ]
        found.append(
            f"blocks {self.blocks}, parameters {self.parameters} ({self.parameters.share:.1%}), "
            f"file {self.file_bytes} bytes ({self.file_bytes.share:.1%}), MACs {self.macs} ({self.macs.share:.1%})"
        )
        found += [
            f"{cut.kind} of {cut.layer}: {cut.dropped} of {cut.groups} gone, gap {cut.gap:.3g}"
            + (f", {cut.undecided} small ones stay for want of a gap" if cut.undecided else "")
            for cut in self.cuts
        ]
        if self.held:
            found.append(f"dead but kept for padded borders: {dict(self.held)}")
        if self.approximate:
            found.append(f"not exact beside the border of: {', '.join(self.approximate)}")
        return found


def report(
    method: StructuredSparsity, data: Data, *, baseline: State, learned: State, tuned: State, borders: Borders = "keep"
) -> tuple[Report, Exported]:
    """Return what sparsity came to on `data`, and the smaller net.

    Args:
        method: What trained.
        data: To judge on: of validation for choices, of test for the last word.
        baseline: Where learning began.
        learned: After learning with group lasso, before the cut.
        tuned: After the cut and tuning.
        borders: As in `export`.
    """
    classifier = method.classifier
    cuts, small = method.cut(learned), export(classifier, tuned, borders=borders)
    states = {"baseline": baseline, "learned": learned, "pruned": method.prune(learned), "tuned": tuned}
    accuracy = {stage: classifier.evaluate(state, data)["accuracy"] for stage, state in states.items()}
    accuracy["exported"] = small.classifier.evaluate(small.state, data)["accuracy"]
    sizes = (
        (sum(forward_macs(c.model()).values()), sum(w.size for w in s.part("weights").values()), file_bytes(c, s))
        for c, s in ((small.classifier, small.state), (classifier, baseline))
    )
    macs, parameters, weight = (Left(*pair) for pair in zip(*sizes, strict=True))
    graph = graph_of(classifier)
    blocks = Left(len(graph.blocks) - len(small.blocks), len(graph.blocks))
    layers = layers_left(classifier, tuned, small)
    removal = small.removal
    return Report(
        accuracy, layers, blocks, parameters, weight, macs, cuts.cuts, removal.held, removal.approximate
    ), small  # fmt: skip


def file_bytes(classifier: Classifier, state: State) -> int:
    """Return how long the `.keras` file of a net is."""
    with TemporaryDirectory() as folder:
        return export_keras(Path(folder) / "net.keras", classifier, state).stat().st_size


def layers_left(classifier: Classifier, state: State, small: Exported) -> tuple[LayerLeft, ...]:
    """Return what an export left of each convolution and dense layer.

    Args:
        classifier: Of the whole net.
        state: With zeros.
        small: What `export` made of it.
    """
    graph, removal = graph_of(classifier), small.removal
    macs = forward_macs(classifier.model()), forward_macs(small.classifier.model())
    found = []
    for node in graph.weighted():
        here, source = node.name in removal.needed, graph.source(node)
        kernel = state.part("weights")[f"{node.name}/kernel"]
        made, read = removal.keeps(node), removal.keeps(source)
        taps = graph.taps(node, kernel)[:, read][:, :, made]
        own = [
            sum(a.size for name, a in weights.items() if name.rpartition("/")[0] == node.name)
            for weights in (small.state.part("weights"), state.part("weights"))
        ]
        found.append(
            LayerLeft(
                node.name,
                Left(int(made.sum()) * here, node.channels),
                Left(int(read.sum()) * here, source.channels),
                Left(int(np.any(taps != 0, axis=2).sum()) * here, prod(kernel.shape[:-1])),
                Left(own[0], own[1]),
                Left(macs[1].get(node.name, 0), macs[0][node.name]),
            )
        )
    return tuple(found)


def layer_products(
    classifier: Classifier, baseline: State, state: State, *, seed: int = 0, images: int = 1, runs: int = 30
) -> dict[str, ProductTimes]:
    """Return the times of each convolution's product alone, as the paper counts speed.

    The structured kernel is that of `state`, with its rows and columns of zeros. The unstructured one is the
    baseline's, of which as many weights of largest magnitude are left.

    Args:
        classifier: Of the whole net.
        baseline: Its weights without zeros.
        state: Its weights with rows or columns of zeros, such as `StructuredSparsity.prune` gives.
        seed: Of the pixels.
        images: Whose pixels are multiplied at a time.
        runs: Turns, see `products.interleaved`.
    """
    found = {}
    for node in graph_of(classifier).weighted():
        if node.kind != "Conv2D":
            continue
        key = f"{node.name}/kernel"
        structured, whole = (kernel_matrix(s.part("weights")[key]) for s in (state, baseline))
        kept = without_zero_lines(structured)[0].size
        number = images * prod(node.layer.output.shape[1:3])
        pixels = stream(seed, "pixels", node.name).standard_normal((structured.shape[1], number), dtype=np.float32)
        found[node.name] = time_products(structured, largest(whole, kept), pixels, runs)
    return found


def largest(matrix: NDArray[Any], kept: int) -> NDArray[Any]:
    """Return a matrix of which the `kept` entries of largest magnitude are left, the others 0."""
    order = np.argsort(-np.abs(matrix).ravel(), kind="stable")
    left = np.zeros(matrix.size, matrix.dtype)
    left[order[:kept]] = matrix.ravel()[order[:kept]]
    return left.reshape(matrix.shape)
