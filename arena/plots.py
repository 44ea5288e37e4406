"""Plots of report cards and of reports of runs, as SVG in the colours of the page's style sheet, light or dark.

Drawn by matplotlib in colours that stand for others: each is replaced by a CSS variable (`var(--ink)` and so on).
Text stays text. Made small, so that it can be read on a narrow screen.
"""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

SIZE_INCHES = (4.0, 3.3)

_DODGE = 0.011
"""Distance between the points of two lines over one band, in widths of the plot."""

_TICK_CHARACTERS = 34
"""Characters of tick labels that fit side by side."""

_VARIABLES = {
    "#010101": "--ink",
    "#020202": "--muted",
    "#030303": "--rule",
    "#0a0101": "--series-1",
    "#0a0202": "--series-2",
    "#0a0303": "--series-3",
    "#0a0404": "--series-4",
    "#0a0505": "--series-5",
    "#0a0606": "--series-6",
}
_INK, _MUTED, _RULE, *_SERIES = _VARIABLES
_MARKERS = "osD^vP"
_LINES = ("-", (0, (4, 1.5)), (0, (1, 1.2)), (0, (5, 1.5, 1, 1.5)))
_MARKED = 12
"""Points of a line up to which each has a marker: one alone would not be seen."""
_DASHES = ((0, (1, 1.5)), (0, (5, 2)), (0, (5, 1.5, 1, 1.5)), (0, ()))
_STYLE: dict[Any, Any] = {  # keys are literals or text, by release of matplotlib
    "svg.fonttype": "none",
    "svg.hashsalt": "rookery",
    "font.size": 8.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _MUTED,
    "xtick.color": _MUTED,
    "ytick.color": _MUTED,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "grid.color": _RULE,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A point with its 95 % interval."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Series:
    """A line of a plot."""

    label: str
    points: tuple[Point, ...]
    colour: int
    """Which of the series' colours, from 0; the same way of choosing has the same one in every plot."""
    baseline: bool = False
    """Baselines are grey and dashed, and without intervals."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """A line through many points, without intervals."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: int
    """Which of the series' colours, from 0."""
    dash: int = 0
    """Which way of dashing, 0 being none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """A span of time in a row."""

    row: int
    begin: float
    end: float
    colour: int
    broken: bool = False
    """Whether it ended as it should not."""


def bands_plot(series: Sequence[Series], names: Sequence[str], *, x_label: str, y_label: str) -> str:
    """Return the SVG of lines over bands called `names`; x of a point is the number of its band."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label, y_label)
        lines = [one for one in series if not one.baseline]
        width = _DODGE * len(names)
        for one in series:
            # Side by side, intervals can be told apart.
            _draw(axes, one, shift=0.0 if one.baseline else width * (lines.index(one) - (len(lines) - 1) / 2))
        turned = sum(map(len, names)) > _TICK_CHARACTERS
        axes.set_xticks(range(len(names)), names, rotation=45 if turned else 0)
        axes.set_ylim(bottom=0)
        return _svg(figure)


def lines_plot(lines: Sequence[Line], *, x_label: str, y_label: str, from_zero: bool = False) -> str:
    """Return the SVG of lines through many points; `from_zero` has the y axis begin at 0. One has no legend."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label, y_label)
        for line in lines:
            axes.plot(
                line.xs,
                line.ys,
                color=_SERIES[line.colour % len(_SERIES)],
                linestyle=_LINES[line.dash % len(_LINES)],
                linewidth=1.4,
                marker="o" if len(line.xs) <= _MARKED else "",
                markersize=3,
                label=line.label if len(lines) > 1 else None,
            )
        if from_zero:
            axes.set_ylim(bottom=0)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return _svg(figure)


def spans_plot(rows: Sequence[str], spans: Sequence[Span], *, x_label: str) -> str:
    """Return the SVG of spans of time, one row below the other; those that did not end well have a mark."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes(x_label, "")
        figure.set_size_inches(SIZE_INCHES[0] * 2, 0.7 + 0.22 * len(rows))
        axes.grid(axis="x", linewidth=0.6)
        axes.grid(visible=False, axis="y")
        for span in spans:
            axes.barh(span.row, span.end - span.begin, left=span.begin, height=0.55, color=_SERIES[span.colour])
            if span.broken:
                axes.plot([span.end], [span.row], color=_INK, marker="x", markersize=6, linestyle="")
        axes.set_yticks(range(len(rows)), rows)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(left=0)
        return _svg(figure)


def reliability_plot(series: Sequence[Series]) -> str:
    """Return the SVG of mean results over predicted expected scores, with the diagonal of perfect calibration."""
    with mpl.rc_context(_STYLE):
        figure, axes = _axes("predicted expected score", "mean result")
        axes.plot([0, 1], [0, 1], color=_MUTED, linewidth=0.8, linestyle=":")
        for one in series:
            _draw(axes, one)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        return _svg(figure)


def differences_plot(names: Sequence[str], points: Sequence[Point]) -> str:
    """Return the SVG of Elo differences, one below the other; x of a point is its difference, y its row.

    `low` and `high` are the ends of the interval of x.
    """
    with mpl.rc_context(_STYLE):
        figure, axes = _axes("Elo difference", "")
        axes.grid(axis="x", linewidth=0.6)
        axes.axvline(0, color=_MUTED, linewidth=0.8)
        axes.errorbar(
            [point.x for point in points],
            [point.y for point in points],
            xerr=[[point.x - point.low for point in points], [point.high - point.x for point in points]],
            color=_SERIES[0],
            linestyle="",
            marker="o",
            markersize=4,
            elinewidth=1,
        )
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        return _svg(figure)


def _axes(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(axis="y", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes


def _draw(axes: Axes, series: Series, shift: float = 0.0) -> None:
    xs, ys = [point.x + shift for point in series.points], [point.y for point in series.points]
    if series.baseline:
        axes.plot(xs, ys, color=_MUTED, linewidth=0.9, linestyle=_DASHES[series.colour % len(_DASHES)],
                  marker="", label=series.label)  # fmt: skip
        return
    below = [max(0.0, point.y - point.low) for point in series.points]
    above = [max(0.0, point.high - point.y) for point in series.points]
    axes.errorbar(
        xs,
        ys,
        yerr=[below, above],
        color=_SERIES[series.colour % len(_SERIES)],
        linewidth=1.5,
        elinewidth=0.8,
        marker=_MARKERS[series.colour % len(_MARKERS)],
        markersize=3.5,
        label=series.label,
    )


def _svg(figure: Figure) -> str:
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(file.getvalue())


def _for_page(svg: str) -> str:
    """Return an SVG element for a page: without prolog, size and idle identifiers, colours by variables."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' (width|height)="[0-9.]+pt"', "", svg, count=2)
    svg = re.sub(r"font: ([0-9.]+)px [^;\"]*", r"font: \1px system-ui, sans-serif", svg)
    used = set(re.findall(r"(?:#)([A-Za-z][\w-]*)[\"')]", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", '<svg aria-hidden="true"', 1)
