"""Pictures side by side: each grid of strips that the runs kept."""

from __future__ import annotations

import re
from pathlib import Path

from facesec_bench.records import Strip
from facesec_bench.reporting.document import Block, Cell, Photo, Photos, Row, Section, Table, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.photos import photo

LIMIT = 12
"""Rows shown of a grid, so that the page stays small enough to send."""

_CAPTIONS = {
    "activation": "One photo in the four cells of the activation table, each with what the verifier makes of it.",
}

_ELSEWHERE = re.compile(r"cloak$|inversion:")
"""How grids begin that a section of their own shows."""

Found = tuple[str, Path, Strip]  # (footnote, the run's folder, strip)


def section(study: Study) -> Section | None:
    """One figure a grid; the runs take turns, so that each of them is seen."""
    grids: dict[str, list[list[Found]]] = {}
    for group in study.groups:
        for label, run, _ in group.labelled():
            for name in dict.fromkeys(strip.grid for strip in run.strips if not _ELSEWHERE.match(strip.grid)):
                own = [(label, run.folder, strip) for strip in run.strips if strip.grid == name]
                grids.setdefault(name, []).append(own)
    if not grids:
        return None
    figures: list[Block] = [_grid(i, name, _turns(runs)) for i, (name, runs) in enumerate(grids.items(), start=1)]
    return Section(
        "Photos side by side", (words("Each row is one photo of one person, read from 8-bit files."), *figures)
    )


def _turns(runs: list[list[Found]]) -> list[Found]:
    longest = max(map(len, runs))
    return [own[i] for i in range(longest) for own in runs if i < len(own)]


def _grid(i: int, name: str, everything: list[Found]) -> Photos:
    # A grid's name comes from a run's file and becomes part of a file's name: keep only what is safe in one.
    slug = f"strips-{i}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"
    caption, legends = _CAPTIONS.get(name, name.capitalize() + "."), f"Legends of the photos “{name}”."
    return photos(slug, caption, everything, legends=legends)


def photos(slug: str, caption: str, everything: list[Found], limit: int = LIMIT, legends: str = "Legends.") -> Photos:
    """The first strips of a list under one another; the caption says how many there were."""
    chosen = everything[:limit]
    columns = tuple(dict.fromkeys(shot.column for _, _, strip in chosen for shot in strip.shots))
    rows = tuple(_photos(found, columns) for found in chosen)
    kept = f"{len(chosen)} of {len(everything)} kept by the runs"
    table = Table(slug, legends, ("Photo", *columns), _legends(chosen, columns), "", 1 + len(columns))
    return Photos(slug, f"{caption} Shown: {kept}.", columns, rows, table)


def _photos(found: Found, columns: tuple[str, ...]) -> tuple[Cell, tuple[Photo, ...]]:
    label, folder, strip = found
    shots = {shot.column: photo(folder, shot.path, shot.legend) for shot in strip.shots}
    return Cell(strip.title, strip.detail, (label,)), tuple(shots.get(c, Photo("", "", "not kept")) for c in columns)


def _legends(chosen: list[Found], columns: tuple[str, ...]) -> tuple[Row, ...]:
    rows = []
    for label, _, strip in chosen:
        legends = {shot.column: shot.legend for shot in strip.shots}
        title = Cell(strip.title, strip.detail, (label,))
        rows.append(Row((title, *(Cell(legends.get(c, "not kept")) for c in columns))))
    return tuple(rows)
