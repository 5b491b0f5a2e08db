"""Small charts as SVG text: pure functions from numbers to markup, for pages that need no server and no script.

All that is put in is escaped; the same numbers give the same text. A chart is well-formed XML, has a name for
those who listen to it instead of looking at it, and carries its scales as `data-` attributes, from which a page's
script can read values back under the pointer.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

WIDTH, HEIGHT = 400, 216  # of a chart, in its own units; a page may scale it
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 44, 36
INK, FAINT, GRID, BREACH = "#1a1a1a", "#595959", "#e4e4e4", "#D55E00"
PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))

Scale = Literal["linear", "log"]
Placing = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def text(value: object) -> str:
    """Return any text such that XML can hold it: markup is escaped, control characters are replaced.

    Examples:
        >>> text("a<b & c")
        'a&lt;b &amp; c'
    """
    # What XML 1.0 cannot hold: control characters, halves of surrogate pairs, and two code points without meaning.
    return escape(re.sub("[^\\t\\n\\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(value)))


def tag(element: str, *inside: str, **attributes: object) -> str:
    """Return an element; `inside` is markup already, attributes are escaped (``class_`` is class, ``_`` a hyphen).

    Examples:
        >>> tag("rect", x=1, stroke_width=2.50)
        '<rect x="1" stroke-width="2.5"/>'
    """
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{text(f"{round(value, 2):g}" if isinstance(value, float) else value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{element}{words}>{''.join(inside)}</{element}>" if inside else f"<{element}{words}/>"


def number(value: float) -> str:
    """Return a coordinate with at most one decimal.

    Examples:
        >>> number(12.04), number(-0.01)
        ('12', '0')
    """
    short = f"{value:.1f}".removesuffix(".0")
    return "0" if short == "-0" else short


def prefixed(most: float, unit: str) -> tuple[float, str]:
    """Return what to divide by, and the unit with its prefix, so that `most` reads well.

    Examples:
        >>> prefixed(2.5e6, "bit/s")
        (1000000.0, 'Mbit/s')
    """
    for factor, prefix in PREFIXES:
        if most >= factor * (1 - 1e-12):
            return factor, prefix + unit
    return (1.0, unit)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers between `low` and `high`.

    Examples:
        >>> ticks(0, 3)
        [0.0, 1.0, 2.0, 3.0]
    """
    if not high > low:
        return [low]
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def decades(low: float, high: float, most: int = 5) -> list[float]:
    """Return powers of ten between `low` and `high`, not more than `most`."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    stride = max(1, -(-(last - first + 1) // most))
    return [10.0**i for i in range(first, last + 1, stride)]


@dataclass(frozen=True, eq=False)
class Line:
    """A curve of a chart.

    Attributes:
        label: For the legend.
        times: Abscissa, shape (N,).
        values: Ordinate, shape (N,); the curve is broken where it is not finite.
        color: Of the stroke.
        dash: Pattern of the stroke; "" is solid.
        width: Of the stroke.
        steps: Whether a value holds until the next one comes.
        fill: Whether the area below is shaded too.
        stroke: Whether the curve itself is drawn.
    """

    label: str
    times: ArrayLike
    values: ArrayLike
    color: str
    dash: str = ""
    width: float = 1.6
    steps: bool = False
    fill: bool = False
    stroke: bool = True


@dataclass(frozen=True)
class Level:
    """A horizontal line that values are held against, such as a promise."""

    label: str
    value: float


@dataclass(frozen=True)
class Shade:
    """A stretch of time that is marked, and why."""

    start: float
    end: float
    why: str


@dataclass(frozen=True, eq=False)
class Chart:
    """What is drawn over time.

    Attributes:
        title: Above it.
        lines: The curves.
        span: First and last time on the axis.
        unit: Of the ordinate; prefixes are added. "%" takes shares and writes hundredths.
        time_unit: What a unit of time is divided by, and its name.
        scale: Of the ordinate.
        levels: Horizontal lines.
        shades: Stretches of time that are marked.
        nothing: What is said when there is nothing to draw.
    """

    title: str
    lines: Sequence[Line]
    span: tuple[float, float]
    unit: str
    time_unit: tuple[float, str] = (1.0, "s")
    scale: Scale = "linear"
    levels: Sequence[Level] = ()
    shades: Sequence[Shade] = ()
    nothing: str = "nothing to show"
    height: float = field(default=HEIGHT)


def draw(chart: Chart) -> str:
    """Return the chart as an ``<svg>`` element."""
    bottom, right = chart.height - BOTTOM, WIDTH - RIGHT
    finite = [
        v[np.isfinite(v) & ((v > 0) | (chart.scale == "linear"))]
        for v in (np.asarray(line.values, float) for line in chart.lines)
    ]
    drawn = np.concatenate([*finite, np.zeros(0)])
    held = [level.value for level in chart.levels if math.isfinite(level.value)]
    low, high = _range(drawn, held, chart.scale)
    factor, unit = (0.01, "%") if chart.unit == "%" else prefixed(high, chart.unit) if chart.unit else (1.0, "")
    start, end = chart.span
    end = end if end > start else start + 1.0

    def x_of(time: NDArray[np.float64]) -> NDArray[np.float64]:
        return LEFT + (right - LEFT) * (time - start) / (end - start)

    def y_of(value: NDArray[np.float64]) -> NDArray[np.float64]:
        if chart.scale == "log":
            with np.errstate(divide="ignore", invalid="ignore"):
                at = np.log10(value / low) / math.log10(high / low)
        else:
            at = (value - low) / (high - low)
        return np.asarray(bottom - (bottom - TOP) * at)

    log = chart.scale == "log"
    marks = decades(low, high) if log else ticks(low / factor, high / factor, 4)
    parts = [tag("text", text(f"{chart.title} ({unit})" if unit and not log else chart.title), x=4, y=14, class_="t")]
    parts += [_shade(s, x_of, bottom) for s in chart.shades]
    for mark in marks:
        at = float(y_of(np.array(mark if log else mark * factor)))
        label = "{:g} {}".format(*_readable(mark, chart.unit)) if log else f"{mark:g}"
        parts.append(tag("line", x1=LEFT, x2=right, y1=at, y2=at, class_="g"))
        parts.append(tag("text", text(label), x=LEFT - 5, y=at + 4, class_="e"))
    per, time_name = chart.time_unit
    for mark in ticks(start / per, end / per, 6):
        at = float(x_of(np.array(mark * per)))
        parts.append(tag("line", x1=at, x2=at, y1=bottom, y2=bottom + 4, class_="k"))
        parts.append(tag("text", text(f"{mark:g}"), x=at, y=bottom + 16, class_="m"))
    parts.append(tag("text", text(f"simulated time ({time_name})"), x=(LEFT + right) / 2, y=bottom + 31, class_="m"))
    parts.append(tag("line", x1=LEFT, x2=right, y1=bottom, y2=bottom, class_="k"))
    if drawn.size:
        for line in chart.lines:
            parts += _curve(line, x_of, y_of, bottom)
    else:
        parts.append(tag("text", text(chart.nothing), x=(LEFT + right) / 2, y=(TOP + bottom) / 2, class_="m"))
    for level in chart.levels:
        if math.isfinite(level.value):
            at = float(y_of(np.array(level.value)))
            parts.append(tag("line", x1=LEFT, x2=right, y1=at, y2=at, class_="l"))
            above = at - 4 if at > TOP + 14 else at + 13
            parts.append(tag("text", text(level.label), x=right - 2, y=above, class_="e h"))
    parts += _legend(chart.lines)
    parts.append(tag("line", x1=LEFT, x2=LEFT, y1=TOP, y2=bottom, class_="c"))
    described = ", ".join([*(line.label for line in chart.lines), *(level.label for level in chart.levels)])
    breaches = f"; {len(chart.shades)} shaded stretches" if chart.shades else ""
    return tag(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {number(chart.height)}", role="img",
        aria_label=f"{chart.title} over simulated time: {described}{breaches}", class_="chart",
        data_x=f"{LEFT} {right} {start / per:.9g} {end / per:.9g} {time_name}",
        data_y=f"{number(bottom)} {TOP} {low / factor:.9g} {high / factor:.9g} {chart.scale} {unit}",
    )  # fmt: skip


def _range(drawn: NDArray[np.float64], held: list[float], scale: Scale) -> tuple[float, float]:
    """Return the ends of the ordinate: from 0, or whole decades."""
    values = [*drawn.tolist(), *held]
    if scale == "log":
        values = [v for v in values if v > 0] or [1e-3, 1.0]
        low, high = 10.0 ** math.floor(math.log10(0.8 * min(values))), 10.0 ** math.ceil(math.log10(max(values)))
        return low, high if high > low else 10 * low
    least, most = min([0.0, *values]), max([0.0, *values])
    return least * 1.06, most * 1.06 if most > 0 or least < 0 else 1.0


def _readable(value: float, unit: str) -> tuple[float, str]:
    factor, name = prefixed(value, unit)
    return float(f"{value / factor:.6g}"), name


def _shade(shade: Shade, x_of: Placing, bottom: float) -> str:
    x0, x1 = x_of(np.array([shade.start, shade.end]))
    width = max(float(x1 - x0), 1.0)  # the shortest is still seen
    return tag("rect", tag("title", text(shade.why)), x=float(x0), y=TOP, width=width, height=bottom - TOP, class_="b")


def _curve(line: Line, x_of: Placing, y_of: Placing, bottom: float) -> list[str]:
    """Return the curve's path, and the area below it, broken where a value is missing."""
    xs, ys = x_of(np.asarray(line.times, float)), y_of(np.asarray(line.values, float))
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, y in zip(xs.tolist(), ys.tolist(), strict=True):
        if math.isfinite(x) and math.isfinite(y):
            if line.steps and pieces[-1]:
                pieces[-1].append((x, pieces[-1][-1][1]))
            pieces[-1].append((x, y))
        elif pieces[-1]:
            pieces.append([])
    found, path, area, dots = [], "", "", []
    for piece in (p for p in pieces if p):
        points = " ".join(f"{number(x)},{number(y)}" for x, y in piece)
        if len(piece) == 1:
            dots.append(tag("circle", cx=piece[0][0], cy=piece[0][1], r=2.2, fill=line.color))
        path += f"M{points}"
        area += f"M{number(piece[0][0])},{number(bottom)} {points} {number(piece[-1][0])},{number(bottom)}Z"
    if line.fill and area:
        found.append(tag("path", d=area, fill=line.color, fill_opacity=0.18))
    if line.stroke and path:
        found.append(
            tag(
                "path", d=path, stroke=line.color, stroke_width=line.width, fill="none",
                stroke_dasharray=line.dash or None, stroke_linejoin="round", data_label=line.label,
            )
        )  # fmt: skip
        found += dots
    return found


def _legend(lines: Sequence[Line]) -> list[str]:
    """Return samples of the curves with their names, in one row."""
    parts, x = [], 4.0
    for line in lines:
        if not line.label:
            continue
        if line.fill and not line.stroke:
            parts.append(tag("rect", x=x, y=22, width=18, height=9, fill=line.color, fill_opacity=0.3))
        else:
            parts.append(
                tag("line", x1=x, x2=x + 18, y1=27, y2=27, stroke=line.color, stroke_width=line.width,
                    stroke_dasharray=line.dash or None)
            )  # fmt: skip
        parts.append(tag("text", text(line.label), x=x + 22, y=31, class_="n"))
        x += 36 + 6.3 * len(line.label)
    return parts
