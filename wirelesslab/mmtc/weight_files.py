"""Trained networks in files that cannot execute code.

A network is two files side by side: ``<name>.npz`` with its arrays, read without unpickling, and
``<name>.json`` with its architecture, what it was trained for, its training record, and the SHA-256
of the first file.
"""

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from wirelesslab import array_files
from wirelesslab.array_files import MOST_BYTES, WeightFileError
from wirelesslab.mmtc.gains import GainPrior
from wirelesslab.mmtc.pilots import pilots_digest
from wirelesslab.mmtc.unfolded import Architecture, Parameters
from wirelesslab.mmtc.uplink import Observation

FORMAT = "wirelesslab unfolded network 1"
SHIPPED = Path(__file__).parent / "weights"

__all__ = ["FORMAT", "MOST_BYTES", "SHIPPED", "Network", "OutsideTrainingRangeWarning", "TrainedFor",
           "WeightFileError", "load", "pilots_digest", "save"]  # fmt: skip
COVERED = ("architecture", "trained_for")  # by the checksum, beside the arrays


class OutsideTrainingRangeWarning(UserWarning):
    """A scenario is outside what a network was trained for."""


@dataclass(frozen=True, kw_only=True)
class TrainedFor:
    """What a network has seen in training; ranges are inclusive.

    Attributes:
        num_devices: N.
        pilots_per_device: Q.
        pilot_length: L.
        num_antennas: M.
        activity_prob: ε.
        snr_db: SNR in dB for a path gain of 1.
        symbols_per_speaker: L/(εN).
        gain_spread_db: Standard deviation of the gains that the station supposes, in dB.
        gain_knowledge: What the station knew of the gains.
        pilots_digest: Digest of the one set of pilots that it serves; empty if it serves any.
    """

    num_devices: tuple[float, float]
    pilots_per_device: tuple[float, float]
    pilot_length: tuple[float, float]
    num_antennas: tuple[float, float]
    activity_prob: tuple[float, float]
    snr_db: tuple[float, float]
    symbols_per_speaker: tuple[float, float] = (0.0, 1e9)
    gain_spread_db: tuple[float, float] = (0.0, 1e9)
    gain_knowledge: str = "known"
    pilots_digest: str = ""

    def outside(self, observation: Observation) -> list[str]:
        """Return, in words, every quantity of the observation that training has not seen."""
        o = observation
        seen = {
            "num_devices": o.num_devices,
            "pilots_per_device": o.pilots_per_device,
            "pilot_length": o.pilot_length,
            "num_antennas": o.num_antennas,
            "activity_prob": o.activity_prob,
            "snr_db": -10 * np.log10(o.noise_power * o.pilot_length),
            "symbols_per_speaker": o.pilot_length / max(o.activity_prob * o.num_devices, 1e-9),
            "gain_spread_db": _spread_db(o.gains),
        }
        found = []
        for name, value in seen.items():
            low, high = getattr(self, name)
            margin = 1e-6 * (1 + abs(value))
            if not low - margin <= value <= high + margin:
                found.append(f"{name}={value:g}, trained for {low:g} to {high:g}")
        if o.gains.weights.size > 1 and self.gain_knowledge == "known":
            found.append("gains known by their distribution only, trained for known ones")
        if o.gains.weights.size == 1 and self.gain_knowledge == "distribution":
            found.append("gains taken for known, trained for gains known by their distribution")
        if self.pilots_digest and self.pilots_digest != pilots_digest(o.pilots):
            found.append("other pilots, trained for one set of pilots")
        return found


def _spread_db(gains: GainPrior) -> float:
    """Standard deviation of the gains that are supposed, over devices and nodes, in dB."""
    gain_db = 10 * np.log10(np.maximum(gains.nodes, np.finfo(np.float64).tiny))
    mean = (gain_db.mean(0) * gains.weights).sum()
    return float(np.sqrt((((gain_db - mean) ** 2).mean(0) * gains.weights).sum()))


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network: everything that detecting needs.

    Attributes:
        architecture: Its shape.
        parameters: Its arrays.
        trained_for: What it has seen; None for one that was not trained.
        record: How it was trained, for the reader.
        digest: SHA-256 of arrays, architecture and range, as they are kept in files.
    """

    architecture: Architecture
    parameters: Parameters
    trained_for: TrainedFor | None = None
    record: dict[str, Any] = field(default_factory=dict, repr=False)
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            trained_for = None if self.trained_for is None else asdict(self.trained_for)
            content = array_files.packed(self.parameters)
            digest = array_files.checksum(content, self.architecture.describe(), trained_for)
            object.__setattr__(self, "digest", digest)

    def describe(self) -> dict[str, Any]:
        """Return what a result needs to say of it: two networks with one digest are one."""
        return {"architecture": self.architecture.describe(), "sha256": self.digest}

    @property
    def num_parameters(self) -> int:
        """Trained numbers."""
        return sum(values.size for values in self.parameters.values())


def save(network: Network, path: Path) -> Path:
    """Write ``<path>.npz`` and ``<path>.json``, the description last.

    Returns:
        The path of the arrays.
    """
    body = {
        "format": FORMAT,
        "sha256": network.digest,
        "architecture": network.architecture.describe(),
        "trained_for": None if network.trained_for is None else asdict(network.trained_for),
        "num_parameters": network.num_parameters,
        "record": network.record,
    }
    return array_files.write(path, network.parameters, body)


def load(path: Path) -> Network:
    """Return the network in ``<path>.npz`` and ``<path>.json``.

    Raises:
        WeightFileError: A file is missing, damaged, or of something else; nothing is ever unpickled.
    """
    arrays, description = array_files.both(path)
    kept = array_files.read(path, FORMAT, COVERED)
    try:
        architecture = Architecture.from_description(kept.body.get("architecture", {}), where=str(description))
        parameters = architecture.checked(kept.arrays, where=str(arrays))
        trained_for = _trained_for(kept.body.get("trained_for"), description)
    except Exception as error:  # whatever foreign content makes a reader stumble over
        msg = str(error) if str(arrays.parent) in str(error) else f"weights: {arrays} holds no network ({error})"
        raise WeightFileError(msg) from None
    return Network(architecture, parameters, trained_for, kept.body.get("record") or {}, kept.digest)


def _trained_for(body: Any, where: Path) -> TrainedFor | None:
    if body is None:
        return None
    names = {f.name for f in fields(TrainedFor)}
    if not isinstance(body, dict) or set(body) != names:
        msg = f"weights: {where} says trained_for={body!r}, expected the fields {sorted(names)}"
        raise WeightFileError(msg)
    for name, value in body.items():
        pair = isinstance(value, list) and len(value) == 2 and all(isinstance(x, int | float) for x in value)
        if pair == (name in {"gain_knowledge", "pilots_digest"}) or not (pair or isinstance(value, str)):
            msg = f"weights: {where} says {name}={value!r} in trained_for, expected a range of two numbers, or a text"
            raise WeightFileError(msg)
    ranges: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in body.items()}
    return TrainedFor(**ranges)
