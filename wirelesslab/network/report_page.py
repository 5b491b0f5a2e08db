"""A run as one page for a browser: verdicts, panels over time, actions, busy stations and the map.

The page is a single file without references to anything outside; its charts are inline SVG, read with scripts off
too (a few lines of script read values under the pointer). It is bounded in size however long the run was, and the same
run gives the same bytes. What is missing, of an empty or aborted run, is said at its top.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from wirelesslab.array_files import replace
from wirelesslab.network.report_looks import SCRIPT, STYLE
from wirelesslab.network.report_map import cell_maps, legend, network_map, utilisation
from wirelesslab.network.report_panels import gauge_panels, slice_panels, time_unit, totals
from wirelesslab.network.saved_runs import slices_of
from wirelesslab.network.service_report import service_table
from wirelesslab.network.slices import Slice
from wirelesslab.network.view import ActionRecord
from wirelesslab.plot import COLORS
from wirelesslab.svg import BREACH, tag, text, ticks

if TYPE_CHECKING:
    from wirelesslab.network.run import Run

MOST_SLICES = 24  # with panels of their own
MOST_ROWS = 200  # of the list of actions
MOST_WHO = 24  # lines of the timeline of actions
MOST_STATIONS = 15
TIMELINE = 960.0  # width of the timeline
COLUMNS = 300  # in which the ticks of a line stand; fewer when there are many lines


def write_report(run: "Run", path: str | Path) -> Path:
    """Write a run as one self-contained HTML page; returns the file.

    Args:
        run: Any run: whole, empty, or what `Run.load` found of one that was aborted.
        path: The file; an older one is replaced when the new one is whole.

    Raises:
        OSError: It cannot be written.
    """
    target = Path(path)
    if target.is_dir():
        msg = f"path: got the folder {str(target)!r}, expected a file such as {str(target / 'report.html')!r}"
        raise IsADirectoryError(msg)
    replace(target, page(run).encode())
    return target


def page(run: "Run") -> str:
    """Return the report as HTML that is well-formed XML too."""
    slices = slices_of(run.manifest, run.slices)
    colors = {s.name: COLORS[i % len(COLORS)] for i, s in enumerate(slices)}
    total = totals(run)
    title = str(run.manifest.get("name") or "network run")
    body = [
        _header(run, title), _said(run, slices, total), _verdicts(run, slices, colors),
        _panels(run, slices, total, colors), _gauges(run), _actions(run), _life(run), _stations(run), _map(run, colors),
        tag("div", "", id="tip"), tag("script", f"//<![CDATA[{SCRIPT}//]]>"),
    ]  # fmt: skip
    head = tag(
        "head", '<meta charset="utf-8"/>', '<meta name="viewport" content="width=device-width, initial-scale=1"/>',
        tag("title", text(f"{title}: report")), tag("style", STYLE),
    )  # fmt: skip
    return f'<!DOCTYPE html>\n<html lang="en">{head}\n<body>\n' + "\n".join(filter(None, body)) + "\n</body></html>\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return a table; cells are markup already, those of the columns `right` are set to the right."""
    aligned = ["r" if i in right else "w" if i == len(columns) - 1 else None for i in range(len(columns))]
    head = tag("tr", *(tag("th", text(c), "", class_=a, scope="col") for c, a in zip(columns, aligned, strict=True)))
    lines = [tag("tr", *(tag("td", c, "", class_=a) for c, a in zip(row, aligned, strict=True))) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines, "")), class_="scroll")


def _header(run: "Run", title: str) -> str:
    said = run.manifest
    versions = said.get("versions") or {}
    facts = [
        ("seed", said.get("seed", "not known")), ("simulated time", f"{run.time_s:g} s"),
        ("nodes", said.get("nodes", "not known")), ("links", said.get("links", "not known")),
        ("wirelesslab", versions.get("wirelesslab", "not known")), ("Python", versions.get("python", "not known")),
        ("command", said.get("command", "not known")),
    ]  # fmt: skip
    shown = "".join(tag("span", tag("b", text(name)), " ", text(value)) for name, value in facts)
    rest = ", ".join(f"{name} {value}" for name, value in sorted(versions.items()))
    more = tag("details", tag("summary", "all versions"), tag("p", text(rest))) if rest else ""
    return tag("header", tag("h1", text(title)), tag("div", shown, class_="facts"), more)


def _said(run: "Run", slices: Sequence[Slice], total: xr.Dataset) -> str:
    """Return, in words, what a reader must know first: that the run stopped early, that files are missing."""
    said = run.manifest
    found = [f"This run did not reach its end: {said['stopped']}."] if said.get("stopped") else []
    if said.get("troubles"):
        found.append(f"This run's folder is not whole: {'; '.join(map(str, said['troubles']))}.")
    if not slices:
        found.append("Which slices there were is not known, so that nothing can be drawn of them.")
    elif "offered_flows" in run.slices and not float(run.slices["offered_flows"].sum()):
        found.append("Nothing was offered: no slice sent anything in this run.")
    if slices and not total.sizes.get("time_s", 0) > 1:
        found.append("There is no time series: nothing can be drawn over time.")
    return tag("div", *(tag("p", text(words)) for words in found), class_="said", role="note") if found else ""


def _verdicts(run: "Run", slices: Sequence[Slice], colors: dict[str, str]) -> str:
    """Return what each slice was promised and got."""
    names = {str(name) for name in run.slices["slice"].values} if "slice" in run.slices.coords else set()
    known = [s for s in slices if s.name in names]
    if not known or not run.time_s > 0:
        return ""
    got = service_table(run, known)
    marks = {"kept": "good", "BROKEN": "bad"}
    rows = []
    for row in got.rows:
        swatch = tag("span", "", class_="swatch", style=f"background:{colors[row[0]]}")
        verdict = tag("span", text(row[-1] or "no promise"), class_=marks.get(row[-1]))
        name, snssai, *figures, promise, _ = map(text, row)
        rows.append([swatch + name, verdict, promise, snssai, *figures])
    note = f"<p>{text(got.note)}</p>" if got.note else ""
    lost = [
        f"{name}: " + ", ".join(f"{count:,} {why}" for why, count in counts.items() if count and why != "delivered")
        for name, counts in (run.manifest.get("outcomes") or {}).items()
        if any(count for why, count in counts.items() if why != "delivered")
    ]
    told = f"<p>Flows lost, and why: {text('; '.join(lost))}.</p>" if lost else ""
    name, snssai, *figures, promise, _ = got.columns
    columns = (name, "verdict", promise, snssai, *figures)
    drawn = table(columns, rows, range(4, len(columns)))
    return tag("section", "<h2>What slices were promised and got</h2>", drawn, told, note)


def _panels(run: "Run", slices: Sequence[Slice], total: xr.Dataset, colors: dict[str, str]) -> str:
    if not total.sizes.get("time_s", 0) > 1:
        return ""
    names = {str(name) for name in total["slice"].values}
    known = [s for s in slices if s.name in names]
    parts = [
        "<h2>Slices over time</h2><p>All panels share one time axis. A curve joins the middles of windows; what was on "
        "its way is read at their ends. Shaded: windows in which the promise was broken (a delay's, when more of what "
        "ended or is overdue was late or lost than it allows). Dash-dotted: what was promised. Guaranteed shares are "
        "those of whole domains; shares of single links or nodes are in the list of actions.</p>"
    ]
    for s in known[:MOST_SLICES]:
        swatch = tag("span", "", class_="swatch", style=f"background:{colors[s.name]}")
        charts = slice_panels(run, total, s, colors[s.name])
        title = f"<h3>{swatch}{text(s.name)} (S-NSSAI {text(s.snssai)})</h3>"
        parts.append(tag("div", title, tag("div", *charts, class_="grid"), class_="slice"))
    if len(known) > MOST_SLICES:
        parts.append(f"<p>{len(known) - MOST_SLICES} more slices are in the table only.</p>")
    return tag("section", *parts)


def _gauges(run: "Run") -> str:
    charts, more = gauge_panels(run)
    if not charts:
        return ""
    left = f"<p>{more} more panels of gauges are left out.</p>" if more else ""
    words = (
        "<p>Ages of twins, and whatever else actors tell of themselves, as it was at each report: what changes faster "
        "is not seen. Of many points, the largest are drawn.</p>"
    )
    return tag("section", "<h2>Gauges</h2>", words, tag("div", *charts, class_="grid"), left)


def _kind(record: ActionRecord) -> str:
    return str(getattr(record.action, "kind", "") or type(record.action).__name__)


def _actions(run: "Run") -> str:
    """Return who did what and when: a timeline, sums, and the latest in words."""
    made = max(int(run.manifest.get("wishes", 0)), len(run.actions))
    if not made:
        return "<section><h2>Actions</h2><p>Nobody changed anything.</p></section>"
    if not run.actions:
        return f"<section><h2>Actions</h2><p>{made:,} actions, but no record of them is here.</p></section>"
    refused = sum(1 for record in run.actions if record.refused)
    words = f"{made:,} actions"
    words += f", of which the run kept the latest {len(run.actions):,}" if made > len(run.actions) else ""
    parts = [f"<h2>Actions</h2><p>{words}; {refused:,} of those kept were refused.</p>", _timeline(run)]
    done, no, why = Counter[tuple[str, str]](), Counter[tuple[str, str]](), dict[tuple[str, str], str]()
    for record in run.actions:
        key = (record.by, _kind(record))
        (no if record.refused else done)[key] += 1
        if record.refused:
            why.setdefault(key, record.refused)
    keys = sorted({*done, *no})
    rows = [
        [text(by), text(kind), f"{done[by, kind]:,}", f"{no[by, kind]:,}", text(why.get((by, kind), "")[:300])]
        for by, kind in keys[:MOST_ROWS]
    ]
    parts.append(table(("who", "what", "done", "refused", "first refusal"), rows, (2, 3)))
    shown = run.actions[-MOST_ROWS:]
    left = (
        f" ({len(run.actions) - len(shown):,} earlier ones are left out here)" if len(shown) < len(run.actions) else ""
    )
    rows = [
        [f"{record.time_s:.6g}", text(record.by), text(str(record.action)[:300]),
         tag("span", text(f"refused: {record.refused[:300]}"), class_="bad") if record.refused else "done"]
        for record in shown
    ]  # fmt: skip
    listed = table(("time (s)", "who", "what", "outcome"), rows, (0,))
    parts.append(tag("details", tag("summary", f"The latest {len(shown)} actions in words{left}"), listed))
    return tag("section", *parts)


def _timeline(run: "Run") -> str:
    """Return a line for each who, with ticks where they acted; those in one column of the page are one tick."""
    count = Counter(record.by for record in run.actions)
    who = [by for by, _ in sorted(count.items(), key=lambda item: (-item[1], item[0]))[:MOST_WHO]]
    left, right, per_line = 150.0, TIMELINE - 12, 24
    foot = 10.0 + per_line * len(who)
    end = run.time_s or 1.0
    columns = max(60, min(COLUMNS, 10 * COLUMNS // len(who)))
    cells: dict[tuple[str, int, bool], list[ActionRecord]] = {}
    for record in run.actions:
        column = int(min(max(record.time_s / end, 0.0), 1.0) * columns)
        cells.setdefault((record.by, column, bool(record.refused)), []).append(record)
    parts = []
    for number, by in enumerate(who):
        y = 10.0 + per_line * (number + 0.5)
        parts.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="g"))
        parts.append(tag("text", text(by if len(by) <= 20 else by[:19] + "…"), x=left - 8, y=y + 4, class_="e"))
    for (by, column, no), records in sorted(cells.items(), key=lambda item: item[0]):
        if by not in who:
            continue
        x, y = left + (right - left) * column / columns, 10.0 + per_line * (who.index(by) + 0.5)
        first = records[0]
        told = f"{first.time_s:.6g} s, {by}: {str(first.action)[:120]}"
        told += f"; REFUSED: {first.refused[:120]}" if no else ""
        told += f"; and {len(records) - 1} more" if len(records) > 1 else ""
        # A tick above the line or a cross below: neither hides the other, and colour is not needed.
        d = f"M{x - 3:.1f},{y + 3:.1f}l6,6m0,-6l-6,6" if no else f"M{x:.1f},{y - 9:.1f}v9"
        stroke = BREACH if no else "#0072B2"
        parts.append(tag("path", tag("title", text(told)), d=d, stroke=stroke, stroke_width=1.4 if no else 1.8))
    per, name = time_unit(run.time_s)
    for mark in ticks(0.0, run.time_s / per, 8):
        x = left + (right - left) * mark * per / end
        parts.append(tag("line", x1=x, x2=x, y1=foot, y2=foot + 4, class_="k"))
        parts.append(tag("text", f"{mark:g}", x=x, y=foot + 17, class_="m"))
    parts.append(tag("line", x1=left, x2=right, y1=foot, y2=foot, class_="k"))
    parts.append(tag("text", f"simulated time ({name})", x=(left + right) / 2, y=foot + 33, class_="m"))
    svg = tag(
        "svg", *parts, viewBox=f"0 0 {TIMELINE:g} {foot + 40:g}", role="img", class_="time",
        aria_label=f"Actions of {len(who)} actors over time; crosses were refused",
    )  # fmt: skip
    more = f" {len(count) - len(who)} more actors are left out." if len(count) > len(who) else ""
    return f"<p>Ticks above a line were done, crosses below it refused.{more}</p>" + tag("div", svg, class_="scroll")


def _life(run: "Run") -> str:
    """Return the steps of slices' lives, if somebody manages them: who was admitted, and who was not."""
    steps: list[dict[str, Any]] = run.manifest.get("life") or []
    if not steps:
        return ""
    asked = [s for s in steps if s["step"] in ("admit", "modify")]
    blocked = sum(1 for s in asked if s["reason"])
    words = f"<p>{len(asked):,} requests to admit or modify, {blocked:,} refused.</p>"
    rows = [
        [f"{s['time_s']:.6g}", text(s["slice"]), text(s["step"]), text(s["state"]),
         tag("span", text(str(s["reason"])[:300]), class_="bad") if s["reason"] else "done"]
        for s in steps[-50:]
    ]  # fmt: skip
    left = f"<p>{len(steps) - 50:,} earlier steps are left out.</p>" if len(steps) > 50 else ""
    listed = table(("time (s)", "slice", "step", "state after", "outcome"), rows, (0,))
    return tag("section", "<h2>Admission and life of slices</h2>", words, listed, left)


def _stations(run: "Run") -> str:
    used = utilisation(run)
    if not used:
        return ""
    sums = run.stations.drop_vars("kind", errors="ignore").sum("slice")
    kinds = run.stations["kind"].values if "kind" in run.stations else [""] * len(used)
    order = np.argsort([-used[name] if np.isfinite(used[name]) else 0.0 for name in used], kind="stable")[
        :MOST_STATIONS
    ]
    rows = []
    for i in order:
        row, share = sums.isel(station=i), list(used.values())[i]
        begun, wait = float(row["begun_packets"]), float(row["wait_seconds"])
        width = 120 * min(share, 1.0) if np.isfinite(share) else 0.0
        bar = tag("svg", tag("rect", x=0, y=1, width=120, height=10, fill="#eee"),
                  tag("rect", x=0, y=1, width=width, height=10, fill="#0072B2"), viewBox="0 0 120 12",
                  style="width:120px", aria_hidden="true")  # fmt: skip
        rows.append(
            [text(row["station"].item()), text(kinds[i]), f"{share:.1%}".replace("%", " %"), bar,
             f"{1e3 * wait / begun:.4g}" if begun else "-", f"{int(row['dropped_packets']):,}"]
        )  # fmt: skip
    left = f"<p>{len(used) - len(rows):,} more are less busy.</p>" if len(used) > len(rows) else ""
    columns = ("link or server", "kind", "used", "", "mean wait (ms)", "dropped packets")
    return tag("section", "<h2>Busiest links and servers</h2>", table(columns, rows, (2, 4, 5)), left)


def _map(run: "Run", colors: dict[str, str]) -> str:
    drawn = network_map(run)
    if not drawn:
        words = (
            "The network's graph is not known."
            if not run.manifest.get("graph")
            else "The network is too large to draw."
        )
        return f"<section><h2>Map</h2><p>{words}</p></section>"
    parts = [
        "<h2>Map</h2><p>Not to scale: far distances are compressed and neighbours pushed apart, north is up. A link's "
        "shade and width are the use of its busier direction over the whole run.</p>",
        tag("div", legend(), drawn, class_="scroll"),
    ]
    maps, more = cell_maps(run, colors)
    if maps:
        users = run.manifest.get("users") or {}
        shown, count = len(users.get("shown", ())), int(users.get("count", 0))
        words = (
            f"Cells, to scale, and where {shown:,} of {count:,} users were at the end, in the colours of their slices."
        )
        words += " Dashed: where each gNB is the nearest." + (f" {more} more groups are left out." if more else "")
        key = " ".join(
            tag("span", tag("span", "", class_="swatch", style=f"background:{color}"), text(name))
            for name, color in list(colors.items())[:MOST_SLICES]
        )
        parts += [f"<h3>Cells</h3><p>{words}</p>", tag("p", key, class_="facts"), tag("div", *maps, class_="small")]
    return tag("section", *parts)
