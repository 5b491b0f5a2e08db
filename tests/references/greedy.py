"""Simultaneous orthogonal matching pursuit for one frame."""

import numpy as np
from numpy.typing import NDArray


def simultaneous_omp(
    received: NDArray[np.complex128],
    pilots: NDArray[np.complex128],
    num_atoms: int,
    num_pilots: int,
    one_per_device: bool,
) -> list[int]:
    r"""Columns chosen one by one, each the best match to what the earlier ones leave unexplained.

    The next column maximises $\|s^H Z\|^2$, the energy summed over the antennas; then Z is what
    least squares on all chosen columns leaves of Y.

    Args:
        received: Y, shape (L, M).
        pilots: S, columns of norm 1, shape (L, N Q).
        num_atoms: Columns to choose, at most L, and at most N if ``one_per_device``.
        num_pilots: Q, pilots per device: device n owns columns n Q to n Q + Q - 1.
        one_per_device: Whether a device leaves the race once one of its columns is chosen.

    Returns:
        Column indices in order of selection.

    References:
        Tropp, Gilbert, Strauss, Signal Processing 86(3), 2006.
    """
    L, num_columns = pilots.shape
    most = min(L, num_columns // num_pilots if one_per_device else num_columns)
    if not 0 <= num_atoms <= most:
        raise ValueError(f"num_atoms: got {num_atoms}, expected 0 to {most}")
    chosen: list[int] = []
    allowed = np.ones(num_columns, dtype=bool)
    residual = received
    for _ in range(num_atoms):
        energy = np.sum(np.abs(pilots.conj().T @ residual) ** 2, axis=1)
        column = int(np.argmax(np.where(allowed, energy, -1.0)))
        chosen.append(column)
        allowed[column] = False
        if one_per_device:
            device = column // num_pilots
            allowed[device * num_pilots : (device + 1) * num_pilots] = False
        channels, *_ = np.linalg.lstsq(pilots[:, chosen], received)
        residual = received - pilots[:, chosen] @ channels
    return chosen
