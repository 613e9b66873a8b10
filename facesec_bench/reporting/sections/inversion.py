"""Whom an inversion study attacked, who judged, and what a reader must know before any number."""

from __future__ import annotations

from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Cell, Prose, Row, Section, Table, head, merge_equal, number, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import CLEAN, ScoreKey
from facesec_bench.reporting.sections.calibration import named
from facesec_bench.reporting.sections.inversion_rows import Victim, is_inversion, told, unfit, victims

READING = (
    "An inversion gives back a picture of a person whom a recogniser knows. An attack gets what its access allows of "
    "the victim and photos of other people, and no photo of the person. The picture is re-read from an 8-bit file and "
    "shown to a recogniser that was not attacked: it names the person whose mean embedding is nearest."
)
CAUTION = (
    "Accuracy on held photos bounds what a recovery can show: a victim that does not know its people has nothing to "
    "give, and a judge that does not know them cannot tell."
)
UPPER_BOUND = (
    "The private faces are drawn by a generator that attackers may paint with, so their picture of a face fits the "
    "private ones better than it would elsewhere: read these rates as an upper bound."
)
_KINDS = {True: "verifier: templates of its embeddings", False: "classifier"}


def section(study: Study) -> Section | None:
    """The study in words, then its victims and judges."""
    groups = [group for group in study.groups if is_inversion(group)]
    if not groups:
        return None
    blocks = [words(READING), _facts(groups), _table(study, groups), words(CAUTION, style="note")]
    return Section("Inversion: who is attacked and who judges", tuple(b for b in blocks if b is not None))


def _facts(groups: list[Group]) -> Prose | None:
    """What each run says of itself; runs that say the same are said once."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for text in _said(group):
            found.setdefault(text, []).extend(group.refs)
    return Prose(tuple(Cell(text, refs=tuple(refs)) for text, refs in found.items())) if found else None


def _said(group: Group) -> list[str]:
    about = told(group)
    if not about:
        return ["The card does not say whom the victims know and what the attackers learned from."]
    people = int(about["people"])
    private = (
        f"The victims know {people} people by {about['taught']} photos; {about['held']} photos of the same people are "
        f"held back. Each attack gives {about['samples']} picture{'s' if about['samples'] != 1 else ''} of everybody."
    )
    public = f"The attackers' public photos: {about['public_photos']} ({about['public']})."
    apart = "The private photos were not drawn by a generator."
    five = f", and among the first five in {numerals.percent(5 / people)}" if people > 5 else ""
    counted = (
        f"Top-1 is the {about['aggregation']}; some papers count a person whose best of several restarts is right, "
        f"which is more. A guess is right in {numerals.percent(1 / people)} (1/{people}){five}."
    )
    faces = f"A recovery passes for a face where the detector is at least {about['plausible']:g} sure of one"
    if "private_faces" in about:
        faces += f", as {numerals.percent(float(about['private_faces']))} of the private photos do"
    return [private, public, UPPER_BOUND if about.get("one_generator") else apart, counted, f"{faces}."]


def _table(study: Study, groups: list[Group]) -> Table | None:
    own = [victim for victim in victims(study) if not victim.defence]
    judges = [_judge(study, group, name) for group in groups for name in _judges(group)]
    attacked = [_victim(study, victim) for victim in own]
    if not attacked:
        return None
    rows = [head("Attacked"), *merge_equal(attacked), *([head("Judges")] if judges else []), *merge_equal(judges)]
    columns = ("Recogniser", "What it is", "Judged by", "Right on held photos")
    failed = [f"{name} on {victim} could not be taught: {why}" for g in groups for name, victim, why in unfit(g)]
    note = " ".join(f"{text.rstrip('.')}." for text in failed)
    return Table("inversion-victims", "Who was attacked and who judged.", columns, tuple(rows), note, 3)


def _victim(study: Study, victim: Victim) -> Row:
    uses = "" if victim.is_embedding or not victim.recogniser else f"uses {victim.recogniser}"
    accuracy = number(victim.accuracy, victim.group.refs, True)
    judge = Cell(victim.evaluator or numerals.NONE)
    return Row((Cell(named(victim.name, study)), Cell(_KINDS[victim.is_embedding], uses), judge, accuracy))


def _judges(group: Group) -> list[str]:
    return list(dict.fromkeys(told(group).get("evaluators", {}).values()))


def _judge(study: Study, group: Group, name: str) -> Row:
    score = group.scores.get(ScoreKey("evaluator_accuracy", CLEAN, (), name))
    texts = (named(name, study), "recogniser, nearest template", numerals.NONE)
    return Row((*map(Cell, texts), number(score, group.refs, True)))
