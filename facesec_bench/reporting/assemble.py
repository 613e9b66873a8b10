"""From run folders to report files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from facesec_bench.errors import ConfigError
from facesec_bench.reporting import as_csv, as_html, as_latex, as_markdown
from facesec_bench.reporting.document import Figure, Photos, Section, Table
from facesec_bench.reporting.grouping import Study, read_study
from facesec_bench.reporting.sections import (
    activation,
    activation_defences,
    bits,
    calibration,
    cloaking,
    cloaking_adaptive,
    cloaking_photos,
    cloaking_quality,
    cloaking_robustness,
    curves,
    data,
    examples,
    inversion,
    inversion_accuracy,
    inversion_defences,
    inversion_photos,
    inversion_queries,
    opening,
    provenance,
    quality,
    strips,
    success,
    training,
    transfer,
)

SECTIONS: tuple[Callable[[Study], Section | None], ...] = (
    opening.threat_model,
    calibration.section,
    success.section,
    transfer.section,
    curves.section,
    training.section,
    quality.section,
    examples.section,
    cloaking.section,
    cloaking_quality.section,
    cloaking_photos.section,
    cloaking_robustness.section,
    cloaking_adaptive.section,
    activation.section,
    bits.section,
    activation_defences.section,
    inversion.section,
    inversion_accuracy.classifiers,
    inversion_accuracy.embeddings,
    inversion_queries.section,
    inversion_defences.section,
    inversion_photos.section,
    strips.section,
    data.section,
    provenance.section,
)
"""In the order of the page; a section without data returns None."""


class ReportFiles(NamedTuple):
    """The files of a report."""

    html: Path
    markdown: Path
    latex: tuple[Path, ...]
    csv: tuple[Path, ...]


def build(runs: Sequence[Path], out: Path, title: str) -> ReportFiles:
    """Write the report of some runs: one self-contained HTML page, Markdown, and each table as LaTeX and CSV.

    Only files in the run folders are read. The same runs give the same bytes. A run that is missing, failed or still
    running is shown as such and lends no number.

    Args:
        runs: run folders, in the order in which they are to be shown.
        out: folder to write into; created if need be. `tables/` in it is for the report's own files.
        title: of the page.

    Raises:
        ConfigError: no run folder was given.
    """
    if not runs:
        raise ConfigError(
            "A report wants at least one run folder; found none. Run an experiment first, or name a study."
        )
    study = read_study(runs, title)
    sections = [*(s for s in (make(study) for make in SECTIONS) if s is not None), opening.ethics()]
    parts = (title, opening.abstract(study), opening.alarms(study), sections)
    (out / "tables").mkdir(parents=True, exist_ok=True)
    html = _write(out / "report.html", as_html.render(*parts))
    markdown = _write(out / "report.md", as_markdown.render(*parts))
    tables, ids = _tables(sections), _run_ids(study)
    latex = tuple(_write(out / "tables" / f"{t.slug}.tex", as_latex.render(t, ids)) for t in tables)
    csv = tuple(_write(out / "tables" / f"{t.slug}.csv", as_csv.render(t)) for t in tables)
    return ReportFiles(html, markdown, latex, csv)


def _tables(sections: Sequence[Section]) -> list[Table]:
    blocks = [block for section in sections for block in section.blocks]
    return [b.table if isinstance(b, Figure | Photos) else b for b in blocks if isinstance(b, Table | Figure | Photos)]


def _run_ids(study: Study) -> dict[str, str]:
    ids = {label: run.run_id for group in study.groups for label, run, _ in group.labelled()}
    several = {g.label: " + ".join(run.run_id for run in g.runs) for g in study.groups if len(g.runs) > 1}
    return {**ids, **several}


def _write(path: Path, text: str) -> Path:
    # Fixed line ends: the same runs give the same bytes on every system.
    path.write_text(text, encoding="utf-8", newline="\n", errors="replace")
    return path
