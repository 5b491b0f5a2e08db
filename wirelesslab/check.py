"""Checks at the door, in one voice: what came, what was wanted, how to mend it.

Every function takes the checked values by keyword, so that the message names the argument that
the caller wrote. Values of the right kind and range pass silently; nothing is repaired.
"""

import difflib
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wirelesslab.units import readable_bytes


def positive_integer(**values: object) -> None:
    """Refuse what is not a whole number of at least 1."""
    _integer(1, values)


def non_negative_integer(**values: object) -> None:
    """Refuse what is not a whole number of at least 0."""
    _integer(0, values)


def _integer(least: int, values: dict[str, object]) -> None:
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            msg = f"{name}: got {value!r}, expected a whole number of at least {least}"
            raise TypeError(msg)
        if value < least:
            msg = f"{name}: got {value}, expected a whole number of at least {least}"
            raise ValueError(msg)


def finite(**values: object) -> None:
    """Refuse what is not a finite real number."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
            msg = f"{name}: got {value!r}, expected a number"
            raise TypeError(msg)
        if not np.isfinite(value):
            msg = f"{name}: got {value}, expected a finite number"
            raise ValueError(msg)


def positive(**values: object) -> None:
    """Refuse what is not a finite number above 0."""
    finite(**values)
    for name, value in values.items():
        if not value > 0:  # type: ignore[operator]
            msg = f"{name}: got {value}, expected a number above 0"
            raise ValueError(msg)


def within(low: float, high: float, **values: object) -> None:
    """Refuse what is not a number in [low, high]."""
    finite(**values)
    for name, value in values.items():
        if not low <= value <= high:  # type: ignore[operator]
            msg = f"{name}: got {value}, expected a number in [{low:g}, {high:g}]"
            raise ValueError(msg)


def probability(**values: object) -> None:
    """Refuse what is not a probability in [0, 1]; a number up to 100 is taken for per cent."""
    finite(**values)
    for name, value in values.items():
        if not 0 <= value <= 1:  # type: ignore[operator]
            hint = f"; write {value} % as {value / 100:g}" if 1 < value <= 100 else ""  # type: ignore[operator]
            msg = f"{name}: got {value}, expected a probability in [0, 1]{hint}"
            raise ValueError(msg)


def one_of(choices: Iterable[str], **values: object) -> None:
    """Refuse what is not among `choices`, and name the nearest one."""
    known = list(choices)
    for name, value in values.items():
        if value not in known:
            msg = f"{name}: got {value!r}, expected one of {', '.join(known)}{nearest(str(value), known)}"
            raise ValueError(msg)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" for the known word nearest to `word`, or nothing.

    Examples:
        >>> nearest("covarience", ["amp", "covariance"])
        "; did you mean 'covariance'?"
    """
    words = list(known)
    begin = [w for w in words if word and w.startswith(word.lower())]
    found = begin or difflib.get_close_matches(word.lower(), words, n=1, cutoff=0.5)
    return f"; did you mean {found[0]!r}?" if found else ""


def array(value: ArrayLike, shape: tuple[int | None, ...], axes: str, *, name: str, because: str = "") -> NDArray[Any]:
    """Return `value` as an array of that shape, without NaN or infinity.

    Args:
        value: What came.
        shape: What was wanted; None stands for any length.
        axes: The names of the axes, such as "frames, L, M".
        name: The argument's name.
        because: What set the shape, for the message.

    Raises:
        TypeError: Not numbers.
        ValueError: Another shape, or entries that are not finite.
    """
    try:
        result = np.asarray(value)
    except ValueError as error:
        msg = f"{name}: got rows of different lengths or kinds ({error}), expected an array ({axes})"
        raise ValueError(msg) from error
    if result.dtype.kind not in "biufc":
        msg = f"{name}: got an array of {result.dtype}, expected numbers"
        raise TypeError(msg)
    fits = result.ndim == len(shape) and all(want in (None, got) for got, want in zip(result.shape, shape, strict=True))
    if not fits:
        wanted = ", ".join(
            axis if length is None else f"{axis}={length}" for axis, length in zip(axes.split(", "), shape, strict=True)
        )
        msg = f"{name}: got shape {result.shape}, expected ({wanted}){'; ' + because if because else ''}"
        raise ValueError(msg)
    if result.dtype.kind in "fc":
        bad = result.size - int(np.count_nonzero(np.isfinite(result)))
        if bad:
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(result))[0])
            msg = (
                f"{name}: got {bad} of {result.size} entries that are NaN or infinite, the first at {where}; "
                "expected finite numbers"
            )
            raise ValueError(msg)
    return result


def available_bytes() -> int:
    """Return how much memory a new array can take without swapping."""
    try:
        with open("/proc/meminfo", encoding="ascii") as meminfo:
            for line in meminfo:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def fits_in_memory(num_bytes: float, what: str, mend: str) -> None:
    """Refuse work whose arrays would not fit in the machine's free memory.

    Args:
        num_bytes: What the arrays take.
        what: What they hold, for the message.
        mend: How to make them smaller.

    Raises:
        MemoryError: They do not fit.
    """
    free = available_bytes()
    if num_bytes > free:
        msg = f"{what}: needs {readable_bytes(num_bytes)}, {readable_bytes(free)} are free; {mend}"
        raise MemoryError(msg)
