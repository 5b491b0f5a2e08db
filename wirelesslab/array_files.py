"""Arrays in files that cannot execute code: how every trained thing is kept.

Two files side by side: ``<name>.npz`` with the arrays, read without unpickling, and ``<name>.json`` that says what
they are, with the SHA-256 of the arrays and of what is said about them.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_BYTES = 64 * 2**20  # a network here has some ten thousand parameters; anything like this is none


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
    """Write both files, the description last.

    Args:
        path: With or without an ending.
        arrays: By name.
        body: The description, with its ``format`` and the ``sha256`` that `checksum` gives.

    Returns:
        The path of the arrays.
    """
    file, description = both(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(packed(arrays))
    description.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    return file


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
    if file.stat().st_size > MOST_BYTES:
        msg = f"weights: {file} has {file.stat().st_size} bytes, expected at most {MOST_BYTES}; it is no such network"
        raise WeightFileError(msg)
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
