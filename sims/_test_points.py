"""The cells in which DL-mAMPnet is judged: drawn once, before any training, and never trained on.

`draw` says how: uniform in the training range with a fixed seed, kept where row-AMP is better than saying
nothing and the genie's symbol error rate lies in [1e-4, 3e-2], until there are 20 overloaded cells
(L/(εN) < 3) and 20 others. It takes a minute; `OVERLOADED` and `OTHERS` are what it gave, and a test
draws the first of them again.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from wirelesslab.mmtc import PathLoss, Scenario, UniformGainDb, error_counts, simulate
from wirelesslab.mmtc.detectors import AMP, Genie
from wirelesslab.mmtc.gains import GainLaw
from wirelesslab.rng import stream

Point = tuple[int, int, int, int, float, float]

SEED = 20261122
PER_HALF, OVERLOAD = 20, 3.0
SCREENING_BATCHES, SCREENING_FRAMES = 16, 64

# N, J, L, M, ε, SNR in dB
OVERLOADED = (
    (170, 1, 32, 2, 0.144, 5.8),
    (67, 1, 16, 6, 0.121, 6.5),
    (175, 2, 29, 4, 0.115, 4.5),
    (156, 1, 33, 2, 0.113, 7.9),
    (139, 2, 43, 8, 0.107, -5.4),
    (140, 2, 37, 2, 0.133, 9.6),
    (95, 2, 31, 6, 0.143, 1.3),
    (101, 1, 21, 7, 0.084, 0.5),
    (100, 2, 20, 2, 0.146, 5),
    (127, 2, 45, 2, 0.124, 9.1),
    (150, 2, 26, 2, 0.12, 9.1),
    (169, 1, 28, 8, 0.116, 5.9),
    (177, 1, 54, 4, 0.123, -1.7),
    (80, 1, 25, 10, 0.119, -4.4),
    (181, 2, 32, 2, 0.08, 5.9),
    (150, 2, 39, 2, 0.108, 6.4),
    (198, 1, 39, 2, 0.078, 0.5),
    (113, 1, 22, 2, 0.071, -2.5),
    (165, 2, 44, 9, 0.126, -5.7),
    (181, 2, 31, 3, 0.136, 4.4),
)
OTHERS = (
    (69, 2, 32, 3, 0.08, -2.4),
    (67, 1, 37, 5, 0.13, -4.9),
    (180, 2, 52, 2, 0.083, 6.5),
    (72, 2, 32, 2, 0.07, 8.9),
    (79, 2, 57, 2, 0.105, -5.9),
    (186, 1, 31, 2, 0.054, -4.3),
    (64, 1, 24, 2, 0.108, 6.9),
    (112, 2, 51, 2, 0.104, -5.7),
    (101, 1, 33, 7, 0.074, -3.7),
    (100, 1, 34, 2, 0.092, 5),
    (91, 2, 33, 3, 0.091, 0),
    (93, 2, 44, 2, 0.142, 8),
    (72, 2, 43, 3, 0.145, -1.2),
    (87, 2, 53, 4, 0.06, -3.9),
    (132, 2, 38, 2, 0.066, 0.6),
    (80, 1, 27, 5, 0.065, -1.8),
    (90, 1, 48, 3, 0.13, -0.9),
    (77, 2, 37, 4, 0.06, -3.9),
    (109, 1, 45, 3, 0.119, -2.6),
    (66, 1, 40, 6, 0.095, -3.9),
)

# Drawn in the same way, with gains that the station knows by their law only; shapes of these may have
# come in training, pilots and gains not.
UNIFORM_5_DB = (
    (157, 2, 44, 8, 0.116, -1.4),
    (130, 2, 60, 13, 0.066, -5.8),
    (84, 1, 23, 3, 0.091, 0.7),
    (96, 2, 26, 6, 0.056, -2.3),
)
UNIFORM_10_DB = (
    (122, 1, 53, 7, 0.142, -5.5),
    (73, 1, 39, 16, 0.065, -5.7),
    (158, 1, 52, 4, 0.08, -0.9),
    (119, 1, 50, 2, 0.05, 7.8),
)
PATH_LOSS = (
    (156, 2, 14, 2, 0.079, 6.8),
    (162, 1, 55, 4, 0.109, -4.4),
    (172, 2, 53, 2, 0.104, 1.7),
    (159, 1, 28, 6, 0.118, 0.5),
)
# More devices than in any training.
LARGER = (
    (266, 2, 45, 4, 0.08, 1.7),
    (250, 2, 42, 6, 0.103, 0.1),
    (389, 2, 60, 14, 0.127, -2.2),
    (294, 1, 52, 4, 0.07, -0.9),
    (343, 1, 30, 4, 0.091, 9.4),
    (329, 1, 34, 4, 0.063, -0.7),
    (367, 1, 35, 5, 0.068, -4.1),
    (208, 2, 23, 3, 0.07, -0.7),
    (203, 1, 28, 5, 0.099, -1.0),
    (389, 1, 52, 7, 0.094, -4.2),
)


def scenario(point: Point) -> Scenario:
    """Return the cell of a point."""
    n, j, length, m, eps, snr_db = point
    return Scenario(
        num_devices=n, bits_per_device=j, pilot_length=length, num_antennas=m, activity_prob=eps, snr_db=snr_db
    )


def unknown_gains() -> tuple[Scenario, ...]:
    """Return the cells whose gains the station knows by their law only."""
    laws: tuple[tuple[tuple[Point, ...], GainLaw], ...] = (
        (UNIFORM_5_DB, UniformGainDb(low_db=-5, high_db=5)),
        (UNIFORM_10_DB, UniformGainDb(low_db=-10, high_db=10)),
        (PATH_LOSS, PathLoss()),
    )
    return tuple(
        replace(scenario(point), gain_law=law, gain_knowledge="distribution") for drawn, law in laws for point in drawn
    )


def excluded() -> tuple[tuple[int, int, int, int], ...]:
    """Return the shapes (N, J, L, M) that no training may see."""
    return tuple((n, j, length, m) for n, j, length, m, _, _ in (*OVERLOADED, *OTHERS))


def candidate(rng: np.random.Generator) -> Point:
    """Return a point drawn uniformly from the training range."""
    return (
        int(rng.integers(60, 201)),
        int(rng.integers(1, 3)),
        int(rng.integers(14, 61)),
        int(rng.integers(2, 17)),
        round(float(rng.uniform(0.05, 0.15)), 3),
        round(float(rng.uniform(-6, 10)), 1),
    )


def draw() -> Iterator[tuple[bool, Point]]:
    """Yield the points in the order of their drawing, and whether each is overloaded."""
    rng, kept, number = stream(SEED, "mampnet test points"), {True: 0, False: 0}, 0
    while min(kept.values()) < PER_HALF:
        number += 1
        point = candidate(rng)
        overloaded = point[2] / (point[4] * point[0]) < OVERLOAD
        if kept[overloaded] < PER_HALF and of_interest(scenario(point), number):
            kept[overloaded] += 1
            yield overloaded, point


def of_interest(cell: Scenario, number: int) -> bool:
    """Whether a cell is neither hopeless nor without errors."""
    row = genie = labels = 0.0
    for batch in range(SCREENING_BATCHES):
        observation, truth = simulate(cell, stream(SEED, "screen", number, batch), num_frames=SCREENING_FRAMES)
        row += error_counts(AMP(prior="row").detect(observation), truth)["ser"].errors
        genie += error_counts(Genie(truth).detect(observation), truth)["ser"].errors
        labels += SCREENING_FRAMES * cell.num_devices
        hopeless = genie / labels > 6e-2 or row / labels > 1.5 * cell.activity_prob
        if (batch >= 1 and hopeless) or (batch >= 3 and genie == 0):  # clear before the last batch
            return False
    return row / labels < cell.activity_prob and 1e-4 <= genie / labels <= 3e-2
