"""Defences against activation: what each costs, and what is left of the attack, unaware of it and adapted to it."""

from __future__ import annotations

from typing import NamedTuple

from facesec_bench.reporting import document
from facesec_bench.reporting.document import Cell, Row, Section, Table, merge_equal, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import Budget
from facesec_bench.reporting.sections.methods import Heading, Method, blocks, heading_row, methods

_MEASURES = ("tar_clean", "tar_cost", "tar_both", "interaction", "detection", "false_alarm")


class Defended(NamedTuple):
    """One defence against one attack: the attack that does not know it and the one that does, where they were run."""

    attack: str
    defence: str
    spent: Budget
    unaware: Method | None
    adaptive: Method | None


def section(study: Study) -> Section | None:
    """One row a defence and attack, after a row without defence."""
    found = methods(study, _MEASURES, ("defence", "adaptive"))
    rows: list[Row] = []
    for heading, budgets in blocks(study, found).items():
        pairs = [pair for same in budgets for pair in _pairs(same)]
        rows += [heading_row(study, heading), *_undefended(study, heading, pairs)]
        rows += merge_equal([_row(pair) for pair in pairs])
    if not rows:
        return None
    opening = words(
        "A defence is judged by what it costs honest photos, by what is left of an attack that does not know it, and "
        "by what is left of an attack that was made against it: only the last is evidence that it holds. A detector is "
        "judged by how often it flags the perturbed, then marked photo (detection) and the merely marked one (false "
        "alarm)."
    )
    columns = (
        "Defence", "Attack", "ε", "TAR clean", "Cost (points)", "TAR both, unaware", "Interaction, unaware (points)",
        "TAR both, adaptive", "Interaction, adaptive (points)", "Detection", "False alarm",
    )  # fmt: skip
    caption = "Defences: clean accuracy and its loss, and the attack with and without knowledge of the defence."
    note = (
        "A dash was not measured: a defence without an adaptive row has not been attacked adaptively. Detection is of "
        "the unaware attack; under it, of the adaptive one."
    )
    table = Table("activation-defences", caption, columns, tuple(rows), note, 3, wide=True)
    return Section("Defences against activation", (opening, table))


def _pairs(same: list[Method]) -> list[Defended]:
    """Methods of one heading and budget: the two attacks on one defence side by side, a run's with its own."""
    found: dict[tuple[str, ...], Defended] = {}
    for method in same:
        attack, defence = attacked(method)
        place = (attack, defence, "+".join(method.key.surrogates), method.group.label)
        pair = found.get(place, Defended(attack, defence, method.spent, None, None))
        adapted = method.role == "adaptive"
        found[place] = pair._replace(adaptive=method) if adapted else pair._replace(unaware=method)
    return sorted(found.values(), key=lambda pair: (pair.attack, pair.defence))


def attacked(method: Method) -> tuple[str, str]:
    """The attack and the defence in a name: "adversarial_watermark_vs_jpeg75" is of "adversarial_watermark"."""
    infix = "_adaptive_" if method.role == "adaptive" else "_vs_"
    attack, found, named = method.stem.partition(infix)
    return (attack, method.defence or named) if found else (method.stem, method.defence or "?")


def _row(pair: Defended) -> Row:
    clean = pair.unaware or pair.adaptive
    cells = (
        _rate(clean, "tar_clean"), _points(clean, "tar_cost"), _rate(pair.unaware, "tar_both"),
        _points(pair.unaware, "interaction"), _rate(pair.adaptive, "tar_both"), _points(pair.adaptive, "interaction"),
        _detection(pair), _rate(clean, "false_alarm"),
    )  # fmt: skip
    attack = Cell(pair.attack, clean.made_on if clean else "")
    return Row((Cell(pair.defence), attack, Cell(pair.spent.text), *cells))


def _detection(pair: Defended) -> Cell:
    """How often the unaware attack is flagged; below it the adaptive one."""
    cell = _rate(pair.unaware, "detection")
    adaptive = _rate(pair.adaptive, "detection")
    if adaptive.score is None:
        return cell
    return Cell(cell.text, f"{cell.detail} adaptive: {adaptive.text} {adaptive.detail}".strip(), adaptive.refs,
                score=cell.score)  # fmt: skip


def _undefended(study: Study, heading: Heading, pairs: list[Defended]) -> tuple[Row, ...]:
    """The attacks of these rows without any defence, to be compared with."""
    wanted = {(pair.attack, pair.spent) for pair in pairs}
    plain = methods(study, ("tar_clean",), ("attack",))
    rows = [
        Row((Cell("None"), Cell(m.stem), Cell(m.spent.text), _rate(m, "tar_clean"), Cell("–"), _rate(m, "tar_both"),
             _points(m, "interaction"), *[Cell("–")] * 4), "control")
        for place, budgets in blocks(study, plain).items() if place == heading
        for same in budgets for m in same if (m.stem, m.spent) in wanted and not m.made_on
    ]  # fmt: skip
    return merge_equal(rows)


def _rate(method: Method | None, measure: str) -> Cell:
    return document.number(method.score(measure) if method else None, method.group.refs if method else (), True)


def _points(method: Method | None, measure: str) -> Cell:
    return document.points(method.score(measure), method.group.refs) if method else Cell("–")
