"""How much does a detector lose, against itself told the truth, when what it believes is wrong by a factor?

wirelesslab run mismatch          (about 6 minutes on one core; --quick: 25 seconds)

The sim mampnet_mismatch shows the rates of DL-mAMPnet and three rivals; this one asks the same of the whole
family, with paired ratios: each detector stands against the same detector on the same air that knows better.
A wrong ε, σ² or β is a wrong belief about the same air. A wrong SNR is air that is louder or quieter than the
station's noise figure says. Correlated antennas are believed independent; both sides read their decisions out once
more, of antennas that are believed independent and of such as they are (`Whitened`). Nobody can be told of clusters:
clustered activity is compared with independent one of the same mean, and the ratio is what crowded frames cost.

Expect: AMP measures its noise and does not read σ²: its ratio is exactly 1 there and for the SNR. Told four times too
large an ε, AMP errs seven times as often in overload (a quarter of ε would make it four times better there); the
covariance method gains a quarter, the network hardly cares. The network pays most for σ² and β (up to 24- and
13-fold), the covariance method for σ² too high (6 to 8), while a β believed 6 dB too small takes a third of its errors;
OMP's stopping rule reads σ² and breaks in the light cell (176 at -6 dB), but gains in overload by one that is too high.
To know the antennas' correlation helps AMP, re-tuned AMP and the network in overload (2.0, 3.6 and 1.9 at 0.9), others
little, and covariance nothing. Clusters crowd frames, which costs the methods that were near the limit most.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims.mampnet_mismatch import CELLS

from wirelesslab import check
from wirelesslab.mmtc import Clustered, Independent, Kronecker, Rayleigh, Scenario, simulate, symbol_errors
from wirelesslab.mmtc.calibration import rates_over_groups
from wirelesslab.mmtc.detectors import Assuming, Detector, MAMPNet, named
from wirelesslab.mmtc.paired import paired_ratio
from wirelesslab.mmtc.whitening import Whitened
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.results import describe
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table
from wirelesslab.stats import Count
from wirelesslab.study import Stop
from wirelesslab.units import readable_value

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is wrong, and what its values mean.
EPSILON, NOISE, GAIN, SNR, CORRELATION, CLUSTERS = KINDS = (
    "ε believed / true", "σ² believed (dB)", "β believed (dB)", "SNR above belief (dB)", "antenna correlation",
    "cluster size",
)  # fmt: skip

# Where the sides are not the detector misled and the same one told the truth.
SIDES: Mapping[str, tuple[str, ...]] = {
    CORRELATION: ("both sides read out twice", "believed 0 over known"),
    CLUSTERS: ("nobody is told:", "over independent activity"),
}


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is wrong, by how much, and how much air decides.

    Attributes:
        activity_factor: Factors by which the believed ε is wrong.
        noise_db: How far the believed noise power lies above the true one, in dB.
        gain_db: How far the believed gains lie above the true ones, in dB.
        snr_db: How far the air's SNR lies above what the station believes, in dB.
        correlation: Correlation of neighbouring antennas, believed independent.
        cluster_size: Devices that wake together, each then speaks with probability 1/2; believed independent.
        detectors: Names of detectors.
        replicates: Independent groups of frames, each in a cell of its own: the pairs of every interval.
        frames: Frames in each.
    """

    activity_factor: tuple[float, ...] = (0.25, 0.5, 2.0, 4.0)
    noise_db: tuple[float, ...] = (-6.0, -3.0, 3.0, 6.0)
    gain_db: tuple[float, ...] = (-6.0, -3.0, 3.0, 6.0)
    snr_db: tuple[float, ...] = (-3.0, 3.0)
    correlation: tuple[float, ...] = (0.3, 0.6, 0.9)
    cluster_size: tuple[int, ...] = (5, 10)
    detectors: tuple[str, ...] = ("amp-block", "amp-re-tuned", "covariance", "omp", "lmmse", "mampnet")
    replicates: int = 12
    frames: int = 80


QUICK: Mapping[str, Any] = {
    "activity_factor": (0.25, 4.0), "noise_db": (-6.0, 6.0), "gain_db": (-6.0, 6.0), "snr_db": (-3.0, 3.0),
    "correlation": (0.9,), "cluster_size": (10,), "replicates": 4, "frames": 24,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Point:
    """A grid point: one of `CELLS`, a case such as ``β believed (dB) = 6``, and which repetition."""

    cell: str
    case: str
    replicate: int = 0

    def __post_init__(self) -> None:
        check.one_of(CELLS, cell=self.cell)
        check.one_of(KINDS, case=self.kind)
        check.non_negative_integer(replicate=self.replicate)

    @property
    def kind(self) -> str:
        """What is wrong."""
        return self.case.partition(" = ")[0]

    @property
    def value(self) -> float:
        """By how much."""
        return float(self.case.partition(" = ")[2])

    def air(self) -> Scenario:
        """Return the cell as it is."""
        cell = CELLS[self.cell]
        if self.kind == SNR:
            return replace(cell, snr_db=cell.snr_db + self.value)
        if self.kind == CORRELATION:
            return replace(cell, fading=Kronecker(correlation_coefficient=self.value))
        if self.kind == CLUSTERS:
            return replace(cell, activity_law=Clustered(cluster_size=int(self.value), wake_prob=0.5))
        return cell

    def better_air(self) -> Scenario:
        """Return the air of the detector that knows better: the same, but for clusters the independent activity."""
        return replace(self.air(), activity_law=Independent())

    def knowing(self, detector: Detector) -> Detector:
        """Return the detector that knows better; detectors know all but the antennas' correlation by themselves."""
        return Whitened(detector, self.air().fading) if self.kind == CORRELATION else detector

    def misled(self, detector: Detector) -> Detector:
        """Return the detector that is misled; where antennas correlate it has the same read-out as who knows."""
        if self.kind == CORRELATION:
            return Whitened(detector, Rayleigh())
        told = self.told()
        return Assuming(detector, **told) if told else detector  # type: ignore[arg-type]

    def told(self) -> dict[str, float]:
        """Return what the detector believes instead of the truth; nothing where the law is wrong."""
        if self.kind == EPSILON:
            return {"activity_prob": CELLS[self.cell].activity_prob * self.value}
        # The station's noise figure belongs to the cell's own SNR: at louder air it believes in too much noise.
        return {NOISE: {"noise_db": self.value}, SNR: {"noise_db": self.value}, GAIN: {"gain_db": self.value}}.get(
            self.kind, {}
        )


@dataclass(frozen=True)
class PairTrial:
    """Symbol errors of each detector as it is misled, and as it knows better, on common air.

    Attributes:
        detectors: Detectors with different names.
        frames: Frames of each repetition, in a cell of its own.
    """

    detectors: tuple[Detector, ...]
    frames: int

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return {d.name: d for d in self.detectors}

    def only(self, names: Collection[str]) -> "PairTrial":
        """Return the trial of the named detectors."""
        return replace(self, detectors=tuple(d for d in self.detectors if d.name in names))

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        return {"class": "PairTrial", "frames": self.frames, "cells": describe(CELLS)}

    def __call__(self, point: Point, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
        """Return ``ser``, misled, and ``better``, of each detector."""
        air = int(rng.spawn(point.replicate + 1)[point.replicate].integers(2**62))
        sides = [
            simulate(scenario, stream(air, "both sides"), num_frames=self.frames)
            for scenario in (point.air(), point.better_air())
        ]
        (observation, truth), (known, known_truth) = sides
        outcome = {}
        for detector in self.detectors:
            outcome[detector.name] = {
                "ser": symbol_errors(point.misled(detector).detect(observation), truth),
                "better": symbol_errors(point.knowing(detector).detect(known), known_truth),
            }
        return outcome


def cases(config: Config) -> list[str]:
    """Return the cases of every kind, as text."""
    listed = (
        config.activity_factor, config.noise_db, config.gain_db, config.snr_db, config.correlation,
        config.cluster_size,
    )  # fmt: skip
    return [f"{kind} = {readable_value(v)}" for kind, values in zip(KINDS, listed, strict=True) for v in values]


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Count errors of both sides at every point, and return rates and paired ratios."""
    session = session or Session()
    check.within(2, 10_000, replicates=config.replicates)
    detectors = tuple(replace(d, quiet=True) if isinstance(d, MAMPNet) else d for d in named(config.detectors))
    listed = cases(config)
    over = {"cell": tuple(CELLS), "case": listed, "replicate": tuple(range(config.replicates))}
    stop = Stop(errors=None, min_batches=1, max_batches=1)
    counts = session.study(PairTrial(detectors, config.frames), Point(cell="light", case=listed[0]), over, stop)
    return with_ratios(counts) if "errors" in counts else counts


def with_ratios(counts: "xr.Dataset") -> "xr.Dataset":
    """Return rates of both sides and their ratios over the dims ``detector``, ``cell`` and ``case``."""
    import xarray as xr

    dims = ["detector", "cell", "case"]
    misled, better, attempts = (
        counts[name].transpose(*dims, "replicate").fillna(0).values.astype(np.int64)
        for name in ("errors", "better_errors", "attempts")
    )
    ratios = np.empty((*misled.shape[:-1], 3))
    for at in np.ndindex(misled.shape[:-1]):
        ratio = paired_ratio(misled[at], better[at])
        ratios[at] = ratio.value, ratio.low, ratio.high
    found: dict[str, Any] = {"errors": (dims, misled.sum(-1)), "attempts": (dims, attempts.sum(-1))}
    found["better_errors"] = (dims, better.sum(-1))
    for name, values in (
        ("ser", rates_over_groups(misled, attempts)), ("better", rates_over_groups(better, attempts)),
        ("ratio", ratios),
    ):  # fmt: skip
        found |= {f"{name}{end}": (dims, values[..., i]) for i, end in enumerate(("", "_low", "_high"))}
    return xr.Dataset(found, coords={d: counts[d] for d in dims}, attrs=counts.attrs)


def table(result: "xr.Dataset") -> Table:
    """Return the ratios with intervals: a row per case, a column per detector."""
    names, rows = [str(n) for n in result["detector"].values], []
    for cell in map(str, result["cell"].values):
        rates = [f"{float(v):.1e}" for v in result["better"].sel(cell=cell).isel(case=0)]
        rows.append([cell, "symbol error rate told the truth", *rates])
        for case in map(str, result["case"].values):
            point = result.sel(cell=cell, case=case)
            rows.append([cell, case, *(_ratio(point.sel(detector=name)) for name in names)])
    note = (
        "ratio of symbol error rates, misled over told the truth on common air (correlation: both with a second\n"
        "read-out; clusters: over independent activity of the same mean), and its 95 % interval, paired by cell;\n"
        "-: a side without errors"
    )
    return Table("What a wrong belief costs", ["cell", "what is wrong", *names], rows, note)


def _ratio(point: "xr.Dataset") -> str:
    if not min(float(point["errors"]), float(point["better_errors"])) > 0:
        return "-"
    return "{:.2f} ({:.2f}-{:.2f})".format(*(float(point[f"ratio{end}"]) for end in ("", "_low", "_high")))


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the ratios: a panel per kind, a row per cell."""
    from matplotlib.figure import Figure

    listed, cells = (
        [str(case).partition(" = ") for case in result["case"].values],
        list(map(str, result["cell"].values)),
    )
    kinds = [kind for kind in KINDS if any(k == kind for k, _, _ in listed)]
    widths = [1.2 + sum(k == kind for k, _, _ in listed) for kind in kinds]
    figure = Figure(figsize=(2.5 + 0.65 * sum(widths), 1.5 + 3.3 * len(cells)), layout="constrained")
    axes = figure.subplots(len(cells), len(kinds), sharey="row", squeeze=False, width_ratios=widths)
    for row, cell in enumerate(cells):
        for column, kind in enumerate(kinds):
            places = [i for i, (k, _, _) in enumerate(listed) if k == kind]
            _draw_panel(axes[row, column], result.sel(cell=cell).isel(case=places), [listed[i][2] for i in places])
            if row == 0:
                axes[row, column].set_title("\n".join([kind, *SIDES.get(kind, ())]), fontsize=9)
        s = CELLS[cell]
        numbers = f"N={s.num_devices}, Q={s.pilots_per_device}, L={s.pilot_length}, M={s.num_antennas}"
        axes[row, 0].set_ylabel(f"{cell}: {numbers}\n\nSER misled over SER told the truth")
        shown = result["ratio"].sel(cell=cell).values
        axes[row, 0].set_ylim(max(0.05, shown.min() / 1.6), min(300.0, shown.max() * 1.6))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9)
    figure.suptitle("What a wrong belief costs each detector: paired ratios on common air, 95 % intervals", fontsize=11)
    return {"mismatch_of_the_family": figure}


def _draw_panel(axis: "Axes", panel: "xr.Dataset", values: list[str]) -> None:
    names = [str(name) for name in panel["detector"].values]
    for number, name in enumerate(names):
        curve = panel.sel(detector=name)
        seen = np.minimum(curve["errors"].values, curve["better_errors"].values) > 0
        at = np.arange(seen.size) + 0.11 * (number - (len(names) - 1) / 2)
        color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
        ratio, low, high = (curve[f"ratio{end}"].values for end in ("", "_low", "_high"))
        axis.plot(at[seen], ratio[seen], marker, color=color, markersize=4.5, label=name)
        axis.vlines(at[seen], low[seen], high[seen], color=color, linewidth=1.2)
    axis.axhline(1, color="0.5", linestyle=":", linewidth=1)
    axis.set_yscale("log")
    axis.set_xlim(-0.6, len(values) - 0.4)
    axis.set_xticks(range(len(values)), values, fontsize=8)
    axis.grid(visible=True, axis="y", which="major", color="0.88")
    axis.set_axisbelow(True)


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every ratio with its interval and both sides' counts."""
    figures = {}
    for cell in map(str, result["cell"].values):
        for case in map(str, result["case"].values):
            for name in map(str, result["detector"].values):
                point = result.sel(cell=cell, case=case, detector=name)
                ends = {
                    end: float(point[f"ratio{v}"]) for end, v in (("value", ""), ("low", "_low"), ("high", "_high"))
                }
                sides = {v: int(point[v]) for v in ("errors", "better_errors", "attempts")}
                figures[f"ratio | {name} | {cell}, {case}"] = {**ends, **sides}
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
