"""Smaller nets say what nets with zeros say."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wirelesslab.tensorflow import tf
from wirelesslab.vision.backbones import Architecture, usual_shape
from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.keras_files import export_keras, import_keras, state_from_keras
from wirelesslab.vision.operations import forward_macs
from wirelesslab.vision.structured_sparsity import GroupLasso, StructuredSparsity, Threshold, export
from wirelesslab.vision.structured_sparsity.graph import graph_of, read_graph

K = tf.keras.layers
NETS = ("lenet", "cifarnet", "resnet20")


def tolerance(logits):
    """1e-5 of the logits' size: sums of float32 in another order, over some twenty layers."""
    return 1e-5 * max(1.0, float(np.abs(logits).max()))


def lived_in(classifier, seed=1):
    """A state whose biases and moments are not those of the first day."""
    state, rng = classifier.build(seed), np.random.default_rng(seed)
    weights = {
        n: (w + rng.normal(0, 0.3, w.shape)).astype("f4") if w.ndim == 1 else w
        for n, w in state.part("weights").items()
    }
    moments = {
        n: (rng.uniform(0.5, 1.5, a.shape) if "variance" in n else rng.normal(0, 0.3, a.shape)).astype("f4")
        for n, a in state.part("statistics").items()
    }
    return state.with_part("weights", weights).with_part("statistics", moments)


def with_random_zeros(classifier, state, seed, share=0.5):
    """Filters, channels, shapes and whole branches set to zero at random; sometimes all of a layer."""
    rng, graph, weights = np.random.default_rng(seed), graph_of(classifier), state.part("weights")
    for node in graph.weighted():
        kernel = weights[f"{node.name}/kernel"]
        for axis, part in ((-1, share), (-2, share / 2), (0, share / 4)):
            if axis == -1 and node.name == graph.output:
                continue
            shape = [1] * kernel.ndim
            shape[axis] = kernel.shape[axis]
            kernel = kernel * (rng.random(shape) > part * rng.random())
        weights[f"{node.name}/kernel"] = (kernel * (rng.random() > 0.05)).astype("f4")
    for block in graph.blocks:
        if rng.random() < 0.3:
            for name in block.layers:
                weights[f"{name}/kernel"] = np.zeros_like(weights[f"{name}/kernel"])
    return state.with_part("weights", weights)


def images_for(classifier, number=6, seed=0):
    shape = classifier.shape or usual_shape(classifier.backbone)
    return np.random.default_rng(seed).random((number, *shape)).astype("f4")


def small_net(seed):
    """A random little net out of all layers that can be exported."""
    rng = np.random.default_rng(seed)
    x = inputs = tf.keras.Input((9, 9, 2))

    def normed(x):
        if rng.random() < 0.5:
            x = K.BatchNormalization(center=rng.random() < 0.8, scale=rng.random() < 0.8)(x)
        act = str(rng.choice(["relu", "tanh", "sigmoid", "linear"]))
        return K.Activation(act)(x) if act != "linear" else x

    def conv(x, width, size=3, stride=1):
        padding = str(rng.choice(["same", "valid"])) if size == 1 or min(x.shape[1:3]) > 4 else "same"
        act = str(rng.choice(["linear", "relu", "sigmoid"]))
        return K.Conv2D(width, size, stride, padding=padding, use_bias=rng.random() < 0.5, activation=act)(x)

    for _ in range(rng.integers(1, 4)):
        what = rng.integers(5)
        if what == 0:
            x = normed(conv(x, int(rng.integers(1, 6)), int(rng.choice([1, 3])), int(rng.integers(1, 3))))
        elif what == 1:
            width = int(rng.integers(2, 5))
            x = normed(K.Conv2D(width, 3, padding="same", use_bias=False)(x))
            branch = normed(K.Conv2D(int(rng.integers(2, 5)), 3, padding="same")(x))
            branch = normed(K.Conv2D(width, 3, padding="same", use_bias=rng.random() < 0.5)(branch))
            x = K.ReLU()(K.Add()([x, branch] if rng.random() < 0.5 else [branch, x]))
        elif what == 2 and min(x.shape[1:3]) > 3:
            pool = K.MaxPooling2D if rng.random() < 0.5 else K.AveragePooling2D
            x = pool(2, 2, padding=str(rng.choice(["same", "valid"])))(x)
        elif what == 3:
            x = K.DepthwiseConv2D(3, padding="same", activation="relu")(conv(x, 3, 1))
        else:
            x = conv(K.ZeroPadding2D(1)(K.LeakyReLU()(conv(x, 4, 1))), 3, 3)
    x = K.Flatten()(x) if rng.random() < 0.6 else K.GlobalAveragePooling2D()(x)
    x = K.Dense(int(rng.integers(2, 7)), activation="relu")(x)
    return tf.keras.Model(inputs, K.Dense(3, activation="softmax" if rng.random() < 0.2 else None)(x))


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_smaller_net_says_what_the_net_with_zeros_says(name, seed):
    classifier = Classifier(backbone=name)
    state = with_random_zeros(classifier, lived_in(classifier, seed), seed)
    small, images = export(classifier, state), images_for(classifier)
    wanted, got = classifier.logits(state, images), small.classifier.logits(small.state, images)
    assert small.exact
    assert np.abs(wanted - got).max() < tolerance(wanted)
    assert small.classifier.operations(small.state, 1) < 0.9 * classifier.operations(state, 1)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0, 1.5))
def test_any_small_net_with_any_zeros_is_exported_exactly(seed, share):
    tf.keras.backend.clear_session()
    model = small_net(seed)
    classifier = Classifier(backbone=Architecture.of(model), num_classes=3)
    state = with_random_zeros(classifier, lived_in(classifier, seed), seed, share)
    small, images = export(classifier, state), images_for(classifier, 3, seed)
    wanted, got = said(classifier, state, images), said(small.classifier, small.state, images)
    assert np.abs(wanted - got).max() < tolerance(wanted)
    assert all(stays.any() for stays in small.removal.kept.values())  # nobody loses the last filter


def said(classifier, state, images):
    """Logits, without building a graph for each of many small nets."""
    model = classifier.model()
    values = state.part("weights") | state.part("statistics")
    for variable in model.variables:
        variable.assign(values[variable.path])
    return np.asarray(model(images, training=False))


def test_a_net_without_zeros_is_exported_as_it_is():
    for name in NETS:
        classifier = Classifier(backbone=name)
        state = lived_in(classifier)
        small = export(classifier, state)
        for part in ("weights", "statistics"):
            assert all(np.array_equal(a, small.state.part(part)[n]) for n, a in state.part(part).items())
        assert small.removal.kept.keys() == {node.space for node in graph_of(classifier).nodes.values()}
        assert not small.blocks


def test_a_threshold_of_zero_removes_nothing():
    classifier = Classifier(backbone="lenet")
    method = StructuredSparsity(classifier=classifier, threshold=Threshold(relative=0.0))
    state = method.begin(lived_in(classifier), 1)
    pruned = method.prune(state)
    assert all(mask.all() for mask in pruned.part("masks").values())
    small = export(classifier, pruned)
    assert all(np.array_equal(a, small.state.part("weights")[n]) for n, a in state.part("weights").items())


def test_parameters_and_multiply_adds_are_those_of_the_closed_formula():
    classifier = Classifier(backbone="lenet")
    state = lived_in(classifier)
    weights = state.part("weights")
    weights["conv_1/kernel"] = weights["conv_1/kernel"] * (np.arange(20) < 7)
    weights["conv_2/kernel"] = weights["conv_2/kernel"] * (np.arange(50) % 5 == 0)
    weights["dense_1/kernel"] = weights["dense_1/kernel"] * (np.arange(500) >= 470)
    small = export(classifier, state.with_part("weights", {n: w.astype("f4") for n, w in weights.items()}))
    a, b, c = 7, 10, 30
    assert sum(w.size for w in small.state.part("weights").values()) == (
        (25 + 1) * a + (25 * a + 1) * b + (16 * b + 1) * c + (c + 1) * 10
    )
    products = 24 * 24 * 25 * a + 8 * 8 * 25 * a * b + 16 * b * c + c * 10
    pools = 24 * 24 * a + 8 * 8 * b
    assert sum(forward_macs(small.classifier.model()).values()) == products + pools
    assert small.classifier.operations(small.state, 2) == 6 * (products + pools)
    # biases of conv_1's dead filters go to conv_2; of conv_2's to dense_1; of dense_1 those that say more than 0
    alive = int((weights["dense_1/bias"][:470] > 0).sum())
    assert small.removal.folded == {"conv_2": 13, "dense_1": 40, "logits": alive}


@pytest.mark.parametrize("name", NETS)
def test_the_smaller_net_survives_its_file(name, tmp_path):
    classifier = Classifier(backbone=name)
    state = with_random_zeros(classifier, lived_in(classifier), 3)
    small, images = export(classifier, state), images_for(classifier)
    path = export_keras(tmp_path / "small.keras", small.classifier, small.state)
    whole = export_keras(tmp_path / "whole.keras", classifier, state)
    assert path.stat().st_size < whole.stat().st_size
    wanted = small.classifier.logits(small.state, images)
    assert np.abs(np.asarray(import_keras(path)(images, training=False)) - wanted).max() < tolerance(wanted)
    back = state_from_keras(path, small.classifier)
    assert all(np.array_equal(back.arrays[n], a) for n, a in small.state.arrays.items())


@pytest.mark.parametrize("name", NETS)
def test_a_net_of_nothing_but_zeros_keeps_one_filter_everywhere(name):
    classifier = Classifier(backbone=name)
    state = lived_in(classifier)
    weights = {n: np.zeros_like(w) if n.endswith("kernel") else w for n, w in state.part("weights").items()}
    state = state.with_part("weights", weights)
    small, images = export(classifier, state), images_for(classifier)
    sizes = {n.name: n.channels for n in graph_of(small.classifier).weighted()}
    assert sizes.pop("logits") == 10
    assert set(sizes.values()) == {1}
    wanted = classifier.logits(state, images)
    assert np.abs(wanted - small.classifier.logits(small.state, images)).max() < tolerance(wanted)


def test_masks_of_a_method_that_drops_all_filters_leave_the_strongest():
    classifier = Classifier(backbone="lenet")
    method = StructuredSparsity(
        classifier=classifier, penalties=(GroupLasso(dense=True),), threshold=Threshold(relative=1.0, gap=1.0)
    )
    small = export(classifier, method.prune(method.begin(lived_in(classifier), 1)))
    assert {n.name: n.channels for n in graph_of(small.classifier).weighted()} == {
        "conv_1": 1, "conv_2": 1, "dense_1": 1, "logits": 10,
    }  # fmt: skip


def test_dropped_blocks_leave_their_constant_behind_and_are_not_computed():
    classifier = Classifier(backbone="resnet20")
    state = lived_in(classifier)
    weights, gone = state.part("weights"), ("stage_1_block_2", "stage_2_block_1", "stage_3_block_3")
    for block in gone:
        for place in (1, 2):
            weights[f"{block}_{place}_conv/kernel"] = np.zeros_like(weights[f"{block}_{place}_conv/kernel"])
    state = state.with_part("weights", weights)
    small, images = export(classifier, state), images_for(classifier)
    names = {node.name for node in graph_of(small.classifier).nodes.values()}
    assert small.blocks == tuple(f"{block}_add" for block in gone)
    assert not any(name.startswith(f"{block}_{place}_") for name in names for block in gone for place in (1, 2))
    # behind an identity the constant needs a layer of its own; a projection's BatchNorm takes it
    assert {"stage_1_block_2_add_constant", "stage_3_block_3_add_constant"} <= names
    assert "stage_2_block_1_add_constant" not in names
    wanted = classifier.logits(state, images)
    assert np.abs(wanted - small.classifier.logits(small.state, images)).max() < tolerance(wanted)
    for block in gone:  # a branch that says nothing leaves nothing
        moved = state.part("weights")
        moved[f"{block}_2_norm/beta"] = moved[f"{block}_2_norm/gamma"] = np.zeros_like(moved[f"{block}_2_norm/beta"])
        state = state.with_part("weights", moved)
    names = {node.name for node in graph_of(export(classifier, state).classifier).nodes.values()}
    assert not any(name.endswith("_constant") for name in names)


def test_an_add_keeps_a_channel_that_one_of_its_inputs_needs():
    classifier = Classifier(backbone="resnet8")
    state = lived_in(classifier)
    weights = state.part("weights")
    for name, alive in (("stem_conv", range(4, 16)), ("stage_1_block_1_2_conv", range(8))):
        kernel = np.zeros_like(weights[f"{name}/kernel"])
        kernel[..., list(alive)] = weights[f"{name}/kernel"][..., list(alive)]
        weights[f"{name}/kernel"] = kernel
    small = export(classifier, state.with_part("weights", weights))
    assert small.removal.kept["stem_conv"].all()  # 0 to 3 live in the branch, 8 to 15 in the shortcut
    weights["stage_1_block_1_2_conv/kernel"][..., :4] = 0
    assert not weights["stem_conv/kernel"][..., :4].any()
    weights["stem_norm/beta"][:4] = weights["stem_norm/gamma"][:4] = 0
    weights["stage_1_block_1_2_norm/beta"][:4] = -1
    weights["stage_1_block_1_2_norm/gamma"][:4] = 0
    state = state.with_part("weights", weights)
    assert export(classifier, state).removal.kept["stem_conv"].tolist() == [False] * 4 + [True] * 12


def test_a_dead_filter_with_a_bias_before_a_padded_layer_is_kept_or_folded_and_either_is_said():
    classifier = Classifier(backbone="cifarnet")
    state = lived_in(classifier)
    weights = state.part("weights")
    weights["conv_1/kernel"] = weights["conv_1/kernel"] * (np.arange(64) >= 20).astype("f4")
    weights["conv_1/bias"][:20] = np.where(np.arange(20) < 5, 0.5, -0.5)  # behind ReLU five say 0.5, fifteen 0
    state = state.with_part("weights", weights)
    kept, folded = (export(classifier, state, borders=borders) for borders in ("keep", "fold"))
    assert kept.exact
    assert kept.removal.held == {"conv_1": 5}
    assert kept.removal.kept["conv_1"].sum() == 44 + 5
    assert not folded.exact
    assert folded.removal.approximate == ("conv_2",)
    assert folded.removal.folded["conv_2"] == 5
    assert folded.removal.kept["conv_1"].sum() == 44
    images = images_for(classifier)
    inside = [middle(c, s.state if s else state, images) for c, s in ((classifier, None), (folded.classifier, folded))]
    assert np.abs(inside[0] - inside[1])[:, 2:-2, 2:-2].max() < tolerance(inside[0])  # a 5 x 5 filter sees 2 beyond
    assert np.abs(inside[0] - inside[1])[:, 0].max() > 0.01


def middle(classifier, state, images):
    """What conv_2 says."""
    model = classifier.model()
    for variable in model.variables:
        variable.assign(state.part("weights")[variable.path])
    return np.asarray(tf.keras.Model(model.inputs, model.get_layer("conv_2").output)(images))


def test_the_smaller_net_can_be_trained_on_and_pruned_again():
    classifier = Classifier(backbone="resnet8", shape=(8, 8, 3))
    state = with_random_zeros(classifier, lived_in(classifier), 5)
    small = export(classifier, state)
    rng = np.random.default_rng(1)
    batch = images_for(small.classifier, 16), rng.integers(0, 10, 16)
    state, losses = small.state, []
    for _ in range(12):
        found = small.classifier.gradients(state, batch, rng)
        state = small.classifier.apply(state, found)
        losses.append(found.loss)
    assert losses[-1] < losses[0]
    method = StructuredSparsity(classifier=small.classifier, threshold=Threshold(relative=0.5, gap=1.0))
    pruned = method.prune(method.begin(state, 1))
    again, images = export(small.classifier, pruned), images_for(small.classifier)
    wanted = small.classifier.logits(pruned, images)
    assert np.abs(wanted - again.classifier.logits(again.state, images)).max() < tolerance(wanted)


def refused():
    """Models with a layer that cannot be exported, by what the refusal says."""

    def model(middle):
        x = inputs = tf.keras.Input((8, 8, 2))
        x = middle(K.Conv2D(4, 3, padding="same", name="first")(x))
        return tf.keras.Model(inputs, K.Dense(3)(K.Flatten()(x)))

    shared = K.Conv2D(4, 3, padding="same", name="twice")
    nested = tf.keras.Sequential([tf.keras.Input((8, 8, 4)), K.Conv2D(3, 3)], name="inner")
    return {
        "'joined' of kind Concatenate": model(lambda x: K.Concatenate(name="joined")([x, x])),
        "'scaled' of kind LayerNormalization": model(K.LayerNormalization(name="scaled")),
        "'grouped' of kind Conv2D cannot be exported: got groups=2": model(K.Conv2D(4, 3, groups=2, name="grouped")),
        "'shares' of kind Conv2D cannot be exported: activation 'softmax'": model(
            K.Conv2D(4, 3, activation="softmax", name="shares")
        ),
        "'twice' of kind Conv2D cannot be exported: it is used more than once": model(lambda x: shared(shared(x))),
        "'inner' of kind Sequential": model(nested),
        "'wide' of kind DepthwiseConv2D cannot be exported: got depth_multiplier=2": model(
            K.DepthwiseConv2D(3, depth_multiplier=2, name="wide")
        ),
        "'sum' of kind Add cannot be exported: expected inputs of one shape": model(
            lambda x: K.Add(name="sum")([x, K.GlobalAveragePooling2D(keepdims=True)(x)])
        ),
    }


def test_a_model_with_a_layer_that_cannot_be_exported_is_refused_by_that_layer_s_name():
    for said_so, model in refused().items():
        with pytest.raises(ValueError, match=said_so):
            read_graph(model)
        classifier = Classifier(backbone=Architecture.of(model), num_classes=3)
        with pytest.raises(ValueError, match=said_so):
            export(classifier, classifier.build(1))


def test_a_sequential_model_is_exported_like_a_functional_one():
    model = tf.keras.Sequential(
        [tf.keras.Input((8, 8, 1)), K.Conv2D(6, 3, name="c"), K.ReLU(), K.Flatten(), K.Dense(3, name="d")]
    )
    classifier = Classifier(backbone=Architecture.of(model), num_classes=3)
    state = lived_in(classifier)
    weights = state.part("weights")
    weights["c/kernel"] = weights["c/kernel"] * (np.arange(6) > 2).astype("f4")
    state = state.with_part("weights", weights)
    small, images = export(classifier, state), images_for(classifier)
    assert small.removal.kept["c"].sum() == 3
    wanted = classifier.logits(state, images)
    assert np.abs(wanted - small.classifier.logits(small.state, images)).max() < tolerance(wanted)


def with_dropout():
    """A little net with a BatchNorm and two layers of Dropout, as a classifier."""
    model = tf.keras.Sequential([
        tf.keras.Input((8, 8, 1)), K.Conv2D(6, 3, name="c"), K.BatchNormalization(name="n"), K.Dropout(0.5, name="o"),
        K.Flatten(name="f"), K.Dropout(0.3, name="p"), K.Dense(3, name="d"),
    ])  # fmt: skip
    return Classifier(backbone=Architecture.of(model), num_classes=3)


def test_a_net_with_dropout_is_exported_learns_from_its_rng_alone_and_survives_its_file(tmp_path):
    classifier = with_dropout()
    state = lived_in(classifier)
    assert not [name for name in state.arrays if "seed" in name]
    weights = state.part("weights")
    weights["c/kernel"] = weights["c/kernel"] * (np.arange(6) > 2).astype("f4")
    state = state.with_part("weights", weights)
    small, images = export(classifier, state), images_for(classifier)
    assert str(small.removal) == "removed 3 of 6 filters: c 3 of 6"
    wanted = classifier.logits(state, images)
    assert np.abs(wanted - small.classifier.logits(small.state, images)).max() < tolerance(wanted)
    batch = images, np.arange(6) % 3
    one, same, other = (classifier.gradients(state, batch, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not np.array_equal(one.arrays[0], other.arrays[0])  # others are dropped
    assert len(one.statistics) == 2
    path = export_keras(tmp_path / "small.keras", small.classifier, small.state)
    back = state_from_keras(path, small.classifier)
    assert all(np.array_equal(back.arrays[n], a) for n, a in small.state.arrays.items())
    tf.keras.backend.clear_session()
    again = Classifier(backbone=Architecture.of(classifier.model()), num_classes=3)
    assert np.array_equal(again.logits(again.restored(classifier.written(state), 1), images), wanted)


def test_a_state_of_another_net_and_what_is_no_classifier_are_refused_with_what_to_give_instead(tmp_path):
    digits, lenet = Classifier(), Classifier(backbone="lenet")
    plain = Classifier(backbone="resnet8")
    with pytest.raises(
        ValueError, match=r"another net than 'digits': missing conv_1/kernel, .* and 2 more; extra stem"
    ):
        export(digits, plain.build(1))
    with pytest.raises(ValueError, match=r"another net than 'lenet': of another shape conv_1/kernel, conv_1/bias"):
        export(lenet, digits.build(1))
    with pytest.raises(ValueError, match="another net than 'lenet'"):
        export_keras(tmp_path / "model.keras", lenet, digits.build(1))
    with pytest.raises(TypeError, match=r"got Functional.*Classifier\(backbone=Architecture.of\(model\)"):
        export(digits.model(), digits.build(1))
    with pytest.raises(TypeError, match=r"got StructuredSparsity.*method\.classifier"):
        export(StructuredSparsity(classifier=digits), digits.build(1))


def test_how_many_filters_each_layer_keeps_is_said_in_a_line():
    classifier = Classifier()
    state = classifier.build(1)
    assert str(export(classifier, state)) == (
        "removed none of 112 filters: conv_1 16 of 16, conv_2 32 of 32, dense_1 64 of 64"
    )
    weights = state.part("weights")
    weights["conv_1/kernel"][..., :4] = 0
    weights["conv_1/bias"][:1] = 0.5  # behind a padded convolution one of the four cannot go
    state = state.with_part("weights", weights)
    assert str(export(classifier, state).removal) == (
        "removed 3 of 112 filters: conv_1 13 of 16, conv_2 32 of 32, dense_1 64 of 64; "
        "dead, but kept for the sake of padded borders: 1"
    )
    assert str(export(classifier, state, borders="fold").removal) == (
        "removed 4 of 112 filters: conv_1 12 of 16, conv_2 32 of 32, dense_1 64 of 64; "
        "not exact beside the border at conv_2"
    )


def test_a_layer_of_python_code_is_refused_by_its_name():
    def of(layer):
        return tf.keras.Sequential([tf.keras.Input((8, 8, 1)), layer, K.Flatten(), K.Dense(3)])

    twice = K.Lambda(lambda x: 2 * x, name="twice")
    inner = tf.keras.Sequential([tf.keras.Input((8, 8, 1)), K.Lambda(lambda x: x, name="within")])
    for layer, said_so in (
        (twice, "'twice' is a Lambda"), (inner, "'within' is a Lambda"),
        (K.Conv2D(2, 3, activation=lambda x: 2 * x, name="odd"), "'odd' has a lambda for an activation"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=said_so):
            Architecture.of(of(layer))
    with pytest.raises(ValueError, match="'twice' of kind Lambda cannot be exported"):
        read_graph(of(twice))
