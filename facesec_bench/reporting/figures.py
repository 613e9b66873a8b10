"""Drawings as inline SVG: the only import of matplotlib in the project.

Text is drawn as outlines (no font is needed where the page is read), ids are derived from a fixed salt (same data, same
bytes), and names are never read as mathematics.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from facesec_bench.records import Score

_STYLE: dict[Any, Any] = {
    "text.parse_math": False,
    "font.family": "STIXGeneral",
    "font.size": 10,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "hatch.linewidth": 0.5,
    "hatch.color": "#c4c4c4",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}

# Okabe and Ito's colours, told apart with any colour vision; black is kept for the control.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")


class HeatCell(NamedTuple):
    """A value in [0, 1], NaN where nothing was measured; `outlined` marks a white-box cell."""

    value: float
    text: str
    outlined: bool


class Line(NamedTuple):
    """A curve: budgets, values and interval ends, all of one length; NaN ends draw no band.

    A `dashed` line is a companion: it has the colour and the place in the legend of the line of the same label.
    """

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    control: bool = False
    dashed: bool = False


class Panel(NamedTuple):
    """One pair of axes of a grid of curves."""

    title: str
    ylabel: str
    lines: Sequence[Line]


class Path(NamedTuple):
    """Points joined in their order, proportions in both directions, each with a word beside it."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    words: Sequence[str]


class PathPanel(NamedTuple):
    """One pair of axes of a grid of paths."""

    title: str
    paths: Sequence[Path]


class Dot(NamedTuple):
    """A method at its price and its rate, both with intervals where they have them; a `filled` one is of interest."""

    label: str
    price: Score
    rate: Score
    filled: bool


class Scatter(NamedTuple):
    """One pair of axes of dots. `best` are the dots that the line joins, `base` the rate at no price, or NaN."""

    title: str
    dots: Sequence[Dot]
    best: Sequence[int]
    base: float


class Asked(NamedTuple):
    """One pair of axes of dots whose price is a number of queries, 0 for none. `chance` is a guess's rate, or NaN."""

    title: str
    dots: Sequence[Dot]
    chance: float


def heat_map(
    slug: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[HeatCell]],
    breaks: Sequence[int] = (),
) -> str:
    """A matrix of rates, dark is high; numbers in the cells, hatched where there is none. Returns SVG.

    `breaks` are row numbers before which a rule is drawn.
    """
    from matplotlib import rc_context

    with rc_context({**_STYLE, "svg.hashsalt": slug}):
        from matplotlib.colors import LinearSegmentedColormap
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle

        # One hue from light to dark: ordered for every kind of colour vision and in a grey print.
        shades = LinearSegmentedColormap.from_list("shades", ["#f5f8fc", "#9dbfdd", "#2f6ea5", "#08305a"])
        figure = Figure(figsize=(1.1 * len(columns) + 0.062 * max(map(len, rows)) + 0.4, 0.31 * len(rows) + 0.6))
        axes = figure.add_subplot()
        for i, line in enumerate(cells):
            for j, cell in enumerate(line):
                empty = math.isnan(cell.value)
                face = "white" if empty else shades(min(1.0, max(0.0, cell.value)))
                box = Rectangle((j, i), 1, 1, facecolor=face, edgecolor="white", linewidth=1.2)
                if empty:
                    box.set(hatch="////", edgecolor="#c4c4c4", linewidth=0)
                axes.add_patch(box)
                if cell.outlined and not empty:
                    axes.add_patch(
                        Rectangle((j + 0.035, i + 0.09), 0.93, 0.82, fill=False, edgecolor="#D55E00", linewidth=1.4)
                    )
                if not empty:
                    ink = "white" if cell.value > 0.62 else "#1a1a1a"
                    axes.text(j + 0.5, i + 0.52, cell.text, ha="center", va="center", color=ink)
        for i in breaks:
            axes.axhline(i, color="#444444", linewidth=0.7)
        axes.set(xlim=(0, len(columns)), ylim=(len(rows), 0))
        axes.set_xticks([j + 0.5 for j in range(len(columns))], columns)
        axes.set_yticks([i + 0.5 for i in range(len(rows))], rows)
        axes.tick_params(length=0, labeltop=True, labelbottom=False)
        axes.spines[:].set_visible(False)
        return _svg(figure, slug)


def curves(slug: str, grid: Sequence[Sequence[Panel]]) -> str:
    """Success against budget: rows of panels with one legend below. Returns SVG."""
    from matplotlib import rc_context

    drawn = [line for row in grid for panel in row for line in panel.lines]
    labels = list(dict.fromkeys(line.label for line in sorted(drawn, key=lambda line: line.control)))
    with rc_context({**_STYLE, "svg.hashsalt": slug}):
        from matplotlib.figure import Figure

        columns = max(len(row) for row in grid)
        figure = Figure(
            figsize=(max(5.0, 2.35 * columns + 0.5), 2.1 * len(grid) + 0.25 * math.ceil(len(labels) / 4) + 0.3)
        )
        axes = figure.subplots(len(grid), columns, squeeze=False, sharex=True, sharey=True)
        handles: dict[str, Any] = {}
        lowest = 100 * min((y for line in drawn for y in (*line.low, *line.y) if y < 0), default=0.0)
        axes[0][0].set_ylim(lowest - 3, 103)
        for i, row in enumerate(grid):
            for j in range(columns):
                if j < len(row):
                    _panel(axes[i][j], row[j], labels, handles, first=j == 0, last=i == len(grid) - 1)
                else:
                    axes[i][j].set_axis_off()
        _legend(figure, handles, labels)
        return _svg(figure, slug)


def progress(slug: str, panels: Sequence[Panel], xlabel: str) -> str:
    """A row of panels over a training, each with its own legend; values as given. Returns SVG.

    A panel in "%" shows the whole scale; any other is logarithmic where its values span more than a hundredfold.
    """
    from matplotlib import rc_context

    with rc_context({**_STYLE, "svg.hashsalt": slug}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(max(5.0, 3.2 * len(panels)), 2.4))
        for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            for i, line in enumerate(panel.lines):
                axes.plot(line.x, line.y, color=_COLOURS[i % len(_COLOURS)], linewidth=1.3, label=line.label)
            axes.set(title=panel.title, xlabel=xlabel, ylabel=panel.ylabel)
            values = [y for line in panel.lines for y in line.y]
            if panel.ylabel == "%":
                axes.set_ylim(-3, 103)
            elif values and max(values) > 100 * min(values) > 0:
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(lambda y, _: f"{y:g}")  # the usual one writes mathematics
            axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
            if len(panel.lines) > 1:
                axes.legend(frameon=False, loc="lower right")
        figure.tight_layout(pad=0.4, w_pad=1.0)
        return _svg(figure, slug)


def paths(slug: str, grid: Sequence[Sequence[PathPanel]], xlabel: str, ylabel: str) -> str:
    """Joined points in percent, rows of panels with common axes and one legend below. Returns SVG."""
    from matplotlib import rc_context

    labels = list(dict.fromkeys(path.label for row in grid for panel in row for path in panel.paths))
    with rc_context({**_STYLE, "svg.hashsalt": slug}):
        from matplotlib.figure import Figure

        columns = max(len(row) for row in grid)
        figure = Figure(figsize=(max(5.0, 3.0 * columns + 0.5), 2.7 * len(grid) + 0.25 * math.ceil(len(labels) / 4)))
        axes = figure.subplots(len(grid), columns, squeeze=False, sharex=True, sharey=True)
        handles: dict[str, Any] = {}
        for i, row in enumerate(grid):
            for j in range(columns):
                if j < len(row):
                    _paths(axes[i][j], row[j], labels, handles)
                    axes[i][j].set_ylabel(ylabel if j == 0 else "")
                    if i == len(grid) - 1 or j >= len(grid[i + 1]):
                        axes[i][j].tick_params(labelbottom=True)
                        axes[i][j].set_xlabel(xlabel)
                else:
                    axes[i][j].set_axis_off()
        _legend(figure, handles, labels)
        return _svg(figure, slug)


def _paths(axes: Any, panel: PathPanel, labels: Sequence[str], handles: dict[str, Any]) -> None:
    for path in panel.paths:
        i = labels.index(path.label)
        x, y = [100 * value for value in path.x], [100 * value for value in path.y]
        (drawn,) = axes.plot(
            x, y, color=_COLOURS[i % len(_COLOURS)], marker=_MARKERS[i % len(_MARKERS)], markersize=5, linewidth=1.3
        )
        handles.setdefault(path.label, drawn)
        for k, word in enumerate(path.words):
            # By turns above and below, so that neighbours do not write over one another.
            place: dict[str, Any] = {"xytext": (-5, 3), "ha": "right"} if k % 2 else {"xytext": (5, -9), "ha": "left"}
            axes.annotate(word, (x[k], y[k]), **place, textcoords="offset points", fontsize=8, color="#333333")
    axes.set_title(panel.title, fontsize=10)
    axes.margins(0.12)
    axes.grid(color="#e4e4e4", linewidth=0.5)
    axes.axhline(0, color="#999999", linewidth=0.6, zorder=0)
    axes.axvline(0, color="#999999", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)


def trade_off(slug: str, panels: Sequence[Scatter], xlabel: str, ylabel: str) -> str:
    """Rates in percent against prices: a panel under another, each dot with its name beside it. Returns SVG."""
    from matplotlib import rc_context

    with rc_context({**_STYLE, "svg.hashsalt": slug}):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.9, 3.7 * len(panels)))
        for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            _scatter(axes, panel)
            axes.set(xlabel=xlabel, ylabel=ylabel)
        figure.tight_layout(pad=0.4, h_pad=1.2)
        for axes, panel in zip(figure.axes, panels, strict=True):
            _name_dots(figure, axes, panel)
        return _svg(figure, slug)


def _scatter(axes: Any, panel: Scatter) -> None:
    prices = [p for dot in panel.dots for p in dot.price[:3] if p == p]
    axes.set(xlim=(0, 1.12 * max(prices, default=0.0) or 1.0), ylim=(-3, 106))
    for dot in panel.dots:
        colour, marker = (_COLOURS[1], "o") if dot.filled else (_COLOURS[0], "s")
        x, y = dot.price.value, 100 * dot.rate.value
        bars: dict[str, Any] = {"color": colour, "linewidth": 0.7, "alpha": 0.55, "zorder": 2}
        axes.plot([dot.price.low, dot.price.high], [y, y], **bars)
        axes.plot([x, x], [100 * dot.rate.low, 100 * dot.rate.high], **bars)
        axes.plot([x], [y], marker=marker, markersize=5.5, color=colour, linestyle="none", zorder=3)
    best = [panel.dots[i] for i in panel.best]
    across, up = [dot.price.value for dot in best], [100 * dot.rate.value for dot in best]
    axes.plot(across, up, color="#444444", linewidth=0.9, drawstyle="steps-post", zorder=1)
    if panel.base == panel.base:
        axes.axhline(100 * panel.base, color="#777777", linewidth=0.8, linestyle="--", zorder=1)
    axes.set_title(panel.title, fontsize=10)
    axes.grid(color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)


def against_queries(slug: str, panels: Sequence[Asked], xlabel: str, ylabel: str, percent: bool) -> str:
    """Values against queries on a log axis, two panels abreast; who asked nothing stands at the left edge. Returns SVG.

    Args:
        percent: whether values are proportions, shown from 0 to above the highest interval of all panels.
    """
    from matplotlib import rc_context

    with rc_context({**_STYLE, "svg.hashsalt": slug}):
        from matplotlib.figure import Figure

        columns = min(2, len(panels))
        lines = math.ceil(len(panels) / columns)
        figure = Figure(figsize=(5.0 * columns, 3.5 * lines))
        grid = figure.subplots(lines, columns, squeeze=False)
        every = [axes for row in grid for axes in row]
        highest = max((y for panel in panels for dot in panel.dots for y in dot.rate[:3] if y == y), default=1.0)
        for axes, panel in zip(every, panels, strict=False):
            _asked(axes, panel, 100.0 if percent else 1.0)
            axes.set(xlabel=xlabel, ylabel=ylabel)
            if percent:
                axes.set_ylim(-14 * highest, 106 * highest)  # room for names under the dots at a guess
        for axes in every[len(panels) :]:
            axes.set_axis_off()
        figure.tight_layout(pad=0.4, w_pad=1.6, h_pad=1.2)
        for axes, panel in zip(every, panels, strict=False):
            _name_dots(figure, axes, panel._replace(dots=_placed(panel.dots)), 100.0 if percent else 1.0)
        return _svg(figure, slug)


def _asked(axes: Any, panel: Asked, scale: float) -> None:
    dots = _placed(panel.dots)
    edge, asked = _edge(panel.dots), [dot.price.value for dot in panel.dots if dot.price.value > 0]
    axes.set_xscale("log")
    axes.set_xlim(edge / 1.8, 6 * max(asked, default=edge))  # room for names to the right of the last dot
    for dot in dots:
        colour, marker = (_COLOURS[1], "o") if dot.filled else (_COLOURS[0], "s")
        x, ends = dot.price.value, [scale * dot.rate.low, scale * dot.rate.high]
        axes.plot([x, x], ends, color=colour, linewidth=0.9, alpha=0.55, zorder=2)
        axes.plot(
            [x], [scale * dot.rate.value], marker=marker, markersize=5.5, color=colour, linestyle="none", zorder=3
        )
    if panel.chance == panel.chance:
        axes.axhline(scale * panel.chance, color="#777777", linewidth=0.8, linestyle="--", zorder=1)
    axes.axvline(1.6 * edge, color="#bbbbbb", linewidth=0.8, linestyle=":", zorder=0)
    decades = range(math.ceil(math.log10(3 * edge)), math.floor(math.log10(axes.get_xlim()[1])) + 1)
    axes.set_xticks([edge, *(10.0**i for i in decades)], ["none", *(f"{10.0**i:,.10g}" for i in decades)])
    axes.minorticks_off()
    axes.set_title(panel.title, fontsize=10)
    axes.grid(color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)


def _edge(dots: Sequence[Dot]) -> float:
    """Where a log axis has its place for none: left of the fewest queries."""
    return min((dot.price.value for dot in dots if dot.price.value > 0), default=1.0) / 8


def _placed(dots: Sequence[Dot]) -> list[Dot]:
    edge = _edge(dots)
    return [dot if dot.price.value > 0 else dot._replace(price=dot.price._replace(value=edge)) for dot in dots]


_NEAR = ((7, 4), (7, -9), (-7, 4), (-7, -9), (0, 8), (0, -13))
_SIDES = [(dx * (1 + far / 8), dy * far) for far in (1.0, 2.4, 4.0, 6.0, 9.0, 13.0) for dx, dy in _NEAR]
"""Where a name may stand, in points from its dot: near before far."""


def _name_dots(figure: Any, axes: Any, panel: Scatter | Asked, scale: float = 100.0) -> list[Any]:
    """Put each name where it covers no dot and no other name; one that is not next to its own dot is tied to it.

    Returns the boxes of the names, from the highest dot down. Where no place is free, the first one is taken.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.patheffects import withStroke

    halo = [withStroke(linewidth=2.2, foreground="white")]
    renderer = FigureCanvasAgg(figure).get_renderer()
    frame = axes.get_window_extent(renderer)
    dots = [axes.transData.transform((dot.price.value, scale * dot.rate.value)) for dot in panel.dots]
    taken: list[Any] = []
    for i in sorted(range(len(dots)), key=lambda i: -dots[i][1]):
        for turn, (dx, dy) in enumerate((*_SIDES, _SIDES[0])):
            tied = abs(dy) > 14 or abs(dx) > 9
            text = axes.annotate(
                panel.dots[i].label, (panel.dots[i].price.value, scale * panel.dots[i].rate.value), xytext=(dx, dy),
                textcoords="offset points", ha="left" if dx > 0 else "right" if dx < 0 else "center", fontsize=8.5,
                color="#222222", path_effects=halo, arrowprops={"arrowstyle": "-", "color": "#aaaaaa", "linewidth": 0.5}
                if tied else None,
            )  # fmt: skip
            box = _words(text, renderer)
            inside = frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1
            free = not any(box.overlaps(other) for other in taken) and not any(
                box.x0 - 4 < x < box.x1 + 4 and box.y0 - 4 < y < box.y1 + 4 for x, y in dots
            )
            near = tied or all(_gap(box, *dots[i]) <= _gap(box, *other) for other in dots)
            if inside and free and near:
                break
            if turn < len(_SIDES):
                text.remove()
        taken.append(box)
    return taken


def _gap(box: Any, x: float, y: float) -> float:
    """How far a dot is from a box of words; 0 inside."""
    return math.hypot(max(box.x0 - x, 0.0, x - box.x1), max(box.y0 - y, 0.0, y - box.y1))


def _words(text: Any, renderer: Any) -> Any:
    """The box of an annotation's words without the line that ties it to its dot."""
    from matplotlib.text import Text

    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


def _legend(figure: Any, handles: dict[str, Any], labels: Sequence[str]) -> None:
    """One legend for all panels, below them."""
    widest = max(map(len, labels), default=0)
    figure.legend(
        [handles[name] for name in labels], labels, loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False,
        ncols=min(4 if widest < 32 else 2, len(labels)), columnspacing=1.6, handlelength=2.2,
    )  # fmt: skip
    figure.tight_layout(pad=0.4, w_pad=1.0)


def _panel(axes: Any, panel: Panel, labels: Sequence[str], handles: dict[str, Any], first: bool, last: bool) -> None:
    for line in panel.lines:
        i = labels.index(line.label)
        colour = "#555555" if line.control else _COLOURS[i % len(_COLOURS)]
        (drawn,) = axes.plot(
            line.x, [100 * y for y in line.y], color=colour, marker="x" if line.control else
            _MARKERS[i % len(_MARKERS)], markersize=4, linewidth=1.3,
            linestyle="--" if line.control or line.dashed else "-",
        )  # fmt: skip
        if not line.dashed:
            axes.fill_between(
                line.x, [100 * y for y in line.low], [100 * y for y in line.high], color=colour, alpha=0.14, linewidth=0
            )
        handles.setdefault(line.label, drawn)
    if panel.title:
        axes.set_title(panel.title, fontsize=10)
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_xticks(sorted({x for line in panel.lines for x in line.x} or {0}))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    if first:
        axes.set_ylabel(panel.ylabel)
    if last:
        axes.set_xlabel("budget ε (/255)")


def _svg(figure: Any, slug: str) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    FigureCanvasSVG(figure)
    file = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", metadata=nothing, bbox_inches="tight", pad_inches=0.04, transparent=True)
    return _for_inlining(file.getvalue(), slug)


def _for_inlining(svg: str, slug: str) -> str:
    """Drop what only a file needs, and make ids unique in a page that holds several drawings."""
    svg = re.sub(r"<!--.*?-->\s*", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'\s+xmlns(:xlink)?="[^"]*"', "", svg)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)
    svg = svg.replace("xlink:href=", "href=")
    return re.sub(r'(\bid="|href="#|url\(#)', lambda m: f"{m.group(1)}{slug}-", svg).strip()
