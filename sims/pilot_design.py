"""What do pilots of lower coherence buy in symbol errors over Gaussian ones?

wirelesslab run pilot_design          (about 5 minutes on one core; --quick: 25 seconds)

Every codebook draws its pilots for the same frames: the same devices speak with the same symbols, channels and noise.
Rates are compared with those of Gaussian pilots in pairs. Beside them stand the correlations that the pilots have,
within a device's block and between blocks, and Welch's bounds.

Expect: designed pilots come within a third of Welch's bound between blocks and far below it within them, where the
largest correlation of Gaussian pilots is three to four times as high. In overload they save a fifth to two fifths of
the symbol errors of AMP, the covariance method and the network; in the crowded cell a seventh to a fifth; where noise
decides, the covariance method's (0.84 of them) and barely the network's (0.89) are surely fewer. Orthogonal blocks
alone buy nothing in overload. Zadoff-Chu pilots save plain AMP four errors in five there and cost the covariance method
and the network a fifth more.
"""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.mmtc import CODEBOOKS, Scenario, draw_cell, simulate, symbol_errors
from wirelesslab.mmtc.calibration import rates_over_groups
from wirelesslab.mmtc.designed_pilots import Designed, OrthogonalBlocks, correlations
from wirelesslab.mmtc.detectors import Detector, Genie, MAMPNet, named
from wirelesslab.mmtc.paired import paired_ratio
from wirelesslab.naming import build
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.results import describe
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table
from wirelesslab.stats import Count
from wirelesslab.study import Stop

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

CELLS: Mapping[str, Scenario] = {
    "overloaded": Scenario(num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, snr_db=0.0),
    "crowded": Scenario(num_devices=100, bits_per_device=2, pilot_length=30, num_antennas=4, snr_db=0.0),
    "easy": Scenario(num_devices=60, bits_per_device=2, pilot_length=48, num_antennas=4, snr_db=-4.0),
}
PLAIN = "gaussian"
NUM_DESIGNS = 2**20  # so many that no two repetitions share one: intervals take repetitions for independent
RATIOS = (0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)  # ticks
WORDS: Mapping[str, str] = {
    "within": "largest within a block", "within_rms": "r.m.s. within", "between": "largest between blocks",
    "between_rms": "r.m.s. between",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which pilots, who hears them, and how much air decides.

    Attributes:
        codebooks: Laws of pilots; gaussian, with which all are compared, first. Blocks are those of the cell.
        detectors: Names of detectors; the genie always comes along.
        cells: Which cells: overloaded; crowded, of Q = 4; easy.
        replicates: Independent groups of frames, each with pilots of its own: the pairs of every interval.
        frames: Frames in each.
    """

    codebooks: tuple[str, ...] = ("gaussian", "qpsk", "partialdft", "zadoffchu", "orthogonalblocks", "designed")
    detectors: tuple[str, ...] = ("amp-block", "covariance", "mampnet")
    cells: tuple[str, ...] = ("overloaded", "crowded", "easy")
    replicates: int = 20
    frames: int = 192


QUICK: Mapping[str, Any] = {"cells": ("overloaded", "easy"), "replicates": 4, "frames": 32}


@dataclass(frozen=True, kw_only=True)
class Point:
    """A grid point: one of `CELLS`, a codebook by name, and which repetition."""

    cell: str
    codebook: str
    replicate: int = 0

    def __post_init__(self) -> None:
        check.one_of(CELLS, cell=self.cell)
        check.non_negative_integer(replicate=self.replicate)
        self.scenario()

    def scenario(self) -> Scenario:
        """Return the cell with the codebook, whose blocks are the devices'."""
        cell, law = CELLS[self.cell], build(CODEBOOKS, self.codebook, name="codebook")
        if isinstance(law, Designed | OrthogonalBlocks):
            law = replace(law, block=cell.pilots_per_device)
        if isinstance(law, Designed):
            law = replace(law, num_designs=NUM_DESIGNS)
        return replace(cell, codebook=law)


@dataclass(frozen=True)
class PilotTrial:
    """Symbol errors with pilots of one codebook, on air that all codebooks share.

    Attributes:
        detectors: Detectors with different names.
        frames: Frames of each repetition.
        genie: Whether the genie comes along.
    """

    detectors: tuple[Detector, ...]
    frames: int
    genie: bool = True

    @property
    def parts(self) -> Mapping[str, Any]:
        """Names of the curves and what draws them."""
        return {d.name: d for d in self.detectors} | ({Genie.name: Genie} if self.genie else {})

    def only(self, names: Collection[str]) -> "PilotTrial":
        """Return the trial of the named detectors."""
        left = tuple(d for d in self.detectors if d.name in names)
        return replace(self, detectors=left, genie=self.genie and Genie.name in names)

    def describe(self) -> dict[str, Any]:
        """Return what every curve of the trial depends on."""
        return {"class": "PilotTrial", "frames": self.frames, "cells": describe(CELLS)}

    def __call__(self, point: Point, rng: np.random.Generator) -> dict[str, dict[str, Count]]:
        """Return the symbol errors of each detector on one group of frames."""
        observation, truth = simulate(
            point.scenario(), rng.spawn(point.replicate + 1)[point.replicate], num_frames=self.frames
        )
        everybody: tuple[Detector, ...] = (*self.detectors, *([Genie(truth)] if self.genie else []))
        return {d.name: {"ser": symbol_errors(d.detect(observation), truth)} for d in everybody}


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Count errors with every codebook, and return rates, ratios to Gaussian pilots, and correlations."""
    session = session or Session()
    check.within(2, 10_000, replicates=config.replicates)
    if config.codebooks[0] != PLAIN:
        msg = f"codebooks: got {config.codebooks[0]!r} first, expected {PLAIN!r}, with which all are compared"
        raise ValueError(msg)
    detectors = tuple(replace(d, quiet=True) if isinstance(d, MAMPNet) else d for d in named(config.detectors))
    over = {"cell": config.cells, "codebook": config.codebooks, "replicate": tuple(range(config.replicates))}
    stop = Stop(errors=None, min_batches=1, max_batches=1)
    counts = session.study(
        PilotTrial(detectors, config.frames), Point(cell=config.cells[0], codebook=PLAIN), over, stop
    )
    return with_ratios(counts, session.seed) if "errors" in counts else counts


def with_ratios(counts: "xr.Dataset", seed: int) -> "xr.Dataset":
    """Return rates and their ratios to Gaussian pilots, and the correlations of three draws of each codebook."""
    import xarray as xr

    dims = ["detector", "cell", "codebook"]
    errors, attempts = (
        counts[name].transpose(*dims, "replicate").fillna(0).values.astype(np.int64) for name in ("errors", "attempts")
    )
    ratios = np.empty((*errors.shape[:-1], 3))
    for at in np.ndindex(errors.shape[:-1]):
        ratio = paired_ratio(errors[at], errors[at[0], at[1], 0])
        ratios[at] = ratio.value, ratio.low, ratio.high
    found: dict[str, Any] = {"errors": (dims, errors.sum(-1)), "attempts": (dims, attempts.sum(-1))}
    for name, values in (("ser", rates_over_groups(errors, attempts)), ("ratio", ratios)):
        found |= {f"{name}{end}": (dims, values[..., i]) for i, end in enumerate(("", "_low", "_high"))}
    cells, books = map(str, counts["cell"].values), list(map(str, counts["codebook"].values))
    each = [[_mean_correlations(Point(cell=cell, codebook=book), seed) for book in books] for cell in cells]
    for name in each[0][0]:
        found[name] = (["cell", "codebook"], [[found_here[name] for found_here in row] for row in each])
    return xr.Dataset(found, coords={d: counts[d] for d in dims}, attrs=counts.attrs)


def _mean_correlations(point: Point, seed: int, draws: int = 3) -> dict[str, float]:
    """Correlations in the mean over draws of the pilots; Welch's bounds come along."""
    scenario = point.scenario()
    cells = [draw_cell(scenario, stream(seed, "correlations", draw)) for draw in range(draws)]
    drawn = [asdict(correlations(cell.pilots, scenario.pilots_per_device)) for cell in cells]
    return {name: float(np.mean([one[name] for one in drawn])) for name in drawn[0]}


def table(result: "xr.Dataset") -> Table:
    """Return correlations, and rates with their ratios to Gaussian pilots: a row per codebook."""
    names, rows = [str(n) for n in result["detector"].values], []
    for cell in map(str, result["cell"].values):
        for book in map(str, result["codebook"].values):
            point = result.sel(cell=cell, codebook=book)
            excess = float(point["total"] / point["least_total"])
            pilots = [f"{float(point['within']):.2f}", f"{float(point['between']):.2f}", f"{excess:.3f}"]
            rows.append([cell, book, *pilots, *(_cell(point.sel(detector=name), book) for name in names)])
        bound = float(result["welch"].sel(cell=cell)[0])
        rows.append([cell, "Welch's bound", "", f"{bound:.2f}", "1", *[""] * len(names)])
    note = (
        "within, between: the largest correlation within and between blocks, mean of three draws; total: squared\n"
        "correlations over Welch's bound of them; then symbol error rates and, over those of Gaussian pilots on the\n"
        "same frames, ratios with 95 % intervals paired by draw"
    )
    return Table("What a codebook buys", ["cell", "pilots", "within", "between", "total", *names], rows, note)


def _cell(point: "xr.Dataset", book: str) -> str:
    rate, high = float(point["ser"]), float(point["ser_high"])
    text = f"{rate:.1e}" if rate > 0 else f"<{high:.0e}"
    if book == PLAIN or not rate > 0:
        return text
    return text + " x{:.2f} ({:.2f}-{:.2f})".format(*(float(point[f"ratio{end}"]) for end in ("", "_low", "_high")))


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the ratios to Gaussian pilots above, the correlations below: a column per cell."""
    from matplotlib.figure import Figure

    cells, books = (list(map(str, result[name].values)) for name in ("cell", "codebook"))
    names = [str(n) for n in result["detector"].values]
    figure = Figure(figsize=(4.6 * len(cells), 7.4), layout="constrained")
    axes = figure.subplots(2, len(cells), sharey="row", squeeze=False)
    for column, cell in enumerate(cells):
        above, below, panel, s = *axes[:, column], result.sel(cell=cell), CELLS[cell]
        for number, name in enumerate(names):
            curve = panel.sel(detector=name).isel(codebook=slice(1, None))
            at = np.arange(len(books) - 1) + 0.14 * (number - (len(names) - 1) / 2)
            color, marker = ("#000000", "o") if name == "genie" else (COLORS[number], MARKERS[number])
            above.plot(at, curve["ratio"].values, marker, color=color, markersize=5, label=name)
            above.vlines(at, curve["ratio_low"].values, curve["ratio_high"].values, color=color, linewidth=1.3)
        above.axhline(1, color="0.5", linestyle=":", linewidth=1)
        above.set_yscale("log")
        above.set_yticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
        above.minorticks_off()
        above.set_xticks(range(len(books) - 1), books[1:], rotation=25, ha="right", fontsize=8)
        numbers = f"N={s.num_devices}, Q={s.pilots_per_device}, L={s.pilot_length}, M={s.num_antennas}, {s.snr_db:g} dB"
        above.set_title(f"{cell}\n{numbers}", fontsize=10)
        for number, (name, words) in enumerate(WORDS.items()):
            at = np.arange(len(books)) + 0.2 * (number - 1.5)
            below.bar(at, panel[name].values, width=0.2, color=COLORS[number], label=words)
        below.axhline(float(panel["welch"][0]), color="black", linestyle="--", linewidth=1, label="Welch's bound")
        below.set_xticks(range(len(books)), books, rotation=25, ha="right", fontsize=8)
        for axis in (above, below):
            axis.grid(visible=True, axis="y", color="0.9")
            axis.set_axisbelow(True)
    shown = result["ratio"].values[:, :, 1:]
    axes[0, 0].set_ylim(max(shown.min() / 1.5, 0.05), min(shown.max() * 1.5, 50))
    axes[0, 0].set_ylabel("symbol error rate over that\nwith Gaussian pilots")
    axes[1, 0].set_ylabel("correlation of pilots")
    axes[0, -1].legend(fontsize=8, frameon=False)
    axes[1, -1].legend(fontsize=8, frameon=False)
    figure.suptitle("What pilots of lower coherence buy: paired ratios on common frames, 95 % intervals", fontsize=11)
    return {"pilot_design": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every rate and ratio with its interval, and the correlations."""
    figures: dict[str, Any] = {}
    for cell in map(str, result["cell"].values):
        for book in map(str, result["codebook"].values):
            point = result.sel(cell=cell, codebook=book)
            figures[f"correlations | {book} | {cell}"] = {
                name: float(point[name]) for name in ("within", "between", "total", "welch", "least_total")
            }
            for name in map(str, result["detector"].values):
                curve = point.sel(detector=name)
                for kind in ("ser", "ratio"):
                    ends = {
                        end: float(curve[f"{kind}{v}"])
                        for end, v in (("value", ""), ("low", "_low"), ("high", "_high"))
                    }
                    figures[f"{kind} | {name} | {book} | {cell}"] = {
                        **ends, "errors": int(curve["errors"]), "attempts": int(curve["attempts"])
                    }  # fmt: skip
    return figures


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
