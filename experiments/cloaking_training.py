"""Whom the tracker learns from: other people than those whose photos are cloaked, and what the card says of it."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import asdict, dataclass, is_dataclass
from typing import Any

import torch

from facesec_bench.data import Dataset
from facesec_bench.errors import DataError
from facesec_bench.interfaces import Faces
from facesec_bench.protocols.roles import MINIMUM_PHOTOS, Roles, assign

CELEBA = frozenset({"celeba private", "celeba public"})
"""Names of the data sets that CelebA's loader gives."""


@dataclass(frozen=True)
class Training:
    """Photos of other people.

    Attributes:
        roles: its sources are the photos that the tracker cloaks.
        people: how many people were asked for.
    """

    data: Dataset
    roles: Roles
    people: int

    @property
    def shortfall(self) -> str:
        """What is missing, in words; empty if nothing."""
        found = len(self.roles.identities)
        if found >= self.people:
            return ""
        return (
            f"The tracker learned from {found} people instead of the {self.people} of study.design.training_people: "
            f"{self.data.name} has no more with {MINIMUM_PHOTOS} usable photos. Give study.training more people."
        )

    def told(self, retrainer: Callable[..., Any], attacked: Dataset) -> dict[str, Any]:
        """For the card: where the tracker learned, from how much, and how."""
        own = asdict(retrainer) if is_dataclass(retrainer) and not isinstance(retrainer, type) else {}
        return {
            "name": self.data.name,
            "digest": self.data.digest,
            "licence": self.data.licence,
            "generated": self.data.drawn is not None,
            "attacked_generated": attacked.drawn is not None,
            "people": len(self.roles.identities),
            "cloaks": len(self.roles.sources),
            "retrainer": getattr(retrainer, "__name__", type(retrainer).__name__),
            "settings": own,
        }


def training_photos(load: Callable[[], Dataset], attacked: Dataset, *, seed: int, people: int, photos: int) -> Training:
    """At most so many people with at most so many photos each, drawn by seed.

    Raises:
        DataError: the photos show somebody whom the test attacks or calibrates on, or fewer than two people.
    """
    data = other_people(load(), attacked)
    roles = assign(data.faces, seed=seed, sources_per_identity=photos, judges=1, identities=people)
    return Training(data, roles, people)


def other_people(found: Dataset, attacked: Dataset, *, setting: str = "study.training") -> Dataset:
    """The same photos, if they show nobody of the attacked ones.

    Names tell people apart, however they are spelt (`_spelling`), but where both sets are generated: there they are
    numbers, and the seed tells.

    Args:
        setting: where the found photos are set, for errors; its last word says what they are.

    Raises:
        DataError: one seed, a photo in both, a name in both, or two parts of CelebA whose names cannot be compared.
    """
    kind = setting.rpartition(".")[2]
    if found.drawn is not None and found.drawn == attacked.drawn:
        raise DataError(
            f"Found the {kind} faces drawn from seed {found.drawn.seed}, as the attacked ones are: two sets of one "
            f"seed begin with the same people. Wanted other people: set {setting}.seed to another number than "
            "data.seed."
        )
    shared = _prints(found.faces) & _prints(attacked.faces)
    if shared:
        raise DataError(
            f"Found {len(shared)} photos of {attacked.name} among the {kind} photos ({found.name}) too, wanted other "
            f"people: set {setting} to photos of people who are not attacked."
        )
    there, here = _people(found.faces), _people(attacked.faces)
    both = sorted(there.keys() & here.keys())
    if both and (found.drawn is None or attacked.drawn is None):
        raise DataError(
            f"Found {len(both)} people by name both in {attacked.name} and in the {kind} photos ({found.name}), "
            f"such as {here[both[0]]!r} ({there[both[0]]!r} there); wanted other people: leave them out of {setting}, "
            "or give those who only share a name another one."
        )
    if {found.name, attacked.name} <= CELEBA and _numbered(found.faces) != _numbered(attacked.faces):
        raise DataError(
            f"Found people of CelebA by number on one side of data and {setting}, and by label or photo alone on the "
            "other; these names cannot be compared, so one person could be on both. Put identity_CelebA.txt into the "
            "root of both: then people have their numbers, with lists and without."
        )
    return found


def _prints(faces: Faces) -> set[bytes]:
    """One for each photo, of its 8-bit pixels."""
    eight_bit = ((image * 255).round().to(torch.uint8).contiguous() for image in faces.images)
    return {hashlib.sha256(image.numpy().tobytes()).digest() for image in eight_bit}


def _people(faces: Faces) -> dict[str, str]:
    """Spelling for comparison -> a name of the people shown."""
    return {_spelling(faces.names[i]): faces.names[i] for i in set(faces.identities.tolist())}


def _spelling(name: str) -> str:
    """Letters and digits alone, without case and accents: "Tom_Hanks" and "tom hanks" are one.

    Marks that are part of a script, such as Indic vowels, stay: without them other names would be one. A name without
    any letter or digit stays whole.
    """
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold())
    kept = "".join(c for c in plain if unicodedata.category(c)[0] in "LNM" and not "\u0300" <= c <= "\u036f")
    return kept or name


def _numbered(faces: Faces) -> bool:
    """Whether people of CelebA bear their numbers; see `data.celeba_split.read_list`."""
    return all(faces.names[i].startswith("id") for i in set(faces.identities.tolist()))
