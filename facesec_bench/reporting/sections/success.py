"""White-box success: every method against the model it was made on, beside the control and the base rate."""

from __future__ import annotations

from facesec_bench.records import Score
from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.document import Cell, Row, Section, Table, embolden, head, merge_equal, number, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import CLEAN, Budget, ScoreKey, budget, is_control
from facesec_bench.reporting.sections.calibration import named
from facesec_bench.reporting.sections.cloaking_rows import is_cloaking

Found = dict[tuple[str, str, str, str], Score]  # (group label, method, victim, measure)


def section(study: Study) -> Section | None:
    """One table, grouped by victim."""
    found = {
        (g.label, k.method, k.victim, k.measure): s
        for g, k, s in study.scores()
        if k.measure in labels.SUCCESS and (k.is_white_box or is_control(k.method)) and not is_cloaking(g, k)
    }
    # A control may have been asked for more by a cloaking study of the same run.
    measures = [m for m in labels.SUCCESS if any(key[3] == m and not is_control(key[1]) for key in found)]
    attacked = {victim for _, method, victim, _ in found if not is_control(method)}
    rows: list[Row] = []
    for victim in sorted(attacked, key=study.order):
        rows += [head(named(victim, study)), *_victim_rows(study, found, measures, victim)]
    if not rows:
        return None
    opening = words(
        "The attacker holds the judged model. Dodging counts only pairs that the victim accepted when clean, "
        "impersonation only pairs that it rejected when clean; the attacked photo is re-read from an 8-bit file and "
        "judged against a photo that the attack did not use. The base rate is the model's own error on the same pairs "
        "without any attack, and the random-sign control spends the same budget blindly."
    )
    columns = ("Method", "ε", *(labels.SUCCESS[m].text for m in measures))
    note = (
        "Bold: the best of its column for that victim, budget and data set, where its interval does not overlap the "
        "second's. A budget bounds the change of any pixel; “rms” bounds the root mean square change of the image, and "
        "“none” is a method without a budget: their rows are not compared with the others."
    )
    table = Table("white-box", "White-box success, with 95% intervals.", columns, tuple(rows), note, 2, wide=True)
    return Section("White-box attacks", (opening, table))


def _victim_rows(study: Study, found: Found, measures: list[str], victim: str) -> tuple[Row, ...]:
    present = {(label, method) for label, method, v, _ in found if v == victim}
    blocks: dict[tuple[Budget, str], list[Row]] = {}
    base: list[Row] = []
    for group in study.groups:
        for method in sorted(m for label, m in present if label == group.label):
            row = _row(group, method, victim, found, measures)
            block = (budget(method, group.card), str(group.card.data.get("digest", "")))
            blocks.setdefault(block, []).append(row)
        base += _base_row(group, victim, measures)
    rows: list[Row] = []
    for spent, digest in sorted(blocks, key=lambda block: (block[0].order, block[1])):
        found_rows = list(merge_equal(blocks[spent, digest]))
        # Methods without a budget spend what they like: not even among themselves is one the best.
        for i, measure in enumerate(measures if spent.eps_255 is not None else ()):
            found_rows = embolden(found_rows, 2 + i, labels.SUCCESS[measure].higher)
        # The control closes its own budget, so that it is read beside the attacks that spent the same.
        rows += sorted(found_rows, key=lambda row: row.kind == "control")
    return (*rows, *merge_equal(base))


def _row(group: Group, method: str, victim: str, found: Found, measures: list[str]) -> Row:
    control = is_control(method)
    cells = [number(found.get((group.label, method, victim, m)), group.refs, True) for m in measures]
    title = "Random sign (control)" if control else method
    return Row((Cell(title), Cell(budget(method, group.card).text), *cells), kind="control" if control else "")


def _base_row(group: Group, victim: str, measures: list[str]) -> list[Row]:
    cells = [_base(group, victim, m) for m in measures]
    if all(cell.score is None for cell in cells):
        return []
    return [Row((Cell("No attack (base rate)"), Cell(numerals.NONE), *cells), kind="control")]


def _base(group: Group, victim: str, measure: str) -> Cell:
    score = group.scores.get(ScoreKey(labels.BASE.get(measure, ""), CLEAN, (), victim))
    return number(score, group.refs, True)
