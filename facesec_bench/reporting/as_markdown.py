"""A report as Markdown with pipe tables; a figure is replaced by the table of its numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from facesec_bench.reporting.document import Block, Cell, Figure, Listing, Photos, Prose, Section, Table

_SPECIAL = re.compile(r"([\\`*_\[\]|#~$])")


def render(title: str, abstract: Prose, alarms: Sequence[Prose], sections: Sequence[Section]) -> str:
    """The whole report; every name is escaped, so that none can become a table, a link or HTML."""
    parts = [f"# {escape(title)}", *(_prose(p) for p in alarms), _prose(abstract)]
    for i, section in enumerate(sections, start=1):
        parts += [f"## {i}. {escape(section.title)}", *(_block(block) for block in section.blocks)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Plain text made safe inside a Markdown paragraph or table cell; line breaks become spaces."""
    plain = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", " ".join(plain.split()))


def table(block: Table) -> str:
    """A pipe table with its caption above and its note below."""
    width = len(block.columns)
    marks = ["---" if i < block.text_columns else "---:" for i in range(width)]
    lines = ["| " + " | ".join(escape(c) for c in block.columns) + " |", "| " + " | ".join(marks) + " |"]
    for row in block.rows:
        cells = [f"**{escape(row.cells[0].text)}**"] if row.kind == "head" else [_cell(cell) for cell in row.cells]
        lines.append("| " + " | ".join([*cells, *[""] * (width - len(cells))]) + " |")
    note = f"\n\n{escape(block.note)}" if block.note else ""
    return f"**{escape(block.caption)}**\n\n" + "\n".join(lines) + note


def _block(block: Block) -> str:
    if isinstance(block, Prose):
        return _prose(block)
    if isinstance(block, Figure | Photos):
        return table(block.table)
    if isinstance(block, Listing):
        indented = "\n".join(f"    {line}" for line in block.text.splitlines())
        return f"{escape(block.title)}:\n\n{indented}"
    return table(block)


def _prose(block: Prose) -> str:
    text = " ".join(escape(s.text) + _refs(s) for s in block.sentences)
    return f"> {text}" if block.style == "alarm" else text


def _cell(cell: Cell) -> str:
    text = f"**{escape(cell.text)}**" if cell.bold else escape(cell.text)
    return " ".join(filter(None, [text, escape(cell.detail)])) + _refs(cell)


def _refs(cell: Cell) -> str:
    return f"<sup>{','.join(escape(r) for r in cell.refs)}</sup>" if cell.refs else ""
