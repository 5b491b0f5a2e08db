"""Group lasso: its norms, its slope, its proximal step, and where it cuts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.structured_sparsity.export import export
from wirelesslab.vision.structured_sparsity.graph import graph_of
from wirelesslab.vision.structured_sparsity.groups import (
    AXES,
    GroupLasso,
    group_norms,
    penalty,
    shrunk,
    slope,
    what_is_left,
)
from wirelesslab.vision.structured_sparsity.thresholds import Threshold, cut_groups

KINDS = sorted(AXES)


def kernel_of(seed: int, shape=(3, 2, 4, 5)):
    return np.random.default_rng(seed).standard_normal(shape)


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6), amount=st.floats(0, 8))
def test_the_proximal_step_shortens_each_group_by_the_amount_or_to_nothing_and_keeps_its_direction(kind, seed, amount):
    kernel = kernel_of(seed)
    before, after = group_norms(kernel, kind), group_norms(shrunk(kernel, kind, amount), kind)
    assert np.allclose(before - after, np.minimum(amount, before), rtol=1e-10, atol=1e-12)
    assert np.array_equal(after == 0, before <= amount)
    products = (kernel * shrunk(kernel, kind, amount)).sum(axis=AXES[kind], keepdims=True)
    assert np.allclose(products, before * after, rtol=1e-10)  # parallel, by Cauchy and Schwarz


@pytest.mark.parametrize("kind", KINDS)
def test_the_proximal_step_is_the_minimum_of_its_problem(kind):
    kernel, amount, rng = kernel_of(1), 1.3, np.random.default_rng(2)
    best = shrunk(kernel, kind, amount)

    def cost(w):
        return 0.5 * np.square(w - kernel).sum() + amount * penalty(w, kind)

    for size in (1e-3, 1e-1, 1.0):
        assert cost(best + size * rng.standard_normal(kernel.shape)) > cost(best)


@pytest.mark.parametrize("kind", KINDS)
def test_the_slope_is_the_derivative_of_the_penalty(kind):
    kernel, found, h = kernel_of(3), slope(kernel_of(3), kind), 1e-4
    for place in np.random.default_rng(4).choice(kernel.size, 12, replace=False):
        step = np.zeros(kernel.size)
        step[place] = h
        step = step.reshape(kernel.shape)
        numeric = (penalty(kernel + step, kind) - penalty(kernel - step, kind)) / (2 * h)
        assert found.ravel()[place] == pytest.approx(numeric, abs=1e-6)  # central differences err by h^2


def test_the_slope_at_a_group_of_zeros_is_zero_and_a_unit_vector_elsewhere():
    kernel = kernel_of(5)
    kernel[..., 2] = 0
    found = slope(kernel, "filters")
    assert not found[..., 2].any()
    assert np.allclose(np.sqrt(np.square(found).sum(axis=(0, 1, 2))), [1, 1, 0, 1, 1])


@pytest.mark.parametrize("kind", KINDS)
@given(factor=st.floats(-100, 100), seed=st.integers(0, 1000))
def test_the_penalty_grows_with_the_size_of_the_weights(kind, factor, seed):
    kernel = kernel_of(seed)
    assert penalty(factor * kernel, kind) == pytest.approx(abs(factor) * penalty(kernel, kind), rel=1e-10)


def test_filters_and_shapes_are_rows_and_columns_of_the_matrix_that_a_convolution_multiplies_by():
    kernel = kernel_of(6)
    matrix = kernel.reshape(-1, kernel.shape[-1]).T  # n x (m k c)
    assert penalty(kernel, "filters") == pytest.approx(np.linalg.norm(matrix, axis=1).sum())
    assert penalty(kernel, "shapes") == pytest.approx(np.linalg.norm(matrix, axis=0).sum())
    assert penalty(kernel, "depth") == pytest.approx(np.linalg.norm(matrix))
    by_hand = sum(np.linalg.norm(kernel[:, :, c, n]) for c in range(4) for n in range(5))
    assert penalty(kernel, "filters_2d") == pytest.approx(by_hand)
    assert penalty(kernel, "channels") == pytest.approx(sum(np.linalg.norm(kernel[:, :, c]) for c in range(4)))


def test_a_dense_layer_has_outputs_for_filters_and_inputs_for_channels_and_shapes():
    kernel = kernel_of(7, (4, 5))
    assert np.allclose(group_norms(kernel, "filters"), np.linalg.norm(kernel, axis=0)[None])
    for kind in ("channels", "shapes"):
        assert np.allclose(group_norms(kernel, kind), np.linalg.norm(kernel, axis=1)[:, None])


def test_depth_spares_the_first_convolution_and_projections_and_filters_spare_the_classes():
    residual = graph_of(Classifier(backbone="resnet8"))
    inside = [f"stage_{stage}_block_1_{place}_conv" for stage in (1, 2, 3) for place in (1, 2)]
    assert list(GroupLasso(kind="depth").strengths(residual)) == inside
    assert [block.add for block in residual.blocks] == [f"stage_{stage}_block_1_add" for stage in (1, 2, 3)]
    lenet = graph_of(Classifier(backbone="lenet"))
    assert list(GroupLasso(kind="filters", dense=True).strengths(lenet)) == ["conv_1", "conv_2", "dense_1"]
    assert list(GroupLasso(kind="channels", dense=True).strengths(lenet)) == ["conv_2", "dense_1", "logits"]
    scaled = GroupLasso(strength=0.5, multipliers=(("conv_1", 0.0), ("conv_*", 3.0))).strengths(lenet)
    assert scaled == {"conv_1": 0.0, "conv_2": 1.5}


def test_a_lasso_that_fits_no_layer_is_refused():
    lenet = graph_of(Classifier(backbone="lenet"))
    with pytest.raises(ValueError, match="no layer with groups of kind 'depth'; depth needs shortcuts"):
        GroupLasso(kind="depth").strengths(lenet)
    with pytest.raises(ValueError, match="'convv' fits no layer with 'filters', expected one of conv_1, conv_2"):
        GroupLasso(multipliers=(("convv", 2.0),)).strengths(lenet)
    with pytest.raises(ValueError, match="did you mean 'filters'"):
        GroupLasso(kind="filter")


def test_a_cut_is_made_at_a_gap_below_the_share_and_nowhere_else():
    kept, gap = Threshold().cut(np.array([5.0, 0.004, 3.0, 0.002]))
    assert kept.tolist() == [True, False, True, False]
    assert gap == pytest.approx(750)
    slope_of_norms = np.geomspace(1e-3, 1, 40)  # neighbours differ by a fifth: nothing to see
    assert Threshold().cut(slope_of_norms)[0].all()
    assert Threshold(gap=1.1).cut(slope_of_norms)[0].sum() == 27  # as many as reach 1e-2 of the largest


@given(norms=st.lists(st.floats(0, 1e3), min_size=1, max_size=30), relative=st.floats(0, 1), gap=st.floats(1, 100))
def test_a_cut_leaves_one_group_and_never_keeps_a_smaller_one_than_it_drops(norms, relative, gap):
    kept, ratio = Threshold(relative=relative, gap=gap).cut(np.array(norms))
    assert kept.any()
    dropped = [n for n, stays in zip(norms, kept, strict=True) if not stays]
    if dropped:
        least = min(n for n, stays in zip(norms, kept, strict=True) if stays)
        assert least > max(dropped)
        assert ratio >= gap


def test_a_dead_layer_takes_its_branch_along():
    classifier = Classifier(backbone="resnet8", shape=(8, 8, 3))
    weights = classifier.build(1).part("weights")
    weights["stage_2_block_1_1_conv/kernel"] = weights["stage_2_block_1_1_conv/kernel"] * np.float32(1e-5)
    cuts = cut_groups(graph_of(classifier), weights, (GroupLasso(kind="depth"),), Threshold())
    gone = [name for name, mask in cuts.masks.items() if not mask.any()]
    assert gone == ["stage_2_block_1_1_conv/kernel", "stage_2_block_1_2_conv/kernel"]
    assert [cut.layer for cut in cuts.cuts if cut.dropped] == ["stage_2_block_1_1_conv"]


def test_what_acts_on_a_filter_alone_can_belong_to_its_group():
    classifier = Classifier(backbone="resnet8", shape=(8, 8, 3))
    graph, weights = graph_of(classifier), classifier.build(1).part("weights")
    stem = GroupLasso(along=True, strength=0.5).targets(graph, weights)[0]
    assert stem.along == ("stem_norm/gamma", "stem_norm/beta")
    weights["stem_norm/beta"][:] = np.arange(16)
    kernel, scale, shift = (weights[name] for name in (stem.kernel, *stem.along))
    for filter_ in (0, 5):
        whole = np.concatenate([kernel[..., filter_].ravel(), [scale[filter_], shift[filter_]]])
        assert stem.norms(weights).ravel()[filter_] == pytest.approx(np.linalg.norm(whole), rel=1e-6)
        shorter = stem.scaled(weights, what_is_left(stem.norms(weights), 1.5))
        now = np.concatenate([a[..., filter_].ravel() for a in shorter.values()])
        assert np.linalg.norm(now) == pytest.approx(max(0, np.linalg.norm(whole) - 1.5), abs=1e-6)
    depth = GroupLasso(kind="depth", along=True).targets(graph, weights)[1]
    parts = [weights[name].ravel() for name in (depth.kernel, *depth.along)]
    assert depth.norms(weights).item() == pytest.approx(np.linalg.norm(np.concatenate(parts)), rel=1e-6)
    lenet = Classifier(backbone="lenet")
    (one, _) = GroupLasso(along=True).targets(graph_of(lenet), lenet.build(1).part("weights"))
    assert one.along == ("conv_1/bias",)
    with pytest.raises(ValueError, match="a bias is of one filter"):
        GroupLasso(kind="shapes", along=True)


def test_a_filter_or_block_that_goes_with_its_shift_leaves_nothing_behind():
    classifier = Classifier(backbone="resnet8", shape=(8, 8, 3))
    state = classifier.build(1)
    weights = {n: w + np.float32(0.3) if n.endswith("beta") else w for n, w in state.part("weights").items()}
    for name in ("stem_conv/kernel", "stem_norm/gamma", "stem_norm/beta"):
        weights[name][..., :5] *= np.float32(1e-5)
    for name in [n for n in weights if n.startswith("stage_2_block_1_2")]:
        weights[name] = weights[name] * np.float32(1e-5)
    both = (GroupLasso(along=True), GroupLasso(kind="depth", along=True))
    cuts = cut_groups(graph_of(classifier), weights, both, Threshold())
    small = export(classifier, state.with_part("weights", cuts.masked(weights)))
    assert small.blocks == ("stage_2_block_1_add",)
    assert small.exact
    assert not small.removal.held
    assert not any(name.endswith("constant") for name in graph_of(small.classifier).nodes)
    # the stem's five dead filters stay, since the block behind adds its own channels to them; what they say is 0
    assert not cuts.masked(weights)["stem_norm/beta"][:5].any()
