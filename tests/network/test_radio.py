import math
from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.network import path_loss
from wirelesslab.network.path_loss import SCENARIOS
from wirelesslab.network.radio import (
    LinkBudget,
    ProportionalRate,
    Shannon,
    received_powers,
    sector_gain_db,
    serving,
    signal_quality,
)
from wirelesslab.rng import stream


def test_urban_path_loss_equals_the_formulas_worked_by_hand():
    # UMa, 500 m, 2 GHz: break point 4 * 24 * 0.5 * 2e9 / c = 320.2 m, so the far law.
    space = math.hypot(500, 23.5)
    limit = 4 * 24 * 0.5 * 2e9 / 299_792_458
    by_hand = 28 + 40 * math.log10(space) + 20 * math.log10(2) - 9 * math.log10(limit**2 + 23.5**2)
    assert path_loss.path_loss_db("UMa", 500, 2e9, line_of_sight=True) == pytest.approx(by_hand)
    hidden = 22.4 + 35.3 * math.log10(math.hypot(150, 8.5)) + 21.3 * math.log10(28)
    assert path_loss.path_loss_db("UMi", 150, 28e9, line_of_sight=False) == pytest.approx(hidden)
    indoor = 32.4 + 17.3 * math.log10(math.hypot(20, 2)) + 20 * math.log10(28)
    assert path_loss.path_loss_db("InH", 20, 28e9, line_of_sight=True) == pytest.approx(indoor)


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("seen", [True, False])
def test_path_loss_grows_with_distance_and_is_never_below_free_space_by_more_than_a_decibel(scenario, seen):
    distance = np.geomspace(10, 5000 if scenario != "InH" else 150, 500)
    loss = path_loss.path_loss_db(scenario, distance, 3.5e9, line_of_sight=seen)
    # At the break point the two laws of the standard meet within a fraction of a decibel, not exactly.
    assert np.all(np.diff(loss) > -0.3)
    height = path_loss.STATION_HEIGHT_M[scenario] - path_loss.USER_HEIGHT_M[scenario]
    free = 20 * np.log10(4 * np.pi * np.hypot(distance, height) * 3.5e9 / 299_792_458)
    slack = 12.0 if scenario == "InH" else 4.5  # guided waves: indoors and in streets the exponent is below 2
    assert np.all(loss > free - slack)
    assert np.all(path_loss.path_loss_db(scenario, distance, 3.5e9, line_of_sight=False) >= loss - 1e-9)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_line_of_sight_is_certain_near_the_mast_and_fades_with_distance(scenario):
    probability = path_loss.line_of_sight_probability(scenario, np.linspace(0, 3000, 3000))
    assert probability[0] == 1
    assert np.all(np.diff(probability) <= 1e-12)
    assert probability[-1] < 0.06


def test_users_high_up_are_seen_from_further_away():
    low, high = (path_loss.line_of_sight_probability("UMa", 300.0, h) for h in (1.5, 22.5))
    assert high > 1.5 * low


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_shadowing_and_line_of_sight_have_the_standard_s_statistics(scenario):
    users = np.column_stack([np.full(40_000, 80.0), np.zeros(40_000)])
    budget = LinkBudget(scenario=scenario)
    for seen, mode in ((True, "always"), (False, "never")):
        powers = received_powers(replace(budget, line_of_sight=mode), users, [[0.0, 0.0]], stream(1, "air"))
        level = 10 * np.log10(powers[:, 0])
        mean = budget.tx_power_dbm + 8 - path_loss.path_loss_db(scenario, 80.0, 3.5e9, line_of_sight=seen)
        std = float(path_loss.shadowing_std_db(scenario, seen, 80.0))
        assert abs(level.mean() - mean) < 4 * std / np.sqrt(40_000)
        assert abs(level.std() / std - 1) < 4 / np.sqrt(2 * 40_000)
    drawn = received_powers(replace(budget, shadowing=False), users, [[0.0, 0.0]], stream(2, "air"))
    seen_share = np.mean(drawn > 0.999 * drawn.max())
    expected = float(path_loss.line_of_sight_probability(scenario, 80.0))
    assert abs(seen_share - expected) < 4 * np.sqrt(expected * (1 - expected) / 40_000)


def test_a_sector_antenna_has_the_standard_s_beam():
    budget = LinkBudget(antenna="sector", downtilt_deg=0.0)
    azimuths = np.array([0, 32.5, 65, 120, 180, 360 + 32.5])
    gains = sector_gain_db(budget, azimuths, np.zeros(6))
    assert gains.tolist() == pytest.approx([8, 5, -4, 8 - 30, 8 - 30, 5])
    assert sector_gain_db(budget, 0, 32.5) == pytest.approx(5)


def test_sectors_of_a_site_share_their_shadowing_and_serve_what_they_face():
    budget = LinkBudget(antenna="sector")
    angle = stream(1, "angle").uniform(-180, 180, 2000)
    users = 200 * np.column_stack([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    cells, axes = np.zeros((3, 2)), np.array([0.0, 120.0, -120.0])
    powers = received_powers(budget, users, cells, stream(1, "air"), azimuth_deg=axes)
    facing = np.abs((angle[:, None] - axes + 180) % 360 - 180).argmin(axis=1)
    assert np.array_equal(powers.argmax(axis=1), facing)


def test_the_size_of_a_chunk_does_not_change_what_is_received(monkeypatch):
    users = stream(1, "users").uniform(-500, 500, (300, 2))
    cells = stream(1, "cells").uniform(-500, 500, (5, 2))
    whole = received_powers(LinkBudget(), users, cells, stream(1, "air"))
    quality = serving(LinkBudget(), users, cells, stream(1, "air"), load=0.3)
    monkeypatch.setattr("wirelesslab.network.radio.CHUNK", 64)
    assert np.array_equal(whole, received_powers(LinkBudget(), users, cells, stream(1, "air")))
    pieces = serving(LinkBudget(), users, cells, stream(1, "air"), load=0.3)
    assert np.array_equal(quality.cell, pieces.cell)
    assert np.array_equal(quality.sinr, pieces.sinr)
    again = signal_quality(whole, LinkBudget().noise_mw, load=0.3)
    assert np.allclose(again.sinr, pieces.sinr)


def test_interference_follows_the_load():
    powers = np.array([[8.0, 1.0, 3.0]])
    quality = [float(signal_quality(powers, 2.0, load=load).sinr[0]) for load in (0.0, [1.0, 0.5, 0.5], 1.0)]
    assert quality == pytest.approx([4.0, 2.0, 8 / 6])
    forced = signal_quality(powers, 2.0, cell=[2])
    assert (forced.cell.tolist(), float(forced.sinr[0])) == ([2], pytest.approx(3 / 11))


def test_noise_is_thermal_noise_of_the_band_through_the_receiver():
    assert 10 * math.log10(LinkBudget(bandwidth_hz=20e6).noise_mw) == pytest.approx(-174 + 73.0103 + 9)


def test_rates_are_attenuated_and_truncated_or_proportional():
    assert Shannon(attenuation=0.6, max_bps_per_hz=4.4).spectral_efficiency([0.05, 1.0, 1e9]).tolist() == [0, 0.6, 4.4]
    assert ProportionalRate(bps_per_hz=2.0).spectral_efficiency([0.5, 3.0]).tolist() == [1.0, 6.0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"scenario": "UMA"}, "expected one of UMa"),
        ({"carrier_hz": 3.5}, "carrier_hz"),
        ({"antenna": "dish"}, "antenna"),
        ({"user_height_m": 0.0}, "user_height_m"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(bad, message):
    with pytest.raises(ValueError, match=message):
        LinkBudget(**bad)


def test_a_sector_without_an_axis_is_refused():
    with pytest.raises(ValueError, match="azimuth_deg"):
        received_powers(LinkBudget(antenna="sector"), [[0.0, 1.0]], [[0.0, 0.0]], stream(1, "air"))
