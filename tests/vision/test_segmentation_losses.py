"""Losses of pixels are what a slow loop says, and look at labelled pixels alone."""

from functools import partial

import numpy as np
import pytest

from tests.references import pixel_losses as slow
from wirelesslab.vision.schedules import Schedule
from wirelesslab.vision.segmentation_losses import (
    LOSSES,
    ClassCounts,
    Counted,
    CrossEntropy,
    Dice,
    Focal,
    LogitAdjusted,
    Lovasz,
    WeightedCrossEntropy,
)

PIXELS = (50, 20, 7, 2, 0)
COUNTED = Counted(np.array(PIXELS, np.float32), np.array((6, 5, 3, 1, 0), np.float32))


def batch(seed=0, absent=(1,), hidden=0.2):
    rng = np.random.default_rng(seed)
    logits = (3 * rng.standard_normal((2, 4, 5, 5))).astype(np.float32)
    labels = rng.choice([k for k in range(4) if k not in absent], (2, 4, 5)).astype(np.int32)
    labels[rng.random(labels.shape) < hidden] = 255
    return logits, labels


def value_and_slope(loss, logits, labels, counts=COUNTED):
    from wirelesslab.tensorflow import tf

    given = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(given)
        found = loss.loss(given, tf.constant(labels), counts)
    return float(found), tape.gradient(found, given).numpy()


ORACLES = {
    "cross entropy": (CrossEntropy(), slow.cross_entropy),
    "weighted": (WeightedCrossEntropy(power=1.0), partial(slow.weighted, pixels=PIXELS, power=1.0)),
    "weighted by roots": (WeightedCrossEntropy(), partial(slow.weighted, pixels=PIXELS, power=0.5)),
    "focal": (Focal(), partial(slow.focal, gamma=2.0)),
    "focal of a half": (Focal(gamma=0.5), partial(slow.focal, gamma=0.5)),
    "logit adjusted": (LogitAdjusted(tau=0.7), partial(slow.logit_adjusted, pixels=PIXELS, tau=0.7)),
    "dice": (Dice(cross_entropy=0.0), partial(slow.dice, smooth=1.0)),
    "lovasz": (Lovasz(cross_entropy=0.0), slow.lovasz),
}


@pytest.mark.parametrize("name", ORACLES)
def test_a_loss_is_what_a_loop_over_pixels_says(name):
    loss, oracle = ORACLES[name]
    for seed in range(3):
        logits, labels = batch(seed)
        assert value_and_slope(loss, logits, labels)[0] == pytest.approx(oracle(logits, labels), rel=1e-5)


@pytest.mark.parametrize("name", ORACLES)
def test_a_slope_is_the_difference_quotient_of_the_loop(name):
    loss, oracle = ORACLES[name]
    logits, labels = batch(5)
    slope = value_and_slope(loss, logits, labels)[1]
    rng = np.random.default_rng(1)
    for _ in range(3):
        way = rng.standard_normal(logits.shape)
        quotient = (oracle(logits + 1e-6 * way, labels) - oracle(logits - 1e-6 * way, labels)) / 2e-6
        assert float((slope * way).sum()) == pytest.approx(quotient, rel=1e-3, abs=1e-5)  # no tie of Lovasz' is met


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_what_is_said_of_an_unlabelled_pixel_changes_nothing(loss):
    logits, labels = batch(2)
    value, slope = value_and_slope(loss, logits, labels)
    other = np.where((labels == 255)[..., None], np.float32(7) * logits[..., ::-1], logits)
    assert value_and_slope(loss, other, labels)[0] == value
    assert not slope[labels == 255].any()


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_without_a_labelled_pixel_there_is_no_loss_and_no_slope(loss):
    logits, labels = batch(2)
    value, slope = value_and_slope(loss, logits, np.full_like(labels, 255))
    assert value == 0
    assert not slope.any()


def test_dice_and_lovasz_stand_beside_cross_entropy_unless_it_is_left_out():
    logits, labels = batch(3)
    plain = value_and_slope(CrossEntropy(), logits, labels)[0]
    for kind in (Dice, Lovasz):
        alone = value_and_slope(kind(cross_entropy=0.0), logits, labels)[0]
        assert value_and_slope(kind(cross_entropy=0.5), logits, labels)[0] == pytest.approx(
            alone + 0.5 * plain, rel=1e-6
        )


def test_losses_that_are_cross_entropy_at_their_ends_are_it():
    logits, labels = batch(4)
    plain = value_and_slope(CrossEntropy(), logits, labels)[0]
    for loss in (Focal(gamma=0.0), LogitAdjusted(tau=0.0), WeightedCrossEntropy(power=0.0)):
        assert value_and_slope(loss, logits, labels)[0] == pytest.approx(plain, rel=1e-6)


def test_classes_are_counted_by_pixels_and_by_images():
    labels = np.full((3, 2, 2), 255, np.uint8)
    labels[0], labels[1, 0] = 0, (1, 0)
    assert ClassCounts.of(labels, 3) == ClassCounts((5, 1, 0), (2, 1, 0))
    with pytest.raises(ValueError, match="got 3 masks without a labelled pixel"):
        ClassCounts.of(np.full((3, 2, 2), 255), 3)
    with pytest.raises(ValueError, match=r"labels: got 3 at \(0, 0, 1\)"):
        ClassCounts.of([[[0, 3]]], 3)
    with pytest.raises(ValueError, match="one for each class"):
        ClassCounts((1, 2), (1,))


def test_schedules_start_and_end_where_they_should():
    assert [Schedule().factor(s, 10) for s in (0, 9, 20)] == [1, 1, 1]
    assert Schedule(kind="cosine").factor(0, 10) == 1
    assert Schedule(kind="cosine").factor(10, 10) == pytest.approx(0, abs=1e-15)
    assert [round(Schedule(kind="steps").factor(s, 100), 4) for s in (59, 60, 85)] == [1, 0.1, 0.01]
    assert Schedule(kind="poly").factor(50, 100) == pytest.approx(0.5**0.9)
    assert [Schedule(warm_up=0.5).factor(s, 8) for s in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]
    with pytest.raises(ValueError, match="did you mean 'cosine'"):
        Schedule(kind="cosin")
