"""Rules for sync rates that learned agents are held against: equal, in proportion, square roots, told or measured.

A rule answers `rule(observation, info)` with actions, for one environment or for many at once. Those that are told the
weights hold the environment, from which they read what no agent sees.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.tasks.twin_sync_setting import AGE, HEARD, STRAYING, SyncSetting

Floats = NDArray[np.floating]


class SyncRule(Protocol):
    """Says how often each twin is told."""

    def __call__(self, observation: Floats, info: Mapping[str, Any], /) -> Floats:
        """Return actions, shape (..., N), for what is seen, shape (..., N, 4)."""
        ...


class Weighed(Protocol):
    """An environment that shows judges its weights."""

    @property
    def weights(self) -> NDArray[np.float64]:
        """m^2/s, shape (..., N)."""
        ...

    @property
    def setting(self) -> SyncSetting:
        """Of the task."""
        ...


@dataclass(frozen=True)
class Uniform:
    """The same rate for every twin."""

    def __call__(self, observation: Floats, _info: Mapping[str, Any], /) -> Floats:
        """Return one half for each twin."""
        return np.full(observation.shape[:-1], 0.5)


@dataclass(frozen=True, eq=False)
class PowerTold:
    """Rates in proportion to a power of the true weights.

    Attributes:
        env: Whose weights.
        power: 0.5, square roots, is the best of constant rates; 1, in proportion, costs as much as equal rates.
    """

    env: Weighed
    power: float = 0.5

    def __call__(self, _observation: Floats, _info: Mapping[str, Any], /) -> Floats:
        """Return actions that mean these rates."""
        return self.env.setting.actions_of(self.env.weights**self.power)


@dataclass(frozen=True)
class PowerMeasured:
    """Rates in proportion to a power of what strayings measured say of the weights.

    Few measurements are drawn to the mean of all twins'.

    Attributes:
        setting: Of the task.
        power: 0.5 for square roots.
        doubt: How many measurements the mean of all twins counts for.
    """

    setting: SyncSetting
    power: float = 0.5
    doubt: float = 1.0

    def __post_init__(self) -> None:
        check.positive(doubt=self.doubt)

    def __call__(self, observation: Floats, _info: Mapping[str, Any], /) -> Floats:
        """Return actions that mean these rates."""
        return self.setting.actions_of(weights_measured(observation, self.doubt) ** self.power)


@dataclass(frozen=True)
class AgeAware:
    """Square roots of measured weights, more for twins that are old for their rate, less for those just told.

    A twin of twice its mean age gets more than one told a moment ago, which makes Poisson updates more regular and so
    their ages less: no constant rates can do so. A rule of thumb, our choice; its two numbers are the best of a grid of
    twenty in `TwinSyncReduced` with steps of a quarter of a mean gap (64 episodes).

    Attributes:
        setting: Of the task.
        eagerness: Power of (age over what is usual at square-root rates), to which `start` is added.
        start: What a twin just told counts as.
        doubt: As in `PowerMeasured`.
    """

    setting: SyncSetting
    eagerness: float = 2.0
    start: float = 0.05
    doubt: float = 1.0

    def __call__(self, observation: Floats, _info: Mapping[str, Any], /) -> Floats:
        """Return actions that mean these rates."""
        roots = np.sqrt(weights_measured(observation, self.doubt))
        usual_s = roots.sum(axis=-1, keepdims=True) / (roots * self.setting.budget_per_s)
        return self.setting.actions_of(roots * (self.start + observation[..., AGE] / usual_s) ** self.eagerness)


def weights_measured(observation: Floats, doubt: float = 1.0) -> NDArray[np.float64]:
    """Return what strayings say of weights, m^2/s, shape (..., N); 1 each while nothing has been measured.

    Args:
        observation: Shape (..., N, 4).
        doubt: How many measurements the geometric mean of all twins counts for.
    """
    seen = np.asarray(observation, np.float64)
    heard, measured = seen[..., HEARD], 10 ** (seen[..., STRAYING] / 10)
    known = heard > 0
    logs = np.log(np.where(known, measured, 1.0)).sum(axis=-1, keepdims=True)
    middle = np.exp(logs / np.maximum(known.sum(axis=-1, keepdims=True), 1))
    return np.asarray((heard * measured + doubt * middle) / (heard + doubt))


def square_root_cost(weights: Floats, budget_per_s: float) -> NDArray[np.float64]:
    """Return the mean over twins of weight times age at the best constant rates of Poisson updates, shape (...).

    Examples:
        >>> float(square_root_cost(np.array([1.0, 4.0]), 3.0))
        1.5
    """
    roots = np.sqrt(np.asarray(weights, np.float64))
    return np.asarray(roots.sum(axis=-1) * roots.mean(axis=-1) / budget_per_s)


def uniform_cost(weights: Floats, budget_per_s: float) -> NDArray[np.float64]:
    """Return the same at equal rates, and at rates in proportion to the weights, shape (...)."""
    return np.asarray(np.sum(weights, axis=-1, dtype=np.float64) / budget_per_s)


def few_twins_gain(sigma: float, num_twins: int) -> float:
    """Return the mean cost of equal rates over that of square roots for N lognormal weights: below exp(sigma^2 / 4).

    Examples:
        >>> [round(few_twins_gain(1.0, n), 3) for n in (1, 16, 1000)]
        [1.0, 1.262, 1.284]
    """
    check.positive_integer(num_twins=num_twins)
    return num_twins / (1 + (num_twins - 1) * math.exp(-(sigma**2) / 4))
