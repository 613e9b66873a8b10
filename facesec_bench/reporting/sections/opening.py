"""The first page: headline numbers, what did not run, and the threat model."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from facesec_bench.records import Score
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Cell, Prose, Section, words
from facesec_bench.reporting.grouping import Group, Study, is_toy
from facesec_bench.reporting.keys import DEFAULT, ScoreKey, budget, is_control, stem
from facesec_bench.reporting.sections import activation_headline, cloaking_headline, inversion_headline
from facesec_bench.reporting.sections.cloaking_rows import protectors
from facesec_bench.reporting.sections.inversion_rows import attempts

_VERBS = {"dodging_success": "dodges", "impersonation_success": "impersonates on"}


class Best(NamedTuple):
    """A headline score and where it comes from."""

    group: Group
    key: ScoreKey
    score: Score


def abstract(study: Study) -> Prose:
    """One sentence each on scope, white box, control and transfer, then on activation by a watermark, on cloaks, and on
    what was recovered from recognisers."""
    evasion = (*_white_box(study), _control(study), *_transfer(study))
    marks, cloaks, recoveries = (
        x.sentences(study) for x in (activation_headline, cloaking_headline, inversion_headline)
    )
    told = (_scope(study), _toys(study), *evasion, *marks, *cloaks, *recoveries)
    return Prose(tuple(sentence for sentence in told if sentence), style="abstract")


def alarms(study: Study) -> tuple[Prose, ...]:
    """Runs whose numbers are not in this report, and why; nothing if all is well."""
    if not study.unusable:
        return ()
    total = len(study.unusable) + len(study.superseded) + sum(len(g.runs) for g in study.groups)
    opening = f"{len(study.unusable)} of {total} runs gave no numbers; none of theirs are shown."
    return (
        Prose((Cell(opening), *(Cell(f"{r.run_id}: {r.problem.rstrip('.')}.") for r in study.unusable)), style="alarm"),
    )


def threat_model(study: Study) -> Section | None:
    """The threat model in the words of the runs, and their notes; runs that say the same are said once."""
    sentences: dict[str, list[str]] = {}
    notes: dict[str, list[str]] = {}
    for group in study.groups:
        for label, _, card in group.labelled():
            for told, place in ((card.threat_model, sentences), (card.notes, notes)):
                for text in told:
                    place.setdefault(text, []).append(label)
    if not sentences and not notes:
        return None
    blocks = []
    if sentences:
        blocks.append(Prose(tuple(Cell(text, refs=tuple(refs)) for text, refs in sentences.items())))
    if notes:
        blocks.append(Prose(tuple(Cell(text, refs=tuple(refs)) for text, refs in notes.items()), style="note"))
    return Section("Threat model", tuple(blocks))


def ethics() -> Section:
    """What the numbers are for."""
    return Section(
        "Ethics",
        (
            words(
                "These attacks are run to measure how well faces are protected and how far recognisers can be trusted, "
                "on photos that may be used for research. They must not be used to deceive a deployed system or to "
                "identify people without their consent. A rate measured here holds for these models, photos and "
                "budgets, and promises no protection against another recogniser."
            ),
        ),
    )


def _scope(study: Study) -> Cell:
    if not study.groups:
        return Cell("No run of this study finished, so this report holds no numbers.")
    seen: dict[tuple[str, str], list[str]] = {}
    for group in study.groups:
        data = group.card.data
        images, identities, name = (data.get(key, "?") for key in ("n_images", "n_identities", "name"))
        text = f"{images} images of {identities} identities ({name})"
        seen.setdefault((str(data.get("digest")), text), []).append(group.label)
    photos = " and ".join(text for _, text in seen)
    names = list(study.targets())
    methods = {stem(k.method) for g, k, _ in study.scores() if k.surrogates and _is_attack(g, k)}
    against = (
        f"{len(names)} face recogniser{'s' if len(names) != 1 else ''} ({', '.join(names)})" if names else "no target"
    )
    cloaks = {row.stem for row in protectors(study) if row.kind == "cloak"}
    attacks, recovered = methods - cloaks - {stem(x.name) for x in attempts(study)}, inversion_headline.scope(study)
    counts = [_counted(len(found), noun) for noun, found in (("attack", attacks), ("cloak", cloaks)) if found]
    what = f"{' and '.join(counts)} against" if counts else _harmless(study)
    if recovered:
        what = f"{recovered}, with" if not counts else f"{recovered}; {what}"
    return Cell(f"{what} {against} on {photos}.", refs=tuple(dict.fromkeys(x for refs in seen.values() for x in refs)))


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' if n != 1 else ''}"


def _harmless(study: Study) -> str:
    """What a study without an attack does to its recognisers."""
    roles = {str(entry.get("role")) for group in study.groups for entry in group.card.methods.values()}
    return "A training of our own, judged with" if "training" in roles else "Clean calibration of"


def _is_attack(group: Group, key: ScoreKey) -> bool:
    """Whether a method counts as an attack: by its card's role, and whatever was judged for evasion.

    A point of a trade-off is a variant of an attack that is counted already.
    """
    told = group.card.methods.get(key.method) or {}
    role = told.get("role") or "attack"
    return (role in ("attack", "adaptive") and not told.get("setting")) or key.measure in _VERBS


def _toys(study: Study) -> Cell | None:
    toys = [name for name, note in study.targets().items() if is_toy(name, note)]
    if not toys:
        return None
    all_toys = "Every target is a toy" if len(toys) == len(study.targets()) else f"{', '.join(toys)} is a toy target"
    return Cell(f"{all_toys}: its numbers show that the machinery works and say nothing of a real recogniser.")


def _white_box(study: Study) -> list[Cell]:
    found = [_best(study, m, lambda k: k.is_white_box) for m in _VERBS]
    return [_sentence(b, f"white-box {b.key.method}") for b in found if b]


def _transfer(study: Study) -> list[Cell]:
    found = [_best(study, m, lambda k: k.is_transfer) for m in _VERBS]
    return [_sentence(b, f"the best transfer is {b.key.method} made on {' + '.join(b.key.surrogates)}, which")
            for b in found if b]  # fmt: skip


def _control(study: Study) -> Cell | None:
    best = [b for b in (_best(study, m, lambda k: is_control(k.method)) for m in _VERBS) if b]
    if not best:
        return None
    top = max(best, key=lambda b: b.score.value)
    rate = numerals.percent(top.score.value)
    text = f"At 8/255, the random-sign control succeeds most often against {top.key.victim}: in {rate} of trials."
    return Cell(text, refs=top.group.refs)


def _best(study: Study, measure: str, admits: Callable[[ScoreKey], bool]) -> Best | None:
    """The highest rate at the default L-inf budget among real targets; toys and weak ones only for want of others."""
    notes = study.targets()
    rows = [
        Best(g, k, s)
        for g, k, s in study.scores()
        if k.measure == measure and admits(k) and s.value == s.value
        and budget(k.method, g.card) == DEFAULT
    ]  # fmt: skip
    real = [b for b in rows if not is_toy(b.key.victim, notes.get(b.key.victim, ""))]
    strong = [b for b in real if "weak recogniser" not in notes.get(b.key.victim, "")]
    return max(strong or real or rows, key=lambda b: b.score.value, default=None)


def _sentence(best: Best, subject: str) -> Cell:
    score = best.score
    interval = numerals.interval(score, True)
    rate = f"{numerals.percent(score.value)} of trials ({interval + ', ' if interval else ''}n={score.n})"
    text = f"at {DEFAULT.text}, {subject} {_VERBS[best.key.measure]} {best.key.victim} in {rate}."
    return Cell(text[0].upper() + text[1:], refs=best.group.refs)
