"""Between what twins say of how they are told, and a learned policy for how often they should be.

The same numbers and the same scaling in the tasks `TwinSync` and `TwinSyncReduced` and in a running network.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.view import SetSync, SyncView, View

FEATURES = ("age (s)", "rate in force (1/s)", "straying per second (dB re 1 m^2/s)", "strayings remembered")
AGE, RATE, STRAYING, HEARD = range(4)
LOWEST_DB, HIGHEST_DB, OLDEST_S = -60.0, 60.0, 1000.0  # bounds of what is shown


@dataclass(frozen=True, kw_only=True)
class SyncInterface:
    """Shows a row of `FEATURES` for each thing that a twin mirrors, and sets its rates, within a budget.

    Plug a policy of `TwinSync` into a network by ``Agent(LearnedPolicy(trained, SyncInterface(...)), sees=twins)``.

    Attributes:
        num_twins: Things that it mirrors, N.
        budget_per_s: What their rates add up to.
        spread: The greatest rate that can be set is so many times the least.
        twin: Name of the twin.
    """

    num_twins: int
    budget_per_s: float
    spread: float = 1000.0
    twin: str = "walk-twins"

    def __post_init__(self) -> None:
        check.positive_integer(num_twins=self.num_twins)
        check.positive(budget_per_s=self.budget_per_s)
        if not 1 < self.spread < math.inf:
            msg = f"spread: got {self.spread}, expected a finite number above 1: the greatest rate over the least"
            raise ValueError(msg)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Ids of the tasks whose policies it fits."""
        return "wirelesslab/TwinSync-v0", "wirelesslab/TwinSyncReduced-v0"

    @property
    def reads(self) -> tuple[str, ...]:
        """Nothing of what a twin of the network guards: how a twin is told, it shows to anybody."""
        return ()

    @property
    def observation_shape(self) -> tuple[int, ...]:
        """Of what it shows."""
        return self.num_twins, len(FEATURES)

    @property
    def answer_shape(self) -> tuple[int, ...]:
        """Of what it is told."""
        return (self.num_twins,)

    def begin(self) -> None:
        """Remember nothing: a twin remembers."""

    def observe(self, view: View, memory: None = None) -> NDArray[np.float32]:
        """Return what is shown of a view, shape (num_twins, 4).

        Raises:
            ValueError: The view shows no such twin, or one that mirrors another number of things.
        """
        del memory
        if self.twin not in view.syncs:
            shown_twins = sorted(view.syncs) or "no twins"
            msg = f"view: shows how {shown_twins} are told, expected {self.twin!r}; let the agent see that twin"
            raise ValueError(msg)
        shown = view.syncs[self.twin]
        if len(shown.ages_s) != self.num_twins:
            msg = f"num_twins: got {self.num_twins}, but {self.twin} mirrors {len(shown.ages_s)} things"
            raise ValueError(msg)
        return rows_of(shown)

    def actions(self, answer: ArrayLike) -> Sequence[SetSync]:
        """Return the wish to set the rates that an answer means.

        Raises:
            ValueError: Another shape, no numbers, or numbers outside [0, 1].
        """
        numbers = check.array(answer, self.answer_shape, "twins", name="answer").astype(float)
        if not ((numbers >= 0) & (numbers <= 1)).all():
            msg = f"answer: got {numbers.tolist()}, expected numbers from 0 to 1"
            raise ValueError(msg)
        rates = rates_of(numbers, self.budget_per_s, self.spread)
        return (SetSync(twin=self.twin, rates_per_s=tuple(rates.tolist())),)


def rows_of(shown: SyncView) -> NDArray[np.float32]:
    """Return a row of `FEATURES` for each thing, shape (N, 4); 0 dB before anything has been measured."""
    rows = np.zeros((len(shown.ages_s), len(FEATURES)), np.float32)
    strayed, heard = np.array(shown.strayed), np.array(shown.heard)
    known = heard > 0
    decibel = 10 * np.log10(np.where(known, strayed, 1.0) / np.where(known, heard, 1.0) + 1e-300)
    rows[:, AGE] = np.minimum(shown.ages_s, OLDEST_S)
    rows[:, RATE] = shown.rates_per_s
    rows[:, STRAYING] = np.clip(decibel, LOWEST_DB, HIGHEST_DB)
    rows[:, HEARD] = heard
    return rows


def rates_of(actions: NDArray[np.floating], budget_per_s: float, spread: float) -> NDArray[np.float64]:
    """Return the rates that actions mean, which use the budget exactly: budget spread^a_i / sum_j spread^a_j.

    Args:
        actions: Numbers in [0, 1], shape (..., N). Equal ones mean equal rates.
        budget_per_s: What rates add up to.
        spread: The greatest rate that can be set over the least.

    Examples:
        >>> rates_of(np.array([0.5, 1.0]), 11.0, 100.0).round(6).tolist()
        [1.0, 10.0]
    """
    parts = np.exp(math.log(spread) * np.asarray(actions, np.float64))
    return np.asarray(budget_per_s * parts / parts.sum(axis=-1, keepdims=True))
