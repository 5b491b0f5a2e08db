"""Is a trained DL-mAMPnet better than the best classical detector, and how far is it from the genie?

wirelesslab run mampnet_against_classical          (about 9 minutes on two cores; --quick: 1 minute)

Expect: in overloaded cells (L/(εN) < 3) the network makes several times fewer errors than row-AMP and
fewer than the covariance method, which costs many times its time; in the other cells it is near the
genie. The cells of both halves were drawn before any training (`_test_points`) and kept out of it. Every gain is
quoted against the best classical detector of each cell, with plain AMP beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from wirelesslab_sims import _test_points as points

from wirelesslab import check
from wirelesslab.mmtc import Assuming, Scenario, symbol_error_trial
from wirelesslab.mmtc.detectors import AMP, Covariance, Detector, MAMPNet
from wirelesslab.mmtc.metrics import AtPlaces, Place
from wirelesslab.mmtc.mixture import ONE_CELL
from wirelesslab.mmtc.report import Ratio, seconds_in_turns, ser_ratio, time_ratio
from wirelesslab.mmtc.uplink import Cell
from wirelesslab.session import Session, Table
from wirelesslab.study import Stop

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

GROUPS = ("overloaded", "other", "unknown gains", "larger cells", "one cell")
AMP_VARIANTS = ("AMP row", "AMP block", "AMP winner", "AMP best iterate", "AMP re-tuned")
NETWORK = {"unknown gains": "MAMPNet distribution", "one cell": "MAMPNet one cell"}


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which cells, and how well each rate must be known.

    Attributes:
        groups: Which comparisons: the overloaded and the other half of the map, cells whose gains
            the station knows by their law only, cells larger than in training, and the one cell of the
            network with parameters per device.
        cells_per_group: The first so many cells of each group; 0 takes all.
        frames_per_batch: Frames in each pilot draw.
        target_errors: Stop a detector in a cell after so many errors.
        min_batches: Draw at least so many sets of pilots.
        max_batches: Stop it after so many sets of pilots in any case: 313 are 20,000 frames.
        beyond_errors: As `target_errors`, for the groups that are not part of the map.
        beyond_batches: As `max_batches`, for these groups.
    """

    groups: tuple[str, ...] = GROUPS
    cells_per_group: int = 0
    frames_per_batch: int = 64
    target_errors: int = 300
    min_batches: int = 16
    max_batches: int = 313
    beyond_errors: int = 100
    beyond_batches: int = 50


QUICK: Mapping[str, Any] = {
    "cells_per_group": 2,
    "target_errors": 30,
    "min_batches": 2,
    "max_batches": 4,
    "beyond_batches": 4,
}


def cells(group: str) -> tuple[Scenario | Cell, ...]:
    """Return the cells of a group."""
    if group == "one cell":
        cell = ONE_CELL.fixed()
        return tuple(replace(cell, scenario=replace(cell.scenario, snr_db=snr)) for snr in (-2.0, 0.0, 2.0))
    return {
        "overloaded": tuple(map(points.scenario, points.OVERLOADED)),
        "other": tuple(map(points.scenario, points.OTHERS)),
        "unknown gains": points.unknown_gains(),
        "larger cells": tuple(map(points.scenario, points.LARGER)),
    }[group]


def detectors(group: str) -> tuple[Detector, ...]:
    """Return who competes in a group; all meet the same air."""
    classical: tuple[Detector, ...] = (
        AMP(prior="row"), AMP(), AMP(prior="winner"), AMP(best_iterate=True), AMP(retuned=True),
        Covariance(),
    )  # fmt: skip
    if group == "unknown gains":
        return (*classical, Assuming(AMP(), mean_gain=True), MAMPNet.pretrained("distribution", quiet=True))
    if group == "one cell":
        return (*classical, MAMPNet.pretrained("one_cell", quiet=True), MAMPNet.pretrained(quiet=True))
    return (*classical, MAMPNet.pretrained(quiet=True))


def yardsticks() -> tuple[AMP, AMP]:
    """Return AMP with the network's layers, and with as many iterations as it has layers and passes."""
    shape = MAMPNet.pretrained().network.architecture
    return AMP(iterations=shape.num_layers), AMP(iterations=shape.num_outputs)


def main(config: Config, session: Session | None = None) -> "xr.Dataset":
    """Run one study per group and put the cells side by side."""
    import xarray as xr

    session = session or Session()
    for group in config.groups:
        check.one_of(GROUPS, groups=group)
    check.non_negative_integer(cells_per_group=config.cells_per_group)
    results, seconds = [], []
    timed = (*yardsticks(), Covariance(), MAMPNet.pretrained(quiet=True))
    for group in config.groups:
        on_map = group in {"overloaded", "other"}
        errors = config.target_errors if on_map else config.beyond_errors
        most = config.max_batches if on_map else config.beyond_batches
        stop = Stop(errors=errors, min_batches=min(config.min_batches, most), max_batches=most)
        chosen = cells(group)[: config.cells_per_group or None]
        trial = symbol_error_trial(*detectors(group), frames_per_batch=config.frames_per_batch)
        over = {"cell": tuple(range(len(chosen)))}
        result = session.study(AtPlaces(trial, chosen), Place(), over, stop, name=group.replace(" ", "_"))
        if on_map:
            seconds.append(seconds_in_turns(timed, chosen, turns=1 if session.quick else 5))
        else:
            seconds.append(np.full((len(timed), len(chosen)), np.nan))
        scenarios = [c.scenario if isinstance(c, Cell) else c for c in chosen]
        result = result.assign_coords(
            cell=[f"{group} {i + 1}" for i in range(len(chosen))],
            group=("cell", [group] * len(chosen)),
            gain_law=("cell", [str(s.gain_law) for s in scenarios]),
            **{
                name: ("cell", [getattr(s, name) for s in scenarios])
                for name in (
                    "num_devices", "pilots_per_device", "pilot_length", "num_antennas", "activity_prob", "snr_db",
                )
            },
        )  # fmt: skip
        results.append(result)
    whole = xr.concat(results, dim="cell", join="outer", combine_attrs="override", data_vars="all")
    whole = whole.assign_coords(timed=[d.name for d in timed])
    whole["seconds_in_turns"] = (("timed", "cell"), np.concatenate(seconds, axis=1))
    whole.attrs["yardsticks"] = [d.name for d in yardsticks()]
    return whole


def ratios(result: "xr.Dataset", group: str) -> dict[str, Ratio]:
    """Return the figures of one group: geometric means over its cells, and medians."""
    part = result.where(result["group"] == group, drop=True)
    net = NETWORK.get(group, "MAMPNet")
    classical = [n for n in (*AMP_VARIANTS, "covariance") if n in part["detector"].values]
    found = {
        "row-AMP over network": ser_ratio(part, ["AMP row"], [net]),
        "network over covariance": ser_ratio(part, [net], ["covariance"]),
        "network over best AMP variant": ser_ratio(part, [net], AMP_VARIANTS),
        "network over block AMP": ser_ratio(part, [net], ["AMP block"]),
        "network over re-tuned AMP": ser_ratio(part, [net], ["AMP re-tuned"]),
        "network over best classical": ser_ratio(part, [net], classical),
        "network over genie": ser_ratio(part, [net], ["genie"]),
        "row-AMP over genie": ser_ratio(part, ["AMP row"], ["genie"]),
        "best classical over genie": ser_ratio(part, classical, ["genie"]),
        "median network over genie": ser_ratio(part, [net], ["genie"], median=True),
    }
    if group in {"overloaded", "other"}:
        layers, whole = result.attrs["yardsticks"]
        found |= {
            "time of network over AMP of as many iterations as layers": time_ratio(part, net, layers),
            "time of network over AMP of as many as layers and passes": time_ratio(part, net, whole),
            "time of network over covariance": time_ratio(part, net, "covariance"),
        }
    if group == "unknown gains":
        best = ["AMP block", "covariance"]  # both marginalise the gains; the other variants are in "best classical"
        found["network over better of marginalised AMP and covariance"] = ser_ratio(part, [net], best)
        found["mean-gain AMP over network"] = ser_ratio(part, ["AMP block (mean gain)"], [net])
    if group == "one cell":
        found["network over MAMPNet for any pilots"] = ser_ratio(part, [net], ["MAMPNet"])
    return found


def table(result: "xr.Dataset") -> Table:
    """Return each group's ratios with their intervals."""
    groups = [g for g in GROUPS if g in result["group"].values]
    rows = [
        [f"{group} ({ratio.cells})", name, str(ratio)]
        for group in groups
        for name, ratio in ratios(result, group).items()
    ]
    note = (
        "SER ratios: geometric mean or median over these cells with a 95 % interval from the cells' clustered counts;\n"
        "every detector has pilot draws until its own rate is known, so two of them share only the first ones.\n"
        "Best: the lowest rate in each cell. Times: one thread, in turns on the same frames, geometric mean and range."
    )
    return Table("A trained network against the classical detectors", ["cells", "ratio", "value"], rows, note)


def draw(result: "xr.Dataset") -> "Mapping[str, Figure]":
    """Draw every cell's symbol error rates, and times."""
    from wirelesslab.mmtc.report import cell_by_cell, times_over_shape

    groups = [g for g in GROUPS if g in result["group"].values]
    halves = [g for g in groups if g in {"overloaded", "other"}]
    rest = [g for g in groups if g not in halves]
    figures = {}
    shown: Sequence[str] = ("AMP row", "AMP re-tuned", "covariance", "MAMPNet", "genie")
    if halves:
        figures["map"] = cell_by_cell(result, halves, shown)
    if rest:
        more = ("AMP block", "AMP re-tuned", "AMP block (mean gain)", "covariance", "MAMPNet")
        figures["beyond"] = cell_by_cell(result, rest, (*more, "MAMPNet distribution", "MAMPNet one cell", "genie"))
    if halves:
        times = result.where(result["group"].isin(halves), drop=True)
        figures["times"] = times_over_shape(times, str(result.attrs["yardsticks"][1]))
    return figures


def summary(result: "xr.Dataset") -> Mapping[str, Any]:
    """Return every ratio, and every cell's rates with their intervals and counts."""
    from wirelesslab.mmtc.report import error_figures, significantly_below

    groups = [g for g in GROUPS if g in result["group"].values]
    return {
        "ratios": {g: {name: ratio.describe() for name, ratio in ratios(result, g).items()} for g in groups},
        "significantly below the genie": significantly_below(result, "genie"),
        "cells": {
            str(c): {name: result[name].sel(cell=c).item() for name in ("num_devices", "pilots_per_device",
             "pilot_length", "num_antennas", "activity_prob", "snr_db", "gain_law")}
            for c in result["cell"].values
        },
        **error_figures(result),
    }  # fmt: skip


if __name__ == "__main__":
    from wirelesslab.cli import run_file

    run_file(__file__)
