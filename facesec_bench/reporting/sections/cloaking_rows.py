"""The rows of a cloaking study: no cloak, pixel attacks and cloaks, and what each scored on held-out recognisers."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from facesec_bench.records import Score
from facesec_bench.reporting import document, labels, numerals
from facesec_bench.reporting.document import Cell, Row, embolden, head, merge_equal
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import CLEAN, Budget, ScoreKey, budget, is_control, parse, stem
from facesec_bench.reporting.labels import Label
from facesec_bench.reporting.sections.calibration import named

MEAN = "mean"
"""The victim of a score that pools all the held-out ones."""

KINDS = {"none": "Controls", "pixel": "Pixel attacks", "cloak": "Cloaks"}
"""Kinds of rows, in printing order."""

KINDS_IN_WORDS = (
    "A pixel attack may change every pixel as it likes within its budget ε. A cloak is what its card calls one, and "
    "every method with a prompt or without such a budget; where ε says “shade”, a cloak keeps every pixel within that "
    "many grey levels of the photo all the same."
)

_STUDY = "cloaking"
_OWN = (*labels.PROTECTION, *(f"adaptive_{name}" for name in labels.PROTECTION), *labels.GALLERY)
_NOTHING = Score(math.nan, math.nan, math.nan, 0)


class Protector(NamedTuple):
    """One method of one run. `kind` is of KINDS; `name` carries the budget as score keys do."""

    group: Group
    name: str
    kind: str
    spent: Budget
    silent: bool

    @property
    def stem(self) -> str:
        """The name without its budget."""
        return stem(self.name)

    @property
    def is_control(self) -> bool:
        """Whether it protects nobody and is there to be compared with."""
        return self.kind == "none"

    @property
    def title(self) -> str:
        """Its name in print."""
        if self.name == CLEAN:
            return "No cloak"
        return "Random sign (control)" if is_control(self.name) else self.stem

    @property
    def budget(self) -> str:
        """Its budget in print; a photo without a cloak has none to spend, a cloak may have the depth of its shades."""
        shade = _told(self.group, self.name).get("shade_255")
        if shade is not None and self.spent.eps_255 is None:
            return f"{float(shade):g}/255 shade"
        return numerals.NONE if self.name == CLEAN else self.spent.text

    @property
    def prompt(self) -> str:
        """What the cloak was asked to look like, from its card; mostly empty."""
        return str(_told(self.group, self.name).get("prompt") or "")

    @property
    def failure(self) -> str:
        """Why the method could not run, from its card; empty if it could."""
        opening = (f"{self.name} ", f"{self.name}:")
        return next((x for x in self.group.card.failures if x.startswith(opening)), "")

    def score(self, measure: str, victim: str) -> Score | None:
        """The score; None where the measure was not asked for, NaN with n = 0 where nothing came of it."""
        found = self.group.scores.get(parse(f"{measure}/{self.name}/{victim}"))
        return _NOTHING if found is None and self.silent else found

    def overall(self, measure: str) -> Score | None:
        """The score over all held-out victims: the mean, or that of the only victim."""
        found, victims = self.score(measure, MEAN), self.victims
        return self.score(measure, victims[0]) if found is None and len(victims) == 1 else found

    def price(self, measure: str) -> Score | None:
        """LPIPS over all victims: of the photos made for this measure's goal where they were told apart."""
        return self.overall(f"lpips_{measure.partition('_')[0]}") or self.overall("lpips")

    @property
    def victims(self) -> list[str]:
        """The victims its run judged protection by, without the mean."""
        found = (k.victim for k in self.group.scores if k.measure in labels.PROTECTION)
        return [victim for victim in dict.fromkeys(found) if victim != MEAN]

    def cell(self, measure: str, victim: str, label: Label) -> Cell:
        """The score as a cell of a table; what failed says so."""
        score = self.score(measure, victim)
        if self.failure and (score is None or not score.n):
            return Cell("failed", "n=0", self.group.refs, score=score or _NOTHING)
        if label.signed:
            return document.points(score, self.group.refs)
        return document.number(score, self.group.refs, label.proportion)

    def opening(self) -> tuple[Cell, Cell]:
        """Name and budget: the first cells of its row."""
        return Cell(self.title), Cell(self.budget)

    @property
    def row_kind(self) -> str:
        """The kind of its table row."""
        return "control" if self.is_control else ""


def protectors(study: Study) -> list[Protector]:
    """Every method that was judged as a protection, and those that a cloaking run's card names but did not score."""
    found = []
    for group in study.groups:
        scored = dict.fromkeys(k.method for k in group.scores if _is_own(k.measure))
        owed = group.card.methods if group.card.experiment == _STUDY else ()
        silent = [name for name in owed if name not in scored and "@" not in name]
        for name in (*scored, *(silent if scored else ())):
            spent = budget(name, group.card)
            found.append(Protector(group, name, _kind(group, name, spent), spent, name not in scored))
    return sorted(found, key=_order)


def is_cloaking(group: Group, key: ScoreKey) -> bool:
    """Whether a score is of a photo that was cloaked for its victim held out, though its name is that of a white box.

    A name that was judged for evasion too is left to evasion.
    """
    if len(key.surrogates) > 1 or key.is_transfer:
        return False
    return _has(group, key, labels.PROTECTION) and not _has(group, key, ("dodging_success", "impersonation_success"))


def victims(study: Study, rows: Iterable[Protector], measures: Collection[str]) -> list[str]:
    """Who judged these rows on any of these measures, in the order of the cards, the mean last.

    A victim that judged no protection speaks for another study of the run, where a control bears the same name.
    """
    wanted = {(row.group.label, row.name): {*row.victims, MEAN} for row in rows}
    found = {
        k.victim
        for g, k, _ in study.scores()
        if k.measure in measures and k.victim in wanted.get((g.label, k.method), ())
    }
    return [*sorted(found - {MEAN}, key=study.order), *([MEAN] if MEAN in found else [])]


def column(victim: str, study: Study) -> str:
    """A victim as the head of a column."""
    return "Mean" if victim == MEAN else named(victim, study)


def table_rows(
    study: Study,
    rows: Sequence[Protector],
    make: Callable[[Protector], list[Row]],
    bold: Mapping[int, bool] | None = None,
    judge: str = "",
) -> list[Row]:
    """Rows under the head of their kind, one data set after another.

    Args:
        bold: columns in which the best of a data set is bold, and whether higher is better there.
        judge: named in the heads, where a table holds several.
    """
    sets = {str(row.group.card.data.get("digest", "")): row.group.card.data for row in rows}
    made: list[Row] = []
    for digest, data in sets.items():
        own = [row for row in rows if str(row.group.card.data.get("digest", "")) == digest]
        kinds = {kind: merge_equal([x for row in own if row.kind == kind for x in make(row)]) for kind in KINDS}
        flat = [row for found in kinds.values() for row in found]
        for i, higher in (bold or {}).items():
            flat = embolden(flat, i, higher)
        several = [str(data.get("name", "?"))] if len(sets) > 1 else []
        place = "".join(f", {x}" for x in ([f"judged by {judge}"] if judge else []) + several)
        for kind, found in kinds.items():
            if found:
                made += [head(f"{KINDS[kind]}{place}"), *flat[: len(found)]]
                flat = flat[len(found) :]
    return made


def data_sets(rows: Iterable[Protector]) -> dict[str, list[Protector]]:
    """Rows that may be compared: by the name of the data set, told apart by its digest."""
    found: dict[tuple[str, str], list[Protector]] = {}
    for row in rows:
        data = row.group.card.data
        found.setdefault((str(data.get("digest", "")), str(data.get("name", "?"))), []).append(row)
    names = [name for _, name in found]
    return {name if names.count(name) == 1 else f"{name} {digest[:8]}": x for (digest, name), x in found.items()}


def _is_own(measure: str) -> bool:
    return measure in _OWN or measure.startswith(tuple(f"{name}_" for name in labels.PROTECTION))


def _has(group: Group, key: ScoreKey, measures: Collection[str]) -> bool:
    return any(key._replace(measure=measure) in group.scores for measure in measures)


def _told(group: Group, name: str) -> Mapping[str, Any]:
    return group.card.methods.get(name) or group.card.methods.get(stem(name)) or {}


def _kind(group: Group, name: str, spent: Budget) -> str:
    told = _told(group, name)
    role = str(told.get("role") or "")
    if name == CLEAN or is_control(name) or role == "control":
        return "none"
    if role == "cloak" or told.get("prompt") or spent.eps_255 is None:
        return "cloak"
    return "pixel"


def _order(row: Protector) -> tuple[object, ...]:
    """No cloak, then controls, then by name and budget; the names in the order of the card."""
    stems = list(dict.fromkeys(re.sub(r"@.*", "", stem(name)) for name in row.group.card.methods))
    place = stems.index(row.stem) if row.stem in stems else len(stems)
    return list(KINDS).index(row.kind), row.name != CLEAN, place, row.stem, row.spent.order, row.group.label
