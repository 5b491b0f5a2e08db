"""The detectors, one file per idea.

To add one: write ``detectors/<name>.py`` with a frozen dataclass that has ``name`` and ``detect``,
and put an instance into `DETECTORS`. The family's specs and the sims' ``--detectors`` find it there.
"""

from collections.abc import Iterable

from wirelesslab import check
from wirelesslab.mmtc.detection import Assuming, Detection, Detector
from wirelesslab.mmtc.detectors.amp import AMP
from wirelesslab.mmtc.detectors.covariance import Covariance
from wirelesslab.mmtc.detectors.covariance_matching import CovarianceMatching
from wirelesslab.mmtc.detectors.genie import Genie
from wirelesslab.mmtc.detectors.gibbs import Gibbs
from wirelesslab.mmtc.detectors.greedy import OMP
from wirelesslab.mmtc.detectors.linear import LMMSE, MatchedFilter
from wirelesslab.mmtc.detectors.mampnet import MAMPNet
from wirelesslab.mmtc.detectors.oamp import OAMP
from wirelesslab.naming import slug

DETECTORS: tuple[Detector, ...] = (
    MatchedFilter(),
    LMMSE(),
    OMP(),
    OMP(one_per_device=True),
    AMP(prior="row"),
    AMP(prior="block"),
    AMP(prior="winner"),
    AMP(best_iterate=True),
    AMP(retuned=True),
    OAMP(),
    Covariance(),
    Covariance(block_constrained=True),
    CovarianceMatching(),
    Gibbs(),
    MAMPNet.pretrained(),
    MAMPNet.pretrained("distribution"),
)

__all__ = [
    "AMP", "DETECTORS", "LMMSE", "OAMP", "OMP", "Assuming", "Covariance", "CovarianceMatching", "Detection",
    "Detector", "Genie", "Gibbs", "MAMPNet", "MatchedFilter", "named",
]  # fmt: skip


def named(names: Iterable[str]) -> tuple[Detector, ...]:
    """Return the detectors of these names, as the command line writes them.

    Raises:
        ValueError: A name is unknown; the message has the nearest one.

    Examples:
        >>> [detector.name for detector in named(["amp-block", "covariance"])]
        ['AMP block', 'covariance']
    """
    known = {slug(detector.name): detector for detector in DETECTORS}
    wanted = [slug(name) for name in names]
    for name in wanted:
        check.one_of(known, detectors=name)
    return tuple(known[name] for name in wanted)
