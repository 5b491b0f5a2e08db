"""Episodes are fixed by their seed, drawn fairly, and judged as clusters."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from wirelesslab.replicas import mean
from wirelesslab.threads import one_thread
from wirelesslab.vision.few_shot import (
    P3DC,
    CentredNearestNeighbour,
    Episodes,
    NearestNeighbour,
    Pool,
    PowerTransform,
    accuracies,
    check_disjoint,
    line_up,
    paired,
    pooled,
    stratified,
    tune,
)
from wirelesslab.vision.tuning import read_log

LABELS = np.random.default_rng(1).permutation(np.repeat([3, 5, 8, 9, 11, 20], [25, 20, 30, 22, 40, 21]))


@settings(max_examples=25, deadline=None)
@given(
    ways=st.integers(2, 6), shots=st.integers(1, 5), queries=st.integers(1, 15), count=st.integers(1, 20),
    seed=st.integers(0, 10**9),
)  # fmt: skip
def test_an_episode_has_distinct_classes_and_each_of_them_distinct_images_of_its_own(ways, shots, queries, count, seed):
    drawn = Episodes(ways=ways, shots=shots, queries=queries, count=count, seed=seed).draw(LABELS)
    assert drawn.places.shape == (count, ways, shots + queries)
    for classes, places in zip(drawn.classes, drawn.places, strict=True):
        assert len(set(classes.tolist())) == ways
        assert len(set(places.ravel().tolist())) == ways * (shots + queries)
        np.testing.assert_array_equal(LABELS[places], np.repeat(classes[:, None], shots + queries, axis=1))


def test_a_seed_fixes_episodes_and_their_digest_and_more_begin_with_the_same():
    asked = Episodes(count=50, seed=7)
    drawn = asked.draw(LABELS)
    assert drawn.digest() == asked.draw(LABELS).digest()
    assert drawn.digest() == "94d62a1c2f22094ff6f1e8ef0b516a5d50253377da009b1e668fb4d1456a77a1"
    assert drawn.digest() != replace(asked, seed=8).draw(LABELS).digest()
    more = replace(asked, count=80).draw(LABELS)
    np.testing.assert_array_equal(more.places[:50], drawn.places)
    assert [e.ways for e in asked.over_ways((2, 5, 6))] == [2, 5, 6]


def test_classes_images_and_shots_are_drawn_uniformly():
    labels = np.repeat(np.arange(6), 10)
    drawn = Episodes(ways=3, shots=1, queries=4, count=6000, seed=2).draw(labels)
    # exact sampling of 3 of 6 and of 5 of 10; counts of a way or of a place among shots are multinomial
    for way in range(3):
        assert chisquare(np.bincount(drawn.classes[:, way], minlength=6)).pvalue > 1e-6
    for place in (0, 4):
        assert chisquare(np.bincount(drawn.places[:, 0, place], minlength=60)).pvalue > 1e-6


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(
        ValueError, match=r"class 5 \(cup\) has 20 images, expected at least 21 for 1 shots and 20 quer"
    ):
        Episodes(queries=20).draw(LABELS, names=["a"] * 5 + ["cup"])
    with pytest.raises(ValueError, match=r"class 5 has 20 images"):
        Episodes(shots=5, queries=16).draw(LABELS)
    with pytest.raises(ValueError, match="got 6 classes, expected at least 7 for 7 ways"):
        Episodes(ways=7, queries=1).draw(LABELS)
    with pytest.raises(ValueError, match="labels: got 0 classes"):
        Episodes().draw(np.zeros(0, int))
    with pytest.raises(TypeError, match="expected whole numbers"):
        Episodes().draw(np.ones(30))
    with pytest.raises(ValueError, match="ways: got 1, expected at least 2"):
        Episodes(ways=1)


def test_base_and_novel_classes_that_overlap_are_refused():
    check_disjoint(["cat", "dog"], ["fox"])
    check_disjoint(np.array([1, 1, 2]), np.array([3]))
    with pytest.raises(ValueError, match="got 1 classes that are base classes too, such as 'dog'"):
        check_disjoint(["cat", "dog"], ["dog", "fox"])
    with pytest.raises(ValueError, match="such as 2"):
        check_disjoint(np.array([1, 2]), np.array([2, 2, 3]))
    base = pool(0, (0, 1))
    with pytest.raises(ValueError, match="such as 1"):
        accuracies(line_up(1), base, pool(1, (1, 2, 3)), EPISODES.draw(pool(1, (1, 2, 3)).labels))
    other = pool(1, (1, 2, 3))
    named = [replace(p, names=tuple(f"{w} {k}" for k in range(4))) for p, w in ((base, "letter"), (other, "digit"))]
    assert accuracies({"nn": NearestNeighbour()}, *named, EPISODES.draw(other.labels))["nn"].shape == (70,)
    with pytest.raises(ValueError, match="such as 'digit 1'"):
        accuracies(line_up(1), replace(base, names=named[1].names), named[1], EPISODES.draw(other.labels))


EPISODES = Episodes(ways=3, shots=1, queries=5, count=70, seed=4)


def pool(seed, classes, images=12, d=10):
    """Made-up features around a centre for each class."""
    centres = np.random.default_rng(99).normal(0.3, 0.6, (100, d))
    noise = np.random.default_rng(seed).normal(0, 0.7, (len(classes), images, d))
    features = np.maximum(centres[list(classes)][:, None] + noise, 0)
    return Pool(features.reshape(-1, d), np.repeat(classes, images))


BASE, VALIDATION, NOVEL = pool(0, range(10)), pool(1, range(10, 15)), pool(2, range(20, 26))


def test_labels_without_a_name_are_refused():
    with pytest.raises(ValueError, match=r"last_label: got 2, expected a number in \[0, 1\]"):
        Pool(np.zeros((2, 3)), np.array([0, 2]), ("oak", "elm"))


def test_support_queries_and_answers_belong_together():
    drawn = EPISODES.draw(NOVEL.labels)
    marked = np.stack([NOVEL.labels, np.arange(len(NOVEL.labels))], axis=1).astype(float)
    support, queries = drawn.support(marked), drawn.queries(marked)
    assert support.shape == (70, 3, 1, 2)
    assert queries.shape == (70, 15, 2)
    np.testing.assert_array_equal(support[..., 0, 0], drawn.classes)
    np.testing.assert_array_equal(queries[..., 0], np.take_along_axis(drawn.classes, drawn.answers()[None], axis=1))
    assert not set(support[0, ..., 1].ravel()) & set(queries[0, :, 1])
    with pytest.raises(ValueError, match="features: got shape"):
        drawn.support(marked[:5])


def test_accuracies_are_those_of_single_episodes_on_any_number_of_cores():
    drawn, rules = EPISODES.draw(NOVEL.labels), line_up(1)
    found = accuracies(rules, BASE, NOVEL, drawn)
    with one_thread():
        again = accuracies(rules, BASE, NOVEL, drawn)
    for name, rule in rules.items():
        np.testing.assert_array_equal(found[name], again[name])
        prior = rule.prior(BASE.features, BASE.labels)
        for episode in (0, 69):
            decider = rule.calibrate(prior, drawn.support(NOVEL.features)[episode])
            right = decider.predict(drawn.queries(NOVEL.features)[episode]) == drawn.answers()
            assert found[name][episode] == right.mean()


def test_episodes_drawn_among_other_labels_are_refused():
    with pytest.raises(ValueError, match="other classes in novel than when episodes were drawn"):
        accuracies(line_up(1), BASE, NOVEL, EPISODES.draw(NOVEL.labels[::-1]))


def test_a_paired_difference_is_narrower_than_two_intervals_and_covers_the_truth():
    drawn = EPISODES.draw(NOVEL.labels)
    found = accuracies({"a": NearestNeighbour(), "b": PowerTransform(beta=0.8)}, BASE, NOVEL, drawn)
    both = paired(found, "b", "a")
    alone = mean(found["a"])
    assert both.difference.high - both.difference.low < alone.high - alone.low
    assert both.difference.value == pytest.approx(found["b"].mean() - found["a"].mean())
    assert both.difference == mean(found["b"] - found["a"])
    assert not paired({"a": np.zeros(9), "b": np.linspace(-0.1, 0.1, 9)}, "b", "a").wholly_above
    assert paired({"a": np.zeros(9), "b": np.linspace(0.1, 0.2, 9)}, "b", "a").wholly_above
    with pytest.raises(ValueError, match="second: got 'c', expected one of a, b"):
        paired(found, "a", "c")


def test_worlds_count_alike_in_a_pooled_mean_and_its_interval_keeps_its_word():
    rng, held = np.random.default_rng(5), 0
    for _ in range(400):
        worlds = [rng.normal(middle, 1, size) for middle, size in ((0.0, 30), (3.0, 60), (6.0, 40))]
        found = pooled(worlds)
        held += found.low <= 3.0 <= found.high
    assert found.value == pytest.approx(np.mean([w.mean() for w in worlds]))
    assert found.replicas == 130
    assert 0.95 - 4 * np.sqrt(0.95 * 0.05 / 400) < held / 400 <= 1  # four standard errors below its level
    one = np.arange(5.0)
    assert pooled([one]) == pytest.approx(mean(one))
    assert stratified([2.0], [one.std(ddof=1) / np.sqrt(5)], 5) == pytest.approx(mean(one))
    with pytest.raises(ValueError, match="errors: "):
        stratified([2.0, 3.0], [0.1, float("nan")], 5)
    assert pooled([np.zeros(4), np.zeros(4)])[:3] == (0.0, 0.0, 0.0)
    with pytest.raises(ValueError, match="fewer than 2 episodes"):
        pooled([one, [1.0]])


def test_settings_are_chosen_on_validation_classes_with_equal_effort(tmp_path):
    rules = {"power": PowerTransform(), "centred": CentredNearestNeighbour()}
    grids = {"power": [{"beta": 0.01}, {"beta": 0.7}], "centred": [{"share": 0.0}, {"share": 1.0}]}
    chosen = tune(rules, grids, BASE, VALIDATION, EPISODES, tmp_path / "tuning.jsonl")
    drawn = EPISODES.draw(VALIDATION.labels)
    trials = read_log(tmp_path / "tuning.jsonl")
    for name, rule in rules.items():
        scores = [accuracies({"x": replace(rule, **s)}, BASE, VALIDATION, drawn)["x"].mean() for s in grids[name]]
        assert chosen[name] == replace(rule, **grids[name][int(np.argmax(scores))])
        assert [t.score for t in trials if t.method == name] == pytest.approx(scores)
    with pytest.raises(ValueError, match="expected as many for each method"):
        tune(rules, {**grids, "power": [{"beta": 0.5}]}, BASE, VALIDATION, EPISODES)
    with pytest.raises(ValueError, match=r"grids: got \['power'\], expected one for each of"):
        tune(rules, {"power": grids["power"]}, BASE, VALIDATION, EPISODES)


def test_validation_classes_that_are_base_classes_are_refused():
    with pytest.raises(ValueError, match="base classes too"):
        tune({"p": P3DC()}, {"p": [{"beta": 0.5}]}, BASE, BASE, EPISODES)
