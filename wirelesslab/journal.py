"""An append-only journal: what was written is kept, whatever happens to the process.

A file of lines, each ``crc32 json``. The first line says what the records are about. A record is
flushed to the operating system as it is appended. A last line without its end was torn by a crash
and is dropped; any other damage is refused, because what follows it cannot be trusted.
"""

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Self

FORMAT = 1


class JournalError(ValueError):
    """A journal is damaged, belongs to something else, or is being written by another process."""


def encode(record: Mapping[str, Any]) -> bytes:
    """Return `record` as one line with its checksum."""
    body = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> dict[str, Any]:
    """Return the record of a line (without its end).

    Raises:
        JournalError: The checksum does not match.
    """
    checksum, _, body = line.partition(b" ")
    try:
        if int(checksum, 16) == zlib.crc32(body):
            record = json.loads(body)
            if isinstance(record, dict):
                return record
    except ValueError:
        pass
    msg = "its checksum does not match"
    raise JournalError(msg)


def read(path: Path) -> tuple[dict[str, Any] | None, list[dict[str, Any]], int]:
    """Return header, records and the length in bytes of the sound part.

    The header is None for a journal that is empty or whose only line was torn.

    Raises:
        JournalError: Damage before the last line.
    """
    content = path.read_bytes()
    sound = content.rfind(b"\n") + 1
    records = []
    for number, line in enumerate(content[:sound].splitlines(), start=1):
        try:
            records.append(decode(line))
        except JournalError as error:
            msg = (
                f"journal: {path} is damaged in line {number} ({error}); "
                "restore the file from a copy, or remove it to compute everything again"
            )
            raise JournalError(msg) from None
    if not records:
        return None, [], 0
    if records[0].get("journal") != FORMAT:
        msg = (
            f"journal: {path} has format {records[0].get('journal')!r}, expected {FORMAT}; "
            "it was written by another program or version: choose another folder"
        )
        raise JournalError(msg)
    return records[0], records[1:], sound


def difference(ours: object, theirs: object, at: str = "") -> Iterator[str]:
    """Yield one line for each place where two nested configurations differ."""
    if isinstance(ours, Mapping) and isinstance(theirs, Mapping):
        for key in [*ours, *(k for k in theirs if k not in ours)]:
            where = f"{at}.{key}" if at else str(key)
            if key not in ours:
                yield f"{where}: only in the journal, {theirs[key]!r}"
            elif key not in theirs:
                yield f"{where}: not in the journal, here {ours[key]!r}"
            else:
                yield from difference(ours[key], theirs[key], where)
    elif ours != theirs:
        yield f"{at}: {theirs!r} in the journal, {ours!r} here"


class Journal:
    """A journal opened for appending by one process at a time.

    Use as a context manager. `records` holds what was there when it was opened.
    """

    def __init__(self, path: Path, header: Mapping[str, Any]) -> None:
        self.path = path
        self._header = {"journal": FORMAT, **header}
        self.records: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # Not "ab": a torn tail is cut off in place.
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            msg = f"journal: cannot write to {str(self.path)!r} ({error.strerror}); choose another folder with --out"
            raise OSError(error.errno, msg) from error
        self._file: BinaryIO = os.fdopen(descriptor, "r+b", buffering=0)
        try:
            self._lock()
            theirs, self.records, self._end = read(self.path)
            self._file.truncate(self._end)
            self._file.seek(self._end)
            if theirs is None:
                self.append(self._header)
            else:
                self._refuse_another(theirs)
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def _lock(self) -> None:
        try:
            import fcntl
        except ImportError:  # no advisory locks on this system
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            msg = f"journal: {self.path} is being written by another process; wait for it, or choose another folder"
            raise JournalError(msg) from None

    def _refuse_another(self, theirs: Mapping[str, Any]) -> None:
        ours = json.loads(json.dumps(self._header))
        found = list(difference(ours, theirs))
        if found:
            msg = (
                f"journal: {self.path} belongs to another configuration; choose another folder, or remove it.\n  "
                + "\n  ".join(found)
            )
            raise JournalError(msg)

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record and hand it to the operating system.

        Raises:
            OSError: The disk is full or gone; a half-written record was cut off again.
        """
        line = encode(record)
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
                self._file.seek(self._end)
            msg = (
                f"journal: cannot write to {self.path} ({error.strerror}); "
                "what it holds is kept: make room and run again"
            )
            raise OSError(error.errno, msg) from error
        self._end += len(line)
