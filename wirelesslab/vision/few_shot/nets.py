"""Nets whose features few-shot learning rests on: Conv-4 and one like ResNet-12, without their classifiers.

A feature is the mean over what is left of the image after a last ReLU: it is never negative, and has as many values as
the last stage has filters. Widths are smaller than the literature's 64 or 640, for one core (our choice); the nets are
kept as stages, between which manifold mixup mixes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from wirelesslab import check

KINDS = ("conv4", "resnet12")


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A net from images to features.

    Attributes:
        kind: "conv4": four times a convolution of 3 x 3, BatchNorm and ReLU, a maximum over 2 x 2 after the first
            three and the mean over all places after the last; "resnet12": four residual blocks of three such
            convolutions, a projection of 1 x 1 beside them, ReLU (the usual one is leaky; then features would not be
            non-negative), and the same pooling.
        widths: Filters of the four stages; the last is the number of features.
        shape: h, w, c of images, at least 8 x 8.
    """

    kind: Literal["conv4", "resnet12"] = "conv4"
    widths: tuple[int, int, int, int] = (32, 32, 64, 128)
    shape: tuple[int, int, int] = (28, 28, 1)

    def __post_init__(self) -> None:
        check.one_of(KINDS, kind=self.kind)
        check.array(self.widths, (4,), "stages", name="widths")
        check.positive_integer(**{f"widths[{k}]": width for k, width in enumerate(self.widths)})
        check.positive_integer(channels=self.shape[2])
        check.within(8, 1024, height=self.shape[0], width=self.shape[1])

    @property
    def dimension(self) -> int:
        """How many values a feature has."""
        return self.widths[-1]

    def stages(self) -> list[Any]:
        """Return four Keras models, each from what the one before gives; their layers' names differ."""
        from wirelesslab.tensorflow import tf

        made, shape = [], self.shape
        for number in range(1, 5):
            inputs = tf.keras.Input(shape)
            made.append(tf.keras.Model(inputs, self._stage(number)(inputs), name=f"stage_{number}"))
            shape = tuple(made[-1].output.shape)[1:]
        return made

    def model(self) -> Any:
        """Return one Keras model from images to features; its variables have the names that those of stages have."""
        from wirelesslab.tensorflow import tf

        inputs = tf.keras.Input(self.shape)
        x = inputs
        for number in range(1, 5):
            x = self._stage(number)(x)
        return tf.keras.Model(inputs, x, name=self.kind)

    def _stage(self, number: int) -> Callable[[Any], Any]:
        from wirelesslab.tensorflow import tf

        k, width, name = tf.keras.layers, self.widths[number - 1], f"stage_{number}"

        def normed(x: Any, part: str, size: int = 3) -> Any:
            x = k.Conv2D(width, size, padding="same", use_bias=False, name=f"{name}_conv{part}")(x)
            return k.BatchNormalization(momentum=0.9, name=f"{name}_norm{part}")(x)

        def conv4(x: Any) -> Any:
            return k.ReLU(name=f"{name}_relu")(normed(x, ""))

        def residual(x: Any) -> Any:
            y = k.ReLU(name=f"{name}_relu_1")(normed(x, "_1"))
            y = k.ReLU(name=f"{name}_relu_2")(normed(y, "_2"))
            y = k.Add(name=f"{name}_add")([normed(y, "_3"), normed(x, "_skip", 1)])
            return k.ReLU(name=f"{name}_relu_3")(y)

        def stage(x: Any) -> Any:
            x = conv4(x) if self.kind == "conv4" else residual(x)
            pool = k.MaxPooling2D(2, name=f"{name}_pool") if number < 4 else k.GlobalAveragePooling2D(name="mean")
            return pool(x)

        return stage
