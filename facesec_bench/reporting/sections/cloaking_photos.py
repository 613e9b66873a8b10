"""Photos before and after a cloak, and what each method was asked for."""

from __future__ import annotations

from collections import Counter

from facesec_bench.records import Strip
from facesec_bench.reporting.document import Block, Cell, Photos, Row, Section, Table, merge_equal, words
from facesec_bench.reporting.grouping import Group, Study
from facesec_bench.reporting.photos import AMPLIFICATION, difference
from facesec_bench.reporting.sections import strips
from facesec_bench.reporting.sections.cloaking_rows import KINDS, Protector, protectors

GRID = "cloak"
"""Name of the grid that a cloaking study's strips bear."""


def section(study: Study) -> Section | None:
    """The methods with their prompts, then the strips: cloaks first, the methods in turn."""
    rows = protectors(study)
    found = _turns(study, rows)
    blocks: list[Block] = [block for block in (_prompts(rows), _grid(found)) if block is not None]
    if not blocks:
        return None
    opening = words("Under each photo: what the held-out recogniser makes of it, as the run told it.")
    return Section("Cloaked photos", (opening, *blocks))


def _prompts(rows: list[Protector]) -> Table | None:
    """What each cloak was asked to look like."""
    told = [
        Row((Cell(row.title, refs=row.group.refs), Cell(row.budget), Cell(row.prompt)))
        for row in rows if row.prompt
    ]  # fmt: skip
    if not told:
        return None
    return Table("cloak-prompts", "What the cloaks were asked to look like.", ("Method", "ε", "Prompt"),
                 merge_equal(told), "", 3)  # fmt: skip


def _turns(study: Study, rows: list[Protector]) -> list[strips.Found]:
    """Strips of the grid: every method's first photo for a goal before anybody's second, cloaks before the others."""
    # From the last kind to the first, each in the order of the card.
    order = sorted(rows, key=lambda row: -list(KINDS).index(row.kind))
    goals: dict[tuple[int, str], list[str]] = {}
    photos: Counter[tuple[int, str, str]] = Counter()
    placed: list[tuple[tuple[int, int, int], strips.Found]] = []
    for group in study.groups:
        for label, run, _ in group.labelled():
            for strip in (s for s in run.strips if s.grid == GRID):
                row = method_of(strip, group, rows)
                place = order.index(row) if row else len(order)
                titles = goals.setdefault((place, label), [])
                if strip.title not in titles:
                    titles.append(strip.title)
                turn = (photos[place, label, strip.title], titles.index(strip.title), place)
                photos[place, label, strip.title] += 1
                placed.append((turn, (label, run.folder, _with_prompt(strip, row))))
    return [found for _, found in sorted(placed, key=lambda item: item[0])]


def method_of(strip: Strip, group: Group, rows: list[Protector]) -> Protector | None:
    """Whose photos a strip shows: the longest of the run's method names that its title holds as a word."""
    said = f" {strip.title} ".replace(",", " ").replace(":", " ")
    named = [row for row in rows if row.group is group and f" {row.name} " in said]
    return max(named, key=lambda row: len(row.name), default=None)


def _with_prompt(strip: Strip, row: Protector | None) -> Strip:
    if row is None or not row.prompt or row.prompt in f"{strip.title} {strip.detail}":
        return strip
    return strip._replace(detail=" · ".join(filter(None, [strip.detail, f"asked for: {row.prompt}"])))


def _grid(found: list[strips.Found]) -> Photos | None:
    """The strips; a pair of photos is followed by its difference."""
    if not found:
        return None
    caption = "Photos before and after."
    plain = strips.photos("cloak-photos", caption, found)
    shown = found[: strips.LIMIT]
    if len(plain.columns) != 2 or any(len(strip.shots) != 2 for _, _, strip in shown):
        return plain
    rows = tuple(
        (title, (*pictures, difference(folder, *(shot.path for shot in strip.shots))))
        for (title, pictures), (_, folder, strip) in zip(plain.rows, shown, strict=True)
    )
    more = f"{plain.caption} The difference is amplified around grey."
    return Photos(plain.slug, more, (*plain.columns, f"Difference ×{AMPLIFICATION}"), rows, plain.table)
