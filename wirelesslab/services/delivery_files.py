"""What of a model travels: releases, what differs between two of them, chunks, and the manifest that vouches for all.

A release is the bytes of a file as they are, or named parts (one for each tensor) that a client can take over from an
older release. A payload is what one client has to get: the whole, or the parts that differ from what it holds. Its
manifest carries a SHA-256 of every chunk and of every part, so chunks are nothing but content: what they take on the
way is the payload's length, to the byte.
"""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from wirelesslab import array_files, check
from wirelesslab.vision.method import State, state_arrays

PARTS, MANIFEST_MAGIC, ASK_MAGIC = b"WLP1", b"WLM1", b"WLG1"
DIGEST_BYTES = 32
MANIFEST = -1  # the number under which a manifest is asked for, beside chunks 0, 1, ...
_COUNT, _SIZE = struct.Struct("<I"), struct.Struct("<Q")


class DamageError(ValueError):
    """What came is not what was sent."""


class Key(NamedTuple):
    """What is fetched: a release, and the older one that the client has; "" is none."""

    name: str
    base: str
    version: str


@dataclass(frozen=True, eq=False)
class Release:
    """A model as it is published.

    Attributes:
        name: Of the model.
        version: Of this release; versions are names, and the latest is the one published last.
        parts: Bytes by name: one part for each tensor, or the file as the only part.
        whole: The parts are one opaque file, which travels without a frame and always as a whole.
    """

    name: str
    version: str
    parts: Mapping[str, bytes]
    whole: bool = False

    def __post_init__(self) -> None:
        for field_name, said in (("name", self.name), ("version", self.version)):
            if not said or len(said.encode()) > 255:
                msg = f"{field_name}: got {said!r}, expected a word of 1 to 255 bytes"
                raise ValueError(msg)
        if not self.parts or not any(self.parts.values()):
            msg = f"parts: got {self.name!r} without content, expected at least one byte"
            raise ValueError(msg)
        if self.whole and set(self.parts) != {"file"}:
            msg = f"whole: got parts {sorted(self.parts)}, expected 'file' alone; see Release.of_bytes"
            raise ValueError(msg)

    @classmethod
    def of_bytes(cls, name: str, version: str, content: bytes) -> "Release":
        """Return a release of bytes that are sent as they are."""
        return cls(name, version, {"file": bytes(content)}, whole=True)

    @classmethod
    def of_file(cls, name: str, version: str, path: str | Path) -> "Release":
        """Return a release of a file's bytes, such as an exported ``.keras`` model.

        Raises:
            FileNotFoundError: There is no such file.
        """
        file = Path(path)
        if not file.is_file():
            msg = f"release: no file {file}; write it first, as vision.keras_files.export_keras does, or mend the path"
            raise FileNotFoundError(msg)
        return cls.of_bytes(name, version, file.read_bytes())

    @classmethod
    def of_arrays(cls, name: str, version: str, arrays: Mapping[str, NDArray[Any]]) -> "Release":
        """Return a release of named tensors, each a part of its own: kind, shape and raw values."""
        return cls(name, version, {key: encode_tensor(arrays[key]) for key in sorted(arrays)})

    @classmethod
    def of_state(cls, name: str, version: str, state: State, parts: Sequence[str] = ()) -> "Release":
        """Return a release of a method's state.

        Args:
            name: Of the model.
            version: Of the release.
            state: What was trained.
            parts: First words of the names that are sent, such as ("weights", "statistics"), which leave the optimizer
                behind; all when empty.

        Raises:
            ValueError: Nothing of the state has such a name.
        """
        arrays = state_arrays(state)
        wanted = {key: a for key, a in arrays.items() if not parts or key.partition("/")[0] in parts}
        if not wanted:
            found = sorted({key.partition("/")[0] for key in arrays})
            msg = f"parts: got {list(parts)}, expected some of {found}"
            raise ValueError(msg)
        return cls.of_arrays(name, version, wanted)

    @classmethod
    def of_state_file(cls, name: str, version: str, path: str | Path) -> "Release":
        """Return a release of the tensors in a file of arrays, such as `vision.saving.save_state` writes.

        Raises:
            WeightFileError: It is missing, or no such file.
        """
        file, _ = array_files.both(Path(path))
        if not file.is_file():
            msg = f"release: no file {file}; write it first with vision.saving.save_state, or mend the path"
            raise array_files.WeightFileError(msg)
        try:
            with np.load(file, allow_pickle=False) as archive:
                return cls.of_arrays(name, version, {key: archive[key] for key in archive.files})
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            msg = f"release: {file} holds no arrays ({error})"
            raise array_files.WeightFileError(msg) from None

    @cached_property
    def digests(self) -> dict[str, bytes]:
        """SHA-256 of every part."""
        return {key: sha256(part).digest() for key, part in self.parts.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the tensors.

        Raises:
            ValueError: It is a file as a whole.
        """
        if self.whole:
            msg = f"arrays: {self.name} {self.version} is a file as a whole; read it from its content"
            raise ValueError(msg)
        return {key: decode_tensor(part) for key, part in self.parts.items()}

    def content(self, base: "Release | None" = None) -> bytes:
        """Return what has to travel to whoever has `base`: the file itself, or a frame of the parts that differ."""
        if self.whole:
            return self.parts["file"]
        old = {} if base is None or base.whole else base.digests
        changed = {key: self.parts[key] for key, digest in self.digests.items() if old.get(key) != digest}
        return encode_parts(changed, [key for key in old if key not in self.parts])


def updated(base: Release | None, content: bytes, manifest: "Manifest") -> Release:
    """Return the release that somebody has who had `base` and got `content`.

    Raises:
        DamageError: The outcome does not have the digests of the manifest.
    """
    key = manifest.key
    if manifest.whole:
        release = Release.of_bytes(key.name, key.version, content)
    else:
        changed, gone = decode_parts(content)
        kept = {} if base is None or base.whole else {k: v for k, v in base.parts.items() if k not in gone}
        parts = kept | changed
        release = Release(key.name, key.version, {k: parts[k] for k in sorted(parts)})
    if release.digests != dict(manifest.parts):
        odd = sorted(k for k in {*release.parts, *manifest.parts} if release.digests.get(k) != manifest.parts.get(k))
        msg = f"update: {key.name} {key.version} has other tensors than its manifest says, first {odd[0]!r}"
        raise DamageError(msg)
    return release


# --- payloads and manifests ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Manifest:
    """What vouches for a payload.

    Attributes:
        key: What it is.
        num_bytes: Length of the content.
        chunk_bytes: Length of every chunk but the last.
        whole: The content is a file as it is.
        parts: SHA-256 of every part of the release, also of those that do not travel.
        chunks: SHA-256 of every chunk.
    """

    key: Key
    num_bytes: int
    chunk_bytes: int
    whole: bool
    parts: Mapping[str, bytes]
    chunks: tuple[bytes, ...]

    def encode(self) -> bytes:
        """Return it as bytes that end with their own SHA-256."""
        head = {
            "key": list(self.key), "num_bytes": self.num_bytes, "chunk_bytes": self.chunk_bytes,
            "whole": self.whole, "parts": list(self.parts),
        }  # fmt: skip
        said = json.dumps(head, separators=(",", ":")).encode()
        body = b"".join((MANIFEST_MAGIC, _COUNT.pack(len(said)), said, *self.chunks, *self.parts.values()))
        return body + sha256(body).digest()

    @classmethod
    def decode(cls, message: bytes) -> "Manifest":
        """Return what was encoded.

        Raises:
            DamageError: It was changed or cut on the way.
        """
        body, seal = message[:-DIGEST_BYTES], message[-DIGEST_BYTES:]
        if len(body) < 8 or body[:4] != MANIFEST_MAGIC or sha256(body).digest() != seal:
            msg = f"manifest: got {len(message)} bytes that are not what was sent; ask for it again"
            raise DamageError(msg)
        size = _COUNT.unpack_from(body, 4)[0]
        head = json.loads(body[8 : 8 + size])
        digests = [body[i : i + DIGEST_BYTES] for i in range(8 + size, len(body), DIGEST_BYTES)]
        num = len(digests) - len(head["parts"])
        parts = dict(zip(head["parts"], digests[num:], strict=True))
        return cls(
            Key(*head["key"]), head["num_bytes"], head["chunk_bytes"], head["whole"], parts, tuple(digests[:num])
        )


@dataclass(frozen=True, eq=False)
class Payload:
    """What one key stands for: content in chunks, and the manifest.

    Attributes:
        key: What it is.
        content: All of it.
        chunk_bytes: Length of every chunk but the last.
        whole: Whether the content is a file as it is.
        digests: SHA-256 of every part of the release.
    """

    key: Key
    content: bytes
    chunk_bytes: int
    whole: bool
    digests: Mapping[str, bytes] = field(repr=False)

    @classmethod
    def between(cls, release: Release, base: Release | None, chunk_bytes: int) -> "Payload":
        """Return what brings somebody from `base`, or from nothing, to `release`."""
        check.positive_integer(chunk_bytes=chunk_bytes)
        key = Key(release.name, "" if base is None else base.version, release.version)
        return cls(key, release.content(base), chunk_bytes, release.whole, release.digests)

    @property
    def num_chunks(self) -> int:
        """How many chunks there are."""
        return -(-len(self.content) // self.chunk_bytes)

    def chunk(self, number: int) -> bytes:
        """Return a chunk, or the manifest for `MANIFEST`."""
        if number == MANIFEST:
            return self.manifest
        return self.content[number * self.chunk_bytes : (number + 1) * self.chunk_bytes]

    def size(self, number: int) -> int:
        """Return the length of a chunk or of the manifest."""
        if number == MANIFEST:
            return len(self.manifest)
        return min(self.chunk_bytes, len(self.content) - number * self.chunk_bytes)

    @cached_property
    def vouched(self) -> Manifest:
        """The manifest."""
        chunks = tuple(sha256(self.chunk(i)).digest() for i in range(self.num_chunks))
        return Manifest(self.key, len(self.content), self.chunk_bytes, self.whole, self.digests, chunks)

    @cached_property
    def manifest(self) -> bytes:
        """The manifest, encoded."""
        return self.vouched.encode()

    def sound(self, number: int, received: bytes) -> bool:
        """Return whether `received` is the chunk, by its checksum, or the manifest, by its seal."""
        if number != MANIFEST:
            return sha256(received).digest() == self.vouched.chunks[number]
        try:
            return Manifest.decode(received) == self.vouched
        except DamageError:
            return False


# --- bytes --------------------------------------------------------------------------------------------------------


def encode_tensor(array: NDArray[Any]) -> bytes:
    """Return a tensor as bytes: kind and shape in a line of text, then its values in little-endian C order."""
    array = np.asarray(array)
    if array.dtype.hasobject:
        msg = f"tensor: got {array.dtype}, expected an array of numbers"
        raise TypeError(msg)
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    return f"{array.dtype.str} {','.join(map(str, array.shape))}\n".encode() + array.tobytes()


def decode_tensor(part: bytes) -> NDArray[Any]:
    """Return the tensor of `encode_tensor`."""
    head, _, values = part.partition(b"\n")
    kind, _, sides = head.decode().partition(" ")
    shape = tuple(int(side) for side in sides.split(",") if side)
    return np.frombuffer(values, np.dtype(kind)).reshape(shape)


def encode_parts(changed: Mapping[str, bytes], gone: Sequence[str] = ()) -> bytes:
    """Return parts in one frame: counts, names and lengths, then the parts.

    Examples:
        >>> decode_parts(encode_parts({"bias": b"1234"}, ["old"]))
        ({'bias': b'1234'}, ['old'])
    """
    table = b"".join(_word(name) + _SIZE.pack(len(part)) for name, part in changed.items())
    removed = b"".join(_word(name) for name in gone)
    return b"".join((PARTS, _COUNT.pack(len(changed)), _COUNT.pack(len(gone)), table, removed, *changed.values()))


def decode_parts(content: bytes) -> tuple[dict[str, bytes], list[str]]:
    """Return parts and names of what is gone.

    Raises:
        DamageError: It is no such frame, or cut short.
    """
    try:
        if content[:4] != PARTS:
            msg = f"begins with {content[:4]!r}"
            raise ValueError(msg)
        count, num_gone = _COUNT.unpack_from(content, 4)[0], _COUNT.unpack_from(content, 8)[0]
        at, names, sizes, gone = 12, [], [0], []
        for number in range(count + num_gone):
            size = _COUNT.unpack_from(content, at)[0]
            word = content[at + 4 : at + 4 + size].decode()
            at += 4 + size
            if number < count:
                names.append(word)
                sizes.append(_SIZE.unpack_from(content, at)[0])
                at += 8
            else:
                gone.append(word)
        places = at + np.cumsum(sizes)
        if places[-1] != len(content):
            msg = f"is {len(content)} bytes long, expected {places[-1]}"
            raise ValueError(msg)
    except (ValueError, struct.error) as error:
        msg = f"parts: got a frame that cannot be read, it {error}"
        raise DamageError(msg) from None
    return {name: content[a:b] for name, (a, b) in zip(names, pairwise(places), strict=True)}, gone


def encode_ask(key: Key, numbers: Sequence[int]) -> bytes:
    """Return a request for chunks as bytes: whose, and runs of consecutive numbers.

    Examples:
        >>> len(encode_ask(Key("lenet", "", "1"), [0, 1, 2, 7])), len(encode_ask(Key("lenet", "", "1"), range(99)))
        (46, 38)
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][0] + runs[-1][1]:
            runs[-1][1] += 1
        else:
            runs.append([number, 1])
    return ASK_MAGIC + b"".join(map(_word, key)) + _SIZE.pack(len(runs)) + b"".join(
        struct.pack("<iI", first, count) for first, count in runs
    )  # fmt: skip


def _word(text: str) -> bytes:
    said = text.encode()
    return _COUNT.pack(len(said)) + said
