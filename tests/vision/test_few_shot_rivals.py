"""The rivals are what they are called: neighbours, powers, scikit-learn's regression, and lent distributions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.references import few_shot as slow
from wirelesslab.vision.few_shot import (
    GRIDS,
    CentredNearestNeighbour,
    DistributionCalibration,
    LogisticRegression,
    NearestNeighbour,
    PowerTransform,
    line_up,
)
from wirelesslab.vision.few_shot.logistic import fit
from wirelesslab.vision.few_shot.rules import unit

D, BASE, WAYS = 8, 7, 4


def features(seed, *shape, d=D):
    return np.maximum(np.random.default_rng(seed).normal(0.3, 1.0, (*shape, d)), 0)


BASE_FEATURES, BASE_LABELS = features(1, 20 * BASE), np.repeat(np.arange(BASE), 20)


def calibrated(rule, support):
    return rule.calibrate(rule.prior(BASE_FEATURES, BASE_LABELS), support)


@pytest.mark.parametrize("shots", [1, 5])
def test_nearest_neighbour_is_the_cosine_to_the_mean_of_shots(shots):
    support, queries = features(2, 6, WAYS, shots), features(3, 6, 9)
    wanted = [[slow.nearest_neighbour(s, q) for q in asked] for s, asked in zip(support, queries, strict=True)]
    assert calibrated(NearestNeighbour(), support).predict(queries).tolist() == wanted


@pytest.mark.parametrize("unit_first", [False, True])
def test_centring_takes_the_base_mean_away_from_shots_and_queries(unit_first):
    support, queries = features(2, 6, WAYS, 3), features(3, 6, 9)
    rule = CentredNearestNeighbour(unit_first=unit_first)
    first = unit if unit_first else np.asarray
    mean = first(BASE_FEATURES).mean(axis=0)
    moved, asked = first(support) - mean, first(queries) - mean
    wanted = [[slow.nearest_neighbour(s, q) for q in a] for s, a in zip(moved, asked, strict=True)]
    assert calibrated(rule, support).predict(queries).tolist() == wanted
    nothing = CentredNearestNeighbour(share=0.0)
    np.testing.assert_array_equal(
        calibrated(nothing, support).predict(queries), calibrated(NearestNeighbour(), support).predict(queries)
    )


@pytest.mark.parametrize("both", [False, True])
def test_a_power_is_taken_of_shots_and_of_queries_only_if_asked(both):
    support, queries = features(2, 6, WAYS, 3), features(3, 6, 9)
    asked = queries**0.3 if both else queries
    wanted = [[slow.nearest_neighbour(s, q) for q in a] for s, a in zip(support**0.3, asked, strict=True)]
    found = calibrated(PowerTransform(beta=0.3, queries_too=both), support)
    assert found.predict(queries).tolist() == wanted
    rule = PowerTransform(queries_too=both)
    with pytest.raises(ValueError, match="support: got features down to"):
        calibrated(rule, support - 1)
    with pytest.raises(ValueError, match="queries: got features down to"):
        calibrated(rule, support).predict(queries - 1)
    cut = PowerTransform(queries_too=both, negative="relu")
    np.testing.assert_array_equal(
        calibrated(cut, support).predict(np.where(queries == 0, -9.0, queries)),
        calibrated(rule, support).predict(queries),
    )


@pytest.mark.parametrize(
    ("shots", "d", "strength"), [(1, 64, 1.0), (1, 3, 1.0), (5, 40, 10.0), (26, 110, 0.1), (112, 110, 0.1)]
)
def test_logistic_regression_on_all_episodes_at_once_is_scikit_learn_s(shots, d, strength):
    from sklearn.linear_model import LogisticRegression as OneByOne

    labels = np.repeat(np.arange(WAYS), shots)
    samples = features(4, 2, WAYS * shots, d=d) + 0.5 * features(5, WAYS, d=d)[labels]
    weights, bias = fit(samples, labels, WAYS, strength, tolerance=1e-10)
    for episode in range(2):
        one = OneByOne(C=strength, tol=1e-10, max_iter=10_000).fit(samples[episode], labels)
        # both stop at a gradient of 1e-10 of the mean loss; scikit-learn's line search stalls a little before it
        np.testing.assert_allclose(weights[episode], one.coef_, atol=2e-5 * np.abs(one.coef_).max())
        np.testing.assert_allclose(bias[episode], one.intercept_ - one.intercept_.mean(), atol=2e-4)


def test_the_rule_of_logistic_regression_decides_as_scikit_learn_does():
    from sklearn.linear_model import LogisticRegression as OneByOne

    support, queries = features(6, 5, WAYS, 5, d=32), features(7, 5, 30, d=32)
    found = LogisticRegression(tolerance=1e-8).calibrate({}, support)
    for episode in range(5):
        one = OneByOne(tol=1e-8, max_iter=1000)
        one.fit(unit(support[episode]).reshape(-1, 32), np.repeat(np.arange(WAYS), 5))
        np.testing.assert_array_equal(found.predict(queries)[episode], one.predict(unit(queries[episode])))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), num=st.integers(1, 30), d=st.integers(1, 40), power=st.integers(-3, 3))
def test_at_the_regression_s_weights_the_gradient_is_zero(seed, num, d, power):
    labels, strength = np.repeat(np.arange(WAYS), num), 10.0**power
    samples = features(seed, 2, WAYS * num, d=d)
    weights, bias = fit(samples, labels, WAYS, strength, tolerance=1e-9, most_steps=20_000)
    logits = samples @ np.swapaxes(weights, -1, -2) + bias[:, None]
    found = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found /= found.sum(axis=-1, keepdims=True)
    wrong = found - np.eye(WAYS)[labels]
    gradient = strength * np.einsum("enw,end->ewd", wrong, samples) + weights
    scale = strength * len(labels) * max(1.0, np.abs(samples).max())  # the gradient of shifted samples is what stops
    assert np.abs(gradient).max() < 1e-7 * scale
    assert np.abs(wrong.sum(axis=1)).max() < 1e-7 * len(labels)


def test_an_episode_s_regression_does_not_depend_on_the_others():
    samples, labels = features(8, 40, WAYS * 5, d=6).astype(np.float32), np.repeat(np.arange(WAYS), 5)
    together = fit(samples, labels, WAYS)[0]
    alone = np.concatenate([fit(samples[[k]], labels, WAYS)[0] for k in range(40)])
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5 * np.abs(alone).max())  # float32


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_regression_that_stops_before_it_has_arrived_says_by_how_much():
    samples, labels = features(4, 6, WAYS, 1, d=40).reshape(6, WAYS, 40), np.arange(WAYS)
    fit(samples, labels, WAYS, 1000.0, most_steps=300)  # arrives
    with pytest.raises(UserWarning, match=r"6 of 6 episodes stopped after 3 steps .*, the farthest with .* allow more"):
        fit(samples, labels, WAYS, 1000.0, most_steps=3)
    rule = LogisticRegression(inverse_strength=1000.0, most_steps=3)
    with pytest.raises(UserWarning, match="stopped after 3 steps"):
        rule.calibrate({}, samples[:, :, None])


def test_shots_that_are_all_the_same_are_no_trouble_for_the_regression():
    support = np.ones((2, WAYS, 5, D))
    found = LogisticRegression().calibrate({}, support)
    assert np.isfinite(found.scores(features(9, 2, 5))).all()
    np.testing.assert_allclose(found.weights, 0, atol=1e-6)


def test_lent_moments_are_those_of_the_published_code():
    rule = DistributionCalibration(num_samples=40_000, mirrored=False, spread=0.2)
    prior = rule.prior(BASE_FEATURES, BASE_LABELS)
    shot = np.sqrt(features(10, 1)[0])
    means = slow.class_means(BASE_FEATURES, BASE_LABELS.tolist())
    covariances = [np.cov(BASE_FEATURES[c == BASE_LABELS].T) for c in range(BASE)]
    mean, covariance = slow.moments(shot, means, covariances, 2, 0.2)
    found = rule.samples(prior, shot[None, None])[0]
    # five standard errors of a mean and of a covariance of Gaussians, bounded by the largest variance
    largest = covariance.diagonal().max()
    np.testing.assert_allclose(found.mean(axis=0), mean, atol=5 * np.sqrt(largest / 40_000))
    np.testing.assert_allclose(np.cov(found.T), covariance, atol=5 * np.sqrt(2 / 40_000) * largest)


def test_mirrored_samples_have_the_lent_mean_exactly_and_each_shot_its_own():
    rule = DistributionCalibration(num_samples=20)
    prior = rule.prior(BASE_FEATURES, BASE_LABELS)
    shots = np.sqrt(features(11, WAYS, 5))
    found = rule.samples(prior, shots).reshape(WAYS, 5, 4, D)
    near = prior["means"][rule.neighbours(prior, shots)].sum(axis=-2)
    np.testing.assert_allclose(found.mean(axis=2), (near + shots) / 3, rtol=1e-10)
    assert len(np.unique(found.reshape(-1, D), axis=0)) == WAYS * 20


def test_distributions_are_calibrated_alike_whatever_other_episodes_there_are():
    rule = DistributionCalibration(tolerance=1e-8)
    support, queries = features(12, 6, WAYS, 1), features(13, 6, 11)
    whole = calibrated(rule, support).scores(queries)
    for episode in range(6):
        alone = calibrated(rule, support[episode]).scores(queries[episode])
        np.testing.assert_allclose(whole[episode], alone, atol=1e-5 * np.abs(alone).max())


def test_the_published_numbers_of_distribution_calibration():
    published = DistributionCalibration.published()
    assert (published.num_samples, published.mirrored) == (750, False)
    assert (published.num_neighbours, published.spread, published.beta) == (2, 0.21, 0.5)


def test_a_base_class_of_one_image_lends_no_covariance():
    with pytest.raises(ValueError, match="base class 3 has one image, expected at least 2"):
        DistributionCalibration().prior(features(1, 3), np.array([1, 1, 3]))


@pytest.mark.parametrize("name", line_up(1))
def test_every_rule_takes_one_episode_or_many_and_decides_queries_alone(name):
    rule = line_up(1)[name]
    support, queries = features(14, 3, WAYS, 1), features(15, 3, 8)
    many = calibrated(rule, support)
    predicted = many.predict(queries)
    assert predicted.shape == (3, 8)
    assert many.scores(queries).shape == (3, 8, WAYS)
    np.testing.assert_array_equal(many.scores(queries).argmax(axis=-1), predicted)
    for episode in range(3):
        one = calibrated(rule, support[episode])
        assert [int(one.predict(query[None])[0]) for query in queries[episode]] == predicted[episode].tolist()


@pytest.mark.parametrize("name", line_up(5))
def test_every_rule_tells_classes_apart_that_are_far_from_each_other(name):
    centres = 5 * np.eye(WAYS, D)
    support = centres[:, None] + 0.1 * features(16, WAYS, 5)
    queries = np.repeat(centres, 6, axis=0) + 0.1 * features(17, WAYS * 6)
    found = calibrated(line_up(5)[name], support)
    assert found.predict(queries).tolist() == np.repeat(np.arange(WAYS), 6).tolist()


@pytest.mark.parametrize("name", line_up(1))
def test_every_rule_bears_features_of_nothing_but_zeros(name):
    support, queries = features(18, 2, WAYS, 1), features(19, 2, 5)
    support[0, 1], queries[1, 3] = 0, 0
    assert np.isfinite(calibrated(line_up(1)[name], support).scores(queries)).all()


def test_every_grid_is_of_equal_size_and_holds_the_rule_as_it_is():
    assert set(GRIDS) == set(line_up(1)) - {"nearest neighbour"}
    assert {len(grid) for grid in GRIDS.values()} == {24}
    for name, grid in GRIDS.items():
        for shots in (1, 5):
            rule = line_up(shots)[name]
            assert any(all(getattr(rule, field) == value for field, value in setting.items()) for setting in grid)
