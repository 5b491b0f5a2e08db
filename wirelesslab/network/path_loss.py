r"""Path loss of 3GPP TR 38.901: urban macro, urban micro, rural macro, indoor.

All functions broadcast over their arrays; distances and heights in metres, losses in dB, carriers in Hz.

References:
    3GPP TR 38.901, table 7.4.1-1 (path loss, shadow fading) and table 7.4.2-1 (probability of line of
    sight). Outdoor users only: no penetration into buildings.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check

Scenario = Literal["UMa", "UMi", "RMa", "InH"]
SCENARIOS: tuple[Scenario, ...] = ("UMa", "UMi", "RMa", "InH")
STATION_HEIGHT_M = {"UMa": 25.0, "UMi": 10.0, "RMa": 35.0, "InH": 3.0}
USER_HEIGHT_M = {"UMa": 1.5, "UMi": 1.5, "RMa": 1.5, "InH": 1.0}

LIGHT_M_PER_S = 299_792_458.0
BUILDING_HEIGHT_M = 5.0  # average, of RMa
STREET_WIDTH_M = 20.0  # average, of RMa
SHADOWING_DB = {"UMa": (4.0, 6.0), "UMi": (4.0, 7.82), "RMa": (4.0, 8.0), "InH": (3.0, 8.03)}
RMA_FAR_SHADOWING_DB = 6.0  # in sight, beyond the break point

Floats = NDArray[np.floating[Any]]


def line_of_sight_probability(
    scenario: Scenario, distance_m: ArrayLike, user_height_m: ArrayLike = 1.5, *, open_office: bool = False
) -> Floats:
    """Return the probability that a user sees the station.

    Args:
        scenario: One of `SCENARIOS`.
        distance_m: In the plane.
        user_height_m: Matters in UMa above 13 m.
        open_office: InH: open instead of mixed office.

    Examples:
        >>> line_of_sight_probability("UMa", [10.0, 100.0, 1000.0]).round(4)
        array([1.    , 0.3477, 0.018 ])
    """
    check.one_of(SCENARIOS, scenario=scenario)
    d = np.asarray(distance_m)
    if scenario == "RMa":
        return np.asarray(np.exp(-np.maximum(d - 10, 0) / 1000))
    if scenario == "InH":
        near, scale, middle, far_scale, far = (
            (5.0, 70.8, 49.0, 211.7, 0.54) if open_office else (1.2, 4.7, 6.5, 32.6, 0.32)
        )
        return np.asarray(
            np.where(d <= middle, np.exp(-np.maximum(d - near, 0) / scale), far * np.exp(-(d - middle) / far_scale))
        )
    beyond = np.maximum(d, 18.0)
    probability = 18 / beyond + np.exp(-beyond / (63 if scenario == "UMa" else 36)) * (1 - 18 / beyond)
    if scenario == "UMa":
        probability = probability * (
            1 + _height_factor(user_height_m) * 1.25 * (beyond / 100) ** 3 * np.exp(-beyond / 150)
        )
    return np.asarray(np.minimum(probability, 1))


def _height_factor(user_height_m: ArrayLike) -> Floats:
    return np.asarray(np.maximum((np.asarray(user_height_m) - 13) / 10, 0) ** 1.5)


def break_point_m(
    scenario: Scenario,
    carrier_hz: float,
    station_height_m: ArrayLike,
    user_height_m: ArrayLike,
    effective_m: ArrayLike = 1.0,
) -> Floats:
    """Return the distance in the plane beyond which the loss in sight grows with the fourth power.

    Args:
        scenario: UMa, UMi or RMa; infinite for InH.
        carrier_hz: Carrier frequency.
        station_height_m: Of the antenna.
        user_height_m: Of the antenna.
        effective_m: Height of the environment in UMa and UMi, which the standard draws at random for UMa
            users above 13 m; below, and always in UMi, it is 1 m.
    """
    check.one_of(SCENARIOS, scenario=scenario)
    station, user = np.asarray(station_height_m), np.asarray(user_height_m)
    if scenario == "InH":
        return np.full(np.broadcast_shapes(station.shape, user.shape), np.inf)
    if scenario == "RMa":
        return np.asarray(2 * np.pi * station * user * carrier_hz / LIGHT_M_PER_S)
    effective = np.asarray(effective_m)
    return np.asarray(4 * (station - effective) * (user - effective) * carrier_hz / LIGHT_M_PER_S)


def path_loss_db(
    scenario: Scenario,
    distance_m: ArrayLike,
    carrier_hz: float,
    *,
    line_of_sight: ArrayLike,
    station_height_m: ArrayLike | None = None,
    user_height_m: ArrayLike | None = None,
) -> Floats:
    """Return the path loss without shadowing.

    Distances below 1 m are taken for 1 m; the standard's own lower limit is 10 m (1 m indoors).

    Args:
        scenario: One of `SCENARIOS`.
        distance_m: In the plane.
        carrier_hz: Carrier frequency; the standard covers 0.5 to 100 GHz, RMa up to 30 GHz.
        line_of_sight: Whether the user sees the station.
        station_height_m: Height of the station's antenna; the scenario's own by default.
        user_height_m: Height of the user's antenna; the scenario's own by default. The environment's
            height is 1 m at any height of the user (our choice for UMa above 13 m, where the standard draws it).

    Returns:
        The loss in dB, of the shape that the arguments broadcast to.

    Examples:
        >>> path_loss_db("UMa", [100.0, 1000.0], 3.5e9, line_of_sight=[True, False]).round(2)
        array([ 83.14, 141.67])
    """
    check.one_of(SCENARIOS, scenario=scenario)
    station = np.asarray(STATION_HEIGHT_M[scenario] if station_height_m is None else station_height_m)
    user = np.asarray(USER_HEIGHT_M[scenario] if user_height_m is None else user_height_m)
    flat = np.maximum(np.asarray(distance_m), 1.0)
    log_ghz = np.log10(carrier_hz / 1e9)
    distance = np.hypot(flat, station - user)
    log_d, limit = np.log10(distance), break_point_m(scenario, carrier_hz, station, user)
    if scenario == "RMa":
        near = _rural_near(distance, carrier_hz)
        far = _rural_near(limit, carrier_hz) + 40 * np.log10(distance / limit)
    elif scenario == "InH":
        near = far = 32.4 + 17.3 * log_d + 20 * log_ghz
    else:
        offset, slope, bend = (28.0, 22.0, 9.0) if scenario == "UMa" else (32.4, 21.0, 9.5)
        near = offset + slope * log_d + 20 * log_ghz
        far = offset + 40 * log_d + 20 * log_ghz - bend * np.log10(limit**2 + (station - user) ** 2)
    seen = np.where(flat <= limit, near, far)
    if scenario == "UMa":
        hidden = 13.54 + 39.08 * log_d + 20 * log_ghz - 0.6 * (user - 1.5)
    elif scenario == "UMi":
        hidden = 22.4 + 35.3 * log_d + 21.3 * log_ghz - 0.3 * (user - 1.5)
    elif scenario == "InH":
        hidden = 17.3 + 38.3 * log_d + 24.9 * log_ghz
    else:
        hidden = _rural_hidden(log_d, log_ghz, station, user)
    return np.asarray(np.where(np.asarray(line_of_sight), seen, np.maximum(seen, hidden)))


def _rural_near(distance: Floats, carrier_hz: float) -> Floats:
    rough = BUILDING_HEIGHT_M**1.72
    return np.asarray(
        20 * np.log10(40 * np.pi * distance * carrier_hz / 3e9)
        + min(0.03 * rough, 10) * np.log10(distance)
        - min(0.044 * rough, 14.77)
        + 0.002 * np.log10(BUILDING_HEIGHT_M) * distance
    )


def _rural_hidden(log_d: Floats, log_ghz: float, station: Floats, user: Floats) -> Floats:
    return np.asarray(
        161.04
        - 7.1 * np.log10(STREET_WIDTH_M)
        + 7.5 * np.log10(BUILDING_HEIGHT_M)
        - (24.37 - 3.7 * (BUILDING_HEIGHT_M / station) ** 2) * np.log10(station)
        + (43.42 - 3.1 * np.log10(station)) * (log_d - 3)
        + 20 * log_ghz
        - (3.2 * np.log10(11.75 * user) ** 2 - 4.97)
    )


def shadowing_std_db(
    scenario: Scenario,
    line_of_sight: ArrayLike,
    distance_m: ArrayLike = 0.0,
    limit_m: ArrayLike = np.inf,
) -> Floats:
    """Return the standard deviation of the shadow fading in dB.

    Args:
        scenario: One of `SCENARIOS`.
        line_of_sight: Whether the user sees the station.
        distance_m: In the plane; matters in RMa.
        limit_m: The break point; in RMa the deviation in sight is larger beyond it.
    """
    check.one_of(SCENARIOS, scenario=scenario)
    seen, hidden = SHADOWING_DB[scenario]
    in_sight: Any = seen
    if scenario == "RMa":
        in_sight = np.where(np.asarray(distance_m) <= np.asarray(limit_m), seen, RMA_FAR_SHADOWING_DB)
    return np.asarray(np.where(np.asarray(line_of_sight), in_sight, hidden))
