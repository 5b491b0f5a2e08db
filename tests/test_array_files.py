"""Files of arrays: whole at any time, and refused when they are not what they should be."""

from pathlib import Path

import numpy as np
import pytest

from wirelesslab import array_files
from wirelesslab.array_files import WeightFileError

FORM = "things 1"
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b/c": np.array([], np.int8)}


def test_what_was_written_into_one_file_is_read_back(tmp_path):
    file = array_files.write_one(tmp_path / "deep" / "x", ARRAYS, {"format": FORM, "said": [1, {"two": 2.5}]})
    kept = array_files.read_one(file, FORM)
    assert {name: (a.dtype, a.tolist()) for name, a in kept.arrays.items()} == {
        name: (a.dtype, a.tolist()) for name, a in ARRAYS.items()
    }
    assert kept.body == {"format": FORM, "said": [1, {"two": 2.5}]}
    assert [p.name for p in file.parent.iterdir()] == ["x.npz"]  # nothing is left beside it


def test_a_write_that_fails_leaves_the_old_file_whole_and_nothing_beside_it(tmp_path, monkeypatch):
    path = array_files.write_one(tmp_path / "x", ARRAYS, {"format": FORM})
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OSError, match="No space"):
        array_files.write_one(path, {"a": np.zeros(3)}, {"format": FORM})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = array_files.write_one(tmp_path / "x", ARRAYS, {"format": FORM})
    whole = path.read_bytes()
    for length in range(0, len(whole), 37):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightFileError, match=r"x\.npz"):
            array_files.read_one(path, FORM)


@pytest.mark.parametrize(("left", "said"), [(0, "it is empty"), (200, "cut short or damaged"), (-1, "cut short")])
def test_a_file_that_was_cut_short_says_so_and_what_helps(left, said, tmp_path):
    path = array_files.write_one(tmp_path / "x", ARRAYS, {"format": FORM})
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(
        WeightFileError, match=rf"^thing: .*x\.npz holds no network .*{said}.*copy it again, or make it"
    ):
        array_files.read_one(path, FORM, "thing", "make it again")


def test_a_changed_byte_counts_as_damage_and_text_as_another_kind(tmp_path):
    path = array_files.write_one(tmp_path / "x", ARRAYS, {"format": FORM})
    content = bytearray(path.read_bytes())
    content[content.index(b"NUMPY") + 130] ^= 1  # within the numbers of the first array
    path.write_bytes(content)
    with pytest.raises(WeightFileError, match="damaged: copy it again"):
        array_files.read_one(path, FORM)
    path.write_text("# Words\n")
    with pytest.raises(WeightFileError, match="a file of another kind"):
        array_files.read_one(path, FORM)
    (tmp_path / "README.md").write_text("# Words\n")
    with pytest.raises(WeightFileError, match=r"README\.md is a file of another kind, expected the \.npz"):
        array_files.read_one(tmp_path / "README.md", FORM)


def test_foreign_and_changed_files_are_refused_with_their_name(tmp_path):
    path = tmp_path / "x.npz"
    with pytest.raises(WeightFileError, match="no file"):
        array_files.read_one(path, FORM)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(WeightFileError, match=r"x\.npz does not say what it holds"):
        array_files.read_one(path, FORM)
    np.savez(path, description=np.array([{"format": FORM}], dtype=object), allow_pickle=True)
    with pytest.raises(WeightFileError, match=r"x\.npz holds no network \(Object arrays cannot be loaded"):
        array_files.read_one(path, FORM)
    array_files.write_one(path, ARRAYS, {"format": "others 1"})
    with pytest.raises(WeightFileError, match="has format 'others 1', expected 'things 1'"):
        array_files.read_one(path, FORM)
    array_files.write_one(path, ARRAYS, {"format": FORM})
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    np.savez(path, **{**arrays, "a": arrays["a"] + 1e-12})
    with pytest.raises(WeightFileError, match="changed or damaged"):
        array_files.read_one(path, FORM)
