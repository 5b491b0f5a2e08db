"""All rules by name, before anything is tuned, and the settings that each may choose among on validation classes.

They have their published numbers, but for two: calibrated distributions draw 20 mirrored samples of each class in place
of 750, to be quick; who compares with them at their best takes `DistributionCalibration.published`, or 750 samples at
chosen settings. And the scale-free variant of P3DC-Shot is ours.

Each grid has the same number of settings (`vision.tuning` refuses others), and each holds what the rule is by default.
Nearest neighbour has nothing to choose and is what others are measured against. The grids are our choice.
"""

from collections.abc import Mapping
from itertools import product

from wirelesslab.vision.few_shot.calibration import P3DC
from wirelesslab.vision.few_shot.distributions import DistributionCalibration
from wirelesslab.vision.few_shot.logistic import LogisticRegression
from wirelesslab.vision.few_shot.rivals import CentredNearestNeighbour, NearestNeighbour, PowerTransform
from wirelesslab.vision.few_shot.rules import Rule
from wirelesslab.vision.tuning import Settings

POWERS: tuple[Settings, ...] = tuple({"beta": round(0.05 * k, 2)} for k in range(2, 26))

GRIDS: Mapping[str, tuple[Settings, ...]] = {
    "centred": tuple(
        {"share": round(k / 11, 3), "unit_first": first} for k, first in product(range(12), (False, True))
    ),
    "power of shots": POWERS,
    "power of both": POWERS,
    "logistic regression": tuple(
        {"inverse_strength": 10.0 ** (k / 2), "unit_length": length}
        for k, length in product(range(-5, 7), (True, False))
    ),
    "calibrated distributions": tuple(
        {"num_neighbours": near, "spread": spread, "beta": beta, "inverse_strength": strength}
        for near, spread, beta, strength in product((1, 2, 4), (0.0, 0.21), (0.5, 1.0), (0.1, 1.0))
    ),
    "P3DC, paper": tuple(
        {"task_weight": weight, "num_prototypes": near}
        for weight, near in product((0.05, 0.1, 0.2, 0.4, 0.6, 0.9), (1, 2, 5, 20))
    ),
    "P3DC, scale-free": tuple(
        {"queries_too": both, "beta": beta, "tau": tau, "gamma": gamma}
        for both, beta, (tau, gamma) in product(
            (False, True), (0.4, 0.5, 0.6), ((0.05, 0.35), (0.05, 0.6), (0.2, 0.35), (0.2, 0.6))
        )
    ),
}


def line_up(shots: int) -> dict[str, Rule]:
    """Return every rule by name, as it is before anything is tuned.

    Args:
        shots: Of each class; P3DC-Shot's published weights depend on it.

    Examples:
        >>> sorted(set(line_up(1)) - set(GRIDS))
        ['nearest neighbour']
    """
    return {
        "nearest neighbour": NearestNeighbour(),
        "centred": CentredNearestNeighbour(),
        "power of shots": PowerTransform(),
        "power of both": PowerTransform(queries_too=True),
        "logistic regression": LogisticRegression(),
        "calibrated distributions": DistributionCalibration(),
        "P3DC, paper": P3DC.published(shots),
        "P3DC, scale-free": P3DC.scale_free(shots),
    }
