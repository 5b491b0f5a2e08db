"""What would be if: wishes rehearsed on clones that are built from what a twin knows (see `clones`).

Each clone lives through the age of what is known, does what is wished, and goes on. Every wish meets the same futures
(common random numbers), so that effects are differences of pairs.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.network.twins.clones import Foreseen, Known, clone_of, drawn, expected_rates
from wirelesslab.network.twins.forecasts import Forecaster
from wirelesslab.network.view import Action, SetActive, SetRatios, SetUp, View
from wirelesslab.replicas import Mean, difference, mean

KPIS = ("mean_delay_s", "late_share", "delivered_bps", "lost_flows")
Wishes = Action | Sequence[Action] | None


@dataclass(frozen=True, eq=False)
class WhatIf:
    """What a twin expects of a wish.

    Attributes:
        actions: It; empty does nothing.
        refused: Why each would be refused; "" if it would be done.
        slices: Their names.
        horizon_s: From now on.
        ages_s: Age of what the twin knew, by attribute.
        with_it: By name out of `KPIS`, in each future and slice, shape (futures, slices); nan where there is none.
        without: The same futures without it.
    """

    actions: tuple[Action, ...]
    refused: tuple[str, ...]
    slices: tuple[str, ...]
    horizon_s: float
    ages_s: Mapping[str, float]
    with_it: Mapping[str, NDArray[np.float64]] = field(repr=False)
    without: Mapping[str, NDArray[np.float64]] = field(repr=False)

    def expected(self, kpi: str, name: str) -> Mean:
        """Return a slice's figure with the actions, and its interval over futures."""
        return mean(self._of(self.with_it, kpi, name))

    def unchanged(self, kpi: str, name: str) -> Mean:
        """Return it without them."""
        return mean(self._of(self.without, kpi, name))

    def effect(self, kpi: str, name: str) -> Mean:
        """Return the difference, with minus without, and its interval over pairs of equal futures."""
        return difference(self._of(self.with_it, kpi, name), self._of(self.without, kpi, name))

    def _of(self, figures: Mapping[str, NDArray[np.float64]], kpi: str, name: str) -> NDArray[np.float64]:
        check.one_of(KPIS, kpi=kpi)
        check.one_of(self.slices, slice=name)
        return figures[kpi][:, self.slices.index(name)]

    def __str__(self) -> str:
        words = "; ".join(map(str, self.actions)) or "do nothing"
        refused = [reason for reason in self.refused if reason]
        if refused:
            return "\n  ".join([f"{words}: would be refused", *refused])
        rows = [f"{name} {kpi}: {self.effect(kpi, name)}" for name in self.slices for kpi in KPIS]
        return "\n  ".join([f"{words}, within {self.horizon_s:g} s, beside doing nothing (95 %):", *rows])


Score = Callable[[WhatIf], float]


@dataclass(frozen=True)
class Rehearsal:
    """What came of trying several wishes.

    Attributes:
        best: The one of the highest score.
        tried: All, in the order in which they were given, after doing nothing.
        scores: Of each; -inf for what would be refused.
    """

    best: WhatIf
    tried: tuple[WhatIf, ...]
    scores: tuple[float, ...]

    @classmethod
    def of(cls, tried: Sequence[WhatIf], score: Score) -> "Rehearsal":
        """Score what was tried; the first of the best wins.

        Raises:
            ValueError: A score is no number.
        """
        scores = [-math.inf if any(one.refused) else float(score(one)) for one in tried]
        if any(map(math.isnan, scores)):
            msg = "score: got nan, expected a number; a slice that delivers nothing has no mean delay: say its worth"
            raise ValueError(msg)
        return cls(tried[scores.index(max(scores))], tuple(tried), tuple(scores))


def fewest_late(result: WhatIf) -> float:
    """Return a score: minus the late or lost share, averaged over futures and slices that had any flow."""
    shares = result.with_it["late_share"]
    return -float(np.nanmean(shares)) if not np.isnan(shares).all() else 0.0


def figures_of(view: View) -> dict[str, NDArray[np.float64]]:
    """Return the figures by which futures are compared, out of a view's window, by name and each of shape (slices,)."""
    before = view.before
    lost = [s.lost_flows - (0 if before is None else before.slices[n].lost_flows) for n, s in view.slices.items()]
    return {
        "mean_delay_s": np.array([view.mean_delay_s(name) for name in view.slices]),
        "late_share": np.array([view.late_share(name) for name in view.slices]),
        "delivered_bps": np.array([view.delivered_bps(name) for name in view.slices]),
        "lost_flows": np.array(lost, float),
    }


def rehearse(
    known: Known,
    forecaster: Forecaster,
    wishes: Sequence[Wishes],
    *,
    horizon_s: float,
    futures: int,
    seed: int,
    by: str = "",
) -> tuple[WhatIf, ...]:
    """Return what is expected of each wish, from what is known alone.

    Raises:
        ValueError: An action concerns the radio.
    """
    check.positive(horizon_s=horizon_s)
    check.positive_integer(futures=futures)
    check.non_negative_integer(seed=seed)
    options = [_actions(wish) for wish in wishes]
    unique = list({str(option): option for option in [(), *options]}.values())
    figures: dict[str, list[dict[str, NDArray[np.float64]]]] = {str(option): [] for option in unique}
    refused: dict[str, tuple[str, ...]] = {}
    expected = expected_rates(known, forecaster, horizon_s)
    for future in range(futures):
        arrivals = drawn(known, expected, seed, future)
        for option in unique:
            found, refused[str(option)] = _lived(known, expected[1][0], arrivals, option, horizon_s, seed, future, by)
            figures[str(option)].append(found)
    tables = {
        words: {kpi: np.array([found[kpi] for found in several]) for kpi in KPIS} for words, several in figures.items()
    }
    names = tuple(s.name for s in known.slices)
    return tuple(
        WhatIf(option, refused[str(option)], names, horizon_s, known.ages_s, tables[str(option)], tables[str(())])
        for option in options
    )


def _actions(wish: Wishes) -> tuple[Action, ...]:
    actions = () if wish is None else tuple(wish) if isinstance(wish, list | tuple) else (wish,)
    for action in actions:
        if not isinstance(action, SetRatios | SetUp | SetActive):
            msg = f"what_if: got {action!r}, expected SetRatios, SetUp, SetActive, several of them, or None"
            raise TypeError(msg)
        if isinstance(action, SetRatios) and action.domain == "radio":
            msg = (
                "what_if: shares of the radio are not modelled, for the twin knows no user; ask of transport or compute"
            )
            raise ValueError(msg)
    return actions


def _lived(
    known: Known,
    rates: NDArray[np.float64],
    arrivals: Foreseen,
    option: tuple[Action, ...],
    horizon_s: float,
    seed: int,
    future: int,
    by: str,
) -> tuple[dict[str, NDArray[np.float64]], tuple[str, ...]]:
    """Live through one future; return the figures from now on, and which actions were refused."""
    clone = clone_of(known, rates, seed, future)
    clone.add(arrivals)
    now_s = known.ages_s["queues"]
    if now_s > 0:
        clone.agenda.run(now_s)
    refused = tuple(clone.apply(action, by=by or "operator").refused for action in option)
    before = clone.view()
    clone.agenda.run(now_s + horizon_s)
    return figures_of(clone.view(before)), refused
