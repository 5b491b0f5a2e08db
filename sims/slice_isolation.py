"""What does a flood of one slice do to the others? An eMBB slice at 1 to 10 times its load, a URLLC slice beside it.

wirelesslab run slice_isolation            (about 2.5 minutes on two cores; --quick: 30 seconds)

Expect: with a dedicated share URLLC's delays are the same to the last bit, and long: it may not use what eMBB leaves.
A guaranteed minimum is fast while eMBB is calm and stays below its bound in the flood. First come, first served,
URLLC waits as Pollaczek and Khinchine say, and beyond load 1 its delay grows as long as the flood lasts. Weights and
priority protect it: a packet in service is not interrupted, that is all that priority costs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wirelesslab.network.isolation import CELL_SHARINGS, LINK_SHARINGS, CellFlood, LinkFlood, run_flood
from wirelesslab.network.theory_runs import estimate
from wirelesslab.plot import COLORS, MARKERS
from wirelesslab.replicas import difference, mean
from wirelesslab.session import Session, Table
from wirelesslab.stats import student_quantile

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TOLERANCE = 0.02
LOOKS = {name: (COLORS[i], MARKERS[i]) for i, name in enumerate((*LINK_SHARINGS, "weighted"))}
PANELS = (("link", "transport link"), ("cell", "radio cell"))
FIGURES = (("mean", "mean delay"), ("late", "99 % quantile of delay"))


@dataclass(frozen=True, kw_only=True)
class Config:
    """The slices, and how long they are watched.

    Attributes:
        floods: How many times its normal load eMBB sends; the first is the calm that the others are compared with.
        embb_load: Its normal load, as a share of the link or cell.
        urllc_load: URLLC's load.
        urllc_share: Share of link or cell that is URLLC's where it is dedicated or guaranteed.
        embb_bytes: Size of eMBB's packets.
        urllc_link_bytes: Mean size of URLLC's packets on the link; sizes are exponential.
        urllc_cell_bytes: Mean size of URLLC's packets in the cell.
        rate_bps: Rate of link and cell.
        slot_s: Slot of the cell.
        link_s: Simulated time of each run on the link.
        cell_s: Simulated time of each run in the cell.
        replicas: Paired runs of each point.
    """

    floods: tuple[float, ...] = (1.0, 2.0, 4.0, 6.0, 10.0)
    embb_load: float = 0.12
    urllc_load: float = 0.06
    urllc_share: float = 0.2
    embb_bytes: int = 3000
    urllc_link_bytes: int = 1250
    urllc_cell_bytes: int = 2500
    rate_bps: float = 20e6
    slot_s: float = 0.25e-3
    link_s: float = 20.0
    cell_s: float = 60.0
    replicas: int = 20


QUICK: Mapping[str, Any] = {"floods": (1.0, 4.0, 10.0), "link_s": 3.0, "cell_s": 10.0, "replicas": 6}


def points(config: Config) -> dict[tuple[str, str, float], LinkFlood | CellFlood]:
    """Return every run's config by place, sharing and flood."""
    both: dict[str, Any] = {
        "x_load": config.embb_load, "y_load": config.urllc_load, "y_share": config.urllc_share,
        "x_bytes": config.embb_bytes, "rate_bps": config.rate_bps,
    }  # fmt: skip
    link = both | {"y_bytes": config.urllc_link_bytes, "time_s": config.link_s}
    cell = both | {"y_bytes": config.urllc_cell_bytes, "time_s": config.cell_s, "slot_s": config.slot_s}
    every: dict[tuple[str, str, float], LinkFlood | CellFlood] = {}
    for flood in config.floods:
        for on_link in LINK_SHARINGS:
            every["link", on_link, flood] = LinkFlood(flood=flood, sharing=on_link, **link)
        for in_cell in CELL_SHARINGS:
            every["cell", in_cell, flood] = CellFlood(flood=flood, sharing=in_cell, **cell)
    return every


def main(config: Config, session: Session | None = None) -> xr.Dataset:
    """Run every flood under every way of sharing, with the same seeds."""
    session = session or Session()
    every = points(config)
    names = {key: f"{key[0]}: {key[1]}, {key[2]:g} times" for key in every}
    runs = session.replicate(run_flood, {names[key]: point for key, point in every.items()}, config.replicas)
    ways = list(dict.fromkeys((place, sharing) for place, sharing, _ in every))
    shape = (len(ways), len(config.floods))
    data = {
        f"{which}_{what}_s": np.full(shape, np.nan)
        for which in ("mean", "late")
        for what in ("delay", "low", "high", "error", "predicted")
    }
    samples = {which: np.full((*shape, config.replicas), np.nan) for which in ("mean", "late")}
    kinds = np.full(shape, "", dtype="<U8")
    for (place, sharing, flood), point in every.items():
        at = ways.index((place, sharing)), config.floods.index(flood)
        run = runs.sel(experiment=names[place, sharing, flood])
        predicted = point.predicted()
        kinds[at] = predicted.kind
        for which, theory in (("mean", predicted.mean_s), ("late", predicted.late_s)):
            samples[which][at] = run[f"{which}_s"]
            # What eMBB happened to send says nothing of a slice that it cannot touch.
            controls = run["controls"][:, 1:] if sharing == "dedicated" else run["controls"]
            found = estimate(run[f"{which}_s"], controls)
            half = student_quantile(0.975, found.degrees) * found.standard_error
            row = (found.value, found.value - half, found.value + half, found.standard_error, theory)
            for what, value in zip(("delay", "low", "high", "error", "predicted"), row, strict=True):
                data[f"{which}_{what}_s"][at] = value
    result = xr.Dataset(
        {name: (("way", "flood"), values) for name, values in data.items()},
        {"way": [f"{place}: {sharing}" for place, sharing in ways], "flood": list(config.floods)},
        runs.attrs | {"load_before_flood": config.embb_load, "own_load": config.urllc_load},
    )
    result["kind"] = (("way", "flood"), kinds)
    for which, values in samples.items():
        result[f"{which}_samples_s"] = (("way", "flood", "replica"), values)
    return result


def verdict(at: xr.Dataset, which: str = "mean") -> str:
    """Return "yes" when a point is where theory says, "NO", or "too short" when 2 % cannot be told yet."""
    measured, error, theory = (float(at[f"{which}_{what}_s"]) for what in ("delay", "error", "predicted"))
    away = abs(measured - theory)
    if str(at["kind"].values) == "at most":
        return "yes" if measured - 3 * error <= theory else "NO"
    near = away <= TOLERANCE * theory
    if str(at["kind"].values) == "fluid":
        return "yes" if near else "too short" if away <= 3 * error else "NO"
    if away > 3 * error:
        return "NO"
    return "yes" if near or which == "late" else "too short"


def identical(result: xr.Dataset, way: str) -> bool:
    """Return whether no flood changed anything in any replica, to the last bit."""
    return all(
        bool((result[f"{which}_samples_s"].sel(way=way) == result[f"{which}_samples_s"].sel(way=way)[0]).all())
        for which in ("mean", "late")
    )


def _ms(value: float, low: float, high: float) -> str:
    return f"{1e3 * value:.4g} ({1e3 * low:.4g} to {1e3 * high:.4g})"


def _theory_ms(at: xr.Dataset) -> str:
    sign = {"exact": "", "at most": "<= ", "fluid": "~ "}[str(at["kind"].values)]
    return f"{sign}{1e3 * float(at['mean_predicted_s']):.4g}"


def _change_ms(result: xr.Dataset, way: str) -> str:
    if identical(result, way):
        return "0, bit-identical"
    samples = result["mean_samples_s"].sel(way=way)
    return _ms(*difference(samples[-1], samples[0])[:3])


def table(result: xr.Dataset) -> Table:
    """Return URLLC's delays before and in the flood, and what theory says."""
    rows = []
    for way in result["way"].values:
        mine = result.sel(way=way)
        calm, worst = mine.isel(flood=0), mine.isel(flood=-1)
        shown = []
        for at in (calm, worst):
            shown += [_ms(*(float(at[f"mean_{what}_s"]) for what in ("delay", "low", "high"))), _theory_ms(at)]
        late = [f"{1e3 * float(at['late_delay_s']):.3g}" for at in (calm, worst)]
        verdicts = {verdict(mine.isel(flood=place)) for place in range(result.sizes["flood"])}
        worst_verdict = next(word for word in ("NO", "too short", "yes") if word in verdicts)
        place, sharing = str(way).split(": ")
        rows.append([place, sharing, *shown, _change_ms(result, str(way)), *late, worst_verdict])
    first, last = (f"{float(result['flood'][place]):g}x" for place in (0, -1))
    return Table(
        "URLLC's delay (ms) while eMBB floods",
        ["on", "sharing", f"mean at {first}", "theory", f"mean at {last}", "theory", "paired change",
         f"99 % at {first}", f"99 % at {last}", "as predicted"],
        rows,
        note=f"95 % intervals of {result.sizes['replica']} paired replicas. '<=': an upper bound; '~': beyond load 1 "
        "the delay grows with the run, as a fluid's.\n'as predicted', at every flood: within 3 s.e. and 2 % of exact "
        "theory, not significantly above a bound, within 2 % of the fluid.\n"
        "'too short': within 3 s.e., but beyond 2 %; ask for more --replicas.",
    )  # fmt: skip


def draw(result: xr.Dataset) -> "Mapping[str, Figure]":
    """Draw mean and 99 % delay over the flood, on the link and in the cell, with what theory says."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(10.5, 8.2), layout="constrained")
    axes = figure.subplots(2, 2, sharex=True, sharey="col")
    for row, (which, label) in zip(axes, FIGURES, strict=True):
        for axis, (place, title) in zip(row, PANELS, strict=True):
            _draw_panel(axis, result, place, which)
            axis.set_title(f"{title}: {label}", fontsize=11)
            low, high = axis.get_ylim()
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
            axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axis.yaxis.set_minor_formatter(NullFormatter())
            if which == "late":
                axis.set_xlabel("eMBB's load, times its normal load")
        row[0].set_ylabel(f"URLLC's {label} (ms)")
    shown = dict.fromkeys(str(way).split(": ")[1] for way in result["way"].values)
    handles = [
        Line2D([], [], color=LOOKS[name][0], marker=LOOKS[name][1], linestyle="none", markersize=6, label=name)
        for name in shown
    ]
    handles += [
        Line2D([], [], color="0.25", linestyle="-", label="theory"),
        Line2D([], [], color="0.25", linestyle=":", label="theory: upper bound"),
        Line2D([], [], color="0.25", linestyle="-.", label="overload: fluid's growth"),
        Line2D(
            [],
            [],
            color="0.25",
            marker="|",
            markersize=11,
            linestyle="none",
            label="95 % interval (short: inside the marker)",
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False, fontsize=9)
    figure.suptitle("What a flood of eMBB does to URLLC", fontsize=12)
    return {"isolation": figure}


def _draw_panel(axis: "Axes", result: xr.Dataset, place: str, which: str) -> None:
    ways = [str(way) for way in result["way"].values if str(way).startswith(f"{place}: ")]
    floods = result["flood"].values
    for number, way in enumerate(ways):
        color, marker = LOOKS[way.split(": ")[1]]
        mine = result.sel(way=way)
        delay, low, high = (1e3 * mine[f"{which}_{what}_s"].values for what in ("delay", "low", "high"))
        at = floods * (1 + 0.012 * (number - (len(ways) - 1) / 2))  # side by side where they coincide
        bars = np.maximum([delay - low, high - delay], 0)
        axis.errorbar(at, delay, yerr=bars, fmt=marker, color=color, markersize=5, linewidth=1.2, capsize=2.5, zorder=3)
        theory, kinds = 1e3 * mine[f"{which}_predicted_s"].values, mine["kind"].values
        for kind, style in (("exact", "-"), ("at most", ":"), ("fluid", "-.")):
            chosen = kinds == kind
            if chosen.sum() == 1:
                axis.plot(at[chosen] * np.array([0.93, 1.07]), np.repeat(theory[chosen], 2), style, color=color)
            else:
                axis.plot(at[chosen], theory[chosen], style, color=color, linewidth=1.2)
    edge = (1 - result.attrs["own_load"]) / result.attrs["load_before_flood"]
    if floods[0] < edge < floods[-1]:
        axis.axvspan(edge, floods[-1] * 1.1, color="0.93", zorder=0)
        axis.text(edge * 1.02, 0.02, "load > 1", transform=axis.get_xaxis_transform(), fontsize=8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(floods[0] / 1.1, floods[-1] * 1.1)
    axis.set_xticks(floods, [f"{flood:g}" for flood in floods])
    axis.minorticks_off()
    axis.grid(visible=True, color="0.88", linewidth=0.6)
    axis.set_axisbelow(True)


def summary(result: xr.Dataset) -> Mapping[str, Any]:
    """Return every point, who was left alone to the last bit, and who is not where theory says."""
    rows: dict[str, Any] = {}
    wrong: dict[str, list[str]] = {"exact": [], "at most": [], "fluid": []}
    for way in result["way"].values:
        for flood in result["flood"].values:
            at = result.sel(way=way, flood=flood)
            name, kind = f"{way}, {flood:g} times", str(at["kind"].values)
            rows[name] = {
                str(key): float(value) for key, value in at.data_vars.items() if value.ndim == 0 and key != "kind"
            } | {"theory is": kind}
            if verdict(at) != "yes":
                wrong[kind].append(name)
            if np.isfinite(float(at["late_predicted_s"])) and verdict(at, "late") != "yes":
                wrong[kind].append(f"{name} (99 %)")
    changes = {
        str(way): mean(result["mean_samples_s"].sel(way=way)[-1] - result["mean_samples_s"].sel(way=way)[0])._asdict()
        for way in result["way"].values
    }
    return {
        "dedicated URLLC is bit-identical under every flood": {
            str(way): identical(result, str(way)) for way in result["way"].values if "dedicated" in str(way)
        },
        "not within 3 s.e. and 2 % of exact theory": wrong["exact"],
        "significantly above a bound": wrong["at most"],
        "not within 2 % of the fluid": wrong["fluid"],
        "paired change of the mean (s)": changes,
        "points": rows,
    }


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
