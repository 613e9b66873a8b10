"""Whether a cloak outlives what happens to a photo on its way."""

from __future__ import annotations

from facesec_bench.reporting import labels
from facesec_bench.reporting.document import Row, Section, Table, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections.cloaking_rows import MEAN, Protector, column, protectors, table_rows, victims

OPENING = (
    "The cloaked photo is saved again, resized, blurred or shot from a screen before it is judged; so is the photo "
    "without a cloak, whose row says what the distortion does to the recogniser by itself: compare within a column. A "
    "cloak that was not made for this may lose what it won."
)


def section(study: Study) -> Section | None:
    """A table a goal over all victims, and one by victim."""
    rows = protectors(study)
    tables = [table for measure in labels.PROTECTION for table in _tables(study, rows, measure)]
    return Section("Cloaks after distortion", (words(OPENING), *tables)) if tables else None


def _tables(study: Study, rows: list[Protector], measure: str) -> list[Table]:
    asked = [f"{measure}{suffix}" for suffix in labels.KEPT if suffix]
    shown = [row for row in rows if row.silent or any(row.score(m, v) for m in asked for v in (*row.victims, MEAN))]
    judges = victims(study, shown, asked)
    apart = [victim for victim in judges if victim != MEAN]
    goal = measure.partition("_")[0]
    tables = []
    if MEAN in judges:
        where = "over all held-out recognisers"
        tables.append(_table(study, shown, measure, f"cloak-distorted-{goal}", [MEAN], where))
    if apart:
        slug, where = f"cloak-distorted-{goal}-by-victim", "by the recogniser that was left out"
        tables.append(_table(study, shown, measure, slug, apart, where, folded=bool(tables)))
    return tables


def _table(
    study: Study,
    rows: list[Protector],
    measure: str,
    slug: str,
    places: list[str],
    where: str,
    folded: bool = False,
) -> Table:
    suffixes = [s for s in labels.KEPT if any(row.score(f"{measure}{s}", v) for row in rows for v in places)]
    label = labels.PROTECTION[measure]
    made: list[Row] = []
    for victim in places:

        def make(row: Protector, victim: str = victim) -> list[Row]:
            cells = [row.cell(f"{measure}{suffix}", victim, label) for suffix in suffixes]
            return [Row((*row.opening(), *cells), row.row_kind)]

        made += table_rows(study, rows, make, judge="" if places == [MEAN] else column(victim, study))
    head = ("Method", "ε", *(labels.KEPT[suffix].capitalize() if suffix[:5] != "_jpeg" else labels.KEPT[suffix]
                             for suffix in suffixes))  # fmt: skip
    caption = f"{label.text} after distortion, {where}, with 95% intervals."
    return Table(slug, caption, head, tuple(made), "", 2, wide=True, folded=folded)
