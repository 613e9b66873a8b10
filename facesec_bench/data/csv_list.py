"""A CSV file that lists photos: columns path, identity and, if wanted, split."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from facesec_bench.data import Dataset, Skipped
from facesec_bench.data.assemble import Limits, Row, assemble
from facesec_bench.data.detection import YuNet
from facesec_bench.data.folder import require_folder
from facesec_bench.data.splits import from_column
from facesec_bench.errors import DataError

Fields = dict[str | None, str | list[str] | None]


class CSVList:
    """`path,identity[,split]` -> Dataset; a header line names the columns, others are ignored.

    Args:
        csv: the file, UTF-8.
        detector: finds the face; its settings decide which one.
        root: the folder that the paths are relative to; null for the file's own folder. Absolute paths must lie in it.
        max_identities: use the first so many in sorted order; null for all.
        max_per_identity: use the first so many usable photos of each; null for all.
        licence: of the photos, as the user knows it; printed in the report.
    """

    def __init__(
        self,
        csv: str,
        detector: YuNet,
        root: str | None = None,
        max_identities: int | None = None,
        max_per_identity: int | None = None,
        licence: str = "not stated",
    ) -> None:
        self.file = Path(csv)
        self.root = self.file.parent if root is None else Path(root)
        self.detector = detector
        self.limits = Limits(max_identities, max_per_identity)
        self.licence = licence

    def __call__(self) -> Dataset:
        """Read the listed photos. The split column (calibration or attack) becomes `Dataset.splits`.

        Raises:
            DataError: no such file, not CSV in UTF-8, a column is missing, a split that `from_column` refuses, or no
                face.
        """
        require_folder(self.root)
        rows: list[Row] = []
        skipped: list[Skipped] = []
        splits: dict[str, str] = {}
        taken: dict[str, Row] = {}
        for line, fields in _lines(self.file):
            found = _row(fields, self.root, f"{self.file.name}:{line}")
            if isinstance(found, Row) and found.key in taken:
                found = _repeated(found, taken[found.key], line)
            if isinstance(found, Skipped):
                skipped.append(found)
                continue
            taken[found.key] = found
            rows.append(found)
            if role := _text(fields.get("split")):
                splits[found.key] = role
        if splits:
            from_column({row.key: row.identity for row in rows}, splits)
        return assemble(
            f"csv {self.file.stem}",
            rows,
            self.detector,
            source=str(self.file),
            licence=self.licence,
            limits=self.limits,
            skipped=skipped,
            splits=splits,
        )


def _lines(file: Path) -> Iterator[tuple[int, Fields]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a byte-order mark
            reader = csv.DictReader(stream)
            columns = [column.strip() for column in reader.fieldnames or []]
            lost = [column for column in ("path", "identity") if column not in columns]
            if lost:
                raise DataError(
                    f"{file} has no column {' and no column '.join(lost)}; found {', '.join(columns) or 'nothing'}; "
                    "wanted a header line path,identity or path,identity,split."
                )
            reader.fieldnames = columns
            for fields in reader:
                yield reader.line_num, fields
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); set data.csv to a list of photos.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8 ({error}); save it as one.") from error


def _text(value: str | list[str] | None) -> str:
    return value.strip() if isinstance(value, str) else ""


def _row(fields: Fields, root: Path, place: str) -> Row | Skipped:
    path, identity = _text(fields.get("path")), _text(fields.get("identity"))
    if not path or not identity:
        return Skipped(place, "bad_row", f"path {path!r}, identity {identity!r}: both are wanted", used=False)
    if None in fields:
        return Skipped(place, "bad_row", "more fields than columns; quote a value that holds a comma", used=False)
    if "\0" in path:
        return Skipped(place, "bad_row", "the path holds a NUL character", used=False)
    base = os.path.abspath(root)  # noqa: PTH100 - lexical: resolving links would give a key that is not the user's path
    full = os.path.abspath(root / path)  # noqa: PTH100
    if os.path.commonpath([base, full]) != base or full == base:
        return Skipped(place, "outside_root", f"{path} is not under {root.name or root}; set data.root", used=False)
    key = os.path.relpath(full, base).replace(os.sep, "/")
    return Row(key, Path(full), identity)


def _repeated(row: Row, first: Row, line: int) -> Skipped:
    if row.identity == first.identity:
        return Skipped(row.key, "duplicate", f"listed again in line {line}", used=False)
    detail = f"listed again in line {line} as {row.identity!r}, first as {first.identity!r}: one of the two is wrong"
    return Skipped(row.key, "duplicate", detail, used=False)
