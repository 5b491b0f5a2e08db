"""P3DC-Shot is what its code says, and the invariants of its calibration hold."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.references import few_shot as slow
from wirelesslab.vision.few_shot import P3DC, NearestNeighbour, PowerTransform, prototypes
from wirelesslab.vision.few_shot.rules import unit

D, BASE, WAYS = 12, 9, 4
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def features(seed, *shape):
    """Non-negative features, some of them 0, as after a ReLU."""
    return np.maximum(np.random.default_rng(seed).normal(0.3, 1.0, (*shape, D)), 0)


def prior_of(rule, seed=1):
    return rule.prior(features(seed, 5 * BASE), np.repeat(np.arange(BASE), 5))


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
@pytest.mark.parametrize(("a", "b"), [(0.0, 0.9), (0.0, 0.4), (0.3, 0.0), (0.2, 0.5), (0.4, 0.6)])
@pytest.mark.parametrize("shots", [1, 5])
def test_all_episodes_at_once_are_the_published_code_one_vector_at_a_time(mode, a, b, shots):
    rule = P3DC(sample_weight=a, task_weight=b, num_prototypes=3, mode=mode)
    base, labels = features(1, 5 * BASE), np.repeat(np.arange(BASE), 5)
    support, queries = features(2, 3, WAYS, shots), features(3, 3, 6)
    found = rule.calibrate(rule.prior(base, labels), support)
    predicted = found.predict(queries)
    means = slow.class_means(base, labels)
    for episode in range(3):
        wanted = slow.calibrated(means, support[episode], a, b, 3, scale_free=mode == "scale_free")
        told = np.array(wanted) if shots > 1 else unit(np.array(wanted))
        np.testing.assert_allclose(found.vectors[episode], told, **EXACT)
        assert predicted[episode].tolist() == [
            slow.decided(wanted, query, scale_free=mode == "scale_free") for query in queries[episode]
        ]


def test_the_published_settings_are_those_of_one_shot_and_of_five():
    assert (P3DC.published(1).sample_weight, P3DC.published(1).task_weight) == (0.0, 0.9)
    assert (P3DC.published(5).sample_weight, P3DC.published(5).task_weight) == (0.0, 0.4)
    assert (P3DC().num_prototypes, P3DC().beta, P3DC().mode) == (5, 0.5, "paper")
    assert P3DC.scale_free(5) == replace(P3DC.published(5), mode="scale_free")


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
@pytest.mark.parametrize("shots", [1, 5])
def test_without_any_calibration_it_is_exactly_nearest_neighbour(mode, shots):
    rule = P3DC(task_weight=0.0, mode=mode, shot_weighting="mean")
    support, queries = features(4, 50, WAYS, shots), features(5, 50, 20)
    nearest = NearestNeighbour().calibrate({}, support)
    found = rule.calibrate(prior_of(rule), support)
    np.testing.assert_allclose(found.vectors, nearest.vectors, **EXACT)
    np.testing.assert_array_equal(found.predict(queries), nearest.predict(queries))


def test_pulled_by_nothing_it_is_a_power_taken_of_shots():
    rule = P3DC(task_weight=1.0, mode="scale_free", gamma=0.0)
    support = features(4, 7, WAYS, 1)
    np.testing.assert_allclose(
        rule.calibrate(prior_of(rule), support).vectors, PowerTransform().calibrate({}, support).vectors, **EXACT
    )


def test_one_prototype_at_sample_level_is_added_to_the_power_of_the_shot():
    rule = P3DC(sample_weight=1.0, task_weight=0.0, num_prototypes=1)
    near = prior_of(rule)["prototypes"]
    support = features(6, WAYS, 1)
    raised = np.sqrt(support)
    own = near[(raised @ near.T).argmax(axis=-1)]
    np.testing.assert_allclose(rule.calibrate({"prototypes": near}, support).vectors, unit(own + raised), **EXACT)


@pytest.mark.parametrize("level", ["sample_weights", "task_weights"])
def test_a_hot_temperature_weighs_alike_and_a_cold_one_takes_the_nearest(level):
    rule = P3DC(mode="scale_free", num_prototypes=3)
    prior, support = prior_of(rule), features(7, 6, WAYS, 2)
    hot = getattr(replace(rule, tau=1e9), level)(prior, support)
    counts = (hot > 0).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(hot, (hot > 0) / counts, atol=1e-8)  # cosines over 1e9
    assert (counts == 3).all() == (level == "sample_weights")
    cold = getattr(replace(rule, tau=1e-9), level)(prior, support)
    cosines = unit(np.sqrt(support)) @ unit(prior["prototypes"]).T
    np.testing.assert_array_equal(cold.argmax(axis=-1), cosines.argmax(axis=-1))
    np.testing.assert_allclose(cold.max(axis=-1), 1, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6), mode=st.sampled_from(["paper", "scale_free"]), near=st.integers(1, 20),
    shots=st.integers(1, 4), share=st.floats(0, 1), whole=st.floats(0, 1),
)  # fmt: skip
def test_weights_are_shares_and_one_shot_s_anchors_have_length_one(seed, mode, near, shots, share, whole):
    rule = P3DC(sample_weight=share * whole, task_weight=(1 - share) * whole, num_prototypes=near, mode=mode)
    prior, support = prior_of(rule, seed), features(seed + 1, 2, WAYS, shots) + 1e-3
    for weights in (rule.sample_weights(prior, support), rule.task_weights(prior, support)):
        assert (weights >= 0).all()
        np.testing.assert_allclose(weights.sum(axis=-1), 1, rtol=1e-12)
    assert ((rule.sample_weights(prior, support) > 0).sum(axis=-1) <= min(near, BASE)).all()
    found = rule.calibrate(prior, support)
    within = np.linalg.norm(found.vectors, axis=-1)
    assert (within <= 1 + 1e-12).all()  # a convex combination of vectors of length 1
    if shots == 1:
        np.testing.assert_allclose(within, 1, rtol=1e-12)
    shot_weights = found.shot_weights(features(seed + 2, 2, 3))
    np.testing.assert_allclose(shot_weights.sum(axis=-1), 1, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3), shots=st.sampled_from([1, 5]))
def test_the_scale_free_variant_decides_alike_when_all_features_are_scaled(seed, scale, shots):
    rule = P3DC.scale_free(shots)
    base, labels = features(seed, 5 * BASE), np.repeat(np.arange(BASE), 5)
    support, queries = features(seed + 1, 4, WAYS, shots) + 1e-3, features(seed + 2, 4, 10)
    one = rule.calibrate(rule.prior(base, labels), support)
    other = rule.calibrate(rule.prior(scale * base, labels), scale * support)
    np.testing.assert_allclose(one.vectors, other.vectors, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(one.predict(queries), other.predict(scale * queries))


def test_the_published_formula_depends_on_the_scale():
    rule, labels = P3DC.published(1), np.repeat(np.arange(BASE), 5)
    base, support = features(1, 5 * BASE), features(2, 4, WAYS, 1)
    one = rule.calibrate(rule.prior(base, labels), support).vectors
    ten = rule.calibrate(rule.prior(10 * base, labels), 10 * support).vectors
    assert np.abs(one - ten).max() > 0.1


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
@pytest.mark.parametrize("shots", [1, 5])
def test_permuting_classes_permutes_predictions(mode, shots):
    rule = P3DC(sample_weight=0.2, task_weight=0.4, mode=mode)
    prior, support, queries = prior_of(rule), features(8, 10, WAYS, shots), features(9, 10, 15)
    order = np.array([2, 0, 3, 1])
    np.testing.assert_array_equal(
        order[rule.calibrate(prior, support[:, order]).predict(queries)],
        rule.calibrate(prior, support).predict(queries),
    )


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
def test_the_order_of_shots_does_not_matter(mode):
    rule = P3DC(sample_weight=0.2, task_weight=0.4, mode=mode)
    prior, support, queries = prior_of(rule), features(8, 10, WAYS, 5), features(9, 10, 15)
    turned = rule.calibrate(prior, support[:, :, ::-1])
    np.testing.assert_allclose(turned.scores(queries), rule.calibrate(prior, support).scores(queries), **EXACT)


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
@pytest.mark.parametrize("weighting", ["query", "mean"])
def test_five_shots_that_are_one_and_the_same_are_as_that_one(mode, weighting):
    rule = P3DC(sample_weight=0.1, task_weight=0.6, mode=mode, shot_weighting=weighting)
    prior, support, queries = prior_of(rule), features(10, 8, WAYS, 1), features(11, 8, 15)
    five = rule.calibrate(prior, np.repeat(support, 5, axis=2))
    np.testing.assert_allclose(five.scores(queries), rule.calibrate(prior, support).scores(queries), **EXACT)


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
def test_other_shots_change_task_weights_only_through_the_union_of_near_prototypes(mode):
    rule = P3DC(num_prototypes=2, mode=mode)
    prior = prior_of(rule)
    support = features(12, WAYS, 1)
    changed = support.copy()
    changed[1:] *= np.linspace(0.97, 1.03, D)  # other shots, and the same prototypes nearest to them
    union = (rule.task_weights(prior, support) > 0).any(axis=(0, 1))
    np.testing.assert_array_equal(union, (rule.task_weights(prior, changed) > 0).any(axis=(0, 1)))
    np.testing.assert_array_equal(rule.task_weights(prior, support)[0], rule.task_weights(prior, changed)[0])
    near = prior["prototypes"][np.argsort(union, kind="stable")[0]]  # one that nobody was near
    changed[1] = near**2 if mode == "paper" else near**2 / np.linalg.norm(near)
    assert np.abs(rule.task_weights(prior, support)[0] - rule.task_weights(prior, changed)[0]).max() > 0


def test_a_query_is_decided_alone():
    rule = P3DC.scale_free(5)
    found = rule.calibrate(prior_of(rule), features(13, WAYS, 5))
    queries = features(14, 30)
    alone = [int(found.predict(query[None])[0]) for query in queries]
    assert found.predict(queries).tolist() == alone


def test_more_prototypes_than_base_classes_are_all_of_them():
    few, many = P3DC(num_prototypes=BASE), P3DC(num_prototypes=10 * BASE)
    support = features(15, WAYS, 1)
    np.testing.assert_array_equal(
        few.calibrate(prior_of(few), support).vectors, many.calibrate(prior_of(many), support).vectors
    )


def test_of_prototypes_that_are_equally_near_the_first_are_taken():
    rule = P3DC(num_prototypes=2)
    weights = rule.sample_weights({"prototypes": np.ones((5, D))}, features(16, 2, 1))
    assert (weights[..., :2] == 0.5).all()
    assert (weights[..., 2:] == 0).all()


def test_negative_features_are_refused_or_cut_off():
    support, queries = features(17, WAYS, 1), features(18, 5)
    prior = prior_of(P3DC())
    with pytest.raises(ValueError, match=r"support: got features down to -1, expected none below 0.*negative='relu'"):
        P3DC().calibrate(prior, np.where(support == 0, -1.0, support))
    with pytest.raises(ValueError, match=r"queries: got features down to -0\.5"):
        P3DC().calibrate(prior, support).predict(queries - 0.5)
    with pytest.raises(ValueError, match="features: got features down to"):
        P3DC().prior(np.array([[-1.0, 2.0]]), np.array([0]))
    cut = P3DC(negative="relu")
    one = cut.calibrate(prior, np.where(support == 0, -1.0, support))
    np.testing.assert_array_equal(one.vectors, P3DC().calibrate(prior, support).vectors)
    np.testing.assert_array_equal(one.predict(np.where(queries == 0, -2.0, queries)), one.predict(queries))


@pytest.mark.parametrize("mode", ["paper", "scale_free"])
@pytest.mark.parametrize("shots", [1, 5])
def test_features_of_nothing_but_zeros_are_decided_without_nan(mode, shots):
    rule = P3DC(sample_weight=0.1, task_weight=0.5, mode=mode)
    support, queries = features(19, WAYS, shots), features(20, 6)
    support[0, 0], queries[2] = 0, 0
    prior = {"prototypes": np.vstack([prior_of(rule)["prototypes"], np.zeros(D)])}
    found = rule.calibrate(prior, support)
    assert np.isfinite(found.vectors).all()
    assert np.isfinite(found.scores(queries)).all()
    assert (found.scores(queries)[2] == 0).all()
    assert found.predict(queries)[2] == 0


def test_large_features_do_not_overflow_the_softmax():
    rule = P3DC.published(5)
    base, labels = 1e4 * features(1, 5 * BASE), np.repeat(np.arange(BASE), 5)
    found = rule.calibrate(rule.prior(base, labels), 1e4 * features(2, WAYS, 5))
    assert np.isfinite(found.scores(1e4 * features(3, 6))).all()


def test_prototypes_are_plain_means_in_the_order_of_labels():
    base, labels = features(21, 20), np.random.default_rng(3).integers(0, 4, 20) * 3
    np.testing.assert_allclose(prototypes(base, labels), slow.class_means(base, labels.tolist()), **EXACT)
    assert prototypes(base.astype(np.float32), labels).dtype == np.float32


def test_what_does_not_fit_is_refused_with_what_was_wanted():
    prior = prior_of(P3DC())
    with pytest.raises(ValueError, match=r"dimension 3, expected 12 as those of the base classes"):
        P3DC().calibrate(prior, np.ones((4, 1, 3)))
    with pytest.raises(ValueError, match=r"support: got shape \(4, 12\), expected \(\.\.\., ways, shots, d\)"):
        P3DC().calibrate(prior, np.ones((4, D)))
    with pytest.raises(ValueError, match=r"queries: got shape \(7, 12\), expected \(2, 'queries', 'd'\)"):
        P3DC().calibrate(prior, np.ones((2, 4, 1, D))).predict(np.ones((7, D)))
    with pytest.raises(ValueError, match="support: got 1 of 48 entries that are NaN"):
        P3DC().calibrate(prior, np.where(np.arange(48).reshape(4, 1, D) == 5, np.nan, 1.0))
    with pytest.raises(ValueError, match="expected a sum of at most 1"):
        P3DC(sample_weight=0.2, task_weight=0.9)
    for wrong in ({"num_prototypes": 0}, {"tau": 0}, {"beta": -1}, {"mode": "papr"}, {"negative": "abs"}):
        with pytest.raises(ValueError, match=f"{next(iter(wrong))}: got"):
            P3DC(**wrong)


@pytest.mark.parametrize("shots", [1, 5])
def test_with_the_power_of_queries_too_it_is_the_rule_on_features_that_were_raised_before(shots):
    base, labels = features(21, 5 * BASE), np.repeat(np.arange(BASE), 5)
    support, queries = features(22, 6, WAYS, shots), features(23, 6, 7)
    rule = P3DC(mode="scale_free", beta=0.4, queries_too=True, sample_weight=0.2, task_weight=0.5)
    plain = replace(rule, beta=1.0, queries_too=False)
    found = rule.calibrate(rule.prior(base, labels), support)
    raised = plain.calibrate(plain.prior(base**0.4, labels), support**0.4)
    np.testing.assert_allclose(found.scores(queries), raised.scores(queries**0.4), **EXACT)
    louder = rule.calibrate(rule.prior(7 * base, labels), 7 * support)
    np.testing.assert_array_equal(louder.predict(7 * queries), found.predict(queries))


def test_without_a_pull_it_is_the_power_of_both():
    support, queries = features(24, 30, WAYS, 1), features(25, 30, 9)
    rule = P3DC(mode="scale_free", task_weight=1.0, gamma=0.0, queries_too=True)
    wanted = PowerTransform(queries_too=True).calibrate({}, support).predict(queries)
    np.testing.assert_array_equal(rule.calibrate(prior_of(rule), support).predict(queries), wanted)


def test_the_published_formula_takes_no_power_of_queries():
    with pytest.raises(ValueError, match="queries_too: got True with mode='paper', expected False"):
        P3DC(queries_too=True)
