"""Scenes and rooms with rare classes: shares, context, splits and streams."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.vision.formats import read_masks, write_masks
from wirelesslab.vision.segmentation_metrics import IGNORED, pixel_shares, share_groups
from wirelesslab.vision.worlds import point_scenes, scenes
from wirelesslab.vision.worlds.point_scenes import PointScenes
from wirelesslab.vision.worlds.scenes import Scenes

SMALL = {"train": 8, "validation": 4, "test": 4}
WORLDS = [Scenes(**SMALL), PointScenes(**SMALL)]


@pytest.fixture(scope="module")
def many():
    return Scenes(train=500, validation=0, test=0).data(1)


@pytest.mark.parametrize("world", WORLDS, ids=["scenes", "rooms"])
def test_no_picture_is_in_two_splits_or_under_two_seeds_and_a_larger_world_begins_with_the_smaller(world):
    one, other, larger = world.data(1), world.data(2), replace(world, train=10).data(1)
    assert len({image.tobytes() for data in (one, other) for image in data.images}) == 32
    for split, count in SMALL.items():
        np.testing.assert_array_equal(larger.only(split).images[:count], one.only(split).images)
        for name in one.truth:
            np.testing.assert_array_equal(larger.only(split).truth[name][:count], one.only(split).truth[name])


def test_shares_of_pixels_are_as_the_world_says(many):
    # Over 500 pictures a share of 0.4 % has a standard error of some 0.035 points; 6 of them, or a tenth, are allowed.
    shares = 100 * pixel_shares(many.truth["pixel_labels"], 10)
    said = np.array([42, 35, 7.7, 6, 3.7, 2.1, 1.6, 0.6, 0.43, 0.38])
    assert np.all(np.abs(shares - said) < np.maximum(0.12 * said, 0.2))
    assert share_groups(shares) == {"head": (0, 1, 2), "common": (3, 4, 5), "tail": (6, 7, 8, 9)}


def test_things_stand_mostly_where_one_looks_for_them_and_some_stray(many):
    masks, place = many.truth["pixel_labels"], scenes.CLASSES.index
    bird, sky = masks == place("bird"), masks == place("sky")
    row = np.arange(40)[None, :, None]
    middle = (bird * row).sum(axis=(1, 2)) / np.maximum(bird.sum(axis=(1, 2)), 1)
    horizon = sky.any(axis=2).sum(axis=1)  # rows that have sky
    high = (middle < horizon)[bird.any(axis=(1, 2))].mean()
    assert 0.7 < high < 0.95  # three quarters of them, and some of those that strayed to a forest before the sky
    boats = (masks == place("boat")).any(axis=(1, 2))
    ponds = (masks == place("pond")).any(axis=(1, 2))
    assert ponds[boats].mean() > ponds[~boats].mean() + 0.2
    assert not np.all(ponds[boats])


def test_a_pictures_label_is_the_rarest_class_that_is_seen(many):
    known = np.where(many.truth["pixel_labels"] == IGNORED, 0, many.truth["pixel_labels"])
    np.testing.assert_array_equal(many.labels, known.reshape(len(many), -1).max(axis=1))


def test_a_share_of_pictures_has_a_corner_without_labels(many):
    share = (many.truth["pixel_labels"] == IGNORED).any(axis=(1, 2)).mean()
    assert abs(share - 0.1) < 4 * np.sqrt(0.1 * 0.9 / 500)
    assert not np.any(replace(WORLDS[0], unlabelled=0.0).data(1).truth["pixel_labels"] == IGNORED)


def test_scenes_go_to_disk_as_pictures_with_masks(tmp_path):
    data = WORLDS[0].data(3)
    back = read_masks(write_masks(tmp_path / "scenes", data, zero_is_unlabelled=True), zero_is_unlabelled=True)
    np.testing.assert_array_equal(back.truth["pixel_labels"], data.truth["pixel_labels"])
    np.testing.assert_allclose(back.images, data.images, atol=0.5 / 255 + 1e-6)
    assert back.classes == data.classes


def test_cups_are_upon_tables_and_rooms_have_rare_things():
    data = PointScenes(train=200, validation=0, test=0).data(1)
    assert data.images.shape == (200, 256, 1, 6)
    labels = data.truth["pixel_labels"]
    shares = pixel_shares(labels, 8)
    assert set(share_groups(shares)["head"]) == {0, 1}
    assert 0.001 < shares[point_scenes.CLASSES.index("cup")] < 0.01
    height = data.images[..., 2] * point_scenes.REACH
    cup, table, floor = (height[labels == point_scenes.CLASSES.index(n)] for n in ("cup", "table", "floor"))
    assert np.median(cup) > np.median(table) > np.median(floor) + 0.5
    assert abs(np.median(floor)) < 0.02  # metres; positions jitter by 0.03


@pytest.mark.parametrize(
    ("options", "said"),
    [({"stray": 25}, "write 25 % as 0.25"), ({"side": 10}, "side"), ({"train": -1}, "train"), ({"noise": 2}, "noise")],
)
def test_nonsense_is_refused(options, said):
    with pytest.raises(ValueError, match=said):
        Scenes(**options)
