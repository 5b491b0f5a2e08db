"""How do the detectors fare on 3GPP channels, and what is it worth to know how the antennas correlate?

wirelesslab run ser_over_channels          (about 4 minutes on one core; --quick: 20 seconds)

Expect: at one subcarrier a TDL without line of sight is Rayleigh fading, and every detector errs as there. What
costs is correlation: antennas that see few directions (CDL, Kronecker 0.9, scatterers around one direction) are
few looks at the same air. Devices dropped over a sector (UMi, UMa, RMa) have each a direction of their own: on
average their antennas are hardly correlated, so that there is no R to know, but each device's are: who errs seldom
on Rayleigh fading (re-tuned AMP, the covariance method, the network) errs 2 to 6 times as often on UMi and 4 to 15
times on RMa, as the genie does. Knowing R is compared with the same second read-out that supposes
R = I, which alone already halves the errors of AMP in overload: there knowledge is worth a factor of 2 to AMP with the
block prior, up to 3.4 to re-tuned AMP and 1.9 to the network (Kronecker 0.9, CDL-A), in the light cell hardly anything.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from wirelesslab import check
from wirelesslab.mmtc import CDL, TDL, Kronecker, LocalScattering, Rayleigh, Rician, RMa, Scenario, UMa, UMi, simulate
from wirelesslab.mmtc.channels import Fading
from wirelesslab.mmtc.detectors import AMP, LMMSE, Covariance, Detector, Genie, MAMPNet
from wirelesslab.mmtc.limits import why_no_limits
from wirelesslab.mmtc.paired import paired_ratio
from wirelesslab.mmtc.report import Ratio
from wirelesslab.mmtc.whitening import GenieKnowing, Whitened, effective_antennas
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.rng import stream
from wirelesslab.session import Session, Table
from wirelesslab.stats import Clusters, Count

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS: Mapping[str, Scenario] = {
    "overloaded": Scenario(num_devices=100, bits_per_device=1, pilot_length=20, num_antennas=8, snr_db=0.0),
    "light": Scenario(
        num_devices=100, bits_per_device=2, pilot_length=40, num_antennas=4, activity_prob=0.08, snr_db=-2.0
    ),
}
CHANNELS: Mapping[str, Fading] = {
    "rayleigh": Rayleigh(),
    "tdl-a": TDL(model="A"),
    "rician": Rician(k_factor_db=6.0),
    "umi": UMi(),
    "uma": UMa(),
    "rma": RMa(),
    "scatterers": LocalScattering(),
    "kronecker-0.5": Kronecker(correlation_coefficient=0.5),
    "cdl-a": CDL(model="A"),
    "one-direction": LocalScattering(azimuth_deg=20.0),
    "kronecker-0.9": Kronecker(correlation_coefficient=0.9),
}
KNOWING = ", R known"
SUPPOSING = ", R = I"  # the same second read-out, told that antennas do not correlate: what knowledge is compared with


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which air, and how long.

    Attributes:
        channels: Names of channels, of `CHANNELS`.
        draws: Sets of pilots; the first ones are the same for every channel.
        frames: Frames with each.
    """

    channels: tuple[str, ...] = tuple(CHANNELS)
    draws: int = 16
    frames: int = 16


QUICK: Mapping[str, Any] = {"channels": ("rayleigh", "tdl-a", "kronecker-0.9"), "draws": 3, "frames": 12}


def detectors() -> tuple[Detector, ...]:
    """Return the detectors that do not know the correlation; all but the last are also told it."""
    return (AMP(), AMP(retuned=True), Covariance(), MAMPNet.pretrained(quiet=True), LMMSE())


def names() -> list[str]:
    """Return what competes: the detectors, those that know R, and the genies."""
    plain = [d.name for d in detectors()]
    return [
        *plain,
        *(name + told for told in (KNOWING, SUPPOSING) for name in plain[:-1]),
        Genie.name,
        GenieKnowing.name,
    ]


@dataclass(frozen=True)
class Case:
    """One point.

    Attributes:
        scenario: The cell and its air.
        frames: Frames with each set of pilots.
        network: Digest of the network that is judged.
    """

    scenario: Scenario
    frames: int
    network: str


def count(case: Case, seed: int) -> dict[str, Any]:
    """Count errors with one set of pilots; activity, labels and noise are the same for every channel of a cell."""
    observation, truth = simulate(case.scenario, stream(seed, "air"), num_frames=case.frames)
    plain, fading = detectors(), case.scenario.fading
    knowing = tuple(Whitened(detector, law) for law in (fading, Rayleigh()) for detector in plain[:-1])
    errors = []
    for detector in (*plain, *knowing, Genie(truth), GenieKnowing(truth, fading)):
        wrong = detector.detect(observation).labels != truth.symbols
        errors.append(int(wrong.sum()))
    spoken = float((truth.symbols > 0).sum())
    return {"errors": errors, "labels": float(truth.symbols.size), "spoken": spoken}


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Count errors on every channel with every set of pilots."""
    session = session or Session()
    check.positive_integer(draws=config.draws, frames=config.frames)
    for name in config.channels:
        check.one_of(CHANNELS, channels=name)
    network = MAMPNet.pretrained(quiet=True).network.digest
    cases = {
        f"{cell} | {channel}": Case(replace(s, fading=CHANNELS[channel]), config.frames, network)
        for cell, s in CELLS.items()
        for channel in config.channels
    }
    counted = session.replicate(count, cases, config.draws)
    result = counted.assign(errors=counted["errors"].rename(errors_at="detector"))
    scenarios = [case.scenario for case in cases.values()]
    antennas = [effective_antennas(s.fading.correlation(s.num_antennas)) for s in scenarios]
    return result.assign_coords(detector=names()).assign(
        effective_antennas=("experiment", antennas),
        genie_is_limit=("experiment", [int(not why_no_limits(s)) for s in scenarios]),
        knowing_genie_is_limit=("experiment", [int(gaussian(s.fading)) for s in scenarios]),
    )


def gaussian(fading: Fading) -> bool:
    """Return whether h ~ CN(0, R) with one R for all: there the genie that knows R is a limit."""
    return isinstance(fading, Rayleigh | Kronecker) or (
        isinstance(fading, LocalScattering) and fading.azimuth_deg is not None
    )


def rate(result: "xr.Dataset", point: str, detector: str) -> tuple[float, float, float]:
    """Return symbol error rate and 95 % interval by set of pilots, whose scatter has that of frames in it."""
    at = result.sel(experiment=point)
    errors, labels = (v.values.astype(np.int64) for v in (at["errors"].sel(detector=detector), at["labels"]))
    wrong, among = int(errors.sum()), int(labels.sum())
    draws = Clusters(errors.size, int(errors @ errors), int(labels @ labels), int(errors @ labels))
    # How many frames there were says what a lost one costs; a set of pilots is no frame of 1,600 devices.
    frames = Clusters(among // CELLS[point.partition(" | ")[0]].num_devices)
    interval = Count(wrong, among, frames, draws).interval()
    return wrong / among, interval.low, interval.high


def worth(result: "xr.Dataset", point: str, detector: str) -> Ratio:
    """Return the errors of a read-out that supposes R = I over those of one that knows R, on the same frames."""
    at = result["errors"].sel(experiment=point)
    return paired_ratio(at.sel(detector=detector + SUPPOSING).values, at.sel(detector=detector + KNOWING).values)


def read_out(result: "xr.Dataset", point: str, detector: str) -> Ratio:
    """Return the errors without over those with a second read-out that supposes R = I, on the same frames."""
    at = result["errors"].sel(experiment=point)
    return paired_ratio(at.sel(detector=detector).values, at.sel(detector=detector + SUPPOSING).values)


def _told(result: "xr.Dataset") -> list[str]:
    return [n.removesuffix(KNOWING) for n in map(str, result["detector"].values) if n.endswith(KNOWING)]


def table(result: "xr.Dataset") -> Table:
    """Return rates and what knowledge of R is worth: a row per channel, a column per detector."""
    told, rows = _told(result), []
    others = [n for n in map(str, result["detector"].values) if n not in told and not n.endswith((KNOWING, SUPPOSING))]
    for point in map(str, result["experiment"].values):
        cell, channel = point.split(" | ")
        at = result.sel(experiment=point)
        texts = []
        for name in told:
            ratio = worth(result, point, name)
            texts.append(f"{_rate(result, point, name)} x{ratio.value:.2f} ({ratio.low:.2f}-{ratio.high:.2f})")
        for name in others:
            limit = {Genie.name: "genie_is_limit", GenieKnowing.name: "knowing_genie_is_limit"}.get(name)
            texts.append(_rate(result, point, name) + ("*" if limit and not bool(at[limit]) else ""))
        silent = float(at["spoken"].sum() / at["labels"].sum())
        rows.append([cell, channel, f"{float(at['effective_antennas']):.2f}", *texts, f"{silent:.3f}"])
    note = (
        "symbol error rate (95 % interval, clustered by set of pilots); x: errors of a second read-out\n"
        "that supposes R = I over errors of one that knows R, on the same frames (above 1: knowledge helps), with\n"
        "95 % jackknife interval over sets of pilots; what a read-out alone is worth is in the summary;\n"
        "*: this genie is no limit on that channel; eff. M: antennas of equal power that average an energy as well"
    )
    return Table(
        "Detectors on channels, and what knowing the antennas' correlation is worth",
        ["cell", "channel", "eff. M", *told, *others, "all silent"], rows, note,
    )  # fmt: skip


def _rate(result: "xr.Dataset", point: str, name: str) -> str:
    value, low, high = rate(result, point, name)
    return f"{value:.1e} ({low:.0e}-{high:.0e})" if value else f"<{high:.0e}"


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw rates on every channel, and below what knowing R is worth; a column per cell."""
    from matplotlib.figure import Figure

    points = [str(p) for p in result["experiment"].values]
    cells = list(dict.fromkeys(p.split(" | ")[0] for p in points))
    figure = Figure(figsize=(6.6 * len(cells), 8.2), layout="constrained")
    axes = figure.subplots(2, len(cells), sharey="row", squeeze=False, height_ratios=(1.8, 1))
    for column, cell in enumerate(cells):
        here = [p for p in points if p.startswith(cell + " | ")]
        _draw_rates(axes[0, column], result, here)
        _draw_worth(axes[1, column], result, here)
        s = CELLS[cell]
        numbers = f"N={s.num_devices}, Q={s.pilots_per_device}, L={s.pilot_length}, M={s.num_antennas}"
        axes[0, column].set_title(f"{cell}: {numbers}, ε={s.activity_prob:g}, {s.snr_db:g} dB", fontsize=10)
        effective = result["effective_antennas"].sel(experiment=here).values
        labels = [f"{p.split(' | ')[1]}\n{m:.1f}" for p, m in zip(here, effective, strict=True)]
        for axis in axes[:, column]:
            axis.set_xticks(range(len(here)), labels, rotation=35, fontsize=8)
            axis.grid(True, axis="y", color="0.9")
        axes[1, column].set_xlabel("channel, and how many antennas its correlation leaves (eff. M)")
    shown = [name for name in map(str, result["detector"].values) if not name.endswith(SUPPOSING)]
    seen = [value for p in points for name in shown if (value := rate(result, p, name)[0])]
    axes[0, 0].set(yscale="log", ylabel="symbol error rate", ylim=(min(seen, default=1e-3) / 4, 0.6))
    axes[1, 0].set(yscale="log", ylabel="errors supposing R = I /\nknowing R", ylim=(0.1, 10))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    figure.suptitle(
        "Detectors on channels, 95 % intervals; hollow: knows R and reads its decisions out once more, which helps even"
        " where R = I\nblack: genies, faint where they are no limit; grey: nobody is ever heard; below: what knowing R"
        " alone is worth, both sides reading out once more",
        fontsize=10,
    )
    return {"channels": figure}


def _draw_rates(axis: "Axes", result: "xr.Dataset", points: Sequence[str]) -> None:
    told, place = _told(result), np.arange(len(points))
    silent = [float(result[n].sel(experiment=points[0]).sum()) for n in ("spoken", "labels")]
    axis.axhline(silent[0] / silent[1], color="0.5", linestyle="-.", linewidth=1, label="all silent")
    for name in map(str, result["detector"].values):
        if name.endswith(SUPPOSING):
            continue
        plain = name.removesuffix(KNOWING)
        genie = name in {Genie.name, GenieKnowing.name}
        order = told.index(plain) if plain in told else len(told)
        shift = 0.13 * (order - 2) + (0.05 if name != plain else 0.0)
        color = "black" if genie else COLORS[order]
        marker = {"genie": "x", GenieKnowing.name: "+"}.get(name, MARKERS[order])
        limits = result["genie_is_limit" if name == Genie.name else "knowing_genie_is_limit"]
        for at, point in enumerate(points):
            value, low, high = rate(result, point, name)
            faint = genie and not bool(limits.sel(experiment=point))
            axis.errorbar(
                place[at] + (0.35 if genie else shift), value if value else high,
                yerr=[[value - low if value else 0], [high - value if value else 0]],
                color=color, marker=marker if value else "v", markersize=5, elinewidth=0.8, linestyle="none",
                markerfacecolor="none" if name != plain else color, alpha=0.3 if faint else 1.0,
                label=name if at == len(points) - 1 else None,
            )  # fmt: skip


def _draw_worth(axis: "Axes", result: "xr.Dataset", points: Sequence[str]) -> None:
    axis.axhline(1.0, color="0.4", linewidth=1)
    for number, name in enumerate(_told(result)):
        ratios = [worth(result, point, name) for point in points]
        value, low, high = (np.array([getattr(r, end) for r in ratios]) for end in ("value", "low", "high"))
        places: NDArray[np.float64] = np.arange(len(points)) + 0.13 * (number - 1.5)
        axis.errorbar(
            places, value, yerr=np.abs([value - low, high - value]), color=COLORS[number], marker=MARKERS[number],
            markersize=5, elinewidth=0.8, linestyle="none",
        )  # fmt: skip


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every rate with its interval and counts, and every worth of knowing R."""
    found: dict[str, Any] = {}
    for point in map(str, result["experiment"].values):
        at = result.sel(experiment=point)
        for name in map(str, result["detector"].values):
            value, low, high = rate(result, point, name)
            counts = {"errors": int(at["errors"].sel(detector=name).sum()), "attempts": int(at["labels"].sum())}
            found[f"ser | {name} | {point}"] = {"value": value, "low": low, "high": high, **counts}
        for name in _told(result):
            found[f"worth of knowing R | {name} | {point}"] = worth(result, point, name).describe()
            found[f"worth of a second read-out | {name} | {point}"] = read_out(result, point, name).describe()
        found[f"effective antennas | {point}"] = float(at["effective_antennas"])
    return found


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
