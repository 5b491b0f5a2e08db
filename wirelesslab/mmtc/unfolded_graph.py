"""AMP unfolded, as a TensorFlow graph: what is trained, and what a GPU runs.

Complex arithmetic is written in real operations: an array that is complex on paper has a leading
axis of two, real part first, and a product with the pilots is one real product of twice the size.
Every axis may change from call to call, so one trace serves all shapes and batch sizes.

F frames, L pilot symbols, M antennas, N devices, Q pilots each, K = N Q, J nodes of the gain.
Quantities of a row are kept as (N, Q, F): frames last, as in `kernels`.
References: Ma, Wu, Gao and Shen, IEEE Trans. Wireless Commun. 2023, arXiv 2301.00516 (AMP unfolded,
learned sparsity and gain, a refinement module). The context networks and the covariance passes are
our choice, as are all sizes.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from wirelesslab.mmtc.unfolded import FAINT, LEAST_SHARE, OUT_OF_PLAY, RESOLVES, Architecture
from wirelesslab.mmtc.uplink import Observation
from wirelesslab.tensorflow import tf

Tensor = Any  # TensorFlow ships no types
MOST_ENTRIES = 2**23  # of one temporary array in detection


class Inputs(NamedTuple):
    """An observation in real form.

    Attributes:
        received: Y, shape (2, F, L, M).
        pilots: S, shape (2, L, K).
        nodes: Possible gains, shape (N, J).
        weights: Their probabilities, shape (J,).
        noise_power: σ², scalar.
        activity_prob: ε, scalar.
        pilots_per_device: Q, int32 scalar.
    """

    received: Tensor
    pilots: Tensor
    nodes: Tensor
    weights: Tensor
    noise_power: Tensor
    activity_prob: Tensor
    pilots_per_device: Tensor


def real_inputs(observation: Observation, dtype: Any = np.float32) -> Inputs:
    """Return the observation in real form, as NumPy arrays of `dtype`."""
    o = observation
    return Inputs(
        np.stack([o.received.real, o.received.imag]).astype(dtype),
        np.stack([o.pilots.real, o.pilots.imag]).astype(dtype),
        np.maximum(o.gains.nodes, np.finfo(dtype).tiny).astype(dtype),
        o.gains.weights.astype(dtype),
        dtype(o.noise_power),
        dtype(np.clip(o.activity_prob, 1e-12, 1 - 1e-7)),
        np.int32(o.pilots_per_device),
    )


def signature(dtype: Any = tf.float32) -> Inputs:
    """Return the tensor specifications of `Inputs`, every axis open."""
    shapes: tuple[list[int | None], ...] = ([2, None, None, None], [2, None, None], [None, None], [None], [], [])
    return Inputs(*[tf.TensorSpec(shape, dtype) for shape in shapes] + [tf.TensorSpec([], tf.int32)])


class _Cell(NamedTuple):
    """What does not change from layer to layer."""

    forward: Tensor  # (2L, 2K), S as a real matrix
    adjoint: Tensor  # (2K, 2L), S^H as a real matrix
    nodes: Tensor  # (J, N, 1, 1)
    log_weights: Tensor  # (J, 1, 1, 1)
    features: Tensor  # (7, F), see CELL_FEATURES
    log_odds: Tensor  # log((ε/Q) / (1-ε))
    frames: Tensor
    length: Tensor
    antennas: Tensor
    devices: Tensor
    labels: Tensor  # Q

    def correlate(self, residual: Tensor) -> Tensor:
        """S^H Z of (F, L, 2M), real parts before imaginary parts, as (2, N, Q, F, M)."""
        f, length, m = self.frames, self.length, self.antennas
        columns = tf.transpose(tf.reshape(residual, [f, length, 2, m]), [2, 1, 0, 3])
        product = self.adjoint @ tf.reshape(columns, [2 * length, f * m])
        return tf.reshape(product, [2, self.devices, self.labels, f, m])


def _cell(inputs: Inputs) -> _Cell:
    real, imag = inputs.pilots[0], inputs.pilots[1]
    dtype = inputs.received.dtype
    _, f, length, m = tf.unstack(tf.shape(inputs.received))
    q = inputs.pilots_per_device
    n = tf.shape(real)[1] // q
    eps, weights = inputs.activity_prob, inputs.weights
    fl, fm, fn, fq = (tf.cast(x, dtype) for x in (length, m, n, q))
    log_gains = tf.math.log(inputs.nodes)
    mean_log_gain = tf.reduce_sum(tf.reduce_mean(log_gains, 0) * weights)
    spread = tf.reduce_sum(tf.reduce_mean((log_gains - mean_log_gain) ** 2, 0) * weights)
    features = tf.stack([
        tf.math.log(eps * fn / fl),
        tf.math.log(fl / (fn * fq)) / 2,
        tf.math.log(fm) / 2 - 0.7,
        (mean_log_gain - tf.math.log(inputs.noise_power * fl)) / 3,
        tf.math.log(eps) + 2.3,
        tf.sqrt(spread + 1e-9) / 2,  # the root of zero has no slope
        tf.math.log(fq) - 1,
    ])  # fmt: skip
    turned_real, turned_imag = tf.transpose(real), tf.transpose(imag)
    return _Cell(
        tf.concat([tf.concat([real, -imag], 1), tf.concat([imag, real], 1)], 0),
        tf.concat([tf.concat([turned_real, turned_imag], 1), tf.concat([-turned_imag, turned_real], 1)], 0),
        tf.transpose(inputs.nodes)[:, :, None, None],
        tf.math.log(weights)[:, None, None, None],
        tf.tile(features[:, None], [1, f]),
        tf.math.log(eps / fq / (1 - eps)),
        f, length, m, n, q,
    )  # fmt: skip


def unfolded(parameters: Mapping[str, Tensor], architecture: Architecture, inputs: Inputs) -> list[Tensor]:
    """Return the log-odds of every label against silence after each layer and each pass.

    Args:
        parameters: Tensors named and shaped as `Architecture.shapes` says.
        architecture: Of the network.
        inputs: What was received and what the station knows.

    Returns:
        `num_outputs` tensors of shape (N, Q, F), prior log-odds included; silence has log-odds 0.
    """
    cell = _cell(inputs)
    outputs, gains = _layers(parameters, architecture, inputs, cell)
    if architecture.num_passes:
        outputs += _passes(parameters, architecture, inputs, cell, outputs[-1], gains)
    return outputs


def _context(parameters: Mapping[str, Tensor], part: str, index: int, features: Tensor) -> Tensor:
    """Hidden units of a context network, shape (F, H), from features of shape (features, F)."""
    return tf.tanh(tf.transpose(features) @ parameters[f"{part}.inputs"] + parameters[f"{part}.hidden_bias"][index])


def _layers(
    p: Mapping[str, Tensor], architecture: Architecture, inputs: Inputs, cell: _Cell
) -> tuple[list[Tensor], Tensor]:
    """AMP iterations; also the mean gain of each row if it is active, shape (N, Q, F)."""
    f, length, m = cell.frames, cell.length, cell.antennas
    dtype = inputs.received.dtype
    num_rows = cell.devices * cell.labels
    antennas, per_symbol = tf.cast(m, dtype), 1 / tf.cast(length, dtype)
    received = tf.reshape(tf.transpose(inputs.received, [1, 2, 0, 3]), [f, length, 2 * m])
    residual, estimate = received, tf.zeros([2, cell.devices, cell.labels, f, m], dtype)

    def power(z: Tensor) -> Tensor:
        return tf.maximum(tf.reduce_sum(z * z, [1, 2]) * per_symbol / antennas, 1e-30)

    tau2 = start = power(residual)
    coefficient = tf.zeros_like(tau2)
    outputs: list[Tensor] = []
    for t in range(architecture.num_layers):
        control = p["layer.bias"][0 if architecture.controls == "shared" else t]
        if architecture.has_context:
            seen = [tf.math.log(tau2 / inputs.noise_power) / 3, tf.math.log(tau2 / start) / 3, coefficient]
            hidden = _context(p, "layer", t, tf.concat([cell.features, tf.stack(seen)], 0))
            control += hidden @ p["layer.outputs"][t]  # (F, 6)
        log_odds, log_gain, onsager, step, log_slope, bias = tf.unstack(control, axis=-1)
        if architecture.controls == "device":
            more = p["layer.device"][t][:, :, None, None]  # (N, 3, 1, 1)
            log_odds, log_gain, bias = log_odds + more[:, 0], log_gain + more[:, 1], bias + more[:, 2]
        slope = tf.exp(log_slope)

        rows = estimate + (1 + step)[..., None] * cell.correlate(residual)  # (2, N, Q, F, M)
        energy = tf.reduce_sum(rows * rows, [0, 4])
        snr = cell.nodes * tf.exp(log_gain) / tau2  # (J, N, 1, F)
        shrink = snr / (1 + snr)
        level = cell.log_weights - antennas * tf.math.log1p(snr) + shrink * energy / tau2  # (J, N, Q, F)
        ratio = tf.reduce_logsumexp(level, 0)
        node = tf.nn.softmax(level, 0)  # sums to one in float32 too
        mean_shrink = tf.reduce_sum(node * shrink, 0)
        spread = tf.reduce_sum(node * (shrink - mean_shrink) ** 2, 0) / tau2
        gains = tf.reduce_sum(node * cell.nodes, 0)
        logits = slope * ratio + bias + cell.log_odds + log_odds
        outputs.append(logits)
        if t == architecture.num_layers - 1:
            break
        weight, rest = _activity(logits, architecture, inputs)
        scale = weight * mean_shrink
        outer = weight * (rest * slope * mean_shrink**2 / tau2 + spread)
        jacobian, turn = _jacobian(rows, scale, outer, cell)
        estimate = scale[..., None] * rows
        product = cell.forward @ tf.reshape(estimate, [2 * num_rows, f * m])
        product = tf.reshape(tf.transpose(tf.reshape(product, [2, length, f, m]), [2, 1, 0, 3]), [f, length, 2 * m])
        factor = (1 + onsager) * per_symbol * tf.ones([f], dtype)
        residual = received - product + factor[:, None, None] * tf.matmul(residual, turn)
        coefficient = tf.linalg.trace(jacobian) * per_symbol / antennas
        tau2 = power(residual)
    return outputs, gains


def _jacobian(rows: Tensor, scale: Tensor, outer: Tensor, cell: _Cell) -> tuple[Tensor, Tensor]:
    """Σ D = Σ_k scale_k I + outer_k r_k^H r_k: its real part (F, M, M), and all of it as a real matrix (F, 2M, 2M)."""
    m, shape = cell.antennas, [cell.frames, cell.devices * cell.labels]
    flat = tf.reshape(tf.transpose(rows, [3, 1, 2, 0, 4]), [*shape, 2 * m])  # rows [re, im]
    gram = tf.matmul(flat, tf.reshape(tf.transpose(outer, [2, 0, 1]), [*shape, 1]) * flat, transpose_a=True)
    diagonal = tf.reduce_sum(scale, [0, 1])[:, None, None] * tf.eye(m, dtype=rows.dtype)
    real = gram[:, :m, :m] + gram[:, m:, m:] + diagonal
    imag = gram[:, :m, m:] - gram[:, m:, :m]
    return real, tf.concat([tf.concat([real, imag], 2), tf.concat([-imag, real], 2)], 1)


def _activity(logits: Tensor, architecture: Architecture, inputs: Inputs) -> tuple[Tensor, Tensor]:
    """Posterior of each row under the prior, and one minus it; shape (N, Q, F)."""
    if architecture.prior == "row":
        share = inputs.activity_prob / tf.cast(inputs.pilots_per_device, logits.dtype)
        level = logits + tf.math.log((1 - inputs.activity_prob) / (1 - share))  # odds against this row's own silence
        return tf.sigmoid(level), tf.sigmoid(-level)
    posterior = _posteriors(logits)
    return posterior, 1 - posterior


def _posteriors(logits: Tensor) -> Tensor:
    """Posterior of each label under the block prior, shape (N, Q, F)."""
    return tf.nn.softmax(tf.concat([tf.zeros_like(logits[:, :1]), logits], 1), 1)[:, 1:]


def _passes(
    p: Mapping[str, Tensor], architecture: Architecture, inputs: Inputs, cell: _Cell, logits: Tensor, gains: Tensor
) -> list[Tensor]:
    """Refinement passes, see `Architecture.refinement`."""
    dtype = logits.dtype
    outputs = []
    covariance = _Covariance(inputs, cell) if architecture.refinement == "covariance" else None
    expected = inputs.activity_prob * tf.cast(cell.devices, dtype)
    for s in range(architecture.num_passes):
        posterior = _posteriors(logits)
        ratio = logits - cell.log_odds
        zeros = tf.zeros_like(logits)
        tested, share, unexplained, play = zeros, zeros, tf.ones_like(logits[0, 0]), None
        if covariance is not None:
            audible = posterior >= FAINT
            tested, share, unexplained, tested_gains = covariance.test(posterior * gains, audible)
            if s > 0:  # the first pass has tested all; the others go on with what is still in play
                play = audible
                tested, gains = tf.where(play, tested, OUT_OF_PLAY), tf.where(play, tested_gains, gains)
            else:
                gains = tested_gains
        gates = p["pass.bias"][s]
        hidden = None
        if architecture.has_context:
            undecided = tf.reduce_mean(tf.reduce_sum(posterior * (1 - posterior), 1), 0) / inputs.activity_prob
            heard = tf.reduce_sum(posterior, [0, 1]) / expected
            seen = [tf.math.log(unexplained + 1e-6), tf.math.log(undecided + 1e-4) / 4, heard - 1]
            hidden = _context(p, "pass", s, tf.concat([cell.features, tf.stack(seen)], 0))
            gates += hidden @ p["pass.outputs"][s]
        gate, log_slope, bias = tf.unstack(gates, axis=-1)
        features = [
            tf.tanh(ratio / 8),
            tf.tanh((ratio - tf.reduce_max(ratio, 1, keepdims=True)) / 8),
            posterior,
            tf.reduce_sum(posterior, 1, keepdims=True) + zeros,
            tf.tanh(tested / 8),
            tf.tanh((tested - tf.reduce_max(tested, 1, keepdims=True)) / 8),
            share,
        ]
        change = _block_network(p, architecture, s, tf.stack(features, 3), hidden)
        if covariance is not None:
            change += gate * (tf.exp(log_slope) * tested + bias - ratio)
        logits += change if play is None else tf.where(play, change, zeros)
        outputs.append(logits)
    return outputs


def _block_network(
    p: Mapping[str, Tensor], architecture: Architecture, s: int, features: Tensor, hidden: Tensor
) -> Tensor:
    """The small network shared by all blocks, from (N, Q, F, features) to (N, Q, F)."""
    units = tf.einsum("nqfc,cw->nqfw", features, p["block.inputs"][s]) + p["block.hidden_bias"][s]
    if architecture.refinement == "across":
        units += tf.reduce_mean(features, [0, 1]) @ p["block.across"][s]
    if hidden is not None:
        units += hidden @ p["block.context"][s]
    return tf.einsum("nqfw,w->nqf", tf.nn.relu(units), p["block.outputs"][s])


class _Covariance:
    r"""Tests every pilot against the covariance that posterior powers γ suppose.

    $\Sigma = S \Gamma S^H + \sigma^2 I$, $P = \Sigma^{-1}$, $a_q = s_q^H P s_q$,
    $b_q = \|Y^H P s_q\|^2$; the pilot's own γ is taken out, $a' = a/(1-\gamma a)$, $b' = b/(1-\gamma a)^2$,
    and the log ratio is that of the covariance method's read-out. The columns $s s^H$ are shared by
    all frames, which makes Σ and a two products of real matrices.
    """

    def __init__(self, inputs: Inputs, cell: _Cell) -> None:
        self._inputs, self._cell = inputs, cell
        real, imag = inputs.pilots[0], inputs.pilots[1]
        shape = [cell.length**2, cell.devices * cell.labels]
        outer_real = tf.reshape(real[:, None] * real[None] + imag[:, None] * imag[None], shape)
        outer_imag = tf.reshape(imag[:, None] * real[None] - real[:, None] * imag[None], shape)
        self._outer = tf.concat([outer_real, outer_imag], 0)  # (2 L², K)
        self._received = tf.concat([inputs.received[0], inputs.received[1]], 1)  # (F, 2L, M)

    def test(self, power: Tensor, audible: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return log ratios, log(1 - γ a), tr(Y^H P Y)/(L M) per frame, and the mean gains if active."""
        cell, inputs, dtype = self._cell, self._inputs, power.dtype
        f, length, m = cell.frames, cell.length, cell.antennas
        faint = tf.reduce_sum(tf.where(audible, tf.zeros_like(power), power), [0, 1]) / tf.cast(length, dtype)
        power = tf.where(audible, power, tf.zeros_like(power))
        flat = tf.reshape(power, [cell.devices * cell.labels, f])
        parts = tf.reshape(tf.transpose(self._outer @ flat), [f, 2, length, length])
        noise = tf.maximum(inputs.noise_power + faint, RESOLVES[dtype.size] * tf.reduce_max(flat, 0))
        real, imag = parts[:, 0] + noise[:, None, None] * tf.eye(length, dtype=dtype), parts[:, 1]
        whole = tf.concat([tf.concat([real, -imag], 2), tf.concat([imag, real], 2)], 1)
        # Strong devices spread the eigenvalues over more digits than float32 has.
        inverse = tf.cast(tf.linalg.inv(tf.cast(whole, tf.float64)), dtype)
        whitened = inverse @ self._received  # (F, 2L, M)
        antennas = tf.cast(m, dtype)
        unexplained = tf.reduce_sum(whitened * self._received, [1, 2]) / (antennas * tf.cast(length, dtype))
        blocks = tf.reshape(tf.stack([inverse[:, :length, :length], inverse[:, length:, :length]], 1), [f, -1])
        a = tf.reshape(tf.matmul(self._outer, blocks, transpose_a=True, transpose_b=True), tf.shape(power))
        columns = tf.reshape(tf.transpose(whitened, [1, 0, 2]), [2 * length, f * m])
        cross = tf.reshape(cell.adjoint @ columns, [2, cell.devices * cell.labels, f, m])
        b = tf.reshape(tf.reduce_sum(cross * cross, [0, 3]), tf.shape(power))
        others = tf.maximum(1 - power * a, LEAST_SHARE)
        a, b = tf.maximum(a, 0) / others, b / others**2
        growth = 1 + cell.nodes * a  # (J, N, Q, F)
        level = cell.log_weights - antennas * tf.math.log(growth) + cell.nodes * b / growth
        ratio = tf.reduce_logsumexp(level, 0)
        gains = tf.reduce_sum(tf.nn.softmax(level, 0) * cell.nodes, 0)
        return ratio, tf.math.log(others), unexplained, gains


@cache
def _compiled(architecture: Architecture, dtype: Any) -> Callable[..., Any]:
    """One trace for an architecture and precision, whatever the shapes and the parameters."""
    parameters = {name: tf.TensorSpec(shape, dtype) for name, shape in architecture.shapes().items()}

    def run(weights: Mapping[str, Tensor], *inputs: Tensor) -> Tensor:
        logits = unfolded(weights, architecture, Inputs(*inputs))[-1]
        whole = tf.concat([tf.zeros_like(logits[:, :1]), logits], 1)
        return tf.transpose(tf.nn.softmax(whole, 1), [2, 0, 1])

    compiled: Callable[..., Any] = tf.function(run, input_signature=[parameters, *signature(dtype)], autograph=False)
    return compiled


def posteriors(parameters: Mapping[str, Any], architecture: Architecture, observation: Observation) -> Any:
    """Return the posteriors of every frame, shape (frames, N, Q + 1), in the observation's precision."""
    o, dtype = observation, observation.received.real.dtype
    weights = {name: tf.constant(values, dtype) for name, values in parameters.items()}
    run = _compiled(architecture, tf.as_dtype(dtype))
    per_frame = o.pilots.shape[1] * max(o.gains.weights.size, 2 * o.num_antennas)
    chunk = max(1, MOST_ENTRIES // per_frame)
    parts = [replace(o, received=o.received[start : start + chunk]) for start in range(0, o.num_frames, chunk)]
    return np.concatenate([run(weights, *real_inputs(part, dtype.type)).numpy() for part in parts])
