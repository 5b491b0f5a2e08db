"""Large-scale gains: what is drawn and what the station integrates over are one law."""

import numpy as np
import pytest

from tests.mmtc.cells import STANDARD_ERRORS, within_standard_errors
from wirelesslab.mmtc import GAIN_LAWS, EqualGain, PathLoss, UniformGainDb
from wirelesslab.mmtc.gains import gain_prior
from wirelesslab.rng import stream

LAWS = (
    *(law() for law in GAIN_LAWS),
    EqualGain(gain_db=-7),
    UniformGainDb(low_db=-15, high_db=2),
    PathLoss(exponent=2, min_distance=0.3),
)
NUM_DRAWS = 200_000


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_quadrature_weights_are_probabilities_and_nodes_are_powers(law):
    nodes, weights = law.quadrature(32)
    assert nodes.shape == weights.shape
    assert np.all(weights > 0)
    assert np.all(nodes > 0)
    assert weights.sum() == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("law", LAWS, ids=repr)
@pytest.mark.parametrize(
    "function",
    [lambda b: b, np.log, lambda b: 1 / (1 + b), lambda b: np.exp(-b)],
    ids=["mean", "log", "shrinkage", "Laplace"],
)
def test_expectations_by_quadrature_are_those_of_draws(law, function):
    drawn = function(law.draw(stream(1), NUM_DRAWS))
    nodes, weights = law.quadrature(32)
    assert within_standard_errors(drawn, function(nodes) @ weights)


@pytest.mark.parametrize("law", LAWS, ids=repr)
def test_the_distribution_by_quadrature_is_that_of_draws(law):
    drawn = law.draw(stream(2), NUM_DRAWS)
    nodes, weights = law.quadrature(256)
    for quantile in (0.05, 0.25, 0.5, 0.75, 0.95):
        x = np.quantile(drawn, quantile) * (1 + 1e-9)
        # A staircase of 256 steps is off by at most its largest step; the draws by their standard error.
        tolerance = weights.max() * (weights.size > 1) + STANDARD_ERRORS * 0.5 / np.sqrt(NUM_DRAWS)
        assert weights[nodes <= x].sum() == pytest.approx(np.mean(drawn <= x), abs=tolerance)


def test_path_loss_is_one_at_the_cell_edge_and_about_177_in_the_mean():
    nodes, weights = PathLoss().quadrature(32)
    inner, exponent = 0.05, 3.67
    exact = 2 / (1 - inner**2) * (inner ** (2 - exponent) - 1) / (exponent - 2)
    assert exact == pytest.approx(177, abs=1)
    assert nodes @ weights == pytest.approx(exact, rel=1e-8)
    assert PathLoss().draw(stream(3), NUM_DRAWS).min() >= 1


@pytest.mark.parametrize("min_distance", [0.05, 0.2, 0.9])
def test_no_device_is_nearer_than_the_minimum_distance(min_distance):
    law = PathLoss(min_distance=min_distance)
    distance = law.draw(stream(4), NUM_DRAWS) ** (-1 / law.exponent)
    assert distance.min() >= min_distance * (1 - 1e-12)
    assert distance.max() <= 1
    # Devices are uniform in area: P(d <= x) = (x^2 - r^2)/(1 - r^2).
    middle = (1 + min_distance) / 2
    inside = (middle**2 - min_distance**2) / (1 - min_distance**2)
    assert within_standard_errors((distance <= middle).astype(float), inside)


def test_a_station_that_knows_the_gains_has_one_node_per_device():
    gains = PathLoss().draw(stream(5), 7)
    prior = gain_prior("known", PathLoss(), gains)
    assert np.array_equal(prior.nodes, gains[:, None])
    assert np.array_equal(prior.weights, [1.0])


def test_a_station_that_knows_the_distribution_learns_nothing_of_the_devices():
    first, second = (gain_prior("distribution", PathLoss(), PathLoss().draw(stream(s), 7)) for s in (5, 6))
    assert np.array_equal(first.nodes, second.nodes)
    assert np.all(first.nodes == first.nodes[0])
    assert first.nodes.shape == (7, 32)
    assert first.weights.shape == (32,)


def test_a_station_that_knows_the_mean_takes_it_for_every_device():
    prior = gain_prior("mean", PathLoss(), PathLoss().draw(stream(5), 7))
    assert prior.nodes.shape == (7, 1)
    np.testing.assert_allclose(prior.nodes, 177.4, rtol=1e-3)
    assert np.array_equal(prior.weights, [1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: UniformGainDb(low_db=3, high_db=3), "low_db: got 3, expected less than high_db=3"),
        (lambda: PathLoss(min_distance=1), "expected a fraction of the cell radius below 1"),
        (lambda: PathLoss(min_distance=0), "min_distance: got 0, expected a number above 0"),
        (lambda: PathLoss(exponent=float("nan")), "exponent: got nan, expected a finite number"),
        (lambda: EqualGain(gain_db=float("inf")), "gain_db: got inf, expected a finite number"),
        (lambda: gain_prior("men", PathLoss(), np.ones(2)), "did you mean 'mean'"),
    ],
)
def test_impossible_gains_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
