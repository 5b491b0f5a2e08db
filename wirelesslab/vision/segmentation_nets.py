"""Nets that say a class for each pixel or point: a small U-Net, one like DeepLab, and a point net.

They return logits of the size of the images. The last layer with weights is a 1 x 1 classifier called "logits"; what it
reads, the features, is the output of a layer called "features", 32 numbers a pixel: affine, so that a feature may point
anywhere (after a ReLU no two could be more than a right angle apart).
"""

from typing import Any

from wirelesslab import check

NETS = ("unet", "deeplab", "points")
INPUTS = {"unet": (40, 40, 3), "deeplab": (40, 40, 3), "points": (256, 1, 6)}
WIDTHS = {"unet": (16, 32, 64), "deeplab": (16, 32, 64), "points": (32, 64, 128)}
RATES = (1, 2, 4)  # of the pyramid, at a quarter of the size; our choice for images of some tens of pixels


def segmentation_net(
    name: str, *, num_classes: int, shape: tuple[int, int, int] | None = None,
    widths: tuple[int, int, int] | None = None, features: int = 32,
) -> Any:  # fmt: skip
    """Return a Keras model, float32 images in, logits (n, h, w, K) out; all its layers are Keras' own.

    Args:
        name: "unet" (Ronneberger et al., 2015, with two poolings, BatchNorm, and at full size one narrow convolution
            each way), "deeplab" (Chen et al., 2017: a stride of 4, then dilated convolutions side by side and the
            image's mean; logits are enlarged bilinearly), or "points" (Qi et al., PointNet, 2017, without its
            transforms: shared dense layers, the largest value over the cloud beside each point's own; a cloud is an
            image (points, 1, numbers)). Widths and depths are our choice.
        num_classes: Logits of a pixel.
        shape: h, w, c; the net's usual one when None.
        widths: Channels at full, half and quarter size, or of the point net's three layers.
        features: Numbers that the last layer reads.

    Raises:
        ValueError: No such name, or sides that the net cannot halve twice.
    """
    check.one_of(NETS, net=name)
    check.positive_integer(num_classes=num_classes, features=features)
    sides = shape or INPUTS[name]
    check_sides(name, sides)
    channels = widths or WIDTHS[name]
    check.positive_integer(**{f"width_{i}": width for i, width in enumerate(channels)})
    from wirelesslab.tensorflow import tf

    k = tf.keras.layers
    inputs = tf.keras.Input(sides, name="images")
    made = {"unet": _unet, "deeplab": _deeplab, "points": _points}[name](k, inputs, sides, channels, features)
    logits = k.Conv2D(num_classes, 1, name="logits")(made)
    if name == "deeplab":
        logits = k.UpSampling2D(4, interpolation="bilinear", name="enlarge")(logits)
    return tf.keras.Model(inputs, logits, name=name)


def check_sides(name: str, shape: tuple[int, int, int]) -> None:
    """Refuse images that a net cannot take.

    Raises:
        ValueError: A side that cannot be halved twice, or a cloud that is no column.
    """
    check.positive_integer(**dict(zip(("height", "width", "channels"), shape, strict=True)))
    if name == "points":
        if shape[1] != 1:
            msg = f"shape: got {shape} for 'points', expected (points, 1, numbers of each)"
            raise ValueError(msg)
    elif shape[0] % 4 or shape[1] % 4:
        msg = (
            f"shape: got {shape} for {name!r}, which halves images twice, expected a height and width divisible by 4; "
        )
        raise ValueError(msg + "pad or crop them")


def _conv(k: Any, x: Any, width: int, name: str, *, size: int = 3, stride: int = 1, rate: int = 1) -> Any:
    x = k.Conv2D(
        width, size, stride, padding="same", dilation_rate=rate, use_bias=False, name=f"{name}_conv"
    )(x)  # fmt: skip
    return k.ReLU(name=f"{name}_relu")(k.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x))


def _of_whole(k: Any, x: Any, width: int, name: str) -> Any:
    """One vector an image: without BatchNorm, whose moments over a few vectors would be noise."""
    return k.Conv2D(width, 1, activation="relu", name=name)(x)


def _features(k: Any, x: Any, width: int, size: int) -> Any:
    return k.Conv2D(width, size, padding="same", name="features")(x)


def _unet(k: Any, x: Any, sides: tuple[int, int, int], widths: tuple[int, int, int], features: int) -> Any:  # noqa: ARG001
    full = _conv(k, x, widths[0], "down_1")
    half = _conv(k, k.MaxPooling2D(2, name="pool_1")(full), widths[1], "down_2")
    x = _conv(k, k.MaxPooling2D(2, name="pool_2")(half), widths[2], "down_3a")
    x = _conv(k, x, widths[2], "down_3b")
    x = k.UpSampling2D(2, interpolation="bilinear", name="enlarge_2")(_conv(k, x, widths[1], "up_3", size=1))
    x = _conv(k, k.Concatenate(name="join_2")([half, x]), widths[1], "up_2")
    x = k.UpSampling2D(2, interpolation="bilinear", name="enlarge_1")(_conv(k, x, widths[0], "up_1", size=1))
    return _features(k, k.Concatenate(name="join_1")([full, x]), features, 3)


def _deeplab(k: Any, x: Any, sides: tuple[int, int, int], widths: tuple[int, int, int], features: int) -> Any:
    x = _conv(k, x, widths[0], "down_1")
    x = _conv(k, x, widths[1], "down_2", stride=2)
    x = _conv(k, x, widths[2], "down_3", stride=2)
    parts = [_conv(k, x, widths[1], f"pyramid_{rate}", rate=rate) for rate in RATES]
    whole = _of_whole(k, k.GlobalAveragePooling2D(keepdims=True, name="mean")(x), widths[1], "pyramid_mean")
    parts.append(k.UpSampling2D((sides[0] // 4, sides[1] // 4), name="spread")(whole))
    return _features(k, k.Concatenate(name="join")(parts), features, 1)


def _points(k: Any, x: Any, sides: tuple[int, int, int], widths: tuple[int, int, int], features: int) -> Any:
    x = _conv(k, x, widths[0], "point_1", size=1)
    own = _conv(k, x, widths[1], "point_2", size=1)
    wide = _conv(k, own, widths[2], "point_3", size=1)
    whole = _of_whole(k, k.GlobalMaxPooling2D(keepdims=True, name="largest")(wide), widths[1], "cloud")
    x = k.Concatenate(name="join")([own, k.UpSampling2D((sides[0], 1), name="spread")(whole)])
    return _features(k, _conv(k, x, widths[1], "mixed", size=1), features, 1)
