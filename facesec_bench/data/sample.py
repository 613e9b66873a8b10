"""Some of many photos, drawn by seed before any of them is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TypeVar

from facesec_bench.data.assemble import Row
from facesec_bench.errors import ConfigError
from facesec_bench.seeds import numpy_generator

T = TypeVar("T")


def drawn(items: Sequence[T], count: int | None, seed: int, *purpose: object) -> list[T]:
    """`count` of the items in the order given; all of them where count is None or more.

    Of one seed and purpose a smaller count gives a part of what a larger one gives.
    """
    if count is None or count >= len(items):
        return list(items)
    chosen = numpy_generator(seed, "sample", *purpose).permutation(len(items))[:count]
    return [items[i] for i in sorted(chosen.tolist())]


def sampled(rows: Sequence[Row], identities: int | None, per_identity: int | None, seed: int) -> list[Row]:
    """The photos of `identities` people, `per_identity` of each, in the order of identity and key.

    Photos are drawn unread: where one turns out to show no face, its person has one fewer.

    Raises:
        ConfigError: a limit below 1.
    """
    at_least_one(identities=identities, per_identity=per_identity)
    photos: dict[str, list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: (row.identity, row.key)):
        photos[row.identity].append(row)
    people = drawn(list(photos), identities, seed, "identities")
    return [row for person in people for row in drawn(photos[person], per_identity, seed, "photos", person)]


def at_least_one(**limits: int | None) -> None:
    """Raise ConfigError for a limit that is neither None nor 1 or more."""
    for name, value in limits.items():
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; give at least 1, or null for all.")
