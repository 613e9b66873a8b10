"""From rows (photo, identity) to a Dataset: the one loop that folder, LFW and CSV share."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from facesec_bench.data import Dataset, Skipped
from facesec_bench.data.chips import ChipMaker
from facesec_bench.data.detection import YuNet
from facesec_bench.data.skipped import count_by_reason
from facesec_bench.errors import ConfigError, DataError
from facesec_bench.interfaces import CHIP_SIZE, Faces
from facesec_bench.progress import track


class Row(NamedTuple):
    """One photo as a loader lists it: its key (relative to the root, with /), its file and whose it is."""

    key: str
    path: Path
    identity: str


@dataclass(frozen=True)
class Limits:
    """How much of a data set to use: the first so many in sorted order. None means all."""

    max_identities: int | None = None
    max_per_identity: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_identities", "max_per_identity"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; give at least 1, or null for all.")

    def note(self) -> str:
        """What was asked to be left out, in words; empty if nothing."""
        parts = []
        if self.max_identities is not None:
            parts.append(f"the first {self.max_identities} identities")
        if self.max_per_identity is not None:
            parts.append(f"the first {self.max_per_identity} usable photos of each")
        return f"Limited to {' and '.join(parts)} in sorted order." if parts else ""


@dataclass
class _Gathered:
    """Chips found so far and what was seen on the way."""

    chips: list[NDArray[np.uint8]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    owners: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    seen: dict[str, Row] = field(default_factory=dict)  # sha256 of content or of chip -> the row that had it first

    def add(self, row: Row, make: ChipMaker) -> bool:
        """Take in one photo; True if it gave a face."""
        chip, remarks, content = make(row.path)
        self.skipped += [Skipped(row.key, *remark) for remark in remarks]
        if chip is None:
            return False
        marks = content, hashlib.sha256(chip.tobytes()).hexdigest()
        for mark, what in zip(marks, ("file", "face crop"), strict=True):
            if mark in self.seen:
                first = self.seen[mark]
                self.skipped.append(Skipped(row.key, "duplicate", _duplicate(first, row, what), used=False))
                if first.identity != row.identity:
                    self._withdraw(first, row, what)
                return False
        self.seen.update(dict.fromkeys(marks, row))
        self.chips.append(chip)
        self.keys.append(row.key)
        self.owners.append(row.identity)
        return True

    def _withdraw(self, first: Row, row: Row, what: str) -> None:
        """Leave out the first photo too: which of two identities a photo shows is not ours to guess."""
        if first.key in self.keys:
            place = self.keys.index(first.key)
            del self.chips[place], self.keys[place], self.owners[place]
            self.skipped.append(Skipped(first.key, "duplicate", _duplicate(row, first, what), used=False))


def _duplicate(first: Row, row: Row, what: str) -> str:
    if first.identity == row.identity:
        return f"same {what} as {first.key}"
    return f"same {what} as {first.key} of another identity, {first.identity!r}: one of the two labels is wrong"


def assemble(
    name: str,
    rows: Iterable[Row],
    detector: YuNet,
    *,
    source: str,
    licence: str,
    limits: Limits = Limits(),
    skipped: Sequence[Skipped] = (),
    splits: Mapping[str, str] | None = None,
    note: str = "",
) -> Dataset:
    """Read, detect, align and collect the photos of `rows`, in the order of identity and key.

    Of a photo that comes twice under one identity the first is used and the second reported; under two identities one
    label is wrong and nobody knows which, so neither is used. Names that are not UTF-8
    become `printable` here, once for every writer. The result holds every chip in memory as float32 (0.60 MB each).

    Args:
        source: where the rows come from, for error messages.
        skipped: what the loader itself left out.
        splits: role of each key; entries of photos left out are dropped.

    Raises:
        DataError: there is no row or no photo gave a face; says what was found.
    """
    rows = [row._replace(key=printable(row.key), identity=printable(row.identity)) for row in rows]
    ordered = sorted(rows, key=lambda row: (row.identity, row.key))
    gathered = _Gathered(skipped=list(skipped))
    make = ChipMaker(detector)
    people = 0
    tracked = track(ordered, "Detecting faces", total=len(ordered))
    for _, photos in groupby(tracked, key=lambda row: row.identity):
        if limits.max_identities is not None and people >= limits.max_identities:
            break
        found = 0
        for row in photos:
            if limits.max_per_identity is None or found < limits.max_per_identity:
                found += gathered.add(row, make)
        people += found > 0
    if not gathered.chips:
        raise DataError(printable(_nothing(source, len(ordered), gathered.skipped)))
    faces = to_faces(gathered.chips, gathered.keys, gathered.owners)
    roles = {key: splits[key] for key in faces.keys if key in splits} if splits else {}
    return Dataset(
        name=printable(name),
        faces=faces,
        skipped=tuple(
            Skipped(printable(row.path), row.reason, printable(row.detail), row.used) for row in gathered.skipped
        ),
        digest=_with_splits(digest(faces), roles),
        licence=licence,
        splits=roles,
        note=printable(" ".join(part for part in (note, limits.note()) if part)),
    )


def printable(name: str) -> str:
    """A file name that need not be UTF-8 as text that any file can hold: each stray byte becomes \\xHH in letters."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _with_splits(faces: str, roles: Mapping[str, str]) -> str:
    return hashlib.sha256(f"{faces}{sorted(roles.items())!r}".encode()).hexdigest() if roles else faces


def _nothing(source: str, rows: int, skipped: Sequence[Skipped]) -> str:
    reasons = ", ".join(f"{count} {reason}" for reason, count in count_by_reason(skipped).items()) or "nothing else"
    example = f" (the first: {skipped[0].path}: {skipped[0].detail})" if skipped else ""
    return (
        f"{source}: no usable face in {rows} listed photos; found {reasons}{example}. "
        "Check the root and how deep the identity folders lie, or lower the detector's score_threshold or min_face_px."
    )


def to_faces(chips: Sequence[NDArray[np.uint8]], keys: Sequence[str], owners: Sequence[str]) -> Faces:
    """8-bit chips with their keys and identity names -> Faces; identities are numbered by sorted name."""
    names = tuple(sorted(set(owners)))
    number = {name: i for i, name in enumerate(names)}
    images = torch.empty(len(chips), 3, CHIP_SIZE, CHIP_SIZE)
    for image, chip in zip(images, chips, strict=True):  # one by one: a stacked copy would double the memory
        image.copy_(torch.from_numpy(chip).permute(2, 0, 1)).div_(255)
    identities = torch.tensor([number[owner] for owner in owners], dtype=torch.int64)
    return Faces(images, identities, tuple(keys), names)


def digest(faces: Faces) -> str:
    """Hex sha256 over keys, identity names and the 8-bit chips, in order."""
    total = hashlib.sha256()
    for key, identity, image in zip(faces.keys, faces.identities.tolist(), faces.images, strict=True):
        for text in (key, faces.names[identity]):
            encoded = text.encode()
            total.update(len(encoded).to_bytes(4, "big") + encoded)
        total.update((image * 255).round().to(torch.uint8).numpy().tobytes())
    return total.hexdigest()
