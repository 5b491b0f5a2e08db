"""Named independent random streams under one seed.

Nothing in wirelesslab reads a global generator: a seed enters at the top, and every purpose has a
stream of its own. A new source of randomness therefore never disturbs an old one.
"""

import math
from hashlib import sha256

import numpy as np


def canonical(name: tuple[object, ...]) -> bytes:
    """Return the bytes that stand for `name`; 0, 0.0 and np.float64(0) are one name.

    Raises:
        TypeError: A part of the name is neither text nor a number.
    """
    parts = []
    for part in name:
        value = part.item() if isinstance(part, np.generic) else part
        if isinstance(value, str):
            parts.append(f"s{len(value)}:{value}")
        elif isinstance(value, int | float) and math.isfinite(value):
            parts.append(f"i{int(value)}" if value == int(value) else f"f{value!r}")
        else:
            msg = f"name: got {part!r} of type {type(part).__name__}, expected text or a number, not infinite or NaN"
            raise TypeError(msg)
    return "|".join(parts).encode()


def stream(seed: int, *name: str | float) -> np.random.Generator:
    """Return the generator called `name` under `seed`.

    A stream depends on its seed and its own name only, so two detectors that are given the same
    seed meet the same air, and the order in which streams are made does not matter.

    Args:
        seed: Any non-negative integer.
        name: Text and numbers; equal numbers of different types are one name.

    Raises:
        ValueError: The seed is negative.
        TypeError: The seed is not an integer, or a part of the name is no text or number.

    Examples:
        >>> int(stream(7, "batch", 0).integers(100)) == int(stream(7, "batch", 0.0).integers(100))
        True
    """
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        msg = f"seed: got {seed!r}, expected a whole number, such as 7"
        raise TypeError(msg)
    if seed < 0:
        msg = f"seed: got {seed}, expected a whole number of at least 0"
        raise ValueError(msg)
    digest = sha256(canonical(name)).digest()
    return np.random.default_rng([int(seed), int.from_bytes(digest[:16], "little")])


def substreams(rng: np.random.Generator, *purposes: str) -> dict[str, np.random.Generator]:
    """Return one independent generator per purpose, split off `rng`.

    A purpose that draws more or fewer numbers (a longer pilot, another fading law) leaves the
    others alone: that is what makes sweeps meet common random numbers. A second call gives new
    generators.

    Raises:
        TypeError: `rng` is not a generator of NumPy, or cannot be split.
    """
    if not isinstance(rng, np.random.Generator):
        msg = f"rng: got {type(rng).__name__}, expected numpy.random.Generator, such as rng.stream(7)"
        raise TypeError(msg)
    return dict(zip(purposes, rng.spawn(len(purposes)), strict=True))
