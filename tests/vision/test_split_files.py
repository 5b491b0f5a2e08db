"""Few-shot splits on disk: public layouts are read, what is written is read again, and what is wrong is named."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.few_shot import Episodes, check_disjoint
from wirelesslab.vision.formats import read_folders, read_split_files, write_split_files

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


# --- public layouts, written by hand -------------------------------------------------------------------------------

PUBLIC = {"train": range(64), "val": range(64, 80), "test": range(80, 100)}  # classes of miniImageNet's three tables
EACH = 3  # pictures of a class; there are 600


def wnid(number):
    return f"n{1_532_829 + 13_579 * number:08d}"


def jpeg(number):
    """A JPEG of 84 x 84 in one colour, which says which class it is of: its red is 2 * number."""
    told = BytesIO()
    Image.new("RGB", (84, 84), (2 * number, 100, 200)).save(told, "JPEG", quality=95)
    return told.getvalue()


def public_tables(root, place="{name}{at:08d}.jpg", row="{name}{at:08d}.jpg,{name}"):
    """The tables of Ravi and Larochelle, byte by byte, and pictures in the folder images."""
    for table, classes in PUBLIC.items():
        lines = ["filename,label"]
        for number in classes:
            content = jpeg(number)
            for at in range(1, EACH + 1):
                file = root / "images" / place.format(name=wnid(number), at=at)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
                lines.append(row.format(name=wnid(number), at=at))
        (root / f"{table}.csv").write_bytes(("\n".join(lines) + "\n").encode())
    return root


def public_folders(root, validation="val"):
    """A folder for each split, in it one for each class."""
    for table, classes in PUBLIC.items():
        for number in classes:
            folder = root / (validation if table == "val" else table) / wnid(number)
            folder.mkdir(parents=True)
            for at in range(1, EACH + 1):
                (folder / f"{wnid(number)}_{at}.JPEG").write_bytes(jpeg(number))
    return root


LAYOUTS = {
    "one folder of pictures": public_tables,
    "pictures by class, told by the table": lambda root: public_tables(
        root, "{name}/{name}{at:08d}.jpg", "{name}/{name}{at:08d}.jpg,{name}"
    ),
    "pictures by class, not told": lambda root: public_tables(root, "{name}/{name}{at:08d}.jpg"),
    "blanks around the comma": lambda root: public_tables(root, row="{name}{at:08d}.jpg , {name}"),
    "folders of classes": public_folders,
    "folders of classes, in full": lambda root: public_folders(root, "validation"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_64_base_16_validation_and_20_novel_classes_are_read_as_the_public_has_them(tmp_path, layout):
    found = read_split_files(LAYOUTS[layout](tmp_path), side=12)
    assert found.classes == tuple(wnid(number) for number in range(100))
    assert found.images.shape == (300, 12, 12, 3)
    parts = {split: found.only(split) for split in ("train", "validation", "test")}
    for split, classes in zip(parts, PUBLIC.values(), strict=True):
        labels = np.repeat(np.asarray(classes), EACH)
        np.testing.assert_array_equal(parts[split].labels, labels)
        np.testing.assert_allclose(255 * parts[split].images[..., 0], np.broadcast_to(  # JPEG rounds colours
            2 * labels[:, None, None], (len(labels), 12, 12)), atol=3)  # fmt: skip
    check_disjoint(parts["train"].labels, parts["test"].labels)
    drawn = Episodes(shots=1, queries=2, count=5).draw(parts["test"].labels, found.classes)
    assert set(drawn.classes.ravel().tolist()) <= set(PUBLIC["test"])
    with pytest.raises(ValueError, match=rf"class 80 \({wnid(80)}\) has 3 images, expected at least 16 for 1 shots"):
        Episodes().draw(parts["test"].labels, found.classes)


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "val" / wnid(70)).rename(root / "val" / wnid(3)), "class 'n01573566' is in train too"),
        (lambda root: [f.unlink() for f in (root / "test" / wnid(90)).iterdir()], "got no picture, expected a folder"),
        (lambda root: (root / "test").rename(root / "novel"), "test: no such folder"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_folders_is_named(tmp_path, harm, words):
    harm(public_folders(tmp_path))
    with pytest.raises(DataError, match=words):
        read_split_files(tmp_path, side=12)


def test_neither_tables_nor_folders_are_asked_for_both(tmp_path):
    with pytest.raises(DataError, match=r"train\.csv: no such file .* folders train, val and test of classes"):
        read_split_files(tmp_path)


def test_who_reads_splits_that_share_no_class_as_if_they_did_is_told_what_reads_them(tmp_path):
    with pytest.raises(DataError, match="for few shots, are read by read_split_files"):
        read_folders(public_folders(tmp_path))


# --- what is wrong ----------------------------------------------------------------------------------------------------


def rewritten(file, old, new):
    file.write_text(file.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (lambda root: (root / "val.csv").unlink(), "val.csv: no such file"),
        (lambda root: (root / "images" / "00000004.png").unlink(), "no such picture, nor .*, but train.csv"),
        (lambda root: (root / "images" / "00000004.png").write_bytes(b"no"), "00000004.png: cannot be read as PNG"),
        (lambda root: rewritten(root / "test.csv", "filename,label", "file,class"), "got the columns"),
        (lambda root: rewritten(root / "test.csv", "yew", "oak"), "class 'oak' is in train.csv too"),
        (lambda root: rewritten(root / "test.csv", "00000011", "00000010"), "expected a new filename"),
        (lambda root: rewritten(root / "test.csv", "00000011", "00000001"), "00000001.png, which is in train.csv too"),
        (lambda root: rewritten(root / "test.csv", "00000011", "../x"), "expected one below the folder"),
        (lambda root: rewritten(root / "test.csv", "yew", "../yew"), r"got the label '\.\./yew', expected one"),
        (lambda root: (root / "val.csv").write_text("filename,label\n", encoding="utf-8"), "got no row"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tmp_path, harm, words):
    root = write_split_files(tmp_path, world())
    harm(root)
    with pytest.raises(DataError, match=words):
        read_split_files(root, channels=1)


def test_sizes_that_differ_need_a_side(tmp_path):
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
