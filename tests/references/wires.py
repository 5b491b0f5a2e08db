"""Slow, obvious versions of what the wires compute: Philox in whole numbers, and rules read off the paper."""

import numpy as np

MASK = 0xFFFFFFFF


def philox(counter: tuple[int, int, int, int], key: tuple[int, int], rounds: int = 10) -> list[int]:
    """Return the four numbers of a counter, as Salmon et al. write it."""
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(rounds):
        p, q = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = (q >> 32) ^ b ^ k0, q & MASK, (p >> 32) ^ d ^ k1, p & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [a, b, c, d]


def ternary_codes(gradient: np.ndarray, scale: float, uniforms: np.ndarray) -> np.ndarray:
    """Return sign(g) where u s < |g|, else 0."""
    kept = uniforms.astype(np.float64) * scale < np.abs(gradient.astype(np.float64))
    return np.where(kept, np.sign(gradient), 0).astype(np.int8)
