"""The network wing's one door to Sionna: large-scale parameters of its system-level channel models.

Our own formulas (`path_loss`) are cross-checked against these, which other people wrote from the same
standard. Loading Sionna and TensorFlow takes seconds; nothing else in the wing needs them.

References:
    Hoydis et al., Sionna, arXiv 2203.11854; 3GPP TR 38.901.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

OutdoorScenario = Literal["UMa", "UMi", "RMa"]
OUTDOOR_SCENARIOS: tuple[OutdoorScenario, ...] = ("UMa", "UMi", "RMa")


@dataclass(frozen=True, eq=False)
class LargeScale:
    """What Sionna says about each pair of user and station; shape (users, stations) each.

    Attributes:
        path_loss_db: Without shadowing. Sionna 1.2.2 computes it from the distance in the plane where the
            standard says distance in space (its property `distance_3d` returns the former), which matters
            near high masts: 0.07 dB at 200 m in UMa.
        line_of_sight: Whether the user sees the station.
        line_of_sight_probability: From which that is drawn.
    """

    path_loss_db: NDArray[np.float64]
    line_of_sight: NDArray[np.bool_]
    line_of_sight_probability: NDArray[np.float64]


def large_scale(
    scenario: OutdoorScenario,
    users_m: ArrayLike,
    stations_m: ArrayLike,
    carrier_hz: float,
    *,
    line_of_sight: bool | None = None,
) -> LargeScale:
    """Return Sionna's large-scale parameters of outdoor users.

    Args:
        scenario: One of `OUTDOOR_SCENARIOS`.
        users_m: Positions, shape (users, 3).
        stations_m: Positions, shape (stations, 3).
        carrier_hz: Carrier frequency.
        line_of_sight: The same for all; None draws it with Sionna's own generator.

    Raises:
        ValueError: Positions of another shape, or another scenario.
    """
    check.one_of(OUTDOOR_SCENARIOS, scenario=scenario)
    check.positive(carrier_hz=carrier_hz)
    users = check.array(users_m, (None, 3), "users, 3", name="users_m").astype(np.float64)
    stations = check.array(stations_m, (None, 3), "stations, 3", name="stations_m").astype(np.float64)
    model = _model(scenario, carrier_hz)
    from wirelesslab.tensorflow import tf

    model.set_topology(
        ut_loc=tf.constant(users[None]),
        bs_loc=tf.constant(stations[None]),
        ut_orientations=tf.zeros([1, len(users), 3], tf.float64),
        bs_orientations=tf.zeros([1, len(stations), 3], tf.float64),
        ut_velocities=tf.zeros([1, len(users), 3], tf.float64),
        in_state=tf.zeros([1, len(users)], tf.bool),
        los=line_of_sight,
    )
    shape = (len(stations), len(users))
    values = (model.basic_pathloss, model.los, model.los_probability)
    return LargeScale(*(np.broadcast_to(value.numpy()[0], shape).T for value in values))


def _model(scenario: OutdoorScenario, carrier_hz: float) -> Any:
    """Build Sionna's scenario; its antennas do not matter for the large scale."""
    from wirelesslab.tensorflow import tf  # first, as it silences TensorFlow's greeting

    del tf
    from sionna.phy.channel import tr38901

    antenna = tr38901.Antenna(
        polarization="single",
        polarization_type="V",
        antenna_pattern="omni",
        carrier_frequency=carrier_hz,
        precision="double",
    )
    if scenario == "RMa":
        return tr38901.RMaScenario(carrier_hz, antenna, antenna, "downlink", precision="double")
    kind = tr38901.UMaScenario if scenario == "UMa" else tr38901.UMiScenario
    return kind(carrier_hz, "low", antenna, antenna, "downlink", precision="double")
