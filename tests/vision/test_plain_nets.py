"""The plain nets: gradients are slopes, operations are counted, and they learn digits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.rng import stream
from wirelesslab.vision.plain_nets import DIGITS, LENET, PlainNet

TINY = PlainNet(image=(7, 6, 2), channels=(3, 4), hidden=(5,), classes=3)


def batch(net: PlainNet, size: int, seed: int = 0):
    rng = stream(seed, "images")
    return rng.standard_normal((size, *net.image)).astype(np.float32), rng.integers(0, net.classes, size)


def test_lenet_has_its_431080_parameters_in_eight_tensors():
    assert LENET.num_parameters == 431_080
    assert LENET.shapes == (
        (5, 5, 1, 20), (20,), (5, 5, 20, 50), (50,), (800, 500), (500,), (500, 10), (10,),
    )  # fmt: skip


def test_operations_are_twice_the_multiplications_of_each_layer_and_backward_counts_twice():
    macs = 24 * 24 * 25 * 20 + 8 * 8 * 25 * 20 * 50 + 800 * 500 + 500 * 10
    assert LENET.forward_operations() == 2 * macs
    assert LENET.operations(16) == 3 * 16 * 2 * macs


@pytest.mark.parametrize("net", [TINY, replace(TINY, pad=2, kernel=4), replace(TINY, channels=(), hidden=(4, 5))])
def test_gradients_are_the_slopes_of_the_loss(net):
    state, (images, labels) = net.build(1), batch(net, 6)
    found = net.gradients(state, (images, labels), stream(0))
    rng, width = stream(2, "entries"), 1e-3
    for place, gradient in enumerate(found):
        assert gradient.shape == net.shapes[place]
        assert gradient.dtype == np.float32
        direction = rng.standard_normal(gradient.shape).astype(np.float32)
        direction /= np.linalg.norm(direction)
        losses = [
            net.loss_and_accuracy(
                state | {f"weight/{place}": state[f"weight/{place}"] + side * width * direction}, images, labels
            )[0]
            for side in (np.float32(1), np.float32(-1))
        ]
        # rounding of the loss is 1e-7, divided by the width: 1e-4
        assert (losses[0] - losses[1]) / (2 * width) == pytest.approx(float((gradient * direction).sum()), abs=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 12))
def test_the_gradient_of_a_batch_is_the_mean_of_its_halves(half):
    state, (images, labels) = TINY.build(1), batch(TINY, 2 * half, seed=half)
    whole = TINY.gradients(state, (images, labels), stream(0))
    parts = [
        TINY.gradients(state, (images[part], labels[part]), stream(0)) for part in (slice(half), slice(half, None))
    ]
    for g, a, b in zip(whole, *parts, strict=True):
        np.testing.assert_allclose(g, (a + b) / 2, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.05), ("momentum", 0.01), ("adam", 3e-3)])
def test_it_learns_what_can_be_learnt(optimizer, rate):
    net = replace(TINY, hidden=(32,), optimizer=optimizer, rate=rate)
    images, labels = batch(net, 60)
    images += 2 * labels[:, None, None, None].astype(np.float32)
    state = net.build(3)
    for step in range(150):
        chosen = stream(step, "batch").choice(60, 20, replace=False)
        state = net.apply(state, net.gradients(state, (images[chosen], labels[chosen]), stream(0)))
    assert net.loss_and_accuracy(state, images, labels)[1] > 0.9  # chance is a third


def test_a_decaying_rate_ends_at_nothing_and_weight_decay_shrinks():
    net = replace(TINY, decay_steps=2, weight_decay=0.1, optimizer="sgd", rate=0.5)
    zeros = [np.zeros(shape, np.float32) for shape in net.shapes]
    start = net.build(1)
    one = net.apply(start, zeros)
    np.testing.assert_allclose(one["weight/0"], start["weight/0"] * (1 - 0.5 * 0.1), rtol=1e-6)
    two = net.apply(one, zeros)
    np.testing.assert_allclose(two["weight/0"], one["weight/0"] * (1 - 0.25 * 0.1), rtol=1e-6)
    three = net.apply(two, zeros)
    np.testing.assert_array_equal(three["weight/0"], two["weight/0"])


def test_images_of_the_wrong_shape_and_states_of_other_nets_are_refused():
    with pytest.raises(ValueError, match=r"images: got shape \(2, 9, 8, 1\)"):
        DIGITS.loss_and_accuracy(DIGITS.build(1), np.zeros((2, 9, 8, 1), np.float32), np.zeros(2, int))
    with pytest.raises(ValueError, match="expected the arrays of"):
        DIGITS.restored(TINY.build(1), 1)
    with pytest.raises(ValueError, match="too small"):
        PlainNet(image=(4, 4, 1), kernel=5, pad=0)
    with pytest.raises(ValueError, match="optimizer"):
        PlainNet(optimizer="adagrad")
