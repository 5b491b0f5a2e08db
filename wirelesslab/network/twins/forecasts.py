"""What a twin expects of the load that is to come: persistence, seasons, and a learned correction of them.

A history holds the mean load in each past window, such as offered bits per second, one column per series (a
slice, a cell). What is learned starts as the seasonal forecast, to the last bit, and stays it where training
has seen too little.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.array_files import WeightFileError
from wirelesslab.network.dense_nets import DenseNet, load_net, save_net

KIND = "learned forecast"
SOFT = 0.05  # of the mean load: keeps logarithms of quiet windows finite; our choice

Floats = NDArray[np.float64]


class Forecaster(Protocol):
    """Foresees loads from loads."""

    def ahead(self, history: ArrayLike, steps: int, /) -> Floats:
        """Return the load expected in each coming window, shape (steps, series).

        Args:
            history: Load in each past window, newest last, shape (windows, series), at least one window, none below 0.
            steps: Windows ahead.
        """
        ...


def loads_of(history: ArrayLike) -> Floats:
    """Return the history as numbers; refuse other shapes, NaN, and loads below 0."""
    loads = check.array(history, (None, None), "windows, series", name="history").astype(np.float64)
    if len(loads) == 0:
        msg = "history: got no window, expected at least one; ask for a forecast after the first has been seen"
        raise ValueError(msg)
    if loads.size and loads.min() < 0:
        window, series = np.argwhere(loads < 0)[0]
        msg = f"history: got {loads[window, series]:g} in window {window} of series {series}, expected loads >= 0"
        raise ValueError(msg)
    return loads


@dataclass(frozen=True)
class Persistence:
    """The next windows are as the last.

    Examples:
        >>> Persistence().ahead([[1.0, 5.0], [2.0, 4.0]], 2).tolist()
        [[2.0, 4.0], [2.0, 4.0]]
    """

    def ahead(self, history: ArrayLike, steps: int, /) -> Floats:
        """Return the last window's loads, `steps` times."""
        check.positive_integer(steps=steps)
        return np.repeat(loads_of(history)[-1:], steps, axis=0)


@dataclass(frozen=True, kw_only=True)
class Seasonal:
    r"""Each window is as the same window of past seasons, moved by a part of how far the last window was off.

    $\hat y_{t+h} = p_{t+h} + \phi^h (y_t - p_t)$ with the usual load $p$, the mean of the same windows in the last
    seasons. Until a season has been seen it is persistence; until two, the usual load alone.

    Attributes:
        season: Windows in a season, such as 24 of an hour in a day.
        damping: $\phi$: 0 trusts the seasons alone; 1 keeps the last error for ever.
        memory: Seasons that are averaged, as far as they were seen.

    Examples:
        >>> Seasonal(season=2).ahead([[1.0], [5.0], [1.0], [5.0]], 3).ravel().tolist()
        [1.0, 5.0, 1.0]
    """

    season: int
    damping: float = 0.0
    memory: int = 1

    def __post_init__(self) -> None:
        check.positive_integer(season=self.season, memory=self.memory)
        check.within(0, 1, damping=self.damping)

    def ahead(self, history: ArrayLike, steps: int, /) -> Floats:
        """Return the usual loads, moved."""
        check.positive_integer(steps=steps)
        loads = loads_of(history)
        if len(loads) < self.season:
            return Persistence().ahead(loads, steps)
        first: Floats = self.rolled(loads, np.array([len(loads)]), np.arange(1, steps + 1))[0]
        return first

    def rolled(self, loads: Floats, known: NDArray[np.int64], horizons: NDArray[np.int64]) -> Floats:
        """Return forecasts from many origins at once, shape (origins, horizons, series).

        Args:
            loads: The whole series, shape (windows, series).
            known: Windows known at each origin, at least a season, shape (origins,).
            horizons: Windows ahead, from 1, shape (horizons,).
        """
        usual, _ = self.usual(loads, known[:, None] + horizons - 1, known[:, None])
        if self.damping == 0:
            return usual
        before, seen = self.usual(loads, known - 1, known - 1)
        off = np.where(seen[:, None], loads[known - 1] - before, 0.0)
        return np.maximum(usual + self.damping ** horizons[:, None] * off[:, None], 0.0)

    def usual(self, loads: Floats, at: NDArray[np.int64], known: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the mean load of windows `at` in past seasons, shape (*at, series), and whether there was any.

        Args:
            loads: The whole series, shape (windows, series).
            at: Which windows.
            known: Only the first so many windows may be used; broadcasts with `at`.
        """
        back = np.maximum(-(-(at - known + 1) // self.season), 1)  # seasons back to the newest one that is known
        total, count = np.zeros((*at.shape, loads.shape[1])), np.zeros(at.shape, np.int64)
        for more in range(self.memory):
            window = at - (back + more) * self.season
            there = window >= 0
            total += np.where(there[..., None], loads[np.maximum(window, 0)], 0.0)
            count += there
        return total / np.maximum(count, 1)[..., None], count > 0


@dataclass(frozen=True, kw_only=True)
class LearnedForecast:
    r"""A seasonal forecast times what a small network has learned to correct.

    $\hat y = b + (b + c)(e^{f(x)} - 1)$: $b$ is the seasonal forecast, $c$ a small part of the mean load, $f$ the
    network. Before training $f = 0$ and this *is* the seasonal forecast. Its features are ratios of loads, so one
    network serves series of any size. It says what `base` says until a season and `lags` windows have been seen,
    and beyond the `steps` that it was trained for.

    Attributes:
        base: The forecast that it grew from.
        net: The correction: ``lags + 5`` inputs, one output.
        lags: Last windows that it looks at.
        steps: Windows ahead that it was trained for.
    """

    base: Seasonal
    net: DenseNet = field(repr=False)
    lags: int = 3
    steps: int = 1

    def __post_init__(self) -> None:
        check.positive_integer(lags=self.lags, steps=self.steps)
        if (self.net.sizes[0], self.net.sizes[-1]) != (num_features(self.lags), 1):
            msg = (
                f"net: got {self.net.sizes[0]} inputs and {self.net.sizes[-1]} outputs, expected "
                f"{num_features(self.lags)} and 1, for {self.lags} lags"
            )
            raise ValueError(msg)

    @classmethod
    def untrained(cls, base: Seasonal, *, lags: int = 3, steps: int = 1, seed: int = 0) -> "LearnedForecast":
        """Return the learned forecast that equals `base`."""
        net = DenseNet.untrained(num_features(lags), seed=seed)
        return cls(base=base, net=net, lags=lags, steps=steps)

    @property
    def needs(self) -> int:
        """Windows that must have been seen before the network is asked."""
        return self.base.season + self.lags

    def ahead(self, history: ArrayLike, steps: int, /) -> Floats:
        """Return the corrected forecast."""
        expected = self.base.ahead(history, steps)
        loads = loads_of(history)
        horizons = np.arange(1, min(steps, self.steps) + 1)
        if len(loads) < self.needs or loads.shape[1] == 0:
            return expected
        inputs, soft = features_of(self.base, self.lags, loads, np.array([len(loads)]), horizons)
        learned = self.net(inputs.reshape(-1, inputs.shape[-1])).reshape(inputs.shape[1:-1])
        near = expected[: horizons.size]
        expected[: horizons.size] = np.maximum(near + (near + soft[0]) * np.expm1(learned), 0.0)
        return expected

    def save(self, path: Path) -> Path:
        """Write it to ``<path>.npz`` and ``<path>.json``; return the path of the arrays."""
        base = {"season": self.base.season, "damping": self.base.damping, "memory": self.base.memory}
        return save_net(self.net, path, {"kind": KIND, "base": base, "lags": self.lags, "steps": self.steps})

    @classmethod
    def load(cls, path: Path) -> "LearnedForecast":
        """Return what `save` wrote.

        Raises:
            WeightFileError: A file is missing, damaged, or of something else.
        """
        net, serves = load_net(path, KIND)
        try:
            return cls(base=Seasonal(**serves["base"]), net=net, lags=serves["lags"], steps=serves["steps"])
        except (KeyError, TypeError, ValueError) as error:
            msg = f"weights: {path} describes no learned forecast ({error})"
            raise WeightFileError(msg) from None


def num_features(lags: int) -> int:
    """Inputs of a learned forecast's network."""
    return lags + 5


def features_of(
    base: Seasonal, lags: int, loads: Floats, known: NDArray[np.int64], horizons: NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Return what a learned forecast looks at, from many origins at once.

    How far each of the last windows was above the usual load (log ratio), the usual load of the window asked for
    and of the last one over the mean, last season's over the usual, and the horizon in seasons and its inverse.

    Args:
        base: Gives the usual load.
        lags: Last windows.
        loads: The whole series, shape (windows, series).
        known: Windows known at each origin, at least ``base.season + lags``, shape (origins,).
        horizons: Windows ahead, from 1, shape (horizons,).

    Returns:
        Features, shape (origins, horizons, series, lags + 5), and the small load that was added before logarithms,
        shape (origins, 1, series).
    """
    recent = np.arange(1, lags + 1)
    sums = np.concatenate([np.zeros((1, loads.shape[1])), np.cumsum(loads, axis=0)])
    level = np.maximum((sums[known] - sums[known - base.season]) / base.season, 0.0)  # (origins, series)
    soft = np.where(level > 0, SOFT * level, 1.0)[:, None]
    last = known[:, None] - recent
    usual_then, _ = base.usual(loads, last, last)
    off = np.log((loads[last] + soft) / (usual_then + soft))  # (origins, lags, series)
    coming = known[:, None] + horizons - 1
    usual, _ = base.usual(loads, coming, known[:, None])  # (origins, horizons, series)
    newest, _ = Seasonal(season=base.season).usual(loads, coming, known[:, None])
    shape = usual.shape
    parts = [
        *(np.broadcast_to(off[:, None, lag], shape) for lag in range(lags)),
        np.log((usual + soft) / (level[:, None] + soft)),
        np.broadcast_to(np.log((usual_then[:, :1] + soft) / (level[:, None] + soft)), shape),
        np.log((newest + soft) / (usual + soft)),
        np.broadcast_to((horizons / base.season)[None, :, None], shape),
        np.broadcast_to((1 / horizons)[None, :, None], shape),
    ]
    return np.stack(parts, axis=-1), soft
