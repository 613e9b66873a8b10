"""What verifiers say of recoveries: the recogniser that was attacked, and those that were not, apart."""

from __future__ import annotations

import re
from collections.abc import Mapping

from facesec_bench.reporting.document import Row, Table, merge_equal
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.labels import Label
from facesec_bench.reporting.sections.calibration import named
from facesec_bench.reporting.sections.inversion_rows import Attempt, Setting, heading, slug

COSINE = Label("Cosine to the person", False)
ABOVE = Label("SDs above strangers", False)

_SAR = re.compile(r"sar_type(?P<type>[12])_far_(?P<far>[0-9.]+e-?\d+)")
_TYPES = {"1": "I", "2": "II"}
_NOTE = (
    "The success attack rate (SAR) is how often a recovery is accepted as the person at a threshold of that false "
    "accept rate: type I against the photos that the victim learned from, type II against photos that it never saw "
    "(Mai et al., TPAMI 2019). "
)
_DEVIATIONS = (
    "How high a cosine is depends on the recogniser: beside it stands by how many standard deviations (SDs) it exceeds "
    "what photos of the other people reach on average, who must be nine or more. "
)
_SEEN = (
    "A recogniser that was attacked, that the victim uses or that an attack's students are made of, says whether its "
    "door opens, not whom a picture shows."
)
_UNSEEN = "These recognisers were not attacked: what they accept carries over."


def tables(study: Study, places: Mapping[str, Mapping[Setting, list[Attempt]]], embedding: bool) -> list[Table | None]:
    """The encoders that were not attacked, then those that were; of classifiers folded, for top-1 comes first there."""
    return [_table(study, places, embedding, attacked) for attacked in (False, True)]


def rates(found: list[Attempt], encoder: str = "") -> list[str]:
    """The measures of acceptance that were taken, type I first, the highest false accept rate first."""
    groups = {id(x.victim.group): x.victim.group for x in found}.values()
    measures = {k.measure for g in groups for k in g.scores if _SAR.fullmatch(k.measure) and encoder in ("", k.victim)}
    return sorted(measures, key=lambda m: (_parts(m)[0], -_parts(m)[1]))


def label(measure: str) -> Label:
    """ "sar_type1_far_1e-2" as "SAR I at FAR 1%"."""
    kind, far = _parts(measure)
    return Label(f"SAR {_TYPES[kind]} at FAR {100 * far:g}%", True)


def _parts(measure: str) -> tuple[str, float]:
    found = _SAR.fullmatch(measure)
    return (found["type"], float(found["far"])) if found else ("", 0.0)


def _table(
    study: Study, places: Mapping[str, Mapping[Setting, list[Attempt]]], embedding: bool, attacked: bool
) -> Table | None:
    everything = [x for settings in places.values() for own in settings.values() for x in own]
    measures = {"cosine": COSINE} | {m: label(m) for m in rates(everything)}
    if any(x.score("above_strangers", encoder) for x in everything for encoder in x.encoders(attacked)):
        measures = {"cosine": COSINE, "above_strangers": ABOVE} | measures
    rows = [row for x in places.values() for own in x.values() for row in _rows(study, own, len(x), attacked, measures)]
    if not rows:
        return None
    kind, which = "embeddings" if embedding else "classifiers", "attacked" if attacked else "unseen"
    who = "recognisers that were attacked" if attacked else "recognisers that were not attacked"
    caption = f"What {who} make of recoveries from {kind}, with 95% intervals."
    columns = ("Attack", *(told.text for told in measures.values()))
    note = _NOTE + (_DEVIATIONS if "above_strangers" in measures else "") + (_SEEN if attacked else _UNSEEN)
    slug_ = slug("inversion", "accepted", kind, which)
    return Table(slug_, caption, columns, tuple(rows), note, wide=True, folded=not embedding)


def _rows(study: Study, own: list[Attempt], of: int, attacked: bool, measures: Mapping[str, Label]) -> list[Row]:
    """Rows of one victim and setting, under a head for each encoder."""
    rows: list[Row] = []
    encoders = dict.fromkeys(name for x in own for name in x.encoders(attacked))
    for encoder in encoders:
        made = [
            Row((x.opening(), *(x.cell(m, told, encoder) for m, told in measures.items())), x.row_kind)
            for x in own
            if encoder in x.encoders(attacked) and x.score("cosine", encoder) is not None
        ]  # fmt: skip
        judge = " (the judge)" if encoder == own[0].victim.evaluator else ""
        text = f"from {named(own[0].victim.name, study)}, shown to {named(encoder, study)}{judge}"
        rows += [*heading(own, of, text), *merge_equal(made)] if made else []
    return rows
