"""Few-shot splits on disk: what is written is read again, and what is wrong is named."""

import numpy as np
import pytest

from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats import read_split_files, write_split_files

NAMES = ("oak", "elm", "ash", "yew")
LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3])
SPLITS = {"train": np.arange(6), "validation": np.arange(6, 9), "test": np.arange(9, 12)}


def world(channels=1):
    pixels = np.random.default_rng(channels).integers(0, 256, (12, 9, 9, channels))
    return Data((pixels / 255).astype(np.float32), LABELS, NAMES, SPLITS, name="trees")


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_written_is_read_again(tmp_path, channels):
    data = world(channels)
    found = read_split_files(write_split_files(tmp_path / "trees", data), channels=channels)
    assert found.classes == NAMES
    for split in SPLITS:
        np.testing.assert_array_equal(found.only(split).images, data.only(split).images)
        np.testing.assert_array_equal(found.only(split).labels, data.only(split).labels)


def test_a_seed_says_which_of_each_class_are_taken(tmp_path):
    root = write_split_files(tmp_path, world())
    few, again, other = (read_split_files(root, channels=1, per_class=2, seed=seed) for seed in (1, 1, 2))
    assert np.bincount(few.labels).tolist() == [2, 2, 2, 2]
    assert few.digest() == again.digest() != other.digest()


def rewritten(file, old, new):
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "val.csv").unlink(), "val.csv: no such file"),
        (lambda root: (root / "images" / "00000004.png").unlink(), "00000004.png: no such picture, but train.csv"),
        (lambda root: (root / "images" / "00000004.png").write_bytes(b"no"), "00000004.png: cannot be read as PNG"),
        (lambda root: rewritten(root / "test.csv", "filename,label", "file,class"), "got the columns"),
        (lambda root: rewritten(root / "test.csv", "yew", "oak"), "class 'oak' is in train.csv too"),
        (lambda root: rewritten(root / "test.csv", "00000011", "00000010"), "expected a new filename"),
        (lambda root: (root / "val.csv").write_text("filename,label\n", encoding="utf-8"), "got no row"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, harm, words):
    root = write_split_files(tmp_path, world())
    harm(root)
    with pytest.raises(DataError, match=words):
        read_split_files(root, channels=1)


def test_sizes_that_differ_need_a_side(tmp_path):
    from PIL import Image

    root = write_split_files(tmp_path, world())
    Image.new("L", (12, 10)).save(root / "images" / "00000003.png")
    with pytest.raises(DataError, match=r"00000003.png: got shape \(10, 12, 1\).*give a side"):
        read_split_files(root, channels=1)
    assert read_split_files(root, channels=1, side=8).images.shape == (12, 8, 8, 1)


def test_a_class_in_two_splits_is_not_written(tmp_path):
    data = world()
    both = Data(data.images, data.labels, NAMES, {**SPLITS, "train": np.arange(5), "test": np.array([5, 9, 10])})
    with pytest.raises(ValueError, match="class 'elm' is in 'train' and 'test'"):
        write_split_files(tmp_path, both)
