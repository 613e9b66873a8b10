"""The photos: how many, whose, under which licence, and what was left out."""

from __future__ import annotations

from collections import Counter

from facesec_bench.records import RunCard
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Block, Cell, Row, Section, Table, merge_equal, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.runs import Run, SkippedRow

FIRST = 15
"""Skipped inputs listed one by one; all of them are in the run's skipped.csv."""


def section(study: Study) -> Section | None:
    """Data sets, skipped inputs by reason, and the first of them by name."""
    runs = [(label, run, card) for g in study.groups for label, run, card in g.labelled()]
    if not runs:
        return None
    sets = merge_equal([_data_row(label, run, card) for label, run, card in runs])
    columns = ("Data set", "Roles", "Licence", "Digest", "Images", "Identities")
    blocks: list[Block] = [Table("data", "Data sets.", columns, sets, "", 4)]
    notes = dict.fromkeys(str(card.data["note"]) for _, _, card in runs if card.data.get("note"))
    reasons = merge_equal([row for label, run, card in runs for row in _reasons(label, run, card)])
    if notes:
        blocks.append(words(*notes))
    if not reasons:
        blocks.append(words("No input was skipped or repaired."))
        return Section("Data and skipped inputs", tuple(blocks))
    blocks.append(
        Table("skipped", "Inputs left out or repaired, by reason.", ("Reason", "Left out", "Repaired"), reasons)
    )
    everything = merge_equal([_listed(label, row) for label, run, _ in runs for row in run.skipped])
    listed = everything[:FIRST]
    if listed:
        caption = f"The first {len(listed)} of {len(everything)} such inputs; all are in each run's skipped.csv."
        blocks.append(Table("skipped-inputs", caption, ("Input", "Reason", "Found", "Outcome"), listed, "", 4))
    return Section("Data and skipped inputs", tuple(blocks))


def _data_row(label: str, run: Run, card: RunCard) -> Row:
    data, refs = card.data, (label,)
    roles = ", ".join(f"{role} {n}" for role, n in run.roles.items()) or numerals.NONE
    counts = [Cell(str(data.get(k, numerals.NONE)), refs=refs) for k in ("n_images", "n_identities")]
    licence = str(data.get("licence") or "not stated")
    texts = (str(data.get("name", "?")), roles, licence, str(data.get("digest", ""))[:12])
    return Row((*map(Cell, texts), *counts))


def _reasons(label: str, run: Run, card: RunCard) -> list[Row]:
    told = {str(k): int(v) for k, v in (card.data.get("skipped") or {}).items()}
    repaired = Counter(row.reason for row in run.skipped if row.used)
    counted = Counter(row.reason for row in run.skipped)
    rows = []
    for reason in sorted({*told, *counted}):
        # Without skipped.csv only the card's total is known, and nothing says that any of it was repaired.
        left_out = counted[reason] - repaired[reason] if run.skipped else told[reason]
        rows.append(Row((Cell(reason), Cell(str(left_out), refs=(label,)), Cell(str(repaired[reason]), refs=(label,)))))
    return rows


def _listed(label: str, row: SkippedRow) -> Row:
    outcome = "used after repair" if row.used else "left out"
    return Row((Cell(row.path), Cell(row.reason), Cell(row.detail), Cell(outcome, refs=(label,))))
