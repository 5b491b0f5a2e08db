"""Segmentation metrics: counts by image, classes that are nowhere, groups by share, intervals between images."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, jaccard_score

from wirelesslab.vision.segmentation_metrics import (
    IGNORED,
    PixelCounts,
    pixel_confusion,
    pixel_shares,
    rarest_there,
    segmentation_scores,
    share_groups,
)

RNG = np.random.default_rng(5)
LABELS = RNG.integers(0, 4, (6, 8, 9))
SAID = np.where(RNG.random(LABELS.shape) < 0.6, LABELS, RNG.integers(0, 4, LABELS.shape))
HOLED = np.where(RNG.random(LABELS.shape) < 0.2, IGNORED, LABELS).astype(np.uint8)


def test_iou_and_confusion_are_those_of_scikit_learn_on_labelled_pixels():
    known = HOLED != IGNORED
    iou = PixelCounts.of(SAID, HOLED, 4).iou()
    np.testing.assert_allclose(iou, jaccard_score(HOLED[known], SAID[known], average=None), rtol=1e-12)
    np.testing.assert_array_equal(pixel_confusion(SAID, HOLED, 4), confusion_matrix(HOLED[known], SAID[known]))


def test_counts_of_images_add_to_those_of_all():
    parts = [PixelCounts.of(SAID[i : i + 2], HOLED[i : i + 2], 4) for i in (0, 2, 4)]
    whole, added = PixelCounts.of(SAID, HOLED, 4), parts[0] + parts[1] + parts[2]
    for name in ("both", "there", "said"):
        np.testing.assert_array_equal(getattr(added, name), getattr(whole, name))
    confusion = pixel_confusion(SAID, HOLED, 4)
    np.testing.assert_array_equal(whole.both.sum(axis=0), np.diag(confusion))
    np.testing.assert_array_equal(whole.there.sum(axis=0), confusion.sum(axis=1))
    np.testing.assert_array_equal(whole.said.sum(axis=0), confusion.sum(axis=0))


def test_what_is_said_of_unlabelled_pixels_does_not_matter():
    other = np.where(HOLED == IGNORED, 3 - SAID, SAID)
    np.testing.assert_array_equal(pixel_confusion(other, HOLED, 4), pixel_confusion(SAID, HOLED, 4))


def test_a_class_that_is_nowhere_has_no_iou_and_one_that_is_only_said_has_0():
    labels, said = np.zeros((2, 2, 2), int), np.zeros((2, 2, 2), int)
    said[0, 0, 0] = 1
    iou = PixelCounts.of(said, labels, 3).iou()
    assert iou[0] == pytest.approx(7 / 8)
    assert iou[1] == 0
    assert np.isnan(iou[2])
    scores = segmentation_scores(PixelCounts.of(said, labels, 3), classes=("sky", "bird", "boat"))
    assert scores["mIoU"] == pytest.approx((7 / 8 + 0) / 2)  # the boat is left out
    assert scores["IoU bird"] == 0
    assert np.isnan(scores["IoU boat"])
    assert np.isnan(scores["tail mIoU"])


def test_images_without_a_labelled_pixel_change_nothing_but_their_number():
    blank = np.full((1, 8, 9), IGNORED)
    with_blank = PixelCounts.of(np.concatenate([SAID, SAID[:1]]), np.concatenate([HOLED, blank]), 4)
    one, two = (segmentation_scores(c) for c in (PixelCounts.of(SAID, HOLED, 4), with_blank))
    assert two["images"] == one["images"] + 1
    for name in ("mIoU", "pixel accuracy", "pixel accuracy low", "pixels"):
        assert two[name] == one[name]
    with pytest.raises(ValueError, match="labelled_pixels"):
        segmentation_scores(PixelCounts.of(SAID[:1], blank, 4))


def test_groups_are_thirds_by_training_share_and_the_tail_has_what_is_left():
    spec = [40.3, 37.1, 7.9, 5.9, 4.1, 1.9, 1.5, 0.58, 0.42, 0.36]
    assert share_groups(spec) == {"head": (0, 1, 2), "common": (3, 4, 5), "tail": (6, 7, 8, 9)}
    assert share_groups(spec[::-1]) == {"head": (7, 8, 9), "common": (4, 5, 6), "tail": (0, 1, 2, 3)}
    assert share_groups([0.5, 0.5, 0, 0]) == {"head": (0,), "common": (1,), "tail": (2, 3)}
    with pytest.raises(ValueError, match="at least three"):
        share_groups([0.5, 0.5])


def test_groups_follow_the_shares_that_are_given_and_not_the_judged_pixels():
    counts = PixelCounts.of(SAID, HOLED, 4)
    iou = counts.iou()
    scores = segmentation_scores(counts, [1, 2, 3, 4])
    assert scores["head mIoU"] == iou[3]
    assert scores["tail mIoU"] == pytest.approx((iou[0] + iou[1]) / 2)


def test_the_interval_of_mean_iou_covers_between_images_as_often_as_it_says():
    # Whole images are good or bad: 300 worlds of 60 images. With 95 % coverage, fewer than 271 hits (90.3 %)
    # has a probability below 0.1 %; the interval may be a little too narrow, so this is where it must not go below.
    rng = np.random.default_rng(11)
    labels = np.tile(np.array([[0, 0, 0, 1]]), (60, 1, 1))
    quality, hits, worlds = (0.95, 0.6), 0, []
    for _ in range(300):
        good = rng.random(60) < 0.5
        right = rng.random((60, 1, 4)) < np.where(good, *quality)[:, None, None]
        worlds.append(PixelCounts.of(np.where(right, labels, 1 - labels), labels, 2))
    truth = sum(worlds[1:], worlds[0]).iou().mean()
    for counts in worlds:
        found = counts.mean_iou()
        hits += found.low <= truth <= found.high
    assert 271 <= hits < 300


@pytest.mark.parametrize(("labels", "where"), [(7, r"got 7 at \(1, 2, 3\)"), (-1, r"got -1 at \(1, 2, 3\)")])
def test_a_label_outside_the_classes_is_refused_with_its_place(labels, where):
    odd = LABELS.copy()
    odd[1, 2, 3] = labels
    with pytest.raises(ValueError, match=where):
        PixelCounts.of(SAID, odd, 4)
    with pytest.raises(ValueError, match=where):
        pixel_shares(odd, 4)
    with pytest.raises(ValueError, match="predicted: got"):
        PixelCounts.of(odd, LABELS, 4)


def test_what_are_no_masks_is_refused():
    with pytest.raises(TypeError, match="whole numbers"):
        PixelCounts.of(SAID.astype(float), LABELS, 4)
    with pytest.raises(ValueError, match="predicted: got shape"):
        PixelCounts.of(SAID[:, :4], LABELS, 4)
    with pytest.raises(ValueError, match="num_classes"):
        PixelCounts.of(SAID, LABELS, 256)  # 255 would be a class


def test_the_rarest_class_of_an_image_is_that_of_the_smallest_share_in_it():
    masks = np.zeros((3, 2, 2), np.uint8)
    masks[0, 0, 0], masks[0, 0, 1] = 1, 2
    masks[2] = IGNORED
    np.testing.assert_array_equal(rarest_there(masks, [0.6, 0.1, 0.3]), [1, 0, 0])
