"""Weights that a run trained: how the training went, and what came out on held-out people.

Read from scores "training_<measure>_step<N>/<name>/<name>" and from the final ones of the method <name>.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from facesec_bench.records import Score
from facesec_bench.reporting import figures
from facesec_bench.reporting.document import Cell, Figure, Row, Section, Table, merge_equal, number, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.labels import DISTORTIONS, Label

_POINT = re.compile(r"training_(?P<measure>.+)_step(?P<step>\d+)")

_CURVE: dict[str, Label] = {
    "loss": Label("Loss", False, higher=False),
    "bit_accuracy": Label("Bits right, as kept", True),
    "bit_accuracy_jpeg75": Label("Bits right, JPEG 75", True),
    "psnr": Label("PSNR (dB)", False),
}

_FINAL: dict[str, Label] = {
    **{f"bit_accuracy_watermarked{d}": Label(f"Bits right, {text}", True) for d, text in DISTORTIONS.items()},
    **{f"exact_message_watermarked{d}": Label(f"Whole message, {text}", True) for d, text in DISTORTIONS.items()},
    "psnr_watermarked": Label("PSNR of the marked photo (dB)", False),
    "ssim_watermarked": Label("SSIM of the marked photo", False),
    "similarity_to_unmarked": Label("Cosine of a photo and its marked self", False),
}


class _Curve(NamedTuple):
    """What one run tells of one training: step -> measure -> score."""

    group: Group
    name: str
    points: dict[int, dict[str, Score]]


def section(study: Study) -> Section | None:
    """A curve and a table for each training."""
    curves = _curves(study)
    if not curves:
        return None
    opening = words(
        "Weights that a run trained. The curve is taken during the training, on some of the held-out photos; the table "
        "is of the weights as stored, on held-out people."
    )
    drawn = [_figure(curve, i) for i, curve in enumerate(curves)]
    ends = [table for i, curve in enumerate(curves) if (table := _end(study, curve, i)) is not None]
    return Section("Training", (opening, *drawn, *ends))


def _curves(study: Study) -> list[_Curve]:
    found: dict[tuple[str, str], _Curve] = {}
    for group, key, score in study.scores():
        point = _POINT.fullmatch(key.measure)
        if point is not None and point["measure"] in _CURVE:
            curve = found.setdefault((group.label, key.method), _Curve(group, key.method, {}))
            curve.points.setdefault(int(point["step"]), {})[point["measure"]] = score
    return list(found.values())


def _figure(curve: _Curve, i: int) -> Figure:
    steps = sorted(curve.points)
    shares = [m for m in _CURVE if _CURVE[m].proportion]
    lines = [line for m in shares if (line := _line(curve, steps, m, 100.0)) is not None]
    losses = [line for line in [_line(curve, steps, "loss", 1.0)] if line is not None]
    panels = [figures.Panel("", label, found) for label, found in (("Loss", losses), ("%", lines)) if found]
    slug = f"training-{i}" if i else "training"
    shown = [m for m in _CURVE if any(m in curve.points[s] for s in steps)]
    rows = [
        Row((Cell(str(s)), *(number(curve.points[s].get(m), curve.group.refs, _CURVE[m].proportion) for m in shown)))
        for s in steps
    ]
    caption = f"The training of {curve.name}, over its steps. Run: [{curve.group.label}] {curve.group.card.run_id}."
    columns = ("Step", *(_CURVE[m].text for m in shown))
    table = Table(slug, f"The training of {curve.name}.", columns, tuple(rows), folded=True)
    return Figure(slug, caption, figures.progress(slug, panels, "step"), table)


def _line(curve: _Curve, steps: list[int], measure: str, factor: float) -> figures.Line | None:
    known = [(s, factor * curve.points[s][measure].value) for s in steps if measure in curve.points[s]]
    if not known:
        return None
    label = _CURVE[measure].text
    return figures.Line(label, [s for s, _ in known], [y for _, y in known], (), ())


def _end(study: Study, curve: _Curve, i: int) -> Table | None:
    """Every final measure of the trained weights; those that a recogniser takes have a row for each."""
    final = [(k, s) for g, k, s in study.scores() if g is curve.group and k.method == curve.name]
    rows = []
    for measure, label in _FINAL.items():
        for key, score in sorted((x for x in final if x[0].measure == measure), key=lambda x: study.order(x[0].victim)):
            judge = "" if key.victim == curve.name else f" ({key.victim})"
            rows.append(Row((Cell(label.text + judge), number(score, curve.group.refs, label.proportion))))
    if not rows:
        return None
    slug = f"trained-{i}" if i else "trained"
    caption = f"{curve.name} on held-out people, as 8-bit files, with 95% intervals."
    return Table(slug, caption, ("Measure", "Held out"), merge_equal(rows))
