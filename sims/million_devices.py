"""How many bands, cells and antennas do a million grant-free devices per km² need, with each detector?

wirelesslab run million_devices                 (about 4 minutes on two cores; --quick: 20 seconds)

The question of connection density of ITU-R M.2412, as we recall it: 1,000,000 devices per km², a message of
32 bytes every 2 hours from each, 99 % of them through within 10 s. Assumed here, generously: equal received power by
perfect power control, Rayleigh fading, no interference between cells, and an acknowledgement at once and without error.

Expect: so few speak at once, less than one per codebook, that with 8 antennas every detector gets by on the bands of a
perfect receiver: the time that 140 frames take sets the answer, and short pilots win. With 2 antennas wrong symbols
spoil long messages: about three times the bands, whoever listens. Cells and bands are exchanged one for the other.
"""

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
    from matplotlib.figure import Figure

PERFECT = "perfect receiver"
DENSITY, PERIOD_S, NUM_BYTES = 1_000_000, 7200.0, 32
WANTED, WITHIN_S = 0.99, 10.0
SYMBOL_S = 1 / 168e3  # a band of 180 kHz holds 168,000 symbols per second
BAND_KHZ = 180


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is searched over.

    Attributes:
        detectors: Who listens; a perfect receiver stands beside them.
        num_antennas: M.
        pilot_lengths: L.
        cells: Cells per km² of the search; other numbers follow, for cells and bands exchange one for the other.
        bands: Bands of a cell that are tried, ascending, by bisection.
        replicas: Seeds of every search.
        num_devices: Devices of a codebook.
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
    bands: tuple[int, ...] = (2, 3, 4, 5, 6, 8, 11, 16, 32)
    replicas: int = 3
    num_devices: int = 100
    snr_db: float = 0.0
    activity_prob: float = 0.01
    most_active: int = 10
    frames: int = 24
    draws: int = 4
    run_s: float = 40.0

    def __post_init__(self) -> None:
        check.positive_integer(
            cells=self.cells, replicas=self.replicas, num_devices=self.num_devices, most_active=self.most_active
        )
        check.within(3 * WITHIN_S, 1e6, run_s=self.run_s)
        named(self.detectors)
        if list(self.bands) != sorted(set(self.bands)) or not self.bands:
            msg = f"bands: got {self.bands}, expected ascending numbers of bands"
            raise ValueError(msg)


QUICK: Mapping[str, Any] = {
    "detectors": ("matched-filter", "amp-re-tuned"), "num_antennas": (4,), "pilot_lengths": (16,), "replicas": 2,
    "most_active": 8, "frames": 16, "draws": 2, "run_s": 30.0, "bands": (3, 6, 12),
}  # fmt: skip


def scenario(config: Config, antennas: int, length: int) -> Scenario:
    """Return the devices of a codebook, and the air."""
    return Scenario(
        num_devices=config.num_devices, bits_per_device=2, pilot_length=length, num_antennas=antennas,
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
        Over `detector`, `antennas`, `length` and `replica`: whether any number of bands was `enough`, the
        fewest `bands` of a cell, the share of messages `within` 10 s there, their `delay_p99_s` and `energy_mj`;
        NaN where none is.
    """
    session = session or Session()
    names = [PERFECT, *(d.name for d in named(config.detectors))]
    cases = {}
    with local_executor(tabulate, session.workers) as executor:
        for name, detector in zip(names, (None, *named(config.detectors)), strict=True):
            for antennas in config.num_antennas:
                for length in config.pilot_lengths:
                    air = scenario(config, antennas, length)
                    outcomes: FrameOutcomes = OwnedPilots() if detector is None else tabulate(
                        air, detector, active=range(config.most_active + 1), frames=config.frames, draws=config.draws,
                        seed=session.seed, executor=executor,
                    )  # fmt: skip
                    cases[f"{name}, {antennas}, {length}"] = Case(setting=config, outcomes=outcomes, air=air)
    flat = session.replicate(search, cases, config.replicas)
    result = flat.isel(experiment=0, drop=True).copy()
    shape = len(names), len(config.num_antennas), len(config.pilot_lengths), config.replicas
    for name in [n for n in flat.data_vars if flat[n].dims == ("experiment", "replica")]:
        result[name] = (("detector", "antennas", "length", "replica"), flat[name].values.reshape(shape))
    result.attrs |= {"cells": config.cells, "num_devices": config.num_devices, "most_bands": max(config.bands)}
    return result.assign_coords(detector=names, antennas=list(config.num_antennas), length=list(config.pilot_lengths))


def table(result: "xr.Dataset") -> Table:
    """Return the fewest bands of every detector, antennas and pilot length."""
    rows = []
    cells, most = result.attrs["cells"], result.attrs["most_bands"]
    for name in result["detector"].values:
        for antennas in result["antennas"].values:
            for length in result["length"].values:
                one = result.sel(detector=name, antennas=antennas, length=length)
                enough = bool((one["enough"] == 1).all())
                bands = mean(one["bands"])
                codebooks = -(-DENSITY // cells // result.attrs["num_devices"])
                rows.append([
                    str(name), f"{antennas}", f"{length}", str(bands) if enough else f"more than {most}",
                    f"{bands.value * cells * BAND_KHZ / 1e3:.3g}" if enough else "-", f"{codebooks}",
                    str(mean(one["delay_p99_s"])) if enough else "-", str(mean(one["energy_mj"])) if enough else "-",
                ])  # fmt: skip
    columns = [
        "detector",
        "antennas",
        "L",
        "bands of a cell",
        "MHz per km²",
        "codebooks of a cell",
        "p99, s",
        "mJ each",
    ]
    note = (
        f"{cells} cells per km²; bands of {BAND_KHZ} kHz, the fewest tried with which 99 % are through within 10 s; "
        f"means over {result.sizes['replica']} searches with 95 % intervals. MHz per km²: bands times cells, no reuse. "
        "Equal received power, no interference between cells, perfect acknowledgements."
    )
    return Table("A million devices per km², 32 bytes every 2 hours", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw the fewest bands over the antennas, one panel for each pilot length."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, result.sizes["length"], squeeze=False, sharey=True)[0]
    antennas, most = result["antennas"].values, result.attrs["most_bands"]
    names = result["detector"].values
    for axis, length in zip(panels, result["length"].values, strict=True):
        for number, name in enumerate(names):
            color = "black" if name == PERFECT else COLORS[(number - 1) % len(COLORS)]
            places = np.arange(antennas.size) + 0.11 * (number - (len(names) - 1) / 2)
            for place, count in zip(places, antennas, strict=True):
                one = result.sel(detector=name, antennas=count, length=length)
                label = str(name) if count == antennas[0] else None
                marker = MARKERS[number % len(MARKERS)]
                if not bool((one["enough"] == 1).all()):
                    axis.plot(
                        place, 1.35 * most, color=color, marker=marker, markersize=7, fillstyle="none", label=label
                    )
                    continue
                m = mean(one["bands"])
                error = [[min(m.value - m.low, 0.7 * m.value)], [min(m.high, 1.1 * most) - m.value]]
                axis.errorbar(place, m.value, yerr=error, color=color, marker=marker, markersize=7, capsize=3,
                              linestyle="none", label=label)  # fmt: skip
        axis.axhline(1.15 * most, color="0.5", linestyle=":", linewidth=1)
        axis.annotate(f"more than {most}", (1, 1.17 * most), xycoords=("axes fraction", "data"), ha="right",
                      va="bottom", xytext=(-4, 12), textcoords="offset points", fontsize=8, color="0.35")  # fmt: skip
        axis.set(xlabel="antennas of a cell", title=f"pilots of {length} symbols", yscale="log", ylim=(1.5, 1.9 * most))
        axis.set_xticks(np.arange(antennas.size), [str(a) for a in antennas])
        ticks = [t for t in (2, 3, 4, 6, 8, 11, 16, 32) if t <= most]
        axis.set_yticks(ticks, [str(t) for t in ticks])
        axis.set_yticks([], minor=True)
        axis.set_xlim(-0.6, antennas.size - 0.4)
        axis.grid(visible=True, axis="y", color="0.9")
        axis.set_axisbelow(True)
    panels[0].set_ylabel(f"fewest bands of {BAND_KHZ} kHz in each of {result.attrs['cells']} cells per km²")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=6, frameon=False)
    return {"million_devices": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return what each detector needs, with intervals."""
    return {
        f"{name}, M={antennas}, L={length}": {
            figure: mean(result[figure].sel(detector=name, antennas=antennas, length=length))._asdict()
            for figure in ("enough", "bands", "within", "delay_p99_s", "energy_mj")
        }
        for name in result["detector"].values
        for antennas in result["antennas"].values
        for length in result["length"].values
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
