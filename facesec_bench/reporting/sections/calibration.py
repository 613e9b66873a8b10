"""Thresholds and clean accuracy: what every later rate stands on."""

from __future__ import annotations

import math
from typing import Any

from facesec_bench.records import Score
from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.document import Block, Cell, Row, Section, Table, merge_equal, number, words
from facesec_bench.reporting.grouping import Study, is_toy


def section(study: Study) -> Section | None:
    """Clean verification, then one row per target and false accept rate; refusals are named."""
    blocks = [b for b in (_accuracy(study), _thresholds(study)) if b is not None]
    if not blocks:
        return None
    opening = words(
        "A verifier accepts a pair of photos when the cosine of their embeddings reaches a threshold. Thresholds come "
        "from clean impostor pairs of the judged model at a stated false accept rate (FAR), before any attack is run, "
        "and stay fixed. Intervals of a measured FAR are Clopper–Pearson, 95%; all others resample identities, but for "
        "rates of 0% and 100%, which get the exact bound with the number of identities as n: wide rather than wrong."
    )
    return Section("Clean accuracy and calibration", (opening, *blocks, *_remarks(study)))


def _accuracy(study: Study) -> Table | None:
    found = {(g.label, k.victim, k.measure): s for g, k, s in study.scores() if k.method == "clean"}
    measures = [m for m in labels.CLEAN if any(key[2] == m for key in found)]
    rows = []
    for group in study.groups:
        for target in sorted({t for g, t, m in found if g == group.label and m in measures}, key=study.order):
            scores = [(m, found.get((group.label, target, m))) for m in measures]
            cells = [number(s, group.refs, labels.CLEAN[m].proportion) for m, s in scores]
            rows.append(Row((Cell(named(target, study)), *cells)))
    if not rows:
        return None
    rows.sort(key=lambda row: study.order(row.cells[0].text.split(" ")[0]))
    columns = ("Target", *(labels.CLEAN[m].text for m in measures))
    return Table("accuracy", "Clean accuracy of each recogniser on these data.", columns, merge_equal(rows))


def _thresholds(study: Study) -> Table | None:
    rows = []
    for group in study.groups:
        for label, _, card in group.labelled():
            for target in sorted(card.calibration, key=study.order):
                rows += [_threshold_row(named(target, study), point, (label,)) for point in card.calibration[target]]
    if not rows:
        return None
    rows.sort(key=lambda row: study.order(row.cells[0].text.split(" ")[0]))
    columns = ("Target", "FAR asked", "Threshold", "FAR measured", "TAR")
    note = (
        "n under a FAR counts impostor pairs, under a TAR genuine pairs. A rate with too few impostor pairs is refused."
    )
    return Table("calibration", "Calibrated thresholds.", columns, merge_equal(rows), note)


def _threshold_row(target: str, point: dict[str, Any], refs: tuple[str, ...]) -> Row:
    asked = Cell(f"{100.0 * _float(point, 'far'):g}%")
    if point.get("status") != "calibrated":
        pairs = f"n={int(point.get('n_impostor') or 0)}"
        why = Cell("refused", str(point.get("reason") or ""), refs)
        return Row((Cell(target), asked, why, Cell(numerals.NONE, pairs), Cell(numerals.NONE)))
    far = _score(point, "far_measured", "far_low", "far_high", "n_impostor")
    tar = _score(point, "tar", "tar_low", "tar_high", "n_genuine")
    threshold = Cell(numerals.three(_float(point, "threshold")), refs=refs)
    return Row((Cell(target), asked, threshold, number(far, refs, True), number(tar, refs, True)))


def _score(point: dict[str, Any], value: str, low: str, high: str, n: str) -> Score:
    return Score(_float(point, value), _float(point, low), _float(point, high), int(point.get(n) or 0))


def _float(point: dict[str, Any], key: str) -> float:
    value = point.get(key)
    return math.nan if value is None else float(value)


def named(target: str, study: Study) -> str:
    """The target's name with a flag where a reader must not take it at face value."""
    note = study.targets().get(target, "")
    return f"{target}{' †' if note else ''}{' (toy target)' if is_toy(target, note) else ''}"


def _remarks(study: Study) -> tuple[Block, ...]:
    notes = [f"{name}: {note}" for name, note in study.targets().items() if note]
    return (words("† " + " ".join(n if n.endswith(".") else f"{n}." for n in notes), style="note"),) if notes else ()
