"""Small nets: LeNet, one for 8 x 8 digits, a CifarNet-like one, and residual nets with BatchNorm.

They return logits. Their initial weights come from `wirelesslab.rng`, so equal seeds give equal weights everywhere.
"""

import json
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream

INPUTS = {
    "lenet": (28, 28, 1), "digits": (8, 8, 1), "cifarnet": (24, 24, 3), "resnet8": (32, 32, 3), "resnet20": (32, 32, 3),
}  # fmt: skip


@dataclass(frozen=True)
class Architecture:
    """A net that has no name of ours, as a value: Keras' own description of a model, without weights.

    It compares, hashes and can be sent to another process, so it stands wherever a backbone's name does.

    Attributes:
        name: The model's.
        shape: h, w, c of its images.
        description: JSON of `keras.Model.to_json`.
    """

    name: str
    shape: tuple[int, int, int]
    description: str = field(repr=False)
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.description.encode()).hexdigest()[:16])

    @classmethod
    def of(cls, model: Any) -> Self:
        """Return the architecture of a Keras model of one input (n, h, w, c) and one output (n, classes).

        Raises:
            TypeError: It is no functional or sequential model.
            ValueError: Its input is not known, or of another form, or a layer holds Python code; it is named.
        """
        inputs, outputs = _ends(model)
        _refuse_code(model)
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != 4 or len(outputs[0].shape) != 2:
            msg = f"model: got {model.name!r} with inputs {[tuple(i.shape) for i in inputs]} and outputs "
            msg += f"{[tuple(o.shape) for o in outputs]}, expected one (n, h, w, c) and one (n, classes)"
            raise ValueError(msg)
        sides = tuple(inputs[0].shape)[1:]
        if None in sides:
            msg = f"model: got {model.name!r} with images of (h, w, c) {sides}, expected known sides; say them in "
            raise ValueError(msg + "keras.Input((h, w, c))")
        height, width, channels = (int(side) for side in sides)
        return cls(model.name, (height, width, channels), json.dumps(json.loads(model.to_json()), sort_keys=True))

    def model(self) -> Any:
        """Return a new model of this architecture; its weights are drawn by Keras and mean nothing."""
        from wirelesslab.tensorflow import tf

        return tf.keras.models.model_from_json(self.description)


def _ends(model: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return a model's inputs and outputs, or say why it has none."""
    try:
        return tuple(model.inputs), tuple(model.outputs)
    except (AttributeError, TypeError):  # what Keras says of a model that was not called yet, or None
        name = getattr(model, "name", model)
        if type(model).__name__ == "Sequential":
            msg = f"model: got Sequential {name!r} that does not know its input yet, expected keras.Input((h, w, c)) "
            raise ValueError(msg + "before its first layer") from None
        msg = f"model: got {name!r} of class {type(model).__name__}, expected a functional or sequential Keras model"
        raise TypeError(msg) from None


def _refuse_code(model: Any) -> None:
    """Refuse layers that are Python functions: a description cannot hold them without running whatever it names."""
    for layer in model.layers:
        activation = getattr(getattr(layer, "activation", None), "__name__", "")
        if type(layer).__name__ == "Lambda" or activation == "<lambda>":
            what = "is a Lambda" if type(layer).__name__ == "Lambda" else "has a lambda for an activation"
            msg = f"model: layer {layer.name!r} {what}, Python code that cannot be kept as a description; expected "
            raise ValueError(msg + "a layer or activation of Keras in its place, such as Rescaling, ReLU or 'relu'")
        if hasattr(layer, "layers"):
            _refuse_code(layer)


def check_backbone(given: object) -> None:
    """Refuse what is neither a backbone's name nor an `Architecture`.

    Raises:
        TypeError: It is something else, such as a Keras model.
        ValueError: No backbone has that name.
    """
    if isinstance(given, Architecture):
        return
    if not isinstance(given, str):
        msg = f"backbone: got {type(given).__name__}, expected a name ({', '.join(INPUTS)}) or an Architecture; of a "
        raise TypeError(msg + "Keras model give wirelesslab.vision.backbones.Architecture.of(model)")
    check.one_of(INPUTS, backbone=given)


def is_seed(variable: Any) -> bool:
    """Return whether a Keras variable only says what a layer such as Dropout draws next, and nothing that is learned.

    Keras numbers the names of such variables anew in each model, so they are no part of a state.
    """
    return str(variable.path).endswith("/seed_generator_state")


def usual_shape(name: str | Architecture) -> tuple[int, int, int]:
    """Return h, w, c of the images that a net takes when nothing else is said."""
    return name.shape if isinstance(name, Architecture) else INPUTS[name]


def backbone(
    name: str | Architecture, *, num_classes: int = 10, shape: tuple[int, int, int] | None = None,
    widths: tuple[int, int, int] = (16, 32, 64),
) -> Any:  # fmt: skip
    """Return a Keras model, float32 images in, logits out.

    Args:
        name: "lenet" (Caffe's: conv 20 @ 5 x 5, pool, conv 50 @ 5 x 5, pool, dense 500, dense; 431,080 parameters),
            "digits" (the same idea for 8 x 8 images), "cifarnet" (two conv 64 @ 5 x 5, dense 384 and 192, as in
            TensorFlow's old tutorial but without its local response normalization: our choice),
            "resnet8" or "resnet20" (He et al. 2016, 6n + 2 layers, projections where the width changes: our choice);
            or an `Architecture`, which says all by itself.
        num_classes: Logits.
        shape: h, w, c; the net's usual one when None.
        widths: Filters of the three stages of a residual net; a net of other widths than these goes on as
            ``Architecture.of(backbone(...))``.

    Raises:
        TypeError: Neither a name nor an architecture.
        ValueError: No such name, or an architecture of another shape or number of classes.
    """
    if isinstance(name, Architecture):
        model = name.model()
        found = name.shape, int(model.outputs[0].shape[-1])
        if found != (shape or name.shape, num_classes):
            msg = f"backbone: got an architecture of {found[0]} and {found[1]} classes, expected {shape or name.shape} "
            msg += f"and {num_classes}"
            raise ValueError(msg)
        return model
    check_backbone(name)
    from wirelesslab.tensorflow import tf

    check.positive_integer(num_classes=num_classes)
    k = tf.keras.layers
    inputs = tf.keras.Input(shape or INPUTS[name])
    x = inputs
    if name == "lenet":
        for place, width in enumerate((20, 50), 1):
            x = k.MaxPooling2D(2, name=f"pool_{place}")(k.Conv2D(width, 5, name=f"conv_{place}")(x))
        x = k.Dense(500, activation="relu", name="dense_1")(k.Flatten(name="flatten")(x))
    elif name == "digits":
        x = k.Conv2D(16, 3, padding="same", activation="relu", name="conv_1")(x)
        x = k.MaxPooling2D(2, name="pool_1")(x)
        x = k.Conv2D(32, 3, padding="same", activation="relu", name="conv_2")(x)
        x = k.MaxPooling2D(2, name="pool_2")(x)
        x = k.Dense(64, activation="relu", name="dense_1")(k.Flatten(name="flatten")(x))
    elif name == "cifarnet":
        for place in (1, 2):
            x = k.Conv2D(64, 5, padding="same", activation="relu", name=f"conv_{place}")(x)
            x = k.MaxPooling2D(3, 2, padding="same", name=f"pool_{place}")(x)
        x = k.Dense(384, activation="relu", name="dense_1")(k.Flatten(name="flatten")(x))
        x = k.Dense(192, activation="relu", name="dense_2")(x)
    else:
        x = _residual(k, x, 1 if name == "resnet8" else 3, widths)
    return tf.keras.Model(inputs, k.Dense(num_classes, name="logits")(x), name=name)


def _residual(k: Any, x: Any, blocks: int, widths: tuple[int, int, int]) -> Any:
    def normed(x: Any, width: int, stride: int, name: str, size: int = 3) -> Any:
        x = k.Conv2D(width, size, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return k.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)

    x = k.ReLU(name="stem_relu")(normed(x, widths[0], 1, "stem"))
    for stage, width in enumerate(widths, 1):
        for block in range(1, blocks + 1):
            stride, name = (2 if stage > 1 and block == 1 else 1), f"stage_{stage}_block_{block}"
            y = k.ReLU(name=f"{name}_relu_1")(normed(x, width, stride, f"{name}_1"))
            y = normed(y, width, 1, f"{name}_2")
            if stride > 1:
                x = normed(x, width, stride, f"{name}_skip", 1)
            x = k.ReLU(name=f"{name}_relu_2")(k.Add(name=f"{name}_add")([x, y]))
    return k.GlobalAveragePooling2D(name="mean")(x)


def initial_weights(model: Any, seed: int) -> dict[str, NDArray[np.float32]]:
    """Return initial trainable weights by path: He normal for kernels, ones for gamma, zeros for the rest."""
    found = {}
    for variable in model.trainable_variables:
        shape, kind = tuple(variable.shape), variable.path.rpartition("/")[2]
        if kind == "kernel":
            scale = np.sqrt(2 / np.prod(shape[:-1]))
            drawn = stream(seed, "weights", variable.path).standard_normal(shape, dtype=np.float32)
            found[variable.path] = drawn * np.float32(scale)
        else:
            found[variable.path] = np.full(shape, float(kind == "gamma"), np.float32)
    return found
