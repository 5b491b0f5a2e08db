"""The formulas of cost say what the detectors do: their products are counted while they run."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from tests.mmtc.cells import frames_of
from wirelesslab.mmtc import Scenario, covariance_kernels, gibbs_kernels, message_passing, rank_one_kernels
from wirelesslab.mmtc.complexity import Shape, multiplications
from wirelesslab.mmtc.detection import Assuming
from wirelesslab.mmtc.detectors import (
    AMP,
    DETECTORS,
    LMMSE,
    OAMP,
    Covariance,
    CovarianceMatching,
    Genie,
    Gibbs,
    MAMPNet,
    MatchedFilter,
    covariance,
    covariance_matching,
    gibbs,
)

# Whole vectors of 8 symbols: the kernels pad others with zeros.
CELL = Scenario(num_devices=60, bits_per_device=2, pilot_length=24, num_antennas=4, snr_db=0.0)
SHAPE = Shape(num_devices=60, columns_per_device=4, pilot_length=24, num_antennas=4)


@pytest.mark.parametrize("detector", DETECTORS, ids=lambda d: d.name)
def test_every_detector_has_a_formula_that_grows_with_every_size(detector):
    cost = multiplications(detector, SHAPE)
    assert cost > 0
    for size in ("num_devices", "columns_per_device", "pilot_length", "num_antennas"):
        doubled = multiplications(detector, replace(SHAPE, **{size: 2 * getattr(SHAPE, size)}))
        assert cost < doubled < 8 * cost, size


def test_the_shape_of_an_observation_is_that_of_its_scenario():
    observation, truth = frames_of(CELL, 2, "shape")
    assert Shape.of(observation) == SHAPE
    assert multiplications(Genie(truth), SHAPE) < multiplications(Covariance(), SHAPE)
    law = replace(CELL, gain_knowledge="distribution")
    assert Shape.of(frames_of(law, 2, "shape")[0]).num_nodes >= 1


def test_being_told_something_else_costs_nothing():
    assert multiplications(Assuming(AMP(), noise_db=3), SHAPE) == multiplications(AMP(), SHAPE)


def test_a_detector_without_a_formula_is_refused_with_how_to_add_one():
    with pytest.raises(TypeError, match=r"detector: got NoSuch, .* add it by multiplications\.register"):
        multiplications(NoSuch(), SHAPE)


@dataclass(frozen=True)
class NoSuch:
    name: str = "no such"


# --- message passing: its matrix products ---------------------------------------------------------


class CountingNumPy:
    """NumPy, with the complex multiplications of ``matmul`` counted: three real products stand for a complex one."""

    def __init__(self) -> None:
        self.count = 0

    def __getattr__(self, name):
        return getattr(np, name)

    def matmul(self, left, right, *, out):
        self.count += left.shape[-2] * left.shape[-1] * right.shape[-1]
        return np.matmul(left, right, out=out)


@pytest.mark.parametrize(
    "detector",
    [AMP(), AMP(iterations=5, prior="row"), AMP(retuned=True), OAMP(), MAMPNet.untrained()],
    ids=lambda d: d.name,
)
def test_message_passing_makes_as_many_products_as_its_formula_says(monkeypatch, detector):
    counting, num_frames = CountingNumPy(), 8
    monkeypatch.setattr(message_passing, "np", counting)
    observation, _ = frames_of(CELL, num_frames, "products", precision="complex64")
    detector.detect(observation)
    told = multiplications(detector, SHAPE)
    other = 0.0
    if isinstance(detector, MAMPNet):  # counted are its layers and one product of each pass
        net = detector.network.architecture
        other = told - (2 * net.num_layers - 1 + net.num_passes) * SHAPE.product
    # The formula's rest: the Onsager term, scalings. The larger part is what is counted here.
    assert counting.count / num_frames <= told - other
    assert counting.count / num_frames > 0.95 * (told - other)


# --- one pilot after the other: looks and changes --------------------------------------------------


class Tally:
    """Counts what the kernels of rank-one changes do while their plain Python runs."""

    def __init__(self, monkeypatch) -> None:
        self.count = 0.0
        length, m, k = CELL.pilot_length, CELL.num_antennas, CELL.num_pilots
        rank_one, sampler = rank_one_kernels, gibbs_kernels
        costs = {
            "column": lambda *a: length**2,
            "correlate": lambda *a: (a[3] - a[2]) * length,
            "change": lambda *a: length**2 + k * m,
        }
        for name, cost in costs.items():
            counted = self.counted(getattr(rank_one, name), cost)
            monkeypatch.setattr(rank_one, name, counted)
            monkeypatch.setattr(sampler, name, counted)
        for name in ("move", "rebuild"):
            plain = getattr(rank_one, name).py_func
            monkeypatch.setattr(rank_one, name, plain)
            monkeypatch.setattr(sampler, name, plain)
        look = self.counted(sampler._look, lambda *a: m / 2 if a[5] == 0 else 1.5 * m)
        monkeypatch.setattr(sampler, "_look", look)
        for name in ("_weigh", "_visit", "_sweep", "_rebuild"):
            monkeypatch.setattr(sampler, name, getattr(sampler, name).py_func)
        for name, cost in (("_project", length**2 + length * m), ("_change", length**2)):
            counted = self.counted(getattr(covariance_kernels, name), lambda *a, cost=cost: cost)
            monkeypatch.setattr(covariance_kernels, name, counted)
        monkeypatch.setattr(covariance_kernels, "_rebuild", covariance_kernels._rebuild.py_func)
        for module, name in (
            (covariance_matching, "matching_pursuit"), (gibbs, "gibbs"), (covariance, "coordinate_descent"),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, getattr(module, name).py_func)

    def counted(self, function, cost):
        def call(*arguments):
            self.count += cost(*arguments)
            return function(*arguments)

        return call


@pytest.mark.parametrize(
    ("detector", "elsewhere"),
    [
        (Covariance(), SHAPE.readout),
        (CovarianceMatching(), SHAPE.readout + SHAPE.product),
        (CovarianceMatching(readjust=False), SHAPE.readout + SHAPE.product),
        (Gibbs(burn_in=15, sweeps=5), SHAPE.product),
        (Gibbs(burn_in=20, sweeps=10, rungs=1, relocations=0), SHAPE.product),
    ],
    ids=lambda v: getattr(v, "name", ""),
)
def test_looks_and_changes_are_about_what_the_formula_says(monkeypatch, detector, elsewhere):
    observation, _ = frames_of(CELL, 6, "looks")
    tally = Tally(monkeypatch)
    detector.detect(observation)
    ratio = tally.count / 6 / (multiplications(detector, SHAPE) - elsewhere)
    # What a typical frame takes is our choice, from the mean over such frames; six are within a third of it.
    assert 0.67 < ratio < 1.5


def test_the_order_in_an_overloaded_cell_is_matched_filter_covariance_matching_amp_covariance_gibbs():
    shape = Shape(num_devices=100, columns_per_device=4, pilot_length=30, num_antennas=4)
    order = [MatchedFilter(), LMMSE(), CovarianceMatching(), AMP(), Covariance(), Gibbs()]
    costs = [multiplications(detector, shape) for detector in order]
    assert costs == sorted(costs)


def test_amp_wins_over_covariance_as_pilots_grow_and_loses_as_antennas_do():
    few, many = (replace(SHAPE, num_antennas=m) for m in (2, 64))
    share = [multiplications(AMP(), s) / multiplications(Covariance(), s) for s in (few, many)]
    assert share[0] < 1 < share[1]
    long = [multiplications(AMP(), s) / multiplications(Covariance(), s)
            for s in (SHAPE, replace(SHAPE, pilot_length=240))]  # fmt: skip
    assert long[1] < long[0]
