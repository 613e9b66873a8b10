"""What people answered: a CSV of originals, recoveries and whether these were recognised."""

from __future__ import annotations

import csv
import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from facesec_bench.data.read import LeftOut, decode, read_content
from facesec_bench.errors import DataError

T = TypeVar("T")
WANTED = "wanted a header line original,reconstruction,recognised and, if there are several systems, group"


class Answer(NamedTuple):
    """What people said of one recovery.

    Attributes:
        original, reconstruction: picture files.
        share: of the people asked, who recognised it, in [0, 1].
        asked: how many were asked: lines of the file.
        group: which system it was recovered from; empty if the file does not say.
    """

    original: Path
    reconstruction: Path
    share: float
    asked: int
    group: str


@dataclass(frozen=True)
class Pictures:
    """Answers with what identifies their pictures.

    Attributes:
        answers: one for each recovery.
        originals: sha256 of each answer's original file: copies under other names are one photo.
        digest: sha256 over contents and answers.
    """

    answers: tuple[Answer, ...]
    originals: tuple[str, ...]
    digest: str


def read_answers(file: Path, answered: bool = True) -> tuple[Answer, ...]:
    """The recoveries of a CSV in the order of the file; several lines on one recovery are several people's answers.

    Args:
        file: UTF-8; paths are relative to its folder. `recognised` is 0 or 1.
        answered: False reads pairs alone; the share is then NaN.

    Raises:
        DataError: no such file, a column or value that is missing, or one recovery in two groups.
    """
    columns = ["original", "reconstruction", *(["recognised"] if answered else [])]
    said: dict[tuple[str, str], list[float]] = defaultdict(list)
    groups: dict[tuple[str, str], str] = {}
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            if lost := [name for name in columns if name not in (reader.fieldnames or ())]:
                raise DataError(f"{file} has no column {' and no column '.join(lost)}; {WANTED}.")
            for row in reader:
                place = f"{file}, line {reader.line_num}"
                pair = _word(row, "original", place), _word(row, "reconstruction", place)
                said[pair].append(_answer(row, place) if answered else float("nan"))
                if groups.setdefault(pair, (row.get("group") or "").strip()) != (row.get("group") or "").strip():
                    raise DataError(f"{place}: {pair[1]} was in group {groups[pair]!r} before; give it one group.")
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}); {WANTED}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} is not a CSV file in UTF-8 ({error}); save it as one.") from error
    if not said:
        raise DataError(f"{file} holds no line; {WANTED}.")
    return tuple(
        Answer(file.parent / one, file.parent / other, float(np.mean(votes)), len(votes), groups[one, other])
        for (one, other), votes in said.items()
    )


def _word(row: dict[str, str], column: str, place: str) -> str:
    if word := (row.get(column) or "").strip():
        return word
    raise DataError(f"{place}: found nothing under {column}, wanted a picture file.")


def _answer(row: dict[str, str], place: str) -> float:
    text = (row.get("recognised") or "").strip()
    if text not in ("0", "1"):
        raise DataError(f"{place}: found recognised={text!r}, wanted 1 (recognised) or 0 (not).")
    return float(text)


def identify(answers: Sequence[Answer]) -> Pictures:
    """Hash the picture files.

    Raises:
        DataError: a file that is missing or empty.
    """
    hashed: dict[Path, str] = {}
    for path in (path for answer in answers for path in answer[:2]):
        if path not in hashed:
            hashed[path] = hashlib.sha256(_reading(path, read_content)).hexdigest()
    rows = sorted((hashed[a.original], hashed[a.reconstruction], a.share, a.asked) for a in answers)
    digest = hashlib.sha256(repr(rows).encode()).hexdigest()
    return Pictures(tuple(answers), tuple(hashed[a.original] for a in answers), digest)


def picture(path: Path) -> Tensor:
    """(3, H, W) RGB in [0, 1] of one file.

    Raises:
        DataError: no picture; nothing is left out silently, as answers and pictures belong together.
    """
    pixels = _reading(path, lambda path: decode(read_content(path)).pixels)
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1).float() / 255


def _reading(path: Path, read: Callable[[Path], T]) -> T:
    try:
        return read(path)
    except LeftOut as finding:
        raise DataError(
            f"{path}: {finding.remark.reason} ({finding.remark.detail}); wanted a picture, or take its line out."
        ) from finding
