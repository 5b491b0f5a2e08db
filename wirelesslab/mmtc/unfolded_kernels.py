"""Compiled refinement passes of the unfolded network, batched over frames.

Chunks of F frames, frames last, as in `kernels`. A Hermitian matrix (L, L) is *packed* into a real one:
the lower triangle holds real parts, the upper one the imaginary parts of the lower. The columns
s s^H of all pilots, packed, form one real matrix B (K, L²), and two products with it serve all frames:
B^T γ is the covariance of the pilots' powers, and B p, with the off-diagonals of p doubled, is
s^H P s for every pilot.
"""

from typing import Any

import numpy as np

from wirelesslab.mmtc.compiling import Complex, Real, exponential, jit, logarithm
from wirelesslab.mmtc.unfolded import FAINT, LEAST_SHARE, OUT_OF_PLAY


@jit()
def packed_outer_products(pilots: Complex, packed: Real) -> None:
    """Write s s^H of each column s of `pilots` (L, K), packed, into `packed` (K, L, L)."""
    for k in range(packed.shape[0]):
        for i in range(packed.shape[1]):
            for j in range(i):
                entry = pilots[i, k] * np.conj(pilots[j, k])
                packed[k, i, j], packed[k, j, i] = entry.real, entry.imag
            packed[k, i, i] = (pilots[i, k] * np.conj(pilots[i, k])).real


@jit()
def row_logits(
    rows: Real, tau2: Real, log_weights: Real, nodes: Real, controls: Real, logits: Real, gains: Real
) -> None:
    """Log-odds of each label from rows in effective noise, and the mean gain of each row if active.

    Args:
        rows: X + S^H Z in real form, shape (2, K, M, F).
        tau2: Effective noise power of each frame, linear, shape (F,).
        log_weights: Log weights of the gain's nodes, shape (J,).
        nodes: The nodes, shape (N, J).
        controls: Log-odds of a row, factor on the gain, slope and bias, shape (4, 1 or N, F).
        logits: Receives the log-odds against silence, shape (N, Q, F).
        gains: Receives the mean gains, shape (N, Q, F).
    """
    real = tau2.dtype.type
    num_antennas, num_frames = rows.shape[2], rows.shape[3]
    num_rows, num_nodes = logits.shape[1], nodes.shape[1]
    energy, level = np.empty(num_frames, tau2.dtype), np.empty((num_nodes, num_frames), tau2.dtype)
    for n in range(logits.shape[0]):
        control = controls[:, n if controls.shape[1] > 1 else 0]
        for q in range(num_rows):
            energy[:] = real(0)
            for m in range(num_antennas):
                for f in range(num_frames):
                    re, im = rows[0, n * num_rows + q, m, f], rows[1, n * num_rows + q, m, f]
                    energy[f] += re * re + im * im
            for j in range(num_nodes):
                for f in range(num_frames):
                    snr = nodes[n, j] * control[1, f] / tau2[f]
                    level[j, f] = log_weights[j] - real(num_antennas) * logarithm(real(1) + snr)
                    level[j, f] += snr / (real(1) + snr) * energy[f] / tau2[f]
            _mixture(level, nodes[n], logits[n, q], gains[n, q])
            for f in range(num_frames):
                logits[n, q, f] = control[2, f] * logits[n, q, f] + control[3, f] + control[0, f]


@jit()
def _mixture(level: Any, nodes: Any, ratio: Any, gain: Any) -> None:
    """Sum exp(level) (J, F) over the nodes: its log into `ratio`, the mean node under it into `gain`."""
    zero = level.dtype.type(0)
    num_nodes, num_frames = level.shape
    if num_nodes == 1:
        for f in range(num_frames):
            ratio[f], gain[f] = level[0, f], nodes[0]
        return
    total = np.zeros_like(ratio)
    for f in range(num_frames):
        ratio[f], gain[f] = level[0, f], zero
    for j in range(1, num_nodes):
        for f in range(num_frames):
            ratio[f] = max(ratio[f], level[j, f])
    for j in range(num_nodes):
        for f in range(num_frames):
            weight = exponential(level[j, f] - ratio[f])
            total[f] += weight
            gain[f] += weight * nodes[j]
    for f in range(num_frames):
        gain[f] /= total[f]
        ratio[f] += logarithm(total[f])


@jit()
def posteriors_of(logits: Real, posteriors: Real) -> None:
    """Turn log-odds (N, Q, F) into posteriors (N, Q + 1, F), silence first."""
    zero = logits.dtype.type(0)
    num_frames = logits.shape[2]
    peak, total = np.empty(num_frames, logits.dtype), np.empty(num_frames, logits.dtype)
    for n in range(logits.shape[0]):
        peak[:] = zero
        for q in range(logits.shape[1]):
            for f in range(num_frames):
                peak[f] = max(peak[f], logits[n, q, f])
        for f in range(num_frames):
            posteriors[n, 0, f] = total[f] = exponential(-peak[f])
        for q in range(logits.shape[1]):
            for f in range(num_frames):
                weight = exponential(logits[n, q, f] - peak[f])
                posteriors[n, q + 1, f] = weight
                total[f] += weight
        for q in range(logits.shape[1] + 1):
            for f in range(num_frames):
                posteriors[n, q, f] /= total[f]


@jit()
def summarise(posteriors: Real, gains: Real, powers: Real, faint: Real, undecided: Real, heard: Real) -> int:
    """Powers γ = posterior x gain (K, F), and per frame (F,) the power of the faint, sum p (1 - p) and sum p.

    The power of a pilot whose posterior is below FAINT is 0 and counts among the faint.
    Returns how many powers are not 0.
    """
    real = heard.dtype.type
    zero, one, least = real(0), real(1), real(FAINT)
    faint[:], undecided[:], heard[:] = zero, zero, zero
    num_rows = gains.shape[1]
    audible = 0
    for n in range(gains.shape[0]):
        for q in range(num_rows):
            for f in range(gains.shape[2]):
                p = posteriors[n, q + 1, f]
                power = p * gains[n, q, f]
                powers[n * num_rows + q, f] = power if p >= least else zero
                faint[f] += power if p < least else zero
                undecided[f] += p * (one - p)
                heard[f] += p
                audible += 1 if p >= least else 0
    return audible


@jit()
def add_outer_products(outer: Real, powers: Real, covariance: Real) -> None:
    """Add γ s s^H of every pilot with power to `covariance` (F, L²): few pilots, so no matrix product."""
    zero = powers.dtype.type(0)
    covariance[:] = zero
    for k in range(outer.shape[0]):
        for f in range(powers.shape[1]):
            power = powers[k, f]
            if power > zero:
                for i in range(outer.shape[1]):
                    covariance[f, i] += power * outer[k, i]


@jit()
def quadratic_forms(outer: Real, inverse: Real, powers: Real, quadratic: Real) -> None:
    """Write s^H P s of every pilot with power, 0 of the others, into `quadratic` (K, F); `inverse` is (F, L²)."""
    zero = powers.dtype.type(0)
    for k in range(outer.shape[0]):
        for f in range(powers.shape[1]):
            total = zero
            if powers[k, f] > zero:
                for i in range(outer.shape[1]):
                    total += inverse[f, i] * outer[k, i]
            quadratic[k, f] = total


@jit()
def invert(packed: Any, noise: Any) -> None:
    """Invert packed + noise I in place, for every frame at once; shapes (L, L, F) and (F,).

    Cholesky C C^H, then C^-1, then C^-H C^-1. What is returned is packed, with the off-diagonals doubled.
    """
    length, num_frames = packed.shape[0], packed.shape[2]
    one = noise.dtype.type(1)
    two = noise.dtype.type(2)
    re, im = np.empty(num_frames, packed.dtype), np.empty(num_frames, packed.dtype)
    for j in range(length):  # packed <- C: real diagonal, below it C_ij (real part at [i, j], imaginary at [j, i])
        for f in range(num_frames):
            re[f] = packed[j, j, f] + noise[f]
        for k in range(j):
            for f in range(num_frames):
                re[f] -= packed[j, k, f] ** 2 + packed[k, j, f] ** 2
        for f in range(num_frames):
            packed[j, j, f] = np.sqrt(re[f])
        for i in range(j + 1, length):
            for f in range(num_frames):
                re[f], im[f] = packed[i, j, f], packed[j, i, f]
            for k in range(j):  # C_ik conj(C_jk)
                for f in range(num_frames):
                    a, b, c, d = packed[i, k, f], packed[k, i, f], packed[j, k, f], packed[k, j, f]
                    re[f] -= a * c + b * d
                    im[f] -= b * c - a * d
            for f in range(num_frames):
                packed[i, j, f], packed[j, i, f] = re[f] / packed[j, j, f], im[f] / packed[j, j, f]
    for j in range(length):  # packed <- C^-1, column by column
        for f in range(num_frames):
            packed[j, j, f] = one / packed[j, j, f]
        for i in range(j + 1, length):
            for f in range(num_frames):
                re[f], im[f] = packed[i, j, f] * packed[j, j, f], packed[j, i, f] * packed[j, j, f]
            for k in range(j + 1, i):  # C_ik times the inverse's [k, j], which is there already
                for f in range(num_frames):
                    a, b, c, d = packed[i, k, f], packed[k, i, f], packed[k, j, f], packed[j, k, f]
                    re[f] += a * c - b * d
                    im[f] += a * d + b * c
            for f in range(num_frames):
                scale = -one / packed[i, i, f]
                packed[i, j, f], packed[j, i, f] = scale * re[f], scale * im[f]
    for j in range(length):  # packed <- C^-H C^-1: entry (i, j) needs rows k >= i of C^-1 only
        for f in range(num_frames):
            re[f] = packed[j, j, f] ** 2
        for k in range(j + 1, length):
            for f in range(num_frames):
                re[f] += packed[k, j, f] ** 2 + packed[j, k, f] ** 2
        for f in range(num_frames):
            packed[j, j, f] = re[f]
        for i in range(j + 1, length):
            for f in range(num_frames):
                re[f], im[f] = packed[i, i, f] * packed[i, j, f], packed[i, i, f] * packed[j, i, f]
            for k in range(i + 1, length):  # conj(W_ki) W_kj
                for f in range(num_frames):
                    a, b, c, d = packed[k, i, f], packed[i, k, f], packed[k, j, f], packed[j, k, f]
                    re[f] += a * c + b * d
                    im[f] += a * d - b * c
            for f in range(num_frames):
                packed[i, j, f], packed[j, i, f] = two * re[f], two * im[f]


@jit()
def whiten(inverse: Any, received: Real, whitened: Real, unexplained: Real) -> None:
    """Write P Y into `whitened` (2, L, M, F), tr(Y^H P Y) / (L M) into `unexplained` (F,); P as `invert` leaves it."""
    real = unexplained.dtype.type
    length, num_antennas, num_frames = received.shape[1:]
    half = real(0.5)
    whitened[:] = real(0)
    unexplained[:] = real(0)
    p_re, p_im = np.empty(num_frames, unexplained.dtype), np.empty(num_frames, unexplained.dtype)
    for i in range(length):
        for f in range(num_frames):
            p_re[f] = inverse[i, i, f]
        for m in range(num_antennas):
            for f in range(num_frames):
                whitened[0, i, m, f] += p_re[f] * received[0, i, m, f]
                whitened[1, i, m, f] += p_re[f] * received[1, i, m, f]
        for j in range(i):
            for f in range(num_frames):
                p_re[f], p_im[f] = half * inverse[i, j, f], half * inverse[j, i, f]
            for m in range(num_antennas):
                for f in range(num_frames):  # P_ij y_j into i, and its conjugate times y_i into j
                    whitened[0, i, m, f] += p_re[f] * received[0, j, m, f] - p_im[f] * received[1, j, m, f]
                    whitened[1, i, m, f] += p_re[f] * received[1, j, m, f] + p_im[f] * received[0, j, m, f]
                    whitened[0, j, m, f] += p_re[f] * received[0, i, m, f] + p_im[f] * received[1, i, m, f]
                    whitened[1, j, m, f] += p_re[f] * received[1, i, m, f] - p_im[f] * received[0, i, m, f]
    scale = real(1 / (length * num_antennas))
    for i in range(length):
        for m in range(num_antennas):
            for f in range(num_frames):
                power = whitened[0, i, m, f] * received[0, i, m, f] + whitened[1, i, m, f] * received[1, i, m, f]
                unexplained[f] += scale * power


@jit()
def try_pilots(
    correlation: Real,
    quadratic: Real,
    powers: Real,
    log_weights: Real,
    nodes: Real,
    only_audible: bool,
    tested: Real,
    share: Real,
    gains: Real,
) -> None:
    """Log ratio of each pilot against the others' covariance; see `unfolded_graph`.

    Args:
        correlation: The three partial products of S^H P Y, shape (3, K, M, F).
        quadratic: s^H P s, shape (K, F).
        powers: γ, shape (K, F).
        log_weights: Log weights of the gain's nodes, shape (J,).
        nodes: The nodes, shape (N, J).
        only_audible: Let the pilots without power be: they get OUT_OF_PLAY and keep their gain.
        tested: Receives the log ratios, shape (N, Q, F).
        share: Receives log(1 - γ a), shape (N, Q, F).
        gains: Receives the mean gains if active, shape (N, Q, F).
    """
    real = quadratic.dtype.type
    zero, one, least, out = real(0), real(1), real(LEAST_SHARE), real(OUT_OF_PLAY)
    num_antennas, num_frames = correlation.shape[2], correlation.shape[3]
    num_rows, num_nodes = tested.shape[1], nodes.shape[1]
    a, b = np.empty(num_frames, quadratic.dtype), np.empty(num_frames, quadratic.dtype)
    level, before = np.empty((num_nodes, num_frames), quadratic.dtype), np.empty(num_frames, quadratic.dtype)
    for n in range(tested.shape[0]):
        for q in range(num_rows):
            before[:] = gains[n, q]
            k = n * num_rows + q
            b[:] = zero
            for m in range(num_antennas):
                for f in range(num_frames):
                    re = correlation[0, k, m, f] - correlation[2, k, m, f]
                    im = correlation[0, k, m, f] + correlation[1, k, m, f]
                    b[f] += re * re + im * im
            for f in range(num_frames):
                others = max(one - powers[k, f] * quadratic[k, f], least)
                share[n, q, f] = logarithm(others)
                a[f] = max(quadratic[k, f], zero) / others
                b[f] /= others * others
            for j in range(num_nodes):
                for f in range(num_frames):
                    growth = one + nodes[n, j] * a[f]
                    level[j, f] = log_weights[j] - real(num_antennas) * logarithm(growth) + nodes[n, j] * b[f] / growth
            _mixture(level, nodes[n], tested[n, q], gains[n, q])
            if only_audible:
                for f in range(num_frames):
                    audible = powers[k, f] > zero
                    tested[n, q, f] = tested[n, q, f] if audible else out
                    gains[n, q, f] = gains[n, q, f] if audible else before[f]


@jit()
def block_features(logits: Real, posteriors: Real, tested: Real, share: Real, log_odds: float, features: Real) -> None:
    """Fill the features of each pilot, shape (N, Q, 7, F), in the order of `unfolded.BLOCK_FEATURES`."""
    real = logits.dtype.type
    one, quarter, odds = real(1), real(0.25), real(log_odds)
    num_frames = logits.shape[2]
    best, best_tested = np.empty(num_frames, logits.dtype), np.empty(num_frames, logits.dtype)
    for n in range(logits.shape[0]):
        best[:], best_tested[:] = logits[n, 0], tested[n, 0]
        for q in range(1, logits.shape[1]):
            for f in range(num_frames):
                best[f] = max(best[f], logits[n, q, f])
                best_tested[f] = max(best_tested[f], tested[n, q, f])
        for q in range(logits.shape[1]):
            x = features[n, q]
            for f in range(num_frames):
                x[0, f] = logits[n, q, f] - odds
                x[1, f] = logits[n, q, f] - best[f]
                x[2, f] = posteriors[n, q + 1, f]
                x[3, f] = one - posteriors[n, 0, f]
                x[4, f] = tested[n, q, f]
                x[5, f] = tested[n, q, f] - best_tested[f]
                x[6, f] = share[n, q, f]
            for c in (0, 1, 4, 5):  # tanh(x / 8)
                for f in range(num_frames):
                    small = exponential(-abs(x[c, f]) * quarter)
                    magnitude = (one - small) / (one + small)
                    x[c, f] = magnitude if x[c, f] > 0 else -magnitude


@jit()
def refine(
    features: Real,
    tested: Real,
    log_odds: float,
    gates: Real,
    inputs: Real,
    hidden_bias: Real,
    outputs: Real,
    powers: Real,
    only_audible: bool,
    logits: Real,
) -> None:
    """Add to the log-odds what the block network says, and draw them towards the covariance test.

    Args:
        features: See `block_features`, shape (N, Q, C, F).
        tested: Log ratios of the covariance test, shape (N, Q, F).
        log_odds: log((ε/Q) / (1-ε)).
        gates: Share drawn, factor and bias of the test, shape (3, F).
        inputs: Weights of the block network, shape (C, W).
        hidden_bias: What its hidden units start from in each frame, shape (W, F).
        outputs: Its output weights, shape (W,).
        powers: γ, shape (K, F).
        only_audible: Let the pilots without power be.
        logits: Log-odds of each label, shape (N, Q, F); overwritten.
    """
    real = logits.dtype.type
    zero, odds = real(0), real(log_odds)
    num_features, num_units, num_frames = features.shape[2], inputs.shape[1], features.shape[3]
    unit, change = np.empty(num_frames, logits.dtype), np.empty(num_frames, logits.dtype)
    for n in range(logits.shape[0]):
        for q in range(logits.shape[1]):
            x = features[n, q]
            change[:] = zero
            for w in range(num_units):
                for f in range(num_frames):
                    unit[f] = hidden_bias[w, f]
                for c in range(num_features):
                    weight = inputs[c, w]
                    for f in range(num_frames):
                        unit[f] += weight * x[c, f]
                weight = outputs[w]
                for f in range(num_frames):
                    change[f] += weight * max(unit[f], zero)
            for f in range(num_frames):
                ratio = logits[n, q, f] - odds
                total = change[f] + gates[0, f] * (gates[1, f] * tested[n, q, f] + gates[2, f] - ratio)
                moves = not only_audible or powers[n * logits.shape[1] + q, f] > zero
                logits[n, q, f] += total if moves else zero
