"""The protection rates of a run, for a terminal."""

from __future__ import annotations

from pathlib import Path

from facesec_bench.records import Score
from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.grouping import read_study
from facesec_bench.reporting.sections.cloaking_rows import Protector, protectors

_SHOWN = {**labels.PROTECTION, "adaptive_dodging_psr": labels.Label("adapted", True), "lpips": labels.CLOAKED["lpips"]}


def grids(run: Path) -> list[list[list[str]]]:
    """Rows of text, head first: what each method reaches over all held-out victims; none where nothing was cloaked."""
    rows = protectors(read_study([run], ""))
    shown = {name: label for name, label in _SHOWN.items() if any(row.overall(name) for row in rows if not row.silent)}
    if not shown:
        return []
    head = ["held out", "method", *(label.text for label in shown.values())]
    return [[head, *([_judges(row), row.name, *_values(row, shown)] for row in rows)]]


def _judges(row: Protector) -> str:
    return row.victims[0] if len(row.victims) == 1 else f"{len(row.victims)} in turn"


def _values(row: Protector, shown: dict[str, labels.Label]) -> list[str]:
    return [_text(row.overall(name), label.proportion) for name, label in shown.items()]


def _text(score: Score | None, share: bool) -> str:
    if score is None:
        return numerals.NONE
    if score.value != score.value:
        return f"{numerals.NONE} n={score.n}"
    return f"{numerals.value(score, share)} {numerals.interval(score, share)}".strip()
