"""What nets cost, against counts by hand."""

import numpy as np
import pytest

from wirelesslab.vision.backbones import backbone
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.operations import forward_macs, training_macs
from wirelesslab.vision.update_rules import UpdateRule


@pytest.fixture(scope="module")
def keras():
    from wirelesslab.tensorflow import tf

    return tf.keras


def test_each_kind_of_layer_costs_what_a_hand_counts(keras):
    k = keras.layers
    inputs = keras.Input((10, 8, 6))
    x = k.Conv2D(12, 3, strides=2, padding="same", groups=2, name="grouped")(inputs)  # to 5, 4, 12
    x = k.BatchNormalization(name="norm")(x)
    y = k.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)  # to 5, 4, 24
    z = k.Concatenate(name="beside")([x, x])
    x = k.ReLU(name="relu")(k.Add(name="add")([y, z]))
    x = k.AveragePooling2D((2, 2), name="average")(x)  # to 2, 2, 24: the fifth row is dropped
    x = k.MaxPooling2D(2, strides=1, name="largest")(x)  # to 1, 1, 24
    x = k.Dropout(0.5, name="dropout")(k.GlobalAveragePooling2D(name="mean")(x))
    model = keras.Model(inputs, k.Dense(7, use_bias=False, name="dense")(x))
    counted = {name: macs for name, macs in forward_macs(model).items() if macs}
    assert counted == {
        "grouped": 5 * 4 * 12 * 9 * 3,  # each of 12 outputs sees 3 of the 6 channels
        "norm": 5 * 4 * 12,
        "depthwise": 5 * 4 * 24 * 9,
        "add": 2 * 5 * 4 * 24,
        "relu": 5 * 4 * 24,
        "average": 2 * 2 * 24 * 4,
        "largest": 24 * 4,
        "mean": 24,
        "dense": 24 * 7,
    }
    assert {"beside", "dropout"} <= {name for name, macs in forward_macs(model).items() if macs == 0}
    assert training_macs(model, 5, codec=11) == 15 * sum(counted.values()) + 11


def test_a_layer_that_is_not_counted_is_refused_by_its_name(keras):
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.SeparableConv2D(4, 3, name="odd")(inputs))
    with pytest.raises(ValueError, match=r"layer 'odd' of kind SeparableConv2D, which is not counted; add its rule"):
        forward_macs(model)
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="open")(inputs))
    with pytest.raises(ValueError, match=r"layer 'open' has shape \(None, None, 4\), expected a model with all sides"):
        forward_macs(model)


# By hand: cifarnet 4,864 + 102,464 + 885,120 + 73,920 + 1,930; resnet20 270,256 in convolutions (of these 2,560 in
# projections), 1,568 in BatchNorm, 650 in the last layer; resnet8 likewise 76,048 (2,560) + 672 + 650 over 3 blocks.
@pytest.mark.parametrize(
    ("name", "parameters", "norms"), [("cifarnet", 1_068_298, 0), ("resnet20", 272_474, 21), ("resnet8", 78_042, 9)]
)
def test_nets_have_the_parameters_that_a_hand_counts_and_take_a_step_down(name, parameters, norms):
    method = Classifier(backbone=name, update=UpdateRule(rule="sgd"))
    state = method.build(1)
    assert sum(w.size for w in state.part("weights").values()) == parameters
    assert len(state.part("statistics")) == 2 * norms
    side = 24 if name == "cifarnet" else 32
    rng = np.random.default_rng(0)
    batch = rng.random((8, side, side, 3), dtype=np.float32), rng.integers(0, 10, 8)
    first = method.gradients(state, batch, rng)
    assert all(np.isfinite(g).all() and np.any(g) for g in first.arrays)  # every weight has a say
    # A step of rate 0.001 / |g|^2 lowers the loss by 0.001 to first order; float32 knows it to 3e-7.
    rate = 1e-3 / sum(float((g.astype(float) ** 2).sum()) for g in first.arrays)
    after = Classifier(backbone=name, update=UpdateRule(rule="sgd", rate=rate)).apply(state, first)
    assert first.loss - method.gradients(after, batch, rng).loss == pytest.approx(1e-3, rel=0.1)
    assert backbone(name).output_shape == (None, 10)
