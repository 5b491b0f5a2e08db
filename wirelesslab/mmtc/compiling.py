"""How kernels are compiled: no threads, no GIL, sums that vectorise, and an exponential and a logarithm that do."""

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numba.core.cpu import CPUTargetOptions
from numba.core.options import TargetOptions
from numba.extending import overload
from numpy.typing import NDArray

Real = NDArray[np.floating[Any]]
Complex = NDArray[np.complexfloating[Any, Any]]
Kernel = TypeVar("Kernel", bound=Callable[..., Any])

# Sums may be reordered, which vectorises them; infinities and NaN keep their meaning.
REORDER = {"reassoc", "contract", "nsz", "arcp"}


# Arrays given to one kernel never overlap, which saves a check before every inner loop (a quarter of
# the time). Numba has this flag for its own parallel loops, but no option of `njit` sets it.
CPUTargetOptions.noalias = TargetOptions.Mapping("noalias")  # type: ignore[no-untyped-call]


def jit(**options: Any) -> Callable[[Kernel], Kernel]:
    """Compile a kernel on its first call and keep it on disk; it runs without the GIL."""
    settings: dict[str, Any] = {"nogil": True, "cache": True, "error_model": "numpy", "fastmath": REORDER}
    compiler: Callable[[Kernel], Kernel] = numba.njit(**(settings | {"noalias": True} | options))
    return compiler


# --- exponential and logarithm that vectorise -----------------------------------------------------
# The library's exp and log are calls, one number at a time. These are series, long enough for the
# rounding of their type and short enough to be inlined. Reordering would undo the two-part ln 2.


def exponential(x: Any) -> Any:
    """exp(x) of a real x <= 0, to about 1 ulp; where exp(x) is subnormal, the least normal number."""


def logarithm(x: Any) -> Any:
    """log(x) of a normal real x > 0, to about 1 ulp of max(|log x|, 1)."""


def series(real: Any, integer: Any, exp_degree: int, log_degree: int) -> tuple[Any, Any]:
    """Build both for one type; |r| <= ln(2) / 2 in exp and |s| <= 0.172 in log set the degrees."""
    bits = np.finfo(real).nmant
    shift, bias = integer(bits), integer(np.finfo(real).maxexp - 1)
    fraction, least = integer((1 << bits) - 1), real(math.log(np.finfo(real).tiny) + 0.1)
    ln2_high, ln2_low = real(0.693145751953125), real(1.42860682030941723212e-6)  # 15 bits, rest
    per_ln2, root2 = real(1 / math.log(2)), real(math.sqrt(2))
    zero, half, one, two = real(0), real(0.5), real(1), real(2)
    taylor = tuple(real(1 / math.factorial(k)) for k in range(exp_degree, -1, -1))
    artanh = tuple(real(1 / (2 * k + 1)) for k in range(log_degree, 0, -1))

    @jit(fastmath={"contract"}, forceinline=True, cache=False)
    def exp(x: Any) -> Any:
        x = least if x < least else x
        octave = integer(x * per_ln2 - half)  # truncation rounds to nearest, as x <= 0
        r = (x - real(octave) * ln2_high) - real(octave) * ln2_low
        value = zero
        for coefficient in taylor:
            value = value * r + coefficient
        return value * integer((octave + bias) << shift).view(real)

    @jit(fastmath={"contract"}, forceinline=True, cache=False)
    def log(x: Any) -> Any:
        word = real(x).view(integer)
        octave = real((word >> shift) - bias)
        m = integer((word & fraction) | (bias << shift)).view(real)  # in [1, 2)
        if m > root2:
            octave, m = octave + one, m * half
        s = (m - one) / (m + one)  # log m = 2 artanh s
        value = zero
        for coefficient in artanh:
            value = (value + coefficient) * (s * s)
        return octave * ln2_high + (octave * ln2_low + two * (s + s * value))

    return exp, log


EXP_32, LOG_32 = series(np.float32, np.int32, 7, 5)
EXP_64, LOG_64 = series(np.float64, np.int64, 13, 11)


@overload(exponential, jit_options={"forceinline": True})
def _exponential(x: Any) -> Any:
    chosen = EXP_32 if x == numba.float32 else EXP_64

    def implementation(x: Any) -> Any:
        return chosen(x)

    return implementation


@overload(logarithm, jit_options={"forceinline": True})
def _logarithm(x: Any) -> Any:
    chosen = LOG_32 if x == numba.float32 else LOG_64

    def implementation(x: Any) -> Any:
        return chosen(x)

    return implementation
