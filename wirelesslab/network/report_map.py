"""The map of a run's report: nodes, links and what they carried, and the cells with their users.

Networks span scales: cells of hundreds of metres, rings of ten kilometres, a cloud two hundred away. So there are two
kinds of map: one of the whole network, in which distances are compressed and nodes pushed apart until each can be
read, and one of each group of gNBs, true to scale.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from wirelesslab.network.view import SetUp
from wirelesslab.svg import BREACH, INK, tag, text

if TYPE_CHECKING:
    from wirelesslab.network.run import Run

WIDTH, HEIGHT, EDGE = 960.0, 560.0, 46.0
SIDE = 320.0  # of a map of cells
MOST_NODES = 300
MOST_GROUPS = 6
KINDS = {"device": ("#CC79A7", "device"), "gnb": ("#E69F00", "gNB"), "edge": ("#0072B2", "edge node"),
         "core": ("#009E73", "core"), "cloud": ("#7F3C8D", "cloud")}  # fmt: skip
LOADS = ((0.0, "#c9c9c9"), (0.1, "#9ecae1"), (0.3, "#4292c6"), (0.6, "#08519c"), (0.9, "#08183a"))

Points = NDArray[np.float64]


def network_map(run: "Run") -> str:
    """Return the map of the whole network; "" when the run's graph is not known or too large to draw."""
    graph = run.manifest.get("graph") or {}
    nodes = [n for n in graph.get("nodes", []) if "position_m" in n]
    if not nodes or len(nodes) > MOST_NODES:
        return ""
    names = [str(node["id"]) for node in nodes]
    place = dict(zip(names, _spread(np.array([node["position_m"] for node in nodes], float)), strict=True))
    used = utilisation(run)
    down, failed = set(run.manifest.get("down", ())), ever_down(run)
    parts = []
    for (a, b), ways in _pairs(graph.get("edges", [])).items():
        if a in place and b in place:
            parts.append(_link(place[a], place[b], ways, used, down, failed))
    small = len(names) > 60
    for node, name in zip(nodes, names, strict=True):
        parts.append(_node(node, name, place[name], used, name in down, name in failed, small))
    heights = [float(at[1]) for at in place.values()]
    top, foot = max(0.0, min(heights) - EDGE), min(HEIGHT, max(heights) + EDGE)
    return tag(
        "svg", *parts, viewBox=f"0 {top:.0f} {WIDTH:g} {foot - top:.0f}", role="img", class_="map",
        aria_label=f"Map of the network: {len(names)} nodes, {len(graph.get('edges', []))} links, "
        f"{len(down)} out of service at the end",
    )  # fmt: skip


def utilisation(run: "Run") -> dict[str, float]:
    """Return the utilisation of each link and server over the whole run, all slices together."""
    table = run.stations
    if "utilisation" not in table:
        return {}
    sums = table["utilisation"].sum("slice")
    return {str(name): float(value) for name, value in zip(table["station"].values, sums.values, strict=True)}


def ever_down(run: "Run") -> set[str]:
    """Return the elements that were taken out of service during the run."""
    return {
        record.action.element
        for record in run.actions
        if isinstance(record.action, SetUp) and not record.action.up and not record.refused
    }


def _pairs(edges: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[Mapping[str, Any]]]:
    """Return the links of both directions between two nodes together."""
    pairs: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for edge in edges:
        a, b = sorted((str(edge["source"]), str(edge["target"])))
        pairs.setdefault((a, b), []).append(edge)
    return pairs


def _spread(at_m: Points) -> Points:
    """Return places on the page: far distances compressed, near ones stretched until nodes do not overlap."""
    middle = np.median(at_m, axis=0)
    away = at_m - middle
    distance = np.hypot(*away.T)
    unit = np.median(distance[distance > 0]) if (distance > 0).any() else 1.0
    factor = np.arcsinh(distance / unit) / np.where(distance > 0, distance / unit, 1.0)
    at = away * np.where(distance > 0, factor, 1.0)[:, None] * (1.0, -1.0)
    count = len(at)
    at = _fitted(at)
    turn = 2.399963 * np.arange(count)  # nodes at one place part in different directions
    at = at + 0.01 * np.column_stack([np.cos(turn), np.sin(turn)])
    apart = min(74.0, 0.72 * math.sqrt((WIDTH - 2 * EDGE) * (HEIGHT - 2 * EDGE) / count))
    for _ in range(200):
        way = at[:, None] - at[None]
        gap = np.hypot(way[..., 0], way[..., 1]) + np.eye(count) * apart
        push = np.clip(apart - gap, 0, None) / 2
        if not push.any():
            break
        at = at + (way / np.maximum(gap, 1e-9)[..., None] * push[..., None]).sum(axis=1) * 0.5
        at = np.clip(at, EDGE, (WIDTH - EDGE, HEIGHT - EDGE))
    return at


def _fitted(at: Points) -> Points:
    low, high = at.min(axis=0), at.max(axis=0)
    size = np.where(high > low, high - low, 1.0)
    room = np.array([WIDTH - 2 * EDGE, HEIGHT - 2 * EDGE])
    scaled = EDGE + (at - low) / size * room
    return np.where(high > low, scaled, (WIDTH / 2, HEIGHT / 2))


def _shade(load: float) -> str:
    return next(color for least, color in reversed(LOADS) if load >= least or least == 0.0)


def _link(
    a: Points, b: Points, ways: Sequence[Mapping[str, Any]], used: Mapping[str, float], down: set[str], failed: set[str]
) -> str:
    names = [f"{way['source']}->{way['target']}" for way in ways]
    load = max((used.get(name, 0.0) for name in names), default=0.0)
    told = [
        f"{name}: {way['rate_bps'] / 1e6:g} Mbit/s, {used.get(name, math.nan):.1%} used"
        + (" (out of service at the end)" if name in down else " (was out of service)" if name in failed else "")
        for name, way in zip(names, ways, strict=True)
    ]
    ends = {"x1": float(a[0]), "y1": float(a[1]), "x2": float(b[0]), "y2": float(b[1])}
    parts = [tag("title", text("\n".join(told))), tag("line", **ends, stroke="transparent", stroke_width=14)]
    width = 2.0 + 5.0 * min(load, 1.0)
    parts.append(tag("line", **ends, stroke=_shade(load), stroke_width=width))
    middle = (a + b) / 2
    for name in names:
        if name in down or name in failed:
            parts.append(_cross(middle, 7.0, name in down))
            break
    return tag("g", *parts)


def _cross(at: Points, size: float, now: bool) -> str:
    x, y = float(at[0]), float(at[1])
    left, right, top, foot = (f"{value:.1f}" for value in (x - size, x + size, y - size, y + size))
    d = f"M{left},{top}L{right},{foot}M{left},{foot}L{right},{top}"
    return tag("path", d=d, stroke=BREACH, stroke_width=4 if now else 2, stroke_dasharray=None if now else "3 2",
               fill="none")  # fmt: skip


def _node(
    node: Mapping[str, Any], name: str, at: Points, used: Mapping[str, float], down: bool, failed: bool, small: bool
) -> str:
    color, kind = KINDS.get(str(node.get("kind")), (INK, str(node.get("kind"))))
    size, x, y = (6.0 if small else 9.0), float(at[0]), float(at[1])
    told = f"{name}: {kind}"
    if "operations_per_s" in node:
        told += f", {node.get('num_servers', 1)} server(s), {used.get(name, math.nan):.1%} used"
    told += ", out of service at the end" if down else ", was out of service" if failed else ""
    east, north = node["position_m"]
    parts = [tag("title", text(f"{told}; at {east:.6g} m east, {north:.6g} m north")),
             _symbol(str(node.get("kind")), x, y, size, color)]  # fmt: skip
    if down or failed:
        parts.append(_cross(at, size + 4, down))
    if not small or node.get("kind") not in ("gnb", "device"):
        shown = name if len(name) <= 14 else name[:13] + "…"
        parts.append(tag("text", text(shown), x=x, y=y + size + 13, class_="m h"))
    return tag("g", *parts)


def _symbol(kind: str, x: float, y: float, size: float, color: str) -> str:
    """Return the mark of a kind of node: shapes differ, so that colour is not needed."""
    if kind == "gnb":
        points = f"{x:.1f},{y - size:.1f} {x + size:.1f},{y + size:.1f} {x - size:.1f},{y + size:.1f}"
        return tag("polygon", points=points, fill=color, stroke="#fff")
    if kind == "core":
        points = f"{x:.1f},{y - size:.1f} {x + size:.1f},{y:.1f} {x:.1f},{y + size:.1f} {x - size:.1f},{y:.1f}"
        return tag("polygon", points=points, fill=color, stroke="#fff")
    if kind == "edge":
        return tag("rect", x=x - size, y=y - size, width=2 * size, height=2 * size, fill=color, stroke="#fff")
    return tag("circle", cx=x, cy=y, r=size if kind == "cloud" else 0.6 * size, fill=color, stroke="#fff")


def legend() -> str:
    """Return what marks and shades of the map mean, as one small picture."""
    parts, x = [], 8.0
    for kind, (color, word) in KINDS.items():
        parts += [_symbol(kind, x + 8, 12.0, 7.0, color), tag("text", text(word), x=x + 20, y=16, class_="n")]
        x += 34 + 7.0 * len(word)
    width, x = x, 8.0
    parts.append(tag("text", "used:", x=x, y=38, class_="n"))
    x += 40
    for number, (least, color) in enumerate(LOADS):
        word = "under 10 %" if number == 0 else f"{least:.0%} on".replace("%", " %")
        parts.append(tag("line", x1=x, x2=x + 22, y1=34, y2=34, stroke=color, stroke_width=2.0 + 5.0 * least))
        parts.append(tag("text", text(word), x=x + 27, y=38, class_="n"))
        x += 42 + 6.4 * len(word)
    for word, now in (("down at the end", True), ("was down", False)):
        parts += [_cross(np.array([x + 8, 34.0]), 6.0, now), tag("text", word, x=x + 20, y=38, class_="n")]
        x += 34 + 6.6 * len(word)
    width = max(width, x)
    return tag(
        "svg", *parts, viewBox=f"0 0 {width:g} 46", role="img", aria_label="Legend of the map", class_="legend",
        style=f"max-width:{1.1 * width:.0f}px",
    )  # fmt: skip


def cell_maps(run: "Run", colors: Mapping[str, str]) -> tuple[list[str], int]:
    """Return a map of each group of gNBs with their cells and users, true to scale, and how many groups are left out.

    A cell's outline is where its gNB is nearest; who serves a user is the radio's choice and may be another.
    """
    graph = run.manifest.get("graph") or {}
    cells = set(run.manifest.get("cells", ()))
    sites = [(str(n["id"]), np.array(n["position_m"], float)) for n in graph.get("nodes", [])
             if str(n.get("id")) in cells or (not cells and n.get("kind") == "gnb")]  # fmt: skip
    users = (run.manifest.get("users") or {}).get("shown", [])
    if not sites or len(sites) > MOST_NODES or not (cells or users):
        return [], 0
    groups = _groups(np.array([at for _, at in sites]))
    at_m = np.array([[u[1], u[2]] for u in users], float).reshape(-1, 2)
    nearest = np.zeros(len(at_m), int)
    if len(at_m):
        every = np.array([at for _, at in sites])
        nearest = np.argmin(((at_m[:, None] - every[None]) ** 2).sum(-1), axis=1)
    maps = []
    for group in groups[:MOST_GROUPS]:
        here = [i for i in range(len(users)) if int(nearest[i]) in group]
        maps.append(_cell_map([sites[i] for i in group], [users[i] for i in here], colors, set(run.manifest["down"])))
    return maps, len(groups) - len(maps)


def _groups(at_m: Points) -> list[list[int]]:
    """Return sites that stand together: the tree of shortest links is cut where a link is six times its forerunner."""
    count = len(at_m)
    far = np.hypot(*(at_m[:, None] - at_m[None]).transpose(2, 0, 1))
    full = nx.from_numpy_array(far + 1e-6)
    tree = sorted(nx.minimum_spanning_edges(full, data=True), key=lambda e: e[2]["weight"])
    kept = nx.empty_graph(count)
    before = None
    for a, b, data in tree:
        if before is not None and data["weight"] > 6 * max(before, 1.0):
            break
        kept.add_edge(a, b)
        before = data["weight"]
    return sorted((sorted(part) for part in nx.connected_components(kept)), key=lambda part: part[0])


def _cell_map(
    sites: Sequence[tuple[str, Points]], users: Sequence[Sequence[Any]], colors: Mapping[str, str], down: set[str]
) -> str:
    stand = np.array([at for _, at in sites])
    everyone = np.concatenate([stand, np.array([[u[1], u[2]] for u in users], float).reshape(-1, 2)])
    low, high = everyone.min(axis=0), everyone.max(axis=0)
    middle, reach = (low + high) / 2, max(float((high - low).max()) / 2 * 1.15, 50.0)

    def on_page(at: Points) -> Points:
        return np.asarray((at - middle) / reach * (1, -1) * SIDE / 2 + SIDE / 2)

    parts = [tag("rect", x=0, y=0, width=SIDE, height=SIDE, fill="#fafafa", stroke="#bbb")]
    for i in range(len(sites)):
        corners = on_page(_cell(stand, i, middle, reach))
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
        parts.append(tag("polygon", points=points, fill="none", stroke="#999", stroke_dasharray="4 3"))
    for name, east, north in users:
        x, y = on_page(np.array([east, north], float))
        parts.append(tag("circle", cx=float(x), cy=float(y), r=2.6, fill=colors.get(str(name), INK), fill_opacity=0.75))
    for name, at in sites:
        x, y = on_page(at)
        mark = [_symbol("gnb", float(x), float(y), 7.0, KINDS["gnb"][0]), tag("title", text(f"{name}: gNB"))]
        if name in down:
            mark.append(_cross(np.array([x, y]), 10.0, True))
        mark.append(tag("text", text(name[:14]), x=float(x), y=float(y) + 20, class_="m h"))
        parts.append(tag("g", *mark))
    length_m = 10.0 ** math.floor(math.log10(reach))
    length = length_m / reach * SIDE / 2
    parts.append(tag("line", x1=12, x2=12 + length, y1=SIDE - 12, y2=SIDE - 12, stroke=INK, stroke_width=2))
    scale = f"{length_m:g} m" if length_m < 1000 else f"{length_m / 1000:g} km"
    parts.append(tag("text", text(scale), x=12, y=SIDE - 18, class_="n h"))
    names = ", ".join(name for name, _ in sites[:8]) + (" …" if len(sites) > 8 else "")
    return tag(
        "svg", *parts, viewBox=f"0 0 {SIDE:g} {SIDE:g}", role="img", class_="cells",
        aria_label=f"Cells of {names} and {len(users)} users, to scale",
    )  # fmt: skip


def _cell(sites: Points, i: int, middle: Points, reach: float) -> Points:
    """Return the corners of the part of the map that is nearer to site i than to any other."""
    corners = middle + reach * np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    for j in range(len(sites)):
        normal = sites[j] - sites[i]
        if j == i or not normal.any():
            continue
        side = corners @ normal - (sites[i] + sites[j]) @ normal / 2
        kept = []
        for k in range(len(corners)):
            here, there = side[k], side[(k + 1) % len(corners)]
            if here <= 0:
                kept.append(corners[k])
            if here * there < 0:
                kept.append(corners[k] + (corners[(k + 1) % len(corners)] - corners[k]) * here / (here - there))
        corners = np.array(kept).reshape(-1, 2)
    return corners
