"""How right a classifier is."""

import numpy as np
import pytest

from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.metrics import accuracy_scores, confusion, mistakes


def test_accuracy_comes_with_its_counts_and_wilson_s_interval():
    scores = accuracy_scores(mistakes(np.zeros(100, int), np.repeat([0, 1], [90, 10])))
    assert (scores["accuracy"], scores["right"], scores["images"]) == (0.9, 90, 100)
    # Wilson, 1927, for 10 of 100 at 95 %: 0.0552 to 0.1744; Student's factor for 99 degrees widens it by 2 % of 0.06
    assert (scores["accuracy low"], scores["accuracy high"]) == pytest.approx((1 - 0.1744, 1 - 0.0552), abs=2e-3)


def test_the_rows_of_a_confusion_are_the_truth_and_its_diagonal_is_what_was_right():
    labels, predicted = np.random.default_rng(1).integers(0, 4, (2, 500))
    counts = confusion(predicted, labels, 4)
    assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=4).tolist()
    assert counts.sum(axis=0).tolist() == np.bincount(predicted, minlength=4).tolist()
    assert counts.trace() == 500 - mistakes(predicted, labels).errors
    assert counts[2, 3] == np.sum((labels == 2) & (predicted == 3))


def test_a_classifier_reports_what_its_accuracy_is_made_of():
    method, data = Classifier(), digits(1).only("test")
    state = method.build(1)
    scores = method.evaluate(state, data)
    assert (
        scores["accuracy"]
        == scores["right"] / scores["images"]
        == np.mean(method.predict(state, data.images) == data.labels)
    )
    assert scores["accuracy low"] < scores["accuracy"] < scores["accuracy high"]
    assert all(type(score) is float for score in scores.values())


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="labels: got 0 to 3, expected 0 to 2"):
        confusion([0, 1], [0, 3], 3)
    with pytest.raises(ValueError, match="predicted: got shape"):
        mistakes([0, 1, 2], [0, 1])
    with pytest.raises(TypeError, match="expected whole numbers"):
        mistakes([0.5, 1.0], [0, 1])
