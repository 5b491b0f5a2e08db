"""Lines that belong on every figure: state evolution, a single user, and saying nothing at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import gammainc, gammaincc, gammaln

from wirelesslab.mmtc.activity import Independent
from wirelesslab.mmtc.channels import Rayleigh
from wirelesslab.mmtc.denoisers import row_statistics
from wirelesslab.mmtc.gains import gain_prior
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.state_evolution import check_in_step, state_evolution

LIMITS = ("state evolution", "single user", "all silent")


@dataclass(frozen=True)
class Rates:
    """Error rates of the block-MAP decision.

    Attributes:
        missed: P(silent | spoke).
        false_alarm: P(a label | silent).
        wrong_symbol: P(another label | spoke).
        activity_prob: ε, which weighs them in the symbol error rate.
    """

    missed: float
    false_alarm: float
    wrong_symbol: float
    activity_prob: float

    @property
    def ser(self) -> float:
        """Symbol error rate over all devices."""
        return (1 - self.activity_prob) * self.false_alarm + self.activity_prob * (self.missed + self.wrong_symbol)


def block_map_rates(scenario: Scenario, tau2: float, *, num_nodes: int = 32) -> Rates:
    r"""Return the rates of the block-MAP decision on rows in Gaussian noise of power `tau2`.

    With $F_0$ = Gamma(M, τ²) and $F_1$ = Gamma(M, β+τ²) the laws of a row's energy and θ the energy
    at which the likelihood ratio meets the prior odds: $P_{fa} = 1 - F_0(θ)^Q$,
    $P_{md} = F_1(θ) F_0(θ)^{Q-1}$,
    $P_{wrong} = F_1(θ)(1 - F_0(θ)^{Q-1}) + \int_θ^∞ f_1 (1 - F_0^{Q-1})$, averaged over the gains.

    Args:
        scenario: The cell; Rayleigh fading is supposed.
        tau2: Effective noise per complex entry, linear.
        num_nodes: Nodes of the quadrature over the gains.

    Raises:
        ValueError: Devices arrive in more than one state, for which there is no closed form.
    """
    s = scenario
    check_in_step(s)
    q, m, eps = s.pilots_per_device, s.num_antennas, s.activity_prob
    if eps in (0.0, 1.0):
        if eps == 0:
            return Rates(0.0, 0.0, 0.0, 0.0)
        eps = 1 - 1e-12
    nodes, weights = s.gain_law.quadrature(num_nodes)
    missed = false_alarm = wrong = 0.0
    for beta, weight in zip(nodes, weights, strict=True):
        supposed = gain_prior(s.gain_knowledge, s.gain_law, np.array([beta]), num_nodes)
        theta = _threshold(supposed.nodes[0], supposed.weights, tau2, m, np.log((1 - eps) * q / eps))
        silent_below = float(gammainc(m, theta / tau2))
        active_below = float(gammainc(m, theta / (beta + tau2)))
        false_alarm += weight * -np.expm1(q * np.log1p(-float(gammaincc(m, theta / tau2)))) if theta > 0 else weight
        missed += weight * active_below * silent_below ** (q - 1)
        wrong += weight * active_below * (1 - silent_below ** (q - 1))
        if q > 1:
            wrong += weight * _overtaken(theta, beta + tau2, tau2, m, q)
    return Rates(float(missed), float(false_alarm), float(wrong), s.activity_prob)


def _threshold(nodes: NDArray[np.float64], weights: NDArray[np.float64], tau2: float, m: int, log_odds: float) -> float:
    """The energy at which log p(r | active)/p(r | silent) meets the prior odds; 0 when all energies exceed it."""
    if nodes.size == 1:
        beta = nodes[0]
        delta = 1 / tau2 - 1 / (beta + tau2)
        return float(max(0.0, (m * np.log1p(beta / tau2) + log_odds) / delta)) if delta > 0 else float("inf")

    def excess(energy: float) -> float:
        return float(row_statistics(np.array(energy), tau2, nodes, weights, m).log_ratio) - log_odds

    if excess(0.0) >= 0:
        return 0.0
    high = tau2 * m
    while excess(high) < 0:
        high *= 2
    return float(brentq(excess, 0.0, high, rtol=1e-12))


def _overtaken(theta: float, active_power: float, tau2: float, m: int, q: int) -> float:
    """P(the active row is above θ, and another row above it): the integral over the active row's energy."""

    def integrand(x: float) -> float:
        others = min(float(gammaincc(m, x * active_power / tau2)), 1 - 1e-16)
        return (
            float(np.exp((m - 1) * np.log(x) - x - gammaln(m)) * -np.expm1((q - 1) * np.log1p(-others))) if x else 0.0
        )

    # Beyond this energy no silent row reaches: its tail probability is below 1e-18.
    start = theta / active_power
    end = max(start, (tau2 * (m + 60 + 12 * np.sqrt(m))) / active_power)
    return float(quad(integrand, start, end, limit=200, epsabs=1e-14)[0]) if end > start else 0.0


def why_no_closed_forms(scenario: Scenario) -> str:
    """Return why the closed forms do not hold in this cell; nothing when they do.

    Where the genie is no limit they are none either. With more than one state of arrival the genie still
    is, but they are not: a posterior summed over states has no closed form, and the columns of one pilot in
    several states are not the independent ones that state evolution supposes.
    """
    if scenario.arrival.num_states > 1:
        name = type(scenario.arrival).__name__
        return why_no_limits(scenario) or f"{name} arrival has no closed form; the genie, not knowing it, is the limit"
    return why_no_limits(scenario)


def why_no_limits(scenario: Scenario) -> str:
    """Return why the closed forms and the genie are no limits in this cell; nothing when the genie is.

    They suppose what the detectors suppose: Rayleigh fading, devices that speak independently, carriers
    on the grid, and a station that knows the gains or their law. See also `why_no_closed_forms`.
    """
    if not isinstance(scenario.fading, Rayleigh):
        return f"{type(scenario.fading).__name__} fading, while genie and detectors suppose Rayleigh: no limits"
    if not isinstance(scenario.activity_law, Independent):
        return f"{type(scenario.activity_law).__name__} activity, which genie and detectors do not exploit: no limits"
    if scenario.gain_knowledge == "mean":
        return "the mean gain is taken for the truth: no limits"
    if not scenario.arrival.on_grid:
        return "carriers lie beside the grid, on which genie and detectors suppose them: no limits"
    return ""


@lru_cache(maxsize=4096)
def limits(scenario: Scenario, *, iterations: int = 20) -> dict[str, float]:
    """Return the symbol error rate of each closed-form line.

    Returns:
        "state evolution", what AMP should reach in a large cell (a prediction, not a bound); "single
        user", no interference at all; both NaN where `why_no_closed_forms` gives a reason. "all silent",
        never hearing anybody: ε.

    Examples:
        >>> limits(Scenario(num_devices=100))["all silent"]
        0.1
    """
    if why_no_closed_forms(scenario):
        return {"state evolution": np.nan, "single user": np.nan, "all silent": scenario.activity_prob}
    evolved = float(state_evolution(scenario, iterations=iterations)[-1])
    return {
        "state evolution": block_map_rates(scenario, evolved).ser,
        "single user": block_map_rates(scenario, scenario.noise_power).ser,
        "all silent": scenario.activity_prob,
    }


def with_limits(result: xr.Dataset, base: Scenario, over: Mapping[str, Sequence[Any]]) -> xr.Dataset:
    """Return `result` with the limits of each grid point as variables over the grid.

    The variables are called ``state_evolution``, ``single_user`` and ``all_silent``. Where the closed
    forms do not hold, ``result.attrs["note"]`` says why, for tables and figures.
    """
    shape = tuple(len(values) for values in over.values())
    lines, reasons = {name: np.empty(shape) for name in LIMITS}, []
    for at in np.ndindex(shape):
        point = {name: list(values)[i] for (name, values), i in zip(over.items(), at, strict=True)}
        scenario = replace(base, **point)
        reasons.append(why_no_closed_forms(scenario))
        for name, value in limits(scenario).items():
            lines[name][at] = value
    somewhere = "" if all(reasons) else "at some points: "
    note = somewhere + "; ".join(filter(None, dict.fromkeys(reasons))) if any(reasons) else ""
    styles = dict(zip(LIMITS, ("--", ":", "-."), strict=True))
    added = {
        name.replace(" ", "_"): (tuple(over), values, {"limit_of": "ser", "long_name": name, "linestyle": styles[name]})
        for name, values in lines.items()
    }
    return result.assign(added).assign_attrs({"note": note} if note else {})
