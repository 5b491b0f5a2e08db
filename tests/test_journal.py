"""The journal keeps what was written, drops a torn end, and refuses everything else."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trials import ANNA, BERT, Coin, Player, TossTrial, environment
from wirelesslab.journal import FORMAT, Journal, JournalError, decode, difference, encode, read
from wirelesslab.study import Stop, Study

HEADER = {"study": {"seed": 7, "base": {"class": "Coin", "bias": 0.1}}}
RECORDS = [{"batch": 0, "counts": {"anna": [1, 80]}}, {"batch": 1, "note": "ε = 0.1"}, {"batch": 2, "counts": {}}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal of a header and three records."""
    path = tmp_path / "journal.jsonl"
    with Journal(path, HEADER) as book:
        for record in RECORDS:
            book.append(record)
    return path


def reopened(path: Path) -> list[dict]:
    with Journal(path, HEADER) as book:
        return book.records


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.text(), JSON, max_size=4))
def test_a_record_is_one_line_that_reads_back_the_same(record):
    line = encode(record)
    assert line.count(b"\n") == 1
    assert decode(line.rstrip(b"\n")) == record


def test_nan_has_no_place_in_a_record():
    with pytest.raises(ValueError, match="JSON compliant"):
        encode({"rate": float("nan")})


def test_a_journal_opened_again_holds_what_was_written_and_takes_more(path):
    with Journal(path, HEADER) as book:
        assert book.records == RECORDS
        book.append({"batch": 3})
    assert reopened(path) == [*RECORDS, {"batch": 3}]


def test_a_record_is_in_the_file_as_soon_as_it_is_appended(tmp_path):
    with Journal(tmp_path / "journal.jsonl", HEADER) as book:
        book.append({"batch": 0})
        assert read(book.path)[1] == [{"batch": 0}]


def test_a_torn_last_record_is_dropped_wherever_it_was_torn(path):
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for cut in range(last, len(whole)):
        path.write_bytes(whole[:cut])
        with Journal(path, HEADER) as book:
            assert book.records == RECORDS[:-1], f"cut at byte {cut}"
            book.append(RECORDS[-1])
        assert path.read_bytes() == whole, f"cut at byte {cut}"


def test_a_tail_of_zeros_after_a_power_cut_is_dropped(path):
    whole = path.read_bytes()
    path.write_bytes(whole + b"\0" * 512)
    assert reopened(path) == RECORDS
    assert path.read_bytes() == whole


def test_a_torn_header_begins_a_new_journal(path):
    header = path.read_bytes().partition(b"\n")[0]
    for cut in (0, 1, 9, len(header)):
        path.write_bytes(header[:cut])
        assert reopened(path) == []
        assert read(path)[0] == {"journal": FORMAT, **HEADER}


def test_a_flipped_bit_anywhere_before_the_end_is_refused_or_harmless(path):
    whole = path.read_bytes()
    for at in range(len(whole) - 1):
        for bit in (0, 3, 5):
            damaged = bytearray(whole)
            damaged[at] ^= 1 << bit
            path.write_bytes(bytes(damaged))
            try:
                header, found, _ = read(path)
            except JournalError as error:
                refused = str(error)
                if not refused.startswith("journal:"):
                    pytest.fail(refused)
            else:  # "a" and "A" are the same digit of a checksum
                assert (header, found) == ({"journal": FORMAT, **HEADER}, RECORDS), f"byte {at}, bit {bit}"


def test_a_damaged_line_is_named_with_its_number_and_what_to_do(path):
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"0.1", b"0.2")
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match=r"is damaged in line 3 .*restore the file from a copy, or remove it"):
        reopened(path)


@pytest.mark.parametrize(("start", "end"), [(0, 5), (5, 20), (20, None), (0, -1), (9, -1)])
def test_a_part_of_a_line_that_is_missing_in_the_middle_is_refused(path, start, end):
    lines = path.read_bytes().splitlines(keepends=True)
    body = lines[1]
    lines[1] = body[:start] + (b"" if end is None else body[end:])
    path.write_bytes(b"".join(lines))
    with pytest.raises(JournalError, match="damaged in line 2"):
        reopened(path)


def test_damage_in_the_last_whole_line_is_refused_too(path):
    whole = bytearray(path.read_bytes())
    whole[-5] ^= 1
    path.write_bytes(bytes(whole))
    with pytest.raises(JournalError, match="damaged in line 4"):
        reopened(path)


def test_a_refused_journal_is_left_as_it_was(path):
    damaged = path.read_bytes().replace(b'"batch":1', b'"batch":9') + b"torn"
    path.write_bytes(damaged)
    with pytest.raises(JournalError):
        reopened(path)
    assert path.read_bytes() == damaged


def test_a_journal_of_the_future_is_refused(path):
    path.write_bytes(encode({"journal": FORMAT + 1, **HEADER}))
    with pytest.raises(JournalError, match=rf"has format {FORMAT + 1}, expected {FORMAT}; .*choose another folder"):
        reopened(path)


def test_a_file_that_is_no_journal_is_refused_and_kept(tmp_path):
    path = tmp_path / "journal.jsonl"
    path.write_text("dear diary\n", encoding="utf-8")
    with pytest.raises(JournalError, match="damaged in line 1"):
        reopened(path)
    assert path.read_text(encoding="utf-8") == "dear diary\n"


def test_a_second_writer_is_refused_while_the_first_is_open(path):
    with Journal(path, HEADER), pytest.raises(JournalError, match="being written by another process; wait for it"):
        reopened(path)
    assert reopened(path) == RECORDS


def test_a_second_writer_in_another_process_is_refused(path):
    imports = "from pathlib import Path; from wirelesslab.journal import Journal"
    code = f"{imports}\nwith Journal(Path({str(path)!r}), {HEADER!r}): pass"
    with Journal(path, HEADER):
        other = subprocess.run(
            [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
        )
    assert other.returncode != 0
    assert "being written by another process" in other.stderr


def test_the_journal_of_another_configuration_is_refused_and_shows_each_difference(path):
    other = {"study": {"seed": 8, "base": {"class": "Coin", "bias": 0.1, "frames": 3}}}
    with pytest.raises(JournalError, match="belongs to another configuration") as caught, Journal(path, other):
        pass
    assert "study.seed: 7 in the journal, 8 here" in str(caught.value)
    assert "study.base.frames: not in the journal, here 3" in str(caught.value)
    assert "bias" not in str(caught.value)


def test_differences_are_none_between_equals_and_name_what_only_one_side_has():
    assert list(difference(HEADER, json.loads(json.dumps(HEADER)))) == []
    assert list(difference({"a": {"b": 1}}, {"a": {"c": 2}})) == [
        "a.b: not in the journal, here 1",
        "a.c: only in the journal, 2",
    ]


class FullDisk:
    """A file on a disk that takes `room` more bytes, and then none."""

    def __init__(self, file, room: int) -> None:
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if self.room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name: str):
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 1, 10])
def test_a_full_disk_is_reported_and_keeps_what_was_written(path, room):
    with Journal(path, HEADER) as book:
        file, book._file = book._file, FullDisk(book._file, room)
        with pytest.raises(OSError, match=r"cannot write to .*No space left.*make room and run again") as caught:
            book.append({"batch": 3})
        assert caught.value.errno == errno.ENOSPC
        assert read(path)[1] == RECORDS
        book._file = file  # somebody made room
        book.append({"batch": 3})
    assert reopened(path) == [*RECORDS, {"batch": 3}]


def test_a_study_on_a_disk_that_fills_up_stops_with_advice_and_goes_on_later(tmp_path):
    code = f"""
import resource, sys
from tests.trials import *
from wirelesslab.study import Stop, Study
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
try:
    Study(TossTrial(), Coin(), over={{"bias": [0.1]}}, stop=Stop(errors=None, max_batches=50), seed=7).run(
        {str(tmp_path)!r}, workers=1)
except OSError as error:
    sys.exit(str(error))
"""
    full = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert full.returncode == 1, full.stderr
    assert "what it holds is kept: make room and run again" in full.stderr
    kept = read(tmp_path / "journal.jsonl")[1]
    assert 2 <= len(kept) < 50
    stop = Stop(errors=None, max_batches=50)
    study = Study(TossTrial(log=str(tmp_path / "log")), Coin(), over={"bias": [0.1]}, stop=stop, seed=7)
    assert int(study.run(tmp_path, workers=1)["batches"].min()) == 50
    calls = (tmp_path / "log").read_text(encoding="utf-8").count("\n")
    assert calls == 50 - sum("batch" in record for record in kept)


# what the header of a study promises: the same seed, base and trial


def study(**changes) -> Study:
    usual = {"trial": TossTrial(), "base": Coin(), "over": {"bias": [0.1]}, "stop": Stop(max_batches=3), "seed": 7}
    return Study(**(usual | changes))


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({"seed": 8}, "study.seed: 7 in the journal, 8 here"),
        ({"base": Coin(label="other")}, "study.base.label: 'plain' in the journal, 'other' here"),
        ({"trial": TossTrial(frames=9)}, "study.trial.frames: 8 in the journal, 9 here"),
        ({"over": {"label": ["plain"]}}, "study.over: ['bias'] in the journal, ['label'] here"),
    ],
    ids=["seed", "base", "trial", "swept field"],
)
def test_a_study_refuses_the_journal_of_another_study_and_shows_the_difference(tmp_path, changes, shown):
    study().run(tmp_path, workers=1)
    before = (tmp_path / "journal.jsonl").read_bytes()
    with pytest.raises(JournalError, match="belongs to another configuration") as caught:
        study(**changes).run(tmp_path, workers=1)
    assert shown in str(caught.value)
    assert (tmp_path / "journal.jsonl").read_bytes() == before


def test_a_detector_that_changed_under_the_same_name_is_refused(tmp_path):
    study().run(tmp_path, workers=1)
    changed = TossTrial(players=(Player("anna", 0.5), BERT))
    with pytest.raises(JournalError, match="changed its configuration under the same name") as caught:
        study(trial=changed).run(tmp_path, workers=1)
    assert "anna.handicap: 1.0 in the journal, 0.5 here" in str(caught.value)


def test_a_study_in_progress_locks_its_journal(tmp_path):
    def watch(_status) -> None:
        with pytest.raises(JournalError, match="being written by another process"):
            study(trial=TossTrial(players=(ANNA,))).run(tmp_path, workers=1)

    study().run(tmp_path, workers=1, watch=watch)
