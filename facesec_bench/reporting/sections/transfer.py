"""Transfer: photos made on some models, judged by others."""

from __future__ import annotations

import math
from collections import Counter

from facesec_bench.records import Score
from facesec_bench.reporting import figures, numerals
from facesec_bench.reporting.document import Block, Cell, Figure, Row, Section, Table, number, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import ScoreKey, budget, is_control, stem

_MEASURES = {"dodging_success": "dodging", "impersonation_success": "impersonation"}

ENSEMBLE = "ensemble"
"""Heat-map row of a method's ensembles: in each column the one ensemble that leaves its victim out."""

Found = dict[tuple[str, ScoreKey], Score]
Line = tuple[str, str, tuple[str, ...]]  # (group label, method, surrogates)


def section(study: Study) -> Section | None:
    """A heat map each for dodging and impersonation."""
    figures_ = tuple(f for f in (_map(study, m) for m in _MEASURES) if f is not None)
    if not figures_:
        return None
    opening = words(
        "Each row is a method with the surrogates it was made on, each column the model that judges. "
        "Outlined cells are white box: the judge was among the surrogates. Hatched cells were not measured."
    )
    blocks: tuple[Block, ...] = (opening, *figures_)
    return Section("Transfer between models", blocks)


def _map(study: Study, measure: str) -> Figure | None:
    found = {(g.label, k): s for g, k, s in study.scores() if k.measure == measure}
    if not any(key.is_transfer for _, key in found):
        return None
    victims = sorted({key.victim for _, key in found}, key=study.order)
    groups = {g.label: g for g in study.groups}
    goal = _MEASURES[measure]
    slug = f"transfer-{goal}"
    folded = _folded(found)
    lines = _lines(study, list(folded))
    caption = f"Transfer of {goal}: success rate by method and surrogates (rows) and victim (columns)."
    if any(surrogates == (ENSEMBLE,) for _, _, surrogates in lines):
        caption += (
            f" “{ENSEMBLE}”: in each column the ensemble of this study that leaves that victim out; the numbers below "
            "name its members."
        )
    columns = ("Method", "ε", "Surrogates", *victims)
    note = "White box where the victim is the surrogate."
    rows = tuple(_table_row(found, measure, line, victims, groups[line[0]]) for line in _lines(study, list(found)))
    table = Table(slug, f"Transfer of {goal}.", columns, rows, note, 3, True)
    svg = _drawing(slug, folded, measure, lines, victims, groups)
    return Figure(slug, f"{caption} {_runs(lines, groups)}", svg, table)


def _drawing(
    slug: str, found: Found, measure: str, lines: list[Line], victims: list[str], groups: dict[str, Group]
) -> str:
    several = len({label for label, _, _ in lines}) > 1
    cells = []
    for label, method, surrogates in lines:
        scores = [found.get((label, ScoreKey(measure, method, surrogates, v))) for v in victims]
        values = [math.nan if s is None else s.value for s in scores]
        cells.append([
            figures.HeatCell(x, numerals.percent(x), v in surrogates) for x, v in zip(values, victims, strict=True)
        ])  # fmt: skip
    breaks = [i for i in range(1, len(lines)) if lines[i][:2] != lines[i - 1][:2]]
    return figures.heat_map(slug, [_name(line, groups, several) for line in lines], victims, cells, breaks)


def _folded(found: Found) -> Found:
    """`found` with the ensembles of a method in one row, where no two of them share a victim."""
    ensembles = [(label, key) for label, key in found if len(key.surrogates) > 1 and key.is_transfer]
    judged = Counter((label, key.method, key.victim) for label, key in ensembles)
    kept = {(label, method) for (label, method, _), count in judged.items() if count > 1}
    fold = {place for place in ensembles if (place[0], place[1].method) not in kept}
    return {
        (label, key._replace(surrogates=(ENSEMBLE,)) if (label, key) in fold else key): score
        for (label, key), score in found.items()
    }


def _lines(study: Study, keys: list[tuple[str, ScoreKey]]) -> list[Line]:
    """Rows: methods by name and budget, single surrogates before ensembles, controls last.

    A row without any transfer cell is left to the white-box table.
    """
    cards = {g.label: g.card for g in study.groups}
    transferred = {(label, key.method) for label, key in keys if key.is_transfer}
    lines = dict.fromkeys(
        (label, key.method, key.surrogates)
        for label, key in keys
        if (label, key.method) in transferred or (is_control(key.method) and label in {x for x, _ in transferred})
    )

    def order(line: Line) -> tuple[object, ...]:
        label, method, surrogates = line
        spent = budget(method, cards[label]).order
        ensemble = surrogates == (ENSEMBLE,) or len(surrogates) > 1
        return is_control(method), stem(method), spent, ensemble, [study.order(s) for s in surrogates], label

    return sorted(lines, key=order)


def _name(line: Line, groups: dict[str, Group], several: bool) -> str:
    label, method, surrogates = line
    mark = {"linf": "", "rms": " (rms)", "none": " (no budget)"}[budget(method, groups[label].card).norm]
    who = f"{method} (control)" if is_control(method) else f"{method}{mark}"
    run = f" [{label}]" if several else ""
    return f"{who} @ {' + '.join(surrogates)}{run}" if surrogates else f"{who}{run}"


def _table_row(found: Found, measure: str, line: Line, victims: list[str], group: Group) -> Row:
    label, method, surrogates = line
    scores = [found.get((label, ScoreKey(measure, method, surrogates, v))) for v in victims]
    cells = [number(s, group.refs, True) for s in scores]
    kind = "control" if is_control(method) else ""
    return Row(
        (Cell(method), Cell(budget(method, group.card).text), Cell(" + ".join(surrogates) or "none"), *cells), kind=kind
    )


def _runs(lines: list[Line], groups: dict[str, Group]) -> str:
    labels = sorted({label for label, _, _ in lines}, key=lambda x: (len(x), x))
    ids = ", ".join(f"[{x}] {groups[x].card.run_id}" for x in labels)
    return f"Runs: {ids}."
