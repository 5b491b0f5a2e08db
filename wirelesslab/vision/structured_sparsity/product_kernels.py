"""A product with scattered weights as fast as we can make it, so that CSR is not judged by one library alone."""

from typing import Any

import numpy as np

from wirelesslab.vision.philox import jit


@jit()
def csr_times(starts: Any, columns: Any, weights: Any, pixels: Any) -> Any:
    """Return the product of a CSR matrix with pixels, shape (rows, n), float32.

    Four weights of a row are taken at a time: the row of the product is then read and written once for four rows of
    pixels that are read, where a library's loop does so for each.

    Args:
        starts: Where each row begins among the weights, shape (rows + 1,).
        columns: Of each weight.
        weights: Row by row.
        pixels: Shape (columns of the matrix, n), float32.
    """
    product = np.zeros((starts.size - 1, pixels.shape[1]), np.float32)
    for row in range(starts.size - 1):
        sums = product[row]
        k, end = starts[row], starts[row + 1]
        while k + 4 <= end:
            a, b, c, d = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
            p, q = pixels[columns[k]], pixels[columns[k + 1]]
            r, s = pixels[columns[k + 2]], pixels[columns[k + 3]]
            for j in range(sums.size):
                sums[j] += a * p[j] + b * q[j] + c * r[j] + d * s[j]
            k += 4
        while k < end:
            a, p = weights[k], pixels[columns[k]]
            for j in range(sums.size):
                sums[j] += a * p[j]
            k += 1
    return product
