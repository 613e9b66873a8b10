"""Defences against inversion: what each costs honest use, and what is left of every attack that met it."""

from __future__ import annotations

import math

from facesec_bench.records import Score
from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.document import Cell, Row, Section, Table, merge_equal, number, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections.calibration import named
from facesec_bench.reporting.sections.inversion_acceptance import COSINE
from facesec_bench.reporting.sections.inversion_rows import Attempt, Victim, attempts, heading, slug, victims

READING = (
    "A defence is judged by what it costs honest use and by what is left of each attack that met it. Utility is the "
    "accuracy on held photos for a classifier, and the true accept rate (TAR) at a false accept rate of 1% for a "
    "verifier. Attacks run on the defended system as they ran on the plain one, with the same settings: what is left "
    "is a lower bound on what an attacker who adapts to the defence can do."
)
RULE = (
    "How it is called: “lowers” where the interval of top-1 lies wholly below that of the same attack without the "
    "defence, “raises” where it lies wholly above, else “not shown to lower”; “nothing to lower” where the interval "
    "without the defence reaches down to a guess. “At equal utility” where the interval of the utility contains the "
    "value without the defence (a cost smaller than that interval would not be seen), “at a cost” where it lies wholly "
    "below, “at higher utility” where above, “at unknown cost” where it was not measured."
)
_MEASURES = ("top1", "top1_plausible")
_UTILITY = {False: "Utility: accuracy", True: "Utility: TAR at FAR 1%"}


def section(study: Study) -> Section | None:
    """A table a victim: the attacks without a defence, then each defence with those that met it."""
    tables = [
        _table(study, name, kind)
        for kind in (False, True)
        for name in dict.fromkeys(v.origin for v in victims(study) if v.defence and v.is_embedding is kind)
    ]
    found = [table for table in tables if table is not None]
    return Section("Defences against inversion", (words(READING), words(RULE, style="note"), *found)) if found else None


def lowered(before: Score | None, after: Score | None, chance: float = math.nan) -> str:
    """What a defence did to an attack's top-1, by the rule on the page; a dash where an interval is missing."""
    if before is None or after is None or not _whole(before) or not _whole(after):
        return numerals.NONE
    if before.low <= chance:
        return "nothing to lower"
    return "lowers" if after.high < before.low else "raises" if after.low > before.high else "not shown to lower"


def price(before: Score | None, after: Score | None) -> str:
    """What a defence costs honest use, by the rule that the page states."""
    if before is None or after is None or before.value != before.value or not _whole(after):
        return "at unknown cost"
    if after.high < before.value:
        return "at a cost"
    return "at higher utility" if after.low > before.value else "at equal utility"


def called(plain: Attempt | None, defended: Attempt) -> str:
    """Both in words."""
    if plain is None:
        return numerals.NONE
    own = plain.victim
    text = lowered(plain.score("top1"), defended.score("top1"), own.chance)
    return text if text == numerals.NONE else f"{text}, {price(own.utility, defended.victim.utility)}"


def pairs(study: Study) -> list[tuple[Attempt | None, Attempt]]:
    """Every attack that met a defence, after the same attack of the same run without it, where that was run.

    Controls that ask nothing of the victim cannot be hindered and are left out.
    """
    found = [x for x in attempts(study) if not x.is_control or _asks(x)]
    plain = {(id(x.victim.group), x.victim.name, x.name): x for x in found if not x.victim.defence}
    return [(plain.get((id(x.victim.group), x.victim.origin, x.name)), x) for x in found if x.victim.defence]


def _asks(attempt: Attempt) -> bool:
    queries = attempt.score("queries")
    return queries is not None and queries.value > 0


def _whole(score: Score) -> bool:
    return all(x == x for x in score[:3])


def _table(study: Study, origin: str, embedding: bool) -> Table | None:
    own = [pair for pair in pairs(study) if pair[1].victim.origin == origin]
    settings = dict.fromkeys(x.victim.setting for _, x in own)
    rows: list[Row] = []
    for setting in settings:
        same = [pair for pair in own if pair[1].victim.setting == setting]
        bare = {(plain.victim.group.label, plain.name): plain for plain, _ in same if plain is not None}
        before = [_row(x, "None", numerals.NONE, embedding) for x in bare.values()]
        after = [_row(x, x.victim.defence, called(plain, x), embedding) for plain, x in same]
        rows += [*heading([x for _, x in same], len(settings)), *merge_equal(before), *merge_equal(after)]
    if not rows:
        return None
    caption = f"Defences of {named(origin, study)}: utility, and what was recovered, with 95% intervals."
    texts = [labels.RECOVERED[measure].text for measure in _MEASURES]
    cosine = [f"{COSINE.text}, for the judge"] if embedding else []
    columns = ("Defence", "Attack", "Called", _UTILITY[embedding], *texts, *cosine)
    return Table(slug("inversion-defences", origin), caption, columns, tuple(rows), "", 3, wide=True)


def _row(attempt: Attempt, defence: str, verdict: str, embedding: bool) -> Row:
    victim = attempt.victim
    cells = [attempt.cell(measure, labels.RECOVERED[measure]) for measure in _MEASURES]
    if embedding:
        cells.append(attempt.cell("cosine", COSINE, victim.evaluator))
    utility = number(victim.utility, victim.group.refs, True)
    opening = (Cell(defence, _privacy(victim)), attempt.opening(), Cell(verdict), utility)
    return Row((*opening, *cells), "" if victim.defence else "control")


def _privacy(victim: Victim) -> str:
    """The differential privacy that a defended network was taught with, from its card; mostly empty."""
    about = (victim.group.card.data.get("defended") or {}).get(victim.name) or {}
    told = {name: about.get(name) for name in ("epsilon", "delta")}
    return ", ".join(f"{name} {float(value):.3g}" for name, value in told.items() if value is not None)
