"""The inversion study in a few sentences: the best attack on each victim beside what needs no search."""

from __future__ import annotations

from collections.abc import Iterable

from facesec_bench.records import Score
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Cell
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections.inversion_defences import called, pairs
from facesec_bench.reporting.sections.inversion_rows import Attempt, attempts, together, told, victims


def sentences(study: Study) -> list[Cell]:
    """For each victim the best attack, its control, and whether it still wins when only faces count; then defences."""
    found = [x for x in attempts(study) if not x.victim.defence]
    cells = [_victim(own) for settings in together(found).values() for own in settings.values()]
    return [cell for cell in (*cells, _defences(study)) if cell is not None]


def scope(study: Study) -> str:
    """ "4 inversions of sface_head and dlib_head", or nothing where no faces were recovered."""
    names = {x.name for x in attempts(study) if not x.is_control}
    of = list(dict.fromkeys(victim.name for victim in victims(study) if not victim.defence))
    if not names or not of:
        return ""
    return f"{len(names)} inversion{'s' if len(names) != 1 else ''} of {_listed(of)}"


def compared(mine: Score, theirs: Score) -> str:
    """What the intervals of an attack and its control carry."""
    if any(x != x for x in (*mine[:3], *theirs[:3])):
        return "no intervals to judge that by"
    if mine.low > theirs.high:
        return "less, and the intervals do not overlap"
    more = "more, and the intervals do not overlap"
    return more if mine.high < theirs.low else "the intervals overlap, so no difference is shown"


def _victim(own: list[Attempt]) -> Cell | None:
    searches, controls = [x for x in own if not x.is_control], [x for x in own if x.is_control]
    best = _best(searches, "top1")
    refs = tuple(dict.fromkeys(ref for x in own for ref in x.victim.group.refs))
    name = own[0].victim.name
    if best is None:
        return Cell(f"No inversion of {name} gave a number.", refs=refs) if searches else None
    judge = f", judged by {best.victim.evaluator}" if best.victim.evaluator else ""
    ran = [x for x in searches if _value(x, "top1") == _value(x, "top1")]
    alike = [x.name for x in ran if x is not best and _value(x, "top1") == _value(best, "top1")]
    who = f"the best of {len(ran)} inversions" if len(ran) > 1 else "the one inversion"
    if alike:
        who = f"the first of {len(ran)} inversions, with as many as {_listed(list(dict.fromkeys(alike)))}"
    chance, people = best.victim.chance, told(best.victim.group).get("people")
    known = f" ({people} people)" if people else ""
    guess = f"; a guess in {numerals.percent(chance)}" if chance == chance else ""
    text = (
        f"Recovered from {name}{known}{judge}: {_name(best)}, {who}, shows the person in {_rate(best, 'top1')}"
        f"{_beside(best, controls, 'top1')}{guess}.{_as_faces(best, searches, controls)}"
    )
    return Cell(text, refs=refs)


def _beside(best: Attempt, controls: list[Attempt], measure: str) -> str:
    """The control that comes nearest, and what the intervals carry."""
    control = _best(controls, measure)
    mine, theirs = best.score(measure), control.score(measure) if control else None
    if control is None or mine is None or theirs is None:
        return "; no control ran, so nothing says that this is more than chance" if measure == "top1" else ""
    return f"; {control.name}, the best control, in {_rate(control, measure)}: {compared(mine, theirs)}"


def _as_faces(best: Attempt, searches: list[Attempt], controls: list[Attempt]) -> str:
    """Whether it still leads when only pictures that pass for a face count."""
    measure = "top1_plausible"
    leads, mine = _best(searches, measure), _value(best, measure)
    if leads is None or mine != mine:
        return ""
    if mine == _value(leads, measure):
        beside = _beside(best, controls, measure)
        first = "it is first with" if len(searches) > 1 else "it has"
        return f" Counting only what passes for a face {first} {_rate(best, measure)}{beside}."
    return (
        f" Counting only what passes for a face it has {_rate(best, measure)} and {_name(leads)} is first with "
        f"{_rate(leads, measure)}{_beside(leads, controls, measure)}."
    )


def _defences(study: Study) -> Cell | None:
    met = [(plain, defended) for plain, defended in pairs(study) if not defended.is_control]
    if not met:
        return None
    verdicts = [called(plain, defended) for plain, defended in met]
    lowers = [verdict for verdict in verdicts if verdict.startswith("lowers")]
    free = sum(verdict == "lowers, at equal utility" or verdict == "lowers, at higher utility" for verdict in lowers)
    refs = tuple(dict.fromkeys(ref for _, x in met for ref in x.victim.group.refs))
    n = len({(x.victim.group.label, x.victim.name) for _, x in met})
    text = (
        f"{n} defended system{'s' if n != 1 else ''} met {len(met)} attack{'s' if len(met) != 1 else ''}: top-1 is "
        f"lower in {len(lowers)} of them, in {free} without a loss of utility that would show."
    )
    return Cell(text, refs=refs)


def _best(found: Iterable[Attempt], measure: str) -> Attempt | None:
    known = [x for x in found if _value(x, measure) == _value(x, measure)]
    return max(known, key=lambda x: _value(x, measure), default=None)


def _name(attempt: Attempt) -> str:
    return f"{attempt.name} ({attempt.settings})" if attempt.settings else attempt.name


def _value(attempt: Attempt, measure: str) -> float:
    score = attempt.score(measure)
    return score.value if score else float("nan")


def _rate(attempt: Attempt, measure: str) -> str:
    score = attempt.score(measure)
    if score is None:
        return numerals.NONE
    interval = numerals.interval(score, True)
    return f"{numerals.percent(score.value)} ({interval + ', ' if interval else ''}n={score.n})"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
