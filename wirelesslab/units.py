"""Decibels at the edge, linear power inside; bits and bytes; seconds people can read."""

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray


@overload
def db_to_linear(value_db: float) -> float: ...
@overload
def db_to_linear(value_db: NDArray[np.floating]) -> NDArray[np.float64]: ...
def db_to_linear(value_db: float | NDArray[np.floating]) -> float | NDArray[np.float64]:
    """Return the power ratio of `value_db` decibels.

    Examples:
        >>> db_to_linear(20.0)
        100.0
    """
    if isinstance(value_db, np.ndarray):
        return np.asarray(np.power(10.0, value_db / 10), dtype=np.float64)
    return float(10.0 ** (value_db / 10))


def linear_to_db(ratio: ArrayLike) -> NDArray[np.floating]:
    """Return `ratio`, a power ratio, in decibels.

    Examples:
        >>> float(linear_to_db(100.0))
        20.0
    """
    return np.asarray(10 * np.log10(np.asarray(ratio, dtype=float)))


def bytes_for_bits(num_bits: int) -> int:
    """Return how many whole bytes hold `num_bits` bits.

    Examples:
        >>> bytes_for_bits(9)
        2
    """
    return -(-num_bits // 8)


def readable_value(value: object) -> str:
    """Return a number without trailing zeros, or the text of anything else.

    Examples:
        >>> readable_value(0.50), readable_value("qpsk")
        ('0.5', 'qpsk')
    """
    return f"{value:g}" if isinstance(value, int | float | np.integer | np.floating) else str(value)


def readable_seconds(seconds: float) -> str:
    """Return a duration as people say it.

    Examples:
        >>> readable_seconds(0.25), readable_seconds(75), readable_seconds(7260)
        ('0.2 s', '1 min 15 s', '2 h 01 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def readable_bytes(num_bytes: float) -> str:
    """Return a size as people say it.

    Examples:
        >>> readable_bytes(512), readable_bytes(3.5 * 2**30)
        ('512 B', '3.5 GiB')
    """
    size = float(num_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB" if size < 1024 else f"{size / 1024:.3g} PiB"
