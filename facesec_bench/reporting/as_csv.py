"""A table as CSV: full precision, the interval and n in columns of their own; no cell is a formula."""

from __future__ import annotations

import csv
import io
import math

from facesec_bench.reporting.document import Cell, Table


def render(table: Table) -> str:
    """A head row, then one row each; a row that spans the table becomes a first column, "group"."""
    scored = [any(len(r.cells) > i and r.cells[i].score for r in table.rows) for i in range(len(table.columns))]
    grouped = any(row.kind == "head" for row in table.rows)
    header = [part for name, has in zip(table.columns, scored, strict=True) for part in _names(name, has)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*(["group"] if grouped else []), *map(_plain, header), "runs"])
    group = ""
    for row in table.rows:
        if row.kind == "head":
            group = row.cells[0].text
            continue
        values = [part for cell, has in zip(row.cells, scored, strict=True) for part in _values(cell, has)]
        refs = " ".join(dict.fromkeys(ref for cell in row.cells for ref in cell.refs))
        writer.writerow([_plain(x) for x in (*([group] if grouped else []), *values, refs)])
    return file.getvalue()


def _plain(text: str) -> str:
    """Text that no spreadsheet runs as a formula: a leading apostrophe where it opens like one and is no number."""
    if not text.startswith(("=", "+", "-", "@", "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text


def _names(name: str, scored: bool) -> list[str]:
    return [name, f"{name} low", f"{name} high", f"{name} n"] if scored else [name]


def _values(cell: Cell, scored: bool) -> list[str]:
    if not scored:
        return [" ".join(filter(None, [cell.text, cell.detail]))]
    if cell.score is None:
        return [cell.text if cell.text != "–" else "", "", "", ""]
    return [*("" if math.isnan(x) else repr(x) for x in cell.score[:3]), str(cell.score.n)]
