"""A run folder read back: everything the report knows about a run comes from here."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TypeVar

from facesec_bench.records import Example, RunCard, Score, Strip, read_examples, read_scores, read_strips
from facesec_bench.reporting.keys import parse

T = TypeVar("T")


class SkippedRow(NamedTuple):
    """A row of skipped.csv; `used` is True where the input served after a repair."""

    path: str
    reason: str
    detail: str
    used: bool


@dataclass(frozen=True)
class Run:
    """One run folder.

    Attributes:
        card: None where card.json is missing or cannot be read.
        roles: how many images have each role; empty if the run wrote none.
        problem: why its numbers are not used, in words; empty for a finished run that could be read whole.
    """

    folder: Path
    card: RunCard | None
    scores: dict[str, Score] = field(default_factory=dict)
    skipped: tuple[SkippedRow, ...] = ()
    examples: tuple[Example, ...] = ()
    strips: tuple[Strip, ...] = ()
    roles: dict[str, int] = field(default_factory=dict)
    problem: str = ""

    @property
    def run_id(self) -> str:
        """The run's id, or its folder's name where the card is gone."""
        return self.card.run_id if self.card else self.folder.name


def read_run(folder: Path) -> Run:
    """Read a run folder. Nothing here raises: what cannot be read becomes the run's `problem`, to be shown."""
    card, problem = _attempt(lambda: RunCard.read(folder))
    if card is None:
        missing = f"no card.json in the folder {folder.name}"
        return Run(folder, None, problem=missing if not (folder / "card.json").exists() else f"card.json: {problem}")
    scores, broken = _attempt(lambda: _read_scores(folder / "scores.json"))
    skipped, broken_skipped = _attempt(lambda: _read_skipped(folder / "skipped.csv"))
    examples, broken_examples = _attempt(lambda: tuple(read_examples(folder / "examples.json")))
    strips, broken_strips = _attempt(lambda: tuple(read_strips(folder / "strips.json")))
    roles, broken_roles = _attempt(lambda: _read_roles(folder / "roles.csv"))
    problem = "; ".join(filter(None, [broken, broken_skipped, broken_examples, broken_strips, broken_roles]))
    if card.status == "running":
        problem = "still running, or killed before it could say so"
    elif card.status != "finished":
        problem = f"{card.status}: {card.error or 'no reason was written'}"
    return Run(folder, card, scores or {}, skipped or (), examples or (), strips or (), roles or {}, problem)


def _attempt(read: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return read(), ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # An OSError's own text holds the whole path, which says where a user keeps files: the name is enough.
        name = Path(str(error.filename)).name if isinstance(error, OSError) else ""
        return None, f"{name or type(error).__name__}: {error.strerror if isinstance(error, OSError) else error}"


def _read_scores(path: Path) -> dict[str, Score]:
    scores = read_scores(path)
    for key in scores:
        parse(key)  # a key that cannot be read makes the run unusable here, and not the whole report later
    return scores


def _read_skipped(path: Path) -> tuple[SkippedRow, ...]:
    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file)
        return tuple(
            SkippedRow(r["path"], r["reason"], r["detail"], r["used"].strip().lower() in ("true", "1")) for r in rows
        )


def _read_roles(path: Path) -> dict[str, int]:
    if not path.exists():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        return dict(sorted(Counter(row["role"] for row in csv.DictReader(file)).items()))
