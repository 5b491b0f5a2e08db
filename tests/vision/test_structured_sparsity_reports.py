"""What is reported is what is there."""

import sys

import numpy as np
import pytest
from scipy import sparse

from wirelesslab.vision.classification import Classifier
from wirelesslab.vision.datasets import digits
from wirelesslab.vision.keras_files import export_keras
from wirelesslab.vision.structured_sparsity import (
    GroupLasso,
    Left,
    ProductShape,
    ProductTimes,
    StructuredSparsity,
    Threshold,
    csr_pays_at,
    export,
    layer_products,
    measure,
    random_products,
    report,
    time_products,
)
from wirelesslab.vision.structured_sparsity.product_kernels import csr_times
from wirelesslab.vision.structured_sparsity.products import interleaved, kernel_matrix, without_zero_lines
from wirelesslab.vision.structured_sparsity.reports import layers_left
from wirelesslab.vision.update_rules import UpdateRule

BASE = Classifier(update=UpdateRule(rate=0.05), epochs=2)


@pytest.fixture(scope="module")
def sparse_digits():
    """A method, its states at each stage, and data."""
    data = digits(3)
    method = StructuredSparsity(
        classifier=BASE, penalties=(GroupLasso(),), epochs=1, tuning_epochs=1, threshold=Threshold(relative=0.8, gap=1)
    )
    baseline = BASE.fit(BASE.build(1), data, 1).state
    learned = method.fit_stage(method.begin(baseline, 16), data, 1).state
    return method, baseline, learned, method.fit(learned, data, 1).state, data


def test_the_report_counts_what_the_smaller_net_has(sparse_digits):
    method, baseline, learned, tuned, data = sparse_digits
    found, small = report(method, data.only("validation"), baseline=baseline, learned=learned, tuned=tuned)
    assert list(found.accuracy) == ["baseline", "learned", "pruned", "tuned", "exported"]
    assert found.accuracy["exported"] == pytest.approx(found.accuracy["tuned"], abs=1 / 359)
    sizes = {name: w.shape for name, w in small.state.part("weights").items()}
    for layer in found.layers:
        assert sizes[f"{layer.name}/kernel"][-1] == layer.filters.now
        assert layer.parameters.now == sum(int(np.prod(s)) for n, s in sizes.items() if n.startswith(f"{layer.name}/"))
    assert found.parameters == Left(
        sum(layer.parameters.now for layer in found.layers), sum(layer.parameters.before for layer in found.layers)
    )
    assert found.macs.now * 3 == small.classifier.operations(small.state, 1)
    assert found.macs.before * 3 == BASE.operations(baseline, 1)
    assert found.macs.share < 1 > found.file_bytes.share
    dropped = {cut.layer: cut.dropped for cut in found.cuts}
    assert {
        layer.name: layer.filters.before - layer.filters.now for layer in found.layers if layer.name in dropped
    } == {name: number - found.held.get(name, 0) for name, number in dropped.items()}
    assert any("filters of conv_2" in line for line in found.lines())


def test_shapes_are_counted_among_channels_that_are_still_made_and_lost_blocks_have_nothing():
    lenet = Classifier(backbone="lenet")
    state = lenet.build(1)
    weights = state.part("weights")
    weights["conv_1/kernel"] = weights["conv_1/kernel"] * (np.arange(20) < 8).astype("f4")
    weights["conv_2/kernel"][:2] = 0  # ten of 25 places
    state = state.with_part("weights", weights)
    conv_2 = layers_left(lenet, state, export(lenet, state))[1]
    assert (conv_2.filters, conv_2.channels, conv_2.shapes) == (Left(50, 50), Left(8, 20), Left(15 * 8, 500))
    residual = Classifier(backbone="resnet8")
    state = residual.build(1)
    weights = state.part("weights")
    for place in (1, 2):
        weights[f"stage_3_block_1_{place}_conv/kernel"] = np.zeros_like(weights[f"stage_3_block_1_{place}_conv/kernel"])
    state = state.with_part("weights", weights)
    small = export(residual, state)
    gone = [one.name for one in layers_left(residual, state, small) if not one.macs.now]
    assert gone == ["stage_3_block_1_1_conv", "stage_3_block_1_2_conv"]
    assert small.blocks == ("stage_3_block_1_add",)


def test_a_product_without_zero_lines_is_the_product():
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((6, 9)).astype("f4") * (rng.random((6, 1)) > 0.4) * (rng.random(9) > 0.4)
    small, rows, columns = without_zero_lines(matrix.astype("f4"))
    pixels = rng.standard_normal((9, 4)).astype("f4")
    assert np.allclose((matrix @ pixels)[rows], small @ pixels[columns], atol=1e-6)
    assert not np.delete(matrix @ pixels, rows, axis=0).any()
    assert without_zero_lines(np.zeros((3, 4), "f4"))[0].shape == (1, 1)


def test_the_matrix_of_a_kernel_multiplies_pixels_as_the_convolution_does():
    from wirelesslab.tensorflow import tf

    rng = np.random.default_rng(2)
    kernel, image = rng.standard_normal((3, 3, 2, 4)).astype("f4"), rng.standard_normal((1, 6, 5, 2)).astype("f4")
    places = [image[0, i : i + 3, j : j + 3].ravel() for i in range(4) for j in range(3)]
    wanted = tf.nn.conv2d(image, kernel, 1, "VALID").numpy()[0].reshape(12, 4)
    assert np.allclose((kernel_matrix(kernel) @ np.array(places).T).T, wanted, atol=1e-5)


def test_structured_and_unstructured_kernels_keep_equally_many_weights():
    found = random_products(ProductShape(filters=20, places=50, pixels=8), 0.1, 1, runs=1)
    assert found.kept == found.csr_kept == pytest.approx(0.1, abs=0.01)
    assert min(found.dense, found.structured, found.gathered, found.csr, found.csr_by_four) > 0
    with pytest.raises(ValueError, match=r"unstructured: got shape \(2, 3\)"):
        time_products(np.ones((2, 2), "f4"), np.ones((2, 3), "f4"), np.ones((2, 1), "f4"))


def test_products_of_a_net_compare_equal_numbers_of_weights(sparse_digits):
    _, baseline, _, tuned, _ = sparse_digits
    found = layer_products(BASE, baseline, tuned, runs=1)
    assert list(found) == ["conv_1", "conv_2"]
    assert all(one.kept == one.csr_kept < 1 for one in found.values())


def test_csr_pays_where_its_time_crosses_that_of_the_dense_product():
    def at(*ratios):
        return [ProductTimes(0, 1.0, 1, 1, ratio, 0, ratio / 2) for ratio in ratios]

    assert csr_pays_at([0.1, 0.5], at(0.4, 2.0)) == pytest.approx(0.1 * 5 ** (np.log(2.5) / np.log(5)))
    assert csr_pays_at([0.5, 0.1], at(2.0, 0.4)) == csr_pays_at([0.1, 0.5], at(0.4, 2.0))
    assert csr_pays_at([0.1, 0.5], at(1.2, 2.0)) == 0.0
    assert csr_pays_at([0.1, 0.5], at(0.2, 0.9)) == 1.0
    assert csr_pays_at([0.1, 0.5], at(0.8, 4.0), "csr_by_four") == csr_pays_at([0.1, 0.5], at(0.4, 2.0))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 1.0])
def test_scattered_weights_four_at_a_time_give_the_product_that_scipy_gives(share):
    rng = np.random.default_rng(4)
    matrix = sparse.csr_matrix(rng.standard_normal((7, 30)).astype("f4") * (rng.random((7, 30)) < share))
    pixels = rng.standard_normal((30, 5)).astype("f4")
    found = csr_times(matrix.indptr, matrix.indices, matrix.data, pixels)
    assert np.allclose(found, matrix @ pixels, atol=1e-5)  # float32, at most 30 terms near 1


def test_every_way_comes_once_in_a_turn_and_first_in_turn():
    calls = []
    times = interleaved({name: lambda name=name: calls.append(name) or sum(range(60_000)) for name in "abc"}, 3)
    assert {name: len(turns) for name, turns in times.items()} == dict.fromkeys("abc", 3)
    assert "".join(calls[6:]) == "abcbcacab"  # after two calls each, which tell how often to repeat


def test_nets_are_timed_in_a_process_of_their_own(tmp_path, monkeypatch):
    state = BASE.build(1)
    files = {name: export_keras(tmp_path / f"{name}.keras", BASE, state) for name in ("one", "two")}
    modules = set(sys.modules)
    (found,) = measure(files, (4,), runs=2)
    assert found.batch == 4
    assert set(found.seconds) == {"one", "two"}
    assert found.speed_up("one", "two") == found.seconds["one"] / found.seconds["two"]
    assert set(sys.modules) == modules
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="the measuring process ended with 1: it said nothing"):
        measure(files, (4,), runs=2)
