"""What the owner of the mark is left with: bits that still decode, and a photo that still looks like itself."""

from __future__ import annotations

from collections.abc import Iterable

from facesec_bench.reporting import labels
from facesec_bench.reporting.document import Block, Cell, Row, Section, Table, merge_equal, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.labels import Label
from facesec_bench.reporting.sections.methods import Method, blocks, heading_row, kind, methods, opening_cells

_ROLES = ("attack", "control", "adaptive")
_PICTURED = ("attack", "control")
_REMADE = "jpeg_before_marking"
"""The control, for either goal, whose photo is compressed before it is marked: its quality is JPEG's as well."""
_ALONE = "Mark alone (no perturbation)"
_READ = {"bit_accuracy": "Bit accuracy", "exact_message": "Exact message"}


def section(study: Study) -> Section | None:
    """Bit accuracy, exact messages, then the quality of the perturbed and of the marked photo."""
    tables = [_decoding(study, measure) for measure in _READ] + [_quality(study)]
    found: list[Block] = [t for t in tables if t is not None]
    if not found:
        return None
    opening = words(
        "A watermark that is lost gives the attack away and serves nobody. Bits are read from the perturbed, then "
        "marked photo as an 8-bit file, unattacked and after each distortion; the first row of a victim is the mark "
        "without the perturbation, which says what the watermarker itself withstands. Half the bits are right by "
        "chance."
    )
    return Section("The owner's bits and the image", (opening, *found))


def _decoding(study: Study, measure: str) -> Table | None:
    """One row a method: a column per distortion."""
    marked = {d: f"{measure}_watermarked{d}" for d in labels.DISTORTIONS}
    both = {d: f"{measure}{d}" for d in labels.DISTORTIONS}
    found = methods(study, (*marked.values(), *both.values()), _ROLES)
    shown = [d for d in labels.DISTORTIONS if any(m.score(x) for m in found for x in (marked[d], both[d]))]
    rows: list[Row] = []
    for heading, budgets in blocks(study, found).items():
        same = [m for methods_ in budgets for m in methods_]
        alone = [Row((*_alone(m, heading.watermark), *_cells(m, [marked[d] for d in shown])), "control")
                 for m in same if _is_deployed(m) and _has(m, marked.values())]  # fmt: skip
        perturbed = [
            Row((*opening_cells(m), *_cells(m, [both[d] for d in shown])), kind(m))
            for m in same
            if _has(m, both.values())
        ]
        rows += [heading_row(study, heading), *merge_equal(alone), *merge_equal(perturbed)]
    if not rows:
        return None
    columns = ("Method", "Knows", "ε", *(labels.DISTORTIONS[d].capitalize().replace("Jpeg", "JPEG") for d in shown))
    caption = f"{_READ[measure]} of the perturbed, then marked photo, with 95% intervals."
    folded = measure == "exact_message"  # says less than the bits do, and of the same photos
    return Table(measure.replace("_", "-"), caption, columns, tuple(rows), "", 3, wide=True, folded=folded)


def _quality(study: Study) -> Table | None:
    """Rows: the mark alone, then each method's perturbed photo without and with the mark."""
    cells = [cell for cell in labels.CELLS if cell != "clean"]
    every = methods(study, [f"{x}_{cell}" for x in labels.PICTURE for cell in cells], _PICTURED)
    found = [m for m in every if not m.stem.startswith(_REMADE) and not m.defence]
    rows: list[Row] = []
    for heading, budgets in blocks(study, found).items():
        same = [m for methods_ in budgets for m in methods_]
        marked = [m for m in same if _is_deployed(m) and _has(m, [f"{x}_watermarked" for x in labels.PICTURE])]
        alone = [Row((*_alone(m, heading.watermark), Cell("marked only"), *_picture(m, "watermarked")), "control")
                 for m in marked]  # fmt: skip
        changed = [
            Row((*opening_cells(m), Cell(labels.CELLS[cell]), *_picture(m, cell)), kind(m))
            for m in same
            for cell in ("perturbed", "both")
            if _has(m, [f"{x}_{cell}" for x in labels.PICTURE])
        ]
        rows += [heading_row(study, heading), *merge_equal(alone), *merge_equal(changed)]
    if not rows:
        return None
    columns = ("Method", "Knows", "ε", "Photo", *(label.text for label in labels.PICTURE.values()))
    caption = "Image quality against the clean photo, as 8-bit files; the attack owns the difference to the mark alone."
    note = (
        "Rows behind a defence and the control with JPEG before the mark are left out: what the purifier or JPEG "
        "changes would be counted with what the attack changes."
    )
    return Table("activation-quality", caption, columns, tuple(rows), note, 4, wide=True)


def _is_deployed(method: Method) -> bool:
    """Whether its merely marked photo is the watermarker's own work: nothing stands before the mark or after it."""
    return method.role == "attack" and not method.defence


def _alone(method: Method, watermark: str) -> tuple[Cell, Cell, Cell]:
    other = method.watermark and method.watermark != watermark
    return Cell(_ALONE, f"marked by {method.watermark}" if other else ""), Cell("–"), Cell("–")


def _cells(method: Method, measures: list[str]) -> list[Cell]:
    return [method.cell(measure, Label("", True)) for measure in measures]


def _picture(method: Method, cell: str) -> list[Cell]:
    return [method.cell(f"{name}_{cell}", label) for name, label in labels.PICTURE.items()]


def _has(method: Method, measures: Iterable[str]) -> bool:
    return any(method.score(measure) for measure in measures)
