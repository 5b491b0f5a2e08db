"""A smaller Keras model that says what a net with zeros says: its dead channels and blocks are not there at all."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.vision.backbones import Architecture
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.method import State
from wirelesslab.vision.structured_sparsity.graph import IMAGE, WEIGHTED, Graph, Node, graph_of
from wirelesslab.vision.structured_sparsity.removal import BORDERS, Borders, Removal, find_removal

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Exported:
    """A smaller net, ready to see, to be saved (`keras_files.export_keras`), or to be trained on.

    Attributes:
        classifier: The method of the smaller net, with the rule of the larger one.
        state: Its weights and moments, at step 0.
        removal: What was removed, and what is not exact.
        blocks: Names of Adds of which a branch is gone.

    `str` of it, or of its removal, says in a line how many filters each layer keeps.
    """

    classifier: Classifier
    state: State
    removal: Removal
    blocks: tuple[str, ...]

    def __str__(self) -> str:
        return str(self.removal)

    @property
    def exact(self) -> bool:
        """Whether it says what the larger net says but for rounding; else it differs at padded borders."""
        return not self.removal.approximate


def export(classifier: Classifier, state: State, *, borders: Borders = "keep") -> Exported:
    """Return the net without all that its zeros make superfluous.

    A dead filter whose bias lives on says a constant, which the next layers take into their biases. Where such a layer
    pads its input with zeros, the constant ends at the border: see `borders`. Whatever an Add couples is kept where one
    of its parts is. A branch that says a constant is left out; what it said goes into the BatchNorm or bias before the
    Add, or, where there is none, into a layer of its own (a 1 x 1 depthwise convolution). No layer loses its last
    filter. Shapes of filters ("shapes") do not make a Keras layer smaller unless all of a channel's go: they pay in the
    matrix product alone (`products`). Without such zeros nothing is removed; `str(exported.removal)` tells, such as
    "removed 4 of 112 filters: conv_1 12 of 16, conv_2 32 of 32, dense_1 64 of 64".

    Args:
        classifier: The net; of a Keras model ``Classifier(backbone=Architecture.of(model), num_classes=...)``.
        state: The classifier's or `StructuredSparsity`'s, with exact zeros, such as `prune` gives.
        borders: "keep" dead channels with a constant other than 0 before a padded layer, which is exact; or "fold"
            them too, which is exact but beside the border.

    Raises:
        TypeError: The net is no `Classifier`.
        ValueError: The net has a layer that we do not know how to make smaller; it is named. Or the state is of
            another net.
    """
    if not isinstance(classifier, Classifier):
        msg = f"classifier: got {type(classifier).__name__}, expected a Classifier; "
        if isinstance(getattr(classifier, "classifier", None), Classifier):
            raise TypeError(msg + "give the method's own, method.classifier")
        msg += "wrap a Keras model as Classifier(backbone=Architecture.of(model), num_classes=...), and read its state "
        raise TypeError(msg + "from its .keras file with keras_files.state_from_keras")
    check.one_of(BORDERS, borders=borders)
    graph = graph_of(classifier)
    values = classifier.net_values(state)
    removal = find_removal(graph, values, borders)
    model, arrays = _build(graph, values, removal, classifier.model())
    small = replace(classifier, backbone=Architecture.of(model), shape=None)
    fresh = small.build(0)
    for part in ("weights", "statistics"):
        fresh = fresh.with_part(part, {name: arrays[name] for name in fresh.part(part)})
    fresh = fresh.with_part("optimizer", classifier.update.memory(fresh.part("weights")))
    blocks = tuple(name for name in removal.dropped if name in removal.needed)
    return Exported(small, State(fresh.arrays, {"step": 0}), removal, blocks)


def _build(graph: Graph, values: Mapping[str, Array], removal: Removal, model: Any) -> tuple[Any, dict[str, Array]]:
    """Return the smaller model and the values of its variables by path."""
    from wirelesslab.tensorflow import tf

    shape = tuple(model.inputs[0].shape)[1:]
    tensors = {IMAGE: tf.keras.Input(shape, name="images")}
    arrays: dict[str, Array] = {}
    for node in (graph.nodes[name] for name in removal.needed if name != IMAGE):
        read = [tensors[name] for name in node.inputs if name not in removal.dropped.get(node.name, ())]
        if node.kind == "Add" and node.name in removal.dropped:
            tensors[node.name] = _without_branch(graph, node, removal, read, arrays)
            continue
        config = node.layer.get_config()
        made = _sliced(graph, node, values, removal)
        if node.kind in WEIGHTED:
            config["filters" if node.kind == "Conv2D" else "units"] = int(removal.keeps(node).sum())
            config["use_bias"] = f"{node.name}/bias" in made
        layer = type(node.layer).from_config(config)
        tensors[node.name] = layer(read if node.kind == "Add" else read[0])
        arrays |= made
    smaller = tf.keras.Model(tensors[IMAGE], tensors[graph.output], name=model.name)
    return smaller, {name: np.ascontiguousarray(a, np.float32) for name, a in arrays.items()}


def _sliced(graph: Graph, node: Node, values: Mapping[str, Array], removal: Removal) -> dict[str, Array]:
    """Return what is left of a layer's variables; constants of removed channels are in the bias."""
    own = {name: a for name, a in values.items() if name.rpartition("/")[0] == node.name}
    stays = removal.keeps(node)
    if node.kind == "DepthwiseConv2D":
        return {name: a[..., stays, :] if name.endswith("/kernel") else a[stays] for name, a in own.items()}
    if node.kind not in WEIGHTED:
        return {name: a[stays] for name, a in own.items()}
    key, bias = f"{node.name}/kernel", f"{node.name}/bias"
    source = graph.source(node)
    read, taps = removal.keeps(source), graph.taps(node, own[key])
    gone = np.where(read, 0.0, np.nan_to_num(removal.constants[source.name]))
    constant = (gone @ taps.sum(axis=0, dtype=np.float64))[stays]
    left = taps[:, read][:, :, stays]
    shape = (*own[key].shape[:-2], int(read.sum()), left.shape[-1]) if node.kind == "Conv2D" else (-1, left.shape[-1])
    made = {key: left.reshape(shape)}
    if bias in own:
        made[bias] = (own[bias][stays] + constant).astype(np.float32)
    elif constant.any():
        made[bias] = constant.astype(np.float32)
    return made


def _without_branch(graph: Graph, node: Node, removal: Removal, read: list[Any], arrays: dict[str, Array]) -> Any:
    """Return an Add's remaining input with the constants of the others added to it, or those that remain, added."""
    from wirelesslab.tensorflow import tf

    stays = removal.keeps(node)
    left = [name for name in node.inputs if name not in removal.dropped[node.name]]
    total = np.sum([removal.constants[name] for name in removal.dropped[node.name]], axis=0)[stays].astype(np.float32)
    out = read[0] if len(read) == 1 else type(node.layer).from_config(node.layer.get_config())(read)
    if not total.any():
        return out
    before = graph.nodes[left[0]]
    readers = [n for n in removal.needed if left[0] in graph.nodes[n].inputs]
    linear = before.kind == "BatchNormalization" or (
        before.kind in WEIGHTED and before.layer.activation.__name__ == "linear"
    )
    key = f"{before.name}/{'beta' if before.kind == 'BatchNormalization' else 'bias'}"
    if linear and len(readers) == 1 and key in arrays:
        arrays[key] = arrays[key] + total
        return out
    name = f"{node.name}_constant"
    arrays |= {f"{name}/kernel": np.ones((1, 1, len(total), 1), np.float32), f"{name}/bias": total}
    return tf.keras.layers.DepthwiseConv2D(1, name=name)(out)
