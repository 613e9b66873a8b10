"""Protection success rates in the layout of the papers: methods in rows, held-out recognisers in columns."""

from __future__ import annotations

from facesec_bench.reporting import labels
from facesec_bench.reporting.document import Cell, Row, Section, Table, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections.cloaking_rows import (
    KINDS_IN_WORDS,
    Protector,
    column,
    protectors,
    table_rows,
    victims,
)

READING = (
    "A cloak is made on some recognisers and judged by one that it never saw: each column is the recogniser that was "
    "left out. The protection success rate (PSR) counts all pairs. Dodging: the share of cloaked photos that do not "
    "match another photo of the same person. Impersonation: the share that match another photo of the person to be "
    "taken for. The photo is re-read from an 8-bit file, thresholds are fixed on clean photos before any cloak is made."
)
CONTROLS = (
    "“No cloak” is what the measure says of untouched photos: the recogniser's own error. The random-sign control "
    "changes every pixel by its whole budget, blindly. A PSR that is not clear of these two protects nobody."
)

_RANKS = {
    "dodging_psr": ("untargeted", "the person is not among the nearest 1 or 5 of the gallery"),
    "impersonation_psr": ("targeted", "the person to be taken for is among the nearest 1 or 5 of the gallery"),
}
_COUNTED = (
    "The gallery holds one photo of each person. All photos count, as in the papers' Rank-N-U (the first table) and "
    "Rank-N-T, also those that were so without a cloak: the row without one is the base line."
)


def section(study: Study) -> Section | None:
    """One table a goal, then identification."""
    rows = protectors(study)
    tables = [*(_rates(study, rows, m) for m in labels.PROTECTION), *(_ranks(study, rows, m) for m in _RANKS)]
    found = [table for table in tables if table is not None]
    if not found:
        return None
    return Section("Cloaks", (words(READING), words(CONTROLS), words(KINDS_IN_WORDS, style="note"), *found))


def _rates(study: Study, rows: list[Protector], measure: str) -> Table | None:
    columns = victims(study, rows, (measure,))
    if not columns:
        return None
    label = labels.PROTECTION[measure]

    def make(row: Protector) -> list[Row]:
        name, spent = row.opening()
        cells = [row.cell(measure, victim, label) for victim in columns]
        why = row.failure if any(cell.score and not cell.score.n for cell in cells) else ""
        return [Row((Cell(name.text, why), spent, *cells), row.row_kind)]

    made = table_rows(study, rows, make, {2 + i: True for i in range(len(columns))})
    caption = f"{label.text} on held-out recognisers, with 95% intervals."
    note = (
        "The mean pools the pairs of all columns. A dash with n=0 was asked for and could not be taken. Bold: the best "
        "of its column at whatever it costs the photo, where its interval does not overlap the second's."
    )
    head = ("Method", "ε", *(column(victim, study) for victim in columns))
    return Table(f"cloak-{measure.replace('_', '-')}", caption, head, tuple(made), note, 2, wide=True)


def _ranks(study: Study, rows: list[Protector], goal: str) -> Table | None:
    """Rank 1 and 5 side by side; folded, for it asks the same question of a gallery."""
    asked = {f"{goal}_rank{n}": f"Rank-{n}" for n in (1, 5)}
    places = [(m, victim) for m in asked for victim in victims(study, rows, (m,))]
    if not places:
        return None
    shown = [row for row in rows if row.silent or any(row.score(*place) for place in places)]

    def make(row: Protector) -> list[Row]:
        cells = [row.cell(measure, victim, labels.PROTECTION[goal]) for measure, victim in places]
        return [Row((*row.opening(), *cells), row.row_kind)]

    kind, said = _RANKS[goal]
    caption = f"Identification by held-out recognisers: {said}."
    head = ("Method", "ε", *(f"{asked[m]}, {column(victim, study).lower()}" for m, victim in places))
    made = table_rows(study, shown, make)
    return Table(f"cloak-rank-{kind}", caption, head, tuple(made), _COUNTED, 2, wide=True, folded=True)
