"""Rms delay spreads by TR 38.901, section 7.5, steps 4 to 6 and 11, written from the standard: slow and obvious."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Row:
    """A column of table 7.5-6."""

    mean_log_spread: float
    std_log_spread: float
    r_tau: float
    num_clusters: int
    shadowing_db: float
    cluster_spread_s: float
    k_db: tuple[float, float] | None = None  # mean and standard deviation, with a line of sight
    correlation_with_k: float = 0.0


UMI_INDOORS = Row(
    mean_log_spread=-6.62, std_log_spread=0.32, r_tau=2.2, num_clusters=12, shadowing_db=4.0, cluster_spread_s=11e-9
)
RMA_HIDDEN = Row(
    mean_log_spread=-7.43, std_log_spread=0.48, r_tau=1.7, num_clusters=10, shadowing_db=3.0, cluster_spread_s=3.91e-9
)


def uma_in_sight(carrier_ghz: float) -> Row:
    return Row(
        mean_log_spread=-6.955 - 0.0963 * np.log10(carrier_ghz), std_log_spread=0.66, r_tau=2.5, num_clusters=12,
        shadowing_db=3.0, cluster_spread_s=max(0.25, 6.5622 - 3.4084 * np.log10(carrier_ghz)) * 1e-9,
        k_db=(9.0, 3.5), correlation_with_k=-0.4,
    )  # fmt: skip


def delay_spreads_s(row: Row, num_channels: int, rng: np.random.Generator) -> np.ndarray:
    """What one antenna sees: each path's power is that of its rays, added with random phases."""
    found = np.empty(num_channels)
    for channel in range(num_channels):
        first, second = rng.standard_normal(2)
        spread = 10 ** (row.mean_log_spread + row.std_log_spread * first)
        delays = -row.r_tau * spread * np.log(rng.uniform(1e-6, 1, row.num_clusters))
        delays = np.sort(delays - delays.min())
        power = np.exp(-delays * (row.r_tau - 1) / (row.r_tau * spread))
        power *= 10 ** (-row.shadowing_db * rng.standard_normal(row.num_clusters) / 10)
        power /= power.sum()
        power[power < power.max() * 10**-2.5] = 0
        k = 0.0
        if row.k_db:
            rho = row.correlation_with_k
            k_db = row.k_db[0] + row.k_db[1] * (rho * first + np.sqrt(1 - rho**2) * second)
            delays = delays / (0.7705 - 0.0433 * k_db + 0.0002 * k_db**2 + 0.000017 * k_db**3)
            k = 10 ** (k_db / 10)
        paths = []  # delay, amplitude
        strongest = np.argsort(power)[-2:]
        for cluster in range(row.num_clusters):
            rays = np.sqrt(power[cluster] / 20 / (k + 1)) * np.exp(2j * np.pi * rng.uniform(size=20))
            split = (rays[:10], rays[10:16], rays[16:]) if cluster in strongest else (rays,)
            for i, part in enumerate(split):
                late = (0.0, 1.28, 2.56)[i] * row.cluster_spread_s
                paths.append([delays[cluster] + late, part.sum()])
        paths[0][1] += np.sqrt(k / (k + 1)) * np.exp(2j * np.pi * rng.uniform())
        tau, energy = np.array([p[0] for p in paths]), np.abs([p[1] for p in paths]) ** 2
        mean = np.sum(energy * tau) / energy.sum()
        found[channel] = np.sqrt(np.sum(energy * (tau - mean) ** 2) / energy.sum())
    return found
