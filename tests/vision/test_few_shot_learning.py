"""Few shots as a method: fitted on base classes once, taught new classes without training, judged in episodes."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.vision.few_shot import P3DC, Episodes, NearestNeighbour, accuracies, pooled, prototypes
from wirelesslab.vision.few_shot.judgement import Pool
from wirelesslab.vision.few_shot.learning import FewShot, decision_macs, shot_macs
from wirelesslab.vision.few_shot.nets import Backbone
from wirelesslab.vision.few_shot.pretraining import Pretraining
from wirelesslab.vision.saving import load_state, save_state
from wirelesslab.vision.worlds.characters import Characters

WORLD = Characters(families=3, base_per_family=2, validation_families=1, pictures=8, novel_pictures=6, side=12)
METHOD = FewShot(
    pretraining=Pretraining(
        backbone=Backbone(widths=(4, 4, 4, 8), shape=(12, 12, 1)), num_classes=6, batch_size=16, epochs=2
    ),
    episodes=Episodes(ways=3, shots=1, queries=3, count=50),
)


@pytest.fixture(scope="module")
def world():
    return WORLD.data(1)


@pytest.fixture(scope="module")
def fitted(world):
    return METHOD.fit(METHOD.build(1), world, 1).state


def taught(state, test, shots=1, method=METHOD):
    """A state with the first pictures of each class of a split as shots, and the other pictures."""
    first = np.concatenate([np.flatnonzero(test.labels == k)[:shots] for k in np.unique(test.labels)])
    rest = np.setdiff1d(np.arange(len(test)), first)
    return method.learn(state, test.images[first], test.labels[first], test.classes), test.at(rest)


def test_the_prior_is_the_base_classes_means_in_single_precision(world, fitted):
    base = world.only("train")
    found = METHOD.prior(fitted)["prototypes"]
    assert found.dtype == np.float32
    assert found.shape == (6, 8)
    np.testing.assert_array_equal(found, prototypes(METHOD.pretraining.features(fitted, base.images), base.labels))


def test_learning_a_class_changes_nothing_but_the_shots(world, fitted):
    state, _ = taught(fitted, world.only("test"))
    assert {n: a for n, a in state.arrays.items() if not n.startswith("shots/")} == dict(fitted.arrays)
    assert state.numbers == fitted.numbers
    assert state.part("shots")["features"].shape == (4, 1, 8)


@pytest.mark.parametrize("shots", [1, 3])
def test_predictions_are_the_rules_by_their_labels(world, fitted, shots):
    test = world.only("test")
    state, rest = taught(fitted, test, shots)
    features = METHOD.pretraining.features
    ways = np.unique(test.labels)
    support = np.stack([features(fitted, test.images[test.labels == k][:shots]) for k in ways])
    found = METHOD.rule.calibrate(METHOD.prior(fitted), support).predict(features(fitted, rest.images))
    np.testing.assert_array_equal(METHOD.predict(state, rest.images), ways[found])
    assert METHOD.predict(state, rest.images[:0]).shape == (0,)


def test_pictures_may_come_in_any_order_and_other_classes_take_the_place_of_earlier_ones(world, fitted):
    test = world.only("test")
    state, rest = taught(fitted, test, 2)
    first = np.concatenate([np.flatnonzero(test.labels == k)[:2] for k in np.unique(test.labels)])
    mixed = first[[5, 0, 3, 2, 7, 4, 1, 6]]
    again = METHOD.learn(state, test.images[mixed], test.labels[mixed])
    np.testing.assert_array_equal(METHOD.predict(again, rest.images), METHOD.predict(state, rest.images))
    other, more = taught(again, world.only("validation"))
    assert set(METHOD.predict(other, more.images)) <= set(world.only("validation").labels)


def test_it_is_judged_in_its_episodes_with_their_interval(world, fitted):
    test = world.only("test")
    found = METHOD.evaluate(taught(fitted, test)[0], test)  # shots that are there do not matter
    assert found == METHOD.evaluate(fitted, test)
    base = world.only("train")
    features = METHOD.pretraining.features
    pools = [Pool(features(fitted, d.images), d.labels.astype(np.int64), d.classes) for d in (base, test)]
    drawn = METHOD.episodes.draw(test.labels, test.classes)
    wanted = pooled([accuracies({"ours": METHOD.rule}, *pools, drawn)["ours"]])
    assert tuple(found.values()) == pytest.approx(wanted[:3], rel=1e-12)
    assert found["accuracy low"] < found["accuracy"] < found["accuracy high"]


def test_base_and_new_classes_that_overlap_are_refused(world, fitted):
    base = world.only("train")
    with pytest.raises(ValueError, match="classes that are base classes too"):
        METHOD.evaluate(fitted, base)
    with pytest.raises(ValueError, match="classes that are base classes too"):
        METHOD.learn(fitted, base.images[:16], base.labels[:16], base.classes)
    test = world.only("test")
    labels = np.array([0, 11])  # 0 is a base class's
    with pytest.raises(ValueError, match="1 classes that are base classes too, such as 0"):
        METHOD.learn(fitted, test.images[:2], labels)
    state = METHOD.learn(fitted, test.images[:2], np.array([0, 1]), ("α", "β"))  # another alphabet counts from 0
    assert set(METHOD.predict(state, test.images)) <= {0, 1}


def test_what_cannot_be_learned_is_refused(world, fitted):
    test = world.only("test")
    with pytest.raises(ValueError, match=r"state: got one without a prior, expected one of FewShot\.fit"):
        METHOD.learn(METHOD.build(1), test.images[:2], test.labels[:2])
    with pytest.raises(ValueError, match="state: got one that has learned no class"):
        METHOD.predict(fitted, test.images)
    with pytest.raises(ValueError, match="expected as many of each of at least two classes"):
        METHOD.learn(fitted, test.images[:3], np.array([8, 8, 9]))
    with pytest.raises(ValueError, match="at least two classes"):
        METHOD.learn(fitted, test.images[:2], np.array([8, 8]))
    with pytest.raises(TypeError, match="expected whole numbers"):
        METHOD.learn(fitted, test.images[:2], np.array([8.0, 9.0]))
    with pytest.raises(ValueError, match="expected at least 7 for 1 shots"):
        replace(METHOD, episodes=Episodes(ways=2, queries=6)).evaluate(fitted, test)


def test_a_state_is_saved_and_one_that_is_fitted_is_not_fitted_again(world, fitted, tmp_path):
    state, rest = taught(fitted, world.only("test"))
    again = load_state(save_state(tmp_path / "few", state, METHOD), METHOD)
    assert again.numbers == state.numbers
    assert {n: a.tobytes() for n, a in again.arrays.items()} == {n: a.tobytes() for n, a in state.arrays.items()}
    np.testing.assert_array_equal(METHOD.predict(again, rest.images), METHOD.predict(state, rest.images))
    with pytest.raises(ValueError, match="start from build"):
        METHOD.fit(state, world, 2)


def test_calibration_is_counted_in_operations(world, fitted):
    features = METHOD.pretraining.feature_macs()
    assert METHOD.operations(METHOD.build(1), 4) == METHOD.pretraining.operations(fitted, 4)
    assert METHOD.operations(fitted, 4) == 4 * (features + 2 * 6 * 8)  # products with 6 prototypes, and their sum
    state, _ = taught(fitted, world.only("test"))
    assert METHOD.query_macs(state) == features + 4 * 8 + 4 * 2 * 6 * 8
    prior = METHOD.prior(fitted)
    assert shot_macs(P3DC(sample_weight=0.1, task_weight=0.4), prior) == 2 * shot_macs(P3DC(), prior)
    assert shot_macs(P3DC(task_weight=0.0), prior) == 0
    assert shot_macs(NearestNeighbour(), {}) == 0
    assert decision_macs(5, 2, 8) == 5 * 2 * (8 + 2 + 1)
