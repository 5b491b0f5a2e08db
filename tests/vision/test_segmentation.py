"""Segmenters: nets for pixels and points, learning with and without center collapse, and what of it remains in use."""

import os

import numpy as np
import pytest

from tests.vision.test_saving import same
from wirelesslab.vision.data import Data
from wirelesslab.vision.keras_files import export_keras, import_keras, state_from_keras
from wirelesslab.vision.method import State
from wirelesslab.vision.neural_collapse import CenterCollapse, feature_geometry
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.parallel import Replica, ShuffledBatches, train_in_one_process
from wirelesslab.vision.saving import Keeping, WeightFileError, load_state, save_state
from wirelesslab.vision.schedules import Schedule
from wirelesslab.vision.segmentation import Segmenter
from wirelesslab.vision.segmentation_losses import LOSSES, ClassCounts, CrossEntropy, Lovasz, WeightedCrossEntropy
from wirelesslab.vision.segmentation_nets import segmentation_net
from wirelesslab.vision.update_rules import UpdateRule
from wirelesslab.vision.wires import Float32, Ternary

TINY = {"num_classes": 3, "shape": (8, 8, 1), "widths": (4, 6, 8), "features": 5, "batch_size": 4}
COLLAPSE = CenterCollapse(projection="learned", width=6, classifier="learned")


def tiny(**settings):
    return Segmenter(**{**TINY, "steps": 6, **settings})


def squares(count=20, seed=0, side=8, validation=4):
    """Dark pictures with a grey square on the left, and at times a bright one on the right; noise upon all."""
    rng = np.random.default_rng(seed)
    images, masks = np.zeros((count, side, side, 1), np.float32), np.zeros((count, side, side), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        for label in range(1, 2 + int(rng.random() < 0.5)):
            row, column = rng.integers(0, side - 3), rng.integers(0, side // 2 - 2) + (label - 1) * side // 2
            image[row : row + 3, column : column + 3], mask[row : row + 3, column : column + 3] = label / 2, label
    images = np.clip(images + 0.05 * rng.standard_normal(images.shape), 0, 1).astype(np.float32)
    masks[0, 0] = 255
    splits = {"train": np.arange(count - validation), "validation": np.arange(count - validation, count)}
    labels = np.zeros(count, np.int64)
    return Data(images, labels, ("none", "grey", "bright"), splits, truth={"pixel_labels": masks}, name="squares")


def batch_of(data, count=4):
    return data.images[:count], data.truth["pixel_labels"][:count]


# --- nets ---


@pytest.mark.parametrize("name", ["unet", "deeplab", "points"])
def test_a_net_says_a_class_for_each_pixel_from_features_before_its_last_layer(name):
    shape = (12, 1, 4) if name == "points" else (8, 12, 3)
    method = Segmenter(net=name, shape=shape, num_classes=4, features=7)
    state = method.build(1)
    images = np.random.default_rng(0).random((3, *shape)).astype(np.float32)
    logits, features = method.logits(state, images), method.features_of(state, images)
    assert logits.shape == (3, *shape[:2], 4)
    scale = 4 if name == "deeplab" else 1
    assert features.shape == (3, shape[0] // scale, shape[1] // scale, 7)
    last = state.part("weights")["logits/kernel"][0, 0]
    if name != "deeplab":  # whose logits are enlarged
        np.testing.assert_allclose(features @ last, logits, atol=1e-4)
    np.testing.assert_allclose(method.model(state).predict(images, verbose=0), logits, atol=1e-4)
    masks = method.predict(state, images)
    assert masks.dtype == np.uint8
    assert np.array_equal(masks, logits.argmax(axis=-1))
    assert method.predict(state, images[:0]).shape == (0, *shape[:2])


def test_a_point_net_does_not_know_the_order_of_points():
    method = Segmenter(net="points", shape=(12, 1, 4), num_classes=4)
    state, cloud = method.build(1), np.random.default_rng(0).random((1, 12, 1, 4)).astype(np.float32)
    order = np.random.default_rng(1).permutation(12)
    moved = method.logits(state, cloud[:, order])
    np.testing.assert_allclose(moved, method.logits(state, cloud)[:, order], atol=1e-5)


def test_operations_of_a_u_net_are_those_that_a_hand_counts():
    method = tiny()
    counted = forward_macs(method.model())
    assert counted["down_1_conv"] == 64 * 9 * 1 * 4
    assert counted["features"] == 64 * 9 * (4 + 4) * 5
    assert counted["logits"] == 64 * 5 * 3
    forward, branch = sum(counted.values()), tiny(collapse=COLLAPSE)
    assert method.operations(method.build(1), 2) == 6 * forward
    centers = 3 * 5 * 6 + 3 * 6 * 3
    assert branch.operations(branch.build(1), 2) == 6 * (forward + 64 * 5) + 3 * centers
    assert branch.query_macs(branch.build(1)) == forward  # who only answers has no branch


def test_shapes_that_a_net_cannot_take_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match="height and width divisible by 4; pad or crop"):
        Segmenter(shape=(10, 8, 3))
    with pytest.raises(ValueError, match=r"expected \(points, 1, numbers of each\)"):
        segmentation_net("points", num_classes=3, shape=(4, 4, 3))
    with pytest.raises(ValueError, match="did you mean 'unet'"):
        Segmenter(net="u-net")


# --- learning ---


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_every_loss_learns_to_see_squares(loss):
    data = squares(24)
    method = tiny(loss=loss, update=UpdateRule(rule="adam", rate=0.02), steps=40)
    start = method.build(1)
    fit = method.fit(start, data, 1)
    judged = data.only("validation")
    assert method.evaluate(fit.state, judged)["mIoU"] > method.evaluate(start, judged)["mIoU"] + 0.3  # of 1
    assert fit.state.numbers["step"] == 40


def test_the_branch_changes_no_initial_weight_and_is_in_the_state_beside_them():
    plain, branch = tiny().build(3), tiny(collapse=COLLAPSE).build(3)
    assert list(branch.part("weights")) == list(plain.part("weights"))
    assert all(np.array_equal(w, branch.part("weights")[name]) for name, w in plain.part("weights").items())
    shapes = {name: array.shape for name, array in branch.part("branch").items()}
    assert shapes == {"projection": (5, 6), "classifier": (6, 3)}
    assert not tiny(collapse=CenterCollapse()).build(3).part("branch")  # nothing of it is learned
    assert [n for n in tiny(collapse=COLLAPSE).travels(branch) if n.startswith("branch/")] == [
        "branch/projection", "branch/classifier",
    ]  # fmt: skip


def test_gradients_are_those_of_the_loss_in_every_part():
    data = squares()
    method = tiny(collapse=COLLAPSE, update=UpdateRule(rule="sgd", rate=1.0))
    state = method.counted(method.build(1), data.truth["pixel_labels"])
    found = method.gradients(state, batch_of(data), None)
    rng = np.random.default_rng(0)
    names = [n for n, kind in method.travels(state).items() if kind == "gradient"]
    for name in ("features/kernel", "logits/bias", "branch/projection", "branch/classifier"):
        key = name if name.startswith("branch") else f"weights/{name}"
        way = rng.standard_normal(state.arrays[key].shape).astype(np.float32)
        losses = []
        for step in (1e-2, -1e-2):
            moved = State({**state.arrays, key: state.arrays[key] + step * way}, state.numbers)
            losses.append(method.gradients(moved, batch_of(data), None).loss)
        wanted = float((found.arrays[names.index(name)] * way).sum())
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(wanted, rel=0.02, abs=2e-4)  # float32 differences


def test_an_image_without_labelled_pixels_is_left_out_and_a_batch_of_such_is_no_loss():
    data = squares()
    masks = data.truth["pixel_labels"].copy()
    masks[:3] = 255
    method = tiny(collapse=CenterCollapse())
    state = method.counted(method.build(1), masks)
    found = method.gradients(state, (data.images[:3], masks[:3]), None)
    assert found.loss == 0
    assert not any(g.any() for g in found.arrays)
    hidden = Data(data.images, data.labels, data.classes, data.splits, truth={"pixel_labels": masks})
    without = {"train": np.arange(3, 16), "validation": data.splits["validation"]}
    cut = Data(data.images, data.labels, data.classes, without, truth={"pixel_labels": masks})
    fits = [method.fit(method.build(1), one, 1).state for one in (hidden, cut)]
    assert same(*fits)
    nothing = Data(data.images, data.labels, data.classes, data.splits, truth={"pixel_labels": masks * 0 + 255})
    with pytest.raises(ValueError, match="masks without a labelled pixel"):
        method.fit(method.build(1), nothing, 1)
    with pytest.raises(ValueError, match="labelled_pixels: got 0"):
        method.evaluate(fits[0], nothing)


def test_classes_are_counted_in_training_images_alone():
    data = squares()
    method = tiny(loss=WeightedCrossEntropy(), steps=1)
    state = method.fit(method.build(1), data, 1).state
    wanted = ClassCounts.of(data.only("train").truth["pixel_labels"], 3)
    assert tuple(state.part("counts")["pixels"]) == wanted.pixels
    assert tuple(state.part("counts")["images"]) == wanted.images
    with pytest.raises(ValueError, match=r"nobody has counted; expected Segmenter\(counts="):
        method.gradients(method.build(1), batch_of(data), None)
    given = tiny(loss=WeightedCrossEntropy(), counts=wanted)
    assert given.gradients(given.build(1), batch_of(data), None).loss > 0


@pytest.mark.parametrize("update", ["momentum", "adam"])
def test_a_training_that_goes_on_from_a_checkpoint_comes_to_the_same_bits(tmp_path, update):
    data = squares()
    settings = {
        "collapse": COLLAPSE, "loss": Lovasz(), "update": UpdateRule(rule=update, rate=0.01),
        "schedule": Schedule(kind="cosine", warm_up=0.2), "steps": 10, "judge_every": 1,
    }  # fmt: skip
    method = tiny(**settings)
    whole = method.fit(method.build(1), data, 5)

    class Stop(Exception):
        pass

    keep, calls = Keeping(path=tmp_path / "kept.npz", every_steps=3), iter(range(100))

    class Breaks(Segmenter):
        """Falls over in its eighth step, between two checkpoints and two epochs."""

        def gradients(self, state, batch, rng, /):
            if next(calls) == 7:
                raise Stop
            return super().gradients(state, batch, rng)

        def __repr__(self):
            return repr(method)

    with pytest.raises(Stop):
        Breaks(**vars(method)).fit(method.build(1), data, 5, keep=keep)
    resumed = method.fit(method.build(1), data, 5, keep=keep)
    assert same(resumed.state, whole.state)
    assert [(e.step, dict(e.scores)) for e in resumed.history] == [(e.step, dict(e.scores)) for e in whole.history]
    assert same(method.fit(method.build(1), data, 5, keep=keep).state, whole.state)  # it has ended
    other = squares()
    other.truth["pixel_labels"][1, 1, 1] = 2
    with pytest.raises(WeightFileError, match="of another training"):
        method.fit(method.build(1), other, 5, keep=keep)


def test_steps_end_in_the_midst_of_an_epoch_and_epochs_when_they_are_over():
    data = squares()  # four batches in an epoch
    fit = tiny(steps=6).fit(tiny().build(1), data, 1)
    assert [epoch.step for epoch in fit.history] == [4, 6]
    assert set(fit.history[-1].scores) == {"loss", "validation mIoU", "validation cross entropy"}
    method = tiny(steps=None, epochs=2)
    assert [epoch.step for epoch in method.fit(method.build(1), data, 1).history] == [4, 8]


def test_evaluation_is_that_of_the_masks_it_predicts():
    data = squares()
    method = tiny(loss=CrossEntropy())
    state = method.build(1)
    scores = method.evaluate(state, data)
    masks = data.truth["pixel_labels"]
    known, found = masks != 255, method.predict(state, data.images)
    assert scores["pixel accuracy"] == pytest.approx(float((found == masks)[known].mean()))
    iou = [((found == k) & (masks == k)).sum() / (((found == k) | (masks == k)) & known).sum() for k in range(3)]
    assert scores["mIoU"] == pytest.approx(float(np.mean(iou)))
    logits = method.logits(state, data.images).astype(float)[known]
    nats = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(logits)), masks[known]]
    assert scores["cross entropy"] == pytest.approx(float(nats.mean()))
    low = State({**state.arrays, "weights/logits/bias": np.full(3, -1000, np.float32)})
    assert method.evaluate(low, data)["cross entropy"] == pytest.approx(float(nats.mean()), abs=1e-3)  # a shift of all
    features = method.features_of(state, data.images)
    wanted = feature_geometry(features, masks, 3, state.part("weights")["logits/kernel"][0, 0])
    assert method.geometry(state, data).etf_deviation == pytest.approx(wanted.etf_deviation)


def test_labels_outside_the_classes_and_wrong_shapes_are_refused_in_words():
    data, method = squares(), tiny()
    images, masks = batch_of(data)
    state = method.build(1)
    odd = masks.copy()
    odd[1, 2, 3] = 3
    with pytest.raises(ValueError, match=r"labels: got 3 at \(1, 2, 3\)"):
        method.gradients(state, (images, odd), None)
    with pytest.raises(ValueError, match="one label for each pixel"):
        method.gradients(state, (images, masks[:, :4]), None)
    with pytest.raises(ValueError, match="images: got shape"):
        method.predict(state, images[:, :4])
    with pytest.raises(ValueError, match="pixel_labels"):
        method.fit(state, Data(data.images, data.labels, data.classes, data.splits), 1)
    wrong = Data(
        data.images, data.labels, data.classes, data.splits, truth={"pixel_labels": data.truth["pixel_labels"] + 2}
    )
    with pytest.raises(ValueError, match="pixel_labels: got 3"):
        method.fit(state, wrong, 1)


def test_settings_that_do_not_fit_are_refused():
    for words, wrong in {
        "expected one of them, and the other None": {"epochs": 3}, "dimension: got 1 for 3": {"features": 1},
        "expected steps, whose number": {"steps": None, "epochs": 2, "schedule": Schedule(kind="cosine")},
        "counts: got 2 classes": {"counts": ClassCounts((1, 2), (1, 1))}, "num_classes": {"num_classes": 256},
    }.items():  # fmt: skip
        with pytest.raises(ValueError, match=words):
            tiny(**{"collapse": CenterCollapse(), **wrong})


# --- what is used, saved and sent ---


@pytest.mark.parametrize("collapse", [CenterCollapse(), COLLAPSE, CenterCollapse(projection="frozen_random")], ids=repr)
def test_nothing_of_the_branch_is_in_an_exported_model(tmp_path, collapse):
    data = squares()
    files, graphs, states = [], [], []
    for method in (tiny(), tiny(collapse=collapse)):
        state = method.fit(method.build(1), data, 1).state
        files.append(export_keras(tmp_path / f"{len(files)}.keras", method, state))
        graphs.append(method.model(state).to_json())
        states.append(state)
        back = state_from_keras(files[-1], method)
        for part in ("weights", "statistics"):
            assert all(np.array_equal(a, back.part(part)[n]) for n, a in state.part(part).items())
    plain, other = (import_keras(file) for file in files)
    assert graphs[0] == graphs[1]
    assert [v.path for v in plain.variables] == [v.path for v in other.variables]
    assert plain.count_params() == other.count_params()
    assert not all(np.array_equal(a, states[1].part("weights")[n]) for n, a in states[0].part("weights").items())
    sizes = [os.path.getsize(file) for file in files]
    assert sizes[0] == sizes[1]


def test_a_state_is_saved_with_its_branch_and_counts_and_that_of_another_branch_is_refused(tmp_path):
    data, method = squares(), tiny(collapse=COLLAPSE)
    state = method.fit(method.build(1), data, 1).state
    path = save_state(tmp_path / "net", state, method)
    assert same(load_state(path, method), state)
    with pytest.raises(WeightFileError, match="does not fit"):
        load_state(path, tiny())


@pytest.mark.parametrize("wire", [Float32(), Ternary()], ids=repr)
def test_workers_train_a_segmenter_over_a_wire_and_stay_alike(wire):
    data = squares()
    train = data.only("train")
    masks = train.truth["pixel_labels"]
    method = tiny(collapse=COLLAPSE, counts=ClassCounts.of(masks, 3), update=UpdateRule(rule="momentum", rate=0.01))
    replicas = [
        Replica(method, wire, ShuffledBatches(train.images[w::2], masks[w::2], 4, 1, w), 1, w, 2) for w in range(2)
    ]
    before = replicas[0].state
    train_in_one_process(replicas, 3)
    assert same(replicas[0].state, replicas[1].state)
    assert not np.array_equal(before.part("branch")["classifier"], replicas[0].state.part("branch")["classifier"])
