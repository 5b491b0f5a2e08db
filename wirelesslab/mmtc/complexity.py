"""What a detection costs, in complex multiplications of a frame: one formula per detector, all in this place.

Counted are products with pilots, received symbols, covariances and their inverses, to leading order: of each
formula the terms that can be largest somewhere. A product of a complex number with a real one counts as a half,
of two real ones as a quarter. Left out are energies, exponentials and logarithms (of order K per iteration, and times
the nodes of a gain that is not known) and what is done once for all frames of an observation. Where the work depends
on the frame, the formula says what it takes for typical (our choice). With K = N Q columns, L symbols, M antennas:

=====================  ==========================================================================
matched filter         K L M
read-out               2 K L² + L³ + K Q L + K L M + K (2 Q² + Q M); that of the genie, OMP, covariance and CL-MP
AMP, I iterations      (2 I - 1) K L M + (I - 1) L M²
OAMP                   (2 I - 1) K L M + (I/2 + L) L M
OMP                    K L M per step, and the read-out
covariance, s sweeps   s K (L² + L M), and L² for each power that a sweep changes; and the read-out
CL-MP                  K (L + M) + 2 L² per step, K L M to start, and the read-out
Gibbs                  see `_gibbs`
MAMPNet                its layers as AMP's, and K L²/2 + L³/3 + K L M + L² M per refinement pass
=====================  ==========================================================================

To add a detector's: ``@multiplications.register``.
"""

from dataclasses import dataclass
from functools import singledispatch
from math import ceil

from wirelesslab import check
from wirelesslab.mmtc.detection import Assuming
from wirelesslab.mmtc.detectors import (
    AMP,
    LMMSE,
    OAMP,
    OMP,
    Covariance,
    CovarianceMatching,
    Genie,
    Gibbs,
    MAMPNet,
    MatchedFilter,
)
from wirelesslab.mmtc.detectors.gibbs import REBUILD_EVERY
from wirelesslab.mmtc.uplink import Observation

CHANGED_PER_SWEEP = 0.35  # rank-one changes in a sweep of coordinate descent, per pilot: most powers stay at 0
STEPS_PER_SPEAKER = 1.7  # of CL-MP that may move a power again
CHANGES_PER_SPEAKER = 0.2  # labels that a sweep of a Gibbs sampler changes on its usual rungs, where gains are known


@dataclass(frozen=True, kw_only=True)
class Shape:
    """How large a detection is.

    Attributes:
        num_devices: N.
        columns_per_device: Q, pilots of a device times the ways in which it may arrive.
        pilot_length: L, symbols that are listened to.
        num_antennas: M.
        activity_prob: ε; ε N devices are taken to speak.
        num_nodes: Nodes of the law of an unknown gain, 1 where gains are known.
    """

    num_devices: int
    columns_per_device: int
    pilot_length: int
    num_antennas: int
    activity_prob: float = 0.1
    num_nodes: int = 1

    def __post_init__(self) -> None:
        check.positive_integer(
            num_devices=self.num_devices, columns_per_device=self.columns_per_device, pilot_length=self.pilot_length,
            num_antennas=self.num_antennas, num_nodes=self.num_nodes,
        )  # fmt: skip
        check.probability(activity_prob=self.activity_prob)

    @classmethod
    def of(cls, observation: Observation) -> "Shape":
        """Return the shape of an observation."""
        o = observation
        return cls(
            num_devices=o.num_devices, columns_per_device=o.pilots_per_device, pilot_length=o.pilot_length,
            num_antennas=o.num_antennas, activity_prob=o.activity_prob, num_nodes=o.gains.weights.size,
        )  # fmt: skip

    @property
    def num_columns(self) -> int:
        """K = N Q."""
        return self.num_devices * self.columns_per_device

    @property
    def speakers(self) -> float:
        """ε N."""
        return self.activity_prob * self.num_devices

    @property
    def product(self) -> float:
        """K L M: one product of the pilots with a frame."""
        return float(self.num_columns * self.pilot_length * self.num_antennas)

    @property
    def readout(self) -> float:
        """The likelihood-ratio read-out of one frame's powers."""
        k, q, length, m = self.num_columns, self.columns_per_device, self.pilot_length, self.num_antennas
        return 2 * k * length**2 + length**3 + k * q * length + self.product + k * (2 * q**2 + q * m)


@singledispatch
def multiplications(detector: object, shape: Shape) -> float:
    """Return the complex multiplications with which `detector` decides one frame of that shape, to leading order.

    Raises:
        TypeError: No formula is registered for the detector.

    Examples:
        >>> shape = Shape(num_devices=100, columns_per_device=4, pilot_length=30, num_antennas=4)
        >>> f"{multiplications(AMP(), shape):,.0f} {multiplications(Covariance(), shape):,.0f}"
        '1,881,120 7,270,200'
    """
    del shape
    msg = f"detector: got {type(detector).__name__}, expected one with a formula; add it by multiplications.register"
    raise TypeError(msg)


@multiplications.register
def _assuming(detector: Assuming, shape: Shape) -> float:
    return multiplications(detector.detector, shape)


@multiplications.register
def _matched_filter(detector: MatchedFilter, shape: Shape) -> float:
    del detector
    return shape.product


@multiplications.register
def _lmmse(detector: LMMSE, shape: Shape) -> float:
    """The inverse is that of all frames: a frame costs its products with the whitened pilots."""
    del detector
    q, m = shape.columns_per_device, shape.num_antennas
    return shape.product + shape.pilot_length**2 * m + shape.num_columns * (q**2 / 3 + q * m)


@multiplications.register
def _genie(detector: Genie, shape: Shape) -> float:
    del detector
    return shape.readout


@multiplications.register
def _omp(detector: OMP, shape: Shape) -> float:
    """A step more than there are speakers; each is orthogonalised twice against those before."""
    del detector
    steps = ceil(shape.speakers) + 1
    project = 2 * steps * shape.pilot_length + 2 * shape.pilot_length * shape.num_antennas
    return steps * (shape.product + project) + shape.readout


@multiplications.register
def _amp(detector: AMP, shape: Shape) -> float:
    onsager = 0 if detector.retuned else shape.pilot_length * shape.num_antennas**2
    iterations = detector.iterations
    return (2 * iterations - 1 + detector.best_iterate) * shape.product + (iterations - 1) * onsager


@multiplications.register
def _oamp(detector: OAMP, shape: Shape) -> float:
    """As AMP's, with a scaling of the residual's rows; and the frame is turned once."""
    scalings = detector.iterations / 2 + shape.pilot_length
    return (2 * detector.iterations - 1) * shape.product + scalings * shape.pilot_length * shape.num_antennas


@multiplications.register
def _covariance(detector: Covariance, shape: Shape) -> float:
    """A visit looks at a pilot; few change its power, and a rebuilding takes a look and a change per power."""
    length = shape.pilot_length
    look = length**2 + length * shape.num_antennas
    changes = CHANGED_PER_SWEEP * shape.num_columns * length**2
    return detector.sweeps * (shape.num_columns * look + changes) + shape.readout


@multiplications.register
def _covariance_matching(detector: CovarianceMatching, shape: Shape) -> float:
    steps = (STEPS_PER_SPEAKER if detector.readjust else 1.0) * shape.speakers
    move = shape.num_columns * (shape.pilot_length + shape.num_antennas) + 2 * shape.pilot_length**2
    return shape.product + steps * move + shape.readout


@multiplications.register
def _gibbs(detector: Gibbs, shape: Shape) -> float:
    """K L M to start, then sweeps of all walkers of all chains.

    Each of them costs

    - K M/2 to see what every pilot would gain; for each speaker L² + Q L to see that without it;
    - a relocation: L² + K (L + M);
    - a change of label: K (L + M) + 2 L² to take out and to put in; where gains are drawn, every speaker changes;

    and all speakers are put in anew every 25 sweeps.
    """
    k, q, length, m = shape.num_columns, shape.columns_per_device, shape.pilot_length, shape.num_antennas
    move = k * (length + m) + 2 * length**2
    changes = 2 * shape.speakers * (CHANGES_PER_SPEAKER if shape.num_nodes == 1 else 1.0)
    sweep = k * m / 2 + shape.speakers * (length**2 + q * length) + changes * move
    sweep += detector.relocations * (length**2 + k * (length + m)) + shape.speakers * move / REBUILD_EVERY
    return shape.product + detector.chains * detector.rungs * (detector.burn_in + detector.sweeps) * sweep


@multiplications.register
def _mampnet(detector: MAMPNet, shape: Shape) -> float:
    """Layers, then passes: a covariance and its inverse's forms (real, packed), whitening, a product, small nets."""
    net, k, length, m = detector.network.architecture, shape.num_columns, shape.pilot_length, shape.num_antennas
    layers = (2 * net.num_layers - 1) * shape.product + (net.num_layers - 1) * length * m**2
    test = k * length**2 / 2 + length**3 / 3 + length**2 * m + shape.product if net.refinement == "covariance" else 0.0
    return layers + net.num_passes * (test + k * net.block_width * 9 / 4)
