"""Nets to and from Keras' own `.keras` files, without letting such a file run code.

A `.keras` file is a description of layers with their weights. A Lambda layer in it is Python code, a layer may wrap a
saved function, and a name of a module is imported: all are looked for, and refused, before Keras reads the file in its
safe mode.
"""

import json
import zipfile
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from wirelesslab.array_files import MOST_BYTES, WeightFileError, replace
from wirelesslab.vision.backbones import is_seed
from wirelesslab.vision.keras_nets import filled
from wirelesslab.vision.method import Array, State

CODE = ("Lambda", "__lambda__", "function", "TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")
TRUSTED = ("keras", "builtins")  # packages whose classes a file may name


class HasNet(Protocol):
    """A method that is one Keras net in use, whatever else it needs to learn; `Classifier` and `Segmenter` are."""

    def build(self, seed: int, /) -> State:
        """Return the state that training starts from."""
        ...

    def model(self) -> Any:
        """Return the Keras net without trained weights."""
        ...

    def net_values(self, state: State, /) -> dict[str, Array]:
        """Return a state's values by the names of the net's variables."""
        ...


def export_keras(path: Path, method: HasNet, state: State) -> Path:
    """Write a trained net as a Keras model that returns logits; the optimizer stays behind.

    Args:
        path: Ending in ``.keras``.
        method: What trained it.
        state: Its weights and moving moments.

    Raises:
        ValueError: Another ending, or a state of another net.
    """
    if path.suffix != ".keras":
        msg = f"path: got {path.name!r}, expected an ending of .keras"
        raise ValueError(msg)
    model = filled(method.model(), method.net_values(state))
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.stem}.part.keras")
    try:
        model.save(beside)
        replace(path, beside.read_bytes())
    finally:
        beside.unlink(missing_ok=True)
    return path


def import_keras(path: Path) -> Any:
    """Return the Keras model in a file.

    Raises:
        WeightFileError: It is missing, damaged, no such file, or holds what could run code.
    """
    _refuse_code(path)
    from wirelesslab.tensorflow import tf

    try:
        return tf.keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:  # whatever a foreign file makes the reader stumble over
        msg = f"keras: {path} cannot be read ({type(error).__name__}: {str(error).splitlines()[0]})"
        raise WeightFileError(msg) from None


def state_from_keras(path: Path, method: HasNet) -> State:
    """Return a state at step 0 of which weights and moving moments are those of the file.

    Raises:
        WeightFileError: As `import_keras`, or the net is another one than the method's.
    """
    found = {variable.path: variable.numpy() for variable in import_keras(path).variables if not is_seed(variable)}
    state = method.build(0)
    for part in ("weights", "statistics"):
        wanted = state.part(part)
        odd = [n for n, a in wanted.items() if n not in found or found[n].shape != a.shape]
        if odd or set(found) != {*state.part("weights"), *state.part("statistics")}:
            odd = odd or sorted({*found} - {*state.part("weights"), *state.part("statistics")})
            got = found[odd[0]].shape if odd[0] in found else "none"
            msg = f"keras: {path} is another net than {method.model().name!r}: {odd[0]!r} has shape {got}, "
            msg += f"expected {wanted[odd[0]].shape if odd[0] in wanted else 'none'}"
            raise WeightFileError(msg)
        state = state.with_part(part, {name: found[name].astype(np.float32) for name in wanted})
    return state


def _refuse_code(path: Path) -> None:
    if not path.is_file():
        msg = f"keras: no file {path}"
        raise WeightFileError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size <= MOST_BYTES:
                config = json.loads(archive.read("config.json"))
                archive.read("model.weights.h5")
    except Exception as error:  # cut short, another kind of file, a member missing
        msg = f"keras: {path} is not a whole .keras file ({type(error).__name__}: {error})"
        raise WeightFileError(msg) from None
    if size > MOST_BYTES:
        msg = f"keras: {path} unpacks to {size} bytes, expected at most {MOST_BYTES}"
        raise WeightFileError(msg)
    _refuse_foreign(config, path)


def _refuse_foreign(part: Any, path: Path) -> None:
    if isinstance(part, dict):
        kind, module = part.get("class_name"), part.get("module")
        if kind in CODE or part.get("registered_name") in CODE:
            msg = f"keras: {path} holds a {kind!r}, which runs code of whoever wrote it; expected known layers only"
            raise WeightFileError(msg)
        if isinstance(module, str) and module.partition(".")[0] not in TRUSTED:
            msg = f"keras: {path} names {kind!r} of module {module!r}, expected classes of {' and '.join(TRUSTED)} only"
            raise WeightFileError(msg)
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            _refuse_foreign(one, path)
