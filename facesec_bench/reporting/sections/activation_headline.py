"""The activation study in two sentences of the summary."""

from __future__ import annotations

from facesec_bench.records import Score
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Cell
from facesec_bench.reporting.grouping import Study, is_toy
from facesec_bench.reporting.keys import CONTROL, Budget
from facesec_bench.reporting.sections.methods import Method, methods

HEADLINE = Budget("linf", 4.0)
"""The budget of the headline: the larger of the two the paper's abstract names."""


def sentences(study: Study) -> list[Cell]:
    """The largest interaction of a dodging attack at the headline budget, its four cells, and its control."""
    found = [m for m in methods(study, ("interaction",), ("attack", "control"), "dodge") if _value(m) is not None]
    attacks = [m for m in found if not m.is_control]
    if not attacks:
        return []
    spent = min({m.spent for m in attacks}, key=lambda b: (b != HEADLINE, b.order))
    rivals = [m for m in attacks if m.spent == spent]
    best = max(_worthy(study, rivals), key=lambda m: _value(m) or 0.0)
    return [_headline(best), *_control(best, found)]


def _worthy(study: Study, rivals: list[Method]) -> list[Method]:
    """Those against strong, real recognisers; weak ones and toys only for want of others."""
    notes = study.targets()
    real = [m for m in rivals if not is_toy(m.key.victim, notes.get(m.key.victim, ""))]
    strong = [m for m in real if "weak recogniser" not in notes.get(m.key.victim, "")]
    return strong or real or rivals


def _headline(best: Method) -> Cell:
    cells = [(text, best.score(f"tar_{cell}")) for cell, text in _CELLS.items()]
    rates = ", ".join(f"{numerals.percent(score.value)} {text}" for text, score in cells if score)
    made_on = f" {best.made_on}" if best.made_on else ""
    knows = f" ({best.knowledge})" if best.knowledge else ""
    mark = f" marked by {best.watermark}" if best.watermark else ""
    text = (
        f"At {best.spent.text}, {best.stem}{knows}{made_on} has an interaction of {_points(best)} on "
        f"{best.key.victim}{mark}{f': it accepts {rates}' if rates else ''}."
    )
    return Cell(text, refs=best.group.refs)


_CELLS = {
    "clean": "of the clean pairs",
    "perturbed": "of the perturbed",
    "watermarked": "of the marked",
    "both": "of the perturbed and marked",
}


def _control(best: Method, found: list[Method]) -> list[Cell]:
    place = (best.spent, best.key.victim, best.group.label)
    same = [m for m in found if m.stem == CONTROL and (m.spent, m.key.victim, m.group.label) == place]
    return [Cell(f"The random-sign control of the same budget: {_points(m)}.", refs=m.group.refs) for m in same]


def _points(method: Method) -> str:
    score = method.score("interaction") or Score(float("nan"), float("nan"), float("nan"), 0)
    interval = numerals.interval(score, True)
    return f"{numerals.points(score.value)} points ({interval + ', ' if interval else ''}n={score.n})"


def _value(method: Method) -> float | None:
    score = method.score("interaction")
    return score.value if score and score.value == score.value else None
