r"""State evolution of AMP by plain Monte Carlo, at equal gains.

For $N \to \infty$ AMP sees each row through its own Gaussian channel, $R = X + \tau V$ with
$V \sim CN(0, I)$, and $\tau^2$ follows
$\tau^2_{t+1} = \sigma^2 + \frac{N}{L M} E \|\eta_t(X + \tau_t V) - X\|^2$, the mean over a block of
Q rows. It starts at $\eta = 0$: $\tau^2_1 = \sigma^2 + N \epsilon \beta / L$.

References:
    Bayati and Montanari, IEEE Trans. Inf. Theory 57(2), 2011; Liu and Yu, IEEE Trans. Signal
    Process. 66(11), 2018.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp


@dataclass(frozen=True)
class Rates:
    """Rates of the three kinds of error of block decisions.

    Attributes:
        missed: P(decided silent | active).
        false_alarm: P(decided active | silent).
        wrong_symbol: P(decided another pilot | active).
    """

    missed: float
    false_alarm: float
    wrong_symbol: float


def complex_normal(rng: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    """Independent CN(0, 1) entries."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def draw_blocks(
    gain: float,
    num_antennas: int,
    num_pilots: int,
    activity_prob: float,
    num_samples: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.complex128], NDArray[np.int64]]:
    """Blocks of X, shape (samples, Q, M), and their labels, shape (samples,), 0 silent or 1..Q."""
    active = rng.random(num_samples) < activity_prob
    labels = np.where(active, rng.integers(1, num_pilots + 1, num_samples), 0)
    sent = labels[:, None] == np.arange(1, num_pilots + 1)  # (samples, Q)
    channels = np.sqrt(gain) * complex_normal(rng, num_samples, num_antennas)
    return sent[:, :, None] * channels[:, None, :], labels


def log_likelihood_ratios(rows: NDArray[np.complex128], tau2: float, gain: float) -> NDArray[np.float64]:
    r"""$\log CN(r; 0, (\beta + \tau^2) I) - \log CN(r; 0, \tau^2 I)$, (..., Q, M) -> (..., Q)."""
    energy = np.sum(np.abs(rows) ** 2, axis=-1)
    loud = -energy / (gain + tau2) - rows.shape[-1] * np.log(gain + tau2)
    quiet = -energy / tau2 - rows.shape[-1] * np.log(tau2)
    return loud - quiet


def label_posteriors(llr: NDArray[np.float64], activity_prob: float) -> NDArray[np.float64]:
    """Posterior of the labels of blocks, (samples, Q) -> (samples, Q + 1); index 0 is silent."""
    num_samples, num_pilots = llr.shape
    silent = np.full((num_samples, 1), np.log1p(-activity_prob))
    joint = np.hstack([silent, np.log(activity_prob / num_pilots) + llr])
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def tau_squared(
    prior: str,
    noise_power: float,
    gain: float,
    num_devices: int,
    num_pilots: int,
    pilot_length: int,
    num_antennas: int,
    activity_prob: float,
    *,
    iterations: int,
    num_samples: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    r"""Effective noise that the denoiser of each iteration sees.

    Args:
        prior: "row" or "block", which MMSE denoiser $\eta$ is.
        noise_power: sigma^2 per complex entry, linear.
        gain: beta of every device, linear.
        num_devices: N.
        num_pilots: Q, pilots per device.
        pilot_length: L, symbols.
        num_antennas: M.
        activity_prob: epsilon, in (0, 1).
        iterations: Number of denoisings.
        num_samples: Fresh blocks drawn at each iteration.
        rng: Source of all randomness.

    Returns:
        tau^2 per complex entry, shape (iterations,): entry 0 is that of the first denoising, as
        in ``AmpResult.residual_powers``.
    """
    if prior not in ("row", "block"):
        raise ValueError(f"prior: got {prior!r}, expected 'row' or 'block'")
    taus = np.empty(iterations)
    tau2 = noise_power + num_devices * activity_prob * gain / pilot_length
    for iteration in range(iterations):
        taus[iteration] = tau2
        X, _ = draw_blocks(gain, num_antennas, num_pilots, activity_prob, num_samples, rng)
        R = X + np.sqrt(tau2) * complex_normal(rng, *X.shape)  # (samples, Q, M)
        llr = log_likelihood_ratios(R, tau2, gain)  # (samples, Q)
        if prior == "block":
            p = label_posteriors(llr, activity_prob)[:, 1:]
        else:  # each row is a block of its own, active with probability epsilon / Q
            p = label_posteriors(llr.reshape(-1, 1), activity_prob / num_pilots)[:, 1]
            p = p.reshape(llr.shape)
        denoised = gain / (gain + tau2) * p[:, :, None] * R
        block_error = np.mean(np.sum(np.abs(denoised - X) ** 2, axis=(1, 2)))
        tau2 = noise_power + num_devices / pilot_length * block_error / num_antennas
    return taus


def monte_carlo_rates(
    tau2: float,
    gain: float,
    num_antennas: int,
    num_pilots: int,
    activity_prob: float,
    num_samples: int,
    rng: np.random.Generator,
) -> Rates:
    r"""Error rates of block MAP decisions on $R = X + \tau V$, by counting.

    As many silent blocks as active ones are drawn, so each rate is a count over ``num_samples``;
    the prior in the decision is ``activity_prob`` all the same. Hence
    SER = epsilon (missed + wrong_symbol) + (1 - epsilon) false_alarm.

    Args:
        tau2: Effective noise per complex entry, linear.
        gain: beta, linear.
        num_antennas: M.
        num_pilots: Q, pilots per device.
        activity_prob: epsilon, in (0, 1).
        num_samples: Active blocks drawn, and silent blocks drawn.
        rng: Source of all randomness.
    """
    decisions = []
    truths = []
    for drawn_activity in (0.0, 1.0):
        X, truth = draw_blocks(gain, num_antennas, num_pilots, drawn_activity, num_samples, rng)
        R = X + np.sqrt(tau2) * complex_normal(rng, *X.shape)
        posteriors = label_posteriors(log_likelihood_ratios(R, tau2, gain), activity_prob)
        decisions.append(posteriors.argmax(axis=1))
        truths.append(truth)
    return Rates(
        missed=float(np.mean(decisions[1] == 0)),
        false_alarm=float(np.mean(decisions[0] != 0)),
        wrong_symbol=float(np.mean((decisions[1] != 0) & (decisions[1] != truths[1]))),
    )
