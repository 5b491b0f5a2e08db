"""Pictures with index masks: what is written is read back, and what is damaged or does not fit is refused."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats import read_masks, write_masks
from wirelesslab.vision.segmentation_metrics import IGNORED

CLASSES = ("sky", "meadow", "bird")


def some(channels=3, unlabelled=True):
    rng = np.random.default_rng(3)
    images = (rng.integers(0, 256, (9, 6, 5, channels)) / np.float32(255)).astype(np.float32)
    masks = rng.choice(3, (9, 6, 5), p=[0.5, 0.4, 0.1]).astype(np.uint8)
    if unlabelled:
        masks[:, :2, :2] = IGNORED
    splits = {"train": np.arange(5), "validation": np.arange(5, 7), "test": np.arange(7, 9)}
    return Data(images, np.zeros(9, np.int64), CLASSES, splits, truth={"pixel_labels": masks})


def put(path, values, mode=None):
    Image.fromarray(np.asarray(values), mode).save(path)


@pytest.fixture
def root(tmp_path):
    return write_masks(tmp_path / "scenes", some())


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_masks_are_written_and_read_back(tmp_path, channels, zero):
    data = some(channels)
    root = write_masks(tmp_path / "scenes", data, zero_is_unlabelled=zero)
    back = read_masks(root, zero_is_unlabelled=zero)
    assert back.classes == CLASSES
    np.testing.assert_array_equal(back.images, data.images)
    np.testing.assert_array_equal(back.truth["pixel_labels"], data.truth["pixel_labels"])
    assert back.truth["pixel_labels"].dtype == np.uint8
    assert {name: len(places) for name, places in back.splits.items()} == {"train": 5, "validation": 2, "test": 2}
    assert (root / "annotations" / "training").is_dir()


def test_in_ade20k_0_is_what_nobody_labelled_and_classes_count_from_1(tmp_path):
    root = write_masks(tmp_path / "scenes", some(), zero_is_unlabelled=True)
    with Image.open(next((root / "annotations" / "training").iterdir())) as opened:
        raw = np.asarray(opened)
    assert np.all(raw[:2, :2] == 0)
    assert set(np.unique(raw[2:])) <= {1, 2, 3}
    with pytest.raises(DataError, match=r"got 3 at row .*expected 0 to 2, or 255"):
        read_masks(root)  # in the other convention


def test_masks_with_a_palette_are_read_by_their_numbers(root):
    file = sorted((root / "annotations" / "test").iterdir())[0]
    with Image.open(file) as opened:
        values = np.array(opened)
    picture = Image.fromarray(values)
    picture.putpalette([k for k in range(256) for _ in range(3)][::-1])
    picture.save(file)
    with Image.open(file) as opened:
        assert opened.mode == "P"
    np.testing.assert_array_equal(read_masks(root).only("test").truth["pixel_labels"][0], values)


def test_a_pictures_label_is_its_rarest_class_by_training_shares(root):
    back = read_masks(root)
    masks = back.truth["pixel_labels"]
    assert np.array_equal(back.labels == 2, (masks == 2).any(axis=(1, 2)))


def test_a_picture_without_a_labelled_pixel_is_kept_dropped_or_refused(tmp_path):
    data = some()
    data.truth["pixel_labels"][1] = IGNORED
    root = write_masks(tmp_path / "scenes", data)
    assert len(read_masks(root)) == 9
    dropped = read_masks(root, without_labels="drop")
    assert {name: len(places) for name, places in dropped.splits.items()} == {"train": 4, "validation": 2, "test": 2}
    with pytest.raises(DataError, match=r"00000001\.png: got a mask without a labelled pixel"):
        read_masks(root, without_labels="refuse")


def test_only_the_first_of_each_split_may_be_read(root):
    assert {name: len(places) for name, places in read_masks(root, most=2).splits.items()} == {
        "train": 2, "validation": 2, "test": 2,
    }  # fmt: skip


def first(root, kind, split="training"):
    return sorted((root / kind / split).iterdir())[0]


DAMAGES = {
    "cut short": (lambda r: first(r, "images").write_bytes(first(r, "images").read_bytes()[:60]), "cut short, damaged"),
    "no mask": (lambda r: first(r, "annotations").unlink(), "a mask for each picture"),
    "no picture": (lambda r: first(r, "images").unlink(), "a picture for each mask"),
    "another size": (lambda r: put(first(r, "annotations"), np.zeros((6, 4), np.uint8)), r"mask of \(6, 4\)"),
    "a number too large": (lambda r: put(first(r, "annotations"), np.full((6, 5), 3, np.uint8)), "got 3 at row 0"),
    "a mask in colour": (lambda r: put(first(r, "annotations"), np.zeros((6, 5, 3), np.uint8)), "mode RGB"),
    "sixteen bits": (lambda r: put(first(r, "annotations"), np.zeros((6, 5), np.uint16)), "mode I;16"),
    "no names": (lambda r: (r / "classes.txt").unlink(), "the name of a class in each line"),
    "a name twice": (lambda r: (r / "classes.txt").write_text("sky\nsky\nbird\n"), "there twice"),
    "pictures gone": (lambda r: [f.unlink() for f in (r / "images" / "test").iterdir()]
                      and (r / "images" / "test").rmdir(), "no such folder, expected pictures"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_or_does_not_fit_is_refused(root, damage):
    spoil, said = DAMAGES[damage]
    spoil(root)
    with pytest.raises(DataError, match=said):
        read_masks(root)


def test_pictures_of_different_sizes_are_refused(root):
    for kind, shape in (("images", (7, 5, 3)), ("annotations", (7, 5))):
        put(sorted((root / kind / "training").iterdir())[1], np.zeros(shape, np.uint8))
    with pytest.raises(DataError, match=r"got shape \(7, 5, 3\).*as the others"):
        read_masks(root)


def test_a_mask_as_jpeg_is_refused(root):
    file = first(root, "annotations")
    put(file.with_suffix(".jpg"), np.zeros((6, 5), np.uint8))
    file.unlink()
    with pytest.raises(DataError, match="a mask as JPEG"):
        read_masks(root)


def test_labels_outside_the_classes_are_not_written(tmp_path):
    data = some()
    odd = replace(data, truth={"pixel_labels": np.full((9, 6, 5), 4, np.uint8)})
    with pytest.raises(ValueError, match="pixel_labels: got 4 at"):
        write_masks(tmp_path / "scenes", odd)
    with pytest.raises(ValueError, match="truth: got 'pixel_labels'"):
        write_masks(tmp_path / "scenes", replace(data, truth={}))


def test_nothing_is_written_among_what_was_there_before(root):
    fewer = some().at(np.arange(2))
    with pytest.raises(ValueError, match="'annotations' in it, expected a new or empty folder"):
        write_masks(root, fewer)  # seven old pictures would be read with it
    assert len(read_masks(root)) == 9
