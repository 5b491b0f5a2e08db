r"""Approximate message passing for one frame of the non-coherent grant-free uplink.

The model is $Y = S X + W$: device $n$ owns the $Q$ columns $nQ, \dots, nQ + Q - 1$ of the pilots
$S$, at most one row of its block of $X$ is non-zero, and that row is $\sqrt{\beta_n} h$ with
$h \sim CN(0, I_M)$. Rows are row vectors, as $X$ and $Y$ store them, so a Jacobian multiplies
from the right.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

PRIORS = ("row", "block", "winner")

# The re-tuned AMP: factors on the Onsager term of iterations 1, 2, ... (1 from the seventh on),
# and LLR -> slope * LLR + offset, in nats, before the prior is added.
ONSAGER_FACTORS = (1.6, 1.4, 1.3, 1.2, 1.15, 1.1)
LLR_SLOPE, LLR_OFFSET = 0.7, 0.6


@dataclass(frozen=True)
class AmpResult:
    """What AMP believes about one frame.

    Attributes:
        posteriors: Probability of each label of each device, shape (N, Q + 1); label 0 is silent.
        labels: The most probable label of each device, shape (N,).
        residual_powers: tau^2 used by each iteration, per complex entry, shape (iterations,).
        estimate: X after the last denoising, shape (N Q, M).
    """

    posteriors: NDArray[np.float64]
    labels: NDArray[np.int64]
    residual_powers: NDArray[np.float64]
    estimate: NDArray[np.complex128]


def amp(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    gains: NDArray[np.float64],
    noise_power: float,
    activity_prob: float,
    num_pilots: int,
    *,
    prior: str = "block",
    iterations: int = 20,
    retuned: bool = False,
) -> AmpResult:
    r"""Detect one frame by AMP with an MMSE denoiser and the full M x M Onsager term.

    From $X = 0$, $Z = Y$, each iteration is

    $R = X + S^H Z$, $\tau^2 = \|Z\|_F^2 / (LM)$, $X' = \eta(R)$,
    $Z' = Y - S X' + \frac{1}{L} Z \sum_{n,q} D_{nq}$,

    where $\eta_q = k p_q r_q$ with $k = \beta/(\beta + \tau^2)$, and
    $D_q = k p_q I + k p_q (1 - p_q) \Delta r_q^H r_q$ with $\Delta = 1/\tau^2 - 1/(\beta+\tau^2)$.
    The prior says what $p_q$ is, given $l_q = \Delta |r_q|^2 - M \log(1 + \beta/\tau^2)$:

    - ``"row"``: $e\,e^{l_q} / (1 - e + e\,e^{l_q})$ with $e = \epsilon/Q$;
    - ``"block"``: $e\,e^{l_q} / (1 - \epsilon + e \sum_{q'} e^{l_{q'}})$;
    - ``"winner"``: as for rows at the strongest row of each block; elsewhere $\eta = 0$, $D = 0$.

    All three are read out alike, by block MAP on the last $l_q$ that were denoised.

    Args:
        received: Y, shape (L, M).
        pilots: S, columns of norm 1, shape (L, N Q).
        gains: beta, large-scale power gain of each device, linear, shape (N,).
        noise_power: sigma^2 per complex entry, linear. Not used, because tau^2 comes from the
            residual; it is here so that all references are called alike.
        activity_prob: epsilon, in (0, 1).
        num_pilots: Q, pilots per device.
        prior: "row", "block" or "winner".
        iterations: Number of denoisings, at least 1.
        retuned: Block denoiser with the scalar Onsager term trace / M times `ONSAGER_FACTORS`, and
            $l \to 0.7 l + 0.6$ wherever $l$ is used, hence $\Delta \to 0.7 \Delta$ in $D$.

    References:
        Liu and Yu, IEEE Trans. Signal Process. 66(11), 2018 (rows). Senel and Larsson, IEEE Trans.
        Commun. 66(12), 2018 (pilot-embedded bits; "winner" stands in for their modified AMP).
    """
    if prior not in PRIORS:
        raise ValueError(f"prior: got {prior!r}, expected one of {PRIORS}")
    if retuned and prior != "block":
        raise ValueError(f"retuned: got prior={prior!r}, expected 'block'")
    L, M = received.shape
    N, Q = len(gains), num_pilots
    beta = gains[:, None]  # (N, 1), against (N, Q)
    pilots_h = pilots.conj().T  # S^H, copied once
    slope, offset = (LLR_SLOPE, LLR_OFFSET) if retuned else (1.0, 0.0)

    X = np.zeros((N * Q, M), dtype=np.complex128)
    Z = received
    residual_powers = np.empty(iterations)
    for iteration in range(iterations):
        tau2 = np.vdot(Z, Z).real / (L * M)
        residual_powers[iteration] = tau2
        R = pilots_h @ Z  # (NQ, M)
        R += X

        delta = 1 / tau2 - 1 / (beta + tau2)  # (N, 1)
        as_real = R.view(np.float64)  # (NQ, 2M), no copy
        energy = np.einsum("rm,rm->r", as_real, as_real).reshape(N, Q)
        llr = slope * (delta * energy - M * np.log1p(beta / tau2)) + offset  # (N, Q)
        if prior == "block":
            p = block_posteriors(llr, activity_prob)[:, 1:]  # (N, Q)
        else:
            p = expit(llr + logit(activity_prob / Q))
        shrinkage = beta / (beta + tau2) * p  # k p, (N, Q)
        if prior == "winner":
            shrinkage *= np.arange(Q) == energy.argmax(axis=1)[:, None]
        X = shrinkage.reshape(-1, 1) * R

        if iteration + 1 == iterations:
            break  # the next residual would not be used
        curvature = shrinkage * (1 - p) * (slope * delta)  # (N, Q)
        if retuned:
            factor = ONSAGER_FACTORS[iteration] if iteration < len(ONSAGER_FACTORS) else 1.0
            onsager = factor * (shrinkage.sum() + np.vdot(curvature, energy) / M) / L
            Z = received - pilots @ X + onsager * Z
        else:
            weighted = R.conj()
            weighted *= curvature.reshape(-1, 1)
            jacobian = weighted.T @ R  # sum over rows of curvature r^H r, (M, M)
            jacobian.flat[:: M + 1] += shrinkage.sum()
            Z = received - pilots @ X + Z @ (jacobian / L)

    posteriors = block_posteriors(llr, activity_prob)
    return AmpResult(posteriors, posteriors.argmax(axis=1), residual_powers, X)


def block_posteriors(llr: NDArray[np.float64], activity_prob: float) -> NDArray[np.float64]:
    r"""Posterior of each label: silent has weight $1-\epsilon$, pilot q $(\epsilon/Q) e^{l_q}$.

    Args:
        llr: $l_q$, log-likelihood ratio of pilot q against silence, in nats, shape (N, Q).
        activity_prob: epsilon, in (0, 1).

    Returns:
        Probabilities, shape (N, Q + 1), computed in the log domain; index 0 is silent.
    """
    N, Q = llr.shape
    weights = np.empty((N, Q + 1))
    weights[:, 0] = np.log1p(-activity_prob)
    np.add(llr, np.log(activity_prob / Q), out=weights[:, 1:])
    weights -= weights.max(axis=1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights
