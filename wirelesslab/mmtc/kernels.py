"""Compiled inner loops of AMP, batched over frames.

AMP works on a *chunk* of F frames in *real form*: a complex array (rows, M, F) is stored as real
(2, rows, M, F), real parts first and frames last. Frames are then the vector lanes whatever the
number of antennas. A product with the pilots is three real matrix products instead of four (Gauss):
(A + iB)(C + iD) = (p1 - p3) + i (p1 + p2) with p1 = (A + B) C, p2 = A (D - C), p3 = B (C + D). What
enters a product is stored in *Gauss form*, (3, rows, M, F) with C, D - C, C + D; what leaves it are the
three partial products, added up where they are used next. The working
precision is that of the arrays, float32 or float64. No kernel starts threads and all release the
GIL: the caller shares chunks among threads, so a result never depends on their number.

K = N Q rows, device n owning rows nQ ... nQ + Q - 1; L pilot symbols, M antennas, F frames.
References: Liu and Yu, IEEE Trans. Signal Process. 66(11), 2018.
"""

import math
from typing import Any

import numpy as np

from wirelesslab.mmtc.compiling import Real, exponential, jit, logarithm

ROW, BLOCK, WINNER = 0, 1, 2  # priors of `denoise`
LOG_ODDS, GAIN, SLOPE, BIAS = 0, 1, 2, 3  # rows of its controls


def plain_controls(
    activity_prob: float,
    pilots_per_device: int,
    prior: int,
    num_frames: int,
    dtype: Any,
    slope: float = 1.0,
    bias: float = 0.0,
) -> Real:
    """Return the controls of AMP, shape (4, 1, F): the prior's log-odds of a row, and factors that change nothing."""
    share = activity_prob / pilots_per_device
    log_odds = math.log(share / (1 - activity_prob if prior == BLOCK else 1 - share))
    return np.tile(np.array([log_odds, 1.0, slope, bias], dtype)[:, None, None], (1, 1, num_frames))


# --- approximate message passing ------------------------------------------------------------------


@jit()
def _likelihoods(
    energy: Any,
    precision: Any,
    gains: Any,
    log_weights: Any,
    num_antennas: int,
    gain_factor: Any,
    slope: Any,
    bias: Any,
    per_node: Any,
    llr: Any,
    kbar: Any,
    spread: Any,
) -> None:
    """Tempered likelihood ratio, mean shrinkage kbar and its derivative for the rows of one device.

    From |r|^2 in `energy` (Q, F), 1 / tau2 in `precision` (F,), the nodes and log weights (J,) of the
    gain, and three controls (F,); `per_node` is scratch (2, J, F), the rest (Q, F). With
    k_j = b_j / (b_j + tau2) one has Delta_j = k_j / tau2, so l' = kbar / tau2 and
    kbar' = Var(k) / tau2 over the posterior of the nodes, kept in `spread`: no difference of nearly
    equal numbers is taken.
    """
    ratio, nodes = per_node[0], per_node[1]
    real = precision.dtype.type
    one, antennas = real(1), real(num_antennas)
    num_rows, num_frames = energy.shape
    num_nodes = gains.shape[0]
    for j in range(num_nodes):
        gain, log_weight = gains[j], log_weights[j]
        for f in range(num_frames):
            snr = gain * gain_factor[f] * precision[f]
            ratio[j, f] = snr / (one + snr)
            nodes[j, f] = log_weight - antennas * logarithm(one + snr)
    if num_nodes == 1:
        for q in range(num_rows):
            for f in range(num_frames):
                kbar[q, f] = ratio[0, f]
                level = nodes[0, f] + ratio[0, f] * (energy[q, f] * precision[f])
                llr[q, f] = slope[f] * level + bias[f]
                spread[q, f] = real(0)
        return
    peak, total = np.empty_like(precision), np.empty_like(precision)
    weights = np.empty_like(nodes)
    for q in range(num_rows):
        for f in range(num_frames):
            peak[f] = nodes[0, f] + ratio[0, f] * (energy[q, f] * precision[f])
            total[f] = kbar[q, f] = spread[q, f] = real(0)
        for j in range(num_nodes):
            for f in range(num_frames):
                level = nodes[j, f] + ratio[j, f] * (energy[q, f] * precision[f])
                weights[j, f] = level
                peak[f] = max(peak[f], level)
        for j in range(num_nodes):
            for f in range(num_frames):
                weight = exponential(weights[j, f] - peak[f])
                weights[j, f] = weight
                total[f] += weight
                kbar[q, f] += weight * ratio[j, f]
        for f in range(num_frames):
            kbar[q, f] /= total[f]
            llr[q, f] = slope[f] * (peak[f] + logarithm(total[f])) + bias[f]
        for j in range(num_nodes):
            for f in range(num_frames):
                spread[q, f] += weights[j, f] * (ratio[j, f] - kbar[q, f]) ** 2
        for f in range(num_frames):
            spread[q, f] *= precision[f] / total[f]


@jit()
def _row_prior(llr: Any, log_odds: Any, present: Any, absent: Any) -> None:
    """Set present = sigmoid(llr + log_odds) and absent = 1 - present, both to full precision."""
    one = llr.dtype.type(1)
    for q in range(llr.shape[0]):
        for f in range(llr.shape[1]):
            level = llr[q, f] + log_odds[f]
            small = exponential(-abs(level))
            major, minor = one / (one + small), small / (one + small)
            present[q, f] = major if level > 0 else minor
            absent[q, f] = minor if level > 0 else major


@jit()
def _block_prior(llr: Any, log_odds: Any, present: Any, absent: Any, silent: Any) -> None:
    """Set present to the posterior of each row of a block, absent = 1 - present, silent the rest.

    `log_odds` (F,) is log((eps / Q) / (1 - eps)) in AMP, the prior of one row against silence. The largest
    term is kept out of `others`, so 1 - present keeps its precision when it is tiny.
    """
    real = llr.dtype.type
    zero, one = real(0), real(1)
    num_rows, num_frames = llr.shape
    peak, others, winners = np.empty_like(silent), np.empty_like(silent), np.empty_like(silent)
    for f in range(num_frames):
        peak[f] = zero
    for q in range(num_rows):
        for f in range(num_frames):
            peak[f] = max(peak[f], llr[q, f] + log_odds[f])
    for f in range(num_frames):
        weight = exponential(-peak[f])
        winners[f] = one if peak[f] == zero else zero
        others[f] = zero if peak[f] == zero else weight
        silent[f] = weight
    for q in range(num_rows):
        for f in range(num_frames):
            shift = llr[q, f] + log_odds[f] - peak[f]
            weight = exponential(shift)
            winners[f] += one if shift == zero else zero
            others[f] += zero if shift == zero else weight
            present[q, f] = weight
    for f in range(num_frames):
        peak[f] = one / (winners[f] + others[f])
        silent[f] *= peak[f]
    for q in range(num_rows):
        for f in range(num_frames):
            weight = present[q, f]
            rest = (winners[f] - one) + others[f] if weight == one else winners[f] - weight + others[f]
            present[q, f] = weight * peak[f]
            absent[q, f] = rest * peak[f]


@jit()
def _keep_winner(llr: Any, present: Any, absent: Any) -> None:
    """Silence all rows of a block but the likeliest (the first of equals): weight 0, derivative 0."""
    zero = llr.dtype.type(0)
    for f in range(llr.shape[1]):
        best = 0
        for q in range(1, llr.shape[0]):
            best = q if llr[q, f] > llr[best, f] else best
        for q in range(llr.shape[0]):
            if q != best:
                present[q, f] = absent[q, f] = zero


@jit()
def _add_outer(rows: Any, weights: Any, pending: Any, jacobian: Any) -> None:
    """Add sum_p weights[p] r^H r over four rows p to the upper triangle of `jacobian`.

    Four at a time, because the sums and not the products are what fills the memory ports.
    """
    for i in range(rows.shape[2]):
        for f in range(rows.shape[3]):
            for p in range(4):
                weights[1, p, f] = weights[0, p, f] * rows[0, pending[p], i, f]
                weights[2, p, f] = weights[0, p, f] * rows[1, pending[p], i, f]
        for j in range(i, rows.shape[2]):
            for f in range(rows.shape[3]):
                re, im = jacobian[0, i, j, f], jacobian[1, i, j, f]
                for p in range(4):  # unrolled by the compiler
                    x, y = rows[0, pending[p], j, f], rows[1, pending[p], j, f]
                    re += weights[1, p, f] * x + weights[2, p, f] * y
                    im += weights[1, p, f] * y - weights[2, p, f] * x
                jacobian[0, i, j, f], jacobian[1, i, j, f] = re, im


@jit()
def _scale_row(estimate: Any, k: int, scale: Any) -> None:
    """Scale a row that holds real and imaginary part, and leave it in Gauss form."""
    for m in range(estimate.shape[2]):
        for f in range(estimate.shape[3]):
            re, im = scale[f] * estimate[0, k, m, f], scale[f] * estimate[1, k, m, f]
            estimate[0, k, m, f], estimate[1, k, m, f], estimate[2, k, m, f] = re, im - re, re + im


@jit()
def _energies(correlation: Any, estimate: Any, first: int, energy: Any) -> None:
    """Turn the estimate of a block's rows into R = X + S^H Z, real and imaginary part; |r|^2 into `energy`."""
    zero = energy.dtype.type(0)
    for q in range(energy.shape[0]):
        for f in range(energy.shape[1]):
            energy[q, f] = zero
        for m in range(estimate.shape[2]):
            for f in range(energy.shape[1]):
                k = first + q
                re = estimate[0, k, m, f] + correlation[0, k, m, f]
                im = re + estimate[1, k, m, f] + correlation[1, k, m, f]  # X_i = X_r + (X_i - X_r)
                re = re - correlation[2, k, m, f]
                estimate[0, first + q, m, f], estimate[1, first + q, m, f] = re, im
                energy[q, f] += re * re + im * im


@jit()
def _row_terms(
    present: Any,
    absent: Any,
    kbar: Any,
    spread: Any,
    energy: Any,
    precision: Any,
    slope: Any,
    resolution: Any,
    scale: Any,
    outer: Any,
    diagonal: Any,
    radial: Any,
) -> int:
    """Find D = scale I + outer r^H r of one row; add to the sums of scale and of outer |r|^2.

    Returns in how many frames the outer product is within the resolution of the sum so far.
    """
    relevant = np.int32(0)
    for f in range(scale.shape[0]):
        w, k = present[f], kbar[f]
        scale[f] = w * k
        diagonal[f] += scale[f]
        outer[f] = w * (absent[f] * slope[f] * k * k * precision[f] + spread[f])
        term = outer[f] * energy[f]
        radial[f] += term
        relevant += np.int32(0) if term <= resolution * diagonal[f] else np.int32(1)
    return int(relevant)


@jit()
def denoise(
    correlation: Real,
    estimate: Real,
    tau2: Real,
    log_weights: Real,
    gains: Real,
    controls: Real,
    prior: int,
    jacobian: Real,
) -> None:
    r"""Replace AMP's estimate X by X' = eta(X + S^H Z) and sum the Jacobian of eta over the rows.

    Row r of device n: eta = w kbar r, D = w kbar I + [w (1 - w) l' kbar + w kbar'] r^H r, where w
    is the posterior of the row under the prior, l its log-likelihood ratio (l <- slope l + bias,
    l' <- slope l') and kbar the mean of b / (b + tau2) over the posterior of the gain.

    Args:
        correlation: The three partial products of S^H Z, shape (3, K, M, F).
        estimate: X in Gauss form, shape (3, K, M, F); overwritten with X'.
        tau2: Effective noise power of each frame, linear, shape (F,).
        log_weights: Log weights of the quadrature over the gain, shape (J,); 0 if it is known.
        gains: Its nodes, shape (N, J); a device owns K / N rows.
        controls: LOG_ODDS of a row by the prior, factor on the GAIN, SLOPE and BIAS of the
            log-likelihood ratio l <- slope l + bias (nats), shape (4, C, F); C is 1, or N where
            every device has its own. `plain_controls` gives those of AMP.
        prior: ROW, BLOCK, or WINNER (the row prior, only the likeliest row of a block kept).
        jacobian: Receives sum D in real form, shape (2, M, M, F); or, when its shape is
            (2, 1, 1, F), its mean diagonal trace(sum D) / M, for the scalar Onsager term.
    """
    real = tau2.dtype.type
    num_rows, num_antennas, num_frames = estimate.shape[1:]
    num_devices, num_nodes = gains.shape
    num_pilots = num_rows // num_devices
    antennas = real(num_antennas)
    # A term below resolution / K of what the sum already holds: K such terms do not round it.
    resolution = real(np.finfo(tau2.dtype).eps / num_rows)
    full = jacobian.shape[1] == num_antennas and num_antennas > 1

    precision = real(1) / tau2
    per_node = np.empty((2, num_nodes, num_frames), tau2.dtype)
    per_row = np.empty((6, num_pilots, num_frames), tau2.dtype)  # unpacked, it would be strided
    energy, llr, kbar = per_row[0], per_row[1], per_row[2]
    spread, present, absent = per_row[3], per_row[4], per_row[5]
    diagonal, radial = np.zeros_like(tau2), np.zeros_like(tau2)
    silent = np.empty_like(tau2)
    weights, scales = np.zeros((3, 4, num_frames), tau2.dtype), np.empty((4, num_frames), tau2.dtype)
    pending, num_pending = np.zeros(4, np.int64), 0
    jacobian[:] = real(0)

    for n in range(num_devices):
        first = n * num_pilots
        control = controls[:, n if controls.shape[1] > 1 else 0]
        log_odds, gain_factor, slope, bias = control[LOG_ODDS], control[GAIN], control[SLOPE], control[BIAS]
        _energies(correlation, estimate, first, energy)
        _likelihoods(
            energy,
            precision,
            gains[n],
            log_weights,
            num_antennas,
            gain_factor,
            slope,
            bias,
            per_node,
            llr,
            kbar,
            spread,
        )
        if prior == BLOCK:
            _block_prior(llr, log_odds, present, absent, silent)
        else:
            _row_prior(llr, log_odds, present, absent)
            if prior == WINNER:
                _keep_winner(llr, present, absent)
        for q in range(num_pilots):
            relevant = _row_terms(
                present[q],
                absent[q],
                kbar[q],
                spread[q],
                energy[q],
                precision,
                slope,
                resolution,
                scales[num_pending],
                weights[0, num_pending],
                diagonal,
                radial,
            )
            if not full or relevant == 0:
                _scale_row(estimate, first + q, scales[num_pending])
                continue
            pending[num_pending] = first + q  # scaled once its outer product has been added
            num_pending += 1
            if num_pending == 4:
                _add_outer(estimate, weights, pending, jacobian)
                for p in range(4):
                    _scale_row(estimate, pending[p], scales[p])
                num_pending = 0

    if not full:
        for f in range(num_frames):
            jacobian[0, 0, 0, f] = diagonal[f] + radial[f] / antennas
        return
    if num_pending > 0:
        weights[0, num_pending:] = real(0)
        _add_outer(estimate, weights, pending, jacobian)
        for p in range(num_pending):
            _scale_row(estimate, pending[p], scales[p])
    for i in range(num_antennas):
        for f in range(num_frames):
            jacobian[0, i, i, f] += diagonal[f]
            jacobian[1, i, i, f] = real(0)
        for j in range(i):
            for f in range(num_frames):
                jacobian[0, i, j, f] = jacobian[0, j, i, f]
                jacobian[1, i, j, f] = -jacobian[1, j, i, f]


@jit()
def onsager_residual(
    received: Real, product: Real, jacobian: Real, onsager_weight: Real, residual: Real, tau2: Real
) -> None:
    """Replace AMP's residual Z by Z' = Y - S X' + (weight / L) Z sum D, and find its power.

    Args:
        received: Y in real form, shape (2, L, M, F).
        product: S X' in real form, shape (2, L, M, F).
        jacobian: sum D as `denoise` leaves it, shape (2, M, M, F) or, scalar, (2, 1, 1, F).
        onsager_weight: Factor of the Onsager term of each frame, shape (F,); 1 for plain AMP.
        residual: Z in real form, shape (2, L, M, F); overwritten with Z'.
        tau2: Receives ||Z'||^2 / (L M), the effective noise power of each frame, shape (F,).
    """
    real = tau2.dtype.type
    length, num_antennas, num_frames = residual.shape[1:]
    per_entry = real(1 / (length * num_antennas))
    size = jacobian.shape[1]
    scaled = jacobian * (onsager_weight / real(length))
    sums = np.empty((2, num_frames), tau2.dtype)
    row = np.empty((2, num_antennas, num_frames), tau2.dtype)
    tau2[:] = real(0)
    for symbol in range(length):
        row[:] = residual[:, symbol]
        for m in range(num_antennas):
            for f in range(num_frames):
                sums[0, f] = received[0, symbol, m, f] - product[0, symbol, m, f]
                sums[1, f] = received[1, symbol, m, f] - product[1, symbol, m, f]
            for i in range(size):
                a, j = (m, 0) if size == 1 else (i, m)
                for f in range(num_frames):
                    re, im = scaled[0, i, j, f], scaled[1, i, j, f]
                    sums[0, f] += row[0, a, f] * re - row[1, a, f] * im
                    sums[1, f] += row[0, a, f] * im + row[1, a, f] * re
            for f in range(num_frames):
                residual[0, symbol, m, f], residual[1, symbol, m, f] = sums[0, f], sums[1, f]
                tau2[f] += (sums[0, f] ** 2 + sums[1, f] ** 2) * per_entry


@jit()
def block_posteriors(
    rows: Real,
    tau2: Real,
    log_weights: Real,
    gains: Real,
    controls: Real,
    posteriors: Real,
) -> None:
    """Posterior of each label of each device from rows in effective noise, under the block prior.

    Args:
        rows: X + S^H Z in real form, shape (2, K, M, F).
        tau2: Effective noise power of each frame, linear, shape (F,).
        log_weights: Log weights of the quadrature over the gain, shape (J,).
        gains: Its nodes, shape (N, J).
        controls: As in `denoise`, with the block prior's log-odds.
        posteriors: Receives the posteriors, shape (N, Q + 1, F), label 0 (silent) first.
    """
    real = tau2.dtype.type
    num_rows, num_antennas, num_frames = rows.shape[1:]
    num_devices, num_nodes = gains.shape
    num_pilots = num_rows // num_devices
    precision = real(1) / tau2
    per_node = np.empty((2, num_nodes, num_frames), tau2.dtype)
    per_row = np.empty((5, num_pilots, num_frames), tau2.dtype)
    energy, llr, kbar = per_row[0], per_row[1], per_row[2]
    spread, absent = per_row[3], per_row[4]
    for n in range(num_devices):
        energy[:] = real(0)
        for q in range(num_pilots):
            for m in range(num_antennas):
                for f in range(num_frames):
                    re, im = rows[0, n * num_pilots + q, m, f], rows[1, n * num_pilots + q, m, f]
                    energy[q, f] += re * re + im * im
        control = controls[:, n if controls.shape[1] > 1 else 0]
        log_odds, gain_factor, slope, bias = control[LOG_ODDS], control[GAIN], control[SLOPE], control[BIAS]
        _likelihoods(
            energy,
            precision,
            gains[n],
            log_weights,
            num_antennas,
            gain_factor,
            slope,
            bias,
            per_node,
            llr,
            kbar,
            spread,
        )
        _block_prior(llr, log_odds, posteriors[n][1:], absent, posteriors[n][0])
