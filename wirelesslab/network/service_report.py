"""What slices were promised and what they got, as a table for people."""

from collections.abc import Sequence
from math import isnan
from typing import TYPE_CHECKING

from wirelesslab.network.slices import Slice
from wirelesslab.network.view import ActionRecord
from wirelesslab.session import Table

if TYPE_CHECKING:
    from wirelesslab.network.run import Run

COLUMNS = (
    "slice", "S-NSSAI", "flows", "offered Mbit/s", "delivered Mbit/s", "lost", "mean delay", "99 %", "promise", "",
)  # fmt: skip


def service_table(run: "Run", slices: Sequence[Slice]) -> Table:
    """Return a row for each slice: what was offered and delivered, lost and late, and whether the promise was kept.

    A promised delay is kept when at most 1 - `delay_quantile` was late or lost of what ended and of what is overdue; a
    promised rate when as much was delivered as was promised, or as was offered but for what a promised delay still
    allows on the way; a promised loss when no more bytes were lost. A slice that never spoke is idle.
    """
    rows = []
    for s in slices:
        got = {str(name): value for name, value in run.slices.sel(slice=s.name).data_vars.items()}
        offered, delivered = (8 * float(got[f"{what}_bytes"]) / run.time_s for what in ("offered", "delivered"))
        ended = float(got["delivered_bytes"]) + float(got["lost_bytes"])
        lost = float(got["lost_bytes"]) / ended if ended else 0.0
        level, promises, kept = s.level, [], []
        if level.delay_s is not None:
            promises.append(f"{level.delay_quantile:.5g} within {_delay(level.delay_s)}")
            kept.append(not float(got["late_share"]) > 1 - level.delay_quantile + 1e-12)  # nan: nothing is due yet
        if level.rate_bps is not None:
            promises.append(f"{level.rate_bps / 1e6:g} Mbit/s")
            due = 8 * float(got["offered_bytes"] - got["inside_bytes"] * (got["overdue_flows"] == 0)) / run.time_s
            kept.append(delivered >= min(level.rate_bps, due) * (1 - 1e-9))
        if level.loss is not None:
            promises.append(f"loss {level.loss:g}")
            kept.append(lost <= level.loss)
        verdict = "" if not promises else "idle" if not got["offered_flows"] else "kept" if all(kept) else "BROKEN"
        rows.append(
            [
                s.name, str(s.snssai), f"{int(got['offered_flows']):,}", f"{offered / 1e6:.4g}",
                f"{delivered / 1e6:.4g}", f"{lost:.2%}", _delay(float(got["mean_delay_s"])),
                _delay(float(got["delay_s"].sel(quantile=0.99))), ", ".join(promises) or "none", verdict,
            ]
        )  # fmt: skip
    return Table(f"Slices after {run.time_s:g} s", COLUMNS, rows, note=_actions(run.actions))


def _delay(seconds: float) -> str:
    if isnan(seconds):  # nothing arrived
        return "-"
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def _actions(actions: Sequence[ActionRecord]) -> str:
    refused = [action for action in actions if action.refused]
    first = f"; the first: {refused[0].refused}" if refused else ""
    return f"{len(actions)} actions, {len(refused)} refused{first}" if actions else ""
