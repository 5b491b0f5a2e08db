import numpy as np
import pytest

from wirelesslab.network import path_loss
from wirelesslab.network.sionna_radio import OUTDOOR_SCENARIOS, large_scale
from wirelesslab.rng import stream


def geometry(scenario, nearest_m):
    height = path_loss.STATION_HEIGHT_M[scenario]
    stations = np.array([[0.0, 0.0, height], [-100.0, 50.0, height]])
    users = np.column_stack([stream(1, "users").uniform(nearest_m, 3000, (100, 2)), np.full(100, 1.5)])
    return users, stations, np.hypot(*np.moveaxis(users[:, None, :2] - stations[None, :, :2], 2, 0))


@pytest.mark.parametrize("scenario", OUTDOOR_SCENARIOS)
@pytest.mark.parametrize("carrier_hz", [0.7e9, 3.5e9, 28e9])
@pytest.mark.parametrize("seen", [True, False])
def test_path_loss_agrees_with_sionna_s_to_a_tenth_of_a_decibel(scenario, carrier_hz, seen):
    # From 400 m on, where distance in the plane and in space are the same to 0.07 dB (see `LargeScale`).
    users, stations, distance = geometry(scenario, 400)
    theirs = large_scale(scenario, users, stations, carrier_hz, line_of_sight=seen)
    ours = path_loss.path_loss_db(scenario, distance, carrier_hz, line_of_sight=seen)
    assert np.abs(theirs.path_loss_db - ours).max() < 0.1
    assert np.all(theirs.line_of_sight == seen)


@pytest.mark.parametrize("scenario", OUTDOOR_SCENARIOS)
def test_near_the_mast_the_formulas_agree_once_both_mean_the_same_distance(scenario):
    users, stations, distance = geometry(scenario, 60)
    theirs = large_scale(scenario, users, stations, 28e9, line_of_sight=True).path_loss_db
    rise = stations[0, 2] - 1.5
    plane = path_loss.path_loss_db(scenario, np.sqrt(distance**2 - rise**2), 28e9, line_of_sight=True)
    space = path_loss.path_loss_db(scenario, distance, 28e9, line_of_sight=True)
    assert min(np.abs(theirs - plane).max(), np.abs(theirs - space).max()) < 1e-6


@pytest.mark.parametrize("scenario", OUTDOOR_SCENARIOS)
def test_the_probability_of_line_of_sight_agrees_with_sionna_s(scenario):
    users, stations, distance = geometry(scenario, 5)
    theirs = large_scale(scenario, users, stations, 3.5e9).line_of_sight_probability
    assert np.allclose(theirs, path_loss.line_of_sight_probability(scenario, distance), atol=1e-9)
