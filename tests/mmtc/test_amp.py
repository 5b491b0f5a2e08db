"""AMP: the batched, compiled one is the slow, obvious one; and it follows state evolution."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from tests.mmtc.cells import LIGHT, OVERLOADED, TINY, frames_of
from tests.references.amp import amp as oracle
from wirelesslab.mmtc import PathLoss, Scenario, state_evolution, symbol_errors
from wirelesslab.mmtc.detectors import AMP, MatchedFilter
from wirelesslab.rng import stream
from wirelesslab.threads import one_thread

VARIANTS = {
    "row": (AMP(prior="row"), {"prior": "row"}),
    "block": (AMP(prior="block"), {"prior": "block"}),
    "winner": (AMP(prior="winner"), {"prior": "winner"}),
    "re-tuned": (AMP(retuned=True), {"prior": "block", "retuned": True}),
}


def oracle_of(observation, truth, frame, **options):
    o = observation
    return oracle(
        o.received[frame], o.pilots, truth.path_gain, o.noise_power, o.activity_prob, o.pilots_per_device, **options
    )


def agree(scenario, detector, options, *, iterations, num_frames=6, atol):
    observation, truth = frames_of(scenario, num_frames, "oracle")
    detection = replace(detector, iterations=iterations).detect(observation)
    for frame in range(num_frames):
        expected = oracle_of(observation, truth, frame, iterations=iterations, **options)
        np.testing.assert_allclose(detection.history["effective_noise"][frame], expected.residual_powers, rtol=atol)
        np.testing.assert_allclose(detection.posteriors[frame], expected.posteriors, atol=atol)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "scenario",
    [LIGHT, replace(LIGHT, bits_per_device=2, num_antennas=1), replace(LIGHT, bits_per_device=0, num_antennas=2), TINY],
    ids=["light", "one antenna", "activity only", "tiny"],
)
def test_amp_is_the_oracle_frame_by_frame(variant, scenario):
    agree(scenario, *VARIANTS[variant], iterations=20, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_amp_with_path_loss_that_it_knows_is_the_oracle(variant):
    agree(replace(LIGHT, gain_law=PathLoss()), *VARIANTS[variant], iterations=20, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_amp_is_the_oracle_in_overload_while_rounding_has_not_grown(variant, iterations):
    agree(OVERLOADED, *VARIANTS[variant], iterations=iterations, atol=1e-8)


def test_amp_of_one_iteration_is_the_matched_filter():
    for scenario in (LIGHT, replace(LIGHT, gain_law=PathLoss(), gain_knowledge="distribution")):
        observation, _ = frames_of(scenario, 8, "matched")
        first, filtered = AMP(iterations=1).detect(observation), MatchedFilter().detect(observation)
        np.testing.assert_allclose(first.posteriors, filtered.posteriors, atol=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_single_precision_is_near_double_precision_in_a_light_cell(variant):
    detector = VARIANTS[variant][0]
    double, _ = frames_of(LIGHT, 32, "precision")
    single, _ = frames_of(LIGHT, 32, "precision", precision="complex64")
    exact, rough = detector.detect(double), detector.detect(single)
    assert rough.posteriors.dtype == np.float32
    assert exact.posteriors.dtype == np.float64
    # Log ratios of up to 100 with float32's 6e-8, grown little by 20 iterations.
    np.testing.assert_allclose(rough.posteriors, exact.posteriors, atol=1e-3)
    np.testing.assert_allclose(rough.history["effective_noise"], exact.history["effective_noise"], rtol=1e-3)


@pytest.mark.parametrize("precision", ["complex64", "complex128"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_result_does_not_depend_on_the_number_of_threads(variant, precision):
    detector = VARIANTS[variant][0]
    observation, _ = frames_of(OVERLOADED, 150, "threads", precision=precision)  # several chunks, the last one short
    shared = detector.detect(observation)
    with one_thread():
        alone = detector.detect(observation)
    assert np.array_equal(shared.posteriors, alone.posteriors)
    assert np.array_equal(shared.iterations, alone.iterations)


@pytest.mark.parametrize("variant", [*VARIANTS, "best iterate"])
@pytest.mark.parametrize("scenario", [LIGHT, OVERLOADED], ids=["light", "overloaded"])
def test_the_result_does_not_depend_on_the_company_of_other_frames(variant, scenario):
    detector = VARIANTS[variant][0] if variant in VARIANTS else AMP(best_iterate=True)
    observation, truth = frames_of(scenario, 64, "company")
    together = detector.detect(observation)
    order = stream(1).permutation(64)
    shuffled = detector.detect(replace(observation, received=observation.received[order]))
    # The same chunk size: each frame meets the same instructions in another lane.
    assert np.array_equal(shuffled.labels, together.labels[order])
    assert np.array_equal(shuffled.iterations, together.iterations[order])
    # Another chunk size: BLAS may sum in another order; double precision keeps the counts.
    halves = [
        detector.detect(replace(observation, received=observation.received[part]))
        for part in (slice(0, 5), slice(5, 64))
    ]
    apart = np.concatenate([half.labels for half in halves])
    assert np.array_equal(apart, together.labels)
    assert symbol_errors(together, truth).errors == np.count_nonzero(apart != truth.symbols)


def test_damping_of_one_is_no_damping_and_less_is_some():
    observation, _ = frames_of(LIGHT, 8, "damping")
    plain, one, half = (AMP(**d).detect(observation) for d in ({}, {"damping": 1.0}, {"damping": 0.5}))
    assert np.array_equal(plain.posteriors, one.posteriors)
    assert not np.array_equal(plain.posteriors, half.posteriors)
    np.testing.assert_allclose(
        half.history["effective_noise"][:, 0], plain.history["effective_noise"][:, 0], rtol=1e-12
    )
    # In a light cell both reach the same fixed point.
    np.testing.assert_allclose(
        half.history["effective_noise"][:, -1], plain.history["effective_noise"][:, -1], rtol=1e-2
    )


# --- best iterate ---------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["row", "block", "winner"])
def test_best_iterate_keeps_the_smallest_residual_until_it_doubles(prior):
    detector = AMP(prior=prior, best_iterate=True)
    observation, _ = frames_of(OVERLOADED, 64, "best")
    detection, plain = detector.detect(observation), AMP(prior=prior).detect(observation)
    kept_later = 0
    for frame in range(64):
        trace = detection.history["effective_noise"][frame]
        visited = trace[np.isfinite(trace)]
        np.testing.assert_allclose(visited, plain.history["effective_noise"][frame, : visited.size], rtol=1e-6)
        smallest = np.minimum.accumulate(visited)
        doubled = np.flatnonzero(visited > 2 * smallest)
        best = int(np.argmin(visited[: doubled[0]] if doubled.size else visited))
        assert detection.iterations[frame] == best + 1
        kept_later += best + 1 < visited.size
    assert kept_later  # otherwise this cell tells nothing


def test_best_iterate_never_ends_at_a_larger_residual_than_amp_that_has_not_diverged():
    observation, _ = frames_of(OVERLOADED, 64, "best")
    detection, plain = AMP(best_iterate=True).detect(observation), AMP().detect(observation)
    frames = np.arange(64)
    kept = detection.history["effective_noise"][frames, detection.iterations - 1]
    trace = plain.history["effective_noise"]
    calm = np.all(trace <= 2 * np.minimum.accumulate(trace, axis=1), axis=1)
    assert calm.any()
    assert np.all(kept[calm] <= trace[calm, -1] * (1 + 1e-9))


def test_best_iterate_is_the_oracle_stopped_there():
    observation, truth = frames_of(OVERLOADED, 8, "best")
    detection = AMP(best_iterate=True).detect(observation)
    for frame in np.flatnonzero(detection.iterations <= 6):
        expected = oracle_of(observation, truth, frame, iterations=int(detection.iterations[frame]))
        np.testing.assert_allclose(detection.posteriors[frame], expected.posteriors, atol=1e-6)


# --- options --------------------------------------------------------------------------------------


def test_two_configurations_never_share_a_name():
    configurations = {
        AMP(prior=prior, iterations=iterations, damping=damping, best_iterate=best, retuned=retuned)
        for prior, iterations, damping, best, retuned in product(
            ("row", "block", "winner"), (5, 20, 21), (0.5, 0.7, 1.0), (False, True), (False, True)
        )
        if not retuned or prior == "block"
    }
    assert len({c.name for c in configurations}) == len(configurations)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prior": "blok"}, ValueError, "prior: got 'blok', expected one of row, block, winner; did you mean 'block'"),
        ({"iterations": 0}, ValueError, "iterations: got 0, expected a whole number of at least 1"),
        ({"iterations": 2.5}, TypeError, "iterations: got 2.5"),
        ({"damping": 0}, ValueError, r"damping: got 0, expected a number in \[0.01, 1\]"),
        ({"damping": 1.5}, ValueError, "damping: got 1.5"),
        ({"prior": "row", "retuned": True}, ValueError, "prior: got 'row' with retuned=True, expected 'block'"),
    ],
)
def test_options_without_meaning_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        AMP(**options)


# --- state evolution ------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["row", "block"])
def test_the_effective_noise_of_amp_follows_state_evolution_within_2_per_cent(prior):
    scenario = Scenario(
        num_devices=1500, bits_per_device=1, pilot_length=600, num_antennas=4, activity_prob=0.1, snr_db=0.0
    )
    iterations, num_cells, num_frames = 12, 3, 16
    predicted = state_evolution(scenario, iterations=iterations, prior=prior)
    assert predicted[-1] == pytest.approx(predicted[-2], rel=1e-3)  # it has converged
    traces = []
    for cell in range(num_cells):
        # Exactly eps N speakers a frame, as in the limit; the number alone would scatter by 8 %.
        rng = stream(5, "speakers", cell)
        activity = np.zeros((num_frames, 1500))
        activity[:, :150] = 1
        observation, _ = frames_of(
            scenario, num_frames, "evolution", cell, activity=rng.permuted(activity, axis=1), precision="complex64"
        )
        traces.append(AMP(prior=prior, iterations=iterations).detect(observation).history["effective_noise"])
    measured = np.concatenate(traces)
    # A frame's tau^2 scatters by 1/sqrt(150 M) = 4 % at first: 0.6 % in the mean of 48.
    assert measured.std(axis=0)[0] / measured.mean(axis=0)[0] / np.sqrt(len(measured)) < 0.01
    np.testing.assert_allclose(measured.mean(axis=0), predicted, rtol=0.02)
