"""How long a convolution's matrix product takes when weights are gone, in rows and columns or here and there.

This is how the paper counts speed: a layer alone, its kernel as a matrix (filters x places of a filter) times the
pixels it sees (places x pixels), without the making of that matrix, one image at a time, as Caffe multiplies. Rows and
columns of zeros are left out of a structured kernel once, when it is loaded; the rows of pixels that are still read are
gathered for each image, and the time is told with and without that. An unstructured kernel is multiplied in compressed
sparse rows (CSR): by SciPy, as a library's user would, and by a kernel of ours, which is about twice as fast.

All ways make a new product of single precision in one thread from operands that lie in order in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from wirelesslab import check
from wirelesslab.rng import stream
from wirelesslab.threads import one_blas_thread
from wirelesslab.vision.structured_sparsity.product_kernels import csr_times

Array = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ProductShape:
    """One layer's product.

    Attributes:
        filters: Rows of the kernel.
        places: Its columns: height x width x channels of a filter.
        pixels: Columns of what it is multiplied by: places of the output image, of one image or several.
        name: What it is called.
    """

    filters: int = 50
    places: int = 500
    pixels: int = 64
    name: str = "LeNet conv_2"

    def __post_init__(self) -> None:
        check.positive_integer(filters=self.filters, places=self.places, pixels=self.pixels)


@dataclass(frozen=True)
class ProductTimes:
    """Seconds of one layer's product, of the fastest turn: other work on the machine only ever adds to them.

    Attributes:
        kept: Share of the weights that are left, of the structured kernel.
        dense: With all weights.
        structured: Without rows and columns of zeros.
        gathered: The same with the gathering of pixels.
        csr: The unstructured kernel, by SciPy.
        csr_kept: Share of the weights that are left there.
        csr_by_four: The unstructured kernel, by `product_kernels.csr_times`.
    """

    kept: float
    dense: float
    structured: float
    gathered: float
    csr: float
    csr_kept: float
    csr_by_four: float


def kernel_matrix(kernel: Array) -> Array:
    """Return a kernel (m, k, c, n) as the matrix (n, m k c) that multiplies pixels."""
    return np.ascontiguousarray(kernel.reshape(-1, kernel.shape[-1]).T)


def without_zero_lines(matrix: Array) -> tuple[Array, NDArray[np.int64], NDArray[np.int64]]:
    """Return a matrix without rows and columns of zeros, and which rows and columns are left; at least one of each."""
    rows, columns = (np.flatnonzero((matrix != 0).any(axis=axis)) for axis in (1, 0))
    rows, columns = (found if len(found) else np.zeros(1, np.int64) for found in (rows, columns))
    return np.ascontiguousarray(matrix[np.ix_(rows, columns)]), rows, columns


def time_products(structured: Array, unstructured: Array, pixels: Array, runs: int = 30) -> ProductTimes:
    """Return how long products with one thread take, the least of `runs` turns in which each way comes once.

    Args:
        structured: Kernel matrix with rows and columns of zeros, shape (filters, places).
        unstructured: Kernel matrix with zeros here and there, of the same shape.
        pixels: Shape (places, pixels).
        runs: Turns.

    Raises:
        ValueError: Shapes do not fit, or a way gives another product than the dense one.
    """
    check.positive_integer(runs=runs)
    check.array(unstructured, structured.shape, "filters, places", name="unstructured", because="set by structured")
    check.array(pixels, (structured.shape[1], None), "places, pixels", name="pixels", because="set by structured")
    small, rows, columns = without_zero_lines(structured)
    gathered = np.ascontiguousarray(pixels[columns])
    rare = sparse.csr_matrix(unstructured)
    dense = np.where(structured == 0, np.float32(1), structured)  # no zeros: a product's time must not depend on them
    ways: dict[str, Callable[[], Any]] = {
        "dense": lambda: dense @ pixels, "structured": lambda: small @ gathered,
        "gathered": lambda: small @ np.take(pixels, columns, axis=0), "csr": lambda: rare @ pixels,
        "csr_by_four": lambda: csr_times(rare.indptr, rare.indices, rare.data, pixels),
    }  # fmt: skip
    with one_blas_thread():
        size = np.abs(structured) @ np.abs(pixels)
        whole, single = (structured @ pixels)[rows], unstructured @ pixels
        for way, wanted in (("structured", whole), ("gathered", whole), ("csr", single), ("csr_by_four", single)):
            if np.abs(ways[way]() - wanted).max() > 1e-4 * max(1.0, float(size.max())):
                msg = "products: a way without zeros gives another product than the dense one; expected the same"
                raise ValueError(msg)
        times = {way: min(turns) for way, turns in interleaved(ways, runs).items()}
    share, rare_share = small.size / structured.size, rare.nnz / unstructured.size
    return ProductTimes(kept=share, csr_kept=rare_share, **times)


def random_products(
    shape: ProductShape, kept: float, seed: int, runs: int = 30, *, rows_share: float | None = None
) -> ProductTimes:
    """Return times at a share of kept weights, the same for structured and unstructured kernels.

    Args:
        shape: Of the layer.
        kept: Share of the weights that stay; as whole rows and columns as near as these allow.
        seed: Of weights, pixels, and which of them stay.
        runs: Turns.
        rows_share: Share of the rows that stay; the square root of `kept` when None, so that rows and columns are
            thinned alike.
    """
    check.within(1e-6, 1, kept=kept)
    rng = stream(seed, "products", shape.name, kept)
    matrix = rng.standard_normal((shape.filters, shape.places), dtype=np.float32)
    pixels = rng.standard_normal((shape.places, shape.pixels), dtype=np.float32)
    rows = max(1, round(shape.filters * (np.sqrt(kept) if rows_share is None else rows_share)))
    columns = min(shape.places, max(1, round(kept * matrix.size / rows)))
    lines = np.zeros(matrix.shape, bool)
    stays = rng.permutation(shape.filters)[:rows], rng.permutation(shape.places)[:columns]
    lines[np.ix_(*stays)] = True
    scattered = np.zeros(matrix.size, bool)
    scattered[rng.permutation(matrix.size)[: rows * columns]] = True
    return time_products(matrix * lines, matrix * scattered.reshape(matrix.shape), pixels, runs)


def csr_pays_at(
    shares: Sequence[float], times: Sequence[ProductTimes], way: Literal["csr", "csr_by_four"] = "csr"
) -> float:
    """Return the share of kept weights at which CSR is as fast as the dense product, 0 where it never is.

    Between two measured shares the ratio of times is interpolated in logarithms; 1 means that it pays at all of them.

    Examples:
        >>> at = [ProductTimes(s, 1.0, s, s, 4 * s, s, 2 * s) for s in (0.1, 0.5)]
        >>> round(csr_pays_at([0.1, 0.5], at), 2)
        0.25
    """
    order = np.argsort(shares)
    x = np.log([shares[place] for place in order])
    y = np.log([getattr(times[place], way) / times[place].dense for place in order])
    if y[0] > 0:
        return 0.0
    later = np.flatnonzero(y > 0)
    if not len(later):
        return 1.0
    high = int(later[0])
    share = -y[high - 1] / (y[high] - y[high - 1])
    return float(np.exp(x[high - 1] + share * (x[high] - x[high - 1])))


def interleaved(ways: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Return the seconds of each way in each of `runs` turns; each is called twice before.

    In a turn each way comes once, and its place in the turn changes, so that a machine that is busy for a while is busy
    for all. A call is repeated until it takes a millisecond, so that the clock's grain and the call weigh little.
    """
    calls = {}
    for name, way in ways.items():
        way()
        begin = perf_counter()
        way()
        calls[name] = max(1, min(1000, int(1e-3 / max(perf_counter() - begin, 1e-7))))
    found: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(runs):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            way = ways[name]
            begin = perf_counter()
            for _ in range(calls[name]):
                way()
            found[name].append((perf_counter() - begin) / calls[name])
    return found
