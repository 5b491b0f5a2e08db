r"""TernGrad: gradients of which only a sign is left, drawn so that their mean stays what it was.

Of a tensor $g$ with scaler $s$ a worker sends $s\,\mathrm{sign}(g)\circ b$, $b_k\sim$ Bernoulli$(|g_k|/s)$, after
clipping $g$ to $\pm s$: no bias but for the clipping, and a variance of $|g_k|(s-|g_k|)$ per entry. A small scaler
means a small variance, hence the paper's two tricks: a scaler for each layer, and clipping at $c\sigma$, by which
$s = c\sigma$ replaces $\max|g|$ (it may be larger, where a tensor has short tails: that is the authors' code too).
Workers share one scaler, the largest, so that the server adds integers.

References:
    Wen et al., "TernGrad: ternary gradients to reduce communication in distributed deep learning", NeurIPS 2017.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import sqrt
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab import check
from wirelesslab.vision.philox import key_of
from wirelesslab.vision.ternary_kernels import bits_of, draw_codes, lifted, moments

Array = NDArray[np.float32]
Code = Literal["2bit", "base3", "entropy"]
CODES: tuple[Code, ...] = ("2bit", "base3", "entropy")
DOWNS = ("bits", "entropy")
SHARES = ("max", "none")
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True)
class TernGradConfig:
    """What of a gradient becomes ternary, and how.

    Attributes:
        clip_c: c, standard deviations at which a tensor is clipped, which make its scaler; 0 clips nothing and
            takes the largest magnitude. The paper's is 2.5.
        layerwise: Whether every tensor has its own scaler; else one for all.
        share_scaler: "max": all workers use the largest of their scalers, and the server's sum is one of integers;
            "none": each its own, which saves an exchange and costs a downlink of floats.
        min_size: Tensors of fewer elements travel as float32 (64 is our choice: a mean-free sigma of a few numbers
            says little).
        float_names: Names of tensors that travel as float32 whatever their size, such as those of the last layer.
        code: How codes become bytes: four a byte, five a byte, or entropy-coded.
        down: How their integer sums become bytes: "bits", all as many as the largest needs, or "entropy"-coded (for up
            to 63 workers, and where it is shorter; bits otherwise).

    Raises:
        ValueError: A negative clip_c or min_size, an unknown word, or entropy-coded sums without a shared scaler.
    """

    clip_c: float = 2.5
    layerwise: bool = True
    share_scaler: Literal["max", "none"] = "max"
    min_size: int = 64
    float_names: tuple[str, ...] = ()
    code: Code = "2bit"
    down: Literal["bits", "entropy"] = "bits"

    def __post_init__(self) -> None:
        check.within(0, 1e6, clip_c=self.clip_c)
        check.positive_integer(min_size=self.min_size)
        check.one_of(SHARES, share_scaler=self.share_scaler)
        check.one_of(CODES, code=self.code)
        check.one_of(DOWNS, down=self.down)
        if self.down == "entropy" and self.share_scaler == "none":
            msg = "down: got 'entropy' without a shared scaler, expected 'bits': workers' codes add up to no integers"
            raise ValueError(msg)
        if isinstance(self.float_names, str):
            msg = f"float_names: got {self.float_names!r}, expected several names, such as ({self.float_names!r},)"
            raise TypeError(msg)

    def describe(self) -> dict[str, Any]:
        """Return all settings, but `down` where it is "bits": journals from before there was a choice stay valid."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in found.items() if (name, value) != ("down", "bits")}


def scaler_of(total: float, squares: float, largest: float, count: int, clip_c: float) -> float:
    """Return the scaler of a tensor from its sums: c sigma, or max |g| where c sigma would clip it to almost nothing.

    The paper's sigma has the mean removed, so that a constant tensor has sigma 0 and one of a large mean would lose
    nearly all of itself: when c sigma is below half the root mean square, max |g| is taken (our choice). 0 is
    returned for zeros only.
    """
    if largest == 0.0:
        return 0.0
    mean_square = squares / count
    sigma = sqrt(max(mean_square - (total / count) ** 2, 0.0))
    scale = clip_c * sigma
    if scale == 0.0 or scale < 0.5 * sqrt(mean_square):
        scale = largest
    scale = min(scale, LARGEST)
    return scale if np.float32(scale) > 0 else largest


def sums_of(gradient: Array, name: str = "") -> tuple[float, float, float]:
    """Return sum, sum of squares and largest magnitude of a gradient, float32 and contiguous.

    Raises:
        ValueError: An entry is NaN or infinite.
    """
    flat = gradient.reshape(-1)
    if not flat.size:
        return 0.0, 0.0, 0.0
    total, squares, largest = moments(flat, bits_of(flat))
    if not largest <= LARGEST:
        check.array(flat, (None,), "entries", name=f"gradient {name}".rstrip())
    return total, squares, largest


def scalers(gradients: Sequence[ArrayLike], config: TernGradConfig | None = None) -> list[float]:
    """Return each tensor's scaler, or the one scaler of all when the config is not layer-wise.

    Args:
        gradients: Arrays of any shapes; all are taken, whatever `min_size` says.
        config: See `TernGradConfig`.

    Raises:
        ValueError: An entry is NaN or infinite.

    Examples:
        >>> scalers([[1.0, -1.0], [1.0, 1.01, 0.99, 1.02]])
        [2.5, 1.0199999809265137]
    """
    config = config or TernGradConfig()
    flats = [np.ascontiguousarray(g, np.float32).reshape(-1) for g in gradients]
    sums = [sums_of(flat) for flat in flats]
    if config.layerwise:
        found = [scaler_of(*s, max(f.size, 1), config.clip_c) for s, f in zip(sums, flats, strict=True)]
    else:
        whole = sum(s[0] for s in sums), sum(s[1] for s in sums), max((s[2] for s in sums), default=0.0)
        found = [scaler_of(*whole, max(sum(f.size for f in flats), 1), config.clip_c)] * len(flats)
    return [float(np.float32(s)) for s in found]


def clip(gradient: ArrayLike, scale: float) -> Array:
    """Return the gradient clipped to [-scale, scale]."""
    return np.clip(np.asarray(gradient, np.float32), -np.float32(scale), np.float32(scale))


def ternarize(gradient: ArrayLike, scale: float, key: ArrayLike, lane: int = 0, step: int = 0) -> NDArray[np.int8]:
    r"""Return codes -1, 0, +1 of a gradient's shape: the sign of entry g with probability $\min(|g|/s, 1)$.

    Args:
        gradient: $g$, any shape.
        scale: $s$; 0 gives zeros only.
        key: Of the randomness, see `philox.key_of`.
        lane: Tells tensors of one key apart.
        step: Tells their training steps apart.

    Raises:
        ValueError: An entry is NaN or infinite, or the scaler is negative.

    Examples:
        >>> ternarize([0.0, 2.0, -3.0], 2.0, key=(1, 2)).tolist()
        [0, 1, -1]
    """
    check.within(0, LARGEST, scale=scale)
    values = np.ascontiguousarray(gradient, np.float32)
    sums_of(values)
    codes = np.ones(values.size, np.uint8)
    if scale > 0:
        draw_codes(*lifted(values.reshape(-1), scale), lane, step, np.asarray(key, np.uint64), codes)
    return (codes.view(np.int8) - np.int8(1)).reshape(values.shape)


def average(codes: Sequence[NDArray[np.int8]], scale: float) -> Array:
    """Return the workers' mean gradient: their codes' integer sum times scale / N."""
    total = np.sum([c.astype(np.int32) for c in codes], axis=0)
    return np.asarray(np.float32(scale / len(codes)) * total.astype(np.float32), np.float32)


__all__ = ["CODES", "TernGradConfig", "average", "clip", "key_of", "scaler_of", "scalers", "sums_of", "ternarize"]
