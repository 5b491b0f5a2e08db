"""Learning with group lasso, stage by stage."""

from dataclasses import replace

import numpy as np
import pytest

from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.method import State
from wirelesslab.vision.parallel import Replica, ShuffledBatches, train_in_one_process
from wirelesslab.vision.saving import Keeping, load_state, save_state
from wirelesslab.vision.structured_sparsity import GroupLasso, StructuredSparsity, Threshold, export
from wirelesslab.vision.structured_sparsity.groups import group_norms, shrunk
from wirelesslab.vision.update_rules import UpdateRule
from wirelesslab.vision.wires import Ternary

BASE = Classifier(update=UpdateRule(rate=0.05), epochs=6)
BOTH = (GroupLasso(kind="filters", strength=0.02), GroupLasso(kind="shapes", strength=0.01))
RNG = np.random.default_rng(0)  # gradients draw nothing


@pytest.fixture(scope="module")
def data():
    return digits(3)


@pytest.fixture(scope="module")
def trained(data):
    return BASE.fit(BASE.build(1), data, 1).state


def batch_of(data, step=0, size=32):
    return data.images[step * size : (step + 1) * size], data.labels[step * size : (step + 1) * size]


def test_a_published_step_adds_the_pull_before_momentum_and_sets_small_weights_to_zero(data, trained):
    method = StructuredSparsity(classifier=BASE, penalties=BOTH, rate_factor=0.5, zero_below=3e-3)
    state = method.begin(trained, 10)
    speed = {name: np.zeros_like(w) for name, w in state.part("weights").items()}
    weights = state.part("weights")
    for step in range(2):
        found = method.gradients(state, batch_of(data, step), RNG)
        state = method.apply(state, found)
        for (name, w), g in zip(list(weights.items()), found.arrays, strict=True):
            pull = np.zeros_like(w)
            if name in ("conv_1/kernel", "conv_2/kernel"):
                pull += 0.02 * w / np.sqrt(np.square(w).sum(axis=(0, 1, 2), keepdims=True))
                pull += 0.01 * w / np.sqrt(np.square(w).sum(axis=3, keepdims=True))
            speed[name] = 0.9 * speed[name] + g + pull
            moved = w - 0.5 * 0.05 * speed[name]
            weights[name] = np.where(np.abs(moved) < 3e-3, 0, moved)
    for name, w in state.part("weights").items():
        differs = np.abs(w - weights[name]) > 1e-6  # float32; a weight within rounding of 3e-3 may fall either way
        assert differs.mean() < 1e-3, name
        assert not ((w != 0) & (np.abs(w) < 3e-3)).any()


def test_a_proximal_step_is_the_classifier_s_step_and_then_shrinks_by_what_momentum_sums_up(data, trained):
    method = StructuredSparsity(classifier=BASE, penalties=BOTH, mode="proximal", rate_factor=0.5)
    slower = replace(BASE, update=replace(BASE.update, rate=0.025))
    state = method.begin(trained, 10)
    found = method.gradients(state, batch_of(data), RNG)
    wanted = slower.apply(state, found).part("weights")
    for name in ("conv_1/kernel", "conv_2/kernel"):
        wanted[name] = shrunk(wanted[name], "filters", 0.025 * 0.02 / (1 - 0.9))
        wanted[name] = shrunk(wanted[name], "shapes", 0.025 * 0.01 / (1 - 0.9))
    got = method.apply(state, found).part("weights")
    assert all(np.allclose(got[name], wanted[name], rtol=1e-6, atol=0) for name in wanted)


def test_the_rate_falls_after_seven_tenths_of_the_steps(data, trained):
    method = StructuredSparsity(classifier=replace(BASE, update=UpdateRule(rule="sgd", rate=0.1)), mode="proximal")
    state = method.begin(trained, 10)
    lengths = []
    for _ in range(10):
        found = [np.ones_like(a) for a in method.gradients(state, batch_of(data), RNG)]
        after = method.apply(state, found)
        lengths.append(float((state.part("weights")["logits/bias"] - after.part("weights")["logits/bias"]).mean()))
        state = after
    assert lengths == pytest.approx([0.01] * 7 + [0.001] * 3, rel=1e-3)


def test_strength_zero_is_fine_tuning_at_a_lower_rate(data, trained):
    idle = (GroupLasso(strength=0.0),)
    for mode in ("subgradient", "proximal"):
        method = StructuredSparsity(classifier=BASE, penalties=idle, mode=mode, zero_below=0.0)
        state = method.begin(trained, 10)
        found = method.gradients(state, batch_of(data), RNG)
        plain = replace(BASE, update=replace(BASE.update, rate=BASE.update.rate * 0.1)).apply(state, found)
        after = method.apply(state, found)
        assert all(np.array_equal(after.arrays[name], plain.arrays[name]) for name in plain.arrays)


def test_proximal_steps_refuse_adam_and_say_why():
    adam = replace(BASE, update=UpdateRule(rule="adam", rate=1e-3))
    with pytest.raises(ValueError, match=r"'proximal' with Adam.*needs the size of a step, and Adam's is not its rate"):
        StructuredSparsity(classifier=adam, mode="proximal")
    StructuredSparsity(classifier=adam, mode="subgradient")


@pytest.mark.parametrize("mode", ["subgradient", "proximal"])
def test_a_net_learns_to_do_without_filters_and_stays_as_right(data, trained, mode):
    lasso = GroupLasso(kind="filters", strength=0.04)
    method = StructuredSparsity(
        classifier=BASE, penalties=(lasso,), mode=mode, epochs=20, tuning_epochs=3, rate_factor=1.0
    )
    begun = method.begin(trained, method.steps(len(data.only("train"))))
    learned = method.fit_stage(begun, data, 1).state
    if mode == "proximal":  # shrinking makes exact zeros; sub-gradients only small ones
        assert (group_norms(learned.part("weights")["conv_2/kernel"], "filters") == 0).any()
    cuts = method.cut(learned).cuts
    assert sum(cut.dropped for cut in cuts) >= 12  # a quarter of 48; about half go
    assert all(cut.gap >= method.threshold.gap for cut in cuts)
    tuned = method.fit(learned, data, 1).state
    for name, mask in tuned.part("masks").items():
        assert not tuned.part("weights")[name][~mask].any()
    test = data.only("test")
    # 359 images: the standard error of a difference of paired errors of 3 % is about 1 point
    assert method.evaluate(tuned, test)["accuracy"] > BASE.evaluate(trained, test)["accuracy"] - 0.04
    small = export(BASE, tuned)
    assert small.classifier.operations(small.state, 1) < 0.75 * BASE.operations(trained, 1)


@pytest.mark.parametrize("stopped_at", [3, 8, 12])  # six steps of each stage: baseline, learning, tuning
def test_a_training_that_was_stopped_goes_on_to_the_same_bits_in_every_stage(data, tmp_path, monkeypatch, stopped_at):
    method = StructuredSparsity(
        classifier=replace(BASE, epochs=2), penalties=BOTH, epochs=2, tuning_epochs=2, threshold=Threshold(relative=0.5)
    )
    small = data.at(data.splits["train"][:330]).split(1)
    whole = method.fit(method.build(1), small, 1)
    keep, taken, apply = Keeping(path=tmp_path / "run", every_steps=1), [], StructuredSparsity.apply

    def killed(self, state, gradients):
        taken.append(state)
        if len(taken) == stopped_at:
            raise KeyboardInterrupt
        return apply(self, state, gradients)

    monkeypatch.setattr(StructuredSparsity, "apply", killed)
    with pytest.raises(KeyboardInterrupt):
        method.fit(method.build(1), small, 1, keep=keep)
    monkeypatch.undo()
    again = method.fit(method.build(1), small, 1, keep=keep)
    assert all(np.array_equal(again.state.arrays[n], whole.state.arrays[n]) for n in whole.state.arrays)
    stages = [name.partition(" ")[0] for epoch in again.history for name in epoch.scores if name.endswith(" loss")]
    assert stages == ["baseline"] * 2 + ["learning"] * 2 + ["tuning"] * 2
    assert again.state.numbers["stage"] == "tuning"


def test_a_pruned_state_is_saved_with_its_masks_and_a_foreign_one_is_refused(data, trained, tmp_path):
    method = StructuredSparsity(classifier=BASE, penalties=BOTH, threshold=Threshold(relative=0.9, gap=1.0))
    pruned = method.prune(method.begin(trained, 10))
    assert any((~mask).any() for mask in pruned.part("masks").values())
    path = save_state(tmp_path / "pruned", pruned, method)
    back = load_state(path, method)
    assert all(np.array_equal(back.arrays[name], pruned.arrays[name]) for name in pruned.arrays)
    one, two = (method.apply(s, method.gradients(s, batch_of(data), RNG)) for s in (pruned, back))
    assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)
    bare = State({n: a for n, a in pruned.arrays.items() if not n.startswith("masks/")}, pruned.numbers)
    with pytest.raises(ValueError, match="masks are gone"):
        method.restored(method.written(bare), 1)


def test_behind_a_filter_that_is_gone_a_batch_norm_says_its_shift_at_once_as_it_does_while_tuning_goes_on():
    net = Classifier(backbone="resnet8", shape=(8, 8, 3))
    method = StructuredSparsity(classifier=net, penalties=(GroupLasso(kind="filters"),))
    state, rng = net.build(1), np.random.default_rng(1)
    weights = state.part("weights")
    weights["stem_conv/kernel"] = weights["stem_conv/kernel"] * np.where(np.arange(16) < 4, 1e-5, 1).astype("f4")
    weights["stem_norm/beta"] = rng.normal(size=16).astype("f4")
    moments = {  # what 4 of 16 filters once said, when they were as large as the others
        n: rng.uniform(0.5, 1.5, a.shape).astype("f4") for n, a in state.part("statistics").items()
    }
    state = method.begin(state.with_part("weights", weights).with_part("statistics", moments), 1)
    pruned = method.prune(state)
    model, values = net.model(), pruned.part("weights") | pruned.part("statistics")
    for variable in model.variables:
        variable.assign(values[variable.path])
    images = rng.random((4, 8, 8, 3)).astype("f4")
    norm = type(model)(model.inputs, model.get_layer("stem_norm").output)
    for training in (False, True):
        said = np.asarray(norm(images, training=training))[..., :4]
        assert np.allclose(said, weights["stem_norm/beta"][:4], atol=1e-6), training
    kept = {n: a for n, a in pruned.part("statistics").items() if not n.startswith("stem_norm")}
    assert all(np.array_equal(a, moments[n]) for n, a in kept.items())


def test_workers_that_send_ternary_gradients_prune_alike(data, trained):
    method = StructuredSparsity(classifier=BASE, penalties=BOTH, mode="proximal")
    train = data.only("train")
    replicas = []
    for worker in range(2):
        batches = ShuffledBatches(train.images[worker::2], train.labels[worker::2], 32, 1, worker)
        replicas.append(Replica(method, Ternary(), batches, 1, worker, 2))
        replicas[-1].state = method.begin(trained, 8)
    train_in_one_process(replicas, 8)
    one, two = (method.prune(replica.state) for replica in replicas)
    assert all(np.array_equal(one.arrays[name], two.arrays[name]) for name in one.arrays)
    assert list(method.travels(one)) == list(one.part("weights"))  # neither lasso nor masks travel


def test_group_lasso_costs_two_multiply_adds_per_weight_and_only_while_it_acts(trained):
    method = StructuredSparsity(classifier=BASE, penalties=BOTH)
    penalised = sum(trained.part("weights")[f"conv_{place}/kernel"].size for place in (1, 2))
    extra = method.operations(method.begin(trained, 5), 4) - BASE.operations(trained, 4)
    assert extra == 2 * 2 * penalised
    assert method.operations(method.build(1), 4) == BASE.operations(trained, 4)
    assert method.penalty(trained) == pytest.approx(
        sum(
            strength * group_norms(trained.part("weights")[f"conv_{place}/kernel"], kind).sum()
            for kind, strength in (("filters", 0.02), ("shapes", 0.01))
            for place in (1, 2)
        )
    )
