"""What a report is made of, before it is HTML, Markdown, LaTeX or CSV."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from facesec_bench.records import Score
from facesec_bench.reporting import numerals


@dataclass(frozen=True)
class Cell:
    """A cell of a table: what is read first, the small print under it, and the runs it comes from."""

    text: str
    detail: str = ""
    refs: tuple[str, ...] = ()
    bold: bool = False
    score: Score | None = None


@dataclass(frozen=True)
class Row:
    """A row; `kind` is "", "head" (spans the table), or "control". `anchor` lets footnotes point at it."""

    cells: tuple[Cell, ...]
    kind: str = ""
    anchor: str = ""


@dataclass(frozen=True)
class Table:
    """A table. `slug` names its files, `columns` its head; the first `text_columns` are words, the others numbers.

    A `folded` table is opened by the reader; on paper and in Markdown it is as any other.
    """

    slug: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""
    text_columns: int = 1
    wide: bool = False
    folded: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing as inline SVG, with the numbers it shows."""

    slug: str
    caption: str
    svg: str
    table: Table


@dataclass(frozen=True)
class Photo:
    """One picture of a photo row: a data URI, empty where there is none (then `missing` says why), and its legend."""

    uri: str
    legend: str
    missing: str = ""


@dataclass(frozen=True)
class Photos:
    """Rows of pictures under a common head; each row has a title."""

    slug: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, tuple[Photo, ...]], ...]
    table: Table


@dataclass(frozen=True)
class Prose:
    """A paragraph of sentences, each with the runs its numbers come from."""

    sentences: tuple[Cell, ...]
    style: str = ""


@dataclass(frozen=True)
class Listing:
    """Text to be read as it is, folded away behind its title."""

    title: str
    text: str


Block = Table | Figure | Photos | Prose | Listing


@dataclass(frozen=True)
class Section:
    """A numbered section."""

    title: str
    blocks: tuple[Block, ...] = field(default=())


def words(*texts: str, style: str = "") -> Prose:
    """A paragraph without numbers of any run."""
    return Prose(tuple(Cell(t) for t in texts), style)


def head(text: str, detail: str = "") -> Row:
    """A row that spans the table and names the rows under it."""
    return Row((Cell(text, detail),), kind="head")


def number(score: Score | None, refs: tuple[str, ...], proportion: bool) -> Cell:
    """A score as a cell: value, interval and n. A measure that was not taken is a dash."""
    if score is None:
        return Cell(numerals.NONE)
    detail = " ".join(filter(None, [numerals.interval(score, proportion), f"n={score.n}"]))
    return Cell(numerals.value(score, proportion), detail, refs, score=score)


def points(score: Score | None, refs: tuple[str, ...]) -> Cell:
    """A difference of proportions as a cell: signed percentage points, interval and n."""
    cell = number(score, refs, True)
    return replace(cell, text=numerals.points(score.value)) if score else cell


def merge_equal(rows: list[Row]) -> tuple[Row, ...]:
    """Rows that read the same become one that points at all their runs; the order of first appearance is kept.

    Nothing is averaged: only rows equal to the last digit printed, interval and n are merged.
    """
    seen: dict[tuple[object, ...], Row] = {}
    for row in rows:
        key = (row.kind, tuple((c.text, c.detail, c.score) if c.score else (c.text, c.detail) for c in row.cells))
        known = seen.get(key)
        seen[key] = row if known is None else _join(known, row)
    return tuple(seen.values())


def _join(a: Row, b: Row) -> Row:
    cells = tuple(
        replace(x, refs=tuple(dict.fromkeys((*x.refs, *y.refs)))) for x, y in zip(a.cells, b.cells, strict=True)
    )
    return replace(a, cells=cells)


def embolden(rows: list[Row], column: int, higher_is_better: bool = True) -> list[Row]:
    """Make the best cell of a column bold, only if its interval does not overlap that of the second best.

    Controls do not compete.
    """
    ranked = sorted(
        (
            (s.value, i)
            for i, row in enumerate(rows)
            if row.kind != "control" and (s := row.cells[column].score) and s.value == s.value
        ),
        reverse=higher_is_better,
    )
    if len(ranked) < 2:
        return rows
    best, second = (rows[i].cells[column].score for _, i in ranked[:2])
    assert best is not None and second is not None  # for the type checker: `ranked` holds cells with a score only
    clear = best.low > second.high if higher_is_better else best.high < second.low
    if not clear:
        return rows
    i = ranked[0][1]
    cells = tuple(replace(c, bold=True) if j == column else c for j, c in enumerate(rows[i].cells))
    return [replace(row, cells=cells) if k == i else row for k, row in enumerate(rows)]
