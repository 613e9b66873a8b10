"""Where every number comes from: runs, weights, versions, configuration."""

from __future__ import annotations

import json
from typing import Any

from facesec_bench.records import RunCard
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Block, Cell, Listing, Row, Section, Table, merge_equal, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.keys import budget
from facesec_bench.reporting.runs import Run


def section(study: Study) -> Section:
    """The run list that footnotes point at, then all it takes to repeat the runs."""
    opening = words(
        "Superscript letters point at the runs below. Runs with the same fingerprint (configuration, code, data and "
        "weights) differ by seed only and are averaged, with an interval from the lowest to the highest end of the "
        "seeds' intervals; runs with different fingerprints are never averaged."
    )
    tables = [_runs(study), _targets(study), _methods(study)]
    listings = [item for group in study.groups for item in _listings(group)]
    blocks: list[Block] = [opening, *(t for t in tables if t is not None), *listings]
    return Section("Reproducibility", tuple(blocks))


def _runs(study: Study) -> Table:
    rows: list[Row] = []
    for group in study.groups:
        if len(group.runs) > 1:
            rows.append(Row((Cell(f"{group.label}: {len(group.runs)} seeds, averaged"),), "head", f"run-{group.label}"))
        rows += [_run_row(label, run, card) for label, run, card in group.labelled()]
    rows += [_run_row("not shown", run, run.card, "run again since") for run in study.superseded]
    rows += [_run_row("not shown", run, run.card, run.problem) for run in study.unusable]
    columns = ("", "Run", "Status", "Seed", "Fingerprint", "Code", "Device", "Started", "Took")
    return Table("runs", "Runs.", columns, tuple(rows), "", len(columns), wide=True)


def _run_row(label: str, run: Run, card: RunCard | None, problem: str = "") -> Row:
    anchor = "" if label == "not shown" else f"run-{label}"
    if card is None:
        empty = [Cell(numerals.NONE)] * 6
        return Row((Cell(label), Cell(run.run_id), Cell("unreadable", problem), *empty), "", anchor)
    sha = str(card.code.get("git_sha") or "?")[:10]
    code = f"{sha}{' (dirty)' if card.code.get('git_dirty') else ''}"
    took = numerals.seconds(_total(card)) if card.seconds else numerals.NONE
    texts = (str(card.seed), card.fingerprint[:12], code, card.device, card.started[:16].replace("T", " "), took)
    return Row(
        (Cell(label), Cell(run.run_id, card.experiment), Cell(card.status, problem), *map(Cell, texts)), "", anchor
    )


def _total(card: RunCard) -> float:
    # "study" holds the other stages; older or unfinished cards may lack it.
    return float(card.seconds["study"]) if "study" in card.seconds else float(sum(card.seconds.values()))


def _targets(study: Study) -> Table | None:
    rows = [
        Row((Cell(name, refs=(label,)), *(Cell(_text(target, key)) for key in ("dimension", "template", "licence")),
             Cell(_text(target, "digest")[:16])))
        for g in study.groups for label, _, card in g.labelled() for name, target in card.targets.items()
    ]  # fmt: skip
    columns = ("Target", "Dimension", "Template", "Licence of the weights", "Digest of the weights")
    return Table("targets", "Recognisers.", columns, merge_equal(rows), "", 5) if rows else None


def _methods(study: Study) -> Table | None:
    rows = [
        Row((Cell(name, refs=(label,)), Cell(budget(name, card).text), Cell(_text(method, "title")),
             Cell(_text(method, "source"))))
        for g in study.groups for label, _, card in g.labelled() for name, method in card.methods.items()
    ]  # fmt: skip
    return Table("methods", "Methods.", ("Name", "ε", "Title", "Source"), merge_equal(rows), "", 4) if rows else None


def _text(fields: dict[str, Any], key: str) -> str:
    value = fields.get(key)
    return numerals.NONE if value in (None, "") else str(value)


def _listings(group: Group) -> list[Listing]:
    card = group.card
    versions = "\n".join(f"{name} {version}" for name, version in sorted(card.versions.items()))
    stages = "\n".join(f"{label} {name}: {numerals.seconds(s)}" for label, _, c in group.labelled()
                       for name, s in sorted(c.seconds.items()))  # fmt: skip
    facts = f"fingerprint {card.fingerprint}\ndata {card.data.get('digest', '?')}\n\n{versions}\n\n{stages}".strip()
    config = json.dumps(card.config, indent=2, sort_keys=True, ensure_ascii=False, default=str)
    return [
        Listing(f"Configuration of run {group.label}", config),
        Listing(f"Digests, versions and wall time of run {group.label}", facts),
    ]
