"""How many multiply-adds a net costs: forward by layer, backward twice as many.

Counted is one multiplication with one addition per weight use; a BatchNorm is one per value (it folds into a scale and
a shift), pooling, additions and activations are counted as one operation per value read.
"""

from math import prod
from typing import Any

from wirelesslab import check

FREE = ("InputLayer", "Flatten", "Reshape", "Dropout", "ZeroPadding2D", "UpSampling2D", "Concatenate")
ONE_PER_OUTPUT = ("BatchNormalization", "Activation", "ReLU", "LeakyReLU", "Softmax", "Rescaling")
ONE_PER_INPUT = ("GlobalAveragePooling2D", "GlobalMaxPooling2D", "Add")
POOLS = ("MaxPooling2D", "AveragePooling2D")


def forward_macs(model: Any) -> dict[str, int]:
    """Return multiply-adds of one image by layer of a built Keras model.

    Raises:
        ValueError: A layer is of a kind that is not counted here, or its shape is not known.
    """
    return {layer.name: _of(layer) for layer in model.layers}


def training_macs(model: Any, batch: int, *, codec: int = 0) -> int:
    """Return multiply-adds of one step: forward and twice as many backward for each image, and the codec's once."""
    check.positive_integer(batch=batch)
    check.non_negative_integer(codec=codec)
    return 3 * batch * sum(forward_macs(model).values()) + codec


def _of(layer: Any) -> int:
    kind = type(layer).__name__
    if kind in FREE:
        return 0
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    outputs = tuple(layer.output.shape)[1:]
    if any(side is None for side in outputs):
        msg = f"operations: layer {layer.name!r} has shape {outputs}, expected a model with all sides known"
        raise ValueError(msg)
    values = int(prod(outputs))
    if kind == "Dense":
        return values * int(inputs[0].shape[-1])
    if kind == "Conv2D":
        return int(values * int(prod(layer.kernel_size)) * (int(inputs[0].shape[-1]) // layer.groups))
    if kind == "DepthwiseConv2D":
        return values * int(prod(layer.kernel_size))
    if kind in ONE_PER_OUTPUT:
        return values
    if kind in POOLS:
        return values * int(prod(layer.pool_size))
    if kind in ONE_PER_INPUT:
        return sum(int(prod(tuple(one.shape)[1:])) for one in inputs)
    msg = f"operations: got layer {layer.name!r} of kind {kind}, which is not counted; add its rule to operations.py"
    raise ValueError(msg)
