"""What an attack costs the image."""

from __future__ import annotations

from collections.abc import Callable

from facesec_bench.records import Score
from facesec_bench.reporting import labels
from facesec_bench.reporting.document import Cell, Row, Section, Table, embolden, merge_equal, number, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import Budget, ScoreKey, budget, is_control
from facesec_bench.reporting.sections.cloaking_rows import is_cloaking


def section(study: Study) -> Section | None:
    """One row per method and surrogates; a measure that differs by victim gets a row for each."""
    evasion = [k.measure for g, k, _ in study.scores() if k.measure in labels.QUALITY and not is_cloaking(g, k)]
    measures = [m for m in labels.QUALITY if m in evasion]
    if not measures:
        return None
    opening = words(
        "Taken on the 8-bit photo that was judged, against the clean chip. PSNR leaves unchanged photos out. A Fréchet "
        "distance is taken once for each goal, in the embedding space of the attacked model, or of the judge where "
        "there is only one (FID: of Inception-v3); from few photos it is biased upwards, so compare rows of equal n "
        "only."
    )
    single = _rows(study, measures, lambda key: len(key.surrogates) < 2)
    several = _rows(study, measures, lambda key: len(key.surrogates) > 1)
    columns = ("Method", "Made on", "ε", *(labels.QUALITY[m].text for m in measures))
    tables = [Table("quality", "Image quality.", columns, single, "", 3, wide=True)] if single else []
    if several:
        caption = "Image quality of photos made on several models at once."
        tables.append(Table("quality-ensembles", caption, columns, several, "", 3, wide=True, folded=True))
    return Section("Image quality", (opening, *tables))


def _rows(study: Study, measures: list[str], admits: Callable[[ScoreKey], bool]) -> tuple[Row, ...]:
    blocks: dict[tuple[Budget, str], list[Row]] = {}
    for group in study.groups:
        lines = dict.fromkeys(
            k._replace(measure="")
            for k in group.scores
            if k.measure in measures and admits(k) and not is_cloaking(group, k)
        )
        for line in sorted(lines, key=lambda k: (k.method, len(k.surrogates), k.surrogates, study.order(k.victim))):
            block = (budget(line.method, group.card), str(group.card.data.get("digest", "")))
            blocks.setdefault(block, []).append(_row(group, line, measures, block[0]))
    rows: list[Row] = []
    for spent, digest in sorted(blocks, key=lambda block: (block[0].order, block[1])):
        found = list(merge_equal(blocks[spent, digest]))
        for i, measure in enumerate(measures if spent.eps_255 is not None else ()):
            found = embolden(found, 3 + i, labels.QUALITY[measure].higher)
        rows += sorted(found, key=lambda row: row.kind == "control")
    return tuple(rows)


def _row(group: Group, line: ScoreKey, measures: list[str], spent: Budget) -> Row:
    control = is_control(line.method)
    title = "Random sign (control)" if control else line.method
    made_on = "nothing" if control else " + ".join(line.surrogates)
    cells = [number(_score(group, line, m), group.refs, False) for m in measures]
    head = (Cell(title), Cell(made_on), Cell(spent.text))
    return Row((*head, *cells), "control" if control else "")


def _score(group: Group, line: ScoreKey, measure: str) -> Score | None:
    """The score; a distance in an FR space alone depends on the judge: it is taken from the one that speaks for the
    row."""
    if measure.startswith("frechet_fr"):
        judges = [
            k.victim for k in group.scores
            if k.measure == measure and (k.method, k.surrogates) == (line.method, line.surrogates)
        ]  # fmt: skip
        inside = [v for v in judges if v in line.surrogates]
        judge = inside[0] if len(inside) == 1 else judges[0] if len(judges) == 1 else None
        return group.scores.get(line._replace(measure=measure, victim=judge)) if judge else None
    return group.scores.get(line._replace(measure=measure))
