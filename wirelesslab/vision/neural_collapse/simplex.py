r"""The simplex equiangular tight frame: K directions that are as far apart as K directions can be.

$W=\sqrt{K/(K-1)}\;P V^\top$ with $V$ an orthonormal basis of the complement of the ones, $K\times(K-1)$, and $P$ of
$K-1$ orthonormal columns in $R^d$. Columns have length 1 and pairwise cosine $-1/(K-1)$, and sum to 0.
"""

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.rng import stream


def simplex_etf(dimension: int, num_classes: int, seed: int) -> NDArray[np.float64]:
    """Return a simplex equiangular tight frame in a random rotation, shape (dimension, num_classes), a column a class.

    Args:
        dimension: d, at least K - 1: K corners of a simplex span no more.
        num_classes: K, at least 2.
        seed: Of the rotation.

    Raises:
        ValueError: Fewer dimensions, or a single class.

    References:
        Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep learning training",
        PNAS 2020; fixed as a classifier on class centers by Zhong et al., CVPR 2023.

    Examples:
        >>> w = simplex_etf(4, 3, seed=1)
        >>> (w.T @ w).round(3).tolist()
        [[1.0, -0.5, -0.5], [-0.5, 1.0, -0.5], [-0.5, -0.5, 1.0]]
    """
    check.positive_integer(dimension=dimension, num_classes=num_classes)
    if num_classes < 2:
        msg = f"num_classes: got {num_classes}, expected at least 2: one class has nothing to be told from"
        raise ValueError(msg)
    if dimension < num_classes - 1:
        msg = (
            f"dimension: got {dimension} for {num_classes} classes, expected at least {num_classes - 1}; give the net "
        )
        msg += "wider features, or project their centers (CenterCollapse(projection='learned', width=...))"
        raise ValueError(msg)
    centred = np.eye(num_classes) - 1 / num_classes
    basis = np.linalg.qr(centred[:, :-1])[0]  # K - 1 independent columns that sum to 0: a basis of the complement
    turned, upper = np.linalg.qr(stream(seed, "simplex").standard_normal((dimension, num_classes - 1)))
    turned = turned * np.where(np.diag(upper) < 0, -1.0, 1.0)  # so that all rotations are equally likely
    frame: NDArray[np.float64] = np.sqrt(num_classes / (num_classes - 1)) * turned @ basis.T
    return frame
