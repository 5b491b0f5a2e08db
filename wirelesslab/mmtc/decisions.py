"""Other decisions than the most probable label: a threshold that keeps a false-alarm rate, and costs of errors.

A detector's posteriors say how sure it is; whoever acts on them may fear one error more than another. `Costed`
takes the Bayes decision under `Costs`. `Thresholded` hears a device when its log-odds of speaking exceed a
`Threshold` that `learned_threshold` found on held-out frames: the Neyman-Pearson rule, which keeps the
false-alarm rate that was asked for even where the posteriors lie, because the detector was told wrong numbers or
because it is no Bayes rule at all.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from wirelesslab import check
from wirelesslab.mmtc.detection import Detection, Detector, Real
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import Cell, Observation, Truth, simulate
from wirelesslab.stats import Count, Interval, total

Guarantee = Literal["on average", "at most on average", "at most"]
GUARANTEES: tuple[Guarantee, ...] = ("on average", "at most on average", "at most")
MOST_NATS = 750.0  # of log-odds: the least positive double has a logarithm of -745, so 0 and 1 lie beyond


def log_odds(detection: Detection) -> NDArray[np.float64]:
    """Return the log-odds that each device speaks, in nats, shape (frames, N), within ±`MOST_NATS`.

    Both sides are sums of what was given, never 1 - p: posteriors near 0 and near 1 are told apart alike. Those
    that are exactly 0 or 1 share the ends of the range and tie there.
    """
    posteriors = detection.posteriors.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.log(posteriors[..., 1:].sum(-1)) - np.log(posteriors[..., 0])
    return np.asarray(np.clip(np.nan_to_num(odds, nan=0.0, posinf=MOST_NATS, neginf=-MOST_NATS), -MOST_NATS, MOST_NATS))


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """When a device counts as heard: above so much log-odds of speaking, and by a coin exactly there.

    Attributes:
        nats: The threshold, log-odds.
        tie_prob: Probability of hearing a device whose log-odds equal the threshold.
        asked: The false-alarm rate that was asked for, among the silent; NaN for a threshold that was not learned.
        guarantee: What `learned_threshold` promises.
        confidence: Of "at most".
        expected: The false-alarm rate on fresh frames in the mean over learnings: rank/(silent + 1).
        silent: Log-odds of silent devices that it was learned from.
        frames: Frames that they came from.
        design_effect: By how much the learning's variance exceeds that of independent log-odds, at least 1: seen
            at the threshold, frames (and draws, where they were named) being the clusters.
    """

    nats: float
    tie_prob: float = 0.0
    asked: float = math.nan
    guarantee: Guarantee = "on average"
    confidence: float = 0.95
    expected: float = math.nan
    silent: int = 0
    frames: int = 0
    design_effect: float = 1.0

    def __post_init__(self) -> None:
        check.finite(nats=self.nats)
        check.probability(tie_prob=self.tie_prob, confidence=self.confidence)
        check.one_of(GUARANTEES, guarantee=self.guarantee)

    def interval(self, confidence: float = 0.95) -> Interval:
        """Return where the false-alarm rate on fresh frames lies, as far as the learning tells.

        The rate above the k-th largest of n independent log-odds has the law Beta(k, n + 1 - k), whatever the
        law of the log-odds; for clustered ones k and n are divided by the design effect.
        """
        if not self.silent:
            return Interval(math.nan, math.nan)
        a, b = _beta(self.expected * (self.silent + 1), self.silent, self.design_effect)
        low, high = (float(betaincinv(a, b, p)) for p in ((1 - confidence) / 2, (1 + confidence) / 2))
        return Interval(low, high)

    def deviation(self, fresh: Count) -> float:
        """Return how far the false-alarm rate on fresh frames lies from the expected one, in standard errors.

        The variance is that of the learning and that of the fresh count, both with their clustering; at the expected
        rate, so that no false alarm at all is no certainty.
        """
        if not (fresh.attempts and self.silent):
            return math.nan
        binomial = self.expected * (1 - self.expected)
        variance = binomial * (self.design_effect / self.silent + design_effect(fresh) / fresh.attempts)
        return (fresh.rate - self.expected) / math.sqrt(variance)

    def to_json(self) -> dict[str, Any]:
        """Return the threshold as numbers and text, which `from_json` reads; what was not learned is None."""
        return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Return the threshold that `to_json` wrote.

        Raises:
            ValueError: A name is no field of a threshold.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            check.one_of(known, threshold=name)
        given: dict[str, Any] = {k: math.nan if v is None else v for k, v in values.items()}
        return cls(**given)


def design_effect(count: Count) -> float:
    """Return by how much clustering inflates the variance of a rate: by frame or by draw, at least 1."""
    if not 0 < count.errors < count.attempts:
        return 1.0
    binomial = count.rate * (1 - count.rate) / count.attempts
    seen = [level.variance(count.errors, count.attempts) for level in (count.frames, count.draws) if level.num >= 2]
    return max(1.0, *(variance / binomial for variance in seen)) if seen else 1.0


def learned_threshold(
    odds: ArrayLike,
    silent: ArrayLike,
    asked: float,
    *,
    guarantee: Guarantee = "on average",
    confidence: float = 0.95,
    draws: ArrayLike | None = None,
) -> Threshold:
    r"""Learn the threshold that keeps a false-alarm rate, from held-out frames whose silent devices are known.

    With the n log-odds of silent devices in falling order, the threshold is the k-th; what is promised sets k.

    - "on average": $k = \lfloor α(n+1) \rfloor$. A fresh silent device exceeds the k-th largest with probability
      k/(n+1) over learning and device, exactly when the log-odds are exchangeable. When only frames are, the mean
      is off by terms of the order of one over the number of frames.
    - "at most on average": $k - 1 = \lfloor αn - (1-α)N \rfloor$, so that $E[\text{false alarms}] \le α
      E[\text{silent}]$ in a fresh frame exactly, for exchangeable frames and any dependence within them: conformal
      risk control with the loss "false alarms - α silent", which one frame cannot raise by more than (1-α) N.
    - "at most": the largest k at which $P(\text{Beta}(k, n+1-k) \le α)$ is at least `confidence`: the rate on
      fresh frames is at most the asked one in that share of learnings. Exact for independent log-odds; for
      clustered ones k and n are divided by the design effect that was seen, which is an approximation.

    Ties: among b equal log-odds, of which a lie above, a coin of probability (k-a)/(b+1) decides, which keeps
    k/(n+1); "at most on average" never hears a tie.

    References: Vovk, Gammerman and Shafer, Algorithmic Learning in a Random World, 2005 (rank); Angelopoulos et
    al., Conformal risk control, ICLR 2024 (second); Tong, Feng and Li, Science Advances 4(2), 2018 (third).

    Args:
        odds: Log-odds of speaking, shape (frames, N), such as `log_odds` returns.
        silent: Who was silent, shape (frames, N).
        asked: The false-alarm rate α, in (0, 1).
        guarantee: One of `GUARANTEES`.
        confidence: Of "at most".
        draws: Which draw (cell) each frame belongs to, shape (frames,), when there were several: the clusters
            of the design effect beside the frames.

    Raises:
        ValueError: Too few silent devices for the rate that is asked, or shapes that do not fit.

    Examples:
        >>> learned_threshold([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0]], np.ones((1, 9), bool), 0.2).nats
        8.0
    """
    values = check.array(np.asarray(odds, dtype=np.float64), (None, None), "frames, N", name="odds")
    quiet = check.array(np.asarray(silent), values.shape, "frames, N", name="silent").astype(bool)
    check.probability(asked=asked, confidence=confidence)
    check.one_of(GUARANTEES, guarantee=guarantee)
    groups = np.zeros(len(values), dtype=np.int64) if draws is None else np.asarray(draws)
    check.array(groups, (len(values),), "frames", name="draws")
    falling = -np.sort(-values[quiet])
    n, frames = falling.size, int(np.count_nonzero(quiet.any(1)))

    def clustering(rank: int) -> float:
        heard = quiet & (values >= falling[rank - 1])
        counts = [Count.per_frame(heard[groups == g].sum(1), quiet[groups == g].sum(1)) for g in np.unique(groups)]
        return design_effect(total(counts))

    rank = math.floor(asked * (n + 1) + 1e-9)
    if guarantee == "at most on average":
        rank = min(rank, math.floor(asked * n - (1 - asked) * values.shape[1] + 1e-9) + 1)
    if not 0 < asked < 1 or rank < 1:
        _too_few(asked, n, guarantee)
    effect = clustering(rank)
    if guarantee == "at most":
        # The clustering is that at the asked rate: it changes little over the few ranks between.
        while rank >= 1 and betaincinv(*_beta(rank, n, effect), confidence) > asked:
            rank -= 1
        if rank < 1:
            _too_few(asked, n, guarantee)
    nats = float(falling[rank - 1])
    above, equal = int(np.count_nonzero(falling > nats)), int(np.count_nonzero(falling == nats))
    exact = guarantee == "at most on average"
    return Threshold(
        nats=nats,
        tie_prob=0.0 if exact else (rank - above) / (equal + 1),
        asked=asked,
        guarantee=guarantee,
        confidence=confidence,
        expected=(above + 1 if exact else rank) / (n + 1),
        silent=n,
        frames=frames,
        design_effect=effect,
    )


def _beta(rank: float, silent: int, effect: float) -> tuple[float, float]:
    """The law of the rate above the `rank`-th largest of `silent` log-odds in clusters."""
    return rank / effect, (silent + 1 - rank) / effect


def _too_few(asked: float, silent: int, guarantee: Guarantee) -> None:
    msg = (
        f"asked: got a false-alarm rate of {asked:g} from {silent} silent devices, {guarantee!r}; expected a rate "
        "within (0, 1) and silent devices well above one over it (a frame's devices over it for 'at most on average'); "
        "learn from more frames or ask for a higher rate"
    )
    raise ValueError(msg)


def learn_threshold(
    detector: Detector,
    cell_or_scenario: Cell | Scenario,
    rng: np.random.Generator,
    asked: float,
    *,
    num_frames: int = 400,
    guarantee: Guarantee = "on average",
    confidence: float = 0.95,
) -> Threshold:
    """Simulate held-out frames of one cell and learn a detector's threshold on them.

    What is learned holds for that cell and for what the detector is told there: for an `Assuming` detector the
    threshold makes up for the lie.

    Args:
        detector: Whose log-odds.
        cell_or_scenario: A cell, or a scenario from which one is drawn.
        rng: The source of all randomness; other than that of the frames to be judged.
        asked: The false-alarm rate, in (0, 1).
        num_frames: Frames to learn from.
        guarantee: See `learned_threshold`.
        confidence: See `learned_threshold`.
    """
    observation, truth = simulate(cell_or_scenario, rng, num_frames=num_frames)
    odds = log_odds(detector.detect(observation))
    return learned_threshold(odds, truth.symbols == 0, asked, guarantee=guarantee, confidence=confidence)


@dataclass(frozen=True, eq=False)
class Decided(Detection):
    """A detection whose labels were decided by another rule than the most probable label.

    Attributes:
        decided: The labels, shape (frames, N); the posteriors stay as the detector gave them.
    """

    decided: NDArray[np.int64] = field(kw_only=True)

    @property
    def labels(self) -> NDArray[np.int64]:
        """What was decided, shape (frames, N)."""
        return self.decided


def decided(detection: Detection, labels: NDArray[np.int64]) -> Decided:
    """Return `detection` with other labels, shape (frames, N), and everything else as it was."""
    kept = {f.name: getattr(detection, f.name) for f in fields(Detection)}
    return Decided(**kept, decided=labels)


def likeliest_symbol(detection: Detection) -> NDArray[np.int64]:
    """Return the most probable label of each device were it to speak, 1..Q, shape (frames, N)."""
    return np.asarray(1 + np.argmax(detection.posteriors[..., 1:], axis=-1))


@dataclass(frozen=True)
class Thresholded:
    """A detector that hears a device when its log-odds of speaking exceed a threshold.

    Where log-odds equal the threshold a coin decides. It is tossed from what was received, so that the same frame
    is always decided alike, alone or among others.

    Attributes:
        detector: Whose posteriors.
        threshold: Learned by `learn_threshold`, or ``Threshold(nats=...)``.
    """

    detector: Detector
    threshold: Threshold

    @property
    def name(self) -> str:
        """The detector's name, the rate that was asked and the threshold, so that two learnings are told apart."""
        t = self.threshold
        words = [] if math.isnan(t.asked) else [f"{t.asked:g} false alarms {t.guarantee}"]
        words += [f"log-odds above {t.nats:.9g}"] + ([f"ties {t.tie_prob:.6g}"] if t.tie_prob else [])
        return f"{self.detector.name} ({', '.join(words)})"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame, labels decided by the threshold."""
        detection = self.detector.detect(observation)
        odds = log_odds(detection)
        heard = odds > self.threshold.nats
        tied = odds == self.threshold.nats
        if self.threshold.tie_prob > 0:
            for frame in np.flatnonzero(tied.any(axis=1)):
                heard[frame] |= tied[frame] & (_coins(observation, int(frame)) < self.threshold.tie_prob)
        return decided(detection, np.where(heard, likeliest_symbol(detection), 0))


def _coins(observation: Observation, frame: int) -> Real:
    """A uniform number for each device, drawn from what was received in the frame."""
    digest = sha256(np.ascontiguousarray(observation.received[frame]).tobytes()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "little")).random(observation.num_devices)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What an error costs. Ones are the symbol error rate, whose Bayes decision is the most probable label.

    Attributes:
        missed: A speaker that is taken for silent.
        false_alarm: A silent device that is given a label.
        wrong_symbol: A speaker that is given another label.
    """

    missed: float = 1.0
    false_alarm: float = 1.0
    wrong_symbol: float = 1.0

    def __post_init__(self) -> None:
        check.within(0, 1e9, missed=self.missed, false_alarm=self.false_alarm, wrong_symbol=self.wrong_symbol)

    def per_frame(self, detection: Detection, truth: Truth) -> NDArray[np.float64]:
        """Return what each frame's errors cost, shape (frames,).

        Raises:
            ValueError: Detection and truth are not of the same frames and devices.
        """
        labels, symbols = detection.labels, truth.symbols
        check.array(labels, symbols.shape, "frames, N", name="detection", because="the truth sets frames and N")
        spoke, heard = symbols > 0, labels > 0
        each = self.missed * (spoke & ~heard) + self.false_alarm * (~spoke & heard)
        return np.asarray((each + self.wrong_symbol * (spoke & heard & (labels != symbols))).sum(1))


@dataclass(frozen=True)
class Costed:
    """A detector that takes the decision of least expected cost: Bayes' rule on its posteriors.

    A device is silent at the cost ``missed`` P(speaks); label q costs ``false_alarm`` P(silent) + ``wrong_symbol``
    (P(speaks) - P(q)), least for the likeliest label. The rule is as good as the posteriors are.

    Attributes:
        detector: Whose posteriors.
        costs: What errors cost.
    """

    detector: Detector
    costs: Costs

    @property
    def name(self) -> str:
        """The detector's name and the costs."""
        c = self.costs
        return f"{self.detector.name} (costs {c.missed:g}, {c.false_alarm:g}, {c.wrong_symbol:g})"

    def detect(self, observation: Observation, /) -> Detection:
        """Return the detection of every frame, labels decided by the costs."""
        detection, c = self.detector.detect(observation), self.costs
        p = detection.posteriors.astype(np.float64)
        best = likeliest_symbol(detection)
        # What is left of the speaking labels is summed, not 1 - p: it may be far below the rounding of 1.
        rest = p[..., 1:].copy()
        np.put_along_axis(rest, best[..., None] - 1, 0.0, axis=-1)
        silence = c.missed * p[..., 1:].sum(-1)
        speech = c.false_alarm * p[..., 0] + c.wrong_symbol * rest.sum(-1)
        return decided(detection, np.where(speech < silence, best, 0))
