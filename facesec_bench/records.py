"""Records and run cards: the only currency after a protocol, and their files."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = "1"


class Record(NamedTuple):
    """One row: one image (or pair) x method x target x measure.

    Attributes:
        key: the image's key, or "probe>judge" for a verification pair.
        identity: name of the identity the row belongs to; intervals resample identities. Empty for a row about a
            whole set.
        method: "clean", a method's name (white box), or "method@surrogate+surrogate" (transfer).
        target: name of the victim.
        measure: e.g. "dodging_success", "psnr".
        value: the number; NaN where a measure was asked for and could not be taken.
    """

    key: str
    identity: str
    method: str
    target: str
    measure: str
    value: float


class Score(NamedTuple):
    """An aggregate with its 95 % interval; `low` and `high` are NaN where none can be given."""

    value: float
    low: float
    high: float
    n: int


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records.csv; floats in repr so that reading gives back the same bits."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(Record._fields)
        for record in records:
            writer.writerow([*record[:5], repr(float(record.value))])


def read_records(path: Path) -> list[Record]:
    """Read records.csv."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = csv.reader(file)
        header = next(rows, None)
        if header != list(Record._fields):
            raise ValueError(f"{path}: found columns {header}, wanted {list(Record._fields)}.")
        return [Record(key, who, method, target, measure, float(v)) for key, who, method, target, measure, v in rows]


def _null(number: float) -> float | None:
    return None if math.isnan(number) else number


def write_scores(path: Path, scores: dict[str, Score]) -> None:
    """Write scores.json: flat, sorted, NaN as null; the same scores give the same bytes."""
    rows = {
        key: {"value": _null(s.value), "low": _null(s.low), "high": _null(s.high), "n": s.n}
        for key, s in sorted(scores.items())
    }
    path.write_text(json.dumps(rows, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_scores(path: Path) -> dict[str, Score]:
    """Read scores.json; null becomes NaN."""
    rows = json.loads(path.read_text(encoding="utf-8"))

    def number(value: float | None) -> float:
        return math.nan if value is None else float(value)

    return {k: Score(number(r["value"]), number(r["low"]), number(r["high"]), int(r["n"])) for k, r in rows.items()}


@dataclass
class RunCard:
    """What a run was: enough to repeat it and to judge it.

    Attributes:
        status: "running", "finished" or "failed".
        config: the resolved configuration.
        fingerprint: hash of the configuration (less seed, device, paths, workers) with code, data and weight digests.
        code: git sha, whether the tree was dirty, and the package version.
        data: name, digest, counts, licence, and the count of skipped inputs by reason.
        targets: by name: digest, licence, dimension, note, template and preprocessing.
        methods: by name with its budget: title, source (paper), eps_255, norm ("linf", "rms" or "none"), config.
        failures: methods x surrogates that could not run, with the reason; such a run is not reused.
        calibration: by target, one entry per false accept rate: far, status ("calibrated" or "refused"), threshold,
            far_measured, far_low, far_high, n_impostor, tar, n_genuine, reason (of a refusal).
        threat_model: the threat model in words, one sentence an entry.
        notes: things a reader must know (refused FARs, skipped identities, toy targets).
        seconds: wall time; by stage.
    """

    run_id: str
    experiment: str
    status: str
    seed: int
    config: dict[str, Any]
    fingerprint: str
    started: str
    finished: str = ""
    error: str = ""
    code: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    device: str = "cpu"
    data: dict[str, Any] = field(default_factory=dict)
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    methods: dict[str, dict[str, Any]] = field(default_factory=dict)
    calibration: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    threat_model: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    schema: str = SCHEMA

    def write(self, folder: Path) -> None:
        """Write card.json in one step: a killed run leaves a whole file. Targets and methods keep their order."""
        path = folder / "card.json"
        temporary = path.with_suffix(".json.part")
        temporary.write_text(json.dumps(asdict(self), indent=1, default=str) + "\n", encoding="utf-8")
        temporary.replace(path)

    @classmethod
    def read(cls, folder: Path) -> RunCard:
        """Read card.json."""
        fields = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return cls(**fields)


class Example(NamedTuple):
    """One row of the image grid. Paths are relative to the run's folder; `reference` is the judge's photo."""

    key: str
    goal: str
    method: str
    target: str
    source: str
    perturbed: str
    reference: str
    similarity_clean: float
    similarity_perturbed: float
    threshold: float


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """Write examples.json."""
    path.write_text(json.dumps([e._asdict() for e in examples], indent=1) + "\n", encoding="utf-8")


def read_examples(path: Path) -> list[Example]:
    """Read examples.json; a run without examples has none."""
    if not path.exists():
        return []
    return [Example(**row) for row in json.loads(path.read_text(encoding="utf-8"))]


class Shot(NamedTuple):
    """One picture of a strip: under which column, the PNG's path relative to the run's folder, and its legend."""

    column: str
    path: str
    legend: str


class Strip(NamedTuple):
    """A row of pictures for the report. Strips of one `grid` share their columns and stand under one another.

    Attributes:
        grid: which grid it belongs to, e.g. "activation".
        title: what the row shows, in words.
        detail: small print: the photo's key, thresholds.
    """

    grid: str
    title: str
    detail: str
    shots: tuple[Shot, ...]


def write_strips(path: Path, strips: Sequence[Strip]) -> None:
    """Write strips.json."""
    rows = [strip._asdict() | {"shots": [shot._asdict() for shot in strip.shots]} for strip in strips]
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def read_strips(path: Path) -> list[Strip]:
    """Read strips.json; a run without strips has none."""
    if not path.exists():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Strip(**{**row, "shots": tuple(Shot(**shot) for shot in row["shots"])}) for row in rows]


@dataclass
class Outcome:
    """What a recipe returns: rows, aggregates and the images to show."""

    records: list[Record] = field(default_factory=list)
    scores: dict[str, Score] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)

    def whole_set(self, measure: str, method: str, target: str, score: Score) -> None:
        """Add a measure of a whole set (an AUC, a Frechet distance): a score and a record with key "*"."""
        self.scores[f"{measure}/{method}/{target}"] = score
        self.records.append(Record("*", "", method, target, measure, score.value))

    def write(self, folder: Path) -> None:
        """Write records.csv, scores.json, examples.json and strips.json."""
        write_records(folder / "records.csv", self.records)
        write_scores(folder / "scores.json", self.scores)
        write_examples(folder / "examples.json", self.examples)
        write_strips(folder / "strips.json", self.strips)
