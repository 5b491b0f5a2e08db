"""A simplex of classes, centers of a batch, their loss, and how far features have collapsed."""

from itertools import pairwise
from math import log

import numpy as np
import pytest

from tests.references import pixel_losses as slow
from wirelesslab.vision.neural_collapse import (
    CenterCollapse,
    ClassMoments,
    class_centers,
    feature_geometry,
    simplex_etf,
)
from wirelesslab.vision.segmentation_losses import Counted

K, D = 5, 6
COUNTED = Counted(np.array((50, 20, 7, 2, 0), np.float32), np.array((6, 5, 3, 1, 0), np.float32))
PLAIN = CenterCollapse(weight=1.0, prior=None)
FORMS = {
    "plain": PLAIN,
    "paper": CenterCollapse(weight=0.3, normalize=False, scale=1.0, prior=None),
    "image prior": CenterCollapse(weight=1.0),
    "pixel prior": CenterCollapse(weight=1.0, prior="pixel", smooth=0.9),
    "frozen": CenterCollapse(weight=1.0, projection="frozen_random"),
    "projected": CenterCollapse(weight=1.0, projection="learned", width=7),
    "learned": CenterCollapse(weight=1.0, prior=None, classifier="learned"),
    "small labels": CenterCollapse(weight=1.0, resize="labels"),
}


def pixels(seed=0, sizes=(3, 4, 5), absent=(2,), hidden=0.2, shrunk=1):
    rng = np.random.default_rng(seed)
    n, h, w = sizes
    features = rng.standard_normal((n, h, w, D)).astype(np.float32)
    labels = rng.choice([k for k in range(K) if k not in absent], (n, h * shrunk, w * shrunk)).astype(np.int32)
    labels[rng.random(labels.shape) < hidden] = 255
    return features, labels


def parts_of(form, dimension=D, num_classes=K):
    return {**form.fixed(dimension, num_classes), **form.learned(dimension, num_classes, 3)}


def loss_and_slopes(form, features, labels, parts=None):
    from wirelesslab.tensorflow import tf

    given = tf.constant(features)
    with tf.GradientTape() as tape:
        tape.watch(given)
        loss = form.loss(given, tf.constant(labels), parts or parts_of(form), COUNTED)
    return float(loss), tape.gradient(loss, given, unconnected_gradients="zero").numpy()


def oracle(form, features, labels):
    """The loss in float64, class after class, for features and labels of one size."""
    parts = parts_of(form)
    centers, counts = slow.centers(features, labels, K)
    nats = []
    for k in np.flatnonzero(counts):
        z = centers[k]
        if form.projection:
            z = z @ parts["projection"].astype(float)
            z = np.maximum(z, 0) if form.projection == "frozen_random" else z
        z = z / np.linalg.norm(z) if form.normalize else z
        scores = form.scale * z @ parts["classifier"].astype(float)
        if form.prior:
            prior = np.asarray(COUNTED.images if form.prior == "image" else COUNTED.pixels, float)
            scores = scores + np.log(prior / prior.sum() + 1e-12)
        logs = scores - scores.max() - log(np.exp(scores - scores.max()).sum())
        nats.append(-sum((form.smooth if j == k else (1 - form.smooth) / (K - 1)) * logs[j] for j in range(K)))
    return form.weight * float(np.mean(nats))


# --- the simplex ---


@pytest.mark.parametrize(("dimension", "classes"), [(1, 2), (9, 10), (10, 10), (32, 10), (128, 100)])
def test_columns_of_the_simplex_are_unit_equiangular_and_sum_to_zero(dimension, classes):
    w = simplex_etf(dimension, classes, seed=4)
    wanted = classes / (classes - 1) * np.eye(classes) - 1 / (classes - 1)
    assert np.abs(w.T @ w - wanted).max() <= 1e-12  # the spec asks 1e-5, of float32
    assert np.abs(w.astype(np.float32).T @ w.astype(np.float32) - wanted).max() <= 1e-5
    assert np.linalg.norm(w, axis=0) == pytest.approx(1, abs=1e-12)
    assert np.abs(w.sum(axis=1)).max() <= 1e-12


def test_the_simplex_follows_from_its_seed_and_needs_room():
    assert np.array_equal(simplex_etf(8, 5, 1), simplex_etf(8, 5, 1))
    assert not np.allclose(simplex_etf(8, 5, 1), simplex_etf(8, 5, 2))
    with pytest.raises(ValueError, match="dimension: got 8 for 10 classes, expected at least 9; give the net wider"):
        simplex_etf(8, 10, 1)
    with pytest.raises(ValueError, match="num_classes: got 1, expected at least 2"):
        simplex_etf(8, 1, 1)


# --- centers ---


def test_centers_are_the_means_of_a_loop_over_pixels():
    features, labels = pixels()
    centers, counts = class_centers(features, labels, K)
    wanted, numbers = slow.centers(features, labels, K)
    np.testing.assert_allclose(centers, wanted, atol=1e-6)
    assert np.array_equal(counts, numbers)
    assert counts[2] == 0
    assert not np.any(centers[2])


def test_smaller_features_are_enlarged_between_pixel_centres_or_labels_reduced_to_the_nearest():
    features, labels = pixels(1, shrunk=4)
    centers, _ = class_centers(features, labels, K, "features")
    np.testing.assert_allclose(centers, slow.centers(slow.bilinear(features, 16, 20), labels, K)[0], atol=1e-5)
    centers, counts = class_centers(features, labels, K, "labels")
    wanted, numbers = slow.centers(features, labels[:, 2::4, 2::4], K)
    np.testing.assert_allclose(centers, wanted, atol=1e-6)
    assert np.array_equal(counts, numbers)


def test_sums_are_of_float32_when_features_are_of_float16():
    features = np.full((4, 64, 64, 2), 1.25, np.float16)  # 16384 pixels: float16 sums would end at infinity
    centers, counts = class_centers(features, np.zeros((4, 64, 64), np.int32), 2)
    assert centers.dtype == "float32"
    assert centers[0].numpy().tolist() == [1.25, 1.25]
    assert counts.numpy().tolist() == [16384, 0]


# --- the loss ---


@pytest.mark.parametrize("name", FORMS)
def test_the_loss_is_what_a_loop_over_classes_says(name):
    for seed in range(2):
        features, labels = pixels(seed)
        assert loss_and_slopes(FORMS[name], features, labels)[0] == pytest.approx(
            oracle(FORMS[name], features, labels), rel=1e-5
        )


@pytest.mark.parametrize("name", FORMS)
def test_a_pixel_s_slope_is_that_of_its_center_over_the_number_of_its_class(name):
    from wirelesslab.tensorflow import tf

    form, parts = FORMS[name], parts_of(FORMS[name])
    features, labels = pixels(7)
    _, slopes = loss_and_slopes(form, features, labels, parts)
    centers, counts = class_centers(features, labels, K)
    with tf.GradientTape() as tape:
        tape.watch(centers)
        loss = form.weight * form.center_loss(centers, counts, parts, COUNTED)
    of_centers = tape.gradient(loss, centers).numpy()
    assert np.abs(of_centers).max() > 1e-3
    for k in range(K):
        own = slopes[labels == k]
        np.testing.assert_allclose(own, np.tile(of_centers[k] / max(float(counts[k]), 1), (len(own), 1)), atol=1e-7)
    assert not slopes[labels == 255].any()


@pytest.mark.parametrize("name", FORMS)
def test_the_loss_does_not_know_the_order_of_pixels_nor_how_often_the_batch_was_copied(name):
    features, labels = pixels(3)
    value = loss_and_slopes(FORMS[name], features, labels)[0]
    order = np.random.default_rng(1).permutation(labels.size)
    moved = features.reshape(-1, D)[order].reshape(features.shape), labels.reshape(-1)[order].reshape(labels.shape)
    assert loss_and_slopes(FORMS[name], *moved)[0] == pytest.approx(value, rel=1e-5)
    twice = np.concatenate([features, features]), np.concatenate([labels, labels])
    assert loss_and_slopes(FORMS[name], *twice)[0] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_nothing_labelled_is_no_loss_and_absent_classes_give_no_slope_and_no_nan(name):
    features, labels = pixels(3)
    value, slopes = loss_and_slopes(FORMS[name], features, np.full_like(labels, 255))
    assert value == 0
    assert not slopes.any()
    alone = np.where(labels == 255, 255, 4).astype(np.int32)  # 4 is a class that training never saw
    value, slopes = loss_and_slopes(FORMS[name], features, alone)
    assert np.isfinite(value)
    assert np.isfinite(slopes).all()


def test_turning_features_and_simplex_together_changes_nothing():
    features, labels = pixels(4)
    turn = np.linalg.qr(np.random.default_rng(2).standard_normal((D, D)))[0]
    parts = parts_of(PLAIN)
    value = loss_and_slopes(PLAIN, features, labels, parts)[0]
    turned = {"classifier": (turn @ parts["classifier"]).astype(np.float32)}
    assert loss_and_slopes(PLAIN, (features @ turn.T).astype(np.float32), labels, turned)[0] == pytest.approx(
        value, rel=1e-5
    )


def test_the_loss_on_the_corners_and_in_the_middle_is_known():
    num = 10
    corners = simplex_etf(32, num, 0).T.astype(np.float32)
    parts, there = {"classifier": corners.T}, np.ones(num, np.float32)
    wanted = log(1 + 9 * np.exp(-5 * (1 + 1 / 9)))
    assert wanted == pytest.approx(0.0342, abs=5e-5)  # of the spec
    assert float(PLAIN.center_loss(corners, there, parts, COUNTED)) == pytest.approx(wanted, rel=1e-5)
    for form in (PLAIN, FORMS["paper"]):
        zeros = np.zeros_like(corners)
        assert float(form.center_loss(zeros, there, parts, COUNTED)) == pytest.approx(log(num), rel=1e-6)
    far = [float(FORMS["paper"].center_loss(t * corners, there, parts, COUNTED)) for t in (1, 4, 16, 64)]
    assert all(a > b for a, b in pairwise(far))
    assert far[-1] < 1e-6


def test_free_features_that_follow_the_loss_come_to_have_centers_in_the_directions_of_a_simplex():
    from wirelesslab.tensorflow import tf

    form = CenterCollapse(weight=1.0, scale=1.0, prior=None)  # at scale 5 hardly any slope is left near the corners
    features, labels = pixels(6, absent=(), hidden=0.0)
    parts = parts_of(form)

    @tf.function
    def slope(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = form.loss(z, tf.constant(labels), parts, COUNTED)
        return tape.gradient(loss, z)

    before = feature_geometry(features, labels, K)
    for _ in range(300):
        features = features - 20 * slope(tf.constant(features)).numpy()
    centers = slow.centers(features, labels, K)[0]
    directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    assert np.abs(directions - parts["classifier"].T).max() < 0.05  # of their lengths the loss says nothing
    assert feature_geometry(features, labels, K).etf_deviation < before.etf_deviation / 2


def test_a_class_weighs_the_same_however_few_its_pixels():
    features = np.zeros((1, 1, 100, D), np.float32)
    features[0, 0, 0], labels = np.eye(D)[0], np.zeros((1, 1, 100), np.int32)
    features[0, 0, 1:], labels[0, 0, 0] = np.eye(D)[1], 1
    many, few = features.copy(), labels.copy()
    few[0, 0, 2:] = 255  # one pixel each
    assert loss_and_slopes(PLAIN, features, labels)[0] == pytest.approx(loss_and_slopes(PLAIN, many, few)[0], rel=1e-5)


def test_settings_that_mean_nothing_are_refused():
    for words, wrong in {
        "prior": {"prior": "pixels"}, "width: got 8 without a projection": {"width": 8}, "smooth": {"smooth": 1.5},
        "weight": {"weight": -1.0}, "scale": {"scale": 0.0}, "projection": {"projection": "random"},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=words):
            CenterCollapse(**wrong)
    with pytest.raises(ValueError, match="dimension: got 4 for 10 classes"):
        CenterCollapse().check_fits(4, 10)
    CenterCollapse(projection="learned").check_fits(4, 10)  # 9 dimensions after it


# --- geometry ---


def test_features_on_a_simplex_have_collapsed_wherever_and_however_large_they_are():
    num, corners = 6, simplex_etf(8, 6, 1).T
    labels = np.repeat(np.arange(num), [1, 2, 3, 10, 20, 30])  # imbalance does not matter
    found = feature_geometry(7 * corners[labels] + 3, labels, num, corners.T)
    for name, value in found.scores().items():
        assert value == pytest.approx(0, abs=1e-6), name
    assert found.classes == tuple(range(num))


def test_figures_of_geometry_are_those_of_their_formulas():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    labels[labels == 2] = 255  # absent, and unlabelled
    features = rng.standard_normal((300, D)) + 2 * rng.standard_normal((256, D))[labels]
    weights = rng.standard_normal((D, 4))
    found = feature_geometry(features, labels, 4, weights)
    assert found.classes == (0, 1, 3)
    means = np.array([features[labels == k].mean(axis=0) for k in (0, 1, 3)])
    within = np.mean([np.cov(features[labels == k].T, bias=True) for k in (0, 1, 3)], axis=0)
    m = means - means.mean(axis=0)
    assert found.nc1 == pytest.approx(np.trace(within @ np.linalg.pinv(m.T @ m / 3, rcond=1e-8)) / 3, rel=1e-6)
    norms = np.linalg.norm(m, axis=1)
    cosines = [m[i] @ m[j] / norms[i] / norms[j] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.norm_spread == pytest.approx(np.std(norms) / np.mean(norms))
    assert found.cosine_spread == pytest.approx(np.std(cosines))
    assert found.etf_deviation == pytest.approx(np.mean(np.abs(np.array(cosines) + 0.5)))
    w = weights.T[[0, 1, 3]] - weights.T[[0, 1, 3]].mean(axis=0)
    assert found.nc3 == pytest.approx(np.linalg.norm(w / np.linalg.norm(w) - m / np.linalg.norm(m)))
    turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
    again = feature_geometry(5 * features @ turn - 1, labels, 4, turn.T @ weights).scores()
    for name, value in found.scores().items():
        assert again[name] == pytest.approx(value, rel=1e-6), name


def test_moments_of_parts_add_up_and_what_has_no_angle_is_refused():
    rng = np.random.default_rng(1)
    features, labels = rng.standard_normal((2, 5, 5, D)), rng.integers(0, K, (2, 5, 5))
    whole = ClassMoments.of(features, labels, K)
    halves = ClassMoments.of(features[:1], labels[:1], K) + ClassMoments.of(features[1:], labels[1:], K)
    assert np.array_equal(whole.counts, halves.counts)
    np.testing.assert_allclose(whole.products, halves.products, atol=1e-12)
    with pytest.raises(ValueError, match="pixels of 1 classes, expected at least two"):
        feature_geometry(features, np.zeros_like(labels), K)
    with pytest.raises(ValueError, match="labels: got 7, expected 0 to 4 or 255"):
        feature_geometry(features, np.full_like(labels, 7), K)
    with pytest.raises(ValueError, match=r"labels: got shape \(2, 5\), expected \(2, 5, 5\)"):
        feature_geometry(features, labels[..., 0], K)
