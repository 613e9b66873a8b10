"""Transfer: photos made on some models, judged by others."""

from __future__ import annotations

import math

from facesec_bench.records import Score
from facesec_bench.reporting import figures, numerals
from facesec_bench.reporting.document import Block, Cell, Figure, Row, Section, Table, number, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import ScoreKey, eps_255, is_control, stem

_MEASURES = {"dodging_success": "dodging", "impersonation_success": "impersonation"}

OTHERS = "all others"
"""Printed surrogate of a leave-one-out ensemble: every model of the run but the one that judges."""

Found = dict[tuple[str, ScoreKey], Score]
Line = tuple[str, str, tuple[str, ...]]  # (group label, method, surrogates)


def section(study: Study) -> Section | None:
    """A heat map each for dodging and impersonation."""
    figures_ = tuple(f for f in (_map(study, m) for m in _MEASURES) if f is not None)
    if not figures_:
        return None
    opening = words(
        "Each row is a method with the surrogates it was made on, each column the model that judges. "
        f"“{OTHERS}” is the leave-one-out ensemble: every model of the run but the one that judges. "
        "Outlined cells are white box: the judge was among the surrogates. Hatched cells were not measured."
    )
    blocks: tuple[Block, ...] = (opening, *figures_)
    return Section("Transfer between models", blocks)


def _map(study: Study, measure: str) -> Figure | None:
    found = {(g.label, k): s for g, k, s in study.scores() if k.measure == measure}
    if not any(key.is_transfer for _, key in found):
        return None
    victims = sorted({key.victim for _, key in found}, key=study.order)
    found = _leave_one_out(study, found)
    lines = _lines(study, list(found))
    groups = {g.label: g for g in study.groups}
    several = len({label for label, _, _ in lines}) > 1
    names = [_name(line, several) for line in lines]
    cells, rows = [], []
    for line in lines:
        label, method, surrogates = line
        scores = [found.get((label, ScoreKey(measure, method, surrogates, v))) for v in victims]
        values = [math.nan if s is None else s.value for s in scores]
        cells.append([
            figures.HeatCell(x, numerals.percent(x), v in surrogates) for x, v in zip(values, victims, strict=True)
        ])  # fmt: skip
        rows.append(_table_row(method, surrogates, [number(s, groups[label].refs, True) for s in scores]))
    goal = _MEASURES[measure]
    breaks = [i for i in range(1, len(lines)) if lines[i][:2] != lines[i - 1][:2]]
    slug = f"transfer-{goal}"
    svg = figures.heat_map(slug, names, victims, cells, breaks)
    runs = _runs(lines, groups)
    caption = f"Transfer of {goal}: success rate by method and surrogates (rows) and victim (columns). {runs}"
    note = f"White box where the victim is the surrogate. “{OTHERS}”: every model of the run but the victim."
    table = Table(slug, f"Transfer of {goal}.", ("Method", "Surrogates", *victims), tuple(rows), note, 2, True)
    return Figure(slug, caption, svg, table)


def _leave_one_out(study: Study, found: Found) -> Found:
    """Ensembles of all the models but the judge become one row; with two models that is a single surrogate already."""
    targets = {g.label: set(g.card.targets) for g in study.groups}

    def row(label: str, key: ScoreKey) -> ScoreKey:
        others = targets[label] - {key.victim}
        return key._replace(surrogates=(OTHERS,)) if len(others) > 1 and set(key.surrogates) == others else key

    return {(label, row(label, key)): score for (label, key), score in found.items()}


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
        budget = eps_255(method, cards[label])
        ensemble = surrogates == (OTHERS,) or len(surrogates) > 1
        return is_control(method), stem(method), budget, ensemble, [study.order(s) for s in surrogates], label

    return sorted(lines, key=order)


def _name(line: Line, several: bool) -> str:
    label, method, surrogates = line
    who = f"{method} (control)" if is_control(method) else method
    run = f" [{label}]" if several else ""
    return f"{who} @ {' + '.join(surrogates)}{run}" if surrogates else f"{who}{run}"


def _table_row(method: str, surrogates: tuple[str, ...], cells: list[Cell]) -> Row:
    kind = "control" if is_control(method) else ""
    return Row((Cell(method), Cell(" + ".join(surrogates) or "none"), *cells), kind=kind)


def _runs(lines: list[Line], groups: dict[str, Group]) -> str:
    labels = sorted({label for label, _, _ in lines}, key=lambda x: (len(x), x))
    ids = ", ".join(f"[{x}] {groups[x].card.run_id}" for x in labels)
    return f"Runs: {ids}."
