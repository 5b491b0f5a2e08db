"""Arrays in files that cannot execute code: how every trained thing is kept.

Two files side by side: ``<name>.npz`` with the arrays, read without unpickling, and ``<name>.json`` that says what
they are, with the SHA-256 of the arrays and of what is said about them. Or one file, ``<name>.npz`` that also holds
its description (`write_one`): what is replaced again and again, such as a checkpoint, must never be half new.
"""

import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 64 * 2**20  # a network here has some ten thousand parameters; anything like this is none
DESCRIPTION = "description"  # the array of bytes that describes the others, in a file that holds both


class WeightFileError(ValueError):
    """A weight file is missing, damaged, or not one."""


class Kept(NamedTuple):
    """What a pair of files holds.

    Attributes:
        arrays: By name.
        body: The description.
        digest: SHA-256 of both.
    """

    arrays: dict[str, NDArray[Any]]
    body: dict[str, Any]
    digest: str


def packed(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Return the content of the file of arrays; equal arrays give equal bytes."""
    buffer = BytesIO()
    np.savez(buffer, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return buffer.getvalue()


def checksum(content: bytes, *said: Any) -> str:
    """SHA-256 of the arrays' bytes and of what a description says about them."""
    return sha256(content + json.dumps(list(said), sort_keys=True).encode()).hexdigest()


def both(path: Path) -> tuple[Path, Path]:
    """Return the paths of arrays and description, whichever of the two, or neither ending, is given."""
    stem = path.with_suffix("") if path.suffix in (".npz", ".json") else path
    return stem.with_name(stem.name + ".npz"), stem.with_name(stem.name + ".json")


def write(path: Path, arrays: Mapping[str, NDArray[Any]], body: Mapping[str, Any]) -> Path:
    """Write both files, the description last; each is whole at any time, old or new.

    Args:
        path: With or without an ending.
        arrays: By name.
        body: The description, with its ``format`` and the ``sha256`` that `checksum` gives.

    Returns:
        The path of the arrays.
    """
    file, description = both(path)
    replace(file, packed(arrays))
    replace(description, (json.dumps(body, indent=1) + "\n").encode())
    return file


def replace(path: Path, content: bytes) -> None:
    """Put content into the place of a file at once: whoever reads, now or after a crash, finds all of the old or new.

    It is written to a file beside it, forced to the disk, and renamed.

    Raises:
        OSError: It cannot be written; the file that was there is as it was.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        beside.unlink(missing_ok=True)


def cannot_write(path: Path, error: OSError) -> OSError:
    """Return the error that says which file could not be written, why, and what to do."""
    msg = f"cannot write {path} ({error.strerror or error}); make room or choose another folder, and run again"
    return OSError(error.errno, msg)


def write_one(path: Path, arrays: Mapping[str, NDArray[Any]], body: Mapping[str, Any]) -> Path:
    """Put arrays and description into one file, replaced at once.

    Args:
        path: With or without ``.npz``.
        arrays: By name, none of them called "description".
        body: The description, with its ``format``; the checksum is added.

    Returns:
        The path of the file.
    """
    if DESCRIPTION in arrays:
        msg = f"arrays: got one called {DESCRIPTION!r}, expected other names; the file keeps its description there"
        raise ValueError(msg)
    file, _ = both(path)
    said = json.dumps({**body, "sha256": checksum(packed(arrays), body)}).encode()
    replace(file, packed({**arrays, DESCRIPTION: np.frombuffer(said, np.uint8)}))
    return file


def read_one(path: Path, form: str, what: str = "weights", mend: str = "save it again") -> Kept:
    """Return what `write_one` wrote.

    Args:
        path: With or without ``.npz``.
        form: The ``format`` that the description must have.
        what: It is, for messages: "policy".
        mend: What helps where no whole copy is left, for messages: "train it again".

    Raises:
        WeightFileError: The file is missing, damaged, or of something else; nothing is ever unpickled.
    """
    file, _ = both(path)
    if not file.is_file():
        if path.is_file():
            msg = f"{what}: {path} is a file of another kind, expected the .npz file that saving writes"
        else:
            msg = f"{what}: no file {file}; it is written by saving first"
        raise WeightFileError(msg)
    _refuse_size(file)
    content = file.read_bytes()
    try:
        arrays = _unpacked(content, file)
    except WeightFileError as error:
        told = str(error).removeprefix("weights: ")
        msg = f"{what}: {told}{_why_unreadable(content, mend)}"
        raise WeightFileError(msg) from None
    try:
        body = json.loads(arrays.pop(DESCRIPTION).tobytes())
        digest = body.pop("sha256")
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        msg = f"{what}: {file} does not say what it holds ({type(error).__name__}: {error}); expected format {form!r}"
        raise WeightFileError(msg) from None
    if body.get("format") != form:
        msg = f"{what}: {file} has format {body.get('format')!r}, expected {form!r}; it holds something else"
        raise WeightFileError(msg)
    if checksum(packed(arrays), body) != digest:
        msg = (
            f"{what}: {file} does not have the checksum {str(digest)[:12]}… that it names; it was changed or damaged: "
            f"copy it again, or {mend}"
        )
        raise WeightFileError(msg)
    return Kept(arrays, body, str(digest))


def _why_unreadable(content: bytes, mend: str) -> str:
    """Return what is wrong with the content of a file that should hold arrays, and what helps."""
    if not content:
        return f"; it is empty, cut short when it was written or copied: copy it again, or {mend}"
    if not content.startswith(b"PK"):  # as every .npz does
        return "; it is a file of another kind, or damaged from its first bytes on"
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            whole = archive.testzip() is None
    except Exception:  # whatever damage makes a reader stumble over
        whole = False
    return "" if whole else f"; it is cut short or damaged: copy it again, or {mend}"


def _refuse_size(file: Path) -> None:
    if file.stat().st_size > MOST_BYTES:
        msg = f"weights: {file} has {file.stat().st_size} bytes, expected at most {MOST_BYTES}; it is no such network"
        raise WeightFileError(msg)


def read(path: Path, form: str, covered: Sequence[str]) -> Kept:
    """Return what both files hold.

    Args:
        path: With or without an ending.
        form: The ``format`` that the description must have.
        covered: Names in the description that the checksum covers, in order.

    Raises:
        WeightFileError: A file is missing, damaged, or of something else; nothing is ever unpickled.
    """
    file, description = both(path)
    for one in (file, description):
        if not one.is_file():
            msg = f"weights: no file {one}; a network is {file.name} and {description.name} side by side"
            raise WeightFileError(msg)
    try:
        body = json.loads(description.read_text(encoding="utf-8"))
    except ValueError as error:
        msg = f"weights: {description} is not readable ({error}); restore it from a copy"
        raise WeightFileError(msg) from None
    if not isinstance(body, dict) or body.get("format") != form:
        found = body.get("format") if isinstance(body, dict) else type(body).__name__
        msg = f"weights: {description} has format {found!r}, expected {form!r}; it describes something else"
        raise WeightFileError(msg)
    _refuse_size(file)
    content = file.read_bytes()
    digest = checksum(content, *(body.get(name) for name in covered))
    if digest != body.get("sha256"):
        msg = (
            f"weights: {file} has checksum {digest[:12]}…, expected {str(body.get('sha256'))[:12]}…; it is damaged, "
            "changed, cut short, or belongs to another description: restore both files from one source"
        )
        raise WeightFileError(msg)
    return Kept(_unpacked(content, file), body, digest)


def _unpacked(content: bytes, file: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            size = sum(member.file_size for member in archive.zip.infolist())
            if size <= MOST_BYTES:
                return {name: archive[name] for name in archive.files}
    except Exception as error:  # whatever foreign content makes a reader stumble over
        msg = f"weights: {file} holds no network ({error})"
        raise WeightFileError(msg) from None
    msg = f"weights: {file} unpacks to {size} bytes, expected at most {MOST_BYTES}; it is no such network"
    raise WeightFileError(msg)
