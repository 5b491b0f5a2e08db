"""Tables of whole-frame outcomes: the physical layer, computed once, resampled for ever."""

import json
from collections.abc import Iterable
from concurrent.futures import Executor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from wirelesslab import check, results
from wirelesslab.executors import InProcess
from wirelesslab.mmtc.detection import Detector
from wirelesslab.mmtc.gains import EqualGain
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import draw_cell, simulate
from wirelesslab.rng import stream
from wirelesslab.services import frame_kernels as kernels
from wirelesslab.services.frames import Frames, Heard, check_detector
from wirelesslab.threads import one_thread

KIND = "frame outcomes"
COLUMNS = ("missed", "wrong", "false_alarms")


def tabulate(
    scenario: Scenario,
    detector: Detector,
    *,
    active: Iterable[int],
    frames: int = 256,
    draws: int = 8,
    seed: int = 1,
    executor: Executor | None = None,
    path: str | Path | None = None,
) -> "TabulatedAccess":
    """Draw what becomes of whole frames, given how many devices speak in them.

    The speakers are drawn uniformly, what they say uniformly, and pilots `draws` times. The detector is told
    the scenario's ε whatever the number of speakers, as a station is that does not estimate its load.

    Args:
        scenario: The devices of one codebook, and the air; their gains must be equal.
        detector: Who listens.
        active: 0, 1, 2, … up to the most speakers that the table shall know.
        frames: For each number of speakers and draw of pilots.
        draws: Draws of pilots.
        seed: Of everything.
        executor: Where the draws run; this process when None.
        path: Where the table is saved; it is not when None.

    Raises:
        ValueError: Numbers of speakers with gaps or above N, or gains that differ: then outcomes are not
            exchangeable among devices, and dealing them out uniformly would hide that the weak fail again and again.
        TypeError: `detector` does not detect, or is the class of one that does.
    """
    numbers = list(active)
    check_detector(detector)
    check.positive_integer(frames=frames, draws=draws)
    check.non_negative_integer(seed=seed)
    if numbers != list(range(len(numbers))) or not 1 < len(numbers) <= scenario.num_devices + 1:
        msg = (
            f"active: got {numbers[:4]}…, expected 0, 1, 2, … without a gap, up to at most the "
            f"{scenario.num_devices} devices of the scenario; write range(most + 1)"
        )
        raise ValueError(msg)
    if scenario.gain_law != EqualGain():
        msg = (
            f"scenario: got gain_law={scenario.gain_law!r}, expected EqualGain(); devices whose gains differ and stay "
            "are not exchangeable, take the detector itself (InLoop) for them"
        )
        raise ValueError(msg)
    pool = executor or InProcess()
    tasks = [
        pool.submit(_outcomes, scenario, detector, numbers[-1], frames, int(stream(seed, "table").integers(2**62)), d)
        for d in range(draws)
    ]
    drawn = np.stack([task.result() for task in tasks], axis=2)  # (columns, active, draws, frames)
    data = xr.Dataset(
        {name: (("active", "draw", "frame"), drawn[i]) for i, name in enumerate(COLUMNS)},
        coords={"active": numbers},
        attrs={
            "kind": KIND,
            "config": json.dumps({
                "scenario": results.describe(scenario), "detector": results.describe(detector), "seed": seed,
                "name": detector.name,
            }),
            **results.provenance(),
        },
    )  # fmt: skip
    if path is not None:
        results.save(data, path)
    return TabulatedAccess(data)


def _outcomes(
    scenario: Scenario, detector: Detector, most: int, frames: int, seed: int, draw: int
) -> NDArray[np.int16]:
    """Return missed, wrong and false alarms of the frames of one pilot draw, shape (3, most + 1, frames)."""
    cell = draw_cell(scenario, stream(seed, "pilots", draw))
    out = np.zeros((len(COLUMNS), most + 1, frames), np.int16)
    with one_thread():
        for speakers in range(most + 1):
            rng = stream(seed, "frames", draw, speakers)
            rank = rng.random((frames, scenario.num_devices)).argsort(axis=1).argsort(axis=1)
            observation, truth = simulate(cell, rng, num_frames=frames, activity=rank < speakers)
            labels, sent = detector.detect(observation).labels, truth.symbols
            out[0, speakers] = ((sent > 0) & (labels == 0)).sum(1)
            out[1, speakers] = ((sent > 0) & (labels > 0) & (labels != sent)).sum(1)
            out[2, speakers] = ((sent == 0) & (labels > 0)).sum(1)
    return out


@dataclass(frozen=True, eq=False)
class TabulatedAccess:
    """Outcomes of frames resampled from a table: a `FrameOutcomes` as fast as counting.

    Failures collapse whole frames, so whole frames are resampled: missed, wrong and false alarms of one frame
    stay together. They are dealt to its devices uniformly, which is exact when devices are exchangeable; what
    is lost is that two devices whose pilots happen to be alike would disturb each other again and again. Each
    cell keeps one of the table's draws of pilots.

    Attributes:
        table: ``missed``, ``wrong`` and ``false_alarms`` over ``active``, ``draw`` and ``frame``.

    Raises:
        ValueError: It is not such a table.
    """

    table: xr.Dataset
    takes_activity_prob: bool = False

    def __post_init__(self) -> None:
        lacking = [name for name in COLUMNS if name not in self.table]
        if self.table.attrs.get("kind") != KIND or lacking or "config" not in self.table.attrs:
            msg = (
                f"table: got a dataset of {list(self.table)[:4]}, expected one of whole-frame outcomes; "
                "make it with services.tabulate(scenario, detector, active=range(21))"
            )
            raise ValueError(msg)
        object.__setattr__(self, "_arrays", tuple(np.ascontiguousarray(self.table[n].values) for n in COLUMNS))
        counts = self.table["missed"] + self.table["wrong"]
        shape = self.table["missed"].shape
        silent = self.num_devices - np.arange(shape[0])[:, None, None]
        if (
            any(a.shape != shape or a.size == 0 or a.dtype.kind not in "iu" or a.min() < 0 for a in self._tables)
            or not np.array_equal(self.table["active"].values, np.arange(shape[0]))
            or (counts.values > np.arange(shape[0])[:, None, None]).any()
            or (self._tables[2] > silent).any()
        ):
            msg = "table: got counts that no frame can have; it was damaged, make it anew with services.tabulate"
            raise ValueError(msg)

    def __deepcopy__(self, memo: object) -> "TabulatedAccess":
        return self  # nothing of it ever changes

    def describe(self) -> dict[str, Any]:
        """Return what a result needs to say of it: whose table, of what, and a hash of its counts."""
        digest = sha256(b"".join(array.tobytes() for array in self._tables)).hexdigest()
        return {**json.loads(self.table.attrs["config"]), "shape": list(self._tables[0].shape), "sha256": digest}

    @classmethod
    def load(cls, path: str | Path) -> "TabulatedAccess":
        """Return the table that `tabulate` saved.

        Raises:
            FileNotFoundError: There is no file.
            ValueError: The file is damaged, or of something else.
        """
        if not Path(path).is_file():
            msg = f"path: there is no file {str(path)!r}; make it with services.tabulate(..., path={str(path)!r})"
            raise FileNotFoundError(msg)
        try:
            data = results.load(path)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            msg = f"path: {str(path)!r} cannot be read as netCDF ({error}); it is damaged, make it anew"
            raise ValueError(msg) from error
        return cls(data)

    @property
    def _tables(self) -> tuple[NDArray[np.int16], ...]:
        arrays: tuple[NDArray[np.int16], ...] = self._arrays  # type: ignore[attr-defined]
        return arrays

    @property
    def name(self) -> str:
        """The detector's."""
        return str(json.loads(self.table.attrs["config"])["name"])

    @property
    def num_devices(self) -> int:
        """N, devices of a codebook."""
        return int(json.loads(self.table.attrs["config"])["scenario"]["num_devices"])

    @property
    def most_active(self) -> int:
        """The most speakers that it knows."""
        return int(self.table.sizes["active"]) - 1

    def check_scenario(self, scenario: Scenario) -> None:
        """Refuse another scenario than the table's.

        Raises:
            ValueError: They differ.
        """
        own = json.loads(self.table.attrs["config"])["scenario"]
        other = json.loads(json.dumps(results.describe(scenario)))
        differ = sorted(key for key in own.keys() | other.keys() if own.get(key) != other.get(key))
        if differ:
            values = ", ".join(f"{key}={own.get(key)!r} in the table and {other.get(key)!r} here" for key in differ)
            msg = f"table: was drawn for another scenario ({values}); tabulate this one"
            raise ValueError(msg)

    def hear(self, frames: Frames, seed: int, /) -> Heard:
        """See `FrameOutcomes`.

        Raises:
            ValueError: More devices speak at once than the table knows.
        """
        most = int(frames.num_speakers.max(initial=0))
        if most > self.most_active:
            msg = (
                f"table: {most} devices of a codebook speak at once, it knows up to {self.most_active}; tabulate "
                f"active=range({most + 1}) or more, add codebooks, or lower the load"
            )
            raise ValueError(msg)
        outcome = np.empty(frames.label.size, np.int8)
        draw = (frames.cell + seed % 1009) % self.table.sizes["draw"]
        missed, wrong, alarms = self._tables
        false_frame, false_label = kernels.resample(
            seed,
            frames.slot,
            frames.codebook,
            draw,
            frames.first,
            frames.label,
            self.num_devices,
            missed,
            wrong,
            alarms,
            outcome,
        )
        return Heard(outcome, false_frame, false_label)
