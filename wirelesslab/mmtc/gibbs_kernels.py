"""Compiled inner loops of the Gibbs sampler; `rank_one_kernels` has the state that they move."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab.mmtc.compiling import jit
from wirelesslab.mmtc.covariance_kernels import LEAST, column
from wirelesslab.mmtc.rank_one_kernels import CANCELS, change, correlate, move, rebuild

NEVER = -1e300  # a log weight that no other log weight can be beside

NEGLIGIBLE = 40.0  # nats below the speaker itself: 4e-18 of its weight


@jit()
def _log_ratio(look: Any, gain: float, num_antennas: int) -> float:
    """The log ratio l = beta b / (1 + beta a) - M log(1 + beta a) of a row that speaks with that gain."""
    growth = 1.0 + gain * look[0]
    return float(gain * look[1] / growth - num_antennas * math.log(growth))


@jit()
def _terms(look: Any, nodes: Any, log_weights: Any, num_antennas: int, heat: float, terms: Any) -> float:
    """Find log w_j + heat l_j of each node j of the gain; return the log of their sum.

    `look` is (a, b), seen with the device taken out.
    """
    peak = NEVER
    for j in range(nodes.size):
        terms[j] = log_weights[j] + heat * _log_ratio(look, nodes[j], num_antennas)
        peak = max(peak, terms[j])
    if nodes.size == 1:
        return peak
    total = 0.0
    for j in range(nodes.size):
        total += math.exp(terms[j] - peak)
    return peak + math.log(total)


@jit()
def _most(look: Any, num_antennas: int) -> float:
    """The largest log ratio that any gain can give: x - M - M log(x / M) at x = b / a, when that exceeds M."""
    x = look[1] / (look[0] * num_antennas)
    return num_antennas * (x - 1.0 - math.log(x)) if x > 1.0 else 0.0


@jit()
def _look(energy: Any, cross: Any, g: Any, k: int, own: int, factor: float, look: Any) -> None:
    """Find (a_k, b_k) as after the rank-one change of pilot `own` by `factor`; 0 is as they are."""
    a, b = energy[k], 0.0
    if factor == 0.0:
        for m in range(cross.shape[1]):
            b += cross[0, m, k] ** 2 + cross[1, m, k] ** 2
    else:
        a = max(a - factor * (g[0, k] * g[0, k] + g[1, k] * g[1, k]), LEAST)
        for m in range(cross.shape[1]):
            re, im = factor * cross[0, m, own], factor * cross[1, m, own]
            x = cross[0, m, k] - (g[0, k] * re - g[1, k] * im)
            y = cross[1, m, k] - (g[0, k] * im + g[1, k] * re)
            b += x * x + y * y
    look[0], look[1] = a, b


@jit()
def _draw(levels: Any, first: int, last: int, silent: float, uniform: float) -> tuple[int, float, float]:
    """Draw a row first ... last - 1 by its log weight, or -1 by that of silence; return peak and sum besides."""
    peak = silent
    for k in range(first, last):
        peak = max(peak, levels[k])
    total = math.exp(silent - peak)
    for k in range(first, last):
        total += math.exp(levels[k] - peak)
    threshold, new = uniform * total - math.exp(silent - peak), -1
    if threshold >= 0.0:
        for k in range(first, last):
            weight = math.exp(levels[k] - peak)
            if weight > 0.0:
                new = k
                threshold -= weight
                if threshold < 0.0:
                    break
    return new, peak, total


@jit()
def _draw_node(terms: Any, level: float, uniform: float) -> int:
    """Draw the node of a gain by its log weight; `level` is the log of their sum."""
    for j in range(terms.size):
        uniform -= math.exp(terms[j] - level)
        if uniform <= 0.0:
            return j
    return int(terms.size - 1)


@jit()
def _speaker(spoken: Any, rank: int) -> int:
    """The speaker of that rank among all speakers, by their numbers."""
    for n in range(spoken.size):
        if spoken[n] >= 0:
            if rank == 0:
                return n
            rank -= 1
    return -1


@jit()
def _weigh(
    n: int, relocate: bool, heat: float, first: int, last: int, factor: float, law: Any, state: Any, scratch: Any,
) -> None:  # fmt: skip
    """Find the log weight of every row first ... last - 1 that is device n's or a silent one's; NEVER for others."""
    nodes, log_weights, _, log_spoke = law
    _, energy, cross, _, spoken = state
    _, g, levels, looks, terms = scratch
    num_antennas, own, highest = cross.shape[1], spoken[n], NEVER
    if relocate:
        _look(energy, cross, g, own, own, factor, looks[own])
        highest = log_spoke + _terms(looks[own], nodes[n], log_weights, num_antennas, heat, terms)
    for k in range(first, last):
        device = k * spoken.size // energy.size
        levels[k] = NEVER
        if device == n or spoken[device] < 0:
            _look(energy, cross, g, k, own, factor, looks[k])
            # Who comes into a speaker's place is seldom in doubt: most need no sum over the nodes.
            if relocate and log_spoke + heat * _most(looks[k], num_antennas) < highest - NEGLIGIBLE:
                continue
            levels[k] = log_spoke + _terms(looks[k], nodes[device], log_weights, num_antennas, heat, terms)


@jit()
def _visit(
    n: int, relocate: bool, heat: float, uniform: Any, frame: Any, law: Any, state: Any, scratch: Any,
    kept: bool, conditional: Any,
) -> tuple[int, float]:  # fmt: skip
    """Draw anew what device n sends, or, to relocate, which device that is silent without n speaks instead of it.

    Returns by how much the number of speakers and the log-likelihood have grown.
    """
    pilots, noise_power, energy0, cross0 = frame
    nodes, log_weights, log_silent, _ = law
    inverse, energy, cross, powers, spoken = state
    u, g, levels, looks, terms = scratch
    num_rows, num_antennas = energy.size, cross.shape[1]
    num_pilots = num_rows // spoken.size
    first, last = (0, num_rows) if relocate else (n * num_pilots, (n + 1) * num_pilots)
    own, factor, rebuilt = spoken[n], 0.0, False
    if own >= 0:
        growth = 1.0 - powers[own] * column(inverse, pilots, own, u)
        rebuilt = growth < CANCELS
        if rebuilt:
            power, powers[own] = powers[own], 0.0
            rebuild(pilots, noise_power, energy0, cross0, powers, inverse, energy, cross, u, g)
            powers[own] = power
        else:
            factor = -powers[own] / growth
            correlate(pilots, u, first, last, g)
    _weigh(n, relocate, heat, first, last, factor, law, state, scratch)
    silent = NEVER if relocate else log_silent
    new, peak, total = _draw(levels, first, last, silent, uniform[0])
    if kept:
        conditional[0] += math.exp(silent - peak) / total
        for k in range(first, last):
            conditional[1 + k - first] += math.exp(levels[k] - peak) / total
    gain = 0.0
    if new >= 0:
        device, node = new // num_pilots, 0
        if log_weights.size > 1:
            level = _terms(looks[new], nodes[device], log_weights, num_antennas, heat, terms)
            node = _draw_node(terms, level, uniform[1])
        gain = nodes[device, node]
    if new == own and not rebuilt and (own < 0 or gain == powers[own]):
        return 0, 0.0
    grown, gained = 0, 0.0
    if own >= 0:
        gained -= _log_ratio(looks[own], powers[own], num_antennas)
        if not rebuilt:
            if not relocate:
                correlate(pilots, u, 0, num_rows, g)
            change(inverse, energy, cross, u, g, own, factor)
        powers[own], spoken[n] = 0.0, -1
        grown -= 1
    if new >= 0:
        gained += _log_ratio(looks[new], gain, num_antennas)
        powers[new], spoken[new // num_pilots] = gain, new
        move(pilots, inverse, energy, cross, new, gain, u, g)
        grown += 1
    return grown, gained


@jit()
def _rebuild(frame: Any, state: Any, scratch: Any) -> tuple[float, float]:
    """Make the state anew from its powers; return the log-likelihood beside silence and how far a_k had drifted."""
    pilots, noise_power, energy0, cross0 = frame
    inverse, energy, cross, powers, _ = state
    u, g, before, looks, _ = scratch
    kept, level, drift = powers.copy(), 0.0, 0.0
    before[:] = energy
    powers[:] = 0.0
    rebuild(pilots, noise_power, energy0, cross0, powers, inverse, energy, cross, u, g)
    for k in range(energy.size):
        if kept[k] > 0.0:
            _look(energy, cross, g, k, k, 0.0, looks[k])
            level += _log_ratio(looks[k], kept[k], cross.shape[1])
            move(pilots, inverse, energy, cross, k, kept[k], u, g)
    powers[:] = kept
    for k in range(energy.size):
        drift = max(drift, abs(before[k] - energy[k]) / energy[k])
    return level, drift


@jit()
def _sweep(
    heat: float, num_spoken: int, uniforms: Any, frame: Any, law: Any, state: Any, scratch: Any,
    kept: bool, conditionals: Any,
) -> tuple[int, float]:  # fmt: skip
    """Visit all devices, then relocate; return the number of speakers, and how the log-likelihood has grown."""
    spoken, gained = state[4], 0.0
    for i in range(uniforms.shape[0]):
        relocate = i >= spoken.size
        if relocate and num_spoken == 0:
            continue
        n = _speaker(spoken, int(uniforms[i, 2] * num_spoken)) if relocate else i
        keep = kept and not relocate
        more, better = _visit(n, relocate, heat, uniforms[i], frame, law, state, scratch, keep, conditionals[n])
        num_spoken += more
        gained += better
    return num_spoken, gained


@jit()
def gibbs(
    cross0: NDArray[np.float64],
    energy0: NDArray[np.float64],
    pilots: NDArray[np.float64],
    noise_power: float,
    nodes: NDArray[np.float64],
    log_weights: NDArray[np.float64],
    log_silent: float,
    log_spoke: float,
    heats: NDArray[np.float64],
    kept_from: int,
    rebuild_every: int,
    uniforms: NDArray[np.float64],
    exchanges: NDArray[np.float64],
    conditionals: NDArray[np.float64],
) -> tuple[float, float]:
    """Sample the labels of one frame from their exact posterior, channels integrated out.

    A sweep visits every device once and draws its label (and the node of its gain) from the exact
    conditional given all others; then some *relocations* each take one of the speakers, and draw anew
    which one of it and the silent devices speaks, and which pilot, from the exact conditional given
    that one of them does: so two devices whose pilots are alike change places without a detour.

    The walkers of a chain do so side by side, each on a rung of a ladder: on rung r the likelihood is raised
    to the power `heats[sweep, r]`. After each sweep, neighbours exchange their rungs with the probability
    min(1, exp((h_r - h_r+1) (l_r+1 - l_r))) of Metropolis, l their log-likelihoods, which leaves the product
    of the rungs' laws as it is. Only what stands on rung 0 is kept.

    Args:
        cross0: S^H Y / noise_power of the frame, shape (2, M, K).
        energy0: |s_k|^2 / noise_power, shape (K,).
        pilots: `covariance_kernels.padded_pilots(S)`, shape (2, K, padded L).
        noise_power: Variance per complex entry, linear.
        nodes: Nodes of the gains, shape (N, J).
        log_weights: Log weights of the nodes, shape (J,).
        log_silent: log(1 - eps).
        log_spoke: log(eps / Q).
        heats: Power to which the likelihood is raised in each sweep on each rung, shape (sweeps, rungs).
        kept_from: The first sweep whose conditionals are kept; from there on `heats` is 1 on rung 0 and constant.
        rebuild_every: Sweeps between two rebuildings of the state.
        uniforms: Random numbers in [0, 1), shape (chains, sweeps, rungs, N + R, 3) for R relocations in each
            sweep: which row, which node of its gain, which speaker.
        exchanges: Random numbers in [0, 1), shape (chains, sweeps, rungs - 1).
        conditionals: Receives each chain's mean conditional of each label, shape (chains, N, Q + 1).

    Returns:
        The largest relative error of any a_k that a rebuilding found, in all chains: rounding. And the share
        of exchanges that were accepted in sweeps that are kept, between the two neighbours that exchange least;
        1 when there is one rung.
    """
    num_antennas, num_rows, padded = cross0.shape[1], pilots.shape[1], pilots.shape[2]
    num_devices, rungs = nodes.shape[0], heats.shape[1]
    inverse, cross = np.empty((rungs, 2, padded, padded)), np.empty((rungs, 2, num_antennas, num_rows))
    energy, powers = np.empty((rungs, num_rows)), np.empty((rungs, num_rows))
    spoken = np.empty((rungs, num_devices), np.int64)  # the row that a device sends, or -1
    num_spoken, levels, walkers = np.empty(rungs, np.int64), np.empty(rungs), np.empty(rungs, np.int64)
    frame, law = (pilots, noise_power, energy0, cross0), (nodes, log_weights, log_silent, log_spoke)
    u, g, scratch_levels = np.empty((2, padded)), np.empty((2, num_rows)), np.empty(num_rows)
    scratch = (u, g, scratch_levels, np.empty((num_rows, 2)), np.empty(log_weights.size))
    drift, accepted = 0.0, np.zeros(rungs - 1)
    conditionals[:] = 0.0
    for chain in range(uniforms.shape[0]):
        powers[:], spoken[:], num_spoken[:], energy[:] = 0.0, -1, 0, energy0
        for rung in range(rungs):
            walkers[rung] = rung  # who stands there
        for sweep in range(heats.shape[0]):
            kept = sweep >= kept_from
            for rung in range(rungs):
                i = walkers[rung]
                state = (inverse[i], energy[i], cross[i], powers[i], spoken[i])
                if sweep % rebuild_every == 0:
                    levels[i], error = _rebuild(frame, state, scratch)
                    drift = max(drift, error)
                num_spoken[i], gained = _sweep(
                    heats[sweep, rung], num_spoken[i], uniforms[chain, sweep, rung], frame, law, state, scratch,
                    kept and rung == 0, conditionals[chain],
                )  # fmt: skip
                levels[i] += gained
            for rung in range(rungs - 2, -1, -1):
                i, j = walkers[rung], walkers[rung + 1]
                log_odds = (heats[sweep, rung] - heats[sweep, rung + 1]) * (levels[j] - levels[i])
                if exchanges[chain, sweep, rung] < math.exp(min(log_odds, 0.0)):
                    walkers[rung], walkers[rung + 1] = j, i
                    accepted[rung] += 1.0 if kept else 0.0
        conditionals[chain] /= heats.shape[0] - kept_from
    share = accepted.min() / (uniforms.shape[0] * (heats.shape[0] - kept_from)) if rungs > 1 else 1.0
    return drift, share
