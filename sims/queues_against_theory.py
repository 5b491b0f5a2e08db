"""Does the simulator know queueing theory? Closed forms of queues, sharing, blocking and fairness, measured.

wirelesslab run queues_against_theory      (about 2 minutes on two cores; --quick: 30 seconds)

Expect: every row within three standard errors and 2 % of theory. Rows without randomness (water-filling, fair
rates) must be right to rounding. Bars are long where queues are slow to forget: high load, waiting for ten servers.
With some twenty random rows, about one seed in ten shows a row beyond three standard errors by chance.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wirelesslab import check
from wirelesslab.network import theory_runs as queues
from wirelesslab.network import theory_runs_radio as radio
from wirelesslab.plot import COLORS
from wirelesslab.session import Session, Table
from wirelesslab.stats import student_quantile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TOLERANCE = 0.02
ROUNDING = 1e-9  # relative; what rows without randomness must meet


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where theory is put to the test; service takes 1 s on average.

    Attributes:
        loads: Of M/M/1 and M/D/1.
        general_load: Of M/G/1 with hyperexponential sizes.
        general_scv: Their variance over squared mean.
        servers: Of M/M/c and Erlang's loss system.
        erlangs: Load of those.
        sharing_load: Of a cell that files share as a fluid.
        fair_users: Users of the proportional-fair cell.
        fair_window_slots: Of its averaging; theory is the limit of long ones (2,000 slots lack 0.2 %).
        jackson_rate: Arrivals per second at the Jackson network's gateway.
        preambles: Of the random access.
        contenders: Mean number of devices in one slot of it.
        aloha_load: Packets per slot offered to slotted ALOHA.
        line_links: Links of the line on which flows share.
        effort: Factor of how much is simulated.
        replicas: Independent runs of each case; they give the standard errors.
    """

    loads: tuple[float, ...] = (0.5, 0.8)
    general_load: float = 0.5
    general_scv: float = 4.0
    servers: int = 10
    erlangs: float = 7.0
    sharing_load: float = 0.6
    fair_users: int = 16
    fair_window_slots: int = 20_000
    jackson_rate: float = 0.4
    preambles: int = 54
    contenders: float = 31.1
    aloha_load: float = 1.0
    line_links: int = 2
    effort: float = 1.0
    replicas: int = 30


QUICK: Mapping[str, Any] = {"effort": 0.05, "replicas": 8}


def cases(config: Config) -> dict[str, queues.Case]:
    """Return the cases by name; what is slow to forget is simulated longer."""
    check.positive(effort=config.effort)

    def few(number: float) -> int:
        return max(200, round(config.effort * number))

    every: dict[str, queues.Case] = {}
    for load in config.loads:
        longer = (1 - load) ** -1.4
        every[f"M/M/1 {load}"] = queues.SingleServer(load=load, num_flows=few(5_500 * longer))
    for load in config.loads:
        longer = (1 - load) ** -1.4
        every[f"M/D/1 {load}"] = queues.SingleServer(load=load, law="fixed", num_flows=few(3_500 * longer))
    every["M/G/1"] = queues.SingleServer(
        load=config.general_load, law="hyperexponential", scv=config.general_scv, num_flows=few(60_000)
    )
    count, erlangs = config.servers, config.erlangs
    line = radio.LineOfLinks(num_links=config.line_links)
    exactly = radio.Preambles(
        num_preambles=config.preambles, mean_contenders=config.contenders, poisson=False, num_slots=few(400)
    )
    every |= {
        "M/M/c": queues.ManyServers(servers=count, load=erlangs, num_jobs=few(80_000)),
        "M/M/c/c": queues.ManyServers(servers=count, load=erlangs, waiting=False, num_jobs=few(60_000)),
        "M/D/c/c": queues.ManyServers(servers=count, load=erlangs, waiting=False, fixed=True, num_jobs=few(20_000)),
        "Jackson": queues.JacksonNetwork(arrival_rate=config.jackson_rate, num_jobs=few(10_000)),
        "sharing": radio.SharedCell(load=config.sharing_load, num_files=few(80_000)),
        "Kaufman-Roberts": radio.LossOfTwoClasses(num_calls=few(400_000)),
        "proportional fair": radio.MultiuserGain(
            num_users=config.fair_users, window_slots=config.fair_window_slots, num_slots=few(40_000)
        ),
        "burst": radio.BurstPeak(num_bursts=max(1, round(5 * config.effort))),
        "preambles": exactly,
        "Poisson preambles": radio.Preambles(
            num_preambles=config.preambles, mean_contenders=config.contenders, num_slots=few(400)
        ),
        "ALOHA": radio.Preambles(num_preambles=1, mean_contenders=config.aloha_load, num_slots=few(5_000)),
        "water-filling": radio.Water(),
        "line": line,
    }
    return every


def main(config: Config, session: Session | None = None) -> xr.Dataset:
    """Run every case under every seed and hold the means against theory."""
    session = session or Session()
    every = cases(config)
    runs = session.replicate(queues.run_case, every, config.replicas)
    rows = [(name, place) for name, case in every.items() for place in range(len(case.expected))]
    samples = np.array([runs["measured"].sel(experiment=name)[:, place] for name, place in rows])
    estimates = [
        queues.estimate(sample, runs["controls"].sel(experiment=name))
        for sample, (name, _) in zip(samples, rows, strict=True)
    ]
    theory = np.array([value for case in every.values() for value in case.expected.values()])
    measured = np.array([e.value for e in estimates])
    error = np.array([e.standard_error for e in estimates])
    half = np.array([student_quantile(0.975, e.degrees) for e in estimates]) * error
    return xr.Dataset(
        {
            "theory": ("row", theory),
            "measured": ("row", measured),
            "measured_low": ("row", measured - half),
            "measured_high": ("row", measured + half),
            "standard_error": ("row", error),
            "relative_error": ("row", measured / theory - 1),
            "passes": ("row", passes(theory, measured, error)),
            "samples": (("row", "replica"), samples),
        },
        {"row": [name for case in every.values() for name in case.expected]},
        runs.attrs,
    )


def passes(theory: np.ndarray, measured: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return which rows are within three standard errors and 2 %."""
    away = np.abs(measured - theory)
    return np.asarray((away <= np.maximum(3 * error, ROUNDING * theory)) & (away <= TOLERANCE * theory))


def verdict(at: xr.Dataset) -> str:
    """Return a row's verdict; a row that agrees with theory but is not known to 2 % needs more effort."""
    if bool(at["passes"]):
        return "pass"
    away = abs(float(at["measured"] - at["theory"]))
    return "too short" if away <= 3 * float(at["standard_error"]) else "FAIL"


def table(result: xr.Dataset) -> Table:
    """Return every row with its interval and verdict."""
    rows = []
    for name in result["row"].values:
        at = result.sel(row=name)
        away, error = float(at["measured"] - at["theory"]), float(at["standard_error"])
        exact = abs(away) <= ROUNDING * float(at["theory"]) and error <= ROUNDING * float(at["theory"])
        rows.append(
            [
                str(name), f"{float(at['theory']):.5g}", f"{float(at['measured']):.5g}",
                "exact" if exact else f"{float(at['measured_low']):.5g} to {float(at['measured_high']):.5g}",
                "0" if exact else f"{100 * float(at['relative_error']):+.2f} %",
                "0" if exact else f"{away / error:+.1f}",
                verdict(at),
            ]
        )  # fmt: skip
    return Table(
        "The simulator against queueing theory",
        ["case", "theory", "measured", "95 % interval", "error", "in s.e.", "within 3 s.e. and 2 %"],
        rows,
        note=f"{result.sizes['replica']} replicas each; times in mean services. Sampled load and arrivals serve as "
        "control variates.\n'too short': within 3 s.e., but beyond 2 %; ask for more --effort or --replicas.",
    )


def draw(result: xr.Dataset) -> "Mapping[str, Figure]":
    """Draw every row's relative error with its bar of three standard errors."""
    from matplotlib.figure import Figure

    count = result.sizes["row"]
    percent = 100 * result["relative_error"].values
    bar = 300 * (result["standard_error"] / result["theory"]).values
    verdicts = np.array([verdict(result.isel(row=place)) for place in range(count)])
    figure = Figure(figsize=(9.0, 1.9 + 0.3 * count), layout="constrained")
    axis = figure.subplots()
    axis.axvspan(-100 * TOLERANCE, 100 * TOLERANCE, color="0.92", zorder=0, label="within 2 % of theory")
    axis.axvline(0, color="0.5", linewidth=0.8, zorder=1)
    at = np.arange(count)[::-1]
    for which, color, marker, label in (
        ("pass", COLORS[0], "o", "passes (bar: 3 standard errors)"),
        ("too short", COLORS[4], "s", "too short to tell"),
        ("FAIL", COLORS[1], "X", "fails"),
    ):
        chosen = verdicts == which
        if chosen.any():
            axis.errorbar(
                percent[chosen], at[chosen], xerr=bar[chosen], fmt=marker, color=color, markersize=5, linewidth=1.3,
                capsize=2.5, label=label, zorder=3,
            )  # fmt: skip
    axis.set_yticks(at, [str(name) for name in result["row"].values], fontsize=8.5)
    axis.set_ylim(-0.8, count - 0.2)
    reach = max(1.5 * 100 * TOLERANCE, 1.08 * float(np.max(np.abs(percent) + bar)))
    axis.set_xlim(-reach, reach)
    axis.grid(visible=True, axis="x", color="0.85", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_xlabel("measured minus theory (% of theory)")
    axis.set_title(f"The simulator against queueing theory, {result.sizes['replica']} replicas per case", fontsize=11)
    figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return {"relative_error": figure}


def summary(result: xr.Dataset) -> Mapping[str, Any]:
    """Return every row's figures and who fails."""
    fields = ("theory", "measured", "measured_low", "measured_high", "relative_error")
    rows = {
        str(name): {field: float(result[field].sel(row=name)) for field in fields}
        | {"verdict": verdict(result.sel(row=name))}
        for name in result["row"].values
    }
    failed = [name for name, row in rows.items() if row["verdict"] == "FAIL"]
    short = [name for name, row in rows.items() if row["verdict"] == "too short"]
    return {"rows": rows, "number of rows": len(rows), "rows that fail": failed, "rows too short to tell": short}


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
