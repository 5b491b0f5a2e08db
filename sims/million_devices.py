"""How many bands, cells and antennas do a million grant-free devices per km² need, with each detector?

wirelesslab run million_devices                 (about 8 minutes on two cores; --quick: 40 seconds)

The question of connection density of ITU-R M.2412, as we recall it: 1,000,000 devices per km², a message of
32 bytes every 2 hours from each, 99 % of them through within 10 s. Assumed here, generously: equal received power by
perfect power control, Rayleigh fading, no interference between cells, and an acknowledgement at once and without error.

Expect: how soon a codebook's turn comes again decides: four times the devices to a codebook need a quarter of the
spectrum, twice the pilots twice as much. With 400 devices to a codebook, 16 symbols and 8 antennas, OMP, covariance ML
and MAMPNet need no more than a perfect receiver, 4 x 180 kHz per km²; with 2 antennas wrong symbols spoil long messages
and all need three times that or more. Re-tuned AMP does worse with 8 antennas and 16 symbols than with 4: AMP
suffers from few pilots at many antennas. Cells and bands are exchanged one for the other.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.executors import local_executor
from wirelesslab.mmtc import Scenario
from wirelesslab.mmtc.detectors import named
from wirelesslab.network import MIOT
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import mean
from wirelesslab.rng import stream
from wirelesslab.services import Crowd, FrameAccess, FrameOutcomes, Framing, OwnedPilots, tabulate
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERFECT = "perfect receiver"
DENSITY, PERIOD_S, NUM_BYTES = 1_000_000, 7200.0, 32
WANTED, WITHIN_S = 0.99, 10.0
SYMBOL_S = 1 / 168e3  # a band of 180 kHz holds 168,000 symbols per second
BAND_KHZ = 180
WIDE_BANDS = 6  # 1.08 MHz


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is searched over.

    Attributes:
        detectors: Who listens; a perfect receiver stands beside them.
        num_antennas: M.
        pilot_lengths: L.
        cells: Cells per km² of the search; other numbers follow, for cells and bands exchange one for the other: how
            long a codebook waits for its turn hangs on their product only.
        bands: Bands of a cell that are tried, ascending, by bisection.
        replicas: Seeds of every search.
        codebook_devices: N, devices of a codebook: with more of them a cell has fewer codebooks and turns come sooner.
        snr_db: SNR.
        activity_prob: The ε that every detector is told.
        most_active: Speakers of a frame that the tables know.
        frames: Of every table, for each number of speakers and draw of pilots.
        draws: Draws of pilots in every table.
        run_s: Length of a run; messages that come in its first and last 10 s are not judged.
    """

    detectors: tuple[str, ...] = ("matched-filter", "omp-one-per-device", "amp-re-tuned", "covariance", "mampnet")
    num_antennas: tuple[int, ...] = (2, 4, 8)
    pilot_lengths: tuple[int, ...] = (16, 32)
    cells: int = 4
    bands: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 11, 16, 32)
    replicas: int = 4
    codebook_devices: tuple[int, ...] = (100, 400)
    snr_db: float = 0.0
    activity_prob: float = 0.01
    most_active: int = 6
    frames: int = 32
    draws: int = 6
    run_s: float = 40.0

    def __post_init__(self) -> None:
        check.positive_integer(
            cells=self.cells, replicas=self.replicas, most_active=self.most_active,
            **{f"codebook_devices[{i}]": num for i, num in enumerate(self.codebook_devices)},
        )  # fmt: skip
        check.within(3 * WITHIN_S, 1e6, run_s=self.run_s)
        named(self.detectors)
        if list(self.bands) != sorted(set(self.bands)) or not self.bands:
            msg = f"bands: got {self.bands}, expected ascending numbers of bands"
            raise ValueError(msg)


QUICK: Mapping[str, Any] = {
    "detectors": ("matched-filter", "amp-re-tuned"), "num_antennas": (4,), "pilot_lengths": (16,), "replicas": 2,
    "codebook_devices": (100,), "most_active": 8, "frames": 16, "draws": 2, "run_s": 30.0, "bands": (3, 6, 12),
}  # fmt: skip


def scenario(config: Config, antennas: int, length: int, num_devices: int) -> Scenario:
    """Return the devices of a codebook, and the air."""
    return Scenario(
        num_devices=num_devices, bits_per_device=2, pilot_length=length, num_antennas=antennas,
        snr_db=config.snr_db, activity_prob=config.activity_prob,
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """A detector with so many antennas and so long pilots.

    Attributes:
        setting: The search.
        outcomes: What becomes of frames.
        air: The scenario.
    """

    setting: Config
    outcomes: FrameOutcomes
    air: Scenario


def one_cell(case: Case, bands: int, seed: int) -> tuple[float, float, float]:
    """Watch one cell of the many alike; return the share of messages within 10 s, their 99 % delay, and mJ for each."""
    c = case.setting
    devices = DENSITY // c.cells
    framing = Framing.of(case.air, symbol_s=SYMBOL_S, bands=bands, max_attempts=None, back_off_turns=4)
    access = FrameAccess(
        (MIOT,), cells=np.zeros(devices, np.int64), slice_of=np.zeros(devices, np.int64), framing=framing,
        outcomes=case.outcomes, rng=stream(seed, "air"),
    )  # fmt: skip
    crowd, rng = Crowd(rate_per_s=1 / PERIOD_S, num_bytes=NUM_BYTES), stream(seed, "messages")
    memory, begin_s, end_s = crowd.begin(rng, devices), WITHIN_S, c.run_s - WITHIN_S
    judged, delays = 0, []
    for until_s in np.arange(1.0, c.run_s + 0.5):
        who, num_bytes, when_s = crowd.due(rng, memory, until_s)
        judged += int(((when_s >= begin_s) & (when_s < end_s)).sum())
        access.offer(who, num_bytes, when_s)
        done = access.advance(float(until_s))
        delays.append(done.delay_s[(done.offered_s >= begin_s) & (done.offered_s < end_s)])
        # Hopeless: three quarters of all that ever came still wait.
        if until_s > 2 * WITHIN_S and access.num_active > 0.75 * devices / PERIOD_S * until_s:
            return 0.0, np.nan, np.nan
    access.account().check()
    all_s = np.sort(np.concatenate(delays))
    share = float((all_s <= WITHIN_S).sum() / judged)
    place = int(np.ceil(0.99 * judged)) - 1
    p99 = float(all_s[place]) if place < all_s.size else np.nan
    return share, p99, 1e3 * float(access.energy_per_delivered_j()[0, 0])


def search(case: Case, seed: int) -> Mapping[str, Any]:
    """Return the fewest bands with which 99 % are through in 10 s, by bisection; see `main`."""
    bands, low, high, best = case.setting.bands, 0, len(case.setting.bands), (np.nan, np.nan, np.nan)
    while low < high:
        middle = (low + high) // 2
        try:
            found = one_cell(case, bands[middle], seed)
        except ValueError as error:  # the table ends where a collapse begins
            if "speak at once" not in str(error):
                raise
            found = (0.0, np.nan, np.nan)
        if found[0] >= WANTED:
            high, best = middle, found
        else:
            low = middle + 1
    enough = low < len(bands)
    return {
        "enough": float(enough), "bands": float(bands[low]) if enough else np.nan, "within": best[0],
        "delay_p99_s": best[1], "energy_mj": best[2],
    }  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Tabulate every detector, number of antennas and pilot length, then search.

    Returns:
        Over `detector`, `antennas`, `length`, `codebook` (its devices) and `replica`: whether any number of bands was
        `enough`, the fewest `bands` of a cell, the share of messages `within` 10 s there, their `delay_p99_s` and
        `energy_mj`; NaN where none is.
    """
    session = session or Session()
    names = [PERFECT, *(d.name for d in named(config.detectors))]
    cases = {}
    with local_executor(tabulate, session.workers) as executor:
        for name, detector in zip(names, (None, *named(config.detectors)), strict=True):
            for antennas in config.num_antennas:
                for length, crowd in itertools.product(config.pilot_lengths, config.codebook_devices):
                    air = scenario(config, antennas, length, crowd)
                    outcomes: FrameOutcomes = OwnedPilots() if detector is None else tabulate(
                        air, detector, active=range(config.most_active + 1), frames=config.frames, draws=config.draws,
                        seed=session.seed, executor=executor,
                    )  # fmt: skip
                    cases[f"{name}, {antennas}, {length}, {crowd}"] = Case(setting=config, outcomes=outcomes, air=air)
    flat = session.replicate(search, cases, config.replicas)
    result = flat.isel(experiment=0, drop=True).copy()
    dims = "detector", "antennas", "length", "codebook", "replica"
    shape = (
        len(names), len(config.num_antennas), len(config.pilot_lengths), len(config.codebook_devices), config.replicas,
    )  # fmt: skip
    for name in [n for n in flat.data_vars if flat[n].dims == ("experiment", "replica")]:
        result[name] = (dims, flat[name].values.reshape(shape))
    result.attrs |= {"cells": config.cells, "most_bands": max(config.bands)}
    return result.assign_coords(
        detector=names, antennas=list(config.num_antennas), length=list(config.pilot_lengths),
        codebook=list(config.codebook_devices),
    )  # fmt: skip


def table(result: "xr.Dataset") -> Table:
    """Return the fewest bands of every detector, antennas and pilot length."""
    rows = []
    cells, most = result.attrs["cells"], result.attrs["most_bands"]
    places = itertools.product(*(result[name].values for name in ("detector", "codebook", "length", "antennas")))
    for name, codebook, length, antennas in places:
        one = result.sel(detector=name, codebook=codebook, length=length, antennas=antennas)
        enough = bool((one["enough"] == 1).all())
        bands = mean(one["bands"])
        codebooks = -(-DENSITY // cells // int(codebook))
        rows.append([
            str(name), f"{codebook}", f"{length}", f"{antennas}", str(bands) if enough else f"more than {most}",
            f"{bands.value * cells / WIDE_BANDS:.2g}" if enough else "-", f"{codebooks}",
            str(mean(one["delay_p99_s"])) if enough else "-", str(mean(one["energy_mj"])) if enough else "-",
        ])  # fmt: skip
    columns = [
        "detector", "N", "L", "M", f"bands of each of {cells} cells", "cells of 1.08 MHz", "codebooks of a cell",
        "p99, s", "mJ each",
    ]  # fmt: skip
    note = (
        f"Per km². N devices of a codebook, L symbols, M antennas. Bands of {BAND_KHZ} kHz: the fewest tried with "
        f"which 99 % are through within 10 s, means over {result.sizes['replica']} searches with 95 % intervals; cells "
        "of 1.08 MHz: what the same bands make if each cell has six. "
        "Equal received power, no interference between cells, perfect acknowledgements."
    )
    return Table("A million devices per km², 32 bytes every 2 hours", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the fewest bands over the antennas, one panel for each pilot length."""
    from matplotlib.figure import Figure

    crowds, lengths = result["codebook"].values, result["length"].values
    figure = Figure(figsize=(11, 1.2 + 3.4 * crowds.size), layout="constrained")
    panels = figure.subplots(crowds.size, lengths.size, squeeze=False, sharey=True, sharex=True)
    antennas, most = result["antennas"].values, result.attrs["most_bands"]
    for (row, crowd), (column, length) in itertools.product(enumerate(crowds), enumerate(lengths)):
        axis = panels[row][column]
        _panel(axis, result.sel(codebook=crowd, length=length), antennas, most)
        axis.set_title(f"{crowd} devices to a codebook, pilots of {length} symbols", fontsize=10)
        if row == crowds.size - 1:
            axis.set_xlabel("antennas of a cell")
    figure.supylabel(f"fewest bands of {BAND_KHZ} kHz in each of {result.attrs['cells']} cells per km²", fontsize=10)
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    return {"million_devices": figure}


def _panel(axis: "Axes", result: "xr.Dataset", antennas: "np.ndarray[Any, Any]", most: int) -> None:
    """Draw each detector's fewest bands, side by side at each number of antennas."""
    names = result["detector"].values
    for number, name in enumerate(names):
        color = "black" if name == PERFECT else COLORS[(number - 1) % len(COLORS)]
        marker = MARKERS[number % len(MARKERS)]
        places = np.arange(antennas.size) + 0.11 * (number - (len(names) - 1) / 2)
        for place, count in zip(places, antennas, strict=True):
            one = result.sel(detector=name, antennas=count)
            label = str(name) if count == antennas[0] else None
            if not bool((one["enough"] == 1).all()):
                axis.plot(place, 1.35 * most, color=color, marker=marker, markersize=7, fillstyle="none", label=label)
                continue
            m = mean(one["bands"])
            error = [[min(m.value - m.low, 0.7 * m.value)], [min(m.high, 1.1 * most) - m.value]]
            axis.errorbar(place, m.value, yerr=error, color=color, marker=marker, markersize=7, capsize=3,
                          linestyle="none", label=label)  # fmt: skip
    axis.axhline(1.15 * most, color="0.5", linestyle=":", linewidth=1)
    axis.annotate(f"more than {most}", (1, 1.17 * most), xycoords=("axes fraction", "data"), ha="right", va="bottom",
                  xytext=(-4, 12), textcoords="offset points", fontsize=8, color="0.35")  # fmt: skip
    axis.set(yscale="log", ylim=(0.8, 1.9 * most))
    axis.set_xticks(np.arange(antennas.size), [str(a) for a in antennas])
    ticks = [t for t in (1, 2, 3, 4, 6, 8, 11, 16, 32) if t <= most]
    axis.set_yticks(ticks, [str(t) for t in ticks])
    axis.set_yticks([], minor=True)
    axis.set_xlim(-0.6, antennas.size - 0.4)
    axis.grid(visible=True, axis="y", color="0.9")
    axis.set_axisbelow(True)


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return what each detector needs, with intervals."""
    return {
        f"{name}, N={codebook}, L={length}, M={antennas}": {
            figure: mean(
                result[figure].sel(detector=name, codebook=codebook, length=length, antennas=antennas)
            )._asdict()
            for figure in ("enough", "bands", "within", "delay_p99_s", "energy_mj")
        }
        for name, codebook, length, antennas in itertools.product(
            *(result[dim].values for dim in ("detector", "codebook", "length", "antennas"))
        )
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
