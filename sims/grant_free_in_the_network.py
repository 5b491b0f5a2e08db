"""Which detector serves a cell best, in messages, delay and energy, when what it misses is said again?

wirelesslab run grant_free_in_the_network       (about 6 minutes on two cores; --quick: 20 seconds)

Expect: with one speaker of a frame all are alike. Then they fall off a cliff, not down a slope, for what is missed is
said again and brings more speakers into the next frames: the matched filter before 4, OMP at 8, AMP at 12, re-tuned
AMP (30 % delivered) and MAMPNet (76 %) at 16, covariance ML (99 % at 16) before 22. There all have collapsed, and
re-tuned AMP delivers most, 10 %. Symbol errors alone tell another story: up to 12 speakers MAMPNet fails in the fewest
frames, but in a collapse its wrong symbols and false alarms spoil whole messages.
"""

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wirelesslab import check
from wirelesslab.executors import local_executor
from wirelesslab.mmtc import Scenario
from wirelesslab.mmtc.detectors import named
from wirelesslab.naming import slug
from wirelesslab.network import MIOT, Network, line
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import mean
from wirelesslab.services import Crowd, FrameOutcomes, Framing, GrantFreeAccess, OwnedPilots, TabulatedAccess, tabulate
from wirelesslab.session import Session, Table

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

PERFECT = "perfect receiver"
SLOT_S, SYMBOL_S = 2.5e-4, 1 / 168e3  # a band of 180 kHz holds 168,000 symbols per second (our choice of grid)


@dataclass(frozen=True, kw_only=True)
class Config:
    """The cells, their load, and how long they are watched.

    Attributes:
        detectors: Who listens; a perfect receiver stands beside them.
        loads: Mean speakers of a codebook's frame if nothing failed.
        replicas: Seeds of every case, the same arrivals for every detector.
        run_s: Length of a run; its first quarter is not measured.
        cells: Cells; each keeps one of the table's draws of pilots.
        codebooks: Of each cell, taking turns.
        num_devices: Devices of a codebook.
        pilot_length: L.
        num_antennas: M.
        snr_db: SNR.
        activity_prob: The ε that every detector is told, whatever the load.
        num_bytes: Size of a message; its CRC takes 3 bytes more.
        frames: Of every table, for each number of speakers and draw of pilots.
        draws: Draws of pilots in every table.
    """

    detectors: tuple[str, ...] = (
        "matched-filter", "omp-one-per-device", "amp-block", "amp-re-tuned", "covariance", "mampnet",
    )  # fmt: skip
    loads: tuple[float, ...] = (1.0, 4.0, 8.0, 12.0, 16.0, 22.0)
    replicas: int = 8
    run_s: float = 3.0
    cells: int = 4
    codebooks: int = 4
    num_devices: int = 64
    pilot_length: int = 24
    num_antennas: int = 8
    snr_db: float = 3.0
    activity_prob: float = 0.1
    num_bytes: int = 8
    frames: int = 16
    draws: int = 16

    def __post_init__(self) -> None:
        check.positive_integer(replicas=self.replicas, cells=self.cells, codebooks=self.codebooks)
        check.positive(run_s=self.run_s)
        for i, load in enumerate(self.loads):
            check.positive(**{f"loads[{i}]": load})
            check.within(0, self.num_devices / 2, **{f"loads[{i}]": load})
        named(self.detectors)

    @property
    def scenario(self) -> Scenario:
        """The devices of a codebook, and the air."""
        return Scenario(
            num_devices=self.num_devices, bits_per_device=2, pilot_length=self.pilot_length,
            num_antennas=self.num_antennas, snr_db=self.snr_db, activity_prob=self.activity_prob,
        )  # fmt: skip


QUICK: Mapping[str, Any] = {
    "detectors": ("matched-filter", "amp-block"), "loads": (1.0, 6.0, 12.0), "replicas": 2, "run_s": 0.4, "cells": 2,
    "num_devices": 24, "pilot_length": 12, "frames": 4, "draws": 2,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """One detector at one load.

    Attributes:
        setting: The cells.
        outcomes: What becomes of frames.
        load: Mean speakers of a frame if nothing failed.
    """

    setting: Config
    outcomes: FrameOutcomes
    load: float


def framing(config: Config) -> Framing:
    """Return how messages become frames: at most 10 attempts for a segment and 5 for a message (our choice)."""
    guard_s = SLOT_S - config.pilot_length * SYMBOL_S
    return Framing.of(
        config.scenario, symbol_s=SYMBOL_S, guard_s=guard_s, codebooks=config.codebooks, max_attempts=10, max_restarts=4
    )


def a_while(case: Case, seed: int) -> Mapping[str, Any]:
    """Run one network; return the figures of `main`."""
    c, rules = case.setting, framing(case.setting)
    devices = c.codebooks * c.num_devices
    frames = int(rules.segments(c.num_bytes))
    round_s = c.codebooks * rules.slot_s
    rate = case.load / (c.num_devices * frames * round_s)
    network = Network(line(num_links=c.cells, rate_bps=1e9, distance_m=1e3), (MIOT,), seed=seed, keep_records=None)
    radio = network.add(GrantFreeAccess(
        c.scenario, case.outcomes, at=tuple(f"edge-{cell + 1}" for cell in range(c.cells)), sink=f"edge-{c.cells + 1}",
        devices=devices, framing=rules, traffic=Crowd(rate_per_s=rate, num_bytes=c.num_bytes), tick_s=round_s,
    ))  # fmt: skip
    begin_s = c.run_s / 4
    network.run(begin_s)
    before, spoken = radio.access.account(), radio.access.counts()
    run = network.run(c.run_s)
    network.check()
    after, counts = radio.access.account(), radio.access.counts()
    delays = [record.delay_s for record in run.records if record.sent_s >= begin_s]
    offered = int((after.offered_packets - before.offered_packets).sum())
    delivered = int((after.delivered_packets - before.delivered_packets).sum())
    frames_spoken = int((counts["frames_spoken"] - spoken["frames_spoken"]).sum())
    bad = sum(int((counts[name] - spoken[name]).sum()) for name in ("missed", "wrong"))
    energy = rules.frame_energy_j * frames_spoken
    p50, p99 = np.quantile(delays, [0.5, 0.99]) if len(delays) >= 100 else (np.nan, np.nan)
    return {
        "delivered": delivered / offered if offered else np.nan,
        "delay_p50_s": float(p50),
        "delay_p99_s": float(p99),
        "energy_j": energy / delivered if delivered else np.nan,
        "frame_errors": bad / frames_spoken if frames_spoken else np.nan,
        "begun_anew": int((counts["restarts"] - spoken["restarts"]).sum()) / offered if offered else np.nan,
    }


def tables(config: Config, executor: Executor, seed: int) -> dict[str, TabulatedAccess]:
    """Return every detector's table of whole frames, from none to all devices speaking, on the same air."""
    return {
        d.name: tabulate(
            config.scenario, d, active=range(config.num_devices + 1), frames=config.frames, draws=config.draws,
            seed=seed, executor=executor,
        )
        for d in named(config.detectors)
    }  # fmt: skip


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Tabulate every detector, then run every load.

    Returns:
        Over `detector`, `load` and `replica`: messages `delivered` over those offered in the same time, `delay_p50_s`
        and `delay_p99_s` from the message's coming to its end in the core (NaN below 100 deliveries), `energy_j` per
        message delivered, `frame_errors` among frames spoken, `begun_anew` per message offered: whole messages that
        the checksum refused. NaN where there is nothing to divide by.
    """
    session = session or Session()
    with local_executor(tabulate, session.workers) as executor:
        outcomes: dict[str, FrameOutcomes] = {PERFECT: OwnedPilots(), **tables(config, executor, session.seed)}
    cases = {
        f"{name}, {load:g}": Case(setting=config, outcomes=one, load=load)
        for name, one in outcomes.items()
        for load in config.loads
    }
    flat = session.replicate(a_while, cases, config.replicas)
    result = flat.isel(experiment=0, drop=True).copy()
    shape = len(outcomes), len(config.loads), config.replicas
    for name in list(flat.data_vars):
        if flat[name].dims == ("experiment", "replica"):
            result[name] = (("detector", "load", "replica"), flat[name].values.reshape(shape))
    return result.assign_coords(detector=list(outcomes), load=list(config.loads))


def table(result: "xr.Dataset") -> Table:
    """Return every detector's figures at every load."""
    rows = []
    for name in result["detector"].values:
        for load in result["load"].values:
            one = result.sel(detector=name, load=load)
            rows.append([
                str(name), f"{load:g}", str(mean(100 * one["delivered"])), str(mean(1e3 * one["delay_p50_s"])),
                str(mean(1e3 * one["delay_p99_s"])), str(mean(1e3 * one["energy_j"])),
                f"{mean(100 * one['frame_errors']).value:.3g}", f"{mean(one['begun_anew']).value:.3g}",
            ])  # fmt: skip
    columns = ["detector", "load", "delivered, %", "p50, ms", "p99, ms", "mJ each", "bad frames, %", "anew"]
    note = (
        f"Means over {result.sizes['replica']} replicas with 95 % intervals, under the same arrivals. Load: mean "
        "speakers of a frame if nothing failed. Whole frames are resampled from tables made in this run; all are "
        "told the same ε. Bad frames: missed or wrong, among those spoken; anew: times that the checksum refused a "
        "message, each. Delays: of those delivered."
    )
    return Table("Messages of grant-free devices, missed ones said again", columns, rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw deliveries, delays, energy and bad frames over the load."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11.5, 8), layout="constrained")
    axes = figure.subplots(2, 2)
    panels = (
        ("delivered", 100.0, "messages delivered (% of offered)", "linear"),
        ("delay_p99_s", 1e3, "delay, 99th percentile (ms); dashed: median", "log"),
        ("energy_j", 1e3, "energy per delivered message (mJ)", "log"),
        ("frame_errors", 100.0, "frames spoken in vain: missed or wrong (%)", "symlog"),
    )
    for axis, (variable, scale, label, wanted) in zip(axes.flat, panels, strict=True):
        # A run too short for any figure has no logarithm.
        kind = wanted if (result[variable].values > 0).any() else "linear"
        for number, name in enumerate(result["detector"].values):
            one = scale * result[variable].sel(detector=name)
            figures = [mean(one.sel(load=load)) for load in result["load"].values]
            color = "black" if name == PERFECT else COLORS[(number - 1) % len(COLORS)]
            axis.plot(result["load"], [m.value for m in figures], color=color, marker=MARKERS[number % len(MARKERS)],
                      markersize=5, linewidth=1.4, label=str(name))  # fmt: skip
            low = [max(m.low, 0.3 * m.value) if kind == "log" else max(m.low, 0.0) for m in figures]
            axis.fill_between(result["load"], low, [m.high for m in figures], color=color, alpha=0.18, linewidth=0)
            if variable == "delay_p99_s":
                median = scale * result["delay_p50_s"].sel(detector=name).mean("replica")
                axis.plot(result["load"], median, color=color, linestyle="--", linewidth=0.9)
        axis.set(xlabel="load: speakers of a frame if nothing failed", ylabel=label)
        axis.set_yscale(kind, **({"linthresh": 0.1} if kind == "symlog" else {}))
        axis.set_xlim(0, 1.03 * float(result["load"].max()))
        if kind != "log":
            axis.set_ylim(0, 115 if variable == "delivered" else 100)
        axis.grid(visible=True, which="major", color="0.9")
        axis.set_axisbelow(True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=4, frameon=False)
    return {"grant_free": figure}


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every detector's figures at every load, with intervals."""
    return {
        slug(str(name)): {
            f"{figure} at load {load:g}": mean(result[figure].sel(detector=name, load=load))._asdict()
            for figure in ("delivered", "delay_p50_s", "delay_p99_s", "energy_j", "frame_errors", "begun_anew")
            for load in result["load"].values
        }
        for name in result["detector"].values
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
