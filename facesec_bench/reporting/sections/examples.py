"""The image grid: what a success looks like."""

from __future__ import annotations

from pathlib import Path

from facesec_bench.records import Example
from facesec_bench.reporting import numerals
from facesec_bench.reporting.document import Cell, Photo, Photos, Row, Section, Table, words
from facesec_bench.reporting.grouping import Study
from facesec_bench.reporting.photos import AMPLIFICATION, difference, photo

LIMIT = 12
"""Rows shown; four pictures each, so that the page stays small enough to send."""

_COLUMNS = ("Source", "Perturbed", f"Difference ×{AMPLIFICATION}", "Judged against")


def section(study: Study) -> Section | None:
    """The first examples of each run in turn, up to the limit."""
    everything = [(label, run.folder, e) for g in study.groups for label, run, _ in g.labelled() for e in run.examples]
    if not everything:
        return None
    chosen = everything[:LIMIT]
    rows = tuple(_photos(folder, e, (label,)) for label, folder, e in chosen)
    table = Table(
        "examples", "Example photos.",
        ("Photo", "Goal", "Method", "Victim", "Clean", "Attacked", "Threshold", "Verdict"),
        tuple(_row(e, (label,)) for label, _, e in chosen), "Similarities are cosines.", 4,
    )  # fmt: skip
    caption = (
        f"Examples ({len(chosen)} of {len(everything)} kept by the runs). The difference is amplified around grey."
    )
    opening = words("Under each photo: its cosine to the photo it is judged against, and the verifier's verdict.")
    return Section("Examples", (opening, Photos("examples", caption, _COLUMNS, rows, table)))


def _photos(folder: Path, e: Example, refs: tuple[str, ...]) -> tuple[Cell, tuple[Photo, ...]]:
    title = f"{e.method} against {e.target}, goal {e.goal}"
    clean, attacked = numerals.three(e.similarity_clean), numerals.three(e.similarity_perturbed)
    return Cell(title, f"{e.key} · threshold {numerals.three(e.threshold)}", refs), (
        photo(folder, e.source, f"{clean}: {'accepted' if e.similarity_clean >= e.threshold else 'rejected'}"),
        photo(folder, e.perturbed, f"{attacked}: {verdict(e)}"),
        difference(folder, e.source, e.perturbed),
        photo(folder, e.reference, "the same person" if e.goal == "dodge" else "the person to be taken for"),
    )


def verdict(e: Example) -> str:
    """What the verifier says of the attacked photo, in words."""
    accepted = e.similarity_perturbed >= e.threshold
    if e.goal == "dodge":
        return "still recognised" if accepted else "no longer recognised"
    return "taken for the target" if accepted else "not taken for the target"


def _row(e: Example, refs: tuple[str, ...]) -> Row:
    numbers = (e.similarity_clean, e.similarity_perturbed, e.threshold)
    texts = (e.key, e.goal, e.method, e.target)
    return Row((*map(Cell, texts), *(Cell(numerals.three(x), refs=refs) for x in numbers), Cell(verdict(e))))
