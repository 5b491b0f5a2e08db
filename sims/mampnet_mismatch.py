"""What happens to DL-mAMPnet, and to the classical detectors, when knowledge or channel are not as supposed?

wirelesslab run mampnet_mismatch          (about 4 minutes on two cores; --quick: 30 seconds)

Expect: the covariance method hardly cares about ε; plain AMP hears more in overload when it is told too small
an ε, and loses everything when it is told four times too much. AMP measures its noise and does not read the
station's, so its row is flat; the covariance method and MAMPNet read it, and a noise power that is 3 dB off costs
MAMPNet a factor of 4 to 16, 6 dB one of 12 to 27: it is the knowledge that MAMPNet needs most. To take gains
of ±5 dB for their mean costs less than a factor of two or so. Strongly correlated antennas are few looks at
the same air and hurt everybody; bursts and clusters overload single frames. Under such channels and
activities the genie supposes what the detectors suppose and is no limit: its points are open.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc import ACTIVITY_LAWS, Scenario, symbol_error_trial
from wirelesslab.mmtc.channels import Kronecker, Rician
from wirelesslab.mmtc.detectors import AMP, Assuming, Detector, MAMPNet, named
from wirelesslab.mmtc.gains import UniformGainDb
from wirelesslab.mmtc.limits import why_no_limits
from wirelesslab.mmtc.metrics import SymbolErrorTrial
from wirelesslab.mmtc.report import error_figures
from wirelesslab.naming import build
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.results import describe
from wirelesslab.session import Session, Table
from wirelesslab.study import Stop
from wirelesslab.units import readable_value

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS: Mapping[str, Scenario] = {
    "overloaded": Scenario(
        num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, activity_prob=0.1, snr_db=0.0
    ),
    "light": Scenario(
        num_devices=100, bits_per_device=2, pilot_length=40, num_antennas=4, activity_prob=0.08, snr_db=-2.0
    ),
}
SPREAD = UniformGainDb(low_db=-5, high_db=5)
# What is not as supposed, and the value at which it is.
NOMINAL: Mapping[str, str] = {
    "assumed ε / true ε": "1",
    "assumed σ² / true σ² (dB)": "0",
    "gains ±5 dB, assumed": "known",
    "SNR (dB)": "",
    "Rician K (dB)": "none",
    "antenna correlation": "0",
    "activity": "independent",
}
EPSILON, NOISE, GAINS, SNR, RICIAN, CORRELATION, ACTIVITY = NOMINAL


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is not as supposed, by how much, and how well each rate must be known.

    Attributes:
        assumed_activity: Factors by which the supposed ε is wrong.
        assumed_noise_db: How far the supposed noise power lies above the true one, in dB.
        snr_db: SNRs, inside and outside of the training range, in dB.
        k_factor_db: Rician factors, in dB; Rayleigh fading comes along.
        correlation: Correlation of neighbouring antennas.
        activity_law: independent, betaburst, clustered:cluster_size=10.
        detectors: Names of detectors; the genie always comes along.
        frames_per_batch: Frames in each cell that is drawn.
        target_errors: Stop a detector at a grid point after so many errors.
        min_batches: Draw at least so many cells: a few pilot draws tell little about all.
        max_batches: Stop it after so many cells in any case.
    """

    assumed_activity: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    assumed_noise_db: tuple[float, ...] = (-6.0, -3.0, 0.0, 3.0, 6.0)
    snr_db: tuple[float, ...] = (-12.0, -9.0, -6.0, 0.0, 5.0, 10.0, 15.0, 20.0)
    k_factor_db: tuple[float, ...] = (0.0, 3.0, 6.0, 10.0)
    correlation: tuple[float, ...] = (0.0, 0.3, 0.6, 0.9)
    activity_law: tuple[str, ...] = ("independent", "betaburst", "clustered:cluster_size=10")
    detectors: tuple[str, ...] = ("mampnet", "amp-block", "amp-re-tuned", "covariance")
    frames_per_batch: int = 64
    target_errors: int = 300
    min_batches: int = 10
    max_batches: int = 50


QUICK: Mapping[str, Any] = {
    "assumed_activity": (0.25, 1.0, 4.0), "assumed_noise_db": (-6.0, 0.0, 6.0), "snr_db": (-12.0, 0.0, 20.0),
    "k_factor_db": (6.0,), "correlation": (0.0, 0.9), "activity_law": ("independent", "clustered:cluster_size=10"),
    "frames_per_batch": 32, "target_errors": 20, "min_batches": 2, "max_batches": 3,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """A grid point: one of `CELLS`, and a case such as ``SNR (dB) = 20``."""

    cell: str
    case: str

    def __post_init__(self) -> None:
        check.one_of(CELLS, cell=self.cell)
        self.scenario()
        Assuming(AMP(), **self.told())

    @property
    def mismatch(self) -> tuple[str, str]:
        """What is not as supposed, and its value."""
        name, _, value = self.case.partition(" = ")
        return name, value

    def scenario(self) -> Scenario:
        """Return the cell as it is."""
        (name, value), cell = self.mismatch, CELLS[self.cell]
        changes: dict[str, Any] = {}
        if name == GAINS:
            changes["gain_law"] = SPREAD
        elif name == SNR:
            changes["snr_db"] = float(value)
        elif name == RICIAN and value != NOMINAL[RICIAN]:
            changes["fading"] = Rician(k_factor_db=float(value))
        elif name == CORRELATION and float(value):
            changes["fading"] = Kronecker(correlation_coefficient=float(value))
        elif name == ACTIVITY:
            changes["activity_law"] = build(ACTIVITY_LAWS, value, name="activity_law")
        return replace(cell, **changes)

    def told(self) -> dict[str, Any]:
        """Return what the detectors are told instead of the truth."""
        (name, value), cell = self.mismatch, CELLS[self.cell]
        if name == EPSILON:
            return {"activity_prob": cell.activity_prob * float(value)}
        if name == NOISE:
            return {"noise_db": float(value)}
        return {"mean_gain": value == "mean"} if name == GAINS else {}


@dataclass(frozen=True)
class MismatchTrial:
    """Symbol errors of detectors that are told what the grid point says; the genie knows the truth.

    Attributes:
        trial: The same without mismatch.
    """

    trial: SymbolErrorTrial

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return self.trial.parts

    def only(self, names: Collection[str]) -> "MismatchTrial":
        """Return the trial of the named detectors and limits."""
        return MismatchTrial(self.trial.only(names))

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        return {"class": "MismatchTrial", "trial": self.trial.describe(), "cells": describe(CELLS)}

    def __call__(self, point: Point, rng: np.random.Generator) -> dict[str, Any]:
        """Return the counts of each detector on one batch of frames, under the detector's own name."""
        told = point.told()
        misled = [Assuming(detector, **told) for detector in self.trial.detectors]
        own = {other.name: other.detector.name for other in misled}
        detectors: tuple[Detector, ...] = tuple(misled) if told else self.trial.detectors
        outcome = replace(self.trial, detectors=detectors)(point.scenario(), rng)
        return {own.get(name, name): counts for name, counts in outcome.items()}


def cases(config: Config) -> list[str]:
    """Return the cases of every mismatch, as text."""
    values: Mapping[str, tuple[Any, ...]] = {
        EPSILON: config.assumed_activity,
        NOISE: config.assumed_noise_db,
        GAINS: ("known", "mean"),
        SNR: config.snr_db,
        RICIAN: ("none", *config.k_factor_db),
        CORRELATION: config.correlation,
        ACTIVITY: config.activity_law,
    }
    return [f"{name} = {readable_value(value)}" for name, listed in values.items() for value in listed]


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Run all cases in both cells as one study; say where the genie is no limit and what training has seen."""
    session = session or Session()
    detectors = [replace(d, quiet=True) if isinstance(d, MAMPNet) else d for d in named(config.detectors)]
    over = {"cell": tuple(CELLS), "case": cases(config)}
    trial = MismatchTrial(symbol_error_trial(*detectors, frames_per_batch=config.frames_per_batch))
    stop = Stop(errors=config.target_errors, min_batches=config.min_batches, max_batches=config.max_batches)
    result = session.study(trial, Point(cell="light", case=over["case"][0]), over, stop)
    points = [[Point(cell=cell, case=case) for case in over["case"]] for cell in over["cell"]]
    trained = next((d.network.trained_for for d in detectors if isinstance(d, MAMPNet)), None)
    seen = {"snr_db": trained.snr_db, "activity_prob": trained.activity_prob} if trained else {}
    return result.assign(
        genie_is_limit=(("cell", "case"), [[int(not why_no_limits(p.scenario())) for p in row] for row in points]),
        seen_in_training=(("cell", "case"), [[int(_within(p, seen)) for p in row] for row in points]),
    ).assign_attrs(note="; ".join(dict.fromkeys(why for row in points for p in row if (why := no_limit(p)))))


def no_limit(point: Point) -> str:
    """Return why the genie is no limit at a point; nothing where it is."""
    return why_no_limits(point.scenario())


def _within(point: Point, ranges: Mapping[str, tuple[float, float]]) -> bool:
    """Whether SNR and ε, as the detectors are told them, lie in the training range, and the channel is as trained."""
    told, cell = point.told(), point.scenario()
    supposed = {
        "snr_db": cell.snr_db - told.get("noise_db", 0.0),
        "activity_prob": told.get("activity_prob", cell.activity_prob),
    }
    inside = all(low - 1e-6 <= supposed[name] <= high + 1e-6 for name, (low, high) in ranges.items())
    return inside and not no_limit(point)


def _panels(result: "xr.Dataset") -> Iterator[tuple[str, list[int], list[str]]]:
    """Yield each mismatch with the places of its cases and their values."""
    split = [str(case).partition(" = ") for case in result["case"].values]
    for name in NOMINAL:
        places = [i for i, (mismatch, _, _) in enumerate(split) if mismatch == name]
        if places:
            yield name, places, [split[i][2] for i in places]


def losses(result: "xr.Dataset") -> Mapping[str, Mapping[str, float]]:
    """Return every rate over that of the nominal case, under ``loss | detector | cell, case``.

    The ends are quotients of the two intervals' ends: cautious, for both met the same air. There is none for the
    SNR, which has no nominal value, nor over a nominal rate without errors.
    """
    found = {}
    for name, places, values in _panels(result):
        if NOMINAL[name] not in values:
            continue
        usual = places[values.index(NOMINAL[name])]
        for detector in map(str, result["detector"].values):
            for cell in map(str, result["cell"].values):
                curve = result.sel(detector=detector, cell=cell)
                ends = {end: curve[f"ser{end}"].values for end in ("", "_low", "_high")}
                for at in places:
                    if at == usual or not ends["_low"][usual] > 0:
                        continue
                    found[f"loss | {detector} | {cell}, {result['case'].values[at]}"] = {
                        "value": float(ends[""][at] / ends[""][usual]),
                        "low": float(ends["_low"][at] / ends["_high"][usual]),
                        "high": float(ends["_high"][at] / ends["_low"][usual]),
                    }
    return found


def table(result: "xr.Dataset") -> Table:
    """Return rate, half interval and loss over the nominal case: a row per case, a column per detector."""
    names, factors, rows = [str(n) for n in result["detector"].values], losses(result), []
    for cell in map(str, result["cell"].values):
        for mismatch, places, values in _panels(result):
            for at, value in zip(places, values, strict=True):
                point = result.sel(cell=cell).isel(case=at)
                texts = []
                for name in names:
                    loss = factors.get(f"loss | {name} | {cell}, {mismatch} = {value}")
                    aside = name == "genie" and not bool(point["genie_is_limit"])
                    texts.append(_rate(point.sel(detector=name), loss and loss["value"]) + ("*" if aside else ""))
                nominal = value == NOMINAL[mismatch]
                rows.append([f"{cell}: {mismatch}", f"{value}{' (nominal)' if nominal else ''}", *texts])
    note = (
        "symbol error rate ± half the 95 % interval, clustered by frame and pilot draw, and x times the nominal case;\n"
        "<x: no error seen, x is the interval's upper end; ?: fewer errors than asked for; *: the genie is no limit"
    )
    note = "\n".join([note, *filter(None, [result.attrs.get("note", "")])])
    return Table("What a mismatch costs", ["cell and mismatch", "value", *names], rows, note)


def _rate(point: "xr.Dataset", loss: float | None) -> str:
    rate, low, high = (float(point[v]) for v in ("ser", "ser_low", "ser_high"))
    if not np.isfinite(rate):
        return "failed"
    if rate == 0:
        return f"<{high:.0e}"
    text = f"{rate:.1e} ±{(high - low) / 2 / rate:.0%}{'' if bool(point['complete']) else '?'}"
    return text if loss is None else f"{text} x{loss:.2g}"


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw a panel per mismatch, a row per cell; values that training has not seen have a grey ground."""
    from matplotlib.figure import Figure

    panels, cells = list(_panels(result)), [str(cell) for cell in result["cell"].values]
    widths = [max(len(places), 2.5) + 1 for _, places, _ in panels]
    figure = Figure(figsize=(3 + 0.42 * sum(widths), 1.6 + 3.2 * len(cells)), layout="constrained")
    axes = figure.subplots(len(cells), len(panels), sharey="row", squeeze=False, width_ratios=widths)
    for row, cell in enumerate(cells):
        for column, (mismatch, places, values) in enumerate(panels):
            axis, panel = axes[row, column], result.sel(cell=cell).isel(case=places)
            _draw_panel(axis, panel, values, NOMINAL[mismatch])
            if row == 0:
                axis.set_title(mismatch, fontsize=9)
        s = CELLS[cell]
        numbers = f"N={s.num_devices}, Q={s.pilots_per_device}, L={s.pilot_length}, M={s.num_antennas}"
        axes[row, 0].set_ylabel(f"{cell}: {numbers},\nε={s.activity_prob:g}, {s.snr_db:g} dB\n\nsymbol error rate")
        rates = np.concatenate([result.sel(cell=cell)[v].values.ravel() for v in ("ser", "ser_high")])
        rates = rates[np.isfinite(rates) & (rates > 0)]
        axes[row, 0].set_ylim(10 ** np.floor(np.log10(rates.min() / 1.5)) if rates.size else 1e-4, 1.0)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle(
        "What a mismatch costs: symbol error rate with 95 % intervals, clustered by frame and pilot draw\n"
        "dotted: as supposed; grey ground: not seen in training; open black points: the genie is no limit there; "
        "triangle: no error, upper end",
        fontsize=10,
    )
    return {"mismatch": figure}


def _draw_panel(axis: "Axes", panel: "xr.Dataset", values: list[str], nominal: str) -> None:
    names = [str(name) for name in panel["detector"].values]
    for at, seen in enumerate(panel["seen_in_training"].values):
        if not seen:
            axis.axvspan(at - 0.5, at + 0.5, color="0.94", zorder=0)
    if nominal in values:
        axis.axvline(values.index(nominal), color="0.5", linestyle=":", linewidth=1, zorder=1)
    for number, name in enumerate(names):
        curve = panel.sel(detector=name)
        rate, low, high = (curve[v].values for v in ("ser", "ser_low", "ser_high"))
        at = np.arange(rate.size) + 0.08 * (number - (len(names) - 1) / 2)  # beside each other, so that bars show
        genie = name == "genie"
        color, marker = ("#000000", "o") if genie else (COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)])
        seen, unseen = rate > 0, rate == 0
        style: dict[str, Any] = {"color": color, "linewidth": 1.1, "markersize": 4}
        axis.plot(at[seen], rate[seen], marker=marker, label=name, zorder=3, **style)
        axis.vlines(at[seen], np.maximum(low[seen], 1e-12), high[seen], color=color, linewidth=1.1, zorder=3)
        axis.scatter(at[unseen], high[unseen], marker="v", s=26, facecolors="none", edgecolors=color, linewidths=0.9)
        if genie:
            aside = seen & (panel["genie_is_limit"].values == 0)
            axis.plot(at[aside], rate[aside], "o", color=color, markerfacecolor="white", markersize=4, zorder=4)
    axis.set_yscale("log")
    axis.set_xlim(-0.5, len(values) - 0.5)
    axis.set_xticks(range(len(values)), [value.partition(":")[0] for value in values], fontsize=8)
    if max(map(len, values)) > 6:
        axis.tick_params(axis="x", labelrotation=30)
    axis.grid(visible=True, axis="y", which="major", color="0.88")
    axis.set_axisbelow(True)


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every rate with interval and counts, and every loss over the nominal case."""
    return {**error_figures(result), **losses(result)}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
