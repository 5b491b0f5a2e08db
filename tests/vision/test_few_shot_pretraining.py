"""Characters in families, and backbones that learn from their base classes: what episodes of few shots rest on."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.rng import stream
from wirelesslab.vision import fitting
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.few_shot import Episodes, NearestNeighbour, Pool, accuracies
from wirelesslab.vision.few_shot.nets import Backbone
from wirelesslab.vision.few_shot.pretraining import Pretraining, _compiled, turned
from wirelesslab.vision.method import State
from wirelesslab.vision.saving import Keeping
from wirelesslab.vision.worlds.characters import Characters

WORLD = Characters(families=3, base_per_family=2, validation_families=1, pictures=8, novel_pictures=4, side=12)
NET = Backbone(widths=(4, 4, 4, 8), shape=(12, 12, 1))
METHOD = Pretraining(backbone=NET, num_classes=6, batch_size=16, epochs=2)


def test_splits_share_no_class_and_no_picture():
    data = WORLD.data(1)
    classes = [set(np.unique(data.only(split).labels)) for split in ("train", "validation", "test")]
    assert [len(c) for c in classes] == [6, 2, 4]
    assert len(set.union(*classes)) == 12
    assert len({image.tobytes() for image in data.images}) == len(data)


def test_unrelated_novel_classes_are_of_other_families_and_leave_the_base_as_it_is():
    near, far = WORLD.data(2), replace(WORLD, related=False).data(2)
    assert np.array_equal(near.only("train").images, far.only("train").images)
    families = {name: set(d.only("test").truth["family"]) for name, d in (("near", near), ("far", far))}
    base = set(near.only("train").truth["family"])
    assert families["near"] <= base
    assert not families["far"] & base


def test_a_class_resembles_its_family_more_than_others():
    def shared(name):
        return WORLD.strokes_of(3, name)[:-1]  # the last stroke is a class's own

    own = np.abs(shared("family 0 base 0") - shared("family 0 novel 0")).mean()
    other = np.abs(shared("family 0 base 0") - shared("family 1 novel 0")).mean()
    assert own < other / 2


def test_the_last_word_needs_a_family():
    with pytest.raises(ValueError, match="validation_families: got 12, expected fewer than 12"):
        Characters(validation_families=12)


@pytest.mark.parametrize("kind", ["conv4", "resnet12"])
def test_features_have_the_said_dimension_and_are_never_negative(kind):
    method = replace(METHOD, backbone=replace(NET, kind=kind))
    features = method.features(method.build(1), WORLD.data(1).images[:5])
    assert features.shape == (5, method.backbone.dimension) == (5, 8)
    assert features.min() >= 0 < features.max()


def test_one_model_from_images_to_features_is_the_stages_one_after_the_other():
    state, images = METHOD.build(4), WORLD.data(1).images[:3]
    model, values = NET.model(), state.part("weights") | state.part("statistics")
    for variable in model.variables:
        variable.assign(values[variable.path])
    np.testing.assert_allclose(np.asarray(model(images)), METHOD.features(state, images), rtol=1e-5, atol=1e-6)


def test_turns_are_quarters_against_the_clock():
    image = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    for quarters in range(4):
        np.testing.assert_array_equal(turned(image, np.array([quarters]))[0], np.rot90(image[0], quarters))


@pytest.mark.parametrize("rotation_weight", [0.0, 0.5])
def test_pictures_are_mixed_in_pairs_and_targets_with_them(rotation_weight):
    method = replace(METHOD, mix="input", rotation_weight=rotation_weight)
    state, images, labels = method.build(6), WORLD.data(1).images[:40:3], np.arange(14) % 6
    rng = np.random.default_rng(3)  # what is drawn, in this order
    turns = rng.integers(0, 4, 14) if rotation_weight else np.zeros(14, int)
    pairs, share = rng.permutation(14), rng.beta(2.0, 2.0)
    upright = turned(images, turns)
    mixed = (share * upright + (1 - share) * upright[pairs]).astype(np.float32)
    learn, none = _compiled(NET)[1], np.ones(4, np.float32)
    values = list(state.part("weights").values()), list(state.part("statistics").values())

    def loss(order):
        given = (labels[order].astype(np.int32), turns[order].astype(np.int32), pairs.astype(np.int32))
        return float(learn(*values, mixed, *given, none, np.float32(rotation_weight))[0])

    wanted = share * loss(np.arange(14)) + (1 - share) * loss(pairs)
    assert method.gradients(state, (images, labels), np.random.default_rng(3)).loss == pytest.approx(wanted, rel=1e-5)
    plain = replace(method, mix="none").gradients(state, (images, labels), np.random.default_rng(3)).loss
    assert abs(plain - wanted) > 1e-3


def test_a_net_mixes_in_front_of_a_stage_that_is_drawn_and_not_before_its_time():
    images, labels = WORLD.data(1).images[:14], np.arange(14) % 6
    state, losses = METHOD.build(6), {}
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rng.integers(0, 4, 14), rng.permutation(14), rng.beta(2.0, 2.0)
        stage = int(rng.integers(4))
        losses[stage] = [
            replace(METHOD, mix=mix).gradients(state, (images, labels), np.random.default_rng(seed)).loss
            for mix in ("none", "input", "manifold")
        ]
    assert set(losses) == {0, 1, 2, 3}
    for stage, (plain, of_pictures, of_stage) in losses.items():
        assert of_stage != pytest.approx(plain, abs=1e-4)
        assert (of_stage == pytest.approx(of_pictures, rel=1e-6)) == (stage == 0)
    early = State(state.arrays, {"step": 5, "steps": 10})  # mixing begins after 0.6 of the steps
    found = [replace(METHOD, mix=mix).gradients(early, (images, labels), np.random.default_rng(0)).loss
             for mix in ("none", "manifold")]  # fmt: skip
    assert found[0] == found[1]


def test_a_training_that_was_stopped_midway_comes_to_the_same_bits(tmp_path, monkeypatch):
    data, keep, begun = WORLD.data(5), Keeping(path=tmp_path / "net", every_steps=2), []
    whole = METHOD.fit(METHOD.build(5), data, 5)

    def watched(seed, *name):
        if name[0] == "step":
            begun.append(name[1])
        if name == ("step", 5) and begun.count(5) == 1:
            raise KeyboardInterrupt
        return stream(seed, *name)

    monkeypatch.setattr(fitting, "stream", watched)
    with pytest.raises(KeyboardInterrupt):
        METHOD.fit(METHOD.build(5), data, 5, keep=keep)
    again = METHOD.fit(METHOD.build(5), data, 5, keep=keep)
    assert begun == [0, 1, 2, 3, 4, 5, 4, 5], "it goes on from the checkpoint of step 4"
    assert again.state.numbers == whole.state.numbers == {"step": 6, "steps": 6}
    assert again.history == whole.history
    for name, array in whole.state.arrays.items():
        np.testing.assert_array_equal(again.state.arrays[name], array)


def test_digits_are_another_world_by_their_names():
    method = Pretraining(backbone=Backbone(widths=(2, 2, 2, 4)), num_classes=6)
    state, written = method.build(1), digits(1, side=28)
    base = Pool(np.ones((6, 4), np.float32), np.arange(6), tuple(f"family {k}" for k in range(6)))
    novel = Pool(method.features(state, written.images), written.labels, written.classes)
    drawn = Episodes(count=3, queries=2).draw(novel.labels, novel.names)
    assert accuracies({"near": NearestNeighbour()}, base, novel, drawn)["near"].shape == (3,)
    with pytest.raises(ValueError, match="0"):
        accuracies({"near": NearestNeighbour()}, replace(base, names=()), replace(novel, names=()), drawn)


def test_the_recipe_says_all_that_was_chosen():
    recipe = METHOD.recipe()
    assert recipe["backbone"]["kind"] == "conv4"
    assert {"mix", "mix_alpha", "mix_from", "rotation_weight", "update", "epochs", "dimension"} <= set(recipe)


def test_labels_beyond_the_base_classes_are_refused():
    with pytest.raises(ValueError, match="expected one of 0 to 5"):
        METHOD.gradients(METHOD.build(1), (WORLD.data(1).images[:2], np.array([0, 6])), np.random.default_rng(1))


def test_a_training_that_has_ended_is_not_trained_on():
    data = WORLD.data(5)
    ended = METHOD.fit(METHOD.build(5), data, 5).state
    with pytest.raises(ValueError, match=r"ended at step 6, expected a fresh one; start from build\(seed\)"):
        METHOD.fit(ended, data, 5)
