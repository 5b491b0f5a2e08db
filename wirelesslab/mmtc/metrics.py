"""How wrong a detection is, as counts; and the trial that studies are made of."""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc.arrivals import Arrival
from wirelesslab.mmtc.detection import Detection, Detector
from wirelesslab.mmtc.detectors.genie import Genie
from wirelesslab.mmtc.pilots import pilots_digest
from wirelesslab.mmtc.scenario import Scenario
from wirelesslab.mmtc.uplink import Cell, Observation, Truth, simulate
from wirelesslab.results import describe
from wirelesslab.stats import Count, Timing


def symbol_errors(detection: Detection, truth: Truth) -> Count:
    """Count wrong labels among all labels of all devices, silent ones included."""
    return error_counts(detection, truth)["ser"]


def error_counts(detection: Detection, truth: Truth) -> dict[str, Count]:
    """Count every kind of error, clustered by frame.

    Returns:
        ``ser``, wrong labels among all devices; ``missed``, speakers taken for silent, and
        ``wrong_symbol``, speakers with another label, both among speakers; ``false_alarm``, silent
        devices that were given a label, among the silent; ``frame_collapse``, frames with at least
        half as many wrong labels as speakers, and at least two (our choice), among frames.

    Raises:
        ValueError: Detection and truth are not of the same frames and devices.
    """
    labels, symbols = detection.labels, truth.symbols
    check.array(labels, symbols.shape, "frames, N", name="detection", because="the truth sets frames and N")
    spoke, heard, wrong = symbols > 0, labels > 0, labels != symbols
    speakers, errors = spoke.sum(1), wrong.sum(1)
    return {
        "ser": Count.per_frame(errors, symbols.shape[1]),
        "missed": Count.per_frame((spoke & ~heard).sum(1), speakers),
        "false_alarm": Count.per_frame((~spoke & heard).sum(1), (~spoke).sum(1)),
        "wrong_symbol": Count.per_frame((spoke & heard & wrong).sum(1), speakers),
        "frame_collapse": Count.per_frame((errors >= np.maximum(2, speakers / 2)).astype(int), 1),
    }


def state_errors(detection: Detection, truth: Truth, arrival: Arrival) -> dict[str, Count]:
    """Count wrong estimates of how a device arrived, among the speakers whose label is right, clustered by frame.

    Returns:
        ``wrong_state``; ``wrong_delay`` and ``wrong_frequency``, of which a wrong state has at least one.
        Their complements are the rates of right estimates. Where carriers lie beside the grid, the right
        frequency is the nearest of the grid.

    Raises:
        ValueError: Detection and truth are not of the same frames and devices, or of another arrival.
    """
    labels, symbols = detection.labels, truth.symbols
    check.array(labels, symbols.shape, "frames, N", name="detection", because="the truth sets frames and N")
    heard = (symbols > 0) & (labels == symbols)
    rightly = heard.sum(1)
    found, true = (np.where(heard, part.states, -1) for part in (detection, truth))
    wrong = {
        "wrong_state": found != true,
        "wrong_delay": arrival.delays(found) != arrival.delays(true),
        "wrong_frequency": heard & (arrival.frequencies(found) != arrival.frequencies(true)),
    }
    return {name: Count.per_frame(errors.sum(1), rightly) for name, errors in wrong.items()}


class Limit(Protocol):
    """A class of detectors that are built from the truth: what nobody can beat."""

    name: str

    def __call__(self, truth: Truth, /) -> Detector:
        """Return the detector that knows `truth`."""
        ...


@dataclass(frozen=True)
class SymbolErrorTrial:
    """One batch: a cell, frames in it, and what each detector makes of the same frames.

    Attributes:
        detectors: Detectors with different names.
        limits: Classes of detectors that are built from the truth.
        frames_per_batch: Frames per cell drawn.
    """

    detectors: tuple[Detector, ...]
    limits: tuple[Any, ...] = (Genie,)
    frames_per_batch: int = 64

    def __post_init__(self) -> None:
        check.positive_integer(frames_per_batch=self.frames_per_batch)
        for detector in self.detectors:
            if not hasattr(detector, "detect") or not hasattr(detector, "name"):
                msg = f"detectors: got {detector!r}, expected detectors, such as AMP()"
                raise TypeError(msg)
        names = [part.name for part in (*self.detectors, *self.limits)]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            msg = f"detectors: got {twice[0]!r} twice; each curve needs a name of its own"
            raise ValueError(msg)

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return {part.name: part for part in (*self.detectors, *self.limits)}

    def only(self, names: Collection[str]) -> "SymbolErrorTrial":
        """Return the trial of the named detectors and limits; they meet the same air."""
        return replace(
            self,
            detectors=tuple(d for d in self.detectors if d.name in names),
            limits=tuple(limit for limit in self.limits if limit.name in names),
        )

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        return {"class": "SymbolErrorTrial", "frames_per_batch": self.frames_per_batch}

    def __call__(self, scenario: Scenario | Cell, rng: np.random.Generator) -> dict[str, dict[str, Count | Timing]]:
        """Return the counts of each detector and limit on one batch of frames; a scenario draws a cell first."""
        observation, truth = simulate(scenario, rng, num_frames=self.frames_per_batch)
        arrival = (scenario.scenario if isinstance(scenario, Cell) else scenario).arrival
        outcome: dict[str, dict[str, Count | Timing]] = {}
        _warm_up(self.detectors, observation)
        for detector in (*self.detectors, *(limit(truth) for limit in self.limits)):
            start = time.perf_counter()
            detection = detector.detect(observation)
            elapsed = Timing(time.perf_counter() - start, self.frames_per_batch)
            counts = error_counts(detection, truth)
            if observation.states_per_pilot > 1:
                counts |= state_errors(detection, truth, arrival)
            outcome[detector.name] = {**counts, "seconds_per_frame": elapsed}
        return outcome


_warm: set[str] = set()


def _warm_up(detectors: Collection[Detector], observation: Observation) -> None:
    """Let the package's detectors compile on one frame, once in a process: their times are those of detecting."""
    for detector in detectors:
        if detector.name not in _warm and type(detector).__module__.startswith("wirelesslab."):
            detector.detect(replace(observation, received=observation.received[:1]))
            _warm.add(detector.name)


@dataclass(frozen=True)
class Place:
    """The config of a study whose grid is a list of cells: which one.

    Attributes:
        cell: Its number in the list.
    """

    cell: int = 0


@dataclass(frozen=True)
class AtPlaces:
    """A trial over a list of cells, for a study of `Place` over ``{"cell": range(len(cells))}``.

    Attributes:
        trial: What is counted in each.
        cells: The cells: scenarios, whose pilots and gains each batch draws anew, or cells that are
            the same in every batch.
    """

    trial: SymbolErrorTrial
    cells: tuple[Scenario | Cell, ...]

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return self.trial.parts

    def only(self, names: Collection[str]) -> "AtPlaces":
        """Return the trial of the named detectors and limits."""
        return replace(self, trial=self.trial.only(names))

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        cells = [
            {"pilots": pilots_digest(c.pilots), **describe(c.scenario)} if isinstance(c, Cell) else describe(c)
            for c in self.cells
        ]
        return {"class": "AtPlaces", "trial": self.trial.describe(), "cells": cells}

    def __call__(self, place: Place, rng: np.random.Generator) -> dict[str, dict[str, Count | Timing]]:
        """Return the counts of one batch of frames in the cell; every cell has air of its own."""
        return self.trial(self.cells[place.cell], rng.spawn(place.cell + 1)[place.cell])


def symbol_error_trial(
    *detectors: Detector, limits: tuple[Any, ...] = (Genie,), frames_per_batch: int = 64
) -> SymbolErrorTrial:
    """Return the trial that counts symbol errors of `detectors`, and of `limits` built from the truth.

    Args:
        detectors: What to compare, all on the same air.
        limits: Classes such as `Genie`, built from the truth inside the trial.
        frames_per_batch: Frames in each cell (pilot draw); a batch is one cell.
    """
    return SymbolErrorTrial(detectors, limits, frames_per_batch)
