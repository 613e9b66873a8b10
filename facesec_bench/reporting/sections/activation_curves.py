"""Interaction against budget, and beside it what the perturbation alone costs."""

from __future__ import annotations

from typing import TypeVar

from facesec_bench.reporting import figures
from facesec_bench.reporting.document import Cell, Figure, Row, Table, points
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import CONTROL, Budget
from facesec_bench.reporting.lines import Lines, join
from facesec_bench.reporting.sections.methods import Heading, Method, blocks, heading_text, methods, values

T = TypeVar("T")

_MEASURES = {"interaction": "interaction", "tar_drop_perturbed": "drop, perturbed only"}


def figure(study: Study) -> Figure | None:
    """A panel per victim and watermarker: solid the interaction, dashed what the perturbation does by itself."""
    lines, headings = _lines(study)
    if not lines:
        return None
    panels = [_panel(study, lines, heading) for heading in headings]
    svg = figures.curves("activation-curves", in_rows(panels))
    rows = [row for heading in headings for row in _rows(study, lines, heading)]
    caption = (
        "Interaction against budget, with 95% bands. Solid: interaction. Dashed, same colour: what the perturbation "
        "alone takes from the TAR, which a stealthy attack keeps near zero. Grey: the random-sign control."
    )
    settings = _settings(study, lines)
    columns = ("Victim", "Method", "Measure", "ε", "Points")
    table = Table("activation-curves", "Interaction against budget.", columns, tuple(rows), settings, 4)
    text = " ".join(filter(None, [caption, settings, runs_of(study, rows)]))
    return Figure("activation-curves", text, svg, table)


def _lines(study: Study) -> tuple[Lines, list[Heading]]:
    found: Lines = {}
    places: dict[tuple[str, str], Heading] = {}
    for heading, budgets in blocks(study, _drawn(study)).items():
        data = f"{heading.digest} {heading.watermark}"
        places[heading.victim, data] = heading
        for method in (m for same in budgets for m in same):
            for measure in _MEASURES:
                score = method.score(measure)
                if score is not None:
                    line = found.setdefault((measure, heading.victim, data), {}).setdefault(_label(method), [])
                    line.append((method.spent, score, method.group))
    lines = join(found)
    attacked = {place[1:] for place, named in lines.items() if any(not name.startswith(CONTROL) for name in named)}
    kept = {place: named for place, named in lines.items() if place[1:] in attacked}
    return kept, [heading for place, heading in places.items() if place in attacked]


def _drawn(study: Study) -> list[Method]:
    found = methods(study, _MEASURES, ("attack", "control"), "dodge")
    return [m for m in found if (not m.is_control or m.stem == CONTROL) and m.spent.eps_255 is not None]


def _settings(study: Study, lines: Lines) -> str:
    """At which budgets a line's method was not set as configured, and how: points that were tuned apart."""
    names = {name for named in lines.values() for name in named if not name.startswith(CONTROL)}
    told: dict[tuple[Budget, str], dict[str, None]] = {}
    for method in _drawn(study):
        own = [name for name in (_label(method), f"{_label(method)} [{method.group.label}]") if name in names]
        if method.settings and own:
            told.setdefault((method.spent, values(method.settings)), {})[own[0]] = None
    if not told:
        return ""
    ordered = sorted(told, key=lambda place: (place[0].order, place[1]))
    whose = {place: f" ({', '.join(told[place])})" if len(names) > 1 else "" for place in ordered}
    return f"Settings differ by budget: {'; '.join(f'{p[0].text}: {p[1]}{whose[p]}' for p in ordered)}."


def _label(method: Method) -> str:
    norm = " (rms)" if method.spent.norm == "rms" else ""
    made_on = f" @ {' + '.join(method.key.surrogates)}" if method.made_on else ""
    return f"{method.stem}{norm}{made_on}"


def _panel(study: Study, lines: Lines, heading: Heading) -> figures.Panel:
    drawn = []
    data = f"{heading.digest} {heading.watermark}"
    for measure in _MEASURES:
        named = lines.get((measure, heading.victim, data), {})
        for name, found in sorted(named.items(), key=lambda item: (item[0].startswith(CONTROL), item[0])):
            control = name.startswith(CONTROL)
            if control and measure != "interaction":
                continue
            x, scores = [p[0].eps_255 or 0.0 for p in found], [p[1] for p in found]
            low, high = [s.low for s in scores], [s.high for s in scores]
            label = name.replace(CONTROL, "random sign (control)")
            dashed = measure != "interaction"
            drawn.append(figures.Line(label, x, [s.value for s in scores], low, high, control, dashed))
    return figures.Panel(heading_text(study, heading), "points", drawn)


def _rows(study: Study, lines: Lines, heading: Heading) -> list[Row]:
    data = f"{heading.digest} {heading.watermark}"
    return [
        Row((Cell(heading_text(study, heading)), Cell(name), Cell(text), Cell(spent.text), points(score, group.refs)))
        for measure, text in _MEASURES.items()
        for name, found in lines.get((measure, heading.victim, data), {}).items()
        for spent, score, group in found
    ]


def in_rows(panels: list[T], width: int = 3) -> list[list[T]]:
    """Panels in rows of at most `width`."""
    return [panels[i : i + width] for i in range(0, len(panels), width)]


def runs_of(study: Study, rows: list[Row]) -> str:
    """The runs that these rows come from, as a caption ends."""
    used = {ref for row in rows for cell in row.cells for ref in cell.refs}
    return f"Runs: {', '.join(f'[{g.label}] {g.card.run_id}' for g in study.groups if g.label in used)}."
