"""Recovered faces beside a private photo, as they are."""

from __future__ import annotations

import math
from collections.abc import Iterator

from facesec_bench.records import Strip
from facesec_bench.reporting.document import Block, Section, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.sections import strips
from facesec_bench.reporting.sections.inversion_rows import slug

GRID = "inversion:"
"""What the names of an inversion study's grids begin with; the victim follows."""

ABREAST = 7
"""Pictures in a row, the private photo among them: more could not be seen."""

PEOPLE, OF_DEFENDED = 3, 1
"""Rows shown of a victim, and of a defended one, so that the page stays small enough to send."""

READING = (
    "Recoveries are shown as they are, the first of each person and none chosen; many do not look like faces. Under "
    "each: its cosine to the person for the judge, whom the judge names, and how sure a detector is of a face."
)


def section(study: Study) -> Section | None:
    """The strips of a victim; attacks that do not fit abreast follow below, beside the same photo."""
    grids: dict[str, list[strips.Found]] = {}
    defended: set[str] = set()
    for group in study.groups:
        for label, run, card in group.labelled():
            defended |= {f"{GRID}{name}" for name in card.data.get("defended") or {}}
            for strip in (s for s in run.strips if s.grid.startswith(GRID)):
                grids.setdefault(strip.grid, []).append((label, run.folder, strip))
    if not grids:
        return None
    ordered = sorted(grids, key=lambda name: name in defended)
    blocks = [b for name in ordered for b in _figures(name, grids[name], OF_DEFENDED if name in defended else PEOPLE)]
    return Section("Recovered faces", (words(READING), *blocks))


def _figures(name: str, found: list[strips.Found], limit: int) -> Iterator[Block]:
    victim = name.removeprefix(GRID)
    shown = dict.fromkeys(shot.column for _, _, strip in found for shot in strip.shots)
    first, *columns = shown
    rows = max(1, math.ceil(len(columns) / (ABREAST - 1)))
    size = math.ceil(len(columns) / rows) or 1  # of equal length, so that no picture grows larger than the others
    parts = [columns[i : i + size] for i in range(0, len(columns), size)] or [[]]
    for i, part in enumerate(parts, start=1):
        count = f" ({i} of {len(parts)})" if len(parts) > 1 else ""
        own = (item for item in found if not part or any(shot.column in part for shot in item[2].shots))
        cut = [(label, folder, _only(strip, [first, *part])) for label, folder, strip in own]
        words_ = f"Legends of what was recovered from {victim}{count}."
        name_ = slug("inversion-photos", victim, *([str(i)] if len(parts) > 1 else []))
        yield strips.photos(name_, f"Recovered from {victim}{count}.", cut, limit, words_)


def _only(strip: Strip, columns: list[str]) -> Strip:
    return strip._replace(shots=tuple(shot for shot in strip.shots if shot.column in columns))
