"""Who speaks: laws of device activity.

To add one, write a class with `draw` and name it in `ACTIVITY_LAWS`. All but a trace have the mean
activity that the scenario states, which is also what a detector takes for its prior.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

from wirelesslab import check


class ActivityLaw(Protocol):
    """The joint law of which devices speak in which frames."""

    def draw(
        self, rng: np.random.Generator, num_frames: int, num_devices: int, activity_prob: float
    ) -> NDArray[np.bool_]:
        """Return who speaks, shape (frames, N)."""
        ...


@dataclass(frozen=True, kw_only=True)
class Independent:
    """Every device speaks in every frame with the same probability, independently."""

    def draw(
        self, rng: np.random.Generator, num_frames: int, num_devices: int, activity_prob: float
    ) -> NDArray[np.bool_]:
        """Return who speaks, shape (frames, N)."""
        # Compared, not drawn as Bernoulli: a sweep over activity_prob meets nested active sets.
        return rng.random((num_frames, num_devices)) < activity_prob


@dataclass(frozen=True, kw_only=True)
class BetaBurst:
    """A burst that wakes the cell: the frames of a call are the slots of one burst of Beta(a, b) shape.

    In slot f of F a device speaks with probability ε times the burst's mean density over that
    slot, so that ε is the mean over the burst.
    References: 3GPP TR 37.868, traffic model 2, Beta(3, 4).

    Attributes:
        alpha: First shape parameter.
        beta: Second shape parameter.
    """

    alpha: float = 3.0
    beta: float = 4.0

    def __post_init__(self) -> None:
        check.positive(alpha=self.alpha, beta=self.beta)

    def intensity(self, num_frames: int) -> NDArray[np.float64]:
        """Return each slot's activity over the mean activity, shape (frames,), of mean 1."""
        edges = np.linspace(0, 1, num_frames + 1)
        return np.asarray(np.diff(betainc(self.alpha, self.beta, edges)) * num_frames)

    def draw(
        self, rng: np.random.Generator, num_frames: int, num_devices: int, activity_prob: float
    ) -> NDArray[np.bool_]:
        """Return who speaks, shape (frames, N)."""
        probability = activity_prob * self.intensity(num_frames)
        if probability.max() > 1:
            msg = (
                f"activity_prob: got {activity_prob}, at the burst's peak that is {probability.max():.2f} > 1; "
                f"expected at most {activity_prob / probability.max():.3f}"
            )
            raise ValueError(msg)
        return rng.random((num_frames, num_devices)) < probability[:, None]


@dataclass(frozen=True, kw_only=True)
class Clustered:
    """Neighbours wake together: a cluster wakes as a whole, then each member speaks with `wake_prob`.

    Attributes:
        cluster_size: Devices of a cluster, with consecutive numbers; the last one may be smaller.
        wake_prob: Probability that a member of a woken cluster speaks, at least the activity.
    """

    cluster_size: int = 10
    wake_prob: float = 0.5

    def __post_init__(self) -> None:
        check.positive_integer(cluster_size=self.cluster_size)
        check.probability(wake_prob=self.wake_prob)

    def draw(
        self, rng: np.random.Generator, num_frames: int, num_devices: int, activity_prob: float
    ) -> NDArray[np.bool_]:
        """Return who speaks, shape (frames, N)."""
        if activity_prob > self.wake_prob:
            msg = f"activity_prob: got {activity_prob}, expected at most wake_prob={self.wake_prob}"
            raise ValueError(msg)
        num_clusters = -(-num_devices // self.cluster_size)
        cluster_prob = activity_prob / self.wake_prob if activity_prob else 0.0
        woken = rng.random((num_frames, num_clusters)) < cluster_prob
        member = np.repeat(woken, self.cluster_size, axis=1)[:, :num_devices]
        return member & (rng.random((num_frames, num_devices)) < self.wake_prob)


@dataclass(frozen=True, kw_only=True)
class ActivityTrace:
    """Activity read from a file: consecutive frames from a random place, going round at the end.

    Each draw (a batch of a study) starts elsewhere, so that a study sees the whole trace. To replay a
    trace in its order give `simulate` the array: ``activity=load_activity(path)``. A detector's prior
    stays the scenario's `activity_prob`: set it to the trace's mean.

    Attributes:
        path: A ``.npy`` file, or text with one frame per line (0 and 1, separated by commas or
            spaces), shape (frames, N).
    """

    path: str

    def draw(
        self, rng: np.random.Generator, num_frames: int, num_devices: int, activity_prob: float
    ) -> NDArray[np.bool_]:
        """Return `num_frames` consecutive frames of the trace, shape (frames, N)."""
        table = load_activity(self.path)
        trace = checked_activity(table, table.shape[0], num_devices, name=f"activity in {self.path}")
        mean = float(trace.mean())
        if not 0.8 * mean <= activity_prob <= 1.25 * mean:
            msg = (
                f"activity_prob: {activity_prob:g} is what detectors suppose, the trace's mean is {mean:.3g}; set it so"
            )
            warnings.warn(msg, UserWarning, stacklevel=2)
        return np.asarray(trace[(rng.integers(trace.shape[0]) + np.arange(num_frames)) % trace.shape[0]])


ACTIVITY_LAWS: tuple[type[ActivityLaw], ...] = (Independent, BetaBurst, Clustered, ActivityTrace)


def load_activity(path: str | Path) -> NDArray[np.generic]:
    """Return the array in a ``.npy`` or text file, shape (frames, N); nothing is unpickled.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file holds no table of numbers.
    """
    file = Path(path)
    if not file.exists():
        msg = f"activity: no file {str(path)!r}; expected a .npy array or a text table of 0 and 1"
        raise FileNotFoundError(msg)
    try:
        if file.suffix == ".npy":
            table = np.asarray(np.load(file, allow_pickle=False))
        else:
            lines = [line for line in file.read_text(encoding="utf-8").replace(",", " ").splitlines() if line.strip()]
            table = np.loadtxt(lines, ndmin=2) if lines else np.empty(0)
    except (ValueError, EOFError, IsADirectoryError) as error:
        msg = f"activity: {str(path)!r} holds no table of 0 and 1 with one frame per line ({error})"
        raise ValueError(msg) from error
    if table.ndim != 2 or not table.size:
        msg = f"activity: {str(path)!r} holds an array of shape {table.shape}, expected a table (frames, N)"
        raise ValueError(msg)
    return table


def checked_activity(
    activity: object, num_frames: int, num_devices: int, *, name: str = "activity"
) -> NDArray[np.bool_]:
    """Return `activity` as booleans of shape (frames, N).

    Raises:
        TypeError: Not numbers.
        ValueError: Another shape, or entries other than 0 and 1.
    """
    values = check.array(
        activity,  # type: ignore[arg-type]
        (num_frames, num_devices),
        "frames, N",
        name=name,
        because="frames are set by num_frames, N by the scenario",
    )
    bad = (values != 0) & (values != 1)
    if bad.any():
        frame, device = np.argwhere(bad)[0]
        msg = f"{name}: got {values[frame, device]} in frame {frame}, device {device}, expected 0 or 1"
        raise ValueError(msg)
    return values.astype(bool)
