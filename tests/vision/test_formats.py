"""The field's formats: what is written is read back, and what is damaged is refused by its name."""

import gzip
import struct
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from wirelesslab.vision.data import Data, DataError
from wirelesslab.vision.formats import (
    read_cifar,
    read_folders,
    read_idx,
    read_mnist,
    write_cifar,
    write_folders,
    write_idx,
    write_mnist,
)


def some(shape, classes, *, counts=(20, 6, 8)):
    """Return noise of whole bytes in three splits, every class in each."""
    rng, n = np.random.default_rng(1), sum(counts)
    images = (rng.integers(0, 256, (n, *shape)) / np.float32(255)).astype(np.float32)
    ends = np.cumsum((0, *counts))
    splits = {s: np.arange(a, b) for s, a, b in zip(("train", "validation", "test"), ends, ends[1:], strict=False)}
    return Data(images, np.arange(n) % len(classes), classes, splits)


def pairs(data, *splits):
    """Return images with labels as a set."""
    parts = [data.only(split) for split in splits]
    return sorted((image.tobytes(), int(label)) for p in parts for image, label in zip(p.images, p.labels, strict=True))


@pytest.mark.parametrize("kind", [10, 100])
def test_cifar_is_written_and_read_back(tmp_path, kind):
    data = some((32, 32, 3), ("cat", "dog", "ship"))
    back = read_cifar(write_cifar(tmp_path / "c", data, kind), kind, validation=0.25, seed=2)
    assert pairs(back, "train", "validation") == pairs(data, "train", "validation")
    assert pairs(back, "test") == pairs(data, "test")
    assert [len(back.splits[s]) for s in ("train", "validation", "test")] == [20, 6, 8]  # a quarter of 26, rounded
    assert back.classes[:3] == ("cat", "dog", "ship")
    assert len(back.classes) == kind


def test_a_cifar_record_is_label_then_red_green_and_blue_planes(tmp_path):
    folder = write_cifar(tmp_path, some((32, 32, 3), ("a",)), 10)
    record = np.arange(3073, dtype=np.uint32).astype(np.uint8)
    record[0] = 7
    (folder / "test_batch.bin").write_bytes(record.tobytes())
    data = read_cifar(folder).only("test")
    assert data.labels.tolist() == [7]
    for row, column, colour in ((0, 0, 0), (0, 1, 1), (31, 30, 2)):
        byte = record[1 + 1024 * colour + 32 * row + column]
        assert data.images[0, row, column, colour] == np.float32(byte) / np.float32(255)


def test_damaged_cifar_files_are_refused_with_name_found_and_wanted(tmp_path):
    folder = write_cifar(tmp_path / "c", some((32, 32, 3), ("a", "b")), 10)
    third = folder / "data_batch_3.bin"
    whole = third.read_bytes()
    third.write_bytes(whole[:-1])
    with pytest.raises(DataError, match=rf"data_batch_3\.bin: got {len(whole) - 1} bytes, expected a multiple of 3073"):
        read_cifar(folder)
    third.write_bytes(bytes([10]) + whole[1:])
    with pytest.raises(DataError, match=r"data_batch_3\.bin: got label 10 in record 0, expected 0 to 9"):
        read_cifar(folder)
    third.write_bytes(b"")
    with pytest.raises(DataError, match=r"data_batch_3\.bin: got an empty file"):
        read_cifar(folder)
    third.unlink()
    with pytest.raises(DataError, match=r"data_batch_3\.bin: no such file \(the folder holds batches\.meta"):
        read_cifar(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty.*the folder holds nothing"):
        read_cifar(tmp_path / "empty", 100)
    with pytest.raises(ValueError, match=r"images: got shape \(34, 28, 28, 3\), expected \(n, h=32"):
        write_cifar(folder, some((28, 28, 3), ("a",)))


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
def test_idx_keeps_every_type_of_its_standard(tmp_path, dtype):
    array = np.random.default_rng(2).integers(0, 100, (3, 2, 5)).astype(dtype)
    for name in ("x", "x.gz"):
        back = read_idx(write_idx(tmp_path / name, array))
        assert back.dtype == array.dtype
        np.testing.assert_array_equal(back, array)
    with pytest.raises(TypeError, match="got int64"):
        write_idx(tmp_path / "y", np.zeros(3, np.int64))


def test_an_idx_file_begins_with_the_bytes_that_its_standard_says(tmp_path):
    content = write_idx(tmp_path / "x", np.zeros((2, 28, 28), np.uint8)).read_bytes()
    assert content[:16] == struct.pack(">4B3I", 0, 0, 8, 3, 2, 28, 28)
    assert len(content) == 16 + 2 * 784


@pytest.mark.parametrize("packed", [False, True])
def test_mnist_is_written_and_read_back(tmp_path, packed):
    data = some((28, 28, 1), tuple("01234"))
    back = read_mnist(write_mnist(tmp_path, data, packed=packed), validation=0)
    assert pairs(back, "train") == pairs(data, "train", "validation")
    assert pairs(back, "test") == pairs(data, "test")


def test_damaged_idx_files_are_refused_with_name_found_and_wanted(tmp_path):
    path = write_idx(tmp_path / "x", np.arange(40, dtype=np.uint8).reshape(10, 4))
    whole = path.read_bytes()
    path.write_bytes(b"\1" + whole[1:])
    with pytest.raises(DataError, match=r"x: got magic number 0x01000802, expected 0x0000ttnn"):
        read_idx(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(DataError, match=r"x: got 37 bytes of values, expected 40 for \(10, 4\)"):
        read_idx(path)
    path.write_bytes(whole + b"!")
    with pytest.raises(DataError, match="x: got more bytes of values, expected 40"):
        read_idx(path)
    path.write_bytes(whole[:9])
    with pytest.raises(DataError, match="x: got 5 bytes of sizes, expected 8"):
        read_idx(path)
    path.write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 2**31))
    with pytest.raises(DataError, match=r"x: got 16 bytes, expected \d+ of values"):  # before anything is allocated
        read_idx(path)
    packed = tmp_path / "y.gz"
    packed.write_bytes(gzip.compress(whole)[:-12])
    with pytest.raises(DataError, match=r"y\.gz: cannot be unpacked"):
        read_idx(packed)
    with pytest.raises(DataError, match="no such file"):
        read_idx(tmp_path / "z")


def test_mnist_files_that_do_not_fit_together_are_refused(tmp_path):
    write_mnist(tmp_path, some((8, 8, 1), ("0", "1")))
    write_idx(tmp_path / "t10k-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte: got 7 labels, expected one for each of the 8"):
        read_mnist(tmp_path)
    write_idx(tmp_path / "t10k-images-idx3-ubyte", np.zeros((7, 9, 8), np.uint8))
    with pytest.raises(DataError, match=r"got images \(9, 8\), expected \(8, 8\) as in training"):
        read_mnist(tmp_path)


@pytest.mark.parametrize("channels", [1, 3])
def test_folders_of_classes_are_written_and_read_back(tmp_path, channels):
    data = some((12, 10, channels), ("bird", "cat"))
    back = read_folders(write_folders(tmp_path / "set", data), channels=channels)
    assert back.classes == ("bird", "cat")
    for split in data.splits:
        assert pairs(back, split) == pairs(data, split)
    with pytest.raises(ValueError, match="expected a new or empty folder"):
        write_folders(tmp_path / "set", data)  # pictures of another size of set would be read among these


def test_classes_may_lie_right_below_the_root_and_be_thinned_and_scaled(tmp_path):
    rng = np.random.default_rng(3)
    for name in ("n01", "n02"):
        (tmp_path / name).mkdir()
        for number in range(5):
            pixels = rng.integers(0, 256, (20 + number, 31, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.JPEG", quality=95)
    data = read_folders(tmp_path, side=16, per_class=3, seed=1)
    assert data.images.shape == (6, 16, 16, 3)
    assert data.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert not data.splits
    with pytest.raises(DataError, match=r"n01.*1\.JPEG: got shape \(21, 31, 3\) .* expected \(20, 31, 3\)"):
        read_folders(tmp_path)


def test_bad_folders_and_pictures_are_refused_with_their_name(tmp_path):
    with pytest.raises(DataError, match="none: no such folder"):
        read_folders(tmp_path / "none")
    with pytest.raises(DataError, match="got 0 files and no folder, expected a folder for each class"):
        read_folders(tmp_path)
    root = write_folders(tmp_path / "set", some((8, 8, 3), ("a", "b")))
    picture = next((root / "train" / "a").iterdir())
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=rf"{picture.name}: cannot be read as PNG or JPEG"):
        read_folders(root)
    picture.write_bytes(b"GIF89a, says it")
    with pytest.raises(DataError, match=rf"{picture.name}: cannot be read"):
        read_folders(root)
    Image.new("RGBA", (8, 8)).save(picture)
    with pytest.raises(DataError, match="mode RGBA, expected 8-bit grey or colour"):
        read_folders(root)
    picture.write_bytes(whole)
    for file in (root / "validation" / "b").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="b: got no picture"):
        read_folders(root)
    (root / "validation" / "b").rmdir()
    with pytest.raises(DataError, match=r"got other classes than .*train, expected the same; \['b'\] differ"):
        read_folders(root)
    (root / "c").mkdir()
    with pytest.raises(DataError, match="expected splits or classes, not both"):
        read_folders(root)


def test_bytes_are_the_nearest_of_a_data_s_range(tmp_path):
    data = some((28, 28, 1), ("0",))
    other = replace(data, images=data.images * 2 - 1, value_range=(-1.0, 1.0))
    a, b = (write_mnist(tmp_path / n, d) / "train-images-idx3-ubyte" for n, d in (("a", data), ("b", other)))
    assert a.read_bytes() == b.read_bytes()


def damaged(content, rng):
    """Return content cut, changed in some bytes, or with some too many."""
    place = int(rng.integers(len(content)))
    how = rng.integers(3)
    some = rng.bytes(int(rng.integers(1, 9)))
    return content[:place] + (b"" if how == 0 else some + content[place + len(some) * (how == 1) :])


@pytest.mark.parametrize("kind", ["idx", "idx.gz", "png", "jpg", "cifar"])
def test_no_damage_does_worse_than_a_refusal_that_names_the_file(tmp_path, kind):
    rng = np.random.default_rng(11)
    if kind.startswith("idx"):
        path = write_idx(tmp_path / kind.replace("idx", "x"), np.arange(640, dtype=np.uint8).reshape(10, 8, 8))
        read = partial(read_idx, path)
    elif kind == "cifar":
        path = write_cifar(tmp_path, some((32, 32, 3), ("a", "b"))) / "test_batch.bin"
        read = partial(read_cifar, tmp_path)
    else:
        path = tmp_path / "a" / f"x.{kind}"
        path.parent.mkdir()
        Image.fromarray(rng.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(path)
        read = partial(read_folders, tmp_path)
    whole, refused = path.read_bytes(), []
    for _ in range(80):
        path.write_bytes(damaged(whole, rng))
        try:
            read()
        except DataError as error:
            refused.append(str(error))
    assert all(path.name in text for text in refused)
    assert len(refused) > 20  # not all damage shows, such as another byte of a pixel
