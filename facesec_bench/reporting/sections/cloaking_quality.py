"""What cloaks cost the photo, and what they protect at that price."""

from __future__ import annotations

from collections.abc import Sequence

from facesec_bench.records import Score
from facesec_bench.reporting import figures, labels
from facesec_bench.reporting.document import Block, Cell, Figure, Row, Section, Table, number, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.keys import CLEAN
from facesec_bench.reporting.sections.activation_curves import runs_of
from facesec_bench.reporting.sections.cloaking_rows import (
    MEAN,
    Protector,
    column,
    data_sets,
    protectors,
    table_rows,
    victims,
)

OPENING = (
    "Taken on the 8-bit photo that was judged, against the clean chip. LPIPS compares what a network sees in the two: "
    "lower is nearer to the photo. The cosine to the source is how like itself the cloaked photo still is to the "
    "held-out recogniser. A Fréchet distance from few photos is biased upwards: compare rows of equal n only."
)


def section(study: Study) -> Section | None:
    """Quality by method, over all victims and by victim, then the trade-off of each goal."""
    rows = protectors(study)
    measures = [m for m in labels.CLOAKED if victims(study, rows, (m,)) and _shown(rows, m)]
    pooled = [m for m in measures if any(row.score(m, MEAN) for row in rows if not row.silent)]
    apart = [victim for victim in victims(study, _judged(rows, measures), measures) if victim != MEAN]
    tables: list[Block | None] = []
    if pooled:
        tables.append(_table(study, rows, "cloak-quality", pooled, [MEAN], "over all held-out recognisers"))
    if apart:
        more = "by the recogniser that was left out"
        tables.append(_table(study, rows, "cloak-quality-by-victim", measures, apart, more, folded=len(pooled) > 1))
    tables += [_trade_off(study, rows, measure) for measure in labels.PROTECTION]
    found = [block for block in tables if block is not None]
    return Section("Cloaks: the photo's price", (words(OPENING), *found)) if found else None


def _shown(rows: list[Protector], measure: str) -> bool:
    return any(row.score(measure, victim) for row in rows if not row.silent for victim in (*row.victims, MEAN))


def _judged(rows: list[Protector], measures: Sequence[str]) -> list[Protector]:
    return [row for row in rows if any(row.score(m, v) for m in measures for v in row.victims)]


def _table(
    study: Study,
    rows: list[Protector],
    slug: str,
    measures: list[str],
    places: list[str],
    where: str,
    folded: bool = False,
) -> Table:
    made: list[Row] = []
    for victim in places:
        own = [row for row in rows if row.silent or any(row.score(m, victim) for m in measures)]

        def make(row: Protector, victim: str = victim) -> list[Row]:
            cells = [row.cell(m, victim, labels.CLOAKED[m]) for m in measures]
            return [Row((*row.opening(), *cells), row.row_kind)]

        judge = "" if places == [MEAN] else column(victim, study)
        made += table_rows(study, own, make, judge=judge)
    head = ("Method", "ε", *(labels.CLOAKED[m].text for m in measures))
    return Table(slug, f"Quality of the photos {where}.", head, tuple(made), "", 2, wide=True, folded=folded)


def frontier(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the points that no other beats, from left to right: none is at once as cheap and protects as much.

    Args:
        points: (price, rate): a low price and a high rate are wanted.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1]))
    kept: list[int] = []
    for i in order:
        if not kept or points[i][1] > points[kept[-1]][1]:
            kept.append(i)
    return kept


def _trade_off(study: Study, rows: list[Protector], measure: str) -> Figure | None:
    """Rate against LPIPS, over all victims; a panel for each data set."""
    placed = [row for row in rows if not row.is_control and _both(row, measure)]
    if not placed:
        return None
    label, slug = labels.PROTECTION[measure], f"cloak-trade-off-{measure.partition('_')[0]}"
    sets = data_sets(placed)
    panels = [_panel(name if len(sets) > 1 else "", own, rows, measure) for name, own in sets.items()]
    listed = [row for own in sets.values() for row in _listed(own, measure, label)]
    caption = (
        f"{label.text} against LPIPS, over all held-out recognisers, with 95% intervals. Upper left is better. The "
        "line joins the methods that no other beats at once in both, by their point estimates. Circles: cloaks; "
        f"squares: pixel attacks; dashed: no cloak. {runs_of(study, listed)}"
    )
    columns = ("Method", "ε", "Kind", "On the line", "LPIPS", label.text)
    table = Table(slug, f"{label.text} against LPIPS.", columns, tuple(listed), "", 4)
    return Figure(slug, caption, figures.trade_off(slug, panels, "LPIPS ↓", f"{label.text} (%) ↑"), table)


def _panel(title: str, own: list[Protector], rows: list[Protector], measure: str) -> figures.Scatter:
    names = _names(own)
    dots = []
    for row, name in zip(own, names, strict=True):
        price, rate = row.price(measure) or _NONE, row.overall(measure) or _NONE
        dots.append(figures.Dot(name, price, rate, row.kind == "cloak"))
    groups = [row.group for row in own]
    bare = [row.overall(measure) for row in rows if row.name == CLEAN and row.group in groups]
    base = next((score.value for score in bare if score and score.value == score.value), float("nan"))
    best = frontier([_place(row, measure) for row in own])
    return figures.Scatter(title, dots, best, base)


_NONE = Score(float("nan"), float("nan"), float("nan"), 0)


def _names(own: list[Protector]) -> list[str]:
    """Stems, with the budget and the run where a stem has several."""
    plain = [row.stem for row in own]
    named = [f"{row.stem} {row.budget}" if plain.count(row.stem) > 1 else row.stem for row in own]
    return [
        f"{name} [{row.group.label}]" if named.count(name) > 1 else name for name, row in zip(named, own, strict=True)
    ]


def _both(row: Protector, measure: str) -> bool:
    return all(score is not None and score.value == score.value for score in (row.price(measure), row.overall(measure)))


def _place(row: Protector, measure: str) -> tuple[float, float]:
    price, rate = row.price(measure) or _NONE, row.overall(measure) or _NONE
    return price.value, rate.value


def _listed(own: list[Protector], measure: str, label: labels.Label) -> list[Row]:
    best = frontier([_place(row, measure) for row in own])
    return [
        Row((
            *row.opening(),
            Cell("cloak" if row.kind == "cloak" else "pixel attack"),
            Cell("yes" if i in best else "no"),
            number(row.price(measure), row.group.refs, False),
            number(row.overall(measure), row.group.refs, label.proportion),
        ))
        for i, row in enumerate(own)
    ]  # fmt: skip
