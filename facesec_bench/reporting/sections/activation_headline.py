"""The activation study in two sentences a run, on a row that was fixed in advance and not by what it reached."""

from __future__ import annotations

from facesec_bench.records import Score
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Cell
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import CONTROL, Budget, budget, stem
from facesec_bench.reporting.sections.methods import Method, methods

HEADLINE = Budget("linf", 4.0)
"""The budget of the headline: the larger of the two the paper's abstract names."""

_CELLS = {
    "clean": "of the clean pairs",
    "perturbed": "of the perturbed",
    "watermarked": "of the marked",
    "both": "of the perturbed and marked",
}


def sentences(study: Study) -> list[Cell]:
    """Each run's headline interaction, its four cells, and the random-sign control of the same budget.

    The headline is the white box (K1) on the card's first target by the card's first activation, at 4/255, or at its
    smallest budget where there is no 4/255. A run without that row has no headline: no other row takes its place.
    """
    found = [m for m in methods(study, ("interaction",), ("attack", "control"), "dodge") if _is_measured(m)]
    told = []
    for group in study.groups:
        own = [m for m in found if m.group is group]
        for chosen in (m for m in own if _is_headline(m)):
            told += [_headline(chosen), *_control(chosen, own)]
    return told


def _is_headline(method: Method) -> bool:
    place = (method.key.method, method.key.victim)
    white_box = method.key.is_white_box and not method.is_control
    return white_box and place == (_row(method.group), next(iter(method.group.card.targets), ""))


def _row(group: Group) -> str:
    """The name of the headline's row, from the card alone."""
    card = group.card
    names = [
        name for name, told in card.methods.items()
        if "@" not in name and not told.get("setting")
        and (told.get("role"), told.get("goal"), told.get("knowledge")) == ("attack", "dodge", "K1")
    ]  # fmt: skip
    same = [name for name in names if stem(name) == stem(names[0])]

    def order(name: str) -> tuple[bool, tuple[int, float]]:
        spent = budget(name, card)
        return spent != HEADLINE, spent.order

    return min(same, key=order, default="")


def _headline(chosen: Method) -> Cell:
    cells = [(text, chosen.score(f"tar_{cell}")) for cell, text in _CELLS.items()]
    rates = ", ".join(f"{numerals.percent(score.value)} {text}" for text, score in cells if score)
    mark = f" marked by {chosen.watermark}" if chosen.watermark else ""
    text = (
        f"At {chosen.spent.text}, white box (K1), {chosen.stem} has an interaction of {_points(chosen)} on "
        f"{chosen.key.victim}{mark}{f': it accepts {rates}' if rates else ''}."
    )
    return Cell(text, refs=chosen.group.refs)


def _control(chosen: Method, own: list[Method]) -> list[Cell]:
    place = (CONTROL, chosen.spent, chosen.key.victim)
    same = [m for m in own if (m.stem, m.spent, m.key.victim) == place]
    return [Cell(f"The random-sign control of the same budget: {_points(m)}.", refs=m.group.refs) for m in same]


def _points(method: Method) -> str:
    score = method.score("interaction") or Score(float("nan"), float("nan"), float("nan"), 0)
    interval = numerals.interval(score, True)
    return f"{numerals.points(score.value)} points ({interval + ', ' if interval else ''}n={score.n})"


def _is_measured(method: Method) -> bool:
    score = method.score("interaction")
    return score is not None and score.value == score.value
