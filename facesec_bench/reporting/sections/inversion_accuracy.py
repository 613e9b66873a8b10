"""What was recovered from classifiers and from embeddings: who it shows, whether it is a face, what it cost."""

from __future__ import annotations

from collections.abc import Mapping

from facesec_bench.reporting import labels
from facesec_bench.reporting.document import Block, Row, Section, Table, embolden, merge_equal, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections import inversion_acceptance
from facesec_bench.reporting.sections.calibration import named
from facesec_bench.reporting.sections.inversion_rows import Attempt, Setting, attempts, heading, slug, together

READING = (
    "Top-1 and top-5: the person is the judge's first guess, or among its first five. “Top-1 and a face” counts only "
    "pictures in which a detector also finds a face; the face score is how sure it is. The distance is to the nearest "
    "photo of the person that the victim learned from, squared, in the judge's embedding. Queries, gradients and "
    "seconds are for one recovery."
)
CONTROLS = (
    "Controls search nothing: a random picture, the best of many random ones, the mean of the public faces. An attack "
    "that is not clear of them found nothing out. A picture can convince recognisers and still look like nobody."
)
TEMPLATES = (
    "Here the victim is a verifier that holds a template of each person, the mean embedding of the photos that it was "
    "given: an attack has its weights, the templates, or only a similarity to them, as its access allows."
)
FEW = (
    "From few pictures these are biased: the Fréchet distance upwards, and all of them depend on n. Compare rows of "
    "equal n only, and none with a paper's."
)
_TITLES = {False: "Faces recovered from classifiers", True: "Faces recovered from embeddings"}
_KINDS = {False: "classifiers", True: "embeddings"}


def classifiers(study: Study) -> Section | None:
    """Recoveries from closed-set recognisers."""
    return _section(study, False)


def embeddings(study: Study) -> Section | None:
    """Recoveries from the templates of verifiers."""
    return _section(study, True)


def _section(study: Study, embedding: bool) -> Section | None:
    """A table a victim, the spread of all, then what verifiers accept."""
    found = [x for x in attempts(study) if x.victim.is_embedding is embedding and not x.victim.defence]
    places = together(found)
    if not places:
        return None
    blocks: list[Block] = [_accuracy(study, name, settings) for name, settings in places.items()]
    tables = (_spread(study, places, _KINDS[embedding]), *inversion_acceptance.tables(study, places, embedding))
    blocks += [block for block in tables if block is not None]
    told = embedding and any(not x.victim.is_embedding for x in attempts(study))
    opening = [words(TEMPLATES)] if embedding else []
    return Section(_TITLES[embedding], (*opening, *([] if told else [words(READING), words(CONTROLS)]), *blocks))


def _accuracy(study: Study, name: str, settings: Mapping[Setting, list[Attempt]]) -> Table:
    everything = [attempt for own in settings.values() for attempt in own]
    shown = [m for m in labels.RECOVERED if any(x.score(m) for x in everything)] or ["top1"]
    spent = [m for m in labels.SPENT if any(x.score(m) for x in everything)]
    rows: list[Row] = []
    for own in settings.values():
        made = merge_equal([Row((
            x.opening(), *(x.cell(m, labels.RECOVERED[m]) for m in shown), *map(x.spent, spent)
        ), x.row_kind) for x in own])  # fmt: skip
        rows += [*heading(own, len(settings)), *_bold(list(made), shown)]
    judges = " or ".join(dict.fromkeys(named(x.victim.evaluator, study) for x in everything if x.victim.evaluator))
    by = f", judged by {judges}" if judges else ""
    caption = f"Recovered from {named(name, study)}{by}, with 95% intervals."
    note = (
        "Bold: the best attack of its column, if its interval does not overlap the second's; controls do not compete."
    )
    texts = {**labels.RECOVERED, **labels.SPENT}
    columns = ("Attack", *(texts[m].text for m in (*shown, *spent)))
    return Table(slug("inversion-from", name), caption, columns, tuple(rows), note, wide=True)


def _bold(rows: list[Row], shown: list[str]) -> list[Row]:
    # The victim's confidence is what most attacks raise, and a face score says nothing of the person: neither is won.
    for i, measure in enumerate(shown, start=1):
        if measure not in ("confidence", "plausibility"):
            rows = embolden(rows, i, labels.RECOVERED[measure].higher)
    return rows


def _spread(study: Study, places: Mapping[str, Mapping[Setting, list[Attempt]]], kind: str) -> Table | None:
    """All recoveries of an attack beside the private photos; folded, for it says nothing of a person."""
    everything = [x for settings in places.values() for own in settings.values() for x in own]
    shown = {m: label for m, label in labels.SPREAD.items() if any(x.score(m) for x in everything)}
    rows: list[Row] = []
    for name, settings in places.items():
        for own in settings.values():
            made = [
                Row((x.opening(), *(x.cell(m, label) for m, label in shown.items())), x.row_kind)
                for x in own
                if any(x.score(m) for m in shown)
            ]
            rows += [*heading(own, len(settings), named(name, study)), *merge_equal(made)] if made else []
    if not rows:
        return None
    caption = f"All recoveries of an attack from {kind} beside the private photos, in the judge's embedding."
    if "fid" in shown:
        caption += " FID is in Inception-v3's features, of the weights that the run was given."
    columns = ("Attack", *(label.text for label in shown.values()))
    return Table(f"inversion-spread-{kind}", caption, columns, tuple(rows), FEW, wide=True, folded=True)
