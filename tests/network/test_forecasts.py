"""Forecasts of load: what they are before training, what they gain over persistence, and what they refuse."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.array_files import WeightFileError
from wirelesslab.network.dense_nets import DenseNet
from wirelesslab.network.diurnal_traffic import Diurnal, day_of_rates
from wirelesslab.network.twins.forecast_skill import mase, rolled, skill
from wirelesslab.network.twins.forecasts import LearnedForecast, Persistence, Seasonal, num_features
from wirelesslab.rng import stream

DAY, STEPS = 24, 6
FITTED_DAYS, TESTED_DAYS = 20, 15


def counted(peak, mean_per_hour, seed):
    """Arrivals of each hour of some days, from the wing's own source."""
    rates = day_of_rates(mean_per_hour, 0.8, peak, DAY)
    source = Diurnal(period_s=float(DAY), rates_per_s=rates, num_bytes=100)
    rng = stream(seed, "diurnal")
    hours = DAY * (FITTED_DAYS + TESTED_DAYS)
    times_s, _ = source.ahead(rng, source.begin(rng, 1), int(1.3 * mean_per_hour * hours))
    assert times_s[-1] > hours
    return np.histogram(times_s, bins=np.arange(hours + 1))[0].astype(float)


@pytest.fixture(scope="module")
def steady():
    """Three slices with peaks at different hours, every day the same but for chance."""
    return np.stack([counted(0.8, 60, 1), counted(0.45, 40, 2), counted(0.1, 40, 3)], axis=1)


@pytest.fixture(scope="module")
def load(steady):
    """The same with days that are busier or calmer by a third."""
    busier = np.exp(0.3 * stream(4, "days").normal(size=FITTED_DAYS + TESTED_DAYS))
    return steady * np.repeat(busier, DAY)[:, None]


def fit(series):
    """A seasonal and a learned forecast that have seen the first days only."""
    from wirelesslab.network.twins.forecast_training import fit_forecast, fit_seasonal

    history = series[: DAY * FITTED_DAYS]
    seasonal = fit_seasonal(history, season=DAY, steps=STEPS)
    return seasonal, fit_forecast(history, season=DAY, steps=STEPS, base=seasonal, seed=1)


@pytest.fixture(scope="module")
def fitted(load):
    return fit(load)


def some(base, seed=3, lags=3, steps=STEPS):
    """A learned forecast with weights that are not zero."""
    rng = stream(seed, "weights")
    net = DenseNet.untrained(num_features(lags), (5,), seed=seed)
    arrays = {name: values + 0.2 * rng.uniform(0, 1, values.shape) for name, values in net.arrays.items()}
    return LearnedForecast(base=base, net=DenseNet(arrays), lags=lags, steps=steps)


def test_an_untrained_learned_forecast_is_the_seasonal_one_to_the_last_bit(load):
    for base in (Seasonal(season=DAY), Seasonal(season=DAY, damping=0.7, memory=3)):
        learned = LearnedForecast.untrained(base, steps=STEPS)
        for windows in (1, DAY - 1, DAY, DAY + 3, 3 * DAY + 5, len(load)):
            assert np.array_equal(learned.ahead(load[:windows], 40), base.ahead(load[:windows], 40))


def test_until_a_season_has_been_seen_every_forecast_is_persistence(load):
    for forecast in (Seasonal(season=DAY, damping=0.5), some(Seasonal(season=DAY))):
        assert np.array_equal(forecast.ahead(load[: DAY - 1], 4), Persistence().ahead(load[: DAY - 1], 4))


def test_a_seasonal_forecast_of_a_load_that_repeats_itself_is_without_error():
    day = stream(1, "day").uniform(1, 9, (DAY, 2))
    for damping, memory in ((0.0, 1), (0.6, 2)):
        seasonal = Seasonal(season=DAY, damping=damping, memory=memory)
        ahead = seasonal.ahead(np.tile(day, (4, 1)), 2 * DAY + 5)
        np.testing.assert_allclose(ahead, np.tile(day, (3, 1))[: 2 * DAY + 5], rtol=1e-12)


def test_a_damped_forecast_carries_a_part_of_the_last_error_on():
    history = np.array([[4.0], [8.0], [4.0], [10.0]])
    ahead = Seasonal(season=2, damping=0.5).ahead(history, 3)
    assert ahead.ravel().tolist() == [4.0 + 0.5 * 2, 10.0 + 0.25 * 2, 4.0 + 0.125 * 2]


def test_forecasts_are_never_negative_and_never_of_what_is_hidden(load):
    """A forecast from an origin does not change when the future does."""
    for forecast in (Persistence(), Seasonal(season=DAY, damping=0.9, memory=3), some(Seasonal(season=DAY, memory=3))):
        known = DAY * 5 + 7
        other = np.concatenate([load[:known], 100 * load[known:]])
        ours, theirs = (rolled(forecast, series, first=known, steps=STEPS, every=10**6) for series in (load, other))
        assert np.array_equal(ours, theirs)
        assert ours.min() >= 0
        assert ours.shape == (1, STEPS, 3)


def test_a_learned_forecast_does_not_depend_on_the_unit_of_load(load):
    learned = some(Seasonal(season=DAY, memory=2))
    np.testing.assert_allclose(learned.ahead(1e6 * load, STEPS), 1e6 * learned.ahead(load, STEPS), rtol=1e-9)


def test_beyond_what_it_was_trained_for_a_learned_forecast_says_what_its_base_says(load):
    learned = some(Seasonal(season=DAY, memory=2))
    ahead, base = learned.ahead(load, STEPS + 4), learned.base.ahead(load, STEPS + 4)
    assert np.array_equal(ahead[STEPS:], base[STEPS:])
    assert not np.allclose(ahead[:STEPS], base[:STEPS])


def test_quiet_series_are_forecast_as_quiet():
    quiet = np.zeros((5 * DAY, 2))
    for forecast in (Persistence(), Seasonal(season=DAY, damping=0.5), LearnedForecast.untrained(Seasonal(season=DAY))):
        assert not forecast.ahead(quiet, 3).any()


def test_seasonal_and_learned_forecasts_beat_persistence_on_days_that_they_never_saw(steady, load, fitted):
    """Checklist row 4: on a diurnal trace a scaled error below 1, by its whole 95 % interval, one window ahead and six.

    Where days differ, the scale no longer fits all days; there the gain over persistence is above 0.
    """
    first = DAY * FITTED_DAYS
    for series, forecasts, low in ((steady, fit(steady), True), (load, fitted, False)):
        for forecast in forecasts:
            for steps in (1, STEPS):
                found = skill(forecast, series, first=first, steps=steps, block=DAY)
                assert found.gain.low > 0, (forecast, steps, found)
                assert found.mase.high < 1 or not low, (forecast, steps, found)


def test_learning_gains_over_the_seasonal_forecast_where_days_differ(load, fitted):
    """Busy mornings tell of busy evenings, which no mean over days knows; paired over days."""
    seasonal, learned = fitted
    came = np.stack([load[DAY * FITTED_DAYS + lag :][: DAY * (TESTED_DAYS - 1)] for lag in range(STEPS)], axis=1)
    errors = [
        np.abs(rolled(one, load[: -DAY + STEPS - 1], first=DAY * FITTED_DAYS, steps=STEPS) - came).mean(axis=(1, 2))
        for one in (seasonal, learned)
    ]
    by_day = (errors[0] - errors[1]).reshape(-1, DAY).mean(axis=1)
    assert by_day.mean() > 2 * by_day.std(ddof=1) / np.sqrt(by_day.size)


def test_training_again_gives_the_same_forecast(load):
    from wirelesslab.network.twins.dense_training import Training
    from wirelesslab.network.twins.forecast_training import fit_forecast

    how = Training(steps=20, judge_every=5)
    first, second = (fit_forecast(load[: DAY * 8], season=DAY, steps=2, how=how, seed=5) for _ in range(2))
    assert first.base == second.base
    assert first.net.digest == second.net.digest


def test_a_network_evaluated_in_numpy_is_the_keras_model(load, fitted):
    """Keras computes in float32: its rounding, 1e-7 of numbers of about 1 in some 20 terms, leaves 1e-5 room."""
    from wirelesslab.network.twins.dense_training import as_keras

    inputs = stream(8, "inputs").normal(size=(50, num_features(3)))
    for net in (fitted[1].net, some(Seasonal(season=DAY)).net):
        np.testing.assert_allclose(net(inputs), as_keras(net)(inputs.astype(np.float32)), atol=1e-5, rtol=1e-5)


def test_a_saved_forecast_is_the_one_that_was_written(tmp_path, load):
    learned = some(Seasonal(season=DAY, damping=0.4, memory=3))
    learned.save(tmp_path / "forecast")
    again = LearnedForecast.load(tmp_path / "forecast")
    assert (again.base, again.lags, again.steps) == (learned.base, learned.lags, learned.steps)
    assert np.array_equal(again.ahead(load, STEPS), learned.ahead(load, STEPS))


@pytest.mark.parametrize("damage", ["missing", "cut", "flipped", "other kind", "retold", "no json"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    arrays = some(Seasonal(season=DAY)).save(tmp_path / "forecast")
    description = arrays.with_suffix(".json")
    content = arrays.read_bytes()
    body = json.loads(description.read_text(encoding="utf-8"))
    if damage == "missing":
        description.unlink()
    elif damage == "cut":
        arrays.write_bytes(content[:-40])
    elif damage == "flipped":
        arrays.write_bytes(content[:200] + bytes([content[200] ^ 1]) + content[201:])
    elif damage == "other kind":
        description.write_text(json.dumps(body | {"format": "something else"}), encoding="utf-8")
    elif damage == "retold":  # another season, the same arrays
        body["serves"]["base"]["season"] = 7
        description.write_text(json.dumps(body), encoding="utf-8")
    else:
        description.write_text("{", encoding="utf-8")
    with pytest.raises(WeightFileError, match="weights: "):
        LearnedForecast.load(arrays)


@pytest.mark.parametrize(
    "forecast", [Persistence(), Seasonal(season=2), some(Seasonal(season=2))], ids=lambda f: type(f).__name__
)
@pytest.mark.parametrize(
    ("history", "message"),
    [
        ([[1.0], [np.nan]], "NaN"),
        ([1.0, 2.0], "expected \\(windows, series\\)"),
        ([[1.0], [-1.0]], "expected loads >= 0"),
        (np.zeros((0, 2)), "got no window"),
    ],
)
def test_nonsense_is_refused(forecast, history, message):
    with pytest.raises(ValueError, match=message):
        forecast.ahead(history, 2)


def test_settings_that_cannot_be_are_refused(load):
    from wirelesslab.network.twins.forecast_training import fit_forecast

    with pytest.raises(ValueError, match="steps: got 0"):
        Seasonal(season=2).ahead([[1.0]], 0)
    with pytest.raises(ValueError, match="damping"):
        Seasonal(season=2, damping=1.1)
    with pytest.raises(ValueError, match="expected 8 and 1"):
        LearnedForecast(base=Seasonal(season=2), net=DenseNet.untrained(4))
    with pytest.raises(ValueError, match="expected at least"):
        fit_forecast(load[: DAY + 2], season=DAY)
    with pytest.raises(ValueError, match="never changes"):
        mase([[1.0]], [[1.0]], [[2.0], [2.0]])
    with pytest.raises(ValueError, match="expected season=24"):
        fit_forecast(load, season=DAY, base=Seasonal(season=7))


def test_a_net_cannot_be_changed_behind_its_digest():
    net = DenseNet.untrained(3)
    with pytest.raises(ValueError, match="read-only"):
        net.arrays["bias 1"][0] = 1.0
    assert replace(net).digest == net.digest


def test_forecasts_and_predictors_are_used_without_tensorflow():
    script = (
        "import sys, wirelesslab.network.twins.forecasts as f, wirelesslab.network.twins.predictors as p;"
        "f.LearnedForecast.untrained(f.Seasonal(season=2)).ahead([[1.0]] * 9, 2);"
        "p.Hybrid().predict(p.Queues(offered_bps=[1.0], capacity_bps=[2.0], share=[1.0], mean_bytes=[9.0]));"
        "sys.exit(any(name.split('.')[0] in ('tensorflow', 'keras') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 0
