"""What every detector promises; a new one in `DETECTORS` joins by itself."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, family, frames_of
from wirelesslab.mmtc import (
    Assuming,
    Observation,
    PathLoss,
    Rician,
    Scenario,
    Truth,
    UniformGainDb,
    simulate,
    symbol_errors,
)
from wirelesslab.mmtc.detection import block_map
from wirelesslab.mmtc.detectors import AMP, DETECTORS, LMMSE, Covariance, Genie, named
from wirelesslab.mmtc.pilots import complex_normal
from wirelesslab.naming import slug
from wirelesslab.rng import stream
from wirelesslab.stats import Count, same_rate_p_value

NAMES = [d.name for d in DETECTORS] + ["genie"]
IN_TURN = ["covariance", "covariance block", "Gibbs"]  # they visit devices in an order tied to their numbers


def detector_of(name, truth):
    return next(d for d in family(truth) if d.name == name)


def assert_is_a_detection(detection, observation):
    o = observation
    assert detection.posteriors.shape == (o.num_frames, o.num_devices, o.pilots_per_device + 1)
    assert np.all(np.isfinite(detection.posteriors))
    assert detection.posteriors.min() >= 0
    tolerance = 1e-5 if detection.posteriors.dtype == np.float32 else 1e-9
    assert detection.posteriors.max() <= 1 + tolerance
    np.testing.assert_allclose(detection.posteriors.sum(axis=-1), 1, atol=tolerance)
    assert detection.labels.shape == (o.num_frames, o.num_devices)
    assert np.array_equal(detection.labels, np.argmax(detection.posteriors, axis=-1))
    assert detection.iterations.shape == (o.num_frames,)


# --- what is returned -----------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["complex64", "complex128"])
@pytest.mark.parametrize("gain_knowledge", ["known", "distribution", "mean"])
@pytest.mark.parametrize("name", NAMES)
def test_posteriors_are_probabilities_and_labels_the_most_probable(name, gain_knowledge, precision):
    scenario = replace(LIGHT, gain_law=PathLoss(), gain_knowledge=gain_knowledge, fading=Rician(), snr_db=5.0)
    observation, truth = frames_of(scenario, 20, "posteriors", precision=precision)
    assert_is_a_detection(detector_of(name, truth).detect(observation), observation)


CORNERS = {
    "one frame": (LIGHT, 1),
    "activity only": (replace(LIGHT, bits_per_device=0), 3),
    "one antenna": (replace(LIGHT, num_antennas=1), 3),
    "one device": (replace(LIGHT, num_devices=1), 3),
    "one symbol": (replace(LIGHT, pilot_length=1), 3),
    "one of everything": (replace(LIGHT, num_devices=1, bits_per_device=0, num_antennas=1, pilot_length=1), 1),
    "many pilots": (replace(LIGHT, num_devices=3, bits_per_device=6), 3),
    "nobody speaks": (replace(LIGHT, activity_prob=0.0), 3),
    "everybody speaks": (replace(LIGHT, activity_prob=1.0), 3),
    "everybody speaks, activity only": (replace(LIGHT, activity_prob=1.0, bits_per_device=0), 3),
    "far too many": (replace(LIGHT, num_devices=300, pilot_length=2, activity_prob=1.0), 20),
    "nothing but noise": (replace(LIGHT, snr_db=-200.0), 3),
    "hardly any noise": (replace(LIGHT, snr_db=60.0), 3),
    "path loss, law known": (replace(LIGHT, gain_law=PathLoss(), gain_knowledge="distribution", snr_db=20.0), 3),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("precision", ["complex64", "complex128"])
@pytest.mark.parametrize("corner", CORNERS)
@pytest.mark.parametrize("name", NAMES)
def test_corners_of_the_model_are_detected_without_a_warning(name, corner, precision):
    scenario, num_frames = CORNERS[corner]
    observation, truth = frames_of(scenario, num_frames, "corner", precision=precision)
    assert_is_a_detection(detector_of(name, truth).detect(observation), observation)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", NAMES)
def test_a_frame_in_which_nothing_arrives_is_silence(name):
    observation, truth = frames_of(LIGHT, 2, "nothing", activity=np.zeros((2, 40)))
    nothing = replace(observation, received=np.zeros_like(observation.received))
    detection = detector_of(name, truth).detect(nothing)
    assert_is_a_detection(detection, nothing)
    assert not detection.labels.any()


@pytest.mark.parametrize("name", NAMES)
def test_certain_silence_and_certain_speech_are_believed(name):
    observation, truth = frames_of(replace(LIGHT, activity_prob=0.0), 20, "certain")
    assert not detector_of(name, truth).detect(observation).labels.any()
    observation, truth = frames_of(replace(LIGHT, num_devices=5, activity_prob=1.0), 20, "certain")
    assert detector_of(name, truth).detect(observation).labels.all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_observation_gives_the_same_detection_and_is_left_alone(name):
    observation, truth = frames_of(LIGHT, 10, "same")
    before = observation.received.copy(), observation.pilots.copy(), observation.gains.nodes.copy()
    first, second = (detector_of(name, truth).detect(observation) for _ in range(2))
    assert np.array_equal(first.posteriors, second.posteriors)
    for was, now in zip(before, (observation.received, observation.pilots, observation.gains.nodes), strict=True):
        assert np.array_equal(was, now)


@pytest.mark.parametrize("name", NAMES)
def test_a_strided_view_of_frames_is_detected_like_its_copy(name):
    observation, truth = frames_of(LIGHT, 12, "strided")
    some = Truth(truth.symbols[::3], truth.path_gain, truth.active_channels)
    view = replace(observation, received=observation.received[::3])
    copy = replace(observation, received=np.ascontiguousarray(observation.received[::3]))
    one, other = (detector_of(name, some).detect(o) for o in (view, copy))
    np.testing.assert_allclose(one.posteriors, other.posteriors, atol=1e-9)


# --- symmetries -----------------------------------------------------------------------------------

SPREAD = replace(LIGHT, gain_law=UniformGainDb(low_db=-3, high_db=3), bits_per_device=2, num_devices=20)


def renumbered(observation, truth, order):
    """Devices in another order, each with its pilots, gain and symbols."""
    o, q = observation, observation.pilots_per_device
    pilots = o.pilots.reshape(o.pilot_length, -1, q)[:, order].reshape(o.pilot_length, -1)
    gains = type(o.gains)(o.gains.nodes[order], o.gains.weights)
    return (
        replace(o, pilots=np.ascontiguousarray(pilots), gains=gains),
        Truth(truth.symbols[:, order], truth.path_gain[order], truth.active_channels),
    )


@pytest.mark.parametrize("gain_knowledge", ["known", "distribution"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in IN_TURN])
def test_renumbering_the_devices_renumbers_the_result(name, gain_knowledge):
    observation, truth = frames_of(replace(SPREAD, gain_knowledge=gain_knowledge), 20, "renumber")
    order = stream(1).permutation(20)
    moved, moved_truth = renumbered(observation, truth, order)
    plain = detector_of(name, truth).detect(observation).posteriors
    # Sums in another order, hardly amplified in a light cell.
    np.testing.assert_allclose(detector_of(name, moved_truth).detect(moved).posteriors, plain[:, order], atol=1e-6)


@pytest.mark.parametrize("name", IN_TURN)
def test_renumbering_the_devices_changes_no_rate_of_those_who_visit_them_in_turn(name):
    # Devices are visited in an order, and by draws, tied to their numbers: the same in distribution only.
    counts = []
    for order in (np.arange(20), stream(1).permutation(20)):
        observation, truth = frames_of(replace(SPREAD, snr_db=-9.0), 200, "renumber")
        moved, moved_truth = renumbered(observation, truth, order)
        counts.append(symbol_errors(detector_of(name, moved_truth).detect(moved), moved_truth))
    assert counts[0].errors > 50
    assert same_rate_p_value(*counts) > 1e-6


@pytest.mark.parametrize("name", [n for n in NAMES if n not in IN_TURN])
def test_relabelling_the_pilots_of_a_device_relabels_the_result(name):
    observation, truth = frames_of(SPREAD, 20, "relabel")
    o, order = observation, stream(2).permutation(4)
    pilots = np.ascontiguousarray(o.pilots.reshape(o.pilot_length, -1, 4)[:, :, order].reshape(o.pilot_length, -1))
    back = np.argsort(order) + 1
    symbols = np.where(truth.symbols > 0, back[truth.symbols - 1], 0)
    relabelled = Truth(symbols, truth.path_gain, truth.active_channels)
    plain = detector_of(name, truth).detect(o).posteriors
    moved = detector_of(name, relabelled).detect(replace(o, pilots=pilots)).posteriors
    np.testing.assert_allclose(moved[..., 0], plain[..., 0], atol=1e-6)
    np.testing.assert_allclose(moved[..., 1:], plain[..., 1:][..., order], atol=1e-6)


def unitary(size):
    return np.linalg.qr(complex_normal(stream(3, size), (size, size)))[0]


@pytest.mark.parametrize(("precision", "tolerance"), [("complex128", 1e-7), ("complex64", 2e-3)])
@pytest.mark.parametrize("name", NAMES)
def test_rotating_the_antennas_changes_nothing(name, precision, tolerance):
    # Every prior is isotropic over antennas. Log ratios of up to 100 turn 1e-7 of float32 into 1e-4.
    observation, truth = frames_of(LIGHT, 20, "rotate", precision=precision)
    rotated = (observation.received @ unitary(4)).astype(precision)
    detector = detector_of(name, truth)
    plain, turned = detector.detect(observation), detector.detect(replace(observation, received=rotated))
    np.testing.assert_allclose(turned.posteriors, plain.posteriors, atol=tolerance)


@pytest.mark.parametrize("name", NAMES)
def test_rotating_the_symbols_of_all_pilots_together_changes_nothing(name):
    observation, truth = frames_of(LIGHT, 20, "rotate")
    u = unitary(40)
    turned = replace(observation, received=u @ observation.received, pilots=u @ observation.pilots)
    detector = detector_of(name, truth)
    np.testing.assert_allclose(detector.detect(turned).posteriors, detector.detect(observation).posteriors, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_louder_air_with_louder_gains_and_noise_is_the_same_air(name):
    observation, truth = frames_of(LIGHT, 20, "louder")
    o = observation
    gains = type(o.gains)(o.gains.nodes * 100, o.gains.weights)
    louder = replace(o, received=o.received * 10, noise_power=o.noise_power * 100, gains=gains)
    told = Truth(truth.symbols, truth.path_gain * 100, truth.active_channels)
    plain, loud = detector_of(name, truth).detect(o), detector_of(name, told).detect(louder)
    np.testing.assert_allclose(loud.posteriors, plain.posteriors, atol=1e-7)


# --- monotonicity ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_more_signal_never_hurts_in_a_lightly_loaded_cell(name):
    # L/(eps N) = 10; at every SNR the same air, scaled noise. 16,000 labels a point.
    errors = []
    for snr_db in (-14, -10, -6, -2):
        observation, truth = frames_of(replace(LIGHT, snr_db=snr_db), 400, "signal")
        errors.append(symbol_errors(detector_of(name, truth).detect(observation), truth).errors)
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0]


@pytest.mark.parametrize("name", NAMES)
def test_longer_pilots_never_hurt_in_a_noisy_light_cell(name):
    errors = []
    for pilot_length in (30, 60, 120):  # at a fixed energy per pilot: only interference falls
        scenario = replace(LIGHT, pilot_length=pilot_length, snr_db=-6 - 10 * np.log10(pilot_length / 30))
        observation, truth = frames_of(scenario, 400, "length")
        errors.append(symbol_errors(detector_of(name, truth).detect(observation), truth))
    for shorter, longer in pairwise(errors):
        assert longer.errors <= shorter.errors or same_rate_p_value(longer, shorter) > 1e-6


# --- who is better than whom ----------------------------------------------------------------------


def test_everybody_beats_silence_in_a_light_cell():
    observation, truth = frames_of(replace(LIGHT, snr_db=5.0), 200, "silence")
    for detector in family(truth):
        assert symbol_errors(detector.detect(observation), truth).rate < LIGHT.activity_prob / 2, detector.name


def test_amp_and_covariance_are_near_the_genie_in_a_light_cell_and_the_matched_filter_is_not():
    observation, truth = frames_of(replace(LIGHT, snr_db=-3.0), 400, "near")
    errors = {d.name: symbol_errors(d.detect(observation), truth).errors for d in family(truth)}
    for name in ("AMP row", "AMP block", "covariance", "covariance block"):
        assert errors[name] < 2 * errors["genie"]
    assert errors["matched filter"] > 3 * errors["genie"]


# --- names ----------------------------------------------------------------------------------------


def test_detectors_have_names_of_their_own_also_on_the_command_line():
    assert len(set(NAMES)) == len(NAMES)
    assert len({slug(name) for name in NAMES}) == len(NAMES)


@pytest.mark.parametrize("detector", DETECTORS, ids=repr)
def test_a_detector_is_found_by_its_name(detector):
    assert named([slug(detector.name)]) == (detector,)


@pytest.mark.parametrize(
    ("word", "nearest"), [("covarience", "covariance"), ("amp-blok", "amp-block"), ("lmse", "lmmse"), ("OMP2", "omp")]
)
def test_an_unknown_detector_is_refused_with_the_nearest_name(word, nearest):
    with pytest.raises(ValueError, match=f"did you mean '{nearest}'") as e:
        named([word])
    assert all(slug(d.name) in str(e.value) for d in DETECTORS)


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_an_observation_whose_pilots_have_another_length_never_reaches_a_detector(name):
    observation, truth = frames_of(LIGHT, 2, "refusal")
    with pytest.raises(
        ValueError, match=r"received: got shape \(2, 39, 4\), expected \(frames, L=40, M\); L was set by pilots"
    ):
        detector_of(name, truth).detect(replace(observation, received=observation.received[:, :39]))


@pytest.mark.parametrize("name", NAMES)
def test_real_valued_air_is_taken_for_complex_air_or_refused_but_never_mangled(name):
    observation, truth = frames_of(LIGHT, 2, "real")
    real = np.round(100 * observation.received.real)
    expected = detector_of(name, truth).detect(replace(observation, received=real.astype(complex))).posteriors
    for kind in (float, int):
        try:
            given = replace(observation, received=real.astype(kind))
        except (TypeError, ValueError):
            continue
        np.testing.assert_allclose(detector_of(name, truth).detect(given).posteriors, expected, atol=1e-6)


# --- being told something else --------------------------------------------------------------------


@pytest.mark.parametrize("detector", [AMP(), LMMSE(), Covariance()], ids=repr)
def test_a_detector_told_the_truth_is_itself(detector):
    observation, _ = frames_of(LIGHT, 10, "told")
    told = Assuming(detector, activity_prob=0.1)
    assert np.array_equal(told.detect(observation).posteriors, detector.detect(observation).posteriors)
    assert told.name == f"{detector.name} (ε=0.1)"


def test_a_detector_told_another_noise_and_activity_uses_them():
    observation, truth = frames_of(LIGHT, 10, "told")
    lied = replace(observation, noise_power=observation.noise_power * 10, activity_prob=0.4)
    told = Assuming(Genie(truth), activity_prob=0.4, noise_db=10)
    np.testing.assert_allclose(told.detect(observation).posteriors, Genie(truth).detect(lied).posteriors, rtol=1e-12)


def test_a_detector_told_the_mean_gain_uses_it_for_every_device():
    observation, _ = frames_of(replace(LIGHT, gain_law=PathLoss(), gain_knowledge="distribution"), 10, "told")
    mean, _ = frames_of(replace(LIGHT, gain_law=PathLoss(), gain_knowledge="mean"), 10, "told")
    told = Assuming(AMP(), mean_gain=True).detect(observation).posteriors
    np.testing.assert_allclose(told, AMP().detect(mean).posteriors, atol=1e-6)


def test_gains_and_noise_that_are_wrong_by_the_same_factor_are_another_scale_of_the_same_air():
    observation, truth = frames_of(replace(LIGHT, gain_law=PathLoss(), gain_knowledge="distribution"), 10, "told")
    louder = replace(observation, received=observation.received * np.sqrt(10))
    told = Assuming(Genie(truth), noise_db=10, gain_db=10)
    heard = replace(truth, path_gain=truth.path_gain * 10)  # the genie takes the others' gains from the truth
    found = replace(told, detector=Genie(heard)).detect(louder).posteriors
    np.testing.assert_allclose(found, Genie(truth).detect(observation).posteriors, atol=1e-4)
    assert told.name == "genie (σ² +10 dB, β +10 dB)"


def test_the_block_map_decision_is_bayes_rule_in_the_log_domain():
    ratios = np.array([[0.0, 0.0], [800.0, 799.0], [-800.0, -900.0]])
    posteriors = block_map(ratios, 0.2)
    np.testing.assert_allclose(posteriors[0], [0.8, 0.1, 0.1], rtol=1e-12)
    np.testing.assert_allclose(posteriors[1, 1:], [1 / (1 + np.exp(-1)), 1 / (1 + np.e)], rtol=1e-12)
    np.testing.assert_allclose(posteriors[2], [1, 0, 0], atol=1e-300)


def test_knowing_the_gains_helps_a_detector_that_would_guess_their_mean():
    errors = {}
    for knowledge in ("known", "distribution", "mean"):
        scenario = Scenario(gain_law=PathLoss(), gain_knowledge=knowledge, pilot_length=40)
        observation, truth = simulate(scenario, stream(8), num_frames=300)
        errors[knowledge] = symbol_errors(AMP().detect(observation), truth).errors
    assert same_rate_p_value(Count(errors["known"], 30_000), Count(errors["distribution"], 30_000)) > 1e-6
    assert errors["distribution"] * 10 < errors["mean"]  # per cents of the 30,000 labels


def test_an_observation_is_all_that_a_detector_takes():
    observation, _ = frames_of(LIGHT, 1, "all")
    assert isinstance(observation, Observation)
    for detector in DETECTORS:
        assert detector.detect(observation).posteriors.shape == (1, 40, 3)
