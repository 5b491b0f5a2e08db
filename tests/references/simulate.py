"""The non-coherent grant-free uplink, drawn entry by entry."""

import numpy as np
from numpy.typing import NDArray


def complex_normal(rng: np.random.Generator, *shape: int) -> NDArray[np.complex128]:
    """Independent CN(0, 1) entries."""
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)) / np.sqrt(2)


def draw_frames(
    num_frames: int,
    num_devices: int,
    num_pilots: int,
    pilot_length: int,
    num_antennas: int,
    activity_prob: float,
    snr_db: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.complex128], NDArray[np.complex128], NDArray[np.int64]]:
    r"""Draw one cell with all gains 1, and frames $Y = S X + W$ in it.

    A device is active with probability ``activity_prob``, sends one of its Q pilots uniformly and
    fades with $h \sim CN(0, I_M)$; the entries of W are $CN(0, 10^{-snr/10}/L)$, so that
    ``snr_db`` is per pilot symbol and antenna.

    Args:
        num_frames: F, frames that share the pilots.
        num_devices: N.
        num_pilots: Q, pilots per device.
        pilot_length: L, symbols.
        num_antennas: M.
        activity_prob: epsilon, in [0, 1].
        snr_db: Received SNR of an active device, dB.
        rng: Source of all randomness.

    Returns:
        received (F, L, M); pilots (L, N Q), Gaussian columns scaled to norm 1; symbols (F, N),
        0 silent or 1..Q.
    """
    pilots = complex_normal(rng, pilot_length, num_devices * num_pilots)
    for column in range(num_devices * num_pilots):
        pilots[:, column] /= np.linalg.norm(pilots[:, column])
    noise_power = 10 ** (-snr_db / 10) / pilot_length

    received = np.zeros((num_frames, pilot_length, num_antennas), dtype=np.complex128)
    symbols = np.zeros((num_frames, num_devices), dtype=np.int64)
    for frame in range(num_frames):
        for device in range(num_devices):
            if rng.random() < activity_prob:
                symbols[frame, device] = rng.integers(1, num_pilots + 1)
                s = pilots[:, device * num_pilots + symbols[frame, device] - 1]
                h = complex_normal(rng, num_antennas)
                for symbol_time in range(pilot_length):
                    received[frame, symbol_time] += s[symbol_time] * h
        noise = complex_normal(rng, pilot_length, num_antennas)
        received[frame] += np.sqrt(noise_power) * noise
    return received, pilots, symbols
