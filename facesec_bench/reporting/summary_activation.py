"""The activation table of a run, for a terminal."""

from __future__ import annotations

from pathlib import Path

from facesec_bench.reporting import numerals
from facesec_bench.reporting.grouping import read_study
from facesec_bench.reporting.labels import ACTIVATION, CELLS
from facesec_bench.reporting.sections.methods import Method, blocks, methods

_GOALS = {
    "dodge": ("tar", "interaction", "accepted"),
    "impersonate": ("target_accept", "target_interaction", "as target"),
}


def grids(run: Path) -> list[list[list[str]]]:
    """Rows of text, head first, for each goal a finished run was judged on: attacks by budget, each with its controls.

    Rows of defences are left to the report.
    """
    study = read_study([run], "")
    made = []
    for goal, (rate, interaction, opening) in _GOALS.items():
        found = blocks(study, methods(study, (interaction,), ("attack", "control"), goal))
        rows = [_row(m, rate, interaction) for budgets in found.values() for same in budgets for m in same]
        cells = [f"{opening} {CELLS['clean']}", *list(CELLS.values())[1:]]
        if rows:
            made.append([["victim", "mark", "method", *cells, "interaction (points)", "bits"], *rows])
    return made


def _row(method: Method, rate: str, interaction: str) -> list[str]:
    key = method.key
    name = f"{key.method} @ {'+'.join(key.surrogates)}" if method.made_on else key.method
    rates = [_percent(method, f"{rate}_{cell}") for cell in CELLS]
    change = method.cell(interaction, ACTIVATION["interaction"])
    bits = _percent(method, "bit_accuracy")
    return [key.victim, method.watermark or numerals.NONE, name, *rates, f"{change.text} {change.detail}".strip(), bits]


def _percent(method: Method, measure: str) -> str:
    score = method.score(measure)
    return numerals.percent(score.value) if score else numerals.NONE
