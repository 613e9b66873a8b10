"""Roles: which photo of a person attacks, which the attacker holds, and which judges. They never overlap.

The photo used to craft is never the photo used to judge (the protocol of the cloaking literature, made explicit). Of
each identity one photo is the *reference* (the attacker holds it: their own other photo when dodging, the target's
photo when someone impersonates that identity), some are *judges* (the first one also stands in the identification
gallery), and the remaining ones are *sources*, the photos that get perturbed.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch

from facesec_bench.errors import DataError
from facesec_bench.interfaces import Faces
from facesec_bench.seeds import generator

MINIMUM_PHOTOS = 3


@dataclass(frozen=True)
class Roles:
    """Indices into `Faces`.

    Attributes:
        reference: identity -> the photo that the attacker holds.
        judges: identity -> photos that judge; the first is the gallery photo.
        sources: photos to perturb.
        targets: for each source, the identity to be taken for; always another one.
        left_out: name -> number of photos, of identities with too few.
    """

    reference: dict[int, int]
    judges: dict[int, tuple[int, ...]]
    sources: tuple[int, ...]
    targets: tuple[int, ...]
    left_out: dict[str, int]

    @property
    def identities(self) -> tuple[int, ...]:
        """The identities in play, in order."""
        return tuple(sorted(self.reference))

    @property
    def photos(self) -> tuple[int, ...]:
        """Every photo that has a role, sorted."""
        judges = [i for group in self.judges.values() for i in group]
        return tuple(sorted({*self.reference.values(), *judges, *self.sources}))


def assign(
    faces: Faces,
    *,
    seed: int,
    sources_per_identity: int = 1,
    judges: int = 4,
    identities: int | None = None,
    among: Iterable[int] | None = None,
) -> Roles:
    """Give each photo at most one role, deterministically by seed.

    Args:
        judges: at most this many judging photos an identity; an identity with fewer photos gets fewer, at least one.
        identities: use at most this many identities, drawn by seed; None for all.
        among: restrict to these identities (an identity-disjoint split).

    Raises:
        DataError: if fewer than two identities have three photos (one each to hold, to judge and to perturb).
    """
    allowed = None if among is None else set(among)
    photos: dict[int, list[int]] = {}
    for index, identity in enumerate(faces.identities.tolist()):
        if allowed is None or identity in allowed:
            photos.setdefault(identity, []).append(index)
    left_out = {faces.names[i]: len(p) for i, p in sorted(photos.items()) if len(p) < MINIMUM_PHOTOS}
    able = [i for i, p in sorted(photos.items()) if len(p) >= MINIMUM_PHOTOS]
    if len(able) < 2:
        raise DataError(
            f"Found {len(able)} identities with at least {MINIMUM_PHOTOS} usable photos (of {len(photos)} identities); "
            "wanted two or more: one photo to hold, one to judge and one to perturb for each. Add photos, or see "
            "skipped.csv for those that were left out."
        )
    order = [able[i] for i in torch.randperm(len(able), generator=generator(seed, "roles", "identities")).tolist()]
    order = order[:identities] if identities else order
    if len(order) < 2:
        raise DataError(f"identities={identities}: wanted two or more, so that there is someone else to be taken for.")
    reference, judging, sources, targets = {}, {}, [], []
    for place, identity in enumerate(order):
        shuffle = torch.randperm(len(photos[identity]), generator=generator(seed, "roles", faces.names[identity]))
        mine = [photos[identity][i] for i in shuffle.tolist()]
        n_judges = min(judges, len(mine) - 2)
        reference[identity] = mine[0]
        judging[identity] = tuple(mine[1 : 1 + n_judges])
        for k, source in enumerate(mine[1 + n_judges :][:sources_per_identity]):
            sources.append(source)
            targets.append(order[(place + 1 + k % (len(order) - 1)) % len(order)])
    return Roles(reference, judging, tuple(sources), tuple(targets), left_out)


def write_roles(path: Path, faces: Faces, roles: Roles, calibration: Iterable[str] = ()) -> None:
    """Write roles.csv: key, identity, role ("reference", "judge", "gallery", "source") and the target of each source.

    Args:
        calibration: names of identities kept apart for calibration; written with an empty key.
    """
    rows: list[tuple[str, str, str, str]] = []
    for identity in roles.identities:
        name = faces.names[identity]
        rows.append((faces.keys[roles.reference[identity]], name, "reference", ""))
        for place, judge in enumerate(roles.judges[identity]):
            rows.append((faces.keys[judge], name, "judge" if place else "gallery", ""))
    for source, target in zip(roles.sources, roles.targets, strict=True):
        name = faces.names[int(faces.identities[source])]
        rows.append((faces.keys[source], name, "source", faces.names[target]))
    rows.extend(("", name, "calibration", "") for name in calibration)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["key", "identity", "role", "impersonates"])
        writer.writerows(rows)
