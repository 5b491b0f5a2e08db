"""Small networks of dense layers: trained by Keras, kept as arrays, evaluated by NumPy.

Who asks a trained network for an answer needs no TensorFlow, and a network's snapshot stays plain data.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import array_files, check
from wirelesslab.array_files import WeightFileError
from wirelesslab.rng import stream

FORMAT = "wirelesslab dense network 1"
COVERED = ("network", "serves")  # by the checksum, beside the arrays
MIDDLE, SPREAD = "input middle", "input spread"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DenseNet:
    """Standardised inputs through tanh layers to a linear output.

    Attributes:
        arrays: ``input middle`` and ``input spread``, shape (inputs,), then for each layer ``kernel i``, shape
            (in, out), and ``bias i``, shape (out,); float32, as training leaves them.
        digest: SHA-256 of the arrays: two networks with one digest are one.
    """

    arrays: Mapping[str, NDArray[np.float32]] = field(repr=False)
    digest: str = ""

    def __post_init__(self) -> None:
        sizes = _sizes(self.arrays)
        held = {name: np.array(self.arrays[name], np.float32) for name in _names(len(sizes) - 1)}
        for values in held.values():
            values.setflags(write=False)
        object.__setattr__(self, "arrays", held)
        object.__setattr__(self, "digest", array_files.checksum(array_files.packed(held)))

    @classmethod
    def untrained(
        cls, num_inputs: int, hidden: Sequence[int] = (16,), num_outputs: int = 1, *, seed: int = 0,
        inputs: ArrayLike | None = None,
    ) -> "DenseNet":  # fmt: skip
        """Return a network whose output is 0 for every input, to the last bit: its last layer is zero.

        Args:
            num_inputs: Features.
            hidden: Units of each hidden layer.
            num_outputs: Numbers that it gives.
            seed: Of the hidden layers, uniform after Glorot and Bengio, AISTATS 2010.
            inputs: Examples that set the standardisation, shape (examples, num_inputs); none leaves inputs as they are.
        """
        check.positive_integer(num_inputs=num_inputs, num_outputs=num_outputs)
        check.positive_integer(**{f"hidden[{i}]": units for i, units in enumerate(hidden)})
        rng = stream(seed, "dense network")
        sizes = [num_inputs, *hidden, num_outputs]
        middle, spread = np.zeros(num_inputs), np.ones(num_inputs)
        if inputs is not None:
            examples = check.array(inputs, (None, num_inputs), "examples, inputs", name="inputs")
            middle, deviation = examples.mean(axis=0), examples.std(axis=0)
            # what never varied in training tells nothing: as it is, it would be divided by almost nothing
            spread = np.where(deviation > 1e-6 * (1 + np.abs(middle)), deviation, 1.0)
        arrays: dict[str, Any] = {MIDDLE: middle, SPREAD: spread}
        for layer, (before, after) in enumerate(itertools.pairwise(sizes)):
            limit = np.sqrt(6 / (before + after)) * (layer < len(hidden))
            arrays[f"kernel {layer}"] = rng.uniform(-1, 1, (before, after)) * limit
            arrays[f"bias {layer}"] = np.zeros(after)
        return cls({name: np.asarray(values, np.float32) for name, values in arrays.items()})

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, hidden units of each layer, outputs."""
        return _sizes(self.arrays)

    def __call__(self, inputs: ArrayLike) -> Floats:
        """Return the outputs, shape (examples, outputs), for inputs of shape (examples, inputs)."""
        values = check.array(inputs, (None, self.sizes[0]), "examples, inputs", name="inputs").astype(np.float64)
        values = (values - self.arrays[MIDDLE]) / self.arrays[SPREAD]
        last = len(self.sizes) - 2
        for layer in range(last + 1):
            values = values @ self.arrays[f"kernel {layer}"].astype(np.float64) + self.arrays[f"bias {layer}"]
            if layer < last:
                values = np.tanh(values)
        return values

    def describe(self) -> dict[str, Any]:
        """Return what a result needs to say of it."""
        return {"sizes": list(self.sizes), "sha256": self.digest}


def save_net(net: DenseNet, path: Path, serves: Mapping[str, Any]) -> Path:
    """Write a network and what it serves to ``<path>.npz`` and ``<path>.json``.

    Args:
        net: The network.
        path: With or without an ending.
        serves: Plain values that tell how the network is used; the checksum covers them.

    Returns:
        The path of the arrays.
    """
    network = {"sizes": list(net.sizes)}
    digest = array_files.checksum(array_files.packed(net.arrays), network, dict(serves))
    body = {"format": FORMAT, "sha256": digest, "network": network, "serves": dict(serves)}
    return array_files.write(path, net.arrays, body)


def load_net(path: Path, kind: str) -> tuple[DenseNet, dict[str, Any]]:
    """Return the network in ``<path>.npz`` and ``<path>.json`` and what it serves.

    Args:
        path: With or without an ending.
        kind: What ``serves`` must say under ``kind``.

    Raises:
        WeightFileError: A file is missing, damaged, or of something else; nothing is ever unpickled.
    """
    kept = array_files.read(path, FORMAT, COVERED)
    file, description = array_files.both(path)
    serves = kept.body.get("serves")
    if not isinstance(serves, dict) or serves.get("kind") != kind:
        found = serves.get("kind") if isinstance(serves, dict) else serves
        msg = f"weights: {description} is of a {found!r}, expected {kind!r}; load it with what wrote it"
        raise WeightFileError(msg)
    try:
        net = DenseNet(kept.arrays)
    except (TypeError, ValueError, KeyError) as error:
        msg = f"weights: {file} holds no network ({error})"
        raise WeightFileError(msg) from None
    return net, serves


def _names(layers: int) -> list[str]:
    return [MIDDLE, SPREAD, *(f"{part} {layer}" for layer in range(layers) for part in ("kernel", "bias"))]


def _sizes(arrays: Mapping[str, NDArray[Any]]) -> tuple[int, ...]:
    """Return the layers' sizes; refuse arrays that are no such network."""
    layers = sum(name.startswith("kernel ") for name in arrays)
    if layers < 1 or set(arrays) != set(_names(layers)):
        msg = f"arrays: got {sorted(arrays)}, expected {_names(max(layers, 1))}"
        raise ValueError(msg)
    middle = check.array(arrays[MIDDLE], (None,), "inputs", name=MIDDLE)
    spread = check.array(arrays[SPREAD], middle.shape, "inputs", name=SPREAD, because=f"inputs were set by {MIDDLE}")
    if spread.size == 0 or spread.min() <= 0:
        msg = f"{SPREAD}: got {spread.tolist()}, expected at least one number, all above 0"
        raise ValueError(msg)
    sizes = [middle.size]
    for layer in range(layers):
        name = f"kernel {layer}"
        kernel = check.array(arrays[name], (sizes[-1], None), "in, out", name=name, because="by the layer before")
        check.array(arrays[f"bias {layer}"], kernel.shape[1:], "out", name=f"bias {layer}", because=f"set by {name}")
        sizes.append(kernel.shape[1])
    return tuple(sizes)
