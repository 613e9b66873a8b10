"""What recoveries show against what was asked of the victim."""

from __future__ import annotations

from collections.abc import Callable

from facesec_bench.records import Score
from facesec_bench.reporting import figures
from facesec_bench.reporting.document import Cell, Figure, Row, Section, Table, number, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections.calibration import named
from facesec_bench.reporting.sections.inversion_rows import Attempt, attempts, together

READING = (
    "A query is one picture that went through the victim; an attack with its weights asks as well. What was spent on "
    "all recoveries is shared out among them. Attacks that asked nothing stand at the left edge."
)
_AXIS = "queries per recovery"

Reads = Callable[[Attempt], Score | None]


def section(study: Study) -> Section | None:
    """Top-1 against queries, a panel a victim; then, of embeddings, the cosine for the judge."""
    found = [x for x in attempts(study) if not x.victim.defence]
    top1 = _figure(study, found, "inversion-queries", "Top-1", "Top-1 against queries", _top1, True)
    templates = [x for x in found if x.victim.is_embedding]
    said = "Cosine to the person, for the judge, against queries: recoveries from embeddings"
    cosine = _figure(study, templates, "inversion-queries-cosine", "Cosine", said, _cosine, False)
    drawn = [figure for figure in (top1, cosine) if figure is not None]
    return Section("Recoveries against queries", (words(READING), *drawn)) if drawn else None


def _top1(attempt: Attempt) -> Score | None:
    return attempt.score("top1")


def _cosine(attempt: Attempt) -> Score | None:
    return attempt.score("cosine", attempt.victim.evaluator)


def _figure(
    study: Study, found: list[Attempt], slug: str, measure: str, caption: str, read: Reads, share: bool
) -> Figure | None:
    panels, rows = [], []
    for name, settings in together(found).items():
        for own in settings.values():
            asked = [x for x in own if x.score("queries") is not None and read(x) is not None]
            if not asked:
                continue
            victim = asked[0].victim
            data = f" ({victim.group.card.data.get('name', '?')})" if len(settings) > 1 else ""
            chance = victim.chance if share else float("nan")
            panels.append(figures.Asked(f"{named(name, study)}{data}", _dots(asked, read), chance))
            rows += [_row(f"{name}{data}", x, read, share) for x in asked]
    if not panels:
        return None
    svg = figures.against_queries(slug, panels, _AXIS, f"{measure} (%)" if share else measure, share)
    refs = dict.fromkeys(ref for row in rows for cell in row.cells for ref in cell.refs)
    runs = ", ".join(f"[{group.label}] {group.card.run_id}" for group in study.groups if group.label in refs)
    guess = " Dashed: a guess." if share else ""
    text = f"{caption}, with 95% intervals. Circles: attacks; squares: controls.{guess} Runs: {runs}."
    columns = ("Victim", "Attack", "Queries", measure)
    return Figure(slug, text, svg, Table(slug, f"{measure} against queries.", columns, tuple(rows), "", 2))


def _dots(own: list[Attempt], read: Reads) -> list[figures.Dot]:
    """A name that two runs gave is told apart by its run."""
    names = [x.name for x in own]
    labels = [f"{x.name} [{x.victim.group.label}]" if names.count(x.name) > 1 else x.name for x in own]
    return [
        figures.Dot(label, queries, value, not x.is_control)
        for label, x in zip(labels, own, strict=True)
        if (queries := x.score("queries")) is not None and (value := read(x)) is not None
    ]


def _row(victim: str, attempt: Attempt, read: Reads, share: bool) -> Row:
    value = number(read(attempt), attempt.victim.group.refs, share)
    return Row((Cell(victim), Cell(attempt.title), attempt.spent("queries"), value), attempt.row_kind)
