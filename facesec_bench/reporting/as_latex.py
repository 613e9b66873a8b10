"""A table as LaTeX with booktabs: a whole table environment, to be \\input."""

from __future__ import annotations

from collections.abc import Mapping

from facesec_bench.reporting.document import Cell, Row, Table

_ESCAPES = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "ε": r"$\varepsilon$", "∞": r"$\infty$", "×": r"$\times$",
    "−": r"$-$", "–": "--", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "†": r"\dag{}", "≥": r"$\geq$", "\n": " ",
}  # fmt: skip


def escape(text: str) -> str:
    """Plain text made safe in LaTeX; one pass, so that nothing is escaped twice."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def render(table: Table, run_ids: Mapping[str, str]) -> str:
    """The table; `run_ids` says which run each footnote letter in it stands for.

    Needs \\usepackage{booktabs} and a Unicode engine or \\usepackage[T1]{fontenc}.
    """
    used = dict.fromkeys(ref for row in table.rows for cell in row.cells for ref in cell.refs)
    runs = ", ".join(rf"\textsuperscript{{{escape(r)}}}\,{escape(run_ids.get(r, r))}" for r in used)
    notes = " ".join(filter(None, [escape(table.note), f"Runs: {runs}." if runs else ""]))
    columns = "l" * table.text_columns + "r" * (len(table.columns) - table.text_columns)
    lines = [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{escape(table.caption)}}}",
        rf"\label{{tab:{table.slug}}}",
        rf"\begin{{tabular}}{{{columns}}}",
        r"\toprule",
        " & ".join(escape(c) for c in table.columns) + r" \\",
        r"\midrule",
        *(_row(row, len(table.columns)) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        *([rf"\par\smallskip\footnotesize {notes}"] if notes else []),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _row(row: Row, width: int) -> str:
    if row.kind == "head":
        return rf"\addlinespace \multicolumn{{{width}}}{{l}}{{\textit{{{escape(row.cells[0].text)}}}}} \\"
    return " & ".join(_cell(cell) for cell in row.cells) + r" \\"


def _cell(cell: Cell) -> str:
    text = rf"\textbf{{{escape(cell.text)}}}" if cell.bold else escape(cell.text)
    detail = rf" {{\footnotesize {escape(cell.detail)}}}" if cell.detail else ""
    refs = rf"\textsuperscript{{{escape(','.join(cell.refs))}}}" if cell.refs else ""
    # Braces keep a cell that opens with "[" or "*" from being read as an argument of the \\ before it.
    return f"{{}}{text}{refs}{detail}" if text.startswith(("[", "*")) else f"{text}{refs}{detail}"
