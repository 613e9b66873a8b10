"""The 2x2 activation table: a photo perturbed or not, marked or not, and what only the two together do."""

from __future__ import annotations

import re

from facesec_bench.reporting import labels, numerals
from facesec_bench.reporting.document import Block, Cell, Row, Section, Table, embolden, merge_equal, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.labels import Label
from facesec_bench.reporting.sections import activation_curves, activation_trade_off
from facesec_bench.reporting.sections.methods import (
    Method,
    blocks,
    heading_row,
    kind,
    methods,
    opening_cells,
    title,
)

_SHOWN = ("attack", "control")
_FAR = re.compile(r"^tar_clean_far_(.+)$")
_HEADLINES = ("interaction", "target_interaction")

READING = (
    "A photo is judged four times: clean (x), perturbed only (x + δ), marked only (E(x, m)) and perturbed, then marked "
    "(E(x + δ, m)). An adversarial watermark wants the first three accepted and the last rejected. The interaction is "
    "the drop of the last less the drops of the two before it: what perturbation and mark do together and neither does "
    "alone; zero for a method that merely dodges, whose drop is there before the mark."
)
KNOWLEDGE = (
    "K1: the attacker holds the recogniser, the watermarker and the message. K2: the message is not known. K3: the "
    "recogniser is another. K4: neither the watermarker nor the message is known. K5: no gradient through the "
    "watermarker."
)
PAPER = (
    "Not comparable with the paper's numbers: Yao, Jain and Liu, “Adversarial Watermarking for Face Recognition” "
    "(arXiv 2409.16056), report in their abstract that matching accuracy falls by 67.2% at 2/255 and by 95.9% at 4/255 "
    "on CASIA-WebFace; these are other photos, other recognisers and another watermarker, and whether its falls are in "
    "points or relative is not said. So both are printed here: the drop in points, and as a share of the clean TAR."
)


def section(study: Study) -> Section | None:
    """Activation tables of both goals, drops, other rates, then interaction against budget."""
    tables: list[Block | None] = [
        _table(study, "activation", "Activation by the watermark, goal dodge.", "dodge", labels.ACTIVATION),
        _questions(study),
        _drops(study),
        _table(
            study, "activation-as-target", "Activation by the watermark, goal impersonate.", "impersonate",
            labels.ACTIVATION_AS_TARGET,
        ),
        _table(
            study, "activation-target-and-self", "Goal impersonate: gains, and whether the person is still recognised.",
            "impersonate", labels.TARGET_AND_SELF, folded=True,
        ),
        *_other_rates(study),
        _table(
            study, "activation-similarity", "Mean cosine to the person's other photos, and rank-1 accuracy.", "dodge",
            labels.SIMILARITY_AND_RANK, folded=True,
        ),
    ]  # fmt: skip
    found = [t for t in tables if t is not None]
    if not found:
        return None
    opening = (words(READING), words(KNOWLEDGE), words(PAPER, style="note"))
    drawn = [f for f in (activation_curves.figure(study), activation_trade_off.figure(study)) if f is not None]
    return Section("Activation by the watermark", (*opening, *found, *drawn))


def _table(
    study: Study, slug: str, caption: str, goal: str, measures: dict[str, Label], folded: bool = False
) -> Table | None:
    """Methods of a goal in rows, under their victim and watermarker; attacks by budget and knowledge, then controls."""
    found = methods(study, measures, _SHOWN, goal)
    if not found:
        return None
    shown = {name: label for name, label in measures.items() if any(m.score(name) for m in found)}
    rows: list[Row] = []
    for heading, budgets in blocks(study, found).items():
        rows.append(heading_row(study, heading))
        for same in budgets:
            rows += _rows(same, shown)
    columns = ("Method", "Knows", "ε", *(label.text for label in shown.values()))
    note = (
        f"TAR at the false accept rate {_far(study)}; 95% intervals. Bold: the highest interaction of its victim, "
        "watermarker, budget and data set among the attacks, where its interval does not overlap the second's."
    )
    return Table(slug, caption, columns, tuple(rows), "" if folded else note, 3, wide=True, folded=folded)


def _rows(same: list[Method], shown: dict[str, Label]) -> tuple[Row, ...]:
    rows = list(merge_equal([_row(m, shown) for m in same]))
    for i, name in enumerate(shown):
        # Only the headline is a contest: a low TAR with both is easy to have by dodging outright.
        if name.startswith(_HEADLINES):
            rows = embolden(rows, 3 + i)
    return tuple(rows)


def _row(method: Method, shown: dict[str, Label]) -> Row:
    cells = [method.cell(name, label) for name, label in shown.items()]
    return Row((*opening_cells(method), *cells), kind(method))


def _far(study: Study) -> str:
    """The rates that the runs call main, as printed: "1%"."""
    asked = {float(g.card.config.get("far") or 0.01) for g in study.groups}
    return " or ".join(f"{100 * far:g}%" for far in sorted(asked))


def _other_rates(study: Study) -> list[Table | None]:
    """The table again at each other false accept rate."""
    rates = dict.fromkeys(m.group(1) for _, k, _ in study.scores() if (m := _FAR.match(k.measure)))
    tables = []
    for rate in rates:
        measures = {
            f"{name}_far_{rate}": label for name, label in labels.ACTIVATION.items()
            if name.startswith("tar_") or name == "interaction"
        }  # fmt: skip
        caption = f"Activation by the watermark at FAR {100 * float(rate):g}%."
        tables.append(_table(study, f"activation-far-{rate}", caption, "dodge", measures, folded=True))
    return tables


def _drops(study: Study) -> Table | None:
    """Every attack's drops in points, and as a share of the clean TAR."""
    found = methods(study, labels.DROPS, ("attack",), "dodge")
    rows: list[Row] = []
    for heading, budgets in blocks(study, found).items():
        cells = [
            Row((*opening_cells(m), *(m.cell(name, label) for name, label in labels.DROPS.items()),
                 *(_ratio(m, cell) for cell in ("perturbed", "both"))))
            for same in budgets for m in same
        ]  # fmt: skip
        rows += [heading_row(study, heading), *merge_equal(cells)]
    if not rows:
        return None
    columns = ("Attack", "Knows", "ε", *(x.text for x in labels.DROPS.values()),
               "Drop / clean TAR, perturbed only", "Drop / clean TAR, both")  # fmt: skip
    note = "A share is the mean drop over the clean TAR of the same pairs; it has no interval of its own."
    caption = "How far each attack lowers the true accept rate: in points, and as a share of the clean rate."
    return Table("activation-drops", caption, columns, tuple(rows), note, 3, wide=True)


def _ratio(method: Method, cell: str) -> Cell:
    drop, clean = method.score(f"tar_drop_{cell}"), method.score("tar_clean")
    if drop is None or clean is None or not clean.value > 0:
        return Cell(numerals.NONE)
    return Cell(numerals.percent(drop.value / clean.value), refs=method.group.refs)


def _questions(study: Study) -> Table | None:
    """Which row answers which question, in the words of the run's card."""
    measures = (*labels.ACTIVATION, *labels.ACTIVATION_AS_TARGET)
    told = sorted((m for m in methods(study, measures, _SHOWN) if m.about), key=lambda m: m.order)
    rows = [Row((Cell(title(m)), Cell(m.about, refs=m.group.refs)), kind(m)) for m in told]
    if not rows:
        return None
    columns = ("Method", "What the row answers")
    return Table("activation-questions", "What each row answers.", columns, merge_equal(rows), "", 2)
