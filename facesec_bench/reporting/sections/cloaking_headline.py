"""The cloaking study in a few sentences: the best cloak beside what pixels reach at the same price."""

from __future__ import annotations

from facesec_bench.records import Score
from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.document import Cell
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import CLEAN
from facesec_bench.reporting.sections.cloaking_adaptive import verdict
from facesec_bench.reporting.sections.cloaking_rows import MEAN, Protector, protectors

_NOUNS = {"pixel": ("pixel attack", "pixel attacks"), "cloak": ("cloak", "cloaks")}


def sentences(study: Study) -> list[Cell]:
    """For each run and goal: the best cloak, its peer among the pixel attacks, the untouched photo; then adaptation.

    A run without a cloak is told by its best pixel attack.
    """
    told = []
    for group in study.groups:
        rows = [row for row in protectors(study) if row.group is group]
        for measure in labels.PROTECTION:
            told += [Cell(text, refs=group.refs) for text in _goal(rows, measure)]
    return told


def _goal(rows: list[Protector], measure: str) -> list[str]:
    cloaks, pixels = (_ranked(rows, measure, kind) for kind in ("cloak", "pixel"))
    asked = [row for row in rows if row.kind == "cloak"]
    if asked and not cloaks and any(row.score(measure, v) for row in asked for v in (MEAN, *row.victims)):
        return [f"{labels.PROTECTION[measure].text}: no cloak gave a number that speaks for all victims."]
    best = next(iter(cloaks or pixels), None)
    if best is None:
        return []
    told = [_best(rows, best, measure, len(cloaks or pixels))]
    if cloaks:
        told += [_peer(best, pixels, measure), *_adapted(rows, best, measure)]
    return told


def _ranked(rows: list[Protector], measure: str, kind: str) -> list[Protector]:
    """Rows of a kind with a number over all victims, the highest first."""
    found = [row for row in rows if row.kind == kind and _known(row.overall(measure))]
    return sorted(found, key=lambda row: -_value(row, measure))


def _best(rows: list[Protector], best: Protector, measure: str, of: int) -> str:
    noun, plural = _NOUNS[best.kind]
    who = f"the best of {of} {plural}" if of > 1 else f"the one {noun}"
    several = len(best.victims) > 1
    by = f"mean over {len(best.victims)} held-out recognisers" if several else f"judged by {best.victims[0]}, held out"
    clean = next((row.overall(measure) for row in rows if row.name == CLEAN), None)
    base = f"; without a cloak {_rate(clean)}" if clean is not None and _known(clean) else ""
    return f"{labels.PROTECTION[measure].text} of {_name(best)}, {who}, {by}: {_rate(best.overall(measure))}{base}."


def _peer(best: Protector, pixels: list[Protector], measure: str) -> str:
    """The best pixel attack whose LPIPS is no higher, and by how much the cloak is above or below it."""
    price = best.price(measure)
    if price is None or not _known(price):
        return f"The LPIPS of {best.stem} is not known, so no pixel attack is matched with it."
    matched = [row for row in pixels if (own := row.price(measure)) and own.value <= price.value]
    if not matched:
        return f"No pixel attack of this run was measured at an LPIPS as low as its {numerals.three(price.value)}."
    peer = matched[0]
    paid = peer.price(measure) or price
    costs = f"LPIPS {numerals.three(paid.value)} against the cloak's {numerals.three(price.value)}"
    mine, theirs = best.overall(measure), peer.overall(measure)
    return (
        f"The best pixel attack at equal or better LPIPS, {_name(peer)} ({costs}), reaches {_rate(theirs)}: "
        f"{compared(mine, theirs)}."
    )


def compared(mine: Score | None, theirs: Score | None) -> str:
    """The difference of two rates in points, and what their intervals carry."""
    if mine is None or theirs is None:
        return "not compared"
    change = mine.value - theirs.value
    size = f"{numerals.three(abs(100 * change))} points"
    if numerals.three(100 * change) == "0":
        return "the cloak is level with it"
    where = f"{size} {'above' if change > 0 else 'below'} it"
    if any(x != x for x in (mine.low, mine.high, theirs.low, theirs.high)):
        return f"the cloak is {where}, without intervals to judge that by"
    if mine.low > theirs.high or mine.high < theirs.low:
        return f"the cloak is {where}, and the intervals do not overlap"
    return f"the cloak is {where}, but the intervals overlap: no difference is shown"


def _adapted(rows: list[Protector], best: Protector, measure: str) -> list[str]:
    after, before = best.overall(f"adaptive_{measure}"), best.overall(measure)
    if after is None or before is None:
        return []
    clean = next((row.overall(measure) for row in rows if row.name == CLEAN), None)
    tracker = best.group.card.data.get("tracker") or {}
    of = " of generated faces" if tracker.get("generated") and not tracker.get("attacked_generated") else ""
    called = verdict(before, after, clean)
    return [f"Judged by a recogniser that was trained on its cloaks{of}: {_rate(after)} ({called})."]


def _name(row: Protector) -> str:
    return row.stem if row.spent.eps_255 is None else f"{row.stem} at {row.spent.text}"


def _known(score: Score | None) -> bool:
    return score is not None and score.value == score.value


def _value(row: Protector, measure: str) -> float:
    score = row.overall(measure)
    return score.value if score else float("nan")


def _rate(score: Score | None) -> str:
    if score is None or not _known(score):
        return f"{numerals.NONE} (n=0)"
    interval = numerals.interval(score, True)
    return f"{numerals.percent(score.value)} ({interval + ', ' if interval else ''}n={score.n})"
