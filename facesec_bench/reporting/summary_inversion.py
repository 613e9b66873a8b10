"""What was recovered in a run, for a terminal."""

from __future__ import annotations

from pathlib import Path

from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.grouping import Study, read_study
from facesec_bench.reporting.sections.inversion_defences import called, pairs
from facesec_bench.reporting.sections.inversion_rows import Attempt, attempts

_SHOWN = ("top1", "top1_plausible")


def grids(run: Path) -> list[list[list[str]]]:
    """Rows of text, head first: each victim's attacks after its controls, then defences; none without an attack."""
    study = read_study([run], "")
    own = [attempt for attempt in attempts(study) if not attempt.victim.defence]
    made = []
    if own:
        head = ["victim", "judge", "attack", *(labels.RECOVERED[m].text for m in _SHOWN), "queries"]
        made.append([head, *(_row(attempt) for attempt in own)])
    met = _defences(study)
    return [*made, [["defended", "attack", "called", "utility", "Top-1"], *met]] if met else made


def _row(attempt: Attempt) -> list[str]:
    victim = attempt.victim
    rates = [_text(attempt, measure) for measure in _SHOWN]
    return [victim.name, victim.evaluator or numerals.NONE, attempt.title, *rates, attempt.spent("queries").text]


def _defences(study: Study) -> list[list[str]]:
    rows = []
    for plain, attempt in pairs(study):
        utility = attempt.victim.utility
        kept = numerals.value(utility, True) if utility else numerals.NONE
        rows.append([attempt.victim.name, attempt.title, called(plain, attempt), kept, _text(attempt, "top1")])
    return rows


def _text(attempt: Attempt, measure: str) -> str:
    cell = attempt.cell(measure, labels.RECOVERED[measure])
    return " ".join(filter(None, [cell.text, numerals.interval(cell.score, True) if cell.score else ""]))
