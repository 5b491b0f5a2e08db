"""Can posteriors be believed? What detectors claim against what came true, as counts that merge.

Two claims of every device and frame are judged: that the decided *label* is right, and that the device
*speaks* at all. A claim falls into a bin by its log-odds. In each bin the less likely outcome is counted, the
*surprise*: a bin in which 1e-4 of the claims should fail is told apart from one in which 1e-5 should. What was
claimed is counted beside it, in whole thousandths of the most that the bin allows.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.special import stdtrit

from wirelesslab.mmtc.detection import Detection, Detector, Real
from wirelesslab.mmtc.detectors.genie import Genie
from wirelesslab.mmtc.metrics import SymbolErrorTrial, symbol_errors
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import Truth, simulate
from wirelesslab.results import CONFIDENCE
from wirelesslab.stats import Clusters, Count

Claim = Literal["label", "speaks"]
CLAIMS: tuple[Claim, ...] = ("label", "speaks")
# Of the bins, in decades of the odds: from one in ten thousand to ten thousand to one; the outer ones are open.
EDGES = np.array([-4, -3, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2, 3, 4])
NUM_BINS = EDGES.size + 1
# The most that the surprise's probability can be in each bin: at the edge that is nearer to even odds.
_NEARER = np.concatenate([np.abs(EDGES[EDGES <= 0]), np.abs(EDGES[EDGES >= 0])])
MOST: Real = 1 / (1 + 10.0**_NEARER)
PARTS = 1000  # a claim is counted in so many parts of MOST, a log loss in so many parts of a nat
WORST_NATS = 30.0  # a truth to which a detector gave less than 1e-13 costs no more than this


def calibration_counts(detection: Detection, truth: Truth) -> dict[str, Count]:
    """Count claims that did not come true, per bin, and what was claimed; clustered by frame.

    Returns:
        ``ser``; ``log_loss``, -log of what the true label was given, over `WORST_NATS`; and for each claim
        and bin that is not empty ``label_07``, the surprises among the claims, and ``label_07_claimed``,
        the surprises that were claimed, over what `MOST` would have been.

    Raises:
        ValueError: Detection and truth are not of the same frames and devices.
    """
    ser = symbol_errors(detection, truth)
    posteriors, labels, symbols = detection.posteriors.astype(np.float64), detection.labels, truth.symbols
    counts = {"ser": ser, "log_loss": _log_loss(posteriors, symbols)}
    others = posteriors.copy()
    np.put_along_axis(others, labels[..., None], 0.0, axis=-1)
    # Both sides are sums of small terms: 1 - p would lose what lies near 1.
    confidence = np.take_along_axis(posteriors, labels[..., None], axis=-1)[..., 0]
    claims: dict[Claim, tuple[Real, Real, NDArray[np.bool_]]] = {
        "label": (confidence, others.sum(-1), labels == symbols),
        "speaks": (posteriors[..., 1:].sum(-1), posteriors[..., 0], symbols > 0),
    }
    for name, (true, false, came_true) in claims.items():
        counts |= _claim_counts(name, true, false, came_true)
    return counts


def _log_loss(posteriors: Real, symbols: NDArray[np.int64]) -> Count:
    given = np.take_along_axis(posteriors, symbols[..., None], axis=-1)[..., 0]
    nats = -np.log(np.clip(given, np.exp(-WORST_NATS), 1.0)).sum(1)
    return Count.per_frame(np.rint(PARTS * nats).astype(np.int64), round(PARTS * WORST_NATS) * symbols.shape[1])


def _claim_counts(name: str, true: Real, false: Real, came_true: NDArray[np.bool_]) -> dict[str, Count]:
    with np.errstate(divide="ignore"):
        bins = np.searchsorted(EDGES, np.log10(true) - np.log10(false), side="right")
    upper = bins >= NUM_BINS // 2
    total = true + false
    surprise = np.where(upper, false, true) / np.where(total > 0, total, 1.0)
    frames = np.arange(bins.shape[0])[:, None] * NUM_BINS + bins

    def per_bin(weights: NDArray[Any] | None = None) -> NDArray[Any]:
        flat = None if weights is None else weights.ravel()
        return np.bincount(frames.ravel(), flat, bins.shape[0] * NUM_BINS).reshape(-1, NUM_BINS)

    tried, surprised = per_bin(), np.rint(per_bin((upper != came_true).astype(float))).astype(np.int64)
    claimed = np.minimum(np.rint(PARTS * per_bin(surprise) / MOST).astype(np.int64), PARTS * tried)
    counts = {}
    for b in np.flatnonzero(tried.sum(0)):
        counts[f"{name}_{b:02d}"] = Count.per_frame(surprised[:, b], tried[:, b])
        counts[f"{name}_{b:02d}_claimed"] = Count.per_frame(claimed[:, b], PARTS * tried[:, b])
    return counts


@dataclass(frozen=True)
class CalibrationTrial:
    """One batch: a cell, frames in it, and what each detector claims and is surprised by on the same frames.

    Attributes:
        trial: Detectors, limits and frames, as a study of symbol errors takes them.
    """

    trial: SymbolErrorTrial

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return self.trial.parts

    def only(self, names: Collection[str]) -> "CalibrationTrial":
        """Return the trial of the named detectors and limits; they meet the same air."""
        return CalibrationTrial(self.trial.only(names))

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        return {"class": "CalibrationTrial", "trial": self.trial.describe()}

    def __call__(self, scenario: Scenario, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
        """Return the counts of each detector and limit on one batch of frames."""
        observation, truth = simulate(scenario, rng, num_frames=self.trial.frames_per_batch)
        everybody = (*self.trial.detectors, *(limit(truth) for limit in self.trial.limits))
        return {d.name: calibration_counts(d.detect(observation), truth) for d in everybody}


def calibration_trial(
    *detectors: Detector, limits: tuple[Any, ...] = (Genie,), frames_per_batch: int = 64
) -> CalibrationTrial:
    """Return the trial that judges the posteriors of `detectors`, and of `limits` built from the truth.

    Args:
        detectors: What to compare, all on the same air.
        limits: Classes such as `Genie`, built from the truth inside the trial.
        frames_per_batch: Frames in each cell (pilot draw); a batch is one cell.

    Examples:
        >>> from wirelesslab.mmtc.detectors import AMP
        >>> from wirelesslab.rng import stream
        >>> counts = calibration_trial(AMP())(Scenario(num_devices=40), stream(1))
        >>> list(counts), list(counts["genie"])[:2]
        (['AMP block', 'genie'], ['ser', 'log_loss'])
    """
    return CalibrationTrial(SymbolErrorTrial(detectors, limits, frames_per_batch))


def reliability(counts: xr.Dataset, replicate: str = "replicate") -> xr.Dataset:
    r"""Return reliability curves and calibration errors from a study of a `CalibrationTrial`.

    The replicates, independent groups of cells, are the clusters of every interval: rates have the interval of
    `Count` over them, the expected calibration error that of a jackknife over them with Student's quantile.

    Args:
        counts: The study's result.
        replicate: Its dim of independent repetitions, of which there are two at least.

    Returns:
        Dims: those of `counts` without `replicate`, and ``bin``. ``ser``, ``errors``, ``attempts``; ``log_loss``
        in nats per device; and for each claim, for instance ``label``: per bin ``label_surprise`` and
        ``label_claimed``, the rate of surprises and what was claimed, ``label_claims`` and ``label_surprises``,
        how many; and ``label_ece``, the expected calibration error $\sum_b \frac{n_b}{n} |s_b - c_b|$, with
        ``label_ece_chance``, what it would be by chance for a detector that is perfectly calibrated (it is
        never 0), and ``label_excess``, the mean claim minus how often it came true: for the label, by how much the
        symbol error rate lies above the one that was claimed.
    """
    if counts.sizes.get(replicate, 0) < 2:
        msg = f"counts: got dims {dict(counts.sizes)}, expected at least two of {replicate!r} for the intervals"
        raise ValueError(msg)
    dims = [str(d) for d in counts["errors"].dims if d != replicate]
    shape = tuple(counts.sizes[d] for d in dims)

    def values(name: str) -> NDArray[np.float64]:
        """One count of each point and replicate, shape (..., R); an absent bin is an empty one."""
        if name not in counts:
            return np.zeros((*shape, counts.sizes[replicate]))
        return np.asarray(np.nan_to_num(counts[name].transpose(*dims, replicate).values.astype(np.float64)))

    found: dict[str, tuple[list[str], NDArray[Any]]] = {}

    def put(name: str, errors: NDArray[Any], attempts: NDArray[Any], over: list[str], unit: float = 1.0) -> None:
        rate, low, high = np.moveaxis(rates_over_groups(errors, attempts) * unit, -1, 0)
        found.update({name: (over, rate), f"{name}_low": (over, low), f"{name}_high": (over, high)})

    errors, attempts = values("errors"), values("attempts")
    put("ser", errors, attempts, dims)
    put("log_loss", values("log_loss_errors"), values("log_loss_attempts"), dims, WORST_NATS)
    for name, array in (("errors", errors), ("attempts", attempts)):
        found[name] = (dims, array.sum(-1).astype(np.int64))
    for claim in CLAIMS:
        keys = [f"{claim}_{b:02d}" for b in range(NUM_BINS)]
        surprises, claims, parts = (
            np.stack([values(f"{key}{end}") for key in keys], axis=-2)
            for end in ("_errors", "_attempts", "_claimed_errors")
        )
        claimed = parts / PARTS * MOST[:, None]
        put(f"{claim}_surprise", surprises, claims, [*dims, "bin"])
        n = claims.sum(-1)
        found |= {
            f"{claim}_claims": ([*dims, "bin"], n.astype(np.int64)),
            f"{claim}_surprises": ([*dims, "bin"], surprises.sum(-1).astype(np.int64)),
            f"{claim}_claimed": ([*dims, "bin"], claimed.sum(-1) / np.where(n > 0, n, np.nan)),
        }
        for end, figure in _calibration_errors(surprises, claims, claimed).items():
            found[f"{claim}_{end}"] = (dims, figure)
    centres = np.concatenate([[EDGES[0] - 1], (EDGES[1:] + EDGES[:-1]) / 2, [EDGES[-1] + 1]])
    coords = {d: counts[d] for d in dims} | {"bin": centres}
    result = xr.Dataset(found, coords=coords, attrs=counts.attrs)
    result["bin"].attrs = {"long_name": "log10 of the odds that were claimed"}
    result["log_loss"].attrs = {"long_name": "log loss per device", "units": "nat"}
    return result


def rates_over_groups(errors: NDArray[Any], attempts: NDArray[Any]) -> NDArray[np.float64]:
    """Return rate and ends of its interval, shape (..., 3), with the last axis of the counts as clusters."""
    result = np.empty((*errors.shape[:-1], 3))
    for at in np.ndindex(errors.shape[:-1]):
        e, a = ([int(v) for v in side[at]] for side in (errors, attempts))
        squares = (sum(x * y for x, y in zip(p, q, strict=True)) for p, q in ((e, e), (a, a), (e, a)))
        count = Count(sum(e), sum(a), draws=Clusters(sum(v > 0 for v in a), *squares))
        result[at] = count.rate, *count.interval(CONFIDENCE)
    return result


def _calibration_errors(surprises: Real, claims: Real, claimed: Real) -> dict[str, Real]:
    """ECE with interval, its value by chance, and the excess; arguments have shape (..., bins, R)."""
    num = claims.shape[-1]
    gap, total = surprises - claimed, claims.sum(-2)
    ece, ece_low, ece_high = _jackknife(gap, total)
    # A surprise is a claim that failed in the upper bins, and one that came true in the lower ones.
    sign = np.where(np.arange(NUM_BINS) >= NUM_BINS // 2, 1.0, -1.0)[:, None]
    excess, excess_low, excess_high = _jackknife((sign * gap).sum(-2, keepdims=True), total, signed=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = gap.sum(-1, keepdims=True) / claims.sum(-1, keepdims=True)
        residual = np.nan_to_num(gap - mean * claims)
        deviation = np.sqrt((residual**2).sum(-1) * num / (num - 1))
        chance = deviation.sum(-1) * np.sqrt(2 / np.pi) / total.sum(-1)  # the mean of |normal|
    return {
        "ece": ece, "ece_low": np.maximum(ece_low, 0), "ece_high": ece_high, "ece_chance": chance,
        "excess": excess, "excess_low": excess_low, "excess_high": excess_high,
    }  # fmt: skip


def _jackknife(gap: Real, total: Real, *, signed: bool = False) -> tuple[Real, Real, Real]:
    """Σ_b |Σ_r gap_br| / Σ_r total_r with the ends of its interval; `signed` leaves the sign of the gaps."""
    num = gap.shape[-1]
    size = np.asarray if signed else np.abs
    with np.errstate(invalid="ignore", divide="ignore"):
        whole = size(gap.sum(-1)).sum(-1) / total.sum(-1)
        without = size(gap.sum(-1, keepdims=True) - gap).sum(-2) / (total.sum(-1, keepdims=True) - total)
        scatter = ((without - without.mean(-1, keepdims=True)) ** 2).sum(-1) * (num - 1) / num
    half = stdtrit(num - 1, (1 + CONFIDENCE) / 2) * np.sqrt(scatter)
    return whole, whole - half, whole + half
