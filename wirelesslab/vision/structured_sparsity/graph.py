"""A Keras model as a graph whose channels can be removed: who produces a channel, who passes it on, who consumes it.

Convolutions and dense layers make new channels; all else (BatchNorm, activations, pooling, flattening, addition) passes
channels on, so the tensors between one maker and the next consumers share one *space* of channels. An Add couples the
spaces of its inputs into one. A channel can only be removed from all tensors of its space at once (the idea of
dependency graphs, as in Torch-Pruning).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.vision.classification import Classifier

IMAGE = "<image>"  # stands for what the model is given; no layer can be called so
WEIGHTED = ("Conv2D", "Dense")
POOLS = ("MaxPooling2D", "AveragePooling2D", "GlobalAveragePooling2D", "GlobalMaxPooling2D")
ELEMENTWISE = ("Activation", "ReLU", "LeakyReLU")  # one value in, one value out
PASSING = (*POOLS, *ELEMENTWISE, "BatchNormalization", "DepthwiseConv2D", "Flatten", "Dropout", "ZeroPadding2D", "Add")
ACTIVATIONS = (
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "tanh", "sigmoid",
    "hard_sigmoid", "hard_silu", "softplus", "softsign", "exponential",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Node:
    """One layer at its place.

    Attributes:
        name: The layer's.
        kind: The layer's class.
        layer: The Keras layer.
        inputs: Names of the nodes that it reads.
        space: The name of the node that stands for all whose channels are the same.
        channels: Channels of its output.
        positions: Values of one channel in a flattened output, in which value p channels + c is channel c; else 1.
    """

    name: str
    kind: str
    layer: Any
    inputs: tuple[str, ...]
    space: str
    channels: int
    positions: int

    @property
    def has_border(self) -> bool:
        """Whether pixels at the border see zeros that were padded there."""
        layer = self.layer
        if self.kind == "ZeroPadding2D":
            return any(any(pair) for pair in layer.padding)
        if self.kind not in ("Conv2D", "DepthwiseConv2D") or layer.padding != "same":
            return False
        sides = zip(layer.input.shape[1:3], layer.kernel_size, layer.strides, layer.dilation_rate, strict=True)
        return any((-(-n // s) - 1) * s + (k - 1) * d + 1 > n for n, k, s, d in sides)


@dataclass(frozen=True)
class Block:
    """What stands between two ends of a shortcut.

    Attributes:
        add: Where branch and shortcut meet.
        layers: Convolutions of the branch, in order.
        end: The last node of the branch.
    """

    add: str
    layers: tuple[str, ...]
    end: str


@dataclass(frozen=True, eq=False)
class Graph:
    """A model's nodes, each after those that it reads.

    Attributes:
        nodes: By name, in that order.
        output: The last one.
        blocks: Residual blocks.
    """

    nodes: Mapping[str, Node]
    output: str
    blocks: tuple[Block, ...]

    def weighted(self) -> Iterator[Node]:
        """Yield convolutions and dense layers, in order."""
        return (node for node in self.nodes.values() if node.kind in WEIGHTED)

    def source(self, node: Node) -> Node:
        """Return the node that a layer of one input reads."""
        return self.nodes[node.inputs[0]]

    def norm_after(self, name: str) -> str | None:
        """Return the name of the BatchNorm that alone reads a layer, None if that is not what reads it."""
        readers = [node for node in self.nodes.values() if name in node.inputs]
        alone = len(readers) == 1 and readers[0].kind == "BatchNormalization"
        return readers[0].name if alone else None

    def taps(self, node: Node, kernel: NDArray[Any]) -> NDArray[Any]:
        """Return a weighted layer's kernel as (taps, channels read, channels made), a view."""
        return kernel.reshape(-1, self.source(node).channels, kernel.shape[-1])


@lru_cache(maxsize=16)
def graph_of(classifier: Classifier) -> Graph:
    """Return the graph of a classifier's net."""
    return read_graph(classifier.model())


def read_graph(model: Any) -> Graph:
    """Return the graph of a functional or sequential Keras model.

    Raises:
        ValueError: A layer is of a kind whose channels we do not know how to remove, or is used twice.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        msg = f"model: got {model.name!r} of {len(model.inputs)} inputs and {len(model.outputs)} outputs, expected one "
        raise ValueError(msg + "of each")
    nodes: dict[str, Node] = {}
    space = {IMAGE: IMAGE}
    nodes[IMAGE] = Node(IMAGE, "InputLayer", None, (), IMAGE, int(model.inputs[0].shape[-1]), 1)
    links, last = _links(model)
    while waiting := [name for name in links if name not in nodes]:
        name = next((n for n in waiting if all(i in nodes for i in links[n])), None)
        if name is None:
            raise _refused(model.get_layer(waiting[0]), "nothing leads to it")
        nodes[name] = node = _node(model.get_layer(name), links[name], nodes, name == last)
        space[name] = name if node.kind in WEIGHTED else space[node.inputs[0]]
        for other in node.inputs[1:] if node.kind not in WEIGHTED else ():
            one, two = space[name], space[other]
            space = {n: one if root == two else root for n, root in space.items()}
    placed = {
        name: Node(n.name, n.kind, n.layer, n.inputs, space[name], n.channels, n.positions) for name, n in nodes.items()
    }
    return Graph(placed, last, _blocks(placed))


def _links(model: Any) -> tuple[dict[str, tuple[str, ...]], str]:
    """Return the names of the layers that each layer reads, and of the last layer, by the model's own description."""
    config = model.get_config() if hasattr(model, "get_config") else {}
    if "layers" not in config:
        msg = f"model: got {model.name!r} of class {type(model).__name__}, expected a functional or sequential model"
        raise ValueError(msg)
    links: dict[str, tuple[str, ...]] = {}
    before = IMAGE
    for said in config["layers"]:
        name = said["config"]["name"]
        if said["class_name"] == "InputLayer":
            continue
        if "inbound_nodes" not in said:  # sequential: each reads the one before
            links[name], before = (before,), name
            continue
        if len(said["inbound_nodes"]) != 1:
            raise _refused(model.get_layer(name), "it is used more than once")
        read = _tensors(said["inbound_nodes"][0])
        entries = [one["config"]["name"] for one in config["layers"] if one["class_name"] == "InputLayer"]
        links[name] = tuple(IMAGE if one in entries else one for one in read)
    ends = config.get("output_layers", [before])
    while isinstance(ends, list):
        ends = ends[0]
    return links, ends


def _tensors(said: Any) -> list[str]:
    """Return the names of the layers whose outputs are mentioned, in order."""
    if isinstance(said, dict):
        if said.get("class_name") == "__keras_tensor__":
            return [said["config"]["keras_history"][0]]
        said = list(said.values())
    return [name for one in said for name in _tensors(one)] if isinstance(said, list | tuple) else []


def _refused(layer: Any, why: str) -> ValueError:
    msg = f"model: layer {layer.name!r} of kind {type(layer).__name__} cannot be exported: {why}"
    return ValueError(msg)


def _node(layer: Any, inputs: tuple[str, ...], nodes: Mapping[str, Node], last: bool) -> Node:
    kind, read = type(layer).__name__, [nodes[name] for name in inputs]
    known = type(layer).__module__.partition(".")[0] == "keras"
    if not known or kind not in (*WEIGHTED, *PASSING):
        raise _refused(layer, f"expected one of {', '.join((*WEIGHTED, *PASSING))}")
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise _refused(layer, "expected channels_last")
    act = getattr(getattr(layer, "activation", None), "__name__", "linear")
    if act not in ACTIVATIONS and not (last and kind in (*WEIGHTED, "Activation")):
        raise _refused(layer, f"activation {act!r} mixes channels, or is not known, and stands before the end")
    if kind == "Conv2D" and layer.groups != 1:
        raise _refused(layer, f"got groups={layer.groups}, expected 1")
    if kind == "DepthwiseConv2D" and layer.depth_multiplier != 1:
        raise _refused(layer, f"got depth_multiplier={layer.depth_multiplier}, expected 1")
    if kind == "BatchNormalization" and layer.axis not in (-1, len(layer.input.shape) - 1):
        raise _refused(layer, f"got axis={layer.axis}, expected the last")
    if kind == "Add" and (len({tuple(t.shape) for t in layer.input}) != 1 or len(layer.output.shape) != 4):
        raise _refused(layer, "expected inputs of one shape (n, h, w, c)")
    shape = tuple(layer.output.shape)[1:]
    if any(side is None for side in shape) or (kind in WEIGHTED and len(layer.input.shape) not in (2, 4)):
        raise _refused(layer, f"got input {tuple(layer.input.shape)} and output {shape}, expected known sides")
    positions = read[0].positions
    if kind == "Flatten":
        positions = int(shape[0]) // read[0].channels
    if kind == "BatchNormalization" and positions > 1:
        raise _refused(layer, "it stands behind Flatten, where a channel has several scales")
    if kind in WEIGHTED:
        return Node(layer.name, kind, layer, inputs, layer.name, int(shape[-1]), 1)
    return Node(layer.name, kind, layer, inputs, "", read[0].channels, positions)


def _blocks(nodes: Mapping[str, Node]) -> tuple[Block, ...]:
    """Return residual blocks: of an Add's two inputs, the branch has more convolutions since they parted."""
    places = {name: place for place, name in enumerate(nodes)}
    before: dict[str, frozenset[str]] = {}
    for name, node in nodes.items():
        before[name] = frozenset({name}).union(*(before[i] for i in node.inputs))
    found = []
    for node in nodes.values():
        if node.kind != "Add" or len(node.inputs) != 2:
            continue
        one, two = node.inputs
        shared = before[one] & before[two]
        fork = max(shared, key=lambda name: places[name])
        sides = []
        for end in (one, two):
            own = [n for n in nodes if n in before[end] - before[fork] and nodes[n].kind == "Conv2D"]
            sides.append((len(own), tuple(own), end))
        (few, _, _), (many, layers, end) = sorted(sides, key=lambda side: side[0])
        if many > few:
            found.append(Block(node.name, layers, end))
    return tuple(found)


def as_numbers(values: Mapping[str, NDArray[Any]], node: Node, what: str, default: float) -> NDArray[np.float64]:
    """Return one of a layer's arrays in double precision, or `default` for each channel where it has none."""
    found = values.get(f"{node.name}/{what}")
    return np.full(node.channels, default) if found is None else np.asarray(found, np.float64)
