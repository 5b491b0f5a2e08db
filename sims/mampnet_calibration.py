"""Can the posteriors of DL-mAMPnet and of the classical detectors be believed?

wirelesslab run mampnet_calibration          (about 2 minutes on two cores; --quick: 30 seconds)

Expect: the genie's claims come true as often as it says, down to one surprise in a hundred thousand: its
expected calibration error (ECE) is what chance alone would give. The covariance method admits to a third of
its label errors in both cells, plain AMP to half of them in the overloaded one, where it loses whole frames
with confidence. Re-tuned AMP, whose likelihood ratios are tempered, is overconfident there and claims twice
its errors in the light cell. MAMPNet owns up to nine tenths of its errors in the light cell and to three
quarters in the overloaded one. Most devices are silent and known to be: read an ECE beside the error rate.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims.mampnet_mismatch import CELLS

from wirelesslab import check
from wirelesslab.mmtc.calibration import CLAIMS, CalibrationTrial, Claim, calibration_trial, reliability
from wirelesslab.mmtc.detectors import MAMPNet, named
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.results import describe
from wirelesslab.session import Session, Table
from wirelesslab.stats import Count
from wirelesslab.study import Stop

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEWEST = 20  # claims in a bin that is drawn
WORDS: Mapping[Claim, str] = {"label": "the decided label is right", "speaks": "the device speaks"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Who is asked, and how often.

    Attributes:
        detectors: Names of detectors; the genie always comes along.
        replicates: Independent groups of cells, the clusters of every interval.
        cells_per_replicate: Cells (pilot draws) in each group.
        frames_per_batch: Frames in each cell that is drawn.
    """

    detectors: tuple[str, ...] = ("mampnet", "amp-block", "amp-re-tuned", "covariance")
    replicates: int = 20
    cells_per_replicate: int = 25
    frames_per_batch: int = 64


QUICK: Mapping[str, Any] = {"replicates": 6, "cells_per_replicate": 3}


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A grid point: one of `CELLS`, and which of the independent repetitions."""

    cell: str
    replicate: int

    def __post_init__(self) -> None:
        check.one_of(CELLS, cell=self.cell)
        check.non_negative_integer(replicate=self.replicate)


@dataclass(frozen=True)
class ReplicatedTrial:
    """A trial whose grid points differ in their air by the replicate, while all cells and detectors share it.

    Attributes:
        trial: What is done at each point.
    """

    trial: CalibrationTrial

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return self.trial.parts

    def only(self, names: Collection[str]) -> "ReplicatedTrial":
        """Return the trial of the named detectors and limits."""
        return ReplicatedTrial(self.trial.only(names))

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        return {"class": "ReplicatedTrial", "trial": self.trial.describe(), "cells": describe(CELLS)}

    def __call__(self, sample: Sample, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
        """Return the counts of each detector on one batch of frames."""
        return self.trial(CELLS[sample.cell], rng.spawn(sample.replicate + 1)[sample.replicate])


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Count claims and surprises, and return reliability curves and calibration errors."""
    session = session or Session()
    check.within(2, 10_000, replicates=config.replicates)
    detectors = [replace(d, quiet=True) if isinstance(d, MAMPNet) else d for d in named(config.detectors)]
    trial = ReplicatedTrial(calibration_trial(*detectors, frames_per_batch=config.frames_per_batch))
    over = {"cell": tuple(CELLS), "replicate": tuple(range(config.replicates))}
    stop = Stop(errors=None, min_batches=config.cells_per_replicate, max_batches=config.cells_per_replicate)
    counts = session.study(trial, Sample(cell="light", replicate=0), over, stop)
    return reliability(counts) if "errors" in counts else counts


def table(result: "xr.Dataset") -> Table:
    """Return error rate, log loss, ECE and what chance gives, per cell and detector."""
    rows = []
    for cell in map(str, result["cell"].values):
        for name in map(str, result["detector"].values):
            point = result.sel(cell=cell, detector=name)
            texts = [_with_interval(point, "ser")]
            texts.append(f"{float(point['label_excess'] / point['ser']):+.0%}" if point["errors"] > 0 else "-")
            for claim in CLAIMS:
                texts += [_with_interval(point, f"{claim}_ece"), f"{float(point[f'{claim}_ece_chance']):.0e}"]
            counts = f"{int(point['errors'])}/{int(point['attempts'])}"
            rows.append([cell, name, counts, *texts, _with_interval(point, "log_loss")])
    columns = [
        "cell", "detector", "errors", "SER", "unclaimed", "ECE label", "chance", "ECE speaks", "chance",
        "log loss",
    ]  # fmt: skip
    note = (
        "± half the 95 % interval, clustered by groups of cells; unclaimed: share of the symbol errors beyond those\n"
        "that the posteriors admit to; ECE: mean distance of claims from what came true, in bins of the log-odds;\n"
        "chance: the ECE that a perfectly calibrated detector would show in as many frames; log loss: nats per device"
    )
    return Table("Can the posteriors be believed?", columns, rows, note)


def _with_interval(point: "xr.Dataset", name: str) -> str:
    value, low, high = (float(point[f"{name}{end}"]) for end in ("", "_low", "_high"))
    return f"{value:.1e} ±{(high - low) / 2 / value:.0%}" if value > 0 else f"<{high:.0e}"


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw what came true over what was claimed, and the calibration errors: a row per cell."""
    from matplotlib.figure import Figure

    cells = [str(cell) for cell in result["cell"].values]
    figure = Figure(figsize=(15, 1.3 + 3.9 * len(cells)), layout="constrained")
    axes = figure.subplots(len(cells), 3, squeeze=False, width_ratios=(1, 1, 0.8))
    for row, cell in enumerate(cells):
        panel, s = result.sel(cell=cell), CELLS[cell]
        for column, claim in enumerate(CLAIMS):
            _draw_reliability(axes[row, column], panel, claim)
        _draw_errors(axes[row, 2], panel)
        numbers = f"N={s.num_devices}, Q={s.pilots_per_device}, L={s.pilot_length}, M={s.num_antennas}"
        title = f"{cell}: {numbers}, ε={s.activity_prob:g}, {s.snr_db:g} dB"
        axes[row, 0].set_ylabel(f"{title}\n\n{axes[row, 0].get_ylabel()}", fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(
        "Can the posteriors be believed? Claims against what came true, 95 % intervals clustered by groups of cells\n"
        "triangle: no surprise in the bin, end of the interval; bins of fewer than 20 claims are left out",
        fontsize=11,
    )
    return {"calibration": figure}


def _looks(number: int, name: str) -> tuple[str, str]:
    return ("#000000", "o") if name == "genie" else (COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)])


def _draw_reliability(axis: "Axes", panel: "xr.Dataset", claim: Claim) -> None:
    """Odds against odds: equally far from certainty on both sides."""
    ends = 10.0 ** np.array([-9.5, 9.5])
    axis.plot(ends, ends, color="0.6", linewidth=1, linestyle="--", label="calibrated", zorder=1)
    upper = panel["bin"].values > 0
    for number, name in enumerate(map(str, panel["detector"].values)):
        curve = panel.sel(detector=name)
        color, marker = _looks(number, name)
        claimed, rate, low, high = (
            np.clip(curve[f"{claim}_{v}"].values, 1e-9, 1 - 1e-9)
            for v in ("claimed", "surprise", "surprise_low", "surprise_high")
        )
        # Odds of what was claimed: a surprise is its failure in the upper bins. Bins of few claims only clutter.
        told, true, bottom, top = (np.where(upper, (1 - p) / p, p / (1 - p)) for p in (claimed, rate, high, low))
        bottom, top = np.minimum(bottom, top), np.maximum(bottom, top)
        surprises = curve[f"{claim}_surprises"].values
        known = (curve[f"{claim}_claims"].values >= FEWEST) & np.isfinite(told)
        seen = known & (surprises > 0) & (surprises < curve[f"{claim}_claims"].values)
        axis.plot(told[seen], true[seen], color=color, marker=marker, markersize=4.5, linewidth=1.1, label=name)
        axis.vlines(told[seen], bottom[seen], top[seen], color=color, linewidth=1.1)
        for side, end, arrow in ((upper, bottom, "^"), (~upper, top, "v")):
            none = known & ~seen & (surprises == 0) & side
            axis.scatter(told[none], end[none], marker=arrow, s=26, facecolors="none", edgecolors=color, linewidths=0.9)
    _label_odds(axis, claim, known_ends=_ends(panel, claim))


def _ends(panel: "xr.Dataset", claim: Claim) -> tuple[float, float]:
    """The odds, in decades, between which there are claims."""
    surprise = panel[f"{claim}_claimed"].values[panel[f"{claim}_claims"].values >= FEWEST]
    upper = np.broadcast_to(panel["bin"].values > 0, panel[f"{claim}_claims"].shape)
    upper = upper[panel[f"{claim}_claims"].values >= FEWEST]
    odds = np.where(upper, 1, -1) * -np.log10(np.clip(surprise, 1e-9, 0.5) / (1 - np.clip(surprise, 1e-9, 0.5)))
    return (float(odds.min()) - 0.5, float(odds.max()) + 0.5) if odds.size else (-6.0, 6.0)


def _label_odds(axis: "Axes", claim: Claim, known_ends: tuple[float, float]) -> None:
    places = {
        -7: "1e-7",
        -6: "1e-6",
        -5: "1e-5",
        -4: "1e-4",
        -3: "0.001",
        -2: "0.01",
        -1: "0.1",
        0: "0.5",
        1: "0.9",
        2: "0.99",
        3: "0.999",
    }
    places |= {4: "1-1e-4", 5: "1-1e-5", 6: "1-1e-6", 7: "1-1e-7", 8: "1-1e-8"}
    low, high = 10.0 ** np.array(known_ends)
    ticks = {10.0**at: text for at, text in places.items() if known_ends[0] <= at <= known_ends[1]}
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    axis.set_xticks(list(ticks), list(ticks.values()), fontsize=8, rotation=30)
    axis.set_yticks(list(ticks), list(ticks.values()), fontsize=8)
    axis.minorticks_off()
    axis.grid(visible=True, color="0.92")
    axis.set_axisbelow(True)
    axis.set_xlabel(f"claimed probability that {WORDS[claim]}", fontsize=9)
    axis.set_ylabel("came true (below the line: overconfident)" if claim == "label" else "came true", fontsize=9)


def _draw_errors(axis: "Axes", panel: "xr.Dataset") -> None:
    """ECE of both claims beside the symbol error rate; the mark of chance shows what is no error at all."""
    columns = {
        "ser": "symbol error rate",
        "label_ece": "ECE\nlabel",
        "speaks_ece": "ECE\nspeaks",
        "log_loss": "log loss\n(nat)",
    }
    names = [str(name) for name in panel["detector"].values]
    for number, name in enumerate(names):
        curve, (color, marker) = panel.sel(detector=name), _looks(number, name)
        for place, column in enumerate(columns):
            at = place + 0.13 * (number - (len(names) - 1) / 2)
            value, low, high = (float(curve[f"{column}{end}"]) for end in ("", "_low", "_high"))
            if not value > 0:
                continue
            axis.vlines(at, max(low, 1e-9), high, color=color, linewidth=1.4)
            axis.plot(at, value, color=color, marker=marker, markersize=5)
            if f"{column}_chance" in curve:
                axis.plot(at, float(curve[f"{column}_chance"]), color=color, marker="_", markersize=9)
    axis.set_yscale("log")
    values = np.concatenate([panel[c].values for c in (*columns, "label_ece_chance", "speaks_ece_chance")])
    values = values[np.isfinite(values) & (values > 0)]
    if values.size:
        axis.set_ylim(values.min() / 2, values.max() * 3)
    axis.set_xticks(range(len(columns)), list(columns.values()), fontsize=8)
    axis.set_xlim(-0.5, len(columns) - 0.5)
    axis.grid(visible=True, axis="y", color="0.9")
    axis.set_axisbelow(True)
    axis.set_title("per device; dash: by chance, if perfectly calibrated", fontsize=9)


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return error rates, log losses and calibration errors with their intervals."""
    figures: dict[str, Any] = {}
    for cell in map(str, result["cell"].values):
        for name in map(str, result["detector"].values):
            point = result.sel(cell=cell, detector=name)
            counts = {"errors": int(point["errors"]), "attempts": int(point["attempts"])}
            for key in ("ser", "log_loss", *(f"{claim}_{v}" for claim in CLAIMS for v in ("ece", "excess"))):
                ends = {
                    end: float(point[f"{key}{tail}"])
                    for end, tail in (("value", ""), ("low", "_low"), ("high", "_high"))
                }
                chance = {"by_chance": float(point[f"{key}_chance"])} if f"{key}_chance" in point else {}
                figures[f"{key} | {name} | cell={cell}"] = ends | counts | chance
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
