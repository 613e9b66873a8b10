"""Success against budget, from every run that measured a method at two budgets or more."""

from __future__ import annotations

from facesec_bench.reporting import figures
from facesec_bench.reporting.document import Cell, Figure, Row, Section, Table, number, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import CONTROL, ScoreKey, budget, is_control, stem
from facesec_bench.reporting.lines import Lines, join
from facesec_bench.reporting.sections.calibration import named

_MEASURES = {"dodging_success": "Dodging (%)", "impersonation_success": "Impersonation (%)"}


def section(study: Study) -> Section | None:
    """One figure: a column of panels per victim, a row per goal; white box and control."""
    lines = _lines(study)
    victims = sorted({victim for _, victim, _ in lines}, key=study.order)
    measures = [m for m in _MEASURES if any(key[0] == m for key in lines)]
    if not lines:
        return None
    grid = [[_panel(study, lines, m, v, titled=m == measures[0]) for v in victims] for m in measures]
    svg = figures.curves("curves", grid)
    rows = [row for m in measures for v in victims for row in _rows(lines, m, v)]
    labels = sorted({ref for row in rows for cell in row.cells for ref in cell.refs}, key=lambda x: (len(x), x))
    runs = ", ".join(f"[{g.label}] {g.card.run_id}" for g in study.groups if g.label in labels)
    caption = f"White-box success against budget, with 95% bands; dashed: the random-sign control. Runs: {runs}."
    table = Table("curves", "Success against budget.", ("Victim", "Method", "Goal", "ε", "Success"), tuple(rows), "", 4)
    opening = words("A defence or an attack is judged over a range of budgets, not at one.")
    return Section("Success against budget", (opening, Figure("curves", caption, svg, table)))


def _lines(study: Study) -> Lines:
    found: Lines = {}
    for group, key, score in study.scores():
        if key.measure in _MEASURES and (key.is_white_box or is_control(key.method)):
            data = str(group.card.data.get("digest", ""))
            spent = budget(key.method, group.card)
            if spent.eps_255 is None:
                continue
            # One line holds one norm: a root mean square of 8 is another budget than 8 at every pixel.
            name = f"{stem(key.method)} (rms)" if spent.norm == "rms" else stem(key.method)
            found.setdefault((key.measure, key.victim, data), {}).setdefault(name, []).append((spent, score, group))
    # A control alone tells nothing.
    return {place: methods for place, methods in join(found).items() if any(not x.startswith(CONTROL) for x in methods)}


def _panel(study: Study, lines: Lines, measure: str, victim: str, titled: bool) -> figures.Panel:
    drawn = []
    places = [place for place in lines if place[:2] == (measure, victim)]
    for place in places:
        data = f" ({place[2][:6]})" if len(places) > 1 else ""
        for name, points in sorted(lines[place].items(), key=lambda item: (item[0].startswith(CONTROL), item[0])):
            x, scores = [p[0].eps_255 or 0.0 for p in points], [p[1] for p in points]
            low, high = [s.low for s in scores], [s.high for s in scores]
            label = name.replace(CONTROL, "random sign (control)") + data
            drawn.append(figures.Line(label, x, [s.value for s in scores], low, high, name.startswith(CONTROL)))
    return figures.Panel(named(victim, study) if titled else "", _MEASURES[measure], drawn)


def _rows(lines: Lines, measure: str, victim: str) -> list[Row]:
    key = ScoreKey(measure, "", (), victim)
    goal = _MEASURES[key.measure].removesuffix(" (%)").lower()
    return [
        Row((Cell(victim), Cell(name), Cell(goal), Cell(spent.text), number(score, group.refs, True)))
        for place, methods in lines.items()
        if place[:2] == (measure, victim)
        for name, points in methods.items()
        for spent, score, group in points
    ]
