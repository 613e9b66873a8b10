"""Interaction against budget, and what it costs: the unmarked photo's recognition and the owner's bits."""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from facesec_bench.reporting import figures, labels
from facesec_bench.reporting.document import Block, Cell, Figure, Row, Table, number, points
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import CONTROL, Budget
from facesec_bench.reporting.lines import Lines, join
from facesec_bench.reporting.sections.methods import Heading, Method, blocks, heading_text, methods, title

T = TypeVar("T")

_MEASURES = {"interaction": "interaction", "tar_drop_perturbed": "drop, perturbed only"}
_DECODES = 0.95
"""Bit accuracy from which a message counts as kept in the trade-off's drawing."""


def blocks_of(study: Study) -> list[Block]:
    """The figures there are data for."""
    return [figure for figure in (_against_budget(study), _trade_off(study)) if figure is not None]


def _against_budget(study: Study) -> Figure | None:
    """A panel per victim and watermarker: solid the interaction, dashed what the perturbation does by itself."""
    lines, headings = _lines(study)
    if not lines:
        return None
    panels = [_panel(study, lines, heading) for heading in headings]
    svg = figures.curves("activation-curves", _in_rows(panels))
    rows = [row for heading in headings for row in _rows(study, lines, heading)]
    caption = (
        "Interaction against budget, with 95% bands. Solid: interaction. Dashed, same colour: what the perturbation "
        "alone takes from the TAR, which a stealthy attack keeps near zero. Grey: the random-sign control."
    )
    columns = ("Victim", "Method", "Measure", "ε", "Points")
    table = Table("activation-curves", "Interaction against budget.", columns, tuple(rows), "", 4)
    return Figure("activation-curves", f"{caption} {_runs(study, rows)}", svg, table)


def _lines(study: Study) -> tuple[Lines, list[Heading]]:
    found: Lines = {}
    places: dict[tuple[str, str], Heading] = {}
    drawn = [m for m in methods(study, _MEASURES, ("attack", "control"), "dodge") if _is_drawn(m)]
    for heading, budgets in blocks(study, [m for m in drawn if m.spent.eps_255 is not None]).items():
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


def _is_drawn(method: Method) -> bool:
    return not method.is_control or method.stem == CONTROL


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


def _trade_off(study: Study) -> Figure | None:
    """Each budget that several attacks share: stealth cost across, attack drop up, filled where the bits are kept."""
    measures = ("tar_drop_perturbed", "tar_drop_both")
    found = [m for m in methods(study, measures, ("attack", "control"), "dodge") if all(map(m.score, measures))]
    shown = {
        (heading, same[0].spent): same
        for heading, budgets in blocks(study, found).items()
        for same in budgets
        if sum(not m.is_control for m in same) > 1
    }
    if not shown:
        return None
    panels: dict[Heading, list[figures.Cloud]] = {}
    for (heading, spent), same in shown.items():
        panels.setdefault(heading, []).append(_cloud(study, heading, spent, same))
    grid = [row for clouds in panels.values() for row in _in_rows(clouds, 4)]
    svg = figures.scatter("trade-off", grid, "drop, perturbed only (points)", "drop, both (points)")
    rows = [_cost_row(study, heading, m) for (heading, _), same in shown.items() for m in same]
    columns = ("Victim", "Method", "ε", "Drop, perturbed only (points)", "Drop, both (points)", "Bit accuracy")
    caption = (
        "Attacks and controls of one budget: what the perturbation alone costs (across) against what it does once "
        f"marked (up); the attacker wants the upper left. Filled: the owner's bits decode at {100 * _DECODES:g}% or "
        "more; hollow: at less, or not measured. Grey: controls."
    )
    table = Table("trade-off", "Stealth, attack and bits.", columns, tuple(rows), "", 3, wide=True)
    return Figure("trade-off", f"{caption} {_runs(study, rows)}", svg, table)


def _cloud(study: Study, heading: Heading, spent: Budget, same: list[Method]) -> figures.Cloud:
    names = Counter(map(_label, same))
    dots = []
    for m in same:
        cost, drop, bits = (m.score(x) for x in ("tar_drop_perturbed", "tar_drop_both", "bit_accuracy"))
        several = names[_label(m)] > 1
        label = f"{_label(m)}{f' [{m.group.label}]' if several else ''}" if not m.is_control else title(m)
        kept = bits is not None and bits.value >= _DECODES
        if cost is not None and drop is not None:
            dots.append(figures.Dot(label, cost.value, drop.value, kept, m.is_control))
    return figures.Cloud(f"{heading_text(study, heading)}, {spent.text}", dots)


def _cost_row(study: Study, heading: Heading, method: Method) -> Row:
    refs = method.group.refs
    cells = [method.cell(name, labels.DROPS[name]) for name in ("tar_drop_perturbed", "tar_drop_both")]
    name = title(method) if method.is_control else _label(method)
    bits = number(method.score("bit_accuracy"), refs, True)
    opening = (Cell(heading_text(study, heading)), Cell(name), Cell(method.spent.text))
    return Row((*opening, *cells, bits), "control" if method.is_control else "")


def _in_rows(panels: list[T], width: int = 3) -> list[list[T]]:
    return [panels[i : i + width] for i in range(0, len(panels), width)]


def _runs(study: Study, rows: list[Row]) -> str:
    used = {ref for row in rows for cell in row.cells for ref in cell.refs}
    return f"Runs: {', '.join(f'[{g.label}] {g.card.run_id}' for g in study.groups if g.label in used)}."
