"""AMP unfolded: untrained it is AMP, two engines compute the same, and the symmetries of the cell hold."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import tensorflow as tf

from tests.mmtc.cells import LIGHT, OVERLOADED, TINY, frames_of
from tests.references import unfolded as oracle
from wirelesslab.mmtc import DelayedAndOffset, PathLoss, Scenario, UniformGainDb, unfolded_graph, unfolded_kernels
from wirelesslab.mmtc.detectors import AMP, MAMPNet
from wirelesslab.mmtc.gains import GainPrior
from wirelesslab.mmtc.unfolded import FAINT, OUT_OF_PLAY, Architecture
from wirelesslab.mmtc.weight_files import Network
from wirelesslab.rng import stream

ENGINES = ["compiled", "tensorflow"]
CONTROLS = ["shared", "layer", "device", "context"]
REFINEMENTS = ["none", "block", "across", "covariance"]
SHIPPED = ["known", "distribution"]
GAINS = {
    "equal gains": {},
    "path loss": {"gain_law": PathLoss()},
    "uniform dB": {"gain_law": UniformGainDb(low_db=-5, high_db=5)},
    "path loss by its law": {"gain_law": PathLoss(), "gain_knowledge": "distribution"},
    "uniform dB by its law": {"gain_law": UniformGainDb(low_db=-5, high_db=5), "gain_knowledge": "distribution"},
}
# A small cell at L/(eps N) = 2.5 whose posteriors are neither 0 nor 1.
SMALL = Scenario(num_devices=16, bits_per_device=1, pilot_length=8, num_antennas=3, activity_prob=0.2, snr_db=2.0)


def architecture(scenario, *, refinement="covariance", controls="context", num_layers=4, num_passes=3, **options):
    return Architecture(
        num_layers=num_layers,
        num_passes=0 if refinement == "none" else num_passes,
        refinement=refinement,
        controls=controls,
        num_devices=scenario.num_devices if controls == "device" else 0,
        context_width=5,
        block_width=6,
        **options,
    )


def perturbed(shape, seed, scale=0.1):
    """A network near AMP, of which no parameter is zero."""
    rng = stream(seed, "perturbation")
    values = {
        name: (start + scale * rng.normal(size=start.shape)).astype(np.float32)
        for name, start in shape.initial(seed).items()
    }
    return Network(shape, values)


def posteriors_of(network, observation, engine="compiled"):
    return MAMPNet(network, engine=engine, quiet=True).detect(observation).posteriors


def same_network_in_both_engines(network, observation, *, atol):
    compiled, graph = (posteriors_of(network, observation, engine) for engine in ENGINES)
    assert compiled.dtype == graph.dtype == observation.received.real.dtype
    np.testing.assert_allclose(graph, compiled, rtol=0, atol=atol)
    return compiled


# --- untrained, it is AMP ---------------------------------------------------------------------------


def distance_to_amp(scenario, prior, *, precision, engine, num_layers, refinement="covariance", controls="context"):
    observation, _ = frames_of(scenario, 12, "untrained", precision=precision)
    shape = architecture(scenario, refinement=refinement, controls=controls, num_layers=num_layers, prior=prior)
    network = MAMPNet.untrained(shape, engine=engine).detect(observation)
    amp = AMP(prior=prior, iterations=num_layers).detect(observation)
    assert network.posteriors.dtype == amp.posteriors.dtype
    return np.max(np.abs(network.posteriors - amp.posteriors))


@pytest.mark.parametrize("gains", GAINS)
@pytest.mark.parametrize("prior", ["row", "block"])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_untrained_unfolded_network_is_amp_in_single_precision_in_a_light_cell(engine, prior, gains):
    scenario = replace(LIGHT, **GAINS[gains])
    assert scenario.pilot_length / (scenario.activity_prob * scenario.num_devices) >= 6
    assert distance_to_amp(scenario, prior, precision="complex64", engine=engine, num_layers=10) < 1e-5


@pytest.mark.parametrize("gains", GAINS)
@pytest.mark.parametrize("prior", ["row", "block"])
@pytest.mark.parametrize("engine", ENGINES)
def test_an_untrained_unfolded_network_is_amp_in_double_precision_in_overload(engine, prior, gains):
    scenario = replace(OVERLOADED, **GAINS[gains])
    # Overload amplifies rounding: 1e-16 grows to some 1e-11 in ten layers.
    assert distance_to_amp(scenario, prior, precision="complex128", engine=engine, num_layers=10) < 1e-9


@pytest.mark.parametrize(("controls", "refinement"), list(product(CONTROLS, REFINEMENTS)))
@pytest.mark.parametrize("engine", ENGINES)
def test_every_architecture_starts_as_amp(engine, controls, refinement):
    options = {"engine": engine, "num_layers": 3, "refinement": refinement, "controls": controls}
    assert distance_to_amp(OVERLOADED, "block", precision="complex128", **options) < 1e-9


@pytest.mark.parametrize("gains", ["equal gains", "path loss by its law"])
@pytest.mark.parametrize("prior", ["row", "block"])
def test_each_layer_of_an_untrained_network_is_an_iteration_of_amp(prior, gains):
    observation, _ = frames_of(replace(LIGHT, **GAINS[gains]), 12, "layers", precision="complex64")
    shape = architecture(LIGHT, num_layers=8, num_passes=2, prior=prior)
    inputs = unfolded_graph.Inputs(*map(tf.constant, unfolded_graph.real_inputs(observation)))
    outputs = unfolded_graph.unfolded(shape.initial(3), shape, inputs)
    assert len(outputs) == shape.num_outputs == 10
    for t, logits in enumerate(outputs):
        layer = np.moveaxis(unfolded_graph._posteriors(logits).numpy(), -1, 0)
        amp = AMP(prior=prior, iterations=min(t + 1, 8)).detect(observation).posteriors
        np.testing.assert_allclose(layer, amp[:, :, 1:], rtol=0, atol=1e-5, err_msg=f"output {t + 1}")


@pytest.mark.parametrize("prior", ["row", "block"])
@pytest.mark.parametrize("engine", ENGINES)
def test_each_number_of_layers_is_that_number_of_iterations(engine, prior):
    for num_layers in (1, 2, 3, 5):
        options = {"precision": "complex64", "engine": engine, "num_layers": num_layers, "refinement": "none"}
        assert distance_to_amp(LIGHT, prior, **options) < 1e-5


def test_the_noise_that_an_untrained_network_sees_is_that_of_amp():
    observation, _ = frames_of(OVERLOADED, 8, "noise")
    network = MAMPNet.untrained(architecture(OVERLOADED, num_layers=6)).detect(observation)
    amp = AMP(iterations=6).detect(observation)
    np.testing.assert_allclose(network.history["effective_noise"], amp.history["effective_noise"], rtol=1e-9)


# --- two engines, one network -----------------------------------------------------------------------


@pytest.mark.parametrize(("controls", "refinement"), list(product(CONTROLS, REFINEMENTS)))
@pytest.mark.parametrize("prior", ["block", "row"])
def test_both_engines_compute_the_same_network_in_double_precision(prior, controls, refinement):
    if prior == "row" and controls in ("shared", "device"):
        controls = "layer"  # the prior and the source of the controls do not meet in either engine
    observation, _ = frames_of(SMALL, 9, "engines")
    network = perturbed(architecture(SMALL, refinement=refinement, controls=controls, prior=prior), seed=4)
    found = same_network_in_both_engines(network, observation, atol=1e-9)
    untrained = posteriors_of(Network(network.architecture, network.architecture.initial(4)), observation)
    assert np.max(np.abs(found - untrained)) > 1e-3  # the parameters matter in this cell


@pytest.mark.parametrize("gains", GAINS)
@pytest.mark.parametrize("refinement", ["across", "covariance"])
def test_both_engines_agree_whatever_is_known_of_the_gains(refinement, gains):
    observation, _ = frames_of(replace(SMALL, **GAINS[gains]), 9, "engines")
    for seed in range(3):
        same_network_in_both_engines(
            perturbed(architecture(SMALL, refinement=refinement), seed), observation, atol=1e-9
        )


@pytest.mark.parametrize("scenario", [LIGHT, TINY, replace(LIGHT, bits_per_device=2)], ids=["light", "tiny", "Q = 4"])
@pytest.mark.parametrize(("controls", "refinement"), list(product(["layer", "context"], REFINEMENTS)))
def test_both_engines_agree_in_single_precision_in_a_light_cell(controls, refinement, scenario):
    observation, _ = frames_of(scenario, 9, "single", precision="complex64")
    network = perturbed(architecture(scenario, refinement=refinement, controls=controls), seed=5)
    # Log ratios of up to 100 with float32's 6e-8, through seven layers and passes of two orders of summation.
    same_network_in_both_engines(network, observation, atol=1e-3)


@pytest.mark.parametrize("kind", SHIPPED)
@pytest.mark.parametrize("gains", GAINS)
def test_both_engines_agree_on_the_shipped_networks_in_double_precision(kind, gains):
    observation, _ = frames_of(replace(OVERLOADED, **GAINS[gains]), 6, "shipped")
    # Ten overloaded layers amplify the two orders of summation, 1e-16, to 1e-11 at most; passes by another ten.
    same_network_in_both_engines(MAMPNet.pretrained(kind).network, observation, atol=1e-9)


def test_both_engines_agree_where_devices_come_late_and_off_the_carrier():
    law = DelayedAndOffset(max_delay_symbols=1, num_frequencies=2)
    observation, truth = frames_of(replace(SMALL, arrival=law), 9, "late")
    network = MAMPNet.pretrained("asynchronous").network
    same_network_in_both_engines(network, observation, atol=1e-9)
    compiled, graph = (MAMPNet(network, engine=engine, quiet=True).detect(observation) for engine in ENGINES)
    assert compiled.posteriors.shape == (*truth.symbols.shape, SMALL.pilots_per_device + 1)
    assert np.array_equal(compiled.states, graph.states)


@pytest.mark.parametrize("precision", ["complex64", "complex128"])
def test_one_trace_serves_all_shapes_batches_and_parameters(precision):
    shape = Architecture(num_layers=2, num_passes=2, context_width=3, block_width=2)  # of this test alone
    real = np.dtype(precision).type(0).real.dtype
    scenarios = [LIGHT, TINY, replace(SMALL, bits_per_device=2), replace(SMALL, **GAINS["path loss by its law"])]
    for seed, (scenario, frames) in enumerate(product(scenarios, (1, 3, 20))):
        observation, _ = frames_of(scenario, frames, "trace", precision=precision)
        found = posteriors_of(perturbed(shape, seed), observation, "tensorflow")
        assert found.shape == (frames, scenario.num_devices, scenario.pilots_per_device + 1)
    assert unfolded_graph._compiled(shape, tf.as_dtype(real)).experimental_get_tracing_count() == 1


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("refinement", REFINEMENTS)
def test_the_result_does_not_depend_on_the_company_of_other_frames(refinement, engine):
    observation, _ = frames_of(SMALL, 200, "company")
    network = perturbed(architecture(SMALL, refinement=refinement), seed=6)
    together = posteriors_of(network, observation, engine)
    for few in (slice(0, 5), slice(126, 131), slice(195, 200)):
        alone = posteriors_of(network, replace(observation, received=observation.received[few]), engine)
        np.testing.assert_allclose(alone, together[few], rtol=0, atol=1e-9)


# --- symmetries -------------------------------------------------------------------------------------


def shipped_cell(kind):
    gains = GAINS["path loss by its law"] if kind == "distribution" else {}
    # L/(eps N) = 4.2: inside the training range, and rounding grows little.
    scenario = Scenario(num_devices=60, bits_per_device=2, pilot_length=25, num_antennas=4, snr_db=2.0, **gains)
    observation, _ = frames_of(scenario, 6, "symmetry", kind)
    return observation, MAMPNet.pretrained(kind)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("kind", SHIPPED)
@pytest.mark.parametrize("precision", ["complex64", "complex128"])
def test_posteriors_sum_to_one(precision, kind, engine):
    for scenario in (OVERLOADED, replace(OVERLOADED, bits_per_device=2, **GAINS["path loss by its law"])):
        observation, _ = frames_of(scenario, 5, "one", precision=precision)
        found = MAMPNet.pretrained(kind, engine=engine, quiet=True).detect(observation).posteriors
        assert np.all((found >= 0) & (found <= 1))
        # Five terms, each rounded once more by the division.
        np.testing.assert_allclose(found.sum(-1), 1, rtol=0, atol=8 * np.finfo(found.dtype).eps)


@pytest.mark.parametrize("kind", SHIPPED)
def test_permuting_the_devices_with_their_pilots_permutes_the_posteriors(kind):
    o, detector = shipped_cell(kind)
    q = o.pilots_per_device
    order = stream(11).permutation(o.num_devices)
    columns = (order[:, None] * q + np.arange(q)).ravel()
    gains = GainPrior(o.gains.nodes[order], o.gains.weights)
    permuted = detector.detect(replace(o, pilots=o.pilots[:, columns], gains=gains)).posteriors
    np.testing.assert_allclose(permuted, detector.detect(o).posteriors[:, order], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", SHIPPED)
def test_permuting_the_pilots_of_a_device_permutes_its_labels(kind):
    o, detector = shipped_cell(kind)
    q, rng = o.pilots_per_device, stream(12)
    orders = np.array([rng.permutation(q) for _ in range(o.num_devices)])
    columns = (np.arange(o.num_devices)[:, None] * q + orders).ravel()
    permuted = detector.detect(replace(o, pilots=o.pilots[:, columns])).posteriors
    plain = detector.detect(o).posteriors
    np.testing.assert_allclose(permuted[..., 0], plain[..., 0], rtol=0, atol=1e-8)
    moved = np.take_along_axis(plain[..., 1:], np.broadcast_to(orders, (o.num_frames, *orders.shape)), axis=-1)
    np.testing.assert_allclose(permuted[..., 1:], moved, rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", SHIPPED)
def test_rotating_the_antennas_changes_nothing(kind):
    o, detector = shipped_cell(kind)
    rng = stream(13)
    square = rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4))
    unitary = np.linalg.qr(square)[0]
    np.testing.assert_allclose(unitary @ unitary.conj().T, np.eye(4), atol=1e-14)
    rotated = detector.detect(replace(o, received=o.received @ unitary)).posteriors
    np.testing.assert_allclose(rotated, detector.detect(o).posteriors, rtol=0, atol=1e-8)


def test_a_network_of_one_cell_refuses_another_number_of_devices():
    shape = architecture(SMALL, controls="device", refinement="block")
    detector = MAMPNet.untrained(shape)
    observation, _ = frames_of(replace(SMALL, num_devices=17), 2, "another")
    with pytest.raises(ValueError, match="got 17 devices, expected the 16 of the cell"):
        detector.detect(observation)
    with pytest.raises(ValueError, match="got 17 devices, expected the 16 of the cell"):
        replace(detector, engine="tensorflow").detect(observation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_layers": 0}, "num_layers: got 0"),
        ({"controls": "devices"}, "controls: got 'devices', expected one of"),
        ({"refinement": "blok"}, "refinement: got 'blok'.*did you mean 'block'"),
        ({"prior": "winner"}, "prior: got 'winner'"),
        ({"refinement": "none"}, "num_passes: got 3 with refinement='none'"),
        ({"num_passes": 0}, "num_passes: got 0 with refinement='covariance'"),
        ({"controls": "device"}, "num_devices: got 0 with controls='device'"),
        ({"num_devices": 5}, "num_devices: got 5 with controls='context'"),
    ],
)
def test_architectures_without_meaning_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Architecture(**options)


# --- the covariance test ----------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("gains", ["equal gains", "path loss by its law"])
def test_a_pass_with_an_open_gate_believes_the_covariance_test_of_every_pilot(gains, engine):
    scenario = replace(TINY, num_devices=6, **GAINS[gains])
    o, _ = frames_of(scenario, 4, "test")
    shape = Architecture(num_layers=2, num_passes=1, controls="layer", block_width=1)
    values = shape.initial(0)
    values["pass.bias"] = np.array([[1.0, np.log(0.5), 0.25]], np.float32)  # gate, log slope, bias
    before = AMP(iterations=2).detect(o).posteriors
    found = posteriors_of(Network(shape, values), o, engine)
    slope = np.exp(np.float64(values["pass.bias"][0, 1]))
    odds = np.log(o.activity_prob / 2 / (1 - o.activity_prob))
    nodes = np.repeat(o.gains.nodes, 2, axis=0)
    rows_gains = mean_gains_of_amp(o, shape)
    for frame in range(4):
        active = before[frame, :, 1:].ravel()
        powers = np.where(active >= FAINT, active * rows_gains[frame], 0)
        noise = o.noise_power + np.sum(np.where(active < FAINT, active * rows_gains[frame], 0)) / o.pilot_length
        ratios, _ = oracle.covariance_test(o.received[frame], o.pilots, noise, powers, nodes, o.gains.weights)
        expected = oracle.posteriors((slope * ratios + 0.25 + odds).reshape(-1, 2))
        # The oracle inverts one matrix a pilot; "1 - γ a" loses a digit or two, down to 1e-3.
        np.testing.assert_allclose(found[frame], expected, rtol=0, atol=1e-7)


def mean_gains_of_amp(o, shape):
    """Mean gain of each row if it is active, after the last layer, shape (frames, K)."""
    inputs = unfolded_graph.Inputs(*map(tf.constant, unfolded_graph.real_inputs(o, np.float64)))
    weights = {name: v.astype(np.float64) for name, v in shape.initial(0).items()}
    _, gains = unfolded_graph._layers(weights, shape, inputs, unfolded_graph._cell(inputs))
    wide = np.broadcast_to(gains.numpy(), (o.num_devices, o.pilots_per_device, o.num_frames))
    return wide.reshape(-1, o.num_frames).T


# --- compiled kernels against obvious NumPy ---------------------------------------------------------


def hermitian(rng, length, num_frames):
    """Positive definite matrices (F, L, L), condition number of some tens."""
    root = rng.normal(size=(num_frames, length, 2 * length)) + 1j * rng.normal(size=(num_frames, length, 2 * length))
    return root @ root.conj().swapaxes(1, 2) / length


def packed_last(matrices, **options):
    return np.ascontiguousarray(np.stack([oracle.pack(m, **options) for m in matrices], axis=-1))


@pytest.mark.parametrize("length", [1, 2, 3, 8, 21])
@pytest.mark.parametrize("num_frames", [1, 17])
def test_invert_is_the_inverse_with_its_off_diagonals_doubled(length, num_frames):
    rng = stream(21, length)
    matrices, noise = hermitian(rng, length, num_frames), rng.uniform(0.1, 2, num_frames)
    packed = packed_last(matrices)
    unfolded_kernels.invert(packed, noise)
    expected = np.linalg.inv(matrices + noise[:, None, None] * np.eye(length))
    np.testing.assert_allclose(packed, packed_last(expected, doubled=True), rtol=1e-10, atol=1e-12)


def test_invert_in_single_precision_is_near_the_inverse():
    rng = stream(22)
    matrices, noise = hermitian(rng, 12, 9), rng.uniform(0.1, 2, 9)
    packed = packed_last(matrices).astype(np.float32)
    unfolded_kernels.invert(packed, noise.astype(np.float32))
    expected = packed_last(np.linalg.inv(matrices + noise[:, None, None] * np.eye(12)), doubled=True)
    # Float32's 6e-8 times the condition number, below 100.
    np.testing.assert_allclose(packed, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_outer_products_are_packed_one_by_one():
    rng = stream(23)
    pilots = rng.normal(size=(7, 5)) + 1j * rng.normal(size=(7, 5))
    packed = np.empty((5, 7, 7))
    unfolded_kernels.packed_outer_products(pilots, packed)
    for k in range(5):
        np.testing.assert_allclose(packed[k], oracle.pack(np.outer(pilots[:, k], pilots[:, k].conj())), rtol=1e-12)


def outer_products(pilots):
    return np.stack([oracle.pack(np.outer(s, s.conj())).ravel() for s in pilots.T])


def test_add_outer_products_is_the_covariance_of_the_pilots():
    rng = stream(24)
    pilots = rng.normal(size=(6, 10)) + 1j * rng.normal(size=(6, 10))
    powers = rng.uniform(0, 2, (10, 4)) * (rng.random((10, 4)) < 0.5)
    covariance = np.full((4, 36), np.nan)  # what was there does not matter
    unfolded_kernels.add_outer_products(outer_products(pilots), powers, covariance)
    for f in range(4):
        expected = (pilots * powers[:, f]) @ pilots.conj().T
        np.testing.assert_allclose(covariance[f].reshape(6, 6), oracle.pack(expected), rtol=1e-10, atol=1e-12)


def test_quadratic_forms_are_those_of_the_pilots_with_power_and_zero_elsewhere():
    rng = stream(25)
    pilots = rng.normal(size=(6, 10)) + 1j * rng.normal(size=(6, 10))
    powers = rng.uniform(0.1, 2, (10, 4)) * (rng.random((10, 4)) < 0.5)
    inverse = hermitian(rng, 6, 4)
    doubled = np.stack([oracle.pack(p, doubled=True).ravel() for p in inverse])
    quadratic = np.full((10, 4), np.nan)
    unfolded_kernels.quadratic_forms(outer_products(pilots), doubled, powers, quadratic)
    expected = np.einsum("lk,flm,mk->kf", pilots.conj(), inverse, pilots).real
    np.testing.assert_allclose(quadratic, np.where(powers > 0, expected, 0), rtol=1e-10, atol=1e-12)


def test_whiten_applies_the_inverse_and_measures_what_is_left():
    rng = stream(26)
    inverse = hermitian(rng, 6, 5)
    y = rng.normal(size=(5, 6, 3)) + 1j * rng.normal(size=(5, 6, 3))
    real_form = np.ascontiguousarray(np.moveaxis(np.stack([y.real, y.imag]), 1, -1))  # (2, L, M, F)
    whitened, unexplained = np.full_like(real_form, np.nan), np.full(5, np.nan)
    unfolded_kernels.whiten(packed_last(inverse, doubled=True), real_form, whitened, unexplained)
    expected = inverse @ y
    np.testing.assert_allclose(np.moveaxis(whitened[0] + 1j * whitened[1], -1, 0), expected, rtol=1e-10)
    trace = np.einsum("flm,flm->f", y.conj(), expected).real / (6 * 3)
    np.testing.assert_allclose(unexplained, trace, rtol=1e-10)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("num_labels", [1, 2, 4])
def test_posteriors_are_the_softmax_of_the_log_odds_and_of_zero(num_labels, dtype):
    logits = stream(27).normal(scale=6, size=(5, num_labels, 8)).astype(dtype)
    found = np.empty((5, num_labels + 1, 8), dtype)
    unfolded_kernels.posteriors_of(logits, found)
    for f in range(8):
        expected = oracle.posteriors(logits[:, :, f].astype(np.float64))
        np.testing.assert_allclose(found[:, :, f], expected, rtol=1e-5 if dtype == np.float32 else 1e-10)


@pytest.mark.parametrize("logit", [-700.0, -90.0, 90.0, 700.0])
def test_posteriors_of_extreme_log_odds_are_finite_and_sum_to_one(logit):
    for dtype in (np.float32, np.float64):
        logits = np.full((1, 2, 1), logit, dtype)
        found = np.empty((1, 3, 1), dtype)
        unfolded_kernels.posteriors_of(logits, found)
        expected = [1, 0, 0] if logit < 0 else [0, 0.5, 0.5]
        np.testing.assert_allclose(found[0, :, 0], expected, atol=1e-30)


def test_powers_below_the_threshold_are_counted_as_faint():
    rng = stream(28)
    raw = rng.uniform(size=(6, 3, 4)) ** 6  # posteriors from 1e-10 to 1
    posteriors, gains = raw / raw.sum(1, keepdims=True), rng.uniform(0.1, 3, (6, 2, 4))
    powers, (faint, undecided, heard) = np.empty((12, 4)), np.empty((3, 4))
    audible = unfolded_kernels.summarise(posteriors, gains, powers, faint, undecided, heard)
    p = posteriors[:, 1:]
    loud = p >= FAINT
    assert audible == loud.sum()
    assert 0 < audible < p.size
    np.testing.assert_allclose(powers, np.where(loud, p * gains, 0).reshape(12, 4), rtol=1e-12)
    np.testing.assert_allclose(faint, np.where(loud, 0, p * gains).sum((0, 1)), rtol=1e-10)
    np.testing.assert_allclose(undecided, (p * (1 - p)).sum((0, 1)), rtol=1e-10)
    np.testing.assert_allclose(heard, p.sum((0, 1)), rtol=1e-10)


def test_trying_a_pilot_is_the_test_beside_all_others():
    rng = stream(29)
    n, q, length, m, frames = 5, 2, 6, 3, 4
    pilots = (rng.normal(size=(length, n * q)) + 1j * rng.normal(size=(length, n * q))) / np.sqrt(2 * length)
    y = rng.normal(size=(frames, length, m)) + 1j * rng.normal(size=(frames, length, m))
    powers = rng.uniform(0.1, 1, (n * q, frames)) * (rng.random((n * q, frames)) < 0.6)
    nodes, weights = rng.uniform(0.2, 2, (n, 3)), np.array([0.2, 0.5, 0.3])
    inverse = np.stack([
        np.linalg.inv((pilots * powers[:, f]) @ pilots.conj().T + 0.3 * np.eye(length)) for f in range(frames)
    ])  # fmt: skip
    quadratic = np.einsum("lk,flm,mk->kf", pilots.conj(), inverse, pilots).real
    cross = np.moveaxis(pilots.conj().T @ inverse @ y, 0, -1)  # S^H P Y, (K, M, F)
    partial = np.stack([np.zeros_like(cross.real), cross.imag, -cross.real])
    for only_audible in (False, True):
        tested, share, gains = np.empty((3, n, q, frames))
        gains[:] = 7
        unfolded_kernels.try_pilots(
            partial, quadratic, powers, np.log(weights), nodes, only_audible, tested, share, gains
        )
        np.testing.assert_allclose(share.reshape(-1, frames), np.log(1 - powers * quadratic), rtol=1e-9, atol=1e-12)
        for f in range(frames):
            ratios, mean = oracle.covariance_test(y[f], pilots, 0.3, powers[:, f], np.repeat(nodes, q, 0), weights)
            plays = (powers[:, f] > 0) | (not only_audible)
            np.testing.assert_allclose(tested[..., f].ravel(), np.where(plays, ratios, OUT_OF_PLAY), rtol=1e-9)
            np.testing.assert_allclose(gains[..., f].ravel(), np.where(plays, mean, 7), rtol=1e-9)


# --- gradients --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("refinement", "gains"),
    [("across", "equal gains"), ("covariance", "equal gains"), ("covariance", "uniform dB by its law")],
)
def test_gradients_are_those_of_finite_differences(refinement, gains):
    scenario = replace(TINY, num_devices=8, **GAINS[gains])
    observation, truth = frames_of(scenario, 3, "gradient")
    inputs = unfolded_graph.Inputs(*map(tf.constant, unfolded_graph.real_inputs(observation, np.float64)))
    shape = architecture(scenario, refinement=refinement, num_layers=3, num_passes=2)
    start = {name: v.astype(np.float64) for name, v in perturbed(shape, seed=8).parameters.items()}
    labels = tf.one_hot(truth.symbols.T, scenario.pilots_per_device + 1, axis=1, dtype=tf.float64)

    def outputs_and_loss(values):
        outputs = unfolded_graph.unfolded(values, shape, inputs)
        loss = 0.0
        for logits in outputs:
            whole = tf.concat([tf.zeros_like(logits[:, :1]), logits], 1)
            loss -= tf.reduce_mean(tf.reduce_sum(labels * tf.nn.log_softmax(whole, 1), 1))
        return outputs, loss

    compute = tf.function(outputs_and_loss, autograph=False)
    variables = {name: tf.Variable(v) for name, v in start.items()}
    with tf.GradientTape() as tape:
        _, loss = compute(variables)
    gradients = tape.gradient(loss, variables, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    def which_are_audible(outputs):
        return [unfolded_graph._posteriors(logits).numpy() >= FAINT for logits in outputs[shape.num_layers - 1 : -1]]

    step, rng, largest = 1e-5, stream(31), 0.0
    for name, values in start.items():
        for flat in rng.choice(values.size, size=min(3, values.size), replace=False):
            index, ends = np.unravel_index(flat, values.shape), []
            for sign in (1, -1):
                moved = values.copy()
                moved[index] += sign * step
                variables[name].assign(moved)
                ends.append(compute(variables))
            variables[name].assign(values)
            # A pilot that crosses the threshold in between would make a jump that no gradient has.
            for before, after in zip(which_are_audible(ends[0][0]), which_are_audible(ends[1][0]), strict=True):
                assert np.array_equal(before, after)
            slope = float(ends[0][1] - ends[1][1]) / (2 * step)
            # Central differences: step² f''' = 1e-10, and rounding 1e-16 · |f| / step = 1e-10 after growth by 10.
            assert float(gradients[name].numpy()[index]) == pytest.approx(slope, rel=1e-5, abs=1e-8), (name, index)
            largest = max(largest, abs(slope))
    assert largest > 1e-2  # otherwise this test tells nothing
