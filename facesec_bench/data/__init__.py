"""Faces: loaders, detection and alignment, identity splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from facesec_bench.interfaces import Faces


class Skipped(NamedTuple):
    """One input that gave no face, or gave one with a remark: a row of skipped.csv.

    Attributes:
        path: relative to the data root.
        reason: a short fixed word such as "truncated", "no_face", "duplicate".
        detail: what was found, for a person to read.
        used: True where the image was used after a repair (EXIF rotation, CMYK to RGB) and False where it was left out.
    """

    path: str
    reason: str
    detail: str
    used: bool


class Drawn(NamedTuple):
    """Where generated people come from: two sets alike in both show the same ones, however many photos each takes.

    Attributes:
        generator: digest of its weights.
        seed: of the stream of people, from which every set takes the first.
    """

    generator: str
    seed: int


@dataclass(frozen=True)
class Dataset:
    """What a loader returns.

    Attributes:
        digest: sha256 over keys, identities and chip bytes, and over splits, pairs and held where given; enters the
            fingerprint.
        splits: role of each key ("calibration" or "attack") as given by the user's file, one role to an identity; empty
            if none was given.
        pairs: verification pairs given with the data (key, key, same person); empty means all pairs.
        drawn: for faces from a generator, whose they are; None for photos.
        held: keys of the photos that nobody may learn from, of people whose other photos teach; empty if the data set
            does not say. Unlike `splits` it parts the photos of each person.
    """

    name: str
    faces: Faces
    skipped: tuple[Skipped, ...]
    digest: str
    licence: str
    splits: dict[str, str]
    pairs: tuple[tuple[str, str, bool], ...] = ()
    note: str = ""
    drawn: Drawn | None = None
    held: frozenset[str] = frozenset()


Loader = Callable[[], Dataset]
"""What `conf/data/*.yaml` instantiates to: a callable without arguments, so that building one reads nothing."""
