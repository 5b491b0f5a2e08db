"""Nets, their costs, and learning from batches."""

import numpy as np
import pytest

from wirelesslab.vision.backbones import Architecture, backbone
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.data import Data
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.update_rules import UpdateRule


def test_lenet_has_the_parameters_and_the_multiply_adds_that_a_hand_counts():
    method = Classifier(backbone="lenet")
    state = method.build(1)
    assert sum(w.size for w in state.part("weights").values()) == 431_080
    counted = {name: macs for name, macs in forward_macs(backbone("lenet")).items() if macs}
    assert counted == {
        "conv_1": 24 * 24 * 20 * 25, "pool_1": 12 * 12 * 20 * 4, "conv_2": 8 * 8 * 50 * 20 * 25,
        "pool_2": 4 * 4 * 50 * 4, "dense_1": 800 * 500, "logits": 500 * 10,
    }  # fmt: skip
    assert method.operations(state, 2) == 6 * 2_307_720


def test_weights_follow_from_the_seed():
    one, same, other = (Classifier().build(seed).part("weights") for seed in (1, 1, 2))
    assert all(np.array_equal(one[name], same[name]) for name in one)
    assert not np.array_equal(one["conv_1/kernel"], other["conv_1/kernel"])


@pytest.mark.parametrize("rule", ["sgd", "momentum", "adam"])
def test_a_state_that_was_written_and_restored_goes_on_to_the_last_bit(rule):
    method = Classifier(update=UpdateRule(rule=rule, rate=0.01, weight_decay=1e-3))
    batch = digits(3).images[:32], digits(3).labels[:32]
    rng = np.random.default_rng(0)
    state = method.build(1)
    for step in range(4):
        if step == 2:
            back = method.restored(method.written(state), 9)
        state = method.apply(state, method.gradients(state, batch, rng))
    for _ in range(2):
        back = method.apply(back, method.gradients(back, batch, rng))
    assert all(np.array_equal(state.arrays[n], back.arrays[n]) for n in state.arrays)


def test_batchnorm_s_moments_travel_beside_the_gradients_and_are_averaged():
    method = Classifier(backbone="resnet8", shape=(8, 8, 1))
    state, data = method.build(1), digits(3)
    halves = [method.gradients(state, (data.images[i::2][:16], data.labels[i::2][:16]), None) for i in (0, 1)]
    mean = [(a + b) / 2 for a, b in zip(*halves, strict=True)]
    after = method.apply(state, mean).part("statistics")
    for place, moments in enumerate(after.values()):
        assert np.array_equal(moments, (halves[0].statistics[place] + halves[1].statistics[place]) / 2)
    assert list(method.travels(state).values()).count("statistic") == len(after)


def test_a_net_learns_digits():
    data = digits(1)
    method = Classifier(epochs=8)
    fit = method.fit(method.build(1), data, 1)
    assert method.evaluate(fit.state, data.only("test"))["accuracy"] > 0.9  # chance is 0.1; full training gives 0.97
    assert len(fit.history) == 8


def test_splits_share_no_image_and_do_not_depend_on_the_side():
    data, larger = digits(5), digits(5, side=28)
    seen = [{image.tobytes() for image in data.only(name).images} for name in ("train", "validation", "test")]
    assert len(set.union(*seen)) == sum(len(images) for images in seen)
    assert all(np.array_equal(data.splits[name], larger.splits[name]) for name in data.splits)
    assert larger.images.shape == (1797, 28, 28, 1)


def test_what_does_not_fit_is_refused_in_words():
    method = Classifier()
    state = method.build(1)
    with pytest.raises(ValueError, match=r"images: got shape \(2, 9, 8, 1\), expected \(n, h=8, w=8, c=1\)"):
        method.predict(method.build(1), np.zeros((2, 9, 8, 1), np.float32))
    with pytest.raises(ValueError, match="another architecture"):
        Classifier(backbone="lenet").restored(method.written(method.build(1)), 1)
    with pytest.raises(ValueError, match="got NaN or infinity for 'conv_1/kernel'"):
        method.apply(state, [np.full(a.shape, np.nan, np.float32) for a in state.part("weights").values()])
    two = np.zeros((2, 4, 4, 1), np.float32), np.zeros(2, np.int64), ("a",)
    with pytest.raises(ValueError, match="splits must be disjoint"):
        Data(*two, splits={"train": np.array([0, 1]), "test": np.array([1])})


def test_keras_models_that_cannot_be_a_backbone_are_refused_with_what_to_do():
    from wirelesslab.tensorflow import tf

    k = tf.keras.layers
    model = backbone("digits")
    with pytest.raises(TypeError, match=r"give wirelesslab\.vision\.backbones\.Architecture\.of\(model\)"):
        Classifier(backbone=model)
    assert Classifier(backbone=Architecture.of(model)).build(1).arrays.keys() == Classifier().build(1).arrays.keys()
    with pytest.raises(ValueError, match="did you mean 'lenet'"):
        Classifier(backbone="lenett")
    with pytest.raises(ValueError, match=r"expected keras\.Input\(\(h, w, c\)\) before its first layer"):
        Architecture.of(tf.keras.Sequential([k.Conv2D(2, 3), k.Flatten(), k.Dense(10)]))
    sides = tf.keras.Sequential([tf.keras.Input((None, None, 1)), k.GlobalAveragePooling2D(), k.Dense(10)])
    with pytest.raises(ValueError, match="expected known sides"):
        Architecture.of(sides)
    with pytest.raises(TypeError, match="'lenet' of class str, expected a functional or sequential Keras model"):
        Architecture.of("lenet")
