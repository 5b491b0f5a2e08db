"""Fit forecasts to a history: the settings of a seasonal one, and the network of a learned one.

A history is cut in time: its older part is learned from, its newer part chooses. What is kept is never worse on the
newer part than the seasonal forecast that it grew from; test it on what came after the history.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.twins.dense_training import Examples, Training, train
from wirelesslab.network.twins.forecast_skill import origins_of
from wirelesslab.network.twins.forecasts import LearnedForecast, Seasonal, features_of, loads_of, num_features

Floats = NDArray[np.float64]
DAMPINGS, MEMORIES = (0.0, 0.4, 0.7, 0.9), (1, 3, 7)  # our choice


def fit_seasonal(
    history: ArrayLike, *, season: int, steps: int = 1, dampings: Sequence[float] = DAMPINGS,
    memories: Sequence[int] = MEMORIES, validation: float = 0.3,
) -> Seasonal:  # fmt: skip
    """Return the seasonal forecast with the least mean absolute error on the history's newer part.

    Args:
        history: Load in each window, shape (windows, series).
        season: Windows in a season.
        steps: Windows ahead.
        dampings: Candidates.
        memories: Candidates.
        validation: Share of the history that is the newer part.
    """
    loads = loads_of(history)
    check.positive_integer(season=season)
    first = _cut(len(loads), season + 1, steps, validation)
    origins, horizons = origins_of(len(loads), first, steps), np.arange(1, steps + 1)
    came = loads[origins[:, None] + horizons - 1]
    weights = 1 / np.maximum(loads[:first].mean(axis=0), np.finfo(float).tiny) * (loads[:first].mean(axis=0) > 0)
    best, least = Seasonal(season=season), np.inf
    for memory in memories:
        for damping in dampings:
            candidate = Seasonal(season=season, damping=damping, memory=memory)
            error = float((np.abs(candidate.rolled(loads, origins, horizons) - came) * weights).mean())
            if error < least:
                best, least = candidate, error
    return best


def fit_forecast(
    history: ArrayLike, *, season: int, steps: int = 1, lags: int = 3, hidden: Sequence[int] = (16,),
    base: Seasonal | None = None, how: Training | None = None, validation: float = 0.3, seed: int = 0,
) -> LearnedForecast:  # fmt: skip
    """Return a learned forecast, fitted by Keras to the older part of a history and chosen by the newer one.

    It learns the log ratio of what came to what `base` said, each weighed by its part of the mean load, so that
    the loss is close to the mean absolute error.

    Args:
        history: Load in each window, shape (windows, series).
        season: Windows in a season.
        steps: Windows ahead.
        lags: Last windows that the network sees.
        hidden: Units of its hidden layers.
        base: The forecast that it corrects; `fit_seasonal` when None.
        how: The training.
        validation: Share of the history that is the newer part.
        seed: Of the hidden layers' first weights.
    """
    loads = loads_of(history)
    base = base or fit_seasonal(loads, season=season, steps=steps, validation=validation)
    if base.season != season:
        msg = f"base: got a season of {base.season} windows, expected season={season}"
        raise ValueError(msg)
    check.positive_integer(lags=lags)
    first = _cut(len(loads), season + lags + 1, steps, validation)
    older = _examples(base, lags, loads, np.arange(season + lags, first - steps + 1), steps)
    newer = _examples(base, lags, loads, origins_of(len(loads), first, steps), steps)
    net = DenseNet.untrained(num_features(lags), hidden, seed=seed, inputs=older[0])
    inputs, targets, weights = (np.concatenate(pair) for pair in zip(older, newer, strict=True))
    is_newer = np.arange(len(inputs)) >= len(older[0])
    examples = Examples(
        inputs=inputs, targets=targets, learn=(weights * ~is_newer)[None], judge=(weights * is_newer)[None]
    )
    [(net, _)] = train([net], examples, how or Training(tolerance=0.02))
    return LearnedForecast(base=base, net=net, lags=lags, steps=steps)


def _examples(
    base: Seasonal, lags: int, loads: Floats, known: NDArray[np.int64], steps: int
) -> tuple[Floats, Floats, Floats]:
    """Return features, log ratios and weights of every forecast from these origins."""
    horizons = np.arange(1, steps + 1)
    inputs, soft = features_of(base, lags, loads, known, horizons)
    said = base.rolled(loads, known, horizons)
    came = loads[known[:, None] + horizons - 1]
    weights = (said + soft) / soft.mean(axis=0, keepdims=True)
    return inputs.reshape(-1, inputs.shape[-1]), np.log((came + soft) / (said + soft)).reshape(-1, 1), weights.ravel()


def _cut(windows: int, least: int, steps: int, validation: float) -> int:
    """Return how many windows are the older part; refuse a history that is too short to cut."""
    check.positive_integer(steps=steps)
    check.within(0.05, 0.95, validation=validation)
    first = int(windows * (1 - validation))
    if first < least + steps or windows - first < steps:
        wanted = int(np.ceil((least + steps) / (1 - validation))) + steps
        msg = (
            f"history: got {windows} windows, expected at least {wanted}: a season and what a forecast looks at in the "
            "older part, and one forecast in the newer; wait for more, or use Persistence or Seasonal"
        )
        raise ValueError(msg)
    return first
