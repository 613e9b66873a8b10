"""What is left of a cloak once the recogniser has learned it, and in a gallery that holds cloaked photos."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from facesec_bench.records import Score
from facesec_bench.reporting import document, labels, numerals
from facesec_bench.reporting.document import Cell, Prose, Row, Section, Table, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import CLEAN
from facesec_bench.reporting.sections.cloaking_rows import MEAN, Protector, column, protectors, table_rows, victims

FALLEN = 0.5
"""A cloak has fallen where the interval of what is left of its PSR lies wholly below this share of what it was."""

OPENING = (
    "A cloak is worn for years while recognisers are retrained. Here each recogniser is trained on photos of other "
    "people under the same cloak, to see through it; the cloaked test photos stay as they were and are judged by the "
    "adapted recogniser at its own threshold. The cost is what the adaptation takes from its true accept rate on clean "
    "photos."
)
RULE = (
    "How it is called: “fallen” where the interval after adaptation lies wholly below half of the PSR before, "
    "“not fallen” where it lies wholly above half, else “undecided”; and “as without a cloak” where what is left is "
    "itself within the interval of untouched photos. A cloak whose interval before adaptation overlaps that of "
    "untouched photos had nothing to lose."
)
NEAREST = (
    "1-NN: a tracker's gallery holds the person's photo and everybody else's; the rate is how often the nearest photo "
    "to a clean one of the person is somebody else's. It is taken with the photo as it was and with the photo cloaked; "
    "where a recogniser adapted, also with both."
)

LOWER_BOUND = (
    "These recognisers learned from generated faces and judge photos of real people. A tracker with real photos to "
    "learn from may do better: what they reach is a lower bound on what a tracker can do, and “not fallen” does not "
    "say that a cloak withstands every tracker."
)
UNRECORDED = "The card does not say what the recognisers were trained on."

_GOALS = {"dodging_psr": "Dodging", "impersonation_psr": "Impersonation"}
_COST = labels.Label("Cost", True, higher=False, signed=True)


def section(study: Study) -> Section | None:
    """A table a goal of the methods that recognisers adapted to; then the gallery, for every method it was asked of."""
    rows = protectors(study)
    tables = [*(_adapted(study, rows, goal) for goal in _GOALS), _gallery(study, rows)]
    found = [table for table in tables if table is not None]
    if not found:
        return None
    adapted = [words(OPENING), Prose((Cell(RULE), *_trackers(rows)))] if found[0].slug != "cloak-gallery" else []
    nearest = [words(NEAREST)] if any(victims(study, rows, (name,)) for name in labels.GALLERY) else []
    title = "Recognisers that adapt to cloaks" if adapted else "Cloaks in a gallery"
    return Section(title, (*adapted, *nearest, *found))


def _trackers(rows: list[Protector]) -> list[Cell]:
    """What the recognisers of each run learned from, and how much that says; runs that say the same are said once."""
    told: dict[str, list[str]] = {}
    for row in rows:
        if any(row.score(f"adaptive_{goal}", v) for goal in _GOALS for v in (*row.victims, MEAN)) and not row.silent:
            for text in _learned(row.group.card.data.get("tracker") or {}):
                told.setdefault(text, []).extend(row.group.refs)
    return [Cell(text, refs=tuple(dict.fromkeys(refs))) for text, refs in told.items()]


def _learned(tracker: Mapping[str, Any]) -> list[str]:
    if not tracker:
        return [UNRECORDED]
    settings = ", ".join(f"{name} {value}" for name, value in (tracker.get("settings") or {}).items())
    text = (
        f"Trained on {tracker['cloaks']} cloaks of {tracker['people']} people ({tracker['name']}, digest "
        f"{str(tracker['digest'])[:12]}) by {tracker['retrainer']}{f' ({settings})' if settings else ''}."
    )
    return [text, LOWER_BOUND] if tracker["generated"] and not tracker["attacked_generated"] else [text]


def verdict(before: Score | None, after: Score | None, clean: Score | None) -> str:
    """What adaptation did to a cloak, by the rule that the page states; a dash where an interval is missing."""
    scores = [before, after]
    if before is None or after is None or any(s is None or s.low != s.low or s.high != s.high for s in scores):
        return numerals.NONE
    if clean is not None and before.low <= clean.high:
        return "nothing to lose"
    half = FALLEN * before.value
    called = "fallen" if after.high < half else "not fallen" if after.low > half else "undecided"
    return f"{called}, as without a cloak" if clean is not None and after.value <= clean.high else called


def _adapted(study: Study, rows: list[Protector], measure: str) -> Table | None:
    name = f"adaptive_{measure}"
    shown = [row for row in rows if any(row.score(name, v) for v in (*row.victims, MEAN)) and not row.silent]
    judges = victims(study, shown, (name,))
    if not judges:
        return None
    gallery = [m for m in labels.GALLERY if measure == "dodging_psr" and victims(study, shown, (m,))]

    def make(row: Protector) -> list[Row]:
        own = (victim for victim in judges if row.score(name, victim) is not None)
        return [_row(row, rows, measure, victim, column(victim, study), gallery) for victim in own]

    made = table_rows(study, shown, make)
    head = ("Method", "ε", "Judged by", "Called", "PSR, no cloak", "PSR before", "PSR adapted", "Cost in TAR (points)",
            *(labels.GALLERY[m].text for m in gallery))  # fmt: skip
    caption = f"{_GOALS[measure]} before and after the recogniser adapts, with 95% intervals."
    note = "Methods that are not in this table were not met by an adapted recogniser: their PSR is untested."
    slug = f"cloak-adaptive-{_GOALS[measure].lower()}"
    return Table(slug, caption, head, tuple(made), note, 4, wide=True)


def _row(row: Protector, rows: list[Protector], measure: str, victim: str, judge: str, gallery: list[str]) -> Row:
    label = labels.PROTECTION[measure]
    bare = clean(row, rows)
    untouched = bare.score(measure, victim) if bare else None
    called = verdict(row.score(measure, victim), row.score(f"adaptive_{measure}", victim), untouched)
    cells = [
        document.number(untouched, row.group.refs, True),
        row.cell(measure, victim, label),
        row.cell(f"adaptive_{measure}", victim, label),
        row.cell("adaptive_tar_cost", victim, _COST),
        *(_nearest(row, bare, name, victim) for name in gallery),
    ]
    return Row((*row.opening(), Cell(judge), Cell(called), *cells), row.row_kind)


def clean(row: Protector, rows: list[Protector]) -> Protector | None:
    """The row without a cloak of the same run."""
    return next((x for x in rows if x.group is row.group and x.name == CLEAN), None)


def _nearest(row: Protector, bare: Protector | None, name: str, victim: str) -> Cell:
    """A gallery's score; without a cloak it is the same for every method and may be told once."""
    if name == "protection_baseline" and row.score(name, victim) is None and bare is not None:
        return bare.cell(name, victim, labels.GALLERY[name])
    return row.cell(name, victim, labels.GALLERY[name])


def _gallery(study: Study, rows: list[Protector]) -> Table | None:
    """Every method in the gallery; folded where the table above has the cloaks that matter."""
    names = [name for name in labels.GALLERY if victims(study, rows, (name,))]
    judges = victims(study, rows, names)
    shown = [row for row in rows if not row.silent and any(row.score(m, v) for m in names for v in judges)]

    def make(row: Protector) -> list[Row]:
        bare = clean(row, rows)
        own = (victim for victim in judges if any(row.score(name, victim) for name in names))
        return [
            Row((*row.opening(), Cell(column(v, study)), *(_nearest(row, bare, m, v) for m in names)), row.row_kind)
            for v in own
        ]

    made = table_rows(study, shown, make)
    if not made:
        return None
    head = ("Method", "ε", "Judged by", *(labels.GALLERY[name].text for name in names))
    caption = "The nearest photo of a gallery is another person's, with 95% intervals."
    return Table("cloak-gallery", caption, head, tuple(made), "", 3, wide=True, folded=True)
