"""What stealth costs the attack: one attack at one budget with one setting varied, as a curve."""

from __future__ import annotations

from typing import NamedTuple

from facesec_bench.reporting import figures, labels
from facesec_bench.reporting.document import Cell, Figure, Row, Table
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import Budget
from facesec_bench.reporting.labels import Label
from facesec_bench.reporting.sections.activation_curves import in_rows, runs_of
from facesec_bench.reporting.sections.methods import (
    Heading,
    Method,
    blocks,
    heading_row,
    heading_text,
    methods,
    values,
)

_AXES = ("tar_drop_perturbed", "tar_drop_both")
_MEASURES: dict[str, Label] = {
    **{name: labels.DROPS[name] for name in _AXES},
    **{name: labels.SIMILARITY_AND_RANK[name] for name in ("similarity_perturbed", "similarity_both")},
    "interaction": labels.ACTIVATION["interaction"],
    "bit_accuracy": Label("Bit accuracy", True),
}


class _Curve(NamedTuple):
    """One attack of one run, and the names of what is varied in it."""

    attack: str
    varied: tuple[str, ...]
    run: str


def figure(study: Study) -> Figure | None:
    """A panel per victim, watermarker and budget; a curve per run, its points in the order of the setting."""
    found = methods(study, _AXES, ("attack",), "dodge", varied=True)
    places = {
        (heading, same[0].spent): _curves(same) for heading, budgets in blocks(study, found).items() for same in budgets
    }
    if not places:
        return None
    names = {curve: f"{curve.attack} by {', '.join(curve.varied)}" for curves in places.values() for curve in curves}
    several = len(set(names.values())) < len(names)
    labelled = {curve: f"{name}{f' [{curve.run}]' if several else ''}" for curve, name in names.items()}
    panels = [
        figures.PathPanel(_title(study, *place), [_path(labelled[curve], same) for curve, same in curves.items()])
        for place, curves in places.items()
    ]
    svg = figures.paths("trade-off", in_rows(panels), "drop, perturbed only (points)", "drop, both (points)")
    rows: list[Row] = []
    for heading in dict.fromkeys(heading for heading, _ in places):
        own = [curves for place, curves in places.items() if place[0] == heading]
        rows += [heading_row(study, heading), *(_row(m) for curves in own for same in curves.values() for m in same)]
    columns = ("Attack", "Setting", "Knows", "ε", *(label.text for label in _MEASURES.values()))
    caption = (
        "One attack at one budget, with one setting varied: what the perturbation takes from the TAR by itself "
        "(across) against what it takes once marked (up). The attacker wants the upper left. Points are joined in the "
        f"order of the setting and bear its value. {runs_of(study, rows)}"
    )
    table = Table("trade-off", "Stealth against attack, by setting.", columns, tuple(rows), "", 4, wide=True)
    return Figure("trade-off", caption, svg, table)


def _title(study: Study, heading: Heading, spent: Budget) -> str:
    return f"{heading_text(study, heading)}, {spent.text}"


def _curves(same: list[Method]) -> dict[_Curve, list[Method]]:
    found: dict[_Curve, list[Method]] = {}
    for m in same:
        made_on = f" ({', '.join(filter(None, [m.knowledge, m.made_on]))})" if m.knowledge or m.made_on else ""
        found.setdefault(_Curve(f"{_attack(m)}{made_on}", tuple(m.setting), m.group.label), []).append(m)
    return {curve: sorted(points, key=_order) for curve, points in found.items()}


def _attack(method: Method) -> str:
    """The attack that is varied: "adversarial_watermark_keep0.7" is of "adversarial_watermark"."""
    name = method.stem
    for setting, x in reversed(list(method.setting.items())):
        name = name.removesuffix(f"_{setting}{_text(x)}")
    return name


def _order(method: Method) -> tuple[tuple[bool, float, str], ...]:
    """Numbers by size, before words."""
    return tuple(
        (False, float(x), "") if isinstance(x, int | float) else (True, 0.0, str(x)) for x in method.setting.values()
    )


def _path(label: str, same: list[Method]) -> figures.Path:
    points = []
    for m in same:
        across, up = map(m.score, _AXES)
        if across is not None and up is not None:
            points.append((", ".join(map(_text, m.setting.values())), across.value, up.value))
    return figures.Path(label, [x for _, x, _ in points], [y for *_, y in points], [text for text, *_ in points])


def _text(x: object) -> str:
    return f"{x:g}" if isinstance(x, int | float) else str(x)


def _row(method: Method) -> Row:
    opening = (_attack(method), values(method.setting), method.knowledge or "–", method.spent.text)
    return Row((*map(Cell, opening), *(method.cell(name, label) for name, label in _MEASURES.items())))
