"""Posteriors against what came true: a detector that says what it knows, and ones that say more or less."""

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
import xarray as xr

from tests.mmtc.cells import LIGHT, OVERLOADED, TINY
from wirelesslab.mmtc import Detection, Truth
from wirelesslab.mmtc.calibration import (
    EDGES,
    MOST,
    NUM_BINS,
    WORST_NATS,
    CalibrationTrial,
    calibration_counts,
    calibration_trial,
    reliability,
)
from wirelesslab.mmtc.detectors import AMP, Genie
from wirelesslab.rng import stream
from wirelesslab.study import Stop, Study

LABELS = 3


def truth_of(symbols) -> Truth:
    symbols = np.asarray(symbols)
    return Truth(symbols, np.ones(symbols.shape[1]), np.zeros((np.count_nonzero(symbols), 1)))


def detection_of(posteriors) -> Detection:
    posteriors = np.asarray(posteriors)
    return Detection(posteriors, np.zeros(len(posteriors), dtype=np.int64))


@dataclass(frozen=True)
class Air:
    """A world without radio: posteriors drawn at random, and labels drawn from them."""

    sharpness: float = 1.0
    frame_scatter: float = 0.0
    replicate: int = 0


def says_more_than_it_knows(air: Air, rng: np.random.Generator):
    """Labels come from posteriors; what is said is a power of them: 1 honest, above overconfident."""
    logits = 4 * rng.standard_normal((40, 60, LABELS)) + np.array([4, 0, 0])
    known = np.exp(logits - logits.max(-1, keepdims=True))
    known /= known.sum(-1, keepdims=True)
    symbols = (rng.random((40, 60, 1)) > known.cumsum(-1)[..., :-1]).sum(-1)
    said = known**air.sharpness
    said /= said.sum(-1, keepdims=True)
    return {"teller": calibration_counts(detection_of(said), truth_of(symbols))}


def replicated(air: Air, rng: np.random.Generator):
    return says_more_than_it_knows(air, rng.spawn(air.replicate + 1)[air.replicate])


def judged(sharpness: float, replicates: int = 8) -> xr.Dataset:
    stop = Stop(errors=None, min_batches=2, max_batches=2)
    study = Study(replicated, Air(sharpness=sharpness), {"replicate": tuple(range(replicates))}, stop, seed=3)
    return reliability(study.run(workers=1)).isel(detector=0)


@pytest.mark.parametrize("claim", ["label", "speaks"])
def test_an_honest_detector_has_the_calibration_error_that_chance_gives(claim):
    result = judged(1.0)
    assert result[f"{claim}_ece"] < 2.5 * result[f"{claim}_ece_chance"]
    assert result[f"{claim}_ece_chance"] < 0.05 * result["ser"]
    assert result[f"{claim}_excess_low"] < 0 < result[f"{claim}_excess_high"]
    # Most of the bins' intervals hold what was claimed.
    held = (result[f"{claim}_surprise_low"] <= result[f"{claim}_claimed"]) & (
        result[f"{claim}_claimed"] <= result[f"{claim}_surprise_high"]
    )
    assert held.sum() >= 0.8 * (result[f"{claim}_claims"] > 0).sum()


@pytest.mark.parametrize(("sharpness", "sign"), [(2.0, 1), (0.5, -1)], ids=["overconfident", "underconfident"])
def test_one_that_says_more_or_less_than_it_knows_is_caught(sharpness, sign):
    result = judged(sharpness)
    assert result["label_ece_low"] > 5 * result["label_ece_chance"]
    assert result["speaks_ece_low"] > 5 * result["speaks_ece_chance"]
    assert sign * result["label_excess"] > 0.1 * result["ser"]
    assert result["label_excess_low"] * result["label_excess_high"] > 0
    # Sharpening does not touch the decisions, so only the claims differ; an honest claim costs least.
    assert result["errors"] == judged(1.0)["errors"]
    assert result["log_loss"] > judged(1.0)["log_loss_high"]


def test_the_excess_of_the_label_is_the_error_rate_above_the_one_that_was_claimed():
    rng = stream(5)
    said = rng.dirichlet(np.full(LABELS, 0.3), (6, 50))
    symbols = rng.integers(0, LABELS, (6, 50))
    counts = [calibration_counts(detection_of(said[f : f + 1]), truth_of(symbols[f : f + 1])) for f in range(6)]
    result = reliability(as_dataset(counts)).isel(detector=0)
    claimed = 1 - said.max(-1)
    wrong = said.argmax(-1) != symbols
    assert float(result["label_excess"]) == pytest.approx(wrong.mean() - claimed.mean(), abs=1e-3)
    assert float(result["speaks_excess"]) == pytest.approx((1 - said[..., 0]).mean() - (symbols > 0).mean(), abs=1e-3)
    assert float(result["ser"]) == wrong.mean()


def as_dataset(counts) -> xr.Dataset:
    """What a study would tabulate: one replicate for each of `counts`."""
    data = {}
    for name in {name for each in counts for name in each}:
        prefix = "" if name == "ser" else f"{name}_"
        for what in ("errors", "attempts"):
            values = [getattr(each[name], what) if name in each else 0 for each in counts]
            data[f"{prefix}{what}"] = (("detector", "replicate"), [values])
    return xr.Dataset(data, coords={"detector": ["teller"]})


@pytest.mark.parametrize(
    ("confidence", "expected"),
    [(0.4, 6), (0.6, 7), (0.9, 8), (0.95, 9), (0.98, 10), (0.995, 11), (0.9995, 12), (0.99999, 13)],
)
def test_a_claim_falls_into_the_bin_of_its_log_odds(confidence, expected):
    rest = (1 - confidence) / 2
    said = np.full((1, 10, LABELS), rest)
    said[..., 1] = confidence
    counts = calibration_counts(detection_of(said), truth_of([[1] * 8 + [0, 2]]))
    label = counts[f"label_{expected:02d}"]
    # A surprise is the less likely outcome: in the upper bins two are wrong, below even odds eight are right.
    assert (label.errors, label.attempts) == ((8, 10) if expected < 7 else (2, 10))
    claimed = counts[f"label_{expected:02d}_claimed"].rate * MOST[expected]
    assert claimed == pytest.approx(min(confidence, 1 - confidence), rel=2e-3)
    assert [name for name in counts if name.startswith("label")] == [
        f"label_{expected:02d}", f"label_{expected:02d}_claimed",
    ]  # fmt: skip


def test_bins_lie_symmetrically_about_even_odds():
    np.testing.assert_array_equal(EDGES, -EDGES[::-1])
    np.testing.assert_allclose(MOST, MOST[::-1])
    assert len(MOST) == NUM_BINS == len(EDGES) + 1
    rng = stream(6)
    speaks = rng.random((4, 50))
    there, back = (
        calibration_counts(detection_of(np.stack([1 - p, p], -1)), truth_of(symbols.astype(int)))
        for p, symbols in ((speaks, speaks > 0.7), (1 - speaks, speaks <= 0.7))
    )
    for b in range(NUM_BINS):
        for end in ("", "_claimed"):
            ours, mirrored = there.get(f"speaks_{b:02d}{end}"), back.get(f"speaks_{NUM_BINS - 1 - b:02d}{end}")
            assert ours == mirrored


def test_every_claim_is_in_one_bin_and_the_surprises_of_the_upper_half_are_errors():
    rng = stream(7)
    said = rng.dirichlet(np.full(2, 0.2), (5, 80))
    counts = calibration_counts(detection_of(said), truth_of(rng.integers(0, 2, (5, 80))))
    label = [c for name, c in counts.items() if name.startswith("label") and not name.endswith("claimed")]
    assert sum(c.attempts for c in label) == 400
    assert sum(c.errors for c in label) == counts["ser"].errors  # with two labels nobody decides below even odds


def test_certainty_is_judged_too_and_its_price_is_bounded():
    said = np.zeros((2, 4, LABELS), np.float32)
    said[..., 0] = 1
    counts = calibration_counts(detection_of(said), truth_of([[0, 0, 0, 0], [0, 0, 0, 1]]))
    assert (counts["label_13"].errors, counts["label_13"].attempts) == (1, 8)
    assert counts["label_13_claimed"].errors == 0
    assert (counts["speaks_00"].errors, counts["speaks_00"].attempts) == (1, 8)
    assert counts["log_loss"].rate * WORST_NATS == pytest.approx(WORST_NATS / 8)


def test_confidence_near_one_is_resolved_in_single_precision_too():
    said = np.array([[[1.0, 1e-9, 1e-9]]], np.float32)
    claimed = calibration_counts(detection_of(np.repeat(said, 50_000, axis=1)), truth_of(np.zeros((1, 50_000), int)))
    assert claimed["label_13_claimed"].rate * MOST[13] == pytest.approx(2e-9, rel=0.01)


def test_the_log_loss_is_that_of_the_true_label():
    said = np.tile([0.7, 0.2, 0.1], (3, 5, 1))
    counts = calibration_counts(detection_of(said), truth_of([[0, 1, 2, 0, 0]] * 3))
    expected = -np.log([0.7, 0.2, 0.1, 0.7, 0.7]).mean()
    assert counts["log_loss"].rate * WORST_NATS == pytest.approx(expected, abs=2e-4)


def test_detectors_and_genie_meet_the_air_of_each_other_whoever_is_asked():
    trial = calibration_trial(AMP(), AMP(retuned=True), frames_per_batch=8)
    everybody, alone = trial(LIGHT, stream(8)), trial.only({"genie"})(LIGHT, stream(8))
    assert list(everybody) == list(trial.parts) == ["AMP block", "AMP re-tuned", "genie"]
    assert alone == {"genie": everybody["genie"]}
    assert pickle.loads(pickle.dumps(trial))(TINY, stream(1)).keys() == everybody.keys()
    assert trial.describe() != calibration_trial(AMP(), frames_per_batch=9).describe()


def test_the_genie_is_calibrated_and_lost_frames_make_amp_overconfident():
    trial = calibration_trial(AMP(), frames_per_batch=64)
    counts = [trial(OVERLOADED, stream(9, r)) for r in range(8)]
    genie, amp = (
        reliability(as_dataset([c[name] for c in counts])).isel(detector=0) for name in ("genie", "AMP block")
    )
    assert genie["label_ece"] < 2.5 * genie["label_ece_chance"]
    assert genie["label_excess_low"] < 0 < genie["label_excess_high"]
    assert amp["label_excess_low"] > 0.3 * amp["ser"]


def test_one_replicate_has_no_scatter_and_is_refused():
    counts = as_dataset([calibration_counts(detection_of(np.ones((1, 2, 2)) / 2), truth_of([[0, 1]]))])
    with pytest.raises(ValueError, match="at least two of 'replicate'"):
        reliability(counts)


def test_a_trial_of_no_frames_or_of_one_name_twice_is_refused():
    with pytest.raises(ValueError, match="frames_per_batch"):
        calibration_trial(AMP(), frames_per_batch=0)
    with pytest.raises(ValueError, match="twice"):
        calibration_trial(AMP(), AMP())
    assert isinstance(replace(calibration_trial(AMP(), limits=(Genie,))), CalibrationTrial)
