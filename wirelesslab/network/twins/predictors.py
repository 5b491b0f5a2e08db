r"""What a twin expects of a queue's delay: by a formula, from data, or by a formula and what data say of its error.

One interface: `fit` returns the predictor that has learned, `predict` gives mean and 99 % quantile of the time
inside. Learned parts are small dense networks, evaluated in NumPy (`dense_nets`); fitting needs TensorFlow.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from wirelesslab import check
from wirelesslab.array_files import WeightFileError
from wirelesslab.network.dense_nets import DenseNet, load_net, save_net
from wirelesslab.network.theory import mg1_wait

Floats = NDArray[np.float64]

TARGETS = ("mean_delay_s", "p99_delay_s")
NUM_FEATURES = 5
QUANTILE = 0.99


@dataclass(frozen=True, kw_only=True, eq=False)
class Queues:
    """What a twin knows of queues, each the queue of one slice at one link; every field has shape (queues,).

    Attributes:
        offered_bps: What the slice offers.
        capacity_bps: The link's rate.
        share: The slice's part of it, in (0, 1].
        mean_bytes: Mean size of a packet.
        size_scv: Variance of sizes over their squared mean.
        arrival_scv: The same of the times between arrivals; 1 for Poisson.
        dispersion: Variance over mean of the number of arrivals in windows of `DISPERSION_SERVICES` mean
            services; 1 for Poisson.

    Examples:
        >>> queues = Queues(offered_bps=[4e6], capacity_bps=[10e6], share=[0.5], mean_bytes=[1000.0])
        >>> queues.load.tolist(), queues.service_s.tolist()
        ([0.8], [0.0016])
    """

    offered_bps: ArrayLike
    capacity_bps: ArrayLike
    share: ArrayLike
    mean_bytes: ArrayLike
    size_scv: ArrayLike = 1.0
    arrival_scv: ArrayLike = 1.0
    dispersion: ArrayLike = 1.0

    def __post_init__(self) -> None:
        offered = check.array(self.offered_bps, (None,), "queues", name="offered_bps")
        for f in fields(self):
            value = np.asarray(getattr(self, f.name))
            spread = np.broadcast_to(value, offered.shape) if value.ndim == 0 else value
            values = check.array(
                spread, offered.shape, "queues", name=f.name, because="queues are set by offered_bps"
            ).astype(np.float64)
            may_be_0 = f.name.endswith("scv") or f.name == "dispersion"
            if values.size and (values.min() < 0 or (values.min() == 0 and not may_be_0)):
                msg = f"{f.name}: got {values.min():g}, expected numbers {'of at least' if may_be_0 else 'above'} 0"
                raise ValueError(msg)
            values.setflags(write=False)
            object.__setattr__(self, f.name, values)
        if offered.size and np.max(self.share) > 1:
            msg = f"share: got {np.max(self.share):g}, expected at most 1, the whole link"
            raise ValueError(msg)

    def __len__(self) -> int:
        return np.size(self.offered_bps)

    @property
    def service_s(self) -> Floats:
        """Time that a mean packet takes at the slice's part of the link."""
        return np.asarray(8 * np.asarray(self.mean_bytes) / (np.asarray(self.capacity_bps) * np.asarray(self.share)))

    @property
    def load(self) -> Floats:
        """Offered over the slice's part."""
        return np.asarray(np.asarray(self.offered_bps) / (np.asarray(self.capacity_bps) * np.asarray(self.share)))

    def take(self, which: NDArray[Any]) -> "Queues":
        """Return some of the queues."""
        return Queues(**{f.name: np.asarray(getattr(self, f.name))[which] for f in fields(self)})

    @property
    def inputs(self) -> Floats:
        """What networks see, shape (queues, NUM_FEATURES): load, and logarithms of service time, scvs, dispersion."""
        columns = [
            self.load,
            np.log(self.service_s),
            np.log1p(np.asarray(self.size_scv)),
            np.log(np.asarray(self.arrival_scv) + 0.05),
            np.log(np.asarray(self.dispersion) + 0.05),
        ]
        return np.column_stack(columns)


DISPERSION_SERVICES = 20.0  # our choice: long enough to see bursts, short enough to be measured often


class Predictor(Protocol):
    """Predicts delays of queues."""

    def fit(self, queues: Queues, delays_s: ArrayLike, /) -> "Predictor":
        """Return the predictor that has learned from queues and their delays, shape (queues, targets)."""
        ...

    def predict(self, queues: Queues, /) -> Floats:
        """Return `TARGETS` of each queue in seconds, shape (queues, targets); infinity where a queue has none."""
        ...


@dataclass(frozen=True)
class ModelDriven:
    r"""The M/G/1 queue: Pollaczek and Khinchine's mean, and the quantile of a gamma law of fitting variance.

    The variance takes a wait to be 0 with probability $1 - \rho$ and exponential otherwise, which is exact for M/M/1,
    as is then the quantile; for other sizes it is our approximation. Burstiness of arrivals is not in the formula.
    A load of 1 or more has no steady state: its delays are infinite.

    Examples:
        >>> one = Queues(offered_bps=[0.5], capacity_bps=[1.0], share=[1.0], mean_bytes=[0.125])  # M/M/1, load 0.5
        >>> ModelDriven().predict(one).round(3).tolist()
        [[2.0, 9.21]]
    """

    def fit(self, queues: Queues, delays_s: ArrayLike, /) -> "ModelDriven":
        """Return itself: a formula has nothing to learn."""
        checked_delays(queues, delays_s)
        return self

    def predict(self, queues: Queues, /) -> Floats:
        """Return the formula's delays."""
        service_s, load, scv = queues.service_s, queues.load, np.asarray(queues.size_scv)
        delays = np.full((len(queues), len(TARGETS)), np.inf)
        stable = np.flatnonzero(load < 1)
        wait = np.array([mg1_wait(float(load[i] / service_s[i]), float(service_s[i]), float(scv[i])) for i in stable])
        if stable.size:
            service, mean = service_s[stable], wait + service_s[stable]
            variance = wait**2 * (2 / load[stable] - 1) + scv[stable] * service**2
            shape = mean**2 / np.maximum(variance, 1e-12 * mean**2)
            delays[stable, 0] = mean
            delays[stable, 1] = gammaincinv(shape, QUANTILE) * mean / shape
        return delays


@dataclass(frozen=True, kw_only=True)
class DataDriven:
    """A small network from what is known of a queue to the logarithm of its delays in mean services.

    Untrained it knows an empty queue: every delay is one mean service.

    Attributes:
        net: The network.
        seed: Of its first weights and of who validates.
    """

    net: DenseNet = field(default_factory=lambda: DenseNet.untrained(NUM_FEATURES, (8,), len(TARGETS)), repr=False)
    seed: int = 0

    def __post_init__(self) -> None:
        _check_net(self.net)

    def fit(self, queues: Queues, delays_s: ArrayLike, /) -> "DataDriven":
        """Return the fitted network."""
        from wirelesslab.network.twins.predictor_training import committee

        delays = checked_delays(queues, delays_s)
        targets = np.log(delays / queues.service_s[:, None])
        return replace(self, net=committee(queues.inputs, targets, seed=self.seed)[0])

    def predict(self, queues: Queues, /) -> Floats:
        """Return the network's delays; it knows no bound of stability."""
        return np.asarray(queues.service_s[:, None] * np.exp(self.net(queues.inputs)))

    def save(self, path: Path) -> Path:
        """Write it to ``<path>.npz`` and ``<path>.json``; return the path of the arrays."""
        return save_net(self.net, path, {"kind": "data-driven predictor", "seed": self.seed})

    @classmethod
    def load(cls, path: Path) -> "DataDriven":
        """Return what `save` wrote.

        Raises:
            WeightFileError: A file is missing, damaged, or of something else.
        """
        net, serves = load_net(path, "data-driven predictor")
        with _describing(path):
            return cls(net=net, seed=serves["seed"])


@dataclass(frozen=True, kw_only=True)
class Hybrid:
    r"""The formula times a learned correction that is trusted where it was trained.

    $\hat d = d_{M/G/1} \, e^{w(x) f(\bar x)}$: $f$ is a small network, $\bar x$ the nearest point of the training's
    box of features, widened by a margin, and $w = e^{-(u/r)^2}$ with $u$ the distance from the box itself in its
    half-widths and $r$ the reach. Inside the box the correction holds in full; a little outside it goes on, a wild
    extrapolation is cut, and far outside nothing is left but the formula. Untrained, $f = 0$: it *is* the formula.
    Margin and reach are chosen by training without the outermost queues and validating on them.

    Attributes:
        model: The formula.
        net: The correction of its logarithm.
        low: Lower corner of the box, one number for each feature; empty before training.
        high: Upper corner.
        margin: By how many half-widths the box is widened.
        reach: $r$, in half-widths.
        seed: Of the first weights and of who validates.
    """

    model: ModelDriven = ModelDriven()
    net: DenseNet = field(default_factory=lambda: DenseNet.untrained(NUM_FEATURES, (8,), len(TARGETS)), repr=False)
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    margin: float = 1.0
    reach: float = 8.0
    seed: int = 0

    def __post_init__(self) -> None:
        _check_net(self.net)
        check.positive(reach=self.reach)
        check.within(0, 100, margin=self.margin)
        if not (len(self.low) == len(self.high) and len(self.low) in {0, NUM_FEATURES}):
            msg = f"low: got {len(self.low)} and {len(self.high)} corners, expected {NUM_FEATURES} each, or none"
            raise ValueError(msg)

    def fit(self, queues: Queues, delays_s: ArrayLike, /) -> "Hybrid":
        """Return the formula with a fitted correction.

        Raises:
            ValueError: A queue is unstable: the formula has no delay that could be corrected.
        """
        from wirelesslab.network.twins.predictor_training import committee, trust_of

        delays = checked_delays(queues, delays_s)
        said = self.model.predict(queues)
        if not np.isfinite(said).all():
            worst = float(queues.load.max())
            msg = f"queues: got a load of {worst:g}, expected loads below 1 to learn from; leave overloaded queues out"
            raise ValueError(msg)
        inputs, targets = queues.inputs, np.log(delays / said)
        net, decay = committee(inputs, targets, seed=self.seed)
        margin, reach = trust_of(inputs, targets, decay=decay, default=(self.margin, self.reach), seed=self.seed)
        low, high = (tuple(map(float, corner(axis=0))) for corner in (inputs.min, inputs.max))
        return replace(self, net=net, low=low, high=high, margin=margin, reach=reach)

    def predict(self, queues: Queues, /) -> Floats:
        """Return the corrected delays; infinity where the formula has none."""
        return np.asarray(self.model.predict(queues) * np.exp(self.correction(queues)))

    def correction(self, queues: Queues) -> Floats:
        """Return what is added to the formula's logarithms, shape (queues, targets)."""
        inputs = queues.inputs
        if not self.low:
            return self.net(inputs)
        return corrections(self.net, inputs, np.array(self.low), np.array(self.high), self.margin, self.reach)

    def save(self, path: Path) -> Path:
        """Write it to ``<path>.npz`` and ``<path>.json``; return the path of the arrays."""
        box = {name: list(getattr(self, name)) for name in ("low", "high")}
        box |= {name: getattr(self, name) for name in ("margin", "reach", "seed")}
        return save_net(self.net, path, {"kind": "hybrid predictor", **box})

    @classmethod
    def load(cls, path: Path) -> "Hybrid":
        """Return what `save` wrote.

        Raises:
            WeightFileError: A file is missing, damaged, or of something else.
        """
        net, s = load_net(path, "hybrid predictor")
        with _describing(path):
            numbers = {name: s[name] for name in ("margin", "reach", "seed")}
            return cls(net=net, low=tuple(s["low"]), high=tuple(s["high"]), **numbers)


PREDICTORS: Sequence[type[Predictor]] = (ModelDriven, DataDriven, Hybrid)


def corrections(net: DenseNet, inputs: Floats, low: Floats, high: Floats, margin: float, reach: float) -> Floats:
    """Return a correction as `Hybrid` trusts it, shape (queues, outputs).

    Args:
        net: Gives the correction.
        inputs: Shape (queues, inputs).
        low: Lower corner of the box that it was trained in, shape (inputs,).
        high: Upper corner.
        margin: Half-widths by which the box is widened before inputs are moved to its nearest point.
        reach: Half-widths from the box at which a correction has fallen to 1/e.
    """
    half = np.maximum((high - low) / 2, 1e-9 * (1 + np.abs(high)))
    away = np.sqrt((((inputs - np.clip(inputs, low, high)) / half) ** 2).sum(axis=1))
    nearest = np.clip(inputs, low - margin * half, high + margin * half)
    return np.asarray(net(nearest) * np.exp(-((away / reach) ** 2))[:, None])


def checked_delays(queues: Queues, delays_s: ArrayLike) -> Floats:
    """Return delays as numbers; refuse other shapes, NaN, and delays that are not above 0."""
    delays = check.array(
        delays_s, (len(queues), len(TARGETS)), "queues, targets", name="delays_s", because=f"targets are {TARGETS}"
    ).astype(np.float64)
    if delays.size and delays.min() <= 0:
        msg = f"delays_s: got {delays.min():g}, expected delays above 0; leave queues without a packet out"
        raise ValueError(msg)
    return delays


def _check_net(net: DenseNet) -> None:
    if (net.sizes[0], net.sizes[-1]) != (NUM_FEATURES, len(TARGETS)):
        msg = (
            f"net: got {net.sizes[0]} inputs and {net.sizes[-1]} outputs, expected {NUM_FEATURES} and "
            f"{len(TARGETS)}: what is known of a queue, and {TARGETS}"
        )
        raise ValueError(msg)


@contextmanager
def _describing(path: Path) -> Iterator[None]:
    """Say which file it was when a description holds no predictor."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        msg = f"weights: {path} describes no predictor ({error})"
        raise WeightFileError(msg) from None
